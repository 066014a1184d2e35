//! From the server's side: with a delay of 0 the whole request had arrived before the disconnect,
//! on every one of 1,000 cancels.

use pinfire_base::clock::Span;
use pinfire_engine::plan::DriverChoice;
use pinfire_tests::{
    load::{Load, body, large_body},
    mock::{Mock, by_id, id, silent},
    on_both_drivers,
};

const MEGABYTE: usize = 1_000_000;

/// Cancels every one of `requests` at once and asks the server what it had got.
fn whole_before_the_disconnect(load: &Load, mock: Mock) {
    let run = load.run();
    assert_eq!(run.ends(), [0, 0, load.requests, 0]);
    let (summary, lines) = mock.stop();
    assert_eq!(summary.aborted, load.requests);
    let lines = by_id(&lines);
    assert_eq!(lines.len() as u64, load.requests);
    for record in &run.records {
        let line = lines[&*id(record)];
        let sent = load.dataset.turn(record.entry).body.len() as u64;
        assert!(line.full > 0, "not whole: {line:?}");
        assert_eq!(line.body, sent, "{line:?}");
        assert!(line.closed >= line.full, "{line:?}");
        assert!(["fin", "rst"].contains(&&*line.how), "{line:?}");
        assert_eq!(line.done, 0, "{line:?}");
    }
}

fn small_and_large(driver: DriverChoice, cpus: &[usize]) {
    let mock = Mock::start(silent());
    // One in ten has a megabyte.
    let mut bodies = vec![body(true); 9];
    bodies.push(large_body(MEGABYTE));
    let load = Load::new(driver, mock.address()).of(20, 1_000);
    let load = load
        .with_bodies(bodies)
        .cancelling(100.0, Span::ZERO)
        .on(cpus);
    whole_before_the_disconnect(&load, mock);
}

on_both_drivers! {
    fn a_thousand_of_both_sizes(driver) {
        small_and_large(driver, &[0]);
    }

    fn a_thousand_on_two_cores(driver) {
        small_and_large(driver, &[0, 1]);
    }

    fn a_thousand_small_ones(driver) {
        let mock = Mock::start(silent());
        let load = Load::new(driver, mock.address()).of(50, 1_000);
        whole_before_the_disconnect(&load.cancelling(100.0, Span::ZERO), mock);
    }

    fn a_thousand_of_a_megabyte(driver) {
        let mock = Mock::start(silent());
        let load = Load::new(driver, mock.address()).of(10, 1_000);
        let load = load.with_bodies(vec![large_body(MEGABYTE)]);
        whole_before_the_disconnect(&load.cancelling(100.0, Span::ZERO), mock);
    }
}
