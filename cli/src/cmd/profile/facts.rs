//! What the exports say about a run before its first record.

use anyhow::Result;
use pinfire_analysis::{
    facts::{DatasetFacts, LengthFacts, PhaseFacts, RunFacts},
    stats::Percentiles,
};
use pinfire_workload::dataset::lengths::Lengths;

use crate::{
    input::Input,
    load::PhaseLoad,
    run::{PreparedRun, dataset::Workload},
    settings::{self, Settings},
};

/// Gathers the facts.
///
/// # Errors
/// The system gives no random bytes for the benchmark's id.
pub fn of(run: &PreparedRun<'_>) -> Result<RunFacts> {
    let PreparedRun {
        settings, engine, ..
    } = run;
    let load = &settings.load;
    let driver = engine.granted().first();
    Ok(RunFacts {
        shard: settings.shard(),
        benchmark_id: format!("{:012x}", settings::random_bits()? >> 16),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        models: settings.bodies.models.clone(),
        urls: settings.transport.urls.clone(),
        answers: settings.answers.clone(),
        streaming: settings.bodies.streaming,
        server_counts: settings.server_counts,
        per_chunk_usage: settings.bodies.per_chunk_usage,
        extra: settings.bodies.extra.clone().into_iter().collect(),
        dataset: dataset(settings, &run.workload),
        warmup: load.warmup.as_ref().map(|load| phase(load, false)),
        profiling: phase(&load.profiling, load.seamless),
        cancellation: settings.cancellation.clone(),
        random_seed: Some(settings.seed.value),
        cli_command: settings.config.command_line(),
        artifact_dir: settings.artifact_dir.clone(),
        files: settings.files.clone(),
        http_trace: settings.http_trace,
        raw: settings.raw,
        trace_table: settings.trace_table,
        tokenizer: run
            .workload
            .tokenizer_files
            .as_ref()
            .map(|one| one.name.clone()),
        driver: driver.map_or("", |core| core.driver.name()).to_owned(),
        receive_stamps: settings.engine.receive_stamps.name().to_owned(),
        anchor: engine.anchor(),
        rate_window: settings.rate_window,
        thresholds: settings.thresholds,
        watch: settings.watch.facts(),
        slos: settings.slos.clone(),
        slice: settings.slice,
        percentiles: Percentiles::default(),
        exact_records: settings.exact_records,
        log_file: None,
        part: settings.part.clone(),
        num_gpus: settings.num_gpus,
        calibration: settings.calibration.clone(),
        recorded: None,
    })
}

fn phase(load: &PhaseLoad, seamless: bool) -> PhaseFacts {
    PhaseFacts {
        kind: load.kind().to_owned(),
        requests: load.requests,
        duration_s: load.duration.map(|duration| duration.as_secs_f64()),
        concurrency: load
            .concurrency
            .map(|slots| u32::try_from(slots).unwrap_or(u32::MAX)),
        rate: load.rate(),
        seamless,
    }
}

fn dataset(settings: &Settings, workload: &Workload) -> DatasetFacts {
    let lengths = |mean: u32, stddev: f64| LengthFacts {
        mean: f64::from(mean),
        stddev,
    };
    let (kind, isl, osl_mean, osl_stddev, file) = match &settings.input {
        // A mixture has no one mean, and a ranking no prompt.
        Input::Synthetic(spec)
            if matches!(spec.lengths, Lengths::Pairs(_)) || spec.rankings.is_some() =>
        {
            ("synthetic", None, None, 0.0, None)
        }
        Input::Synthetic(spec) => (
            "synthetic",
            Some(lengths(spec.isl_mean, spec.isl_stddev)),
            spec.osl_mean,
            spec.osl_stddev,
            None,
        ),
        Input::Mooncake(spec) => (
            "file",
            None,
            spec.osl_mean,
            spec.osl_stddev,
            Some(spec.path.clone()),
        ),
        Input::File(spec) => (
            "file",
            None,
            spec.osl_mean,
            spec.osl_stddev,
            Some(spec.path.clone()),
        ),
    };
    DatasetFacts {
        kind: kind.to_owned(),
        entries: workload.bodies.conversations() as u64,
        isl,
        osl: osl_mean.map(|mean| lengths(mean, osl_stddev)),
        file,
    }
}
