//! `inputs.json`: the bodies of a run as AIPerf writes them, for reading and for replay.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use pinfire_guard::JsonLines;
use serde::ser::{Error as _, SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::file::Format;
use super::{Conversation, Dataset, Source, Turn};

/// The file's name in the artifact folder.
pub const FILE_NAME: &str = "inputs.json";

/// Why the file was not written; the run can go on without it.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {cause}", path.display())]
pub struct InputsError {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub cause: std::io::Error,
}

/// Writes `inputs.json` into `folder` and returns its path, or `None` for a source that has none:
/// traces, and files that hold the bodies already.
///
/// Indented by two blanks, body by body, into a temporary file that is then renamed: a reader
/// sees the whole file or none.
///
/// # Errors
/// When the folder cannot be written to.
pub fn write(folder: &Path, dataset: &Dataset) -> Result<Option<PathBuf>, InputsError> {
    if !is_written(dataset.source) {
        return Ok(None);
    }
    let path = folder.join(FILE_NAME);
    let temporary = folder.join(format!("{FILE_NAME}.tmp"));
    let written = write_to(&temporary, dataset).and_then(|()| std::fs::rename(&temporary, &path));
    match written {
        Ok(()) => Ok(Some(path)),
        Err(cause) => {
            // What is left of it would only confuse; failing to remove it changes nothing.
            let _ = std::fs::remove_file(&temporary);
            Err(InputsError { path, cause })
        }
    }
}

/// Whether a run over this source has the file: not for what is a file of bodies already, nor for
/// traces, whose bodies would be huge.
fn is_written(source: Source) -> bool {
    let written = |name| Format::named(name).is_none_or(|format| format.writes_inputs);
    match source {
        Source::Synthetic => true,
        Source::MooncakeTrace => written("mooncake_trace"),
        Source::File(name) => written(name),
    }
}

fn write_to(path: &Path, dataset: &Dataset) -> std::io::Result<()> {
    let file = BufWriter::with_capacity(1 << 18, std::fs::File::create(path)?);
    let mut file = JsonLines::new(file);
    serde_json::to_writer_pretty(&mut file, &Document(&dataset.conversations))?;
    file.flush()
}

struct Document<'a>(&'a [Conversation]);

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("inputs", 1)?;
        document.serialize_field("data", &Sessions(self.0))?;
        document.end()
    }
}

struct Sessions<'a>(&'a [Conversation]);

impl Serialize for Sessions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Another process writes what it sends.
        let own = |one: &&Conversation| !one.turns.iter().any(Turn::is_of_others);
        serializer.collect_seq(self.0.iter().filter(own).map(Session))
    }
}

struct Session<'a>(&'a Conversation);

impl Serialize for Session<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut session = serializer.serialize_struct("session", 2)?;
        session.serialize_field("session_id", &self.0.session_id)?;
        session.serialize_field("payloads", &Payloads(&self.0.turns))?;
        session.end()
    }
}

struct Payloads<'a>(&'a [Turn]);

impl Serialize for Payloads<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut payloads = serializer.serialize_seq(Some(self.0.len()))?;
        for turn in self.0 {
            // One body is parsed at a time, so that a large set costs no memory.
            let body: Value = serde_json::from_slice(&turn.body).map_err(S::Error::custom)?;
            payloads.serialize_element(&body)?;
        }
        payloads.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Source;

    fn dataset(source: Source) -> Dataset {
        let turn = |text: &str| Turn {
            body: format!(r#"{{"prompt":"{text}","model":"m","stream":true}}"#).into_bytes(),
            rope: None,
            isl: Some(1),
            osl: None,
            delay: None,
            timestamp: None,
            history: None,
        };
        let conversation = |id: &str, texts: &[&str]| Conversation {
            session_id: id.into(),
            turns: texts.iter().map(|text| turn(text)).collect(),
        };
        Dataset {
            conversations: vec![
                conversation("session_000000", &["a"]),
                conversation("session_000001", &["b", "c"]),
            ],
            source,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn pretty_in_order_and_no_temporary_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), &dataset(Source::Synthetic))
            .unwrap()
            .unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let start = "{\n  \"data\": [\n    {\n      \"session_id\": \"session_000000\",\n      \
                     \"payloads\": [\n        {\n          \"prompt\": \"a\",\n          \"model\"";
        assert!(text.starts_with(start), "{text}");
        assert!(text.ends_with("    }\n  ]\n}"), "{text}");
        let document: Value = serde_json::from_str(&text).unwrap();
        let second = &document["data"][1]["payloads"];
        let prompts = [&second[0]["prompt"], &second[1]["prompt"]];
        assert_eq!(prompts, ["b", "c"], "every turn is there");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn not_for_a_trace_and_errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        for source in [
            Source::MooncakeTrace,
            Source::File("raw_payload"),
            Source::File("inputs_json"),
        ] {
            assert_eq!(write(folder.path(), &dataset(source)).unwrap(), None);
        }
        let written = write(folder.path(), &dataset(Source::File("single_turn"))).unwrap();
        assert!(written.is_some());
        let missing = folder.path().join("missing");
        let error = write(&missing, &dataset(Source::Synthetic)).unwrap_err();
        assert!(error.to_string().contains("inputs.json"), "{error}");
    }
}
