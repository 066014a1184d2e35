//! The load of each phase: mode, limits and ends, from the settings, with what follows from them.

use anyhow::{Context, Result};
use pinfire_base::{clock::Span, shard::Shard};
use pinfire_config::{
    Blame, Get, Given, Refusal, RunConfig, Sourced, demand, refuse,
    setting::Setting,
    words::{ArrivalPattern, WarmupPattern},
};
use pinfire_engine::schedule::{Pattern, RateProfile};
use serde::Deserialize;

/// Requests sent when nothing says how many, nor for how long.
pub const DEFAULT_REQUESTS: u64 = 10;
/// Seconds that requests in flight have after the end of a duration.
const DEFAULT_GRACE: f64 = 30.0;

/// Turns per second of all users: at the least one in three hours, as other rates.
const SLOWEST: f64 = 1e-4;

/// What decides when a session begins.
#[derive(Clone, Debug)]
pub enum Mode {
    /// A free slot.
    Concurrency,
    /// An arrival process.
    Rate {
        pattern: Pattern,
        profile: RateProfile,
        /// For reports; of a series, its first.
        rate: f64,
    },
    /// The dataset's own timestamps.
    FixedSchedule,
    /// Users whose turns are users / rate seconds apart.
    Users { users: u64, rate: f64 },
}

/// One phase.
#[derive(Clone, Debug)]
pub struct PhaseLoad {
    pub mode: Mode,
    pub requests: Option<u64>,
    pub sessions: Option<u64>,
    pub duration: Option<Span>,
    /// `None` waits for all that is in flight.
    pub grace: Option<Span>,
    /// `None` is no limit.
    pub concurrency: Option<u64>,
    pub concurrency_ramp: Option<Span>,
    pub prefill: Option<u64>,
    pub prefill_ramp: Option<Span>,
}

/// The load of a run.
#[derive(Clone, Debug)]
pub struct Load {
    pub warmup: Option<PhaseLoad>,
    pub profiling: PhaseLoad,
    /// The measurement does not wait for the answers of the warmup.
    pub seamless: bool,
    pub failed_threshold: Option<f64>,
    /// Slots of a closed loop rest after requests without an answer.
    pub error_backoff: bool,
    pub warnings: Vec<String>,
}

impl Load {
    /// How many requests of a shard, or of the whole, must have ended before
    /// `--failed-request-threshold` is held against them.
    pub fn judged_from(&self, shard: Shard) -> u64 {
        let slots = self.profiling.concurrency.unwrap_or(1);
        shard.slots(slots).max(10)
    }

    /// Checks the settings together.
    ///
    /// # Errors
    /// The first combination that makes no sense, with the way out.
    pub fn new(config: &RunConfig, fixed_schedule: bool) -> Result<Self> {
        let mut warnings = Vec::new();
        let pattern = arrivals(config, fixed_schedule, &mut warnings)?;
        let profiling = profiling(config, fixed_schedule, pattern, &mut warnings)?;
        let warmup = warmup(config, &profiling, pattern, &mut warnings)?;
        let no_backoff = &config.load.no_error_backoff;
        let is_closed = |phase: &PhaseLoad| matches!(phase.mode, Mode::Concurrency);
        demand!(
            !no_backoff.value || is_closed(&profiling) || warmup.as_ref().is_some_and(is_closed),
            [no_backoff],
            "--no-error-backoff is about --concurrency alone: a rate, users and a fixed schedule keep \
             their times whatever fails"
        );
        Ok(Self {
            warmup,
            profiling,
            seamless: config.warmup.warmup_seamless.value,
            failed_threshold: config.load.failed_request_threshold.get(),
            error_backoff: !no_backoff.value,
            warnings,
        })
    }

    /// Both phases, the warmup first.
    pub fn phases(&self) -> impl Iterator<Item = &PhaseLoad> {
        self.warmup.iter().chain([&self.profiling])
    }

    /// Requests in flight at once over the phases, as far as something bounds them.
    pub fn most_at_once(&self) -> u64 {
        let bounded = |phase: &PhaseLoad| match phase.mode {
            Mode::Concurrency => phase.most_in_flight(),
            // How many a rate needs is up to the server; only an asked limit is a promise.
            _ => phase.concurrency.and(phase.most_in_flight()),
        };
        let most = self.phases().filter_map(bounded).max().unwrap_or(0);
        // A seamless warmup fills what the requests of the measurement alone leave of its limit.
        let both = self.profiling.concurrency.filter(|_| self.seamless);
        most.max(both.map_or(0, |slots| slots.min(self.most_open())))
    }

    /// Most sessions of the run that can be open when the measurement is: with a seamless warmup
    /// also its own.
    pub fn most_open(&self) -> u64 {
        let most = |load: &PhaseLoad| load.most_in_flight().unwrap_or(u64::MAX);
        let requests = self.profiling.requests.unwrap_or(u64::MAX);
        let elder = self
            .warmup
            .as_ref()
            .filter(|_| self.seamless)
            .map_or(0, most);
        requests.saturating_add(elder)
    }
}

impl PhaseLoad {
    /// Most requests in flight at once; `None` if nothing bounds them.
    pub fn most_in_flight(&self) -> Option<u64> {
        let bounds = [self.concurrency, self.requests];
        bounds.into_iter().flatten().min()
    }

    /// Cores beyond this many would have nothing to do.
    pub fn most_cores(&self) -> u64 {
        let bounds = [self.concurrency, self.requests, self.prefill];
        bounds.into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// The kind of phase, as reports name it.
    pub const fn kind(&self) -> &'static str {
        match &self.mode {
            Mode::Concurrency => "concurrency",
            Mode::Rate { pattern, .. } => match pattern {
                Pattern::Constant => "constant",
                Pattern::Gamma { .. } => "gamma",
                Pattern::Poisson | Pattern::Burst => "poisson",
            },
            Mode::FixedSchedule => "fixed_schedule",
            Mode::Users { .. } => "user_centric",
        }
    }

    /// Requests per second, where that is asked for.
    pub const fn rate(&self) -> Option<f64> {
        match &self.mode {
            Mode::Rate { rate, .. } | Mode::Users { rate, .. } => Some(*rate),
            _ => None,
        }
    }

    /// The part of the artifact folder's name that tells of the load.
    pub fn stimulus(&self) -> String {
        match (&self.mode, self.concurrency) {
            (Mode::Concurrency, concurrency) => format!("concurrency{}", concurrency.unwrap_or(1)),
            (Mode::Rate { rate, .. }, None) => format!("request_rate{rate:?}"),
            (Mode::Rate { rate, .. }, Some(concurrency)) => {
                format!("concurrency{concurrency}-request_rate{rate:?}")
            }
            (Mode::FixedSchedule, _) => "fixed_schedule".to_owned(),
            (Mode::Users { users, rate }, _) => format!("user_centric-users{users}-qps{rate:?}"),
        }
    }
}

impl std::fmt::Display for PhaseLoad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.requests {
            Some(requests) => write!(f, "{requests} requests")?,
            None if matches!(self.mode, Mode::FixedSchedule) => write!(f, "a recorded schedule")?,
            None => write!(f, "requests")?,
        }
        if let Some(rate) = self.rate() {
            write!(f, " at {rate}/s ({})", self.kind())?;
        }
        if let Some(duration) = self.duration {
            write!(f, " for {} s", duration.as_secs_f64())?;
        }
        match self.concurrency {
            Some(concurrency) => write!(f, ", {concurrency} at once"),
            None => Ok(()),
        }
    }
}

/// The arrival pattern of the measurement, and what goes with a rate.
fn arrivals(
    config: &RunConfig,
    fixed_schedule: bool,
    warnings: &mut Vec<String>,
) -> Result<Pattern> {
    let load = &config.load;
    let (rate, series) = (&load.request_rate, &load.request_rate_series);
    let rated = rate.is_some() || series.is_some();
    demand!(
        rate.is_none() || series.is_none(),
        [rate, series],
        "--request-rate and --request-rate-series exclude each other"
    );
    demand!(
        !(fixed_schedule && rated),
        [rate, series, config.schedule.fixed_schedule],
        "a fixed schedule and a rate exclude each other: drop --request-rate (or the series), or add \
         --no-fixed-schedule to ignore the trace's timestamps"
    );
    let smoothness = &load.arrival_smoothness;
    demand!(
        smoothness.is_none() || rated,
        [smoothness],
        "--arrival-smoothness shapes gamma arrivals; it needs --request-rate"
    );
    let pattern = pattern(load.arrival_pattern.get(), smoothness.get());
    demand!(
        smoothness.is_none() || matches!(pattern, Pattern::Gamma { .. }),
        [smoothness, load.arrival_pattern],
        "--arrival-smoothness is only for --arrival-pattern gamma"
    );
    if load.arrival_pattern.is_some() && !rated {
        warnings.push("--arrival-pattern has no effect without --request-rate".to_owned());
    }
    demand!(
        load.request_rate_ramp_duration.is_none() || rated || load.user_centric_rate.is_some(),
        [load.request_rate_ramp_duration],
        "--request-rate-ramp-duration is only for rate-controlled scheduling; add --request-rate"
    );
    Ok(pattern)
}

fn profiling(
    config: &RunConfig,
    fixed_schedule: bool,
    pattern: Pattern,
    warnings: &mut Vec<String>,
) -> Result<PhaseLoad> {
    let load = &config.load;
    demand!(
        load.benchmark_grace_period.is_none() || load.benchmark_duration.is_some(),
        [load.benchmark_grace_period],
        "--benchmark-grace-period needs --benchmark-duration"
    );
    demand!(
        load.prefill_concurrency.is_none() || config.endpoint.streaming.value,
        [load.prefill_concurrency, config.endpoint.streaming],
        "--prefill-concurrency needs --streaming: without a stream there is no first token"
    );
    let users = users(config, fixed_schedule, warnings)?;
    let mode = if fixed_schedule {
        Mode::FixedSchedule
    } else if let Some(users) = users {
        users
    } else if let Some(path) = load.request_rate_series.get() {
        let ramp = span(&load.request_rate_ramp_duration);
        series(&path, pattern, ramp.unwrap_or(Span::ZERO)).about(&[&load.request_rate_series])?
    } else if let Some(rate) = load.request_rate.get() {
        rate_mode(rate, pattern, load.request_rate_ramp_duration.get())
    } else {
        Mode::Concurrency
    };
    let limit = load.concurrency.get();
    let concurrency = limit.or(matches!(mode, Mode::Concurrency).then_some(1));
    limits_agree(
        (&load.prefill_concurrency, load.prefill_concurrency.get()),
        (&load.concurrency, concurrency),
    )?;
    if load.concurrency_ramp_duration.is_some() && load.concurrency.is_none() {
        warnings.push("--concurrency-ramp-duration has no effect without --concurrency".into());
    }
    if load.prefill_concurrency_ramp_duration.is_some() && load.prefill_concurrency.is_none() {
        warnings.push(
            "--prefill-concurrency-ramp-duration has no effect without --prefill-concurrency"
                .to_owned(),
        );
    }
    let (requests, sessions) = (&load.request_count, &config.conversations.num_conversations);
    let ends = requests.is_some() || load.benchmark_duration.is_some() || sessions.is_some();
    let profiling = PhaseLoad {
        requests: requests
            .get()
            .or((!ends && !fixed_schedule).then_some(DEFAULT_REQUESTS)),
        sessions: sessions.get(),
        duration: span(&load.benchmark_duration),
        grace: grace(load.benchmark_grace_period.get().unwrap_or(DEFAULT_GRACE)),
        concurrency,
        concurrency_ramp: span(&load.concurrency_ramp_duration),
        prefill: load.prefill_concurrency.get(),
        prefill_ramp: span(&load.prefill_concurrency_ramp_duration),
        mode,
    };
    let least = [profiling.requests, profiling.sessions]
        .into_iter()
        .flatten()
        .min();
    if let (Mode::Users { users, .. }, Some(least)) = (&profiling.mode, least) {
        demand!(
            least >= *users,
            [load.num_users, requests, sessions],
            "{least} requests or conversations are fewer than --num-users {users}: each user needs at \
             least one; raise --request-count or --num-conversations"
        );
    }
    Ok(profiling)
}

fn users(config: &RunConfig, fixed: bool, warnings: &mut Vec<String>) -> Result<Option<Mode>> {
    let load = &config.load;
    let rate = &load.user_centric_rate;
    let Some(per_second) = rate.get() else {
        demand!(
            load.num_users.is_none(),
            [load.num_users],
            "--num-users needs --user-centric-rate; add it or drop the users"
        );
        return Ok(None);
    };
    demand!(
        !fixed,
        [rate, config.schedule.fixed_schedule],
        "a fixed schedule and --user-centric-rate exclude each other; add --no-fixed-schedule to \
         ignore the trace's timestamps"
    );
    demand!(
        load.request_rate_series.is_none(),
        [rate, load.request_rate_series],
        "--user-centric-rate and --request-rate-series are not supported together"
    );
    demand!(
        per_second >= SLOWEST,
        [rate],
        "--user-centric-rate {per_second}: it must be at least {SLOWEST}"
    );
    let turns = &config.conversations.session_turns_mean;
    demand!(
        config.input.input_file.is_some() || turns.get().unwrap_or(1) >= 2,
        [rate, turns],
        "--user-centric-rate needs conversations: --session-turns-mean of at least 2; for single \
         turns take --request-rate"
    );
    let Some(users) = load.num_users.get() else {
        refuse!([rate], "--user-centric-rate needs --num-users");
    };
    if load.request_rate.is_some() {
        warnings.push("--request-rate has no effect with --user-centric-rate".to_owned());
    }
    if load.request_rate_ramp_duration.is_some() {
        warnings.push("--user-centric-rate cannot ramp: its rate is constant".to_owned());
    }
    Ok(Some(Mode::Users {
        users,
        rate: per_second,
    }))
}

fn warmup(
    config: &RunConfig,
    profiling: &PhaseLoad,
    pattern_of_profiling: Pattern,
    warnings: &mut Vec<String>,
) -> Result<Option<PhaseLoad>> {
    let (load, warmup) = (&config.load, &config.warmup);
    let triggered = warmup.warmup_request_count.is_some()
        || warmup.warmup_duration.is_some()
        || warmup.num_warmup_sessions.is_some();
    let rate = warmup_rate(config, profiling, triggered)?;
    if !triggered {
        if !warmup.given().is_empty() {
            warnings.push(
                "the warmup flags make no warmup by themselves: add --warmup-request-count, \
                 --warmup-duration or --num-warmup-sessions"
                    .to_owned(),
            );
        }
        return Ok(None);
    }
    let mode = match rate {
        Some(rate) => {
            let own = warmup.warmup_arrival_pattern.get();
            let pattern = match own.and_then(WarmupPattern::arrivals) {
                Some(own) => pattern(Some(own), load.arrival_smoothness.get()),
                None => pattern_of_profiling,
            };
            let ramp = warmup.warmup_request_rate_ramp_duration.get();
            rate_mode(
                rate,
                pattern,
                ramp.or(load.request_rate_ramp_duration.get()),
            )
        }
        None => Mode::Concurrency,
    };
    let concurrency = warmup
        .warmup_concurrency
        .get()
        .or(load.concurrency.get())
        .or(matches!(mode, Mode::Concurrency).then_some(1));
    let prefill = warmup
        .warmup_prefill_concurrency
        .get()
        .or(load.prefill_concurrency.get());
    limits_agree(
        (&warmup.warmup_prefill_concurrency, prefill),
        (&warmup.warmup_concurrency, concurrency),
    )
    .context("warmup")?;
    Ok(Some(PhaseLoad {
        mode,
        requests: warmup.warmup_request_count.get(),
        sessions: warmup.num_warmup_sessions.get(),
        duration: span(&warmup.warmup_duration),
        grace: grace(warmup.warmup_grace_period.get().unwrap_or(f64::INFINITY)),
        concurrency,
        concurrency_ramp: span(&warmup.warmup_concurrency_ramp_duration)
            .or(span(&load.concurrency_ramp_duration)),
        prefill,
        prefill_ramp: span(&warmup.warmup_prefill_concurrency_ramp_duration)
            .or(span(&load.prefill_concurrency_ramp_duration)),
    }))
}

/// The rate of the warmup, if it has one; and what does not go with it.
fn warmup_rate(config: &RunConfig, profiling: &PhaseLoad, triggered: bool) -> Result<Option<f64>> {
    let warmup = &config.warmup;
    let grace = &warmup.warmup_grace_period;
    demand!(
        triggered || grace.is_none(),
        [grace],
        "--warmup-grace-period needs a warmup: --warmup-request-count, --warmup-duration or \
         --num-warmup-sessions"
    );
    demand!(
        triggered || !warmup.warmup_seamless.value,
        [warmup.warmup_seamless],
        "--warmup-seamless needs a warmup: --warmup-request-count, --warmup-duration or \
         --num-warmup-sessions"
    );
    demand!(
        grace.is_none() || warmup.warmup_duration.is_some(),
        [grace],
        "--warmup-grace-period needs --warmup-duration"
    );
    let own = &warmup.warmup_request_rate;
    let rate = own.get().or(match profiling.mode {
        // A series has no one rate to inherit.
        Mode::Rate { rate, .. } if config.load.request_rate.is_some() => Some(rate),
        _ => None,
    });
    let closed = warmup.warmup_arrival_pattern.get() == Some(WarmupPattern::Concurrency);
    demand!(
        !closed || own.is_none(),
        [own, warmup.warmup_arrival_pattern],
        "--warmup-arrival-pattern concurrency has no rate; drop --warmup-request-rate"
    );
    let rate = rate.filter(|_| !closed);
    demand!(
        warmup.warmup_request_rate_ramp_duration.is_none() || rate.is_some(),
        [warmup.warmup_request_rate_ramp_duration],
        "--warmup-request-rate-ramp-duration needs --warmup-request-rate"
    );
    Ok(rate)
}

/// The limits of prefill and of sessions, each with the setting that gives it.
fn limits_agree(prefill: (&dyn Given, Option<u64>), all: (&dyn Given, Option<u64>)) -> Result<()> {
    if let (Some(prefilling), Some(concurrency)) = (prefill.1, all.1)
        && prefilling > concurrency
    {
        let message = format!(
            "--prefill-concurrency {prefilling} must not exceed --concurrency {concurrency}: a request \
             holds both"
        );
        return Err(Refusal::about(&[prefill.0, all.0], message).into());
    }
    Ok(())
}

fn span<T: Setting<Value = f64>>(seconds: &Option<Sourced<T>>) -> Option<Span> {
    seconds.get().map(Span::from_secs_f64)
}

fn grace(seconds: f64) -> Option<Span> {
    seconds.is_finite().then(|| Span::from_secs_f64(seconds))
}

fn rate_mode(rate: f64, pattern: Pattern, ramp: Option<f64>) -> Mode {
    let profile = match ramp {
        Some(seconds) if rate.is_finite() => RateProfile::ramp(rate, Span::from_secs_f64(seconds)),
        _ => RateProfile::constant(rate),
    };
    Mode::Rate {
        pattern,
        profile,
        rate,
    }
}

fn pattern(asked: Option<ArrivalPattern>, smoothness: Option<f64>) -> Pattern {
    match asked {
        Some(ArrivalPattern::Gamma) => Pattern::Gamma {
            smoothness: smoothness.unwrap_or(1.0),
        },
        Some(ArrivalPattern::Constant) => Pattern::Constant,
        // With a rate, a burst of concurrency is poisson, as the reference has it.
        Some(ArrivalPattern::Poisson | ArrivalPattern::ConcurrencyBurst) => Pattern::Poisson,
        None => smoothness.map_or(Pattern::Poisson, |smoothness| Pattern::Gamma { smoothness }),
    }
}

/// The file of `--request-rate-series`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Series {
    List(Vec<Point>),
    Object(Points),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Points {
    points: Vec<Point>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    time_s: f64,
    qps: f64,
}

fn series(path: &std::path::Path, pattern: Pattern, delay: Span) -> Result<Mode> {
    let named = || format!("--request-rate-series {}", path.display());
    let text = std::fs::read_to_string(path).with_context(named)?;
    let points = match serde_json::from_str(&text)
        .context("it must be a list of {\"time_s\": seconds, \"qps\": rate}")
        .with_context(named)?
    {
        Series::List(points) | Series::Object(Points { points }) => points,
    };
    let points: Vec<(f64, f64)> = points.iter().map(|p| (p.time_s, p.qps)).collect();
    let profile = RateProfile::series(&points, delay).with_context(named)?;
    Ok(Mode::Rate {
        pattern,
        profile,
        rate: points.first().map_or(0.0, |point| point.1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::typed;

    fn load(more: &str) -> Result<Load> {
        let config = typed(more.split_whitespace())?;
        Load::new(&config, config.schedule.fixed_schedule.get() == Some(true))
    }

    #[test]
    fn combinations_that_make_no_sense_say_why() {
        for (line, words) in [
            (
                "--benchmark-grace-period 5",
                &["needs --benchmark-duration"][..],
            ),
            ("--prefill-concurrency 1", &["--streaming"]),
            (
                "--streaming --prefill-concurrency 2",
                &["2", "not exceed", "concurrency 1"],
            ),
            (
                "--warmup-grace-period 1",
                &[
                    "--warmup-request-count",
                    "--warmup-duration",
                    "--num-warmup-sessions",
                ],
            ),
            (
                "--warmup-grace-period 1 --warmup-request-count 5",
                &["needs --warmup-duration"],
            ),
            (
                "--warmup-seamless --warmup-concurrency 3",
                &[
                    "--warmup-seamless",
                    "--warmup-request-count",
                    "--warmup-duration",
                    "--num-warmup-sessions",
                ],
            ),
            (
                "--warmup-request-count 5 --warmup-request-rate-ramp-duration 1",
                &["--warmup-request-rate"],
            ),
            ("--arrival-smoothness 2", &["gamma", "--request-rate"]),
            (
                "--request-rate 5 --arrival-pattern constant --arrival-smoothness 2",
                &["gamma"],
            ),
            ("--request-rate-ramp-duration 2", &["rate"]),
            (
                "--fixed-schedule --request-rate 2",
                &["exclude each other", "--no-fixed-schedule"],
            ),
            (
                "--request-rate 2 --request-rate-series f",
                &["exclude each other"],
            ),
            ("--num-users 3", &["--user-centric-rate"]),
            (
                "--user-centric-rate 1",
                &["--session-turns-mean", "--request-rate"],
            ),
            (
                "--user-centric-rate 1 --session-turns-mean 3",
                &["--num-users"],
            ),
            (
                "--user-centric-rate 1 --session-turns-mean 3 --num-users 11",
                &["10", "11", "each user"],
            ),
            ("--request-rate 0", &["above 0"]),
            ("--failed-request-threshold 2", &["between 0 and 1"]),
            ("--request-rate-series /nowhere/f", &["/nowhere/f"]),
        ] {
            let error = format!("{:#}", load(line).unwrap_err());
            for word in words {
                assert!(error.contains(word), "{line}: {error}");
            }
        }
    }

    #[test]
    fn what_follows_from_the_flags() {
        let plain = load("").unwrap();
        let phase = &plain.profiling;
        assert_eq!((phase.requests, phase.concurrency), (Some(10), Some(1)));
        assert_eq!(
            (phase.stimulus().as_str(), phase.kind()),
            ("concurrency1", "concurrency")
        );
        let rated = load("--request-rate 3 --benchmark-duration 2")
            .unwrap()
            .profiling;
        assert_eq!((rated.requests, rated.concurrency), (None, None));
        assert_eq!(rated.grace, Some(Span::from_secs_f64(30.0)));
        assert_eq!(
            (rated.stimulus().as_str(), rated.kind()),
            ("request_rate3.0", "poisson")
        );
        let capped = load("--request-rate 3 --concurrency 8 --arrival-smoothness 2").unwrap();
        assert_eq!(capped.profiling.stimulus(), "concurrency8-request_rate3.0");
        assert_eq!(capped.profiling.kind(), "gamma");
        let fixed = load("--fixed-schedule").unwrap().profiling;
        assert_eq!((fixed.requests, fixed.concurrency), (None, None));
        assert_eq!(fixed.stimulus(), "fixed_schedule");
        assert!(load("--arrival-pattern constant").unwrap().warnings[0].contains("no effect"));
    }

    #[test]
    fn a_warmup_inherits() {
        let load_ = load(
            "--streaming --request-rate 5 --arrival-smoothness 2 --concurrency 4 \
             --prefill-concurrency 2 --concurrency-ramp-duration 3 --warmup-duration 1",
        )
        .unwrap();
        let warmup = load_.warmup.unwrap();
        assert_eq!((warmup.kind(), warmup.rate()), ("gamma", Some(5.0)));
        assert_eq!((warmup.concurrency, warmup.prefill), (Some(4), Some(2)));
        assert_eq!(warmup.concurrency_ramp, Some(Span::from_secs_f64(3.0)));
        assert_eq!((warmup.grace, warmup.requests), (None, None));
        let plain = load("--fixed-schedule --warmup-request-count 5")
            .unwrap()
            .warmup
            .unwrap();
        assert_eq!((plain.kind(), plain.concurrency), ("concurrency", Some(1)));
        let seam = "--warmup-seamless --warmup-request-count 6 --concurrency 9 --request-count 4";
        let seamless = load(seam).unwrap();
        assert!(seamless.seamless);
        assert_eq!((seamless.most_open(), seamless.most_at_once()), (10, 9));
        assert_eq!(load(&seam[18..]).unwrap().most_at_once(), 6);
        let alone = load("--warmup-concurrency 5").unwrap();
        assert!(alone.warmup.is_none() && alone.warnings[0].contains("no warmup"));
    }
}
