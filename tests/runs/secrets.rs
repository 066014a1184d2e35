//! One credential through every flag that can carry one, against servers that repeat what they were
//! sent: it is in no byte that is written.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
};

use pinfire_tests::binary::{Call, Ended, call};

use super::refusals::one_line;

/// With characters that every coding changes.
const SECRET: &str = "Zq7+secret/9w";
/// The same as a URL has it.
const IN_URL: &str = "Zq7%2Bsecret%2F9w";
/// Forms in which a server repeats it: as it is, percent-coded, in JSON, in base64 alone and behind
/// a user, in hexadecimal.
const FORMS: [&str; 7] = [
    SECRET,
    IN_URL,
    "Zq7%2bsecret%2f9w",
    "Zq7+secret\\/9w",
    "WnE3K3NlY3JldC85dw",
    "dXNlcjpacTcrc2VjcmV0Lzl3",
    "5a71372b7365637265742f3977",
];

/// What a server answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answers {
    /// 401, and all that it knows.
    Refused,
    /// 401 with a body that is cut within the credential.
    Cut,
    /// A page, of which the first bytes are quoted.
    Page,
    /// An event stream whose content it is.
    Stream,
}

/// A server that repeats what it is sent.
struct Echo(SocketAddr);

impl Echo {
    fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::new(answers);
        // It ends with the process of the tests.
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let answers = Arc::clone(&answers);
                std::thread::spawn(move || while serve(&socket, *answers).is_some() {});
            }
        });
        Self(address)
    }
}

fn serve(mut socket: &TcpStream, answers: Answers) -> Option<()> {
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    let whole = |got: &[u8]| -> Option<usize> {
        let head = got.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&got[..head]).to_lowercase();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        Some(head + length.map_or(0, |length| length.trim().parse().unwrap()))
    };
    while whole(&got).is_none_or(|length| got.len() < length) {
        let count = socket.read(&mut buffer).ok().filter(|count| *count > 0)?;
        got.extend_from_slice(&buffer[..count]);
    }
    let request = String::from_utf8_lossy(&got).into_owned();
    let quoted = serde_json::to_string(&request).unwrap();
    let (status, kind, body) = if request.starts_with("GET /") {
        let text = format!(
            "# TYPE vllm:num_requests_running gauge\n\
             vllm:num_requests_running{{model_name=\"{SECRET}\",engine=\"0\"}} 1\n\
             # HELP other what {SECRET} is\n# TYPE other gauge\nother{{a={quoted}}} 2\n"
        );
        ("200 OK", "text/plain", text)
    } else {
        let all = FORMS.join(" ");
        match answers {
            Answers::Refused => (
                "401 Unauthorized",
                "application/json",
                format!("{{\"error\":{{\"message\":\"no: {all}\",\"request\":{quoted}}}}}"),
            ),
            Answers::Cut => {
                let front = "x".repeat(64 * 1024 - 9);
                ("401 Unauthorized", "text/plain", front + SECRET)
            }
            Answers::Page => (
                "200 OK",
                "text/html",
                format!("{} {SECRET}", "y".repeat(470)),
            ),
            Answers::Stream => {
                let chunk = format!("got {SECRET} {quoted}");
                let chunk =
                    serde_json::json!({"choices": [{"index": 0, "delta": {"content": chunk}}]});
                let text = format!("data: {chunk}\n\ndata: [DONE]\n\n");
                ("200 OK", "text/event-stream", text)
            }
        }
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nX-Echo: {SECRET}\r\nContent-Length: {length}\r\n\r\n"
    );
    socket.write_all((head + &body).as_bytes()).ok()
}

/// A flag that can carry a credential: its command, and what is given with `HOST` in place of the
/// server. The server gets it, unless the flag is about something else.
const CARRIERS: &[(&str, &str, &[&str])] = &[
    ("profile", "api-key", &["--api-key", SECRET]),
    (
        "profile",
        "header",
        &["-H", "Authorization: Bearer Zq7+secret/9w"],
    ),
    (
        "profile",
        "header",
        &["--header", "X-Litellm-Key:Zq7+secret/9w"],
    ),
    (
        "profile",
        "header",
        &["-H", "X-JWT: Zq7+secret/9w", "X-Pass:Zq7+secret/9w"],
    ),
    ("profile", "header", &["-H", "Cookie: a=Zq7+secret/9w; b=1"]),
    (
        "profile",
        "header",
        &["-H", "{\"X-Sig\": \"Zq7+secret/9w\"}"],
    ),
    (
        "profile",
        "header",
        &["-H", "Authorization: Basic dXNlcjpacTcrc2VjcmV0Lzl3"],
    ),
    (
        "profile",
        "url",
        &["--url", "http://HOST/v1?token=Zq7%2Bsecret%2F9w"],
    ),
    (
        "profile",
        "url",
        &["-uhttp://HOST/v1?sig=Zq7%2Bsecret%2F9w"],
    ),
    (
        "profile",
        "url",
        &["--url", "http://HOST/v1?api%5Fkey=Zq7%2Bsecret%2F9w"],
    ),
    (
        "profile",
        "url",
        &["--url", "http://HOST/v1?x=1&code=Zq7%2Bsecret%2F9w"],
    ),
    (
        "profile",
        "endpoint",
        &[
            "--endpoint",
            "/v1/chat/completions?api_key=Zq7%2Bsecret%2F9w",
        ],
    ),
    (
        "profile",
        "extra-inputs",
        &["--extra-inputs", "api_key:Zq7+secret/9w"],
    ),
    (
        "profile",
        "extra-inputs",
        &[
            "--extra-inputs",
            "{\"a\": {\"password\": \"Zq7+secret/9w\"}}",
        ],
    ),
    (
        "profile",
        "server-metrics",
        &[
            "--server-metrics",
            "http://HOST/metrics?token=Zq7%2Bsecret%2F9w",
        ],
    ),
    (
        "profile",
        "gpu-telemetry",
        &[
            "--gpu-telemetry",
            "http://HOST/metrics?token=Zq7%2Bsecret%2F9w",
        ],
    ),
    ("cancel-test", "api-key", &["--api-key", SECRET]),
    (
        "cancel-test",
        "header",
        &["-H", "Authorization: Bearer Zq7+secret/9w"],
    ),
    (
        "cancel-test",
        "url",
        &["--url", "http://HOST/v1?token=Zq7%2Bsecret%2F9w"],
    ),
    (
        "cancel-test",
        "endpoint",
        &[
            "--endpoint",
            "/v1/chat/completions?api_key=Zq7%2Bsecret%2F9w",
        ],
    ),
    (
        "cancel-test",
        "extra-inputs",
        &["--extra-inputs", "api_key:Zq7+secret/9w"],
    ),
    (
        "cancel-test",
        "metrics-url",
        &[
            "--metrics-url",
            "http://HOST/metrics?token=Zq7%2Bsecret%2F9w",
        ],
    ),
    (
        "cancel-test",
        "direct-url",
        &["--direct-url", "http://HOST/v1?token=Zq7%2Bsecret%2F9w"],
    ),
];

/// Flags with such a value that carry none: files, and names.
const INNOCENT: &[(&str, &str)] = &[("profile", "input-file")];

/// The command with what it needs besides.
fn start(command: &str, host: SocketAddr, flags: &[&str]) -> Call {
    let host = host.to_string();
    let mut call = call([
        command,
        "--model",
        "mock",
        "--tokenizer",
        "builtin",
        "--isl",
        "9",
        "--osl",
        "2",
    ]);
    let flags: Vec<String> = flags
        .iter()
        .map(|flag| flag.replace("HOST", &host))
        .collect();
    call.more(flags.iter().map(String::as_str));
    if !flags
        .iter()
        .any(|flag| flag.starts_with("--url") || flag.starts_with("-u"))
    {
        call.more(["--url", &host]);
    }
    match command {
        "profile" => call.more([
            "--streaming",
            "--request-count",
            "3",
            "--artifact-dir",
            "out",
            "--export-level",
            "raw",
            "--export-http-trace",
            "--extra-verbose",
            "--warmup-request-count",
            "1",
            "--server-metrics-formats",
            "json",
            "csv",
            "jsonl",
            "parquet",
        ]),
        _ => call.more(["--concurrency", "2", "--waves", "1", "--settle", "0.2"]),
    }
    call
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}

/// Nothing that was written has the credential, nor the beginning of it.
#[track_caller]
fn nowhere(what: &str, run: &Ended) {
    let mut written = vec![
        ("stdout".to_owned(), run.stdout.clone()),
        ("stderr".to_owned(), run.stderr.clone()),
    ];
    for path in files(run.folder()) {
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        written.push((path.display().to_string(), text));
    }
    for (name, text) in &written {
        for form in FORMS.iter().chain(&["Zq7+se", "Zq7%2"]) {
            if let Some(at) = text.find(form) {
                let around: String = text[..at].chars().rev().take(80).collect();
                let before: String = around.chars().rev().collect();
                panic!("{what}: {name} has {form}: {before}{form}");
            }
        }
    }
}

#[test]
fn a_credential_is_nowhere_whatever_flag_carries_it() {
    let servers =
        [Answers::Refused, Answers::Stream].map(|answers| (answers, Echo::start(answers)));
    for (nth, (command, _, flags)) in CARRIERS.iter().enumerate() {
        // Each kind of answer for some of them: what they have in common is the place that hides.
        let (answers, server) = &servers[nth % 2];
        let run = start(command, server.0, flags).run();
        let what = format!("{command} {flags:?} {answers:?}");
        assert!(!run.stderr.contains("panicked"), "{what}: {}", run.stderr);
        let written = files(run.folder()).len();
        assert!(
            written >= if *command == "profile" { 8 } else { 2 },
            "{what}: {}",
            run.stderr
        );
        nowhere(&what, &run);
    }
    for answers in [Answers::Cut, Answers::Page] {
        let server = Echo::start(answers);
        let run = start("profile", server.0, &["--api-key", SECRET]).run();
        let lines = run.file("profile_export.jsonl");
        assert!(lines.contains("<redacted>"), "{answers:?}: {lines}");
        nowhere(&format!("{answers:?}"), &run);
    }
}

/// What clap shows of a command is what it takes.
#[test]
fn every_flag_that_can_carry_a_credential_is_tried() {
    let mut seen = 0;
    for command in [
        "profile",
        "cancel-test",
        "report",
        "plot",
        "compare",
        "analyze-trace",
    ] {
        let help = call([command, "--help"]).run().code(0).stdout;
        for line in help.lines().map(str::trim_start) {
            let Some((_, flag)) = line.split_once("--") else {
                continue;
            };
            let Some((flag, value)) = flag.split_once(" <") else {
                continue;
            };
            let value = value.split('>').next().unwrap();
            let carries = [
                "URL",
                "KEY",
                "NAME:VALUE",
                "KEY:VALUE",
                "PATH",
                "HEADER",
                "TOKEN",
            ];
            if !line.starts_with('-') || !carries.contains(&value) || command == "plot" {
                continue;
            }
            seen += 1;
            let row = CARRIERS
                .iter()
                .any(|(of, known, _)| (*of, *known) == (command, flag));
            let innocent = INNOCENT.contains(&(command, flag));
            assert!(row || innocent, "{command} --{flag} <{value}> is not tried");
        }
    }
    assert!(seen >= 13, "{seen}");
}

/// Before a run: refusals, heads and files.
#[test]
fn what_is_said_before_a_run_has_no_credential() {
    for (arguments, expected) in [
        (
            &[
                "profile",
                "--model",
                "m",
                "--url",
                "http://user:Zq7%2Bsecret%2F9w@127.0.0.1:9/v1",
            ][..],
            "cannot use the URL `http://<redacted>@127.0.0.1:9/v1`",
        ),
        (
            &[
                "profile",
                "--model",
                "m",
                "--url",
                "user:Zq7+secret/9w@127.0.0.1:9",
            ],
            "cannot use the URL `<redacted>@127.0.0.1:9`",
        ),
        (
            &[
                "profile",
                "--model",
                "m",
                "--url",
                "http://no.invalid/v1?token=Zq7%2Bsecret%2F9w",
            ],
            "cannot resolve the host of http://no.invalid/v1/chat/completions?token=<redacted>",
        ),
        (
            &[
                "cancel-test",
                "--model",
                "m",
                "--url",
                "http://a:Zq7+s@127.0.0.1:9",
            ],
            "cannot use the URL `http://<redacted>@127.0.0.1:9`",
        ),
        (
            &[
                "profile",
                "--model",
                "m",
                "--url",
                "mock:",
                "-H",
                "Zq7+secret/9w",
            ],
            "`<redacted>` is not Name:value",
        ),
        (
            &[
                "profile",
                "--model",
                "m",
                "--url",
                "mock:",
                "-H",
                "{\"Authorization\": \"Zq7+secret/9w\"",
            ],
            "is not a JSON object",
        ),
    ] {
        let run = call(arguments.iter().copied()).run().code(1);
        one_line(&run, expected);
        nowhere(expected, &run);
    }
    let validate = call(["config", "validate", "run.yaml"]);
    let file =
        "model: m\nurl: http://127.0.0.1:9/v1?sig=Zq7%2Bsecret%2F9w\napi-key: Zq7+secret/9w\n";
    validate.write("run.yaml", file);
    let run = validate.run().code(0);
    assert!(run.stdout.contains("?sig=<redacted>"), "{}", run.stdout);
    std::fs::remove_file(run.folder().join("run.yaml")).unwrap();
    nowhere("config validate", &run);
    for form in ["text", "yaml", "json"] {
        let expand = call(["config", "expand", "run.yaml", "--format", form]);
        expand.write("run.yaml", file);
        let run = expand.run().code(0);
        std::fs::remove_file(run.folder().join("run.yaml")).unwrap();
        assert!(run.stdout.contains("PINFIRE_URL_SIG"), "{}", run.stdout);
        nowhere("config expand", &run);
    }
    let init = [
        "config",
        "init",
        "--url",
        "http://h/v1?token=Zq7%2Bsecret%2F9w",
        "--output",
        "a.yaml",
    ];
    let run = call(init).run().code(0);
    let text = std::fs::read_to_string(run.folder().join("a.yaml")).unwrap();
    assert!(text.contains("?token=${PINFIRE_URL_TOKEN}"), "{text}");
    nowhere("config init", &run);
}

/// A short one would take ordinary words with it: it is hidden behind its name alone.
#[test]
fn a_short_credential_is_hidden_by_its_name() {
    let server = Echo::start(Answers::Refused);
    let run = start("profile", server.0, &["-H", "X-Api-Key: m", "X-Pass:mock"]).run();
    let line = run.file("profile_export.jsonl");
    assert!(line.contains("X-Api-Key: <redacted>"), "{line}");
    assert!(line.contains("X-Pass: <redacted>"), "{line}");
    let summary = run.file("profile_export_aiperf.json");
    assert!(summary.contains("\"name\": \"mock\""), "{summary}");
}

/// Credentials that do not stand on a command line, and what is said where one is missing.
#[test]
fn credentials_come_from_files_and_variables() {
    let server = Echo::start(Answers::Stream);
    let mut run = start(
        "profile",
        server.0,
        &["--api-key", "@key", "-H", "@headers"],
    );
    run.write("key", "Zq7+secret/9w\n");
    run.write("headers", "X-Pass: Zq7+secret/9w\nX-Plain: a, b\n");
    run.env("UNUSED", "1");
    let run = run.run().code(0);
    for name in ["key", "headers"] {
        std::fs::remove_file(run.folder().join(name)).unwrap();
    }
    nowhere("@FILE", &run);
    let raw = run.file("profile_export_raw.jsonl");
    assert!(raw.contains("\"X-Plain\":\"a, b\""), "{raw}");
    assert!(raw.contains("\"Authorization\":\"<redacted>\""), "{raw}");
    let resolved = run.file("resolved_config.yaml");
    assert!(resolved.contains("api-key: \"@key\""), "{resolved}");
    let missing = call([
        "profile",
        "--model",
        "m",
        "--url",
        "mock:",
        "--api-key",
        "@none",
    ]);
    one_line(&missing.run().code(1), "the file none cannot be read");

    let given = start("profile", server.0, &["--api-key", SECRET])
        .run()
        .code(0);
    let resolved = given.file("resolved_config.yaml");
    assert!(
        resolved.contains("api-key: \"${PINFIRE_API_KEY}\""),
        "{resolved}"
    );
    for (more, variable, code) in [
        (&[][..], None, 1),
        (&["--api-key", SECRET], None, 0),
        (&[], Some(SECRET), 0),
    ] {
        let mut again = call(["profile", "--config", "r.yaml"]);
        again.write("r.yaml", &resolved);
        again.more(more.iter().copied());
        if let Some(value) = variable {
            again.env("PINFIRE_API_KEY", value);
        }
        let again = again.run().code(code);
        if code == 1 {
            one_line(&again, "give --api-key again, or set PINFIRE_API_KEY");
        }
        nowhere("a run that is repeated", &again);
    }
}
