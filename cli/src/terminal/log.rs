//! The log of a run, `logs/pinfire.log`: what happened when, one line each. Only the control side
//! writes it, never a core.

use std::{
    fmt::Display,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};

use jiff::Timestamp;
use pinfire_analysis::report::Report;
use pinfire_base::{clock::unix_now, zone};
use pinfire_guard::shown_line;

use super::progress::lock;

/// How much a line matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// What is going on.
    Info,
    /// What the user should know although it goes on.
    Warning,
    /// Why it did not work.
    Error,
}

/// The log of this process.
static LOG: Mutex<Log> = Mutex::new(Log::Waiting(Vec::new()));

/// Where lines go. Those before the file is open wait for it.
enum Log {
    Waiting(Vec<String>),
    Open(File),
}

/// Different errors that are named; the summary has them all.
const ERRORS_MAX: usize = 20;

/// Opens the log of a run in its folder, behind what an earlier run has left there.
///
/// # Errors
/// The file cannot be made.
pub fn open(folder: &Path) -> io::Result<PathBuf> {
    lock(&LOG).open(folder)
}

/// Writes a line. A log that cannot be written any more (a full disk) is no failure of the run.
pub fn put(level: Level, message: impl Display) {
    let message = message.to_string();
    lock(&LOG).put(level, &message);
}

impl Log {
    fn open(&mut self, folder: &Path) -> io::Result<PathBuf> {
        let logs = folder.join("logs");
        std::fs::create_dir_all(&logs)?;
        let path = logs.join("pinfire.log");
        let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
        if let Self::Waiting(lines) = self {
            for line in lines {
                // What is a secret may have come out since.
                file.write_all(clean(line).as_bytes())?;
            }
        }
        *self = Self::Open(file);
        Ok(path)
    }

    fn put(&mut self, level: Level, message: &str) {
        let line = line(unix_now(), level, message);
        match self {
            Self::Waiting(lines) => lines.push(line),
            Self::Open(file) => {
                let _ = file.write_all(clean(&line).as_bytes());
            }
        }
    }
}

/// The line with its end, fit to be written.
fn clean(line: &str) -> String {
    shown_line(line).into_owned() + "\n"
}

/// Writes what is going on.
pub fn info(message: impl Display) {
    put(Level::Info, message);
}

/// Writes what came of a run: its errors, and what the panels of the console warn of.
pub fn outcome(report: &Report) {
    info(format_args!(
        "the answers of the measurement: {}",
        report.counts.in_words()
    ));
    for group in report.errors.iter().take(ERRORS_MAX) {
        let problem = &group.problem;
        let code = problem
            .code
            .map_or_else(String::new, |code| format!("{code} "));
        let (kind, message) = (&problem.kind, &problem.message);
        put(
            Level::Error,
            format_args!("{} x {code}{kind}: {message}", group.count),
        );
    }
    for notice in report.insights().into_iter().chain(report.notices()) {
        let (title, words) = (notice.title, notice.lines.join(" "));
        put(Level::Warning, format_args!("{title}: {words}"));
    }
    for reason in &report.health.reasons {
        put(
            Level::Warning,
            format_args!("the client was the bottleneck: {reason}"),
        );
    }
    for difference in &report.accounting.differences {
        put(
            Level::Error,
            format_args!("requests are not all accounted for: {difference}"),
        );
    }
}

/// `YYYY-MM-DD HH:MM:SS.mmm - <component> - <LEVEL> - <message>`, without the end of the line.
fn line(unix_nanos: u64, level: Level, message: &str) -> String {
    let time = Timestamp::from_nanosecond(unix_nanos.into()).unwrap_or_default();
    let time = time.to_zoned(zone::local());
    let level = match level {
        Level::Info => "INFO",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
    };
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let time = time.strftime("%Y-%m-%d %H:%M:%S%.3f");
    format!("{time} - pinfire - {level} - {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_parts() {
        let line = line(
            1_800_000_000_123_000_000,
            Level::Warning,
            "one\n  two\tthree",
        );
        let parts: Vec<&str> = line.trim_end().splitn(4, " - ").collect();
        assert_eq!(parts[1..], ["pinfire", "WARNING", "one two three"]);
        // Which hour it is depends on the machine's zone.
        assert_eq!(parts[0].len(), "2027-01-15 08:00:00.123".len(), "{line}");
        assert!(parts[0].ends_with(":00.123"), "{line}");
    }

    #[test]
    fn a_log_is_appended_to_and_holds_neither_secrets_nor_controls() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::Waiting(Vec::new());
        log.put(Level::Info, "before, with logged-hush");
        pinfire_guard::keep("logged-hush");
        let path = log.open(folder.path()).unwrap();
        log.put(Level::Info, "after, with logged-hush and \x1b[2J\u{202e}");
        log.open(folder.path()).unwrap();
        log.put(Level::Info, "again");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(!text.contains("logged-hush"), "{text}");
        assert!(text.contains("and \\x1b[2J\\u{202e}\n"), "{text}");
        assert!(text.contains("before, with <redacted>\n") && text.ends_with("again\n"));
    }
}
