//! Texts of a fixed set, which are the program's own also after they were written down and read.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Deserializer};

/// One of a fixed set of texts. By this name `serde` does not take it for a borrow of its input.
pub(super) type Text = &'static str;

/// Reads a text of the set. Each is kept once, for as long as the program runs; the set is small.
pub(super) fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Text, D::Error> {
    static KNOWN: Mutex<BTreeSet<Text>> = Mutex::new(BTreeSet::new());
    let text = String::deserialize(input)?;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = known.get(text.as_str()) {
        return Ok(text);
    }
    let text: Text = Box::leak(text.into_boxed_str());
    known.insert(text);
    Ok(text)
}
