//! Flags of commands: switches, their opposites, and what a flag's values are like.

use clap::{
    Arg, Command, ValueHint,
    builder::{ValueParser, ValueParserFactory},
};
use std::path::PathBuf;

use crate::{
    secret::{ApiKey, Fields, Header, Url},
    setting::Setting,
    source::Sourced,
};

/// A switch that has an opposite: `--no-NAME` says false.
pub(crate) struct Opposite {
    pub name: &'static str,
    /// Of the opposite.
    help: &'static str,
}

const fn opposite(name: &'static str, help: &'static str) -> Opposite {
    Opposite { name, help }
}

pub(crate) const OPPOSITES: &[Opposite] = &[
    opposite(
        "fixed_schedule",
        "Ignore the trace's timestamps: send as fast as --concurrency allows",
    ),
    opposite(
        "parameter_sweep_same_seed",
        "Give point i the base seed plus i",
    ),
    opposite(
        "profile_run_disable_warmup_after_first",
        "Warm up before every run",
    ),
    opposite("set_consistent_seed", "Draw a seed for every run"),
    opposite(
        "vary_seed_per_trial",
        "Give the runs of one point the same seed",
    ),
];

/// The long name of a setting, with its dashes.
pub fn flag(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

/// The setting of which a flag of this name is the opposite.
pub fn opposite_of(name: &str) -> Option<&'static str> {
    let name = name.strip_prefix("no_")?;
    let found = OPPOSITES.iter().find(|opposite| opposite.name == name);
    found.map(|opposite| opposite.name)
}

/// Makes every switch of a command one: `--flag`, `--flag=true`, `--flag=false`; and adds the
/// opposites.
pub fn with_switches(command: Command) -> Command {
    let switch = parser_of::<bool>().type_id();
    let mut command = command.mut_args(|flag| {
        if flag.get_value_parser().type_id() == switch {
            as_switch(flag)
        } else {
            flag
        }
    });
    for Opposite { name, help } in OPPOSITES {
        let of = command.get_arguments().find(|flag| flag.get_id() == name);
        let Some(heading) = of.map(|flag| flag.get_help_heading().map(str::to_owned)) else {
            continue;
        };
        // A command is made a few times per process.
        let leaked = |text: String| -> &'static str { text.leak() };
        let opposite = Arg::new(leaked(format!("no_{name}")))
            .long(leaked(format!("no-{}", name.replace('_', "-"))))
            .help(*help)
            .value_parser(Sourced::<bool>::value_parser());
        let opposite = match heading {
            Some(heading) => opposite.help_heading(leaked(heading)),
            None => opposite,
        };
        command = command.arg(as_switch(opposite));
    }
    command
}

/// Says of every value of a command and of those below it what a shell completes there: its words,
/// files or folders where one is meant, and else nothing.
pub fn with_hints(command: Command) -> Command {
    let below: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let command = command.mut_args(with_hint);
    let each = below.into_iter();
    each.fold(command, |command, name| {
        command.mut_subcommand(name, with_hints)
    })
}

fn with_hint(flag: Arg) -> Arg {
    // An action without a value has no parser that says otherwise.
    let takes_none = !flag.get_action().takes_values();
    if takes_none || flag.get_value_parser().possible_values().is_some() {
        return flag;
    }
    let parser = flag.get_value_parser().type_id();
    let paths = [
        parser_of::<PathBuf>().type_id(),
        clap::value_parser!(PathBuf).type_id(),
    ];
    let name = flag.get_value_names().and_then(|names| names.first());
    let hint = match name.map(clap::builder::Str::as_str) {
        Some("FOLDER" | "FOLDERS") if paths.contains(&parser) => ValueHint::DirPath,
        // Folders are inputs too.
        _ if paths.contains(&parser) => ValueHint::FilePath,
        _ if flag.get_id() == "tokenizer" => ValueHint::AnyPath,
        _ => ValueHint::Other,
    };
    flag.value_hint(hint)
}

fn as_switch(flag: Arg) -> Arg {
    // One that always has a value is off without one.
    let always = flag.is_required_set();
    let flag = flag
        .value_name("BOOL")
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true");
    if always {
        flag.required(false)
            .default_value("false")
            .hide_default_value(true)
    } else {
        flag
    }
}

/// Whether the setting takes several values, each on its own.
pub(crate) fn is_many(flag: &Arg) -> bool {
    matches!(flag.get_action(), clap::ArgAction::Append)
}

/// Whether a value of the setting may hold a credential.
pub(crate) fn is_guarded(flag: &Arg) -> bool {
    let of = flag.get_value_parser().type_id();
    [
        parser_of::<ApiKey>(),
        parser_of::<Header>(),
        parser_of::<Url>(),
        parser_of::<Fields>(),
    ]
    .iter()
    .any(|parser| parser.type_id() == of)
}

fn parser_of<T: Setting>() -> ValueParser {
    Sourced::<T>::value_parser().into()
}
