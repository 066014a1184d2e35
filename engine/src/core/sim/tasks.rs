//! The runtime of a simulated core: tasks in the order in which they were woken.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

/// Those that were woken, oldest first.
type Woken = Arc<Mutex<VecDeque<usize>>>;

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    bell: Arc<Bell>,
}

/// What wakes a task: puts it at the end of those that were woken, once.
struct Bell {
    task: usize,
    rung: AtomicBool,
    woken: Woken,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::Relaxed) {
            self.woken.lock().unwrap().push_back(self.task);
        }
    }
}

/// All tasks of a world.
#[derive(Default)]
pub(super) struct Tasks {
    all: RefCell<Vec<Option<Task>>>,
    woken: Woken,
}

impl Tasks {
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let mut all = self.all.borrow_mut();
        let bell = Arc::new(Bell {
            task: all.len(),
            rung: AtomicBool::new(false),
            woken: Arc::clone(&self.woken),
        });
        bell.wake_by_ref();
        let future = Box::pin(future);
        all.push(Some(Task { future, bell }));
    }

    /// Goes on with the one that was woken first. False when none was.
    pub(super) fn go_on(&self) -> bool {
        let Some(number) = self.woken.lock().unwrap().pop_front() else {
            return false;
        };
        // It may spawn others.
        let Some(mut task) = self.all.borrow_mut()[number].take() else {
            return true;
        };
        task.bell.rung.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.bell));
        let over = task.future.as_mut().poll(&mut Context::from_waker(&waker));
        if over.is_pending() {
            self.all.borrow_mut()[number] = Some(task);
        }
        true
    }

    /// How many have not ended.
    pub(super) fn live(&self) -> usize {
        self.all.borrow().iter().flatten().count()
    }
}
