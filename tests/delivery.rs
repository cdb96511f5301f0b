//! Delivery against an OTAS that goes away, refuses, lies and loses answers: nothing is lost, nothing is doubled that
//! could be known about, and a person is told what to put right.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use otas_proxy::collector::issue_key;
use otas_proxy::config;
use otas_proxy::deliver::{DeliverOptions, Deliverer, SessionState, Status};
use otas_proxy::secret::Secret;
use otas_proxy::store::{Counts, EventRow, Filter, NewEvent, SessionRow, State, Store, key_id};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;
use uuid::Uuid;

use crate::support::otas::{Answer, Overload, TestOtas, UasamCall};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn events_are_delivered_in_order_under_a_session_of_their_own() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(20);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 1);
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.counts, Counts { total: 20, pending: 0, delivered: 20, dead: 0 });
    assert_eq!(status.session, in_session(otas.sessions().await[0].session_id));
    assert_eq!(status.trouble, None);
    assert_eq!(saved_seqs(&otas).await, (0..20).collect::<Vec<_>>());
    let saved = otas.stored_events().await;
    assert!(saved.iter().all(|event| event.body["project_id"] == otas.project_id().to_string()));
    let [_verify, UasamCall { body, .. }] = &otas.uasam_calls()[..] else { panic!("{:?}", otas.uasam_calls()) };
    let meta = serde_json::from_str::<Value>(body).unwrap();
    assert_eq!(meta, json!({ "meta": { "run": "r" }, "Meta": { "run": "r" } }));
    let row = &bench.rows()[0];
    let last = saved[19].event_id.to_string();
    assert_eq!((row.state, row.attempts, row.otas_event_id.as_deref()), (State::Delivered, 1, Some(&*last)));
    deliverer.stop().await;
}

#[tokio::test]
async fn rows_that_come_later_are_delivered_when_it_is_woken() {
    let otas = TestOtas::start().await;
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
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(60);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 3);
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 60);
    assert!((1..=3).contains(&otas.most_posts_at_once()), "{}", otas.most_posts_at_once());
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_1_otas_away_at_the_start() {
    let otas = TestOtas::start().await;
    otas.down().await;
    let bench = Bench::new(&otas);
    bench.append(10);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 1);
    deliverer.watch().wait_for(|status| status.trouble.is_some()).await.unwrap();
    let status = deliverer.drained(Duration::from_millis(50)).await;
    assert_eq!((status.session, status.counts.pending), (SessionState::Opening, 10));
    otas.up().await;
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 10);
    assert_eq!(saved_seqs(&otas).await, (0..10).collect::<Vec<_>>());
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_1_otas_down_in_the_middle() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(200);
    let deliverer = bench.start(|_| {});
    deliverer.watch().wait_for(|status| status.counts.delivered >= 20).await.unwrap();
    otas.down().await;
    deliverer.watch().wait_for(|status| status.trouble.is_some() && status.in_flight == 0).await.unwrap();
    otas.up().await;
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.counts, Counts { total: 200, pending: 0, delivered: 200, dead: 0 });
    let seqs = saved_seqs(&otas).await;
    assert_eq!(seqs.iter().copied().collect::<BTreeSet<_>>(), (0..200).collect());
    assert!((seqs.len() - 200) as u64 <= status.lost_answers, "{} lost answers", status.lost_answers);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_2_a_post_that_is_never_answered_is_sent_again() {
    let otas = TestOtas::start().await;
    otas.withhold_answers(1);
    let bench = Bench::new(&otas);
    bench.append(3);
    let deliverer = bench.start(|settings| settings.delivery.attempt_timeout = Duration::from_millis(300));
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!((status.counts.delivered, status.lost_answers), (3, 1));
    assert_eq!(otas.events().await.len(), 4);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_5_an_expired_token_is_renewed_once_for_all_that_met_it() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(10);
    let deliverer = bench.start(|_| {});
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 10);
    otas.expire_tokens().await;
    bench.append(50);
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.counts, Counts { total: 60, pending: 0, delivered: 60, dead: 0 });
    let sessions = otas.sessions().await;
    assert_eq!(sessions.len(), 2);
    assert_eq!(status.session, in_session(sessions[1].session_id));
    deliverer.stop().await;
}

#[tokio::test]
async fn a_token_that_is_refused_when_new_pauses_instead_of_renewing_for_ever() {
    let otas = TestOtas::start().await;
    otas.answer_all(Answer::refusal(401, "invalid_or_expired_token"));
    let bench = Bench::new(&otas);
    bench.append(3);
    let deliverer = bench.start(|settings| settings.delivery.backoff_max = Duration::from_secs(3_600));
    assert!(paused(&deliverer).await.contains("one JWT secret"));
    assert_eq!(otas.sessions().await.len(), 2);
    otas.up().await;
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 3);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_6_a_wrong_key_pauses_and_nothing_is_lost_once_it_is_right() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    otas.revoke_key().await;
    bench.append(5);
    let deliverer = bench.start(|_| {});
    let reason = paused(&deliverer).await;
    let secret = bench.key.expose().rsplit_once('_').unwrap().1;
    assert!(reason.contains("refuses the agent key") && !reason.contains(secret), "{reason}");
    assert_eq!(bench.counts(), Counts { total: 5, pending: 5, delivered: 0, dead: 0 });
    otas.give_key(bench.key.clone()).await;
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 5);
    assert!(matches!(deliverer.status().session, SessionState::Open { .. }));
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_6_a_key_revoked_in_the_middle_pauses_after_uasam_confirmed_it() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(5);
    let deliverer = bench.start(|_| {});
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 5);
    otas.revoke_key().await;
    bench.append(5);
    deliverer.wake();
    paused(&deliverer).await;
    assert_eq!(bench.counts(), Counts { total: 10, pending: 5, delivered: 5, dead: 0 });
    otas.give_key(bench.key.clone()).await;
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 10);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_6_a_token_of_another_agent_pauses() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(2);
    otas.answer_all(Answer::refusal(403, "session_agent_mismatch"));
    let deliverer = bench.start(|_| {});
    assert!(paused(&deliverer).await.contains("belongs to another agent"));
    otas.up().await;
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 2);
    deliverer.stop().await;
}

#[tokio::test]
async fn a_burst_of_refused_keys_with_a_good_key_loses_nothing() {
    let otas = TestOtas::start().await;
    otas.answer_next(12, Answer::refusal(401, "invalid_or_expired_agent_key"));
    let bench = Bench::new(&otas);
    bench.append(40);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 8);
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.counts, Counts { total: 40, pending: 0, delivered: 40, dead: 0 });
    assert!(matches!(status.session, SessionState::Open { .. }));
    // At the start for the project, then after each probe that was refused.
    assert!((2..=14).contains(&key_checks(&otas)), "{} checks", key_checks(&otas));
    let mut seqs = saved_seqs(&otas).await;
    seqs.sort_unstable();
    assert_eq!(seqs, (0..40).collect::<Vec<_>>());
    deliverer.stop().await;
}

#[tokio::test]
async fn a_burst_is_delivered_at_the_pace_that_otas_can_take_and_next_to_nothing_is_refused() {
    const EVENTS: u64 = 300;
    const FASTER: u32 = 10;
    let otas = TestOtas::start().await;
    otas.overload(Overload::measured(FASTER));
    let bench = Bench::new(&otas);
    bench.append(EVENTS as usize);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 16);
    let started = Instant::now();
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.counts, Counts { total: EVENTS, pending: 0, delivered: EVENTS, dead: 0 });
    assert!(otas.refused().len() as u64 * 50 <= EVENTS, "{} refused", otas.refused().len());
    // Two workers at 20 ms an event; half of that is far more than one at a time would reach.
    let rate = EVENTS as f64 / started.elapsed().as_secs_f64();
    assert!(rate > 60.0, "{rate} events/s");
    assert!(otas.most_posts_at_once() <= 8, "{}", otas.most_posts_at_once());
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_7_an_event_that_alone_is_refused_is_dead_after_its_tries_and_the_rest_flow_on() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(3);
    bench.append_unsavable();
    bench.append(6);
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
    assert_eq!(saved_seqs(&otas).await[..6], [0, 1, 2, 4, 5, 6]);
    deliverer.stop().await;
}

#[tokio::test]
async fn a_database_that_is_down_kills_no_event() {
    let otas = TestOtas::start().await;
    otas.answer_next(30, Answer::refusal(500, "event_capture_failed"));
    let bench = Bench::new(&otas);
    bench.append(12);
    let deliverer = bench.start(|_| {});
    let counts = deliverer.drained(PATIENCE).await.counts;
    assert_eq!(counts, Counts { total: 12, pending: 0, delivered: 12, dead: 0 });
    deliverer.stop().await;
}

#[tokio::test]
async fn a_malformed_event_is_dead_after_three_tries() {
    let otas = TestOtas::start().await;
    otas.answer_next(3, Answer::refusal(400, "missing_required_fields"));
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
    let otas = TestOtas::start().await;
    for answer in [
        Answer::new(200).body("text/html", "<html>Accept the hotel's terms</html>"),
        Answer::new(302).header("location", "/api/agent/v1/auth/verify/"),
        Answer::new(204),
        Answer::new(201).body("application/json", r#"{"status":1,"status_description":"event_cap"#),
        Answer::new(503).body("text/html", "<html>"),
    ] {
        otas.answer_next(1, answer);
    }
    let bench = Bench::new(&otas);
    bench.append(4);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 1);
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 4);
    assert_eq!(saved_seqs(&otas).await, [0, 1, 2, 3]);
    assert_eq!(bench.rows()[3].attempts, 6);
    assert_eq!(key_checks(&otas), 1, "the redirect was not followed");
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
    let url = format!("https://localhost:{}", address.port()).parse().unwrap();
    let bench = Bench::at(url, issue_key().unwrap());
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
    let otas = TestOtas::start().await;
    otas.lose_answers(1);
    let bench = Bench::new(&otas);
    bench.append(3);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 1);
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!((status.counts.delivered, status.lost_answers), (3, 1));
    assert_eq!(saved_seqs(&otas).await, [0, 0, 1, 2]);
    deliverer.stop().await;
}

#[tokio::test]
async fn what_was_acknowledged_is_never_posted_again_by_a_later_delivery() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(50);
    let first = bench.start(|_| {});
    first.watch().wait_for(|status| status.counts.delivered >= 5).await.unwrap();
    first.stop().await;
    let second = bench.start(|_| {});
    assert_eq!(second.drained(PATIENCE).await.counts.delivered, 50);
    second.stop().await;
    let mut seqs = saved_seqs(&otas).await;
    seqs.sort_unstable();
    assert_eq!(seqs, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_configured_token_and_project_are_used() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(2);
    let token = otas.session_token(&otas.key()).await;
    let deliverer = bench.start(|settings| {
        settings.otas.session_token = Some(token);
        settings.otas.project_id = Some(otas.project_id().to_string());
    });
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.session, in_session(otas.sessions().await[0].session_id));
    assert_eq!(status.counts.delivered, 2);
    // Two posts, and the key's check, which tells its project.
    assert_eq!((otas.posts(), otas.uasam_calls().len(), key_checks(&otas)), (2, 1, 1));
    deliverer.stop().await;
}

#[tokio::test]
async fn a_configured_token_that_is_expired_or_none_at_all_is_told_before_anything_is_sent() {
    let otas = TestOtas::start().await;
    for (given, told) in [(expired_token(), "expired"), ("not-a-token".into(), "is not one of OTAS's")] {
        let bench = Bench::new(&otas);
        bench.append(1);
        let deliverer = bench.start(|settings| settings.otas.session_token = Some(Secret::new(&given)));
        let reason = paused(&deliverer).await;
        assert!(reason.contains(told) && reason.contains("otas.session_token"), "{reason}");
        deliverer.stop().await;
        assert_eq!(bench.counts().pending, 1);
    }
    assert_eq!((otas.posts(), otas.uasam_calls()), (0, vec![]));
}

#[tokio::test]
async fn without_a_key_everything_is_kept() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(1);
    let deliverer = bench.start(|settings| settings.otas.agent_key = None);
    assert!(paused(&deliverer).await.contains("no agent key"));
    assert_eq!(deliverer.drained(Duration::from_millis(20)).await.counts.pending, 1);
    deliverer.stop().await;
    assert_eq!((otas.posts(), otas.uasam_calls()), (0, vec![]));
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
    key: Secret,
}

struct Settings {
    otas: config::Otas,
    delivery: config::Delivery,
}

impl Bench {
    fn new(otas: &TestOtas) -> Self {
        Self::at(otas.url().parse().unwrap(), otas.key())
    }

    fn at(url: url::Url, key: Secret) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let session = store.begin_session("run", &key_id(&key), r#"{"run":"r"}"#).unwrap();
        Self { _folder: folder, store, session, url, key }
    }

    fn append(&self, count: usize) {
        self.append_with_errors(&vec![""; count]);
    }

    /// An event that OTAS's database refuses, whenever it is sent.
    fn append_unsavable(&self) {
        self.append_with_errors(&["\0"]);
    }

    fn append_with_errors(&self, errors: &[&str]) {
        let next = self.counts().total;
        let json = |(seq, error)| {
            json!({
                "path": "/v1/chat", "method": "POST", "status_code": 200, "latency_ms": 1.5, "error": error,
                "metadata": { "seq": seq },
            })
            .to_string()
        };
        let jsons: Vec<String> = (next..).zip(errors).map(json).collect();
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
                agent_key: Some(self.key.clone()),
                agent_key_file: None,
                session_token: None,
                project_id: None,
                project_domain: None,
            },
            delivery: config::Delivery {
                max_in_flight: 4,
                order: config::Order::Window,
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
            session_row: Some(self.session),
            otas: settings.otas,
            delivery: settings.delivery,
            tls,
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

/// What a post of an event was saved as, by its place in the run.
async fn saved_seqs(otas: &TestOtas) -> Vec<u64> {
    otas.events().await.iter().map(|event| event["metadata"]["seq"].as_u64().unwrap()).collect()
}

fn in_session(otas_session_id: Uuid) -> SessionState {
    SessionState::Open { otas_session_id: Some(otas_session_id.to_string()) }
}

fn key_checks(otas: &TestOtas) -> usize {
    otas.uasam_calls().iter().filter(|call| call.path.ends_with("/auth/verify/")).count()
}

/// A token of OTAS's form that expired long ago.
fn expired_token() -> String {
    let claims = json!({ "agent_session_id": "s", "agent_id": "a", "iat": 1, "exp": 1_000 });
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}
