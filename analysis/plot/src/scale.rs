//! From values to places: ranges of axes, their ticks, and numbers as text.

use super::figure::{Axis, Figure, Series};

/// An axis with a range on a stretch of the picture.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Lower end of the values.
    pub low: f64,
    /// Upper end of the values.
    pub high: f64,
    /// Where the lower end is drawn, in pixels.
    pub from: f64,
    /// Where the upper end is drawn, in pixels.
    pub to: f64,
    /// Logarithmic.
    pub log: bool,
    /// Values with their texts, ascending.
    pub ticks: Vec<(f64, String)>,
}

impl Scale {
    /// The scale of `axis` for values within `extent`; `wanted` ticks at most, about.
    pub fn new(axis: &Axis, extent: [f64; 2], (from, to): (f64, f64), wanted: usize) -> Self {
        let log = axis.log;
        let [mut low, mut high] = extent;
        if !(low.is_finite() && high.is_finite()) {
            [low, high] = [0.0, 1.0];
        }
        if !axis.names.is_empty() {
            let last = axis.names.len() as f64 - 1.0;
            return Self {
                low: -0.6,
                high: last + 0.6,
                from,
                to,
                log: false,
                ticks: (0..axis.names.len())
                    .map(|at| (at as f64, axis.names[at].clone()))
                    .collect(),
            };
        }
        if log {
            low = if low > 0.0 { low } else { high.max(1.0) / 1e4 };
            high = high.max(low * 1.001);
            let (low, high) = (low / 1.15, high * 1.15);
            let ticks = log_ticks(low, high, wanted);
            return Self {
                low,
                high,
                from,
                to,
                log,
                ticks,
            };
        }
        if axis.zero {
            low = low.min(0.0);
            high = high.max(0.0);
        }
        if high - low < f64::EPSILON * high.abs().max(1.0) {
            // One value only: room on both sides.
            let room = if high == 0.0 { 1.0 } else { high.abs() * 0.1 };
            if !(axis.zero && low == 0.0) {
                low -= room;
            }
            high += room;
        }
        let margin = (high - low) * 0.04;
        let touches_zero = |end: f64| axis.zero && end == 0.0;
        if !touches_zero(low) {
            low = if low >= 0.0 {
                (low - margin).max(0.0)
            } else {
                low - margin
            };
        }
        if !touches_zero(high) {
            high += margin;
        }
        let ticks = if axis.ticks.is_empty() {
            linear_ticks(low, high, wanted)
        } else {
            axis.ticks.clone()
        };
        Self {
            low,
            high,
            from,
            to,
            log,
            ticks,
        }
    }

    /// Where a value is drawn; what lies outside the range is drawn at its end.
    pub fn place(&self, value: f64) -> f64 {
        let share = if self.log {
            let value = if value > self.low { value } else { self.low };
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(-0.05, 1.05) * (self.to - self.from)
    }
}

/// Smallest and largest x, y and right y of what is drawn; infinite where nothing is.
pub fn extents(figure: &Figure) -> [[f64; 2]; 3] {
    let mut all = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
    let mut widen = |at: usize, log: bool, [low, high]: [f64; 2]| {
        for value in [low, high] {
            if value.is_finite() && (!log || value > 0.0) {
                all[at][0] = all[at][0].min(value);
                all[at][1] = all[at][1].max(value);
            }
        }
    };
    for series in &figure.series {
        let y_at = if series.right { 2 } else { 1 };
        let y_log = y_axis(figure, series).log;
        for point in &series.points {
            let (x, y) = point.extent(series.mark);
            widen(0, figure.x.log, x);
            widen(y_at, y_log, y);
        }
    }
    for guide in &figure.guides {
        let (at, log) = if guide.upright {
            (0, figure.x.log)
        } else {
            (1, figure.y.log)
        };
        widen(at, log, [guide.from, guide.to]);
    }
    all
}

/// The vertical axis of a series.
pub fn y_axis<'f>(figure: &'f Figure, series: &Series) -> &'f Axis {
    figure
        .y2
        .as_ref()
        .filter(|_| series.right)
        .unwrap_or(&figure.y)
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn linear_ticks(low: f64, high: f64, wanted: usize) -> Vec<(f64, String)> {
    let raw = (high - low) / wanted.max(1) as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|nice| nice * power)
        .find(|step| *step >= raw * 0.999)
        .unwrap_or(power * 10.0);
    let decimals = if step >= 1.0 {
        0
    } else {
        (-step.log10()).ceil() as usize
    };
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last.min(first.saturating_add(100)))
        .map(|at| {
            let value = at as f64 * step;
            (value, grouped(value, decimals))
        })
        .collect()
}

/// Powers of ten, with 2 and 5 between them where there is room.
fn log_ticks(low: f64, high: f64, wanted: usize) -> Vec<(f64, String)> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let of = |parts: &[f64]| -> Vec<f64> {
        let values =
            (first..=last).flat_map(|power| parts.iter().map(move |part| part * 10f64.powi(power)));
        values
            .filter(|value| (low..=high).contains(value))
            .collect()
    };
    let (fine, decades) = (of(&[1.0, 2.0, 5.0]), of(&[1.0]));
    let (values, every) = if fine.len() <= wanted {
        (fine, 1)
    } else {
        let every = decades.len().div_ceil(wanted.max(1));
        (decades, every.max(1))
    };
    let values = values.into_iter().step_by(every);
    values.map(|value| (value, number(value))).collect()
}

/// A number with four significant digits at least, thousands apart: what tables and tips show.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    let decimals = if size == 0.0 || size >= 1000.0 {
        0
    } else {
        (3 - size.log10().floor() as i32).clamp(0, 9) as usize
    };
    let text = grouped(value, decimals);
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// A number with these decimals and commas between thousands.
fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::new();
    if value < 0.0 && text.bytes().any(|digit| (b'1'..=b'9').contains(&digit)) {
        out.push('-');
    }
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if !rest.is_empty() {
        out.push('.');
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis::from_zero("x");
        let scale = Scale::new(&axis, [3.0, 97.0], (0.0, 100.0), 6);
        let texts: Vec<_> = scale.ticks.iter().map(|tick| tick.1.as_str()).collect();
        assert_eq!(texts, ["0", "20", "40", "60", "80", "100"]);
        let scale = Scale::new(&Axis::new("x"), [1.01, 1.02], (0.0, 100.0), 6);
        assert_eq!(scale.ticks[0].1, "1.010");
        let log = Axis {
            log: true,
            ..Axis::new("x")
        };
        let scale = Scale::new(&log, [1.0, 1e6], (0.0, 100.0), 8);
        let texts: Vec<_> = scale.ticks.iter().map(|tick| tick.1.as_str()).collect();
        assert_eq!(texts[0], "1");
        assert_eq!(texts.last(), Some(&"1,000,000"));
    }

    #[test]
    fn one_value_and_no_value_have_a_range() {
        for extent in [[5.0, 5.0], [0.0, 0.0], [f64::INFINITY, f64::NEG_INFINITY]] {
            for axis in [
                Axis::new("x"),
                Axis::from_zero("x"),
                Axis {
                    log: true,
                    ..Axis::new("x")
                },
            ] {
                let scale = Scale::new(&axis, extent, (0.0, 100.0), 6);
                assert!(scale.low < scale.high, "{extent:?} {scale:?}");
                assert!(scale.place(5.0).is_finite());
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (1234567.0, "1,234,567"),
            (20.108782, "20.11"),
            (0.001234, "0.001234"),
            (-1500.4, "-1,500"),
            (100.0, "100"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
