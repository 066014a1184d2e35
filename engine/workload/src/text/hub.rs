//! Where the local Hugging Face cache keeps a repository's snapshot; reads only (`download`
//! writes).

use std::path::{Path, PathBuf};

/// What the cache says about a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// The folder of the wanted revision.
    Found(PathBuf),
    /// A bare name that several cached repositories end in, sorted.
    Ambiguous(Vec<String>),
    /// Not cached, or not at this revision.
    Missing,
}

/// The cache's root by the environment: HF_HUB_CACHE, HF_HOME/hub, the user's cache folder.
pub(super) fn cache_root(var: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| var(name).filter(|value| !value.is_empty());
    set("HF_HUB_CACHE")
        .map(PathBuf::from)
        .or_else(|| set("HF_HOME").map(|home| Path::new(&home).join("hub")))
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("huggingface/hub")))
        .or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache/huggingface/hub")))
}

/// Looks `name` (`org/model`, or a bare `model`) up under `root` at a branch, tag or commit.
pub(super) fn find(root: &Path, name: &str, revision: &str) -> Lookup {
    let exact = root.join(format!("models--{}", name.replace('/', "--")));
    if exact.is_dir() {
        return snapshot(&exact, revision).map_or(Lookup::Missing, Lookup::Found);
    }
    if name.contains('/') {
        return Lookup::Missing;
    }
    let mut matching: Vec<String> = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|folder| {
            let repository = folder.strip_prefix("models--");
            repository
                .and_then(|r| r.split_once("--"))
                .map(|(_, model)| model)
                == Some(name)
        })
        .collect();
    matching.sort();
    match &matching[..] {
        [] => Lookup::Missing,
        [one] => snapshot(&root.join(one), revision).map_or(Lookup::Missing, Lookup::Found),
        _ => Lookup::Ambiguous(
            matching
                .iter()
                .map(|folder| folder.trim_start_matches("models--").replacen("--", "/", 1))
                .collect(),
        ),
    }
}

fn snapshot(repository: &Path, revision: &str) -> Option<PathBuf> {
    let commit = std::fs::read_to_string(repository.join("refs").join(revision));
    let commit = commit.as_deref().map_or(revision, str::trim);
    let folder = repository.join("snapshots").join(commit);
    folder.is_dir().then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(root: &Path, folder: &str, commit: &str) {
        let repository = root.join(folder);
        std::fs::create_dir_all(repository.join("refs")).unwrap();
        std::fs::create_dir_all(repository.join("snapshots").join(commit)).unwrap();
        std::fs::write(repository.join("refs/main"), format!("{commit}\n")).unwrap();
    }

    #[test]
    fn full_bare_revision_and_ambiguous_names() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        cached(root, "models--Qwen--Qwen3-0.6B", "abc");
        cached(root, "models--a--same", "1");
        cached(root, "models--b--same", "2");
        let found = Lookup::Found(root.join("models--Qwen--Qwen3-0.6B/snapshots/abc"));
        assert_eq!(find(root, "Qwen/Qwen3-0.6B", "main"), found);
        assert_eq!(find(root, "Qwen3-0.6B", "main"), found);
        assert_eq!(find(root, "Qwen/Qwen3-0.6B", "abc"), found);
        assert_eq!(find(root, "Qwen/Qwen3-0.6B", "v2"), Lookup::Missing);
        assert_eq!(find(root, "Qwen/Qwen3-8B", "main"), Lookup::Missing);
        assert_eq!(
            find(root, "same", "main"),
            Lookup::Ambiguous(vec!["a/same".into(), "b/same".into()])
        );
    }

    #[test]
    fn the_root_follows_the_environment() {
        let with = |pairs: &'static [(&str, &str)]| {
            cache_root(|name| {
                let hit = pairs.iter().find(|(key, _)| *key == name);
                hit.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(
            with(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]),
            Some("/c".into())
        );
        assert_eq!(
            with(&[("HF_HOME", "/h"), ("HOME", "/u")]),
            Some("/h/hub".into())
        );
        assert_eq!(
            with(&[("HOME", "/u")]),
            Some("/u/.cache/huggingface/hub".into())
        );
        assert_eq!(with(&[]), None);
    }
}
