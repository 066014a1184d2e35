//! The leader's thread: all connections of all shards, and what the rendezvous says of them.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, Sender, unbounded};
use pinfire_artifacts::{
    LEADER, json_bytes,
    leader::{LEADER_SCHEMA, LastBeat, LeaderAccount, LostShard},
    replace,
};
use pinfire_base::{
    clock::{Stamp, WallAnchor},
    threads,
};
use pinfire_cluster::{
    Leader,
    leader::{ConnId, Event, Output, Pace, Rules, Stage},
    message::{Run, Scope, Tally},
};
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    fd::OwnedFd,
};

use super::{
    files::{Home, PIECE, Sending},
    pipe::{End, Pipe},
};
use crate::{run::cpus, settings, terminal::say};

/// How often the rendezvous is told the time.
const TICK: Duration = Duration::from_millis(50);
/// How long connections are waited for that are to be closed once all has been sent.
const CLOSING: usize = 40;

const LISTENER: u64 = u64::MAX;

/// How the run has ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// For the file.
    pub account: LeaderAccount,
    /// It was stopped because too many requests failed.
    pub gave_up: bool,
    /// Troubles with files that came home.
    pub unwritten: Vec<String>,
}

impl Outcome {
    /// Says which of so many shards are missing, and why.
    pub fn tell(&self, count: u32) {
        for missing in &self.account.lost {
            let due = missing.last_beat.map_or(0, |beat| beat.due);
            let host = missing.host.as_deref();
            let on = host.map_or_else(String::new, |host| format!(" ({host})"));
            say::warning(format_args!(
                "shard {} of {count}{on} is missing: {}; its last sign of life counted {due} requests",
                missing.index, missing.how
            ));
        }
    }

    /// Leaves what no file of a shard can say in the folder of the run, if there is such a thing.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, run: &Path) -> Result<()> {
        let path = run.join(LEADER);
        if self.account.lost.is_empty() && self.account.stopped.is_none() {
            // That of an earlier run. Where it is not, there is nothing to remove.
            let _ = std::fs::remove_file(&path);
            return Ok(());
        }
        Ok(replace(&path, &json_bytes(&self.account))?)
    }

    /// The missing shards.
    pub fn indices(&self) -> Vec<u32> {
        self.account.lost.iter().map(|lost| lost.index).collect()
    }
}

/// What is known of a run before it begins, and its wall time.
fn named(run: &Run) -> (LeaderAccount, WallAnchor) {
    let account = LeaderAccount {
        schema_version: LEADER_SCHEMA,
        tool_version: format!("pinfire {}", env!("CARGO_PKG_VERSION")),
        run_id: run.run_id.clone(),
        shards: run.shards,
        ..LeaderAccount::default()
    };
    let wall = WallAnchor::fixed(Stamp::from_nanos(run.wall_stamp), run.wall_unix);
    (account, wall)
}

/// How the whole goes on.
#[derive(Clone, Copy, Default, Debug)]
pub struct Whole {
    /// Another run may follow.
    pub goes_on: bool,
    pub joined: u32,
    pub tally: Tally,
}

/// Shows how the whole goes on, while the leader is there.
#[derive(Clone, Debug)]
pub struct Watched(Arc<Mutex<Whole>>);

impl Watched {
    /// As it is now.
    pub fn now(&self) -> Whole {
        *locked(&self.0)
    }
}

/// A piece of what came of a step at a shard.
pub struct Found {
    pub index: u32,
    pub step: u32,
    pub piece: Vec<u8>,
    /// There is no more of it.
    pub last: bool,
}

/// Another run of a series.
pub struct Following {
    pub run: Run,
    /// How it goes on.
    pub pace: Pace,
    /// Where its files come home to.
    pub folder: PathBuf,
    /// Where its inputs are.
    pub inputs: Vec<PathBuf>,
}

/// What is asked of the leader.
enum Command {
    Stop(String, Scope),
    Next(Box<Following>, Sender<bool>),
    End,
}

/// The leader while it runs.
pub struct LeaderThread {
    commands: Sender<Command>,
    whole: Arc<Mutex<Whole>>,
    /// What came of steps at the other shards, in pieces.
    pub found: Receiver<Found>,
    /// How each run has ended on which others may follow.
    pub ended: Receiver<Outcome>,
    pub address: SocketAddr,
    thread: JoinHandle<Outcome>,
}

impl LeaderThread {
    /// Starts it on `listener`, off the engine's CPUs.
    ///
    /// # Errors
    /// The system gives no thread or no descriptor.
    pub fn start(
        listener: TcpListener,
        rules: Rules,
        run: PathBuf,
        inputs: Vec<PathBuf>,
        rest: Vec<usize>,
    ) -> Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("no epoll for the leader")?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        let (commands, asked) = unbounded();
        let (outcomes, ended) = unbounded();
        let (finds, found) = unbounded();
        let whole = Arc::new(Mutex::new(Whole::default()));
        let shown = Arc::clone(&whole);
        let thread = threads::start("pinfire-leader", move || {
            cpus::stay_on(&rest);
            let names = rules.run.files.clone();
            let (named, wall) = named(&rules.run);
            Running {
                listener,
                epoll,
                wall,
                named,
                leader: Leader::new(rules, Stamp::now()),
                pipes: BTreeMap::new(),
                closing: BTreeMap::new(),
                next: 0,
                home: Home::new(run, names),
                inputs,
                feeding: BTreeMap::new(),
                unwritten: Vec::new(),
                over: false,
                asked,
                outcomes,
                finds,
                whole: shown,
            }
            .run()
        })?;
        Ok(Self {
            commands,
            whole,
            found,
            ended,
            address,
            thread,
        })
    }

    /// Ends the run for everybody, and all that would follow.
    pub fn stop(&self, why: &str) {
        self.tell(Command::Stop(why.to_owned(), Scope::Series));
    }

    /// Gives all shards another run. `false` if none can follow.
    pub fn next(&self, following: Following) -> bool {
        let (sender, told) = unbounded();
        self.tell(Command::Next(Box::new(following), sender));
        // A leader that has ended says nothing.
        told.recv().unwrap_or(false)
    }

    /// No other run follows: everybody may leave.
    pub fn end(&self) {
        self.tell(Command::End);
    }

    fn tell(&self, command: Command) {
        // A leader that has ended has nobody left to tell.
        let _ = self.commands.send(command);
    }

    /// What shows how the whole goes on.
    pub fn watched(&self) -> Watched {
        Watched(Arc::clone(&self.whole))
    }

    /// Whether everybody has left.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until everybody has left.
    ///
    /// # Errors
    /// The thread has crashed.
    pub fn finish(self) -> Result<Outcome> {
        let ended = self.thread.join();
        ended.map_err(|_| anyhow::anyhow!("the leader has crashed"))
    }
}

/// What another thread shows is whole even if that thread is gone.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Running {
    listener: TcpListener,
    epoll: OwnedFd,
    /// The wall time of the run.
    wall: WallAnchor,
    /// Which run it is.
    named: LeaderAccount,
    leader: Leader,
    pipes: BTreeMap<ConnId, Pipe>,
    /// Connections that are closed once all has been sent, with the ticks that are left to them.
    closing: BTreeMap<ConnId, usize>,
    next: ConnId,
    home: Home,
    /// Where the inputs of the run are.
    inputs: Vec<PathBuf>,
    /// Those that are on their way to shards.
    feeding: BTreeMap<u32, Sending>,
    unwritten: Vec<String>,
    over: bool,
    asked: Receiver<Command>,
    outcomes: Sender<Outcome>,
    finds: Sender<Found>,
    whole: Arc<Mutex<Whole>>,
}

impl Running {
    fn run(mut self) -> Outcome {
        let mut ready = Vec::with_capacity(256);
        let mut buffer = vec![0; 64 * 1024];
        let mut ticked = Stamp::now();
        while !self.over || !self.closing.is_empty() {
            ready.clear();
            let wait = Timespec {
                tv_sec: 0,
                tv_nsec: match self.feed() {
                    true => 0,
                    false => TICK.as_nanos() as _,
                },
            };
            // An interrupted wait is a short one.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&wait));
            for event in &ready {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    conn => self.moved(conn, event.flags, &mut buffer),
                }
                self.drain();
            }
            while let Ok(command) = self.asked.try_recv() {
                self.obey(command);
            }
            let now = Stamp::now();
            if now.since(ticked).nanos() >= TICK.as_nanos() as u64 {
                ticked = now;
                self.leader.tick(now);
                self.close_some();
                self.show();
            }
            self.drain();
        }
        self.outcome()
    }

    fn obey(&mut self, command: Command) {
        let now = Stamp::now();
        match command {
            Command::Stop(why, scope) => self.leader.stop(now, &why, scope),
            Command::End => self.leader.end(now),
            Command::Next(following, told) => {
                let Following {
                    run,
                    pace,
                    folder,
                    inputs,
                } = *following;
                let names = run.files.clone();
                let of_it = named(&run);
                let follows = self.leader.next(now, run, pace);
                if follows {
                    self.home = Home::new(folder, names);
                    self.inputs = inputs;
                    self.feeding.clear();
                    (self.named, self.wall) = of_it;
                }
                // Whoever has asked waits for it.
                let _ = told.send(follows);
            }
        }
        self.show();
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    let nonce = settings::random_bytes();
                    let (Ok(pipe), Ok(nonce)) = (Pipe::new(stream), nonce) else {
                        continue;
                    };
                    let conn = self.next;
                    self.next += 1;
                    let data = EventData::new_u64(conn);
                    if epoll::add(&self.epoll, &pipe.stream, data, EventFlags::IN).is_err() {
                        continue;
                    }
                    self.pipes.insert(conn, pipe);
                    let now = Stamp::now();
                    self.leader.accepted(now, conn, peer.to_string(), nonce);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    // Without descriptors the connection waits until there are some again.
                    say::debug(format_args!("the leader cannot take a connection: {error}"));
                    return;
                }
            }
        }
    }

    /// A connection can be read or written.
    fn moved(&mut self, conn: ConnId, flags: EventFlags, buffer: &mut [u8]) {
        let Some(pipe) = self.pipes.get_mut(&conn) else {
            return;
        };
        if flags.contains(EventFlags::OUT) && pipe.flush().is_err() {
            self.broken(conn, "its connection is broken");
            return;
        }
        let leader = &mut self.leader;
        let end = pipe.read(buffer, |bytes| leader.received(Stamp::now(), conn, bytes));
        match end {
            End::Open => self.watch(conn),
            End::Closed(how) => {
                // What it has said before counts first.
                self.drain();
                self.broken(conn, &how);
            }
        }
    }

    /// Waits for room only where something waits for it.
    fn watch(&self, conn: ConnId) {
        if let Some(pipe) = self.pipes.get(&conn) {
            let mut flags = EventFlags::IN;
            flags.set(EventFlags::OUT, pipe.is_full());
            // A descriptor that is watched already can be watched otherwise.
            let data = EventData::new_u64(conn);
            let _ = epoll::modify(&self.epoll, pipe.stream.as_fd(), data, flags);
        }
    }

    fn broken(&mut self, conn: ConnId, how: &str) {
        if self.closing.remove(&conn).is_some() {
            self.pipes.remove(&conn);
        } else if self.pipes.contains_key(&conn) {
            self.leader.closed(Stamp::now(), conn, how);
            self.drain();
            self.closing.remove(&conn);
            self.pipes.remove(&conn);
        }
    }

    /// Closes what has nothing more to say.
    fn close_some(&mut self) {
        let pipes = &mut self.pipes;
        self.closing.retain(|conn, left| {
            *left -= 1;
            let waits = pipes.get(conn).is_some_and(Pipe::is_full);
            let stays = waits && *left > 0;
            if !stays {
                pipes.remove(conn);
            }
            stays
        });
    }

    /// Does what the rendezvous wants done.
    fn drain(&mut self) {
        while let Some(output) = self.leader.poll() {
            match output {
                Output::Send(conn, bytes) => {
                    let sent = self.pipes.get_mut(&conn).map(|pipe| pipe.send(&bytes));
                    match sent {
                        Some(Err(error)) => {
                            self.broken(conn, &format!("its connection is broken ({error})"));
                        }
                        Some(Ok(())) => {
                            let full = self.pipes.get(&conn).is_some_and(Pipe::is_full);
                            if full {
                                self.watch(conn);
                            }
                        }
                        None => {}
                    }
                }
                Output::Close(conn) => {
                    self.closing.insert(conn, CLOSING);
                }
                Output::Say(line) => say::warning(line),
                Output::Event(event) => self.happened(event),
            }
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::AllJoined => say::debug("all shards have joined"),
            Event::Start { step, zero } => {
                let ahead = zero.since(Stamp::now()).as_millis_f64();
                say::debug(format_args!("step {step} begins in {ahead:.1} ms"));
            }
            Event::Stop { why } => say::warning(format_args!("all shards stop: {why}")),
            Event::Lost { .. } => {}
            Event::Found {
                index,
                step,
                piece,
                last,
            } => {
                let found = Found {
                    index,
                    step,
                    piece,
                    last,
                };
                // Nobody waits for it any more where a test has been stopped.
                let _ = self.finds.send(found);
            }
            Event::File { index, file, chunk } => {
                let taken = self.home.piece(index, file, &chunk);
                self.note(index, taken);
                self.leader.written(index, chunk.len());
            }
            Event::FileEnd {
                index,
                file,
                bytes,
                digest,
            } => {
                let ended = self.home.end(index, file, bytes, &digest);
                self.note(index, ended);
            }
            Event::Wants { index, input } => {
                let path = self.inputs.get(usize::from(input));
                let opened = path.map(|path| Sending::open(input, path));
                match opened {
                    Some(Ok(Some(sending))) => {
                        self.feeding.insert(index, sending);
                    }
                    Some(Err(error)) => self.leader.no_input(index, &error.to_string()),
                    _ => self.leader.no_input(index, "it is not there any more"),
                }
            }
            Event::RunOver => {
                self.show();
                let outcome = self.outcome();
                // A series that has been given up does not look at it.
                let _ = self.outcomes.send(outcome);
            }
            Event::Over => self.over = true,
        }
    }

    /// Sends each shard that waits for an input another piece of it, if there is room. Whether
    /// there is more to send at once.
    fn feed(&mut self) -> bool {
        let mut more = false;
        let waiting: Vec<u32> = self.feeding.keys().copied().collect();
        for index in waiting {
            match self.leader.room(index) {
                Some(room) if room < PIECE as u64 => continue,
                Some(_) => {}
                None => {
                    self.feeding.remove(&index);
                    continue;
                }
            }
            let Some(sending) = self.feeding.get_mut(&index) else {
                continue;
            };
            match sending.next() {
                Ok(Some(piece)) => {
                    more = true;
                    self.leader.input(index, piece);
                }
                Ok(None) => {
                    if let Some(sent) = self.feeding.remove(&index) {
                        let (bytes, digest) = sent.sum();
                        self.leader.input_end(index, bytes, digest);
                    }
                }
                Err(error) => {
                    self.feeding.remove(&index);
                    self.leader.no_input(index, &error.to_string());
                }
            }
        }
        self.drain();
        more
    }

    fn note(&mut self, index: u32, done: Result<()>) {
        if let Err(error) = done {
            let line = format!("shard {index}: {error:#}");
            if self.unwritten.len() < 100 && !self.unwritten.contains(&line) {
                say::warning(&line);
                self.unwritten.push(line);
            }
        }
    }

    fn show(&self) {
        let members = self.leader.members();
        *locked(&self.whole) = Whole {
            goes_on: self.leader.goes_on(),
            joined: u32::try_from(members.len()).unwrap_or(u32::MAX),
            tally: self.leader.whole(),
        };
    }

    fn outcome(&mut self) -> Outcome {
        let members = self.leader.members();
        let lost = self.leader.missing().into_iter().map(|index| {
            let member = members.get(&index);
            let lost = match member.map(|member| &member.stage) {
                Some(Stage::Lost(lost)) => Some(lost),
                _ => None,
            };
            LostShard {
                index,
                host: member.map(|member| member.host.clone()),
                unix_ns: lost.map(|lost| self.wall.unix_nanos(lost.at)),
                how: lost.map_or_else(|| "it did not join".to_owned(), |lost| lost.how.clone()),
                was_done: lost.is_some_and(|lost| lost.was_done),
                last_beat: member.map(|member| {
                    let tally = member.beat.tally;
                    LastBeat {
                        due: tally.due,
                        finished: tally.finished,
                        failed: tally.failed,
                        cancelled: tally.cancelled,
                    }
                }),
            }
        });
        let account = LeaderAccount {
            lost: lost.collect(),
            stopped: self.leader.stopped().map(str::to_owned),
            ..self.named.clone()
        };
        Outcome {
            account,
            gave_up: self.leader.gave_up(),
            unwritten: std::mem::take(&mut self.unwritten),
        }
    }
}
