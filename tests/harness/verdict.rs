//! The law of whole answers as a function: any bytes, cut in any way, end in one verdict, and it is
//! the same for every cut. The fuzz target `tests/fuzz` and the test of the laws call it.

use pinfire_analysis::reading::{Reading, Rules, Verdict};
use pinfire_base::{
    clock::{Span, Stamp},
    random::Purpose,
    record::{Correlation, Failure, Phase, Record},
};
use pinfire_dialect::{Answers, EndpointKind};
use pinfire_engine::request::{Ids, Request, Room, Ticket};
use pinfire_proto::{Closed, Exchange, Progress};

/// The kinds of endpoint, as [`one_verdict`] numbers them.
pub const KINDS: [EndpointKind; 7] = [
    EndpointKind::Chat,
    EndpointKind::Completions,
    EndpointKind::Responses,
    EndpointKind::Messages,
    EndpointKind::HuggingfaceGenerate,
    EndpointKind::Embeddings,
    EndpointKind::Raw,
];

/// Everything that is made of an answer, without its instants.
#[derive(PartialEq, Eq, Debug)]
struct Made {
    verdict: Verdict,
    reading: Reading,
    content: Vec<(bool, Option<u64>)>,
    choices: Vec<(u64, Option<String>, Option<String>)>,
}

/// Body of the fuzz target: the first byte says how many of the following bytes are cut distances
/// (lower five bits) and by which dialect the answer is read (the others), the rest is the
/// response.
///
/// # Panics
/// If the law is broken.
pub fn one_verdict(data: &[u8]) {
    let Some((&count, data)) = data.split_first() else {
        return;
    };
    let kind = KINDS[usize::from(count / 32) % KINDS.len()];
    let (distances, input) = data.split_at(usize::from(count % 32).min(data.len()));
    let cuts = distances.iter().scan(0_usize, |at, &distance| {
        *at += usize::from(distance);
        Some(*at)
    });
    let whole = made(kind, input, []);
    assert_eq!(made(kind, input, cuts), whole, "cuts changed what was made");
    let bytes = 1..input.len();
    assert_eq!(made(kind, input, bytes), whole, "byte by byte");
}

/// What is made of an answer that comes in these pieces and ends with a close.
fn made(kind: EndpointKind, input: &[u8], cuts: impl IntoIterator<Item = usize>) -> Made {
    let answers = Answers::of(kind);
    let record = record(&answers, input, cuts);
    let rules = Rules {
        answers,
        ..Rules::default()
    };
    let mut reading = Reading::of(&record, &rules);
    let content = std::mem::take(&mut reading.content);
    let choices = std::mem::take(&mut reading.choices);
    Made {
        verdict: reading.verdict.clone(),
        content: content.iter().map(|one| (one.output, one.choice)).collect(),
        choices: choices
            .into_iter()
            .map(|one| (one.index, one.output, one.reasoning))
            .collect(),
        reading,
    }
}

fn record(answers: &Answers, input: &[u8], cuts: impl IntoIterator<Item = usize>) -> Record {
    let begin = Stamp::from_nanos(1);
    let ticket = Ticket {
        phase: Phase::Profiling,
        index: 0,
        entry: 0,
        core: 0,
        session: 0,
        seat: 0,
        ids: Ids::new(Purpose::keyed(1), 0, Correlation::User(0)),
        scheduled: begin,
        cancel: None,
    };
    let hour = Span::from_secs_f64(3_600.0);
    let room = Room { marks: 0, bytes: 0 };
    let mut request = Request::new(ticket, begin, hour, room);
    let mut exchange = Exchange::of(answers.scan());
    let (mut at, mut from) = (begin, 0);
    for cut in cuts.into_iter().chain([input.len()]) {
        at = at + Span::from_nanos(1);
        let cut = cut.clamp(from, input.len());
        match exchange.feed(at, &input[from..cut], &mut request) {
            Ok(Progress::More) => {}
            Ok(Progress::Complete { .. }) => return request.complete(at),
            Err(error) => {
                let failure = Failure::Framing {
                    offset: error.offset,
                    cause: error.cause.text(),
                };
                return request.fail(at, failure);
            }
        }
        from = cut;
    }
    match exchange.close(at, &mut request) {
        Closed::Complete => request.complete(at),
        closed => {
            let failure = request.broken(at, closed, 0);
            request.fail(at, failure)
        }
    }
}
