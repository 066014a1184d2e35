//! Several processes that make one run from a common instant on: joined, stopped, lost, and home
//! again.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use pinfire_base::clock::{Span, Stamp};
use pinfire_cluster::{
    Shard,
    greeting::{Greeting, PROTOCOL, Token},
    message::{Answers, Beat, Common, Done, Tally},
    shard::{Event, Output, Rules},
};
use pinfire_tests::{
    binary::{Call, Ended, Running, call, profile},
    mock::{Mock, script},
    watchdog::watch,
};
use pinfire_tools::mock::{Fault, FaultRule, Script, When};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// Where the processes of a run have their files, and how they find each other.
pub enum Meeting<'a> {
    /// One folder, in which the leader says where it is, as under MPI.
    Folder(&'a Path),
    /// A folder each, and the leader by its address.
    Apart(u16),
}

/// Shard `index` of four.
fn shard(meeting: &Meeting<'_>, url: &str, index: u32, flags: &str) -> Call {
    let mut call = call(["profile", "--model", "mock", "--tokenizer", "builtin"]);
    call.more([
        "--streaming",
        "--no-server-metrics",
        "--isl",
        "20",
        "--url",
        url,
    ]);
    call.more(["--ui", "none"]);
    call.more(flags.split_whitespace());
    if !flags.contains("--shard-timeout") {
        call.more(["--shard-timeout", "60"]);
    }
    match meeting {
        Meeting::Folder(folder) => {
            call.env("OMPI_COMM_WORLD_RANK", &index.to_string());
            call.env("OMPI_COMM_WORLD_SIZE", "4");
            let folder = folder.to_str().unwrap();
            call.more(["--shards", "auto", "--artifact-dir", folder]);
        }
        Meeting::Apart(port) => {
            call.more(["--artifact-dir", "out", "--shard", &format!("{index}/4")]);
            call.more(["--join", &format!("127.0.0.1:{port}")]);
        }
    }
    call
}

pub fn four(meeting: &Meeting<'_>, url: &str, flags: &str) -> Vec<Running> {
    let calls = (0..4).map(|index| shard(meeting, url, index, flags));
    calls.map(Call::start).collect()
}

pub fn ends(all: Vec<Running>) -> Vec<Ended> {
    all.into_iter().map(Running::wait).collect()
}

/// A port that nobody has.
pub fn port() -> u16 {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    taken.local_addr().unwrap().port()
}

/// Waits until every shard has written a line for a request.
fn all_have_sent(run: &Path) {
    let _guard = watch("not all shards send");
    let sent = |index: u32| {
        let path = run.join(format!("shard-{index:04}/profile_export.jsonl"));
        path.metadata().is_ok_and(|file| file.len() > 0)
    };
    while !(0..4).all(sent) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Number and fate of each request in some shards' files.
pub fn sent(run: &Path, shards: impl Iterator<Item = u32>) -> Vec<(u64, bool)> {
    let mut all = Vec::new();
    for index in shards {
        let path = run.join(format!("shard-{index:04}/profile_export.jsonl"));
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let of = &serde_json::from_str::<Value>(line).unwrap()["metadata"];
            let number = of["session_num"].as_u64().unwrap();
            all.push((number, of["was_cancelled"].as_bool().unwrap()));
        }
    }
    all
}

const COUNTED: &str = "--concurrency 8 --request-count 60 --request-cancellation-rate 40 \
                       --request-cancellation-delay 0";
const ENDLESS: &str = "--concurrency 8 --benchmark-duration 300";

/// Whoever is to be cancelled is cancelled.
fn slow() -> Script {
    Script {
        ttft: Span::from_millis(500),
        ..script()
    }
}

/// What one process sends with the seed that the leader has drawn.
fn of_one(url: &str, seed: &str) -> BTreeSet<(u64, bool)> {
    let one = profile(url, &format!("{COUNTED} --random-seed {seed}"));
    let lines = one.run().code(0).lines();
    let of = lines.iter().map(|line| &line["metadata"]);
    of.map(|of| {
        (
            of["session_num"].as_u64().unwrap(),
            of["was_cancelled"].as_bool().unwrap(),
        )
    })
    .collect()
}

#[test]
fn four_processes_begin_at_one_instant_and_send_what_one_does() {
    let mock = Mock::start(slow());
    let url = format!("http://{}", mock.address());
    let folder = TempDir::new().unwrap();
    let run = folder.path();
    for ended in ends(four(&Meeting::Folder(run), &url, COUNTED)) {
        ended.code(0);
    }
    let (_, log) = mock.stop();
    let ids: BTreeSet<&String> = log.iter().map(|one| &one.id).collect();
    assert_eq!((log.len(), ids.len()), (60, 60));
    let shards: Vec<Value> = (0..4)
        .map(|index| json(&run.join(format!("shard-{index:04}/shard.json"))))
        .collect();
    // One zero, one frame of wall times, one run.
    let zeros: Vec<i64> = shards.iter().map(zero_at_the_leader).collect();
    let bounds: Vec<i64> = shards.iter().map(bound).collect();
    for (zero, bound) in zeros.iter().zip(&bounds) {
        let most = bound + bounds[0];
        assert!((zero - zeros[0]).abs() <= most, "{zeros:?} {bounds:?}");
    }
    for shard in &shards {
        assert_eq!(shard["run_id"], shards[0]["run_id"]);
        assert_eq!(shard["digests"], shards[0]["digests"]);
        assert_eq!(shard["leader_anchor"], shards[0]["leader_anchor"]);
        assert_eq!(shard["complete"], true);
        assert!(shard["start_late_us"].is_number(), "{shard}");
    }
    let all = sent(run, 0..4);
    let set: BTreeSet<(u64, bool)> = all.iter().copied().collect();
    assert_eq!((all.len(), set.len()), (60, 60));
    let asked = std::fs::read_to_string(run.join("shard-0001/resolved_config.yaml")).unwrap();
    let seed = asked
        .lines()
        .find_map(|line| line.strip_prefix("random-seed: "));
    let mock = Mock::start(slow());
    let url = format!("http://{}", mock.address());
    assert_eq!(set, of_one(&url, seed.expect("a seed")));
    assert!(!run.join(".pinfire_leader").exists());
}

/// A shard's zero by the clock that was nearest to it.
fn zero_at_the_leader(shard: &Value) -> i64 {
    let zero = shard["zero"].as_i64().unwrap();
    zero + nearest(shard)["offset_ns"].as_i64().unwrap()
}

/// How far the estimates at the start and the nearest one can be from each other, with a drift that
/// clocks of one machine do not have.
fn bound(shard: &Value) -> i64 {
    let zero = shard["zero"].as_i64().unwrap();
    let near = nearest(shard);
    let away = (near["t"].as_i64().unwrap() - zero).abs();
    2 * near["bound_ns"].as_i64().unwrap() + away / 500 + 1_000_000
}

fn nearest(shard: &Value) -> &Value {
    let zero = shard["zero"].as_i64().unwrap();
    let clock = shard["clock"].as_array().unwrap();
    let away = |one: &&Value| (one["t"].as_i64().unwrap() - zero).abs();
    clock.iter().min_by_key(away).expect("a look at the clock")
}

#[test]
fn an_interrupt_at_one_stops_all() {
    let mock = Mock::start(script());
    let url = format!("http://{}", mock.address());
    let folder = TempDir::new().unwrap();
    let all = four(&Meeting::Folder(folder.path()), &url, ENDLESS);
    all_have_sent(folder.path());
    all[2].signal(Signal::INT);
    for (index, ended) in ends(all).into_iter().enumerate() {
        let ended = ended.code(0);
        let why = "cancelled by the user (Ctrl-C)";
        let folder = folder.path().join(format!("shard-{index:04}"));
        let summary = json(&folder.join("profile_export_aiperf.json")).to_string();
        assert!(summary.contains(why), "{index}: {}", ended.stderr);
    }
    counted_at_the_server(mock, folder.path(), 0..4);
}

/// Everything that has reached the server is counted in the files of those who were not killed, and
/// has a line of its own unless it was dropped at the end.
fn counted_at_the_server(mock: Mock, run: &Path, shards: std::ops::Range<u32>) {
    let whole = shards == (0..4);
    let count = |key: &str| -> usize {
        let of = |index| json(&run.join(format!("shard-{index:04}/shard.json")));
        let counts = shards
            .clone()
            .map(|index| of(index)["counts"][key].as_u64().unwrap());
        counts.sum::<u64>() as usize
    };
    let (due, dropped) = (count("due"), count("dropped"));
    let numbers: Vec<u64> = sent(run, shards)
        .iter()
        .map(|(number, _)| *number)
        .collect();
    let set: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(set.len(), numbers.len(), "nothing is sent twice");
    assert_eq!(due, numbers.len() + dropped);
    let (_, log) = mock.stop();
    assert!(!whole || due >= log.len(), "{due} {}", log.len());
}

#[test]
fn a_shard_that_is_killed_is_named_and_the_others_stop() {
    let mock = Mock::start(script());
    let url = format!("http://{}", mock.address());
    let folder = TempDir::new().unwrap();
    let all = four(&Meeting::Folder(folder.path()), &url, ENDLESS);
    all_have_sent(folder.path());
    all[3].signal(Signal::KILL);
    let mut ended = ends(all).into_iter();
    let leader = ended.next().unwrap().code(6);
    let said = leader.stderr.lines().last().unwrap();
    assert_eq!(
        said,
        "error: the run is incomplete: shard 3 of 4 is missing"
    );
    assert!(
        leader.stderr.contains("shard 3 of 4 ("),
        "{}",
        leader.stderr
    );
    for other in ended.take(2) {
        let other = other.code(0);
        let summary = other.stdout + &other.stderr;
        assert!(summary.contains("shard 3 of 4"), "{summary}");
    }
    let told = json(&folder.path().join("leader.json"));
    assert_eq!(told["lost"].as_array().unwrap().len(), 1, "{told}");
    let merged = json(&folder.path().join("profile_export_aiperf.json"));
    let missing = merged["shards"]["missing"].as_array().unwrap();
    let lost = missing.iter().find(|shard| shard["index"] == 3).unwrap();
    assert_eq!(lost["lost_how"], told["lost"][0]["how"], "{lost}");
    assert!(lost["lost_sec"].is_number(), "{lost}");
    assert!(lost["last_beat"]["due"].as_u64().unwrap() > 0, "{lost}");
    counted_at_the_server(mock, folder.path(), 0..3);
}

#[test]
fn shards_stop_when_their_leader_is_killed() {
    let mock = Mock::start(script());
    let url = format!("http://{}", mock.address());
    let folder = TempDir::new().unwrap();
    let all = four(&Meeting::Folder(folder.path()), &url, ENDLESS);
    all_have_sent(folder.path());
    all[0].signal(Signal::KILL);
    for ended in ends(all).into_iter().skip(1) {
        let ended = ended.code(7);
        assert!(
            ended.stderr.contains("the leader was lost"),
            "{}",
            ended.stderr
        );
    }
    counted_at_the_server(mock, folder.path(), 1..4);
}

#[test]
fn a_shard_that_hangs_is_lost_and_stops_when_it_goes_on() {
    let mock = Mock::start(script());
    let url = format!("http://{}", mock.address());
    let folder = TempDir::new().unwrap();
    let flags = format!("{ENDLESS} --shard-timeout 4");
    let mut all = four(&Meeting::Folder(folder.path()), &url, &flags);
    all_have_sent(folder.path());
    all[1].signal(Signal::STOP);
    let hanging = all.remove(1);
    let mut ended = ends(all).into_iter();
    let leader = ended.next().unwrap().code(6);
    let how = "nothing was heard of it for 4.0 s";
    assert!(leader.stderr.contains(how), "{}", leader.stderr);
    for other in ended {
        other.code(0);
    }
    hanging.signal(Signal::CONT);
    hanging.wait().code(7);
    counted_at_the_server(mock, folder.path(), 0..4);
}

#[test]
fn files_come_home_where_no_folder_is_shared() {
    let mock = Mock::start(script());
    let url = format!("http://{}", mock.address());
    let all = ends(four(&Meeting::Apart(port()), &url, COUNTED));
    let all: Vec<Ended> = all.into_iter().map(|ended| ended.code(0)).collect();
    for (index, ended) in all.iter().enumerate().skip(1) {
        for name in [
            "profile_export.jsonl",
            "shard.json",
            "profile_export_aiperf.json",
        ] {
            let name = format!("shard-{index:04}/{name}");
            assert!(all[0].file(&name) == ended.file(&name), "{name}");
        }
    }
    assert_eq!(sent(&all[0].folder().join("out"), 0..4).len(), 60);
    // And the leader has put them together.
    let whole = all[0].json();
    let count = |metric: &str| whole[metric]["avg"].as_f64().unwrap();
    assert_eq!(
        count("request_count") + count("cancelled_request_count"),
        60.0
    );
    assert_eq!(whole["shards"]["clock"], "rendezvous");
}

#[test]
fn strangers_at_the_leaders_port_cost_a_line_each() {
    let mock = Mock::start(script());
    let url = format!("http://{}", mock.address());
    let (port, flags) = (port(), "--concurrency 8 --request-count 20");
    let meeting = Meeting::Apart(port);
    let leader = shard(&meeting, &url, 0, flags).start();
    let mut stranger = connected(port);
    let _ = stranger.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    // It ends when the leader has closed it.
    let _ = stranger.read_to_end(&mut Vec::new());
    let mut other = shard(&meeting, &url, 1, flags);
    other.env("PINFIRE_JOIN_TOKEN", "hV8sQ2");
    let other = other.run().code(1);
    assert!(
        other.stderr.contains("its token is another one"),
        "{}",
        other.stderr
    );
    let other = shard(&meeting, &url, 1, "--concurrency 9 --request-count 20")
        .run()
        .code(1);
    assert!(other.stderr.contains("settings differ"), "{}", other.stderr);
    let leader = leader.wait();
    assert_ne!(leader.status.code(), Some(0));
    let of = |words: &str| {
        leader
            .stderr
            .lines()
            .filter(|line| line.contains(words))
            .count()
    };
    for words in [
        "does not speak pinfire's protocol",
        "its token is another one",
    ] {
        assert_eq!(of(words), 1, "{words}: {}", leader.stderr);
    }
    assert!(
        of("was refused: its settings differ from the others': --concurrency") == 1,
        "{}",
        leader.stderr
    );
}

#[test]
fn a_file_that_differs_at_one_shard_is_named() {
    let mock = Mock::start(script());
    let url = format!("http://{}", mock.address());
    let meeting = Meeting::Apart(port());
    let flags = "--request-rate-series series.json --concurrency 8 --request-count 20";
    let all: Vec<Running> = (0..4)
        .map(|index| {
            let mut call = shard(&meeting, &url, index, flags);
            if index % 2 == 1 {
                // The run may be over before it has come, and then there is no leader to wait for.
                call.more(["--join-timeout", "5"]);
            }
            let rate = if index == 2 { 60 } else { 50 };
            let point = |time| format!("{{\"time_s\": {time}, \"qps\": {rate}}}");
            call.write("series.json", &format!("[{}, {}]", point(0), point(100)));
            call.start()
        })
        .collect();
    let all = ends(all);
    let why = "its input files differ from the others': --request-rate-series";
    assert!(
        all[2]
            .stderr
            .contains(&format!("the leader refuses this shard: {why}")),
        "{}",
        all[2].stderr
    );
    let named = all[0].stderr.lines().filter(|line| line.contains(why));
    assert!(named.count() >= 1, "{}", all[0].stderr);
    assert_eq!(all[0].status.code(), Some(6), "{}", all[0].stderr);
    assert_eq!(mock.stop().1.len(), 0, "nobody has sent anything");
}

#[test]
fn the_whole_is_stopped_when_too_much_of_it_fails() {
    let mock = Mock::start(Script {
        faults: vec![FaultRule {
            fault: Fault::Status(500),
            when: When::Every(1),
        }],
        ..script()
    });
    let url = format!("http://{}", mock.address());
    let folder = TempDir::new().unwrap();
    let flags = format!("{ENDLESS} --failed-request-threshold 0.5 --no-error-backoff");
    let mut all = ends(four(&Meeting::Folder(folder.path()), &url, &flags)).into_iter();
    let leader = all.next().unwrap().code(1);
    let why = "requests of all shards failed, more than --failed-request-threshold allows";
    assert!(leader.stderr.contains(why), "{}", leader.stderr);
    for other in all {
        other.code(0);
    }
}

fn connected(port: u16) -> TcpStream {
    let _guard = watch("the leader does not listen");
    loop {
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
            return stream;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_has_not_joined_is_named() {
    let flags = "--concurrency 8 --request-count 20 --join-timeout 2";
    let mock = Mock::start(script());
    let url = format!("http://{}", mock.address());
    let meeting = Meeting::Apart(port());
    let two = [0, 2].map(|index| shard(&meeting, &url, index, flags).start());
    let [leader, other] = two.map(Running::wait);
    let words = "shards 1, 3 of 4 had not joined";
    assert!(leader.stderr.contains(words), "{}", leader.stderr);
    assert!(other.stderr.contains(words), "{}", other.stderr);
    assert_eq!(leader.status.code(), Some(6));
    assert_eq!(mock.stop().1.len(), 0, "nobody begins without the others");
}

#[test]
fn a_leader_without_load_tells_shards_everything() {
    let mock = Mock::start(script());
    let url = format!("http://{}", mock.address());
    let port = port().to_string();
    let flags = "--api-key hV8sQ2zzT --concurrency 8 --request-count 60 --shards 3 --leader-only";
    let mut leader = profile(&url, &format!("{flags} --join 127.0.0.1:{port}"));
    let messages = TempDir::new().unwrap();
    let message = messages.path().join("termination-log");
    std::fs::write(&message, "").unwrap();
    leader.env("PINFIRE_TERMINATION_LOG", message.to_str().unwrap());
    let leader = leader.start();
    let shards: Vec<Running> = (0..3)
        .map(|index| {
            let mut one = call(["shard", "--join", &format!("127.0.0.1:{port}")]);
            one.env("JOB_COMPLETION_INDEX", &index.to_string());
            one.env("PINFIRE_API_KEY", "hV8sQ2zzT");
            one.more(["--artifact-dir", "out"]);
            one.start()
        })
        .collect();
    for ended in ends(shards) {
        ended.code(0);
    }
    let leader = leader.wait().code(0);
    let all: BTreeSet<(u64, bool)> = sent(&leader.folder().join("out"), 0..3)
        .into_iter()
        .collect();
    assert_eq!((all.len(), mock.stop().1.len()), (60, 60));
    let message = json(&message);
    assert_eq!(message["request_count"]["avg"], 60.0, "{message}");
    assert!(
        message["time_to_first_token"]["p99"].is_number(),
        "{message}"
    );
    let told = leader.file("shard-0002/resolved_config.yaml");
    assert!(!told.contains("hV8sQ2zzT"), "{told}");
}

#[test]
fn shards_without_the_input_files_get_them_from_the_leader() {
    let mock = Mock::start(script());
    let url = format!("http://{}", mock.address());
    let port = port().to_string();
    let mut leader = call(["profile", "--model", "mock", "--tokenizer", "builtin"]);
    leader.more(["--streaming", "--no-server-metrics", "--url", &url]);
    leader.more([
        "--input-file",
        "texts.jsonl",
        "--request-rate-series",
        "rates.json",
    ]);
    leader.more(["--request-count", "60", "--shards", "3", "--leader-only"]);
    leader.more(["--shard-timeout", "60", "--artifact-dir", "out"]);
    leader.more(["--join", &format!("127.0.0.1:{port}")]);
    // More than may be under way at once, however well it is compressed.
    let mut noise = 1_u64;
    let lines = (0..400).map(|line| {
        let words = (0..180).map(|_| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            format!("{:x} ", noise >> 16)
        });
        format!("{{\"text\": \"{line} {}\"}}\n", words.collect::<String>())
    });
    leader.write("texts.jsonl", &lines.collect::<String>());
    let point = |time| format!("{{\"time_s\": {time}, \"qps\": 60}}");
    leader.write("rates.json", &format!("[{}, {}]", point(0), point(100)));
    let leader = leader.start();
    let shards: Vec<Running> = (0..3)
        .map(|index| {
            let mut one = call(["shard", "--join", &format!("127.0.0.1:{port}")]);
            one.env("JOB_COMPLETION_INDEX", &index.to_string());
            one.more(["--artifact-dir", "out"]);
            one.start()
        })
        .collect();
    for ended in ends(shards) {
        let ended = ended.code(0);
        let left = std::fs::read_dir(ended.folder().join("out")).unwrap();
        let names: Vec<String> = left
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(
            !names.iter().any(|name| name.contains("inputs")),
            "{names:?}"
        );
    }
    let leader = leader.wait().code(0);
    let out = leader.folder().join("out");
    let all: BTreeSet<(u64, bool)> = sent(&out, 0..3).into_iter().collect();
    assert_eq!((all.len(), mock.stop().1.len()), (60, 60));
    let files = json(&out.join("shard-0002/shard.json"))["digests"]["files"].clone();
    assert!(files["--input-file"].is_string(), "{files}");
    assert!(files["--request-rate-series"].is_string(), "{files}");
}

/// A shard that speaks the protocol and sends no requests.
struct Fake {
    stream: TcpStream,
    shard: Shard,
    begins: Option<Stamp>,
    left: bool,
}

impl Fake {
    fn connect(port: u16, index: u32, shards: u32) -> Self {
        let stream = connected(port);
        stream.set_nonblocking(true).unwrap();
        let rules = Rules {
            greeting: Greeting {
                protocol: PROTOCOL,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                index,
                shards,
                incarnation: u64::from(index),
                host: format!("node-{index}"),
                nonce: [7; 32],
            },
            token: Token::new(""),
            timeout: Span::from_millis(60_000),
        };
        let shard = Shard::new(rules, Stamp::now());
        Self {
            stream,
            shard,
            begins: None,
            left: false,
        }
    }

    /// Does what is due. A run takes `lasts` from its zero on.
    fn step(&mut self, buffer: &mut [u8], lasts: Span) {
        match self.stream.read(buffer) {
            Ok(0) => self.shard.closed("closed"),
            Ok(count) => self.shard.received(Stamp::now(), &buffer[..count]),
            Err(_) => {}
        }
        let now = Stamp::now();
        if self.begins.is_some_and(|begins| now >= begins + lasts) {
            self.begins = None;
            self.shard.done(Done {
                shared: true,
                ..Done::default()
            });
        }
        self.shard.tick(now);
        while let Some(output) = self.shard.poll() {
            match output {
                // A few bytes always have room.
                Output::Send(bytes) => self.stream.write_all(&bytes).unwrap(),
                Output::Event(Event::Run(run)) => {
                    for (common, items) in run.common {
                        self.shard.has(common, items);
                    }
                    self.shard.has(Common::Tokenizer, Vec::new());
                    self.shard.ready(0, String::new());
                }
                Output::Event(Event::Start { zero, .. }) => {
                    self.begins = Some(zero);
                    let tally = Tally {
                        due: 3,
                        finished: 3,
                        ..Tally::ZERO
                    };
                    self.shard.set_beat(Beat {
                        step: Some(0),
                        tally,
                        answers: Answers::NONE,
                        clock: None,
                    });
                }
                Output::Event(Event::Bye) => self.left = true,
                Output::Event(event) => panic!("{event:?}"),
            }
        }
    }
}

/// So many shards, of which none is a process: 60, or PINFIRE_CROWD; for 1 s, or
/// PINFIRE_CROWD_SECONDS. The CPU time of the leader is printed.
#[test]
fn a_leader_holds_a_crowd() {
    let asked = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u32>().ok())
    };
    let count = asked("PINFIRE_CROWD").unwrap_or(60);
    let lasts = Span::from_millis(1_000 * u64::from(asked("PINFIRE_CROWD_SECONDS").unwrap_or(1)));
    let port = port();
    let slots = count * 2;
    let flags = format!(
        "--concurrency {slots} --request-count {slots} --shard-timeout 60 --shards {count} \
         --leader-only --join 127.0.0.1:{port}"
    );
    let leader = profile("http://127.0.0.1:9", &flags);
    let leader = leader.start();
    let mut fakes: Vec<Fake> = (0..count)
        .map(|index| Fake::connect(port, index, count))
        .collect();
    let _guard = watch("the crowd does not leave");
    let mut buffer = vec![0; 64 * 1024];
    let begun = Stamp::now();
    let mut used = 0.0;
    while !fakes.iter().all(|fake| fake.left) {
        for fake in fakes.iter_mut().filter(|fake| !fake.left) {
            fake.step(&mut buffer, lasts);
        }
        if fakes.iter().all(|fake| fake.begins.is_some()) {
            used = leader.cpu_seconds();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let took = Stamp::now().since(begun).as_secs_f64();
    println!("{count} shards: {used:.2} s of CPU in about {took:.1} s");
    let leader = leader.wait().code(0);
    assert!(!leader.stderr.contains("warning"), "{}", leader.stderr);
}
