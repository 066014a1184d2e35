//! The time zone of this machine, for times that people read.
//!
//! `TZ` may hold anything, also the path of a device that never ends or of a pipe that nobody
//! writes to: only regular files of a bounded size are read, and no folder is searched.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    path::{Component, Path, PathBuf},
    sync::OnceLock,
};

use jiff::tz::TimeZone;

/// The largest files of the time zone database have 4 KiB.
const BYTES: u64 = 1024 * 1024;

/// Where the database lies.
const FOLDERS: [&str; 3] = [
    "/usr/share/zoneinfo",
    "/usr/share/lib/zoneinfo",
    "/etc/zoneinfo",
];

/// The zone, and what is wrong with the one that was asked for.
static LOCAL: OnceLock<(TimeZone, Option<String>)> = OnceLock::new();

/// The local time zone; UTC where none is set, or none that can be read.
pub fn local() -> TimeZone {
    found().0.clone()
}

/// Why `TZ` is not followed, if it is not.
pub fn wrong() -> Option<&'static str> {
    found().1.as_deref()
}

fn found() -> &'static (TimeZone, Option<String>) {
    LOCAL.get_or_init(|| match std::env::var_os("TZ") {
        None => {
            let machine = of_file(Path::new("/etc/localtime"));
            (machine.unwrap_or(TimeZone::UTC), None)
        }
        Some(asked) => match of_text(&asked, std::env::var_os("TZDIR")) {
            Ok(zone) => (zone, None),
            Err(reason) => {
                let asked = asked.to_string_lossy();
                let shown: String = asked.chars().take(80).collect();
                let wrong = format!("TZ is {shown:?}, {reason}: times are shown in UTC");
                (TimeZone::UTC, Some(wrong))
            }
        },
    })
}

/// A path, a name of the database, or a rule such as `CET-1CEST,M3.5.0,M10.5.0/3`.
fn of_text(asked: &OsString, folder: Option<OsString>) -> Result<TimeZone, String> {
    let none = || "which is no time zone".to_owned();
    let text = asked.to_str().ok_or_else(none)?;
    let text = text.strip_prefix(':').unwrap_or(text);
    if text.is_empty() || text == "UTC" {
        return Ok(TimeZone::UTC);
    }
    let path = Path::new(text);
    if path.is_absolute() {
        return of_file(path);
    }
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if path.components().all(plain) {
        let folders = folder.map(PathBuf::from).into_iter();
        let folders = folders.chain(FOLDERS.map(PathBuf::from));
        let mut zones = folders.map(|folder| folder.join(path));
        if let Some(zone) = zones.find_map(|path| of_file(&path).ok()) {
            return Ok(zone);
        }
    }
    TimeZone::posix(text).map_err(|_| none())
}

fn of_file(path: &Path) -> Result<TimeZone, String> {
    let unreadable = |error: std::io::Error| format!("which cannot be read ({error})");
    // Before it is opened, which may wait for ever.
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() || about.len() > BYTES {
        return Err("which is no file of a time zone".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(BYTES)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    // The database's own name, where the path shows it.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let real = real.to_string_lossy();
    let name = real
        .split_once("zoneinfo/")
        .map_or("Local", |(_, name)| name);
    TimeZone::tzif(name, &bytes).map_err(|_| "which is no file of a time zone".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_tz_holds_is_read_or_refused_at_once() {
        for (asked, expected) in [
            ("", Ok("UTC")),
            (":UTC", Ok("UTC")),
            ("/dev/zero", Err("no file of a time zone")),
            (":/dev/zero", Err("no file of a time zone")),
            ("/etc", Err("no file of a time zone")),
            ("/no/such/file", Err("cannot be read")),
            ("../../../dev/zero", Err("no time zone")),
            ("No/Such", Err("no time zone")),
            ("AAA-999999999999", Err("no time zone")),
        ] {
            let found = of_text(&asked.into(), Some("/dev".into()));
            match (found, expected) {
                (Ok(zone), Ok(name)) => assert_eq!(zone.iana_name(), Some(name), "{asked}"),
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{asked}: {reason}"),
                (found, _) => panic!("{asked}: {found:?}"),
            }
        }
        let rule = of_text(&"CET-1CEST,M3.5.0,M10.5.0/3".into(), None).unwrap();
        let summer = "2026-07-01T12:00:00Z".parse::<jiff::Timestamp>().unwrap();
        assert_eq!(rule.to_offset(summer).seconds(), 7200);
    }
}
