//! `--ui dashboard`: the run as it goes on, on the whole terminal.
//!
//! A thread of its own draws, at the lowest priority and off the engine's CPUs. It reads the board
//! and what the system says of the process; it never speaks to an engine core.

mod draw;
pub mod terminal;
mod usage;

use std::{
    collections::VecDeque,
    io::{IsTerminal, Stdout},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Result;
use pinfire_base::{
    clock::{Span, Stamp},
    threads,
};
use ratatui::{Terminal, TerminalOptions, Viewport, backend::CrosstermBackend, layout::Rect};

use self::{draw::View, usage::Looker};
use crate::{
    run::cpus,
    terminal::{
        progress::{Board, lock},
        say,
    },
};

/// Between two pictures.
const FRAME: Duration = Duration::from_millis(250);
/// Looks whether it is to end within a frame.
const LOOKS: u32 = 10;
/// A run that is over by then is not worth another screen.
const PATIENCE: Span = Span::from_millis(300);
/// Points of the curve of throughput, one a second.
const HISTORY: usize = 240;

/// Whether a whole terminal is there to draw on.
pub fn possible() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    std::io::stdout().is_terminal() && !dumb
}

/// The screen while it is up.
pub struct Screen {
    ends: Arc<AtomicBool>,
    /// Held while a picture is drawn, so that none comes after the terminal was given back.
    drawing: Arc<Mutex<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Screen {
    /// Begins to draw. `title` tells of the run, `cpus` are those that the thread keeps to.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(title: String, board: Arc<Board>, cpus: Vec<usize>) -> Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let drawing = Arc::new(Mutex::new(()));
        let (until, held) = (Arc::clone(&ends), Arc::clone(&drawing));
        let thread = threads::start("pinfire-screen", move || {
            cpus::stay_on(&cpus);
            cpus::yield_to_others();
            if let Err(error) = show(&title, &board, &until, &held) {
                terminal::give_back();
                say::warning(format_args!("--ui dashboard: {error:#}; going on without"));
            }
        })?;
        Ok(Self {
            ends,
            drawing,
            thread: Some(thread),
        })
    }

    /// Gives the terminal back; nothing is drawn after this.
    pub fn close(&self) {
        self.ends.store(true, Ordering::Relaxed);
        let _between_pictures = lock(&self.drawing);
        terminal::give_back();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
        if let Some(thread) = self.thread.take() {
            // A panic of it has been reported by itself.
            let _ = thread.join();
        }
    }
}

fn show(title: &str, board: &Board, ends: &AtomicBool, drawing: &Mutex<()>) -> Result<()> {
    let begun = Stamp::now();
    let over = || ends.load(Ordering::Relaxed);
    while Stamp::now().since(begun) < PATIENCE {
        if over() {
            return Ok(());
        }
        std::thread::sleep(FRAME / LOOKS);
    }
    {
        let _alone = lock(drawing);
        if over() {
            return Ok(());
        }
        terminal::take()?;
    }
    let mut size = size();
    let viewport = Viewport::Fixed(size);
    let mut terminal: Terminal<CrosstermBackend<Stdout>> = Terminal::with_options(
        CrosstermBackend::new(std::io::stdout()),
        TerminalOptions { viewport },
    )?;
    let mut looker = Looker::default();
    let mut usage = None;
    let mut answered = VecDeque::new();
    let mut second = Stamp::now();
    loop {
        let now = Stamp::now();
        if now.since(second) >= Span::from_millis(1_000) {
            second = now;
            usage = looker.look(now).or(usage);
            let rate = board.figures().map_or(0.0, |figures| {
                figures.last.per_second(figures.last.answered)
            });
            answered.push_back(rate.round() as u64);
            if answered.len() > HISTORY {
                answered.pop_front();
            }
        }
        let view = View {
            title,
            stage: board.stage(),
            figures: board.figures(),
            backlog: board.backlog(),
            usage: usage.as_ref(),
            answered: answered.make_contiguous(),
            messages: say::waiting(3),
            now,
        };
        {
            let _alone = lock(drawing);
            if over() || !terminal::is_taken() {
                return Ok(());
            }
            let is = self::size();
            if is != size {
                size = is;
                terminal.resize(size)?;
            }
            terminal.draw(|frame| draw::draw(frame, &view))?;
        }
        for _ in 0..LOOKS {
            if over() {
                return Ok(());
            }
            std::thread::sleep(FRAME / LOOKS);
        }
    }
}

/// The terminal's size, at least one cell.
fn size() -> Rect {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    let (columns, rows) = size.map_or((0, 0), |size| (size.ws_col, size.ws_row));
    // A terminal that does not say is taken for the usual one.
    if columns == 0 || rows == 0 {
        return Rect::new(0, 0, 80, 24);
    }
    Rect::new(0, 0, columns, rows)
}
