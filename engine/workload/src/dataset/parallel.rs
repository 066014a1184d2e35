//! Many indexed pieces of work on all cores, with results in the order of the indices.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use pinfire_base::threads;

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
            .map_while(|_| {
                let report = report.clone();
                threads::start_in(scope, "pinfire-prompts", move || run(report)).ok()
            })
            .collect();
        // Where the system gives no thread, this one does all of it.
        let own = if workers.is_empty() {
            run(report)
        } else {
            drop(report);
            Vec::new()
        };
        let mut done = 0;
        for size in reports {
            done += size;
            progress(done, count);
        }
        let mut parts = own;
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

/// `work` of every item, as [`map_indexed`], which it takes for itself.
pub(super) fn map_each<I: Send, T: Send, E: Send>(
    items: Vec<I>,
    threads: usize,
    work: impl Fn(I) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let cells: Vec<Mutex<Option<I>>> = items
        .into_iter()
        .map(|item| Mutex::new(Some(item)))
        .collect();
    // Each index comes once, so each item is there.
    let each = |index: usize| {
        let item = cells[index].lock().ok().and_then(|mut item| item.take());
        item.map(&work).transpose()
    };
    let results = map_indexed(cells.len(), threads, each, &|_, _| {})?;
    Ok(results.into_iter().flatten().collect())
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
    fn each_item_once_and_in_order() {
        let items: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        let same: Result<Vec<String>, ()> = map_each(items.clone(), 3, Ok);
        assert_eq!(same.unwrap(), items);
        let none: Result<Vec<()>, u8> = map_each(vec![1, 2], 2, Err);
        assert_eq!(none.unwrap_err(), 1);
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
