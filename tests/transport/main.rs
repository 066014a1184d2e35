//! The ways to a server: TLS, several URLs, Unix sockets, IPv6, local addresses, limits of
//! connecting.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

mod addresses;
mod dialling;
mod tls;
