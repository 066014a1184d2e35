//! Errors in a 200, ends that are failures, answers that say nothing, redirects.

use pinfire_dialect::EndpointKind;

use crate::play::{
    Case, DONE, Right, STREAM, USAGE, delta, event, fails, right, stream, three, whole, with_head,
};

pub fn in_a_200() -> Vec<Case> {
    let two = three()[..2].concat();
    let kept = |right: Right| Right {
        kept: Some(" alpha beta"),
        ..right
    };
    let dead = |code: i64| fails(code, "engine dead", "");
    let object = event(r#"{"object":"error","message":"engine dead","code":500}"#);
    let empty = |error: &str| {
        [" alpha", " beta", " gamma"]
            .map(|text| {
                event(&format!(r#"{{"object":"chat.completion.chunk","error":{error},"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#))
            })
            .concat()
    };
    vec![
        // 7: ggml-org/llama.cpp#16109
        stream(
            "a field named error",
            [
                &*two,
                "error: {\"code\":500,\"message\":\"slot crashed\"}\n\n",
                DONE,
            ],
            kept(fails(500, "slot crashed", "")),
        ),
        stream(
            "a field named error, alone",
            ["error: {\"code\":503,\"message\":\"Loading model\"}\n\n"],
            fails(503, "Loading model", ""),
        ),
        stream(
            "a field named error with words",
            [&*two, "error: out of slots\n\n"],
            kept(fails(502, "out of slots", "")),
        ),
        // 8: foundation-model-stack/fms-guardrails-orchestrator#436 (neighbour)
        stream(
            "an object that is an error, first",
            [&*object, DONE],
            dead(500),
        ),
        stream(
            "an object that is an error, after tokens",
            [&*two, &object, DONE],
            kept(dead(500)),
        ),
        stream(
            "an error object in data",
            [
                &*two,
                &event(r#"{"error":{"message":"engine dead","code":"507"}}"#),
            ],
            kept(dead(507)),
        ),
        stream(
            "an error that is a text",
            [&*event(
                r#"{"error":"engine dead","error_type":"generation"}"#,
            )],
            dead(502),
        ),
        stream(
            "a list of errors",
            [
                &*two,
                &event(r#"{"success":false,"errors":[{"code":7000,"message":"engine dead"}]}"#),
            ],
            kept(dead(7000)),
        ),
        stream(
            "a code and a message",
            [&*event(r#"{"code":503,"message":"engine dead"}"#)],
            dead(503),
        ),
        stream(
            "a detail",
            [&*event(r#"{"detail":"engine dead"}"#)],
            dead(502),
        ),
        stream(
            "an error of a choice",
            [
                &*two,
                &event(
                    r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error","error":{"code":502,"message":"engine dead"}}]}"#,
                ),
            ],
            Right {
                finish: &["error"],
                ..kept(dead(502))
            },
        ),
        stream(
            "bare JSON",
            [
                &*two,
                "{\"error\":{\"message\":\"engine dead\",\"code\":500}}\n\n",
            ],
            Right {
                read_as: &["json_in_event_stream"],
                ..kept(dead(500))
            },
        ),
        stream(
            "bare JSON over several lines",
            ["{\n  \"error\": {\n    \"message\": \"engine dead\"\n  }\n}\n"],
            Right {
                read_as: &["json_in_event_stream"],
                ..dead(502)
            },
        ),
        stream("words in data, first", [&*event("engine dead")], dead(502)),
        stream(
            "words in data, after tokens",
            [&*two, &event("engine dead"), DONE],
            kept(dead(502)),
        ),
        stream(
            "words without a field",
            [&*two, "Internal Server Error\n"],
            kept(fails(502, "Internal Server Error", "")),
        ),
        stream(
            "words of a proxy",
            ["upstream connect error or disconnect/reset before headers. reset reason: overflow"],
            fails(502, "upstream connect error", ""),
        ),
        stream(
            "a page in data",
            [&*two, &event("<html>Bad Gateway</html>")],
            kept(fails(502, "Bad Gateway", "")),
        ),
        stream(
            "an error event with a text",
            [
                &*two,
                "event: error\ndata: {\"error\":{\"message\":\"engine dead\"}}\n\n",
            ],
            kept(dead(502)),
        ),
        stream(
            "an error event with bare words",
            [&*two, "event: error\ndata: slot crashed\n\n"],
            kept(fails(502, "slot crashed", "")),
        ),
        stream(
            "an error event with a number",
            [
                &*two,
                "event: error\ndata: {\"message\":\"engine dead\",\"code\":503}\n\n",
            ],
            kept(dead(503)),
        ),
        // 9: openai/openai-python#1160, BerriAI/litellm#32237
        stream(
            "an error that is an empty object",
            [&*empty("{}"), USAGE, DONE],
            right(3),
        ),
        stream(
            "an error that is an empty text",
            [&*empty(r#""""#)],
            right(3),
        ),
        stream("an error that is false", [&*empty("false")], right(3)),
        stream("an error that is null", [&*empty("null")], right(3)),
        stream(
            "an error of nothing",
            [&*empty(r#"{"code":0,"message":""}"#)],
            right(3),
        ),
        stream(
            "signs of life",
            [
                &*event("ping"),
                &two,
                ": comment\n\n",
                "event: ping\ndata: {}\n\n",
                &event("keep-alive"),
            ],
            right(2),
        ),
        with_head(
            "an error object in a body",
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
            [r#"{"object":"error","message":"engine dead","code":500}"#],
            dead(500),
        ),
        stream(
            "base_resp",
            [&*event(
                r#"{"base_resp":{"status_code":1004,"status_msg":"engine dead"},"choices":null}"#,
            )],
            dead(1004),
        ),
        stream(
            "Anthropic's",
            [&*event(
                r#"{"type":"error","error":{"type":"overloaded_error","message":"engine dead"}}"#,
            )],
            dead(502),
        )
        .of(EndpointKind::Messages),
    ]
}

pub fn finish_reasons() -> Vec<Case> {
    let end = |reason: &str| {
        event(&format!(
            r#"{{"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#
        ))
    };
    let with_text = event(
        r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" alpha"},"finish_reason":"length"}]}"#,
    );
    let first = &three()[0];
    let fine = |finish: &'static [&'static str]| Right { finish, ..right(1) };
    let broken = |finish: &'static [&'static str]| Right {
        finish,
        kept: Some(" alpha"),
        ..fails(None, "aborted by the server", "")
    };
    vec![
        // 13: vllm-project/vllm#57082
        stream("abort", [&**first, &end("abort"), USAGE, DONE], broken(&["abort"])),
        stream("error", [&**first, &end("error"), DONE], broken(&["error"])),
        stream("cancelled", [&**first, &end("cancelled")], broken(&["cancelled"])),
        stream("stop", [&**first, &end("stop")], fine(&["stop"])),
        stream("length with the text", [&*with_text], fine(&["length"])),
        stream("content_filter", [&**first, &end("content_filter")], fine(&["content_filter"])),
        stream("said twice", [&**first, &end("stop"), &end("stop")], fine(&["stop"])),
        stream("a reason of its own", [&**first, &end("eos_token")], fine(&["eos_token"])),
        stream("end_turn", [&*event(r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"hi"}}"#), &event(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#)], fine(&["end_turn"])).of(EndpointKind::Messages),
        stream("max_output_tokens", [&*event(r#"{"type":"response.output_text.delta","delta":"hi"}"#), &event(r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}}"#)], fine(&["max_output_tokens"])).of(EndpointKind::Responses),
    ]
}

pub fn nothing() -> Vec<Case> {
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n";
    let role = delta(r#"{"role":"assistant","content":""}"#);
    let page = "<!DOCTYPE html>\n<html><body>Welcome to nginx!</body></html>";
    let foreign =
        event(r#"{"object":"chat.ping","choices":[{"index":0,"delta":{"content":"x"}}]}"#);
    vec![
        // 18
        with_head(
            "a page",
            html,
            [page],
            fails(
                None,
                "Content type text/html, 200 OK: a page, no JSON: <!DOCTYPE html>",
                "Welcome to nginx!",
            ),
        ),
        with_head(
            "a page that says JSON",
            json,
            [page],
            fails(
                None,
                "Content type application/json, 200 OK: a page",
                "Welcome",
            ),
        ),
        stream(
            "a page that says events",
            [page],
            fails(502, "Welcome to nginx!", ""),
        ),
        with_head(
            "204",
            "HTTP/1.1 204 No Content\r\n",
            [],
            fails(None, "The response has no body: 204 No Content", ""),
        ),
        with_head(
            "an empty body",
            json,
            [],
            fails(None, "The response body is empty: 200 OK", ""),
        ),
        with_head(
            "a body of blanks",
            json,
            ["  \n"],
            fails(None, "The response body is empty: 200 OK", ""),
        ),
        stream(
            "an empty stream",
            [],
            fails(None, "The event stream is empty: 200 OK", ""),
        ),
        stream(
            "comments only",
            [": one\n\n", ": two\n\n"],
            fails(
                None,
                "The event stream has no event, only comments",
                "14 bytes",
            ),
        ),
        stream(
            "an end mark only",
            [DONE],
            fails(None, "all that came is [DONE]", "1 event"),
        ),
        stream(
            "a role, usage and an end mark",
            [&*role, USAGE, DONE],
            fails(
                None,
                "what came is deltas without content, usage and [DONE]",
                "3 events",
            ),
        ),
        stream(
            "objects of another kind",
            [&*foreign, &foreign],
            fails(
                None,
                "The events are objects of another kind: chat.ping",
                "2 events",
            ),
        ),
        with_head(
            "no choices",
            json,
            [r#"{"object":"chat.completion","choices":[]}"#],
            fails(None, "JSON without content: choices is empty", ""),
        ),
        with_head(
            "a choice without content",
            json,
            [&*whole().replace(" alpha beta gamma", "")],
            Right {
                finish: &["stop"],
                ..fails(None, "choice 0 says nothing, finish_reason stop", "")
            },
        ),
        with_head(
            "other JSON",
            json,
            [r#"{"id":"x","status_text":"fine"}"#],
            fails(None, "JSON without content: keys id, status_text", ""),
        ),
        with_head(
            "half a document",
            json,
            [&whole()[..40]],
            fails(None, "JSON that is broken", "40 bytes"),
        ),
        with_head(
            "words",
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n",
            ["all good"],
            fails(
                None,
                "Content type text/plain, 200 OK: text, no JSON",
                "all good",
            ),
        ),
        with_head(
            "no content type",
            "HTTP/1.1 200 OK\r\n",
            ["all good"],
            fails(None, "No content type, 200 OK: text, no JSON", ""),
        ),
        with_head(
            "a coding that nobody knows",
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: compress\r\n",
            ["\u{1}\u{2}rubbish"],
            fails(None, "coded as compress", ""),
        ),
    ]
}

/// What is no answer of HTTP/1.1: the words say what else speaks, or how it begins.
pub fn other_protocols() -> Vec<Case> {
    let case = |name: &str, bytes: &[u8], right| Case {
        name: name.to_owned(),
        kind: EndpointKind::Chat,
        pieces: vec![bytes.to_vec()],
        right,
    };
    vec![
        case(
            "an alert of TLS",
            b"\x15\x03\x01\0\x02\x02\x16",
            fails(None, "but TLS: the URL wants https", r"begins: \x15\x03"),
        ),
        case(
            "settings of HTTP/2",
            b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0d",
            fails(None, "but HTTP/2", ""),
        ),
        case(
            "SSH",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            fails(None, "but SSH", "begins: SSH-2.0-OpenSSH_9.2"),
        ),
        case(
            "HTTP/0.9",
            b"<html>hi</html>",
            fails(None, "not HTTP/1.1", "begins: <html>hi</html>"),
        ),
        case(
            "words of another service",
            b"-ERR unknown command 'POST'\r\n",
            fails(None, "not HTTP/1.1", "begins: -ERR unknown command"),
        ),
        case(
            "half a head",
            b"HTTP/1.1 200 OK\r\nContent-Ty",
            fails(
                None,
                "in the middle of the response head",
                r"begins: HTTP/1.1 200 OK\r\n",
            ),
        ),
    ]
}

pub fn statuses() -> Vec<Case> {
    let moved = "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://other:8000/v1/chat?x=1\r\n";
    let error = r#"{"error":{"message":"slow down"}}"#;
    vec![
        // 19: neighbour of BerriAI/litellm#20812
        with_head(
            "307",
            moved,
            [],
            fails(
                307,
                "Temporary Redirect to http://other:8000/v1/chat?x=1: redirects are not followed",
                "",
            ),
        ),
        with_head(
            "308 with a page",
            "HTTP/1.1 308 x\r\nLocation: /v1/\r\nContent-Type: text/html\r\n",
            ["<html>moved</html>"],
            fails(
                308,
                "Permanent Redirect to /v1/: redirects are not followed",
                "",
            ),
        ),
        with_head(
            "302 with a credential",
            "HTTP/1.1 302 Found\r\nLocation: https://login/?token=secret\r\n",
            [],
            fails(
                302,
                "Found to https://login/?token=<redacted>: redirects",
                "",
            ),
        ),
        with_head(
            "303 without a target",
            "HTTP/1.1 303 See Other\r\n",
            [],
            fails(303, "See Other", ""),
        ),
        with_head(
            "429",
            "HTTP/1.1 429 x\r\nContent-Type: application/json\r\n",
            [error],
            fails(429, "slow down", ""),
        ),
        with_head(
            "500 as an event stream",
            &STREAM.replace("200 OK", "500 Oops"),
            ["data: {\"error\":\"no\"}\n\n"],
            fails(500, "data: {\"error\":\"no\"}", ""),
        ),
        with_head(
            "401 without a body",
            "HTTP/1.1 401 x\r\n",
            [],
            fails(401, "Unauthorized", ""),
        ),
    ]
}
