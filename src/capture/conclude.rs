//! The outcome and the timings of an exchange that is over.

use std::time::{Duration, Instant};

use super::sink::Finished;
use super::state::State;
use super::{BodyEnd, Exchange, Failure, Kind, Outcome, WebSocket};

/// A shorter time for the agent to send its request body is not shown.
const SHOWN_AGENT_TIME: Duration = Duration::from_millis(1);

/// Makes the finished exchange.
pub(super) fn conclude(state: State, began: Instant, shutting_down: bool) -> Finished {
    let now = Instant::now();
    let agent_took = state.agent_took(now);
    let State { mut exchange, forwarded, request_ended, answered, last_byte, reservation, .. } = state;
    // The response began before the request ended.
    let early = answered.zip(request_ended).is_some_and(|(answered, ended)| answered <= ended);
    let timings = &mut exchange.timings;
    timings.wait = forwarded.zip(answered).map(|(from, to)| to - from);
    timings.receive = forwarded.and(answered).zip(last_byte).map(|(from, to)| to - from);
    timings.agent = forwarded.and(Some(agent_took)).filter(|took| *took >= SHOWN_AGENT_TIME);
    timings.latency = (last_byte.unwrap_or(now) - forwarded.unwrap_or(began)).saturating_sub(agent_took);
    timings.total = now - began;
    if exchange.outcome == Outcome::Complete
        && let Some(failure) = cut_off(&exchange, shutting_down, early)
    {
        exchange.outcome = Outcome::Failed(failure);
    }
    Finished { exchange, reservation, stored: None }
}

/// The failure that the ends of the bodies mean, if any. What ended first is the cause. `early`: the response began
/// before the request ended.
fn cut_off(exchange: &Exchange, shutting_down: bool, early: bool) -> Option<Failure> {
    let failure = |id, detail: String| Some(Failure { id, detail });
    let Exchange { origin, request, response, .. } = exchange;
    let Some(response) = response else {
        return if shutting_down {
            failure("proxy_shutdown", format!("the proxy was stopped before {origin} responded"))
        } else {
            failure("agent_left", format!("the agent closed its connection before {origin} responded"))
        };
    };
    let bytes = match &exchange.websocket {
        Some(WebSocket::Socket(facts)) => facts.origin_bytes,
        _ => response.body.total_bytes,
    };
    match response.body.end {
        BodyEnd::ShutDown => failure(
            "proxy_shutdown",
            format!("the proxy was stopped after {bytes} bytes of the response from {origin}"),
        ),
        BodyEnd::SenderFailed => {
            failure("origin_reset", format!("{origin} aborted its response after {bytes} bytes"))
        }
        // In a tunnel that was relayed unread, a reset is how many TLS clients close (RFC 8446 6.1 asks for less than
        // TCP does). It cannot be distinguished from leaving early. `metadata` has how it ended.
        BodyEnd::ReceiverLeft if exchange.kind == Kind::Tunnel => None,
        BodyEnd::ReceiverLeft => failure(
            "agent_left",
            format!("the agent closed its connection after {bytes} bytes of the response from {origin}"),
        ),
        // The origin may respond completely without reading the whole request, and an agent that has its response may
        // stop sending (RFC 9112 9.5). Neither is a failure.
        BodyEnd::Complete if request.body.end == BodyEnd::SenderFailed && !early => failure(
            "agent_left",
            format!("the agent aborted its request to {origin} after {} bytes", request.body.total_bytes),
        ),
        BodyEnd::Complete => None,
    }
}
