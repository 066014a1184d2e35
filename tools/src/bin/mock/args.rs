//! Flags of pinfire-mock, and the script they describe.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use pinfire_base::clock::Span;
use pinfire_tools::gateway::Mode;
use pinfire_tools::mock::{
    CounterLife, FaultRule, Framing, HeadTime, LeakOn, LineEnd, Precision, Release, RoleTime,
    Script,
};

/// A scripted OpenAI-style inference server that writes every token at an exact instant and logs
/// what it saw.
///
/// Endpoints: POST /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages (Anthropic),
/// /generate and /generate_stream, /v1/embeddings, /v1/ranking, /v2/rerank and /rerank, each
/// answered in its own form, any other path as a chat; GET /v1/models, /metrics (under vLLM's
/// names) and /health. One thread, one processor. Runs until SIGINT or SIGTERM.
#[derive(Parser, Debug)]
#[command(name = "pinfire-mock", version)]
pub struct Args {
    /// Where to listen; port 0 takes a free one, which is printed.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,
    /// Also speak TLS, on the same port, with the certificates in this PEM file.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The key of --tls-cert, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Also listen on a socket in the file system; a thread per connection hands its bytes on, so
    /// it is for trying a client, not for measuring one.
    #[arg(long, value_name = "PATH")]
    pub unix: Option<PathBuf>,
    /// Run the server's thread on this processor only.
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
    /// Log every request to this file, one line of JSON each, with the server's own times.
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// How due times are met: `sleep` is 20-90 µs late and costs next to nothing, `lead` wakes
    /// 100 µs early and polls, `spin` never sleeps.
    #[arg(long, value_enum, default_value = "lead", help_heading = "Timing")]
    pub precision: PrecisionArg,
    /// From the whole request to its first token.
    #[arg(long, value_name = "MS", default_value = "20", value_parser = millis, help_heading = "Timing")]
    pub ttft: Span,
    /// From one token to the next. Token i is due at ttft + i*itl after the request, however late
    /// the tokens before it were.
    #[arg(long, value_name = "MS", default_value = "5", value_parser = millis, help_heading = "Timing")]
    pub itl: Span,
    /// Move every due time by up to this fraction of its gap, either way.
    #[arg(
        long,
        value_name = "FRACTION",
        default_value = "0",
        help_heading = "Timing"
    )]
    pub jitter: f64,
    /// Seed of the jitter and of faults given as a share; the same requests meet the same fate.
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Timing")]
    pub seed: u64,
    /// Same as --ttft 0 --itl 0: the whole answer in one write, as fast as this server can be.
    #[arg(long, help_heading = "Timing")]
    pub instant: bool,
    /// From the whole request to a non-streaming answer [default: the time a stream would take].
    #[arg(long, value_name = "MS", value_parser = millis, help_heading = "Timing")]
    pub latency: Option<Span>,
    /// Output tokens of an answer; a request that asks for fewer gets fewer.
    #[arg(long, value_name = "N", default_value = "64", help_heading = "Answer")]
    pub tokens: u32,
    /// The first so many tokens are reasoning (chat, responses, messages).
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Answer")]
    pub reasoning_tokens: u32,
    /// The last so many tokens are the arguments of a tool call (chat, responses, messages).
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Answer")]
    pub tool_tokens: u32,
    /// Answer with --tokens tokens whatever max_completion_tokens or max_tokens says.
    #[arg(long, help_heading = "Answer")]
    pub ignore_max: bool,
    /// The model's name in answers.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "mock",
        help_heading = "Answer"
    )]
    pub model: String,
    /// Tokens in one content event.
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Stream")]
    pub tokens_per_event: u32,
    /// Content events in one write, due when the first of them is.
    #[arg(long, value_name = "K", default_value = "1", help_heading = "Stream")]
    pub events_per_write: u32,
    /// Cut every write of events into this many pieces.
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Stream")]
    pub pieces: u32,
    /// From one piece to the next.
    #[arg(long, value_name = "MS", default_value = "0", value_parser = millis, help_heading = "Stream")]
    pub piece_gap: Span,
    /// Line ends of the event stream.
    #[arg(long, value_enum, default_value = "lf", help_heading = "Stream")]
    pub line_end: LineEndArg,
    /// A comment (`: keep-alive`) before every n-th content event; 0 for none.
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Stream")]
    pub comment_every: u32,
    /// Framing of the stream: a chunk per event, a chunk per write, or none (until close).
    #[arg(
        long,
        value_enum,
        default_value = "chunk-per-event",
        help_heading = "Stream"
    )]
    pub framing: FramingArg,
    /// When the response head leaves.
    #[arg(long, value_enum, default_value = "at-once", help_heading = "Stream")]
    pub head: HeadArg,
    /// Let the head of an answer that comes whole leave after this share of the time to the answer,
    /// 0 to 1 [default: with the answer].
    #[arg(long, value_name = "SHARE", help_heading = "Answer")]
    pub whole_head: Option<f64>,
    /// When the event that only carries the role leaves (chat).
    #[arg(
        long,
        value_enum,
        default_value = "with-first",
        help_heading = "Stream"
    )]
    pub role: RoleArg,
    /// Something that goes wrong, and for which requests; may be given several times, the first
    /// that applies counts. WHEN is 1/N (every N-th request) or a share such as 0.05. KIND is a
    /// status (400-599), reset-head, reset-after:K, cut-after:K (an orderly close in mid-body),
    /// stall-head, stall-after:K, garbage, bad-json:K (in event K), error-data:K, error-event:K,
    /// empty (200, no body) or no-tokens, with K counting content events.
    #[arg(long, value_name = "KIND@WHEN", help_heading = "Faults")]
    pub fault: Vec<FaultRule>,
    /// Close a connection that has been idle this long after an answer, unannounced.
    #[arg(long, value_name = "MS", value_parser = millis, help_heading = "Faults")]
    pub idle_close: Option<Span>,
    /// Close a connection after this many answers, unannounced.
    #[arg(long, value_name = "N", help_heading = "Faults")]
    pub requests_per_connection: Option<u32>,
    /// Leave new connections in the backlog this long before accepting them.
    #[arg(long, value_name = "MS", default_value = "0", value_parser = millis, help_heading = "Faults")]
    pub accept_delay: Span,
    /// Serve this many requests at a time; the others wait in order of arrival
    /// [default: no limit].
    #[arg(long, value_name = "N", help_heading = "Capacity")]
    pub slots: Option<u32>,
    /// Also play an exporter of GPU metrics (DCGM) at this address, port 0 for a free one: GPU i
    /// draws 100·(i+1) W all the time.
    #[arg(long, value_name = "ADDR:PORT", help_heading = "GPUs")]
    pub dcgm: Option<SocketAddr>,
    /// GPUs of --dcgm.
    #[arg(
        long,
        value_name = "N",
        default_value = "2",
        requires = "dcgm",
        help_heading = "GPUs"
    )]
    pub dcgm_gpus: u32,
    /// Every other request at the server, waiting ones included, makes the gaps between an answer's
    /// tokens longer by this share of --itl: with --slots, a server whose throughput rises, peaks
    /// and collapses.
    #[arg(
        long,
        value_name = "SHARE",
        default_value = "0",
        help_heading = "Capacity"
    )]
    pub crowding: f64,
    /// Tokens that the pretended cache holds, for vllm:kv_cache_usage_perc.
    #[arg(
        long,
        value_name = "N",
        default_value = "1000000",
        help_heading = "Capacity"
    )]
    pub cache_tokens: u64,
    /// What becomes of a slot whose client has left: free at-once, after:MS, never for one in N
    /// (leak:1/N) or for those that had no token yet (leak-before-token); with wedge:N the server
    /// answers nothing any more after N of them, with die:N it ends.
    #[arg(
        long,
        value_name = "HOW",
        default_value = "at-once",
        help_heading = "Cancels"
    )]
    pub release: Release,
    /// Never free the slot of a client that left so, whatever --release says: a list of conditions
    /// that are all met, such as headers,rst,whole. rst or fin: how it left; sent, headers or
    /// content: what had been sent to it by then; stream or whole: what it had asked for. With
    /// `headers` and not `stream`, heads of whole answers leave before them (--whole-head 0.75).
    #[arg(long, value_name = "LIST", help_heading = "Cancels")]
    pub leak_on: Option<LeakOn>,
    /// What vllm:request_success_total{finished_reason="abort"} counts: each cancel once (honest),
    /// none (zero, as vLLM 0.32 does for clients that leave) or each twice (doubled).
    #[arg(long, value_enum, default_value = "honest", help_heading = "Cancels")]
    pub abort_counter: AbortCounterArg,
    /// What the counters of ended requests and of tokens are like on /metrics: there from the start
    /// (steady), each series with its first event (late), or all of them again from 0, as after a
    /// restart of the server, with the N-th cancel (restart:N) or the N-th request that ends in any
    /// way (restart-after:N). Or the requests that were not cancelled are not counted (zero), or
    /// each of them twice (doubled).
    #[arg(
        long,
        value_name = "LIFE",
        default_value = "steady",
        help_heading = "Cancels"
    )]
    pub counters: CounterLife,
    /// Put an HTTP gateway in front, on a port of its own, that passes a client's disconnect on to
    /// the server at once (pass), so much later (late:2s), never (hold), never for a share of the
    /// requests, by their number (cache:1/10), or collects each answer before it sends any of it
    /// and looks for its client only then (buffer). Its own metrics are at /gateway/metrics, under
    /// the names of Dynamo's front end; /metrics through it are the server's.
    #[arg(long, value_name = "MODE", help_heading = "Gateway")]
    pub gateway: Option<Mode>,
    /// Where the gateway listens; port 0 takes a free one, which is printed.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:0",
        requires = "gateway",
        help_heading = "Gateway"
    )]
    pub gateway_listen: SocketAddr,
    /// Log what became of every request at the gateway to this file, one line of JSON each: when
    /// its client left, when the server was let go, how many tokens were made and how many reached
    /// the client.
    #[arg(
        long,
        value_name = "FILE",
        requires = "gateway",
        help_heading = "Gateway"
    )]
    pub gateway_truth: Option<PathBuf>,
    /// Write on when the client has closed its sending half, as a server does that looks for a
    /// client only when it reads.
    #[arg(long, help_heading = "Cancels")]
    pub half_open: bool,
}

impl Args {
    /// The script that the flags describe.
    pub fn script(&self) -> Script {
        let gap = |span| if self.instant { Span::ZERO } else { span };
        Script {
            tls: None,
            ttft: gap(self.ttft),
            itl: gap(self.itl),
            tokens: self.tokens,
            reasoning_tokens: self.reasoning_tokens,
            tool_tokens: self.tool_tokens,
            ignore_max: self.ignore_max,
            jitter: self.jitter,
            seed: self.seed,
            tokens_per_event: self.tokens_per_event,
            events_per_write: self.events_per_write,
            pieces: self.pieces,
            piece_gap: self.piece_gap,
            line_end: match self.line_end {
                LineEndArg::Lf => LineEnd::Lf,
                LineEndArg::Crlf => LineEnd::CrLf,
                LineEndArg::Cr => LineEnd::Cr,
            },
            comment_every: self.comment_every,
            framing: match self.framing {
                FramingArg::ChunkPerEvent => Framing::ChunkPerEvent,
                FramingArg::ChunkPerWrite => Framing::ChunkPerWrite,
                FramingArg::UntilClose => Framing::UntilClose,
            },
            head: match self.head {
                HeadArg::AtOnce => HeadTime::AtOnce,
                HeadArg::WithFirst => HeadTime::WithFirst,
            },
            whole_head: self.whole_head.or_else(|| {
                let early = self.leak_on.is_some_and(LeakOn::needs_early_head);
                early.then_some(EARLY_HEAD)
            }),
            leak_on: self.leak_on,
            role: match self.role {
                RoleArg::WithFirst => RoleTime::WithFirst,
                RoleArg::WithHead => RoleTime::WithHead,
                RoleArg::Never => RoleTime::Never,
            },
            latency: self.latency,
            faults: self.fault.clone(),
            idle_close: self.idle_close,
            requests_per_connection: self.requests_per_connection,
            accept_delay: self.accept_delay,
            slots: self.slots,
            crowding: self.crowding,
            cache_tokens: self.cache_tokens,
            release: self.release,
            abort_counter: match self.abort_counter {
                AbortCounterArg::Zero => 0,
                AbortCounterArg::Honest => 1,
                AbortCounterArg::Doubled => 2,
            },
            counters: self.counters,
            half_open: self.half_open,
            precision: match self.precision {
                PrecisionArg::Sleep => Precision::Sleep,
                PrecisionArg::Lead => Precision::Lead,
                PrecisionArg::Spin => Precision::Spin,
            },
            model: self.model.clone(),
        }
    }
}

/// Late enough that who leaves half-way has seen no head.
const EARLY_HEAD: f64 = 0.75;

/// Reads milliseconds with fractions.
fn millis(text: &str) -> Result<Span, String> {
    match text.parse::<f64>() {
        Ok(millis) if (0.0..=1e9).contains(&millis) => Ok(Span::from_secs_f64(millis / 1e3)),
        _ => Err("expected milliseconds, such as 20 or 0.5".into()),
    }
}

/// `--precision`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PrecisionArg {
    /// 20-90 µs late
    Sleep,
    /// wake 100 µs early, then poll
    Lead,
    /// never sleep
    Spin,
}

/// `--abort-counter`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum AbortCounterArg {
    /// each cancel once
    Honest,
    /// never
    Zero,
    /// each cancel twice
    Doubled,
}

/// `--line-end`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LineEndArg {
    /// \n
    Lf,
    /// \r\n
    Crlf,
    /// \r
    Cr,
}

/// `--framing`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum FramingArg {
    /// chunked, one chunk per event
    ChunkPerEvent,
    /// chunked, one chunk per write
    ChunkPerWrite,
    /// not chunked, ended by the connection's end
    UntilClose,
}

/// `--head`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum HeadArg {
    /// as soon as the request is taken on
    AtOnce,
    /// in one write with the first event
    WithFirst,
}

/// `--role`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RoleArg {
    /// in one write with the first content event
    WithFirst,
    /// in one write with the head
    WithHead,
    /// not at all
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_hold_together_and_have_help() {
        let command = Args::command();
        command.clone().debug_assert();
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{}", arg.get_id());
        }
    }

    /// What the page says behind its last heading is the help; PINFIRE_WRITE_PAGES=1 writes it
    /// anew.
    #[test]
    fn every_flag_stands_on_the_page_of_the_mock() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/MOCK.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (text, _) = page.split_once("\n## pinfire-mock\n").unwrap();
        let help = Args::command()
            .term_width(100)
            .render_long_help()
            .to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        let help = lines.join("\n");
        let whole = format!(
            "{text}\n## pinfire-mock\n\n```text\n{}\n```\n",
            help.trim_end()
        );
        if std::env::var_os("PINFIRE_WRITE_PAGES").is_some() {
            std::fs::write(path, &whole).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap() == whole,
            "docs/MOCK.md is not what --help says; write it anew: \
             PINFIRE_WRITE_PAGES=1 cargo test -p pinfire-tools --bin pinfire-mock page"
        );
    }

    #[test]
    fn defaults_are_the_default_script() {
        let script = Args::parse_from(["pinfire-mock"]).script();
        assert_eq!(format!("{script:?}"), format!("{:?}", Script::default()));
    }
}
