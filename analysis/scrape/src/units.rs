//! The unit of a metric, guessed from what its help says and how its name ends.

/// Endings of names, longer ones before those that they contain.
const ENDINGS: [(&str, &str); 34] = [
    ("_milliseconds", "ms"),
    ("_nanoseconds", "ns"),
    ("_seconds", "seconds"),
    ("_ms", "ms"),
    ("_ns", "ns"),
    ("_kilobytes", "KB"),
    ("_megabytes", "MB"),
    ("_gigabytes", "GB"),
    ("_bytes", "B"),
    ("_requests", "requests"),
    ("_reqs", "requests"),
    ("request_success", "requests"),
    ("_error_count", "errors"),
    ("_errors", "errors"),
    ("_block_count", "blocks"),
    ("_blocks", "blocks"),
    ("_tokens", "tokens"),
    ("_gb_s", "GB/s"),
    ("_percent", "%"),
    ("_perc", "%"),
    ("_ratio", "ratio"),
    ("_celsius", "°C"),
    ("_joules", "J"),
    ("_watts", "W"),
    ("_count", "count"),
    ("_total", "count"),
    // Words in a help text.
    ("in seconds", "seconds"),
    ("in milliseconds", "ms"),
    ("(ms)", "ms"),
    ("in bytes", "B"),
    ("(gb/s)", "GB/s"),
    ("tokens/s", "tokens/s"),
    ("requests/s", "requests/s"),
    ("in tokens", "tokens"),
];
/// Where the words begin.
const WORDS: usize = 26;

/// The unit of `name` (as on the wire) by its help; none if nothing tells.
pub(super) fn of(name: &str, help: &str) -> Option<&'static str> {
    let help = help.to_lowercase();
    // Percent-named gauges are often shares: the help says so.
    let share = [
        "1 means 100 percent",
        "0-1",
        "0 to 1",
        "0.0-1.0",
        "between 0 and 1",
    ];
    if share.iter().any(|words| help.contains(words)) {
        return Some("ratio");
    }
    let hundred = ["0-100", "0 to 100", "between 0 and 100"];
    if hundred.iter().any(|words| help.contains(words)) {
        return Some("%");
    }
    let (endings, words) = ENDINGS.split_at(WORDS);
    if let Some((_, unit)) = words.iter().find(|(words, _)| help.contains(words)) {
        return Some(unit);
    }
    let bare = name.strip_suffix("_total").unwrap_or(name);
    let ends = |name: &str| {
        let found = endings.iter().find(|(ending, _)| name.ends_with(ending));
        found.map(|(_, unit)| *unit)
    };
    ends(bare)
        .or_else(|| name.contains("num_requests_").then_some("requests"))
        .or_else(|| ends(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_helps() {
        for (name, help, unit) in [
            ("vllm:num_requests_running", "", Some("requests")),
            ("vllm:request_success_total", "", Some("requests")),
            ("vllm:time_to_first_token_seconds", "", Some("seconds")),
            ("vllm:prompt_tokens_total", "Number of", Some("tokens")),
            (
                "vllm:kv_cache_usage_perc",
                "1 means 100 percent usage.",
                Some("ratio"),
            ),
            ("vllm:gpu_cache_usage_perc", "", Some("%")),
            ("things_total", "", Some("count")),
            ("wait", "Time waited in seconds.", Some("seconds")),
            ("sglang:gen_throughput", "tokens/s", Some("tokens/s")),
            ("up", "", None),
        ] {
            assert_eq!(of(name, help), unit, "{name}");
        }
    }
}
