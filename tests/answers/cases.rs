//! Several choices, JSON that is none, content where nobody expects it.

use pinfire_dialect::EndpointKind;

use crate::play::{
    Case, DONE, Right, STREAM, USAGE, delta, event, fails, right, stream, three, whole, with_head,
};

fn text(index: u32, text: &str) -> String {
    format!(r#"{{"object":"text_completion","choices":[{{"index":{index},"text":"{text}"}}]}}"#)
}

fn chat(index: u32, text: &str) -> String {
    format!(
        r#"{{"object":"chat.completion.chunk","choices":[{{"index":{index},"delta":{{"content":"{text}"}}}}]}}"#
    )
}

const WORDS: [&str; 3] = [" alpha", " beta", " gamma"];

pub fn several_choices() -> Vec<Case> {
    let usage = |tokens: u32| {
        event(&format!(
            r#"{{"choices":[],"usage":{{"prompt_tokens":7,"completion_tokens":{tokens}}}}}"#
        ))
    };
    let rounds: Vec<String> = WORDS
        .iter()
        .map(|word| (0..3).map(|index| event(&text(index, word))).collect())
        .collect();
    let turns: Vec<String> = WORDS
        .iter()
        .flat_map(|word| [0, 1].map(|index| event(&chat(index, word))))
        .collect();
    let both = |word: &str| {
        event(&format!(
            r#"{{"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{"content":"{word}"}}}},{{"index":1,"delta":{{"content":"{word}"}}}}]}}"#
        ))
    };
    let both = WORDS.map(both);
    let ended = |index: u32, word: &str| {
        event(&chat(index, word).replace("}}]", r#"},"finish_reason":"length"}]"#))
    };
    let one_each = [ended(0, " alpha"), ended(1, " beta"), ended(2, " gamma")];
    let counted = [1, 2, 3].map(|index| event(&chat(index, WORDS[index as usize - 1])));
    let from_zero = [0, 1, 2].map(|index| event(&chat(index, WORDS[index as usize])));
    let one = [1, 1, 1].map(|index| event(&chat(index, " word")));
    let late = [
        event(&chat(1, " alpha")),
        event(&chat(0, " beta")),
        event(&chat(1, " gamma")),
        event(&chat(0, " delta")),
    ];
    let bodies = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"content":" alpha beta"},"finish_reason":"stop"},{"index":1,"message":{"content":" gamma"},"finish_reason":"length"}],"usage":{"completion_tokens":3}}"#;
    let nameless =
        r#"{"object":"text_completion","choices":[{"text":" alpha"},{"text":" beta gamma"}]}"#;
    let mixed = r#"{"choices":[{"index":0,"delta":{"reasoning":" hm"}},{"index":1,"delta":{"content":" yes"}}]}"#;
    let of = |list: &[String]| -> Vec<String> { list.to_vec() };
    let case = |name, list: Vec<String>, right: Right| {
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        stream(name, list, right)
    };
    let several = |osl, choices, usage| Right {
        choices: Some(choices),
        usage,
        ..right(osl)
    };
    let mut all = vec![
        // 1: InternLM/lmdeploy#4419
        case(
            "three prompts in one request",
            [of(&rounds), vec![usage(9), DONE.into()]].concat(),
            Right {
                instants: Some(3),
                ..several(9, 3, Some(9))
            },
        )
        .of(EndpointKind::Completions),
        // 2: npuichigo/openai_trtllm#48
        case(
            "two choices in turn",
            [of(&turns), vec![usage(6), DONE.into()]].concat(),
            Right {
                instants: Some(6),
                ..several(6, 2, Some(6))
            },
        ),
        // 2: BerriAI/litellm#3276
        case(
            "two choices in one event",
            [of(&both), vec![usage(6), DONE.into()]].concat(),
            Right {
                instants: Some(3),
                ..several(6, 2, Some(6))
            },
        ),
        case(
            "one chunk for each choice",
            of(&one_each),
            Right {
                finish: &["length", "length", "length"],
                ..several(3, 3, None)
            },
        ),
        case("the second choice first", of(&late), several(4, 2, None)),
        // 3: huggingface/text-generation-inference#1648
        case("an index that counts tokens", of(&counted), right(3)),
        case("an index that counts from zero", of(&from_zero), right(3)),
        case("a choice that is not number 0", of(&one), right(3)),
        case(
            "text completions in chat",
            WORDS.map(|word| event(&text(0, word))).to_vec(),
            right(3),
        ),
        stream(
            "reasoning of one, content of the other",
            [&*event(mixed)],
            Right {
                reasoning: Some(1),
                ..several(2, 2, None)
            },
        ),
    ];
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    all.push(with_head(
        "two choices in a body",
        json,
        [bodies],
        Right {
            finish: &["stop", "length"],
            ..several(3, 2, Some(3))
        },
    ));
    all.push(
        with_head(
            "choices without an index",
            json,
            [nameless],
            several(3, 2, None),
        )
        .of(EndpointKind::Completions),
    );
    all
}

pub fn unreadable_json() -> Vec<Case> {
    let three = three();
    let with = |text: &str, extra: &str| {
        event(&format!(
            r#"{{"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{"content":"{text}"}},{extra}}}]}}"#
        ))
    };
    let log = |text: &str, number: &str| {
        with(
            text,
            &format!(r#""logprobs":{{"content":[{{"token":"x","logprob":{number}}}]}}"#),
        )
    };
    let broken = |events: u64| Right {
        unreadable: Some(events),
        ..right(2)
    };
    vec![
        // 5: sgl-project/sglang#2955, #4097
        stream(
            "-Infinity",
            [
                &*three[0],
                &log(" beta", "-Infinity"),
                &log(" gamma", "-Infinity"),
                USAGE,
                DONE,
            ],
            Right {
                instants: Some(3),
                ..right(3)
            },
        ),
        stream(
            "NaN",
            [
                &*log(" alpha", "NaN"),
                &log(" beta", "nan"),
                &log(" gamma", "-inf"),
            ],
            right(3),
        ),
        stream(
            "1e999",
            [&*log(" alpha", "-1e999"), &three[1], &three[2]],
            right(3),
        ),
        stream(
            "half a surrogate pair",
            [
                &*log(r" alpha\ud83d", "NaN"),
                &delta(r#"{"content":" \udc00beta"}"#),
                &three[2],
            ],
            right(3),
        ),
        stream(
            "a raw tab in a string",
            [&*three[0], &log(" be\tta", "0")],
            right(3),
        ),
        stream(
            "an escape that is none",
            [&*three[0], &with(r" b\x41", r#""a":1"#)],
            right(2),
        ),
        stream(
            "a byte order mark before each event",
            ["data: \u{feff}{\"choices\":[{\"delta\":{\"content\":\" a b\"}}]}\n\n"],
            right(2),
        ),
        stream(
            "a chunk that is cut off",
            [
                &*three[0],
                "data: {\"choices\":[{\"index\":0,\n\n",
                &three[2],
            ],
            broken(1),
        ),
        stream(
            "two chunks that are cut off",
            [
                &*three[0],
                "data: {\"a\":\n\n",
                "data: {'b': 1}\n\n",
                &three[2],
                DONE,
            ],
            broken(2),
        ),
        stream(
            "broken first",
            ["data: {bad json}\n\n", &*three[0], &three[1]],
            broken(1),
        ),
        stream(
            "all of it broken",
            ["data: {\"a\n\n", "data: {\"b\n\n", DONE],
            Right {
                unreadable: Some(2),
                ..fails(
                    None,
                    "No event of the stream is JSON",
                    "3 events, none of them JSON; the first begins: {\"a",
                )
            },
        ),
        with_head(
            "NaN in a body",
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
            [&*whole().replace(r#""index":0"#, r#""index":0,"logprob":NaN"#)],
            Right {
                finish: &["stop"],
                ..right(3)
            },
        ),
    ]
}

pub fn unusual_places() -> Vec<Case> {
    let words = |wrap: &dyn Fn(&str) -> String| -> Vec<String> {
        WORDS.iter().map(|word| delta(&wrap(word))).collect()
    };
    let case = |name, list: Vec<String>, right: Right| {
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        stream(name, list, right)
    };
    let thinking = words(&|word| {
        format!(
            r#"{{"content":[{{"type":"thinking","thinking":[{{"type":"text","text":"{word}"}}]}}]}}"#
        )
    });
    let parts = words(&|word| format!(r#"{{"content":[{{"type":"text","text":"{word}"}}]}}"#));
    let details = words(&|word| {
        format!(r#"{{"reasoning_details":[{{"type":"reasoning.text","text":"{word}"}}]}}"#)
    });
    let blocks = words(&|word| {
        format!(r#"{{"content":"","thinking_blocks":[{{"type":"thinking","thinking":"{word}"}}]}}"#)
    });
    let twice = words(&|word| {
        format!(
            r#"{{"reasoning":"{word}","reasoning_details":[{{"type":"reasoning.text","text":"{word}"}}]}}"#
        )
    });
    let declined = words(&|word| format!(r#"{{"refusal":"{word}"}}"#));
    let both = |reasoning: u64, osl: u64, instants: usize| Right {
        reasoning: Some(reasoning),
        instants: Some(instants),
        ..right(osl)
    };
    let six = event(r#"{"choices":[],"usage":{"completion_tokens":6}}"#);
    let repeated = event(&whole());
    let call = delta(
        r#"{"tool_calls":[{"index":0,"id":"c","function":{"name":"look up","arguments":{"city":"Paris"}}}]}"#,
    );
    let text_call = delta(
        r#"{"tool_calls":[{"index":0,"id":"c","function":{"name":"look up","arguments":"{\"city\":\"Paris\"}"}}]}"#,
    );
    let token =
        |text: &str, rest: &str| event(&format!(r#"{{"token":{{"text":"{text}"}},{rest}}}"#));
    let last = token(
        " gamma",
        r#""generated_text":" alpha beta gamma","details":{"finish_reason":"length","generated_tokens":3}"#,
    );
    let said = [
        event(
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":" alpha"}}"#,
        ),
        event(
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" beta"}}"#,
        ),
        event(
            r#"{"type":"message","content":[{"type":"text","text":" alpha beta"}],"stop_reason":"end_turn"}"#,
        ),
    ];
    let grown = ["alpha", "alpha beta", "alpha beta gamma"].map(|text| {
        event(&format!(r#"{{"object":"chat.completion","choices":[{{"index":0,"message":{{"content":"{text}"}}}}]}}"#))
    });
    let completed = event(
        r#"{"type":"response.completed","response":{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"alpha beta"}]}],"usage":{"output_tokens":2}}}"#,
    );
    vec![
        // 10: BerriAI/litellm#16272, simonw/llm-mistral#39
        case(
            "thinking parts",
            [thinking, parts.clone()].concat(),
            both(3, 6, 6),
        ),
        case(
            "lists of parts",
            parts,
            Right {
                instants: Some(3),
                ..right(3)
            },
        ),
        // 11: MiniMax-AI/MiniMax-M2#95
        case(
            "reasoning_details",
            [details, three(), vec![six.clone(), DONE.into()]].concat(),
            Right {
                usage: Some(6),
                ..both(3, 6, 6)
            },
        ),
        case("thinking_blocks", [blocks, three()].concat(), both(3, 6, 6)),
        case(
            "reasoning under two names",
            [twice, three()].concat(),
            both(3, 6, 6),
        ),
        // 17: langchain-ai/langchain#39747
        case(
            "refusal",
            declined,
            Right {
                refused: true,
                instants: Some(3),
                ..right(3)
            },
        ),
        stream(
            "a refusal in a part",
            [&*delta(
                r#"{"content":[{"type":"refusal","refusal":"I cannot"}]}"#,
            )],
            Right {
                refused: true,
                ..right(2)
            },
        ),
        // 12: ggml-org/llama.cpp#20198
        stream("arguments that are an object", [&*call], right(2)),
        stream("arguments that are a text", [&*text_call], right(2)),
        stream(
            "arguments that are a list",
            [&*delta(
                r#"{"function_call":{"name":"f g","arguments":[1]}}"#,
            )],
            right(2),
        ),
        // 6: ENTERPILOT/GoModel#1068
        case(
            "the whole message once more",
            [three(), vec![repeated.clone()]].concat(),
            Right {
                instants: Some(3),
                finish: &["stop"],
                usage: Some(3),
                ..right(3)
            },
        ),
        stream(
            "the whole message alone",
            [&*repeated],
            Right {
                finish: &["stop"],
                ..right(3)
            },
        ),
        case(
            "a message that grows",
            grown.to_vec(),
            Right {
                instants: Some(3),
                ..right(3)
            },
        ),
        case(
            "the whole message of another dialect",
            said.to_vec(),
            Right {
                instants: Some(2),
                finish: &["end_turn"],
                ..right(2)
            },
        )
        .of(EndpointKind::Messages),
        case(
            "a response at the end only",
            vec![completed],
            Right {
                finish: &["completed"],
                usage: Some(2),
                ..right(2)
            },
        )
        .of(EndpointKind::Responses),
        // 20: TGI
        case(
            "generated_tokens",
            vec![
                token(" alpha", r#""x":1"#),
                token(" beta", r#""x":1"#),
                last,
            ],
            Right {
                instants: Some(3),
                finish: &["length"],
                usage: Some(3),
                ..right(3)
            },
        )
        .of(EndpointKind::HuggingfaceGenerate),
        stream(
            "a count that no answer can have",
            [
                &*three().concat(),
                &event(r#"{"choices":[],"usage":{"prompt_tokens":1e30,"completion_tokens":"3"}}"#),
                &event(
                    r#"{"choices":[],"usage":{"prompt_tokens":18446744073709551615,"completion_tokens":"3"}}"#,
                ),
            ],
            Right {
                read_as: &["usage_is_no_count"],
                usage: Some(3),
                ..right(3)
            },
        ),
        stream(
            "a negative count of prompt tokens",
            [
                &*three().concat(),
                &event(r#"{"choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":3}}"#),
            ],
            Right {
                read_as: &["usage_is_no_count"],
                usage: Some(3),
                ..right(3)
            },
        ),
        stream(
            "x_groq.usage",
            [
                &*three()[0],
                &event(
                    r#"{"object":"chat.completion.chunk","x_groq":{"usage":{"completion_tokens":1}},"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
                ),
            ],
            Right {
                finish: &["stop"],
                usage: Some(1),
                ..right(1)
            },
        ),
        stream(
            "the transcript of an audio",
            [&*delta(
                r#"{"audio":{"id":"a","transcript":" alpha beta"}}"#,
            )],
            right(2),
        ),
        with_head(
            "a list of parts in a body",
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
            [
                r#"{"choices":[{"message":{"content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"alpha beta"}]}}]}"#,
            ],
            Right {
                reasoning: Some(1),
                ..right(3)
            },
        ),
        with_head(
            "an event stream with a charset",
            &STREAM.replace("stream\r\n", "stream; charset=utf-8\r\n"),
            [&*three()[0]],
            right(1),
        ),
    ]
}
