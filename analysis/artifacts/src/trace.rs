//! `trace_data` of a line (`--export-http-trace`): the exchange as the connection saw it, on the
//! wall clock.

use serde::Serialize;

use crate::Ordered;

/// The exchange. Instants are Unix nanoseconds; what is not known is left out.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TraceData {
    /// Who wrote it.
    pub trace_type: &'static str,
    /// The first byte was handed to the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_send_start_ns: Option<u64>,
    /// The headers of the request, credentials hidden.
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "std::collections::BTreeMap<String, String>")
    )]
    pub request_headers: Ordered<String>,
    /// The head was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers_sent_ns: Option<u64>,
    /// When how many bytes of the body were written.
    pub request_chunks: Vec<(u64, u32)>,
    /// The last byte was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_send_end_ns: Option<u64>,
    /// How many writes.
    pub request_chunks_count: usize,
    /// Bytes of the body.
    pub request_bytes_total: u64,
    /// The status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_status_code: Option<u16>,
    /// Its reason phrase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_reason: Option<String>,
    /// The first byte of the body was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_receive_start_ns: Option<u64>,
    /// The headers of the answer, credentials hidden.
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "std::collections::BTreeMap<String, String>")
    )]
    pub response_headers: Ordered<String>,
    /// The head was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_headers_received_ns: Option<u64>,
    /// When how many bytes of the body were read.
    pub response_chunks: Vec<(u64, u32)>,
    /// How many reads.
    pub response_chunks_count: usize,
    /// Bytes of the body.
    pub response_bytes_total: u64,
    /// The last byte was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_receive_end_ns: Option<u64>,
    /// The request failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_timestamp_ns: Option<u64>,
    /// The connection was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_connect_start_ns: Option<u64>,
    /// The connection was there, TLS included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_connect_end_ns: Option<u64>,
    /// A connection was taken that was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_reused_ns: Option<u64>,
    /// Own address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_ip: Option<String>,
    /// Own port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_port: Option<u16>,
    /// The server's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<String>,
    /// The server's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_port: Option<u16>,
    /// Length of the sending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sending_ns: Option<u64>,
    /// From then to the first byte of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_ns: Option<u64>,
    /// From then to the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiving_ns: Option<u64>,
    /// All three.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ns: Option<u64>,
    /// Waiting for a connection: none.
    pub blocked_ns: u64,
    /// Resolving names: none during a run.
    pub dns_lookup_ns: u64,
    /// Connecting, TLS included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connecting_ns: Option<u64>,
    /// The share of TLS in `connecting_ns`; pinfire's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_handshake_ns: Option<u64>,
}
