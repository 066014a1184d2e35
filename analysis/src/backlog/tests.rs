//! Records through the backlog: in memory, in files, and where these fail.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use pinfire_base::clock::Span;
use pinfire_base::record::{
    Capture, Correlation, Failure, Keep, Label, MarkKind, Outcome, Quirks, Record, Stage, Unreached,
};
use tempfile::tempdir;

use super::*;
use crate::collector::Collector;
use crate::testing::{RecordParts, Words, ms};
use crate::tests::{end, entries, facts};

/// Records of all kinds, in turn, with everything that a record may have.
fn records(count: u64) -> Vec<Record> {
    (0..count).map(record).collect()
}

fn record(n: u64) -> Record {
    let address = SocketAddr::from(([127, 0, 0, 1], 8_000));
    let parts = RecordParts::streamed(n % 60);
    let start = n as f64;
    let words = |parts: RecordParts| {
        let parts = parts.sent(start, start + 0.25, start + 0.5);
        let parts = parts.mark(start + 1.0, MarkKind::Empty, "");
        parts.words(&[start + 2.0, start + 3.5], &["one", " two, «three» \\n"])
    };
    let failed = |failure| RecordParts::streamed(n % 60).outcome(Outcome::Failed(failure));
    let mut record = match n % 10 {
        0 => return words(parts).cancelled(5.0, n % 90, Stage::Streaming),
        1 => words(parts).body(b"{\"a history\": 1}").end(start + 9.0),
        2 => words(parts).warmup().end(start + 9.0),
        3 => failed(Failure::Connect { errno: 111 }).end(start + 1.0),
        4 => failed(Failure::Framing {
            offset: n,
            cause: if n % 20 == 4 { "a cause" } else { "another" },
        })
        .end(start + 1.0),
        5 => failed(Failure::Tls {
            reason: "an alert".into(),
        })
        .end(start + 1.0),
        6 => failed(Failure::Timeout {
            stage: Stage::Sending,
        })
        .end(start + 1.0),
        7 => words(parts).outcome(Outcome::Dropped).end(start + 4.0),
        8 => words(parts)
            .mark(start + 4.0, MarkKind::Data, &"x".repeat(n as usize % 5_000))
            .end(start + 9.0),
        _ => words(parts).status(500).end(start + 9.0),
    };
    record.index = n;
    record.core = (n % 3) as u16;
    record.wire.rested = Span::from_millis(n);
    if n % 4 == 1 {
        record.correlation = Correlation::User(n);
        record.wire.quirks.add(Quirks::BARE_JSON);
        record.label = Some(Box::new(Label::instead(b"\xff\x00 what is this")));
        record.unreached = Some(Box::new(Unreached {
            refusals: vec![(address, 111)],
        }));
        let mut capture = Capture::of(Keep::Bytes).unwrap();
        capture.request_head = b"POST / HTTP/1.1\r\n\r\n".to_vec();
        capture.wrote(ms(start), 100);
        capture.read(ms(start + 1.0), b"\x00\xffbytes");
        capture.local = Some(address);
        record.capture = Some(capture);
    }
    record
}

/// A backlog with all of these in it, and nothing taken.
fn filled(folder: &Path, in_memory: u64, records: &[Record]) -> Backlog {
    let (mut feed, waiting) = backlog(folder.to_owned(), in_memory);
    for (n, record) in records.iter().enumerate() {
        feed.push(record.clone()).unwrap();
        if n % 7 == 0 {
            feed.settle().unwrap();
        }
    }
    feed.finish().unwrap();
    waiting
}

/// Everything that is in it; what is lost, as errors.
fn drained(mut waiting: Backlog) -> (Vec<Record>, Vec<String>) {
    let (mut records, mut errors) = (Vec::new(), Vec::new());
    while !waiting.has_ended() {
        match waiting.take() {
            Ok(record) => records.extend(record),
            Err(error) => errors.push(error.to_string()),
        }
    }
    assert_eq!(waiting.amount().records(), 0);
    assert_eq!(waiting.amount().bytes(), 0);
    (records, errors)
}

#[test]
fn records_come_out_as_they_went_in() {
    let folder = tempdir().unwrap();
    let records = records(3_000);
    for (in_memory, in_files) in [(0, true), (5_000, true), (200_000, true), (1 << 30, false)] {
        let waiting = filled(folder.path(), in_memory, &records);
        let amount = waiting.amount();
        assert_eq!(amount.records(), 3_000);
        assert_eq!(amount.in_files() > 0, in_files, "{in_memory}");
        assert!(amount.most_bytes() <= in_memory, "{}", amount.most_bytes());
        let (out, errors) = drained(waiting);
        assert!(out == records, "{in_memory}");
        assert!(errors.is_empty());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_is_taken_meanwhile_makes_room_and_keeps_its_order() {
    let folder = tempdir().unwrap();
    let records = records(5_000);
    let (mut feed, mut waiting) = backlog(folder.path().to_owned(), 20_000);
    let mut out = Vec::new();
    for (n, record) in records.iter().enumerate() {
        feed.push(record.clone()).unwrap();
        // In turn it is slower, and faster, than what comes.
        let takes = if n / 500 % 2 == 0 { 0 } else { 3 };
        if takes > 0 {
            feed.settle().unwrap();
        }
        for _ in 0..takes {
            out.extend(waiting.take().unwrap());
        }
    }
    let amount = waiting.amount();
    assert!(amount.in_files() > 0 && amount.in_files() < 5_000);
    // While nothing more comes, nothing stays behind.
    for _ in 0..records.len() {
        feed.settle().unwrap();
        out.extend(waiting.take().unwrap());
    }
    assert!(out == records);
    feed.finish().unwrap();
    assert!(waiting.take().unwrap().is_none() && waiting.has_ended());
}

#[test]
fn what_no_file_takes_waits_in_memory() {
    let folder = tempdir().unwrap();
    let records = records(1_000);
    let gone = folder.path().join("removed");
    let (mut feed, waiting) = backlog(gone, 5_000);
    let said = records.iter().filter_map(|record| {
        let pushed = feed.push(record.clone());
        pushed.err().map(|error| error.to_string())
    });
    let said: Vec<String> = said.collect();
    assert_eq!(said.len(), 1, "it is said once");
    assert!(said[0].contains("removed") && said[0].contains("No such file"));
    feed.finish().unwrap();
    assert_eq!(waiting.amount().in_files(), 0);
    let (out, errors) = drained(waiting);
    assert!(out == records && errors.is_empty());
}

#[test]
fn what_cannot_be_read_back_is_an_error_and_the_rest_goes_on() {
    type Damage = fn(&Stored);
    let flipped: Damage = |stored| stored.file.write_all_at(b"\xff", stored.at + 9).unwrap();
    let cut: Damage = |stored| stored.file.set_len(stored.at + 9).unwrap();
    for (damage, word) in [
        (flipped, "not as it was written"),
        (cut, "fill whole buffer"),
    ] {
        let folder = tempdir().unwrap();
        let (mut feed, mut waiting) = backlog(folder.path().to_owned(), 0);
        let records = records(400);
        for record in &records {
            feed.push(record.clone()).unwrap();
        }
        feed.finish().unwrap();
        // The last block that is there.
        let mut batches: Vec<Batch> = waiting.take.try_iter().collect();
        let Some(Batch::Stored(last)) = batches.pop() else {
            panic!("with no room in memory all blocks are in the file");
        };
        damage(&last);
        let lost = last.records;
        assert!(lost > 0);
        batches.push(Batch::Stored(last));
        let (give, take) = channel();
        batches
            .into_iter()
            .for_each(|batch| give.send(batch).unwrap());
        drop(give);
        waiting.take = take;
        let (out, errors) = drained(waiting);
        assert!(out == records[..records.len() - lost as usize]);
        assert_eq!(errors.len(), 1);
        let said = &errors[0];
        assert!(said.contains(word), "{said}");
        assert!(said.contains(&format!("{lost} records are lost")), "{said}");
    }
}

#[test]
fn the_report_is_that_of_records_that_never_were_in_a_file() {
    let records = records(3_000);
    let made = |in_memory| {
        let folder = tempdir().unwrap();
        let mut facts = facts(folder.path());
        facts.exact_records = 500;
        let lines = folder.path().join("lines.jsonl");
        let counter: Arc<dyn pinfire_base::tokens::TokenCounter> = Arc::new(Words);
        let collector = Collector::new(facts, entries(), Some(counter), Some(lines.clone()));
        let mut collector = collector.unwrap();
        let mut waiting = filled(folder.path(), in_memory, &records);
        let in_files = waiting.amount().in_files();
        while let Some(record) = waiting.take().unwrap() {
            collector.add(&record).unwrap();
        }
        let report = collector.finish(end(&records)).unwrap();
        let name = folder.path().to_string_lossy().into_owned();
        let json = String::from_utf8(report.json()).unwrap().replace(&name, "");
        (in_files > 0, json, fs::read(lines).unwrap())
    };
    let (in_files, json, lines) = made(5_000);
    assert!(in_files);
    assert!(made(1 << 30) == (false, json, lines));
}
