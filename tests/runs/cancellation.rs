//! Triggers, ways of leaving, waves, patience and delays as distributions, from the flags to the
//! files.

use pinfire_base::clock::Span;
use pinfire_tests::{
    binary::{Ended, call, profile},
    mock::{Mock, script},
};
use pinfire_tools::mock::Script;
use serde_json::Value;

use crate::{refusals::one_line, sums};

const LOAD: &str = "--concurrency 6 --request-count 24 --osl 20 --random-seed 7";

/// Answers of 20 tokens that take a second.
fn slow() -> Mock {
    Mock::start(Script {
        ttft: Span::from_millis(60),
        itl: Span::from_millis(50),
        tokens: 20,
        ..script()
    })
}

fn run(mock: &Mock, more: &str) -> Ended {
    let url = format!("http://{}", mock.address());
    profile(&url, &format!("{LOAD} {more}")).run().code(0)
}

/// `metadata.cancellation` of the requests that were left.
fn left(run: &Ended) -> Vec<Value> {
    let lines = run.lines();
    let of = |line: &Value| line["metadata"]["cancellation"].clone();
    let left = lines
        .iter()
        .filter(|line| line["metadata"]["was_cancelled"] == true);
    left.map(of).collect()
}

/// A duration of a record, in milliseconds.
fn millis(cancellation: &Value, from: &str, to: &str) -> f64 {
    let at = |key: &str| {
        let at = cancellation[key].as_u64();
        at.unwrap_or_else(|| panic!("{key} in {cancellation}"))
    };
    (at(to) as f64 - at(from) as f64) / 1e6
}

#[test]
fn each_trigger_is_in_every_record_with_its_phase() {
    let mock = slow();
    for (trigger, phase) in [
        ("sent", "waiting"),
        ("headers", "streaming"),
        ("first-token", "streaming"),
        ("tokens:4", "streaming"),
        ("fraction:0.25", "streaming"),
        ("mid-body", "sending"),
        ("connect", "connecting"),
    ] {
        let flags =
            format!("--request-cancellation-rate 100 --request-cancellation-trigger {trigger}");
        let run = run(&mock, &flags);
        let [due, .., cancelled, _] = sums(&run);
        assert_eq!((due, cancelled), (24, 24), "{trigger}");
        let records = left(&run);
        assert_eq!(records.len(), 24);
        for of in &records {
            // A fraction is that of each request's own length: a fourth of 20 tokens.
            let own = match trigger {
                "fraction:0.25" => "tokens:5",
                other => other,
            };
            assert_eq!(of["trigger"], own, "{of}");
            assert_eq!(of["mode"], "fin", "{of}");
            // The head of the mock's stream comes with its first event, or before it.
            let of_head = trigger == "headers" && of["phase"] == "waiting";
            assert!(of["phase"] == phase || of_head, "{trigger}: {of}");
            let error = millis(of, "due_ns", "asked_ns");
            assert!(
                error >= 0.0 && millis(of, "asked_ns", "closed_ns") >= 0.0,
                "{of}"
            );
        }
        let block = run.json()["cancellation"].clone();
        assert_eq!(block["trigger"], trigger, "{block}");
        assert_eq!(
            (&block["chosen"], &block["cancelled"]),
            (&24.into(), &24.into())
        );
        let phases = block["phases"].as_object().unwrap();
        let counted: u64 = phases.values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(counted, 24, "{block}");
        if trigger != "headers" {
            assert_eq!(block["phases"][phase], 24, "{block}");
            assert_eq!(block["phases_pct"][phase], 100.0, "{block}");
            let missed = block["phases_not_covered"].as_array().unwrap();
            assert!(
                missed.len() == 3 && !missed.contains(&phase.into()),
                "{block}"
            );
        }
    }
}

#[test]
fn each_way_of_leaving_is_in_every_record() {
    let mock = slow();
    for mode in ["fin", "rst", "half-close", "stall"] {
        let flags = format!(
            "--request-cancellation-rate 100 --request-cancellation-trigger tokens:2 \
             --request-cancellation-mode {mode}"
        );
        let run = run(&mock, &flags);
        let records = left(&run);
        assert_eq!(records.len(), 24, "{mode}");
        assert!(records.iter().all(|of| of["mode"] == mode));
        // The mock takes the FIN of a half-close for a leaving.
        let after = records.iter().all(|of| match mode {
            "half-close" => of["after_half_close"] == "broken-off",
            _ => of["after_half_close"].is_null(),
        });
        assert!(after, "{mode}");
        let block = run.json()["cancellation"].clone();
        assert_eq!(block["mode"], mode);
        if mode == "half-close" {
            assert_eq!(block["after_half_close"]["broken-off"], 24, "{block}");
        }
    }
}

#[test]
fn delays_are_drawn_and_said_as_asked() {
    let mock = slow();
    for delay in [
        "0.05",
        "uniform:0.01,0.2",
        "exponential:0.05",
        "lognormal:0.05,0.5",
    ] {
        let flags = format!("--request-cancellation-rate 100 --request-cancellation-delay {delay}");
        let run = run(&mock, &flags);
        let block = run.json()["cancellation"].clone();
        assert_eq!(block["delay_asked"], delay, "{block}");
        let records = left(&run);
        assert!(records.len() > 12, "{delay}");
        let mut asked: Vec<String> = Vec::new();
        for of in &records {
            let due = millis(of, "triggered_ns", "due_ns");
            let own = of["asked_delay_ms"]
                .as_f64()
                .unwrap_or_else(|| panic!("{of}"));
            assert!((due - own).abs() < 0.001, "{of}");
            assert!(of["achieved_delay_ms"].as_f64().unwrap() >= own, "{of}");
            asked.push(format!("{own:.6}"));
        }
        asked.sort();
        asked.dedup();
        let constant = delay == "0.05";
        assert_eq!(asked.len() == 1, constant, "{delay}: {asked:?}");
    }
}

#[test]
fn waves_and_patience_from_the_flags() {
    let mock = slow();
    let flags = "--request-cancellation-rate 100 --request-cancellation-trigger first-token \
                 --request-cancellation-wave 0.4";
    let run = run(&mock, flags);
    let records = left(&run);
    assert!(records.len() > 12);
    let block = run.json()["cancellation"].clone();
    assert_eq!(block["wave_s"], 0.4, "{block}");
    // Due instants lie on a grid.
    let due = |of: &Value| of["due_ns"].as_u64().unwrap();
    let first = due(&records[0]);
    for of in &records {
        let off = due(of).abs_diff(first) % 400_000_000;
        assert!(!(2_000..=399_998_000).contains(&off), "{of}");
    }

    let mute = Mock::start(Script {
        ttft: Span::from_millis(5_000),
        ..script()
    });
    let url = format!("http://{}", mute.address());
    let more = format!("{LOAD} --patience ttft:0.02");
    let impatient = profile(&url, &more).run().code(0);
    let records = left(&impatient);
    assert_eq!(records.len(), 24);
    for of in &records {
        assert_eq!(of["trigger"], "patience", "{of}");
        assert_ne!(of["phase"], "streaming", "{of}");
    }
    let url = format!("http://{}", mock.address());
    let more = format!("{LOAD} --patience ttft:20");
    let patient = profile(&url, &more).run().code(0);
    assert_eq!(left(&patient).len(), 0);
}

#[test]
fn the_resolved_run_file_repeats_them() {
    let mock = slow();
    let flags = "--request-cancellation-rate 60 --request-cancellation-delay uniform:0.01,0.2 \
                 --request-cancellation-trigger tokens:2 --request-cancellation-mode rst \
                 --request-cancellation-wave 0.2";
    let first = run(&mock, flags);
    let resolved = first.file("resolved_config.yaml");
    assert!(resolved.contains("uniform:0.01,0.2"), "{resolved}");
    let plan = |run: &Ended| {
        let mut of: Vec<(u64, Value)> = run
            .lines()
            .iter()
            .map(|line| {
                let metadata = &line["metadata"];
                let number = metadata["request_num"]
                    .as_u64()
                    .or(metadata["session_num"].as_u64());
                let cancellation = &metadata["cancellation"];
                (
                    number.unwrap(),
                    serde_json::json!([
                        cancellation["trigger"],
                        cancellation["mode"],
                        cancellation["asked_delay_ms"]
                    ]),
                )
            })
            .collect();
        of.sort_by_key(|(number, _)| *number);
        of
    };
    let again = call([
        "profile",
        "--config",
        "resolved.yaml",
        "--artifact-dir",
        "out",
    ]);
    again.write("resolved.yaml", &resolved);
    let again = again.run().code(0);
    assert_eq!(plan(&first), plan(&again));
    let [one, two] = [&first, &again].map(|run| run.json()["cancellation"]["trigger"].clone());
    assert_eq!(one, two);
}

#[test]
fn what_makes_no_sense_together_is_one_line() {
    let rate = "--request-cancellation-rate 20";
    for (flags, says) in [
        (
            "--request-cancellation-trigger sent".to_owned(),
            "needs --request-cancellation-rate",
        ),
        (
            "--request-cancellation-mode rst".to_owned(),
            "needs --request-cancellation-rate",
        ),
        (
            "--request-cancellation-wave 2".to_owned(),
            "needs --request-cancellation-rate",
        ),
        (
            format!("{rate} --request-cancellation-trigger tokens:0"),
            "tokens:",
        ),
        (
            format!("{rate} --request-cancellation-trigger fraction:1.5"),
            "fraction:",
        ),
        (
            format!("{rate} --request-cancellation-trigger later"),
            "first-token",
        ),
        (
            format!("{rate} --request-cancellation-mode slam"),
            "half-close",
        ),
        (
            format!("{rate} --request-cancellation-delay uniform:2,1"),
            "uniform",
        ),
        (
            format!("{rate} --request-cancellation-delay normal:2,1"),
            "lognormal",
        ),
        (format!("{rate} --request-cancellation-delay -1"), "-1"),
        (format!("{rate} --request-cancellation-wave 0"), "above 0"),
        (
            format!("{rate} --request-cancellation-delay 1 --patience ttft:2"),
            "exclude each other",
        ),
        ("--patience e2e:2".to_owned(), "ttft"),
        (
            format!(
                "{rate} --request-cancellation-trigger connect --request-cancellation-mode half-close"
            ),
            "exclude each other",
        ),
        (
            format!("{rate} --request-cancellation-trigger tokens:2 --endpoint-type messages"),
            "first-token",
        ),
        (
            "--verify-release".to_owned(),
            "--request-cancellation-rate or --patience",
        ),
        (
            format!("{rate} --verify-release --no-server-metrics"),
            "leave out --no-server-metrics",
        ),
        (
            format!("{rate} --verify-release --concurrency 1,2"),
            "judges one run",
        ),
        (
            format!("{rate} --verify-release --num-profile-runs 2"),
            "judges one run",
        ),
    ] {
        let mut call = call([
            "profile",
            "--model=mock",
            "--tokenizer=builtin",
            "--url=mock:",
            "--streaming",
        ]);
        call.more(flags.split_whitespace());
        one_line(&call.run(), says);
    }
    let mut call = call([
        "profile",
        "--model=mock",
        "--tokenizer=builtin",
        "--url=mock:",
    ]);
    call.more([
        "--request-cancellation-rate",
        "5",
        "--request-cancellation-trigger",
        "first-token",
    ]);
    one_line(&call.run(), "needs --streaming");
}
