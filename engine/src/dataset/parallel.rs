//! Many indexed pieces of work on all cores, with results in the order of the indices.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

/// Indices a thread takes at a time: few enough to share evenly, enough to pay for the atomic.
const BATCH: usize = 8;

/// `work` of every index below `count`, on `threads` threads, in index order.
///
/// `progress` is told (done, total) from the calling thread. The error of the lowest index wins,
/// so that the message does not depend on the threads either.
pub(super) fn map_indexed<T: Send, E: Send>(
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> Result<T, E> + Sync,
    progress: &dyn Fn(usize, usize),
) -> Result<Vec<T>, E> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let (report, reports) = mpsc::channel::<usize>();
    let run = |report: mpsc::Sender<usize>| {
        let mut parts: Vec<(usize, Result<Vec<T>, E>)> = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let first = next.fetch_add(BATCH, Ordering::Relaxed);
            if first >= count {
                break;
            }
            let batch = first..count.min(first + BATCH);
            let size = batch.len();
            let part: Result<Vec<T>, E> = batch.map(&work).collect();
            if part.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            parts.push((first, part));
            // Nobody listens any more only when the caller's thread has panicked.
            let _ = report.send(size);
        }
        parts
    };
    let mut parts = std::thread::scope(|scope| {
        let run = &run;
        let workers: Vec<_> = (0..threads.max(1))
            .map(|_| {
                let report = report.clone();
                scope.spawn(move || run(report))
            })
            .collect();
        drop(report);
        let mut done = 0;
        for size in reports {
            done += size;
            progress(done, count);
        }
        let mut parts = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(found) => parts.extend(found),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        parts
    });
    parts.sort_unstable_by_key(|(first, _)| *first);
    let mut results = Vec::with_capacity(count);
    for (_, part) in parts {
        results.extend(part?);
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn order_and_progress() {
        let last = Cell::new((0, 0));
        let squares: Result<Vec<usize>, ()> = map_indexed(101, 3, |i| Ok(i * i), &|done, total| {
            last.set((done, total))
        });
        assert_eq!(
            squares.unwrap(),
            (0..101).map(|i| i * i).collect::<Vec<_>>()
        );
        assert_eq!(last.get(), (101, 101));
        let none: Result<Vec<usize>, ()> = map_indexed(0, 2, Ok, &|_, _| {});
        assert_eq!(none.unwrap(), Vec::<usize>::new());
    }

    #[test]
    fn the_lowest_error_wins() {
        for threads in [1, 4] {
            let result: Result<Vec<()>, usize> = map_indexed(
                1_000,
                threads,
                |i| if i % 7 == 6 { Err(i) } else { Ok(()) },
                &|_, _| {},
            );
            assert_eq!(result.unwrap_err(), 6);
        }
    }
}
