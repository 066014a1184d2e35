//! How a phase goes on, for whoever waits for it: a bar, blocks of statistics, lines.

use indicatif::ProgressBar;
use pinfire_base::{
    clock::{Span, Stamp},
    health::Counts,
    record::Phase,
    shard::Shard,
};

use super::phases::Going;
use crate::{
    load::Mode,
    settings::Settings,
    terminal::{
        progress::{Board, Stage, Ui},
        say,
        status_block::Blocks,
    },
};

/// What is shown of one phase.
pub struct PhaseView<'a> {
    board: &'a Board,
    bar: ProgressBar,
    blocks: Blocks,
    phase: Phase,
    /// The phase at its begin.
    stage: Stage,
    traced: Stamp,
}

impl<'a> PhaseView<'a> {
    /// Begins to show it. `entries` are those of the dataset.
    /// `of_all` says that the counts will be those of all shards.
    pub fn new(
        settings: &Settings,
        going: &Going<'_>,
        entries: u64,
        board: &'a Board,
        of_all: bool,
    ) -> Self {
        let Going { plan, load, begun } = going;
        let name = match plan.phase {
            Phase::Warmup => "Warmup",
            Phase::Profiling => "Profiling",
        };
        let shard = match of_all {
            true => Shard::WHOLE,
            false => plan.schedule.shard,
        };
        let requests = match load.mode {
            _ if !shard.is_whole() => plan.schedule.own_requests(),
            Mode::FixedSchedule => Some(entries),
            _ => load.requests,
        };
        let whole = load.duration.unwrap_or(Span::ZERO).nanos();
        // The screen shows it otherwise.
        let ui = match settings.ui {
            Ui::Dashboard => Ui::None,
            ui => ui,
        };
        Self {
            board,
            bar: ui.bar(name, requests.unwrap_or(whole / 1_000_000)),
            blocks: Blocks::new(settings.stats, *begun),
            phase: plan.phase,
            stage: Stage {
                phase: plan.phase,
                name,
                begun: *begun,
                requests,
                duration: load.duration,
                concurrency: load.concurrency.map(|slots| shard.slots(slots)),
                counts: Counts::default(),
            },
            traced: *begun,
        }
    }

    /// Shows where it stands now.
    pub fn show(&mut self, counts: Counts) {
        let now = Stamp::now();
        let stage = Stage {
            counts,
            ..self.stage.clone()
        };
        if self.blocks.due(now)
            && let Some(figures) = self.board.figures().filter(|of| of.phase == self.phase)
            && let Some(block) = self.blocks.next(&stage, &figures, now)
        {
            self.bar.suspend(|| say::line(block));
        }
        self.bar.set_message(format!(
            "in flight {} failed {} cancelled {}",
            stage.in_flight(),
            stage.counts.failed,
            stage.counts.cancelled
        ));
        if say::says(say::Level::Trace) && now.since(self.traced) >= Span::from_millis(1_000) {
            self.traced = now;
            self.bar.suspend(|| say::trace(in_words(&stage, now)));
        }
        self.bar.set_position(match stage.requests {
            Some(_) => stage.counts.finished + stage.counts.failed + stage.counts.cancelled,
            None => now.since(stage.begun).nanos() / 1_000_000,
        });
        self.board.set_stage(stage);
    }

    /// Takes the bar away, and says where the phase has got to.
    pub fn close(self, counts: Counts) {
        self.bar.finish_and_clear();
        let stage = Stage {
            counts,
            ..self.stage
        };
        say::debug(in_words(&stage, Stamp::now()));
        self.board.set_stage(stage);
    }
}

/// Where a phase is, in words.
fn in_words(stage: &Stage, now: Stamp) -> String {
    let counts = &stage.counts;
    format!(
        "{} after {:.1} s: begun {}, answered {}, failed {}, cancelled {}, dropped {}, in flight {}",
        stage.name.to_lowercase(),
        now.since(stage.begun).as_secs_f64(),
        counts.due,
        counts.finished,
        counts.failed,
        counts.cancelled,
        counts.dropped,
        stage.in_flight()
    )
}
