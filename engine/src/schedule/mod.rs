//! What is sent when, and which of it is hung up on: pure functions of the seed and the index.

mod cancel;
mod closed;

pub use cancel::CancelPlan;
pub use closed::{ClosedLoop, share};
