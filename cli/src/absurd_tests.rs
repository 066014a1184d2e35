//! Every flag that takes a number, with numbers that make no sense: each is refused by name, or is
//! one that a run can be made of.

use std::panic::catch_unwind;

use clap::error::ContextKind;

use crate::{args, settings::Settings};

const ABSURD: [&str; 14] = [
    "0",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "99999999999999999999",
    "4294967295",
    "1000000000000",
    "1e308",
    "1e-308",
    "NaN",
    "inf",
    "-inf",
    "1e",
];

/// Names of values that are numbers.
const NUMBERS: [&str; 30] = [
    "SECONDS",
    "STREAMS",
    "PER_SECOND",
    "SHAPE",
    "USERS",
    "REQUESTS",
    "SHARE",
    "SEED",
    "SESSIONS",
    "PERCENT",
    "TOKENS",
    "TEXTS",
    "PREFIXES",
    "PROMPTS",
    "CONVERSATIONS",
    "TURNS",
    "MILLISECONDS",
    "FACTOR",
    "PASSAGES",
    "TREES",
    "GPUS",
    "RUNS",
    "COUNT|LIST",
    "RATIO|JSON",
    "ttft:SECONDS",
    "PAIRS",
    "COUNT",
    "FLAG:LOW,HIGH",
    "PORT",
    "LIST",
];

/// What a flag means something together with.
fn beside(flag: &str) -> &'static str {
    match flag {
        "arrival-smoothness" | "request-rate-ramp-duration" => "--request-rate 5",
        "user-centric-rate" => "--num-users 2 --session-turns-mean 2",
        "num-users" => "--user-centric-rate 5 --session-turns-mean 2",
        "benchmark-grace-period" => "--benchmark-duration 1",
        "request-cancellation-delay" | "request-cancellation-wave" => {
            "--request-cancellation-rate 50"
        }
        "isl-stddev" => "--isl 5",
        "osl-stddev" => "--osl 5",
        "random-range-ratio" => "--isl 5 --osl 5",
        "prefix-prompt-length" => "--num-prefix-prompts 2",
        "num-prefix-prompts" => "--prefix-prompt-length 2",
        "session-turn-delay-stddev" | "session-delay-ratio" => "--session-turn-delay-mean 5",
        "search-tolerance" | "search-confirmations" | "search-max-iterations" => {
            "--search concurrency:1,2"
        }
        name if name.starts_with("rankings") => "--endpoint-type nim_rankings",
        name if name.starts_with("warmup-") => "--warmup-request-count 2",
        _ => "",
    }
}

/// The flags of a command that take numbers.
fn flags(command: &str) -> Vec<String> {
    let root = args::command();
    let command = root.find_subcommand(command).unwrap();
    let numeric = |argument: &&clap::Arg| {
        let names = argument.get_value_names().unwrap_or_default();
        names.iter().any(|name| NUMBERS.contains(&name.as_str()))
    };
    let found = command.get_arguments().filter(numeric);
    found
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .collect()
}

#[test]
fn absurd_numbers_of_a_run_are_refused_by_name_or_make_sense() {
    let flags = flags("profile");
    assert!(flags.len() > 60, "{flags:?}");
    for flag in flags {
        for value in ABSURD {
            let value = match flag.as_str() {
                "patience" => format!("ttft:{value}"),
                "seq-dist" => format!("{value},{value}:100"),
                "search" => format!("concurrency:1,{value}"),
                "goodput" => format!("request_latency:{value}"),
                _ => value.to_owned(),
            };
            let line = format!("--streaming --url mock: {} --{flag}={value}", beside(&flag));
            let decided = catch_unwind(|| {
                let config = args::typed(line.split_whitespace())?;
                Settings::new(&config.without_sweep()).map(drop)
            });
            let Ok(decided) = decided else {
                panic!("{line} panics");
            };
            let Err(error) = decided else { continue };
            let said = format!("{error:#}");
            // A flag that stands in for another is refused under that one's name.
            let short = flag.trim_start_matches("warmup-");
            assert!(said.contains(short), "{line}: {said}");
            // The usage and the tip of clap are cut off where it is printed.
            let said = said.split("\n\n").next().unwrap_or_default().trim();
            assert_eq!(said.lines().count(), 1, "{line}: {said}");
        }
    }
}

#[test]
fn absurd_numbers_of_other_commands_are_refused_by_name_or_make_sense() {
    for (command, needed) in [
        ("cancel-test", "--model m"),
        ("report", "folder"),
        ("compare", "a b"),
        ("plot", "a --dashboard"),
        ("analyze-trace", "file"),
    ] {
        let flags = flags(command);
        assert!(!flags.is_empty(), "{command}");
        for (flag, value) in flags
            .iter()
            .flat_map(|flag| ABSURD.map(|value| (flag, value)))
        {
            let line = format!("pinfire {command} {needed} --{flag}={value}");
            let read = catch_unwind(|| args::command().try_get_matches_from(line.split(' ')));
            let Ok(read) = read else {
                panic!("{line} panics");
            };
            let Err(error) = read else { continue };
            let named = error.get(ContextKind::InvalidArg).map(ToString::to_string);
            let named = named.unwrap_or_default();
            assert!(named.contains(flag.as_str()), "{line}: {error}");
        }
    }
}
