//! The log of a run, `logs/pinfire.log`: what happened when, one line each. Only the control side
//! writes it, never a core.

use std::{
    fmt::Display,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use jiff::{Timestamp, tz::TimeZone};
use pinfire_analysis::{redact::HIDDEN, report::Report};
use pinfire_base::clock::unix_now;

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

/// Lines before the file is open wait for it.
enum Log {
    Waiting(Vec<String>),
    Open(File),
}

static LOG: Mutex<Log> = Mutex::new(Log::Waiting(Vec::new()));
/// Texts that no line may hold.
static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Different errors that are named; the summary has them all.
const ERRORS_MAX: usize = 20;

/// Opens the log of a run in its folder, behind what an earlier run has left there. `secrets` are kept
/// out of every line.
///
/// # Errors
/// The file cannot be made.
pub fn open(folder: &Path, secrets: Vec<String>) -> io::Result<PathBuf> {
    let logs = folder.join("logs");
    std::fs::create_dir_all(&logs)?;
    let path = logs.join("pinfire.log");
    let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
    *SECRETS.lock().unwrap_or_else(PoisonError::into_inner) = secrets;
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    if let Log::Waiting(lines) = &*log {
        for line in lines {
            file.write_all(clean(line).as_bytes())?;
        }
    }
    *log = Log::Open(file);
    Ok(path)
}

/// Writes a line. A log that cannot be written any more (a full disk) is no failure of the run.
pub fn put(level: Level, message: impl Display) {
    let line = line(unix_now(), level, &message.to_string());
    match &mut *LOG.lock().unwrap_or_else(PoisonError::into_inner) {
        Log::Waiting(lines) => lines.push(line),
        Log::Open(file) => {
            let _ = file.write_all(clean(&line).as_bytes());
        }
    }
}

/// Writes what is going on.
pub fn info(message: impl Display) {
    put(Level::Info, message);
}

/// Writes what came of a run: its errors, and what the panels of the console warn of.
pub fn outcome(report: &Report) {
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

/// `YYYY-MM-DD HH:MM:SS.mmm - <component> - <LEVEL> - <message>`, on one line.
fn line(unix_nanos: u64, level: Level, message: &str) -> String {
    let time = Timestamp::from_nanosecond(unix_nanos.into()).unwrap_or_default();
    let time = time.to_zoned(TimeZone::system());
    let level = match level {
        Level::Info => "INFO",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
    };
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let time = time.strftime("%Y-%m-%d %H:%M:%S%.3f");
    format!("{time} - pinfire - {level} - {message}\n")
}

/// The line without secrets.
fn clean(line: &str) -> String {
    let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut line = line.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        line = line.replace(secret.as_str(), HIDDEN);
    }
    line
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
        assert!(line.ends_with('\n'));
    }

    #[test]
    fn a_log_is_appended_to_and_holds_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        put(Level::Info, "before, with hush-hush");
        let path = open(folder.path(), vec!["hush-hush".to_owned(), String::new()]).unwrap();
        info("after, with hush-hush");
        open(folder.path(), vec!["hush-hush".to_owned()]).unwrap();
        info("again");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(!text.contains("hush-hush"), "{text}");
        assert!(text.contains("before, with <redacted>\n") && text.ends_with("again\n"));
    }
}
