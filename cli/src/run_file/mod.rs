//! Run files: a YAML document says what flags say. It becomes flags, which are read and checked as
//! if they had been typed; a flag that was really typed takes the place of the file's.

mod expand;
mod layout;
mod resolved;
mod templates;
mod translate;
mod yaml;

use std::{ffi::OsString, path::Path};

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, parser::ValueSource};

use crate::args::{self, Cli};

pub use resolved::Given;
pub use templates::TEMPLATES;

/// A flag that a file gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Where, from 1.
    pub line: usize,
    /// The key as it stands there.
    pub key: String,
    /// What the command line's definition calls the flag.
    pub id: String,
    /// Its long name.
    pub flag: String,
    pub value: String,
}

/// Why arguments cannot be used.
pub enum Refusal {
    /// What the parser of flags says.
    Flags(clap::Error),
    /// What is wrong with the file, in one line.
    File(String),
}

impl From<clap::Error> for Refusal {
    fn from(error: clap::Error) -> Self {
        Self::Flags(error)
    }
}

/// Reads the arguments, and the run file if they name one.
///
/// # Errors
/// They cannot be read, help was asked for, or something is wrong with the file.
pub fn parse(arguments: &[String]) -> Result<Cli, Refusal> {
    let mut root = Cli::command();
    // A short flag has one letter; AIPerf's has two.
    let arguments: Vec<String> = arguments
        .iter()
        .map(|argument| match argument.as_str() {
            "-vv" => "--extra-verbose".to_owned(),
            _ => argument.clone(),
        })
        .collect();
    let arguments = arguments.as_slice();
    let typed = root.try_get_matches_from_mut(arguments)?;
    let file = typed
        .subcommand_matches("profile")
        .and_then(|profile| profile.get_one::<std::path::PathBuf>("config"));
    let (matches, items) = match file {
        None => (typed, Vec::new()),
        Some(path) => {
            let items = of_file(path, &root, &typed)?;
            let all = together(arguments, &items);
            let matches = root
                .try_get_matches_from_mut(all)
                .map_err(|error| blame(error, path, &items, &mut root))?;
            (matches, items)
        }
    };
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let args::Command::Profile(profile) = &mut cli.command
        && let (Some(command), Some(matches)) = (
            root.find_subcommand("profile"),
            matches.subcommand_matches("profile"),
        )
    {
        profile.run_file.given = Given::of(command, matches, &items);
        if let Some(path) = &profile.run_file.config
            && profile.endpoint.model.is_empty()
        {
            return Err(Refusal::File(format!(
                "{}: no model is named; add `model: NAME`, or type --model NAME",
                path.display()
            )));
        }
    }
    Ok(cli)
}

/// The arguments with the flags of the run file among them, where the file makes several runs out of
/// one: lists are taken apart before flags are read. Else as they are.
///
/// # Errors
/// Something is wrong with the file.
pub fn with_lists(arguments: &[String]) -> Result<Vec<String>, Refusal> {
    let Some(path) = named(arguments) else {
        return Ok(arguments.to_vec());
    };
    let mut root = Cli::command();
    root.build();
    let Some(command) = root.find_subcommand("profile") else {
        return Ok(arguments.to_vec());
    };
    let path = Path::new(&path);
    let mut items = items(path, command)?;
    let given: Vec<String> = arguments
        .iter()
        .filter_map(|word| id(word, command))
        .collect();
    items.retain(|item| !given.contains(&item.id));
    let lists = |item: &Item| {
        // A distribution has commas of its own.
        let list = item.value.contains(',') && !item.value.contains(':');
        list && crate::sweep::takes_lists(&item.flag)
    };
    let several = |item: &Item| lists(item) || crate::sweep::is_of_sweeps(&item.flag);
    if !items.iter().any(several) {
        return Ok(arguments.to_vec());
    }
    let all = together(arguments, &items);
    // What each value alone is, is said with its line.
    for item in &mut items {
        if lists(item) {
            item.value = item
                .value
                .split(',')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned();
        }
    }
    if let Some(refusal) = wrong(path, &items, &mut root) {
        return Err(refusal);
    }
    let all = all.into_iter();
    Ok(all
        .map(|word| word.to_string_lossy().into_owned())
        .collect())
}

/// The run file that the arguments name.
fn named(arguments: &[String]) -> Option<String> {
    let mut words = arguments.iter().skip(1);
    if words.next()? != "profile" {
        return None;
    }
    while let Some(word) = words.next() {
        match word.as_str() {
            "--config" | "-f" => return words.next().cloned(),
            "--" => return None,
            _ => {}
        }
        let value = word
            .strip_prefix("--config=")
            .or_else(|| word.strip_prefix("-f"));
        if let Some(value) = value {
            return Some(value.trim_start_matches('=').to_owned());
        }
    }
    None
}

/// The flag that a typed word gives, as the command line's definition calls it.
fn id(word: &str, command: &Command) -> Option<String> {
    let flag = match word.strip_prefix("--") {
        Some(name) => {
            let name = name.split('=').next().unwrap_or(name);
            command.get_arguments().find(|flag| {
                let names = flag.get_long_and_visible_aliases().unwrap_or_default();
                names.contains(&name)
            })
        }
        None => {
            let short = word.strip_prefix('-')?.chars().next()?;
            let mut flags = command.get_arguments();
            flags.find(|flag| flag.get_short() == Some(short))
        }
    };
    flag.map(|flag| flag.get_id().to_string())
}

/// The flags of the file that are not typed too.
fn of_file(path: &Path, root: &Command, typed: &ArgMatches) -> Result<Vec<Item>, Refusal> {
    let (Some(command), Some(typed)) = (
        root.find_subcommand("profile"),
        typed.subcommand_matches("profile"),
    ) else {
        return Ok(Vec::new());
    };
    let mut items = items(path, command)?;
    items.retain(|item| typed.value_source(&item.id) != Some(ValueSource::CommandLine));
    Ok(items)
}

/// The flags of the file.
fn items(path: &Path, command: &Command) -> Result<Vec<Item>, Refusal> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Refusal::File(format!("--config {shown}: {error}")))?;
    translate::flags(&text, command).map_err(|error| Refusal::File(format!("{shown}:{error}")))
}

/// The file's flags as if typed, before those that are.
fn together(arguments: &[String], items: &[Item]) -> Vec<OsString> {
    let after_command = arguments
        .iter()
        .position(|argument| argument == "profile")
        .map_or(arguments.len(), |at| at + 1);
    let (before, after) = arguments.split_at(after_command.min(arguments.len()));
    let items = items.iter().map(|item| typed(item).into());
    let before = before.iter().map(OsString::from);
    before
        .chain(items)
        .chain(after.iter().map(OsString::from))
        .collect()
}

fn typed(item: &Item) -> String {
    format!("--{}={}", item.flag, item.value)
}

/// The line of the file that the parser of flags objects to, if it is one.
fn blame(error: clap::Error, path: &Path, items: &[Item], root: &mut Command) -> Refusal {
    wrong(path, items, root).unwrap_or(Refusal::Flags(error))
}

/// The first of the file's flags that is wrong by itself.
fn wrong(path: &Path, items: &[Item], root: &mut Command) -> Option<Refusal> {
    items.iter().find_map(|item| {
        let alone = ["pinfire", "profile", "--config=x", &typed(item)];
        let error = root.try_get_matches_from_mut(alone).err()?;
        let said = crate::in_one_line(&error.render().to_string());
        Some(Refusal::File(format!(
            "{}:{}: {}: {said}",
            path.display(),
            item.line,
            item.key
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(text: &str) -> anyhow::Result<Vec<String>> {
        let mut root = Cli::command();
        root.build();
        let items = translate::flags(text, root.find_subcommand("profile").unwrap())?;
        Ok(items.iter().map(typed).collect())
    }

    #[test]
    fn flags_by_their_names() {
        let text = "model: m\nurl: ['mock:', http://b:1]\nstreaming: true\nrequest_count: 50\n\
                    requestCancellationRate: 10\nsynthetic-input-tokens-mean: 20\nosl: null\n\
                    header: {X-A: '1'}\nbenchmark-duration: 2m\ncores: [2, 3]\n\
                    endpoint: /v1/x\ntokenizer: builtin\n";
        assert_eq!(
            translated(text).unwrap(),
            [
                "--model=m",
                "--url=mock:",
                "--url=http://b:1",
                "--streaming=true",
                "--request-count=50",
                "--request-cancellation-rate=10",
                "--isl=20",
                r#"--header={"X-A":"1"}"#,
                "--benchmark-duration=120",
                "--cores=2,3",
                "--endpoint=/v1/x",
                "--tokenizer=builtin",
            ]
        );
    }

    #[test]
    fn the_layout_of_aiperf() {
        let text = r#"
schemaVersion: "2.0"
randomSeed: 42
variables: {users: 8}
benchmark:
  models:
    items: [{name: a}, {name: b}]
    strategy: random
  endpoint:
    urls: [http://h:1/v1/chat/completions]
    type: chat
    streaming: true
    timeout: 2m
    headers: {X-A: "b, c"}
    extra: {ignore_eos: true}
    connectionReuse: never
  dataset:
    name: main
    type: synthetic
    entries: 100
    isl: {mean: 550, stddev: 50}
    prompts:
      osl: 128
    turns: {mean: 2}
  phases:
    - name: warmup
      type: concurrency
      requests: "{{ users * 2 }}"
      concurrency: 4
    - name: profiling
      rate: 50.0
      type: gamma
      smoothness: 1.5
      duration: 300
      gracePeriod: 60s
      rateRamp: {duration: 30s}
      cancellation: {rate: 10, delay: 500ms}
      seamless: true
  artifacts:
    dir: out
    records: false
  runtime: {ui: none}
  serverMetrics: false
  gpuTelemetry: {enabled: true}
"#;
        let flags = translated(text).unwrap();
        assert_eq!(
            flags,
            [
                "--random-seed=42",
                "--model=a",
                "--model=b",
                "--model-selection-strategy=random",
                "--endpoint-type=chat",
                "--url=http://h:1/v1/chat/completions",
                "--streaming=true",
                "--request-timeout-seconds=120",
                r#"--header={"X-A":"b, c"}"#,
                r#"--extra-inputs={"ignore_eos":true}"#,
                "--connection-reuse-strategy=never",
                "--num-dataset-entries=100",
                "--isl=550",
                "--isl-stddev=50",
                "--osl=128",
                "--session-turns-mean=2",
                "--warmup-arrival-pattern=concurrency",
                "--warmup-request-count=16",
                "--warmup-concurrency=4",
                "--arrival-pattern=gamma",
                "--request-rate=50.0",
                "--arrival-smoothness=1.5",
                "--benchmark-duration=300",
                "--benchmark-grace-period=60",
                "--request-rate-ramp-duration=30",
                "--request-cancellation-rate=10",
                "--request-cancellation-delay=0.5",
                "--warmup-seamless=true",
                "--artifact-dir=out",
                "--ui=none",
                "--no-server-metrics=true",
                "--export-level=summary",
            ]
        );
    }

    #[test]
    fn lists_make_several_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.yaml");
        let text = "model: m\nbenchmark:\n  profiling:\n    concurrency: [1, 2]\nsweep:\n  type: zip\n  \
                    parameters:\n    dataset.isl: [5, 6]\n    phases.profiling.requests: [3, 4]\n\
                    multiRun: {numRuns: 2}\n";
        std::fs::write(&path, text).unwrap();
        let file = format!("--config={}", path.display());
        let line = |more: &[&str]| {
            let words = ["pinfire", "profile", &file]
                .into_iter()
                .chain(more.iter().copied());
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        let inlined = with_lists(&line(&["--isl", "9"])).ok().unwrap();
        assert_eq!(
            inlined,
            [
                "pinfire",
                "profile",
                "--model=m",
                "--concurrency=1,2",
                "--sweep-type=zip",
                "--request-count=3,4",
                "--num-profile-runs=2",
                &file,
                "--isl",
                "9",
            ]
        );
        // Nothing to take apart: the file is read with the flags.
        std::fs::write(&path, "model: m\nconcurrency: 5\n").unwrap();
        assert_eq!(with_lists(&line(&[])).ok().unwrap(), line(&[]));
        std::fs::write(&path, "model: m\nconcurrency: [x, 5]\n").unwrap();
        let Err(Refusal::File(said)) = with_lists(&line(&[])) else {
            panic!("x is no number")
        };
        assert!(
            said.contains("run.yaml:2: concurrency: invalid value 'x'"),
            "{said}"
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_line_key_and_suggestion() {
        for (text, expected) in [
            (
                "model: m\nconcurency: 5\n",
                "2: concurency: there is no such key; did you mean `concurrency`?",
            ),
            (
                "benchmark:\n  profiling:\n    gracePeriode: 5\n",
                "3: profiling.gracePeriode: there is no such key; did you mean `gracePeriod`?",
            ),
            (
                "endpoint:\n  ur: x\n",
                "2: endpoint.ur: there is no such key; did you mean `url`?",
            ),
            ("endpoint: [a]\nqqqq: 1\n", "2: qqqq: there is no such key"),
            (
                "isl: 5\ndataset: {isl: 6}\n",
                "2: dataset.isl: --isl is given by `isl` in line 1",
            ),
            ("phases: 5\n", "1: phases: it takes a list of phases"),
            (
                "phases: [{name: a}, {name: b}]\n",
                "1: phases: this phase needs `kind: warmup`",
            ),
            (
                "phases: [{kind: warmup}, {kind: warmup}]\n",
                "one warmup and then one profiling",
            ),
            (
                "warmup: {type: fixed_schedule}\n",
                "1: warmup.type: a warmup is by",
            ),
            (
                "profiling: {type: fixed}\n",
                "1: profiling.type: `fixed`; there are concurrency",
            ),
            ("profiling: {rate: 5, type: concurrency}\n", "has no rate"),
            (
                "datasets: [{name: a}, {name: b}]\n",
                "a run has one dataset, and these are 2",
            ),
            (
                "dataset: {type: public}\n",
                "1: dataset.type: --public-dataset: nothing is",
            ),
            (
                "dataset: {images: {batch_size: 1}}\n",
                "1: dataset.images: pinfire makes no",
            ),
            ("accuracy: {}\n", "1: accuracy: it belongs to a feature"),
            (
                "schemaVersion: 3\n",
                "1: schemaVersion: `3`; pinfire reads 2.0",
            ),
            (
                "wandb-project: x\n",
                "1: wandb-project: --wandb-project belongs to a feature",
            ),
            (
                "model: ${PINFIRE_TEST_UNSET}\n",
                "1: the environment variable PINFIRE_TEST_UNSET",
            ),
            (
                "- a\n",
                "1: a run file is a map of keys, and this is a list",
            ),
            (
                "benchmark: 5\n",
                "a run file is a map of keys, and this is a value",
            ),
            (
                "artifacts: {summary: false}\n",
                "1: artifacts.summary: the summary",
            ),
            ("streaming: [[1]]\n", "1: streaming: a list within a list"),
            (
                "serverMetrics: maybe\n",
                "1: serverMetrics: `maybe` is neither true nor false",
            ),
            ("benchmark-duration: 5.5.5s\n", "`5.5.5s` is no duration"),
            ("config: x\n", "1: config: there is no such key"),
        ] {
            let error = translated(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn every_key_leads_to_a_flag_or_says_why_not() {
        let mut root = Cli::command();
        root.build();
        let profile = root.find_subcommand("profile").unwrap();
        let known = |flag: &str| {
            let mut flags = profile.get_arguments();
            flags.any(|known| known.get_long() == Some(flag))
                || crate::unsupported::why(flag).is_some()
        };
        for (key, to) in layout::LAYOUT {
            let flags: &[&str] = match to {
                layout::To::Flag(flag) | layout::To::Not(flag) | layout::To::Ramp(flag) => &[flag],
                layout::To::Spread(mean, deviation) => &[mean, deviation],
                _ => &[],
            };
            for flag in flags {
                assert!(known(flag), "{key}: --{flag}");
            }
            assert_eq!(translate::snake(key), *key);
        }
    }
}
