//! Figures by name (`ttft.p99`), and rules over them (`ttft.p99>+5%`, `ttft.p99<=500`).

use pinfire_artifacts::tag;
use std::fmt;

use super::bootstrap::Stat;

/// Short names of metrics.
const SHORT: &[(&str, &str)] = &[
    ("cancelled", tag::CANCELLED_REQUEST_COUNT),
    ("concurrency", tag::EFFECTIVE_CONCURRENCY),
    ("duration", tag::BENCHMARK_DURATION),
    ("e2e", tag::REQUEST_LATENCY),
    ("effective", tag::EFFECTIVE_LATENCY),
    ("error_rate", tag::REQUEST_ERROR_RATE),
    ("errors", tag::ERROR_REQUEST_COUNT),
    ("icl", tag::INTER_CHUNK_LATENCY),
    ("input_tps", tag::INPUT_TOKEN_THROUGHPUT),
    ("isl", tag::INPUT_SEQUENCE_LENGTH),
    ("itl", tag::INTER_TOKEN_LATENCY),
    ("latency", tag::REQUEST_LATENCY),
    ("osl", tag::OUTPUT_SEQUENCE_LENGTH),
    ("requests", tag::REQUEST_COUNT),
    ("rps", tag::REQUEST_THROUGHPUT),
    ("throughput", tag::REQUEST_THROUGHPUT),
    ("tpot", tag::INTER_TOKEN_LATENCY),
    ("tps", tag::OUTPUT_TOKEN_THROUGHPUT),
    ("tps_user", tag::OUTPUT_TOKEN_THROUGHPUT_PER_USER),
    ("ttfot", tag::TIME_TO_FIRST_OUTPUT_TOKEN),
    ("ttft", tag::TIME_TO_FIRST_TOKEN),
    ("ttst", tag::TIME_TO_SECOND_TOKEN),
];

/// The tag of a metric by its short name; any other name is a tag.
pub fn tag_of(name: &str) -> &str {
    let short = SHORT.iter().find(|(short, _)| *short == name);
    short.map_or(name, |(_, tag)| *tag)
}

/// A text that is no rule.
#[derive(Debug, thiserror::Error)]
#[error("`{text}`: {reason}; it is {form}")]
pub struct RuleError {
    text: String,
    reason: String,
    form: &'static str,
}

/// One figure of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// Of this metric.
    pub tag: String,
    /// This one.
    pub stat: Stat,
}

impl Figure {
    /// Reads `METRIC[.STAT]`; without a stat it is the average.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, stat) = text.split_once('.').unwrap_or((text, "avg"));
        let known = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(known) {
            return Err(format!("`{name}` is no metric's name"));
        }
        let stat = Stat::parse(stat).ok_or_else(|| {
            format!("`{stat}` is no figure (avg, p99, p99.9, min, max, std, sum, count)")
        })?;
        Ok(Self {
            tag: tag_of(name).to_owned(),
            stat,
        })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.tag, self.stat.name())
    }
}

/// How a figure is held against a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Operator {
    /// Longest first.
    const ALL: [(&'static str, Self); 4] = [
        (">=", Self::AtLeast),
        ("<=", Self::AtMost),
        (">", Self::Above),
        ("<", Self::Below),
    ];

    /// Whether it holds.
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Above => value > limit,
            Self::AtLeast => value >= limit,
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
        }
    }

    /// Whether it wants small values.
    pub fn is_upper_bound(self) -> bool {
        matches!(self, Self::Below | Self::AtMost)
    }
}

/// The parts of `METRIC[.STAT] OP LIMIT`.
fn parts(text: &str) -> Result<(Figure, Operator, String), String> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let at = text
        .find(['<', '>'])
        .ok_or("there is no comparison (>, >=, <, <=) in it")?;
    let (figure, rest) = text.split_at(at);
    let (sign, operator) = Operator::ALL
        .into_iter()
        .find(|(sign, _)| rest.starts_with(sign))
        .ok_or("there is no comparison (>, >=, <, <=) in it")?;
    let limit = rest.get(sign.len()..).unwrap_or_default().to_owned();
    Ok((Figure::parse(figure)?, operator, limit))
}

fn number(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(format!("`{text}` is no number"))
    }
}

/// What a difference between two runs may not be.
#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    /// As typed.
    pub text: String,
    /// The figure.
    pub figure: Figure,
    operator: Operator,
    limit: Limit,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Limit {
    /// Of B − A in percent of A.
    Relative(f64),
    /// Of B − A.
    Difference(f64),
    /// Of B itself.
    Value(f64),
}

impl Rule {
    /// Reads `METRIC[.STAT]{>|>=|<|<=}LIMIT`: a limit in percent is held against the relative
    /// difference B − A, one with a sign against the difference in the metric's unit, one without
    /// against the figure of B.
    ///
    /// # Errors
    /// The text is no rule.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let read = || {
            let (figure, operator, limit) = parts(text)?;
            let limit = if let Some(percent) = limit.strip_suffix('%') {
                Limit::Relative(number(percent)?)
            } else if limit.starts_with(['+', '-']) {
                Limit::Difference(number(&limit)?)
            } else {
                Limit::Value(number(&limit)?)
            };
            Ok(Self {
                text: text.to_owned(),
                figure,
                operator,
                limit,
            })
        };
        read().map_err(|reason| RuleError {
            text: text.to_owned(),
            reason,
            form: "METRIC[.STAT]>LIMIT such as ttft.p99>+5%, ttft.p99>+20 or ttft.p99>500 \
                   (also <, >=, <=)",
        })
    }

    /// Whether it is broken by these figures.
    pub fn fires(&self, a: f64, b: f64) -> bool {
        let (value, limit) = match self.limit {
            // 0 to anything is more than any percentage; 0 to 0 is none.
            Limit::Relative(limit) => {
                let difference = b - a;
                let relative = if difference == 0.0 {
                    0.0
                } else {
                    100.0 * difference / a.abs()
                };
                (relative, limit)
            }
            Limit::Difference(limit) => (b - a, limit),
            Limit::Value(limit) => (b, limit),
        };
        self.operator.holds(value, limit)
    }

    /// Whether it looks at B alone.
    pub fn is_of_b_alone(&self) -> bool {
        matches!(self.limit, Limit::Value(_))
    }
}

/// What a run must be: a service level objective.
#[derive(Clone, PartialEq, Debug)]
pub struct Objective {
    /// As typed.
    pub text: String,
    /// The figure.
    pub figure: Figure,
    /// How it is held against the limit.
    pub operator: Operator,
    /// The limit, in the metric's display unit.
    pub limit: f64,
}

impl Objective {
    /// Reads `METRIC[.STAT]{<=|<|>=|>}LIMIT`.
    ///
    /// # Errors
    /// The text is no objective.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let read = || {
            let (figure, operator, limit) = parts(text)?;
            Ok(Self {
                text: text.to_owned(),
                figure,
                operator,
                limit: number(&limit)?,
            })
        };
        read().map_err(|reason| RuleError {
            text: text.to_owned(),
            reason,
            form: "METRIC[.STAT]<=LIMIT such as ttft.p99<=500 or error_rate<=1 (also <, >=, >)",
        })
    }

    /// Whether a value meets it.
    pub fn holds(&self, value: f64) -> bool {
        self.operator.holds(value, self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric;

    #[test]
    fn short_names_are_sorted_and_of_metrics() {
        assert!(SHORT.is_sorted());
        for (short, tag) in SHORT {
            assert!(metric::row(tag).is_some(), "{short}: {tag}");
        }
        assert_eq!(tag_of("ttft"), "time_to_first_token");
        assert_eq!(tag_of("goodput"), "goodput");
    }

    #[track_caller]
    fn fires(rule: &str, a: f64, b: f64) -> bool {
        Rule::parse(rule).unwrap().fires(a, b)
    }

    #[test]
    fn rules_look_at_what_they_say() {
        assert!(fires("ttft.p99>+5%", 100.0, 105.1));
        assert!(!fires("ttft.p99>+5%", 100.0, 105.0));
        assert!(fires("ttft.p99 >= 5%", 100.0, 105.0));
        assert!(fires("rps<-3%", 100.0, 96.0));
        assert!(!fires("rps<-3%", 100.0, 200.0));
        assert!(fires("ttft>+20", 100.0, 121.0));
        assert!(!fires("ttft>+20", 100.0, 119.0));
        assert!(fires("ttft.p99>500", 900.0, 501.0));
        assert!(fires("error_rate>+0%", 0.0, 0.5));
        assert!(!fires("error_rate>+0%", 0.0, 0.0));
        assert_eq!(
            Rule::parse("ttft>1").unwrap().figure.to_string(),
            "time_to_first_token.avg"
        );
    }

    #[test]
    fn what_is_no_rule_says_why() {
        for (wrong, says) in [
            ("ttft.p99", "no comparison"),
            ("ttft.p999>5%", "`p999` is no figure"),
            (".p99>5%", "is no metric's name"),
            ("ttft>", "`` is no number"),
            ("ttft>x%", "`x` is no number"),
            ("ttft>inf", "`inf` is no number"),
            ("tt ft!>1", "is no metric's name"),
        ] {
            let error = Rule::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(wrong), "{error}");
        }
        let error = Objective::parse("ttft.p99").unwrap_err().to_string();
        assert!(error.contains("ttft.p99<=500"), "{error}");
    }

    #[test]
    fn objectives_hold() {
        let slo = Objective::parse("ttft.p99<=500").unwrap();
        assert!(slo.holds(500.0) && !slo.holds(500.1));
        assert!(Objective::parse("tps>=1e3").unwrap().holds(1_000.0));
    }
}
