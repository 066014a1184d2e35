//! What tells whether a server lets go of what is cancelled: samples of its metrics all the time,
//! and requests that are sent alone. Shared by `cancel-test` and `profile --verify-release`.

mod check;
mod recording;
mod requester;
mod sampler;

pub use check::{ReclaimCheck, write};
pub use recording::Recording;
pub use requester::{Requester, span_of};
pub use sampler::{Floor, QUIET, Sampler, last_levels};
