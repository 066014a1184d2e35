//! The tables of a run, as printed and as kept in the console file.

use std::cmp::Reverse;

use pinfire_artifacts::tag;
use pinfire_base::cgroup::CpuQuotaUse;
use pinfire_base::delay::Delay;
use pinfire_base::health::{BackoffCounts, Durations, ReceiveCounts};
use pinfire_base::record::{CancelTrigger, Leave, Trigger};

use pinfire_guard::shown;

use super::panels;
use super::table::{Align, METRIC_COLUMNS, Table, metric_table, style, wrap};
use super::words::{PER_GPU_UNIT, PRODUCT, number, plural, thousands};
use crate::calibration;
use crate::collect::ErrorGroup;
use crate::facts::RecordedRun;
use crate::metric::{Group, Place};
use crate::reading::os_text;
use crate::report::health::Harm;
use crate::report::lateness::told;
use crate::report::{Block, Report};
use crate::stats::Figures;

/// Display names longer than this have their unit on a line of its own.
const NAME_MAX: usize = 30;
/// Kinds of errors in their table: the most frequent ones.
const ERRORS_SHOWN: usize = 10;
/// A server may answer an error with a whole page.
const MESSAGE_MAX: usize = 1_000;

const SECTION: &str = "\n\n";

impl Report {
    /// All tables and notes, without the footer; in colour for `pinfire_guard::painted`.
    pub fn console(&self, width: usize, colour: bool) -> String {
        let mut text = String::new();
        if let Some(reason) = &self.end.interrupted {
            let warning = format!("The run is incomplete: {reason}");
            text += &format!("{SECTION}{}\n", style(&warning, "33", colour));
        }
        if let Some(failed) = self.warmup_failed() {
            text += &format!("{SECTION}{}\n", style(&failed, "33", colour));
        }
        for notice in self.insights() {
            text += "\n";
            text += &panels::render(&notice, width, colour);
        }
        if !self.errors.is_empty() {
            text += SECTION;
            text += &self.error_table(width, colour);
        }
        if self.facts.trace_table {
            text += SECTION;
            text += &self.trace_table(width, colour);
        }
        let tables = self.metric_tables(width, colour);
        if !tables.is_empty() {
            text += SECTION;
            text += &tables;
            if let Some(hint) = self.shared_stamps() {
                wrap(&hint, width)
                    .iter()
                    .for_each(|line| text.extend([line, "\n"]));
            }
            if let Some(hint) = self.cache_hint() {
                text += "\n";
                wrap(hint, width)
                    .iter()
                    .for_each(|line| text.extend([line, "\n"]));
            }
        }
        if let Some(table) = self.cancellation_table() {
            text += SECTION;
            text += &table.render(width, colour);
        }
        if let Some(release) = &self.release {
            text += SECTION;
            text += &release.block();
        }
        text += &self.external_tables(width, colour);
        text += &self.shard_tables(width, colour);
        for notice in self.notices() {
            text += "\n";
            text += &panels::render(&notice, width, colour);
        }
        text += SECTION;
        if self.coarse {
            text += &format!(
                "More than {} requests: percentiles have three digits, curves are averages of 0.1 s. \
                 --exact-records 0 keeps every value.\n",
                thousands(&self.facts.exact_records.to_string())
            );
        }
        text += &self.health_lines(width, colour);
        if let Some(calibration) = self.calibration() {
            wrap(&calibration::beside(calibration), width)
                .iter()
                .for_each(|line| text.extend([line, "\n"]));
        }
        for difference in &self.accounting.differences {
            let line = format!("Requests are not all accounted for: {difference}");
            text += &(style(&line, "31", colour) + "\n");
        }
        text
    }

    /// The table of HTTP timings (`--show-trace-timing`).
    fn trace_table(&self, width: usize, colour: bool) -> String {
        let mut rows: Vec<(u16, &Block)> = self
            .blocks
            .iter()
            .filter_map(|block| match block.metric.place {
                Place::Trace(order) => Some((order, block)),
                _ => None,
            })
            .collect();
        rows.sort_by_key(|(order, _)| *order);
        let mut table = metric_table(format!("{PRODUCT} | HTTP Trace Timing"));
        rows.iter().for_each(|(_, block)| table.row(cells(block)));
        table.render(width, colour)
    }

    /// One line on a warmup of which requests failed.
    pub(super) fn warmup_failed(&self) -> Option<String> {
        let failed = self.warmup_counts.failed_in_words(&self.warmup_errors)?;
        Some(format!("Warmup: {failed}"))
    }

    /// The most frequent errors; all of them are in the summary.
    fn error_table(&self, width: usize, colour: bool) -> String {
        let head = [
            ("Code", Align::Right),
            ("Type", Align::Right),
            ("Message", Align::Left),
            ("Count", Align::Right),
        ];
        let title = format!("{PRODUCT} | Error Summary");
        let mut table = Table::new(title, &head, 2).then_flexible(1);
        let mut groups: Vec<&ErrorGroup> = self.errors.iter().collect();
        let more = groups.len().saturating_sub(ERRORS_SHOWN);
        if more > 0 {
            groups.sort_by_key(|group| Reverse(group.count));
        }
        for group in groups.iter().take(ERRORS_SHOWN) {
            let problem = &group.problem;
            let code = problem
                .code
                .map_or_else(|| "N/A".to_owned(), |c| c.to_string());
            table.row(vec![
                code,
                problem.kind.clone(),
                shortened(&problem.message),
                thousands(&group.count.to_string()),
            ]);
        }
        let mut text = table.render(width, colour);
        if more > 0 {
            let requests: u64 = groups[ERRORS_SHOWN..].iter().map(|group| group.count).sum();
            text += &format!(
                "… and {} of errors ({}) in {}\n",
                plural(more as u64, "more kind"),
                plural(requests, "request"),
                self.facts.files.json
            );
        }
        text
    }

    fn metric_tables(&self, width: usize, colour: bool) -> String {
        let title = self.facts.endpoint().title;
        let mut text = String::new();
        for group in Group::ALL {
            let mut rows: Vec<(u16, &Block)> = self
                .blocks
                .iter()
                .filter_map(|block| match block.metric.place {
                    Place::Table(g, order) if g == group => {
                        Some((order.unwrap_or(u16::MAX), block))
                    }
                    _ => None,
                })
                .collect();
            if rows.is_empty() {
                continue;
            }
            // Stable: rows without a place stay in order of computation.
            rows.sort_by_key(|(order, _)| *order);
            let mut table = metric_table(format!("{PRODUCT} | {title}{}", group.suffix()));
            for (_, block) in &rows {
                table.row(cells(block));
                if block.metric.tag == tag::OUTPUT_TOKEN_THROUGHPUT_PER_USER {
                    self.gpu_rows(&mut table);
                }
            }
            let per_user = |(_, block): &(u16, &Block)| {
                block.metric.tag == tag::OUTPUT_TOKEN_THROUGHPUT_PER_USER
            };
            // Answers that are not streamed have no rate per user to stand beside.
            if group == Group::Default && !rows.iter().any(per_user) {
                self.gpu_rows(&mut table);
            }
            text += &table.render(width, colour);
        }
        text
    }

    /// What the gaps between events cannot show.
    fn shared_stamps(&self) -> Option<String> {
        let shared = &self.health.shared;
        (shared.sharing > 0).then(|| {
            format!(
                "Events sharing a stamp: {} of {} ({:.1} %) came in one read with another; a gap of \
                 0 between them is not the server's. All but the last of a read have a time that is too \
                 late, by {:.3} ms at most at the median, {:.3} ms at p99. Among them is the first \
                 event of {} of {} answers.",
                thousands(&shared.sharing.to_string()),
                thousands(&shared.events.to_string()),
                100.0 * shared.sharing as f64 / shared.events as f64,
                shared.late_at_most.percentile(50.0).as_millis_f64(),
                shared.late_at_most.percentile(99.0).as_millis_f64(),
                thousands(&shared.firsts_sharing.to_string()),
                thousands(&shared.answers.to_string()),
            )
        })
    }

    /// Throughputs per GPU.
    fn gpu_rows(&self, table: &mut Table) {
        for (metric, value) in self.per_gpu() {
            let label = format!("{} Per GPU\n({PER_GPU_UNIT})", metric.name);
            let mut cells = vec![label, number(Some(value))];
            cells.resize(METRIC_COLUMNS.len(), number(None));
            table.row(cells);
        }
    }

    /// What was asked of planned cancellation and what came of it.
    fn cancellation_table(&self) -> Option<Table> {
        let cancelled = self.cancellation.as_ref()?;
        let head = [("Planned", Align::Right), ("Value", Align::Right)];
        let mut table = Table::new(format!("{PRODUCT} | Cancellation"), &head, 0);
        let mut row = |name: String, value: String| table.row(vec![name, value]);
        let number = |value: Option<f64>| number(value);
        row(
            "Rate asked (%)".into(),
            number(Some(cancelled.asked.rate_pct)),
        );
        row("Rate reached (%)".into(), number(cancelled.reached_pct));
        let count = |count: u64| thousands(&count.to_string());
        row("Cancelled (requests)".into(), count(cancelled.cancelled));
        row(
            "Finished before the deadline".into(),
            count(cancelled.finished_first),
        );
        if cancelled.failed_first > 0 {
            row(
                "Failed before the deadline".into(),
                count(cancelled.failed_first),
            );
        }
        let asked = &cancelled.asked;
        match asked.delay {
            Delay::Fixed(delay) => {
                let delay = number(Some(delay.as_millis_f64()));
                row("Delay asked (ms)".into(), delay);
            }
            other => row("Delay asked (s)".into(), other.to_string()),
        }
        if asked.trigger != CancelTrigger::At(Trigger::Sent) {
            row("Delay counts from".into(), asked.trigger.to_string());
        }
        if asked.leave != Leave::Fin {
            row("Left by".into(), asked.leave.name().into());
        }
        if let Some(wave) = asked.wave {
            row("A wave every (s)".into(), number(Some(wave.as_secs_f64())));
        }
        let spread = |figures: &Figures| {
            let percentiles = [50, 90, 99].map(|q| (format!("p{q}"), figures.percentile(q)));
            percentiles
                .into_iter()
                .chain([("max".to_owned(), figures.max)])
        };
        if let Some(achieved) = &cancelled.achieved_ms {
            for (name, value) in spread(achieved) {
                row(format!("Delay reached {name} (ms)"), number(value));
            }
        }
        if let Some(error) = &cancelled.error_us {
            for (name, value) in spread(error) {
                row(format!("Delay error {name} (us)"), number(value));
            }
        }
        for (stage, reached) in cancelled.stages.iter().filter(|(_, n)| *n > 0) {
            row(format!("Cancelled while {}", stage.name()), count(*reached));
        }
        for (after, reached) in cancelled.after.iter().filter(|(_, n)| *n > 0) {
            let name = format!("After the half-close {}", after.name());
            row(name, count(*reached));
        }
        for (name, figures) in [("Events", &cancelled.events), ("Tokens", &cancelled.tokens)] {
            if let Some(figures) = figures {
                row(format!("{name} received, avg"), number(figures.avg));
                row(format!("{name} received, max"), number(figures.max));
            }
        }
        row(
            "Connections closed for it".into(),
            count(cancelled.connections_closed),
        );
        let [whole, of] = cancelled.acknowledged;
        if of > 0 {
            row(
                "Whole request acknowledged before the disconnect".into(),
                format!("{} of {}", count(whole), count(of)),
            );
        }
        let collateral = &cancelled.collateral;
        for (what, of) in [
            ("beside a cancel", &collateral.overlapping),
            ("beside none", &collateral.apart),
        ] {
            if of.requests > 0 {
                row(format!("Finished {what} (requests)"), count(of.requests));
            }
            for (tag, figures) in [("TTFT", &of.ttft_ms), ("ITL", &of.itl_ms)] {
                if let Some(figures) = figures {
                    for q in [50, 99] {
                        let name = format!("{tag} p{q} {what} (ms)");
                        row(name, number(figures.percentile(q)));
                    }
                }
            }
        }
        Some(table)
    }

    /// The verdict on the client in a few words; as an error where it was the bottleneck.
    pub(super) fn client_in_words(&self) -> Result<String, String> {
        if let Some(recorded) = &self.facts.recorded {
            return told_health(recorded);
        }
        if self.health.is_bottleneck() {
            let distrust = self.health.harms.iter().map(|harm| harm.words());
            let distrust: Vec<&str> = distrust.collect();
            let reasons = self.health.reasons.iter();
            return Err(bottleneck(reasons, &distrust, self.health.latencies_hold()));
        }
        let core = &self.health.merged;
        let late = [
            ("timers", &core.timer_lateness),
            ("sends", &core.send_lateness),
            ("reads", &core.receive_delay),
        ];
        let late = late.into_iter().filter(|(_, late)| late.count() > 0);
        let late: Vec<String> = late
            .map(|(what, late)| format!("{what} {:.3} ms", late.percentile(99.0).as_millis_f64()))
            .collect();
        let late = match &late[..] {
            [] => "nothing was timed".to_owned(),
            late => format!("late at p99: {}", late.join(", ")),
        };
        let late = match told(&self.health.added) {
            Some(told) => format!("{told}; {late}"),
            None => late,
        };
        Ok(match &self.health.held {
            Some(held) => format!(
                "within its bounds; {late}; {:.1} of {} streams held",
                held.avg, held.asked
            ),
            None => format!("within its bounds; {late}"),
        })
    }

    /// Three lines on the client itself, and more under a CPU quota, when SYNs were lost or it was
    /// the bottleneck.
    fn health_lines(&self, width: usize, colour: bool) -> String {
        if let Some(recorded) = &self.facts.recorded {
            return match told_health(recorded) {
                Ok(words) => format!("Client health: {words}\n"),
                Err(verdict) => warning(&format!("The client {verdict}"), width, colour),
            };
        }
        let core = &self.health.merged;
        let held = match (&self.health.held, self.facts.own_concurrency()) {
            (Some(held), _) => format!(
                "{:.1} of {} streams held, at most {:.0}",
                held.avg, held.asked, held.max
            ),
            (None, Some(asked)) => format!(
                "{} asked, too few requests to tell",
                plural(asked.into(), "stream")
            ),
            (None, None) => "no concurrency was asked for".to_owned(),
        };
        let held = match (self.facts.shard, self.facts.profiling.concurrency) {
            (shard, Some(all)) if !shard.is_whole() => format!(
                "{held} (shard {} of {}, which share {all})",
                shard.index(),
                shard.count()
            ),
            _ => held,
        };
        let mut text = format!(
            "Client health: timer lateness {}\n\
             \x20              receive delay  {}{}\n\
             \x20              send lateness  {}; turn {}; {held}\n",
            spread(&core.timer_lateness),
            spread(&core.receive_delay),
            stamps_used(&core.receive_stamps),
            spread(&core.send_lateness),
            spread(&core.turn),
        );
        if let Some(told) = told(&self.health.added) {
            text += &format!("\x20              the client {told}\n");
        }
        if let Some(CpuQuotaUse { quota, throttling }) = self.health.cpu_quota {
            text += &format!(
                "\x20              CPU quota      {quota}, used up in {} of {} periods\n",
                throttling.throttled, throttling.periods
            );
        }
        if core.slow_connects > 0 {
            let (connects, s) = (
                core.slow_connects,
                if core.slow_connects == 1 { "" } else { "s" },
            );
            let line = format!(
                "{connects} connect{s} took almost exactly 1, 2, 3, 4, 5 or 7 s: SYN retransmits, the \
                 server's accept queue was full."
            );
            for line in wrap(&line, width) {
                text += &(style(&line, "33", colour) + "\n");
            }
        }
        let unreached = self
            .anomalies
            .unreached
            .iter()
            .map(|((address, errno), connects)| {
                format!(
                    "{address} gave no connection {} ({}); the next address of its name was tried.",
                    plural(*connects, "time"),
                    os_text(*errno)
                )
            });
        for line in unreached.chain(rests(&core.backoff)) {
            for line in wrap(&line, width) {
                text += &(style(&line, "33", colour) + "\n");
            }
        }
        if let Err(verdict) = self.client_in_words() {
            text += &warning(&format!("The client {verdict}"), width, colour);
        }
        text
    }
}

/// How much of its concurrency a closed loop has held back from a server that did not answer.
fn rests(backoff: &BackoffCounts) -> Option<String> {
    (backoff.rests > 0).then(|| {
        format!(
            "{} rested {} after requests without any answer, {:.1} s in all: a server that is down is \
             not asked at full speed (--no-error-backoff does).",
            plural(backoff.slots, "slot"),
            plural(backoff.rests, "time"),
            backoff.rested.as_secs_f64()
        )
    })
}

/// Where the times of received data come from.
fn stamps_used(counts: &ReceiveCounts) -> String {
    if counts.reads() == 0 {
        return String::new();
    }
    match (counts.kernel, counts.fallen_back()) {
        (0, _) => "; times are the engine's own".to_owned(),
        (_, 0) => "; times are the kernel's".to_owned(),
        (_, fallen) => format!(
            "; times are the kernel's, but for {} of {} reads",
            thousands(&fallen.to_string()),
            thousands(&counts.reads().to_string())
        ),
    }
}

/// The verdict, with the metrics that suffer and whether the latencies stand all the same.
fn bottleneck(
    reasons: impl Iterator<Item = impl AsRef<str>>,
    distrust: &[&str],
    latencies_hold: bool,
) -> String {
    let reasons: Vec<String> = reasons.map(|reason| reason.as_ref().to_owned()).collect();
    let mut verdict = format!(
        "was the bottleneck, so these figures are not the server's alone: {}.",
        reasons.join("; ")
    );
    if !distrust.is_empty() {
        verdict += &format!(" Distrust {}.", distrust.join(", "));
    }
    if latencies_hold {
        verdict += " Latencies stand: received data has the kernel's timestamps.";
    }
    verdict
}

/// What the run itself said about its client, where the report is made from files; as an error
/// where it was the bottleneck.
fn told_health(recorded: &RecordedRun) -> Result<String, String> {
    let Some(health) = recorded.summary.client_health.as_deref() else {
        return Ok("its files do not tell".to_owned());
    };
    if health.reasons.is_empty() {
        return Ok("within its bounds, by the run's own account".to_owned());
    }
    let distrust: Vec<&str> = health.distrust.iter().map(String::as_str).collect();
    let stamps = health.receive_stamps.as_ref();
    let measured = stamps.and_then(|stamps| stamps.phases.get("profiling"));
    let by_kernel = measured.is_some_and(|reads| reads.used == "kernel");
    let hold = by_kernel && !distrust.contains(&Harm::Latencies.words());
    Err(bottleneck(health.reasons.iter(), &distrust, hold))
}

/// Words of warning on lines of their own.
fn warning(words: &str, width: usize, colour: bool) -> String {
    let lines = wrap(words, width).into_iter();
    lines
        .map(|line| style(&line, "33", colour) + "\n")
        .collect()
}

fn cells(block: &Block) -> Vec<String> {
    let (metric, figures) = (block.metric, &block.figures);
    let separator = match metric.name.chars().count() {
        length if length > NAME_MAX => '\n',
        _ => ' ',
    };
    let label = format!("{}{separator}({})", metric.name, metric.shown.name());
    let percentile = |q| number(figures.percentile(q));
    vec![
        label,
        number(figures.avg),
        number(figures.min),
        number(figures.max),
        percentile(99),
        percentile(90),
        percentile(50),
        number(figures.std),
    ]
}

/// A message of bearable length. No credential is cut in two, of which a part would be shown.
pub(super) fn shortened(message: &str) -> String {
    let message = shown(message);
    match message.char_indices().nth(MESSAGE_MAX) {
        Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
        None => message.into_owned(),
    }
}

fn spread(durations: &Durations) -> String {
    if durations.count() == 0 {
        return "not measured".to_owned();
    }
    let ms = |q| durations.percentile(q).as_millis_f64();
    format!("p50 {:.3} ms, p99 {:.3} ms", ms(50.0), ms(99.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_cannot_break_the_frame() {
        assert_eq!(shortened("a\tb\nc\u{1b}[0m"), "a\\tb\nc\\x1b[0m");
        assert!(shortened(&"x".repeat(2_000)).ends_with("x…"));
    }
}
