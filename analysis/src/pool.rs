//! Work on other threads whose results come back in the order of the work.
//!
//! Whoever owns the pool hands out batches in turn and takes the results in the same turn. The work
//! that is under way is bounded: where it reaches its limit, the owner waits for the oldest batch,
//! and what comes in meanwhile stays where it is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use pinfire_base::threads;

/// Things in one batch.
const BATCH: usize = 64;
/// Batches under way per thread.
const AHEAD: usize = 4;

/// Threads that make an `O` of each `I`.
pub struct Pool<I, O> {
    work: Arc<dyn Fn(I) -> O + Send + Sync>,
    threads: Vec<Worker<I, O>>,
    /// The threads whose results are awaited, oldest first.
    waiting: VecDeque<usize>,
    next: usize,
    batch: Vec<I>,
}

struct Worker<I, O> {
    give: SyncSender<Vec<I>>,
    take: Receiver<Vec<O>>,
    // Ends when `give` is dropped.
    _thread: JoinHandle<()>,
}

impl<I: Send + 'static, O: Send + 'static> Pool<I, O> {
    /// With so many threads, each of which calls `begin` first. With none, or where the system
    /// gives none, the owner does the work itself.
    pub fn new(threads: usize, begin: fn(), work: impl Fn(I) -> O + Send + Sync + 'static) -> Self {
        let work: Arc<dyn Fn(I) -> O + Send + Sync> = Arc::new(work);
        let started = (0..threads).map_while(|_| {
            let (give, given) = sync_channel::<Vec<I>>(AHEAD);
            let (done, take) = sync_channel(AHEAD);
            let work = Arc::clone(&work);
            let thread = threads::start("pinfire-reading", move || {
                begin();
                for batch in given {
                    let results: Vec<O> = batch.into_iter().map(|one| work(one)).collect();
                    if done.send(results).is_err() {
                        return;
                    }
                }
            });
            thread.ok().map(|thread| Worker {
                give,
                take,
                _thread: thread,
            })
        });
        Self {
            threads: started.collect(),
            work,
            waiting: VecDeque::new(),
            next: 0,
            batch: Vec::new(),
        }
    }

    /// Hands out one piece of work; `take` is given results that are ready, or that have to be
    /// waited for before there is room.
    pub fn push(&mut self, one: I, take: &mut impl FnMut(O)) {
        if self.threads.is_empty() {
            take((self.work)(one));
            return;
        }
        self.batch.push(one);
        if self.batch.len() >= BATCH {
            self.send(take);
        }
    }

    /// Waits until everything is done.
    pub fn finish(&mut self, take: &mut impl FnMut(O)) {
        if !self.batch.is_empty() {
            self.send(take);
        }
        while !self.waiting.is_empty() {
            self.receive(take);
        }
    }

    fn send(&mut self, take: &mut impl FnMut(O)) {
        while self.waiting.len() >= AHEAD * self.threads.len() {
            self.receive(take);
        }
        let batch = std::mem::take(&mut self.batch);
        let Some(worker) = self.threads.get(self.next) else {
            return;
        };
        match worker.give.send(batch) {
            Ok(()) => {
                self.waiting.push_back(self.next);
                self.next = (self.next + 1) % self.threads.len();
            }
            // Its thread has died of a defect: the owner finds out by the results that are missing.
            Err(lost) => lost.0.into_iter().for_each(|one| take((self.work)(one))),
        }
    }

    fn receive(&mut self, take: &mut impl FnMut(O)) {
        let oldest = self.waiting.pop_front();
        let worker = oldest.and_then(|at| self.threads.get(at));
        if let Some(results) = worker.and_then(|worker| worker.take.recv().ok()) {
            results.into_iter().for_each(take);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_work() {
        for threads in [0, 1, 3] {
            let slow = |n: u64| {
                if n.is_multiple_of(97) {
                    std::thread::yield_now();
                }
                n * 2
            };
            let mut pool = Pool::new(threads, || {}, slow);
            let mut seen = Vec::new();
            for n in 0..10_000 {
                pool.push(n, &mut |twice| seen.push(twice));
                if n % 1_000 == 7 {
                    pool.finish(&mut |twice| seen.push(twice));
                    assert_eq!(seen.len() as u64, n + 1);
                }
            }
            pool.finish(&mut |twice| seen.push(twice));
            let expected: Vec<u64> = (0..10_000).map(|n| n * 2).collect();
            assert_eq!(seen, expected);
        }
    }
}
