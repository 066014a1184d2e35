//! What a person sees while the program works: one bar at a time, or nothing.

use std::{borrow::Cow, sync::OnceLock, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Where a bar over many runs stays below the bars of each.
static WHOLE: OnceLock<MultiProgress> = OnceLock::new();

/// Does something to the terminal while no bar is in the way.
pub fn aside<T>(deed: impl FnOnce() -> T) -> T {
    match WHOLE.get() {
        Some(bars) => bars.suspend(deed),
        None => deed(),
    }
}

/// How progress is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ui {
    /// A bar on stderr.
    Simple,
    /// Nothing.
    None,
}

impl Ui {
    /// A bar over everything that is to come, which stays below the others.
    pub fn whole(self, name: &'static str, total: u64) -> ProgressBar {
        if self == Self::Simple {
            WHOLE.get_or_init(MultiProgress::new);
        }
        self.bar(name, total)
    }

    /// A bar for `total` things; hidden without a UI.
    pub fn bar(self, name: impl Into<Cow<'static, str>>, total: u64) -> ProgressBar {
        let bar = match self {
            Self::Simple => match WHOLE.get() {
                Some(bars) => bars.insert(0, ProgressBar::new(total)),
                None => ProgressBar::new(total),
            },
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
