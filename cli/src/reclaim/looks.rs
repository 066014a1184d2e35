//! Looks at the metrics of all servers, as one.

use std::time::Duration;

use anyhow::{Result, ensure};
use pinfire_analysis::{
    reclaim::Look,
    scrape::{Levels, ReleaseProfiles},
};
use pinfire_base::clock::{Span, Stamp};

use super::canary::STOPPED;
use crate::{
    run::signals::Interrupt,
    scrape::{
        client::Client,
        fast::{FastScraper, Sample},
        plan::Candidate,
    },
};

/// At rest before anything is sent, and behind each wave that shows no metrics.
pub const QUIET: Span = Span::from_millis(400);
/// How often samples are taken while nothing else is to be done.
const PAUSE: Duration = Duration::from_millis(5);

/// What one look keeps: the kind of server, how long its metrics may lag, and what it holds.
type Shown = Option<(String, f64, Levels)>;

/// The looks at all pages.
pub struct Looks {
    urls: Vec<String>,
    pages: Vec<FastScraper<Shown>>,
    /// What each page showed last.
    last: Vec<Option<Levels>>,
    server: Option<(String, f64)>,
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

    /// Of what a look showed.
    pub fn of(levels: Levels) -> Self {
        Self {
            held: levels.held().unwrap_or(0.0),
            cache: levels.kv_used.unwrap_or(0.0),
        }
    }
}

impl Looks {
    /// Begins to look, in threads on these CPUs.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        client: &Client,
        pages: &[Candidate],
        profiles: &ReleaseProfiles,
        interval: Span,
        cpus: &[usize],
    ) -> Result<Self> {
        let (mut urls, mut looking) = (Vec::new(), Vec::new());
        for page in pages {
            // One that is not there is looked at all the same: it may come, and else nothing can be told.
            let url = match client.find(&page.urls) {
                Ok((url, _)) => url,
                Err(_) => page.urls.first().cloned().unwrap_or_default(),
            };
            let profiles = profiles.clone();
            looking.push(FastScraper::start(
                client,
                &url,
                interval,
                cpus,
                move |scrape| {
                    let profile = profiles.detect(scrape)?;
                    let settles = profile.settle_seconds;
                    Some((profile.name.clone(), settles, profile.levels(scrape)))
                },
            )?);
            urls.push(url);
        }
        Ok(Self {
            urls,
            last: vec![None; looking.len()],
            pages: looking,
            server: None,
        })
    }

    /// Where it looks.
    pub fn pages(&self) -> &[String] {
        &self.urls
    }

    /// Looks at this interval from now on.
    pub fn every(&self, interval: Span) {
        for page in &self.pages {
            page.every(interval);
        }
    }

    /// The kind of server, and how long its metrics may lag in seconds, once a look has told.
    pub const fn server(&self) -> Option<&(String, f64)> {
        self.server.as_ref()
    }

    /// Takes the looks that have been made. With several pages each look is what all of them showed
    /// last; none while one of them cannot be read.
    pub fn take(&mut self, into: &mut Vec<Look>) {
        let mut samples: Vec<(usize, Sample<Shown>)> = Vec::new();
        for (number, page) in self.pages.iter().enumerate() {
            samples.extend(page.samples().try_iter().map(|sample| (number, sample)));
        }
        samples.sort_by_key(|(_, sample)| sample.at);
        for (number, sample) in samples {
            let shown = sample.value.ok().flatten();
            self.last[number] = shown.map(|(name, settles, levels)| {
                self.server.get_or_insert((name, settles));
                levels
            });
            let all: Option<Vec<Levels>> = self.last.iter().copied().collect();
            into.push(Look {
                at: sample.at,
                levels: all.as_deref().and_then(Levels::together),
            });
        }
    }

    /// Waits, and keeps the looks.
    ///
    /// # Errors
    /// The user has had enough.
    pub fn rest(&mut self, looks: &mut Vec<Look>, span: Span, interrupt: &Interrupt) -> Result<()> {
        let until = Stamp::now() + span;
        loop {
            self.take(looks);
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
        looks: &mut Vec<Look>,
        floor: &mut Option<Floor>,
        limit: Span,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let begun = Stamp::now();
        let Some(before) = *floor else {
            return self.rest(looks, QUIET.min(limit), interrupt);
        };
        let back = |look: &Look| {
            look.levels.is_some_and(|levels| {
                let now = Floor::of(levels);
                now.held < before.held + 0.5 && now.cache <= before.cache + 1e-6
            })
        };
        loop {
            self.rest(looks, Span::from_millis(10), interrupt)?;
            let fresh: Vec<&Look> = looks.iter().rev().take_while(|l| l.at >= begun).collect();
            let rested = fresh.len() >= 3 && fresh.iter().take(3).all(|look| back(look));
            if rested || Stamp::now().since(begun) >= limit {
                break;
            }
        }
        if let Some(levels) = last_levels(looks) {
            *floor = Some(Floor::of(levels));
        }
        Ok(())
    }
}

/// The newest that was seen.
pub fn last_levels(looks: &[Look]) -> Option<Levels> {
    looks.iter().rev().find_map(|look| look.levels)
}
