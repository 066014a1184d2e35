//! `profile_export_aiperf_aggregate.json` and its CSV: what the runs of one point say together.

use serde_json::{Map, Value, json};

use super::{Cell, Spread, Sweep, bare, csv, figures};

impl Sweep {
    /// The file of one point.
    pub fn confidence_json(&self, cell: &Cell) -> Value {
        let mut metrics = Map::new();
        for (name, unit, spread) in self.spreads(cell) {
            metrics.insert(
                name,
                json!({
                    "mean": spread.mean, "std": spread.std, "min": spread.min, "max": spread.max,
                    "cv": spread.cv, "se": spread.se, "ci_low": spread.ci_low,
                    "ci_high": spread.ci_high, "t_critical": spread.t_critical, "unit": unit,
                }),
            );
        }
        json!({
            "schema_version": "1.0",
            "aiperf_version": self.version,
            "metadata": self.confidence_metadata(cell),
            "metrics": metrics,
        })
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
        for (key, value) in self.confidence_metadata(cell) {
            rows.push(vec![key, bare(&value)]);
        }
        csv(&rows)
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

    pub(super) fn confidence_metadata(&self, cell: &Cell) -> Map<String, Value> {
        let failed = cell.trials.iter().filter_map(|trial| {
            let error = trial.error.as_ref()?;
            Some(json!({"label": trial.label, "error": error}))
        });
        let labels: Vec<&str> = cell.trials.iter().map(|t| t.label.as_str()).collect();
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
        put("aggregation_type", "confidence".into());
        put("num_profile_runs", cell.trials.len().into());
        put("num_successful_runs", cell.good().count().into());
        put("failed_runs", failed.collect());
        put("confidence_level", self.level.into());
        put("run_labels", labels.into());
        put("cooldown_seconds", self.cooldown_s.into());
        if cell.trials.len() == 1 {
            put("single_run", true.into());
        }
        if !self.parameters.is_empty() {
            put("variation_label", cell.label.as_str().into());
            let pairs = self.parameters.iter().zip(&cell.values);
            let values: Map<String, Value> = pairs
                .map(|(p, value)| (p.path.clone(), value.clone()))
                .collect();
            put("variation_values", values.into());
            put("sweep_mode", self.mode.as_str().into());
        }
        put("model", self.models.join(",").into());
        if let Some(convergence) = &self.convergence {
            let good: Vec<_> = cell.good().collect();
            put("convergence", convergence.json(&good, self.level));
        }
        map
    }

    /// What to think of the spread of a point's runs, for the console.
    pub fn confidence_console(&self, cell: &Cell, width: usize, colour: bool) -> String {
        super::table::confidence(self, cell, width, colour)
    }
}
