//! What servers and GPUs said of themselves, beside the run's own figures.

use std::path::PathBuf;

use super::Report;
use pinfire_artifacts::tag;
use pinfire_scrape::ServerMetrics;
use pinfire_scrape::gpu::{EnergyMetric, GpuTelemetry, Work};

/// What was seen of a run from outside of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct External {
    /// The servers' own metrics; none if nobody was to look, or nothing was there.
    pub server: Option<ServerMetrics>,
    /// The files of it: what the footer calls them, and where they are.
    pub files: Vec<(&'static str, PathBuf)>,
    /// The GPUs; none if nobody was to look.
    pub gpu: Option<GpuTelemetry>,
    /// What energy the work took.
    pub energy: Vec<EnergyMetric>,
}

impl Report {
    /// Takes in what was seen from outside.
    pub fn add_external(&mut self, mut external: External) {
        if let Some(gpu) = &external.gpu {
            let work = Work {
                requests: self.counts.valid as f64,
                good: self.value(tag::GOOD_REQUEST_COUNT),
                output_tokens: self
                    .value(tag::TOTAL_OUTPUT_TOKENS)
                    .or_else(|| self.value(tag::TOTAL_OSL)),
                input_tokens: self.value(tag::TOTAL_ISL),
                latency_s: self.value(tag::REQUEST_LATENCY).map(|ms| ms / 1e3),
                concurrency: self.facts.own_concurrency().map(f64::from),
                cancelling: self.facts.cancellation.is_some(),
            };
            external.energy = gpu.energy_metrics(&work);
        }
        self.external = external;
    }
}
