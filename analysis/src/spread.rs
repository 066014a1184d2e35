//! Mean and confidence interval of a few runs: Student's t with n − 1 degrees of freedom.

/// What several runs say of one figure.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation with n − 1; 0 of one run.
    pub std: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// std / mean; 0 where the mean is 0.
    pub cv: f64,
    /// std / √n.
    pub se: f64,
    /// mean − t·se.
    pub ci_low: f64,
    /// mean + t·se.
    pub ci_high: f64,
    /// t; absent of one run.
    pub t_critical: Option<f64>,
}

impl Spread {
    /// Of the figures of the runs; `None` of none.
    pub fn of(values: &[f64], level: f64) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        if !mean.is_finite() {
            return None;
        }
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        let several = values.len() > 1;
        let std = if several {
            (squares / (n - 1.0)).sqrt()
        } else {
            0.0
        };
        let se = std / n.sqrt();
        let t_critical = several.then(|| t_critical(level, values.len() - 1));
        let half = t_critical.unwrap_or(0.0) * se;
        Some(Self {
            mean,
            std,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            cv: if mean == 0.0 { 0.0 } else { std / mean },
            se,
            ci_low: mean - half,
            ci_high: mean + half,
            t_critical,
        })
    }
}

/// Half width of the middle `level` of Student's t with so many degrees of freedom.
pub fn t_critical(level: f64, freedom: usize) -> f64 {
    let (mut low, mut high) = (0.0, std::f64::consts::FRAC_PI_2);
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if within(middle, freedom) < level {
            low = middle;
        } else {
            high = middle;
        }
    }
    low.tan() * (freedom as f64).sqrt()
}

/// P(|T| < t) for t = tan(angle)·√freedom: Abramowitz and Stegun, 26.7.3 and 26.7.4.
fn within(angle: f64, freedom: usize) -> f64 {
    let (sin, cos) = angle.sin_cos();
    let odd = !freedom.is_multiple_of(2);
    let mut term = if odd { cos } else { 1.0 };
    let mut sum = if freedom == 1 { 0.0 } else { term };
    let mut k = if odd { 3 } else { 2 };
    while k < freedom {
        term *= cos * cos * (k - 1) as f64 / k as f64;
        sum += term;
        k += 2;
    }
    if odd {
        std::f64::consts::FRAC_2_PI * (angle + sin * sum)
    } else {
        sin * sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_values_are_those_of_the_tables() {
        for (level, freedom, expected) in [
            (0.95, 1, 12.7062),
            (0.95, 2, 4.302_65),
            (0.95, 3, 3.182_45),
            (0.95, 4, 2.776_45),
            (0.95, 9, 2.262_16),
            (0.99, 2, 9.924_84),
            (0.99, 4, 4.604_09),
            (0.90, 5, 2.015_05),
            (0.90, 30, 1.697_26),
            (0.99, 30, 2.75),
        ] {
            let t = t_critical(level, freedom);
            assert!((t - expected).abs() < 1e-4, "{level} {freedom}: {t}");
        }
    }

    #[test]
    fn the_spread_of_three_runs_and_of_one() {
        let three = Spread::of(&[10.0, 12.0, 14.0], 0.95).unwrap();
        assert_eq!(
            (three.mean, three.std, three.min, three.max),
            (12.0, 2.0, 10.0, 14.0)
        );
        let half = 4.302_65 * 2.0 / 3.0_f64.sqrt();
        assert!((three.ci_high - 12.0 - half).abs() < 1e-4);
        assert!((three.cv - 1.0 / 6.0).abs() < 1e-12);
        let one = Spread::of(&[7.0], 0.95).unwrap();
        assert_eq!(
            (one.std, one.ci_low, one.ci_high, one.t_critical),
            (0.0, 7.0, 7.0, None)
        );
        assert_eq!(Spread::of(&[], 0.95), None);
    }
}
