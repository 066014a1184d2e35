//! How far the clients of all shards can be trusted: the worst of them, and who it was.
//!
//! Counts are added up. A distribution of the client's own lateness is that of the shard whose was
//! worst: no percentile of all can be made of each one's.

use pinfire_artifacts::summary::{
    AddedByClient, ClientHealth, CpuQuota, ErrorBackoff, HeldConcurrency, Lateness, ReceiveStamps,
    StampedReads, UnreachedAddress,
};
use pinfire_base::limits::PAUSES_KEPT;

use super::Present;
use crate::report::Health;

/// Of all shards. `whole` has what the requests of all show of the client.
pub(super) fn merged(shards: &[Present], whole: &Health, asked: Option<u32>) -> ClientHealth {
    let mut all = ClientHealth::default();
    let mut drivers = Vec::new();
    for shard in shards {
        if let Some(health) = shard.health() {
            let core = all.cores.len() as u64;
            add(&mut all, health);
            pauses(&mut all, shard, health, core);
            all.cores.extend_from_slice(&health.cores);
            let name = shard.name();
            let reasons = health.reasons.iter();
            all.reasons
                .extend(reasons.map(|reason| format!("{name}: {reason}")));
            drivers.extend(health.driver.clone());
        }
    }
    // What is told of shares says less than what was held of the whole.
    all.reasons.extend(whole.reasons.iter().cloned());
    for harm in &whole.harms {
        add_once(&mut all.distrust, harm.words());
    }
    let held = whole.held.as_ref();
    all.concurrency = HeldConcurrency {
        asked,
        held_avg: held.map(|held| held.avg),
        held_max: held.map(|held| held.max),
        window_sec: held.map(|held| held.window_s),
    };
    all.client_was_bottleneck = !all.reasons.is_empty();
    drivers.sort_unstable();
    drivers.dedup();
    all.driver = (!drivers.is_empty()).then(|| drivers.join(", "));
    all
}

fn add_once(words: &mut Vec<String>, word: &str) {
    if !words.iter().any(|known| known == word) {
        words.push(word.to_owned());
    }
}

fn add(all: &mut ClientHealth, one: &ClientHealth) {
    worst(&mut all.timer_lateness, &one.timer_lateness);
    worst(&mut all.send_lateness, &one.send_lateness);
    worst(&mut all.receive_delay, &one.receive_delay);
    worst(&mut all.turn, &one.turn);
    if let Some(stamps) = &one.receive_stamps {
        add_stamps(all.receive_stamps.get_or_insert_default(), stamps);
    }
    if let Some(shared) = &one.events_sharing_a_stamp {
        let sum = all.events_sharing_a_stamp.get_or_insert_default();
        sum.events += shared.events;
        sum.sharing += shared.sharing;
        sum.share_pct = 100.0 * sum.sharing as f64 / sum.events.max(1) as f64;
        sum.answers += shared.answers;
        sum.first_sharing += shared.first_sharing;
        worst(&mut sum.late_at_most, &shared.late_at_most);
    }
    if let Some(quota) = one.cpu_quota.as_ref() {
        worst_quota(&mut all.cpu_quota, quota);
    }
    all.slow_connects += one.slow_connects;
    if let Some(backoff) = &one.error_backoff {
        let sum: &mut ErrorBackoff = all.error_backoff.get_or_insert_default();
        sum.slots += backoff.slots;
        sum.rests += backoff.rests;
        sum.rested_sec += backoff.rested_sec;
    }
    for address in &one.unreached_addresses {
        add_address(&mut all.unreached_addresses, address);
    }
    for added in &one.added {
        add_lateness(&mut all.added, added);
    }
    for harmed in &one.distrust {
        add_once(&mut all.distrust, harmed);
    }
}

/// Keeps the one that is later at p99.
fn worst(kept: &mut Lateness, other: &Lateness) {
    if other.count > 0 && (kept.count == 0 || other.p99 > kept.p99) {
        kept.clone_from(other);
    }
}

/// Keeps the larger share, of each lateness against each metric.
fn add_lateness(all: &mut Vec<AddedByClient>, one: &AddedByClient) {
    let same = |known: &&mut AddedByClient| (&known.what, &known.of) == (&one.what, &one.of);
    match all.iter_mut().find(same) {
        Some(known) if known.share_pct < one.share_pct => known.clone_from(one),
        Some(_) => {}
        None => all.push(one.clone()),
    }
}

fn worst_quota(kept: &mut Option<CpuQuota>, other: &CpuQuota) {
    let worse = |kept: &CpuQuota| other.throttled_pct > kept.throttled_pct;
    if kept.as_ref().is_none_or(worse) {
        *kept = Some(other.clone());
    }
}

fn add_stamps(all: &mut ReceiveStamps, one: &ReceiveStamps) {
    if all.asked.is_empty() {
        all.asked.clone_from(&one.asked);
    }
    for (phase, reads) in &one.phases {
        let sum: &mut StampedReads = all.phases.entry(phase.clone()).or_default();
        sum.reads += reads.reads;
        sum.by_kernel += reads.by_kernel;
        let used = if sum.by_kernel > 0 { "kernel" } else { "user" };
        used.clone_into(&mut sum.used);
        for (why, count) in &reads.fallbacks {
            *sum.fallbacks.entry(why.clone()).or_default() += count;
        }
    }
}

fn add_address(all: &mut Vec<UnreachedAddress>, one: &UnreachedAddress) {
    let same = |known: &&mut UnreachedAddress| {
        (&known.address, &known.reason) == (&one.address, &one.reason)
    };
    match all.iter_mut().find(same) {
        Some(known) => known.connects += one.connects,
        None => all.push(one.clone()),
    }
}

/// Pauses of all shards on the clock of the run; `core` is the place of the shard's first core.
fn pauses(all: &mut ClientHealth, shard: &Present, one: &ClientHealth, core: u64) {
    all.pauses.count += one.pauses.count;
    let moved = one.pauses.longest.iter().map(|pause| {
        let mut pause = *pause;
        pause.core += core;
        let shift = shard.clock.shift(pause.from_ns);
        pause.from_ns = pause.from_ns.saturating_add_signed(shift);
        pause
    });
    all.pauses.longest.extend(moved);
    let by_length = |pause: &pinfire_artifacts::summary::Pause| pause.length_ms;
    all.pauses
        .longest
        .sort_by(|one, other| by_length(other).total_cmp(&by_length(one)));
    all.pauses.longest.truncate(PAUSES_KEPT);
}
