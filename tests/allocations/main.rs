//! Nothing is allocated per event once the room for an answer is known.
//!
//! A binary of its own with one test: the counting allocator sees every thread of the process.

#![allow(
    unsafe_code,
    reason = "a global allocator cannot be written without; it only counts and passes on"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use pinfire_base::{
    clock::{Span, Stamp},
    random::Purpose,
    record::{Correlation, Phase},
};
use pinfire_engine::request::{Ids, Request, Room, Ticket};
use pinfire_proto::{Exchange, Progress};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
Transfer-Encoding: chunked\r\n\r\n";

/// One event in its chunk, as vLLM sends it.
fn event() -> Vec<u8> {
    let event = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\
                 \"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\
                 \"logprobs\":null,\"finish_reason\":null}]}\n\n";
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

/// Reads a stream of `events`, each in pieces of `piece` bytes; gives the room it took.
fn read(exchange: &mut Exchange, events: usize, piece: usize, room: Room) -> Room {
    let event = event();
    let at = Stamp::from_nanos(1);
    let ticket = Ticket {
        phase: Phase::Profiling,
        index: 0,
        entry: 0,
        core: 0,
        session: 0,
        seat: 0,
        ids: Ids::new(Purpose::keyed(1), 0, Correlation::User(0)),
        scheduled: at,
        cancel: None,
    };
    let mut request = Request::new(ticket, at, Span::from_millis(1), room);
    exchange.reset();
    assert_eq!(exchange.feed(at, HEAD, &mut request), Ok(Progress::More));
    for number in 0..events {
        let at = Stamp::from_nanos(2 + number as u64);
        for part in event.chunks(piece) {
            assert_eq!(exchange.feed(at, part, &mut request), Ok(Progress::More));
        }
    }
    let end = exchange.feed(at, b"0\r\n\r\n", &mut request);
    assert_eq!(end, Ok(Progress::Complete { reusable: true }));
    let record = request.complete(at);
    assert_eq!(record.transcript.marks().len(), events);
    Room {
        marks: record.transcript.marks().len(),
        bytes: record.transcript.byte_len(),
    }
}

#[test]
fn allocations_do_not_grow_with_events() {
    for piece in [1_000, 60, 7] {
        let mut exchange = Exchange::default();
        // The first answer shows how much room is needed, and fills the buffers of the connection.
        let mut counts = Vec::new();
        for events in [100, 10_000] {
            let room = read(&mut exchange, events, piece, Room::default());
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            let again = read(&mut exchange, events, piece, room);
            counts.push(ALLOCATIONS.load(Ordering::Relaxed) - before);
            assert_eq!(again, room);
        }
        // The event's text here, marks and bytes there, and a few of the test runner's own.
        assert!(
            counts[1] <= 16,
            "10,000 events in pieces of {piece}: {counts:?}"
        );
    }
}
