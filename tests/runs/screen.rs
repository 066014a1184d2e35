//! The dashboard on a pseudo-terminal, and the statistics where there is none.

use pinfire_tests::{
    binary::profile,
    pty::{Left, OnTerminal, on_terminal, on_terminal_with},
};
use tempfile::TempDir;

fn run(more: &str, folder: &TempDir) -> OnTerminal {
    let line = format!(
        "profile --model mock --tokenizer builtin --url mock: --streaming --isl 20 \
         --artifact-dir out {more}"
    );
    let arguments: Vec<&str> = line.split_whitespace().collect();
    on_terminal(&arguments, folder.path(), (24, 80))
}

/// The terminal is as it was.
#[track_caller]
fn given_back(left: &Left) {
    assert!(!left.other_screen, "{}", left.text);
    assert!(!left.no_cursor, "{}", left.text);
    assert!(left.echoes, "{}", left.text);
}

/// The values of a row of the dashboard, after its name.
fn row(text: &str, name: &str) -> Option<Vec<f64>> {
    let line = text.lines().find_map(|line| line.split_once(name))?.1;
    let line = line.replace('│', " ");
    line.split_whitespace()
        .map(|word| word.replace(',', "").parse().ok())
        .collect()
}

#[test]
fn the_dashboard_shows_a_run_and_gives_the_terminal_back() {
    let folder = TempDir::new().unwrap();
    let mut terminal = run(
        "--concurrency 20 --benchmark-duration 60 --request-cancellation-rate 20 \
         --request-cancellation-delay 0.05",
        &folder,
    );
    let shown = terminal.until("percentiles", |screen| {
        let text = screen.contents();
        let latency = row(&text, "Latency (ms)");
        screen.alternate_screen() && latency.is_some_and(|values| values.len() == 7)
    });
    // The embedded server sends the first of 64 events after 20 ms, and one each 5 ms.
    let first = row(&shown, "TTFT (ms)").unwrap();
    assert!(first.iter().all(|value| *value > 19.0), "{shown}");
    let whole = row(&shown, "Latency (ms)").unwrap();
    assert!(whole.iter().all(|value| *value > 330.0), "{shown}");
    assert_eq!(
        row(&shown, "Output tokens ").map(|values| values.len()),
        Some(7),
        "{shown}"
    );
    assert!(shown.contains("of 20"), "{shown}");
    assert!(shown.contains("Ctrl-C"), "{shown}");
    let shown = terminal.until("outcomes and health", |screen| {
        let text = screen.contents();
        text.contains("% busy") && text.contains("Cancelled while") && text.contains("0 failed")
    });
    assert!(shown.contains("Cancel error"), "{shown}");
    assert!(!terminal.echoes());
    // What is typed leaves no trace, and Ctrl-Z does not stop it.
    terminal.key(b"abc\x1a");
    terminal.resize(40, 120);
    let shown = terminal.until("the larger size", |screen| {
        let text = screen.contents();
        text.lines()
            .any(|line| line.chars().count() == 120 && line.ends_with('┐'))
            && text.lines().count() == 40
    });
    assert!(!shown.contains("abc"), "{shown}");
    terminal.resize(10, 40);
    terminal.until("the smaller size", |screen| {
        let text = screen.contents();
        text.lines()
            .any(|line| line.chars().count() == 40 && line.ends_with('┐'))
    });
    terminal.resize(50, 130);
    terminal.key(b"\x03");
    let left = terminal.wait();
    given_back(&left);
    assert_eq!(left.code, Some(0), "{}", left.text);
    assert!(
        left.text.contains("Cancelling: nothing new is sent"),
        "{}",
        left.text
    );
    assert!(left.text.contains("(100.00 %)"), "{}", left.text);
    assert!(
        folder
            .path()
            .join("out/profile_export_aiperf.json")
            .exists()
    );
}

#[test]
fn the_second_ctrl_c_gives_the_terminal_back_as_it_leaves() {
    let folder = TempDir::new().unwrap();
    let mut terminal = run("--concurrency 4 --benchmark-duration 60", &folder);
    terminal.until("the dashboard", |screen| screen.alternate_screen());
    // Too near to each other for any thread to come between; where both are one signal, the run
    // ends in order.
    terminal.key(b"\x03");
    std::thread::sleep(std::time::Duration::from_millis(5));
    terminal.key(b"\x03");
    let left = terminal.wait();
    given_back(&left);
    // Before the first request there is nothing to end in order: 1.
    assert!(matches!(left.code, Some(0 | 1 | 137)), "{:?}", left.code);
}

#[test]
fn the_terminal_is_given_back_at_the_end_of_a_run() {
    let folder = TempDir::new().unwrap();
    let terminal = run("--concurrency 4 --benchmark-duration 1.5", &folder);
    terminal.until("the dashboard", |screen| screen.alternate_screen());
    let left = terminal.wait();
    given_back(&left);
    assert_eq!(left.code, Some(0), "{}", left.text);
    assert!(left.text.contains("(100.00 %)"), "{}", left.text);
    assert!(!left.text.contains("In flight"), "{}", left.text);
}

#[test]
fn a_run_that_is_over_at_once_leaves_the_screen_alone() {
    let folder = TempDir::new().unwrap();
    let left = run("--ui none --request-count 2", &folder).wait();
    given_back(&left);
    assert!(left.text.contains("(100.00 %)"), "{}", left.text);
}

#[test]
fn tables_fit_terminals_and_colours_can_be_turned_off() {
    let arguments: Vec<&str> =
        "profile --model m --tokenizer builtin --url mock: --streaming --isl 20 \
         --artifact-dir out --ui none --request-count 2 --console full"
            .split_whitespace()
            .collect();
    for (columns, no_color, coloured) in [
        (40, None, true),
        (80, Some(""), true),
        (80, Some("1"), false),
        (132, Some("1"), false),
        (250, None, true),
    ] {
        let folder = TempDir::new().unwrap();
        let environment: Vec<_> = no_color
            .map(|said| ("NO_COLOR", said))
            .into_iter()
            .collect();
        let left = on_terminal_with(&environment, &arguments, folder.path(), (24, columns)).wait();
        assert_eq!(left.code, Some(0), "{}", left.text);
        let escapes = left.written.matches('\u{1b}').count();
        assert_eq!(escapes > 0, coloured, "{columns}: {}", left.written);
        let plain = plain(&left.written);
        for line in plain
            .lines()
            .filter(|line| line.contains(['│', '┃', '━', '─']))
        {
            let width = line.chars().count();
            assert!(width <= usize::from(columns), "{columns}: {line}");
        }
        assert!(plain.contains("Time to First"), "{plain}");
    }
}

/// Without what colours it.
fn plain(written: &str) -> String {
    let mut parts = written.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once('m').expect("a colour").1
    })
}

#[test]
fn without_a_terminal_there_are_lines() {
    let flags = "--concurrency 4 --benchmark-duration 2 --stats-interval 0.25 --ui dashboard";
    let run = profile("mock:", flags).run().code(0);
    let said = &run.stderr;
    assert!(
        said.contains("warning: --ui dashboard needs a terminal"),
        "{said}"
    );
    let block = said.split("[realtime ").nth(1).expect(said);
    let mut lines = block.lines();
    assert!(
        lines
            .next()
            .is_some_and(|line| line.ends_with("profiling]")),
        "{said}"
    );
    for name in ["req", "ttft", "itl", "e2e", "intvty", "isl", "osl", "tot"] {
        let line = lines.next().expect(name);
        assert!(line.trim_start().starts_with(name), "{name}: {said}");
        assert!(
            line.chars().filter(char::is_ascii_digit).count() > 2,
            "{line}"
        );
    }
    assert!(!run.stdout.contains('\u{1b}'), "{}", run.stdout);
    // Without an interval a short run says nothing.
    let quiet = profile("mock:", "--request-count 4 --stats-interval 0")
        .run()
        .code(0);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn how_much_is_said() {
    let said = |flags: &str| {
        let flags = format!("--request-count 4 --arrival-pattern constant {flags}");
        profile("mock:", &flags).run().code(0).stderr
    };
    let warning = "warning: --arrival-pattern has no effect without --request-rate\n";
    assert_eq!(said(""), warning);
    assert_eq!(said("--log-level error"), "");
    for flags in ["--log-level debug", "-v", "-vv", "--extra-verbose"] {
        let said = said(flags);
        assert!(said.starts_with(warning), "{said}");
        assert!(
            said.contains("debug: pinfire profile --model=mock"),
            "{said}"
        );
        assert!(
            said.contains("debug: profiling begins: 4 requests, 1 at once"),
            "{said}"
        );
        assert!(said.contains(": begun 4, answered 4, failed 0"), "{said}");
    }
}

#[test]
fn a_terminal_gets_the_answer_on_one_screen_and_a_pipe_the_tables() {
    let folder = TempDir::new().unwrap();
    let what = "--concurrency 20 --request-count 40 --request-cancellation-rate 20 \
                --request-cancellation-delay 0.1 --random-seed 1 --ui none";
    let shown = run(what, &folder).wait().text;
    let lines = shown.lines().filter(|line| !line.trim().is_empty()).count();
    assert!((10..=40).contains(&lines), "{shown}");
    for words in [
        "TTFT (ms)",
        "ITL (ms)",
        "Cancelled",
        "Client",
        "resolved_config.yaml",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let full = run(&format!("{what} --console full"), &folder).wait().text;
    assert!(full.contains("Success Rate: 100%"), "{full}");
    // A script finds what it has always found.
    let piped = |more: &str| {
        let ended = profile("mock:", &format!("{what} {more}")).run();
        ended.code(0).stdout.clone()
    };
    assert!(piped("").contains("Time to First Token (ms)"));
    assert!(piped("--console headline").contains("TTFT (ms)"));
    let quiet = piped("--quiet");
    assert!(
        quiet.starts_with("Success") && quiet.lines().count() < 8,
        "{quiet}"
    );
}

#[test]
fn a_quiet_run_says_why_nothing_was_answered() {
    let run = profile("http://127.0.0.1:9", "--request-count 2 --quiet").run();
    let run = run.code(1);
    let told = run.stdout.lines().find(|line| line.starts_with("Errors"));
    assert!(
        told.is_some_and(|line| line.contains("Connection refused")),
        "{}",
        run.stdout
    );
}
