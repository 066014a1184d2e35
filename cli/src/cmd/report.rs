//! `pinfire report`: a run's files once more from its requests.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, bail};
use pinfire_analysis::{
    Report as Rebuilt,
    export::DEFAULT_WIDTH,
    facts::EXACT_RECORDS,
    rebuild::{Counting, Rebuild},
    reclaim::{
        matrix::{self, Matrix},
        page,
    },
    stats::Percentiles,
};
use pinfire_artifacts::{
    CANCEL_MATRIX, CANCEL_MATRIX_PAGE, CANCEL_TEST, CANCEL_TEST_PAGE, FileNames, RESOLVED_CONFIG,
    RunFiles, RunFolder, SHARD, Summary, json_value, read_json, replace, shard::ShardFolder,
};
use pinfire_base::tokens::TokenCounter;
use pinfire_config::words::RateWindowName;
use pinfire_workload::text::{Wanted, resolve};
use serde_json::Value;

use crate::{
    args::Report,
    environment, settings,
    terminal::{
        say,
        stdout::{self, Shows},
    },
};

/// Of a run of several shards of which one is not whole.
const SHARD_LOST: u8 = 6;

/// Reads a run and writes its report.
///
/// # Errors
/// The run cannot be read, or the report cannot be written.
pub fn run(flags: &Report) -> Result<ExitCode> {
    let folder = &flags.folder;
    if folder.join(CANCEL_MATRIX).is_file() {
        return of_matrix(flags);
    }
    if folder.is_dir() && RunFiles::find(folder).is_err() && ShardFolder::all(folder)?.is_empty() {
        let runs = of_many(folder)?;
        if !runs.is_empty() {
            return each(flags, &runs);
        }
    }
    let report = make(flags, Some(Shows::of(flags.console, flags.quiet)))?;
    if folder.join(CANCEL_TEST).is_file() {
        of_cancel_test(folder, &report.facts.artifact_dir)?;
    }
    Ok(
        match report.shards.is_some() && report.end.interrupted.is_some() {
            true => ExitCode::from(SHARD_LOST),
            false => ExitCode::SUCCESS,
        },
    )
}

/// The runs of a sweep, of a search or of one configuration.
fn of_many(folder: &Path) -> Result<Vec<PathBuf>> {
    let points = RunFiles::points(folder)?.into_iter();
    let mut runs: Vec<RunFiles> = points.flat_map(|(_, runs)| runs).collect();
    if runs.is_empty() {
        runs = RunFiles::repeats(folder)?;
    }
    for lost in RunFiles::lost_repeats(folder)? {
        say::warning(format_args!(
            "{}: nothing of this repeat is there; it is left out",
            lost.display()
        ));
    }
    Ok(runs.iter().map(|run| run.folder().to_owned()).collect())
}

/// Reports runs one by one. One that cannot be read keeps no other from being reported.
fn each(flags: &Report, runs: &[PathBuf]) -> Result<ExitCode> {
    let folder = &flags.folder;
    let mut failed = 0;
    for run in runs {
        let below = run.strip_prefix(folder).unwrap_or(run);
        let one = Report {
            folder: run.clone(),
            output: flags.output.as_ref().map(|output| output.join(below)),
            ..flags.clone()
        };
        stdout::plain(&format!("\n{}\n", below.display()));
        if let Err(error) = make(&one, Some(Shows::Headline)) {
            failed += 1;
            say::error(format_args!("{}: {error:#}", run.display()));
        }
    }
    say::line(format_args!(
        "{} of {} runs reported, each in {}; `pinfire show {}` has the table of all",
        runs.len() - failed,
        runs.len(),
        match &flags.output {
            Some(output) => format!("its folder under {}", output.display()),
            None => "its own report/".to_owned(),
        },
        folder.display()
    ));
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Makes the files of a run of those of its shards, if nobody has since they were written. A folder
/// without shards is left alone.
///
/// # Errors
/// The shards are not of one run, or the files cannot be written.
pub fn merge_shards(folder: &Path) -> Result<()> {
    if !folder.is_dir() || ShardFolder::all(folder)?.is_empty() || is_merged(folder)? {
        return Ok(());
    }
    let report = make(&of_folder(folder), None)?;
    let shards = report.shards.as_ref();
    say::line(format_args!(
        "The files of {} are made of {} shards; `pinfire report {}` shows them",
        folder.display(),
        shards.map_or(0, |shards| shards.table.len()),
        folder.display()
    ));
    if let Some(reason) = &report.end.interrupted {
        say::warning(format_args!(
            "{}: the run is incomplete: {reason}",
            folder.display()
        ));
    }
    Ok(())
}

/// Makes the files of a run whose shards have just ended, and shows it: where its summary is.
///
/// # Errors
/// The shards are not of one run, or the files cannot be written.
pub fn of_shards(folder: &Path, shows: Shows) -> Result<PathBuf> {
    let report = make(&of_folder(folder), Some(shows))?;
    Ok(folder.join(&report.facts.files.json))
}

/// The same of one of several runs, which is not shown.
///
/// # Errors
/// As there.
pub fn merged(folder: &Path) -> Result<Rebuilt> {
    make(&of_folder(folder), None)
}

/// What is asked of the report of a folder where nobody says more.
fn of_folder(folder: &Path) -> Report {
    Report {
        folder: folder.to_owned(),
        output: None,
        tokenizer: None,
        tokenizer_revision: "main".to_owned(),
        use_server_token_count: false,
        rate_window: RateWindowName::Benchmark,
        num_gpus: None,
        goodput: None,
        slice_duration: None,
        exact_records: EXACT_RECORDS,
        percentiles: None,
        show_trace_timing: false,
        console: None,
        quiet: false,
        ui: None,
    }
}

/// Whether the summary in a folder is of all that its shards have written.
fn is_merged(folder: &Path) -> Result<bool> {
    // When it changed, by the system: a copy keeps the time of its content.
    let changed = |path: &Path| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.ctime(), data.ctime_nsec()))
    };
    let Some(summary) = RunFiles::find(folder).ok().and_then(|run| run.summary()) else {
        return Ok(false);
    };
    let made = changed(&summary);
    let told: Summary = read_json(&summary)?;
    let Some(told) = told.shards else {
        return Ok(false);
    };
    let known = |index: u32| {
        let missing = told.missing.iter().map(|shard| shard.index);
        let mut all = told.table.iter().map(|shard| shard.index).chain(missing);
        all.any(|known| known == index)
    };
    let is_older = |shard: &ShardFolder| {
        let lines = RunFiles::find(&shard.path).ok().and_then(|run| run.lines());
        let files = [Some(shard.path.join(SHARD)), lines];
        let mut files = files.iter().flatten();
        known(shard.index) && files.all(|path| changed(path) <= made)
    };
    Ok(ShardFolder::all(folder)?.iter().all(is_older))
}

/// Makes the report of a run and writes its files. Those of a run of several shards are the run's
/// own: nobody else has written them. `shows` is how much of it is shown, if anything.
fn make(flags: &Report, shows: Option<Shows>) -> Result<Rebuilt> {
    let folder = &flags.folder;
    let mut rebuild = Rebuild::open(folder, env!("CARGO_PKG_VERSION"))?;
    let output = match &flags.output {
        Some(output) => output.clone(),
        None if rebuild.is_sharded() => folder.clone(),
        None => folder.join("report"),
    };
    let written_to = RunFolder::create(&output)?;
    let shards = ShardFolder::all(folder).unwrap_or_default();
    let of_shard = |shard: &ShardFolder| RunFolder::is_busy(&shard.path);
    if !same(&output, folder) && RunFolder::is_busy(folder) || shards.iter().any(of_shard) {
        say::warning(format_args!(
            "a run is still writing to {}: this is the report of what there is so far",
            folder.display()
        ));
    }
    rebuild.facts.artifact_dir.clone_from(&output);
    ask(flags, &mut rebuild)?;
    let counting = counting(flags, &rebuild)?;
    let report = read(flags, rebuild, counting, &output)?;
    let width = environment::read("UI_CONSOLE_EXPORT_WIDTH")?.unwrap_or(DEFAULT_WIDTH);
    let mut written = report.write(width);
    if same(&output, folder) {
        // The run has its summary now.
        written = written.and_then(|written| report.forget_start().map(|()| written));
        take_home(&report.facts.files, &shards, folder)?;
    }
    if let Some(shows) = shows {
        stdout::report(&report, width, written.as_ref().ok(), shows);
    }
    let written = written?;
    let files = report.files(Some(&written)).into_iter();
    written_to.check(files.map(|(_, path)| path))?;
    Ok(report)
}

/// What the flags ask for in place of what the run asked for.
fn ask(flags: &Report, rebuild: &mut Rebuild) -> Result<()> {
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
    Ok(())
}

/// Reads all requests and writes their lines into `output`.
fn read(flags: &Report, rebuild: Rebuild, counting: Counting, output: &Path) -> Result<Rebuilt> {
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
    warnings.into_iter().for_each(say::warning);
    Ok(report)
}

/// Puts beside the files of a run what one of its shards alone has of servers and GPUs, so that
/// they are found there.
fn take_home(names: &FileNames, shards: &[ShardFolder], run: &Path) -> Result<()> {
    let endings = ["json", "csv", "jsonl", "parquet"];
    let seen = endings.map(|ending| names.server_metrics(ending));
    for name in seen.iter().chain([&names.gpu_telemetry]) {
        let there = shards.iter().map(|shard| shard.path.join(name));
        let there: Vec<PathBuf> = there.filter(|path| path.is_file()).collect();
        let home = run.join(name);
        if let [only] = &there[..]
            && !home.exists()
        {
            std::fs::copy(only, &home)
                .with_context(|| format!("cannot copy {} to {}", only.display(), home.display()))?;
        }
    }
    Ok(())
}

/// The verdict of a cancel-test stays as it is: what the server's metrics showed is in no line of
/// a request. Its page is made anew.
fn of_cancel_test(folder: &Path, output: &Path) -> Result<()> {
    let path = folder.join(CANCEL_TEST);
    let found: Value = read_json(&path)?;
    let html = page::html(&found).map_err(|why| anyhow!("{}: {why}", path.display()))?;
    let beside = output.join(CANCEL_TEST_PAGE);
    replace(&beside, html.as_bytes())?;
    say::line(format_args!(
        "The verdict of the cancel-test is that of {}, as a page: {}",
        path.display(),
        beside.display()
    ));
    Ok(())
}

/// The table of a matrix is shown, and its page made, from its cells. Its requests are in folders
/// of their own, which are named.
fn of_matrix(flags: &Report) -> Result<ExitCode> {
    let path = flags.folder.join(CANCEL_MATRIX);
    let mut found: Matrix = read_json(&path)?;
    found.sum_up();
    let output = flags.output.clone();
    let output = output.unwrap_or_else(|| flags.folder.join("report"));
    let folder = RunFolder::create(&output)?;
    stdout::plain(&found.page());
    let beside = output.join(CANCEL_MATRIX_PAGE);
    let html = matrix::html(&json_value(&found)).map_err(|why| anyhow!(why))?;
    replace(&beside, html.as_bytes())?;
    folder.check([beside.as_path()])?;
    say::line(format_args!(
        "The table of the matrix is of {}, as a page: {}",
        path.display(),
        beside.display()
    ));
    let below = std::fs::read_dir(&flags.folder)?.filter_map(Result::ok);
    let runs = below.filter(|entry| entry.path().join(RESOLVED_CONFIG).is_file());
    let mut runs: Vec<String> = runs
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    runs.sort();
    if let Some(first) = runs.first() {
        say::line(format_args!(
            "The requests are in folders of their own ({}): `pinfire report {}` is of one",
            runs.join(", "),
            flags.folder.join(first).display()
        ));
    }
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
