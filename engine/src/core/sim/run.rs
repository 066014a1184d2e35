//! One run: the control side, as the engine is to its cores, and the laws that are checked on the
//! way.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use crossbeam_channel::{Receiver, unbounded};
use pinfire_base::{
    clock::{Span, Stamp},
    health::Counts,
    limits::BEGIN_LEAD,
    random::Purpose,
    record::Record,
};

use super::{
    Totals,
    dice::Dice,
    laws,
    nature::MILLI,
    script::{Script, Then},
    seal::Seal,
    world::{Outside, World},
};
use crate::{
    core::{Core, Shared, command::Command, handoff::Handoff, wake::begin_own},
    plan::PhasePlan,
    report::{CoreReport, Progress},
    request::Ids,
    schedule::Pace,
};

/// Nothing scripted lasts so long.
const FOREVER: u64 = 20_000 * MILLI;

/// A phase that is out.
pub(super) struct Out {
    pub(super) plan: Arc<PhasePlan>,
    pub(super) reports: Vec<CoreReport>,
    told: usize,
    /// It was cut short.
    pub(super) cut: bool,
    /// Another of its kind was out beside it: the counts on the way are of both.
    pub(super) overtaken: bool,
}

impl Out {
    /// Whether a record is of this phase. Another of its kind has ids of its own.
    fn has(&self, record: &Record) -> bool {
        let ids = Purpose::keyed(self.plan.id_key ^ self.plan.phase as u64);
        let of = Ids::new(ids, record.index, record.correlation);
        record.phase == self.plan.phase && record.request_id == of.request
    }
}

pub(super) struct Run {
    script: Script,
    pub(super) world: Rc<World>,
    pub(super) cores: Vec<Shared<Outside>>,
    arriving: Receiver<Record>,
    reports: Receiver<CoreReport>,
    progress: Arc<[[Progress; 2]]>,
    records: Vec<Record>,
    out: Vec<Out>,
    totals: Totals,
}

impl Run {
    pub(super) fn of(seed: u64, traced: bool) -> Self {
        let dice = Dice::new(seed);
        let mut script = Script::draw(&dice);
        let nature = script.nature.take().expect("a script has one");
        let count = script.setup.cpus.len();
        let world = World::new(nature, dice, count, traced);
        let (records, arriving) = unbounded();
        let (report, reports) = unbounded();
        let progress: Arc<[[Progress; 2]]> = (0..count).map(|_| Default::default()).collect();
        let cores = (0..count).map(|core| {
            let io = Rc::new(Outside {
                world: Rc::clone(&world),
                core,
            });
            let shared = Core::new(
                core,
                &script.setup,
                Rc::clone(&io),
                records.clone(),
                report.clone(),
                Arc::clone(&progress),
            );
            begin_own(&shared, &io);
            shared
        });
        Self {
            cores: cores.collect(),
            script,
            world,
            arriving,
            reports,
            progress,
            records: Vec::new(),
            out: Vec::new(),
            totals: Totals::default(),
        }
    }

    pub(super) fn play(mut self) -> Totals {
        let traced = TellOnPanic(Rc::clone(&self.world));
        let phases = self.script.phases.clone();
        let then = self.script.then;
        let mut phases = phases.into_iter();
        self.begin(phases.next().expect("one at least"));
        for plan in phases {
            match then {
                Then::Ended => self.until_ended(None),
                Then::SentAll => self.until_sent(),
                Then::Whenever => {
                    let at = self.world.now() + self.world.dice.below(20 * MILLI);
                    self.until_ended(Some(at));
                    self.out.iter_mut().for_each(|out| out.cut = true);
                }
                Then::Rested => {
                    self.until_ended(None);
                    self.rest();
                }
            }
            self.begin(plan);
        }
        if let Some(after) = self.script.stop {
            self.until_ended(Some(self.world.now() + after.nanos()));
            self.world.note(|| "stop".to_owned());
            for core in &self.cores {
                core.borrow_mut().obey(Command::Stop);
            }
            self.out.iter_mut().for_each(|out| out.cut = true);
        }
        self.until_ended(None);
        self.rest();
        self.leave();
        drop(traced);
        self.totals
    }

    fn begin(&mut self, plan: Arc<PhasePlan>) {
        self.world.note(|| format!("begin {plan:?}"));
        let handoff = self.out.last().map(|elder| {
            let elder = elder.plan.phase as usize;
            let cores = self.progress.iter();
            let held: Vec<[usize; 2]> = cores
                .map(|core| core[elder].held().unwrap_or_default())
                .collect();
            let by_core = [0, 1].map(|limit| held.iter().map(|held| held[limit]).collect());
            Arc::new(Handoff::new([plan.concurrency, plan.prefill], by_core))
        });
        let mut overtakes = false;
        for elder in self
            .out
            .iter_mut()
            .filter(|elder| elder.plan.phase == plan.phase)
        {
            elder.overtaken = true;
            overtakes = true;
        }
        for core in &*self.progress {
            core[plan.phase as usize].reset();
        }
        let lead = match plan.schedule.pace {
            Pace::Closed => Span::ZERO,
            _ => BEGIN_LEAD,
        };
        let begun = Stamp::from_nanos(self.world.now()) + lead;
        self.out.push(Out {
            plan: Arc::clone(&plan),
            reports: Vec::new(),
            told: 0,
            cut: false,
            overtaken: overtakes,
        });
        for core in &self.cores {
            let begin = Command::Begin(Arc::clone(&plan), begun, handoff.clone());
            core.borrow_mut().obey(begin);
        }
    }

    /// Until every phase has ended, or an instant has come.
    fn until_ended(&mut self, at: Option<u64>) {
        self.until("a phase to end", |run| {
            run.out.is_empty() || at.is_some_and(|at| run.world.now() >= at)
        });
    }

    /// Until the first phase has sent its last request.
    fn until_sent(&mut self) {
        self.until("the last request to be sent", |run| {
            let Some(out) = run.out.last() else {
                return true;
            };
            let phase = out.plan.phase as usize;
            run.progress.iter().all(|core| core[phase].held().is_some())
        });
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let limit = self.world.now() + FOREVER;
        let mut turns = 0;
        while !is_so(self) {
            turns += 1;
            assert!(turns < 1_000_000, "{what} takes too many turns");
            let goes_on = self.world.turn();
            laws::hold_now(self);
            self.gather();
            assert!(
                goes_on || is_so(self),
                "nothing happens any more, while it waits for {what}"
            );
            assert!(self.world.now() < limit, "{what} takes for ever");
        }
    }

    fn gather(&mut self) {
        if let Some(out) = self.out.last_mut() {
            let schedule = &out.plan.schedule;
            let numbers = [&schedule.sessions, &schedule.requests];
            let used_up = numbers.iter().filter(|numbers| numbers.exhausted()).count();
            if used_up > out.told {
                out.told = used_up;
                for core in &self.cores {
                    core.borrow_mut().obey(Command::PollHandoff);
                }
            }
        }
        while let Ok(report) = self.reports.try_recv() {
            let mut out = self.out.iter_mut();
            let out = out.find(|out| {
                let has = out.reports.iter().any(|of| of.core == report.core);
                out.plan.phase == report.phase && !has
            });
            let out = out.expect("a report is of a phase that is out");
            out.reports.push(report);
        }
        let cores = self.cores.len();
        while let Some(place) = self.out.iter().position(|out| out.reports.len() == cores) {
            let out = self.out.remove(place);
            self.records.extend(self.arriving.try_iter());
            let (of_it, others) = std::mem::take(&mut self.records)
                .into_iter()
                .partition(|record| out.has(record));
            self.records = others;
            self.end(&out, of_it);
        }
    }

    fn end(&mut self, out: &Out, mut records: Vec<Record>) {
        records.sort_by_key(|record| record.index);
        self.world.note(|| format!("ended {:?}", out.plan.phase));
        let mut counts = Counts::default();
        for report in &out.reports {
            counts.add(&report.counts);
        }
        let mut told = Counts::default();
        for core in &*self.progress {
            told.add(&core[out.plan.phase as usize].counts());
        }
        laws::hold_of(&self.world, out, &records, &counts, &told);
        let sealed = matches!(self.world.nature.seal, Seal::Real(_));
        let count = |record| self.totals.count(record, sealed);
        records.iter().for_each(count);
    }

    /// Every connection is closed, and the cores are as new.
    fn rest(&mut self) {
        let rested: Vec<_> = self
            .cores
            .iter()
            .map(|core| {
                let (done, rested) = unbounded::<()>();
                core.borrow_mut().obey(Command::Rest(done));
                rested
            })
            .collect();
        self.until("the cores to come to rest", |_| {
            let told = |rested: &Receiver<()>| {
                rested.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected)
            };
            rested.iter().all(told)
        });
        let wires = self.world.wires.borrow();
        for (socket, wire) in wires.iter().enumerate() {
            assert!(wire.dropped, "socket {socket} is forgotten");
        }
        assert!(self.arriving.is_empty() && self.records.is_empty());
    }

    fn leave(&mut self) {
        for core in &self.cores {
            let mut core = RefCell::borrow_mut(core);
            core.obey(Command::Leave);
            core.task_ended(None);
        }
        self.until("the cores to leave", |run| {
            run.cores.iter().all(|core| core.borrow().tasks.have_left())
        });
        assert_eq!(self.world.tasks.live(), 0, "tasks are forgotten");
    }
}

/// What has happened is told where something has failed.
struct TellOnPanic(Rc<World>);

impl Drop for TellOnPanic {
    fn drop(&mut self) {
        for line in self.0.trace() {
            eprintln!("{line}");
        }
    }
}
