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
