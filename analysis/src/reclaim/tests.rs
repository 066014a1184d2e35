//! Verdicts of made-up servers: each is a table row with what it holds when.

use pinfire_base::record::Leave;
use pinfire_scrape::server_kinds::{Counted, Known, TokensCounted};

use super::*;

/// Tokens are counted as they are generated.
pub(super) const LIVE: Known = Known {
    finished: None,
    tokens: Some(TokensCounted::Live),
    refresh: None,
    gateway: false,
};
const MS: u64 = 1_000_000;
const CANCELS: u64 = 10;

fn at(ms: u64) -> Stamp {
    Stamp::from_nanos((1_000 + ms) * MS)
}

fn canary(answered: bool, refused: bool) -> Canary {
    Canary {
        begun: at(0),
        answered,
        refused,
        ttft_ms: answered.then_some(20.0),
        took_ms: 50.0,
        events: 50,
        problem: None,
    }
}

/// A server in a table: what it still holds of cancelled requests.
#[derive(Clone, Copy)]
struct Server {
    name: &'static str,
    /// Held this long after a cancel, in ms.
    late: u64,
    /// Leaked per wave before the first token, and in the stream.
    leaks: [f64; 2],
    cache_leak: f64,
    counter: Option<f64>,
    /// Answers no more after so many cancels; true: it is gone.
    lost: Option<(u64, bool)>,
    shown: bool,
    verdict: Verdict,
    counted: CounterVerdict,
    /// In the summary.
    words: &'static str,
}

const GOOD: Server = Server {
    name: "frees at once",
    late: 0,
    leaks: [0.0; 2],
    cache_leak: 0.0,
    counter: Some(1.0),
    lost: None,
    shown: true,
    verdict: Verdict::Released,
    counted: CounterVerdict::Agrees,
    words: "released at once",
};

/// Four waves, alternately before the first token and in the stream; each begins with 20 requests,
/// of which 10 are left at 500 ms and 10 end at 1 s; rest until 8 s.
fn evidence(server: &Server) -> Evidence {
    let look = |ms: u64, held: f64, counted: f64| LevelSample {
        at: at(ms),
        levels: server.shown.then(|| Levels {
            running: Some(held),
            waiting: Some(0.0),
            kv_used: Some(held * 0.01 + server.cache_leak),
            abort_counter: server.counter.map(|times| times * counted),
            ..Levels::default()
        }),
    };
    let mut waves = Vec::new();
    let mut leaked = 0.0;
    let mut cancels = 0;
    for nth in 0..4_u64 {
        let begin = nth * 10_000;
        let tokens = nth % 2;
        let seen = |end, ended, count: u64| RequestSpan {
            begun: at(begin),
            ended: at(ended),
            end,
            new_connection: true,
            tokens: (0..count)
                .map(|token| at(begin + 100 + 10 * token))
                .collect(),
            events: count,
        };
        let mut requests = Vec::new();
        for _ in 0..CANCELS {
            requests.push(seen(End::Disconnected, begin + 500, 30 * tokens));
            requests.push(seen(End::Answered, begin + 1_000, 50));
        }
        let leak = server.leaks[tokens as usize];
        let before = (cancels as f64, leaked);
        cancels += CANCELS;
        leaked += leak;
        let mut samples = Vec::new();
        for ms in (0..8_000).step_by(50) {
            let wanted = if ms < 500 {
                20.0
            } else if ms < 1_000 {
                10.0
            } else {
                0.0
            };
            let late = ms >= 500 && ms < 500 + server.late;
            let kept = if late { CANCELS as f64 } else { 0.0 };
            let (counted, leaked) = if ms < 500 {
                before
            } else {
                (cancels as f64, leaked)
            };
            samples.push(look(begin + ms, wanted + kept.max(leaked), counted));
        }
        let lost = server.lost.filter(|&(after, _)| cancels >= after);
        waves.push(Wave {
            quiet: false,
            requests,
            samples,
            canary: canary(lost.is_none(), lost.is_some_and(|(_, gone)| gone)),
        });
        if lost.is_some() {
            break;
        }
    }
    let mut rest = look(0, 0.0, 0.0);
    if let Some(levels) = &mut rest.levels {
        levels.kv_used = Some(0.0);
    }
    Evidence {
        asker: Asker::Test,
        server: Some("vllm".into()),
        settle: Span::from_millis(7_000),
        interval: Span::from_millis(50),
        manner: Manner::default(),
        known: LIVE,
        warmed: None,
        measured: None,
        before: vec![rest],
        alone: Answers::default(),
        first_canary: canary(true, false),
        control: Vec::new(),
        between: Vec::new(),
        waves,
        pages: Vec::new(),
    }
}

#[test]
fn each_server_is_named() {
    let servers = [
        GOOD,
        Server {
            name: "frees after 3 s",
            late: 3_000,
            words: "released late",
            ..GOOD
        },
        Server {
            name: "leaks one in ten",
            leaks: [1.0, 1.0],
            verdict: Verdict::Leaked,
            words: "leaks: 4 of 40 cancelled requests (10.0 %)",
            ..GOOD
        },
        Server {
            name: "leaks before the first token",
            leaks: [10.0, 0.0],
            verdict: Verdict::Leaked,
            words: "only when cancelled before the first token",
            ..GOOD
        },
        Server {
            name: "leaks blocks alone",
            cache_leak: 0.02,
            verdict: Verdict::Leaked,
            words: "leaks cache: 2.000 %",
            ..GOOD
        },
        Server {
            name: "counts nothing",
            counter: Some(0.0),
            counted: CounterVerdict::AlwaysZero,
            ..GOOD
        },
        Server {
            name: "counts twice",
            counter: Some(2.0),
            counted: CounterVerdict::Doubled,
            ..GOOD
        },
        Server {
            name: "counts a third",
            counter: Some(0.3),
            counted: CounterVerdict::Off,
            ..GOOD
        },
        Server {
            name: "has no counter",
            counter: None,
            counted: CounterVerdict::NotShown,
            ..GOOD
        },
        Server {
            name: "wedges",
            lost: Some((30, false)),
            verdict: Verdict::Wedged,
            words: "wedged after 30 cancels",
            ..GOOD
        },
        Server {
            name: "dies",
            lost: Some((20, true)),
            verdict: Verdict::Died,
            words: "after 20 cancels",
            ..GOOD
        },
        Server {
            name: "shows nothing",
            shown: false,
            verdict: Verdict::CannotTell,
            counted: CounterVerdict::NotShown,
            words: "cannot tell",
            ..GOOD
        },
        Server {
            name: "shows nothing and wedges",
            shown: false,
            lost: Some((10, false)),
            verdict: Verdict::Wedged,
            counted: CounterVerdict::NotShown,
            words: "wedged after 10 cancels",
            ..GOOD
        },
    ];
    for server in servers {
        let report = ReclaimReport::of(&evidence(&server));
        let name = server.name;
        assert_eq!(report.verdict, server.verdict, "{name}: {}", report.summary);
        assert_eq!(report.counter.verdict, server.counted, "{name}");
        assert!(
            report.summary.contains(server.words),
            "{name}: {}",
            report.summary
        );
        assert_eq!(report.exit_code, report.verdict.exit_code());
        if server.verdict == Verdict::Released {
            let [median, longest] = report.released_after_s.unwrap();
            let late = server.late as f64 / 1e3;
            assert!((median - late).abs() < 0.051, "{name}: {median}");
            assert_eq!(median, longest);
        }
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["verdict"].is_string() && json["waves"][0]["canary"]["answered"].is_boolean());
        assert!(report.page().contains(&report.summary));
    }
}

#[test]
fn a_leak_is_told_by_phase_and_by_wave() {
    let server = Server {
        leaks: [4.0, 1.0],
        ..GOOD
    };
    let report = ReclaimReport::of(&evidence(&server));
    let (early, late) = (report.leak_before_first_token, report.leak_streaming);
    assert_eq!((early.cancels, early.leaked), (20, 8.0));
    assert_eq!((late.cancels, late.leaked), (20, 2.0));
    let trend: Vec<f64> = report.waves.iter().filter_map(|w| w.held_at_rest).collect();
    assert_eq!(trend, [4.0, 5.0, 9.0, 10.0]);
}

#[test]
fn without_an_answer_or_a_cancel_nothing_is_said_of_the_server() {
    let mut mute = evidence(&GOOD);
    mute.first_canary = canary(false, false);
    mute.waves.clear();
    let report = ReclaimReport::of(&mute);
    assert_eq!((report.verdict, report.exit_code), (Verdict::CannotTell, 5));
    let mut quick = evidence(&GOOD);
    for seen in quick.waves.iter_mut().flat_map(|wave| &mut wave.requests) {
        seen.end = End::Answered;
    }
    let report = ReclaimReport::of(&quick);
    assert_eq!(report.verdict, Verdict::CannotTell);
    assert!(report.advice.contains("--osl"), "{}", report.advice);
}

#[test]
fn survivors_are_held_against_quiet_times() {
    let mut evidence = evidence(&GOOD);
    let seen = |begun: u64, gap: u64| RequestSpan {
        begun: at(begun),
        ended: at(begun + 20 + 30 * gap),
        end: End::Answered,
        new_connection: true,
        tokens: (0..30).map(|token| at(begun + 20 + token * gap)).collect(),
        events: 30,
    };
    evidence.control = (0..10).map(|_| seen(0, 10)).collect();
    // Begun right after the first wave, and slower.
    evidence.waves[0].requests.push(seen(510, 15));
    let effect = ReclaimReport::of(&evidence).effect;
    assert_eq!(effect.ttft_control.unwrap().p50_ms, 20.0);
    assert_eq!(effect.ttft_near.unwrap().p50_ms, 20.0);
    assert_eq!(
        (effect.new_connections, effect.new_connections_answered),
        (1, 1)
    );
    assert_eq!(effect.itl_control.unwrap().p50_ms, 10.0);
    assert!(effect.itl_near.unwrap().p99_ms >= 15.0);
}

/// The same evidence as one wave, as of a run.
fn of_a_run(server: &Server) -> Evidence {
    let mut evidence = evidence(server);
    evidence.asker = Asker::Run;
    let waves = std::mem::take(&mut evidence.waves);
    let canary = waves.last().unwrap().canary.clone();
    let requests = waves.iter().flat_map(|wave| wave.requests.clone());
    let samples = waves.iter().flat_map(|wave| wave.samples.clone());
    evidence.waves = vec![Wave {
        quiet: false,
        requests: requests.collect(),
        samples: samples.collect(),
        canary,
    }];
    evidence
}

#[test]
fn a_run_is_judged_as_one_wave() {
    let good = ReclaimReport::of(&of_a_run(&GOOD));
    assert_eq!((good.verdict, good.cancels), (Verdict::Released, 40));
    assert!(
        good.summary.contains("released at once"),
        "{}",
        good.summary
    );
    assert!(
        good.block().contains("next: nothing to do"),
        "{}",
        good.block()
    );
    let late = ReclaimReport::of(&of_a_run(&Server {
        late: 3_000,
        ..GOOD
    }));
    let [median, _] = late.released_after_s.unwrap();
    assert!((median - 3.0).abs() < 0.051, "{median}");
    // Held over 3 s from the cancel on: the load itself goes on until 31 s.
    let held = late.waves[0].held_per_cancel_s.unwrap();
    assert!((2.3..3.1).contains(&held), "{held}");
    let leaky = Server {
        leaks: [1.0, 1.0],
        verdict: Verdict::Leaked,
        ..GOOD
    };
    let leaky = ReclaimReport::of(&of_a_run(&leaky));
    assert_eq!((leaky.verdict, leaky.exit_code), (Verdict::Leaked, 4));
    assert!(
        leaky.advice.contains("pinfire cancel-test"),
        "{}",
        leaky.advice
    );
    let wedged = ReclaimReport::of(&of_a_run(&Server {
        lost: Some((40, false)),
        ..GOOD
    }));
    assert_eq!(wedged.verdict, Verdict::Wedged);
    assert!(!wedged.summary.contains("after 0"), "{}", wedged.summary);
    let hidden = ReclaimReport::of(&of_a_run(&Server {
        shown: false,
        ..GOOD
    }));
    assert!(
        hidden.advice.contains("--server-metrics"),
        "{}",
        hidden.advice
    );
}

#[test]
fn the_timeline_has_every_look_and_what_was_wanted_then() {
    let evidence = evidence(&GOOD);
    let timeline = ReclaimReport::of(&evidence).timeline.unwrap();
    assert_eq!(timeline.samples.len(), 1 + 4 * 160);
    assert_eq!((timeline.waves.len(), timeline.canaries.len()), (4, 5));
    let wave = timeline.waves[1];
    assert_eq!((wave.first_s, wave.cancels), (10.5, CANCELS));
    // At rest, with all requests out, and after the cancels.
    let at = |ms: u64| {
        let found = timeline
            .samples
            .iter()
            .find(|sample| sample.at_s == ms as f64 / 1e3);
        let sample = found.unwrap();
        (sample.wanted, sample.running.unwrap())
    };
    assert_eq!(at(10_450), (20, 20.0));
    assert_eq!(at(10_500), (10, 10.0));
    assert_eq!(at(11_000), (0, 0.0));
    // Of very many samples those remain that held most.
    let mut long = evidence;
    let look = long.waves[0].samples[0];
    let quiet = LevelSample {
        levels: None,
        ..look
    };
    long.waves[0].samples = vec![quiet; 50_000];
    long.waves[0].samples[33_333] = look;
    let timeline = ReclaimReport::of(&long).timeline.unwrap();
    assert!(timeline.samples.len() <= 3_000);
    assert!(
        timeline
            .samples
            .iter()
            .any(|sample| sample.running == Some(20.0))
    );
}

/// The samples of a wave and of the rest before, of a page of its own.
fn page(url: &str, evidence: &Evidence) -> PageSamples {
    let waves = evidence.waves.iter().flat_map(|wave| &wave.samples);
    PageSamples {
        url: url.into(),
        server: Some(url.into()),
        known: LIVE,
        samples: evidence.before.iter().chain(waves).copied().collect(),
    }
}

#[test]
fn of_several_pages_the_hop_that_did_not_let_go_is_named() {
    // At rest before the first sample of a wave.
    let evidence = |server: &Server| {
        let mut evidence = evidence(server);
        evidence.before[0].at = Stamp::from_nanos(1);
        evidence
    };
    let late = evidence(&Server {
        late: 3_000,
        ..GOOD
    });
    let good = evidence(&GOOD);
    let mut both = good.clone();
    both.pages = vec![page("gateway", &good), page("worker", &late)];
    let report = ReclaimReport::of(&both);
    let findings: Vec<Finding> = report.pages.iter().map(|page| page.finding).collect();
    assert_eq!(findings, [Finding::AtOnce, Finding::Late]);
    assert!(
        report.summary.contains("released late"),
        "{}",
        report.summary
    );
    let named = "gateway at gateway let go at once, and worker at worker did not";
    assert!(report.summary.contains(named), "{}", report.summary);
    // The order of the pages does not matter, nor does a page that nothing is known of make it
    // better.
    both.pages.reverse();
    assert_eq!(ReclaimReport::of(&both).worst(), Finding::Late);
    let mute = evidence(&Server {
        shown: false,
        ..GOOD
    });
    both.pages = vec![
        page("gateway", &good),
        page("other", &good),
        page("worker", &mute),
    ];
    assert_eq!(ReclaimReport::of(&both).verdict, Verdict::CannotTell);
    // Two replicas that have half of the load each are one server.
    let mut half = good.clone();
    for sample in half.waves.iter_mut().flat_map(|wave| &mut wave.samples) {
        if let Some(levels) = &mut sample.levels {
            levels.running = levels.running.map(|running| running / 2.0);
        }
    }
    both.pages = vec![page("a", &half), page("b", &half)];
    let report = ReclaimReport::of(&both);
    assert_eq!((report.verdict, report.pages.len()), (Verdict::Released, 2));
    // Behind a gateway they are one hop, and what both hold counts once; a router that shows
    // nothing of its requests is none.
    let gateway = |url, evidence| {
        let mut page = page(url, evidence);
        page.known.gateway = true;
        page
    };
    let mut silent = gateway("router", &good);
    for levels in silent
        .samples
        .iter_mut()
        .filter_map(|sample| sample.levels.as_mut())
    {
        *levels = Levels::default();
    }
    let mut halves = late.clone();
    for sample in halves.waves.iter_mut().flat_map(|wave| &mut wave.samples) {
        if let Some(levels) = &mut sample.levels {
            levels.running = levels.running.map(|running| running / 2.0);
        }
    }
    for (workers, words) in [
        (&half, "released at once: all of 40"),
        (
            &halves,
            "gateway at gateway let go at once, and a at a and b at b did not",
        ),
    ] {
        both.pages = vec![
            silent.clone(),
            gateway("gateway", &good),
            page("a", workers),
            page("b", workers),
        ];
        let report = ReclaimReport::of(&both);
        assert_eq!(report.verdict, Verdict::Released, "{}", report.page());
        assert!(report.summary.contains(words), "{}", report.summary);
        assert_eq!(report.pages.len(), 4);
    }
}

#[test]
fn each_way_of_leaving_has_words_that_are_true_of_it() {
    use pinfire_base::record::{CancelTrigger, Leave, Trigger};
    let manner = |mode, trigger| Manner {
        mode,
        trigger: Some(CancelTrigger::At(trigger)),
        whole_answers: true,
        unsent: matches!(trigger, Trigger::MidBody | Trigger::Connect),
    };
    // What the counter did per cancel, what may be said of it, and of the rest.
    for (mode, trigger, counter, verdict, words) in [
        (
            Leave::Stall,
            Trigger::Sent,
            0.0,
            CounterVerdict::SaysNothing,
            "nobody left",
        ),
        (
            Leave::Stall,
            Trigger::Sent,
            2.0,
            CounterVerdict::SaysNothing,
            "no client leaves",
        ),
        (
            Leave::HalfClose,
            Trigger::Sent,
            0.0,
            CounterVerdict::SaysNothing,
            "may answer a client",
        ),
        (
            Leave::HalfClose,
            Trigger::Sent,
            1.0,
            CounterVerdict::Agrees,
            "40 for 40",
        ),
        (
            Leave::Fin,
            Trigger::MidBody,
            0.0,
            CounterVerdict::SaysNothing,
            "left half sent",
        ),
        (
            Leave::Rst,
            Trigger::Connect,
            0.0,
            CounterVerdict::SaysNothing,
            "before a request",
        ),
        (
            Leave::Rst,
            Trigger::Headers,
            0.0,
            CounterVerdict::AlwaysZero,
            "cancelled requests",
        ),
    ] {
        let mut evidence = evidence(&Server {
            late: 3_000,
            counter: Some(counter),
            ..GOOD
        });
        evidence.manner = manner(mode, trigger);
        let report = ReclaimReport::of(&evidence);
        let page = report.page();
        assert_eq!(report.counter.verdict, verdict, "{page}");
        assert!(page.contains(words), "{words}: {page}");
        let unfair =
            verdict == CounterVerdict::SaysNothing && page.contains("does not count clients");
        assert!(!unfair, "{page}");
        assert!(page.contains("before answer"), "{page}");
        evidence.waves.clear();
        let none = ReclaimReport::of(&evidence);
        let head_is_late = none
            .advice
            .contains("the head comes together with the whole answer");
        assert_eq!(head_is_late, trigger == Trigger::Headers, "{}", none.advice);
    }
}

/// Evidence of one wave of 10 cancels at 0 ms of answers that would end at `natural` ms, looked at
/// from `looks` on every 10 ms, and of a server that is at rest from then on.
fn short(natural: u64, looks: u64, manner: Manner) -> Evidence {
    let whole = evidence(&GOOD);
    let level = |ms: u64| LevelSample {
        at: at(ms),
        levels: Some(Levels {
            running: Some(0.0),
            finished: Some(10.0),
            ..Levels::default()
        }),
    };
    let seen = |end, ended| RequestSpan {
        begun: at(0),
        ended: at(ended),
        end,
        new_connection: true,
        tokens: Vec::new(),
        events: 0,
    };
    let mut requests = Vec::new();
    for _ in 0..CANCELS {
        requests.push(seen(End::Disconnected, 10));
        requests.push(seen(End::Answered, natural));
    }
    let mut before = level(0);
    before.at = Stamp::from_nanos(1);
    if let Some(levels) = &mut before.levels {
        levels.finished = Some(0.0);
    }
    Evidence {
        manner,
        before: vec![before],
        waves: vec![Wave {
            quiet: true,
            requests,
            samples: (0..4).map(|nth| level(looks + 10 * nth)).collect(),
            // Behind the last look.
            canary: Canary {
                begun: at(10_000),
                ..canary(true, false)
            },
        }],
        ..whole
    }
}

/// The wave's samples count so many as finished.
fn finished(evidence: &mut Evidence, counted: f64) {
    for sample in &mut evidence.waves[0].samples {
        if let Some(levels) = &mut sample.levels {
            levels.finished = Some(counted);
        }
    }
}

#[test]
fn answers_that_end_before_a_look_are_told_by_counters_or_not_at_all() {
    let manner = |mode, unsent| Manner {
        mode,
        unsent,
        ..Manner::default()
    };
    let sent = manner(Leave::Fin, false);
    // What is changed, and the verdict.
    type Change = fn(&mut Evidence);
    let no_count: Change = |evidence| {
        let samples = evidence.waves.iter_mut().flat_map(|wave| &mut wave.samples);
        for sample in samples.chain(&mut evidence.before) {
            if let Some(levels) = &mut sample.levels {
                levels.finished = None;
            }
        }
    };
    let nothing: Change = |_| {};
    let two_ran_on: Change = |evidence| finished(evidence, 12.0);
    let aborted_too: Change = |evidence| {
        evidence.known.finished = Some(Counted::WithAborted);
        finished(evidence, 20.0);
    };
    let one_missing: Change = |evidence| finished(evidence, 9.0);
    let late: Change = |evidence| {
        for sample in &mut evidence.waves[0].samples {
            sample.at = sample.at + Span::from_millis(600);
        }
    };
    for (name, manner, change, verdict) in [
        ("the count is exact", sent, nothing, Verdict::Released),
        ("no count", sent, no_count, Verdict::CannotTell),
        ("two ran on", sent, two_ran_on, Verdict::RanOn),
        (
            "aborted ones are counted",
            sent,
            aborted_too,
            Verdict::CannotTell,
        ),
        ("one may be hidden", sent, one_missing, Verdict::CannotTell),
        ("looked at too late", sent, late, Verdict::CannotTell),
        (
            "half sent",
            manner(Leave::Fin, true),
            no_count,
            Verdict::Released,
        ),
        (
            "half sent and stalled",
            manner(Leave::Stall, true),
            no_count,
            Verdict::Released,
        ),
        (
            "stalled",
            manner(Leave::Stall, false),
            no_count,
            Verdict::Released,
        ),
        (
            "half closed",
            manner(Leave::HalfClose, false),
            no_count,
            Verdict::Released,
        ),
    ] {
        let mut evidence = short(20, 30, manner);
        change(&mut evidence);
        let report = ReclaimReport::of(&evidence);
        assert_eq!(report.verdict, verdict, "{name}: {}", report.page());
        if verdict == Verdict::Released {
            assert_eq!(report.worst(), Finding::AtOnce, "{name}: {}", report.page());
        }
    }
}

#[test]
fn what_never_came_whole_and_is_held_all_the_same_is_found() {
    let unsent = Manner {
        unsent: true,
        ..Manner::default()
    };
    let found = |late: u64, leaks: [f64; 2]| {
        let mut evidence = evidence(&Server {
            late,
            leaks,
            ..GOOD
        });
        evidence.manner = unsent;
        ReclaimReport::of(&evidence).worst()
    };
    assert_eq!(found(0, [0.0; 2]), Finding::AtOnce);
    assert_eq!(found(3_000, [0.0; 2]), Finding::Late);
    assert_eq!(found(0, [1.0; 2]), Finding::Leaked);
}

#[test]
fn a_run_without_a_count_of_finished_requests_says_what_it_cannot_rule_out() {
    // Of 40 cancels so many are held for 5 s each.
    let run = |some: usize, counted: bool| {
        let mut evidence = of_a_run(&GOOD);
        let wave = &mut evidence.waves[0];
        let left: Vec<Stamp> = wave.left().map(|seen| seen.ended).collect();
        for sample in evidence.before.iter_mut().chain(&mut wave.samples) {
            let held = left.iter().step_by(left.len().div_ceil(some.max(1)));
            let held = held.take(some).filter(|end| {
                sample.at >= **end && sample.at.since(**end) < Span::from_millis(5_000)
            });
            if let Some(levels) = &mut sample.levels {
                levels.running = levels.running.map(|shown| shown + held.count() as f64);
                levels.finished = counted.then_some(0.0);
            }
        }
        if counted {
            let answered = wave
                .requests
                .iter()
                .filter(|seen| seen.end == End::Answered);
            // And the canary behind them.
            let answered = 1.0 + answered.count() as f64;
            for sample in &mut wave.samples {
                if let Some(levels) = &mut sample.levels {
                    levels.finished = Some(answered);
                }
            }
        }
        ReclaimReport::of(&evidence)
    };
    let good = run(0, false);
    assert_eq!(good.verdict, Verdict::Released, "{}", good.block());
    assert!(!good.summary.contains("all of"), "{}", good.summary);
    let counted = run(0, true);
    assert!(counted.summary.contains("all of 40"), "{}", counted.summary);
    // A share of a twentieth for 5 s is a quarter of a second each.
    let some = run(2, false);
    assert_eq!(some.verdict, Verdict::CannotTell, "{}", some.block());
    assert!(
        some.summary.contains("% can have been held"),
        "{}",
        some.summary
    );
    let late = run(40, false);
    assert_eq!(late.worst(), Finding::Late);
    assert_eq!(late.verdict, Verdict::CannotTell, "{}", late.block());
    let words = "whether they ran to their ends";
    assert!(late.summary.contains(words), "{}", late.summary);
    // The count says that they did not.
    assert_eq!(run(40, true).verdict, Verdict::Released);
}

#[test]
fn the_difference_to_the_server_itself_is_the_proxys() {
    let held = |late| ReclaimReport::of(&evidence(&Server { late, ..GOOD }));
    let leaks = |leaks| ReclaimReport::of(&evidence(&Server { leaks, ..GOOD }));
    let unknown = || {
        ReclaimReport::of(&evidence(&Server {
            shown: false,
            ..GOOD
        }))
    };
    for (through, direct, verdict, words) in [
        (
            held(0),
            held(0),
            Verdict::Released,
            "the proxy passes disconnects on",
        ),
        (
            held(3_000),
            held(0),
            Verdict::Released,
            "the proxy passes disconnects on late",
        ),
        (
            leaks([1.0, 1.0]),
            held(0),
            Verdict::Leaked,
            "directly 0 of 40 leaked, through the proxy 4 of 40: the proxy does not pass every",
        ),
        (
            leaks([10.0, 10.0]),
            held(0),
            Verdict::Leaked,
            "through the proxy 40 of 40: the proxy does not pass the disconnect on",
        ),
        (
            leaks([1.0, 1.0]),
            leaks([1.0, 1.0]),
            Verdict::Leaked,
            "the server itself does not",
        ),
        (
            leaks([10.0, 10.0]),
            leaks([1.0, 1.0]),
            Verdict::Leaked,
            "the proxy adds to it",
        ),
        (
            held(0),
            leaks([1.0, 1.0]),
            Verdict::Leaked,
            "directly at http://s: leaks: 4 of 40",
        ),
        (
            held(0),
            unknown(),
            Verdict::Released,
            "directly: cannot tell",
        ),
        (
            unknown(),
            held(0),
            Verdict::CannotTell,
            "directly: released at once",
        ),
    ] {
        let report = through.beside("http://s".to_owned(), direct);
        assert_eq!(report.verdict, verdict, "{}", report.page());
        let page = report.page();
        let difference = &report.direct.as_ref().unwrap().difference;
        assert!(
            report.summary.contains(words) || difference.contains(words),
            "{words}: {page}"
        );
        assert!(page.contains("directly at http://s"), "{page}");
        assert_eq!(report.exit_code, report.verdict.exit_code());
    }
}
