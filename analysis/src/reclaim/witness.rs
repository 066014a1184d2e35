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
    /// Requests still held then; absent where no sample tells.
    pub still: Option<u64>,
    /// Something was held until the answers would have ended, and not longer.
    pub to_the_end: bool,
}

impl Stay {
    /// Of a wave before which the server held `floor`; samples are `interval` apart.
    pub(super) fn of(wave: &Wave, floor: f64, interval: Span, manner: Manner) -> Option<Self> {
        let at = wave.instant()?;
        let left = wave.left();
        let cancels = left.count() as u64;
        let by_itself = manner.may_end_by_itself();
        // Where that is no fault, a natural end is as good a release as any.
        let remaining = wave.remaining(at).filter(|_| !by_itself);
        // A request that would have ended by then tells nothing by not being there.
        let limit = remaining.map_or(AT_ONCE, |left| AT_ONCE.min(left / 2.0));
        let wanted = Wanted::of(wave.requests.iter());
        let beyond = |sample: &LevelSample| {
            let held = sample.levels?.held()?;
            Some(held - floor - wanted.at(sample.at) as f64)
        };
        let between = |from: f64, to: f64| -> Vec<f64> {
            let (from, to) = (at + Span::from_secs_f64(from), at + Span::from_secs_f64(to));
            let samples = wave.samples.iter();
            let inside = samples.filter(|sample| sample.at >= from && sample.at <= to);
            let mut known: Vec<f64> = inside.filter_map(beyond).collect();
            known.sort_by(f64::total_cmp);
            known
        };
        let few = (3.0 * interval.as_secs_f64()).max(0.06);
        let end = remaining.map_or(AT_ONCE + few, |left| (0.9 * left).max(limit));
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
        let still = mostly(&known).map(|beyond| (beyond as u64).min(cancels));
        let to_the_end = remaining.is_some_and(|left| {
            let until = mostly(&between(0.75 * left, 0.95 * left));
            let after = mostly(&between(1.1 * left + few, 1.4 * left + 2.0 * few));
            until.is_some_and(|until| after.is_none_or(|after| after < until) && until > 0.0)
        });
        Some(Self {
            cancels,
            limit,
            still,
            to_the_end,
        })
    }
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
    /// Seconds from `at` until the answers that begun before have come to their own ends.
    fn remaining(&self, at: Stamp) -> Option<f64> {
        let survivors = self.requests.iter();
        let survivors = survivors.filter(|seen| seen.end == End::Answered && seen.begun < at);
        let mut ends: Vec<f64> = survivors
            .map(|seen| seen.ended.since(at).as_secs_f64())
            .collect();
        ends.sort_by(f64::total_cmp);
        ends.get(ends.len() / 2).copied()
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
            "the page did not show this load: is it the right server's?",
        );
    }
    if evidence.asker == Asker::Run {
        return held_in_a_run(evidence, waves, none_ran_on);
    }
    let known: Vec<&Stay> = stays.iter().flatten().collect();
    let seen: u64 = known
        .iter()
        .filter(|stay| stay.still.is_some())
        .map(|stay| stay.cancels)
        .sum();
    if seen == 0
        && none_ran_on
        && let Some(rest) = evidence.at_rest_after().filter(|rest| *rest <= AT_ONCE)
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
    let still: u64 = known.iter().filter_map(|stay| stay.still).sum();
    let limit = known.iter().map(|stay| stay.limit).fold(0.0, f64::max);
    if still == 0 {
        let says = match evidence.manner.unsent {
            true => format!("nothing was held for {seen} that had not reached the server whole"),
            false => format!("none of {seen} held {limit:.2} s after the cancel"),
        };
        let cancels = evidence.cancels();
        if seen < cancels && !none_ran_on {
            let unseen = 100.0 * (cancels - seen) as f64 / cancels as f64;
            let says = format!("{says}; of {cancels} the others were not seen in time");
            return match unseen <= MOST_UNKNOWN_PCT {
                true => Witness::new(HERE, Finding::AtOnce, says).but_for(unseen),
                false => Witness::silent(HERE, says),
            };
        }
        return Witness::new(HERE, Finding::AtOnce, says);
    }
    let to_the_end =
        known.iter().any(|stay| stay.to_the_end) && evidence.manner.held_on().is_none();
    let (finding, how) = match to_the_end {
        true => (Finding::RanOn, ", until their answers would have ended"),
        false => (Finding::Late, ""),
    };
    let says = format!("{still} of {seen} still held {limit:.2} s after the cancel{how}");
    Witness::new(HERE, finding, says).about(still, seen)
}

fn held_in_a_run(evidence: &Evidence, waves: &[WaveReport], none_ran_on: bool) -> Witness {
    const HERE: Source = Source::Held;
    let run = waves.first();
    let mean = run.and_then(|wave| wave.held_per_cancel_s);
    let after = run.and_then(|wave| wave.released_after_s);
    let Some(mean) = mean else {
        return Witness::silent(HERE, "too few samples while the load ran");
    };
    if mean > AT_ONCE || after.is_some_and(|after| after > AT_ONCE) {
        let last = after.map_or_else(String::new, |after| format!(", the last for {after:.2} s"));
        let says = format!("each held for {mean:.2} s on average while the load ran{last}");
        return Witness::new(HERE, Finding::Late, says);
    }
    if none_ran_on {
        let says = format!("each held for {mean:.2} s on average while the load ran");
        return Witness::new(HERE, Finding::AtOnce, says);
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
        return Witness::new(HERE, Finding::AtOnce, says).into();
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

    /// Whether the page has shown a good part of what the client had out.
    fn page_sees_the_load(&self) -> bool {
        self.share_of_the_load() >= 0.5
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

    /// The longest time from the last cancel of a wave until nothing is held any more, in seconds.
    fn at_rest_after(&self) -> Option<f64> {
        let floor = self.held_before() + 0.5;
        let resting = |sample: &&LevelSample| {
            let held = sample.levels.and_then(|levels| levels.held());
            held.is_some_and(|held| held < floor)
        };
        let after = |wave: &Wave| {
            let resting = wave.samples.iter().rev().take_while(resting);
            Some(resting.last()?.at.since(wave.instant()?).as_secs_f64())
        };
        let after = self.waves.iter().map(after);
        after.reduce(|one, other| Some(one?.max(other?)))?
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
            let out = Wanted::of(wave.requests.iter());
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
