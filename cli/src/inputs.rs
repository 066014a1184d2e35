//! The files that a run reads, and what is in them: the shards of a run must all have the same.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use pinfire_cluster::message::{Digest, Input, Item};
use pinfire_config::RunConfig;
use sha2::{Digest as _, Sha256};

use crate::shards::hex;

/// The longest file that is sent to a shard.
const SENT_MOST: u64 = 1 << 30;

/// Bytes that are read at once.
const BLOCK: usize = 1 << 20;

/// The tokenizer that makes and counts prompts.
#[derive(Clone, Default)]
pub struct TokenizerFiles {
    /// Its name.
    pub name: String,
    /// What it was read from; nothing where it is part of the program.
    pub files: Vec<PathBuf>,
}

/// The digest of everything that a run reads, by the setting that names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inputs {
    /// Of the files.
    pub files: Vec<Item>,
    /// Of the tokenizer, where there is one.
    pub tokenizer: Vec<Item>,
}

impl Inputs {
    /// Reads all of it.
    ///
    /// # Errors
    /// Something cannot be read; the text names the setting and the file.
    pub fn of(config: &RunConfig, tokenizer: Option<&TokenizerFiles>) -> Result<Self> {
        let one = |flag: &str, digest: Result<Digest>| {
            let cannot = || format!("{flag} cannot be compared with what the other shards have");
            Ok(Item {
                name: flag.to_owned(),
                digest: digest.with_context(cannot)?,
            })
        };
        let named = config.common_files().into_iter();
        let files = named.map(|(flag, path)| one(flag, contents(&path)));
        let tokenizer = tokenizer
            .iter()
            .map(|tokenizer| one("--tokenizer", tokenizer.digest()));
        Ok(Self {
            files: files.collect::<Result<_>>()?,
            tokenizer: tokenizer.collect::<Result<_>>()?,
        })
    }

    fn all(&self) -> impl Iterator<Item = &Item> {
        self.files.iter().chain(&self.tokenizer)
    }

    /// All of it in one.
    pub fn whole(&self) -> String {
        digest_of(self.all())
    }

    /// Each by the setting that names it.
    pub fn by_setting(&self) -> BTreeMap<String, String> {
        self.all()
            .map(|one| (one.name.clone(), hex(&one.digest[..16])))
            .collect()
    }
}

/// What the leader says of its files to shards that may not have them. `files` are their digests.
///
/// # Errors
/// One cannot be looked at.
pub fn offered(config: &RunConfig, files: &[Item]) -> Result<Vec<Input>> {
    let all = config.common_files().into_iter().zip(files);
    all.map(|((flag, path), Item { digest, .. })| {
        let cannot = || format!("{flag}: cannot read {}", path.display());
        let about = fs::metadata(&path).with_context(cannot)?;
        let stays = if about.is_dir() {
            Some("folders are not sent; put it on every machine".to_owned())
        } else if about.len() > SENT_MOST {
            Some("it is longer than the 1 GiB that are sent; put it on every machine".to_owned())
        } else if flag == "--ca-cert" && holds_a_key(&path).with_context(cannot)? {
            Some("it holds a private key, and secrets are not sent".to_owned())
        } else {
            None
        };
        let name = path.file_name().unwrap_or_default();
        Ok(Input {
            flag: flag.to_owned(),
            name: name.to_string_lossy().into_owned(),
            bytes: about.len(),
            digest: *digest,
            stays,
        })
    })
    .collect()
}

fn holds_a_key(path: &Path) -> std::io::Result<bool> {
    const MARK: &[u8] = b"PRIVATE KEY";
    let text = fs::read(path)?;
    Ok(text.windows(MARK.len()).any(|part| part == MARK))
}

/// The digest of several.
pub fn digest_of<'a>(items: impl IntoIterator<Item = &'a Item>) -> String {
    let mut whole = Sha256::new();
    for Item { name, digest } in items {
        add(&mut whole, name.as_bytes(), digest);
    }
    hex(&whole.finalize()[..16])
}

impl TokenizerFiles {
    fn digest(&self) -> Result<Digest> {
        if self.files.is_empty() {
            return Ok(Sha256::digest(&self.name).into());
        }
        let mut digest = Sha256::new();
        for file in &self.files {
            let name = file.file_name().unwrap_or_default();
            add(&mut digest, name.as_encoded_bytes(), &of_file(file)?);
        }
        Ok(digest.finalize().into())
    }
}

/// The digest of a file, or of a folder with all that is in it, whatever order the system lists it
/// in.
///
/// # Errors
/// Something of it cannot be read.
pub fn contents(path: &Path) -> Result<Digest> {
    if !path.is_dir() {
        return of_file(path);
    }
    let mut digest = Sha256::new();
    let mut entries = fs::read_dir(path)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .with_context(|| format!("cannot read {}", path.display()))?;
    entries.sort_unstable_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        add(
            &mut digest,
            name.as_encoded_bytes(),
            &contents(&entry.path())?,
        );
    }
    Ok(digest.finalize().into())
}

fn add(digest: &mut Sha256, name: &[u8], contents: &Digest) {
    digest.update((name.len() as u64).to_le_bytes());
    digest.update(name);
    digest.update(contents);
}

fn of_file(path: &Path) -> Result<Digest> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let mut digest = Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block).with_context(cannot)? {
            0 => return Ok(digest.finalize().into()),
            count => digest.update(&block[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::typed;

    fn of(flags: &str) -> Result<Inputs> {
        Inputs::of(&typed(flags.split_whitespace()).unwrap(), None)
    }

    #[test]
    fn every_file_of_the_settings_is_in_the_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let shown = path.display();
        for flag in [
            "--input-file",
            "--ca-cert",
            "--request-rate-series",
            "--system-prompt-file",
            "--release-profile",
        ] {
            fs::write(&path, "one").unwrap();
            let one = of(&format!("{flag} {shown}")).unwrap();
            assert_eq!(one.files[0].name, flag);
            fs::write(&path, "two").unwrap();
            let two = of(&format!("{flag} {shown}")).unwrap();
            assert_ne!(one.whole(), two.whole(), "{flag}");
            fs::remove_file(&path).unwrap();
            let error = format!("{:#}", of(&format!("{flag} {shown}")).unwrap_err());
            assert!(error.contains(flag), "{error}");
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        assert_eq!(of("--calibration /nowhere").unwrap().files, []);
    }

    #[test]
    fn folders_and_keys_are_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let key = "-----BEGIN PRIVATE KEY-----";
        let here = folder.path().display().to_string();
        for (flag, path, words) in [
            ("--input-file", file("a.jsonl", key), None),
            ("--input-file", here, Some("folders are not sent")),
            (
                "--ca-cert",
                file("a.pem", "-----BEGIN CERTIFICATE-----"),
                None,
            ),
            ("--ca-cert", file("b.pem", key), Some("a private key")),
        ] {
            let config = typed([flag, &path]).unwrap();
            let files = Inputs::of(&config, None).unwrap().files;
            let offered = offered(&config, &files).unwrap();
            assert_eq!(offered.len(), 1);
            assert_eq!(offered[0].digest, files[0].digest);
            let stays = offered[0].stays.as_deref();
            assert_eq!(stays.is_some(), words.is_some(), "{flag} {path}: {stays:?}");
            assert!(words.is_none_or(|words| stays.unwrap().contains(words)));
        }
    }

    #[test]
    fn a_folder_is_what_is_in_it() {
        let of = |files: &[(&str, &str)]| {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in files {
                let path = folder.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            contents(folder.path()).unwrap()
        };
        let one = of(&[("a", "1"), ("b", "2"), ("c/d", "3")]);
        assert_eq!(one, of(&[("c/d", "3"), ("b", "2"), ("a", "1")]));
        for other in [
            &[("a", "1"), ("b", "2")][..],
            &[("a", "1"), ("b", "2"), ("c/d", "4")],
            &[("a", "1"), ("b", "2"), ("c/e", "3")],
            &[("a", "2"), ("b", "1"), ("c/d", "3")],
            &[("a", "1"), ("b", "2"), ("d", "3")],
        ] {
            assert_ne!(one, of(other), "{other:?}");
        }
    }

    #[test]
    fn a_tokenizer_is_its_files_or_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let files = std::slice::from_ref(&path);
        let of = |name: &str, files: &[PathBuf]| {
            let tokenizer = TokenizerFiles {
                name: name.to_owned(),
                files: files.to_vec(),
            };
            let found = Inputs::of(&RunConfig::default(), Some(&tokenizer));
            found.map(|inputs| inputs.whole())
        };
        let none = of("builtin", &[]).unwrap();
        assert_ne!(none, of("cl100k_base", &[]).unwrap());
        fs::write(&path, "one").unwrap();
        let one = of("here", files).unwrap();
        assert_eq!(one, of("there", files).unwrap());
        fs::write(&path, "two").unwrap();
        assert_ne!(one, of("here", files).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(of("here", files).is_err());
    }
}
