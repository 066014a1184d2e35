//! What a person sees while the program works: one bar at a time, or nothing.

use std::{borrow::Cow, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

/// How progress is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ui {
    /// A bar on stderr.
    Simple,
    /// Nothing.
    None,
}

impl Ui {
    /// A bar for `total` things; hidden without a UI.
    pub fn bar(self, name: impl Into<Cow<'static, str>>, total: u64) -> ProgressBar {
        let bar = match self {
            Self::Simple => ProgressBar::new(total),
            Self::None => ProgressBar::hidden(),
        };
        let template = "{prefix} {human_pos}/{human_len} |{wide_bar}| {percent}% \
                        [{elapsed_precise}<{eta_precise}] {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        bar.set_prefix(name);
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}
