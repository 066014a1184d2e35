//! The engine between the runs of a sweep: its threads and runtimes stay, nothing else does.

use std::time::Duration;

use pinfire_engine::{plan::EngineSetup, report::EngineError, run::Engine};

/// Closing every connection takes no longer; an engine that needs more is made anew.
const PATIENCE: Duration = Duration::from_secs(5);

/// The engine of the run before, if it can be used again.
#[derive(Default)]
pub struct ReusedEngine(Option<(EngineSetup, Engine)>);

impl ReusedEngine {
    /// The engine that was given back, or a new one where that was set up in another way.
    ///
    /// # Errors
    /// A new one cannot start.
    pub fn take(&mut self, setup: &EngineSetup) -> Result<Engine, EngineError> {
        match self.0.take() {
            // Records that nobody took are another run's.
            Some((of, mut engine)) if of == *setup && engine.records().is_empty() => {
                engine.pair_clocks();
                Ok(engine)
            }
            other => {
                // Before its successor is pinned to the same CPUs.
                drop(other);
                Engine::start(setup)
            }
        }
    }

    /// Takes the engine of a run that has ended; all its connections are closed.
    pub fn give_back(&mut self, setup: &EngineSetup, mut engine: Engine) {
        if engine.rest(PATIENCE) {
            self.0 = Some((setup.clone(), engine));
        }
    }
}
