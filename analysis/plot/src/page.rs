//! The report page: one file with everything in it, or the shell that the dashboard fills over its
//! own address. Style and script are in `assets/`; the content security policy lets nothing else
//! in.

use pinfire_analysis::page::Parts;
use pinfire_artifacts::tag;
use pinfire_artifacts::{
    Carried, ErrorCount, Ordered, Summary,
    config::InputConfig,
    summary::{Accounting, Cancellation, ClientHealth},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Config, Figure, Loaded, Run, figures_of_run, figures_of_runs,
    load::{Outcome, Request, Told, better_if_larger, name_of},
    theme::{self, Theme},
    thin,
};

const PAGE: Parts = Parts {
    shell: include_str!("../assets/page.html"),
    style: include_str!("../assets/page.css"),
    script: include_str!("../assets/page.js"),
};

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
    Ok(PAGE.whole(&data))
}

/// A file of the page that fetches its runs from where it came from: under which path it is served,
/// of which type it is, and its text.
pub struct LiveFile {
    /// Such as `/page.js`.
    pub path: &'static str,
    /// The value of `Content-Type`.
    pub kind: &'static str,
    /// All of it.
    pub text: String,
}

/// The files of that page. Style and script have paths of their own, so that its server need not
/// allow any that stand in a page.
pub fn live(theme: &str) -> [LiveFile; 3] {
    let data = json!({"live": true, "theme": theme, "themes": themes(), "runs": []});
    let file = |path, kind, text: String| LiveFile { path, kind, text };
    let (style, script) = ("/page.css", "/page.js");
    [
        file(
            "/",
            "text/html; charset=utf-8",
            PAGE.linked(&data, style, script),
        ),
        file(style, "text/css; charset=utf-8", PAGE.style.to_owned()),
        file(
            script,
            "text/javascript; charset=utf-8",
            PAGE.script.to_owned(),
        ),
    ]
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
    let mut drawn = if run.is_cell() {
        super::Drawn::default()
    } else {
        figures_of_run(run, config)?
    };
    drawn.figures.iter_mut().for_each(thin_for_page);
    let summary = run.summary();
    let text = |of: fn(&Summary) -> Option<&str>| {
        let found = summary.and_then(of);
        found.unwrap_or("unknown").to_owned()
    };
    let facts = [
        ("Model", run.label("model")),
        ("Endpoint", run.label("endpoint")),
        ("Concurrency", run.label("concurrency")),
        ("Started", text(|summary| summary.start_time.as_deref())),
        ("Ended", text(|summary| summary.end_time.as_deref())),
        ("Folder", run.folder.display().to_string()),
        (
            "Command",
            text(|summary| summary.run_info.as_deref()?.cli_command.as_deref()),
        ),
    ];
    let blocks = summary.map(|summary| Blocks {
        client_health: summary.client_health.as_ref(),
        cancellation: summary.cancellation.as_ref(),
        request_accounting: summary.request_accounting.as_ref(),
        error_summary: summary.error_summary.as_ref(),
        input_config: summary.input_config.as_ref(),
    });
    Ok(json!({
        "id": id,
        "name": run.name,
        "facts": facts,
        "metrics": metrics(run),
        "incomplete": summary.and_then(|summary| summary.incomplete_reason.as_deref()),
        "shards": summary.and_then(|summary| summary.shards.as_ref()),
        "blocks": blocks.unwrap_or_default(),
        "figures": drawn.figures,
        "skipped": drawn.skipped,
        "requests": Requests::of(run),
    }))
}

/// Parts of a summary that the page shows as they stand.
#[derive(Serialize, Default)]
struct Blocks<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_health: Option<&'r Carried<ClientHealth>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation: Option<&'r Carried<Cancellation>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_accounting: Option<&'r Carried<Accounting>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_summary: Option<&'r Vec<ErrorCount>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_config: Option<&'r Carried<InputConfig>>,
}

/// What of a figure can be told apart on a screen.
fn thin_for_page(figure: &mut Figure) {
    for series in &mut figure.series {
        thin::for_screen(series);
    }
}

/// One row per metric of the summary: tag, name, unit, whether larger is better (`null` of what is
/// no result: lengths, sizes and counts), statistics.
fn metrics(run: &Run) -> Vec<Value> {
    let row = |tag: &str, unit: &str, stats: &Ordered<Value>| {
        json!([tag, name_of(tag), unit, better_if_larger(tag), stats])
    };
    match &run.told {
        Told::Cell(cell) => {
            let mut by_tag: Ordered<(&str, Ordered<Value>)> = Ordered::default();
            for (key, block) in &cell.metrics {
                if let Some((tag, stat)) = key.rsplit_once('_') {
                    let (_, stats) = by_tag
                        .entry(tag.to_owned())
                        .or_insert_with(|| (&block.unit, Ordered::default()));
                    stats.insert(stat.to_owned(), block.mean.into());
                }
            }
            let rows = by_tag.iter();
            rows.map(|(tag, (unit, stats))| row(tag, unit, stats))
                .collect()
        }
        Told::Run(summary) => {
            let rows = summary.metrics().map(|(tag, block)| {
                let stats = block.stats.iter();
                let stats = stats.map(|(stat, value)| (stat.clone(), value.clone().into()));
                row(tag, &block.unit, &stats.collect())
            });
            rows.collect()
        }
    }
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
                .push(value(tag::REQUEST_LATENCY).or(Some(lasted)));
            let ttft = request
                .cancel
                .as_ref()
                .and_then(|cancel| cancel.time_to_first_token_ms);
            all.ttft_ms
                .push(value(tag::TIME_TO_FIRST_TOKEN).or(ttft.map(three)));
            all.itl_ms.push(value(tag::INTER_TOKEN_LATENCY));
            all.isl
                .push(value(tag::INPUT_SEQUENCE_LENGTH).or_else(|| value(tag::ERROR_ISL)));
            all.osl.push(value(tag::OUTPUT_SEQUENCE_LENGTH));
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
