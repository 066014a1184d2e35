//! The files of a sweep: what the runs of one point, and all points, say together, and what a sweep
//! leaves so that it can be resumed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Ordered;

/// `profile_export_aiperf_aggregate.json`: the runs of one point.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Aggregate {
    /// Version of the layout.
    pub schema_version: String,
    /// Version of the tool.
    pub aiperf_version: String,
    /// Which runs they are.
    pub metadata: AggregateMetadata,
    /// `<tag>_<statistic>` over the runs.
    pub metrics: Ordered<AggregateBlock>,
}

/// Which runs an aggregate is of.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AggregateMetadata {
    /// `confidence`.
    pub aggregation_type: String,
    /// All runs.
    pub num_profile_runs: u64,
    /// Those that count.
    pub num_successful_runs: Option<u64>,
    /// Those that do not.
    pub failed_runs: Vec<FailedRun>,
    /// Level of the intervals.
    pub confidence_level: f64,
    /// All runs by label.
    pub run_labels: Vec<String>,
    /// Pause between runs.
    pub cooldown_seconds: f64,
    /// There is but one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub single_run: Option<bool>,
    /// The point of a sweep: `path=value, path=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variation_label: Option<String>,
    /// Its value by path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variation_values: Option<Ordered<Value>>,
    /// `repeated` or `independent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep_mode: Option<String>,
    /// Models as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether the runs agree, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convergence: Option<Agreement>,
}

/// Whether repeated runs agree.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Agreement {
    /// On this metric.
    pub metric: String,
    /// On this statistic of it; none where all requests count.
    pub stat: Option<String>,
    /// `ci_width`, `cv` or `distribution`.
    pub mode: String,
    /// Below or above which they agree.
    pub threshold: f64,
    /// The minimum number of runs.
    pub min_runs: usize,
    /// What was found; none where it could not be.
    pub value: Option<f64>,
    /// They agree.
    pub converged: bool,
}

/// A run that does not count.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FailedRun {
    /// Such as `trial_0001`.
    pub label: String,
    /// Why.
    pub error: String,
}

/// A statistic over several runs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AggregateBlock {
    /// Mean.
    pub mean: Option<f64>,
    /// Standard deviation with n - 1.
    pub std: Option<f64>,
    /// Smallest.
    pub min: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// std / mean.
    pub cv: Option<f64>,
    /// Standard error of the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub se: Option<f64>,
    /// Lower end of the interval.
    pub ci_low: Option<f64>,
    /// Upper end of the interval.
    pub ci_high: Option<f64>,
    /// Student's t.
    pub t_critical: Option<f64>,
    /// Unit of all but the last.
    pub unit: String,
}

/// `run_config.json`: a run of a sweep that is finished.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunMarker {
    /// Name and version of the tool.
    pub tool_version: String,
    /// The same of all runs of a sweep.
    pub sweep_id: Option<String>,
    /// Such as `trial_0001`.
    pub run_label: String,
    /// Number of the run of its point, from 0.
    pub trial: u64,
    /// Number of its point, from 0.
    pub variation_index: u64,
    /// The point: `path=value, path=value`.
    pub variation_label: Option<String>,
    /// Its value by path.
    pub variation_values: Option<Ordered<Value>>,
    /// The seed of everything drawn.
    pub random_seed: u64,
    /// What was asked of it, in the form that a configuration travels in; credentials are
    /// references. Nothing of a run that an earlier version made.
    #[serde(default)]
    pub config: Value,
}

/// `sweep_config.json`: a sweep as it was begun.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SweepConfig {
    /// Name and version of the tool.
    #[serde(default)]
    pub tool_version: String,
    /// The same of all its runs.
    pub sweep_id: String,
    /// What was asked of all runs together, in the form that a configuration travels in;
    /// credentials are references.
    #[serde(default)]
    pub config: Value,
    /// The words of a command line, of a sweep that an earlier version began.
    #[serde(default, skip_serializing)]
    pub arguments: Option<Vec<String>>,
    /// The seed that those of all runs are made of.
    pub base_seed: u64,
    /// Each run draws its own.
    pub seed_drawn_per_run: bool,
    /// All points have the same.
    pub same_seed: bool,
    /// The runs of one point do not.
    pub vary_seed_per_trial: bool,
}

/// `profile_export_aiperf_collated.json`: the requests of all runs of one point together.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Collated {
    /// Version of the layout.
    pub schema_version: String,
    /// Version of the tool.
    pub aiperf_version: String,
    /// Which runs they are.
    pub metadata: AggregateMetadata,
    /// The metrics by tag.
    pub metrics: Ordered<CollatedMetric>,
}

/// A metric over the requests of all runs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CollatedMetric {
    /// Its unit.
    pub unit: String,
    /// Of all requests together.
    pub combined: CollatedFigures,
    /// Run by run.
    pub per_run: Vec<CollatedRun>,
}

/// Statistics over the requests of all runs.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct CollatedFigures {
    pub mean: Option<f64>,
    pub std: Option<f64>,
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub count: usize,
}

/// One of the runs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CollatedRun {
    /// Such as `trial_0001`.
    pub label: String,
    /// Its mean.
    pub mean: Option<f64>,
    /// Its values.
    pub count: usize,
}

/// `profile_export_aiperf_sweep.json`: all points of a sweep.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SweepFile {
    /// Version of the layout.
    pub schema_version: String,
    /// Name and version of the tool.
    pub tool_version: String,
    /// `sweep`.
    pub aggregation_type: String,
    /// All runs.
    pub num_profile_runs: usize,
    /// Those that count.
    pub num_successful_runs: usize,
    /// Those that do not.
    pub failed_runs: Vec<FailedRun>,
    /// What was swept.
    pub metadata: SweepMetadata,
    /// The points.
    pub per_combination_metrics: Vec<Combination>,
    /// The best of them.
    pub best_configurations: BestPoints,
    /// No other has more requests per second and a lower p99 of the first token.
    pub pareto_optimal: Vec<PointValues>,
    /// No other has more tokens per second in all and per user.
    pub pareto_optimal_tps: Vec<PointValues>,
    /// The largest product of both, below saturation.
    pub sweet_spot: Option<PointValues>,
    /// More load has brought no more throughput.
    pub saturated: Vec<PointValues>,
}

/// A point: value by parameter.
pub type PointValues = Ordered<Value>;

/// What was swept.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SweepMetadata {
    /// The parameters.
    pub sweep_parameters: Vec<SweepParameter>,
    /// How many points there are.
    pub num_combinations: usize,
    /// `repeated`, `independent` or `search`.
    pub sweep_mode: String,
    /// Level of the intervals.
    pub confidence_level: f64,
    /// Runs asked for at each point.
    pub num_trials_per_value: usize,
    /// `sweep`.
    pub aggregation_type: String,
    /// GPUs of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_gpus: Option<u64>,
    /// What a point should meet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sla_constraints: Option<SlaConstraints>,
    /// What the Pareto frontiers are of.
    pub pareto_axes: ParetoAxes,
}

/// A parameter of a sweep.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SweepParameter {
    /// In tables and folder names.
    pub name: String,
    /// Where it belongs.
    pub path: String,
    /// Its values.
    pub values: Vec<Value>,
}

/// What a point should meet.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SlaConstraints {
    /// The limits as typed.
    pub active_filters: Vec<String>,
    /// Points that meet them.
    pub feasible_count: usize,
    /// Points that do not.
    pub infeasible_count: usize,
}

/// What the Pareto frontiers are of.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ParetoAxes {
    /// Of `pareto_optimal`.
    pub pareto_optimal: Vec<String>,
    /// Of `pareto_optimal_tps`.
    pub pareto_optimal_tps: Vec<String>,
}

/// A point of a sweep.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Combination {
    /// Its values.
    pub parameters: PointValues,
    /// Its metrics: by tag, or with several runs by `<tag>_<statistic>`.
    pub metrics: Ordered<CombinationMetric>,
    /// Tokens per second of all users together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_tps: Option<f64>,
    /// The same per GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tps_per_gpu: Option<f64>,
    /// Tokens per second that a user sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tps_per_user: Option<f64>,
    /// GPUs of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_gpus: Option<f64>,
    /// Good requests per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goodput: Option<f64>,
    /// Requests cancelled by plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_count: Option<f64>,
    /// Their share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_fraction: Option<f64>,
    /// The share that was asked, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancellation_rate_asked: Option<f64>,
    /// The share that was reached, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancellation_rate_reached: Option<f64>,
    /// The delay that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancellation_delay_asked_ms: Option<f64>,
    /// Tokens that cancelled requests had received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wasted_tokens: Option<f64>,
    /// Its runs that count.
    pub trials: usize,
    /// See [`SweepFile::pareto_optimal`].
    pub pareto_optimal: bool,
    /// See [`SweepFile::pareto_optimal_tps`].
    pub pareto_optimal_tps: bool,
    /// See [`SweepFile::sweet_spot`].
    pub sweet_spot: bool,
    /// See [`SweepFile::saturated`].
    pub saturated: bool,
    /// Its runs whose bottleneck was the client.
    pub client_bottleneck_trials: usize,
    /// It meets the objectives, where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feasible: Option<bool>,
}

/// A metric of a point.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CombinationMetric {
    /// Mean over the runs.
    pub mean: Option<f64>,
    /// The same, of one run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avg: Option<f64>,
    /// Standard deviation over the runs.
    pub std: Option<f64>,
    /// Smallest.
    pub min: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// std / mean.
    pub cv: Option<f64>,
    /// Lower end of the interval.
    pub ci_low: Option<f64>,
    /// Upper end of the interval.
    pub ci_high: Option<f64>,
    /// Its unit.
    pub unit: String,
    /// The other statistics of one run.
    #[serde(flatten)]
    pub more: Ordered<f64>,
}

/// The best points of a sweep.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BestPoints {
    /// The most requests per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_throughput: Option<BestPoint>,
    /// The lowest p99 of the first token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_latency_p99: Option<BestPoint>,
}

/// The best point in one way.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BestPoint {
    /// Its values.
    pub parameters: PointValues,
    /// What it reaches.
    pub metric: f64,
    /// The unit of that.
    pub unit: String,
    /// The metric, where it is not always the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// `search_history.json`: what a search tried; AIPerf's keys, and `knee` with what it rests on.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchHistory {
    /// Version of the layout.
    pub schema_version: String,
    /// What was searched.
    pub config: SearchConfig,
    /// Run by run.
    pub iterations: Vec<SearchIteration>,
    /// The highest load that meets the objectives.
    pub best_trials: Option<Vec<PointValues>>,
    /// Where the boundary is.
    pub boundary_summary: Boundary,
    /// The boundary and the runs that it rests on.
    pub knee: Knee,
    /// Of AIPerf's; none.
    pub recipe: Option<Value>,
    /// Why the search ended.
    pub convergence_reason: String,
}

/// What was searched.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchConfig {
    /// The parameter.
    pub swept_dim_path: String,
    /// The lowest load.
    pub low: Value,
    /// The highest load.
    pub high: Value,
    /// How close the boundary is wanted.
    pub tolerance: f64,
    /// The maximum number of runs.
    pub max_iterations: usize,
    /// Runs at each side of the boundary.
    pub runs_at_boundary: usize,
    /// The objectives as typed.
    pub slos: Vec<String>,
    /// The seed that those of all runs are made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_seed: Option<u64>,
}

/// One run of a search.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchIteration {
    /// Its number, from 0.
    pub iteration_idx: usize,
    /// Its load.
    pub variation_values: PointValues,
    /// Which run of this load it was, from 1.
    pub run: usize,
    /// What it reached, by objective.
    pub objective_values: Ordered<Value>,
    /// It meets the objectives.
    pub feasible: bool,
    /// It does, and a lower load did not.
    pub non_monotonic_warning: bool,
    /// Why it does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The boundary of a search.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Boundary {
    /// The parameter.
    pub swept_dim_path: String,
    /// The highest load that meets the objectives.
    pub feasible_max: Option<Value>,
    /// The lowest that does not.
    pub infeasible_min: Option<Value>,
}

/// The boundary and what it rests on.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Knee {
    /// The highest load that meets the objectives.
    pub value: Option<Value>,
    /// The runs at the boundary do not agree.
    pub noisy: bool,
    /// Its runs.
    pub feasible: Option<KneeEvidence>,
    /// Those of the lowest load that does not.
    pub infeasible: Option<KneeEvidence>,
}

/// The runs of one load.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KneeEvidence {
    /// The load.
    pub value: Value,
    /// Runs that meet the objectives.
    pub runs_that_pass: usize,
    /// All of them.
    pub runs: Vec<KneeRun>,
}

/// One of them.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KneeRun {
    /// It meets the objectives.
    pub feasible: bool,
    /// What it reached, by objective.
    pub objective_values: Ordered<Value>,
}
