//! A cancel-test whose waves four processes send together.

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{Call, Ended, Running, call},
    mock::{Mock, script},
};
use pinfire_tools::mock::{Release, Script};
use serde_json::Value;

use crate::rendezvous::{ends, port};

fn server(release: Release) -> Script {
    Script {
        // A wave is left half-way to it, also where the machine is busy.
        ttft: Span::from_millis(600),
        itl: Span::from_millis(20),
        tokens: 60,
        release,
        ..script()
    }
}

fn shard(url: &str, port: u16, index: u32, flags: &str) -> Call {
    let mut call = call([
        "cancel-test",
        "--model=mock",
        "--tokenizer=builtin",
        "--isl=40",
    ]);
    call.more([
        "--osl=60",
        "--concurrency=20",
        "--output=cancel_test.json",
        "--url",
        url,
    ]);
    call.more(["--shard", &format!("{index}/4"), "--shard-timeout", "60"]);
    call.more(["--join", &format!("127.0.0.1:{port}")]);
    call.more(flags.split_whitespace());
    call
}

/// The end of each of four shards.
fn four(url: &str, flags: &str) -> Vec<Ended> {
    let port = port();
    let calls = (0..4).map(|index| shard(url, port, index, flags));
    let all: Vec<Running> = calls.map(Call::start).collect();
    ends(all)
}

#[test]
fn waves_of_all_shards_are_one_test() {
    let judged = |release, code, verdict| {
        let mock = Mock::start(server(release));
        let url = format!("http://{}", mock.address());
        let all = four(&url, "--waves 2 --settle 4");
        let told: Vec<String> = all
            .iter()
            .map(|one| format!("{}{}", one.stdout, one.stderr))
            .collect();
        let told = told.join("\n");
        let mut all = all.into_iter();
        let leader = all.next().unwrap();
        assert_eq!(leader.status.code(), Some(code), "{told}");
        for other in all {
            assert_eq!(other.status.code(), Some(0), "{told}");
            assert!(!other.folder().join("cancel_test.json").exists());
        }
        let text = std::fs::read_to_string(leader.folder().join("cancel_test.json")).unwrap();
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["verdict"], verdict, "{told}");
        // Half of 20 in each wave, as in one process: a shard alone has 5 slots.
        for at in 0..2 {
            assert_eq!(report["waves"][at]["cancels"], 10, "{told}");
        }
        let (_, log) = mock.stop();
        let left: Vec<u64> = log
            .iter()
            .map(|one| one.closed)
            .filter(|&at| at > 0)
            .collect();
        assert_eq!(left.len(), 20, "{told}");
        // Four canaries alone, two behind the waves, 30 for the control, 20 and 30 in the waves.
        assert_eq!(log.len(), 4 + 2 + 30 + 20 + 30, "{told}");
        let folder = std::fs::read_dir(leader.folder()).unwrap();
        let names: Vec<_> = folder.map(|entry| entry.unwrap().file_name()).collect();
        assert!(
            names
                .iter()
                .all(|name| !name.to_string_lossy().contains("artifacts")),
            "{names:?}"
        );
    };
    std::thread::scope(|scope| {
        scope.spawn(|| judged(Release::AtOnce, 0, "released"));
        judged(Release::LeakOneIn(10), 4, "leaked");
    });
}

#[test]
fn what_a_test_over_shards_cannot_be_is_refused() {
    for (flags, words) in [
        ("--shard 0/4", "need a leader"),
        ("--shard 0/4 --join 127.0.0.1:1 --matrix", "--matrix"),
        (
            "--shard 0/4 --join 127.0.0.1:1 --artifact-dir x",
            "--output",
        ),
        (
            "--shard 0/4 --join 127.0.0.1:1 --on-shard-loss continue",
            "no verdict",
        ),
        (
            "--shards 4 --leader-only --join 127.0.0.1:1",
            "shard 0 leads",
        ),
        ("--shard 0/40 --join 127.0.0.1:1", "--concurrency 20"),
    ] {
        let mut call = call(["cancel-test", "--model=mock", "--tokenizer=builtin"]);
        call.more(flags.split_whitespace());
        let refused = call.run().code(1);
        assert!(
            refused.stderr.contains(words),
            "{flags}: {}",
            refused.stderr
        );
    }
}
