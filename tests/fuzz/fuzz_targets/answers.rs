//! However an answer is cut into reads, one verdict comes of it, and the same one. From `tests`:
//! `cargo +nightly fuzz run answers -- -max_total_time=600`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| pinfire_tests::verdict::one_verdict(data));
