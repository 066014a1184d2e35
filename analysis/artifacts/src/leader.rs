//! `leader.json` in the folder of a run that several processes made: what their leader knows of it
//! and no file of a shard can say. It is there if the run ended before its time or a shard was
//! lost.

use serde::{Deserialize, Serialize};

/// Version of the layout of `leader.json`.
pub const LEADER_SCHEMA: u32 = 1;

/// How a run has ended for its leader.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeaderAccount {
    /// Version of the layout.
    pub schema_version: u32,
    /// Who wrote it, such as `pinfire 1.0.0`.
    pub tool_version: String,
    /// Id of the run, the same in all of its shards.
    pub run_id: String,
    /// How many shards the run has.
    pub shards: u32,
    /// Why all were stopped before their time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Shards that were lost, or never came.
    pub lost: Vec<LostShard>,
}

/// A shard that was not there at the end.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LostShard {
    /// Number of the shard, from 0.
    pub index: u32,
    /// Name of its host, if it has joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// When that was noticed, in Unix nanoseconds; absent where it never came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unix_ns: Option<u64>,
    /// How, in words.
    pub how: String,
    /// It had done its part; only its files were on their way.
    pub was_done: bool,
    /// What its last sign of life had counted; absent where it never came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_beat: Option<LastBeat>,
}

/// Requests that a sign of life has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LastBeat {
    /// Begun.
    pub due: u64,
    /// Answered.
    pub finished: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled by plan.
    pub cancelled: u64,
}
