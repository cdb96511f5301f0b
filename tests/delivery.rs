//! Delivery against an OTAS that goes away, refuses, lies and loses answers: nothing is lost, nothing is doubled that
//! could be known about, and a person is told what to put right.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use otas_proxy::config;
use otas_proxy::deliver::{DeliverOptions, Deliverer, SessionState, Status};
use otas_proxy::secret::Secret;
use otas_proxy::store::{Counts, EventRow, Filter, NewEvent, SessionRow, State, Store};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

const KEY: &str = "agent_abcd_s3cr3t";
const PROJECT: &str = "0190b0a0-0000-7000-8000-000000000001";
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn events_are_delivered_in_order_under_a_session_of_their_own() {
    let otas = FakeOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(20);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 1);
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.counts, Counts { total: 20, pending: 0, delivered: 20, dead: 0 });
    assert_eq!(status.session, SessionState::Open { otas_session_id: Some("session-1".into()) });
    assert_eq!(status.trouble, None);
    assert_eq!(otas.saved_seqs(), (0..20).collect::<Vec<_>>());
    assert!(otas.book().saved.iter().all(|event| event["project_id"] == PROJECT));
    assert_eq!(otas.book().metas, [json!({ "meta": { "run": "r" }, "Meta": { "run": "r" } })]);
    let row = &bench.rows()[0];
    assert_eq!((row.state, row.attempts, row.otas_event_id.as_deref()), (State::Delivered, 1, Some("event-20")));
    deliverer.stop().await;
}

#[tokio::test]
async fn rows_that_come_later_are_delivered_when_it_is_woken() {
    let otas = FakeOtas::start().await;
    let bench = Bench::new(&otas);
    let deliverer = bench.start(|_| {});
    let waker = deliverer.waker();
    for round in 1..=3 {
        deliverer.watch().wait_for(|status| matches!(status.session, SessionState::Open { .. })).await.unwrap();
        bench.append(5);
        std::thread::scope(|scope| drop(scope.spawn(|| waker.wake())));
        deliverer.watch().wait_for(|status| status.counts.delivered == round * 5).await.unwrap();
    }
    deliverer.stop().await;
}

#[tokio::test]
async fn no_more_posts_are_under_way_than_allowed() {
    let otas = FakeOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(60);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 3);
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 60);
    assert!((1..=3).contains(&otas.book().most_at_once), "{}", otas.book().most_at_once);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_1_otas_away_at_the_start() {
    let mut otas = FakeOtas::start().await;
    otas.go_away().await;
    let bench = Bench::new(&otas);
    bench.append(10);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 1);
    deliverer.watch().wait_for(|status| status.trouble.is_some()).await.unwrap();
    let status = deliverer.drained(Duration::from_millis(50)).await;
    assert_eq!((status.session, status.counts.pending), (SessionState::Opening, 10));
    otas.come_back().await;
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 10);
    assert_eq!(otas.saved_seqs(), (0..10).collect::<Vec<_>>());
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_1_otas_down_in_the_middle() {
    let mut otas = FakeOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(200);
    let deliverer = bench.start(|_| {});
    deliverer.watch().wait_for(|status| status.counts.delivered >= 20).await.unwrap();
    otas.go_away().await;
    deliverer.watch().wait_for(|status| status.trouble.is_some() && status.in_flight == 0).await.unwrap();
    otas.come_back().await;
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.counts, Counts { total: 200, pending: 0, delivered: 200, dead: 0 });
    let seqs = otas.saved_seqs();
    assert_eq!(seqs.iter().copied().collect::<BTreeSet<_>>(), (0..200).collect());
    assert!((seqs.len() - 200) as u64 <= status.lost_answers, "{} lost answers", status.lost_answers);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_2_a_post_that_is_never_answered_is_sent_again() {
    let otas = FakeOtas::start().await;
    otas.book().faults.push_back(Fault::SaveAndHang);
    let bench = Bench::new(&otas);
    bench.append(3);
    let deliverer = bench.start(|settings| settings.delivery.attempt_timeout = Duration::from_millis(300));
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!((status.counts.delivered, status.lost_answers), (3, 1));
    assert_eq!(otas.book().saved.len(), 4);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_5_an_expired_token_is_renewed_once_for_all_that_met_it() {
    let otas = FakeOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(10);
    let deliverer = bench.start(|_| {});
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 10);
    otas.book().expired_tokens = 1;
    bench.append(50);
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.counts, Counts { total: 60, pending: 0, delivered: 60, dead: 0 });
    assert_eq!(status.session, SessionState::Open { otas_session_id: Some("session-2".into()) });
    assert_eq!(otas.book().sessions, 2);
    deliverer.stop().await;
}

#[tokio::test]
async fn a_token_that_is_refused_when_new_pauses_instead_of_renewing_for_ever() {
    let otas = FakeOtas::start().await;
    otas.book().expired_tokens = 1_000;
    let bench = Bench::new(&otas);
    bench.append(3);
    let deliverer = bench.start(|settings| settings.delivery.backoff_max = Duration::from_secs(3_600));
    assert!(paused(&deliverer).await.contains("one JWT secret"));
    assert_eq!(otas.book().sessions, 2);
    otas.book().expired_tokens = 0;
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 3);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_6_a_wrong_key_pauses_and_nothing_is_lost_once_it_is_right() {
    let otas = FakeOtas::start().await;
    otas.book().key = "agent_another_key".into();
    let bench = Bench::new(&otas);
    bench.append(5);
    let deliverer = bench.start(|_| {});
    let reason = paused(&deliverer).await;
    assert!(reason.contains("refuses the agent key") && !reason.contains("s3cr3t"), "{reason}");
    assert_eq!(bench.counts(), Counts { total: 5, pending: 5, delivered: 0, dead: 0 });
    otas.book().key = KEY.into();
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 5);
    assert!(matches!(deliverer.status().session, SessionState::Open { .. }));
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_6_a_key_revoked_in_the_middle_pauses_after_uasam_confirmed_it() {
    let otas = FakeOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(5);
    let deliverer = bench.start(|_| {});
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 5);
    otas.book().key = "agent_newer_key".into();
    bench.append(5);
    deliverer.wake();
    paused(&deliverer).await;
    assert_eq!(bench.counts(), Counts { total: 10, pending: 5, delivered: 5, dead: 0 });
    otas.book().key = KEY.into();
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 10);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_6_a_token_of_another_agent_pauses() {
    let otas = FakeOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(2);
    otas.book().everything = Some((403, described("session_agent_mismatch")));
    let deliverer = bench.start(|_| {});
    assert!(paused(&deliverer).await.contains("belongs to another agent"));
    otas.book().everything = None;
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 2);
    deliverer.stop().await;
}

#[tokio::test]
async fn a_burst_of_refused_keys_with_a_good_key_loses_nothing() {
    let otas = FakeOtas::start().await;
    let busy = Fault::Answer(401, described("invalid_or_expired_agent_key"));
    otas.book().faults.extend(vec![busy; 12]);
    let bench = Bench::new(&otas);
    bench.append(40);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 8);
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.counts, Counts { total: 40, pending: 0, delivered: 40, dead: 0 });
    assert!(matches!(status.session, SessionState::Open { .. }));
    // At the start for the project, then once after each wave: eight posts together, and four probes.
    assert!((2..=6).contains(&otas.book().key_checks), "{} checks", otas.book().key_checks);
    let mut seqs = otas.saved_seqs();
    seqs.sort_unstable();
    assert_eq!(seqs, (0..40).collect::<Vec<_>>());
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_7_an_event_that_alone_is_refused_is_dead_after_its_tries_and_the_rest_flow_on() {
    let otas = FakeOtas::start().await;
    otas.book().poison = Some(3);
    let bench = Bench::new(&otas);
    bench.append(10);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 1);
    deliverer.watch().wait_for(|status| status.counts.delivered == 9).await.unwrap();
    // Its last tries count only while others get through.
    while bench.counts().dead == 0 {
        let done = bench.counts().delivered;
        bench.append(1);
        deliverer.wake();
        let one_more = |status: &Status| status.counts.delivered > done || status.counts.dead > 0;
        deliverer.watch().wait_for(one_more).await.unwrap();
    }
    let counts = deliverer.drained(PATIENCE).await.counts;
    assert_eq!((counts.pending, counts.dead), (0, 1));
    let dead = bench.rows().into_iter().find(|row| row.state == State::Dead).unwrap();
    assert_eq!((dead.seq, dead.verdict.as_deref()), (3, Some("answered 500: event_capture_failed")));
    assert!(dead.attempts >= 8, "{} attempts", dead.attempts);
    assert_eq!(otas.saved_seqs()[..6], [0, 1, 2, 4, 5, 6]);
    deliverer.stop().await;
}

#[tokio::test]
async fn a_database_that_is_down_kills_no_event() {
    let otas = FakeOtas::start().await;
    otas.book().faults.extend(vec![Fault::Answer(500, described("event_capture_failed")); 30]);
    let bench = Bench::new(&otas);
    bench.append(12);
    let deliverer = bench.start(|_| {});
    let counts = deliverer.drained(PATIENCE).await.counts;
    assert_eq!(counts, Counts { total: 12, pending: 0, delivered: 12, dead: 0 });
    deliverer.stop().await;
}

#[tokio::test]
async fn a_malformed_event_is_dead_after_three_tries() {
    let otas = FakeOtas::start().await;
    otas.book().faults.extend(vec![Fault::Answer(400, described("missing_required_fields")); 3]);
    let bench = Bench::new(&otas);
    bench.append(1);
    let deliverer = bench.start(|_| {});
    let counts = deliverer.drained(PATIENCE).await.counts;
    assert_eq!(counts, Counts { total: 1, pending: 0, delivered: 0, dead: 1 });
    assert_eq!(bench.rows()[0].attempts, 3);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_8_pages_redirects_and_halves_of_answers_never_count() {
    let otas = FakeOtas::start().await;
    otas.book().faults.extend([
        Fault::Answer(200, "<html>Accept the hotel's terms</html>".into()),
        Fault::Answer(302, String::new()),
        Fault::Answer(204, String::new()),
        Fault::Answer(201, r#"{"status":1,"status_description":"event_cap"#.into()),
        Fault::Answer(503, "<html>".into()),
    ]);
    let bench = Bench::new(&otas);
    bench.append(4);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 1);
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 4);
    assert_eq!(otas.saved_seqs(), [0, 1, 2, 3]);
    assert_eq!(bench.rows()[3].attempts, 6);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_9_a_certificate_that_is_not_trusted_gets_no_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = untrusted_acceptor();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // The agent's side ends the handshake: no byte of a request is ever decrypted.
        acceptor.accept(stream).await.is_err()
    });
    let bench = Bench::at(format!("https://localhost:{}", address.port()).parse().unwrap());
    bench.append(1);
    let deliverer = bench.start(|settings| settings.delivery.backoff_min = Duration::from_secs(3_600));
    let status = deliverer.watch().wait_for(|status| status.trouble.is_some()).await.unwrap().clone();
    let told = status.trouble.unwrap();
    assert!(told.contains("certificate was not accepted"), "{told}");
    assert!(server.await.unwrap());
    assert_eq!(bench.counts().pending, 1);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_11_an_answer_lost_on_the_way_is_counted_and_sent_again_under_the_same_id() {
    let otas = FakeOtas::start().await;
    otas.book().faults.push_back(Fault::SaveAndCut);
    let bench = Bench::new(&otas);
    bench.append(3);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 1);
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!((status.counts.delivered, status.lost_answers), (3, 1));
    assert_eq!(otas.saved_seqs(), [0, 0, 1, 2]);
    deliverer.stop().await;
}

#[tokio::test]
async fn what_was_acknowledged_is_never_posted_again_by_a_later_delivery() {
    let otas = FakeOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(50);
    let first = bench.start(|_| {});
    first.watch().wait_for(|status| status.counts.delivered >= 5).await.unwrap();
    first.stop().await;
    let second = bench.start(|_| {});
    assert_eq!(second.drained(PATIENCE).await.counts.delivered, 50);
    second.stop().await;
    let mut seqs = otas.saved_seqs();
    seqs.sort_unstable();
    assert_eq!(seqs, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_configured_token_and_project_are_used_without_asking() {
    let otas = FakeOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(2);
    let deliverer = bench.start(|settings| {
        settings.otas.session_token = Some(Secret::new(&token(7, 4_102_444_800)));
        settings.otas.project_id = Some(PROJECT.into());
    });
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.session, SessionState::Open { otas_session_id: Some("session-7".into()) });
    assert_eq!(status.counts.delivered, 2);
    // Two posts, and nothing else.
    assert_eq!(otas.book().calls, 2);
    deliverer.stop().await;
}

#[tokio::test]
async fn a_configured_token_that_is_expired_or_none_at_all_is_told_before_anything_is_sent() {
    let otas = FakeOtas::start().await;
    for (given, told) in [(token(7, 1_000), "expired"), ("not-a-token".into(), "is not one of OTAS's")] {
        let bench = Bench::new(&otas);
        bench.append(1);
        let deliverer = bench.start(|settings| settings.otas.session_token = Some(Secret::new(&given)));
        let reason = paused(&deliverer).await;
        assert!(reason.contains(told) && reason.contains("otas.session_token"), "{reason}");
        deliverer.stop().await;
        assert_eq!(bench.counts().pending, 1);
    }
    assert_eq!(otas.book().calls, 0);
}

#[tokio::test]
async fn without_a_key_everything_is_kept() {
    let otas = FakeOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(1);
    let deliverer = bench.start(|settings| settings.otas.agent_key = None);
    assert!(paused(&deliverer).await.contains("no agent key"));
    assert_eq!(deliverer.drained(Duration::from_millis(20)).await.counts.pending, 1);
    deliverer.stop().await;
    assert_eq!(otas.book().calls, 0);
}

/// Waits for delivery to pause; tells why it did.
async fn paused(deliverer: &Deliverer) -> String {
    let mut watch = deliverer.watch();
    let status =
        watch.wait_for(|status| matches!(status.session, SessionState::Paused { .. })).await.unwrap().clone();
    match status.session {
        SessionState::Paused { reason } => reason,
        other => format!("{other:?}"),
    }
}

/// TLS with a certificate that nobody vouches for.
fn untrusted_acceptor() -> tokio_rustls::TlsAcceptor {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    tokio_rustls::TlsAcceptor::from(Arc::new(tls))
}

/// A store with a session, and what a delivery from it is set to.
struct Bench {
    _folder: tempfile::TempDir,
    store: Store,
    session: SessionRow,
    url: url::Url,
}

struct Settings {
    otas: config::Otas,
    delivery: config::Delivery,
}

impl Bench {
    fn new(otas: &FakeOtas) -> Self {
        Self::at(format!("http://{}", otas.address).parse().unwrap())
    }

    fn at(url: url::Url) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let session = store.begin_session("run", "key", "{}").unwrap();
        Self { _folder: folder, store, session, url }
    }

    fn append(&self, count: u64) {
        let next = self.counts().total;
        let jsons: Vec<String> = (next..next + count)
            .map(|seq| {
                json!({
                    "path": "/v1/chat", "method": "POST", "status_code": 200, "latency_ms": 1.5,
                    "metadata": { "seq": seq },
                })
                .to_string()
            })
            .collect();
        let events: Vec<NewEvent<'_>> = (next..)
            .zip(&jsons)
            .map(|(seq, json)| NewEvent {
                event_id: Uuid::now_v7(),
                seq,
                started_at_ms: 1,
                method: "POST",
                host: "api.example.com",
                path: "/v1/chat",
                status_code: 200,
                latency_ms: 1.5,
                request_bytes: 0,
                response_bytes: 0,
                error: "",
                json: json.as_bytes(),
            })
            .collect();
        self.store.writer().unwrap().append(self.session, &events).unwrap();
    }

    fn start(&self, adjust: impl FnOnce(&mut Settings)) -> Deliverer {
        let mut settings = Settings {
            otas: config::Otas {
                brain_url: self.url.clone(),
                uasam_url: self.url.clone(),
                agent_key: Some(Secret::new(KEY)),
                agent_key_file: None,
                session_token: None,
                project_id: None,
                project_domain: None,
            },
            delivery: config::Delivery {
                max_in_flight: 4,
                attempt_timeout: Duration::from_secs(5),
                backoff_min: Duration::from_millis(2),
                backoff_max: Duration::from_millis(20),
                drain_timeout: Duration::ZERO,
            },
        };
        adjust(&mut settings);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        Deliverer::start(DeliverOptions {
            store: self.store.clone(),
            session_row: self.session,
            otas: settings.otas,
            delivery: settings.delivery,
            tls,
            meta: json!({ "run": "r" }),
        })
        .unwrap()
    }

    fn counts(&self) -> Counts {
        self.store.counts(Some(self.session)).unwrap()
    }

    /// Newest first.
    fn rows(&self) -> Vec<EventRow> {
        self.store.list(&Filter { limit: 1_000, ..Filter::default() }).unwrap()
    }
}

/// Both services of OTAS in one, with the contract's checks in their order, and faults to play.
struct FakeOtas {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    server: JoinHandle<()>,
}

/// What it knows, what it was told, and what it shall do wrong.
#[derive(Default)]
struct Book {
    key: String,
    saved: Vec<Value>,
    metas: Vec<Value>,
    calls: usize,
    sessions: u64,
    key_checks: usize,
    /// Tokens of sessions up to this one are refused.
    expired_tokens: u64,
    /// The `seq` of an event that cannot be saved.
    poison: Option<u64>,
    /// Played by the next posts, one each.
    faults: VecDeque<Fault>,
    /// Answered to each post.
    everything: Option<(u16, String)>,
    at_once: usize,
    most_at_once: usize,
}

#[derive(Clone)]
enum Fault {
    Answer(u16, String),
    SaveAndCut,
    SaveAndHang,
}

type Answer = Result<Response<Full<Bytes>>, io::Error>;

impl FakeOtas {
    async fn start() -> Self {
        let book = Arc::new(Mutex::new(Book { key: KEY.into(), ..Book::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, book.clone()));
        Self { address, book, server }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    fn saved_seqs(&self) -> Vec<u64> {
        self.book().saved.iter().map(|event| event["metadata"]["seq"].as_u64().unwrap()).collect()
    }

    /// Closes the port, and cuts what is under way.
    async fn go_away(&mut self) {
        self.server.abort();
        let ended = (&mut self.server).await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }

    async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.server = tokio::spawn(serve(listener, self.book.clone()));
    }
}

async fn serve(listener: TcpListener, book: Arc<Mutex<Book>>) {
    // Dropped with this task, and with it all connections.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let book = book.clone();
        let service = service_fn(move |request| answer(request, book.clone()));
        let http = hyper::server::conn::http1::Builder::new();
        connections.spawn(async move { drop(http.serve_connection(TokioIo::new(stream), service).await) });
    }
}

async fn answer(request: Request<Incoming>, book: Arc<Mutex<Book>>) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let lock = || book.lock().unwrap();
    lock().calls += 1;
    match head.uri.path() {
        "/api/agent/v1/auth/verify/" => lock().verify(&head.headers),
        "/api/agent/v1/session/create/" => lock().create_session(&head.headers, &body),
        "/api/v1/backend/log/agent/" => {
            {
                let mut book = lock();
                book.at_once += 1;
                book.most_at_once = book.most_at_once.max(book.at_once);
            }
            // Lets the others in, so that calls do meet here.
            tokio::task::yield_now().await;
            let (answer, hangs) = lock().log_event(&head.headers, &body);
            lock().at_once -= 1;
            if hangs {
                std::future::pending::<()>().await;
            }
            answer
        }
        _ => reply(404, "<html>Not Found</html>".into()),
    }
}

impl Book {
    fn verify(&mut self, headers: &HeaderMap) -> Answer {
        self.key_checks += 1;
        if !self.key_is_good(headers) {
            return reply(401, described("invalid_agent_key"));
        }
        let agent = json!({ "id": "a", "name": "n", "provider": "p" });
        reply(200, json!({ "status": 1, "response": { "project_id": PROJECT, "agent": agent } }).to_string())
    }

    fn create_session(&mut self, headers: &HeaderMap, body: &[u8]) -> Answer {
        if !self.key_is_good(headers) {
            return reply(401, described("invalid_agent_key"));
        }
        self.metas.push(serde_json::from_slice(body).unwrap());
        self.sessions += 1;
        let token = token(self.sessions, 4_102_444_800);
        let response = json!({ "Header_value": "X-OTAS-AGENT-SESSION-TOKEN", "jwt_token": token });
        reply(200, json!({ "status": 1, "response": response }).to_string())
    }

    fn log_event(&mut self, headers: &HeaderMap, body: &[u8]) -> (Answer, bool) {
        let fault = self.faults.pop_front();
        if let Some(Fault::Answer(status, body)) = fault {
            return (reply(status, body), false);
        }
        if let Some((status, body)) = &self.everything {
            return (reply(*status, body.clone()), false);
        }
        let answer = self.check_and_save(headers, body);
        match fault {
            Some(Fault::SaveAndCut) => (Err(io::Error::other("cut")), false),
            Some(Fault::SaveAndHang) => (answer, true),
            _ => (answer, false),
        }
    }

    fn check_and_save(&mut self, headers: &HeaderMap, body: &[u8]) -> Answer {
        if !self.key_is_good(headers) {
            return reply(401, described("invalid_or_expired_agent_key"));
        }
        let session = session_of(headers);
        if session.is_none_or(|session| session <= self.expired_tokens) {
            return reply(401, described("invalid_or_expired_token"));
        }
        let Ok(event) = serde_json::from_slice::<Value>(body) else {
            return reply(400, described("invalid_json"));
        };
        let required = ["project_id", "path", "method", "status_code", "latency_ms"];
        if required.iter().any(|field| event.get(field).is_none()) {
            return reply(400, described("missing_required_fields"));
        }
        if self.poison.is_some() && event["metadata"]["seq"].as_u64() == self.poison {
            return reply(500, described("event_capture_failed"));
        }
        self.saved.push(event);
        let event_id = format!("event-{}", self.saved.len());
        let response = json!({ "event_id": event_id });
        reply(201, json!({ "status": 1, "status_description": "event_captured", "response": response }).to_string())
    }

    fn key_is_good(&self, headers: &HeaderMap) -> bool {
        headers.get("x-otas-agent-key").is_some_and(|key| key.as_bytes() == self.key.as_bytes())
    }
}

fn session_of(headers: &HeaderMap) -> Option<u64> {
    let token = headers.get("x-otas-agent-session-token")?.to_str().ok()?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?).ok()?;
    claims["agent_session_id"].as_str()?.strip_prefix("session-")?.parse().ok()
}

fn token(session: u64, exp: u64) -> String {
    let claims = json!({ "agent_session_id": format!("session-{session}"), "agent_id": "a", "iat": 1, "exp": exp });
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn described(description: &str) -> String {
    json!({ "status": 0, "status_description": description }).to_string()
}

fn reply(status: u16, body: String) -> Answer {
    let location = if (300..400).contains(&status) { "/api/agent/v1/auth/verify/" } else { "" };
    let response = Response::builder().status(status).header("location", location);
    response.body(Full::new(body.into())).map_err(io::Error::other)
}
