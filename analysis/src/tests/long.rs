//! Runs with more requests than are kept exactly: the same figures, to three digits.

use pinfire_base::record::{Record, Stage};
use tempfile::tempdir;

use super::{end, facts, run};
use crate::report::Report;
use crate::testing::RecordParts;

fn records() -> Vec<Record> {
    let record = |n: u64| {
        let start = n as f64 * 3.7;
        let first = start + 20.0 + (n % 13) as f64;
        let parts = RecordParts::streamed(n % 60).sent(start, start + 0.25, start + 0.5);
        if n % 10 == 9 {
            return parts.cancelled(50.0, n % 90, Stage::Streaming);
        }
        let words = ["one", " two three", " four", " five"];
        let at: Vec<f64> = (0..4)
            .map(|k| first + f64::from(k) * (5.0 + (n % 7) as f64))
            .collect();
        parts.words(&at, &words).end(at[3] + 0.5)
    };
    (0..400).map(record).collect()
}

fn report(exact_records: u64) -> Report {
    let dir = tempdir().unwrap();
    let records = records();
    let mut facts = facts(dir.path());
    facts.exact_records = exact_records;
    run(facts, &records, end(&records))
}

#[test]
fn a_long_run_has_the_figures_of_an_exact_one() {
    let (exact, long) = (report(0), report(50));
    assert!(!exact.coarse && long.coarse);
    let tags = |report: &Report| -> Vec<&str> {
        report.blocks.iter().map(|block| block.metric.tag).collect()
    };
    assert_eq!(tags(&exact), tags(&long));
    for (exact, long) in exact.blocks.iter().zip(&long.blocks) {
        let tag = exact.metric.tag;
        let (exact, long) = (&exact.figures, &long.figures);
        let near = |one: Option<f64>, other: Option<f64>, within: f64| {
            let (one, other) = (one.unwrap_or(0.0), other.unwrap_or(0.0));
            assert!(
                (one - other).abs() <= within * one.abs().max(1e-9),
                "{tag}: {one} {other}"
            );
        };
        // Averages of curves are areas, which bins do not change; of users per bin they are.
        let is_curve = exact.count.is_none() && exact.is_distribution();
        if is_curve {
            if !tag.ends_with("per_user") && !tag.starts_with("active_") {
                near(exact.avg, long.avg, 1e-6);
            }
            continue;
        }
        near(exact.avg, long.avg, 1e-9);
        near(exact.sum, long.sum, 1e-9);
        near(exact.std, long.std, 1e-6);
        assert_eq!((exact.min, exact.max), (long.min, long.max), "{tag}");
        assert_eq!(exact.count, long.count, "{tag}");
        for ((q, one), (_, other)) in exact.percentiles.iter().zip(&long.percentiles) {
            // Between two ranks that lie in one step the exact value is interpolated.
            assert!(
                (one - other).abs() <= 0.001 * one.abs(),
                "{tag} p{q}: {one} {other}"
            );
        }
    }
    let json = String::from_utf8(long.json()).unwrap();
    assert!(json.contains("\"exact_records\": 50"), "{json}");
    assert!(!json.contains("\"neighbours\""));
    assert!(long.console(140, false).contains("More than 50 requests"));
}
