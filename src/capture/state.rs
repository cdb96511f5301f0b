//! What a recorder knows of its exchange while it is in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Exchange;
use super::budget::Reservation;
use super::delivery::Flushes;
use super::model::Reading;
use crate::llm;

/// The record so far, with the times that its durations are made from.
pub(super) struct State {
    pub(super) exchange: Box<Exchange>,
    pub(super) forwarded: Option<Instant>,
    /// How long the proxy waited for the agent to send more of the request body, before the response began.
    pub(super) agent_took: Duration,
    /// Set while the proxy waits for the agent: since when.
    pub(super) agent_awaited: Option<Instant>,
    pub(super) request_ended: Option<Instant>,
    pub(super) answered: Option<Instant>,
    pub(super) last_byte: Option<Instant>,
    pub(super) reservation: Reservation,
    /// The model call that the head suggests, until reading begins.
    pub(super) call: Option<Box<llm::Call>>,
    /// Reads both bodies as a model call.
    pub(super) reading: Option<Reading>,
    /// Reads a turn on a WebSocket, together with the task that reads the socket.
    pub(super) turn: Option<Arc<Mutex<llm::Reader>>>,
    /// Flushes of the agent's connection, if it is known.
    pub(super) flushes: Option<Flushes>,
    /// For a model call: bytes of the response body that were written to the agent.
    pub(super) delivered_bytes: u64,
}

impl State {
    /// The proxy no longer waits for the agent.
    pub(super) fn agent_went_on(&mut self, now: Instant) {
        self.agent_took = self.agent_took(now);
        self.agent_awaited = None;
    }

    /// How long the proxy has waited for the agent, up to `now`.
    pub(super) fn agent_took(&self, now: Instant) -> Duration {
        self.agent_took + self.agent_awaited.map_or(Duration::ZERO, |since| now - since)
    }
}
