//! A run under a CPU quota: the engine follows it, and what it costs is in the results.

use pinfire_tests::{binary::profile, cgroup::CpuGroup, needs::left_out};

/// In each 100 ms.
const MICROS: u32 = 40_000;

#[test]
fn a_run_under_a_cpu_quota_follows_it_and_says_what_it_cost() {
    let Some(group) = CpuGroup::with_quota(MICROS) else {
        left_out(
            "PINFIRE_NEED_QUOTA",
            "no control group with a CPU quota can be made here",
        );
        return;
    };
    let mut run = profile(
        "mock:",
        "--concurrency 4 --request-count 100 --osl 4 --no-server-metrics --no-gpu-telemetry",
    );
    let wrapper = group.wrapper();
    run.by(&wrapper.each_ref().map(String::as_str));
    let run = run.run().code(0);
    let how = "engine on 1 thread, not pinned: the CPU quota is 0.4 CPUs of ";
    assert!(run.stdout.contains(how), "{}", run.stdout);
    let warning = "the CPU quota is 0.4 CPUs: the engine is stopped whenever it is used up";
    assert_eq!(run.stderr.matches(warning).count(), 1, "{}", run.stderr);
    assert!(
        !run.stderr.contains("could not be pinned"),
        "{}",
        run.stderr
    );
    let summary = run.json();
    let health = &summary["client_health"];
    let quota = &health["cpu_quota"];
    assert_eq!(quota["cpus"], 0.4);
    assert_eq!(quota["period_ms"], 100.0);
    assert!(health["cores"][0]["cpu"].is_null(), "{health}");
    let count = |key: &str| quota[key].as_u64().unwrap();
    let (periods, throttled) = (count("periods"), count("throttled_periods"));
    let line = format!("CPU quota      0.4 CPUs, used up in {throttled} of {periods} periods");
    assert!(run.stdout.contains(&line), "{}", run.stdout);
    // How much of it this machine had to give is not for the test to say, but it is judged by that.
    let judged = health["reasons"][0]
        .as_str()
        .is_some_and(|reason| reason.starts_with("the CPU quota of 0.4 CPUs was used up in "));
    let figure = |key: &str| quota[key].as_f64().unwrap();
    // One that is used up as its period ends stops nobody.
    let stopped = figure("throttled_pct") > 1.0 && figure("throttled_sec") > 0.0;
    assert_eq!(judged, stopped, "{health}");
    if judged {
        assert_eq!(health["client_was_bottleneck"], true);
    }
}

#[test]
fn a_quota_above_the_cpus_leaves_the_engine_pinned() {
    let Some(group) = CpuGroup::with_quota(100_000_000) else {
        return;
    };
    let flags = "--request-count 2 --osl 2 --no-server-metrics --no-gpu-telemetry";
    let mut run = profile("mock:", flags);
    let wrapper = group.wrapper();
    run.by(&wrapper.each_ref().map(String::as_str));
    let run = run.run().code(0);
    assert!(run.stdout.contains("engine on cpu "), "{}", run.stdout);
    assert_eq!(run.json()["client_health"]["cpu_quota"]["cpus"], 1_000.0);
    assert!(!run.stderr.contains("CPU quota"), "{}", run.stderr);
}
