//! Random scripts of servers: whatever they hold back and however they are looked at, the verdict
//! is never better than the truth.

use pinfire_base::random::Purpose;

use super::*;

/// What a server does with a request that was left.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    /// Lets go after so many seconds.
    After(f64),
    /// Goes on to its end.
    RunsOn,
    /// Never lets go.
    Leaks,
}

/// One server and the way it is looked at.
#[derive(Clone, Debug)]
struct Script {
    seed: u64,
    waves: u64,
    ttft: f64,
    stream: f64,
    tokens: u64,
    /// What befalls the unlucky ones.
    fate: Fate,
    share: f64,
    /// From one sample to the next, and from one refresh of the page to the next.
    interval: f64,
    refresh: f64,
    finished: bool,
    counts_tokens: bool,
    /// Successes that the server counts for each request.
    batch: f64,
}

const CANCELS: u64 = 10;

fn at(seconds: f64) -> Stamp {
    Stamp::from_nanos(1_000_000_000 + (seconds * 1e9) as u64)
}

/// A request as the server had it.
struct Life {
    from: f64,
    to: f64,
    /// When it has ended by itself.
    finished: Option<f64>,
    tokens: f64,
}

impl Script {
    fn draw(seed: u64) -> Self {
        let draws = Purpose::new(seed, "script");
        let uniform = |nth: u64| draws.uniform(nth);
        let between = |nth, low: f64, high: f64| low + uniform(nth) * (high - low);
        let (ttft, stream) = (between(1, 0.1, 0.5), between(2, 1.5, 5.0));
        // The time that is left of an answer in the stream; a hold is clearly shorter or longer.
        let left = stream * 2.0 / 3.0;
        let fate = match (uniform(3) * 4.0) as u32 {
            0 => Fate::After(between(4, 0.0, 0.1)),
            1 if uniform(5) < 0.5 => Fate::After(between(4, 0.4 * left, 0.6 * left).max(0.7)),
            1 => Fate::After(between(4, 2.0, 3.0) * (ttft + stream)),
            2 => Fate::RunsOn,
            _ => Fate::Leaks,
        };
        let shares = [0.05, 0.1, 0.25, 1.0];
        Self {
            seed,
            waves: 4 + 2 * (uniform(6) * 3.0) as u64,
            ttft,
            stream,
            tokens: 40 + (uniform(7) * 200.0) as u64,
            fate,
            share: shares[(uniform(8) * 4.0) as usize % 4],
            interval: between(9, 0.01, 0.1),
            refresh: between(10, 0.001, 0.05),
            finished: uniform(11) < 0.5,
            counts_tokens: uniform(12) < 0.5,
            batch: if uniform(13) < 0.2 { 4.0 } else { 1.0 },
        }
    }

    /// A request of this begin: as the client saw it, and as the server had it.
    fn request(&self, begun: f64, cut: Option<(f64, bool)>) -> (RequestSpan, Life) {
        let end = begun + self.ttft + self.stream;
        let step = self.stream / self.tokens as f64;
        let came = |until: f64| ((until - begun - self.ttft) / step).clamp(0.0, self.tokens as f64);
        let seen = |ended: f64, how| {
            let events = match how {
                End::Answered => self.tokens,
                _ => came(ended) as u64,
            };
            RequestSpan {
                begun: at(begun),
                ended: at(ended),
                end: how,
                new_connection: true,
                tokens: (0..events)
                    .map(|nth| at(begun + self.ttft + nth as f64 * step))
                    .collect(),
                events,
            }
        };
        let life = |to: f64, finished| Life {
            from: begun + 0.002,
            to,
            finished,
            tokens: came(to.min(end)).ceil(),
        };
        let Some((left, unlucky)) = cut else {
            return (seen(end, End::Answered), life(end - 0.001, Some(end)));
        };
        let life = match self.fate {
            _ if !unlucky => life(left + 0.02, None),
            Fate::After(hold) => life(left + hold.max(0.001), None),
            Fate::RunsOn => life(end, Some(end)),
            Fate::Leaks => life(f64::INFINITY, None),
        };
        (seen(left, End::Disconnected), life)
    }

    /// What the client and the page saw; and how many were unlucky.
    fn evidence(&self) -> (Evidence, u64) {
        let unlucky = Purpose::new(self.seed, "unlucky");
        let mut lives = vec![self.request(0.0, None).1];
        let rest = self.ttft + self.stream + 1.0;
        let mut now = rest + 1.0;
        let (control, of_control) = (0..2 * CANCELS).map(|_| self.request(now, None)).unzip();
        lives.extend::<Vec<Life>>(of_control);
        now += self.ttft + self.stream + 1.0;
        let (mut waves, mut cancelled, mut hit) = (Vec::new(), 0, 0);
        for nth in 0..self.waves {
            let begin = now;
            let quiet = (nth + nth / 2).is_multiple_of(2);
            let left = begin
                + match nth % 2 {
                    0 => self.ttft / 2.0,
                    _ => self.ttft + self.stream / 3.0,
                };
            let mut requests = Vec::new();
            let mut add = |(seen, life): (RequestSpan, Life)| {
                requests.push(seen);
                lives.push(life);
            };
            for _ in 0..CANCELS {
                let last = cancelled + 1 == CANCELS * self.waves;
                let is_hit = unlucky.uniform(cancelled) < self.share || (last && hit == 0);
                cancelled += 1;
                hit += u64::from(is_hit);
                add(self.request(begin, Some((left, is_hit))));
                add(self.request(begin, None));
                if !quiet {
                    add(self.request(left + 0.001, None));
                }
            }
            // The time that the server has to let go.
            let over = begin + 4.0 * (self.ttft + self.stream);
            now = over + self.ttft + self.stream + 0.5;
            lives.push(self.request(over, None).1);
            waves.push((begin, over, quiet, requests));
        }
        let before = self.samples(&lives, rest, rest + 0.4);
        let whole = Answers {
            requests: 1,
            events: self.tokens,
        };
        let canary = Canary {
            begun: at(0.0),
            answered: true,
            refused: false,
            ttft_ms: Some(self.ttft * 1e3),
            took_ms: (self.ttft + self.stream) * 1e3,
            events: self.tokens,
            problem: None,
        };
        let last = waves.len() - 1;
        let waves = waves
            .into_iter()
            .enumerate()
            .map(|(nth, (begin, over, quiet, requests))| Wave {
                quiet,
                samples: {
                    let mut samples = self.samples(&lives, begin, over);
                    if nth == last {
                        samples.extend(self.samples(&lives, now, now + 0.4));
                    }
                    samples
                },
                requests,
                canary: canary.clone(),
            });
        let evidence = Evidence {
            asker: Asker::Test,
            server: None,
            settle: Span::from_secs_f64(4.0),
            interval: Span::from_secs_f64(self.interval),
            manner: Manner::default(),
            known: super::tests::LIVE,
            warmed: Some(whole),
            measured: None,
            before,
            alone: Answers::default(),
            first_canary: canary.clone(),
            control,
            between: Vec::new(),
            waves: waves.collect(),
            pages: Vec::new(),
        };
        (evidence, hit)
    }

    fn samples(&self, lives: &[Life], from: f64, to: f64) -> Vec<LevelSample> {
        let count = ((to - from) / self.interval) as usize;
        let times = (0..=count).map(|nth| from + nth as f64 * self.interval);
        let step = self.stream / self.tokens as f64;
        let sample = |time: f64| {
            let shown = (time / self.refresh).floor() * self.refresh;
            let held = lives
                .iter()
                .filter(|life| life.from <= shown && shown < life.to);
            let finished = lives
                .iter()
                .filter(|life| life.finished.is_some_and(|end| end <= shown));
            let tokens = lives.iter().map(|life| {
                let came = (shown.min(life.to) - life.from - self.ttft) / step;
                came.clamp(0.0, life.tokens.max(0.0))
            });
            LevelSample {
                at: at(time),
                levels: Some(Levels {
                    running: Some(held.count() as f64),
                    waiting: Some(0.0),
                    finished: self.finished.then(|| self.batch * finished.count() as f64),
                    output_tokens: self.counts_tokens.then(|| tokens.sum::<f64>().ceil()),
                    ..Levels::default()
                }),
            }
        };
        times.map(sample).collect()
    }

    /// What the server really did, given that some were hit.
    const fn truth(&self) -> Finding {
        match self.fate {
            Fate::After(hold) if hold <= 0.1 => Finding::AtOnce,
            Fate::After(_) => Finding::Late,
            Fate::RunsOn => Finding::RanOn,
            Fate::Leaks => Finding::Leaked,
        }
    }
}

#[test]
fn the_verdict_is_never_better_than_the_truth() {
    const SCRIPTS: u64 = 400;
    let mut worse = Vec::new();
    let mut kinds = std::collections::BTreeMap::new();
    for seed in 0..SCRIPTS {
        let script = Script::draw(seed);
        let (evidence, hit) = script.evidence();
        let report = ReclaimReport::of(&evidence);
        let (found, truth) = (report.worst(), script.truth());
        *kinds.entry(truth).or_insert(0) += 1;
        let told = || {
            format!(
                "{script:?}, {hit} hit: {}\n{}",
                report.summary,
                report.page()
            )
        };
        assert!(found >= truth, "{found:?} instead of {truth:?}: {}", told());
        assert!(
            truth == Finding::AtOnce
                || report.verdict != Verdict::Released
                || truth == Finding::Late,
            "{}",
            told()
        );
        if found > truth || report.verdict == Verdict::CannotTell {
            worse.push(told());
        }
        if truth == Finding::Leaked {
            assert_eq!(report.leak.leaked.round() as u64, hit, "{}", told());
        }
        if truth == Finding::RanOn && script.finished {
            let finished = report.witness(Source::Finished);
            let share = finished.share.unwrap();
            assert_eq!(share.requests, hit, "{}", told());
            let [low, high] = share.interval_pct;
            assert!(low <= share.share_pct && share.share_pct <= high);
        }
    }
    assert!(
        kinds.len() == 4 && kinds.values().all(|count| *count >= 50),
        "{kinds:?}"
    );
    let few = SCRIPTS as usize / 50;
    assert!(
        worse.len() <= few,
        "{} of {SCRIPTS}:\n{}",
        worse.len(),
        worse.join("\n")
    );
}

#[test]
fn tokens_for_nobody_are_those_of_the_truth() {
    for seed in 0..40 {
        let mut script = Script::draw(seed);
        script.counts_tokens = true;
        script.fate = Fate::RunsOn;
        let (evidence, hit) = script.evidence();
        let report = ReclaimReport::of(&evidence);
        let tokens = report.tokens_for_nobody.unwrap().tokens;
        // What the unlucky ones still had to come.
        let left = evidence
            .waves
            .iter()
            .flat_map(|wave| wave.left())
            .collect::<Vec<_>>();
        let whole = (script.tokens * left.len() as u64) as f64;
        let came: u64 = left.iter().map(|seen| seen.events).sum();
        let most = (whole - came as f64) * hit as f64 / left.len() as f64;
        let under_way = 3.0 * left.len() as f64
            + 0.02 * script.tokens as f64 / script.stream * left.len() as f64;
        assert!(
            (tokens - most).abs() <= 0.6 * most + under_way,
            "{tokens} of {most}: {script:?}"
        );
    }
}

#[test]
fn a_stalled_client_has_not_left() {
    let mut script = Script::draw(3);
    (script.fate, script.share) = (Fate::RunsOn, 1.0);
    (script.finished, script.counts_tokens) = (true, true);
    let (mut evidence, _) = script.evidence();
    evidence.manner.mode = pinfire_base::record::Leave::Stall;
    for sample in evidence
        .before
        .iter_mut()
        .chain(evidence.waves.iter_mut().flat_map(|w| &mut w.samples))
    {
        if let Some(levels) = &mut sample.levels {
            levels.abort_counter = Some(0.0);
        }
    }
    let report = ReclaimReport::of(&evidence);
    assert_eq!(report.counter.verdict, CounterVerdict::SaysNothing);
    assert!(report.worst() < Finding::RanOn, "{}", report.page());
    assert!(report.page().contains("nobody left"), "{}", report.page());
}

#[test]
fn what_shows_late_counts_from_nothing() {
    let mut script = Script::draw(5);
    script.fate = Fate::After(0.01);
    let (mut evidence, _) = script.evidence();
    // A fresh server: its page is there and says nothing yet.
    for sample in &mut evidence.before {
        sample.levels = Some(Levels::default());
    }
    let report = ReclaimReport::of(&evidence);
    assert_eq!(report.verdict, Verdict::Released, "{}", report.page());
    // A page that cannot be read at rest is another thing.
    for sample in &mut evidence.before {
        sample.levels = None;
    }
    assert_eq!(ReclaimReport::of(&evidence).verdict, Verdict::CannotTell);
}
