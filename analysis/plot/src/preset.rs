//! Presets: what is drawn of which metrics, as settings files say it, and those that are built in.

use pinfire_artifacts::tag;
use serde::Deserialize;

/// How a preset is drawn. The names are those of settings files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Runs as points, the frontier joined.
    Pareto,
    /// Runs as points, joined per group.
    ScatterLine,
    /// Runs, or requests, as points.
    Scatter,
    /// Runs as means with ellipses of confidence.
    LatencyThroughputUncertainty,
    /// One row per run: percentiles of one metric.
    ByRun,
    /// One bar per request.
    RequestTimeline,
    /// Averages per time slice.
    Timeslice,
    /// Two axes over time.
    DualAxis,
    /// Requests with rolling percentiles.
    ScatterWithPercentiles,
    /// Token throughput over time.
    Area,
    /// A distribution.
    Histogram,
    /// Percentiles over time as bands.
    PercentileBands,
    /// Cancellations per second over active requests.
    Cancellations,
    /// Phase that cancelled requests were in.
    CancellationPhases,
    /// How late connections were closed.
    CancellationDelayError,
    /// TTFT of other requests before and after cancellations.
    CancellationNeighbours,
    /// The client's own lateness.
    ClientHealth,
}

/// A metric and its statistic.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged)]
pub enum Measure {
    /// The tag alone.
    Tag(String),
    /// With more words.
    Full {
        /// Tag.
        metric: String,
        /// `avg`, `p50`, …
        stat: Option<String>,
        /// Which file; see [`Preset::source`].
        source: Option<String>,
    },
}

/// One column, alone or as a list.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged)]
pub enum Column {
    /// Alone.
    One(String),
    /// In a list; the first counts.
    List(Vec<String>),
}

/// What is drawn.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys of settings files, see docs/PLOTS.md")]
pub struct Preset {
    #[serde(skip)]
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    pub x: Option<Measure>,
    pub y: Option<Measure>,
    pub y2: Option<Measure>,
    pub stat: Option<String>,
    pub source: Option<String>,
    pub labels: Option<Column>,
    pub groups: Option<Column>,
    pub title: Option<String>,
    pub description: Option<String>,
    pub autoscale: Option<Autoscale>,
    pub x_label: Option<String>,
    pub y_label: Option<String>,
    pub ci_level: Option<f64>,
    pub use_slice_duration: Option<bool>,
    pub primary_style: Option<serde_json::Value>,
    pub secondary_style: Option<serde_json::Value>,
    pub supplementary_col: Option<String>,
}

/// Which axes begin where the data begin instead of at zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the axes")]
pub enum Autoscale {
    None,
    X,
    Y,
    Both,
}

impl Measure {
    /// The tag.
    pub fn tag(&self) -> &str {
        match self {
            Self::Tag(tag) | Self::Full { metric: tag, .. } => tag,
        }
    }

    fn stat(&self) -> Option<&str> {
        match self {
            Self::Full {
                stat: Some(stat), ..
            } => Some(stat),
            _ => None,
        }
    }
}

impl Column {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::One(name) => name,
            Self::List(list) => list.first().map_or("run_name", String::as_str),
        }
    }
}

impl Preset {
    /// The statistic of a measure: its own, else the preset's, else `avg`.
    pub fn stat_of<'p>(&'p self, measure: &'p Measure) -> &'p str {
        measure.stat().or(self.stat.as_deref()).unwrap_or("avg")
    }

    /// The measure of an axis.
    ///
    /// # Errors
    /// The preset names none.
    pub fn measure<'p>(
        &self,
        axis: &str,
        measure: &'p Option<Measure>,
    ) -> Result<&'p Measure, String> {
        measure
            .as_ref()
            .ok_or_else(|| format!("the preset names no metric for {axis}"))
    }

    /// Whether the x axis begins at zero.
    pub fn x_from_zero(&self) -> bool {
        !matches!(self.autoscale, Some(Autoscale::X | Autoscale::Both))
    }

    /// Whether the y axis begins at zero.
    pub fn y_from_zero(&self) -> bool {
        !matches!(self.autoscale, Some(Autoscale::Y | Autoscale::Both))
    }

    /// The title, or one made of the name.
    pub fn title(&self) -> String {
        self.title
            .clone()
            .unwrap_or_else(|| self.name.replace('_', " "))
    }

    /// Every tag it reads.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        [&self.x, &self.y, &self.y2]
            .into_iter()
            .flatten()
            .map(Measure::tag)
    }
}

fn preset(name: &str, kind: Kind, title: &str, x: Option<&str>, y: Option<&str>) -> Preset {
    let measure = |tag: Option<&str>| tag.map(|tag| Measure::Tag(tag.to_owned()));
    Preset {
        name: name.to_owned(),
        kind,
        x: measure(x),
        y: measure(y),
        y2: None,
        stat: None,
        source: None,
        labels: None,
        groups: None,
        title: Some(title.to_owned()),
        description: None,
        autoscale: None,
        x_label: None,
        y_label: None,
        ci_level: None,
        use_slice_duration: None,
        primary_style: None,
        secondary_style: None,
        supplementary_col: None,
    }
}

/// Presets of several runs: points are labelled with the concurrency and grouped by the model.
pub fn multi_run() -> Vec<Preset> {
    use Kind::{ByRun, LatencyThroughputUncertainty, Pareto, ScatterLine};
    let per_gpu = Some("output_token_throughput_per_gpu");
    let per_user = Some(tag::OUTPUT_TOKEN_THROUGHPUT_PER_USER);
    let latency = Some(tag::REQUEST_LATENCY);
    let mut presets = vec![
        preset(
            "pareto_curve_throughput_per_gpu_vs_latency",
            Pareto,
            "Pareto: token throughput per GPU against latency",
            latency,
            per_gpu,
        ),
        preset(
            "pareto_curve_throughput_per_gpu_vs_interactivity",
            Pareto,
            "Pareto: token throughput per GPU against interactivity",
            per_user,
            per_gpu,
        ),
        preset(
            "ttft_vs_throughput",
            ScatterLine,
            "Time to first token against request throughput",
            Some(tag::TIME_TO_FIRST_TOKEN),
            Some(tag::REQUEST_THROUGHPUT),
        ),
        preset(
            "latency_throughput_uncertainty",
            LatencyThroughputUncertainty,
            "Latency and throughput with 95% confidence",
            latency,
            per_gpu,
        ),
        preset(
            "pareto_goodput_per_gpu_vs_interactivity",
            Pareto,
            "Pareto: goodput per GPU against interactivity",
            per_user,
            Some("goodput_per_gpu"),
        ),
    ];
    for preset in &mut presets {
        preset.labels = Some(Column::One("concurrency".to_owned()));
        preset.groups = Some(Column::One("model".to_owned()));
        // Runs differ little on x, and it is the shape that counts.
        preset.autoscale = Some(Autoscale::X);
    }
    presets.extend([
        preset(
            "ttft_by_run",
            ByRun,
            "Time to first token, run by run",
            None,
            Some(tag::TIME_TO_FIRST_TOKEN),
        ),
        preset(
            "latency_by_run",
            ByRun,
            "Request latency, run by run",
            None,
            latency,
        ),
        preset(
            "itl_by_run",
            ByRun,
            "Inter token latency, run by run",
            None,
            Some(tag::INTER_TOKEN_LATENCY),
        ),
        preset(
            "throughput_by_run",
            ByRun,
            "Token throughput, run by run",
            None,
            Some(tag::OUTPUT_TOKEN_THROUGHPUT),
        ),
    ]);
    presets
}

/// Presets of one run.
pub fn single_run() -> Vec<Preset> {
    use Kind::{
        Area, CancellationDelayError, CancellationNeighbours, CancellationPhases, Cancellations,
        ClientHealth, DualAxis, Histogram, PercentileBands, RequestTimeline, Scatter,
        ScatterWithPercentiles, Timeslice,
    };
    let ttft = Some(tag::TIME_TO_FIRST_TOKEN);
    let itl = Some(tag::INTER_TOKEN_LATENCY);
    let latency = Some(tag::REQUEST_LATENCY);
    let number = Some("request_number");
    let time = Some("timestamp");
    let mut gpu = preset(
        "gpu_utilization_and_throughput_over_time",
        DualAxis,
        "Token throughput and GPU utilization over time",
        time,
        Some(tag::OUTPUT_TOKEN_THROUGHPUT),
    );
    gpu.y2 = Some(Measure::Tag("gpu_utilization".to_owned()));
    let mut server = preset(
        "running_vs_cancelled",
        DualAxis,
        "Requests on the server and cancellations",
        time,
        Some("server_requests"),
    );
    server.y2 = Some(Measure::Tag("cancellations".to_owned()));
    vec![
        preset(
            "ttft_over_time",
            Scatter,
            "Time to first token per request",
            number,
            ttft,
        ),
        preset(
            "ttft_timeline",
            RequestTimeline,
            "Requests over time: waiting, then streaming",
            time,
            None,
        ),
        preset(
            "timeslices_ttft",
            Timeslice,
            "Time to first token per time slice",
            None,
            ttft,
        ),
        preset(
            "timeslices_itl",
            Timeslice,
            "Inter token latency per time slice",
            None,
            itl,
        ),
        gpu,
        preset(
            "itl_over_time",
            Scatter,
            "Inter token latency per request",
            number,
            itl,
        ),
        preset(
            "latency_over_time",
            ScatterWithPercentiles,
            "Request latency over time with rolling percentiles",
            time,
            latency,
        ),
        preset(
            "latency_percentile_bands",
            PercentileBands,
            "Request latency over time: percentile bands",
            time,
            latency,
        ),
        preset(
            "ttft_percentile_bands",
            PercentileBands,
            "Time to first token over time: percentile bands",
            time,
            ttft,
        ),
        preset(
            "dispersed_throughput_over_time",
            Area,
            "Token throughput over time",
            time,
            Some(tag::OUTPUT_TOKEN_THROUGHPUT),
        ),
        preset(
            "timeslices_throughput",
            Timeslice,
            "Request throughput per time slice",
            None,
            Some(tag::REQUEST_THROUGHPUT),
        ),
        preset(
            "timeslices_latency",
            Timeslice,
            "Request latency per time slice",
            None,
            latency,
        ),
        preset(
            "latency_distribution",
            Histogram,
            "Distribution of the request latency",
            latency,
            None,
        ),
        preset(
            "ttft_distribution",
            Histogram,
            "Distribution of the time to first token",
            ttft,
            None,
        ),
        preset(
            "ttft_vs_isl",
            Scatter,
            "Time to first token against input length",
            Some(tag::INPUT_SEQUENCE_LENGTH),
            ttft,
        ),
        preset(
            "latency_vs_osl",
            Scatter,
            "Request latency against output length",
            Some(tag::OUTPUT_SEQUENCE_LENGTH),
            latency,
        ),
        preset(
            "cancellations_over_time",
            Cancellations,
            "Cancellations and active requests over time",
            time,
            None,
        ),
        server,
        preset(
            "cancellation_delay_error",
            CancellationDelayError,
            "How late connections were closed",
            None,
            None,
        ),
        preset(
            "cancellation_phases",
            CancellationPhases,
            "What cancelled requests were doing",
            None,
            None,
        ),
        preset(
            "ttft_around_cancellations",
            CancellationNeighbours,
            "Time to first token of the others around cancellations",
            None,
            ttft,
        ),
        preset(
            "client_health_over_time",
            ClientHealth,
            "The client's own lateness over the run",
            time,
            None,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_there_once() {
        let mut names: Vec<String> = multi_run()
            .into_iter()
            .chain(single_run())
            .map(|preset| preset.name)
            .collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
