//! Which metrics of a server say that it works on something and that it has let go of it.
//!
//! One table, `BUILT_IN`, in the form in which a user's own file says it too: a profile has, for
//! each question, formulas in order of preference; the first that the server can answer counts. A
//! formula is a sum and difference of selectors, `a{label="x"} + b - c{label=~"x|y"}`, each of
//! which takes all series with those labels together. A histogram is taken by its `_count` or
//! `_sum`.

use std::sync::OnceLock;

use serde::Deserialize;

use super::{
    Exposition, Scrape,
    text::{Family, Kind, Labels, Value},
};

/// The profiles that pinfire knows. The order decides where a server shows the metrics of several:
/// a gateway (Dynamo, llm-d, LiteLLM, smg) before the engine behind it. Newer names come before
/// older ones, and each profile says in `source` where its names were read. `tests/pages` has the
/// pages, and docs/SERVER-METRICS.md what is known of each server. What the table cannot say:
///
/// - Dynamo: `active` counts from the handler's entry to the end of the answer, `queued` until the
///   first token. A worker's `requests_total` counts those that began and its `errors_total` the
///   cancelled ones, as `publish_response`, but not all of them.
/// - llm-d: `request_running` is dispatched and not answered, whether the engine has begun or not,
///   so that only what flow control holds back is waiting besides. That it counts a request that
///   its client left as anything else than answered is not known, so there is no `finished`.
/// - LiteLLM: its gauge counts the scrape itself, and its counters take a stream that its client
///   left for a success.
/// - smg: before 1.0, as sglang-router, `http_connections_active` ends at the headers of a stream
///   and stays too high by each request without a stream that its client left.
/// - vLLM: every text of a batch and every choice counts as a success. An aborted request is
///   dropped before anything is counted for it; what a version does count is taken back in, so
///   that the estimate holds either way. Pooling generates no token, so that successes outnumber
///   tokens: then requests and successes cannot be compared.
/// - SGLang: pages come from several processes and show a series once it has a value.
///   `num_requests_total` takes in running requests that were aborted; the time per output token is
///   of those alone that stopped by themselves, with two tokens at least.
/// - TensorRT-LLM: what was left is recorded, as `cancelled`, if it was no stream, else not at all.
///   Its gauges are written as a request ends, so they rest while nothing ends.
/// - llama.cpp: tokens are counted as a slot is freed; before 2026 only of completed requests.
/// - vllm-router: its gauge of running requests lags behind, so nothing is read from it.
/// - Triton: an ensemble counts once per step, so there is no `finished`.
const BUILT_IN: &str = include_str!("profiles.json");

/// Labels that tell the ranks of one model from each other: all show the same figures, so only the
/// first of each is taken.
const RANKS: [&str; 3] = ["tp_rank", "pp_rank", "moe_ep_rank"];

/// What a server answers at one instant; absent where it has no such metric.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Levels {
    /// Requests being worked on.
    pub running: Option<f64>,
    /// Requests taken on and not begun.
    pub waiting: Option<f64>,
    /// Requests that a layer above the engine holds, where the page counts them apart.
    pub in_flight: Option<f64>,
    /// Share of the KV cache in use, 0 to 1; the mean where a server shows several caches.
    pub kv_used: Option<f64>,
    /// Requests that ended because their client left, since the first scrape as all that follows:
    /// the best estimate.
    pub aborted: Option<f64>,
    /// The server's own counter of them, which may be wrong (vLLM's stays 0).
    pub abort_counter: Option<f64>,
    /// Requests that were answered.
    pub completed: Option<f64>,
    /// Requests that ran to their end, of a counter that is known to leave aborted ones out.
    pub finished: Option<f64>,
    /// Preemptions.
    pub preemptions: Option<f64>,
    /// Prompt tokens worked on.
    pub prompt_tokens: Option<f64>,
    /// Tokens generated.
    pub output_tokens: Option<f64>,
    /// Prompt tokens worked on for requests that were not finished.
    pub wasted_prompt_tokens: Option<f64>,
    /// Tokens generated for requests that were not finished: a lower bound.
    pub wasted_output_tokens: Option<f64>,
    /// How often its counters have begun anew since the first scrape.
    pub restarts: u32,
}

impl Levels {
    /// Requests that the server holds, running or waiting, or those of the layer above if these are
    /// more; absent if it tells nothing of the kind.
    pub fn held(&self) -> Option<f64> {
        let engine = match (self.running, self.waiting) {
            (None, None) => None,
            (running, waiting) => Some(running.unwrap_or(0.0) + waiting.unwrap_or(0.0)),
        };
        let all = engine.into_iter().chain(self.in_flight);
        all.reduce(f64::max)
    }
}

impl Levels {
    /// Whether it tells anything of requests or the cache.
    pub const fn is_silent(&self) -> bool {
        self.running.is_none()
            && self.waiting.is_none()
            && self.in_flight.is_none()
            && self.kv_used.is_none()
    }

    /// Several servers as one: sums, and the mean of the caches' shares; none of none. A figure
    /// that one of them does not show is absent.
    pub fn together(all: &[Self]) -> Option<Self> {
        let sum = |of: fn(&Self) -> Option<f64>| all.iter().map(of).sum::<Option<f64>>();
        let count = all.len() as f64;
        (!all.is_empty()).then(|| Self {
            running: sum(|levels| levels.running),
            waiting: sum(|levels| levels.waiting),
            in_flight: sum(|levels| levels.in_flight),
            kv_used: sum(|levels| levels.kv_used).map(|share| share / count),
            aborted: sum(|levels| levels.aborted),
            abort_counter: sum(|levels| levels.abort_counter),
            completed: sum(|levels| levels.completed),
            finished: sum(|levels| levels.finished),
            preemptions: sum(|levels| levels.preemptions),
            prompt_tokens: sum(|levels| levels.prompt_tokens),
            output_tokens: sum(|levels| levels.output_tokens),
            wasted_prompt_tokens: sum(|levels| levels.wasted_prompt_tokens),
            wasted_output_tokens: sum(|levels| levels.wasted_output_tokens),
            restarts: all.iter().map(|levels| levels.restarts).sum(),
        })
    }
}

/// What the metrics of one kind of server mean.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerKind {
    /// Its name in reports.
    pub name: String,
    /// Where its metrics were read.
    #[serde(default)]
    pub source: Option<String>,
    /// It is taken if any of these is there; if there are none, always. `*` at the end of a name
    /// stands for any rest.
    #[serde(default)]
    detect: Vec<String>,
    /// Gauges that every server of the kind has from its first request on, and counts as 0 before.
    #[serde(default)]
    late: Vec<String>,
    #[serde(default)]
    running: Vec<Formula>,
    #[serde(default)]
    waiting: Vec<Formula>,
    #[serde(default)]
    in_flight: Vec<Formula>,
    #[serde(default)]
    kv_used: Vec<Formula>,
    #[serde(default)]
    aborted: Vec<Formula>,
    /// Where any of these has grown, the estimate above means nothing.
    #[serde(default)]
    aborted_unless: Vec<Formula>,
    #[serde(default)]
    abort_counter: Vec<Formula>,
    #[serde(default)]
    completed: Vec<Formula>,
    #[serde(default)]
    finished: Vec<Formula>,
    /// What one more of `finished` is.
    #[serde(default)]
    pub finished_counts: Option<Counted>,
    #[serde(default)]
    preemptions: Vec<Formula>,
    #[serde(default)]
    prompt_tokens: Vec<Formula>,
    #[serde(default)]
    output_tokens: Vec<Formula>,
    /// Whose tokens `output_tokens` counts, and when; nothing if that is not known.
    #[serde(default)]
    pub output_tokens_counted: Option<TokensCounted>,
    #[serde(default)]
    wasted_prompt_tokens: Vec<Formula>,
    #[serde(default)]
    wasted_output_tokens: Vec<Formula>,
    /// How its gauges come up to date, where that is known.
    #[serde(default)]
    pub refresh: Option<Refresh>,
    /// It passes requests on and works on none: what it holds is held behind it too.
    #[serde(default)]
    gateway: bool,
    /// How long after a client has left its trace may still be missing, in seconds.
    #[serde(default = "one_second")]
    pub settle_seconds: f64,
}

/// What a server counts as one that ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counted {
    /// One for each request.
    Requests,
    /// One for each prompt of a batch and each choice that was asked for.
    Sequences,
    /// Aborted ones too, so that nothing of a release follows from it.
    WithAborted,
}

/// How the gauges of a server come up to date.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// They are what is so as the page is read.
    Live,
    /// Every so many steps of the engine, each of which gives a token to each stream.
    Steps(u32),
    /// As often as this, in seconds.
    Seconds(f64),
    /// As a request ends.
    AtEnd,
}

/// What is known of what a server shows.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Known {
    /// What it counts of those that ended.
    pub finished: Option<Counted>,
    /// Whose tokens it counts.
    pub tokens: Option<TokensCounted>,
    /// How its gauges come up to date.
    pub refresh: Option<Refresh>,
    /// It passes requests on and works on none.
    pub gateway: bool,
}

impl Known {
    /// Of several servers: what is the same of all.
    pub fn together(all: impl IntoIterator<Item = Self>) -> Self {
        let same = |one: Self, other: Self| Self {
            finished: one.finished.filter(|_| one.finished == other.finished),
            tokens: one.tokens.filter(|_| one.tokens == other.tokens),
            refresh: one.refresh.filter(|_| one.refresh == other.refresh),
            gateway: one.gateway && other.gateway,
        };
        all.into_iter().reduce(same).unwrap_or_default()
    }
}

/// Whose tokens a server counts, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokensCounted {
    /// As they are generated, for whomever that is.
    Live,
    /// As a request ends, also if it was aborted.
    AtEnd,
    /// As a request ends by itself; those of aborted ones are missing.
    CompletedOnly,
}

impl TokensCounted {
    /// Whether the tokens of aborted requests are in it, once nothing is in flight.
    pub const fn has_aborted(self) -> bool {
        matches!(self, Self::Live | Self::AtEnd)
    }
}

const fn one_second() -> f64 {
    1.0
}

/// A file of profiles that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It is not JSON of that form, or a formula in it makes no sense.
    #[error(
        "{0}; a profile looks like {{\"name\": \"mine\", \"running\": [\"my_running\"], \
         \"waiting\": [\"my_queue{{pool=\\\"a\\\"}}\"], \"aborted\": [\"my_started - my_finished\"]}}"
    )]
    Form(#[from] serde_json::Error),
    /// There is nothing in it to go by.
    #[error("the profile `{0}` has neither running nor waiting nor kv_used; give at least one")]
    Empty(String),
}

/// The profiles of a run: a user's own before the built-in ones.
#[derive(Clone, PartialEq, Debug)]
pub struct ServerKinds(Vec<ServerKind>);

impl Default for ServerKinds {
    fn default() -> Self {
        Self(built_in().to_vec())
    }
}

fn built_in() -> &'static [ServerKind] {
    static PROFILES: OnceLock<Vec<ServerKind>> = OnceLock::new();
    #[expect(
        clippy::expect_used,
        reason = "the table is a part of the binary, and a test reads it"
    )]
    let read = || serde_json::from_str(BUILT_IN).expect("the built-in table can be read");
    PROFILES.get_or_init(read)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    More(Vec<serde_json::Value>),
    One(serde_json::Value),
}

impl ServerKinds {
    /// The built-in profiles after those of a file: JSON, one object or a list of them.
    ///
    /// # Errors
    /// The text is not of that form.
    pub fn read(text: &str) -> Result<Self, ProfileError> {
        let values = match serde_json::from_str(text)? {
            OneOrMore::More(values) => values,
            OneOrMore::One(value) => vec![value],
        };
        let mut profiles = Vec::with_capacity(values.len());
        for value in values {
            let profile: ServerKind = serde_json::from_value(value)?;
            let levels = [&profile.running, &profile.waiting, &profile.in_flight];
            if levels
                .into_iter()
                .chain([&profile.kv_used])
                .all(|formulas| formulas.is_empty())
            {
                return Err(ProfileError::Empty(profile.name));
            }
            profiles.push(profile);
        }
        profiles.extend(built_in().iter().cloned());
        Ok(Self(profiles))
    }

    /// The place of the first profile that fits what a server shows.
    pub(super) fn place(&self, scrape: &Scrape) -> Option<usize> {
        self.0.iter().position(|profile| profile.fits(scrape))
    }

    /// The profile at a place.
    pub(super) fn at(&self, place: usize) -> Option<&ServerKind> {
        self.0.get(place)
    }

    /// The counters of all profiles, some of them several times.
    pub(super) fn counters(&self) -> impl Iterator<Item = &Selector> {
        let formulas = self.0.iter().flat_map(|kind| {
            let all = [
                &kind.aborted,
                &kind.aborted_unless,
                &kind.abort_counter,
                &kind.completed,
                &kind.finished,
                &kind.preemptions,
                &kind.prompt_tokens,
                &kind.output_tokens,
                &kind.wasted_prompt_tokens,
                &kind.wasted_output_tokens,
            ];
            all.into_iter().flatten()
        });
        formulas.flat_map(|formula| formula.terms.iter().map(|(_, selector)| selector))
    }
}

/// How far counters have moved since the first scrape of their page.
pub(super) trait Growth {
    /// Of all series of a selector together; absent if the page never had that metric.
    fn growth(&self, selector: &Selector) -> Option<f64>;
}

impl ServerKind {
    /// What is known of what it shows.
    pub const fn known(&self) -> Known {
        Known {
            finished: self.finished_counts,
            tokens: self.output_tokens_counted,
            refresh: self.refresh,
            gateway: self.gateway,
        }
    }

    fn fits(&self, scrape: &Scrape) -> bool {
        let page = &scrape.exposition;
        let shown = |name: &String| match name.strip_suffix('*') {
            None => page.has(name),
            Some(begin) => {
                let mut families = page.families.iter();
                families.any(|family| family.name.starts_with(begin))
                    || page.declared.iter().any(|name| name.starts_with(begin))
            }
        };
        self.detect.is_empty() || self.detect.iter().any(shown)
    }

    /// Everything that the server answers at this instant, its counters since the first scrape.
    pub(super) fn levels(&self, scrape: &Scrape, counters: &impl Growth) -> Levels {
        let page = &scrape.exposition;
        let level = |formulas: &[Formula], fold| {
            let of = |late| {
                formulas
                    .iter()
                    .find_map(|it: &Formula| it.value(page, fold, late))
            };
            of(&[]).or_else(|| of(&self.late))
        };
        let grown = |formulas: &[Formula]| {
            let mut values = formulas.iter().map(|formula| formula.growth(counters));
            values.find_map(|value| value)
        };
        let aborted_is_known = grown(&self.aborted_unless).is_none_or(|grown| grown <= 0.0);
        Levels {
            running: level(&self.running, Fold::Sum),
            waiting: level(&self.waiting, Fold::Sum),
            in_flight: level(&self.in_flight, Fold::Sum),
            kv_used: level(&self.kv_used, Fold::Mean),
            aborted: grown(&self.aborted).filter(|_| aborted_is_known),
            abort_counter: grown(&self.abort_counter),
            completed: grown(&self.completed),
            finished: grown(&self.finished),
            preemptions: grown(&self.preemptions),
            prompt_tokens: grown(&self.prompt_tokens),
            output_tokens: grown(&self.output_tokens),
            wasted_prompt_tokens: grown(&self.wasted_prompt_tokens),
            wasted_output_tokens: grown(&self.wasted_output_tokens),
            restarts: 0,
        }
    }

    /// The formula behind the number of aborted requests on this server, as text. Only differences
    /// of that number mean something, and where it is computed from others, only those between
    /// instants at which nothing was in flight.
    pub(super) fn aborted_formula(&self, counters: &impl Growth) -> Option<&str> {
        let mut formulas = self.aborted.iter();
        let formula = formulas.find(|formula| formula.growth(counters).is_some())?;
        Some(&formula.text)
    }
}

/// How the series of a selector come together.
#[derive(Clone, Copy, PartialEq)]
enum Fold {
    Sum,
    Mean,
}

/// A sum and difference of selectors and numbers.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Formula {
    text: String,
    terms: Vec<(f64, Selector)>,
    /// The numbers together.
    constant: f64,
}

/// Series by name and labels.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Selector {
    name: String,
    labels: Vec<Match>,
}

/// What a label has to be. One that a series lacks is empty, as Prometheus has it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Match {
    label: String,
    /// One of them, or none of them.
    values: Vec<String>,
    is_one: bool,
}

impl Match {
    fn fits(&self, labels: &Labels) -> bool {
        let own = label(labels, &self.label).map_or("", String::as_str);
        self.values.iter().any(|value| value == own) == self.is_one
    }

    /// Whether a series without the label cannot fit.
    fn needs_label(&self) -> bool {
        !self.fits(&Labels::new())
    }
}

impl Formula {
    /// Its value; absent if one of its terms is not there.
    ///
    /// Those that come late count as 0 until they are.
    fn value(&self, page: &Exposition, fold: Fold, late: &[String]) -> Option<f64> {
        let mut total = self.constant;
        for (sign, selector) in &self.terms {
            let value = selector.value(page, fold);
            let comes = || late.contains(&selector.name).then_some(0.0);
            total += sign * value.or_else(comes)?;
        }
        Some(total)
    }

    /// How far it has moved; absent if one of its terms was never there.
    fn growth(&self, counters: &impl Growth) -> Option<f64> {
        let terms = self.terms.iter();
        let grown = terms.map(|(sign, selector)| Some(sign * counters.growth(selector)?));
        grown.sum()
    }
}

/// The family that a selector is of, and what is taken of its series.
pub(super) struct Found<'p> {
    family: &'p Family,
    part: fn(&Value) -> Option<f64>,
}

impl<'p> Found<'p> {
    /// Its values may fall.
    pub(super) fn is_gauge(&self) -> bool {
        self.family.kind == Kind::Gauge
    }

    /// The series that fit, with their values.
    pub(super) fn fitting<'s>(
        &self,
        selector: &'s Selector,
    ) -> impl Iterator<Item = (&'p Labels, f64)> + use<'p, 's> {
        let part = self.part;
        let points = self.family.points.iter();
        let fitting = points.filter(|point| selector.fits(&point.labels));
        fitting.filter_map(move |point| Some((&point.labels, part(&point.value)?)))
    }
}

fn label<'l>(labels: &'l Labels, name: &str) -> Option<&'l String> {
    let mut labels = labels.iter();
    let found = labels.find(|(label, _)| label == name);
    found.map(|(_, value)| value)
}

impl Selector {
    /// All series of a metric.
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            labels: Vec::new(),
        }
    }

    /// All fitting series together; absent if the page has no such metric.
    pub(super) fn sum(&self, page: &Exposition) -> Option<f64> {
        self.value(page, Fold::Sum)
    }

    /// All fitting series together. A metric without a fitting series counts as 0: a label that has
    /// not shown yet is not a metric that the server lacks.
    fn value(&self, page: &Exposition, fold: Fold) -> Option<f64> {
        if !self.is_there(page) {
            return None;
        }
        let (mut total, mut count) = (0.0, 0.0);
        for (_, value) in self.family(page).iter().flat_map(|of| of.fitting(self)) {
            total += value;
            count += 1.0;
        }
        Some(match fold {
            Fold::Mean if count > 0.0 => total / count,
            _ => total,
        })
    }

    /// Whether the page has the metric, and series of it, if there are any, have the labels.
    pub(super) fn is_there(&self, page: &Exposition) -> bool {
        match self.family(page) {
            None => self.is_declared(page),
            Some(found) => {
                let has_all = |labels: &Labels| {
                    let mut wanted = self.labels.iter().filter(|wanted| wanted.needs_label());
                    wanted.all(|wanted| label(labels, &wanted.label).is_some())
                };
                self.labels.is_empty() || found.family.points.iter().any(|of| has_all(&of.labels))
            }
        }
    }

    /// Whether the page names the metric, be it without any series so far.
    pub(super) fn is_declared(&self, page: &Exposition) -> bool {
        let ends = ["_count", "_sum"].iter();
        let base = ends.clone().find_map(|end| self.name.strip_suffix(end));
        page.has(&self.name) || base.is_some_and(|base| page.has(base))
    }

    /// The family with its series.
    pub(super) fn family<'p>(&self, page: &'p Exposition) -> Option<Found<'p>> {
        if let Some(family) = page.family(&self.name) {
            let part = |value: &Value| match value {
                Value::Scalar(value) => Some(*value),
                Value::Histogram(_) => None,
            };
            return Some(Found { family, part });
        }
        let part = |ending| page.family(self.name.strip_suffix(ending)?);
        if let Some(family) = part("_count") {
            let part = |value: &Value| match value {
                Value::Histogram(histogram) => Some(histogram.count),
                Value::Scalar(_) => None,
            };
            return Some(Found { family, part });
        }
        let family = part("_sum")?;
        let part = |value: &Value| match value {
            Value::Histogram(histogram) => Some(histogram.sum),
            Value::Scalar(_) => None,
        };
        Some(Found { family, part })
    }

    /// Whether a series is of it: its labels, and the first of several ranks.
    fn fits(&self, labels: &Labels) -> bool {
        let named = |name: &str| self.labels.iter().any(|wanted| wanted.label == name);
        let later_rank =
            |name: &str| !named(name) && label(labels, name).is_some_and(|rank| rank != "0");
        self.labels.iter().all(|wanted| wanted.fits(labels))
            && !RANKS.iter().any(|name| later_rank(name))
    }
}

impl TryFrom<String> for Formula {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut terms = Vec::new();
        let mut constant = 0.0;
        let mut rest = text.trim();
        let mut sign = 1.0;
        let wrong = |what: &str| format!("the formula `{text}` {what}");
        loop {
            let after = if let Some((number, after)) = number(rest) {
                constant += sign * number;
                after
            } else {
                let (selector, after) = Selector::read(rest).ok_or_else(|| {
                    wrong("is not a sum or difference of metrics such as a{b=\"c\"}")
                })?;
                terms.push((sign, selector));
                after
            };
            rest = after.trim_start();
            if rest.is_empty() {
                if terms.is_empty() {
                    return Err(wrong("names no metric"));
                }
                return Ok(Self {
                    text,
                    terms,
                    constant,
                });
            }
            sign = match rest.as_bytes().first() {
                Some(b'+') => 1.0,
                Some(b'-') => -1.0,
                _ => return Err(wrong("has something else than + or - between its metrics")),
            };
            rest = rest.get(1..).unwrap_or_default().trim_start();
        }
    }
}

/// A number without a sign at the beginning of a text, and what follows it.
fn number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, after) = text.split_at(end.unwrap_or(text.len()));
    Some((number.parse().ok()?, after))
}

impl Selector {
    /// A selector at the beginning of a text, and what follows it.
    fn read(text: &str) -> Option<(Self, &str)> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
        let (name, mut rest) = text.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let mut labels = Vec::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner.trim_start();
            while !rest.starts_with('}') {
                let (label, after) = rest.split_once('=')?;
                let (label, is_one) = match label.strip_suffix('!') {
                    Some(label) => (label, false),
                    None => (label, true),
                };
                let (any, after) = match after.strip_prefix('~') {
                    Some(after) => (true, after),
                    None => (false, after),
                };
                let (value, after) = after.trim_start().strip_prefix('"')?.split_once('"')?;
                let values = match any {
                    true => value.split('|').map(str::to_owned).collect(),
                    false => vec![value.to_owned()],
                };
                let label = label.trim().to_owned();
                labels.push(Match {
                    label,
                    values,
                    is_one,
                });
                rest = after.trim_start();
                rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
            }
            rest = rest.strip_prefix('}')?;
        }
        let name = name.to_owned();
        Some((Self { name, labels }, rest))
    }
}

#[cfg(test)]
mod tests {
    use pinfire_base::clock::Stamp;

    use super::*;
    use crate::Meter;

    fn scrape(text: &str, at: u64) -> Scrape {
        Scrape::read([Stamp::from_nanos(at); 3], text.as_bytes(), None).unwrap()
    }

    /// What a page tells that showed nothing at first, so that its counters are what they are.
    fn told_by(kinds: &ServerKinds, text: &str) -> (String, Levels, Meter) {
        let mut meter = Meter::new(kinds);
        meter.read(&scrape("", 1));
        let levels = meter.read(&scrape(text, 2));
        let name = meter
            .kind()
            .map_or_else(String::new, |kind| kind.name.clone());
        (name, levels, meter)
    }

    fn told(text: &str) -> (String, Levels, Meter) {
        told_by(&ServerKinds::default(), text)
    }

    #[test]
    fn the_table_is_whole() {
        let profiles: Vec<ServerKind> = serde_json::from_str(BUILT_IN).unwrap();
        assert_eq!(profiles.len(), built_in().len());
        for profile in &profiles {
            assert!(!profile.detect.is_empty(), "{}", profile.name);
            assert!(profile.source.is_some(), "{}", profile.name);
            let tells = [&profile.running, &profile.waiting, &profile.in_flight];
            let tells = tells.iter().any(|formulas| !formulas.is_empty());
            assert!(tells || profile.gateway, "{}", profile.name);
        }
    }

    #[test]
    fn vllm_with_two_engines() {
        let text = "# TYPE vllm:num_requests_running gauge\n\
            vllm:num_requests_running{engine=\"0\"} 2\nvllm:num_requests_running{engine=\"1\"} 3\n\
            vllm:num_requests_waiting{engine=\"0\"} 1\n\
            vllm:kv_cache_usage_perc{engine=\"0\"} 0.5\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.1\n\
            # TYPE http_requests_total counter\n\
            http_requests_total{handler=\"/v1/chat/completions\",status=\"2xx\"} 20\n\
            http_requests_total{handler=\"/v1/completions\",status=\"2xx\"} 4\n\
            http_requests_total{handler=\"/v1/completions\",status=\"4xx\"} 7\n\
            http_requests_total{handler=\"/metrics\",status=\"2xx\"} 99\n\
            # TYPE vllm:request_success_total counter\n\
            vllm:request_success_total{finished_reason=\"stop\"} 10\n\
            vllm:request_success_total{finished_reason=\"length\"} 8\n\
            vllm:request_success_total{finished_reason=\"abort\"} 0\n";
        let (name, levels, meter) = told(text);
        assert_eq!(name, "vllm");
        assert_eq!((levels.running, levels.waiting), (Some(5.0), Some(1.0)));
        assert_eq!((levels.kv_used, levels.held()), (Some(0.3), Some(6.0)));
        // 20 + 4 answered less 18 finished.
        assert_eq!(
            (levels.aborted, levels.abort_counter),
            (Some(6.0), Some(0.0))
        );
        assert_eq!((levels.completed, levels.preemptions), (Some(18.0), None));
        let formula = meter.aborted_formula().unwrap();
        assert!(formula.starts_with("http_requests_total"), "{formula}");
    }

    #[test]
    fn a_fresh_server_has_not_counted_anything_yet() {
        let (_, levels, meter) = told(
            "# TYPE http_requests_total counter\n# TYPE vllm:num_requests_running gauge\n\
             # TYPE vllm:request_success_total counter\n# TYPE vllm:time_to_first_token_seconds histogram\n",
        );
        // Not the formula with the histogram: a later scrape is to be compared with this one.
        let formula = meter.aborted_formula().unwrap();
        assert!(formula.starts_with("http_requests_total"), "{formula}");
        assert_eq!((levels.aborted, levels.running), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn an_older_vllm_without_http_counters() {
        let text = "# TYPE vllm:time_to_first_token_seconds histogram\n\
            vllm:time_to_first_token_seconds_bucket{le=\"+Inf\"} 9\n\
            vllm:time_to_first_token_seconds_sum 1\nvllm:time_to_first_token_seconds_count 9\n\
            vllm:request_success_total{finished_reason=\"stop\"} 5\n\
            vllm:gpu_cache_usage_perc 0.25\n";
        let (_, levels, _) = told(text);
        assert_eq!((levels.aborted, levels.kv_used), (Some(4.0), Some(0.25)));
        assert_eq!(levels.running, None);
    }

    #[test]
    fn the_other_servers() {
        let (name, levels, _) = told(
            "sglang:num_running_reqs{tp_rank=\"0\"} 4\nsglang:num_running_reqs{tp_rank=\"1\"} 4\n\
             sglang:num_queue_reqs{tp_rank=\"0\"} 1\nsglang:token_usage 0.5\n\
             sglang:num_aborted_requests_total 3\n",
        );
        assert_eq!(name, "sglang");
        assert_eq!((levels.running, levels.waiting), (Some(4.0), Some(1.0)));
        assert_eq!(
            (levels.aborted, levels.abort_counter),
            (Some(3.0), Some(3.0))
        );
        // Dynamo's front end, with a worker's metrics beside its own.
        let (name, levels, _) = told(
            "dynamo_frontend_inflight_requests 7\ndynamo_frontend_queued_requests 2\n\
             vllm:num_requests_running 5\ndynamo_frontend_model_cancellation_total{model=\"m\"} 6\n",
        );
        assert_eq!(name, "dynamo");
        assert_eq!((levels.running, levels.waiting), (Some(5.0), Some(2.0)));
        assert_eq!(levels.aborted, Some(6.0));
        let trt = "trtllm:num_requests_running 1\ntrtllm:kv_cache_utilization 0.9\n";
        let (name, levels, _) = told(trt);
        assert_eq!((&*name, levels.running), ("tensorrt-llm", Some(1.0)));
        // A newer one, without the metrics that are on their way out.
        let (_, levels, _) = told(
            "dynamo_frontend_active_requests 7\n\
             dynamo_frontend_stage_requests{stage=\"route\",phase=\"prefill\"} 1\n\
             dynamo_frontend_stage_requests{stage=\"dispatch\",phase=\"decode\"} 2\n\
             dynamo_component_gpu_cache_usage_percent 0.5\n",
        );
        assert_eq!((levels.running, levels.waiting), (Some(4.0), Some(3.0)));
        assert_eq!((levels.held(), levels.kv_used), (Some(7.0), Some(0.5)));
        let gateway = "inference_objective_running_requests{model_name=\"m\"} 2\n";
        assert_eq!(told(gateway).0, "llm-d");
        // The engines' queues are part of what runs; what the router holds back is not.
        let (name, levels, _) = told(
            "llm_d_epp_request_running{model_name=\"m\",priority=\"0\"} 5\n\
             llm_d_epp_per_endpoint_queue_size{model_server_endpoint=\"a\"} 3\n\
             llm_d_epp_flow_control_queue_size{inference_pool=\"p\"} 2\n\
             llm_d_epp_average_kv_cache_utilization{name=\"p\"} 0.25\n",
        );
        assert_eq!((&*name, levels.held()), ("llm-d", Some(7.0)));
        assert_eq!(levels.kv_used, Some(0.25));
        assert_eq!(told("up 1\n").0, "");
    }

    #[test]
    fn a_worker_of_dynamo_shows_its_engine_beside_its_handler() {
        let page = |success: &str| {
            format!(
                "# TYPE dynamo_component_inflight_requests gauge\n\
                 dynamo_component_inflight_requests{{dynamo_endpoint=\"generate\"}} 3\n\
                 # TYPE dynamo_component_requests_total counter\n{success}\
                 vllm:num_requests_running 4\nvllm:num_requests_waiting 1\n\
                 vllm:kv_cache_usage_perc 0.25\n"
            )
        };
        let by_status = "dynamo_component_requests_total{status=\"success\"} 62\n\
             dynamo_component_requests_total{status=\"cancelled\"} 1\n";
        let (name, levels, _) = told(&page(by_status));
        assert_eq!((&*name, levels.completed), ("dynamo-worker", Some(62.0)));
        assert_eq!((levels.kv_used, levels.held()), (Some(0.25), Some(5.0)));
        // An older one, without the label.
        let (_, levels, _) = told(&page("dynamo_component_requests_total{model=\"m\"} 63\n"));
        assert_eq!(levels.completed, Some(63.0));
        // The handler holds what its engine does not.
        let (_, levels, _) = told(&page(by_status).replace("running 4", "running 0"));
        assert_eq!(levels.held(), Some(3.0));
    }

    #[test]
    fn pooling_requests_of_vllm_give_no_estimate_of_aborted_ones() {
        let page = |chat: u32, embeddings: u32, success: u32| {
            format!(
                "vllm:num_requests_running 0\n# TYPE http_requests_total counter\n\
                 http_requests_total{{handler=\"/v1/chat/completions\",status=\"2xx\"}} {chat}\n\
                 http_requests_total{{handler=\"/v1/embeddings\",status=\"2xx\"}} {embeddings}\n\
                 # TYPE vllm:request_success_total counter\n\
                 vllm:request_success_total{{finished_reason=\"stop\"}} {success}\n"
            )
        };
        // Batches of four count four successes.
        assert_eq!(told(&page(0, 50, 112)).1.aborted, None);
        assert_eq!(told(&page(50, 0, 28)).1.aborted, Some(22.0));
        // Those before the first scrape do not matter.
        let mut meter = Meter::new(&ServerKinds::default());
        meter.read(&scrape(&page(10, 50, 90), 1));
        assert_eq!(meter.read(&scrape(&page(20, 50, 97), 2)).aborted, Some(3.0));
    }

    #[test]
    fn gateways_and_smaller_servers() {
        for (page, name, held) in [
            ("tgi_batch_current_size 3\ntgi_queue_size 2\n", "tgi", 5.0),
            (
                "llamacpp:requests_processing 1\nllamacpp:requests_deferred 4\n",
                "llama.cpp",
                5.0,
            ),
            ("smg_worker_requests_active 7\n", "smg", 7.0),
            ("litellm_in_flight_requests 6\n", "litellm", 5.0),
        ] {
            let (kind, levels, _) = told(page);
            assert_eq!((&*kind, levels.held()), (name, Some(held)));
        }
    }

    #[test]
    fn several_servers_as_one() {
        let one = Levels {
            running: Some(2.0),
            kv_used: Some(0.5),
            waiting: Some(1.0),
            ..Levels::default()
        };
        let other = Levels {
            running: Some(3.0),
            kv_used: Some(0.1),
            ..Levels::default()
        };
        let both = Levels::together(&[one, other]).unwrap();
        assert_eq!((both.running, both.kv_used), (Some(5.0), Some(0.3)));
        assert_eq!((both.waiting, Levels::together(&[])), (None, None));
    }

    #[test]
    fn a_profile_of_ones_own_says_what_a_name_alone_does_not() {
        let own = r#"{"name": "mine", "source": "our wiki", "detect": ["my_*"], "late": ["my_open"],
            "running": ["my_open{pool!=\"b\", priority=\"\"} - 1.5"],
            "finished": ["my_done{kind!=\"lost\",kind!=\"\"}"], "finished_counts": "sequences",
            "output_tokens": ["my_tokens"], "output_tokens_counted": "at-end"}"#;
        let kinds = ServerKinds::read(own).unwrap();
        // Nothing is open yet: the gauge counts as 0, but a counter that is not there is none.
        let (name, levels, _) = told_by(&kinds, "my_version 3\n");
        assert_eq!(
            (&*name, levels.running, levels.finished),
            ("mine", Some(-1.5), None)
        );
        let page = "my_open{pool=\"a\"} 4\nmy_open{pool=\"b\"} 8\nmy_open{pool=\"a\",priority=\"2\"} 9\n\
            my_done{kind=\"lost\"} 16\nmy_done{kind=\"good\"} 32\nmy_tokens 64\n";
        let (_, levels, meter) = told_by(&kinds, page);
        assert_eq!((levels.running, levels.finished), (Some(2.5), Some(32.0)));
        let kind = meter.kind().unwrap();
        assert_eq!(kind.finished_counts, Some(Counted::Sequences));
        assert!(kind.output_tokens_counted.unwrap().has_aborted());
        // A label that no series has makes it another metric.
        let (_, levels, _) = told_by(&kinds, "my_open 1\nmy_done 2\n");
        assert_eq!((levels.running, levels.finished), (Some(-0.5), None));
        assert_eq!(told_by(&kinds, "your_version 3\n").0, "");
    }

    #[test]
    fn a_file_of_ones_own_comes_first() {
        let own = r#"{"name": "mine", "running": ["my_running{pool=\"a\", kind=~\"x|y\"}"]}"#;
        let profiles = ServerKinds::read(own).unwrap();
        let (name, levels, _) = told_by(
            &profiles,
            "vllm:num_requests_running 5\nmy_running{pool=\"a\",kind=\"x\"} 1\n\
             my_running{pool=\"a\",kind=\"z\"} 2\nmy_running{pool=\"b\",kind=\"y\"} 4\n",
        );
        assert_eq!((&*name, levels.running), ("mine", Some(1.0)));
        assert!(ServerKinds::read(&format!("[{own}]")).is_ok());
        for (file, says) in [
            ("{", "EOF"),
            (r#"{"name": "a"}"#, "neither running nor waiting"),
            (
                r#"{"name": "a", "runing": ["b"]}"#,
                "unknown field `runing`",
            ),
            (
                r#"{"name": "a", "running": ["b *c"]}"#,
                "the formula `b *c`",
            ),
            (
                r#"{"name": "a", "running": ["b{c}"]}"#,
                "the formula `b{c}`",
            ),
            (r#"{"name": "a", "running": ["b -"]}"#, "the formula `b -`"),
            (r#"{"name": "a", "running": ["1"]}"#, "names no metric"),
            (
                r#"{"name": "a", "running": ["b"], "finished_counts": "some"}"#,
                "unknown variant `some`",
            ),
        ] {
            let error = ServerKinds::read(file).unwrap_err().to_string();
            assert!(error.contains(says), "{file}: {error}");
        }
    }
}
