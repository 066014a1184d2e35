//! `pinfire calibrate`: its figures against the server's log that it leaves, and beside a run's.

use std::collections::HashMap;

use pinfire_tests::{
    binary::{Ended, call, profile},
    tls::Identity,
};
use serde_json::Value;

/// Its load is at the limit of a machine on which all tests run at once: what it then says about
/// the client is not judged here.
#[track_caller]
fn calibrated(flags: &str, files: &[(&str, String)]) -> Ended {
    let mut call = call(["calibrate", "--artifact-dir", "out", "--isl", "20"]);
    for (name, text) in files {
        call.write(name, text);
    }
    call.more(flags.split_whitespace());
    let run = call.run();
    let code = run.status.code();
    assert!(
        matches!(code, Some(0 | 3)),
        "{}\n{}",
        run.stdout,
        run.stderr
    );
    let bottleneck = json(&run)["client_was_bottleneck"] == true;
    assert_eq!(code == Some(3), bottleneck);
    run
}

#[track_caller]
fn json(run: &Ended) -> Value {
    serde_json::from_str(&run.file("calibration.json")).unwrap()
}

/// The two values in the middle.
fn median(mut values: Vec<f64>) -> [f64; 2] {
    values.sort_unstable_by(f64::total_cmp);
    let middle = (values.len() - 1) / 2;
    [values[middle], values[middle + 1]]
}

/// Differences between the client's lines and the server's log in µs, computed apart: time to first
/// token, time between tokens, last token.
fn differences(run: &Ended) -> [[f64; 2]; 3] {
    let log = run.file("truth.log");
    let log = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let seen: HashMap<String, Value> = log
        .map(|line: Value| (line["id"].as_str().unwrap().to_owned(), line))
        .collect();
    let mut all = [const { Vec::new() }; 3];
    for line in run.lines() {
        let id = line["metadata"]["x_request_id"].as_str().unwrap();
        let at = |key: &str| seen[id][key].as_u64().unwrap() as i64;
        let ms = |tag: &str| line["metrics"][tag]["value"].as_f64();
        let start = line["metadata"]["request_start_ns"].as_i64().unwrap();
        if let Some(ttft) = ms("time_to_first_token") {
            all[0].push(ttft * 1e3 - (at("w_first") - at("full")) as f64 / 1e3);
        }
        if let Some(itl) = ms("inter_token_latency") {
            let own = (at("w_last") - at("w_first")) as f64 / (at("sent") - 1) as f64;
            all[1].push(itl * 1e3 - own / 1e3);
        }
        if let Some(latency) = ms("request_latency") {
            all[2].push((start - at("w_last")) as f64 / 1e3 + latency * 1e3);
        }
    }
    all.map(median)
}

#[test]
fn its_figures_are_those_of_the_servers_log() {
    let identity = Identity::new();
    let files = [
        ("cert.pem", identity.pem()),
        ("key.pem", identity.key_pem()),
    ];
    for (flags, tls, driver) in [
        ("--concurrency 4 --request-count 60 --osl 8", false, ""),
        (
            "--request-rate 100 --request-count 60 --osl 4 --server-ttft 3 --server-itl 1 \
             --server-event-bytes 2000 --io-driver epoll",
            false,
            "epoll",
        ),
        (
            "--concurrency 8 --request-count 60 --osl 8 --tls-cert cert.pem --tls-key key.pem",
            true,
            "",
        ),
    ] {
        let run = calibrated(&format!("{flags} --steps 0"), &files);
        let json = json(&run);
        let adds = &json["adds"];
        let names = ["ttft", "itl", "last_token"];
        for (name, [low, high]) in names.into_iter().zip(differences(&run)) {
            let told = adds[name]["p50"].as_f64().unwrap();
            assert!(
                (low - 5.0..=high + 5.0).contains(&told),
                "{flags}: {name} {told} {low} {high}"
            );
            assert_eq!(adds[name]["count"], 60, "{flags}: {adds}");
        }
        let cost = &json["cost"];
        assert_eq!(cost["requests"], 60);
        assert!(cost["cpu_us_per_event"].as_f64().unwrap() > 0.0, "{cost}");
        assert_eq!(cost["bare_cpu_us_per_event"].is_null(), tls, "{cost}");
        let shape = &json["shape"];
        assert_eq!(shape["tls"], tls);
        assert!(driver.is_empty() || shape["driver"] == driver, "{shape}");
        let sent = &json["sent"];
        assert!(sent["left"]["count"].as_u64().unwrap() > 0, "{sent}");
        assert_eq!(json["limits"]["steps"].as_array().unwrap().len(), 1);
        assert!(
            run.stdout.contains("What the client adds"),
            "{}",
            run.stdout
        );
    }
}

#[test]
fn cancels_and_more_of_the_same_are_measured_and_stand_beside_a_run() {
    let flags = "--concurrency 4 --request-count 60 --osl 8 --request-cancellation-rate 50 \
                 --request-cancellation-delay 0.03 --steps 1";
    let run = calibrated(flags, &[]);
    let json = json(&run);
    let adds = &json["adds"];
    for name in ["cancel_asked", "cancel_closed", "cancel_noticed"] {
        assert!(adds[name]["count"].as_u64().unwrap() > 0, "{adds}");
    }
    // Never before it is due.
    assert!(adds["cancel_asked"]["p50"].as_f64().unwrap() >= 0.0);
    let steps = json["limits"]["steps"].as_array().unwrap();
    // The first may have been too much for this machine already.
    let gave_way = json["limits"]["gave_way"].as_str().unwrap();
    assert!(steps.len() == 2 || gave_way != "nothing", "{steps:?}");
    assert!(run.stdout.contains("Cancel: over"), "{}", run.stdout);

    let beside = profile("mock:", "--request-count 4 --calibration calibration.json");
    beside.write("calibration.json", &run.file("calibration.json"));
    let beside = beside.run().code(0);
    assert_eq!(beside.json()["calibration"], json);
    assert!(
        beside.stdout.contains("By the calibration"),
        "{}",
        beside.stdout
    );
}

#[test]
fn a_load_without_streams_has_no_times_of_tokens() {
    for (flags, bare) in [
        ("--streaming=false --osl 4", true),
        ("--endpoint-type embeddings", false),
    ] {
        let flags = format!("{flags} --concurrency 2 --request-count 20 --steps 0");
        let run = calibrated(&flags, &[]);
        let json = json(&run);
        assert_eq!(json["shape"]["streaming"], false);
        assert_eq!(json["adds"]["itl"]["count"], 0, "{json}");
        let cost = &json["cost"];
        assert!(cost["cpu_us_per_request"].as_f64().unwrap() > 0.0, "{cost}");
        assert_eq!(cost["bare_cpu_us_per_request"].is_number(), bare, "{cost}");
    }
}

#[test]
fn what_is_no_load_is_refused() {
    for (flags, word) in [
        ("--concurrency 1,2", "one load"),
        ("--dry-run", "leave it out"),
        ("--shard 0/2 --random-seed 1", "leave them out"),
        ("--tls-cert nothing --tls-key nothing", "--tls-cert"),
        ("--cores 1000,", "--cores"),
    ] {
        let mut call = call(["calibrate", "--artifact-dir", "out"]);
        call.more(flags.split_whitespace());
        let run = call.run().code(1);
        assert!(run.stderr.contains(word), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}

#[test]
fn what_is_no_calibration_is_refused() {
    for (file, text, word) in [
        ("there-is-none", "", "No such file"),
        ("calibration.json", "{}", "`pinfire calibrate` writes one"),
        ("calibration.json", "no JSON", "expected"),
    ] {
        let call = profile("mock:", &format!("--calibration {file}"));
        if !text.is_empty() {
            call.write(file, text);
        }
        let run = call.run().code(1);
        assert!(run.stderr.contains(word), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}
