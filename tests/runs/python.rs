//! The files as users read them: numpy over the lines, pandas over the tables, pyarrow over the
//! metrics of the servers. The scripts are in `python/`.

use pinfire_tests::binary::{Ended, profile};
use pinfire_tests::python::python;
use serde_json::{Value, json};

/// The artifact folder of a run.
fn folder(run: &Ended) -> [std::path::PathBuf; 1] {
    [run.folder().join("out")]
}

/// Equal but for rounding in the last digits.
#[track_caller]
fn close(theirs: &Value, ours: &Value, what: &str) {
    let (theirs, ours) = (theirs.as_f64().unwrap(), ours.as_f64().unwrap());
    assert!(
        (theirs - ours).abs() <= 1e-9 * ours.abs(),
        "{what}: {theirs} by Python, {ours} in the summary"
    );
}

#[test]
fn numpy_finds_our_percentiles() {
    let run = profile("mock:", "--request-count 40 --concurrency 4 --osl 4")
        .run()
        .code(0);
    let script = include_str!("python/percentiles.py");
    let Some(found) = python(script, folder(&run)) else {
        return;
    };
    let summary = &run.json()["time_to_first_token"];
    let found = found.as_object().unwrap();
    assert_eq!(found.len(), 15);
    for (name, theirs) in found {
        close(theirs, &summary[name], name);
    }
}

#[test]
fn pandas_reads_the_tables() {
    let run = profile(
        "mock:",
        "--request-count 40 --concurrency 4 --osl 4 --warmup-request-count 2 --slice-duration 0.05 \
         --request-cancellation-rate 25 --request-cancellation-delay 0.001",
    )
    .run()
    .code(0);
    let script = include_str!("python/tables.py");
    let Some(found) = python(script, folder(&run)) else {
        return;
    };
    let json = run.json();
    let valid = &json["request_count"]["avg"];
    assert_eq!(found["lines"], 42);
    close(&found["valid"], valid, "valid");
    close(
        &found["latency_sum"],
        &json["request_latency"]["sum"],
        "Σ latency",
    );
    assert_eq!(found["unit"], "ms");
    close(&found["in_slices"], valid, "in slices");
    let number = |value: &Value| value.as_f64().unwrap();
    let apart = number(&found["latency_in_slices"]) - number(&json["request_latency"]["sum"]);
    assert!(
        apart.abs() <= 0.005_001 * number(&found["slices"]),
        "Σ latency in slices is {apart} ms off"
    );
    assert_eq!(
        found["slice_columns"],
        json!([
            "Timeslice",
            "Start_NS",
            "End_NS",
            "Metric",
            "Unit",
            "Stat",
            "Value"
        ])
    );
    let kinds = found["slice_dtypes"].as_array().unwrap();
    assert_eq!(kinds[..3], ["int64", "int64", "int64"]);
    assert_eq!(kinds[6], "float64");
    let units = found["units_in_slices"].as_array().unwrap();
    assert!(units.contains(&json!("requests")), "{units:?}");

    assert_eq!(found["numbers_only"], true);
    let columns = "avg min max sum p1 p5 p10 p25 p50 p75 p90 p95 p99 std";
    assert_eq!(
        found["columns"],
        json!(columns.split(' ').collect::<Vec<_>>())
    );
    assert_eq!(found["ttft"], found["ttft_again"]);
    // Two decimals there.
    let near = |theirs: &Value, ours: &Value| {
        let (theirs, ours) = (theirs.as_f64().unwrap(), ours.as_f64().unwrap());
        assert!((theirs - ours).abs() <= 0.005_001, "{theirs} {ours}");
    };
    for name in columns.split(' ') {
        near(&found["ttft"][name], &json["time_to_first_token"][name]);
    }
    near(
        &found["scalars"]["Benchmark Duration (sec)"],
        &json["benchmark_duration"]["avg"],
    );
    close(&found["scalars"]["Request Count"], valid, "Request Count");
    assert_eq!(
        found["gpu_columns"],
        json!([
            "Endpoint",
            "GPU_Index",
            "GPU_Name",
            "GPU_UUID",
            "Platform",
            "Metric"
        ])
    );
}

#[test]
fn pyarrow_reads_the_metrics_of_the_servers() {
    let run = profile(
        "mock:",
        "--request-count 40 --concurrency 4 --osl 4 --server-metrics-formats parquet json",
    )
    .run()
    .code(0);
    let script = include_str!("python/parquet.py");
    let Some(found) = python(script, folder(&run)) else {
        return;
    };
    let metrics: Value = serde_json::from_str(&run.file("server_metrics_export.json")).unwrap();
    assert_eq!(found["codec"], "SNAPPY");
    for (column, kind) in [
        ("endpoint_url", "string"),
        ("metric_name", "string"),
        ("metric_type", "string"),
        ("timestamp_ns", "int64"),
        ("value", "double"),
        ("bucket_le", "string"),
        ("bucket_count", "double"),
    ] {
        assert_eq!(found["types"][column], kind, "{column}");
    }
    let columns = found["columns"].as_array().unwrap();
    assert_eq!(
        columns[..6],
        [
            "endpoint_url",
            "metric_name",
            "metric_type",
            "unit",
            "description",
            "timestamp_ns"
        ]
    );
    assert_eq!(
        columns[columns.len() - 5..],
        ["value", "sum", "count", "bucket_le", "bucket_count"]
    );
    assert_eq!(found["in_time"], true);
    assert!(found["rows"].as_u64().unwrap() > 0);
    assert_eq!(found["meta"]["aiperf.schema_version"], "1.0");
    assert_eq!(
        found["meta"]["aiperf.benchmark_id"],
        run.json()["benchmark_id"]
    );
    // A counter's last row is what the JSON has as its total.
    let series = &metrics["metrics"]["vllm:generation_tokens"]["series"][0];
    close(
        &found["totals"]["vllm:generation_tokens"],
        &series["stats"]["total"],
        "tokens",
    );
}
