//! The tasks of a connection: they wait for readiness and call the core's handlers.

use std::rc::Rc;

use super::Shared;
use crate::net::Pollable;

/// Waits on one connection for as long as it lives: first for its connect, then for bytes, while
/// it carries a request and while it is idle, so that a server's close is seen when it comes.
pub(super) async fn tend(core: Shared, slot: usize, socket: Rc<Pollable>) {
    let _ = socket.writable().await;
    let mut open = core.borrow_mut().connected(slot);
    while open {
        let _ = socket.readable().await;
        open = core.borrow_mut().readable(slot);
    }
    drop(socket);
    core.borrow_mut().released(Some(slot));
}

/// Waits for room after a short write. If that falls short again, the next such task goes on.
pub(super) async fn send_rest(core: Shared, slot: usize, socket: Rc<Pollable>) {
    let _ = socket.writable().await;
    let mut core = core.borrow_mut();
    core.room_to_send(slot, &socket);
    core.released(None);
}
