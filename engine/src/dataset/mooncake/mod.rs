//! Mooncake traces: recorded lengths and shared prefixes, replayed as made-up prompts.
//!
//! Every line is one request; lines with the same session id are the turns of one conversation. The
//! whole file is checked before anything is made, bodies are made for the lines that will be sent.

mod blocks;
mod line;
mod schedule;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use self::blocks::{Blocks, TraceSeed, layout};
use self::line::{Ask, FIELDS, Line};
use self::schedule::{Clock, Session};
use super::ask::{Ask as BodyAsk, Content};
use super::parallel::map_indexed;
use super::prompt::exact_prompt;
use super::synthetic::OutputLimits;
use super::{
    Build, Dataset, DatasetError, EndpointKind, Source, Turn, converse, millis, without_history,
};
use crate::clock::Span;
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
    /// Make only the first so many conversations, for a run that begins no more of them.
    pub limit: Option<usize>,
    /// Mean output limit of lines without `output_length`; `None` or 0 sends no limit.
    pub osl_mean: Option<u32>,
    /// Deviation of that limit; below 1 is none.
    pub osl_stddev: f64,
    /// Send by the trace's timestamps; without it they are dropped.
    pub fixed: Option<FixedSpec>,
    /// Timestamps are divided by it.
    pub speedup: f64,
    /// Drop the delays between turns; a fixed schedule keeps them.
    pub ignore_delays: bool,
    /// The longest delay between turns.
    pub delay_cap: Option<Span>,
}

/// Which part of a trace a fixed schedule takes, and where its time begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedSpec {
    /// Lines before it are dropped. It is also the zero point, unless that is the first timestamp.
    pub start_ms: Option<u64>,
    /// Lines after it are dropped.
    pub end_ms: Option<u64>,
    /// The first timestamp that is kept is the zero point.
    pub auto_offset: bool,
}

/// Whether the first line of this trace has a timestamp, so that it can be sent by them. What is no
/// trace has none.
///
/// # Errors
/// When the file cannot be read.
pub fn has_timestamps(path: &Path) -> Result<bool, DatasetError> {
    let read_error = |source| DatasetError::Read {
        path: path.to_path_buf(),
        source,
    };
    let mut file = BufReader::new(std::fs::File::open(path).map_err(read_error)?);
    let zipped = file.fill_buf().map_err(read_error)?.starts_with(&GZIP);
    let mut text: Box<dyn BufRead> = if zipped {
        Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    };
    let mut line = Vec::new();
    while line.trim_ascii().is_empty() {
        line.clear();
        if text.read_until(b'\n', &mut line).map_err(read_error)? == 0 {
            break;
        }
    }
    let first: Value = serde_json::from_slice(&line).unwrap_or_default();
    Ok(first.get("timestamp").is_some_and(Value::is_number))
}

/// How a gzipped file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Checks the whole trace and makes its conversations, in the order of their first timestamps if
/// these are to be kept, else in file order; `progress` is told (done, total)
/// from the calling thread.
///
/// # Errors
/// When a line is wrong, with file, line and field; when prompts must be made without tokenizer.
pub fn build(
    spec: &MooncakeSpec,
    build: &Build<'_>,
    progress: &dyn Fn(usize, usize),
) -> Result<Dataset, DatasetError> {
    let trace = Trace::read(&spec.path)?;
    let block = spec.block_size.max(1) as usize;
    trace.check(block, build.bodies.endpoint)?;
    let plan = schedule::plan(spec, &trace, build)?;
    let lines = &trace.lines;
    let places: Vec<(usize, &Session)> = plan.sessions.iter().flat_map(Session::places).collect();
    let sent = || places.iter().map(|&(index, _)| &lines[index]);
    let maker = Maker {
        build,
        block,
        clock: &plan.clock,
        limits: OutputLimits::new(build.seed, spec.osl_mean, spec.osl_stddev),
        texts: Purpose::new(build.seed, "dataset.prompt.corpus"),
    };
    let make = |prompts: Option<&Prompts<'_>>| {
        let turn = |at: usize| {
            let (index, session) = places[at];
            maker.turn(index, &lines[index], session, prompts)
        };
        map_indexed(places.len(), build.threads, turn, progress)
    };
    let turns = if sent().any(|line| matches!(line.ask, Ask::Length { .. })) {
        let (tokenizer, corpus) = build.prompt_material()?;
        let wanted = wanted_blocks(sent(), block);
        let seed = TraceSeed::new(build.seed, trace.id);
        let blocks = Blocks::place(tokenizer, &corpus, seed, &wanted, build.threads)?;
        make(Some(&Prompts {
            tokenizer,
            corpus: &corpus,
            blocks,
        }))?
    } else {
        make(None)?
    };
    let verbatim = sent().any(|line| matches!(line.ask, Ask::Payload(_)));
    let mut warnings = trace.warnings;
    warnings.extend(plan.warnings);
    if verbatim && build.system_prompt.is_some() {
        let said = "lines with a `payload` are sent as they are: the system prompt is not in them";
        warnings.push(Warning(said.to_owned()));
    }
    let sizes = plan.sessions.into_iter();
    let sizes = sizes.map(|session| (session.id, session.lines.len()));
    let (conversations, warning) = converse(turns, sizes, spec.delay_cap);
    warnings.extend(warning);
    Ok(Dataset {
        conversations,
        source: Source::MooncakeTrace,
        warnings,
    })
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
        let bytes = if bytes.starts_with(&GZIP) {
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
        let mut sessions: HashMap<&str, &Line> = HashMap::new();
        let mut sizes: HashMap<i128, (usize, usize)> = HashMap::new();
        for line in &self.lines {
            if let Some(id) = &line.session_id {
                let first = *sessions.entry(id).or_insert(line);
                let (kind, before) = (line.ask.kind(), first.ask.kind());
                let number = first.number;
                if kind != before {
                    let reason = format!(
                        "line {number} of the same session has {before}, this one {kind}; a \
                         session has one of them only"
                    );
                    return Err(self.fault(line.number, "session_id", reason));
                }
                if !std::ptr::eq(first, line)
                    && endpoint == EndpointKind::Completions
                    && kind == "prompts"
                {
                    let reason = format!(
                        "line {number} has the same one, but completions has no conversations; \
                         use --endpoint-type chat"
                    );
                    return Err(self.fault(line.number, "session_id", reason));
                }
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
fn wanted_blocks<'a>(lines: impl Iterator<Item = &'a Line>, block: usize) -> Vec<(i128, usize)> {
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
    clock: &'a Clock,
    limits: OutputLimits,
    texts: Purpose,
}

impl Maker<'_> {
    fn turn(
        &self,
        index: usize,
        line: &Line,
        session: &Session,
        prompts: Option<&Prompts<'_>>,
    ) -> Result<Turn, DatasetError> {
        let mut known = None;
        let content = match &line.ask {
            Ask::Payload(body) => {
                let turn = self.build.turn(body, None, None)?;
                return Ok(self.clock.timed(turn, line, index == session.lines[0]));
            }
            Ask::Text(given) => Content::text(given.clone()),
            Ask::Messages { messages, tools } => Content::Messages {
                messages: messages.clone(),
                tools: tools.clone(),
            },
            Ask::Length { tokens, ids } => {
                let prompts = prompts.ok_or(DatasetError::NeedsTokenizer)?;
                let (made, count) = self.prompt(index, *tokens, ids, prompts);
                known = count.filter(|_| self.build.keeps_texts(line.extra.as_ref()));
                Content::text(made)
            }
        };
        let ask = BodyAsk {
            max_tokens: line.output_length.or_else(|| self.limits.at(index)),
            extra: line.extra.as_ref(),
            ..BodyAsk::of(content)
        };
        let body = self.build.body(index, ask);
        let own = usize::from(self.build.system_prompt.is_some());
        let turn = self
            .build
            .turn(&body, known, session.history.then_some(own))?;
        Ok(self.clock.timed(turn, line, index == session.lines[0]))
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
