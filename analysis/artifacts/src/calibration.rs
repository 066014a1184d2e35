//! What the client adds to the figures of a run on this machine: `calibration.json`.

use serde::{Deserialize, Serialize};

use crate::summary::Lateness;

/// What `pinfire calibrate` has measured.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Calibration {
    /// Who measured it, such as `pinfire 1.0.0`.
    pub tool_version: String,
    /// Where.
    pub machine: Machine,
    /// The load that was carried.
    pub shape: Shape,
    /// What the client's figures have more than the server's own account.
    pub adds: Adds,
    /// CPU time of the engine, and of a bare loop that carries the same load.
    pub cost: Cost,
    /// When requests really left: the kernel's transmit timestamps, from the instant that counts as
    /// «sent». Absent where the kernel has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<SentStamps>,
    /// How much the engine can carry.
    pub limits: Limits,
    /// The client was the bottleneck with this load.
    pub client_was_bottleneck: bool,
    /// Why.
    pub reasons: Vec<String>,
}

/// A machine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Machine {
    /// Model of its CPUs.
    pub cpu: String,
    /// CPUs that the process may use.
    pub cpus: u64,
    /// Release of its kernel.
    pub kernel: String,
}

/// A load, and who carried it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Shape {
    /// What is sent when, in words.
    pub load: String,
    /// Requests that were sent.
    pub requests: u64,
    /// Requests that were in flight on average.
    pub in_flight: f64,
    /// Answers are streams.
    pub streaming: bool,
    /// Tokens of an answer.
    pub osl: u64,
    /// The server's time to first token.
    pub server_ttft_ms: f64,
    /// The server's time between tokens.
    pub server_itl_ms: f64,
    /// Bytes of an event, about.
    pub event_bytes: u64,
    /// The connections are TLS.
    pub tls: bool,
    /// `io_uring` or `epoll`.
    pub driver: String,
    /// CPUs of the engine, which no other thread of pinfire uses.
    pub engine_cpus: Vec<usize>,
    /// Whose timestamps received data has: `kernel` or `user`.
    pub receive_stamps: String,
}

/// Differences between the client's figures and the server's log, in microseconds. Each has what
/// the network of this machine takes in it too.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Adds {
    /// Time to first token, minus the server's from the last byte of the request to the write of
    /// the first token.
    pub ttft: Lateness,
    /// Time between tokens, minus the server's; the mean of each answer.
    pub itl: Lateness,
    /// The timestamp of an answer's first token, minus the instant at which the server wrote it.
    pub first_token: Lateness,
    /// The same of its last token.
    pub last_token: Lateness,
    /// From the instant at which a request was to be cancelled to the system call that does it.
    pub cancel_asked: Lateness,
    /// To the return of that call.
    pub cancel_closed: Lateness,
    /// From that to the instant at which the server noticed.
    pub cancel_noticed: Lateness,
}

/// CPU time.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cost {
    /// Events that were received.
    pub events: u64,
    /// Requests that were sent.
    pub requests: u64,
    /// Of the engine's threads, for each event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us_per_event: Option<f64>,
    /// The same for each request, its events included.
    pub cpu_us_per_request: f64,
    /// Of a bare epoll loop that only sends, receives, takes the time and counts events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bare_cpu_us_per_event: Option<f64>,
    /// The same for each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bare_cpu_us_per_request: Option<f64>,
    /// The engine's CPU time for a request over the bare loop's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Share of its CPUs that the engine used.
    pub busy: f64,
}

/// Instants from «sent», in microseconds; negative for before it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SentStamps {
    /// The last clock read before the system call.
    pub asked: Lateness,
    /// The last byte was queued to the device.
    pub scheduled: Lateness,
    /// The driver had handed it to the device.
    pub left: Lateness,
    /// The peer's kernel had acknowledged it.
    pub acknowledged: Lateness,
}

/// How much the engine can carry.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Limits {
    /// Events a second and core by the CPU time of one, were nothing else in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_per_sec_by_cpu: Option<f64>,
    /// The same of requests, their events included.
    pub requests_per_sec_by_cpu: f64,
    /// Streams a core by that, each with the server's time between tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams_by_cpu: Option<f64>,
    /// The same load again and again, each time doubled, until something gave way.
    pub steps: Vec<Step>,
    /// What gave way first: `client`, `server`, or `nothing` within the steps that were made.
    pub gave_way: String,
}

/// A load that was tried.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Step {
    /// How many times the load that was asked for.
    pub times: u64,
    /// Requests that were in flight on average.
    pub in_flight: f64,
    /// Events a second and core.
    pub events_per_sec: f64,
    /// Requests a second and core.
    pub requests_per_sec: f64,
    /// Share of its CPUs that the engine used.
    pub busy: f64,
    /// How late the server wrote first tokens, by its own log.
    pub server_late: Lateness,
    /// The client was the bottleneck, by its own account.
    pub client_was_bottleneck: bool,
}

impl Lateness {
    /// Of durations in microseconds.
    pub fn of_us(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |percent: f64| {
            let last = values.len().checked_sub(1)?;
            values
                .get((last as f64 * percent / 100.0).round() as usize)
                .copied()
        };
        Self {
            unit: "us".to_owned(),
            count: values.len() as u64,
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            max: at(100.0),
        }
    }
}
