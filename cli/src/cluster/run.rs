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
    leader::{LEAD, OnLoss, Pace, Rules, Threshold, in_words},
    message::{Common, Deed, Done, InSeries, Item, Run, Scope},
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
    series::Follower,
    shard::{News, ShardThread, connect},
    tally,
};
use crate::{
    args::Shard,
    cmd::{profile, report},
    environment,
    inputs::{self, Inputs},
    run::{cpus, signals::Interrupt},
    settings::{self, Settings},
    shards,
    terminal::{say, stdout::Shows},
};

/// How long a phase may begin behind the last request of a seamless warmup: all hear of it in time,
/// and hardly anything of the warmup has ended.
const SEAMLESS_LEAD: Span = Span::from_millis(20);

/// How often a leader that sends nothing itself says how the whole goes on.
pub(super) const SHOW_EVERY: Span = Span::from_millis(10_000);

/// What a process is of a run that begins at a common instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// One of the shards; the first leads them too.
    Shard(ShardOf),
    /// It leads so many shards and sends nothing.
    Leader(u32),
}

impl Part {
    /// Whether this process leads.
    pub const fn leads(self) -> bool {
        match self {
            Self::Shard(own) => own.index == 0,
            Self::Leader(_) => true,
        }
    }
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
    let interrupt = Interrupt::watch()?;
    let Called {
        leader,
        joined,
        run_folder,
        shows,
    } = call(config, own, Deed::Profile)?;
    let made = joined.and_then(|rendezvous| take_part(config, rendezvous, &interrupt));
    match leader {
        None => made,
        Some(leader) => {
            if let Err(error) = &made {
                leader.stop(&format!("shard 0: {error:#}"));
            }
            let outcome = leader.finish()?;
            close(&run_folder);
            after(&outcome, own.count, &run_folder, shows, made)
        }
    }
}

/// The shards have been called together.
pub(super) struct Called {
    /// The leader, if it is in this process.
    pub leader: Option<LeaderThread>,
    /// This shard's part, or why it has none.
    pub joined: Result<Rendezvous>,
    pub run_folder: PathBuf,
    pub shows: Shows,
}

/// Calls the shards together, or joins the others.
pub(super) fn call(config: &RunConfig, own: ShardOf, deed: Deed) -> Result<Called> {
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
    let asked = &config.shards;
    let share = settings.share.as_ref().context("there is no shard")?;
    let run_folder = share.run_folder.clone();
    let join = asked.join.get();
    let place = Place::of(join.as_deref(), &run_folder, &shards::environment)?;
    let leader = match leads {
        true => {
            let run = run_of(&settings, config, own.count, mark()?, deed, None)?;
            Some(lead(&settings, run, &place, &run_folder, &run_folder)?)
        }
        false => None,
    };
    let port = leader.as_ref().map(|leader| leader.address.port());
    let mut joined = Joining {
        own,
        place,
        leader_here: port,
        rest: settings.places.rest,
        join_timeout: asked.join_timeout.value.span(),
        shard_timeout: asked.shard_timeout.value.span(),
    }
    .join(deed);
    if let Ok(rendezvous) = &mut joined {
        rendezvous.whole = leader.as_ref().map(LeaderThread::watched);
    }
    Ok(Called {
        leader,
        joined,
        run_folder,
        shows: settings.shows,
    })
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
    let run = run_of(&settings, config, count, mark()?, Deed::Profile, None)?;
    let leader = lead(&settings, run, &place, &run_folder, &run_folder)?;
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
pub(super) fn in_figures(whole: &Watched, count: u32) -> String {
    let super::leader::Whole { joined, tally, .. } = whole.now();
    format!(
        "{joined} of {count} shards; begun {}, answered {}, failed {}, cancelled {}, in flight {}",
        tally.due,
        tally.finished,
        tally.failed,
        tally.cancelled,
        tally.in_flight()
    )
}

/// Drawn for a leader's folder: shards know by it that theirs is the same.
pub(super) fn mark() -> Result<String> {
    Ok(shards::hex(&settings::random_bytes::<16>()?))
}

/// A run of these settings, as the shards are told of it. `asked` is what was asked of it, or of
/// the series that it belongs to, and must have been asked of all of them.
pub(super) fn run_of(
    settings: &Settings,
    asked: &RunConfig,
    count: u32,
    folder_mark: String,
    deed: Deed,
    series: Option<InSeries>,
) -> Result<Run> {
    let wall = WallAnchor::take();
    let now = Stamp::now();
    let salt = settings::random_bytes()?;
    let (common, seed_is_given) = match &series {
        None => (&settings.config, asked.load.random_seed.is_some()),
        Some(_) => (asked, settings.seed.fixed),
    };
    let files = Inputs::of(&settings.config, None)?.files;
    let inputs = inputs::offered(&settings.config, &files)?;
    Ok(Run {
        run_id: shards::hex(&settings::random_bytes::<6>()?),
        shards: count,
        settings: settings.config.yaml(),
        seed: settings.seed.value,
        seed_is_given,
        common: vec![
            (Common::Settings, shards::settings(common)),
            (Common::Secrets, secrets(&settings.config, &salt)),
            (Common::Files, files),
        ],
        id_key: settings::random_bits()?,
        salt,
        folder_mark,
        wall_stamp: now.nanos(),
        wall_unix: wall.unix_nanos(now),
        files: names(settings),
        deed,
        inputs,
        series,
    })
}

/// How a run of these settings goes on.
pub(super) fn pace(settings: &Settings) -> Pace {
    let mut leads = vec![LEAD];
    if settings.load.warmup.is_some() {
        leads.push(match settings.load.seamless {
            true => SEAMLESS_LEAD,
            false => LEAD,
        });
    }
    let threshold = settings.load.failed_threshold.map(|share| Threshold {
        share,
        from: settings.load.judged_from(Numbers::WHOLE),
    });
    Pace { leads, threshold }
}

/// Where the inputs of a run are that its shards may ask for, in the order of [`Run::inputs`].
pub(super) fn inputs_of(settings: &Settings) -> Vec<PathBuf> {
    let all = settings.config.common_files().into_iter();
    all.map(|(_, path)| path).collect()
}

/// Starts the leader, which says in the folder `base` where it is. What comes home of the run comes
/// to `folder`.
pub(super) fn lead(
    settings: &Settings,
    run: Run,
    place: &Place,
    base: &Path,
    folder: &Path,
) -> Result<LeaderThread> {
    let listener = place.listen()?;
    fs::create_dir_all(base)
        .with_context(|| format!("the artifact folder {} cannot be made", base.display()))?;
    let port = listener.local_addr()?.port();
    let mark = &run.folder_mark;
    let file = base.join(LEADER_FILE);
    let unfinished = base.join(format!("{LEADER_FILE}.{mark}"));
    fs::write(&unfinished, leader_file(&host(), port, mark))
        .and_then(|()| fs::rename(&unfinished, &file))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let asked = &settings.config.shards;
    let rules = Rules {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        token: token(),
        run,
        pace: pace(settings),
        join_timeout: asked.join_timeout.value.span(),
        shard_timeout: asked.shard_timeout.value.span(),
        on_loss: match asked.on_shard_loss.value {
            ShardLoss::Stop => OnLoss::Stop,
            ShardLoss::Continue => OnLoss::Continue,
        },
    };
    let rest = settings.places.rest.clone();
    let inputs = inputs_of(settings);
    LeaderThread::start(listener, rules, folder.to_owned(), inputs, rest)
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
    let mut rendezvous = Joining {
        own: ShardOf { index, count },
        place: Place::of(Some(&flags.join), Path::new("."), &shards::environment)?,
        leader_here: None,
        rest: places.rest,
        join_timeout: flags.join_timeout.value.span(),
        shard_timeout: flags.shard_timeout.value.span(),
    }
    .join(Deed::Profile)?;
    let base = flags.artifact_dir.as_deref();
    let brought = Brought::new(base.unwrap_or_else(|| Path::new(".")), index);
    let mut own = RunConfig::default();
    own.engine.cores.clone_from(&flags.cores);
    let count = rendezvous.run.shards;
    let own = Own {
        config: &own,
        is_told: true,
        inputs: Some(brought.folder()),
        shard: ShardOf { index, count },
    };
    let mut config = own.config_of(&rendezvous.run)?;
    if let Err(error) = own.bring_inputs(&mut config, &mut rendezvous) {
        rendezvous.stop(&format!("{error:#}"), Scope::Series);
        return Err(error);
    }
    config.output.artifact_dir = flags.artifact_dir.clone().map(Sourced::derived);
    match rendezvous.run.series {
        None => take_part(&config, rendezvous, &interrupt),
        Some(_) => {
            let base = match &flags.artifact_dir {
                Some(base) => base.clone(),
                None => whole_folder(&config)?,
            };
            Follower::new(own, rendezvous, base).all(&interrupt)
        }
    }
}

/// The folder of a run over all its shards, as it is called where nobody names it.
fn whole_folder(config: &RunConfig) -> Result<PathBuf> {
    let mut whole = config.clone();
    whole.shards = RunConfig::default().shards;
    Ok(Settings::new(&whole)?.artifact_dir)
}

/// Takes part in all runs of a sweep whose leader is another process.
///
/// # Errors
/// What keeps this process from its part; the others are told.
pub fn follow(config: &RunConfig, shard: ShardOf, base: PathBuf) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let places = cpus::divide(config.engine.cores.get().as_ref(), u64::MAX)?;
    let asked = &config.shards;
    let join = asked.join.get();
    let rendezvous = Joining {
        own: shard,
        place: Place::of(join.as_deref(), &base, &shards::environment)?,
        leader_here: None,
        rest: places.rest,
        join_timeout: asked.join_timeout.value.span(),
        shard_timeout: asked.shard_timeout.value.span(),
    }
    .join(Deed::Profile)?;
    let own = Own {
        config,
        is_told: false,
        inputs: None,
        shard,
    };
    Follower::new(own, rendezvous, base).all(&interrupt)
}

/// Makes this shard's part of the run.
fn take_part(
    config: &RunConfig,
    mut rendezvous: Rendezvous,
    interrupt: &Interrupt,
) -> Result<ExitCode> {
    let settings = settings_of(config, &rendezvous)?;
    let share = settings.share.as_ref();
    let run_folder = share.map_or_else(PathBuf::new, |share| share.run_folder.clone());
    rendezvous.has(Common::Settings, shards::settings(&settings.config));
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
            rendezvous.stop(&why, Scope::Run);
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

/// The settings of this shard's part of the run, of which the leader is told.
pub(super) fn settings_of(config: &RunConfig, rendezvous: &Rendezvous) -> Result<Settings> {
    let run = &rendezvous.run;
    let mut settings = Settings::new(&with_seed(config, run.seed))?;
    settings.seed.fixed = run.seed_is_given;
    if let Some(share) = &mut settings.share {
        share.is_led_here = rendezvous.whole.is_some();
        share.id_key = Some(run.id_key);
        share.run_id.clone_from(&run.run_id);
    }
    let secrets = secrets(&settings.config, &run.salt);
    rendezvous.has(Common::Secrets, secrets);
    Ok(settings)
}

/// What a shard brings along to runs whose settings its leader has.
#[derive(Clone, Copy)]
pub(super) struct Own<'a> {
    /// What was asked of it.
    pub config: &'a RunConfig,
    /// Only what is of its machine was: the leader says all else.
    pub is_told: bool,
    /// Where files of the leader come to that this machine has not, if any do.
    pub inputs: Option<&'a Path>,
    pub shard: ShardOf,
}

/// The folder of the files that a leader has sent. It goes with the process.
struct Brought(PathBuf);

impl Brought {
    fn new(base: &Path, shard: u32) -> Self {
        let folder = base.join(format!(".pinfire_inputs-{shard:04}"));
        let brought = Self(folder);
        // What a process that was killed has left.
        brought.remove();
        brought
    }

    fn folder(&self) -> &Path {
        &self.0
    }

    fn remove(&self) {
        if self.0.is_dir() {
            // Nobody reads what is left there.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

impl Drop for Brought {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Own<'_> {
    /// The configuration of a run: the leader's but for what is of this process alone, with this
    /// one's credentials.
    pub fn config_of(&self, run: &Run) -> Result<RunConfig> {
        let name = Path::new("the leader's settings");
        let read = FileConfig::of(name, &run.settings);
        let typed = self.config.credentials();
        let read = read.and_then(|read| RunConfig::of_layers(None, Some(read), typed));
        let mut config = read.map_err(|error| anyhow!(error))?;
        match self.is_told {
            true => config.engine.clone_from(&self.config.engine),
            false => shards::take_what_may_differ(&mut config, self.config),
        }
        config.shards = RunConfig::default().shards;
        config.shards.shard = Some(Sourced::derived(self.shard));
        Ok(config)
    }

    /// Takes the files from the leader that the configuration names and this machine has not.
    ///
    /// # Errors
    /// One does not come.
    pub fn bring_inputs(&self, config: &mut RunConfig, rendezvous: &mut Rendezvous) -> Result<()> {
        match self.inputs {
            Some(folder) => rendezvous.bring_inputs(config, folder),
            None => Ok(()),
        }
    }

    /// What it says of what was asked of all shards together.
    pub fn asked(&self, run: &Run) -> Vec<Item> {
        let told = run.common.iter().find(|(of, _)| *of == Common::Settings);
        match told.filter(|_| self.is_told) {
            Some((_, items)) => items.clone(),
            None => shards::settings(self.config),
        }
    }
}

/// What it takes to join a run.
pub(super) struct Joining {
    pub own: ShardOf,
    pub place: Place,
    /// The port of the leader, where that is in this process.
    pub leader_here: Option<u16>,
    /// CPUs that the engine leaves.
    pub rest: Vec<usize>,
    pub join_timeout: Span,
    pub shard_timeout: Span,
}

impl Joining {
    /// Connects to the leader and takes the run from it.
    pub fn join(self, deed: Deed) -> Result<Rendezvous> {
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
            Ok(News::Run(run)) if run.deed != deed => bail!(
                "the leader makes a {}: start this shard as one of it",
                run.deed.command()
            ),
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
    outcome.tell(count);
    outcome.keep(run_folder)?;
    let is_there = !ShardFolder::all(run_folder)?.is_empty();
    let merged = match is_there {
        true => report::of_shards(run_folder, shows).map(|summary| {
            if let Err(error) = headline::leave(&summary) {
                say::warning(format_args!("{error:#}"));
            }
        }),
        false => Ok(()),
    };
    if !outcome.account.lost.is_empty() {
        if let Err(error) = &own {
            say::error(format!("{error:#}"));
        }
        if let Err(error) = &merged {
            say::error(format!("{error:#}"));
        }
        return Ok(incomplete(&outcome.indices(), count));
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

/// Says that these shards are missing. The exit code says so too.
pub(super) fn incomplete(missing: &[u32], count: u32) -> ExitCode {
    say::error(format!(
        "the run is incomplete: {} of {count} is missing",
        in_words(missing)
    ));
    ExitCode::from(SHARD_LOST)
}

/// The leader is not there any more.
pub(super) fn close(run_folder: &Path) {
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
