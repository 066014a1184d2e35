//! Where the times of received bytes come from, and what had been acknowledged when a client left.

use pinfire_base::{
    clock::Span,
    record::{MarkKind, Outcome, Trigger},
};
use pinfire_engine::{plan::ReceiveStamps, schedule::CancelPlan};
use pinfire_tests::{
    load::{Load, SEED},
    mock::{Mock, by_id, id, script, silent},
    on_both_drivers,
    raw::Raw,
};

on_both_drivers! {
    fn every_read_has_the_kernels_time(driver) {
        let mock = Mock::start(script());
        let run = Load::new(driver, mock.address()).of(4, 40).run();
        assert_eq!(run.ends(), [40, 0, 0, 0]);
        let stamps = run.stamps();
        let health = &run.report.cores[0].health;
        assert_eq!((stamps.user, stamps.reads()), (0, health.receives), "{stamps:?}");
        // The kernel may begin to stamp a moment after it was asked, and no clock is stepped here.
        assert!(stamps.kernel >= stamps.reads() / 2, "{stamps:?}");
        assert_eq!(stamps.fallbacks[1..], [0; 4], "{stamps:?}");
        assert_eq!(health.receive_delay.count(), stamps.kernel);
        let (_, lines) = mock.stop();
        let lines = by_id(&lines);
        for record in &run.records {
            let line = lines[&*id(record)];
            let content = |mark: &&_| matches!(mark, (MarkKind::Content, _));
            let marks = record.transcript.marks().iter().map(|mark| (mark.kind, mark.at));
            let marks: Vec<_> = marks.collect();
            let (_, last) = marks.iter().rfind(content).unwrap();
            // The two sides pair their clocks with the wall by themselves.
            let slack = Span::from_micros(20);
            let came = run.anchor.unix_nanos(*last) + slack.nanos();
            assert!(came >= line.w_last, "received before it was sent: {line:?}");
        }
    }

    fn the_loops_own_time_where_that_is_asked_for(driver) {
        let mock = Mock::start(script());
        let mut load = Load::new(driver, mock.address()).of(4, 40);
        load.receive_stamps = ReceiveStamps::User;
        let run = load.run();
        assert_eq!(run.ends(), [40, 0, 0, 0]);
        let stamps = run.stamps();
        let health = &run.report.cores[0].health;
        assert_eq!((stamps.user, stamps.reads()), (health.receives, health.receives));
        // A sample still tells how late that is.
        let sampled = health.receive_delay.count();
        assert!(sampled < stamps.user / 2, "{sampled} of {stamps:?}");
    }

    fn a_request_that_waits_in_the_kernel_of_the_peer_is_acknowledged(driver) {
        let mock = Mock::start(silent());
        let load = Load::new(driver, mock.address()).of(4, 4);
        // A delayed acknowledgement comes within 200 ms.
        let run = load.cancelling(100.0, Span::from_millis(400)).run();
        assert_eq!(acknowledged(&run.records), [Some(true); 4]);
    }

    fn a_request_that_the_peer_has_no_room_for_is_not(driver) {
        let server = Raw::start(|conn| {
            conn.hold_little();
            conn.head();
            std::thread::sleep(std::time::Duration::from_millis(300));
        });
        let body = vec![b' '; 600_000];
        let mut load = Load::new(driver, server.address()).of(2, 2).with_bodies(vec![body]);
        load.dialling.send_buffer = Some(2_000_000);
        let run = load.cancelling(100.0, Span::from_millis(20)).run();
        assert_eq!(run.ends(), [0, 0, 2, 0]);
        assert_eq!(acknowledged(&run.records), [Some(false); 2]);
    }

    fn a_request_that_was_not_sent_is_neither(driver) {
        let mock = Mock::start(silent());
        let plan = CancelPlan::new(SEED, 100.0, Span::ZERO).from_trigger(Trigger::Connect);
        let run = Load::new(driver, mock.address()).of(2, 2).leaving_by(plan).run();
        assert_eq!(acknowledged(&run.records), [None; 2]);
    }
}

fn acknowledged(records: &[pinfire_base::record::Record]) -> Vec<Option<bool>> {
    let cancelled = records.iter().inspect(|record| {
        assert_eq!(record.outcome, Outcome::Cancelled, "{record:?}");
    });
    let done = cancelled.map(|record| record.cancel.unwrap().done.unwrap());
    done.map(|done| done.acknowledged).collect()
}
