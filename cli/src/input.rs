//! Where the requests come from: the flags of dataset, conversations and fixed schedule, decided.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use pinfire_base::clock::Span;
use pinfire_dialect::EndpointKind;
use pinfire_workload::dataset::{
    file::{FileSpec, Format, Support, detect},
    mooncake::{self, DEFAULT_BLOCK_SIZE, FixedSpec, MooncakeSpec},
    synthetic::{SyntheticSpec, TurnSpec},
};

use crate::args::{Conversations, Profile, Schedule};
use crate::prompts::{self, Prompts};
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
/// Mean input length of synthetic prompts.
const DEFAULT_ISL: u32 = 550;

/// Reads the flags; `sent` is the most conversations that the run begins, warmup included, and
/// `in_order` that it takes them as they stand in the file.
///
/// # Errors
/// The first combination that makes no sense, with the way out.
pub fn decide(flags: &Profile, kind: EndpointKind, sent: u64, in_order: bool) -> Result<Input> {
    let input = &flags.input;
    ensure!(
        input.osl_stddev.is_none() || input.osl.is_some(),
        "--osl-stddev needs --osl: the mean is missing"
    );
    let Some(path) = &input.input_file else {
        return synthetic(flags, kind).map(Input::Synthetic);
    };
    ensure!(
        path.exists(),
        "--input-file {}: there is no such file",
        path.display()
    );
    let schedule = &flags.schedule;
    ensure!(
        !(schedule.fixed_schedule && schedule.no_fixed_schedule),
        "--fixed-schedule and --no-fixed-schedule exclude each other"
    );
    let shaping = synthetic_only(flags);
    ensure!(
        shaping.is_empty(),
        "for synthetic prompts only, not with --input-file: {}; leave it out",
        shaping.join(", ")
    );
    let (format, named) = format(input.custom_dataset_type.as_deref(), path)?;
    if !matches!(format.support, Support::Mooncake) {
        return file(flags, path, format).map(Input::File);
    }
    no_entries(flags, format)?;
    let fixed = fixed(&flags.schedule, path, named)?;
    let limit = match fixed {
        // The schedule ends with the trace, unless the user asks for less of it.
        Some(_) => flags.load.request_count,
        // Any other order than the file's may reach all of it.
        None => in_order.then_some(sent),
    };
    Ok(Input::Mooncake(MooncakeSpec {
        path: path.clone(),
        block_size: input.isl_block_size.map_or(DEFAULT_BLOCK_SIZE, tokens),
        limit: limit.map(size),
        osl_mean: input.osl,
        osl_stddev: input.osl_stddev.unwrap_or(0.0),
        fixed,
        speedup: flags.schedule.synthesis_speedup_ratio.unwrap_or(1.0),
        synthesis: synthesis::decide(&flags.synthesis),
        ignore_delays: flags.schedule.ignore_trace_delays,
        delay_cap: delay_cap(&flags.conversations),
    }))
}

/// The format of an input file, and whether the user named it.
fn format(given: Option<&str>, path: &Path) -> Result<(&'static Format, bool)> {
    let (format, said) = match given {
        Some(name) => match Format::named(name) {
            Some(format) => (format, format!("--custom-dataset-type {name}")),
            None => bail!(
                "--custom-dataset-type {name}: there is no such format; it must be one of: {}",
                Format::built_names()
            ),
        },
        None => {
            let format = detect(path)?;
            let said = format!(
                "--input-file {} has the format {}",
                path.display(),
                format.name
            );
            (format, said)
        }
    };
    ensure!(
        format.is_built(),
        "{said}: that one is not built; turn it into one of: {}",
        Format::built_names()
    );
    format.check_kind(path)?;
    Ok((format, given.is_some()))
}

/// Everything but synthetic prompts and Mooncake traces.
fn file(flags: &Profile, path: &Path, format: &'static Format) -> Result<FileSpec> {
    let (input, schedule, name) = (&flags.input, &flags.schedule, format.name);
    ensure!(
        input.isl_block_size.is_none(),
        "--isl-block-size is for traces with hash ids, {name} has none; leave it out"
    );
    ensure!(
        schedule.synthesis_speedup_ratio.is_none() && !schedule.ignore_trace_delays,
        "--synthesis-speedup-ratio and --ignore-trace-delays are for traces, {name} is none; leave \
         them out"
    );
    synthesis::refuse(&flags.synthesis, name)?;
    if format.verbatim {
        let given = [
            ("--osl", input.osl.is_some()),
            ("--extra-inputs", !input.extra_inputs.is_empty()),
            (
                "--use-legacy-max-tokens",
                flags.endpoint.use_legacy_max_tokens,
            ),
        ];
        let given = given.into_iter().filter(|(_, given)| *given);
        let given: Vec<&str> = given.map(|(flag, _)| flag).collect();
        ensure!(
            given.is_empty(),
            "{}: the bodies of {name} are sent as they are, nothing is put into them; leave it out",
            given.join(", ")
        );
    }
    if !format.drawn {
        no_entries(flags, format)?;
    }
    let fixed = match schedule.fixed_schedule {
        true => {
            ensure!(
                format.timed,
                "--fixed-schedule: {name} has no timestamps; leave it out"
            );
            fixed_spec(schedule)?
        }
        false => {
            no_offsets(schedule)?;
            None
        }
    };
    let entries = input
        .num_dataset_entries
        .or(flags.conversations.num_conversations)
        .or(flags.load.request_count);
    Ok(FileSpec {
        path: path.to_path_buf(),
        format,
        entries: entries.filter(|_| format.drawn).map(size),
        osl_mean: input.osl,
        osl_stddev: input.osl_stddev.unwrap_or(0.0),
        limit: fixed.and(flags.load.request_count).map(size),
        fixed,
        delay_cap: delay_cap(&flags.conversations),
    })
}

/// Only what is made up has a number of entries to be chosen.
fn no_entries(flags: &Profile, format: &Format) -> Result<()> {
    ensure!(
        flags.input.num_dataset_entries.is_none(),
        "--num-dataset-entries is for synthetic prompts and random_pool; all entries of a \
         {} file are taken, so leave it out (--num-conversations limits how many are sent)",
        format.name
    );
    Ok(())
}

fn synthetic(flags: &Profile, kind: EndpointKind) -> Result<SyntheticSpec> {
    let (input, conversations) = (&flags.input, &flags.conversations);
    ensure!(
        input.custom_dataset_type.is_none(),
        "--custom-dataset-type needs --input-file"
    );
    ensure!(
        input.isl_block_size.is_none(),
        "--isl-block-size is for traces with hash ids; it needs --input-file"
    );
    ensure!(
        !flags.schedule.fixed_schedule,
        "--fixed-schedule: synthetic prompts have no timestamps; give a trace with --input-file and \
         --custom-dataset-type mooncake_trace"
    );
    no_offsets(&flags.schedule)?;
    ensure!(
        flags.schedule.synthesis_speedup_ratio.is_none() && !flags.schedule.ignore_trace_delays,
        "--synthesis-speedup-ratio and --ignore-trace-delays are for the times of a trace; they need \
         --input-file"
    );
    synthesis::refuse(&flags.synthesis, "synthetic prompts")?;
    let Prompts {
        lengths,
        texts,
        prefixes,
        user_context_length,
        rankings,
    } = prompts::decide(flags, kind)?;
    let isl_mean = input.isl.unwrap_or(DEFAULT_ISL);
    ensure!(
        isl_mean > 0,
        "--isl 0 leaves nothing to send; it must be at least 1"
    );
    ensure!(
        kind != EndpointKind::Raw,
        "--endpoint-type raw sends complete payloads and makes none; give a dataset that has them \
         with --input-file"
    );
    ensure!(
        kind.row().takes_system_message || conversations.shared_system_prompt_length.is_none(),
        "--shared-system-prompt-length: {} has no system messages; use --endpoint-type chat",
        kind.name()
    );
    let count = input
        .num_dataset_entries
        .or(conversations.num_conversations)
        .or(flags.load.request_count)
        .unwrap_or(DEFAULT_ENTRIES);
    Ok(SyntheticSpec {
        count: size(count),
        isl_mean,
        isl_stddev: input.isl_stddev.unwrap_or(0.0),
        osl_mean: input.osl,
        osl_stddev: input.osl_stddev.unwrap_or(0.0),
        turns: turns(conversations, kind)?,
        system_length: conversations.shared_system_prompt_length.map(tokens),
        lengths,
        texts,
        prefixes,
        user_context_length,
        rankings,
    })
}

fn turns(flags: &Conversations, kind: EndpointKind) -> Result<TurnSpec> {
    let mean = flags.session_turns_mean.unwrap_or(1);
    let stddev = flags.session_turns_stddev.unwrap_or(0);
    ensure!(
        kind.row().several_turns || (mean == 1 && stddev == 0),
        "--session-turns-mean and --session-turns-stddev: {} has no conversations of several turns; \
         use --endpoint-type chat",
        kind.name()
    );
    let delay_mean_ms = flags.session_turn_delay_mean.unwrap_or(0.0);
    ensure!(
        delay_mean_ms > 0.0
            || (flags.session_turn_delay_stddev.unwrap_or(0.0) == 0.0
                && flags.session_delay_ratio.is_none()),
        "--session-turn-delay-stddev and --session-delay-ratio alone make no delay; add \
         --session-turn-delay-mean"
    );
    Ok(TurnSpec {
        mean: tokens(mean),
        stddev: stddev as f64,
        delay_mean_ms,
        delay_stddev_ms: flags.session_turn_delay_stddev.unwrap_or(0.0),
        delay_ratio: flags.session_delay_ratio.unwrap_or(1.0),
        delay_cap: delay_cap(flags),
    })
}

/// The given flags that only shape synthetic data.
fn synthetic_only(flags: &Profile) -> Vec<&'static str> {
    let (input, conversations) = (&flags.input, &flags.conversations);
    let all = [
        ("--isl", input.isl.is_some()),
        ("--isl-stddev", input.isl_stddev.is_some()),
        (
            "--session-turns-mean",
            conversations.session_turns_mean.is_some(),
        ),
        (
            "--session-turns-stddev",
            conversations.session_turns_stddev.is_some(),
        ),
        (
            "--session-turn-delay-mean",
            conversations.session_turn_delay_mean.is_some(),
        ),
        (
            "--session-turn-delay-stddev",
            conversations.session_turn_delay_stddev.is_some(),
        ),
        (
            "--session-delay-ratio",
            conversations.session_delay_ratio.is_some(),
        ),
        (
            "--shared-system-prompt-length",
            conversations.shared_system_prompt_length.is_some(),
        ),
    ];
    let given = all.into_iter().filter(|(_, given)| *given);
    let given = given.map(|(name, _)| name);
    given.chain(prompts::given(flags)).collect()
}

/// What a fixed schedule over this trace takes, if there is to be one: asked for, or because the
/// user named the format, the trace has timestamps, and nothing speaks against it.
fn fixed(schedule: &Schedule, path: &Path, named: bool) -> Result<Option<FixedSpec>> {
    let timed = mooncake::has_timestamps(path)?;
    ensure!(
        timed || !schedule.fixed_schedule,
        "--fixed-schedule: the first line of {} has no timestamp; leave the flag out to send the \
         trace as fast as --concurrency allows",
        path.display()
    );
    let wanted = schedule.fixed_schedule || (named && timed);
    if !wanted || schedule.no_fixed_schedule {
        return no_offsets(schedule).map(|()| None);
    }
    fixed_spec(schedule)
}

/// Which part of the file a fixed schedule takes, and where its time begins.
fn fixed_spec(schedule: &Schedule) -> Result<Option<FixedSpec>> {
    let (start_ms, end_ms) = (
        schedule.fixed_schedule_start_offset,
        schedule.fixed_schedule_end_offset,
    );
    let auto_offset = schedule.fixed_schedule_auto_offset;
    ensure!(
        auto_offset != Some(true) || start_ms.is_none(),
        "--fixed-schedule-auto-offset and --fixed-schedule-start-offset cannot both be set: each \
         says where the schedule begins"
    );
    if let (Some(start), Some(end)) = (start_ms, end_ms) {
        ensure!(
            start <= end,
            "--fixed-schedule-start-offset {start} is after --fixed-schedule-end-offset {end}; it \
             must not be"
        );
    }
    Ok(Some(FixedSpec {
        start_ms,
        end_ms,
        auto_offset: auto_offset.unwrap_or(start_ms.is_none()),
    }))
}

/// The offsets belong to a fixed schedule.
fn no_offsets(schedule: &Schedule) -> Result<()> {
    ensure!(
        schedule.fixed_schedule_auto_offset.is_none()
            && schedule.fixed_schedule_start_offset.is_none()
            && schedule.fixed_schedule_end_offset.is_none(),
        "--fixed-schedule-auto-offset, --fixed-schedule-start-offset and \
         --fixed-schedule-end-offset need a fixed schedule; add --fixed-schedule, or leave them out"
    );
    Ok(())
}

fn delay_cap(flags: &Conversations) -> Option<Span> {
    flags.inter_turn_delay_cap_seconds.map(Span::from_secs_f64)
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

    fn parsed(flags: &str) -> Box<Profile> {
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
            let flags = format!("{file} {flag} 2");
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
        let flags = format!("{timed} --fixed-schedule --no-fixed-schedule");
        refused(&flags, EndpointKind::Chat, &["exclude each other"]);
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
