//! What the control groups (cgroups) of this process allow it: CPU time, memory, processes.
//!
//! A limit of any group up the hierarchy holds, so the tightest counts. Where the groups lie,
//! `/proc/self/cgroup` and `/proc/self/mountinfo` say: version 1, version 2, both side by side, in
//! a container's namespace or the host's.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use crate::clock::Span;

/// Which interface a hierarchy has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Version {
    /// One hierarchy per controller.
    One,
    /// One for all of them.
    Two,
}

/// The groups of this process in the hierarchy of one controller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Groups {
    version: Version,
    /// Its own first, then those above it, as far as they are mounted here.
    folders: Vec<PathBuf>,
}

/// CPU time per period that a group may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuQuota {
    micros: u64,
    period_micros: u64,
}

/// How often a group has used up its CPU time, and how long its threads then stood still.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Throttling {
    /// Periods in which the group ran.
    pub periods: u64,
    /// Those in which it used up its time.
    pub throttled: u64,
    /// How long its CPUs stood still for that, added up over the CPUs.
    pub time: Span,
}

/// What a group has counted of its throttling, by group; the same groups each time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ThrottlingCounts(Vec<Throttling>);

/// What a run's CPU quota was, and what it has cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuQuotaUse {
    /// The tightest.
    pub quota: CpuQuota,
    /// Between the start and the end of the measurement.
    pub throttling: Throttling,
}

impl CpuQuota {
    /// So much time in each period; none where that bounds nothing.
    pub const fn new(micros: u64, period_micros: u64) -> Option<Self> {
        if micros == 0 || period_micros == 0 {
            return None;
        }
        Some(Self {
            micros,
            period_micros,
        })
    }

    /// CPUs' worth of it.
    pub fn cpus(self) -> f64 {
        self.micros as f64 / self.period_micros as f64
    }

    /// Whole CPUs' worth of it; may be none.
    pub fn whole_cpus(self) -> usize {
        usize::try_from(self.micros / self.period_micros).unwrap_or(usize::MAX)
    }

    /// The period after which there is new time.
    pub const fn period(self) -> Span {
        Span::from_nanos(self.period_micros.saturating_mul(1_000))
    }
}

impl fmt::Display for CpuQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpus = self.cpus();
        let unit = if cpus == 1.0 { "CPU" } else { "CPUs" };
        let text = format!("{cpus:.2}");
        let short = text.trim_end_matches('0').trim_end_matches('.');
        // A hundredth of a CPU can be the least that is granted.
        if short == "0" {
            write!(f, "{cpus:.4} {unit}")
        } else {
            write!(f, "{short} {unit}")
        }
    }
}

impl Throttling {
    /// Share of the periods in which time was used up.
    pub fn share(self) -> f64 {
        self.throttled as f64 / self.periods.max(self.throttled).max(1) as f64
    }

    /// What has come since `earlier`.
    fn since(self, earlier: Self) -> Self {
        Self {
            periods: self.periods.saturating_sub(earlier.periods),
            throttled: self.throttled.saturating_sub(earlier.throttled),
            time: Span::from_nanos(self.time.nanos().saturating_sub(earlier.time.nanos())),
        }
    }
}

impl ThrottlingCounts {
    /// What has come since `earlier`, at the group that was throttled most: groups that lie in each
    /// other stand still together, so their counts do not add up.
    pub fn since(&self, earlier: &Self) -> Throttling {
        let groups = self.0.iter().zip(&earlier.0);
        let come = groups.map(|(&now, &then)| now.since(then));
        come.max_by_key(|of| (of.throttled, of.time, of.periods))
            .unwrap_or_default()
    }
}

impl Groups {
    /// Those that bound the CPU time of this process.
    pub fn of_cpu() -> Option<Self> {
        Self::of("cpu")
    }

    /// Those of a controller.
    fn of(controller: &str) -> Option<Self> {
        let read = |path| fs::read_to_string(path).ok();
        let (own, mounts) = (read("/proc/self/cgroup")?, read("/proc/self/mountinfo")?);
        Self::find(controller, &own, &mounts)
    }

    /// Those that these two files of `/proc/self` name.
    fn find(controller: &str, own: &str, mounts: &str) -> Option<Self> {
        let (version, group) = own_group(controller, own)?;
        let all = mounts.lines().filter_map(Mount::read);
        let ours = all.filter(|mount| mount.has(version, controller));
        let shown = ours.filter_map(|mount| {
            let below = mount.below(group)?;
            Some((below, mount.point))
        });
        // The mount that shows most of what is above the process.
        let (below, point) = shown.max_by_key(|(below, _)| below.components().count())?;
        let steps = below.components().count();
        let own = match steps {
            0 => point,
            _ => point.join(below),
        };
        let folders = own.ancestors().take(steps + 1);
        Some(Self {
            version,
            folders: folders.map(Path::to_owned).collect(),
        })
    }

    /// The tightest CPU quota, if any group has one.
    pub fn cpu_quota(&self) -> Option<CpuQuota> {
        self.cpu_quota_by(|path| fs::read_to_string(path).ok())
    }

    fn cpu_quota_by(&self, read: impl Fn(&Path) -> Option<String>) -> Option<CpuQuota> {
        let quotas = self.folders.iter().filter_map(|folder| match self.version {
            Version::One => {
                let number = |name| read(&folder.join(name))?.trim().parse().ok();
                CpuQuota::new(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
            }
            Version::Two => cpu_max(&read(&folder.join("cpu.max"))?),
        });
        quotas.min_by(|one, other| one.cpus().total_cmp(&other.cpus()))
    }

    /// What they have counted of their throttling so far.
    pub fn throttling(&self) -> ThrottlingCounts {
        let of = |folder: &PathBuf| {
            let text = fs::read_to_string(folder.join("cpu.stat"));
            text.map_or_else(|_| Throttling::default(), |text| throttling(&text))
        };
        ThrottlingCounts(self.folders.iter().map(of).collect())
    }

    /// Bytes that the tightest of them still has room for.
    fn memory_left(&self, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
        let (limit, usage, cache) = match self.version {
            Version::One => (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            ),
            Version::Two => ("memory.max", "memory.current", "inactive_file"),
        };
        let left = |folder: &PathBuf| -> Option<u64> {
            let number = |name| read(&folder.join(name))?.trim().parse::<u64>().ok();
            let (limit, used) = (number(limit)?, number(usage)?);
            let stat = read(&folder.join("memory.stat")).unwrap_or_default();
            // What can be read from files again makes room by itself.
            let used = used.saturating_sub(value(&stat, cache).unwrap_or(0));
            Some(limit.saturating_sub(used))
        };
        self.folders.iter().filter_map(left).min()
    }

    fn least(&self, file: &str) -> Option<u64> {
        let number = |folder: &PathBuf| -> Option<u64> {
            let text = fs::read_to_string(folder.join(file)).ok()?;
            text.trim().parse().ok()
        };
        self.folders.iter().filter_map(number).min()
    }
}

/// Bytes that the groups of this process leave it.
pub fn memory_left() -> Option<u64> {
    Groups::of("memory")?.memory_left(|path| fs::read_to_string(path).ok())
}

/// Threads and processes that the groups of this process may have.
pub fn most_threads() -> Option<u64> {
    Groups::of("pids")?.least("pids.max")
}

/// The version of a controller's hierarchy, and the group there, by `/proc/self/cgroup`.
fn own_group<'a>(controller: &str, own: &'a str) -> Option<(Version, &'a str)> {
    let lines = own.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers) = (fields.next()?, fields.next()?);
        let group = fields.next()?;
        let group = group.strip_suffix(" (deleted)").unwrap_or(group);
        group
            .starts_with('/')
            .then_some((number, controllers, group))
    });
    let mut unified = None;
    for (number, controllers, group) in lines {
        if controllers.split(',').any(|name| name == controller) {
            return Some((Version::One, group));
        }
        if number == "0" && controllers.is_empty() {
            unified = Some((Version::Two, group));
        }
    }
    unified
}

/// A hierarchy of groups that is mounted.
struct Mount<'a> {
    /// The group that is seen at the mount point.
    root: PathBuf,
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// A line of `/proc/self/mountinfo`.
    fn read(line: &'a str) -> Option<Self> {
        let (place, what) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let mut what = what.split(' ');
        Some(Self {
            root: unescaped(place.next()?),
            point: unescaped(place.next()?),
            kind: what.next()?,
            options: what.nth(1)?,
        })
    }

    fn has(&self, version: Version, controller: &str) -> bool {
        match version {
            Version::One => {
                self.kind == "cgroup" && self.options.split(',').any(|name| name == controller)
            }
            Version::Two => self.kind == "cgroup2",
        }
    }

    /// Where a group lies below the mount point; none if it does not.
    fn below(&self, group: &str) -> Option<PathBuf> {
        let outside = |path: &Path| path.starts_with("/..");
        let group = Path::new(group);
        if outside(&self.root) {
            // What is mounted lies above the namespace's own root: above the process too, but its
            // way down there has no name here.
            return (!outside(group)).then(PathBuf::new);
        }
        if outside(group) {
            return None;
        }
        group.strip_prefix(&self.root).ok().map(Path::to_owned)
    }
}

/// A path of `/proc/self/mountinfo`, in which blanks and the like stand as `\040`.
fn unescaped(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;

    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let code = (first == b'\\').then(|| behind.get(..3)).flatten();
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// `cpu.max`: quota and period in µs, or `max`.
fn cpu_max(text: &str) -> Option<CpuQuota> {
    let mut fields = text.split_whitespace();
    let quota = fields.next()?.parse().ok()?;
    // The kernel always writes it; this is its default.
    let period = fields
        .next()
        .map_or(Some(100_000), |text| text.parse().ok())?;
    CpuQuota::new(quota, period)
}

/// `cpu.stat` of either version.
fn throttling(text: &str) -> Throttling {
    let number = |name| value(text, name);
    let micros = number("throttled_usec").map(|micros| micros.saturating_mul(1_000));
    let nanos = micros.or_else(|| number("throttled_time"));
    Throttling {
        periods: number("nr_periods").unwrap_or(0),
        throttled: number("nr_throttled").unwrap_or(0),
        time: Span::from_nanos(nanos.unwrap_or(0)),
    }
}

/// The value of a line `name value`.
fn value(text: &str, name: &str) -> Option<u64> {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let (_, number) = pairs.into_iter().find(|(key, _)| *key == name)?;
    number.trim().parse().ok()
}

#[cfg(test)]
mod tests;
