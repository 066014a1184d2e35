//! From the settings of cancellation to the plan for the cores.

use anyhow::{Result, bail};
use pinfire_base::{
    clock::Span,
    delay::Delay,
    record::{CancelTrigger, Leave, PlannedCancellation, Trigger},
};
use pinfire_config::{Get, Given, Refusal, RunConfig, demand};
use pinfire_dialect::EndpointKind;
use pinfire_engine::schedule::CancelPlan;
use pinfire_proto::Scan;
use pinfire_workload::dataset::{Dataset, Turn};

/// Checks the settings together; `None` cancels nothing.
///
/// # Errors
/// The first combination that makes no sense, with the way out.
pub fn decide(
    config: &RunConfig,
    kind: EndpointKind,
    streaming: bool,
) -> Result<Option<PlannedCancellation>> {
    let asked = &config.cancellation;
    let (rate, patience) = (&asked.request_cancellation_rate, &asked.patience);
    let of_delay: [(&str, &dyn Given); 3] = [
        (
            "--request-cancellation-delay",
            &asked.request_cancellation_delay,
        ),
        (
            "--request-cancellation-trigger",
            &asked.request_cancellation_trigger,
        ),
        (
            "--request-cancellation-wave",
            &asked.request_cancellation_wave,
        ),
    ];
    let mode: (&str, &dyn Given) = (
        "--request-cancellation-mode",
        &asked.request_cancellation_mode,
    );
    if patience.is_some() {
        if let Some((flag, other)) = of_delay.iter().find(|(_, other)| other.is_given()) {
            let message = format!(
                "{flag} and --patience exclude each other: patience is a trigger and a delay of \
                     its own"
            );
            return Err(Refusal::about(&[*other, patience], message).into());
        }
    } else if rate.is_none() {
        let mut others = of_delay.iter().chain([&mode]);
        if let Some((flag, other)) = others.find(|(_, other)| other.is_given()) {
            let message = format!(
                "{flag} needs --request-cancellation-rate: without a rate nothing is cancelled"
            );
            return Err(Refusal::about(&[*other], message).into());
        }
        return Ok(None);
    }
    let trigger = match patience {
        Some(_) => CancelTrigger::At(Trigger::Patience),
        None => asked
            .request_cancellation_trigger
            .get()
            .unwrap_or(CancelTrigger::At(Trigger::Sent)),
    };
    let delay = patience.get().or(asked.request_cancellation_delay.get());
    let mode = asked.request_cancellation_mode.get();
    let planned = PlannedCancellation {
        // Without a share all users have the same patience.
        rate_pct: rate.get().unwrap_or(100.0),
        delay: delay.unwrap_or(Delay::Fixed(Span::ZERO)),
        trigger,
        leave: mode.map_or(Leave::Fin, Leave::from),
        wave: asked
            .request_cancellation_wave
            .get()
            .map(Span::from_secs_f64),
    };
    suits(&planned, config, kind, streaming)?;
    Ok(Some(planned))
}

/// Whether it means something for this kind of endpoint and its connections.
fn suits(
    planned: &PlannedCancellation,
    config: &RunConfig,
    kind: EndpointKind,
    streaming: bool,
) -> Result<()> {
    let (asked, trigger, mode) = (&config.cancellation, planned.trigger, planned.leave.name());
    let flag = match trigger {
        CancelTrigger::At(Trigger::Patience) => "--patience".to_owned(),
        other => format!("--request-cancellation-trigger {other}"),
    };
    let of_tokens = matches!(
        trigger,
        CancelTrigger::At(Trigger::FirstToken | Trigger::Tokens(_) | Trigger::Patience)
            | CancelTrigger::Fraction(_)
    );
    demand!(
        streaming || !of_tokens,
        [
            asked.request_cancellation_trigger,
            asked.patience,
            config.endpoint.streaming
        ],
        "{flag} needs --streaming: without a stream no token comes before the last"
    );
    let counts = matches!(
        trigger,
        CancelTrigger::At(Trigger::Tokens(_)) | CancelTrigger::Fraction(_)
    );
    demand!(
        !counts || kind.row().scan != Scan::Keep,
        [
            asked.request_cancellation_trigger,
            config.endpoint.endpoint_type
        ],
        "{flag} counts the chunks of chat and completions, not the events of {}; take \
             first-token with a delay",
        kind.name()
    );
    demand!(
        !(trigger == CancelTrigger::At(Trigger::Connect) && planned.leave == Leave::HalfClose),
        [
            asked.request_cancellation_trigger,
            asked.request_cancellation_mode
        ],
        "{flag} and --request-cancellation-mode half-close exclude each other: nothing has been \
             sent that could be answered"
    );
    let mut urls = config.endpoint.url.iter();
    let unix = urls.find(|url| url.get().starts_with("unix:"));
    demand!(
        planned.leave != Leave::Rst || unix.is_none(),
        [asked.request_cancellation_mode, config.endpoint.url],
        "--request-cancellation-mode {mode}: a socket in the file system has no reset; take fin"
    );
    Ok(())
}

/// The plan for the cores.
///
/// # Errors
/// A fraction of an output length that a request does not have.
pub fn plan(planned: &PlannedCancellation, seed: u64, dataset: &Dataset) -> Result<CancelPlan> {
    let mut plan =
        CancelPlan::delayed(seed, planned.rate_pct, planned.delay).leaving(planned.leave);
    if let Some(wave) = planned.wave {
        plan = plan.in_waves(wave);
    }
    let share = match planned.trigger {
        CancelTrigger::At(trigger) => return Ok(plan.from_trigger(trigger)),
        CancelTrigger::Fraction(share) => share,
    };
    // What another process sends is cancelled there.
    let length = |turn: &Turn| match turn.is_of_others() {
        true => Some(1),
        false => turn.osl,
    };
    let counts = fraction(share, dataset.turns().map(length))?;
    Ok(plan.from_tokens(counts.into()))
}

/// How many content events are that share of each request's output length.
///
/// # Errors
/// A request has none.
pub fn fraction(share: f64, lengths: impl Iterator<Item = Option<u32>>) -> Result<Vec<u32>> {
    let counts = lengths.map(|length| {
        let Some(length) = length else {
            bail!(
                "--request-cancellation-trigger fraction:{share}: a request has no output length to take \
                 the fraction of; give --osl, or take tokens:N"
            );
        };
        Ok(((share * f64::from(length)).round() as u32).max(1))
    });
    counts.collect()
}

/// Sockets that are kept open although their requests have ended, of so many requests.
pub fn kept_sockets(planned: &PlannedCancellation, requests: u64) -> u64 {
    match planned.leave {
        Leave::Stall => (requests as f64 * planned.rate_pct / 100.0).ceil() as u64,
        Leave::Fin | Leave::Rst | Leave::HalfClose => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::typed;

    fn asked(more: &str) -> Result<Option<PlannedCancellation>> {
        let config = typed(more.split_whitespace())?;
        let endpoint = &config.endpoint;
        decide(
            &config,
            endpoint.endpoint_type.value,
            endpoint.streaming.value,
        )
    }

    #[test]
    fn combinations_that_make_no_sense_say_why() {
        let rate = "--request-cancellation-rate 5";
        for (line, words) in [
            ("--request-cancellation-delay 1", &["-delay", "-rate"][..]),
            (
                "--request-cancellation-trigger sent",
                &["-trigger", "-rate"],
            ),
            ("--request-cancellation-mode rst", &["-mode", "-rate"]),
            ("--request-cancellation-wave 1", &["-wave", "-rate"]),
            (
                "--streaming --patience ttft:1 --request-cancellation-delay 1",
                &["-delay", "--patience", "exclude"],
            ),
            ("--patience ttft:1", &["--patience", "--streaming"]),
            (
                "RATE --request-cancellation-trigger first-token",
                &["first-token", "--streaming"],
            ),
            (
                "RATE --streaming --endpoint-type messages --request-cancellation-trigger tokens:3",
                &["tokens:3", "messages", "first-token"],
            ),
            (
                "RATE --request-cancellation-trigger connect --request-cancellation-mode half-close",
                &["connect", "half-close"],
            ),
            (
                "RATE --request-cancellation-mode rst --url unix:/tmp/s",
                &["rst", "fin"],
            ),
        ] {
            let line = line.replace("RATE", rate);
            let error = format!("{:#}", asked(&line).unwrap_err());
            for word in words {
                assert!(error.contains(word), "{line}: {error}");
            }
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_defaults_are_aiperfs_meaning() {
        assert!(asked("").unwrap().is_none());
        let plain = asked("--request-cancellation-rate 5").unwrap().unwrap();
        assert_eq!(plain.trigger, CancelTrigger::At(Trigger::Sent));
        assert_eq!((plain.leave, plain.wave), (Leave::Fin, None));
        assert_eq!(plain.delay, Delay::Fixed(Span::ZERO));
        let patient = asked("--streaming --patience ttft:1.5").unwrap().unwrap();
        assert_eq!(patient.rate_pct, 100.0);
        assert_eq!(patient.trigger, CancelTrigger::At(Trigger::Patience));
    }
}
