//! The bytes of CSV, JSON and console.

use serde_json::Value;
use tempfile::tempdir;

use super::{end, facts, golden, run};
use crate::report::External;
use crate::report::Report;
use crate::testing::RecordParts;
use pinfire_scrape::gpu::GpuTelemetry;
use pinfire_scrape::reduce::Window;

fn report() -> Report {
    let dir = tempdir().unwrap();
    let mut records = golden::records();
    let failed = RecordParts::streamed(1).status(503).end(6.0);
    records.push(failed);
    run(facts(dir.path()), &records, end(&records))
}

#[test]
fn the_csv_is_sorted_by_tag_with_crlf_and_two_decimals() {
    let csv = String::from_utf8(report().csv()).unwrap();
    let rows: Vec<&str> = csv.split("\r\n").collect();
    assert!(!csv.replace("\r\n", "").contains('\n'));
    assert_eq!(
        rows[0],
        "Metric,avg,min,max,sum,p1,p5,p10,p25,p50,p75,p90,p95,p99,std"
    );
    for expected in [
        "Inter Token Latency (ms),8.75,7.50,10.00,17.50,7.53,7.62,7.75,8.12,8.75,9.38,9.75,9.88,9.97,1.25",
        "Request Latency (ms),105.00,80.00,130.00,210.00,80.50,82.50,85.00,92.50,105.00,117.50,125.00,127.50,129.50,25.00",
        "Benchmark Duration (sec),0.13",
        "Completed Requests (Success + Error),3.00",
        "Error Request Count,1.00",
        "Request Count,2.00",
        "Request Error Rate (%),33.33",
        "Request Throughput (requests/sec),15.38",
    ] {
        assert!(rows.contains(&expected), "{expected}\n{csv}");
    }
    let gap = rows.iter().position(|row| row.is_empty()).unwrap();
    assert_eq!(rows[gap + 1], "Metric,Value");
    assert_eq!(
        rows[1].split(',').next(),
        Some("Active Decode Throughput (tokens/sec)")
    );
    // By tag: adj_… after active_…, e2e_… before effective_… before error_isl.
    let place = |name: &str| rows.iter().position(|row| row.starts_with(name)).unwrap();
    assert!(place("Active Total Throughput") < place("Decode Duration (error-adjusted)"));
    assert!(place("Time to First Token (error-adjusted)") < place("Credit-to-Start"));
    assert!(place("E2E") < place("Effective Concurrency"));
    assert!(place("Effective Latency") < place("Error Input"));
    assert!(
        place("HTTP Data Sent") < place("HTTP DNS Lookup"),
        "sorted by name"
    );
    let concurrency = rows[place("Effective Concurrency,")];
    assert_eq!(concurrency.matches(',').count(), 14);
    assert!(rows.last().unwrap().is_empty() && !rows[rows.len() - 2].is_empty());
}

#[test]
fn the_gpu_section_comes_after_two_empty_lines_and_has_its_header_without_gpus() {
    let mut report = report();
    let without = report.csv();
    assert!(without.ends_with(b"\r\n") && !without.ends_with(b"\r\n\r\n"));
    let at = pinfire_base::clock::Stamp::from_nanos(1);
    report.add_external(External {
        gpu: Some(GpuTelemetry {
            configured: Vec::new(),
            exporters: Vec::new(),
            failures: Vec::new(),
            window: Window {
                start: at,
                end: at,
                until: at,
            },
        }),
        ..External::default()
    });
    let with = report.csv();
    let added = with.strip_prefix(&without[..]).unwrap();
    let added = std::str::from_utf8(added).unwrap();
    assert_eq!(
        added,
        "\r\n\r\nEndpoint,GPU_Index,GPU_Name,GPU_UUID,Platform,Metric,avg,min,max,sum,p1,p5,p10,p25,\
         p50,p75,p90,p95,p99,std\r\n"
    );
}

#[test]
fn the_json_has_its_keys_in_order() {
    let json: Value = serde_json::from_slice(&report().json()).unwrap();
    let keys: Vec<&str> = json
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = "schema_version aiperf_version tool_version benchmark_id request_throughput \
        request_latency request_count time_to_first_token time_to_second_token inter_token_latency \
        output_token_throughput output_token_throughput_per_user output_sequence_length \
        input_sequence_length goodput good_request_count output_token_count inter_chunk_latency total_output_tokens \
        benchmark_duration total_isl total_osl error_request_count error_isl total_error_isl \
        input_config run_info was_cancelled is_complete error_summary start_time end_time \
        time_to_first_output_token";
    let expected: Vec<&str> = expected.split_whitespace().collect();
    assert_eq!(keys[..expected.len()], expected);
    assert_eq!(
        keys[keys.len() - 5..],
        [
            "adj_decode_duration",
            "asked_and_reached",
            "cancellation",
            "client_health",
            "request_accounting"
        ]
    );
    let block: Vec<&str> = json["request_latency"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let order = "unit avg p1 p5 p10 p25 p50 p75 p90 p95 p99 min max std count sum";
    assert_eq!(block, order.split_whitespace().collect::<Vec<_>>());
    assert_eq!(
        json["request_count"].to_string(),
        r#"{"unit":"requests","avg":2.0}"#
    );
    assert_eq!(
        json["error_summary"].to_string(),
        r#"[{"error_details":{"code":503,"type":"Service Unavailable","message":"Service Unavailable"},"count":1}]"#
    );
    assert_eq!(json["start_time"].as_str().unwrap().len(), 26);
    assert_eq!(json["request_accounting"]["completed"], 3);
    assert_eq!(json["request_accounting"]["cancelled_by_plan"], 1);
    assert_eq!(json["cancellation"]["phases"]["waiting"], 1);
    assert_eq!(json["cancellation"]["delay_error"]["unit"], "us");
    assert_eq!(
        json["input_config"]["phases"][0]["cancellation"].to_string(),
        r#"{"rate":40.0,"delay":0.05}"#
    );
}

#[test]
fn the_json_is_indented_by_two_without_a_last_newline() {
    let text = String::from_utf8(report().json()).unwrap();
    assert!(text.starts_with("{\n  \"schema_version\": \"1.4\",\n  \"aiperf_version\""));
    assert!(text.ends_with("\n}"));
    assert!(!text.contains("null"));
}

#[test]
fn the_console_is_the_golden_one() {
    let expected = include_str!("console.txt");
    let console = report().console(140, false);
    if std::env::var_os("PINFIRE_UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/console.txt");
        std::fs::write(path, &console).unwrap();
    }
    assert_eq!(console, expected, "\n{console}");
}

#[test]
fn the_headline_is_the_golden_one() {
    let expected = include_str!("headline.txt");
    let report = report();
    let folder = report.facts.artifact_dir.display().to_string();
    let brief = report.brief(100, false, None).replace(&folder, "FOLDER");
    if std::env::var_os("PINFIRE_UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/headline.txt");
        std::fs::write(path, &brief).unwrap();
    }
    assert_eq!(brief, expected, "\n{brief}");
    let alone = report.headline(100, false);
    assert!(
        brief.contains(&alone) && alone.lines().count() < 8,
        "{alone}"
    );
}

#[test]
fn files_are_complete_under_their_names_and_errors_name_the_path() {
    let dir = tempdir().unwrap();
    let records = golden::records();
    let report = run(facts(dir.path()), &records, end(&records));
    let written = report.write(140).unwrap();
    assert_eq!(std::fs::read(&written.json).unwrap(), report.json());
    let left = std::fs::read_dir(dir.path()).unwrap();
    let names: Vec<String> = left
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.iter().all(|name| !name.ends_with(".tmp")));

    std::fs::remove_file(&written.csv).unwrap();
    std::fs::create_dir(&written.csv).unwrap();
    let error = report.write(140).unwrap_err();
    assert_eq!(error.path(), written.csv);
    assert!(error.to_string().contains("profile_export_aiperf.csv"));
}
