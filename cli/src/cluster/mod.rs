//! A run that several processes make from one common instant on: who leads, who is there, when each
//! phase begins, and how everybody stops.

mod files;
mod headline;
mod leader;
mod pipe;
mod place;
mod run;
mod series;
mod shard;
mod together;

pub use run::{Part, follow, host, part_of, run, shard as take_part};
pub use series::{Came, Series};
pub use together::{Together, gather};

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use crossbeam_channel::RecvTimeoutError;
use pinfire_base::{
    clock::{Span, Stamp, WallAnchor},
    health::Counts,
};
use pinfire_cluster::{
    clock::Estimate,
    message::{Answers, Beat, Common, Done, Item, Run, Scope, Tally},
};
use pinfire_config::RunConfig;

use self::{
    files::Receiving,
    leader::Watched,
    shard::{News, ShardThread},
};
use crate::{run::signals::Interrupt, shards::hex};

/// How often something else is looked at while news are awaited.
const TICK: Duration = Duration::from_millis(20);

/// Looks at the leader's clock, one a second, that a run takes over from the one before.
const CLOCKS_KEPT: usize = 8;

/// Why everybody stops where a user says so.
const BY_USER: &str = "cancelled by the user (Ctrl-C)";

/// Exit code of a leader that has lost a shard.
pub const SHARD_LOST: u8 = 6;
/// Exit code of a shard that has lost its leader.
pub const LEADER_LOST: u8 = 7;

/// Why a shard's part ends before its time, where the reason is not its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Everybody stops.
    Stopped(String),
    /// This shard cannot take part.
    Refused(String),
    /// The leader is gone.
    LeaderLost(String),
}

impl Ended {
    /// As the report says it.
    pub fn in_words(&self) -> String {
        match self {
            Self::Stopped(why) => why.clone(),
            Self::Refused(why) => format!("the leader refuses this shard: {why}"),
            Self::LeaderLost(how) => format!("the leader was lost: {how}"),
        }
    }
}

/// A step that has been begun together.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    /// When, by this shard's clock.
    pub zero: Stamp,
    /// When this shard heard of it.
    pub heard: Stamp,
}

/// This process's part in such a run.
pub struct Rendezvous {
    thread: ShardThread,
    pub run: Run,
    /// How all shards are, where the leader is in this process.
    pub whole: Option<Watched>,
    /// How far the leader's wall clock is ahead of this shard's, in nanoseconds.
    pub wall_difference: Option<i64>,
    /// When the last step began.
    pub started: Option<Started>,
    ended: Option<Ended>,
    /// What was asked to stop from here.
    asked: Option<Scope>,
    /// The results of the run are at home.
    home: bool,
    may_leave: bool,
    /// Where what was known of the clock begins that counts for this run.
    clocks_from: usize,
}

impl Rendezvous {
    fn new(thread: ShardThread, run: Run) -> Self {
        Self {
            thread,
            run,
            whole: None,
            wall_difference: None,
            started: None,
            ended: None,
            asked: None,
            home: false,
            may_leave: false,
            clocks_from: 0,
        }
    }

    /// Waits for another run behind one that is at home; `false` if there is none.
    ///
    /// # Errors
    /// The leader is gone.
    pub fn next(&mut self, interrupt: &Interrupt) -> Result<bool, Ended> {
        while !self.may_leave {
            match self.thread.news.recv_timeout(TICK) {
                Ok(News::Run(run)) => {
                    let known = self.thread.clocks().len();
                    self.clocks_from = known.saturating_sub(CLOCKS_KEPT);
                    self.run = *run;
                    self.started = None;
                    self.wall_difference = None;
                    self.ended = None;
                    self.home = false;
                    if self.asked == Some(Scope::Run) {
                        self.asked = None;
                    }
                    return Ok(true);
                }
                Ok(News::LeaderLost(how)) => return Err(Ended::LeaderLost(how)),
                Ok(News::Refused(why)) => return Err(Ended::Refused(why)),
                Ok(news) => self.hear(news),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.gone(),
            }
            if interrupt.asked() {
                self.stop(BY_USER, Scope::Series);
            }
        }
        Ok(false)
    }

    /// Requests of all shards, where the leader is in this process.
    pub fn of_all(&self) -> Option<Counts> {
        let tally = self.whole.as_ref()?.now().tally;
        Some(Counts {
            due: tally.due,
            finished: tally.finished,
            failed: tally.failed,
            cancelled: tally.cancelled,
            dropped: tally.dropped,
            ..Counts::default()
        })
    }

    /// Names what this shard has of something that all must have alike.
    pub fn has(&self, common: Common, items: Vec<Item>) {
        self.thread.has(common, items);
    }

    /// Takes the files from the leader that the settings name and this machine has not. They come
    /// into `folder`, and the settings name them there.
    ///
    /// # Errors
    /// One does not come; the text names the setting and the file.
    pub fn bring_inputs(&mut self, config: &mut RunConfig, folder: &Path) -> Result<()> {
        let inputs = self.run.inputs.clone();
        for file in config.files_mut() {
            let Some(setting) = file.path.as_mut().filter(|path| !path.value.exists()) else {
                continue;
            };
            let mut known = inputs.iter().enumerate();
            let Some((place, input)) = known.find(|(_, input)| input.flag == file.flag) else {
                continue;
            };
            let named = || format!("{} {}", file.flag, setting.value.display());
            if let Some(why) = &input.stays {
                bail!(
                    "{} is not on this machine, and does not come from the leader: {why}",
                    named()
                );
            }
            // Another run of the series may have brought it.
            let own = folder.join(hex(&input.digest[..8]));
            let path = own.join(input_name(&input.name));
            if !path.exists() {
                let into = Receiving::new(path.clone(), input.bytes)?;
                let came = self.fetch(place as u16, into);
                came.with_context(|| format!("{} does not come from the leader", named()))?;
            }
            setting.value = path;
        }
        Ok(())
    }

    /// Waits for an input.
    fn fetch(&mut self, input: u16, into: Receiving) -> Result<()> {
        self.thread.fetch(input, into);
        loop {
            match self.thread.news.recv_timeout(TICK) {
                Ok(News::Fetched(came)) => return came.map_err(|why| anyhow!(why)),
                Ok(news) => self.hear(news),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.gone(),
            }
            if let Some(ended) = &self.ended {
                bail!(ended.in_words());
            }
        }
    }

    /// From this shard's clock to the leader's wall time, so that all shards' times are in one
    /// frame.
    ///
    /// # Errors
    /// The leader is gone before the clocks were compared.
    pub fn anchor(&mut self) -> Result<WallAnchor> {
        let patience = Stamp::now() + Span::from_millis(10_000);
        loop {
            // The best of them: it is as old as the process at most.
            let clocks = self.clocks();
            if let Some((_, clock)) = clocks.iter().min_by_key(|(_, clock)| clock.bound) {
                let stamp = clock.local(self.run.wall_stamp);
                let anchor = WallAnchor::fixed(stamp, self.run.wall_unix);
                let now = Stamp::now();
                let here = WallAnchor::take().unix_nanos(now);
                let difference = i128::from(anchor.unix_nanos(now)) - i128::from(here);
                self.wall_difference = i64::try_from(difference).ok();
                return Ok(anchor);
            }
            if let Some(ended) = self.ended() {
                return Err(anyhow!("{}", ended.in_words()));
            }
            if Stamp::now() >= patience {
                return Err(anyhow!("the leader does not answer"));
            }
            std::thread::sleep(TICK);
        }
    }

    /// Nanoseconds by which the leader's clock has fallen behind this one since the last step
    /// began, anew once a second.
    pub fn behind(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.thread.behind)
    }

    /// What was known of the leader's clock, once a second.
    pub fn clocks(&self) -> Vec<(Stamp, Estimate)> {
        let mut clocks = self.thread.clocks();
        clocks.drain(..self.clocks_from.min(clocks.len()));
        clocks
    }

    /// Waits until everybody is ready for the step: the instant at which it begins, unless the run
    /// ends first.
    pub fn begin(&mut self, step: u32, interrupt: &Interrupt) -> Result<Started, Ended> {
        let (started, _) = self.begin_with(step, String::new(), interrupt)?;
        Ok(started)
    }

    /// The same of a step of which a shard says what is to be done: this one, or another where
    /// `what` is empty. Gives that too.
    pub fn begin_with(
        &mut self,
        step: u32,
        what: String,
        interrupt: &Interrupt,
    ) -> Result<(Started, String), Ended> {
        self.thread.ready(step, what);
        loop {
            if let Some(ended) = &self.ended {
                return Err(ended.clone());
            }
            match self.thread.news.recv_timeout(TICK) {
                Ok(News::Start {
                    step: begun,
                    zero,
                    what,
                }) if begun == step => {
                    let heard = Stamp::now();
                    let started = Started { zero, heard };
                    self.started = Some(started);
                    self.beat(step, &Counts::default(), Answers::NONE);
                    return Ok((started, what));
                }
                Ok(news) => self.hear(news),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.gone(),
            }
            if interrupt.asked() {
                self.stop(BY_USER, Scope::Series);
            }
        }
    }

    /// Sends the leader's process what came of a step.
    pub fn found(&self, step: u32, what: Vec<u8>) {
        self.thread.found(step, what);
    }

    /// Tells how far this shard is.
    pub fn beat(&self, step: u32, counts: &Counts, answers: Answers) {
        self.thread.beat(Beat {
            step: Some(step),
            tally: tally(counts),
            answers,
            clock: None,
        });
    }

    /// Why this shard is to stop, if it is.
    pub fn ended(&mut self) -> Option<&Ended> {
        while self.ended.is_none()
            && let Ok(news) = self.thread.news.try_recv()
        {
            self.hear(news);
        }
        self.ended.as_ref()
    }

    /// Asks for the end of the run for all shards, or of all that would follow too.
    pub fn stop(&mut self, why: &str, scope: Scope) {
        if self.asked.is_none() || (self.asked, scope) == (Some(Scope::Run), Scope::Series) {
            self.asked = Some(scope);
            self.thread.stop(why, scope);
        }
    }

    /// Says that this shard's part is over, sends its files home if need be, and waits until it may
    /// leave.
    pub fn finish(&mut self, done: Done, folder: &Path) -> Option<Ended> {
        self.thread.done(done, PathBuf::from(folder));
        while !self.may_leave && !self.home {
            match self.thread.news.recv_timeout(TICK) {
                // It was not there to the end, whatever it had said before.
                Ok(News::LeaderLost(how)) => self.ended = Some(Ended::LeaderLost(how)),
                Ok(news) => self.hear(news),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.gone(),
            }
        }
        self.ended.clone()
    }

    fn hear(&mut self, news: News) {
        let ended = match news {
            News::Stop(why) => Ended::Stopped(why),
            News::LeaderLost(how) => Ended::LeaderLost(how),
            News::Refused(why) => Ended::Refused(why),
            News::Home => {
                self.home = true;
                return;
            }
            News::Bye => {
                self.may_leave = true;
                return;
            }
            News::Run(_) | News::Start { .. } | News::Fetched(_) => return,
        };
        self.ended.get_or_insert(ended);
    }

    /// The thread has ended, and has said all that it had to say.
    fn gone(&mut self) {
        self.may_leave = true;
        let how = "its connection has ended".to_owned();
        self.ended.get_or_insert(Ended::LeaderLost(how));
    }
}

/// The end of a path as the leader names it, which leads nowhere else here.
fn input_name(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or_default();
    match name {
        "" | "." | ".." => "input",
        name => name,
    }
}

/// Counts as the rendezvous has them.
pub const fn tally(counts: &Counts) -> Tally {
    Tally {
        due: counts.due,
        finished: counts.finished,
        failed: counts.failed,
        cancelled: counts.cancelled,
        dropped: counts.dropped,
    }
}
