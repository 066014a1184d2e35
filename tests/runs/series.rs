//! Several runs of the same shards, one after the other: a sweep, repeats, a search.

use std::{collections::BTreeSet, path::Path, time::Duration};

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{Ended, Running, call, profile},
    mock::{Mock, Truth, script},
    watchdog::watch,
};
use pinfire_tools::mock::Script;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::rendezvous::{Meeting, ends, four, json, port, sent};

/// One that answers at once, nearly.
fn server() -> Script {
    Script {
        ttft: Span::from_millis(20),
        itl: Span::from_millis(1),
        tokens: 4,
        ..script()
    }
}

/// The requests that have reached a server, by the lengths of their bodies: their ids are drawn
/// anew for each run.
fn bodies(log: &[Truth]) -> Vec<u64> {
    let mut all: Vec<u64> = log.iter().map(|one| one.body).collect();
    all.sort_unstable();
    all
}

const POINTS: &str = "--concurrency 4,8 --request-count 40 --random-seed 7 --isl-stddev 8";

#[test]
fn a_sweep_over_shards_sends_what_one_process_does() {
    let mock = Mock::start(server());
    let url = format!("http://{}", mock.address());
    let folder = TempDir::new().unwrap();
    let run = folder.path();
    let all = ends(four(&Meeting::Folder(run), &url, POINTS));
    let all: Vec<Ended> = all.into_iter().map(|ended| ended.code(0)).collect();
    let (_, log) = mock.stop();
    let ids: BTreeSet<&String> = log.iter().map(|one| &one.id).collect();
    assert_eq!((log.len(), ids.len()), (80, 80));
    let mock = Mock::start(server());
    let alone = profile(&format!("http://{}", mock.address()), POINTS);
    let alone = alone.run().code(0);
    assert_eq!(bodies(&log), bodies(&mock.stop().1));
    let swept = "sweep_aggregate/profile_export_aiperf_sweep.json";
    let (mine, its) = (
        json(&run.join(swept)),
        alone.folder().join("out").join(swept),
    );
    let its = json(&its);
    let points = |file: &Value| file["per_combination_metrics"].as_array().unwrap().clone();
    for (point, other) in points(&mine).iter().zip(points(&its)) {
        assert_eq!(point["parameters"], other["parameters"]);
        let of = |point: &Value, tag: &str| point["metrics"][tag]["mean"].clone();
        for tag in ["request_count", "total_isl", "total_osl"] {
            assert_eq!(of(point, tag), of(&other, tag), "{tag}");
        }
        // Each point is a run folder of its own, put together from its shards.
        let concurrency = point["parameters"]["concurrency"].as_u64().unwrap();
        let point = run.join(format!("concurrency_{concurrency}"));
        let numbers: BTreeSet<(u64, bool)> = sent(&point, 0..4).into_iter().collect();
        assert_eq!(numbers.len(), 40);
        let whole = json(&point.join("profile_export_aiperf.json"));
        assert_eq!(whole["shards"]["clock"], "rendezvous");
        assert_eq!(whole["is_complete"], true);
        let values = &whole["run_info"]["variation_values"];
        assert_eq!(values["phases.profiling.concurrency"], concurrency);
    }
    assert_eq!(points(&mine).len(), 2);
    assert!(
        all[0].stdout.contains("2 of 2 runs can be used"),
        "{}",
        all[0].stdout
    );
    assert!(!run.join(".pinfire_leader").exists());
}

#[test]
fn repeats_come_home_from_shards_that_share_no_folder() {
    let mock = Mock::start(server());
    let url = format!("http://{}", mock.address());
    let flags = "--concurrency 4 --request-count 8 --num-profile-runs 2";
    let all = ends(four(&Meeting::Apart(port()), &url, flags));
    let all: Vec<Ended> = all.into_iter().map(|ended| ended.code(0)).collect();
    assert_eq!(mock.stop().1.len(), 16);
    for run in ["run_0001", "run_0002"] {
        for (index, ended) in all.iter().enumerate() {
            let name = format!("profile_runs/{run}/shard-{index:04}/profile_export.jsonl");
            assert!(all[0].file(&name) == ended.file(&name), "{name}");
        }
    }
    let aggregate: Value =
        serde_json::from_str(&all[0].file("aggregate/profile_export_aiperf_aggregate.json"))
            .unwrap();
    let runs = &aggregate["metadata"]["num_successful_runs"];
    assert_eq!(*runs, 2, "{aggregate}");
}

#[test]
fn a_search_over_shards_judges_the_whole() {
    let mock = Mock::start(server());
    let url = format!("http://{}", mock.address());
    let port = port().to_string();
    // A load has 10 requests per stream, and 100 at least. A shard has a quarter of them, and would
    // meet this at any load.
    let flags = "--search concurrency:4,32 --slo request_count.avg<=150 --search-tolerance 0.3 \
                 --search-confirmations 0 --shards 4 --leader-only";
    let leader = profile(&url, &format!("{flags} --join 127.0.0.1:{port}")).start();
    let shards: Vec<Running> = (0..4)
        .map(|index| {
            let mut one = call(["shard", "--join", &format!("127.0.0.1:{port}")]);
            one.more(["--shard", &format!("{index}/4"), "--artifact-dir", "out"]);
            one.start()
        })
        .collect();
    for ended in ends(shards) {
        ended.code(0);
    }
    let leader = leader.wait().code(0);
    let history: Value = serde_json::from_str(&leader.file("search_history.json")).unwrap();
    let found = &history["boundary_summary"];
    let (most, least) = (
        found["feasible_max"].as_f64(),
        found["infeasible_min"].as_f64(),
    );
    assert!(most.is_some_and(|most| most <= 15.0), "{history}");
    assert!(least.is_some_and(|least| least > 15.0), "{history}");
    // Every request of every load was answered once.
    let loads = history["iterations"].as_array().unwrap().iter();
    let loads = loads.map(|one| one["variation_values"]["phases.profiling.concurrency"].clone());
    let requests = loads.map(|load| (10 * load.as_u64().unwrap()).max(100));
    assert_eq!(mock.stop().1.len() as u64, requests.sum::<u64>());
}

/// Waits until every shard has written a line for a request of a point.
fn all_have_sent(point: &Path) {
    let _guard = watch("not all shards send");
    let sent = |index: u32| {
        let path = point.join(format!("shard-{index:04}/profile_export.jsonl"));
        path.metadata().is_ok_and(|file| file.len() > 0)
    };
    while !(0..4).all(sent) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Of two points the first ends by itself, the second when it is made to.
const SECOND_ENDLESS: &str = "--concurrency 4,8 --benchmark-duration 0.5,300 --sweep-type zip";

fn points(run: &Path) -> [std::path::PathBuf; 2] {
    ["concurrency_4__duration_0.5", "concurrency_8__duration_300"].map(|name| run.join(name))
}

#[test]
fn a_shard_that_is_killed_in_a_point_leaves_the_points_before() {
    let mock = Mock::start(server());
    let url = format!("http://{}", mock.address());
    let folder = TempDir::new().unwrap();
    let all = four(&Meeting::Folder(folder.path()), &url, SECOND_ENDLESS);
    let [first, second] = points(folder.path());
    all_have_sent(&second);
    all[3].signal(Signal::KILL);
    let mut ended = ends(all).into_iter();
    let leader = ended.next().unwrap().code(6);
    let said = leader
        .stderr
        .lines()
        .rfind(|line| line.starts_with("error: "));
    let expected = "error: the run is incomplete: shard 3 of 4 is missing";
    assert_eq!(said, Some(expected), "{}", leader.stderr);
    for other in ended.take(2) {
        other.code(0);
    }
    assert_eq!(
        json(&first.join("profile_export_aiperf.json"))["is_complete"],
        true
    );
    let second = json(&second.join("profile_export_aiperf.json"));
    assert_eq!(second["is_complete"], false);
    // The others were stopped; the last has not come to say so.
    let missing = second["shards"]["missing"].as_array().unwrap();
    let lost = missing.iter().filter(|one| one["sent"].is_null());
    let lost: Vec<&Value> = lost.map(|one| &one["index"]).collect();
    assert_eq!(lost, [&Value::from(3)], "{missing:?}");
    let swept = folder
        .path()
        .join("sweep_aggregate/profile_export_aiperf_sweep.json");
    let swept = json(&swept);
    let good = swept["per_combination_metrics"].as_array().unwrap();
    let with_figures = good
        .iter()
        .filter(|point| point["metrics"]["request_count"].is_object());
    assert_eq!(with_figures.count(), 1, "{swept}");
    assert!(
        leader.stdout.contains("1 of 2 runs can be used"),
        "{}",
        leader.stdout
    );
}

#[test]
fn an_interrupt_at_one_shard_ends_the_sweep_for_all() {
    let mock = Mock::start(server());
    let url = format!("http://{}", mock.address());
    let folder = TempDir::new().unwrap();
    let flags = "--concurrency 4,8 --benchmark-duration 300,200 --sweep-type zip";
    let all = four(&Meeting::Folder(folder.path()), &url, flags);
    all_have_sent(&folder.path().join("concurrency_4__duration_300"));
    all[2].signal(Signal::INT);
    let mut ended = ends(all).into_iter();
    let leader = ended.next().unwrap().code(2);
    let why = "cancelled by the user (Ctrl-C) at shard 2";
    let said = leader.stdout + &leader.stderr;
    assert!(said.contains(why) && said.contains("--resume"), "{said}");
    for other in ended {
        other.code(0);
    }
}

#[test]
fn what_a_series_cannot_be_is_refused() {
    let url = "http://127.0.0.1:9";
    for (flags, words) in [
        (
            "--concurrency 4,8 --shard 0/4 --random-seed 1",
            "need a leader",
        ),
        (
            "--concurrency 2,8 --shard 0/4 --join 127.0.0.1:1",
            "--concurrency 2",
        ),
        (
            "--search concurrency:2,8 --slo ttft.p99<=500 --shard 0/4 --join 127.0.0.1:1",
            "begin at 4 or more",
        ),
    ] {
        let refused = profile(url, flags).run().code(1);
        assert!(
            refused.stderr.contains(words),
            "{flags}: {}",
            refused.stderr
        );
    }
}
