//! Several runs that the same shards make one after the other: those of a sweep, repeats of one,
//! those of a search. The leader decides each of them when the one before is at home.

use std::{
    path::{Component, Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow, bail};
use crossbeam_channel::RecvTimeoutError;
use pinfire_artifacts::{Summary, shard::ShardFolder};
use pinfire_base::clock::Stamp;
use pinfire_cluster::{
    leader::in_words,
    message::{Common, Deed, Done, InSeries, Run, Scope, Tally},
};
use pinfire_config::{Get, RunConfig, Sourced, numbers::ShardOf};

use super::{
    Ended, LEADER_LOST, Rendezvous, headline,
    leader::{Following, LeaderThread, Outcome},
    place::{Place, is_shared},
    run::{
        Joining, Own, Part, SHOW_EVERY, close, in_figures, incomplete, inputs_of, lead, mark, pace,
        run_of, settings_of,
    },
    tally,
};
use crate::{
    cmd::{profile, report},
    run::{ReusedEngine, alone, signals::Interrupt},
    settings::Settings,
    shards,
    terminal::say,
};

/// The runs of a sweep over several shards, at their leader.
pub struct Series {
    /// What was asked of all of them together.
    config: RunConfig,
    part: Part,
    /// The folder of all runs.
    base: PathBuf,
    interrupt: Interrupt,
    going: Option<Going>,
    /// Shards that were lost.
    missing: Vec<u32>,
}

/// The shards have been called together.
struct Going {
    leader: LeaderThread,
    /// The shard in this process.
    own: Option<Rendezvous>,
    /// What the leader's folder is known by.
    mark: String,
    /// The leader was told that the user has stopped it here.
    told: bool,
}

/// A run that has come home.
pub struct Came {
    /// Of the whole.
    pub summary: Summary,
    /// It can be used.
    pub success: bool,
}

impl Series {
    /// Runs of which all that is asked is in `config`, in the folder `base`. The shards are called
    /// together for the first of them.
    pub fn new(config: &RunConfig, part: Part, base: &Path, interrupt: &Interrupt) -> Self {
        Self {
            config: config.clone(),
            part,
            base: base.to_owned(),
            interrupt: interrupt.clone(),
            going: None,
            missing: Vec::new(),
        }
    }

    /// Whether no other run can follow: somebody has stopped everything, or a shard is lost.
    pub fn is_over(&self) -> bool {
        let going = self.going.as_ref();
        !self.missing.is_empty() || going.is_some_and(|going| !going.leader.watched().now().goes_on)
    }

    const fn count(&self) -> u32 {
        match self.part {
            Part::Shard(own) => own.count,
            Part::Leader(count) => count,
        }
    }

    /// Makes a run of these settings into its folder, and puts together what the shards have.
    ///
    /// # Errors
    /// The run cannot be used.
    pub fn run(
        &mut self,
        settings: &Settings,
        folder: &Path,
        kept: &mut ReusedEngine,
    ) -> Result<Came> {
        self.begin(settings, folder)?;
        let count = self.count();
        let own = Own {
            config: &self.config,
            is_told: false,
            inputs: None,
            shard: match self.part {
                Part::Shard(own) => own,
                Part::Leader(count) => ShardOf { index: 0, count },
            },
        };
        let going = self.going.as_mut().context("nobody leads")?;
        if let Some(rendezvous) = &mut going.own {
            let made = Taking {
                own,
                rendezvous,
                base: &self.base,
            }
            .one(&self.interrupt, kept);
            made.map_err(|ended| anyhow!(ended.in_words()))?;
        }
        let outcome = going.outcome(count, &self.interrupt)?;
        outcome.tell(count);
        outcome.keep(folder)?;
        self.missing = outcome.indices();
        if ShardFolder::all(folder)?.is_empty() {
            bail!("no shard has sent anything");
        }
        let report = report::merged(folder)?;
        let summary = folder.join(&report.facts.files.json);
        if let Err(error) = headline::leave(&summary) {
            say::warning(format_args!("{error:#}"));
        }
        if !self.missing.is_empty() {
            bail!("{} of {count} was lost", in_words(&self.missing));
        }
        if let Some(why) = outcome.unwritten.first() {
            bail!("the run is incomplete: {why}");
        }
        if let Some(reason) = report.end.interrupted {
            bail!(reason);
        }
        Ok(Came {
            success: report.is_success(),
            summary: report.summary(),
        })
    }

    /// Calls the shards together, or gives those that are there another run.
    fn begin(&mut self, settings: &Settings, folder: &Path) -> Result<()> {
        let below = folder
            .strip_prefix(&self.base)
            .with_context(|| format!("{} is not in {}", folder.display(), self.base.display()))?;
        let parts = below.iter().map(|part| part.to_string_lossy().into_owned());
        let series = InSeries {
            folder: parts.collect::<Vec<_>>().join("/"),
            part: serde_json::to_string(&settings.part)?,
        };
        let mark = match &self.going {
            Some(going) => going.mark.clone(),
            None => mark()?,
        };
        let run = run_of(
            settings,
            &self.config,
            self.count(),
            mark,
            Deed::Profile,
            Some(series),
        )?;
        match &mut self.going {
            None => {
                self.going = Some(self.call_together(settings, run, folder)?);
                Ok(())
            }
            Some(going) => {
                let following = Following {
                    run,
                    pace: pace(settings),
                    folder: folder.to_owned(),
                    inputs: inputs_of(settings),
                };
                if !going.leader.next(following) {
                    bail!("no other run can follow: a shard is gone, or everything was stopped");
                }
                match going.own.as_mut().map(|own| own.next(&self.interrupt)) {
                    None | Some(Ok(true)) => Ok(()),
                    Some(Ok(false)) => bail!("the leader has nothing more to do"),
                    Some(Err(ended)) => bail!(ended.in_words()),
                }
            }
        }
    }

    fn call_together(&self, settings: &Settings, run: Run, folder: &Path) -> Result<Going> {
        let asked = &self.config.shards;
        let join = asked.join.get();
        let place = Place::of(join.as_deref(), &self.base, &shards::environment)?;
        let mark = run.folder_mark.clone();
        let leader = lead(settings, run, &place, &self.base, folder)?;
        let port = leader.address.port();
        let own = match self.part {
            Part::Leader(count) => {
                say::line(format_args!("leads {count} shards at port {port}"));
                self.interrupt.sending();
                None
            }
            Part::Shard(own) => {
                let joined = Joining {
                    own,
                    place,
                    leader_here: Some(port),
                    rest: settings.places.rest.clone(),
                    join_timeout: asked.join_timeout.value.span(),
                    shard_timeout: asked.shard_timeout.value.span(),
                }
                .join(Deed::Profile)?;
                Some(joined)
            }
        };
        let mut going = Going {
            leader,
            own,
            mark,
            told: false,
        };
        if let Some(own) = &mut going.own {
            own.whole = Some(going.leader.watched());
        }
        Ok(going)
    }

    /// No other run follows. The exit code where shards are missing.
    pub fn end(&mut self) -> Option<ExitCode> {
        self.leave();
        (!self.missing.is_empty()).then(|| incomplete(&self.missing, self.count()))
    }

    fn leave(&mut self) {
        let Some(mut going) = self.going.take() else {
            return;
        };
        going.leader.end();
        if let Some(own) = &mut going.own {
            // Whatever it is told now, it leaves.
            while own.next(&self.interrupt) == Ok(true) {}
        }
        drop(going.own);
        if let Ok(outcome) = going.leader.finish()
            && self.missing.is_empty()
            && !outcome.account.lost.is_empty()
        {
            outcome.tell(self.count());
            self.missing = outcome.indices();
        }
        close(&self.base);
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Going {
    /// Waits until a run is over, and what there is of it at home.
    fn outcome(&mut self, count: u32, interrupt: &Interrupt) -> Result<Outcome> {
        let mut shown = Stamp::now();
        loop {
            match self.leader.ended.recv_timeout(super::TICK) {
                Ok(outcome) => return Ok(outcome),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the leader has ended"),
            }
            if self.own.is_none() && Stamp::now().since(shown) >= SHOW_EVERY {
                shown = Stamp::now();
                say::line(in_figures(&self.leader.watched(), count));
            }
            if interrupt.asked() && !std::mem::replace(&mut self.told, true) {
                let why = format!("{} at the leader", super::BY_USER);
                self.leader.stop(&why);
            }
        }
    }
}

/// A shard that takes part in all runs that its leader gives it.
pub(super) struct Follower<'a> {
    own: Own<'a>,
    rendezvous: Rendezvous,
    base: PathBuf,
}

impl<'a> Follower<'a> {
    /// One that has the first of them. Its files come below `base`.
    pub(super) const fn new(own: Own<'a>, rendezvous: Rendezvous, base: PathBuf) -> Self {
        Self {
            own,
            rendezvous,
            base,
        }
    }

    /// Makes its part of all runs.
    ///
    /// # Errors
    /// The leader refuses it.
    pub(super) fn all(mut self, interrupt: &Interrupt) -> Result<ExitCode> {
        let mut kept = ReusedEngine::default();
        let mut all_good = true;
        loop {
            let mut taking = Taking {
                own: self.own,
                rendezvous: &mut self.rendezvous,
                base: &self.base,
            };
            let came = taking.one(interrupt, &mut kept);
            let followed = came.and_then(|good| {
                all_good &= good;
                self.rendezvous.next(interrupt)
            });
            match followed {
                Ok(true) => {}
                Ok(false) if all_good => return Ok(ExitCode::SUCCESS),
                Ok(false) => return Ok(ExitCode::FAILURE),
                Err(ended @ Ended::LeaderLost(_)) => {
                    say::error(format!(
                        "{}; what this shard has sent until then is in {}",
                        ended.in_words(),
                        self.base.display()
                    ));
                    return Ok(ExitCode::from(LEADER_LOST));
                }
                Err(ended) => bail!(ended.in_words()),
            }
        }
    }
}

/// A shard's part of one run of a series.
struct Taking<'a> {
    own: Own<'a>,
    rendezvous: &'a mut Rendezvous,
    base: &'a Path,
}

impl Taking<'_> {
    /// Makes it, and waits until it is at home. Whether it went well here.
    ///
    /// # Errors
    /// There is no leader any more, or it refuses this shard.
    fn one(&mut self, interrupt: &Interrupt, kept: &mut ReusedEngine) -> Result<bool, Ended> {
        // Nothing is sent home of a run that has no folder here.
        let mut folder = None;
        let settings = self.settings();
        let made = settings.and_then(|settings| {
            folder = Some(settings.artifact_dir.clone());
            let rendezvous = &mut *self.rendezvous;
            alone(|| profile::one(&settings, interrupt, Some(kept), Some(rendezvous)))
        });
        let (tally, trouble) = match &made {
            Ok(done) => (tally(&done.counts), None),
            Err(error) => (Tally::ZERO, Some(format!("{error:#}"))),
        };
        let stopped = self.rendezvous.ended().cloned();
        if let Some(ended @ (Ended::LeaderLost(_) | Ended::Refused(_))) = stopped {
            return Err(ended);
        }
        if let (Some(why), None) = (&trouble, &stopped) {
            say::error(why);
            self.rendezvous.stop(why, Scope::Run);
        }
        let shared = is_shared(self.base, &self.rendezvous.run.folder_mark);
        let done = Done {
            tally,
            trouble,
            shared: shared || folder.is_none(),
        };
        let ended = self.rendezvous.finish(done, &folder.unwrap_or_default());
        match ended {
            Some(ended @ (Ended::LeaderLost(_) | Ended::Refused(_))) => Err(ended),
            // The platform is told of a failure by the leader alone.
            Some(Ended::Stopped(_)) => Ok(true),
            None => Ok(made.is_ok_and(|done| done.success)),
        }
    }

    fn settings(&mut self) -> Result<Settings> {
        let run = &self.rendezvous.run;
        let place = run
            .series
            .clone()
            .context("a run of a series has a place")?;
        self.rendezvous.has(Common::Settings, self.own.asked(run));
        let mut config = self.own.config_of(run)?;
        self.own.bring_inputs(&mut config, self.rendezvous)?;
        let folder = below(self.base, &place.folder)?;
        config.output.artifact_dir = Some(Sourced::derived(folder));
        let mut settings = settings_of(&config, self.rendezvous)?;
        settings.part = serde_json::from_str(&place.part)?;
        Ok(settings)
    }
}

/// A folder of the leader's, below this shard's own. It never leads out of it.
fn below(base: &Path, folder: &str) -> Result<PathBuf> {
    let folder = Path::new(folder);
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_));
    match folder.components().all(inside) {
        true => Ok(base.join(folder)),
        false => Err(anyhow!(
            "the leader names the folder {}, which is not one below this shard's",
            folder.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_the_leaders_stays_below_the_shards_own() {
        let base = Path::new("out");
        let inside = below(base, "concurrency_4/profile_runs/run_0001").unwrap();
        assert_eq!(inside, base.join("concurrency_4/profile_runs/run_0001"));
        assert_eq!(below(base, "").unwrap(), base);
        for outside in ["/etc", "../x", "a/../../x", "./x"] {
            assert!(below(base, outside).is_err(), "{outside}");
        }
    }
}
