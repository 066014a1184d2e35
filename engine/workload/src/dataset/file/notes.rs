//! What is noted of a file while it is read: not wrong, but for the user to know.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::fault::{Fault, NAMES, object};
use super::pieces::Piece;

/// The row that a piece is; `None`, with a note, for one that has nothing to send: `null`, or
/// nothing but `null` in the fields of its content.
pub(super) fn content_row(
    piece: &Piece,
    content: &[&str],
    notes: &mut Notes,
) -> Result<Option<Map<String, Value>>, Fault> {
    if piece.bytes == b"null" {
        return notes.skip("line", "is null");
    }
    let object = object(&piece.bytes)?;
    let mut given = content.iter().filter(|field| object.contains_key(**field));
    match given.clone().next() {
        Some(first) if given.all(|field| object[*field].is_null()) => notes.skip(*first, "is null"),
        _ => Ok(Some(object)),
    }
}

/// What a format tells the user besides faults.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Fields that the format does not have.
    pub(super) unknown: BTreeSet<String>,
    /// Roles that OpenAI's API does not have.
    pub(super) roles: BTreeSet<String>,
    /// Turns of the assistant that are sent as requests.
    pub(super) assistant: usize,
    /// Pieces that the format's rules leave out.
    pub(super) left_out: usize,
    /// Conversations cut to their first turn, because the endpoint has none of several.
    pub(super) cut: usize,
    /// Names in conversations that are no side's; what they say is left out.
    pub(super) strangers: BTreeSet<String>,
    /// Why a piece has nothing to send.
    pub(super) empty: Option<Fault>,
}

impl Notes {
    pub(super) fn add(&mut self, other: Self) {
        // No more than a message shows, and one to tell that there are more.
        let room = |names: &BTreeSet<String>| (NAMES + 1).saturating_sub(names.len());
        let (unknown, roles) = (room(&self.unknown), room(&self.roles));
        let strangers = room(&self.strangers);
        self.strangers
            .extend(other.strangers.into_iter().take(strangers));
        self.unknown.extend(other.unknown.into_iter().take(unknown));
        self.roles.extend(other.roles.into_iter().take(roles));
        self.assistant += other.assistant;
        self.left_out += other.left_out;
        self.cut += other.cut;
    }

    /// Leaves a piece out that has nothing to send, and why.
    pub(super) fn skip<T>(
        &mut self,
        field: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<Option<T>, Fault> {
        self.empty = Some((field.into(), reason.into()));
        Ok(None)
    }
}
