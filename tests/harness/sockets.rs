//! The kernel's own list of TCP sockets: what has happened to one, where it lives in a process or a
//! thread that cannot be asked.

use std::{net::SocketAddr, time::Duration};

use crate::watchdog::watch;

/// A line of `/proc/net/tcp`, as far as tests ask.
#[derive(Clone, Debug)]
pub struct Row {
    /// The socket's own port.
    pub local_port: u16,
    /// Its peer's port.
    pub peer_port: u16,
    /// The state by its number.
    pub state: u8,
    /// Bytes that nobody has read; of a listener, connections that nobody has accepted.
    pub unread: u32,
    /// Retransmissions of what is not acknowledged.
    pub retransmits: u32,
}

impl Row {
    /// The number of `TCP_SYN_SENT`.
    pub const SYN_SENT: u8 = 2;
    /// The number of `TCP_LISTEN`.
    pub const LISTEN: u8 = 10;
}

/// Waits until the sockets of IPv4 are as wanted.
pub fn until(what: &str, wanted: impl Fn(&[Row]) -> bool) {
    let _guard = watch(what);
    while !wanted(&rows()) {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the accept queue of the listener at `address` holds so many connections.
pub fn until_queued(address: SocketAddr, connections: u32) {
    until("the accept queue never fills", |rows| {
        let full = |row: &Row| {
            row.state == Row::LISTEN
                && row.local_port == address.port()
                && row.unread >= connections
        };
        rows.iter().any(full)
    });
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string("/proc/net/tcp").expect("the list of TCP sockets");
    text.lines().skip(1).map(row).collect()
}

fn row(line: &str) -> Row {
    let fields: Vec<&str> = line.split_whitespace().collect();
    // sl, local, peer, state, tx_queue:rx_queue, timer:when, retransmits
    let after_colon = |at: usize| {
        let (_, after) = fields[at].split_once(':').expect("two numbers");
        u32::from_str_radix(after, 16).expect("a number in hex")
    };
    let port = |at: usize| u16::try_from(after_colon(at)).expect("a port");
    Row {
        local_port: port(1),
        peer_port: port(2),
        state: u8::from_str_radix(fields[3], 16).expect("a state in hex"),
        unread: after_colon(4),
        retransmits: u32::from_str_radix(fields[6], 16).expect("a number in hex"),
    }
}
