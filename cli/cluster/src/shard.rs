//! A shard: joins, keeps the leader's time, says when it is ready, begins and stops with all.

use std::collections::VecDeque;

use pinfire_base::clock::{Span, Stamp};

use crate::{
    clock::{Clock, Estimate},
    greeting::{self, CHALLENGE_BYTES, Greeting, Nonce, PROOF_BYTES, Token},
    message::{Beat, Common, Digest, Done, FromLeader, FromShard, Item, Run, Scope},
    wire::{FROM_LEADER_BYTES, Inbox, frame},
};

/// Exchanges of the clocks at the start.
const FIRST_PINGS: u32 = 64;
/// Exchanges before the start of a step, so that its zero is known as well as it can be.
const PINGS_BEFORE_A_STEP: u32 = 16;
/// Between two of those.
const PING_SOON: Span = Span::from_millis(5);
/// Between two exchanges at any other time.
const PING_EVERY: Span = Span::from_millis(1_000);
/// Between two signs of life.
const BEAT_EVERY: Span = Span::from_millis(250);
/// Time between two ticks that shows that this process was stopped, so that the silence of the
/// leader says nothing.
const STALLED: Span = Span::from_millis(1_000);

/// What a shard is told before it begins.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Who it is.
    pub greeting: Greeting,
    /// The secret that all share.
    pub token: Token,
    /// A leader that is silent for so long is lost.
    pub timeout: Span,
}

/// What the shard wants done.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Something has happened.
    Event(Event),
}

/// What has happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The shard takes part in this run.
    Run(Box<Run>),
    /// A step begins.
    Start {
        /// The step.
        step: u32,
        /// When, by the shard's own clock.
        zero: Stamp,
        /// What is to be done in it, where a shard has decided that.
        what: String,
        /// What is known of the leader's.
        clock: Estimate,
    },
    /// Everybody stops.
    Stop {
        /// Why, in words.
        why: String,
    },
    /// The shard's results are at home. Another run may follow.
    Home,
    /// The shard's results are at home: it may leave.
    Bye,
    /// The shard cannot take part.
    Refused {
        /// Why, in one line.
        why: String,
    },
    /// A piece of an input that was asked for. Say [`Shard::took`] when it has been dealt with.
    Input {
        /// Which, by its place in [`Run::inputs`].
        input: u16,
        /// The piece, compressed.
        chunk: Vec<u8>,
    },
    /// The input is complete.
    InputEnd {
        /// Which, by its place in [`Run::inputs`].
        input: u16,
        /// Its length before compression.
        bytes: u64,
        /// Its digest before compression.
        digest: Digest,
    },
    /// The input does not come.
    NoInput {
        /// Which, by its place in [`Run::inputs`].
        input: u16,
        /// Why, in words.
        why: String,
    },
    /// The leader is gone.
    LeaderLost {
        /// How that was noticed, in words.
        how: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Waits for the challenge.
    Connected,
    /// Waits for the leader's proof.
    Greeted { challenge: Nonce },
    /// Waits for the reason of a refusal.
    Refused,
    /// Waits for the run, or takes part in it.
    Joined,
    /// There is nothing more to say.
    Over,
}

/// One shard of a run.
#[derive(Debug)]
pub struct Shard {
    rules: Rules,
    state: State,
    inbox: Inbox,
    clock: Clock,
    heard: Stamp,
    ticked: Stamp,
    pinged: Stamp,
    pings_soon: u32,
    /// The exchanges of the start are over.
    settled: bool,
    beaten: Stamp,
    beat: Beat,
    stopped: bool,
    /// It has asked for the end of everything.
    left: bool,
    /// The step that it is ready for, and what it wants done in it, until the leader has been told.
    ready: Option<(u32, String)>,
    /// Bytes of files that may be sent.
    credit: u64,
    outputs: VecDeque<Output>,
}

impl Shard {
    /// A shard whose connection is open since `now`.
    pub const fn new(rules: Rules, now: Stamp) -> Self {
        Self {
            rules,
            state: State::Connected,
            inbox: Inbox::new(FROM_LEADER_BYTES),
            clock: Clock::new(),
            heard: now,
            ticked: now,
            pinged: now,
            pings_soon: FIRST_PINGS,
            settled: false,
            beaten: now,
            beat: Beat::NONE,
            stopped: false,
            left: false,
            ready: None,
            credit: 0,
            outputs: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What is known of the leader's clock at an instant of this one, once the exchanges of the
    /// start are over: the first of them alone may be far off.
    pub fn clock(&self, at: Stamp) -> Option<Estimate> {
        self.clock.estimate(at).filter(|_| self.settled)
    }

    /// Bytes of files that may be sent now.
    pub const fn credit(&self) -> u64 {
        self.credit
    }

    /// Names what this shard has of something that all must have alike.
    pub fn has(&mut self, common: Common, items: Vec<Item>) {
        self.tell(&FromShard::Has { common, items });
    }

    /// The step could begin. For the first of a run the leader hears of it once the clocks have
    /// been compared often enough; a later one may follow at once.
    /// `what` is what all are to do in it, if this shard decides that.
    pub fn ready(&mut self, step: u32, what: String) {
        self.pings_soon = self.pings_soon.max(PINGS_BEFORE_A_STEP);
        self.ready = Some((step, what));
        if step > 0 {
            self.tell_ready();
        }
    }

    fn tell_ready(&mut self) {
        if let Some((step, what)) = self.ready.take()
            && !self.stopped
        {
            self.tell(&FromShard::Ready { step, what });
        }
    }

    /// What the next signs of life say.
    pub const fn set_beat(&mut self, beat: Beat) {
        self.beat = beat;
    }

    /// Asks for the end of the run for all shards, or of all that would follow too.
    pub fn stop(&mut self, why: &str, scope: Scope) {
        let known = match scope {
            Scope::Run => self.stopped,
            Scope::Series => std::mem::replace(&mut self.left, true),
        };
        if !known {
            self.tell(&FromShard::Stop {
                why: why.to_owned(),
                scope,
            });
        }
    }

    /// Sends a piece of what came of a step.
    pub fn found(&mut self, step: u32, piece: Vec<u8>, last: bool) {
        self.tell(&FromShard::Found { step, piece, last });
    }

    /// This shard's part is over.
    pub fn done(&mut self, done: Done) {
        self.tell(&FromShard::Done(done));
    }

    /// Sends a piece of a file, no longer than the credit allows.
    pub fn file(&mut self, file: u16, chunk: Vec<u8>) {
        self.credit = self.credit.saturating_sub(chunk.len() as u64);
        self.tell(&FromShard::File { file, chunk });
    }

    /// A file is complete.
    pub fn file_end(&mut self, file: u16, bytes: u64, digest: Digest) {
        self.tell(&FromShard::FileEnd {
            file,
            bytes,
            digest,
        });
    }

    /// All files are sent.
    pub fn shipped(&mut self) {
        self.tell(&FromShard::Shipped);
    }

    /// Asks for an input that is not here.
    pub fn wants(&mut self, input: u16) {
        self.tell(&FromShard::Wants { input });
    }

    /// A piece of an input has been dealt with: so many bytes more may come.
    pub fn took(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.tell(&FromShard::Room { bytes });
    }

    /// Bytes have come.
    pub fn received(&mut self, now: Stamp, bytes: &[u8]) {
        self.heard = now;
        self.inbox.push(bytes);
        loop {
            match self.state {
                State::Connected => match self.inbox.take::<CHALLENGE_BYTES>() {
                    None => return,
                    Some(bytes) => match greeting::read_challenge(&bytes) {
                        Some(challenge) => self.greet(challenge),
                        None => self.lost("what answers there is no leader of pinfire"),
                    },
                },
                State::Greeted { challenge } => match self.inbox.take::<PROOF_BYTES>() {
                    None => return,
                    Some(proof) => self.proved(now, &challenge, &proof),
                },
                State::Refused | State::Joined => match self.inbox.message::<FromLeader>() {
                    Ok(None) => return,
                    Ok(Some(message)) => self.heard(now, message),
                    Err(error) => self.lost(&format!("it sent {error}")),
                },
                State::Over => return,
            }
        }
    }

    /// The connection was closed by the other side, or is broken.
    pub fn closed(&mut self, how: &str) {
        self.lost(how);
    }

    /// Time has passed. To be called after what has arrived was read, at [`Shard::next`] at the
    /// latest.
    pub fn tick(&mut self, now: Stamp) {
        let away = now.since(self.ticked);
        if away >= STALLED {
            self.heard = self.heard + away;
        }
        self.ticked = now;
        if now.since(self.heard) >= self.rules.timeout {
            let silence = self.rules.timeout.as_secs_f64();
            self.lost(&format!("nothing was heard of it for {silence:.1} s"));
        }
        if self.state != State::Joined {
            return;
        }
        if now >= self.next_ping() {
            self.pinged = now;
            self.pings_soon = self.pings_soon.saturating_sub(1);
            self.tell(&FromShard::Ping { t0: now.nanos() });
        }
        self.settled |= self.pings_soon == 0 && self.clock.estimate(now).is_some();
        if self.pings_soon == 0 && self.settled {
            self.tell_ready();
        }
        if now.since(self.beaten) >= BEAT_EVERY {
            self.beaten = now;
            let clock = self.clock.estimate(now);
            self.tell(&FromShard::Beat(Beat { clock, ..self.beat }));
        }
    }

    /// When [`Shard::tick`] is needed next.
    pub fn next(&self) -> Stamp {
        self.next_ping().min(self.beaten + BEAT_EVERY)
    }

    fn next_ping(&self) -> Stamp {
        let rest = match self.pings_soon {
            0 => PING_EVERY,
            _ => PING_SOON,
        };
        self.pinged + rest
    }

    fn tell(&mut self, message: &FromShard) {
        if self.state == State::Joined {
            self.outputs.push_back(Output::Send(frame(message)));
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn greet(&mut self, challenge: Nonce) {
        let greeting = self.rules.greeting.signed(&self.rules.token, &challenge);
        self.outputs.push_back(Output::Send(greeting));
        self.state = State::Greeted { challenge };
    }

    fn proved(&mut self, now: Stamp, challenge: &Nonce, proof: &[u8; PROOF_BYTES]) {
        let nonce = self.rules.greeting.nonce;
        if self.rules.token.is_leader(challenge, &nonce, proof) {
            self.state = State::Joined;
            self.pinged = now;
        } else if *proof == [0; PROOF_BYTES] {
            self.state = State::Refused;
        } else {
            self.lost("its token is another one (PINFIRE_JOIN_TOKEN)");
        }
    }

    fn lost(&mut self, how: &str) {
        if self.state != State::Over {
            self.state = State::Over;
            self.event(Event::LeaderLost {
                how: how.to_owned(),
            });
        }
    }

    fn heard(&mut self, now: Stamp, message: FromLeader) {
        if let FromLeader::Refuse { why } = message {
            self.state = State::Over;
            self.event(Event::Refused { why });
            return;
        }
        if self.state == State::Refused {
            self.lost("it refused this shard without a reason");
            return;
        }
        match message {
            FromLeader::Refuse { .. } => {}
            FromLeader::Run(run) => {
                self.beat = Beat::NONE;
                self.stopped = false;
                self.ready = None;
                self.credit = 0;
                self.tell(&FromShard::Taken);
                self.event(Event::Run(run));
            }
            FromLeader::Pong { t0, t1, t2 } => {
                self.clock.exchanged(Stamp::from_nanos(t0), t1, t2, now);
            }
            FromLeader::Start { step, zero, what } => self.start(now, step, zero, what),
            FromLeader::Stop { why } => {
                if !self.stopped {
                    self.stopped = true;
                    self.event(Event::Stop { why });
                }
            }
            FromLeader::Credit { bytes } => {
                self.credit = self.credit.saturating_add(bytes.into());
            }
            FromLeader::Home => self.event(Event::Home),
            FromLeader::Bye => {
                self.state = State::Over;
                self.event(Event::Bye);
            }
            FromLeader::Input { input, chunk } => self.event(Event::Input { input, chunk }),
            FromLeader::InputEnd {
                input,
                bytes,
                digest,
            } => self.event(Event::InputEnd {
                input,
                bytes,
                digest,
            }),
            FromLeader::NoInput { input, why } => self.event(Event::NoInput { input, why }),
        }
    }

    fn start(&mut self, now: Stamp, step: u32, zero: u64, what: String) {
        if self.stopped {
            return;
        }
        // What will be known of the clock then, and how well, is known now.
        let then = self.clock.estimate(now).map(|clock| clock.local(zero));
        match then.and_then(|then| self.clock.estimate(then)) {
            Some(clock) => {
                self.tell(&FromShard::Armed { step });
                let zero = clock.local(zero);
                self.event(Event::Start {
                    step,
                    zero,
                    what,
                    clock,
                });
            }
            None => self.lost("it began before the clocks were compared"),
        }
    }
}
