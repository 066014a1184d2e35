//! The layouts of the files, from a scripted server with two replicas.

#[cfg(feature = "parquet")]
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use pinfire_base::clock::{Stamp, WallAnchor};
use pinfire_base::record::Phase;
use serde_json::{Value, json};

use pinfire_artifacts::{
    FileNames,
    config::{InputConfig, ScrapeConfig},
};

use super::*;
use crate::{Meter, Scrape, ServerKinds, reduce::Window};

const UNIX: u64 = 1_800_000_000_000_000_000;

fn at(seconds: f64) -> Stamp {
    Stamp::from_nanos((seconds * 1e9) as u64)
}

fn run() -> Run {
    Run {
        version: "1.2.3".into(),
        benchmark_id: "4f1c2a9be07d".into(),
        anchor: WallAnchor::fixed(at(1.0), UNIX + 1_000_000_000),
        models: vec!["m".into()],
        concurrency: None,
        rate: None,
        input_config: InputConfig {
            server_metrics: ScrapeConfig {
                enabled: true,
                ..ScrapeConfig::default()
            },
            ..InputConfig::default()
        },
        folder: "artifacts".into(),
        files: FileNames::default(),
        formats: MetricsFormat::ALL.to_vec(),
    }
}

fn page(running: u32, stop: u32, in_bucket: u32, sum: f64) -> String {
    let answered = stop + 2 * u32::from(stop > 10);
    format!(
        "# HELP vllm:num_requests_running Running requests\n# TYPE vllm:num_requests_running gauge\n\
         vllm:num_requests_running{{engine=\"0\",model_name=\"m\"}} {running}\n\
         # TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{{engine=\"0\",model_name=\"m\"}} 0\n\
         # TYPE vllm:request_success_total counter\n\
         vllm:request_success_total{{finished_reason=\"stop\",model_name=\"m\"}} {stop}\n\
         # TYPE http_requests_total counter\n\
         http_requests_total{{handler=\"/v1/chat/completions\",status=\"2xx\"}} {answered}\n\
         # HELP ttft_seconds Time, \"first\" token\n# TYPE ttft_seconds histogram\n\
         ttft_seconds_bucket{{le=\"1\"}} {in_bucket}\nttft_seconds_bucket{{le=\"+Inf\"}} {in_bucket}\n\
         ttft_seconds_sum {sum}\nttft_seconds_count {in_bucket}\n\
         # TYPE build_info gauge\nbuild_info{{version=\"0.32\"}} 1\n\
         # TYPE x gauge\nx 7\n# TYPE x_total counter\nx_total 3\n"
    )
}

fn watched(url: &str) -> Watched {
    let mut watched = Watched {
        url: url.to_owned(),
        ..Watched::default()
    };
    let pages = [
        (9.0, page(0, 10, 2, 1.0)),
        (12.0, page(2, 14, 4, 1.8)),
        (18.0, page(4, 28, 6, 3.4)),
        (21.0, page(0, 30, 6, 3.4)),
    ];
    let mut meter = Meter::new(&ServerKinds::default());
    for (seconds, text) in pages {
        let scrape = Scrape::read([at(seconds); 3], text.as_bytes(), None).unwrap();
        watched.history.add(&scrape, true);
        watched.levels.push((scrape.at, meter.read(&scrape)));
        watched.server = meter.kind().map(|kind| kind.name.clone());
        watched.aborted_formula = meter.aborted_formula().map(str::to_owned);
    }
    watched
}

fn metrics() -> ServerMetrics {
    ServerMetrics {
        endpoints: vec![
            watched("http://a:8000/metrics"),
            watched("http://b:8000/v1/metrics"),
        ],
        window: Window {
            start: at(10.0),
            end: at(20.0),
            until: at(100.0),
        },
        warmup: None,
        slice: None,
    }
}

#[test]
fn the_json() {
    let json: Value = serde_json::from_slice(&metrics().json(&run())).unwrap();
    assert_eq!(
        (&json["schema_version"], &json["metrics_phase"]),
        (&json!("1.1"), &json!("profiling"))
    );
    let summary = &json["summary"];
    let urls = json!(["http://a:8000/metrics", "http://b:8000/v1/metrics"]);
    assert_eq!(
        (
            &summary["endpoints_configured"],
            &summary["endpoints_successful"]
        ),
        (&urls, &urls)
    );
    let info = &summary["endpoint_info"]["http://a:8000/metrics"];
    assert_eq!(
        (&info["total_fetches"], &info["unique_updates"]),
        (&json!(4), &json!(4))
    );
    assert_eq!(
        (&info["duration_seconds"], &info["avg_update_interval_ms"]),
        (&json!(12.0), &json!(4000.0))
    );
    assert_eq!(info["median_update_interval_ms"], json!(3000.0));
    let range = json!({"start_ns": UNIX + 10_000_000_000, "end_ns": UNIX + 20_000_000_000});
    assert_eq!(summary["phase_time_ranges"]["profiling"], range);
    assert_eq!(
        summary["scrape_window"]["end_ns"],
        json!(UNIX + 21_000_000_000)
    );
    let names: Vec<&String> = json["metrics"].as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "build_info",
            "http_requests",
            "ttft_seconds",
            "vllm:num_requests_running",
            "vllm:num_requests_waiting",
            "vllm:request_success",
            "x",
            // A gauge has the bare name.
            "x_total",
        ]
    );
    let success = &json["metrics"]["vllm:request_success"];
    assert_eq!(
        (&success["type"], &success["unit"]),
        (&json!("counter"), &json!("requests"))
    );
    let series = &success["series"][1];
    assert_eq!(series["endpoint_url"], json!("http://b:8000/v1/metrics"));
    assert_eq!(
        series["labels"],
        json!({"finished_reason": "stop", "model_name": "m"})
    );
    assert_eq!(series["stats"], json!({"total": 20.0, "rate": 2.0}));
    // The look after the end is not in the mean of a gauge.
    let running = &json["metrics"]["vllm:num_requests_running"]["series"][0]["stats"];
    assert_eq!(
        (&running["avg"], &running["max"], &running["min"]),
        (&json!(3.0), &json!(4.0), &json!(2.0))
    );
    let ttft = &json["metrics"]["ttft_seconds"]["series"][0];
    assert_eq!(ttft["buckets"], json!({"1": 4, "+Inf": 4}));
    assert_eq!(ttft["stats"]["count"], json!(4));
    assert!(ttft["stats"]["p50_estimate"].is_f64());
    let check = &json["cancellation_check"][0];
    // 22 answered less 20 finished.
    assert_eq!(
        (&check["aborted"], &check["completed"]),
        (&json!(2.0), &json!(20.0))
    );
    assert_eq!(
        (&check["at_rest_after_ms"], &check["valid_at_rest"]),
        (&json!(1000.0), &json!(true))
    );
    assert_eq!(
        json["input_config"]["server_metrics"]["enabled"],
        json!(true)
    );
    assert!(json.get("warmup_metrics").is_none());
}

#[test]
fn the_csv() {
    let text = String::from_utf8(metrics().csv(&run())).unwrap();
    assert!(!text.contains('\r'));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..8],
        [
            "# Server Metrics Export (CSV)",
            "# aiperf_version: 1.2.3",
            "# schema_version: 1.0",
            "# benchmark_id: 4f1c2a9be07d",
            "# Note: same id as in the JSON and Parquet files",
            "#",
            "Endpoint,Type,Metric,Unit,avg,min,max,std,p1,p5,p10,p25,p50,p75,p90,p95,p99,engine,model_name,Description",
            "a:8000,gauge,vllm:num_requests_running,requests,3.0000,2.0000,4.0000,1.4142,2.0200,2.1000,\
             2.2000,2.5000,3.0000,3.5000,3.8000,3.9000,3.9800,0,m,Running requests",
        ]
    );
    assert!(text.contains("\n\nEndpoint,Type,Metric,Unit,total,rate,handler,status,finished_reason,model_name,Description\n"));
    assert!(
        text.contains("b:8000/v1,counter,vllm:request_success,requests,20.0000,2.0000,,,stop,m,\n")
    );
    let histogram = text
        .lines()
        .find(|line| line.contains(",ttft_seconds,"))
        .unwrap();
    assert!(
        histogram
            .starts_with("a:8000,histogram,ttft_seconds,seconds,4,0.4000,2.4000,0.2400,0.6000,")
    );
    assert!(
        histogram.ends_with(",\"Time, \"\"first\"\" token\",1=4;+Inf=4"),
        "{histogram}"
    );
    assert!(text.ends_with(
        "\nEndpoint,Metric,Key,Value,Description\na:8000,build_info,version,0.32,\nb:8000/v1,build_info,version,0.32,\n"
    ));
}

#[test]
fn the_lines() {
    let stamps = [at(1.0), at(1.5), at(2.0)];
    let scrape = Scrape::read(stamps, page(2, 11, 3, 1.5).as_bytes(), None).unwrap();
    let anchor = run().anchor;
    let line = |phase| {
        let bytes = lines::line("http://a:1/metrics", &scrape, phase, &anchor);
        assert_eq!(bytes.last(), Some(&b'\n'));
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    let baseline = line(None);
    assert_eq!(baseline["timestamp_ns"], json!(UNIX + 1_500_000_000));
    assert_eq!(baseline["endpoint_latency_ns"], json!(1_000_000_000));
    assert_eq!(baseline["request_sent_ns"], json!(UNIX + 1_000_000_000));
    let metrics = &baseline["metrics"];
    assert!(metrics.get("build_info").is_none() && baseline.get("benchmark_phase").is_none());
    assert_eq!(metrics["vllm:request_success"][0]["value"], json!(11.0));
    assert_eq!(
        metrics["ttft_seconds"][0],
        json!({"buckets": {"1": 3.0, "+Inf": 3.0}, "sum": 1.5, "count": 3.0})
    );
    let during = line(Some((Phase::Profiling, 1)));
    assert_eq!(
        (&during["benchmark_phase"], &during["phase_index"]),
        (&json!("profiling"), &json!(1))
    );
    assert_eq!(during["profiling_index"], json!(0));
}

#[test]
fn the_warnings_name_restarts_and_silence() {
    let mut metrics = metrics();
    let restarted = Scrape::read([at(22.0); 3], page(0, 1, 0, 0.0).as_bytes(), None).unwrap();
    metrics.endpoints[0].history.add(&restarted, true);
    metrics.endpoints[1].failed = 3;
    metrics.endpoints[1].last_failure = Some("it answers 500".into());
    let warnings = metrics.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(
        warnings[0],
        "http://b:8000/v1/metrics: 3 of 7 scrapes showed nothing (it answers 500)"
    );
    assert!(warnings[1].starts_with("http://a:8000/metrics: counters went backwards 1 times"));
}

/// The reader of the library over these bytes.
#[cfg(feature = "parquet")]
fn reader_over(bytes: &[u8]) -> SerializedFileReader<std::fs::File> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    std::fs::write(&path, bytes).unwrap();
    SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap()
}

/// Its rows as JSON.
#[cfg(feature = "parquet")]
fn rows_of(reader: &SerializedFileReader<std::fs::File>) -> Vec<Value> {
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| {
        let columns = row.unwrap();
        let columns = columns.get_column_iter().map(|(name, field)| {
            use ::parquet::record::Field;
            let value = match field {
                Field::Null => Value::Null,
                Field::Long(value) => (*value).into(),
                Field::Double(value) => (*value).into(),
                Field::Str(value) => value.as_str().into(),
                other => panic!("{other:?}"),
            };
            (name.clone(), value)
        });
        Value::Object(columns.collect())
    })
    .collect()
}

#[cfg(feature = "parquet")]
#[test]
fn the_parquet_read_back() {
    let bytes = metrics().parquet(&run()).unwrap().unwrap();
    assert_eq!(
        (&bytes[..4], &bytes[bytes.len() - 4..]),
        (&b"PAR1"[..], &b"PAR1"[..])
    );
    let reader = reader_over(&bytes);
    let rows = rows_of(&reader);
    let of = |name: &str| -> Vec<Value> {
        let mine = |row: &&Value| {
            row["metric_name"] == json!(name)
                && row["endpoint_url"] == json!("http://a:8000/metrics")
        };
        rows.iter().filter(mine).cloned().collect()
    };
    // Three scrapes from the begin on: gauges as they were, counters as their growth.
    let values = |name: &str, column: &str| -> Vec<Value> {
        of(name).iter().map(|row| row[column].clone()).collect()
    };
    assert_eq!(
        values("vllm:num_requests_running", "value"),
        [2.0, 4.0, 0.0].map(Value::from)
    );
    assert_eq!(
        values("vllm:request_success", "value"),
        [4.0, 18.0, 20.0].map(Value::from)
    );
    assert_eq!(
        values("vllm:request_success", "finished_reason")[0],
        json!("stop")
    );
    let instants = [12, 18, 21].map(|s: u64| Value::from(UNIX + s * 1_000_000_000));
    assert_eq!(values("x", "timestamp_ns"), instants);
    let histogram = of("ttft_seconds");
    assert_eq!(histogram.len(), 6, "two bounds at three scrapes");
    assert_eq!(histogram[1]["bucket_le"], json!("+Inf"));
    let counts: Vec<&Value> = histogram.iter().map(|row| &row["bucket_count"]).collect();
    assert_eq!(
        counts,
        [2.0, 2.0, 4.0, 4.0, 4.0, 4.0]
            .map(Value::from)
            .iter()
            .collect::<Vec<_>>()
    );
    assert_eq!(
        (&histogram[5]["count"], &histogram[5]["value"]),
        (&json!(4.0), &Value::Null)
    );
    assert_eq!(histogram[0]["model_name"], Value::Null);
    let metadata = reader.metadata();
    let codec = metadata.row_group(0).column(0).compression();
    assert_eq!(codec, ::parquet::basic::Compression::SNAPPY);
    let file = metadata.file_metadata();
    let told = |key: &str| {
        let all = file.key_value_metadata().unwrap();
        let one = all.iter().find(|one| one.key == key);
        one.and_then(|one| one.value.as_deref())
    };
    assert_eq!(told("aiperf.metric_count"), Some("16"));
    assert_eq!(told("aiperf.model_names"), Some("[\"m\"]"));
    let columns = file.schema_descr().columns();
    let names: Vec<&str> = columns.iter().map(|column| column.name()).collect();
    let labels = [
        "engine",
        "finished_reason",
        "handler",
        "model_name",
        "status",
        "version",
    ];
    let values = ["value", "sum", "count", "bucket_le", "bucket_count"];
    assert_eq!(
        names,
        [&FIXED_BEFORE[..], &labels[..], &values[..]].concat()
    );
}

#[cfg(feature = "parquet")]
const FIXED_BEFORE: [&str; 6] = [
    "endpoint_url",
    "metric_name",
    "metric_type",
    "unit",
    "description",
    "timestamp_ns",
];

#[cfg(feature = "parquet")]
#[test]
fn nothing_seen_is_no_parquet() {
    let mut metrics = metrics();
    metrics.endpoints.clear();
    assert!(metrics.is_empty());
    assert_eq!(metrics.parquet(&run()).unwrap(), None);
}
