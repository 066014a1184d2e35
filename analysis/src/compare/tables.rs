//! A comparison as a table and as JSON.

use serde_json::{Map, Value, json};

use super::bootstrap::RESAMPLES;
use super::{Comparison, Row, Subject, Verdict};
use crate::export::table::{Align, Table};
use crate::export::words::number;
use crate::metric::{self, Group, METRICS, Place};

/// Settings that differ and are shown.
const MOST_SETTINGS: usize = 12;

impl Comparison {
    /// The table for a person: with `all`, every figure, else those of the main table.
    pub fn console(&self, all: bool, width: usize, colour: bool) -> String {
        let mut text = format!(
            "A: {}\nB: {}\n",
            self.a.path.display(),
            self.b.path.display()
        );
        for note in self.a.notes.iter().chain(&self.b.notes) {
            text += &format!("note: {note}\n");
        }
        for (path, a, b) in self.settings.iter().take(MOST_SETTINGS) {
            text += &format!("differs: {path}: {} -> {}\n", shown(a), shown(b));
        }
        if let Some(more) = self.settings.len().checked_sub(MOST_SETTINGS + 1) {
            text += &format!("differs: {} settings more, see --output\n", more + 1);
        }
        let interval = format!("{} % interval", percent(self.level));
        let head = [
            ("Metric", Align::Right),
            ("Figure", Align::Left),
            ("A", Align::Right),
            ("B", Align::Right),
            ("B - A", Align::Right),
            ("%", Align::Right),
            (interval.as_str(), Align::Right),
            ("", Align::Left),
        ];
        let mut table = Table::new("pinfire | Comparison".to_owned(), &head, 0);
        for of_one in self
            .by_subject(all)
            .chunk_by(|one, next| subject(one) == subject(next))
        {
            let name = of_one.first().map_or("", |row| subject(row).name());
            let mut title = vec![name.to_uppercase()];
            title.resize(head.len(), String::new());
            table.row(title);
            of_one.iter().for_each(|row| table.row(cells(row)));
        }
        text += &table.render(width, colour);
        text += &self.meaning();
        for judged in &self.judged {
            let verdict = if judged.fires { "BROKEN" } else { "kept" };
            let row = &judged.row;
            text += &format!("rule {}: {verdict} ({})\n", judged.rule.text, of_both(row),);
        }
        text
    }

    /// The rows to show, those of one subject together.
    fn by_subject(&self, all: bool) -> Vec<&Row> {
        let shown = self.rows.iter().filter(|row| all || is_main(&row.tag));
        let mut rows: Vec<&Row> = shown.collect();
        rows.sort_by_key(|row| subject(row));
        rows
    }

    /// What the verdicts speak of.
    fn meaning(&self) -> String {
        let runs = |run: &super::Run| run.repeats.len().max(1);
        let (a, b) = (runs(&self.a), runs(&self.b));
        let noise = if a + b > 2 {
            format!(
                "noise: the interval of B - A holds 0. It comes from what the runs of one side differ by \
                 ({a} of A, {b} of B).\n"
            )
        } else {
            format!(
                "noise: the interval of B - A holds 0. It speaks of the requests of these two runs (seed {}, \
                 {RESAMPLES} resamples), not of what a third run would show.\n",
                self.seed
            )
        };
        let small = self.rows.iter().any(|row| row.verdict == Verdict::Small);
        if small {
            noise
                + &format!(
                    "small: below {} % of A (--min-effect).\n",
                    percent(self.min_effect)
                )
        } else {
            noise
        }
    }

    /// The same as a Markdown table, for a pull request.
    pub fn markdown(&self, all: bool) -> String {
        let cell = |text: &str| text.replace('|', "\\|").replace(['\r', '\n'], " ");
        let mut text = format!(
            "A: `{}`  \nB: `{}`\n\n| Metric | Figure | A | B | B - A | % | {} % interval | |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |\n",
            self.a.path.display(),
            self.b.path.display(),
            percent(self.level),
        );
        for row in self.by_subject(all) {
            let cells: Vec<String> = cells(row).iter().map(|text| cell(text)).collect();
            text += &format!("| {} |\n", cells.join(" | "));
        }
        text += &format!("\n{}", self.meaning());
        for judged in &self.judged {
            let verdict = if judged.fires { "**broken**" } else { "kept" };
            text += &format!(
                "\n- `{}`: {verdict} ({})",
                judged.rule.text,
                of_both(&judged.row)
            );
        }
        text + "\n"
    }

    /// The rules as tests of a JUnit file, for a pipeline; without rules it has none.
    pub fn junit(&self) -> String {
        format!("{XML_HEAD}{}", self.junit_suite("pinfire compare"))
    }

    /// The rules as one suite of such a file.
    pub fn junit_suite(&self, name: &str) -> String {
        let mut text = format!(
            "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\">\n",
            xml(name),
            self.judged.len(),
            self.broken().count(),
        );
        for judged in &self.judged {
            let name = xml(&judged.rule.text);
            text += &format!("  <testcase classname=\"pinfire.compare\" name=\"{name}\"");
            text += &if judged.fires {
                let what = xml(&of_both(&judged.row));
                format!(">\n    <failure message=\"{what}\"/>\n  </testcase>\n")
            } else {
                "/>\n".to_owned()
            };
        }
        text + "</testsuite>\n"
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        let mut metrics: Map<String, Value> = Map::new();
        for row in &self.rows {
            let entry = metrics.entry(row.tag.clone()).or_insert_with(|| {
                json!({
                    "unit": row.unit,
                    "subject": subject(row).name(),
                    "larger_is_better": super::larger_is_better(&row.tag),
                    "figures": {},
                })
            });
            if let Some(figures) = entry["figures"].as_object_mut() {
                figures.insert(row.stat.name(), figure(row));
            }
        }
        let settings = self
            .settings
            .iter()
            .map(|(path, a, b)| json!({"setting": path, "a": a, "b": b}));
        let rules = self.judged.iter().map(|judged| {
            let mut map = Map::new();
            map.insert("rule".into(), judged.rule.text.clone().into());
            map.insert("broken".into(), judged.fires.into());
            map.insert("figure".into(), judged.rule.figure.to_string().into());
            if let Value::Object(figure) = figure(&judged.row) {
                map.extend(figure);
            }
            Value::Object(map)
        });
        let run = |run: &super::Run| {
            json!({
                "path": run.path.display().to_string(),
                "benchmark_id": run.summary.head.benchmark_id,
                "requests": run.spans.len(),
                "runs": run.repeats.len().max(1),
                "notes": run.notes,
            })
        };
        json!({
            "schema_version": "1.0",
            "tool_version": format!("pinfire {}", env!("CARGO_PKG_VERSION")),
            "a": run(&self.a),
            "b": run(&self.b),
            "confidence_level": self.level,
            "min_effect": self.min_effect,
            "resamples": RESAMPLES,
            "seed": self.seed,
            "settings_that_differ": settings.collect::<Vec<_>>(),
            "metrics": metrics,
            "rules": rules.collect::<Vec<_>>(),
        })
    }
}

fn subject(row: &Row) -> Subject {
    Subject::of(&row.tag)
}

/// How a file of XML begins.
pub(super) const XML_HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// A figure of both runs in a few words.
fn of_both(row: &Row) -> String {
    format!(
        "{} -> {} {}{}, {}",
        number(Some(row.a)),
        number(Some(row.b)),
        row.unit,
        relative(row),
        row.verdict.name(),
    )
}

/// A text inside an attribute of XML.
pub(super) fn xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn percent(level: f64) -> f64 {
    // 0.95 × 100 is not quite 95.
    (level * 1e6).round() / 1e4
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_main(tag: &str) -> bool {
    let metric = metric::row(tag).and_then(|row| METRICS.get(row));
    metric.is_some_and(|metric| {
        matches!(
            metric.place,
            Place::Table(Group::Default | Group::Effective, _)
        )
    })
}

fn cells(row: &Row) -> Vec<String> {
    let name = metric::row(&row.tag)
        .and_then(|at| METRICS.get(at))
        .map_or_else(
            || format!("{} ({})", row.tag, row.unit),
            metric::Metric::name_with_unit,
        );
    let interval = row.interval.map_or_else(
        || "-".to_owned(),
        |(low, high)| format!("{} .. {}", signed(low), signed(high)),
    );
    let verdict = match row.verdict {
        Verdict::Unknown => "",
        verdict => verdict.name(),
    };
    vec![
        name,
        row.stat.name(),
        number(Some(row.a)),
        number(Some(row.b)),
        signed(row.difference()),
        row.percent()
            .map_or_else(|| "-".to_owned(), |p| format!("{p:+.1}")),
        interval,
        verdict.to_owned(),
    ]
}

fn signed(value: f64) -> String {
    let sign = if value < 0.0 { "-" } else { "+" };
    format!("{sign}{}", number(Some(value.abs())))
}

/// ` (+5.0 %)`, or nothing where A is 0.
pub(super) fn relative(row: &Row) -> String {
    row.percent()
        .map_or_else(String::new, |percent| format!(", {percent:+.1} %"))
}

fn figure(row: &Row) -> Value {
    let mut map = Map::new();
    map.insert("a".into(), row.a.into());
    map.insert("b".into(), row.b.into());
    map.insert("difference".into(), row.difference().into());
    if let Some(percent) = row.percent() {
        map.insert("difference_pct".into(), percent.into());
    }
    if let Some((low, high)) = row.interval {
        map.insert("ci_low".into(), low.into());
        map.insert("ci_high".into(), high.into());
    }
    map.insert("verdict".into(), row.verdict.name().into());
    map.into()
}
