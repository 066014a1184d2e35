//! Responses as servers send them, and as they should not.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

/// A named response.
pub struct Case {
    /// What it is about.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n";

/// A stream whose body ends where the connection does.
pub fn until_close(body: &str) -> Vec<u8> {
    format!("{EVENTS}\r\n{body}").into_bytes()
}

/// A stream in chunks of `size` bytes.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut all = format!("{EVENTS}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(size) {
        all.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        all.extend_from_slice(chunk);
        all.extend_from_slice(b"\r\n");
    }
    all.extend_from_slice(b"0\r\n\r\n");
    all
}

/// One content event of a chat stream; `text` is the inside of a JSON string.
pub fn delta(text: &str) -> String {
    format!(
        "data: {{\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
         \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}"
    )
}

const RESPONSES: &str = concat!(
    "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"object\":\"response\"}}\n\n",
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"content_index\":0,\"delta\":\"Gr\u{fc}\u{df}e\"}\n\n",
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"output_tokens\":1}}}\n\n",
);
const MESSAGES: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);
const GENERATE: &str =
    "data:{\"index\":1,\"token\":{\"text\":\" a\"},\"generated_text\":\" a\"}\n\n";

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The body in gzip, in chunks of `size` bytes.
fn gzipped(kind: &str, body: &str, size: usize) -> Vec<u8> {
    let mut all = chunked(&gzip(body), size);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let old = EVENTS.len() + "Transfer-Encoding: chunked\r\n\r\n".len();
    all.splice(..old, head.into_bytes());
    all
}

/// Every case.
pub fn all() -> Vec<Case> {
    let hello = format!("{}\n\n{}\n\ndata: [DONE]\n\n", delta("Hel"), delta("lo"));
    let usage =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
    let tools = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\
                 \"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}}]}\n\n";
    let reasoning = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n";
    let role = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let completions =
        "data: {\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\" word\"}]}\n\n";
    let plain = |head: &str, body: &str| format!("{head}\r\n\r\n{body}").into_bytes();
    let json = "{\"choices\":[{\"message\":{\"content\":\"Hi\"}}]}";
    let case = |name, bytes| Case { name, bytes };
    vec![
        case("length", plain("HTTP/1.1 200 OK\r\nContent-Length: 43", json)),
        case("length, short", plain("HTTP/1.1 200 OK\r\nContent-Length: 99", json)),
        case("length, more follows", plain("HTTP/1.1 200 OK\r\nContent-Length: 3", json)),
        case("length 0", plain("HTTP/1.1 200 OK\r\nContent-Length: 0", "")),
        case("no content", plain("HTTP/1.1 204 No Content", "")),
        case("two equal lengths", plain("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2", "ok")),
        case("two lengths", plain("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3", "ok")),
        case("length not a number", plain("HTTP/1.1 200 OK\r\nContent-Length: 2,2", "ok")),
        case("until close", plain("HTTP/1.1 200 OK", json)),
        case("http 1.0", plain("HTTP/1.0 200 OK\r\nContent-Length: 2", "ok")),
        case("interim", plain("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2", "ok")),
        case("interim, then nothing", b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        case("upgrade", plain("HTTP/1.1 101 Switching Protocols", "x")),
        case("error status", plain("HTTP/1.1 500 Oops\r\nContent-Length: 26", "{\"error\":{\"message\":\"no\"}}")),
        case("error status, event stream", plain("HTTP/1.1 429 Slow\r\nContent-Type: text/event-stream\r\nContent-Length: 9", "data: x\n\n")),
        case("stream until close", until_close(&hello)),
        case("stream in one chunk", chunked(hello.as_bytes(), 10_000)),
        case("stream in odd chunks", chunked(hello.as_bytes(), 7)),
        case("stream in chunks of one", chunked(hello.as_bytes(), 1)),
        case("stream, crlf", until_close(&hello.replace('\n', "\r\n"))),
        case("stream, cr", until_close(&hello.replace('\n', "\r"))),
        case("stream, cr, chunked", chunked(hello.replace('\n', "\r").as_bytes(), 3)),
        case("stream, mixed ends", until_close(&format!("{}\r\n\n{}\r\r\n{}\n\r\n", delta("a"), delta("b"), delta("c")))),
        case("bom", until_close(&format!("\u{feff}{hello}"))),
        case("half a bom", until_close(&format!("\u{fec0}{hello}"))),
        case("comments", until_close(&format!(": hi\n\n{hello}:\n: bye\n\n"))),
        case("many data lines", until_close("data: {\ndata: \"choices\": []\ndata: }\n\ndata\ndata:\n\n")),
        case("other fields", until_close("id: 1\nretry: 5\nevent: message\ndata: x\n\nevent: error\ndata: {\"message\":\"no\"}\nx\n\n")),
        case("error event at the end", until_close("event: error\ndata: cut")),
        case("no last blank line", until_close(&format!("{hello}{}", delta("cut")))),
        case("utf-8", chunked(format!("{}\n\n", delta("Gr\u{fc}\u{df}e \u{1f980}\u{4f60}")).as_bytes(), 5)),
        case("broken utf-8", [until_close("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\""), b"\xff\xc3(".to_vec(), b"\"}}]}\n\n".to_vec()].concat()),
        case("escapes", until_close(&format!("{}\n\n", delta(r#"\"\\\n\u00e9\ud83e\udd80"#)))),
        case("usage", until_close(&format!("{role}{hello}{usage}"))),
        case("tool calls", chunked(format!("{role}{tools}{tools}").as_bytes(), 11)),
        case("reasoning", chunked(format!("{reasoning}{hello}").as_bytes(), 13)),
        case("completions", until_close(&format!("{completions}{completions}data: [DONE]\n\n"))),
        case("responses", chunked(RESPONSES.as_bytes(), 37)),
        case("messages", until_close(MESSAGES)),
        case("generate", until_close(GENERATE)),
        case("error in data", until_close("data: {\"error\":{\"message\":\"no\",\"code\":500}}\n\ndata: [DONE]\n\n")),
        case("not json", until_close("data: {\"choices\":[{\"index\":0,\n\ndata: <html>\n\n")),
        case("spaced json", until_close("data: { \"choices\" : [ { \"delta\" : { \"content\" : \"x\" } , \"index\" : 0 } ] }\n\n")),
        case("second choice", until_close("data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}}]}\n\n")),
        case("extensions and trailers", [format!("{EVENTS}Transfer-Encoding: chunked\r\n\r\n{:X};n=v;q=\"x\"\r\n{hello}\r\n000;last\r\nX-A: b\r\nX-B: c\r\n\r\n", hello.len()).into_bytes(), b"HTTP/1.1".to_vec()].concat()),
        case("lf only framing", plain("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", "").iter().copied().chain(*b"2\nok\n0\n\n").collect()),
        case("chunk size too long", plain("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "1234567890abcdef0\r\n")),
        case("bad chunk size", plain("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "2\r\nok\r\nzz\r\n")),
        case("bad chunk end", plain("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "2\r\nokay\r\n")),
        case("chunks cut off", plain("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "2\r\nok\r\n5\r\nhel")),
        case("chunked and length", plain("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", "2\r\nok\r\n0\r\n\r\n")),
        case("head cut off", b"HTTP/1.1 200 OK\r\nContent-".to_vec()),
        case("not http", b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        case("not http, late", b"HTTP/1.1 200 OK\r\nA: b\r\n\x00: c\r\n\r\n".to_vec()),
        case("bad status", b"HTTP/1.1 2000 OK\r\n\r\n".to_vec()),
        case("many headers", format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(129)).into_bytes()),
        case("empty", Vec::new()),
        case("gzip", gzipped("text/event-stream", &hello, 50)),
        case("gzip of JSON", gzipped("application/json", json, 9)),
        case("gzip, not declared", [until_close(""), gzip(&hello)].concat()),
        case("zstd", [b"HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\n\r\n\x28\xb5\x2f\xfd\x04\x58\x69\x00\x00".to_vec(), hello.clone().into_bytes()].concat()),
        case("brotli", [b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n\x0b\x05\x80 alpha beta\x03".to_vec()].concat()),
        case("not coded as declared", [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n".to_vec(), hello.clone().into_bytes()].concat()),
        case("stream, not declared", plain("HTTP/1.1 200 OK\r\nContent-Type: application/json", &hello)),
        case("lines of JSON", plain("HTTP/1.1 200 OK", &hello.replace("data: ", "").replace("\n\n", "\n"))),
        case("no blank lines", until_close(&hello.replace("\n\n", "\n"))),
        case("no blank lines, crlf", chunked(hello.replace("\n\n", "\r\n").as_bytes(), 9)),
        case("bare json", until_close(&format!("{}\n\n{{\"error\":{{\"message\":\"no\"}}}}\n", delta("a")))),
        case("json in a stream", until_close(json)),
        case("a page in a stream", until_close("<!DOCTYPE html>\n<html>\n\n<p>x: y</p>\n")),
        case("a field named error", until_close(&format!("{}\n\nerror: {{\"code\":500,\"message\":\"no\"}}\n\n", delta("a")))),
        case("two choices", chunked(format!("{}\n\n{}\n\n", delta("a"), delta("b").replace("\"index\":0", "\"index\":1")).repeat(2).as_bytes(), 31)),
        case("finish reason", until_close(&format!("{}\n\n{}\n\n", delta("a"), delta("").replace("reason\":null", "reason\":\"abort\"")))),
        case("numbers that are none", until_close(&format!("{}\n\n", delta("a").replace("created\":1", "created\":-Infinity")))),
        case("a message repeated", until_close("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n")),
        case("words", until_close("data: engine dead\n\n")),
        case("redirect", plain("HTTP/1.1 307 x\r\nLocation: /x\r\nContent-Length: 0", "")),
    ]
}
