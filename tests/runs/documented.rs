//! The commands of the pages: every block of README and docs is run as it stands, or says in a
//! comment that readers do not see why it is not.
//!
//! Blocks marked `sh` are commands to be copied as a whole. Blocks marked `console` show commands
//! behind `$ ` and what they print. `<!-- not run: WORDS because REASON -->` above a block leaves
//! out the lines that have one of the words (separated by commas), or with `all` the whole block;
//! `<!-- file: NAME | LINE | LINE -->` gives it a file.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

use pinfire_tests::{
    binary::pinfire,
    mock::{Mock, script},
    watchdog::watch,
};
use tempfile::TempDir;

/// How many blocks at a time: most of them wait for a server.
const AT_ONCE: usize = 4;

/// What a page asks for is cut to this, so that all pages take seconds.
const AT_MOST: [(&str, u64); 4] = [
    ("--request-count", 40),
    ("--benchmark-duration", 1),
    ("--num-profile-runs", 3),
    ("--request-cancellation-wave", 1),
];

/// Where the pages have a server. A test has one at a port of its own.
const SERVERS: [&str; 5] = [
    "localhost:8000",
    "127.0.0.1:8000",
    "llm:8000",
    "node1:8000",
    "lead:8000",
];

const QUESTIONS: &str = r#"{"text": "Who wrote Faust?", "output_length": 8}
{"text": "And when?", "output_length": 4}
"#;

const TRACE: &str = r#"{"timestamp": 0, "input_length": 600, "output_length": 4, "hash_ids": [0, 1]}
{"timestamp": 5, "input_length": 700, "output_length": 4, "hash_ids": [0, 2]}
"#;

const RUN_FILE: &str = "\
benchmark:
  model: mock
  endpoint: {url: 'mock:', streaming: true}
  tokenizer: builtin
  profiling: {concurrency: 4, requests: 20}
";

/// A block of a page.
#[derive(Debug)]
struct Block {
    page: String,
    line: usize,
    shows_output: bool,
    left_out: Vec<String>,
    files: Vec<(String, String)>,
    lines: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// README, CONTRIBUTING and everything in docs.
fn pages() -> Vec<String> {
    let mut pages: Vec<String> = fs::read_dir(root().join("docs"))
        .expect("docs")
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| format!("docs/{}", name.to_string_lossy()))
        .filter(|name| name.ends_with(".md"))
        .collect();
    pages.extend(["README.md".to_owned(), "CONTRIBUTING.md".to_owned()]);
    pages.sort();
    pages
}

/// The blocks of commands in a page, and what is wrong with how they are marked.
fn blocks(page: &str, text: &str) -> (Vec<Block>, Vec<String>) {
    let (mut blocks, mut wrong) = (Vec::new(), Vec::new());
    let (mut left_out, mut files) = (Vec::new(), Vec::new());
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line = line.trim();
        let place = format!("{page}:{}", number + 1);
        let comment = |kind: &str| line.strip_prefix(kind)?.strip_suffix("-->");
        if let Some(marker) = comment("<!-- not run: ") {
            match marker.trim().split_once(" because ") {
                Some((words, _)) => left_out = words.split(", ").map(str::to_owned).collect(),
                None => wrong.push(format!("{place}: no reason: {line}")),
            }
            continue;
        }
        if let Some(file) = comment("<!-- file: ") {
            let mut parts = file.trim_end().split(" | ");
            let name = parts.next().unwrap_or_default().to_owned();
            let text: String = parts.map(|line| format!("{line}\n")).collect();
            files.push((name, text));
            continue;
        }
        let Some(language) = line.strip_prefix("```") else {
            if !(left_out.is_empty() && files.is_empty()) {
                wrong.push(format!("{place}: a comment for a block stands above none"));
                left_out.clear();
                files.clear();
            }
            continue;
        };
        let inside: Vec<String> = lines
            .by_ref()
            .map(|(_, line)| line.trim().to_owned())
            .take_while(|line| line != "```")
            .collect();
        let prompts = inside.iter().any(|line| line.starts_with("$ "));
        match language {
            "sh" if prompts => wrong.push(format!("{place}: `$ ` in a block of `sh`")),
            "console" if !prompts => wrong.push(format!("{place}: no `$ `: mark it `sh`")),
            "bash" | "shell" => wrong.push(format!("{place}: mark it `sh`")),
            "sh" | "console" => blocks.push(Block {
                page: page.to_owned(),
                line: number + 1,
                shows_output: language == "console",
                left_out: std::mem::take(&mut left_out),
                files: std::mem::take(&mut files),
                lines: inside,
            }),
            _ => {}
        }
    }
    (blocks, wrong)
}

impl Block {
    /// Its commands, each with what the page shows that it prints.
    fn commands(&self) -> Vec<(String, Vec<String>)> {
        let mut commands: Vec<(String, Vec<String>)> = Vec::new();
        let mut goes_on = false;
        for line in &self.lines {
            let (part, begins) = match line.strip_prefix("$ ") {
                Some(typed) => (typed, true),
                None => (line.as_str(), !self.shows_output),
            };
            match commands.last_mut() {
                Some((command, _)) if goes_on => {
                    command.truncate(command.len() - 1);
                    command.push_str(part);
                }
                Some((_, output)) if !begins => output.push(part.to_owned()),
                _ => commands.push((part.to_owned(), Vec::new())),
            }
            goes_on = (goes_on || begins) && part.ends_with('\\');
        }
        commands.retain(|(command, _)| !self.leaves_out(command));
        commands
    }

    fn leaves_out(&self, command: &str) -> bool {
        let typed = command.split(" # ").next().unwrap_or_default();
        let has = |word: &String| typed.split_whitespace().any(|part| part == word);
        self.left_out.iter().any(|word| word == "all" || has(word))
    }

    /// Runs it in a folder of its own. What is wrong, if anything is.
    fn run(&self, prepared: &Path) -> Result<(), String> {
        let commands = self.commands();
        if commands.is_empty() {
            return Ok(());
        }
        let place = format!("{}:{}", self.page, self.line);
        let folder = TempDir::new().expect("a folder for the block");
        let whole = self.lines.join("\n");
        for entry in fs::read_dir(prepared).expect("what was prepared") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            // What the block makes itself is not there before.
            let makes = [format!("--artifact-dir {name}"), format!("--output {name}")];
            if !makes.iter().any(|made| whole.contains(made)) {
                copy(&entry.path(), &folder.path().join(name));
            }
        }
        for (name, text) in &self.files {
            fs::write(folder.path().join(name), text).expect("a file of the block");
        }
        let mock = Mock::start(script());
        for (typed, output) in commands {
            let command = here(&typed, &mock.address().to_string());
            let guard = watch(format!("{place}: {command}"));
            let ended = shell(folder.path())
                .args(["-euo", "pipefail", "-c", &command])
                .output()
                .expect("bash runs");
            drop(guard);
            let said = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
            let fails = output.iter().any(|line| line.starts_with("error: "));
            if ended.status.code() != Some(i32::from(fails)) {
                return Err(format!("{place}: {command}\n{}\n{said}", ended.status));
            }
            let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            if let Some(line) = output
                .iter()
                .find(|line| !squeezed(&said).contains(&squeezed(line)))
            {
                return Err(format!(
                    "{place}: {command}\ndoes not print: {line}\n{said}"
                ));
            }
        }
        Ok(())
    }
}

/// A shell that finds the binary by its name and a user without settings.
fn shell(folder: &Path) -> Command {
    let binary = pinfire();
    let beside = binary.parent().expect("a folder of the binary");
    let mut command = Command::new("bash");
    command
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", beside.display()))
        .env("HOME", folder)
        .env("HF_HUB_OFFLINE", "1")
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

/// A command as it is run: the binary of the test, its server, and less of everything.
fn here(typed: &str, server: &str) -> String {
    let mut command = typed
        .replace("cargo run --release -- ", "pinfire ")
        .replace("/path/to/Qwen3-0.6B", "builtin");
    for name in SERVERS {
        command = command.replace(name, server);
    }
    let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        for (flag, most) in AT_MOST {
            if words[at - 1] == flag && words[at].parse().is_ok_and(|asked: u64| asked > most) {
                words[at] = most.to_string();
            }
        }
    }
    let has = |flag: &str| words.iter().any(|word| word == flag);
    let loads = words[0] == "pinfire" && words[1] == "profile";
    if loads && !["--url", "--config", "--resume"].into_iter().any(has) {
        words.insert(2, format!("--url http://{server}"));
    }
    words.join(" ")
}

fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).expect("a copy");
        return;
    }
    fs::create_dir(to).expect("a folder for the copy");
    for entry in fs::read_dir(from).expect("a folder to copy") {
        let entry = entry.expect("an entry");
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

/// What the pages take for granted: a file of questions, a trace, a run file, runs and a sweep.
fn prepared() -> TempDir {
    let folder = TempDir::new().expect("a folder for what the pages read");
    let at = |name: &str| folder.path().join(name);
    for (name, text) in [
        ("questions.jsonl", QUESTIONS),
        ("conversation_trace.jsonl", TRACE),
        ("run.yaml", RUN_FILE),
    ] {
        fs::write(at(name), text).expect("a file that pages read");
    }
    let run = "pinfire profile --url mock: --model mock --tokenizer builtin --streaming --isl 20 --osl 4 \
               --request-count 20";
    let made = format!(
        "{run} --concurrency 4 --export-level raw --artifact-dir artifacts/my-run && {run} --concurrency 1,2 --artifact-dir sweep \
         && mkdir aiperf-artifacts && for copy in artifacts/RUN aiperf-artifacts/run baseline new; do \
         cp -r artifacts/my-run $copy; done"
    );
    let _guard = watch("what the pages read");
    let ended = shell(folder.path())
        .args(["-euo", "pipefail", "-c", &made])
        .output()
        .expect("bash runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    folder
}

/// Every command that a page shows ends as the page says; what no test can run says why.
#[test]
fn every_documented_command_runs() {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for page in pages() {
        let text = fs::read_to_string(root().join(&page)).expect("a page");
        let (blocks, said) = blocks(&page, &text);
        all.extend(blocks);
        wrong.extend(said);
    }
    // So many there are at least, else they are not found.
    assert!(all.len() >= 38, "{} blocks", all.len());
    let run = all.iter().filter(|block| !block.commands().is_empty());
    assert!(run.count() >= 20, "most are not run");
    let prepared = prepared();
    let (left, wrong) = (Mutex::new(all), Mutex::new(wrong));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(block) = { left.lock().expect("no panic").pop() } {
                    if let Err(why) = block.run(prepared.path()) {
                        wrong.lock().expect("no panic").push(why);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A block is commands alone, or commands and what they print.
#[test]
fn blocks_are_read_as_they_stand() {
    let page = "<!-- not run: srun, --dashboard because there is none -->\n```sh\nsrun x\npinfire a \\\n  b\n\
                pinfire plot --dashboard # it serves\n```\n```console\n$ pinfire c\nerror: no\n```\n```bash\nx\n```\n\
                <!-- not run: all -->\n```sh\nx\n```\n";
    let (blocks, wrong) = blocks("page", page);
    let commands: Vec<_> = blocks.iter().flat_map(Block::commands).collect();
    assert_eq!(
        commands,
        [
            ("pinfire a b".to_owned(), vec![]),
            ("pinfire c".to_owned(), vec!["error: no".to_owned()]),
            ("x".to_owned(), vec![])
        ]
    );
    assert_eq!(
        wrong,
        [
            "page:12: mark it `sh`",
            "page:15: no reason: <!-- not run: all -->"
        ]
    );
    assert_eq!(
        here("cargo run --release -- profile --request-count 900", "s:1"),
        "pinfire profile --url http://s:1 --request-count 40"
    );
}
