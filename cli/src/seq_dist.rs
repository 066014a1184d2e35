//! The text of `--seq-dist`: pairs of input and output length with their percentages.

use anyhow::{Context, Result, bail, ensure};
use pinfire_workload::dataset::lengths::LengthPair;
use serde::Deserialize;

/// How far from 100 the percentages may sum up.
const TOLERANCE: f64 = 1e-6;

/// Reads any of the three forms: `256|10,128|5:40;512,256:60`, `[(256,128):40,(512,256):60]` and
/// `{"pairs": [{"isl": 256, "osl": 128, "prob": 40}, …]}`.
///
/// # Errors
/// It is none of them, or the percentages do not sum to 100.
pub fn parse(text: &str) -> Result<Vec<LengthPair>> {
    let text = text.trim();
    let pairs = match text.as_bytes().first() {
        Some(b'{') => json(text)?,
        Some(b'[') => bracketed(text)?,
        _ => text
            .split(';')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (lengths, percent) = pair.split_once(':').with_context(|| {
                    format!("`{pair}` has no percentage; write ISL,OSL:PERCENT")
                })?;
                one(lengths, percent)
            })
            .collect::<Result<_>>()?,
    };
    ensure!(
        !pairs.is_empty(),
        "there is no pair in it; write ISL,OSL:PERCENT;..."
    );
    let sum: f64 = pairs.iter().map(|pair| pair.share).sum();
    if (sum - 100.0).abs() > TOLERANCE {
        let shown: Vec<String> = pairs
            .iter()
            .map(|pair| format!("{},{}:{}", pair.isl, pair.osl, pair.share))
            .collect();
        let hint = if (sum - 1.0).abs() <= TOLERANCE {
            " (percentages, not fractions: 40 for 0.4)"
        } else {
            ""
        };
        bail!(
            "the percentages of {} sum to {sum}; they must sum to 100{hint}",
            shown.join("; ")
        );
    }
    let share = |pair: LengthPair| LengthPair {
        share: pair.share / 100.0,
        ..pair
    };
    Ok(pairs.into_iter().map(share).collect())
}

/// `[(ISL,OSL):PERCENT,…]`.
fn bracketed(text: &str) -> Result<Vec<LengthPair>> {
    let wrong = || format!("`{text}`: write [(ISL,OSL):PERCENT,(ISL,OSL):PERCENT]");
    let mut rest = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .with_context(wrong)?
        .trim();
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (lengths, behind) = rest
            .strip_prefix('(')
            .and_then(|rest| rest.split_once(')'))
            .with_context(wrong)?;
        let behind = behind.trim_start().strip_prefix(':').with_context(wrong)?;
        let (percent, next) = behind.split_once(',').unwrap_or((behind, ""));
        pairs.push(one(lengths, percent)?);
        rest = next.trim();
    }
    Ok(pairs)
}

/// `ISL[|SD],OSL[|SD]` and its percentage.
fn one(lengths: &str, percent: &str) -> Result<LengthPair> {
    let (isl, osl) = lengths
        .split_once(',')
        .with_context(|| format!("`{lengths}` is no pair; write ISL,OSL"))?;
    let (isl, isl_stddev) = length(isl)?;
    let (osl, osl_stddev) = length(osl)?;
    let percent = percent.trim();
    let share = percent
        .parse()
        .ok()
        .with_context(|| format!("`{percent}` is no percentage"))?;
    checked(LengthPair {
        isl,
        isl_stddev,
        osl,
        osl_stddev,
        share,
    })
}

fn length(text: &str) -> Result<(u32, f64)> {
    let (mean, stddev) = text.split_once('|').unwrap_or((text, "0"));
    let (mean, stddev) = (mean.trim(), stddev.trim());
    let mean = mean
        .parse()
        .ok()
        .with_context(|| format!("`{mean}` is no whole number of tokens"))?;
    let stddev = stddev
        .parse()
        .ok()
        .with_context(|| format!("`{stddev}` is no deviation"))?;
    Ok((mean, stddev))
}

fn json(text: &str) -> Result<Vec<LengthPair>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pairs {
        pairs: Vec<Pair>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        isl: u32,
        osl: u32,
        prob: f64,
        #[serde(default)]
        isl_stddev: f64,
        #[serde(default)]
        osl_stddev: f64,
    }
    let read: Pairs = serde_json::from_str(text)
        .context("write {\"pairs\": [{\"isl\": 256, \"osl\": 128, \"prob\": 40}, ...]}")?;
    let pairs = read.pairs.into_iter().map(|pair| LengthPair {
        isl: pair.isl,
        isl_stddev: pair.isl_stddev,
        osl: pair.osl,
        osl_stddev: pair.osl_stddev,
        share: pair.prob,
    });
    pairs.map(checked).collect()
}

fn checked(pair: LengthPair) -> Result<LengthPair> {
    ensure!(
        pair.isl > 0 && pair.osl > 0,
        "the lengths of {},{} must be at least 1",
        pair.isl,
        pair.osl
    );
    ensure!(
        [pair.isl_stddev, pair.osl_stddev]
            .iter()
            .all(|stddev| stddev.is_finite() && *stddev >= 0.0),
        "the deviations of {},{} must be at least 0",
        pair.isl,
        pair.osl
    );
    ensure!(
        (0.0..=100.0).contains(&pair.share),
        "the percentage of {},{} is {}; it must be between 0 and 100",
        pair.isl,
        pair.osl,
        pair.share
    );
    Ok(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(isl: u32, isl_stddev: f64, osl: u32, osl_stddev: f64, share: f64) -> LengthPair {
        LengthPair {
            isl,
            isl_stddev,
            osl,
            osl_stddev,
            share,
        }
    }

    #[test]
    fn all_three_forms() {
        let expected = [
            pair(256, 10.0, 128, 5.0, 0.4),
            pair(512, 0.0, 256, 0.0, 0.6),
        ];
        for text in [
            "256|10,128|5:40;512,256:60",
            " 256|10 , 128|5 : 40 ; 512,256:60; ",
            "[(256|10,128|5):40,(512,256):60]",
            "[ (256|10,128|5):40, (512,256):60 ]",
            r#"{"pairs":[{"isl":256,"osl":128,"prob":40,"isl_stddev":10,"osl_stddev":5},
                {"isl":512,"osl":256,"prob":60}]}"#,
        ] {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
        assert_eq!(parse("1,2:33.3;3,4:66.7").unwrap().len(), 2);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("", "no pair"),
            ("256,128", "no percentage"),
            ("256:100", "ISL,OSL"),
            ("256,128:x", "`x`"),
            ("2.5,128:100", "`2.5`"),
            ("256|a,128:100", "`a`"),
            ("256|-1,128:100", "at least 0"),
            ("256|nan,128:100", "at least 0"),
            ("0,128:100", "at least 1"),
            ("256,128:140;1,1:-40", "between 0 and 100"),
            ("256,128:40;512,256:50", "256,128:40; 512,256:50 sum to 90"),
            ("256,128:0.4;512,256:0.6", "not fractions"),
            ("[(256,128):40", "[(ISL,OSL)"),
            ("[(256,128) 40]", "[(ISL,OSL)"),
            ("[256,128:40]", "[(ISL,OSL)"),
            ("{\"pairs\": 5}", "\"pairs\""),
            (
                "{\"pairs\": [{\"isl\": 1, \"osl\": 1, \"prob\": 100, \"x\": 1}]}",
                "\"pairs\"",
            ),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
