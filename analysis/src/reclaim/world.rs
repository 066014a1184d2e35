//! A made-up world for the verdict: a server, what stands in front of it, their pages of metrics
//! and a client that leaves, all without a clock. What the server really did is known.

use pinfire_base::random::Purpose;
use pinfire_base::record::Leave;

use super::*;

/// Cancels of a wave.
pub(super) const CANCELS: u64 = 10;
/// How long a page may lag, as its profile says.
const LAG: f64 = 1.0;

/// What becomes of an unlucky request that was left.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Fate {
    /// Its slot is free after so many seconds.
    After(f64),
    /// What stands in front of the server lets go after so many seconds, if it has not ended.
    PassedOn(f64),
    /// It goes on to its end.
    RunsOn,
    /// It is never let go.
    Leaks,
}

/// What the counters of a page show.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Counter {
    Right,
    Zero,
    Doubled,
    /// Each from its first event on.
    Late,
    /// From 0 again after these cancels.
    Restarted(&'static [u64]),
    /// No counter of finished requests.
    Absent,
}

/// The pages that are looked at.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Pages {
    /// The server's.
    Server,
    /// That of a gateway in front, which knows what it holds at the server, and the server's.
    Both,
    /// That of a gateway that forgets a request as its client leaves, and the server's.
    BlindGateway,
}

/// One server and the way it is looked at.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub seed: u64,
    pub waves: u64,
    pub ttft: f64,
    pub stream: f64,
    pub tokens: u64,
    pub fate: Fate,
    /// Share of the unlucky ones.
    pub share: f64,
    /// Answers come whole.
    pub whole: bool,
    pub leave: Leave,
    pub pages: Pages,
    pub counter: Counter,
    pub counts_tokens: bool,
    /// Successes that the server counts for each request.
    pub batch: f64,
    /// From one sample to the next, and from one refresh of the page to the next.
    pub interval: f64,
    pub refresh: f64,
    /// How old the page is beyond that.
    pub stale: f64,
    /// From here to there, as shares of the test, the server's page cannot be read.
    pub unreadable: Option<[f64; 2]>,
    /// Requests of others, until so many seconds into the test.
    pub others: Option<(f64, f64)>,
    /// Share of the load that the page shows, as that of one of several replicas.
    pub shown: f64,
}

pub(super) fn at(seconds: f64) -> Stamp {
    Stamp::from_nanos(1_000_000_000 + (seconds * 1e9) as u64)
}

/// A request as the server had it.
#[derive(Clone, Copy)]
struct Life {
    from: f64,
    to: f64,
    /// When it has ended by itself.
    finished: Option<f64>,
    /// When it was given up because its client had left.
    aborted: Option<f64>,
    tokens: f64,
    /// Tokens in a second.
    speed: f64,
    /// When a gateway that looks at its clients only has forgotten it.
    forgotten: f64,
    /// It is on the page.
    shown: bool,
}

/// What was really done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deeds {
    pub cancels: u64,
    /// The unlucky ones.
    pub hit: u64,
    /// Those that ran to their end.
    pub ran_on: u64,
    /// The longest that one was held, in seconds.
    pub longest: f64,
    /// Tokens that were made after the client had left.
    pub for_nobody: f64,
    pub worst: Finding,
}

/// The test as it goes on.
struct Course<'a> {
    world: &'a World,
    lives: Vec<Life>,
    /// When each cancel was.
    left: Vec<f64>,
    /// When the test began.
    begun: f64,
    /// How long it waits for a rest.
    patience: f64,
}

impl World {
    /// Seconds that an answer takes.
    pub(super) fn takes(&self) -> f64 {
        self.ttft + self.stream
    }

    /// Tokens of a request that has run for so long.
    fn made(&self, after: f64) -> f64 {
        let step = self.stream / self.tokens as f64;
        ((after - self.ttft) / step).clamp(0.0, self.tokens as f64)
    }

    /// A request of this begin: as the client saw it, and as the server had it.
    fn request(&self, begun: f64, cut: Option<(f64, bool)>) -> (RequestSpan, Life) {
        let end = begun + self.takes();
        let step = self.stream / self.tokens as f64;
        let seen = |ended: f64, how| {
            let whole = match how {
                End::Answered => self.tokens,
                _ => self.made(ended - begun) as u64,
            };
            let (tokens, events) = match (self.whole, how) {
                (true, End::Answered) => (vec![at(ended)], 1),
                (true, _) => (Vec::new(), 0),
                (false, _) => {
                    let came = |nth| at(begun + self.ttft + nth as f64 * step);
                    ((0..whole).map(came).collect(), whole)
                }
            };
            RequestSpan {
                begun: at(begun),
                ended: at(ended),
                end: how,
                new_connection: true,
                tokens,
                events,
            }
        };
        let life = |to: f64, finished: Option<f64>| Life {
            from: begun + 0.002,
            to,
            finished,
            aborted: finished.is_none().then_some(to),
            tokens: match finished {
                Some(_) => self.tokens as f64,
                None => self.made(to.min(end) - begun).floor(),
            },
            speed: self.tokens as f64 / self.stream,
            forgotten: to,
            shown: true,
        };
        let by_itself = life(end - 0.001, Some(end));
        let Some((left, unlucky)) = cut else {
            return (seen(end, End::Answered), by_itself);
        };
        let mut life = match self.fate {
            // Nobody has left.
            _ if self.leave == Leave::Stall => by_itself,
            _ if !unlucky => life(left + 0.02, None),
            Fate::After(hold) => life(left + hold.max(0.001), None),
            Fate::PassedOn(after) if left + after < end => life(left + after, None),
            Fate::PassedOn(_) | Fate::RunsOn => life(end, Some(end)),
            Fate::Leaks => life(f64::INFINITY, None),
        };
        if self.leave != Leave::Stall {
            life.forgotten = life.forgotten.min(left + 0.004);
        }
        (seen(left, End::Disconnected), life)
    }

    /// A test of waves: what the client and the pages saw, and what was done.
    pub(super) fn test(&self) -> (Evidence, Deeds) {
        let draws = Purpose::new(self.seed, "unlucky");
        let total = CANCELS * self.waves;
        let mut course = Course {
            world: self,
            lives: Vec::new(),
            left: Vec::new(),
            begun: 0.0,
            patience: 6.0,
        };
        let warm = 0.4;
        course.add(self.request(warm, None));
        let rest = course.settled(warm + self.takes(), 0.0);
        let mut now = rest + LAG;
        // Three more alone, the control load, and a rest.
        for _ in 0..3 {
            course.add(self.request(now, None));
            now += self.takes() + 0.01;
        }
        let control: Vec<_> = (0..2 * CANCELS)
            .map(|_| course.add(self.request(now, None)))
            .collect();
        now = course.settled(now + self.takes(), 0.0);
        let mut waves = Vec::new();
        let (mut hit, mut floor) = (0, 0.0);
        for nth in 0..self.waves {
            let begin = now;
            let quiet = (nth + nth / 2).is_multiple_of(2);
            let left = begin
                + match (self.whole, nth % 2) {
                    (true, 0) => self.takes() / 3.0,
                    (true, _) => self.takes() * 2.0 / 3.0,
                    (false, 0) => self.ttft / 2.0,
                    (false, _) => self.ttft + self.stream * 0.3335,
                };
            let mut requests = Vec::new();
            let mut ends = begin + self.takes();
            for _ in 0..CANCELS {
                let count = course.left.len() as u64;
                let last = count + 1 == total;
                let is_hit =
                    self.share > 0.0 && (draws.uniform(count) < self.share || (last && hit == 0));
                hit += u64::from(is_hit);
                course.left.push(left);
                requests.push(course.add(self.request(begin, Some((left, is_hit)))));
                requests.push(course.add(self.request(begin, None)));
                if !quiet {
                    requests.push(course.add(self.request(left + 0.001, None)));
                    ends = left + 0.001 + self.takes();
                }
            }
            let over = course.settled(ends, floor);
            floor = course.held(over).max(0.0);
            course.add(self.request(over, None));
            now = over + self.takes() + 0.01;
            waves.push((begin, over, quiet, requests));
        }
        let end = course.settled(now, 0.0) + LAG;
        let deeds = course.deeds(hit);
        (course.evidence(rest, waves, end, control), deeds)
    }
}

/// The load of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub slots: u64,
    pub requests: u64,
    /// Share of the requests that are left.
    pub rate: f64,
    /// Answers have lengths of their own.
    pub varied: bool,
}

impl World {
    /// A run with `--verify-release`: what the client and the pages saw, and what was done.
    pub(super) fn run(&self, load: Load) -> (Evidence, Deeds) {
        let draws = |name| Purpose::new(self.seed, name);
        let [cut, when, unlucky, long] = ["cut", "when", "unlucky", "long"].map(draws);
        let mut course = Course {
            world: self,
            lives: Vec::new(),
            left: Vec::new(),
            begun: 0.0,
            patience: 20.0,
        };
        course.add(self.request(0.4, None));
        let rest = course.settled(0.4 + self.takes(), 0.0);
        let begin = rest + LAG;
        let mut free = vec![begin; load.slots as usize];
        let (mut requests, mut hit) = (Vec::new(), 0);
        for nth in 0..load.requests {
            free.sort_by(|a, b| b.total_cmp(a));
            let Some(slot) = free.last_mut() else { break };
            let factor = if load.varied {
                0.5 + long.uniform(nth)
            } else {
                1.0
            };
            let own = Self {
                stream: self.stream * factor,
                tokens: (self.tokens as f64 * factor) as u64,
                ..self.clone()
            };
            let is_cut = cut.uniform(nth) < load.rate;
            let left = is_cut.then(|| {
                let is_hit = unlucky.uniform(nth) < self.share;
                hit += u64::from(is_hit);
                (
                    *slot + (0.05 + 0.85 * when.uniform(nth)) * own.takes(),
                    is_hit,
                )
            });
            course.left.extend(left.map(|(left, _)| left));
            let span = course.add(own.request(*slot, left));
            *slot = left.map_or(*slot + own.takes(), |(left, _)| left) + 0.001;
            requests.push(span);
        }
        let ended = free.iter().copied().fold(begin, f64::max);
        let over = course.settled(ended, 0.0) + LAG;
        course.add(self.request(over, None));
        let deeds = course.deeds(hit);
        let mut evidence = course.evidence_of_run([rest, begin, over, over], requests);
        // A run keeps first tokens only.
        for seen in evidence
            .waves
            .iter_mut()
            .flat_map(|wave| &mut wave.requests)
        {
            seen.tokens.truncate(1);
        }
        (evidence, deeds)
    }
}

impl Course<'_> {
    /// Adds a request at the server; the client's side of it.
    fn add(&mut self, (seen, mut life): (RequestSpan, Life)) -> RequestSpan {
        let draws = Purpose::new(self.world.seed, "replica");
        life.shown = draws.uniform(self.lives.len() as u64) < self.world.shown;
        self.lives.push(life);
        seen
    }

    /// Requests on the server's page at that time.
    fn held(&self, time: f64) -> f64 {
        self.levels(time, false).running.unwrap_or(0.0)
    }

    /// When a client that looks at the page since `from` finds the server at its floor, or gives
    /// up.
    fn settled(&self, from: f64, floor: f64) -> f64 {
        let world = self.world;
        let (mut back, mut now) = (0, from);
        while now < from + self.patience {
            now += world.interval;
            back = if self.held(now) < floor + 0.5 {
                back + 1
            } else {
                0
            };
            if back == 3 {
                break;
            }
        }
        now
    }

    /// What a page shows at that time.
    fn levels(&self, time: f64, of_gateway: bool) -> Levels {
        let world = self.world;
        let blind = of_gateway && world.pages == Pages::BlindGateway;
        let stale = if of_gateway { 0.0 } else { world.stale };
        let shown = ((time - stale) / world.refresh).floor() * world.refresh;
        let lives = || {
            self.lives
                .iter()
                .filter(|life| life.shown && life.from <= shown)
        };
        let until = |life: &Life| if blind { life.forgotten } else { life.to };
        let held = lives().filter(|life| shown < until(life)).count();
        let finished = lives()
            .filter(|life| life.finished.is_some_and(|end| end <= shown))
            .filter(|life| !blind || life.forgotten >= life.to)
            .count() as f64;
        let aborted = lives()
            .filter(|life| life.aborted.is_some_and(|end| end <= shown))
            .count() as f64;
        let tokens: f64 = lives()
            .map(|life| {
                let so_far = (life.speed * (shown - life.from - world.ttft))
                    .max(0.0)
                    .floor();
                if shown < life.to {
                    so_far.min(life.tokens)
                } else {
                    life.tokens
                }
            })
            .sum();
        let others = match world.others {
            Some((count, until)) if shown < until && !of_gateway => count,
            _ => 0.0,
        };
        let restarts = match world.counter {
            Counter::Restarted(after) => {
                let gone = self.left.iter().filter(|left| **left <= shown).count() as u64;
                after.iter().filter(|cancels| gone >= **cancels).count()
            }
            _ => 0,
        };
        let counted = |count: f64| match world.counter {
            Counter::Zero => Some(0.0),
            Counter::Doubled => Some(2.0 * count),
            Counter::Late => (count > 0.0).then_some(count),
            Counter::Absent => None,
            Counter::Right | Counter::Restarted(_) => Some(count),
        };
        Levels {
            running: Some(held as f64 + others),
            waiting: Some(0.0),
            finished: counted(world.batch * finished),
            abort_counter: counted(aborted),
            output_tokens: match (world.counts_tokens && !of_gateway, world.counter) {
                (true, Counter::Doubled) => Some(2.0 * tokens),
                (true, Counter::Zero) => Some(0.0),
                (true, _) => Some(tokens),
                (false, _) => None,
            },
            restarts: restarts as u32,
            ..Levels::default()
        }
    }

    fn deeds(&self, hit: u64) -> Deeds {
        let world = self.world;
        let holds = self.lives.iter().filter(|life| life.forgotten < life.to);
        let held = |life: &Life| life.to - (life.forgotten - 0.004);
        let longest = holds.clone().map(held).fold(0.0, f64::max);
        let ran_on = holds.clone().filter(|life| life.finished.is_some());
        let ran_on = ran_on.count() as u64;
        let worst = holds.clone().map(|life| match (held(life), life.finished) {
            (_, Some(_)) => Finding::RanOn,
            (f64::INFINITY, None) => Finding::Leaked,
            (held, None) if held > 0.1 => Finding::Late,
            _ => Finding::AtOnce,
        });
        let worst = worst.max().unwrap_or(Finding::AtOnce);
        let for_nobody = holds
            .map(|life| {
                let after = life.forgotten - life.from - 0.002 - world.ttft;
                life.tokens - (life.speed * after).max(0.0).floor()
            })
            .sum();
        Deeds {
            cancels: self.left.len() as u64,
            hit,
            ran_on,
            longest,
            for_nobody,
            worst,
        }
    }

    /// The samples of all pages over the whole test, each page by itself.
    fn pages(&self, end: f64) -> Vec<Vec<LevelSample>> {
        let world = self.world;
        let count = ((end - self.begun) / world.interval) as usize;
        let page = |of_gateway: bool| -> Vec<LevelSample> {
            let shift = if of_gateway {
                0.4 * world.interval
            } else {
                0.0
            };
            let sample = |nth: usize| {
                let time = self.begun + nth as f64 * world.interval + shift;
                let gone = !of_gateway
                    && world
                        .unreadable
                        .is_some_and(|[from, to]| (from * end..to * end).contains(&time));
                LevelSample {
                    at: at(time),
                    levels: (!gone).then(|| self.levels(time, of_gateway)),
                }
            };
            (0..=count).map(sample).collect()
        };
        match world.pages {
            Pages::Server => vec![page(false)],
            Pages::Both | Pages::BlindGateway => vec![page(true), page(false)],
        }
    }

    fn evidence_of_run(
        &self,
        [rest, begin, over, end]: [f64; 4],
        requests: Vec<RequestSpan>,
    ) -> Evidence {
        let quiet = false;
        let waves = vec![(begin, over, quiet, requests)];
        Evidence {
            asker: Asker::Run,
            alone: Answers::default(),
            interval: Span::from_millis(100),
            ..self.evidence(rest, waves, end, Vec::new())
        }
    }

    fn evidence(
        &self,
        rest: f64,
        waves: Vec<(f64, f64, bool, Vec<RequestSpan>)>,
        end: f64,
        control: Vec<RequestSpan>,
    ) -> Evidence {
        let world = self.world;
        let pages = self.pages(end);
        let together = together(&pages);
        let between = |from: f64, to: f64| -> Vec<LevelSample> {
            let (from, to) = (at(from), at(to));
            let inside = together.iter().filter(|l| l.at >= from && l.at <= to);
            inside.copied().collect()
        };
        let whole = if world.whole { 1 } else { world.tokens };
        let canary = |begun: f64| Canary {
            begun: at(begun),
            answered: true,
            refused: false,
            ttft_ms: Some(
                if world.whole {
                    world.takes()
                } else {
                    world.ttft
                } * 1e3,
            ),
            took_ms: world.takes() * 1e3,
            events: whole,
            problem: None,
        };
        let last = waves.len() - 1;
        let waves = waves.into_iter().enumerate();
        let waves = waves.map(|(nth, (begin, over, quiet, requests))| Wave {
            quiet,
            samples: between(begin, if nth == last { end } else { over }),
            requests,
            canary: canary(over),
        });
        let answers = |requests| Answers {
            requests,
            events: requests * whole,
        };
        Evidence {
            asker: Asker::Test,
            server: None,
            settle: Span::from_secs_f64(4.0),
            interval: Span::from_secs_f64(world.interval),
            manner: Manner {
                mode: world.leave,
                whole_answers: world.whole,
                ..Manner::default()
            },
            known: super::tests::LIVE,
            warmed: Some(answers(1)),
            measured: None,
            before: between(rest, rest + LAG - 0.002),
            alone: answers(3),
            first_canary: canary(0.4),
            control,
            between: Vec::new(),
            waves: waves.collect(),
            pages: match pages.len() {
                1 => Vec::new(),
                _ => pages
                    .into_iter()
                    .zip(["gateway", "server"])
                    .map(|(samples, url)| PageSamples {
                        url: url.into(),
                        server: Some(url.into()),
                        known: super::tests::LIVE,
                        samples,
                    })
                    .collect(),
            },
        }
    }
}

/// Several pages as one: what each showed last, nothing while one cannot be read.
fn together(pages: &[Vec<LevelSample>]) -> Vec<LevelSample> {
    let numbered = pages.iter().enumerate();
    let mut samples: Vec<(usize, LevelSample)> = numbered
        .flat_map(|(number, page)| page.iter().map(move |sample| (number, *sample)))
        .collect();
    samples.sort_by_key(|(_, sample)| sample.at);
    let mut last = vec![None; pages.len()];
    samples
        .into_iter()
        .map(|(number, sample)| {
            last[number] = sample.levels;
            let all: Option<Vec<Levels>> = last.iter().copied().collect();
            LevelSample {
                at: sample.at,
                levels: all.as_deref().and_then(Levels::together),
            }
        })
        .collect()
}
