//! GPU telemetry from DCGM exporters: fields to figures, energy, and what the files hold.

use std::borrow::Cow;
use std::collections::BTreeMap;

use pinfire_artifacts::samples::{
    self, Exporter, GpuLine, Sampled, TelemetryData, TelemetrySummary,
};
use pinfire_artifacts::{Block, ErrorCount, ErrorDetails, Ordered, append};
use pinfire_base::clock::{Span, Stamp, WallAnchor};

use super::Scrape;
use super::files::{local_time, short_url};
use super::history::halved;
use super::reduce::{PERCENTILES, Window, linear_percentiles, mean_and_deviation};
use super::text::Value as Shown;

/// How a field is reduced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Meaning {
    Gauge,
    /// Growth over the window.
    Counter,
    /// Joules that were used: growth, interpolated to the window's very ends.
    Energy,
    /// The last error's code: shown if it changed.
    Code,
}

/// A DCGM field.
struct Field {
    dcgm: &'static str,
    key: &'static str,
    name: &'static str,
    unit: &'static str,
    scale: f64,
    meaning: Meaning,
}

const fn field(
    dcgm: &'static str,
    key: &'static str,
    name: &'static str,
    unit: &'static str,
    scale: f64,
    meaning: Meaning,
) -> Field {
    Field {
        dcgm,
        key,
        name,
        unit,
        scale,
        meaning,
    }
}

/// What tags of GPUs begin with, by maker.
const MAKERS: [&str; 2] = ["nvidia_", "amd_"];

/// A tag without its maker; none if it is not of a GPU.
pub fn bare(tag: &str) -> Option<&str> {
    MAKERS.iter().find_map(|maker| tag.strip_prefix(maker))
}

/// Whose GPUs these are, in the files.
const PLATFORM: &str = "nvidia";

const POWER: usize = 0;
const ENERGY: usize = 1;

/// The fields in the order of the files, with the factor from DCGM's unit.
#[rustfmt::skip]
const FIELDS: [Field; 11] = [
    field("DCGM_FI_DEV_POWER_USAGE", "nvidia_power_usage", "NVIDIA GPU Power Usage", "W", 1.0, Meaning::Gauge),
    field("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "nvidia_energy_consumption", "NVIDIA Energy Consumption", "MJ", 1e-9, Meaning::Energy),
    field("DCGM_FI_DEV_GPU_UTIL", "nvidia_gpu_utilization", "NVIDIA GPU Utilization", "%", 1.0, Meaning::Gauge),
    field("DCGM_FI_DEV_MEM_COPY_UTIL", "nvidia_memory_utilization", "NVIDIA Memory Utilization", "%", 1.0, Meaning::Gauge),
    field("DCGM_FI_DEV_FB_USED", "nvidia_memory_used", "NVIDIA GPU Memory Used", "GB", 1.048_576e-3, Meaning::Gauge),
    field("DCGM_FI_DEV_GPU_TEMP", "nvidia_temperature", "NVIDIA GPU Temperature", "°C", 1.0, Meaning::Gauge),
    field("DCGM_FI_PROF_SM_ACTIVE", "nvidia_sm_utilization", "NVIDIA SM Utilization", "%", 100.0, Meaning::Gauge),
    field("DCGM_FI_DEV_DEC_UTIL", "nvidia_decoder_utilization", "NVIDIA Decoder Utilization", "%", 1.0, Meaning::Gauge),
    field("DCGM_FI_DEV_ENC_UTIL", "nvidia_encoder_utilization", "NVIDIA Encoder Utilization", "%", 1.0, Meaning::Gauge),
    field("DCGM_FI_DEV_XID_ERRORS", "nvidia_xid_errors", "NVIDIA XID Errors", "count", 1.0, Meaning::Code),
    field("DCGM_FI_DEV_POWER_VIOLATION", "nvidia_power_violation", "NVIDIA Power Violation", "us", 1e-3, Meaning::Counter),
];

/// What names a GPU.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// Place in its machine.
    pub index: u64,
    /// Unique over machines.
    pub uuid: String,
    /// `NVIDIA H200`.
    pub model: String,
    pci: Option<String>,
    device: Option<String>,
    hostname: Option<String>,
    namespace: Option<String>,
    pod: Option<String>,
}

type Values = [Option<f64>; FIELDS.len()];

#[derive(Clone, PartialEq, Debug)]
struct Gpu {
    identity: Identity,
    samples: Vec<(Stamp, Values)>,
}

/// What one exporter showed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct GpuHistory {
    /// Its page.
    pub url: String,
    /// By place and UUID.
    gpus: BTreeMap<(u64, String), Gpu>,
    /// Samples that are held of all of them.
    held: usize,
    /// Samples of GPUs that are too many.
    others: u64,
    /// Samples that were given up so that later ones have room.
    thinned: u64,
}

/// GPUs that are kept of one exporter.
const MAX_GPUS: usize = 1_024;
/// Samples that are kept of one exporter, some 100 MB; beyond, every second one is given up.
const MAX_SAMPLES: usize = 500_000;

impl GpuHistory {
    /// An exporter that has shown nothing yet.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..Self::default()
        }
    }

    /// What was left out, in words.
    pub fn left_out(&self) -> Option<String> {
        let (others, thinned) = (self.others, self.thinned);
        (others + thinned > 0).then(|| {
            format!(
                "left out {others} samples of more than {MAX_GPUS} GPUs, and {thinned} samples so that \
                 the rest has room in memory"
            )
        })
    }

    /// Whether it has shown no GPU.
    pub fn is_empty(&self) -> bool {
        self.gpus.is_empty()
    }

    /// Takes in what a line of `gpu_telemetry_export.jsonl` says; its instant is its wall time.
    pub fn recall(&mut self, line: &GpuLine) {
        let identity = Identity {
            index: line.gpu_index,
            uuid: line.gpu_uuid.clone(),
            model: line.gpu_model_name.clone(),
            pci: line.pci_bus_id.clone(),
            device: line.device.clone(),
            hostname: line.hostname.clone(),
            namespace: line.namespace.clone(),
            pod: line.pod_name.clone(),
        };
        let key = (identity.index, identity.uuid.clone());
        let mut values: Values = [None; FIELDS.len()];
        for (slot, field) in values.iter_mut().zip(&FIELDS) {
            let told = line.values().find(|(key, _)| *key == field.key);
            *slot = told.map(|(_, value)| value);
        }
        self.keep(key, identity, Stamp::from_nanos(line.timestamp_ns), values);
    }

    /// The last instant at which it showed anything.
    pub fn last_look(&self) -> Option<Stamp> {
        let scrapes = self.gpus.values().filter_map(|gpu| gpu.samples.last());
        scrapes.map(|(at, _)| *at).max()
    }

    fn keep(&mut self, key: (u64, String), identity: Identity, at: Stamp, values: Values) {
        if self.gpus.len() >= MAX_GPUS && !self.gpus.contains_key(&key) {
            self.others += 1;
            return;
        }
        let gpu = self.gpus.entry(key).or_insert_with(|| Gpu {
            identity,
            samples: Vec::new(),
        });
        if gpu.samples.last().is_none_or(|(last, _)| *last < at) {
            gpu.samples.push((at, values));
            self.held += 1;
        }
        if self.held > MAX_SAMPLES {
            for gpu in self.gpus.values_mut() {
                let given_up = halved(&mut gpu.samples, |_, _| false);
                self.held -= given_up;
                self.thinned += given_up as u64;
            }
        }
    }

    /// Takes in a page; gives its lines of `gpu_telemetry_export.jsonl`.
    pub fn add(&mut self, scrape: &Scrape, anchor: &WallAnchor) -> Vec<u8> {
        let mut seen: BTreeMap<(u64, String), (Identity, Values)> = BTreeMap::new();
        for family in &scrape.exposition.families {
            let bare = family.name.strip_suffix("_total").unwrap_or(&family.name);
            let Some(at) = FIELDS.iter().position(|field| field.dcgm == bare) else {
                continue;
            };
            for point in &family.points {
                let label = |name: &str| {
                    let found = point.labels.iter().find(|(label, _)| label == name);
                    found
                        .map(|(_, value)| value.clone())
                        .filter(|value| !value.is_empty())
                };
                // Without a place it is nobody's.
                let index = label("gpu").and_then(|index| index.parse::<u64>().ok());
                let (Some(index), Shown::Scalar(value)) = (index, &point.value) else {
                    continue;
                };
                let identity = Identity {
                    index,
                    uuid: label("UUID").unwrap_or_default(),
                    model: label("modelName").unwrap_or_default(),
                    pci: label("pci_bus_id"),
                    device: label("device"),
                    hostname: label("Hostname"),
                    namespace: label("namespace"),
                    pod: label("pod"),
                };
                let key = (index, identity.uuid.clone());
                let (_, values) = seen
                    .entry(key)
                    .or_insert_with(|| (identity, [None; FIELDS.len()]));
                if let Some((field, slot)) = FIELDS.get(at).zip(values.get_mut(at)) {
                    *slot = Some(value * field.scale);
                }
            }
        }
        let mut lines = Vec::new();
        for (key, (identity, values)) in seen {
            let unix = anchor.unix_nanos(scrape.at);
            line(&self.url, &identity, &values, unix, &mut lines);
            self.keep(key, identity, scrape.at, values);
        }
        lines
    }
}

fn line(url: &str, gpu: &Identity, values: &Values, unix: u64, out: &mut Vec<u8>) {
    let data = FIELDS.iter().zip(values);
    let data = data.filter_map(|(field, value)| {
        let value = (*value).filter(|value| value.is_finite())?;
        Some((field.key.to_owned(), Some(Sampled::Number(value))))
    });
    let line = GpuLine {
        gpu_index: gpu.index,
        gpu_uuid: gpu.uuid.clone(),
        gpu_model_name: gpu.model.clone(),
        pci_bus_id: gpu.pci.clone(),
        device: gpu.device.clone(),
        hostname: gpu.hostname.clone(),
        namespace: gpu.namespace.clone(),
        pod_name: gpu.pod.clone(),
        platform: PLATFORM.to_owned(),
        timestamp_ns: unix,
        telemetry_source_url: url.to_owned(),
        telemetry_data: data.collect(),
    };
    append(out, &line);
    out.push(b'\n');
}

/// Whether all that a line says is known here: where it is from, the make of the GPU, and each
/// figure.
pub fn is_known(line: &GpuLine) -> bool {
    let known = |key: &String| FIELDS.iter().any(|field| field.key == key);
    line.platform == PLATFORM
        && !line.telemetry_source_url.is_empty()
        && line.telemetry_data.keys().all(known)
}

/// The figures of one field of one GPU.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GpuFigures {
    /// Mean; of a counter its growth.
    pub avg: f64,
    /// The rest, of gauges only.
    pub spread: Option<GpuSpread>,
}

/// What only gauges have.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GpuSpread {
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Sample standard deviation.
    pub std: f64,
    /// Sum of the samples.
    pub sum: f64,
    /// Number of samples.
    pub count: u64,
    /// In the order of the usual nine.
    pub percentiles: [f64; 9],
}

/// The GPU telemetry of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct GpuTelemetry {
    /// Pages that were to be looked at and of which the user should hear: the user's own, and those
    /// defaults that are there.
    pub configured: Vec<String>,
    /// Those that answered.
    pub exporters: Vec<GpuHistory>,
    /// Why the user's others did not.
    pub failures: Vec<String>,
    /// The measured phase; samples up to its `until` count for counters.
    pub window: Window,
}

/// One metric of energy.
#[derive(Clone, PartialEq, Debug)]
pub struct EnergyMetric {
    /// With the vendor's prefix.
    pub tag: String,
    /// Display name.
    pub name: &'static str,
    /// Unit.
    pub unit: &'static str,
    /// Value.
    pub value: f64,
}

/// What the load itself says for the metrics of energy.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Work {
    /// Requests that were answered well.
    pub requests: f64,
    /// Of these, those that met every limit, where there are limits.
    pub good: Option<f64>,
    /// Tokens received.
    pub output_tokens: Option<f64>,
    /// Tokens sent.
    pub input_tokens: Option<f64>,
    /// Mean latency in seconds.
    pub latency_s: Option<f64>,
    /// Streams asked for.
    pub concurrency: Option<f64>,
    /// Requests were hung up on by plan.
    pub cancelling: bool,
}

impl GpuTelemetry {
    /// Figures are of the time until `end`, as far as that is after the window's start.
    pub fn end_at(&mut self, end: Stamp) {
        self.window.end = end.max(self.window.start);
        self.window.until = self.window.end + GRACE;
    }

    /// Whether there is no figure at all.
    pub fn is_empty(&self) -> bool {
        self.gpus().next().is_none()
    }

    fn gpus(&self) -> impl Iterator<Item = (&GpuHistory, &Gpu)> {
        self.exporters
            .iter()
            .flat_map(|exporter| exporter.gpus.values().map(move |gpu| (exporter, gpu)))
    }

    fn figures(&self, gpu: &Gpu, at: usize) -> Option<GpuFigures> {
        let window = self.window;
        let meaning = FIELDS.get(at)?.meaning;
        let values: Vec<(Stamp, f64)> = gpu
            .samples
            .iter()
            .filter_map(|(seen, values)| Some((*seen, values.get(at).copied()??)))
            .collect();
        if meaning == Meaning::Gauge {
            let inside = values
                .iter()
                .filter(|(seen, _)| *seen >= window.start && *seen <= window.end);
            let mut inside: Vec<f64> = inside.map(|(_, value)| *value).collect();
            let [avg, std] = mean_and_deviation(&inside);
            inside.sort_unstable_by(f64::total_cmp);
            let spread = GpuSpread {
                min: *inside.first()?,
                max: *inside.last()?,
                std,
                sum: inside.iter().sum(),
                count: inside.len() as u64,
                percentiles: linear_percentiles(&inside),
            };
            return Some(GpuFigures {
                avg,
                spread: Some(spread),
            });
        }
        let baseline = values.iter().rfind(|(seen, _)| *seen <= window.start);
        let baseline = baseline.or_else(|| values.first())?;
        let last = values.iter().rfind(|(seen, _)| *seen <= window.until)?;
        if last.0 < window.start {
            return None;
        }
        let avg = match meaning {
            Meaning::Energy => {
                (at_instant(&values, window.end)? - at_instant(&values, window.start)?).max(0.0)
            }
            Meaning::Code if last.1 != baseline.1 => last.1,
            Meaning::Code => 0.0,
            _ => (last.1 - baseline.1).max(0.0),
        };
        Some(GpuFigures { avg, spread: None })
    }

    /// Joules used by all GPUs together, and the mean of their power in watts.
    fn energy(&self) -> Option<(f64, Option<f64>)> {
        let mut joules = 0.0;
        let mut watts = None;
        let mut any = false;
        for (_, gpu) in self.gpus() {
            let power = self.figures(gpu, POWER).map(|figures| figures.avg);
            if let Some(power) = power {
                *watts.get_or_insert(0.0) += power;
            }
            // MJ to J; without a counter what the power comes to.
            let used = self.figures(gpu, ENERGY).map(|figures| figures.avg * 1e6);
            if let Some(used) = used.or_else(|| Some(power? * self.window.seconds())) {
                joules += used;
                any = true;
            }
        }
        any.then_some((joules, watts))
    }

    /// The metrics of energy that can be computed.
    pub fn energy_metrics(&self, work: &Work) -> Vec<EnergyMetric> {
        let mut metrics = Vec::new();
        let Some((joules, watts)) = self.energy() else {
            return metrics;
        };
        let mut put = |tag: &str, name: &'static str, unit: &'static str, value: Option<f64>| {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                metrics.push(EnergyMetric {
                    tag: format!("nvidia_{tag}"),
                    name,
                    unit,
                    value,
                });
            }
        };
        let per = |amount: Option<f64>, by: Option<f64>| {
            by.filter(|by| *by > 0.0).and_then(|by| Some(amount? / by))
        };
        let (e, requests) = (Some(joules), Some(work.requests));
        let tokens = work
            .output_tokens
            .zip(work.input_tokens)
            .map(|(a, b)| a + b);
        let product = per(e, requests).zip(work.latency_s).map(|(e, s)| e * s);
        put(
            "energy_delay_product",
            "Energy-Delay Product",
            "J*s",
            product,
        );
        put(
            "performance_per_watt",
            "Performance per Watt",
            "requests/sec/W",
            per(requests, e),
        );
        put(
            "output_tps_per_watt",
            "Output TPS per Watt",
            "tokens/sec/W",
            per(work.output_tokens, e),
        );
        put(
            "goodput_per_watt",
            "Goodput per Watt",
            "req/sec/W",
            per(work.good, e),
        );
        put(
            "average_gpu_power",
            "Average GPU Power",
            "W",
            per(e, Some(self.window.seconds())),
        );
        put("total_gpu_energy", "Total GPU Energy", "J", e);
        put("total_gpu_power", "Total GPU Power", "W", watts);
        let milli = Some(1e3 * joules);
        put(
            "energy_per_total_token",
            "Energy per Total Token",
            "mJ/token",
            per(milli, tokens),
        );
        put(
            "energy_per_output_token",
            "Energy per Output Token",
            "mJ/token",
            per(milli, work.output_tokens),
        );
        put(
            "energy_per_request",
            "Energy per Request",
            "joules/request",
            per(e, requests),
        );
        if work.cancelling {
            // Who was hung up on has used energy too, and has no part in the number.
            put(
                "energy_per_completed_request",
                "Energy per Completed Request",
                "joules/request",
                per(e, requests),
            );
        }
        put(
            "output_tokens_per_joule",
            "Output Tokens per Joule",
            "tokens/J",
            per(work.output_tokens, e),
        );
        put(
            "energy_per_user",
            "Energy per User",
            "joules/user",
            per(e, work.concurrency),
        );
        metrics
    }

    /// `telemetry_data` of the summary.
    pub fn summary(&self, anchor: &WallAnchor) -> TelemetryData {
        let mut endpoints = Ordered::default();
        for exporter in self
            .exporters
            .iter()
            .filter(|exporter| !exporter.is_empty())
        {
            let mut gpus: Ordered<samples::Gpu> = Ordered::default();
            for gpu in exporter.gpus.values() {
                let identity = &gpu.identity;
                // One place may be held by two of them over the nodes behind one exporter.
                let mut key = format!("gpu_{}", identity.index);
                if gpus.contains_key(&key) {
                    key = format!("{key}_{}", identity.uuid);
                }
                gpus.insert(key, self.one(gpu));
            }
            endpoints.insert(short_url(&exporter.url).to_owned(), Exporter { gpus });
        }
        let errors = self.failures.iter().map(|failure| ErrorCount {
            error_details: ErrorDetails {
                message: Some(Cow::Owned(failure.clone())),
                ..ErrorDetails::default()
            },
            count: 1,
            example: None,
        });
        TelemetryData {
            summary: TelemetrySummary {
                endpoints_configured: self.configured.clone(),
                endpoints_successful: self.exporters.iter().map(|e| e.url.clone()).collect(),
                start_time: local_time(anchor, self.window.start),
                end_time: local_time(anchor, self.window.end),
            },
            endpoints,
            error_summary: errors.collect(),
        }
    }

    fn one(&self, gpu: &Gpu) -> samples::Gpu {
        let identity = &gpu.identity;
        let metrics = FIELDS.iter().enumerate().filter_map(|(at, field)| {
            let figures = self.figures(gpu, at)?;
            Some((field.key.to_owned(), block(field.unit, &figures)))
        });
        samples::Gpu {
            gpu_index: identity.index,
            gpu_name: identity.model.clone(),
            gpu_uuid: identity.uuid.clone(),
            platform: PLATFORM.to_owned(),
            hostname: identity.hostname.clone(),
            namespace: identity.namespace.clone(),
            pod_name: identity.pod.clone(),
            metrics: metrics.collect(),
        }
    }

    /// The third table of the CSV: its header and its rows.
    pub fn table(&self) -> Vec<Vec<String>> {
        let before = [
            "Endpoint",
            "GPU_Index",
            "GPU_Name",
            "GPU_UUID",
            "Platform",
            "Metric",
            "avg",
            "min",
            "max",
            "sum",
        ];
        let mut header: Vec<String> = before.map(str::to_owned).into();
        header.extend(PERCENTILES.map(|q| format!("p{q}")));
        header.push("std".to_owned());
        type Of = fn(&Identity) -> &Option<String>;
        let places: [(&str, Of); 3] = [
            ("Hostname", |identity| &identity.hostname),
            ("Namespace", |identity| &identity.namespace),
            ("Pod Name", |identity| &identity.pod),
        ];
        let places: Vec<_> = places
            .into_iter()
            .filter(|(_, of)| self.gpus().any(|(_, gpu)| of(&gpu.identity).is_some()))
            .collect();
        header.extend(places.iter().map(|(name, _)| (*name).to_owned()));
        let mut rows = vec![header];
        for (exporter, gpu) in self.gpus() {
            for (at, field) in FIELDS.iter().enumerate() {
                let Some(figures) = self.figures(gpu, at) else {
                    continue;
                };
                let identity = &gpu.identity;
                let mut row = vec![
                    short_url(&exporter.url).to_owned(),
                    identity.index.to_string(),
                    identity.model.clone(),
                    identity.uuid.clone(),
                    PLATFORM.to_owned(),
                    name_with_unit(field),
                    digits(figures.avg),
                ];
                match figures.spread {
                    Some(spread) => {
                        let values = [spread.min, spread.max, spread.sum];
                        let values = values
                            .into_iter()
                            .chain(spread.percentiles)
                            .chain([spread.std]);
                        row.extend(values.map(|value| format!("{value:.2}")));
                    }
                    None => row.extend(std::iter::repeat_n(String::new(), 13)),
                }
                let texts = places
                    .iter()
                    .map(|(_, of)| of(identity).clone().unwrap_or_default());
                row.extend(texts);
                rows.push(row);
            }
        }
        rows
    }

    /// Per GPU: title, and the rows of its table (metric, avg, min, max, p99, p90, p50, std).
    pub fn tables(&self) -> Vec<(String, Vec<GpuRow>)> {
        self.gpus()
            .map(|(exporter, gpu)| {
                let identity = &gpu.identity;
                let url = short_url(&exporter.url);
                let title = format!("{url} | GPU {} | {}", identity.index, identity.model);
                let rows = FIELDS.iter().enumerate().filter_map(|(at, field)| {
                    let figures = self.figures(gpu, at)?;
                    let spread = |of: fn(&GpuSpread) -> f64| figures.spread.as_ref().map(of);
                    let percentile = |place: usize| {
                        figures
                            .spread
                            .and_then(|spread| spread.percentiles.get(place).copied())
                    };
                    let values = [
                        Some(figures.avg),
                        spread(|s| s.min),
                        spread(|s| s.max),
                        percentile(8),
                        percentile(6),
                        percentile(4),
                        spread(|s| s.std),
                    ];
                    Some((name_with_unit(field), values))
                });
                (title, rows.collect())
            })
            .collect()
    }
}

/// A metric's name, and its avg, min, max, p99, p90, p50 and std.
pub type GpuRow = (String, [Option<f64>; 7]);

/// The window's counters take in what comes this long after it.
pub const GRACE: Span = Span::from_millis(666);

fn name_with_unit(field: &Field) -> String {
    match field.unit {
        "count" => field.name.to_owned(),
        unit => format!("{} ({unit})", field.name),
    }
}

/// Two decimals, more where that would leave less than three digits that count.
pub fn digits(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || size >= 1.0 {
        return format!("{value:.2}");
    }
    let leading = (-size.log10()).ceil().max(0.0) as usize;
    format!("{value:.*}", (leading + 2).min(18))
}

fn block(unit: &str, figures: &GpuFigures) -> Block {
    let mut block = Block::of(unit);
    block.put("avg", figures.avg);
    if let Some(spread) = &figures.spread {
        for (q, value) in PERCENTILES.into_iter().zip(spread.percentiles) {
            block.put(&format!("p{q}"), value);
        }
        block.put("min", spread.min);
        block.put("max", spread.max);
        block.put("std", spread.std);
        block.put_count("count", spread.count);
        block.put("sum", spread.sum);
    }
    block
}

/// A counter's value at an instant, on the line between the samples around it; outside of them that
/// of the nearest.
fn at_instant(values: &[(Stamp, f64)], at: Stamp) -> Option<f64> {
    let after = values.partition_point(|(seen, _)| *seen <= at);
    let before = after.checked_sub(1).and_then(|place| values.get(place));
    match (before, values.get(after)) {
        (Some((t0, v0)), Some((t1, v1))) => {
            let share = at.since(*t0).nanos() as f64 / t1.since(*t0).nanos().max(1) as f64;
            Some(v0 + share * (v1 - v0))
        }
        (Some((_, value)), None) | (None, Some((_, value))) => Some(*value),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(seconds: f64) -> Stamp {
        Stamp::from_nanos((seconds * 1e9) as u64)
    }

    fn telemetry() -> (GpuTelemetry, Vec<u8>) {
        let mut exporter = GpuHistory::new("http://127.0.0.1:9400/metrics");
        let anchor = WallAnchor::fixed(at(1.0), 1_800_000_001_000_000_000);
        let mut lines = Vec::new();
        // Seconds 9 to 21: 100 W in the window's first half, 300 W in its second.
        for second in [9.0, 11.0, 15.0, 19.0, 21.0] {
            let power = if second < 15.0 { 100.0 } else { 300.0 };
            let energy_mj = if second <= 15.0 {
                1e9 + 1e5 * (second - 9.0)
            } else {
                1e9 + 6e5 + 3e5 * (second - 15.0)
            };
            let labels = "gpu=\"0\",UUID=\"GPU-a\",modelName=\"NVIDIA H200\",device=\"nvidia0\",Hostname=\"n1\"";
            let text = format!(
                "# TYPE DCGM_FI_DEV_POWER_USAGE gauge\nDCGM_FI_DEV_POWER_USAGE{{{labels}}} {power}\n\
                 DCGM_FI_DEV_POWER_USAGE{{UUID=\"nobody\"}} 7\n\
                 # TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter\n\
                 DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{{labels}}} {energy_mj}\n\
                 # TYPE DCGM_FI_DEV_FB_USED gauge\nDCGM_FI_DEV_FB_USED{{{labels}}} 2000\n\
                 # TYPE DCGM_FI_PROF_SM_ACTIVE gauge\nDCGM_FI_PROF_SM_ACTIVE{{{labels}}} 0.5\n\
                 # TYPE DCGM_FI_DEV_XID_ERRORS gauge\nDCGM_FI_DEV_XID_ERRORS{{{labels}}} {}\n\
                 # TYPE DCGM_FI_DEV_POWER_VIOLATION counter\nDCGM_FI_DEV_POWER_VIOLATION_total{{{labels}}} {}\n",
                if second > 16.0 { 79 } else { 0 },
                second * 1000.0,
            );
            let text = text.replace(
                "# TYPE DCGM_FI_DEV_POWER_VIOLATION counter",
                "# TYPE DCGM_FI_DEV_POWER_VIOLATION_total counter",
            );
            let scrape = Scrape::read([at(second); 3], text.as_bytes(), None).unwrap();
            lines.extend(exporter.add(&scrape, &anchor));
        }
        let telemetry = GpuTelemetry {
            configured: vec![exporter.url.clone()],
            exporters: vec![exporter],
            failures: Vec::new(),
            window: Window {
                start: at(10.0),
                end: at(20.0),
                until: at(21.0),
            },
        };
        (telemetry, lines)
    }

    #[test]
    fn fields_are_scaled_and_reduced() {
        let (telemetry, lines) = telemetry();
        let anchor = WallAnchor::fixed(at(1.0), 1_800_000_001_000_000_000);
        let json = serde_json::to_value(telemetry.summary(&anchor)).unwrap();
        let gpu = &json["endpoints"]["127.0.0.1:9400"]["gpus"]["gpu_0"];
        assert_eq!(
            (&gpu["gpu_uuid"], &gpu["hostname"]),
            (&json!("GPU-a"), &json!("n1"))
        );
        let metrics = &gpu["metrics"];
        // Samples at 11, 15 and 19 lie within the window.
        let power = &metrics["nvidia_power_usage"];
        let average = power["avg"].as_f64().unwrap();
        assert!((average - 700.0 / 3.0).abs() < 1e-9);
        assert_eq!((&power["count"], &power["p50"]), (&json!(3), &json!(300.0)));
        let memory = metrics["nvidia_memory_used"]["max"].as_f64().unwrap();
        assert!((memory - 2.097152).abs() < 1e-12, "{memory}");
        assert_eq!(metrics["nvidia_sm_utilization"]["avg"], json!(50.0));
        // From second 10 to 20: 5 s at 100 W and 5 s at 300 W are 2 kJ.
        let energy = metrics["nvidia_energy_consumption"]["avg"]
            .as_f64()
            .unwrap();
        assert!((energy - 0.002).abs() < 1e-12, "{energy}");
        assert_eq!(
            metrics["nvidia_energy_consumption"]
                .as_object()
                .unwrap()
                .len(),
            2
        );
        // The last code, since it is another one; 21 - 9 milliseconds of violation, in
        // microseconds.
        assert_eq!(metrics["nvidia_xid_errors"]["avg"], json!(79.0));
        assert_eq!(metrics["nvidia_power_violation"]["avg"], json!(12.0));
        assert_eq!(
            json["endpoints"]["127.0.0.1:9400"]["gpus"]
                .as_object()
                .unwrap()
                .len(),
            1
        );
        let first: Value =
            serde_json::from_slice(lines.split(|b| *b == b'\n').next().unwrap()).unwrap();
        assert_eq!(first["telemetry_data"]["nvidia_power_usage"], json!(100.0));
        assert_eq!(first["timestamp_ns"], json!(1_800_000_009_000_000_000_u64));
        assert_eq!(first["device"], json!("nvidia0"));
    }

    #[test]
    fn energy_over_the_work() {
        let (telemetry, _) = telemetry();
        let work = Work {
            requests: 20.0,
            good: Some(10.0),
            output_tokens: Some(4_000.0),
            input_tokens: Some(1_000.0),
            latency_s: Some(0.5),
            concurrency: Some(4.0),
            cancelling: true,
        };
        let metrics = telemetry.energy_metrics(&work);
        let of = |tag: &str| {
            let found = metrics
                .iter()
                .find(|metric| metric.tag == format!("nvidia_{tag}"));
            found.unwrap_or_else(|| panic!("{tag}")).value
        };
        for (tag, expected) in [
            ("total_gpu_energy", 2_000.0),
            ("average_gpu_power", 200.0),
            ("total_gpu_power", 700.0 / 3.0),
            ("energy_per_request", 100.0),
            ("energy_per_completed_request", 100.0),
            ("energy_per_output_token", 500.0),
            ("energy_per_total_token", 400.0),
            ("output_tokens_per_joule", 2.0),
            ("energy_per_user", 500.0),
            ("energy_delay_product", 50.0),
            ("performance_per_watt", 0.01),
            ("output_tps_per_watt", 2.0),
            ("goodput_per_watt", 0.005),
        ] {
            assert!((of(tag) - expected).abs() < 1e-6, "{tag}: {}", of(tag));
        }
        assert_eq!(metrics.len(), 13);
        let idle = telemetry.energy_metrics(&Work::default());
        assert_eq!(idle.len(), 4, "nothing is divided by nothing");
    }

    #[test]
    fn the_table_shows_small_energies() {
        let (telemetry, _) = telemetry();
        let rows = telemetry.table();
        assert_eq!(
            rows[0].join(","),
            "Endpoint,GPU_Index,GPU_Name,GPU_UUID,Platform,Metric,avg,min,max,\
            sum,p1,p5,p10,p25,p50,p75,p90,p95,p99,std,Hostname"
        );
        assert!(rows.iter().all(|row| row.len() == rows[0].len()));
        let energy = rows.iter().find(|row| row[5].contains("Energy")).unwrap();
        assert_eq!(
            (energy[5].as_str(), energy[6].as_str()),
            ("NVIDIA Energy Consumption (MJ)", "0.00200")
        );
        assert_eq!(
            (digits(0.0), digits(1234.5), digits(0.5)),
            ("0.00".into(), "1234.50".into(), "0.500".into())
        );
    }

    #[test]
    fn without_gpus_there_is_a_header_alone() {
        let (mut telemetry, _) = telemetry();
        telemetry.exporters.clear();
        assert!(telemetry.is_empty() && telemetry.energy_metrics(&Work::default()).is_empty());
        assert_eq!(telemetry.table().len(), 1);
    }
}
