//! The verdict in words, and what to do next.

use std::fmt::Write;

use super::{CounterVerdict, Evidence, ReleaseReport, Share, Verdict, effect::Spread};

/// Release up to this long is at once, in seconds: a look or two, and the server's own step.
const AT_ONCE: f64 = 0.5;

/// Summary and advice.
pub(super) fn words(report: &ReleaseReport, evidence: &Evidence) -> (String, String) {
    let cancels = report.cancels;
    let settle = evidence.settle.as_secs_f64();
    match report.verdict {
        Verdict::Released => {
            let summary = match report.released_after_s {
                Some([median, longest]) if longest > AT_ONCE => format!(
                    "released late: all of {cancels} cancelled requests, {median:.2} s after the \
                     cancel (median; longest {longest:.2} s)"
                ),
                Some([_, longest]) => format!(
                    "released at once: all of {cancels} cancelled requests, within {longest:.2} s"
                ),
                None => {
                    format!("released: nothing of {cancels} cancelled requests is held at rest")
                }
            };
            let advice = "nothing to do. If late: capacity is lost for that time after each cancel; \
                          look for a poll of client connections in the server or a proxy before it";
            (summary, advice.to_owned())
        }
        Verdict::Leaked => (leak(report, settle), leak_advice(report)),
        Verdict::Wedged => {
            let [after, survived] = report.lost_after_cancels.unwrap_or_default();
            (
                format!(
                    "wedged after {after} cancels: it accepts requests and answers none (it still \
                     did after {survived})"
                ),
                "take a stack dump of the server now, while it hangs; then run again with \
                 --concurrency 2 to find the exact cancel"
                    .to_owned(),
            )
        }
        Verdict::Died => {
            let [after, survived] = report.lost_after_cancels.unwrap_or_default();
            (
                format!(
                    "died: nobody accepts connections after {after} cancels (it was there after \
                     {survived})"
                ),
                "read the end of the server's log; a cancel must never end a server".to_owned(),
            )
        }
        Verdict::CannotTell if !report.first_canary.answered => (
            "cannot tell: the server did not answer before anything was cancelled".to_owned(),
            "check --url, --model and --endpoint-type with one request of `pinfire profile`"
                .to_owned(),
        ),
        Verdict::CannotTell if cancels == 0 => (
            "cannot tell: every request was answered before it could be cancelled".to_owned(),
            "ask for longer answers (--osl) or longer prompts (--isl)".to_owned(),
        ),
        Verdict::CannotTell => (
            format!(
                "cannot tell: the server answers after {cancels} cancels, but shows neither \
                 running, nor waiting requests, nor its cache"
            ),
            "name its metrics page with --metrics-url, switch metrics on in the server (vLLM: no \
             --disable-log-stats, SGLang: --enable-metrics), or describe them with \
             --release-profile"
                .to_owned(),
        ),
    }
}

fn leak(report: &ReleaseReport, settle: f64) -> String {
    let Share { cancels, leaked } = report.leak;
    if leaked < 0.5 {
        let cache = 100.0 * report.cache_leak.unwrap_or(0.0);
        return format!(
            "leaks cache: {cache:.3} % of it is still in use {settle} s after the last of {cancels} \
             cancels, and no request is"
        );
    }
    let (early, late) = (report.leak_before_first_token, report.leak_streaming);
    let only = if late.cancels > 0 && late.leaked < 0.5 {
        ", only when cancelled before the first token"
    } else if early.cancels > 0 && early.leaked < 0.5 {
        ", only when cancelled in the stream"
    } else {
        ""
    };
    format!(
        "leaks: {leaked:.0} of {cancels} cancelled requests ({:.1} %) are still held {settle} s after \
         the load{only}",
        100.0 * report.leak.per_cancel()
    )
}

fn leak_advice(report: &ReleaseReport) -> String {
    let early = report.leak_before_first_token.per_cancel() > report.leak_streaming.per_cancel();
    let place = if early {
        "look at how the server drops a request that is queued or in prefill"
    } else {
        "look at how the server ends a stream whose client is gone"
    };
    format!(
        "{place}; run again with a longer --settle to tell a leak from a late release; restart the \
         server before its slots are used up"
    )
}

impl ReleaseReport {
    /// The page for the console.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a text cannot fail.
        let _ = writeln!(page, "\n{}", self.summary);
        let _ = writeln!(page, "  next: {}", self.advice);
        let server = self.server.as_deref().unwrap_or("unknown");
        let _ = writeln!(page, "\nserver metrics: {server}");
        let _ = writeln!(
            page,
            "{:>5} {:>18} {:>8} {:>11} {:>12} {:>11} {:>9} {:>13}",
            "wave",
            "cancelled",
            "cancels",
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
                "{:>5} {:>18} {:>8} {:>11.2} {:>12} {:>11} {:>9} {:>13}",
                nth + 1,
                wave.phase.replace('_', " "),
                wave.cancels,
                wave.spread_ms,
                number(wave.released_after_s, 2),
                number(wave.cache_back_after_s, 2),
                number(wave.held_at_rest, 0),
                canary,
            );
        }
        let _ = writeln!(page, "\n{}", self.counter_line());
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

    fn counter_line(&self) -> String {
        let counted = self.counter.counted.unwrap_or(0.0);
        let per = self.counter.per_cancel.unwrap_or(0.0);
        let cancels = self.counter.cancels;
        match self.counter.verdict {
            CounterVerdict::NotShown => {
                "the server's own counter of aborts: not reported by this server".to_owned()
            }
            CounterVerdict::AlwaysZero => format!(
                "the server's own counter of aborts did not move for {cancels} cancels: it does not \
                 count clients that leave (as vLLM); do not alert on it"
            ),
            CounterVerdict::Agrees => {
                format!("the server's own counter of aborts: {counted:.0} for {cancels} cancels")
            }
            CounterVerdict::Doubled => format!(
                "the server's own counter of aborts counts twice: {counted:.0} for {cancels} cancels \
                 ({per:.2} each)"
            ),
            CounterVerdict::Off => format!(
                "the server's own counter of aborts is off: {counted:.0} for {cancels} cancels \
                 ({per:.2} each)"
            ),
        }
    }
}
