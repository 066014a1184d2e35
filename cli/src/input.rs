//! Where the requests come from: the settings of dataset, conversations and fixed schedule,
//! decided.

use std::path::Path;

use anyhow::Result;
use pinfire_base::{clock::Span, limits::PROMPT_TOKENS, memory};
use pinfire_config::{
    Blame, Get, Given, Refusal, RunConfig, demand, refuse,
    sections::{Conversations, Schedule},
};
use pinfire_dialect::EndpointKind;
use pinfire_workload::dataset::{
    file::{FileSpec, Format, Support, detect},
    mooncake::{self, DEFAULT_BLOCK_SIZE, FixedSpec, MooncakeSpec},
    synthetic::{SyntheticSpec, TurnSpec},
};

use crate::prompts::{self, Prompts};
use crate::shards;
use crate::synthesis;

/// Where the requests come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Prompts made up here.
    Synthetic(SyntheticSpec),
    /// A trace file.
    Mooncake(MooncakeSpec),
    /// Any other file or folder.
    File(FileSpec),
}

impl Input {
    /// Whether it is sent by its timestamps.
    pub fn fixed_schedule(&self) -> bool {
        match self {
            Self::Synthetic(_) => false,
            Self::Mooncake(spec) => spec.fixed.is_some(),
            Self::File(spec) => spec.fixed.is_some(),
        }
    }
}

/// Synthetic conversations when no flag says how many.
const DEFAULT_ENTRIES: u64 = 100;
/// The most of them that are made because a run has that many requests: about 60 MB of prompts,
/// made in about a second. A run of a hundred million requests takes them in turn.
const MOST_ENTRIES: u64 = 20_000;
/// Mean input length of synthetic prompts.
const DEFAULT_ISL: u32 = 550;

/// Reads the settings; `sent` is the most conversations that the run begins, warmup included, and
/// `in_order` that it takes them as they are in the file.
///
/// # Errors
/// The first combination that makes no sense, with the way out.
pub fn decide(config: &RunConfig, kind: EndpointKind, sent: u64, in_order: bool) -> Result<Input> {
    let input = &config.input;
    demand!(
        input.osl_stddev.is_none() || input.osl.is_some(),
        [input.osl_stddev],
        "--osl-stddev needs --osl: the mean is missing"
    );
    let Some(path) = input.input_file.get() else {
        return synthetic(config, kind).map(Input::Synthetic);
    };
    demand!(
        path.exists(),
        [input.input_file],
        "--input-file {}: there is no such file",
        path.display()
    );
    let shaping: Vec<_> = synthetic_only(config)
        .into_iter()
        .filter(|(_, setting)| setting.is_given())
        .collect();
    if !shaping.is_empty() {
        let flags: Vec<&str> = shaping.iter().map(|(flag, _)| *flag).collect();
        let settings: Vec<&dyn Given> = shaping.iter().map(|(_, setting)| *setting).collect();
        let message = format!(
            "for synthetic prompts only, not with --input-file: {}; leave it out",
            flags.join(", ")
        );
        return Err(Refusal::about(&settings, message).into());
    }
    let (format, named) = format(config, &path)?;
    if !matches!(format.support, Support::Mooncake) {
        return file(config, &path, format).map(Input::File);
    }
    no_entries(config, format)?;
    let fixed = fixed(&config.schedule, &path, named)?;
    let limit = match fixed {
        // The schedule ends with the trace, unless the user asks for less of it.
        Some(_) => config.load.request_count.get(),
        // Any other order than the file's may reach all of it.
        None => in_order.then_some(sent),
    };
    Ok(Input::Mooncake(MooncakeSpec {
        path,
        block_size: input
            .isl_block_size
            .get()
            .map_or(DEFAULT_BLOCK_SIZE, tokens),
        limit: limit.map(size),
        osl_mean: input.osl.get(),
        osl_stddev: input.osl_stddev.get().unwrap_or(0.0),
        fixed,
        speedup: config.schedule.synthesis_speedup_ratio.get().unwrap_or(1.0),
        synthesis: synthesis::decide(&config.synthesis),
        ignore_delays: config.schedule.ignore_trace_delays.value,
        delay_cap: delay_cap(&config.conversations),
    }))
}

/// The format of an input file, and whether the user named it.
fn format(config: &RunConfig, path: &Path) -> Result<(&'static Format, bool)> {
    let given = &config.input.custom_dataset_type;
    let about: [&dyn Given; 2] = [given, &config.input.input_file];
    let (format, said) = match given.get() {
        Some(name) => match Format::named(&name) {
            Some(format) => (format, format!("--custom-dataset-type {name}")),
            None => refuse!(
                [given],
                "--custom-dataset-type {name}: there is no such format; it must be one of: {}",
                Format::built_names()
            ),
        },
        None => {
            let format = detect(path).about(&about)?;
            let said = format!(
                "--input-file {} has the format {}",
                path.display(),
                format.name
            );
            (format, said)
        }
    };
    demand!(
        format.is_built(),
        [given, config.input.input_file],
        "{said}: that one is not built; turn it into one of: {}",
        Format::built_names()
    );
    format.check_kind(path).about(&about)?;
    Ok((format, given.is_some()))
}

/// Everything but synthetic prompts and Mooncake traces.
fn file(config: &RunConfig, path: &Path, format: &'static Format) -> Result<FileSpec> {
    let (input, schedule, name) = (&config.input, &config.schedule, format.name);
    demand!(
        input.isl_block_size.is_none(),
        [input.isl_block_size],
        "--isl-block-size is for traces with hash ids, {name} has none; leave it out"
    );
    demand!(
        schedule.synthesis_speedup_ratio.is_none() && !schedule.ignore_trace_delays.value,
        [
            schedule.synthesis_speedup_ratio,
            schedule.ignore_trace_delays
        ],
        "--synthesis-speedup-ratio and --ignore-trace-delays are for traces, {name} is none; leave \
         them out"
    );
    synthesis::refuse(&config.synthesis, name)?;
    if format.verbatim {
        nothing_put_in(config, name)?;
    }
    if !format.drawn {
        no_entries(config, format)?;
    }
    let fixed = if schedule.fixed_schedule.get() == Some(true) {
        demand!(
            format.timed,
            [schedule.fixed_schedule],
            "--fixed-schedule: {name} has no timestamps; leave it out"
        );
        fixed_spec(schedule)?
    } else {
        no_offsets(schedule)?;
        None
    };
    let requests = config.load.request_count.get();
    let entries = entries(config);
    Ok(FileSpec {
        path: path.to_path_buf(),
        format,
        entries: entries.filter(|_| format.drawn).map(size),
        osl_mean: input.osl.get(),
        osl_stddev: input.osl_stddev.get().unwrap_or(0.0),
        limit: fixed.and(requests).map(size),
        fixed,
        delay_cap: delay_cap(&config.conversations),
    })
}

/// Bodies that are sent as they are take nothing.
fn nothing_put_in(config: &RunConfig, name: &str) -> Result<()> {
    let all: [(&str, &dyn Given, bool); 3] = [
        ("--osl", &config.input.osl, config.input.osl.is_some()),
        (
            "--extra-inputs",
            &config.input.extra_inputs,
            !config.input.extra_inputs.is_empty(),
        ),
        (
            "--use-legacy-max-tokens",
            &config.endpoint.use_legacy_max_tokens,
            config.endpoint.use_legacy_max_tokens.value,
        ),
    ];
    let given: Vec<_> = all.into_iter().filter(|(_, _, given)| *given).collect();
    if given.is_empty() {
        return Ok(());
    }
    let flags: Vec<&str> = given.iter().map(|(flag, ..)| *flag).collect();
    let settings: Vec<&dyn Given> = given.iter().map(|(_, setting, _)| *setting).collect();
    let message = format!(
        "{}: the bodies of {name} are sent as they are, nothing is put into them; leave it out",
        flags.join(", ")
    );
    Err(Refusal::about(&settings, message).into())
}

/// Only what is made up has a number of entries to be chosen.
fn no_entries(config: &RunConfig, format: &Format) -> Result<()> {
    demand!(
        config.input.num_dataset_entries.is_none(),
        [config.input.num_dataset_entries],
        "--num-dataset-entries is for synthetic prompts and random_pool; all entries of a \
         {} file are taken, so leave it out (--num-conversations limits how many are sent)",
        format.name
    );
    Ok(())
}

fn synthetic(config: &RunConfig, kind: EndpointKind) -> Result<SyntheticSpec> {
    let (input, conversations) = (&config.input, &config.conversations);
    nothing_of_a_file(config)?;
    let Prompts {
        lengths,
        texts,
        prefixes,
        user_context_length,
        rankings,
    } = prompts::decide(config, kind)?;
    let isl_mean = input.isl.get().unwrap_or(DEFAULT_ISL);
    demand!(
        isl_mean > 0,
        [input.isl],
        "--isl 0 leaves nothing to send; it must be at least 1"
    );
    demand!(
        kind != EndpointKind::Raw,
        [config.endpoint.endpoint_type],
        "--endpoint-type raw sends complete payloads and makes none; give a dataset that has them \
         with --input-file"
    );
    demand!(
        kind.row().takes_system_message || conversations.shared_system_prompt_length.is_none(),
        [conversations.shared_system_prompt_length],
        "--shared-system-prompt-length: {} has no system messages; use --endpoint-type chat",
        kind.name()
    );
    let spec = SyntheticSpec {
        count: size(entries(config).unwrap_or(DEFAULT_ENTRIES)),
        isl_mean,
        isl_stddev: input.isl_stddev.get().unwrap_or(0.0),
        osl_mean: input.osl.get(),
        osl_stddev: input.osl_stddev.get().unwrap_or(0.0),
        turns: turns(conversations, kind)?,
        system_length: conversations.shared_system_prompt_length.get().map(tokens),
        lengths,
        texts,
        prefixes,
        user_context_length,
        rankings,
    };
    fits(config, &spec)?;
    Ok(spec)
}

/// Conversations to be made, where a flag says how many: itself, or as the run needs them.
fn entries(config: &RunConfig) -> Option<u64> {
    let needed = config.conversations.num_conversations.get();
    let needed = needed.or(config.load.request_count.get());
    let needed = needed.map(|needed| needed.min(MOST_ENTRIES));
    config.input.num_dataset_entries.get().or(needed)
}

/// What is said where a run has more requests than there are different prompts, and nobody asked
/// for that.
pub fn repeats(config: &RunConfig, input: &Input) -> Option<String> {
    let needed = config.conversations.num_conversations.get();
    let needed = needed.or(config.load.request_count.get())?;
    let made_up = match input {
        Input::Synthetic(_) => true,
        Input::File(spec) => spec.format.drawn,
        Input::Mooncake(_) => false,
    };
    let asked = config.input.num_dataset_entries.is_some();
    (made_up && !asked && needed > MOST_ENTRIES).then(|| {
        format!(
            "{MOST_ENTRIES} different prompts are made and taken in turn; --num-dataset-entries makes \
             more of them, such as all {needed}"
        )
    })
}

/// Whether the prompts can be made at all.
fn fits(config: &RunConfig, spec: &SyntheticSpec) -> Result<()> {
    let extent = spec.extent();
    let flags = sizes(config);
    let given: Vec<_> = flags
        .into_iter()
        .filter(|(_, setting)| setting.is_given())
        .collect();
    let names: Vec<&str> = given.iter().map(|(flag, _)| *flag).collect();
    let settings: Vec<&dyn Given> = given.iter().map(|(_, setting)| *setting).collect();
    let names = names.join(", ");
    if extent.longest > f64::from(PROMPT_TOKENS) {
        let message = format!(
            "{names}: a prompt of {:.3e} tokens is longer than any model takes; it must be at most \
             {PROMPT_TOKENS}",
            extent.longest
        );
        return Err(Refusal::about(&settings, message).into());
    }
    // A shard makes its own prompts only.
    let shard = shards::of(config, &shards::environment)?;
    let bytes = extent.bytes / shard.map_or(1.0, |own| f64::from(own.count));
    let available = memory::available();
    if bytes > available as f64 {
        let message = format!(
            "{names}: the prompts would take about {} of memory, and there are {}; make fewer or shorter \
             ones (--num-dataset-entries makes some, which are taken in turn)",
            memory::shown(bytes),
            memory::shown(available as f64)
        );
        return Err(Refusal::about(&settings, message).into());
    }
    Ok(())
}

/// What decides how large a synthetic dataset is.
fn sizes(config: &RunConfig) -> Vec<(&'static str, &dyn Given)> {
    let mut all: Vec<(&'static str, &dyn Given)> = vec![
        ("--num-dataset-entries", &config.input.num_dataset_entries),
        (
            "--num-conversations",
            &config.conversations.num_conversations,
        ),
        ("--request-count", &config.load.request_count),
    ];
    let shaping = synthetic_only(config).into_iter();
    all.extend(
        shaping.filter(|(flag, _)| !flag.contains("delay") && *flag != "--random-corpus-style"),
    );
    all
}

/// What is about the lines of a file means nothing without one.
fn nothing_of_a_file(config: &RunConfig) -> Result<()> {
    let (input, schedule) = (&config.input, &config.schedule);
    demand!(
        input.custom_dataset_type.is_none(),
        [input.custom_dataset_type],
        "--custom-dataset-type needs --input-file"
    );
    demand!(
        input.isl_block_size.is_none(),
        [input.isl_block_size],
        "--isl-block-size is for traces with hash ids; it needs --input-file"
    );
    demand!(
        schedule.fixed_schedule.get() != Some(true),
        [schedule.fixed_schedule],
        "--fixed-schedule: synthetic prompts have no timestamps; give a trace with --input-file and \
         --custom-dataset-type mooncake_trace"
    );
    no_offsets(schedule)?;
    demand!(
        schedule.synthesis_speedup_ratio.is_none() && !schedule.ignore_trace_delays.value,
        [
            schedule.synthesis_speedup_ratio,
            schedule.ignore_trace_delays
        ],
        "--synthesis-speedup-ratio and --ignore-trace-delays are for the times of a trace; they need \
         --input-file"
    );
    synthesis::refuse(&config.synthesis, "synthetic prompts")
}

fn turns(asked: &Conversations, kind: EndpointKind) -> Result<TurnSpec> {
    let mean = asked.session_turns_mean.get().unwrap_or(1);
    let stddev = asked.session_turns_stddev.get().unwrap_or(0);
    demand!(
        kind.row().several_turns || (mean == 1 && stddev == 0),
        [asked.session_turns_mean, asked.session_turns_stddev],
        "--session-turns-mean and --session-turns-stddev: {} has no conversations of several turns; \
         use --endpoint-type chat",
        kind.name()
    );
    let delay_mean_ms = asked.session_turn_delay_mean.get().unwrap_or(0.0);
    let delay_stddev_ms = asked.session_turn_delay_stddev.get().unwrap_or(0.0);
    demand!(
        delay_mean_ms > 0.0 || (delay_stddev_ms == 0.0 && asked.session_delay_ratio.is_none()),
        [asked.session_turn_delay_stddev, asked.session_delay_ratio],
        "--session-turn-delay-stddev and --session-delay-ratio alone make no delay; add \
         --session-turn-delay-mean"
    );
    Ok(TurnSpec {
        mean: tokens(mean),
        stddev: stddev as f64,
        delay_mean_ms,
        delay_stddev_ms,
        delay_ratio: asked.session_delay_ratio.get().unwrap_or(1.0),
        delay_cap: delay_cap(asked),
    })
}

/// The settings that only shape synthetic data.
fn synthetic_only(config: &RunConfig) -> Vec<(&'static str, &dyn Given)> {
    let (input, conversations) = (&config.input, &config.conversations);
    let mut all: Vec<(&'static str, &dyn Given)> = vec![
        ("--isl", &input.isl),
        ("--isl-stddev", &input.isl_stddev),
        ("--session-turns-mean", &conversations.session_turns_mean),
        (
            "--session-turns-stddev",
            &conversations.session_turns_stddev,
        ),
        (
            "--session-turn-delay-mean",
            &conversations.session_turn_delay_mean,
        ),
        (
            "--session-turn-delay-stddev",
            &conversations.session_turn_delay_stddev,
        ),
        ("--session-delay-ratio", &conversations.session_delay_ratio),
        (
            "--shared-system-prompt-length",
            &conversations.shared_system_prompt_length,
        ),
    ];
    all.extend(prompts::shaping(config));
    all
}

/// What a fixed schedule over this trace takes, if there is to be one: asked for, or because the
/// user named the format, the trace has timestamps, and nothing speaks against it.
fn fixed(schedule: &Schedule, path: &Path, named: bool) -> Result<Option<FixedSpec>> {
    let timed = mooncake::has_timestamps(path)?;
    let asked = schedule.fixed_schedule.get();
    demand!(
        timed || asked != Some(true),
        [schedule.fixed_schedule],
        "--fixed-schedule: the first line of {} has no timestamp; leave the flag out to send the \
         trace as fast as --concurrency allows",
        path.display()
    );
    if !asked.unwrap_or(named && timed) {
        return no_offsets(schedule).map(|()| None);
    }
    fixed_spec(schedule)
}

/// Which part of the file a fixed schedule takes, and where its time begins.
fn fixed_spec(schedule: &Schedule) -> Result<Option<FixedSpec>> {
    let (start, end) = (
        &schedule.fixed_schedule_start_offset,
        &schedule.fixed_schedule_end_offset,
    );
    let auto = &schedule.fixed_schedule_auto_offset;
    demand!(
        auto.get() != Some(true) || start.is_none(),
        [auto, start],
        "--fixed-schedule-auto-offset and --fixed-schedule-start-offset cannot both be set: each \
         says where the schedule begins"
    );
    let (start_ms, end_ms) = (start.get(), end.get());
    if let (Some(first), Some(last)) = (start_ms, end_ms) {
        demand!(
            first <= last,
            [start, end],
            "--fixed-schedule-start-offset {first} is after --fixed-schedule-end-offset {last}; it \
             must not be"
        );
    }
    Ok(Some(FixedSpec {
        start_ms,
        end_ms,
        auto_offset: auto.get().unwrap_or(start_ms.is_none()),
    }))
}

/// The offsets belong to a fixed schedule.
fn no_offsets(schedule: &Schedule) -> Result<()> {
    let (auto, start, end) = (
        &schedule.fixed_schedule_auto_offset,
        &schedule.fixed_schedule_start_offset,
        &schedule.fixed_schedule_end_offset,
    );
    demand!(
        auto.is_none() && start.is_none() && end.is_none(),
        [auto, start, end],
        "--fixed-schedule-auto-offset, --fixed-schedule-start-offset and \
         --fixed-schedule-end-offset need a fixed schedule; add --fixed-schedule, or leave them out"
    );
    Ok(())
}

fn delay_cap(asked: &Conversations) -> Option<Span> {
    let seconds = asked.inter_turn_delay_cap_seconds.get();
    seconds.map(Span::from_secs_f64)
}

fn tokens(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::typed;
    use pinfire_workload::dataset::mooncake::Synthesis;

    fn parsed(flags: &str) -> RunConfig {
        typed(flags.split_whitespace()).unwrap()
    }

    fn decided(flags: &str, kind: EndpointKind) -> Result<Input> {
        decide(&parsed(flags), kind, 10, true)
    }

    #[track_caller]
    fn made(flags: &str) -> SyntheticSpec {
        match decided(flags, EndpointKind::Chat).unwrap() {
            Input::Synthetic(spec) => spec,
            other => panic!("{flags} is synthetic, not {other:?}"),
        }
    }

    #[track_caller]
    fn refused(flags: &str, kind: EndpointKind, words: &[&str]) {
        let error = decided(flags, kind).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "`{error}` lacks `{word}` for {flags}");
        }
    }

    /// A trace whose first line is this, and the flags that name it.
    fn trace(first: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.jsonl");
        std::fs::write(&path, first).unwrap();
        let flags = format!(
            "--input-file {} --custom-dataset-type Mooncake-Trace",
            path.display()
        );
        (folder, flags)
    }

    const TIMED: &str = r#"{"timestamp": 5, "input_length": 1}"#;
    const UNTIMED: &str = r#"{"input_length": 1, "delay": 5}"#;

    #[track_caller]
    fn replayed(flags: &str) -> MooncakeSpec {
        match decided(flags, EndpointKind::Chat).unwrap() {
            Input::Mooncake(spec) => spec,
            other => panic!("{flags} is a trace, not {other:?}"),
        }
    }

    #[test]
    fn the_number_of_synthetic_conversations() {
        for (flags, count) in [
            ("", 100),
            ("--request-count 7", 7),
            ("--request-count 7 --num-sessions 5", 5),
            ("--request-count 7 --conversation-num 5 --num-prompts 3", 3),
        ] {
            assert_eq!(made(flags).count, count, "{flags}");
        }
    }

    #[test]
    fn turns_and_the_shared_system_message() {
        let one = made("").turns;
        assert_eq!(
            (one.mean, one.delay_mean_ms, one.delay_ratio),
            (1, 0.0, 1.0)
        );
        let spec = made(
            "--conversation-turn-mean 4 --session-turns-stddev 2 --session-turn-delay-mean 1.5 \
             --conversation-turn-delay-stddev 3 --conversation-turn-delay-ratio 0.5 \
             --inter-turn-delay-cap-seconds 2 --shared-system-prompt-length 77",
        );
        let expected = TurnSpec {
            mean: 4,
            stddev: 2.0,
            delay_mean_ms: 1.5,
            delay_stddev_ms: 3.0,
            delay_ratio: 0.5,
            delay_cap: Some(Span::from_millis(2_000)),
        };
        assert_eq!(spec.turns, expected);
        assert_eq!(spec.system_length, Some(77));
        refused(
            "--session-turn-delay-stddev 5",
            EndpointKind::Chat,
            &["--session-turn-delay-mean"],
        );
    }

    #[test]
    fn a_kind_without_history_has_neither_turns_nor_system_messages() {
        for flags in [
            "--session-turns-mean 2",
            "--session-turns-stddev 1",
            "--shared-system-prompt-length 5",
        ] {
            let flag = flags.split(' ').next().unwrap();
            for kind in [EndpointKind::Completions, EndpointKind::Embeddings] {
                refused(flags, kind, &[flag, kind.name(), "--endpoint-type chat"]);
            }
            for kind in [EndpointKind::Responses, EndpointKind::Messages] {
                assert!(decided(flags, kind).is_ok(), "{flags}");
            }
        }
        refused("", EndpointKind::Raw, &["raw", "--input-file"]);
        assert!(decided("--session-turns-mean 1", EndpointKind::Completions).is_ok());
    }

    #[test]
    fn flags_of_synthetic_data_do_not_go_with_a_file() {
        let (_folder, file) = trace(UNTIMED);
        for flag in [
            "--isl",
            "--isl-stddev",
            "--session-turns-mean",
            "--session-turns-stddev",
            "--session-turn-delay-mean",
            "--session-turn-delay-stddev",
            "--session-delay-ratio",
            "--shared-system-prompt-length",
            "--seq-dist",
            "--random-range-ratio",
            "--random-corpus-style",
            "--prompt-batch-size",
            "--num-prefix-prompts",
            "--prefix-prompt-length",
            "--user-context-prompt-length",
            "--rankings-passages-mean",
        ] {
            let value = if flag == "--random-corpus-style" {
                "vllm"
            } else {
                "2"
            };
            let flags = format!("{file} {flag} {value}");
            refused(
                &flags,
                EndpointKind::Chat,
                &[flag, "synthetic", "--input-file"],
            );
        }
        let spec = replayed(&format!(
            "{file} --inter-turn-delay-cap-seconds 1 --num-sessions 2"
        ));
        assert_eq!(spec.delay_cap, Some(Span::from_millis(1_000)));
    }

    #[test]
    fn flags_of_a_trace_do_not_go_with_synthetic_data() {
        for (flags, word) in [
            ("--fixed-schedule", "--input-file"),
            ("--fixed-schedule-end-offset 5", "--fixed-schedule"),
            ("--synthesis-speedup-ratio 2", "--input-file"),
            ("--ignore-trace-delays", "--input-file"),
            ("--synthesis-prefix-len-multiplier 2", "synthetic prompts"),
            ("--synthesis-prefix-root-multiplier 2", "synthetic prompts"),
            ("--synthesis-prompt-len-multiplier 2", "synthetic prompts"),
            ("--synthesis-output-len-multiplier 2", "synthetic prompts"),
            ("--synthesis-max-isl 2", "synthetic prompts"),
            ("--synthesis-max-osl 2", "--input-file"),
            ("--isl-block-size 2", "--input-file"),
            ("--custom-dataset-type mooncake_trace", "--input-file"),
        ] {
            let flag = flags.split(' ').next().unwrap();
            refused(flags, EndpointKind::Chat, &[flag, word]);
        }
        assert!(
            !decided("--no-fixed-schedule", EndpointKind::Chat)
                .unwrap()
                .fixed_schedule()
        );
    }

    #[test]
    fn a_named_trace_with_timestamps_makes_a_fixed_schedule() {
        let (_folder, timed) = trace(TIMED);
        let (_other, untimed) = trace(UNTIMED);
        let fixed = |flags: &str| decided(flags, EndpointKind::Chat).unwrap().fixed_schedule();
        assert!(fixed(&timed));
        assert!(fixed(&format!("{timed} --fixed-schedule")));
        assert!(!fixed(&format!("{timed} --no-fixed-schedule")));
        assert!(!fixed(&untimed));
        let flags = format!("{untimed} --fixed-schedule");
        refused(&flags, EndpointKind::Chat, &["trace.jsonl", "no timestamp"]);
        let both = format!("{timed} --fixed-schedule --no-fixed-schedule");
        let error = typed(both.split_whitespace()).unwrap_err().to_string();
        assert!(error.contains("exclude each other"), "{error}");
    }

    #[test]
    fn multipliers_of_a_trace() {
        let (_folder, file) = trace(UNTIMED);
        assert_eq!(replayed(&file).synthesis, Synthesis::default());
        let flags = "--synthesis-prefix-len-multiplier 1.5 --synthesis-prefix-root-multiplier 3 \
                     --synthesis-prompt-len-multiplier 0.5 --synthesis-output-len-multiplier 0 \
                     --synthesis-max-isl 1000 --synthesis-max-osl 20";
        let expected = Synthesis {
            prefix_len: 1.5,
            prefix_root: 3,
            prompt_len: 0.5,
            output_len: 0.0,
            max_isl: Some(1000),
            max_osl: Some(20),
        };
        assert_eq!(replayed(&format!("{file} {flags}")).synthesis, expected);
    }

    #[test]
    fn only_a_request_count_shortens_a_fixed_schedule() {
        let (_folder, timed) = trace(TIMED);
        assert_eq!(replayed(&timed).limit, None);
        assert_eq!(
            replayed(&format!("{timed} --request-count 3")).limit,
            Some(3)
        );
        assert_eq!(
            replayed(&format!("{timed} --no-fixed-schedule")).limit,
            Some(10)
        );
    }

    #[test]
    fn offsets_of_a_fixed_schedule() {
        let (_folder, timed) = trace(TIMED);
        let spec = |flags: &str| {
            let fixed = replayed(&format!("{timed} {flags}")).fixed.unwrap();
            (fixed.start_ms, fixed.end_ms, fixed.auto_offset)
        };
        let (start, end) = (
            "--fixed-schedule-start-offset",
            "--fixed-schedule-end-offset",
        );
        assert_eq!(spec(""), (None, None, true));
        assert_eq!(spec(&format!("{end} 9")), (None, Some(9), true));
        assert_eq!(
            spec(&format!("{start} 9 {end} 9")),
            (Some(9), Some(9), false)
        );
        assert_eq!(
            spec("--fixed-schedule-auto-offset=false"),
            (None, None, false)
        );
        let auto = "--fixed-schedule-auto-offset";
        refused(
            &format!("{timed} {auto} {start} 5"),
            EndpointKind::Chat,
            &[auto, start, "both"],
        );
        assert_eq!(
            spec(&format!("{auto}=false {start} 5")),
            (Some(5), None, false)
        );
        refused(
            &format!("{timed} {start} 6 {end} 5"),
            EndpointKind::Chat,
            &[start, end, "after"],
        );
        for flags in [format!("{start} 0"), format!("{end} 0"), auto.to_owned()] {
            let flags = format!("{timed} --no-fixed-schedule {flags}");
            refused(
                &flags,
                EndpointKind::Chat,
                &["need a fixed schedule", "--fixed-schedule"],
            );
        }
    }

    /// A file of this name and text, and the flag that names it.
    fn file_of(name: &str, text: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let flag = format!("--input-file {}", path.display());
        (folder, flag)
    }

    #[track_caller]
    fn read(flags: &str) -> FileSpec {
        match decided(flags, EndpointKind::Chat).unwrap() {
            Input::File(spec) => spec,
            other => panic!("{flags} is a file, not {other:?}"),
        }
    }

    const ROW: &str = r#"{"text": "a", "timestamp": 5}"#;

    #[test]
    fn formats_are_named_or_recognised() {
        let (_folder, row) = file_of("a.jsonl", ROW);
        assert_eq!(read(&row).format.name, "single_turn");
        let named = format!("{row} --custom-dataset-type Multi-Turn");
        assert_eq!(read(&named).format.name, "multi_turn");
        let (_trace, trace) = file_of("t.jsonl", TIMED);
        // Only a format that is named makes a fixed schedule by itself.
        assert!(replayed(&trace).fixed.is_none());
        assert!(
            replayed(&format!("{trace} --fixed-schedule"))
                .fixed
                .is_some()
        );
        for (name, words) in [
            (
                "nonsense",
                &["there is no such format", "single_turn, multi_turn"][..],
            ),
            (
                "bailian_trace",
                &["--custom-dataset-type bailian_trace", "not built"],
            ),
            ("burst-gpt-trace", &["burst-gpt-trace", "not built"]),
            ("speed_bench_throughput_8k_mixed", &["not built"]),
        ] {
            let flags = format!("{row} --custom-dataset-type {name}");
            refused(&flags, EndpointKind::Chat, words);
        }
        let line =
            r#"{"chat_id":1,"timestamp":1,"input_length":2,"output_length":3,"type":"text"}"#;
        let (_other, bailian) = file_of("b.jsonl", line);
        refused(
            &bailian,
            EndpointKind::Chat,
            &["b.jsonl has the format bailian_trace", "not built"],
        );
    }

    #[test]
    fn schedules_and_numbers_of_files() {
        let (_folder, row) = file_of("a.jsonl", ROW);
        assert_eq!(read(&row).fixed, None);
        let spec = read(&format!(
            "{row} --fixed-schedule --fixed-schedule-end-offset 7 --request-count 3"
        ));
        assert_eq!(spec.fixed.unwrap().end_ms, Some(7));
        assert_eq!(spec.limit, Some(3));
        assert_eq!(read(&format!("{row} --request-count 3")).limit, None);
        let pool = format!("{row} --custom-dataset-type random_pool");
        assert_eq!(read(&pool).entries, None);
        let flags = format!("{pool} --request-count 3 --num-sessions 4 --num-prompts 5");
        assert_eq!(read(&flags).entries, Some(5));
        for (flags, words) in [
            (
                format!("{row} --num-prompts 5"),
                ["--num-dataset-entries", "single_turn"],
            ),
            (
                format!("{row} --fixed-schedule-end-offset 5"),
                ["need a fixed", "--fixed-schedule"],
            ),
            (
                format!("{row} --isl-block-size 5"),
                ["--isl-block-size", "single_turn"],
            ),
            (
                format!("{row} --synthesis-speedup-ratio 2"),
                ["--synthesis", "traces"],
            ),
            (
                format!("{row} --ignore-trace-delays"),
                ["--ignore-trace-delays", "traces"],
            ),
            (
                format!("{pool} --fixed-schedule"),
                ["--fixed-schedule", "random_pool"],
            ),
        ] {
            refused(&flags, EndpointKind::Chat, &words);
        }
    }

    #[test]
    fn nothing_is_put_into_ready_bodies() {
        let line = r#"{"messages": [{"role": "user", "content": "a"}]}"#;
        let (_folder, file) = file_of("a.jsonl", line);
        let payloads = format!("{file} --custom-dataset-type raw_payload");
        assert!(read(&payloads).format.verbatim);
        for flag in ["--osl 5", "--extra-inputs a:1", "--use-legacy-max-tokens"] {
            let name = flag.split(' ').next().unwrap();
            refused(
                &format!("{payloads} {flag}"),
                EndpointKind::Chat,
                &[name, "as they are"],
            );
        }
    }

    #[test]
    fn another_order_may_reach_all_of_a_trace() {
        let (_folder, trace) = file_of("t.jsonl", TIMED);
        for in_order in [true, false] {
            let Ok(Input::Mooncake(spec)) =
                decide(&parsed(&trace), EndpointKind::Chat, 10, in_order)
            else {
                panic!("it is a trace");
            };
            assert_eq!(spec.limit, in_order.then_some(10));
        }
    }
}
