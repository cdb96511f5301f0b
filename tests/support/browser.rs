//! A headless Chromium, driven over the DevTools protocol by pipes: no port, no WebSocket.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with one page. Killed when dropped.
pub struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    session: Option<String>,
    last: u64,
    /// What the page said by itself: errors, refused loads, dialogs.
    pub said: Vec<Value>,
    _folder: TempDir,
}

/// The Chromium of this machine, if there is one. Where the clients are required, so is it.
pub fn chromium() -> Option<PathBuf> {
    let given = std::env::var_os("OTAS_TEST_CHROMIUM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = given.or_else(|| {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let mut all = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
        all.find(|file| file.is_file())
    });
    assert!(found.is_some() || std::env::var("OTAS_REQUIRE_CLIENTS").as_deref() != Ok("1"), "there is no Chromium");
    found
}

impl Browser {
    /// Starts `program` with a window of this size.
    pub fn start(program: &Path, (width, height): (u32, u32), dark: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (to, from) = (folder.path().join("to"), folder.path().join("from"));
        assert!(Command::new("mkfifo").args([&to, &from]).status().unwrap().success());
        let child = Command::new("sh")
            .args(["-c", "to=$1; from=$2; shift 2; exec \"$@\" 3<\"$to\" 4>\"$from\"", "sh"])
            .args([&to, &from])
            .arg(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--no-proxy-server", "--disable-background-networking", "--disable-component-update"])
            .args(["--hide-scrollbars", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .arg("about:blank")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = OpenOptions::new().write(true).open(to).unwrap();
        let answers = BufReader::new(File::open(from).unwrap());
        let (sender, from) = channel();
        std::thread::spawn(move || {
            for answer in answers.split(0).map_while(Result::ok) {
                if sender.send(serde_json::from_slice(&answer).unwrap()).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self { child, to, from, session: None, last: 0, said: Vec::new(), _folder: folder };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.ask("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(width, height);
        let scheme = json!([{ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } }]);
        browser.ask("Emulation.setEmulatedMedia", json!({ "features": scheme }));
        browser
    }

    /// Gives the page another size.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.ask("Emulation.setDeviceMetricsOverride", size);
    }

    /// Opens `url` and waits until it is loaded.
    pub fn open(&mut self, url: &str) {
        self.eval("window.before = true");
        self.ask("Page.navigate", json!({ "url": url }));
        self.until("!window.before && document.readyState === 'complete'");
    }

    /// What an expression gives.
    pub fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, expression: &str) {
        let by = Instant::now() + PATIENCE;
        while self.try_eval(expression) != json!(true) {
            assert!(Instant::now() < by, "in vain: {expression}; {:?}", self.said);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses a key, as a person would.
    pub fn press(&mut self, key: &str) {
        let text = if key.chars().count() == 1 { key } else { "" };
        self.ask("Input.dispatchKeyEvent", json!({ "type": "keyDown", "key": key, "text": text }));
        self.ask("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key }));
    }

    /// The processor time of the page's main thread so far.
    pub fn worked(&mut self) -> Duration {
        self.ask("Performance.enable", json!({ "timeDomain": "threadTicks" }));
        let metrics = self.ask("Performance.getMetrics", json!({}));
        let spent = metrics["metrics"].as_array().unwrap().iter().find(|metric| metric["name"] == "TaskDuration");
        Duration::from_secs_f64(spent.unwrap()["value"].as_f64().unwrap())
    }

    /// Moves the pointer there.
    pub fn point(&mut self, x: u32, y: u32) {
        self.ask("Input.dispatchMouseEvent", json!({ "type": "mouseMoved", "x": x, "y": y }));
    }

    /// What the window shows, as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let shot = self.ask("Page.captureScreenshot", json!({ "format": "png" }));
        STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()
    }

    fn try_eval(&mut self, expression: &str) -> Value {
        // Between two pages there is nothing to ask.
        let asked = json!({ "expression": expression, "returnByValue": true });
        self.answer("Runtime.evaluate", asked)["result"]["result"]["value"].clone()
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        let answer = self.answer(method, parameters);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    fn answer(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut asked = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            asked["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{asked}\0").as_bytes()).unwrap();
        loop {
            let told = self.from.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no answer to {method}"));
            if told["id"] == self.last {
                return told;
            }
            let event = told["method"].as_str().unwrap_or_default();
            if ["Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening"].contains(&event) {
                self.said.push(told);
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let by = Instant::now() + Duration::from_secs(5);
        while Instant::now() < by {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
