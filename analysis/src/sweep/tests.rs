//! Sweeps of made-up runs: frontiers, spreads, and the files that show them.

use pinfire_artifacts::Summary;
use serde_json::json;

use super::*;

/// A run that says this much.
fn trial(label: &str, tps: f64, user: f64, ttft: f64) -> Trial {
    let summary = json!({
        "output_token_throughput": {"unit": "tokens/sec", "avg": tps},
        "output_token_throughput_per_user": {"unit": "tokens/sec/user", "avg": user, "p50": user, "count": 10},
        "request_throughput": {"unit": "requests/sec", "avg": tps / 500.0},
        "time_to_first_token": {"unit": "ms", "avg": ttft, "p50": ttft, "p99": 2.0 * ttft, "min": 1.0, "max": 3.0 * ttft, "count": 10},
        "input_config": {"phases": []},
    });
    let summary: Summary = serde_json::from_value(summary).unwrap();
    Trial::of(label, Path::new(label), &summary)
}

/// The table of the document that the product started from.
fn seeds() -> Sweep {
    let points = [
        (10, 3_045.0, 364.69, 250.0),
        (50, 12_890.0, 326.10, 270.0),
        (100, 22_521.0, 285.03, 347.0),
        (200, 35_999.0, 238.67, 420.0),
        (500, 29_836.0, 128.85, 1_129.0),
    ];
    let cell = |(c, tps, user, ttft): (u64, f64, f64, f64)| Cell {
        label: format!("phases.profiling.concurrency={c}"),
        dir: format!("concurrency_{c}"),
        values: vec![c.into()],
        trials: vec![trial("trial_0001", tps, user, ttft)],
    };
    Sweep {
        parameters: vec![Parameter {
            path: "phases.profiling.concurrency".into(),
            name: "concurrency".into(),
            values: points.iter().map(|point| point.0.into()).collect(),
        }],
        cells: points.into_iter().map(cell).collect(),
        trials: 1,
        mode: "repeated".into(),
        level: 0.95,
        num_gpus: Some(8),
        version: "0".into(),
        ..Sweep::default()
    }
}

#[test]
fn the_sweep_of_the_seeds_has_its_front_its_sweet_spot_and_its_collapse() {
    let sweep = seeds();
    let marks = sweep.marks();
    let of = |flag: fn(&Marks) -> bool| -> Vec<bool> { marks.iter().map(flag).collect() };
    assert_eq!(of(|m| m.front), [true, true, true, true, false]);
    assert_eq!(of(|m| m.sweet_spot), [false, false, false, true, false]);
    assert_eq!(of(|m| m.saturated), [false, false, false, false, true]);
    let text = sweep.console(140, false);
    let row = text
        .lines()
        .find(|line| line.contains("★") && line.contains("│"))
        .unwrap();
    assert!(
        row.contains("200") && row.contains("35,999.00") && row.contains("4,499.88"),
        "{text}"
    );
    assert!(
        text.lines()
            .any(|line| line.contains("500") && line.contains("saturated")),
        "{text}"
    );
    let csv = String::from_utf8(sweep.table_csv()).unwrap();
    let mut lines = csv.lines();
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("concurrency,total_tps,tps_per_gpu,tps_per_user,ttft_avg_ms,")
    );
    assert!(
        lines
            .nth(3)
            .unwrap()
            .starts_with("200,35999,4499.875,238.67,420,840,")
    );
}

#[test]
fn one_trial_a_point_has_best_points_and_fronts_all_the_same() {
    let json = serde_json::to_value(seeds().file()).unwrap();
    let best = &json["best_configurations"];
    assert_eq!(best["best_throughput"]["parameters"]["concurrency"], 200);
    assert_eq!(
        best["best_throughput"]["metric"].as_f64().unwrap(),
        35_999.0 / 500.0
    );
    assert_eq!(best["best_latency_p99"]["parameters"]["concurrency"], 10);
    assert_eq!(best["best_latency_p99"]["metric"], 500.0);
    assert_eq!(json["pareto_optimal"].as_array().unwrap().len(), 4);
    assert_eq!(json["metadata"]["num_combinations"], 5);
    assert_eq!(
        json["metadata"]["sweep_parameters"][0]["name"],
        "concurrency"
    );
    let point = &json["per_combination_metrics"][1];
    assert_eq!(point["parameters"]["concurrency"], 50);
    let ttft = &point["metrics"]["time_to_first_token"];
    assert_eq!(
        (&ttft["mean"], &ttft["avg"], &ttft["p99"]),
        (&json!(270.0), &json!(270.0), &json!(540.0))
    );
    assert_eq!(
        (&ttft["std"], &ttft["ci_low"], &ttft["count"]),
        (&json!(0.0), &json!(270.0), &json!(10.0))
    );
    assert_eq!(point["tps_per_gpu"], 12_890.0 / 8.0);
}

fn repeated() -> Sweep {
    let mut sweep = seeds();
    sweep.trials = 3;
    sweep.cells.truncate(2);
    sweep.cells[0].trials = vec![
        trial("trial_0001", 100.0, 10.0, 20.0),
        trial("trial_0002", 110.0, 10.0, 22.0),
        trial("trial_0003", 120.0, 10.0, 24.0),
    ];
    sweep.cells[1].trials = vec![Trial::failed(
        "trial_0001",
        Path::new("x"),
        "no answer".into(),
    )];
    sweep
}

#[test]
fn repeated_runs_have_intervals_and_failed_ones_are_named() {
    let sweep = repeated();
    let json = serde_json::to_value(sweep.file()).unwrap();
    assert_eq!(
        (&json["num_profile_runs"], &json["num_successful_runs"]),
        (&json!(4), &json!(3))
    );
    assert_eq!(json["failed_runs"][0]["error"], "no answer");
    assert_eq!(
        json["failed_runs"][0]["label"],
        "phases.profiling.concurrency=50: trial_0001"
    );
    // A point without a run that counts has no figures.
    assert_eq!(json["per_combination_metrics"].as_array().unwrap().len(), 1);
    let ttft = &json["per_combination_metrics"][0]["metrics"]["time_to_first_token_p99"];
    assert_eq!((&ttft["mean"], &ttft["std"]), (&json!(44.0), &json!(4.0)));
    let half = 4.302_65 * 4.0 / 3.0_f64.sqrt();
    assert!((ttft["ci_high"].as_f64().unwrap() - 44.0 - half).abs() < 1e-3);
    let file = serde_json::to_value(sweep.confidence(&sweep.cells[0])).unwrap();
    assert_eq!(file["schema_version"], "1.0");
    let metadata = &file["metadata"];
    assert_eq!(
        metadata["variation_values"]["phases.profiling.concurrency"],
        10
    );
    assert_eq!(metadata["num_successful_runs"], 3);
    assert!(metadata.get("single_run").is_none());
    let rate = &file["metrics"]["output_token_throughput_avg"];
    assert_eq!(
        (&rate["mean"], &rate["min"], &rate["max"]),
        (&json!(110.0), &json!(100.0), &json!(120.0))
    );
    assert!((rate["t_critical"].as_f64().unwrap() - 4.302_65).abs() < 1e-4);
    let text = sweep.confidence_console(&sweep.cells[0], 140, false);
    assert!(
        text.contains("time_to_first_token p99 (ms)") && text.contains("good"),
        "{text}"
    );
}

#[test]
fn the_csv_twins_have_their_parts() {
    let sweep = repeated();
    let text = String::from_utf8(sweep.csv()).unwrap();
    let parts: Vec<&str> = text.split("\n\n").collect();
    assert_eq!(parts.len(), 4, "{text}");
    assert!(
        parts[0].starts_with("concurrency,output_token_throughput_avg_mean,"),
        "{text}"
    );
    assert!(parts[1].starts_with("Best Configurations\n"));
    assert!(
        parts[1].contains("Best Throughput,10,0.22,requests/sec"),
        "{text}"
    );
    assert!(
        parts[2].starts_with("Pareto Optimal Points\nconcurrency\n10"),
        "{text}"
    );
    assert!(parts[3].starts_with("Metadata\nField,Value\n"));
    let text = String::from_utf8(sweep.confidence_csv(&sweep.cells[0])).unwrap();
    let (table, metadata) = text.split_once("\n\n").unwrap();
    assert!(table.starts_with("metric,mean,std,min,max,cv,se,ci_low,ci_high,t_critical,unit\n"));
    assert!(table.contains("\nrequest_throughput_avg,0.22,0.02,0.20,0.24,0.0909,0.0115,0.17,0.27,4.3027,requests/sec"), "{table}");
    assert!(metadata.contains("aggregation_type,confidence\n"));
    let nothing = Sweep {
        cells: Vec::new(),
        ..sweep
    };
    assert!(
        String::from_utf8(nothing.csv())
            .unwrap()
            .contains("Pareto Optimal Points\nNone\n")
    );
}

#[test]
fn objectives_choose_the_front_and_the_best() {
    let mut sweep = seeds();
    sweep.objectives = vec![Objective::parse("ttft.p99<=600").unwrap()];
    let json = serde_json::to_value(sweep.file()).unwrap();
    let constraints = &json["metadata"]["sla_constraints"];
    assert_eq!(
        (
            &constraints["feasible_count"],
            &constraints["infeasible_count"]
        ),
        (&json!(2), &json!(3))
    );
    assert_eq!(
        json["best_configurations"]["best_throughput"]["parameters"]["concurrency"],
        50
    );
    assert_eq!(
        json["pareto_optimal"],
        json!([{"concurrency": 10}, {"concurrency": 50}])
    );
    // None is met: the best of all, and an empty front.
    sweep.objectives = vec![Objective::parse("goodput>1").unwrap()];
    let json = serde_json::to_value(sweep.file()).unwrap();
    assert_eq!(
        json["best_configurations"]["best_throughput"]["parameters"]["concurrency"],
        200
    );
    assert_eq!(json["pareto_optimal"], json!([]));
}

#[test]
fn saturation_is_seen_along_the_load_alone() {
    let mut sweep = seeds();
    sweep.parameters.push(Parameter {
        path: "z".into(),
        name: "isl".into(),
        values: vec![1.into(), 2.into()],
    });
    for (at, cell) in sweep.cells.iter_mut().enumerate() {
        // The last point has no lower load with its own length.
        cell.values.push(if at == 4 { 2.into() } else { 1.into() });
    }
    assert!(sweep.marks().iter().all(|marks| !marks.saturated));
}

/// A rise after the first point that brought nothing is noise, or another regime: no way back.
#[test]
fn what_lies_above_a_saturated_point_stays_saturated() {
    let points = [(1.0, 10.0), (2.0, 20.0), (4.0, 20.0), (8.0, 60.0)];
    assert_eq!(saturation(&points), [false, false, true, true]);
}

/// A server of slots: beyond them throughput is the same and only the first token comes later. The
/// few tokens per second more of the last point are noise.
#[test]
fn on_a_plateau_the_sweet_spot_is_where_it_begins() {
    let mut sweep = seeds();
    let points = [
        (1_907.0, 200.05, 20.6),
        (9_529.0, 200.05, 20.7),
        (11_904.0, 199.61, 201.5),
        (11_887.0, 199.65, 662.3),
        (11_913.0, 200.99, 1_730.7),
    ];
    for (cell, (tps, user, ttft)) in sweep.cells.iter_mut().zip(points) {
        cell.trials = vec![trial("trial_0001", tps, user, ttft)];
    }
    let marks = sweep.marks();
    let of = |flag: fn(&Marks) -> bool| -> Vec<bool> { marks.iter().map(flag).collect() };
    assert_eq!(of(|m| m.saturated), [false, false, false, true, true]);
    assert_eq!(of(|m| m.sweet_spot), [false, false, true, false, false]);
    assert_eq!(of(|m| m.front), [false, false, true, true, true]);
}
