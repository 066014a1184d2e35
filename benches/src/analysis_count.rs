//! What a record costs on the analysis side, part by part, on one thread: CPU time of the calling
//! thread, no sockets. Prints one JSON line.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use clap::Parser;
use pinfire_analysis::{
    Collector, EntryFacts, RunEnd, RunFacts,
    rebuild::{Counting, Rebuild},
};
use pinfire_base::tokens::TokenCounter;
use pinfire_base::{
    clock::{Span, Stamp, WallAnchor, thread_cpu_time},
    record::{Correlation, MarkKind, Outcome, Phase, Record, Times, Transcript, Wire},
    uuid::Uuid,
};
use pinfire_workload::text::{Wanted, resolve};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Records through the analysis.
#[derive(Parser)]
struct Args {
    /// Records to make.
    #[arg(long, default_value_t = 5_000)]
    records: u64,
    /// Content events of each.
    #[arg(long, default_value_t = 64)]
    events: u64,
    /// Each is one whole body of one word instead.
    #[arg(long)]
    whole: bool,
    /// A folder for the files.
    #[arg(long)]
    folder: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let wanted = Wanted {
        requested: Some("builtin"),
        model: "",
        revision: "main",
        chat_template: false,
    };
    let tokenizer = resolve(&wanted, &|_| {})?.tokenizer;
    let counter: Arc<dyn TokenCounter> = Arc::new(tokenizer);
    let records: Vec<Record> = (0..args.records).map(|n| record(n, &args)).collect();
    let entries: Arc<[EntryFacts]> = Arc::new([EntryFacts {
        session_id: "session_000000".to_owned(),
        turn: 0,
        isl: Some(100),
        requested_osl: Some(args.events as u32),
    }]);
    let mut facts = RunFacts::new("000000000000", "0", WallAnchor::take());
    facts.artifact_dir.clone_from(&args.folder);
    let lines = args.folder.join(&facts.files.jsonl);

    // Parsing: marks to content, text and verdict.
    let bare = Collector::new(facts.clone(), Arc::clone(&entries), None, None)?.reader();
    let parsing = timed(|| {
        for record in &records {
            std::hint::black_box(bare.read(record));
        }
        Ok(())
    })?;
    let mut collector = Collector::new(facts, entries, Some(counter), Some(lines))?;
    let reader = collector.reader();
    let mut read = Vec::with_capacity(records.len());
    let with_counts = timed(|| {
        read.extend(records.iter().map(|record| reader.read(record)));
        Ok(())
    })?;
    // Reducing: all rows of the table, the line, the columns.
    let reducing = timed(|| {
        for (record, (reading, tokens)) in records.iter().zip(&read) {
            collector.add_read(record, reading, *tokens)?;
        }
        collector.flush().context("the lines cannot be written")
    })?;
    let end = RunEnd::default();
    let mut report = None;
    let summing = timed(|| {
        report = Some(collector.finish(end)?);
        Ok(())
    })?;
    drop(report);
    // Reading the lines back. The pool's threads are not counted: there is one on one CPU.
    let again = timed(|| {
        let rebuild = Rebuild::open(&args.folder, "0")?;
        rebuild.run(Counting::AsTheRun(None), None, &|_| {})?;
        Ok(())
    })?;

    let per_second = |nanos: u64| args.records as f64 * 1e9 / nanos.max(1) as f64;
    println!(
        "{}",
        json!({
            "records": args.records,
            "events": args.events,
            "parsing": per_second(parsing),
            "tokenising": per_second(with_counts.saturating_sub(parsing)),
            "reducing": per_second(reducing),
            "summing": per_second(summing),
            "rebuilding": per_second(again),
            "all": per_second(with_counts + reducing + summing),
        })
    );
    Ok(())
}

/// CPU time of this thread.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let before = thread_cpu_time();
    work()?;
    Ok(thread_cpu_time().nanos() - before.nanos())
}

const WORDS: [&str; 8] = [
    " the", " of", " model", " answers", " with", " tokens", " and", " then",
];

const BODY: &[u8] = br#"{"id":"chatcmpl-0123456789abcdef","object":"chat.completion","created":1764590000,"model":"mock","choices":[{"index":0,"message":{"role":"assistant","content":" the"},"logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":108,"completion_tokens":1,"total_tokens":109}}"#;

/// An answer, streamed as one word per event, 5 ms apart after 20 ms, or whole.
fn record(index: u64, args: &Args) -> Record {
    let events = if args.whole { 0 } else { args.events };
    let start = Stamp::from_nanos(1_000_000_000 + index * 1_000_000);
    let mut transcript = Transcript::with_capacity(events as usize + 2, events as usize * 8 + 128);
    let mut at = start + Span::from_millis(20);
    for event in 0..events {
        at = at + Span::from_micros(5_000 + (index * 31 + event * 17) % 200);
        let word = WORDS[((index + event) % 8) as usize];
        transcript.push(at, MarkKind::Content, word.as_bytes());
    }
    let usage = br#"{"object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":108,"completion_tokens":64,"total_tokens":172}}"#;
    if args.whole {
        transcript.push(at, MarkKind::Body, BODY);
    } else {
        transcript.push(at, MarkKind::Data, usage);
        transcript.push(at, MarkKind::Done, b"");
    }
    let mut id = [0_u8; 16];
    id[..8].copy_from_slice(&index.to_be_bytes());
    Record {
        phase: Phase::Profiling,
        index,
        entry: 0,
        core: 0,
        request_id: Uuid(id),
        session: index,
        correlation: Correlation::Id(Uuid(id)),
        times: Times {
            scheduled: start,
            admitted: start,
            start,
            connected: None,
            secured: None,
            send_start: Some(start),
            written: Some(start + Span::from_micros(50)),
            head: Some(start + Span::from_millis(20)),
            body_first: Some(start + Span::from_millis(25)),
            body_last: Some(at),
            end: at,
        },
        outcome: Outcome::Complete,
        cancel: None,
        wire: Wire {
            status: 200,
            reused: true,
            event_stream: true,
            body_sent: 700,
            sends: 1,
            body_received: events * 130,
            receives: events as u32,
            ..Wire::default()
        },
        label: None,
        unreached: None,
        transcript,
        body: None,
        capture: None,
    }
}
