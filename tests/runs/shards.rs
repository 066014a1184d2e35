//! One run that several processes make: together they send what one would.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{Call, Ended, call, profile},
    mock::{Mock, script},
};
use pinfire_tools::mock::Script;
use serde_json::{Value, json};

/// How requests are paced, and what is asked besides.
const PACES: &[&str] = &[
    "--concurrency 9 --request-count 50 --request-cancellation-rate 30 --request-cancellation-delay 0.2",
    "--concurrency 9 --request-count 50 --concurrency-ramp-duration 5 --prefill-concurrency 8 \
     --warmup-request-count 13",
    "--request-rate 40 --arrival-pattern constant --request-count 50",
    "--request-rate 40 --benchmark-duration 1 --warmup-duration 0.5 --concurrency 9",
    "--request-rate 40 --arrival-smoothness 2 --request-rate-ramp-duration 1 --request-count 50 \
     --dataset-sampling-strategy shuffle --num-dataset-entries 7",
    "--request-rate-series series.json --benchmark-duration 2 --request-cancellation-rate 20",
    "--fixed-schedule --input-file trace.jsonl --custom-dataset-type mooncake_trace",
    "--fixed-schedule --input-file turns.jsonl --custom-dataset-type multi_turn --warmup-request-count 9 \
     --warmup-concurrency 8",
    "--user-centric-rate 10 --num-users 9 --session-turns-mean 3 --session-turns-stddev 1 \
     --request-count 60",
    "--concurrency 9 --session-turns-mean 3 --session-turns-stddev 1 --session-turn-delay-mean 50 \
     --num-conversations 20 --request-cancellation-rate 20 --warmup-request-count 11",
    "--request-rate 20 --session-turns-mean 3 --session-turns-stddev 1 --session-turn-delay-mean 200 \
     --request-count 50",
];

fn dry_run(flags: &str, urls: usize) -> Call {
    let mut run = call([
        "profile",
        "--model",
        "m",
        "--tokenizer",
        "builtin",
        "--streaming",
        "--dry-run",
    ]);
    let urls = (1..=urls).map(|port| format!("http://127.0.0.1:{port}"));
    run.more(["--url", &urls.collect::<Vec<_>>().join(",")]);
    run.more(flags.split_whitespace());
    write_inputs(&run);
    run
}

fn dry(flags: &str, urls: usize, shard: Option<String>) -> Vec<String> {
    let mut run = dry_run(flags, urls);
    run.more(["--random-seed", "5"]);
    run.more(shard.iter().flat_map(|shard| ["--shard", shard]));
    let run = run.run().code(0);
    run.stdout.lines().map(str::to_owned).collect()
}

fn write_inputs(run: &Call) {
    run.write(
        "series.json",
        r#"[{"time_s": 0, "qps": 10}, {"time_s": 2, "qps": 40}]"#,
    );
    let line = |n: u64| {
        let line = json!({
            "timestamp": n * 37 % 900, "input_length": 30, "output_length": 4, "hash_ids": [n % 5],
        });
        format!("{line}\n")
    };
    run.write("trace.jsonl", &(0..50).map(line).collect::<String>());
    let session = |n: u64| {
        let mut turns = vec![json!({"text": "hello", "timestamp": n * 20})];
        turns.extend((!n.is_multiple_of(3)).then(|| json!({"text": "more", "delay": 30})));
        format!(
            "{}\n",
            json!({"session_id": format!("s{n}"), "turns": turns})
        )
    };
    run.write("turns.jsonl", &(0..20).map(session).collect::<String>());
}

/// Every pace over 1, 2, 3 and 8 shards, and over 1, 2 and 3 servers; not each with each, unless
/// PINFIRE_FULL_TABLE is set.
#[test]
fn dry_runs_of_all_shards_are_the_dry_run_of_one() {
    let full = std::env::var_os("PINFIRE_FULL_TABLE").is_some();
    let mut cells = Vec::new();
    for (place, &pace) in PACES.iter().enumerate() {
        for urls in 1..=3 {
            let counts = [1, 2, 3, 8].into_iter().enumerate();
            let counts = counts.filter(|(nth, _)| full || (place + nth) % 3 + 1 == urls);
            let counts: Vec<usize> = counts.map(|(_, count)| count).collect();
            cells.push((pace, urls, counts));
        }
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((pace, urls, counts)) =
                    cells.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    is_the_same(pace, *urls, counts);
                }
            });
        }
    });
}

fn is_the_same(pace: &str, urls: usize, counts: &[usize]) {
    let mut whole = dry(pace, urls, None);
    assert!(whole.len() >= 15, "{pace}: {}", whole.len());
    whole.sort_unstable();
    for &count in counts {
        let of = |index| dry(pace, urls, Some(format!("{index}/{count}")));
        let mut all: Vec<String> = (0..count).flat_map(of).collect();
        all.sort_unstable();
        assert!(
            all == whole,
            "{pace}: {count} shards, {urls} URLs:\n{all:#?}\n{whole:#?}"
        );
    }
}

/// A run of its own folder, against a server whose answers take a second: whoever is to be
/// cancelled is cancelled.
fn send(url: &str, share: &str) -> Ended {
    let flags = "--concurrency 24 --request-count 60 --random-seed 3 --request-cancellation-rate 40 \
                 --request-cancellation-delay 0";
    profile(url, &format!("{flags} {share}")).run()
}

/// What was sent: number, conversation, and whether it was cancelled; and the bodies.
fn sent(run: &Ended, folder: &str) -> (BTreeSet<(u64, String, bool)>, Vec<Value>) {
    let text = run.file(&format!("{folder}profile_export.jsonl"));
    let read = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let of = &line["metadata"];
        (
            of["session_num"].as_u64().unwrap(),
            of["conversation_id"].as_str().unwrap().to_owned(),
            of["was_cancelled"].as_bool().unwrap(),
        )
    };
    let inputs: Value = serde_json::from_str(&run.file(&format!("{folder}inputs.json"))).unwrap();
    let bodies = inputs["data"].as_array().unwrap().clone();
    (text.lines().map(read).collect(), bodies)
}

#[test]
fn four_processes_send_and_cancel_what_one_does() {
    let slow = || Script {
        ttft: Span::from_millis(1_000),
        ..script()
    };
    let mock = Mock::start(slow());
    let url = format!("http://{}", mock.address());
    let (whole, mut bodies) = sent(&send(&url, "").code(0), "");
    let (_, log) = mock.stop();
    assert_eq!((whole.len(), bodies.len(), log.len()), (60, 60, 60));
    let mock = Mock::start(slow());
    let url = format!("http://{}", mock.address());
    let runs: Vec<Ended> = std::thread::scope(|scope| {
        let send = |index| send(&url, &format!("--shard {index}/4"));
        let threads: Vec<_> = (0..4)
            .map(|index| scope.spawn(move || send(index)))
            .collect();
        threads.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let (_, shared_log) = mock.stop();
    let (mut all, mut all_bodies) = (BTreeSet::new(), Vec::new());
    for (index, run) in runs.into_iter().enumerate() {
        let run = run.code(0);
        let folder = format!("shard-{index:04}/");
        let (requests, bodies) = sent(&run, &folder);
        assert_eq!((requests.len(), bodies.len()), (15, 15), "its own only");
        assert!(
            requests
                .iter()
                .all(|(number, ..)| *number as usize % 4 == index)
        );
        all.extend(requests);
        all_bodies.extend(bodies);
        says_what_it_is(&run, index as u64);
    }
    assert_eq!(all, whole);
    let by_id = |one: &Value| one["session_id"].as_str().unwrap().to_owned();
    bodies.sort_by_key(by_id);
    all_bodies.sort_by_key(by_id);
    assert!(all_bodies == bodies);
    let seen = |log: &[pinfire_tests::mock::Truth]| {
        let mut seen: Vec<(u64, bool)> = log.iter().map(|one| (one.body, one.closed > 0)).collect();
        seen.sort_unstable();
        seen
    };
    assert_eq!(seen(&shared_log), seen(&log), "by the server's own log");
    let ids: BTreeSet<&String> = shared_log.iter().map(|one| &one.id).collect();
    assert_eq!(ids.len(), 60, "every request has an id of its own");
}

/// Its `shard.json` and its summary say that it is a share.
fn says_what_it_is(run: &Ended, index: u64) {
    let folder = format!("shard-{index:04}");
    let shard: Value = serde_json::from_str(&run.file(&format!("{folder}/shard.json"))).unwrap();
    for (key, expected) in [
        ("index", json!(index)),
        ("shards", json!(4)),
        ("block", json!(1)),
        (
            "segment",
            json!({"first": index, "step": 4, "block": 1, "end": 60}),
        ),
        ("last_number", json!(56 + index)),
        ("complete", json!(true)),
    ] {
        assert_eq!(shard[key], expected, "{key} in {shard}");
    }
    assert_eq!(shard["counts"]["due"], 15, "{shard}");
    assert_eq!(shard["incomplete_reason"], Value::Null);
    assert!(
        shard["zero"].as_u64() > shard["anchor"]["monotonic_ns"].as_u64(),
        "{shard}"
    );
    let text = run.file(&format!("{folder}/profile_export_aiperf.json"));
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        summary["client_health"]["concurrency"]["asked"], 6,
        "its share of 24"
    );
    assert!(run.stdout.contains("4 shards"), "{}", run.stdout);
}

/// A shard whose numbers are all beyond the last request has done what was its own.
#[test]
fn a_shard_without_a_request_says_so_and_is_complete() {
    let flags = "--request-rate 50 --request-count 2 --random-seed 3 --shard 3/4 --osl 2";
    let run = profile("mock:", flags).run().code(0);
    assert!(run.stderr.contains("nothing to send"), "{}", run.stderr);
    let shard: Value = serde_json::from_str(&run.file("shard-0003/shard.json")).unwrap();
    assert_eq!(
        (&shard["complete"], &shard["counts"]["due"]),
        (&json!(true), &json!(0))
    );
}

/// Where there is less than a shard for each, and what several processes cannot do.
#[test]
fn what_cannot_be_shared_is_refused_in_one_line() {
    const SEED: &str = "--random-seed 1";
    for (flags, variables, words) in [
        ("--concurrency 8 --shard 0/4", &[][..], "--random-seed"),
        ("--concurrency 8 --shard 4/4 --random-seed 1", &[], "3/4"),
        (
            "--concurrency 3 --shard 0/4 --random-seed 1",
            &[],
            "raise --concurrency to at least 4",
        ),
        ("--shard 0/4 --random-seed 1", &[], "--concurrency 1"),
        (
            "--request-rate 5 --prefill-concurrency 2 --shard 0/4 --random-seed 1",
            &[],
            "--prefill-concurrency 2",
        ),
        (
            "--user-centric-rate 5 --num-users 3 --session-turns-mean 2 --request-count 20 --shard 0/4 \
             --random-seed 1",
            &[],
            "--num-users 3",
        ),
        (
            "--fixed-schedule --input-file turns.jsonl --custom-dataset-type multi_turn --shard 0/21 \
             --random-seed 1",
            &[],
            "20 sessions",
        ),
        (
            "--concurrency 8,9 --shard 0/4 --random-seed 1",
            &[],
            "--shard",
        ),
        (
            "--concurrency 8 --num-profile-runs 2 --shard 0/4 --random-seed 1",
            &[],
            "--shard",
        ),
        (
            "--concurrency 8 --request-cancellation-rate 5 --verify-release --server-metrics http://h:1/m \
             --shard 0/4 --random-seed 1",
            &[],
            "--verify-release",
        ),
        (
            "--concurrency 8 --shard 0/4 --shards 5 --random-seed 1",
            &[],
            "--shards 5",
        ),
        (
            "--concurrency 8 --shards 4 --random-seed 1",
            &[],
            "JOB_COMPLETION_INDEX",
        ),
        (
            "--concurrency 8 --shards auto --random-seed 1",
            &[("JOB_COMPLETION_INDEX", "1")],
            "give --shards N",
        ),
        (
            "--concurrency 8 --shards 4 --random-seed 1",
            &[("JOB_COMPLETION_INDEX", "4")],
            "JOB_COMPLETION_INDEX is 4",
        ),
    ] {
        assert!(flags.contains(SEED) || words == "--random-seed");
        let mut run = dry_run(flags, 1);
        for (name, value) in variables {
            run.env(name, value);
        }
        let sweeps = flags.contains("8,9") || flags.contains("runs 2");
        let run = run.run().code(1);
        assert_eq!(run.stderr.lines().count(), 1, "{flags}: {}", run.stderr);
        assert!(
            sweeps || run.stderr.contains(words),
            "{flags}: {}",
            run.stderr
        );
        assert!(run.stdout.is_empty(), "{flags}: {}", run.stdout);
    }
}

/// The platform's variables stand for the flag.
#[test]
fn the_platform_says_which_shard_it_is() {
    let flags = "--concurrency 8 --request-count 30 --random-seed 1";
    let by_flag = dry_run(&format!("{flags} --shard 1/4"), 1).run().code(0);
    assert!(by_flag.stdout.lines().count() > 6);
    for (shards, variables) in [
        ("4", &[("JOB_COMPLETION_INDEX", "1")][..]),
        ("auto", &[("SLURM_PROCID", "1"), ("SLURM_NTASKS", "4")]),
        (
            "auto",
            &[
                ("OMPI_COMM_WORLD_RANK", "1"),
                ("OMPI_COMM_WORLD_SIZE", "4"),
                ("SLURM_PROCID", "0"),
                ("SLURM_NTASKS", "2"),
            ],
        ),
    ] {
        let mut run = dry_run(&format!("{flags} --shards {shards}"), 1);
        for (name, value) in variables {
            run.env(name, value);
        }
        assert_eq!(run.run().code(0).stdout, by_flag.stdout, "{variables:?}");
    }
}

#[test]
fn a_run_keeps_nothing_of_an_earlier_one_with_more_shards() {
    let folder = tempfile::TempDir::new().unwrap();
    let whole = folder.path().join("run");
    let put = |name: &str| {
        let path = whole.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "{}").unwrap();
        path
    };
    let merged = put("profile_export_aiperf.json");
    let old = put("shard-0002/shard.json");
    let notes = put("notes.txt");
    let others = put("shard-0003/of-a-user.txt");
    for index in [1, 0] {
        let shard = format!(
            "--request-count 4 --concurrency 2 --osl 2 --random-seed 1 --shard {index}/2 \
             --artifact-dir {}",
            whole.display()
        );
        let mut run = call("profile --model mock --tokenizer builtin --url mock:".split(' '));
        run.more(shard.split_whitespace());
        run.run().code(0);
        assert_eq!(merged.exists(), index == 1, "shard 0 clears the whole");
    }
    assert!(!old.exists() && !old.parent().unwrap().exists());
    assert!(notes.exists() && others.exists());
    assert!(whole.join("shard-0001/shard.json").exists());
}
