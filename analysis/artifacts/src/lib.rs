//! The files that a run leaves, as types: their names, what stands in them, which of a folder are a
//! run's, and who may write to it. Everything that pinfire reads or writes of its own files goes through
//! here, and so does what it reads of AIPerf's.
//!
//! The order of fields is the order of keys in the files. Absent keys are read as defaults and unknown
//! ones are passed over, so that files of other versions, and of AIPerf, can be read.

mod answers;
mod block;
pub mod calibration;
mod carried;
pub mod config;
mod error;
mod folder;
pub mod leader;
mod line;
mod lines;
mod names;
pub mod phases;
mod raw;
mod read;
mod run_files;
pub mod samples;
pub mod server;
pub mod shard;
pub mod sharded;
pub mod slices;
pub mod summary;
pub mod sweep;
pub mod tag;
mod trace;
mod write;

pub use answers::{AnswerCounts, LineAnswer, UnreadableEvents};
pub use block::{Block, Metrics, finite};
pub use carried::{Carried, Part};
pub use error::{ErrorCount, ErrorDetails};
pub use folder::{FolderError, PHASE_FILES, RunFolder};
pub use line::{
    CancelledAt, LineCancellation, LineMetrics, LineUnreached, Measured, Metadata, MetricText,
    MetricValue, OUR_PROCESSOR, RequestLine, Verbatim,
};
pub use lines::{LineNumber, Lines, LinesError};
pub use names::{
    AGGREGATE_CSV, AGGREGATE_JSON, CALIBRATION, CANCEL_MATRIX, CANCEL_MATRIX_PAGE, CANCEL_TEST,
    CANCEL_TEST_PAGE, COLLATED_JSON, FileNames, INPUTS, LEADER, LOG, PARETO_CSV, PHASE_MANIFEST,
    PHASES, PROFILE_RUNS, READY, RESOLVED_CONFIG, RUN_MARKER, SEARCH_HISTORY, SHARD, STARTED,
    SWEEP_CONFIG, SWEEP_CONSOLE, SWEEP_CSV, SWEEP_JSON,
};
pub use raw::{Packet, RawLine, Response, SentPacket, SentResponse};
pub use read::{ReadError, read_json};
pub use run_files::{FindError, RunFiles};
pub use summary::Summary;
pub use trace::TraceData;
pub use write::{
    LineFile, WriteError, append, csv_bytes, json_bytes, json_line, json_value, replace,
};

/// An object whose keys keep their order.
pub type Ordered<V> = indexmap::IndexMap<String, V>;
