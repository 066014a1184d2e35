//! The report page: one file with everything in it, or the shell that the dashboard fills over its
//! own address. Style and script are in `assets/`; the content security policy lets nothing else in.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Config, Figure, Loaded, Run, figures_of_run, figures_of_runs,
    load::{Outcome, Request, larger_is_better, name_of},
    theme::{self, Theme},
    thin,
};

const SHELL: &str = include_str!("../assets/page.html");
const STYLE: &str = include_str!("../assets/page.css");
const SCRIPT: &str = include_str!("../assets/page.js");

/// Requests of one run that a page holds; what is beyond is said on the page.
const REQUESTS: usize = 200_000;

/// The page of these runs in one file.
///
/// # Errors
/// The settings name a preset that does not exist.
pub fn of_runs(loaded: &Loaded, config: &Config, theme: &str) -> Result<String, String> {
    let mut runs = Vec::new();
    for (id, run) in loaded.runs.iter().enumerate() {
        runs.push(run_data(run, &id.to_string(), config)?);
    }
    let all: Vec<&Run> = loaded.runs.iter().collect();
    let compare = if all.len() > 1 {
        compare(&all, config)?
    } else {
        Value::Null
    };
    let data = json!({
        "live": false,
        "theme": theme,
        "themes": themes(),
        "runs": runs,
        "compare": compare,
    });
    Ok(page(&data))
}

/// The page that fetches its runs from where it came from.
pub fn live(theme: &str) -> String {
    page(&json!({"live": true, "theme": theme, "themes": themes(), "runs": []}))
}

fn page(data: &Value) -> String {
    pinfire_analysis::page::page(SHELL, STYLE, data, SCRIPT)
}

fn themes() -> Value {
    let of = |theme: &Theme| {
        json!({
            "background": theme.background, "paper": theme.paper, "text": theme.text, "grid": theme.grid,
            "primary": theme.primary, "secondary": theme.secondary, "outlier": theme::OUTLIER,
            "baseline": theme::BASELINE, "series": theme.series,
        })
    };
    json!({"light": of(&theme::LIGHT), "dark": of(&theme::DARK)})
}

/// The figures that compare these runs.
///
/// # Errors
/// The settings name a preset that does not exist.
pub fn compare(runs: &[&Run], config: &Config) -> Result<Value, String> {
    let drawn = figures_of_runs(runs, config)?;
    Ok(json!({"figures": drawn.figures, "skipped": drawn.skipped}))
}

/// Everything that the page shows of one run.
///
/// # Errors
/// The settings name a preset that does not exist.
pub fn run_data(run: &Run, id: &str, config: &Config) -> Result<Value, String> {
    let mut drawn = if run.is_cell {
        super::Drawn::default()
    } else {
        figures_of_run(run, config)?
    };
    drawn.figures.iter_mut().for_each(thin_for_page);
    let summary = &run.summary;
    let facts = [
        ("Model", run.label("model")),
        ("Endpoint", run.label("endpoint")),
        ("Concurrency", run.label("concurrency")),
        (
            "Started",
            summary["start_time"]
                .as_str()
                .unwrap_or("unknown")
                .to_owned(),
        ),
        (
            "Ended",
            summary["end_time"].as_str().unwrap_or("unknown").to_owned(),
        ),
        ("Folder", run.folder.display().to_string()),
        (
            "Command",
            summary["run_info"]["cli_command"]
                .as_str()
                .unwrap_or("unknown")
                .to_owned(),
        ),
    ];
    let blocks: Map<String, Value> = [
        "client_health",
        "cancellation",
        "request_accounting",
        "error_summary",
        "input_config",
    ]
    .into_iter()
    .filter(|key| !summary[key].is_null())
    .map(|key| (key.to_owned(), summary[key].clone()))
    .collect();
    Ok(json!({
        "id": id,
        "name": run.name,
        "facts": facts,
        "metrics": metrics(run),
        "blocks": blocks,
        "figures": drawn.figures,
        "skipped": drawn.skipped,
        "requests": Requests::of(run),
    }))
}

/// What of a figure can be told apart on a screen.
fn thin_for_page(figure: &mut Figure) {
    for series in &mut figure.series {
        thin::for_screen(series);
    }
}

/// One row per metric of the summary: tag, name, unit, whether larger is better, statistics.
fn metrics(run: &Run) -> Vec<Value> {
    let row = |tag: &str, unit: &str, stats: Map<String, Value>| {
        json!([tag, name_of(tag), unit, larger_is_better(tag), stats])
    };
    if run.is_cell {
        let mut by_tag: Map<String, Value> = Map::new();
        for (key, block) in run.summary["metrics"].as_object().into_iter().flatten() {
            if let Some((tag, stat)) = key.rsplit_once('_') {
                let entry = by_tag
                    .entry(tag)
                    .or_insert_with(|| json!({"unit": block["unit"], "stats": {}}));
                entry["stats"][stat] = block["mean"].clone();
            }
        }
        let of = |(tag, entry): (&String, &Value)| {
            let stats = entry["stats"].as_object().cloned().unwrap_or_default();
            row(tag, entry["unit"].as_str().unwrap_or_default(), stats)
        };
        return by_tag.iter().map(of).collect();
    }
    let blocks = run.summary.as_object().into_iter().flatten();
    blocks
        .filter_map(|(tag, block)| {
            let unit = block["unit"].as_str()?;
            let stats = block
                .as_object()?
                .iter()
                .filter(|(_, value)| value.is_number());
            Some(row(
                tag,
                unit,
                stats
                    .map(|(stat, value)| (stat.clone(), value.clone()))
                    .collect(),
            ))
        })
        .collect()
}

/// The requests of a run in columns; three decimals are microseconds.
#[derive(Serialize, Default)]
struct Requests<'r> {
    left_out: usize,
    number: Vec<u64>,
    id: Vec<&'r str>,
    conversation: Vec<&'r str>,
    turn: Vec<u64>,
    warmup: Vec<u8>,
    outcome: Vec<&'static str>,
    start_s: Vec<f64>,
    latency_ms: Vec<Option<f64>>,
    ttft_ms: Vec<Option<f64>>,
    itl_ms: Vec<Option<f64>>,
    isl: Vec<Option<f64>>,
    osl: Vec<Option<f64>>,
    why: Vec<Option<String>>,
}

impl<'r> Requests<'r> {
    fn of(run: &'r Run) -> Self {
        let zero = run.zero_ns();
        let mut all = Self {
            left_out: run.requests.len().saturating_sub(REQUESTS),
            ..Self::default()
        };
        let three = |value: f64| (value * 1e3).round() / 1e3;
        for (at, request) in run.requests.iter().enumerate().take(REQUESTS) {
            let value = |tag: &str| run.value(tag, at).map(three);
            all.number.push(request.session_num);
            all.id.push(&request.id);
            all.conversation.push(&request.conversation);
            all.turn.push(request.turn);
            all.warmup.push(u8::from(!request.profiling));
            all.outcome.push(match request.outcome {
                Outcome::Valid => "ok",
                Outcome::Failed => "failed",
                Outcome::Cancelled => "cancelled",
            });
            all.start_s
                .push(three((request.start_ns as f64 - zero as f64) / 1e9));
            let lasted = three((request.end_ns - request.start_ns) as f64 / 1e6);
            all.latency_ms
                .push(value("request_latency").or(Some(lasted)));
            let ttft = request
                .cancel
                .as_ref()
                .and_then(|cancel| cancel.time_to_first_token_ms);
            all.ttft_ms
                .push(value("time_to_first_token").or(ttft.map(three)));
            all.itl_ms.push(value("inter_token_latency"));
            all.isl
                .push(value("input_sequence_length").or_else(|| value("error_isl")));
            all.osl.push(value("output_sequence_length"));
            all.why.push(why(request));
        }
        all
    }
}

/// What went wrong, or what of a cancellation is known.
fn why(request: &Request) -> Option<String> {
    let Some(cancel) = &request.cancel else {
        return request.error.clone();
    };
    let phase = cancel.phase.as_deref().unwrap_or("unknown phase");
    let late = cancel
        .delay_error_us
        .map(|late| format!(", {late:.0} us after the asked instant"))
        .unwrap_or_default();
    let asked = cancel
        .asked_delay_ms
        .map(|asked| format!(" after {asked} ms"))
        .unwrap_or_default();
    Some(format!("cancelled{asked} while {phase}{late}"))
}
