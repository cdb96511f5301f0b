//! The record of a turn on a WebSocket: an exchange like any other, which begins while its socket is open.

use std::sync::Arc;

use http::Method;
use parking_lot::Mutex;

use super::recorder::Recorder;
use super::steps::Upstreamed;
use super::{Exchange, Kind, RequestFacts, Timings, TurnFacts, WebSocket};
use crate::llm;

impl Recorder {
    /// Sets the reader of the turn.
    pub(super) fn read_by(&self, reader: &Arc<Mutex<llm::Reader>>) {
        self.with(|s| s.turn = Some(reader.clone()));
    }

    /// Begins the record of a turn on this exchange, which is a WebSocket. The agent's question is being sent. `None`:
    /// the record of the socket has ended.
    pub(super) fn turn(&self, number: u64) -> Option<Self> {
        let (id, (unlogged, process), begun, request, upstream) = self.look(|state| {
            let exchange = &*state.exchange;
            let Exchange { id, agent, caller, unlogged, process, origin, version, request, peer, tls, .. } = exchange;
            let (path, query, headers) = (request.path.clone(), request.query.clone(), request.headers.clone());
            let request = RequestFacts::without_body(turn_method(), path, query, headers);
            let upstream = Upstreamed { peer: *peer, tls: *tls, reused: true, dialled: Timings::default() };
            (
                *id,
                (*unlogged, process.clone()),
                ((*agent, caller.clone()), origin.clone(), *version),
                request,
                upstream,
            )
        })?;
        let (by, origin, version) = begun;
        let turn = Self::begin(self.recording(), Kind::Http, by, origin, version, request);
        turn.called_by(&process);
        turn.forwarded(&upstream);
        turn.with(|s| {
            s.exchange.unlogged = unlogged;
            s.exchange.websocket = Some(WebSocket::Turn(TurnFacts { socket: id, number }));
        });
        Some(turn)
    }
}

/// The placeholder for the method of a turn, which has none.
fn turn_method() -> Method {
    Method::from_bytes(b"WEBSOCKET").unwrap_or_default()
}
