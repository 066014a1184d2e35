//! Random scripts of servers, and a table of what stands in front of them: whatever they hold back
//! and however they are looked at, the verdict is never better than the truth.

use std::collections::BTreeMap;

use pinfire_base::{random::Purpose, record::Leave};

use super::world::{Counter, Deeds, Fate, Load, Pages, World};
use super::*;

/// A server of the middle, whose unlucky ones run on.
const USUAL: World = World {
    seed: 1,
    waves: 4,
    ttft: 0.3,
    stream: 2.0,
    tokens: 100,
    fate: Fate::RunsOn,
    share: 1.0,
    whole: false,
    leave: Leave::Fin,
    pages: Pages::Server,
    counter: Counter::Right,
    counts_tokens: true,
    batch: 1.0,
    interval: 0.02,
    refresh: 0.01,
    stale: 0.0,
    unreadable: None,
    others: None,
    shown: 1.0,
};

impl World {
    fn draw(seed: u64) -> Self {
        let draws = Purpose::new(seed, "script");
        let uniform = |nth: u64| draws.uniform(nth);
        let between = |nth, low: f64, high: f64| low + uniform(nth) * (high - low);
        let (ttft, stream) = (between(1, 0.1, 0.5), between(2, 1.5, 5.0));
        // The time that is left of an answer in the stream; a hold is clearly shorter or longer.
        let left = stream * 2.0 / 3.0;
        let fate = match (uniform(3) * 4.0) as u32 {
            0 => Fate::After(between(4, 0.0, 0.1)),
            1 if uniform(5) < 0.5 => Fate::After(between(4, 0.4 * left, 0.6 * left).max(0.7)),
            1 => Fate::After(between(4, 2.0, 3.0) * (ttft + stream)),
            2 => Fate::RunsOn,
            _ => Fate::Leaks,
        };
        let shares = [0.05, 0.1, 0.25, 1.0];
        Self {
            seed,
            waves: 4 + 2 * (uniform(6) * 3.0) as u64,
            ttft,
            stream,
            tokens: 40 + (uniform(7) * 200.0) as u64,
            fate,
            share: shares[(uniform(8) * 4.0) as usize % 4],
            interval: between(9, 0.01, 0.1),
            refresh: between(10, 0.001, 0.05),
            counter: match uniform(11) < 0.5 {
                true => Counter::Right,
                false => Counter::Absent,
            },
            counts_tokens: uniform(12) < 0.5,
            batch: if uniform(13) < 0.2 { 4.0 } else { 1.0 },
            ..USUAL
        }
    }
}

/// What a verdict is worth.
#[derive(Default)]
struct Tally {
    scripts: usize,
    better: Vec<String>,
    worse: Vec<String>,
    figures: Vec<String>,
    kinds: BTreeMap<Finding, usize>,
}

impl Tally {
    fn add(&mut self, told: &str, evidence: &Evidence, deeds: Deeds) -> ReclaimReport {
        let report = ReclaimReport::of(evidence);
        let (found, truth) = (report.worst(), deeds.worst);
        let says = report.witnesses.iter();
        let says: Vec<_> = says
            .map(|of| format!("{}: {}", of.verdict.name(), of.says))
            .collect();
        let told = format!("{told}, {deeds:?}: {found:?}: {}: {says:?}", report.summary);
        self.scripts += 1;
        *self.kinds.entry(truth).or_insert(0) += 1;
        let known = report.verdict != Verdict::CannotTell;
        if known && found < truth {
            self.better.push(told.clone());
        }
        if !known || found > truth {
            self.worse.push(told.clone());
        }
        if known {
            let wrong = wrong_figures(&report, deeds);
            let wrong = wrong.into_iter().map(|wrong| format!("{wrong}: {told}"));
            self.figures.extend(wrong);
        }
        report
    }

    /// Fails if a verdict was better than the truth, a figure wrong, or too many verdicts worse.
    fn hold(&self, worse: usize) {
        let few = |all: &[String]| all.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
        let [better, wrong] = [&self.better, &self.figures];
        assert!(
            better.is_empty() && wrong.is_empty() && self.worse.len() <= worse,
            "of {}: {} better than the truth, {} worse, {} wrong figures:\n{}\n{}\n{}",
            self.scripts,
            better.len(),
            self.worse.len(),
            wrong.len(),
            few(better),
            few(wrong),
            few(&self.worse)
        );
    }
}

/// Figures that are off by more than a tenth, and by more than their stated interval.
fn wrong_figures(report: &ReclaimReport, deeds: Deeds) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut demand = |good: bool, what: String| {
        if !good {
            wrong.push(what);
        }
    };
    let share = 100.0 * deeds.ran_on as f64 / deeds.cancels as f64;
    let near = |is: f64, truth: f64| (is - truth).abs() <= 0.1 * truth;
    let resolution = report.resolution_s.unwrap_or(0.0);
    match deeds.worst {
        Finding::Leaked => {
            let leaked = report.leak.leaked;
            demand(near(leaked, deeds.hit as f64), format!("leaked {leaked}"));
        }
        Finding::RanOn if report.verdict == Verdict::RanOn => {
            let telling = report.witnesses.iter();
            let telling = telling.filter(|witness| witness.verdict == Finding::RanOn);
            let shares: Vec<_> = telling.filter_map(|witness| witness.share).collect();
            demand(!shares.is_empty(), "no share".to_owned());
            for of in shares {
                let [low, high] = of.interval_pct;
                let within = (low..=high).contains(&share);
                demand(
                    within || near(of.share_pct, share),
                    format!("share {of:?} of {share} %"),
                );
            }
        }
        Finding::Late | Finding::AtOnce if report.verdict == Verdict::Released => {
            let longest = report.released_after_s.map(|[_, longest]| longest);
            // None is said where it was longer than the rest behind a wave.
            let within = longest.is_none_or(|longest| {
                (longest - deeds.longest).abs()
                    <= (0.1 * deeds.longest).max(3.0 * resolution + 0.06)
            });
            demand(within, format!("released after {longest:?} s"));
        }
        _ => {}
    }
    wrong
}

#[test]
fn the_verdict_is_never_better_than_the_truth() {
    const SCRIPTS: u64 = 400;
    let mut tally = Tally::default();
    for seed in 0..SCRIPTS {
        let world = World::draw(seed);
        let (evidence, deeds) = world.test();
        let told = format!("{world:?}");
        let report = tally.add(&told, &evidence, deeds);
        if deeds.worst == Finding::RanOn && world.counter == Counter::Right {
            let share = report.witness(Source::Finished).share.unwrap();
            assert_eq!(share.requests, deeds.hit, "{told}: {}", report.page());
        }
    }
    let kinds = &tally.kinds;
    assert!(
        kinds.len() == 4 && kinds.values().all(|count| *count >= 50),
        "{kinds:?}"
    );
    tally.hold(SCRIPTS as usize / 50);
}

#[test]
fn each_cell_of_the_table_is_judged_rightly() {
    const COUNTERS: [Counter; 7] = [
        Counter::Right,
        Counter::Zero,
        Counter::Doubled,
        Counter::Late,
        Counter::Restarted(&[7]),
        Counter::Restarted(&[7, 23]),
        Counter::Absent,
    ];
    let mut tally = Tally::default();
    let mut seed = 0;
    for share in [0.0, 0.05, 0.1, 1.0] {
        let fates = if share > 0.0 { 4 } else { 1 };
        for fate in [
            Fate::RunsOn,
            Fate::PassedOn(2.0),
            Fate::After(1.15),
            Fate::Leaks,
        ]
        .into_iter()
        .take(fates)
        {
            for whole in [false, true] {
                for leave in [Leave::Fin, Leave::Rst, Leave::Stall] {
                    for pages in [Pages::Server, Pages::Both, Pages::BlindGateway] {
                        for counter in COUNTERS {
                            seed += 1;
                            let world = World {
                                seed,
                                share,
                                fate,
                                whole,
                                leave,
                                pages,
                                counter,
                                interval: 0.04,
                                ..USUAL
                            };
                            let (evidence, deeds) = world.test();
                            let told = format!("{world:?}");
                            match leave {
                                Leave::Stall => stalled(&told, &evidence),
                                _ => drop(tally.add(&told, &evidence, deeds)),
                            }
                        }
                    }
                }
            }
        }
    }
    tally.hold(tally.scripts / 50);
}

#[test]
fn of_a_run_the_verdict_is_never_better_than_the_truth() {
    const SCRIPTS: u64 = 200;
    let mut tally = Tally::default();
    let mut with_counters = Tally::default();
    for seed in 0..SCRIPTS {
        let draws = Purpose::new(seed, "run");
        let uniform = |nth: u64| draws.uniform(nth);
        let world = World {
            share: [0.0, 0.05, 0.1, 0.25, 1.0][(uniform(1) * 5.0) as usize % 5],
            interval: 0.1,
            batch: 1.0,
            whole: uniform(2) < 0.2,
            ..World::draw(seed)
        };
        let load = Load {
            slots: 4 + (uniform(3) * 20.0) as u64,
            requests: 100 + (uniform(4) * 100.0) as u64,
            rate: 0.2 + 0.6 * uniform(5),
            varied: uniform(6) < 0.5,
        };
        let (evidence, deeds) = world.run(load);
        let told = format!("{world:?} {load:?}");
        match world.counter {
            Counter::Right => with_counters.add(&told, &evidence, deeds),
            _ => tally.add(&told, &evidence, deeds),
        };
    }
    // What is said of a run's times is of its end.
    with_counters
        .figures
        .retain(|wrong| !wrong.starts_with("released after"));
    tally
        .figures
        .retain(|wrong| !wrong.starts_with("released after"));
    with_counters.hold(with_counters.scripts / 50);
    tally.hold(tally.scripts);
}

/// Nobody has left: neither is that a fault of the server, nor has it let go of anything.
fn stalled(told: &str, evidence: &Evidence) {
    let report = ReclaimReport::of(evidence);
    let told = format!("{told}: {}", report.page());
    assert!(report.worst() < Finding::RanOn, "{told}");
    assert_ne!(report.worst(), Finding::AtOnce, "{told}");
    assert!(report.page().contains("nobody left"), "{told}");
}

#[test]
fn a_page_that_is_old_gone_or_of_another_does_not_make_the_verdict_better() {
    let mut tally = Tally::default();
    for seed in 0..600 {
        let draws = Purpose::new(seed, "page");
        let uniform = |nth: u64| draws.uniform(nth);
        let mut world = World {
            whole: uniform(1) < 0.3,
            counter: match uniform(2) < 0.3 {
                true => Counter::Right,
                false => Counter::Absent,
            },
            counts_tokens: uniform(3) < 0.2,
            share: [0.0, 0.05, 0.1, 1.0][(uniform(4) * 4.0) as usize % 4],
            pages: match (uniform(5) * 4.0) as u32 {
                0 => Pages::Both,
                1 => Pages::BlindGateway,
                _ => Pages::Server,
            },
            ..World::draw(seed)
        };
        match (uniform(6) * 6.0) as u32 {
            0 => world.refresh = 0.2 + 3.0 * uniform(7),
            1 => world.stale = 0.2 + 3.0 * uniform(7),
            2 => world.unreadable = Some([0.3 * uniform(7), 1.0]),
            3 => world.unreadable = Some([0.2 + 0.3 * uniform(7), 0.5 + 0.5 * uniform(8)]),
            4 => world.others = Some(((1.0 + 5.0 * uniform(7)).floor(), 40.0 * uniform(8))),
            _ => world.shown = 0.3 + 0.6 * uniform(7),
        }
        let (evidence, deeds) = world.test();
        tally.add(&format!("{world:?}"), &evidence, deeds);
    }
    tally.figures.clear();
    tally.hold(tally.scripts);
}

#[test]
fn tokens_for_nobody_are_those_of_the_truth() {
    for seed in 0..100 {
        let mut world = World::draw(seed);
        world.counts_tokens = true;
        let (evidence, deeds) = world.test();
        let report = ReclaimReport::of(&evidence);
        let tokens = report.tokens_for_nobody.unwrap().tokens;
        let truth = deeds.for_nobody;
        assert!(
            (tokens - truth).abs() < 0.5,
            "{tokens} of {truth}: {world:?}"
        );
    }
}

#[test]
fn what_shows_late_counts_from_nothing() {
    let world = World {
        fate: Fate::After(0.01),
        ..World::draw(5)
    };
    let (mut evidence, _) = world.test();
    // A fresh server: its page is there and says nothing yet.
    for sample in &mut evidence.before {
        sample.levels = Some(Levels::default());
    }
    let report = ReclaimReport::of(&evidence);
    assert_eq!(report.verdict, Verdict::Released, "{}", report.page());
    // A page that cannot be read at rest is another thing.
    for sample in &mut evidence.before {
        sample.levels = None;
    }
    assert_eq!(ReclaimReport::of(&evidence).verdict, Verdict::CannotTell);
}
