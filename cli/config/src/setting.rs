//! What the value of a setting is: a type that reads and writes its text, for flags and files
//! alike.

use std::{ffi::OsStr, fmt::Debug, path::PathBuf};

use clap::{
    Arg, Command,
    builder::{PossibleValue, TypedValueParser, ValueParserFactory},
    error::ErrorKind,
    parser::ValueSource,
};

use crate::source::{Source, Sourced};

/// The type of a setting's value.
pub trait Setting: Sized + Clone + PartialEq + Debug + Send + Sync + 'static {
    /// What code takes of it.
    type Value;

    /// Reads the text of a flag or a config file.
    ///
    /// # Errors
    /// What would be right.
    fn parse(text: &str) -> Result<Self, String>;

    /// The text that reads as this value again; of a secret a reference to where it is.
    fn shown(&self) -> String;

    /// The plain value.
    fn value(&self) -> Self::Value;

    /// Reads one of several values. Most are the same alone.
    ///
    /// # Errors
    /// What would be right.
    fn parse_element(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    /// The words that it can be, to complete and to show; none if that is open.
    fn possible() -> Vec<PossibleValue> {
        Vec::new()
    }
}

/// Reads a [`Sourced`] value of a flag.
#[derive(Clone, Debug)]
pub struct SourcedParser<T>(std::marker::PhantomData<T>);

impl<T: Setting> TypedValueParser for SourcedParser<T> {
    type Value = Sourced<T>;

    fn parse_ref(
        &self,
        command: &Command,
        flag: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Sourced<T>, clap::Error> {
        self.parse_ref_(command, flag, value, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        command: &Command,
        flag: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<Sourced<T>, clap::Error> {
        if value.to_str().is_none() {
            let named = flag.map_or_else(String::new, |flag| format!(" for '{flag}'"));
            let said = format!(
                "invalid value '{}'{named}: it is not UTF-8, and files of a run name their folder in \
                 UTF-8; give it another name",
                value.as_encoded_bytes().escape_ascii()
            );
            return Err(clap::Error::raw(ErrorKind::InvalidUtf8, said));
        }
        // The parser that closures are writes the error with flag and value.
        let parse = |text: &str| T::parse(text);
        let value = TypedValueParser::parse_ref(&parse, command, flag, value)?;
        let source = match source {
            ValueSource::DefaultValue => Source::Default,
            _ => Source::Flag,
        };
        Ok(Sourced { value, source })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let possible = T::possible();
        (!possible.is_empty()).then(|| Box::new(possible.into_iter()) as Box<_>)
    }
}

impl<T: Setting> ValueParserFactory for Sourced<T> {
    type Parser = SourcedParser<T>;

    fn value_parser() -> SourcedParser<T> {
        SourcedParser(std::marker::PhantomData)
    }
}

/// One value, or several, which make a sweep. Never none.
#[derive(Clone, PartialEq, Debug)]
pub struct Listed<T> {
    first: T,
    more: Vec<T>,
}

impl<T: Setting> Listed<T> {
    /// One value.
    pub const fn one(value: T) -> Self {
        Self {
            first: value,
            more: Vec::new(),
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// Whether there are several.
    pub const fn is_several(&self) -> bool {
        !self.more.is_empty()
    }
}

impl<T: Setting> Setting for Listed<T> {
    type Value = T::Value;

    fn parse(text: &str) -> Result<Self, String> {
        // A distribution has commas of its own.
        if !text.contains(',') || text.contains(':') {
            return T::parse(text).map(Self::one);
        }
        let mut all: Vec<T> = Vec::new();
        for element in text.split(',').map(str::trim) {
            if element.is_empty() {
                return Err("an element of the list is empty".to_owned());
            }
            let value =
                T::parse_element(element).map_err(|reason| format!("{element}: {reason}"))?;
            if all.contains(&value) {
                return Err(format!("{element} is in the list twice"));
            }
            all.push(value);
        }
        let mut all = all.into_iter();
        let first = all.next().ok_or("the list is empty")?;
        Ok(Self {
            first,
            more: all.collect(),
        })
    }

    fn shown(&self) -> String {
        let all: Vec<String> = self.all().map(Setting::shown).collect();
        all.join(",")
    }

    /// The first one. Of a run's own configuration it is the only one.
    fn value(&self) -> T::Value {
        self.first.value()
    }

    /// One of the values of a list may be what alone says nothing.
    fn parse_element(text: &str) -> Result<Self, String> {
        T::parse_element(text).map(Self::one)
    }

    fn possible() -> Vec<PossibleValue> {
        T::possible()
    }
}

impl Setting for String {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn shown(&self) -> String {
        self.clone()
    }

    fn value(&self) -> Self {
        self.clone()
    }
}

impl Setting for PathBuf {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("it must name a file or folder".to_owned());
        }
        Ok(text.into())
    }

    fn shown(&self) -> String {
        self.to_string_lossy().into_owned()
    }

    fn value(&self) -> Self {
        self.clone()
    }
}

/// Switches: `--flag`, `--flag=true` and `--flag=false`.
impl Setting for bool {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("it must be true or false".to_owned()),
        }
    }

    fn shown(&self) -> String {
        self.to_string()
    }

    fn value(&self) -> Self {
        *self
    }
}
