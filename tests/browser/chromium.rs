//! A browser, driven over its debugging pipe: messages of JSON that end in a zero byte.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use pinfire_tests::{needs::left_out, watchdog::watch};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where the browser is; `None` if there is none. With PINFIRE_NEED_BROWSER set that is a failure.
pub fn find() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let found =
        std::env::split_paths(&folders).flat_map(|folder| names.map(|name| folder.join(name)));
    let found = found.into_iter().find(|path| path.is_file());
    if found.is_none() {
        left_out(
            "PINFIRE_NEED_BROWSER",
            "there is no chromium on this machine (apt-get install chromium)",
        );
    }
    found
}

/// A browser with one page.
pub struct Page {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: String,
    last: u64,
    /// Addresses that the page asked for.
    pub requests: Vec<String>,
    /// Exceptions, errors on the console, what the policy refused.
    pub complaints: Vec<String>,
    _profile: TempDir,
}

impl Page {
    /// Starts a browser with an empty page of 1400 by 900.
    pub fn new(browser: &PathBuf) -> Self {
        let _guard = watch("the browser starts");
        let profile = TempDir::new().expect("a folder for the browser");
        // The shell gives the browser its descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 1>/dev/null 2>/dev/null", "sh"])
            .arg(browser)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--remote-debugging-pipe",
                "--window-size=1400,900",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the browser starts");
        let to = child.stdin.take().expect("a pipe");
        let from = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut page = Self {
            child,
            to,
            from,
            session: String::new(),
            last: 0,
            requests: Vec::new(),
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = page.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached = page.call(
            "Target.attachToTarget",
            json!({"targetId": target["targetId"], "flatten": true}),
        );
        page.session = attached["sessionId"]
            .as_str()
            .expect("a session")
            .to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page
    }

    /// Calls a method and gives its result.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        let _guard = watch(format!("the browser answers {method}"));
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.to
            .write_all(message.to_string().as_bytes())
            .expect("the browser listens");
        self.to.write_all(&[0]).expect("the browser listens");
        self.to.flush().expect("the browser listens");
        loop {
            let message = self.read();
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
        }
    }

    fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from
            .read_until(0, &mut bytes)
            .expect("the browser speaks");
        assert_eq!(bytes.pop(), Some(0), "the browser has ended");
        let message: Value = serde_json::from_slice(&bytes).expect("JSON");
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                self.requests.push(url.to_owned());
            }
            Some("Runtime.exceptionThrown") => self.complaints.push(params.to_string()),
            Some("Runtime.consoleAPICalled") if params["type"] == "error" => {
                self.complaints.push(params.to_string())
            }
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                self.complaints.push(params.to_string())
            }
            _ => {}
        }
        message
    }

    /// Opens an address.
    pub fn open(&mut self, url: &str) {
        let result = self.call("Page.navigate", json!({"url": url}));
        assert!(
            result["errorText"].is_null(),
            "{url}: {}",
            result["errorText"]
        );
    }

    /// What a script gives.
    #[track_caller]
    pub fn value(&mut self, script: &str) -> Value {
        let result = self.call(
            "Runtime.evaluate",
            json!({"expression": script, "returnByValue": true, "awaitPromise": true}),
        );
        assert!(
            result["exceptionDetails"].is_null(),
            "{script}: {}",
            result["exceptionDetails"]
        );
        result["result"]["value"].clone()
    }

    /// Waits until a script gives true.
    #[track_caller]
    pub fn until(&mut self, script: &str) {
        let _guard = watch(format!("until {script}; complaints {:?}", self.complaints));
        while self.value(script) != true {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Clicks the element of a selector.
    pub fn click(&mut self, selector: &str) {
        self.until(&format!("Boolean(document.querySelector({selector:?}))"));
        self.value(&format!("document.querySelector({selector:?}).click()"));
    }

    /// Moves, presses or lets go of the mouse.
    pub fn mouse(&mut self, kind: &str, x: f64, y: f64) {
        let pressed = if kind == "mouseMoved" { "none" } else { "left" };
        self.call(
            "Input.dispatchMouseEvent",
            json!({"type": kind, "x": x, "y": y, "button": pressed, "buttons": 1, "clickCount": 1}),
        );
    }

    /// Presses a key.
    pub fn key(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.call("Input.dispatchKeyEvent", json!({"type": kind, "key": key, "text": if key.len() == 1 && kind == "keyDown" { key } else { "" }}));
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // Its own child processes end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
