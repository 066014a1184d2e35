//! `profile_export_aiperf_timeslices.json`: the measured phase in slices of time.

use serde::{Deserialize, Serialize};

use crate::config::InputConfig;
use crate::{Carried, Metrics};

/// The file.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct SlicesFile {
    /// The slices in order of time.
    pub timeslices: Vec<Slice>,
    /// What was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_config: Option<Carried<InputConfig>>,
}

/// One slice: the requests that started in its window. Instants are Unix nanoseconds.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Slice {
    /// Its number, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeslice_index: Option<u64>,
    /// Begin of its window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_ns: Option<u64>,
    /// End of its window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_ns: Option<u64>,
    /// It has its full length; said only of one that has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_complete: Option<bool>,
    /// Its metrics.
    #[serde(flatten)]
    pub metrics: Metrics,
}
