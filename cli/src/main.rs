//! The binary `pinfire`: flags in, exit code out. Errors are printed in one place, here.

#![allow(
    rustdoc::invalid_html_tags,
    reason = "doc comments of flags are help for a terminal"
)]

mod args;
mod cancellation;
mod cmd;
mod environment;
mod input;
mod load;
mod prompts;
mod reclaim;
mod run;
mod run_file;
mod scrape;
mod seq_dist;
mod settings;
mod sweep;
mod synthesis;
mod terminal;
mod transport;
mod unsupported;
mod values;

use std::{io::Write, process::ExitCode};

use clap::{CommandFactory, error::ErrorKind};

use args::{Cli, Command};
use run_file::Refusal;
use terminal::say;

/// Records are freed on another thread than the one that made them; mimalloc makes that cheap.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    if let Some(message) = unsupported::first_of(&arguments) {
        return failed(&message);
    }
    let arguments = match run_file::with_lists(&arguments) {
        Ok(arguments) => arguments,
        Err(Refusal::File(message)) => return failed(&message),
        Err(Refusal::Flags(error)) => return failed(&in_one_line(&error.render().to_string())),
    };
    // Lists stand for several runs: each is read on its own, the first one here.
    let typed = match sweep::Typed::read(&arguments) {
        Ok(typed) => typed,
        Err(error) => return failed(&format!("{error:#}")),
    };
    let arguments = typed.as_ref().map_or(arguments, sweep::Typed::first);
    let cli = match run_file::parse(&arguments) {
        Ok(cli) => cli,
        Err(Refusal::File(message)) => return failed(&message),
        Err(Refusal::Flags(error)) => {
            let help = matches!(
                error.kind(),
                ErrorKind::DisplayHelp
                    | ErrorKind::DisplayVersion
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            );
            if !help {
                return failed(&in_one_line(&error.render().to_string()));
            }
            // A closed stdout is no reason to fail.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
    };
    let result = match cli.command {
        Command::Profile(flags) => {
            let result = match typed.filter(|typed| typed.is_sweep(&flags)) {
                Some(typed) => typed.run(&flags, of_one_run),
                None => cmd::profile::run(&flags, &arguments),
            };
            result.map_err(|error| flags.run_file.with_lines(&error))
        }
        Command::CancelTest(flags) => cmd::cancel_test::run(&flags),
        Command::AnalyzeTrace(flags) => cmd::analyze_trace::run(&flags),
        Command::Config(action) => cmd::config::run(&action),
        Command::Completions(wanted) => {
            let mut out = Vec::new();
            clap_complete::generate(wanted.shell, &mut Cli::command(), "pinfire", &mut out);
            // A closed stdout is no reason to fail.
            let _ = std::io::stdout().write_all(&out);
            Ok(ExitCode::SUCCESS)
        }
        Command::Report(flags) => cmd::report::run(&flags),
        Command::Plot(flags) => cmd::plot::run(&flags),
        Command::Compare(flags) => cmd::compare::run(&flags),
    };
    result.unwrap_or_else(|error| failed(&format!("{error:#}")))
}

/// The flags of one run of a sweep.
fn of_one_run(arguments: &[String]) -> anyhow::Result<Box<args::Profile>> {
    let cli = run_file::parse(arguments).map_err(|refusal| match refusal {
        Refusal::File(message) => anyhow::anyhow!(message),
        Refusal::Flags(error) => anyhow::anyhow!(in_one_line(&error.render().to_string())),
    })?;
    match cli.command {
        Command::Profile(flags) => Ok(flags),
        _ => anyhow::bail!("only `profile` makes several runs"),
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
    use clap::Parser;

    #[test]
    fn complaints_about_flags_are_one_line() {
        for (typed, expected) in [
            (
                "pinfire profile --model m --concurency 5",
                "unexpected argument '--concurency' found; tip: a similar argument exists: \
                 '--concurrency'",
            ),
            (
                "pinfire profile --streaming",
                "the following required arguments were not provided: --model <NAME>",
            ),
        ] {
            let error = Cli::try_parse_from(typed.split(' ')).unwrap_err();
            assert_eq!(in_one_line(&error.render().to_string()), expected);
        }
    }
}
