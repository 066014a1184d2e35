//! However a response is cut into reads, the same is seen. From `engine/proto`:
//! `cargo +nightly fuzz run cuts -- -max_total_time=600`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| pinfire_proto::fuzz::cuts_change_nothing(data));
