//! Percentiles of a histogram, estimated from its buckets, its sum, and what single scrapes gave
//! away.
//!
//! AIPerf's default estimator: observations are put back at likely places within their buckets, so
//! that their sum fits, and percentiles are taken of those.

use super::reduce::linear_percentiles;

/// A bucket with this share of all finite observations is where their average is.
const DOMINANT: f64 = 0.95;

/// What is known of the observations in one bucket, from scrapes between which all new ones fell in
/// it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Learned {
    /// Their mean, weighted by their number.
    pub mean: Option<f64>,
    /// The sample variance of the means of single scrapes, if there were three.
    pub variance: Option<f64>,
}

/// Learns from steps between scrapes: for each, the new observations per bucket (not cumulative)
/// and the growth of the sum.
pub(super) fn learn(buckets: usize, steps: impl Iterator<Item = (Vec<f64>, f64)>) -> Vec<Learned> {
    let mut means: Vec<Vec<(f64, f64)>> = vec![Vec::new(); buckets];
    for (counts, sum) in steps {
        let mut grown = counts.iter().enumerate().filter(|(_, count)| **count > 0.0);
        if let (Some((bucket, count)), None) = (grown.next(), grown.next())
            && let Some(noted) = means.get_mut(bucket)
            && sum.is_finite()
        {
            noted.push((sum / count, *count));
        }
    }
    means.iter().map(|noted| learned(noted)).collect()
}

fn learned(noted: &[(f64, f64)]) -> Learned {
    let weight: f64 = noted.iter().map(|(_, count)| count).sum();
    if weight <= 0.0 {
        return Learned::default();
    }
    let n = noted.len() as f64;
    let plain = noted.iter().map(|(mean, _)| mean).sum::<f64>() / n;
    let squares = noted.iter().map(|(mean, _)| (mean - plain).powi(2));
    Learned {
        mean: Some(noted.iter().map(|(mean, count)| mean * count).sum::<f64>() / weight),
        variance: (noted.len() >= 3).then(|| squares.sum::<f64>() / (n - 1.0)),
    }
}

/// One bucket with a finite bound, and where its observations are put.
struct Bin {
    low: f64,
    high: f64,
    points: Vec<f64>,
}

/// The nine percentiles; `None` where buckets and sum allow none. Of the three lists the first has
/// the bounds, which ascend, the second the observations up to each, the third what was learned at
/// the same places. More than `most` observations are scaled down to so many.
pub(super) fn percentiles(
    (bounds, cumulative, learned): (&[f64], &[f64], &[Learned]),
    count: f64,
    sum: f64,
    most: f64,
) -> Option<[f64; 9]> {
    let last = bounds.iter().rposition(|bound| bound.is_finite())?;
    if count <= 0.0 || sum < 0.0 || !sum.is_finite() {
        return None;
    }
    if sum == 0.0 {
        return Some([0.0; 9]);
    }
    let scale = (most / count).min(1.0);
    let (count, sum) = (count * scale, sum * scale);
    let mut below = 0.0;
    let counts: Vec<f64> = cumulative
        .iter()
        .take(last + 1)
        .map(|&up_to| {
            let here = (up_to * scale - below).max(0.0);
            below = below.max(up_to * scale);
            here
        })
        .collect();
    let highest = *bounds.get(last)?;
    let mut low = bounds.first().map_or(0.0, |first| first.min(0.0));
    let edges: Vec<(f64, f64)> = bounds
        .iter()
        .take(last + 1)
        .map(|&high| {
            let edge = (low, high);
            low = high;
            edge
        })
        .collect();
    let known = |at: usize| learned.get(at).copied().unwrap_or_default();
    let open = open_points(
        &edges,
        &counts,
        &known,
        (count - below).max(0.0),
        highest,
        sum,
    );
    let open_sum: f64 = open.iter().sum();

    let finite: f64 = counts.iter().sum();
    let target = sum - open_sum;
    let overall = target / finite;
    let mut bins: Vec<Bin> = Vec::with_capacity(edges.len());
    for (at, (&(low, high), &held)) in edges.iter().zip(&counts).enumerate() {
        let known = known(at);
        let dominant = finite > 0.0 && held >= DOMINANT * finite && known.variance.is_none();
        let centre = if dominant { Some(overall) } else { known.mean };
        let mut points = placed(low, high, held as usize, centre, known);
        points
            .iter_mut()
            .for_each(|point| *point = point.clamp(low, high));
        bins.push(Bin { low, high, points });
    }
    fit_sum(&mut bins, target);
    let mut all: Vec<f64> = bins.into_iter().flat_map(|bin| bin.points).collect();
    all.extend(open);
    if all.is_empty() {
        return None;
    }
    all.sort_by(f64::total_cmp);
    Some(linear_percentiles(&all))
}

/// The observations above the last finite bound.
fn open_points(
    edges: &[(f64, f64)],
    counts: &[f64],
    known: &impl Fn(usize) -> Learned,
    held: f64,
    highest: f64,
    sum: f64,
) -> Vec<f64> {
    let n = held.ceil();
    if n <= 0.0 {
        return Vec::new();
    }
    let inside = edges.iter().zip(counts).enumerate();
    let finite: f64 = inside
        .map(|(at, (&(low, high), count))| {
            let strictly = |mean: &f64| *mean > low && *mean < high;
            let mean = known(at).mean.filter(strictly);
            count * mean.unwrap_or(f64::midpoint(low, high))
        })
        .sum();
    let mut mean = (sum - finite) / n;
    if mean <= 0.0 || mean <= highest {
        mean = 1.5 * highest;
    }
    let n = n as usize;
    if n == 1 {
        return vec![mean];
    }
    let mut end = 2.0 * mean - highest;
    if end <= highest {
        end = 2.0 * highest;
    }
    let step = (end - highest) / (n - 1) as f64;
    (0..n).map(|i| highest + i as f64 * step).collect()
}

/// `n` observations within `low` to `high`.
fn placed(low: f64, high: f64, n: usize, centre: Option<f64>, known: Learned) -> Vec<f64> {
    let width = high - low;
    let middle = f64::midpoint(low, high);
    let fraction = |i: usize| (i as f64 + 0.5) / n as f64;
    let shifted = |f: f64, centre: f64| low + width * f + (centre - middle);
    let Some((mean, variance)) = known.mean.zip(known.variance).filter(|(_, v)| *v > 0.0) else {
        let centre = centre.unwrap_or(middle);
        return (0..n).map(|i| shifted(fraction(i), centre)).collect();
    };
    let deviation = variance.sqrt();
    let spread = 4.0 * deviation / width;
    let aware = |f: f64| {
        if f < 0.5 {
            mean - ((mean - low) / deviation).min(3.0) * deviation * (1.0 - 2.0 * f)
        } else {
            mean + ((high - mean) / deviation).min(3.0) * deviation * (2.0 * f - 1.0)
        }
    };
    if spread < 0.01 {
        let above = mean - low;
        if above <= 0.0 {
            return vec![mean; n];
        }
        let at_low = (n as f64 * variance / (variance + above * above)) as usize;
        let rest = mean + variance / above;
        return (0..n)
            .map(|i| if i < at_low { low } else { rest })
            .collect();
    }
    if spread < 0.2 && (mean - middle).abs() / width < 0.3 {
        let both = |f: f64| f64::midpoint(shifted(f, mean), aware(f));
        return (0..n).map(|i| both(fraction(i))).collect();
    }
    (0..n).map(|i| aware(fraction(i))).collect()
}

/// Moves the observations of each bucket so that all sum up to `target`, within their buckets.
fn fit_sum(bins: &mut [Bin], target: f64) {
    let sums: Vec<f64> = bins.iter().map(|bin| bin.points.iter().sum()).collect();
    let total: f64 = sums.iter().sum();
    if target <= 0.0 || total <= 0.0 || (target - total).abs() / target < 0.001 {
        return;
    }
    for (bin, sum) in bins.iter_mut().zip(sums) {
        let n = bin.points.len() as f64;
        let most = 0.4 * (bin.high - bin.low);
        let shift = ((target - total) * (sum / total) / n).clamp(-most, most);
        for point in &mut bin.points {
            *point = (*point + shift).clamp(bin.low, bin.high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    fn of(bounds: &[f64], cumulative: &[f64], sum: f64, learned: &[Learned]) -> Option<[f64; 9]> {
        let count = cumulative.last().copied().unwrap_or_default();
        percentiles((bounds, cumulative, learned), count, sum, 100_000.0)
    }

    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
    }

    #[test]
    fn what_allows_no_estimate() {
        assert_eq!(of(&[], &[], 1.0, &[]), None);
        assert_eq!(of(&[INF], &[5.0], 1.0, &[]), None, "only +Inf");
        assert_eq!(of(&[1.0, INF], &[0.0, 0.0], 1.0, &[]), None);
        assert_eq!(of(&[1.0, INF], &[2.0, 2.0], -1.0, &[]), None);
        assert_eq!(of(&[1.0, INF], &[2.0, 2.0], f64::NAN, &[]), None);
        assert_eq!(of(&[1.0, INF], &[2.0, 2.0], 0.0, &[]), Some([0.0; 9]));
    }

    #[test]
    fn one_bucket_is_centred_on_the_average() {
        // Four in (0, 1] that sum up to 2.4: uniform at 0.125 to 0.875, moved by 0.1.
        let all = of(&[1.0, INF], &[4.0, 4.0], 2.4, &[]).unwrap();
        let points = [0.225, 0.475, 0.725, 0.975];
        for (value, expected) in all.into_iter().zip(linear_percentiles(&points)) {
            close(value, expected);
        }
        close(all[4], 0.6);
    }

    #[test]
    fn two_buckets_are_moved_to_the_sum() {
        // Two in (0, 1] at 0.25 and 0.75, two in (1, 3] at 1.5 and 2.5: 5 in all, where 6 is said.
        // The surplus of 1 goes by the buckets' sums: 0.2 over two points, 0.8 over two points.
        let all = of(&[1.0, 3.0, INF], &[2.0, 4.0, 4.0], 6.0, &[]).unwrap();
        let points = [0.35, 0.85, 1.9, 2.9];
        for (value, expected) in all.into_iter().zip(linear_percentiles(&points)) {
            close(value, expected);
        }
    }

    #[test]
    fn what_is_above_the_last_bound() {
        // One in (0, 1] at its middle and three above, whose mean is (9.5 - 0.5)/3 = 3: from 1 to
        // 5.
        let all = of(&[1.0, INF], &[1.0, 4.0], 9.5, &[]).unwrap();
        let points = [0.5, 1.0, 3.0, 5.0];
        for (value, expected) in all.into_iter().zip(linear_percentiles(&points)) {
            close(value, expected);
        }
        // A sum that is too small for them: half above the bound again.
        let all = of(&[2.0, INF], &[0.0, 1.0], 1.0, &[]).unwrap();
        close(all[4], 3.0);
    }

    #[test]
    fn looks_between_which_one_bucket_grew_teach_its_mean() {
        let steps = [
            (vec![2.0, 0.0], 0.4),
            (vec![1.0, 1.0], 9.0),
            (vec![0.0, 0.0], 0.0),
            (vec![1.0, 0.0], 0.5),
        ];
        let learned = learn(2, steps.into_iter());
        close(learned[0].mean.unwrap(), 0.3);
        assert_eq!((learned[0].variance, learned[1].mean), (None, None));
        let three = [0.2, 0.3, 0.7].map(|sum| (vec![1.0], sum));
        let learned = learn(1, three.into_iter());
        // Means 0.2, 0.3, 0.7: mean 0.4, squares 0.04 + 0.01 + 0.09 over 2.
        close(learned[0].mean.unwrap(), 0.4);
        close(learned[0].variance.unwrap(), 0.07);
    }

    #[test]
    fn a_known_spread_decides_the_places() {
        let known = |mean, variance| Learned {
            mean: Some(mean),
            variance: Some(variance),
        };
        // Variance 0.01, deviation 0.1, spread 0.4: (mean - low)/deviation is 3 at most.
        let points = placed(0.0, 1.0, 2, None, known(0.5, 0.01));
        close(points[0], 0.5 - 0.3 * 0.5);
        close(points[1], 0.5 + 0.3 * 0.5);
        // Next to no spread: two points, of which only the upper is taken here.
        let points = placed(0.0, 1.0, 2, None, known(0.5, 1e-6));
        close(points[0], 0.5 + 1e-6 / 0.5);
        // Deviation 0.04, spread 0.16: half way between shifted uniform (0.25) and 0.44.
        let points = placed(0.0, 1.0, 2, None, known(0.5, 0.0016));
        close(points[0], f64::midpoint(0.25, 0.5 - 0.12 * 0.5));
    }

    #[test]
    fn many_observations_are_scaled_down() {
        let all = of(&[1.0, INF], &[1e9, 1e9], 5e8, &[]).unwrap();
        assert!((all[4] - 0.5).abs() < 1e-4 && all[0] > 0.0 && all[8] < 1.0);
    }

    proptest::proptest! {
        #[test]
        fn estimates_ascend_and_stay_finite(
            counts in proptest::collection::vec(0.0_f64..50.0, 1..8),
            open in 0.0_f64..20.0,
            sum in 0.0_f64..1e4,
            mean in 0.0_f64..10.0,
            variance in 0.0_f64..4.0,
        ) {
            let mut bounds: Vec<f64> = (1..=counts.len()).map(|i| i as f64).collect();
            bounds.push(INF);
            let mut total = 0.0;
            let mut cumulative: Vec<f64> = counts.iter().map(|c| { total += c.floor(); total }).collect();
            cumulative.push(total + open.floor());
            let learned = vec![Learned { mean: Some(mean), variance: Some(variance) }; bounds.len()];
            if let Some(all) = of(&bounds, &cumulative, sum, &learned) {
                assert!(all.iter().all(|v| v.is_finite()));
                assert!(all.is_sorted());
            }
        }
    }
}
