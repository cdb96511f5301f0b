//! The page: all parts are shown, only to authorised users, and captured content is always text.

mod browser;
mod runs;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use http::StatusCode;
use http::header::{COOKIE, HOST, IF_NONE_MATCH, ORIGIN, SET_COOKIE};
use otas_proxy::store::{Filter, NewEvent, Outcome, SessionRow, Settlement};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::origin::TestOrigin;
use crate::support::otas::TestOtas;
use crate::support::proxy::{Running, TestProxy, eventually};
use crate::support::sample::{HOSTILE, PLACES, Sample, append, deliver, steering, steers};

/// A proxy with a page, and a session that nothing delivers.
struct Bench {
    proxy: Running,
    session: SessionRow,
    _otas: TestOtas,
}

impl Bench {
    async fn start() -> Self {
        let otas = TestOtas::start().await;
        let proxy = TestProxy::new().otas(&otas).run().await;
        let meta = json!({ "command": "python research_agent.py", "host": "build-7" });
        let session = proxy.app.store.begin_session("run-of-the-test", "key", &meta.to_string()).unwrap();
        Self { proxy, session, _otas: otas }
    }

    fn append(&self, samples: &[Sample]) {
        append(&self.proxy.app.store, self.session, samples);
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.proxy.app.admin_addr)
    }

    fn token(&self) -> String {
        self.proxy.token()
    }

    /// With the token.
    async fn get(&self, path: &str) -> Response {
        client().get(self.url(path)).bearer_auth(self.token()).send().await.unwrap()
    }

    async fn text(&self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }

    /// Sends a form from a page of `origin`.
    async fn posted(&self, path: &str, origin: &str, form: String) -> Response {
        let request = client().post(self.url(path)).header("content-type", "application/x-www-form-urlencoded");
        request.header(ORIGIN, origin).bearer_auth(self.token()).body(form).send().await.unwrap()
    }

    /// The token of the form at this path.
    async fn form_token(&self, path: &str) -> String {
        let form = self.text(path).await;
        form.split_once("name=\"token\" value=\"").unwrap().1.split('"').next().unwrap().to_owned()
    }

    /// Writes a note on a call.
    async fn note(&self, id: i64, note: &str) {
        let at = format!("/event/{id}/note");
        let mut form = form_urlencoded::Serializer::new(String::new());
        let form = form.append_pair("token", &self.form_token(&at).await).append_pair("note", note).finish();
        assert_eq!(self.posted(&at, &self.url(""), form).await.status(), StatusCode::SEE_OTHER);
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }
}

/// A client without proxy, redirects and TLS.
pub(crate) fn client() -> Client {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let direct = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    direct.tls_backend_preconfigured(tls).build().unwrap()
}

#[tokio::test]
async fn each_part_is_shown_with_security_headers() {
    let bench = Bench::start().await;
    let origin = TestOrigin::http().await;
    let sent = bench.proxy.client().post(origin.url("/echo?a=b")).header("content-type", "application/json");
    sent.body(r#"{"q":1}"#).send().await.unwrap();
    bench.proxy.events_so_far(1).await;
    bench.append(&[Sample::model("api.anthropic.com", "/v1/messages", "claude-x", (1_200, 340), 2_400.0)]);
    let list = bench.text("/").await;
    assert!(list.contains("/echo") && list.contains(">x</bdi>") && list.contains("1.2k→340"), "{list}");
    assert!(list.contains("research_agent.py"), "{list}");
    assert!(bench.text("/sums").await.contains("<b>2</b> calls"));
    let exchange = bench.text("/event/1").await;
    assert!(exchange.contains("/echo?a=b") && exchange.contains("&quot;q&quot;"), "{exchange}");
    assert!(bench.text("/event/1?tab=timing").await.contains(">wait<"));
    let model = bench.text("/event/2").await;
    assert!(
        model.contains("384,400 km away") && model.contains("4 events") && model.contains("secrets masked"),
        "{model}"
    );
    for verdict in ["answered 503: <busy>", "answered 503: <busy>", "answered 400: invalid_json"] {
        let outcome = Outcome::Again { verdict: verdict.to_owned(), next_try_at_ms: 0 };
        bench.proxy.app.store.settle(&[Settlement { id: 2, attempts: 1, outcome }]).unwrap();
    }
    let model = bench.text("/event/2?tab=delivery").await;
    let history = model.split_once("OTAS's answers").expect("a history").1;
    assert!(history.contains(r#"<td class="n">2</td><td><bdi>answered 503: &lt;busy&gt;</bdi></td>"#), "{history}");
    assert!(history.contains(r#"<td class="n">1</td><td><bdi>answered 400: invalid_json</bdi></td>"#), "{history}");
    let session = bench.text(&format!("/session/{}", bench.session.id())).await;
    assert!(session.contains("build-7") && session.contains("By model") && session.contains("2.4 s"), "{session}");
    let health = bench.text("/health").await;
    assert!(
        ["plain HTTP", "events per second", "By host", "saved: stored once"]
            .iter()
            .all(|words| health.contains(words)),
        "{health}"
    );
    assert!(
        bench.text("/sessions").await.contains("run-of-the-test")
            || bench.text("/sessions").await.contains("research_agent")
    );
    assert_eq!(bench.json("/event/2/json").await["path"], "/v1/messages");
    assert_eq!(bench.json("/event/1/har").await["log"]["entries"][0]["request"]["method"], "POST");
    assert_eq!(bench.json("/har?llm=1").await["log"]["entries"].as_array().unwrap().len(), 1);
    for path in ["/event/99", "/event/x", "/session/nobody"] {
        assert_eq!(bench.get(path).await.status(), 404, "{path}");
    }
    for path in ["/", "/event/1", "/event/99", "/health", "/live?after=0", "/event/1/json", "/metrics", "/nothing"] {
        let response = bench.get(path).await;
        let headers = response.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
    }
}

#[tokio::test]
async fn script_and_style_are_cached_by_content() {
    let bench = Bench::start().await;
    let list = bench.text("/").await;
    for (before, kind) in [("<script src=\"", "text/javascript"), ("stylesheet\" href=\"", "text/css")] {
        let path = list.split_once(before).unwrap().1.split('"').next().unwrap();
        let response = bench.get(path).await;
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with(kind));
        assert!(response.headers()["cache-control"].to_str().unwrap().contains("immutable"));
        let tag = response.headers()["etag"].clone();
        let again =
            client().get(bench.url(path)).bearer_auth(bench.token()).header(IF_NONE_MATCH, tag).send().await.unwrap();
        assert_eq!(again.status(), 304);
    }
    assert_eq!(bench.get("/assets/other.js").await.status(), 404);
    assert!(!list.contains("style=\"") && !list.contains(" onclick"), "nothing is inline");
}

#[tokio::test]
async fn a_hostile_call_is_text_wherever_it_is_shown() {
    let bench = Bench::start().await;
    bench.append(&[Sample::hostile(), Sample::talking(&|_| HOSTILE.to_owned())]);
    let hostile = bench.proxy.app.store.begin_session(
        "h",
        HOSTILE,
        &json!({ "command": HOSTILE, HOSTILE: HOSTILE }).to_string(),
    );
    append(&bench.proxy.app.store, hostile.as_ref().copied().unwrap(), &[Sample::hostile()]);
    bench.note(1, HOSTILE).await;
    let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("text", HOSTILE).finish();
    let session = format!("/session/{}", hostile.unwrap().id());
    for path in [
        "/",
        "/event/1",
        "/event/1?tab=raw",
        "/event/1/delete",
        "/event/1/note",
        "/event/2",
        "/event/2?tab=changes",
        "/event/2?tab=raw",
        "/event/2?tab=request",
        "/event/3?tab=delivery",
        "/?open=1&sort=-cost",
        "/?open=2",
        &session,
        "/sessions",
        "/health",
        &format!("/?{query}"),
        &format!("/event/{query}"),
    ] {
        let text = bench.get(path).await.text().await.unwrap();
        assert_eq!(text.matches("<script").count(), 1, "{path}: only ours\n{text}");
        for harm in ["<img src=x", "<svg onload", "onerror=\"doc"] {
            assert!(!text.contains(harm), "{path}: {harm}\n{text}");
        }
    }
    let live = bench.json("/live?after=0").await;
    let rows = live["rows"].as_str().unwrap();
    assert!(rows.contains("&lt;script&gt;") && !rows.contains("<script") && !rows.contains("<img"), "{rows}");
}

#[tokio::test]
async fn characters_that_control_a_terminal_or_hide_are_escaped_in_every_place() {
    let bench = Bench::start().await;
    let store = &bench.proxy.app.store;
    let caller = json!({ "agent": steering("agent"), "label": steering("label") });
    let meta = json!({ "command": steering("command"), "caller": caller, steering("name"): steering("text") });
    let session = store.begin_session(&steering("run"), "key", &meta.to_string()).unwrap();
    append(store, session, &[Sample::steering(), Sample::talking(&steering)]);
    bench.note(1, &steering("note")).await;
    let session = format!("/session/{}", session.id());
    let named = ["agent", "label", "command"];
    for (path, places) in [
        (
            "/",
            &["method", "host", "path", "error", "model", "provider", "agent", "label", "command", "said", "note"][..],
        ),
        (
            "/live?after=0",
            &["method", "host", "path", "error", "model", "provider", "agent", "label", "command", "said"],
        ),
        ("/event/1", &[&PLACES[..10], &["answer"]].concat()),
        ("/event/1?tab=raw", &PLACES),
        ("/event/1/delete", &PLACES[..3]),
        ("/event/1/note", &["method", "host", "path", "note"]),
        ("/event/1/share", &["note"]),
        ("/?open=1", &["note"]),
        ("/event/2", &Sample::TALKED),
        ("/?open=2", &Sample::TALKED),
        ("/event/2?tab=raw", &["setting", "parameter"]),
        ("/event/1", &named),
        (&session, &["agent", "label", "command", "run", "name", "text", "host", "path", "model"]),
        ("/sessions", &named),
        ("/health", &["host", "model"]),
    ] {
        let text = bench.text(path).await;
        assert!(!text.contains(steers), "{path}");
        for place in places {
            assert!(text.contains(&format!("{place}:a")), "{path}: {place}\n{text}");
        }
    }
    for path in ["/event/1/json", "/event/1/har", "/har"] {
        let text = bench.text(path).await;
        assert!(!text.contains(steers) && text.contains(r"\u202e"), "{path}");
        serde_json::from_str::<Value>(&text).unwrap();
    }
    let missing = bench.get("/session/x%E2%80%AE%1B%C2%9B").await.text().await.unwrap();
    assert!(missing.contains("\\u{202e}\\u{1b}\\u{9b}") && !missing.contains(steers), "{missing}");
}

#[tokio::test]
async fn calls_need_the_token_and_pages_of_other_sites_get_nothing() {
    let bench = Bench::start().await;
    let asked = |path: &str| client().get(bench.url(path));
    for path in [
        "/",
        "/event/1",
        "/event/1/json",
        "/live?after=0",
        "/sessions",
        "/health",
        "/har",
        "/nothing",
        "/?code=wrong",
    ] {
        assert_eq!(asked(path).send().await.unwrap().status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    for path in ["/healthz", "/readyz", "/metrics", "/status"] {
        assert_eq!(asked(path).send().await.unwrap().status(), 200, "{path}");
    }
    for (name, value, status) in [
        (HOST, "evil.example:8081", StatusCode::MISDIRECTED_REQUEST),
        (ORIGIN, "https://evil.example", StatusCode::FORBIDDEN),
        (ORIGIN, "null", StatusCode::FORBIDDEN),
    ] {
        for path in ["/", "/metrics"] {
            let refused = asked(path).bearer_auth(bench.token()).header(name.clone(), value).send().await.unwrap();
            assert_eq!(refused.status(), status, "{path}: {name}: {value}");
        }
    }
    // The printed URL opens the page, and no token stays in the address bar.
    let link = &bench.proxy.app.page_url;
    assert!(link.contains("/?code=") && !link.contains(&bench.token()), "{link}");
    assert_eq!(client().head(link).send().await.unwrap().status(), StatusCode::UNAUTHORIZED, "a prefetch");
    let entered = client().get(link).send().await.unwrap();
    assert_eq!((entered.status(), &entered.headers()["location"]), (StatusCode::SEE_OTHER, &"/".parse().unwrap()));
    let cookie = entered.headers()[SET_COOKIE].to_str().unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains(&bench.token()),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(asked("/").header(COOKIE, cookie).send().await.unwrap().status(), 200);
    let again = client().get(link).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED, "it works once");
    assert!(again.text().await.unwrap().contains("otas-proxy page --listen-admin 127.0.0.1:"));
    let by_token = bench.url(&format!("/?token={}", bench.token()));
    assert_eq!(client().get(by_token).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let file = bench.proxy.app.store.path().with_file_name("admin.token");
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), bench.token());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_call_is_shown_while_its_response_arrives() {
    let bench = Bench::start().await;
    let origin = TestOrigin::http().await;
    // It would take more than a minute, but is ended before.
    let mut streaming = bench.proxy.client().get(origin.url("/sse/4000/20")).send().await.unwrap();
    for _ in 0..5 {
        assert!(streaming.chunk().await.unwrap().is_some());
    }
    eventually("it is shown as in flight", async || bench.text("/").await.contains("in flight")).await;
    let news = bench.json("/live?after=0").await;
    let row = news["open"].as_object().unwrap().values().next().unwrap().as_str().unwrap();
    assert!(row.contains("/sse/4000/20") && row.contains("in flight"), "{row}");
    let path = row.split_once("href=\"/open/").unwrap().1.split('"').next().unwrap();
    let path = format!("/open/{path}");
    eventually("what was received is shown", async || bench.text(&path).await.contains("As received")).await;
    let page = bench.text(&path).await;
    assert!(page.contains(r#"<noscript><meta http-equiv="refresh" content="2"></noscript>"#), "{page}");
    let part = bench.text(&format!("{path}?part=1&beside=1&text=x&tab=timing")).await;
    assert!(part.starts_with("<article") && part.contains("data-flying") && part.contains("/?text=x"), "{part}");
    assert!(!bench.text("/?host=127").await.contains("in flight"), "filters apply to ended calls");
    drop(streaming);
    eventually("it is an event", async || bench.get(&path).await.status() == StatusCode::SEE_OTHER).await;
    assert_eq!(bench.get(&path).await.headers()["location"], "/event/1");
    let event = bench.json("/event/1/json").await;
    let times: Vec<u64> = serde_json::from_value(event["metadata"]["capture"]["event_ms"].clone()).unwrap();
    let events = event["response_body"].as_str().unwrap().matches("data:").count();
    // The first may have been seen late, and so seem close to the second.
    let (first, last) = (times[0], times[times.len() - 1]);
    assert!(times.len() == events.min(256) && times.is_sorted() && last > first, "{times:?} of {events}");
    let in_ms = times.iter().rfind(|ms| (10..1_000).contains(*ms)).unwrap();
    assert!(bench.text("/event/1").await.contains(&format!(r#"<span class="dim">+{in_ms} ms</span>"#)));
    assert_eq!(bench.get("/open/nobody").await.status(), 404);
}

#[tokio::test]
async fn the_list_is_filtered_paged_and_updated() {
    let bench = Bench::start().await;
    let calls: Vec<Sample> = (0..250).map(|n| Sample::of("GET", "api.test", &format!("/call/{n}"), 200)).collect();
    bench.append(&calls);
    bench.append(&[Sample::of("POST", "other.test", "/late", 503)]);
    let first = bench.text("/").await;
    assert!(
        first.contains("/late") && first.contains("/call/249") && !first.contains("/call/20\""),
        "{}",
        first.len()
    );
    assert_eq!(first.matches("<tr id=").count(), 200);
    let older =
        first.split_once("id=\"older\"").unwrap().1.split_once("href=\"").unwrap().1.split('"').next().unwrap();
    let second = bench.text(older).await;
    assert_eq!(second.matches("<tr id=").count(), 51);
    assert!(second.contains("Newest") && !second.contains("data-live"));
    for (query, rows) in [
        ("/?status=5xx", 1),
        ("/?host=other", 1),
        ("/?text=call/24", 11),
        ("/?state=delivered", 0),
        ("/?agent=research_agent&status=error", 1),
        ("/?session=run-of-the-test&text=late", 1),
        ("/?session=nobody", 0),
        ("/?llm=1", 0),
    ] {
        assert_eq!(bench.text(query).await.matches("<tr id=").count(), rows, "{query}");
    }
    let news = bench.json("/live?after=251&moving=1,2").await;
    assert_eq!((&news["rows"], &news["newest"], &news["moved"]), (&json!(""), &json!(251), &json!({})));
    bench.append(&[Sample::of("GET", "api.test", "/new", 200)]);
    deliver(&bench.proxy.app.store, [2]);
    let news = bench.json("/live?after=251&moving=1,2").await;
    assert!(news["rows"].as_str().unwrap().contains("/new"));
    assert!(news["moved"]["2"].as_str().unwrap().contains("delivered") && news["moved"]["1"].is_null(), "{news}");
    let counted = bench.json("/live?after=0&count=1&moving=2").await;
    assert_eq!((&counted["more"], &counted["rows"]), (&json!(252), &json!("")));
    assert!(counted["moved"]["2"].as_str().unwrap().contains("delivered"));
    let news = bench.json("/live?after=251&host=other").await;
    assert_eq!(
        (&news["rows"], &news["newest"]),
        (&json!(""), &json!(252)),
        "rows that do not match are not read again"
    );
}

#[tokio::test]
async fn columns_sort_over_all_calls_and_the_footer_sums_them() {
    let bench = Bench::start().await;
    let mut calls: Vec<Sample> =
        (0..210).map(|n| Sample::of("GET", "api.test", &format!("/call/{n}"), 200)).collect();
    calls[3].latency_ms = 9_000.0;
    let text = |text: &str| json!({ "type": "text", "text": text });
    let asked = [json!({ "role": "user", "content": "a dear question" })];
    calls.insert(
        0,
        Sample::claude(&asked, &[text("yes")], (200_000, 50_000, 1_000))
            .about(json!({ "user": "a dear question" }))
            .ago(5_000),
    );
    calls.insert(1, Sample::claude(&asked, &[text("no")], (2_000, 1_000, 10)));
    bench.append(&calls);
    bench.append(&[Sample::of("POST", "other.test", "/late", 503)]);
    let first = |list: &str| list.split("<tr id=\"c").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let list = bench.text("/").await;
    assert_eq!((first(&list), list.matches("aria-sort=\"descending\"").count()), ("213".to_owned(), 1));
    assert!(list.contains("href=\"/?sort=-cost\""), "{list}");
    for (sort, id) in [
        ("-cost", "1"),
        ("cost", "2"),
        ("-tokens", "1"),
        ("-took", "6"),
        ("-status", "213"),
        ("at", "1"),
        ("model", "2"),
    ] {
        let sorted = bench.text(&format!("/?sort={sort}")).await;
        assert_eq!(first(&sorted), id, "{sort}");
        let order = if sort.starts_with('-') { "descending" } else { "ascending" };
        assert!(sorted.contains(&format!("aria-sort=\"{order}\"")) && !sorted.contains("data-live"), "{sort}");
        assert!(sorted.contains("a dear question") || sort == "-took" || sort == "-status");
    }
    // Pages of a sorted list: the last rows are on the second.
    let second = bench.text("/?sort=-cost&page=1").await;
    assert_eq!(second.matches("<tr id=").count(), 13);
    for (query, sums) in [
        (
            "",
            ["<b>213</b> calls", "<b>1</b> error<", "<b>202k→1.0k</b> tokens", "<b>25 %</b> cached", "$0.48"]
                .as_slice(),
        ),
        ("?host=other", &["<b>1</b> call<", "<b>1</b> error<", "<b>24 ms</b> in all"]),
        ("?text=nowhere", &["<b>0</b> calls", "<b>0</b> errors"]),
        ("?text=hst:a", &["<b>0</b> calls"]),
    ] {
        let (list, alone) = (bench.text(&format!("/{query}")).await, bench.text(&format!("/sums{query}")).await);
        for sum in sums {
            assert!(alone.contains(sum), "{query}: {sum}: {alone}");
            // What takes long is summed up beside the list.
            assert!(list.contains(sum) || list.contains("data-late"), "{query}: {sum}");
        }
    }
}

#[tokio::test]
async fn a_model_call_opens_on_its_conversation_and_shows_what_changed() {
    let bench = Bench::start().await;
    let text = |text: &str| json!({ "type": "text", "text": text });
    let tool = json!({ "type": "tool_use", "id": "1", "name": "Bash", "input": { "command": "ls -l" } });
    let mut messages = vec![json!({ "role": "user", "content": "list the files" })];
    let first = Sample::claude(&messages, std::slice::from_ref(&tool), (9_000, 0, 5));
    messages.push(json!({ "role": "assistant", "content": [tool] }));
    messages.push(
        json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "1", "content": "a.txt <b>" }] }),
    );
    let mut failed = Sample::claude(&messages, &[], (0, 0, 0)).after(&first);
    (failed.status, failed.error) = (529, "http_529: overloaded_error: Overloaded".into());
    let mut retry = Sample::claude(&messages, &[text("One file.")], (9_100, 9_000, 5)).after(&first);
    retry.event["metadata"]["links"]["retry_of"] = failed.id.to_string().into();
    let mut search = Sample::of("POST", "mcp.test", "/mcp", 200);
    search.llm = json!({ "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "Bash" });
    search.event["custom_properties"]["gen_ai.tool.name"] = "Bash".into();
    bench.append(&[first, failed, retry, search]);
    assert!(bench.text("/event/4").await.contains("Probably asked for by the call 1"));
    let opened = bench.text("/event/3").await;
    let places: Vec<usize> = ["list the files", "ls -l", "a.txt &lt;b&gt;", "One file."]
        .iter()
        .map(|said| opened.rfind(said).unwrap())
        .collect();
    assert!(places.is_sorted(), "{opened}");
    assert!(opened.contains("Retry of the call 2") && opened.contains("Continues the call 1"), "{opened}");
    assert!(
        opened.contains(r#"<a href="/event/3?tab=conversation" data-tab="conversation" aria-current="true">"#),
        "{opened}"
    );
    let changes = bench.text("/event/3?tab=changes").await;
    assert!(changes.contains("1 message kept, <b>2</b> added") && changes.contains("a.txt &lt;b&gt;"), "{changes}");
    let failed = bench.text("/event/2").await;
    let (alert, facts) = (failed.find("overloaded_error: Overloaded").unwrap(), failed.find("<dl").unwrap());
    assert!(alert < facts && failed.contains("Retried by the call 3"), "errors first: {failed}");
    // Beside the list, links lead back into it; a part is only the call.
    let beside = bench.text("/?text=is:model&open=3&tab=changes").await;
    assert!(
        beside.contains("/?text=is%3Amodel&amp;open=3&amp;tab=raw") && beside.contains("<b>2</b> added"),
        "{beside}"
    );
    let part = bench.text("/event/3?part=1&beside=1&text=is:model").await;
    assert!(part.starts_with("<article") && part.contains("/?text=is%3Amodel&amp;open=3&amp;tab=raw"), "{part}");
    assert!(bench.text("/?open=99").await.contains("id=\"pane\""), "a call that is gone");
}

#[tokio::test]
async fn a_call_is_deleted_only_by_a_form_of_this_page() {
    let bench = Bench::start().await;
    bench.append(&[Sample::of("GET", "api.test", "/kept", 200), Sample::of("GET", "api.test", "/gone", 200)]);
    let question = bench.text("/event/2/delete").await;
    assert!(
        question.contains("Delete this call?") && question.contains("OTAS does not have this event"),
        "{question}"
    );
    let (at, ours) = ("/event/2/delete", bench.url(""));
    let token = bench.form_token(at).await;
    for (origin, form) in [("http://127.0.0.1:1", format!("token={token}")), (&ours, "token=guessed".to_owned())] {
        assert_eq!(bench.posted(at, origin, form).await.status(), StatusCode::FORBIDDEN);
    }
    assert_eq!(bench.get("/event/2").await.status(), 200, "it is there");
    let deleted = bench.posted(at, &ours, format!("token={token}")).await;
    assert_eq!((deleted.status(), &deleted.headers()["location"]), (StatusCode::SEE_OTHER, &"/".parse().unwrap()));
    assert_eq!(
        (bench.get("/event/2").await.status(), bench.get("/event/1").await.status()),
        (StatusCode::NOT_FOUND, StatusCode::OK)
    );
}

#[tokio::test]
async fn a_note_is_written_only_by_a_form_of_this_page_and_shown_with_its_call() {
    let bench = Bench::start().await;
    bench.append(&[Sample::of("GET", "api.test", "/plain", 200), Sample::of("GET", "api.test", "/odd", 200)]);
    let at = "/event/2/note?text=odd&beside=1";
    let ours = bench.url("");
    let (posted, token) = (|origin, form| bench.posted(at, origin, form), bench.form_token(at).await);
    for (origin, form) in
        [("http://127.0.0.1:1", format!("token={token}&note=x")), (&ours, "token=guessed&note=x".into())]
    {
        assert_eq!(posted(origin, form).await.status(), StatusCode::FORBIDDEN);
    }
    let form = |note: &str| {
        let mut form = form_urlencoded::Serializer::new(format!("token={token}&"));
        form.append_pair("note", note).finish()
    };
    let (mark, shown) = (">note</span>", "class=\"noted\"");
    assert!(!bench.text("/").await.contains(mark) && !bench.text("/event/2").await.contains(shown), "none yet");
    let saved = posted(&ours, form("why so slow?\r\npassword=hunter2hunter2 <b>")).await;
    assert_eq!(
        (saved.status(), &saved.headers()["location"]),
        (StatusCode::SEE_OTHER, &"/?text=odd&open=2".parse().unwrap())
    );
    let call = bench.text("/?text=odd&open=2").await;
    assert!(call.contains("why so slow?\npassword=****") && call.contains(" &lt;b&gt;"), "{call}");
    assert!(call.contains(shown) && call.contains("Edit note") && !call.contains("hunter2"), "{call}");
    for query in ["note:SLOW", "is:noted", "%22so+slow%22"] {
        let list = bench.text(&format!("/?text={query}")).await;
        assert!(list.contains(mark) && list.contains("/odd") && !list.contains("/plain"), "{query}: {list}");
    }
    assert!(bench.text(at).await.contains("why so slow?"), "the form has it");
    assert!(bench.text("/event/2/share").await.contains("why so slow?"));
    let har = bench.json("/event/2/har").await;
    assert!(har["log"]["entries"][0]["comment"].as_str().unwrap().starts_with("why so slow?"), "{har}");
    let refused = posted(&ours, form(&"long ".repeat(1_000))).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(refused.text().await.unwrap().contains("too long: at most 4096 bytes"));
    assert_eq!(posted(&ours, form("")).await.status(), StatusCode::SEE_OTHER);
    assert!(!bench.text("/?text=is:noted").await.contains("/odd"));
}

#[tokio::test]
async fn a_hundred_thousand_events_are_listed_and_searched_during_writes() {
    let bench = Bench::start().await;
    let store = bench.proxy.app.store.clone();
    let json = json!({ "path": "/v1/messages", "response_body": "x".repeat(2_000) }).to_string();
    let outline = json!({ "scheme": "https", "read": true, "ms": { "wait": 12.5, "receive": 3.25 } }).to_string();
    let mut writer = store.writer().unwrap();
    for batch in 0..200 {
        let events: Vec<NewEvent<'_>> = (0..500)
            .map(|n| NewEvent {
                bodies: &[],
                event_id: Uuid::now_v7(),
                seq: batch * 500 + n,
                started_at_ms: 1_700_000_000_000 + (batch * 500 + n) as i64,
                method: "POST",
                host: "api.example.com",
                path: "/v1/messages",
                status_code: 200,
                latency_ms: 12.5,
                request_bytes: 100,
                response_bytes: 2_000,
                error: "",
                outline: &outline,
                llm: if n == 0 { r#"{"gen_ai.response.model":"m"}"# } else { "" },
                json: json.as_bytes(),
            })
            .collect();
        writer.append(bench.session, &events).unwrap();
    }
    // How long this takes is measured by a benchmark (`just page`).
    for (path, shown) in [("/", 200), ("/?text=no-such-thing", 0), ("/?llm=1", 200), ("/?before=500&status=2xx", 200)]
    {
        assert_eq!(bench.text(path).await.matches("/event/").count(), shown, "{path}");
    }
    // A reader does not block the writer: the next row is stored during the read.
    let viewer = store.viewer();
    let mut seen = 0;
    viewer
        .each(&Filter { limit: 2_000, ..Filter::default() }, |_| {
            seen += 1;
            if seen % 100 == 0 {
                let newest = store.viewer().newest().unwrap();
                writer.append(bench.session, &[plain()]).unwrap();
                assert_eq!(store.viewer().newest().unwrap(), newest + 1);
            }
        })
        .unwrap();
    assert_eq!(seen, 2_000);
}

pub(crate) fn plain() -> NewEvent<'static> {
    NewEvent {
        bodies: &[],
        event_id: Uuid::now_v7(),
        seq: 0,
        started_at_ms: 1_700_000_000_000,
        method: "GET",
        host: "a.test",
        path: "/",
        status_code: 200,
        latency_ms: 1.0,
        request_bytes: 0,
        response_bytes: 0,
        error: "",
        outline: "",
        llm: "",
        json: b"{}",
    }
}
