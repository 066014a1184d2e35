//! Percentiles of samples, and medians over rounds.

pub use pinfire_tools::truth::between;

/// The value at a share (0 to 1) of the sorted values.
pub fn at(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let index = (values.len().checked_sub(1)? as f64 * share).round() as usize;
    values.get(index).copied()
}

/// Median, least and greatest of the values of some rounds. The median of an even number of values
/// is the mean of the two in the middle.
pub fn middle(values: &[f64]) -> Option<(f64, f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    let half = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[half]
    } else {
        f64::midpoint(sorted[half - 1], sorted[half])
    };
    Some((median, first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(middle(&[]), None);
        assert_eq!(middle(&[3.0, 1.0, 2.0]), Some((2.0, 1.0, 3.0)));
        assert_eq!(middle(&[4.0, 1.0]), Some((2.5, 1.0, 4.0)));
        assert_eq!(at(&mut [], 0.5), None);
        let mut hundred: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(at(&mut hundred, 0.99), Some(99.0));
        assert_eq!(at(&mut hundred, 1.0), Some(100.0));
        assert_eq!(between(5, 3), -2.0);
    }
}
