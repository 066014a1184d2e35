//! The binary `pinfire`: flags in, exit code out. Errors are printed in one place, here.

mod args;
mod cmd;
mod environment;
mod place;
mod progress;
mod request;
mod say;
mod settings;
mod signals;
mod unsupported;
mod values;

use std::process::ExitCode;

use clap::{Parser, error::ErrorKind};

use args::{Cli, Command};

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
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let help = matches!(
                error.kind(),
                ErrorKind::DisplayHelp
                    | ErrorKind::DisplayVersion
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            );
            // A closed stdout is no reason to fail.
            let _ = error.print();
            return if help {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
    };
    let result = match cli.command {
        Command::Profile(flags) => cmd::profile::run(&flags, &arguments),
    };
    result.unwrap_or_else(|error| failed(&format!("{error:#}")))
}

fn failed(message: &str) -> ExitCode {
    say::error(message);
    ExitCode::FAILURE
}
