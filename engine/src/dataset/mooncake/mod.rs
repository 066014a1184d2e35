//! Mooncake traces: recorded lengths and shared prefixes, replayed as made-up prompts.
//!
//! Every line is one request; sessions of several turns are refused for now. The whole file is
//! checked before anything is made, bodies are made for the lines that will be sent.

mod blocks;
mod line;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use self::blocks::{Blocks, TraceSeed, layout};
use self::line::{Ask, FIELDS, Line};
use super::body::{Content, Turn};
use super::fixed::FixedSpec;
use super::parallel::map_indexed;
use super::prompt::exact_prompt;
use super::synthetic::OutputLimits;
use super::{Build, Dataset, DatasetError, EndpointKind, Entry, Source};
use crate::random::Purpose;
use crate::text::Warning;
use crate::text::corpus::Corpus;
use crate::text::tokenizer::Tokenizer;

/// Tokens of a block unless the user says otherwise.
pub const DEFAULT_BLOCK_SIZE: u32 = 512;

/// Which trace, and how to read it.
#[derive(Clone, Debug, PartialEq)]
pub struct MooncakeSpec {
    /// JSONL, possibly gzipped.
    pub path: PathBuf,
    /// Tokens of a block of `hash_ids`, at least 1.
    pub block_size: u32,
    /// Replay by the timestamps, and which of them.
    pub fixed: Option<FixedSpec>,
    /// Make only the first so many entries, for a run that is shorter than the file.
    pub limit: Option<usize>,
    /// Mean output limit of lines without `output_length`; `None` or 0 sends no limit.
    pub osl_mean: Option<u32>,
    /// Deviation of that limit; below 1 is none.
    pub osl_stddev: f64,
}

/// Checks the whole trace and makes its entries, in file order; `progress` is told (done, total)
/// from the calling thread.
///
/// # Errors
/// When a line is wrong, with file, line and field; when prompts must be made without tokenizer.
pub fn build(
    spec: &MooncakeSpec,
    build: &Build<'_>,
    progress: &dyn Fn(usize, usize),
) -> Result<Dataset, DatasetError> {
    let mut trace = Trace::read(&spec.path)?;
    let block = spec.block_size.max(1) as usize;
    trace.check(block, build.bodies.endpoint)?;
    if let Some(fixed) = &spec.fixed {
        trace.keep(fixed)?;
    }
    let count = spec.limit.unwrap_or(usize::MAX).min(trace.lines.len());
    let lines = &trace.lines[..count];
    let maker = Maker {
        build,
        block,
        limits: OutputLimits::new(build.seed, spec.osl_mean, spec.osl_stddev),
        texts: Purpose::new(build.seed, "dataset.prompt.corpus"),
    };
    let entries = if lines
        .iter()
        .any(|line| matches!(line.ask, Ask::Length { .. }))
    {
        let (tokenizer, corpus) = build.prompt_material()?;
        let wanted = wanted_blocks(lines, block);
        let seed = TraceSeed::new(build.seed, trace.id);
        let blocks = Blocks::place(tokenizer, &corpus, seed, &wanted, build.threads)?;
        let prompts = Prompts {
            tokenizer,
            corpus: &corpus,
            blocks,
        };
        let make = |index: usize| maker.entry(index, &lines[index], Some(&prompts));
        map_indexed(count, build.threads, make, progress)?
    } else {
        let make = |index: usize| maker.entry(index, &lines[index], None);
        map_indexed(count, build.threads, make, progress)?
    };
    let mut dataset = Dataset {
        entries,
        source: Source::MooncakeTrace,
        warnings: trace.warnings,
    };
    if let Some(fixed) = &spec.fixed {
        fixed.apply(&mut dataset)?;
    }
    Ok(dataset)
}

/// A trace's lines, each valid by itself.
struct Trace {
    path: PathBuf,
    /// First 16 hex digits of the SHA-256 of the file's bytes.
    id: String,
    lines: Vec<Line>,
    warnings: Vec<Warning>,
}

impl Trace {
    fn read(path: &Path) -> Result<Self, DatasetError> {
        let read_error = |source| DatasetError::Read {
            path: path.to_path_buf(),
            source,
        };
        let bytes = std::fs::read(path).map_err(read_error)?;
        let id = Sha256::digest(&bytes)[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut inflated = Vec::new();
            let mut decoder = flate2::read::MultiGzDecoder::new(&bytes[..]);
            decoder.read_to_end(&mut inflated).map_err(read_error)?;
            inflated
        } else {
            bytes
        };
        let mut trace = Self {
            path: path.to_path_buf(),
            id,
            lines: Vec::new(),
            warnings: Vec::new(),
        };
        let mut unknown = BTreeSet::new();
        for (index, text) in bytes.split(|&byte| byte == b'\n').enumerate() {
            if text.trim_ascii().is_empty() {
                continue;
            }
            let number = index + 1;
            let object: Map<String, Value> = serde_json::from_slice(text).map_err(|cause| {
                trace.fault(number, "line", format!("is no JSON object: {cause}"))
            })?;
            unknown.extend(
                object
                    .keys()
                    .filter(|key| !FIELDS.contains(&key.as_str()))
                    .cloned(),
            );
            let line = Line::from_object(number, object)
                .map_err(|(field, reason)| trace.fault(number, field, reason))?;
            trace.lines.push(line);
        }
        if trace.lines.is_empty() {
            return Err(DatasetError::Empty {
                what: format!("the trace {} has no lines", path.display()),
            });
        }
        if !unknown.is_empty() {
            let names = Vec::from_iter(unknown).join(", ");
            trace.warnings.push(Warning(format!(
                "{}: fields that a Mooncake trace does not have are ignored: {names}",
                path.display()
            )));
        }
        Ok(trace)
    }

    /// Leaves out what lies outside of a fixed schedule's bounds.
    fn keep(&mut self, fixed: &FixedSpec) -> Result<(), DatasetError> {
        let all = self.lines.len();
        self.lines
            .retain(|line| line.timestamp_ms.is_none_or(|time| fixed.holds(time)));
        let dropped = all - self.lines.len();
        if self.lines.is_empty() {
            return Err(DatasetError::Empty {
                what: format!(
                    "none of the {all} lines of {} lies within the offsets of the fixed schedule",
                    self.path.display()
                ),
            });
        }
        if dropped > 0 {
            self.warnings.push(Warning(format!(
                "{dropped} of {all} lines of {} lie outside of the fixed schedule's offsets and are \
                 left out",
                self.path.display()
            )));
        }
        Ok(())
    }

    fn fault(&self, line: usize, field: &str, reason: String) -> DatasetError {
        DatasetError::Line {
            path: self.path.clone(),
            line,
            field: field.to_owned(),
            reason,
        }
    }

    /// The checks that need more than one line, or the run's flags.
    fn check(&self, block: usize, endpoint: EndpointKind) -> Result<(), DatasetError> {
        let mut sessions = HashSet::new();
        let mut sizes: HashMap<i128, (usize, usize)> = HashMap::new();
        for line in &self.lines {
            if line
                .session_id
                .as_ref()
                .is_some_and(|id| !sessions.insert(id))
            {
                let reason = "multi-turn replay is not there yet: an earlier line has the same one";
                return Err(self.fault(line.number, "session_id", reason.to_owned()));
            }
            match &line.ask {
                Ask::Messages { .. } if endpoint == EndpointKind::Completions => {
                    let reason = "cannot be sent to completions; use --endpoint-type chat";
                    return Err(self.fault(line.number, "messages", reason.to_owned()));
                }
                Ask::Length { tokens, ids } if !ids.is_empty() => {
                    let (last, _) = layout(*tokens, ids.len(), block)
                        .map_err(|reason| self.fault(line.number, "hash_ids", reason))?;
                    for (id, size) in sized(ids, block, last) {
                        let (seen, first) = *sizes.entry(id).or_insert((size, line.number));
                        if seen != size {
                            let reason = format!(
                                "id {id} stands for {size} tokens here and for {seen} in line \
                                 {first}; the block size is probably another one than {block} \
                                 (--isl-block-size)"
                            );
                            return Err(self.fault(line.number, "hash_ids", reason));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn sized(ids: &[i128], block: usize, last: usize) -> impl Iterator<Item = (i128, usize)> {
    let end = ids.len().saturating_sub(1);
    let size = move |place| if place == end { last } else { block };
    ids.iter()
        .enumerate()
        .map(move |(place, &id)| (id, size(place)))
}

/// Every block of these lines once, in order of first use.
fn wanted_blocks(lines: &[Line], block: usize) -> Vec<(i128, usize)> {
    let mut seen = HashSet::new();
    let mut wanted = Vec::new();
    for line in lines {
        let Ask::Length { tokens, ids } = &line.ask else {
            continue;
        };
        let Ok((last, _)) = layout(*tokens, ids.len(), block) else {
            continue;
        };
        wanted.extend(sized(ids, block, last).filter(|(id, _)| seen.insert(*id)));
    }
    wanted
}

/// What prompts are made of.
struct Prompts<'a> {
    tokenizer: &'a Tokenizer,
    corpus: &'a Corpus,
    blocks: Blocks<'a>,
}

/// What all lines of a trace have in common.
struct Maker<'a> {
    build: &'a Build<'a>,
    block: usize,
    limits: OutputLimits,
    texts: Purpose,
}

impl Maker<'_> {
    fn entry(
        &self,
        index: usize,
        line: &Line,
        prompts: Option<&Prompts<'_>>,
    ) -> Result<Entry, DatasetError> {
        let session_id = match &line.session_id {
            Some(id) => id.clone(),
            None => self.build.session_id(index),
        };
        let mut known = None;
        let content = match &line.ask {
            Ask::Payload(body) => {
                return self.build.entry(session_id, body, None, line.timestamp_ms);
            }
            Ask::Text(text) => Content::Text(text.clone()),
            Ask::Messages { messages, tools } => Content::Messages {
                messages: messages.clone(),
                tools: tools.clone(),
            },
            Ask::Length { tokens, ids } => {
                let prompts = prompts.ok_or(DatasetError::NeedsTokenizer)?;
                let (text, count) = self.prompt(index, *tokens, ids, prompts);
                known = count.filter(|_| self.build.keeps_texts(line.extra.as_ref()));
                Content::Text(text)
            }
        };
        let turn = Turn {
            content,
            max_tokens: line.output_length.or_else(|| self.limits.at(index)),
            extra: line.extra.as_ref(),
        };
        let body = self.build.bodies.body(index, turn);
        self.build
            .entry(session_id, &body, known, line.timestamp_ms)
    }

    /// The text of a line with lengths, and its count where that is certain already.
    fn prompt(
        &self,
        index: usize,
        tokens: usize,
        ids: &[i128],
        prompts: &Prompts<'_>,
    ) -> (String, Option<usize>) {
        let mut draws = self.texts.at(index as u64);
        match layout(tokens, ids.len(), self.block) {
            Ok(rest) if !ids.is_empty() => prompts.blocks.text(ids, self.block, rest, &mut draws),
            _ => {
                let made = exact_prompt(prompts.tokenizer, prompts.corpus, &mut draws, tokens);
                (made.text, Some(made.tokens))
            }
        }
    }
}

#[cfg(test)]
mod tests;
