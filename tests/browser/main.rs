//! The report page and the dashboard in a real browser.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

mod chromium;
mod dashboard;
mod page;
mod release;

use std::path::Path;

use pinfire_tests::binary::call;

/// A run in a folder of the given name, with cancellations.
fn run(root: &Path, name: &str, concurrency: &str) {
    let folder = root.join(name);
    let run = call([
        "profile",
        "--url",
        "mock:",
        "--model",
        "mock",
        "--tokenizer",
        "builtin",
        "--streaming",
        "--isl",
        "20",
        "--osl",
        "8",
        "--request-count",
        "60",
        "--concurrency",
        concurrency,
        "--request-cancellation-rate",
        "20",
        "--request-cancellation-delay",
        "0.03",
        "--artifact-dir",
        folder.to_str().unwrap(),
    ]);
    run.run().code(0);
}
