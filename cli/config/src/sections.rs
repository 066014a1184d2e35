//! The settings by topic. Each is declared once, as a field: its name is that of the flag, of the key
//! in config files and in the wire form; its type reads its value; its comment is the help.

use std::path::PathBuf;

use clap::Args;
use pinfire_analysis::facts::EXACT_RECORDS;
use pinfire_base::{delay::Delay, record::CancelTrigger};
use pinfire_dialect::EndpointKind;
use pinfire_scrape::files::MetricsFormat;
use pinfire_workload::dataset::ModelChoice;
use serde::{Deserialize, Serialize};

use crate::{
    numbers::{
        Cores, Count, Grace, Interval, ListenAddress, Milliseconds, NotNegative, Patience, Pause,
        Percent, Positive, Rate, Seconds, ShardCount, ShardOf, Share, Tokens, Whole,
        WholeMilliseconds,
    },
    secret::{ApiKey, Fields, Header, Url},
    setting::Listed,
    source::{Given, Place, Sourced},
    words::{
        ArrivalPattern, CancelMode, ConnectionReuse, ConsoleKind, ConvergenceMode, Corpus,
        DatasetType, ExportLevel, IoDriver, LogLevel, ProbeQuestion, RangeStyle, RateWindowName,
        ReceiveStamps, SamplingStrategy, ShardLoss, SweepOrder, SweepType, TimerPrecision,
        TransportKind, UiKind, UrlStrategy, WarmupPattern,
    },
};

/// Declares a section: the struct, and what is done to all of its settings.
macro_rules! section {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $($(#[$attribute:meta])* pub $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Args, Serialize, Deserialize, Clone, PartialEq, Debug)]
        pub struct $name {
            $($(#[$attribute])* pub $field: $type,)*
        }

        impl $name {
            /// Takes over the settings that were given there.
            pub(crate) fn overlay(&mut self, over: Self) {
                $(if over.$field.is_given() {
                    self.$field = over.$field;
                })*
            }

            /// The names of the settings that were given.
            pub fn given(&self) -> Vec<&'static str> {
                let all = [$((stringify!($field), self.$field.is_given())),*];
                let given = all.into_iter().filter(|(_, given)| *given);
                given.map(|(name, _)| name).collect()
            }
        }

        impl Given for $name {
            fn is_given(&self) -> bool {
                !self.given().is_empty()
            }

            fn places(&self) -> Vec<Place> {
                let mut places = Vec::new();
                $(places.extend(self.$field.places());)*
                places
            }
        }
    };
}

section! {
/// The server, and how it is reached.
pub struct Endpoint {
    /// Model name put in the request bodies; several are taken in turn.
    ///
    /// Also the tokenizer's name unless --tokenizer says otherwise. Several models are a comma list,
    /// or the flag repeated.
    #[arg(long, short, visible_alias = "model-names", value_name = "NAME", value_delimiter = ',')]
    pub model: Vec<Sourced<String>>,
    /// How requests are distributed over several models.
    #[arg(long, value_name = "STRATEGY", default_value = "round_robin")]
    pub model_selection_strategy: Sourced<ModelChoice>,
    /// Base URL of the server; several take the requests in turn.
    ///
    /// http://, https:// or unix:/path/to.sock; `mock:` is a scripted server inside this process.
    /// Several URLs are a comma list, one after the other, or the flag repeated.
    #[arg(long, short, value_name = "URL", num_args = 1.., value_delimiter = ',', default_value = "http://localhost:8000")]
    pub url: Vec<Sourced<Url>>,
    /// How requests are distributed over several URLs.
    #[arg(long, value_name = "STRATEGY", default_value = "round_robin")]
    pub url_strategy: Sourced<UrlStrategy>,
    /// How requests travel: HTTP/1.1 is the only way.
    #[arg(long, visible_alias = "transport-type", value_name = "TRANSPORT", default_value = "http")]
    pub transport: Sourced<TransportKind>,
    /// Trust the certificates in this PEM file too.
    ///
    /// For a server whose certificate was signed by an authority of your own, or by itself.
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<Sourced<PathBuf>>,
    /// Accept any certificate (insecure).
    ///
    /// Whoever sits between here and the server can read and change everything, the API key
    /// included.
    #[arg(long)]
    pub insecure: Sourced<bool>,
    /// Local addresses that connections come from, in turn.
    ///
    /// A list (10.0.0.2,10.0.0.3) or a range (127.0.0.2-127.0.0.9). Each has ports of its own, about
    /// 28,000 to one server. [default: the system's choice]
    #[arg(long, value_name = "ADDRESSES")]
    pub source_ip: Option<Sourced<String>>,
    /// Connect timeout, including the TLS handshake.
    ///
    /// [default: only --request-timeout-seconds]
    #[arg(long, value_name = "SECONDS")]
    pub connect_timeout: Option<Sourced<Seconds>>,
    /// Kind of endpoint.
    ///
    /// messages is Anthropic's. template takes bodies from your own Jinja template: --extra-inputs
    /// payload_template, and response_field for where the answer is. raw takes complete payloads
    /// from the dataset.
    #[arg(long, value_name = "TYPE", default_value = "chat")]
    pub endpoint_type: Sourced<EndpointKind>,
    /// Path that replaces the default one of the endpoint's kind; begins with `/`.
    #[arg(long, visible_alias = "custom-endpoint", value_name = "PATH")]
    pub endpoint: Option<Sourced<Url>>,
    /// Ask for a stream of server-sent events.
    ///
    /// Without it there are no times of single tokens.
    #[arg(long)]
    pub streaming: Sourced<bool>,
    /// What the bodies are sent as: application/json is the only way.
    #[arg(long, value_name = "TYPE")]
    pub request_content_type: Option<Sourced<String>>,
    /// Request timeout, including connecting.
    #[arg(long, value_name = "SECONDS", default_value = "21600")]
    pub request_timeout_seconds: Sourced<Seconds>,
    /// Wait this long for every server to answer for every model; 0 does not ask.
    ///
    /// A server that is not ready by then is an error, and nothing is measured. [default: 0]
    #[arg(long, value_name = "SECONDS")]
    pub wait_for_model_timeout: Option<Sourced<Pause>>,
    /// What the server is asked until it is ready. [default: inference]
    #[arg(long, value_name = "MODE")]
    pub wait_for_model_mode: Option<Sourced<ProbeQuestion>>,
    /// Seconds between two attempts. [default: 5]
    #[arg(long, value_name = "SECONDS")]
    pub wait_for_model_interval: Option<Sourced<Seconds>>,
    /// Sent as `Authorization: Bearer KEY` (messages: `x-api-key: KEY`); shown nowhere.
    ///
    /// @FILE takes it from a file, so that it is not in the list of processes either.
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<Sourced<ApiKey>>,
    /// Header added to every request, `Name:value`; repeatable.
    ///
    /// Items are cut at commas; the form '{"Name": "a, b"}' keeps them. @FILE takes them from a file,
    /// one per line.
    #[arg(long, short = 'H', value_name = "NAME:VALUE", num_args = 1..)]
    pub header: Vec<Sourced<Header>>,
    /// Name of the header that carries the session's id, instead of X-Correlation-ID.
    #[arg(long, value_name = "NAME")]
    pub session_header: Option<Sourced<String>>,
    /// What happens to a connection after a response.
    #[arg(long, value_name = "STRATEGY", default_value = "pooled")]
    pub connection_reuse_strategy: Sourced<ConnectionReuse>,
    /// Send the output limit as `max_tokens` instead of `max_completion_tokens` (chat).
    #[arg(long)]
    pub use_legacy_max_tokens: Sourced<bool>,
    /// Take token counts from the server's usage fields instead of tokenizing its text.
    #[arg(long)]
    pub use_server_token_count: Sourced<bool>,
    /// Ask for usage in every chunk, so that a first chunk of several tokens counts.
    ///
    /// It would flatter the inter token latency otherwise. Needs chat, --streaming and
    /// --use-server-token-count.
    #[arg(long)]
    pub per_chunk_usage: Sourced<bool>,
}
}

section! {
/// How many requests are sent, and when.
pub struct Load {
    /// Sessions open at once, over all cores: a finished one is replaced at once.
    ///
    /// With a rate, a limit: what is due waits for a slot, and effective_latency shows the wait.
    /// [default: 1; no limit with a rate or a fixed schedule]
    #[arg(long, value_name = "STREAMS")]
    pub concurrency: Option<Sourced<Listed<Count>>>,
    /// Mean arrivals per second, whatever the server does; `inf` sends all at once.
    #[arg(long, value_name = "PER_SECOND")]
    pub request_rate: Option<Sourced<Listed<Rate>>>,
    /// How arrivals are spread. [default: poisson; gamma with --arrival-smoothness]
    #[arg(long, visible_alias = "request-rate-mode", value_name = "PATTERN")]
    pub arrival_pattern: Option<Sourced<ArrivalPattern>>,
    /// Shape of gamma arrivals: below 1 bursty, 1 as poisson, above 1 regular.
    #[arg(long, visible_alias = "vllm-burstiness", value_name = "SHAPE")]
    pub arrival_smoothness: Option<Sourced<Positive>>,
    /// Take the rate over time from this JSON file.
    ///
    /// [{"time_s": 0, "qps": 5}, ...], linear in between.
    #[arg(long, value_name = "FILE")]
    pub request_rate_series: Option<Sourced<PathBuf>>,
    /// Turns per second of all users together; needs --num-users.
    ///
    /// Each user sends its next turn users/rate seconds after the one before, and a user that is
    /// through is replaced.
    #[arg(long, value_name = "PER_SECOND")]
    pub user_centric_rate: Option<Sourced<Positive>>,
    /// Users of --user-centric-rate.
    #[arg(long, value_name = "USERS")]
    pub num_users: Option<Sourced<Listed<Count>>>,
    /// Requests that wait for their first token at once; needs --streaming.
    ///
    /// [default: no limit]
    #[arg(long, value_name = "REQUESTS")]
    pub prefill_concurrency: Option<Sourced<Listed<Count>>>,
    /// Ramp-up time to --concurrency, linear.
    #[arg(long, value_name = "SECONDS")]
    pub concurrency_ramp_duration: Option<Sourced<Seconds>>,
    /// Ramp-up time to --prefill-concurrency, linear.
    #[arg(long, value_name = "SECONDS")]
    pub prefill_concurrency_ramp_duration: Option<Sourced<Seconds>>,
    /// Ramp-up time to --request-rate, linear.
    #[arg(long, value_name = "SECONDS")]
    pub request_rate_ramp_duration: Option<Sourced<Seconds>>,
    /// Stop sending after this many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub benchmark_duration: Option<Sourced<Listed<Seconds>>>,
    /// Wait this long for in-flight requests after --benchmark-duration, then drop them.
    ///
    /// `inf` waits for all. [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub benchmark_grace_period: Option<Sourced<Grace>>,
    /// End the run when a larger share of the requests than this has failed (0 to 1).
    #[arg(long, value_name = "SHARE")]
    pub failed_request_threshold: Option<Sourced<Share>>,
    /// Send on at full speed when requests get no answer at all.
    ///
    /// Else a slot of --concurrency rests after a refused or broken connection, 10 ms at first and
    /// twice as long each time, 1 s at most, until the next answer.
    #[arg(long)]
    pub no_error_backoff: Sourced<bool>,
    /// Requests to send; failed and cancelled ones count. [default: 10]
    #[arg(long, visible_alias = "num-requests", value_name = "REQUESTS")]
    pub request_count: Option<Sourced<Listed<Count>>>,
    /// Seed of every random decision, the same on any number of cores.
    ///
    /// Prompts, lengths, which requests are cancelled. [default: drawn anew for each run and
    /// printed, so that no run meets a warm cache]
    #[arg(long, value_name = "SEED")]
    pub random_seed: Option<Sourced<Whole>>,
}
}

section! {
/// What is sent before the measurement; never cancelled, in no metric.
pub struct Warmup {
    /// Warm up with this many requests, which are not measured. [default: no warmup]
    #[arg(long, visible_alias = "num-warmup-requests", value_name = "REQUESTS")]
    pub warmup_request_count: Option<Sourced<Count>>,
    /// Warm up for this many seconds. [default: no warmup]
    #[arg(long, value_name = "SECONDS")]
    pub warmup_duration: Option<Sourced<Seconds>>,
    /// Warm up with this many sessions. [default: no warmup]
    #[arg(long, value_name = "SESSIONS")]
    pub num_warmup_sessions: Option<Sourced<Count>>,
    /// Sessions open at once during warmup. [default: --concurrency]
    #[arg(long, value_name = "STREAMS")]
    pub warmup_concurrency: Option<Sourced<Count>>,
    /// Prefill limit during warmup. [default: --prefill-concurrency]
    #[arg(long, value_name = "REQUESTS")]
    pub warmup_prefill_concurrency: Option<Sourced<Count>>,
    /// Arrivals per second during warmup. [default: --request-rate]
    #[arg(long, value_name = "PER_SECOND")]
    pub warmup_request_rate: Option<Sourced<Rate>>,
    /// How the arrivals of the warmup are spread. [default: --arrival-pattern]
    #[arg(long, value_name = "PATTERN")]
    pub warmup_arrival_pattern: Option<Sourced<WarmupPattern>>,
    /// Wait this long for in-flight requests after --warmup-duration, then drop them.
    ///
    /// [default: wait for all]
    #[arg(long, value_name = "SECONDS")]
    pub warmup_grace_period: Option<Sourced<Grace>>,
    /// Begin the measurement as soon as the warmup has sent its last request.
    ///
    /// It does not wait for the answers; the limits then hold for both together.
    #[arg(long)]
    pub warmup_seamless: Sourced<bool>,
    /// Ramp-up time of the warmup's concurrency. [default: --concurrency-ramp-duration]
    #[arg(long, value_name = "SECONDS")]
    pub warmup_concurrency_ramp_duration: Option<Sourced<Seconds>>,
    /// Ramp-up time of the warmup's prefill limit.
    ///
    /// [default: --prefill-concurrency-ramp-duration]
    #[arg(long, value_name = "SECONDS")]
    pub warmup_prefill_concurrency_ramp_duration: Option<Sourced<Seconds>>,
    /// Ramp-up time of the warmup's rate. [default: --request-rate-ramp-duration]
    #[arg(long, value_name = "SECONDS")]
    pub warmup_request_rate_ramp_duration: Option<Sourced<Seconds>>,
}
}

section! {
/// Which requests are cancelled, when and how.
pub struct Cancellation {
    /// Cancel this percentage of the requests. [default: none]
    ///
    /// Each request is drawn on its own. In a list, 0 stands for no cancelling at all.
    #[arg(long, value_name = "PERCENT")]
    pub request_cancellation_rate: Option<Sourced<Listed<Percent>>>,
    /// Disconnect this many seconds after the trigger. [default: 0]
    ///
    /// Or a distribution that is drawn for each request: uniform:LOW,HIGH, exponential:MEAN or
    /// lognormal:MEDIAN,SIGMA (SIGMA of the logarithm). 0 still sends the whole request. A response
    /// that is complete by then is not cancelled.
    #[arg(long, value_name = "SECONDS")]
    pub request_cancellation_delay: Option<Sourced<Listed<Delay>>>,
    /// What the delay counts from. [default: sent]
    ///
    /// sent: the last byte of the request was taken by the socket. headers: the head of the response
    /// has come. first-token; tokens:N: N content events have come; fraction:F: that share of the
    /// output length asked for has (chat and completions). mid-body: half of the body was written,
    /// and the rest never is. connect: a new connection of its own is there; with a delay of 0
    /// nothing is sent.
    #[arg(long, value_name = "TRIGGER")]
    pub request_cancellation_trigger: Option<Sourced<CancelTrigger>>,
    /// How the client disconnects. [default: fin]
    #[arg(long, value_name = "MODE")]
    pub request_cancellation_mode: Option<Sourced<CancelMode>>,
    /// Disconnect in waves of this many seconds. [default: each at its own time]
    ///
    /// Counted from the start of the phase: all chosen requests whose delay is over disconnect at
    /// one instant.
    #[arg(long, value_name = "SECONDS")]
    pub request_cancellation_wave: Option<Sourced<Seconds>>,
    /// Give up on a request without a token this long after its start: ttft:SECONDS.
    ///
    /// Or a distribution such as ttft:lognormal:2,0.5. For all requests, or for the share of
    /// --request-cancellation-rate. [default: endless]
    #[arg(long, value_name = "ttft:SECONDS")]
    pub patience: Option<Sourced<Patience>>,
    /// Check that the server frees the resources of cancelled requests.
    ///
    /// As `pinfire cancel-test` does: scrapes its metrics all the time (every 100 ms, then every
    /// 20 ms until it is at rest), and sends one request alone before and after the run, in no
    /// metric. The verdict is below the tables and in the summary (`release`), the samples in
    /// release.json. Exit code 4: leaked, wedged or gone; 5: cannot tell; 1: the run itself cannot
    /// be used.
    #[arg(long)]
    pub verify_release: Sourced<bool>,
}
}

section! {
/// What the requests hold.
pub struct Input {
    /// Mean input length of synthetic prompts. [default: 550]
    ///
    /// The prompts have exactly the length that is drawn.
    #[arg(long, visible_aliases = ["synthetic-input-tokens-mean", "prompt-input-tokens-mean"], value_name = "TOKENS")]
    pub isl: Option<Sourced<Listed<Tokens>>>,
    /// Standard deviation of the input length. [default: 0]
    #[arg(long, visible_aliases = ["synthetic-input-tokens-stddev", "prompt-input-tokens-stddev"], value_name = "TOKENS")]
    pub isl_stddev: Option<Sourced<Listed<NotNegative>>>,
    /// Mean output limit sent with a request. [default: no limit is sent]
    ///
    /// For exact lengths add --extra-inputs ignore_eos:true.
    #[arg(long, visible_aliases = ["output-tokens-mean", "prompt-output-tokens-mean"], value_name = "TOKENS")]
    pub osl: Option<Sourced<Listed<Tokens>>>,
    /// Standard deviation of the output limit; needs --osl. [default: 0]
    #[arg(long, visible_aliases = ["output-tokens-stddev", "prompt-output-tokens-stddev"], value_name = "TOKENS")]
    pub osl_stddev: Option<Sourced<Listed<NotNegative>>>,
    /// Mix input and output lengths: ISL,OSL:PERCENT;...
    ///
    /// Instead of --isl and --osl, with |DEVIATION behind a length if wanted, such as
    /// '256|10,128|5:40;512,256:60'. The percentages sum to 100. [(256,128):40,(512,256):60] and
    /// {"pairs": [{"isl": 256, "osl": 128, "prob": 40}, ...]} say the same.
    #[arg(long, visible_alias = "sequence-distribution", value_name = "PAIRS")]
    pub seq_dist: Option<Sourced<String>>,
    /// Draw lengths evenly from a range around --isl and --osl; 0.2 is 20 % to either side.
    ///
    /// Both are needed. '{"input": 0.2, "output": 0.5}' tells them apart.
    #[arg(long, value_name = "RATIO|JSON")]
    pub random_range_ratio: Option<Sourced<String>>,
    /// Where the range of --random-range-ratio is. [default: vllm]
    #[arg(long, value_name = "STYLE")]
    pub random_corpus_style: Option<Sourced<RangeStyle>>,
    /// What prompts are cut from.
    #[arg(long, value_name = "CORPUS", default_value = "sonnet")]
    pub prompt_corpus: Sourced<Corpus>,
    /// Texts in one request, each of --isl tokens. [default: 1]
    ///
    /// A list where the endpoint takes one, else parts of one message.
    #[arg(long, short = 'b', visible_aliases = ["batch-size", "batch-size-text"], value_name = "TEXTS")]
    pub prompt_batch_size: Option<Sourced<Whole>>,
    /// Number of prefixes of --prefix-prompt-length tokens. [default: none]
    ///
    /// Each conversation draws one, which goes before its first prompt and adds to its length.
    #[arg(long, visible_aliases = ["prefix-prompt-pool-size", "prompt-prefix-pool-size"], value_name = "PREFIXES")]
    pub num_prefix_prompts: Option<Sourced<Whole>>,
    /// Length of each such prefix; needs --num-prefix-prompts. [default: none]
    #[arg(long, visible_alias = "prompt-prefix-length", value_name = "TOKENS")]
    pub prefix_prompt_length: Option<Sourced<Whole>>,
    /// Conversations to make, synthetic or out of a random_pool; the run takes them in turn.
    ///
    /// All entries of any other file are taken. [default: --num-conversations, else
    /// --request-count, 20000 at most; without either 100]
    #[arg(long, visible_alias = "num-prompts", value_name = "PROMPTS")]
    pub num_dataset_entries: Option<Sourced<Count>>,
    /// Dataset to send instead of synthetic prompts.
    ///
    /// A file, gzipped or not, or a folder (random_pool, raw_payload).
    #[arg(long, value_name = "PATH")]
    pub input_file: Option<Sourced<PathBuf>>,
    /// Format of --input-file. [default: what its first line shows]
    ///
    /// single_turn, a request per line:
    ///   {"text": "Who wrote Faust?", "output_length": 50}
    /// multi_turn, a conversation per line, with live replies in between:
    ///   {"turns": [{"role": "system", "text": "Be brief."}, {"text": "Hi"}, {"text": "Why?", "delay": 500}]}
    /// random_pool, lines that requests are drawn from, out of each file of a folder one:
    ///   {"text": "Summarize this."}
    /// raw_payload, a request body per line, sent byte for byte:
    ///   {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
    /// inputs_json, the inputs.json of a run, sent again:
    ///   {"data": [{"session_id": "a", "payloads": [{"model": "m", "messages": []}]}]}
    /// sharegpt, recorded conversations:
    ///   [{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]}]
    /// mooncake_trace, recorded lengths and shared prefixes:
    ///   {"timestamp": 0, "input_length": 1000, "output_length": 50, "hash_ids": [1, 2]}
    #[arg(long, value_name = "TYPE", verbatim_doc_comment)]
    pub custom_dataset_type: Option<Sourced<DatasetType>>,
    /// Which conversation a session takes.
    ///
    /// The seed alone decides, and profiling goes on where the warmup stopped.
    #[arg(long, value_name = "STRATEGY", default_value = "sequential")]
    pub dataset_sampling_strategy: Sourced<SamplingStrategy>,
    /// Tokens per hash id of a trace. [default: 512]
    #[arg(long, visible_aliases = ["synthetic-input-tokens-block-size", "prompt-input-tokens-block-size"], value_name = "TOKENS")]
    pub isl_block_size: Option<Sourced<Count>>,
    /// Fields merged into every request body, `key:value`; repeatable.
    ///
    /// Items are cut at commas; the form '{"key": value}' keeps them. Example:
    /// ignore_eos:true,temperature:0
    #[arg(long, value_name = "KEY:VALUE", num_args = 1..)]
    pub extra_inputs: Vec<Sourced<Fields>>,
}
}

section! {
/// Requests that belong together.
pub struct Conversations {
    /// Conversations to begin. [default: no limit]
    ///
    /// Also the number to make of synthetic prompts or out of a random_pool.
    #[arg(long, visible_aliases = ["conversation-num", "num-sessions"], value_name = "CONVERSATIONS")]
    pub num_conversations: Option<Sourced<Listed<Count>>>,
    /// Mean number of turns of a synthetic conversation. [default: 1]
    ///
    /// Each turn carries the turns before it and the answers to them.
    #[arg(long, visible_alias = "conversation-turn-mean", value_name = "TURNS")]
    pub session_turns_mean: Option<Sourced<Listed<Count>>>,
    /// Standard deviation of the number of turns. [default: 0]
    #[arg(long, visible_alias = "conversation-turn-stddev", value_name = "TURNS")]
    pub session_turns_stddev: Option<Sourced<Whole>>,
    /// Mean delay between the answer to a turn and the next turn. [default: 0]
    #[arg(long, visible_alias = "conversation-turn-delay-mean", value_name = "MILLISECONDS")]
    pub session_turn_delay_mean: Option<Sourced<Milliseconds>>,
    /// Standard deviation of that delay. [default: 0]
    #[arg(long, visible_alias = "conversation-turn-delay-stddev", value_name = "MILLISECONDS")]
    pub session_turn_delay_stddev: Option<Sourced<Milliseconds>>,
    /// Multiply every such delay by this factor. [default: 1]
    #[arg(long, visible_alias = "conversation-turn-delay-ratio", value_name = "FACTOR")]
    pub session_delay_ratio: Option<Sourced<NotNegative>>,
    /// The longest delay between turns, drawn or recorded. [default: no limit]
    #[arg(long, value_name = "SECONDS")]
    pub inter_turn_delay_cap_seconds: Option<Sourced<Pause>>,
    /// Length of a system message that all synthetic conversations share (chat only).
    ///
    /// It comes on top of --isl. [default: no system message]
    #[arg(long, value_name = "TOKENS")]
    pub shared_system_prompt_length: Option<Sourced<Count>>,
    /// Length of a user message of its own before the turns of each conversation (chat only).
    ///
    /// It is in every request of a synthetic conversation, and comes on top of --isl.
    /// [default: none]
    #[arg(long, value_name = "TOKENS")]
    pub user_context_prompt_length: Option<Sourced<Count>>,
    /// System message of every conversation, as it is (chat only). [default: none]
    ///
    /// A dataset's own system message follows it behind a blank line.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub system_prompt: Option<Sourced<String>>,
    /// File whose whole text is that system message.
    #[arg(long, value_name = "FILE")]
    pub system_prompt_file: Option<Sourced<PathBuf>>,
}
}

section! {
/// Synthetic requests of endpoints that rank.
pub struct Rankings {
    /// Mean number of passages in a synthetic ranking request. [default: 10]
    #[arg(long, value_name = "PASSAGES")]
    pub rankings_passages_mean: Option<Sourced<Count>>,
    /// Standard deviation of that number. [default: 0]
    #[arg(long, value_name = "PASSAGES")]
    pub rankings_passages_stddev: Option<Sourced<NotNegative>>,
    /// Mean length of a passage. [default: 128]
    #[arg(long, value_name = "TOKENS")]
    pub rankings_passages_prompt_token_mean: Option<Sourced<Count>>,
    /// Standard deviation of that length. [default: 0]
    #[arg(long, value_name = "TOKENS")]
    pub rankings_passages_prompt_token_stddev: Option<Sourced<NotNegative>>,
    /// Mean length of the query. [default: 32]
    #[arg(long, value_name = "TOKENS")]
    pub rankings_query_prompt_token_mean: Option<Sourced<Count>>,
    /// Standard deviation of that length. [default: 0]
    #[arg(long, value_name = "TOKENS")]
    pub rankings_query_prompt_token_stddev: Option<Sourced<NotNegative>>,
}
}

section! {
/// Datasets that bring their own times.
pub struct Schedule {
    /// Send by the timestamps of the trace (or of single_turn and multi_turn lines).
    ///
    /// This is the default if --custom-dataset-type names a trace and its first line has a
    /// timestamp.
    #[arg(long)]
    pub fixed_schedule: Option<Sourced<bool>>,
    /// Take the first timestamp as the start of the phase; without it, 0 is.
    ///
    /// [default: true, unless --fixed-schedule-start-offset is given]
    #[arg(long)]
    pub fixed_schedule_auto_offset: Option<Sourced<bool>>,
    /// Leave out lines before this timestamp, the start of the phase. [default: none]
    #[arg(long, value_name = "MILLISECONDS")]
    pub fixed_schedule_start_offset: Option<Sourced<WholeMilliseconds>>,
    /// Leave out lines after this timestamp. [default: none]
    #[arg(long, value_name = "MILLISECONDS")]
    pub fixed_schedule_end_offset: Option<Sourced<WholeMilliseconds>>,
    /// Divide timestamps by this factor: 2 is twice as fast. [default: 1]
    ///
    /// Delays between turns stay as they are.
    #[arg(long, value_name = "FACTOR")]
    pub synthesis_speedup_ratio: Option<Sourced<Positive>>,
    /// Drop the delays between turns of a trace; a fixed schedule keeps them.
    #[arg(long)]
    pub ignore_trace_delays: Sourced<bool>,
}
}

section! {
/// How a trace is changed; no other dataset has these.
pub struct Synthesis {
    /// Multiply the length of shared prefixes by this factor, in blocks. [default: 1]
    ///
    /// Only the whole part lengthens what is shared; blocks of a fraction are new in each line.
    #[arg(long, value_name = "FACTOR")]
    pub synthesis_prefix_len_multiplier: Option<Sourced<Positive>>,
    /// Spread the lines over this many prefix trees that share nothing. [default: 1]
    #[arg(long, value_name = "TREES")]
    pub synthesis_prefix_root_multiplier: Option<Sourced<Count>>,
    /// Multiply the length of what lines do not share by this factor. [default: 1]
    #[arg(long, value_name = "FACTOR")]
    pub synthesis_prompt_len_multiplier: Option<Sourced<Positive>>,
    /// Multiply output lengths by this factor; at least one token is left. [default: 1]
    #[arg(long, value_name = "FACTOR")]
    pub synthesis_output_len_multiplier: Option<Sourced<NotNegative>>,
    /// Leave out lines whose recorded input is longer. [default: no limit]
    ///
    /// Inputs that the multipliers make longer are cut to it.
    #[arg(long, value_name = "TOKENS")]
    pub synthesis_max_isl: Option<Sourced<Count>>,
    /// The highest output limit; higher ones become it. [default: no limit]
    #[arg(long, value_name = "TOKENS")]
    pub synthesis_max_osl: Option<Sourced<Count>>,
}
}

section! {
/// How tokens are counted.
pub struct Tokenizer {
    /// Tokenizer for prompts and counts. [default: the model's name]
    ///
    /// `builtin` (o200k_base, embedded), another embedded one (o200k_harmony, cl100k_base,
    /// p50k_base, p50k_edit, r50k_base, qwen2, qwen3), a folder with a tokenizer.json, or a model on
    /// the Hugging Face hub: from the local cache, else downloaded into it (HF_TOKEN for private
    /// ones; not with HF_HUB_OFFLINE=1).
    #[arg(long, value_name = "NAME|PATH")]
    pub tokenizer: Option<Sourced<String>>,
    /// Branch, tag or commit of a model on the hub or in its cache.
    #[arg(long, value_name = "REVISION", default_value = "main")]
    pub tokenizer_revision: Sourced<String>,
    /// Accepted so that scripts run, with a warning: pinfire runs no code of a model.
    #[arg(long)]
    pub tokenizer_trust_remote_code: Sourced<bool>,
    /// Count input tokens as the model sees them, by its own chat template.
    ///
    /// Synthetic prompts are shorter by what that adds. Needs a tokenizer that comes with a template.
    #[arg(long)]
    pub apply_chat_template: Sourced<bool>,
}
}

section! {
/// What is written and shown.
pub struct Output {
    /// Folder of all files of the run.
    ///
    /// [default: artifacts/MODEL-openai-TYPE-concurrencyN]
    #[arg(long, visible_alias = "output-artifact-dir", value_name = "FOLDER")]
    pub artifact_dir: Option<Sourced<PathBuf>>,
    /// Name of the exports: NAME.json, NAME.csv, NAME.jsonl, NAME_raw.jsonl, ...
    #[arg(long, visible_alias = "profile-export-file", value_name = "NAME")]
    pub profile_export_prefix: Option<Sourced<String>>,
    /// How much is written.
    ///
    /// Credentials in headers are hidden. Raw keeps whole answers in memory until they are written.
    #[arg(long, visible_alias = "profile-export-level", value_name = "LEVEL", default_value = "records")]
    pub export_level: Sourced<ExportLevel>,
    /// Duration behind rates.
    #[arg(long, value_name = "WINDOW", default_value = "benchmark")]
    pub rate_window: Sourced<RateWindowName>,
    /// Goodput SLOs as metric:limit pairs, in one argument.
    ///
    /// In the units of the console: "time_to_first_token:370 inter_token_latency:20". A request is
    /// good if it keeps all of them; goodput is good requests per second. A latency may not be above
    /// its limit, a throughput or a length not below. docs/METRICS.md has the tags; one that means
    /// nothing in this run is refused, and those that can be used are listed.
    #[arg(long, value_name = "PAIRS")]
    pub goodput: Option<Sourced<String>>,
    /// Also report every metric per time slice of this many seconds.
    ///
    /// From the first request on, in two files (…_timeslices.csv and .json). A request belongs to
    /// the slice in which it started.
    #[arg(long, value_name = "SECONDS")]
    pub slice_duration: Option<Sourced<Seconds>>,
    /// Requests of a phase that are kept exactly; 0 keeps all.
    ///
    /// Beyond, percentiles have three digits and curves are averages of 0.1 s, so that memory stays
    /// flat; averages, sums and extremes stay exact. Slices keep everything.
    #[arg(long, value_name = "REQUESTS", default_value_t = exact_records())]
    pub exact_records: Sourced<Whole>,
    /// Put `trace_data` into the line of each request (docs/FILES.md).
    ///
    /// The connection's ends, both heads, and the time and size of every write and read.
    #[arg(long)]
    pub export_http_trace: Sourced<bool>,
    /// GPUs that the server runs on, for throughput per GPU.
    ///
    /// On the console and under `per_gpu` in the summary.
    #[arg(long, value_name = "GPUS")]
    pub num_gpus: Option<Sourced<Count>>,
    /// Show beside the figures what the client adds, from this file of `pinfire calibrate`.
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<Sourced<PathBuf>>,
    /// Print the table of HTTP times as well.
    #[arg(long)]
    pub show_trace_timing: Sourced<bool>,
    /// What is printed at the end. [default: headline on a terminal, else full]
    #[arg(long, value_name = "WHAT")]
    pub console: Option<Sourced<ConsoleKind>>,
    /// Print nothing but the headline: outcome, latencies, throughput.
    #[arg(long, conflicts_with = "console")]
    pub quiet: Sourced<bool>,
    /// How progress is shown. [default: dashboard on a terminal, else none]
    #[arg(long, visible_alias = "ui-type", value_name = "UI")]
    pub ui: Option<Sourced<UiKind>>,
    /// Print messages of this level and above. [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<Sourced<LogLevel>>,
    /// Same as --log-level debug, with a bar instead of the dashboard.
    #[arg(long)]
    pub verbose: Sourced<bool>,
    /// Same as --log-level trace, with a bar instead of the dashboard.
    #[arg(long)]
    pub extra_verbose: Sourced<bool>,
    /// Print a block of statistics every this many seconds; 0 prints none.
    ///
    /// On standard error. Under the dashboard, which is always current, they come after the run.
    /// [default: 30; with the dashboard none]
    #[arg(long, value_name = "SECONDS")]
    pub stats_interval: Option<Sourced<Interval>>,
}
}

fn exact_records() -> Sourced<Whole> {
    Sourced {
        value: Whole::new(EXACT_RECORDS),
        source: crate::source::Source::Default,
    }
}

section! {
/// What is measured beside the requests.
pub struct Watch {
    /// Prometheus metrics to scrape, besides those of the servers under --url.
    ///
    /// Those are scraped anyway (behind the URL and at its root). http://host:port[/path], several
    /// by comma or blank.
    #[arg(long, value_name = "URL", num_args = 1.., value_delimiter = ',')]
    pub server_metrics: Vec<Sourced<Url>>,
    /// Disable server metrics.
    #[arg(long)]
    pub no_server_metrics: Sourced<bool>,
    /// Forms in which the servers' metrics are written. [default: json csv]
    ///
    /// jsonl has a line per scrape, as it comes.
    #[arg(long, value_name = "FORMAT", num_args = 1.., value_delimiter = ',')]
    pub server_metrics_formats: Vec<Sourced<MetricsFormat>>,
    /// Which metrics of an unknown server mean running, waiting, aborted: a JSON file.
    ///
    /// Also KV cache in use; docs/SERVER-METRICS.md has its form.
    #[arg(long, value_name = "FILE")]
    pub release_profile: Option<Sourced<PathBuf>>,
    /// DCGM exporters, besides localhost:9400 and :9401, which are tried anyway.
    #[arg(long, value_name = "URL", num_args = 0.., value_delimiter = ',', default_missing_value = "")]
    pub gpu_telemetry: Vec<Sourced<Url>>,
    /// Disable GPU telemetry.
    #[arg(long)]
    pub no_gpu_telemetry: Sourced<bool>,
    /// Serve the run's own figures while it goes on, for Prometheus, at http://ADDRESS/metrics.
    ///
    /// ADDRESS:PORT, or :PORT for all addresses of this machine; port 0 takes a free one, and says
    /// which. Nobody is asked for a password. docs/PROMETHEUS.md has the metrics.
    #[arg(long, value_name = "ADDRESS")]
    pub prometheus_listen: Option<Sourced<ListenAddress>>,
    /// Wait this long, after the last run, for the scrape that takes the final figures.
    ///
    /// [default: 30 if the page was scraped before, else 0]
    #[arg(long, value_name = "SECONDS")]
    pub prometheus_linger: Option<Sourced<Interval>>,
}
}

section! {
/// Several runs, one after the other. What is swept are lists of values at the flags that take them.
pub struct Sweep {
    /// How the lists of several flags are combined. [default: grid]
    ///
    /// A list such as --concurrency 10,50,100 runs every value; these flags take one: --concurrency,
    /// --request-rate, --request-count, --benchmark-duration, --num-conversations, --num-users,
    /// --prefill-concurrency, --isl, --osl (and -stddev), --session-turns-mean,
    /// --request-cancellation-rate (0 for none), --request-cancellation-delay.
    #[arg(long, value_name = "TYPE")]
    pub sweep_type: Option<Sourced<SweepType>>,
    /// Order of the runs, with several of each point. [default: repeated]
    #[arg(long, value_name = "MODE")]
    pub parameter_sweep_mode: Option<Sourced<SweepOrder>>,
    /// Pause between points. [default: 0]
    #[arg(long, value_name = "SECONDS")]
    pub parameter_sweep_cooldown_seconds: Option<Sourced<Pause>>,
    /// Give all points the same seed. [default: point i has the base seed plus i]
    #[arg(long)]
    pub parameter_sweep_same_seed: Option<Sourced<bool>>,
    /// Do not show the table of points at the end; the files are written all the same.
    #[arg(long)]
    pub no_sweep_table: Option<Sourced<bool>>,
    /// Repeat each point this many times. [default: 1]
    ///
    /// The mean is shown with its confidence interval.
    #[arg(long, value_name = "RUNS")]
    pub num_profile_runs: Option<Sourced<Count>>,
    /// Stop before --num-profile-runs as soon as the runs of a point agree on this metric.
    ///
    /// A tag of the files or a short name such as ttft, itl, latency, tps. All runs of a point are
    /// made before the next point.
    #[arg(long, value_name = "METRIC")]
    pub convergence_metric: Option<Sourced<String>>,
    /// Statistic of that metric: avg, p99, min, ... [default: avg]
    #[arg(long, value_name = "STAT")]
    pub convergence_stat: Option<Sourced<String>>,
    /// Convergence criterion. [default: ci_width]
    #[arg(long, value_name = "MODE")]
    pub convergence_mode: Option<Sourced<ConvergenceMode>>,
    /// Threshold of the criterion, between 0 and 1.
    ///
    /// [default: 0.1 of ci_width, 0.05 of the others]
    #[arg(long, value_name = "SHARE")]
    pub convergence_threshold: Option<Sourced<Share>>,
    /// Minimum number of runs. [default: 2]
    ///
    /// Two runs can agree by chance; three seldom do.
    #[arg(long, value_name = "RUNS")]
    pub convergence_min_runs: Option<Sourced<Count>>,
    /// Pause between runs of one point. [default: 0]
    #[arg(long, value_name = "SECONDS")]
    pub profile_run_cooldown_seconds: Option<Sourced<Pause>>,
    /// Level of confidence intervals. [default: 0.95]
    #[arg(long, value_name = "SHARE")]
    pub confidence_level: Option<Sourced<Share>>,
    /// Warm up before the first run of each point only. [default: true]
    #[arg(long)]
    pub profile_run_disable_warmup_after_first: Option<Sourced<bool>>,
    /// Take 42 as the base seed without --random-seed, as AIPerf does.
    ///
    /// [default: it is drawn and printed]
    #[arg(long)]
    pub set_consistent_seed: Option<Sourced<bool>>,
    /// Give the runs of one point different seeds, so that none meets the cache of another.
    ///
    /// [default: only where the seed was drawn]
    #[arg(long)]
    pub vary_seed_per_trial: Option<Sourced<bool>>,
    /// SLO of a point, METRIC[.STAT]<=LIMIT; repeatable.
    ///
    /// Also <, >= and >, in the metric's unit, such as ttft.p99<=500 (milliseconds), error_rate<=1
    /// (percent) or tps>=1000. Points that meet it and points that do not are told apart. METRIC is
    /// a tag of the files or one of ttft, itl, tpot, latency, tps, rps, tps_user, error_rate,
    /// goodput.
    #[arg(long, value_name = "RULE")]
    pub slo: Vec<Sourced<String>>,
    /// Find the highest load that still meets --slo: FLAG:LOW,HIGH.
    ///
    /// Or, with --goodput, at which 95 % of the requests are good. FLAG is one of concurrency,
    /// request-rate, num-users, prefill-concurrency, such as concurrency:1,512. The load grows
    /// fourfold until it fails, then the boundary is bisected, then confirmed. Without
    /// --request-count and the like a point has 10 requests per stream or 10 seconds of its rate,
    /// 100 requests at least.
    #[arg(long, value_name = "FLAG:LOW,HIGH")]
    pub search: Option<Sourced<String>>,
    /// How close the boundary has to be, as a share of the load that fails. [default: 0.05]
    #[arg(long, value_name = "SHARE")]
    pub search_tolerance: Option<Sourced<Share>>,
    /// How often the boundary is run again, on both of its sides. [default: 1]
    #[arg(long, value_name = "RUNS")]
    pub search_confirmations: Option<Sourced<Whole>>,
    /// Maximum number of search runs. [default: 30]
    #[arg(long, value_name = "RUNS")]
    pub search_max_iterations: Option<Sourced<Count>>,
}
}

section! {
/// One run that several processes make.
pub struct Shards {
    /// This process is number I, from 0, of N that make the run together, such as 0/4.
    ///
    /// All take the same flags, --random-seed among them, and each sends its share of the one schedule:
    /// together what one process would send. The files are in the folder shard-000I of
    /// --artifact-dir; `pinfire report` takes that folder as one run.
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Sourced<ShardOf>>,
    /// So many processes make the run together, and the platform says which of them this is.
    ///
    /// By JOB_COMPLETION_INDEX (Kubernetes), SLURM_PROCID, OMPI_COMM_WORLD_RANK, PMI_RANK or PMIX_RANK.
    /// `auto` takes the number of processes from the platform too.
    #[arg(long, value_name = "N|auto")]
    pub shards: Option<Sourced<ShardCount>>,
    /// The leader, through which all shards begin at one instant and stop together (HOST or HOST:PORT).
    ///
    /// It runs in shard 0, or alone with --leader-only. Settings, seed and id of the run are the leader's;
    /// credentials do not travel. PINFIRE_JOIN_TOKEN is a secret that all of them must know. Without this
    /// flag, Slurm says where it is, or under MPI a file in the run's folder; elsewhere each shard runs by
    /// itself. [default port: 7711]
    #[arg(long, value_name = "HOST")]
    pub join: Option<Sourced<String>>,
    /// Lead the shards and send nothing from here.
    #[arg(long)]
    pub leader_only: Sourced<bool>,
    /// Seconds to wait until all shards have joined.
    #[arg(long, value_name = "SECONDS", default_value = "300")]
    pub join_timeout: Sourced<Seconds>,
    /// Seconds of silence after which a shard, or the leader, is lost.
    #[arg(long, value_name = "SECONDS", default_value = "3")]
    pub shard_timeout: Sourced<Seconds>,
    /// What a lost shard means for the others. The run is incomplete in any case.
    #[arg(long, value_name = "DEED", default_value = "stop")]
    pub on_shard_loss: Sourced<ShardLoss>,
}
}

section! {
/// How requests are sent.
pub struct Engine {
    /// CPUs that send and receive: a number, or a list such as 2,4-7 (one CPU: 3,).
    ///
    /// Each gets one pinned thread. [default: all but one, at least one]
    #[arg(long, value_name = "COUNT|LIST")]
    pub cores: Option<Sourced<Cores>>,
    /// Kernel interface.
    #[arg(long, value_name = "DRIVER", default_value = "auto")]
    pub io_driver: Sourced<IoDriver>,
    /// How deadlines are met.
    #[arg(long, value_name = "MODE", default_value = "lead")]
    pub timer_precision: Sourced<TimerPrecision>,
    /// Timestamps of received data: the kernel's, or the engine's own.
    ///
    /// The kernel's are right even when the engine is late. Sockets in the file system have none.
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    pub receive_stamps: Sourced<ReceiveStamps>,
    /// Ask for real-time priority (SCHED_FIFO) on the engine's CPUs.
    ///
    /// A warning says so if it is refused.
    #[arg(long)]
    pub realtime: Sourced<bool>,
}
}
