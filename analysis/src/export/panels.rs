//! Boxed words around the tables: what is odd about the answers and what can be done about it.

use super::table::{style, wrap};
use super::words::thousands;
use crate::collect::Noted;
use crate::report::{Reached, Report};
use pinfire_artifacts::tag;

/// A box with a title.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// What it is about.
    pub title: &'static str,
    /// One paragraph each.
    pub lines: Vec<String>,
}

/// Words with which servers say that they do not know a field.
const UNKNOWN: [&str; 14] = [
    "unknown",
    "unsupported",
    "not supported",
    "does not support",
    "unrecognized",
    "unrecognised",
    "unexpected",
    "not permitted",
    "not allowed",
    "forbidden",
    "extra input",
    "extra field",
    "additional propert",
    "invalid field",
];

/// Fields that not every server knows, and what to do about it.
const UNKNOWN_FIELDS: [(&[&str], &str); 3] = [
    (
        &["max_completion_tokens"],
        "The server does not know `max_completion_tokens`: --use-legacy-max-tokens sends `max_tokens` \
         instead.",
    ),
    (
        &["stream_options"],
        "The server does not know `stream_options`: --extra-inputs '{\"stream_options\":null}' leaves it \
         empty, and tokens are counted by the client.",
    ),
    (
        &["ignore_eos", "min_tokens"],
        "The server does not know `ignore_eos` or `min_tokens`: leave them out of --extra-inputs.",
    ),
];

/// Other errors of servers that have a known way out: words of the message (any of them, in lower
/// case), and the way.
const KNOWN: [(&[&str], &str); 1] = [(
    &[
        "context length",
        "maximum context",
        "context_length_exceeded",
        "context window",
        "max_model_len",
        "max_seq_len",
        "prompt is too long",
    ],
    "Prompt and answer together are longer than the model's context: lower --isl or --osl.",
)];

/// The same by status.
const KNOWN_STATUS: [(&[u16], &str); 4] = [
    (
        &[401, 403],
        "The server refuses the credentials: give --api-key, or a --header.",
    ),
    (
        &[404],
        "The server knows no such path or model: look at --url, --endpoint, --endpoint-type and --model.",
    ),
    (
        &[429],
        "The server turns requests away because there are too many: lower --concurrency or \
         --request-rate to measure what it accepts.",
    ),
    (
        &[415],
        "The server does not take bodies of this kind: look at --endpoint-type.",
    ),
];

impl Report {
    /// Well-known errors of servers, with the way out.
    pub fn insights(&self) -> Vec<Notice> {
        let mut lines: Vec<String> = Vec::new();
        for group in &self.errors {
            let message = group.problem.message.to_lowercase();
            let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
            let unknown = UNKNOWN_FIELDS.iter().filter(|_| says(&UNKNOWN));
            let by_words = unknown.chain(&KNOWN).find(|(words, _)| says(words));
            let by_status = || {
                let code = u16::try_from(group.problem.code?).ok()?;
                let known = KNOWN_STATUS.iter().find(|(codes, _)| codes.contains(&code));
                known.map(|(_, advice)| *advice)
            };
            let advice = by_words.map(|(_, advice)| *advice).or_else(by_status);
            if let Some(advice) = advice.filter(|advice| !lines.iter().any(|line| line == advice)) {
                lines.push(advice.to_owned());
            }
        }
        if lines.is_empty() {
            return Vec::new();
        }
        vec![Notice {
            title: "What the Errors Say",
            lines,
        }]
    }

    /// Warnings about token counts and output lengths.
    pub fn notices(&self) -> Vec<Notice> {
        let valid = self.counts.valid;
        let share = |count: f64| {
            let pct = 100.0 * count / valid.max(1) as f64;
            let count = thousands(&format!("{count:.0}"));
            let (all, s) = (
                thousands(&valid.to_string()),
                if valid == 1 { "" } else { "s" },
            );
            format!("{count} of {all} request{s} ({pct:.1}%)")
        };
        let limits = &self.facts.thresholds;
        let mut notices = Vec::new();
        let counted = |tag: &str| self.value(tag).filter(|count| *count > 0.0);
        // The embedded server counts words: that they are not as many says nothing about anything.
        let embedded = self.facts.urls == ["mock:"];
        if let Some(count) = counted(tag::USAGE_DISCREPANCY_COUNT).filter(|_| !embedded) {
            notices.push(Notice {
                title: "Token Count Discrepancy Warning",
                lines: vec![
                    format!(
                        "{} have token counts of the server (usage) and of the client's tokenizer that \
                         differ by more than {}%.",
                        share(count),
                        limits.usage_diff_pct
                    ),
                    "Likely causes: another tokenizer than the model's (--tokenizer), a chat template \
                     or special tokens that the server counts (--apply-chat-template), or a server that \
                     counts otherwise."
                        .into(),
                    "See usage_prompt_tokens_diff_pct, usage_completion_tokens_diff_pct and \
                     usage_reasoning_tokens_diff_pct in the per-request file. \
                     --use-server-token-count takes the server's counts; \
                     PINFIRE_METRICS_USAGE_PCT_DIFF_THRESHOLD moves the limit."
                        .into(),
                ],
            });
        }
        let of = |noted: &Noted| format!("{} ({})", share(noted.count as f64), noted.places());
        let (absent, clamped) = (&self.anomalies.usage_absent, &self.anomalies.usage_clamped);
        if absent.count > 0 {
            notices.push(Notice {
                title: "Missing Token Counts Warning",
                lines: vec![
                    format!(
                        "{} came without a usage object that counts anything, and have no token metrics: \
                         nothing else counts under --use-server-token-count.",
                        of(absent)
                    ),
                    "Leave --use-server-token-count away, so that the client's tokenizer counts. Streams \
                     are asked for usage (stream_options.include_usage) unless --extra-inputs says \
                     otherwise; this server does not send it."
                        .into(),
                ],
            });
        }
        if clamped.count > 0 {
            notices.push(Notice {
                title: "Reasoning Token Count Warning",
                lines: vec![
                    format!(
                        "{} have more reasoning than completion tokens in their usage; output without \
                         reasoning counts as 0 there.",
                        of(clamped)
                    ),
                    "The server seems to count reasoning beside the completion, not as a part of it: \
                     output_sequence_length is the reasoning alone there. The client's tokenizer counts \
                     both."
                        .into(),
                ],
            });
        }
        let lines: Vec<String> = self.reached.iter().filter_map(Reached::line).collect();
        if !lines.is_empty() {
            notices.push(Notice {
                title: "Asked, But Not Reached",
                lines,
            });
        }
        notices.extend(self.odd_answers());
        if counted(tag::OSL_MISMATCH_COUNT).is_some() {
            let mean = self.value(tag::OSL_MISMATCH_DIFF_PCT);
            let mean = mean.map_or_else(String::new, |mean| {
                format!(" On average they differ by {mean:+.1}%.")
            });
            notices.push(Notice {
                title: "Output Sequence Length Mismatch Warning",
                lines: vec![
                    format!(
                        "{} have an output length that misses the asked one by more than {}% or {} \
                         tokens, whichever is less.{mean}",
                        of(&self.anomalies.osl_mismatch),
                        limits.osl_mismatch_pct,
                        limits.osl_mismatch_tokens
                    ),
                    "The usual cause is a model that ends its answer early: --extra-inputs \
                     ignore_eos:true or --extra-inputs min_tokens:<N> makes it go on, where the server \
                     knows them."
                        .into(),
                    "See osl_mismatch_diff_pct in the per-request file; \
                     PINFIRE_METRICS_OSL_MISMATCH_PCT_THRESHOLD and \
                     PINFIRE_METRICS_OSL_MISMATCH_MAX_TOKEN_THRESHOLD move the limits."
                        .into(),
                ],
            });
        }
        notices
    }

    /// What was odd about the answers themselves: events that could not be read, ends that are none
    /// of the usual ones, bodies that are not what their head says.
    fn odd_answers(&self) -> Option<Notice> {
        const USUAL: [&str; 8] = [
            "stop",
            "length",
            "tool_calls",
            "end_turn",
            "max_tokens",
            "tool_use",
            "completed",
            "eos_token",
        ];
        let odd = &self.anomalies;
        let mut lines = Vec::new();
        if odd.unreadable.count > 0 {
            let begins = odd.unreadable_begins.as_deref().unwrap_or_default();
            lines.push(format!(
                "Events that are no JSON: {} in {} requests ({}); the first begins: {begins}",
                odd.unreadable_events,
                odd.unreadable.count,
                odd.unreadable.places()
            ));
        }
        if odd.finish.keys().any(|reason| !USUAL.contains(&&**reason)) {
            let reasons = odd.finish.iter();
            let reasons: Vec<String> = reasons
                .map(|(why, count)| format!("{why} {count}"))
                .collect();
            lines.push(format!("Finish reasons: {}.", reasons.join(", ")));
        }
        if odd.refused.count > 0 {
            let (count, places) = (odd.refused.count, odd.refused.places());
            lines.push(format!(
                "The model declined (refusal): {count} requests ({places})."
            ));
        }
        if !odd.quirks.is_empty() {
            let quirks = odd.quirks.iter();
            let quirks: Vec<String> = quirks
                .map(|(what, count)| format!("{what} {count}"))
                .collect();
            lines.push(format!(
                "Read otherwise than sent: {}. See `read_as` in the per-request file.",
                quirks.join(", ")
            ));
        }
        (!lines.is_empty()).then_some(Notice {
            title: "Odd Answers",
            lines,
        })
    }

    /// How a server is made to report cache hits, where it reports prompts without them. A reported
    /// 0 is a report.
    pub(super) fn cache_hint(&self) -> Option<&'static str> {
        self.figures(tag::USAGE_PROMPT_TOKENS)?;
        self.figures(tag::USAGE_PROMPT_CACHE_READ_TOKENS).is_none().then_some(
            "The server reports token usage, but no prompt tokens read from its cache \
             (usage.prompt_tokens_details.cached_tokens). If it caches prefixes, let it report them: vLLM \
             --enable-prompt-tokens-details, SGLang --enable-cache-report; TensorRT-LLM does by default.",
        )
    }
}

/// The box, at most `width` wide.
pub(super) fn render(notice: &Notice, width: usize, colour: bool) -> String {
    // Two for the frame, two blanks each side.
    let room = width.saturating_sub(6).max(20);
    let lines: Vec<String> = notice
        .lines
        .iter()
        .flat_map(|line| wrap(line, room))
        .collect();
    let title = notice.title;
    let longest = lines.iter().map(|line| line.chars().count()).max();
    let inner = longest.unwrap_or(0).max(title.chars().count()) + 4;
    let bars = inner.saturating_sub(title.chars().count() + 2);
    let (left, right) = (bars / 2, bars - bars / 2);
    let mut text = format!("╭{} {title} {}╮\n", "─".repeat(left), "─".repeat(right));
    for line in &lines {
        let blank = inner - 4;
        text += &format!("│  {line:<blank$}  │\n");
    }
    text += &format!("╰{}╯\n", "─".repeat(inner));
    text.lines()
        .map(|line| style(line, "33", colour) + "\n")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_close_at_any_width() {
        let notice = Notice {
            title: "A Title",
            lines: vec!["some words that are longer than a narrow box".into()],
        };
        for width in [20, 40, 60, 200] {
            let text = render(&notice, width, false);
            let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
            assert!(widths.iter().all(|w| *w == widths[0]), "{text}");
            assert!(widths[0] <= width.max(26), "{text}");
        }
        let coloured = render(&notice, 60, true);
        assert!(pinfire_guard::painted(&coloured).contains("\x1b[33m"));
    }
}
