//! `trace_data` of a line (`--export-http-trace`): the exchange as the connection saw it, on the
//! wall clock. What is not known is left out.
//!
//! pinfire resolves names before a run and waits for no pool, so that `dns_lookup_*` and
//! `connection_pool_wait_*` have no instants, and their durations are 0.

use std::net::SocketAddr;

use pinfire_artifacts::TraceData;
use pinfire_base::clock::Stamp;
use pinfire_base::record::{Capture, Outcome, Piece};

use super::message_heads;
use crate::metric::Request;

/// The object of a request whose connection was kept.
pub(super) fn of(request: &Request<'_>, capture: &Capture) -> TraceData {
    let record = request.record;
    let (times, wire) = (&record.times, &record.wire);
    let wall = |at: Stamp| request.anchor.unix_nanos(at);
    let chunk = |piece: Piece| (wall(piece.at), piece.bytes);
    let request_chunks: Vec<_> = capture.body_writes().map(chunk).collect();
    let response_chunks: Vec<_> = capture.reads.iter().copied().map(chunk).collect();
    let established = times.secured.or(times.connected);
    // A request that went to a new connection, or failed before it had one.
    let connects = !wire.reused;
    let ip = |end: Option<SocketAddr>| end.map(|end| end.ip().to_string());
    let port = |end: Option<SocketAddr>| end.map(|end| end.port());
    let duration = times.body_last.zip(times.send_start);
    TraceData {
        trace_type: "pinfire",
        request_send_start_ns: times.send_start.map(wall),
        request_headers: message_heads::headers(&capture.request_head),
        request_headers_sent_ns: capture.head_written().map(wall),
        request_chunks_count: request_chunks.len(),
        request_chunks,
        request_send_end_ns: times.written.map(wall),
        request_bytes_total: wire.body_sent,
        response_status_code: (wire.status > 0).then_some(wire.status),
        response_reason: message_heads::reason(&capture.response_head),
        response_receive_start_ns: times.body_first.map(wall),
        response_headers: message_heads::headers(&capture.response_head),
        response_headers_received_ns: times.head.map(wall),
        response_chunks_count: response_chunks.len(),
        response_chunks,
        response_bytes_total: wire.body_received,
        response_receive_end_ns: times.body_last.map(wall),
        error_timestamp_ns: matches!(record.outcome, Outcome::Failed(_)).then(|| wall(times.end)),
        tcp_connect_start_ns: connects.then(|| wall(times.start)),
        tcp_connect_end_ns: established.map(wall),
        connection_reused_ns: times.send_start.filter(|_| wire.reused).map(wall),
        local_ip: ip(capture.local),
        local_port: port(capture.local),
        remote_ip: ip(capture.remote),
        remote_port: port(capture.remote),
        sending_ns: request.sending(),
        waiting_ns: request.waiting(),
        receiving_ns: request.receiving(),
        duration_ns: duration.map(|(last, start)| last.since(start).nanos()),
        blocked_ns: 0,
        dns_lookup_ns: 0,
        connecting_ns: (wire.reused || established.is_some())
            .then(|| request.connecting())
            .flatten(),
        tls_handshake_ns: request.securing(),
    }
}
