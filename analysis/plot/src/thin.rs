//! Fewer points where more could not be seen: what is left out lies on the same pixel.

use std::collections::HashSet;

use super::figure::{Mark, Point, Series};

/// Series up to this size are drawn whole.
const WHOLE: usize = 2000;
/// Bars of single requests are drawn up to this number.
const SPANS: usize = 3000;

/// One point per pixel, the first of each; points with a label always.
pub fn dots(points: &[Point], place: impl Fn(&Point) -> (f64, f64)) -> Vec<&Point> {
    let finite = points
        .iter()
        .filter(|point| point.x.is_finite() && point.y.is_finite());
    if points.len() <= WHOLE {
        return finite.collect();
    }
    let mut taken = HashSet::new();
    finite
        .filter(|point| {
            let (x, y) = place(point);
            taken.insert((x as i32, y as i32))
        })
        .collect()
}

/// The first, the lowest, the highest and the last point of each column of pixels.
pub fn line<'p>(points: &'p [Point], place: impl Fn(&Point) -> (f64, f64)) -> Vec<&'p Point> {
    let finite = points
        .iter()
        .filter(|point| point.x.is_finite() && point.y.is_finite());
    if points.len() <= WHOLE {
        return finite.collect();
    }
    let mut kept = Vec::new();
    let mut column: Vec<&Point> = Vec::new();
    let mut at = i32::MIN;
    let flush = |column: &mut Vec<&'p Point>, kept: &mut Vec<&'p Point>| {
        let lowest = (0..column.len()).min_by(|a, b| column[*a].y.total_cmp(&column[*b].y));
        let highest = (0..column.len()).max_by(|a, b| column[*a].y.total_cmp(&column[*b].y));
        let ends = [Some(0), lowest, highest, column.len().checked_sub(1)];
        let mut places: Vec<usize> = ends.into_iter().flatten().collect();
        places.sort_unstable();
        places.dedup();
        kept.extend(
            places
                .into_iter()
                .filter_map(|place| column.get(place).copied()),
        );
        column.clear();
    };
    for point in finite {
        let here = place(point).0 as i32;
        if here != at {
            flush(&mut column, &mut kept);
            at = here;
        }
        column.push(point);
    }
    flush(&mut column, &mut kept);
    kept
}

/// Evenly picked bars where there are more than anyone can tell apart.
pub fn spans(points: &[Point]) -> impl Iterator<Item = &Point> {
    points.iter().step_by(points.len().div_ceil(SPANS).max(1))
}

/// Leaves of a series what a screen of 1600 by 800 can show.
pub fn for_screen(series: &mut Series) {
    if series.points.len() <= WHOLE {
        return;
    }
    let mut extent = [[f64::INFINITY, f64::NEG_INFINITY]; 2];
    for point in &series.points {
        for (at, value) in [point.x, point.y]
            .into_iter()
            .enumerate()
            .filter(|(_, value)| value.is_finite())
        {
            extent[at] = [extent[at][0].min(value), extent[at][1].max(value)];
        }
    }
    let share =
        |[low, high]: [f64; 2], value: f64| (value - low) / (high - low).max(f64::MIN_POSITIVE);
    let place = |point: &Point| {
        (
            share(extent[0], point.x) * 1600.0,
            share(extent[1], point.y) * 800.0,
        )
    };
    let kept: Vec<&Point> = match series.mark {
        Mark::Line | Mark::Dashed | Mark::Step | Mark::Area => line(&series.points, place),
        Mark::Dots | Mark::Crosses | Mark::Diamonds => dots(&series.points, place),
        Mark::Spans => spans(&series.points).collect(),
        _ => return,
    };
    series.points = kept.into_iter().cloned().collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinned_lines_keep_their_peaks() {
        let points: Vec<Point> = (0..100_000u32)
            .map(|at| {
                Point::at(
                    f64::from(at),
                    if at == 4321 { 9e9 } else { f64::from(at % 7) },
                )
            })
            .collect();
        let place = |point: &Point| (point.x / 100.0, point.y);
        let kept = line(&points, place);
        assert!(kept.len() < 4100, "{}", kept.len());
        assert!(kept.iter().any(|point| point.y > 1e9));
        assert_eq!(kept[0].x, 0.0);
        assert_eq!(kept.last().unwrap().x, 99_999.0);
        assert!(kept.is_sorted_by(|a, b| a.x <= b.x));
    }

    #[test]
    fn thinned_dots_cover_the_same_pixels() {
        let points: Vec<Point> = (0..50_000u32)
            .map(|at| Point::at(f64::from(at % 100), f64::from(at % 9)))
            .collect();
        assert_eq!(dots(&points, |point| (point.x, point.y)).len(), 900);
    }
}
