//! What this process takes of the machine, by thread, as the system counts it.

use std::collections::HashMap;

use pinfire_base::clock::Stamp;

/// Since the last look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Percent of a CPU of each engine core, in their order.
    pub cores: Vec<f64>,
    /// Percent of a CPU of the analysis thread.
    pub analysis: f64,
    /// Resident memory in MiB.
    pub memory: f64,
}

/// Remembers the last look.
#[derive(Default)]
pub struct Looker {
    before: HashMap<String, u64>,
    at: Option<Stamp>,
}

impl Looker {
    /// Looks; `None` at the first time, and where the system does not say.
    pub fn look(&mut self, now: Stamp) -> Option<Usage> {
        let mut ticks = HashMap::new();
        for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
            let text = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            if let Some((name, used)) = of_thread(&text) {
                ticks.insert(name, used);
            }
        }
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        let seconds = self.at.replace(now).map(|at| now.since(at).as_secs_f64());
        let before = std::mem::replace(&mut self.before, ticks);
        let seconds = seconds.filter(|seconds| *seconds > 0.0)?;
        let percent = |name: &str| {
            let used = self.before.get(name)?.checked_sub(*before.get(name)?)?;
            Some(used as f64 / per_second / seconds * 100.0)
        };
        let cores = (0_usize..).map_while(|core| percent(&format!("pinfire-core-{core}")));
        Some(Usage {
            cores: cores.collect(),
            // The kernel keeps 15 letters of a name.
            analysis: percent("pinfire-analysi").unwrap_or(0.0),
            memory: resident().unwrap_or(0.0),
        })
    }
}

/// Name and clock ticks of a thread, out of its `stat`.
fn of_thread(stat: &str) -> Option<(String, u64)> {
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1;
    // The fields after the name: state is the third of all, user and system time are 14 and 15.
    let mut fields = tail.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((name.to_owned(), user + system))
}

fn resident() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_thread() {
        let stat = "12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 99 0 0";
        assert_eq!(of_thread(stat), Some(("a (b) c".to_owned(), 300)));
        assert_eq!(of_thread("12"), None);
        assert!(resident().unwrap() > 1.0);
    }
}
