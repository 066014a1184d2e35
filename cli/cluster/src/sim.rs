//! Leader and shards in a simulated world: virtual time, links that are slow, uneven and cut,
//! clocks that are off and drift, processes that die, stop and come twice. A seed decides
//! everything.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use pinfire_base::{
    clock::{Span, Stamp},
    random::Purpose,
};

use crate::{
    Leader, Shard,
    clock::Estimate,
    greeting::{Greeting, PROTOCOL, Token},
    leader::{self, ConnId, OnLoss, Pace, Stage, Threshold},
    message::{Answers, Beat, Common, Deed, Done, InSeries, Input, Item, Run, Scope, Tally},
    shard,
};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// Nothing may take longer.
const END: u64 = 120 * SECOND;

/// What a process does besides its part.
#[derive(Clone, Debug)]
struct Nature {
    index: u32,
    token: &'static str,
    version: &'static str,
    shards: u32,
    incarnation: u64,
    /// What its settings, credentials and inputs are.
    digests: [u8; 4],
    /// How its answers are from the beginning of a step on.
    answers: Answers,
    starts: u64,
    prepares: u64,
    runs: u64,
    shared: bool,
    /// It has not the input of the run.
    asks: bool,
    /// Bytes to send instead of speaking.
    garbage: Option<Vec<u8>>,
    /// It dies with the so many-th message that it sends.
    dies_after: Option<u32>,
    /// It does nothing at all between these instants.
    frozen: Option<(u64, u64)>,
    /// Nothing comes or goes from this instant on.
    cut_at: Option<u64>,
    /// Ctrl-C, and what is to end then.
    interrupted_at: Option<u64>,
    stops: Scope,
    /// Nanoseconds that its clock is ahead, and its drift.
    clock: (i64, f64),
    /// Nanoseconds to the leader, and back.
    ways: [u64; 2],
}

impl Nature {
    fn of(index: u32) -> Self {
        Self {
            index,
            token: "t",
            version: "1",
            shards: 4,
            incarnation: u64::from(index) + 100,
            digests: [1, 2, 3, 4],
            answers: Answers::NONE,
            starts: 0,
            prepares: 50 * MS,
            runs: 2 * SECOND,
            shared: false,
            asks: false,
            garbage: None,
            dies_after: None,
            frozen: None,
            cut_at: None,
            interrupted_at: None,
            stops: Scope::Series,
            clock: (i64::from(index) * 1_000_000_000_000, 20e-6),
            ways: [100_000, 150_000],
        }
    }

    fn local(&self, truth: u64) -> Stamp {
        let ahead = self.clock.0 + (self.clock.1 * truth as f64) as i64;
        Stamp::from_nanos((truth as i64 + ahead) as u64)
    }

    fn truth(&self, local: Stamp) -> u64 {
        ((local.nanos() as i64 - self.clock.0) as f64 / (1.0 + self.clock.1)) as u64
    }
}

/// How a process has ended.
#[derive(Clone, PartialEq, Debug)]
enum Fate {
    Bye,
    Refused(String),
    LeaderLost,
    StoppedBefore,
    Died,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Before,
    Running,
    Behind,
}

struct Process {
    nature: Nature,
    shard: Option<Shard>,
    fate: Option<Fate>,
    sent: u32,
    /// The true instants at which it began its steps, and what it believed of the leader's clock.
    began: Vec<(Step, u64, Estimate, Stamp)>,
    stopping: Option<String>,
    part: Part,
    file: usize,
    /// The run that it is in, from 1.
    run: u32,
}

/// A step of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Step {
    run: u32,
    step: u32,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum What {
    Connect(usize),
    ToLeader(ConnId, Vec<u8>),
    ToShard(usize, Vec<u8>),
    LeaderSeesClose(ConnId),
    ShardSeesClose(usize),
    TickLeader,
    TickShard(usize),
    Prepared(usize, u32),
    Begin(usize, Step),
    StepEnds(usize, Step),
    Finished(usize, u32),
    Interrupt(usize),
    LeaderDies,
}

struct World {
    now: u64,
    number: u64,
    queue: BinaryHeap<Reverse<(u64, u64, What)>>,
    leader: Leader,
    leader_dead: bool,
    processes: Vec<Process>,
    steps: u32,
    /// When what was sent last over a connection arrives, so that nothing overtakes.
    last: BTreeMap<(usize, bool), u64>,
    closed: BTreeSet<usize>,
    said: Vec<String>,
    zeros: BTreeMap<Step, u64>,
    /// The run that is on, from 1, and how many there are to be.
    run: u32,
    runs: u32,
    files: BTreeMap<u32, usize>,
    /// Bytes of the input that have been sent to each shard, and that each has taken.
    inputs: BTreeMap<u32, (usize, usize)>,
    over: bool,
    lost: BTreeSet<u32>,
}

const FILE: usize = 1_500 * 1024;
const CHUNK: usize = 200 * 1024;
/// Bytes of the input that shards ask for, as they travel.
const INPUT: usize = 1_300 * 1024;

fn rules() -> leader::Rules {
    leader::Rules {
        version: "1".to_owned(),
        token: Token::new("t"),
        run: Run {
            run_id: "r".to_owned(),
            shards: 4,
            settings: "model: m".to_owned(),
            seed: 1,
            seed_is_given: true,
            common: vec![(Common::Settings, items(1))],
            id_key: 2,
            salt: [0; 32],
            folder_mark: "mark".to_owned(),
            wall_stamp: 1,
            wall_unix: 2,
            files: vec!["profile_export.jsonl".to_owned()],
            deed: Deed::Profile,
            inputs: vec![Input {
                flag: "--input-file".to_owned(),
                name: "trace.jsonl".to_owned(),
                bytes: INPUT as u64,
                digest: [5; 32],
                stays: None,
            }],
            series: None,
        },
        pace: Pace::default(),
        join_timeout: Span::from_millis(20_000),
        shard_timeout: Span::from_millis(3_000),
        on_loss: OnLoss::Stop,
    }
}

/// Two items, of which the second differs with the number.
fn items(number: u8) -> Vec<Item> {
    let part = |name: &str, number: u8| Item {
        name: name.to_owned(),
        digest: [number; 32],
    };
    vec![part("--same", 1), part("--other", number)]
}

impl World {
    fn new(rules: leader::Rules, steps: u32, natures: Vec<Nature>) -> Self {
        let now = SECOND;
        let mut world = Self {
            now,
            number: 0,
            queue: BinaryHeap::new(),
            leader: Leader::new(rules, Stamp::from_nanos(now)),
            leader_dead: false,
            processes: Vec::new(),
            steps,
            last: BTreeMap::new(),
            closed: BTreeSet::new(),
            said: Vec::new(),
            zeros: BTreeMap::new(),
            run: 1,
            runs: 1,
            files: BTreeMap::new(),
            inputs: BTreeMap::new(),
            over: false,
            lost: BTreeSet::new(),
        };
        world.at(now, What::TickLeader);
        for nature in natures {
            let number = world.processes.len();
            world.at(now + nature.starts, What::Connect(number));
            if let Some(at) = nature.interrupted_at {
                world.at(at, What::Interrupt(number));
            }
            world.processes.push(Process {
                nature,
                shard: None,
                fate: None,
                sent: 0,
                began: Vec::new(),
                stopping: None,
                part: Part::Before,
                file: 0,
                run: 0,
            });
        }
        world
    }

    fn at(&mut self, time: u64, what: What) {
        self.number += 1;
        self.queue
            .push(Reverse((time.max(self.now), self.number, what)));
    }

    fn send(&mut self, process: usize, to_leader: bool, what: What) {
        let nature = &self.processes[process].nature;
        if nature.cut_at.is_some_and(|at| self.now >= at) {
            return;
        }
        let way = nature.ways[usize::from(!to_leader)];
        let last = self.last.entry((process, to_leader)).or_default();
        let arrives = (self.now + way).max(*last);
        *last = arrives;
        self.at(arrives, what);
    }

    fn run(&mut self) {
        while let Some(Reverse((time, _, what))) = self.queue.pop() {
            self.now = time;
            if time > END {
                break;
            }
            if let Some(awake) = self.asleep(&what) {
                self.at(awake, what);
                continue;
            }
            self.happens(what);
            self.drain_leader();
            self.feed();
            self.drain_leader();
            for process in 0..self.processes.len() {
                self.drain_shard(process);
            }
        }
    }

    /// When whoever this happens to is awake, if not now.
    fn asleep(&self, what: &What) -> Option<u64> {
        let process = match what {
            What::ToShard(process, _)
            | What::ShardSeesClose(process)
            | What::TickShard(process)
            | What::Prepared(process, _)
            | What::Begin(process, _)
            | What::StepEnds(process, _)
            | What::Finished(process, _) => *process,
            _ => return None,
        };
        let (from, to) = self.processes[process].nature.frozen?;
        (from..to).contains(&self.now).then_some(to)
    }

    /// Whether this is of a run that the process has behind it.
    fn is_past(&self, what: &What) -> bool {
        let (process, run) = match what {
            What::Prepared(process, run) | What::Finished(process, run) => (process, run),
            What::Begin(process, step) | What::StepEnds(process, step) => (process, &step.run),
            _ => return false,
        };
        self.processes[*process].run != *run
    }

    fn happens(&mut self, what: What) {
        if self.is_past(&what) {
            return;
        }
        let now = Stamp::from_nanos(self.now);
        match what {
            What::Connect(process) => self.connect(process),
            What::ToLeader(conn, bytes) if !self.leader_dead => {
                self.leader.received(now, conn, &bytes);
            }
            What::LeaderSeesClose(conn) if !self.leader_dead => {
                self.leader.closed(now, conn, "its connection was closed");
            }
            What::TickLeader if !self.leader_dead => {
                self.leader.tick(now);
                if !self.over {
                    self.at(self.now + 50 * MS, What::TickLeader);
                }
            }
            What::LeaderDies => {
                self.leader_dead = true;
                for process in 0..self.processes.len() {
                    self.send(process, false, What::ShardSeesClose(process));
                }
            }
            What::ToLeader(..) | What::LeaderSeesClose(_) | What::TickLeader => {}
            What::ToShard(process, bytes) => {
                let local = self.processes[process].nature.local(self.now);
                if let Some(shard) = &mut self.processes[process].shard {
                    shard.received(local, &bytes);
                }
            }
            What::ShardSeesClose(process) => {
                if let Some(shard) = &mut self.processes[process].shard {
                    shard.closed("its connection was closed");
                }
            }
            What::TickShard(process) => self.tick_shard(process),
            What::Prepared(process, _) => {
                self.with(process, |shard, _| shard.ready(0, String::new()))
            }
            What::Begin(process, step) => self.begin(process, step),
            What::StepEnds(process, step) if self.processes[process].part == Part::Running => {
                match step.step + 1 < self.steps {
                    true => self.with(process, |shard, _| {
                        shard.ready(step.step + 1, format!("step {}", step.step + 1))
                    }),
                    false => self.finish(process),
                }
            }
            What::StepEnds(..) => {}
            What::Finished(process, _) => self.finish(process),
            What::Interrupt(process) => self.with(process, |shard, nature| {
                shard.stop("Ctrl-C", nature.stops);
            }),
        }
    }

    fn with(&mut self, process: usize, deed: impl FnOnce(&mut Shard, &Nature)) {
        let Process { nature, shard, .. } = &mut self.processes[process];
        if let Some(shard) = shard {
            deed(shard, nature);
        }
    }

    fn connect(&mut self, process: usize) {
        let conn = process as ConnId;
        if self.leader_dead {
            self.processes[process].fate = Some(Fate::LeaderLost);
            return;
        }
        let peer = format!("10.0.0.{process}:4000");
        let now = Stamp::from_nanos(self.now);
        self.leader
            .accepted(now, conn, peer, [process as u8 + 1; 32]);
        let nature = &self.processes[process].nature;
        if let Some(garbage) = nature.garbage.clone() {
            self.send(process, true, What::ToLeader(conn, garbage));
            return;
        }
        let rules = shard::Rules {
            greeting: Greeting {
                protocol: PROTOCOL,
                version: nature.version.to_owned(),
                index: nature.index,
                shards: nature.shards,
                incarnation: nature.incarnation,
                host: format!("node-{process}"),
                nonce: [200 + process as u8; 32],
            },
            token: Token::new(nature.token),
            timeout: Span::from_millis(3_000),
        };
        let shard = Shard::new(rules, nature.local(self.now));
        self.processes[process].shard = Some(shard);
        self.at(self.now + MS, What::TickShard(process));
    }

    fn tick_shard(&mut self, process: usize) {
        let now = self.now;
        let Process {
            nature,
            shard,
            fate,
            ..
        } = &mut self.processes[process];
        let Some(shard) = shard else { return };
        shard.tick(nature.local(now));
        let next = nature.truth(shard.next()).max(now + MS);
        if fate.is_none() {
            self.at(next, What::TickShard(process));
        }
        self.ship(process);
    }

    fn begin(&mut self, process: usize, step: Step) {
        let ends = self.now + self.processes[process].nature.runs;
        let one = &mut self.processes[process];
        if one.stopping.is_some() || one.fate.is_some() {
            return;
        }
        one.part = Part::Running;
        let beat = Beat {
            step: Some(step.step),
            tally: tally(),
            answers: self.processes[process].nature.answers,
            clock: None,
        };
        self.with(process, |shard, _| shard.set_beat(beat));
        self.at(ends, What::StepEnds(process, step));
    }

    fn finish(&mut self, process: usize) {
        if std::mem::replace(&mut self.processes[process].part, Part::Behind) == Part::Behind {
            return;
        }
        self.with(process, |shard, nature| {
            shard.done(Done {
                tally: tally(),
                trouble: None,
                shared: nature.shared,
            });
        });
    }

    /// Sends as much of the file as there is credit for.
    fn ship(&mut self, process: usize) {
        let Process {
            shard: Some(shard),
            file,
            ..
        } = &mut self.processes[process]
        else {
            return;
        };
        while *file < FILE && shard.credit() >= CHUNK as u64 {
            let chunk = CHUNK.min(FILE - *file);
            shard.file(0, vec![7; chunk]);
            *file += chunk;
            if *file == FILE {
                shard.file_end(0, FILE as u64, [9; 32]);
                shard.shipped();
            }
        }
    }

    fn drain_leader(&mut self) {
        while let Some(output) = self.leader.poll() {
            match output {
                leader::Output::Send(conn, bytes) => {
                    let process = conn as usize;
                    assert!(
                        !self.closed.contains(&process),
                        "sent over a closed connection"
                    );
                    self.send(process, false, What::ToShard(process, bytes));
                }
                leader::Output::Close(conn) => {
                    let process = conn as usize;
                    assert!(self.closed.insert(process), "closed twice");
                    self.send(process, false, What::ShardSeesClose(process));
                }
                leader::Output::Say(line) => {
                    assert!(!line.contains('\n'));
                    self.said.push(line);
                }
                leader::Output::Event(event) => self.leader_event(event),
            }
        }
    }

    fn leader_event(&mut self, event: leader::Event) {
        match event {
            leader::Event::Start { step, zero } => {
                let step = Step {
                    run: self.run,
                    step,
                };
                assert!(self.zeros.insert(step, zero.nanos()).is_none());
            }
            leader::Event::File { index, chunk, .. } => {
                *self.files.entry(index).or_default() += chunk.len();
                self.leader.written(index, chunk.len());
            }
            leader::Event::Lost { index } => assert!(self.lost.insert(index)),
            leader::Event::Wants { .. } => {}
            leader::Event::RunOver => {
                let mut rules = series();
                rules.run.seed = u64::from(self.run) + 1;
                let now = Stamp::from_nanos(self.now);
                let more = self.run < self.runs;
                if more && self.leader.next(now, rules.run, rules.pace) {
                    self.run += 1;
                } else {
                    self.leader.end(now);
                }
            }
            leader::Event::Over => {
                assert!(!self.over);
                self.over = true;
            }
            leader::Event::Found { .. } => panic!("nobody has found anything"),
            leader::Event::AllJoined
            | leader::Event::Stop { .. }
            | leader::Event::FileEnd { .. } => {}
        }
    }

    fn drain_shard(&mut self, process: usize) {
        loop {
            let Process {
                nature,
                shard: Some(shard),
                ..
            } = &mut self.processes[process]
            else {
                return;
            };
            let dies = nature.dies_after;
            match shard.poll() {
                None => return,
                Some(shard::Output::Send(bytes)) => {
                    self.processes[process].sent += 1;
                    if dies.is_some_and(|after| self.processes[process].sent > after) {
                        self.ends(process, Fate::Died);
                        return;
                    }
                    self.send(process, true, What::ToLeader(process as ConnId, bytes));
                }
                Some(shard::Output::Event(event)) => self.shard_event(process, event),
            }
        }
    }

    fn shard_event(&mut self, process: usize, event: shard::Event) {
        match event {
            shard::Event::Run(run) => {
                let one = &mut self.processes[process];
                one.run += 1;
                assert_eq!(run.seed, u64::from(one.run), "runs in their order");
                one.part = Part::Before;
                one.stopping = None;
                one.file = 0;
                self.with(process, |shard, nature| {
                    for (common, digest) in Common::ALL.into_iter().zip(nature.digests) {
                        shard.has(common, items(digest));
                    }
                });
                let one = &self.processes[process];
                match one.nature.asks && one.run == 1 {
                    true => self.with(process, |shard, _| shard.wants(0)),
                    false => self.prepare(process),
                }
            }
            shard::Event::Input { input: 0, chunk } => {
                let index = self.processes[process].nature.index;
                self.inputs.entry(index).or_default().1 += chunk.len();
                self.with(process, |shard, _| shard.took(chunk.len()));
            }
            shard::Event::InputEnd { input: 0, .. } => self.prepare(process),
            other @ (shard::Event::Input { .. }
            | shard::Event::InputEnd { .. }
            | shard::Event::NoInput { .. }) => panic!("{other:?}"),
            shard::Event::Start {
                step,
                zero,
                clock,
                what,
            } => {
                let said = (step > 0).then(|| format!("step {step}"));
                assert_eq!(what, said.unwrap_or_default());
                let truth = self.processes[process].nature.truth(zero);
                let run = self.processes[process].run;
                let step = Step { run, step };
                self.processes[process]
                    .began
                    .push((step, truth, clock, zero));
                self.at(truth, What::Begin(process, step));
            }
            shard::Event::Stop { why } => {
                self.processes[process].stopping = Some(why);
                match self.processes[process].part {
                    Part::Before if self.runs > 1 => self.finish(process),
                    Part::Before => self.ends(process, Fate::StoppedBefore),
                    Part::Running => {
                        let run = self.processes[process].run;
                        self.at(self.now + 10 * MS, What::Finished(process, run));
                    }
                    Part::Behind => {}
                }
            }
            shard::Event::Home => assert_eq!(self.processes[process].part, Part::Behind),
            shard::Event::Bye => self.ends(process, Fate::Bye),
            shard::Event::Refused { why } => self.ends(process, Fate::Refused(why)),
            shard::Event::LeaderLost { .. } => self.ends(process, Fate::LeaderLost),
        }
    }

    fn prepare(&mut self, process: usize) {
        let prepared = self.now + self.processes[process].nature.prepares;
        let run = self.processes[process].run;
        self.at(prepared, What::Prepared(process, run));
    }

    /// Sends as much of the input as there is room for.
    fn feed(&mut self) {
        for index in 0..4 {
            while let Some(room) = self.leader.room(index) {
                let (sent, taken) = self.inputs.entry(index).or_default();
                let rest = INPUT - *sent;
                if rest == 0 {
                    self.leader.input_end(index, INPUT as u64, [5; 32]);
                    break;
                }
                if room < CHUNK as u64 {
                    break;
                }
                let bytes = CHUNK.min(rest);
                *sent += bytes;
                // A small window is under way, whatever the file's length.
                assert!(*sent - *taken <= leader::CREDIT as usize);
                self.leader.input(index, vec![0; bytes]);
            }
        }
    }

    fn ends(&mut self, process: usize, fate: Fate) {
        let one = &mut self.processes[process];
        if one.fate.is_none() {
            one.fate = Some(fate);
            one.part = Part::Behind;
            one.shard = None;
            let conn = process as ConnId;
            self.send(process, true, What::LeaderSeesClose(conn));
        }
    }

    fn fates(&self) -> Vec<&Fate> {
        let fates = self.processes.iter().filter(|p| p.nature.garbage.is_none());
        fates
            .map(|process| process.fate.as_ref().expect("an end"))
            .collect()
    }

    /// What holds of every run, whatever goes wrong.
    fn laws(&self) {
        if !self.leader_dead {
            assert!(
                self.over,
                "the leader waits for ever: {:#?}",
                self.leader.members()
            );
        }
        let _ = self.fates();
        for process in &self.processes {
            for (step, truth, clock, zero) in &process.began {
                let asked = self.zeros[step];
                let error = truth.abs_diff(asked);
                // A float's rounding in the world's own clocks, at most.
                assert!(
                    error <= clock.bound + 1_000,
                    "{error} of {clock:?} at {zero:?}"
                );
                // Half of how uneven the ways are, and what the clock drifts in some seconds.
                let ways = process.nature.ways;
                let allowed = ways[0].abs_diff(ways[1]) / 2 + 1_000_000;
                assert!(error <= allowed, "{error} of {ways:?}");
            }
        }
        let lost =
            self.leader.members().iter().filter_map(|(index, member)| {
                matches!(member.stage, Stage::Lost(_)).then_some(*index)
            });
        assert_eq!(lost.collect::<BTreeSet<_>>(), self.lost);
        for (index, bytes) in &self.files {
            let member = &self.leader.members()[index];
            assert!(*bytes <= FILE * self.run as usize);
            let whole = *bytes == FILE * self.run as usize;
            assert!(member.stage != Stage::Left || whole || !self.zeros.is_empty());
        }
    }
}

/// The same of a run on which others follow.
fn series() -> leader::Rules {
    let mut rules = rules();
    rules.run.series = Some(InSeries {
        folder: "concurrency_4".to_owned(),
        part: "null".to_owned(),
    });
    rules
}

fn tally() -> Tally {
    Tally {
        due: 10,
        finished: 9,
        cancelled: 1,
        ..Tally::default()
    }
}

fn four() -> Vec<Nature> {
    (0..4).map(Nature::of).collect()
}

fn world(change: impl FnOnce(&mut Vec<Nature>)) -> World {
    let mut natures = four();
    change(&mut natures);
    let mut world = World::new(rules(), 2, natures);
    world.run();
    world.laws();
    world
}

#[test]
fn a_run_without_trouble_ends_with_everything_at_home() {
    let world = world(|_| {});
    assert_eq!(world.fates(), [&Fate::Bye; 4]);
    assert_eq!(world.zeros.len(), 2);
    assert_eq!(world.leader.whole().due, 40);
    assert!(world.files.values().all(|bytes| *bytes == FILE));
    assert_eq!(world.files.len(), 4);
    assert!(world.said.is_empty(), "{:?}", world.said);
    assert!(world.leader.stopped().is_none() && world.leader.missing().is_empty());
}

/// A series of so many runs.
fn many(runs: u32, change: impl FnOnce(&mut Vec<Nature>)) -> World {
    let mut natures = four();
    change(&mut natures);
    let mut world = World::new(series(), 2, natures);
    world.runs = runs;
    world.run();
    world.laws();
    world
}

#[test]
fn several_runs_follow_on_each_other_with_the_same_shards() {
    let world = many(3, |_| {});
    assert_eq!(world.fates(), [&Fate::Bye; 4]);
    assert_eq!((world.run, world.zeros.len()), (3, 6));
    assert!(world.files.values().all(|bytes| *bytes == 3 * FILE));
    assert!(world.said.is_empty(), "{:?}", world.said);
    assert!(world.leader.missing().is_empty());
}

#[test]
fn a_shard_that_dies_in_one_of_several_runs_ends_them() {
    let mut seen = BTreeSet::new();
    for after in (0..400).step_by(17) {
        let world = many(3, |natures| natures[2].dies_after = Some(after));
        if world.fates()[2] == &Fate::Died && after > 0 {
            assert_eq!(world.leader.missing(), [2], "{after}: {:?}", world.said);
            assert!(!world.leader.goes_on());
            seen.insert(world.run);
        }
        let others = [0, 1, 3].map(|other| world.fates()[other]);
        assert_eq!(others, [&Fate::Bye; 3], "{after}");
    }
    assert_eq!(seen, BTreeSet::from([1, 2, 3]));
}

#[test]
fn a_stop_is_of_one_run_or_of_all_that_would_follow() {
    for (stops, runs) in [(Scope::Run, 3), (Scope::Series, 1)] {
        // While it prepares itself, before the start, in each step, while files are sent.
        for at in [1_040, 1_600, 3_000, 4_500, 6_300] {
            let world = many(3, |natures| {
                natures[2].interrupted_at = Some(at * MS);
                natures[2].stops = stops;
            });
            assert_eq!(world.fates(), [&Fate::Bye; 4], "{at}");
            assert_eq!(world.run, runs, "{stops:?} at {at}: {:?}", world.zeros);
            assert!(world.leader.missing().is_empty(), "{:?}", world.said);
        }
    }
}

#[test]
fn shards_whose_files_lie_in_the_shared_folder_send_none() {
    let world = world(|natures| natures.iter_mut().for_each(|nature| nature.shared = true));
    assert_eq!(world.fates(), [&Fate::Bye; 4]);
    assert!(world.files.is_empty());
}

#[test]
fn a_shard_may_die_at_any_message() {
    let mut seen = BTreeSet::new();
    for after in 0..120 {
        let world = world(|natures| {
            natures[2].dies_after = Some(after);
            natures.iter_mut().for_each(|nature| nature.runs = SECOND);
        });
        let died = world.fates()[2] == &Fate::Died;
        if died && after > 0 {
            assert_eq!(world.leader.missing(), [2], "{after}: {:?}", world.said);
            let last = world.said.last().unwrap();
            assert!(last.contains("shard 2 of 4 (node-2) was lost"), "{last}");
            seen.insert(world.zeros.len());
        }
        assert!(!died || world.leader.stopped().is_some() || world.zeros.len() == 2);
    }
    assert_eq!(
        seen,
        BTreeSet::from([0, 1, 2]),
        "losses before and in each step"
    );
}

#[test]
fn others_go_on_without_a_lost_shard_where_that_is_asked_for() {
    let mut natures = four();
    natures[1].dies_after = Some(100);
    let mut rules = rules();
    rules.on_loss = OnLoss::Continue;
    let mut world = World::new(rules, 2, natures);
    world.run();
    world.laws();
    assert_eq!(world.leader.missing(), [1]);
    assert!(world.leader.stopped().is_none());
    assert_eq!(world.zeros.len(), 2);
    assert_eq!(world.fates()[3], &Fate::Bye);
}

#[test]
fn a_link_that_is_cut_is_noticed_on_both_sides() {
    let world = world(|natures| natures[3].cut_at = Some(4 * SECOND));
    assert_eq!(world.fates()[3], &Fate::LeaderLost);
    assert_eq!(world.leader.missing(), [3]);
    let said = world.said.join("\n");
    assert!(said.contains("nothing was heard of it for 3.0 s"), "{said}");
    assert_eq!(world.fates()[0], &Fate::Bye);
}

#[test]
fn a_shard_that_is_stopped_for_longer_is_lost_and_finds_that_out() {
    let frozen = Some((3 * SECOND + 500 * MS, 13 * SECOND));
    let world = world(|natures| natures[1].frozen = frozen);
    assert_eq!(world.fates()[1], &Fate::LeaderLost);
    assert_eq!(world.leader.missing(), [1]);
}

#[test]
fn without_their_leader_shards_stop() {
    let mut world = World::new(rules(), 2, four());
    world.at(4 * SECOND, What::LeaderDies);
    world.run();
    world.laws();
    assert_eq!(world.fates(), [&Fate::LeaderLost; 4]);
}

#[test]
fn an_interrupt_at_one_stops_all() {
    // Before all are there, before the start, in each step, while files are sent, after the end.
    for at in [1_001, 1_200, 2_100, 3_000, 4_500, 7_000, 30_000] {
        let world = world(|natures| {
            natures[2].interrupted_at = Some(at * MS);
            natures[3].prepares = 400 * MS;
        });
        for fate in world.fates() {
            assert!(
                matches!(fate, Fate::Bye | Fate::StoppedBefore),
                "{at}: {fate:?}"
            );
        }
        match at {
            ..5_000 if at > 1_001 => {
                let why = world.leader.stopped().expect("a stop");
                assert!(why.contains("Ctrl-C at shard 2 (node-2)"), "{why}");
            }
            _ => {}
        }
        assert!(world.leader.missing().is_empty(), "{at}: {:?}", world.said);
    }
}

#[test]
fn who_does_not_belong_is_refused_in_one_line() {
    type Change = fn(&mut Nature);
    let table: [(Change, &str); 7] = [
        (
            |n| n.version = "2",
            "shard 1 on node-4 (10.0.0.4:4000) was refused: it is pinfire 2, the leader is 1",
        ),
        (
            |n| n.shards = 8,
            "shard 1 on node-4 (10.0.0.4:4000) was refused: it takes part in a run of 8 shards, this one has 4",
        ),
        (
            |n| n.index = 4,
            "shard 4 on node-4 (10.0.0.4:4000) was refused: this run has 4 shards, counted from 0",
        ),
        (
            |n| n.token = "u",
            "a connection from 10.0.0.4:4000 was refused: its token is another one (PINFIRE_JOIN_TOKEN)",
        ),
        (
            |_| {},
            "shard 1 on node-4 (10.0.0.4:4000) was refused: the same process has joined already (from node-1); what a shard has sent is never sent again",
        ),
        (
            |n| n.incarnation = 5,
            "shard 1 on node-4 (10.0.0.4:4000) was refused: another process has joined as this shard (from node-1); what a shard has sent is never sent again",
        ),
        (
            |n| n.garbage = Some(b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            "a connection from 10.0.0.4:4000 was refused: it does not speak pinfire's protocol",
        ),
    ];
    for (change, line) in table {
        let world = world(|natures| {
            let mut more = Nature::of(1);
            more.starts = SECOND;
            change(&mut more);
            natures.push(more);
        });
        assert_eq!(world.said, [line]);
        assert_eq!(&world.fates()[..4], [&Fate::Bye; 4], "{line}");
        if let Some(Fate::Refused(why)) = world.processes[4].fate.as_ref() {
            assert!(line.ends_with(why.as_str()), "{why}");
        } else {
            assert!(world.processes[4].nature.garbage.is_some());
        }
    }
}

#[test]
fn a_second_incarnation_of_a_lost_shard_is_refused_too() {
    let world = world(|natures| {
        natures[1].dies_after = Some(100);
        let mut again = Nature::of(1);
        again.incarnation = 5;
        again.starts = 5 * SECOND;
        natures.push(again);
    });
    assert!(matches!(&world.fates()[4], Fate::Refused(why) if why.contains("another process")));
    assert_eq!(world.leader.missing(), [1]);
}

#[test]
fn who_says_half_a_greeting_is_closed_after_a_while() {
    let world = world(|natures| {
        let mut slow = Nature::of(9);
        slow.garbage = Some(b"pinfire\x01abc".to_vec());
        natures.push(slow);
    });
    let expected =
        "a connection from 10.0.0.4:4000 was refused: it did not say who it is within 5 s";
    assert_eq!(world.said, [expected]);
    assert_eq!(&world.fates()[..4], [&Fate::Bye; 4]);
}

#[test]
fn shards_that_differ_in_what_they_have_do_not_run() {
    for (at, name) in ["settings", "credentials", "files", "tokenizer files"]
        .into_iter()
        .enumerate()
    {
        let world = world(|natures| {
            natures[3].digests[at] = 77;
            natures[3].starts = MS;
        });
        assert!(world.zeros.is_empty(), "{name}");
        let line = &world.said[0];
        assert!(
            line.starts_with("shard 3 on node-3 was refused: its "),
            "{line}"
        );
        assert!(line.contains(name), "{line}");
        assert!(line.ends_with("differ from the others': --other"), "{line}");
        assert!(matches!(world.fates()[3], Fate::Refused(_)));
    }
}

#[test]
fn who_has_not_the_input_gets_it_before_the_run_begins() {
    let world = world(|natures| {
        natures[1].asks = true;
        natures[3].asks = true;
    });
    assert_eq!(world.fates(), [&Fate::Bye; 4]);
    let all = (INPUT, INPUT);
    assert_eq!(world.inputs, BTreeMap::from([(1, all), (3, all)]));
}

#[test]
fn who_asks_for_what_is_not_sent_is_lost() {
    let mut rules = rules();
    rules.run.inputs[0].stays = Some("it is a folder".to_owned());
    let mut natures = four();
    natures[2].asks = true;
    let mut world = World::new(rules, 1, natures);
    world.run();
    world.laws();
    assert_eq!(world.leader.missing(), [2]);
    assert!(
        world.said[0].contains("a file that is not sent"),
        "{:?}",
        world.said
    );
}

#[test]
fn too_many_failures_are_those_of_the_whole() {
    let with = |from: u64, answers: [(u64, u64); 4]| {
        let mut rules = rules();
        rules.pace.threshold = Some(Threshold { share: 0.25, from });
        let mut natures = four();
        for (nature, (ended, failed)) in natures.iter_mut().zip(answers) {
            nature.answers = Answers { ended, failed };
            nature.runs = 3 * SECOND;
        }
        let mut world = World::new(rules, 1, natures);
        world.run();
        world.laws();
        (
            world.leader.gave_up(),
            world.leader.stopped().map(str::to_owned),
        )
    };
    // All of one shard's requests have failed, and few of the whole's.
    let one = [(100, 100), (100, 0), (100, 0), (100, 0)];
    assert_eq!(with(10, one), (false, None));
    let more = [(100, 100), (100, 1), (100, 0), (100, 0)];
    let why = "101 of 400 requests of all shards failed, more than --failed-request-threshold \
               allows";
    assert_eq!(with(10, more), (true, Some(why.to_owned())));
    assert_eq!(with(401, more), (false, None), "not yet to be judged");
}

#[test]
fn who_has_not_joined_in_time_is_named() {
    let mut natures = four();
    natures.remove(1);
    natures.remove(2);
    let mut world = World::new(rules(), 1, natures);
    world.run();
    world.laws();
    let why = world.leader.stopped().unwrap();
    assert_eq!(
        why,
        "after 20 s (--join-timeout) shards 1, 3 of 4 had not joined"
    );
    assert_eq!(world.said[0], "waiting for shards 1, 3");
}

#[test]
fn everybody_waits_for_one_that_prepares_long_and_it_is_named() {
    let world = world(|natures| natures[2].prepares = 25 * SECOND);
    assert_eq!(world.said, ["waiting for shard 2", "waiting for shard 2"]);
    assert_eq!(world.fates(), [&Fate::Bye; 4]);
}

#[test]
fn random_runs_obey_the_laws() {
    let asked = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = match asked("PINFIRE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..asked("PINFIRE_RUNS").unwrap_or(200_u64),
    };
    for seed in seeds {
        random_run(seed);
    }
}

fn random_run(seed: u64) {
    println!("PINFIRE_SEED={seed}");
    let mut draws = Purpose::new(seed, "cluster").at(0);
    let mut natures = four();
    for nature in &mut natures {
        nature.starts = draws.below(3 * SECOND);
        nature.prepares = draws.below(2 * SECOND);
        nature.runs = 100 * MS + draws.below(4 * SECOND);
        nature.shared = draws.below(2) == 0;
        nature.asks = draws.below(6) == 0;
        let way = 10_000 + draws.below(40 * MS);
        nature.ways = [way, way + draws.below(5 * MS)];
        nature.clock = (
            draws.below(2_000_000 * SECOND) as i64,
            (draws.uniform() - 0.5) * 200e-6,
        );
        let at = SECOND + draws.below(12 * SECOND);
        match draws.below(12) {
            0 => nature.dies_after = Some(draws.below(300) as u32),
            1 => nature.frozen = Some((at, at + draws.below(10 * SECOND))),
            2 => nature.cut_at = Some(at),
            3 => nature.interrupted_at = Some(at),
            4 => nature.digests[draws.below(4) as usize] = 8,
            _ => {}
        }
    }
    for _ in 0..draws.below(3) {
        let mut more = Nature::of(draws.below(5) as u32);
        more.starts = draws.below(6 * SECOND);
        more.incarnation = draws.u64();
        let length = draws.below(600) as usize;
        more.garbage = Some((0..length).map(|_| draws.below(256) as u8).collect());
        if draws.below(2) == 0 {
            more.garbage = None;
        }
        natures.push(more);
    }
    let mut rules = rules();
    if draws.below(2) == 0 {
        rules.on_loss = OnLoss::Continue;
    }
    if draws.below(2) == 0 {
        rules.pace.leads = vec![leader::LEAD, Span::from_millis(20)];
    }
    let runs = 1 + draws.below(3) as u32;
    if runs > 1 {
        rules.run.series = series().run.series;
    }
    for nature in &mut natures {
        if draws.below(2) == 0 {
            nature.stops = Scope::Run;
        }
    }
    let mut world = World::new(rules, 1 + draws.below(3) as u32, natures);
    world.runs = runs;
    if draws.below(10) == 0 {
        let at = SECOND + draws.below(10 * SECOND);
        world.at(at, What::LeaderDies);
    }
    world.run();
    world.laws();
}
