//! The source tree: its files, and each line's code and comment told apart.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A Rust file of the tree.
pub struct Source {
    /// The path from the root of the repository, with `/`.
    pub path: String,
    /// The text as it is.
    pub text: String,
    /// Its lines, from the first.
    pub lines: Vec<Line>,
    /// The first line (from 0) of the unit tests at its end, or the number of lines.
    pub tests_from: usize,
}

/// A line of a file, taken apart.
pub struct Line {
    /// The code with what stands in strings blanked out.
    pub code: String,
    /// The strings.
    pub strings: String,
    /// The comment, with its slashes.
    pub comment: String,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file below the root whose name ends so, but for what git does not track by intent.
pub fn files(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(&root(), "", ending, &mut found);
    found.sort();
    assert!(found.len() > 5, "no files that end in {ending}");
    found
}

fn walk(folder: &Path, prefix: &str, ending: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of the tree") {
        let entry = entry.expect("an entry of a folder");
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        let path = format!("{prefix}{name}");
        let hidden = name.starts_with('.') && name != ".github" && name != ".ci";
        let made = name == "target" || path == "artifacts" || path == "tests/golden/data";
        if hidden || made {
            continue;
        }
        if entry.file_type().expect("a kind of entry").is_dir() {
            walk(&entry.path(), &format!("{path}/"), ending, found);
        } else if name.ends_with(ending) {
            let text = fs::read_to_string(entry.path()).expect("a text");
            found.push((path, text));
        }
    }
}

/// All Rust files.
pub fn sources() -> Vec<Source> {
    files(".rs")
        .into_iter()
        .map(|(path, text)| Source::new(path, text))
        .collect()
}

impl Source {
    /// Takes a file apart.
    pub fn new(path: String, text: String) -> Self {
        let lines = take_apart(&text);
        let whole = path.starts_with("tests/")
            || path.ends_with("/tests.rs")
            || path.contains("/tests/")
            || path.contains("/core/sim/")
            || path.ends_with("_tests.rs");
        let tests_from = if whole {
            0
        } else {
            // Unit tests stand at the end of their file.
            let is_mod = |at: usize| {
                lines[at].code.trim() == "#[cfg(test)]"
                    && lines[at + 1..]
                        .iter()
                        .map(|line| line.code.trim())
                        .find(|code| !code.is_empty() && !code.starts_with("#["))
                        .map(|code| code.trim_start_matches("pub(super) "))
                        .is_some_and(|code| code.starts_with("mod ") && code.ends_with('{'))
            };
            (0..lines.len())
                .find(|&at| is_mod(at))
                .unwrap_or(lines.len())
        };
        Self {
            path,
            text,
            lines,
            tests_from,
        }
    }

    /// Its lines outside of unit tests, each with its number from 1.
    pub fn shipped(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines[..self.tests_from].iter().enumerate().map(number)
    }

    /// All of its lines, each with its number from 1.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().map(number)
    }
}

fn number((at, line): (usize, &Line)) -> (usize, &Line) {
    (at + 1, line)
}

/// Where a text is read.
#[derive(Clone, Copy)]
enum In {
    Code,
    LineComment,
    /// Nested so deep.
    BlockComment(usize),
    /// With so many hashes; `None` is a string with escapes.
    String(Option<usize>),
}

/// Code, strings and comments of each line. It knows as much of Rust's lexer as that needs: raw and
/// byte strings, nested comments, characters beside lifetimes.
fn take_apart(text: &str) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let mut lines = vec![Line::empty()];
    let mut state = In::Code;
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        if rest[0] == '\n' {
            lines.push(Line::empty());
            if matches!(state, In::LineComment) {
                state = In::Code;
            }
            at += 1;
            continue;
        }
        let line = lines.last_mut().expect("at least one line");
        let (taken, next) = match state {
            In::Code => in_code(rest, chars[..at].last().copied()),
            In::LineComment => (1, state),
            In::BlockComment(depth) => match rest {
                ['/', '*', ..] => (2, In::BlockComment(depth + 1)),
                ['*', '/', ..] if depth == 1 => (2, In::Code),
                ['*', '/', ..] => (2, In::BlockComment(depth - 1)),
                _ => (1, state),
            },
            In::String(None) => match rest {
                ['\\', '\n', ..] => (1, state),
                ['\\', _, ..] => (2, state),
                ['"', ..] => (1, In::Code),
                _ => (1, state),
            },
            In::String(Some(hashes)) => {
                let ends = rest[0] == '"'
                    && rest.len() > hashes
                    && rest[1..=hashes].iter().all(|&c| c == '#');
                if ends {
                    (1 + hashes, In::Code)
                } else {
                    (1, state)
                }
            }
        };
        let part: String = rest[..taken].iter().collect();
        match (state, next) {
            (In::LineComment | In::BlockComment(_), _)
            | (In::Code, In::LineComment | In::BlockComment(_)) => line.comment.push_str(&part),
            (In::String(_), In::String(_)) => line.strings.push_str(&part),
            // Characters and the quotes of strings count as code, without what is inside.
            (In::Code, In::Code) if part.starts_with('\'') && taken > 1 => {
                line.code.push_str("' '")
            }
            _ => line.code.push_str(&part),
        }
        state = next;
        at += taken;
    }
    lines
}

/// How many characters of `rest` belong together, and what comes after them.
fn in_code(rest: &[char], before: Option<char>) -> (usize, In) {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match rest {
        ['/', '/', ..] => (2, In::LineComment),
        ['/', '*', ..] => (2, In::BlockComment(1)),
        ['"', ..] => (1, In::String(None)),
        ['r', '#' | '"', ..] | ['b' | 'c', 'r', '#' | '"', ..] if !in_word => {
            let prefix = if rest[0] == 'r' { 1 } else { 2 };
            let hashes = rest[prefix..].iter().take_while(|&&c| c == '#').count();
            if rest.get(prefix + hashes) == Some(&'"') {
                (prefix + hashes + 1, In::String(Some(hashes)))
            } else {
                // A raw identifier.
                (1, In::Code)
            }
        }
        ['\'', '\\', ..] => {
            let end = rest[3..].iter().position(|&c| c == '\'');
            (end.map_or(1, |end| end + 4), In::Code)
        }
        ['\'', _, '\'', ..] => (3, In::Code),
        _ => (1, In::Code),
    }
}

impl Line {
    const fn empty() -> Self {
        Self {
            code: String::new(),
            strings: String::new(),
            comment: String::new(),
        }
    }
}

#[test]
fn lines_are_taken_apart() {
    let text = "let a = \"// no \\\" comment\"; // a 'comment'\n\
                let b = r#\"a \" b\"#; let c = b'\"'; fn d<'a>(e: &'a str) {}\n\
                /* one /* two */ \"still\" */ f('\\u{41}', '\\'');\n";
    let source = Source::new("x.rs".to_owned(), text.to_owned());
    let of = |at: usize| {
        let line = &source.lines[at];
        (
            line.code.as_str(),
            line.strings.as_str(),
            line.comment.as_str(),
        )
    };
    let first = ("let a = \"\"; ", "// no \\\" comment", "// a 'comment'");
    assert_eq!(of(0), first);
    let code = "let b = r#\"\"#; let c = b' '; fn d<'a>(e: &'a str) {}";
    assert_eq!(of(1), (code, "a \" b", ""));
    assert_eq!(
        of(2),
        (" f(' ', ' ');", "", "/* one /* two */ \"still\" */")
    );
}
