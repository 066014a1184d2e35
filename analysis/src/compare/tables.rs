//! A comparison as a table and as JSON.

use serde_json::{Map, Value, json};

use super::bootstrap::RESAMPLES;
use super::{Comparison, Row, Verdict};
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
        for row in self.rows.iter().filter(|row| all || is_main(&row.tag)) {
            table.row(cells(row));
        }
        text += &table.render(width, colour);
        text += &format!(
            "noise: the interval of B - A holds 0. It speaks of the requests of these two runs (seed {}, \
             {RESAMPLES} resamples), not of what a third run would show.\n",
            self.seed
        );
        for judged in &self.judged {
            let verdict = if judged.fires { "BROKEN" } else { "kept" };
            let row = &judged.row;
            text += &format!(
                "rule {}: {verdict} ({} -> {} {}{}, {})\n",
                judged.rule.text,
                number(Some(row.a)),
                number(Some(row.b)),
                row.unit,
                relative(row),
                row.verdict.name(),
            );
        }
        text
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        let mut metrics: Map<String, Value> = Map::new();
        for row in &self.rows {
            let entry = metrics.entry(row.tag.clone()).or_insert_with(|| {
                json!({
                    "unit": row.unit,
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
                "notes": run.notes,
            })
        };
        json!({
            "schema_version": "1.0",
            "tool_version": format!("pinfire {}", env!("CARGO_PKG_VERSION")),
            "a": run(&self.a),
            "b": run(&self.b),
            "confidence_level": self.level,
            "resamples": RESAMPLES,
            "seed": self.seed,
            "settings_that_differ": settings.collect::<Vec<_>>(),
            "metrics": metrics,
            "rules": rules.collect::<Vec<_>>(),
        })
    }
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
