//! Timestamps that look like seconds where they are read as milliseconds.

use std::path::Path;

use crate::text::Warning;

/// The mean gap in milliseconds below which a recording is more likely one of seconds: 100 requests
/// a second on average, for as long as it lasts.
const SHORTEST_GAP: f64 = 10.0;

/// What is to be said of these timestamps, if they look like seconds; `change` says how they become
/// milliseconds.
pub(super) fn warning(
    path: &Path,
    stamps: impl IntoIterator<Item = f64>,
    change: &str,
) -> Option<Warning> {
    let (mut count, mut least, mut most) = (0_usize, f64::INFINITY, f64::NEG_INFINITY);
    for stamp in stamps {
        count += 1;
        least = least.min(stamp);
        most = most.max(stamp);
    }
    let span = most - least;
    // All at one instant is a burst, whatever the unit.
    if count < 2 || span <= 0.0 || span / (count - 1) as f64 >= SHORTEST_GAP {
        return None;
    }
    // Without the noise of fractions of large numbers.
    let span = (span * 1e3).round() / 1e3;
    Some(Warning(format!(
        "{}: the timestamps look like seconds, but are read as milliseconds: {count} requests are \
         sent within {span} ms; if they are seconds, {change}",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_seconds() {
        for (stamps, expected) in [
            (&[0.0, 0.2][..], Some("2 requests are sent within 0.2 ms")),
            (&[0.0, 0.5, 1.25, 7.0], Some("within 7 ms")),
            (&[3.0, 1.0, 2.0, 0.0], Some("within 3 ms")),
            (
                &[1_700_000_000.1, 1_700_000_000.4, 1_700_000_003.0],
                Some("within 2.9 ms"),
            ),
            // Milliseconds of published traces, and bursts among them.
            (&[0.0, 0.0, 0.0, 3_000.0, 3_000.0], None),
            (&[27_482.0, 30_535.0], None),
            (&[0.0, 12.5, 30.25], None),
            // Nothing to tell from.
            (&[0.0, 0.0, 0.0], None),
            (&[0.3], None),
            (&[], None),
        ] {
            let found = warning(Path::new("t.jsonl"), stamps.iter().copied(), "change it");
            match (&found, expected) {
                (Some(Warning(text)), Some(words)) => {
                    assert!(
                        text.contains(words) && text.ends_with("change it"),
                        "{text}"
                    );
                }
                (None, None) => {}
                _ => panic!("{stamps:?}: {found:?}"),
            }
        }
    }
}
