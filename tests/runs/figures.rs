//! Promises and slices, from the flags to the files.

use pinfire_tests::binary::profile;

#[test]
fn goodput_and_slices() {
    let mut call = profile(
        "mock:",
        "--concurrency 4 --request-count 40 --slice-duration 0.05",
    );
    // Two promises in one argument; nobody keeps the second.
    call.more([
        "--goodput",
        "request_latency:60000 output_sequence_length:1000000",
    ]);
    let run = call.run().code(0);
    let json = run.json();
    assert_eq!(json["goodput"]["avg"], 0.0);
    assert_eq!(json["good_request_fraction"]["avg"], 0.0);
    assert_eq!(json["input_config"]["slos"]["request_latency"], 60000.0);
    assert_eq!(json["input_config"]["artifacts"]["slice_duration"], 0.05);
    for line in run.lines() {
        assert_eq!(line["metrics"]["good_request_count"]["value"], 0);
    }
    let text = run.file("profile_export_aiperf_timeslices.json");
    let slices: serde_json::Value = serde_json::from_str(&text).unwrap();
    let slices = slices["timeslices"].as_array().unwrap();
    let requests: f64 = slices
        .iter()
        .filter_map(|slice| slice["request_count"]["avg"].as_f64())
        .sum();
    assert_eq!(requests, 40.0);
    let starts: Vec<u64> = slices
        .iter()
        .map(|s| s["start_ns"].as_u64().unwrap())
        .collect();
    assert!(starts.is_sorted());
    assert!(
        starts
            .iter()
            .all(|at| (at - starts[0]).is_multiple_of(50_000_000)),
        "{starts:?}"
    );
    let csv = run.file("profile_export_aiperf_timeslices.csv");
    assert!(csv.starts_with("Timeslice,Start_NS,End_NS,Metric,Unit,Stat,Value\r\n0,"));
    for name in ["Timeslice CSV Export: ", "Timeslice JSON Export: "] {
        assert!(run.stdout.contains(name), "{}", run.stdout);
    }
    assert!(run.stdout.contains("Goodput (requests/sec)"));
}

#[test]
fn all_promises_kept() {
    let mut call = profile("mock:", "--concurrency 2 --request-count 6");
    call.more(["--goodput", "request_latency:60000"]);
    let run = call.run().code(0);
    let json = run.json();
    assert_eq!(json["good_request_count"]["avg"], 6.0);
    assert_eq!(json["goodput"]["avg"], json["request_throughput"]["avg"]);
    assert!(!run.has("profile_export_aiperf_timeslices.csv"));
}
