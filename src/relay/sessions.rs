//! The sessions of the fleet in OTAS. The relay opens them; the token of each is kept in the queue, sealed with its agent's key, so
//! that another relay goes on with it.

use std::sync::Arc;

use async_nats::jetstream::message::PublishMessage;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::agents::Agent;
use super::{SESSION_IDLE, Shared, blocking};
use crate::deliver::{seal_token, unseal_token};
use crate::store::{KeptToken, KeySource, SessionRow, StoreError, key_id};

/// Relays share it: what is sealed with it opens only with the agent's key and for its run.
const SALT: &[u8] = b"otas-proxy relay";

/// A token in the queue.
#[derive(Serialize, Deserialize)]
struct Kept {
    run_id: String,
    otas_session_id: Option<String>,
    sealed: String,
    expires_at_ms: Option<i64>,
}

/// A session that has had events lately.
pub(super) struct Used {
    row: SessionRow,
    last: Instant,
}

/// Closes the sessions without events for a while, so that retention removes them after their events.
pub(super) async fn close_idle(shared: &Arc<Shared>) {
    let idle: Vec<SessionRow> = {
        let mut sessions = shared.sessions.lock();
        let idle = sessions.extract_if(|_, used| used.last.elapsed() > SESSION_IDLE);
        idle.map(|(_, used)| used.row).collect()
    };
    for row in idle {
        let store = shared.store.clone();
        if let Err(error) = blocking(move || store.close_session(row)).await {
            warn!(error = error.in_words(), "cannot record the end of a session; its row stays in the store");
        }
    }
}

/// The row of a session. It is added if it is new, with the token that another relay has kept for it.
pub(super) async fn row(
    shared: &Arc<Shared>,
    agent: &Agent,
    run_id: &str,
    meta: &str,
) -> Result<SessionRow, StoreError> {
    if let Some(used) = shared.sessions.lock().get_mut(run_id) {
        used.last = Instant::now();
        return Ok(used.row);
    }
    let (store, of, run, meta) = (shared.store.clone(), agent.clone(), run_id.to_owned(), meta.to_owned());
    let (row, has_token) = blocking(move || match store.session_of_run(&run)? {
        Some(row) => Ok((row, store.session(row)?.is_some_and(|record| record.token_sealed.is_some()))),
        None => {
            let row = store.begin_session(&run, &key_id(&of.key), &meta)?;
            // So that it passes to the key that replaces this one in its file.
            store.note_key_source(row, &KeySource::of(Some(&of.file)))?;
            Ok((row, false))
        }
    })
    .await?;
    // The other relay's is newer if this one has worked before.
    if let Some(token) = kept(shared, agent, run_id).await {
        let store = shared.store.clone();
        blocking(move || store.keep_token(row, &token)).await?;
    } else if has_token {
        debug!(run_id, "the session goes on with the token in this relay's store");
    }
    shared.sessions.lock().insert(run_id.to_owned(), Used { row, last: Instant::now() });
    Ok(row)
}

/// The token that a relay has kept for a session, sealed for this store.
async fn kept(shared: &Shared, agent: &Agent, run_id: &str) -> Option<KeptToken> {
    let names = &shared.queue.names;
    let stream = shared.queue.jetstream.get_stream_no_info(&names.relays).await.ok()?;
    let message = stream.direct_get_last_for_subject(names.session(run_id)).await.ok()?;
    let kept: Kept = serde_json::from_slice(&message.payload).ok().filter(|kept: &Kept| kept.run_id == run_id)?;
    let sealed = STANDARD.decode(&kept.sealed).ok()?;
    // A token of a key that was replaced does not open: then a session is opened anew.
    let token = unseal_token(&agent.key, Some(&agent.file), SALT, &sealed, run_id)?;
    let here = seal_token(&agent.key, &shared.salt, &token, run_id)?;
    Some(KeptToken { expires_at_ms: kept.expires_at_ms, otas_session_id: kept.otas_session_id, ..here })
}

/// Keeps the token of a session for other relays.
pub(super) async fn keep(shared: &Arc<Shared>, agent: &Agent, session: SessionRow) {
    let store = shared.store.clone();
    let Ok(Some(record)) = blocking(move || store.session(session)).await else { return };
    let Some(sealed) = record.token_sealed else { return };
    let opened = unseal_token(&agent.key, Some(&agent.file), &shared.salt, &sealed, &record.run_id);
    let Some(shared_token) = opened.and_then(|token| seal_token(&agent.key, SALT, &token, &record.run_id)) else {
        return;
    };
    let kept = Kept {
        otas_session_id: record.otas_session_id,
        sealed: STANDARD.encode(shared_token.sealed),
        expires_at_ms: record.token_expires_at_ms,
        run_id: record.run_id,
    };
    let Ok(content) = serde_json::to_vec(&kept) else { return };
    let message = PublishMessage::build().payload(content.into());
    let stored = shared.queue.store(shared.queue.names.session(&kept.run_id), message).await;
    if let Err(why) = stored {
        warn!(
            ?why,
            "cannot keep a session's token for other relays: after this one, another session would be opened"
        );
    }
}
