//! `profile_export_aiperf_sweep.json` and its CSV: all points together.

use serde_json::{Map, Value, json};

use super::{Cell, Marks, Spread, Sweep, bare, csv, figures, pareto};
use crate::compare::Stat;

impl Sweep {
    /// The file.
    pub fn json(&self) -> Value {
        let marks = self.marks();
        let (good, all) = self.counts();
        let failed = self.cells.iter().flat_map(|cell| {
            cell.trials.iter().filter_map(|trial| {
                let label = [cell.label.as_str(), trial.label.as_str()];
                let label = label.into_iter().filter(|part| !part.is_empty());
                let label = label.collect::<Vec<_>>().join(": ");
                Some(json!({"label": label, "error": trial.error.as_ref()?}))
            })
        });
        let per_cell = self
            .with_figures()
            .zip_marks(&marks)
            .map(|(cell, marks)| self.combination(cell, marks));
        let optimal = |of: fn(&Marks) -> bool| -> Vec<Value> {
            let cells = self.with_figures().zip_marks(&marks);
            let chosen = cells.filter(|(_, marks)| of(marks));
            chosen
                .map(|(cell, _)| self.parameters_of(cell).into())
                .collect()
        };
        let saturated = optimal(|marks| marks.saturated);
        let sweet = optimal(|marks| marks.sweet_spot);
        json!({
            "schema_version": "1.0",
            "tool_version": format!("pinfire {}", self.version),
            "aggregation_type": "sweep",
            "num_profile_runs": all,
            "num_successful_runs": good,
            "failed_runs": failed.collect::<Vec<_>>(),
            "metadata": self.metadata(&marks),
            "per_combination_metrics": per_cell.collect::<Vec<_>>(),
            "best_configurations": self.best(&marks),
            "pareto_optimal": optimal(|marks| marks.optimal),
            "pareto_optimal_tps": optimal(|marks| marks.front),
            "sweet_spot": sweet.first(),
            "saturated": saturated,
        })
    }

    /// Points of which at least one run counts.
    fn with_figures(&self) -> WithFigures<'_> {
        WithFigures(self)
    }

    fn metadata(&self, marks: &[Marks]) -> Value {
        let parameters: Vec<Value> = self
            .parameters
            .iter()
            .map(|p| json!({"name": p.name, "path": p.path, "values": p.values}))
            .collect();
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
        put("sweep_parameters", parameters.into());
        put("num_combinations", self.cells.len().into());
        put("sweep_mode", self.mode.as_str().into());
        put("confidence_level", self.level.into());
        put("num_trials_per_value", self.trials.into());
        put("aggregation_type", "sweep".into());
        if let Some(gpus) = self.num_gpus {
            put("num_gpus", gpus.into());
        }
        if !self.objectives.is_empty() {
            let texts: Vec<&str> = self
                .objectives
                .iter()
                .map(|slo| slo.text.as_str())
                .collect();
            let feasible = marks.iter().filter(|marks| marks.feasible).count();
            put(
                "sla_constraints",
                json!({
                    "active_filters": texts,
                    "feasible_count": feasible,
                    "infeasible_count": self.cells.len() - feasible,
                }),
            );
        }
        put(
            "pareto_axes",
            json!({
                "pareto_optimal": ["request_throughput avg, larger", "time_to_first_token p99 (else request_latency p99), smaller"],
                "pareto_optimal_tps": ["output_token_throughput avg per GPU, larger", "output_token_throughput_per_user avg, larger"],
            }),
        );
        map.into()
    }

    fn combination(&self, cell: &Cell, marks: &Marks) -> Value {
        let mut map = Map::new();
        map.insert("parameters".into(), self.parameters_of(cell).into());
        let metrics = if self.trials == 1 {
            one_trial(cell)
        } else {
            several_trials(cell, self.level)
        };
        map.insert("metrics".into(), metrics.into());
        let mut put = |key: &str, value: Option<f64>| {
            if let Some(value) = value {
                map.insert(key.to_owned(), value.into());
            }
        };
        let gpus = self.num_gpus.map(|gpus| gpus as f64);
        put("total_tps", cell.total_tps());
        put(
            "tps_per_gpu",
            cell.total_tps().zip(gpus).map(|(tps, gpus)| tps / gpus),
        );
        put("tps_per_user", cell.tps_per_user());
        put("num_gpus", gpus);
        put("goodput", cell.figure("goodput", Stat::Avg));
        // What the cancels of a point came to; the metrics above are of answered requests alone.
        let planned: Vec<&Value> = cell
            .good()
            .filter_map(|trial| trial.summary.get("cancellation"))
            .collect();
        if !planned.is_empty() {
            let of = |key: &str| -> Option<f64> {
                let numbers = planned.iter().filter_map(|planned| {
                    let value = planned.get(key)?;
                    value.as_f64().or_else(|| value.get("sum")?.as_f64())
                });
                let values: Vec<f64> = numbers.collect();
                (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
            };
            let cancelled = cell.figure("cancelled_request_count", Stat::Avg);
            let answered = cell.figure("request_count", Stat::Avg).unwrap_or(0.0);
            let failed = cell.figure("error_request_count", Stat::Avg).unwrap_or(0.0);
            let fraction = cancelled.map(|count| count / (count + answered + failed));
            put("cancelled_count", cancelled);
            put("cancelled_fraction", fraction.filter(|f| f.is_finite()));
            put("cancellation_rate_asked", of("rate_asked"));
            put("cancellation_rate_reached", of("rate_reached"));
            put("cancellation_delay_asked_ms", of("delay_asked_ms"));
            put("wasted_tokens", of("tokens_received"));
        }
        map.insert("trials".into(), cell.good().count().into());
        let flags = [
            ("pareto_optimal", marks.optimal),
            ("pareto_optimal_tps", marks.front),
            ("sweet_spot", marks.sweet_spot),
            ("saturated", marks.saturated),
        ];
        map.extend(flags.map(|(key, flag)| (key.to_owned(), flag.into())));
        if !self.objectives.is_empty() {
            map.insert("feasible".into(), marks.feasible.into());
        }
        map.into()
    }

    /// Largest throughput and smallest p99, among the points that meet the objectives if any does.
    fn best(&self, marks: &[Marks]) -> Value {
        let any = marks.iter().any(|marks| marks.feasible);
        let cells: Vec<&Cell> = self
            .with_figures()
            .zip_marks(marks)
            .filter(|(_, marks)| marks.feasible || !any)
            .map(|(cell, _)| cell)
            .collect();
        let mut best = Map::new();
        let throughput = cells
            .iter()
            .filter_map(|cell| Some((*cell, cell.figure("request_throughput", Stat::Avg)?)))
            .max_by(|x, y| x.1.total_cmp(&y.1));
        if let Some((cell, value)) = throughput {
            best.insert(
                "best_throughput".into(),
                json!({"parameters": self.parameters_of(cell), "metric": value, "unit": "requests/sec"}),
            );
        }
        let latency = cells
            .iter()
            .filter_map(|cell| Some((*cell, pareto::p99(cell)?)))
            .min_by(|x, y| x.1.1.total_cmp(&y.1.1));
        if let Some((cell, (tag, value))) = latency {
            best.insert(
                "best_latency_p99".into(),
                json!({"parameters": self.parameters_of(cell), "metric": value, "unit": "ms", "tag": tag}),
            );
        }
        best.into()
    }

    /// The CSV twin: points, best, front, metadata.
    pub fn csv(&self) -> Vec<u8> {
        let file = self.json();
        let points = file["per_combination_metrics"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut metrics: Vec<String> = Vec::new();
        for point in &points {
            for name in point["metrics"].as_object().into_iter().flat_map(Map::keys) {
                if !metrics.contains(name) {
                    metrics.push(name.clone());
                }
            }
        }
        const COLUMNS: [&str; 5] = ["mean", "std", "min", "max", "cv"];
        let names: Vec<String> = self.parameters.iter().map(|p| p.name.clone()).collect();
        let mut head = names.clone();
        for metric in &metrics {
            head.extend(COLUMNS.map(|column| format!("{metric}_{column}")));
        }
        let mut rows = vec![head];
        for point in &points {
            let mut row: Vec<String> = names
                .iter()
                .map(|name| bare(&point["parameters"][name]))
                .collect();
            for metric in &metrics {
                row.extend(COLUMNS.map(|column| {
                    let value = point["metrics"][metric][column].as_f64();
                    let digits = if column == "cv" { 4 } else { 2 };
                    value.map_or_else(String::new, |value| format!("{value:.digits$}"))
                }));
            }
            rows.push(row);
        }
        let cells = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        rows.push(Vec::new());
        rows.push(cells(&["Best Configurations"]));
        let mut head = cells(&["Configuration"]);
        head.extend(names.clone());
        head.extend(cells(&["Metric", "Unit"]));
        rows.push(head);
        for (key, title) in [
            ("best_throughput", "Best Throughput"),
            ("best_latency_p99", "Best Latency (p99)"),
        ] {
            let best = &file["best_configurations"][key];
            if best.is_null() {
                continue;
            }
            let mut row = cells(&[title]);
            row.extend(names.iter().map(|name| bare(&best["parameters"][name])));
            row.push(format!(
                "{:.2}",
                best["metric"].as_f64().unwrap_or(f64::NAN)
            ));
            row.push(bare(&best["unit"]));
            rows.push(row);
        }
        rows.push(Vec::new());
        rows.push(cells(&["Pareto Optimal Points"]));
        let optimal = file["pareto_optimal"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if optimal.is_empty() {
            rows.push(cells(&["None"]));
        } else {
            rows.push(names.clone());
        }
        for point in optimal {
            rows.push(names.iter().map(|name| bare(&point[name])).collect());
        }
        rows.push(Vec::new());
        rows.push(cells(&["Metadata"]));
        rows.push(cells(&["Field", "Value"]));
        let top = [
            "aggregation_type",
            "num_profile_runs",
            "num_successful_runs",
        ];
        for key in top {
            rows.push(vec![key.to_owned(), bare(&file[key])]);
        }
        for (key, value) in file["metadata"].as_object().into_iter().flatten() {
            if key != "aggregation_type" {
                rows.push(vec![key.clone(), bare(value)]);
            }
        }
        csv(&rows)
    }
}

/// Points of which at least one run counts.
struct WithFigures<'a>(&'a Sweep);

impl<'a> WithFigures<'a> {
    fn zip_marks<'m>(self, marks: &'m [Marks]) -> impl Iterator<Item = (&'a Cell, &'m Marks)> {
        let cells = self.0.cells.iter().zip(marks);
        cells.filter(|(cell, _)| cell.good().next().is_some())
    }
}

/// By tag: the block with mean and a collapsed interval.
fn one_trial(cell: &Cell) -> Map<String, Value> {
    let mut metrics = Map::new();
    for (tag, block) in cell
        .good()
        .next()
        .into_iter()
        .flat_map(|trial| &trial.blocks)
    {
        let Some(&avg) = block.stats.get("avg") else {
            continue;
        };
        let stat = |name: &str| block.stats.get(name).copied().unwrap_or(avg);
        let mut map = Map::new();
        for (key, value) in [
            ("mean", avg),
            ("avg", avg),
            ("std", 0.0),
            ("min", stat("min")),
            ("max", stat("max")),
            ("cv", 0.0),
            ("ci_low", avg),
            ("ci_high", avg),
        ] {
            map.insert(key.into(), value.into());
        }
        map.insert("unit".into(), block.unit.as_str().into());
        for name in super::ordered(block) {
            if let (false, Some(value)) = (map.contains_key(&name), block.stats.get(&name)) {
                map.insert(name.clone(), (*value).into());
            }
        }
        metrics.insert(tag.clone(), map.into());
    }
    metrics
}

/// By `<tag>_<figure>`: the spread over the runs.
fn several_trials(cell: &Cell, level: f64) -> Map<String, Value> {
    let all = figures(cell)
        .into_iter()
        .filter_map(|(tag, stat, unit, values)| {
            let spread = Spread::of(&values, level)?;
            let block = json!({
                "mean": spread.mean, "std": spread.std, "min": spread.min, "max": spread.max,
                "cv": spread.cv, "ci_low": spread.ci_low, "ci_high": spread.ci_high, "unit": unit,
            });
            Some((format!("{tag}_{stat}"), block))
        });
    all.collect()
}
