//! Tags of metrics, as they stand in the files. Code that means a row of the table names it by
//! these, so that a typo does not compile.

macro_rules! tags {
    ($($(#[$doc:meta])* $name:ident = $tag:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $tag;)*

        /// All of them, in the order of the table of metrics.
        pub const ALL: &[&str] = &[$($tag),*];
    };
}

tags! {
    /// Time to First Token.
    TIME_TO_FIRST_TOKEN = "time_to_first_token";
    /// Time to Second Token.
    TIME_TO_SECOND_TOKEN = "time_to_second_token";
    /// Time to First Output Token.
    TIME_TO_FIRST_OUTPUT_TOKEN = "time_to_first_output_token";
    /// Request Latency.
    REQUEST_LATENCY = "request_latency";
    /// Decode Duration.
    DECODE_DURATION = "decode_duration";
    /// Inter Token Latency.
    INTER_TOKEN_LATENCY = "inter_token_latency";
    /// Output Token Throughput Per User.
    OUTPUT_TOKEN_THROUGHPUT_PER_USER = "output_token_throughput_per_user";
    /// E2E Output Token Throughput.
    E2E_OUTPUT_TOKEN_THROUGHPUT = "e2e_output_token_throughput";
    /// Output Sequence Length.
    OUTPUT_SEQUENCE_LENGTH = "output_sequence_length";
    /// Input Sequence Length.
    INPUT_SEQUENCE_LENGTH = "input_sequence_length";
    /// Inter Chunk Latency.
    INTER_CHUNK_LATENCY = "inter_chunk_latency";
    /// Output Token Count.
    OUTPUT_TOKEN_COUNT = "output_token_count";
    /// Reasoning Token Count.
    REASONING_TOKEN_COUNT = "reasoning_token_count";
    /// Prefill Throughput Per User.
    PREFILL_THROUGHPUT_PER_USER = "prefill_throughput_per_user";
    /// Requested OSL.
    REQUESTED_OSL = "requested_osl";
    /// OSL Mismatch Diff %.
    OSL_MISMATCH_DIFF_PCT = "osl_mismatch_diff_pct";
    /// Usage Prompt Tokens.
    USAGE_PROMPT_TOKENS = "usage_prompt_tokens";
    /// Usage Prompt Cache Read Tokens.
    USAGE_PROMPT_CACHE_READ_TOKENS = "usage_prompt_cache_read_tokens";
    /// Usage Prompt Cache Write Tokens.
    USAGE_PROMPT_CACHE_WRITE_TOKENS = "usage_prompt_cache_write_tokens";
    /// Usage Completion Tokens.
    USAGE_COMPLETION_TOKENS = "usage_completion_tokens";
    /// Usage Reasoning Tokens.
    USAGE_REASONING_TOKENS = "usage_reasoning_tokens";
    /// Usage Total Tokens.
    USAGE_TOTAL_TOKENS = "usage_total_tokens";
    /// Usage Prompt Diff %.
    USAGE_PROMPT_TOKENS_DIFF_PCT = "usage_prompt_tokens_diff_pct";
    /// Usage Completion Diff %.
    USAGE_COMPLETION_TOKENS_DIFF_PCT = "usage_completion_tokens_diff_pct";
    /// Usage Reasoning Diff %.
    USAGE_REASONING_TOKENS_DIFF_PCT = "usage_reasoning_tokens_diff_pct";
    /// HTTP Blocked.
    HTTP_REQ_BLOCKED = "http_req_blocked";
    /// HTTP DNS Lookup.
    HTTP_REQ_DNS_LOOKUP = "http_req_dns_lookup";
    /// HTTP Connecting.
    HTTP_REQ_CONNECTING = "http_req_connecting";
    /// HTTP TLS Handshake.
    HTTP_REQ_TLS = "http_req_tls";
    /// HTTP Sending.
    HTTP_REQ_SENDING = "http_req_sending";
    /// HTTP Waiting (TTFB).
    HTTP_REQ_WAITING = "http_req_waiting";
    /// HTTP Receiving.
    HTTP_REQ_RECEIVING = "http_req_receiving";
    /// HTTP Connection Reused.
    HTTP_REQ_CONNECTION_REUSED = "http_req_connection_reused";
    /// HTTP Data Sent.
    HTTP_REQ_DATA_SENT = "http_req_data_sent";
    /// HTTP Chunks Sent.
    HTTP_REQ_CHUNKS_SENT = "http_req_chunks_sent";
    /// HTTP Data Received.
    HTTP_REQ_DATA_RECEIVED = "http_req_data_received";
    /// HTTP Chunks Received.
    HTTP_REQ_CHUNKS_RECEIVED = "http_req_chunks_received";
    /// HTTP Connection Overhead.
    HTTP_REQ_CONNECTION_OVERHEAD = "http_req_connection_overhead";
    /// HTTP Duration (excl. conn).
    HTTP_REQ_DURATION = "http_req_duration";
    /// HTTP Total Time.
    HTTP_REQ_TOTAL = "http_req_total";
    /// Request Count.
    REQUEST_COUNT = "request_count";
    /// Good Request Count.
    GOOD_REQUEST_COUNT = "good_request_count";
    /// Error Request Count.
    ERROR_REQUEST_COUNT = "error_request_count";
    /// Cancelled Request Count.
    CANCELLED_REQUEST_COUNT = "cancelled_request_count";
    /// Context Overflow Count.
    CONTEXT_OVERFLOW_COUNT = "context_overflow_count";
    /// Error Input Sequence Length.
    ERROR_ISL = "error_isl";
    /// OSL Mismatch Count.
    OSL_MISMATCH_COUNT = "osl_mismatch_count";
    /// Usage Discrepancy Count.
    USAGE_DISCREPANCY_COUNT = "usage_discrepancy_count";
    /// Completed Requests (Success + Error).
    COMPLETED_REQUEST_COUNT = "completed_request_count";
    /// Request Error Rate.
    REQUEST_ERROR_RATE = "request_error_rate";
    /// Minimum Request Timestamp.
    MIN_REQUEST_TIMESTAMP = "min_request_timestamp";
    /// Maximum Response Timestamp.
    MAX_RESPONSE_TIMESTAMP = "max_response_timestamp";
    /// Benchmark Duration.
    BENCHMARK_DURATION = "benchmark_duration";
    /// Total Input Sequence Length.
    TOTAL_ISL = "total_isl";
    /// Total Output Sequence Length.
    TOTAL_OSL = "total_osl";
    /// Total Output Tokens.
    TOTAL_OUTPUT_TOKENS = "total_output_tokens";
    /// Total Reasoning Tokens.
    TOTAL_REASONING_TOKENS = "total_reasoning_tokens";
    /// Total Error Input Sequence Length.
    TOTAL_ERROR_ISL = "total_error_isl";
    /// Output Token Throughput.
    OUTPUT_TOKEN_THROUGHPUT = "output_token_throughput";
    /// Input Token Throughput.
    INPUT_TOKEN_THROUGHPUT = "input_token_throughput";
    /// Total Token Throughput.
    TOTAL_TOKEN_THROUGHPUT = "total_token_throughput";
    /// Request Throughput.
    REQUEST_THROUGHPUT = "request_throughput";
    /// Goodput.
    GOODPUT = "goodput";
    /// GoodRequestFraction.
    GOOD_REQUEST_FRACTION = "good_request_fraction";
    /// Total Usage Prompt Tokens.
    TOTAL_USAGE_PROMPT_TOKENS = "total_usage_prompt_tokens";
    /// Total Usage Prompt Cache Read Tokens.
    TOTAL_USAGE_PROMPT_CACHE_READ_TOKENS = "total_usage_prompt_cache_read_tokens";
    /// Overall Usage Prompt Cache Read %.
    OVERALL_USAGE_PROMPT_CACHE_READ_PCT = "overall_usage_prompt_cache_read_pct";
    /// Total Usage Prompt Cache Write Tokens.
    TOTAL_USAGE_PROMPT_CACHE_WRITE_TOKENS = "total_usage_prompt_cache_write_tokens";
    /// Total Usage Completion Tokens.
    TOTAL_USAGE_COMPLETION_TOKENS = "total_usage_completion_tokens";
    /// Total Usage Reasoning Tokens.
    TOTAL_USAGE_REASONING_TOKENS = "total_usage_reasoning_tokens";
    /// Total Usage Total Tokens.
    TOTAL_USAGE_TOTAL_TOKENS = "total_usage_total_tokens";
    /// Effective Concurrency.
    EFFECTIVE_CONCURRENCY = "effective_concurrency";
    /// Effective Decode Throughput.
    EFFECTIVE_DECODE_THROUGHPUT = "effective_decode_throughput";
    /// Effective Prefill Throughput.
    EFFECTIVE_PREFILL_THROUGHPUT = "effective_prefill_throughput";
    /// Effective Decode Concurrency.
    EFFECTIVE_DECODE_CONCURRENCY = "effective_decode_concurrency";
    /// Effective Prefill Concurrency.
    EFFECTIVE_PREFILL_CONCURRENCY = "effective_prefill_concurrency";
    /// Effective Total Throughput.
    EFFECTIVE_TOTAL_THROUGHPUT = "effective_total_throughput";
    /// Effective Decode Throughput Per User.
    EFFECTIVE_DECODE_THROUGHPUT_PER_USER = "effective_decode_throughput_per_user";
    /// Effective Prefill Throughput Per User.
    EFFECTIVE_PREFILL_THROUGHPUT_PER_USER = "effective_prefill_throughput_per_user";
    /// Tokens In Flight.
    TOKENS_IN_FLIGHT = "tokens_in_flight";
    /// Active Decode Throughput.
    ACTIVE_DECODE_THROUGHPUT = "active_decode_throughput";
    /// Active Prefill Throughput.
    ACTIVE_PREFILL_THROUGHPUT = "active_prefill_throughput";
    /// Active Decode Throughput Per User.
    ACTIVE_DECODE_THROUGHPUT_PER_USER = "active_decode_throughput_per_user";
    /// Active Prefill Throughput Per User.
    ACTIVE_PREFILL_THROUGHPUT_PER_USER = "active_prefill_throughput_per_user";
    /// Active Total Throughput.
    ACTIVE_TOTAL_THROUGHPUT = "active_total_throughput";
    /// Credit-to-Start Latency.
    CREDIT_TO_START_LATENCY = "credit_to_start_latency";
    /// Effective Latency (CO-aware).
    EFFECTIVE_LATENCY = "effective_latency";
    /// Request Latency (error-adjusted).
    ADJ_REQUEST_LATENCY = "adj_request_latency";
    /// Time to First Token (error-adjusted).
    ADJ_TIME_TO_FIRST_TOKEN = "adj_time_to_first_token";
    /// Inter Token Latency (error-adjusted).
    ADJ_INTER_TOKEN_LATENCY = "adj_inter_token_latency";
    /// Decode Duration (error-adjusted).
    ADJ_DECODE_DURATION = "adj_decode_duration";
}
