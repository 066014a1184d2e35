//! A shard's thread: its connection to the leader, kept alive whatever the run does.

use std::{
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use pinfire_base::{
    clock::{Span, Stamp},
    threads,
};
use pinfire_cluster::{
    Shard,
    clock::Estimate,
    message::{Beat, Common, Done, Item, Run, Scope},
    shard::{Event, Output, Rules},
};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fd::OwnedFd,
};

use super::{
    files::{PIECE, Receiving, Sending},
    pipe::{End, Pipe},
};
use crate::run::cpus;

/// Between two attempts to reach the leader.
const AGAIN: Duration = Duration::from_millis(500);
/// How long one attempt may take.
const CONNECTING: Duration = Duration::from_secs(5);
/// How often what is known of the clock is noted.
const NOTE_EVERY: Span = Span::from_millis(1_000);

/// Waves follow the leader's clock in such steps, in nanoseconds: smaller ones would part requests
/// of one wave for nothing.
const WAVE_STEP: i64 = 250_000;

/// What is asked of the thread.
enum Command {
    Has(Common, Vec<Item>),
    Ready(u32, String),
    Found(u32, Vec<u8>),
    Stop(String, Scope),
    Done(Done, PathBuf),
    Fetch(u16, Receiving),
}

/// What both sides see.
#[derive(Default)]
struct Shared {
    beat: Option<Beat>,
    clocks: Vec<(Stamp, Estimate)>,
}

/// What has come of it.
#[derive(Clone, PartialEq, Debug)]
pub enum News {
    Run(Box<Run>),
    Start {
        step: u32,
        zero: Stamp,
        what: String,
    },
    Stop(String),
    Home,
    Bye,
    Refused(String),
    LeaderLost(String),
    /// The input that was asked for is here, or why it is not.
    Fetched(Result<(), String>),
}

/// The thread while it runs.
pub struct ShardThread {
    commands: Sender<Command>,
    bell: Arc<OwnedFd>,
    shared: Arc<Mutex<Shared>>,
    pub news: Receiver<News>,
    /// Nanoseconds by which the leader's clock has fallen behind this one since the last step
    /// began.
    pub behind: Arc<AtomicI64>,
    thread: Option<JoinHandle<()>>,
}

/// Connects to the leader, whose name is resolved anew each time: a cluster's names may come later
/// than its processes.
///
/// # Errors
/// There is none within `patience`; the text says what was tried last.
pub fn connect(leader: &dyn Fn() -> Result<String>, patience: Duration) -> Result<TcpStream> {
    let end = Stamp::now() + Span::from_nanos(patience.as_nanos() as u64);
    loop {
        let error = match leader().and_then(|name| attempt(&name)) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        if Stamp::now() >= end {
            bail!(
                "no leader within {} s (--join-timeout): {error:#}",
                patience.as_secs()
            );
        }
        sleep(AGAIN);
    }
}

fn attempt(name: &str) -> Result<TcpStream> {
    let found = name
        .to_socket_addrs()
        .with_context(|| format!("the leader's name {name} cannot be resolved"))?;
    let addresses: Vec<SocketAddr> = found.collect();
    let mut last = anyhow!("the leader's name {name} has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECTING) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = anyhow!("the leader at {name} ({address}): {error}"),
        }
    }
    Err(last)
}

impl ShardThread {
    /// Takes an open connection, off the engine's CPUs.
    ///
    /// # Errors
    /// The system gives no thread or no descriptor.
    pub fn start(stream: TcpStream, rules: Rules, rest: Vec<usize>) -> Result<Self> {
        let pipe = Pipe::new(stream).context("the connection to the leader")?;
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let bell = Arc::new(bell);
        let (commands, asked) = unbounded();
        let (sender, news) = unbounded();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let behind = Arc::new(AtomicI64::new(0));
        let running = Running {
            pipe,
            shard: Shard::new(rules, Stamp::now()),
            bell: Arc::clone(&bell),
            asked,
            news: sender,
            shared: Arc::clone(&shared),
            noted: None,
            behind: Arc::clone(&behind),
            offset: None,
            shipping: None,
            files: Vec::new(),
            fetching: None,
            over: false,
        };
        let thread = threads::start("pinfire-shard", move || {
            cpus::stay_on(&rest);
            running.run();
        })?;
        Ok(Self {
            commands,
            bell,
            shared,
            news,
            behind,
            thread: Some(thread),
        })
    }

    fn tell(&self, command: Command) {
        // A thread that has ended has said why in its news.
        let _ = self.commands.send(command);
        let _ = rustix::io::write(&*self.bell, &1_u64.to_ne_bytes());
    }

    /// Names what this shard has of something that all must have alike.
    pub fn has(&self, common: Common, items: Vec<Item>) {
        self.tell(Command::Has(common, items));
    }

    /// The step could begin; `what` is to be done in it, if this shard decides that.
    pub fn ready(&self, step: u32, what: String) {
        self.tell(Command::Ready(step, what));
    }

    /// Sends the leader's process what came of a step.
    pub fn found(&self, step: u32, what: Vec<u8>) {
        self.tell(Command::Found(step, what));
    }

    /// Asks for the end of the run for all shards, or of all that would follow too.
    pub fn stop(&self, why: &str, scope: Scope) {
        self.tell(Command::Stop(why.to_owned(), scope));
    }

    /// This shard's part is over; its files are in `folder`.
    pub fn done(&self, done: Done, folder: PathBuf) {
        self.tell(Command::Done(done, folder));
    }

    /// Asks for an input of the run.
    pub fn fetch(&self, input: u16, into: Receiving) {
        self.tell(Command::Fetch(input, into));
    }

    /// What the next signs of life say.
    pub fn beat(&self, beat: Beat) {
        locked(&self.shared).beat = Some(beat);
    }

    /// What was known of the leader's clock, once a second.
    pub fn clocks(&self) -> Vec<(Stamp, Estimate)> {
        locked(&self.shared).clocks.clone()
    }
}

impl Drop for ShardThread {
    fn drop(&mut self) {
        let (commands, _) = unbounded();
        // Without its commands the thread ends.
        drop(std::mem::replace(&mut self.commands, commands));
        let _ = rustix::io::write(&*self.bell, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A thread that has crashed has said so.
            let _ = thread.join();
        }
    }
}

/// The nearest whole step.
const fn steps(nanos: i64) -> i64 {
    let half = if nanos < 0 {
        -WAVE_STEP / 2
    } else {
        WAVE_STEP / 2
    };
    nanos.saturating_add(half) / WAVE_STEP * WAVE_STEP
}

fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Running {
    pipe: Pipe,
    shard: Shard,
    bell: Arc<OwnedFd>,
    asked: Receiver<Command>,
    news: Sender<News>,
    shared: Arc<Mutex<Shared>>,
    noted: Option<Stamp>,
    behind: Arc<AtomicI64>,
    /// What had to be added to this clock to have the leader's when the last step began.
    offset: Option<i64>,
    /// The folder whose files are sent home, and the place of the next of them.
    shipping: Option<(PathBuf, usize)>,
    files: Vec<String>,
    /// The input that is on its way here.
    fetching: Option<(u16, Receiving)>,
    over: bool,
}

impl Running {
    fn run(mut self) {
        let mut buffer = vec![0; 64 * 1024];
        let mut sending = None;
        while !self.over {
            self.wait();
            let shard = &mut self.shard;
            let end = self
                .pipe
                .read(&mut buffer, |bytes| shard.received(Stamp::now(), bytes));
            self.drain();
            if let End::Closed(how) = end {
                self.shard.closed(&how);
            }
            self.obey();
            if let Err(error) = self.ship(&mut sending) {
                self.shard
                    .closed(&format!("a file cannot be sent: {error}"));
            }
            let beat = locked(&self.shared).beat;
            if let Some(beat) = beat {
                self.shard.set_beat(beat);
            }
            let now = Stamp::now();
            self.shard.tick(now);
            self.drain();
            self.note(now);
            if self.pipe.flush().is_err() {
                self.shard.closed("its connection is broken");
                self.drain();
            }
        }
    }

    /// Waits for bytes, for commands, or for the next thing to do.
    fn wait(&self) {
        let left = self.shard.next().since(Stamp::now()).nanos();
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: left.min(50_000_000) as _,
        };
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, self.pipe.is_full());
        let mut watched = [
            PollFd::new(&self.pipe.stream, flags),
            PollFd::new(&self.bell, PollFlags::IN),
        ];
        // An interrupted wait is a short one.
        let _ = poll(&mut watched, Some(&wait));
        if watched[1].revents().contains(PollFlags::IN) {
            let _ = rustix::io::read(&*self.bell, &mut [0; 8]);
        }
    }

    fn obey(&mut self) {
        loop {
            match self.asked.try_recv() {
                Ok(Command::Has(common, items)) => self.shard.has(common, items),
                Ok(Command::Ready(step, what)) => self.shard.ready(step, what),
                Ok(Command::Found(step, found)) => {
                    let mut rest = found.chunks(PIECE).peekable();
                    while let Some(piece) = rest.next() {
                        let last = rest.peek().is_none();
                        self.shard.found(step, piece.to_vec(), last);
                    }
                }
                Ok(Command::Stop(why, scope)) => self.shard.stop(&why, scope),
                Ok(Command::Done(done, folder)) => {
                    self.shipping = (!done.shared).then_some((folder, 0));
                    self.shard.done(done);
                }
                Ok(Command::Fetch(input, into)) => {
                    self.fetching = Some((input, into));
                    self.shard.wants(input);
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.over = true;
                    return;
                }
            }
        }
    }

    /// Sends as much of the files as the leader takes.
    fn ship(&mut self, sending: &mut Option<Sending>) -> std::io::Result<()> {
        while self.shard.credit() >= PIECE as u64 {
            let Some((folder, next)) = &mut self.shipping else {
                return Ok(());
            };
            match sending {
                Some(file) => match file.next()? {
                    Some(piece) => self.shard.file(file.file, piece),
                    None => {
                        if let Some(file) = sending.take() {
                            let number = file.file;
                            let (bytes, digest) = file.sum();
                            self.shard.file_end(number, bytes, digest);
                        }
                    }
                },
                None => match self.files.get(*next) {
                    Some(name) => {
                        *sending = Sending::open(*next as u16, &folder.join(name))?;
                        *next += 1;
                    }
                    None => {
                        self.shard.shipped();
                        self.shipping = None;
                    }
                },
            }
        }
        Ok(())
    }

    fn drain(&mut self) {
        while let Some(output) = self.shard.poll() {
            let news = match output {
                Output::Send(bytes) => {
                    if let Err(error) = self.pipe.send(&bytes) {
                        self.shard
                            .closed(&format!("its connection is broken ({error})"));
                    }
                    continue;
                }
                Output::Event(event) => event,
            };
            let news = match news {
                Event::Run(run) => {
                    self.files.clone_from(&run.files);
                    locked(&self.shared).beat = None;
                    News::Run(run)
                }
                Event::Input { input, chunk } => {
                    self.shard.took(chunk.len());
                    match self.fetched(input, |into| into.take(&chunk)) {
                        Err(why) => {
                            self.fetching = None;
                            News::Fetched(Err(why))
                        }
                        Ok(()) => continue,
                    }
                }
                Event::InputEnd {
                    input,
                    bytes,
                    digest,
                } => match self.fetching.take_if(|(of, _)| *of == input) {
                    Some((_, into)) => {
                        let ended = into.end(bytes, &digest);
                        News::Fetched(ended.map_err(|error| format!("{error:#}")))
                    }
                    None => continue,
                },
                Event::NoInput { input, why } => {
                    match self.fetching.take_if(|(of, _)| *of == input) {
                        Some(_) => News::Fetched(Err(why)),
                        None => continue,
                    }
                }
                Event::Start {
                    step,
                    zero,
                    what,
                    clock,
                } => {
                    self.offset = Some(clock.offset);
                    self.behind.store(0, Ordering::Relaxed);
                    News::Start { step, zero, what }
                }
                Event::Stop { why } => News::Stop(why),
                Event::Home => News::Home,
                Event::Bye => News::Bye,
                Event::Refused { why } => News::Refused(why),
                Event::LeaderLost { how } => News::LeaderLost(how),
            };
            self.over |= matches!(news, News::Bye | News::Refused(_) | News::LeaderLost(_));
            // Whoever does not wait for news any more does not need them.
            let _ = self.news.send(news);
        }
    }

    /// Does something to the input that is on its way, if it is this one.
    fn fetched(
        &mut self,
        input: u16,
        deed: impl FnOnce(&mut Receiving) -> Result<()>,
    ) -> Result<(), String> {
        match &mut self.fetching {
            Some((of, into)) if *of == input => deed(into).map_err(|error| format!("{error:#}")),
            // What was given up before comes to its end all the same.
            _ => Ok(()),
        }
    }

    /// Keeps what is known of the clock, for the file.
    fn note(&mut self, now: Stamp) {
        let due = self.noted.is_none_or(|at| now.since(at) >= NOTE_EVERY);
        if let Some(estimate) = self.shard.clock(now).filter(|_| due) {
            self.noted = Some(now);
            if let Some(begun) = self.offset {
                let behind = steps(begun.saturating_sub(estimate.offset));
                self.behind.store(behind, Ordering::Relaxed);
            }
            locked(&self.shared).clocks.push((now, estimate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_follow_the_leader_in_steps() {
        for (nanos, step) in [
            (0, 0),
            (124_999, 0),
            (125_000, 250_000),
            (-124_999, 0),
            (-130_000, -250_000),
            (1_100_000, 1_000_000),
            (i64::MAX, i64::MAX / WAVE_STEP * WAVE_STEP),
        ] {
            assert_eq!(steps(nanos), step, "{nanos}");
        }
    }
}
