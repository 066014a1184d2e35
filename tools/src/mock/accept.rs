//! Taking connections in, when the script and the system's descriptors allow.

use std::net::SocketAddr;

use pinfire_base::clock::{Span, Stamp};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use super::conn::Conn;
use super::turn::{Core, LISTENER, WATCHED, key};

impl Core {
    /// New connections are there, or their time has come.
    pub(super) fn accept(&mut self) {
        if self.script.accept_delay == Span::ZERO {
            self.take_connections();
        } else if self.accept_at.is_none() {
            self.pause_accepting(self.script.accept_delay);
        }
    }

    fn pause_accepting(&mut self, time: Span) {
        self.accept_at = Some(Stamp::now() + time);
        self.watch_listener(EventFlags::empty());
    }

    pub(super) fn watch_listener(&self, flags: EventFlags) {
        let key = EventData::new_u64(LISTENER);
        // The listener is always registered, so this cannot be refused.
        let _ = epoll::modify(&self.epoll, &self.listener, key, flags);
    }

    pub(super) fn take_connections(&mut self) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            match acceptfrom_with(&self.listener, flags) {
                Ok((fd, peer)) => {
                    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                    self.add_connection(fd, peer.map_or(0, |peer| peer.port()));
                }
                Err(Errno::AGAIN) => return,
                // The client left while it waited, or a signal came.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                // Out of descriptors: the backlog holds them until some are closed.
                Err(_) => return self.pause_accepting(Span::from_millis(100)),
            }
        }
    }

    fn add_connection(&mut self, fd: OwnedFd, port: u16) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            (self.conns.len() - 1) as u32
        });
        self.metrics.accepted += 1;
        let number = self.metrics.accepted;
        let watched = EventData::new_u64(key(slot, number));
        if epoll::add(&self.epoll, &fd, watched, WATCHED).is_err() {
            self.free.push(slot);
            return;
        }
        self.metrics.connections += 1;
        let tls = self.script.tls.clone();
        let conn = Conn::new(fd, (slot, number), port, Stamp::now(), tls);
        self.conns[slot as usize] = Some(Box::new(conn));
    }
}
