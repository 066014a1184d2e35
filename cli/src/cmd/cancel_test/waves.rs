//! The waves of a test: the load, the cancels, the rest behind them, a canary.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use pinfire_analysis::reclaim::{
    Answers, Asker, Canary, Evidence, LevelSample, Measured, RequestSpan, Wave,
};
use pinfire_base::{
    clock::{Span, Stamp},
    delay::Delay,
    record::{CancelTrigger, Trigger},
    shard::Shard,
};
use pinfire_engine::schedule::CancelPlan;
use pinfire_scrape::{ServerKinds, server_kinds::Known};

use serde::{Deserialize, Serialize};

use super::ask::{Ask, Size, pages};
use crate::{
    args::CancelTest,
    cancellation,
    cluster::Together,
    reclaim::{Floor, QUIET, Recording, Requester, Sampler, last_levels, span_of},
    run::{PreparedRun, signals::Interrupt},
    scrape::page::Scrapers,
    terminal::say,
};

/// What a test that ends before its time lacks.
const NO_VERDICT: &str = "there is no verdict";

/// Requests alone before the first wave: their median is what the waves are timed by.
const FIRST_CANARIES: usize = 3;

/// Rest before a cell: so many samples, and so many of their intervals at most.
const ENOUGH_BEFORE: usize = 3;
const BETWEEN_CELLS: u32 = 100;

/// Whether new requests take the places of those that were cancelled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replacements {
    /// As on a busy server: they show what cancels do to others.
    AtOnce,
    /// Nothing stands in the place of what was not let go: they show how long that is.
    None,
}

/// When a wave leaves, from its begin.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Timing {
    /// Before the first token.
    early: Span,
    /// In the stream.
    late: Span,
}

impl Timing {
    /// Half of the time to first token of a request alone, and a third of the stream after the last
    /// first token of those that ran together. Of answers that come whole, after a third and after
    /// two thirds of the time that one takes alone.
    fn of(streaming: bool, control: &[RequestSpan], canary: &Canary) -> Self {
        let millis = |ms: f64| Span::from_secs_f64(ms.max(0.5) / 1e3);
        if !streaming {
            return Self {
                early: millis(canary.took_ms / 3.0),
                late: millis(canary.took_ms * 2.0 / 3.0),
            };
        }
        let ttft = canary.ttft_ms.unwrap_or(canary.took_ms);
        let stream = (canary.took_ms - ttft).max(1.0);
        let begun = control.iter().map(|seen| seen.begun).min();
        let at_once = control.iter().filter(|seen| {
            // Those that came after others had ended are not of the begin.
            begun.is_some_and(|begun| seen.begun.since(begun).as_millis_f64() < ttft.max(1.0))
        });
        let firsts = at_once.filter_map(|seen| Some(seen.tokens.first()?.since(begun?)));
        let last = firsts.max().map_or(ttft, Span::as_millis_f64).max(ttft);
        Self {
            early: millis(ttft / 2.0),
            late: millis(last + stream / 3.0),
        }
    }
}

/// Whether a sample shows more than there was at rest, where anything is shown.
fn shows_load(samples: &[LevelSample], rested: Option<Floor>) -> bool {
    let Some(rested) = rested else { return true };
    let held = samples.iter().filter_map(|sample| sample.levels);
    held.map(Floor::of)
        .any(|now| now.held() >= rested.held() + 0.5)
}

/// A load: what of it is whose is decided by the numbers of the requests.
#[derive(Serialize, Deserialize)]
struct Order {
    /// Sessions before it.
    sessions: u64,
    slots: u64,
    requests: u64,
    cut: Option<Cut>,
}

/// The cancels of a load.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Cut {
    /// Number of the wave.
    nth: u64,
    timing: Timing,
    /// Of the first so many requests.
    among: u64,
}

/// What a shard's requests are to be like.
pub struct Sender<'a> {
    pub ask: Ask,
    pub requester: Requester<'a>,
    pub run: PreparedRun<'a>,
}

impl<'a> Sender<'a> {
    /// Sends to the first server what the flags ask for.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn of(flags: &CancelTest, ask: Ask, run: PreparedRun<'a>) -> Result<Self> {
        let patience = Span::from_secs_f64(flags.canary_timeout);
        let requester = Requester::of(&run, patience)?.only_asking_the_first();
        Ok(Self {
            ask,
            requester,
            run,
        })
    }

    /// Sends a shard's part of a load.
    fn send(
        &mut self,
        order: &Order,
        shard: Shard,
        zero: Option<Stamp>,
        interrupt: &Interrupt,
    ) -> Result<Vec<RequestSpan>> {
        self.requester.go_to(order.sessions);
        let mut plan = self.requester.plan_of(shard, order.slots, order.requests);
        plan.cancel = match order.cut {
            Some(cut) => Some(self.cut(cut.nth, cut.timing)?.among_first(cut.among)),
            None => None,
        };
        let engine = &mut self.run.engine;
        let records = self
            .requester
            .phase(engine, interrupt, &Arc::new(plan), zero)?;
        Ok(records.iter().map(|r| span_of(r, usize::MAX)).collect())
    }

    /// Sends this shard's part of all loads that the leader decides.
    ///
    /// # Errors
    /// The engine is gone, or the user has had enough.
    pub fn attend(&mut self, together: &mut Together, interrupt: &Interrupt) -> Result<()> {
        loop {
            // Whoever ends it has said why.
            let Ok((zero, what)) = together.begin(String::new(), interrupt) else {
                return Ok(());
            };
            if what == OVER {
                return Ok(());
            }
            let order: Order = serde_json::from_str(&what).context("what the leader says")?;
            let mut spans = self.send(&order, together.shard, Some(zero), interrupt)?;
            let there = together.at_the_leader();
            for span in &mut spans {
                span.begun = there(span.begun);
                span.ended = there(span.ended);
                span.tokens
                    .iter_mut()
                    .for_each(|token| *token = there(*token));
            }
            together.found(serde_json::to_vec(&spans)?);
        }
    }
}

/// What the leader says where no load follows.
const OVER: &str = "over";

/// A request alone, at rest.
pub struct Usual {
    /// As the client saw it.
    pub canary: Canary,
    /// What the server's counters made of it.
    pub measured: Measured,
}

/// A test under way.
pub struct Test<'a> {
    size: Size,
    sender: Sender<'a>,
    sampler: Sampler,
    interrupt: &'a Interrupt,
    /// The shards that send the loads with this process.
    together: Option<&'a mut Together>,
}

impl<'a> Test<'a> {
    /// Begins to sample the server's metrics.
    ///
    /// # Errors
    /// There is no page of metrics, or the system gives no thread.
    pub fn start(
        flags: &'a CancelTest,
        ask: Ask,
        kinds: &ServerKinds,
        run: PreparedRun<'a>,
        interrupt: &'a Interrupt,
        together: Option<&'a mut Together>,
    ) -> Result<Self> {
        let settings = run.settings;
        let server = run.servers.first().context("--url names no server")?;
        let mut scrapers = Scrapers::new(&settings.watch.trust, &settings.places.rest);
        let pages = pages(flags, server)?;
        let size = flags.size();
        let interval = Span::from_secs_f64(size.interval);
        let sampler = Sampler::start(&pages, kinds, interval, &mut scrapers)?;
        interrupt.sending();
        Ok(Self {
            size,
            sender: Sender::of(flags, ask, run)?,
            sampler,
            interrupt,
            together,
        })
    }

    /// Keeps what comes back.
    pub fn record(&mut self, recording: Recording) {
        self.sender.requester.recording = Some(recording);
    }

    /// What was kept.
    pub fn recorded(&mut self) -> Option<Recording> {
        self.sender.requester.recording.take()
    }

    /// Says what is going to happen.
    fn announce(&self) {
        let server = self.sender.run.servers.first();
        let over = self.together.as_ref().map_or_else(String::new, |all| {
            format!(" over {} shards", all.shard.count())
        });
        say::line(format_args!(
            "cancel-test of {}{over}: {} waves of {} cancels, metrics from {}; where something is not let go, {} \
             s are waited behind each wave",
            server.map_or("", |server| &server.base),
            self.size.waves,
            self.size.concurrency.div_ceil(2),
            self.sampler.urls().join(", "),
            self.size.settle
        ));
    }

    /// Sends the waves.
    ///
    /// # Errors
    /// The engine is gone, or the user has had enough.
    pub fn carry_out(&mut self) -> Result<Evidence> {
        self.announce();
        let mut evidence = self.start_at_rest()?;
        if evidence.first_canary.answered {
            let mut floor = last_levels(&evidence.before).map(Floor::of);
            evidence.control = self.load(None, Replacements::AtOnce)?;
            let timing = Timing::of(
                self.sender.ask.streaming,
                &evidence.control,
                &evidence.first_canary,
            );
            self.settle(&mut evidence.between, &mut floor)?;
            for nth in 0..self.size.waves {
                self.sampler.take(&mut evidence.between);
                // Of each kind every second one is quiet, the first and the last of four.
                let replacements = match (nth + nth / 2).is_multiple_of(2) {
                    true => Replacements::None,
                    false => Replacements::AtOnce,
                };
                let wave = self.wave(nth, timing, &mut floor, replacements)?;
                say::line(format_args!(
                    "wave {} of {}: {}, canary {}",
                    nth + 1,
                    self.size.waves,
                    match floor {
                        Some(now) => format!("held at rest: {}", now.held()),
                        None => "what is held cannot be seen".to_owned(),
                    },
                    match wave.canary.answered {
                        true => format!("answered after {:.0} ms", wave.canary.took_ms),
                        false => "NOT answered".to_owned(),
                    }
                ));
                let lost = !wave.canary.answered;
                evidence.waves.push(wave);
                if lost {
                    break;
                }
            }
            self.rest_at_the_end(&mut evidence)?;
        }
        Ok(self.known(evidence))
    }

    /// What the server is like before anything is cancelled. A first request alone warms it: a
    /// fresh one shows some of its metrics only then; what its counters make of that request tells
    /// how they count.
    ///
    /// # Errors
    /// The engine is gone, or the user has had enough.
    fn start_at_rest(&mut self) -> Result<Evidence> {
        let mut between = Vec::new();
        self.sampler.rest(&mut between, QUIET, self.interrupt)?;
        let mut floor = last_levels(&between).map(Floor::of);
        let mut warmed = Answers::default();
        let first = self.canary()?;
        warmed.add(&first);
        let mut canaries = vec![first];
        let mut before = Vec::new();
        let mut alone = Answers::default();
        if canaries.iter().all(|canary| canary.answered) {
            self.settle(&mut between, &mut floor)?;
            let rest = QUIET.max(self.sampler.lag());
            self.sampler.rest(&mut before, rest, self.interrupt)?;
            while canaries.len() < 1 + FIRST_CANARIES && canaries.iter().all(|of| of.answered) {
                let canary = self.canary()?;
                alone.add(&canary);
                canaries.push(canary);
            }
        }
        // The first one has met a server that was not warm.
        if canaries.len() > 1 {
            canaries.remove(0);
        }
        canaries.sort_by(|a, b| a.took_ms.total_cmp(&b.took_ms));
        let middle = canaries.len() / 2;
        let unanswered = canaries.iter().position(|canary| !canary.answered);
        let first_canary = canaries.swap_remove(unanswered.unwrap_or(middle));
        Ok(Evidence {
            warmed: Some(warmed),
            alone,
            between,
            ..self.evidence(before, first_canary)
        })
    }

    /// What one request alone is like here.
    ///
    /// # Errors
    /// The engine is gone, or the user has had enough.
    pub fn usual(&mut self) -> Result<Usual> {
        let evidence = self.start_at_rest()?;
        let evidence = self.known(evidence);
        Ok(Usual {
            measured: evidence.measure(),
            canary: evidence.first_canary,
        })
    }

    /// What is gathered before the first wave.
    fn evidence(&self, before: Vec<LevelSample>, first_canary: Canary) -> Evidence {
        Evidence {
            asker: Asker::Test,
            server: None,
            settle: Span::from_secs_f64(self.size.settle),
            interval: Span::from_secs_f64(self.size.interval),
            manner: self.sender.ask.manner(),
            known: Known::default(),
            warmed: None,
            measured: None,
            before,
            alone: Answers::default(),
            first_canary,
            control: Vec::new(),
            between: Vec::new(),
            waves: Vec::new(),
            pages: Vec::new(),
        }
    }

    /// With what the pages of metrics have told of the server.
    fn known(&self, evidence: Evidence) -> Evidence {
        Evidence {
            server: self.sampler.server().map(|kind| kind.name.clone()),
            known: self.sampler.known(),
            pages: self.sampler.pages(),
            ..evidence
        }
    }

    /// A small test of one way of leaving, behind others on the same connections: no control, no
    /// replacements, and the canary before it is that of the one before. It is timed by how long
    /// a usual canary takes, and counters are held against what they made of that one.
    ///
    /// # Errors
    /// The engine is gone, or the user has had enough.
    pub fn cell(&mut self, ask: Ask, usual: &Usual, canary: Canary) -> Result<Evidence> {
        self.sender.ask = ask;
        let mut before = Vec::new();
        // Whatever still comes of the canary is no part of it.
        self.sampler.take(&mut before);
        self.sampler.forget();
        before.clear();
        let some = Span::from_secs_f64(self.size.interval);
        for _ in 0..BETWEEN_CELLS {
            self.sampler.rest(&mut before, some, self.interrupt)?;
            if before.len() >= ENOUGH_BEFORE {
                break;
            }
        }
        let mut floor = last_levels(&before).map(Floor::of);
        let timing = Timing::of(ask.streaming, &[], &usual.canary);
        let mut evidence = self.evidence(before, canary);
        evidence.measured = Some(usual.measured.clone());
        if evidence.first_canary.answered {
            for nth in 0..self.size.waves {
                let rested = floor;
                let mut wave = self.wave(nth, timing, &mut floor, Replacements::None)?;
                let lost = !wave.canary.answered;
                // A page that has not shown the load may not show yet what is held of it either.
                if !lost && !shows_load(&wave.samples, rested) {
                    let lag = self.sampler.lag();
                    self.sampler.rest(&mut wave.samples, lag, self.interrupt)?;
                }
                evidence.waves.push(wave);
                if lost {
                    break;
                }
            }
        }
        Ok(self.known(evidence))
    }

    /// Closes every connection; the engine can be used again.
    pub fn end(self) {
        self.sender.run.end_load(true);
    }

    /// What is slow to show, and what is slow to come back, has its time once more at the end.
    fn rest_at_the_end(&mut self, evidence: &mut Evidence) -> Result<()> {
        let lag = self.sampler.lag();
        let mut floor = last_levels(&evidence.before).map(Floor::of);
        let Some(wave) = evidence.waves.last_mut() else {
            return Ok(());
        };
        if wave.canary.answered {
            self.settle(&mut wave.samples, &mut floor)?;
            self.sampler.rest(&mut wave.samples, lag, self.interrupt)?;
        }
        Ok(())
    }

    fn wave(
        &mut self,
        nth: u64,
        timing: Timing,
        floor: &mut Option<Floor>,
        replacements: Replacements,
    ) -> Result<Wave> {
        let mut samples = Vec::new();
        let half = self.size.concurrency.div_ceil(2);
        let cut = Cut {
            nth,
            timing,
            among: half,
        };
        let requests = self.load(Some(cut), replacements)?;
        self.settle(&mut samples, floor)?;
        let canary = self.canary()?;
        Ok(Wave {
            quiet: replacements == Replacements::None,
            requests,
            samples,
            canary,
        })
    }

    /// All slots at once, and then half as many again, or none.
    fn load(&mut self, cut: Option<Cut>, replacements: Replacements) -> Result<Vec<RequestSpan>> {
        let slots = self.size.concurrency;
        let more = match replacements {
            Replacements::AtOnce => slots.div_ceil(2),
            Replacements::None => 0,
        };
        let order = Order {
            sessions: self.sender.requester.sessions(),
            slots,
            requests: slots + more,
            cut,
        };
        let (sender, interrupt) = (&mut self.sender, self.interrupt);
        let Some(together) = &mut self.together else {
            return sender.send(&order, Shard::WHOLE, None, interrupt);
        };
        let what = serde_json::to_string(&order)?;
        let begun = together.begin(what, interrupt);
        let (zero, _) = begun.map_err(|ended| anyhow!("{}; {NO_VERDICT}", ended.in_words()))?;
        let mut spans = sender.send(&order, together.shard, Some(zero), interrupt)?;
        for others in together.gathered(interrupt).context(NO_VERDICT)? {
            let others: Vec<RequestSpan> =
                serde_json::from_slice(&others).context("what a shard says of its requests")?;
            spans.extend(others);
        }
        spans.sort_by_key(|span| span.begun);
        Ok(spans)
    }

    /// Tells the shards that no load follows.
    pub fn over(&mut self) {
        if let Some(together) = &mut self.together {
            // Whoever is gone by now was there for all loads.
            let _ = together.begin(OVER.to_owned(), self.interrupt);
        }
    }

    /// One request alone.
    fn canary(&mut self) -> Result<Canary> {
        let sender = &mut self.sender;
        sender
            .requester
            .canary(&mut sender.run.engine, self.interrupt)
    }

    /// Waits until the server holds no more than at the last rest, or its time is over.
    fn settle(&mut self, samples: &mut Vec<LevelSample>, floor: &mut Option<Floor>) -> Result<()> {
        let limit = Span::from_secs_f64(self.size.settle);
        self.sampler.settle(samples, floor, limit, self.interrupt)
    }
}

impl Sender<'_> {
    /// When the requests of a wave are left. Without a trigger of the user's all leave at one
    /// instant, which a timer brings: the first multiple of a span that all are in.
    fn cut(&self, nth: u64, timing: Timing) -> Result<CancelPlan> {
        let plan =
            |delay| CancelPlan::delayed(0, 100.0, Delay::Fixed(delay)).leaving(self.ask.leave());
        let at_once = plan(Span::ZERO);
        Ok(match self.ask.trigger {
            // Of an answer that comes whole there is nothing to see before its end.
            Some(CancelTrigger::At(Trigger::Sent)) => match self.ask.streaming {
                true => plan(timing.early),
                false => plan(Span::from_nanos(
                    timing.early.nanos().midpoint(timing.late.nanos()),
                )),
            },
            Some(CancelTrigger::At(trigger)) => at_once.from_trigger(trigger),
            Some(CancelTrigger::Fraction(share)) => {
                let entries = self.run.workload.entries.iter();
                let counts = cancellation::fraction(share, entries.map(|turn| turn.requested_osl))?;
                at_once.from_tokens(counts.into())
            }
            None if nth.is_multiple_of(2) => {
                at_once.from_trigger(Trigger::Sent).in_waves(timing.early)
            }
            None => {
                let late = match self.ask.streaming {
                    true => Trigger::FirstToken,
                    false => Trigger::Sent,
                };
                at_once.from_trigger(late).in_waves(timing.late)
            }
        })
    }
}
