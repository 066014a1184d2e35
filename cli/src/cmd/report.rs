//! `pinfire report`: a run's files once more from its requests.

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, bail};
use pinfire_analysis::{
    export::DEFAULT_WIDTH,
    rebuild::{Counting, Rebuild},
    stats::Percentiles,
};
use pinfire_artifacts::RunFolder;
use pinfire_base::tokens::TokenCounter;
use pinfire_workload::text::{Wanted, resolve};

use crate::{
    args::Report,
    environment, settings,
    terminal::{say, stdout},
};

/// Reads a run and writes its report.
///
/// # Errors
/// The run cannot be read, or the report cannot be written.
pub fn run(flags: &Report) -> Result<ExitCode> {
    let folder = &flags.folder;
    let mut rebuild = Rebuild::open(folder, env!("CARGO_PKG_VERSION"))?;
    let output = match &flags.output {
        Some(output) => output.clone(),
        None => folder.join("report"),
    };
    let written_to = RunFolder::create(&output)?;
    if !same(&output, folder) && RunFolder::is_busy(folder) {
        say::warning(format_args!(
            "a run is still writing to {}: this is the report of what there is so far",
            folder.display()
        ));
    }
    rebuild.facts.artifact_dir.clone_from(&output);
    rebuild.facts.rate_window = flags.rate_window.into();
    rebuild.facts.thresholds = settings::thresholds()?;
    rebuild.facts.trace_table = flags.show_trace_timing;
    rebuild.facts.num_gpus = flags.num_gpus;
    if let Some(list) = &flags.percentiles {
        rebuild.facts.percentiles = Percentiles::parse(list)
            .map_err(|reason| anyhow::anyhow!("--percentiles {list}: {reason}"))?;
    }
    rebuild.facts.exact_records = flags.exact_records;
    if let Some(limits) = &flags.goodput {
        rebuild.promise(limits).context("--goodput")?;
    }
    if let Some(seconds) = flags.slice_duration {
        rebuild.slice(settings::slice(seconds)?);
    }
    let counting = counting(flags, &rebuild)?;

    // The file may be the one that is read: it takes its name when it is whole.
    let lines = output.join(&rebuild.facts.files.jsonl);
    let unfinished = lines.with_extension("jsonl.tmp");
    let bar = settings::ui(flags.ui).bar("Reading (KiB)", rebuild.size() >> 10);
    let progress = |bytes: u64| bar.set_position(bytes >> 10);
    let done = rebuild.run(counting, Some(unfinished.clone()), &progress);
    bar.finish_and_clear();
    let (mut report, warnings) = match done {
        Ok(done) => done,
        Err(error) => {
            // Half a file is of no use to anyone.
            let _ = std::fs::remove_file(&unfinished);
            return Err(error.into());
        }
    };
    std::fs::rename(&unfinished, &lines).with_context(|| {
        format!(
            "cannot rename {} to {}",
            unfinished.display(),
            lines.display()
        )
    })?;
    report.jsonl = Some(lines);
    for warning in warnings {
        say::warning(warning);
    }
    let width = environment::read("UI_CONSOLE_EXPORT_WIDTH")?.unwrap_or(DEFAULT_WIDTH);
    let mut written = report.write(width);
    if same(&output, folder) {
        // The run has its summary now.
        written = written.and_then(|written| report.forget_start().map(|()| written));
    }
    stdout::report(&report, width, written.as_ref().ok());
    let written = written?;
    let files = report.files(Some(&written)).into_iter();
    written_to.check(files.map(|(_, path)| path))?;
    Ok(ExitCode::SUCCESS)
}

fn same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn counting(flags: &Report, rebuild: &Rebuild) -> Result<Counting> {
    let model = rebuild.facts.models.first().map_or("", String::as_str);
    let load = |name: Option<&str>| -> Result<Arc<dyn TokenCounter>> {
        let wanted = Wanted {
            requested: name,
            model,
            revision: &flags.tokenizer_revision,
            chat_template: false,
        };
        let resolved = resolve(&wanted, &|notice| say::line(notice))?;
        resolved.warnings.iter().for_each(say::warning);
        Ok(Arc::new(resolved.tokenizer))
    };
    if flags.use_server_token_count || (rebuild.counts_by_server() && flags.tokenizer.is_none()) {
        return Ok(Counting::ByServer);
    }
    match &flags.tokenizer {
        Some(_) if !rebuild.has_texts() => bail!(
            "--tokenizer needs the texts of the run, and {} has no {}; leave it away for the run's \
             own counts (the run writes the file with --export-level raw)",
            flags.folder.display(),
            rebuild.facts.files.raw
        ),
        Some(name) => Ok(Counting::Anew(load(Some(name))?)),
        None if rebuild.has_counts() => Ok(Counting::AsTheRun(None)),
        None => {
            let counter = load(rebuild.tokenizer()).context(
                "the run's own token counts are not there, so that its tokenizer is needed",
            )?;
            Ok(Counting::AsTheRun(Some(counter)))
        }
    }
}
