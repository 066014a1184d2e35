//! What a machine may lack, and what tests that need it do then.

use std::{
    collections::BTreeSet,
    io::Write,
    sync::{Mutex, PoisonError},
};

/// Leaves a test out because something is missing, which is said once per process on stderr. Where
/// `variable` is set in the environment, as it is in the gate, the test fails instead.
///
/// # Panics
///
/// With `variable` in the environment.
#[track_caller]
pub fn left_out(variable: &str, missing: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    assert!(
        std::env::var_os(variable).is_none(),
        "{variable} is set, but {missing}"
    );
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.insert(missing.to_owned()) {
        // Not `eprintln`: the test runner would keep that of a test that passes to itself.
        let text = format!("\nSKIPPED, and counted as passed: {missing}\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
