//! What the tests share: servers to be loaded, phases on them, runs of the binary.
//!
//! A harness that cannot do its work fails the test it works for, so it panics freely. Whatever may
//! hang is under a [`watchdog`], which ends the test process with a text.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a harness that cannot do its work fails the test it works for"
)]

pub mod binary;
pub mod cgroup;
pub mod load;
pub mod mock;
pub mod needs;
pub mod pty;
pub mod python;
pub mod raw;
pub mod sandbox;
pub mod sockets;
pub mod tls;
pub mod verdict;
pub mod watchdog;

/// Makes two tests of a function over a driver: `NAME::uring` and `NAME::epoll`. Where the kernel
/// refuses io_uring, the first is left out with a line on stderr, or fails if `PINFIRE_NEED_URING`
/// is set.
#[macro_export]
macro_rules! on_both_drivers {
    ($($(#[$meta:meta])* fn $name:ident($driver:ident) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "not every test needs everything of its file")]
            use super::*;

            fn test($driver: pinfire_engine::plan::DriverChoice) $body

            #[test]
            fn uring() {
                if $crate::load::has_uring() {
                    test(pinfire_engine::plan::DriverChoice::Uring);
                }
            }

            #[test]
            fn epoll() {
                test(pinfire_engine::plan::DriverChoice::Epoll);
            }
        }
    )*};
}
