//! The page in a real browser. Skipped with a message if Chromium is not installed; `check.sh` installs it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Bench;
use crate::support::browser::{Browser, chromium};
use crate::support::origin::TestOrigin;
use crate::support::sample::{HOSTILE, Sample, append, deliver};

const WIDE: (u32, u32) = (1600, 900);

pub(super) fn installed() -> Option<PathBuf> {
    let found = chromium();
    if found.is_none() {
        // Bypasses the harness, which shows output only of failing tests.
        let _ = writeln!(std::io::stderr(), "not run: Chromium is not installed (Debian package `chromium`)");
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_is_live_and_a_call_opens_beside_it_by_keys() {
    let Some(program) = installed() else { return };
    let bench = Bench::start().await;
    bench.append(&[Sample::of("GET", "api.test", "/first", 200)]);
    let mut browser = Browser::start(&program, WIDE, false);
    browser.open(&bench.proxy.app.page_link().unwrap());
    assert_eq!(browser.eval("location.href"), json!(bench.url("/")), "the code is gone from the address");
    assert_eq!(browser.eval(ROWS), json!(1));
    bench.append(&[Sample::of("GET", "api.test", "/second", 500)]);
    browser.until("document.querySelector('tbody.past a.call').textContent.includes('/second')");
    assert_eq!(browser.eval("document.getElementById('c1').dataset.state"), json!("pending"));
    deliver(&bench.proxy.app.store, [1]);
    browser.until("document.getElementById('c1').dataset.state === 'delivered'");
    // By keys to a call. What comes meanwhile is counted, and moves neither the rows nor the focus.
    browser.press("j");
    assert_eq!(browser.eval("document.activeElement.closest('tr').id"), json!("c2"));
    browser.press("j");
    assert_eq!(browser.eval("document.activeElement.closest('tr').id"), json!("c1"));
    bench.append(&[Sample::of("GET", "api.test", "/third", 200)]);
    browser.until("document.getElementById('news').textContent === '1 new call'");
    assert_eq!(browser.eval("document.activeElement.closest('tr').id"), json!("c1"), "the focus stays");
    browser.press("k");
    browser.press("Enter");
    browser.until("document.querySelector('#pane h1')?.textContent.includes('/second')");
    assert_eq!(browser.eval("location.search"), json!("?open=2"), "the address follows");
    assert_eq!(browser.eval("document.querySelector('tr[aria-current]').id"), json!("c2"));
    browser.press("2");
    browser.until("document.querySelector('#pane .tabs [aria-current]').textContent === 'Timing'");
    assert_eq!(browser.eval("location.search"), json!("?open=2&tab=timing"));
    browser.press("j");
    browser.until("document.querySelector('#pane h1')?.textContent.includes('/first')");
    browser.press("Escape");
    browser.until("document.getElementById('pane').hidden && location.search === ''");
    assert_eq!(browser.eval("document.activeElement.closest('tr').id"), json!("c1"));
    browser.eval("history.back(); 1");
    browser.until("document.querySelector('#pane h1')?.textContent.includes('/first')");
    browser.press("Escape");
    browser.press("n");
    browser.until("document.querySelector('tbody.past a.call').textContent.includes('/third')");
    browser.press("?");
    browser.until("document.getElementById('keys').open");
    browser.press("Escape");
    browser.eval("document.getElementById('keys').close(); 1");
    browser.press("/");
    assert_eq!(browser.eval("document.activeElement.name"), json!("text"));
    browser.eval("document.activeElement.value = 'second'; document.querySelector('form.search').requestSubmit(); 1");
    browser.until(&format!("location.search.includes('text=second') && {ROWS} === 1"));
    // Live updates respect the filter.
    bench.append(&[
        Sample::of("GET", "api.test", "/fourth", 200),
        Sample::of("GET", "api.test", "/second/again", 200),
    ]);
    browser.until("document.querySelector('tbody.past a.call').textContent.includes('/second/again')");
    assert_eq!(browser.eval(ROWS), json!(2));
    assert!(browser.said.is_empty(), "{:?}", browser.said);
}

/// The number of rows.
const ROWS: &str = "document.querySelectorAll('table.calls tbody tr').length";

/// Appends 200 calls a second for this time.
async fn busy(bench: &Bench, seconds: usize) {
    for tenth in 0..seconds * 10 {
        let calls: Vec<Sample> =
            (0..20).map(|n| Sample::of("GET", "api.test", &format!("/{tenth}/{n}"), 200)).collect();
        bench.append(&calls);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_row_under_the_pointer_does_not_move_while_calls_arrive() {
    let Some(program) = installed() else { return };
    let bench = Bench::start().await;
    an_agents_day(&bench);
    let mut browser = Browser::start(&program, (1280, 800), false);
    browser.open(&bench.proxy.app.page_link().unwrap());
    let under = "document.elementFromPoint(300, 300).closest('tr').id + ' ' + document.elementFromPoint(300, 300).closest('tr').getBoundingClientRect().top";
    browser.point(300, 300);
    browser.eval(
        "document.elementFromPoint(300, 300).dispatchEvent(new PointerEvent('pointermove', { bubbles: true })); 1",
    );
    let before = browser.eval(under);
    busy(&bench, 3).await;
    browser.until("parseInt(document.getElementById('news').textContent) > 200");
    assert_eq!(browser.eval(under), before);
    // The same for somebody who has scrolled, with a call open and the pointer elsewhere.
    browser.point(1200, 20);
    browser.eval("document.getElementById('c6').querySelector('a.call').click(); document.querySelector('.rows').scrollTop = 60; 1");
    browser.until("document.querySelector('#pane article') !== null");
    let before = browser.eval("document.getElementById('c6').getBoundingClientRect().top");
    busy(&bench, 2).await;
    browser.until("document.getElementById('news').textContent.startsWith('1,000+') || parseInt(document.getElementById('news').textContent) > 700");
    assert_eq!(browser.eval("document.getElementById('c6').getBoundingClientRect().top"), before);
    assert_eq!(browser.eval("document.querySelector('tr[aria-current]').id"), json!("c6"));
    // A click on the bar shows the new calls.
    browser.eval("document.getElementById('news').click(); 1");
    browser.until(
        "document.getElementById('news').hidden && document.getElementById('live-state').textContent === 'Live'",
    );
    assert!(browser.said.is_empty(), "{:?}", browser.said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_follows_two_hundred_calls_a_second() {
    let Some(program) = installed() else { return };
    let bench = Bench::start().await;
    let mut browser = Browser::start(&program, WIDE, false);
    browser.open(&bench.proxy.app.page_link().unwrap());
    let (began, before) = (std::time::Instant::now(), browser.worked());
    busy(&bench, 4).await;
    let share = (browser.worked() - before).as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(share < 0.25, "the main thread works {share:.2} of the time");
    bench.append(&[Sample::of("GET", "api.test", "/last", 200)]);
    browser.until("document.querySelector('tbody.past a.call')?.textContent.includes('/last')");
    let rows = browser.eval(ROWS).as_u64().unwrap();
    assert!(rows > 0 && rows <= 400, "{rows} rows");
    let mixed = "[...document.querySelectorAll('tbody.past tr')].some((row, at, all) => at > 0 && \
                 Number(row.dataset.id) >= Number(all[at - 1].dataset.id))";
    assert_eq!(browser.eval(mixed), json!(false), "newest first, each once");
    browser.until("document.getElementById('sums').textContent.includes('801 calls')");
    assert!(browser.said.is_empty(), "{:?}", browser.said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_look_for_is_three_actions_away() {
    let Some(program) = installed() else { return };
    let bench = Bench::start().await;
    an_agents_day(&bench);
    let shown = |title: &str| format!("document.querySelector('#pane h1')?.textContent.includes({})", json!(title));
    let failing = "document.querySelector('#pane .note.bad')?.textContent.includes('Overloaded')";
    let dearest = "document.querySelector('#pane .strip')?.textContent.includes('$0.067')";
    for width in [1280, 1600] {
        let mut browser = Browser::start(&program, (width, 800), false);
        browser.open(&bench.proxy.app.page_link().unwrap());
        let home = bench.url("/");
        let click = |browser: &mut Browser, what: &str| {
            browser.until(&format!("document.querySelector('{what}') !== null"));
            browser.eval(&format!("document.querySelector('{what}').click(); 1"));
        };
        let first = "tbody.past tr";
        // The failing call: by mouse in two actions, by keys in three.
        click(&mut browser, "a[data-key=e]");
        browser.until("location.search === '?text=status%3Aerror' && document.readyState === 'complete'");
        click(&mut browser, first);
        browser.until(failing);
        browser.open(&home);
        browser.press("e");
        browser.until("location.search === '?text=status%3Aerror' && document.readyState === 'complete'");
        browser.press("j");
        browser.press("Enter");
        browser.until(failing);
        // The dearest call.
        browser.open(&home);
        click(&mut browser, "th.c-cost a");
        browser.until("location.search === '?sort=-cost' && document.readyState === 'complete'");
        click(&mut browser, first);
        browser.until(dearest);
        browser.open(&home);
        browser.press("$");
        browser.until("location.search === '?sort=-cost' && document.readyState === 'complete'");
        browser.press("j");
        browser.press("Enter");
        browser.until(dearest);
        // The conversation is what a call opens on; what changed is one tab further.
        browser.open(&bench.url("/?text=is:model"));
        click(&mut browser, "#c11");
        browser.until(&shown("leap years"));
        assert_eq!(
            browser.eval("document.querySelector('#pane .tabs [aria-current]').textContent"),
            json!("Conversation")
        );
        click(&mut browser, "#pane [data-tab=changes]");
        browser.until("document.querySelector('#pane section.tab').textContent.includes('New messages')");
        browser.open(&bench.url("/?text=model:sonnet"));
        browser.press("j");
        browser.press("Enter");
        browser.until(&shown("leap years"));
        browser.press("2");
        browser.until("document.querySelector('#pane section.tab').textContent.includes('New messages')");
        assert!(browser.said.is_empty(), "{:?}", browser.said);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_flight_fills_in_and_what_is_open_stays_open() {
    let Some(program) = installed() else { return };
    let bench = Bench::start().await;
    let origin = TestOrigin::http().await;
    let mut streaming = bench.proxy.client().get(origin.url("/sse/4000/20")).send().await.unwrap();
    assert!(streaming.chunk().await.unwrap().is_some());
    let mut browser = Browser::start(&program, WIDE, false);
    browser.open(&bench.proxy.app.page_link().unwrap());
    browser.until("document.querySelector('tbody.flying a.call') !== null");
    browser.eval("document.querySelector('tbody.flying a.call').click(); 1");
    browser.until("document.querySelector('#pane article[data-flying] ol.sse li') !== null");
    browser.eval(
        "window.mark = document.querySelector('#pane ol.sse').parentElement.querySelector('details'); \
         window.mark.open = true; window.seen = document.querySelectorAll('#pane ol.sse li').length; \
         document.getElementById('pane').scrollTop = 40; window.reloaded = false; 1",
    );
    for _ in 0..40 {
        streaming.chunk().await.unwrap();
    }
    browser.until("document.querySelectorAll('#pane ol.sse li').length > window.seen");
    assert_eq!(
        browser.eval(
            "[window.reloaded, window.mark.isConnected, window.mark.open, document.getElementById('pane').scrollTop]"
        ),
        json!([false, true, true, 40])
    );
    drop(streaming);
    browser.until("document.querySelector('#pane article').dataset.path === '/event/1'");
    browser.until("location.search.includes('open=1')");
    assert_eq!(browser.eval("window.mark.isConnected && window.mark.open"), json!(true));
    assert!(browser.said.is_empty(), "{:?}", browser.said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_hostile_call_is_executed() {
    let Some(program) = installed() else { return };
    let bench = Bench::start().await;
    bench.append(&[Sample::hostile()]);
    let mut browser = Browser::start(&program, WIDE, false);
    browser.open(&bench.proxy.app.page_link().unwrap());
    // A call that the script inserts while the table is live.
    bench.append(&[Sample::hostile()]);
    browser.until("document.querySelectorAll('table.calls tbody tr').length === 2");
    bench.append(&[Sample::talking(&|_| HOSTILE.to_owned())]);
    let session = format!("/session/{}", bench.session.id());
    for path in
        ["/", "/event/1", "/?open=3", "/?open=3&tab=raw", "/event/3?tab=changes", &session, "/sessions", "/health"]
    {
        browser.open(&bench.url(path));
        browser.until("document.readyState === 'complete'");
        assert_ne!(browser.eval("document.title"), json!("pwned"), "{path}");
        assert_eq!(browser.eval("document.querySelectorAll('script').length"), json!(1), "{path}");
        assert_eq!(
            browser.eval("document.querySelectorAll('[onload],[onerror],img[src=x]').length"),
            json!(0),
            "{path}"
        );
    }
    browser.open(&bench.url("/event/1"));
    assert_eq!(
        browser.eval("document.body.textContent.includes(\"document.title='pwned'\")"),
        json!(true),
        "it is shown as text"
    );
    // Even if something got in, the policy would prevent it from running.
    let smuggled = format!("document.body.insertAdjacentHTML('beforeend', {}); 1", json!(HOSTILE));
    assert!(browser.said.is_empty(), "{:?}", browser.said);
    browser.eval(&smuggled);
    browser.eval("new Promise((done) => setTimeout(done, 200))");
    assert_ne!(browser.eval("document.title"), json!("pwned"));
    assert!(
        browser.said.iter().any(|said| said.to_string().contains("Content Security Policy")),
        "{:?}",
        browser.said
    );
    assert!(!browser.said.iter().any(|said| said["method"] == "Page.javascriptDialogOpening"), "{:?}", browser.said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_page_fits_a_phone_and_a_wide_screen_in_light_and_dark() {
    let Some(program) = installed() else { return };
    let bench = Bench::start().await;
    an_agents_day(&bench);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (dark, size) in [(false, WIDE), (false, (1280, 800)), (true, (360, 740))] {
        let mut browser = Browser::start(&program, size, dark);
        browser.open(&bench.proxy.app.page_link().unwrap());
        let model = "/?open=6";
        let session = format!("/session/{}", bench.session.id());
        for (name, path) in [
            ("calls", "/"),
            ("exchange", model),
            ("session", &session),
            ("health", "/health"),
            ("sessions", "/sessions"),
        ] {
            browser.open(&bench.url(path));
            let over = browser.eval("document.documentElement.scrollWidth - innerWidth");
            assert!(over.as_i64().unwrap() <= 0, "{name} is wider than {size:?} by {over}");
            let back = browser.eval("getComputedStyle(document.body).backgroundColor");
            assert_eq!(back, json!(if dark { "rgb(15, 19, 24)" } else { "rgb(255, 255, 255)" }));
            let shot = browser.screenshot();
            assert!(shot.starts_with(b"\x89PNG"), "{name}");
            // `just screenshots` keeps them for the README and docs/page.md.
            let is_kept = name != "sessions" && if size == WIDE { true } else { dark && name == "calls" };
            if std::env::var_os("OTAS_SCREENSHOTS").is_some() && is_kept {
                let kind = if dark { "-narrow-dark" } else { "" };
                std::fs::write(folder.join(format!("page-{name}{kind}.png")), shot).unwrap();
            }
        }
        assert!(browser.said.is_empty(), "{:?}", browser.said);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_can_be_opened_and_its_tokens_are_visible_at_every_width() {
    let Some(program) = installed() else { return };
    let bench = Bench::start().await;
    an_agents_day(&bench);
    let long = "a-provider/with-a-very-long-name-of-a-model-that-goes-on-and-on-2026-11-29";
    bench.append(&[Sample::model(
        "bedrock-runtime.eu-central-1.example.com",
        "/model/x/converse",
        long,
        (1_234_567, 89_012),
        900.0,
    )]);
    let mut browser = Browser::start(&program, WIDE, false);
    browser.open(&bench.proxy.app.page_link().unwrap());
    for width in [360, 480, 700, 720, 800, 1000, 1001, 1024, 1150, 1280, 1331, 1366, 1440, 1500, 1600, 1920] {
        browser.resize(width, 800);
        let over = browser.eval("document.documentElement.scrollWidth - innerWidth").as_i64().unwrap();
        assert!(over <= 0, "{width}: wider by {over}");
        let shut = browser.eval(
            "[...document.querySelectorAll('a.call')].slice(0, 8).filter((link) => { \
               link.scrollIntoView({ block: 'center' }); \
               const box = link.getBoundingClientRect(); \
               const there = document.elementFromPoint(box.left + 5, box.top + box.height / 2); \
               return box.width < 60 || there?.closest('a') !== link; \
             }).map((link) => link.textContent)",
        );
        assert_eq!(shut, json!([]), "{width}: calls that cannot be opened");
        let cut = browser.eval(
            "[...document.querySelectorAll('td.c-tokens, td.c-cost, td.c-ms, td.c-cached')].filter((part) => \
               part.getClientRects().length > 0 && (part.scrollWidth > part.clientWidth + 1 || part.getBoundingClientRect().right > innerWidth)) \
             .map((part) => part.className + ' ' + part.textContent)",
        );
        assert_eq!(cut, json!([]), "{width}: figures that are cut");
    }
    assert!(browser.said.is_empty(), "{:?}", browser.said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_text_breaks_no_layout_at_any_width() {
    let Some(program) = installed() else { return };
    let bench = Bench::start().await;
    let long = "no-place-to-break-".replace('-', "x").repeat(400);
    let turned = format!("/\u{202e}{long}\u{2066}\u{1b}[2J\u{9b}31m<script>document.title='pwned'</script>");
    let mut hostile = Sample::model("api.openai.com", &turned, &turned, (1_234_567, 89_012), 900.0);
    (hostile.host, hostile.method, hostile.error) = (turned.clone(), turned.clone(), turned.clone());
    for field in ["path", "query_params", "request_body", "response_body", "error", "method", "response_content_type"]
    {
        hostile.event[field] = turned.clone().into();
    }
    for field in ["request_headers", "response_headers"] {
        hostile.event[field] = json!({ turned.as_str(): turned, "x": [turned, turned] }).to_string().into();
    }
    hostile.event["metadata"]["llm"]["text"] = turned.clone().into();
    hostile.event["metadata"]["client"] = json!({ "command": turned, "name": turned });
    hostile.event["custom_properties"]["server.address"] = turned.clone().into();
    let meta = json!({ "command": turned, "agent": turned, "user": turned, turned.as_str(): turned }).to_string();
    let session = bench.proxy.app.store.begin_session(&turned, "key-1", &meta).unwrap();
    append(
        &bench.proxy.app.store,
        session,
        &[hostile, Sample::of("GET", "a.test", "/usual", 200), Sample::talking(&|_| turned.clone())],
    );
    let mut browser = Browser::start(&program, WIDE, false);
    browser.open(&bench.proxy.app.page_link().unwrap());
    for path in [
        "/",
        "/event/1",
        "/?open=1",
        "/event/3",
        "/?open=3&tab=raw",
        &format!("/session/{}", session.id()),
        "/sessions",
        "/health",
    ] {
        browser.open(&bench.url(path));
        for width in [360, 720, 800, 1000, 1024, 1280, 1366] {
            browser.resize(width, 800);
            let over = browser.eval("document.documentElement.scrollWidth - innerWidth").as_i64().unwrap();
            let wide = "[...document.querySelectorAll('main *')].filter((part) => part.getBoundingClientRect().right > innerWidth + 1) \
                 .slice(0, 4).map((part) => part.outerHTML.slice(0, 80))";
            assert!(over <= 0, "{path} at {width}: wider by {over}: {}", browser.eval(wide));
        }
        let steers = r"/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/.test(document.documentElement.outerHTML)";
        assert_eq!(browser.eval(steers), json!(false), "{path}");
        assert_ne!(browser.eval("document.title"), json!("pwned"), "{path}");
    }
    assert!(browser.said.is_empty(), "{:?}", browser.said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hidden_elements_are_invisible_and_failures_are_red() {
    let Some(program) = installed() else { return };
    let bench = Bench::start().await;
    let mut failed = Sample::model("api.openai.com", "/v1/responses", "gpt-5.2", (900, 140), 1_350.0);
    failed.error = "stream_error: overloaded".to_owned();
    bench.append(&[Sample::model("api.openai.com", "/v1/responses", "gpt-5.2", (9, 1), 350.0).ago(5_000), failed]);
    let mut browser = Browser::start(&program, WIDE, false);
    browser.open(&bench.proxy.app.page_link().unwrap());
    browser.open(&bench.url("/?before=99"));
    let seen = "[...document.querySelectorAll('[hidden]')].filter((part) => part.getClientRects().length > 0).length";
    assert_eq!(browser.eval("document.querySelectorAll('[hidden]').length > 0"), json!(true));
    assert_eq!(browser.eval(seen), json!(0), "what is hidden is not seen");
    browser.open(&bench.url(&format!("/session/{}", bench.session.id())));
    let fills =
        browser.eval("[...document.querySelectorAll('rect.call')].map((call) => getComputedStyle(call).fill)");
    assert_eq!(fills, json!(["rgb(130, 80, 223)", "rgb(196, 38, 29)"]), "the failed one is red");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_on_another_page_opens_and_captured_text_cannot_change_text_direction() {
    const STEERING: &str = "/a\u{202e}gpj\u{2066}\u{200b}\u{feff}\u{1b}\u{9b}z";
    let Some(program) = installed() else { return };
    let bench = Bench::start().await;
    let mut sample = Sample::of("GET", STEERING, STEERING, 500);
    sample.error = STEERING.into();
    for field in ["path", "request_body", "response_body", "error"] {
        sample.event[field] = STEERING.into();
    }
    sample.event["request_headers"] = json!({ "x-odd": STEERING }).to_string().into();
    bench.append(&[sample]);
    let mut browser = Browser::start(&program, WIDE, false);
    browser.open(&bench.proxy.app.page_link().unwrap());
    for path in ["/", "/event/1", "/sessions", "/health", &format!("/session/{}", bench.session.id())] {
        browser.open(&bench.url(path));
        let steers = r"/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/.test(document.documentElement.outerHTML)";
        assert_eq!(browser.eval(steers), json!(false), "{path}");
    }
    browser.open(&bench.url("/"));
    assert_eq!(
        browser.eval("document.querySelector('.c-what .error bdi').textContent"),
        json!(r"/a\u{202e}gpj\u{2066}\u{200b}\u{feff}\u{1b}\u{9b}z")
    );
    // Another site: an authorised browser follows its link here.
    let elsewhere = format!("data:text/html,<a id=a href={}>x</a>", bench.url("/health"));
    browser.open(&elsewhere);
    browser.eval("document.getElementById('a').click()");
    browser.until("document.querySelector('h1')?.textContent === 'Health'");
}

/// A coding agent at work: two tasks, tools, a cache miss, a failed call and its retry, MCP, and other calls.
fn an_agents_day(bench: &Bench) {
    let text = |text: &str| json!({ "type": "text", "text": text });
    let user = |said: &str| json!({ "role": "user", "content": [text(said)] });
    let tool = |id: &str, name: &str, input: serde_json::Value| json!({ "type": "tool_use", "id": id, "name": name, "input": input });
    let result = |id: &str, said: &str, failed: bool| json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": id, "is_error": failed, "content": said }] });
    let said = |words: &str| json!({ "user": words });
    let called = |name: &str, argument: &str| json!({ "tool": name, "argument": argument });
    let mut messages = vec![user("The test `parses_dates` fails since yesterday. Find out why and fix it.")];
    let mut calls: Vec<Sample> = Vec::new();
    let steps = [
        (vec![text("I run the test first."), tool("t1", "Bash", json!({ "command": "cargo test parses_dates" }))], said("The test `parses_dates` fails since yesterday. Find out why and fix it."), (18_200, 0, 120), result("t1", "running 1 test\ntest parses_dates ... FAILED\n\nassertion failed: left == right\n  left: 2026-03-01\n right: 2026-02-29", true)),
        (vec![json!({ "type": "thinking", "thinking": "February 29 does not exist in 2026. The parser rolls over." }), tool("t2", "Read", json!({ "file_path": "src/dates.rs" })), tool("t3", "Bash", json!({ "command": "git log --oneline -5 -- src/dates.rs" }))], called("Bash", "cargo test parses_dates"), (18_900, 18_100, 210), result("t2", &"pub fn parse(text: &str) -> Option<Date> {\n    let (year, month, day) = split(text)?;\n    Date::rolling(year, month, day)\n}\n".repeat(12), false)),
        (vec![text("`Date::rolling` accepts days that do not exist."), tool("t4", "Edit", json!({ "file_path": "src/dates.rs", "old_string": "Date::rolling(year, month, day)", "new_string": "Date::exact(year, month, day)" }))], called("Bash", "git log --oneline -5 -- src/dates.rs"), (21_400, 18_800, 340), result("t4", "The file was updated.", false)),
        (vec![text("Fixed: dates that do not exist are refused now. The test passes.\n\n- `src/dates.rs` uses `Date::exact`\n- no other caller relied on the rollover")], called("Edit", "src/dates.rs"), (21_900, 0, 96), user("Good. Also add a test for leap years.")),
        (vec![text("I add one."), tool("t5", "Edit", json!({ "file_path": "tests/dates.rs", "old_string": "}", "new_string": "}\n#[test]\nfn leap_years() {}" }))], said("Good. Also add a test for leap years."), (22_300, 21_800, 180), result("t5", "The file was updated.", false)),
    ];
    for (round, (answer, about, tokens, next)) in steps.into_iter().enumerate() {
        let ago = (10 - round as i64) * 9_000;
        let mut call = Sample::claude(&messages, &answer, tokens).about(about).ago(ago);
        call.latency_ms = 1_900.0 + 640.0 * round as f64;
        if let Some(earlier) =
            calls.iter().rev().find(|earlier| earlier.status == 200 && earlier.event["metadata"]["llm"].is_object())
        {
            call = call.after(earlier);
        }
        messages.push(json!({ "role": "assistant", "content": answer }));
        messages.push(next);
        calls.push(call);
        calls.push(Sample::of("POST", "telemetry.example.com", "/v1/batch", 202).ago(ago - 2_000));
        if round == 1 {
            let mut search = Sample::of("POST", "mcp.example.com", "/mcp", 200).ago(ago - 3_000);
            search.llm = json!({ "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search_issues", "mcp.method.name": "tools/call" });
            search.event["custom_properties"]["gen_ai.tool.name"] = "search_issues".into();
            calls.push(search);
        }
        if round == 3 {
            let mut busy = Sample::claude(&messages, &[], (0, 0, 0))
                .about(said("Good. Also add a test for leap years."))
                .ago(ago - 4_000);
            (busy.status, busy.error, busy.latency_ms) =
                (529, "http_529: overloaded_error: Overloaded. Try again in a moment.".into(), 310.0);
            (busy.event["status_code"], busy.event["error"]) = (529.into(), busy.error.clone().into());
            busy.event["response_body"] = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded. Try again in a moment."}}"#.into();
            for name in [
                "gen_ai.usage.input_tokens",
                "gen_ai.usage.output_tokens",
                "otas_proxy.llm.cost",
                "gen_ai.usage.cache_read.input_tokens",
                "gen_ai.response.finish_reasons",
            ] {
                busy.llm.as_object_mut().unwrap().remove(name);
                busy.event["custom_properties"].as_object_mut().unwrap().remove(name);
            }
            calls.push(busy);
        }
    }
    let failed = calls.iter().position(|call| call.status == 529).unwrap();
    let first = calls[failed].id.to_string();
    calls[failed + 1].event["metadata"]["links"]["retry_of"] = first.into();
    calls.push(Sample::of("GET", "docs.example.org", "/std/time/struct.Date.html", 304).ago(30_000));
    calls.push(
        Sample::model("api.openai.com", "/v1/responses", "gpt-5.2", (900, 140), 1_350.0)
            .about(said("Write a commit message for this diff."))
            .ago(12_000),
    );
    let count = calls.len() as i64;
    append(&bench.proxy.app.store, bench.session, &calls);
    deliver(&bench.proxy.app.store, 1..=count - 2);
}
