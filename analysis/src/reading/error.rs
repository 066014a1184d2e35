//! The error of a request as the exports name it: code, type, message and cause.
//!
//! Reports group errors by (code, type, message), so a message is the same for every request with
//! the same problem. What differs between requests (offsets, byte counts, error numbers) goes into
//! the cause.

use std::borrow::Cow;
use std::io;

use pinfire_artifacts::ErrorDetails;
use pinfire_base::limits::ERROR_BODY_KEPT;
use pinfire_base::record::{Cancel, Failure, Record, Refusal, Stage, Trigger};
use pinfire_dialect::answer::{self, Reported, reported};
use pinfire_guard::{hidden, hidden_by_shape, hidden_cut, shown_url};
use serde_json::Value;

/// What went wrong with a request, in the exports' terms.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Problem {
    /// HTTP status or the like.
    pub code: Option<i64>,
    /// Name of the kind; those of AIPerf where it has one.
    pub kind: String,
    /// What happened, equal for equal problems.
    pub message: String,
    /// What differs from request to request.
    pub cause: Option<String>,
}

impl Problem {
    /// From a file; AIPerf leaves out what it does not know.
    pub fn of(details: &ErrorDetails<'_>) -> Self {
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
        Self {
            code: details.code,
            kind: text(&details.kind).unwrap_or_default(),
            message: text(&details.message).unwrap_or_default(),
            cause: text(&details.cause),
        }
    }

    /// As the files have it.
    pub fn details(&self) -> ErrorDetails<'_> {
        ErrorDetails {
            code: self.code,
            kind: Some(Cow::Borrowed(&self.kind)),
            message: Some(Cow::Borrowed(&self.message)),
            cause: self.cause.as_deref().map(Cow::Borrowed),
        }
    }
}

/// The server of a run as messages name it: `host:port`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Target(String);

impl Target {
    /// From the server addresses of a run. A record does not say which of several it went to.
    pub fn of_urls(urls: &[String]) -> Self {
        let hosts: Vec<&str> = urls.iter().map(|url| host_and_port(url)).collect();
        Self(hosts.join(" or "))
    }
}

/// The words of a server, which may repeat what it was sent.
fn heard(words: &str) -> String {
    hidden_by_shape(&hidden(words)).into_owned()
}

fn host_and_port(url: &str) -> &str {
    if url.starts_with("unix:") {
        return url;
    }
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    // Credentials in an address are not to be shown.
    authority.rsplit('@').next().unwrap_or(authority)
}

/// Too many open files of the process and of the system, no local port left (Linux).
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;
const EADDRNOTAVAIL: i32 = 99;
/// What connecting to a Unix socket says instead of waiting.
const EAGAIN: i32 = 11;

const SSE_ERROR: &str = "SSEResponseError";
const NO_RESULT: &str = "InvalidInferenceResultError";

impl Problem {
    fn new(code: Option<i64>, kind: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            kind: kind.to_owned(),
            message: message.into(),
            cause: None,
        }
    }

    fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// A status that is none of success, with the text of its body, and why that is not all of it.
    pub(super) fn of_refusal(record: &Record, body: &str, cut: Option<String>) -> Self {
        let status = record.wire.status;
        let reason = reason_phrase(status);
        let label = record.label.as_deref();
        let location = label.map_or("", |label| &*label.location);
        let is_binary = body.contains(['\0', char::REPLACEMENT_CHARACTER]);
        let message = if (300..400).contains(&status) && !location.is_empty() {
            let target = shown_url(location);
            format!("{reason} to {target}: redirects are not followed")
        } else if body.is_empty() || is_binary {
            reason.to_owned()
        } else if cut.is_some() || body.len() >= ERROR_BODY_KEPT {
            hidden_by_shape(&hidden_cut(body)).into_owned()
        } else {
            heard(body)
        };
        let problem = Self::new(Some(status.into()), reason, message);
        match cut {
            Some(cut) => problem.because(cut),
            None if is_binary => problem.coded(record),
            None => problem,
        }
    }

    /// With the coding of the body in the cause, if it has one.
    pub(super) fn coded(self, record: &Record) -> Self {
        let label = record
            .label
            .as_deref()
            .filter(|label| !label.coding.is_empty());
        let Some(label) = label else { return self };
        let coded = format!("the body is coded as {}", label.coding);
        let cause = match &self.cause {
            Some(cause) => format!("{cause}; {coded}"),
            None => coded,
        };
        self.because(cause)
    }

    /// An error object in an event: the request failed, whatever status its head had.
    pub(super) fn in_stream(reported: Reported) -> Self {
        Self::new(
            Some(reported.code.unwrap_or(502)),
            SSE_ERROR,
            heard(&reported.message),
        )
    }

    /// An error object in place of a whole answer.
    pub(super) fn in_body(reported: Reported) -> Self {
        Self::new(reported.code, NO_RESULT, heard(&reported.message))
    }

    /// No content came; `message` says what came instead.
    pub(super) fn nothing(message: String, cause: String) -> Self {
        let problem = Self::new(None, NO_RESULT, message);
        if cause.is_empty() {
            problem
        } else {
            problem.because(cause)
        }
    }

    /// The server itself says that it broke the answer off.
    pub(super) fn aborted(reason: &str) -> Self {
        let message = format!("The answer was aborted by the server: finish_reason {reason}");
        Self::new(None, NO_RESULT, message)
    }

    pub(super) fn bad_times() -> Self {
        Self::new(None, NO_RESULT, "The response ended before it began")
    }

    /// A planned cancellation, as its JSONL line shows it.
    pub(super) fn cancelled(cancel: Option<Cancel>) -> Self {
        let delay = cancel.map_or(0.0, |c| c.delay.as_secs_f64());
        let event = match cancel.map(|c| c.trigger).unwrap_or_default() {
            Trigger::Connect => "its connection was made",
            Trigger::MidBody => "half of its body was sent",
            Trigger::Sent => "being sent",
            Trigger::Headers => "the response headers",
            Trigger::FirstToken => "its first token",
            // The count may differ from request to request, and reports group by the text.
            Trigger::Tokens(_) => "its tokens",
            Trigger::Patience => "its start without a token",
        };
        Self::new(
            Some(499),
            "RequestCancellationError",
            format!("Request cancelled {delay:.3}s after {event}"),
        )
    }

    /// What the connection of a record did.
    pub fn of_failure(record: &Record, failure: &Failure, target: &Target) -> Self {
        let problem = Self::of_connection(record, failure, target);
        match (failure, record.unreached.as_deref()) {
            (Failure::Connect { errno }, Some(unreached))
                if unreached.refusals.iter().any(|(_, other)| other == errno) =>
            {
                problem.of_all_addresses(&unreached.refusals, target)
            }
            (Failure::ConnectTimeout { securing: false }, Some(unreached)) => {
                problem.of_all_addresses(&unreached.refusals, target)
            }
            (Failure::Stale, _) => {
                let rested = record.wire.rested.as_secs_f64();
                problem.because(format!("the connection had rested for {rested:.3} s"))
            }
            _ => problem,
        }
    }

    /// No address of the server has taken a connection. They are named in their own order, whatever
    /// the one in which they were tried.
    fn of_all_addresses(self, refusals: &[Refusal], target: &Target) -> Self {
        let mut refusals = refusals.to_vec();
        refusals.sort_unstable();
        let each: Vec<String> = refusals
            .iter()
            .map(|(address, errno)| format!("{address} ({})", os_text(*errno)))
            .collect();
        let message = format!(
            "Cannot connect to host {}: none of its addresses takes a connection: {}",
            target.0,
            each.join(", ")
        );
        Self { message, ..self }
    }

    /// The same, as far as the failure itself tells it.
    fn of_connection(record: &Record, failure: &Failure, target: &Target) -> Self {
        let instead = record.label.as_ref().map_or("", |label| &*label.instead);
        match failure {
            Failure::Connect { errno } => connect(*errno, target),
            Failure::ConnectTimeout { securing } => {
                let what = if *securing {
                    "TLS handshake"
                } else {
                    "TCP connect"
                };
                let message = format!("Connection timeout to host {}: {what}", target.0);
                Self::new(None, "ConnectionTimeoutError", message)
            }
            Failure::HandshakeBroken { errno: 0 } => Self::new(
                None,
                "ClientConnectorSSLError",
                format!(
                    "Host {} closed the connection in the TLS handshake",
                    target.0
                ),
            ),
            Failure::HandshakeBroken { errno } => Self::new(
                None,
                "ClientConnectorSSLError",
                format!(
                    "{} in the TLS handshake with host {}",
                    os_text(*errno),
                    target.0
                ),
            )
            .because(os_cause(*errno)),
            Failure::Tls { reason } => {
                // How long a certificate has been out of date differs from request to request.
                let constant = reason.split(": verification time").next().unwrap_or(reason);
                let message = format!("TLS with host {} failed: {constant}", target.0);
                let kind = if reason.contains("certificate") {
                    "ClientConnectorCertificateError"
                } else {
                    "ClientConnectorSSLError"
                };
                Self::new(None, kind, message).because(&**reason)
            }
            Failure::Send { errno } => Self::new(
                None,
                "ClientOSError",
                format!("Writing the request failed: {}", os_text(*errno)),
            )
            .because(os_cause(*errno)),
            Failure::Stale => Self::new(
                None,
                "KeepAliveRaceError",
                "Keep-alive race: the server closed the reused connection as the request went out; \
                 requests are never sent twice",
            ),
            Failure::NoResponse => Self::new(
                None,
                "ServerDisconnectedError",
                "Server disconnected without a response",
            ),
            Failure::Reset { errno } => Self::new(
                None,
                "ClientOSError",
                format!("{} before the response head was whole", os_text(*errno)),
            )
            .because(os_cause(*errno)),
            Failure::TruncatedHead => {
                let message = "Server disconnected in the middle of the response head";
                let problem = Self::new(None, "ServerDisconnectedError", message);
                match instead {
                    "" => problem,
                    _ => problem.because(format!("what came begins: {instead}")),
                }
            }
            Failure::TruncatedBody { body_bytes, errno } => {
                let (how, cause) = match errno {
                    0 => ("Server disconnected".to_owned(), String::new()),
                    _ => (os_text(*errno), format!("; {}", os_cause(*errno))),
                };
                let message = format!("Response payload is not completed: {how}");
                Self::new(None, "ClientPayloadError", message)
                    .because(format!("{body_bytes} body bytes had arrived{cause}"))
            }
            Failure::Framing { offset, cause } => {
                let place = format!("at byte {offset} of the response");
                let problem =
                    |but: &str| Self::new(None, "ClientResponseError", format!("{cause}{but}"));
                match instead {
                    "" => problem("").because(place),
                    _ => problem(protocol(instead))
                        .because(format!("{place}, which begins: {instead}")),
                }
            }
            Failure::UnannouncedClose => Self::new(
                None,
                "ClientPayloadError",
                "Response payload is not completed: the connection was closed without the \
                 close_notify of TLS, and nothing else ends this answer",
            ),
            Failure::Timeout {
                stage: Stage::Sending,
            } => Self::new(
                Some(0),
                "RequestSendTimeout",
                "The request could not be written in time",
            ),
            Failure::Timeout { stage } => Self::new(
                None,
                "TimeoutError",
                format!(
                    "The time limit of the request passed while {}",
                    stage.name()
                ),
            ),
            other => Self::new(None, "ClientError", format!("{other:?}")),
        }
    }

    /// Whether the server says that the prompt is too long for the model.
    pub fn is_context_overflow(&self) -> bool {
        const SIGNS: [&str; 4] = [
            "context length",
            "maximum context",
            "context_length_exceeded",
            "prompt is too long",
        ];
        let message = self.message.to_lowercase();
        SIGNS.iter().any(|sign| message.contains(sign))
    }
}

fn connect(errno: i32, target: &Target) -> Problem {
    let plain = match errno {
        EADDRNOTAVAIL => {
            "no local port is left; give more local addresses (--source-ip 127.0.0.2-127.0.0.9), \
             each has its own ports, or widen net.ipv4.ip_local_port_range"
                .to_owned()
        }
        EMFILE => "no file descriptor is left in this process; raise `ulimit -n`".to_owned(),
        EAGAIN => "the accept queue of the Unix socket is full".to_owned(),
        ENFILE => "no file descriptor is left on this machine; raise fs.file-max".to_owned(),
        _ => os_text(errno),
    };
    let message = format!("Cannot connect to host {}: {plain}", target.0);
    Problem::new(None, "ClientConnectorError", message).because(os_cause(errno))
}

/// The system's words for an error number: `Connection refused`.
pub(crate) fn os_text(errno: i32) -> String {
    let text = os_cause(errno);
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// Which other protocol speaks, by how its bytes begin in ASCII with escapes.
fn protocol(begin: &str) -> &'static str {
    match begin {
        _ if begin.starts_with(r"\x15\x03") || begin.starts_with(r"\x16\x03") => {
            " but TLS: the URL wants https"
        }
        // An empty or small frame of settings, on stream 0.
        _ if begin.starts_with(r"\x00\x00") && begin.contains(r"\x04\x00\x00\x00\x00\x00") => {
            " but HTTP/2: pinfire speaks HTTP/1.1"
        }
        _ if begin.starts_with("SSH-") => " but SSH: the port is another service's",
        _ => "",
    }
}

fn os_cause(errno: i32) -> String {
    io::Error::from_raw_os_error(errno).to_string()
}

/// The error of an event named `error`, or of one with such a field: the text of a comment, else of
/// its data, else the lines. An event that consists of its name alone says nothing.
pub(super) fn of_event(lines: &[u8]) -> Option<Problem> {
    let text = String::from_utf8_lossy(lines);
    let fields: Vec<(&str, &str)> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.split_once(':').unwrap_or((line, "")))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let field = |wanted: &str| {
        let mut found = fields.iter().filter(|(name, _)| *name == wanted);
        found
            .find(|(_, value)| !value.is_empty())
            .map(|(_, value)| *value)
    };
    if let Some(value) = field("error") {
        let said = said_in(value);
        let (code, message) = said.unwrap_or_else(|| (None, value.to_owned()));
        return Some(Problem::new(Some(code.unwrap_or(502)), SSE_ERROR, message));
    }
    if fields.len() < 2 {
        return None;
    }
    let data: Vec<&str> = fields
        .iter()
        .filter(|(name, _)| *name == "data")
        .map(|(_, value)| *value)
        .collect();
    let data = data.join("\n");
    let said = field("").map(|comment| (None, comment.to_owned()));
    let (code, message) = said
        .or_else(|| said_in(&data))
        .or_else(|| Some((None, data.trim().to_owned())).filter(|(_, data)| !data.is_empty()))
        .unwrap_or_else(|| {
            let event = format!("The server sent an error event: {}", text.trim());
            (None, event)
        });
    Some(Problem::new(Some(code.unwrap_or(502)), SSE_ERROR, message))
}

/// Number and text of an error that is written as JSON, wherever it has them.
fn said_in(text: &str) -> Option<(Option<i64>, String)> {
    let document = answer::parse(text.as_bytes())?;
    let said = reported(&document).map(|said| (said.code, said.message));
    said.or_else(|| {
        let message = document.get("message")?.as_str()?.to_owned();
        Some((document.get("code").and_then(Value::as_i64), message))
    })
}

/// The standard phrase of a status: the engine keeps the number only.
pub(super) fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Entity",
        424 => "Failed Dependency",
        425 => "Too Early",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        _ => "HTTP Error",
    }
}
