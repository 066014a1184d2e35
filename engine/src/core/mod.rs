//! One core: it owns its connections, starts what is due, reads what has come and hangs up on time.
//!
//! Everything here runs on one thread inside short, synchronous handlers; tasks only wait for
//! readiness (`tend`, `wake`) and call them. Data plane: no lock, no log, no formatting, no
//! allocation per event.

// What happens to a request: phase, send, tend, receive, expire, end.
mod end;
mod expire;
mod phase;
mod receive;
mod secure;
mod send;
mod tend;

mod agenda;
mod connection;
mod deadline;
mod pool;
mod wake;

pub(crate) mod place;
pub(crate) mod rehearsal;
pub(crate) mod seam;

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    sync::Arc,
    task::Waker,
};

use crossbeam_channel::Sender;
use pinfire_base::{
    clock::{Span, Stamp},
    health::{CoreHealth, Counts},
    limits::RECEIVE_BYTES,
    random::Purpose,
    record::{Phase, Record},
};

use self::{
    agenda::Agenda,
    connection::Connection,
    deadline::Deadlines,
    expire::Leaving,
    pool::IdlePool,
    seam::{Of, Seam},
};
use crate::{
    net::{Pollable, Timer},
    plan::{PhasePlan, Precision},
    report::{CoreReport, Progress},
};

/// A core and its tasks share it; handlers borrow it for their own length only.
pub(crate) type Shared = Rc<RefCell<Core>>;

/// Tasks of a core that hold no connection: `keep_time`, `end_turns`, `obey`.
const OWN_TASKS: usize = 3;

/// What one core holds.
pub(crate) struct Core {
    me: Weak<RefCell<Core>>,
    /// This core's number among the run's cores, and how many there are.
    number: usize,
    cores: usize,
    precision: Precision,
    records: Sender<Record>,
    reports: Sender<CoreReport>,
    /// By core, then by phase.
    progress: Arc<[[Progress; 2]]>,
    connections: Vec<Connection>,
    /// Slots of `connections` that hold nothing.
    vacant: Vec<usize>,
    idle: IdlePool,
    /// Connections begun by target, from a number of this core's own, so that cores differ in the
    /// addresses that come first.
    dialled: Vec<usize>,
    deadlines: Deadlines,
    /// Requests that are being left together; empty between two handlers.
    row: Vec<Leaving>,
    /// Deadlines that come at one instant, and which of their sockets have something to read; empty
    /// between two handlers.
    due_together: (Vec<(Stamp, usize)>, Vec<bool>),
    /// A deadline was acted on since someone last looked whether to start anything.
    hung_up: bool,
    timer: Rc<Timer>,
    /// The instant that the sleeping timer task waits for; `None` while it is awake.
    asleep_until: Option<Stamp>,
    buffer: Box<[u8]>,
    /// The request being sent: its head, and its body if that is small.
    outgoing: Vec<u8>,
    reads: u32,
    /// First stamp of the turn that is going on, and the task that ends it.
    turn_start: Option<Stamp>,
    turn_end: Option<Waker>,
    /// Tasks that go on when the turn is over.
    gave_way: Vec<Waker>,
    /// Marks and bytes of recent answers: the room given to the next ones.
    room: (usize, usize),
    phases: Phases,
    /// More requests are due than one turn may start.
    more_due: bool,
    /// Tasks: those that hold a connection, and [`OWN_TASKS`].
    tending: usize,
    /// Whoever waits until nothing is open; see [`Core::rest`].
    rested: Option<Sender<()>>,
    leaving: bool,
    left: Option<Waker>,
}

/// The phases that are out: at most two, and never two of a kind.
#[derive(Default)]
struct Phases {
    /// The one that sends.
    current: Option<Running>,
    /// The one before it, where that was begun before all answers of this had come.
    draining: Option<Running>,
}

/// A phase that is out.
struct Running {
    plan: Arc<PhasePlan>,
    ids: Purpose,
    agenda: Agenda,
    /// When the next turn may go; `None` when nothing can before something returns.
    next: Option<Stamp>,
    /// Something has returned at that instant, and nothing was started since.
    waiting_since: Option<Stamp>,
    /// When what is in flight is given up.
    drop_at: Option<Stamp>,
    /// The control side has been told that nothing more will be sent.
    sent_all: bool,
    /// While it drains: what it holds of the next phase's limits beyond the slots it is lent.
    excess: [usize; 2],
    seam: Option<Arc<Seam>>,
    /// Sockets that were left open and unread; hung up when the phase ends.
    stalled: Vec<Rc<Pollable>>,
    counts: Counts,
    health: CoreHealth,
    started: Stamp,
    cpu_before: Span,
}

impl Phases {
    /// The phase of a request in flight, which keeps it out.
    #[inline]
    fn of(&mut self, phase: Phase) -> &mut Running {
        match self.find(phase) {
            Some(running) => running,
            None => unreachable!("a phase ends after its last request"),
        }
    }

    /// That phase, if it is out.
    #[inline]
    fn find(&mut self, phase: Phase) -> Option<&mut Running> {
        match &mut self.current {
            Some(current) if current.plan.phase == phase => Some(current),
            _ => self
                .draining
                .as_mut()
                .filter(|running| running.plan.phase == phase),
        }
    }

    /// That phase, if it is the one that drains.
    #[inline]
    fn drains(&mut self, phase: Phase) -> Option<&mut Running> {
        let draining = self.draining.as_mut();
        draining.filter(|running| running.plan.phase == phase)
    }

    /// The current one, and the one that drains.
    fn out(&self) -> [Option<&Running>; 2] {
        [self.current.as_ref(), self.draining.as_ref()]
    }

    /// Some phase, for what belongs to no request.
    #[inline]
    fn any(&mut self) -> Option<&mut Running> {
        self.current.as_mut().or(self.draining.as_mut())
    }

    /// The draining phase gives one slot back: to the next one, or off what it held too many.
    fn hand_over(&mut self, of: Of, at: Stamp) {
        let Some(elder) = &mut self.draining else {
            return;
        };
        let excess = &mut elder.excess[of as usize];
        let lent = *excess == 0;
        *excess = excess.saturating_sub(1);
        if let Some(seam) = elder.seam.as_ref().filter(|_| !lent) {
            seam.give(of);
        }
        if let Some(younger) = &mut self.current {
            if lent {
                younger.agenda.regain(of, at);
            }
            younger.look_again();
        }
    }
}

impl Running {
    /// Something has returned: whoever called looks whether a turn may go now.
    #[inline]
    fn look_again(&mut self) {
        self.next = Some(Stamp::from_nanos(1));
        self.waiting_since.get_or_insert_with(Stamp::now);
    }
}

impl Core {
    pub(crate) fn new(
        number: usize,
        cores: usize,
        precision: Precision,
        timer: Rc<Timer>,
        records: Sender<Record>,
        reports: Sender<CoreReport>,
        progress: Arc<[[Progress; 2]]>,
    ) -> Shared {
        Rc::new_cyclic(|me| {
            RefCell::new(Self {
                me: me.clone(),
                number,
                cores,
                precision,
                records,
                reports,
                progress,
                connections: Vec::new(),
                vacant: Vec::new(),
                idle: IdlePool::default(),
                dialled: Vec::new(),
                deadlines: Deadlines::default(),
                row: Vec::new(),
                due_together: (Vec::new(), Vec::new()),
                hung_up: false,
                timer,
                asleep_until: None,
                buffer: vec![0; RECEIVE_BYTES].into_boxed_slice(),
                outgoing: Vec::new(),
                reads: 0,
                turn_start: None,
                turn_end: None,
                gave_way: Vec::new(),
                room: (0, 0),
                phases: Phases::default(),
                more_due: false,
                tending: 0,
                rested: None,
                leaving: false,
                left: None,
            })
        })
    }

    /// This core, for a task of its own.
    #[expect(
        clippy::expect_used,
        reason = "a handler runs on a core that its caller holds"
    )]
    pub(super) fn shared(&self) -> Shared {
        self.me.upgrade().expect("whoever borrows a core holds it")
    }

    #[inline]
    pub(super) fn count(&mut self, bump: impl FnOnce(&mut CoreHealth)) {
        if let Some(phase) = self.phases.any() {
            bump(&mut phase.health);
        }
    }

    /// Remembers what the latest answers needed, so that the next transcript is allocated once.
    /// Large answers decay, so that one giant does not make all others giants.
    pub(super) fn learn_room(&mut self, (marks, bytes): (usize, usize)) {
        let blend = |old: usize, new: usize| {
            if new >= old {
                new
            } else {
                old - (old - new) / 8
            }
        };
        self.room = (
            blend(self.room.0, marks).min(4_096),
            blend(self.room.1, bytes).min(64 * 1_024),
        );
    }

    #[inline]
    pub(super) fn begin_turn(&mut self, at: Stamp) {
        if self.turn_start.is_none() {
            self.turn_start = Some(at);
            self.wake_turn_end();
        }
    }

    pub(super) fn wake_turn_end(&self) {
        if let Some(waker) = &self.turn_end {
            waker.wake_by_ref();
        }
    }
}
