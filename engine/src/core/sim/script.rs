//! What a seed asks of a run: the nature of its world, its phases, and when they are cut short.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use pinfire_base::{
    clock::Span,
    delay::Delay,
    ready::{Ready, ReadyTurn},
    record::{Keep, Leave, Phase, Trigger},
    shard::Shard,
};
use pinfire_dialect::Answers;

use super::{
    dice::Dice,
    nature::{MILLI, Nature},
    seal::Seal,
};
use crate::{
    plan::{
        Address, Dialling, Driver, DriverChoice, EngineSetup, PhasePlan, Precision, ReceiveStamps,
        Reuse, Target, Tls,
    },
    request::{HeaderValue, RequestHead},
    schedule::{
        Arrivals, CancelPlan, Limit, Pace, Pattern, RateProfile, Sampling, Schedule, Users,
    },
};

/// How two phases follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Then {
    /// The second begins when the first has ended.
    Ended,
    /// When the first has sent its last request.
    SentAll,
    /// At some instant, whatever the first does.
    Whenever,
    /// When the core has come to rest behind the first.
    Rested,
}

pub(super) struct Script {
    pub(super) setup: EngineSetup,
    pub(super) nature: Option<Nature>,
    pub(super) phases: Vec<Arc<PhasePlan>>,
    pub(super) then: Then,
    /// When everything is stopped, after the last phase has begun.
    pub(super) stop: Option<Span>,
}

impl Script {
    pub(super) fn draw(dice: &Dice) -> Self {
        let precision = match dice.below(8) {
            0 => Precision::Spin,
            1..5 => Precision::Lead,
            _ => Precision::Sleep,
        };
        let nature = Nature {
            driver: dice.one_of(&[Driver::Uring, Driver::Epoll]),
            stamps: dice.one_of(&[ReceiveStamps::Auto, ReceiveStamps::User]),
            quick: dice.once_in(4),
            stalls: dice.once_in(5),
            steps: dice.once_in(8),
            seal: Seal::draw(dice),
            wrong: dice.one_of(&[3, 8, 40, 1_000]),
            room: dice.one_of(&[200, 3_000, 60_000]),
            gap: dice.one_of(&[40_000, MILLI, 8 * MILLI]),
        };
        let setup = EngineSetup {
            cpus: vec![None; 1 + usize::from(dice.once_in(4))],
            driver: DriverChoice::Auto,
            precision,
            receive_stamps: nature.stamps,
            realtime: false,
        };
        let tls = nature.seal.tls();
        let targets: Arc<[Target]> = (0..dice.between(1, 2))
            .map(|_| target(tls.clone(), dice))
            .collect();
        let two = dice.once_in(3);
        let then = dice.one_of(&[Then::Ended, Then::SentAll, Then::Whenever, Then::Rested]);
        let first = match two && (then != Then::Whenever || dice.once_in(2)) {
            true => Phase::Warmup,
            false => Phase::Profiling,
        };
        let shards = dice.one_of(&[1, 1, 2, 3]);
        let shard = Shard::new(
            dice.below(shards) as u32,
            shards as u32,
            targets.len() as u32,
        );
        let shard = shard.unwrap_or_default();
        let mut phases = vec![phase(first, &targets, shard, dice)];
        if two {
            phases.push(phase(Phase::Profiling, &targets, shard, dice));
        }
        Self {
            setup,
            nature: Some(nature),
            phases,
            then,
            stop: dice
                .once_in(6)
                .then(|| Span::from_nanos(dice.below(60 * MILLI))),
        }
    }
}

fn target(tls: Option<Tls>, dice: &Dice) -> Target {
    // The port with the number 9 takes no connections.
    let dead = dice.once_in(6);
    let address = |number: u64| {
        let port = if dead && number == 0 {
            9
        } else {
            80 + number as u16
        };
        Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)))
    };
    let addresses = dice.between(1, 3);
    let spare = dice.below(2);
    Target {
        addresses: (0..addresses).map(address).collect(),
        spare: (addresses..addresses + spare).map(address).collect(),
        head: RequestHead::post("/v1", [("X-Request-ID", HeaderValue::RequestId)]),
        tls,
    }
}

/// Bodies of one kind or another.
fn dataset(dice: &Dice) -> Arc<Ready> {
    static ALL: OnceLock<[Arc<Ready>; 4]> = OnceLock::new();
    let turn = |bytes: usize, delay: u64| ReadyTurn {
        body: vec![b'x'; bytes],
        rope: None,
        delay: Span::from_nanos(delay),
        at: None,
        history: None,
    };
    let all = ALL.get_or_init(|| {
        [
            Ready::singles(vec![vec![b'x'; 30]]),
            Ready::singles(vec![vec![b'x'; 9_000], vec![b'x'; 100], vec![b'x'; 50_000]]),
            Ready::new([
                (
                    "a".into(),
                    vec![turn(40, 0), turn(50, 0), turn(60, 2 * MILLI)],
                ),
                ("b".into(), vec![turn(40, 0)]),
            ]),
            Ready::new([("a".into(), vec![turn(40, 0), turn(9_000, 0)])]),
        ]
        .map(Arc::new)
    });
    Arc::clone(&all[dice.one_of(&[0, 0, 1, 2, 2, 3])])
}

fn phase(phase: Phase, targets: &Arc<[Target]>, shard: Shard, dice: &Dice) -> Arc<PhasePlan> {
    let dataset = dataset(dice);
    let count = dice.between(1, 8);
    let rate = 1e3 / dice.one_of(&[0.05, 1.0, 6.0]);
    let pace = match dice.below(10) {
        0..5 => Pace::Closed,
        5 | 6 => {
            let pattern = dice.one_of(&[Pattern::Constant, Pattern::Poisson, Pattern::Burst]);
            Pace::Rate(Arrivals::new(
                dice.number(),
                pattern,
                RateProfile::constant(rate),
            ))
        }
        7 | 8 => {
            let mut at = 0;
            let starts = (0..count).map(|_| {
                at += dice.below(dice.one_of(&[1, 4 * MILLI]));
                Span::from_nanos(at)
            });
            Pace::Fixed(starts.collect())
        }
        _ => Pace::Users(Users::new(dice.between(1, 4), rate, 2.0)),
    };
    let duration = dice
        .once_in(4)
        .then(|| Span::from_nanos(dice.below(40 * MILLI)));
    let requests = dice.once_in(2).then_some(count);
    let sessions = (requests.is_none() || dice.once_in(3)).then_some(count);
    let limit = |most: u64| Limit {
        slots: dice.between(u64::from(shard.count()), most) as usize,
        ramp: dice
            .once_in(4)
            .then(|| Span::from_nanos(dice.below(10 * MILLI))),
        shard,
    };
    let closed = matches!(pace, Pace::Closed);
    let span = |spans: &[u64]| Span::from_nanos(dice.below(dice.one_of(spans)) + 1);
    Arc::new(PhasePlan {
        phase,
        targets: Arc::clone(targets),
        dialling: Dialling {
            timeout: dice.once_in(2).then(|| span(&[400_000, 20 * MILLI])),
            ..Dialling::default()
        },
        answers: Answers::default(),
        sampling: Sampling::Sequential,
        first_session: dice.below(3),
        schedule: Schedule::of(shard, pace, dataset.is_single(), [requests, sessions]),
        dataset,
        concurrency: (closed || dice.once_in(2)).then(|| limit(5)),
        backs_off: dice.once_in(3),
        prefill: dice.once_in(4).then(|| limit(3)),
        duration,
        grace: dice
            .once_in(2)
            .then(|| Span::from_nanos(dice.below(20 * MILLI))),
        cancel: dice.once_in(2).then(|| cancels(dice)),
        id_key: dice.number(),
        timeout: span(&[10 * MILLI, 120 * MILLI, 250 * MILLI]),
        reuse: dice.one_of(&[Reuse::Pooled, Reuse::Sticky, Reuse::Never]),
        keep: Keep::default(),
    })
}

/// Some phase of this kind.
pub(super) fn any(kind: Phase) -> Arc<PhasePlan> {
    let dice = Dice::new(1);
    let targets = [target(None, &dice)].into_iter().collect();
    phase(kind, &targets, Shard::WHOLE, &dice)
}

fn cancels(dice: &Dice) -> CancelPlan {
    let most = Span::from_nanos(dice.one_of(&[1, 100_000, 2 * MILLI, 15 * MILLI]));
    let delay = match dice.once_in(2) {
        true => Delay::Fixed(most),
        false => Delay::Uniform {
            low: Span::ZERO,
            high: most,
        },
    };
    let percent = dice.one_of(&[30.0, 100.0]);
    let trigger = dice.one_of(&[
        Trigger::Sent,
        Trigger::Sent,
        Trigger::Connect,
        Trigger::MidBody,
        Trigger::Headers,
        Trigger::FirstToken,
        Trigger::Tokens(3),
        Trigger::Patience,
    ]);
    let leave = dice.one_of(&[
        Leave::Fin,
        Leave::Fin,
        Leave::Rst,
        Leave::HalfClose,
        Leave::Stall,
    ]);
    let plan = CancelPlan::delayed(dice.number(), percent, delay);
    let plan = plan.from_trigger(trigger).leaving(leave);
    match dice.once_in(5) {
        true => plan.in_waves(Span::from_nanos(3 * MILLI)),
        false => plan,
    }
}
