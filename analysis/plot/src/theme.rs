//! Colours: two themes, and series colours that readers with any kind of colour vision can tell
//! apart (Okabe and Ito, and Tol's "muted" set, in the tones that the background asks for). Markers
//! differ too, so that no picture needs colour alone.

use super::figure::Ink;

/// The colours of one theme.
#[derive(Debug)]
pub struct Theme {
    /// Its name on the command line.
    pub name: &'static str,
    /// Behind the marks.
    pub background: &'static str,
    /// Around them.
    pub paper: &'static str,
    /// Text.
    pub text: &'static str,
    /// Grid lines.
    pub grid: &'static str,
    /// The one series.
    pub primary: &'static str,
    /// What stands beside it.
    pub secondary: &'static str,
    /// Series, in turn.
    pub series: [&'static str; 10],
}

/// On white.
pub const LIGHT: Theme = Theme {
    name: "light",
    background: "#FFFFFF",
    paper: "#FFFFFF",
    text: "#0a0a0a",
    grid: "#CCCCCC",
    primary: "#76B900",
    secondary: "#999999",
    series: [
        "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933",
        "#332288", "#555555",
    ],
};

/// On dark grey.
pub const DARK: Theme = Theme {
    name: "dark",
    background: "#1a1a1a",
    paper: "#252525",
    text: "#E0E0E0",
    grid: "#333333",
    primary: "#76B900",
    secondary: "#F4E5C3",
    series: [
        "#56B4E9", "#FF8A3D", "#2FBF94", "#E78AC3", "#F0C808", "#88CCEE", "#DD6E9E", "#C8C864",
        "#9A8CFF", "#B5B5B5",
    ],
};

/// What is out of the ordinary, in both.
pub const OUTLIER: &str = "#E74C3C";
/// Baselines, in both.
pub const BASELINE: &str = "#999999";

impl Theme {
    /// The theme of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        [&LIGHT, &DARK].into_iter().find(|theme| theme.name == name)
    }

    /// The colour of an ink.
    pub const fn colour(&self, ink: Ink) -> &'static str {
        match ink {
            Ink::Primary => self.primary,
            Ink::Secondary => self.secondary,
            Ink::Outlier => OUTLIER,
            Ink::Baseline => BASELINE,
            Ink::Nth(n) => self.series[n % self.series.len()],
        }
    }
}
