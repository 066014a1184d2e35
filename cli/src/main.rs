//! The binary `pinfire`: flags in, exit code out. Errors are printed in one place, here.

#![allow(
    rustdoc::invalid_html_tags,
    reason = "doc comments of flags are help for a terminal"
)]

#[cfg(test)]
mod absurd_tests;
mod args;
mod asked;
mod cancellation;
mod cluster;
mod cmd;
mod environment;
mod exporter;
mod http;
mod input;
mod inputs;
mod load;
mod prompts;
mod readiness;
mod reclaim;
mod run;
mod scrape;
mod seq_dist;
mod settings;
mod shards;
mod short_help;
mod sweep;
mod synthesis;
mod terminal;
mod transport;
mod version;

use std::{io::Write, process::ExitCode};

use clap::{
    FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
};

use args::{Cli, Command};
use terminal::say;

/// Records are freed on another thread than the one that made them; mimalloc makes that cheap.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run::signals::survive_size_limit();
    terminal::crash::in_one_line();
    // What panics has been reported by then.
    std::panic::catch_unwind(started).unwrap_or(ExitCode::FAILURE)
}

fn started() -> ExitCode {
    environment::keep_credentials();
    let cli = match args::command()
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches))
    {
        Ok(cli) => cli,
        Err(error) => return of_flags(&error),
    };
    let result = match cli.command {
        Command::Profile(flags) => asked::wanted(*flags).and_then(|wanted| {
            let part = cluster::part_of(&wanted.config)?;
            match part.filter(|_| !wanted.dry_run) {
                part if wanted.is_sweep() => wanted.run(part),
                Some(part) => cluster::run(wanted.single()?, part),
                None => cmd::profile::run(wanted.single()?, wanted.dry_run),
            }
        }),
        Command::Shard(flags) => cluster::take_part(&flags),
        Command::Calibrate(flags) => cmd::calibrate::run(*flags),
        Command::ClusterManifest(asked) => cmd::cluster_manifest::run(*asked),
        Command::CancelTest(flags) => cmd::cancel_test::run(&flags),
        Command::AnalyzeTrace(flags) => cmd::analyze_trace::run(&flags),
        Command::Config(action) => cmd::config::run(&action),
        Command::Completions(wanted) => {
            let mut out = Vec::new();
            clap_complete::generate(wanted.shell, &mut args::command(), "pinfire", &mut out);
            // A closed stdout is no reason to fail.
            let _ = std::io::stdout().write_all(&out);
            Ok(ExitCode::SUCCESS)
        }
        Command::Report(flags) => cmd::report::run(&flags),
        Command::Show(flags) => cmd::show::run(&flags),
        Command::Plot(flags) => cmd::plot::run(&flags),
        Command::Compare(flags) => Ok(cmd::compare::run(&flags)),
    };
    let code = result.unwrap_or_else(|error| failed(&format!("{error:#}")));
    exporter::linger();
    code
}

/// What came of flags that cannot be read, or that ask for help.
fn of_flags(error: &clap::Error) -> ExitCode {
    let help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if help {
        // A closed stdout is no reason to fail.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if let Some(why) = not_taken(error) {
        return failed(&why);
    }
    let code = failed(&in_one_line(&error.render().to_string()));
    // Code 1 of a comparison is a broken rule.
    match asked_command().as_deref() {
        Some("compare") => ExitCode::from(cmd::compare::CANNOT),
        _ => code,
    }
}

/// The command that was asked for, whatever is wrong with its flags.
fn asked_command() -> Option<String> {
    let matches = args::command().ignore_errors(true).try_get_matches().ok()?;
    matches.subcommand_name().map(str::to_owned)
}

/// Why a flag of AIPerf's is not taken, if that is what is wrong.
fn not_taken(error: &clap::Error) -> Option<String> {
    let of_profile = error.get(ContextKind::Usage).is_some_and(|usage| {
        let usage = usage.to_string();
        let takes = |command: &&str| usage.contains(*command);
        ["pinfire profile", "pinfire cluster-manifest"]
            .iter()
            .any(takes)
    });
    match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(flag) if of_profile && error.kind() == ErrorKind::UnknownArgument => {
            pinfire_config::unsupported::why(flag.trim_start_matches('-'))
        }
        _ => None,
    }
}

fn failed(message: &str) -> ExitCode {
    say::error(message);
    ExitCode::FAILURE
}

/// What clap says is wrong, without the usage and the pointer to the help that it adds.
fn in_one_line(text: &str) -> String {
    let said: Vec<String> = text
        .split("\n\n")
        .filter(|part| !part.starts_with("Usage:") && !part.starts_with("For more information"))
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|part| !part.is_empty())
        .collect();
    let said = said.join("; ");
    said.strip_prefix("error: ").unwrap_or(&said).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_about_flags_are_one_line() {
        for (typed, expected) in [
            (
                "pinfire profile --model m --concurency 5",
                "unexpected argument '--concurency' found; tip: a similar argument exists: \
                 '--concurrency'",
            ),
            (
                "pinfire report --output x",
                "the following required arguments were not provided: <FOLDER>",
            ),
        ] {
            let error = args::command()
                .try_get_matches_from(typed.split(' '))
                .unwrap_err();
            assert_eq!(in_one_line(&error.render().to_string()), expected);
        }
    }

    #[test]
    fn flags_of_the_reference_are_refused_by_name() {
        for (typed, expected) in [
            (
                "pinfire profile --model m --auto-plot=5",
                "--auto-plot belongs",
            ),
            ("pinfire profile --workers-max 5", "--cores N"),
            (
                "pinfire cluster-manifest slurm --shards 2 --workers-max 5",
                "--cores N",
            ),
        ] {
            let typed = typed.split(' ');
            let error = args::command().try_get_matches_from(typed).unwrap_err();
            let why = not_taken(&error).unwrap();
            assert!(why.contains(expected), "{why}");
        }
        for typed in [
            "pinfire profile --model m --concurency 5",
            "pinfire plot --variant x",
        ] {
            let typed = typed.split(' ');
            let error = args::command().try_get_matches_from(typed).unwrap_err();
            assert_eq!(not_taken(&error), None);
        }
    }
}
