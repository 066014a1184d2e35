//! What pinfire is given away as: the wheel is built by the tool that a release uses, installed
//! into an empty environment, and does the main job there.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use pinfire_tests::{binary::pinfire, needs::left_out, watchdog::watch};
use serde_json::Value;
use tempfile::TempDir;

fn done(what: &str, command: &mut Command) -> Output {
    let _guard = watch(what);
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {said}");
    output
}

/// A Python that can make environments and read TOML, as tools/package does.
fn python() -> Option<PathBuf> {
    let python = PathBuf::from(std::env::var_os("PINFIRE_PYTHON").unwrap_or("python3".into()));
    let needed = ["-c", "import ensurepip, tomllib, venv"];
    let output = Command::new(&python).args(needed).output();
    if output.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    left_out("PINFIRE_NEED_PYTHON", "there is no Python 3.11 with venv");
    None
}

#[test]
fn the_wheel_does_the_main_job_in_an_empty_environment() {
    let Some(python) = python() else { return };
    let folder = TempDir::new().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/package");
    let mut package = Command::new(&python);
    package.arg(tool).arg("--out").arg(at("packages"));
    package
        .arg("--binary")
        .arg(pinfire())
        .args(["wheel", "sbom"]);
    done("tools/package", &mut package);

    let made = std::fs::read_dir(at("packages")).expect("what was made");
    let made: Vec<PathBuf> = made.map(|entry| entry.expect("an entry").path()).collect();
    let of = |end: &str| {
        let found = made
            .iter()
            .find(|path| path.to_string_lossy().ends_with(end));
        found.unwrap_or_else(|| panic!("no {end} in {made:?}"))
    };
    let sums = std::fs::read_to_string(of("SHA256SUMS")).expect("the sums");
    assert_eq!(sums.lines().count(), 2, "{sums}");
    let bill = std::fs::read(of(".cdx.json")).expect("the bill of materials");
    let bill: Value = serde_json::from_slice(&bill).expect("JSON");
    let names: Vec<&str> = bill["components"]
        .as_array()
        .expect("components")
        .iter()
        .filter_map(|component| component["name"].as_str())
        .collect();
    assert!(names.contains(&"monoio") && names.contains(&"pinfire-engine"));
    assert!(!names.contains(&"proptest"), "no tests are linked in");

    let mut venv = Command::new(&python);
    done("a venv", venv.args(["-m", "venv"]).arg(at("empty")));
    let mut pip = Command::new(at("empty/bin/pip"));
    pip.args(["install", "--quiet", "--no-index", "--no-deps"]);
    done("pip install", pip.arg(of(".whl")));
    let mut run = Command::new(at("empty/bin/pinfire"));
    run.args([
        "profile",
        "--url",
        "mock:",
        "--model",
        "mock",
        "--streaming",
    ])
    .args(["--tokenizer", "builtin", "--isl", "20", "--osl", "4"])
    .args(["--request-count", "8", "--concurrency", "4"])
    .args(["--artifact-dir", "out"])
    .current_dir(folder.path());
    done("the main job", &mut run);
    assert!(at("out/profile_export_aiperf.json").exists());
}
