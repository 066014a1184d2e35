//! Which pages are scraped, by the settings and the servers' URLs.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use pinfire_analysis::facts::WatchFacts;
use pinfire_base::{clock::Span, shard::Shard, url::TargetUrl};
use pinfire_config::{Blame, Get, Sourced, demand, refuse, secret::Url, sections};
use pinfire_guard::keep_url;
use pinfire_scrape::{ServerKinds, files::MetricsFormat};

use super::{client::Trust, page::Limits};
use crate::environment;

/// A page, with other places where it may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Tried in order; the first that shows metrics is the page.
    pub urls: Vec<String>,
    /// The user named it, and should hear if it is not there.
    pub given: bool,
}

/// What is scraped besides the load, decided.
#[derive(Clone, Debug)]
pub struct Plan {
    pub server: Option<ServerPlan>,
    pub gpu: Option<GpuPlan>,
    pub profiles: ServerKinds,
    pub trust: Trust,
}

#[derive(Clone, Debug)]
pub struct ServerPlan {
    /// The user's own pages; those of the servers come before them.
    pub given: Vec<Candidate>,
    pub formats: Vec<MetricsFormat>,
    pub interval: Span,
    /// How long to wait for what is counted late; none for as long as it takes, within limits.
    pub flush: Option<Span>,
    pub limits: Limits,
}

#[derive(Clone, Debug)]
pub struct GpuPlan {
    pub pages: Vec<Candidate>,
    pub interval: Span,
    pub limits: Limits,
    pub grace: Span,
}

impl Plan {
    /// Reads the settings and the environment.
    ///
    /// # Errors
    /// Settings that contradict each other, or a URL, a form or a file that cannot be used.
    pub fn new(asked: &sections::Watch, trust: Trust) -> Result<Self> {
        let profiles = match asked.release_profile.get() {
            None => ServerKinds::default(),
            Some(path) => server_kinds(&path).about(&[&asked.release_profile])?,
        };
        Ok(Self {
            server: server(asked)?,
            gpu: gpu(asked)?,
            profiles,
            trust,
        })
    }

    /// The same for one of several shards: the first scrapes for all of them.
    #[must_use]
    pub fn of_shard(self, shard: Shard) -> Self {
        match shard.index() {
            0 => self,
            _ => Self {
                server: None,
                gpu: None,
                ..self
            },
        }
    }

    /// As the exports say it.
    pub fn facts(&self) -> WatchFacts {
        let first = |pages: &[Candidate]| {
            let given = pages.iter().filter(|page| page.given);
            given
                .filter_map(|page| page.urls.first().cloned())
                .collect()
        };
        let server = self.server.as_ref();
        let gpu = self.gpu.as_ref();
        WatchFacts {
            server: server.is_some(),
            server_urls: server.map_or(Vec::new(), |plan| first(&plan.given)),
            formats: server.map_or(Vec::new(), |plan| plan.formats.clone()),
            gpu: gpu.is_some(),
            gpu_urls: gpu.map_or(Vec::new(), |plan| first(&plan.pages)),
        }
    }
}

fn server_kinds(path: &Path) -> Result<ServerKinds> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--release-profile: {} cannot be read", path.display()))?;
    ServerKinds::read(&text)
        .map_err(|error| anyhow!("--release-profile: {}: {error}", path.display()))
}

fn server(asked: &sections::Watch) -> Result<Option<ServerPlan>> {
    let (pages, forms) = (&asked.server_metrics, &asked.server_metrics_formats);
    if asked.no_server_metrics.value {
        demand!(
            pages.is_empty(),
            [pages, asked.no_server_metrics],
            "--server-metrics and --no-server-metrics: use only one of them"
        );
        demand!(
            forms.is_empty(),
            [forms, asked.no_server_metrics],
            "--server-metrics-formats and --no-server-metrics: use only one of them"
        );
        return Ok(None);
    }
    let mut formats: Vec<MetricsFormat> = forms.iter().map(Sourced::get).collect();
    if let Some(format) = formats.iter().find(|format| !format.is_built()) {
        let name = format.name();
        refuse!(
            [forms],
            "--server-metrics-formats: this build of pinfire does not write {name} (feature `{name}`)"
        );
    }
    if formats.is_empty() {
        formats = vec![MetricsFormat::Json, MetricsFormat::Csv];
    }
    formats.sort_unstable();
    formats.dedup();
    Ok(Some(ServerPlan {
        given: given("--server-metrics", pages)?,
        formats,
        interval: seconds("SERVER_METRICS_COLLECTION_INTERVAL", 0.333, 0.001, 300.0)?,
        flush: environment::read::<f64>("SERVER_METRICS_COLLECTION_FLUSH_PERIOD")?
            .map(|_| seconds("SERVER_METRICS_COLLECTION_FLUSH_PERIOD", 2.0, 0.0, 30.0))
            .transpose()?,
        limits: Limits {
            connect: duration(seconds(
                "SERVER_METRICS_REACHABILITY_TIMEOUT",
                10.0,
                0.01,
                300.0,
            )?),
            whole: duration(seconds("SERVER_METRICS_SCRAPE_TIMEOUT", 30.0, 0.01, 300.0)?),
        },
    }))
}

fn gpu(asked: &sections::Watch) -> Result<Option<GpuPlan>> {
    let items = &asked.gpu_telemetry;
    if asked.no_gpu_telemetry.value {
        demand!(
            items.is_empty(),
            [items, asked.no_gpu_telemetry],
            "--gpu-telemetry and --no-gpu-telemetry: use only one of them"
        );
        return Ok(None);
    }
    for item in items {
        match item.get().as_str() {
            "pynvml" | "nvml" | "amdsmi" => refuse!(
                [items],
                "--gpu-telemetry {item}: GPUs of this machine are read from a DCGM exporter only; start \
                 one (it listens on :9400) and leave {item} out"
            ),
            "dashboard" => refuse!(
                [items],
                "--gpu-telemetry dashboard: there is no panel of GPUs in the live display; leave it out"
            ),
            text if text.ends_with(".csv") => refuse!(
                [items],
                "--gpu-telemetry {item}: metrics of one's own are not read; the fields of DCGM that \
                 pinfire knows are in docs/SERVER-METRICS.md"
            ),
            _ => {}
        }
    }
    let mut pages = given("--gpu-telemetry", items)?;
    let usual = match environment::read::<String>("GPU_DEFAULT_DCGM_ENDPOINTS")? {
        None => vec![
            "http://localhost:9400/metrics".to_owned(),
            "http://localhost:9401/metrics".to_owned(),
        ],
        Some(text) => serde_json::from_str(&text).with_context(|| {
            format!("PINFIRE_GPU_DEFAULT_DCGM_ENDPOINTS is set to `{text}`; it takes a JSON list of URLs")
        })?,
    };
    for url in usual {
        keep_url(&url);
        let url = page(&url);
        if !pages.iter().any(|page| page.urls.contains(&url)) {
            pages.push(Candidate {
                urls: vec![url],
                given: false,
            });
        }
    }
    let grace = environment::read::<u64>("GPU_FINAL_SCRAPE_GRACE_NS")?;
    let limit = duration(seconds("GPU_REACHABILITY_TIMEOUT", 10.0, 0.01, 300.0)?);
    Ok(Some(GpuPlan {
        pages,
        interval: seconds("GPU_COLLECTION_INTERVAL", 0.333, 0.01, 300.0)?,
        limits: Limits {
            connect: limit,
            whole: limit,
        },
        grace: grace.map_or(pinfire_scrape::gpu::GRACE, Span::from_nanos),
    }))
}

fn given(flag: &str, items: &[Sourced<Url>]) -> Result<Vec<Candidate>> {
    let mut pages: Vec<Candidate> = Vec::new();
    for item in items {
        let url = item.get();
        if url.is_empty() {
            continue;
        }
        demand!(
            url.starts_with("http") || url.contains(':'),
            [item],
            "{flag} `{item}` is no URL; give it with its port, as in {item}:8000, or with http:// \
             before it"
        );
        TargetUrl::join(&url, "").blame(&[item], flag)?;
        demand!(
            !url.starts_with("unix:"),
            [item],
            "{flag}: a page of metrics is not read over a unix: socket"
        );
        let url = page(&url);
        if !pages.iter().any(|page| page.urls.contains(&url)) {
            let urls = vec![url];
            pages.push(Candidate { urls, given: true });
        }
    }
    Ok(pages)
}

/// The page of metrics that a URL means. A query stays: a token may be in it.
fn page(url: &str) -> String {
    let scheme = if url.contains("://") { "" } else { "http://" };
    let url = url.split('#').next().unwrap_or(url);
    let (bare, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let bare = bare.trim_end_matches('/');
    let place = if bare.ends_with("/metrics") {
        ""
    } else {
        "/metrics"
    };
    format!("{scheme}{bare}{place}{query}")
}

/// Where the pages of a server may be: behind its URL as it stands, and at its root.
pub fn of_server(url: &str) -> Option<Candidate> {
    if url.starts_with("unix:") {
        return None;
    }
    let mut urls = vec![page(url.split('?').next().unwrap_or(url))];
    let after = urls[0].find("://").map_or(0, |at| at + 3);
    let root = urls[0][after..]
        .find('/')
        .map(|at| format!("{}/metrics", &urls[0][..after + at]));
    urls.extend(root.filter(|root| *root != urls[0]));
    Some(Candidate { urls, given: false })
}

fn seconds(name: &str, default: f64, least: f64, most: f64) -> Result<Span> {
    let value = environment::read::<f64>(name)?.unwrap_or(default);
    ensure!(
        (least..=most).contains(&value),
        "PINFIRE_{name} is set to {value}; it takes {least} to {most} seconds"
    );
    Ok(Span::from_secs_f64(value))
}

fn duration(span: Span) -> Duration {
    Duration::from_nanos(span.nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::typed;

    fn plan(line: &str) -> Result<Plan> {
        let config = typed(line.split_whitespace())?;
        Plan::new(&config.watch, Trust::default())
    }

    #[test]
    fn pages_of_urls() {
        for (url, expected) in [
            ("http://h:8000", "http://h:8000/metrics"),
            ("h:8000/", "http://h:8000/metrics"),
            ("https://h/metrics/", "https://h/metrics"),
            ("h:1/prometheus/metrics", "http://h:1/prometheus/metrics"),
            ("h:1/v1?x=y", "http://h:1/v1/metrics?x=y"),
            (
                "https://h/metrics/?token=a/b#c",
                "https://h/metrics?token=a/b",
            ),
        ] {
            assert_eq!(page(url), expected);
        }
        let of = |url| of_server(url).unwrap().urls;
        assert_eq!(of("http://h:8000"), ["http://h:8000/metrics"]);
        assert_eq!(
            of("h:8/v1"),
            ["http://h:8/v1/metrics", "http://h:8/metrics"]
        );
        assert_eq!(of("h:8?key=a/b"), ["http://h:8/metrics"]);
        assert_eq!(of_server("unix:/run/s"), None);
    }

    #[test]
    fn both_are_on_without_a_flag() {
        let plan = plan("").unwrap();
        let server = plan.server.unwrap();
        assert_eq!(server.formats, [MetricsFormat::Json, MetricsFormat::Csv]);
        assert!(server.given.is_empty());
        let pages = plan.gpu.unwrap().pages;
        assert_eq!(pages[1].urls, ["http://localhost:9401/metrics"]);
        assert!(pages.iter().all(|page| !page.given));
    }

    #[test]
    fn flags_become_pages_and_forms() {
        let line = "--server-metrics h:1,h:2 http://h:1/metrics --server-metrics-formats jsonl,json \
                    parquet jsonl --gpu-telemetry node1:9400 localhost:9400";
        let plan = plan(line).unwrap();
        let server = plan.server.as_ref().unwrap();
        assert_eq!(server.given.len(), 2);
        let forms = [
            MetricsFormat::Json,
            MetricsFormat::Jsonl,
            MetricsFormat::Parquet,
        ];
        assert_eq!(server.formats, forms);
        let gpu: Vec<_> = plan
            .gpu
            .as_ref()
            .unwrap()
            .pages
            .iter()
            .map(|page| page.given)
            .collect();
        assert_eq!(gpu, [true, true, false]);
        assert_eq!(plan.facts().gpu_urls[0], "http://node1:9400/metrics");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, says) in [
            ("--server-metrics h:1 --no-server-metrics", "use only one"),
            ("--gpu-telemetry --no-gpu-telemetry", "use only one"),
            ("--server-metrics host", "`host` is no URL"),
            ("--server-metrics http://a:b@h", "user and password"),
            ("--server-metrics-formats xml", "`xml` is none of"),
            ("--gpu-telemetry pynvml", "DCGM exporter only"),
            ("--gpu-telemetry my.csv", "are not read"),
            ("--gpu-telemetry what", "`what` is no URL"),
            ("--release-profile /nothing.json", "cannot be read"),
        ] {
            let error = format!("{:#}", plan(line).unwrap_err());
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
