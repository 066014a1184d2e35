//! Several pages of metrics: replicas that share the load, or hops that all of it goes through.

use super::{Evidence, Finding, LevelSample, PageReport, ReclaimReport, Source, Witness};

/// A page that shows this part of what the client has out, on average, sees all of the load.
const SEES_ALL: f64 = 0.75;
/// Pages that show no more than this together share the load.
const SHARED: f64 = 1.4;

/// How the pages of a test stand to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Layout {
    /// Each has a part of the load: together they are one server.
    Replicas,
    /// Several see all of it: a gateway and its workers.
    Hops,
}

impl Evidence {
    /// What this page alone tells.
    pub(super) fn of_page(&self, place: usize) -> Self {
        let Some(page) = self.pages.get(place) else {
            return self.clone();
        };
        let within = |samples: &[LevelSample]| -> Vec<LevelSample> {
            let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
                return Vec::new();
            };
            let all = page.samples.iter();
            let inside = all.filter(|sample| sample.at >= first.at && sample.at <= last.at);
            inside.copied().collect()
        };
        let mut alone = self.clone();
        alone.pages.clear();
        alone.server.clone_from(&page.server);
        alone.counting = page.counting;
        alone.measured = self.measured.as_ref().map(|all| all.of_page(place));
        alone.before = within(&self.before);
        alone.between = within(&self.between);
        for (wave, whole) in alone.waves.iter_mut().zip(&self.waves) {
            wave.samples = within(&whole.samples);
        }
        alone
    }

    pub(super) fn layout(&self, alone: &[Self]) -> Layout {
        let shares: Vec<f64> = alone.iter().map(Self::mean_share).collect();
        let all = shares.iter().filter(|share| **share >= SEES_ALL).count();
        match all > 0 && shares.iter().sum::<f64>() > SHARED {
            true => Layout::Hops,
            false => Layout::Replicas,
        }
    }
}

impl ReclaimReport {
    /// Judges each page, and names the hop that did not let go.
    pub(super) fn of_pages(evidence: &Evidence) -> Self {
        let places = 0..evidence.pages.len();
        let alone: Vec<Evidence> = places.map(|place| evidence.of_page(place)).collect();
        let reports: Vec<Self> = alone.iter().map(Self::of_one).collect();
        let mut report = match evidence.layout(&alone) {
            Layout::Replicas => Self::of_one(evidence),
            Layout::Hops => {
                let worst = reports.iter().max_by_key(|report| rank(report));
                let mut worst = worst.cloned().unwrap_or_else(|| Self::of_one(evidence));
                worst.name_the_hop(evidence, &reports);
                worst
            }
        };
        let both = evidence.pages.iter().zip(reports);
        report.pages = both
            .map(|(page, alone)| PageReport {
                url: page.url.clone(),
                server: page.server.clone(),
                finding: alone.worst(),
                witnesses: alone.witnesses,
                timeline: alone.timeline,
            })
            .collect();
        report
    }

    /// Says which page its verdict is of, and which have let go.
    fn name_the_hop(&mut self, evidence: &Evidence, reports: &[Self]) {
        let name = |place: usize| {
            let page = evidence.pages.get(place);
            page.map_or_else(String::new, |page| {
                let kind = page.server.as_deref().unwrap_or("unknown server");
                format!("{kind} at {}", page.url)
            })
        };
        let worst = self.worst();
        if worst <= Finding::AtOnce {
            return;
        }
        let of = |wanted: &dyn Fn(Finding) -> bool| {
            let places = reports
                .iter()
                .enumerate()
                .filter(|(_, of)| wanted(of.hop()));
            places
                .map(|(place, _)| name(place))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let hop = self.hop();
        let (bad, good) = (
            of(&|found| found == hop),
            of(&|found| found == Finding::AtOnce),
        );
        if bad.is_empty() || good.is_empty() || hop <= Finding::AtOnce {
            return;
        }
        self.summary += &format!("; {good} let go at once, and {bad} did not");
        self.advice = format!("look between {good} and {bad}: {}", self.advice);
    }

    /// What the page itself says, without the requests that are alone.
    fn hop(&self) -> Finding {
        let own = |witness: &&Witness| witness.witness != Source::Canaries;
        let own = self
            .witnesses
            .iter()
            .filter(own)
            .map(|witness| witness.verdict);
        own.max().unwrap_or(Finding::Silent)
    }
}

/// From the best to the worst; a page that cannot tell is worse than one that says that all is
/// well.
fn rank(report: &ReclaimReport) -> u8 {
    match report.worst() {
        _ if report.held().verdict == Finding::Silent && report.worst() <= Finding::Late => 2,
        Finding::Silent => 2,
        Finding::AtOnce => 0,
        Finding::Late => 1,
        Finding::RanOn => 3,
        Finding::Leaked => 4,
        Finding::Wedged => 5,
        Finding::Died => 6,
    }
}
