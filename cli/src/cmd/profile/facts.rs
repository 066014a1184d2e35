//! What the exports say about a run before its first record.

use anyhow::Result;
use pinfire_analysis::facts::{DatasetFacts, LengthFacts, PhaseFacts, RunFacts};
use pinfire_workload::dataset::lengths::Lengths;

use super::command_line;
use crate::{
    cancellation::Cancellation,
    input::Input,
    load::PhaseLoad,
    run::{PreparedRun, dataset::Workload},
    settings::{self, Settings},
};

/// Gathers the facts.
///
/// # Errors
/// The system gives no random bytes for the benchmark's id.
pub fn of(run: &PreparedRun<'_>, arguments: &[String]) -> Result<RunFacts> {
    let PreparedRun {
        settings, engine, ..
    } = run;
    let id = format!("{:012x}", settings::random_bits()? >> 16);
    let mut facts = RunFacts::new(&id, env!("CARGO_PKG_VERSION"), engine.anchor());
    facts.models = settings.bodies.models.clone();
    facts.urls = settings.transport.urls.clone();
    facts.answers = settings.answers.clone();
    facts.streaming = settings.bodies.streaming;
    facts.server_counts = settings.server_counts;
    facts.per_chunk_usage = settings.bodies.per_chunk_usage;
    facts.dataset = dataset(settings, &run.workload);
    facts.warmup = settings.load.warmup.as_ref().map(phase);
    facts.profiling = phase(&settings.load.profiling);
    facts.profiling.seamless = settings.load.seamless;
    facts.cancellation = settings.cancellation.as_ref().map(Cancellation::facts);
    facts.random_seed = Some(settings.seed.value);
    facts.cli_command = command_line::shown(arguments);
    facts.artifact_dir = settings.artifact_dir.clone();
    facts.files = settings.files.clone();
    facts.http_trace = settings.http_trace;
    facts.raw = settings.raw;
    facts.trace_table = settings.trace_table;
    facts.tokenizer.clone_from(&run.workload.tokenizer_name);
    facts.driver = engine
        .granted()
        .first()
        .map_or("", |core| core.driver.name())
        .to_owned();
    facts.rate_window = settings.rate_window;
    facts.thresholds = settings.thresholds;
    facts.part.clone_from(&settings.part);
    facts.num_gpus = settings.num_gpus;
    facts.watch = settings.watch.facts();
    facts.slos = settings.slos.clone();
    facts.slice = settings.slice;
    facts.exact_records = settings.exact_records;
    Ok(facts)
}

fn phase(load: &PhaseLoad) -> PhaseFacts {
    PhaseFacts {
        kind: load.kind().to_owned(),
        requests: load.requests,
        duration_s: load.duration.map(|duration| duration.as_secs_f64()),
        concurrency: load
            .concurrency
            .map(|slots| u32::try_from(slots).unwrap_or(u32::MAX)),
        rate: load.rate(),
        seamless: false,
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
