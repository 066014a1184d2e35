//! A fixed schedule: when each entry of a trace is sent.

use super::{Dataset, DatasetError};

/// Which part of a trace, and how fast.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FixedSpec {
    /// What was recorded earlier is left out, in milliseconds of the trace.
    pub start_ms: Option<u64>,
    /// What was recorded later is left out.
    pub end_ms: Option<u64>,
    /// The first timestamp becomes zero; without it the start offset does, or the trace's own zero.
    pub auto_offset: bool,
    /// Replay so many times as fast.
    pub speedup: f64,
}

impl FixedSpec {
    /// Whether a timestamp lies within the bounds, both inclusive.
    pub(super) fn holds(&self, timestamp_ms: f64) -> bool {
        self.start_ms
            .is_none_or(|start| timestamp_ms >= start as f64)
            && self.end_ms.is_none_or(|end| timestamp_ms <= end as f64)
    }

    /// Puts the entries in the order of their timestamps and counts those from the schedule's zero.
    ///
    /// # Errors
    /// An entry has no timestamp.
    pub fn apply(&self, dataset: &mut Dataset) -> Result<(), DatasetError> {
        let mut times = Vec::with_capacity(dataset.entries.len());
        for entry in &dataset.entries {
            let time = entry
                .timestamp_ms
                .ok_or_else(|| DatasetError::NoTimestamp {
                    session: entry.session_id.clone(),
                })?;
            times.push(time);
        }
        let first = times.iter().copied().fold(f64::INFINITY, f64::min);
        let zero = if self.auto_offset {
            first
        } else {
            self.start_ms.unwrap_or(0) as f64
        };
        for (entry, time) in dataset.entries.iter_mut().zip(times) {
            entry.timestamp_ms = Some((time - zero) / self.speedup);
        }
        dataset.entries.sort_by(|a, b| {
            let (a, b) = (a.timestamp_ms, b.timestamp_ms);
            a.unwrap_or(0.0).total_cmp(&b.unwrap_or(0.0))
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Entry, Source};

    fn dataset(times: &[Option<f64>]) -> Dataset {
        let entry = |(n, timestamp_ms): (usize, &Option<f64>)| Entry {
            session_id: format!("s{n}"),
            body: b"{}".to_vec(),
            isl: None,
            osl: None,
            timestamp_ms: *timestamp_ms,
        };
        Dataset {
            entries: times.iter().enumerate().map(entry).collect(),
            source: Source::MooncakeTrace,
            warnings: Vec::new(),
        }
    }

    const SPEC: FixedSpec = FixedSpec {
        start_ms: None,
        end_ms: None,
        auto_offset: true,
        speedup: 1.0,
    };

    #[test]
    fn order_zero_and_speed() {
        let mut set = dataset(&[Some(3_000.0), Some(1_000.0), Some(1_000.0)]);
        let spec = FixedSpec {
            speedup: 5.0,
            ..SPEC
        };
        spec.apply(&mut set).unwrap();
        let seen: Vec<_> = set
            .entries
            .iter()
            .map(|e| (e.session_id.as_str(), e.timestamp_ms.unwrap()))
            .collect();
        assert_eq!(seen, [("s1", 0.0), ("s2", 0.0), ("s0", 400.0)]);
    }

    #[test]
    fn a_start_offset_is_the_zero() {
        let spec = FixedSpec {
            start_ms: Some(500),
            end_ms: Some(1_500),
            auto_offset: false,
            ..SPEC
        };
        assert!(spec.holds(500.0) && spec.holds(1_500.0));
        assert!(!spec.holds(499.9) && !spec.holds(1_500.1));
        let mut set = dataset(&[Some(800.0)]);
        spec.apply(&mut set).unwrap();
        assert_eq!(set.entries[0].timestamp_ms, Some(300.0));
    }

    #[test]
    fn an_entry_without_time_is_named() {
        let error = SPEC.apply(&mut dataset(&[Some(1.0), None])).unwrap_err();
        assert!(error.to_string().contains("s1"), "{error}");
    }
}
