//! `--dry-run`: the schedule that would be sent, one JSON line per request, without a socket.

use std::{
    io::{BufWriter, Write},
    sync::Arc,
};

use anyhow::{Result, ensure};
use pinfire_artifacts::json_line;
use pinfire_engine::{plan::PhasePlan, run::rehearse, schedule::Pace};
use pinfire_guard::ascii_json;
use serde::Serialize;

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

/// Prints the requests of one phase.
///
/// # Errors
/// The phase has no end of its own. A reader that has gone away is none.
pub fn print(name: &'static str, plan: &Arc<PhasePlan>) -> Result<()> {
    let timed = !matches!(plan.schedule.pace, Pace::Closed);
    ensure!(
        plan.schedule.ends() || (timed && plan.duration.is_some()),
        "--dry-run: how many requests this phase sends is up to the server; add --request-count"
    );
    let mut out = BufWriter::new(std::io::stdout().lock());
    for request in rehearse(plan) {
        let delay = plan
            .cancel
            .as_ref()
            .and_then(|cancel| cancel.delay(request.index));
        let line = ScheduleLine {
            phase: name,
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
