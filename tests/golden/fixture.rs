//! A recorded run, unpacked into a folder, and the report that pinfire makes of it.

use std::{io::Read, path::Path};

use flate2::read::ZlibDecoder;
use pinfire_tests::binary::{Ended, call};
use serde_json::Value;

/// The recorded runs.
pub const RUNS: [&str; 5] = [
    "chat-stream",
    "chat-cancel",
    "chat-errors",
    "chat-nostream",
    "completions-rate",
];

/// AIPerf's figures of a run beside ours.
pub struct Golden {
    pub name: &'static str,
    pub theirs: Value,
    pub ours: Value,
    pub their_lines: Vec<Value>,
    pub our_lines: Vec<Value>,
    pub their_table: Vec<Vec<String>>,
    pub our_table: Vec<Vec<String>>,
    pub their_slices: Option<Value>,
    pub our_slices: Option<Value>,
}

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/data");
const SUMMARY: &str = "profile_export_aiperf.json";
const TABLE: &str = "profile_export_aiperf.csv";
const LINES: &str = "profile_export.jsonl";
const RAW: &str = "profile_export_raw.jsonl";
const SLICES: &str = "profile_export_aiperf_timeslices.json";

fn stored(folder: &str, file: &str) -> Option<Vec<u8>> {
    let packed = std::fs::read(Path::new(DATA).join(folder).join(format!("{file}.zz"))).ok()?;
    let mut bytes = Vec::new();
    ZlibDecoder::new(&packed[..])
        .read_to_end(&mut bytes)
        .unwrap();
    Some(bytes)
}

fn unpack(run: &str, files: &[&str], into: &Path) {
    std::fs::create_dir_all(into).unwrap();
    for file in files {
        let bytes = stored(run, file).unwrap_or_else(|| panic!("{run} has no {file}"));
        std::fs::write(into.join(file), bytes).unwrap();
    }
}

fn objects(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn table(bytes: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes);
    let rows = reader.records().map(|row| {
        let row = row.unwrap();
        row.iter().map(str::to_owned).collect()
    });
    rows.collect()
}

impl Golden {
    /// From the raw file, with AIPerf's own tokenizer where it counted.
    pub fn new(name: &'static str) -> Self {
        Self::with(name, &[])
    }

    pub fn with(name: &'static str, more: &[&str]) -> Self {
        Self::made(name, &[SUMMARY, LINES, RAW], more, true)
    }

    /// From the lines per request alone.
    pub fn without_raw(name: &'static str) -> Self {
        Self::made(name, &[SUMMARY, LINES], &[], false)
    }

    fn made(name: &'static str, files: &[&str], more: &[&str], anew: bool) -> Self {
        let mut call = call(["report", "run", "--output", "out"]);
        unpack(name, files, &call.folder().join("run"));
        let tokenizer = ["tokenizer.json", "tokenizer_config.json"];
        unpack("tokenizer", &tokenizer, &call.folder().join("tokenizer"));
        let theirs: Value = serde_json::from_slice(&stored(name, SUMMARY).unwrap()).unwrap();
        let by_server = &theirs["input_config"]["endpoint"]["use_server_token_count"];
        if anew && by_server != true {
            call.more(["--tokenizer", "./tokenizer"]);
        }
        call.more(more.iter().copied());
        let ended: Ended = call.run().code(0);
        let their_lines = String::from_utf8(stored(name, LINES).unwrap()).unwrap();
        let slices = |bytes: Vec<u8>| serde_json::from_slice(&bytes).unwrap();
        Self {
            name,
            ours: ended.json(),
            theirs,
            their_lines: objects(&their_lines),
            our_lines: ended.lines(),
            their_table: table(&stored(name, TABLE).unwrap()),
            our_table: table(ended.file(TABLE).as_bytes()),
            their_slices: stored(name, SLICES).map(slices),
            our_slices: ended
                .has(SLICES)
                .then(|| slices(ended.file(SLICES).into_bytes())),
        }
    }
}
