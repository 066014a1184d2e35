//! From the trigger of a cancellation to the leaving: a distribution, and its text on the command
//! line.

use crate::{clock::Span, random::Draws};

/// From the trigger to the leaving.
///
/// ```
/// use pinfire_base::delay::Delay;
///
/// let delay: Delay = "uniform:0.5,2".parse().unwrap();
/// assert_eq!(delay.mean().as_secs_f64(), 1.25);
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Delay {
    /// The same for all.
    Fixed(Span),
    /// Uniform between two bounds.
    Uniform {
        /// The least.
        low: Span,
        /// The most.
        high: Span,
    },
    /// Exponential.
    Exponential {
        /// Its mean.
        mean: Span,
    },
    /// Log-normal.
    LogNormal {
        /// Its median.
        median: Span,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
}

impl Delay {
    /// Nothing is delayed longer than this: about eleven days, far beyond any run.
    const MOST_SECONDS: f64 = 1e6;

    /// One delay of the distribution.
    pub fn draw(&self, draws: &mut Draws) -> Span {
        let seconds = match *self {
            Self::Fixed(delay) => return delay,
            Self::Uniform { low, high } => {
                let (low, high) = (low.as_secs_f64(), high.as_secs_f64());
                low + (high - low) * draws.uniform()
            }
            Self::Exponential { mean } => mean.as_secs_f64() * -(1.0 - draws.uniform()).ln(),
            Self::LogNormal { median, sigma } => {
                median.as_secs_f64() * draws.normal(0.0, sigma).exp()
            }
        };
        Span::from_secs_f64(seconds.clamp(0.0, Self::MOST_SECONDS))
    }

    /// The mean of the distribution.
    pub fn mean(&self) -> Span {
        match *self {
            Self::Fixed(delay) => delay,
            Self::Uniform { low, high } => Span::from_nanos(low.nanos().midpoint(high.nanos())),
            Self::Exponential { mean } => mean,
            Self::LogNormal { median, sigma } => {
                let mean = median.as_secs_f64() * (sigma * sigma / 2.0).exp();
                Span::from_secs_f64(mean.min(Self::MOST_SECONDS))
            }
        }
    }
}

/// As the command line takes it; a fixed one in seconds.
impl std::fmt::Display for Delay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Fixed(delay) => write!(f, "{}", delay.as_secs_f64()),
            Self::Uniform { low, high } => {
                write!(f, "uniform:{},{}", low.as_secs_f64(), high.as_secs_f64())
            }
            Self::Exponential { mean } => write!(f, "exponential:{}", mean.as_secs_f64()),
            Self::LogNormal { median, sigma } => {
                write!(f, "lognormal:{},{sigma}", median.as_secs_f64())
            }
        }
    }
}

/// The text is none of a delay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "it must be seconds of at least 0, uniform:LOW,HIGH, exponential:MEAN or \
     lognormal:MEDIAN,SIGMA"
)]
pub struct NoDelay;

impl std::str::FromStr for Delay {
    type Err = NoDelay;

    fn from_str(text: &str) -> Result<Self, NoDelay> {
        let number = |text: &str| {
            let value = text.trim().parse().ok();
            value.filter(|value| (0.0..=Self::MOST_SECONDS).contains(value))
        };
        let span = |text: &str| number(text).map(Span::from_secs_f64);
        let Some((name, rest)) = text.split_once(':') else {
            return span(text).map(Self::Fixed).ok_or(NoDelay);
        };
        let pair = rest.split_once(',');
        let delay = match (name.to_lowercase().as_str(), pair) {
            ("uniform", Some((low, high))) => {
                let bounds = span(low).zip(span(high));
                let bounds = bounds.filter(|(low, high)| low <= high);
                bounds.map(|(low, high)| Self::Uniform { low, high })
            }
            ("exponential", None) => span(rest).map(|mean| Self::Exponential { mean }),
            ("lognormal", Some((median, sigma))) => {
                let sigma = number(sigma).filter(|&sigma| sigma <= 10.0);
                let both = span(median).zip(sigma);
                both.map(|(median, sigma)| Self::LogNormal { median, sigma })
            }
            _ => None,
        };
        delay.ok_or(NoDelay)
    }
}
