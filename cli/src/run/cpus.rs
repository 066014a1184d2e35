//! Which CPUs do what, and what the system must grant: affinity, priority, descriptors.

use anyhow::{Result, bail};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};

use pinfire_base::cgroup::{CpuQuota, Groups};
use pinfire_config::numbers::Cores;

/// The division of the CPUs.
#[derive(Clone, PartialEq, Debug)]
pub struct Places {
    /// One engine thread each: the CPU it is pinned to; none where the system places it. Under a
    /// CPU quota below the number of CPUs these are shared with others, and who is pinned cannot
    /// step aside.
    pub engine: Vec<Option<usize>>,
    /// Where everything else runs: analysis, progress, the embedded server. All CPUs when the
    /// engine has taken every one, or none for itself.
    pub rest: Vec<usize>,
    /// CPUs that this process may run on.
    available: usize,
    quota: Option<CpuQuota>,
}

/// Divides the CPUs that this process may use. More engine CPUs than slots would only idle.
///
/// # Errors
/// A CPU was asked for that is not there, or not ours.
pub fn divide(wanted: Option<&Cores>, slots: u64) -> Result<Places> {
    let available: Vec<usize> = core_affinity::get_core_ids()
        .map(|ids| ids.into_iter().map(|id| id.id).collect())
        .filter(|ids: &Vec<usize>| !ids.is_empty())
        .unwrap_or_else(|| vec![0]);
    let quota = Groups::of_cpu().and_then(|groups| groups.cpu_quota());
    Places::of(available, quota, wanted, slots)
}

impl Places {
    /// How many CPUs this process may run on.
    pub const fn cpus(&self) -> usize {
        self.available
    }

    /// Divides these CPUs, of which `quota` may be used.
    fn of(
        available: Vec<usize>,
        quota: Option<CpuQuota>,
        wanted: Option<&Cores>,
        slots: u64,
    ) -> Result<Self> {
        // One that leaves every CPU whole bounds nothing: the CPUs may be this container's own.
        let quota = quota.filter(|quota| quota.cpus() < available.len() as f64);
        let pinned = |cpus: &[usize]| cpus.iter().copied().map(Some).collect();
        let mut engine: Vec<Option<usize>> = match (wanted, quota) {
            (Some(Cores::List(list)), _) => {
                if let Some(missing) = list.iter().find(|cpu| !available.contains(cpu)) {
                    bail!("--cores: CPU {missing} is not available here; available: {available:?}");
                }
                pinned(list)
            }
            (Some(Cores::Count(count)), _) if *count > available.len() => {
                bail!(
                    "--cores {count}: only {} CPUs are available here",
                    available.len()
                )
            }
            (Some(Cores::Count(count)), None) => pinned(&available[available.len() - count..]),
            (Some(Cores::Count(count)), Some(_)) => vec![None; *count],
            (None, Some(quota)) => vec![None; quota.whole_cpus().saturating_sub(1).max(1)],
            // The first CPU tends to serve interrupts and everything else: it is the one left out.
            (None, None) if available.len() > 1 => pinned(&available[1..]),
            (None, None) => pinned(&available),
        };
        engine.truncate(usize::try_from(slots).unwrap_or(usize::MAX));
        let rest: Vec<usize> = available
            .iter()
            .copied()
            .filter(|&cpu| !engine.contains(&Some(cpu)))
            .collect();
        Ok(Self {
            engine,
            available: available.len(),
            rest: if rest.is_empty() { available } else { rest },
            quota,
        })
    }

    /// Whether the engine leaves no CPU, or no CPU's worth of time, to everything else.
    pub fn are_crowded(&self) -> bool {
        match self.quota {
            Some(quota) => quota.whole_cpus() <= self.engine.len(),
            None => self
                .rest
                .iter()
                .any(|&cpu| self.engine.contains(&Some(cpu))),
        }
    }

    /// Threads that have work for a CPU each, while the engine does nothing.
    pub fn threads(&self) -> usize {
        match self.quota {
            Some(quota) => quota.whole_cpus().max(1),
            None => self.engine.len() + self.rest.len(),
        }
    }

    /// Threads that have work for a CPU each, beside the engine.
    pub fn threads_beside(&self) -> usize {
        match self.quota {
            Some(quota) => quota.whole_cpus().saturating_sub(self.engine.len()).max(1),
            None => self.rest.len(),
        }
    }

    /// The CPU that an embedded server is pinned to; none where that would harm.
    pub fn for_server(&self) -> Option<usize> {
        self.rest.first().copied().filter(|_| self.quota.is_none())
    }

    /// The engine's CPUs, in words.
    pub fn in_words(&self, granted: impl Iterator<Item = Option<usize>>) -> String {
        if let (Some(quota), true) = (self.quota, self.engine.iter().all(Option::is_none)) {
            let threads = match self.engine.len() {
                1 => "1 thread".to_owned(),
                many => format!("{many} threads"),
            };
            return format!(
                "{threads}, not pinned: the CPU quota is {quota} of {}",
                self.available
            );
        }
        let cpus = granted.map(|cpu| match cpu {
            Some(cpu) => format!("cpu {cpu}"),
            None => "unpinned".to_owned(),
        });
        cpus.collect::<Vec<_>>().join(", ")
    }

    /// What is wrong with the CPU quota for this engine, with the way out.
    pub fn warning(&self) -> Option<String> {
        let quota = self.quota?;
        let engine = self.engine.len();
        if engine > 1 && engine as f64 > quota.cpus() {
            return Some(format!(
                "--cores: the CPU quota is {quota}, and {engine} engine threads will be stopped when it \
                 is used up; ask for fewer, or give the container more"
            ));
        }
        (quota.whole_cpus() < 2).then(|| {
            format!(
                "the CPU quota is {quota}: the engine is stopped whenever it is used up, by analysis too; \
                 give the container 2 whole CPUs or more"
            )
        })
    }
}

/// Keeps the calling thread off the engine's CPUs where there are others.
pub fn stay_on(cpus: &[usize]) {
    let mut set = CpuSet::new();
    for &cpu in cpus.iter().filter(|&&cpu| cpu < CpuSet::MAX_CPU) {
        set.set(cpu);
    }
    // Refused only by an unusual sandbox; the run then shows it in its own lateness.
    let _ = sched_setaffinity(None, &set);
}

/// Gives the calling thread the lowest ordinary priority, so that it never displaces a loop.
pub fn yield_to_others() {
    yield_by(19);
}

/// Lowers the priority of the calling thread to this nice value.
pub fn yield_by(nice: i32) {
    // On Linux this is the calling thread, not the process. Lowering is always allowed.
    let _ = setpriority_process(None, nice);
}

/// Raises the descriptor limit to what the system allows and checks it against the need.
///
/// # Errors
/// The run would need more descriptors than there can be.
pub fn grant_descriptors(connections: u64, cores: usize) -> Result<()> {
    // Rings, timers, files and the usual three; and on each core what a wave of cancels closes and
    // opens within one turn.
    const OTHERS: u64 = 64;
    const CLOSING_PER_CORE: u64 = 128;
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.is_some_and(|soft| soft < hard) {
        // The check below is against what is really there.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        );
    }
    let granted = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = connections.saturating_add(OTHERS + CLOSING_PER_CORE * cores as u64);
    if needed > granted {
        bail!(
            "{connections} connections need about {needed} descriptors, but this process may open \
             {granted}; raise the limit (ulimit -Hn) or lower --concurrency"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_one_and_never_more_than_slots() {
        let places = divide(None, 1).unwrap();
        assert_eq!(places.engine.len(), 1);
        assert!(!places.rest.is_empty());
        assert!(divide(Some(&Cores::Count(100_000)), 1_000_000).is_err());
        assert!(divide(Some(&Cores::List(vec![8_000])), 1).is_err());
    }

    #[test]
    fn a_cpu_quota_bounds_the_engine_and_pins_nothing() {
        // CPUs, the quota in hundredths, what was asked, slots; then the engine's CPUs, threads
        // before the load and beside it, whether these are in each other's way, and a warning.
        type Row = (
            usize,
            Option<u64>,
            Option<Cores>,
            u64,
            (Vec<Option<usize>>, usize, usize, bool, bool),
        );
        let free = |count| vec![None; count];
        let own = |cpus: std::ops::Range<usize>| cpus.map(Some).collect::<Vec<_>>();
        let rows: [Row; 14] = [
            (64, None, None, 1_000, (own(1..64), 64, 1, false, false)),
            (64, Some(400), None, 1_000, (free(3), 4, 1, false, false)),
            (64, Some(450), None, 1_000, (free(3), 4, 1, false, false)),
            (64, Some(400), None, 2, (free(2), 4, 2, false, false)),
            (64, Some(200), None, 1_000, (free(1), 2, 1, false, false)),
            (64, Some(199), None, 1_000, (free(1), 1, 1, true, true)),
            (64, Some(30), None, 1_000, (free(1), 1, 1, true, true)),
            (1, Some(30), None, 1_000, (free(1), 1, 1, true, true)),
            // CPUs of its own, as the static CPU manager gives them.
            (4, Some(400), None, 1_000, (own(1..4), 4, 1, false, false)),
            (4, Some(800), None, 1_000, (own(1..4), 4, 1, false, false)),
            (4, Some(300), None, 1_000, (free(2), 3, 1, false, false)),
            // What was asked for is what there is.
            (
                8,
                Some(200),
                Some(Cores::Count(3)),
                9,
                (free(3), 2, 1, true, true),
            ),
            (
                8,
                Some(400),
                Some(Cores::Count(2)),
                9,
                (free(2), 4, 2, false, false),
            ),
            (
                8,
                Some(400),
                Some(Cores::List(vec![2, 3])),
                9,
                (own(2..4), 4, 2, false, false),
            ),
        ];
        for (cpus, hundredths, wanted, slots, expected) in rows {
            let quota =
                hundredths.and_then(|hundredths| CpuQuota::new(hundredths * 1_000, 100_000));
            let places = Places::of((0..cpus).collect(), quota, wanted.as_ref(), slots).unwrap();
            let found = (
                places.engine.clone(),
                places.threads(),
                places.threads_beside(),
                places.are_crowded(),
                places.warning().is_some(),
            );
            assert_eq!(found, expected, "{cpus} CPUs, {hundredths:?}, {wanted:?}");
            let quota_holds = hundredths.is_some_and(|hundredths| hundredths < cpus as u64 * 100);
            assert_eq!(places.for_server().is_none(), quota_holds);
        }
        let quota = CpuQuota::new(400_000, 100_000);
        let places = Places::of((0..64).collect(), quota, None, 9).unwrap();
        let told = places.in_words([None, None, None].into_iter());
        assert_eq!(told, "3 threads, not pinned: the CPU quota is 4 CPUs of 64");
        let pinned = Places::of(vec![0, 1, 2], None, None, 9).unwrap();
        assert_eq!(
            pinned.in_words([Some(1), None].into_iter()),
            "cpu 1, unpinned"
        );
    }

    #[test]
    fn too_many_connections_are_refused_with_both_numbers() {
        let error = grant_descriptors(1 << 40, 1).unwrap_err().to_string();
        assert!(error.contains("1099511627776 connections"), "{error}");
        grant_descriptors(1, 1).unwrap();
    }
}
