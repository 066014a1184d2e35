//! Numbers with their ranges and units, and the other values that are more than a word.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use pinfire_base::{
    clock::Span,
    delay::{Delay, NoDelay},
    record::{CancelTrigger, Trigger},
    shard::Shard,
};

use crate::setting::Setting;

/// Declares numbers: a type, what it holds, and the function that reads it.
macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident($plain:ty) = $read:path;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
        pub struct $name($plain);

        impl $name {
            /// The number.
            pub const fn get(self) -> $plain {
                self.0
            }
        }

        impl Setting for $name {
            type Value = $plain;

            fn parse(text: &str) -> Result<Self, String> {
                $read(text).map(Self)
            }

            fn shown(&self) -> String {
                self.0.to_string()
            }

            fn value(&self) -> $plain {
                self.0
            }
        }
    )*};
}

numbers! {
    /// A whole number of at least 1 and at most 10^12.
    Count(u64) = count;
    /// A whole number of at least 0.
    Whole(u64) = whole;
    /// A number of tokens, at least 0.
    Tokens(u32) = length;
    /// A number of at least 0 and at most 1e9.
    NotNegative(f64) = not_negative;
    /// A number above 0, from 1e-9 to 1e9.
    Positive(f64) = positive;
    /// A share of 0 to 1.
    Share(f64) = share;
    /// Arrivals per second: from 1e-4 to 1e9, or `inf`.
    Rate(f64) = rate;
    /// A time above 0, in seconds.
    Seconds(f64) = seconds;
    /// A time of at least 0, in seconds.
    Pause(f64) = pause;
    /// A time of at least 0, in seconds, or `inf`.
    Grace(f64) = grace;
    /// Seconds of at least 0 and at most 1000.
    Interval(f64) = interval;
    /// A time of at least 0, in milliseconds.
    Milliseconds(f64) = milliseconds;
    /// A time of at least 0, in whole milliseconds.
    WholeMilliseconds(u64) = whole_milliseconds;
}

impl Seconds {
    /// The time.
    pub fn span(self) -> Span {
        Span::from_secs_f64(self.0)
    }
}

impl Count {
    /// At least 1.
    pub const fn at_least_one(count: u64) -> Self {
        Self(if count == 0 { 1 } else { count })
    }
}

impl Whole {
    /// Any whole number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

impl Tokens {
    /// So many.
    pub const fn new(tokens: u32) -> Self {
        Self(tokens)
    }
}

/// The share of cancelled requests, in percent. In a list 0 stands for no cancelling at all.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Percent(f64);

impl Percent {
    /// Every other one.
    pub const HALF: Self = Self(50.0);

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Setting for Percent {
    type Value = f64;

    fn parse(text: &str) -> Result<Self, String> {
        no_list(text)?;
        number(text)
            .filter(|value| *value > 0.0 && *value <= 100.0)
            .map(Self)
            .ok_or_else(|| {
                "it must be above 0 and at most 100 (leave the flag out to cancel nothing)"
                    .to_owned()
            })
    }

    fn parse_element(text: &str) -> Result<Self, String> {
        match number(text) {
            Some(0.0) => Ok(Self(0.0)),
            _ => Self::parse(text),
        }
    }

    fn shown(&self) -> String {
        self.0.to_string()
    }

    fn value(&self) -> f64 {
        self.0
    }
}

/// Seconds, or a distribution of them.
impl Setting for Delay {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        let read = |text: &str| text.parse().map_err(|wrong: NoDelay| wrong.to_string());
        if text.contains(':') {
            return read(text);
        }
        no_list(text)?;
        read(&in_seconds(text)?)
    }

    fn shown(&self) -> String {
        self.to_string()
    }

    fn value(&self) -> Self {
        *self
    }
}

/// How long a user waits for the first token.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Patience(Delay);

impl Setting for Patience {
    type Value = Delay;

    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((what, rest)) if what.eq_ignore_ascii_case("ttft") => {
                Setting::parse(rest).map(Self)
            }
            _ => Err("it must be ttft:SECONDS, such as ttft:2.0".to_owned()),
        }
    }

    fn shown(&self) -> String {
        format!("ttft:{}", self.0)
    }

    fn value(&self) -> Delay {
        self.0
    }
}

impl Setting for CancelTrigger {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.to_lowercase().replace('_', "-");
        // Patience is a setting of its own.
        Self::from_name(&text)
            .filter(|trigger| *trigger != Self::At(Trigger::Patience))
            .ok_or_else(|| {
                if text.starts_with("fraction:") {
                    return "fraction:F needs a number above 0 and at most 1".to_owned();
                }
                "it must be one of: sent, headers, first-token, tokens:N, fraction:F, mid-body, \
                 connect"
                    .to_owned()
            })
    }

    fn shown(&self) -> String {
        self.to_string()
    }

    fn value(&self) -> Self {
        *self
    }
}

/// Which CPUs send and receive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cores {
    /// This many of them.
    Count(usize),
    /// These.
    List(Vec<usize>),
}

impl Setting for Cores {
    type Value = Self;

    /// A count (`4`), or a list with ranges (`2,4-7`; one CPU: `3,`).
    fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || "it must be a number of cores, or a list of CPUs such as 2,4-7 (one CPU: 3,)";
        if let Ok(count) = text.parse::<usize>() {
            return if count == 0 {
                Err(wrong().to_owned())
            } else {
                Ok(Self::Count(count))
            };
        }
        let mut cpus = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to) = (from.parse().ok(), to.parse().ok());
            let (Some(from), Some(to)) = (from, to) else {
                return Err(wrong().to_owned());
            };
            let range: std::ops::RangeInclusive<usize> = from..=to;
            if range.is_empty() || to > 8_191 {
                return Err(wrong().to_owned());
            }
            cpus.extend(range);
        }
        cpus.sort_unstable();
        cpus.dedup();
        if cpus.is_empty() {
            Err(wrong().to_owned())
        } else {
            Ok(Self::List(cpus))
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Count(count) => count.to_string(),
            Self::List(cpus) => {
                let cpus: Vec<String> = cpus.iter().map(usize::to_string).collect();
                // One CPU, not a count of them.
                let end = if cpus.len() == 1 { "," } else { "" };
                format!("{}{end}", cpus.join(","))
            }
        }
    }

    fn value(&self) -> Self {
        self.clone()
    }
}

/// Which of how many shards a process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardOf {
    /// Its number, from 0.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

impl Setting for ShardOf {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        let (index, count) = text
            .split_once('/')
            .and_then(|(index, count)| Some((digits(index)?, digits(count)?)))
            .ok_or("it must be I/N, such as 0/4 for the first of four shards")?;
        let count = shards(count)?;
        if index >= u64::from(count) {
            let last = count - 1;
            return Err(format!(
                "shards count from 0: of {count} the last is {last}/{count}"
            ));
        }
        Ok(Self {
            index: index as u32,
            count,
        })
    }

    fn shown(&self) -> String {
        format!("{}/{}", self.index, self.count)
    }

    fn value(&self) -> Self {
        *self
    }
}

/// How many shards make a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShardCount {
    /// As many as the platform says.
    Auto,
    /// So many.
    Count(u32),
}

impl Setting for ShardCount {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        let count = digits(text).ok_or("it must be a number of shards, or auto")?;
        shards(count).map(Self::Count)
    }

    fn shown(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Count(count) => count.to_string(),
        }
    }

    fn value(&self) -> Self {
        *self
    }
}

/// Where a page is served: an address and a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListenAddress(SocketAddr);

impl Setting for ListenAddress {
    type Value = SocketAddr;

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let port = text.strip_prefix(':').unwrap_or(text);
        let here = text.strip_prefix("localhost:");
        let read = match (port.parse::<u16>(), here) {
            (Ok(port), _) => Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
            (_, Some(port)) => port
                .parse()
                .ok()
                .map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            _ => text.parse().ok(),
        };
        read.map(Self).ok_or(
            "it must be an address of this machine and a port, such as 127.0.0.1:9464, or :9464 for all \
             its addresses"
                .to_owned(),
        )
    }

    fn shown(&self) -> String {
        self.0.to_string()
    }

    fn value(&self) -> SocketAddr {
        self.0
    }
}

/// A number of nothing but digits.
fn digits(text: &str) -> Option<u64> {
    let text = text.trim();
    let is_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_one.then(|| text.parse().unwrap_or(u64::MAX))
}

/// A number of shards.
fn shards(count: u64) -> Result<u32, String> {
    u32::try_from(count)
        .ok()
        .filter(|count| (1..=Shard::MOST).contains(count))
        .ok_or_else(|| format!("a run has from 1 to {} shards", Shard::MOST))
}

/// The most of anything that is counted: a million requests a second for eleven days. More is a
/// mistake, and sums of it would overflow.
const MOST: u64 = 1_000_000_000_000;
/// The longest time: 31 years. It leaves room to add it to a clock.
const LONGEST_SECONDS: f64 = 1e9;
/// The range of rates: at the lowest an arrival waits three hours for the next.
const RATES: std::ops::RangeInclusive<f64> = 1e-4..=1e9;
/// The range of shapes and factors. Their products with times and lengths stay numbers.
const FACTORS: std::ops::RangeInclusive<f64> = 1e-9..=1e9;

/// A whole number of at least 1 and at most 10^12.
///
/// # Errors
/// It is none.
pub fn count(text: &str) -> Result<u64, String> {
    no_list(text)?;
    match text.parse::<u64>() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(value @ 1..=MOST) => Ok(value),
        Err(error) if *error.kind() != std::num::IntErrorKind::PosOverflow => {
            Err("it must be a whole number of at least 1".to_owned())
        }
        Ok(_) | Err(_) => Err(format!("it must be at most {MOST}")),
    }
}

/// A share above 0 and up to all, in percent, such as `1%` or `0.5`; as a part of one.
///
/// # Errors
/// It is none.
pub fn percentage(text: &str) -> Result<f64, String> {
    no_list(text)?;
    let percent = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>();
    let known = percent
        .ok()
        .filter(|percent| *percent > 0.0 && *percent <= 100.0);
    let share = known.ok_or("it must be a percentage above 0 and up to 100, such as 1%")?;
    Ok(share / 100.0)
}

/// A whole number of at least 0.
///
/// # Errors
/// It is none.
pub fn whole(text: &str) -> Result<u64, String> {
    no_list(text)?;
    text.parse()
        .map_err(|_| "it must be a whole number of at least 0".to_owned())
}

/// A number of tokens, at least 0.
///
/// # Errors
/// It is none.
pub fn length(text: &str) -> Result<u32, String> {
    no_list(text)?;
    text.parse()
        .map_err(|_| "it must be a whole number of tokens, at least 0".to_owned())
}

/// The tokens of a block, at least 1.
///
/// # Errors
/// It is none.
pub fn block(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|tokens| *tokens > 0)
        .ok_or("it must be a whole number of tokens, at least 1".to_owned())
}

/// A number of at least 0 and at most 1e9.
///
/// # Errors
/// It is none.
pub fn not_negative(text: &str) -> Result<f64, String> {
    no_list(text)?;
    let value = number(text).filter(|value| *value >= 0.0);
    let value = value.ok_or("it must be a number of at least 0")?;
    at_most(value, *FACTORS.end(), "")
}

/// A number above 0, from 1e-9 to 1e9.
///
/// # Errors
/// It is none.
pub fn positive(text: &str) -> Result<f64, String> {
    let value = number(text).filter(|value| *value > 0.0);
    let value = value.ok_or("it must be a number above 0")?;
    if FACTORS.contains(&value) {
        return Ok(value);
    }
    Err("it must be between 1e-9 and 1e9".to_owned())
}

fn at_most(value: f64, most: f64, unit: &str) -> Result<f64, String> {
    if value <= most {
        return Ok(value);
    }
    Err(format!("it must be at most {most:e}{unit}"))
}

/// A share of 0 to 1.
///
/// # Errors
/// It is none.
pub fn share(text: &str) -> Result<f64, String> {
    number(text)
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or("it must be between 0 and 1".to_owned())
}

/// A time above 0, in seconds: `90`, `90s`, `1500ms`, `2m`; a nanosecond at least.
///
/// # Errors
/// It is none.
pub fn seconds(text: &str) -> Result<f64, String> {
    positive(&in_seconds(text)?)
}

fn pause(text: &str) -> Result<f64, String> {
    not_negative(&in_seconds(text)?)
}

fn rate(text: &str) -> Result<f64, String> {
    no_list(text)?;
    let value: Option<f64> = text.parse().ok().filter(|value| *value > 0.0);
    match value {
        None => Err("it must be a number above 0, or inf".to_owned()),
        Some(value) if value.is_infinite() || RATES.contains(&value) => Ok(value),
        Some(_) => Err("it must be between 1e-4 and 1e9, or inf".to_owned()),
    }
}

fn grace(text: &str) -> Result<f64, String> {
    let value: Option<f64> = in_seconds(text)?.parse().ok();
    match value.filter(|value| *value >= 0.0) {
        None => Err("it must be a number of at least 0, or inf".to_owned()),
        Some(value) if value.is_infinite() => Ok(value),
        Some(value) => at_most(value, LONGEST_SECONDS, " seconds, or inf"),
    }
}

fn interval(text: &str) -> Result<f64, String> {
    number(&in_seconds(text)?)
        .filter(|value| (0.0..=1000.0).contains(value))
        .ok_or("it must be between 0 and 1000".to_owned())
}

fn milliseconds(text: &str) -> Result<f64, String> {
    not_negative(&in_unit(text, 1000.0)?)
}

fn whole_milliseconds(text: &str) -> Result<u64, String> {
    let value = whole(&in_unit(text, 1000.0)?)?;
    if value <= MOST {
        return Ok(value);
    }
    Err(format!("it must be at most {MOST} milliseconds"))
}

fn in_seconds(text: &str) -> Result<String, String> {
    in_unit(text, 1.0)
}

/// A duration such as `30s` as the number in a unit of which a second has this many. Anything else
/// stays as it is.
fn in_unit(text: &str, per_second: f64) -> Result<String, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = text.get(digits.len()..).unwrap_or_default();
    let seconds = match suffix {
        "ms" => 0.001,
        "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        // `inf`, and what the number itself will refuse.
        _ => return Ok(text.to_owned()),
    };
    let number: f64 = digits
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is no duration; write 30s, 5m or 2h"))?;
    Ok((number * seconds * per_second).to_string())
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

fn no_list(text: &str) -> Result<(), String> {
    if text.contains(',') {
        return Err(
            "it takes one value; the flags that take a list are in the help of --sweep-type"
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused<T: Setting>(texts: &[&str]) {
        for text in texts {
            assert!(T::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shards_count_from_0() {
        let of = |index, count| Ok(ShardOf { index, count });
        assert_eq!(ShardOf::parse("0/1"), of(0, 1));
        assert_eq!(ShardOf::parse("3/8"), of(3, 8));
        assert_eq!(ShardOf::parse("9999/10000").unwrap().shown(), "9999/10000");
        refused::<ShardOf>(&[
            "",
            "3",
            "/",
            "3/",
            "/3",
            "8/8",
            "0/0",
            "-1/3",
            "+1/3",
            "1/10001",
            "1/3/4",
            "a/b",
            "1.0/3",
            "99999999999999999999/8",
            "1,2/4",
        ]);
        assert!(ShardOf::parse("8/8").unwrap_err().contains("7/8"));
        assert_eq!(ShardCount::parse("AUTO"), Ok(ShardCount::Auto));
        assert_eq!(ShardCount::parse("8").unwrap().shown(), "8");
        refused::<ShardCount>(&["", "0", "-2", "many", "10001", "2,4", "0x2"]);
    }

    #[test]
    fn cores_are_counts_or_lists() {
        let cores = Cores::parse;
        assert_eq!(cores("4"), Ok(Cores::Count(4)));
        assert_eq!(cores("3,"), Ok(Cores::List(vec![3])));
        assert_eq!(cores("2,4-6,4"), Ok(Cores::List(vec![2, 4, 5, 6])));
        for text in ["4", "3,", "2,4,5"] {
            assert_eq!(cores(text).map(|cores| cores.shown()), Ok(text.to_owned()));
        }
        refused::<Cores>(&["0", "", ",", "a", "4-2", "1-99999999999", "-1"]);
    }

    #[test]
    fn delays_and_triggers_are_read_and_written_alike() {
        for text in [
            "0.5",
            "uniform:0.1,2",
            "exponential:0.5",
            "lognormal:0.5,0.8",
        ] {
            assert_eq!(
                Delay::parse(text).map(|delay| delay.shown()),
                Ok(text.into())
            );
        }
        refused::<Delay>(&[
            "",
            "-1",
            "nan",
            "1,2",
            "uniform:2,1",
            "uniform:1",
            "exponential:-1",
            "lognormal:1",
            "normal:1,2",
            "1e9",
        ]);
        for text in [
            "sent",
            "headers",
            "first-token",
            "tokens:20",
            "fraction:0.5",
            "mid-body",
            "connect",
        ] {
            assert_eq!(
                CancelTrigger::parse(text).map(|trigger| trigger.shown()),
                Ok(text.to_owned())
            );
        }
        refused::<CancelTrigger>(&[
            "",
            "tokens",
            "tokens:0",
            "fraction:0",
            "fraction:1.1",
            "last",
        ]);
        assert_eq!(
            Patience::parse("ttft:2.0").map(|patience| patience.value()),
            Delay::parse("2")
        );
        refused::<Patience>(&["2", "ttlt:2", "ttft:", "ttft:-1"]);
    }

    #[test]
    fn durations_have_units() {
        for (text, seconds) in [("30s", 30.0), ("5m", 300.0), ("1500ms", 1.5), ("2", 2.0)] {
            assert_eq!(Seconds::parse(text).map(Seconds::get), Ok(seconds));
        }
        assert_eq!(Milliseconds::parse("2s").map(Milliseconds::get), Ok(2000.0));
        assert_eq!(Grace::parse("inf").map(Grace::get), Ok(f64::INFINITY));
        assert_eq!(Delay::parse("500ms"), Delay::parse("0.5"));
        let error = Seconds::parse("5.5.5s").unwrap_err();
        assert!(error.contains("`5.5.5s` is no duration"), "{error}");
    }

    #[test]
    fn absurd_numbers_are_refused_where_they_are_read() {
        for text in [
            "9223372036854775807",
            "18446744073709551615",
            "99999999999999999999",
        ] {
            assert_eq!(count(text), Err(format!("it must be at most {MOST}")));
        }
        assert_eq!(count("1000000000000"), Ok(MOST));
        refused::<Rate>(&["1e308", "1e-308", "NaN", "-inf", "0"]);
        refused::<Positive>(&["1e308", "1e-308", "NaN", "inf"]);
        refused::<Seconds>(&["1e308", "1e-308", "NaN", "inf", "99999999999d"]);
        refused::<Grace>(&["1e308", "NaN", "-inf"]);
        refused::<Pause>(&["1e308", "NaN", "inf"]);
        refused::<NotNegative>(&["1e308", "NaN", "inf"]);
        refused::<Milliseconds>(&["1e308", "NaN", "inf"]);
        refused::<WholeMilliseconds>(&["18446744073709551615"]);
        assert_eq!(Rate::parse("inf").map(Rate::get), Ok(f64::INFINITY));
    }

    #[test]
    fn no_cancelling_is_a_percentage_in_lists_only() {
        use crate::setting::Listed;
        assert_eq!(Percent::parse("100").map(Percent::get), Ok(100.0));
        refused::<Percent>(&["0", "-1", "100.1", "nan", "inf", "x", "10,20"]);
        let list = Listed::<Percent>::parse("0, 10").unwrap();
        assert_eq!(list.all().map(|p| p.get()).collect::<Vec<_>>(), [0.0, 10.0]);
        refused::<Listed<Percent>>(&["0", "10,,50", "10,", "5,05", "5,101"]);
        assert!(!Listed::<Delay>::parse("uniform:1,2").unwrap().is_several());
    }
}
