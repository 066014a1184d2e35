//! The rows. Sections as in the specification: what users ask for first, then counts and rates,
//! what the server reported, HTTP timings, and the view from the schedule.

use super::Unit::{
    Bytes, Count, Kilobytes, Milliseconds, Nanoseconds, Percent, Ratio, Requests,
    RequestsPerSecond, Seconds, Tokens, TokensPerSecond, TokensPerSecondPerUser,
};
use super::{Flags, Group, Metric, Of, Over, Place, Request, Unit, curve};
use crate::reading::Verdict;

const NONE: Flags = Flags::NONE;
const OT: Flags = Flags::OUTPUT_TOKENS;
const IT: Flags = Flags::INPUT_TOKENS;
const UD: Flags = Flags::CLIENT_COUNTS;
const CANCELS: Flags = Flags::CANCELLATION;
const ST_OT: Flags = Flags::STREAMING.and(OT);
const ST_OT_IT: Flags = ST_OT.and(IT);
const OT_IT: Flags = OT.and(IT);
const OT_UD: Flags = OT.and(UD);
const IT_UD: Flags = IT.and(UD);
const OT_IT_UD: Flags = OT_IT.and(UD);

const LB: Flags = Flags::LARGER_IS_BETTER;
const NJ: Flags = Flags::NOT_PER_RECORD;
const IN: Flags = Flags::INTERNAL;
const LB_NJ: Flags = LB.and(NJ);
const IN_NJ: Flags = IN.and(NJ);

const FILES: Place = Place::Files;

const fn main(order: u16) -> Place {
    Place::Table(Group::Default, Some(order))
}

const fn usage(order: u16) -> Place {
    Place::Table(Group::Usage, Some(order))
}

const EFFECTIVE: Place = Place::Table(Group::Effective, None);

/// A row without marks over valid records; the rest is said with the methods below.
const fn metric(
    tag: &'static str,
    name: &'static str,
    (unit, shown): (Unit, Unit),
    of: Of,
    place: Place,
    doc: &'static str,
) -> Metric {
    Metric {
        tag,
        name,
        unit,
        shown,
        of,
        over: Over::Valid,
        needs: NONE,
        marks: NONE,
        place,
        doc,
    }
}

impl Metric {
    const fn needs(mut self, needs: Flags) -> Self {
        self.needs = needs;
        self
    }

    const fn marks(mut self, marks: Flags) -> Self {
        self.marks = marks;
        self
    }

    const fn over(mut self, over: Over) -> Self {
        self.over = over;
        self
    }
}

const MS: (Unit, Unit) = (Nanoseconds, Milliseconds);
const NS: (Unit, Unit) = (Nanoseconds, Nanoseconds);
const SEC: (Unit, Unit) = (Nanoseconds, Seconds);
const KB: (Unit, Unit) = (Bytes, Kilobytes);
const TOKENS: (Unit, Unit) = (Tokens, Tokens);
const REQUESTS: (Unit, Unit) = (Requests, Requests);
const COUNT: (Unit, Unit) = (Count, Count);
const RATIO: (Unit, Unit) = (Ratio, Ratio);
const PCT: (Unit, Unit) = (Percent, Percent);
const TPS: (Unit, Unit) = (TokensPerSecond, TokensPerSecond);
const TPS_USER: (Unit, Unit) = (TokensPerSecondPerUser, TokensPerSecondPerUser);
const RPS: (Unit, Unit) = (RequestsPerSecond, RequestsPerSecond);

/// Every metric, in order of computation.
#[rustfmt::skip]
pub static METRICS: &[Metric] = &[
    // One request's latency and length.
    metric("time_to_first_token", "Time to First Token", MS, Of::Whole(|r| r.ttft()), main(100),
        "Start of the request to its first content of any kind, connecting included.")
        .needs(ST_OT),
    metric("time_to_second_token", "Time to Second Token", MS,
        Of::Whole(|r| Some(r.reading.content.get(1)?.at.since(r.reading.first()?).nanos())), main(200),
        "First to second content response.").needs(ST_OT),
    metric("time_to_first_output_token", "Time to First Output Token", MS,
        Of::Whole(|r| r.since_start(r.reading.content.iter().find(|c| c.output)?.at)), main(210),
        "Start to the first content response that is not reasoning alone.").needs(ST_OT),
    metric("request_latency", "Request Latency", MS, Of::Whole(|r| r.latency()), main(300),
        "Start to the last content response; usage and end marks come later and do not count."),
    metric("decode_duration", "Decode Duration", MS, Of::Whole(|r| r.decode()), main(350),
        "First to last content response.").needs(ST_OT),
    metric("inter_token_latency", "Inter Token Latency", MS, Of::Fraction(|r| r.itl()), main(400),
        "Decode duration per token after the first; absent below two tokens.").needs(ST_OT),
    metric("output_token_throughput_per_user", "Output Token Throughput Per User", TPS_USER,
        Of::Fraction(|r| r.itl().filter(|&itl| itl > 0.0).map(|itl| 1e9 / itl)), main(500),
        "Tokens per second that one user sees once the answer flows: 1 / inter token latency.")
        .needs(ST_OT).marks(LB),
    metric("e2e_output_token_throughput", "E2E Output Token Throughput", TPS_USER,
        Of::Fraction(|r| Request::per_second(r.osl()?, r.latency()?)), main(510),
        "Output tokens over the whole request latency.").needs(OT).marks(LB),
    metric("output_sequence_length", "Output Sequence Length", TOKENS, Of::Whole(|r| r.osl()), main(600),
        "Output and reasoning tokens of the answer.").needs(OT).marks(LB),
    metric("input_sequence_length", "Input Sequence Length", TOKENS, Of::Whole(|r| r.tokens.input), main(700),
        "Tokens of the body as sent, or as the server counted them.").needs(IT).marks(LB),
    metric("inter_chunk_latency", "Inter Chunk Latency", MS,
        Of::List(|r, gaps| gaps.extend(
            r.reading.content.iter().zip(r.reading.content.iter().skip(1))
                .map(|(before, after)| after.at.since(before.at).nanos()))), FILES,
        "Gaps between content responses, pooled over all requests; 0 for those of one read.")
        .needs(ST_OT),
    metric("output_token_count", "Output Token Count", TOKENS,
        Of::Whole(|r| r.tokens.output.filter(|&n| n > 0)), FILES,
        "Output tokens without reasoning; absent for an answer of reasoning alone.").needs(OT).marks(LB),
    metric("reasoning_token_count", "Reasoning Token Count", TOKENS, Of::Whole(|r| r.tokens.reasoning), FILES,
        "Reasoning tokens; absent where there are none.").needs(OT).marks(LB),
    metric("prefill_throughput_per_user", "Prefill Throughput Per User", TPS_USER,
        Of::Fraction(|r| Request::per_second(r.tokens.input?, r.ttft()?)), FILES,
        "Input tokens over time to first token.").needs(ST_OT_IT).marks(LB),
    metric("requested_osl", "Requested OSL", TOKENS, Of::Whole(|r| r.entry.requested_osl.map(u64::from)), FILES,
        "Output limit sent with the request.").needs(OT).marks(IN),
    metric("osl_mismatch_diff_pct", "OSL Mismatch Diff %", PCT,
        Of::Fraction(|r| Some(100.0 * r.osl_excess()? / f64::from(r.entry.requested_osl.filter(|&n| n > 0)?))), FILES,
        "How far the output length misses the asked one, signed.").needs(OT),

    // What the server reported.
    metric("usage_prompt_tokens", "Usage Prompt Tokens", TOKENS, Of::Whole(|r| r.reading.usage?.prompt), usage(1000),
        "Prompt tokens by the server's count.").needs(IT).marks(LB),
    metric("usage_prompt_cache_read_tokens", "Usage Prompt Cache Read Tokens", TOKENS,
        Of::Whole(|r| r.reading.usage?.cache_read), usage(1010),
        "Prompt tokens that the server took from its cache.").marks(LB),
    metric("usage_prompt_cache_write_tokens", "Usage Prompt Cache Write Tokens", TOKENS,
        Of::Whole(|r| r.reading.usage?.cache_write), usage(1015),
        "Prompt tokens that the server wrote to its cache."),
    metric("usage_completion_tokens", "Usage Completion Tokens", TOKENS,
        Of::Whole(|r| r.reading.usage?.completion), usage(1100),
        "Completion tokens by the server's count, reasoning included.").needs(OT).marks(LB),
    metric("usage_reasoning_tokens", "Usage Reasoning Tokens", TOKENS,
        Of::Whole(|r| r.reading.usage?.reasoning), usage(1110),
        "Reasoning tokens by the server's count.").needs(OT).marks(LB),
    metric("usage_total_tokens", "Usage Total Tokens", TOKENS, Of::Whole(|r| r.reading.usage?.total), usage(1200),
        "Total as the server reported it, never computed.").needs(OT).marks(LB),
    metric("usage_prompt_tokens_diff_pct", "Usage Prompt Diff %", PCT,
        Of::Fraction(prompt_diff), FILES,
        "Server's prompt count against the client's, absolute.").needs(IT_UD),
    metric("usage_completion_tokens_diff_pct", "Usage Completion Diff %", PCT,
        Of::Fraction(completion_diff), FILES,
        "Server's completion count against the client's, absolute.").needs(OT_UD),
    metric("usage_reasoning_tokens_diff_pct", "Usage Reasoning Diff %", PCT,
        Of::Fraction(reasoning_diff), FILES,
        "Server's reasoning count against the client's, absolute.").needs(OT_UD),

    // HTTP timings (D15: the connection is in `connecting` and `total` only).
    metric("http_req_blocked", "HTTP Blocked", MS, Of::Whole(|_| Some(0)), Place::Trace(2000),
        "Wait for a pooled connection: none, a request without a free one opens its own."),
    metric("http_req_dns_lookup", "HTTP DNS Lookup", MS, Of::Whole(|_| Some(0)), Place::Trace(2010),
        "Resolver time: none, names are resolved once before the run."),
    metric("http_req_connecting", "HTTP Connecting", MS, Of::Whole(|r| r.connecting()), Place::Trace(2020),
        "Time to connect, TLS included; 0 on a reused connection."),
    metric("http_req_tls", "HTTP TLS Handshake", MS, Of::Whole(|r| r.securing()), Place::Trace(2025),
        "Part of the time to connect that the TLS handshake took; only on new connections over TLS."),
    metric("http_req_sending", "HTTP Sending", MS, Of::Whole(|r| r.sending()), Place::Trace(2030),
        "First to last byte of the request handed to the socket."),
    metric("http_req_waiting", "HTTP Waiting (TTFB)", MS, Of::Whole(|r| r.waiting()), Place::Trace(2040),
        "Last byte of the request to the first of the response body."),
    metric("http_req_receiving", "HTTP Receiving", MS, Of::Whole(|r| r.receiving()), Place::Trace(2050),
        "First to last read of the response body."),
    metric("http_req_connection_reused", "HTTP Connection Reused", RATIO,
        Of::Whole(|r| Some(r.record.wire.reused.into())), Place::Trace(2060),
        "1 on a connection that had carried a request before."),
    metric("http_req_data_sent", "HTTP Data Sent", KB, Of::Whole(|r| Some(r.record.wire.body_sent)), Place::Trace(2070),
        "Request body."),
    metric("http_req_chunks_sent", "HTTP Chunks Sent", COUNT,
        Of::Whole(|r| Some(r.record.wire.sends.into())), Place::Trace(2080),
        "Writes that the request took."),
    metric("http_req_data_received", "HTTP Data Received", KB,
        Of::Whole(|r| Some(r.record.wire.body_received)), Place::Trace(2090),
        "Response body."),
    metric("http_req_chunks_received", "HTTP Chunks Received", COUNT,
        Of::Whole(|r| Some(r.record.wire.receives.into())), Place::Trace(2100),
        "Reads that brought body bytes."),
    metric("http_req_connection_overhead", "HTTP Connection Overhead", MS,
        Of::Whole(|r| r.connecting()), Place::Trace(2110),
        "Blocked, resolver and connecting together."),
    metric("http_req_duration", "HTTP Duration (excl. conn)", MS,
        Of::Whole(|r| Some(r.record.times.body_last?.since(r.record.times.send_start?).nanos())), Place::Trace(2120),
        "First byte sent to last byte received."),
    metric("http_req_total", "HTTP Total Time", MS,
        Of::Whole(|r| Some(r.connecting()? + r.sending()? + r.waiting()? + r.receiving()?)), Place::Trace(2130),
        "All phases together: wall time of the exchange."),

    // Counts.
    metric("request_count", "Request Count", REQUESTS, Of::Sum(|_| Some(1)), main(1100),
        "Requests that were answered.").marks(LB_NJ),
    metric("error_request_count", "Error Request Count", REQUESTS, Of::Sum(|_| Some(1)), FILES,
        "Requests that failed; planned cancellations are not among them.").over(Over::Errors).marks(NJ),
    metric("cancelled_request_count", "Cancelled Request Count", REQUESTS,
        Of::Derived(|run| Some(run.cancelled as f64)), main(1090),
        "Requests hung up on by plan before their answer was complete.").needs(CANCELS).marks(NJ),
    metric("context_overflow_count", "Context Overflow Count", REQUESTS, Of::Sum(context_overflow), FILES,
        "Failed requests whose prompt the server found too long.").over(Over::Errors).marks(NJ),
    metric("error_isl", "Error Input Sequence Length", TOKENS,
        Of::Whole(|r| r.entry.isl.map(u64::from)), FILES,
        "Input tokens of a failed request.").over(Over::Errors).needs(IT_UD).marks(LB),
    metric("osl_mismatch_count", "OSL Mismatch Count", REQUESTS, Of::Sum(osl_mismatch), FILES,
        "Requests whose output length misses the asked one by more than the threshold.").needs(OT).marks(NJ),
    metric("usage_discrepancy_count", "Usage Discrepancy Count", REQUESTS, Of::Sum(usage_discrepancy), FILES,
        "Requests in which server and client counts differ by more than the threshold.").needs(OT_IT_UD).marks(NJ),
    metric("completed_request_count", "Completed Requests (Success + Error)", REQUESTS,
        Of::Derived(|run| Some((run.valid + run.errors) as f64).filter(|&n| n > 0.0)), main(1075),
        "Answered and failed requests; cancelled ones apart.").marks(NJ),
    metric("request_error_rate", "Request Error Rate", PCT,
        Of::Derived(|run| Some(100.0 * run.errors as f64 / (run.valid + run.errors) as f64).filter(|p| p.is_finite())),
        main(1080),
        "Failed among answered and failed.").marks(NJ),

    // The run as a whole.
    metric("min_request_timestamp", "Minimum Request Timestamp", NS, Of::Smallest(|r| Some(r.start_unix())), FILES,
        "Wall time of the first start.").marks(IN_NJ),
    metric("max_response_timestamp", "Maximum Response Timestamp", NS,
        Of::Largest(|r| Some(r.anchor.unix_nanos(r.reading.last()?))), FILES,
        "Wall time of the last content.").marks(IN_NJ),
    metric("benchmark_duration", "Benchmark Duration", SEC,
        Of::Derived(|run| Some(run.whole("max_response_timestamp")?.checked_sub(run.whole("min_request_timestamp")?)? as f64)
            .filter(|&nanos| nanos > 0.0)), FILES,
        "First start to last content over answered requests; the duration behind rates."),
    metric("total_isl", "Total Input Sequence Length", TOKENS,
        Of::Derived(|run| run.sum("input_sequence_length")), FILES,
        "Input tokens of all answered requests.").needs(IT).marks(LB),
    metric("total_osl", "Total Output Sequence Length", TOKENS,
        Of::Derived(|run| run.sum("output_sequence_length")), FILES,
        "Output and reasoning tokens of all answered requests.").needs(OT).marks(LB),
    metric("total_output_tokens", "Total Output Tokens", TOKENS,
        Of::Derived(|run| run.sum("output_token_count")), FILES,
        "Output tokens without reasoning of all answered requests.").needs(OT).marks(LB),
    metric("total_reasoning_tokens", "Total Reasoning Tokens", TOKENS,
        Of::Derived(|run| run.sum("reasoning_token_count")), FILES,
        "Reasoning tokens of all answered requests.").needs(OT).marks(LB),
    metric("total_error_isl", "Total Error Input Sequence Length", TOKENS,
        Of::Derived(|run| run.sum("error_isl")), FILES,
        "Input tokens of all failed requests.").needs(IT_UD).marks(LB),
    metric("output_token_throughput", "Output Token Throughput", TPS,
        Of::Derived(|run| run.rate(run.value("total_osl"))), main(800),
        "Output tokens per second of the run.").needs(OT).marks(LB),
    metric("input_token_throughput", "Input Token Throughput", TPS,
        Of::Derived(|run| run.rate(run.value("total_isl"))), main(805),
        "Input tokens per second of the run.").marks(LB),
    metric("total_token_throughput", "Total Token Throughput", TPS,
        Of::Derived(|run| run.rate(Some(run.value("total_isl")? + run.value("total_osl")?))), FILES,
        "Input and output tokens per second of the run.").needs(OT).marks(LB),
    metric("request_throughput", "Request Throughput", RPS,
        Of::Derived(|run| run.rate(run.value("request_count"))), main(900),
        "Answered requests per second of the run.").marks(LB),
    metric("total_usage_prompt_tokens", "Total Usage Prompt Tokens", TOKENS,
        Of::Derived(|run| run.sum("usage_prompt_tokens")), usage(2000),
        "Prompt tokens of all answered requests by the server's count.").needs(IT).marks(LB),
    metric("total_usage_prompt_cache_read_tokens", "Total Usage Prompt Cache Read Tokens", TOKENS,
        Of::Derived(|run| run.sum("usage_prompt_cache_read_tokens")), usage(2010),
        "Cached prompt tokens of all answered requests.").marks(LB),
    metric("overall_usage_prompt_cache_read_pct", "Overall Usage Prompt Cache Read %", PCT,
        Of::Derived(|run| {
            let read = run.value("total_usage_prompt_cache_read_tokens")?;
            let prompt = run.value("total_usage_prompt_tokens").filter(|&p| p > 0.0)?;
            Some(100.0 * read / prompt)
        }), usage(2012),
        "Share of all prompt tokens that the server took from its cache.").marks(LB),
    metric("total_usage_prompt_cache_write_tokens", "Total Usage Prompt Cache Write Tokens", TOKENS,
        Of::Derived(|run| run.sum("usage_prompt_cache_write_tokens")), usage(2015),
        "Prompt tokens written to the cache over all answered requests."),
    metric("total_usage_completion_tokens", "Total Usage Completion Tokens", TOKENS,
        Of::Derived(|run| run.sum("usage_completion_tokens")), usage(2100),
        "Completion tokens of all answered requests by the server's count.").needs(OT).marks(LB),
    metric("total_usage_reasoning_tokens", "Total Usage Reasoning Tokens", TOKENS,
        Of::Derived(|run| run.sum("usage_reasoning_tokens")), usage(2110),
        "Reasoning tokens of all answered requests by the server's count.").needs(OT).marks(LB),
    metric("total_usage_total_tokens", "Total Usage Total Tokens", TOKENS,
        Of::Derived(|run| run.sum("usage_total_tokens")), usage(2200),
        "Reported totals of all answered requests.").needs(OT).marks(LB),

    // Over time, and from the schedule: failed and cancelled requests are in these.
    metric("effective_concurrency", "Effective Concurrency", REQUESTS, Of::Curve(curve::concurrency), EFFECTIVE,
        "Open requests, weighted by time, from the first start to the last end.").over(Over::All),
    metric("credit_to_start_latency", "Credit-to-Start Latency", MS,
        Of::Whole(|r| Some(r.record.times.start.since(r.record.times.admitted).nanos())), FILES,
        "From being sent on its way to its first action: the tool's own delay.").over(Over::All).marks(NJ),
    metric("effective_latency", "Effective Latency (CO-aware)", MS,
        Of::Whole(|r| Some(r.record.times.end.since(r.record.times.scheduled).nanos())), EFFECTIVE,
        "From the instant the request was due to its end: what a client that cannot wait sees.")
        .over(Over::All).marks(NJ),
];

fn prompt_diff(r: &Request) -> Option<f64> {
    Request::difference_pct(r.reading.usage?.prompt, r.tokens.input)
}

fn completion_diff(r: &Request) -> Option<f64> {
    Request::difference_pct(r.reading.usage?.completion, r.osl())
}

fn reasoning_diff(r: &Request) -> Option<f64> {
    Request::difference_pct(r.reading.usage?.reasoning, r.tokens.reasoning)
}

fn usage_discrepancy(r: &Request) -> Option<u64> {
    let limit = r.thresholds.usage_diff_pct;
    let worst = prompt_diff(r)?
        .max(completion_diff(r)?)
        .max(reasoning_diff(r).unwrap_or(0.0));
    Some((worst > limit).into())
}

fn osl_mismatch(r: &Request) -> Option<u64> {
    let requested = f64::from(r.entry.requested_osl?);
    let limits = r.thresholds;
    let limit = (requested * limits.osl_mismatch_pct / 100.0).min(limits.osl_mismatch_tokens);
    Some((r.osl_excess()?.abs() > limit).into())
}

fn context_overflow(r: &Request) -> Option<u64> {
    match &r.reading.verdict {
        Verdict::Error(problem) => Some(problem.is_context_overflow().into()),
        _ => None,
    }
}
