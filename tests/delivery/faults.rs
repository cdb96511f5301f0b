//! Faults 1 to 11: an OTAS that is unreachable, refuses, sends wrong answers and loses answers. No event is lost, none is
//! knowingly sent twice, and an operator learns what to fix.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use otas_proxy::collector::issue_key;
use otas_proxy::deliver::{SessionState, Status};
use otas_proxy::secret::Secret;
use otas_proxy::store::{Counts, State};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::bench::{Bench, PATIENCE, in_session, key_checks, paused, saved_seqs, until};
use crate::support::otas::{Answer, Overload, TestOtas};

#[tokio::test]
async fn fault_01_otas_away_at_the_start() {
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
async fn fault_01_otas_down_in_the_middle() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(200);
    let deliverer = bench.start(|_| {});
    deliverer.watch().wait_for(|status| status.counts.delivered >= 20).await.unwrap();
    otas.down().await;
    deliverer.watch().wait_for(|status| status.trouble.is_some() && status.in_flight == 0).await.unwrap();
    otas.up().await;
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.counts, Counts { total: 200, pending: 0, delivered: 200, dead: 0, kept: 0 });
    let seqs = saved_seqs(&otas).await;
    assert_eq!(seqs.iter().copied().collect::<BTreeSet<_>>(), (0..200).collect());
    assert!((seqs.len() - 200) as u64 <= status.lost_answers, "{} lost answers", status.lost_answers);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_02_a_post_that_is_never_answered_is_sent_again() {
    let otas = TestOtas::start().await;
    otas.withhold_answers(1);
    let bench = Bench::new(&otas);
    bench.append(3);
    let deliverer = bench.start(|settings| settings.delivery.attempt_timeout = Duration::from_secs(3));
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!((status.counts.delivered, status.lost_answers), (3, 1));
    assert_eq!(otas.events().await.len(), 4);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_03_a_slow_otas_gets_few_posts_at_a_time_and_refuses_none() {
    let otas = TestOtas::start().await;
    let (key_check, time_out) = (Duration::from_millis(60), Duration::from_secs(4));
    otas.overload(Overload { max_in_flight: 20, workers: 1, key_check, time_out });
    let bench = Bench::new(&otas);
    bench.append(40);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 16);
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 40);
    assert_eq!(otas.refused(), []);
    assert!(otas.most_posts_at_once() <= 4, "{}", otas.most_posts_at_once());
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_04_retry_after_in_seconds_is_honoured() {
    let otas = TestOtas::start().await;
    otas.answer_next(1, Answer::new(429).header("retry-after", "1"));
    otas.answer_next(1, Answer::new(503));
    let bench = Bench::new(&otas);
    bench.append(3);
    let deliverer = bench.start(|_| {});
    let started = Instant::now();
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 3);
    assert!(started.elapsed() >= Duration::from_millis(990), "{:?}", started.elapsed());
    assert_eq!(deliverer.status().verdicts.retry, 2);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_04_an_absurd_retry_after_keeps_the_events_and_is_not_shortened() {
    let otas = TestOtas::start().await;
    otas.answer_next(1, Answer::new(503).header("retry-after", "999999999999999999999"));
    let bench = Bench::new(&otas);
    bench.append(3);
    let deliverer = bench.start(|_| {});
    until(&deliverer, |status| status.trouble.is_some()).await;
    assert_eq!(deliverer.drained(Duration::from_millis(100)).await.counts.pending, 3);
    assert_eq!(otas.posts(), 1);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_04_server_errors_and_past_dates_are_retried() {
    let otas = TestOtas::start().await;
    for status in [500, 502, 503, 504] {
        otas.answer_next(1, Answer::new(status).header("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"));
    }
    let bench = Bench::new(&otas);
    bench.append(3);
    let deliverer = bench.start(|_| {});
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 3);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_05_an_expired_token_is_renewed_once_for_all_its_posts() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(10);
    let deliverer = bench.start(|_| {});
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 10);
    otas.expire_tokens().await;
    bench.append(50);
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.counts, Counts { total: 60, pending: 0, delivered: 60, dead: 0, kept: 0 });
    let sessions = otas.sessions().await;
    assert_eq!(sessions.len(), 2);
    assert_eq!(status.session, in_session(sessions[1].session_id));
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_05_a_token_that_is_refused_when_new_pauses_instead_of_renewing_for_ever() {
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

/// The part of an agent key that must not be shown. It is base64url and may contain `_`; the prefix does not.
fn secret_part(key: &Secret) -> &str {
    let secret = key.expose().splitn(3, '_').nth(2).unwrap();
    assert!(secret.len() > 20, "an agent key has a long secret");
    secret
}

#[tokio::test]
async fn fault_06_a_wrong_key_pauses_and_nothing_is_lost_once_it_is_fixed() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    otas.revoke_key().await;
    bench.append(5);
    let deliverer = bench.start(|_| {});
    let reason = paused(&deliverer).await;
    let secret = secret_part(&bench.key);
    assert!(reason.contains("refuses the agent key") && !reason.contains(secret), "{reason}");
    assert_eq!(bench.counts(), Counts { total: 5, pending: 5, delivered: 0, dead: 0, kept: 0 });
    otas.give_key(bench.key.clone()).await;
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 5);
    assert!(matches!(deliverer.status().session, SessionState::Open { .. }));
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_06_a_refusal_of_an_accepted_key_is_doubted_and_no_new_key_is_advised() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(5);
    let deliverer = bench.start(|_| {});
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 5);
    otas.revoke_key().await;
    bench.append(5);
    deliverer.wake();
    // UASAM refuses valid keys while its database is down, and a new key would revoke the valid one.
    let doubted =
        until(&deliverer, |it| it.trouble.as_ref().is_some_and(|why| why.contains("accepted before"))).await;
    let why = doubted.trouble.unwrap();
    assert!(why.contains("database") && why.contains("expired") && !why.to_lowercase().contains("new key"), "{why}");
    assert!(!matches!(doubted.session, SessionState::Paused { .. }), "{:?}", doubted.session);
    assert_eq!(bench.counts(), Counts { total: 10, pending: 5, delivered: 5, dead: 0, kept: 0 });
    otas.give_key(bench.key.clone()).await;
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 10);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_06_a_token_of_another_agent_pauses() {
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
async fn fault_06_a_burst_of_refused_keys_with_a_good_key_loses_nothing() {
    let otas = TestOtas::start().await;
    otas.answer_next(12, Answer::refusal(401, "invalid_or_expired_agent_key"));
    let bench = Bench::new(&otas);
    bench.append(40);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 8);
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.counts, Counts { total: 40, pending: 0, delivered: 40, dead: 0, kept: 0 });
    assert!(matches!(status.session, SessionState::Open { .. }));
    // At the start for the project, then after each refused probe.
    assert!((2..=14).contains(&key_checks(&otas)), "{} checks", key_checks(&otas));
    let mut seqs = saved_seqs(&otas).await;
    seqs.sort_unstable();
    assert_eq!(seqs, (0..40).collect::<Vec<_>>());
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_07_an_event_that_alone_is_refused_is_dead_after_its_attempts_and_the_rest_is_delivered() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(3);
    bench.append_events(bench.session, &[json!({ "error": "\0" })]);
    bench.append(6);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 1);
    deliverer.watch().wait_for(|status| status.counts.delivered == 9).await.unwrap();
    // Its last attempts count only while others are accepted.
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
async fn fault_07_a_database_that_is_down_kills_no_event() {
    let otas = TestOtas::start().await;
    otas.answer_next(30, Answer::refusal(500, "event_capture_failed"));
    let bench = Bench::new(&otas);
    bench.append(12);
    let deliverer = bench.start(|_| {});
    let counts = deliverer.drained(PATIENCE).await.counts;
    assert_eq!(counts, Counts { total: 12, pending: 0, delivered: 12, dead: 0, kept: 0 });
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_07_a_malformed_event_is_dead_after_three_attempts() {
    let otas = TestOtas::start().await;
    otas.answer_next(3, Answer::refusal(400, "missing_required_fields"));
    let bench = Bench::new(&otas);
    bench.append(1);
    let deliverer = bench.start(|_| {});
    let counts = deliverer.drained(PATIENCE).await.counts;
    assert_eq!(counts, Counts { total: 1, pending: 0, delivered: 0, dead: 1, kept: 0 });
    assert_eq!(bench.rows()[0].attempts, 3);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_07_a_refused_event_is_sent_once_more_without_its_bodies_and_says_so() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    // OTAS's database cannot store a NUL; here it is in a body.
    bench.append_events(bench.session, &[json!({ "request_body": "a\0b", "response_body": "good" })]);
    bench.append(6);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 1);
    assert_eq!(
        deliverer.drained(PATIENCE).await.counts,
        Counts { total: 7, pending: 0, delivered: 7, dead: 0, kept: 0 }
    );
    let events = otas.events().await;
    let cut = events.iter().find(|event| event["metadata"]["seq"] == 0).unwrap();
    assert_eq!(cut["metadata"]["cut"]["bodies_removed"], true);
    for body in ["request_body", "response_body"] {
        assert!(cut[body].as_str().unwrap().starts_with("[removed: OTAS refused"), "{}", cut[body]);
    }
    let whole = events.iter().filter(|event| event["metadata"].get("cut").is_none()).count();
    assert_eq!((events.len(), whole), (7, 6));
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_08_pages_redirects_and_halves_of_answers_never_count() {
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
async fn fault_09_a_server_with_an_untrusted_certificate_gets_no_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = untrusted_acceptor();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // The client aborts the handshake, so no byte of a request is sent.
        acceptor.accept(stream).await.is_err()
    });
    let url = format!("https://localhost:{}", address.port()).parse().unwrap();
    let bench = Bench::at(url, issue_key().unwrap());
    bench.append(1);
    let deliverer = bench.start(|settings| settings.delivery.backoff_min = Duration::from_secs(3_600));
    let status = deliverer.watch().wait_for(|status| status.trouble.is_some()).await.unwrap().clone();
    let told = status.trouble.unwrap();
    assert!(told.contains("certificate was rejected"), "{told}");
    assert!(server.await.unwrap());
    assert_eq!(bench.counts().pending, 1);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_10_an_unknown_host_name_keeps_the_events() {
    let bench = Bench::at("http://otas.invalid:8002".parse().unwrap(), issue_key().unwrap());
    bench.append(2);
    let deliverer = bench.start(|settings| settings.delivery.attempt_timeout = Duration::from_secs(2));
    let status = until(&deliverer, |status| status.trouble.is_some()).await;
    assert!(matches!(status.session, SessionState::Opening), "{status:?}");
    assert_eq!(bench.counts().pending, 2);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_10_an_intermittent_otas_gets_everything_in_the_end() {
    let otas = TestOtas::start().await;
    let bench = Bench::at(otas.url().replace("127.0.0.1", "localhost").parse().unwrap(), otas.key());
    bench.append(100);
    let deliverer = bench.start(|_| {});
    for round in 1..=4 {
        until(&deliverer, |status| status.counts.delivered >= round * 20).await;
        otas.down().await;
        until(&deliverer, |status| status.trouble.is_some() && status.in_flight == 0).await;
        otas.up().await;
    }
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.counts, Counts { total: 100, pending: 0, delivered: 100, dead: 0, kept: 0 });
    let seqs = saved_seqs(&otas).await;
    assert_eq!(seqs.iter().copied().collect::<BTreeSet<_>>(), (0..100).collect());
    assert!((seqs.len() - 100) as u64 <= status.lost_answers, "{} lost answers", status.lost_answers);
    deliverer.stop().await;
}

#[tokio::test]
async fn fault_11_a_lost_answer_is_counted_and_the_event_sent_again_under_the_same_id() {
    let otas = TestOtas::start().await;
    otas.lose_answers(1);
    let bench = Bench::new(&otas);
    bench.append(3);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 1);
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!((status.counts.delivered, status.lost_answers), (3, 1));
    assert_eq!(saved_seqs(&otas).await, [0, 0, 1, 2]);
    let events = otas.events().await;
    assert_eq!(events[0], events[1], "one logical event, twice");
    deliverer.stop().await;
}

/// TLS with a certificate from an unknown issuer.
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
