//! `profile_export_aiperf_collated.json`: the requests of all runs of a point together. A percentile of
//! them is what the mean of the runs' percentiles is not.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Cell, Sweep};
use crate::compare::{FilesError, Run, Stat};

/// The figures of all runs together, in the file's order.
const FIGURES: [(&str, Stat); 6] = [
    ("mean", Stat::Avg),
    ("std", Stat::Std),
    ("p50", Stat::Percentile(50.0)),
    ("p90", Stat::Percentile(90.0)),
    ("p95", Stat::Percentile(95.0)),
    ("p99", Stat::Percentile(99.0)),
];

/// A metric over the runs.
#[derive(Default)]
struct Pooled {
    unit: String,
    values: Vec<f64>,
    per_run: Vec<Value>,
}

impl Sweep {
    /// The file of one point: measured requests that were answered, metric by metric. Reads the runs'
    /// lines; `None` if there are none.
    ///
    /// # Errors
    /// The lines of a run cannot be read.
    pub fn collated_json(&self, cell: &Cell) -> Result<Option<Value>, FilesError> {
        let mut metrics: BTreeMap<String, Pooled> = BTreeMap::new();
        for trial in cell.good() {
            for (tag, values) in Run::read(&trial.folder)?.values {
                let pooled = metrics.entry(tag).or_default();
                pooled.unit = values.unit;
                pooled.per_run.push(json!({
                    "label": trial.label,
                    "mean": Stat::Avg.of(&values.values),
                    "count": values.values.len(),
                }));
                pooled.values.extend(values.values);
            }
        }
        let metrics: Map<String, Value> = metrics
            .into_iter()
            .map(|(tag, mut pooled)| {
                pooled.values.sort_unstable_by(f64::total_cmp);
                let figures = FIGURES
                    .iter()
                    .map(|(name, stat)| ((*name).to_owned(), json!(stat.of(&pooled.values))));
                let mut combined: Map<String, Value> = figures.collect();
                combined.insert("count".to_owned(), pooled.values.len().into());
                let block = json!({
                    "unit": pooled.unit,
                    "combined": combined,
                    "per_run": pooled.per_run,
                });
                (tag, block)
            })
            .collect();
        Ok((!metrics.is_empty()).then(|| {
            json!({
                "schema_version": "1.0.0",
                "aiperf_version": self.version,
                "metadata": self.confidence_metadata(cell),
                "metrics": metrics,
            })
        }))
    }
}
