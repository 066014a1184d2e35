//! How far the client itself can be trusted: its own lateness, and the concurrency it really held.
//!
//! The limits below and those of [`super::lateness`] decide when a run is marked as limited by its
//! client. They stand there and nowhere else.

use pinfire_base::cgroup::CpuQuotaUse;
use pinfire_base::clock::{Span, Stamp};
use pinfire_base::health::{CoreHealth, Durations, Pause, ReceiveCounts};
use pinfire_base::limits::PAUSES_KEPT;

use super::lateness::{Added, Measured, added};
use crate::collect::{SharedStamps, Tally};
use crate::facts::{RunEnd, RunFacts};
use crate::metric::curve::{figures, open_levels};
use crate::stats::Percentiles;

/// More than this share of the periods in which the CPU quota was used up is a load that the client
/// was not given the time for.
pub const THROTTLED_SHARE_MAX: f64 = 0.01;
/// Less than this share of the asked concurrency on average is not what was asked.
pub const HELD_SHARE_MIN: f64 = 0.99;
/// Below this length of the window a share says nothing.
pub const HELD_WINDOW_MIN_S: f64 = 1.0;

/// At least this share of the reads must have the kernel's stamp for the latencies to stand when
/// the client was late.
pub const BY_KERNEL_SHARE_MIN: f64 = 0.99;
/// At most this share of the answers may have a first event that was read together with a later
/// one for their latencies to stand.
pub const FIRSTS_SHARING_MAX: f64 = 0.01;
/// So few of them are chance, whatever share they are.
pub const FIRSTS_SHARING_FEW: f64 = 4.0;
/// So many pauses are named in a reason, the longest.
const PAUSES_NAMED: usize = 3;

/// What can be wrong where the client was late.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Harm {
    /// Requests were sent late.
    Sends,
    /// Requests were cancelled late.
    Cancels,
    /// The load was less than asked.
    Load,
    /// What was received has late timestamps.
    Latencies,
}

impl Harm {
    /// Which metrics suffer, in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Sends => "when requests were sent",
            Self::Cancels => "when requests were cancelled",
            Self::Load => "concurrency and throughput",
            Self::Latencies => "TTFT, ITL and every other latency",
        }
    }
}

/// A pause of one core.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CorePause {
    /// Which.
    pub core: usize,
    /// When, and how long.
    pub pause: Pause,
    /// From the start of the phase.
    pub offset: Span,
}

/// Open requests while all slots should have been taken.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Held {
    /// What was asked.
    pub asked: u32,
    /// Average over the window.
    pub avg: f64,
    /// Most at any time of the window.
    pub max: f64,
    /// Length of the window.
    pub window_s: f64,
}

/// The client's account of itself.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// All cores together.
    pub merged: CoreHealth,
    /// Open requests, where a concurrency was asked for and reached its number of requests.
    pub held: Option<Held>,
    /// The longest pauses of all cores, the longest first.
    pub pauses: Vec<CorePause>,
    /// What the CPU quota was and has cost, where there was one.
    pub cpu_quota: Option<CpuQuotaUse>,
    /// Where the times of the reads come from, by phase.
    pub stamps: Vec<(&'static str, ReceiveCounts)>,
    /// Content events that came in one read with another.
    pub shared: SharedStamps,
    /// What it adds, against what was measured.
    pub added: Vec<Added>,
    /// Why the client was the bottleneck, in words; empty if it was not.
    pub reasons: Vec<String>,
    /// What is wrong because of that, each once.
    pub harms: Vec<Harm>,
}

impl Health {
    pub(super) fn new(facts: &RunFacts, end: &RunEnd, profiling: &Tally) -> Self {
        // With a rate the concurrency is a limit, not a promise.
        let asked = facts
            .profiling
            .concurrency
            .filter(|_| facts.profiling.rate.is_none())
            .map(|asked| facts.own_slots(asked));
        let merged = merge(&end.cores);
        let held = asked.and_then(|asked| held(asked, profiling));
        let start = end.profiling.map(|window| window.start);
        let pauses = longest_pauses(&end.cores, start);
        let mut judge = Judge::new(&merged, &profiling.shared);
        let added = added(&merged, &Measured::of(profiling), judge.times_hold);
        // First of all: it is the cause of the others.
        judge.throttling(end.cpu_quota);
        judge.lateness(&added);
        judge.pauses(merged.pauses.count, &pauses, end.cores.len());
        judge.held(held);
        let Judge { reasons, harms, .. } = judge;
        let warmed = end.warmup.map(|_| ("warmup", end.warmup_stamps));
        let measured = ("profiling", merged.receive_stamps);
        Self {
            merged,
            held,
            pauses,
            cpu_quota: end.cpu_quota,
            stamps: warmed.into_iter().chain([measured]).collect(),
            shared: profiling.shared.clone(),
            added,
            reasons,
            harms: in_order(harms),
        }
    }

    /// The latencies stand although the client was late: they have the kernel's stamps.
    pub fn latencies_hold(&self) -> bool {
        self.is_bottleneck()
            && !self.harms.contains(&Harm::Latencies)
            && self.merged.receive_stamps.kernel > 0
    }

    /// Whether the client was the bottleneck of the run.
    pub fn is_bottleneck(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// The four distributions of a core with the names that the exports give them.
pub fn distributions(core: &CoreHealth) -> [(&'static str, &Durations); 4] {
    [
        ("timer_lateness", &core.timer_lateness),
        ("send_lateness", &core.send_lateness),
        ("receive_delay", &core.receive_delay),
        ("turn", &core.turn),
    ]
}

fn merge(cores: &[CoreHealth]) -> CoreHealth {
    let mut all = CoreHealth::default();
    for core in cores {
        all.timer_lateness.merge(&core.timer_lateness);
        all.send_lateness.merge(&core.send_lateness);
        all.receive_delay.merge(&core.receive_delay);
        all.turn.merge(&core.turn);
        all.receive_stamps.add(&core.receive_stamps);
        all.pauses.count += core.pauses.count;
        all.cpu_time = Span::from_nanos(all.cpu_time.nanos() + core.cpu_time.nanos());
        all.wall_time = all.wall_time.max(core.wall_time);
        all.receives += core.receives;
        all.events += core.events;
        all.connects += core.connects;
        all.slow_connects += core.slow_connects;
        all.stale_closed += core.stale_closed;
        all.expired_closed += core.expired_closed;
        all.backoff.add(&core.backoff);
    }
    all
}

/// From the instant at which the last slot was first due to be taken to the instant at which the
/// last request became due: after that, slots are given back for good.
fn held(asked: u32, profiling: &Tally) -> Option<Held> {
    let mut due = profiling.due.clone();
    due.sort_unstable();
    let full = *due.get(asked.checked_sub(1)? as usize)?;
    if let Some(long) = &profiling.long {
        let (avg, max) = long.curves.concurrency(full, long.last_due)?;
        return Some(Held {
            asked,
            avg,
            max,
            window_s: long.last_due.saturating_sub(full) as f64 / 1e9,
        });
    }
    let last = *due.last()?;
    let tracks: Vec<_> = profiling
        .tracks
        .iter()
        .chain(&profiling.dropped)
        .copied()
        .collect();
    let levels = open_levels(&tracks, full, last);
    let figures = figures(&levels, 0, &Percentiles::default())?;
    Some(Held {
        asked,
        avg: figures.avg?,
        max: figures.max?,
        window_s: last.saturating_sub(full) as f64 / 1e9,
    })
}

/// The longest pauses of all cores, the longest first. `start` is that of the phase.
fn longest_pauses(cores: &[CoreHealth], start: Option<Stamp>) -> Vec<CorePause> {
    let of_core = |(core, health): (usize, &CoreHealth)| {
        let longest = health.pauses.longest.clone().into_iter();
        longest.map(move |pause| CorePause {
            core,
            pause,
            offset: start.map_or(Span::ZERO, |start| pause.from.since(start)),
        })
    };
    let mut pauses: Vec<CorePause> = cores.iter().enumerate().flat_map(of_core).collect();
    pauses.sort_by_key(|pause| std::cmp::Reverse(pause.pause.length));
    pauses.truncate(PAUSES_KEPT);
    pauses
}

/// Gathers what was wrong with the client, and what that harms.
struct Judge {
    /// It does not matter to the times of received data when it was read: they are the kernel's,
    /// and first events were not read together with later ones, whose stamp they would have.
    times_hold: bool,
    /// How long slots rested on purpose, because nobody answered.
    rested: Span,
    reasons: Vec<String>,
    harms: Vec<Harm>,
}

impl Judge {
    fn new(all: &CoreHealth, shared: &SharedStamps) -> Self {
        let stamps = &all.receive_stamps;
        let least = BY_KERNEL_SHARE_MIN * stamps.reads() as f64;
        let by_kernel = stamps.kernel > 0 && stamps.kernel as f64 >= least;
        let most = (FIRSTS_SHARING_MAX * shared.answers as f64).max(FIRSTS_SHARING_FEW);
        Self {
            times_hold: by_kernel && shared.firsts_sharing as f64 <= most,
            rested: all.backoff.rested,
            reasons: Vec::new(),
            harms: Vec::new(),
        }
    }

    /// The loop was late: so was all that it does, and where it takes the times of what it reads
    /// itself, those are late too.
    fn was_late(&mut self, reason: String, reads: bool) {
        self.reasons.push(reason);
        self.harms.extend([Harm::Sends, Harm::Cancels]);
        if reads && !self.times_hold {
            self.harms.push(Harm::Latencies);
        }
    }

    /// Threads that stand still are late with everything, and do less than the CPUs could.
    fn throttling(&mut self, quota: Option<CpuQuotaUse>) {
        let Some(CpuQuotaUse { quota, throttling }) = quota else {
            return;
        };
        // A quota that is used up as its period ends stops nobody.
        let stood_still = throttling.time > Span::ZERO;
        if throttling.share() > THROTTLED_SHARE_MAX && stood_still {
            let reason = format!(
                "the CPU quota of {quota} was used up in {} of {} periods ({:.1} %, {:.3} s of standing \
                 still); give the container more CPUs",
                throttling.throttled,
                throttling.periods,
                100.0 * throttling.share(),
                throttling.time.as_secs_f64()
            );
            self.was_late(reason, true);
            self.harms.push(Harm::Load);
        }
    }

    /// Of each lateness that is too much, the worst is told.
    fn lateness(&mut self, added: &[Added]) {
        for of_one in added.chunk_by(|one, next| one.what == next.what) {
            let bad = of_one.iter().filter(|added| added.too_much);
            let by_share = |added: &&Added| added.share().unwrap_or(0.0);
            let worst = bad.max_by(|one, other| by_share(one).total_cmp(&by_share(other)));
            if let Some(worst) = worst {
                self.was_late(worst.reason(), worst.what != "timer_lateness");
            }
        }
    }

    fn pauses(&mut self, count: u64, longest: &[CorePause], cores: usize) {
        let told = longest.iter().take(PAUSES_NAMED).map(|of| {
            let length = of.pause.length.as_millis_f64();
            let offset = of.offset.as_secs_f64();
            let core = of.core;
            match cores {
                1 => format!("{length:.0} ms at {offset:.3} s"),
                _ => format!("{length:.0} ms at {offset:.3} s (core {core})"),
            }
        });
        let told: Vec<String> = told.collect();
        if let Some(first) = told.first() {
            let all = told.join(", ");
            let reason = match count {
                1 => format!("the engine was paused for {first} into the phase"),
                _ => format!("the engine was paused {count} times, the longest for {all}"),
            };
            self.was_late(reason, true);
        }
    }

    fn held(&mut self, held: Option<Held>) {
        let Some(held) = held else { return };
        let asked = f64::from(held.asked);
        // Slots that rest because nobody answers are held back on purpose.
        let resting = self.rested.as_secs_f64() / held.window_s;
        let low = held.avg + resting < HELD_SHARE_MIN * asked;
        if held.window_s >= HELD_WINDOW_MIN_S && low {
            self.reasons.push(format!(
                "{:.1} of {} streams were held on average",
                held.avg, held.asked
            ));
            self.harms.push(Harm::Load);
        }
    }
}

/// Each once, in the order of their declaration.
fn in_order(mut harms: Vec<Harm>) -> Vec<Harm> {
    harms.sort_unstable();
    harms.dedup();
    harms
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfire_base::cgroup::{CpuQuota, Throttling};
    use pinfire_base::health::Fallback;

    fn late(stamps: ReceiveCounts) -> CoreHealth {
        let mut health = CoreHealth {
            receive_stamps: stamps,
            ..CoreHealth::default()
        };
        (0..10).for_each(|_| health.turn.record(Span::from_millis(5)));
        health
    }

    fn harms(health: &CoreHealth) -> Vec<Harm> {
        harms_with(health, &SharedStamps::default())
    }

    fn harms_with(health: &CoreHealth, shared: &SharedStamps) -> Vec<Harm> {
        let mut judge = Judge::new(health, shared);
        judge.lateness(&added(health, &Measured::default(), judge.times_hold));
        assert_eq!(judge.reasons.len(), 1, "{:?}", judge.reasons);
        in_order(judge.harms)
    }

    #[test]
    fn with_the_kernels_stamps_a_late_loop_spoils_no_latency() {
        let mut stamps = ReceiveCounts {
            kernel: 995,
            ..ReceiveCounts::default()
        };
        (0..5).for_each(|_| stamps.fell_back(Fallback::Missing));
        assert_eq!(harms(&late(stamps)), [Harm::Sends, Harm::Cancels]);
        let all = [Harm::Sends, Harm::Cancels, Harm::Latencies];
        // First tokens that were read with the second have its time.
        let mut shared = SharedStamps {
            answers: 1_000,
            firsts_sharing: 10,
            ..SharedStamps::default()
        };
        assert_eq!(harms_with(&late(stamps), &shared), all[..2]);
        shared.firsts_sharing = 11;
        assert_eq!(harms_with(&late(stamps), &shared), all);
        // Few of few answers are chance.
        for (few, expected) in [(4, &all[..2]), (5, &all[..])] {
            (shared.answers, shared.firsts_sharing) = (5, few);
            assert_eq!(harms_with(&late(stamps), &shared), *expected);
        }
        (0..50).for_each(|_| stamps.fell_back(Fallback::Stepped));
        assert_eq!(harms(&late(stamps)), all);
        let user = ReceiveCounts {
            user: 1_000,
            ..ReceiveCounts::default()
        };
        assert_eq!(harms(&late(user)), all);
        // A late timer reads nothing late.
        let mut timer = CoreHealth {
            receive_stamps: user,
            ..CoreHealth::default()
        };
        (0..10).for_each(|_| timer.timer_lateness.record(Span::from_millis(5)));
        assert_eq!(harms(&timer), [Harm::Sends, Harm::Cancels]);
    }

    #[test]
    fn a_used_up_cpu_quota_is_a_reason_of_its_own() {
        let harms_of = |periods, throttled, millis| {
            let throttling = Throttling {
                periods,
                throttled,
                time: Span::from_millis(millis),
            };
            let quota = CpuQuota::new(50_000, 100_000).unwrap();
            let mut judge = Judge::new(&CoreHealth::default(), &SharedStamps::default());
            judge.throttling(Some(CpuQuotaUse { quota, throttling }));
            (judge.reasons, in_order(judge.harms))
        };
        let harms = |periods, throttled| harms_of(periods, throttled, 412);
        for (periods, throttled) in [(80, 0), (0, 0), (100, 1), (10_000, 100)] {
            assert_eq!(harms(periods, throttled), (Vec::new(), Vec::new()));
        }
        // Used up as the period ended.
        assert_eq!(harms_of(9, 1, 0), (Vec::new(), Vec::new()));
        let (reasons, all) = harms(80, 12);
        let reason = "the CPU quota of 0.5 CPUs was used up in 12 of 80 periods (15.0 %, 0.412 s of \
                      standing still); give the container more CPUs";
        assert_eq!(reasons, [reason]);
        let expected = [Harm::Sends, Harm::Cancels, Harm::Load, Harm::Latencies];
        assert_eq!(all, expected);
        assert_eq!(harms(99, 1).0.len(), 1);
    }

    #[test]
    fn a_pause_is_told_with_its_instant_and_length() {
        let start = Stamp::from_nanos(1_000_000_000);
        let pause = |at: u64, length: u64| Pause {
            from: start + Span::from_millis(at),
            length: Span::from_millis(length),
        };
        let mut cores = [CoreHealth::default(), CoreHealth::default()];
        cores[1].pauses.add(pause(3_214, 702));
        let pauses = longest_pauses(&cores, Some(start));
        let mut judge = Judge::new(&cores[1], &SharedStamps::default());
        judge.pauses(1, &pauses, 1);
        let one = "the engine was paused for 702 ms at 3.214 s into the phase";
        assert_eq!(judge.reasons, [one]);
        assert!(judge.harms.contains(&Harm::Latencies));
        cores[0].pauses.add(pause(10, 60));
        let pauses = longest_pauses(&cores, Some(start));
        let mut judge = Judge::new(&cores[1], &SharedStamps::default());
        judge.pauses(2, &pauses, 2);
        let two = "the engine was paused 2 times, the longest for 702 ms at 3.214 s (core 1), \
                   60 ms at 0.010 s (core 0)";
        assert_eq!(judge.reasons, [two]);
    }
}
