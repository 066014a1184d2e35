//! Settings that take one of a few words, in any letter case, `-` and `_` alike.

use clap::{ValueEnum, builder::PossibleValue};
use pinfire_analysis::{facts::RateWindow, sweep::converge};
use pinfire_base::record::Leave;
use pinfire_dialect::{ENDPOINTS, EndpointKind};
use pinfire_scrape::files::MetricsFormat;
use pinfire_workload::dataset::{ModelChoice, file::FORMATS};

use crate::setting::Setting;

fn plain(text: &str) -> String {
    text.trim().to_lowercase().replace('_', "-")
}

/// The one of these that has the name.
fn named<T>(text: &str, all: impl IntoIterator<Item = (&'static str, T)>) -> Result<T, String> {
    let mut known = Vec::new();
    for (name, value) in all {
        if plain(name) == plain(text) {
            return Ok(value);
        }
        known.push(name);
    }
    Err(format!("it must be one of: {}", known.join(", ")))
}

/// The words of an enumeration.
fn of<T: ValueEnum>(text: &str) -> Result<T, String> {
    let found = T::value_variants()
        .iter()
        .find(|value| plain(&shown(*value)) == plain(text));
    found.cloned().ok_or_else(|| {
        let known: Vec<String> = T::value_variants().iter().map(shown).collect();
        format!("it must be one of: {}", known.join(", "))
    })
}

fn shown<T: ValueEnum>(value: &T) -> String {
    let word = value.to_possible_value();
    word.map_or_else(String::new, |word| word.get_name().to_owned())
}

macro_rules! words {
    ($($name:ident)*) => {$(
        impl Setting for $name {
            type Value = Self;

            fn parse(text: &str) -> Result<Self, String> {
                of(text)
            }

            fn shown(&self) -> String {
                shown(self)
            }

            fn value(&self) -> Self {
                *self
            }

            fn possible() -> Vec<PossibleValue> {
                Self::value_variants()
                    .iter()
                    .filter_map(ValueEnum::to_possible_value)
                    .collect()
            }
        }

        impl clap::builder::ValueParserFactory for $name {
            type Parser = WordParser<Self>;

            fn value_parser() -> Self::Parser {
                WordParser(std::marker::PhantomData)
            }
        }
    )*};
}

/// Reads a word for the flags of commands that have no configuration.
#[derive(Clone, Debug)]
pub struct WordParser<T>(std::marker::PhantomData<T>);

impl<T: Setting> clap::builder::TypedValueParser for WordParser<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        flag: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<T, clap::Error> {
        let parse = |text: &str| T::parse(text);
        clap::builder::TypedValueParser::parse_ref(&parse, command, flag, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(T::possible().into_iter()))
    }
}

words! {
    UrlStrategy TransportKind ProbeQuestion ConnectionReuse ArrivalPattern WarmupPattern CancelMode
    OnOff RangeStyle SamplingStrategy ExportLevel RateWindowName UiKind ConsoleKind LogLevel IoDriver
    TimerPrecision ReceiveStamps SweepType SweepOrder ConvergenceMode ConfigForm Theme
    ShardLoss
}

/// How requests are distributed over several URLs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum UrlStrategy {
    /// One after the other.
    #[value(name = "round_robin")]
    RoundRobin,
}

/// How requests travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum TransportKind {
    /// HTTP/1.1.
    Http,
}

/// What the readiness probe asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ProbeQuestion {
    /// Whether /v1/models lists the model.
    Models,
    /// A request of one token; any status below 500 is an answer.
    Inference,
    /// Models, then inference.
    Both,
}

/// What happens to a connection after a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ConnectionReuse {
    /// Kept for the next request.
    Pooled,
    /// Kept for its session, closed after that.
    StickyUserSessions,
    /// Closed.
    Never,
}

/// How arrivals are spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ArrivalPattern {
    /// Independent arrivals.
    Poisson,
    /// Even gaps.
    Constant,
    /// Gaps of --arrival-smoothness.
    Gamma,
    /// As poisson.
    #[value(name = "concurrency_burst")]
    ConcurrencyBurst,
}

/// How the arrivals of a warmup are spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum WarmupPattern {
    /// Independent arrivals.
    Poisson,
    /// Even gaps.
    Constant,
    /// Gaps of --arrival-smoothness.
    Gamma,
    /// As poisson.
    #[value(name = "concurrency_burst")]
    ConcurrencyBurst,
    /// No rate: keeps --warmup-concurrency open, whatever rate the measurement has.
    Concurrency,
}

impl WarmupPattern {
    /// The pattern of arrivals; `None` for concurrency, which has no rate.
    pub const fn arrivals(self) -> Option<ArrivalPattern> {
        match self {
            Self::Poisson => Some(ArrivalPattern::Poisson),
            Self::Constant => Some(ArrivalPattern::Constant),
            Self::Gamma => Some(ArrivalPattern::Gamma),
            Self::ConcurrencyBurst => Some(ArrivalPattern::ConcurrencyBurst),
            Self::Concurrency => None,
        }
    }
}

/// How the client disconnects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum CancelMode {
    /// Closes the connection.
    Fin,
    /// Resets the connection.
    Rst,
    /// Closes its sending side and reads the answer to its end.
    HalfClose,
    /// Stops reading and keeps the socket open until the phase ends.
    Stall,
}

impl From<CancelMode> for Leave {
    fn from(mode: CancelMode) -> Self {
        match mode {
            CancelMode::Fin => Self::Fin,
            CancelMode::Rst => Self::Rst,
            CancelMode::HalfClose => Self::HalfClose,
            CancelMode::Stall => Self::Stall,
        }
    }
}

/// Whether answers are streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum OnOff {
    /// They are.
    On,
    /// They come whole.
    Off,
}

/// Where the range of --random-range-ratio is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum RangeStyle {
    /// To both sides of the mean.
    Vllm,
    /// From RATIO times the mean up to the mean.
    Sglang,
}

/// What a lost shard means for the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ShardLoss {
    /// All stop at once.
    Stop,
    /// They go on.
    Continue,
}

/// Which conversation a session takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum SamplingStrategy {
    /// In the order of the dataset, again and again.
    Sequential,
    /// Each once per pass, every pass in another order.
    Shuffle,
    /// Drawn each time.
    Random,
}

/// How much is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ExportLevel {
    /// JSON, CSV and console.
    Summary,
    /// Also a JSON line per request.
    Records,
    /// Also every request and answer byte for byte, with the time of each event.
    Raw,
}

/// The duration behind rates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum RateWindowName {
    /// From the first start to the last content.
    Benchmark,
    /// The phase, as AIPerf 0.13 has it, also for what is weighted by time.
    Phase,
}

impl From<RateWindowName> for RateWindow {
    fn from(window: RateWindowName) -> Self {
        match window {
            RateWindowName::Benchmark => Self::Benchmark,
            RateWindowName::Phase => Self::Phase,
        }
    }
}

/// How progress is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum UiKind {
    /// The whole terminal: throughput, percentiles, outcomes, client health.
    Dashboard,
    /// A progress bar.
    Simple,
    /// Lines.
    None,
}

/// What a finished run prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ConsoleKind {
    /// The answer on one screen; all tables are in the console file.
    Headline,
    /// All tables, as AIPerf prints them.
    Full,
}

/// Messages of this level and above are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogLevel {
    /// Also where each phase is, every second.
    Trace,
    /// Also what was decided, and how each phase went.
    Debug,
    /// What a user waits for.
    Info,
    /// As info.
    Notice,
    /// What the user should know.
    Warning,
    /// As info.
    Success,
    /// Why it did not work.
    Error,
    /// As error.
    Critical,
}

/// The kernel interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum IoDriver {
    /// io_uring where it works, else epoll.
    Auto,
    /// io_uring, or an error.
    Uring,
    /// epoll.
    Epoll,
}

/// How deadlines are met.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum TimerPrecision {
    /// 20-90 µs late, next to no CPU.
    Sleep,
    /// Wakes early and polls: about 1 µs late.
    Lead,
    /// Never sleeps.
    Spin,
}

/// Where the times of received bytes come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ReceiveStamps {
    /// The kernel's where it gives them.
    Auto,
    /// The kernel's, or an error.
    Kernel,
    /// The engine's own, taken after each read.
    User,
}

/// How the lists of several flags are combined.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum SweepType {
    /// Every value with every other.
    Grid,
    /// First with first.
    Zip,
}

/// The order of the runs of a sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum SweepOrder {
    /// All points, again and again.
    Repeated,
    /// All runs of a point, then the next point.
    Independent,
}

/// When the runs of a point agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ConvergenceMode {
    /// The confidence interval from end to end, as a share of the mean, is below the threshold.
    #[value(name = "ci_width")]
    CiWidth,
    /// The standard deviation, as a share of the mean, is below the threshold.
    Cv,
    /// The requests of the newest run fit in with those of all before: p of the Kolmogorov-Smirnov
    /// test is above the threshold.
    Distribution,
}

impl From<ConvergenceMode> for converge::Mode {
    fn from(mode: ConvergenceMode) -> Self {
        match mode {
            ConvergenceMode::CiWidth => Self::CiWidth,
            ConvergenceMode::Cv => Self::Cv,
            ConvergenceMode::Distribution => Self::Distribution,
        }
    }
}

/// How `config expand` shows a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ConfigForm {
    /// A command line.
    Text,
    /// A config file.
    Yaml,
    /// JSON.
    Json,
}

/// The colours of plots.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Theme {
    /// Dark on white.
    Light,
    /// Light on black.
    Dark,
}

/// How requests are distributed over several models.
impl Setting for ModelChoice {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        if plain(text) == "weighted" {
            return Err(
                "weighted is not built; take round_robin or random, and name a model several times \
                 to have it more often"
                    .to_owned(),
            );
        }
        named(
            text,
            [("round_robin", Self::RoundRobin), ("random", Self::Random)],
        )
    }

    fn shown(&self) -> String {
        match self {
            Self::RoundRobin => "round_robin".to_owned(),
            Self::Random => "random".to_owned(),
        }
    }

    fn value(&self) -> Self {
        *self
    }

    fn possible() -> Vec<PossibleValue> {
        vec![
            PossibleValue::new("round_robin").help("In turn"),
            PossibleValue::new("random").help("Drawn each time"),
        ]
    }
}

/// The names of the table of endpoints.
impl Setting for EndpointKind {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        Self::from_name(text).map_err(|unknown| unknown.to_string())
    }

    fn shown(&self) -> String {
        self.name().to_owned()
    }

    fn value(&self) -> Self {
        *self
    }

    fn possible() -> Vec<PossibleValue> {
        ENDPOINTS
            .iter()
            .map(|row| PossibleValue::new(row.name))
            .collect()
    }
}

/// The forms that the metrics of servers are written in.
impl Setting for MetricsFormat {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        named(text, Self::ALL.map(|format| (format.name(), format)))
            .map_err(|_| format!("`{text}` is none of json, csv, jsonl, parquet"))
    }

    fn shown(&self) -> String {
        self.name().to_owned()
    }

    fn value(&self) -> Self {
        *self
    }

    fn possible() -> Vec<PossibleValue> {
        Self::ALL
            .map(|format| PossibleValue::new(format.name()))
            .to_vec()
    }
}

/// What prompts are cut from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corpus;

impl Setting for Corpus {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        match plain(text).as_str() {
            "sonnet" => Ok(Self),
            "coding" | "random" => Err("pinfire does not have this corpus; take sonnet".to_owned()),
            _ => Err("it must be sonnet".to_owned()),
        }
    }

    fn shown(&self) -> String {
        "sonnet".to_owned()
    }

    fn value(&self) -> Self {
        *self
    }

    fn possible() -> Vec<PossibleValue> {
        vec![PossibleValue::new("sonnet").help("English prose, embedded")]
    }
}

/// The name of a dataset's format. Whether there is one of that name, and whether it is built, is
/// said together with the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatasetType(String);

impl Setting for DatasetType {
    type Value = String;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    fn shown(&self) -> String {
        self.0.clone()
    }

    fn value(&self) -> String {
        self.0.clone()
    }

    fn possible() -> Vec<PossibleValue> {
        FORMATS
            .iter()
            .filter(|format| format.is_built())
            .map(|format| PossibleValue::new(format.name))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_any_writing() {
        assert_eq!(
            ConvergenceMode::parse("CI-Width"),
            Ok(ConvergenceMode::CiWidth)
        );
        assert_eq!(CancelMode::parse("half_close"), Ok(CancelMode::HalfClose));
        assert_eq!(
            EndpointKind::parse("Chat-Embeddings"),
            Ok(EndpointKind::ChatEmbeddings)
        );
        assert_eq!(
            ModelChoice::parse("Round-Robin"),
            Ok(ModelChoice::RoundRobin)
        );
        let error = IoDriver::parse("kqueue").unwrap_err();
        assert_eq!(error, "it must be one of: auto, uring, epoll");
    }
}
