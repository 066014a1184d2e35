//! From what the user asked for to a tokenizer: embedded, local, in the hub's cache or on the hub.

use std::path::{Path, PathBuf};

use super::download::{Hub, NoDownload};
use super::family;
use super::guard::runaway;
use super::hub::{self, Lookup};
use super::template::Unusable;
use super::tokenizer::{Tokenizer, exceeded};

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
    /// Neither embedded, nor a path, nor in the hub's cache, nor to be had from the hub.
    #[error(
        "no tokenizer found for `{name}` (revision {revision}): it is not embedded, not a path, \
         not in the local hub cache{}, and {hub}; use `--tokenizer builtin`, or `--tokenizer` with \
         the path of a folder that holds tokenizer.json, or `--use-server-token-count`",
        cache.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default()
    )]
    NotFound {
        /// The tokenizer asked for, or the model's name when none was.
        name: String,
        /// Branch, tag or commit.
        revision: String,
        /// The cache folder that was looked into.
        cache: Option<PathBuf>,
        /// Why the hub was of no help.
        hub: String,
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
    #[error(
        "cannot read {}: {cause}; use another tokenizer, `--tokenizer builtin`, or \
         `--use-server-token-count`",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        cause: std::io::Error,
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
    /// A file of the hub's cache that is not what it should be.
    #[error(
        "{} is in the hub's cache, but not a usable tokenizer: {reason}; remove the folder {} to \
         download it again, or use another tokenizer, `--tokenizer builtin`, or \
         `--use-server-token-count`",
        path.display(),
        snapshot.display()
    )]
    Cached {
        /// The file.
        path: PathBuf,
        /// The folder of the revision that it belongs to.
        snapshot: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// A chat template that takes more steps, memory, output or time than it may.
    #[error("{0}")]
    Template(String),
    /// An encoding that this build does not carry.
    #[error("the encoding `{name}` is not in this build; use a path or `--use-server-token-count`")]
    NotInBuild {
        /// The encoding.
        name: String,
    },
}

/// Which tokenizer is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// `--tokenizer`.
    pub requested: Option<&'a str>,
    /// The model's name, which stands in for it.
    pub model: &'a str,
    /// Branch, tag or commit of a hub repository (`main`).
    pub revision: &'a str,
    /// Messages are to be counted by the chat template that comes with it.
    pub chat_template: bool,
}

/// A tokenizer, and what the user should know about it.
#[derive(Debug)]
pub struct Resolved {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// Words about it.
    pub warnings: Vec<Warning>,
}

/// Finds and loads the wanted tokenizer; `notice` is told before something takes long.
///
/// # Errors
/// When nothing usable is found; the text names the ways out.
pub fn resolve(wanted: &Wanted<'_>, notice: &dyn Fn(&str)) -> Result<Resolved, TokenizerError> {
    let var = |name: &str| std::env::var(name).ok();
    let places = Places {
        cache: hub::cache_root(var),
        hub: Hub::from_environment(var),
    };
    let (tokenizer, warning) = places.resolve(wanted, notice)?;
    let mut warnings = Vec::from_iter(warning);
    if !wanted.chat_template {
        return Ok(Resolved {
            tokenizer,
            warnings,
        });
    }
    let tokenizer = match tokenizer.clone().with_chat_template() {
        Ok(templated) => templated,
        Err(Unusable::Without(reason)) => {
            warnings.push(Warning(format!(
                "--apply-chat-template: {reason}; messages are counted without one"
            )));
            tokenizer
        }
        Err(Unusable::Exceeded { path, bound }) => {
            return Err(TokenizerError::Template(exceeded(&path, &bound)));
        }
    };
    Ok(Resolved {
        tokenizer,
        warnings,
    })
}

/// Where tokenizers of models may be.
struct Places {
    /// The local cache.
    cache: Option<PathBuf>,
    /// The hub, or why it is not asked.
    hub: Result<Hub, NoDownload>,
}

impl Places {
    fn resolve(
        &self,
        wanted: &Wanted<'_>,
        notice: &dyn Fn(&str),
    ) -> Result<(Tokenizer, Option<Warning>), TokenizerError> {
        let Wanted {
            requested, model, ..
        } = *wanted;
        let name = requested.unwrap_or(model);
        if name == "builtin" {
            return Ok((Tokenizer::builtin()?, None));
        }
        if let Some(family) = family::named(name) {
            return Ok((Tokenizer::embedded(family, name)?, None));
        }
        if requested.is_none() && is_placeholder(model) {
            let warning = format!(
                "the model name `{model}` looks like a placeholder: tokens are counted with the \
                 builtin tokenizer (o200k_base); name another with --tokenizer"
            );
            return Ok((Tokenizer::builtin()?, Some(Warning(warning))));
        }
        let path = Path::new(name);
        if path.is_absolute() || name.starts_with("./") || name.starts_with("../") || path.is_dir()
        {
            return Ok((Tokenizer::from_path(path, name)?, None));
        }
        // An explicit file needs no `./`; a model's name is not taken for one.
        if requested.is_some() && path.is_file() {
            return Ok((Tokenizer::from_path(path, name)?, None));
        }
        let cached = self.cache.as_deref();
        match cached.map_or(Lookup::Missing, |root| {
            hub::find(root, name, wanted.revision)
        }) {
            // What was cached of a model may be its weights alone.
            Lookup::Found(folder) if folder.join("tokenizer.json").exists() => {
                let tokenizer = Tokenizer::from_path(&folder, name);
                return match tokenizer {
                    Ok(tokenizer) => Ok((tokenizer, None)),
                    Err(error) => Err(of_cache(error, folder)),
                };
            }
            Lookup::Ambiguous(candidates) => {
                return Err(TokenizerError::Ambiguous {
                    name: name.to_owned(),
                    candidates,
                });
            }
            Lookup::Found(_) | Lookup::Missing => {}
        }
        let reason = match self.fetch(name, wanted.revision, notice) {
            Ok(folder) => return Ok((Tokenizer::from_path(&folder, name)?, None)),
            Err(NoDownload(reason)) => reason,
        };
        // What was given up on goes on until the program has ended, so it has to.
        let stand_in = family::of_model(name).filter(|_| !runaway());
        if let Some(family) = stand_in {
            let warning = format!(
                "the tokenizer of `{name}` is neither cached nor downloaded ({reason}): tokens are \
                 counted with the embedded vocabulary of its family, {}",
                family.name
            );
            return Ok((
                Tokenizer::embedded(family, family.name)?,
                Some(Warning(warning)),
            ));
        }
        Err(TokenizerError::NotFound {
            name: name.to_owned(),
            revision: wanted.revision.to_owned(),
            cache: self.cache.clone(),
            hub: reason,
        })
    }

    fn fetch(
        &self,
        name: &str,
        revision: &str,
        notice: &dyn Fn(&str),
    ) -> Result<PathBuf, NoDownload> {
        let hub = match &self.hub {
            Ok(hub) => hub,
            Err(NoDownload(reason)) => return Err(NoDownload(reason.clone())),
        };
        let without = "there is no folder to keep a download in (set HF_HOME)";
        let root = self.cache.as_deref();
        let root = root.ok_or_else(|| NoDownload(without.to_owned()))?;
        let from = hub.endpoint();
        notice(&format!("downloading the tokenizer of {name} from {from}"));
        hub.fetch(root, name, revision)
    }
}

/// The error with the way out that a file of the cache has.
fn of_cache(error: TokenizerError, snapshot: PathBuf) -> TokenizerError {
    let (path, reason) = match error {
        TokenizerError::Format { path, reason } => (path, reason),
        TokenizerError::Read { path, cause } => (path, cause.to_string()),
        other => return other,
    };
    TokenizerError::Cached {
        path,
        snapshot,
        reason,
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

    fn offline(cache: Option<&Path>) -> Places {
        Places {
            cache: cache.map(Path::to_path_buf),
            hub: Err(NoDownload("the hub is not asked".to_owned())),
        }
    }

    fn wanted<'a>(requested: Option<&'a str>, model: &'a str, revision: &'a str) -> Wanted<'a> {
        Wanted {
            requested,
            model,
            revision,
            chat_template: false,
        }
    }

    #[test]
    fn embedded_names_families_and_placeholder() {
        let named = |requested: Option<&str>, model: &str| {
            let (tokenizer, warning) = offline(None)
                .resolve(&wanted(requested, model, "main"), &|_| panic!("no network"))
                .unwrap();
            let warning = warning.map(|warning| warning.0).unwrap_or_default();
            (tokenizer.name().to_owned(), warning)
        };
        let quiet = |name: &str| (name.to_owned(), String::new());
        assert_eq!(named(Some("builtin"), "m"), quiet("builtin"));
        assert_eq!(named(Some("r50k_base"), "m"), quiet("r50k_base"));
        assert_eq!(named(Some("qwen2"), "m"), quiet("qwen2"));
        let (name, warning) = named(None, "mock-model");
        assert!(name == "builtin" && warning.contains("placeholder"));
        let (name, warning) = named(None, "Qwen/Qwen3-0.6B");
        assert_eq!(name, "qwen3", "what counts is named");
        assert!(
            warning.contains("qwen3") && warning.contains("not asked"),
            "{warning}"
        );
    }

    #[test]
    fn cached_local_and_missing() {
        let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/test/wordlevel");
        let root = tempfile::tempdir().unwrap();
        let places = offline(Some(root.path()));
        let resolved = |wanted: Wanted<'_>| places.resolve(&wanted, &|_| panic!("no network"));
        let snapshot = root.path().join("models--o--tiny/snapshots/c1");
        std::fs::create_dir_all(&snapshot).unwrap();
        let missing = resolved(wanted(None, "o/tiny", "c1")).unwrap_err();
        assert!(
            missing.to_string().contains("o/tiny"),
            "weights alone: {missing}"
        );
        std::fs::copy(tiny.join("tokenizer.json"), snapshot.join("tokenizer.json")).unwrap();
        let (tokenizer, _) = resolved(wanted(None, "o/tiny", "c1")).unwrap();
        assert_eq!(
            tokenizer.separator(),
            None,
            "no tokenizer_config.json there"
        );
        let path = tiny.to_str().unwrap();
        let (tokenizer, _) = resolved(wanted(Some(path), "o/x", "main")).unwrap();
        assert!(tokenizer.separator().is_some());
        let text = resolved(wanted(None, "o/x", "main"))
            .unwrap_err()
            .to_string();
        for way in [
            "o/x",
            "--tokenizer builtin",
            "path",
            "--use-server-token-count",
            "not asked",
        ] {
            assert!(text.contains(way), "{text}");
        }
    }

    /// A hub that gives each request the next of these answers, and tells what it was asked.
    fn hub(answers: &'static [&'static str]) -> (String, std::thread::JoinHandle<Vec<String>>) {
        use std::io::{BufRead, BufReader, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serve = move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                if answer.is_empty() {
                    break;
                }
                stream
                    .set_read_timeout(Some(std::time::Duration::from_secs(20)))
                    .unwrap();
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                asked.push(head.join("\n"));
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
            asked
        };
        (endpoint, std::thread::spawn(serve))
    }

    fn online(cache: &Path, endpoint: &str, token: Option<&str>) -> Places {
        Places {
            cache: Some(cache.to_path_buf()),
            hub: Hub::from_environment(|name| match name {
                "HF_ENDPOINT" => Some(endpoint.to_owned()),
                "HF_TOKEN" => token.map(str::to_owned),
                _ => None,
            }),
        }
    }

    const CLOSED: &str = "HTTP/1.1 404 Not Found\r\nX-Error-Code: EntryNotFound\r\nContent-Length: 0\r\n\
                          Connection: close\r\n\r\n";

    #[test]
    fn a_download_is_kept_for_the_next_run() {
        // A file with its commit by way of another address, one without, one that is not there.
        let tokenizer = include_str!("../../assets/test/wordlevel/tokenizer.json");
        let file: &'static str = Box::leak(
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{tokenizer}",
                tokenizer.len()
            )
            .into_boxed_str(),
        );
        let answers: &'static [&'static str] = Box::leak(Box::new([
            "HTTP/1.1 302 Found\r\nX-Repo-Commit: abc123\r\nLocation: /cdn/t?key=1\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n",
            file,
            "HTTP/1.1 200 OK\r\nX-Repo-Commit: abc123\r\nContent-Length: 20\r\nConnection: close\r\n\r\n\
             {\"bos_token\": \"<s>\"}",
            CLOSED,
            CLOSED,
        ]));
        let (endpoint, served) = hub(answers);
        let cache = tempfile::tempdir().unwrap();
        let places = online(cache.path(), &endpoint, Some("secret"));
        let notice = std::cell::RefCell::new(Vec::new());
        let found = places.resolve(&wanted(None, "o/tiny", "refs/pr/1"), &|text| {
            notice.borrow_mut().push(text.to_owned());
        });
        let (tokenizer, warning) = found.unwrap();
        assert!(warning.is_none() && tokenizer.separator().is_some());
        assert!(notice.borrow()[0].contains("o/tiny"), "{notice:?}");
        let asked = served.join().unwrap();
        assert!(
            asked[0].starts_with("GET /o/tiny/resolve/refs%2Fpr%2F1/tokenizer.json "),
            "{asked:?}"
        );
        assert!(asked[0].contains("Bearer secret"), "{asked:?}");
        assert!(asked[1].starts_with("GET /cdn/t?key=1 "), "{asked:?}");
        assert!(asked[3].contains("chat_template.jinja"), "{asked:?}");
        assert!(asked[4].contains("chat_template.json"), "{asked:?}");
        // The hub is gone, the cache has it.
        let (again, _) = offline(Some(cache.path()))
            .resolve(&wanted(None, "o/tiny", "refs/pr/1"), &|_| {
                panic!("no network")
            })
            .unwrap();
        assert_eq!(again.count("the king"), 2);
        assert!(
            cache
                .path()
                .join("models--o--tiny/snapshots/abc123")
                .is_dir()
        );
    }

    #[test]
    fn what_the_hub_refuses_is_said() {
        let refused = |answers: &'static [&'static str], token: Option<&str>| {
            let (endpoint, served) = hub(answers);
            let cache = tempfile::tempdir().unwrap();
            let places = online(cache.path(), &endpoint, token);
            let error = places
                .resolve(&wanted(None, "o/x", "main"), &|_| {})
                .unwrap_err();
            served.join().unwrap();
            error.to_string()
        };
        let text = refused(&[CLOSED], None);
        assert!(
            text.contains("404") && text.contains("--tokenizer builtin"),
            "{text}"
        );
        let unauthorized =
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let answers: &'static [&'static str] = Box::leak(Box::new([unauthorized]));
        let text = refused(answers, None);
        assert!(text.contains("401") && text.contains("HF_TOKEN"), "{text}");
        let text = refused(answers, Some("t"));
        assert!(text.contains("token in HF_TOKEN"), "{text}");
        let text = refused(
            &["HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"],
            None,
        );
        assert!(text.contains("500"), "{text}");
        let text = refused(
            &[
                "HTTP/1.1 404 Not Found\r\nX-Error-Code: RevisionNotFound\r\nContent-Length: 0\r\n\
               Connection: close\r\n\r\n",
            ],
            None,
        );
        assert!(text.contains("not this revision"), "{text}");
        assert!(text.lines().count() == 1, "{text}");
    }

    /// Every answer of a hub that is not the file: what is said, and that the cache stays empty.
    #[test]
    fn what_is_no_tokenizer_does_not_get_into_the_cache() {
        let tokenizer = include_str!("../../assets/test/wordlevel/tokenizer.json");
        let answer = |head: &str, body: &str| {
            let length = body.len();
            format!(
                "HTTP/1.1 200 OK\r\n{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
        };
        let good = answer("", tokenizer);
        let cut = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\nConnection: close\r\n\r\n{tokenizer}"
        );
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\n{\"a\":";
        let page = "<!DOCTYPE html><html><body>Sign in to the proxy</body></html>";
        let pattern = tokenizer.replace(
            r#"{"type": "Whitespace"}"#,
            r#"{"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": false}"#,
        );
        let rows: Vec<(Vec<String>, [&str; 2])> = vec![
            (
                vec![answer("Content-Type: text/html\r\n", page)],
                ["web page", "<!DOCTYPE html>"],
            ),
            (
                vec![answer("Content-Type: text/html; charset=utf-8\r\n", "{}")],
                ["web page", "text/html"],
            ),
            (vec![answer("", page)], ["web page", "Sign in"]),
            (
                vec![answer("", "{}")],
                ["tokenizer.json (200 OK) is not usable", "{}"],
            ),
            (vec![answer("", "")], ["is not usable", "EOF"]),
            (
                vec![answer("", &tokenizer[..tokenizer.len() / 2])],
                ["is not usable", "EOF"],
            ),
            (
                vec![answer(
                    "",
                    "version https://git-lfs.github.com/spec/v1\noid sha256:1",
                )],
                ["Git LFS", "version"],
            ),
            (
                vec![answer("", "\u{1b}]0;x\u{7}{\"a\": 1}")],
                ["is not usable", "\\u{1b}]0;x"],
            ),
            (
                vec![
                    "HTTP/1.1 200 OK\r\nContent-Length: 300000000\r\nConnection: close\r\n\r\n{"
                        .to_owned(),
                ],
                [
                    "tokenizer.json has 287 MiB",
                    "the limit of a file is 256 MiB",
                ],
            ),
            (vec![cut], ["tokenizer.json broke off", "nothing was kept"]),
            (
                vec![chunked.to_owned()],
                ["tokenizer.json broke off", "nothing was kept"],
            ),
            (vec![answer("", &pattern)], ["is not usable", "retry-limit"]),
            (
                vec![good.clone(), answer("", page)],
                ["tokenizer_config.json", "web page"],
            ),
            (
                vec![good.clone(), answer("", "[")],
                ["tokenizer_config.json", "EOF"],
            ),
            (
                vec![good.clone(), CLOSED.to_owned(), answer("", page)],
                ["chat_template.jinja", "web page"],
            ),
            (
                vec![good.clone(), CLOSED.to_owned(), answer("", "{% for %}")],
                ["chat_template.jinja", "syntax error"],
            ),
            (
                vec![good, CLOSED.to_owned(), CLOSED.to_owned(), answer("", "{")],
                ["chat_template.json", "EOF"],
            ),
        ];
        for (answers, words) in rows {
            let answers: Vec<&'static str> = answers
                .into_iter()
                .map(|one| &*Box::leak(one.into_boxed_str()))
                .collect();
            let (endpoint, served) = hub(Vec::leak(answers));
            let cache = tempfile::tempdir().unwrap();
            let places = online(cache.path(), &endpoint, None);
            let error = places
                .resolve(&wanted(None, "o/x", "main"), &|_| {})
                .unwrap_err();
            served.join().unwrap();
            let text = error.to_string();
            for word in words
                .into_iter()
                .chain([endpoint.as_str(), "--tokenizer builtin"])
            {
                // What broke off names the file alone.
                assert!(
                    text.contains(word) || text.contains("nothing was kept"),
                    "{word}: {text}"
                );
            }
            assert!(
                words.iter().all(|word| text.contains(word)),
                "{words:?}: {text}"
            );
            assert!(!text.chars().any(char::is_control), "{text}");
            let left = std::fs::read_dir(cache.path()).unwrap().count();
            assert_eq!(left, 0, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_in_the_cache_is_named() {
        let tokenizer = include_str!("../../assets/test/wordlevel/tokenizer.json");
        for (file, content, word) in [
            ("tokenizer.json", "<html>Sign in</html>", "web page"),
            ("tokenizer.json", "{\"version\": \"1.0\"", "EOF"),
            ("tokenizer.json", "", "EOF"),
            (
                "tokenizer.json",
                "version https://git-lfs.github.com/spec/v1\n",
                "Git LFS",
            ),
            ("tokenizer_config.json", "<!doctype html>", "web page"),
            ("tokenizer_config.json", "nonsense", "expected"),
        ] {
            let root = tempfile::tempdir().unwrap();
            let snapshot = root.path().join("models--o--x/snapshots/c1");
            std::fs::create_dir_all(&snapshot).unwrap();
            std::fs::write(snapshot.join("tokenizer.json"), tokenizer).unwrap();
            std::fs::write(snapshot.join(file), content).unwrap();
            let text = offline(Some(root.path()))
                .resolve(&wanted(None, "o/x", "c1"), &|_| {})
                .unwrap_err()
                .to_string();
            let path = snapshot.join(file);
            for word in [
                word,
                path.to_str().unwrap(),
                "remove the folder",
                "download it again",
            ] {
                assert!(text.contains(word), "{word}: {text}");
            }
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }

    #[test]
    fn no_network() {
        let (endpoint, served) = hub(&[""]);
        let _ = std::net::TcpStream::connect(endpoint.trim_start_matches("http://"));
        served.join().unwrap();
        // Nobody listens there any more.
        let cache = tempfile::tempdir().unwrap();
        let places = online(cache.path(), &endpoint, None);
        let error = places
            .resolve(&wanted(None, "o/y", "main"), &|_| {})
            .unwrap_err();
        let text = error.to_string();
        for way in [
            "cannot be reached",
            "--tokenizer builtin",
            "path",
            "--use-server-token-count",
        ] {
            assert!(text.contains(way), "{text}");
        }
    }
}
