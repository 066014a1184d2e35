//! Where the requests come from: the flags of dataset, conversations and fixed schedule, decided.

use std::path::Path;

use anyhow::{Result, ensure};
use pinfire_engine::{
    clock::Span,
    dataset::{
        EndpointKind,
        mooncake::{self, DEFAULT_BLOCK_SIZE, FixedSpec, MooncakeSpec},
        synthetic::{SyntheticSpec, TurnSpec},
    },
};

use crate::args::{Conversations, Profile, Schedule};
use crate::prompts::{self, Prompts};

/// Where the requests come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Prompts made up here.
    Synthetic(SyntheticSpec),
    /// A trace file.
    Mooncake(MooncakeSpec),
}

impl Input {
    /// Whether it is sent by its timestamps.
    pub fn fixed_schedule(&self) -> bool {
        matches!(self, Self::Mooncake(spec) if spec.fixed.is_some())
    }
}

/// Synthetic conversations when no flag says how many.
const DEFAULT_ENTRIES: u64 = 100;
/// Mean input length of synthetic prompts.
const DEFAULT_ISL: u32 = 550;

/// Reads the flags; `sent` is the most conversations that the run begins, warmup included.
///
/// # Errors
/// The first combination that makes no sense, with the way out.
pub fn decide(flags: &Profile, kind: EndpointKind, sent: u64) -> Result<Input> {
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
    let shaping = synthetic_only(flags);
    ensure!(
        shaping.is_empty(),
        "for synthetic prompts only, not with --input-file: {}; leave it out",
        shaping.join(", ")
    );
    let given = input.custom_dataset_type.as_deref().unwrap_or_default();
    ensure!(
        given.to_lowercase().replace('-', "_") == "mooncake_trace",
        "--custom-dataset-type {given}: only mooncake_trace is built yet; name it explicitly"
    );
    let fixed = fixed(&flags.schedule, path)?;
    let limit = match fixed {
        // The schedule ends with the trace, unless the user asks for less of it.
        Some(_) => flags.load.request_count,
        None => Some(sent),
    };
    Ok(Input::Mooncake(MooncakeSpec {
        path: path.clone(),
        block_size: input.isl_block_size.map_or(DEFAULT_BLOCK_SIZE, tokens),
        limit: limit.map(size),
        osl_mean: input.osl,
        osl_stddev: input.osl_stddev.unwrap_or(0.0),
        fixed,
        speedup: flags.schedule.synthesis_speedup_ratio.unwrap_or(1.0),
        ignore_delays: flags.schedule.ignore_trace_delays,
        delay_cap: delay_cap(&flags.conversations),
    }))
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
        kind == EndpointKind::Chat || conversations.shared_system_prompt_length.is_none(),
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
        kind == EndpointKind::Chat || (mean == 1 && stddev == 0),
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
        ("--num-dataset-entries", input.num_dataset_entries.is_some()),
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
/// trace has timestamps and nothing speaks against it.
fn fixed(schedule: &Schedule, path: &Path) -> Result<Option<FixedSpec>> {
    ensure!(
        !(schedule.fixed_schedule && schedule.no_fixed_schedule),
        "--fixed-schedule and --no-fixed-schedule exclude each other"
    );
    let timed = mooncake::has_timestamps(path)?;
    ensure!(
        timed || !schedule.fixed_schedule,
        "--fixed-schedule: the first line of {} has no timestamp; leave the flag out to send the \
         trace as fast as --concurrency allows",
        path.display()
    );
    if !timed || schedule.no_fixed_schedule {
        return no_offsets(schedule).map(|()| None);
    }
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
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn parsed(flags: &str) -> Box<Profile> {
        let line = format!("pinfire profile --model m {flags}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Profile(flags) = cli.command;
        flags
    }

    fn decided(flags: &str, kind: EndpointKind) -> Result<Input> {
        decide(&parsed(flags), kind, 10)
    }

    #[track_caller]
    fn made(flags: &str) -> SyntheticSpec {
        match decided(flags, EndpointKind::Chat).unwrap() {
            Input::Synthetic(spec) => spec,
            Input::Mooncake(_) => panic!("{flags} is synthetic"),
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
            Input::Synthetic(_) => panic!("{flags} is a trace"),
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
    fn completions_has_neither_turns_nor_system_messages() {
        for flags in [
            "--session-turns-mean 2",
            "--session-turns-stddev 1",
            "--shared-system-prompt-length 5",
        ] {
            let flag = flags.split(' ').next().unwrap();
            refused(
                flags,
                EndpointKind::Completions,
                &[flag, "--endpoint-type chat"],
            );
        }
        assert!(decided("--session-turns-mean 1", EndpointKind::Completions).is_ok());
    }

    #[test]
    fn flags_of_synthetic_data_do_not_go_with_a_file() {
        let (_folder, file) = trace(UNTIMED);
        for flag in [
            "--isl",
            "--isl-stddev",
            "--num-dataset-entries",
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
}
