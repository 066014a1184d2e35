//! Rules that a line, or the head of a file, keeps or breaks.

use crate::{
    nothing,
    source::{Line, Source, files, sources},
};

/// What rustfmt keeps code to; here it holds for comments.
const WIDTH: usize = 100;

#[test]
fn every_file_says_in_its_head_what_it_is() {
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|source| {
            let head = source.text.lines().next().unwrap_or_default();
            !head.starts_with("//! ")
        })
        .map(|source| source.path.clone())
        .collect();
    nothing(&wrong, "A file begins with `//!` and what it is.");
}

/// Files whose comments are still to be wrapped.
const UNWRAPPED: &[&str] = &[
    "analysis/artifacts/src/lib.rs",
    "analysis/artifacts/src/line.rs",
    "analysis/artifacts/src/summary.rs",
    "cli/config/src/file/translate.rs",
    "cli/config/src/sections.rs",
    "cli/src/asked.rs",
    "cli/src/cmd/profile/mod.rs",
    "tests/runs/config.rs",
];

#[test]
fn comments_are_as_narrow_as_code() {
    let too_wide = |(number, line): (usize, &str)| {
        let text = line.trim_start();
        // A table's row or an address cannot be wrapped.
        let whole = text.starts_with("/// |")
            || text.starts_with("//! |")
            || text.split_whitespace().any(|word| word.len() > WIDTH / 2);
        (text.starts_with("//") && line.chars().count() > WIDTH && !whole).then_some(number)
    };
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|source| !UNWRAPPED.iter().any(|path| source.path.starts_with(path)))
        .flat_map(|source| {
            let numbered = (1..).zip(source.text.lines());
            let at = |number| format!("{}:{number}", source.path);
            numbered.filter_map(too_wide).map(at).collect::<Vec<_>>()
        })
        .collect();
    nothing(&wrong, "A comment is at most 100 columns wide.");
}

/// Places where the code of a line, outside of unit tests, has what a rule forbids. Paths of
/// `allowed` are prefixes; each of them must be needed.
fn found(
    within: impl Fn(&str) -> bool,
    forbidden: impl Fn(&str) -> bool,
    allowed: &[&str],
) -> Vec<String> {
    let sources = sources();
    let mut needed = vec![false; allowed.len()];
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| within(&source.path)) {
        let allowance = allowed
            .iter()
            .position(|path| source.path.starts_with(path));
        for (number, line) in source.shipped() {
            if forbidden(&line.code) {
                match allowance {
                    Some(at) => needed[at] = true,
                    None => wrong.push(format!("{}:{number}: {}", source.path, line.code.trim())),
                }
            }
        }
    }
    for (path, needed) in allowed.iter().zip(needed) {
        if !needed {
            wrong.push(format!("{path} is allowed it and does not need it"));
        }
    }
    wrong
}

/// `code` has `word`, and not as a part of another.
fn has_word(code: &str, word: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(in_word) && !code[at + word.len()..].starts_with(in_word)
    })
}

#[test]
fn the_runtime_is_named_where_sockets_and_threads_are_made_only() {
    let wrong = found(
        |_| true,
        |code| has_word(code, "monoio"),
        &[
            "engine/src/net/",
            "engine/src/core/thread.rs",
            "engine/src/sys/",
        ],
    );
    nothing(
        &wrong,
        "Only net, sys and core/thread.rs name the runtime: the rest can be tested without it.",
    );
}

#[test]
fn nothing_waits_on_the_clock_of_the_runtime() {
    let wrong = found(
        |_| true,
        |code| code.contains("monoio::time") || code.contains("time::TimeDriver"),
        &[],
    );
    nothing(
        &wrong,
        "The runtime's timer has ticks of a millisecond; deadlines are the core's heap and a timerfd.",
    );
}

#[test]
fn the_parts_without_a_clock_are_told_the_time() {
    let parts = [
        "engine/proto/",
        "engine/src/schedule/",
        "engine/src/request/",
        "engine/src/core/deadline.rs",
        "cli/cluster/",
    ];
    for part in parts {
        let some = sources().iter().any(|source| source.path.starts_with(part));
        assert!(some, "{part} is not there any more");
    }
    let wrong = found(
        |path| parts.iter().any(|part| path.starts_with(part)),
        |code| code.contains("::now(") || code.contains("clock_gettime"),
        &[],
    );
    nothing(
        &wrong,
        "Protocol, schedule, request and deadlines take the time as an argument.",
    );
}

#[test]
fn a_core_has_all_of_the_outside_from_one_trait() {
    let outside = ["::now(", "ClockPair::read", "thread_cpu_time"];
    let wrong = found(
        |path| path.starts_with("engine/src/core/"),
        |code| outside.iter().any(|call| code.contains(call)) || code.contains("crate::net"),
        &[],
    );
    nothing(
        &wrong,
        "A core reads clocks and uses sockets through Io, so that a simulation can drive it.",
    );
}

#[test]
fn clocks_are_read_in_one_place() {
    let wrong = found(
        |_| true,
        |code| has_word(code, "clock_gettime"),
        &["engine/base/src/clock.rs", "tools/src/cpu.rs"],
    );
    nothing(
        &wrong,
        "Clocks are read by the base's clock.rs, CPU time by the tools' cpu.rs.",
    );
}

#[test]
fn threads_are_started_in_one_place() {
    let wrong = found(
        |path| !path.starts_with("tests/") && !path.starts_with("benches/"),
        |code| {
            let starts = ["thread::spawn", "thread::Builder", "scope.spawn"];
            starts.iter().any(|start| code.contains(start))
                || (code.contains("thread::{") && has_word(code, "Builder"))
        },
        &[
            "engine/base/src/threads.rs",
            // Tools of the tests: one has no way to say what went wrong, the other's threads have
            // small stacks, and it goes on without one.
            "tools/src/proxy.rs",
            "tools/src/gateway/",
        ],
    );
    nothing(
        &wrong,
        "Threads are started by the base's threads.rs: one that is refused is an error, no panic.",
    );
}

#[test]
fn the_analysis_has_no_clock_and_no_socket() {
    let sockets = ["TcpStream", "TcpListener", "UdpSocket", "UnixStream"];
    let wrong = found(
        |path| path.starts_with("analysis/"),
        |code| {
            code.contains("Stamp::now")
                || code.contains("Timestamp::now")
                || code.contains("Zoned::now")
                || sockets.iter().any(|socket| has_word(code, socket))
        },
        &[],
    );
    nothing(
        &wrong,
        "What the analysis needs of time stands in the records; pages are handed to it.",
    );
}

#[test]
fn words_go_to_the_terminal_by_one_way() {
    let wrong = found(
        |path| path.starts_with("cli/src/"),
        |code| {
            ["stdout()", "stderr()", "print!(", "println!(", "eprintln!("]
                .iter()
                .any(|way| code.contains(way))
                && !code.contains("is_terminal()")
        },
        &[
            // They make the text fit to be shown, or draw.
            "cli/src/terminal/",
            // Completions are our own text.
            "cli/src/main.rs",
            // Lines of JSON, with codes for what is hostile.
            "cli/src/cmd/profile/dry_run.rs",
        ],
    );
    nothing(
        &wrong,
        "Text goes to stdout by terminal/stdout.rs and to stderr by terminal/say.rs, which take \
         credentials and control characters out.",
    );
}

#[test]
fn unsafe_code_stands_where_it_is_looked_for() {
    let wrong = found(
        |_| true,
        |code| has_word(code, "unsafe") || code.contains("allow(unsafe_code"),
        &["engine/src/sys/"],
    );
    nothing(&wrong, "Unsafe code is in engine/src/sys only.");
    // In tests, which `found` leaves out, only the allocator that counts has it.
    let sources = sources();
    let with = |source: &&Source| {
        source
            .lines
            .iter()
            .any(|line| has_word(&line.code, "unsafe"))
    };
    let paths: Vec<&str> = sources
        .iter()
        .filter(with)
        .map(|source| source.path.as_str())
        .collect();
    let places = ["engine/src/sys/", "tests/allocations/"];
    for path in &paths {
        assert!(
            places.iter().any(|place| path.starts_with(place)),
            "unsafe code in {path}"
        );
    }
}

#[test]
fn what_cannot_be_serialised_is_never_replaced_by_nothing() {
    let writes = |code: &str| {
        [
            "to_vec",
            "to_string",
            "to_vec_pretty",
            "to_string_pretty",
            "to_value",
            "to_writer",
        ]
        .iter()
        .any(|name| has_word(code, &format!("serde_json::{name}")))
            || code.contains(".into_inner()")
    };
    let mut wrong = Vec::new();
    for source in sources() {
        let shipped: Vec<(usize, &Line)> = source.shipped().collect();
        for (at, (number, line)) in shipped.iter().enumerate() {
            // The call may be broken into a few lines by rustfmt.
            let statement = &shipped[at.saturating_sub(3)..=at];
            let swallows = line.code.contains(".unwrap_or_default()")
                || line.code.contains(".unwrap_or_else(|_|");
            let ends = |line: &&(usize, &Line)| line.1.code.trim_end().ends_with([';', '{', '}']);
            let begin = statement[..statement.len() - 1]
                .iter()
                .rposition(|line| ends(&line));
            let statement = &statement[begin.map_or(0, |begin| begin + 1)..];
            if swallows && statement.iter().any(|(_, line)| writes(&line.code)) {
                wrong.push(format!("{}:{number}: {}", source.path, line.code.trim()));
            }
        }
    }
    nothing(
        &wrong,
        "A value that cannot be serialised is an error, or an `expect` with its reason; an empty \
         file is neither.",
    );
}

/// Words of a reference to a document that a reader of this repository does not have.
fn cites(comment: &str) -> bool {
    if comment.contains("RFC ") {
        return false;
    }
    let lower = comment.to_lowercase();
    let words = ["specification", "appendix"];
    if words.iter().any(|word| lower.contains(word)) {
        return true;
    }
    // "section 4.7", "ruling R12", "rulings", "§5".
    let numbered = |word: &str| {
        lower.match_indices(word).any(|(at, _)| {
            let after = lower[at + word.len()..].trim_start_matches(['s', ' ']);
            after.starts_with(|c: char| c.is_ascii_digit())
        })
    };
    if has_word(&lower, "ruling")
        || has_word(&lower, "rulings")
        || numbered("section")
        || lower.contains('§')
    {
        return true;
    }
    // "(D8)", "R3: …", but no DeepSeek-R1.
    comment
        .split(|c: char| !c.is_alphanumeric() && c != '-')
        .any(|word| {
            let number = word.strip_prefix(['D', 'R']).unwrap_or_default();
            matches!(number.len(), 1 | 2) && number.chars().all(|c| c.is_ascii_digit())
        })
}

#[test]
fn nothing_refers_to_a_document_that_is_not_here() {
    let mut wrong = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.path != "tests/tidy/rules.rs")
    {
        for (number, line) in source.numbered() {
            if cites(&line.comment) {
                wrong.push(format!("{}:{number}: {}", source.path, line.comment));
            }
        }
    }
    for (path, text) in [files(".md"), files(".toml")].concat() {
        for (number, line) in (1..).zip(text.lines()) {
            if cites(line) {
                wrong.push(format!("{path}:{number}: {line}"));
            }
        }
    }
    nothing(
        &wrong,
        "A comment says the reason itself: whoever reads it has no other document.",
    );
}

#[test]
fn citations_are_told_from_words() {
    for (comment, expected) in [
        ("// as the specification has it", true),
        ("// see section 4.7", true),
        ("// (D8)", true),
        ("// rounded (R4, D11)", true),
        ("// ruling R1", true),
        ("// a section of the page", false),
        ("// RFC 9112, section 6.3", false),
        ("// (R)", false),
        ("// the H100 (D)", false),
        ("// R3: it is no error", true),
        ("// DeepSeek-R1", false),
    ] {
        assert_eq!(cites(comment), expected, "{comment}");
    }
}
