//! Bodies whose prompt is put in when they are sent: written with a mark in the prompt's place.

use std::ops::Range;
use std::sync::Arc;

use memchr::memmem;
use pinfire_base::rope::{Insert, Rope};
use pinfire_dialect::ask::Content;
use serde_json::{Map, Value};

use super::super::{Splice, Turn};
use super::slices::Escaped;

/// Stands for the prompt in a body. Drawn once, so that nothing else in a body is the same.
const MARK: &str = "pinfire-prompt-9c41f0a27be5d3684f1e07a95db2c863";

/// The text of the mark as a turn's content.
pub(super) fn marked() -> Content {
    Content::text(MARK.to_owned())
}

/// What the prompts of a trace are slices of.
pub(super) struct Pool {
    escaped: Escaped,
    bytes: Arc<[u8]>,
}

impl Pool {
    pub(super) fn new(text: &str) -> Self {
        let mut escaped = Escaped::new(text);
        let bytes = std::mem::take(&mut escaped.bytes).into();
        Self { escaped, bytes }
    }

    /// The turn with these slices of the text instead of its mark.
    pub(super) fn fill(&self, turn: Turn, text: &[Range<usize>]) -> Turn {
        let slices: Vec<Range<usize>> =
            text.iter().map(|range| self.escaped.range(range)).collect();
        let length: usize = slices.iter().map(Range::len).sum();
        let marks: Vec<usize> = memmem::find_iter(&turn.body, MARK).collect();
        let mut body = Vec::with_capacity(turn.body.len());
        let mut inserts = Vec::with_capacity(marks.len() * slices.len());
        let mut used = 0;
        for &mark in &marks {
            body.extend_from_slice(&turn.body[used..mark]);
            used = mark + MARK.len();
            inserts.extend(slices.iter().map(|slice| Insert {
                at: body.len() as u32,
                len: slice.len() as u32,
                start: slice.start as u64,
            }));
        }
        body.extend_from_slice(&turn.body[used..]);
        let moved = |at: usize| {
            let before = marks.partition_point(|mark| *mark < at);
            at + before * length - before * MARK.len()
        };
        let history = turn.history.map(|splice| Splice {
            at: moved(splice.at),
            own: moved(splice.own.start)..moved(splice.own.end),
        });
        Turn {
            rope: Some(Rope::new(Arc::clone(&self.bytes), body.len(), inserts)),
            body,
            history,
            ..turn
        }
    }
}

/// Whether `written` turns carry a text as a plain JSON string, so that a text can take the place
/// of the mark; a template may do anything with it.
pub(super) fn fits<E>(written: impl Fn(Content) -> Result<Turn, E>) -> Result<bool, E> {
    const PROBE: &str = "a \"b\" \\ c\n<|d|>";
    let pool = Pool::new(PROBE);
    let filled = pool.fill(written(marked())?, std::slice::from_ref(&(0..PROBE.len())));
    let plain = written(Content::text(PROBE.to_owned()))?;
    let same = *filled.whole() == *plain.body && filled.history == plain.history;
    Ok(same && serde_json::from_slice::<Map<String, Value>>(&plain.body).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(body: String, history: Option<Splice>) -> Turn {
        Turn {
            body: body.into_bytes(),
            rope: None,
            isl: None,
            osl: None,
            delay: None,
            timestamp: None,
            history,
        }
    }

    #[test]
    fn slices_take_the_place_of_every_mark_and_history_moves_along() {
        let pool = Pool::new("say \"no\" more");
        let body = format!(r#"{{"m":["{MARK}"],"again":"{MARK}"}}"#);
        let end = 7 + MARK.len();
        let splice = Splice { at: 6, own: 6..end };
        let filled = pool.fill(turn(body, Some(splice)), &[4..8, 0..3]);
        let whole = String::from_utf8(filled.whole().into_owned()).unwrap();
        assert_eq!(whole, r#"{"m":["\"no\"say"],"again":"\"no\"say"}"#);
        let splice = filled.history.unwrap();
        assert_eq!(
            &whole[splice.own],
            r#""\"no\"say""#.strip_suffix('"').unwrap()
        );
        assert_eq!(splice.at, 6);
    }

    #[test]
    fn a_text_that_is_written_otherwise_does_not_fit() {
        let plain = |content: Content| {
            let Content::TurnContent(said) = content else {
                return Err(());
            };
            let text: Value = said.all_texts().next().unwrap_or_default().into();
            Ok(turn(format!(r#"{{"prompt":{text}}}"#), None))
        };
        assert_eq!(fits(plain), Ok(true));
        let nested = |content| {
            let inner = String::from_utf8(plain(content)?.body).unwrap();
            Ok::<_, ()>(turn(format!(r#"{{"json":{}}}"#, Value::from(inner)), None))
        };
        assert_eq!(fits(nested), Ok(false));
    }
}
