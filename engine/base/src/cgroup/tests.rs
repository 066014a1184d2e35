//! Groups as they are found on real machines, read from tables.

use std::collections::BTreeMap;

use super::*;

/// `/proc/self/cgroup` and `/proc/self/mountinfo` as they are found, the files of the groups, and
/// the quota in CPUs that comes of them.
struct Sample {
    what: &'static str,
    own: &'static str,
    mounts: &'static str,
    files: &'static [(&'static str, &'static str)],
    cpus: Option<f64>,
}

const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 \
                        cgroup2 rw,nsdelegate,memory_recursiveprot\n";
const V1_MOUNTS: &str = "\
    32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:10 - cgroup cgroup rw,cpu,cpuacct\n\
    33 31 0:30 / /sys/fs/cgroup/memory rw,nosuid shared:11 - cgroup cgroup rw,memory\n";
const SLICE: &str = "0::/system.slice/docker-1f.scope\n";

const SAMPLES: &[Sample] = &[
    Sample {
        what: "a container with its own namespace, version 2",
        own: "0::/\n",
        mounts: "601 595 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n",
        files: &[("/sys/fs/cgroup/cpu.max", "400000 100000\n")],
        cpus: Some(4.0),
    },
    Sample {
        what: "the same without a limit",
        own: "0::/\n",
        mounts: "601 595 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n",
        files: &[("/sys/fs/cgroup/cpu.max", "max 100000\n")],
        cpus: None,
    },
    Sample {
        what: "a unit of systemd: its own limit, none above it",
        own: SLICE,
        mounts: V2_MOUNT,
        files: &[
            (
                "/sys/fs/cgroup/system.slice/docker-1f.scope/cpu.max",
                "150000 100000",
            ),
            ("/sys/fs/cgroup/system.slice/cpu.max", "max 100000"),
        ],
        cpus: Some(1.5),
    },
    Sample {
        what: "the limit of the group above is tighter, and has another period",
        own: SLICE,
        mounts: V2_MOUNT,
        files: &[
            (
                "/sys/fs/cgroup/system.slice/docker-1f.scope/cpu.max",
                "800000 100000",
            ),
            ("/sys/fs/cgroup/system.slice/cpu.max", "100000 50000"),
        ],
        cpus: Some(2.0),
    },
    Sample {
        what: "only the group above has one, and the process's own has no controller",
        own: "0::/kubepods.slice/kubepods-pod7.slice/cri-9.scope\n",
        mounts: V2_MOUNT,
        files: &[(
            "/sys/fs/cgroup/kubepods.slice/kubepods-pod7.slice/cpu.max",
            "300000 100000",
        )],
        cpus: Some(3.0),
    },
    Sample {
        what: "a group that was removed",
        own: "0::/gone (deleted)\n",
        mounts: V2_MOUNT,
        files: &[("/sys/fs/cgroup/gone/cpu.max", "100000 100000")],
        cpus: Some(1.0),
    },
    Sample {
        what: "version 1, the host's names",
        own: "5:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n1:name=systemd:/docker/ab\n",
        mounts: V1_MOUNTS,
        files: &[
            (
                "/sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.cfs_quota_us",
                "250000\n",
            ),
            (
                "/sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.cfs_period_us",
                "100000\n",
            ),
            ("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "-1\n"),
            (
                "/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us",
                "100000\n",
            ),
        ],
        cpus: Some(2.5),
    },
    Sample {
        what: "version 1 in a container: the host's names, its own group at the mount point",
        own: "4:cpu,cpuacct:/docker/ab\n",
        mounts: "700 650 0:29 /docker/ab /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n",
        files: &[
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000"),
        ],
        cpus: Some(0.5),
    },
    Sample {
        what: "both side by side: the controller is where version 1 has it",
        own: "9:name=systemd:/\n1:cpu:/job\n0::/other\n",
        mounts: "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                 41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
        files: &[
            ("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "200000"),
            ("/sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000"),
            ("/sys/fs/cgroup/unified/other/cpu.max", "100000 100000"),
        ],
        cpus: Some(2.0),
    },
    Sample {
        what: "both side by side: the controller is version 2's",
        own: "3:memory:/a\n0::/b\n",
        mounts: "32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                 41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        files: &[("/sys/fs/cgroup/unified/b/cpu.max", "100000 100000")],
        cpus: Some(1.0),
    },
    Sample {
        what: "a namespace whose mount was made outside of it",
        own: "0::/\n",
        mounts: "41 31 0:38 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        files: &[("/sys/fs/cgroup/cpu.max", "700000 100000")],
        cpus: Some(7.0),
    },
    Sample {
        what: "a process beside its namespace: nothing that is mounted bounds it",
        own: "0::/../beside\n",
        mounts: V2_MOUNT,
        files: &[
            ("/sys/fs/cgroup/cpu.max", "100000 100000"),
            ("/sys/fs/beside/cpu.max", "100000 100000"),
        ],
        cpus: None,
    },
    Sample {
        what: "a mount of another group",
        own: "4:cpu:/mine\n",
        mounts: "700 650 0:29 /docker/ab /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n",
        files: &[
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
        ],
        cpus: None,
    },
    Sample {
        what: "two mounts: the one that shows the groups above",
        own: "0::/pods/p/c\n",
        mounts: "41 31 0:38 /pods/p/c /run/own rw - cgroup2 cgroup2 rw\n\
                 42 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        files: &[
            ("/run/own/cpu.max", "900000 100000"),
            ("/sys/fs/cgroup/pods/p/c/cpu.max", "900000 100000"),
            ("/sys/fs/cgroup/pods/cpu.max", "500000 100000"),
        ],
        cpus: Some(5.0),
    },
    Sample {
        what: "names with blanks and colons",
        own: "0::/a b:c\n",
        mounts: "41 31 0:38 / /sys/fs/c\\040group rw - cgroup2 cgroup2 rw\n",
        files: &[("/sys/fs/c group/a b:c/cpu.max", "600000 100000")],
        cpus: Some(6.0),
    },
    Sample {
        what: "no period: the kernel's default",
        own: "0::/\n",
        mounts: V2_MOUNT,
        files: &[("/sys/fs/cgroup/cpu.max", "50000")],
        cpus: Some(0.5),
    },
    Sample {
        what: "values that mean nothing",
        own: "0::/a/b/c\n",
        mounts: V2_MOUNT,
        files: &[
            ("/sys/fs/cgroup/a/b/c/cpu.max", ""),
            ("/sys/fs/cgroup/a/b/cpu.max", "100000 0"),
            ("/sys/fs/cgroup/a/cpu.max", "0 100000"),
            ("/sys/fs/cgroup/cpu.max", "-5 x"),
        ],
        cpus: None,
    },
    Sample {
        what: "garbage",
        own: "\n:\n::\n0:\n0::relative\nx:cpu\n\u{fffd}",
        mounts: " - \n1 2 3 - cgroup2\n30 23 0:26 / - cgroup2 cgroup2 rw\n - cgroup2 cgroup2 rw",
        files: &[("/sys/fs/cgroup/cpu.max", "100000 100000")],
        cpus: None,
    },
    Sample {
        what: "no groups at all",
        own: "",
        mounts: "",
        files: &[],
        cpus: None,
    },
];

/// Reads from a table instead of the disk.
fn reader(files: &[(&str, &str)]) -> impl Fn(&Path) -> Option<String> {
    let files: BTreeMap<PathBuf, String> = files
        .iter()
        .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
        .collect();
    move |path| files.get(path).cloned()
}

#[test]
fn the_tightest_quota_of_a_processs_own_groups_is_found() {
    for sample in SAMPLES {
        let groups = Groups::find("cpu", sample.own, sample.mounts);
        let quota = groups.and_then(|groups| groups.cpu_quota_by(reader(sample.files)));
        assert_eq!(quota.map(CpuQuota::cpus), sample.cpus, "{}", sample.what);
    }
}

#[test]
fn a_quota_is_told_as_people_say_it() {
    for (micros, period, said, whole) in [
        (400_000, 100_000, "4 CPUs", 4),
        (100_000, 100_000, "1 CPU", 1),
        (250_000, 100_000, "2.5 CPUs", 2),
        (1_000_000, 100_000, "10 CPUs", 10),
        (30_000, 100_000, "0.3 CPUs", 0),
        (1_000, 1_000_000, "0.0010 CPUs", 0),
    ] {
        let quota = CpuQuota::new(micros, period).unwrap();
        assert_eq!(quota.to_string(), said);
        assert_eq!(quota.whole_cpus(), whole, "{said}");
    }
}

#[test]
fn throttling_is_what_came_in_between_at_the_group_that_was_hit_most() {
    let two = "usage_usec 9\nnr_periods 80\nnr_throttled 12\nthrottled_usec 412000\nnr_bursts 0\n";
    let one = "nr_periods 90\nnr_throttled 2\nthrottled_time 5000000\nnr_bursts 0\n";
    let counts =
        |texts: &[&str]| ThrottlingCounts(texts.iter().map(|text| throttling(text)).collect());
    let before = counts(&["nr_periods 20\nnr_throttled 2\nthrottled_usec 12000\n", ""]);
    let come = counts(&[two, one]).since(&before);
    let expected = Throttling {
        periods: 60,
        throttled: 10,
        time: Span::from_millis(400),
    };
    assert_eq!(come, expected);
    assert!((come.share() - 1.0 / 6.0).abs() < 1e-9);
    assert_eq!(
        counts(&["", one]).since(&counts(&["", ""])).time,
        Span::from_millis(5)
    );
    for nothing in [
        "",
        "garbage",
        "usage_usec 5\n",
        "nr_throttled x\nthrottled_usec -1\n",
    ] {
        assert_eq!(throttling(nothing), Throttling::default(), "{nothing}");
    }
    // Counters that were reset, and a group without periods.
    assert_eq!(
        counts(&["", ""]).since(&counts(&[two, one])),
        Throttling::default()
    );
    assert_eq!(Throttling::default().share(), 0.0);
}

#[test]
fn memory_is_the_tightest_groups_without_what_can_be_read_again() {
    let own = "7:memory:/a/b\n0::/a/b\n";
    let one = [
        (
            "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
            "9223372036854771712\n",
        ),
        ("/sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "100\n"),
        ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000\n"),
        ("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "700\n"),
        (
            "/sys/fs/cgroup/memory/a/memory.stat",
            "cache 500\ntotal_inactive_file 200\n",
        ),
    ];
    let groups = Groups::find("memory", own, V1_MOUNTS).unwrap();
    assert_eq!(groups.memory_left(reader(&one)), Some(500));
    let two = [
        ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
        ("/sys/fs/cgroup/a/memory.max", "1000\n"),
        ("/sys/fs/cgroup/a/memory.current", "1200\n"),
    ];
    let groups = Groups::find("memory", "0::/a/b\n", V2_MOUNT).unwrap();
    assert_eq!(groups.memory_left(reader(&two)), Some(0));
}
