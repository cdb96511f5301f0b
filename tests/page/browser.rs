//! The page in a real browser. Skipped with a message if Chromium is not installed; `check.sh` installs it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Bench;
use crate::support::browser::{Browser, chromium};
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
async fn the_table_is_live_can_be_paused_and_is_filtered() {
    let Some(program) = installed() else { return };
    let bench = Bench::start().await;
    bench.append(&[Sample::of("GET", "api.test", "/first", 200)]);
    let mut browser = Browser::start(&program, WIDE, false);
    browser.open(&bench.proxy.app.page_link().unwrap());
    assert_eq!(browser.eval("location.href"), json!(bench.url("/")), "the code is gone from the address");
    assert_eq!(browser.eval("document.querySelectorAll('table.calls tbody tr').length"), json!(1));
    bench.append(&[Sample::of("GET", "api.test", "/second", 500)]);
    browser.until("document.querySelector('table.calls tbody tr .c-path').textContent === '/second'");
    assert_eq!(browser.eval("document.getElementById('c1').dataset.state"), json!("pending"));
    deliver(&bench.proxy.app.store, [1]);
    browser.until("document.getElementById('c1').dataset.state === 'delivered'");
    // Paused with a key: new calls are counted, and appear on resume.
    browser.press("p");
    browser.until("document.getElementById('pause').getAttribute('aria-pressed') === 'true'");
    bench.append(&[Sample::of("GET", "api.test", "/third", 200)]);
    browser.until("document.getElementById('live-state').textContent === 'Paused, 1 new'");
    assert_eq!(browser.eval("document.querySelectorAll('table.calls tbody tr').length"), json!(2));
    browser.press("p");
    browser.until("document.querySelectorAll('table.calls tbody tr').length === 3");
    // By keyboard to a call and its page.
    browser.press("j");
    assert_eq!(browser.eval("document.activeElement.textContent"), json!("/third"));
    browser.press("j");
    browser.eval("document.activeElement.click()");
    browser.until("document.querySelector('h1')?.textContent.includes('/second')");
    browser.open(&bench.url("/"));
    browser.press("/");
    assert_eq!(browser.eval("document.activeElement.name"), json!("text"));
    browser
        .eval("document.activeElement.value = 'second'; document.querySelector('form.filters').requestSubmit(); 1");
    browser.until(
        "location.search.includes('text=second') && document.querySelectorAll('table.calls tbody tr').length === 1",
    );
    // Live updates respect the filter.
    bench.append(&[
        Sample::of("GET", "api.test", "/fourth", 200),
        Sample::of("GET", "api.test", "/second/again", 200),
    ]);
    browser.until("document.querySelector('table.calls tbody tr .c-path').textContent === '/second/again'");
    assert_eq!(browser.eval("document.querySelectorAll('table.calls tbody tr').length"), json!(2));
    assert!(browser.said.is_empty(), "{:?}", browser.said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_keeps_up_with_five_hundred_calls_per_second() {
    let Some(program) = installed() else { return };
    let bench = Bench::start().await;
    let mut browser = Browser::start(&program, WIDE, false);
    browser.open(&bench.proxy.app.page_link().unwrap());
    for second in 0..4 {
        for tenth in 0..10 {
            let path = |n| format!("/{second}/{tenth}/{n}");
            let calls: Vec<Sample> = (0..50).map(|n| Sample::of("GET", "api.test", &path(n), 200)).collect();
            bench.append(&calls);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
    bench.append(&[Sample::of("GET", "api.test", "/last", 200)]);
    browser.until("document.querySelector('table.calls tbody tr .c-path').textContent === '/last'");
    let rows = browser.eval("document.querySelectorAll('table.calls tbody tr').length").as_u64().unwrap();
    assert!(rows > 0 && rows <= 1_000, "{rows} rows");
    let mixed = "[...document.querySelectorAll('table.calls tbody tr')].some((row, at, all) => at > 0 && \
                 Number(row.dataset.id) >= Number(all[at - 1].dataset.id))";
    assert_eq!(browser.eval(mixed), json!(false), "newest first, each once");
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
    let session = format!("/session/{}", bench.session.id());
    for path in ["/", "/event/1", &session, "/sessions", "/health"] {
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
    for (dark, size) in [(false, WIDE), (true, (360, 740))] {
        let mut browser = Browser::start(&program, size, dark);
        browser.open(&bench.proxy.app.page_link().unwrap());
        let model = "/event/14";
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
            if std::env::var_os("OTAS_SCREENSHOTS").is_some() && name != "sessions" && (!dark || name == "calls") {
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
               const seen = Math.min(box.right, link.closest('td').getBoundingClientRect().right) - box.left; \
               const there = document.elementFromPoint(box.left + 5, box.top + box.height / 2); \
               return link.closest('td').clientWidth < 100 || seen < 25 || there?.closest('a') !== link; \
             }).map((link) => link.textContent)",
        );
        assert_eq!(shut, json!([]), "{width}: calls that cannot be opened");
        let cut = browser.eval(
            "[...document.querySelectorAll('.model .dim')].filter((part) => \
               part.getBoundingClientRect().right > part.closest('td').getBoundingClientRect().right + 0.5) \
             .map((part) => part.textContent)",
        );
        assert_eq!(cut, json!([]), "{width}: tokens that are cut");
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
    append(&bench.proxy.app.store, session, &[hostile, Sample::of("GET", "a.test", "/usual", 200)]);
    let mut browser = Browser::start(&program, WIDE, false);
    browser.open(&bench.proxy.app.page_link().unwrap());
    for path in ["/", "/event/1", &format!("/session/{}", session.id()), "/sessions", "/health"] {
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
        browser.eval("document.querySelector('.c-path bdi').textContent"),
        json!(r"/a\u{202e}gpj\u{2066}\u{200b}\u{feff}\u{1b}\u{9b}z")
    );
    // Another site: an authorised browser follows its link here.
    let elsewhere = format!("data:text/html,<a id=a href={}>x</a>", bench.url("/health"));
    browser.open(&elsewhere);
    browser.eval("document.getElementById('a').click()");
    browser.until("document.querySelector('h1')?.textContent === 'Health'");
}

/// Calls of an agent that uses models, searches, and sometimes fails.
fn an_agents_day(bench: &Bench) {
    let mut calls = Vec::new();
    for round in 0..12i64 {
        let ago = (12 - round) * 5_000;
        let tokens = (1_800 + 420 * round as u64, 220 + 35 * round as u64);
        calls.push(Sample::of("GET", "search.example.com", &format!("/v2/query/{round}"), 200).ago(ago + 4_000));
        calls.push(
            Sample::model(
                "api.anthropic.com",
                "/v1/messages",
                "claude-sonnet-5",
                tokens,
                2_100.0 + 90.0 * round as f64,
            )
            .ago(ago + 3_200),
        );
        match round % 4 {
            1 => calls.push(Sample::of("POST", "mcp.example.com", "/mcp", 429).ago(ago + 900)),
            3 => calls.push(
                Sample::model("api.openai.com", "/v1/responses", "gpt-5.2", (900, 140), 1_350.0).ago(ago + 1_900),
            ),
            _ => calls.push(Sample::of("GET", "docs.example.org", "/guide/moon", 304).ago(ago + 700)),
        }
    }
    let count = calls.len() as i64;
    append(&bench.proxy.app.store, bench.session, &calls);
    deliver(&bench.proxy.app.store, 1..=count - 4);
}
