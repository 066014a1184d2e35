//! Bodies that are put together when they are sent arrive byte by byte as they would whole.

use std::sync::{Arc, Mutex};

use pinfire_base::{
    clock::Span,
    ready::{Ready, ReadyTurn, Splice},
    rope::{Insert, Rope},
};
use pinfire_engine::plan::Reuse;
use pinfire_tests::{load::Load, on_both_drivers, raw::Raw};
use serde_json::Value;

const ANSWER: &str = r#"{"choices":[{"message":{"role":"assistant","content":"yes"}}]}"#;

/// A server that keeps the bodies in order of arrival.
fn keeping() -> (Raw, Arc<Mutex<Vec<Vec<u8>>>>) {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&bodies);
    let server = Raw::start(move |conn| {
        while let Some(seen) = conn.request() {
            kept.lock().unwrap().push(seen.sent);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
            conn.send(format!("{head}{}\r\n\r\n{ANSWER}", ANSWER.len()).as_bytes());
        }
    });
    (server, bodies)
}

fn pool() -> Arc<[u8]> {
    let text: String = (0..40_000).map(|n| format!("word{n} \\\"q\\\" ")).collect();
    text.into_bytes().into()
}

/// A turn that says `says`, slices of the pool, and what it is as a whole.
fn turn(pool: &Arc<[u8]>, says: &[(usize, usize)], history: bool) -> (ReadyTurn, String) {
    let (before, after) = (
        r#"{"messages":[{"role":"user","content":""#,
        r#""}],"model":"m","stream":false}"#,
    );
    let inserts = says.iter().map(|&(start, len)| Insert {
        at: before.len() as u32,
        len: len as u32,
        start: start as u64,
    });
    let own = format!("{before}{after}");
    let rope = Rope::new(Arc::clone(pool), own.len(), inserts.collect());
    let text = says.iter().map(|&(start, len)| &pool[start..start + len]);
    let text = String::from_utf8(text.collect::<Vec<_>>().concat()).unwrap();
    let whole = format!("{before}{text}{after}");
    let message = r#"{"messages":["#.len()..whole.len() - r#"],"model":"m","stream":false}"#.len();
    let turn = ReadyTurn {
        body: own.into_bytes(),
        rope: Some(rope),
        delay: Span::ZERO,
        at: None,
        history: history.then_some(Splice {
            at: message.start,
            own: message,
        }),
    };
    (turn, whole)
}

on_both_drivers! {
    fn small_and_large_bodies_with_slices_arrive_exactly(driver) {
        let pool = pool();
        let says: [&[(usize, usize)]; 4] = [
            &[(0, 5)],
            &[(10, 300_000), (0, 300_000), (4, 1)],
            &[],
            &[(0, pool.len()), (7, 20)],
        ];
        let (turns, wholes): (Vec<_>, Vec<_>) =
            says.iter().map(|says| turn(&pool, says, false)).unzip();
        let (server, bodies) = keeping();
        let mut load = Load::new(driver, server.address()).of(1, 12);
        load.dataset = Arc::new(Ready::new(turns.into_iter().map(|t| (String::new(), vec![t]))));
        load.reuse = Reuse::Pooled;
        let run = load.run();
        assert_eq!(run.ends(), [12, 0, 0, 0]);
        let bodies = bodies.lock().unwrap();
        assert_eq!(bodies.len(), 12);
        for (n, body) in bodies.iter().enumerate() {
            assert!(body == wholes[n % 4].as_bytes(), "body {n} differs");
        }
        for record in &run.records {
            assert!(record.body.is_none(), "what is known beforehand is not kept again");
        }
    }

    fn slices_become_history(driver) {
        let pool = pool();
        let (first, whole) = turn(&pool, &[(0, 30), (3, 9)], true);
        let (second, other) = turn(&pool, &[(50, 70_000)], true);
        let (server, bodies) = keeping();
        let mut load = Load::new(driver, server.address()).of(1, 2);
        load.dataset = Arc::new(Ready::new([("c".to_owned(), vec![first, second])]));
        let run = load.run();
        assert_eq!(run.ends(), [2, 0, 0, 0]);
        let bodies = bodies.lock().unwrap();
        assert_eq!(bodies[0], whole.as_bytes());
        let messages = |text: &[u8]| -> Vec<Value> {
            let body: Value = serde_json::from_slice(text).unwrap();
            body["messages"].as_array().unwrap().clone()
        };
        let sent = messages(&bodies[1]);
        assert_eq!(sent[0], messages(whole.as_bytes())[0]);
        assert_eq!((&sent[1]["role"], &sent[1]["content"]), (&"assistant".into(), &"yes".into()));
        assert_eq!(sent[2], messages(other.as_bytes())[0]);
        let kept: Vec<bool> = run.records.iter().map(|record| record.body.is_some()).collect();
        assert_eq!(kept.iter().filter(|kept| **kept).count(), 1, "the one with history");
        let with = run.records.iter().find(|record| record.body.is_some()).unwrap();
        assert_eq!(with.body.as_ref().unwrap(), &bodies[1]);
    }
}
