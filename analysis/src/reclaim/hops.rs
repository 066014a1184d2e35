//! Several pages of metrics: replicas that share the load, or hops that all of it goes through.

use pinfire_scrape::{Levels, server_kinds::Known};

use super::{
    Evidence, Finding, LevelSample, PageReport, PageSamples, ReclaimReport, Source, Wave, Witness,
};

/// A page that mostly shows this part of what the client has out sees all of the load.
const SEES_ALL: f64 = 0.75;
/// Pages that show no more than this together share the load.
const SHARED: f64 = 1.4;

impl Evidence {
    /// What some of the pages tell, as one server.
    pub(super) fn of_pages(&self, places: &[usize]) -> Self {
        let pages: Vec<&PageSamples> = places
            .iter()
            .filter_map(|place| self.pages.get(*place))
            .collect();
        let samples = together(&pages);
        let within = |whole: &[LevelSample]| -> Vec<LevelSample> {
            let (Some(first), Some(last)) = (whole.first(), whole.last()) else {
                return Vec::new();
            };
            let inside = samples
                .iter()
                .filter(|sample| sample.at >= first.at && sample.at <= last.at);
            inside.copied().collect()
        };
        let mut alone = self.clone();
        alone.pages.clear();
        alone.server = pages.last().and_then(|page| page.server.clone());
        alone.known = Known::together(pages.iter().map(|page| page.known));
        alone.measured = self.measured.as_ref().map(|all| all.of_pages(places));
        alone.before = within(&self.before);
        alone.between = within(&self.between);
        for (wave, whole) in alone.waves.iter_mut().zip(&self.waves) {
            wave.samples = within(&whole.samples);
        }
        alone
    }

    /// Pages that are judged together, by what each sees alone: one that sees all of the load, or
    /// passes it on, is a hop of its own; the others share the load, and are one server. A gateway
    /// that shows nothing of its requests is no hop.
    fn hops(&self, alone: &[Self]) -> Vec<Vec<usize>> {
        let tells = |place: &usize| !self.pages.get(*place).is_some_and(PageSamples::is_silent);
        let telling: Vec<usize> = (0..alone.len()).filter(tells).collect();
        let is_gateway = |place: &usize| alone.get(*place).is_some_and(|page| page.known.gateway);
        let (gateways, servers): (Vec<usize>, Vec<usize>) =
            telling.into_iter().partition(is_gateway);
        let share = |place: &usize| alone.get(*place).map_or(0.0, Self::usual_share);
        let shares: Vec<f64> = servers.iter().map(share).collect();
        let all = shares.iter().any(|share| *share >= SEES_ALL);
        let mut hops: Vec<Vec<usize>> = gateways.into_iter().map(|place| vec![place]).collect();
        match all && shares.iter().sum::<f64>() > SHARED {
            true => hops.extend(servers.into_iter().map(|place| vec![place])),
            false if servers.is_empty() => {}
            false => hops.push(servers),
        }
        hops
    }
}

impl PageSamples {
    /// Whether it is of a gateway that shows nothing of its requests.
    fn is_silent(&self) -> bool {
        let mut shown = self.samples.iter().filter_map(|sample| sample.levels);
        self.known.gateway && shown.all(|levels| levels.is_silent())
    }
}

/// What several pages show as one server: at each look of one of them, what all have shown last;
/// nothing while one of them cannot be read.
fn together(pages: &[&PageSamples]) -> Vec<LevelSample> {
    let mut looks: Vec<(usize, LevelSample)> = Vec::new();
    for (place, page) in pages.iter().enumerate() {
        looks.extend(page.samples.iter().map(|sample| (place, *sample)));
    }
    looks.sort_by_key(|(_, sample)| sample.at);
    let mut last: Vec<Option<Levels>> = vec![None; pages.len()];
    let joined = looks.into_iter().map(|(place, sample)| {
        if let Some(last) = last.get_mut(place) {
            *last = sample.levels;
        }
        let all: Option<Vec<Levels>> = last.iter().copied().collect();
        LevelSample {
            at: sample.at,
            levels: all.as_deref().and_then(Levels::together),
        }
    });
    joined.collect()
}

impl ReclaimReport {
    /// Judges each page, and names the hop that did not let go.
    pub(super) fn of_pages(evidence: &Evidence) -> Self {
        let places = 0..evidence.pages.len();
        let alone: Vec<Evidence> = places.map(|place| evidence.of_pages(&[place])).collect();
        let reports: Vec<Self> = alone.iter().map(|page| Self::of_one(page, 0.0)).collect();
        let hops = evidence.hops(&alone);
        let of_hop = |hop: &Vec<usize>| match hop.as_slice() {
            [place] => reports.get(*place).cloned(),
            places => {
                // What they show together is as old as the oldest of them.
                let pages = places.iter().filter_map(|place| alone.get(*place));
                let sights = pages.map(|page| page.sight(Wave::sight_of_a_part));
                let old = sights.fold(0.0, f64::max);
                Some(Self::of_one(&evidence.of_pages(places), old))
            }
        };
        let found: Vec<Self> = hops.iter().filter_map(of_hop).collect();
        let worst = found.iter().max_by_key(|report| rank(report));
        let mut report = worst
            .cloned()
            .unwrap_or_else(|| Self::of_one(evidence, 0.0));
        report.name_the_hop(evidence, &hops, &found);
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
    fn name_the_hop(&mut self, evidence: &Evidence, hops: &[Vec<usize>], reports: &[Self]) {
        let name = |hop: &Vec<usize>| {
            let pages = hop.iter().filter_map(|place| evidence.pages.get(*place));
            let names = pages.map(|page| {
                let kind = page.server.as_deref().unwrap_or("unknown server");
                format!("{kind} at {}", page.url)
            });
            names.collect::<Vec<_>>().join(" and ")
        };
        let worst = self.worst();
        if worst <= Finding::AtOnce {
            return;
        }
        let of = |wanted: &dyn Fn(Finding) -> bool| {
            let both = hops.iter().zip(reports);
            let fitting = both.filter(|(_, of)| wanted(of.hop()));
            fitting
                .map(|(hop, _)| name(hop))
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
