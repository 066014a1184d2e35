//! Every single cut of the corpus, byte by byte, and bounded fuzzing from it.

use pinfire_base::{
    random::{Draws, Purpose},
    record::MarkKind,
};
use pinfire_proto::{
    Closed, Scan,
    fuzz::{End, SCANS, cuts_change_nothing, run, run_as},
};

use super::corpus;

#[test]
fn every_single_cut_and_byte_by_byte() {
    for (case, scan) in corpus::all()
        .iter()
        .flat_map(|case| SCANS.map(|scan| (case, scan)))
    {
        let name = format!("{} as {scan:?}", case.name);
        let whole = run_as(scan, &case.bytes, []);
        for cut in 0..=case.bytes.len() {
            let seen = run_as(scan, &case.bytes, [cut]);
            assert_eq!(seen, whole, "{name} cut at {cut}");
        }
        let seen = run_as(scan, &case.bytes, 1..case.bytes.len());
        assert_eq!(seen, whole, "{name}, byte by byte");
        // Empty reads in between change nothing either.
        let twice = (1..case.bytes.len()).flat_map(|at| [at, at]);
        let seen = run_as(scan, &case.bytes, twice);
        assert_eq!(seen, whole, "{name}, with empty reads");
    }
}

#[test]
fn events_of_other_dialects_are_kept_whole() {
    for case in corpus::all() {
        let dialect = ["responses", "messages", "generate"].contains(&case.name);
        let read = |kind: &MarkKind| matches!(kind, MarkKind::Content | MarkKind::Reasoning);
        for scan in SCANS {
            let seen = run_as(scan, &case.bytes, []);
            let any = seen.events.iter().any(|(kind, _)| read(kind));
            assert!(!(any && dialect), "{} as {scan:?}", case.name);
            // Of chat and completions only their own.
            let own = match case.name {
                "completions" => Scan::Completions,
                _ => Scan::Chat,
            };
            assert!(!any || scan == own, "{} as {scan:?}", case.name);
        }
    }
    let all = corpus::all();
    let completions = all.iter().find(|case| case.name == "completions").unwrap();
    let seen = run_as(Scan::Completions, &completions.bytes, []);
    assert_eq!(seen.events[0], (MarkKind::Content, b" word".to_vec()));
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
        MarkKind::Finish,
        MarkKind::Bare,
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
        let scan = draws.below(SCANS.len() as u64) as u8;
        data.push(scan << 5 | cuts as u8);
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
pub fn mutate(data: &mut Vec<u8>, from: usize, draws: &mut Draws) {
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
