//! The levels of all servers, sampled as one.

use std::time::Duration;

use anyhow::{Result, ensure};
use crossbeam_channel::{Receiver, Sender, unbounded};
use pinfire_analysis::reclaim::{LevelSample, PageSamples};
use pinfire_base::clock::{Span, Stamp};
use pinfire_scrape::{Levels, Meter, ServerKinds, server_kinds::Known};

use super::requester::STOPPED;
use crate::{
    run::signals::Interrupt,
    scrape::{
        page::{Interest, Limits, Sample, Scrapers, Subscriber, Subscription},
        plan::Candidate,
    },
};

/// At rest before anything is sent, and behind each wave that shows no metrics.
pub const QUIET: Span = Span::from_millis(400);
/// How often samples are taken in while nothing else is to be done.
const PAUSE: Duration = Duration::from_millis(5);
/// A sample that takes longer tells nothing any more.
const SAMPLE_LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    whole: Duration::from_secs(5),
};

/// The levels of all servers over time.
pub struct Sampler {
    pages: Vec<Page>,
    server: Option<Kind>,
}

/// One page that is sampled.
struct Page {
    subscription: Subscription,
    samples: Receiver<PageSample>,
    /// What it showed last.
    last: Option<Levels>,
    /// What is behind it, once a sample has told.
    kind: Option<Kind>,
    /// What it has shown so far.
    all: Vec<LevelSample>,
}

impl Page {
    fn is_silent_gateway(&self) -> bool {
        let gateway = self.kind.as_ref().is_some_and(|kind| kind.known.gateway);
        gateway && self.last.is_some_and(|levels| levels.is_silent())
    }
}

/// What a page showed at one instant.
struct PageSample {
    at: Stamp,
    /// Nothing if it could not be read; no kind as long as what it means is not known.
    shown: Option<(Option<Kind>, Levels)>,
}

/// The kind of server that the metrics are of.
#[derive(Clone, PartialEq, Debug)]
pub struct Kind {
    pub name: String,
    /// How long its metrics may lag.
    pub lag: Span,
    /// What is known of what it shows.
    pub known: Known,
}

/// Takes the levels out of a page, so that whole pages need not be kept.
struct LevelReader {
    meter: Meter,
    out: Sender<PageSample>,
}

impl Subscriber for LevelReader {
    fn take(&mut self, _: &str, sample: &Sample) -> Interest {
        let shown = sample.shown.as_ref().ok().map(|shown| {
            let levels = self.meter.read(&shown.scrape);
            let kind = self.meter.kind().map(|kind| Kind {
                name: kind.name.clone(),
                lag: Span::from_secs_f64(kind.settle_seconds),
                known: kind.known(),
            });
            (kind, levels)
        });
        let at = sample.at;
        match self.out.send(PageSample { at, shown }) {
            Ok(()) => Interest::Stays,
            Err(_) => Interest::Ends,
        }
    }

    fn absent(&mut self, _: &str) -> Interest {
        // It may come; and else nothing can be told, which is what its samples say.
        Interest::Stays
    }
}

/// What the server holds at rest, for the wait until it is again. The verdict looks closer.
#[derive(Clone, Copy, Default)]
pub struct Floor {
    held: f64,
    cache: f64,
}

impl Floor {
    /// Requests.
    pub const fn held(self) -> f64 {
        self.held
    }

    /// Of what a sample showed.
    pub fn of(levels: Levels) -> Self {
        Self {
            held: levels.held().unwrap_or(0.0),
            cache: levels.kv_used.unwrap_or(0.0),
        }
    }
}

impl Sampler {
    /// Begins to sample these pages.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        pages: &[Candidate],
        kinds: &ServerKinds,
        interval: Span,
        scrapers: &mut Scrapers,
    ) -> Result<Self> {
        let sampled = pages.iter().map(|page| {
            let (out, samples) = unbounded();
            let meter = Meter::new(kinds);
            let scraper = scrapers.of(page, SAMPLE_LIMITS)?;
            Ok(Page {
                subscription: scraper.subscribe(interval, LevelReader { meter, out }),
                samples,
                last: None,
                kind: None,
                all: Vec::new(),
            })
        });
        Ok(Self {
            pages: sampled.collect::<Result<_>>()?,
            server: None,
        })
    }

    /// Where its pages are. Waits until each page is found, or is known not to be there.
    pub fn urls(&self) -> Vec<String> {
        let pages = self.pages.iter();
        pages.map(|page| page.subscription.url()).collect()
    }

    /// Samples at this interval from now on.
    pub fn every(&self, interval: Span) {
        for page in &self.pages {
            page.subscription.every(interval);
        }
    }

    /// The kind of server, once a sample has told.
    pub const fn server(&self) -> Option<&Kind> {
        self.server.as_ref()
    }

    /// What is known of what the server shows: of several, what is the same of all.
    pub fn known(&self) -> Known {
        let kinds = self.pages.iter().filter_map(|page| page.kind.as_ref());
        Known::together(kinds.map(|kind| kind.known))
    }

    /// How long the server's metrics may lag.
    pub fn lag(&self) -> Span {
        let kinds = self.pages.iter().filter_map(|page| page.kind.as_ref());
        kinds.map(|kind| kind.lag).max().unwrap_or(Span::ZERO)
    }

    /// What each page has shown, where there are several.
    pub fn pages(&self) -> Vec<PageSamples> {
        if self.pages.len() < 2 {
            return Vec::new();
        }
        let pages = self.pages.iter();
        pages
            .map(|page| PageSamples {
                url: page.subscription.url(),
                server: page.kind.as_ref().map(|kind| kind.name.clone()),
                known: page
                    .kind
                    .as_ref()
                    .map(|kind| kind.known)
                    .unwrap_or_default(),
                samples: page.all.clone(),
            })
            .collect()
    }

    /// Keeps nothing of what each page has shown so far.
    pub fn forget(&mut self) {
        for page in &mut self.pages {
            page.all.clear();
        }
    }

    /// Takes in the samples that have been made. With several pages each is what all of them showed
    /// last; nothing while one of them cannot be read.
    pub fn take(&mut self, into: &mut Vec<LevelSample>) {
        let mut samples: Vec<(usize, PageSample)> = Vec::new();
        for (number, page) in self.pages.iter().enumerate() {
            samples.extend(page.samples.try_iter().map(|sample| (number, sample)));
        }
        samples.sort_by_key(|(_, sample)| sample.at);
        for (number, PageSample { at, shown }) in samples {
            let page = &mut self.pages[number];
            page.last = shown.map(|(kind, levels)| {
                if let Some(kind) = kind {
                    page.kind = Some(kind.clone());
                    self.server = Some(kind);
                }
                levels
            });
            let levels = page.last;
            page.all.push(LevelSample { at, levels });
            // What passes requests on and shows none of them has no part in what is held.
            let holds = self.pages.iter().filter(|page| !page.is_silent_gateway());
            let all: Option<Vec<Levels>> = holds.map(|page| page.last).collect();
            let levels = all.as_deref().and_then(Levels::together);
            into.push(LevelSample { at, levels });
        }
    }

    /// Waits, and keeps the samples.
    ///
    /// # Errors
    /// The user has had enough.
    pub fn rest(
        &mut self,
        samples: &mut Vec<LevelSample>,
        span: Span,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let until = Stamp::now() + span;
        loop {
            self.take(samples);
            ensure!(!interrupt.asked(), STOPPED);
            if Stamp::now() >= until {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until the servers hold no more than at the last rest, for `limit` at most.
    ///
    /// # Errors
    /// As above.
    pub fn settle(
        &mut self,
        samples: &mut Vec<LevelSample>,
        floor: &mut Option<Floor>,
        limit: Span,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let begun = Stamp::now();
        let Some(before) = *floor else {
            return self.rest(samples, QUIET.min(limit), interrupt);
        };
        let back = |sample: &LevelSample| {
            sample.levels.is_some_and(|levels| {
                let now = Floor::of(levels);
                now.held < before.held + 0.5 && now.cache <= before.cache + 1e-6
            })
        };
        loop {
            self.rest(samples, Span::from_millis(10), interrupt)?;
            let fresh: Vec<&LevelSample> =
                samples.iter().rev().take_while(|l| l.at >= begun).collect();
            let rested = fresh.len() >= 3 && fresh.iter().take(3).all(|sample| back(sample));
            if rested || Stamp::now().since(begun) >= limit {
                break;
            }
        }
        if let Some(levels) = last_levels(samples) {
            *floor = Some(Floor::of(levels));
        }
        Ok(())
    }
}

/// The newest that was seen.
pub fn last_levels(samples: &[LevelSample]) -> Option<Levels> {
    samples.iter().rev().find_map(|sample| sample.levels)
}
