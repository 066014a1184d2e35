//! What tells of a release, each by itself: what the server holds, what it has finished, what it
//! has generated, and whether it still answers. The verdict is that of the worst of them.

use pinfire_base::clock::{Span, Stamp};
use pinfire_scrape::{Levels, server_kinds::Counted as Counts};

use super::{
    Answers, Asker, End, Evidence, LevelSample, Manner, RequestSpan, Wave, WaveReport,
    finding::{Finding, Source, TokensForNobody, Witness},
    timeline::Wanted,
};

/// Release up to this long is at once, in seconds: a sample or two, and the server's own step.
pub(super) const AT_ONCE: f64 = 0.5;
/// A count may be off by this share of what was asked: other traffic, or a counter of another kind.
const COUNT_SLACK: f64 = 0.05;
/// Tokens that a server may have under way as its client leaves: steps that are scheduled already.
/// A request that was left so close to its end may have been finished before the server knew.
const UNDER_WAY: f64 = 3.0;
/// A page may be older than it was seen to be as a load began, by this factor.
const OLDER: f64 = 1.5;
/// The page shows too few requests if it lacks more than this, or than this share of many.
const TOO_FEW: f64 = 0.5;
const TOO_FEW_OF_MANY: f64 = 0.02;
/// The page is that of all requests if it has shown this share of them.
const SEES_ALL: f64 = 0.95;
/// What is let go within so many seconds in a run is let go at once for certain.
const SOON: f64 = 0.3;
/// A mean so small, in seconds, leaves no room for requests that were held for long.
const SMALL: f64 = 0.05;
/// So many samples with nothing to hide behind would have shown what was held for longer.
const ENOUGH_ALONE: usize = 20;
/// An answer that has ended may still be shown for so many seconds.
const PASSING: f64 = 0.05;
/// Answers whose lengths differ by no more than this share are of one length.
const ONE_LENGTH: f64 = 0.05;
/// So many samples at the end of a wave are its rest.
pub(super) const AT_REST: usize = 3;
/// Where nothing but the area between the curves tells of a run, so much of the cancels may be
/// unknown, in percent.
const MOST_UNKNOWN_PCT: f64 = 10.0;

/// What a wave tells of how long its cancelled requests were held.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Stay {
    /// Requests that were left.
    pub cancels: u64,
    /// Seconds behind the last cancel at which what is still held is counted.
    pub limit: f64,
    /// Requests still held then.
    pub still: Still,
    /// Until when they were.
    pub until: Until,
    /// Seconds behind the last cancel from which on nothing was held any more; absent if the last
    /// sample shows something.
    pub rest: Option<f64>,
}

/// Requests that are still held when they should have been let go at once.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Still {
    /// So many.
    Held(u64),
    /// No sample was taken in time: the machine was busy.
    NotSampled,
    /// No sample tells.
    Unseen,
    /// The page showed fewer requests than the client had out: it is not that of all of them, or
    /// others have left, and what is missing may hide what is held.
    TooFew,
}

/// Until when something was held.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Until {
    /// Not as long as the answers would have taken, or longer.
    Another,
    /// Until the answers would have ended.
    TheEnd,
    /// No sample tells.
    Unseen,
}

/// What samples of a wave are held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// What the server held before the wave.
    pub floor: f64,
    /// From one sample to the next.
    pub interval: Span,
    /// The longest for which the page has not shown a load that had begun, in seconds.
    pub sight: f64,
    /// What a request alone takes, in seconds.
    pub alone: f64,
}

impl Stay {
    /// Of a wave. The server held `base` before anything was cancelled.
    pub(super) fn of(wave: &Wave, scale: Scale, base: f64, manner: Manner) -> Option<Self> {
        let at = wave.instant()?;
        let left = wave.left();
        let cancels = left.count() as u64;
        // Where that is no fault, a natural end is as good a release as any.
        let by_itself = manner.may_end_by_itself();
        let [remaining, longest] = match by_itself {
            true => [f64::INFINITY; 2],
            false => wave.remaining(at, scale.alone),
        };
        // What the page shows may be so old.
        let old = OLDER * scale.sight + scale.interval.as_secs_f64();
        // A request that would have ended by then tells nothing by not being there.
        let soon = AT_ONCE.min(remaining / 2.0);
        let limit = soon.max(old);
        let wanted = Wanted::of_wave(wave);
        let beyond = |sample: &LevelSample| {
            let held = sample.levels?.held()?;
            Some(held - scale.floor - wanted.at(sample.at) as f64)
        };
        let inside = |from: f64, to: f64| {
            let (from, to) = (at + Span::from_secs_f64(from), at + Span::from_secs_f64(to));
            let samples = wave.samples.iter();
            samples.filter(move |sample| sample.at >= from && sample.at <= to)
        };
        let between = |from: f64, to: f64| -> Vec<f64> {
            let mut known: Vec<f64> = inside(from, to).filter_map(beyond).collect();
            known.sort_by(f64::total_cmp);
            known
        };
        let few = (3.0 * scale.interval.as_secs_f64()).max(0.06);
        let end = 0.9 * remaining;
        // Where no request has begun since, a page that has shown the load and then what is wanted
        // alone is conclusive, however old it is.
        let early = between(soon, end.min(soon + few));
        let gone = wave.quiet && wave.has_shown(scale.floor) && fits(&early);
        let limit = if gone { soon } else { limit };
        let mut known = between(limit, end.min(limit + few));
        if known.is_empty() {
            known = between(limit, end);
        }
        if known.is_empty() && by_itself {
            // Sooner at rest than that: nothing has come since.
            let rest = &wave.samples[wave.samples.len().saturating_sub(AT_REST)..];
            known = rest
                .iter()
                .filter(|sample| sample.at > at)
                .filter_map(beyond)
                .collect();
            known.sort_by(f64::total_cmp);
        }
        // What was let go before is not held then.
        let before = mostly(&between(old, limit.min(end))) == Some(0.0);
        let out = wanted.at(at + Span::from_secs_f64(limit)) as f64;
        let too_few = known
            .get(known.len() / 2)
            .map(|beyond| beyond + scale.floor - base)
            .is_some_and(|beyond| beyond < -TOO_FEW.max(TOO_FEW_OF_MANY * out));
        let sampled = inside(limit, end).next().is_some();
        let still = match mostly(&known) {
            _ if !by_itself && wave.sight(scale.floor).is_none() => Still::Unseen,
            None if before => Still::Held(0),
            None if sampled || limit >= end => Still::Unseen,
            None => Still::NotSampled,
            Some(_) if too_few && known.len() < 3 => Still::NotSampled,
            Some(_) if too_few => Still::TooFew,
            Some(beyond) => Still::Held((beyond as u64).min(cancels)),
        };
        let rests = |sample: &&LevelSample| beyond(sample).is_some_and(|beyond| beyond < 0.5);
        let resting = wave.samples.iter().rev().take_while(rests);
        let before_end = (0.97 * remaining - few).min(0.9 * remaining).max(limit);
        let until = mostly(&between(before_end, 0.97 * remaining))
            .or_else(|| mostly(&between(limit.max(0.75 * remaining), 0.97 * remaining)));
        let after = 1.1 * longest + few + old;
        let after = mostly(&between(after, after + few))
            .or_else(|| mostly(&between(after, after + few + remaining.max(AT_ONCE))));
        let until = match (until, after) {
            _ if by_itself => Until::Another,
            (None, _) => Until::Unseen,
            (Some(until), after) if until > 0.0 && after.is_none_or(|after| after < until) => {
                Until::TheEnd
            }
            _ => Until::Another,
        };
        Some(Self {
            cancels,
            limit,
            still,
            until,
            rest: resting
                .last()
                .map(|sample| sample.at.since(at).as_secs_f64()),
        })
    }

    /// How many were still held, if a sample tells.
    pub(super) const fn held(&self) -> Option<u64> {
        match self.still {
            Still::Held(still) => Some(still),
            Still::NotSampled | Still::Unseen | Still::TooFew => None,
        }
    }
}

/// Whether ascending samples show what is wanted, no more and no less.
fn fits(known: &[f64]) -> bool {
    let middle = known.get(known.len() / 2);
    middle.is_some_and(|beyond| beyond.abs() < 0.5) && mostly(known) == Some(0.0)
}

/// What ascending samples show most of the time, as a whole number: where requests begin and end
/// meanwhile, one of them is too much or too little.
fn mostly(known: &[f64]) -> Option<f64> {
    let beyond = *known.get(known.len() / 2)?;
    let held = known.iter().filter(|beyond| **beyond >= 0.5).count();
    Some(if 5 * held >= 3 * known.len() {
        beyond.round().max(0.0)
    } else {
        0.0
    })
}

impl Wave {
    /// Seconds from `at` until the answers that begun before have come to their own ends, the first
    /// of them but for a few and the last: those of the requests that stayed, or else as a request
    /// alone takes.
    fn remaining(&self, at: Stamp, alone: f64) -> [f64; 2] {
        let survivors = self.requests.iter();
        let survivors = survivors.filter(|seen| seen.end == End::Answered && seen.begun < at);
        let mut ends: Vec<f64> = survivors
            .map(|seen| seen.ended.since(at).as_secs_f64())
            .collect();
        if ends.is_empty() {
            let left = self.left();
            let rest = left.map(|seen| alone - at.since(seen.begun).as_secs_f64());
            ends.extend(rest.map(|rest| rest.max(0.0)));
        }
        ends.sort_by(f64::total_cmp);
        let first = ends.get(ends.len() / 10).copied();
        let last = ends.last().copied();
        [first.unwrap_or(alone), last.unwrap_or(alone)]
    }

    /// Whether a sample before the first cancel shows all that the client has out, beyond `floor`.
    fn has_shown(&self, floor: f64) -> bool {
        let Some(first) = self.left().map(|seen| seen.ended).min() else {
            return false;
        };
        let out = Wanted::of(self.requests.iter());
        let before = self.samples.iter().filter(|sample| sample.at < first);
        let most = before.filter_map(|sample| {
            let wanted = out.at(sample.at) as f64;
            let held = sample.levels?.held()?;
            Some(wanted > 1.0 && held - floor >= wanted - 0.5)
        });
        most.into_iter().any(|shown| shown)
    }

    /// Seconds for which the page has not shown the half of what the client has out, beyond
    /// `floor`; absent if it never does.
    pub(super) fn sight(&self, floor: f64) -> Option<f64> {
        self.unseen_for(|held, wanted| held - floor >= wanted / 2.0)
    }

    /// The same of a page that has a part of the load only: for which it has not shown the half of
    /// the most that it shows.
    pub(super) fn sight_of_a_part(&self, floor: f64) -> Option<f64> {
        let out = Wanted::of(self.requests.iter());
        let under_load = self.samples.iter().filter(|sample| out.at(sample.at) > 0);
        let held = under_load.filter_map(|sample| sample.levels?.held());
        let most = held.fold(0.0, f64::max) - floor;
        self.unseen_for(|held, _| most >= 0.5 && held - floor >= most / 2.0)
    }

    /// Seconds from the first request to the last sample before the first of which this holds, by
    /// what it shows and by what the client has out: the page is known to have been so old.
    fn unseen_for(&self, holds: impl Fn(f64, f64) -> bool) -> Option<f64> {
        let begun = self.requests.iter().map(|seen| seen.begun).min()?;
        let out = Wanted::of(self.requests.iter());
        let mut last = 0.0;
        for sample in self.samples.iter().filter(|sample| sample.at >= begun) {
            let wanted = out.at(sample.at) as f64;
            let Some(held) = sample.levels.and_then(|levels| levels.held()) else {
                continue;
            };
            if wanted > 0.0 && holds(held, wanted) {
                return Some(last);
            }
            last = sample.at.since(begun).as_secs_f64();
        }
        None
    }
}

/// All witnesses, and the tokens.
pub(super) fn all(
    evidence: &Evidence,
    waves: &[WaveReport],
    stays: &[Option<Stay>],
    leak: [f64; 2],
) -> (Vec<Witness>, Option<TokensForNobody>) {
    let (tokens, nobody) = tokens(evidence, stays);
    let finished = finished(evidence);
    let witnesses = vec![
        held(evidence, waves, stays, leak, finished.none_ran_on),
        finished.witness,
        tokens,
        canaries(evidence, waves),
    ];
    (witnesses, nobody)
}

fn cancels_of(stays: &[Option<Stay>]) -> u64 {
    stays.iter().flatten().map(|stay| stay.cancels).sum()
}

/// What the server holds. `leak`: requests and cache that never came back, the cache as a share of
/// what counts as a leak. `none_ran_on`: its counters show that none has come to its natural end,
/// so that what is gone then was let go.
fn held(
    evidence: &Evidence,
    waves: &[WaveReport],
    stays: &[Option<Stay>],
    [leaked, cache]: [f64; 2],
    none_ran_on: bool,
) -> Witness {
    const HERE: Source = Source::Held;
    let cancels = cancels_of(stays);
    if evidence.before.iter().all(|sample| sample.levels.is_none()) {
        return Witness::silent(HERE, "the page could not be read before the load");
    }
    let shown = waves.iter().any(|wave| wave.held_at_rest.is_some());
    let cache_shown = waves.iter().any(|wave| wave.cache_at_rest.is_some());
    if leaked >= 0.5 {
        let leaked = leaked.round() as u64;
        let says = format!("{leaked} still held at the end");
        return Witness::new(HERE, Finding::Leaked, says).about(leaked, cancels);
    }
    if cache > 1.0 {
        return Witness::new(
            HERE,
            Finding::Leaked,
            "blocks of the cache are still in use",
        );
    }
    if !shown {
        return Witness::silent(
            HERE,
            match cache_shown {
                true => "the page shows the cache alone",
                false => "the page shows neither running nor waiting requests",
            },
        );
    }
    if !evidence.page_sees_the_load() {
        return Witness::silent(
            HERE,
            "the page did not show all of this load: is it that of the right server, and of all of them?",
        );
    }
    if evidence.asker == Asker::Run {
        return held_in_a_run(evidence, waves, none_ran_on);
    }
    held_in_waves(evidence, waves, stays, none_ran_on)
}

fn held_in_waves(
    evidence: &Evidence,
    waves: &[WaveReport],
    stays: &[Option<Stay>],
    none_ran_on: bool,
) -> Witness {
    const HERE: Source = Source::Held;
    let known: Vec<&Stay> = stays.iter().flatten().collect();
    let cancels = cancels_of(stays);
    let of_seen = known.iter().filter(|stay| stay.held().is_some());
    let seen: u64 = of_seen.map(|stay| stay.cancels).sum();
    let still: u64 = known.iter().filter_map(|stay| stay.held()).sum();
    let limit = known.iter().map(|stay| stay.limit).fold(0.0, f64::max);
    let kept = || known.iter().filter(|stay| stay.held() > Some(0));
    let may_hold_on = evidence.manner.held_on().is_some();
    let to_the_end = kept().any(|stay| stay.until == Until::TheEnd);
    let says = format!("{still} of {seen} still held {limit:.2} s after the cancel");
    if to_the_end && !may_hold_on {
        let ran_on = kept().filter(|stay| stay.until != Until::Another);
        let ran_on = ran_on.filter_map(|stay| stay.held()).sum();
        let of_them = match ran_on == still {
            true => String::new(),
            false => format!("{ran_on} of them "),
        };
        let says = format!("{says}, {of_them}until their answers would have ended");
        return Witness::new(HERE, Finding::RanOn, says).about(ran_on, seen);
    }
    // What was not seen may be worse than what was.
    if known.iter().any(|stay| stay.still == Still::TooFew) {
        return Witness::silent(
            HERE,
            "the page showed fewer requests than were out: is it that of all servers, and are there no \
             other clients?",
        );
    }
    let rests = || known.iter().map(|stay| stay.rest);
    if seen == 0
        && none_ran_on
        && let Some(rest) = rests()
            .reduce(|one, other| Some(one?.max(other?)))
            .flatten()
        && rest <= AT_ONCE
    {
        let says = format!(
            "nothing held {rest:.2} s after the cancel; the answers would have ended before that, and none \
             has by its counters"
        );
        return Witness::new(HERE, Finding::AtOnce, says);
    }
    if seen == 0 {
        return Witness::silent(
            HERE,
            "no sample between a cancel and the natural end of the answers: give a shorter \
             --metrics-interval or longer answers (--osl)",
        );
    }
    if still > 0 && may_hold_on {
        return Witness::new(HERE, Finding::Late, says).about(still, seen);
    }
    // Nothing of what was not seen has run to its end where the server counts what has.
    let missed = known.iter().filter(|stay| match stay.still {
        Still::Held(_) => false,
        _ if none_ran_on && stay.rest.is_some_and(|rest| rest <= AT_ONCE) => false,
        Still::NotSampled if none_ran_on => 2 * seen < cancels,
        Still::NotSampled => 100.0 * (cancels - seen) as f64 > MOST_UNKNOWN_PCT * cancels as f64,
        Still::Unseen | Still::TooFew => true,
    });
    if missed.count() > 0 || !waves.iter().all(WaveReport::is_known_at_rest) {
        let says = format!(
            "only {seen} of {cancels} cancels fell into a time that the page shows: it was not there all \
             the time, or is too slow for these answers (--osl)"
        );
        return Witness::silent(HERE, says);
    }
    if still == 0 && limit > AT_ONCE {
        let says = format!(
            "none of {seen} held {limit:.2} s after the cancel, and the page is too slow to tell sooner"
        );
        return Witness::new(HERE, Finding::Late, says);
    }
    if still == 0 {
        let says = match evidence.manner.unsent {
            true => format!("nothing was held for {seen} that had not reached the server whole"),
            false => format!("none of {seen} held {limit:.2} s after the cancel"),
        };
        if seen < cancels && !none_ran_on {
            let unseen = 100.0 * (cancels - seen) as f64 / cancels as f64;
            let says = format!("{says}; of {cancels} the others were not seen in time");
            return Witness::new(HERE, Finding::AtOnce, says).but_for(unseen);
        }
        return Witness::new(HERE, Finding::AtOnce, says);
    }
    if kept().any(|stay| stay.until == Until::Unseen) && !none_ran_on {
        let says = format!("{says}, and the page is too slow to tell until when");
        return Witness::silent(HERE, says);
    }
    Witness::new(HERE, Finding::Late, says).about(still, seen)
}

/// Of a run, where requests begin and end all the time.
fn held_in_a_run(evidence: &Evidence, waves: &[WaveReport], none_ran_on: bool) -> Witness {
    const HERE: Source = Source::Held;
    let run = waves.first();
    let mean = run.and_then(|wave| wave.held_per_cancel_s);
    let after = run.and_then(|wave| wave.released_after_s);
    let (Some(mean), Some(wave)) = (mean, evidence.waves.first()) else {
        return Witness::silent(HERE, "too few samples while the load ran");
    };
    let floor = evidence.held_before();
    let late = mean > AT_ONCE
        || after.is_some_and(|after| after > AT_ONCE)
        || wave.overdue(floor, AT_ONCE).pairs > 0;
    let each = format!("each held for {mean:.2} s on average while the load ran");
    if late {
        let last = match after.filter(|after| *after > AT_ONCE) {
            Some(after) => format!(", the last for {after:.2} s"),
            None => {
                let most = 100.0 * (mean / AT_ONCE).min(1.0);
                format!(
                    ", so that up to {most:.0} % can have been held for longer than {AT_ONCE} s"
                )
            }
        };
        return Witness::new(HERE, Finding::Late, format!("{each}{last}"));
    }
    let soon = wave.overdue(floor, SOON);
    if soon.pairs > 0 || (mean > SMALL && soon.alone < ENOUGH_ALONE) {
        let says = format!("{each}: all for so long, or a few for much longer");
        return Witness::silent(HERE, says);
    }
    if none_ran_on {
        return Witness::new(HERE, Finding::AtOnce, each);
    }
    // What is begun and what has ended is shown with a delay, so that the area between the curves
    // may come out too small by as much as it may be too large.
    let off = run.map_or(mean, |wave| mean.max(-wave.held_less_s)) + evidence.noise_s();
    let most = 100.0 * (off / AT_ONCE).min(1.0);
    let says = format!(
        "each held for {mean:.2} s on average, so that up to {most:.0} % can have been held for longer \
         than {AT_ONCE} s"
    );
    match most <= MOST_UNKNOWN_PCT {
        true => Witness::new(HERE, Finding::AtOnce, says).but_for(most),
        false => Witness::silent(HERE, says),
    }
}

/// What was told by the server's count of finished requests.
struct Finished {
    witness: Witness,
    /// It counts those that were answered, and not one more or less.
    none_ran_on: bool,
}

impl From<Witness> for Finished {
    fn from(witness: Witness) -> Self {
        Self {
            witness,
            none_ran_on: false,
        }
    }
}

/// Samples of a run that show more than has been left a short time before.
struct Overdue {
    /// Two of them in a row.
    pairs: usize,
    /// Samples before which nothing had ended for so long: only these can show it.
    alone: usize,
}

impl Wave {
    /// Samples that show requests, beyond `floor` and what the client wants, which it had left more
    /// than so many seconds before.
    fn overdue(&self, floor: f64, seconds: f64) -> Overdue {
        let wanted = Wanted::of_wave(self);
        let ends = |of: End| {
            let ends = self.requests.iter().filter(move |seen| seen.end == of);
            let mut ends: Vec<Stamp> = ends.map(|seen| seen.ended).collect();
            ends.sort_unstable();
            ends
        };
        let (left, answered) = (ends(End::Disconnected), ends(End::Answered));
        let between = |ends: &[Stamp], at: Stamp, seconds: f64| {
            let before = |limit: Stamp| ends.partition_point(|&end| end <= limit);
            let from = at
                .nanos()
                .saturating_sub(Span::from_secs_f64(seconds).nanos());
            before(at) - before(Stamp::from_nanos(from))
        };
        let known = self.samples.iter().filter_map(|sample| {
            let beyond = sample.levels?.held()? - floor - wanted.at(sample.at) as f64;
            let may = between(&left, sample.at, seconds) + between(&answered, sample.at, PASSING);
            Some((beyond >= may as f64 + 0.5, may == 0))
        });
        let known: Vec<(bool, bool)> = known.collect();
        Overdue {
            pairs: known
                .windows(2)
                .filter(|pair| pair.iter().all(|of| of.0))
                .count(),
            alone: known.iter().filter(|of| of.1).count(),
        }
    }
}

/// Requests that were left and that the server finished as if nobody had.
fn finished(evidence: &Evidence) -> Finished {
    const HERE: Source = Source::Finished;
    let silent = |why: String| Witness::silent(HERE, why).into();
    if let Some(why) = evidence.manner.still_there() {
        return silent(why.to_owned());
    }
    let counts = evidence.known.finished;
    let Some(counted) = Counted::of(evidence, |levels| levels.finished) else {
        return silent("this server shows no count that leaves aborted requests out".to_owned());
    };
    if counts == Some(Counts::WithAborted) {
        return silent("this server counts aborted requests among the finished ones".to_owned());
    }
    if counted.restarted {
        return silent("the server's counters began anew".to_owned());
    }
    // A batch may be several sequences.
    let each = evidence.of_one().finished.unwrap_or(1.0);
    let of_one = counts == Some(Counts::Requests);
    if each < 0.99 || (each - each.round()).abs() > 0.01 || (of_one && each > 1.01) {
        return silent(format!("it counts {each:.2} for one request alone"));
    }
    let answered = evidence.answers(counted.until).requests;
    let beyond = counted.grown / each - answered as f64;
    let cancels = evidence.cancels();
    let slack = (COUNT_SLACK * answered as f64).max(1.0);
    if beyond < -slack {
        let fewer = -beyond;
        return silent(format!(
            "it counts {fewer:.0} requests fewer than were answered"
        ));
    }
    if beyond > cancels as f64 + slack {
        return silent(format!(
            "it counts {beyond:.0} requests that are not of this test"
        ));
    }
    let ran_on = beyond.round().max(0.0) as u64;
    let nearly_done = evidence.nearly_done();
    if ran_on == 0 {
        let says = format!("no cancelled request among the {answered} that it finished");
        return Finished {
            witness: Witness::new(HERE, Finding::AtOnce, says),
            none_ran_on: beyond > -0.5,
        };
    }
    if ran_on <= nearly_done {
        let says = format!(
            "{ran_on} cancelled requests were finished, and {nearly_done} were left within a few tokens of \
             their ends"
        );
        return silent(says);
    }
    let says = format!("{ran_on} of {cancels} cancelled requests ran to their end");
    let found = Witness::new(HERE, Finding::RanOn, says);
    found.about(ran_on, cancels).into()
}

/// Tokens that were generated and reached nobody.
fn tokens(evidence: &Evidence, stays: &[Option<Stay>]) -> (Witness, Option<TokensForNobody>) {
    const HERE: Source = Source::Tokens;
    let silent = |why: &str| (Witness::silent(HERE, why), None);
    if let Some(why) = evidence.manner.still_there() {
        return silent(why);
    }
    let Some(counted) = Counted::of(evidence, |levels| levels.output_tokens) else {
        return silent("this server does not count the tokens that it generates");
    };
    match evidence.known.tokens {
        None => {
            return silent(
                "whether this server counts the tokens of aborted requests is not known",
            );
        }
        Some(counted) if !counted.has_aborted() => {
            return silent("this server's count leaves the tokens of aborted requests out");
        }
        Some(_) => {}
    }
    if evidence.manner.whole_answers {
        return silent(
            "no token reaches the client of an answer that is not a stream before its end",
        );
    }
    if counted.restarted {
        return silent("the server's counters began anew");
    }
    // Tokens for each event that reaches a client: one of a request alone tells.
    let each = evidence.of_one().tokens.unwrap_or(1.0);
    if each < 0.9 {
        return silent("it counts fewer tokens than reach the client");
    }
    let cancels = evidence.cancels();
    let received = evidence.answers(counted.until).events;
    let nobody = (counted.grown - each * received as f64).max(0.0);
    let per_cancel = nobody / cancels.max(1) as f64;
    let figures = TokensForNobody {
        tokens: nobody,
        per_cancel,
        share_pct: 100.0 * nobody / counted.grown.max(1.0),
    };
    let says = format!(
        "{nobody:.0} tokens for nobody, {per_cancel:.1} per cancel, {:.1} % of all",
        figures.share_pct
    );
    // What comes within the time that still is at once, of one stream.
    let limit = stays
        .iter()
        .flatten()
        .map(|stay| stay.limit)
        .fold(0.0, f64::max);
    let limit = if stays.iter().any(Option::is_some) {
        limit
    } else {
        AT_ONCE
    };
    let allowed = UNDER_WAY * each + limit * each * evidence.events_per_second().unwrap_or(0.0);
    let finding = match per_cancel > allowed {
        true => Finding::Late,
        false => Finding::AtOnce,
    };
    (Witness::new(HERE, finding, says), Some(figures))
}

/// Whether the server still answers.
fn canaries(evidence: &Evidence, waves: &[WaveReport]) -> Witness {
    const HERE: Source = Source::Canaries;
    if !evidence.first_canary.answered {
        return Witness::silent(
            HERE,
            "the server did not answer before anything was cancelled",
        );
    }
    match waves.last() {
        Some(wave) if !wave.canary.answered && wave.canary.refused => {
            Witness::new(HERE, Finding::Died, "nobody accepts connections any more")
        }
        Some(wave) if !wave.canary.answered => Witness::new(
            HERE,
            Finding::Wedged,
            "a request alone is not answered any more",
        ),
        _ => Witness::new(
            HERE,
            Finding::AtOnce,
            format!("{} of {0} answered", waves.len()),
        ),
    }
}

/// How far a counter moved over the test.
struct Counted {
    /// From the rest before everything to the last sample.
    grown: f64,
    /// It began anew in between.
    restarted: bool,
    /// When the last sample was made.
    until: Stamp,
}

impl Counted {
    fn of(evidence: &Evidence, of: fn(&Levels) -> Option<f64>) -> Option<Self> {
        let first = evidence
            .before
            .iter()
            .rev()
            .find_map(|sample| sample.levels)?;
        let last = evidence.waves.iter().rev();
        let mut last = last.flat_map(|wave| wave.samples.iter().rev());
        let (until, last) = last.find_map(|sample| {
            let levels = sample.levels.filter(|levels| of(levels).is_some())?;
            Some((sample.at, levels))
        })?;
        // What first shows in the middle was nothing before.
        let before = of(&first).unwrap_or(0.0);
        Some(Self {
            grown: of(&last)? - before,
            restarted: last.restarts > first.restarts,
            until,
        })
    }
}

impl Evidence {
    fn requests(&self) -> impl Iterator<Item = &RequestSpan> {
        let waves = self.waves.iter().flat_map(|wave| &wave.requests);
        self.control.iter().chain(waves)
    }

    /// What was answered between the rest before everything and that sample. The canary behind the
    /// last wave may have been later.
    fn answers(&self, until: Stamp) -> Answers {
        let mut all = self.alone;
        for seen in self.requests() {
            all.requests += u64::from(seen.end == End::Answered);
            all.events += seen.events;
        }
        for canary in self.waves.iter().map(|wave| &wave.canary) {
            let ended = canary.begun + Span::from_secs_f64(canary.took_ms / 1e3);
            if ended <= until {
                all.add(canary);
            }
        }
        all
    }

    /// Requests that were left.
    fn cancels(&self) -> u64 {
        let left = self.waves.iter().map(|wave| wave.left().count() as u64);
        left.sum()
    }

    /// Requests that may have been finished before the server knew that they had been left: those
    /// within a few tokens of their ends, or as many as that would be on average where answers have
    /// all kinds of lengths.
    fn nearly_done(&self) -> u64 {
        let answered = self.requests().filter(|seen| seen.end == End::Answered);
        let mut events: Vec<u64> = answered.map(|seen| seen.events).collect();
        events.sort_unstable();
        let (Some(shortest), Some(longest)) = (events.first(), events.last()) else {
            return 0;
        };
        let whole = events
            .get(events.len() / 2)
            .map_or(0.0, |whole| *whole as f64);
        let left = || {
            let left = self.waves.iter().flat_map(Wave::left);
            left.filter(|seen| seen.events > 0)
        };
        if (longest - shortest) as f64 <= ONE_LENGTH * whole {
            return left()
                .filter(|seen| seen.events as f64 + UNDER_WAY >= whole)
                .count() as u64;
        }
        (left().count() as f64 * UNDER_WAY / whole.max(UNDER_WAY)).ceil() as u64
    }

    /// Events that a stream brings in a second, by those that were answered.
    fn events_per_second(&self) -> Option<f64> {
        let answered = self.requests().filter(|seen| seen.end == End::Answered);
        let mut rates: Vec<f64> = answered
            .filter_map(|seen| {
                let first = *seen.tokens.first()?;
                let seconds = seen.ended.since(first).as_secs_f64();
                (seconds > 0.0).then(|| seen.events as f64 / seconds)
            })
            .collect();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied()
    }

    /// Whether the page has shown what the client had out.
    fn page_sees_the_load(&self) -> bool {
        self.share_of_the_load() >= SEES_ALL
    }

    /// What the page has shown last before the load; 0 where it has shown nothing.
    fn held_before(&self) -> f64 {
        let last = self
            .before
            .iter()
            .rev()
            .find_map(|sample| sample.levels?.held());
        last.unwrap_or(0.0)
    }

    /// How far the time that each was held may be off as requests begin and end anywhere between
    /// two samples (two standard deviations), in seconds.
    fn noise_s(&self) -> f64 {
        let events = 2.0 * self.requests().count() as f64;
        let between = self.interval.as_secs_f64() / 12.0_f64.sqrt();
        2.0 * between * events.sqrt() / self.cancels().max(1) as f64
    }

    /// What the page mostly shows of what the client has out, no more than all of it: before the
    /// first cancel of each wave, as what is not let go then is no part of the load; of all samples
    /// where none is before.
    pub(super) fn usual_share(&self) -> f64 {
        let floor = self.held_before();
        let median = |only_before: bool| {
            let mut shares = Vec::new();
            for wave in &self.waves {
                let out = Wanted::of(wave.requests.iter());
                let first = wave.left().map(|seen| seen.ended).min();
                for sample in &wave.samples {
                    let before = first.is_none_or(|first| sample.at < first);
                    let wanted = out.at(sample.at) as f64;
                    if let Some(held) = sample.levels.and_then(|levels| levels.held())
                        && wanted >= 2.0
                        && (before || !only_before)
                    {
                        shares.push(((held - floor).max(0.0) / wanted).min(1.0));
                    }
                }
            }
            shares.sort_by(f64::total_cmp);
            shares.get(shares.len() / 2).copied()
        };
        median(true).or_else(|| median(false)).unwrap_or(0.0)
    }

    /// The most that the page has shown, of the most that the client had out as the page was looked
    /// at. Where no sample fell into the load, nothing speaks against the page.
    fn share_of_the_load(&self) -> f64 {
        let floor = self.held_before();
        let (mut wanted, mut held) = (0, 0.0_f64);
        for wave in &self.waves {
            let whole = |seen: &&RequestSpan| !self.manner.unsent || seen.end != End::Disconnected;
            let out = Wanted::of(wave.requests.iter().filter(whole));
            for sample in &wave.samples {
                let Some(shown) = sample.levels.and_then(|levels| levels.held()) else {
                    continue;
                };
                wanted = wanted.max(out.at(sample.at));
                held = held.max(shown - floor);
            }
        }
        match wanted {
            0 | 1 => 1.0,
            wanted => held / wanted as f64,
        }
    }
}
