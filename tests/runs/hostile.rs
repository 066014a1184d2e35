//! Servers and files that write what a terminal would obey, a spreadsheet would compute, or nobody
//! would see: on the terminal, in the log and in CSV it is text.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path, process::Command};

use pinfire_tests::{
    binary::{call, pinfire},
    pty::on_terminal,
    raw::Raw,
};

use super::refusals::one_line;

/// ESC and CSI, a title, a bell, marks of direction, without width, a separator, a formula.
const EVIL: &str = "=1+1\u{1b}]0;pwned\u{7}\u{1b}[31mFORGED\u{9b}2J\u{202e}\u{2066}\u{200b}\u{feff}\u{61c}\u{2028}end";

/// Whether a character does more than show; line breaks aside.
fn acts(c: char) -> bool {
    c != '\n' && c.is_control()
        || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200B}'..='\u{200F}'
            | '\u{61C}' | '\u{2028}' | '\u{2029}' | '\u{FEFF}')
}

#[track_caller]
fn harmless(what: &str, text: &str) {
    let found = text.char_indices().find(|(_, c)| acts(*c));
    if let Some((at, c)) = found {
        let around: String = text[at..].chars().take(40).collect();
        panic!("{what} has {:x}: {around:?}", u32::from(c));
    }
}

/// Answers everything with what is hostile: pages of metrics with labels, requests with errors.
fn server() -> Raw {
    Raw::start(|conn| {
        if conn.head().is_none() {
            return;
        }
        let page = format!(
            "# HELP DCGM_FI_DEV_GPU_UTIL use {EVIL}\n# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n\
             DCGM_FI_DEV_GPU_UTIL{{gpu=\"0\",UUID=\"GPU-1\",modelName=\"{EVIL}\",Hostname=\"{EVIL}\"}} 5\n\
             # TYPE vllm:num_requests_running gauge\n\
             vllm:num_requests_running{{model_name=\"{EVIL}\"}} 1\n\
             # HELP other {EVIL}\n# TYPE other gauge\nother{{a=\"@{EVIL}\",b=\"-{EVIL}\"}} 2\n"
        );
        let is_even = conn.peer().port().is_multiple_of(2);
        let (status, body) = match (conn.is_get(), is_even) {
            (true, _) => ("200 OK", page),
            (false, true) => ("503 Busy", EVIL.to_owned()),
            (false, false) => (
                "429 Slow",
                format!("{{\"error\":{{\"message\":\"{EVIL}\"}}}}"),
            ),
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        conn.send((head + &body).as_bytes());
    })
}

fn flags(url: &str) -> Vec<String> {
    let line = format!(
        "profile --tokenizer builtin --streaming --isl 9 --osl 2 --url {url} --request-count 6 \
         --artifact-dir out --server-metrics-formats json csv --gpu-telemetry {url}/metrics --model"
    );
    let words = line.split_whitespace().map(str::to_owned);
    words.chain([EVIL.to_owned()]).collect()
}

/// The text files and tables of a run.
#[track_caller]
fn tables_are_harmless(folder: &Path) {
    let mut seen = 0;
    for name in [
        "logs/pinfire.log",
        "profile_export_console.txt",
        "profile_export_aiperf.csv",
        "server_metrics_export.csv",
    ] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        harmless(name, &text.replace("\r\n", "\n"));
        if name.ends_with(".csv") {
            let mut reader = csv::ReaderBuilder::new()
                .flexible(true)
                .has_headers(false)
                .from_reader(text.as_bytes());
            for cell in reader
                .records()
                .flat_map(|row| row.unwrap().iter().map(str::to_owned).collect::<Vec<_>>())
            {
                let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
                assert!(
                    !formula || cell.parse::<f64>().is_ok() || cell == "-",
                    "{name}: {cell}"
                );
            }
        }
        seen += text.matches("FORGED").count();
    }
    assert!(seen > 5, "it came through as text: {seen}");
}

#[test]
fn foreign_text_is_text_in_tables_logs_and_on_stdout() {
    let server = server();
    let url = format!("http://{}", server.address());
    let flags = flags(&url);
    let run = call(flags.iter().map(String::as_str)).run().code(1);
    harmless("stdout", &run.stdout);
    harmless("stderr", &run.stderr);
    assert!(run.stdout.contains("FORGED"), "{}", run.stdout);
    tables_are_harmless(&run.folder().join("out"));
}

#[test]
fn foreign_text_does_nothing_to_a_terminal() {
    let server = server();
    let url = format!("http://{}", server.address());
    let folder = tempfile::TempDir::new().unwrap();
    let mut flags = flags(&url);
    flags.extend(["--ui".to_owned(), "none".to_owned()]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let left = on_terminal(&flags, folder.path(), (40, 120)).wait();
    assert_eq!(left.code, Some(1), "{}", left.text);
    // The styles are ours.
    let mut plain = left.written.replace("\r\n", "\n");
    for code in ["0", "1", "2", "31", "32", "33"] {
        plain = plain.replace(
            &format!("\x1b[{code}m"),
            if code == "31" { "<31>" } else { "" },
        );
    }
    assert!(!plain.contains("<31>FORGED"), "{plain}");
    harmless("the terminal", &plain);
    assert!(plain.contains("FORGED"), "{plain}");
    tables_are_harmless(&folder.path().join("out"));
}

/// Names of files and values of flags are shown as text too.
#[test]
fn names_of_files_are_text_in_errors() {
    for arguments in [
        &["report", EVIL][..],
        &["config", "validate", EVIL],
        &["analyze-trace", EVIL],
        &["compare", EVIL, EVIL],
        &["profile", "--model", "m", "--concurrency", EVIL],
        &[
            "profile",
            "--model",
            "m",
            "--url",
            "mock:",
            "--input-file",
            EVIL,
        ],
        &["profile", "--model", "m", "--config", "a\nerror: forged"],
    ] {
        // Code 1 of a comparison is a broken rule.
        let code = if arguments[0] == "compare" { 2 } else { 1 };
        let run = call(arguments.iter().copied()).run().code(code);
        harmless(&format!("{arguments:?}"), &run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}

/// A name that is not UTF-8 works where it is only a place, and is refused where it is written
/// down.
#[test]
fn names_that_are_not_utf8() {
    let name = OsStr::from_bytes(b"caf\xE9");
    let in_folder = |arguments: &[&OsStr], within: Option<&OsStr>| {
        let folder = tempfile::TempDir::new().unwrap();
        let inside = folder.path().join(within.unwrap_or(OsStr::new(".")));
        std::fs::create_dir_all(&inside).unwrap();
        let output = Command::new(pinfire())
            .args(arguments)
            .current_dir(&inside)
            .env_clear()
            .output()
            .unwrap();
        (folder, output)
    };
    let run = |line: &str| {
        line.split(' ')
            .map(OsStr::new)
            .map(OsStr::to_owned)
            .collect::<Vec<_>>()
    };
    let line =
        run("profile --model m --tokenizer builtin --url mock: --request-count 1 --osl 1 --isl 9");
    let with = |flag: &str| {
        let all = line.iter().map(|word| &**word);
        all.chain([OsStr::new(flag), name])
            .map(OsStr::to_owned)
            .collect::<Vec<_>>()
    };
    for (flag, expected) in [
        (
            "--artifact-dir",
            "'caf\\xe9' for '--artifact-dir <FOLDER>': it is not UTF-8",
        ),
        ("--resume", "--resume: caf\\xe9 is not UTF-8"),
    ] {
        let arguments = with(flag);
        let arguments: Vec<&OsStr> = arguments.iter().map(|word| &**word).collect();
        let (folder, output) = in_folder(&arguments, None);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.starts_with("error: ") && said.lines().count() == 1,
            "{said}"
        );
        assert!(said.contains(expected), "{said}");
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "nothing went elsewhere"
        );
    }
    // As the folder in which a run stands it is a place like any other.
    let arguments: Vec<&OsStr> = line.iter().map(|word| &**word).collect();
    let (folder, output) = in_folder(&arguments, Some(name));
    assert!(output.status.success(), "{output:?}");
    let there: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(there, [name]);
    assert!(folder.path().join(name).join("artifacts").is_dir());
    one_line(
        &call(["profile", "--model", "m", "--resume", "none"])
            .run()
            .code(1),
        "none",
    );
}
