//! Where connections lead and where they come from.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream},
    sync::{Arc, Mutex},
};

use pinfire_base::{
    clock::Span,
    health::Fallback,
    record::{Failure, Outcome},
};
use pinfire_engine::plan::{Address, Reuse};
use pinfire_tests::{
    binary::profile,
    load::Load,
    mock::{Mock, script},
    on_both_drivers,
    raw::Raw,
    sockets::{Row, until, until_queued},
};
use pinfire_tools::proxy;
use socket2::{Domain, Socket, Type};

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A listener whose accept queue is full, and what fills it.
pub fn full() -> (Socket, SocketAddr, TcpStream) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    // The queue takes one more than its length; the SYNs of further ones are not even answered.
    let fill = TcpStream::connect(address).unwrap();
    until_queued(address, 1);
    (socket, address, fill)
}

on_both_drivers! {
    fn several_servers_share_evenly_over_pools_of_their_own(driver) {
        let mocks = [Mock::start(script()), Mock::start(script()), Mock::start(script())];
        let mut load = Load::new(driver, mocks[0].address()).of(6, 90);
        load.servers = mocks.iter().map(|mock| Address::Tcp(mock.address())).collect();
        load.first_session = 1;
        let run = load.run();
        assert_eq!(run.ends(), [90, 0, 0, 0]);
        for mock in mocks {
            assert_eq!(mock.stop().0.served, 30);
        }
    }

    fn a_unix_socket(driver) {
        let mock = Mock::start(script());
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("mock.sock");
        proxy::unix(&path, mock.address()).unwrap();
        let mut load = Load::new(driver, mock.address()).of(5, 50);
        load.servers = vec![Address::Unix(path)];
        let run = load.run();
        assert_eq!((run.ends(), run.connects()), ([50, 0, 0, 0], 5));
        assert_eq!(mock.stop().0.served, 50);
        // The kernel stamps nothing there.
        let stamps = run.stamps();
        assert_eq!((stamps.kernel, stamps.user), (0, 0));
        assert!(stamps.fallbacks[Fallback::Missing as usize] >= 50, "{stamps:?}");
    }

    fn ipv6(driver) {
        let mock = Mock::start_at(script(), SocketAddr::from((Ipv6Addr::LOCALHOST, 0)));
        let run = Load::new(driver, mock.address()).run();
        assert_eq!(run.ends(), [20, 0, 0, 0]);
    }

    fn local_addresses_take_turns(driver) {
        let seen = Arc::new(Mutex::new(BTreeMap::<IpAddr, u32>::new()));
        let theirs = Arc::clone(&seen);
        let server = Raw::start(move |conn| {
            *theirs.lock().unwrap().entry(conn.peer().ip()).or_default() += 1;
            while conn.request().is_some() {
                conn.send(OK);
            }
        });
        let mut load = Load::new(driver, server.address()).of(4, 40);
        load.reuse = Reuse::Never;
        load.dialling.sources = vec![[127, 0, 0, 2].into(), [127, 0, 0, 3].into()];
        assert_eq!(load.run().ends(), [40, 0, 0, 0]);
        let expected = [([127, 0, 0, 2].into(), 20), ([127, 0, 0, 3].into(), 20)];
        assert_eq!(*seen.lock().unwrap(), BTreeMap::from(expected));
    }

    fn a_connect_that_takes_too_long(driver) {
        let (_listener, address, _fill) = full();
        let mut load = Load::new(driver, address).of(2, 2);
        load.dialling.timeout = Some(Span::from_millis(100));
        let run = load.run();
        let expected = Outcome::Failed(Failure::ConnectTimeout { securing: false });
        assert_eq!(run.ended(&expected).len(), 2, "{:?}", run.records);
    }

    fn a_connect_whose_syn_was_lost_is_counted(driver) {
        let (listener, address, fill) = full();
        let load = Load::new(driver, address).of(1, 1);
        let server = std::thread::spawn(move || {
            // Room is made when the kernel has given the first SYN up for lost, a second after it.
            let lost = |row: &Row| {
                row.peer_port == address.port()
                    && row.state == Row::SYN_SENT
                    && row.retransmits > 0
            };
            until("the SYN is never sent again", |rows| rows.iter().any(lost));
            drop(fill);
            let mut clients = Vec::new();
            // The filling ones, then ours.
            while let Ok((client, peer)) = listener.accept() {
                let ours = client.recv_with_flags(&mut [std::mem::MaybeUninit::uninit(); 1], 2);
                clients.push((client, peer));
                if matches!(ours, Ok(1)) {
                    break;
                }
            }
        });
        let run = load.run();
        server.join().unwrap();
        let slow: u64 = run.report.cores.iter().map(|core| core.health.slow_connects).sum();
        let times = &run.records[0].times;
        let took = times.connected.unwrap().since(times.start).nanos();
        assert!(took >= 1_000_000_000, "connected after {took} ns");
        // The kernel sends a SYN again after whole seconds. Where the machine was too busy to see
        // the answer soon after it came, nothing tells this connect from a slow one.
        if took < 5_000_000_000 && took % 1_000_000_000 < 250_000_000 {
            assert_eq!(slow, 1, "{:?}", run.records);
        }
    }
}

#[test]
fn the_binary_takes_several_urls_and_sockets() {
    let mocks = [Mock::start(script()), Mock::start(script())];
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("mock.sock");
    proxy::unix(&path, mocks[1].address()).unwrap();
    let urls = format!("http://{},unix:{}", mocks[0].address(), path.display());
    let flags = "--request-count 10 --concurrency 2 --warmup-request-count 3 --connect-timeout 5";
    let ended = profile(&urls, flags).run().code(0);
    // Warmup included.
    assert_eq!(ended.lines().len(), 13);
    assert!(ended.json()["client_health"]["slow_connects"].is_u64());
    let [first, second] = mocks.map(|mock| mock.stop().0.served);
    assert_eq!((first, second), (7, 6));
}

#[test]
fn flags_without_an_object_are_refused() {
    for (url, flags, expected) in [
        (
            "http://127.0.0.1:9",
            "--insecure",
            "no --url begins with https",
        ),
        ("unix:/tmp/x", "--source-ip 127.0.0.2", "unix:"),
        (
            "mock:",
            "--source-ip 192.0.2.1",
            "no address of this machine",
        ),
        ("mock:", "--transport grpc", "must be one of: http"),
        (
            "mock:",
            "--url-strategy random",
            "must be one of: round_robin",
        ),
        ("https://h", "--ca-cert /nowhere", "--ca-cert /nowhere"),
    ] {
        let ended = profile(url, flags).run().code(1);
        assert!(
            ended.stderr.contains(expected),
            "{expected}: {}",
            ended.stderr
        );
        assert_eq!(ended.stderr.lines().count(), 1);
    }
}
