//! What is measured, one file each.

mod analysis;
mod cancel;
mod cpu;
mod instant;
mod memory;
mod proto;
mod rate;
mod start;
mod timer;
mod tls;
mod ttft;
mod wave;

use anyhow::Result;
use clap::ValueEnum;

use crate::{board::Board, scene::Scene};

/// A part of the table.
#[derive(Clone, Copy, ValueEnum)]
pub enum Section {
    /// CPU per event against the floor
    Cpu,
    /// instant one-token answers against wrk
    Instant,
    /// error of the TTFT against the server's log
    Ttft,
    /// error of cancels: the client's, on the wire, the server's
    Cancel,
    /// a wave of 1,000 cancels, and cancels at the first token
    Wave,
    /// instructions per event of the protocol core
    Proto,
    /// lateness of the timers
    Timer,
    /// from exec to the first request
    Start,
    /// resident memory per idle stream
    Memory,
    /// sends of an open loop against their schedule
    Rate,
    /// TLS beside clear text
    Tls,
    /// records per second of the analysis side
    Analysis,
}

impl Section {
    /// Its heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Cpu => cpu::TITLE,
            Self::Instant => instant::TITLE,
            Self::Ttft => ttft::TITLE,
            Self::Cancel => cancel::TITLE,
            Self::Wave => wave::TITLE,
            Self::Proto => proto::TITLE,
            Self::Timer => timer::TITLE,
            Self::Start => start::TITLE,
            Self::Memory => memory::TITLE,
            Self::Rate => rate::TITLE,
            Self::Tls => tls::TITLE,
            Self::Analysis => analysis::TITLE,
        }
    }

    /// Measures it.
    pub fn measure(self, scene: &Scene, board: &mut Board) -> Result<()> {
        match self {
            Self::Cpu => cpu::measure(scene, board),
            Self::Instant => instant::measure(scene, board),
            Self::Ttft => ttft::measure(scene, board),
            Self::Cancel => cancel::measure(scene, board),
            Self::Wave => wave::measure(scene, board),
            Self::Proto => proto::measure(scene, board),
            Self::Timer => timer::measure(scene, board),
            Self::Start => start::measure(scene, board),
            Self::Memory => memory::measure(scene, board),
            Self::Rate => rate::measure(scene, board),
            Self::Tls => tls::measure(scene, board),
            Self::Analysis => analysis::measure(scene, board),
        }
    }
}
