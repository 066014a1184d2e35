//! `pinfire profile` where several processes make one run together: joined, begun, ended and taken
//! home.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use pinfire_artifacts::{
    INPUTS, LOG, READY, RESOLVED_CONFIG, RUN_MARKER, SHARD, shard::ShardFolder,
};
use pinfire_base::{
    clock::{Span, Stamp, WallAnchor},
    shard::Shard as Numbers,
};
use pinfire_cluster::{
    greeting::{Greeting, PROTOCOL, Token},
    leader::{LEAD, OnLoss, Rules, Threshold, in_words},
    message::{Common, Done, Item, Run, Tally},
    shard,
};
use pinfire_config::{
    Get, RunConfig, Sourced, demand,
    file::FileConfig,
    numbers::{ShardCount, ShardOf, Whole},
    refuse,
    words::ShardLoss,
};
use pinfire_guard::keep;
use sha2::{Digest as _, Sha256};

use super::{
    Ended, LEADER_LOST, Rendezvous, SHARD_LOST, headline,
    leader::{LeaderThread, Outcome, Watched},
    place::{LEADER_FILE, Place, is_shared, leader_file},
    shard::{News, ShardThread, connect},
    tally,
};
use crate::{
    args::Shard,
    cmd::{profile, report},
    environment,
    inputs::Inputs,
    run::{cpus, signals::Interrupt},
    settings::{self, Settings},
    shards,
    terminal::{say, stdout::Shows},
};

/// How long a phase may begin behind the last request of a seamless warmup: all hear of it in time,
/// and hardly anything of the warmup has ended.
const SEAMLESS_LEAD: Span = Span::from_millis(20);

/// How often a leader that sends nothing itself says how the whole goes on.
const SHOW_EVERY: Span = Span::from_millis(10_000);

/// What a process is of a run that begins at a common instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// One of the shards; the first leads them too.
    Shard(ShardOf),
    /// It leads so many shards and sends nothing.
    Leader(u32),
}

/// What this process is, if the run is made through a leader.
///
/// # Errors
/// The flags and the platform do not say it.
pub fn part_of(config: &RunConfig) -> Result<Option<Part>> {
    part(config, &shards::environment)
}

fn part(config: &RunConfig, lookup: shards::Lookup<'_>) -> Result<Option<Part>> {
    let asked = &config.shards;
    if asked.leader_only.value {
        let Some(ShardCount::Count(count)) = asked.shards.get() else {
            refuse!(
                [asked.leader_only],
                "--leader-only: say how many shards there will be (--shards N)"
            );
        };
        demand!(
            asked.shard.is_none(),
            [asked.leader_only, asked.shard],
            "--leader-only sends nothing, and --shard is for one that does; leave one out"
        );
        return Ok(Some(Part::Leader(count)));
    }
    let Some(own) = shards::of(config, lookup)? else {
        demand!(
            asked.join.is_none(),
            [asked.join],
            "--join: say which shard this is, by --shard I/N or by --shards N where the platform says it"
        );
        return Ok(None);
    };
    // These start all processes of a job at once, and have folders in common.
    let platforms = [
        "SLURM_STEP_NODELIST",
        "OMPI_COMM_WORLD_RANK",
        "PMI_RANK",
        "PMIX_RANK",
    ];
    let together = asked.shards.is_some() && platforms.iter().any(|name| lookup(name).is_some());
    Ok((own.count > 1 && (asked.join.is_some() || together)).then_some(Part::Shard(own)))
}

/// Makes the run, or its part of it.
///
/// # Errors
/// What keeps this process from its part; the others are told.
pub fn run(config: &RunConfig, part: Part) -> Result<ExitCode> {
    let own = match part {
        Part::Shard(own) => own,
        Part::Leader(count) => return lead_alone(config, count),
    };
    let leads = own.index == 0;
    let seed = &config.load.random_seed;
    let drawn = match seed.get() {
        Some(seed) => seed,
        // The others are given the leader's.
        None if leads => settings::drawn_seed()?,
        None => 0,
    };
    let settings = Settings::new(&with_seed(config, drawn))?;
    say::set_level(settings.log_level);
    for warning in settings.warnings.iter().chain(&settings.load.warnings) {
        say::warning(warning);
    }
    let interrupt = Interrupt::watch()?;
    let asked = &config.shards;
    let share = settings.share.as_ref().context("there is no shard")?;
    let run_folder = share.run_folder.clone();
    let join = asked.join.get();
    let place = Place::of(join.as_deref(), &run_folder, &shards::environment)?;
    let leader = match leads {
        true => Some(lead(
            &settings,
            seed.is_some(),
            own.count,
            &place,
            &run_folder,
        )?),
        false => None,
    };
    let port = leader.as_ref().map(|leader| leader.address.port());
    let made = Joining {
        own,
        place,
        leader_here: port,
        rest: settings.places.rest,
        join_timeout: asked.join_timeout.value.span(),
        shard_timeout: asked.shard_timeout.value.span(),
    }
    .join()
    .and_then(|mut rendezvous| {
        rendezvous.whole = leader.as_ref().map(LeaderThread::watched);
        take_part(config, rendezvous, &interrupt)
    });
    match leader {
        None => made,
        Some(leader) => {
            if let Err(error) = &made {
                leader.stop(&format!("shard 0: {error:#}"));
            }
            let outcome = leader.finish()?;
            close(&run_folder);
            after(&outcome, own.count, &run_folder, settings.shows, made)
        }
    }
}

/// Leads a run and sends nothing.
fn lead_alone(config: &RunConfig, count: u32) -> Result<ExitCode> {
    let seed = config.load.random_seed.get();
    let drawn = seed.map_or_else(settings::drawn_seed, Ok)?;
    let settings = Settings::new(&with_seed(config, drawn))?;
    say::set_level(settings.log_level);
    let interrupt = Interrupt::watch()?;
    let run_folder = settings.artifact_dir.clone();
    let join = config.shards.join.get();
    let place = Place::of(join.as_deref(), &run_folder, &shards::environment)?;
    let leader = lead(&settings, seed.is_some(), count, &place, &run_folder)?;
    say::line(format_args!(
        "pinfire {}: leads {count} shards at port {}; seed {drawn}",
        env!("CARGO_PKG_VERSION"),
        leader.address.port()
    ));
    interrupt.sending();
    let mut told = false;
    let mut shown = Stamp::now();
    while !leader.is_over() {
        std::thread::sleep(super::TICK);
        if Stamp::now().since(shown) >= SHOW_EVERY {
            shown = Stamp::now();
            say::line(in_figures(&leader.watched(), count));
        }
        if interrupt.asked() && !told {
            told = true;
            leader.stop("cancelled by the user (Ctrl-C) at the leader");
        }
    }
    let outcome = leader.finish()?;
    close(&run_folder);
    after(
        &outcome,
        count,
        &run_folder,
        settings.shows,
        Ok(ExitCode::SUCCESS),
    )
}

/// How the whole goes on, in a line.
fn in_figures(whole: &Watched, count: u32) -> String {
    let super::leader::Whole { joined, tally } = whole.now();
    format!(
        "{joined} of {count} shards; begun {}, answered {}, failed {}, cancelled {}, in flight {}",
        tally.due,
        tally.finished,
        tally.failed,
        tally.cancelled,
        tally.in_flight()
    )
}

/// Starts the leader.
fn lead(
    settings: &Settings,
    seed_is_given: bool,
    count: u32,
    place: &Place,
    run_folder: &Path,
) -> Result<LeaderThread> {
    let listener = place.listen()?;
    let mark = shards::hex(&settings::random_bytes::<16>()?);
    fs::create_dir_all(run_folder).with_context(|| {
        format!(
            "the artifact folder {} cannot be made",
            run_folder.display()
        )
    })?;
    let port = listener.local_addr()?.port();
    let file = run_folder.join(LEADER_FILE);
    let unfinished = run_folder.join(format!("{LEADER_FILE}.{mark}"));
    fs::write(&unfinished, leader_file(&host(), port, &mark))
        .and_then(|()| fs::rename(&unfinished, &file))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let wall = WallAnchor::take();
    let now = Stamp::now();
    let salt = settings::random_bytes()?;
    let run = Run {
        run_id: shards::hex(&settings::random_bytes::<6>()?),
        shards: count,
        settings: settings.config.yaml(),
        seed: settings.seed.value,
        seed_is_given,
        common: vec![
            (Common::Settings, shards::settings(&settings.config)),
            (Common::Secrets, secrets(&settings.config, &salt)),
            (Common::Files, Inputs::of(&settings.config, None)?.files),
        ],
        id_key: settings::random_bits()?,
        salt,
        folder_mark: mark,
        wall_stamp: now.nanos(),
        wall_unix: wall.unix_nanos(now),
        files: names(settings),
    };
    let asked = &settings.config.shards;
    let mut leads = vec![LEAD];
    if settings.load.warmup.is_some() {
        leads.push(match settings.load.seamless {
            true => SEAMLESS_LEAD,
            false => LEAD,
        });
    }
    let rules = Rules {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        token: token(),
        run,
        leads,
        join_timeout: asked.join_timeout.value.span(),
        shard_timeout: asked.shard_timeout.value.span(),
        on_loss: match asked.on_shard_loss.value {
            ShardLoss::Stop => OnLoss::Stop,
            ShardLoss::Continue => OnLoss::Continue,
        },
        threshold: settings.load.failed_threshold.map(|share| Threshold {
            share,
            from: settings.load.judged_from(Numbers::WHOLE),
        }),
    };
    let folder = run_folder.to_owned();
    LeaderThread::start(listener, rules, folder, settings.places.rest.clone())
}

/// `pinfire shard`: takes everything but credentials from the leader.
///
/// # Errors
/// What keeps this process from its part; the others are told.
pub fn shard(flags: &Shard) -> Result<ExitCode> {
    let index = match flags.shard.get() {
        Some(own) => u64::from(own.index),
        None => shards::index_of_platform(&shards::environment)?,
    };
    let index = u32::try_from(index)
        .ok()
        .context("there is no such shard")?;
    // How many there are, the leader knows.
    let count = flags.shard.get().map_or(0, |own| own.count);
    let interrupt = Interrupt::watch()?;
    let places = cpus::divide(flags.cores.get().as_ref(), u64::MAX)?;
    let rendezvous = Joining {
        own: ShardOf { index, count },
        place: Place::of(Some(&flags.join), Path::new("."), &shards::environment)?,
        leader_here: None,
        rest: places.rest,
        join_timeout: flags.join_timeout.value.span(),
        shard_timeout: flags.shard_timeout.value.span(),
    }
    .join()?;
    let name = Path::new("the leader's settings");
    let read = FileConfig::of(name, &rendezvous.run.settings);
    let read = read.and_then(|read| RunConfig::of_layers(None, Some(read), RunConfig::default()));
    let mut config = read.map_err(|error| anyhow!(error))?;
    // What is of each machine alone is not the leader's to say.
    let plain = RunConfig::default();
    config.engine = plain.engine;
    config.engine.cores.clone_from(&flags.cores);
    config.shards = plain.shards;
    let count = rendezvous.run.shards;
    config.shards.shard = Some(Sourced::derived(ShardOf { index, count }));
    config.output.artifact_dir = flags.artifact_dir.clone().map(Sourced::derived);
    take_part(&config, rendezvous, &interrupt)
}

/// Makes this shard's part of the run.
fn take_part(
    config: &RunConfig,
    mut rendezvous: Rendezvous,
    interrupt: &Interrupt,
) -> Result<ExitCode> {
    let mut settings = Settings::new(&with_seed(config, rendezvous.run.seed))?;
    settings.seed.fixed = rendezvous.run.seed_is_given;
    let mut run_folder = PathBuf::new();
    if let Some(share) = &mut settings.share {
        share.is_led_here = rendezvous.whole.is_some();
        share.id_key = Some(rendezvous.run.id_key);
        share.run_id.clone_from(&rendezvous.run.run_id);
        run_folder.clone_from(&share.run_folder);
    }
    rendezvous.has(Common::Settings, shards::settings(&settings.config));
    let secrets = secrets(&settings.config, &rendezvous.run.salt);
    rendezvous.has(Common::Secrets, secrets);
    let made = profile::one(&settings, interrupt, None, Some(&mut rendezvous));
    let done = match made {
        Ok(done) => done,
        Err(error) => {
            let why = match rendezvous.ended().cloned() {
                Some(ended @ Ended::LeaderLost(_)) => {
                    say::error(format!("{}: {error:#}", ended.in_words()));
                    return Ok(ExitCode::from(LEADER_LOST));
                }
                Some(ended) => bail!(ended.in_words()),
                None => format!("{error:#}"),
            };
            rendezvous.stop(&why);
            return Err(error);
        }
    };
    let shared = is_shared(&run_folder, &rendezvous.run.folder_mark);
    let end = Done {
        tally: tally(&done.counts),
        trouble: None,
        shared,
    };
    let ended = rendezvous.finish(end, &settings.artifact_dir);
    match ended {
        Some(ended @ Ended::LeaderLost(_)) => {
            say::error(format!(
                "{}; what this shard has sent until then is in {}",
                ended.in_words(),
                settings.artifact_dir.display()
            ));
            Ok(ExitCode::from(LEADER_LOST))
        }
        Some(ended @ Ended::Refused(_)) => bail!(ended.in_words()),
        Some(Ended::Stopped(why)) if rendezvous.started.is_none() => bail!(why),
        // The platform is told of a failure by the leader alone.
        Some(Ended::Stopped(_)) => Ok(ExitCode::SUCCESS),
        None => Ok(done.exit_code()),
    }
}

/// What it takes to join a run.
struct Joining {
    own: ShardOf,
    place: Place,
    /// The port of the leader, where that is in this process.
    leader_here: Option<u16>,
    /// CPUs that the engine leaves.
    rest: Vec<usize>,
    join_timeout: Span,
    shard_timeout: Span,
}

impl Joining {
    /// Connects to the leader and takes the run from it.
    fn join(self) -> Result<Rendezvous> {
        let host = host();
        let address = || match self.leader_here {
            Some(port) => Ok(format!("localhost:{port}")),
            None => self.place.address(&host),
        };
        let stream = connect(&address, Duration::from_nanos(self.join_timeout.nanos()))?;
        let rules = shard::Rules {
            greeting: Greeting {
                protocol: PROTOCOL,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                index: self.own.index,
                shards: self.own.count,
                incarnation: settings::random_bits()?,
                host: host.clone(),
                nonce: settings::random_bytes()?,
            },
            token: token(),
            timeout: self.shard_timeout,
        };
        let thread = ShardThread::start(stream, rules, self.rest)?;
        let index = self.own.index;
        match thread.news.recv() {
            Ok(News::Run(run)) => Ok(Rendezvous::new(thread, *run)),
            Ok(News::Refused(why)) => bail!("the leader refuses shard {index}: {why}"),
            Ok(News::LeaderLost(how)) => bail!("the leader was lost: {how}"),
            Ok(_) | Err(_) => bail!("the leader says nothing of the run"),
        }
    }
}

/// What the leader makes of the end.
fn after(
    outcome: &Outcome,
    count: u32,
    run_folder: &Path,
    shows: Shows,
    own: Result<ExitCode>,
) -> Result<ExitCode> {
    for missing in &outcome.missing {
        let Tally { due, .. } = missing.tally;
        let host = missing.host.as_deref();
        let on = host.map_or_else(String::new, |host| format!(" ({host})"));
        say::warning(format_args!(
            "shard {} of {count}{on} is missing: {}; its last sign of life counted {due} requests",
            missing.index, missing.how
        ));
    }
    let is_there = !ShardFolder::all(run_folder)?.is_empty();
    let merged = match is_there {
        true => report::of_shards(run_folder, shows).map(|summary| {
            if let Err(error) = headline::leave(&summary) {
                say::warning(format_args!("{error:#}"));
            }
        }),
        false => Ok(()),
    };
    if !outcome.missing.is_empty() {
        if let Err(error) = &own {
            say::error(format!("{error:#}"));
        }
        if let Err(error) = &merged {
            say::error(format!("{error:#}"));
        }
        let indices: Vec<u32> = outcome
            .missing
            .iter()
            .map(|missing| missing.index)
            .collect();
        say::error(format!(
            "the run is incomplete: {} of {count} is missing",
            in_words(&indices)
        ));
        return Ok(ExitCode::from(SHARD_LOST));
    }
    if let Some(why) = outcome.unwritten.first() {
        return Err(anyhow!("the run is incomplete: {why}"));
    }
    merged?;
    match outcome.gave_up {
        true => own.map(|_| ExitCode::FAILURE),
        false => own,
    }
}

/// The leader is not there any more.
fn close(run_folder: &Path) {
    // A file that stays would only send shards of another run to a closed port.
    let _ = fs::remove_file(run_folder.join(LEADER_FILE));
}

fn with_seed(config: &RunConfig, seed: u64) -> RunConfig {
    let mut config = config.clone();
    if config.load.random_seed.is_none() {
        config.load.random_seed = Some(Sourced::derived(Whole::new(seed)));
    }
    config
}

/// The secret of the run.
fn token() -> Token {
    let (_, token) = environment::text("JOIN_TOKEN").unwrap_or_default();
    let token = token.trim();
    if !token.is_empty() {
        keep(token);
    }
    Token::new(token)
}

/// Of the credentials it is not told which one differs: a salted hash of all of them is harder to
/// guess than that of each.
fn secrets(config: &RunConfig, salt: &[u8; 32]) -> Vec<Item> {
    let mut digest = Sha256::new_with_prefix(salt);
    for exposed in config.exposed() {
        digest.update((exposed.len() as u64).to_le_bytes());
        digest.update(exposed);
    }
    vec![Item {
        name: String::new(),
        digest: digest.finalize().into(),
    }]
}

/// Files of a shard's folder that go home.
fn names(settings: &Settings) -> Vec<String> {
    let mut names = settings.files.all();
    let more = [SHARD, RUN_MARKER, RESOLVED_CONFIG, INPUTS, LOG, READY];
    names.extend(more.into_iter().map(str::to_owned));
    names
}

/// The name of this host.
pub fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
