//! Sweeps and repeated runs of the binary: folders, files, and figures held against the points.

use std::path::Path;

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{Ended, call, profile},
    mock::{Mock, script},
    watchdog::watch,
};
use pinfire_tools::mock::Script;
use rustix::process::Signal;
use serde_json::{Map, Value};

fn read(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

fn out(run: &Ended, path: &str) -> Value {
    read(&run.folder().join("out").join(path))
}

/// A server of 8 slots, which everything that waits slows down.
fn limited() -> Script {
    Script {
        ttft: Span::from_millis(10),
        itl: Span::from_millis(2),
        tokens: 16,
        slots: Some(8),
        crowding: 0.1,
        ..script()
    }
}

/// The sweep of the seeds, smaller: one command, one table, one file that says what the points say.
#[test]
fn the_file_says_what_the_points_say_and_the_server_saturates() {
    let mock = Mock::start(limited());
    let url = format!("http://{}", mock.address());
    let flags = "--concurrency 1,2,4,8,32 --request-count 64 --num-gpus 2";
    let run = profile(&url, flags).run().code(0);
    drop(mock.stop());
    let file = out(&run, "sweep_aggregate/profile_export_aiperf_sweep.json");
    assert_eq!(file["metadata"]["num_combinations"], 5);
    let points = file["per_combination_metrics"].as_array().unwrap();
    assert_eq!(points.len(), 5);
    let mut tokens = Vec::new();
    for (concurrency, point) in [1, 2, 4, 8, 32].into_iter().zip(points) {
        assert_eq!(point["parameters"]["concurrency"], concurrency);
        let dir = format!("concurrency_{concurrency}");
        let summary = out(&run, &format!("{dir}/profile_export_aiperf.json"));
        // Every metric of the run is there as it was, and no other.
        let mut seen = 0;
        for (tag, block) in summary.as_object().unwrap() {
            let Some(avg) = block.get("avg").filter(|_| block["unit"].is_string()) else {
                continue;
            };
            let told = &point["metrics"][tag];
            assert_eq!(&told["mean"], avg, "{tag}");
            for stat in ["p50", "p99", "min", "max", "count"] {
                if let Some(value) = block.get(stat) {
                    assert_eq!(told[stat].as_f64(), value.as_f64(), "{tag} {stat}");
                }
            }
            seen += 1;
        }
        assert_eq!(point["metrics"].as_object().unwrap().len(), seen);
        // And the run's own lines say so too.
        let path = run
            .folder()
            .join("out")
            .join(&dir)
            .join("profile_export.jsonl");
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 64);
        let value = |line: &Value, tag: &str| line["metrics"][tag]["value"].as_f64().unwrap();
        let ttft: Vec<f64> = lines
            .iter()
            .map(|line| value(line, "time_to_first_token"))
            .collect();
        let mean = ttft.iter().sum::<f64>() / 64.0;
        let told = point["metrics"]["time_to_first_token"]["mean"]
            .as_f64()
            .unwrap();
        assert!((told / mean - 1.0).abs() < 1e-9);
        let all: f64 = lines
            .iter()
            .map(|line| value(line, "output_sequence_length"))
            .sum();
        let seconds = point["metrics"]["benchmark_duration"]["mean"]
            .as_f64()
            .unwrap();
        let tps = point["total_tps"].as_f64().unwrap();
        assert!((tps / (all / seconds) - 1.0).abs() < 1e-6, "{tps}");
        assert_eq!(point["tps_per_gpu"].as_f64().unwrap(), tps / 2.0);
        let info = &summary["run_info"];
        assert_eq!(
            info["variation_values"]["phases.profiling.concurrency"],
            concurrency
        );
        assert_eq!(info["run_label"], "trial_0001");
        tokens.push((tps, point["tps_per_user"].as_f64().unwrap()));
    }
    // Fronts and best points, computed here once more.
    let beaten = |at: usize| {
        let (x, y) = tokens[at];
        tokens
            .iter()
            .any(|&(a, b)| a >= x && b >= y && (a - x > 0.01 * x || b - y > 0.01 * y))
    };
    let front: Vec<Value> = (0..5)
        .filter(|&at| !beaten(at))
        .map(|at| points[at]["parameters"].clone())
        .collect();
    assert_eq!(file["pareto_optimal_tps"], Value::Array(front));
    let most = points
        .iter()
        .max_by(|x, y| {
            let of = |p: &Value| p["metrics"]["request_throughput"]["mean"].as_f64().unwrap();
            of(x).total_cmp(&of(y))
        })
        .unwrap();
    assert_eq!(
        file["best_configurations"]["best_throughput"]["parameters"],
        most["parameters"]
    );
    // The rise, the peak and the collapse: the gaps are 1.7 times as long at 8 of 8, 4.1 times at
    // 32.
    let total: Vec<f64> = tokens.iter().map(|point| point.0).collect();
    let peak = total.iter().copied().fold(0.0, f64::max);
    assert!(
        total[0] < 0.75 * peak && total[4] < 0.75 * peak,
        "{total:?}"
    );
    let picture = call([
        "plot",
        run.folder().join("out").to_str().unwrap(),
        "--num-gpus",
        "2",
        "--output",
        "pictures",
    ])
    .run()
    .code(0);
    let picture = picture
        .folder()
        .join("pictures/pareto_curve_throughput_per_gpu_vs_interactivity.svg");
    let picture = std::fs::read_to_string(picture).unwrap();
    assert!(picture.contains(">32 saturated</text>"), "{picture}");
    assert!(
        picture.contains(" ★") && !picture.contains(">1 saturated"),
        "{picture}"
    );
    assert_eq!(points[4]["saturated"], true, "{}", run.stdout);
    assert!(
        run.stdout.contains("saturated") && run.stdout.contains("★"),
        "{}",
        run.stdout
    );
    assert!(run.has("concurrency_8/run_config.json"));
    assert!(run.has("aggregate/concurrency_8/profile_export_aiperf_aggregate.json"));
    let table =
        std::fs::read_to_string(run.folder().join("out/sweep_aggregate/pareto_table.csv")).unwrap();
    assert_eq!(table.lines().count(), 6);
    // Points have seeds of their own, one after the other.
    let seed = |c: u64| {
        out(&run, &format!("concurrency_{c}/run_config.json"))["random_seed"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(seed(2), seed(1) + 1);
}

#[test]
fn repeated_runs_of_a_grid_have_their_folders_and_intervals() {
    let flags = "--concurrency 1,2 --osl 2,3 --request-count 6 --num-profile-runs 2 \
                 --warmup-request-count 2 --random-seed 5";
    let run = profile("mock:", flags).run().code(0);
    for trial in 1..=2 {
        for dir in [
            "osl_2__concurrency_1",
            "osl_2__concurrency_2",
            "osl_3__concurrency_1",
            "osl_3__concurrency_2",
        ] {
            let summary = out(
                &run,
                &format!("profile_runs/trial_000{trial}/{dir}/profile_export_aiperf.json"),
            );
            assert_eq!(summary["run_info"]["trial"], trial - 1);
            // Only the first run warms up.
            assert_eq!(summary["warmup_metrics"].is_object(), trial == 1, "{dir}");
        }
    }
    let file = out(
        &run,
        "aggregate/sweep_aggregate/profile_export_aiperf_sweep.json",
    );
    assert_eq!(
        (&file["num_profile_runs"], &file["num_successful_runs"]),
        (&8.into(), &8.into())
    );
    let dir = "osl_3__concurrency_2";
    let aggregate = out(
        &run,
        &format!("aggregate/{dir}/profile_export_aiperf_aggregate.json"),
    );
    let figure = |trial: u64| {
        let path = format!("profile_runs/trial_000{trial}/{dir}/profile_export_aiperf.json");
        out(&run, &path)["request_latency"]["p90"].as_f64().unwrap()
    };
    let (x, y) = (figure(1), figure(2));
    let told = &aggregate["metrics"]["request_latency_p90"];
    let number = |key: &str| told[key].as_f64().unwrap();
    assert!((number("mean") - (x + y) / 2.0).abs() < 1e-9);
    assert!((number("std") - (x - y).abs() / 2.0_f64.sqrt()).abs() < 1e-9);
    // t of one degree of freedom at 95 %.
    let half = 12.706_2 * (x - y).abs() / 2.0;
    assert!((number("ci_high") - number("mean") - half).abs() < 1e-3 * half.max(1e-6));
    let of = |point: &Value| point["metrics"]["request_latency_p90"].clone();
    let last = file["per_combination_metrics"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(of(&last)["mean"], told["mean"]);
    // One seed for both runs of a point, since it was given.
    let seed = |trial: u64| {
        out(
            &run,
            &format!("profile_runs/trial_000{trial}/{dir}/run_config.json"),
        )["random_seed"]
            .clone()
    };
    assert_eq!((seed(1), seed(2)), (8.into(), 8.into()));
}

#[test]
fn runs_of_one_point_and_independent_points() {
    let run = profile("mock:", "--request-count 4 --osl 2 --num-profile-runs 3")
        .run()
        .code(0);
    let seeds: Vec<Value> = (1..=3)
        .map(|n| {
            out(&run, &format!("profile_runs/run_000{n}/run_config.json"))["random_seed"].clone()
        })
        .collect();
    assert!(seeds[0] != seeds[1] && seeds[1] != seeds[2], "{seeds:?}");
    let file = out(&run, "aggregate/profile_export_aiperf_aggregate.json");
    assert_eq!(file["metadata"]["run_labels"][2], "run_0003");
    assert!(
        run.stdout.contains("3 runs") && run.stdout.contains("95 % interval"),
        "{}",
        run.stdout
    );
    let run = profile(
        "mock:",
        "--request-count 4 --osl 2,3 --concurrency 1,2 --sweep-type zip --num-profile-runs 2 \
         --parameter-sweep-mode independent --no-sweep-table",
    )
    .run()
    .code(0);
    assert!(run.has("osl_2__concurrency_1/profile_runs/trial_0002/profile_export_aiperf.json"));
    assert!(run.has("osl_3__concurrency_2/aggregate/profile_export_aiperf_aggregate.csv"));
    assert!(run.has("sweep_aggregate/profile_export_aiperf_sweep.csv"));
    assert!(!run.has("osl_2__concurrency_2"));
    assert!(!run.stdout.contains('┃'), "{}", run.stdout);
}

#[test]
fn cancellation_is_an_axis() {
    let flags = "--request-cancellation-rate 0,100 --request-cancellation-delay 0.01 \
                 --request-count 10 --concurrency 2 --osl 200";
    let run = profile("mock:", flags).run().code(0);
    let file = out(&run, "sweep_aggregate/profile_export_aiperf_sweep.json");
    let points = file["per_combination_metrics"].as_array().unwrap();
    assert_eq!(points[0]["parameters"]["cancel"], 0);
    assert!(points[0].get("cancelled_count").is_none());
    assert_eq!(points[1]["cancelled_count"], 10.0);
    assert_eq!(points[1]["cancelled_fraction"], 1.0);
    assert!(run.has("cancel_100/profile_export_aiperf.json"));
}

#[test]
fn a_sweep_goes_on_where_it_stopped() {
    let first = profile("mock:", "--concurrency 1,2,3 --request-count 4 --osl 2")
        .run()
        .code(0);
    let base = first.folder().join("out");
    let stamp = |point: &str| {
        let path = base.join(point).join("profile_export_aiperf.json");
        read(&path)["benchmark_id"].as_str().unwrap().to_owned()
    };
    let before: Vec<String> = ["concurrency_1", "concurrency_2", "concurrency_3"]
        .map(stamp)
        .to_vec();
    std::fs::remove_file(base.join("concurrency_2/run_config.json")).unwrap();
    std::fs::remove_dir_all(base.join("sweep_aggregate")).unwrap();
    let again = call(["profile", "--resume", base.to_str().unwrap()])
        .run()
        .code(0);
    assert!(
        again.stdout.contains("concurrency_1 (kept)"),
        "{}",
        again.stdout
    );
    assert!(
        !again.stdout.contains("concurrency_2 (kept)"),
        "{}",
        again.stdout
    );
    let after: Vec<String> = ["concurrency_1", "concurrency_2", "concurrency_3"]
        .map(stamp)
        .to_vec();
    assert_eq!((&before[0], &before[2]), (&after[0], &after[2]));
    assert_ne!(before[1], after[1]);
    let file = read(&base.join("sweep_aggregate/profile_export_aiperf_sweep.json"));
    assert_eq!(file["num_successful_runs"], 3);
    // Other settings are other runs.
    let other = ["profile", "--resume", base.to_str().unwrap(), "--osl", "3"];
    let other = call(other).run().code(0);
    assert!(!other.stdout.contains("(kept)"), "{}", other.stdout);
}

#[test]
fn ctrl_c_in_the_middle_of_a_sweep_and_the_rest_of_it() {
    let mock = Mock::start(Script {
        ttft: Span::from_millis(20),
        ..script()
    });
    let url = format!("http://{}", mock.address());
    // The second point takes 80 times the time of an answer, 2 s.
    let running = profile(&url, "--concurrency 8,1,4 --request-count 80").start();
    let base = running.folder().join("out");
    let guard = watch("the first point ends");
    while !base.join("concurrency_8/run_config.json").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(guard);
    running.signal(Signal::INT);
    let first = running.wait().code(1);
    assert!(
        first
            .stderr
            .contains("interrupted: `pinfire profile --resume"),
        "{}",
        first.stderr
    );
    let file = out(&first, "sweep_aggregate/profile_export_aiperf_sweep.json");
    assert!(file["num_successful_runs"].as_u64().unwrap() < 3, "{file}");
    let again = call(["profile", "--resume", base.to_str().unwrap()]).run();
    drop(mock.stop());
    let again = again.code(0);
    assert!(
        again.stdout.contains("concurrency_8 (kept)")
            && again.stdout.contains("3 of 3 runs can be used"),
        "{}",
        again.stdout
    );
    let file = out(&first, "sweep_aggregate/profile_export_aiperf_sweep.json");
    assert_eq!(file["num_successful_runs"], 3);
    let summary = out(&first, "concurrency_1/profile_export_aiperf.json");
    assert_eq!(summary["request_count"]["avg"], 80.0);
}

#[test]
fn runs_of_a_point_stop_when_they_agree() {
    // Every answer has two tokens: two runs agree as well as ten.
    let flags = "--request-count 4 --osl 2 --num-profile-runs 5 --convergence-metric osl";
    let run = profile("mock:", flags).run().code(0);
    assert!(
        run.stdout.contains("2 runs are enough") && run.stdout.contains("2 of 2 runs"),
        "{}",
        run.stdout
    );
    assert!(run.has("profile_runs/run_0002") && !run.has("profile_runs/run_0003"));
    let file = out(&run, "aggregate/profile_export_aiperf_aggregate.json");
    let said = &file["metadata"]["convergence"];
    assert_eq!(
        (&said["converged"], &said["value"]),
        (&true.into(), &0.0.into())
    );
    assert_eq!(said["metric"], "output_sequence_length");
    let file = out(&run, "aggregate/profile_export_aiperf_collated.json");
    let pooled = &file["metrics"]["output_sequence_length"];
    assert_eq!(pooled["combined"]["count"], 8);
    assert_eq!(pooled["per_run"][1]["count"], 4);

    // No three runs agree to a millionth; each point has all that were asked for before the next.
    let flags = "--request-count 4 --osl 2,3 --num-profile-runs 3 --convergence-metric latency \
                 --convergence-threshold 0.000001 --convergence-mode cv";
    let run = profile("mock:", flags).run().code(0);
    assert!(
        run.stdout.contains("osl_3: 3 runs are not enough"),
        "{}",
        run.stdout
    );
    assert!(run.has("osl_2/profile_runs/trial_0003") && run.has("osl_3/profile_runs/trial_0003"));

    // Requests of one distribution; the lengths are the same in all of them.
    let flags = "--request-count 4 --osl 2 --num-profile-runs 3 --convergence-metric osl \
                 --convergence-mode distribution --convergence-min-runs 3";
    let run = profile("mock:", flags).run().code(0);
    assert!(
        run.stdout.contains("3 runs are enough: p of"),
        "{}",
        run.stdout
    );
}

/// A server of 4 slots and 400 ms of service: the fifth stream waits, and its requests are not
/// good.
#[test]
fn a_search_by_goodput_alone() {
    let mock = Mock::start(Script {
        ttft: Span::from_millis(4),
        itl: Span::from_millis(100),
        tokens: 5,
        slots: Some(4),
        ..script()
    });
    let url = format!("http://{}", mock.address());
    let flags = "--search concurrency:2,8 --request-count 12 --goodput time_to_first_token:75";
    let run = profile(&url, flags).run().code(0);
    drop(mock.stop());
    let history = out(&run, "search_history.json");
    assert_eq!(
        history["boundary_summary"]["feasible_max"], 4,
        "{}",
        run.stdout
    );
}

#[test]
fn a_folder_that_cannot_be_made_is_one_line() {
    let line =
        "profile --url mock: --model mock --tokenizer builtin --osl 1,2 --artifact-dir /proc/none";
    let run = call(line.split(' ')).run().code(1);
    assert!(
        run.stderr.lines().count() == 1 && run.stderr.contains("/proc/none"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_sweep_without_a_server_fails_and_still_has_its_files() {
    let nobody = profile("http://127.0.0.1:9", "--osl 2,3 --request-count 2")
        .run()
        .code(2);
    assert!(
        nobody.stdout.contains("0 of 2 runs can be used"),
        "{}",
        nobody.stdout
    );
    let file = out(&nobody, "sweep_aggregate/profile_export_aiperf_sweep.json");
    assert_eq!(file["failed_runs"].as_array().unwrap().len(), 2);
    assert_eq!(file["best_configurations"], Value::Object(Map::new()));
}

#[test]
fn what_makes_no_sweep_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    for (flags, says) in [
        (
            "--concurrency 1,,2",
            "'1,,2' for '--concurrency <STREAMS>': an element of the list is empty",
        ),
        (
            "--concurrency 1,x",
            "invalid value '1,x' for '--concurrency <STREAMS>': x: it must be",
        ),
        ("--concurrency 1,0", "it must be at least 1"),
        (
            "--concurrency 1,2 --slo tttf.p99<=5",
            "there is no metric `tttf`",
        ),
        (
            "--concurrency 1,2 --osl 1,2,3 --sweep-type zip",
            "lists of equal length",
        ),
        ("--concurrency 1,2 --sweep-type sobol", "one of: grid, zip"),
        ("--concurrency 1,2 --dry-run", "--dry-run"),
        ("--concurrency 1,2 --slo ttft", "--slo `ttft`"),
        ("--warmup-request-count 1,2", "it takes one value"),
        (
            "--osl 1,2 --vary-seed-per-trial --no-vary-seed-per-trial",
            "--vary-seed-per-trial and its opposite",
        ),
        ("--sweep-type zip", "--sweep-type is for sweeps"),
        (
            "--convergence-metric ttft",
            "--convergence-metric is for sweeps and repeated runs",
        ),
        (
            "--osl 1,2 --convergence-metric ttft",
            "--num-profile-runs is 1: raise it",
        ),
        (
            "--num-profile-runs 3 --convergence-mode cv",
            "--convergence-metric on what",
        ),
        (
            "--num-profile-runs 3 --convergence-metric tftt",
            "there is no such metric",
        ),
        (
            "--num-profile-runs 3 --convergence-metric ttft --convergence-mode width",
            "ci_width, cv, distribution",
        ),
        (
            "--osl 1,2 --num-profile-runs 3 --convergence-metric ttft --parameter-sweep-mode repeated",
            "take independent",
        ),
        (
            &format!("--resume {folder}"),
            "sweep_config.json cannot be read",
        ),
    ] {
        let ended = profile("mock:", flags).run().code(1);
        assert!(ended.stderr.contains(says), "{flags}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
}

/// A server of 24 slots and 600 ms of service: up to 24 streams nobody waits, the 25th waits for a
/// whole service. The limit lies in the middle between the two.
#[test]
fn a_search_finds_the_knee_in_under_twelve_points() {
    let mock = Mock::start(Script {
        ttft: Span::from_millis(5),
        itl: Span::from_millis(200),
        tokens: 4,
        slots: Some(24),
        ..script()
    });
    let url = format!("http://{}", mock.address());
    let mut search = profile(
        &url,
        "--search concurrency:1,128 --benchmark-duration 2 --slo ttft.p99<=300",
    );
    search.more(["--slo", "error_rate<=0"]);
    let run = search.run().code(0);
    drop(mock.stop());
    let history = out(&run, "search_history.json");
    let found = history["boundary_summary"]["feasible_max"]
        .as_f64()
        .unwrap();
    assert!((found / 24.0 - 1.0).abs() <= 0.05, "{}", run.stdout);
    assert_eq!(history["convergence_reason"], "monotonic_precision_reached");
    let values: std::collections::BTreeSet<u64> = history["iterations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            one["variation_values"]["phases.profiling.concurrency"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert!(values.len() < 12, "{values:?}");
    let knee = &history["knee"];
    assert_eq!(knee["feasible"]["runs_that_pass"], 2, "{knee}");
    assert!(knee["feasible"]["runs"][0]["objective_values"]["time_to_first_token.p99"].is_number());
    assert!(
        run.stdout
            .contains(&format!("concurrency {found}: 2 of 2 runs pass")),
        "{}",
        run.stdout
    );
    assert!(run.has("search_iter_0000/profile_runs/run_0001/profile_export_aiperf.json"));
    assert!(run.has("sweep_aggregate/pareto_table.csv"));
}

#[test]
fn a_search_that_makes_no_sense_is_one_line() {
    for (flags, says) in [
        ("--search concurrency:1,8", "--search needs what to hold"),
        (
            "--search concurrency:1,8 --slo ttft<=5 --request-count 4",
            "never fills 8 streams",
        ),
        (
            "--search concurrency:1,8 --slo ttft<=5 --concurrency 4",
            "leave --concurrency out",
        ),
        (
            "--search concurrency:1,8 --slo ttft<=5 --osl 1,2",
            "goes with no list",
        ),
        (
            "--search isl:1,8 --slo ttft<=5",
            "it takes one of concurrency",
        ),
        ("--search-tolerance 0.1", "--search-tolerance is for sweeps"),
        ("--slo ttft<=5", "--slo is for sweeps"),
    ] {
        let ended = profile("mock:", flags).run().code(1);
        assert!(ended.stderr.contains(says), "{flags}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    let nobody = profile(
        "http://127.0.0.1:9",
        "--search concurrency:1,4 --slo ttft<=5 --no-error-backoff",
    )
    .run()
    .code(1);
    assert!(
        nobody
            .stderr
            .contains("the first run, of --concurrency 1, cannot be used"),
        "{}",
        nobody.stderr
    );
}
