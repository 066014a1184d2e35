//! `profile_export_aiperf_aggregate.json` and its CSV: what the runs of one point say together.

use pinfire_artifacts::sweep::{Aggregate, AggregateBlock, AggregateMetadata, FailedRun};

use super::{Cell, Spread, Sweep, csv, figures, rows_of};

impl Sweep {
    /// The file of one point.
    pub fn confidence(&self, cell: &Cell) -> Aggregate {
        let metrics = self.spreads(cell).into_iter();
        let metrics = metrics.map(|(name, unit, spread)| {
            let block = AggregateBlock {
                mean: Some(spread.mean),
                std: Some(spread.std),
                min: Some(spread.min),
                max: Some(spread.max),
                cv: Some(spread.cv),
                se: Some(spread.se),
                ci_low: Some(spread.ci_low),
                ci_high: Some(spread.ci_high),
                t_critical: spread.t_critical,
                unit,
            };
            (name, block)
        });
        Aggregate {
            schema_version: "1.0".to_owned(),
            aiperf_version: self.version.clone(),
            metadata: self.confidence_metadata(cell),
            metrics: metrics.collect(),
        }
    }

    /// Its CSV twin.
    pub fn confidence_csv(&self, cell: &Cell) -> Vec<u8> {
        let head = [
            "metric",
            "mean",
            "std",
            "min",
            "max",
            "cv",
            "se",
            "ci_low",
            "ci_high",
            "t_critical",
            "unit",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for (name, unit, spread) in self.spreads(cell) {
            let two = |value: f64| format!("{value:.2}");
            let four = |value: f64| format!("{value:.4}");
            rows.push(vec![
                name,
                two(spread.mean),
                two(spread.std),
                two(spread.min),
                two(spread.max),
                four(spread.cv),
                four(spread.se),
                two(spread.ci_low),
                two(spread.ci_high),
                spread.t_critical.map_or_else(String::new, four),
                unit,
            ]);
        }
        rows.push(Vec::new());
        rows.extend(rows_of(&self.confidence_metadata(cell)));
        csv(rows)
    }

    /// `<tag>_<figure>`, unit and spread.
    fn spreads(&self, cell: &Cell) -> Vec<(String, String, Spread)> {
        let all = figures(cell)
            .into_iter()
            .filter_map(|(tag, stat, unit, values)| {
                Some((
                    format!("{tag}_{stat}"),
                    unit,
                    Spread::of(&values, self.level)?,
                ))
            });
        all.collect()
    }

    pub(super) fn confidence_metadata(&self, cell: &Cell) -> AggregateMetadata {
        let failed = cell.trials.iter().filter_map(|trial| {
            Some(FailedRun {
                label: trial.label.clone(),
                error: trial.error.clone()?,
            })
        });
        let swept = !self.parameters.is_empty();
        let pairs = self.parameters.iter().zip(&cell.values);
        let values = pairs.map(|(p, value)| (p.path.clone(), value.clone()));
        let good: Vec<_> = cell.good().collect();
        let convergence = self.convergence.as_ref();
        AggregateMetadata {
            aggregation_type: "confidence".to_owned(),
            num_profile_runs: cell.trials.len() as u64,
            num_successful_runs: Some(good.len() as u64),
            failed_runs: failed.collect(),
            confidence_level: self.level,
            run_labels: cell.trials.iter().map(|t| t.label.clone()).collect(),
            cooldown_seconds: self.cooldown_s,
            single_run: (cell.trials.len() == 1).then_some(true),
            variation_label: swept.then(|| cell.label.clone()),
            variation_values: swept.then(|| values.collect()),
            sweep_mode: swept.then(|| self.mode.clone()),
            model: Some(self.models.join(",")),
            convergence: convergence.map(|rule| rule.agreement(&good, self.level)),
        }
    }

    /// What to think of the spread of a point's runs, for the console.
    pub fn confidence_console(&self, cell: &Cell, width: usize, colour: bool) -> String {
        super::table::confidence(self, cell, width, colour)
    }
}
