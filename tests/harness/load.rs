//! Phases of the engine with few words, and the laws that hold for every one of them.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use crossbeam_channel::Receiver;
use pinfire_base::{
    clock::{Span, Stamp, WallAnchor},
    health::{Counts, ReceiveCounts},
    ready::Ready,
    record::{Cancel, Keep, Leave, Mark, MarkKind, Outcome, Phase, Record, Trigger},
};
use pinfire_dialect::Answers;
use pinfire_engine::{
    plan::{
        Address, Dialling, DriverChoice, EngineSetup, PhasePlan, Precision, ReceiveStamps, Reuse,
        Target, Tls,
    },
    report::{EngineError, PhaseReport},
    request::{HeaderValue, RequestHead},
    run::Engine,
    schedule::{CancelPlan, Limit, Pace, Sampling, Schedule},
};

use crate::{needs::left_out, watchdog::watch};

/// Seed of the cancel plan of every [`Load`].
pub const SEED: u64 = 42;

/// A phase to be run. The fields are the knobs; the methods below are the usual turns of them.
#[derive(Clone, Debug)]
pub struct Load {
    /// The servers; a request goes to one of them in turn.
    pub servers: Vec<Address>,
    /// Talk TLS with them.
    pub tls: Option<Tls>,
    /// How connections are made.
    pub dialling: Dialling,
    /// The kernel interface.
    pub driver: DriverChoice,
    /// Sessions open at once over all cores; 0 for no limit.
    pub concurrency: usize,
    /// How long it takes until all of those may be open.
    pub ramp: Option<Span>,
    /// Slots rest after requests without an answer.
    pub backs_off: bool,
    /// Further addresses of every server, taken in turn too, and those for when all others refuse.
    pub others: [Vec<SocketAddr>; 2],
    /// Requests waiting for their first content at once.
    pub prefill: Option<usize>,
    /// When sessions begin.
    pub pace: Pace,
    /// End of sending.
    pub duration: Option<Span>,
    /// What is in flight is dropped so long after it.
    pub grace: Option<Span>,
    /// Sessions in all.
    pub sessions: Option<u64>,
    /// Requests in all; `u64::MAX` for no limit.
    pub requests: u64,
    /// Percentage cancelled, and the delay.
    pub cancel: Option<CancelPlan>,
    /// How the answers are read.
    pub answers: Answers,
    /// What is sent.
    pub dataset: Arc<Ready>,
    /// How deadlines are met.
    pub precision: Precision,
    /// Where the times of received bytes come from.
    pub receive_stamps: ReceiveStamps,
    /// What happens to connections.
    pub reuse: Reuse,
    /// Limit of one request.
    pub timeout: Span,
    /// CPUs, one core each.
    pub cpus: Vec<usize>,
    /// Warmup or profiling.
    pub phase: Phase,
    /// Sessions of the phases before.
    pub first_session: u64,
    /// Key of the ids.
    pub id_key: u64,
}

impl Load {
    /// A small streaming load of one core: 4 at a time, 20 in all.
    pub fn new(driver: DriverChoice, address: SocketAddr) -> Self {
        Self {
            servers: vec![Address::Tcp(address)],
            tls: None,
            dialling: Dialling::default(),
            driver,
            concurrency: 4,
            ramp: None,
            backs_off: false,
            others: Default::default(),
            prefill: None,
            pace: Pace::Closed,
            duration: None,
            grace: None,
            sessions: None,
            requests: 20,
            cancel: None,
            answers: Answers::default(),
            dataset: Arc::new(Ready::singles(vec![body(true)])),
            precision: Precision::Lead,
            receive_stamps: ReceiveStamps::Auto,
            reuse: Reuse::Pooled,
            timeout: Span::from_secs_f64(60.0),
            cpus: vec![0],
            phase: Phase::Profiling,
            first_session: 0,
            id_key: 7,
        }
    }

    /// So many slots and requests.
    pub fn of(mut self, concurrency: usize, requests: u64) -> Self {
        self.concurrency = concurrency;
        self.requests = requests;
        self
    }

    /// Cancels `percent` of the requests after `delay`.
    pub fn cancelling(mut self, percent: f64, delay: Span) -> Self {
        self.cancel = Some(CancelPlan::new(SEED, percent, delay));
        self
    }

    /// Leaves requests by this plan.
    pub fn leaving_by(mut self, plan: CancelPlan) -> Self {
        self.cancel = Some(plan);
        self
    }

    /// Sends these bodies in turn.
    pub fn with_bodies(mut self, bodies: Vec<Vec<u8>>) -> Self {
        self.dataset = Arc::new(Ready::singles(bodies));
        self
    }

    /// Talks TLS with the servers.
    pub fn over(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Gives up on a request after `millis`.
    pub fn timing_out(mut self, millis: u64) -> Self {
        self.timeout = Span::from_millis(millis);
        self
    }

    /// Runs on these CPUs.
    pub fn on(mut self, cpus: &[usize]) -> Self {
        self.cpus = cpus.to_vec();
        self
    }

    /// Runs it on an engine of its own.
    pub fn run(&self) -> Run {
        Session::start(self).run(self)
    }

    /// Its cancel plan.
    pub fn cancel_plan(&self) -> Option<CancelPlan> {
        self.cancel.clone()
    }

    fn plan(&self) -> Arc<PhasePlan> {
        let targets = self.servers.iter().map(|address| self.target(address));
        Arc::new(PhasePlan {
            phase: self.phase,
            targets: targets.collect(),
            dialling: self.dialling.clone(),
            answers: self.answers.clone(),
            dataset: Arc::clone(&self.dataset),
            sampling: Sampling::Sequential,
            first_session: self.first_session,
            schedule: Schedule::new(
                self.pace.clone(),
                self.dataset.is_single(),
                Some(self.requests),
                self.sessions,
            ),
            concurrency: (self.concurrency > 0).then_some(Limit {
                ramp: self.ramp,
                ..Limit::of(self.concurrency)
            }),
            backs_off: self.backs_off,
            prefill: self.prefill.map(Limit::of),
            duration: self.duration,
            grace: self.grace,
            cancel: self.cancel_plan(),
            id_key: self.id_key,
            timeout: self.timeout,
            reuse: self.reuse,
            keep: Keep::default(),
        })
    }

    fn target(&self, address: &Address) -> Target {
        let authority = match address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        };
        let head = RequestHead::post(
            "/v1/chat/completions",
            [
                ("Host", HeaderValue::Fixed(&authority)),
                ("X-Request-ID", HeaderValue::RequestId),
                ("X-Correlation-ID", HeaderValue::CorrelationId),
                ("Content-Type", HeaderValue::Fixed("application/json")),
            ],
        );
        let [others, spare] = &self.others;
        Target {
            addresses: std::iter::once(address.clone())
                .chain(others.iter().copied().map(Address::Tcp))
                .collect(),
            spare: spare.iter().copied().map(Address::Tcp).collect(),
            head,
            tls: self.tls.clone(),
        }
    }
}

/// A request body that the mock understands.
pub fn body(stream: bool) -> Vec<u8> {
    format!(r#"{{"messages":[{{"role":"user","content":"Hi"}}],"model":"mock","stream":{stream}}}"#)
        .into_bytes()
}

/// A streaming body of exactly `bytes` bytes.
pub fn large_body(bytes: usize) -> Vec<u8> {
    let (before, after) = (
        r#"{"messages":[{"role":"user","content":""#,
        r#""}],"model":"mock","stream":true}"#,
    );
    let filling = bytes.saturating_sub(before.len() + after.len());
    format!("{before}{}{after}", "x".repeat(filling)).into_bytes()
}

/// Whether io_uring works here. If not, says so on stderr, or fails where `PINFIRE_NEED_URING` is
/// set.
#[track_caller]
pub fn has_uring() -> bool {
    static REFUSED: OnceLock<Option<String>> = OnceLock::new();
    let refused = REFUSED.get_or_init(|| match Engine::start(&setup(DriverChoice::Uring)) {
        Ok(_) => None,
        Err(EngineError::NoUring { cause }) => Some(cause.to_string()),
        Err(error) => panic!("the engine does not start: {error}"),
    });
    if let Some(cause) = refused {
        let missing = format!("the kernel refuses io_uring ({cause})");
        left_out("PINFIRE_NEED_URING", &missing);
    }
    refused.is_none()
}

fn setup(driver: DriverChoice) -> EngineSetup {
    EngineSetup {
        cpus: vec![Some(0)],
        driver,
        precision: Precision::Lead,
        receive_stamps: ReceiveStamps::Auto,
        realtime: false,
    }
}

/// A running engine.
pub struct Session {
    /// There until it is dropped.
    engine: Option<Engine>,
    records: Receiver<Record>,
    /// Taken from there, of a phase that nobody has asked for yet.
    kept: Vec<Record>,
    going: Option<Arc<PhasePlan>>,
}

/// A phase that has ended and obeyed the laws.
#[derive(Debug)]
pub struct Run {
    /// All records, by index.
    pub records: Vec<Record>,
    /// The engine's own account.
    pub report: PhaseReport,
    /// Its counts.
    pub counts: Counts,
    /// Maps its stamps to wall time.
    pub anchor: WallAnchor,
}

impl Session {
    /// Starts an engine with the cores and the driver of `load`.
    pub fn start(load: &Load) -> Self {
        let engine = Engine::start(&EngineSetup {
            cpus: load.cpus.iter().copied().map(Some).collect(),
            precision: load.precision,
            receive_stamps: load.receive_stamps,
            ..setup(load.driver)
        })
        .expect("the engine starts");
        let records = engine.records();
        Self {
            engine: Some(engine),
            records,
            kept: Vec::new(),
            going: None,
        }
    }

    fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("an engine until the end")
    }

    /// Runs a phase to its end.
    pub fn run(&mut self, load: &Load) -> Run {
        self.begin(load);
        self.finish()
    }

    /// Closes everything between two runs, as a sweep does.
    pub fn rest(&mut self) {
        assert!(
            self.engine().rest(Duration::from_secs(30)),
            "the cores come to rest"
        );
    }

    /// Begins a phase.
    pub fn begin(&mut self, load: &Load) {
        let plan = load.plan();
        self.engine().begin(&plan);
        self.going = Some(plan);
    }

    /// Waits until the counts of the phase are as wanted.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Counts) -> bool) {
        let _guard = watch(what);
        let phase = self.going.as_ref().expect("a phase was begun").phase;
        while !wanted(&self.engine().progress(phase)) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops the phase.
    pub fn stop(&mut self) {
        self.engine().stop();
    }

    /// Waits for the end of the phase and checks what must hold for every phase.
    pub fn finish(&mut self) -> Run {
        let plan = self.going.take().expect("a phase was begun");
        self.end_of(&plan)
    }

    /// Begins `first`, and `second` as soon as all of `first` has been sent.
    pub fn begin_seamless(&mut self, first: &Load, second: &Load) -> Arc<PhasePlan> {
        self.begin(first);
        let plan = self.going.take().expect("a phase was begun");
        let guard = watch("the first phase was never sent");
        let patience = Duration::from_millis(200);
        while !self
            .engine()
            .wait_for_last_send(plan.phase, patience)
            .expect("the cores live")
        {}
        drop(guard);
        self.begin(second);
        plan
    }

    /// Runs both phases to their ends, the second one begun by
    /// [`begin_seamless`](Self::begin_seamless).
    pub fn run_seamless(&mut self, first: &Load, second: &Load) -> (Run, Run) {
        let plan = self.begin_seamless(first, second);
        let second = self.finish();
        (self.end_of(&plan), second)
    }

    /// Waits for the end of a phase and checks what must hold for every phase.
    pub fn end_of(&mut self, plan: &PhasePlan) -> Run {
        let guard = watch("the phase never ended");
        let report = loop {
            let report = self.engine().wait(plan.phase, Duration::from_millis(200));
            if let Some(report) = report.expect("the cores live") {
                break report;
            }
        };
        drop(guard);
        // Everything of it has left the cores by now.
        self.kept.extend(self.records.try_iter());
        let (mut records, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.kept)
            .into_iter()
            .partition(|record| record.phase == plan.phase);
        self.kept = others;
        records.sort_by_key(|record| record.index);
        let counts = report.counts();
        let run = Run {
            records,
            report,
            counts,
            anchor: self.engine().anchor(),
        };
        run.obeys_the_laws(plan);
        run
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _guard = watch("the engine did not leave");
        drop(self.engine.take());
    }
}

impl Run {
    /// Where the times of its reads come from.
    pub fn stamps(&self) -> ReceiveCounts {
        let mut sum = ReceiveCounts::default();
        for core in &self.report.cores {
            sum.add(&core.health.receive_stamps);
        }
        sum
    }

    /// The records with this outcome.
    pub fn ended(&self, outcome: &Outcome) -> Vec<&Record> {
        let has = |record: &&Record| record.outcome == *outcome;
        self.records.iter().filter(has).collect()
    }

    /// How many ended in each way: finished, failed, cancelled, dropped.
    pub fn ends(&self) -> [u64; 4] {
        let counts = self.counts;
        [
            counts.finished,
            counts.failed,
            counts.cancelled,
            counts.dropped,
        ]
    }

    /// Connections opened.
    pub fn connects(&self) -> u64 {
        self.report.cores.iter().map(|c| c.health.connects).sum()
    }

    /// Connections found closed while idle.
    pub fn stale_closed(&self) -> u64 {
        let each = self.report.cores.iter().map(|c| c.health.stale_closed);
        each.sum()
    }

    /// One record per request, counts that agree with them, instants in order, cancels as planned.
    fn obeys_the_laws(&self, plan: &PhasePlan) {
        let counts = self.counts;
        assert!(counts.agree(), "{counts:?}");
        let indices: Vec<u64> = self.records.iter().map(|record| record.index).collect();
        // An end before the last request may leave out numbers that a core had taken.
        let gaps = plan.duration.is_some() || !plan.schedule.exhausted();
        let once = indices.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(once, "more than one record of a request");
        let whole = gaps || indices.last().is_none_or(|&last| last + 1 == counts.due);
        assert!(
            whole && indices.len() as u64 == counts.due,
            "not one record per request"
        );
        if matches!(plan.schedule.pace, Pace::Closed) && plan.schedule.single {
            let taken = plan.schedule.sessions.taken();
            assert_eq!(taken, counts.due, "taken and not sent");
        }
        let count = |wanted: fn(&Outcome) -> bool| {
            let has = |record: &&Record| wanted(&record.outcome);
            self.records.iter().filter(has).count() as u64
        };
        let ends = [
            count(|o| *o == Outcome::Complete),
            count(|o| matches!(o, Outcome::Failed(_))),
            count(|o| *o == Outcome::Cancelled),
            count(|o| *o == Outcome::Dropped),
        ];
        assert_eq!(ends, self.ends(), "{counts:?}");
        let sent = self.records.iter().filter(|r| r.times.written.is_some());
        assert_eq!(sent.count() as u64, counts.sent, "{counts:?}");
        for record in &self.records {
            check(record, plan);
        }
    }
}

/// What must hold for every record.
fn check(record: &Record, plan: &PhasePlan) {
    let times = &record.times;
    assert_eq!(record.phase, plan.phase);
    let conversation = plan.conversation(record.session) as usize;
    assert!(
        plan.dataset.of(conversation).contains(&record.entry),
        "{record:?}"
    );
    in_order(
        record,
        [
            Some(times.scheduled),
            Some(times.admitted),
            Some(times.start),
            times.connected,
            times.secured,
            times.send_start,
            times.written,
            Some(times.end),
        ],
    );
    in_order(
        record,
        [
            times.send_start,
            times.head,
            times.body_first,
            times.body_last,
            Some(times.end),
        ],
    );
    let marks = record.transcript.marks().iter().map(|mark| Some(mark.at));
    in_order(
        record,
        [times.head]
            .into_iter()
            .chain(marks)
            .chain([Some(times.end)]),
    );
    assert!(
        !(record.wire.reused && times.connected.is_some()),
        "{record:?}"
    );
    let body = match &record.body {
        Some(body) => body.len(),
        None => plan.dataset.turn(record.entry).size(),
    };
    assert_eq!(
        times.written.is_some(),
        times.written.is_some() && record.wire.body_sent == body as u64,
        "{record:?}"
    );
    let chosen = plan
        .cancel
        .as_ref()
        .and_then(|cancel| cancel.of(record.index, record.entry, times.scheduled));
    let plain = |cancel: Cancel| Cancel {
        done: None,
        ..cancel
    };
    let delay = record.cancel.map(|cancel| cancel.delay);
    assert_eq!(
        record.cancel.map(plain),
        chosen.map(|chosen| chosen.cancel),
        "{record:?}"
    );
    let done = record.cancel.and_then(|cancel| cancel.done);
    assert_eq!(
        done.is_some(),
        record.outcome == Outcome::Cancelled,
        "{record:?}"
    );
    if let (Some(done), Some(delay)) = (done, delay) {
        let cancel = record.cancel.expect("cancelled by plan");
        let content = |nth: usize| {
            let is = |mark: &&Mark| matches!(mark.kind, MarkKind::Content | MarkKind::Reasoning);
            let mut marks = record.transcript.marks().iter().filter(is);
            marks.nth(nth).map(|mark| mark.at)
        };
        let triggered = match cancel.trigger {
            Trigger::Connect => times.connected,
            Trigger::Sent => times.written,
            Trigger::Headers => times.head,
            Trigger::FirstToken => content(0),
            Trigger::Tokens(count) => content(count as usize - 1),
            Trigger::Patience => Some(times.start),
            // No stamp of the record has it.
            Trigger::MidBody => {
                assert_eq!(record.wire.body_sent, body as u64 / 2, "{record:?}");
                Some(done.triggered)
            }
        };
        assert_eq!(triggered, Some(done.triggered), "{record:?}");
        let chosen = chosen.expect("chosen by plan");
        if chosen.wave.is_none() {
            assert_eq!(done.due, done.triggered + delay, "{record:?}");
        }
        in_order(
            record,
            [
                Some(done.triggered + delay),
                Some(done.due),
                Some(done.asked),
                Some(done.closed),
                Some(times.end),
            ],
        );
        assert_eq!(
            done.after.is_some(),
            cancel.leave == Leave::HalfClose,
            "{record:?}"
        );
    }
}

/// Those of the instants that there are never go back.
fn in_order(record: &Record, instants: impl IntoIterator<Item = Option<Stamp>>) {
    let instants: Vec<Stamp> = instants.into_iter().flatten().collect();
    assert!(instants.is_sorted(), "instants out of order: {record:?}");
}
