//! A model's tokenizer from the hub into the local cache, where the next run finds it.
//!
//! What is fetched lies in the layout that the hub's own clients use: `snapshots/<commit>/<file>`
//! and `refs/<revision>`. All of it is fetched and checked before anything of it is written: what
//! other programs share with us holds no page of a proxy and no half of a file.

use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::guard::{FILE_BYTES, imposter};
use super::template::ChatTemplate;
use super::tokenizer::{checked, checked_config};

/// The hub when HF_ENDPOINT names no other.
const PUBLIC: &str = "https://huggingface.co";
/// The files that are asked for: the tokenizer, and what a chat template needs. Only the first must
/// be there.
const FILES: [&str; 4] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
];
/// A machine without network is told so within seconds.
const CONNECT: Duration = Duration::from_secs(4);
/// From the request to the head of its answer.
const ANSWER: Duration = Duration::from_secs(15);
/// The whole of one file; the largest have some 30 MB.
const FILE: Duration = Duration::from_secs(300);
/// Characters of an unexpected answer that a message shows.
const SHOWN: usize = 60;
/// Where a file's address leads in turn.
const REDIRECTS: usize = 5;

/// The hub of this run.
#[derive(Clone, Debug)]
pub(super) struct Hub {
    endpoint: String,
    token: Option<String>,
}

/// A file of the hub.
struct Fetched {
    name: &'static str,
    bytes: Vec<u8>,
    /// What it belongs to, if the hub says it.
    commit: Option<String>,
}

/// Why nothing was fetched, as the end of a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoDownload(pub(super) String);

impl Hub {
    /// The hub by the environment: HF_ENDPOINT and HF_TOKEN; none if HF_HUB_OFFLINE or
    /// TRANSFORMERS_OFFLINE is on, which one it says.
    pub(super) fn from_environment(
        var: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, NoDownload> {
        let set = |name: &str| var(name).filter(|value| !value.is_empty());
        for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
            let on =
                |value: String| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str());
            if set(name).is_some_and(on) {
                return Err(NoDownload(format!(
                    "the hub is not asked, since {name} is set"
                )));
            }
        }
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| PUBLIC.to_owned());
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: set("HF_TOKEN"),
        })
    }

    /// Its address.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Fetches the tokenizer of `name` at `revision` into the cache under `root`, and gives its
    /// folder.
    pub(super) fn fetch(
        &self,
        root: &Path,
        name: &str,
        revision: &str,
    ) -> Result<PathBuf, NoDownload> {
        if !is_model(name) {
            return Err(NoDownload(
                "it is not a name that the hub could have".to_owned(),
            ));
        }
        if !is_relative(revision) {
            return Err(NoDownload(format!("`{revision}` cannot be a revision")));
        }
        let agent = Agent::new_with_config(
            Agent::config_builder()
                .max_redirects(0)
                .max_redirects_will_error(false)
                .http_status_as_error(false)
                .timeout_resolve(Some(CONNECT))
                .timeout_connect(Some(CONNECT))
                .timeout_recv_response(Some(ANSWER))
                .timeout_global(Some(FILE))
                .build(),
        );
        let mut fetched = Vec::new();
        for file in FILES {
            fetched.extend(self.file(&agent, name, revision, file)?);
        }
        // A mirror may not say the commit; the revision then stands for it.
        let commit = fetched.iter().find_map(|file| file.commit.as_deref());
        let commit = commit.unwrap_or(revision).to_owned();
        let repository = root.join(format!("models--{}", name.replace('/', "--")));
        let at = repository.join("snapshots").join(&commit);
        // The file that is looked for comes last, and what leads to it after that: a run that is
        // killed between two of them leaves nothing that the next one would take for the whole.
        for Fetched { name, bytes, .. } in fetched.iter().rev() {
            keep(&at.join(name), bytes)?;
        }
        keep(&repository.join("refs").join(revision), commit.as_bytes())?;
        Ok(at)
    }

    /// One file, checked, and the commit that it belongs to; `None` if the model does not have it
    /// and need not.
    fn file(
        &self,
        agent: &Agent,
        name: &str,
        revision: &str,
        file: &'static str,
    ) -> Result<Option<Fetched>, NoDownload> {
        let mut url = format!(
            "{}/{name}/resolve/{}/{file}",
            self.endpoint,
            revision.replace('/', "%2F")
        );
        let mut commit = None;
        for _ in 0..=REDIRECTS {
            let mut response = self.get(agent, &url)?;
            commit = commit.or_else(|| header(&response, "x-repo-commit"));
            let status = response.status();
            if status.is_success() {
                let bytes = body(&mut response, file)?;
                self.check(&response, file, &bytes)?;
                return Ok(Some(Fetched {
                    name: file,
                    bytes,
                    commit: commit.filter(|commit| is_relative(commit)),
                }));
            }
            if status.is_redirection()
                && let Some(location) = header(&response, "location")
            {
                url = self.absolute(&location);
                continue;
            }
            return self.refusal(status, &response, file);
        }
        Err(NoDownload(format!("{file} is redirected in a circle")))
    }

    /// Whether an answer is the file that was asked for.
    fn check(&self, response: &Response<Body>, file: &str, bytes: &[u8]) -> Result<(), NoDownload> {
        let content_type = header(response, "content-type").unwrap_or_default();
        let fault = if let Some(what) = imposter(bytes) {
            Err(format!("it is {what}"))
        } else if content_type.to_lowercase().starts_with("text/html") {
            Err("it is a web page (HTML)".to_owned())
        } else {
            match file {
                "tokenizer.json" => checked(bytes.to_vec()).map(drop),
                "chat_template.jinja" => ChatTemplate::check(bytes),
                _ => checked_config(bytes).map(drop),
            }
        };
        fault.map_err(|reason| {
            let begins = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN)]);
            let begins: String = begins.chars().take(SHOWN).collect();
            let of = match content_type.is_empty() {
                true => String::new(),
                false => format!(", {content_type}"),
            };
            NoDownload(format!(
                "what {} sent as {file} ({}{of}) is not usable: {reason}; it begins {begins:?} and \
                 was not kept",
                self.endpoint,
                response.status(),
            ))
        })
    }

    fn get(&self, agent: &Agent, url: &str) -> Result<Response<Body>, NoDownload> {
        let mut request = agent
            .get(url)
            .header("User-Agent", concat!("pinfire/", env!("CARGO_PKG_VERSION")));
        // Where files lie elsewhere, their address has its own key in it.
        let home = url.strip_prefix(&self.endpoint);
        if let Some(token) = self
            .token
            .as_deref()
            .filter(|_| home.is_some_and(|path| path.starts_with('/')))
        {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request
            .call()
            .map_err(|cause| NoDownload(format!("{} cannot be reached ({cause})", self.endpoint)))
    }

    /// What an answer without the file means.
    fn refusal(
        &self,
        status: StatusCode,
        response: &Response<Body>,
        file: &str,
    ) -> Result<Option<Fetched>, NoDownload> {
        let hub = &self.endpoint;
        let kind = header(response, "x-error-code").unwrap_or_default();
        let reason = match (status.as_u16(), kind.as_str()) {
            (401 | 403, _) if self.token.is_none() => format!(
                "{hub} refuses it ({status}): it is private, gated or does not exist; a token of \
                 one who may read it goes into HF_TOKEN"
            ),
            (401 | 403, _) => {
                format!("{hub} refuses it to the token in HF_TOKEN ({status})")
            }
            (404, "RepoNotFound") => format!("{hub} has no such model"),
            (404, "RevisionNotFound") => format!("{hub} has it, but not this revision"),
            (404, _) if file != FILES[0] => return Ok(None),
            (404, _) => format!("{hub} has no {file} for it ({status})"),
            _ => format!("{hub} answered {status} for {file}"),
        };
        Err(NoDownload(reason))
    }

    fn absolute(&self, location: &str) -> String {
        if !location.starts_with('/') {
            return location.to_owned();
        }
        // From the root of the host.
        let host = self.endpoint.find("://").map_or(0, |at| at + 3);
        let end = self.endpoint[host..]
            .find('/')
            .map_or(self.endpoint.len(), |at| host + at);
        format!("{}{location}", &self.endpoint[..end])
    }
}

/// The bytes of an answer, up to the limit.
fn body(response: &mut Response<Body>, file: &str) -> Result<Vec<u8>, NoDownload> {
    let large = |size: String| {
        NoDownload(format!(
            "{file} has {size}, but the limit of a file is {} MiB; nothing was kept",
            FILE_BYTES >> 20
        ))
    };
    let announced = header(response, "content-length").and_then(|it| it.parse::<u64>().ok());
    if let Some(size) = announced.filter(|&size| size > FILE_BYTES) {
        return Err(large(format!("{} MiB", size.div_ceil(1 << 20))));
    }
    let mut bytes = Vec::new();
    // One more than the limit shows that there are more; ureq's own limit is 10 MB.
    let mut reader = response.body_mut().as_reader().take(FILE_BYTES + 1);
    reader.read_to_end(&mut bytes).map_err(|cause| {
        NoDownload(format!(
            "{file} broke off after {} bytes ({cause}); nothing was kept",
            bytes.len()
        ))
    })?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(large("more than that".to_owned()));
    }
    Ok(bytes)
}

fn header(response: &Response<Body>, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

/// `model` or `org/model` in the hub's letters.
fn is_model(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    name.split('/').count() <= 2 && name.split('/').all(part)
}

/// A plain relative path, which leads nowhere else.
fn is_relative(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    let path = Path::new(text);
    !text.is_empty()
        && text.bytes().all(plain)
        && path
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}

/// Writes a file of the cache beside its place and moves it there.
fn keep(path: &Path, bytes: &[u8]) -> Result<(), NoDownload> {
    let write = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.incomplete", std::process::id()));
        let beside = path.with_file_name(name);
        let written = std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
        if written.is_err() {
            // On a full disk half of it may be there.
            let _ = std::fs::remove_file(&beside);
        }
        written
    };
    write().map_err(|cause| NoDownload(format!("{} cannot be written ({cause})", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_that_lead_elsewhere_are_not_asked_for() {
        for name in ["gpt2", "Qwen/Qwen3-0.6B", "a_b/c.d"] {
            assert!(is_model(name), "{name}");
        }
        for name in ["", "a/b/c", "../x", "a/..", "a b", "ä/b", "a/", "http://x"] {
            assert!(!is_model(name), "{name}");
        }
        assert!(is_relative("refs/pr/1") && is_relative("v1.0"));
        for wrong in ["", "/etc", "../x", "a/../../x", "a\\b"] {
            assert!(!is_relative(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_environment_decides() {
        let with = |pairs: &'static [(&str, &str)]| {
            Hub::from_environment(|name| {
                let hit = pairs.iter().find(|(key, _)| *key == name);
                hit.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(with(&[]).unwrap().endpoint(), PUBLIC);
        let own = with(&[("HF_ENDPOINT", "http://h:1/"), ("HF_TOKEN", "t")]).unwrap();
        assert_eq!(
            (own.endpoint(), own.token.as_deref()),
            ("http://h:1", Some("t"))
        );
        assert!(with(&[("HF_HUB_OFFLINE", "0")]).is_ok());
        for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
            let pairs: &'static [(&str, &str)] = match name {
                "HF_HUB_OFFLINE" => &[("HF_HUB_OFFLINE", "1")],
                _ => &[("TRANSFORMERS_OFFLINE", "True")],
            };
            assert!(with(pairs).unwrap_err().0.contains(name));
        }
    }

    #[test]
    fn redirects_stay_with_the_host() {
        let hub = Hub {
            endpoint: "https://h/mirror".to_owned(),
            token: None,
        };
        assert_eq!(hub.absolute("/a/b"), "https://h/a/b");
        assert_eq!(hub.absolute("https://cdn/x"), "https://cdn/x");
    }
}
