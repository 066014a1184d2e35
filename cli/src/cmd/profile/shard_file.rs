//! `shard.json` of a run that several processes make.

use anyhow::Result;
use pinfire_analysis::facts::RunEnd;
use pinfire_artifacts::{
    SHARD, json_bytes, replace,
    shard::{ClockAnchor, ClockSample, Digests, SHARD_SCHEMA, Segment, Shard, ShardCounts},
};
use pinfire_base::{cgroup::Groups, clock::Stamp};

use crate::{
    cluster::{self, Rendezvous},
    inputs::Inputs,
    run::PreparedRun,
    settings::Settings,
    shards::{Share, incarnation, node},
};

/// Writes it before the first request, for a run that is one of several shards.
///
/// # Errors
/// It cannot be written.
pub fn begin(run: &PreparedRun<'_>, inputs: Option<&Inputs>) -> Result<Option<Shard>> {
    let (Some(share), Some(inputs)) = (&run.settings.share, inputs) else {
        return Ok(None);
    };
    let shard = begun(run, share, inputs);
    write(run.settings, &shard)?;
    Ok(Some(shard))
}

/// Writes what came of the shard. `last` is the largest number of a request that was due.
///
/// # Errors
/// It cannot be written.
pub fn end(
    settings: &Settings,
    begun: Option<Shard>,
    end: &RunEnd,
    last: Option<u64>,
    lost: bool,
) -> Result<()> {
    let Some(begun) = begun else { return Ok(()) };
    write(settings, &ended(begun, end, last, lost))
}

/// With what is known of the leader's clock, where the shards have a leader.
pub fn in_common(shard: Shard, rendezvous: &Rendezvous) -> Shard {
    let clocks = rendezvous.clocks();
    let clock = clocks.iter().map(|(at, estimate)| ClockSample {
        t: at.nanos(),
        offset_ns: estimate.offset,
        bound_ns: estimate.bound,
    });
    let started = rendezvous.started;
    Shard {
        leader_anchor: Some(ClockAnchor {
            monotonic_ns: rendezvous.run.wall_stamp,
            unix_ns: rendezvous.run.wall_unix,
        }),
        clock: clock.collect(),
        // Parts per million are thousands of nanoseconds in a second.
        drift: clocks.last().map(|(_, last)| last.drift_ppm * 1e3),
        wall_difference_ns: rendezvous.wall_difference,
        start_late_us: started.map(|one| one.heard.since(one.zero).as_millis_f64() * 1e3),
        ..shard
    }
}

/// It is incomplete until it has ended.
fn begun(run: &PreparedRun<'_>, share: &Share, inputs: &Inputs) -> Shard {
    let settings = run.settings;
    let (shard, anchor, now) = (share.shard, run.engine.anchor(), Stamp::now());
    let quota = Groups::of_cpu().and_then(|groups| groups.cpu_quota());
    let driver = run.engine.granted().first();
    Shard {
        schema_version: SHARD_SCHEMA,
        tool_version: format!("pinfire {}", env!("CARGO_PKG_VERSION")),
        run_id: share.run_id.clone(),
        index: shard.index(),
        shards: shard.count(),
        block: shard.block().into(),
        segment: Segment::new(
            shard.index(),
            shard.count(),
            shard.block().into(),
            numbers(run),
        ),
        digests: Digests {
            settings: share.settings_digest.clone(),
            inputs: inputs.whole(),
            files: inputs.by_setting(),
        },
        anchor: ClockAnchor {
            monotonic_ns: now.nanos(),
            unix_ns: anchor.unix_nanos(now),
        },
        incarnation: incarnation(),
        host: cluster::host(),
        node: node(),
        cpus: settings.places.cpus() as u64,
        cpu_quota: quota.map(|quota| quota.cpus()),
        io_driver: driver.map_or("", |core| core.driver.name()).to_owned(),
        incomplete_reason: Some("it has not ended".to_owned()),
        ..Shard::default()
    }
}

/// Where the numbers of the measured phase end, if a count ends them.
fn numbers(run: &PreparedRun<'_>) -> Option<u64> {
    let load = &run.settings.load.profiling;
    let bodies = &run.workload.bodies;
    let sessions = run.settings.input.fixed_schedule();
    let sessions = sessions.then_some(bodies.conversations() as u64);
    let single = [load.sessions, sessions].into_iter().flatten();
    let single = single.filter(|_| bodies.is_single());
    single.chain(load.requests).min()
}

fn ended(begun: Shard, end: &RunEnd, last: Option<u64>, lost: bool) -> Shard {
    let counts = &end.counts;
    let window = end.profiling.as_ref();
    let incomplete = match (&end.interrupted, lost, window.and_then(|window| window.end)) {
        (Some(why), ..) => Some(why.clone()),
        (None, true, _) => Some("some of its results are lost".to_owned()),
        (None, false, None) => Some("it did not come to the measurement's end".to_owned()),
        (None, false, Some(_)) => None,
    };
    Shard {
        zero: window.map(|window| window.start.nanos()),
        throttled_us: end
            .cpu_quota
            .map(|quota| quota.throttling.time.nanos() / 1_000),
        counts: ShardCounts {
            due: counts.due,
            sent: counts.sent,
            finished: counts.finished,
            failed: counts.failed,
            cancelled: counts.cancelled,
            dropped: counts.dropped,
        },
        last_number: last,
        complete: incomplete.is_none(),
        incomplete_reason: incomplete,
        ..begun
    }
}

fn write(settings: &Settings, shard: &Shard) -> Result<()> {
    Ok(replace(
        &settings.artifact_dir.join(SHARD),
        &json_bytes(shard),
    )?)
}
