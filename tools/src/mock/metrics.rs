//! Counters of a server and their Prometheus text, under the names that vLLM uses.

use std::fmt::Write;

use pinfire_base::clock::Span;

use super::script::CounterLife;

/// The handlers that requests are counted under, in the order of [`Metrics::count`].
pub(super) const HANDLERS: [&str; 14] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/generate",
    "/generate_stream",
    "/v1/embeddings",
    "/v1/ranking",
    "/v2/rerank",
    "/rerank",
    "/v1/models",
    "/metrics",
    "/health",
    "none",
];

/// Indices of those that are no answers of a model.
pub(super) const MODELS: usize = 10;
pub(super) const METRICS: usize = 11;
pub(super) const HEALTH: usize = 12;

/// Upper ends of the buckets of vLLM's time to first token, up to where a mock gets.
const BUCKETS: [(f64, &str); 16] = [
    (0.001, "0.001"),
    (0.005, "0.005"),
    (0.01, "0.01"),
    (0.02, "0.02"),
    (0.04, "0.04"),
    (0.06, "0.06"),
    (0.08, "0.08"),
    (0.1, "0.1"),
    (0.25, "0.25"),
    (0.5, "0.5"),
    (0.75, "0.75"),
    (1.0, "1.0"),
    (2.5, "2.5"),
    (5.0, "5.0"),
    (7.5, "7.5"),
    (10.0, "10.0"),
];

/// Methods that are told apart.
const METHODS: [&str; 3] = ["GET", "POST", "OTHER"];

/// Why a request that had been taken on ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// The script's own length was reached.
    Stop,
    /// The request's limit was reached.
    Length,
    /// The client went away.
    Abort,
    /// A fault of the script.
    Error,
}

impl Finish {
    const ALL: [Self; 4] = [Self::Stop, Self::Length, Self::Abort, Self::Error];

    /// vLLM's name of it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
            Self::Error => "error",
        }
    }
}

/// All counters.
#[derive(Default)]
pub(super) struct Metrics {
    pub(super) running: u64,
    pub(super) waiting: u64,
    pub(super) connections: u64,
    pub(super) accepted: u64,
    pub(super) prompt_tokens: u64,
    pub(super) generation_tokens: u64,
    /// Prompt and generated tokens of the requests that are running.
    pub(super) held_tokens: u64,
    finished: [u64; 4],
    /// Times to first token: how many were in each bucket, and their sum in seconds.
    first_tokens: [u64; BUCKETS.len() + 1],
    first_tokens_s: f64,
    answered: [[[u64; 6]; 3]; HANDLERS.len()],
    /// What the counters show less than they count, after a restart that is played.
    before: Before,
}

/// The counters of a life before.
#[derive(Clone, Copy, Default)]
struct Before {
    prompt_tokens: u64,
    generation_tokens: u64,
    finished: [u64; 4],
    first_tokens: [u64; BUCKETS.len() + 1],
    first_tokens_s: f64,
    answered: [[[u64; 6]; 3]; HANDLERS.len()],
}

impl Metrics {
    /// A request has ended. Its counters may begin anew with it.
    pub(super) fn finish(&mut self, finish: Finish, life: CounterLife) {
        self.finished[finish as usize] += 1;
        let left = match finish {
            Finish::Abort => self.finished(finish),
            Finish::Stop | Finish::Length | Finish::Error => 0,
        };
        if life.restarts(left, self.finished.iter().sum()) {
            self.restart();
        }
    }

    /// Lets every counter show 0 and count on from there.
    fn restart(&mut self) {
        self.before = Before {
            prompt_tokens: self.prompt_tokens,
            generation_tokens: self.generation_tokens,
            finished: self.finished,
            first_tokens: self.first_tokens,
            first_tokens_s: self.first_tokens_s,
            answered: self.answered,
        };
    }

    /// A request has brought its first token so long after its first byte.
    pub(super) fn first_token(&mut self, after: Span) {
        let seconds = after.as_secs_f64();
        let bucket = BUCKETS.partition_point(|&(le, _)| le < seconds);
        self.first_tokens[bucket] += 1;
        self.first_tokens_s += seconds;
    }

    pub(super) fn finished(&self, finish: Finish) -> u64 {
        self.finished[finish as usize]
    }

    /// Counts an answer: index into [`HANDLERS`], method (0 GET, 1 POST, 2 other), status.
    #[inline]
    pub(super) fn count(&mut self, handler: usize, method: usize, status: u16) {
        self.answered[handler][method][usize::from(status / 100).min(5)] += 1;
    }

    /// Writes the Prometheus text.
    pub(super) fn write(
        &self,
        model: &str,
        cache_tokens: u64,
        abort_counter: u32,
        life: CounterLife,
        out: &mut String,
    ) {
        let cache = (self.held_tokens as f64 / cache_tokens.max(1) as f64).min(1.0);
        let labels = format!("engine=\"0\",model_name=\"{model}\"");
        let mut one = |kind: &str, name: &str, value: f64| {
            let _ = writeln!(out, "# TYPE {name} {kind}\n{name}{{{labels}}} {value:?}");
        };
        one("gauge", "vllm:num_requests_running", self.running as f64);
        one("gauge", "vllm:num_requests_waiting", self.waiting as f64);
        one("gauge", "vllm:kv_cache_usage_perc", cache);
        let shown = |count: u64| count > 0 || life != CounterLife::Late;
        let prompt = self.prompt_tokens - self.before.prompt_tokens;
        if shown(prompt) {
            one("counter", "vllm:prompt_tokens_total", prompt as f64);
        }
        let generated = self.generation_tokens - self.before.generation_tokens;
        if shown(generated) {
            one("counter", "vllm:generation_tokens_total", generated as f64);
        }
        let finished = Finish::ALL.map(|finish| {
            let times = match finish {
                Finish::Abort => u64::from(abort_counter),
                Finish::Stop | Finish::Length | Finish::Error => life.times(),
            };
            let count = self.finished(finish) - self.before.finished[finish as usize];
            (finish.name(), times * count)
        });
        if finished.iter().any(|&(_, count)| shown(count)) {
            out.push_str("# TYPE vllm:request_success_total counter\n");
        }
        for (name, count) in finished.into_iter().filter(|&(_, count)| shown(count)) {
            let _ = writeln!(
                out,
                "vllm:request_success_total{{{labels},finished_reason=\"{name}\"}} {count}.0"
            );
        }
        self.write_first_tokens(&labels, out);
        let _ = writeln!(
            out,
            "# TYPE mock_open_connections gauge\nmock_open_connections {}.0",
            self.connections
        );
        self.write_answered(out);
    }

    fn write_first_tokens(&self, labels: &str, out: &mut String) {
        const NAME: &str = "vllm:time_to_first_token_seconds";
        let _ = writeln!(out, "# TYPE {NAME} histogram");
        let mut count = 0;
        let ends = BUCKETS.iter().map(|&(_, text)| text).chain(["+Inf"]);
        let inside = self.first_tokens.iter().zip(self.before.first_tokens);
        for (le, (inside, before)) in ends.zip(inside) {
            count += inside - before;
            let _ = writeln!(out, "{NAME}_bucket{{{labels},le=\"{le}\"}} {count}.0");
        }
        let _ = writeln!(
            out,
            "{NAME}_sum{{{labels}}} {:?}\n{NAME}_count{{{labels}}} {count}.0",
            self.first_tokens_s - self.before.first_tokens_s
        );
    }

    fn write_answered(&self, out: &mut String) {
        out.push_str("# TYPE http_requests_total counter\n");
        let answered = self.answered.iter().zip(&self.before.answered);
        for ((methods, before), handler) in answered.zip(HANDLERS) {
            for ((classes, before), method) in methods.iter().zip(before).zip(METHODS) {
                let counts = classes.iter().zip(before).map(|(now, before)| now - before);
                for (class, count) in counts.enumerate().filter(|&(_, count)| count > 0) {
                    let _ = writeln!(
                        out,
                        "http_requests_total{{handler=\"{handler}\",method=\"{method}\",\
                         status=\"{class}xx\"}} {count}.0"
                    );
                }
            }
        }
    }
}
