//! One line of `profile_export_raw.jsonl`: what was sent and what came back, byte for byte, with
//! the stamp of each part. Stamps are those of the monotonic clock; `metadata` has the wall time.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ErrorDetails;
use crate::line::{Metadata, Verbatim, parts};

/// A part of an answer as it is read: an event of a stream, or the body.
#[derive(Clone, Debug, Deserialize)]
pub struct Response<'a> {
    /// When it was there.
    pub perf_ns: u64,
    /// The lines of an event.
    #[serde(borrow)]
    pub packets: Option<Vec<Packet<'a>>>,
    /// The body.
    #[serde(borrow)]
    pub text: Option<Cow<'a, str>>,
    /// A body that is no text, as JSON.
    #[serde(borrow)]
    pub raw_bytes: Option<&'a RawValue>,
}

/// A line of an event as it is read.
#[derive(Clone, Debug, Deserialize)]
pub struct Packet<'a> {
    /// The name of the field; `comment` of a comment.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Its value.
    #[serde(borrow)]
    pub value: Option<Cow<'a, str>>,
}

/// A part of an answer as it is written.
#[derive(Clone, Debug, Serialize)]
pub struct SentResponse {
    /// When it was there.
    pub perf_ns: u64,
    /// The lines of an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<Vec<SentPacket>>,
    /// The body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A body that is no text, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw_bytes: Option<String>,
    /// The body's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The rest of an answer that was cut off; pinfire's own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

/// A line of an event as it is written.
#[derive(Clone, Debug, Serialize)]
pub struct SentPacket {
    /// The name of the field; `comment` of a comment.
    pub name: String,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A line.
#[derive(Clone, Debug)]
pub struct RawLine<'a> {
    /// What is known of the request.
    pub metadata: Verbatim<'a, Metadata<'a>>,
    /// Its start on the clock of the parts.
    pub start_perf_ns: Option<u64>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// The parts of the answer.
    pub responses: Vec<Response<'a>>,
    /// What went wrong.
    pub error: Option<Verbatim<'a, ErrorDetails<'a>>>,
    /// The body of the request, as JSON.
    pub payload: Option<&'a str>,
}

impl<'a> RawLine<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// It is none; the text says why.
    pub fn read(line: &'a [u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            metadata: &'a RawValue,
            start_perf_ns: Option<u64>,
            status: Option<u16>,
            #[serde(borrow, default)]
            responses: Vec<Response<'a>>,
            #[serde(borrow)]
            error: Option<&'a RawValue>,
            #[serde(borrow)]
            payload: Option<&'a RawValue>,
        }
        let wire: Wire<'a> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let (metadata, error) = parts(wire.metadata, wire.error)?;
        Ok(Self {
            metadata,
            start_perf_ns: wire.start_perf_ns,
            status: wire.status,
            responses: wire.responses,
            error,
            payload: wire
                .payload
                .map(RawValue::get)
                .filter(|body| *body != "null"),
        })
    }
}
