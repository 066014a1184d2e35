//! `profile_export_aiperf_collated.json`: the requests of all runs of a point together. A
//! percentile of them is what the mean of the runs' percentiles is not.

use std::collections::BTreeMap;

use pinfire_artifacts::sweep::{Collated, CollatedFigures, CollatedMetric, CollatedRun};

use super::{Cell, Sweep};
use crate::compare::{FilesError, Run, Stat};

/// A metric over the runs.
#[derive(Default)]
struct Pooled {
    unit: String,
    values: Vec<f64>,
    per_run: Vec<CollatedRun>,
}

impl Pooled {
    fn metric(mut self) -> CollatedMetric {
        self.values.sort_unstable_by(f64::total_cmp);
        let of = |stat: Stat| stat.of(&self.values);
        CollatedMetric {
            unit: self.unit,
            combined: CollatedFigures {
                mean: of(Stat::Avg),
                std: of(Stat::Std),
                p50: of(Stat::Percentile(50.0)),
                p90: of(Stat::Percentile(90.0)),
                p95: of(Stat::Percentile(95.0)),
                p99: of(Stat::Percentile(99.0)),
                count: self.values.len(),
            },
            per_run: self.per_run,
        }
    }
}

impl Sweep {
    /// The file of one point: measured requests that were answered, metric by metric. Reads the
    /// runs' lines; `None` if there are none.
    ///
    /// # Errors
    /// The lines of a run cannot be read.
    pub fn collated(&self, cell: &Cell) -> Result<Option<Collated>, FilesError> {
        let mut metrics: BTreeMap<String, Pooled> = BTreeMap::new();
        for trial in cell.good() {
            for (tag, values) in Run::read(&trial.folder)?.values {
                let pooled = metrics.entry(tag).or_default();
                pooled.unit = values.unit;
                pooled.per_run.push(CollatedRun {
                    label: trial.label.clone(),
                    mean: Stat::Avg.of(&values.values),
                    count: values.values.len(),
                });
                pooled.values.extend(values.values);
            }
        }
        let metrics = metrics.into_iter();
        let metrics = metrics.map(|(tag, pooled)| (tag, pooled.metric()));
        let file = Collated {
            schema_version: "1.0.0".to_owned(),
            aiperf_version: self.version.clone(),
            metadata: self.confidence_metadata(cell),
            metrics: metrics.collect(),
        };
        Ok(Some(file).filter(|file| !file.metrics.is_empty()))
    }
}
