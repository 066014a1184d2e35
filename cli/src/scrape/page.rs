//! One scraper per page of metrics, whoever wants to know what the page shows.
//!
//! A page is scraped in a thread of its own, one scrape at a time, off the engine's CPUs. Who
//! subscribes names an interval; the shortest one sets the pace, and the others are served by the
//! scrapes that are made anyway. So a server is never asked twice for one instant.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use pinfire_base::{
    clock::{Span, Stamp},
    threads,
};
use pinfire_scrape::Scrape;

use super::{
    client::{Client, Page, ScrapeError, Trust},
    plan::Candidate,
};
use crate::run::cpus;

/// Scrapes are never closer together than this.
const SHORTEST: Span = Span::from_millis(1);

/// What one scrape showed.
pub struct Sample {
    /// When the answer began, or when it was known that there is none.
    pub at: Stamp,
    pub shown: Result<Shown, ScrapeError>,
}

/// A page of metrics that was read.
pub struct Shown {
    pub scrape: Scrape,
    /// The bytes that it was read from.
    pub body: Vec<u8>,
}

/// Who wants to know what a page shows. It is called in the page's thread.
pub trait Subscriber: Send {
    /// Takes a sample of the page at this URL.
    fn take(&mut self, url: &str, sample: &Sample) -> Interest;

    /// Hears that no metrics are shown at any of the page's places. Who stays is served all the
    /// same: they may come.
    fn absent(&mut self, reason: &str) -> Interest;
}

/// Whether a subscriber goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    Stays,
    Ends,
}

/// How long scrapes may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until a connection is made, and in all when the page is looked for.
    pub connect: Duration,
    /// In all.
    pub whole: Duration,
}

/// The scrapers of a run, one per page.
pub struct Scrapers {
    trust: Trust,
    cpus: Vec<usize>,
    /// Scrapes step back behind everything else on their CPUs.
    yielding: bool,
    running: Vec<Scraper>,
}

impl Scrapers {
    /// None yet. They keep to these CPUs.
    pub fn new(trust: &Trust, cpus: &[usize]) -> Self {
        Self {
            trust: trust.clone(),
            cpus: cpus.to_vec(),
            yielding: false,
            running: Vec::new(),
        }
    }

    /// Where the engine has left no CPU to itself, scrapes step back behind it.
    pub fn yielding_where(mut self, crowded: bool) -> Self {
        self.yielding = crowded;
        self
    }

    /// The scraper of this page: the one that is there, or a new one with these limits.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn of(&mut self, page: &Candidate, limits: Limits) -> Result<Scraper> {
        let same = |scraper: &&Scraper| scraper.place == page.urls.first().cloned();
        if let Some(scraper) = self.running.iter().find(same) {
            return Ok(scraper.clone());
        }
        let (commands, orders) = unbounded();
        let thread = PageThread {
            places: page.urls.clone(),
            found: None,
            finder: Client::new(&self.trust, limits.connect, limits.connect),
            client: Client::new(&self.trust, limits.connect, limits.whole),
            subscriptions: Vec::new(),
        };
        let (cpus, yielding) = (self.cpus.clone(), self.yielding);
        threads::start("pinfire-scrape", move || {
            cpus::stay_on(&cpus);
            if yielding {
                cpus::yield_to_others();
            }
            thread.run(&orders);
        })?;
        let scraper = Scraper {
            place: page.urls.first().cloned(),
            commands,
            subscribers: Arc::default(),
        };
        self.running.push(scraper.clone());
        Ok(scraper)
    }
}

/// The scraper of one page. Its thread ends when this, its clones and its subscriptions are
/// dropped.
#[derive(Clone)]
pub struct Scraper {
    place: Option<String>,
    commands: Sender<Command>,
    /// How many have subscribed so far.
    subscribers: Arc<AtomicU64>,
}

impl Scraper {
    /// Subscribes: to a scrape now, and from then on at this interval.
    pub fn subscribe(&self, interval: Span, subscriber: impl Subscriber + 'static) -> Subscription {
        let id = self.subscribers.fetch_add(1, Ordering::Relaxed);
        let (served, first) = bounded(0);
        let new = Subscribed {
            id,
            interval: interval.max(SHORTEST),
            due: Stamp::now(),
            subscriber: Box::new(subscriber),
        };
        // The thread goes on for as long as there is someone to send to it.
        let _ = self.commands.send(Command::Subscribe { new, served });
        Subscription {
            id,
            commands: self.commands.clone(),
            first,
        }
    }
}

/// A place among those that are served, until this is dropped.
pub struct Subscription {
    id: u64,
    commands: Sender<Command>,
    first: Receiver<Served>,
}

/// Nothing is ever sent: the thread drops its end of the channel when it has done what was asked.
#[derive(PartialEq)]
enum Served {}

/// A scrape that was asked for.
pub struct Pending(Receiver<Served>);

impl Pending {
    /// Waits until it is done, for so long at most; whether it is.
    pub fn wait(&self, limit: Duration) -> bool {
        self.0.recv_timeout(limit) != Err(RecvTimeoutError::Timeout)
    }
}

impl Subscription {
    /// Waits for the first sample, or until it is known that there is no page; for so long at most.
    pub fn wait_for_first(&self, limit: Duration) {
        let _ = self.first.recv_timeout(limit);
    }

    /// Where the page is, or where it would be. Waits until it is found or known not to be there.
    pub fn url(&self) -> String {
        let (answer, url) = bounded(1);
        let _ = self.commands.send(Command::Url { answer });
        url.recv().unwrap_or_default()
    }

    /// Is served at this interval from now on.
    pub fn every(&self, interval: Span) {
        let (id, interval) = (self.id, interval.max(SHORTEST));
        let _ = self.commands.send(Command::Every { id, interval });
    }

    /// Asks for a scrape now, which all who subscribed see.
    pub fn scrape_now(&self) -> Pending {
        let (served, pending) = bounded(0);
        let _ = self.commands.send(Command::Scrape { served });
        Pending(pending)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Unsubscribe { id: self.id });
    }
}

/// What a scraper's thread is told. It drops `served` when it is done.
enum Command {
    Subscribe {
        new: Subscribed,
        served: Sender<Served>,
    },
    Every {
        id: u64,
        interval: Span,
    },
    Unsubscribe {
        id: u64,
    },
    Url {
        answer: Sender<String>,
    },
    Scrape {
        served: Sender<Served>,
    },
}

struct Subscribed {
    id: u64,
    interval: Span,
    due: Stamp,
    subscriber: Box<dyn Subscriber>,
}

/// Who is served by a scrape.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    All,
    /// Those whose time has come.
    Due,
}

struct PageThread {
    /// Where the page may be.
    places: Vec<String>,
    /// Where it is, once it has shown metrics.
    found: Option<String>,
    /// Looks for it.
    finder: Client,
    client: Client,
    subscriptions: Vec<Subscribed>,
}

impl PageThread {
    fn run(mut self, orders: &Receiver<Command>) {
        // What was asked for while a scrape was under way is served by one scrape.
        let mut served = Vec::new();
        loop {
            let order = match self.next_due() {
                Some(due) => orders.recv_timeout(until(due)),
                None => orders.recv().map_err(RecvTimeoutError::from),
            };
            match order {
                Ok(Command::Subscribe { new, served }) => {
                    self.subscribe(new);
                    drop(served);
                }
                Ok(Command::Every { id, interval }) => self.set_interval(id, interval),
                Ok(Command::Unsubscribe { id }) => self.subscriptions.retain(|of| of.id != id),
                Ok(Command::Url { answer }) => {
                    let _ = answer.send(self.url().unwrap_or_default().to_owned());
                }
                Ok(Command::Scrape { served: one }) => served.push(one),
                Err(RecvTimeoutError::Timeout) => self.scrape(Round::Due),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if !served.is_empty() && orders.is_empty() {
                self.scrape(Round::All);
                served.clear();
            }
        }
    }

    /// Where the page is, or where it would be.
    fn url(&self) -> Option<&str> {
        self.found
            .as_ref()
            .or(self.places.first())
            .map(String::as_str)
    }

    /// The one with the shortest interval sets the pace.
    fn next_due(&self) -> Option<Stamp> {
        let fastest = self.subscriptions.iter().min_by_key(|of| of.interval);
        fastest.map(|of| of.due)
    }

    fn subscribe(&mut self, mut new: Subscribed) {
        if self.found.is_some() {
            self.subscriptions.push(new);
            self.scrape(Round::All);
            return;
        }
        match self.finder.find(&self.places) {
            Ok((url, page)) => {
                self.found = Some(url);
                self.subscriptions.push(new);
                self.deliver(Round::All, &Sample::of(Ok(page)));
            }
            Err(reason) => {
                if new.subscriber.absent(&reason) == Interest::Stays {
                    self.subscriptions.push(new);
                }
            }
        }
    }

    fn set_interval(&mut self, id: u64, interval: Span) {
        if let Some(of) = self.subscriptions.iter_mut().find(|of| of.id == id) {
            of.interval = interval;
            of.due = of.due.min(Stamp::now() + interval);
        }
    }

    fn scrape(&mut self, round: Round) {
        if let Some(url) = self.url()
            && !self.subscriptions.is_empty()
        {
            let sample = Sample::of(self.client.fetch(url));
            self.deliver(round, &sample);
        }
    }

    fn deliver(&mut self, round: Round, sample: &Sample) {
        let Some(url) = self.found.as_ref().or(self.places.first()) else {
            return;
        };
        let now = Stamp::now();
        self.subscriptions.retain_mut(|of| {
            let due = of.due <= now;
            if due {
                of.due = next_due(of.due, of.interval, now);
            }
            let served = due || round == Round::All;
            !served || of.subscriber.take(url, sample) == Interest::Stays
        });
    }
}

impl Sample {
    fn of(page: Result<Page, ScrapeError>) -> Self {
        let shown = page.and_then(|page| {
            let scrape = page.read()?;
            let body = page.body;
            Ok(Shown { scrape, body })
        });
        let at = match &shown {
            Ok(shown) => shown.scrape.at,
            Err(_) => Stamp::now(),
        };
        Self { at, shown }
    }
}

/// What is left until then.
pub fn until(at: Stamp) -> Duration {
    Duration::from_nanos(at.since(Stamp::now()).nanos())
}

/// The first instant of the grid of `due` that is not past.
fn next_due(due: Stamp, interval: Span, now: Stamp) -> Stamp {
    let passed = now.since(due).nanos() / interval.nanos().max(1);
    due + Span::from_nanos((passed + 1) * interval.nanos())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use pinfire_scrape::{Levels, Meter, ServerKinds};
    use pinfire_tools::mock;

    use super::*;
    use crate::scrape::plan::of_server;

    const WAIT: Duration = Duration::from_secs(20);
    const LIMITS: Limits = Limits {
        connect: Duration::from_secs(5),
        whole: Duration::from_secs(5),
    };

    /// Passes on what it sees: where, when, and what `read` makes of the page.
    struct Tells<T, F> {
        read: F,
        out: Sender<SampleLog<T>>,
    }

    struct SampleLog<T> {
        url: String,
        at: Stamp,
        shown: Result<T, ScrapeError>,
    }

    impl<T: Send, F: FnMut(&Scrape) -> T + Send> Subscriber for Tells<T, F> {
        fn take(&mut self, url: &str, sample: &Sample) -> Interest {
            let shown = sample.shown.as_ref().map_err(Clone::clone);
            let seen = SampleLog {
                url: url.to_owned(),
                at: sample.at,
                shown: shown.map(|shown| (self.read)(&shown.scrape)),
            };
            match self.out.send(seen) {
                Ok(()) => Interest::Stays,
                Err(_) => Interest::Ends,
            }
        }

        fn absent(&mut self, _: &str) -> Interest {
            Interest::Stays
        }
    }

    fn tells<T, F>(read: F) -> (Tells<T, F>, Receiver<SampleLog<T>>) {
        let (out, seen) = unbounded();
        (Tells { read, out }, seen)
    }

    fn server() -> (Candidate, mock::Handle) {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = mock::Server::bind(mock::Script::default(), anywhere, None).unwrap();
        let page = of_server(&format!("http://{}", server.local_addr())).unwrap();
        (page, server.spawn(None).unwrap())
    }

    fn scrapers() -> Scrapers {
        Scrapers::new(&Trust::default(), &[])
    }

    /// How many requests for its metrics the server has had when it answers.
    fn requests(scrape: &Scrape) -> f64 {
        let counts =
            r#"{"name": "mock", "running": ["http_requests_total{handler=\"/metrics\"}"]}"#;
        let kinds = ServerKinds::read(counts).unwrap();
        Meter::new(&kinds).read(scrape).running.unwrap()
    }

    #[test]
    fn ticks_that_have_passed_are_left_out() {
        let at = |millis| Stamp::from_nanos(1_000_000_000) + Span::from_millis(millis);
        let due = |now| next_due(at(0), Span::from_millis(20), at(now));
        assert_eq!((due(0), due(5), due(19)), (at(20), at(20), at(20)));
        assert_eq!((due(20), due(55)), (at(40), at(60)));
    }

    #[test]
    fn a_server_is_scraped_until_it_is_enough() {
        let (page, handle) = server();
        let scraper = scrapers().of(&page, LIMITS).unwrap();
        let mut meter = Meter::new(&ServerKinds::default());
        let (subscriber, seen) = tells(move |scrape: &Scrape| {
            let levels = meter.read(scrape);
            Some((meter.kind()?.name.clone(), levels))
        });
        let _subscription = scraper.subscribe(Span::from_millis(5), subscriber);
        let mut before = None;
        for _ in 0..5 {
            let sample = seen.recv_timeout(WAIT).unwrap();
            assert!(before.is_none_or(|before| before < sample.at));
            before = Some(sample.at);
            assert_eq!(sample.url, page.urls[0]);
            let (name, levels) = sample.shown.unwrap().unwrap();
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
        // A server that is gone is an error in each sample, not an end of them.
        let gone = std::iter::from_fn(|| seen.recv_timeout(WAIT).ok())
            .find(|sample| sample.shown.is_err());
        assert!(matches!(
            gone.unwrap().shown,
            Err(ScrapeError::Unreachable(_))
        ));
    }

    #[test]
    fn all_who_want_a_page_share_its_scrapes() {
        let (page, _server) = server();
        let mut scrapers = scrapers();
        let (often, all) = tells(requests);
        let fast = scrapers.of(&page, LIMITS).unwrap();
        let fast = fast.subscribe(Span::from_millis(2), often);
        let (seldom, some) = tells(requests);
        let slow = scrapers.of(&page, LIMITS).unwrap();
        let slow = slow.subscribe(Span::from_millis(7), seldom);
        fast.scrape_now().wait(WAIT);
        slow.scrape_now().wait(WAIT);
        let some: Vec<SampleLog<f64>> = (0..10).map(|_| some.recv_timeout(WAIT).unwrap()).collect();
        let last = some.last().unwrap().at;
        let mut seen = Vec::new();
        while seen
            .last()
            .is_none_or(|seen: &SampleLog<f64>| seen.at < last)
        {
            seen.push(all.recv_timeout(WAIT).unwrap());
        }
        // The server has answered no request but those that the one who wants most has seen.
        let counts: Vec<f64> = seen
            .iter()
            .map(|seen| *seen.shown.as_ref().unwrap())
            .collect();
        let expected: Vec<f64> = (0..counts.len())
            .map(|nth| counts[0] + nth as f64)
            .collect();
        assert!(counts[0] <= 1.0, "{counts:?}");
        assert_eq!(counts, expected);
        // What the other has seen is among it, and is less.
        for one in &some {
            let count = one.shown.as_ref().unwrap();
            assert!(
                seen.iter()
                    .any(|of| of.at == one.at && of.shown.as_ref().unwrap() == count)
            );
        }
        assert!(some.len() < seen.len(), "{} of {}", some.len(), seen.len());
    }
}
