//! A figure as SVG: 1600 by 800, everything placed here, so that the PNG made from it is the same.
//!
//! The root element says how to get back from places to values (`data-frame`, `data-x`, `data-y`);
//! each marker has its values as a `<title>`, which browsers show as a tip.

use std::fmt::Write as _;

use super::{
    figure::{Axis, Figure, Guide, Ink, Mark, Point, Series},
    scale::{Scale, extents, number},
    text::{escaped, shortened, width, wrapped},
    theme::Theme,
    thin,
};

/// Size of the picture.
pub const SIZE: (f64, f64) = (1600.0, 800.0);

const TITLE: f64 = 26.0;
const LABEL: f64 = 19.0;
const TICK: f64 = 16.0;
const NOTE: f64 = 15.0;
/// More names than this are counted in the legend instead of shown.
const LEGEND_ROWS: usize = 22;

/// The picture of `figure` in the colours of `theme`.
pub fn render(figure: &Figure, theme: &Theme) -> String {
    let layout = Layout::new(figure);
    let mut svg = String::with_capacity(64 * 1024);
    let (w, h) = SIZE;
    let Layout { x, y, y2, .. } = &layout;
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" \
         role=\"img\" font-family=\"DejaVu Sans, Verdana, sans-serif\" data-frame=\"{} {} {} {}\" \
         data-x=\"{} {} {}\" data-y=\"{} {} {}\"{}>\n<title>{}</title>\n\
         <rect width=\"{w}\" height=\"{h}\" fill=\"{}\"/>\n",
        x.from,
        y.to,
        x.to,
        y.from,
        x.low,
        x.high,
        scale_name(x),
        y.low,
        y.high,
        scale_name(y),
        y2.as_ref()
            .map(|y2| format!(" data-y2=\"{} {} {}\"", y2.low, y2.high, scale_name(y2)))
            .unwrap_or_default(),
        escaped(&figure.title),
        theme.paper,
    );
    let _ = writeln!(
        svg,
        "<defs><clipPath id=\"frame\"><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/></clipPath></defs>\n\
         <rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
        x.from - 8.0,
        y.to - 8.0,
        x.to - x.from + 16.0,
        y.from - y.to + 16.0,
        x.from,
        y.to,
        x.to - x.from,
        y.from - y.to,
        theme.background,
    );
    text(
        &mut svg,
        theme,
        (x.from, 42.0),
        TITLE,
        "start",
        &shortened(&figure.title, 100),
        " font-weight=\"bold\"",
    );
    axes(&mut svg, theme, figure, &layout);
    svg.push_str("<g clip-path=\"url(#frame)\">\n");
    for series in &figure.series {
        let vertical = y2.as_ref().filter(|_| series.right).unwrap_or(y);
        draw_series(&mut svg, theme, x, vertical, series);
    }
    for (row, guide) in figure.guides.iter().enumerate() {
        draw_guide(&mut svg, theme, &layout, guide, row);
    }
    svg.push_str("</g>\n");
    point_labels(&mut svg, theme, figure, &layout);
    legend(&mut svg, theme, figure, &layout);
    let mut down = layout.notes_from;
    for line in &layout.notes {
        text(
            &mut svg,
            theme,
            (x.from, down),
            NOTE,
            "start",
            line,
            " opacity=\"0.8\"",
        );
        down += NOTE * 1.35;
    }
    svg.push_str("</svg>\n");
    svg
}

const fn scale_name(scale: &Scale) -> &'static str {
    if scale.log { "log" } else { "linear" }
}

struct Layout {
    x: Scale,
    y: Scale,
    y2: Option<Scale>,
    /// Width of the ticks at the left and the right.
    tick_widths: (f64, f64),
    x_label_at: f64,
    legend_from: f64,
    notes: Vec<String>,
    notes_from: f64,
}

impl Layout {
    fn new(figure: &Figure) -> Self {
        let extents = extents(figure);
        let (w, h) = SIZE;
        let names: Vec<_> = named(figure).collect();
        let legend = names
            .iter()
            .take(LEGEND_ROWS)
            .map(|series| width(&shortened(&series.name, 34), TICK))
            .fold(0.0, f64::max);
        let right_edge = if names.is_empty() {
            w - 36.0
        } else {
            w - legend - 76.0
        };
        // Rehearsed with a rough range, to know how wide the ticks become.
        let rough = |axis: &Axis, extent| {
            let scale = Scale::new(axis, extent, (700.0, 80.0), 8);
            scale
                .ticks
                .iter()
                .map(|tick| width(&shortened(&tick.1, 36), TICK))
                .fold(20.0, f64::max)
        };
        let left_ticks = rough(&figure.y, extents[1]);
        let right_ticks = figure
            .y2
            .as_ref()
            .map_or(0.0, |axis| rough(axis, extents[2]));
        let label = |axis: &Axis| {
            if axis.label.is_empty() {
                0.0
            } else {
                LABEL * 1.6
            }
        };
        let left = 28.0 + label(&figure.y) + left_ticks;
        let right = right_edge
            - figure
                .y2
                .as_ref()
                .map_or(0.0, |axis| right_ticks + label(axis) + 20.0);
        let turned = figure
            .x
            .ticks
            .iter()
            .map(|tick| width(&tick.1, TICK))
            .fold(0.0, f64::max);
        let below_ticks = if turned > 0.0 {
            turned * 0.71 + 24.0
        } else {
            TICK + 16.0
        };
        let notes: Vec<String> = figure
            .notes
            .iter()
            .flat_map(|note| wrapped(note, right_edge - left, NOTE))
            .collect();
        let notes_height = if notes.is_empty() {
            0.0
        } else {
            notes.len() as f64 * NOTE * 1.35 + 8.0
        };
        let bottom = h - 14.0 - notes_height - LABEL * 1.5 - below_ticks;
        let wanted = ((right - left) / 120.0) as usize;
        let mut x = Scale::new(&figure.x, extents[0], (left, right), wanted);
        if !figure.x.names.is_empty() {
            x.ticks
                .iter_mut()
                .for_each(|tick| tick.1 = shortened(&tick.1, 24));
        }
        Self {
            x_label_at: bottom + below_ticks + LABEL,
            notes_from: bottom + below_ticks + LABEL * 1.5 + NOTE + 4.0,
            y: Scale::new(&figure.y, extents[1], (bottom, 68.0), 8),
            y2: figure
                .y2
                .as_ref()
                .map(|axis| Scale::new(axis, extents[2], (bottom, 68.0), 8)),
            x,
            tick_widths: (left_ticks, right_ticks),
            legend_from: right_edge + 14.0,
            notes,
        }
    }
}

/// The series of the legend.
fn named(figure: &Figure) -> impl Iterator<Item = &Series> {
    figure
        .series
        .iter()
        .filter(|series| !series.name.is_empty())
}

fn text(
    svg: &mut String,
    theme: &Theme,
    at: (f64, f64),
    size: f64,
    anchor: &str,
    words: &str,
    more: &str,
) {
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\" fill=\"{}\"{more}>{}</text>",
        at.0,
        at.1,
        theme.text,
        escaped(words),
    );
}

fn axes(svg: &mut String, theme: &Theme, figure: &Figure, layout: &Layout) {
    let Layout { x, y, y2, .. } = layout;
    let grid = theme.grid;
    for (value, words) in &y.ticks {
        let at = y.place(*value);
        let _ = writeln!(
            svg,
            "<path d=\"M{:.1} {at:.1}H{:.1}\" stroke=\"{grid}\"/>",
            x.from, x.to
        );
        text(
            svg,
            theme,
            (x.from - 10.0, at + TICK * 0.36),
            TICK,
            "end",
            &shortened(words, 36),
            "",
        );
    }
    let turned = !figure.x.ticks.is_empty();
    let mut free_from = f64::NEG_INFINITY;
    for (value, words) in &x.ticks {
        let at = x.place(*value);
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {:.1}V{:.1}\" stroke=\"{grid}\"/>",
            y.from, y.to
        );
        // Texts that would touch the one before are left out; their lines stay.
        let needs = if turned {
            TICK * 1.5
        } else {
            width(words, TICK) + 14.0
        };
        if at - needs / 2.0 < free_from {
            continue;
        }
        free_from = at + needs / 2.0;
        let down = y.from + TICK + 8.0;
        if turned {
            let more = format!(" transform=\"rotate(-45 {at:.1} {down:.1})\"");
            text(svg, theme, (at + 4.0, down), TICK, "end", words, &more);
        } else {
            text(svg, theme, (at, down), TICK, "middle", words, "");
        }
    }
    if let Some(y2) = y2 {
        for (value, words) in &y2.ticks {
            text(
                svg,
                theme,
                (x.to + 10.0, y2.place(*value) + TICK * 0.36),
                TICK,
                "start",
                words,
                "",
            );
        }
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{:.1} {:.1}V{:.1}H{:.1}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/>",
        x.from, y.to, y.from, x.to, theme.text,
    );
    text(
        svg,
        theme,
        ((x.from + x.to) / 2.0, layout.x_label_at),
        LABEL,
        "middle",
        &figure.x.label,
        "",
    );
    let middle = (y.from + y.to) / 2.0;
    let upright = |svg: &mut String, at: f64, axis: &Axis| {
        let more = format!(" transform=\"rotate(-90 {at:.1} {middle:.1})\"");
        text(
            svg,
            theme,
            (at, middle),
            LABEL,
            "middle",
            &axis.label,
            &more,
        );
    };
    upright(svg, x.from - 18.0 - layout.tick_widths.0 - 4.0, &figure.y);
    if let Some(axis) = &figure.y2 {
        upright(svg, x.to + 20.0 + layout.tick_widths.1 + LABEL, axis);
    }
}

fn draw_guide(svg: &mut String, theme: &Theme, layout: &Layout, guide: &Guide, row: usize) {
    let Layout { x, y, .. } = layout;
    let colour = theme.text;
    let (low, high) = if guide.upright {
        (x.place(guide.from), x.place(guide.to))
    } else {
        (y.place(guide.to), y.place(guide.from))
    };
    if guide.to > guide.from {
        let (left, top, wide, tall) = if guide.upright {
            (low, y.to, high - low, y.from - y.to)
        } else {
            (x.from, low, x.to - x.from, high - low)
        };
        let _ = writeln!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{tall:.1}\" fill=\"{colour}\" opacity=\"0.08\"/>"
        );
    } else {
        let path = if guide.upright {
            format!("M{low:.1} {:.1}V{:.1}", y.from, y.to)
        } else {
            format!("M{:.1} {low:.1}H{:.1}", x.from, x.to)
        };
        let _ = writeln!(
            svg,
            "<path class=\"guide\" d=\"{path}\" stroke=\"{colour}\" stroke-dasharray=\"8 5\" opacity=\"0.6\"/>"
        );
    }
    if guide.text.is_empty() {
        return;
    }
    if guide.upright {
        let (at, anchor) = if low > (x.from + x.to) / 2.0 {
            (low - 6.0, "end")
        } else {
            (low + 6.0, "start")
        };
        text(
            svg,
            theme,
            (at, y.to + 18.0 + row as f64 * NOTE * 1.4),
            NOTE,
            anchor,
            &guide.text,
            " opacity=\"0.8\"",
        );
    } else {
        text(
            svg,
            theme,
            (x.to - 6.0, low - 6.0),
            NOTE,
            "end",
            &guide.text,
            " opacity=\"0.8\"",
        );
    }
}

/// One marker around a place, by its number; `r` is the radius of the circle of the same weight.
fn marker(
    svg: &mut String,
    ink: Ink,
    mark: Mark,
    (x, y): (f64, f64),
    r: f64,
    style: &str,
    tip: &str,
) {
    let shape = match (mark, ink) {
        (Mark::Diamonds, _) | (_, Ink::Nth(3)) => 3,
        (_, Ink::Nth(n)) => n % 5,
        _ => 0,
    };
    let end = if tip.is_empty() {
        "/>".to_owned()
    } else {
        format!("><title>{}</title></path>", escaped(tip))
    };
    if mark == Mark::Crosses {
        let r = r * 1.1;
        let _ = writeln!(
            svg,
            "<path class=\"mark\" d=\"M{:.1} {:.1}l{d:.1} {d:.1}m0 -{d:.1}l-{d:.1} {d:.1}\" fill=\"none\" stroke-width=\"2\" {style}{end}",
            x - r,
            y - r,
            d = 2.0 * r
        );
        return;
    }
    let path = match shape {
        0 => {
            let end = end.replace("</path>", "</circle>");
            let _ = writeln!(
                svg,
                "<circle class=\"mark\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r}\" {style}{end}"
            );
            return;
        }
        1 => format!(
            "M{:.1} {:.1}h{d:.1}v{d:.1}h-{d:.1}z",
            x - r * 0.9,
            y - r * 0.9,
            d = r * 1.8
        ),
        2 => format!(
            "M{x:.1} {:.1}l{a:.1} {b:.1}h-{c:.1}z",
            y - r * 1.2,
            a = r * 1.15,
            b = r * 2.0,
            c = r * 2.3
        ),
        3 => format!(
            "M{x:.1} {:.1}l{d:.1} {d:.1}l-{d:.1} {d:.1}l-{d:.1} -{d:.1}z",
            y - r * 1.3,
            d = r * 1.3
        ),
        _ => format!(
            "M{x:.1} {:.1}l{a:.1} -{b:.1}h-{c:.1}z",
            y + r * 1.2,
            a = r * 1.15,
            b = r * 2.0,
            c = r * 2.3
        ),
    };
    let _ = writeln!(svg, "<path class=\"mark\" d=\"{path}\" {style}{end}");
}

fn draw_series(svg: &mut String, theme: &Theme, x: &Scale, y: &Scale, series: &Series) {
    let colour = theme.colour(series.ink);
    let place = |point: &Point| (x.place(point.x), y.place(point.y));
    let _ = writeln!(svg, "<g data-series=\"{}\">", escaped(&series.name));
    match series.mark {
        Mark::Dots | Mark::Crosses | Mark::Diamonds => {
            let many = series.points.len();
            let r = if many > 2000 {
                2.5
            } else if many > 300 {
                3.5
            } else {
                5.0
            };
            let opacity = if many > 300 { 0.7 } else { 0.9 };
            let style = if series.mark == Mark::Crosses {
                format!("stroke=\"{colour}\"")
            } else {
                format!("fill=\"{colour}\" fill-opacity=\"{opacity}\"")
            };
            for point in thin::dots(&series.points, place) {
                marker(
                    svg,
                    series.ink,
                    series.mark,
                    place(point),
                    r,
                    &style,
                    &tip(point),
                );
            }
        }
        Mark::Line | Mark::Dashed | Mark::Joined | Mark::Step => {
            let dash = if series.mark == Mark::Dashed {
                " stroke-dasharray=\"7 5\""
            } else {
                ""
            };
            let path = line(
                thin::line(&series.points, place),
                place,
                series.mark == Mark::Step,
            );
            let _ = writeln!(
                svg,
                "<path class=\"line\" d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\" stroke-linejoin=\"round\"{dash}/>"
            );
            if series.mark == Mark::Joined {
                let style = format!("fill=\"{colour}\" stroke=\"{}\"", theme.background);
                for point in &series.points {
                    marker(
                        svg,
                        series.ink,
                        series.mark,
                        place(point),
                        7.0,
                        &style,
                        &tip(point),
                    );
                }
            }
        }
        Mark::Area => {
            let thinned = thin::line(&series.points, place);
            let ends = thinned
                .first()
                .zip(thinned.last())
                .map(|(first, last)| (x.place(first.x), x.place(last.x)));
            let path = line(thinned, place, true);
            if let Some((first, last)) = ends {
                let zero = y.place(0.0);
                let _ = writeln!(
                    svg,
                    "<path d=\"{path}L{last:.1} {zero:.1}L{first:.1} {zero:.1}z\" fill=\"{colour}\" fill-opacity=\"0.25\"/>"
                );
            }
            let _ = writeln!(
                svg,
                "<path class=\"line\" d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>"
            );
        }
        Mark::Band => {
            let mut path = line(series.points.iter().collect(), place, false);
            for point in series.points.iter().rev() {
                let _ = write!(path, "L{:.1} {:.1}", x.place(point.x), y.place(point.y2));
            }
            let _ = writeln!(
                svg,
                "<path class=\"band\" d=\"{path}z\" fill=\"{colour}\" fill-opacity=\"0.22\"/>"
            );
        }
        Mark::Bars => {
            let zero = y.place(0.0);
            for point in &series.points {
                let (left, right, top) = (x.place(point.x), x.place(point.x2), y.place(point.y));
                let gap = if right - left > 4.0 { 1.0 } else { 0.0 };
                let _ = writeln!(
                    svg,
                    "<rect class=\"mark\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\" fill-opacity=\"0.85\"><title>{}</title></rect>",
                    left + gap,
                    (right - left - 2.0 * gap).max(0.5),
                    (zero - top).max(0.0),
                    escaped(&tip_of_bar(point)),
                );
            }
        }
        Mark::Spans => {
            // As high as lines lie apart, or a hair where there are many.
            let rows = (y.high - y.low).max(1.0);
            let tall = ((y.from - y.to).abs() / rows * 0.7).clamp(1.0, 14.0);
            for point in thin::spans(&series.points) {
                let (left, right) = (x.place(point.x), x.place(point.x2));
                let _ = writeln!(
                    svg,
                    "<rect class=\"mark\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\" fill=\"{colour}\"><title>{}</title></rect>",
                    y.place(point.y) - tall / 2.0,
                    (right - left).max(0.5),
                    escaped(&tip_of_bar(point)),
                );
            }
        }
        Mark::Whiskers => {
            for point in &series.points {
                let (at, low, high) = (x.place(point.x), y.place(point.y), y.place(point.y2));
                let _ = writeln!(
                    svg,
                    "<path class=\"mark\" d=\"M{:.1} {low:.1}h12m-6 0V{high:.1}m-6 0h12\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
                    at - 6.0
                );
            }
        }
        Mark::Ellipses | Mark::FaintEllipses => {
            let style = if series.mark == Mark::FaintEllipses {
                "fill-opacity=\"0.06\" stroke-dasharray=\"6 4\" stroke-opacity=\"0.6\""
            } else {
                "fill-opacity=\"0.18\""
            };
            for point in &series.points {
                let path: String = (0..64)
                    .map(|at| {
                        let (sin, cos) = (f64::from(at) / 64.0 * std::f64::consts::TAU).sin_cos();
                        let command = if at == 0 { 'M' } else { 'L' };
                        format!(
                            "{command}{:.1} {:.1}",
                            x.place(point.x + cos * point.x2),
                            y.place(point.y + sin * point.y2)
                        )
                    })
                    .collect();
                let _ = writeln!(
                    svg,
                    "<path class=\"ellipse\" d=\"{path}z\" fill=\"{colour}\" stroke=\"{colour}\" {style}/>"
                );
            }
        }
    }
    svg.push_str("</g>\n");
}

fn line<'p>(points: Vec<&'p Point>, place: impl Fn(&'p Point) -> (f64, f64), step: bool) -> String {
    let mut path = String::with_capacity(points.len() * 12);
    for (at, point) in points.into_iter().enumerate() {
        let (x, y) = place(point);
        let _ = match (at, step) {
            (0, _) => write!(path, "M{x:.1} {y:.1}"),
            (_, true) => write!(path, "H{x:.1}V{y:.1}"),
            (_, false) => write!(path, "L{x:.1} {y:.1}"),
        };
    }
    path
}

fn tip(point: &Point) -> String {
    let label = point
        .label
        .as_deref()
        .map(|label| format!("{label}: "))
        .unwrap_or_default();
    format!("{label}{}, {}", number(point.x), number(point.y))
}

fn tip_of_bar(point: &Point) -> String {
    let label = point
        .label
        .as_deref()
        .map(|label| format!("{label}: "))
        .unwrap_or_default();
    format!(
        "{label}{} to {}: {}",
        number(point.x),
        number(point.x2),
        number(point.y)
    )
}

/// Texts beside points, each where it touches no marker, no other text and no edge, and no line if
/// there is such a place; where there is none at all it is left out (the marker's tip still says
/// it).
fn point_labels(svg: &mut String, theme: &Theme, figure: &Figure, layout: &Layout) {
    let Layout { x, y, y2, .. } = layout;
    let mut taken: Vec<[f64; 4]> = Vec::new();
    let mut wanted: Vec<(f64, f64, &str)> = Vec::new();
    for series in figure
        .series
        .iter()
        .filter(|series| matches!(series.mark, Mark::Dots | Mark::Joined | Mark::Diamonds))
    {
        let vertical = y2.as_ref().filter(|_| series.right).unwrap_or(y);
        for point in &series.points {
            if let Some(label) = &point.label {
                let (at_x, at_y) = (x.place(point.x), vertical.place(point.y));
                taken.push([at_x - 7.0, at_y - 7.0, at_x + 7.0, at_y + 7.0]);
                wanted.push((at_x, at_y, label));
            }
        }
    }
    if wanted.len() > 400 {
        return;
    }
    let lines = labelled_lines(figure, layout);
    for (at_x, at_y, label) in wanted {
        let label = shortened(label, 24);
        let (wide, tall) = (width(&label, NOTE), NOTE);
        let places = [
            (at_x + 11.0, at_y - 11.0),
            (at_x + 11.0, at_y + 5.0),
            (at_x - 11.0 - wide, at_y - 11.0),
            (at_x - wide / 2.0, at_y - 14.0),
            (at_x - wide / 2.0, at_y + 26.0),
            (at_x + 11.0, at_y + 20.0),
            (at_x - 11.0 - wide, at_y + 5.0),
            (at_x - 11.0 - wide, at_y + 20.0),
        ];
        let fits = |&(left, base): &(f64, f64)| {
            let own = [left - 2.0, base - tall, left + wide + 2.0, base + 3.0];
            let inside = own[0] > x.from && own[2] < x.to && own[1] > y.to && own[3] < y.from;
            inside
                && taken.iter().all(|other| {
                    own[2] < other[0] || own[0] > other[2] || own[3] < other[1] || own[1] > other[3]
                })
        };
        let clear = |place: &(f64, f64)| {
            let own = [
                place.0 - 2.0,
                place.1 - tall,
                place.0 + wide + 2.0,
                place.1 + 3.0,
            ];
            !lines.iter().any(|line| crosses(*line, own))
        };
        let free = places.into_iter().find(|place| fits(place) && clear(place));
        if let Some((left, base)) = free.or_else(|| places.into_iter().find(fits)) {
            taken.push([left - 2.0, base - tall, left + wide + 2.0, base + 3.0]);
            text(
                svg,
                theme,
                (left, base),
                NOTE,
                "start",
                &label,
                " class=\"point-label\"",
            );
        }
    }
}

/// The pieces of the lines of a figure, as places; none where there are too many to keep clear of.
fn labelled_lines(figure: &Figure, layout: &Layout) -> Vec<[f64; 4]> {
    let mut pieces = Vec::new();
    let joined = |series: &&Series| matches!(series.mark, Mark::Line | Mark::Joined);
    for series in figure.series.iter().filter(joined) {
        let vertical = layout.y2.as_ref().filter(|_| series.right);
        let vertical = vertical.unwrap_or(&layout.y);
        let place = |point: &Point| (layout.x.place(point.x), vertical.place(point.y));
        for pair in series.points.windows(2) {
            let ((ax, ay), (bx, by)) = (place(&pair[0]), place(&pair[1]));
            pieces.push([ax, ay, bx, by]);
        }
    }
    if pieces.len() > 1_000 {
        pieces.clear();
    }
    pieces
}

/// Whether a piece of a line goes through a rectangle of left, top, right, bottom.
fn crosses([ax, ay, bx, by]: [f64; 4], [left, top, right, bottom]: [f64; 4]) -> bool {
    let (mut from, mut to): (f64, f64) = (0.0, 1.0);
    let sides = [
        (ax - bx, ax - left),
        (bx - ax, right - ax),
        (ay - by, ay - top),
        (by - ay, bottom - ay),
    ];
    for (slope, room) in sides {
        if slope == 0.0 {
            if room < 0.0 {
                return false;
            }
        } else if slope < 0.0 {
            from = from.max(room / slope);
        } else {
            to = to.min(room / slope);
        }
    }
    from <= to
}

fn legend(svg: &mut String, theme: &Theme, figure: &Figure, layout: &Layout) {
    let names: Vec<_> = named(figure).collect();
    let left = layout.legend_from;
    let mut down = layout.y.to + 12.0;
    for series in names.iter().take(LEGEND_ROWS) {
        let colour = theme.colour(series.ink);
        let style = format!("fill=\"{colour}\"");
        match series.mark {
            Mark::Line | Mark::Step | Mark::Dashed | Mark::Joined => {
                let dash = if series.mark == Mark::Dashed {
                    " stroke-dasharray=\"7 5\""
                } else {
                    ""
                };
                let _ = writeln!(
                    svg,
                    "<path d=\"M{left:.1} {down:.1}h30\" stroke=\"{colour}\" stroke-width=\"3\"{dash}/>"
                );
                if series.mark == Mark::Joined {
                    marker(
                        svg,
                        series.ink,
                        series.mark,
                        (left + 15.0, down),
                        6.0,
                        &style,
                        "",
                    );
                }
            }
            Mark::Dots | Mark::Diamonds => marker(
                svg,
                series.ink,
                series.mark,
                (left + 15.0, down),
                6.0,
                &style,
                "",
            ),
            Mark::Crosses => marker(
                svg,
                series.ink,
                series.mark,
                (left + 15.0, down),
                6.0,
                &format!("stroke=\"{colour}\""),
                "",
            ),
            Mark::Whiskers => {
                let _ = writeln!(
                    svg,
                    "<path d=\"M{:.1} {:.1}v14m-5 0h10m-10 -14h10\" stroke=\"{colour}\" fill=\"none\" stroke-width=\"1.5\"/>",
                    left + 15.0,
                    down - 7.0
                );
            }
            _ => {
                let opacity = if series.mark == Mark::Band { 0.3 } else { 0.85 };
                let _ = writeln!(
                    svg,
                    "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"30\" height=\"14\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>",
                    down - 7.0
                );
            }
        }
        text(
            svg,
            theme,
            (left + 40.0, down + TICK * 0.36),
            TICK,
            "start",
            &shortened(&series.name, 34),
            " class=\"legend\"",
        );
        down += TICK * 1.65;
    }
    if names.len() > LEGEND_ROWS {
        let more = format!("and {} more", names.len() - LEGEND_ROWS);
        text(
            svg,
            theme,
            (left + 40.0, down + TICK * 0.36),
            TICK,
            "start",
            &more,
            "",
        );
    }
}
