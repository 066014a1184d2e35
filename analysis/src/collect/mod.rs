//! What is kept of the records while the run goes on: each is read, its numbers go into columns.
//!
//! Nothing is computed over the run before it has ended.

mod anomalies;
mod column;
mod errors;
mod mask;
mod progress;
mod reader;
mod slices;
mod tally;

pub use anomalies::{Anomalies, Noted};
pub(crate) use column::Ranges;
pub use errors::{ErrorGroup, ErrorGroups};
pub use progress::Progress;
pub use reader::{Read, Reader};
pub(crate) use tally::Asked;
pub use tally::{CancelTally, STAGES, SharedStamps, Tally};
