//! The rows: what users ask for first, then counts and rates, what the server reported, HTTP
//! timings, and the view from the schedule.

use super::Unit::{
    Bytes, Count, Kilobytes, Milliseconds, Nanoseconds, Percent, Ratio, Requests,
    RequestsPerSecond, Seconds, Tokens, TokensPerSecond, TokensPerSecondPerUser,
};
use super::curve::Curve;
use super::{Flags, Group, Metric, Of, Over, Place, Request, Unit};
use crate::reading::Verdict;
use pinfire_artifacts::tag::*;

const NONE: Flags = Flags::NONE;
const OT: Flags = Flags::OUTPUT_TOKENS;
const IT: Flags = Flags::INPUT_TOKENS;
const UD: Flags = Flags::CLIENT_COUNTS;
const CANCELS: Flags = Flags::CANCELLATION;
const GP: Flags = Flags::GOODPUT;
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
const ACTIVE: Place = Place::Table(Group::Active, None);
/// After all rows that have a place.
const LAST: Place = Place::Table(Group::Default, None);

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
        formula: "",
        example: "",
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

    const fn says(mut self, formula: &'static str, example: &'static str) -> Self {
        (self.formula, self.example) = (formula, example);
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
    metric(TIME_TO_FIRST_TOKEN, "Time to First Token", MS, Of::Whole(|r| r.ttft()), main(100),
        "Start of the request to its first content of any kind, connecting included.")
        .needs(ST_OT)
        .says("first content − start",
            "request 0: 101 − 1 = 100 ms; request 1: 52 − 2 = 50 ms"),
    metric(TIME_TO_SECOND_TOKEN, "Time to Second Token", MS,
        Of::Whole(|r| Some(r.reading.second()?.since(r.reading.first()?).nanos())), main(200),
        "First to second content response, of several choices that of the first.").needs(ST_OT)
        .says("second content − first content",
            "request 0: 111 − 101 = 10 ms"),
    metric(TIME_TO_FIRST_OUTPUT_TOKEN, "Time to First Output Token", MS,
        Of::Whole(|r| r.since_start(r.reading.content.iter().find(|c| c.output)?.at)), main(210),
        "Start to the first content response that is not reasoning alone.").needs(ST_OT)
        .says("first content with output (text or tool call) − start",
            "request 0: 101 − 1 = 100 ms; reasoning before it would not count"),
    metric(REQUEST_LATENCY, "Request Latency", MS, Of::Whole(|r| r.latency()), main(300),
        "Start to the last content response; usage and end marks come later and do not count.")
        .says("last content − start",
            "request 0: 131 − 1 = 130 ms; its usage at 131.5 does not count"),
    metric(DECODE_DURATION, "Decode Duration", MS, Of::Whole(|r| r.decode()), main(350),
        "First to last content response.").needs(ST_OT)
        .says("request_latency − time_to_first_token",
            "request 0: 130 − 100 = 30 ms"),
    metric(INTER_TOKEN_LATENCY, "Inter Token Latency", MS, Of::Fraction(|r| r.itl()), main(400),
        "Decode duration per token after the first; absent below two tokens. Of several choices each is a \
         stream of its own: the sum of their durations per token after the first of each.").needs(ST_OT)
        .says("decode_duration / (OSL − 1); with --per-chunk-usage / (OSL − tokens of the first chunk); of \
               several choices Σ decode durations / (OSL − choices)",
            "request 0: 30 / (5 − 1) = 7.5 ms; request 1: 30 / 3 = 10 ms"),
    metric(OUTPUT_TOKEN_THROUGHPUT_PER_USER, "Output Token Throughput Per User", TPS_USER,
        Of::Fraction(|r| r.itl().filter(|&itl| itl > 0.0).map(|itl| 1e9 / itl)), main(500),
        "Tokens per second that one user sees once the answer flows: 1 / inter token latency.")
        .needs(ST_OT).marks(LB)
        .says("1 / inter_token_latency",
            "request 0: 1 / 0.0075 s = 133.3333; mean of both (133.3333 + 100) / 2 = 116.6667"),
    metric(E2E_OUTPUT_TOKEN_THROUGHPUT, "E2E Output Token Throughput", TPS_USER,
        Of::Fraction(|r| Request::per_second(r.osl()?, r.latency()?)), main(510),
        "Output tokens over the whole request latency.").needs(OT).marks(LB)
        .says("OSL / request_latency",
            "request 0: 5 / 0.130 s = 38.4615"),
    metric(OUTPUT_SEQUENCE_LENGTH, "Output Sequence Length", TOKENS, Of::Whole(|r| r.osl()), main(600),
        "Output and reasoning tokens of the answer.").needs(OT).marks(LB)
        .says("output tokens + reasoning tokens",
            "request 0: 5 + 0 = 5"),
    metric(INPUT_SEQUENCE_LENGTH, "Input Sequence Length", TOKENS, Of::Whole(|r| r.tokens.input), main(700),
        "Tokens of the body as sent, or as the server counted them.").needs(IT).marks(LB)
        .says("texts of the body joined by one blank, encoded once",
            "request 0: 10; request 1: 8; mean 9"),
    metric(INTER_CHUNK_LATENCY, "Inter Chunk Latency", MS,
        Of::List(|r, gaps| gaps.extend(
            r.reading.content.iter().zip(r.reading.content.iter().skip(1))
                .map(|(before, after)| after.at.since(before.at).nanos()))), FILES,
        "Gaps between content responses, pooled over all requests; 0 for those of one read.")
        .needs(ST_OT)
        .says("content i − content i−1",
            "request 0: 10 and 20 ms, request 1: 10, 10 and 10 ms; mean of the five 12 ms"),
    metric(OUTPUT_TOKEN_COUNT, "Output Token Count", TOKENS,
        Of::Whole(|r| r.tokens.output.filter(|&n| n > 0)), FILES,
        "Output tokens without reasoning; absent for an answer of reasoning alone.").needs(OT).marks(LB)
        .says("output text of all responses, joined without separator, encoded once",
            "request 0: 5; request 1: 4"),
    metric(REASONING_TOKEN_COUNT, "Reasoning Token Count", TOKENS, Of::Whole(|r| r.tokens.reasoning), FILES,
        "Reasoning tokens; absent where there are none.").needs(OT).marks(LB)
        .says("reasoning of all responses, joined without separator, encoded once",
            "none in the example"),
    metric(PREFILL_THROUGHPUT_PER_USER, "Prefill Throughput Per User", TPS_USER,
        Of::Fraction(|r| Request::per_second(r.tokens.input?, r.ttft()?)), FILES,
        "Input tokens over time to first token.").needs(ST_OT_IT).marks(LB)
        .says("ISL / time_to_first_token",
            "request 0: 10 / 0.100 s = 100; request 1: 8 / 0.050 s = 160"),
    metric(REQUESTED_OSL, "Requested OSL", TOKENS, Of::Whole(|r| r.entry.requested_osl.map(u64::from)), FILES,
        "Output limit sent with the request.").needs(OT).marks(IN)
        .says("output limit in the body",
            "none in the example"),
    metric(OSL_MISMATCH_DIFF_PCT, "OSL Mismatch Diff %", PCT,
        Of::Fraction(|r| Some(100.0 * r.osl_excess()? / f64::from(r.entry.requested_osl.filter(|&n| n > 0)?))), FILES,
        "How far the output length misses the asked one, signed.").needs(OT)
        .says("100 · (OSL − limit) / limit",
            "5 tokens of 8 asked: 100 · (5 − 8) / 8 = −37.5 %"),

    // What the server reported.
    metric(USAGE_PROMPT_TOKENS, "Usage Prompt Tokens", TOKENS, Of::Whole(|r| r.reading.usage?.prompt), usage(1000),
        "Prompt tokens by the server's count.").needs(IT).marks(LB)
        .says("prompt tokens of the last usage object",
            "request 0: 12"),
    metric(USAGE_PROMPT_CACHE_READ_TOKENS, "Usage Prompt Cache Read Tokens", TOKENS,
        Of::Whole(|r| r.reading.usage?.cache_read), usage(1010),
        "Prompt tokens that the server took from its cache.").marks(LB)
        .says("cached prompt tokens of the last usage object",
            "none in the example"),
    metric(USAGE_PROMPT_CACHE_WRITE_TOKENS, "Usage Prompt Cache Write Tokens", TOKENS,
        Of::Whole(|r| r.reading.usage?.cache_write), usage(1015),
        "Prompt tokens that the server wrote to its cache.")
        .says("prompt tokens written to the cache, of the last usage object",
            "none in the example"),
    metric(USAGE_COMPLETION_TOKENS, "Usage Completion Tokens", TOKENS,
        Of::Whole(|r| r.reading.usage?.completion), usage(1100),
        "Completion tokens by the server's count, reasoning included.").needs(OT).marks(LB)
        .says("completion tokens of the last usage object",
            "request 0: 5"),
    metric(USAGE_REASONING_TOKENS, "Usage Reasoning Tokens", TOKENS,
        Of::Whole(|r| r.reading.usage?.reasoning), usage(1110),
        "Reasoning tokens by the server's count.").needs(OT).marks(LB)
        .says("reasoning tokens of the last usage object",
            "none in the example"),
    metric(USAGE_TOTAL_TOKENS, "Usage Total Tokens", TOKENS, Of::Whole(|r| r.reading.usage?.total), usage(1200),
        "Total as the server reported it, never computed.").needs(OT).marks(LB)
        .says("total tokens of the last usage object",
            "request 0: 17"),
    metric(USAGE_PROMPT_TOKENS_DIFF_PCT, "Usage Prompt Diff %", PCT,
        Of::Fraction(prompt_diff), FILES,
        "Server's prompt count against the client's, absolute.").needs(IT_UD)
        .says("100 · |usage_prompt_tokens − ISL| / ISL",
            "request 0: 100 · |12 − 10| / 10 = 20 %"),
    metric(USAGE_COMPLETION_TOKENS_DIFF_PCT, "Usage Completion Diff %", PCT,
        Of::Fraction(completion_diff), FILES,
        "Server's completion count against the client's, absolute.").needs(OT_UD)
        .says("100 · |usage_completion_tokens − OSL| / OSL",
            "request 0: 100 · |5 − 5| / 5 = 0 %"),
    metric(USAGE_REASONING_TOKENS_DIFF_PCT, "Usage Reasoning Diff %", PCT,
        Of::Fraction(reasoning_diff), FILES,
        "Server's reasoning count against the client's, absolute.").needs(OT_UD)
        .says("100 · |usage_reasoning_tokens − reasoning_token_count| / reasoning_token_count",
            "none in the example"),

    // HTTP timings (the time to connect is in `connecting` and `total` only).
    metric(HTTP_REQ_BLOCKED, "HTTP Blocked", MS, Of::Whole(|_| Some(0)), Place::Trace(2000),
        "Wait for a pooled connection: none, a request without a free one opens its own.")
        .says("always 0",
            "request 0: 0 ms"),
    metric(HTTP_REQ_DNS_LOOKUP, "HTTP DNS Lookup", MS, Of::Whole(|_| Some(0)), Place::Trace(2010),
        "Resolver time: none, names are resolved once before the run.")
        .says("always 0",
            "request 0: 0 ms"),
    metric(HTTP_REQ_CONNECTING, "HTTP Connecting", MS, Of::Whole(|r| r.connecting()), Place::Trace(2020),
        "Time to connect, TLS included; 0 on a reused connection.")
        .says("connection ready − start",
            "request 0: 1.25 − 1 = 0.25 ms"),
    metric(HTTP_REQ_TLS, "HTTP TLS Handshake", MS, Of::Whole(|r| r.securing()), Place::Trace(2025),
        "Part of the time to connect that the TLS handshake took; only on new connections over TLS.")
        .says("handshake done − TCP established",
            "none in the example, which is without TLS"),
    metric(HTTP_REQ_SENDING, "HTTP Sending", MS, Of::Whole(|r| r.sending()), Place::Trace(2030),
        "First to last byte of the request handed to the socket.")
        .says("last byte written − connection ready",
            "request 0: 1.5 − 1.25 = 0.25 ms"),
    metric(HTTP_REQ_WAITING, "HTTP Waiting (TTFB)", MS, Of::Whole(|r| r.waiting()), Place::Trace(2040),
        "Last byte of the request to the first of the response body.")
        .says("first body read − last byte written",
            "request 0: 101 − 1.5 = 99.5 ms"),
    metric(HTTP_REQ_RECEIVING, "HTTP Receiving", MS, Of::Whole(|r| r.receiving()), Place::Trace(2050),
        "First to last read of the response body.")
        .says("last body read − first body read",
            "request 0: 131.5 − 101 = 30.5 ms; request 1: 82 − 52 = 30 ms"),
    metric(HTTP_REQ_CONNECTION_REUSED, "HTTP Connection Reused", RATIO,
        Of::Whole(|r| Some(r.record.wire.reused.into())), Place::Trace(2060),
        "1 on a connection that had carried a request before.")
        .says("1 if reused, else 0",
            "request 0: 0"),
    metric(HTTP_REQ_DATA_SENT, "HTTP Data Sent", KB, Of::Whole(|r| Some(r.record.wire.body_sent)), Place::Trace(2070),
        "Request body.")
        .says("bytes of the body / 1024",
            "request 0: 512 / 1024 = 0.5 KB"),
    metric(HTTP_REQ_CHUNKS_SENT, "HTTP Chunks Sent", COUNT,
        Of::Whole(|r| Some(r.record.wire.sends.into())), Place::Trace(2080),
        "Writes that the request took.")
        .says("number of writes",
            "request 0: 1"),
    metric(HTTP_REQ_DATA_RECEIVED, "HTTP Data Received", KB,
        Of::Whole(|r| Some(r.record.wire.body_received)), Place::Trace(2090),
        "Response body.")
        .says("bytes of the response body / 1024",
            "request 0: 320 / 1024 = 0.3125 KB"),
    metric(HTTP_REQ_CHUNKS_RECEIVED, "HTTP Chunks Received", COUNT,
        Of::Whole(|r| Some(r.record.wire.receives.into())), Place::Trace(2100),
        "Reads that brought body bytes.")
        .says("number of reads with body bytes",
            "request 0: 5"),
    metric(HTTP_REQ_CONNECTION_OVERHEAD, "HTTP Connection Overhead", MS,
        Of::Whole(|r| r.connecting()), Place::Trace(2110),
        "Blocked, resolver and connecting together.")
        .says("blocked + dns_lookup + connecting",
            "request 0: 0 + 0 + 0.25 = 0.25 ms"),
    metric(HTTP_REQ_DURATION, "HTTP Duration (excl. conn)", MS,
        Of::Whole(|r| Some(r.record.times.body_last?.since(r.record.times.send_start?).nanos())), Place::Trace(2120),
        "First byte sent to last byte received.")
        .says("last body read − first byte sent",
            "request 0: 131.5 − 1.25 = 130.25 ms"),
    metric(HTTP_REQ_TOTAL, "HTTP Total Time", MS,
        Of::Whole(|r| Some(r.connecting()? + r.sending()? + r.waiting()? + r.receiving()?)), Place::Trace(2130),
        "All phases together: wall time of the exchange.")
        .says("connecting + sending + waiting + receiving",
            "request 0: 0.25 + 0.25 + 99.5 + 30.5 = 130.5 ms"),

    // Counts.
    metric(REQUEST_COUNT, "Request Count", REQUESTS, Of::Sum(|_| Some(1)), main(1100),
        "Requests that were answered.").marks(LB_NJ)
        .says("answered requests",
            "requests 0 and 1: 2"),
    metric(GOOD_REQUEST_COUNT, "Good Request Count", REQUESTS, Of::Good, FILES,
        "Answered requests that keep every promise of --goodput.").needs(GP)
        .says("1 if every promise of --goodput is kept, else 0",
            "request_latency:100 — request 0: 0, request 1: 1"),
    metric(ERROR_REQUEST_COUNT, "Error Request Count", REQUESTS, Of::Sum(|_| Some(1)), FILES,
        "Requests that failed; planned cancellations are not among them.").over(Over::Errors).marks(NJ)
        .says("failed requests; absent without any",
            "absent; request 2 was cancelled by plan"),
    metric(CANCELLED_REQUEST_COUNT, "Cancelled Request Count", REQUESTS,
        Of::Derived(|run| Some(run.cancelled as f64)), main(1090),
        "Requests hung up on by plan before their answer was complete.").needs(CANCELS).marks(NJ)
        .says("requests hung up on by plan",
            "request 2: 1"),
    metric(CONTEXT_OVERFLOW_COUNT, "Context Overflow Count", REQUESTS, Of::Sum(context_overflow), FILES,
        "Failed requests whose prompt the server found too long.").over(Over::Errors).marks(NJ)
        .says("failed requests whose message speaks of the context's length",
            "absent; nothing failed"),
    metric(ERROR_ISL, "Error Input Sequence Length", TOKENS,
        Of::Whole(|r| r.tokens.input.or(r.entry.isl.map(u64::from))), FILES,
        "Input tokens of a failed request.").over(Over::Errors).needs(IT_UD).marks(LB)
        .says("texts of the failed request's body, encoded once",
            "12, had request 2 failed; its line shows it all the same"),
    metric(OSL_MISMATCH_COUNT, "OSL Mismatch Count", REQUESTS, Of::Sum(osl_mismatch), FILES,
        "Requests whose output length misses the asked one by more than the threshold.").needs(OT).marks(NJ)
        .says("1 if |OSL − limit| > min(5 % of limit, 50), else 0",
            "5 tokens of 8 asked: |5 − 8| = 3 > 0.4, so 1"),
    metric(USAGE_DISCREPANCY_COUNT, "Usage Discrepancy Count", REQUESTS, Of::Sum(usage_discrepancy), FILES,
        "Requests in which server and client counts differ by more than the threshold.").needs(OT_IT_UD).marks(NJ)
        .says("1 if a usage difference exceeds 10 %, else 0; needs those of prompt and completion",
            "request 0: 20 % > 10 %, so 1"),
    metric(COMPLETED_REQUEST_COUNT, "Completed Requests (Success + Error)", REQUESTS,
        Of::Derived(|run| Some((run.valid + run.errors) as f64).filter(|&n| n > 0.0)), main(1075),
        "Answered and failed requests; cancelled ones apart.").marks(NJ)
        .says("request_count + error_request_count",
            "2 + 0 = 2"),
    metric(REQUEST_ERROR_RATE, "Request Error Rate", PCT,
        Of::Derived(|run| Some(100.0 * run.errors as f64 / (run.valid + run.errors) as f64).filter(|p| p.is_finite())),
        main(1080),
        "Failed among answered and failed.").marks(NJ)
        .says("100 · errors / (answered + errors)",
            "100 · 0 / 2 = 0 %"),

    // The run as a whole.
    metric(MIN_REQUEST_TIMESTAMP, "Minimum Request Timestamp", NS, Of::Smallest(|r| Some(r.start_unix())), FILES,
        "Wall time of the first start.").marks(IN_NJ)
        .says("smallest start, Unix time",
            "T0 + 1 ms"),
    metric(MAX_RESPONSE_TIMESTAMP, "Maximum Response Timestamp", NS,
        Of::Largest(|r| Some(r.anchor.unix_nanos(r.reading.last()?))), FILES,
        "Wall time of the last content.").marks(IN_NJ)
        .says("largest last content, Unix time",
            "T0 + 131 ms"),
    metric(BENCHMARK_DURATION, "Benchmark Duration", SEC,
        Of::Derived(|run| Some(run.whole(MAX_RESPONSE_TIMESTAMP)?.checked_sub(run.whole(MIN_REQUEST_TIMESTAMP)?)? as f64)
            .filter(|&nanos| nanos > 0.0)), FILES,
        "First start to last content over answered requests; the duration behind rates.")
        .says("max_response_timestamp − min_request_timestamp",
            "131 − 1 = 130 ms = 0.13 s"),
    metric(TOTAL_ISL, "Total Input Sequence Length", TOKENS,
        Of::Derived(|run| run.sum(INPUT_SEQUENCE_LENGTH)), FILES,
        "Input tokens of all answered requests.").needs(IT).marks(LB)
        .says("Σ input_sequence_length",
            "10 + 8 = 18"),
    metric(TOTAL_OSL, "Total Output Sequence Length", TOKENS,
        Of::Derived(|run| run.sum(OUTPUT_SEQUENCE_LENGTH)), FILES,
        "Output and reasoning tokens of all answered requests.").needs(OT).marks(LB)
        .says("Σ output_sequence_length",
            "5 + 4 = 9"),
    metric(TOTAL_OUTPUT_TOKENS, "Total Output Tokens", TOKENS,
        Of::Derived(|run| run.sum(OUTPUT_TOKEN_COUNT)), FILES,
        "Output tokens without reasoning of all answered requests.").needs(OT).marks(LB)
        .says("Σ output_token_count",
            "5 + 4 = 9"),
    metric(TOTAL_REASONING_TOKENS, "Total Reasoning Tokens", TOKENS,
        Of::Derived(|run| run.sum(REASONING_TOKEN_COUNT)), FILES,
        "Reasoning tokens of all answered requests.").needs(OT).marks(LB)
        .says("Σ reasoning_token_count",
            "none in the example"),
    metric(TOTAL_ERROR_ISL, "Total Error Input Sequence Length", TOKENS,
        Of::Derived(|run| run.sum(ERROR_ISL)), FILES,
        "Input tokens of all failed requests.").needs(IT_UD).marks(LB)
        .says("Σ error_isl",
            "12, had request 2 failed"),
    metric(OUTPUT_TOKEN_THROUGHPUT, "Output Token Throughput", TPS,
        Of::Derived(|run| run.rate(run.value(TOTAL_OSL))), main(800),
        "Output tokens per second of the run.").needs(OT).marks(LB)
        .says("total_osl / D",
            "9 / 0.13 s = 69.2308"),
    metric(INPUT_TOKEN_THROUGHPUT, "Input Token Throughput", TPS,
        Of::Derived(|run| run.rate(run.value(TOTAL_ISL))), main(805),
        "Input tokens per second of the run.").marks(LB)
        .says("total_isl / D",
            "18 / 0.13 s = 138.4615"),
    metric(TOTAL_TOKEN_THROUGHPUT, "Total Token Throughput", TPS,
        Of::Derived(|run| run.rate(Some(run.value(TOTAL_ISL)? + run.value(TOTAL_OSL)?))), FILES,
        "Input and output tokens per second of the run.").needs(OT).marks(LB)
        .says("(total_isl + total_osl) / D",
            "(18 + 9) / 0.13 s = 207.6923"),
    metric(REQUEST_THROUGHPUT, "Request Throughput", RPS,
        Of::Derived(|run| run.rate(run.value(REQUEST_COUNT))), main(900),
        "Answered requests per second of the run.").marks(LB)
        .says("request_count / D",
            "2 / 0.13 s = 15.3846"),
    metric(GOODPUT, "Goodput", RPS,
        Of::Derived(|run| run.rate(run.value(GOOD_REQUEST_COUNT))), main(1000),
        "Good requests per second of the run.").needs(GP).marks(LB)
        .says("good_request_count / D",
            "1 / 0.13 s = 7.6923"),
    metric(GOOD_REQUEST_FRACTION, "GoodRequestFraction", RATIO,
        Of::Derived(|run| {
            let good = run.value(GOOD_REQUEST_COUNT).unwrap_or(0.0);
            Some(good / (run.valid + run.errors).max(1) as f64)
        }), FILES,
        "Good requests among answered and failed ones.").needs(GP).marks(LB)
        .says("good_request_count / (answered + errors)",
            "1 / (2 + 0) = 0.5"),
    metric(TOTAL_USAGE_PROMPT_TOKENS, "Total Usage Prompt Tokens", TOKENS,
        Of::Derived(|run| run.sum(USAGE_PROMPT_TOKENS)), usage(2000),
        "Prompt tokens of all answered requests by the server's count.").needs(IT).marks(LB)
        .says("Σ usage_prompt_tokens",
            "12"),
    metric(TOTAL_USAGE_PROMPT_CACHE_READ_TOKENS, "Total Usage Prompt Cache Read Tokens", TOKENS,
        Of::Derived(|run| run.sum(USAGE_PROMPT_CACHE_READ_TOKENS)), usage(2010),
        "Cached prompt tokens of all answered requests.").marks(LB)
        .says("Σ usage_prompt_cache_read_tokens",
            "none in the example"),
    metric(OVERALL_USAGE_PROMPT_CACHE_READ_PCT, "Overall Usage Prompt Cache Read %", PCT,
        Of::Derived(|run| {
            let read = run.value(TOTAL_USAGE_PROMPT_CACHE_READ_TOKENS)?;
            let prompt = run.value(TOTAL_USAGE_PROMPT_TOKENS).filter(|&p| p > 0.0)?;
            Some(100.0 * read / prompt)
        }), usage(2012),
        "Share of all prompt tokens that the server took from its cache.").marks(LB)
        .says("100 · total_usage_prompt_cache_read_tokens / total_usage_prompt_tokens",
            "3 of 12 from the cache would be 25 %"),
    metric(TOTAL_USAGE_PROMPT_CACHE_WRITE_TOKENS, "Total Usage Prompt Cache Write Tokens", TOKENS,
        Of::Derived(|run| run.sum(USAGE_PROMPT_CACHE_WRITE_TOKENS)), usage(2015),
        "Prompt tokens written to the cache over all answered requests.")
        .says("Σ usage_prompt_cache_write_tokens",
            "none in the example"),
    metric(TOTAL_USAGE_COMPLETION_TOKENS, "Total Usage Completion Tokens", TOKENS,
        Of::Derived(|run| run.sum(USAGE_COMPLETION_TOKENS)), usage(2100),
        "Completion tokens of all answered requests by the server's count.").needs(OT).marks(LB)
        .says("Σ usage_completion_tokens",
            "5"),
    metric(TOTAL_USAGE_REASONING_TOKENS, "Total Usage Reasoning Tokens", TOKENS,
        Of::Derived(|run| run.sum(USAGE_REASONING_TOKENS)), usage(2110),
        "Reasoning tokens of all answered requests by the server's count.").needs(OT).marks(LB)
        .says("Σ usage_reasoning_tokens",
            "none in the example"),
    metric(TOTAL_USAGE_TOTAL_TOKENS, "Total Usage Total Tokens", TOKENS,
        Of::Derived(|run| run.sum(USAGE_TOTAL_TOKENS)), usage(2200),
        "Reported totals of all answered requests.").needs(OT).marks(LB)
        .says("Σ usage_total_tokens",
            "17"),

    // Over time, and from the schedule: failed and cancelled requests are in these.
    metric(EFFECTIVE_CONCURRENCY, "Effective Concurrency", REQUESTS, Of::Curve(Curve::Concurrency), EFFECTIVE,
        "Open requests, weighted by time, from the first start to the last end.").over(Over::All)
        .says("+1 at start, −1 at end, of every request",
            "mean (130.5 + 80 + 50.5) / 140.5 = 1.8577"),
    metric(EFFECTIVE_DECODE_THROUGHPUT, "Effective Decode Throughput", TPS, Of::Curve(Curve::DecodeThroughput), EFFECTIVE,
        "Output tokens per second at an instant: each gap carries an equal share of its answer's later tokens.").over(Over::All).needs(ST_OT).marks(LB)
        .says("each gap g > 0 carries (OSL − 1) / number of such gaps, at constant rate over g; without any gaps (OSL − 1) / (end − first content)",
            "request 0: 2 tokens in 10 ms = 200, then 2 in 20 ms = 100; mean (4 + 3) / 0.1405 s = 49.8221"),
    metric(EFFECTIVE_PREFILL_THROUGHPUT, "Effective Prefill Throughput", TPS, Of::Curve(Curve::PrefillThroughput), EFFECTIVE,
        "Input tokens per second at an instant, spread evenly over time to first token.").over(Over::All).needs(ST_OT).marks(LB)
        .says("ISL / (first content − start) over that time",
            "100 from request 0 and 160 from request 1; mean (10 + 8) / 0.1405 s = 128.1139"),
    metric(EFFECTIVE_DECODE_CONCURRENCY, "Effective Decode Concurrency", REQUESTS, Of::Curve(Curve::DecodeConcurrency), EFFECTIVE,
        "Requests between first content and end.").over(Over::All).needs(ST_OT)
        .says("+1 at first content, −1 at end",
            "mean (30.5 + 30) / 140.5 = 0.4306"),
    metric(EFFECTIVE_PREFILL_CONCURRENCY, "Effective Prefill Concurrency", REQUESTS, Of::Curve(Curve::PrefillConcurrency), EFFECTIVE,
        "Requests between start and first content, of answers.").over(Over::All).needs(ST_OT)
        .says("+1 at start, −1 at first content",
            "mean (100 + 50) / 140.5 = 1.0676"),
    metric(EFFECTIVE_TOTAL_THROUGHPUT, "Effective Total Throughput", TPS, Of::Curve(Curve::TotalThroughput), EFFECTIVE,
        "Input and output tokens per second at an instant, output spread evenly from first content to end.").over(Over::All).needs(ST_OT).marks(LB)
        .says("prefill throughput + (OSL − 1) / (end − first content)",
            "mean (18 + 4 + 3) / 0.1405 s = 177.9359"),
    metric(EFFECTIVE_DECODE_THROUGHPUT_PER_USER, "Effective Decode Throughput Per User", TPS_USER, Of::Curve(Curve::DecodePerUser), EFFECTIVE,
        "Decode throughput over decode concurrency; 0 where nobody decodes.").over(Over::All).needs(ST_OT).marks(LB)
        .says("effective_decode_throughput / effective_decode_concurrency",
            "one user at a time, so as effective_decode_throughput: mean 49.8221"),
    metric(EFFECTIVE_PREFILL_THROUGHPUT_PER_USER, "Effective Prefill Throughput Per User", TPS_USER, Of::Curve(Curve::PrefillPerUser), EFFECTIVE,
        "Prefill throughput over prefill concurrency; 0 where nobody prefills.").over(Over::All).needs(ST_OT).marks(LB)
        .says("effective_prefill_throughput / effective_prefill_concurrency",
            "(100 + 160) / 2 = 130 while both wait, else 100; mean (50 · 130 + 50 · 100) / 140.5 = 81.8505"),
    metric(TOKENS_IN_FLIGHT, "Tokens In Flight", TOKENS, Of::Curve(Curve::TokensInFlight), EFFECTIVE,
        "Input and output tokens of open requests, as far as they have come.").over(Over::All).needs(ST_OT)
        .says("+ISL at start, +1 at first content, +(OSL − 1) / gaps at the end of each, −(ISL + OSL) at end",
            "request 0 holds 10, then 11, 13 and 15 tokens; mean of the run 14.7865"),
    metric(ACTIVE_DECODE_THROUGHPUT, "Active Decode Throughput", TPS, Of::Active(Curve::DecodeThroughput), ACTIVE,
        "Decode throughput while anything decodes.").over(Over::All).needs(ST_OT).marks(LB)
        .says("effective_decode_throughput where decode concurrency > 0",
            "mean 7 / 0.0605 s = 115.7025"),
    metric(ACTIVE_PREFILL_THROUGHPUT, "Active Prefill Throughput", TPS, Of::Active(Curve::PrefillThroughput), ACTIVE,
        "Prefill throughput while anything waits for its first token.").over(Over::All).needs(ST_OT).marks(LB)
        .says("effective_prefill_throughput where prefill concurrency > 0",
            "mean 18 / 0.100 s = 180"),
    metric(ACTIVE_DECODE_THROUGHPUT_PER_USER, "Active Decode Throughput Per User", TPS_USER, Of::Active(Curve::DecodePerUser), ACTIVE,
        "Decode throughput per user while anything decodes.").over(Over::All).needs(ST_OT).marks(LB)
        .says("effective_decode_throughput_per_user where decode concurrency > 0",
            "mean 7 / 0.0605 s = 115.7025"),
    metric(ACTIVE_PREFILL_THROUGHPUT_PER_USER, "Active Prefill Throughput Per User", TPS_USER, Of::Active(Curve::PrefillPerUser), ACTIVE,
        "Prefill throughput per user while anything waits for its first token.").over(Over::All).needs(ST_OT).marks(LB)
        .says("effective_prefill_throughput_per_user where prefill concurrency > 0",
            "mean (50 · 100 + 50 · 130) / 100 = 115"),
    metric(ACTIVE_TOTAL_THROUGHPUT, "Active Total Throughput", TPS, Of::Active(Curve::TotalThroughput), ACTIVE,
        "Input and output tokens per second while anything is open.").over(Over::All).needs(ST_OT).marks(LB)
        .says("effective_total_throughput where effective_concurrency > 0",
            "something is always open: mean 177.9359"),
    metric(CREDIT_TO_START_LATENCY, "Credit-to-Start Latency", MS,
        Of::Whole(|r| Some(r.record.times.start.since(r.record.times.admitted).nanos())), FILES,
        "From being sent on its way to its first action: the tool's own delay.").over(Over::All).marks(NJ)
        .says("start − release by the schedule",
            "(1 + 2 + 1) / 3 = 1.3333 ms"),
    metric(EFFECTIVE_LATENCY, "Effective Latency (CO-aware)", MS,
        Of::Whole(|r| Some(r.record.times.end.since(r.record.times.scheduled).nanos())), EFFECTIVE,
        "From the instant the request was due to its end: what a client that cannot wait sees.")
        .over(Over::All).marks(NJ)
        .says("end − instant it was due",
            "131.5, 82 and 141.5 − 90 = 51.5 ms; mean 88.3333 ms"),

    // As if every failed request had taken for ever; only where something failed.
    metric(ADJ_REQUEST_LATENCY, "Request Latency (error-adjusted)", MS, Of::Adjusted(REQUEST_LATENCY), LAST,
        "Request Latency if failed requests had taken for ever: what users of a failing server see.")
        .says("nearest-rank percentiles of the request_latency of answers and one ∞ per error; ties to even",
            "80, 130, ∞ if request 2 had failed: p25 80, p50 130, p75 and above ∞, which is left out"),
    metric(ADJ_TIME_TO_FIRST_TOKEN, "Time to First Token (error-adjusted)", MS, Of::Adjusted(TIME_TO_FIRST_TOKEN), LAST,
        "Time to First Token if failed requests had taken for ever: what users of a failing server see.").needs(ST_OT)
        .says("nearest-rank percentiles of the time_to_first_token of answers and one ∞ per error; ties to even",
            "50, 100, ∞ if request 2 had failed: p50 100"),
    metric(ADJ_INTER_TOKEN_LATENCY, "Inter Token Latency (error-adjusted)", MS, Of::Adjusted(INTER_TOKEN_LATENCY), LAST,
        "Inter Token Latency if failed requests had taken for ever: what users of a failing server see.").needs(ST_OT)
        .says("nearest-rank percentiles of the inter_token_latency of answers and one ∞ per error; ties to even",
            "7.5, 10, ∞ if request 2 had failed: p50 10"),
    metric(ADJ_DECODE_DURATION, "Decode Duration (error-adjusted)", MS, Of::Adjusted(DECODE_DURATION), LAST,
        "Decode Duration if failed requests had taken for ever: what users of a failing server see.").needs(ST_OT)
        .says("nearest-rank percentiles of the decode_duration of answers and one ∞ per error; ties to even",
            "30, 30, ∞ if request 2 had failed: p50 30"),
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
