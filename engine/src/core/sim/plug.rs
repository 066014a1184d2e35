//! Sockets of the world without a kernel.

use std::{
    io::{self, ErrorKind, IoSlice},
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
};

use super::{
    nature::{MICRO, MILLI},
    world::{Event, How, Wire, World},
};
use crate::{
    io::{Came, Received, Socket},
    plan::ReceiveStamps,
};

/// A socket.
pub(in crate::core) struct Plug {
    pub(super) world: Rc<World>,
    pub(super) socket: usize,
}

impl Plug {
    fn wire<R>(&self, act: impl FnOnce(&mut Wire) -> R) -> R {
        act(&mut self.world.wires.borrow_mut()[self.socket])
    }

    fn leave(&self, how: How) {
        let now = self.world.now();
        self.world.note(|| format!("{how:?} {}", self.socket));
        self.wire(|wire| {
            wire.left.get_or_insert((now, how));
            match how {
                How::HungUp => wire.hung_up = true,
                How::HalfClosed => {}
                How::Reset => wire.reset = true,
            }
        });
    }

    /// What has come, and the stamp of the newest segment in it; it stays there unless it is taken.
    fn read(&self, into: &mut [u8], taken: bool) -> io::Result<(usize, u64)> {
        self.world.call();
        if self.world.dice.once_in(200) {
            return Err(ErrorKind::Interrupted.into());
        }
        let most = match self.world.dice.once_in(10) {
            true => self.world.dice.between(1, into.len().min(40) as u64) as usize,
            false => into.len(),
        };
        let mut bytes = 0;
        let mut came = 0;
        let end = self.wire(|wire| {
            let mut read = wire.read;
            let mut segments = 0;
            for (unix, segment) in &wire.inbox {
                if bytes == most {
                    break;
                }
                let left = &segment[read..];
                let part = left.len().min(most - bytes);
                into[bytes..bytes + part].copy_from_slice(&left[..part]);
                bytes += part;
                came = *unix;
                read += part;
                if read == segment.len() {
                    read = 0;
                    segments += 1;
                }
            }
            if taken {
                wire.inbox.drain(..segments);
                wire.read = read;
            }
            match wire.end {
                _ if bytes > 0 => Some(0),
                _ if wire.hung_up || wire.reset => Some(0),
                Some(0) => Some(0),
                Some(_) if std::mem::replace(&mut wire.told, true) => Some(0),
                end => end,
            }
        });
        let what = if taken { "gives" } else { "shows" };
        self.world
            .note(|| format!("{} {what} {bytes} bytes, end {end:?}", self.socket));
        match end {
            None => Err(ErrorKind::WouldBlock.into()),
            Some(0) => Ok((bytes, came)),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    pub(super) fn take(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.world.call();
        let world = &self.world;
        if world.dice.once_in(200) {
            return Err(ErrorKind::Interrupted.into());
        }
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let short = world.dice.once_in(8);
        let now = world.now();
        let taken = self.wire(|wire| {
            if wire.left.is_some() || wire.reset {
                return Err(io::Error::from_raw_os_error(libc::EPIPE));
            }
            if let Some(errno) = wire.end.filter(|&errno| errno != 0) {
                let told = std::mem::replace(&mut wire.told, true);
                let errno = if told { libc::EPIPE } else { errno };
                return Err(io::Error::from_raw_os_error(errno));
            }
            let mut taken = total.min(wire.room);
            if taken == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            if short {
                taken = world.dice.between(1, taken as u64) as usize;
            }
            wire.room -= taken;
            wire.in_flight += taken;
            let mut left = taken;
            for part in parts {
                let bytes = &part[..part.len().min(left)];
                left -= bytes.len();
                wire.talk.took(bytes, now);
            }
            Ok(taken)
        })?;
        world.note(|| format!("{} takes {taken} of {total}", self.socket));
        if world.dice.once_in(world.nature.wrong * 4) {
            // They never arrive, and neither does their acknowledgement.
            return Ok(taken);
        }
        let takes = world.dice.one_of(&[0, 20 * MICRO, 200 * MICRO, 4 * MILLI]);
        let at = world.now() + world.dice.below(takes + 1);
        world.plan(at, Event::Heard(self.socket, taken));
        Ok(taken)
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.wire(|wire| wire.dropped = true);
        self.world.held.set(self.world.held.get() - 1);
    }
}

impl Socket for Plug {
    async fn readable(&self) {
        self.world.ready(self.socket, false).await;
    }

    async fn writable(&self) {
        self.world.ready(self.socket, true).await;
    }

    fn receive(&self, into: &mut [u8], sample: bool) -> io::Result<Received> {
        let (bytes, came) = self.read(into, true)?;
        let came = match self.world.nature.stamps {
            _ if self.world.dice.once_in(50) => Came::Unknown,
            ReceiveStamps::User if sample => Came::Sampled(came),
            ReceiveStamps::User => Came::Unasked,
            ReceiveStamps::Auto | ReceiveStamps::Kernel => Came::At(came),
        };
        Ok(Received { bytes, came })
    }

    fn waiting(&self) -> Option<usize> {
        self.world.call();
        let waiting = |wire: &mut Wire| {
            let all = wire.inbox.iter().map(|(_, segment)| segment.len());
            all.sum::<usize>() - wire.read
        };
        (!self.world.dice.once_in(50)).then(|| self.wire(waiting))
    }

    fn peek(&self, into: &mut [u8]) -> io::Result<usize> {
        Ok(self.read(into, false)?.0)
    }

    fn acknowledged(&self) -> Option<bool> {
        self.world.call();
        Some(self.wire(|wire| wire.in_flight == 0))
    }

    fn is_quiet(&self) -> bool {
        self.world.call();
        !self.world.is_ready(self.socket, false)
    }

    fn send(&self, head: &[u8], body: &[u8]) -> io::Result<usize> {
        self.take(&[IoSlice::new(head), IoSlice::new(body)])
    }

    fn send_parts(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.take(parts)
    }

    fn hang_up(&self) {
        self.leave(How::HungUp);
        self.world.call();
    }

    fn half_close(&self) {
        self.leave(How::HalfClosed);
        self.world.call();
    }

    fn reset(&self) {
        self.leave(How::Reset);
        self.world.call();
    }

    fn connect_result(&self) -> Result<(), i32> {
        self.world.call();
        self.wire(|wire| wire.refused.map_or(Ok(()), Err))
    }

    fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let of = |port| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        (of(self.local_port()), of(80))
    }

    fn local_port(&self) -> u16 {
        port_of(self.socket)
    }
}

/// The local port of a connection; no two of a run have the same.
pub(super) const fn port_of(socket: usize) -> u16 {
    socket as u16 + 1
}
