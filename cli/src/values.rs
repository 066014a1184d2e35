//! Parsers of flag values, with errors that say what would be right.

use pinfire_base::{
    delay::{Delay, NoDelay},
    record::Trigger,
};

/// An integer of at least 1. A comma list would be a sweep.
pub fn count(text: &str) -> Result<u64, String> {
    no_list(text)?;
    match text.parse::<u64>() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(value) => Ok(value),
        Err(_) => Err("it must be a whole number of at least 1".to_owned()),
    }
}

/// An integer of at least 0.
pub fn whole(text: &str) -> Result<u64, String> {
    no_list(text)?;
    text.parse()
        .map_err(|_| "it must be a whole number of at least 0".to_owned())
}

/// A number of tokens, at least 0.
pub fn length(text: &str) -> Result<u32, String> {
    no_list(text)?;
    text.parse()
        .map_err(|_| "it must be a whole number of tokens, at least 0".to_owned())
}

/// Tokens of a block, at least 1.
pub fn block(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|tokens| *tokens > 0)
        .ok_or("it must be a whole number of tokens, at least 1".to_owned())
}

/// A number of at least 0.
pub fn not_negative(text: &str) -> Result<f64, String> {
    no_list(text)?;
    number(text)
        .filter(|value| *value >= 0.0)
        .ok_or("it must be a number of at least 0".to_owned())
}

/// A number of seconds above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    number(text)
        .filter(|value| *value > 0.0)
        .ok_or("it must be a number above 0".to_owned())
}

/// The share of cancelled requests.
pub fn percentage(text: &str) -> Result<f64, String> {
    no_list(text)?;
    number(text)
        .filter(|value| *value > 0.0 && *value <= 100.0)
        .ok_or(
            "it must be above 0 and at most 100 (leave the flag out to cancel nothing)".to_owned(),
        )
}

/// A delay in seconds, or a distribution of delays.
pub fn delay(text: &str) -> Result<Delay, String> {
    if !text.contains(':') {
        no_list(text)?;
    }
    text.parse().map_err(|wrong: NoDelay| wrong.to_string())
}

/// How long a user waits for the first token.
pub fn patience(text: &str) -> Result<Delay, String> {
    match text.split_once(':') {
        Some((what, rest)) if what.eq_ignore_ascii_case("ttft") => delay(rest),
        _ => Err("it must be ttft:SECONDS, such as ttft:2.0".to_owned()),
    }
}

/// What the delay of a cancellation counts from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum TriggerFlag {
    /// The same instant for all requests.
    At(Trigger),
    /// So large a share of the output length that a request asks for.
    Fraction(f64),
}

impl std::fmt::Display for TriggerFlag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(trigger) => f.write_str(&trigger.name()),
            Self::Fraction(share) => write!(f, "fraction:{share}"),
        }
    }
}

/// What the delay of a cancellation counts from.
pub fn trigger(text: &str) -> Result<TriggerFlag, String> {
    let wrong = || {
        "it must be one of: sent, headers, first-token, tokens:N, fraction:F, mid-body, connect"
            .to_owned()
    };
    let text = text.to_lowercase().replace('_', "-");
    if let Some(share) = text.strip_prefix("fraction:") {
        return number(share)
            .filter(|&share| share > 0.0 && share <= 1.0)
            .map(TriggerFlag::Fraction)
            .ok_or("fraction:F needs a number above 0 and at most 1".to_owned());
    }
    Trigger::from_name(&text)
        .filter(|trigger| *trigger != Trigger::Patience)
        .map(TriggerFlag::At)
        .ok_or_else(wrong)
}

/// A rate above 0, or `inf`.
pub fn rate(text: &str) -> Result<f64, String> {
    no_list(text)?;
    text.parse()
        .ok()
        .filter(|value: &f64| *value > 0.0)
        .ok_or("it must be a number above 0, or inf".to_owned())
}

/// Seconds of at least 0, or `inf`.
pub fn grace(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value: &f64| *value >= 0.0)
        .ok_or("it must be a number of at least 0, or inf".to_owned())
}

/// Seconds of at least 0 and at most 1000.
pub fn interval(text: &str) -> Result<f64, String> {
    number(text)
        .filter(|value| (0.0..=1000.0).contains(value))
        .ok_or("it must be between 0 and 1000".to_owned())
}

/// A share of 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    number(text)
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or("it must be between 0 and 1".to_owned())
}

/// What prompts are cut from.
pub fn corpus(text: &str) -> Result<String, String> {
    match text.to_lowercase().as_str() {
        "sonnet" => Ok("sonnet".to_owned()),
        "coding" | "random" => Err("pinfire does not have this corpus; take sonnet".to_owned()),
        _ => Err("it must be sonnet".to_owned()),
    }
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

/// A word of a fixed set, in any letter case, `-` and `_` alike.
pub fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let wanted = text.to_lowercase().replace('_', "-");
    words
        .iter()
        .find(|(word, _)| *word == wanted)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            format!("it must be one of: {}", known.join(", "))
        })
}

/// CPUs: a count (`4`), or a list with ranges (`2,4-7`; one CPU: `3,`).
pub fn cores(text: &str) -> Result<Cores, String> {
    let wrong = || "it must be a number of cores, or a list of CPUs such as 2,4-7 (one CPU: 3,)";
    if let Ok(count) = text.parse::<usize>() {
        return if count == 0 {
            Err(wrong().to_owned())
        } else {
            Ok(Cores::Count(count))
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
        Ok(Cores::List(cpus))
    }
}

/// What `--cores` asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cores {
    /// So many.
    Count(usize),
    /// These CPUs.
    List(Vec<usize>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_counts_or_lists() {
        assert_eq!(cores("4"), Ok(Cores::Count(4)));
        assert_eq!(cores("3,"), Ok(Cores::List(vec![3])));
        assert_eq!(cores("2,4-6,4"), Ok(Cores::List(vec![2, 4, 5, 6])));
        for wrong in ["0", "", ",", "a", "4-2", "1-99999999999", "-1"] {
            assert!(cores(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn delays_and_triggers_are_read_and_written_alike() {
        for text in [
            "0.5",
            "uniform:0.1,2",
            "exponential:0.5",
            "lognormal:0.5,0.8",
        ] {
            assert_eq!(delay(text).unwrap().to_string(), text);
        }
        for wrong in [
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
        ] {
            assert!(delay(wrong).is_err(), "{wrong}");
        }
        for text in [
            "sent",
            "headers",
            "first-token",
            "tokens:20",
            "fraction:0.5",
            "mid-body",
            "connect",
        ] {
            assert_eq!(trigger(text).unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "tokens",
            "tokens:0",
            "fraction:0",
            "fraction:1.1",
            "last",
        ] {
            assert!(trigger(wrong).is_err(), "{wrong}");
        }
        assert_eq!(patience("ttft:2.0"), delay("2"));
        for wrong in ["2", "ttlt:2", "ttft:", "ttft:-1"] {
            assert!(patience(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn percentages_and_words() {
        assert_eq!(percentage("100"), Ok(100.0));
        for wrong in ["0", "-1", "100.1", "nan", "inf", "x", "10,20"] {
            assert!(percentage(wrong).is_err(), "{wrong}");
        }
        let words = [("one-two", 1)];
        assert_eq!(word("One_Two", &words), Ok(1));
        assert!(word("two", &words).is_err());
    }
}
