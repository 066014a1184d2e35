//! What a picture shows, before it is a picture: axes, series of points, guides, notes. The SVG,
//! the PNG and the page in a browser are all drawn from it.

use serde::Serialize;

/// One picture.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// File name without an ending, and the preset's name.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The axis below.
    pub x: Axis,
    /// The axis on the left.
    pub y: Axis,
    /// The axis on the right, for series with [`Series::right`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y2: Option<Axis>,
    /// What is drawn, first what lies at the bottom.
    pub series: Vec<Series>,
    /// Lines and bands across the whole picture.
    pub guides: Vec<Guide>,
    /// Sentences below it.
    pub notes: Vec<String>,
}

/// One axis.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Axis {
    /// What it measures, with the statistic and the unit.
    pub label: String,
    /// Logarithmic: values that are not positive are drawn at the lower end.
    pub log: bool,
    /// Whether zero belongs to it.
    pub zero: bool,
    /// Names at 0, 1, 2, … instead of numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Texts at places of their own instead of numbers, turned by 45 degrees.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ticks: Vec<(f64, String)>,
}

/// A colour by its part in the picture; the theme knows which.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ink {
    /// The colour of pictures with one series.
    Primary,
    /// What stands beside it.
    Secondary,
    /// What is out of the ordinary.
    Outlier,
    /// A baseline.
    Baseline,
    /// The nth of several series; also its marker.
    #[serde(untagged)]
    Nth(usize),
}

/// How points become marks. The fields of a point that each uses are in brackets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// Markers (x, y).
    Dots,
    /// Markers joined in the order of the points (x, y).
    Joined,
    /// A line (x, y).
    Line,
    /// A dashed line (x, y).
    Dashed,
    /// A line that keeps each value up to the next point (x, y).
    Step,
    /// The same, filled down to zero (x, y).
    Area,
    /// Filled between two curves (x, from y to y2).
    Band,
    /// A bar upwards (from x to x2, y high).
    Bars,
    /// A bar to the right (from x to x2, at y).
    Spans,
    /// A vertical line with caps (x, from y to y2).
    Whiskers,
    /// An ellipse (centre x, y; half axes x2, y2).
    Ellipses,
    /// The same, dashed and fainter: too few runs.
    FaintEllipses,
    /// Crosses (x, y).
    Crosses,
    /// Diamonds (x, y).
    Diamonds,
}

/// Points that are drawn alike.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// In the legend; empty: not there.
    pub name: String,
    /// Colour and marker.
    pub ink: Ink,
    /// Shape.
    pub mark: Mark,
    /// Measured on the right axis.
    pub right: bool,
    /// The points.
    pub points: Vec<Point>,
}

/// One point; which fields mean what is the mark's.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Point {
    /// See [`Mark`].
    pub x: f64,
    /// See [`Mark`].
    pub y: f64,
    /// See [`Mark`].
    pub x2: f64,
    /// See [`Mark`].
    pub y2: f64,
    /// Text beside it.
    pub label: Option<String>,
}

/// `[x, y]`, `[x, y, x2, y2]` or with the label behind.
impl Serialize for Point {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (x, y) = (rounded(self.x), rounded(self.y));
        let (x2, y2) = (rounded(self.x2), rounded(self.y2));
        match &self.label {
            Some(label) => (x, y, x2, y2, label).serialize(to),
            None if self.x2 == 0.0 && self.y2 == 0.0 => (x, y).serialize(to),
            None => (x, y, x2, y2).serialize(to),
        }
    }
}

/// Seven digits are more than any picture shows, and half the bytes.
fn rounded(value: f64) -> f64 {
    format!("{value:.6e}").parse().unwrap_or(value)
}

impl Point {
    /// A plain point.
    pub const fn at(x: f64, y: f64) -> Self {
        Self {
            x,
            y,
            x2: 0.0,
            y2: 0.0,
            label: None,
        }
    }

    /// With its second corner, height or half axes.
    #[must_use]
    pub const fn to(mut self, x2: f64, y2: f64) -> Self {
        self.x2 = x2;
        self.y2 = y2;
        self
    }

    /// With a text beside it.
    #[must_use]
    pub fn labelled(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
}

/// Something across the whole picture.
#[derive(Clone, Debug, Serialize)]
pub struct Guide {
    /// TurnContent at its end.
    pub text: String,
    /// Where on the y axis (`to` the same), or the band's lower end.
    pub from: f64,
    /// The band's upper end.
    pub to: f64,
    /// A place on the x axis instead.
    pub upright: bool,
}

impl Axis {
    /// A linear axis that begins where the data begin.
    pub fn new(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            ..Self::default()
        }
    }

    /// A linear axis from zero.
    pub fn from_zero(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            zero: true,
            ..Self::default()
        }
    }
}

impl Series {
    /// A series on the left axis.
    pub fn new(name: impl Into<String>, ink: Ink, mark: Mark, points: Vec<Point>) -> Self {
        Self {
            name: name.into(),
            ink,
            mark,
            right: false,
            points,
        }
    }

    /// On the right axis.
    #[must_use]
    pub const fn right(mut self) -> Self {
        self.right = true;
        self
    }
}

impl Point {
    /// Smallest and largest x and y that a mark of this kind touches.
    pub fn extent(&self, mark: Mark) -> ([f64; 2], [f64; 2]) {
        let (x, y) = ([self.x, self.x], [self.y, self.y]);
        match mark {
            Mark::Band | Mark::Whiskers => (x, [self.y.min(self.y2), self.y.max(self.y2)]),
            Mark::Bars => ([self.x, self.x2], [0.0, self.y]),
            Mark::Spans => ([self.x, self.x2], y),
            Mark::Area => (x, [self.y.min(0.0), self.y.max(0.0)]),
            Mark::Ellipses | Mark::FaintEllipses => (
                [self.x - self.x2, self.x + self.x2],
                [self.y - self.y2, self.y + self.y2],
            ),
            _ => (x, y),
        }
    }
}
