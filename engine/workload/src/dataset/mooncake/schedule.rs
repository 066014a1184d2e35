//! Which lines of a trace are sent, in which conversations, and when.

use std::collections::HashMap;

use super::line::Line;
use super::{Build, DatasetError, FixedSpec, MooncakeSpec, Trace, Turn, millis, without_history};
use crate::dataset::seconds;
use crate::text::Warning;

/// The conversations of a run over a trace, not yet made.
pub(super) struct Plan {
    pub(super) sessions: Vec<Session>,
    pub(super) clock: Clock,
    pub(super) warnings: Vec<Warning>,
}

/// The lines of one conversation.
pub(super) struct Session {
    pub(super) id: String,
    /// Places among the trace's lines, never none.
    pub(super) lines: Vec<usize>,
    /// The turns take the history.
    pub(super) history: bool,
}

impl Session {
    /// Every line's place, with the session.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, &Self)> {
        self.lines.iter().map(move |&line| (line, self))
    }
}

/// What becomes of a line's times.
pub(super) struct Clock {
    /// The zero point of a fixed schedule in the trace's own time.
    zero: Option<f64>,
    speedup: f64,
    delays: bool,
}

impl Clock {
    /// The turn with the times of its line; the first of a conversation has nothing to wait for.
    pub(super) fn timed(&self, turn: Turn, line: &Line, first: bool) -> Turn {
        let at = |zero, ms| millis(self.scaled(ms) - self.scaled(zero));
        Turn {
            delay: line.delay_ms.filter(|_| self.delays && !first).map(millis),
            timestamp: self
                .zero
                .zip(line.timestamp_ms)
                .map(|(zero, ms)| at(zero, ms)),
            ..turn
        }
    }

    /// A time of the trace sped up: as the reference, to the whole millisecond below.
    fn scaled(&self, ms: f64) -> f64 {
        if self.speedup == 1.0 {
            ms
        } else {
            (ms / self.speedup).trunc()
        }
    }
}

/// The lines that are sent, in their conversations and in file order.
pub(super) struct Chosen {
    sessions: Vec<Session>,
    warnings: Vec<Warning>,
}

impl Chosen {
    /// The places of all lines, session by session.
    pub(super) fn places(&self) -> Vec<usize> {
        let sessions = self.sessions.iter();
        sessions.flat_map(|one| one.lines.iter().copied()).collect()
    }
}

/// Sorts the lines into conversations and leaves out what is outside of the offsets or too long.
pub(super) fn choose(
    spec: &MooncakeSpec,
    trace: &Trace,
    build: &Build<'_>,
) -> Result<Chosen, DatasetError> {
    let mut warnings = Vec::new();
    let all = trace.lines.len();
    let mut left = all;
    let mut sessions = sessions(trace, build);
    let mut leave = |keep: &dyn Fn(&mut Vec<usize>), why: &str| {
        sessions.iter_mut().for_each(|one| keep(&mut one.lines));
        sessions.retain(|one| !one.lines.is_empty());
        let now: usize = sessions.iter().map(|one| one.lines.len()).sum();
        let dropped = left - now;
        left = now;
        if dropped > 0 {
            warnings.push(Warning(format!(
                "{dropped} of {all} lines are {why} and are not sent"
            )));
        }
        now > 0
    };
    if let Some(fixed) = &spec.fixed
        && !leave(
            &|lines| within(fixed, &trace.lines, lines),
            "outside of the fixed schedule's offsets",
        )
    {
        let what = format!("no line of {} is within the offsets", trace.path.display());
        return Err(DatasetError::Empty { what });
    }
    let short = |line: &usize| spec.synthesis.keeps(&trace.lines[*line]);
    if !leave(
        &|lines| lines.retain(short),
        "longer than --synthesis-max-isl",
    ) {
        let what = format!(
            "every line of {} is longer than --synthesis-max-isl",
            trace.path.display()
        );
        return Err(DatasetError::Empty { what });
    }
    let mut sent = sessions.iter().flat_map(|one| &one.lines);
    if spec
        .synthesis
        .idle(sent.by_ref().map(|&line| &trace.lines[line]))
    {
        let said = "the --synthesis multipliers of prefixes and prompts change nothing: no line has \
                    hash_ids";
        warnings.push(Warning(said.to_owned()));
    }
    Ok(Chosen { sessions, warnings })
}

/// Takes those conversations that are wanted, in their order, and sets the clock.
pub(super) fn plan(
    spec: &MooncakeSpec,
    trace: &Trace,
    build: &Build<'_>,
    chosen: Chosen,
) -> Result<Plan, DatasetError> {
    let Chosen {
        mut sessions,
        mut warnings,
    } = chosen;
    let zero = match &spec.fixed {
        Some(fixed) => Some(sort(fixed, trace, &mut sessions)?),
        None => None,
    };
    if zero.is_some() && spec.ignore_delays {
        let said = "--ignore-trace-delays changes nothing with a fixed schedule";
        warnings.push(Warning(said.to_owned()));
    }
    if zero.is_none() && spec.speedup != 1.0 {
        let said = "--synthesis-speedup-ratio changes nothing without a fixed schedule";
        warnings.push(Warning(said.to_owned()));
    }
    if zero.is_some() && spec.speedup == 1.0 {
        let sent = sessions.iter().flat_map(|one| &one.lines);
        let stamps = sent.filter_map(|&line| trace.lines[line].timestamp_ms);
        let change = "add --synthesis-speedup-ratio 0.001, or multiply them by 1000 in the file";
        warnings.extend(seconds::warning(&trace.path, stamps, change));
    }
    sessions.truncate(spec.limit.unwrap_or(usize::MAX));
    let mut replaced = false;
    for session in &mut sessions {
        let lines = || session.lines.iter().map(|&line| &trace.lines[line]);
        let takes = session.lines.len() > 1 && lines().all(|line| line.ask.kind() == "prompts");
        let keeps = lines().all(|line| build.keeps_messages(line.extra.as_ref()));
        replaced |= takes && !keeps;
        session.history = takes && keeps;
    }
    warnings.extend(replaced.then(without_history));
    Ok(Plan {
        sessions,
        clock: Clock {
            zero,
            speedup: spec.speedup,
            delays: zero.is_some() || !spec.ignore_delays,
        },
        warnings,
    })
}

/// The sessions of the trace in file order.
fn sessions(trace: &Trace, build: &Build<'_>) -> Vec<Session> {
    let groups = grouped(&trace.lines).into_iter().enumerate();
    let sessions = groups.map(|(n, (id, lines))| Session {
        id: id.map_or_else(|| build.session_id(n), str::to_owned),
        lines,
        history: false,
    });
    sessions.collect()
}

/// The lines by session, in the order in which the sessions first appear.
fn grouped(lines: &[Line]) -> Vec<(Option<&str>, Vec<usize>)> {
    let mut sessions: Vec<(Option<&str>, Vec<usize>)> = Vec::new();
    let mut places = HashMap::new();
    for (index, line) in lines.iter().enumerate() {
        let id = line.session_id.as_deref();
        let next = sessions.len();
        let place = id.map_or(next, |id| *places.entry(id).or_insert(next));
        if place == next {
            sessions.push((id, Vec::new()));
        }
        sessions[place].1.push(index);
    }
    sessions
}

/// Keeps the lines of a session whose timestamps are within the offsets, ends included. A line
/// without one follows the line before it.
fn within(fixed: &FixedSpec, all: &[Line], lines: &mut Vec<usize>) {
    let start = fixed.start_ms.map_or(f64::NEG_INFINITY, |ms| ms as f64);
    let end = fixed.end_ms.map_or(f64::INFINITY, |ms| ms as f64);
    let mut kept = true;
    lines.retain(|&line| {
        if let Some(at) = all[line].timestamp_ms {
            kept = (start..=end).contains(&at);
        }
        kept
    });
}

/// Sorts the sessions by their first timestamps and returns the zero point.
fn sort(
    fixed: &FixedSpec,
    trace: &Trace,
    sessions: &mut Vec<Session>,
) -> Result<f64, DatasetError> {
    let mut timed = Vec::with_capacity(sessions.len());
    for session in sessions.drain(..) {
        let line = &trace.lines[session.lines[0]];
        let at = line.timestamp_ms.ok_or_else(|| {
            let reason = "is missing, and a fixed schedule needs one in the first line of every \
                          session; add it, or add --no-fixed-schedule";
            trace.fault(line.number, "timestamp", reason.to_owned())
        })?;
        timed.push((at, session));
    }
    timed.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let earliest = timed.first().map_or(0.0, |(at, _)| *at);
    sessions.extend(timed.into_iter().map(|(_, session)| session));
    Ok(if fixed.auto_offset {
        earliest
    } else {
        fixed.start_ms.map_or(0.0, |ms| ms as f64)
    })
}
