//! From what the user asked for to a tokenizer: embedded, local or in the hub's cache.

use std::path::{Path, PathBuf};

use super::hub::{self, Lookup};
use super::tokenizer::{EMBEDDED, Tokenizer};

/// Something the user should read, though the run goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why no tokenizer could be loaded; every text names the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// Neither embedded, nor a path, nor in the hub's cache.
    #[error(
        "no tokenizer found for `{name}` (revision {revision}): it is not embedded, not a path, \
         and not in the local hub cache{}; use `--tokenizer builtin`, or `--tokenizer` with the \
         path of a folder that holds tokenizer.json, or `--use-server-token-count`",
        cache.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default()
    )]
    NotFound {
        /// The tokenizer asked for, or the model's name when none was.
        name: String,
        /// Branch, tag or commit.
        revision: String,
        /// The cache folder that was looked into.
        cache: Option<PathBuf>,
    },
    /// A bare name that more than one cached repository carries.
    #[error("`{name}` is in the hub cache more than once ({}): name the one meant", candidates.join(", "))]
    Ambiguous {
        /// The bare name.
        name: String,
        /// Full names of the repositories.
        candidates: Vec<String>,
    },
    /// A path without a tokenizer.
    #[error(
        "there is no {}: --tokenizer takes a folder that holds tokenizer.json or such a file; \
         otherwise use `--tokenizer builtin` or `--use-server-token-count`",
        path.display()
    )]
    NoFile {
        /// The file that should exist.
        path: PathBuf,
    },
    /// The file exists but could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error(
        "{} is not a usable tokenizer: {reason}; use another one, `--tokenizer builtin`, or \
         `--use-server-token-count`",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// An encoding that this build does not carry.
    #[error("the encoding `{name}` is not in this build; use a path or `--use-server-token-count`")]
    NotInBuild {
        /// The encoding.
        name: String,
    },
}

/// The tokenizer for `--tokenizer requested` or, without it, for the model; `revision` is a
/// branch, tag or commit of a hub repository (`main`).
///
/// # Errors
/// When nothing usable is found; the text names the ways out.
pub fn resolve(
    requested: Option<&str>,
    model: &str,
    revision: Option<&str>,
) -> Result<(Tokenizer, Option<Warning>), TokenizerError> {
    let cache = hub::cache_root(|name| std::env::var(name).ok());
    resolve_in(
        requested,
        model,
        revision.unwrap_or("main"),
        cache.as_deref(),
    )
}

fn resolve_in(
    requested: Option<&str>,
    model: &str,
    revision: &str,
    cache: Option<&Path>,
) -> Result<(Tokenizer, Option<Warning>), TokenizerError> {
    let name = requested.unwrap_or(model);
    if name == "builtin" {
        return Ok((Tokenizer::builtin()?, None));
    }
    if EMBEDDED.contains(&name) {
        return Ok((Tokenizer::embedded(name, name)?, None));
    }
    if requested.is_none() && is_placeholder(model) {
        let warning = format!(
            "the model name `{model}` looks like a placeholder: tokens are counted with the \
             builtin tokenizer (o200k_base); name another with --tokenizer"
        );
        return Ok((Tokenizer::builtin()?, Some(Warning(warning))));
    }
    let path = Path::new(name);
    if path.is_absolute() || name.starts_with("./") || name.starts_with("../") || path.is_dir() {
        return Ok((Tokenizer::from_path(path, name)?, None));
    }
    // An explicit file needs no `./`; a model's name is not taken for one.
    if requested.is_some() && path.is_file() {
        return Ok((Tokenizer::from_path(path, name)?, None));
    }
    match cache.map_or(Lookup::Missing, |root| hub::find(root, name, revision)) {
        Lookup::Found(folder) => Ok((Tokenizer::from_path(&folder, name)?, None)),
        Lookup::Ambiguous(candidates) => Err(TokenizerError::Ambiguous {
            name: name.to_owned(),
            candidates,
        }),
        Lookup::Missing => Err(TokenizerError::NotFound {
            name: name.to_owned(),
            revision: revision.to_owned(),
            cache: cache.map(Path::to_path_buf),
        }),
    }
}

/// Whether a model name stands for no real model.
fn is_placeholder(model: &str) -> bool {
    const EXACT: [&str; 7] = [
        "test",
        "mock",
        "fake",
        "dummy",
        "example",
        "sample",
        "placeholder",
    ];
    const WITHIN: [&str; 9] = [
        "mock-",
        "-mock",
        "fake-",
        "-fake",
        "test-model",
        "your-model",
        "my-model",
        "model-name",
        "model-id",
    ];
    if model.contains(['/', '\\']) || model.starts_with(['.', '~']) {
        return false;
    }
    let model = model.to_lowercase().replace('_', "-");
    EXACT.contains(&model.as_str()) || WITHIN.iter().any(|part| model.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders() {
        for name in [
            "test",
            "MOCK",
            "mock_server",
            "my_fake",
            "your-model-7b",
            "model-id",
        ] {
            assert!(is_placeholder(name), "{name}");
        }
        for name in [
            "org/mock-x",
            "./mock-x",
            "~mock-x",
            "tests",
            "gpt-4",
            "a\\mock-b",
        ] {
            assert!(!is_placeholder(name), "{name}");
        }
    }

    #[test]
    fn builtin_encodings_and_placeholder() {
        let named = |requested: Option<&str>, model: &str| {
            let (tokenizer, warning) = resolve_in(requested, model, "main", None).unwrap();
            (tokenizer.name().to_owned(), warning.is_some())
        };
        assert_eq!(named(Some("builtin"), "m"), ("builtin".into(), false));
        assert_eq!(named(Some("r50k_base"), "m"), ("r50k_base".into(), false));
        assert_eq!(named(None, "mock-model"), ("builtin".into(), true));
    }

    #[test]
    fn cached_local_and_missing() {
        let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/test/wordlevel");
        let root = tempfile::tempdir().unwrap();
        let snapshot = root.path().join("models--o--tiny/snapshots/c1");
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::copy(tiny.join("tokenizer.json"), snapshot.join("tokenizer.json")).unwrap();
        let (tokenizer, _) = resolve_in(None, "o/tiny", "c1", Some(root.path())).unwrap();
        assert_eq!(
            tokenizer.separator(),
            None,
            "no tokenizer_config.json there"
        );
        let path = tiny.to_str().unwrap();
        let (tokenizer, _) = resolve_in(Some(path), "o/x", "main", None).unwrap();
        assert!(tokenizer.separator().is_some());
        let error = resolve_in(None, "o/x", "main", Some(root.path())).unwrap_err();
        let text = error.to_string();
        for way in [
            "o/x",
            "--tokenizer builtin",
            "path",
            "--use-server-token-count",
        ] {
            assert!(text.contains(way), "{text}");
        }
    }
}
