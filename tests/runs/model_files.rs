//! Files of a model, from a folder or from a hub, that are odd, bad or meant to do harm: what comes
//! of them is right, or one line that names the file.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;

use pinfire_tests::binary::{Call, call};

use super::refusals::one_line;

const TINY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../engine/workload/assets/test/wordlevel"
);

/// A run of a few requests with the tokenizer of this name.
fn with(tokenizer: &str, flags: &str) -> Call {
    let mut call = call([
        "profile",
        "--model",
        "m",
        "--url",
        "mock:",
        "--artifact-dir",
        "out",
    ]);
    call.more(["--request-count", "2", "--tokenizer", tokenizer]);
    if !flags.contains("--input-file") {
        call.more(["--isl", "20"]);
    }
    call.more(flags.split_whitespace());
    call
}

/// A folder `model` in the call's own, with a tokenizer and these files over it.
fn folder(call: &Call, files: &[(&str, &str)]) {
    let folder = call.folder().join("model");
    std::fs::create_dir(&folder).expect("a folder");
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(Path::new(TINY).join(file), folder.join(file)).expect("a tokenizer");
    }
    for (name, text) in files {
        std::fs::write(folder.join(name), text).expect("a file");
    }
}

fn tokenizer_with(from: &str, to: &str) -> String {
    let path = Path::new(TINY).join("tokenizer.json");
    let text = std::fs::read_to_string(path).expect("a tokenizer");
    let changed = text.replace(from, to);
    assert_ne!(changed, text);
    changed
}

/// Each step makes two letters of one.
fn doubling(steps: usize) -> String {
    let step = |n: usize| {
        let (from, to) = if n.is_multiple_of(2) {
            ("a", "bb")
        } else {
            ("b", "aa")
        };
        format!(r#"{{"type": "Replace", "pattern": {{"String": "{from}"}}, "content": "{to}"}}"#)
    };
    let steps: Vec<String> = (0..steps).map(step).collect();
    format!(
        r#""normalizer": {{"type": "Sequence", "normalizers": [{}]}}"#,
        steps.join(", ")
    )
}

fn split(pattern: &str) -> String {
    format!(
        r#"{{"type": "Split", "pattern": {{"Regex": "{pattern}"}}, "behavior": "Isolated", "invert": false}}"#
    )
}

/// Chat templates that would not end, each with the words about it.
#[test]
fn templates_that_would_not_end() {
    let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x\
                 {% endfor %}{% endfor %}{% endfor %}";
    let named = format!(r#"{{"chat_template": [{{"name": "default", "template": "{loops}"}}]}}"#);
    let wide = "{% for a in range(9999) %}{{ 'x' * 99999 }}{% endfor %}";
    let deep = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
    let double = "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}\
                  {% endfor %}";
    for (file, text, words) in [
        (
            "chat_template.jinja",
            loops,
            "takes more than 10000000 steps",
        ),
        (
            "chat_template.json",
            &named,
            "takes more than 10000000 steps",
        ),
        (
            "tokenizer_config.json",
            &named,
            "takes more than 10000000 steps",
        ),
        ("chat_template.jinja", wide, "writes more than 64 MiB"),
        ("chat_template.jinja", deep, "calls itself too deep"),
        (
            "chat_template.jinja",
            double,
            "takes more than 1024 MiB of memory",
        ),
    ] {
        let call = with("./model", "--apply-chat-template");
        folder(&call, &[(file, text)]);
        let run = call.run().code(1);
        one_line(&run, words);
        one_line(&run, &format!("./model/{file}: the chat template"));
        one_line(&run, "leave out --apply-chat-template");
        assert!(run.stderr.len() < 400, "{}", run.stderr);
        // The way on that it names.
        let call = with("./model", "");
        folder(&call, &[(file, text)]);
        call.run().code(0);
    }
}

/// Templates with what only `transformers` knows: the input length of a run.
#[test]
fn templates_of_published_models_are_rendered() {
    let plain = "{% for m in messages %}{{ m.content }} the{% endfor %}";
    let marked = "{%- for m in messages -%}{%- generation -%}{{ m.content }} the{%- endgeneration -%}\
                  {%- endfor -%}";
    let older = format!(r#"{{"chat_template": "{marked}"}}"#);
    for (file, text) in [
        ("chat_template.jinja", plain),
        ("chat_template.jinja", marked),
        ("chat_template.json", &older),
    ] {
        let call = with("./model", "--apply-chat-template");
        folder(&call, &[(file, text)]);
        let run = call.run().code(0);
        assert!(!run.stderr.contains("template"), "{}", run.stderr);
        // The word behind it is one of the twenty tokens.
        for line in run.lines() {
            assert_eq!(
                line["metrics"]["input_sequence_length"]["value"], 20,
                "{file}"
            );
        }
        let inputs = run.file("inputs.json");
        assert!(!inputs.contains("generation"), "{inputs}");
    }
}

/// Tokenizers whose patterns and normalizers never end, or that are none.
#[test]
fn tokenizers_that_cannot_be_used() {
    let normalizer = r#""normalizer": null"#;
    let cut = r#"{"type": "Whitespace"}"#;
    let deep = "[".repeat(100_000);
    for (text, words) in [
        (
            tokenizer_with(normalizer, &doubling(40)),
            "encoding ordinary text takes more than 1024 MiB",
        ),
        (
            tokenizer_with(cut, &split("(a+)+$")),
            "encoding ordinary text fails: Onig",
        ),
        (
            tokenizer_with(cut, &split("(x+x+)+y|(a|aa)+$")),
            "encoding ordinary text fails: Onig",
        ),
        (
            tokenizer_with(cut, &split("(")),
            "is not a usable tokenizer",
        ),
        (
            "<!DOCTYPE html><html></html>".to_owned(),
            "a web page (HTML)",
        ),
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_owned(),
            "git lfs pull",
        ),
        (deep, "invalid type: sequence"),
        (String::new(), "EOF"),
    ] {
        let call = with("./model", "");
        folder(&call, &[("tokenizer.json", &text)]);
        let run = call.run().code(1);
        one_line(&run, words);
        one_line(&run, "./model/tokenizer.json is not a usable tokenizer");
        one_line(&run, "--tokenizer builtin");
    }
    // A hole of 300 MB: it takes no room on the disk.
    let call = with("./model", "");
    folder(&call, &[]);
    let file = std::fs::File::create(call.folder().join("model/tokenizer.json")).expect("a file");
    file.set_len(300 << 20).expect("a long file");
    let run = call.run().code(1);
    one_line(
        &run,
        "cannot read ./model/tokenizer.json: it has more than 256 MiB, the limit",
    );
}

/// What exceeds its bounds, or fails, on a text of the dataset only: the run ends before anything
/// is sent.
#[test]
fn model_files_that_fail_on_the_dataset() {
    let cut = r#"{"type": "Whitespace"}"#;
    let runs = "z".repeat(60);
    let text = format!("{{\"text\": \"the king\"}}\n{{\"text\": \"{runs}!\"}}\n");
    let tokenizer = tokenizer_with(cut, &split("(z+)+$"));
    let template = "{% for a in messages[0].content %}{% if a == 'z' %}{% for b in range(9999) %}\
                    {% for c in range(9999) %}{% endfor %}{% endfor %}{% endif %}{% endfor %}";
    for (file, content, words, way) in [
        (
            "tokenizer.json",
            tokenizer.as_str(),
            "cannot encode a text of this run: Onig",
            "--tokenizer builtin",
        ),
        (
            "chat_template.jinja",
            template,
            "takes more than 10000000 steps",
            "leave out --apply-chat-template",
        ),
    ] {
        let call = with("./model", "--apply-chat-template --input-file data.jsonl");
        folder(
            &call,
            &[
                ("chat_template.jinja", "{{ messages[0].content }}"),
                (file, content),
            ],
        );
        call.write("data.jsonl", &text);
        let run = call.run().code(1);
        one_line(&run, words);
        one_line(&run, way);
        one_line(&run, &format!("./model/{file}"));
    }
}

/// A hub that gives this answer to whatever is asked, as often as it is asked.
fn hub(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            // A client that has heard enough leaves.
            let _ = (&stream).write_all(&answer);
        }
    });
    endpoint
}

/// What a hub answers that is no tokenizer, asked through HF_ENDPOINT: one line, an empty cache,
/// and the same again, since nothing bad was kept.
#[test]
fn hubs_that_answer_with_something_else() {
    let answer = |head: &str, body: &str| {
        let head = format!("HTTP/1.1 200 OK\r\n{head}Connection: close\r\n\r\n");
        [head.as_bytes(), body.as_bytes()].concat()
    };
    let page = "<!DOCTYPE html><title>Sign in</title>";
    let large = answer("Content-Length: 300000000\r\n", "{");
    let endless = answer("", &" ".repeat((256 << 20) + 1));
    for (answer, words) in [
        (
            answer("Content-Type: text/html\r\n", page),
            ["a web page (HTML)", "200 OK, text/html"],
        ),
        (
            answer("", "{\"error\": \"not here\"}"),
            ["tokenizer.json (200 OK) is not usable", "not here"],
        ),
        (
            answer("Content-Length: 500\r\n", "{\"version\""),
            ["broke off after 10 bytes", "nothing was kept"],
        ),
        (large, ["has 287 MiB", "the limit of a file is 256 MiB"]),
        (
            endless,
            ["has more than that", "the limit of a file is 256 MiB"],
        ),
    ] {
        let endpoint = hub(answer);
        for _ in 0..2 {
            let mut call = with("some/model", "");
            call.env("HF_HUB_OFFLINE", "0");
            call.env("HF_ENDPOINT", &endpoint);
            call.env("HF_HUB_CACHE", "cache");
            std::fs::create_dir(call.folder().join("cache")).expect("a folder");
            let run = call.run().code(1);
            let error = run.stderr.lines().last().unwrap_or_default();
            for word in words {
                assert!(error.contains(word), "{word}: {}", run.stderr);
            }
            assert!(
                error.starts_with("error: no tokenizer found for `some/model`"),
                "{error}"
            );
            assert!(
                error.contains("--tokenizer builtin") && error.len() < 800,
                "{error}"
            );
            let left = std::fs::read_dir(run.folder().join("cache")).expect("a folder");
            assert_eq!(left.count(), 0, "something was kept");
        }
    }
}

/// A bad file in the cache is named with its path, and what was sent instead is not asked for.
#[test]
fn a_bad_file_in_the_cache_is_named() {
    let mut call = with("some/model", "");
    call.env("HF_HUB_CACHE", "cache");
    let snapshot = call
        .folder()
        .join("cache/models--some--model/snapshots/main");
    std::fs::create_dir_all(&snapshot).expect("a folder");
    std::fs::write(snapshot.join("tokenizer.json"), "<html>Sign in</html>").expect("a file");
    let run = call.run().code(1);
    one_line(
        &run,
        "cache/models--some--model/snapshots/main/tokenizer.json is in the hub's cache",
    );
    one_line(
        &run,
        "remove the folder cache/models--some--model/snapshots/main to download it again",
    );
}
