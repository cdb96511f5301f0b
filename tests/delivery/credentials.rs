//! Wrong, expired and changed keys, tokens and projects: each is reported with what to do, and nothing is lost once it is
//! fixed.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use otas_proxy::collector::issue_key;
use otas_proxy::secret::Secret;
use otas_proxy::store::KeySource;
use serde_json::json;
use uuid::Uuid;

use super::bench::{Bench, PATIENCE, in_session, key_checks, paused, saved_in, until};
use crate::support::otas::TestOtas;
use crate::support::program::content_of;

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
    // Two posts, and the key check, which returns the project.
    assert_eq!((otas.posts(), otas.uasam_calls().len(), key_checks(&otas)), (2, 1, 1));
    deliverer.stop().await;
}

#[tokio::test]
async fn an_expired_or_invalid_configured_token_is_reported_before_anything_is_sent() {
    let otas = TestOtas::start().await;
    for (given, told) in [(expired_token(), "expired"), ("not-a-token".into(), "is not an OTAS token")] {
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

#[tokio::test]
async fn fault_06_a_wrong_key_in_a_file_is_fixed_without_a_restart() {
    let otas = TestOtas::start().await;
    let wrong = issue_key().unwrap();
    let bench = Bench::at(otas.url().parse().unwrap(), wrong.clone());
    let file = bench.key_file(&wrong);
    bench.append(5);
    let deliverer = bench.start(|settings| {
        settings.otas.agent_key_file = Some(file);
        // Only the change of the file can end the pause in time.
        settings.delivery.backoff_max = Duration::from_secs(3_600);
    });
    let told = paused(&deliverer).await;
    assert!(told.contains("refuses the agent key") && told.contains("without a restart"), "{told}");
    bench.key_file(&otas.key());
    let status = until(&deliverer, |status| status.counts.delivered == 5).await;
    assert_eq!((status.counts.pending, status.trouble), (0, None));
    deliverer.stop().await;
}

#[tokio::test]
async fn a_new_key_of_the_same_agent_continues_the_session() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    let file = bench.key_file(&otas.key());
    bench.append(3);
    let deliverer = bench.start(|settings| settings.otas.agent_key_file = Some(file));
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 3);
    otas.revoke_key().await;
    bench.append(3);
    deliverer.wake();
    until(&deliverer, |it| it.trouble.as_ref().is_some_and(|why| why.contains("accepted before"))).await;
    let file = bench.key_file(&otas.key());
    until(&deliverer, |status| status.counts.delivered == 6).await;
    // A session that begins under the key from the start of the process.
    let late = bench.session_under("late", &bench.key);
    bench.store.note_key_source(late, &KeySource::of(Some(&file))).unwrap();
    bench.append_to(late, 1);
    deliverer.wake();
    until(&deliverer, |_| bench.counts_of(late).delivered == 1).await;
    deliverer.stop().await;
    let session = otas.sessions().await[0].session_id;
    assert_eq!((otas.sessions().await.len(), saved_in(&otas, session).await.len()), (2, 6));
    // A later process opens the token that is now sealed with the new key.
    bench.append(1);
    let later = bench.start(|settings| settings.otas.agent_key = Some(otas.key()));
    assert_eq!(later.drained(PATIENCE).await.counts.delivered, 7);
    assert_eq!(otas.sessions().await.len(), 2);
    later.stop().await;
}

#[tokio::test]
async fn a_key_of_another_agent_in_the_file_pauses_until_the_right_one_is_back() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    let file = bench.key_file(&otas.key());
    let deliverer = bench.start(|settings| settings.otas.agent_key_file = Some(file));
    until(&deliverer, |status| status.session != Default::default()).await;
    bench.key_file(&otas.another_agent("other").await);
    let told = paused(&deliverer).await;
    assert!(told.contains("another agent") && told.contains("restore a key of agent"), "{told}");
    bench.append(2);
    bench.key_file(&otas.key());
    until(&deliverer, |status| status.counts.delivered == 2).await;
    deliverer.stop().await;
}

#[tokio::test]
async fn the_backlog_of_a_replaced_key_is_delivered_with_the_new_one_after_a_restart() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(1);
    let first = bench.start(|_| {});
    assert_eq!(first.drained(PATIENCE).await.counts.delivered, 1);
    first.stop().await;
    bench.append(4);
    otas.revoke_key().await;

    let session = bench.session_under("second", &otas.key());
    bench.append_to(session, 2);
    let second = bench.start_for(Some(session), |settings| settings.otas.agent_key = Some(otas.key()));
    until(&second, |status| status.backlog == 0 && status.counts.delivered == 2).await;
    until(&second, |_| bench.counts().delivered == 5).await;
    second.stop().await;
    // Each run has its own session, identified by its `meta`.
    let metas: Vec<_> = otas.sessions().await.into_iter().map(|session| session.meta["run"].clone()).collect();
    assert!(metas.contains(&json!("r")) && metas.contains(&json!("second")), "{metas:?}");
}

#[tokio::test]
async fn fault_06_the_backlog_of_a_wrong_key_is_delivered_after_a_restart_with_the_right_one() {
    let otas = TestOtas::start().await;
    let bench = Bench::at(otas.url().parse().unwrap(), issue_key().unwrap());
    bench.append(3);
    let first = bench.start(|_| {});
    assert!(paused(&first).await.contains("and restart"));
    first.stop().await;
    let session = bench.session_under("second", &otas.key());
    let second = bench.start_for(Some(session), |settings| settings.otas.agent_key = Some(otas.key()));
    until(&second, |_| bench.counts().delivered == 3).await;
    second.stop().await;
}

#[tokio::test]
async fn a_key_with_an_invalid_underscore_is_reported() {
    let otas = TestOtas::start().await;
    let bench = Bench::at(otas.url().parse().unwrap(), Secret::new("agent_ab_defghijk_secret"));
    let deliverer = bench.start(|_| {});
    let told = paused(&deliverer).await;
    assert!(told.contains("underscore") && told.contains("only a new key helps"), "{told}");
    deliverer.stop().await;
}

#[tokio::test]
async fn events_wait_during_an_expired_token_and_are_delivered_once_it_is_removed() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(3);
    let first = bench.start(|settings| settings.otas.session_token = Some(Secret::new(&expired_token())));
    assert!(paused(&first).await.contains("expired"));
    first.stop().await;
    let second = bench.start(|_| {});
    assert_eq!(second.drained(PATIENCE).await.counts.delivered, 3);
    second.stop().await;
}

#[tokio::test]
async fn fault_06_a_token_of_another_agent_pauses_only_its_own_run() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    let foreign = otas.session_token(&otas.another_agent("other").await).await;
    bench.append(3);
    let other = bench.another_session("other");
    bench.append_to(other, 3);
    let first = bench.start(|settings| {
        settings.otas.session_token = Some(foreign);
        settings.delivery.backoff_max = Duration::from_secs(3_600);
    });
    let told = paused(&first).await;
    assert!(told.contains("belongs to another agent") && told.contains("remove `otas.session_token`"), "{told}");
    until(&first, |_| bench.counts_of(other).delivered == 3).await;
    assert_eq!(bench.counts().pending, 3);
    first.stop().await;
    let second = bench.start(|_| {});
    assert_eq!(second.drained(PATIENCE).await.counts.delivered, 3);
    second.stop().await;
}

#[tokio::test]
async fn a_project_that_does_not_match_the_key_pauses_until_it_is_fixed() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(3);
    let wrong = Uuid::new_v4().to_string();
    let first = bench.start(|settings| {
        settings.otas.project_id = Some(wrong.clone());
        settings.delivery.backoff_max = Duration::from_secs(3_600);
    });
    let told = paused(&first).await;
    for part in [&*wrong, &*otas.project_id().to_string(), "otas.project_id"] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!((otas.posts(), bench.counts().pending), (0, 3));
    // It does not block a process with the right settings.
    let second = bench.start(|_| {});
    assert_eq!(second.drained(PATIENCE).await.counts.delivered, 3);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_configured_token_used_by_an_earlier_run_causes_a_warning_and_is_used() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    let token = otas.session_token(&otas.key()).await;
    bench.append(1);
    let first = bench.start(|settings| settings.otas.session_token = Some(token.clone()));
    assert_eq!(first.drained(PATIENCE).await.warning, None);
    first.stop().await;
    let again = bench.another_session("again");
    bench.append_to(again, 1);
    let second = bench.start_for(Some(again), |settings| settings.otas.session_token = Some(token));
    let status = second.drained(PATIENCE).await;
    assert_eq!((status.counts.delivered, otas.sessions().await.len()), (1, 1));
    let warning = status.warning.unwrap();
    assert!(warning.contains("run run") && warning.contains("otas.session_token"), "{warning}");
    second.stop().await;
}

#[tokio::test]
async fn the_store_contains_no_readable_key_or_token() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    let token = otas.session_token(&otas.key()).await;
    bench.append(1);
    let deliverer = bench.start(|settings| settings.otas.session_token = Some(token.clone()));
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 1);
    deliverer.stop().await;
    let mut looked_at = 0;
    for file in std::fs::read_dir(bench.folder()).unwrap() {
        let bytes = content_of(&file.unwrap().path());
        looked_at += bytes.len();
        for secret in [token.expose(), otas.key().expose()] {
            for part in secret.split('.').filter(|part| part.len() > 20) {
                assert!(!bytes.windows(part.len()).any(|window| window == part.as_bytes()));
            }
        }
    }
    assert!(looked_at > 10_000);
}

/// A well-formed token that expired long ago.
fn expired_token() -> String {
    let claims = json!({ "agent_session_id": "s", "agent_id": "a", "iat": 1, "exp": 1_000 });
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}
