//! The leader: who takes part, when each step begins, who was lost, when everybody may leave.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pinfire_base::clock::{Span, Stamp};

use crate::{
    greeting::{self, GREETING_BYTES, Greeting, MAGIC, Nonce, PROTOCOL, Token},
    message::{
        Answers, Beat, Common, Deed, Digest, Done, FromLeader, FromShard, Item, Run, Scope, Tally,
    },
    wire::{FROM_SHARD_BYTES, Inbox, frame},
};

/// A connection that has not proved itself by then is closed.
const GREETING_PATIENCE: Span = Span::from_millis(5_000);

/// Settings that are named in a refusal.
const PARTS_NAMED: usize = 5;

/// Connections beyond the shards that may be about to prove themselves; the oldest goes first.
const STRANGERS: usize = 256;

/// Refused strangers that are named. All are counted.
const STRANGERS_NAMED: u64 = 32;

/// How often it is said who is still awaited.
const REMINDER: Span = Span::from_millis(10_000);

/// From the command to begin a step to its zero, unless the step must follow sooner: every shard
/// has confirmed it by then, on a busy machine and over a long way too.
pub const LEAD: Span = Span::from_millis(1_000);

/// Shards that send their files at the same time.
const SHIPPING: usize = 16;

/// Bytes of files that a shard may have under way.
pub const CREDIT: u32 = 1024 * 1024;

/// Time between two ticks that shows that the leader itself was stopped, so that the silence of
/// others says nothing.
const STALLED: Span = Span::from_millis(1_000);

/// A connection, by a number that is never used again.
pub type ConnId = u64;

/// What a lost shard means for the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnLoss {
    /// The run ends.
    Stop,
    /// The others go on; the run is incomplete all the same.
    Continue,
}

/// What a leader is told before it begins.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Version of the program, which all must have.
    pub version: String,
    /// The secret that all share.
    pub token: Token,
    /// What every shard is given first.
    pub run: Run,
    /// How that goes on.
    pub pace: Pace,
    /// How long the leader waits for all shards to join.
    pub join_timeout: Span,
    /// A shard that is silent for so long is lost.
    pub shard_timeout: Span,
    /// What that means for the others.
    pub on_loss: OnLoss,
}

/// How a run goes on.
#[derive(Clone, Default, Debug)]
pub struct Pace {
    /// From the command to begin a step to its zero, for each step of the run; [`LEAD`] where
    /// nothing is said. Shards that have not confirmed a step in a shorter time may be late.
    pub leads: Vec<Span>,
    /// When too many requests of the whole have failed for it to go on.
    pub threshold: Option<Threshold>,
}

/// How many requests may fail.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Threshold {
    /// Of those that have ended, this share.
    pub share: f64,
    /// Nothing is judged before so many have ended.
    pub from: u64,
}

/// What the leader wants done.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Send these bytes.
    Send(ConnId, Vec<u8>),
    /// Close the connection once everything has been sent.
    Close(ConnId),
    /// A line for the person who watches.
    Say(String),
    /// Something has happened.
    Event(Event),
}

/// What has happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// All shards are there.
    AllJoined,
    /// A step begins at this instant.
    Start {
        /// The step.
        step: u32,
        /// When, by the leader's clock.
        zero: Stamp,
    },
    /// The run is stopped.
    Stop {
        /// Why, in words.
        why: String,
    },
    /// A shard is gone.
    Lost {
        /// Which.
        index: u32,
    },
    /// A piece of what came of a step at a shard.
    Found {
        /// The shard.
        index: u32,
        /// The step.
        step: u32,
        /// The piece.
        piece: Vec<u8>,
        /// There is no more of it.
        last: bool,
    },
    /// A piece of a shard's file. Say [`Leader::written`] when it has been dealt with.
    File {
        /// The shard.
        index: u32,
        /// Which file, by its place in [`Run::files`].
        file: u16,
        /// The piece, compressed.
        chunk: Vec<u8>,
    },
    /// A file is complete.
    FileEnd {
        /// The shard.
        index: u32,
        /// Which file, by its place in [`Run::files`].
        file: u16,
        /// Its length before compression.
        bytes: u64,
        /// Its digest before compression.
        digest: Digest,
    },
    /// The run is over, and what there is of it is at home: say [`Leader::next`] or
    /// [`Leader::end`]. Only of a run with a [`Run::series`].
    RunOver,
    /// A shard has to have this input: send it by [`Leader::input`].
    Wants {
        /// The shard.
        index: u32,
        /// Which, by its place in [`Run::inputs`].
        input: u16,
    },
    /// Every shard has left, or was lost, or never came.
    Over,
}

/// A connection that has not proved itself.
#[derive(Debug)]
struct Stranger {
    peer: String,
    nonce: Nonce,
    inbox: Inbox,
    since: Stamp,
}

/// How far a shard has come.
#[derive(Clone, PartialEq, Debug)]
pub enum Stage {
    /// It prepares itself, or runs the step that has begun last.
    Working,
    /// It could begin this step.
    Ready(u32),
    /// It will begin this step.
    Armed(u32),
    /// Its part is over. What is left are its files.
    Done(Done),
    /// Its files are at home, and it waits for another run.
    Home,
    /// It has everything behind it.
    Left,
    /// It is gone.
    Lost(Lost),
}

/// A shard that is gone.
#[derive(Clone, PartialEq, Debug)]
pub struct Lost {
    /// When, by the leader's clock.
    pub at: Stamp,
    /// How that was noticed, in words.
    pub how: String,
    /// Its part of the run was over; only its files were under way.
    pub was_done: bool,
}

/// A shard that has joined.
#[derive(Debug)]
pub struct Member {
    /// Name of its host.
    pub host: String,
    /// How far it has come.
    pub stage: Stage,
    /// Its latest sign of life.
    pub beat: Beat,
    conn: ConnId,
    incarnation: u64,
    inbox: Inbox,
    heard: Stamp,
    /// What it has named of what all must have alike.
    has: BTreeSet<Common>,
    /// It may send its files.
    ships: bool,
    /// It speaks of the run that was given last, no longer of one before.
    taken: bool,
    /// The input that it waits for.
    wants: Option<Wants>,
}

/// An input on its way to a shard, or about to be.
#[derive(Clone, Copy, Debug)]
struct Wants {
    input: u16,
    /// Bytes of it that may be sent; `None` while others have theirs first.
    room: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Course {
    /// Not all have joined.
    Gathering { until: Stamp },
    /// All have. The next step to begin, and the zero of the one that has been announced.
    Running { next: u32, zero: Option<Stamp> },
    /// Everybody was told to stop.
    Stopping,
    /// The run is over, and another one may follow.
    Resting,
}

/// The leader of a run.
#[derive(Debug)]
pub struct Leader {
    rules: Rules,
    strangers: BTreeMap<ConnId, Stranger>,
    members: BTreeMap<u32, Member>,
    by_conn: BTreeMap<ConnId, u32>,
    course: Course,
    /// What all must have alike. What the leader does not know is taken from the first shard that
    /// names it.
    common: BTreeMap<Common, Vec<Item>>,
    /// Why the run was stopped.
    why: Option<String>,
    /// It was stopped because too many requests failed.
    gave_up: bool,
    /// Nothing is to follow on the run.
    stopped_for_good: bool,
    /// Nothing follows: shards may leave.
    last: bool,
    /// What is to be done in the next step, if a shard has decided that.
    what: String,
    refused: u64,
    reminded: Stamp,
    ticked: Stamp,
    over: bool,
    /// Something has been heard since the last look that may let the run go on.
    news: bool,
    outputs: VecDeque<Output>,
}

impl Leader {
    /// A leader that waits for its shards from `now` on.
    pub fn new(rules: Rules, now: Stamp) -> Self {
        let mut leader = Self {
            course: Course::Gathering {
                until: now + rules.join_timeout,
            },
            common: BTreeMap::new(),
            rules,
            strangers: BTreeMap::new(),
            members: BTreeMap::new(),
            by_conn: BTreeMap::new(),
            why: None,
            gave_up: false,
            stopped_for_good: false,
            last: false,
            what: String::new(),
            refused: 0,
            reminded: now,
            ticked: now,
            over: false,
            news: false,
            outputs: VecDeque::new(),
        };
        leader.expect_the_same();
        leader
    }

    /// What the run says that all must have alike.
    fn expect_the_same(&mut self) {
        self.common = self.rules.run.common.iter().cloned().collect();
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The shards that have joined.
    pub const fn members(&self) -> &BTreeMap<u32, Member> {
        &self.members
    }

    /// Connections that were refused, or gave up.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Why the run was stopped before its time, if it was.
    pub fn stopped(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Whether it was stopped because too many requests failed.
    pub const fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// Shards that were lost, or never came.
    pub fn missing(&self) -> Vec<u32> {
        let there = |index: &u32| {
            let member = self.members.get(index);
            member.is_some_and(|member| !matches!(member.stage, Stage::Lost(_)))
        };
        (0..self.rules.run.shards)
            .filter(|index| !there(index))
            .collect()
    }

    /// Requests of all shards, as their latest signs of life have them.
    pub fn whole(&self) -> Tally {
        let mut whole = Tally::default();
        for member in self.members.values() {
            match &member.stage {
                Stage::Done(done) => whole.add(&done.tally),
                _ => whole.add(&member.beat.tally),
            }
        }
        whole
    }

    /// A connection has come in. `nonce` is drawn for it and for it alone.
    pub fn accepted(&mut self, now: Stamp, conn: ConnId, peer: String, nonce: Nonce) {
        let room = STRANGERS + self.rules.run.shards as usize;
        if self.strangers.len() >= room
            && let Some((oldest, stranger)) = self.strangers.pop_first()
        {
            self.turn_away(oldest, &stranger.peer, "too many connections at once", None);
        }
        let inbox = Inbox::new(FROM_SHARD_BYTES);
        let since = now;
        let stranger = Stranger {
            peer,
            nonce,
            inbox,
            since,
        };
        self.strangers.insert(conn, stranger);
        self.outputs
            .push_back(Output::Send(conn, greeting::challenge(&nonce)));
    }

    /// Bytes have come over a connection.
    pub fn received(&mut self, now: Stamp, conn: ConnId, bytes: &[u8]) {
        if let Some(stranger) = self.strangers.get_mut(&conn) {
            stranger.inbox.push(bytes);
            self.greeted(now, conn);
        } else if let Some(index) = self.by_conn.get(&conn).copied()
            && let Some(member) = self.members.get_mut(&index)
        {
            member.heard = now;
            member.inbox.push(bytes);
            self.read(now, conn, index);
        }
        self.advance(now);
    }

    /// A connection was closed by the other side, or is broken.
    pub fn closed(&mut self, now: Stamp, conn: ConnId, how: &str) {
        if let Some(stranger) = self.strangers.remove(&conn) {
            self.turn_away(conn, &stranger.peer, "it closed the connection", None);
        } else if let Some(index) = self.by_conn.get(&conn).copied() {
            self.lose(now, index, how);
        }
        self.advance(now);
    }

    /// Time has passed. To be called after what has arrived was read, several times a second.
    pub fn tick(&mut self, now: Stamp) {
        self.excuse_silence(now);
        let late: Vec<ConnId> = self
            .strangers
            .iter()
            .filter(|(_, stranger)| now.since(stranger.since) >= GREETING_PATIENCE)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in late {
            if let Some(stranger) = self.strangers.remove(&conn) {
                self.turn_away(
                    conn,
                    &stranger.peer,
                    "it did not say who it is within 5 s",
                    None,
                );
            }
        }
        let timeout = self.rules.shard_timeout;
        let silent: Vec<u32> = self
            .members
            .iter()
            .filter(|(_, member)| member.is_there() && now.since(member.heard) >= timeout)
            .map(|(index, _)| *index)
            .collect();
        for index in silent {
            let how = format!("nothing was heard of it for {:.1} s", timeout.as_secs_f64());
            self.lose(now, index, &how);
        }
        self.watch_the_course(now);
        self.watch_the_answers();
        self.advance(now);
    }

    /// Ends the run for everybody, or all that would follow too.
    pub fn stop(&mut self, now: Stamp, why: &str, scope: Scope) {
        self.stop_all(why, scope);
        self.advance(now);
    }

    /// Gives all shards another run, once the one before is over. `false` if none can follow: a
    /// shard is missing, or everything was stopped.
    pub fn next(&mut self, now: Stamp, run: Run, pace: Pace) -> bool {
        if self.course != Course::Resting || !self.goes_on() {
            return false;
        }
        self.rules.run = run;
        self.what.clear();
        self.rules.pace = pace;
        self.expect_the_same();
        self.why = None;
        self.gave_up = false;
        for member in self.members.values_mut() {
            member.stage = Stage::Working;
            member.beat = Beat::NONE;
            member.has.clear();
            member.wants = None;
            member.taken = false;
        }
        self.course = Course::Running {
            next: 0,
            zero: None,
        };
        self.reminded = now;
        let run = FromLeader::Run(Box::new(self.rules.run.clone()));
        self.tell_all(&run);
        true
    }

    /// No other run follows: everybody whose results are at home may leave.
    pub fn end(&mut self, now: Stamp) {
        self.last = true;
        for index in self.those(|stage| *stage == Stage::Home) {
            self.dismiss(index);
        }
        self.news = true;
        self.advance(now);
    }

    /// Whether another run can follow: nobody is missing, and not everything was stopped.
    pub fn goes_on(&self) -> bool {
        !self.stopped_for_good && !self.last && self.missing().is_empty()
    }

    /// Whether shards wait for another run when this one is over.
    const fn has_more(&self) -> bool {
        self.rules.run.series.is_some() && !self.last
    }

    /// A piece of a shard's file has been dealt with: it may send as many bytes more.
    pub fn written(&mut self, index: u32, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.tell(index, &FromLeader::Credit { bytes });
    }

    /// Bytes that may be sent to a shard now of the input that it waits for; `None` if it waits
    /// for none, or is not there.
    pub fn room(&self, index: u32) -> Option<u64> {
        let member = self.members.get(&index)?;
        member.wants.filter(|_| member.is_there())?.room
    }

    /// Sends a piece of the input that the shard waits for, no longer than there is room.
    pub fn input(&mut self, index: u32, chunk: Vec<u8>) {
        let wants = self.members.get_mut(&index);
        if let Some(wants) = wants.and_then(|member| member.wants.as_mut()) {
            let input = wants.input;
            wants.room = wants
                .room
                .map(|room| room.saturating_sub(chunk.len() as u64));
            self.tell(index, &FromLeader::Input { input, chunk });
        }
    }

    /// The input that the shard waits for is complete.
    pub fn input_end(&mut self, index: u32, bytes: u64, digest: Digest) {
        if let Some(input) = self.fed(index) {
            let end = FromLeader::InputEnd {
                input,
                bytes,
                digest,
            };
            self.tell(index, &end);
        }
    }

    /// The input that the shard waits for does not come.
    pub fn no_input(&mut self, index: u32, why: &str) {
        if let Some(input) = self.fed(index) {
            let why = why.to_owned();
            self.tell(index, &FromLeader::NoInput { input, why });
        }
    }

    /// The shard waits for no input any more.
    fn fed(&mut self, index: u32) -> Option<u16> {
        let wants = self.members.get_mut(&index)?.wants.take();
        self.feed();
        Some(wants?.input)
    }

    /// Lets shards have the inputs that they wait for, a few at a time.
    fn feed(&mut self) {
        let there = || self.members.iter().filter(|(_, member)| member.is_there());
        let waits = |member: &Member| member.wants.is_some_and(|wants| wants.room.is_none());
        let fed = there().filter(|(_, member)| member.wants.is_some() && !waits(member));
        let free = SHIPPING.saturating_sub(fed.count());
        let next = there().filter(|(_, member)| waits(member)).take(free);
        let next: Vec<u32> = next.map(|(index, _)| *index).collect();
        for index in next {
            let member = self.members.get_mut(&index);
            if let Some(wants) = member.and_then(|member| member.wants.as_mut()) {
                wants.room = Some(CREDIT.into());
                let input = wants.input;
                let event = Event::Wants { index, input };
                self.outputs.push_back(Output::Event(event));
            }
        }
    }

    /// A time in which nobody was at work here is no silence of others.
    fn excuse_silence(&mut self, now: Stamp) {
        let away = now.since(self.ticked);
        if away >= STALLED {
            for member in self.members.values_mut() {
                member.heard = member.heard + away;
            }
        }
        self.ticked = now;
    }

    /// Ends the run if too many requests of all shards together have failed.
    fn watch_the_answers(&mut self) {
        let Some(Threshold { share, from }) = self.rules.pace.threshold else {
            return;
        };
        let mut all = Answers::NONE;
        for member in self.members.values() {
            all.ended = all.ended.saturating_add(member.beat.answers.ended);
            all.failed = all.failed.saturating_add(member.beat.answers.failed);
        }
        let over = all.failed as f64 > share * all.ended as f64;
        let running = matches!(self.course, Course::Running { .. });
        if over && all.ended >= from && running {
            self.gave_up = true;
            let why = format!(
                "{} of {} requests of all shards failed, more than --failed-request-threshold allows",
                all.failed, all.ended
            );
            self.stop_all(&why, Scope::Run);
        }
    }

    /// What is not done by its time.
    fn watch_the_course(&mut self, now: Stamp) {
        match self.course {
            Course::Gathering { until } if now >= until => {
                let missing = in_words(&self.missing());
                let why = format!(
                    "after {:.0} s (--join-timeout) {missing} of {} had not joined",
                    self.rules.join_timeout.as_secs_f64(),
                    self.rules.run.shards
                );
                self.stop_all(&why, Scope::Series);
            }
            Course::Running {
                next,
                zero: Some(zero),
            } if now >= zero => {
                let step = next - 1;
                let late = self.those(|stage| *stage == Stage::Ready(step));
                if !late.is_empty() {
                    // Where a phase follows on another there is no time for an answer before.
                    if self.lead(step) >= LEAD {
                        let late = in_words(&late);
                        let why = format!("{late} did not confirm the start in time");
                        self.stop_all(&why, Scope::Run);
                    }
                    return;
                }
                for member in self.members.values_mut() {
                    if member.stage == Stage::Armed(step) {
                        member.stage = Stage::Working;
                    }
                }
                self.course = Course::Running { next, zero: None };
                self.news = true;
            }
            _ => self.remind(now),
        }
    }

    /// Says who is awaited, now and then.
    fn remind(&mut self, now: Stamp) {
        if now.since(self.reminded) < REMINDER {
            return;
        }
        self.reminded = now;
        let awaited = match self.course {
            Course::Gathering { .. } => self.missing(),
            Course::Running { next, zero: None } => {
                let ready = self.those(|stage| *stage == Stage::Ready(next));
                if ready.is_empty() {
                    return;
                }
                let mut working = self.those(|stage| *stage == Stage::Working);
                // The one that decides the steps of a test takes its time between them.
                let decides = self.rules.run.deed == Deed::CancelTest;
                working.retain(|index| !decides || *index > 0);
                working
            }
            _ => return,
        };
        if !awaited.is_empty() {
            let line = format!("waiting for {}", in_words(&awaited));
            self.outputs.push_back(Output::Say(line));
        }
    }

    fn those(&self, wanted: impl Fn(&Stage) -> bool) -> Vec<u32> {
        let members = self.members.iter();
        members
            .filter(|(_, member)| wanted(&member.stage))
            .map(|(index, _)| *index)
            .collect()
    }

    /// A stranger has sent something: who is it?
    fn greeted(&mut self, now: Stamp, conn: ConnId) {
        let Some(stranger) = self.strangers.get_mut(&conn) else {
            return;
        };
        let begun = stranger.inbox.rest();
        let magic = begun.len().min(MAGIC.len());
        if begun[..magic] != MAGIC[..magic] {
            self.refuse(conn, "it does not speak pinfire's protocol", None);
            return;
        }
        let Some(bytes) = stranger.inbox.take::<GREETING_BYTES>() else {
            return;
        };
        match Greeting::checked(&bytes, &self.rules.token, &stranger.nonce) {
            None => self.refuse(conn, "its token is another one (PINFIRE_JOIN_TOKEN)", None),
            Some(greeting) => match self.objection(&greeting) {
                Some(why) => self.refuse(conn, &why, Some(&greeting)),
                None => self.join(now, conn, greeting),
            },
        }
    }

    /// Why a shard cannot take part.
    fn objection(&self, greeting: &Greeting) -> Option<String> {
        let run = &self.rules.run;
        if greeting.version != self.rules.version {
            return Some(format!(
                "it is pinfire {}, the leader is {}",
                greeting.version, self.rules.version
            ));
        }
        if greeting.protocol != PROTOCOL {
            return Some(format!(
                "it speaks version {} of the protocol, the leader {PROTOCOL}",
                greeting.protocol
            ));
        }
        if greeting.shards != 0 && greeting.shards != run.shards {
            return Some(format!(
                "it takes part in a run of {} shards, this one has {}",
                greeting.shards, run.shards
            ));
        }
        if greeting.index >= run.shards {
            return Some(format!(
                "this run has {} shards, counted from 0",
                run.shards
            ));
        }
        if let Some(member) = self.members.get(&greeting.index) {
            let which = match member.incarnation == greeting.incarnation {
                true => "the same process has joined already",
                false => "another process has joined as this shard",
            };
            return Some(format!(
                "{which} (from {}); what a shard has sent is never sent again",
                member.host
            ));
        }
        if let Some(why) = &self.why {
            return Some(format!("the run was stopped: {why}"));
        }
        None
    }

    fn join(&mut self, now: Stamp, conn: ConnId, greeting: Greeting) {
        let Some(stranger) = self.strangers.remove(&conn) else {
            return;
        };
        let proof = self
            .rules
            .token
            .leader_proof(&stranger.nonce, &greeting.nonce);
        self.outputs.push_back(Output::Send(conn, proof.to_vec()));
        let member = Member {
            host: greeting.host,
            stage: Stage::Working,
            beat: Beat::default(),
            conn,
            incarnation: greeting.incarnation,
            inbox: stranger.inbox,
            heard: now,
            has: BTreeSet::new(),
            ships: false,
            taken: false,
            wants: None,
        };
        self.members.insert(greeting.index, member);
        self.by_conn.insert(conn, greeting.index);
        let run = FromLeader::Run(Box::new(self.rules.run.clone()));
        self.tell(greeting.index, &run);
        if self.members.len() == self.rules.run.shards as usize {
            self.course = Course::Running {
                next: 0,
                zero: None,
            };
            self.outputs.push_back(Output::Event(Event::AllJoined));
        }
        // It may have sent more than its greeting at once.
        self.read(now, conn, greeting.index);
    }

    /// Tells a stranger why it is refused, and the person who watches too.
    fn refuse(&mut self, conn: ConnId, why: &str, greeting: Option<&Greeting>) {
        let Some(stranger) = self.strangers.remove(&conn) else {
            return;
        };
        // Where a proof of as many bytes is expected, zeros say that there is none.
        let nothing = vec![0; greeting::PROOF_BYTES];
        self.outputs.push_back(Output::Send(conn, nothing));
        let refusal = frame(&FromLeader::Refuse {
            why: why.to_owned(),
        });
        self.outputs.push_back(Output::Send(conn, refusal));
        self.turn_away(conn, &stranger.peer, why, greeting);
    }

    fn turn_away(&mut self, conn: ConnId, peer: &str, why: &str, greeting: Option<&Greeting>) {
        self.outputs.push_back(Output::Close(conn));
        self.refused += 1;
        let line = match self.refused {
            ..=STRANGERS_NAMED => match greeting {
                Some(greeting) => format!(
                    "shard {} on {} ({peer}) was refused: {why}",
                    greeting.index, greeting.host
                ),
                None => format!("a connection from {peer} was refused: {why}"),
            },
            named if named == STRANGERS_NAMED + 1 => {
                "more connections were refused; they are counted, not named".to_owned()
            }
            _ => return,
        };
        self.outputs.push_back(Output::Say(line));
    }

    /// Reads what a member has said.
    fn read(&mut self, now: Stamp, conn: ConnId, index: u32) {
        while let Some(member) = self.members.get_mut(&index)
            && member.is_there()
            && member.conn == conn
        {
            match member.inbox.message::<FromShard>() {
                Ok(None) => return,
                Ok(Some(message)) => self.heard(now, index, message),
                Err(error) => self.lose(now, index, &format!("it sent {error}")),
            }
        }
    }

    fn heard(&mut self, now: Stamp, index: u32, message: FromShard) {
        let Some(member) = self.members.get_mut(&index) else {
            return;
        };
        // What it has said before it took the run is of another one; but a stop may be of both.
        let of_now = match &message {
            FromShard::Ping { .. } => true,
            FromShard::Taken => {
                member.taken = true;
                true
            }
            FromShard::Stop { scope, .. } => member.taken || *scope == Scope::Series,
            _ => member.taken,
        };
        if !of_now {
            return;
        }
        // Those that come all the time change nothing for the others.
        self.news |= !matches!(message, FromShard::Ping { .. } | FromShard::Beat(_));
        match message {
            FromShard::Ping { t0 } => {
                let now = now.nanos();
                self.tell(
                    index,
                    &FromLeader::Pong {
                        t0,
                        t1: now,
                        t2: now,
                    },
                );
            }
            FromShard::Taken => {}
            FromShard::Has { common, items } => self.compare(now, index, common, items),
            FromShard::Ready { step, what } => {
                // It may have ended a short step before others have confirmed that.
                let armed = matches!(member.stage, Stage::Armed(before) if before < step);
                if armed || member.stage == Stage::Working {
                    member.stage = Stage::Ready(step);
                    if !what.is_empty() {
                        self.what = what;
                    }
                }
            }
            FromShard::Armed { step } => {
                if member.stage == Stage::Ready(step) {
                    member.stage = Stage::Armed(step);
                }
            }
            FromShard::Beat(beat) => member.beat = beat,
            FromShard::Found { step, piece, last } => {
                let event = Event::Found {
                    index,
                    step,
                    piece,
                    last,
                };
                self.outputs.push_back(Output::Event(event));
            }
            FromShard::Stop { why, scope } => {
                let who = format!("{why} at shard {index} ({})", member.host);
                self.stop_all(&who, scope);
            }
            FromShard::Done(done) => member.stage = Stage::Done(done),
            FromShard::File { file, chunk } => match self.sends_file(index, file) {
                true => {
                    let event = Event::File { index, file, chunk };
                    self.outputs.push_back(Output::Event(event));
                }
                false => self.lose(now, index, "it sent a file that nobody asked for"),
            },
            FromShard::FileEnd {
                file,
                bytes,
                digest,
            } => match self.sends_file(index, file) {
                true => {
                    let event = Event::FileEnd {
                        index,
                        file,
                        bytes,
                        digest,
                    };
                    self.outputs.push_back(Output::Event(event));
                }
                false => self.lose(now, index, "it sent a file that nobody asked for"),
            },
            FromShard::Wants { input } => self.wanted(now, index, input),
            FromShard::Room { bytes } => {
                if let Some(wants) = &mut member.wants {
                    let more = |room: u64| room.saturating_add(bytes.into()).min(CREDIT.into());
                    wants.room = wants.room.map(more);
                }
            }
            FromShard::Shipped => {
                if member.ships {
                    self.dismiss(index);
                }
            }
        }
    }

    /// A shard asks for an input.
    fn wanted(&mut self, now: Stamp, index: u32, input: u16) {
        let known = self.rules.run.inputs.get(usize::from(input));
        let sent = known.is_some_and(|input| input.stays.is_none());
        match self.members.get_mut(&index) {
            Some(member) if sent && member.wants.is_none() => {
                member.wants = Some(Wants { input, room: None });
                self.feed();
            }
            _ => self.lose(now, index, "it asked for a file that is not sent"),
        }
    }

    /// Whether the shard may send this file.
    fn sends_file(&self, index: u32, file: u16) -> bool {
        let known = usize::from(file) < self.rules.run.files.len();
        known && self.members.get(&index).is_some_and(|member| member.ships)
    }

    /// All must have the same.
    fn compare(&mut self, now: Stamp, index: u32, common: Common, items: Vec<Item>) {
        let Some(member) = self.members.get_mut(&index) else {
            return;
        };
        member.has.insert(common);
        let expected = self.common.entry(common).or_insert_with(|| items.clone());
        if items != *expected {
            let named = differing(&items, expected);
            let why = format!("its {} differ from the others'{named}", common.name());
            let line = format!("shard {index} on {} was refused: {why}", member.host);
            self.outputs.push_back(Output::Say(line));
            self.tell(index, &FromLeader::Refuse { why: why.clone() });
            self.lose(now, index, &why);
        }
    }

    /// A shard is gone.
    fn lose(&mut self, now: Stamp, index: u32, how: &str) {
        let Some(member) = self.members.get_mut(&index) else {
            return;
        };
        if !member.is_there() {
            return;
        }
        let was_done = matches!(member.stage, Stage::Done(_) | Stage::Home);
        // After a stop nobody waits for one that had not begun.
        let more = self.rules.run.series.is_some() && !self.last;
        let stopping = matches!(self.course, Course::Stopping) && !more;
        let stopped = stopping && member.beat.step.is_none();
        let how = how.to_owned();
        let at = now;
        member.stage = match stopped && !was_done {
            true => Stage::Left,
            false => Stage::Lost(Lost {
                at,
                how: how.clone(),
                was_done,
            }),
        };
        self.news = true;
        let (conn, host) = (member.conn, member.host.clone());
        self.by_conn.remove(&conn);
        self.outputs.push_back(Output::Close(conn));
        self.feed();
        if stopped && !was_done {
            return;
        }
        let line = format!(
            "shard {index} of {} ({host}) was lost: {how}",
            self.rules.run.shards
        );
        self.outputs.push_back(Output::Say(line.clone()));
        self.outputs.push_back(Output::Event(Event::Lost { index }));
        let begun = matches!(self.course, Course::Running { next, .. } if next > 0);
        // Without one of them the run that was asked for never begins.
        if !was_done && (self.rules.on_loss == OnLoss::Stop || !begun) {
            self.stop_all(&line, Scope::Series);
        }
    }

    fn stop_all(&mut self, why: &str, scope: Scope) {
        self.stopped_for_good |= scope == Scope::Series;
        if self.why.is_some() || self.course == Course::Resting {
            return;
        }
        self.why = Some(why.to_owned());
        self.news = true;
        self.course = Course::Stopping;
        let why = why.to_owned();
        let event = Event::Stop { why: why.clone() };
        self.outputs.push_back(Output::Event(event));
        self.tell_all(&FromLeader::Stop { why });
    }

    fn tell(&mut self, index: u32, message: &FromLeader) {
        if let Some(member) = self.members.get(&index)
            && member.is_there()
        {
            self.outputs
                .push_back(Output::Send(member.conn, frame(message)));
        }
    }

    fn tell_all(&mut self, message: &FromLeader) {
        let bytes = frame(message);
        for member in self.members.values().filter(|member| member.is_there()) {
            self.outputs
                .push_back(Output::Send(member.conn, bytes.clone()));
        }
    }

    /// Goes as far as what has been heard allows.
    fn advance(&mut self, now: Stamp) {
        if !std::mem::take(&mut self.news) {
            return;
        }
        if let Course::Running { next, zero: None } = self.course {
            self.begin(now, next);
        }
        self.ship();
        let gathering = matches!(self.course, Course::Gathering { .. });
        let behind = |member: &Member| !member.is_there() || matches!(member.stage, Stage::Home);
        if self.has_more()
            && !gathering
            && self.course != Course::Resting
            && self.members.values().all(behind)
        {
            self.course = Course::Resting;
            self.outputs.push_back(Output::Event(Event::RunOver));
        }
        let gone = self.members.values().all(|member| !member.is_there());
        if gone && !self.has_more() && !gathering && !self.over {
            self.over = true;
            self.outputs.push_back(Output::Event(Event::Over));
        }
    }

    /// Begins the step if all who are left are ready for it.
    fn begin(&mut self, now: Stamp, step: u32) {
        let left = self.members.values().filter(|member| member.is_there());
        let mut left = left.filter(|member| !matches!(member.stage, Stage::Done(_)));
        let common = |member: &Member| step > 0 || member.has.len() == Common::ALL.len();
        let all = left.clone().count() > 0
            && left.all(|member| member.stage == Stage::Ready(step) && common(member));
        if !all {
            return;
        }
        let zero = now + self.lead(step);
        self.course = Course::Running {
            next: step + 1,
            zero: Some(zero),
        };
        self.outputs
            .push_back(Output::Event(Event::Start { step, zero }));
        let what = std::mem::take(&mut self.what);
        self.tell_all(&FromLeader::Start {
            step,
            zero: zero.nanos(),
            what,
        });
    }

    fn lead(&self, step: u32) -> Span {
        let lead = self.rules.pace.leads.get(step as usize).copied();
        lead.unwrap_or(LEAD)
    }

    /// Lets shards that are done send their files, once nobody sends requests any more, a few at a
    /// time; those whose files are here may leave.
    fn ship(&mut self) {
        let home = self.those(|stage| matches!(stage, Stage::Done(done) if done.shared));
        for index in home {
            self.dismiss(index);
        }
        let there = self.members.values().filter(|member| member.is_there());
        let works = |member: &Member| !matches!(member.stage, Stage::Done(_) | Stage::Home);
        let gathering = matches!(self.course, Course::Gathering { .. });
        if gathering || there.clone().any(works) {
            return;
        }
        let shipping = there.filter(|member| member.ships).count();
        let waiting = self.members.iter().filter(|(_, member)| {
            matches!(member.stage, Stage::Done(_)) && !member.ships && member.is_there()
        });
        let waiting = waiting.map(|(index, _)| *index);
        let next: Vec<u32> = waiting.take(SHIPPING.saturating_sub(shipping)).collect();
        for index in next {
            if let Some(member) = self.members.get_mut(&index) {
                member.ships = true;
            }
            self.tell(index, &FromLeader::Credit { bytes: CREDIT });
        }
    }

    /// The files of a shard are at home: it may leave, or waits for another run.
    fn dismiss(&mut self, index: u32) {
        let more = self.has_more();
        self.tell(
            index,
            match more {
                true => &FromLeader::Home,
                false => &FromLeader::Bye,
            },
        );
        if let Some(member) = self.members.get_mut(&index) {
            member.ships = false;
            if let Stage::Done(done) = &member.stage {
                member.beat.tally = done.tally;
            }
            self.news = true;
            if more {
                member.stage = Stage::Home;
                return;
            }
            member.stage = Stage::Left;
            let conn = member.conn;
            self.by_conn.remove(&conn);
            self.outputs.push_back(Output::Close(conn));
        }
    }
}

impl Member {
    const fn is_there(&self) -> bool {
        !matches!(self.stage, Stage::Left | Stage::Lost(_))
    }
}

/// The names of the items that are not the same on both sides, such as «: --isl, --url».
fn differing(one: &[Item], other: &[Item]) -> String {
    let of = |items: &[Item], name: &str| {
        let found = items.iter().find(|part| part.name == name);
        found.map(|part| part.digest)
    };
    let all: BTreeSet<&str> = one.iter().chain(other).map(|part| &*part.name).collect();
    let differ = all
        .into_iter()
        .filter(|name| of(one, name) != of(other, name));
    let names: Vec<&str> = differ.filter(|name| !name.is_empty()).collect();
    match names.len() {
        0 => String::new(),
        1..=PARTS_NAMED => format!(": {}", names.join(", ")),
        all => format!(
            ": {} and {} more",
            names[..PARTS_NAMED].join(", "),
            all - PARTS_NAMED
        ),
    }
}

/// Shards by their numbers, such as «shards 1, 3-5».
pub fn in_words(indices: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &index in indices {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(index) => *last = index,
            _ => ranges.push((index, index)),
        }
    }
    let ranges: Vec<String> = ranges
        .iter()
        .map(|&(first, last)| match last - first {
            0 => first.to_string(),
            1 => format!("{first}, {last}"),
            _ => format!("{first}-{last}"),
        })
        .collect();
    let word = if indices.len() == 1 {
        "shard"
    } else {
        "shards"
    };
    format!("{word} {}", ranges.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_named_in_ranges() {
        for (indices, expected) in [
            (&[3][..], "shard 3"),
            (&[0, 1], "shards 0, 1"),
            (&[1, 3, 4, 5, 9], "shards 1, 3-5, 9"),
        ] {
            assert_eq!(in_words(indices), expected);
        }
    }
}
