//! A control group of a test's own with a CPU quota, where this machine lets one be made.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// The group. It is removed when this is dropped; whatever ran in it has ended by then.
pub struct CpuGroup(PathBuf);

impl CpuGroup {
    /// Makes one whose processes may run so many µs in each 100 ms. None where that needs more
    /// rights, or the controller is not there.
    pub fn with_quota(micros: u32) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pinfire-test-{}-{number}", std::process::id());
        let parents = ["cpu", "cpu,cpuacct", "unified", ""];
        let made = parents.iter().filter_map(|parent| {
            let group = Self(Path::new("/sys/fs/cgroup").join(parent).join(&name));
            fs::create_dir(&group.0).ok()?;
            let one = || {
                fs::write(group.0.join("cpu.cfs_period_us"), "100000")?;
                fs::write(group.0.join("cpu.cfs_quota_us"), micros.to_string())
            };
            let two = || fs::write(group.0.join("cpu.max"), format!("{micros} 100000"));
            (one().is_ok() || two().is_ok()).then_some(group)
        });
        { made }.next()
    }

    /// The words before a command that has it run in the group.
    pub fn wrapper(&self) -> [String; 4] {
        let procs = self.0.join("cgroup.procs");
        let enter = format!("echo $$ > {} && exec \"$@\"", procs.display());
        ["/bin/sh", "-c", &enter, "sh"].map(str::to_owned)
    }
}

impl Drop for CpuGroup {
    fn drop(&mut self) {
        // A process that has just ended may still be counted.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
