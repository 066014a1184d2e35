//! The dashboard: over HTTP by hand, and in a browser.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use pinfire_tests::{
    binary::{call, pinfire},
    watchdog::watch,
};

use crate::{
    chromium::{self, Page},
    run,
};

/// A dashboard on a free port, ended when dropped.
struct Served {
    child: Child,
    address: SocketAddr,
}

fn serve(root: &Path) -> Served {
    let _guard = watch("the dashboard starts");
    let mut child = Command::new(pinfire())
        .args(["plot", root.to_str().unwrap(), "--dashboard", "--port", "0"])
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line
        .split("http://")
        .nth(1)
        .and_then(|rest| rest.split('/').next());
    let address = address.unwrap_or_else(|| panic!("{line}")).parse().unwrap();
    Served { child, address }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    /// Status line and body of one request, sent as given.
    fn ask(&self, head: &str) -> (u16, String) {
        let _guard = watch(format!("the dashboard answers {head}"));
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
            .write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        (
            status,
            text.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned(),
        )
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}", self.address))
    }
}

#[test]
fn only_runs_are_served_and_only_here() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("runs");
    run(&root, "a", "4");
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    let served = serve(&root);
    assert!(served.address.ip().is_loopback());
    let (status, list) = served.get("/api/runs");
    assert_eq!(status, 200);
    assert!(list.contains("\"name\":\"a\""), "{list}");
    let (status, data) = served.get("/api/run?id=0");
    assert!(status == 200 && data.contains("ttft_over_time"));
    for path in [
        "/../secret",
        "/%2e%2e/secret",
        "/secret",
        "//etc/passwd",
        "/api/run?id=../../secret",
        "/api/run?id=1",
        "/api/run",
        "/api/run?id=-1",
        "/api/compare?ids=0,9",
        "/api/compare",
        "/api/run?id=18446744073709551616",
    ] {
        let (status, body) = served.get(path);
        assert!(status == 404 || status == 400, "{path}: {status}");
        assert!(
            !body.contains("secret") || body.contains("error"),
            "{path}: {body}"
        );
    }
    // A page of another site, through a name that leads here.
    assert_eq!(
        served.ask("GET /api/runs HTTP/1.1\r\nHost: evil.example").0,
        403
    );
    assert_eq!(
        served.ask("GET /api/runs HTTP/1.1\r\nHost: localhost:1").0,
        200
    );
    assert_eq!(
        served
            .ask(&format!(
                "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 0",
                served.address
            ))
            .0,
        405
    );
}

/// What is served runs nothing but its own files, a saved page nothing but what its hashes name.
#[test]
fn pages_allow_no_script_but_their_own() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "a", "4");
    let served = serve(folder.path());
    let _guard = watch("the dashboard answers");
    let mut stream = TcpStream::connect(served.address).unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", served.address);
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("script-src 'self'; style-src 'self'"),
        "{head}"
    );
    assert!(!head.contains("unsafe-inline"), "{head}");
    assert!(
        !page.contains("<style") && !page.contains("<script>"),
        "{page}"
    );
    for (path, part) in [("/page.js", "const data"), ("/page.css", "body")] {
        assert!(page.contains(path));
        let (status, text) = served.get(path);
        assert!(status == 200 && text.contains(part), "{path}: {status}");
    }

    let root = folder.path().to_str().unwrap();
    call(["plot", root, "--html"]).run().code(0);
    let saved = std::fs::read_to_string(folder.path().join("plots/report.html")).unwrap();
    let policy = saved
        .lines()
        .find(|line| line.contains("Content-Security-Policy"));
    let policy = policy.unwrap();
    assert!(policy.contains("script-src 'sha256-") && policy.contains("style-src 'sha256-"));
    assert!(!policy.contains("unsafe-inline"), "{policy}");
}

/// Whoever sends nothing, or a little now and then, keeps nobody else waiting: all of them are
/// still connected when the others have their answers.
#[test]
fn idle_and_slow_clients_do_not_block_others() {
    let folder = tempfile::tempdir().unwrap();
    let served = serve(folder.path());
    let _guard = watch("a client is answered beside idle ones");
    let say = |head: &str| {
        let mut stream = TcpStream::connect(served.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let host = format!("Host: {}\r\n", served.address);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(say(&format!(
            "POST / HTTP/1.1\r\n{host}Content-Length: 1000000\r\n\r\n"
        )));
    }
    // More than there may be connections at once: the oldest silent ones give way.
    for _ in 0..300 {
        held.push(say("GET /api/runs HTT"));
    }
    for _ in 0..8 {
        held.push(say(&format!(
            "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nffff"
        )));
    }
    let (status, list) = served.get("/api/runs");
    assert_eq!((status, list.as_str()), (200, "[]"));
    // A body is not waited for.
    let mut answer = String::new();
    held[0].read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    // A head without end, and what is none.
    for (text, expected) in [
        (
            format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(17 * 1024)),
            "431",
        ),
        (
            format!("GET / HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(65)),
            "431",
        ),
        ("\0\x01\x02\r\n\r\n".to_owned(), "400"),
    ] {
        let mut answer = String::new();
        let _ = say(&text).read_to_string(&mut answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{answer}"
        );
    }
    assert_eq!(served.get("/api/runs").0, 200);
}

#[test]
fn mistakes_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    std::fs::write(
        folder.path().join("bad.yaml"),
        "visualization:\n  multi_run_default: [a]\n",
    )
    .unwrap();
    let bad = format!("{root}/bad.yaml");
    let nowhere = format!("{root}/nowhere");
    for (arguments, expected) in [
        (vec!["plot", &nowhere], "nowhere"),
        (vec!["plot", root], "no runs found"),
        (vec!["plot", root, "--config", &bad], "line 2"),
        (
            vec!["plot", root, "--config", "/no/such.yaml"],
            "/no/such.yaml",
        ),
        (
            vec!["plot", root, "--dashboard", "--port", &port],
            "choose another with --port",
        ),
        (vec!["plot", &nowhere, "--dashboard"], "nowhere"),
        (vec!["plot", root, "--theme", "pink"], "pink"),
        (vec!["plot", root, "--num-gpus", "0"], "--num-gpus"),
        (vec!["plot", root, "--port", "1"], "--dashboard"),
    ] {
        let ended = call(arguments.iter().copied()).run().code(1);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(expected),
            "{expected}: {}",
            ended.stderr
        );
    }
}

#[test]
fn new_runs_appear_and_two_are_compared() {
    let Some(browser) = chromium::find() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let served = serve(folder.path());
    let mut page = Page::new(&browser);
    page.open(&format!("http://{}/", served.address));
    page.until("document.getElementById('main')?.innerText.includes('No runs yet')");
    run(folder.path(), "first", "2");
    page.until("document.querySelectorAll('canvas[data-marks]').length > 10");
    run(folder.path(), "second", "8");
    page.until("document.querySelectorAll('[data-choose]').length === 2");
    page.click("[data-choose='0']");
    page.click("[data-choose='1']");
    page.click("button[data-view='compare']");
    page.until("document.querySelectorAll('#compared thead th').length === 3 && document.querySelectorAll('canvas[data-marks]').length > 5");
    let shown = page
        .value("document.querySelector('figure[data-figure=compare_ttft_ms] .legend').innerText");
    assert!(shown.as_str().unwrap().contains("second"), "{shown}");
    assert_eq!(page.complaints, [""; 0]);
    let here = format!("http://{}/", served.address);
    assert!(
        page.requests
            .iter()
            .all(|url| url.starts_with(&here) || url.starts_with("data:")),
        "{:?}",
        page.requests
    );
}
