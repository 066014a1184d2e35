//! From pieces of a file to the conversations of a run: read, check, put into sessions, build.
//!
//! A batch of pieces at a time, so that neither the file nor its parsed lines are ever there whole:
//! what stays is the bodies. Checking and building use all threads; in between one thread decides,
//! in file order, what depends on other lines (sessions, system messages, numbers of turns).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use pinfire_base::{
    clock::Span,
    limits::{BATCH_BYTES, BATCH_LINES},
};
use pinfire_dialect::{
    ask::{Ask, Content, TurnContent},
    body::streams,
    output_limit,
};
use serde_json::{Map, Value};

use super::fault::{Fault, fault, listed, piece_fault, quoted};
use super::notes::Notes;
use super::pieces::{Elements, Lines, Opened, Piece};
use super::{DatasetError, FileSpec, turn_content};
use crate::dataset::parallel::map_each;
use crate::dataset::seconds;
use crate::dataset::skipped::Skipped;
use crate::dataset::synthetic::OutputLimits;
use crate::dataset::{
    Build, Conversation, Dataset, Source, Turn, hold_delays, input_length, millis, without_history,
};
use crate::text::Warning;

/// One request as a format reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) what: What,
    pub(super) max_tokens: Option<u32>,
    pub(super) at_ms: Option<f64>,
    pub(super) delay_ms: Option<f64>,
    pub(super) extra: Option<Map<String, Value>>,
}

/// What a row wants sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// Texts and media for the endpoint to write.
    TurnContent(TurnContent),
    /// A whole body, sent byte for byte; parsed as well, to be counted.
    Body {
        bytes: Vec<u8>,
        fields: Map<String, Value>,
    },
}

impl Default for What {
    fn default() -> Self {
        Self::TurnContent(TurnContent::default())
    }
}

/// What one piece of a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Entry {
    pub(super) session: Option<String>,
    /// Never empty.
    pub(super) rows: Vec<Row>,
}

/// How the rows of a format become conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Each turn carries the turns before it and the live replies to them.
    pub(super) history: bool,
    /// A first turn that is a bare system message becomes the session's.
    pub(super) leading_system: bool,
    /// A session id may come back on a later line and goes on there.
    pub(super) joined: bool,
}

/// Progress: (done, total), in KiB of the files.
pub(super) type Progress<'a> = &'a dyn Fn(usize, usize);

/// The reader of one piece.
pub(super) trait Reader:
    Fn(&Piece, &mut Notes) -> Result<Option<Entry>, Fault> + Sync
{
}

impl<F: Fn(&Piece, &mut Notes) -> Result<Option<Entry>, Fault> + Sync> Reader for F {}

/// A source of pieces.
pub(super) trait Pieces {
    fn next(&mut self) -> Result<Option<Piece>, DatasetError>;
    fn opened(&self) -> &Opened;
}

impl Pieces for Lines {
    fn next(&mut self) -> Result<Option<Piece>, DatasetError> {
        self.next()
    }
    fn opened(&self) -> &Opened {
        &self.opened
    }
}

impl Pieces for Elements {
    fn next(&mut self) -> Result<Option<Piece>, DatasetError> {
        self.next()
    }
    fn opened(&self) -> &Opened {
        &self.opened
    }
}

/// A row with everything that other lines decide.
struct Job {
    place: usize,
    /// Of the turn among all turns of the file.
    number: usize,
    row: Row,
    system: Option<Arc<str>>,
}

struct Made {
    place: usize,
    turn: Turn,
    /// A ready body that streams where the run does not, or the other way round.
    other_stream: bool,
}

/// A dataset that is being read.
pub(super) struct Loading<'a> {
    spec: &'a FileSpec,
    build: &'a Build<'a>,
    rules: Rules,
    limits: OutputLimits,
    conversations: Vec<Conversation>,
    /// Line on which each conversation begins.
    lines: Vec<usize>,
    /// Conversations by the ids that the file gives.
    places: HashMap<String, usize>,
    systems: HashMap<usize, Arc<str>>,
    /// First turns that may be system messages: it depends on whether another line goes on.
    held: BTreeMap<usize, Row>,
    /// Turns that each joined session has so far, dropped ones included.
    sizes: HashMap<usize, usize>,
    /// Whether the latest turn of a joined session was within the offsets.
    within: HashMap<usize, bool>,
    turns: usize,
    dropped: usize,
    other_stream: usize,
    timed: usize,
    notes: Notes,
    skipped: Skipped,
}

impl<'a> Loading<'a> {
    pub(super) fn new(spec: &'a FileSpec, build: &'a Build<'a>, rules: Rules) -> Self {
        Self {
            spec,
            build,
            rules,
            limits: OutputLimits::new(build.seed, spec.osl_mean, spec.osl_stddev),
            conversations: Vec::new(),
            lines: Vec::new(),
            places: HashMap::new(),
            systems: HashMap::new(),
            held: BTreeMap::new(),
            sizes: HashMap::new(),
            within: HashMap::new(),
            turns: 0,
            dropped: 0,
            other_stream: 0,
            timed: 0,
            notes: Notes::default(),
            skipped: Skipped::default(),
        }
    }

    /// The dataset of the one file that was named, cut into its pieces by `cut`.
    pub(super) fn whole_file<P: Pieces>(
        mut self,
        cut: impl FnOnce(Opened) -> P,
        read: &impl Reader,
        progress: Progress<'_>,
    ) -> Result<Dataset, DatasetError> {
        let opened = Opened::new(&self.spec.path)?;
        let total = opened.size;
        self.take(&self.spec.path, cut(opened), read, (progress, 0, total))?;
        self.finish()
    }

    /// Takes all pieces of `path`. `progress` counts on from `before`, both in bytes of all files.
    pub(super) fn take(
        &mut self,
        path: &Path,
        mut pieces: impl Pieces,
        read: &impl Reader,
        (progress, before, total): (Progress<'_>, u64, u64),
    ) -> Result<(), DatasetError> {
        let kib = |bytes: u64| usize::try_from(bytes.div_ceil(1_024)).unwrap_or(usize::MAX);
        let mut ended = false;
        while !ended {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while !ended && batch.len() < BATCH_LINES && bytes < BATCH_BYTES {
                match pieces.next()? {
                    Some(piece) => {
                        bytes += piece.bytes.len();
                        batch.push(piece);
                    }
                    None => ended = true,
                }
            }
            self.batch(path, batch, read)?;
            progress(kib(before + pieces.opened().read()), kib(total));
        }
        Ok(())
    }

    fn batch(
        &mut self,
        path: &Path,
        pieces: Vec<Piece>,
        read: &impl Reader,
    ) -> Result<(), DatasetError> {
        let parsed = map_each(pieces, self.build.threads, |mut piece| {
            let mut notes = Notes::default();
            let entry =
                read(&piece, &mut notes).map_err(|fault| piece_fault(path, &piece, fault))?;
            piece.bytes = Vec::new();
            Ok::<_, DatasetError>((piece, entry, notes))
        })?;
        let mut jobs = Vec::with_capacity(parsed.len());
        for (piece, entry, mut notes) in parsed {
            if let Some(fault) = notes.empty.take() {
                self.skipped.note(piece_fault(path, &piece, fault));
            }
            self.notes.add(notes);
            if let Some(entry) = entry {
                self.place(&piece, entry, &mut jobs)
                    .map_err(|fault| piece_fault(path, &piece, fault))?;
            }
        }
        self.make(jobs)
    }

    /// Decides where the rows of an entry belong.
    fn place(&mut self, piece: &Piece, entry: Entry, jobs: &mut Vec<Job>) -> Result<(), Fault> {
        let next = self.conversations.len();
        let named = entry.session.is_some();
        let place = match entry.session {
            None => next,
            Some(id) => match self.places.get(&id) {
                Some(&place) if self.rules.joined => place,
                Some(&place) => {
                    let line = self.lines[place];
                    let reason = format!(
                        "{} is the id of the session in line {line} already; every session needs its \
                         own",
                        quoted(&id)
                    );
                    return fault("session_id", reason);
                }
                None => {
                    self.places.insert(id.clone(), next);
                    self.conversation(id, piece.line);
                    next
                }
            },
        };
        if !named {
            let id = self.build.session_id(next);
            self.conversation(id, piece.line);
        }
        let rows = self.without_system(place, named, entry.rows, jobs);
        let before = self.sizes.get(&place).copied().unwrap_or(0);
        let size = before + rows.len();
        if named && self.rules.history {
            self.sizes.insert(place, size);
        }
        if self.rules.history && size > 1 && !self.build.converses() {
            let field = if before > 0 { "session_id" } else { "turns" };
            let reason = format!(
                "makes a conversation of several turns, which {} does not have; use --endpoint-type \
                 chat",
                self.build.bodies.endpoint.name()
            );
            return fault(field, reason);
        }
        let mut within = self.within.get(&place).copied().unwrap_or(true);
        for row in rows {
            self.timed += usize::from(row.at_ms.is_some());
            within = row.at_ms.map_or(within, |at| self.spec.takes(at));
            if within {
                self.job(place, row, jobs);
            } else {
                self.turns += 1;
                self.dropped += 1;
            }
        }
        if named && !within {
            self.within.insert(place, within);
        } else {
            self.within.remove(&place);
        }
        Ok(())
    }

    fn conversation(&mut self, session_id: String, line: usize) {
        self.conversations.push(Conversation {
            session_id,
            turns: Vec::new(),
        });
        self.lines.push(line);
    }

    fn job(&mut self, place: usize, row: Row, jobs: &mut Vec<Job>) {
        jobs.push(Job {
            place,
            number: self.turns,
            row,
            system: self.systems.get(&place).cloned(),
        });
        self.turns += 1;
    }

    /// Takes a leading system turn out of the rows: it becomes the session's system message, unless
    /// it stands alone or another system turn follows.
    fn without_system(
        &mut self,
        place: usize,
        named: bool,
        mut rows: Vec<Row>,
        jobs: &mut Vec<Job>,
    ) -> Vec<Row> {
        if !self.rules.leading_system || !self.build.sends_system() {
            return rows;
        }
        let goes_on = self.sizes.contains_key(&place);
        let is_system = |row: Option<&Row>| match row.map(|row| &row.what) {
            Some(What::TurnContent(said)) => said.role.as_deref() == Some("system"),
            _ => false,
        };
        if let Some(held) = self.held.remove(&place) {
            if is_system(rows.first()) {
                self.job(place, held, jobs);
            } else {
                self.keep_system(place, &held);
            }
        } else if !goes_on && rows.first().is_some_and(is_bare_system) {
            if rows.len() > 1 && !is_system(rows.get(1)) {
                let system = rows.remove(0);
                self.keep_system(place, &system);
            } else if rows.len() == 1 && named {
                self.held.extend(rows.pop().map(|row| (place, row)));
            }
        }
        rows
    }

    fn keep_system(&mut self, place: usize, row: &Row) {
        if let What::TurnContent(said) = &row.what {
            let texts: Vec<&str> = said.all_texts().collect();
            // It lives as long as later lines may ask for it.
            self.systems.insert(place, texts.join("\n").into());
        }
    }

    fn make(&mut self, jobs: Vec<Job>) -> Result<(), DatasetError> {
        let made = map_each(jobs, self.build.threads, |job| self.turn(job))?;
        for Made {
            place,
            mut turn,
            other_stream,
        } in made
        {
            self.other_stream += usize::from(other_stream);
            let turns = &mut self.conversations[place].turns;
            if turns.is_empty() {
                // The first has no turn before it to wait for.
                turn.delay = None;
                *turns = vec![turn];
            } else {
                turns.push(turn);
            }
        }
        Ok(())
    }

    fn turn(&self, job: Job) -> Result<Made, DatasetError> {
        let Job {
            place,
            number,
            row,
            system,
        } = job;
        let mut other_stream = false;
        let turn = match row.what {
            What::Body { bytes, fields } => {
                other_stream = streams(&fields) != self.build.bodies.streaming;
                let count = |tokenizer| input_length(&fields, tokenizer);
                Turn {
                    isl: self.build.tokenizer.and_then(count),
                    osl: output_limit(&fields),
                    body: bytes,
                    rope: None,
                    delay: None,
                    timestamp: None,
                    history: None,
                }
            }
            What::TurnContent(said) => {
                let ask = Ask {
                    system: system.as_deref(),
                    max_tokens: row.max_tokens.or_else(|| self.limits.at(number)),
                    extra: row.extra.as_ref(),
                    ..Ask::of(Content::TurnContent(said))
                };
                let body = self.build.body(number, ask)?;
                let history = self.rules.history && self.build.keeps_messages(row.extra.as_ref());
                self.build.turn(&body, None, history)?
            }
        };
        Ok(Made {
            place,
            turn: Turn {
                delay: row.delay_ms.map(millis),
                timestamp: row.at_ms.map(millis),
                ..turn
            },
            other_stream,
        })
    }

    /// The dataset of all that was taken.
    pub(super) fn finish(mut self) -> Result<Dataset, DatasetError> {
        let mut jobs = Vec::new();
        for (place, row) in std::mem::take(&mut self.held) {
            self.job(place, row, &mut jobs);
        }
        self.make(jobs)?;
        let mut warnings = self.warnings();
        let mut conversations = std::mem::take(&mut self.conversations);
        if let Some(fixed) = &self.spec.fixed {
            let first = conversations.iter().zip(&self.lines);
            let mut sent = first.filter(|(one, _)| !one.turns.is_empty());
            if let Some((_, &line)) = sent.find(|(one, _)| one.turns[0].timestamp.is_none()) {
                let reason = "is missing, and a fixed schedule needs one in the first turn of every \
                              session; add it, or leave out --fixed-schedule";
                let field = "timestamp";
                return Err(super::fault::line_fault(
                    &self.spec.path,
                    line,
                    field,
                    reason.to_owned(),
                ));
            }
            conversations.retain(|one| !one.turns.is_empty());
            conversations.sort_by_key(|one| one.turns[0].timestamp);
            let earliest = conversations.first().and_then(|one| one.turns[0].timestamp);
            let zero = match fixed.auto_offset {
                true => earliest.unwrap_or(Span::ZERO),
                false => Span::from_millis(fixed.start_ms.unwrap_or(0)),
            };
            let turns = conversations.iter().flat_map(|one| &one.turns);
            let stamps = turns.filter_map(|turn| Some(turn.timestamp?.as_millis_f64()));
            let change = "multiply them by 1000 in the file";
            warnings.extend(seconds::warning(&self.spec.path, stamps, change));
            conversations.truncate(self.spec.limit.unwrap_or(usize::MAX));
            for turn in conversations.iter_mut().flat_map(|one| &mut one.turns) {
                turn.timestamp = turn
                    .timestamp
                    .map(|at| Span::from_nanos(at.nanos().saturating_sub(zero.nanos())));
            }
        } else {
            for turn in conversations.iter_mut().flat_map(|one| &mut one.turns) {
                turn.timestamp = None;
            }
        }
        if conversations.is_empty() {
            let none = self.dropped == 0 && self.notes.left_out == 0;
            if let Some(error) = self.skipped.error().filter(|_| none) {
                return Err(error);
            }
            let path = self.spec.path.display();
            let what = match (self.dropped, self.notes.left_out) {
                (0, 0) => format!("{path} has no entries"),
                (0, _) => format!("no entry of {path} passes the rules of its format"),
                _ => format!("no line of {path} is within the offsets"),
            };
            return Err(DatasetError::Empty { what });
        }
        let mut lost = false;
        for one in &mut conversations {
            let whole = one.turns.len() > 1 && one.turns.iter().all(|turn| turn.history.is_some());
            lost |= self.rules.history && one.turns.len() > 1 && !whole;
            if !whole {
                one.turns.iter_mut().for_each(|turn| turn.history = None);
            }
            one.turns.shrink_to_fit();
        }
        conversations.shrink_to_fit();
        warnings.extend(lost.then(without_history));
        let all = conversations.iter_mut().flat_map(|one| &mut one.turns);
        warnings.extend(hold_delays(all, self.spec.delay_cap));
        Ok(Dataset {
            conversations,
            source: Source::File(self.spec.format.name),
            warnings,
        })
    }

    fn warnings(&self) -> Vec<Warning> {
        let mut said = Vec::new();
        let (path, notes) = (self.spec.path.display(), &self.notes);
        let name = self.spec.format.name;
        if !notes.unknown.is_empty() {
            let names = listed(&notes.unknown);
            said.push(format!(
                "{path}: fields that {name} does not have are ignored: {names}"
            ));
        }
        if !notes.roles.is_empty() {
            let names = listed(&notes.roles);
            said.push(format!(
                "{path}: roles that OpenAI's API does not have are sent as they are: {names}"
            ));
        }
        if notes.assistant > 0 {
            said.push(format!(
                "{path}: {} turns of the assistant are sent as requests of their own, and the \
                 server's replies stand beside them in the history; leave them out to let the server \
                 speak",
                notes.assistant
            ));
        }
        if notes.left_out > 0 {
            said.push(format!(
                "{path}: {} entries are left out by the rules of {name} (length of prompts and \
                 answers)",
                notes.left_out
            ));
        }
        if notes.cut > 0 {
            said.push(format!(
                "{path}: {} has no conversations of several turns; of {} entries only the first turn \
                 is sent",
                self.build.bodies.endpoint.name(),
                notes.cut
            ));
        }
        if self.dropped > 0 {
            said.push(format!(
                "{} of {} turns are outside of the fixed schedule's offsets and are not sent",
                self.dropped, self.turns
            ));
        }
        if self.timed > 0 && self.spec.fixed.is_none() {
            said.push(format!(
                "{path}: timestamps are not used; add --fixed-schedule to send by them"
            ));
        }
        if self.other_stream > 0 {
            let (have, flag) = match self.build.bodies.streaming {
                true => (
                    "do not ask for a stream, although --streaming is given",
                    "drop it",
                ),
                false => ("ask for a stream, but --streaming is not given", "add it"),
            };
            said.push(format!(
                "{path}: {} payloads {have}: they are sent as they are; {flag} for the right metrics",
                self.other_stream
            ));
        }
        if !notes.strangers.is_empty() {
            let names = listed(&notes.strangers);
            said.push(format!(
                "{path}: what these say is left out, since {name} does not know whether they ask or \
                 answer: {names}"
            ));
        }
        let skipped = self.skipped.warning();
        skipped
            .into_iter()
            .chain(said.into_iter().map(Warning))
            .collect()
    }
}

/// Whether a turn is nothing but a system message.
fn is_bare_system(row: &Row) -> bool {
    let What::TurnContent(given) = &row.what else {
        return false;
    };
    let bare = row.at_ms.is_none()
        && row.delay_ms.is_none()
        && row.max_tokens.is_none()
        && row.extra.is_none();
    let texts_only = given.images.is_empty() && given.audios.is_empty() && given.videos.is_empty();
    bare && texts_only && given.role.as_deref() == Some("system") && !turn_content::is_empty(given)
}
