//! Promises to the user (`--goodput`): which metrics, how good, and whether a request keeps them.
//!
//! Parsing and checking need no run, so that a wrong promise is refused before anything is sent.

use crate::metric::{Flags, METRICS, Metric, Of, Over, RowValue};

/// A promise as typed: a tag and a number in the metric's display unit.
#[derive(Clone, PartialEq, Debug)]
pub struct Promise {
    /// Tag of the metric.
    pub tag: String,
    /// The limit, in display units.
    pub limit: f64,
}

/// A promise that cannot be used. The text is one line and names what is wrong and the way out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GoodputError {
    /// Nothing between the quotes.
    #[error(
        "nothing is promised; write tag:number pairs such as \"time_to_first_token:370 request_latency:648\""
    )]
    Empty,
    /// A word without a colon.
    #[error("`{0}` is not of the form tag:number, such as request_latency:648")]
    NotAPair(String),
    /// No number behind the colon.
    #[error("{tag}: `{value}` is not a number")]
    NotANumber {
        /// Left of the colon.
        tag: String,
        /// Right of it.
        value: String,
    },
    /// Tags that no request of this run has a value for.
    #[error(
        "{} not apply to this endpoint and these flags; there {}: {usable}",
        does(wrong),
        if usable.is_empty() { "is none" } else { "are" }
    )]
    Unusable {
        /// The tags, with commas.
        wrong: String,
        /// All that can be used, with commas.
        usable: String,
    },
}

fn does(tags: &str) -> String {
    let verb = if tags.contains(',') { "do" } else { "does" };
    format!("{tags} {verb}")
}

/// Reads `"tag:number tag:number"`. Of a tag that is named twice the last one counts.
///
/// # Errors
/// Nothing is named, a word is no pair, or its value is no number.
///
/// ```
/// use pinfire_analysis::goodput;
///
/// let promises = goodput::parse("time_to_first_token:370 inter_token_latency:20").unwrap();
/// assert_eq!((promises[0].tag.as_str(), promises[0].limit), ("time_to_first_token", 370.0));
/// assert!(goodput::parse("time_to_first_token").is_err());
/// ```
pub fn parse(text: &str) -> Result<Vec<Promise>, GoodputError> {
    let mut promises: Vec<Promise> = Vec::new();
    for word in text.split_whitespace() {
        let pair = word.split_once(':');
        let (tag, value) = pair
            .filter(|(tag, _)| !tag.is_empty())
            .ok_or_else(|| GoodputError::NotAPair(word.to_owned()))?;
        let number = value.parse::<f64>().ok().filter(|number| !number.is_nan());
        let limit = number.ok_or_else(|| GoodputError::NotANumber {
            tag: tag.to_owned(),
            value: value.to_owned(),
        })?;
        promises.retain(|promise| promise.tag != tag);
        promises.push(Promise {
            tag: tag.to_owned(),
            limit,
        });
    }
    if promises.is_empty() {
        return Err(GoodputError::Empty);
    }
    Ok(promises)
}

/// One promise, checked.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Slo {
    row: usize,
    /// As typed, in display units.
    shown: f64,
    /// In the units of the formula.
    limit: f64,
    /// A value may not be below it, instead of not above.
    at_least: bool,
}

/// The promises of a run, checked against it. Empty without `--goodput`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Slos(Vec<Slo>);

impl Slos {
    /// Checks promises against what holds in a run.
    ///
    /// # Errors
    /// A tag has no single value per answered request of this run.
    pub fn new(promises: &[Promise], conditions: Flags) -> Result<Self, GoodputError> {
        let (mut slos, mut wrong) = (Vec::new(), Vec::new());
        for promise in promises {
            let found = METRICS
                .iter()
                .enumerate()
                .find(|(_, metric)| metric.tag == promise.tag && is_usable(metric, conditions));
            match found {
                Some((row, metric)) => slos.push(Slo {
                    row,
                    shown: promise.limit,
                    limit: promise.limit * metric.divisor(),
                    at_least: metric.marks.has(Flags::LARGER_IS_BETTER),
                }),
                None => wrong.push(promise.tag.as_str()),
            }
        }
        if wrong.is_empty() {
            return Ok(Self(slos));
        }
        let usable = METRICS
            .iter()
            .filter(|metric| is_usable(metric, conditions));
        Err(GoodputError::Unusable {
            wrong: wrong.join(", "),
            usable: usable
                .map(|metric| metric.tag)
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    /// Whether nothing is promised.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tags and limits in display units, as typed.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        let named = self.0.iter();
        named.filter_map(|slo| Some((METRICS.get(slo.row)?.tag, slo.shown)))
    }

    /// One line for each promise that every request keeps, or none can.
    pub fn warnings(&self) -> Vec<String> {
        let odd = self
            .0
            .iter()
            .filter(|slo| slo.shown < 0.0 || slo.shown.is_infinite());
        let lines = odd.filter_map(|slo| {
            let kept = slo.at_least == (slo.shown < 0.0);
            let how = if kept {
                "every request keeps it"
            } else {
                "no request can keep it"
            };
            let tag = METRICS.get(slo.row)?.tag;
            Some(format!("--goodput {tag}:{}: {how}", slo.shown))
        });
        lines.collect()
    }

    /// Whether an answered request keeps every promise, by its values. One that it has no value for
    /// is broken.
    pub(crate) fn kept_by(&self, values: &[(usize, RowValue)]) -> bool {
        self.0.iter().all(|slo| {
            let found = values.iter().find(|(row, _)| *row == slo.row);
            let value = match found {
                Some((_, RowValue::Whole(value))) => *value as f64,
                Some((_, RowValue::Fraction(value))) => *value,
                _ => return false,
            };
            if slo.at_least {
                value >= slo.limit
            } else {
                value <= slo.limit
            }
        })
    }
}

/// Whether each answered request has one value of it that is shown.
fn is_usable(metric: &Metric, conditions: Flags) -> bool {
    let single = matches!(metric.of, Of::Whole(_) | Of::Fraction(_));
    single && metric.over == Over::Valid && metric.is_shown() && conditions.has(metric.needs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{conditions, row};
    use pinfire_dialect::EndpointKind;

    fn chat(streaming: bool) -> Flags {
        conditions(EndpointKind::Chat.row(), streaming, true, false, true)
    }

    fn refused(text: &str, streaming: bool) -> String {
        let checked = parse(text).and_then(|promises| Slos::new(&promises, chat(streaming)));
        checked.unwrap_err().to_string()
    }

    #[test]
    fn pairs_are_read_and_the_last_of_a_tag_counts() {
        let promises =
            parse(" time_to_first_token:370\trequest_latency:6 request_latency:648 ").unwrap();
        let slos = Slos::new(&promises, chat(true)).unwrap();
        let shown: Vec<_> = slos.shown().collect();
        assert_eq!(
            shown,
            [("time_to_first_token", 370.0), ("request_latency", 648.0)]
        );
        assert!(slos.warnings().is_empty());
    }

    #[test]
    fn what_cannot_be_promised_is_named() {
        for (text, expected) in [
            ("", "nothing is promised"),
            (
                "request_latency",
                "`request_latency` is not of the form tag:number",
            ),
            (":5", "`:5` is not of the form"),
            (
                "request_latency:fast",
                "request_latency: `fast` is not a number",
            ),
            ("request_latency:nan", "`nan` is not a number"),
            ("request_latency:1:2", "`1:2` is not a number"),
            ("ttft:5", "ttft does not apply"),
            ("ttft:5 tpot:6", "ttft, tpot do not apply"),
            ("request_throughput:5", "request_throughput does not apply"),
            (
                "inter_chunk_latency:5",
                "inter_chunk_latency does not apply",
            ),
            ("error_isl:5", "error_isl does not apply"),
            ("request_count:1", "request_count does not apply"),
            ("effective_latency:5", "effective_latency does not apply"),
            ("requested_osl:5", "requested_osl does not apply"),
        ] {
            let line = refused(text, true);
            assert!(line.contains(expected), "{text}: {line}");
            assert_eq!(line.lines().count(), 1);
        }
        let line = refused("time_to_first_token:5", false);
        assert!(
            line.contains("there are: request_latency, e2e_output"),
            "{line}"
        );
        assert!(!line.contains("inter_token_latency"));
    }

    #[test]
    fn limits_are_in_display_units_and_equality_keeps_them() {
        let at = |tag| row(tag).unwrap();
        let slos = |text| Slos::new(&parse(text).unwrap(), chat(true)).unwrap();
        let latency = |nanos| vec![(at("request_latency"), RowValue::Whole(nanos))];
        let slo = slos("request_latency:130");
        assert!(slo.kept_by(&latency(130_000_000)) && !slo.kept_by(&latency(130_000_001)));
        // Larger is better.
        let users = |tps| {
            vec![(
                at("output_token_throughput_per_user"),
                RowValue::Fraction(tps),
            )]
        };
        let slo = slos("output_token_throughput_per_user:20");
        assert!(slo.kept_by(&users(20.0)) && !slo.kept_by(&users(19.9)));
        // Without a value a promise is broken.
        assert!(!slos("inter_token_latency:1000").kept_by(&latency(1)));
        let kib = vec![(at("http_req_data_sent"), RowValue::Whole(2048))];
        assert!(slos("http_req_data_sent:2").kept_by(&kib));
    }

    #[test]
    fn promises_that_mean_nothing_are_warned_of() {
        let warnings = |text| {
            Slos::new(&parse(text).unwrap(), chat(true))
                .unwrap()
                .warnings()
        };
        let never = warnings("request_latency:-1 output_sequence_length:inf");
        assert_eq!(never.len(), 2);
        assert!(
            never
                .iter()
                .all(|line| line.ends_with("no request can keep it")),
            "{never:?}"
        );
        let always = warnings("request_latency:inf output_sequence_length:-1");
        assert!(
            always
                .iter()
                .all(|line| line.ends_with("every request keeps it")),
            "{always:?}"
        );
    }
}
