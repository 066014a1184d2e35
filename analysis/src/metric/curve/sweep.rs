//! Goes through the events of all requests in order of time, once, with memory for the open ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use pinfire_base::clock::Stamp;

use super::{Curve, Curves};
use crate::stats::Sample;

/// One request as the curves see it.
#[derive(Clone, Debug)]
pub struct Life {
    /// Start, in nanoseconds of the monotonic clock.
    pub start: u64,
    /// Record end, on the same clock.
    pub end: u64,
    /// First content; only of answers that were streamed.
    pub first: Option<Stamp>,
    /// Input tokens, if they are known.
    pub isl: Option<u32>,
    /// Output tokens, if they are known.
    pub osl: Option<u32>,
    /// Where its gaps between content responses stand in the pooled sample.
    pub gaps: Range<usize>,
}

/// A rate with the number of those who contribute; exactly 0 when there are none, whatever rounding
/// has left.
#[derive(Clone, Copy, Default)]
struct Sum {
    value: f64,
    of: u32,
}

impl Sum {
    fn add(&mut self, value: f64) {
        self.value += value;
        self.of += 1;
    }

    fn remove(&mut self, value: f64) {
        self.of = self.of.saturating_sub(1);
        self.value = if self.of == 0 {
            0.0
        } else {
            (self.value - value).max(0.0)
        };
    }

    fn per(self, users: u32) -> f64 {
        if users == 0 {
            0.0
        } else {
            self.value / f64::from(users)
        }
    }
}

/// The values of all curves at one instant.
#[derive(Default)]
struct State {
    open: u32,
    decoding: u32,
    prefilling: u32,
    /// Tokens per second, by gaps.
    decode: Sum,
    /// Tokens per second, spread evenly from first content to end.
    even_decode: Sum,
    prefill: Sum,
    tokens: Sum,
}

/// What comes next for an open request.
#[derive(Clone, Copy)]
enum Next {
    First,
    /// The end of this gap, counted from 0.
    Gap(usize),
    /// The tokens of the gap that ends with the record, and of those after it: they are there for
    /// an instant before it ends.
    Last(usize),
    End,
}

/// An open request.
#[derive(Clone, Copy)]
struct Open {
    life: usize,
    next: Next,
    /// What it adds to each sum now.
    prefill: Option<f64>,
    even_decode: Option<f64>,
    decode: Option<f64>,
    tokens: f64,
    /// Tokens of one gap, by the gaps that take time and by all of them.
    per_timed_gap: f64,
    per_gap: f64,
}

/// The pass over all events.
pub struct Sweep<'a> {
    /// Ascending by start.
    lives: &'a [Life],
    gaps: &'a Sample,
    /// Only the number of open requests is wanted.
    plain: bool,
    next: usize,
    /// The instant of each open request's next event, and its place among `slots`.
    events: BinaryHeap<Reverse<(u64, usize)>>,
    slots: Vec<Open>,
    free: Vec<usize>,
    now: u64,
    state: State,
}

impl<'a> Sweep<'a> {
    /// Before the first event, at `from` or earlier. `lives` ascend by start; `gaps` are the pooled
    /// ones in the order that the lives speak of.
    pub fn new(lives: &'a [Life], gaps: &'a Sample, from: u64) -> Self {
        Self {
            lives,
            gaps,
            plain: lives.iter().all(|life| life.first.is_none()),
            next: 0,
            events: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            now: lives.first().map_or(from, |life| life.start.min(from)),
            state: State::default(),
        }
    }

    /// The instant it has come to.
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// Goes on to an instant, keeping what every curve held on the way.
    pub fn run_to(&mut self, to: u64, mut into: Option<&mut Curves>) {
        loop {
            let start = self.lives.get(self.next).map(|life| life.start);
            let event = self.events.peek().map(|Reverse((at, _))| *at);
            let Some(at) = start.into_iter().chain(event).min().filter(|&at| at < to) else {
                break;
            };
            self.hold_until(at, into.as_deref_mut());
            if start == Some(at) {
                self.begin();
            } else {
                self.step();
            }
        }
        self.hold_until(to, into);
    }

    fn hold_until(&mut self, at: u64, into: Option<&mut Curves>) {
        let nanos = at.saturating_sub(self.now);
        self.now = self.now.max(at);
        let Some(curves) = into.filter(|_| nanos > 0) else {
            return;
        };
        let state = &self.state;
        curves.add(Curve::Concurrency, state.open.into(), true, nanos);
        if self.plain {
            return;
        }
        let total = state.prefill.value + state.even_decode.value;
        let (decoding, prefilling) = (state.decoding, state.prefilling);
        for (curve, value, active) in [
            (Curve::DecodeThroughput, state.decode.value, decoding > 0),
            (
                Curve::PrefillThroughput,
                state.prefill.value,
                prefilling > 0,
            ),
            (Curve::DecodeConcurrency, decoding.into(), true),
            (Curve::PrefillConcurrency, prefilling.into(), true),
            (Curve::TotalThroughput, total, state.open > 0),
            (
                Curve::DecodePerUser,
                state.decode.per(decoding),
                decoding > 0,
            ),
            (
                Curve::PrefillPerUser,
                state.prefill.per(prefilling),
                prefilling > 0,
            ),
            (Curve::TokensInFlight, state.tokens.value, true),
        ] {
            curves.add(curve, value, active, nanos);
        }
    }

    /// The next request starts.
    fn begin(&mut self) {
        let at = self.next;
        self.next += 1;
        let Some(life) = self.lives.get(at) else {
            return;
        };
        let end = life.end.max(life.start);
        let mut open = Open {
            life: at,
            next: Next::End,
            prefill: None,
            even_decode: None,
            decode: None,
            tokens: 0.0,
            per_timed_gap: 0.0,
            per_gap: 0.0,
        };
        let mut when = end;
        self.state.open += 1;
        if let Some(first) = life.first {
            let first = first.nanos().clamp(life.start, end);
            self.state.prefilling += 1;
            self.state.tokens.of += 1;
            if let Some(isl) = life.isl.filter(|_| first > life.start) {
                open.prefill = Some(per_second(isl.into(), first - life.start));
                open.tokens = isl.into();
            }
            if let Some(rate) = open.prefill {
                self.state.prefill.add(rate);
            }
            self.state.tokens.value += open.tokens;
            (open.next, when) = (Next::First, first);
        }
        let slot = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(slot) {
            Some(place) => *place = open,
            None => self.slots.push(open),
        }
        self.events.push(Reverse((when, slot)));
    }

    /// The earliest event of an open request.
    fn step(&mut self) {
        let Some(mut top) = self.events.peek_mut() else {
            return;
        };
        let Reverse((at, slot)) = *top;
        let Some(open) = self.slots.get_mut(slot) else {
            return;
        };
        let Some(life) = self.lives.get(open.life) else {
            return;
        };
        let after = match open.next {
            Next::First => Some(first(&mut self.state, open, life, self.gaps)),
            Next::Gap(gap) => {
                if let Some(rate) = open.decode.take() {
                    self.state.decode.remove(rate);
                }
                self.state.tokens.value += open.per_gap;
                open.tokens += open.per_gap;
                Some(begin_gap(
                    &mut self.state,
                    open,
                    life,
                    self.gaps,
                    (gap + 1, at),
                ))
            }
            Next::Last(gap) => {
                let left = life.gaps.len().saturating_sub(gap) as f64;
                self.state.tokens.value += left * open.per_gap;
                open.tokens += left * open.per_gap;
                open.next = Next::End;
                Some(life.end)
            }
            Next::End => {
                end(&mut self.state, open, life);
                None
            }
        };
        match after {
            Some(next) => *top = Reverse((next, slot)),
            None => {
                std::collections::binary_heap::PeekMut::pop(top);
                self.free.push(slot);
            }
        }
    }
}

/// First content; gives the instant of the next event.
fn first(state: &mut State, open: &mut Open, life: &Life, gaps: &Sample) -> u64 {
    let at = life.first.map_or(life.start, Stamp::nanos);
    let at = at.clamp(life.start, life.end.max(life.start));
    state.prefilling = state.prefilling.saturating_sub(1);
    if let Some(rate) = open.prefill.take() {
        state.prefill.remove(rate);
    }
    state.decoding += 1;
    let later = life.osl.map(|osl| f64::from(osl.saturating_sub(1)));
    if let Some(later) = later.filter(|_| life.end > at) {
        let rate = per_second(later, life.end - at);
        open.even_decode = Some(rate);
        state.even_decode.add(rate);
    }
    if gaps.is_empty() {
        // A run without gaps: all tokens are spread evenly, and there at once.
        if let Some(rate) = open.even_decode {
            open.decode = Some(rate);
            state.decode.add(rate);
        }
        let tokens = f64::from(life.osl.unwrap_or(0));
        open.tokens += tokens;
        state.tokens.value += tokens;
        open.next = Next::End;
        return life.end;
    }
    if life.gaps.is_empty() {
        open.next = Next::End;
        return life.end;
    }
    if let Some(later) = later {
        let timed = life
            .gaps
            .clone()
            .filter(|&gap| gaps.whole(gap) != Some(0))
            .count();
        open.per_timed_gap = later / timed.max(1) as f64;
        open.per_gap = later / life.gaps.len() as f64;
        open.tokens += 1.0;
        state.tokens.value += 1.0;
    }
    begin_gap(state, open, life, gaps, (0, at))
}

/// Begins the gap with a number at an instant, or waits for the end when there is none; gives the
/// instant of the next event.
fn begin_gap(
    state: &mut State,
    open: &mut Open,
    life: &Life,
    gaps: &Sample,
    (gap, at): (usize, u64),
) -> u64 {
    if gap >= life.gaps.len() {
        open.next = Next::End;
        return life.end;
    }
    let nanos = gaps.whole(life.gaps.start + gap).unwrap_or(0);
    if nanos > 0 {
        let rate = per_second(open.per_timed_gap, nanos);
        open.decode = Some(rate);
        state.decode.add(rate);
    }
    // A gap never reaches beyond the end of its record.
    if at + nanos >= life.end {
        open.next = Next::Last(gap);
        return life.end.saturating_sub(1).max(at);
    }
    open.next = Next::Gap(gap);
    at + nanos
}

fn end(state: &mut State, open: &mut Open, life: &Life) {
    state.open = state.open.saturating_sub(1);
    if life.first.is_none() {
        return;
    }
    state.decoding = state.decoding.saturating_sub(1);
    if let Some(rate) = open.decode.take() {
        state.decode.remove(rate);
    }
    if let Some(rate) = open.even_decode.take() {
        state.even_decode.remove(rate);
    }
    state.tokens.remove(open.tokens);
}

fn per_second(amount: f64, nanos: u64) -> f64 {
    amount / (nanos as f64 / 1e9)
}
