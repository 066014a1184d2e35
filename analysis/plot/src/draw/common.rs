//! What several drawings need: empty figures, labels of axes, lines, quantiles.

use crate::{
    figure::{Axis, Figure, Guide},
    load::{name_of, unit_of},
    preset::Preset,
};

/// A figure without series.
pub(super) fn empty(preset: &Preset, x: Axis, y: Axis) -> Figure {
    let named = |mut axis: Axis, label: &Option<String>| {
        if let Some(label) = label {
            axis.label.clone_from(label);
        }
        axis
    };
    Figure {
        name: preset.name.clone(),
        title: preset.title(),
        x: named(x, &preset.x_label),
        y: named(y, &preset.y_label),
        y2: None,
        series: Vec::new(),
        guides: Vec::new(),
        notes: preset.description.clone().into_iter().collect(),
    }
}

/// Display name of a tag with statistic and unit, for an axis.
pub(super) fn label(tag: &str, stat: &str) -> String {
    let unit = unit_of(tag);
    let name = name_of(tag);
    match (stat.is_empty(), unit.is_empty()) {
        (true, true) => name,
        (true, false) => format!("{name} ({unit})"),
        (false, true) => format!("{name}, {stat}"),
        (false, false) => format!("{name}, {stat} ({unit})"),
    }
}

pub(super) const SECONDS: &str = "Time since the first request (s)";

/// A dashed horizontal or upright line.
pub(super) fn line(text: impl Into<String>, at: f64, upright: bool) -> Guide {
    Guide {
        text: text.into(),
        from: at,
        to: at,
        upright,
    }
}

/// The value at rank q·(n − 1), between neighbours in proportion; `sorted` holds something.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = q * (sorted.len() - 1) as f64;
    let (below, above) = (rank.floor() as usize, rank.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (rank - below as f64)
}

pub(super) fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}
