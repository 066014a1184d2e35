//! What was left out of the metrics, by name and count: no page of any size holds up a run, and
//! nothing goes missing without a word.

use std::collections::HashMap;
use std::fmt;

/// Names that are kept apart; what goes by further ones is counted together.
const MAX_NAMES: usize = 1_000;
/// Names that are said.
const NAMES_SAID: usize = 5;
/// A longer name is cut where it is said.
const LONGEST: usize = 80;

/// Counts by name.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Dropped {
    names: Vec<(String, u64)>,
    places: HashMap<String, usize>,
    /// Of names that are too many to be kept.
    others: u64,
}

impl Dropped {
    /// Counts.
    pub fn add(&mut self, name: &str, count: u64) {
        match self.places.get(name) {
            Some(place) => {
                if let Some((_, known)) = self.names.get_mut(*place) {
                    *known += count;
                }
            }
            None if self.names.len() < MAX_NAMES => {
                self.places.insert(name.to_owned(), self.names.len());
                self.names.push((name.to_owned(), count));
            }
            None => self.others += count,
        }
    }

    /// Counts, if it is any.
    pub fn add_some(&mut self, name: &str, count: usize) {
        if count > 0 {
            self.add(name, count as u64);
        }
    }

    /// Counts all of another one too.
    pub fn add_all(&mut self, other: &Self) {
        for (name, count) in &other.names {
            self.add(name, *count);
        }
        self.others += other.others;
    }

    /// Of all names together.
    pub fn total(&self) -> u64 {
        self.names.iter().map(|(_, count)| count).sum::<u64>() + self.others
    }

    /// Whether nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// The names with their counts, in the order in which they came.
    pub fn names(&self) -> impl Iterator<Item = (&str, u64)> {
        self.names
            .iter()
            .map(|(name, count)| (name.as_str(), *count))
    }
}

impl fmt::Display for Dropped {
    /// `a (3), b (1)`, and how many there are besides.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, count)) in self.names().take(NAMES_SAID).enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            let short: String = name.chars().take(LONGEST).collect();
            let dots = if short.len() < name.len() { "…" } else { "" };
            write!(f, "{comma}{short}{dots} ({count})")?;
        }
        let said: u64 = self.names().take(NAMES_SAID).map(|(_, count)| count).sum();
        match self.total() - said {
            0 => Ok(()),
            rest => write!(f, " and others ({rest})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_by_name_and_stay_bounded() {
        let mut dropped = Dropped::default();
        assert!(dropped.is_empty() && dropped.to_string().is_empty());
        for nth in 0..10_000 {
            dropped.add(&format!("n{nth}"), 1);
            dropped.add("n0", 1);
        }
        assert_eq!(dropped.total(), 20_000);
        assert_eq!(dropped.names().next(), Some(("n0", 10_001)));
        let said = dropped.to_string();
        assert_eq!(
            said,
            "n0 (10001), n1 (1), n2 (1), n3 (1), n4 (1) and others (9995)"
        );
        let mut twice = dropped.clone();
        twice.add_all(&dropped);
        assert_eq!(twice.total(), 40_000);
    }
}
