//! The verdict in words, and what to do next.

use std::fmt::Write;

use super::{
    Asker, Counter, CounterVerdict, Evidence, Finding, Manner, ReclaimReport, Share, Source,
    Verdict, Witness, cancels_to_detect, effect::Spread,
};

/// Summary and advice.
pub(super) fn words(report: &ReclaimReport, evidence: &Evidence) -> (String, String) {
    let settle = evidence.settle.as_secs_f64();
    let asker = evidence.asker;
    match report.verdict {
        Verdict::Released => released(report),
        Verdict::RanOn => (ran_on(report), ran_on_advice(asker)),
        Verdict::Leaked => (leak(report, settle), leak_advice(report, asker)),
        Verdict::Wedged | Verdict::Died => lost(report, asker),
        Verdict::CannotTell => cannot_tell(report, asker),
    }
}

const LATE: &str = "capacity is lost for that time after each cancel: look for a poll of client \
    connections in the server (SGLang asks about every 2 s), or for a proxy that keeps its own \
    connection to the server open";

fn released(report: &ReclaimReport) -> (String, String) {
    let cancels = report.cancels;
    let what = report.manner.requests();
    let longest = report.released_after_s.map(|[_, longest]| longest);
    if report.worst() == Finding::Late {
        return (
            late(report),
            report.manner.held_on().unwrap_or(LATE).to_owned(),
        );
    }
    let within = longest.map_or_else(String::new, |longest| format!(", within {longest:.2} s"));
    // Rounded to the careful side.
    let unknown = report.held().not_ruled_out_pct;
    match unknown.map(|percent| percent.ceil().max(1.0)) {
        None => (
            format!("released at once: all of {cancels} {what}{within}"),
            "nothing to do".to_owned(),
        ),
        Some(percent) => (
            format!(
                "released at once: at least {:.0} % of {cancels} {what}{within}; whether the other \
                 {percent:.0} % were cannot be told, as the server shows no count of those that it finished",
                100.0 - percent
            ),
            "nothing to do; `pinfire cancel-test` looks closer".to_owned(),
        ),
    }
}

/// How late, and how many.
fn late(report: &ReclaimReport) -> String {
    let cancels = report.cancels;
    let what = report.manner.requests();
    let held = report.held();
    let few = held.share.filter(|share| share.requests < share.cancels);
    match (few, report.released_after_s) {
        (Some(few), Some([_, longest])) if longest > 0.0 => {
            format!(
                "released late: {}, the last of them {longest:.2} s after the cancel",
                few.words(what)
            )
        }
        (Some(few), _) => format!(
            "released late: {}, not within the rest behind a wave but later",
            few.words(what)
        ),
        (None, None) if held.verdict == Finding::Late && held.share.is_some() => format!(
            "released late: all of {cancels} {what}, not within the rest behind a wave but later"
        ),
        (None, Some([median, longest])) if held.share.is_some() => format!(
            "released late: all of {cancels} {what}, {median:.2} s after the cancel \
             (median; longest {longest:.2} s)"
        ),
        (None, Some([_, longest])) if held.verdict == Finding::Late => format!(
            "released late: of {cancels} {what}, {}; the last {longest:.2} s after the cancel",
            held.says
        ),
        _ => format!(
            "released late: of {cancels} {what}, by {}",
            report.witness(Source::Tokens).says
        ),
    }
}

/// How many ran to their end, by the witness that knows best.
fn ran_on(report: &ReclaimReport) -> String {
    let cancels = report.cancels;
    let what = report.manner.requests();
    // A counter is of all of them; what is held is of those that a sample has met.
    let witnesses = [Source::Finished, Source::Held].map(|source| report.witness(source));
    let telling = witnesses
        .into_iter()
        .find(|witness| witness.verdict == Finding::RanOn && witness.share.is_some());
    let share = telling.and_then(|witness| witness.share);
    let some = share.map_or_else(
        || format!("some of {cancels} {what}"),
        |few| few.words(what),
    );
    let until = report
        .released_after_s
        .map_or_else(String::new, |[_, longest]| {
            format!(", the last of them for {longest:.2} s")
        });
    format!("not let go: {some} ran to their end{until}")
}

fn ran_on_advice(asker: Asker) -> String {
    let direct = match asker {
        Asker::Test => {
            "test the server itself, without what stands in front of it (--url, --metrics-url)"
        }
        Asker::Run => {
            "run `pinfire cancel-test` against the server itself, without what stands in front"
        }
    };
    format!(
        "{direct}: a proxy or cache that reads answers to their end hides that its client has left; \
         else look at what the server does when a stream's client is gone"
    )
}

fn lost(report: &ReclaimReport, asker: Asker) -> (String, String) {
    let [after, survived] = report.lost_after_cancels.unwrap_or_default();
    let before = |was: &str| match (asker, survived) {
        (Asker::Run, _) => String::new(),
        (Asker::Test, _) => format!(" (it {was} after {survived})"),
    };
    // Two at once are one cancel a wave.
    let narrow = match asker {
        Asker::Test => {
            format!("run again with --concurrency 2 --waves {after} to find the exact cancel")
        }
        Asker::Run => {
            format!(
                "find the exact cancel with `pinfire cancel-test --concurrency 2 --waves {after}`"
            )
        }
    };
    if report.verdict == Verdict::Died {
        return (
            format!(
                "died: nobody accepts connections after {after} cancels{}",
                before("was there")
            ),
            format!(
                "read the end of the server's log: a cancel must never end a server; when it is up, \
                 {narrow}"
            ),
        );
    }
    (
        format!(
            "wedged after {after} cancels: it accepts requests and answers none{}",
            before("still did")
        ),
        format!(
            "take a stack dump of the server now, while it hangs (`py-spy dump --pid PID`); restart it, \
             then {narrow}"
        ),
    )
}

fn cannot_tell(report: &ReclaimReport, asker: Asker) -> (String, String) {
    let cancels = report.cancels;
    if !report.first_canary.answered {
        let problem = report.first_canary.problem.as_deref();
        return (
            format!(
                "cannot tell: the server did not answer before anything was cancelled{}",
                problem.map_or_else(String::new, |problem| format!(" ({problem})"))
            ),
            match (report.first_canary.refused, asker) {
                (true, _) => "start the server, or give --url where it listens",
                (false, Asker::Test) => {
                    "check --url, --model and --endpoint-type with one request of `pinfire profile`; if the \
                     server is only slow, give it a longer --canary-timeout or ask for less (--osl)"
                }
                (false, Asker::Run) => "check --url, --model and --endpoint-type",
            }
            .to_owned(),
        );
    }
    if cancels == 0 {
        let advice = match asker {
            Asker::Test => report.manner.earlier(),
            Asker::Run => {
                "cancel more (--request-cancellation-rate) or earlier (--request-cancellation-delay), \
                 or ask for longer answers (--osl)"
            }
        };
        return (
            "cannot tell: every request was answered before it could be cancelled".to_owned(),
            advice.to_owned(),
        );
    }
    let page = match asker {
        Asker::Test => "--metrics-url",
        Asker::Run => "--server-metrics",
    };
    if report.waves.iter().any(|wave| wave.held_at_rest.is_some()) {
        let advice = match asker {
            Asker::Test => "ask for longer answers (--osl) or more samples (--metrics-interval)",
            Asker::Run => "ask for longer answers (--osl), or use `pinfire cancel-test`",
        };
        return (
            format!(
                "cannot tell: nothing of {cancels} cancelled requests is held at rest, but {}{}",
                report.held().says,
                match report.worst() {
                    Finding::Late =>
                        ", and whether they ran to their ends this server does not tell",
                    _ => "",
                }
            ),
            advice.to_owned(),
        );
    }
    (
        format!(
            "cannot tell: the server answers after {cancels} cancels, but shows neither running, nor \
             waiting requests, nor its cache"
        ),
        format!(
            "name its metrics page with {page}, switch metrics on in the server (vLLM: no \
             --disable-log-stats; SGLang: --enable-metrics; TensorRT-LLM: return_perf_metrics and \
             enable_iter_perf_stats), or describe them with --release-profile"
        ),
    )
}

fn leak(report: &ReclaimReport, settle: f64) -> String {
    let Share { cancels, leaked } = report.leak;
    if leaked < 0.5 {
        let cache = 100.0 * report.cache_leak.unwrap_or(0.0);
        return format!(
            "leaks cache: {cache:.3} % of it is still in use {settle} s after the last of {cancels} \
             cancels, and no request is"
        );
    }
    let (early, late) = (report.leak_before_first_token, report.leak_streaming);
    let only = if late.leaked < 0.5 && leaks_more(early, late) {
        ", only when cancelled before the first token"
    } else if early.leaked < 0.5 && leaks_more(late, early) {
        ", only when cancelled in the stream"
    } else {
        ""
    };
    format!(
        "leaks: {leaked:.0} of {cancels} {} ({:.1} %) are still held {settle} s after the load{only}",
        report.manner.requests(),
        100.0 * report.leak.per_cancel()
    )
}

/// Whether cancels of one kind leak more than those of another: so many of the leaks, or more,
/// would be theirs by chance in less than one of twenty runs (one-sided binomial test).
fn leaks_more(these: Share, others: Share) -> bool {
    const CHANCE_MAX: f64 = 0.05;
    let cancels = these.cancels + others.cancels;
    if others.cancels == 0 || cancels == 0 {
        return false;
    }
    let share = these.cancels as f64 / cancels as f64;
    let leaks = (these.leaked + others.leaked).round() as u32;
    let theirs = these.leaked.round() as u32;
    if share == 0.0 {
        return false;
    }
    // By the logarithm of the probability that k of all leaks are theirs: it is far below what a
    // float holds where there are thousands.
    let mut ln = f64::from(leaks) * (1.0 - share).ln();
    let mut chance = 0.0;
    for k in 0..=leaks {
        if k >= theirs {
            chance += ln.exp();
        }
        ln += (f64::from(leaks - k) / f64::from(k + 1) * share / (1.0 - share)).ln();
    }
    chance < CHANCE_MAX
}

fn leak_advice(report: &ReclaimReport, asker: Asker) -> String {
    let (early, late) = (report.leak_before_first_token, report.leak_streaming);
    let place = if leaks_more(early, late) && asker == Asker::Test {
        "look at how the server drops a request that is queued or in prefill"
    } else if leaks_more(late, early) && asker == Asker::Test {
        "look at how the server ends a stream whose client is gone"
    } else {
        "look at what the server does with a request whose client is gone, queued or in its stream"
    };
    let again = match asker {
        Asker::Test => "run again with a longer --settle",
        Asker::Run => "run `pinfire cancel-test --settle 60` against it",
    };
    format!(
        "{again} to tell a leak from a late release; then {place}; restart the server before its \
         slots are used up"
    )
}

impl ReclaimReport {
    /// All of it but what was seen sample by sample.
    #[must_use]
    pub fn brief(&self) -> Self {
        let mut brief = self.clone();
        brief.timeline = None;
        for page in &mut brief.pages {
            page.timeline = None;
        }
        brief.direct = None;
        brief
    }

    /// What follows the tables of a run on the console.
    pub fn block(&self) -> String {
        let mut block = String::new();
        let number = |value: Option<f64>, unit: &str| {
            value.map_or_else(
                || "not seen".to_owned(),
                |value| format!("{value:.2}{unit}"),
            )
        };
        // Writing to a text cannot fail.
        let _ = writeln!(block, "Does the server let go?  {}", self.summary);
        let _ = writeln!(block, "  next: {}", self.advice);
        let server = self.server.as_deref().unwrap_or("unknown server");
        if let Some(run) = self.waves.first() {
            let canary = |canary: &super::Canary| match canary.answered {
                true => format!("{:.1} ms", canary.took_ms),
                false => "no answer".to_owned(),
            };
            let _ = writeln!(
                block,
                "  metrics: {server}; held at rest beyond before: {} requests, {} % of the cache; back \
                 {} after the last cancel; held {} per cancel during the load",
                number(run.held_at_rest, ""),
                number(run.cache_at_rest.map(|share| 100.0 * share), ""),
                number(run.released_after_s, " s"),
                number(run.held_per_cancel_s, " s"),
            );
            let _ = writeln!(
                block,
                "  one request alone: {} before the run, {} after it",
                canary(&self.first_canary),
                canary(&run.canary)
            );
        }
        block += &self.witness_lines("  ");
        block += &self.page_lines("  ");
        block
    }

    /// The page for the console.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a text cannot fail.
        let _ = writeln!(page, "\n{}", self.summary);
        let _ = writeln!(page, "  next: {}", self.advice);
        if self.waves.is_empty() {
            return page;
        }
        let server = self.server.as_deref().unwrap_or("unknown");
        let _ = writeln!(page, "\nserver metrics: {server}");
        let _ = writeln!(
            page,
            "{:>5} {:>18} {:>8} {:>6} {:>11} {:>12} {:>11} {:>9} {:>13}",
            "wave",
            "cancelled",
            "cancels",
            "kept",
            "spread ms",
            "released s",
            "cache s",
            "held",
            "canary ms"
        );
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        for (nth, wave) in self.waves.iter().enumerate() {
            let canary = if wave.canary.answered {
                format!("{:.1}", wave.canary.took_ms)
            } else {
                "no answer".to_owned()
            };
            let _ = writeln!(
                page,
                "{:>5} {:>18} {:>8} {:>6} {:>11.2} {:>12} {:>11} {:>9} {:>13}",
                format!("{}{}", nth + 1, if wave.quiet { "q" } else { "" }),
                wave.phase.replace('_', " "),
                wave.cancels,
                wave.still_held
                    .map_or_else(|| "-".to_owned(), |still| still.to_string()),
                wave.spread_ms,
                number(wave.released_after_s, 2),
                number(wave.cache_back_after_s, 2),
                number(wave.held_at_rest, 0),
                canary,
            );
        }
        if let Some(resolution) = self.resolution_s {
            let _ = writeln!(
                page,
                "q: quiet, no request began after the cancels; released s is of these, to {resolution:.3} s \
                 from one sample to the next, and the server's own refresh on top ({})",
                self.refresh
            );
        }
        let _ = writeln!(
            page,
            "kept: still held 0.5 s after the cancel, or half-way to the end of the answers; of {} cancels \
             a share of {:.1} % would have shown (95 %){}",
            self.cancels,
            self.detectable_pct,
            match self.detectable_pct > 1.0 {
                true => format!(
                    "; to see 1 % takes {} cancels (--detect 1%)",
                    cancels_to_detect(0.01)
                ),
                false => String::new(),
            }
        );
        page += &self.witness_lines("");
        page += &self.page_lines("");
        page += &self.direct_lines();
        let effect = &self.effect;
        for (what, near, control) in [
            ("time to first token", effect.ttft_near, effect.ttft_control),
            ("gap between tokens", effect.itl_near, effect.itl_control),
        ] {
            let spread = |spread: Option<Spread>| {
                spread.map_or_else(
                    || "-".to_owned(),
                    |s| format!("p50 {:.2} p99 {:.2} ms ({})", s.p50_ms, s.p99_ms, s.count),
                )
            };
            let _ = writeln!(
                page,
                "{what} near a cancel: {}; without: {}",
                spread(near),
                spread(control)
            );
        }
        let _ = writeln!(
            page,
            "after a cancel on new connections: {} requests, {} answered; survivors that failed: {}",
            effect.new_connections, effect.new_connections_answered, effect.survivors_failed
        );
        page
    }

    /// What was found at the server itself, where it was tested.
    fn direct_lines(&self) -> String {
        let Some(direct) = &self.direct else {
            return String::new();
        };
        let (url, report) = (&direct.url, &direct.report);
        let mut lines = format!("directly at {url}: {}\n", report.summary);
        lines += &report.witness_lines("  ");
        lines
    }

    /// A line of each page, where there were several.
    fn page_lines(&self, indent: &str) -> String {
        let mut lines = String::new();
        for page in &self.pages {
            let kind = page.server.as_deref().unwrap_or("unknown server");
            let (url, finding) = (&page.url, page.finding.name());
            // Writing to a text cannot fail.
            let _ = writeln!(lines, "{indent}page {url} ({kind}): {finding}");
            for witness in &page.witnesses {
                let (name, verdict) = (witness.witness.name(), witness.verdict.name());
                let _ = writeln!(lines, "{indent}  {name:<18} {verdict:<12} {}", witness.says);
            }
        }
        lines
    }

    /// A line of each witness, and of what they disagree about.
    fn witness_lines(&self, indent: &str) -> String {
        let mut lines = String::new();
        for Witness {
            witness,
            verdict,
            says,
            ..
        } in &self.witnesses
        {
            let (name, verdict) = (witness.name(), verdict.name());
            // Writing to a text cannot fail.
            let _ = writeln!(lines, "{indent}{name:<18} {verdict:<12} {says}");
        }
        if let Some(disagreement) = &self.disagreement {
            let _ = writeln!(lines, "{indent}{disagreement}");
        }
        lines
    }
}

impl Counter {
    /// What the server's own counter of aborts is worth. It tells nothing of a release.
    pub(super) fn witness(&self, manner: &Manner) -> Witness {
        Witness::silent(Source::AbortCounter, self.words(manner))
    }

    fn words(&self, manner: &Manner) -> String {
        let counted = self.counted.unwrap_or(0.0);
        let per = self.per_cancel.unwrap_or(0.0);
        let cancels = self.cancels;
        match self.verdict {
            CounterVerdict::NotShown => "not reported by this server".to_owned(),
            CounterVerdict::SaysNothing => format!(
                "says nothing here ({counted:.0} for {cancels}): {}",
                manner.not_counted().unwrap_or("it need not count them")
            ),
            CounterVerdict::AlwaysZero => format!(
                "did not move for {cancels} cancels: it does not count clients that disconnect (as \
                 vLLM); do not alert on it"
            ),
            CounterVerdict::Agrees => format!("counts {counted:.0} for {cancels} cancels"),
            CounterVerdict::Doubled => {
                format!("counts twice: {counted:.0} for {cancels} cancels ({per:.2} each)")
            }
            CounterVerdict::Off => {
                format!("is off: {counted:.0} for {cancels} cancels ({per:.2} each)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_leaks_of_one_kind_may_be_chance() {
        let share = |cancels, leaked| Share { cancels, leaked };
        // Two of two, of half of the cancels: one run of four.
        assert!(!leaks_more(share(10, 2.0), share(10, 0.0)));
        assert!(!leaks_more(share(10, 4.0), share(10, 0.0)));
        // Five of five: one of thirty-two.
        assert!(leaks_more(share(10, 5.0), share(10, 0.0)));
        assert!(!leaks_more(share(10, 0.0), share(10, 5.0)));
        // Nine of ten: eleven of 1,024; eight of ten: 56.
        assert!(leaks_more(share(20, 9.0), share(20, 1.0)));
        assert!(!leaks_more(share(20, 8.0), share(20, 2.0)));
        // Thousands.
        assert!(leaks_more(share(5_000, 5_000.0), share(5_000, 0.0)));
        assert!(leaks_more(share(5_000, 2_600.0), share(5_000, 2_400.0)));
        assert!(!leaks_more(share(5_000, 2_510.0), share(5_000, 2_490.0)));
        assert!(!leaks_more(share(0, 0.0), share(9, 9.0)));
        // Nearly all cancels were of this kind, or all: nothing to compare with.
        assert!(!leaks_more(share(95, 20.0), share(5, 0.0)));
        assert!(!leaks_more(share(10, 10.0), share(0, 0.0)));
    }
}
