//! What the report says of the shards: what each has sent, what is missing, and what one should
//! know before the figures of all are trusted.

use std::collections::BTreeMap;

use pinfire_artifacts::leader::LostShard;
use pinfire_artifacts::shard::{Segment, Shard, ShardCounts};
use pinfire_artifacts::sharded::{LoadAroundLoss, MissingShard, ShardAccount, ShardedRun};
use pinfire_artifacts::summary::ClientHealth;
use pinfire_base::clock::{Span, Stamp};
use pinfire_base::health::{BackoffCounts, CoreHealth, Counts};

use super::seen::{BIN, Seen};
use super::{Absent, Present, Shards, Unended, at, health};
use crate::report::{Accounting, Report};

/// Wall clocks that are further apart than this are worth a word.
const APART_MAX_S: f64 = 1.0;
/// So many shards are named in the reason of an incomplete run.
const NAMED: usize = 4;

impl Present {
    /// What its own summary says of its client.
    pub(super) fn health(&self) -> Option<&ClientHealth> {
        self.summary.as_ref()?.client_health.as_deref()
    }

    /// `shard 3 (gpu-12)`.
    pub(super) fn name(&self) -> String {
        match self.told.machine() {
            Some(machine) => format!("shard {} ({machine})", self.told.index),
            None => format!("shard {}", self.told.index),
        }
    }

    fn account(&self, seen: &Seen, all: u64, zero: Option<Stamp>, complete: bool) -> ShardAccount {
        let told = &self.told;
        let health = self.health();
        let held = health.map(|health| health.concurrency);
        let late = |of: fn(&ClientHealth) -> &pinfire_artifacts::summary::Lateness| {
            health.map(of).filter(|late| late.count > 0).cloned()
        };
        let after = |at: Option<Stamp>| Some(at?.since(zero?).as_secs_f64());
        ShardAccount {
            index: told.index,
            host: told.host.clone(),
            node: told.node.clone(),
            cpus: told.cpus,
            cpu_quota: told.cpu_quota,
            throttled_us: told.throttled_us,
            io_driver: told.io_driver.clone(),
            requests: seen.all(),
            share_pct: 100.0 * seen.all() as f64 / all.max(1) as f64,
            valid: seen.valid,
            errors: seen.errors,
            cancelled: seen.cancelled,
            held_asked: held.and_then(|held| held.asked),
            held_avg: held.and_then(|held| held.held_avg),
            timer_lateness: late(|health| &health.timer_lateness),
            send_lateness: late(|health| &health.send_lateness),
            receive_delay: late(|health| &health.receive_delay),
            clock_bound_us: self.clock.bound_ns().map(|bound| bound as f64 / 1e3),
            wall_difference_ms: told.wall_difference_ns.map(|apart| apart as f64 / 1e6),
            start_late_us: told.start_late_us,
            first_sent_sec: after(seen.first),
            last_end_sec: after(seen.last),
            complete,
            client_was_bottleneck: health.is_some_and(|health| health.client_was_bottleneck),
            reasons: health.map_or_else(Vec::new, |health| health.reasons.clone()),
        }
    }

    /// Where its own counts and its lines differ: of a shard that says that it is complete, lines
    /// are lost.
    fn difference(&self, seen: &Seen) -> Option<String> {
        let ShardCounts {
            due,
            finished,
            failed,
            cancelled,
            dropped,
            ..
        } = self.told.counts;
        // An answer that was whole may say that it is an error.
        let ended = seen.valid + seen.errors;
        let rows = [
            ("answered or failed", finished + failed, ended),
            ("cancelled by plan", cancelled, seen.cancelled),
            ("due", due, seen.all() + dropped),
        ];
        let mut differing = rows.into_iter().filter(|(_, told, seen)| told != seen);
        let (what, told, seen) = differing.next()?;
        let name = self.name();
        Some(format!(
            "{name}: {told} requests {what} by its own count, {seen} by its lines"
        ))
    }
}

/// What became of a shard that is not whole.
struct Lost {
    told: Option<Shard>,
    unended: Option<Unended>,
    reason: String,
    requests: u64,
    last_number: Option<u64>,
    last_seen: Option<Span>,
    /// What the leader knows of it.
    by_leader: Option<LostShard>,
    /// When the leader noticed it.
    noticed: Option<Span>,
}

/// All shards, judged.
pub(crate) struct Judged {
    /// For the summary.
    pub(crate) run: ShardedRun,
    /// Why the run is incomplete, if it is.
    pub(crate) incomplete: Option<String>,
    differences: Vec<String>,
}

impl Shards {
    /// Judges the shards by what was `seen` of each that is present. `by_count` says that a number
    /// of requests ends the run.
    pub(crate) fn judge(&self, seen: &[Seen], by_count: bool) -> Judged {
        let zero = seen.iter().filter_map(|seen| seen.first).min();
        let all = seen.iter().map(Seen::all).sum();
        let mut lost: BTreeMap<u32, Lost> = BTreeMap::new();
        for (index, absent) in &self.absent {
            lost.insert(*index, Lost::absent(absent));
        }
        let mut differences = Vec::new();
        let mut table = Vec::new();
        for (shard, seen) in self.present.iter().zip(seen) {
            let difference = shard.difference(seen).filter(|_| shard.told.complete);
            let reason = why_incomplete(shard, seen, difference.as_deref());
            differences.extend(difference);
            table.push(shard.account(seen, all, zero, reason.is_none()));
            if let Some(reason) = reason {
                let since = |last: Stamp| Some(last.since(zero?));
                let of_it = Lost {
                    told: Some(shard.told.clone()),
                    unended: shard.unended,
                    reason,
                    requests: seen.all(),
                    last_number: seen.last_number.max(shard.told.last_number),
                    last_seen: seen.last.and_then(since),
                    by_leader: None,
                    noticed: None,
                };
                lost.insert(shard.told.index, of_it);
            }
        }
        for (index, lost) in &mut lost {
            lost.by_leader = self.lost.get(index).cloned();
            let noticed = lost.by_leader.as_ref().and_then(|one| one.unix_ns).map(at);
            // One that was lost before has no place in a time that had not begun.
            let since = zero.and_then(|zero| Some(noticed.filter(|at| *at >= zero)?.since(zero)));
            lost.noticed = since;
        }
        let skew = |of: fn(&Seen) -> Option<Stamp>| {
            let known = seen.iter().filter_map(of);
            let (least, most) = (known.clone().min()?, known.max()?);
            Some(most.since(least))
        };
        let skewed = skew(|seen| seen.first).filter(|_| seen.len() > 1);
        let tail = skew(|seen| seen.last).filter(|_| by_count && seen.len() > 1 && lost.is_empty());
        let run = ShardedRun {
            run_id: self.run.run_id.clone(),
            shards: self.run.shards,
            clock: self.clock().to_owned(),
            clock_bound_us: self.bound_us(),
            start_skew_ms: skewed.map(|skew| skew.as_millis_f64()),
            tail_s: tail.map(|tail| tail.as_secs_f64()),
            loss: load_around(seen, zero, lost.values()),
            missing: self.missing(&lost),
            notes: self.notes(skewed),
            table,
        };
        Judged {
            incomplete: self.incomplete(&lost),
            run,
            differences,
        }
    }

    fn clock(&self) -> &'static str {
        let by_leader = self.present.iter().filter(|shard| shard.clock.is_common());
        match by_leader.count() {
            0 => "wall",
            all if all == self.present.len() => "rendezvous",
            _ => "mixed",
        }
    }

    fn bound_us(&self) -> Option<f64> {
        let bounds = self.present.iter().filter_map(|one| one.clock.bound_ns());
        bounds.max().map(|bound| bound as f64 / 1e3)
    }

    fn missing(&self, lost: &BTreeMap<u32, Lost>) -> Vec<MissingShard> {
        let row = |(&index, lost): (&u32, &Lost)| {
            let told = lost.told.as_ref();
            let end = self.run.segment.end;
            MissingShard {
                index,
                host: lost.machine().map(str::to_owned),
                segment: Segment::new(index, self.run.shards, self.run.block, end),
                reason: lost.reason.clone(),
                requests: lost.requests,
                sent: told
                    .map(|told| told.counts.sent)
                    .filter(|&sent| sent > 0 && sent >= lost.requests),
                last_number: lost
                    .last_number
                    .or_else(|| told.and_then(|told| told.last_number)),
                last_seen_sec: lost.last_seen.map(|seen| seen.as_secs_f64()),
                lost_sec: lost.noticed.map(|noticed| noticed.as_secs_f64()),
                lost_how: lost.by_leader.as_ref().map(|one| one.how.clone()),
                last_beat: lost.by_leader.as_ref().and_then(|one| one.last_beat),
            }
        };
        lost.iter().map(row).collect()
    }

    /// Names what is missing, in one line.
    fn incomplete(&self, lost: &BTreeMap<u32, Lost>) -> Option<String> {
        let shards = self.run.shards;
        let one = |(index, lost): (&u32, &Lost)| {
            let machine = lost.machine();
            let machine = machine.map_or_else(String::new, |machine| format!(" ({machine})"));
            let lost_at = |at: Span| format!("was lost at {:.1} s", at.as_secs_f64());
            let when = match (lost.noticed, lost.last_seen, lost.unended) {
                (Some(noticed), ..) => lost_at(noticed),
                (None, Some(seen), Some(Unended::Lost)) => lost_at(seen),
                (None, Some(seen), _) => format!("ends at {:.1} s", seen.as_secs_f64()),
                (None, None, _) => "is missing".to_owned(),
            };
            // Who has lost it knows better why than what is left of it.
            let by_leader = lost.by_leader.as_ref().map(|one| &one.how);
            let reason = by_leader.unwrap_or(&lost.reason);
            format!("shard {index} of {shards}{machine} {when}: {reason}")
        };
        let mut named: Vec<String> = lost.iter().take(NAMED).map(one).collect();
        if lost.len() > NAMED {
            named.push(format!("and {} more shards", lost.len() - NAMED));
        }
        (!named.is_empty()).then(|| named.join("; "))
    }

    /// What one should know of the shards before comparing them.
    fn notes(&self, skew: Option<Span>) -> Vec<String> {
        let mut notes = self.notes.clone();
        match self.clock() {
            "rendezvous" => {}
            "wall" => {
                let apart = match skew.map(|skew| skew.as_secs_f64()) {
                    Some(apart) if apart > APART_MAX_S => format!(
                        ", and their first requests are {apart:.1} s apart: the shards were started \
                         one after the other, or their clocks differ"
                    ),
                    _ => String::new(),
                };
                notes.push(format!(
                    "No rendezvous: times are those of each shard's own wall clock{apart}"
                ));
            }
            _ => {
                let alone = self.present.iter().filter(|one| !one.clock.is_common());
                notes.push(format!(
                    "No exchange with the leader is known of {}: their times are those of their own \
                     wall clocks",
                    numbers(alone.map(|one| one.told.index))
                ));
            }
        }
        for shard in &self.present {
            let apart = shard.told.wall_difference_ns.unwrap_or(0) as f64 / 1e9;
            if apart.abs() > APART_MAX_S {
                notes.push(format!(
                    "The wall clock of {} is {apart:+.1} s from the leader's; its times are put right",
                    shard.name()
                ));
            }
        }
        let by_machine = self.by(|shard| shard.told.machine());
        for (machine, shards) in by_machine.iter().filter(|(_, shards)| shards.len() > 1) {
            notes.push(format!(
                "{} ran on one machine, {machine}: they share its CPUs, its network and its ports",
                numbers(shards.iter().copied())
            ));
        }
        let by_driver =
            self.by(|shard| Some(&*shard.told.io_driver).filter(|name| !name.is_empty()));
        if by_driver.len() > 1 {
            let each = by_driver.iter();
            let each = each.map(|(driver, of)| format!("{} {driver}", numbers(of.iter().copied())));
            notes.push(format!(
                "The shards ran on different drivers: {}; --io-driver epoll makes all alike",
                each.collect::<Vec<_>>().join(", ")
            ));
        }
        notes
    }

    /// Shards by what they have in common.
    fn by<'a>(
        &'a self,
        key: impl Fn(&'a Present) -> Option<&'a str>,
    ) -> BTreeMap<&'a str, Vec<u32>> {
        let mut by: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for shard in &self.present {
            if let Some(key) = key(shard) {
                by.entry(key).or_default().push(shard.told.index);
            }
        }
        by
    }

    /// How long the slots of all shards rested on purpose: of a server that does not answer, less
    /// was held than asked.
    pub(crate) fn rested(&self) -> CoreHealth {
        let rests = self.present.iter().filter_map(Present::health);
        let rests = rests.filter_map(|health| health.error_backoff.as_ref());
        let rested = rests.map(|backoff| backoff.rested_sec).sum();
        CoreHealth {
            backoff: BackoffCounts {
                rested: Span::from_secs_f64(rested),
                ..BackoffCounts::default()
            },
            ..CoreHealth::default()
        }
    }

    /// Puts what the shards say of themselves into the report of all.
    pub(crate) fn tell(&self, report: &mut Report, seen: &[Seen], judged: Judged) {
        let mut asked = report.facts.profiling.concurrency;
        asked = asked.filter(|_| report.facts.profiling.rate.is_none());
        let merged = health::merged(&self.present, &report.health, asked);
        if let Some(recorded) = &mut report.facts.recorded {
            recorded.summary.client_health = Some(pinfire_artifacts::Carried::new(merged));
        }
        report.accounting = Accounting {
            differences: judged.differences,
            ..Accounting::of(&report.end, self.counts(seen), report.counts)
        };
        report.shards = Some(judged.run);
    }

    /// Requests by the shards' own counts; of one that did not end, at least those that are there.
    fn counts(&self, seen: &[Seen]) -> Counts {
        let mut all = Counts::default();
        for (shard, seen) in self.present.iter().zip(seen) {
            let told = shard.told.counts;
            all.due += told.due.max(seen.all() + told.dropped);
            all.sent += match told.sent {
                // It did not say.
                0 => seen.all(),
                sent => sent,
            };
            all.dropped += told.dropped;
        }
        all
    }
}

impl Lost {
    fn machine(&self) -> Option<&str> {
        let told = self.told.as_ref().and_then(Shard::machine);
        told.or_else(|| self.by_leader.as_ref()?.host.as_deref())
    }

    fn absent(absent: &Absent) -> Self {
        Self {
            told: absent.told.clone(),
            unended: None,
            reason: absent.reason.clone(),
            requests: 0,
            last_number: None,
            last_seen: None,
            by_leader: None,
            noticed: None,
        }
    }
}

/// Why a shard with requests is not whole.
fn why_incomplete(shard: &Present, seen: &Seen, difference: Option<&str>) -> Option<String> {
    let told = &shard.told;
    if !told.complete {
        let reason = match shard.unended {
            Some(Unended::Running) => "it is still running",
            Some(Unended::Lost) => "it was ended from outside, or its machine is gone",
            None => told
                .incomplete_reason
                .as_deref()
                .unwrap_or("it did not end in order"),
        };
        return Some(reason.to_owned());
    }
    if seen.torn {
        return Some("its last line is cut off in the middle".to_owned());
    }
    difference.map(|why| format!("requests are lost: {why}"))
}

/// `shards 1, 3 and 7`.
fn numbers(all: impl Iterator<Item = u32>) -> String {
    let all: Vec<String> = all.map(|index| index.to_string()).collect();
    match &all[..] {
        [] => "no shard".to_owned(),
        [one] => format!("shard {one}"),
        [first @ .., last] => format!("shards {} and {last}", first.join(", ")),
    }
}

/// The load before and after the first of the shards was lost.
fn load_around<'a>(
    seen: &[Seen],
    zero: Option<Stamp>,
    lost: impl Iterator<Item = &'a Lost>,
) -> Option<LoadAroundLoss> {
    let at = lost.filter_map(|lost| lost.last_seen).min()?;
    let zero = zero?.nanos();
    let bound = (zero + at.nanos()) / BIN;
    let (mut before, mut after, mut last) = (0, 0, bound);
    for (&bin, &count) in seen.iter().flat_map(|seen| &seen.starts) {
        last = last.max(bin);
        match bin <= bound {
            true => before += u64::from(count),
            false => after += u64::from(count),
        }
    }
    let rate = |requests: u64, seconds: f64| match seconds > 0.0 {
        true => requests as f64 / seconds,
        false => 0.0,
    };
    Some(LoadAroundLoss {
        at_sec: at.as_secs_f64(),
        requests_before: before,
        rate_before: rate(before, at.as_secs_f64()),
        requests_after: after,
        rate_after: rate(after, (last - bound) as f64 * BIN as f64 / 1e9),
    })
}
