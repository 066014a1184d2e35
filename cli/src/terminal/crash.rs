//! A panic, said in one line: a bug is reported as every other error is. With RUST_BACKTRACE it is
//! Rust's own report.

use std::{io::Write, panic::PanicHookInfo};

use pinfire_guard::shown_line;

/// From now on.
pub fn in_one_line() {
    let asked = |value: std::ffi::OsString| value != "0" && !value.is_empty();
    if std::env::var_os("RUST_BACKTRACE").is_some_and(asked) {
        return;
    }
    std::panic::set_hook(Box::new(|panic| {
        // Where nobody reads any more there is nothing left to do.
        let _ = writeln!(std::io::stderr(), "error: {}", shown_line(&said(panic)));
    }));
}

fn said(panic: &PanicHookInfo<'_>) -> String {
    let words = panic.payload_as_str().unwrap_or("without words");
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    // Libraries that start threads of their own have no other way to say it.
    if words.contains("failed to spawn thread") {
        return format!(
            "cannot start a thread ({words}): raise the limit of processes (ulimit -u, or the pids limit \
             of the container)"
        );
    }
    let place = panic.location();
    let place = place.map_or_else(String::new, |place| format!(" at {place}"));
    format!("pinfire crashed{place}: {words}: this is a bug in pinfire, please report it")
}
