//! A page looked at again and again at short intervals, each look stamped: how fast a server lets go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use pinfire_analysis::scrape::Scrape;
use pinfire_base::clock::{Span, Stamp};

use super::client::{Client, ScrapeError};
use crate::run::place;

/// Looks are never closer together than this.
pub const SHORTEST: Span = Span::from_millis(1);

/// One look, and what was read from it.
#[derive(Clone, Debug)]
pub struct Sample<T> {
    /// When the page was asked for.
    pub sent: Stamp,
    /// When its answer began: the server's state is from between the two.
    pub at: Stamp,
    /// When it was whole, or known to have failed.
    pub done: Stamp,
    /// What was read, or why nothing.
    pub value: Result<T, ScrapeError>,
}

/// Looks at one page in a thread of its own. One look at a time: while one takes long, those that are
/// due in between are left out.
#[derive(Debug)]
pub struct FastScraper<T> {
    stop: Sender<()>,
    /// From one look to the next, in nanoseconds.
    interval: Arc<AtomicU64>,
    samples: Receiver<Sample<T>>,
    thread: JoinHandle<()>,
}

impl<T: Send + 'static> FastScraper<T> {
    /// Begins at once. `cpus` are those that it may run on; `read` takes what is of interest out of a
    /// page, such as `|scrape| profile.levels(scrape)`, so that whole pages need not be kept.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        client: &Client,
        url: &str,
        interval: Span,
        cpus: &[usize],
        mut read: impl FnMut(&Scrape) -> T + Send + 'static,
    ) -> Result<Self> {
        let (stop, stopped) = unbounded::<()>();
        let (out, samples) = unbounded();
        let (client, url, cpus) = (client.clone(), url.to_owned(), cpus.to_vec());
        let interval = Arc::new(AtomicU64::new(interval.max(SHORTEST).nanos()));
        let every = Arc::clone(&interval);
        let thread = std::thread::Builder::new()
            .name("pinfire-scrape".to_owned())
            .spawn(move || {
                place::stay_on(&cpus);
                let mut due = Stamp::now();
                loop {
                    let sample = look(&client, &url, &mut read);
                    if out.send(sample).is_err() {
                        return;
                    }
                    let interval = Span::from_nanos(every.load(Ordering::Relaxed));
                    due = next_due(due, interval, Stamp::now());
                    let wait = Duration::from_nanos(due.since(Stamp::now()).nanos());
                    match stopped.recv_timeout(wait) {
                        Err(RecvTimeoutError::Timeout) => {}
                        Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            })
            .context("a thread that looks at the server's metrics cannot be started")?;
        Ok(Self {
            stop,
            interval,
            samples,
            thread,
        })
    }

    /// Looks at this interval from the next look on.
    pub fn every(&self, interval: Span) {
        let nanos = interval.max(SHORTEST).nanos();
        self.interval.store(nanos, Ordering::Relaxed);
    }

    /// The looks so far and to come, in their order.
    pub fn samples(&self) -> &Receiver<Sample<T>> {
        &self.samples
    }

    /// Ends it and gives the looks that have not been taken. One that is under way is waited for, as
    /// long as the client's limit at most.
    pub fn stop(self) -> Vec<Sample<T>> {
        drop(self.stop);
        // A panic of `read` has ended the looks before this; what there was is still there.
        let _ = self.thread.join();
        self.samples.try_iter().collect()
    }
}

fn look<T>(client: &Client, url: &str, read: &mut impl FnMut(&Scrape) -> T) -> Sample<T> {
    let sent = Stamp::now();
    match client.scrape(url) {
        Ok(scrape) => Sample {
            sent: scrape.sent,
            at: scrape.at,
            done: scrape.done,
            value: Ok(read(&scrape)),
        },
        Err(error) => {
            let now = Stamp::now();
            Sample {
                sent,
                at: now,
                done: now,
                value: Err(error),
            }
        }
    }
}

/// The first instant of the grid of `due` that is not past.
pub fn next_due(due: Stamp, interval: Span, now: Stamp) -> Stamp {
    let passed = now.since(due).nanos() / interval.nanos().max(1);
    due + Span::from_nanos((passed + 1) * interval.nanos())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use pinfire_analysis::scrape::{Levels, ReleaseProfile};
    use pinfire_tools::mock;

    use super::*;
    use crate::scrape::client::Trust;

    fn client() -> Client {
        let limit = Duration::from_secs(5);
        Client::new(&Trust::default(), limit, limit)
    }

    #[test]
    fn ticks_that_have_passed_are_left_out() {
        let at = |millis| Stamp::from_nanos(1_000_000_000) + Span::from_millis(millis);
        let due = |now| next_due(at(0), Span::from_millis(20), at(now));
        assert_eq!((due(0), due(5), due(19)), (at(20), at(20), at(20)));
        assert_eq!((due(20), due(55)), (at(40), at(60)));
    }

    #[test]
    fn a_server_is_looked_at_until_it_is_enough() {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = mock::Server::bind(mock::Script::default(), anywhere, None).unwrap();
        let url = format!("http://{}/metrics", server.local_addr());
        let handle = server.spawn(None).unwrap();
        let interval = Span::from_millis(5);
        let scraper = FastScraper::start(&client(), &url, interval, &[], |scrape| {
            let profile = ReleaseProfile::detect(scrape)?;
            Some((profile.name.clone(), profile.levels(scrape)))
        });
        let scraper = scraper.unwrap();
        let mut before = None;
        for _ in 0..5 {
            let sample = scraper
                .samples()
                .recv_timeout(Duration::from_secs(20))
                .unwrap();
            assert!(sample.sent <= sample.at && sample.at <= sample.done);
            assert!(before.is_none_or(|before| before <= sample.sent));
            before = Some(sample.done);
            let (name, levels) = sample.value.unwrap().unwrap();
            let Levels {
                running,
                waiting,
                kv_used,
                ..
            } = levels;
            assert_eq!(name, "vllm");
            assert_eq!(
                (running, waiting, kv_used),
                (Some(0.0), Some(0.0), Some(0.0))
            );
        }
        drop(handle.stop());
        // A server that is gone is an error in each look, not an end of them.
        let gone =
            std::iter::from_fn(|| scraper.samples().recv_timeout(Duration::from_secs(20)).ok())
                .find(|sample| sample.value.is_err());
        assert!(matches!(
            gone.unwrap().value,
            Err(ScrapeError::Unreachable(_))
        ));
        scraper.stop();
    }

    #[test]
    fn what_is_no_page_of_metrics() {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = mock::Server::bind(mock::Script::default(), anywhere, None).unwrap();
        let base = format!("http://{}", server.local_addr());
        let handle = server.spawn(None).unwrap();
        let error = client().scrape(&format!("{base}/v1/models")).unwrap_err();
        assert!(matches!(error, ScrapeError::Unreadable(_)), "{error}");
        let error = client().scrape(&format!("{base}/nothing")).unwrap_err();
        assert!(matches!(error, ScrapeError::Status(400..)), "{error}");
        drop(handle.stop());
    }
}
