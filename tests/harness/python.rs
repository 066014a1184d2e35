//! Python with numpy, pandas and pyarrow, which users read our files with, and the schemas of
//! Kubernetes.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;

use crate::needs::left_out;

/// The interpreter: that of PINFIRE_PYTHON, or `python3`. `None`, with a line on stderr, if it
/// lacks numpy, pandas, pyarrow or kubernetes_validate; with PINFIRE_NEED_PYTHON set that is a
/// failure.
#[track_caller]
fn find() -> Option<PathBuf> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let path = std::env::var_os("PINFIRE_PYTHON").unwrap_or_else(|| "python3".into());
        let out = Command::new(&path)
            .args([
                "-c",
                "import numpy, pandas, pyarrow.parquet, kubernetes_validate",
            ])
            .output()
            .map_err(|error| format!("{}: {error}", path.display()))?;
        if out.status.success() {
            return Ok(path.into());
        }
        let said = String::from_utf8_lossy(&out.stderr);
        let last = said.lines().last().unwrap_or_default();
        Err(format!("{}: {last}", path.display()))
    });
    match found {
        Ok(path) => Some(path.clone()),
        Err(why) => {
            let missing = format!(
                "there is no Python with numpy, pandas, pyarrow and kubernetes-validate ({why}); make a \
                 venv with `pip install numpy pandas pyarrow kubernetes-validate` and set PINFIRE_PYTHON to its python"
            );
            left_out("PINFIRE_NEED_PYTHON", &missing);
            None
        }
    }
}

/// Runs a script with arguments and reads the JSON that it prints. `None` where there is no Python
/// for it, see `docs/TESTING.md`.
#[track_caller]
pub fn python<A: AsRef<OsStr>>(
    script: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Option<Value> {
    let arguments: Vec<OsString> = arguments
        .into_iter()
        .map(|argument| argument.as_ref().to_owned())
        .collect();
    let out = Command::new(find()?)
        .args(["-c", script])
        .args(arguments)
        .output()
        .expect("Python runs");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    Some(serde_json::from_slice(&out.stdout).expect("the script prints JSON"))
}
