//! Sessions, runs, comparisons and shared files, in a real browser and over HTTP.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::browser::installed;
use super::client;
use crate::runs::agents::{Claude, Codex, Model, Tokens, function, message, text, uses};
use crate::support::browser::Browser;
use crate::support::proxy::{Running, TestProxy, eventually};
use crate::support::sample::{HOSTILE, STEERING, steering, steers};

const SESSION: &str = "0b9f5d4e-8c55-4bb1-a7a5-7f0c4c2b9d01";
const OTHER: &str = "7d0a3c11-1111-4bb1-a7a5-7f0c4c2b9d02";
const OF_CODEX: &str = "019a0000-2222-7bb1-a7a5-7f0c4c2b9d03";
const WIDE: (u32, u32) = (1280, 900);

/// A proxy through which agents have run.
struct Played {
    proxy: Running,
    _model: Model,
    /// Calls made so far.
    made: AtomicUsize,
}

fn tokens(uncached: u64, read: u64, written: u64) -> Tokens {
    Tokens { uncached, read, written, output: 120 }
}

impl Played {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prices.toml");
        let model = "[[models]]\nmodel = 'm-*'\ninput = 2\noutput = 10\ncache_read = 0.2\ncache_write = 2.5\n";
        std::fs::write(&file, format!("version = '1'\ncurrency = 'USD'\n{model}")).unwrap();
        let prices = otas_proxy::prices::Prices::read(&file).unwrap();
        let proxy = TestProxy::new().with(|config| config.event.prices = prices).run().await;
        Self { proxy, _model: Model::start().await, made: AtomicUsize::new(0) }
    }

    /// Two turns, a sub-agent, a failed tool, a failed call, and a cache miss because a tool was added.
    async fn claude(&self, session: &'static str, question: &str) {
        let mut main = Claude::new(&self.proxy, &self._model, session);
        main.says(question);
        main.call(&[uses("t1", "Bash", json!({ "command": "ls src" }))], tokens(9, 0, 9_000)).await;
        main.results(&[("t1", "no such file", true)]);
        let task = json!({ "description": "callers", "prompt": "Look for the callers of the parser." });
        main.call(&[uses("t2", "Agent", task)], tokens(9, 9_000, 400)).await;
        let mut helper = main.sub_agent("helper-1");
        helper.says("Look for the callers of the parser.");
        helper.call(&[uses("h1", "Bash", json!({ "command": "rg parse" }))], tokens(9, 0, 700)).await;
        helper.results(&[("h1", "three files", false)]);
        helper.call(&[text("Three files.")], tokens(9, 700, 0)).await;
        main.results(&[("t2", "Three files.", false)]);
        main.call(&[text("The parser is used in three files.")], tokens(9, 9_400, 300)).await;
        main.says("And now the tests.");
        main.tools.push("WebFetch");
        main.fail(529, "Overloaded").await;
        main.call(&[text("The tests pass.")], tokens(30, 0, 11_000)).await;
        self.stored(7).await;
    }

    async fn codex(&self) {
        let mut codex = Codex::new(&self.proxy, &self._model, OF_CODEX);
        codex.says("What is here?");
        codex.call(&[function("c1", "shell", &json!({ "command": ["ls"] }))], tokens(100, 0, 0)).await;
        codex.result("c1", "a b c");
        codex.call(&[message("Three files.")], tokens(100, 0, 0)).await;
        self.stored(2).await;
    }

    /// A session whose texts mean harm.
    async fn hostile(&self) {
        let harm = format!("{HOSTILE}{STEERING}");
        let mut main = Claude::new(&self.proxy, &self._model, OTHER);
        main.says(&harm);
        main.call(&[uses("t1", &harm, json!({ "command": harm }))], tokens(9, 0, 9_000)).await;
        main.results(&[("t1", &harm, true)]);
        main.system.push_str(&harm);
        main.call(&[text(&harm)], tokens(9, 0, 9_000)).await;
        main.fail(529, &harm).await;
        self.stored(3).await;
    }

    /// Waits until so many calls more are stored: the page shows no others.
    async fn stored(&self, more: usize) {
        let made = self.made.fetch_add(more, Ordering::Relaxed) + more;
        let filter = otas_proxy::store::Filter { limit: 99, ..Default::default() };
        let viewer = self.proxy.app.store.viewer();
        eventually("all calls are stored", async || viewer.calls(&filter, None).unwrap().len() == made).await;
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.proxy.app.admin_addr)
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        client().get(self.url(path)).bearer_auth(self.proxy.token()).send().await.unwrap()
    }

    async fn text(&self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }

    fn browser(&self, program: &Path, size: (u32, u32), dark: bool) -> Browser {
        let mut browser = Browser::start(program, size, dark);
        browser.open(&self.proxy.app.page_link().unwrap());
        browser
    }
}

fn run_of(session: &str) -> String {
    format!("/run?id=claude%3A{session}")
}

/// The row of the event with this error.
fn row(played: &Played, path: &str) -> i64 {
    let filter = otas_proxy::store::Filter { limit: 99, ..Default::default() };
    let calls = played.proxy.app.store.viewer().calls(&filter, None).unwrap();
    calls.into_iter().find(|listed| listed.call.error.contains(path)).unwrap().call.id
}

fn click(browser: &mut Browser, selector: &str) {
    browser.until(&format!("document.querySelector({}) !== null", json!(selector)));
    browser.eval(&format!("document.querySelector({}).click(); 1", json!(selector)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_a_tree_with_its_slowest_phase_and_the_reason_of_a_cache_miss() {
    let Some(program) = installed() else { return };
    let played = Played::start().await;
    played.claude(SESSION, "Tidy the parser up.").await;
    played.codex().await;
    let mut browser = played.browser(&program, WIDE, false);
    // First action: the sessions. Second: the run. All that is asked for is on it.
    click(&mut browser, "nav a[href='/sessions']");
    browser.until("document.querySelectorAll('table.runs tbody tr').length === 2");
    assert_eq!(browser.eval("document.querySelector('a.run').textContent"), json!("codex 019a0000"), "newest first");
    browser.eval(
        "[...document.querySelectorAll('a.run')].find((link) => link.textContent.startsWith('claude')).click(); 1",
    );
    browser.until("document.querySelector('#run .tree') !== null");
    let seen = |browser: &mut Browser, selector: &str| {
        browser.eval(&format!("document.querySelector({}).checkVisibility()", json!(selector)))
    };
    assert_eq!(seen(&mut browser, "#run .slow .slowest"), json!(true), "the slowest phase is marked");
    let miss = browser.eval("document.querySelector('p.miss').textContent");
    assert!(miss.as_str().unwrap().ends_with("The tool WebFetch was added."), "{miss}");
    let texts =
        "[...document.querySelectorAll('.tree .row:not(.head) .name')].map((name) => name.textContent.trim())";
    let rows = browser.eval(texts);
    let rows: Vec<&str> = rows.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let starts = |words: &str| rows.iter().filter(|row| row.starts_with(words)).count();
    assert_eq!(
        (starts("agent "), starts("turn "), starts("model "), starts("tool "), starts("sub-agent ")),
        (1, 3, 7, 3, 1),
        "{rows:?}"
    );
    assert!(rows.iter().any(|row| row.contains("Overloaded")), "{rows:?}");
    // The sub-agent is inside the tool that started it, deeper than the turn.
    let depth = "[...document.querySelectorAll('.tree details')].map((part) => { let n = 0; for (let up = part; up; up = up.parentElement.closest('details')) n += 1; return n; })";
    assert_eq!(browser.eval(depth), json!([1, 2, 3, 4, 5, 2]));
    // By keyboard: shut the first turn, go on, open it again.
    let focused = "document.activeElement.textContent";
    browser.eval("document.querySelector('.tree summary').focus(); 1");
    browser.press("ArrowDown");
    assert!(browser.eval(focused).as_str().unwrap().contains("Tidy the parser up."), "{}", browser.eval(focused));
    browser.press("ArrowLeft");
    assert_eq!(browser.eval("document.activeElement.parentElement.open"), json!(false));
    browser.press("ArrowDown");
    assert!(browser.eval(focused).as_str().unwrap().contains("And now the tests."), "{}", browser.eval(focused));
    browser.press("ArrowUp");
    browser.press("ArrowRight");
    browser.press("ArrowDown");
    assert_eq!(browser.eval("document.activeElement.matches('.leaf a')"), json!(true));
    browser.press("ArrowLeft");
    assert_eq!(browser.eval("document.activeElement.matches('summary')"), json!(true));
    // By mouse: a click on a row opens and shuts it.
    browser.eval("document.querySelector('.tree details details > summary').click(); 1");
    assert_eq!(browser.eval("document.querySelector('.tree details details').open"), json!(false));
    browser.eval("document.querySelector('.tree .leaf a').click(); 1");
    browser.until("location.pathname.startsWith('/event/')");
    assert!(browser.said.is_empty(), "{:?}", browser.said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_in_progress_is_updated_and_what_is_open_stays_open() {
    let Some(program) = installed() else { return };
    let played = Played::start().await;
    let mut main = Claude::new(&played.proxy, &played._model, SESSION);
    main.says("Go.");
    main.call(&[uses("t1", "Bash", json!({ "command": "ls" }))], tokens(9, 0, 9_000)).await;
    let mut browser = played.browser(&program, WIDE, false);
    browser.open(&played.url(&run_of(SESSION)));
    browser.eval("document.querySelector('.tree details details > summary').click(); document.querySelector('.tree summary').focus(); 1");
    main.results(&[("t1", "a b", false)]);
    main.call(&[text("Done.")], tokens(9, 9_000, 100)).await;
    browser.until("document.querySelectorAll('.tree .leaf').length === 3");
    assert_eq!(browser.eval("document.querySelector('.tree details details').open"), json!(false), "it was shut");
    assert_eq!(browser.eval("document.querySelector('.tree details').open"), json!(true));
    assert_eq!(browser.eval("document.activeElement === document.querySelector('.tree summary')"), json!(true));
    assert!(browser.said.is_empty(), "{:?}", browser.said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_are_compared_in_three_actions() {
    let Some(program) = installed() else { return };
    let played = Played::start().await;
    played.claude(SESSION, "Tidy the parser up.").await;
    played.claude(OTHER, "Tidy the printer up.").await;
    let mut browser = played.browser(&program, WIDE, false);
    browser.open(&played.url("/sessions"));
    // Three actions: two ticks and a button.
    browser.eval("document.querySelectorAll('table.runs input[type=checkbox]').forEach((box) => box.click()); 1");
    click(&mut browser, "button.compare");
    let cells = "[...document.querySelectorAll('table.compare tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))";
    // What is not read within the page's first milliseconds comes later.
    let all_calls = "row[0] === 'model calls' && row[1] === '7' && row[2] === '7'";
    browser.until(&format!("{cells}.some((row) => {all_calls})"));
    let rows = browser.eval(cells);
    let found = |name: &str| {
        rows.as_array().unwrap().iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{name}: {rows}")).clone()
    };
    assert_eq!(found("turns"), json!(["turns", "3", "3", "same"]));
    assert_eq!(found("model calls"), json!(["model calls", "7", "7", "same"]));
    assert_eq!(found("cache misses"), json!(["cache misses", "1", "1", "same"]));
    assert!(found("Bash")[1].as_str().unwrap().starts_with("2, 1 failed"), "{rows}");
    let page = browser.eval("document.querySelector('main').textContent");
    let page = page.as_str().unwrap();
    assert!(page.contains("they begin differently") && page.contains("printer") && page.contains("parser"), "{page}");
    assert!(browser.said.is_empty(), "{:?}", browser.said);
    let one = played.text("/compare?with=claude%3Anobody").await;
    assert!(one.contains("Choose exactly two sessions"), "{one}");
    assert_eq!(played.get(&format!("/compare?with=claude%3A{SESSION}&with=9")).await.status(), 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_of_sessions_is_filtered() {
    let played = Played::start().await;
    played.claude(SESSION, "Tidy the parser up.").await;
    played.codex().await;
    let all = played.text("/sessions").await;
    assert!(all.contains("claude 0b9f5d4e") && all.contains("codex 019a0000") && all.contains("m-claude"), "{all}");
    assert!(all.contains("<td class=\"n r-errors bad\">1</td>") && all.contains("$"), "errors and cost: {all}");
    let some = played.text("/sessions?text=model%3Acodex").await;
    assert!(!some.contains("claude 0b9f5d4e") && some.contains("codex 019a0000"), "{some}");
    let wrong = played.text("/sessions?text=hst%3Aa").await;
    assert!(wrong.contains("unknown key") && !wrong.contains("codex 019a0000"), "{wrong}");
    assert!(played.text("/sessions/delivery").await.contains("pending"));
    for path in ["/run?id=nobody", "/run", "/run/part?id=x", "/run/share?id=x", "/event/99/share"] {
        assert_eq!(played.get(path).await.status(), 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_and_a_run_are_shared_as_files_that_need_nothing_else() {
    let Some(program) = installed() else { return };
    let played = Played::start().await;
    played.claude(SESSION, "Tidy the parser up.").await;
    played.hostile().await;
    let folder = tempfile::tempdir().unwrap();
    let mut browser = Browser::start(&program, WIDE, false);
    let failed = row(&played, "Overloaded");
    for (path, words) in [
        (format!("/event/{failed}/share"), "Overloaded"),
        (format!("/run/share?id=claude%3A{SESSION}"), "The tool WebFetch was added."),
        (format!("/run/share?id=claude%3A{SESSION}"), "The parser is used in three files."),
        (format!("/run/share?id=claude%3A{OTHER}"), "document.title"),
        (format!("/event/{}/share", row(&played, "script")), "document.title"),
    ] {
        let response = played.get(&path).await;
        let disposition = response.headers()["content-disposition"].to_str().unwrap().to_owned();
        assert!(
            disposition.starts_with("attachment; filename=\"otas-proxy-") && disposition.ends_with(".html\""),
            "{disposition}"
        );
        let html = response.text().await.unwrap();
        for outside in ["src=\"http", "href=\"http", "href=\"/", "src=\"/", "<script", "@import", "url("] {
            assert!(!html.contains(outside), "{path}: {outside}");
        }
        assert!(!html.contains(steers), "{path}");
        let file = folder.path().join("shared.html");
        std::fs::write(&file, html).unwrap();
        browser.open(&format!("file://{}", file.display()));
        assert!(browser.eval("document.body.textContent").as_str().unwrap().contains(words), "{path}");
        assert_ne!(browser.eval("document.title"), json!("pwned"), "{path}");
        assert_eq!(
            browser.eval("document.querySelectorAll('script, [onload], [onerror], img[src=x]').length"),
            json!(0),
            "{path}"
        );
        // Its own style is applied, and its policy lets nothing else in.
        assert_eq!(
            browser.eval("getComputedStyle(document.querySelector('dl.strip')).display"),
            json!("flex"),
            "{path}"
        );
        assert!(browser.said.is_empty(), "{path}: {:?}", browser.said);
        browser.eval(&format!("document.body.insertAdjacentHTML('beforeend', {}); 1", json!(HOSTILE)));
        browser.eval("new Promise((done) => setTimeout(done, 100))");
        assert_ne!(browser.eval("document.title"), json!("pwned"), "{path}");
        assert!(browser.said.iter().any(|said| said.to_string().contains("Content Security Policy")), "{path}");
        browser.said.clear();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_hostile_runs_are_text_and_fit_every_width() {
    let Some(program) = installed() else { return };
    let played = Played::start().await;
    played.hostile().await;
    played.claude(SESSION, &steering("question")).await;
    let mut browser = played.browser(&program, WIDE, true);
    let compare = format!("/compare?with=claude%3A{SESSION}&with=claude%3A{OTHER}");
    for path in ["/sessions", "/sessions/delivery", &run_of(OTHER), &run_of(SESSION), &compare] {
        browser.open(&played.url(path));
        for width in [360, 720, 1000, 1280, 1600] {
            browser.resize(width, 800);
            let over = browser.eval("document.documentElement.scrollWidth - innerWidth").as_i64().unwrap();
            let wide = "[...document.querySelectorAll('main *')].filter((part) => part.getBoundingClientRect().right > innerWidth + 1) \
                 .slice(0, 4).map((part) => part.outerHTML.slice(0, 80))";
            assert!(over <= 0, "{path} at {width}: wider by {over}: {}", browser.eval(wide));
        }
        assert_ne!(browser.eval("document.title"), json!("pwned"), "{path}");
        assert_eq!(
            browser.eval("document.querySelectorAll('[onload],[onerror],img[src=x]').length"),
            json!(0),
            "{path}"
        );
        let html = browser.eval("document.documentElement.outerHTML");
        assert!(!html.as_str().unwrap().contains(steers), "{path}");
    }
    assert!(browser.said.is_empty(), "{:?}", browser.said);
}

/// A session of this many calls of one agent. Each carries the first message and the newest step.
fn a_long_session(played: &Played, calls: usize) {
    use crate::support::sample::{Sample, append};
    let store = &played.proxy.app.store;
    let session = store.begin_session("run-long", "key", "{}").unwrap();
    let mut messages = vec![json!({ "role": "user", "content": "Go on." })];
    for first in (0..calls).step_by(50) {
        let samples: Vec<Sample> = (first..first + 50)
            .map(|n| {
                let mut call = Sample::model("api.anthropic.com", "/v1/messages", "claude-x", (9_000, 100), 900.0);
                call.ago_ms = (calls - n) as i64 * 2_000;
                let cached = if n % 100 == 99 { 0 } else { 8_000 };
                for (name, value) in [
                    ("session.id", json!(SESSION)),
                    ("gen_ai.agent.name", json!("claude")),
                    ("otas_proxy.llm.api", json!("anthropic.messages")),
                    ("gen_ai.usage.cache_read.input_tokens", json!(cached)),
                ] {
                    call.llm[name] = value.clone();
                    call.event["custom_properties"][name] = value;
                }
                let tool = uses(&format!("t{n}"), "Bash", json!({ "command": format!("step {n}") }));
                let asked = json!({ "model": "claude-x", "tools": [{ "name": "Bash" }], "messages": messages });
                call.event["request_body"] = asked.to_string().into();
                let answer = json!({ "type": "message", "role": "assistant", "model": "claude-x", "content": [tool], "stop_reason": "tool_use" });
                call.event["response_content_type"] = "application/json".into();
                call.event["response_body"] = answer.to_string().into();
                messages.truncate(1);
                messages.push(json!({ "role": "assistant", "content": answer["content"] }));
                let result = json!({ "type": "tool_result", "tool_use_id": format!("t{n}"), "content": "ok" });
                messages.push(json!({ "role": "user", "content": [result] }));
                call
            })
            .collect();
        append(store, session, &samples);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_five_hundred_calls_is_shown_whole() {
    let played = Played::start().await;
    a_long_session(&played, 500);
    let began = std::time::Instant::now();
    // The page is there at once, and says what it lacks; the script asks for the rest.
    let page = played.text(&run_of(SESSION)).await;
    assert!(page.contains("older model calls are being read") || page.matches("class=\"row leaf").count() == 1_000);
    let page = played.text(&run_of(SESSION).replace("/run?", "/run/part?")).await;
    let took = began.elapsed();
    assert!(!page.contains("being read"), "{page}");
    assert_eq!((page.matches("class=\"row leaf").count(), page.matches("<p class=\"miss\"").count()), (1_000, 5));
    assert!(page.len() < 2 << 20, "{} bytes", page.len());
    // Built without optimization, on a loaded machine. An optimized program takes a fraction of it.
    assert!(took.as_secs() < 20, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_sessions_are_listed() {
    use crate::support::sample::{Sample, append};
    let played = Played::start().await;
    let store = &played.proxy.app.store;
    let session = store.begin_session("run-many", "key", "{}").unwrap();
    let samples: Vec<Sample> = (0..2_000)
        .map(|n| {
            let mut call = Sample::model("api.anthropic.com", "/v1/messages", "claude-x", (9_000, 100), 900.0);
            call.llm["session.id"] = format!("{:08x}-session", n / 4).into();
            call.llm["gen_ai.agent.name"] = "claude".into();
            call.ago_ms = (2_000 - n) * 1_000;
            call
        })
        .collect();
    append(store, session, &samples);
    let page = played.text("/sessions").await;
    assert_eq!(page.matches("class=\"run\"").count(), 500);
    let newest = page.find("claude 000001f3").unwrap();
    assert!(newest < page.find("claude 00000000").unwrap(), "the one with the newest call comes first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_shared_in_two_actions_and_leads_to_its_run() {
    let Some(program) = installed() else { return };
    let played = Played::start().await;
    played.claude(SESSION, "Tidy the parser up.").await;
    let mut browser = played.browser(&program, WIDE, false);
    // First action: the call. Second: the file, whose download starts with the click.
    let failed = row(&played, "Overloaded");
    browser.open(&played.url(&format!("/event/{failed}")));
    let link = "document.querySelector('.actions a[download$=\".html\"]')";
    assert_eq!(browser.eval(&format!("{link}.getAttribute('href')")), json!(format!("/event/{failed}/share")));
    browser.eval("document.querySelector('a[href^=\"/run?id=\"]').click(); 1");
    browser.until("document.querySelector('#run .tree') !== null");
    assert_eq!(browser.eval("document.querySelector('h1').textContent"), json!("claude 0b9f5d4e"));
    assert!(browser.said.is_empty(), "{:?}", browser.said);
}
