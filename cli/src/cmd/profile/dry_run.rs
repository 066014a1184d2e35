//! `--dry-run`: the schedule that would be sent, one JSON line per request, without a socket.

use std::io::{BufWriter, Write};

use anyhow::{Result, ensure};
use pinfire_artifacts::json_line;
use pinfire_base::record::Phase;
use pinfire_engine::{
    run::{Rehearsed, rehearse},
    schedule::Pace,
};
use pinfire_guard::ascii_json;
use serde::Serialize;

use super::plans::{Plans, phase_name};
use crate::load::PhaseLoad;

#[derive(Serialize)]
struct ScheduleLine<'a> {
    phase: &'static str,
    index: u64,
    /// From the start of the phase; `null` where only the server decides.
    scheduled_ns: Option<u64>,
    session: u64,
    conversation: &'a str,
    turn: u32,
    cancel: bool,
    cancel_delay_ns: Option<u64>,
}

/// Prints the requests of one phase, the shard's own if there are several.
///
/// Which turn of which conversation takes an instant or a number is up to the answers, and so to
/// all shards together: of conversations it shows those of the shard in the schedule of one
/// process.
///
/// # Errors
/// The phase has no end of its own. A reader that has gone away is none.
pub fn print(phase: Phase, plans: &Plans<'_>, load: &PhaseLoad, first_session: u64) -> Result<()> {
    let shard = plans.settings.shard();
    let whole = plans.whole(phase, load, first_session);
    let plan = match whole.schedule.single {
        true => plans.phase(phase, load, first_session),
        false => whole,
    };
    let timed = !matches!(plan.schedule.pace, Pace::Closed);
    ensure!(
        plan.schedule.ends() || (timed && plan.duration.is_some()),
        "--dry-run: how many requests this phase sends is up to the server; add --request-count"
    );
    let mut out = BufWriter::new(std::io::stdout().lock());
    let own = |request: &Rehearsed| shard.owns(request.session);
    for request in rehearse(&plan).filter(own) {
        let delay = plan
            .cancel
            .as_ref()
            .and_then(|cancel| cancel.delay(request.index));
        let line = ScheduleLine {
            phase: phase_name(phase),
            index: request.index,
            scheduled_ns: timed.then_some(request.scheduled.nanos()),
            session: request.session,
            conversation: plan.dataset.name(plan.conversation(request.session)),
            turn: request.turn,
            cancel: delay.is_some(),
            cancel_delay_ns: delay.map(|delay| delay.nanos()),
        };
        if writeln!(out, "{}", ascii_json(&json_line(&line))).is_err() {
            return Ok(());
        }
    }
    // A closed pipe, as above.
    let _ = out.flush();
    Ok(())
}
