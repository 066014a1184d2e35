//! Formats against files: what is sent, in which conversations, and when.

use std::path::Path;
use std::sync::LazyLock;

use pinfire_dialect::{BodyOptions, EndpointKind};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::dataset::Source;
use crate::dataset::{ModelChoice, Turn};
use crate::text::tokenizer::Tokenizer;

/// A folder with these files, and what to read in it.
struct Case {
    folder: tempfile::TempDir,
    spec: FileSpec,
    endpoint: EndpointKind,
    models: Vec<String>,
    choice: ModelChoice,
    extra: Map<String, Value>,
    threads: usize,
    streaming: bool,
}

/// A file `data.jsonl` of these lines, read as `format`.
fn case(format: &str, text: &str) -> Case {
    files(format, &[("data.jsonl", text)], "data.jsonl")
}

fn files(format: &str, files: &[(&str, &str)], read: &str) -> Case {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let spec = FileSpec {
        path: folder.path().join(read),
        format: Format::named(format).unwrap(),
        entries: None,
        osl_mean: None,
        osl_stddev: 0.0,
        fixed: None,
        limit: None,
        delay_cap: None,
    };
    Case {
        folder,
        spec,
        endpoint: EndpointKind::Chat,
        models: vec!["m".into()],
        choice: ModelChoice::RoundRobin,
        extra: Map::new(),
        threads: 2,
        streaming: true,
    }
}

impl Case {
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn build(&self) -> Result<Dataset, DatasetError> {
        self.build_with(true)
    }

    fn build_with(&self, counted: bool) -> Result<Dataset, DatasetError> {
        static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::builtin().unwrap());
        let bodies = BodyOptions {
            endpoint: self.endpoint,
            models: self.models.clone(),
            streaming: self.streaming,
            extra: self.extra.clone(),
            ..BodyOptions::default()
        };
        let context = Build {
            tokenizer: counted.then(|| &*TOKENIZER),
            corpus: None,
            bodies: &bodies,
            system_prompt: None,
            model_choice: self.choice,
            seed: 7,
            fixed_seed: true,
            taken: crate::dataset::ALL,
            threads: self.threads,
        };
        super::build(&self.spec, &context, &|_, _| {})
    }

    #[track_caller]
    fn made(&self) -> Dataset {
        self.build().unwrap()
    }

    #[track_caller]
    fn error(&self) -> String {
        self.build().unwrap_err().to_string()
    }
}

fn body(turn: &Turn) -> Value {
    serde_json::from_slice(&turn.body).unwrap()
}

fn messages(turn: &Turn) -> Value {
    body(turn)["messages"].clone()
}

/// The conversations as (id, contents of their last messages).
fn told(dataset: &Dataset) -> Vec<(&str, Vec<String>)> {
    let content = |turn: &Turn| {
        let messages = messages(turn);
        let last = messages.as_array().unwrap().last().unwrap()["content"].clone();
        last.as_str().map_or(last.to_string(), str::to_owned)
    };
    let one = |one: &'_ crate::dataset::Conversation| one.turns.iter().map(content).collect();
    dataset
        .conversations
        .iter()
        .map(|conversation| (conversation.session_id.as_str(), one(conversation)))
        .collect()
}

fn ms(turn: &Turn) -> (Option<u64>, Option<u64>) {
    let whole = |span: Span| span.nanos() / 1_000_000;
    (turn.timestamp.map(whole), turn.delay.map(whole))
}

const SINGLE: &str = r#"{"text": "a", "session_id": "s", "delay": 9}
{"texts": ["b", "c"], "role": "developer", "output_length": 5, "extra": {"seed": 3}}

{"text": "d", "session_id": "s", "delay": 30, "type": "single_turn", "unheard": 1}
"#;

#[test]
fn rows_of_single_turn_are_complete_by_themselves() {
    let made = case("single_turn", SINGLE)
        .with(|case| case.spec.osl_mean = Some(8))
        .made();
    let parts = r#"[{"type":"text","text":"b"},{"type":"text","text":"c"}]"#;
    assert_eq!(
        told(&made),
        [
            ("s", vec!["a".to_owned(), "d".to_owned()]),
            ("session_000001", vec![parts.to_owned()])
        ]
    );
    let turns: Vec<&Turn> = made.turns().collect();
    assert!(turns.iter().all(|turn| turn.history.is_none()));
    assert_eq!(
        turns.iter().map(|turn| ms(turn).1).collect::<Vec<_>>(),
        [None, Some(30), None]
    );
    assert_eq!(
        turns.iter().map(|turn| turn.osl).collect::<Vec<_>>(),
        [Some(8), Some(8), Some(5)]
    );
    assert_eq!(turns[0].isl, Some(1));
    let second = body(turns[2]);
    assert_eq!(second["seed"], 3);
    assert_eq!(second["messages"][0]["role"], "developer");
    let warned: Vec<&str> = made.warnings.iter().map(|warning| &*warning.0).collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("unheard"), "{warned:?}");
    assert_eq!(made.source, Source::File("single_turn"));
}

#[test]
fn threads_batches_and_packing_change_nothing() {
    use std::io::Write;
    let many: String = (0..9_000)
        .map(|n| {
            format!(
                "{{\"text\": \"prompt {n}\", \"session_id\": \"{}\"}}\n",
                n % 8_999
            )
        })
        .collect();
    let one = case("single_turn", &many).with(|case| case.threads = 1);
    let made = one.made();
    assert_eq!(made.conversations.len(), 8_999);
    assert_eq!(told(&made)[0].1, ["prompt 0", "prompt 8999"]);
    let four = case("single_turn", &many).with(|case| case.threads = 4);
    assert_eq!(four.made().conversations, made.conversations);
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(many.as_bytes()).unwrap();
    std::fs::write(&one.spec.path, packer.finish().unwrap()).unwrap();
    assert_eq!(one.made().conversations, made.conversations);
}

#[test]
fn models_in_turn_and_drawn() {
    let lines: String = (0..300)
        .map(|n| format!("{{\"text\": \"{n}\"}}\n"))
        .collect();
    let models = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
    let given = |choice| {
        let case = case("single_turn", &lines).with(|case| {
            case.models.clone_from(&models);
            case.choice = choice;
        });
        let made = case.made();
        let names: Vec<String> = made
            .turns()
            .map(|turn| body(turn)["model"].as_str().unwrap().to_owned())
            .collect();
        names
    };
    let round = given(ModelChoice::RoundRobin);
    assert!(
        round
            .iter()
            .enumerate()
            .all(|(n, name)| *name == models[n % 3])
    );
    let drawn = given(ModelChoice::Random);
    assert_eq!(drawn, given(ModelChoice::Random));
    for model in &models {
        let count = drawn.iter().filter(|name| *name == model).count();
        assert!((60..140).contains(&count), "{model}: {count}");
    }
    assert_ne!(drawn, round);
}

#[test]
fn a_leading_system_turn_becomes_the_system_message() {
    let text = r#"{"session_id": "a", "turns": [{"role": "system", "texts": ["s", "t"]}, {"text": "1"}, {"text": "2", "delay": 4}]}
{"session_id": "b", "turns": [{"text": "3"}]}
{"session_id": "a", "turns": [{"text": "4"}, {"role": "assistant", "text": "5"}]}
{"turns": [{"role": "system", "text": "alone"}]}
{"turns": [{"role": "system", "text": "one"}, {"role": "system", "text": "two"}, {"text": "6"}]}
{"turns": [{"role": "system", "text": "limited", "output_length": 3}, {"text": "7"}]}
{"session_id": "c", "turns": [{"role": "system", "text": "held"}]}
{"session_id": "d", "turns": [{"role": "system", "text": "left"}]}
{"session_id": "c", "turns": [{"text": "8"}]}
"#;
    let made = case("multi_turn", text).made();
    let expected: [(&str, &[&str]); 7] = [
        ("a", &["1", "2", "4", "5"]),
        ("b", &["3"]),
        ("session_000002", &["alone"]),
        ("session_000003", &["one", "two", "6"]),
        ("session_000004", &["limited", "7"]),
        ("c", &["8"]),
        ("d", &["left"]),
    ];
    let expected: Vec<(&str, Vec<String>)> = expected
        .iter()
        .map(|(id, said)| (*id, said.iter().map(|&text| text.to_owned()).collect()))
        .collect();
    assert_eq!(told(&made), expected);
    let first = &made.conversations[0].turns;
    for turn in first {
        let said = messages(turn);
        assert_eq!(said[0], json!({"role": "system", "content": "s\nt"}));
        let splice = turn.history.as_ref().unwrap();
        let own: Value = serde_json::from_slice(&turn.body[splice.own.clone()]).unwrap();
        assert_eq!(own, said[1]);
    }
    assert_eq!(ms(&first[1]).1, Some(4));
    assert_eq!(messages(&first[3])[1]["role"], "assistant");
    let takes = |n: usize| {
        made.conversations[n]
            .turns
            .iter()
            .all(|turn| turn.history.is_some())
    };
    assert!(takes(0) && takes(3) && takes(4));
    assert!(
        !takes(1) && !takes(2) && !takes(5) && !takes(6),
        "one turn has no history"
    );
    let held = messages(&made.conversations[5].turns[0]);
    assert_eq!(held[0], json!({"role": "system", "content": "held"}));
    let warned = made
        .warnings
        .iter()
        .any(|warning| warning.0.contains("1 turns of the assistant"));
    assert!(warned, "{:?}", made.warnings);
}

#[test]
fn conversations_need_an_endpoint_that_has_them() {
    let text = r#"{"turns": [{"text": "1"}]}
{"turns": [{"text": "2"}, {"text": "3"}]}"#;
    let case = case("multi_turn", text).with(|case| case.endpoint = EndpointKind::Completions);
    let error = case.error();
    assert!(
        error.contains("data.jsonl:2: `turns`") && error.contains("chat"),
        "{error}"
    );
    let joined = r#"{"session_id": "x", "turns": [{"text": "1"}]}
{"session_id": "x", "turns": [{"text": "2"}]}"#;
    std::fs::write(&case.spec.path, joined).unwrap();
    assert!(
        case.error().contains(":2: `session_id`"),
        "{}",
        case.error()
    );
    // Rows of single_turn are complete by themselves, so any endpoint takes them.
    let rows = "{\"session_id\": \"x\", \"text\": \"1\"}\n{\"session_id\": \"x\", \"text\": \"2\"}";
    let case =
        self::case("single_turn", rows).with(|case| case.endpoint = EndpointKind::Completions);
    assert_eq!(case.made().conversations[0].turns.len(), 2);
}

#[test]
fn an_extra_that_replaces_messages_takes_the_history_away() {
    let text = r#"{"turns": [{"text": "1"}, {"text": "2"}]}"#;
    let case = case("multi_turn", text).with(|case| {
        case.extra = json!({"messages": []}).as_object().unwrap().clone();
    });
    let made = case.made();
    assert!(made.turns().all(|turn| turn.history.is_none()));
    assert_eq!(made.warnings.len(), 1);
}

#[test]
fn a_fixed_schedule_sorts_filters_and_begins_at_its_zero() {
    let text = r#"{"text": "late", "timestamp": 5000.5}
{"text": "a1", "session_id": "a", "timestamp": 1000}
{"text": "early", "timestamp": 0}
{"text": "same", "timestamp": 1000}
{"text": "a2", "session_id": "a", "delay": 40}
{"text": "a3", "session_id": "a", "timestamp": 9000}
"#;
    let fixed = |start_ms, end_ms, auto_offset| {
        let case = case("single_turn", text).with(|case| {
            case.spec.fixed = Some(FixedSpec {
                start_ms,
                end_ms,
                auto_offset,
            });
        });
        let made = case.made();
        let starts: Vec<_> = made
            .conversations
            .iter()
            .map(|one| ms(&one.turns[0]).0)
            .collect();
        let said: Vec<String> = told(&made).into_iter().flat_map(|(_, said)| said).collect();
        (said.join(" "), starts, made)
    };
    let (said, starts, made) = fixed(None, None, true);
    assert_eq!(said, "early a1 a2 a3 same late");
    assert_eq!(starts, [Some(0), Some(1_000), Some(1_000), Some(5_000)]);
    assert_eq!(ms(&made.conversations[1].turns[1]), (None, Some(40)));
    assert_eq!(ms(&made.conversations[1].turns[2]), (Some(9_000), None));
    let (said, starts, made) = fixed(Some(1_000), Some(5_001), false);
    assert_eq!(said, "a1 a2 same late");
    assert_eq!(starts, [Some(0), Some(0), Some(4_000)]);
    assert!(
        made.warnings[0].0.starts_with("2 of 6 turns"),
        "{:?}",
        made.warnings
    );
    let (_, starts, _) = fixed(Some(1_000), None, true);
    assert_eq!(starts, [Some(0), Some(0), Some(4_000)]);
    let (said, starts, _) = fixed(None, Some(0), false);
    assert_eq!((said.as_str(), starts), ("early", vec![Some(0)]));

    let none = case("single_turn", text).with(|case| {
        let (start_ms, end_ms) = (Some(6_000), Some(6_001));
        case.spec.fixed = Some(FixedSpec {
            start_ms,
            end_ms,
            auto_offset: false,
        });
    });
    assert!(
        none.error().contains("within the offsets"),
        "{}",
        none.error()
    );
    let few = case("single_turn", text).with(|case| {
        case.spec.fixed = Some(FixedSpec {
            start_ms: None,
            end_ms: None,
            auto_offset: true,
        });
        case.spec.limit = Some(2);
    });
    assert_eq!(few.made().conversations.len(), 2);
    let untimed = case(
        "single_turn",
        "{\"text\": \"a\", \"timestamp\": 1}\n{\"text\": \"b\"}",
    );
    let untimed = untimed.with(|case| {
        case.spec.fixed = Some(FixedSpec {
            start_ms: None,
            end_ms: None,
            auto_offset: true,
        });
    });
    assert!(
        untimed.error().contains(":2: `timestamp`: is missing"),
        "{}",
        untimed.error()
    );
    // Without a schedule the times are dropped, with a word.
    let made = case("single_turn", text).made();
    assert!(made.turns().all(|turn| turn.timestamp.is_none()));
    assert!(made.warnings[0].0.contains("--fixed-schedule"));
}

#[test]
fn delays_are_held() {
    let text =
        r#"{"turns": [{"text": "a"}, {"text": "b", "delay": 90000}, {"text": "c", "delay": 0}]}"#;
    let case = case("multi_turn", text).with(|case| {
        case.spec.delay_cap = Some(Span::from_millis(500));
    });
    let made = case.made();
    let delays: Vec<_> = made.turns().map(|turn| ms(turn).1).collect();
    assert_eq!(delays, [None, Some(500), Some(0)]);
    assert!(
        made.warnings[0].0.starts_with("1 delays"),
        "{:?}",
        made.warnings
    );
}

#[test]
fn payloads_are_sent_byte_for_byte() {
    let lines = " {\"messages\": [{\"role\":\"user\",\"content\":\"hello world\"}],  \"a\": 1.00, \
                 \"max_tokens\": 4}\n{\"messages\": [{}], \"stream\": true}\n";
    let case = case("raw_payload", lines).with(|case| {
        case.endpoint = EndpointKind::Completions;
        case.spec.osl_mean = Some(50);
        case.extra.insert("x".into(), json!(1));
    });
    let made = case.made();
    let bodies: Vec<&[u8]> = made.turns().map(|turn| &turn.body[..]).collect();
    let expected: Vec<&[u8]> = lines.lines().map(|line| line.trim().as_bytes()).collect();
    assert_eq!(bodies, expected);
    let first = &made.conversations[0].turns[0];
    assert_eq!((first.isl, first.osl), (Some(2), Some(4)));
    assert!(
        made.warnings[0]
            .0
            .contains("1 payloads do not ask for a stream")
    );
}

#[test]
fn a_folder_of_payloads_has_a_conversation_per_file() {
    let line = |text: &str| format!("{{\"messages\": [{{\"content\": \"{text}\"}}]}}\n");
    let (one, two) = (line("1") + &line("2"), line("3"));
    let listed = [
        ("b.jsonl", one.as_str()),
        ("a.jsonl", two.as_str()),
        ("notes.txt", "x"),
        (".hidden.jsonl", "x"),
    ];
    let made = files("raw_payload", &listed, "").made();
    let expected: [(&str, &[&str]); 2] = [("a", &["3"]), ("b", &["1", "2"])];
    let expected: Vec<(&str, Vec<String>)> = expected
        .iter()
        .map(|(id, said)| (*id, said.iter().map(|&text| text.to_owned()).collect()))
        .collect();
    assert_eq!(told(&made), expected);
    assert!(made.turns().all(|turn| turn.history.is_none()));
    let broken = files("raw_payload", &[("a.jsonl", &two), ("b.jsonl", "{}")], "");
    assert!(
        broken.error().contains("b.jsonl:1: `messages`"),
        "{}",
        broken.error()
    );
    let empty = files("raw_payload", &[("notes.txt", "x")], "");
    assert!(
        empty.error().contains("no *.jsonl file"),
        "{}",
        empty.error()
    );
}

#[test]
fn inputs_are_replayed_in_their_sessions() {
    let text = r#"{
  "data": [
    {"session_id": "x", "payloads": [{"b": 1, "a": [2.50]}, {"c": 3}]},
    {"session_id": "y", "payloads": [{"d": 4}]}
  ]
}"#;
    let made = case("inputs_json", text).made();
    let bodies: Vec<&[u8]> = made.turns().map(|turn| &turn.body[..]).collect();
    assert_eq!(
        bodies,
        [&b"{\"b\":1,\"a\":[2.50]}"[..], b"{\"c\":3}", b"{\"d\":4}"]
    );
    assert_eq!(made.conversations[1].session_id, "y");
    let twice = text.replace("\"y\"", "\"x\"");
    let error = case("inputs_json", &twice).error();
    assert!(error.contains(":4: `data[1].session_id`: \"x\""), "{error}");
}

#[test]
fn pools_are_drawn_from() {
    let listed = [
        ("queries.jsonl", "{\"text\": \"q1\"}\n{\"text\": \"q2\"}"),
        (
            "passages.jsonl",
            "{\"texts\": [{\"name\": \"own\", \"contents\": [\"p\"]}]}",
        ),
    ];
    let case = files("random_pool", &listed, "").with(|case| case.spec.entries = Some(200));
    let made = case.made();
    assert_eq!(made.conversations.len(), 200);
    let said: Vec<String> = told(&made).into_iter().flat_map(|(_, said)| said).collect();
    let part =
        |text: &str| format!(r#"[{{"type":"text","text":"p"}},{{"type":"text","text":"{text}"}}]"#);
    let first = said.iter().filter(|said| **said == part("q1")).count();
    let second = said.iter().filter(|said| **said == part("q2")).count();
    assert_eq!(first + second, 200, "{}", said[0]);
    assert!((60..140).contains(&first), "{first}");
    let again = files("random_pool", &listed, "").with(|case| {
        case.spec.entries = Some(200);
        case.threads = 1;
    });
    assert_eq!(again.made().conversations, made.conversations);
    assert_eq!(
        files("random_pool", &listed, "queries.jsonl")
            .made()
            .conversations
            .len(),
        100
    );
}

#[test]
fn people_and_their_answers() {
    let pair = |human: &str, gpt: &str| json!([{"from": "human", "value": human}, {"from": "gpt", "value": gpt}]);
    let long = "word ".repeat(1_100);
    let entries = json!([
        {"id": 1, "conversations": [
            {"from": "system", "value": "s"},
            {"from": "human", "value": "tell me a story"}, {"from": "gpt", "value": "once upon a time there was"},
            {"from": "human", "value": "and what came then"}, {"from": "gpt", "value": "the end of it all"}
        ]},
        {"conversations": pair("hi", "a long enough answer")},
        {"conversations": pair("what is the answer", "42")},
        {"conversations": pair(&long, "a long enough answer")},
        {"conversations": pair("a long enough prompt", &long)},
        {"conversations": pair("a long enough prompt", &long.repeat(2))},
        {"conversations": [{"from": "human", "value": "only one message"}]}
    ]);
    let text = serde_json::to_string_pretty(&entries).unwrap();
    let case = case("sharegpt", &text);
    let made = case.made();
    let said = told(&made);
    assert_eq!(said.len(), 2);
    assert_eq!(said[0].1, ["tell me a story", "and what came then"]);
    assert_eq!(made.conversations[0].turns[0].osl, Some(6));
    assert!(
        made.conversations[0]
            .turns
            .iter()
            .all(|turn| turn.history.is_some())
    );
    assert_eq!(made.conversations[1].turns[0].osl, Some(1_101));
    assert!(
        made.warnings[0].0.contains("5 entries are left out"),
        "{:?}",
        made.warnings
    );
    let case = case.with(|case| case.spec.osl_mean = Some(10));
    assert_eq!(
        case.made().conversations.len(),
        3,
        "a short answer is none of its own"
    );
    let case = case.with(|case| case.endpoint = EndpointKind::Completions);
    let made = case.made();
    assert!(made.conversations.iter().all(|one| one.turns.len() == 1));
}

/// Conversations as published files write them: what is asked of each.
#[test]
fn sharegpt_in_many_writings() {
    const ASK: &str = "Tell me a long story about a fox.";
    const ANSWER: &str = "Once upon a time there was a fox in a wood.";
    let turn = |from: &str, value: &str| format!(r#"{{"from": "{from}", "value": "{value}"}}"#);
    let pair = |from: &str, to: &str| format!("{}, {}", turn(from, ASK), turn(to, ANSWER));
    let as_role = pair("user", "assistant")
        .replace("from", "role")
        .replace("value", "content");
    let parts = as_role.replace(
        &format!("\"{ASK}\""),
        &format!(r#"[{{"type": "image"}}, {{"type": "text", "text": "{ASK}"}}]"#),
    );
    let more = "What happened to it after that?";
    for (document, asked) in [
        (
            format!(r#"[{{"conversations": [{}]}}]"#, pair("user", "assistant")),
            &[ASK][..],
        ),
        (
            format!(r#"[{{"conversations": [{}]}}]"#, pair("Human", "ChatGPT")),
            &[ASK],
        ),
        (
            format!(r#"[{{"conversations": [{}]}}]"#, pair("human", "bing")),
            &[ASK],
        ),
        (
            format!(r#"[{{"conversations": [{}]}}]"#, pair("prompter", "gpt-4")),
            &[ASK],
        ),
        (format!(r#"[{{"conversations": [{as_role}]}}]"#), &[ASK]),
        (format!(r#"[{{"conversations": [{parts}]}}]"#), &[ASK]),
        (
            format!(r#"[{{"conversation": [{as_role}], "id": 5}}]"#),
            &[ASK],
        ),
        (format!(r#"[{{"messages": [{as_role}]}}]"#), &[ASK]),
        // One conversation a line.
        (
            format!(
                "{{\"conversations\": [{}]}}\nnull\n{{\"conversations\": [{as_role}]}}\n",
                pair("human", "gpt")
            ),
            &[ASK, ASK],
        ),
        // Instructions are beside it, calls are answers, results of tools are asked.
        (
            format!(
                r#"[{{"system": "Be brief.", "conversations": [{}, {}]}}]"#,
                turn("system", "You are a storyteller."),
                pair("human", "gpt")
            ),
            &[ASK],
        ),
        (
            format!(
                r#"[{{"conversations": [{}, {}, {}, {}]}}]"#,
                turn("human", ASK),
                turn("function_call", "story(animal=fox, length=long)"),
                turn("observation", more),
                turn("gpt", ANSWER)
            ),
            &[more],
        ),
        (
            format!(
                r#"[{{"conversations": [{}, {}, {}]}}]"#,
                turn("narrator", "It was dark."),
                turn("human", ASK),
                turn("gpt", ANSWER)
            ),
            &[ASK],
        ),
    ] {
        let made = case("sharegpt", &document).made();
        let last = told(&made)
            .into_iter()
            .map(|(_, turns)| turns.last().cloned().unwrap());
        assert_eq!(last.collect::<Vec<_>>(), asked, "{document}");
        assert_eq!(
            detect(&case("sharegpt", &document).spec.path).unwrap().name,
            "sharegpt"
        );
        let strange = made
            .warnings
            .iter()
            .any(|one| one.0.contains("ask or answer: narrator"));
        assert_eq!(
            strange,
            document.contains("narrator"),
            "{:?}",
            made.warnings
        );
    }
}

/// Rows without anything to send among good ones: how many conversations are left, and what is said
/// of the others.
#[test]
fn rows_without_content_are_skipped_and_said() {
    let talk = r#"{"conversations": [{"from": "human", "value": "Tell me a story please."},
        {"from": "gpt", "value": "There was once a fox."}]}"#;
    let shared = |rows: &str| format!("[{talk},\n{rows},\n{talk}]");
    let texts = |rows: &str| format!("{{\"text\": \"a\"}}\n{rows}\n{{\"text\": \"b\"}}\n");
    let turns = |rows: &str| {
        let good = r#"{"turns": [{"text": "a"}]}"#;
        format!("{good}\n{rows}\n{good}\n")
    };
    let bodies = |rows: &str| {
        let good = r#"{"messages": [{"role": "user", "content": "a"}]}"#;
        format!("{good}\n{rows}\n{good}\n")
    };
    let saved = |rows: &str| {
        format!(
            "{{\"data\": [{{\"session_id\": \"a\", \"payloads\": [{{\"a\": 1}}]}},\n{rows},\n\
             {{\"session_id\": \"b\", \"payloads\": [{{\"a\": 1}}]}}]}}"
        )
    };
    for (format, text, said) in [
        (
            "sharegpt",
            shared("null"),
            "1 row has nothing to send and is skipped: PATH:3: `[1]`: is null",
        ),
        (
            "sharegpt",
            shared(r#"{"conversations": null}"#),
            "`[1].conversations`: is null",
        ),
        (
            "sharegpt",
            shared(r#"{"conversations": []}"#),
            "`[1].conversations`: is empty",
        ),
        (
            "sharegpt",
            shared(r#"{"id": "x"}"#),
            "`[1].conversations`: is missing",
        ),
        ("sharegpt", shared("{}"), "`[1].conversations`: is missing"),
        (
            "sharegpt",
            shared(r#"{"conversations": [null]}"#),
            "`[1].conversations[0]`: is null",
        ),
        (
            "sharegpt",
            shared(r#"{"conversations": [{"from": "human", "value": null}]}"#),
            "[0]`: needs",
        ),
        (
            "sharegpt",
            shared("null,\n{},\nnull"),
            "3 rows have nothing to send and are skipped; the first: PATH:3",
        ),
        (
            "single_turn",
            texts("null"),
            "1 row has nothing to send and is skipped: PATH:2: `line`: is null",
        ),
        (
            "single_turn",
            texts(r#"{"text": null}"#),
            "PATH:2: `text`: is null",
        ),
        (
            "single_turn",
            texts("null\n\n{\"texts\": null, \"image\": null}"),
            "2 rows",
        ),
        ("multi_turn", turns("null"), "PATH:2: `line`: is null"),
        (
            "multi_turn",
            turns(r#"{"turns": null, "session_id": "x"}"#),
            "`turns`: is null",
        ),
        (
            "multi_turn",
            turns("null\nnull\n{\"turns\": null}"),
            "3 rows",
        ),
        ("raw_payload", bodies("null"), "PATH:2: `line`: is null"),
        (
            "raw_payload",
            bodies(r#"{"messages": null, "model": "m"}"#),
            "`messages`: is null",
        ),
        ("raw_payload", bodies("null\nnull"), "2 rows"),
        ("inputs_json", saved("null"), "`data[1]`: is null"),
        (
            "inputs_json",
            saved(r#"{"session_id": "c", "payloads": null}"#),
            "`data[1].payloads`: is null",
        ),
        ("inputs_json", saved("null, null"), "2 rows"),
    ] {
        let case = case(format, &text);
        let made = case.made();
        assert_eq!(made.conversations.len(), 2, "{text}");
        let said = said.replace("PATH", case.spec.path.to_str().unwrap());
        let about: Vec<_> = made
            .warnings
            .iter()
            .filter(|one| one.0.contains("skipped"))
            .collect();
        assert_eq!(about.len(), 1, "said once: {:?}", made.warnings);
        assert!(about[0].0.contains(&said), "{said}: {}", about[0]);
    }
    // A pool is as long as what is in it.
    let pool = case("random_pool", &texts("null\n{\"text\": null}"))
        .with(|case| case.spec.entries = Some(40))
        .made();
    assert!(pool.warnings[0].0.contains("2 rows"), "{:?}", pool.warnings);
    let said = told(&pool);
    assert!(
        said.iter()
            .all(|(_, texts)| ["a", "b"].contains(&texts[0].as_str()))
    );
}

/// What is wrong is no row without content: it ends the run, with its line.
#[test]
fn what_is_wrong_is_not_skipped() {
    for (format, text, words) in [
        (
            "single_turn",
            "{\"text\": \"a\"}\n{\"text\": \"b\"\n",
            ":2: `line`: is not JSON",
        ),
        (
            "single_turn",
            "{\"text\": \"a\"}\n{\"txt\": \"b\"}\n",
            ":2: `text`: is missing",
        ),
        (
            "single_turn",
            "{\"text\": \"a\"}\nnull\n5\n",
            ":3: `line`: must be a JSON object",
        ),
        (
            "single_turn",
            "{\"text\": \"a\"}\n{\"text\": null, \"texts\": 5}\n",
            ":2: `texts`",
        ),
        (
            "multi_turn",
            "{\"turns\": [{\"text\": \"a\"}]}\n{\"turns\": [null]}\n",
            ":2: `turns[0]`",
        ),
        (
            "sharegpt",
            r#"[{"conversations": [{"from": "human", "value": "a"}]}, {"conversations": 5}]"#,
            "must be a list",
        ),
        (
            "sharegpt",
            r#"[{"conversations": [{"from": 5, "value": "a"}]}]"#,
            "`[0].conversations[0].from`",
        ),
        (
            "sharegpt",
            r#"[{"conversations": [{"from": "human", "value": 5}]}]"#,
            "conversations[0].value`",
        ),
        ("sharegpt", r#"[null, {"conversations": []"#, "is not JSON"),
        // Nothing but rows without content: what the first one lacks.
        ("sharegpt", "[null, null]", "`[0]`: is null"),
        ("single_turn", "null\nnull", ":1: `line`: is null"),
        (
            "raw_payload",
            r#"{"messages": null}"#,
            ":1: `messages`: is null",
        ),
        ("random_pool", "null", ":1: `line`: is null"),
    ] {
        let error = case(format, text).error();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn only_what_must_count_needs_a_tokenizer() {
    let made = case("single_turn", "{\"text\": \"a\"}")
        .build_with(false)
        .unwrap();
    assert_eq!(made.conversations[0].turns[0].isl, None);
    let made = case("raw_payload", "{\"messages\": [{}]}")
        .build_with(false)
        .unwrap();
    assert_eq!(made.conversations[0].turns[0].isl, None);
    let error = case("sharegpt", "[]")
        .build_with(false)
        .unwrap_err()
        .to_string();
    assert!(error.contains("--tokenizer builtin"), "{error}");
}

#[test]
fn formats_are_recognised() {
    let turns = r#"{"turns": [{"text": "a"}]}"#;
    let payload = r#"{"messages": [{"role": "user", "content": "a"}], "model": "m"}"#;
    let inputs = "{\n \"data\": [{\"session_id\": \"s\", \"payloads\": [{\"a\": 1}]}]}";
    for (name, text, expected) in [
        ("a.jsonl", r#"{"text": "a"}"#, "single_turn"),
        (
            "a.jsonl",
            "\n\n{\"image\": \"http://i\", \"type\": \"other\"}",
            "single_turn",
        ),
        ("a.jsonl", turns, "multi_turn"),
        (
            "a.jsonl",
            r#"{"text": "a", "type": "random_pool"}"#,
            "random_pool",
        ),
        ("a.json", inputs, "inputs_json"),
        ("a.txt", inputs, "inputs_json"),
        (
            "a.jsonl",
            r#"{"data":[{"session_id":"s","payloads":[{"a":1}]}]}"#,
            "inputs_json",
        ),
        ("a.json", r#"[{"conversations": []}]"#, "sharegpt"),
        (
            "a.json",
            r#"[null, {"id": 1}, {"conversations": [{}]}]"#,
            "sharegpt",
        ),
        (
            "a.json",
            r#"[{"conversations": null}, {"conversations": [{}]}]"#,
            "sharegpt",
        ),
        ("a.jsonl", "null\n{\"text\": \"a\"}", "single_turn"),
        (
            "a.jsonl",
            "{\"text\": null}\n{\"text\": \"a\"}",
            "single_turn",
        ),
        (
            "a.jsonl",
            "{\"turns\": null}\n{\"turns\": [{\"text\": \"a\"}]}",
            "multi_turn",
        ),
        (
            "a.jsonl",
            "null\n\nnull\n{\"input_length\": 5}",
            "mooncake_trace",
        ),
        ("a.jsonl", "null\n{\"conversations\": []}", "sharegpt"),
        ("a.jsonl", r#"{"input_length": 5}"#, "mooncake_trace"),
        (
            "a.jsonl",
            r#"{"payload": {"a": 1}, "type": "mooncake-trace"}"#,
            "single",
        ),
        (
            "a.jsonl",
            r#"{"text_input": "a", "type": "mooncake_trace"}"#,
            "mooncake_trace",
        ),
        (
            "a.jsonl",
            r#"{"chat_id":1,"timestamp":1,"input_length":2,"output_length":3,"type":"text"}"#,
            "bailian_trace",
        ),
        (
            "a.csv",
            "Timestamp,Model,Request tokens,Response tokens",
            "burst_gpt_trace",
        ),
        ("a.parquet", "PAR1", "baseten_trace"),
        (
            "a.jsonl",
            r#"{"question_id": 1, "category": "c", "messages": []}"#,
            "speed_bench",
        ),
        (
            "a.jsonl",
            r#"{"session_id": "s", "turns": [{"messages": []}]}"#,
            "dag_jsonl",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        match detect(&path) {
            Ok(format) => assert_eq!(format.name, expected, "{text}"),
            Err(error) => assert_eq!(expected, "single", "{text}: {error}"),
        }
    }
    let folders: [(&[(&str, &str)], &str); 2] = [
        (&[("a.jsonl", payload), ("b.txt", "x")], "raw_payload"),
        (
            &[
                ("a.jsonl", r#"{"text": "a"}"#),
                ("b.x", r#"{"texts": ["b"]}"#),
            ],
            "random_pool",
        ),
    ];
    for (listed, expected) in folders {
        let case = files(expected, listed, "");
        assert_eq!(detect(case.folder.path()).unwrap().name, expected);
    }
}

#[test]
fn what_is_not_recognised_is_not_guessed() {
    for (name, text, words) in [
        (
            "a.jsonl",
            r#"{"messages": [{"role": "user", "content": "a"}]}"#,
            &["raw_payload and mooncake_trace", "--custom-dataset-type"][..],
        ),
        (
            "a.jsonl",
            r#"{"chat_id":1,"timestamp":1,"input_length":2,"output_length":3}"#,
            &["mooncake_trace and bailian_trace", ":1: `line`"],
        ),
        (
            "a.jsonl",
            r#"{"prompt": "a"}"#,
            &["no loader", "single_turn, multi_turn"],
        ),
        ("a.jsonl", "", &["has no entries"]),
        ("a.jsonl", "\n  \n", &["has no entries"]),
        (
            "a.jsonl",
            "\n{\"text\": \"a\"",
            &[":2: `line`: is not JSON", "--custom-dataset-type"],
        ),
        (
            "a.jsonl",
            r#"{"text": "a", "output_length": -1}"#,
            &["`output_length`", "single_turn"],
        ),
        (
            "a.jsonl",
            r#"{"turns": []}"#,
            &["`turns`: is empty", "multi_turn"],
        ),
        (
            "a.jsonl",
            r#"{"text": 5, "type": "single_turn"}"#,
            &["`text`: must be text"],
        ),
        (
            "a.jsonl",
            r#"{"x": 5, "type": "multi_turn"}"#,
            &["`type`: says multi_turn"],
        ),
        ("a.json", "[1, 2]", &["no loader"]),
        ("a.json", "{\"data\": [5]}", &["no loader"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path: &Path = &folder.path().join(name);
        std::fs::write(path, text).unwrap();
        let error = detect(path).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "`{error}` lacks `{word}` for {text}");
        }
    }
    let mixed = files("random_pool", &[("a", r#"{"text": "a"}"#), ("b", "{}")], "");
    let error = detect(mixed.folder.path()).unwrap_err().to_string();
    assert!(error.contains("--custom-dataset-type"), "{error}");
    let error = detect(Path::new("/dev/null")).unwrap_err().to_string();
    assert!(error.contains("--custom-dataset-type"), "{error}");
}

#[test]
fn messages_stay_on_one_line_and_short() {
    let many: String = (0..40).map(|n| format!(", \"x{n:02}\": 1")).collect();
    let text = format!("{{\"text\": \"a\", \"a\\nb\": 1{many}, \"role\": \"odd one\"}}");
    let warnings = case("single_turn", &text).made().warnings;
    assert!(
        warnings[0].0.contains(r#""a\nb", x00, x01"#),
        "{warnings:?}"
    );
    assert!(warnings[0].0.ends_with("x10, and others"), "{warnings:?}");
    assert!(warnings[1].0.ends_with("\"odd one\""), "{warnings:?}");
    let session = |id: &str| json!({"session_id": id, "payloads": [{"a": 1}]});
    let twice = json!({"data": [session("a\nb"), session("a\nb")]}).to_string();
    for error in [
        case("inputs_json", &twice).error(),
        case("single_turn", r#"{"image": "a\nb"}"#).error(),
        case("single_turn", r#"{"text": "a", "output_length": "a\nb"}"#).error(),
    ] {
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains(r"a\nb"), "{error}");
    }
}

/// Values that look like lines of the formats, right and wrong.
fn line() -> impl Strategy<Value = Value> {
    let words = ["system", "human", "gpt", "http://i", ""];
    let keys = [
        "text",
        "texts",
        "images",
        "image_uuids",
        "audio",
        "turns",
        "role",
        "session_id",
        "timestamp",
        "delay",
        "output_length",
        "extra",
        "messages",
        "data",
        "payloads",
        "conversations",
        "from",
        "value",
        "name",
        "contents",
        "type",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..4).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        proptest::sample::select(words.to_vec()).prop_map(Value::from),
        ".{0,4}".prop_map(Value::from),
    ];
    let leaf = leaf.boxed();
    let key = proptest::sample::select(keys.to_vec());
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let object = proptest::collection::btree_map(key.clone(), inner.clone(), 0..6);
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|fields| json!(fields)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_is_in_a_file_is_read_or_refused(
        lines in proptest::collection::vec(line(), 1..4),
        cut in proptest::option::of(0_usize..200),
        pretty: bool,
    ) {
        let write = |line: &Value| match pretty {
            true => serde_json::to_string_pretty(line).unwrap() + "\n",
            false => line.to_string() + "\n",
        };
        let mut text: String = lines.iter().map(write).collect();
        if let Some(cut) = cut.filter(|&cut| text.is_char_boundary(cut)) {
            text.truncate(cut);
        }
        for format in FORMATS.iter() {
            let case = case(format.name, &text);
            let (detected, built) = (detect(&case.spec.path), case.build());
            if let Ok(made) = &built {
                prop_assert!(made.conversations.iter().all(|one| !one.turns.is_empty()));
                for turn in made.turns() {
                    let _: Value = serde_json::from_slice(&turn.body).unwrap();
                }
            }
            for error in [detected.err(), built.err()].into_iter().flatten() {
                prop_assert_eq!(error.to_string().lines().count(), 1, "{}", error);
            }
        }
    }
}

/// The first JSON example of a format's section in the documentation.
fn documented(name: &str) -> Option<&'static str> {
    let text = include_str!("../../../../../docs/DATASETS.md");
    let section = text
        .split("\n## ")
        .find(|section| section.starts_with(&format!("{name}\n")))?;
    section.split("```json\n").nth(1)?.split("```").next()
}

#[test]
fn documented_examples_can_be_read() {
    for name in [
        "single_turn",
        "multi_turn",
        "random_pool",
        "raw_payload",
        "sharegpt",
    ] {
        let made = case(name, documented(name).unwrap()).made();
        assert!(made.warnings.is_empty(), "{name}: {:?}", made.warnings);
    }
    for line in documented("mooncake_trace").unwrap().lines() {
        let line: Map<String, Value> = serde_json::from_str(line).unwrap();
        assert_eq!(crate::dataset::mooncake::check_line(line), Ok(()));
    }
}

#[test]
fn every_format_has_one_name_and_what_it_needs() {
    for (n, format) in FORMATS.iter().enumerate() {
        assert_eq!(Format::named(format.name), Some(format));
        let dashed = format.name.to_uppercase().replace('_', "-");
        assert_eq!(Format::named(&dashed), Some(format));
        assert!(FORMATS[..n].iter().all(|other| other.name != format.name));
    }
    assert_eq!(
        Format::named("speed_bench_throughput_1k").unwrap().name,
        "speed_bench"
    );
    assert_eq!(Format::named("speed_benchmark"), None);
    assert_eq!(Format::named(""), None);
}
