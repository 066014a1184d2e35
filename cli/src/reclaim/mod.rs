//! What tells whether a server lets go of what is cancelled: looks at its metrics all the time, and
//! requests that are sent alone. Shared by `cancel-test` and `profile --verify-release`.

mod canary;
mod looks;
mod verify;

pub use canary::{Alone, seen};
pub use looks::{Floor, Looks, QUIET, last_levels};
pub use verify::{PATIENCE, Verify, write};
