//! Mooncake traces: recorded lengths and shared prefixes, replayed as made-up prompts.
//!
//! Every line is one request; lines with the same session id are the turns of one conversation. The
//! whole file is checked before anything is made, bodies are made for the lines that will be sent.

mod blocks;
mod line;
mod ropes;
mod schedule;
mod slices;
mod source;
mod synthesis;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use pinfire_base::{clock::Span, memory, random::Purpose};
use pinfire_dialect::ask::{Ask as BodyAsk, Content};
use serde_json::{Map, Value};

use self::blocks::{Blocks, Made, TraceSeed, layout};
use self::line::{Ask, FIELDS, Line};
use self::ropes::Pool;
use self::schedule::Session;
use super::parallel::map_indexed;
use super::prompt::exact_prompt;
use super::skipped::Skipped;
use super::synthetic::OutputLimits;
use super::{
    BYTES_PER_TOKEN, Build, Dataset, DatasetError, EndpointKind, Source, Turn, converse, millis,
    without_history,
};
use crate::text::Warning;
use crate::text::corpus::Corpus;
use crate::text::tokenizer::Tokenizer;

pub use self::source::Lines;
pub use self::synthesis::Synthesis;

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
    /// How lengths and prefixes are changed.
    pub synthesis: Synthesis,
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
    let mut lines = Lines::open(path)?;
    while let Some((_, line)) = lines.read()? {
        let first: Value = match line.trim_ascii() {
            b"null" => continue,
            line => serde_json::from_slice(line).unwrap_or_default(),
        };
        return Ok(first.get("timestamp").is_some_and(Value::is_number));
    }
    Ok(false)
}

/// What is wrong with this line by itself, as a field and a reason.
pub(super) fn check_line(line: Map<String, Value>) -> Result<(), (String, String)> {
    let checked = Line::from_object(1, line).map(drop);
    checked.map_err(|(field, reason)| (field.to_owned(), reason))
}

/// Whether the prompts of these lines can be held at all; blocks are held once.
fn fits<'a>(lines: impl Iterator<Item = &'a Line>) -> Result<(), DatasetError> {
    let own = |line: &Line| match &line.ask {
        Ask::Length { tokens, ids } if ids.is_empty() => *tokens as f64,
        _ => 0.0,
    };
    let tokens: f64 = lines.map(own).sum();
    let (needed, available) = (tokens * BYTES_PER_TOKEN, memory::available() as f64);
    if needed <= available {
        return Ok(());
    }
    Err(DatasetError::TooLarge {
        needed: memory::shown(needed),
        available: memory::shown(available),
    })
}

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
    let mut trace = Trace::read(&spec.path)?;
    let block = spec.block_size.max(1) as usize;
    trace.check(block, build.bodies.endpoint)?;
    let chosen = schedule::choose(spec, &trace, build)?;
    let order = chosen.places();
    let roots = Purpose::new(build.seed, "dataset.synthesis.root");
    let changed = spec.synthesis.apply(&mut trace.lines, &order, block, roots);
    changed.map_err(|(line, (field, reason))| trace.fault(line, field, reason))?;
    let plan = schedule::plan(spec, &trace, build, chosen)?;
    let lines = &trace.lines;
    let places: Vec<(usize, &Session)> = plan.sessions.iter().flat_map(Session::places).collect();
    let own = own_places(build, &plan.sessions);
    let is_own = |at: usize| own.as_ref().is_none_or(|own| own[at]);
    let sent = || {
        let own = places.iter().enumerate().filter(|(at, _)| is_own(*at));
        own.map(|(_, &(index, _))| &lines[index])
    };
    fits(sent())?;
    let maker = Maker {
        build,
        block,
        limits: OutputLimits::new(build.seed, spec.osl_mean, spec.osl_stddev),
        synthesis: &spec.synthesis,
        texts: Purpose::new(build.seed, "dataset.prompt.corpus"),
    };
    let make = |prompts: Option<&Prompts<'_>>| {
        let turn = |at: usize| {
            let (index, session) = places[at];
            let line = &lines[index];
            let made = match is_own(at) {
                true => maker.turn(index, line, session, prompts),
                false => Ok(Turn::of_others()),
            };
            made.map(|turn| plan.clock.timed(turn, line, index == session.lines[0]))
        };
        map_indexed(places.len(), build.threads, turn, progress)
    };
    let mut drift = None;
    let turns = if sent().any(|line| matches!(line.ask, Ask::Length { .. })) {
        let (tokenizer, corpus) = build.prompt_material()?;
        let wanted = wanted_blocks(sent(), block);
        drift = (!wanted.is_empty() && tokenizer.separator().is_none()).then(|| {
            Warning(format!(
                "the tokenizer `{}` has neither BOS nor EOS to put between the blocks of a prompt: \
                 prompts may be a few tokens longer or shorter than the trace says",
                tokenizer.name()
            ))
        });
        let seed = TraceSeed::new(build.seed, trace.id.clone());
        let blocks = Blocks::place(tokenizer, &corpus, seed, wanted, build.threads)?;
        make(Some(&Prompts {
            tokenizer,
            corpus: &corpus,
            pool: maker.pool(&blocks, &places, lines)?,
            blocks,
        }))?
    } else {
        make(None)?
    };
    let verbatim = sent().any(|line| matches!(line.ask, Ask::Payload(_)));
    let mut warnings = trace.warnings;
    warnings.extend(plan.warnings);
    warnings.extend(drift);
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

/// Of the places of all sessions, those whose sessions are sent from here; `None` for all of them.
fn own_places(build: &Build<'_>, sessions: &[Session]) -> Option<Vec<bool>> {
    let taken = (build.taken)(sessions.len())?;
    let sessions = sessions.iter().zip(taken);
    let places = sessions.flat_map(|(session, own)| session.places().map(move |_| own));
    Some(places.collect())
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
        let mut source = Lines::open(path)?;
        let mut lines = Vec::new();
        let mut unknown = BTreeSet::new();
        let mut skipped = Skipped::default();
        while let Some((number, text)) = source.read()? {
            if text.trim_ascii() == b"null" {
                skipped.note(source.fault(number, "line", "is null".to_owned()));
                continue;
            }
            let object: serde_json::Result<Map<String, Value>> = serde_json::from_slice(text);
            let object = object.map_err(|cause| {
                source.fault(number, "line", format!("is no JSON object: {cause}"))
            })?;
            if let Some(field) = line::null_content(&object) {
                skipped.note(source.fault(number, field, "is null".to_owned()));
                continue;
            }
            unknown.extend(
                object
                    .keys()
                    .filter(|key| !FIELDS.contains(&key.as_str()))
                    .cloned(),
            );
            let line = Line::from_object(number, object)
                .map_err(|(field, reason)| source.fault(number, field, reason))?;
            lines.push(line);
        }
        let mut trace = Self {
            path: path.to_path_buf(),
            id: source.id()?,
            lines,
            warnings: Vec::new(),
        };
        trace.warnings.extend(skipped.warning());
        if trace.lines.is_empty() {
            if let Some(error) = skipped.error() {
                return Err(error);
            }
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
                if !std::ptr::eq(first, line) && !endpoint.row().several_turns && kind == "prompts"
                {
                    let reason = format!(
                        "line {number} has the same one, but {} has no conversations; use \
                         --endpoint-type chat",
                        endpoint.name()
                    );
                    return Err(self.fault(line.number, "session_id", reason));
                }
            }
            match &line.ask {
                Ask::Messages { .. } if endpoint.row().messages_key.is_none() => {
                    let name = endpoint.name();
                    let reason = format!("cannot be sent to {name}; use --endpoint-type chat");
                    return Err(self.fault(line.number, "messages", reason));
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

/// Every block of these lines, some more than once.
fn wanted_blocks<'a>(lines: impl Iterator<Item = &'a Line>, block: usize) -> Vec<(i128, usize)> {
    let mut wanted = Vec::new();
    for line in lines {
        if let Ask::Length { tokens, ids } = &line.ask
            && let Ok((last, _)) = layout(*tokens, ids.len(), block)
        {
            wanted.extend(sized(ids, block, last));
        }
    }
    wanted
}

/// What prompts are made of.
struct Prompts<'a> {
    tokenizer: &'a Tokenizer,
    corpus: &'a Corpus,
    blocks: Blocks<'a>,
    /// The text of the blocks as bodies have it; `None` where bodies change their texts.
    pool: Option<Pool>,
}

/// What all lines of a trace have in common.
struct Maker<'a> {
    build: &'a Build<'a>,
    block: usize,
    limits: OutputLimits,
    synthesis: &'a Synthesis,
    texts: Purpose,
}

impl Maker<'_> {
    /// The blocks' text for bodies that are put together when they are sent, if the endpoint's can
    /// be.
    fn pool(
        &self,
        blocks: &Blocks<'_>,
        places: &[(usize, &Session)],
        lines: &[Line],
    ) -> Result<Option<Pool>, DatasetError> {
        let made = |(index, _): &&(usize, &Session)| matches!(&lines[*index].ask, Ask::Length { ids, .. } if !ids.is_empty());
        let Some(&(index, session)) = places.iter().find(made) else {
            return Ok(None);
        };
        let written = |content| self.written(index, &lines[index], session, content, None);
        Ok(ropes::fits(written)?.then(|| Pool::new(blocks.text())))
    }

    /// The turn of a line, without its times.
    fn turn(
        &self,
        index: usize,
        line: &Line,
        session: &Session,
        prompts: Option<&Prompts<'_>>,
    ) -> Result<Turn, DatasetError> {
        let mut known = None;
        let content = match &line.ask {
            Ask::Payload(body) => return self.build.turn(body, None, false),
            Ask::Text(given) => Content::text(given.clone()),
            Ask::Messages { messages, tools } => Content::Messages {
                messages: messages.clone(),
                tools: tools.clone(),
            },
            Ask::Length { tokens, ids } => {
                let prompts = prompts.ok_or(DatasetError::NeedsTokenizer)?;
                let made = self.prompt(index, *tokens, ids, prompts);
                known = made
                    .tokens
                    .filter(|_| self.build.keeps_texts(line.extra.as_ref()));
                let whole = |text: &[Range<usize>]| {
                    text.iter()
                        .map(|range| &prompts.blocks.text()[range.clone()])
                        .collect()
                };
                match (made.text, &prompts.pool) {
                    (Err(text), _) => Content::text(text),
                    (Ok(text), None) => Content::text(whole(&text)),
                    (Ok(text), Some(pool)) => {
                        let write = |content| self.written(index, line, session, content, known);
                        let mut turn = write(ropes::marked())?;
                        // What was counted in the mark's body is not what will be sent.
                        if known.is_none() || turn.isl.map(|isl| isl as usize) != known {
                            turn.isl = write(Content::text(whole(&text)))?.isl;
                        }
                        return Ok(pool.fill(turn, &text));
                    }
                }
            }
        };
        self.written(index, line, session, content, known)
    }

    /// The turn of a line that says `content`.
    fn written(
        &self,
        index: usize,
        line: &Line,
        session: &Session,
        content: Content,
        known: Option<usize>,
    ) -> Result<Turn, DatasetError> {
        let limit = line.output_length.or_else(|| self.limits.at(index));
        let ask = BodyAsk {
            max_tokens: self.synthesis.capped(limit),
            extra: line.extra.as_ref(),
            ..BodyAsk::of(content)
        };
        let body = self.build.body(index, ask)?;
        self.build.turn(&body, known, session.history)
    }

    /// The text of a line with lengths.
    fn prompt(&self, index: usize, tokens: usize, ids: &[i128], prompts: &Prompts<'_>) -> Made {
        let mut draws = self.texts.at(index as u64);
        match layout(tokens, ids.len(), self.block) {
            Ok(rest) if !ids.is_empty() => prompts.blocks.made(ids, self.block, rest, &mut draws),
            _ => {
                let made = exact_prompt(prompts.tokenizer, prompts.corpus, &mut draws, tokens);
                Made {
                    text: Err(made.text),
                    tokens: Some(made.tokens),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
