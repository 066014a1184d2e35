//! From evidence to verdict.

use pinfire_base::clock::{Span, Stamp};

use super::{
    Asker, Counter, CounterVerdict, Effect, End, Evidence, Finding, LevelSample, Manner,
    ReclaimReport, Share, Source, Timeline, Verdict, Wave, WaveReport, Witness, detectable, tell,
    timeline::Wanted,
    witness::{self, AT_REST, Scale, Stay},
};
use pinfire_scrape::Levels;

/// A counter may differ from the client's count by this share and still agree.
const COUNTER_SLACK: f64 = 0.1;
/// Of what was cancelled, so little may still be held when a wave counts as released: a sample
/// takes time, and requests begin and end meanwhile.
const RELEASED_SLACK: f64 = 0.1;
/// Cancels so long before the last one are no longer of its wave.
const TOGETHER: Span = Span::from_millis(1_000);
/// So little of the cache is none, as a share of all of it: servers round.
const CACHE_NONE: f64 = 1e-6;
/// The cache is back when no more than this share of the wave's rise is left.
const CACHE_SLACK: f64 = 0.05;

impl ReclaimReport {
    /// Judges.
    pub fn of(evidence: &Evidence) -> Self {
        match evidence.pages.len() {
            0 | 1 => Self::of_one(evidence, 0.0),
            _ => Self::of_pages(evidence),
        }
    }

    /// Judges by the samples of one page, or of several as one server. What they show may be so
    /// many seconds old at least.
    pub(super) fn of_one(evidence: &Evidence, old: f64) -> Self {
        let evidence = &evidence.with_late_series();
        let rest = Rest::of(&evidence.before);
        let scale = Scale {
            floor: rest.held.unwrap_or(0.0),
            interval: evidence.resolution().unwrap_or(evidence.interval),
            sight: evidence.sight(Wave::sight).max(old),
            alone: evidence.first_canary.took_ms / 1e3,
        };
        let mut seen = Seen::default();
        for wave in &evidence.waves {
            seen.add(wave, &rest, scale, evidence.manner);
            if seen.lost.is_some() {
                break;
            }
        }
        let peak = evidence.cache_peak(&rest);
        let cache_limit = (CACHE_SLACK * peak).max(CACHE_NONE);
        let leak = [seen.held, seen.cache_leak.unwrap_or(0.0) / cache_limit];
        let (mut witnesses, tokens) = witness::all(evidence, &seen.waves, &seen.stays, leak);
        let counter = counter(evidence, seen.lost);
        witnesses.insert(3, counter.witness(&evidence.manner));
        let [before_token, streaming] = seen.leaks;
        let mut report = Self {
            verdict: Verdict::CannotTell,
            summary: String::new(),
            advice: String::new(),
            exit_code: 0,
            server: evidence.server.clone(),
            manner: evidence.manner,
            cancels: seen.cancels,
            released_after_s: seen.released(),
            resolution_s: evidence.resolution().map(Span::as_secs_f64),
            refresh_s: None,
            refresh: String::new(),
            disagreement: disagreement(&witnesses),
            witnesses,
            detectable_pct: 100.0 * detectable(seen.cancels),
            tokens_for_nobody: tokens,
            leak: Share {
                cancels: seen.cancels,
                leaked: seen.held,
            },
            leak_before_first_token: before_token,
            leak_streaming: streaming,
            cache_leak: seen.cache_leak,
            lost_after_cancels: seen.lost,
            counter,
            effect: Effect::of(evidence),
            first_canary: evidence.first_canary.clone(),
            waves: seen.waves,
            pages: Vec::new(),
            direct: None,
            timeline: Some(Timeline::of(evidence)),
        };
        (report.refresh_s, report.refresh) = report.effect.refresh(evidence.known.refresh);
        report.verdict = report.judge(evidence.asker);
        report.exit_code = report.verdict.exit_code();
        (report.summary, report.advice) = tell::words(&report, evidence);
        report
    }

    /// What the worst of the witnesses says. Where nothing shows what is held, the others can say
    /// that something was not let go, and not that everything was.
    fn judge(&self, asker: Asker) -> Verdict {
        if !self.first_canary.answered || self.cancels == 0 {
            return Verdict::CannotTell;
        }
        match self.worst() {
            Finding::Died => Verdict::Died,
            Finding::Wedged => Verdict::Wedged,
            Finding::Leaked => Verdict::Leaked,
            Finding::RanOn => Verdict::RanOn,
            Finding::Late | Finding::AtOnce if self.held().verdict == Finding::Silent => {
                Verdict::CannotTell
            }
            Finding::Late if asker == Asker::Run && self.may_have_run_on() => Verdict::CannotTell,
            Finding::Late | Finding::AtOnce => Verdict::Released,
            Finding::Silent => Verdict::CannotTell,
        }
    }

    /// Whether what a run has shown to be held for long may have run to its end: in the midst of a
    /// load only a count of finished requests tells.
    fn may_have_run_on(&self) -> bool {
        let uncounted = self.witness(Source::Finished).verdict == Finding::Silent;
        uncounted && !self.manner.may_end_by_itself()
    }

    /// The worst that a witness says.
    pub(super) fn worst(&self) -> Finding {
        let all = self.witnesses.iter().map(|witness| witness.verdict);
        all.max().unwrap_or(Finding::Silent)
    }

    /// The witness of this source.
    pub(super) fn witness(&self, source: Source) -> &Witness {
        static NONE: Witness = Witness::absent(Source::Held);
        let mut all = self.witnesses.iter();
        all.find(|witness| witness.witness == source)
            .unwrap_or(&NONE)
    }

    pub(super) fn held(&self) -> &Witness {
        self.witness(Source::Held)
    }
}

/// What those witnesses say that can tell of a release, if it is not the same.
fn disagreement(witnesses: &[Witness]) -> Option<String> {
    let of_release = |witness: &&Witness| {
        witness.witness != Source::Canaries && witness.verdict != Finding::Silent
    };
    let telling: Vec<&Witness> = witnesses.iter().filter(of_release).collect();
    let (first, rest) = telling.split_first()?;
    if rest.iter().all(|witness| witness.verdict == first.verdict) {
        return None;
    }
    let says = telling
        .iter()
        .map(|witness| format!("{}: {}", witness.witness.name(), witness.verdict.name()));
    Some(format!(
        "the witnesses disagree ({}); the worst counts",
        says.collect::<Vec<_>>().join("; ")
    ))
}

/// What the waves have shown, one after the other.
#[derive(Default)]
struct Seen {
    waves: Vec<WaveReport>,
    stays: Vec<Option<Stay>>,
    cancels: u64,
    /// Requests that are held at rest beyond those before.
    held: f64,
    /// Before the first token, and in the stream.
    leaks: [Share; 2],
    /// Something was held for longer than the rest behind its wave.
    outlived: bool,
    cache_leak: Option<f64>,
    lost: Option<[u64; 2]>,
}

impl Seen {
    fn add(&mut self, wave: &Wave, rest: &Rest, scale: Scale, manner: Manner) {
        let mut report = wave.report(rest, manner);
        let floor = scale.floor + self.held;
        let stay = Stay::of(wave, Scale { floor, ..scale }, scale.floor, manner);
        report.still_held = stay.and_then(|stay| stay.held());
        if let Some(stay) = stay.filter(|stay| !wave.quiet && stay.held() > Some(0)) {
            // What is still held then is more than requests that begin and end.
            report.released_after_s = wave.back_after(stay.limit, floor);
        }
        let survived = self.cancels;
        self.cancels += report.cancels;
        let kind = &mut self.leaks[usize::from(report.phase == STREAMING)];
        kind.cancels += report.cancels;
        if let Some(now) = report.held_at_rest {
            kind.leaked += now - self.held;
            if now - self.held >= 0.5 {
                // Not all of it ever was.
                report.released_after_s = None;
                self.outlived = true;
            }
            self.held = now;
        }
        self.cache_leak = report.cache_at_rest.or(self.cache_leak);
        if !report.canary.answered {
            self.lost = Some([self.cancels, survived]);
        }
        self.waves.push(report);
        self.stays.push(stay);
    }

    /// Median and longest time until a wave had been let go: of quiet ones, if there are any. The
    /// longest may be of another in which something was still held. Nothing if it may have been
    /// longer than was waited.
    fn released(&self) -> Option<[f64; 2]> {
        if self.outlived {
            return None;
        }
        let quiet = self.waves.iter().any(|wave| wave.quiet && wave.cancels > 0);
        let waves = self.waves.iter().filter(|wave| wave.quiet == quiet);
        let mut times: Vec<f64> = waves.filter_map(|wave| wave.released_after_s).collect();
        times.sort_by(f64::total_cmp);
        let kept = self.waves.iter().filter(|wave| wave.still_held > Some(0));
        let longest = kept.filter_map(|wave| wave.released_after_s);
        let longest = longest.chain(times.last().copied()).reduce(f64::max)?;
        Some([
            times.get(times.len() / 2).copied().unwrap_or(longest),
            longest,
        ])
    }
}

const BEFORE_TOKEN: &str = "before_first_token";
const BEFORE_ANSWER: &str = "before_answer";
const STREAMING: &str = "streaming";

/// What the server holds at rest.
struct Rest {
    held: Option<f64>,
    waiting: Option<f64>,
    cache: Option<f64>,
}

impl Rest {
    fn of(samples: &[LevelSample]) -> Self {
        Self {
            held: median(samples, Levels::held),
            waiting: median(samples, |levels| levels.waiting),
            cache: median(samples, |levels| levels.kv_used),
        }
    }
}

impl Evidence {
    /// The median time from one sample of a wave to the next.
    fn resolution(&self) -> Option<Span> {
        let pairs = self.waves.iter().flat_map(|wave| wave.samples.windows(2));
        let mut gaps: Vec<Span> = pairs
            .filter_map(|pair| Some(pair.last()?.at.since(pair.first()?.at)))
            .collect();
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).copied()
    }

    /// For how long the page has not shown a load that had begun, in seconds, of those that it has
    /// shown: the longest but for a few, which may be of a machine that was busy.
    pub(super) fn sight(&self, of: impl Fn(&Wave, f64) -> Option<f64>) -> f64 {
        let mut floor = Rest::of(&self.before).held.unwrap_or(0.0);
        let mut sights = Vec::new();
        for wave in &self.waves {
            sights.extend(of(wave, floor));
            floor = wave.held_at_its_end().unwrap_or(floor);
        }
        sights.sort_by(f64::total_cmp);
        let few = sights.len() / 4;
        sights.iter().rev().nth(few).copied().unwrap_or(0.0)
    }

    /// How far the cache rose above its rest.
    fn cache_peak(&self, rest: &Rest) -> f64 {
        let samples = self.waves.iter().flat_map(|wave| &wave.samples);
        let used = samples.filter_map(|sample| sample.levels?.kv_used);
        used.fold(0.0, f64::max) - rest.cache.unwrap_or(0.0)
    }
}

impl Wave {
    pub(super) fn left(&self) -> impl Iterator<Item = &super::RequestSpan> {
        self.requests
            .iter()
            .filter(|seen| seen.end == End::Disconnected)
    }

    /// When the last of its cancelled requests had been left.
    pub(super) fn instant(&self) -> Option<Stamp> {
        self.left().map(|seen| seen.ended).max()
    }

    fn report(&self, rest: &Rest, manner: Manner) -> WaveReport {
        let cancels = self.left().count() as u64;
        let with_token = self.left().filter(|seen| !seen.tokens.is_empty()).count() as u64;
        let last = self.instant();
        let first = self.left().map(|seen| seen.ended).min();
        let spread = last
            .zip(first)
            .map_or(0.0, |(last, first)| last.since(first).as_millis_f64());
        let end = &self.samples[self.samples.len().saturating_sub(AT_REST)..];
        let beyond = |now: Option<f64>, before: Option<f64>| Some(now? - before.unwrap_or(0.0));
        let held = beyond(median(end, Levels::held), rest.held).map(|held| held.max(0.0));
        let waiting = beyond(median(end, |l| l.waiting), rest.waiting).map(|w| w.max(0.0));
        let cache = beyond(median(end, |l| l.kv_used), rest.cache).map(|cache| cache.max(0.0));
        let together = last.map_or(0, |last| {
            let with_it = |seen: &&super::RequestSpan| last.since(seen.ended) <= TOGETHER;
            self.left().filter(with_it).count()
        });
        // Where requests begin and end all the time, one more or less tells nothing.
        let slack = match self.quiet {
            true => 0.5,
            false => (RELEASED_SLACK * together as f64).max(0.5),
        };
        let out = Wanted::of_wave(self);
        let back = |level: fn(&Levels) -> Option<f64>, floor: f64, wanted: bool| {
            let over = |sample: &LevelSample| {
                let level = level(&sample.levels?)?;
                let wanted = if wanted { out.at(sample.at) } else { 0 };
                Some(level - floor - wanted as f64)
            };
            since(last?, self.back(last?, over, slack)?)
        };
        let floor =
            |before: Option<f64>, kept: Option<f64>| before.unwrap_or(0.0) + kept.unwrap_or(0.0);
        let rise = self
            .samples
            .iter()
            .filter_map(|sample| sample.levels?.kv_used)
            .fold(0.0, f64::max)
            - floor(rest.cache, cache);
        let cache_slack = (CACHE_SLACK * rise).max(CACHE_NONE);
        let cache_back = || {
            let floor = floor(rest.cache, cache);
            let over = |sample: &LevelSample| Some(sample.levels?.kv_used? - floor);
            since(last?, self.back(last?, over, cache_slack)?)
        };
        // What has leaked before is in what is held.
        let per_cancel = first
            .filter(|_| held.is_some_and(|held| held < 0.5))
            .and_then(|first| self.held_per_cancel(first, rest, &out));
        WaveReport {
            phase: match (2 * with_token > cancels, manner.whole_answers) {
                (true, _) => STREAMING,
                (false, true) => BEFORE_ANSWER,
                (false, false) => BEFORE_TOKEN,
            },
            quiet: self.quiet,
            cancels,
            still_held: None,
            spread_ms: spread,
            released_after_s: back(Levels::held, floor(rest.held, held), true),
            waiting_back_after_s: back(|l| l.waiting, floor(rest.waiting, waiting), false),
            cache_back_after_s: cache_back(),
            held_at_rest: held,
            cache_at_rest: cache,
            held_per_cancel_s: per_cancel.map(|seconds| seconds.max(0.0)),
            held_less_s: per_cancel.map_or(0.0, |seconds| seconds.min(0.0)),
            canary: self.canary.clone(),
        }
    }

    /// The time that the server held requests which the client no longer wanted, from the cancel at
    /// `first` to the end of the last request, per cancel. What is begun and not yet shown counts
    /// against what has ended and is still shown.
    fn held_per_cancel(&self, first: Stamp, rest: &Rest, out: &Wanted) -> Option<f64> {
        let end = self.requests.iter().map(|seen| seen.ended).max()?;
        let floor = rest.held?;
        let samples = self.samples.iter().filter(|sample| sample.at >= first);
        let beyond =
            |sample: &LevelSample| Some(sample.levels?.held()? - floor - out.at(sample.at) as f64);
        let known: Vec<(Stamp, f64)> = samples
            .filter_map(|sample| Some((sample.at, beyond(sample)?)))
            .collect();
        let mut total = 0.0;
        for pair in known.windows(2).take_while(|pair| pair[0].0 <= end) {
            total += pair[0].1 * pair[1].0.since(pair[0].0).as_secs_f64();
        }
        let known = known.len() > 1;
        known.then(|| total / self.left().count() as f64)
    }

    /// Seconds from the last cancel until nothing is held beyond `floor` that the client does not
    /// want, after so many seconds.
    fn back_after(&self, seconds: f64, floor: f64) -> Option<f64> {
        let last = self.instant()?;
        let out = Wanted::of_wave(self);
        let over =
            |sample: &LevelSample| Some(sample.levels?.held()? - floor - out.at(sample.at) as f64);
        since(
            last,
            self.back(last + Span::from_secs_f64(seconds), over, 0.5)?,
        )
    }

    /// What the last samples show.
    fn held_at_its_end(&self) -> Option<f64> {
        median(
            &self.samples[self.samples.len().saturating_sub(3)..],
            Levels::held,
        )
    }

    /// The first sample after `from` from which on two in a row are not over by more than `slack`.
    fn back(
        &self,
        from: Stamp,
        over: impl Fn(&LevelSample) -> Option<f64>,
        slack: f64,
    ) -> Option<Stamp> {
        let samples = self.samples.iter().filter(|sample| sample.at >= from);
        let known: Vec<(Stamp, bool)> = samples
            .filter_map(|sample| Some((sample.at, over(sample)? <= slack)))
            .collect();
        let at = known
            .iter()
            .enumerate()
            .find(|(at, (_, back))| *back && known.get(at + 1).is_none_or(|(_, next)| *next));
        at.map(|(_, (at, _))| *at)
    }
}

fn since(from: Stamp, at: Stamp) -> Option<f64> {
    Some(at.since(from).as_secs_f64())
}

/// The median of a level over samples that show it.
fn median(samples: &[LevelSample], level: impl Fn(&Levels) -> Option<f64>) -> Option<f64> {
    let mut values: Vec<f64> = samples
        .iter()
        .filter_map(|sample| level(&sample.levels?))
        .collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The counter's move from rest to rest. A wave that the server did not survive does not count:
/// what was in flight then was given up too.
fn counter(evidence: &Evidence, lost: Option<[u64; 2]>) -> Counter {
    let waves = &evidence.waves[..evidence.waves.len() - usize::from(lost.is_some())];
    let cancels: usize = waves.iter().map(|wave| wave.left().count()).sum();
    let value = |sample: &LevelSample| sample.levels?.abort_counter;
    // What first shows in the middle, as the count of a fresh server does, was nothing before.
    let readable = evidence.before.iter().any(|sample| sample.levels.is_some());
    let first = evidence.before.iter().rev().find_map(value);
    let first = first.or(readable.then_some(0.0));
    let samples = waves
        .iter()
        .rev()
        .flat_map(|wave| wave.samples.iter().rev());
    let last = samples.into_iter().find_map(value);
    let counted = first.zip(last).map(|(first, last)| last - first);
    let per_cancel = counted
        .filter(|_| cancels > 0)
        .map(|counted| counted / cancels as f64);
    let near = |value: f64, wanted: f64| (value / wanted - 1.0).abs() <= COUNTER_SLACK;
    let verdict = match per_cancel {
        None => CounterVerdict::NotShown,
        Some(value) if near(value, 1.0) => CounterVerdict::Agrees,
        Some(_) if evidence.manner.not_counted().is_some() => CounterVerdict::SaysNothing,
        Some(0.0) => CounterVerdict::AlwaysZero,
        Some(value) if near(value, 2.0) => CounterVerdict::Doubled,
        Some(_) => CounterVerdict::Off,
    };
    Counter {
        verdict,
        cancels: cancels as u64,
        counted,
        per_cancel,
    }
}
