//! Every single cut of the corpus, byte by byte, and bounded fuzzing from it.

use pinfire_engine::{
    proto::{
        Closed,
        fuzz::{End, cuts_change_nothing, run},
    },
    random::{Draws, Purpose},
    record::MarkKind,
};

use super::corpus;

#[test]
fn every_single_cut_and_byte_by_byte() {
    for case in corpus::all() {
        let whole = run(&case.bytes, []);
        for cut in 0..=case.bytes.len() {
            assert_eq!(run(&case.bytes, [cut]), whole, "{} cut at {cut}", case.name);
        }
        assert_eq!(
            run(&case.bytes, 1..case.bytes.len()),
            whole,
            "{}, byte by byte",
            case.name
        );
        // Empty reads in between change nothing either.
        let twice = (1..case.bytes.len()).flat_map(|at| [at, at]);
        assert_eq!(
            run(&case.bytes, twice),
            whole,
            "{}, with empty reads",
            case.name
        );
    }
}

#[test]
fn the_corpus_reaches_every_end() {
    let seen: Vec<_> = corpus::all()
        .iter()
        .map(|case| run(&case.bytes, []))
        .collect();
    let count = |wanted: &dyn Fn(&End) -> bool| {
        let ends = seen.iter().filter_map(|seen| seen.end?.ok());
        ends.filter(|end| wanted(end)).count()
    };
    assert!(count(&|end| *end == End::Complete) >= 10);
    for closed in [
        Closed::Complete,
        Closed::Nothing,
        Closed::InHead,
        Closed::InBody,
    ] {
        assert!(count(&|end| *end == End::Close(closed)) >= 1, "{closed:?}");
    }
    assert!(
        seen.iter()
            .filter(|seen| matches!(seen.end, Some(Err(_))))
            .count()
            >= 8
    );
    let kinds: Vec<MarkKind> = seen.iter().flat_map(|s| &s.events).map(|e| e.0).collect();
    for kind in [
        MarkKind::Content,
        MarkKind::Reasoning,
        MarkKind::Empty,
        MarkKind::Done,
        MarkKind::Data,
        MarkKind::ErrorEvent,
        MarkKind::Body,
    ] {
        assert!(kinds.contains(&kind), "no case gives {kind:?}");
    }
}

#[test]
fn two_hundred_thousand_mutations() {
    let corpus = corpus::all();
    let purpose = Purpose::new(1, "tests.laws.mutations");
    let mut data = Vec::new();
    for number in 0..200_000 {
        let mut draws = purpose.at(number);
        let case = &corpus[draws.below(corpus.len() as u64) as usize];
        let cuts = draws.below(32) as usize;
        data.clear();
        data.push(cuts as u8);
        data.extend((0..cuts).map(|_| draws.below(48) as u8));
        let from = data.len();
        data.extend_from_slice(&case.bytes);
        for _ in 0..=draws.below(4) {
            mutate(&mut data, from, &mut draws);
        }
        let result = std::panic::catch_unwind(|| cuts_change_nothing(&data));
        assert!(
            result.is_ok(),
            "mutation {number} of {}: {:?}",
            case.name,
            data.escape_ascii().to_string()
        );
    }
}

/// Bytes that mean something to one of the decoders.
const MEAN: &[u8] = b"\r\n:; \t0159afF{}[]\",\\d\xef\xbb\xbf\x00\xff";

/// Changes, drops, doubles or moves a few bytes after `from`.
fn mutate(data: &mut Vec<u8>, from: usize, draws: &mut Draws) {
    let length = (data.len() - from) as u64;
    if length == 0 {
        return;
    }
    let at = from + draws.below(length) as usize;
    let mean = MEAN[draws.below(MEAN.len() as u64) as usize];
    match draws.below(7) {
        0 => data[at] = mean,
        1 => data[at] ^= 1 << draws.below(8),
        2 => data.insert(at, mean),
        3 => drop(data.remove(at)),
        4 => data.truncate(at),
        5 => {
            let end = (at + draws.below(24) as usize).min(data.len());
            let piece = data[at..end].to_vec();
            data.splice(at..at, piece);
        }
        _ => {
            let end = (at + draws.below(24) as usize).min(data.len());
            data.drain(at..end);
        }
    }
}
