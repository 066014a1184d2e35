//! How much memory a run may take: what is made before it is held against that.

use rustix::process::{Resource, getrlimit};

use crate::cgroup;

/// Bytes that this process can still have, as far as the machine, the container and the limits of
/// the process tell.
pub fn available() -> u64 {
    let machine = || -> Option<u64> {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        kib.checked_mul(1024)
    };
    let limits = [
        machine(),
        cgroup::memory_left(),
        getrlimit(Resource::As).current,
    ];
    limits.into_iter().flatten().min().unwrap_or(u64::MAX)
}

/// A size as people read it.
pub fn shown(bytes: f64) -> String {
    const UNITS: [&str; 6] = ["GB", "TB", "PB", "EB", "ZB", "YB"];
    let mut size = bytes / 1e9;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for next in units {
        if size < 1000.0 {
            break;
        }
        size /= 1000.0;
        unit = next;
    }
    if size >= 1000.0 {
        return format!("over 1000 {unit}");
    }
    format!("{size:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
        for (bytes, expected) in [
            (2.5e9, "2.5 GB"),
            (8.6e12, "8.6 TB"),
            (1e300, "over 1000 YB"),
        ] {
            assert_eq!(shown(bytes), expected);
        }
        assert!(available() > 1 << 20);
    }
}
