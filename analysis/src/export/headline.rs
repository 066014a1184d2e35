//! What a run showed, on one screen: the answer first. The tables are in the console file.

use pinfire_artifacts::{RESOLVED_CONFIG, tag};
use pinfire_base::{
    delay::Delay,
    record::{CancelTrigger, Trigger},
};
use pinfire_guard::shown_line;

use super::Written;
use super::table::{style, wrap};
use super::words::{number, plural, thousands};
use crate::collect::ErrorGroup;
use crate::report::{Cancellation, Report};
use crate::stats::Figures;

/// Width of the column of names.
const NAMES: usize = 15;
/// Width of a column of figures.
const COLUMN: usize = 12;
/// The percentiles of the headline.
const PERCENTILES: [u8; 3] = [50, 90, 99];
/// Kinds of errors that are named; the others are counted.
const ERRORS_NAMED: usize = 3;
/// The latencies of the headline, with the names that the field has for them.
const LATENCIES: [(&str, &str); 3] = [
    (tag::TIME_TO_FIRST_TOKEN, "TTFT (ms)"),
    (tag::INTER_TOKEN_LATENCY, "ITL (ms)"),
    (tag::REQUEST_LATENCY, "Latency (ms)"),
];
/// Throughputs, with their units.
const THROUGHPUTS: [(&str, &str); 3] = [
    (tag::REQUEST_THROUGHPUT, "requests/s"),
    (tag::OUTPUT_TOKEN_THROUGHPUT, "output tokens/s"),
    (tag::INPUT_TOKEN_THROUGHPUT, "input tokens/s"),
];

/// Lines that begin with a name, in a column of its own.
struct Lines {
    width: usize,
    colour: bool,
    text: String,
}

impl Lines {
    fn new(width: usize, colour: bool) -> Self {
        Self {
            width,
            colour,
            text: String::new(),
        }
    }

    /// Words behind a name; where they are long, the lines below stand under them.
    fn say(&mut self, name: &str, words: &str) {
        self.painted(name, words, None);
    }

    /// The same as a warning.
    fn warn(&mut self, name: &str, words: &str) {
        self.painted(name, words, Some("33"));
    }

    fn painted(&mut self, name: &str, words: &str, code: Option<&str>) {
        let room = self.width.saturating_sub(NAMES).max(40);
        let mut name = name;
        for line in wrap(words, room) {
            let line = format!("{name:<NAMES$}{line}");
            match code {
                Some(code) => self.text += &style(&line, code, self.colour),
                None => self.text += &line,
            }
            self.text.push('\n');
            name = "";
        }
    }

    fn gap(&mut self) {
        self.text.push('\n');
    }
}

impl Report {
    /// The headline alone: outcome, latencies, throughput, and why requests failed.
    pub fn headline(&self, width: usize, colour: bool) -> String {
        let mut lines = Lines::new(width, colour);
        if let Some(reason) = &self.end.interrupted {
            lines.warn("Incomplete", reason);
        }
        self.outcome(&mut lines);
        self.latencies(&mut lines);
        let throughputs = THROUGHPUTS.iter().filter_map(|(tag, unit)| {
            let value = self.value(tag)?;
            Some(format!("{} {unit}", number(Some(value))))
        });
        let throughputs: Vec<String> = throughputs.collect();
        if !throughputs.is_empty() {
            lines.say("Throughput", &throughputs.join(", "));
        }
        let per_gpu = self.per_gpu().into_iter().map(|(metric, value)| {
            let name = metric.name.to_lowercase();
            format!(
                "{} {} ({name})",
                number(Some(value)),
                super::words::PER_GPU_UNIT
            )
        });
        let per_gpu: Vec<String> = per_gpu.collect();
        if !per_gpu.is_empty() {
            lines.say("Per GPU", &per_gpu.join(", "));
        }
        self.named_errors(&mut lines);
        lines.text
    }

    /// The headline, and what there is to know or to do beside it: cancellation, the verdict on the
    /// client, where the files are.
    pub fn brief(&self, width: usize, colour: bool, written: Option<&Written>) -> String {
        let mut lines = Lines::new(width, colour);
        lines.gap();
        lines.text += &self.headline(width, colour);
        if let Some(failed) = self.warmup_failed() {
            lines.warn("Warmup", failed.trim_start_matches("Warmup: "));
        }
        if let Some(cancelled) = &self.cancellation {
            lines.gap();
            cancellation(&mut lines, cancelled);
        }
        if let Some(release) = &self.release {
            lines.gap();
            lines.text += &release.block();
        }
        lines.gap();
        self.client(&mut lines);
        for (at, words) in self.shards_in_words().iter().enumerate() {
            lines.say(if at == 0 { "Shards" } else { "" }, words);
        }
        self.hints(&mut lines);
        lines.gap();
        self.where_files_are(&mut lines, written);
        lines.text
    }

    fn outcome(&self, lines: &mut Lines) {
        let counts = self.counts;
        let ended = counts.valid + counts.errors;
        let count = |count: u64| thousands(&count.to_string());
        let mut words = match ended {
            0 => "no request was answered".to_owned(),
            _ => format!(
                "{} of {} ({:.2} %)",
                count(counts.valid),
                plural(ended, "request")
                    .to_string()
                    .replacen(&ended.to_string(), &count(ended), 1),
                100.0 * counts.valid as f64 / ended as f64
            ),
        };
        if counts.cancelled > 0 {
            words += &format!(", {} cancelled by plan", count(counts.cancelled));
        }
        if let Some(seconds) = self.value(tag::BENCHMARK_DURATION) {
            words += &format!(", in {seconds:.2} s");
        }
        match counts.errors {
            0 if ended > 0 => lines.say("Success", &words),
            _ => lines.warn("Success", &words),
        }
    }

    fn latencies(&self, lines: &mut Lines) {
        let rows = LATENCIES.iter();
        let rows: Vec<(&str, &Figures)> = rows
            .filter_map(|(tag, name)| Some((*name, self.figures(tag)?)))
            .collect();
        if rows.is_empty() {
            return;
        }
        let mut head = " ".repeat(NAMES);
        for q in PERCENTILES {
            head += &format!("{:>COLUMN$}", format!("p{q}"));
        }
        lines.text += &format!("{}\n", style(&head, "1", lines.colour));
        for (name, figures) in rows {
            lines.text += &format!("{name:<NAMES$}");
            for q in PERCENTILES {
                lines.text += &format!("{:>COLUMN$}", number(figures.percentile(q)));
            }
            lines.gap();
        }
        let streams = self.facts.endpoint().streams;
        if streams && !self.facts.streaming && self.figures(tag::TIME_TO_FIRST_TOKEN).is_none() {
            lines.say("", "TTFT and ITL need --streaming");
        }
    }

    /// The most frequent errors, and what can be done about them.
    fn named_errors(&self, lines: &mut Lines) {
        let mut groups: Vec<&ErrorGroup> = self.errors.iter().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        for group in groups.iter().take(ERRORS_NAMED) {
            let problem = &group.problem;
            let code = problem
                .code
                .map_or_else(String::new, |code| format!("{code} "));
            let message = super::console::shortened(&problem.message);
            let message = shown_line(message.lines().next().unwrap_or_default()).into_owned();
            let count = thousands(&group.count.to_string());
            lines.warn(
                "Errors",
                &format!("{count} x {code}{}: {message}", problem.kind),
            );
        }
        let more = groups.iter().skip(ERRORS_NAMED);
        let (kinds, requests) = more.fold((0, 0), |(n, sum), group| (n + 1, sum + group.count));
        if kinds > 0 {
            let words = format!(
                "{} in {}: see {}",
                plural(kinds, "more kind"),
                plural(requests, "request"),
                self.facts.files.json
            );
            lines.warn("", &words);
        }
        for notice in self.insights() {
            notice.lines.iter().for_each(|line| lines.warn("", line));
        }
    }

    fn client(&self, lines: &mut Lines) {
        match self.client_in_words() {
            Ok(words) => lines.say("Client", &words),
            Err(words) => lines.warn("Client", &words),
        }
        for difference in &self.accounting.differences {
            lines.warn(
                "",
                &format!("Requests are not all accounted for: {difference}"),
            );
        }
    }

    /// What is odd about the answers, a line each.
    fn hints(&self, lines: &mut Lines) {
        for notice in self.notices() {
            let first = notice.lines.first().map_or("", String::as_str);
            let first = first.split(". ").next().unwrap_or(first);
            lines.warn(
                "Note",
                &format!("{} (--console full says more)", first.trim_end_matches('.')),
            );
        }
    }

    fn where_files_are(&self, lines: &mut Lines, written: Option<&Written>) {
        let folder = &self.facts.artifact_dir;
        let names: Vec<String> = self
            .files(written)
            .into_iter()
            .map(|(_, path)| path.strip_prefix(folder).unwrap_or(path))
            .map(|path| path.display().to_string())
            .chain(written.map(|_| format!("{} (all tables)", self.facts.files.console)))
            .collect();
        lines.say(
            "Files",
            &format!("in {}: {}", folder.display(), names.join(", ")),
        );
        if self.facts.recorded.is_none() {
            let config = folder.join(RESOLVED_CONFIG);
            lines.say(
                "Again",
                &format!("pinfire profile --config {}", config.display()),
            );
        }
    }
}

/// Planned cancellation in three lines.
fn cancellation(lines: &mut Lines, cancelled: &Cancellation) {
    let count = |count: u64| thousands(&count.to_string());
    let asked = &cancelled.asked;
    let reached = cancelled.reached_pct.map_or_else(
        || "none could be".to_owned(),
        |reached| format!("{reached:.2} %"),
    );
    let mut words = format!(
        "{} ({reached}; asked {} %)",
        plural(cancelled.cancelled, "request"),
        asked.rate_pct
    );
    let stages: Vec<String> = cancelled
        .stages
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(stage, n)| format!("{} while {}", count(*n), stage.name()))
        .collect();
    if !stages.is_empty() {
        words += &format!(": {}", stages.join(", "));
    }
    lines.say("Cancelled", &words);
    let delay = match asked.delay {
        Delay::Fixed(delay) => format!("{} ms", number(Some(delay.as_millis_f64()))),
        other => format!("{other} s"),
    };
    let from = match asked.trigger {
        CancelTrigger::At(Trigger::Sent) => "the last byte of the request".to_owned(),
        other => other.to_string(),
    };
    let mut words = format!("{delay} after {from}");
    if let Some(error) = &cancelled.error_us {
        let [p50, p99] = [50, 99].map(|q| number(error.percentile(q)));
        words += &format!(", late by {p50} us at p50, {p99} us at p99");
    }
    lines.say("", &words);
    let [whole, of] = cancelled.acknowledged;
    if of > 0 {
        let words = format!(
            "whole request acknowledged before the disconnect: {} of {}",
            count(whole),
            count(of)
        );
        lines.say("", &words);
    }
}
