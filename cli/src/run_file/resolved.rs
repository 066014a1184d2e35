//! What was given, flag by flag, and the file that repeats it.

use std::fmt::Write;

use clap::{ArgMatches, Command, parser::ValueSource};

use super::Item;
use crate::cmd::profile::secret;

/// Flags that say nothing about the run that a file should repeat.
const NOT_OF_THE_RUN: &[&str] = &["config", "dry-run"];

/// The flags of a run with their values, typed or out of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given(Vec<Flag>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Flag {
    name: String,
    heading: String,
    values: Vec<String>,
    /// It may be given several times.
    many: bool,
    /// The line of the run file it comes from.
    line: Option<usize>,
}

impl Given {
    /// Out of what was read.
    pub(super) fn of(command: &Command, matches: &ArgMatches, items: &[Item]) -> Self {
        let flags = command.get_arguments().filter_map(|flag| {
            let (id, name) = (flag.get_id().as_str(), flag.get_long()?);
            let given = matches.value_source(id) == Some(ValueSource::CommandLine);
            if !given || NOT_OF_THE_RUN.contains(&name) || crate::sweep::is_of_sweeps(name) {
                return None;
            }
            let raw = matches.get_raw(id)?;
            Some(Flag {
                name: name.to_owned(),
                heading: flag.get_help_heading().unwrap_or_default().to_owned(),
                values: raw
                    .map(|value| value.to_string_lossy().into_owned())
                    .collect(),
                many: matches!(flag.get_action(), clap::ArgAction::Append),
                line: items
                    .iter()
                    .find(|item| item.id == id)
                    .map(|item| item.line),
            })
        });
        Self(flags.collect())
    }

    /// Gives a flag a value, or another one.
    pub fn set(&mut self, name: &str, heading: &str, value: String) {
        if let Some(flag) = self.0.iter_mut().find(|flag| flag.name == name) {
            flag.values = vec![value];
            return;
        }
        self.0.push(Flag {
            name: name.to_owned(),
            heading: heading.to_owned(),
            values: vec![value],
            many: false,
            line: None,
        });
    }

    /// The flags that a complaint names, with the lines of the run file that give them.
    pub fn lines_named_in(&self, message: &str) -> Vec<(String, usize)> {
        let words: Vec<&str> = message
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .collect();
        let named = |flag: &&Flag| {
            words
                .iter()
                .any(|word| word.strip_prefix("--") == Some(flag.name.as_str()))
        };
        self.0
            .iter()
            .filter(named)
            .filter_map(|flag| Some((format!("--{}", flag.name), flag.line?)))
            .collect()
    }

    /// As one would type it; secrets stand as variables of the environment.
    pub fn typed(&self) -> String {
        let mut line = "pinfire profile".to_owned();
        for flag in &self.0 {
            for value in &flag.values {
                let (value, _) = shown(flag, value);
                // Writing to a string does not fail.
                let _ = write!(line, " --{}={}", flag.name, quoted_for_the_shell(&value));
            }
        }
        line
    }

    /// A run file of it.
    pub fn yaml(&self) -> String {
        let mut text = String::new();
        let mut heading = "";
        for flag in &self.0 {
            if flag.heading != heading {
                heading = &flag.heading;
                let _ = writeln!(text, "\n# {heading}");
            }
            let mut hidden = Vec::new();
            let values: Vec<String> = flag
                .values
                .iter()
                .map(|value| {
                    let (value, variable) = shown(flag, value);
                    hidden.extend(variable);
                    scalar(&value)
                })
                .collect();
            if !hidden.is_empty() {
                let _ = writeln!(text, "# not stored: set {} before", hidden.join(" and "));
            }
            let values = match values.as_slice() {
                [one] if !flag.many => one.clone(),
                many => format!("[{}]", many.join(", ")),
            };
            let _ = writeln!(text, "{}: {values}", flag.name);
        }
        text
    }

    /// The same for a program.
    pub fn json(&self) -> serde_json::Value {
        let flags = self.0.iter().map(|flag| {
            let mut values = flag.values.iter().map(|value| shown(flag, value).0.into());
            let value = if flag.many {
                values.collect()
            } else {
                values.next().unwrap_or_default()
            };
            (flag.name.clone(), value)
        });
        serde_json::Value::Object(flags.collect())
    }
}

/// The value as a file holds it, and the variable that stands for a secret.
fn shown(flag: &Flag, value: &str) -> (String, Option<String>) {
    let escaped = value.replace("${", "$${");
    if !secret(&flag.name, value) {
        return (escaped, None);
    }
    let (before, name) = match flag.name.as_str() {
        "header" => match value.split_once(':') {
            Some((header, _)) if !value.starts_with('{') && !value.contains(',') => {
                (format!("{header}:"), format!("HEADER_{header}"))
            }
            _ => (String::new(), "HEADERS".to_owned()),
        },
        name => (String::new(), name.to_owned()),
    };
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    let variable = format!("PINFIRE_{name}");
    (format!("{before}${{{variable}}}"), Some(variable))
}

/// A YAML scalar: plain where every reader takes it as it stands.
fn scalar(text: &str) -> String {
    let plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | '+'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if plain {
        text.to_owned()
    } else {
        // A JSON text is a YAML text.
        serde_json::Value::from(text).to_string()
    }
}

fn quoted_for_the_shell(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_./:,+-=@%".contains(c);
    if !text.is_empty() && text.chars().all(safe) {
        text.to_owned()
    } else if text.contains("${PINFIRE_") {
        // The shell puts it in.
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        args::{Cli, Command as Sub, Profile},
        run_file::parse,
    };
    use clap::{CommandFactory, Parser};

    fn flags(arguments: &[String]) -> Box<Profile> {
        let all: Vec<String> = ["pinfire", "profile"]
            .map(str::to_owned)
            .into_iter()
            .chain(arguments.iter().cloned())
            .collect();
        match parse(&all) {
            Ok(Cli {
                command: Sub::Profile(flags),
            }) => flags,
            Ok(_) => panic!("it is profile"),
            Err(crate::run_file::Refusal::File(said)) => panic!("{said}"),
            Err(crate::run_file::Refusal::Flags(error)) => panic!("{error}"),
        }
    }

    /// Every flag with a value that it takes.
    fn all_flags() -> Vec<String> {
        let mut root = Cli::command();
        root.build();
        let profile = root.find_subcommand("profile").unwrap();
        let mut typed = Vec::new();
        for flag in profile.get_arguments() {
            let Some(name) = flag.get_long() else {
                continue;
            };
            if matches!(name, "help" | "config") || crate::sweep::is_of_sweeps(name) {
                continue;
            }
            // Texts that YAML, the shell or the expansion of variables could take for their own.
            let tries = [
                "1s",
                "true",
                "2",
                "50",
                "0.5",
                "sonnet",
                "sent",
                "ttft:1",
                "3,4",
                "a: ${b} {{ c }} #\"'\\",
            ];
            let taken = tries.iter().rev().find(|value| {
                let mut line = vec!["pinfire".to_owned(), "profile".to_owned()];
                line.push(format!("--{name}={value}"));
                if name != "model" {
                    line.push("--model=m".to_owned());
                }
                Cli::try_parse_from(line).is_ok()
            });
            let taken = taken.unwrap_or_else(|| panic!("--{name} takes none of {tries:?}"));
            typed.push(format!("--{name}={taken}"));
        }
        typed
    }

    #[test]
    fn every_flag_comes_back_out_of_the_file_as_it_was() {
        let typed = all_flags();
        assert!(typed.len() > 90);
        let flags_typed = flags(&typed);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.yaml");
        std::fs::write(&path, flags_typed.run_file.given.yaml()).unwrap();
        // The key is not stored; it comes back by itself here.
        let yaml = std::fs::read_to_string(&path).unwrap();
        assert!(yaml.contains("api-key: \"${PINFIRE_API_KEY}\""), "{yaml}");
        let yaml = yaml.replace("${PINFIRE_API_KEY}", "a: $${b} {{ c }} #\\\"'\\\\");
        std::fs::write(&path, yaml).unwrap();
        let mut again = flags(&[
            format!("--config={}", path.display()),
            "--dry-run=true".to_owned(),
        ]);
        again.run_file = Default::default();
        let mut once = flags_typed;
        once.run_file = Default::default();
        let (again, once) = (format!("{again:#?}"), format!("{once:#?}"));
        for (again, once) in again.lines().zip(once.lines()) {
            assert_eq!(again, once);
        }
        assert_eq!(again.len(), once.len());
    }

    #[test]
    fn typed_flags_win_and_lines_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.yaml");
        std::fs::write(&path, "model: [a, b]\nstreaming: true\nconcurrency: 7\n").unwrap();
        let file = format!("--config={}", path.display());
        let flags = flags(&[file, "--streaming=false".to_owned(), "-m=c".to_owned()]);
        assert_eq!(flags.endpoint.model, ["c"]);
        assert!(!flags.endpoint.streaming);
        assert_eq!(flags.load.concurrency, Some(7));
        let given = &flags.run_file.given;
        assert_eq!(
            given.lines_named_in("--concurrency, --streaming and --concurrency-ramp-duration"),
            [("--concurrency".to_owned(), 3)]
        );
    }

    #[test]
    fn secrets_are_not_written() {
        let flags = flags(&[
            "--model=m".to_owned(),
            "--api-key=sk-1".to_owned(),
            "--header=X-Api-Key:abc".to_owned(),
            "--header=X-A:1".to_owned(),
        ]);
        let given = &flags.run_file.given;
        let yaml = given.yaml();
        assert!(!yaml.contains("sk-1") && !yaml.contains("abc"), "{yaml}");
        assert!(
            yaml.contains("\"X-Api-Key:${PINFIRE_HEADER_X_API_KEY}\", \"X-A:1\""),
            "{yaml}"
        );
        assert!(
            yaml.contains("# not stored: set PINFIRE_API_KEY before\n"),
            "{yaml}"
        );
        assert_eq!(
            given.typed(),
            "pinfire profile --model=m --api-key=\"${PINFIRE_API_KEY}\" \
             --header=\"X-Api-Key:${PINFIRE_HEADER_X_API_KEY}\" --header=X-A:1"
        );
    }
}
