//! What the binary says of itself under `--version`: the commit and the target it was built from.

use std::process::Command;

/// What git prints, where this is a clone and git is there.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| std::env::var(name).unwrap_or_default();
    println!("cargo::rustc-env=PINFIRE_TARGET={}", variable("TARGET"));
    // While the program is worked on, a commit is no reason to build it again.
    let commit = match variable("PROFILE").as_str() {
        "release" => {
            if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
                println!("cargo::rerun-if-changed={log}");
            }
            git(&["log", "-1", "--format=%h of %cs"]).unwrap_or_else(|| "unknown".to_owned())
        }
        _ => "a development build".to_owned(),
    };
    println!("cargo::rustc-env=PINFIRE_COMMIT={commit}");
}
