//! Every constant limit of the engine, with its reason, in one place.

use crate::clock::Span;

/// Bytes of one response head. Servers and proxies stop at 8–32 KiB; twice that is generous.
pub const HEAD_BYTES: usize = 64 * 1024;

/// Header lines of one response head.
pub const HEADERS: usize = 128;

/// Bytes of one chunk-size line with its extensions.
pub const CHUNK_LINE_BYTES: usize = 4 * 1024;

/// Bytes of all trailer lines of a chunked body.
pub const TRAILER_BYTES: usize = 64 * 1024;

/// Bytes of one server-sent event. Logprobs of large vocabularies reach hundreds of KiB.
pub const EVENT_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of one body that is not an event stream.
pub const BODY_BYTES: usize = 256 * 1024 * 1024;

/// Bytes kept of the body of an error status. A message that is longer than this is a page or a
/// dump, and thousands of requests may each have one.
pub const ERROR_BODY_KEPT: usize = 64 * 1024;

/// Bytes read of the body of an error status before the connection is given up: a server that
/// never ends it would hold the request until its time limit.
pub const ERROR_BODY_BYTES: usize = 1024 * 1024;

/// Bytes that all responses being read may hold together, beyond [`KEPT_BUFFER_BYTES`] each: a
/// limit per response alone would multiply with the concurrency.
pub const HELD_BYTES: usize = 1024 * 1024 * 1024;

/// The unit in which that is accounted for.
pub const HELD_STEP: usize = 1024 * 1024;

/// Coded bytes of one body that are kept to find the exact place of an error in them.
pub const CODED_KEPT: usize = 1024 * 1024;

/// Bytes taken from a socket by one `recv`: one core's buffer, shared by its connections.
pub const RECEIVE_BYTES: usize = 64 * 1024;

/// Requests started in a row before the core looks at its sockets again.
pub const STARTS_PER_TICK: usize = 64;
/// Nor are more started in a row once so much time has gone: a start with a new connection takes
/// 30-100 µs, and what comes meanwhile is stamped late by all of them together. A turn through the
/// driver costs a few µs.
pub const STARTS_SPAN: Span = Span::from_micros(200);

/// With `--receive-stamps user` one read in so many is taken with its kernel receive stamp, which
/// then only tells how late our own is: a sample of this size still gives hundreds a second.
pub const STAMPED_READ_EVERY: u32 = 16;

/// How old the latest pair of clock readings may be when a kernel stamp is converted. Reading one
/// takes about 60 ns; a step of the wall clock is noticed within this time.
pub const CLOCK_PAIR_EVERY: Span = Span::from_micros(100);

/// So long behind a step of the wall clock, at most, kernel stamps are not used: bytes that came
/// before it have been read by then, unless the loop stood still.
pub const STEP_MARGIN_MAX: Span = Span::from_millis(10);

/// The longest a core's loop sleeps while a phase runs: at least this often it shows that it is
/// there. A wake-up takes about 10 µs, so this is 0.1 % of a CPU.
pub const SIGN_OF_LIFE_EVERY: Span = Span::from_millis(10);

/// A core's loop that gave no sign of life for longer than this was kept from working, and is named
/// in the verdict on the client.
pub const PAUSE_LEAST: Span = Span::from_millis(50);

/// Pauses of one core and phase that are kept with their instants, the longest; all are counted.
pub const PAUSES_KEPT: usize = 16;

/// `recv` calls made at a cancel's deadline before the disconnect goes out regardless.
pub const DRAIN_READS: usize = 16;

/// So many deadlines of one instant make it worth to ask once which of their sockets have anything
/// to read: a look at one costs about a fifth of a `recv` that finds nothing.
pub const LOOK_TOGETHER: usize = 8;

/// Bodies up to this size are copied behind their head and sent as one part: copying costs less
/// than a system call with two parts.
pub const COPIED_BODY_BYTES: usize = 8 * 1024;

/// Slices of a body that go in one system call: a prompt of 60,000 tokens in blocks of 512 fits in.
pub const SENT_PARTS: usize = 128;

/// A deadline this near is waited for before another request is started: about what a connect and a
/// send take on a slow machine.
pub const DEADLINE_NEAR: Span = Span::from_micros(100);

/// A request that is due waits no longer than this for deadlines that are near.
pub const START_PATIENCE: Span = Span::from_micros(500);

/// Bytes that are kept of a body which is neither JSON nor events, as its first byte shows: all
/// that can be told of it is how it begins.
pub const UNREADABLE_KEPT: usize = 1024 * 1024;

/// The first rest of a closed loop's slot after a request without an answer: long enough that a
/// dead server is not asked ten thousand times a second, and too short to be seen where one request
/// fails.
pub const BACKOFF_FIRST: Span = Span::from_millis(10);

/// The longest of those rests, and so the latest that a slot finds out that the server is back.
pub const BACKOFF_MOST: Span = Span::from_millis(1_000);

/// How long an address that refuses connections is passed over while its name has others, the
/// first time. Each refusal after that doubles it.
pub const ADDRESS_REST: Span = Span::from_millis(1_000);

/// The longest of those.
pub const ADDRESS_REST_MOST: Span = Span::from_millis(30_000);

/// A server that closes a connection sooner than this after an answer has other reasons than that
/// it rested.
pub const SHORTEST_KEEP_ALIVE: Span = Span::from_millis(100);

/// A reused connection that its server closes later than this after the request went out was not
/// closed for having rested: the close would have come within a round trip.
pub const STALE_WITHIN: Span = Span::from_millis(1_000);

/// Two conversions of one kernel stamp differ by no more than this.
pub const STAMP_SLACK: Span = Span::from_micros(10);

/// A read whose bytes had waited longer than this was late: what waits on the next sockets may be
/// several events, each with a stamp of its own. A stream whose events come closer than this is
/// rare, and looking ahead costs a call for each read.
pub const LATE_READ_LEAST: Span = Span::from_millis(1);

/// So many reads after a late one are taken to be late too.
pub const READS_AFTER_A_LATE_ONE: u32 = 64;

/// So many looks at what waits, all of which found what had come in one segment, and no more are
/// taken for a while: reading it in pieces gains nothing there.
pub const LOOKS_IN_VAIN: u32 = 64;

/// How long that is the first time. A look behind it that gains nothing doubles it.
pub const LOOKS_REST_FIRST: Span = Span::from_millis(1);

/// The longest of those rests: so soon a client notices that looking ahead pays again.
pub const LOOKS_REST_MOST: Span = Span::from_millis(16);

/// A loop that did nothing for longer than this was idle, or it was kept from working.
pub const AWAY_LEAST: Span = Span::from_millis(1);

/// Bytes that are looked at before they are read, where a read may be late.
pub const LOOKED_AHEAD_BYTES: usize = 16 * 1024;

/// Reads of one socket that never ran dry before its task lets the others run.
pub const READS_IN_A_ROW: u32 = 4;

/// Buffers of a connection that an answer has made larger than this are given back after it.
pub const KEPT_BUFFER_BYTES: usize = 64 * 1024;

/// Heads and events larger than this are not remembered to know the next ones by.
pub const SHAPE_BYTES: usize = 1024;

/// How often it is looked whether a phase has sent its last request when another waits for that,
/// and whether room has been made on another core.
pub const HANDOFF_POLL: Span = Span::from_millis(1);

/// From the command to begin a phase with a schedule to the schedule's zero: every core has woken
/// up by then, also on a machine that is busy.
pub const BEGIN_LEAD: Span = Span::from_millis(5);

/// Bytes of one line of a dataset, or of one element of a JSON document. A million tokens are about
/// 6 MB of text and a dozen inline pictures rarely 50 MB; a file that is no JSONL at all shows by
/// it before it fills the memory.
pub const LINE_BYTES: usize = 64 * 1024 * 1024;

/// Tokens of the longest prompt that is made up; no model takes as many.
pub const PROMPT_TOKENS: u32 = 1 << 24;

/// Lines of a dataset that are read, checked and built together: enough to pay for the threads.
pub const BATCH_LINES: usize = 4_096;

/// Bytes after which such a batch is full: what is read ahead stays small beside what is kept.
pub const BATCH_BYTES: usize = 8 * 1024 * 1024;
