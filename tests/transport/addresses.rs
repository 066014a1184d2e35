//! A server with several addresses, of which some are dead.

use std::net::{Ipv6Addr, SocketAddr};

use pinfire_base::{
    clock::Span,
    record::{Failure, Outcome, Record},
};
use pinfire_engine::plan::{Address, DriverChoice, Reuse};
use pinfire_tests::{
    load::{Load, Run},
    mock::{Mock, script},
    on_both_drivers,
    raw::{Raw, nobody},
    tls::Identity,
};

use super::dialling::{OK, full};

const ECONNREFUSED: i32 = 111;
const ETIMEDOUT: i32 = 110;

/// The same port at another address of this machine.
fn at(address: SocketAddr, last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, last], address.port()))
}

fn answering() -> Raw {
    Raw::start(|conn| {
        while conn.request().is_some() {
            conn.send(OK);
        }
    })
}

/// A load with a connection of its own for each request.
fn load(driver: DriverChoice, address: SocketAddr) -> Load {
    let mut load = Load::new(driver, address).of(4, 40);
    load.reuse = Reuse::Never;
    load
}

fn refusals(record: &Record) -> Vec<(SocketAddr, i32)> {
    let unreached = record.unreached.as_deref();
    unreached.map_or_else(Vec::new, |unreached| unreached.refusals.clone())
}

/// All have been answered, each connect that came to nothing stands in a record, and nothing was
/// sent twice.
fn all_answered(run: &Run, server: &Raw, dead: &[(SocketAddr, i32)]) {
    assert_eq!(run.ends(), [40, 0, 0, 0]);
    let refused: Vec<_> = run.records.iter().flat_map(refusals).collect();
    assert!(refused.iter().all(|one| dead.contains(one)), "{refused:?}");
    // Each is found dead at least once.
    assert!(dead.iter().all(|one| refused.contains(one)), "{refused:?}");
    assert_eq!(run.connects(), 40 + refused.len() as u64);
    let mut ids: Vec<String> = server.seen().into_iter().map(|seen| seen.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((server.seen().len(), ids.len()), (40, 40));
}

on_both_drivers! {
    fn the_next_address_is_tried_when_one_refuses(driver) {
        let server = answering();
        for (first, others) in [(1, [2, 3]), (2, [1, 3]), (3, [2, 1])] {
            let mut load = load(driver, at(server.address(), first));
            load.others[0] = others.map(|last| at(server.address(), last)).to_vec();
            let before = server.seen().len();
            let run = load.run();
            assert_eq!(run.ends(), [40, 0, 0, 0]);
            assert_eq!(server.seen().len() - before, 40);
            for (dead, errno) in run.records.iter().flat_map(refusals) {
                assert_ne!(dead, server.address());
                assert_eq!(errno, ECONNREFUSED);
            }
        }
    }

    fn each_connect_that_came_to_nothing_is_told(driver) {
        let server = answering();
        let dead = at(server.address(), 2);
        let mut load = load(driver, server.address());
        load.others[0] = vec![dead];
        all_answered(&load.run(), &server, &[(dead, ECONNREFUSED)]);
    }

    fn a_request_fails_when_all_addresses_have_refused_it(driver) {
        let (_socket, first) = nobody();
        let mut load = load(driver, first);
        load.others = [vec![at(first, 2)], vec![at(first, 3)]];
        let run = load.run();
        let expected = Outcome::Failed(Failure::Connect { errno: ECONNREFUSED });
        assert_eq!(run.ended(&expected).len(), 40);
        for record in &run.records {
            let mut tried = refusals(record);
            tried.sort_unstable();
            assert_eq!(tried, [1, 2, 3].map(|last| (at(first, last), ECONNREFUSED)));
        }
    }

    fn the_other_family_is_there_when_the_first_refuses(driver) {
        let mock = Mock::start_at(script(), SocketAddr::from((Ipv6Addr::LOCALHOST, 0)));
        let (_socket, dead) = nobody();
        let mut load = load(driver, dead);
        load.others[1] = vec![mock.address()];
        let run = load.run();
        assert_eq!(run.ends(), [40, 0, 0, 0]);
        assert!(refusals(&run.records[0]) == [(dead, ECONNREFUSED)]);
        // And is left alone as long as it does not.
        let server = answering();
        load.servers = vec![Address::Tcp(server.address())];
        assert_eq!(load.run().ends(), [40, 0, 0, 0]);
        assert_eq!((server.seen().len(), mock.stop().0.served), (40, 40));
    }

    fn an_address_that_does_not_answer_is_one_that_refuses(driver) {
        let (_listener, silent, _fill) = full();
        let server = answering();
        let mut load = load(driver, silent);
        load.others[0] = vec![server.address()];
        load.dialling.timeout = Some(Span::from_millis(100));
        let run = load.run();
        all_answered(&run, &server, &[(silent, ETIMEDOUT)]);
        for record in run.records.iter().filter(|record| record.unreached.is_some()) {
            let took = record.times.connected.unwrap().since(record.times.start);
            assert!(took >= Span::from_millis(100), "the wait is part of the connect: {took:?}");
        }
    }

    fn what_has_begun_to_talk_is_not_tried_again(driver) {
        let (known, stranger) = (Identity::new(), Identity::new());
        let [good, bad] = [&known, &stranger].map(|own| Mock::start(own.shown(script())));
        let mut load = load(driver, bad.address()).over(known.trusted());
        load.others[0] = vec![good.address()];
        let run = load.run();
        assert_eq!((run.ends(), run.connects()), ([20, 20, 0, 0], 40));
        assert!(run.records.iter().all(|record| record.unreached.is_none()));
    }
}
