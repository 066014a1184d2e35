//! `pinfire report` over the folders of several shards: the figures of one run, whatever the clocks
//! of the shards say; and what is missing, or is not of one run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pinfire_tests::{
    binary::{Ended, call, profile},
    mock::{Mock, script},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    refusals::one_line,
    report::{figures, near},
};

const SHARDS: u64 = 4;
const LINES: &str = "profile_export.jsonl";
const SUMMARY: &str = "profile_export_aiperf.json";

/// A run of one process, to be cut into shards.
fn one_run(more: &str) -> Ended {
    let mock = Mock::start(script());
    let more = format!(
        "--concurrency 8 --request-count 80 --warmup-request-count 8 --random-seed 7 \
         --request-cancellation-rate 30 --request-cancellation-delay 0.006 {more}"
    );
    let url = format!("http://{}", mock.address());
    profile(&url, &more).run().code(0)
}

/// How the clocks of a shard are off.
#[derive(Clone, Copy, Default)]
struct Off {
    /// The shard's monotonic clock minus the leader's, in seconds; without one there was no
    /// rendezvous.
    monotonic_s: Option<i64>,
    /// Its wall clock minus the leader's, in seconds.
    wall_s: i64,
}

const SECOND: i64 = 1_000_000_000;

/// Moves every instant of a line.
fn moved(line: &mut Value, nanos: i64) {
    for place in ["/metadata", "/metadata/cancellation", "/trace_data"] {
        let fields = line.pointer_mut(place).and_then(Value::as_object_mut);
        for (key, value) in fields.into_iter().flatten() {
            let instant = value.as_i64().filter(|at| *at > 1_000_000_000 * SECOND);
            if let Some(instant) = instant.filter(|_| key.ends_with("_ns")) {
                *value = (instant + nanos).into();
            }
            if key.ends_with("_chunks") {
                for chunk in value.as_array_mut().unwrap() {
                    chunk[0] = (chunk[0].as_i64().unwrap() + nanos).into();
                }
            }
        }
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn write(path: &Path, value: &Value) {
    fs::write(path, serde_json::to_vec(value).unwrap()).unwrap();
}

fn shard(run: &Path, index: u64) -> PathBuf {
    run.join(format!("shard-{index:04}"))
}

/// The folders of shards that would have sent what one process has.
fn split(one: &Ended, off: [Off; SHARDS as usize]) -> TempDir {
    let run = TempDir::new().unwrap();
    let end = read(&one.folder().join("out").join(SUMMARY))["request_accounting"]["due"].clone();
    for (index, off) in (0..).zip(off) {
        let folder = shard(run.path(), index);
        fs::create_dir(&folder).unwrap();
        fs::copy(one.folder().join("out").join(SUMMARY), folder.join(SUMMARY)).unwrap();
        let number = |line: &Value| line["metadata"]["session_num"].as_u64().unwrap();
        let mut lines = one.lines();
        lines.retain(|line| number(line) % SHARDS == index);
        let mut text = String::new();
        for line in &mut lines {
            moved(line, off.wall_s * SECOND);
            text += &format!("{line}\n");
        }
        fs::write(folder.join(LINES), text).unwrap();
        let measured = |line: &&Value| line["metadata"]["benchmark_phase"] == "profiling";
        let of = |is: fn(&Value) -> bool| {
            lines
                .iter()
                .filter(measured)
                .filter(|line| is(line))
                .count() as u64
        };
        let cancelled = of(|line| line["error"]["code"] == 499);
        let finished = of(|line| line.get("error").is_none());
        let all = of(|_| true);
        let wall = 1_800_000_000 * SECOND;
        let clock = |monotonic_s: i64| {
            // The leader's clock was at two million seconds.
            json!({
                "leader_anchor": {"monotonic_ns": 2_000_000 * SECOND, "unix_ns": wall},
                "anchor": {
                    "monotonic_ns": (2_000_000 + monotonic_s) * SECOND,
                    "unix_ns": wall + off.wall_s * SECOND,
                },
                "clock": [{
                    "t": (2_000_000 + monotonic_s) * SECOND,
                    "offset_ns": -monotonic_s * SECOND,
                    "bound_ns": 5_000 + index,
                }],
                "wall_difference_ns": -off.wall_s * SECOND,
            })
        };
        let mut told = json!({
            "schema_version": 1, "tool_version": "pinfire 0.1.0", "run_id": "0123456789ab",
            "index": index, "shards": SHARDS, "block": 1,
            "segment": {"first": index, "step": SHARDS, "block": 1, "end": end},
            "digests": {"settings": "aa", "inputs": "bb"},
            "anchor": {"monotonic_ns": 5 * SECOND, "unix_ns": wall},
            "clock": [], "incarnation": format!("boot-{index}"), "host": format!("host-{index}"),
            "cpus": 2, "io_driver": "io_uring",
            "counts": {"due": all, "sent": all, "finished": finished,
                       "failed": all - finished - cancelled, "cancelled": cancelled, "dropped": 0},
            "complete": true,
        });
        let clock = off.monotonic_s.map_or(json!({}), clock);
        for (key, value) in clock.as_object().unwrap() {
            told[key] = value.clone();
        }
        write(&folder.join("shard.json"), &told);
    }
    run
}

fn split_evenly(one: &Ended) -> TempDir {
    split(one, [Off::default(); SHARDS as usize])
}

fn report(folder: &Path, more: &[&str]) -> Ended {
    let mut call = call(["report", folder.to_str().unwrap()]);
    call.more(more.iter().copied());
    call.run()
}

#[test]
fn four_shards_give_the_figures_of_one_run() {
    let one = one_run("--export-http-trace");
    // Clocks of machines that were started at any time, and whose wall clocks are wrong.
    let clocks = [(1_000_000, 0), (-1_000_000, -180), (0, 3_600), (17, 2)];
    let clocks = clocks.map(|(monotonic_s, wall_s)| Off {
        monotonic_s: Some(monotonic_s),
        wall_s,
    });
    for (off, more) in [
        ([Off::default(); 4], &[][..]),
        (clocks, &[]),
        (clocks, &["--slice-duration", "0.02"]),
        (clocks, &["--exact-records", "20"]),
    ] {
        let run = split(&one, off);
        let merged = report(run.path(), more).code(0);
        let mut alone = call(["report", one.folder().join("out").to_str().unwrap()]);
        alone.more(
            ["--output", "alone"]
                .into_iter()
                .chain(more.iter().copied()),
        );
        let alone = alone.run().code(0);
        let (before, after) = (
            read(&alone.folder().join("alone").join(SUMMARY)),
            read(&run.path().join(SUMMARY)),
        );
        let (all, of_all) = (figures(&before), figures(&after));
        assert_eq!(all.len(), of_all.len(), "{more:?}");
        assert!(all.len() > 30, "{}", all.len());
        for ((tag, one), (other, four)) in all.iter().zip(&of_all) {
            assert_eq!(tag, other, "{more:?}");
            near(one, four, tag);
        }
        near(
            &before["warmup_metrics"],
            &after["warmup_metrics"],
            "warmup",
        );
        assert_eq!(before["error_summary"], after["error_summary"]);
        assert_eq!(after["is_complete"], true);
        assert_eq!(after["request_accounting"]["agrees"], true);
        for key in ["due", "sent", "valid", "errors", "cancelled_by_plan"] {
            let [one, four] = [&before, &after].map(|of| &of["request_accounting"][key]);
            assert_eq!(one, four, "{key}");
        }
        if more.contains(&"--slice-duration") {
            let name = "profile_export_aiperf_timeslices.json";
            let [one, four] = [alone.folder().join("alone"), run.path().to_owned()]
                .map(|path| read(&path.join(name)));
            near(&one["timeslices"], &four["timeslices"], "slices");
        }
        let shards = &after["shards"];
        let by = if off[0].monotonic_s.is_some() {
            "rendezvous"
        } else {
            "wall"
        };
        assert_eq!(shards["clock"], by);
        assert_eq!(shards["table"].as_array().unwrap().len(), 4);
        assert!(
            merged.stdout.contains("Shards (4 of 4)"),
            "{}",
            merged.stdout
        );
        // Every line is there once, at the time that it had before.
        let of = |line: &Value| {
            let start = line["metadata"]["request_start_ns"].as_u64().unwrap();
            (start, line["metadata"].clone(), line["trace_data"].clone())
        };
        let mut lines: Vec<_> = one.lines().iter().map(of).collect();
        let text = fs::read_to_string(run.path().join(LINES)).unwrap();
        let read = text
            .lines()
            .map(|line| of(&serde_json::from_str(line).unwrap()));
        let mut found: Vec<_> = read.collect();
        lines.sort_by_key(|line| line.0);
        found.sort_by_key(|line| line.0);
        assert_eq!(lines, found);
    }
}

/// Changes `shard.json` of a shard.
fn tell(run: &Path, index: u64, change: impl FnOnce(&mut Value)) {
    let path = shard(run, index).join("shard.json");
    let mut told = read(&path);
    change(&mut told);
    write(&path, &told);
}

/// Changes the lines of a shard.
fn relines(run: &Path, index: u64, change: impl FnOnce(&mut Vec<String>)) {
    let path = shard(run, index).join(LINES);
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
}

/// The first measured line of a shard, and its number.
fn measured(run: &Path, index: u64) -> (String, u64) {
    let text = fs::read_to_string(shard(run, index).join(LINES)).unwrap();
    let line = text
        .lines()
        .find(|line| line.contains("\"benchmark_phase\":\"profiling\""));
    let line = line.unwrap();
    let value: Value = serde_json::from_str(line).unwrap();
    (
        line.to_owned(),
        value["metadata"]["session_num"].as_u64().unwrap(),
    )
}

/// What it is, what is done to the folders, and what is said.
type Refused = (&'static str, fn(&Path), &'static str);
/// The same, and whether requests of the shard are there all the same.
type Missing<'a> = (&'static str, &'a dyn Fn(&Path), &'static str, bool);

#[test]
fn shards_that_are_not_of_one_run_are_refused() {
    let one = one_run("");
    let rows: [Refused; 13] = [
        (
            "sent twice",
            |run| {
                let (line, _) = measured(run, 0);
                relines(run, 1, |lines| lines.push(line));
            },
            "is there twice: in shard 1 and in shard 0, whose it is",
        ),
        (
            "written twice",
            |run| {
                let (line, _) = measured(run, 2);
                relines(run, 2, |lines| lines.push(line));
            },
            "is there twice: both times in shard 2",
        ),
        (
            "another's",
            |run| {
                let (line, _) = measured(run, 0);
                relines(run, 0, |lines| lines.retain(|other| *other != line));
                relines(run, 3, |lines| lines.push(line));
            },
            "is in shard 3, and belongs to shard 0 of 4",
        ),
        (
            "beyond the end",
            |run| {
                let (line, number) = measured(run, 1);
                let (old, new) = (
                    format!("\"session_num\":{number},"),
                    format!("\"session_num\":{},", number + 400),
                );
                relines(run, 1, |lines| lines.push(line.replace(&old, &new)));
            },
            "and the run has 80 requests",
        ),
        (
            "a broken line",
            |run| relines(run, 1, |lines| lines[3] = "{\"metadata\":".into()),
            "shard-0001/profile_export.jsonl, line 4",
        ),
        (
            "another run",
            |run| tell(run, 2, |told| told["run_id"] = json!("ba9876543210")),
            "shard 2 and shard 0 are not of one run: the run id is ba9876543210 there",
        ),
        (
            "another number of shards",
            |run| {
                tell(run, 1, |told| {
                    told["shards"] = json!(5);
                    told["segment"]["step"] = json!(5);
                });
            },
            "the number of shards is 5 there and 4 here",
        ),
        (
            "other settings",
            |run| tell(run, 3, |told| told["digests"]["settings"] = json!("cc")),
            "the digest of the settings is cc there and aa here",
        ),
        (
            "other inputs",
            |run| tell(run, 3, |told| told["digests"]["inputs"] = json!("dd")),
            "the digest of the inputs is dd there and bb here",
        ),
        (
            "another version",
            |run| tell(run, 1, |told| told["tool_version"] = json!("pinfire 0.2.0")),
            "the version is pinfire 0.2.0 there and pinfire 0.1.0 here",
        ),
        (
            "another end",
            |run| tell(run, 1, |told| told["segment"]["end"] = json!(81)),
            "the number of requests is 81 there and 80 here",
        ),
        (
            "a copied folder",
            |run| {
                let (from, to) = (shard(run, 0), shard(run, 1));
                fs::copy(from.join("shard.json"), to.join("shard.json")).unwrap();
            },
            "is of shard 0: a folder was copied or renamed",
        ),
        (
            "nothing known",
            |run| {
                for index in 0..SHARDS {
                    fs::write(shard(run, index).join("shard.json"), "}{").unwrap();
                }
            },
            "nothing is known of any shard",
        ),
    ];
    for (name, change, expected) in rows {
        let run = split_evenly(&one);
        change(run.path());
        let refused = report(run.path(), &[]).code(1);
        one_line(&refused, expected);
        assert!(!run.path().join(SUMMARY).exists(), "{name}");
        assert!(!run.path().join(LINES).exists(), "{name}");
    }
}

#[test]
fn a_shard_that_is_missing_is_named_and_nothing_is_scaled_up() {
    let one = one_run("");
    let file = |name: &'static str| move |run: &Path| shard(run, 2).join(name);
    let rows: [Missing<'_>; 10] = [
        (
            "no folder",
            &|run| fs::remove_dir_all(shard(run, 2)).unwrap(),
            "shard 2 of 4 is missing: there is no folder shard-0002",
            false,
        ),
        (
            "no shard.json",
            &|run| fs::remove_file(file("shard.json")(run)).unwrap(),
            "shard-0002/shard.json",
            false,
        ),
        (
            "garbage",
            &|run| fs::write(file("shard.json")(run), [0xff, 0, b'{']).unwrap(),
            "shard-0002/shard.json",
            false,
        ),
        (
            "an empty object",
            &|run| write(&file("shard.json")(run), &json!({})),
            "shard-0002/shard.json",
            false,
        ),
        (
            "impossible numbers",
            &|run| tell(run, 2, |told| told["segment"]["first"] = json!(3)),
            "its numbers are not those of shard 2 of 4",
            false,
        ),
        (
            "no requests",
            &|run| {
                fs::remove_file(file(LINES)(run)).unwrap();
                fs::remove_file(file(SUMMARY)(run)).unwrap();
                tell(run, 2, |told| {
                    told["complete"] = json!(false);
                    told["incomplete_reason"] = json!("no heartbeat for 3 s");
                    told["counts"]["sent"] = json!(7);
                    told["last_number"] = json!(26);
                });
            },
            "shard 2 of 4 (host-2) is missing: no heartbeat for 3 s",
            false,
        ),
        (
            "said so",
            &|run| {
                tell(run, 2, |told| {
                    told["complete"] = json!(false);
                    told["incomplete_reason"] = json!("the leader was lost");
                });
            },
            "the leader was lost",
            true,
        ),
        (
            "killed",
            &|run| {
                fs::rename(file(SUMMARY)(run), file(".pinfire_run.json")(run)).unwrap();
                let text = fs::read(file(LINES)(run)).unwrap();
                fs::write(file(LINES)(run), &text[..text.len() - 100]).unwrap();
                tell(run, 2, |told| {
                    told["complete"] = json!(false);
                    told["counts"] = json!({});
                });
            },
            "s: it was ended from outside, or its machine is gone",
            true,
        ),
        (
            "cut off",
            &|run| {
                let text = fs::read(file(LINES)(run)).unwrap();
                fs::write(file(LINES)(run), &text[..text.len() - 100]).unwrap();
            },
            "its last line is cut off in the middle",
            true,
        ),
        (
            "lines lost",
            &|run| {
                let (line, _) = measured(run, 2);
                relines(run, 2, |lines| lines.retain(|other| *other != line));
            },
            "requests are lost: shard 2 (host-2)",
            true,
        ),
    ];
    for (name, change, expected, has_requests) in rows {
        let run = split_evenly(&one);
        change(run.path());
        let merged = report(run.path(), &[]).code(6);
        let summary = read(&run.path().join(SUMMARY));
        assert_eq!(summary["is_complete"], false, "{name}");
        let reason = summary["incomplete_reason"].as_str().unwrap();
        assert!(reason.contains(expected), "{name}: {reason}");
        assert!(reason.contains("shard 2 of 4"), "{name}: {reason}");
        assert!(
            merged
                .stdout
                .contains("The run is incomplete: shard 2 of 4"),
            "{name}"
        );
        assert!(merged.stdout.contains("Shard 2 of 4"), "{name}");
        let shards = &summary["shards"];
        let missing = shards["missing"].as_array().unwrap();
        assert_eq!(missing.len(), 1, "{name}");
        assert_eq!(missing[0]["index"], 2, "{name}");
        assert_eq!(
            missing[0]["segment"],
            json!({"first": 2, "step": 4, "block": 1, "end": 80}),
            "{name}"
        );
        let there = missing[0]["requests"].as_u64().unwrap();
        assert_eq!(there > 0, has_requests, "{name}");
        if name == "no requests" {
            assert_eq!(missing[0]["sent"], 7);
            assert_eq!(missing[0]["last_number"], 26);
        }
        // What is there, and no more.
        let table = shards["table"].as_array().unwrap();
        let of_all = |key: &str| {
            table
                .iter()
                .map(|row| row[key].as_u64().unwrap())
                .sum::<u64>()
        };
        let counts = &summary["request_accounting"];
        assert_eq!(counts["valid"], of_all("valid"), "{name}");
        assert_eq!(counts["cancelled_by_plan"], of_all("cancelled"), "{name}");
        assert_eq!(of_all("requests"), 60 + there, "{name}");
        assert_eq!(shards["loss"].is_object(), has_requests, "{name}");
        assert!(shards["tail_s"].is_null(), "{name}");
    }
}

#[test]
fn what_the_leader_knew_of_a_lost_shard_is_told() {
    let one = one_run("");
    for (run_id, known) in [("0123456789ab", true), ("another", false)] {
        let run = split_evenly(&one);
        fs::remove_dir_all(shard(run.path(), 2)).unwrap();
        let mut first = i64::MAX;
        for index in [0, 1, 3] {
            relines(run.path(), index, |lines| {
                for line in lines {
                    let line: Value = serde_json::from_str(line).unwrap();
                    let of = &line["metadata"];
                    if of["benchmark_phase"] == "profiling" {
                        first = first.min(of["request_start_ns"].as_i64().unwrap());
                    }
                }
            });
        }
        write(
            &run.path().join("leader.json"),
            &json!({
                "schema_version": 1, "run_id": run_id, "shards": SHARDS, "lost": [{
                    "index": 2, "host": "gpu-12", "unix_ns": first + 3 * SECOND / 2,
                    "how": "nothing was heard of it for 3.0 s", "was_done": false,
                    "last_beat": {"due": 17, "finished": 12, "failed": 1, "cancelled": 2},
                }],
            }),
        );
        let merged = report(run.path(), &[]).code(6);
        let summary = read(&run.path().join(SUMMARY));
        let missing = &summary["shards"]["missing"][0];
        let reason = summary["incomplete_reason"].as_str().unwrap();
        if known {
            assert_eq!(
                reason,
                "shard 2 of 4 (gpu-12) was lost at 1.5 s: nothing was heard of it for 3.0 s"
            );
            assert_eq!(missing["host"], "gpu-12");
            let at = missing["lost_sec"].as_f64().unwrap();
            assert!((at - 1.5).abs() < 0.01, "{at}");
            assert_eq!(missing["last_beat"]["due"], 17);
            let words = merged
                .stdout
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            let expected = "The leader lost it at 1.5 s: nothing was heard of it for 3.0 s; its last \
                            sign of life counted 17 requests begun, 12 answered, 1 failed and 2 \
                            cancelled.";
            assert!(words.contains(expected), "{words}");
        } else {
            assert!(missing["lost_how"].is_null(), "{missing}");
            let notes = summary["shards"]["notes"].to_string();
            assert!(notes.contains("is of another run, and left out"), "{notes}");
        }
    }
}

#[test]
fn what_is_each_shards_own_is_told_of_each() {
    let one = one_run("");
    let off = |monotonic_s, wall_s| Off {
        monotonic_s: Some(monotonic_s),
        wall_s,
    };
    let run = split(&one, [off(0, 0), off(5, 0), off(9, -180), Off::default()]);
    for (index, driver) in [(1, "epoll"), (3, "epoll")] {
        tell(run.path(), index, |told| {
            told["io_driver"] = json!(driver);
            told["node"] = json!("gpu-12");
            told["throttled_us"] = json!(1_500);
        });
    }
    let path = shard(run.path(), 2).join(SUMMARY);
    let mut summary = read(&path);
    summary["client_health"]["client_was_bottleneck"] = json!(true);
    summary["client_health"]["reasons"] = json!(["turn p99 9.00 ms is above 2 ms"]);
    summary["client_health"]["send_lateness"] = json!({"unit": "us", "count": 20, "p50": 1.0, "p90": 2.0, "p99": 123456.0, "max": 130000.0});
    write(&path, &summary);
    let merged = report(run.path(), &[]).code(0);
    let summary = read(&run.path().join(SUMMARY));
    let health = &summary["client_health"];
    assert_eq!(health["client_was_bottleneck"], true);
    let reasons = health["reasons"].as_array().unwrap();
    let named = json!("shard 2 (host-2): turn p99 9.00 ms is above 2 ms");
    assert!(reasons.contains(&named), "{reasons:?}");
    assert_eq!(health["send_lateness"]["p99"], 123_456.0);
    assert_eq!(health["concurrency"]["asked"], 8);
    let shards = &summary["shards"];
    assert_eq!(shards["clock"], "mixed");
    assert_eq!(shards["clock_bound_us"], 5.002);
    assert_eq!(shards["table"][3]["throttled_us"], 1_500);
    assert!(shards["tail_s"].as_f64().unwrap() >= 0.0);
    for note in [
        "No exchange with the leader is known of shard 3",
        "The wall clock of shard 2 (host-2) is +180.0 s from the leader's",
        "shards 1 and 3 ran on one machine, gpu-12",
        "shards 1 and 3 epoll",
    ] {
        let notes = shards["notes"].as_array().unwrap();
        let mut notes = notes.iter().map(|note| note.as_str().unwrap());
        assert!(notes.any(|told| told.contains(note)), "{note}: {shards}");
        let console = merged.stdout.replace('\n', " ");
        assert!(console.contains(note), "{note}: {}", merged.stdout);
    }
}

#[test]
fn plots_and_comparisons_take_the_folder_as_a_run() {
    let one = one_run("");
    let run = split_evenly(&one);
    let folder = run.path().to_str().unwrap();
    let single = one.folder().join("out");
    let compared = call(["compare", single.to_str().unwrap(), folder])
        .run()
        .code(0);
    assert!(
        compared.stderr.contains("are made of 4 shards"),
        "{}",
        compared.stderr
    );
    assert!(
        compared.stdout.contains("Time to First Token"),
        "{}",
        compared.stdout
    );
    // They are made once.
    let again = call(["compare", folder, single.to_str().unwrap()])
        .run()
        .code(0);
    assert!(!again.stderr.contains("shards"), "{}", again.stderr);
    // A shard that is lost afterwards, or comes home, is noticed.
    tell(run.path(), 1, |told| {
        told["complete"] = json!(false);
        told["incomplete_reason"] = json!("</script> it was lost");
    });
    let plotted = call(["plot", folder, "--html"]).run().code(0);
    assert!(
        plotted
            .stderr
            .contains("the run is incomplete: shard 1 of 4"),
        "{}",
        plotted.stderr
    );
    let page = fs::read_to_string(run.path().join("plots/report.html")).unwrap();
    assert!(page.contains("it was lost") && page.contains("\"start_skew_ms\""));
    assert!(!page.contains("</script> it was lost"));
    // The shards' own folders are runs of their own.
    let alone = shard(run.path(), 0);
    let before = fs::read(alone.join(SUMMARY)).unwrap();
    call(["plot", alone.to_str().unwrap()]).run().code(0);
    assert_eq!(fs::read(alone.join(SUMMARY)).unwrap(), before);
    assert!(!alone.join("report").exists());
}
