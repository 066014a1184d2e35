//! Which share of a run this process sends, where several make it together.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use pinfire_artifacts::{FileNames, RunFolder, SHARD, shard::ShardFolder};
use pinfire_base::shard::Shard;
use pinfire_cluster::message::Item;
use pinfire_config::{
    Get, RunConfig, Sourced, config, demand,
    numbers::{ShardCount, ShardOf},
    refuse,
};
use sha2::{Digest, Sha256};

use crate::{
    inputs::digest_of,
    load::{Load, Mode, PhaseLoad},
};

/// What a process is of a run that several make.
#[derive(Clone, Debug)]
pub struct Share {
    /// Its numbers and slots.
    pub shard: Shard,
    /// Folder of the whole run; the shard's own is below it.
    pub run_folder: PathBuf,
    /// Id of the run, the same in all of its shards.
    pub run_id: String,
    /// Key of the ids of all requests; where nobody gives one to all shards, each draws its own.
    pub id_key: Option<u64>,
    /// The leader is in this process, and shows the whole in place of this share.
    pub is_led_here: bool,
    /// Digest of what must have been asked of all of them.
    pub settings_digest: String,
}

/// Variables of one platform.
struct Platform {
    name: &'static str,
    index: &'static str,
    /// Absent where it does not say how many processes there are.
    count: Option<&'static str>,
}

/// Those that start many copies of a program, the innermost first: `mpirun` within a job of Slurm
/// counts its own.
const PLATFORMS: [Platform; 5] = [
    Platform {
        name: "Open MPI",
        index: "OMPI_COMM_WORLD_RANK",
        count: Some("OMPI_COMM_WORLD_SIZE"),
    },
    Platform {
        name: "PMI",
        index: "PMI_RANK",
        count: Some("PMI_SIZE"),
    },
    Platform {
        name: "PMIx",
        index: "PMIX_RANK",
        count: None,
    },
    Platform {
        name: "Slurm",
        index: "SLURM_PROCID",
        count: Some("SLURM_NTASKS"),
    },
    Platform {
        name: "Kubernetes",
        index: "JOB_COMPLETION_INDEX",
        count: None,
    },
];

/// The value of an environment variable.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variable of the process's own environment.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Which of how many shards this process is; `None` if it is to make the run alone.
///
/// # Errors
/// The flags and the platform's variables do not agree, or do not say it.
pub fn of(config: &RunConfig, lookup: Lookup<'_>) -> Result<Option<ShardOf>> {
    if config.shards.leader_only.value {
        return Ok(None);
    }
    let (shard, shards) = (&config.shards.shard, &config.shards.shards);
    let Some(own) = shard.get() else {
        return shards
            .as_ref()
            .map(|shards| of_platform(shards, lookup))
            .transpose();
    };
    if let Some(ShardCount::Count(count)) = shards.get() {
        demand!(
            count == own.count,
            [shard, shards],
            "--shard {}/{} and --shards {count} name different numbers of shards; leave one out",
            own.index,
            own.count
        );
    }
    Ok(Some(own))
}

/// The same by what the platform says.
fn of_platform(shards: &Sourced<ShardCount>, lookup: Lookup<'_>) -> Result<ShardOf> {
    let known = PLATFORMS
        .iter()
        .filter(|platform| lookup(platform.index).is_some());
    let known: Vec<&Platform> = known.collect();
    let asked = match shards.get() {
        ShardCount::Auto => None,
        ShardCount::Count(count) => Some(count),
    };
    let wanted = |platform: &&&Platform| asked.is_some() || platform.count.is_some();
    let Some(platform) = known.iter().find(wanted) else {
        match (asked, known.first()) {
            (Some(1), _) => return Ok(ShardOf { index: 0, count: 1 }),
            (_, Some(platform)) => refuse!(
                [shards],
                "--shards auto: {} says which process this is ({}) and not how many there are; give \
                 --shards N",
                platform.name,
                platform.index
            ),
            (_, None) => {
                let names: Vec<&str> = PLATFORMS.iter().map(|platform| platform.index).collect();
                let count = asked.map_or_else(|| "N".to_owned(), |count| count.to_string());
                refuse!(
                    [shards],
                    "--shards {shards}: nothing says which of the processes this is: none of {} is set; \
                     give --shard I/{count}, with I from 0",
                    names.join(", ")
                )
            }
        }
    };
    let index = number(shards, platform.index, lookup)?.unwrap_or(0);
    let there = match platform.count {
        Some(name) => number(shards, name, lookup)?.map(|count| (name, count)),
        None => None,
    };
    let count = match (asked, there) {
        (Some(asked), Some((name, there))) => {
            demand!(
                u64::from(asked) == there,
                [shards],
                "--shards {asked}: {name} says that there are {there} processes; give --shards auto, or \
                 --shard I/N to go by neither"
            );
            asked
        }
        (Some(asked), None) => asked,
        (None, Some((name, there))) => match u32::try_from(there) {
            Ok(there @ 1..=Shard::MOST) => there,
            _ => refuse!(
                [shards],
                "--shards auto: {name} is {there}; a run has from 1 to {} shards",
                Shard::MOST
            ),
        },
        (None, None) => refuse!(
            [shards],
            "--shards auto: {} is set, and {} is not; give --shards N",
            platform.index,
            platform.count.unwrap_or("a number of processes")
        ),
    };
    match u32::try_from(index) {
        Ok(index) if index < count => Ok(ShardOf { index, count }),
        _ => refuse!(
            [shards],
            "{} is {index}, and there are {count} shards, which count from 0: give --shards {} or more",
            platform.index,
            index.saturating_add(1)
        ),
    }
}

/// Which shard the platform says that this is.
///
/// # Errors
/// It does not say it, or says no number.
pub fn index_of_platform(lookup: Lookup<'_>) -> Result<u64> {
    let known = PLATFORMS
        .iter()
        .find_map(|platform| Some((platform.index, lookup(platform.index)?)));
    let Some((name, text)) = known else {
        let names: Vec<&str> = PLATFORMS.iter().map(|platform| platform.index).collect();
        bail!(
            "nothing says which of the shards this is: none of {} is set; give --shard I/N, with I from 0",
            names.join(", ")
        );
    };
    let index = text.trim().parse().ok();
    index.with_context(|| format!("{name} is set to `{text}`, which is no number"))
}

/// The whole number that a variable is set to.
fn number(about: &Sourced<ShardCount>, name: &str, lookup: Lookup<'_>) -> Result<Option<u64>> {
    let Some(text) = lookup(name) else {
        return Ok(None);
    };
    match text.trim().parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => refuse!(
            [about],
            "--shards {about}: {name} is set to `{text}`, which is no number"
        ),
    }
}

impl Share {
    /// Decides it, for a run over so many servers; `None` for a process that makes its run alone.
    ///
    /// # Errors
    /// The flags and the platform do not say which shard this is, or what is asked cannot be
    /// shared.
    pub fn of(
        config: &RunConfig,
        lookup: Lookup<'_>,
        servers: usize,
        load: &Load,
        run_folder: PathBuf,
    ) -> Result<Option<Self>> {
        let Some(own) = of(config, lookup)? else {
            return Ok(None);
        };
        let ShardOf { index, count } = own;
        let asked = &config.shards;
        let block = u32::try_from(servers.max(1)).unwrap_or(u32::MAX);
        let Some(shard) = Shard::new(index, count, block) else {
            refuse!([asked], "--shard {index}/{count}: there is no such shard");
        };
        let seed = &config.load.random_seed;
        demand!(
            seed.is_some() || shard.is_whole(),
            [asked],
            "each of the {count} shards would draw a seed of its own, and together they would send \
             something else than one process: give all of them the same --random-seed"
        );
        let verify = &config.cancellation.verify_release;
        demand!(
            !verify.value || shard.is_whole(),
            [verify, asked],
            "--verify-release judges a server by the requests of one process: leave it out, or judge the \
             server with `pinfire cancel-test`"
        );
        for phase in load.phases() {
            enough(config, phase, count)?;
        }
        let settings_digest = digest(config);
        let run_id = run_id(&settings_digest, config, count, lookup);
        Ok(Some(Self {
            shard,
            run_folder,
            run_id,
            id_key: None,
            is_led_here: false,
            settings_digest,
        }))
    }

    /// Folder of the shard's own files.
    pub fn folder(&self) -> PathBuf {
        ShardFolder::of(&self.run_folder, self.shard.index()).path
    }

    /// Removes what an earlier run has left in the folder of the whole: the files that were put
    /// together from its shards, and shards that this run does not have. Shard 0 does it; every
    /// shard clears its own folder.
    ///
    /// # Errors
    /// One of them cannot be removed, or somebody writes to it.
    pub fn clear_the_whole(&self, files: &FileNames) -> Result<()> {
        if self.shard.index() != 0 {
            return Ok(());
        }
        RunFolder::create(&self.run_folder)?.clear(files)?;
        let beyond = |old: &ShardFolder| old.index >= self.shard.count();
        for old in ShardFolder::all(&self.run_folder)?
            .iter()
            .filter(|old| beyond(old))
        {
            // Whatever else has such a name is not ours.
            if old.path.join(SHARD).is_file() && !RunFolder::is_busy(&old.path) {
                let removed = std::fs::remove_dir_all(&old.path);
                removed.with_context(|| {
                    format!(
                        "{}, which is of an earlier run, cannot be removed",
                        old.path.display()
                    )
                })?;
            }
        }
        Ok(())
    }

    /// Whether there are as many sessions of a recorded schedule as shards.
    ///
    /// # Errors
    /// There are fewer.
    pub fn all_have_one(&self, config: &RunConfig, sessions: u64) -> Result<()> {
        let count = self.shard.count();
        demand!(
            sessions >= u64::from(count),
            [config.shards],
            "{count} shards share a schedule of {sessions} sessions, and some would have none: take at \
             most {sessions} shards"
        );
        Ok(())
    }
}

/// Whether the slots and the users of a phase are enough for so many shards.
fn enough(config: &RunConfig, phase: &PhaseLoad, count: u32) -> Result<()> {
    let asked = &config.shards;
    let users = match phase.mode {
        Mode::Users { users, .. } => Some(users),
        _ => None,
    };
    let limits = [
        ("--concurrency", phase.concurrency),
        ("--prefill-concurrency", phase.prefill),
        ("--num-users", users),
    ];
    for (flag, slots) in limits {
        let Some(slots) = slots.filter(|&slots| slots < u64::from(count)) else {
            continue;
        };
        refuse!(
            [asked],
            "{count} shards share {flag} {slots}, and {} of them would have none of it: take no more than \
             {slots}, or raise {flag} to at least {count}",
            u64::from(count) - slots
        );
    }
    Ok(())
}

/// A digest of everything that was asked, but for what may differ from shard to shard: which one it
/// is, where its files are, what its machine is like and how it talks.
pub fn digest(config: &RunConfig) -> String {
    digest_of(&settings(config))
}

/// The same, setting by setting.
pub fn settings(config: &RunConfig) -> Vec<Item> {
    let mut same = config.clone();
    take_what_may_differ(&mut same, &RunConfig::default());
    // What is in a file is compared by itself; its name may say how it is read.
    for path in same
        .files_mut()
        .into_iter()
        .filter_map(|file| file.path.as_mut())
    {
        path.value = PathBuf::from(path.value.file_name().unwrap_or_default());
    }
    let flag = |name: &str| {
        let flag = config::settings()
            .get(name)
            .and_then(|flag| flag.get_long());
        format!("--{}", flag.unwrap_or(name))
    };
    let all = same.wire().values().into_iter();
    all.map(|(name, value)| Item {
        name: flag(&name),
        digest: Sha256::digest(value.to_string()).into(),
    })
    .collect()
}

/// Takes from `own` what may differ from shard to shard.
pub fn take_what_may_differ(config: &mut RunConfig, own: &RunConfig) {
    config.shards.clone_from(&own.shards);
    config.engine.clone_from(&own.engine);
    // The same file may lie elsewhere.
    let mut here = own.clone();
    for (file, here) in config.files_mut().into_iter().zip(here.files_mut()) {
        let name = |path: &Option<Sourced<PathBuf>>| {
            let path = path.as_ref()?;
            path.value.file_name().map(std::ffi::OsStr::to_owned)
        };
        if name(file.path).is_some() && name(file.path) == name(here.path) {
            *file.path = here.path.take();
        }
    }
    config
        .endpoint
        .source_ip
        .clone_from(&own.endpoint.source_ip);
    let watch = &mut config.watch;
    watch
        .prometheus_listen
        .clone_from(&own.watch.prometheus_listen);
    watch
        .prometheus_linger
        .clone_from(&own.watch.prometheus_linger);
    let (output, own) = (&mut config.output, &own.output);
    output.artifact_dir.clone_from(&own.artifact_dir);
    output.ui.clone_from(&own.ui);
    output.console.clone_from(&own.console);
    output.quiet.clone_from(&own.quiet);
    output.stats_interval.clone_from(&own.stats_interval);
    output.log_level.clone_from(&own.log_level);
    output.verbose.clone_from(&own.verbose);
    output.extra_verbose.clone_from(&own.extra_verbose);
}

/// What the shards of one run, and no other run of the same flags, have in common without talking:
/// the job's own number, where the platform has one.
fn run_id(settings: &str, config: &RunConfig, count: u32, lookup: Lookup<'_>) -> String {
    let job = ["SLURM_JOB_ID", "SLURM_STEP_ID", "PMIX_NAMESPACE"];
    let job: Vec<String> = job.into_iter().filter_map(lookup).collect();
    let seed = config.load.random_seed.get();
    let text = format!("{settings} {seed:?} {count} {job:?}");
    hex(&Sha256::digest(text)[..6])
}

/// Which process this is: another after a restart, another on every machine.
pub fn incarnation() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{}-{}", boot.trim(), std::process::id())
}

/// Name of the machine, where the platform says it: a container has a name of its own.
pub fn node() -> Option<String> {
    ["NODE_NAME", "SLURMD_NODENAME"]
        .into_iter()
        .find_map(environment)
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sessions of a phase: where they begin in the dataset, and how many they are over all shards.
#[derive(Clone, Copy, Debug)]
pub struct Sessions {
    pub first: u64,
    pub most: u64,
    /// Each takes another conversation, so they are no more than there are of those.
    pub once: bool,
}

/// Which conversations of a dataset the sessions of a shard take.
pub struct Taken<'a> {
    /// Whose sessions.
    pub shard: Shard,
    /// Those of all phases.
    pub phases: Vec<Sessions>,
    /// The conversation of a session, of so many.
    pub pick: &'a (dyn Fn(u64, u64) -> u64 + Sync),
    /// Every pass takes them in the same order.
    pub in_order: bool,
}

/// Sessions that are gone through to see which conversations they take.
const MOST_LOOKED_AT: u64 = 1 << 22;

impl Taken<'_> {
    /// Those of so many conversations that this shard may come to send; `None` for all of them.
    pub fn of(&self, conversations: usize) -> Option<Vec<bool>> {
        if self.shard.is_whole() || conversations == 0 {
            return None;
        }
        let count = conversations as u64;
        let mut taken = vec![false; conversations];
        let mut left = conversations;
        for sessions in &self.phases {
            let most = match sessions.once {
                true => sessions.most.min(count),
                false => sessions.most,
            };
            let mut own = self.shard.below(most);
            if self.in_order {
                // After so many every session takes what one before it took.
                own = own.min(count.saturating_mul(u64::from(self.shard.block())));
            }
            if own > MOST_LOOKED_AT {
                return None;
            }
            for nth in 0..own {
                let session = sessions.first.saturating_add(self.shard.nth(nth));
                if let Some(taken) = taken.get_mut((self.pick)(session, count) as usize)
                    && !std::mem::replace(taken, true)
                {
                    left -= 1;
                }
                if left == 0 {
                    return None;
                }
            }
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::typed;

    fn found(flags: &str, variables: &[(&str, &str)]) -> Result<Option<ShardOf>> {
        let config = typed(flags.split_whitespace())?;
        of(&config, &|name| {
            let variable = variables.iter().find(|(known, _)| *known == name);
            variable.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn flags_and_platforms_say_which_shard_it_is() {
        let slurm = [("SLURM_PROCID", "3"), ("SLURM_NTASKS", "8")];
        let mpi = [("OMPI_COMM_WORLD_RANK", "5"), ("OMPI_COMM_WORLD_SIZE", "6")];
        let pmi = [("PMI_RANK", "0"), ("PMI_SIZE", "2")];
        let pmix = [
            ("PMIX_RANK", "3"),
            ("SLURM_PROCID", "3"),
            ("SLURM_NTASKS", "8"),
        ];
        let job = [("JOB_COMPLETION_INDEX", "7")];
        for (flags, variables, expected) in [
            ("", &slurm[..], None),
            ("--shard 1/4", &slurm, Some((1, 4))),
            ("--shard 1/4 --shards 4", &[], Some((1, 4))),
            ("--shard 1/4 --shards auto", &slurm, Some((1, 4))),
            ("--shards auto", &slurm, Some((3, 8))),
            ("--shards 8", &slurm, Some((3, 8))),
            ("--shards auto", &mpi, Some((5, 6))),
            ("--shards auto", &pmi, Some((0, 2))),
            ("--shards auto", &pmix, Some((3, 8))),
            ("--shards 8", &pmix, Some((3, 8))),
            ("--shards 8", &job, Some((7, 8))),
            ("--shards 1", &[], Some((0, 1))),
            // mpirun within a job of Slurm: the inner one counts.
            ("--shards auto", &[mpi, slurm].concat(), Some((5, 6))),
        ] {
            let expected = expected.map(|(index, count)| ShardOf { index, count });
            assert_eq!(
                found(flags, variables).unwrap(),
                expected,
                "{flags} {variables:?}"
            );
        }
    }

    #[test]
    fn what_platforms_do_not_say_is_named() {
        for (flags, variables, words) in [
            (
                "--shard 1/4 --shards 5",
                &[][..],
                &["--shard 1/4", "--shards 5"][..],
            ),
            (
                "--shards 4",
                &[],
                &["SLURM_PROCID", "JOB_COMPLETION_INDEX", "--shard I/4"],
            ),
            ("--shards auto", &[], &["PMIX_RANK", "--shard I/N"]),
            (
                "--shards auto",
                &[("PMIX_RANK", "1")],
                &["PMIx", "--shards N"],
            ),
            (
                "--shards auto",
                &[("SLURM_PROCID", "1")],
                &["SLURM_NTASKS", "--shards N"],
            ),
            (
                "--shards 4",
                &[("SLURM_PROCID", "1"), ("SLURM_NTASKS", "8")],
                &["SLURM_NTASKS", "8", "--shards auto"],
            ),
            (
                "--shards 4",
                &[("JOB_COMPLETION_INDEX", "4")],
                &["JOB_COMPLETION_INDEX is 4", "--shards 5"],
            ),
            ("--shards 4", &[("PMI_RANK", "x")], &["PMI_RANK", "`x`"]),
            (
                "--shards auto",
                &[("PMI_RANK", "0"), ("PMI_SIZE", "0")],
                &["PMI_SIZE is 0"],
            ),
        ] {
            let error = found(flags, variables).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{flags} {variables:?}: {error}");
            }
        }
    }

    fn taken(
        count: u32,
        block: u32,
        phases: &[(u64, u64)],
        conversations: usize,
    ) -> Vec<Vec<bool>> {
        let of = |index| {
            let phases = phases.iter().map(|&(first, most)| Sessions {
                first,
                most,
                once: false,
            });
            let taken = Taken {
                shard: Shard::new(index, count, block).unwrap(),
                phases: phases.collect(),
                pick: &|session, count| session % count,
                in_order: true,
            };
            let taken = taken.of(conversations);
            taken.unwrap_or_else(|| vec![true; conversations])
        };
        (0..count).map(of).collect()
    }

    #[test]
    fn a_shard_makes_what_its_sessions_take() {
        for (count, block, phases, conversations) in [
            (4, 1, &[(0, 100)][..], 100),
            (3, 2, &[(0, 100)], 100),
            (3, 2, &[(0, u64::MAX)], 60),
            (3, 2, &[(0, u64::MAX)], 61),
            (2, 1, &[(0, 7), (7, 50)], 57),
        ] {
            let shards = taken(count, block, phases, conversations);
            for (index, taken) in shards.iter().enumerate() {
                let shard = Shard::new(index as u32, count, block).unwrap();
                let mut expected = vec![false; conversations];
                for &(first, most) in phases {
                    for session in (0..most.min(2_000)).filter(|&session| shard.owns(session)) {
                        expected[(first + session) as usize % conversations] = true;
                    }
                }
                assert_eq!(*taken, expected, "{index} of {count} × {block}: {phases:?}");
            }
        }
        let quarter = |taken: &Vec<bool>| taken.iter().filter(|&&own| own).count() == 25;
        assert!(taken(4, 1, &[(0, u64::MAX)], 100).iter().all(quarter));
    }
}
