//! Time slices: the golden example, the grid, and the two files.

use pinfire_base::clock::Span;
use pinfire_base::record::{Outcome, Record};
use serde_json::{Value, json};
use tempfile::tempdir;

use super::{close, end, facts, golden, run};
use crate::report::{Report, Slice};
use crate::stats::Figures;
use crate::testing::{RecordParts, T0_UNIX};

fn sliced(records: &[Record], seconds: f64) -> Report {
    let dir = tempdir().unwrap();
    let mut facts = facts(dir.path());
    facts.slice = Some(Span::from_secs_f64(seconds));
    run(facts, records, end(records))
}

fn figures<'a>(slice: &'a Slice, tag: &str) -> Option<&'a Figures> {
    let block = slice.blocks.iter().find(|block| block.metric.tag == tag)?;
    Some(&block.figures)
}

fn value(slice: &Slice, tag: &str) -> Option<f64> {
    figures(slice, tag)?.avg
}

/// Bounds in milliseconds after the start of the phase.
fn window(slice: &Slice) -> (f64, f64) {
    let ms = |unix: u64| (unix - T0_UNIX) as f64 / 1e6;
    (ms(slice.start_unix), ms(slice.end_unix))
}

#[test]
fn the_golden_slices_of_100_ms() {
    let report = sliced(&golden::records(), 0.1);
    // All start in the first cell; the second has no start and is no slice.
    assert_eq!(report.slices.len(), 1);
    let slice = &report.slices[0];
    assert_eq!(window(slice), (1.0, 101.0));
    assert!(slice.complete);
    for (tag, expected) in [
        ("request_count", 2.0),
        ("request_throughput", 20.0),
        ("benchmark_duration", 0.13),
        ("goodput", 10.0),
        ("good_request_fraction", 0.5),
        ("cancelled_request_count", 1.0),
        ("request_error_rate", 0.0),
        ("output_token_throughput", 90.0),
    ] {
        close(value(slice, tag), expected);
    }
    assert_eq!(figures(slice, "request_latency").unwrap().sum, Some(210.0));
    assert_eq!(
        figures(slice, "inter_chunk_latency").unwrap().count,
        Some(5)
    );
    for absent in [
        "effective_latency",
        "credit_to_start_latency",
        "adj_request_latency",
    ] {
        assert!(figures(slice, absent).is_none(), "{absent}");
    }
    // Held in the slice alone: 0 from 1 to 101, 1 from 2 to 82, 2 from 91.
    close(value(slice, "effective_concurrency"), 1.9);
}

#[test]
fn the_golden_slices_of_50_ms() {
    let report = sliced(&golden::records(), 0.05);
    let windows: Vec<_> = report.slices.iter().map(window).collect();
    assert_eq!(windows, [(1.0, 51.0), (51.0, 101.0)]);
    close(value(&report.slices[0], "request_throughput"), 40.0);
    let second = &report.slices[1];
    assert_eq!(value(second, "cancelled_request_count"), Some(1.0));
    for absent in [
        "request_count",
        "request_latency",
        "request_throughput",
        "benchmark_duration",
    ] {
        assert!(figures(second, absent).is_none(), "{absent}");
    }
    // A request that started before still counts while it runs.
    close(
        value(second, "effective_concurrency"),
        (50.0 + 31.0 + 10.0) / 50.0,
    );
    close(value(second, "effective_decode_throughput"), 3.0 / 0.05);
}

/// The last cell is cut to the last end; a gap in the grid is no slice, and numbers stay dense.
#[test]
fn the_last_slice_is_cut_and_empty_cells_are_left_out() {
    let answer = |index: u64, start: f64, end: f64| {
        RecordParts::streamed(index % 3)
            .sent(start, start, start + 0.5)
            .words(&[end - 1.0, end], &["a", " b"])
            .end(end)
    };
    // Out of order of start, as records of several cores arrive.
    let records = [
        answer(0, 150.0, 172.0),
        answer(1, 30.0, 40.0),
        answer(2, 10.0, 120.0),
    ];
    let report = sliced(&records, 0.02);
    let windows: Vec<_> = report.slices.iter().map(window).collect();
    assert_eq!(windows, [(10.0, 30.0), (30.0, 50.0), (150.0, 170.0)]);
    // A start on a bound belongs to the slice that begins there.
    for slice in &report.slices {
        assert_eq!(value(slice, "request_count"), Some(1.0));
        close(value(slice, "request_throughput"), 50.0);
    }
    close(value(&report.slices[1], "request_latency"), 10.0);
    close(value(&report.slices[2], "request_latency"), 22.0);

    let report = sliced(&records, 0.1);
    let windows: Vec<_> = report.slices.iter().map(window).collect();
    assert_eq!(windows, [(10.0, 110.0), (110.0, 172.0)]);
    let complete: Vec<bool> = report.slices.iter().map(|slice| slice.complete).collect();
    assert_eq!(complete, [true, false]);
    // The cut slice divides by its own length.
    close(value(&report.slices[1], "request_throughput"), 1.0 / 0.062);
}

#[test]
fn a_slice_of_failures_has_figures_of_failures_and_of_time() {
    let mut records = golden::records();
    records[2] = RecordParts::streamed(2)
        .sent(90.0, 91.0, 91.5)
        .status(503)
        .end(141.5);
    let report = sliced(&records, 0.05);
    let second = &report.slices[1];
    assert_eq!(value(second, "error_request_count"), Some(1.0));
    assert_eq!(value(second, "request_error_rate"), Some(100.0));
    assert_eq!(value(second, "total_error_isl"), Some(12.0));
    assert!(figures(second, "effective_concurrency").is_some());
    assert!(figures(second, "request_count").is_none());
    assert!(figures(second, "adj_request_latency").is_none());
    // In a slice with both, failures count as endless.
    let report = sliced(&records, 0.1);
    let adjusted = figures(&report.slices[0], "adj_request_latency").unwrap();
    assert_eq!(adjusted.percentile(50), Some(130.0));
    assert_eq!(adjusted.percentile(99), Some(f64::INFINITY));
}

/// Every request is in exactly one slice, and the run's own figures do not change by slicing.
#[test]
fn slices_part_the_run_and_change_nothing_in_it() {
    let mut records = Vec::new();
    for n in 0..200_u64 {
        let start = ((n * 37) % 200) as f64 * 3.0;
        let length = 20.0 + (n % 11) as f64;
        let parts = RecordParts::streamed(n % 3).sent(start, start, start + 0.5);
        let record = if n % 5 == 4 {
            parts.status(503).end(start + length)
        } else {
            let at: Vec<f64> = (0..=n % 4)
                .map(|k| start + length - 4.0 + k as f64)
                .collect();
            parts
                .words(&at, &["a", " b", " c", " d"])
                .end(start + length)
        };
        records.push(record);
    }
    let plain = {
        let dir = tempdir().unwrap();
        run(facts(dir.path()), &records, end(&records))
    };
    for seconds in [0.001, 0.05, 0.0501, 7.0] {
        let report = sliced(&records, seconds);
        for (plain, sliced) in plain.blocks.iter().zip(&report.blocks) {
            assert_eq!(plain.metric.tag, sliced.metric.tag);
            assert_eq!(plain.figures, sliced.figures, "{}", plain.metric.tag);
        }
        let sum = |tag: &str| -> f64 { report.slices.iter().filter_map(|s| value(s, tag)).sum() };
        for tag in [
            "request_count",
            "error_request_count",
            "total_osl",
            "good_request_count",
        ] {
            assert_eq!(sum(tag), plain.value(tag).unwrap(), "{tag} at {seconds}");
        }
        let gaps: u64 = report
            .slices
            .iter()
            .filter_map(|slice| figures(slice, "inter_chunk_latency")?.count)
            .sum();
        assert_eq!(
            Some(gaps),
            plain.figures("inter_chunk_latency").unwrap().count
        );
    }
}

#[test]
fn the_files() {
    let dir = tempdir().unwrap();
    let records = golden::records();
    let mut asked = facts(dir.path());
    asked.slice = Some(Span::from_millis(100));
    let report = run(asked, &records, end(&records));
    let written = report.write(140).unwrap();
    let csv =
        std::fs::read_to_string(dir.path().join("profile_export_aiperf_timeslices.csv")).unwrap();
    assert!(!csv.replace("\r\n", "").contains('\n'));
    let rows: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(rows[0], "Timeslice,Start_NS,End_NS,Metric,Unit,Stat,Value");
    let place = |row: &str| {
        let row = format!("0,1800000000001000000,1800000000101000000,{row}");
        let place = rows.iter().position(|one| *one == row);
        place.unwrap_or_else(|| panic!("{row}\n{csv}"))
    };
    // By tag, and within a metric in the order of statistics; units that the summary hides are
    // here.
    let order = [
        "Request Count,requests,avg,2.00",
        "Request Latency,ms,avg,105.00",
        "Request Latency,ms,min,80.00",
        "Request Latency,ms,max,130.00",
        "Request Latency,ms,sum,210.00",
        "Request Latency,ms,p1,80.50",
        "Request Latency,ms,std,25.00",
        "Request Throughput,requests/sec,avg,20.00",
    ];
    assert!(order.map(place).is_sorted(), "{csv}");
    let mut stats = rows.iter().filter_map(|row| row.split(',').nth(5));
    assert!(stats.all(|stat| stat != "count"), "{csv}");

    let json: Value = serde_json::from_slice(
        &std::fs::read(dir.path().join("profile_export_aiperf_timeslices.json")).unwrap(),
    )
    .unwrap();
    let slice = &json["timeslices"][0];
    assert_eq!(slice["timeslice_index"], 0);
    assert_eq!(slice["start_ns"], 1_800_000_000_001_000_000_u64);
    assert_eq!(slice["end_ns"], 1_800_000_000_101_000_000_u64);
    assert_eq!(slice.get("is_complete"), None);
    assert_eq!(
        slice["request_throughput"],
        json!({"unit": "requests/sec", "avg": 20.0})
    );
    assert_eq!(slice["request_latency"]["count"], 2);
    assert_eq!(json["input_config"]["artifacts"]["slice_duration"], 0.1);
    let footer = report.footer(Some(&written));
    let at = |text: &str| {
        footer
            .find(text)
            .unwrap_or_else(|| panic!("{text}\n{footer}"))
    };
    assert!(at("Raw Records: ") < at("Timeslice CSV Export: "));
    assert!(at("Timeslice CSV Export: ") < at("Timeslice JSON Export: "));
}

#[test]
fn without_a_record_there_is_neither_file() {
    let dir = tempdir().unwrap();
    let dropped = [RecordParts::streamed(0).outcome(Outcome::Dropped).end(5.0)];
    let mut asked = facts(dir.path());
    asked.slice = Some(Span::from_millis(100));
    let report = run(asked, &dropped, end(&dropped));
    let written = report.write(140).unwrap();
    assert_eq!(written.slices, None);
    assert!(
        !dir.path()
            .join("profile_export_aiperf_timeslices.csv")
            .exists()
    );
    assert!(!report.footer(Some(&written)).contains("Timeslice"));
}
