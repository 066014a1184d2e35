//! Traces of a few lines, written by the tests: what is sent, and what is refused.

use std::io::Write;

use pinfire_dialect::BodyOptions;
use serde_json::{Value, json};

use super::*;

const TRACE: &str = r#"{"timestamp": 0, "input_length": 20, "output_length": 5, "hash_ids": [0, 1, 2]}
{"timestamp": 0.5, "input_length": 20, "output_length": 6, "hash_ids": [0, 1, 3]}

{"timestamp": 1400, "input_length": 24, "hash_ids": [0, 1, 9]}
{"timestamp": 1400, "input_length": 29, "output_length": 7, "hash_ids": [0, 1]}
{"input_length": 33, "extra": {"model": "own"}}
{"text_input": "hello world", "session_id": "mine"}
{"messages": [{"role": "user", "content": "hello"}], "tools": [{"function": {"name": "f"}}]}
{"payload": {"prompt": "as it is", "stream": false}, "output_length": 3}
"#;

fn spec(path: &Path) -> MooncakeSpec {
    MooncakeSpec {
        path: path.to_path_buf(),
        block_size: 8,
        fixed: None,
        limit: None,
        osl_mean: Some(11),
        osl_stddev: 0.0,
        speedup: 1.0,
        synthesis: Synthesis::default(),
        ignore_delays: false,
        delay_cap: None,
    }
}

fn built(spec: &MooncakeSpec, threads: usize, kind: EndpointKind) -> Result<Dataset, DatasetError> {
    built_by(&Tokenizer::builtin().unwrap(), 42, spec, threads, kind)
}

fn built_by(
    tokenizer: &Tokenizer,
    seed: u64,
    spec: &MooncakeSpec,
    threads: usize,
    kind: EndpointKind,
) -> Result<Dataset, DatasetError> {
    let bodies = BodyOptions {
        endpoint: kind,
        models: vec!["m".into()],
        streaming: true,
        ..BodyOptions::default()
    };
    let context = Build {
        tokenizer: Some(tokenizer),
        corpus: None,
        bodies: &bodies,
        model_choice: crate::dataset::ModelChoice::RoundRobin,
        system_prompt: None,
        seed,
        fixed_seed: true,
        taken: crate::dataset::ALL,
        threads,
    };
    build(spec, &context, &|_, _| {})
}

fn written(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("trace.jsonl");
    std::fs::write(&path, text).unwrap();
    path
}

fn body(entry: &Turn) -> Value {
    serde_json::from_slice(&entry.whole()).unwrap()
}

fn content(entry: &Turn) -> String {
    let content = body(entry)["messages"][0]["content"].clone();
    content.as_str().unwrap().to_owned()
}

#[test]
fn every_kind_of_line() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = built(&spec(&written(&folder, TRACE)), 2, EndpointKind::Chat).unwrap();
    let entries: Vec<&Turn> = dataset.turns().collect();
    let isl: Vec<Option<u32>> = entries.iter().map(|entry| entry.isl).collect();
    assert_eq!(isl, [20, 20, 24, 29, 33, 2, 2, 3].map(Some));
    let tokenizer = Tokenizer::builtin().unwrap();
    for entry in &entries {
        let counted = crate::dataset::input_length(body(entry).as_object().unwrap(), &tokenizer);
        assert_eq!(counted, entry.isl, "what is said is what is sent");
    }
    let osl: Vec<Option<u32>> = entries.iter().map(|entry| entry.osl).collect();
    assert_eq!(
        osl,
        [
            Some(5),
            Some(6),
            Some(11),
            Some(7),
            Some(11),
            Some(11),
            Some(11),
            None
        ]
    );
    assert!(
        entries.iter().all(|entry| entry.timestamp.is_none()),
        "no fixed schedule"
    );
    assert_eq!(body(entries[4])["model"], "own");
    assert_eq!(dataset.conversations[5].session_id, "mine");
    assert_eq!(dataset.conversations[6].session_id, "session_000006");
    assert_eq!(
        body(entries[6])["tools"],
        json!([{"function": {"name": "f"}}])
    );
    assert_eq!(entries[7].body, br#"{"prompt":"as it is","stream":false}"#);
    assert!(dataset.warnings.is_empty());
}

#[test]
fn equal_ids_are_equal_text_and_each_block_begins_with_the_separator() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = built(&spec(&written(&folder, TRACE)), 2, EndpointKind::Chat).unwrap();
    let blocks = |index: usize| -> Vec<String> {
        let text = content(&dataset.conversations[index].turns[0]);
        text.split("<|endoftext|>").map(str::to_owned).collect()
    };
    let (first, second, tailed) = (blocks(0), blocks(1), blocks(3));
    assert_eq!(first[0], "", "a separator comes first");
    assert_eq!(first.len(), 4);
    assert_eq!(first[..3], second[..3]);
    assert_ne!(first[3], second[3]);
    assert_eq!(tailed.len(), 3, "the tail has no separator");
    assert_eq!(tailed[1], first[1]);
    assert!(tailed[2].starts_with(&first[2]));
}

#[test]
fn gzip_limit_and_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder, TRACE);
    let one = built(&spec(&path), 1, EndpointKind::Chat)
        .unwrap()
        .conversations;
    assert_eq!(
        one,
        built(&spec(&path), 3, EndpointKind::Chat)
            .unwrap()
            .conversations
    );
    let some = MooncakeSpec {
        fixed: None,
        limit: Some(2),
        ..spec(&path)
    };
    assert_eq!(
        one[..2],
        built(&some, 2, EndpointKind::Chat).unwrap().conversations
    );
    let zipped = folder.path().join("trace.jsonl.gz");
    let file = std::fs::File::create(&zipped).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    encoder.write_all(TRACE.as_bytes()).unwrap();
    encoder.finish().unwrap();
    let unzipped = built(&spec(&zipped), 2, EndpointKind::Chat)
        .unwrap()
        .conversations;
    assert_eq!(unzipped.len(), one.len());
    assert_ne!(unzipped[0].turns, one[0].turns, "another file, other texts");
}

#[test]
fn a_long_line_of_blocks_counts_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let ids: Vec<usize> = (0..250).collect();
    let line = json!({"input_length": 249 * 512 + 17, "hash_ids": ids});
    let path = written(&folder, &line.to_string());
    let spec = MooncakeSpec {
        block_size: 512,
        ..spec(&path)
    };
    let dataset = built(&spec, 2, EndpointKind::Completions).unwrap();
    assert_eq!(dataset.conversations[0].turns[0].isl, Some(249 * 512 + 17));
    let prompt = body(&dataset.conversations[0].turns[0])["prompt"].clone();
    let counted = Tokenizer::builtin()
        .unwrap()
        .count(prompt.as_str().unwrap());
    assert_eq!(counted, 249 * 512 + 17);
}

#[test]
fn faults_name_file_line_and_field() {
    let folder = tempfile::tempdir().unwrap();
    for (text, line, field) in [
        (
            "{\"input_length\": 5}\n\n{\"input_length\": 0}",
            3,
            "input_length",
        ),
        ("nonsense", 1, "line"),
        ("[1]", 1, "line"),
        (
            "{\"input_length\": 30, \"hash_ids\": [1, 2]}\n{\"input_length\": 9, \"hash_ids\": [2]}",
            2,
            "ok",
        ),
        (
            "{\"input_length\": 20, \"hash_ids\": [1, 2, 3]}\n{\"input_length\": 20, \"hash_ids\": [3, 1, 2]}",
            2,
            "hash_ids",
        ),
        ("{\"input_length\": 8, \"hash_ids\": [1, 2]}", 1, "hash_ids"),
        (
            "{\"text_input\": \"a\", \"session_id\": \"s\"}\n{\"payload\": {\"a\": 1}, \"session_id\": \"s\"}",
            2,
            "session_id",
        ),
    ] {
        let path = written(&folder, text);
        let result = built(
            &MooncakeSpec {
                fixed: None,
                limit: Some(1),
                ..spec(&path)
            },
            1,
            EndpointKind::Chat,
        );
        if field == "ok" {
            assert!(result.is_ok(), "{text}");
            continue;
        }
        let error = result.unwrap_err().to_string();
        let place = format!("trace.jsonl:{line}: `{field}`");
        assert!(error.contains(&place), "{error} for {text}");
    }
    let path = written(&folder, TRACE);
    let error = built(&spec(&path), 1, EndpointKind::Completions)
        .unwrap_err()
        .to_string();
    assert!(error.contains("--endpoint-type chat"), "{error}");
}

#[test]
fn empty_missing_and_unknown_fields() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder, "\n\n");
    assert!(matches!(
        built(&spec(&path), 1, EndpointKind::Chat),
        Err(DatasetError::Empty { .. })
    ));
    let missing = folder.path().join("none");
    assert!(matches!(
        built(&spec(&missing), 1, EndpointKind::Chat),
        Err(DatasetError::Read { .. })
    ));
    let path = written(
        &folder,
        "{\"text_input\": \"a\", \"chat_id\": 1, \"hash_id\": [2]}",
    );
    let dataset = built(&spec(&path), 1, EndpointKind::Chat).unwrap();
    assert!(
        dataset.warnings[0].0.contains("chat_id, hash_id"),
        "{:?}",
        dataset.warnings
    );
}

/// Two sessions of several turns among lines of their own, out of order.
const SESSIONS: &str = r#"{"timestamp": 3000, "text_input": "late", "delay": 5}
{"timestamp": 1000, "text_input": "a1", "session_id": "a"}
{"timestamp": 1200, "input_length": 7, "session_id": "b"}
{"text_input": "a2", "session_id": "a", "delay": 70000}
{"timestamp": 1201, "text_input": "b2", "session_id": "b", "delay": 0}
{"timestamp": 1400, "messages": [{"role": "user", "content": "m1"}], "session_id": "m"}
{"messages": [{"role": "user", "content": "m1"}, {"role": "assistant", "content": "r"}], "session_id": "m"}
"#;

fn ids(dataset: &Dataset) -> Vec<(&str, usize)> {
    let conversations = dataset.conversations.iter();
    conversations
        .map(|one| (one.session_id.as_str(), one.turns.len()))
        .collect()
}

/// The times of all turns in milliseconds.
fn times(dataset: &Dataset) -> Vec<Option<f64>> {
    dataset
        .turns()
        .map(|turn| turn.timestamp.map(Span::as_millis_f64))
        .collect()
}

fn warnings(dataset: &Dataset) -> String {
    let all: Vec<&str> = dataset
        .warnings
        .iter()
        .map(|warning| warning.0.as_str())
        .collect();
    all.join("\n")
}

#[test]
fn lines_of_one_session_are_one_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder, SESSIONS);
    let dataset = built(&spec(&path), 2, EndpointKind::Chat).unwrap();
    assert_eq!(
        ids(&dataset),
        [("session_000000", 1), ("a", 2), ("b", 2), ("m", 2)]
    );
    let delays: Vec<_> = dataset.turns().map(|turn| turn.delay).collect();
    let (long, none) = (Some(Span::from_millis(70_000)), Some(Span::ZERO));
    assert_eq!(delays, [None, None, long, None, none, None, None]);
    let takes: Vec<bool> = dataset.turns().map(|turn| turn.history.is_some()).collect();
    assert_eq!(takes, [false, true, true, true, true, false, false]);
    let turn = &dataset.conversations[1].turns[1];
    let own = &turn.whole()[turn.history.as_ref().unwrap().own.clone()];
    let own: Value = serde_json::from_slice(own).unwrap();
    assert_eq!(own, json!({"role": "user", "content": "a2"}));
    assert!(warnings(&dataset).contains("--inter-turn-delay-cap-seconds"));

    let held = MooncakeSpec {
        delay_cap: Some(Span::from_millis(1_500)),
        ..spec(&path)
    };
    let dataset = built(&held, 2, EndpointKind::Chat).unwrap();
    assert_eq!(dataset.conversations[1].turns[1].delay, held.delay_cap);
    assert!(warnings(&dataset).starts_with("1 delays between turns were longer than 1.5 s"));

    let ignored = MooncakeSpec {
        ignore_delays: true,
        limit: Some(2),
        ..spec(&path)
    };
    let dataset = built(&ignored, 2, EndpointKind::Chat).unwrap();
    assert_eq!(ids(&dataset), [("session_000000", 1), ("a", 2)]);
    assert!(dataset.turns().all(|turn| turn.delay.is_none()));
    assert!(dataset.warnings.is_empty());
}

const AUTO: FixedSpec = FixedSpec {
    start_ms: None,
    end_ms: None,
    auto_offset: true,
};

fn scheduled(fixed: FixedSpec, speedup: f64, text: &str) -> Result<Dataset, DatasetError> {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder, text);
    let spec = MooncakeSpec {
        fixed: Some(fixed),
        speedup,
        ignore_delays: true,
        ..spec(&path)
    };
    built(&spec, 2, EndpointKind::Chat)
}

#[test]
fn a_fixed_schedule_sorts_by_the_first_timestamp_and_counts_from_the_zero_point() {
    let dataset = scheduled(AUTO, 1.0, SESSIONS).unwrap();
    assert_eq!(
        ids(&dataset),
        [("a", 2), ("b", 2), ("m", 2), ("session_000000", 1)]
    );
    let some = |times: [f64; 4]| times.map(Some);
    let [a, b1, b2, m] = some([0.0, 200.0, 201.0, 400.0]);
    assert_eq!(times(&dataset), [a, None, b1, b2, m, None, Some(2000.0)]);
    assert_eq!(
        dataset.conversations[0].turns[1].delay,
        Some(Span::from_millis(70_000))
    );
    assert!(warnings(&dataset).contains("--ignore-trace-delays changes nothing with"));

    let absolute = FixedSpec {
        auto_offset: false,
        ..AUTO
    };
    let dataset = scheduled(absolute, 1.0, SESSIONS).unwrap();
    assert_eq!(times(&dataset)[0], Some(1000.0));
}

#[test]
fn offsets_are_inclusive_and_say_what_they_drop() {
    let window = FixedSpec {
        start_ms: Some(1200),
        end_ms: Some(1400),
        auto_offset: false,
    };
    let dataset = scheduled(window, 1.0, SESSIONS).unwrap();
    assert_eq!(ids(&dataset), [("b", 2), ("m", 2)]);
    assert_eq!(times(&dataset), [Some(0.0), Some(1.0), Some(200.0), None]);
    assert!(
        warnings(&dataset).contains("3 of 7 lines"),
        "{}",
        warnings(&dataset)
    );
    let inside = FixedSpec {
        start_ms: Some(1201),
        end_ms: Some(1399),
        auto_offset: true,
    };
    let dataset = scheduled(inside, 1.0, SESSIONS).unwrap();
    assert_eq!(ids(&dataset), [("b", 1)]);
    assert!(
        dataset.turns().all(|turn| turn.history.is_none()),
        "one turn is left"
    );
    let nothing = FixedSpec {
        start_ms: Some(9999),
        ..AUTO
    };
    let error = scheduled(nothing, 1.0, SESSIONS).unwrap_err().to_string();
    assert!(error.contains("within the offsets"), "{error}");
}

/// The zero point is scaled with the rest.
#[test]
fn the_speedup_divides_timestamps() {
    let trace = "{\"timestamp\":1000,\"text_input\":\"a\"}\n{\"timestamp\":1201,\"text_input\":\"a\"}\n\
                 {\"timestamp\":1400,\"text_input\":\"a\"}\n";
    let absolute = FixedSpec {
        auto_offset: false,
        ..AUTO
    };
    let dataset = scheduled(absolute, 2.0, trace).unwrap();
    assert_eq!(times(&dataset), [500.0, 600.0, 700.0].map(Some));
    let from = FixedSpec {
        start_ms: Some(1100),
        ..absolute
    };
    assert_eq!(
        times(&scheduled(from, 2.0, trace).unwrap()),
        [50.0, 150.0].map(Some)
    );
    let folder = tempfile::tempdir().unwrap();
    let free = MooncakeSpec {
        speedup: 2.0,
        ..spec(&written(&folder, trace))
    };
    let dataset = built(&free, 1, EndpointKind::Chat).unwrap();
    assert!(warnings(&dataset).contains("changes nothing without a fixed schedule"));
}

#[test]
fn a_fixed_schedule_needs_the_first_timestamp_of_every_session() {
    let trace = "{\"timestamp\":1,\"text_input\":\"a\"}\n\n{\"text_input\":\"b\",\"session_id\":\"s\"}\n\
                 {\"timestamp\":2,\"text_input\":\"c\",\"session_id\":\"s\"}";
    let error = scheduled(AUTO, 1.0, trace).unwrap_err().to_string();
    assert!(error.contains("trace.jsonl:3: `timestamp`"), "{error}");
}

#[test]
fn completions_has_no_conversations_but_takes_payloads() {
    let folder = tempfile::tempdir().unwrap();
    let line = r#"{"text_input": "a", "session_id": "s"}"#;
    let path = written(&folder, &format!("{line}\n{line}"));
    let error = built(&spec(&path), 1, EndpointKind::Completions)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(":2: `session_id`") && error.contains("chat"),
        "{error}"
    );
    let line = r#"{"payload": {"prompt": "a"}, "session_id": "s"}"#;
    let path = written(&folder, &format!("{line}\n{line}"));
    let dataset = built(&spec(&path), 1, EndpointKind::Completions).unwrap();
    assert_eq!(ids(&dataset), [("s", 2)]);
    assert!(dataset.turns().all(|turn| turn.history.is_none()));
}

#[test]
fn an_extra_that_replaces_the_messages_takes_the_history_of_its_session() {
    let trace = r#"{"text_input": "a", "session_id": "s"}
{"text_input": "b", "session_id": "s", "extra": {"messages": []}}
{"text_input": "a", "session_id": "t"}
{"text_input": "b", "session_id": "t"}"#;
    let folder = tempfile::tempdir().unwrap();
    let dataset = built(&spec(&written(&folder, trace)), 1, EndpointKind::Chat).unwrap();
    let takes: Vec<bool> = dataset.turns().map(|turn| turn.history.is_some()).collect();
    assert_eq!(takes, [false, false, true, true]);
    assert!(warnings(&dataset).contains("`messages`"));
}

#[test]
fn whether_a_trace_has_timestamps_is_seen_in_its_first_line() {
    let folder = tempfile::tempdir().unwrap();
    for (text, expected) in [
        ("\n \n{\"timestamp\": 0, \"text_input\": \"a\"}", true),
        ("{\"timestamp\": null}\n{\"timestamp\": 1}", false),
        ("nonsense", false),
        ("", false),
    ] {
        assert_eq!(
            has_timestamps(&written(&folder, text)).unwrap(),
            expected,
            "{text}"
        );
        let zipped = folder.path().join("zipped");
        let file = std::fs::File::create(&zipped).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
        assert_eq!(has_timestamps(&zipped).unwrap(), expected, "{text}");
    }
    assert!(has_timestamps(&folder.path().join("none")).is_err());
}

/// How many lines of a trace have exactly their `input_length` in the body, counted by the
/// tokenizer, and what is off: line, length, count.
fn counted(path: &Path) -> (usize, Vec<(usize, usize, usize)>) {
    let spec = MooncakeSpec {
        block_size: 512,
        ..spec(path)
    };
    let tokenizer = Tokenizer::builtin().unwrap();
    let dataset = built(&spec, 2, EndpointKind::Chat).unwrap();
    let lines = Trace::read(path).unwrap().lines;
    let turns: Vec<&Turn> = dataset.turns().collect();
    assert_eq!(turns.len(), lines.len());
    let count = |at: usize| {
        let body = body(turns[at]);
        let count = crate::dataset::input_length(body.as_object().unwrap(), &tokenizer);
        assert_eq!(count, turns[at].isl, "what is said is what is sent");
        Ok::<_, ()>(count.unwrap() as usize)
    };
    let counts = map_indexed(turns.len(), 2, count, &|_, _| {}).unwrap();
    let mut off = Vec::new();
    for (line, count) in lines.iter().zip(counts) {
        let Ask::Length { tokens, .. } = line.ask else {
            panic!("a published trace has lengths only");
        };
        if tokens != count {
            off.push((line.number, tokens, count));
        }
    }
    (lines.len(), off)
}

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("assets/test/mooncake")
        .join(name)
}

/// A whole trace as kvcache-ai/Mooncake has published it.
fn published(name: &str) -> PathBuf {
    let folder = std::env::var_os("PINFIRE_TRACES").expect("PINFIRE_TRACES names their folder");
    Path::new(&folder).join(name)
}

#[test]
fn lines_of_the_published_traces_have_their_lengths() {
    for name in ["conversation_head.jsonl", "synthetic_head.jsonl"] {
        let (lines, off) = counted(&asset(name));
        assert_eq!((lines, off), (200, vec![]), "{name}");
    }
}

#[test]
#[ignore = "needs the published traces in the folder that PINFIRE_TRACES names, and --release"]
fn all_lines_of_the_published_traces_have_their_lengths() {
    for name in ["conversation_trace.jsonl", "synthetic_trace.jsonl"] {
        let (lines, off) = counted(&published(name));
        println!("{name}: {} of {lines} lines are off: {off:?}", off.len());
        assert!(off.len() * 1_000 <= lines, "{name}");
    }
}

/// Every block of the lines can be laid out, and no two of one id differ in size unless cut.
#[test]
#[ignore = "needs the published traces in the folder that PINFIRE_TRACES names"]
fn the_published_traces_survive_every_multiplier() {
    let same = Synthesis::default();
    let of = |prefix_len, prompt_len, prefix_root| Synthesis {
        prefix_len,
        prompt_len,
        prefix_root,
        ..same
    };
    let held = Synthesis {
        max_isl: Some(20_000),
        ..of(3.0, 2.0, 2)
    };
    for name in ["conversation_trace.jsonl", "synthetic_trace.jsonl"] {
        let trace = Trace::read(&published(name)).unwrap();
        for synthesis in [
            of(0.3, 1.0, 1),
            of(1.5, 1.0, 1),
            of(2.0, 0.1, 1),
            of(1.0, 3.0, 1),
            of(1.0, 1.0, 5),
            held,
        ] {
            let mut lines = trace.lines.clone();
            let order: Vec<usize> = (0..lines.len()).collect();
            let roots = Purpose::new(1, "dataset.synthesis.root");
            synthesis.apply(&mut lines, &order, 512, roots).unwrap();
            let mut sizes = HashMap::new();
            for (line, before) in lines.iter().zip(&trace.lines) {
                let (
                    Ask::Length { tokens, ids },
                    Ask::Length {
                        tokens: recorded, ..
                    },
                ) = (&line.ask, &before.ask)
                else {
                    panic!("a published trace has lengths only");
                };
                let (last, tail) = layout(*tokens, ids.len(), 512).unwrap();
                assert_eq!(tail, 0);
                let identity = synthesis.prefix_len == 1.0 && synthesis.prompt_len == 1.0;
                assert!(!identity || tokens == recorded, "{name}:{}", line.number);
                for (id, size) in sized(ids, 512, last) {
                    let seen = *sizes.entry(id).or_insert(size);
                    assert!(seen == size || synthesis.max_isl.is_some(), "{name}");
                }
            }
        }
    }
}

#[test]
fn prompts_are_slices_of_one_text() {
    let folder = tempfile::tempdir().unwrap();
    for kind in [EndpointKind::Chat, EndpointKind::Completions] {
        let text = TRACE.replace(
            r#"{"messages""#,
            r#"{"extra": {"a": 1}, "text_input": "x"}"#,
        );
        let text: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("tools"))
            .collect();
        let path = written(&folder, &text.join("\n"));
        let dataset = built(&spec(&path), 2, kind).unwrap();
        let ropes: Vec<bool> = dataset.turns().map(|turn| turn.rope.is_some()).collect();
        assert_eq!(
            ropes[..6],
            [true, true, true, true, false, false],
            "{kind:?}"
        );
        for turn in dataset.turns().take(4) {
            let own = String::from_utf8(turn.body.clone()).unwrap();
            assert!(
                !own.contains("endoftext") && !own.contains("pinfire"),
                "{own}"
            );
            assert!(turn.body.len() < turn.whole().len());
        }
    }
    // Extras that replace what is said leave nothing to put in, and ones beside it change nothing.
    let path_of_extras = folder.path().join("extras.jsonl");
    let line = r#"{"input_length": 20, "hash_ids": [0, 1, 2], "extra": {"messages": [{"role": "user", "content": "hello"}]}}"#;
    std::fs::write(&path_of_extras, line).unwrap();
    let dataset = built(&spec(&path_of_extras), 1, EndpointKind::Chat).unwrap();
    let turn = &dataset.conversations[0].turns[0];
    assert_eq!(turn.isl, Some(1));
    assert!(
        !String::from_utf8(turn.whole().into_owned())
            .unwrap()
            .contains("pinfire")
    );
}

#[test]
fn histories_of_prompts_that_are_slices() {
    let folder = tempfile::tempdir().unwrap();
    let trace = r#"{"input_length": 20, "hash_ids": [0, 1, 2], "session_id": "s"}
{"input_length": 20, "hash_ids": [0, 1, 3], "session_id": "s"}"#;
    let dataset = built(&spec(&written(&folder, trace)), 2, EndpointKind::Chat).unwrap();
    for turn in dataset.turns() {
        assert!(turn.rope.is_some());
        let splice = turn.history.as_ref().unwrap();
        let whole = turn.whole();
        let own: Value = serde_json::from_slice(&whole[splice.own.clone()]).unwrap();
        assert_eq!(own, body(turn)["messages"][0]);
        assert_eq!(splice.at, splice.own.start);
    }
}

#[test]
fn a_tokenizer_without_separator_is_warned_about() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder, TRACE);
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/test/wordlevel");
    let with = Tokenizer::from_path(&tiny, "tiny").unwrap();
    let bare = folder.path().join("tokenizer.json");
    std::fs::copy(tiny.join("tokenizer.json"), &bare).unwrap();
    let without = Tokenizer::from_path(&bare, "bare").unwrap();
    assert!(with.separator().is_some() && without.separator().is_none());
    for tokenizer in [&with, &without] {
        let dataset = built_by(tokenizer, 42, &spec(&path), 2, EndpointKind::Chat).unwrap();
        let warned = warnings(&dataset).contains("`bare` has neither BOS nor EOS");
        assert_eq!(warned, tokenizer.separator().is_none());
        for turn in dataset.turns() {
            let counted = crate::dataset::input_length(body(turn).as_object().unwrap(), tokenizer);
            assert_eq!(counted, turn.isl, "what is said is what is sent");
        }
    }
}

#[test]
fn multipliers_caps_and_filters_reach_the_bodies() {
    let folder = tempfile::tempdir().unwrap();
    let trace = r#"{"timestamp": 1, "input_length": 20, "output_length": 5, "hash_ids": [1, 2, 3]}
{"timestamp": 2, "input_length": 20, "output_length": 60, "hash_ids": [1, 2, 4]}
{"timestamp": 3, "input_length": 40, "output_length": 5, "hash_ids": [1, 2, 5, 6, 7]}
{"timestamp": 4, "text_input": "hello", "session_id": "t"}"#;
    let path = written(&folder, trace);
    let made = |synthesis| {
        let spec = MooncakeSpec {
            synthesis,
            fixed: Some(AUTO),
            ..spec(&path)
        };
        built(&spec, 2, EndpointKind::Chat)
    };
    let isl = |dataset: &Dataset| -> Vec<u32> { dataset.turns().filter_map(|t| t.isl).collect() };
    let osl = |dataset: &Dataset| -> Vec<u32> { dataset.turns().filter_map(|t| t.osl).collect() };
    let same = Synthesis::default();
    let longer = Synthesis {
        prefix_len: 2.0,
        max_osl: Some(10),
        output_len: 2.0,
        ..same
    };
    let dataset = made(longer).unwrap();
    assert_eq!(isl(&dataset), [36, 36, 56, 1]);
    assert_eq!(osl(&dataset), [10, 10, 10, 10]);
    let texts: Vec<String> = dataset.turns().take(2).map(content).collect();
    let prefix = texts[0].rfind("<|endoftext|>").unwrap();
    assert_eq!(texts[0][..prefix], texts[1][..prefix]);
    // The third line is too long as it was recorded; what becomes too long is cut.
    let held = Synthesis {
        prefix_len: 1.5,
        max_isl: Some(22),
        ..same
    };
    let dataset = made(held).unwrap();
    assert_eq!(isl(&dataset), [22, 22, 1]);
    assert!(warnings(&dataset).contains("1 of 4 lines are longer than --synthesis-max-isl"));
    let none = Synthesis {
        max_isl: Some(1),
        ..same
    };
    assert_eq!(
        isl(&made(none).unwrap()),
        [1],
        "a text has no recorded length"
    );
    let short = written(&folder, r#"{"timestamp": 1, "input_length": 20}"#);
    let spec = MooncakeSpec {
        synthesis: none,
        ..spec(&short)
    };
    let error = built(&spec, 1, EndpointKind::Chat).unwrap_err().to_string();
    assert!(error.contains("--synthesis-max-isl"), "{error}");
    let idle = MooncakeSpec {
        synthesis: longer,
        ..spec
    };
    let dataset = built(&idle, 1, EndpointKind::Chat).unwrap();
    assert!(warnings(&dataset).contains("no line has hash_ids"));
}

#[test]
fn blocks_cut_short_begin_as_the_whole_ones() {
    let folder = tempfile::tempdir().unwrap();
    let ids: Vec<usize> = (0..40).collect();
    let line = json!({"input_length": 40 * 64, "hash_ids": ids});
    let short = json!({"input_length": 30 * 64, "hash_ids": ids[..30]});
    let path = written(&folder, &format!("{line}\n{line}\n{short}"));
    let spec = MooncakeSpec {
        block_size: 64,
        synthesis: Synthesis {
            prompt_len: 0.5,
            max_isl: Some(2_560),
            prefix_len: 1.3,
            ..Synthesis::default()
        },
        ..spec(&path)
    };
    let dataset = built(&spec, 2, EndpointKind::Chat).unwrap();
    let counts: Vec<_> = dataset.turns().map(|turn| turn.isl).collect();
    assert_eq!(counts, [Some(2_560), Some(2_560), Some(39 * 64)]);
    let texts: Vec<String> = dataset.turns().map(content).collect();
    assert_eq!(
        texts[0], texts[1],
        "the whole of it is shared and cut to the limit"
    );
    let blocks =
        |text: &str| -> Vec<String> { text.split("<|endoftext|>").map(str::to_owned).collect() };
    assert_eq!(blocks(&texts[0])[..31], blocks(&texts[2])[..31]);
}

/// Without a fixed seed every run draws another one: its blocks meet no warm cache.
#[test]
fn another_seed_makes_other_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..20)
        .map(|id| format!("{{\"input_length\": 8, \"hash_ids\": [{id}]}}\n"))
        .collect();
    let spec = spec(&written(&folder, &lines));
    let texts = |seed| -> Vec<String> {
        let dataset = built_by(
            &Tokenizer::builtin().unwrap(),
            seed,
            &spec,
            2,
            EndpointKind::Chat,
        )
        .unwrap();
        dataset.turns().map(content).collect()
    };
    let one = texts(1);
    assert_eq!(one, texts(1));
    let other = texts(2);
    assert!(one.iter().all(|text| !other.contains(text)));
}
