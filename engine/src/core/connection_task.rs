//! The tasks of a connection: they wait for readiness and call the core's handlers.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
};

use pinfire_base::limits::READS_IN_A_ROW;

use super::Shared;
use crate::io::{Io, Socket};

/// Waits on one connection for as long as it lives: first for its connect, then for bytes, while
/// it carries a request and while it is idle, so that a server's close is seen when it comes.
pub(super) async fn run<I: Io>(core: Shared<I>, slot: usize, socket: Rc<I::Socket>) {
    socket.writable().await;
    let mut open = core.borrow_mut().connected(slot);
    let mut in_a_row = 0;
    while open {
        let mut waited = false;
        let mut ready = pin!(socket.readable());
        poll_fn(|context| {
            let state = ready.as_mut().poll(context);
            waited |= state.is_pending();
            state
        })
        .await;
        open = core.borrow_mut().readable(slot);
        // On epoll readiness is remembered, so a socket that never runs dry would never yield.
        in_a_row = if waited { 0 } else { in_a_row + 1 };
        if in_a_row == READS_IN_A_ROW {
            in_a_row = 0;
            give_way(&core).await;
        }
    }
    drop(socket);
    core.borrow_mut().task_ended(Some(slot));
}

/// Lets every other task that is ready run first. A task that wakes itself would be the next one
/// again (monoio 0.2.4), so the task that ends ticks does it.
async fn give_way<I: Io>(core: &Shared<I>) {
    let mut asked = false;
    poll_fn(|context| {
        if std::mem::replace(&mut asked, true) {
            return Poll::Ready(());
        }
        core.borrow_mut().clock.give_way(context.waker());
        Poll::Pending
    })
    .await;
}

/// Waits for room after a short write. If that falls short again, the next such task goes on.
pub(super) async fn send_rest<I: Io>(core: Shared<I>, slot: usize, socket: Rc<I::Socket>) {
    socket.writable().await;
    let mut core = core.borrow_mut();
    core.room_to_send(slot, &socket);
    core.task_ended(None);
}
