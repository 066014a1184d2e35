//! What the summary of a run says of the shards that sent it.

use serde::{Deserialize, Serialize};

use crate::leader::LastBeat;
use crate::shard::Segment;
use crate::summary::Lateness;

/// A run that several processes have sent, each its share.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShardedRun {
    /// Id of the run, the same in all of its shards.
    pub run_id: String,
    /// How many shards it was to have.
    pub shards: u32,
    /// Which clock all times are on: `rendezvous` for the leader's, `wall` for the wall clock of
    /// each shard, `mixed` where only some shards know how far they are from the leader.
    pub clock: String,
    /// No time of a shard is further from the leader's clock than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_bound_us: Option<f64>,
    /// From the first request of the first shard to that of the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_skew_ms: Option<f64>,
    /// From the last answer of the shard that was done first to that of the last, where a number
    /// of requests ends the run: a time with less in flight than was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail_s: Option<f64>,
    /// Shard by shard, those whose requests are there.
    pub table: Vec<ShardAccount>,
    /// Shards of which something, or everything, is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingShard>,
    /// The load before and after the first shard was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<LoadAroundLoss>,
    /// What the user should know of the shards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What one shard has sent, and how far it can be trusted.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShardAccount {
    /// Number of the shard, from 0.
    pub index: u32,
    /// Name of its host.
    pub host: String,
    /// Name of the machine, where it is known to be another than the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// CPUs that the process could use.
    pub cpus: u64,
    /// CPUs' worth of time that its control group granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<f64>,
    /// How long that limit kept it from running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_us: Option<u64>,
    /// `io_uring` or `epoll`.
    pub io_driver: String,
    /// Requests of the measured phase that are in its file.
    pub requests: u64,
    /// Their share of all.
    pub share_pct: f64,
    /// Answered.
    pub valid: u64,
    /// Failed.
    pub errors: u64,
    /// Cancelled by plan.
    pub cancelled: u64,
    /// Streams that it was to hold, its share of the concurrency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_asked: Option<u32>,
    /// Those that it held on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_avg: Option<f64>,
    /// How late its deadlines were, by its own account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer_lateness: Option<Lateness>,
    /// How late its requests were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_lateness: Option<Lateness>,
    /// How long received bytes waited in its kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_delay: Option<Lateness>,
    /// Its times are no further from the leader's clock than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_bound_us: Option<f64>,
    /// How far its own wall clock was from the leader's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_difference_ms: Option<f64>,
    /// How long after the common instant it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_late_us: Option<f64>,
    /// Its first request, in seconds from the first of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_sent_sec: Option<f64>,
    /// The end of its last one, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_end_sec: Option<f64>,
    /// It did all that was asked of it, and its requests are all there.
    pub complete: bool,
    /// It was the bottleneck, by its own account.
    pub client_was_bottleneck: bool,
    /// Why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// A shard of which something is missing.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MissingShard {
    /// Number of the shard, from 0.
    pub index: u32,
    /// Name of its host or machine, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The numbers that were its own.
    pub segment: Segment,
    /// What is known of it.
    pub reason: String,
    /// Its requests that are there, and in the figures.
    pub requests: u64,
    /// Those that it had sent by its own last account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// The largest of its numbers that is known to have been due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_number: Option<u64>,
    /// The last that is known of it, in seconds from the first request of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen_sec: Option<f64>,
    /// When the leader noticed that it was gone, in seconds from the first request of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_sec: Option<f64>,
    /// How the leader noticed it, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_how: Option<String>,
    /// What its last sign of life to the leader had counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_beat: Option<LastBeat>,
}

/// Requests a second that all shards together have started. Nothing is scaled up.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LoadAroundLoss {
    /// When the first shard was lost, in seconds from the first request of all.
    pub at_sec: f64,
    /// Started before.
    pub requests_before: u64,
    /// The same a second.
    pub rate_before: f64,
    /// Started after.
    pub requests_after: u64,
    /// The same a second, to the start of the last request.
    pub rate_after: f64,
}
