//! Every preset is drawn of runs whose figures are known, as SVG in both themes, and the marks are
//! read back from their places.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};

use super::{
    figure::{Ink, Mark, Point, Series},
    *,
};

const T0: u64 = 1_800_000_000_000_000_000;
const REQUESTS: u64 = 60;

/// Request `i` of a run starts 10 ms after the one before; every fifth is cancelled.
struct Known {
    start_ns: u64,
    end_ns: u64,
    ttft_ms: f64,
    isl: u64,
    osl: u64,
    cancelled: bool,
}

fn known(i: u64) -> Known {
    let start_ns = T0 + i * 10_000_000;
    let ttft_ms = 20.0 + (i % 7) as f64;
    let osl = 10 + i % 5;
    let cancelled = i % 5 == 4;
    let latency_ms = if cancelled {
        50.0
    } else {
        ttft_ms + (osl - 1) as f64 * 5.0
    };
    Known {
        start_ns,
        end_ns: start_ns + (latency_ms * 1e6) as u64,
        ttft_ms,
        isl: 100 + i,
        osl,
        cancelled,
    }
}

impl Known {
    fn latency_ms(&self) -> f64 {
        (self.end_ns - self.start_ns) as f64 / 1e6
    }
}

fn answered() -> Vec<Known> {
    let mut all: Vec<Known> = (0..REQUESTS).map(known).collect();
    all.sort_by_key(|request| request.end_ns);
    all.into_iter()
        .filter(|request| !request.cancelled)
        .collect()
}

fn line(i: u64) -> Value {
    let known = known(i);
    let metadata = json!({
        "session_num": i, "x_request_id": format!("id-{i}"), "conversation_id": "c", "turn_index": 0,
        "credit_issued_ns": known.start_ns - 1000 * (i + 1), "request_start_ns": known.start_ns,
        "request_end_ns": known.end_ns, "benchmark_phase": "profiling", "was_cancelled": known.cancelled,
    });
    let number = |value: f64, unit: &str| json!({"value": value, "unit": unit});
    if !known.cancelled {
        return json!({"metadata": metadata, "metrics": {
            "time_to_first_token": number(known.ttft_ms, "ms"), "request_latency": number(known.latency_ms(), "ms"),
            "inter_token_latency": number(5.0, "ms"), "input_sequence_length": number(known.isl as f64, "tokens"),
            "output_sequence_length": number(known.osl as f64, "tokens"),
        }});
    }
    let mut metadata = metadata;
    metadata["cancellation"] = json!({
        "asked_delay_ms": 50.0, "delay_error_us": 30.0 + i as f64, "closed_ns": known.end_ns,
        "phase": if i % 10 == 4 { "waiting" } else { "streaming" },
    });
    json!({"metadata": metadata, "metrics": {}, "error": {"code": 499, "type": "RequestCancellationError", "message": "cancelled"}})
}

/// A run of `concurrency` whose figures in the summary are multiples of it.
fn write_run(folder: &Path, concurrency: u64) {
    fs::create_dir_all(folder).unwrap();
    let write = |name: &str, text: String| fs::write(folder.join(name), text).unwrap();
    let lines = |values: Vec<Value>| {
        values
            .iter()
            .map(|value| format!("{value}\n"))
            .collect::<String>()
    };
    let mut order: Vec<u64> = (0..REQUESTS).collect();
    order.sort_by_key(|i| known(*i).end_ns);
    write(
        "profile_export.jsonl",
        lines(order.into_iter().map(line).collect()),
    );
    let c = concurrency as f64;
    let spread = |value: f64| json!({"unit": "ms", "avg": value, "p50": value, "p90": value * 1.5, "p99": value * 2.0, "std": value / 10.0});
    write("profile_export_aiperf.json", json!({
        "aiperf_version": "1", "request_latency": spread(100.0 + c), "time_to_first_token": spread(20.0 + c / 10.0),
        "inter_token_latency": spread(5.0), "output_token_throughput_per_user": spread(200.0 - c),
        "request_throughput": {"unit": "requests/sec", "avg": 10.0 * c}, "goodput": {"unit": "requests/sec", "avg": 9.0 * c},
        "output_token_throughput": {"unit": "tokens/sec", "avg": 100.0 * c},
        "input_sequence_length": spread(130.0),
        "client_health": {"timer_lateness": {"p99": 12.0}, "receive_delay": {"p99": 34.0}, "client_was_bottleneck": false},
        "input_config": {"models": {"items": [{"name": "m"}]}, "phases": [{"kind": "profiling", "concurrency": concurrency}]},
    }).to_string());
    let slices = (0..4u64).map(|at| json!({
        "start_ns": T0 + at * 200_000_000, "end_ns": T0 + (at + 1) * 200_000_000,
        "time_to_first_token": {"unit": "ms", "avg": 20.0 + at as f64 * 10.0, "std": 0.5},
        "inter_token_latency": {"unit": "ms", "avg": 5.0, "std": 0.1}, "request_latency": {"unit": "ms", "avg": 90.0, "std": 3.0},
        "request_throughput": {"unit": "requests/sec", "avg": 50.0 + at as f64},
    }));
    write(
        "profile_export_aiperf_timeslices.json",
        json!({"timeslices": slices.collect::<Vec<_>>()}).to_string(),
    );
    let gpus = (0..10u64).flat_map(|at| [0, 1].map(|gpu| json!({
        "gpu_index": gpu, "timestamp_ns": T0 + at * 50_000_000, "telemetry_data": {"nvidia_gpu_utilization": 40.0 + 20.0 * f64::from(gpu) + at as f64},
    })));
    write("gpu_telemetry_export.jsonl", lines(gpus.collect()));
    let server = (0..10u64).map(|at| json!({
        "endpoint_url": "u", "timestamp_ns": T0 + at * 50_000_000,
        "metrics": {"vllm:num_requests_running": [{"value": at}], "vllm:num_requests_waiting": [{"value": 2}]},
    }));
    write("server_metrics_export.jsonl", lines(server.collect()));
}

/// The runs under a folder, with eight GPUs.
fn read(folder: &Path) -> Loaded {
    let loaded = load(&[folder.to_owned()], &Config::default(), Some(8.0)).unwrap();
    assert_eq!(loaded.warnings, [""; 0]);
    loaded
}

fn numbers(svg: &str, attribute: &str) -> Vec<f64> {
    let text = svg
        .split(&format!("{attribute}=\""))
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    text.split(' ')
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Where the SVG says that a value lies.
fn place(svg: &str, attribute: &str, [from, to]: [f64; 2], value: f64) -> f64 {
    let range = numbers(svg, attribute);
    let is_log = svg
        .split(&format!("{attribute}=\""))
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .ends_with("log");
    let share = if is_log {
        (value / range[0]).ln() / (range[1] / range[0]).ln()
    } else {
        (value - range[0]) / (range[1] - range[0])
    };
    from + share * (to - from)
}

/// Reads every mark of the figure back from its picture.
#[track_caller]
fn check(figure: &Figure) {
    for theme in [&theme::LIGHT, &theme::DARK] {
        let svg = svg::render(figure, theme);
        let [left, top, right, bottom] = numbers(&svg, "data-frame")[..] else {
            panic!("{}", figure.name)
        };
        assert!(
            right - left > 500.0 && bottom - top > 300.0,
            "{}: {left} {top} {right} {bottom}",
            figure.name
        );
        assert!(svg.contains(theme.background) && svg.contains(&figure.title));
        let groups: Vec<&str> = svg
            .split("<g data-series=")
            .skip(1)
            .map(|group| group.split("</g>").next().unwrap())
            .collect();
        assert_eq!(groups.len(), figure.series.len());
        for (group, series) in groups.into_iter().zip(&figure.series) {
            assert!(
                !series.points.is_empty(),
                "{}: {} is empty",
                figure.name,
                series.name
            );
            assert!(
                !group.contains("NaN") && !group.contains("inf"),
                "{}",
                figure.name
            );
            let vertical = if series.right { "data-y2" } else { "data-y" };
            let x = |value: f64| format!("{:.1}", place(&svg, "data-x", [left, right], value));
            let y = |value: f64| format!("{:.1}", place(&svg, vertical, [bottom, top], value));
            for point in &series.points {
                let mark = expected(series, point, &x, &y);
                assert!(
                    group.contains(&mark),
                    "{}: {}: no {mark} in\n{group}",
                    figure.name,
                    series.name
                );
            }
        }
    }
}

fn expected(
    series: &Series,
    point: &Point,
    x: &dyn Fn(f64) -> String,
    y: &dyn Fn(f64) -> String,
) -> String {
    let round = match series.ink {
        Ink::Nth(n) => n % 5 == 0,
        _ => true,
    };
    let (at_x, at_y) = (x(point.x), y(point.y));
    match series.mark {
        Mark::Dots | Mark::Joined if round => format!("cx=\"{at_x}\" cy=\"{at_y}\""),
        Mark::Line | Mark::Dashed | Mark::Band => format!("{at_x} {at_y}"),
        Mark::Step | Mark::Area => at_x,
        Mark::Bars => format!("y=\"{at_y}\""),
        Mark::Spans => format!("x=\"{at_x}\""),
        Mark::Whiskers => format!("V{}", y(point.y2)),
        _ => String::new(),
    }
}

fn single(folder: &Path) -> BTreeMap<String, Figure> {
    let loaded = read(folder);
    let drawn = figures_of_run(&loaded.runs[0], &Config::default()).unwrap();
    assert_eq!(drawn.skipped, []);
    drawn
        .figures
        .into_iter()
        .map(|figure| (figure.name.clone(), figure))
        .collect()
}

fn xy(series: &Series) -> Vec<(f64, f64)> {
    series
        .points
        .iter()
        .map(|point| (point.x, point.y))
        .collect()
}

#[test]
fn every_preset_of_one_run_shows_its_data() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), 10);
    let figures = single(folder.path());
    assert_eq!(figures.len(), preset::single_run().len());
    figures.values().for_each(check);

    let all = answered();
    let column = |name: &str| {
        figures[name].series[0]
            .points
            .iter()
            .map(|point| point.y)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        column("ttft_over_time"),
        all.iter()
            .map(|request| request.ttft_ms)
            .collect::<Vec<_>>()
    );
    assert_eq!(column("itl_over_time"), vec![5.0; 48]);
    let expected: Vec<_> = all
        .iter()
        .map(|request| (request.isl as f64, request.ttft_ms))
        .collect();
    assert_eq!(xy(&figures["ttft_vs_isl"].series[0]), expected);
    let expected: Vec<_> = all
        .iter()
        .map(|request| (request.osl as f64, request.latency_ms()))
        .collect();
    assert_eq!(xy(&figures["latency_vs_osl"].series[0]), expected);
    assert!(figures["latency_vs_osl"].notes[0].contains("12 cancelled"));

    // Rolling percentiles: of ten values the p50 is the mean of the fifth and the sixth.
    let rolling = &figures["latency_over_time"];
    let last: Vec<f64> = rolling.series[0].points[38..]
        .iter()
        .map(|point| point.y)
        .collect();
    let mut last = last;
    last.sort_by(f64::total_cmp);
    assert_eq!(
        rolling.series[1].points.last().unwrap().y,
        (last[4] + last[5]) / 2.0
    );

    // Tokens per second over time give the tokens.
    let area = &figures["dispersed_throughput_over_time"].series[0].points;
    let tokens: f64 = area
        .windows(2)
        .map(|pair| pair[0].y * (pair[1].x - pair[0].x))
        .sum();
    let expected: u64 = all.iter().map(|request| request.osl).sum();
    assert!(
        (tokens - expected as f64).abs() < 1e-3,
        "{tokens} {expected}"
    );

    for (name, total) in [
        ("latency_distribution", 48.0),
        ("ttft_distribution", 48.0),
        ("cancellation_delay_error", 12.0),
    ] {
        assert_eq!(column(name).iter().sum::<f64>(), total, "{name}");
    }
    assert!(
        figures["cancellation_delay_error"]
            .notes
            .iter()
            .any(|note| note == "0 were closed early.")
    );
    assert_eq!(column("cancellation_phases"), [0.0, 0.0, 6.0, 6.0]);

    let slices = &figures["timeslices_ttft"];
    let dots: Vec<_> = slices
        .series
        .iter()
        .filter(|series| matches!(series.mark, Mark::Dots | Mark::Diamonds))
        .flat_map(xy)
        .collect();
    // Average 21, spread 2.1 and 0.5: all but the first are outliers.
    assert_eq!(
        dots,
        [
            (0.1, 20.0),
            (0.300_000_000_000_000_04, 30.0),
            (0.5, 40.0),
            (0.7, 50.0)
        ]
        .map(|(x, y): (f64, f64)| (x, y))
    );
    assert_eq!(
        slices
            .series
            .iter()
            .find(|series| series.mark == Mark::Diamonds)
            .unwrap()
            .points
            .len(),
        3
    );
    assert_eq!(slices.x.ticks[1].1, "0.2-0.4");
    assert!(
        figures["timeslices_throughput"]
            .notes
            .iter()
            .any(|note| note.contains("lengths vary"))
    );

    let gpu = &figures["gpu_utilization_and_throughput_over_time"].series[1];
    assert!(gpu.right);
    // Unix nanoseconds as a float: exact to 256 ns.
    let (at, percent) = xy(gpu)[3];
    assert!(
        (at - 0.15).abs() < 1e-6 && percent == 53.0,
        "{at} {percent}"
    );
    let server = &figures["running_vs_cancelled"];
    assert_eq!(xy(&server.series[0])[4], (0.2, 6.0));
    assert_eq!(server.series[1].points.last().unwrap().y, 12.0);

    // Cancellations: those per second give the number, the rises of the active requests the starts.
    let cancels = &figures["cancellations_over_time"];
    let done = &cancels.series[1].points;
    let number: f64 = done
        .windows(2)
        .map(|pair| pair[0].y * (pair[1].x - pair[0].x))
        .sum();
    assert!((number - 12.0).abs() < 1e-6, "{number}");
    let timeline = &figures["ttft_timeline"];
    assert_eq!(timeline.series[0].points.len(), 60);
    assert_eq!(
        timeline
            .series
            .iter()
            .find(|series| series.mark == Mark::Crosses)
            .unwrap()
            .points
            .len(),
        12
    );
    let near = &figures["ttft_around_cancellations"];
    assert!(
        near.notes[0].contains("Before: median") && near.notes[0].contains("After: median"),
        "{}",
        near.notes[0]
    );
    let health = &figures["client_health_over_time"];
    assert_eq!(health.series[0].points.len(), 60);
    assert_eq!(health.series[0].points[0].y, 1.0);
    assert_eq!(health.series[1].points.len(), 12);
}

#[test]
fn every_preset_of_several_runs_shows_its_data() {
    let folder = tempfile::tempdir().unwrap();
    for concurrency in [10, 50, 100] {
        write_run(&folder.path().join(format!("c{concurrency}")), concurrency);
    }
    let loaded = read(folder.path());
    let runs: Vec<&Run> = loaded.runs.iter().collect();
    let drawn = figures_of_runs(&runs, &Config::default()).unwrap();
    assert_eq!(drawn.skipped, []);
    let figures: BTreeMap<String, Figure> = drawn
        .figures
        .into_iter()
        .map(|figure| (figure.name.clone(), figure))
        .collect();
    assert_eq!(figures.len(), preset::multi_run().len());
    figures.values().for_each(check);

    // 100 tokens/s per stream over eight GPUs, against 200 − concurrency per user: all on the
    // frontier.
    let pareto = &figures["pareto_curve_throughput_per_gpu_vs_interactivity"];
    let dots = [(190.0, 125.0), (150.0, 625.0), (100.0, 1250.0)];
    assert_eq!(xy(&pareto.series[1]), dots);
    assert_eq!(pareto.series[0].points.len(), 3);
    let labels: Vec<_> = pareto.series[1]
        .points
        .iter()
        .map(|point| point.label.clone().unwrap())
        .collect();
    assert_eq!(labels, ["10", "50", "100 ★"]);
    assert!(
        pareto
            .notes
            .iter()
            .any(|note| note.contains("Number of GPUs: 8, from --num-gpus"))
    );
    assert_eq!(
        xy(&figures["ttft_vs_throughput"].series[0]),
        [(21.0, 100.0), (25.0, 500.0), (30.0, 1000.0)]
    );
    assert!(
        figures["ttft_vs_throughput"].x.label.contains(", avg (ms)"),
        "{}",
        figures["ttft_vs_throughput"].x.label
    );
    assert_eq!(
        xy(&figures["pareto_goodput_per_gpu_vs_interactivity"].series[1])[0],
        (190.0, 11.25)
    );
    let by_run = &figures["latency_by_run"];
    assert_eq!(by_run.y.names, ["c100", "c50", "c10"]);
    assert_eq!(xy(&by_run.series[1])[2], (110.0, 2.0));
    assert_eq!(
        figures["throughput_by_run"].series[0].points[0].x2,
        10_000.0
    );
}

#[test]
fn ellipses_are_the_confidence_of_the_mean() {
    let folder = tempfile::tempdir().unwrap();
    for (name, concurrency) in [("a", 10), ("b", 10), ("c", 10)] {
        write_run(&folder.path().join(name), concurrency);
    }
    let mut loaded = read(folder.path());
    for (run, latency) in loaded.runs.iter_mut().zip([100.0, 110.0, 120.0]) {
        let mut block = pinfire_artifacts::Block::of("ms");
        block.put("avg", latency);
        let load::Told::Run(summary) = &mut run.told else {
            panic!("it is a run");
        };
        summary.insert("request_latency", block);
    }
    let runs: Vec<&Run> = loaded.runs.iter().collect();
    let drawn = figures_of_runs(&runs, &Config::default()).unwrap();
    let figure = drawn
        .figures
        .iter()
        .find(|figure| figure.name == "latency_throughput_uncertainty")
        .unwrap();
    let ellipse = &figure.series[0].points[0];
    assert_eq!((figure.series[0].mark, ellipse.x), (Mark::Ellipses, 110.0));
    // t(0.975, 2) · 10 / √3
    assert!(
        (ellipse.x2 - 4.3027 * 10.0 / 3f64.sqrt()).abs() < 0.01,
        "{}",
        ellipse.x2
    );
    assert_eq!(
        figure.series[1].points[0].label.as_deref(),
        Some("10 (n=3)")
    );
}

#[test]
fn baselines_are_grey_and_first() {
    let folder = tempfile::tempdir().unwrap();
    for (name, concurrency) in [
        ("new_1", 10),
        ("baseline_1", 10),
        ("new_2", 50),
        ("baseline_2", 50),
    ] {
        write_run(&folder.path().join(name), concurrency);
    }
    let config = Config::of("experiment_classification:\n  baselines: ['baseline*']\n  group_extraction_pattern: '(new|baseline)_'\n").unwrap();
    let loaded = load(&[folder.path().to_owned()], &config, None).unwrap();
    let runs: Vec<&Run> = loaded.runs.iter().collect();
    let drawn = figures_of_runs(&runs, &config).unwrap();
    let figure = drawn
        .figures
        .iter()
        .find(|figure| figure.name == "ttft_vs_throughput")
        .unwrap();
    let shown: Vec<_> = figure
        .series
        .iter()
        .map(|series| (series.name.as_str(), series.ink, series.points.len()))
        .collect();
    assert_eq!(
        shown,
        [("baseline", Ink::Baseline, 2), ("new", Ink::Primary, 2)]
    );
    // Nobody said how many GPUs there are: those plots are left out with the way to draw them.
    assert!(
        drawn
            .skipped
            .iter()
            .any(|(name, why)| name.starts_with("pareto") && why.contains("--num-gpus")),
        "{:?}",
        drawn.skipped
    );
}

#[test]
fn ten_runs_with_long_names_stay_readable() {
    let folder = tempfile::tempdir().unwrap();
    for at in 1..=10u64 {
        let name = format!(
            "meta-llama_Llama-3.3-70B-Instruct-openai-chat-concurrency{}-request_rate{at}.0",
            at * 20
        );
        write_run(&folder.path().join(name), at * 19);
    }
    let loaded = read(folder.path());
    let runs: Vec<&Run> = loaded.runs.iter().collect();
    for figure in figures_of_runs(&runs, &Config::default()).unwrap().figures {
        check(&figure);
        let svg = svg::render(&figure, &theme::LIGHT);
        // No two labels of points touch.
        let mut boxes: Vec<[f64; 4]> = Vec::new();
        for label in svg
            .split("<text ")
            .skip(1)
            .filter(|text| text.contains("class=\"point-label\""))
        {
            let number = |name: &str| {
                label
                    .split(&format!("{name}=\""))
                    .nth(1)
                    .unwrap()
                    .split('"')
                    .next()
                    .unwrap()
                    .parse::<f64>()
                    .unwrap()
            };
            let (x, y, size) = (number("x"), number("y"), number("font-size"));
            let words = label.split('>').nth(1).unwrap().split('<').next().unwrap();
            let own = [x, y - size, x + text::width(words, size), y];
            let apart = |other: &[f64; 4]| {
                own[2] <= other[0] || own[0] >= other[2] || own[3] <= other[1] || own[1] >= other[3]
            };
            assert!(boxes.iter().all(apart), "{}: {words}", figure.name);
            boxes.push(own);
        }
    }
}

#[test]
fn pictures_are_2400_by_1200_with_text_in_them() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), 10);
    let figures = single(folder.path());
    let svg = svg::render(&figures["latency_distribution"], &theme::DARK);
    let with_text = png::render(&svg).unwrap();
    assert_eq!(with_text[1..4], *b"PNG");
    assert_eq!(with_text[16..24], [0, 0, 9, 96, 0, 0, 4, 176]);
    // Without a font the words would vanish silently.
    let without = png::render(&svg.replace("Distribution", "").replace("p50", "")).unwrap();
    assert!(with_text != without);
}

#[test]
fn a_hole_in_a_file_is_said() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), 10);
    let path = folder.path().join("profile_export.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    // The last line of a run that was killed.
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let loaded = load(&[folder.path().to_owned()], &Config::default(), None).unwrap();
    assert_eq!(loaded.runs[0].requests.len(), 59);
    assert!(
        loaded.warnings[0].contains("profile_export.jsonl:60: the last line is cut off"),
        "{:?}",
        loaded.warnings
    );
    fs::write(&path, whole.replacen("session_num", "session\"num", 1)).unwrap();
    let error = load(&[folder.path().to_owned()], &Config::default(), None).unwrap_err();
    assert!(error.contains("profile_export.jsonl:1:"), "{error}");
    let error = load(
        &[tempfile::tempdir().unwrap().path().to_owned()],
        &Config::default(),
        None,
    )
    .unwrap_err();
    assert!(
        error.contains("there is no folder") || error.contains("no runs found"),
        "{error}"
    );
}

#[test]
fn the_page_holds_everything_and_lets_nothing_out() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("a</script><b>"), 10);
    write_run(&folder.path().join("b"), 20);
    let loaded = read(folder.path());
    let html = page::of_runs(&loaded, &Config::default(), "dark").unwrap();
    assert_eq!(html.matches("</script>").count(), 2);
    for outside in ["http://", "https://", "//cdn", "@import", "src=\""] {
        // Commands and folders of runs are data; none of these has an address in it.
        assert!(!html.contains(outside), "{outside}");
    }
    let data = html
        .split("<script type=\"application/json\" id=\"data\">")
        .nth(1)
        .unwrap();
    let data: Value = serde_json::from_str(data.split("</script>").next().unwrap()).unwrap();
    assert_eq!(data["theme"], "dark");
    assert_eq!(
        data["runs"][0]["requests"]["id"].as_array().unwrap().len(),
        60
    );
    assert!(data["runs"][0]["name"].as_str().unwrap().contains("<b>"));
    assert_eq!(
        data["runs"][1]["requests"]["why"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|why| why.is_string())
            .count(),
        12
    );
    assert!(data["compare"]["figures"].as_array().unwrap().len() > 5);
    let metrics = data["runs"][0]["metrics"].as_array().unwrap();
    let larger = |tag: &str| {
        let row = metrics.iter().find(|row| row[0] == tag);
        row.map_or_else(|| panic!("no {tag}"), |row| row[3].clone())
    };
    assert_eq!(larger("time_to_first_token"), false);
    assert_eq!(larger("request_throughput"), true);
    // What was asked for is no result.
    assert_eq!(larger("input_sequence_length"), Value::Null);
}

#[test]
fn a_run_that_was_told_its_gpus_is_divided_by_them() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), 10);
    let path = folder.path().join("profile_export_aiperf.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    summary["per_gpu"] = serde_json::json!({"num_gpus": 4});
    std::fs::write(&path, summary.to_string()).unwrap();
    let count = |given| {
        let loaded = load(&[folder.path().to_owned()], &Config::default(), given).unwrap();
        loaded.runs[0].gpu_count()
    };
    assert_eq!(count(None), Some((4.0, "the run's --num-gpus")));
    assert_eq!(count(Some(2.0)), Some((2.0, "--num-gpus")));
}
