//! Shards that go step by step, each of which the first of them decides: the waves of a
//! cancel-test.

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf, process::ExitCode};

use anyhow::{Result, anyhow, bail};
use crossbeam_channel::RecvTimeoutError;
use pinfire_base::{clock::Stamp, shard::Shard};
use pinfire_cluster::message::{Common, Deed, Done, Scope, Tally};
use pinfire_config::{RunConfig, numbers::ShardOf};

use super::{
    Ended, LEADER_LOST, Rendezvous,
    leader::LeaderThread,
    run::{Called, call, close, incomplete, settings_of},
};
use crate::{
    inputs::Inputs, run::PreparedRun, run::signals::Interrupt, settings::Settings, shards,
    terminal::say,
};

/// This process's part.
pub struct Together {
    rendezvous: Rendezvous,
    /// Whose requests it sends.
    pub shard: Shard,
    leader: Option<LeaderThread>,
    /// The step that comes next.
    next: u32,
    folder: PathBuf,
}

/// Calls the shards together, or joins the others. The settings are those of all, with the leader's
/// seed.
///
/// # Errors
/// What keeps this process from its part; the others are told.
pub fn gather(config: &RunConfig, own: ShardOf, deed: Deed) -> Result<(Settings, Together)> {
    let Called {
        leader,
        joined,
        run_folder,
        ..
    } = call(config, own, deed)?;
    let joined = joined.and_then(|rendezvous| {
        let settings = settings_of(config, &rendezvous)?;
        rendezvous.has(Common::Settings, shards::settings(&settings.config));
        Ok((settings, rendezvous))
    });
    match (joined, leader) {
        (Ok((settings, rendezvous)), leader) => {
            let shard = settings.shard();
            let together = Together {
                rendezvous,
                shard,
                leader,
                next: 0,
                folder: run_folder,
            };
            Ok((settings, together))
        }
        (Err(error), None) => Err(error),
        (Err(error), Some(leader)) => {
            leader.stop(&format!("shard 0: {error:#}"));
            leader.finish()?.tell(own.count);
            leave(&run_folder);
            Err(error)
        }
    }
}

impl Together {
    /// Whether this process decides the steps.
    pub const fn leads(&self) -> bool {
        self.leader.is_some()
    }

    /// How many others there are.
    fn others(&self) -> usize {
        self.shard.count() as usize - 1
    }

    /// Names the inputs, which all must have alike.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn has(&self, run: &PreparedRun<'_>) -> Result<()> {
        let tokenizer = run.workload.tokenizer_files.as_ref();
        let inputs = Inputs::of(&run.settings.config, tokenizer)?;
        self.rendezvous.has(Common::Files, inputs.files);
        self.rendezvous.has(Common::Tokenizer, inputs.tokenizer);
        Ok(())
    }

    /// Begins the next step when all are ready for it: when, and what is to be done. The leader
    /// says that, and the others nothing.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn begin(&mut self, what: String, interrupt: &Interrupt) -> Result<(Stamp, String), Ended> {
        let (started, what) = self.rendezvous.begin_with(self.next, what, interrupt)?;
        self.next += 1;
        Ok((started.zero, what))
    }

    /// An instant of this process's clock as the leader's shows it.
    pub fn at_the_leader(&self) -> impl Fn(Stamp) -> Stamp {
        let clock = self.rendezvous.clocks().last().map(|(_, clock)| *clock);
        move |at| clock.map_or(at, |clock| Stamp::from_nanos(clock.leader(at)))
    }

    /// Sends the leader what came of the step.
    pub fn found(&self, what: Vec<u8>) {
        self.rendezvous.found(self.next.saturating_sub(1), what);
    }

    /// What came of the step at the others.
    ///
    /// # Errors
    /// One of them is lost, or stops.
    pub fn gathered(&mut self, interrupt: &Interrupt) -> Result<Vec<Vec<u8>>> {
        let step = self.next.saturating_sub(1);
        let mut whole = Vec::new();
        let mut parts: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        while whole.len() < self.others() {
            let Some(leader) = &self.leader else { break };
            match leader.found.recv_timeout(super::TICK) {
                Ok(found) if found.step == step => {
                    let part = parts.entry(found.index).or_default();
                    part.extend(found.piece);
                    if found.last {
                        whole.push(std::mem::take(part));
                    }
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the leader has ended"),
            }
            if interrupt.asked() {
                self.rendezvous.stop(super::BY_USER, Scope::Series);
            }
            if let Some(ended) = self.rendezvous.ended() {
                bail!(ended.in_words());
            }
        }
        Ok(whole)
    }

    /// Leaves, and tells the others if something went wrong here. An exit code if a shard, or the
    /// leader, was lost.
    ///
    /// # Errors
    /// This shard was refused.
    pub fn finish(mut self, failed: Option<&anyhow::Error>) -> Result<Option<ExitCode>> {
        if let (Some(error), None) = (failed, self.rendezvous.ended()) {
            self.rendezvous.stop(&format!("{error:#}"), Scope::Series);
        }
        let done = Done {
            tally: Tally::ZERO,
            trouble: failed.map(|error| format!("{error:#}")),
            shared: true,
        };
        let ended = self.rendezvous.finish(done, Path::new(""));
        drop(self.rendezvous);
        if let Some(leader) = self.leader {
            let outcome = leader.finish()?;
            leave(&self.folder);
            let count = self.shard.count();
            outcome.tell(count);
            let missing = outcome.indices();
            return Ok((!missing.is_empty()).then(|| incomplete(&missing, count)));
        }
        match ended {
            Some(ended @ Ended::LeaderLost(_)) => {
                say::error(ended.in_words());
                Ok(Some(ExitCode::from(LEADER_LOST)))
            }
            Some(ended @ Ended::Refused(_)) => Err(anyhow!(ended.in_words())),
            Some(Ended::Stopped(_)) | None => Ok(None),
        }
    }
}

/// The leader is not there any more, nor is its folder if nothing else is in it.
fn leave(folder: &Path) {
    close(folder);
    // One that is not empty stays, and so does all above it.
    for made in folder.ancestors().take(2) {
        if fs::remove_dir(made).is_err() {
            return;
        }
    }
}
