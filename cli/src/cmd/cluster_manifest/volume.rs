//! Files that a run reads, on their way into pods: small ones travel in the ConfigMap, others lie
//! on a volume.

use std::path::Path;

use anyhow::{Context, Result, bail};
use pinfire_config::{Get, RunConfig, Sourced, config::FileSetting};

/// Where the run file, and the files that travel beside it, are in a pod.
pub const RUN_FOLDER: &str = "/etc/pinfire";
/// Where `--claim` is in a pod.
pub const DATA_FOLDER: &str = "/data";
/// A ConfigMap holds 1 MiB; the run file needs some of it.
const MOST_BYTES: usize = 900_000;

/// A file that travels.
pub struct Carried {
    pub name: String,
    pub text: String,
}

/// Whether a file lies where only the pods see it, so that nothing can be checked here.
pub fn elsewhere(config: &RunConfig) -> bool {
    let mut config = config.clone();
    let mut named = config.files_mut().into_iter();
    named.any(|file| file.path.as_ref().is_some_and(|path| is_there(&path.value)))
}

fn is_there(path: &Path) -> bool {
    path.starts_with(DATA_FOLDER) && !path.exists()
}

/// Takes the files of this machine along, and names them as the pods see them.
///
/// # Errors
/// One cannot be read, is no text, or they are too large.
pub fn carry(config: &mut RunConfig, has_claim: bool) -> Result<Vec<Carried>> {
    let mut carried = Vec::new();
    let mut bytes = 0;
    for FileSetting {
        flag,
        path: setting,
        ..
    } in config.files_mut()
    {
        let Some(file) = setting else { continue };
        let path = file.value.clone();
        if path.starts_with(DATA_FOLDER) && has_claim {
            continue;
        }
        let otherwise = format!(
            "put it on a volume: --claim NAME mounts it at {DATA_FOLDER}, then {flag} {DATA_FOLDER}/…"
        );
        let shown = path.display();
        if path.is_dir() {
            bail!("{flag} {shown}: a folder of this machine is not in the pods; {otherwise}");
        }
        let read = std::fs::read(&path).with_context(|| format!("{flag} {shown}"))?;
        bytes += read.len();
        if bytes > MOST_BYTES {
            bail!("{flag} {shown}: too large for a ConfigMap, which holds 1 MiB; {otherwise}");
        }
        let Ok(text) = String::from_utf8(read) else {
            bail!("{flag} {shown}: it is no text, which alone goes into a ConfigMap; {otherwise}");
        };
        let name = format!("{}-{}", carried.len(), key(&path));
        *setting = Some(Sourced {
            value: Path::new(RUN_FOLDER).join(&name),
            source: file.source.clone(),
        });
        carried.push(Carried { name, text });
    }
    let tokenizer = config.tokenizer.tokenizer.get();
    let is_here = |name: &String| {
        let path = Path::new(name);
        path.is_dir() && !(has_claim && path.starts_with(DATA_FOLDER))
    };
    if let Some(folder) = tokenizer.filter(is_here) {
        bail!(
            "--tokenizer {folder}: a folder of this machine is not in the pods; put it on a volume: --claim \
             NAME mounts it at {DATA_FOLDER}"
        );
    }
    Ok(carried)
}

/// The end of a path as a ConfigMap may name it.
fn key(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let taken = |c: char| match c {
        c if c.is_ascii_alphanumeric() || "._-".contains(c) => c,
        _ => '_',
    };
    let name: String = name.chars().map(taken).collect();
    // Its extension says how it is read.
    name[name.len().saturating_sub(100)..].to_owned()
}
