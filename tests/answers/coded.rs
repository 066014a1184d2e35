//! Coded bodies, and bodies that are not what their head says.

use std::io::Write;

use flate2::{Compression, write};

use crate::play::{
    Case, DONE, Right, STREAM, USAGE, bytes, delta, fails, right, stream, three, whole, with_head,
};

/// The pieces in gzip, each flushed.
fn gzip(pieces: &[&str]) -> Vec<Vec<u8>> {
    let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
    let mut coded: Vec<Vec<u8>> = pieces
        .iter()
        .map(|piece| {
            encoder.write_all(piece.as_bytes()).unwrap();
            encoder.flush().unwrap();
            std::mem::take(encoder.get_mut())
        })
        .collect();
    coded.push(encoder.finish().unwrap());
    coded
}

fn deflate(pieces: &[&str]) -> Vec<Vec<u8>> {
    let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::default());
    let mut coded: Vec<Vec<u8>> = pieces
        .iter()
        .map(|piece| {
            encoder.write_all(piece.as_bytes()).unwrap();
            encoder.flush().unwrap();
            std::mem::take(encoder.get_mut())
        })
        .collect();
    coded.push(encoder.finish().unwrap());
    coded
}

fn bare_deflate(text: &str) -> Vec<u8> {
    let mut encoder = write::DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(pieces: &[&str]) -> Vec<Vec<u8>> {
    let mut context = zstd_safe::CCtx::create();
    let mut room = vec![0; 1 << 16];
    let mut coded: Vec<Vec<u8>> = Vec::new();
    for piece in pieces {
        let mut into = zstd_safe::OutBuffer::around(&mut room[..]);
        let mut from = zstd_safe::InBuffer::around(piece.as_bytes());
        context.compress_stream(&mut into, &mut from).unwrap();
        context.flush_stream(&mut into).unwrap();
        coded.push(into.as_slice().to_vec());
    }
    let mut into = zstd_safe::OutBuffer::around(&mut room[..]);
    context.end_stream(&mut into).unwrap();
    coded.push(into.as_slice().to_vec());
    coded
}

/// Brotli without compression, as its format allows: a stream header, then each piece as a block of
/// plain bytes, then the empty last block.
fn brotli(pieces: &[&str]) -> Vec<Vec<u8>> {
    let mut coded = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        // Bits, the lowest first: the window (one 0 is 16 bits), then not the last block, four
        // nibbles of length, the length less one, not compressed, up to a full byte.
        let (mut bits, mut count) = (0_u64, 0);
        let mut put = |value: u64, length: u32| {
            bits |= value << count;
            count += length;
        };
        if at == 0 {
            put(0, 1);
        }
        put(0, 1);
        put(0, 2);
        put(piece.len() as u64 - 1, 16);
        put(1, 1);
        let mut block = bits.to_le_bytes()[..count.div_ceil(8) as usize].to_vec();
        block.extend_from_slice(piece.as_bytes());
        coded.push(block);
    }
    coded.push(vec![3]);
    coded
}

pub fn coded() -> Vec<Case> {
    let events = [three(), vec![USAGE.to_owned(), DONE.to_owned()]].concat();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let three_times = || Right {
        instants: Some(3),
        usage: Some(3),
        ..right(3)
    };
    let of = |head: &str, coding: &str| format!("{head}Content-Encoding: {coding}\r\n");
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let error = "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\n";
    let slow = r#"{"error":{"message":"slow down"}}"#;
    let stopped = || Right {
        finish: &["stop"],
        ..right(3)
    };
    let body = whole();
    let mut broken = gzip(&events).concat();
    let middle = broken.len() / 2;
    broken[middle..].fill(0xFF);
    let mut all = vec![
        bytes(
            "gzip without its end",
            &of(STREAM, "gzip"),
            gzip(&events)[..5].to_vec(),
            three_times(),
        ),
        bytes(
            "gzip by the byte",
            &of(STREAM, "x-gzip"),
            gzip(&events[..1]).concat().chunks(7).map(<[u8]>::to_vec),
            right(1),
        ),
        bytes(
            "gzip that is broken",
            &of(STREAM, "gzip"),
            [broken],
            Right {
                kept: Some(" alpha"),
                ..fails(
                    None,
                    "not coded as its Content-Encoding says",
                    "the body is coded as gzip",
                )
            },
        ),
        bytes(
            "gzip that nobody declares",
            STREAM,
            gzip(&events),
            Right {
                read_as: &["coding_not_declared"],
                ..three_times()
            },
        ),
        bytes(
            "gzip that is not there",
            &of(STREAM, "gzip"),
            events.iter().map(|event| event.as_bytes().to_vec()),
            Right {
                read_as: &["declared_coding_absent"],
                ..three_times()
            },
        ),
        bytes(
            "identity",
            &of(STREAM, "identity"),
            events.iter().map(|event| event.as_bytes().to_vec()),
            three_times(),
        ),
        bytes(
            "two codings",
            &of(json, "gzip, br"),
            [b"\x1f\x8brubbish".to_vec()],
            fails(None, "coded as gzip, br", ""),
        ),
    ];
    // 4: epam/ai-dial-core#1646, phymbert/xk6-sse#21. Each coding on a stream whose events are
    // flushed, on JSON and on an error.
    type Code<'a> = &'a dyn Fn(&[&str]) -> Vec<Vec<u8>>;
    let flushed: [(&str, Code<'_>); 5] = [
        ("gzip", &gzip),
        ("x-gzip", &gzip),
        ("deflate", &deflate),
        ("br", &brotli),
        ("zstd", &zstd),
    ];
    for (coding, code) in flushed {
        let name = format!("{coding}, flushed per event");
        all.push(bytes(
            name,
            &of(STREAM, coding),
            code(&events),
            three_times(),
        ));
    }
    let bare = |pieces: &[&str]| vec![bare_deflate(&pieces.concat())];
    for (coding, code) in flushed.into_iter().chain([("DEFLATE", &bare as Code<'_>)]) {
        let [answer, refusal] = [&*body, slow].map(|text| [code(&[text]).concat()]);
        let name = format!("{coding} of JSON");
        all.push(bytes(name, &of(json, coding), answer, stopped()));
        let right = fails(429, "slow down", "");
        let name = format!("{coding} of an error");
        all.push(bytes(name, &of(error, coding), refusal, right));
    }
    all
}

pub fn mislabelled() -> Vec<Case> {
    let events = [three(), vec![USAGE.to_owned(), DONE.to_owned()]].concat();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let typed = |kind: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n");
    let read = |read_as: &'static [&'static str]| Right {
        instants: Some(3),
        usage: Some(3),
        read_as,
        ..right(3)
    };
    let undeclared = || read(&["event_stream_not_declared"]);
    let lines: Vec<String> = events
        .iter()
        .map(|event| event.replace("\n\n", "\n"))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let bare: Vec<String> = events[..4]
        .iter()
        .map(|event| event.replace("data: ", "").replace("\n\n", "\n"))
        .collect();
    let bare: Vec<&str> = bare.iter().map(String::as_str).collect();
    let crlf: Vec<String> = bare.iter().map(|line| line.replace('\n', "\r\n")).collect();
    let crlf: Vec<&str> = crlf.iter().map(String::as_str).collect();
    let pretty = "{\n  \"object\": \"chat.completion\",\n  \"choices\": [\n    {\"index\": 0, \"message\": {\"content\": \"alpha beta gamma\"}}\n  ]\n}\n";
    let json = typed("application/json");
    let in_stream = |finish| Right {
        finish,
        read_as: &["json_in_event_stream"],
        ..right(3)
    };
    let named: Vec<String> = lines
        .iter()
        .map(|line| format!("event: message\n{line}"))
        .collect();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    vec![
        // 14: nearai/private-ml-sdk#20
        with_head(
            "events as application/json",
            &json,
            events.iter().copied(),
            undeclared(),
        ),
        with_head(
            "events as text/plain",
            &typed("text/plain; charset=utf-8"),
            events.iter().copied(),
            undeclared(),
        ),
        with_head(
            "events without a content type",
            "HTTP/1.1 200 OK\r\n",
            events.iter().copied(),
            undeclared(),
        ),
        with_head(
            "events as application/octet-stream",
            &typed("application/octet-stream"),
            events.iter().copied(),
            undeclared(),
        ),
        with_head(
            "events behind a comment",
            &json,
            [": hello\n\n"].into_iter().chain(events.iter().copied()),
            undeclared(),
        ),
        with_head(
            "events behind a mark and a blank line",
            &json,
            ["\u{feff}\n"].into_iter().chain(events.iter().copied()),
            undeclared(),
        ),
        with_head(
            "events by the byte",
            &json,
            ["d", "at", "a: ", &events[0][6..], events[1]],
            Right {
                read_as: &["event_stream_not_declared"],
                ..right(2)
            },
        ),
        // 15: decolua/9router#3492
        stream(
            "one answer in an event stream",
            [&*whole()],
            in_stream(&["stop"]),
        ),
        stream(
            "one answer over many lines in an event stream",
            [pretty],
            in_stream(&[]),
        ),
        stream(
            "lines of JSON in an event stream",
            bare.iter().copied(),
            Right {
                read_as: &["json_in_event_stream"],
                ..read(&[])
            },
        ),
        // 16: ggml-org/llama.cpp#14268
        stream(
            "no blank lines",
            lines.iter().copied(),
            read(&["events_without_blank_lines"]),
        ),
        stream(
            "no blank lines, but names",
            named.iter().copied(),
            read(&["events_without_blank_lines"]),
        ),
        stream(
            "no blank lines, CR LF",
            [&*lines.concat().replace('\n', "\r\n")],
            Right {
                read_as: &["events_without_blank_lines"],
                ..right(3)
            },
        ),
        with_head(
            "no blank lines as text/plain",
            &typed("text/plain"),
            lines.iter().copied(),
            read(&["event_stream_not_declared", "events_without_blank_lines"]),
        ),
        // 18: NDJSON
        with_head(
            "lines of JSON",
            &typed("application/x-ndjson"),
            bare.iter().copied(),
            read(&["json_lines"]),
        ),
        with_head(
            "lines of JSON as JSON",
            &json,
            bare.iter().copied(),
            read(&["json_lines"]),
        ),
        with_head(
            "lines of JSON, CR LF",
            &typed("application/jsonl"),
            crlf.iter().copied(),
            read(&["json_lines"]),
        ),
        with_head(
            "one line of JSON",
            &typed("application/x-ndjson"),
            [&*format!("{}\n", whole())],
            Right {
                finish: &["stop"],
                ..right(3)
            },
        ),
        with_head("one answer over many lines", &json, [pretty], right(3)),
        with_head(
            "one answer as text/html",
            &typed("text/html"),
            [&*whole()],
            Right {
                finish: &["stop"],
                ..right(3)
            },
        ),
        stream(
            "a field that nobody knows",
            ["meta: {\"a\":1}\n\n", &*delta(r#"{"content":" alpha"}"#)],
            right(1),
        ),
    ]
}
