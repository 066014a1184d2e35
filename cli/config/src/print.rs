//! A configuration for people: as a config file, as a command line, as JSON.

use std::fmt::Write;

use clap::Arg;
use pinfire_guard::ascii_yaml;
use serde_json::Value as Json;

use crate::{
    RunConfig,
    command::{is_guarded, is_many},
    config::settings,
    secret::references,
    source::text,
    wire::{self, Wire},
};

/// A setting with its texts.
struct SettingTexts {
    flag: &'static str,
    heading: &'static str,
    many: bool,
    guarded: bool,
    texts: Vec<String>,
}

impl SettingTexts {
    fn of(flag: &'static Arg, value: &Json) -> Option<Self> {
        let texts = match wire::plain(value) {
            Json::Array(values) => values.iter().map(text).collect(),
            value => vec![text(&value)],
        };
        Some(Self {
            flag: flag.get_long()?,
            heading: flag.get_help_heading().unwrap_or_default(),
            many: is_many(flag),
            guarded: is_guarded(flag),
            texts,
        })
    }

    /// The variables that stand for credentials.
    fn variables(&self) -> Vec<&str> {
        let texts = self.texts.iter().filter(|_| self.guarded);
        texts
            .flat_map(|text| references(text))
            .map(|(_, variable)| variable)
            .collect()
    }

    /// The value in a config file, in which `${` begins a variable.
    fn yaml(&self) -> String {
        let values: Vec<String> = self
            .texts
            .iter()
            .map(|text| scalar(&escaped(text, self.guarded)))
            .collect();
        match values.as_slice() {
            [one] if !self.many => one.clone(),
            many => format!("[{}]", many.join(", ")),
        }
    }
}

/// The settings that pass, in the order of their declaration.
fn lines(wire: &Wire, wanted: impl Fn(&Json) -> bool) -> Vec<SettingTexts> {
    let all = settings().all().filter_map(|flag| {
        let value = wire.get(flag.get_id().as_str())?;
        wanted(value).then(|| SettingTexts::of(flag, value))?
    });
    all.collect()
}

impl RunConfig {
    /// A config file that stands for the same: what was given, and what was taken where nothing
    /// was.
    pub fn yaml(&self) -> String {
        let wire = self.wire();
        let mut out = format!("version: {}\n", Self::VERSION);
        let mut heading = "";
        for line in lines(&wire, wire::is_given) {
            if line.heading != heading {
                heading = line.heading;
                // Writing to a string does not fail.
                let _ = writeln!(out, "\n# {heading}");
            }
            let hidden = line.variables();
            if !hidden.is_empty() {
                let _ = writeln!(out, "# not stored: set {} before", hidden.join(" and "));
            }
            let _ = writeln!(out, "{}: {}", line.flag, line.yaml());
        }
        out.push_str("\n# What was taken where nothing is given\ndefaults:\n");
        let not_given = |value: &Json| !wire::is_given(value);
        for line in lines(&wire, not_given)
            .iter()
            .filter(|line| !line.texts.is_empty())
        {
            let _ = writeln!(out, "  {}: {}", line.flag, line.yaml());
        }
        out
    }

    /// The command line that stands for the same. Credentials are variables of the environment.
    pub fn command_line(&self) -> String {
        self.command_line_of("profile", &[])
    }

    /// The same for another command that takes these settings, with flags of its own behind them; a
    /// switch has no value.
    pub fn command_line_of(&self, command: &str, own: &[(&str, Option<String>)]) -> String {
        let mut out = format!("pinfire {command}");
        for line in lines(&self.wire(), wire::is_given) {
            for text in &line.texts {
                let value = for_the_shell(text, line.guarded);
                let _ = write!(out, " --{}={value}", line.flag);
            }
        }
        for (flag, value) in own {
            let _ = write!(out, " --{flag}");
            if let Some(value) = value {
                let _ = write!(out, "={}", for_the_shell(value, false));
            }
        }
        out
    }

    /// What was given, for a program.
    pub fn json(&self) -> Json {
        let lines = lines(&self.wire(), wire::is_given);
        let settings = lines.into_iter().map(|line| {
            let mut values = line
                .texts
                .iter()
                .map(|text| crate::source::scalar(&escaped(text, line.guarded)));
            let value = if line.many {
                values.collect()
            } else {
                values.next().unwrap_or_default()
            };
            (line.flag.to_owned(), value)
        });
        Json::Object(settings.collect())
    }
}

/// The text for a config file: what is no reference to a credential refers to nothing.
fn escaped(text: &str, guarded: bool) -> String {
    let references: Vec<usize> = match guarded {
        true => references(text).into_iter().map(|(at, _)| at).collect(),
        false => Vec::new(),
    };
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (at, _) in text.match_indices("${") {
        out.push_str(text.get(from..at).unwrap_or_default());
        if !references.contains(&at) {
            out.push('$');
        }
        from = at;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// A YAML scalar: plain where every reader takes it as it is.
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
        // A JSON text is a YAML text, but for characters that no line of YAML may have.
        ascii_yaml(&Json::from(text).to_string()).into_owned()
    }
}

fn for_the_shell(text: &str, guarded: bool) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_./:,+-=@%".contains(c);
    if !text.is_empty() && text.chars().all(safe) {
        return text.to_owned();
    }
    if !guarded || references(text).is_empty() {
        return format!("'{}'", text.replace('\'', "'\\''"));
    }
    // The shell puts the credential in, and takes everything else as it is.
    let mut out = String::from("\"");
    let references: Vec<usize> = references(text).into_iter().map(|(at, _)| at).collect();
    for (at, c) in text.char_indices() {
        if matches!(c, '"' | '\\' | '`') || c == '$' && !references.contains(&at) {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;
