//! Cores in a world without a kernel, in the manner of quinn's `Pair` and of TigerBeetle's
//! simulator: time is virtual, servers are scripted, and a run is what its seed says.
//!
//! Everything of a core is the real thing, its tasks too; only what stands behind
//! [`Io`](crate::io::Io) is not. `PINFIRE_SEED` runs one seed and tells what happened;
//! `PINFIRE_RUNS` asks for more runs, or fewer.

mod dice;
mod laws;
mod nature;
mod plug;
mod run;
mod script;
mod seal;
mod server;
mod tasks;
mod world;

use std::{
    env::var,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use pinfire_base::record::{Failure, Outcome, Phase, Record};
use run::Run;
pub(super) use world::Outside;

use crate::plan::PhasePlan;

/// The outside of a core for the tests of its pieces.
pub(super) fn outside() -> Outside {
    Outside {
        world: world::World::new(nature::Nature::calm(), dice::Dice::new(1), 1, false),
        core: 0,
    }
}

/// A phase of this kind, for the tests of a core's pieces.
pub(super) fn plan(phase: Phase) -> Arc<PhasePlan> {
    script::any(phase)
}

/// Runs of the gate.
const RUNS: u64 = 100_000;

fn number(name: &str) -> Option<u64> {
    let text = var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// Says how a run that fails can be seen again.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the run with seed {0} has failed; to see it again: PINFIRE_SEED={0} cargo test -p \
                 pinfire-engine --lib runs_obey_the_laws -- --nocapture",
                self.0
            );
        }
    }
}

fn run(seed: u64, traced: bool) -> Totals {
    let replay = Replay(seed);
    let run = Run::of(seed, traced);
    let totals = run.play();
    drop(replay);
    totals
}

/// What has happened in many runs: what never happens is not tested.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Totals {
    /// Finished, cancelled and dropped.
    ended: [u64; 3],
    /// By [`kind`].
    failed: [u64; 13],
    /// Over rustls: finished, and failed once a handshake had begun.
    sealed: [u64; 2],
}

impl Totals {
    fn count(&mut self, record: &Record, sealed: bool) {
        if sealed {
            let was_there = record.times.connected.is_some();
            self.sealed[0] += u64::from(record.outcome == Outcome::Complete);
            let failed = matches!(record.outcome, Outcome::Failed(_));
            self.sealed[1] += u64::from(failed && was_there);
        }
        match &record.outcome {
            Outcome::Complete => self.ended[0] += 1,
            Outcome::Cancelled => self.ended[1] += 1,
            Outcome::Dropped => self.ended[2] += 1,
            Outcome::Failed(failure) => self.failed[kind(failure)] += 1,
        }
    }

    fn add(&mut self, other: Self) {
        let others = other.ended.iter().chain(&other.failed).chain(&other.sealed);
        let mine = self.ended.iter_mut().chain(&mut self.failed);
        let mine = mine.chain(&mut self.sealed);
        mine.zip(others).for_each(|(mine, other)| *mine += other);
    }
}

const fn kind(failure: &Failure) -> usize {
    match failure {
        Failure::Connect { .. } => 0,
        Failure::ConnectTimeout { securing: false } => 1,
        Failure::ConnectTimeout { securing: true } => 2,
        Failure::HandshakeBroken { .. } => 3,
        Failure::Tls { .. } => 4,
        Failure::Send { .. } => 5,
        Failure::Stale => 6,
        Failure::NoResponse => 7,
        Failure::Reset { .. } | Failure::TruncatedHead => 8,
        Failure::TruncatedBody { .. } => 9,
        Failure::Framing { .. } => 10,
        Failure::UnannouncedClose => 11,
        Failure::Timeout { .. } => 12,
        _ => panic!("a failure of a kind that is not in this table"),
    }
}

#[test]
fn runs_obey_the_laws() {
    if let Some(seed) = number("PINFIRE_SEED") {
        run(seed, true);
        return;
    }
    let runs = number("PINFIRE_RUNS").unwrap_or(RUNS);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut totals = Totals::default();
    std::thread::scope(|scope| {
        let work = || {
            let mut totals = Totals::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= runs {
                    return totals;
                }
                totals.add(run(seed, false));
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            match thread.join() {
                Ok(of_thread) => totals.add(of_thread),
                Err(panic) => {
                    // The others need not go on.
                    next.store(runs, Ordering::Relaxed);
                    std::panic::resume_unwind(panic);
                }
            }
        }
    });
    eprintln!("{runs} runs: {totals:?}");
    if runs >= RUNS {
        let all = totals.ended.iter().chain(&totals.failed);
        let mut all = all.chain(&totals.sealed);
        assert!(
            all.all(|&of| of > 50),
            "something never happens: {totals:?}"
        );
    }
}

/// Keys are by chance, but nothing that they decide is seen by a run.
#[test]
fn a_run_is_what_its_seed_says() {
    let seen = |seed| {
        let run = Run::of(seed, false);
        let world = Rc::clone(&run.world);
        let totals = run.play();
        (totals, world.now(), world.dice.number())
    };
    for seed in 0..number("PINFIRE_RUNS").map_or(1_000, |runs| runs / 100) {
        assert_eq!(seen(seed), seen(seed), "of seed {seed}");
    }
}
