//! Bounds for what a model's own files decide: patterns, normalizers and templates that someone
//! else has written may never end, fill the memory or make a library panic.
//!
//! A thread cannot be ended from outside: what exceeds its bounds goes on until the program has
//! ended, which it does with the error that is made here.

use std::any::Any;
use std::cell::Cell;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Once, mpsc};
use std::time::Duration;

use pinfire_base::threads;

/// Bytes of a file of a tokenizer. The largest published ones have some 30 MB.
pub(super) const FILE_BYTES: u64 = 256 << 20;
/// How often the memory is looked at: copying at full speed fills some 100 MB meanwhile.
const POLL: Duration = Duration::from_millis(20);
/// Characters of a reason that a message shows.
const REASON: usize = 240;

/// Whether any work was given up on.
static RUNAWAY: AtomicBool = AtomicBool::new(false);

/// What work may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) seconds: u64,
    /// More than this must not be added to what the program holds.
    pub(super) mebibytes: u64,
}

thread_local! {
    /// Whether a panic of this thread is caught and reported as an error.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// The result of `work`, or what it panicked with. Nothing is printed of the panic.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let otherwise = take_hook();
        set_hook(Box::new(move |panic| {
            if !CAUGHT.try_with(Cell::get).unwrap_or(false) {
                otherwise(panic);
            }
        }));
    });
    let before = CAUGHT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(before);
    result.map_err(|panic| brief(words(&*panic)))
}

/// The result of `work`, or which bound it exceeded, as the rest of a sentence that begins with
/// what it did.
pub(super) fn within<T: Send + 'static>(
    bounds: Bounds,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (give, take) = mpsc::sync_channel(1);
    let run = move || {
        // The receiver is gone only when a bound was exceeded.
        let _ = give.send(caught(work));
    };
    threads::start("pinfire-model-files", run)
        .map_err(|error| format!("cannot be tried: {error}"))?;
    let before = held();
    let exceeded = |bound: String| {
        RUNAWAY.store(true, Ordering::Relaxed);
        Err(bound)
    };
    let polls = u128::from(bounds.seconds) * 1_000 / POLL.as_millis();
    for _ in 0..polls {
        match take.recv_timeout(POLL) {
            Ok(Ok(result)) => return Ok(result),
            Ok(Err(panic)) => return Err(format!("fails: {panic}")),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err("fails".to_owned()),
        }
        if held().saturating_sub(before) >> 20 >= bounds.mebibytes {
            let bound = bounds.mebibytes;
            return exceeded(format!("takes more than {bound} MiB of memory"));
        }
    }
    exceeded(format!("takes longer than {} s", bounds.seconds))
}

/// Whether work was given up on, which goes on in its thread: the program must end.
pub fn runaway() -> bool {
    RUNAWAY.load(Ordering::Relaxed)
}

/// Bytes of memory that the program holds; 0 where the system does not say.
fn held() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it gives no reason")
}

/// The words of a library on one line, none of them too long.
pub(super) fn brief(text: &str) -> String {
    let first = text.lines().find(|line| !line.trim().is_empty());
    let plain = first.unwrap_or_default().trim().chars();
    let plain = plain.map(|c| if c.is_control() { ' ' } else { c });
    let short: String = plain.clone().take(REASON).collect();
    match plain.count() > REASON {
        true => format!("{short}…"),
        false => short,
    }
}

/// A whole file of a model.
///
/// # Errors
/// It cannot be read, or has more than `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(limit + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {} MiB, the limit", limit >> 20),
        ));
    }
    Ok(bytes)
}

/// What a file is instead of the one that was expected, where its beginning says so.
pub(super) fn imposter(bytes: &[u8]) -> Option<&'static str> {
    const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = text.trim_ascii_start();
    let begins = |with: &[u8]| {
        text.get(..with.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    if text.starts_with(POINTER) {
        return Some("a pointer of Git LFS instead of the file (`git lfs pull` fetches it)");
    }
    let page = ["<!doctype", "<html", "<head>", "<body", "<?xml"];
    let page = page.iter().any(|tag| begins(tag.as_bytes()));
    page.then_some("a web page (HTML)")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        seconds: 60,
        mebibytes: 4_096,
    };

    #[test]
    fn results_and_panics_come_back() {
        assert_eq!(within(BOUNDS, || 5), Ok(5));
        let failed = within(BOUNDS, || -> u8 { panic!("no\x1b[1m way\nmore") });
        assert_eq!(failed, Err("fails: no [1m way".to_owned()));
        assert_eq!(caught(|| "x".repeat(2)), Ok("xx".to_owned()));
    }

    #[test]
    fn time_and_memory_are_bounded() {
        let (quit, wait) = mpsc::channel::<()>();
        let bounds = Bounds {
            seconds: 1,
            ..BOUNDS
        };
        let slow = within(bounds, move || wait.recv().is_ok());
        assert_eq!(slow, Err("takes longer than 1 s".to_owned()));
        drop(quit);
        let (quit, wait) = mpsc::channel::<()>();
        let bounds = Bounds {
            mebibytes: 64,
            ..BOUNDS
        };
        let large = within(bounds, move || {
            let held = vec![1_u8; 128 << 20];
            let _ = wait.recv();
            held.len()
        });
        assert_eq!(large, Err("takes more than 64 MiB of memory".to_owned()));
        drop(quit);
    }

    #[test]
    fn what_is_no_file_of_a_model_is_recognised() {
        for (bytes, word) in [
            ("<!DOCTYPE html><html>", "HTML"),
            ("\u{feff}\n  <HTML lang=en>", "HTML"),
            ("<?xml version=\"1.0\"?><Error/>", "HTML"),
            ("version https://git-lfs.github.com/spec/v1\noid", "LFS"),
        ] {
            let found = imposter(bytes.as_bytes()).unwrap_or_default();
            assert!(found.contains(word), "{bytes}: {found}");
        }
        for fine in ["{}", "", "<|im_start|>{{ messages }}", "{% if a %}<html>"] {
            assert_eq!(imposter(fine.as_bytes()), None, "{fine}");
        }
    }

    #[test]
    fn a_file_over_the_limit_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 20).unwrap();
        let error = read(file.path(), 2 << 20).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 2 MiB, the limit");
        assert_eq!(read(file.path(), 3 << 20).unwrap().len(), 3 << 20);
    }
}
