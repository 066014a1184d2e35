//! Answers of chat as almost all servers give them, read without building a JSON value.
//!
//! Every field that such an answer may have is named here, with the one form that is usual. What
//! has another field, or another form, does not fit and is read the long way; so whatever fits
//! means the same both ways.

use std::borrow::Cow;

use serde::Deserialize;

use super::{
    answer::{Context, Heard, Piece},
    usage::{MOST, Usage},
};

/// A chunk or a whole completion.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "what says nothing must have its usual form all the same"
)]
struct Document<'a> {
    id: Option<&'a str>,
    object: Object,
    created: Option<u64>,
    model: Option<Text<'a>>,
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
    usage: Option<Counts>,
    system_fingerprint: Option<&'a str>,
    service_tier: Option<&'a str>,
    prompt_logprobs: Option<()>,
    prompt_token_ids: Option<()>,
    kv_transfer_params: Option<()>,
    metadata: Option<()>,
}

#[derive(Deserialize)]
enum Object {
    #[serde(rename = "chat.completion.chunk")]
    Chunk,
    #[serde(rename = "chat.completion")]
    Whole,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as above")]
struct Choice<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    delta: Option<Message<'a>>,
    logprobs: Option<()>,
    finish_reason: Option<Text<'a>>,
    stop_reason: Option<u64>,
    matched_stop: Option<u64>,
    token_ids: Option<()>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as above")]
struct Message<'a> {
    role: Option<&'a str>,
    #[serde(borrow)]
    content: Option<Text<'a>>,
    reasoning_content: Option<Text<'a>>,
    reasoning: Option<Text<'a>>,
    refusal: Option<()>,
    annotations: Option<[(); 0]>,
    audio: Option<()>,
    function_call: Option<()>,
    tool_calls: Option<[(); 0]>,
}

/// A text. Borrowed, where nothing in it is escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as above")]
struct Counts {
    prompt_tokens: u64,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    /// Some have it here too; it counts where it belongs.
    reasoning_tokens: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as above")]
struct PromptDetails {
    cached_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as above")]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
    audio_tokens: Option<u64>,
    accepted_prediction_tokens: Option<u64>,
    rejected_prediction_tokens: Option<u64>,
}

impl Counts {
    /// `None` if one of them cannot be a count.
    fn usage(&self) -> Option<Usage> {
        let prompt = self.prompt_tokens_details.as_ref();
        let completion = self.completion_tokens_details.as_ref();
        let usage = Usage {
            prompt: Some(self.prompt_tokens),
            completion: self.completion_tokens,
            total: self.total_tokens,
            cache_read: prompt.and_then(|details| details.cached_tokens),
            cache_write: None,
            reasoning: completion.and_then(|details| details.reasoning_tokens),
            no_count: false,
        };
        let counts = [
            usage.prompt,
            usage.completion,
            usage.total,
            usage.cache_read,
            usage.reasoning,
        ];
        let all_are = counts.into_iter().flatten().all(|count| count < MOST);
        all_are.then_some(usage)
    }
}

/// What a document says; `None`, and nothing is given, if it does not fit.
pub(super) fn read(
    bytes: &[u8],
    context: &mut Context<'_>,
    each: &mut dyn FnMut(Piece<'_>),
) -> Option<Heard> {
    let document: Document<'_> = serde_json::from_slice(bytes).ok()?;
    // A whole message in a stream repeats what came before it, or not.
    let is_known = |choice: &Choice<'_>| match (&choice.message, &choice.delta) {
        (Some(_), Some(_)) => false,
        (Some(_), None) => context.whole,
        (None, _) => true,
    };
    if !document.choices.iter().all(is_known) {
        return None;
    }
    let usage = match &document.usage {
        Some(counts) => Some(counts.usage()?),
        None => None,
    };
    for (at, choice) in document.choices.iter().enumerate() {
        let index = choice.index.unwrap_or(at as u64);
        each(Piece::Choice(index));
        let said = context.said(index);
        if let Some(message) = choice.delta.as_ref().or(choice.message.as_ref()) {
            message.pieces(&mut |piece| {
                said.note(&piece);
                each(piece);
            });
        }
        if let Some(reason) = some(choice.finish_reason.as_ref()) {
            each(Piece::Finish(reason));
        }
    }
    Some(Heard {
        usage,
        ..Heard::default()
    })
}

impl Message<'_> {
    fn pieces(&self, each: &mut dyn FnMut(Piece<'_>)) {
        let reasoning = some(self.reasoning_content.as_ref());
        if let Some(text) = reasoning.or_else(|| some(self.reasoning.as_ref())) {
            each(Piece::Reasoning(text));
        }
        if let Some(text) = some(self.content.as_ref()) {
            each(Piece::Text(text));
        }
    }
}

/// A text that is there and not empty.
fn some<'t>(text: Option<&'t Text<'_>>) -> Option<&'t str> {
    text.map(|text| &*text.0).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::{Answers, EndpointKind::Chat, answer::Reader};

    /// All that reading a document does, as text.
    fn told(
        bytes: &[u8],
        whole: bool,
        read: impl Fn(&mut Reader<'_>, &mut dyn FnMut(Piece<'_>)) -> Option<Heard>,
    ) -> (Option<Heard>, Vec<String>, String) {
        let answers = Answers::of(Chat);
        let mut reader = Reader::new(&answers);
        // Something was said before, so that what is noted shows.
        reader.read(
            br#"{"choices":[{"delta":{"content":"a"}}]}"#,
            false,
            &mut |_| {},
        );
        reader.context.whole = whole;
        let mut pieces = Vec::new();
        let heard = read(&mut reader, &mut |piece| pieces.push(format!("{piece:?}")));
        assert!(heard.is_some() || pieces.is_empty(), "{bytes:?}");
        (heard, pieces, format!("{:?}", reader.context))
    }

    /// Whether a document fits; if it does, it means the same both ways.
    fn fits(bytes: &[u8], whole: bool) -> bool {
        let short = told(bytes, whole, |reader, each| {
            read(bytes, &mut reader.context, each)
        });
        if short.0.is_none() {
            return false;
        }
        let long = told(bytes, whole, |reader, each| {
            Some(reader.read_any(bytes, whole, each))
        });
        assert_eq!(short, long, "{}", String::from_utf8_lossy(bytes));
        true
    }

    /// Of OpenAI, vLLM and SGLang.
    const USUAL: [(bool, &str); 6] = [
        (
            true,
            r#"{"id":"chatcmpl-1","object":"chat.completion","created":1764590000,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi \"you\"\n","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":1,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":null}"#,
        ),
        (
            true,
            r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi","refusal":null,"annotations":null,"audio":null,"function_call":null,"tool_calls":[],"reasoning_content":"hm"},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}],"service_tier":null,"system_fingerprint":null,"usage":{"prompt_tokens":9,"total_tokens":11,"completion_tokens":2,"prompt_tokens_details":null},"prompt_logprobs":null,"prompt_token_ids":null,"kv_transfer_params":null}"#,
        ),
        (
            true,
            r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi","reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":"stop","matched_stop":151645}],"usage":{"prompt_tokens":9,"total_tokens":11,"completion_tokens":2,"prompt_tokens_details":null,"reasoning_tokens":0},"metadata":null}"#,
        ),
        (
            false,
            r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning":"hm"},"logprobs":null,"finish_reason":null}]}"#,
        ),
        (
            false,
            r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop","stop_reason":null}]}"#,
        ),
        (
            false,
            r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":9,"total_tokens":11,"completion_tokens":2}}"#,
        ),
    ];

    #[test]
    fn what_servers_send_fits() {
        for (whole, document) in USUAL {
            assert!(fits(document.as_bytes(), whole), "{document}");
        }
    }

    #[test]
    fn what_is_unusual_does_not() {
        let usual = USUAL[0].1;
        for (part, other) in [
            (r#""stop""#, "7"),
            (r#"{"role""#, r#"{"text":"x","role""#),
            (r#""index":0"#, r#""index":0,"error":{"message":"no"}"#),
            (r#""id":"chatcmpl-1""#, r#""error":{"message":"no"}"#),
            (r#""refusal":null"#, r#""refusal":"no""#),
            (r#""annotations":[]"#, r#""tool_calls":[{}]"#),
            (r#""prompt_tokens":9"#, r#""prompt_tokens":4294967296"#),
            (r#""prompt_tokens":9"#, r#""prompt_tokens":-1"#),
            (r#""prompt_tokens":9"#, r#""prompt_tokens":9.0"#),
            (r#""prompt_tokens":9,"#, r#""input_tokens":9,"#),
            (r#""prompt_tokens":9,"#, ""),
            (
                r#""completion_tokens":2"#,
                r#""completion_tokens":2,"completion_tokens":3"#,
            ),
            ("chat.completion", "response"),
            ("Hi", "\\ud83d"),
            ("Hi", "\u{1}"),
            ("{", "["),
        ] {
            let document = usual.replacen(part, other, 1);
            assert_ne!(document, usual);
            assert!(!fits(document.as_bytes(), true), "{document}");
        }
        assert!(
            !fits(usual.as_bytes(), false),
            "a whole message in a stream"
        );
    }

    proptest! {
        /// Documents of parts usual and odd, some of them damaged.
        #[test]
        fn what_fits_means_the_same_both_ways(
            top in vec(select(TOP), 0..6),
            of_choice in vec(vec(select(OF_CHOICE), 0..5), 0..3),
            damage in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
            whole in any::<bool>(),
        ) {
            let choices: Vec<String> =
                of_choice.iter().map(|parts| format!("{{{}}}", parts.join(","))).collect();
            let choices = format!(r#""choices":[{}]"#, choices.join(","));
            let object = if whole { "chat.completion" } else { "chat.completion.chunk" };
            let object = format!(r#""object":"{object}""#);
            let parts: Vec<&str> = top.into_iter().chain([&*object, &*choices]).collect();
            let mut bytes = format!("{{{}}}", parts.join(",")).into_bytes();
            if let Some((at, byte)) = damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            fits(&bytes, whole);
        }
    }

    const TOP: &[&str] = &[
        r#""id":"a""#,
        r#""id":"\u0041""#,
        r#""id":null"#,
        r#""created":1"#,
        r#""created":1.5"#,
        r#""model":"m\n""#,
        r#""usage":null"#,
        r#""usage":{}"#,
        r#""usage":{"prompt_tokens":1,"completion_tokens":null,"total_tokens":2}"#,
        r#""usage":{"prompt_tokens":1,"completion_tokens":4294967295}"#,
        r#""usage":{"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":1},"reasoning_tokens":7}"#,
        r#""usage":{"prompt_tokens":1,"completion_tokens_details":{"reasoning_tokens":4294967296}}"#,
        r#""usage":{"prompt_tokens":"1"}"#,
        r#""service_tier":"default""#,
        r#""system_fingerprint":null"#,
        r#""error":null"#,
        r#""error":{"message":"no"}"#,
        r#""tokens":{"input_tokens":3}"#,
    ];
    const OF_CHOICE: &[&str] = &[
        r#""index":0"#,
        r#""index":3"#,
        r#""index":null"#,
        r#""index":"0""#,
        r#""delta":null"#,
        r#""delta":{}"#,
        r#""delta":{"content":"b"}"#,
        r#""delta":{"role":"assistant","content":"","reasoning":"c"}"#,
        r#""delta":{"reasoning_content":"","reasoning":"d","content":"e\t"}"#,
        r#""delta":{"reasoning_content":"f","reasoning":"g","tool_calls":[]}"#,
        r#""delta":{"content":[{"type":"text","text":"h"}]}"#,
        r#""delta":{"content":null,"tool_calls":[{"id":"i"}]}"#,
        r#""message":null"#,
        r#""message":{"role":"assistant","content":"j"}"#,
        r#""message":{"content":"k","refusal":"l"}"#,
        r#""text":"m""#,
        r#""logprobs":null"#,
        r#""logprobs":{"content":[]}"#,
        r#""finish_reason":null"#,
        r#""finish_reason":"""#,
        r#""finish_reason":"stop""#,
        r#""stop_reason":"x""#,
        r#""stop_reason":7"#,
    ];
}
