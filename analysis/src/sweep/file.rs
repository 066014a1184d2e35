//! `profile_export_aiperf_sweep.json` and its CSV: all points together.

use pinfire_artifacts::Ordered;
use pinfire_artifacts::summary::Cancellation;
use pinfire_artifacts::sweep::{
    BestPoint, BestPoints, Combination, CombinationMetric, FailedRun, ParetoAxes, PointValues,
    SlaConstraints, SweepFile, SweepMetadata, SweepParameter,
};
use pinfire_artifacts::tag;

use super::{Cell, Marks, Spread, Sweep, bare, csv, figures, pareto, rows_of};
use crate::compare::Stat;

impl Sweep {
    /// The file.
    pub fn file(&self) -> SweepFile {
        let marks = self.marks();
        let (good, all) = self.counts();
        let failed = self.cells.iter().flat_map(|cell| {
            cell.trials.iter().filter_map(|trial| {
                let label = [cell.label.as_str(), trial.label.as_str()];
                let label = label.into_iter().filter(|part| !part.is_empty());
                Some(FailedRun {
                    label: label.collect::<Vec<_>>().join(": "),
                    error: trial.error.clone()?,
                })
            })
        });
        let points = self.with_figures().zip_marks(&marks);
        let optimal = |of: fn(&Marks) -> bool| -> Vec<PointValues> {
            let cells = self.with_figures().zip_marks(&marks);
            let chosen = cells.filter(|(_, marks)| of(marks));
            chosen.map(|(cell, _)| self.parameters_of(cell)).collect()
        };
        SweepFile {
            schema_version: "1.0".to_owned(),
            tool_version: format!("pinfire {}", self.version),
            aggregation_type: "sweep".to_owned(),
            num_profile_runs: all,
            num_successful_runs: good,
            failed_runs: failed.collect(),
            metadata: self.metadata(&marks),
            per_combination_metrics: points
                .map(|(cell, marks)| self.combination(cell, marks))
                .collect(),
            best_configurations: self.best(&marks),
            pareto_optimal: optimal(|marks| marks.optimal),
            pareto_optimal_tps: optimal(|marks| marks.front),
            sweet_spot: optimal(|marks| marks.sweet_spot).into_iter().next(),
            saturated: optimal(|marks| marks.saturated),
        }
    }

    /// Points of which at least one run counts.
    fn with_figures(&self) -> WithFigures<'_> {
        WithFigures(self)
    }

    fn metadata(&self, marks: &[Marks]) -> SweepMetadata {
        let parameters = self.parameters.iter().map(|p| SweepParameter {
            name: p.name.clone(),
            path: p.path.clone(),
            values: p.values.clone(),
        });
        let feasible = marks.iter().filter(|marks| marks.feasible).count();
        let texts = self.objectives.iter().map(|slo| slo.text.clone());
        let axes = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();
        SweepMetadata {
            sweep_parameters: parameters.collect(),
            num_combinations: self.cells.len(),
            sweep_mode: self.mode.clone(),
            confidence_level: self.level,
            num_trials_per_value: self.trials,
            aggregation_type: "sweep".to_owned(),
            num_gpus: self.num_gpus,
            sla_constraints: (!self.objectives.is_empty()).then(|| SlaConstraints {
                active_filters: texts.collect(),
                feasible_count: feasible,
                infeasible_count: self.cells.len() - feasible,
            }),
            pareto_axes: ParetoAxes {
                pareto_optimal: axes([
                    "request_throughput avg, larger",
                    "time_to_first_token p99 (else request_latency p99), smaller",
                ]),
                pareto_optimal_tps: axes([
                    "output_token_throughput avg per GPU, larger",
                    "output_token_throughput_per_user avg, larger",
                ]),
            },
        }
    }

    fn combination(&self, cell: &Cell, marks: &Marks) -> Combination {
        let gpus = self.num_gpus.map(|gpus| gpus as f64);
        let total_tps = cell.total_tps();
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        let point = Combination {
            parameters: self.parameters_of(cell),
            metrics: if self.trials == 1 {
                one_trial(cell)
            } else {
                several_trials(cell, self.level)
            },
            total_tps,
            tps_per_gpu: total_tps.zip(gpus).map(|(tps, gpus)| tps / gpus),
            tps_per_user: cell.tps_per_user(),
            num_gpus: gpus,
            goodput: cell.figure(tag::GOODPUT, Stat::Avg),
            trials: cell.good().count(),
            pareto_optimal: marks.optimal,
            pareto_optimal_tps: marks.front,
            sweet_spot: marks.sweet_spot,
            saturated: marks.saturated,
            client_bottleneck_trials: cell.bottlenecks(),
            feasible: (!self.objectives.is_empty()).then_some(marks.feasible),
            ..Combination::default()
        };
        // What the cancels of a point came to; the metrics above are of answered requests alone.
        let planned: Vec<&Cancellation> = cell
            .good()
            .filter_map(|trial| trial.cancellation.as_ref())
            .collect();
        if planned.is_empty() {
            return point;
        }
        let mean = |of: fn(&Cancellation) -> Option<f64>| -> Option<f64> {
            let values: Vec<f64> = planned.iter().filter_map(|planned| of(planned)).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let cancelled = cell.figure(tag::CANCELLED_REQUEST_COUNT, Stat::Avg);
        let answered = cell.figure(tag::REQUEST_COUNT, Stat::Avg).unwrap_or(0.0);
        let failed = cell
            .figure(tag::ERROR_REQUEST_COUNT, Stat::Avg)
            .unwrap_or(0.0);
        let fraction = cancelled.map(|count| count / (count + answered + failed));
        Combination {
            cancelled_count: cancelled,
            cancelled_fraction: finite(fraction),
            cancellation_rate_asked: mean(|planned| planned.rate_asked),
            cancellation_rate_reached: mean(|planned| planned.rate_reached),
            cancellation_delay_asked_ms: mean(|planned| planned.delay_asked_ms),
            wasted_tokens: mean(|planned| planned.tokens_received.as_ref()?.get("sum")),
            ..point
        }
    }

    /// Largest throughput and smallest p99, among the points that meet the objectives if any does.
    fn best(&self, marks: &[Marks]) -> BestPoints {
        let any = marks.iter().any(|marks| marks.feasible);
        let cells: Vec<&Cell> = self
            .with_figures()
            .zip_marks(marks)
            .filter(|(_, marks)| marks.feasible || !any)
            .map(|(cell, _)| cell)
            .collect();
        let throughput = cells
            .iter()
            .filter_map(|cell| Some((*cell, cell.figure(tag::REQUEST_THROUGHPUT, Stat::Avg)?)))
            .max_by(|x, y| x.1.total_cmp(&y.1));
        let latency = cells
            .iter()
            .filter_map(|cell| Some((*cell, pareto::p99(cell)?)))
            .min_by(|x, y| x.1.1.total_cmp(&y.1.1));
        BestPoints {
            best_throughput: throughput.map(|(cell, metric)| BestPoint {
                parameters: self.parameters_of(cell),
                metric,
                unit: "requests/sec".to_owned(),
                tag: None,
            }),
            best_latency_p99: latency.map(|(cell, (tag, metric))| BestPoint {
                parameters: self.parameters_of(cell),
                metric,
                unit: "ms".to_owned(),
                tag: Some(tag.to_owned()),
            }),
        }
    }

    /// The CSV twin: points, best, front, metadata.
    pub fn csv(&self) -> Vec<u8> {
        let file = self.file();
        let points = &file.per_combination_metrics;
        let mut metrics: Vec<&String> = Vec::new();
        for name in points.iter().flat_map(|point| point.metrics.keys()) {
            if !metrics.contains(&name) {
                metrics.push(name);
            }
        }
        const COLUMNS: [&str; 5] = ["mean", "std", "min", "max", "cv"];
        let names: Vec<String> = self.parameters.iter().map(|p| p.name.clone()).collect();
        let value =
            |point: &PointValues, name: &String| point.get(name).map_or_else(String::new, bare);
        let mut head = names.clone();
        for metric in &metrics {
            head.extend(COLUMNS.map(|column| format!("{metric}_{column}")));
        }
        let mut rows = vec![head];
        for point in points {
            let mut row: Vec<String> = names
                .iter()
                .map(|name| value(&point.parameters, name))
                .collect();
            for metric in &metrics {
                let empty = CombinationMetric::default();
                let metric = point.metrics.get(*metric).unwrap_or(&empty);
                let two = [metric.mean, metric.std, metric.min, metric.max].map(|value| (value, 2));
                row.extend(
                    two.into_iter()
                        .chain([(metric.cv, 4)])
                        .map(|(value, digits)| {
                            value.map_or_else(String::new, |value| format!("{value:.digits$}"))
                        }),
                );
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
        let best = &file.best_configurations;
        for (best, title) in [
            (&best.best_throughput, "Best Throughput"),
            (&best.best_latency_p99, "Best Latency (p99)"),
        ] {
            if let Some(best) = best {
                let mut row = cells(&[title]);
                row.extend(names.iter().map(|name| value(&best.parameters, name)));
                row.push(format!("{:.2}", best.metric));
                row.push(best.unit.clone());
                rows.push(row);
            }
        }
        rows.push(Vec::new());
        rows.push(cells(&["Pareto Optimal Points"]));
        if file.pareto_optimal.is_empty() {
            rows.push(cells(&["None"]));
        } else {
            rows.push(names.clone());
        }
        for point in &file.pareto_optimal {
            rows.push(names.iter().map(|name| value(point, name)).collect());
        }
        rows.push(Vec::new());
        rows.push(cells(&["Metadata"]));
        rows.push(cells(&["Field", "Value"]));
        rows.push(cells(&["aggregation_type", &file.aggregation_type]));
        rows.push(cells(&[
            "num_profile_runs",
            &file.num_profile_runs.to_string(),
        ]));
        let good = file.num_successful_runs.to_string();
        rows.push(cells(&["num_successful_runs", &good]));
        let metadata = rows_of(&file.metadata).into_iter();
        rows.extend(metadata.filter(|row| row[0] != "aggregation_type"));
        csv(rows)
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
fn one_trial(cell: &Cell) -> Ordered<CombinationMetric> {
    let blocks = cell.good().next().into_iter();
    let blocks = blocks.flat_map(|trial| &trial.blocks);
    let metrics = blocks.filter_map(|(tag, block)| {
        let avg = block.get("avg")?;
        let shown = ["avg", "std", "min", "max"];
        let more = super::ordered(block).into_iter();
        let more = more
            .filter(|name| !shown.contains(&name.as_str()))
            .filter_map(|name| Some((name.clone(), block.get(&name)?)));
        let metric = CombinationMetric {
            mean: Some(avg),
            avg: Some(avg),
            std: Some(0.0),
            min: block.get("min").or(Some(avg)),
            max: block.get("max").or(Some(avg)),
            cv: Some(0.0),
            ci_low: Some(avg),
            ci_high: Some(avg),
            unit: block.unit.clone(),
            more: more.collect(),
        };
        Some((tag.clone(), metric))
    });
    metrics.collect()
}

/// By `<tag>_<figure>`: the spread over the runs.
fn several_trials(cell: &Cell, level: f64) -> Ordered<CombinationMetric> {
    let all = figures(cell)
        .into_iter()
        .filter_map(|(tag, stat, unit, values)| {
            let spread = Spread::of(&values, level)?;
            let metric = CombinationMetric {
                mean: Some(spread.mean),
                avg: None,
                std: Some(spread.std),
                min: Some(spread.min),
                max: Some(spread.max),
                cv: Some(spread.cv),
                ci_low: Some(spread.ci_low),
                ci_high: Some(spread.ci_high),
                unit,
                more: Ordered::default(),
            };
            Some((format!("{tag}_{stat}"), metric))
        });
    all.collect()
}
