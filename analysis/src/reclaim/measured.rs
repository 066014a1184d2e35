//! What a server's counters make of one request: measured by one that was alone.

use pinfire_scrape::Levels;

use super::Evidence;

/// How far counters move for one request alone; absent where that was not measured.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct OfOne {
    /// Requests that it counts as finished.
    pub finished: Option<f64>,
    /// Tokens for each event that reached the client.
    pub tokens: Option<f64>,
}

/// The same for all pages as one, and for each of several.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Measured {
    /// As one server.
    pub all: OfOne,
    /// Page by page, where there are several.
    pub pages: Vec<OfOne>,
}

impl Measured {
    /// Of some of the pages together.
    pub(super) fn of_pages(&self, places: &[usize]) -> Self {
        let pages = || places.iter().filter_map(|place| self.pages.get(*place));
        let all = OfOne {
            finished: pages().map(|one| one.finished).sum(),
            tokens: pages().map(|one| one.tokens).sum(),
        };
        Self {
            all,
            pages: Vec::new(),
        }
    }
}

impl Evidence {
    /// What the counters have made of the request that warmed the server.
    pub fn measure(&self) -> Measured {
        let pages = (0..self.pages.len()).map(|place| self.of_pages(&[place]).of_one());
        Measured {
            all: self.of_one(),
            pages: pages.collect(),
        }
    }

    /// The same of the pages as one.
    pub(super) fn of_one(&self) -> OfOne {
        if let Some(measured) = &self.measured {
            return measured.all;
        }
        let Some(warmed) = self.warmed else {
            return OfOne::default();
        };
        let mut rested = self.before.iter().rev();
        let rested = rested.find_map(|sample| sample.levels);
        let per = |of: fn(&Levels) -> Option<f64>, count: u64| {
            // What has not shown yet has counted nothing.
            let counted = rested.map(|levels| of(&levels).unwrap_or(0.0))?;
            (count > 0).then(|| counted / count as f64)
        };
        OfOne {
            finished: per(|levels| levels.finished, warmed.requests),
            tokens: per(|levels| levels.output_tokens, warmed.events),
        }
    }
}
