//! Comparisons of runs whose figures are made up, and what rules say of them.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::tempdir;

use super::*;

/// A run of `values` as TTFT, in a folder, one request after the other.
fn write(folder: &Path, values: &[f64], summary: Value) {
    fs::create_dir_all(folder).unwrap();
    let mut text = String::new();
    for (at, value) in (0_u64..).zip(values) {
        let metadata = |phase: &str| {
            json!({"benchmark_phase": phase, "request_start_ns": at * 1_000_000,
                   "request_end_ns": (at + 1) * 1_000_000})
        };
        let metrics = json!({
            "time_to_first_token": {"value": value, "unit": "ms"},
            "output_sequence_length": {"value": 10, "unit": "tokens"},
            "inter_chunk_latency": {"value": [value, value], "unit": "ms"},
        });
        text += &format!(
            "{}\n",
            json!({"metadata": metadata("profiling"), "metrics": metrics})
        );
        // Neither warmup nor errors count.
        let other = json!({"time_to_first_token": {"value": 1e9, "unit": "ms"}});
        text += &format!(
            "{}\n",
            json!({"metadata": metadata("warmup"), "metrics": other})
        );
        let error = json!({"code": 503, "type": "x", "message": "y"});
        text += &format!(
            "{}\n",
            json!({"metadata": metadata("profiling"), "metrics": other, "error": error})
        );
    }
    fs::write(folder.join("profile_export.jsonl"), text).unwrap();
    let summary = serde_json::to_string_pretty(&summary).unwrap();
    fs::write(folder.join("profile_export_aiperf.json"), summary).unwrap();
}

fn summary(rate: f64, concurrency: u64) -> Value {
    json!({
        "schema_version": "1.4",
        "benchmark_id": "0123456789ab",
        "request_throughput": {"unit": "requests/sec", "avg": rate},
        "time_to_first_token": {"unit": "ms", "avg": 1.0, "p50": 1.0, "p99": 1.0},
        "max_response_timestamp": {"unit": "ns", "avg": 1e18},
        "input_config": {
            "phases": [{"name": "profiling", "concurrency": concurrency}],
            "datasets": [{"name": "main", "random_seed": rate}],
            "artifacts": {"dir": format!("{concurrency}")},
        },
        "run_info": {"random_seed": 1},
        "client_health": {"turn": {"unit": "us", "count": 0}},
    })
}

fn wanted(rules: &[&str]) -> Wanted {
    Wanted {
        stats: vec![Stat::Avg, Stat::Percentile(50.0), Stat::Percentile(99.0)],
        tags: Vec::new(),
        level: 0.95,
        seed: 42,
        rules: rules
            .iter()
            .map(|rule| Rule::parse(rule).unwrap())
            .collect(),
        significant: false,
        min_effect: 0.0,
    }
}

/// Two runs of 400 requests; the second one is `slower` ms slower.
fn pair(slower: f64, wanted: &Wanted) -> Result<Comparison, CompareError> {
    let folder = tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    // A fixed scatter of 0 to 19.95 ms around 100 ms.
    let values = |more: f64, step: u32| -> Vec<f64> {
        (0..400)
            .map(|i: u32| 100.0 + more + f64::from(i * step % 400) / 20.0)
            .collect()
    };
    write(&a, &values(0.0, 37), summary(100.0, 10));
    write(&b, &values(slower, 41), summary(101.0, 50));
    Comparison::new(Run::read(&a).unwrap(), Run::read(&b).unwrap(), wanted)
}

#[track_caller]
fn find<'a>(comparison: &'a Comparison, tag: &str, stat: &str) -> &'a Row {
    let stat = Stat::parse(stat).unwrap();
    let found = comparison
        .rows
        .iter()
        .find(|row| row.tag == tag && row.stat == stat);
    found.unwrap_or_else(|| panic!("{tag} {stat:?}"))
}

#[test]
fn a_real_difference_is_told_from_noise() {
    let slower = pair(5.0, &wanted(&[])).unwrap();
    let row = find(&slower, "time_to_first_token", "avg");
    assert_eq!(row.verdict, Verdict::Worse);
    assert!((row.difference() - 5.0).abs() < 1e-9);
    let (low, high) = row.interval.unwrap();
    assert!(
        low > 3.5 && low < 5.0 && high > 5.0 && high < 6.5,
        "{low} {high}"
    );
    let same = pair(0.0, &wanted(&[])).unwrap();
    assert_eq!(
        find(&same, "time_to_first_token", "p50").verdict,
        Verdict::Noise
    );
    // 400 values have four above p99: nothing is said about it.
    assert_eq!(find(&same, "time_to_first_token", "p99").interval, None);
    let equal = find(&same, "output_sequence_length", "avg");
    assert_eq!(equal.verdict, Verdict::Same);
    // A list of each request counts as one.
    let gaps = find(&slower, "inter_chunk_latency", "avg")
        .interval
        .unwrap();
    assert!((gaps.1 - gaps.0) / (high - low) > 0.9);
}

#[test]
fn scalars_come_from_the_summary_and_instants_do_not_come() {
    let comparison = pair(0.0, &wanted(&[])).unwrap();
    let rate = find(&comparison, "request_throughput", "avg");
    assert_eq!((rate.a, rate.b), (100.0, 101.0));
    assert_eq!(rate.verdict, Verdict::Better, "{:?}", rate.interval);
    assert!(
        comparison
            .rows
            .iter()
            .all(|row| !row.tag.contains("timestamp"))
    );
    assert!(comparison.rows.iter().all(|row| row.tag != "client_health"));
}

#[test]
fn settings_that_differ_are_named() {
    let comparison = pair(0.0, &wanted(&[])).unwrap();
    let expected = (
        "phases.profiling.concurrency".to_owned(),
        10.into(),
        50.into(),
    );
    assert_eq!(comparison.settings, [expected]);
    let text = comparison.console(false, 140, false);
    assert!(
        text.contains("differs: phases.profiling.concurrency: 10 -> 50"),
        "{text}"
    );
    assert!(text.contains("Time to First Token (ms)"), "{text}");
    assert!(!text.contains("Inter Chunk Latency"), "{text}");
}

#[test]
fn rules_break_on_figures_or_only_on_real_differences() {
    let fires = |slower: f64, rule: &str, significant: bool| {
        let wanted = Wanted {
            significant,
            ..wanted(&[rule])
        };
        pair(slower, &wanted).unwrap().broken().count() == 1
    };
    assert!(fires(5.0, "ttft.p50>+4%", true));
    assert!(!fires(5.0, "ttft.p50>+6%", false));
    // p90.5 is no usual figure, and still there.
    assert!(fires(5.0, "ttft.p90.5>+4%", false));
    assert!(fires(0.4, "ttft>+0.1%", false));
    assert!(!fires(0.4, "ttft>+0.1%", true));
    assert!(fires(0.4, "ttft>90", true));
    assert!(fires(0.0, "rps>=+1%", false));
    // A clean run has no such counts: that is none, not an error.
    assert!(!fires(0.0, "errors>0", false));
    assert!(!fires(0.0, "cancelled>+1", false));
    assert!(fires(0.0, "errors>=0", false));
}

#[test]
fn a_rule_on_what_is_not_there_is_an_error() {
    let error = pair(0.0, &wanted(&["goodput<-5%"]))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("--fail-if goodput<-5%: the pair of runs lacks goodput.avg; both have"),
        "{error}"
    );
    let nothing = Wanted {
        tags: vec!["x".into()],
        ..wanted(&[])
    };
    assert!(pair(0.0, &nothing).is_err());
}

#[test]
fn the_json_says_it_all() {
    let json = pair(5.0, &wanted(&["ttft>+1%"])).unwrap().json();
    let figure = &json["metrics"]["time_to_first_token"]["figures"]["avg"];
    assert_eq!(figure["verdict"], "worse");
    assert!(figure["ci_low"].as_f64().unwrap() < figure["difference"].as_f64().unwrap());
    assert_eq!(
        json["metrics"]["time_to_first_token"]["larger_is_better"],
        false
    );
    assert_eq!(json["rules"][0]["broken"], true);
    assert_eq!(json["a"]["requests"], 400);
    assert_eq!(json["settings_that_differ"][0]["b"], 50);
}

#[test]
fn runs_are_found_by_folder_file_or_prefix() {
    let folder = tempdir().unwrap();
    let one = folder.path().join("one");
    write(&one, &[1.0], summary(1.0, 1));
    let prefixed = folder.path().join("prefixed");
    write(&prefixed, &[1.0], summary(1.0, 1));
    for (from, to) in [
        ("profile_export.jsonl", "mine.jsonl"),
        ("profile_export_aiperf.json", "mine.json"),
    ] {
        fs::rename(prefixed.join(from), prefixed.join(to)).unwrap();
    }
    fs::write(prefixed.join("inputs.json"), "{\"data\": []}").unwrap();
    for path in [
        one.clone(),
        one.join("profile_export_aiperf.json"),
        prefixed.clone(),
        prefixed.join("mine.jsonl"),
    ] {
        let run = Run::read(&path).unwrap();
        assert_eq!(run.spans.len(), 1, "{}", path.display());
        assert!(run.blocks().next().is_some() && run.notes.is_empty());
    }
    let error = Run::read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("folders below, such as one"), "{error}");
    let error = Run::read(&folder.path().join("none"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("none"), "{error}");
}

#[test]
fn damage_is_named_and_a_cut_last_line_is_left_out() {
    let folder = tempdir().unwrap();
    write(folder.path(), &[1.0, 2.0], summary(1.0, 1));
    let path = folder.path().join("profile_export.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.get(..whole.len() - 10).unwrap()).unwrap();
    let run = Run::read(folder.path()).unwrap();
    assert_eq!((run.spans.len(), run.notes.len()), (2, 1));
    fs::write(&path, format!("{{}}\n{whole}")).unwrap();
    let error = Run::read(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("profile_export.jsonl line 1: this is no line"),
        "{error}"
    );
    fs::write(folder.path().join("profile_export_aiperf.json"), "[").unwrap();
    let error = Run::read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("this is no JSON object"), "{error}");
}

#[test]
fn values_of_any_shape_are_read_or_skipped() {
    let folder = tempdir().unwrap();
    let line = r#"{"metadata":{"benchmark_phase":"profiling","request_start_ns":1,"request_end_ns":2},"metrics":{"a":{"value":null},"b":{"value":[1,[2,null]],"unit":"x"},"c":{"value":{"y":1}},"d":{"value":true},"e":{"value":"text"},"f":{"value":-1}}}"#;
    fs::write(
        folder.path().join("profile_export.jsonl"),
        format!("{line}\n"),
    )
    .unwrap();
    let run = Run::read(folder.path()).unwrap();
    let tags: Vec<&str> = run.values.keys().map(String::as_str).collect();
    assert_eq!(tags, ["b", "d", "f"]);
    assert_eq!(run.values["b"].values, [1.0, 2.0]);
    assert_eq!(run.notes.len(), 1, "no summary");
}

/// Numbers from 0 to 1, the same in every call.
struct Draws(u64);

impl Draws {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, of deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// A run of 300 requests at a server with noise of 20 % per request, the whole of it `pace` slow.
fn noisy(draws: &mut Draws, pace: f64) -> Run {
    let mut run = Run::default();
    for (tag, usual) in [
        ("time_to_first_token", 60.0),
        ("inter_token_latency", 10.0),
        ("request_latency", 900.0),
        ("output_sequence_length", 100.0),
    ] {
        let scatter = if tag == "output_sequence_length" {
            0.0
        } else {
            0.2
        };
        let one = |_| usual * pace * (1.0 + scatter * draws.normal()).max(0.1);
        let mut values: Vec<f64> = (0..300).map(one).collect();
        if scatter == 0.0 {
            values.fill(usual);
        }
        values.sort_unstable_by(f64::total_cmp);
        let values = Values {
            unit: "ms".to_owned(),
            values,
            requests: 300,
        };
        run.values.insert(tag.to_owned(), values);
    }
    run
}

/// Five repeats that differ from run to run by 1 %.
fn five(draws: &mut Draws, pace: f64) -> Run {
    let runs = (0..5).map(|_| {
        let pace = pace * (1.0 + 0.01 * draws.normal());
        noisy(draws, pace)
    });
    Run::pooled(Path::new("five"), runs.collect())
}

#[test]
fn repeats_of_one_configuration_do_not_differ_and_a_true_shift_is_found() {
    let wanted = Wanted {
        min_effect: 0.01,
        ..wanted(&[])
    };
    let mut draws = Draws(7);
    let (mut called, mut all) = (0, 0);
    for _ in 0..50 {
        let (a, b) = (noisy(&mut draws, 1.0), noisy(&mut draws, 1.0));
        let rows = Comparison::new(a, b, &wanted).unwrap().rows;
        let differs = |row: &&Row| matches!(row.verdict, Verdict::Better | Verdict::Worse);
        called += rows.iter().filter(differs).count();
        // What cannot vary, or has no interval, is never called different.
        let judged = |row: &&Row| row.interval.is_some_and(|(low, high)| low < high);
        all += rows.iter().filter(judged).count();
    }
    assert!(called * 20 <= all, "{called} of {all}");
    // The same of five repeats a side, whose runs differ from each other.
    let (mut called, mut all) = (0, 0);
    for _ in 0..50 {
        let (a, b) = (five(&mut draws, 1.0), five(&mut draws, 1.0));
        let rows = Comparison::new(a, b, &wanted).unwrap().rows;
        let differs = |row: &&Row| matches!(row.verdict, Verdict::Better | Verdict::Worse);
        called += rows.iter().filter(differs).count();
        let judged = |row: &&Row| row.interval.is_some_and(|(low, high)| low < high);
        all += rows.iter().filter(judged).count();
    }
    // An interval of 95 % leaves one in twenty by its making, and all rows of a pair move with its
    // pace: of 50 pairs no more than 6 stand out in 99 of 100 cases.
    assert!(called * 50 <= all * 6, "{called} of {all} with repeats");
    let found = (0..50).filter(|_| {
        let (a, b) = (five(&mut draws, 1.0), five(&mut draws, 1.05));
        let compared = Comparison::new(a, b, &wanted).unwrap();
        find(&compared, "time_to_first_token", "avg").verdict == Verdict::Worse
    });
    let found = found.count();
    assert!(found >= 45, "{found} of 50");
}

#[test]
fn rows_of_one_subject_stand_together() {
    for (tag, subject) in [
        ("time_to_first_token", "latency"),
        ("request_throughput", "throughput"),
        ("input_token_throughput", "throughput"),
        ("request_count", "counts"),
        ("output_sequence_length", "counts"),
        ("input_sequence_length", "inputs"),
        ("total_isl", "inputs"),
    ] {
        assert_eq!(Subject::of(tag).name(), subject, "{tag}");
    }
    // What was sent is neither better nor worse.
    assert_eq!(larger_is_better("input_sequence_length"), None);
    let console = pair(5.0, &wanted(&[])).unwrap().console(true, 200, false);
    let at = |text: &str| {
        console
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {console}"))
    };
    assert!(at("LATENCY") < at("Time to First Token (ms)"));
    assert!(at("Time to First Token (ms)") < at("THROUGHPUT"));
}

#[test]
fn a_sure_difference_below_the_least_effect_is_small() {
    let least = |min_effect| Wanted {
        min_effect,
        ..wanted(&[])
    };
    let verdict = |min_effect| {
        let compared = pair(5.0, &least(min_effect)).unwrap();
        find(&compared, "time_to_first_token", "avg").verdict
    };
    assert_eq!(verdict(0.01), Verdict::Worse);
    assert_eq!(verdict(0.10), Verdict::Small);
}

#[test]
fn rules_are_the_tests_of_a_junit_file_and_a_list_in_markdown() {
    let compared = pair(5.0, &wanted(&["ttft>+1%", "ttft>500"])).unwrap();
    let junit = compared.junit();
    assert!(junit.contains("tests=\"2\" failures=\"1\""), "{junit}");
    assert!(junit.contains("name=\"ttft&gt;+1%\">"), "{junit}");
    assert!(junit.contains("name=\"ttft&gt;500\"/>"), "{junit}");
    let markdown = compared.markdown(false);
    assert!(markdown.contains("- `ttft>+1%`: **broken**"), "{markdown}");
    assert!(
        markdown.contains("| Time to First Token (ms) | avg |"),
        "{markdown}"
    );
}
