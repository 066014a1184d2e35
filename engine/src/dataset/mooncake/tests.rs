//! Traces of a few lines, written by the tests: what is sent, and what is refused.

use std::io::Write;

use serde_json::{Value, json};

use super::*;
use crate::dataset::BodyOptions;

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
    }
}

fn built(spec: &MooncakeSpec, threads: usize, kind: EndpointKind) -> Result<Dataset, DatasetError> {
    let tokenizer = Tokenizer::builtin().unwrap();
    let bodies = BodyOptions {
        endpoint: kind,
        models: vec!["m".into()],
        streaming: true,
        legacy_max_tokens: false,
        per_chunk_usage: false,
        extra: Map::new(),
    };
    let context = Build {
        tokenizer: Some(&tokenizer),
        corpus: None,
        bodies: &bodies,
        seed: 42,
        fixed_seed: true,
        threads,
    };
    build(spec, &context, &|_, _| {})
}

fn written(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("trace.jsonl");
    std::fs::write(&path, text).unwrap();
    path
}

fn body(entry: &Entry) -> Value {
    serde_json::from_slice(&entry.body).unwrap()
}

fn content(entry: &Entry) -> String {
    let content = body(entry)["messages"][0]["content"].clone();
    content.as_str().unwrap().to_owned()
}

#[test]
fn every_kind_of_line() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = built(&spec(&written(&folder, TRACE)), 2, EndpointKind::Chat).unwrap();
    let entries = &dataset.entries;
    let isl: Vec<Option<u32>> = entries.iter().map(|entry| entry.isl).collect();
    assert_eq!(isl, [20, 20, 24, 29, 33, 2, 2, 3].map(Some));
    let tokenizer = Tokenizer::builtin().unwrap();
    for entry in entries {
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
    assert_eq!(entries[1].timestamp_ms, Some(0.5));
    assert_eq!(entries[4].timestamp_ms, None);
    assert_eq!(body(&entries[4])["model"], "own");
    assert_eq!(entries[5].session_id, "mine");
    assert_eq!(entries[6].session_id, "session_000006");
    assert_eq!(
        body(&entries[6])["tools"],
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
        let text = content(&dataset.entries[index]);
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
    let one = built(&spec(&path), 1, EndpointKind::Chat).unwrap().entries;
    assert_eq!(
        one,
        built(&spec(&path), 3, EndpointKind::Chat).unwrap().entries
    );
    let some = MooncakeSpec {
        fixed: None,
        limit: Some(2),
        ..spec(&path)
    };
    assert_eq!(
        one[..2],
        built(&some, 2, EndpointKind::Chat).unwrap().entries
    );
    let zipped = folder.path().join("trace.jsonl.gz");
    let file = std::fs::File::create(&zipped).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    encoder.write_all(TRACE.as_bytes()).unwrap();
    encoder.finish().unwrap();
    let unzipped = built(&spec(&zipped), 2, EndpointKind::Chat)
        .unwrap()
        .entries;
    assert_eq!(
        unzipped
            .iter()
            .map(|entry| entry.isl)
            .collect::<Vec<_>>()
            .len(),
        one.len()
    );
    assert_ne!(unzipped[0].body, one[0].body, "another file, other texts");
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
    assert_eq!(dataset.entries[0].isl, Some(249 * 512 + 17));
    let prompt = body(&dataset.entries[0])["prompt"].clone();
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
            "{\"text_input\": \"a\", \"session_id\": \"s\"}\n{\"text_input\": \"b\", \"session_id\": \"s\"}",
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
