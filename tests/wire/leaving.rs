//! Triggers, waves and ways of leaving, from the server's side. Order and counts are asserted,
//! never how long something took.

use std::collections::{BTreeMap, HashMap};

use pinfire_base::{
    clock::{Span, Stamp},
    delay::Delay,
    record::{AfterHalfClose, Leave, Outcome, Record, Stage, Trigger},
};
use pinfire_engine::{
    plan::{DriverChoice, ReceiveStamps},
    schedule::CancelPlan,
};
use pinfire_tests::{
    load::{Load, Run, SEED, body, large_body},
    mock::{Mock, Truth, by_id, id, script, silent},
    on_both_drivers,
};
use pinfire_tools::mock::Script;

fn all() -> CancelPlan {
    CancelPlan::new(SEED, 100.0, Span::ZERO)
}

/// Streams that go on for half a minute, with a wide gap between two tokens.
fn slow_stream() -> Script {
    Script {
        ttft: Span::from_millis(20),
        itl: Span::from_millis(150),
        tokens: 200,
        ..script()
    }
}

fn run(driver: DriverChoice, script: Script, plan: CancelPlan, requests: u64) -> (Run, Vec<Truth>) {
    let mock = Mock::start(script);
    let load = Load::new(driver, mock.address()).of(6, requests);
    let run = load.leaving_by(plan).run();
    let (_, lines) = mock.stop();
    (run, lines)
}

/// Each record with the server's line of it.
fn pairs<'a>(run: &'a Run, lines: &'a [Truth]) -> Vec<(&'a Record, &'a Truth)> {
    let by_id: HashMap<&str, &Truth> = by_id(lines);
    let records = run.records.iter();
    records.map(|r| (r, by_id[&*id(r)])).collect()
}

fn stage(record: &Record) -> Stage {
    record.cancel.unwrap().done.unwrap().stage
}

on_both_drivers! {
    fn after_so_many_tokens_the_server_has_written_so_many(driver) {
        for count in [1, 2, 3] {
            let plan = all().from_trigger(Trigger::Tokens(count));
            let (run, lines) = run(driver, slow_stream(), plan, 12);
            assert_eq!(run.ends(), [0, 0, 12, 0]);
            for (record, line) in pairs(&run, &lines) {
                assert_eq!(line.sent, u64::from(count), "{line:?}");
                assert_eq!(line.how, "fin");
                assert_eq!(stage(record), Stage::Streaming);
                // The event was written before the client knew of it.
                let triggered = record.cancel.unwrap().done.unwrap().triggered;
                let slack = Span::from_micros(50).nanos();
                assert!(line.w_last <= run.anchor.unix_nanos(triggered) + slack, "{line:?}");
            }
        }
    }

    fn a_fraction_is_of_each_requests_own_length(driver) {
        let mock = Mock::start(slow_stream());
        let load = Load::new(driver, mock.address()).of(4, 8);
        let load = load.with_bodies(vec![body(true), body(true)]);
        let plan = all().from_tokens([1, 3].into());
        let run = load.leaving_by(plan).run();
        let (_, lines) = mock.stop();
        assert_eq!(run.ends(), [0, 0, 8, 0]);
        for (record, line) in pairs(&run, &lines) {
            assert_eq!(line.sent, [1, 3][record.entry as usize], "{line:?}");
        }
    }

    fn after_the_first_token(driver) {
        let plan = all().from_trigger(Trigger::FirstToken);
        let (run, lines) = run(driver, slow_stream(), plan, 12);
        assert_eq!(run.ends(), [0, 0, 12, 0]);
        assert!(lines.iter().all(|line| line.sent == 1 && line.how == "fin"));
    }

    fn after_the_headers_and_before_any_token(driver) {
        let script = Script { ttft: Span::from_secs_f64(3_600.0), ..script() };
        let plan = all().from_trigger(Trigger::Headers);
        let (run, lines) = run(driver, script, plan, 12);
        assert_eq!(run.ends(), [0, 0, 12, 0]);
        for (record, line) in pairs(&run, &lines) {
            assert!(record.times.head.is_some(), "{record:?}");
            assert_eq!((line.sent, line.status, &*line.how), (0, 200, "fin"));
        }
    }

    fn in_the_middle_of_the_body(driver) {
        // One that fits into a socket's buffer and one that does not.
        for bytes in [9_001, 6_000_001] {
            let mock = Mock::start(silent());
            let load = Load::new(driver, mock.address()).of(3, 6);
            let load = load.with_bodies(vec![large_body(bytes)]);
            let run = load.leaving_by(all().from_trigger(Trigger::MidBody)).run();
            assert_eq!(run.ends(), [0, 0, 6, 0]);
            let (summary, lines) = mock.stop();
            // No request was ever whole.
            assert_eq!((summary.aborted, summary.served), (0, 0));
            for (record, line) in pairs(&run, &lines) {
                assert_eq!(line.body, bytes as u64 / 2, "{line:?}");
                assert_eq!(line.full, 0);
                assert_eq!(stage(record), Stage::Sending);
            }
        }
    }

    fn as_soon_as_it_is_connected(driver) {
        let mock = Mock::start(script());
        let load = Load::new(driver, mock.address()).of(4, 40);
        let plan = CancelPlan::new(SEED, 50.0, Span::ZERO).from_trigger(Trigger::Connect);
        let run = load.leaving_by(plan).run();
        let (summary, lines) = mock.stop();
        let left = run.ended(&Outcome::Cancelled);
        assert_eq!(left.len() + lines.len(), 40);
        assert!(left.len() > 5 && lines.len() > 5);
        for record in left {
            assert_eq!((stage(record), record.wire.sends), (Stage::Connecting, 0));
        }
        // Each of them had a connection of its own; one more is the last look at the metrics.
        assert!(summary.connections > run.counts.cancelled);
    }

    fn patience_is_for_the_first_token_only(driver) {
        // The first token comes after what the patience of some can bear; the rest take long.
        let script = Script {
            ttft: Span::from_millis(400),
            itl: Span::from_millis(60),
            tokens: 20,
            ..script()
        };
        let (low, high) = (Span::from_millis(5), Span::from_millis(900));
        let plan = CancelPlan::delayed(SEED, 100.0, Delay::Uniform { low, high });
        let plan = plan.from_trigger(Trigger::Patience);
        let (run, lines) = run(driver, script, plan, 18);
        let [finished, failed, left, dropped] = run.ends();
        assert_eq!((failed, dropped), (0, 0));
        assert!(left > 0 && finished + left == 18, "{finished} {left}");
        for (record, line) in pairs(&run, &lines) {
            if record.outcome == Outcome::Cancelled {
                let content = record.transcript.byte_len();
                assert_eq!((content, stage(record) == Stage::Connecting), (0, false));
            } else {
                assert_eq!(line.sent, 20);
            }
        }
    }

    fn a_reset_is_a_reset(driver) {
        for trigger in [Trigger::Sent, Trigger::Tokens(2)] {
            let plan = all().from_trigger(trigger).leaving(Leave::Rst);
            let (run, lines) = run(driver, slow_stream(), plan, 12);
            assert_eq!(run.ends(), [0, 0, 12, 0]);
            assert!(lines.iter().all(|line| line.how == "rst"), "{lines:?}");
            assert_eq!(run.connects(), 12);
        }
    }

    fn a_half_close_is_read_to_the_end(driver) {
        // Long enough that even a client that is held up for a while leaves before the end.
        let itl = Span::from_millis(20);
        let script = Script { half_open: true, tokens: 30, itl, ..script() };
        let plan = all().from_trigger(Trigger::Tokens(3)).leaving(Leave::HalfClose);
        let (run, lines) = run(driver, script, plan, 12);
        assert_eq!(run.ends(), [0, 0, 12, 0]);
        for (record, line) in pairs(&run, &lines) {
            // All of it was written after the FIN had been seen, and all of it was read.
            assert_eq!((&*line.how, line.sent), ("half", 30), "{line:?}");
            assert!(line.closed > 0 && line.closed <= line.done, "{line:?}");
            let done = record.cancel.unwrap().done.unwrap();
            assert_eq!(done.after, Some(AfterHalfClose::Answered));
            assert!(record.transcript.marks().len() > 30 && record.times.end >= done.closed);
        }
        assert_eq!(run.connects(), 12);
    }

    fn a_half_close_that_the_server_takes_for_a_leaving(driver) {
        let plan = all().from_trigger(Trigger::Tokens(1)).leaving(Leave::HalfClose);
        let (run, lines) = run(driver, slow_stream(), plan, 8);
        assert_eq!(run.ends(), [0, 0, 8, 0]);
        for (record, line) in pairs(&run, &lines) {
            assert_eq!((&*line.how, line.sent), ("fin", 1));
            let after = record.cancel.unwrap().done.unwrap().after;
            assert_eq!(after, Some(AfterHalfClose::BrokenOff));
        }
    }

    fn a_stalled_connection_is_open_until_the_phase_ends(driver) {
        let mock = Mock::start(Script {
            ttft: Span::ZERO,
            itl: Span::from_millis(5),
            tokens: 1_000_000,
            ..script()
        });
        let plan = CancelPlan::new(SEED, 30.0, Span::ZERO)
            .from_trigger(Trigger::Tokens(2))
            .leaving(Leave::Stall);
        let length = |index| plan.delay(index).map_or(8, |_| 1_000_000);
        let ask = |index| {
            let tokens = length(index);
            format!(
                r#"{{"messages":[],"model":"m","stream":true,"max_completion_tokens":{tokens}}}"#
            )
        };
        let bodies = (0..60).map(|index| ask(index).into_bytes()).collect();
        let load = Load::new(driver, mock.address()).of(4, 60).with_bodies(bodies);
        let run = load.leaving_by(plan).run();
        let (_, lines) = mock.stop();
        let stalled = run.ended(&Outcome::Cancelled);
        assert!(stalled.len() > 5);
        let last = run.records.iter().map(|record| record.times.end).max().unwrap();
        let last = run.anchor.unix_nanos(last);
        for (record, line) in pairs(&run, &lines) {
            if record.outcome == Outcome::Cancelled {
                // Nobody closed before the end of the phase, and the server wrote on.
                let slack = Span::from_micros(50).nanos();
                assert!(line.closed + slack >= last, "{line:?} {last}");
                let read = record.transcript.marks().len() as u64;
                assert!(line.sent >= read - 1, "{line:?}");
            } else {
                assert!(line.done > 0 && line.how.is_empty());
            }
        }
    }

    fn waves_leave_together(driver) {
        let script = Script { tokens: 100_000, ..script() };
        let mock = Mock::start(script);
        let load = Load::new(driver, mock.address()).of(20, 60);
        let every = Span::from_millis(250);
        let plan = all().from_trigger(Trigger::FirstToken).in_waves(every);
        let run = load.leaving_by(plan).run();
        assert_eq!(run.ends(), [0, 0, 60, 0]);
        let (_, lines) = mock.stop();
        assert!(lines.iter().all(|line| line.sent >= 1 && line.how == "fin"));
        let mut waves: HashMap<u64, Vec<&Record>> = HashMap::new();
        for record in &run.records {
            let done = record.cancel.unwrap().done.unwrap();
            let since = done.due.since(run.report.started).nanos();
            assert_eq!(since % every.nanos(), 0, "not a multiple");
            waves.entry(since).or_default().push(record);
        }
        // All slots begin together, so that three waves take all.
        assert!(waves.len() < 10, "{}", waves.len());
    }

    fn a_thousand_of_one_wave_leave_in_a_row(driver) {
        let script = Script {
            ttft: Span::from_millis(5),
            itl: Span::from_millis(40),
            tokens: 100_000,
            ..script()
        };
        let mock = Mock::start(script);
        let mut load = Load::new(driver, mock.address()).of(1_000, 1_000);
        // The loop's own stamps tell when it has read.
        load.receive_stamps = ReceiveStamps::User;
        let plan = all().from_trigger(Trigger::FirstToken).in_waves(Span::from_millis(4_000));
        let run = load.leaving_by(plan).run();
        assert_eq!(run.ends(), [0, 0, 1_000, 0]);
        let (_, lines) = mock.stop();
        let mut waves: BTreeMap<Stamp, Vec<(&Record, &Truth)>> = BTreeMap::new();
        for (record, line) in pairs(&run, &lines) {
            assert_eq!(line.how, "fin");
            let done = record.cancel.unwrap().done.unwrap();
            waves.entry(done.due).or_default().push((record, line));
        }
        for wave in waves.values_mut() {
            let done = |record: &Record| record.cancel.unwrap().done.unwrap();
            wave.sort_by_key(|(record, _)| done(record).asked);
            let first = done(wave[0].0).asked;
            let mut before = first;
            for (record, line) in &*wave {
                let done = done(record);
                assert!(done.asked >= before && done.closed >= done.asked);
                before = done.closed;
                // It was read before the first one left, or it had come by its own leaving: nothing
                // is read in between.
                for mark in record.transcript.marks() {
                    assert!(mark.at <= first || mark.at == done.closed, "{record:?}");
                }
                assert!(record.times.end == done.closed && line.closed > 0);
                let slack = Span::from_micros(50).nanos();
                assert!(line.closed + slack >= run.anchor.unix_nanos(done.asked));
            }
            let spread = before.since(first).as_millis_f64();
            let fins = || wave.iter().map(|(_, line)| line.closed);
            let seen = fins().max().unwrap() - fins().min().unwrap();
            println!(
                "{driver:?}: {} left within {spread:.2} ms, seen within {:.2} ms",
                wave.len(),
                seen as f64 / 1e6
            );
        }
    }

    fn an_answer_that_came_whole_before_a_leaving_of_many_is_an_answer(driver) {
        // Answers end about when the waves come, so that some are whole in the buffer by then.
        let script = Script { ttft: Span::from_millis(9), itl: Span::from_millis(1), tokens: 2, ..script() };
        let mock = Mock::start(script);
        let load = Load::new(driver, mock.address()).of(100, 4_000);
        let run = load.leaving_by(all().in_waves(Span::from_millis(10))).run();
        let (_, lines) = mock.stop();
        let [finished, failed, left, dropped] = run.ends();
        assert_eq!((finished + left, failed, dropped), (4_000, 0, 0));
        assert!(left > 0);
        for (record, line) in pairs(&run, &lines) {
            if record.outcome == Outcome::Complete {
                assert_eq!(line.sent, 2, "{line:?}");
            }
        }
    }
}
