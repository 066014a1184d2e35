//! Which CPUs do what, and what the system must grant: affinity, priority, descriptors.

use anyhow::{Result, bail};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};

use pinfire_config::numbers::Cores;

/// The division of the CPUs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// One engine thread each.
    pub engine: Vec<usize>,
    /// Everything else: analysis, progress, the embedded server. All of them when the engine has
    /// taken every CPU.
    pub rest: Vec<usize>,
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
    let mut engine = match wanted {
        Some(Cores::List(list)) => {
            if let Some(missing) = list.iter().find(|cpu| !available.contains(cpu)) {
                bail!("--cores: CPU {missing} is not available here; available: {available:?}");
            }
            list.clone()
        }
        Some(Cores::Count(count)) if *count > available.len() => {
            bail!(
                "--cores {count}: only {} CPUs are available here",
                available.len()
            )
        }
        Some(Cores::Count(count)) => available[available.len() - count..].to_vec(),
        // The first CPU tends to serve interrupts and everything else: it is the one left out.
        None if available.len() > 1 => available[1..].to_vec(),
        None => available.clone(),
    };
    engine.truncate(usize::try_from(slots).unwrap_or(usize::MAX));
    let rest: Vec<usize> = available
        .iter()
        .copied()
        .filter(|cpu| !engine.contains(cpu))
        .collect();
    let rest = if rest.is_empty() { available } else { rest };
    Ok(Places { engine, rest })
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
    fn too_many_connections_are_refused_with_both_numbers() {
        let error = grant_descriptors(1 << 40, 1).unwrap_err().to_string();
        assert!(error.contains("1099511627776 connections"), "{error}");
        grant_descriptors(1, 1).unwrap();
    }
}
