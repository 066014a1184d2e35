//! Metrics that first show in the middle of a test, as those of a fresh server do.

use pinfire_scrape::Levels;

use super::{Evidence, LevelSample};

impl Evidence {
    /// With what shows late set to nothing in the samples before, as far as the page could be read
    /// then.
    pub(super) fn with_late_series(&self) -> Self {
        let mut evidence = self.clone();
        let mut samples: Vec<&mut LevelSample> = evidence
            .before
            .iter_mut()
            .chain(&mut evidence.between)
            .chain(evidence.waves.iter_mut().flat_map(|wave| &mut wave.samples))
            .collect();
        samples.sort_by_key(|sample| sample.at);
        type Field = fn(&mut Levels) -> &mut Option<f64>;
        let fields: [Field; 4] = [
            |levels| &mut levels.running,
            |levels| &mut levels.waiting,
            |levels| &mut levels.in_flight,
            |levels| &mut levels.kv_used,
        ];
        for field in fields {
            let shows = |sample: &mut &mut LevelSample| {
                sample
                    .levels
                    .as_mut()
                    .is_some_and(|levels| field(levels).is_some())
            };
            let Some(first) = samples.iter_mut().position(shows) else {
                continue;
            };
            for levels in samples
                .iter_mut()
                .take(first)
                .filter_map(|sample| sample.levels.as_mut())
            {
                *field(levels) = Some(0.0);
            }
        }
        evidence
    }
}
