//! The readiness probe: what counts as an answer, how long it is asked for, and that it leaves no
//! trace.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use pinfire_tests::{
    binary::profile,
    mock::{Mock, instant},
};

use crate::refusals::one_line;

/// A server that gives the n-th request the n-th of these answers, and the last one to all others;
/// it keeps the request lines.
fn answering(
    answers: &'static [(&'static str, &'static str)],
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let count = AtomicUsize::new(0);
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut bytes = vec![0; 8192];
            let read = client.read(&mut bytes).unwrap_or(0);
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            let line = text.lines().next().unwrap_or_default().to_owned();
            seen.lock().unwrap().push(line);
            let number = count.fetch_add(1, Ordering::Relaxed);
            let (status, body) = answers[number.min(answers.len() - 1)];
            let _ = write!(
                client,
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    (url, asked)
}

const ANSWER: &str = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
const RUN: &str = "--request-count 1 --num-dataset-entries 1";

#[test]
fn a_server_that_is_ready_is_asked_once_and_the_run_begins() {
    let mock = Mock::start(instant(2));
    let flags = format!("{RUN} --wait-for-model-timeout 5 --wait-for-model-mode both");
    let run = profile(&format!("http://{}", mock.address()), &flags)
        .run()
        .code(0);
    // The probe's records are not the run's.
    assert_eq!(run.lines().len(), 1);
    let (_, truths) = mock.stop();
    // A request of one token, and the run's own.
    assert_eq!(truths.len(), 2);
}

#[test]
fn a_server_that_comes_up_late_is_waited_for() {
    let (url, asked) = answering(&[
        ("503 Service Unavailable", "{}"),
        ("503 Service Unavailable", "{}"),
        ("200 OK", ANSWER),
    ]);
    let flags = format!("{RUN} --wait-for-model-timeout 60 --wait-for-model-interval 0.05");
    let run = profile(&url, &flags).run().code(0);
    assert!(run.stderr.contains("HTTP status 503"), "{}", run.stderr);
    assert_eq!(asked.lock().unwrap().len(), 4);
}

#[test]
fn any_status_below_500_is_an_answer() {
    let (url, asked) = answering(&[("401 Unauthorized", "{}"), ("200 OK", ANSWER)]);
    let flags = format!("{RUN} --wait-for-model-timeout 5");
    profile(&url, &flags).run().code(0);
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[test]
fn a_server_that_never_is_ready_is_one_error() {
    let (url, _) = answering(&[("500 Internal Server Error", "{}")]);
    let flags = format!("{RUN} --wait-for-model-timeout 0.2 --wait-for-model-interval 0.3");
    let run = profile(&url, &flags).run().code(1);
    for word in [url.as_str(), "mock", "1 try", "HTTP status 500", "0.2 s"] {
        assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
    }
    assert!(!run.has("profile_export.jsonl"));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let run = profile(&url, &flags).run().code(1);
    assert!(run.stderr.contains("refused"), "{}", run.stderr);
}

#[test]
fn models_must_list_the_name_or_not_exist_at_all() {
    let models = format!("{RUN} --wait-for-model-mode models --wait-for-model-timeout 0.1");
    let (url, _) = answering(&[("200 OK", r#"{"data":[{"id":"other"}]}"#)]);
    let run = profile(&url, &models).run().code(1);
    assert!(run.stderr.contains("does not list mock"), "{}", run.stderr);
    let (url, asked) = answering(&[
        ("404 Not Found", "{}"),
        ("200 OK", "{}"),
        ("200 OK", ANSWER),
    ]);
    profile(&url, &models).run().code(0);
    let asked = asked.lock().unwrap();
    assert!(asked[0].starts_with("GET /v1/models "), "{asked:?}");
    assert!(asked[1].starts_with("GET / "), "{asked:?}");
    assert!(
        asked[2].starts_with("POST /v1/chat/completions "),
        "{asked:?}"
    );
}

#[test]
fn without_a_time_to_wait_there_is_nothing_to_set() {
    let run = profile("mock:", "--wait-for-model-mode both").run().code(1);
    one_line(&run, "--wait-for-model-timeout");
}
