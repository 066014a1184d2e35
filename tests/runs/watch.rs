//! The servers' own metrics and the GPUs of a run, from the flags to the files.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{call, profile},
    mock::{Mock, instant, script},
};
use pinfire_tools::{dcgm, mock::Script};
use serde_json::Value;

use super::sums;

const LOAD: &str = "--concurrency 4 --request-count 40 --random-seed 5";

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_embedded_server_is_looked_at_without_a_flag() {
    let flags = format!("{LOAD} --warmup-request-count 7 --osl 4");
    let run = profile("mock:", &flags).run().code(0);
    let metrics = parsed(&run.file("server_metrics_export.json"));
    let success = &metrics["metrics"]["vllm:request_success"]["series"];
    let total: f64 = success
        .as_array()
        .unwrap()
        .iter()
        .map(|series| series["stats"]["total"].as_f64().unwrap())
        .sum();
    assert_eq!(
        total, 40.0,
        "the warmup is not in it, and what came last is"
    );
    let tokens = &metrics["metrics"]["vllm:generation_tokens"]["series"][0]["stats"];
    assert_eq!(tokens["total"], Value::from(160.0));
    let warmed = &metrics["warmup_metrics"]["vllm:generation_tokens"]["series"][0]["stats"];
    assert_eq!(warmed["total"], Value::from(28.0));
    // Each phase by itself.
    let manifest = parsed(&run.file("phase_manifest.json"));
    for (index, phase, tokens) in [(0, "warmup", 28.0), (1, "profiling", 160.0)] {
        let path = manifest["phases"][index]["server_metrics"]
            .as_str()
            .unwrap();
        assert_eq!(path, format!("phases/{phase}/server_metrics.json"));
        let own = parsed(&run.file(path));
        assert_eq!(
            (&own["schema_version"], &own["phase"]["phase_name"]),
            (&1.into(), &phase.into())
        );
        assert_eq!(
            own["phase"]["start_ns"],
            manifest["phases"][index]["start_ns"]
        );
        let generated = &own["data"]["metrics"]["vllm:generation_tokens"]["series"][0];
        assert_eq!(generated["stats"]["total"], tokens, "{phase}");
        assert_eq!(own["warnings"], parsed("[]"));
    }
    let check = &metrics["cancellation_check"][0];
    assert_eq!(
        (&check["server"], &check["running_at_end"]),
        (&"vllm".into(), &0.0.into())
    );
    // Its begin is that of the summary.
    let json = run.json();
    assert_eq!(metrics["summary"]["start_time"], json["start_time"]);
    assert_eq!(
        json["input_config"]["server_metrics"]["formats"],
        parsed("[\"json\",\"csv\"]")
    );
    assert!(
        run.file("server_metrics_export.csv")
            .starts_with("# Server Metrics Export (CSV)\n")
    );
    assert!(!run.has("server_metrics_export.jsonl") && !run.has("gpu_telemetry_export.jsonl"));
    assert!(
        run.stdout.contains("Server Metrics CSV Export: "),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("Requests Completed"), "{}", run.stdout);
    // No GPU there, and nobody asked for one: an empty account of them.
    assert_eq!(
        json["telemetry_data"]["summary"]["endpoints_successful"],
        parsed("[]")
    );
    assert_eq!(run.stderr, "");
}

#[test]
fn cancelled_requests_show_in_the_check() {
    let flags = format!("{LOAD} --request-cancellation-rate 50 --request-cancellation-delay 0.002");
    let mock = Mock::start(script());
    let url = format!("http://{}", mock.address());
    let more = format!("{flags} --server-metrics-formats json");
    let run = profile(&url, &more).run().code(0);
    let [.., cancelled, _] = sums(&run);
    assert!(cancelled > 0);
    let metrics = parsed(&run.file("server_metrics_export.json"));
    let check = &metrics["cancellation_check"][0];
    let of = |key: &str| {
        check[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key} in {check}"))
    };
    assert_eq!(of("completed"), 40.0 - cancelled as f64);
    assert_eq!((of("running_at_end"), of("waiting_at_end")), (0.0, 0.0));
    assert_eq!(check["valid_at_rest"], Value::Bool(true));
    mock.stop();

    // Who leaves while waiting for a slot is in the estimate too.
    let mut slots = script();
    slots.slots = Some(1);
    let mock = Mock::start(slots);
    let url = format!("http://{}", mock.address());
    let run = profile(&url, &more).run().code(0);
    let [.., cancelled, _] = sums(&run);
    let row = |name: &str| {
        let text = run.stdout.lines().find(|line| line.contains(name));
        let cells: Vec<&str> = text.expect(name).split('│').map(str::trim).collect();
        cells[6].parse::<f64>().unwrap()
    };
    assert_eq!(row("Requests Aborted (estimate)"), cancelled as f64);
    assert_eq!(row("Requests Aborted (its counter)"), cancelled as f64);
    mock.stop();
}

#[test]
fn replicas_forms_and_names() {
    let (one, two) = (Mock::start(instant(4)), Mock::start(instant(4)));
    let urls = format!("http://{},http://{}/v1", one.address(), two.address());
    let flags =
        format!("{LOAD} --profile-export-prefix p --server-metrics-formats jsonl,parquet json csv");
    let run = profile(&urls, &flags).run().code(0);
    let metrics = parsed(&run.file("p_server_metrics.json"));
    let pages = [
        format!("http://{}/metrics", one.address()),
        // Nothing is there behind the path, so it was sought at the root.
        format!("http://{}/metrics", two.address()),
    ];
    assert_eq!(
        metrics["summary"]["endpoints_configured"],
        Value::from(pages.to_vec())
    );
    let series = metrics["metrics"]["vllm:generation_tokens"]["series"]
        .as_array()
        .unwrap();
    let totals: Vec<f64> = series
        .iter()
        .map(|series| series["stats"]["total"].as_f64().unwrap())
        .collect();
    assert_eq!(totals, [80.0, 80.0]);
    assert!(run.has("p_server_metrics.csv"));
    let lines = run.file("p_server_metrics.jsonl");
    let first = parsed(lines.lines().next().unwrap());
    assert!(
        first.get("benchmark_phase").is_none(),
        "the first look is before the first phase"
    );
    let during = lines
        .lines()
        .map(parsed)
        .find(|line| line["benchmark_phase"] == "profiling");
    assert_eq!(during.unwrap()["phase_index"], Value::from(0));
    assert!(run.has("p_server_metrics.parquet"));
}

#[test]
fn slices_of_time_of_what_the_server_says() {
    let mock = Mock::start(Script {
        itl: Span::from_millis(10),
        tokens: 20,
        ..script()
    });
    let url = format!("http://{}", mock.address());
    let more = format!("{LOAD} --osl 20 --slice-duration 0.5 --server-metrics-formats json");
    let mut call = profile(&url, &more);
    call.env("PINFIRE_SERVER_METRICS_COLLECTION_INTERVAL", "0.02");
    let run = call.run().code(0);
    let metrics = parsed(&run.file("server_metrics_export.json"));
    let window = &metrics["summary"]["phase_time_ranges"]["profiling"];
    let [start, end] = ["start_ns", "end_ns"].map(|key| window[key].as_u64().unwrap());
    let series = |name: &str| metrics["metrics"][name]["series"][0].clone();
    let slices = |series: &Value| series["timeslices"].as_array().unwrap().clone();
    let number = |of: &Value, key: &str| {
        let number = of[key].as_f64();
        number.unwrap_or_else(|| panic!("{key} in {of}"))
    };

    // A counter: from the begin of the phase in steps, the shorter last one marked.
    let tokens = series("vllm:generation_tokens");
    let of_tokens = slices(&tokens);
    let (last, whole) = of_tokens.split_last().unwrap();
    assert!(
        !whole.is_empty(),
        "the run took {} ms",
        (end - start) / 1_000_000
    );
    let mut from = start;
    for slice in whole {
        assert_eq!(slice["start_ns"], from, "{slice}");
        from += 500_000_000;
        assert_eq!(slice["end_ns"], from, "{slice}");
        assert!(slice["is_complete"].is_null(), "{slice}");
        assert_eq!(
            number(slice, "rate"),
            number(slice, "total") / 0.5,
            "{slice}"
        );
    }
    assert_eq!(
        (&last["start_ns"], &last["end_ns"]),
        (&from.into(), &end.into())
    );
    assert_eq!(last["is_complete"], Value::Bool(false), "{last}");
    let totals: f64 = of_tokens.iter().map(|slice| number(slice, "total")).sum();
    let total = number(&tokens["stats"], "total");
    assert_eq!(total, 800.0);
    assert!(totals > 0.0 && totals <= total, "{totals}");
    // The spread of the whole slices' rates.
    let rates: Vec<f64> = whole.iter().map(|slice| number(slice, "rate")).collect();
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    assert!((number(&tokens["stats"], "rate_avg") - mean).abs() < 1e-6);
    let most = rates.iter().copied().fold(0.0, f64::max);
    assert_eq!(number(&tokens["stats"], "rate_max"), most);

    // A gauge: what the looks within showed.
    let running = slices(&series("vllm:num_requests_running"));
    assert!(!running.is_empty());
    for slice in &running {
        let [low, mid, high] = ["min", "avg", "max"].map(|key| number(slice, key));
        assert!(low <= mid && mid <= high && high <= 4.0, "{slice}");
    }
    assert!(running.iter().any(|slice| number(slice, "max") == 4.0));

    // A histogram: new observations, with their buckets.
    let first_tokens = series("vllm:time_to_first_token_seconds");
    let of_first = slices(&first_tokens);
    let counted: f64 = of_first.iter().map(|slice| number(slice, "count")).sum();
    assert_eq!(number(&first_tokens["stats"], "count"), 40.0);
    assert!(counted > 0.0 && counted <= 40.0, "{counted}");
    let some = of_first
        .iter()
        .find(|slice| number(slice, "count") > 0.0)
        .unwrap();
    let mean = number(some, "sum") / number(some, "count");
    assert!((number(some, "avg") - mean).abs() < 1e-9, "{some}");
    assert_eq!(
        some["buckets"]["+Inf"].as_f64(),
        some["count"].as_f64(),
        "{some}"
    );
}

#[test]
fn a_server_without_metrics_costs_one_note() {
    let mock = Mock::start(instant(2));
    let url = format!("http://{}", mock.address());
    // Takes the connection and never answers.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let silent = silent.local_addr().unwrap();
    let more = format!("{LOAD} --server-metrics http://{silent}/metrics http://{url}/none");
    let more = more.replace("http://http://", "http://");
    let run = profile(&url, &more).run().code(0);
    assert_eq!(sums(&run)[..2], [40, 40]);
    assert!(
        run.stderr.contains("--server-metrics http://"),
        "{}",
        run.stderr
    );
    let metrics = parsed(&run.file("server_metrics_export.json"));
    assert_eq!(
        metrics["summary"]["endpoints_successful"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn gpus_of_an_exporter() {
    let exporter = dcgm::serve(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 2).unwrap();
    let flags = format!(
        "{LOAD} --osl 8 --warmup-request-count 4 --no-server-metrics --gpu-telemetry {exporter}"
    );
    let run = profile("mock:", &flags).run().code(0);
    assert!(!run.has("server_metrics_export.json"));
    let json = run.json();
    let key = exporter.to_string();
    let gpus = &json["telemetry_data"]["endpoints"][&key]["gpus"];
    let measured = parsed(&run.file("phases/profiling/gpu_telemetry.json"));
    assert_eq!(measured["data"], json["telemetry_data"]);
    let warmup = parsed(&run.file("phases/warmup/gpu_telemetry.json"));
    assert_eq!(warmup["phase"]["phase_kind"], "warmup");
    assert!(
        warmup["data"]["endpoints"][&key]["gpus"]["gpu_1"].is_object(),
        "{warmup}"
    );
    assert!(!run.has("phases/profiling/server_metrics.json"));
    let second = &gpus["gpu_1"]["metrics"];
    assert_eq!(second["nvidia_power_usage"]["avg"], Value::from(200.0));
    assert_eq!(gpus["gpu_0"]["gpu_name"], Value::from("NVIDIA Mock"));
    // 100 W and 200 W over the window, interpolated to its ends.
    let power = json["nvidia_average_gpu_power"]["avg"].as_f64().unwrap();
    assert!((power - 300.0).abs() < 3.0, "{power}");
    let energy = json["nvidia_total_gpu_energy"]["avg"].as_f64().unwrap();
    let each = json["nvidia_energy_per_request"]["avg"].as_f64().unwrap();
    assert!((energy / 40.0 - each).abs() < 1e-9);
    let csv = run.file("profile_export_aiperf.csv");
    let table = csv.find("\r\n\r\n\r\nEndpoint,GPU_Index,GPU_Name").unwrap();
    assert!(
        csv[table..].contains(&format!("{key},1,NVIDIA Mock,")),
        "{csv}"
    );
    assert!(csv[..table].contains("Total GPU Energy (J),"), "{csv}");
    let lines = run.file("gpu_telemetry_export.jsonl");
    let line = parsed(lines.lines().next().unwrap());
    assert_eq!(line["platform"], Value::from("nvidia"));
    assert!(
        run.stdout.contains("GPU Power Efficiency (NVIDIA)"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains(&format!("{key} | GPU 1 | NVIDIA Mock")),
        "{}",
        run.stdout
    );
    // The lines give all of it back.
    let folder = run.folder().join("out").to_string_lossy().into_owned();
    let again = call(["report", &folder, "--output", "out"]).run().code(0);
    let section = |csv: &str| {
        csv.find("Endpoint,GPU_Index")
            .map(|at| csv[at..].to_owned())
    };
    let rebuilt = again.file("profile_export_aiperf.csv");
    assert_eq!(section(&rebuilt), section(&csv));
    assert!(rebuilt.contains("Total GPU Energy (J),"), "{rebuilt}");
    assert!(
        again
            .stdout
            .contains(&format!("{key} | GPU 1 | NVIDIA Mock")),
        "{}",
        again.stdout
    );
    let after = again.json();
    let about = |one: &Value, other: &Value| {
        let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
        assert!((one - other).abs() <= 1e-4 * one.abs(), "{one} and {other}");
    };
    for tag in ["nvidia_total_gpu_energy", "nvidia_energy_per_request"] {
        about(&json[tag]["avg"], &after[tag]["avg"]);
    }
    let after = &after["telemetry_data"];
    for list in ["endpoints_configured", "endpoints_successful"] {
        let said = &json["telemetry_data"]["summary"][list];
        assert_eq!(&after["summary"][list], said, "{list}");
    }
    let metrics = &after["endpoints"][&key]["gpus"]["gpu_1"]["metrics"];
    for name in ["nvidia_power_usage", "nvidia_memory_used"] {
        assert_eq!(metrics[name], second[name], "{name}");
    }
    // A torn last line is what a killed run leaves; figures that nobody knows leave the run's own.
    let file = run.folder().join("out/gpu_telemetry_export.jsonl");
    let (whole, old) = (lines.clone(), r#"{"dcgm_url":"http://x","gpu_index":0}"#);
    for (text, kept) in [
        (format!("{whole}{{\"gpu_index\":0"), true),
        (format!("{old}\n{whole}"), false),
        (whole.replace("\"nvidia\"", "\"amd\""), false),
        (whole.replace("nvidia_temperature", "my_own"), false),
    ] {
        std::fs::write(&file, text).unwrap();
        let again = call(["report", &folder, "--output", "out"]).run().code(0);
        let csv = again.file("profile_export_aiperf.csv");
        assert_eq!(section(&csv).is_some(), kept, "{}", again.stderr);
        assert_eq!(
            again.stderr.contains("GPU figures"),
            !kept,
            "{}",
            again.stderr
        );
        let told = &again.json()["telemetry_data"]["endpoints"][&key]["gpus"]["gpu_1"];
        assert_eq!(told["gpu_name"], "NVIDIA Mock");
    }
    let gone = profile("mock:", &format!("{LOAD} --gpu-telemetry 127.0.0.1:1"))
        .run()
        .code(0);
    assert!(
        gone.stderr
            .contains("--gpu-telemetry http://127.0.0.1:1/metrics"),
        "{}",
        gone.stderr
    );
    let off = profile("mock:", &format!("{LOAD} --no-gpu-telemetry"))
        .run()
        .code(0);
    assert!(off.json().get("telemetry_data").is_none());
}
