//! A connection that both sides agreed to upgrade. Its bytes are relayed unchanged and counted. A copy of a WebSocket's bytes is
//! read.

use http::HeaderMap;
use http::header::{SEC_WEBSOCKET_EXTENSIONS, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::context::AgentConnection;
use super::message::lists;
use super::relay::{relay, relay_copied};
use super::upstream::StreamPlace;
use crate::capture::{Failure, Recorder, Side, socket};
use crate::websocket::Extensions;

/// The protocol after the upgrade.
pub(super) enum NewProtocol {
    /// WebSocket, with these extensions.
    WebSocket(Extensions),
    /// A protocol that we do not read.
    Other,
}

impl NewProtocol {
    /// The protocol in a `101 Switching Protocols`.
    pub(super) fn after_101(headers: &HeaderMap) -> Self {
        match headers.get_all(UPGRADE).iter().any(|value| lists(value, "websocket")) {
            true => Self::websocket(headers),
            false => Self::Other,
        }
    }

    /// WebSocket, with the extensions in the response to its handshake.
    pub(super) fn websocket(headers: &HeaderMap) -> Self {
        let values = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
        Self::WebSocket(Extensions::agreed(values.map(http::HeaderValue::as_bytes)))
    }
}

/// Relays in the background, once both sides have switched. `stream`: its place on the connection to the origin (HTTP/2).
pub(super) fn relay_upgraded(
    connection: &AgentConnection,
    protocol: NewProtocol,
    (agent, origin): (OnUpgrade, OnUpgrade),
    recorder: Recorder,
    stream: Option<StreamPlace>,
) {
    let (shared, caller) = (connection.shared.clone(), connection.agent.clone());
    // An HTTP/2 connection is not idle while it carries this.
    let answering = connection.activity.answering();
    connection.shared.lifecycle.tasks.spawn(async move {
        // The agent's connection counts as used as long as this runs.
        let _held = (caller, answering, stream);
        let (agent, origin) = match tokio::try_join!(agent, origin) {
            Ok((agent, origin)) => (TokioIo::new(agent), TokioIo::new(origin)),
            Err(error) => {
                return recorder.failed(Failure {
                    id: "upgrade_failed",
                    detail: format!("the connection could not be upgraded as both sides agreed: {error}"),
                });
            }
        };
        let NewProtocol::WebSocket(extensions) = protocol else {
            return relay(agent, origin, &recorder, &shared.lifecycle.cut).await;
        };
        let (agent_tap, origin_tap, reader) = socket(recorder.clone(), extensions);
        let reading = shared.lifecycle.tasks.spawn(reader.run());
        let (from_agent, from_origin) =
            relay_copied(agent, agent_tap, origin, origin_tap, &shared.lifecycle.cut).await;
        match reading.await {
            Ok(reader) => reader.finish(from_agent, from_origin),
            Err(error) => {
                tracing::error!(%error, "the reader of a WebSocket failed; its event has only the byte counts");
                recorder.counted(Side::Request, from_agent.bytes, from_agent.end);
                recorder.counted(Side::Response, from_origin.bytes, from_origin.end);
            }
        }
    });
}
