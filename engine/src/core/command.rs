//! What the control side asks of a core.

use std::sync::Arc;

use crossbeam_channel::Sender;
use pinfire_base::clock::Stamp;

use super::{Core, clock::LoopClock, handoff::Handoff};
use crate::{io::Io, plan::PhasePlan};

/// One thing that it asks.
pub(crate) enum Command {
    /// Begin a phase whose time counts from that instant, while another may hold so much.
    Begin(Arc<PhasePlan>, Stamp, Option<Arc<Handoff>>),
    /// Poll whether the other cores have sent the rest.
    PollHandoff,
    /// End it early.
    Stop,
    /// Close everything and forget it; the sender is dropped when that is done.
    Rest(Sender<()>),
    /// Close everything; the thread ends.
    Leave,
}

impl<I: Io> Core<I> {
    /// Does as it is told. False after the last command.
    pub(super) fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Begin(plan, begun, handoff) => {
                self.begin(plan, begun, handoff);
                LoopClock::wake_timer(&*self.io);
            }
            Command::PollHandoff => self.poll_handoff(),
            Command::Stop => self.stop(),
            Command::Rest(done) => self.rest(done),
            Command::Leave => {
                self.leave();
                return false;
            }
        }
        true
    }
}
