//! `metadata.websocket`: what an event holds of a WebSocket besides its messages.

use super::json::Json;
use crate::capture::{SocketFacts, TurnFacts, WebSocket};
use crate::websocket::{Extensions, Peer, Tally};

/// The value of `metadata.kind`.
pub(super) fn kind(websocket: &WebSocket) -> &'static str {
    match websocket {
        WebSocket::Socket(_) => "websocket",
        WebSocket::Turn(_) => "websocket_turn",
    }
}

/// Writes `metadata.websocket`. The reason of a Close frame is among the messages, where secrets are masked.
pub(super) fn write(json: &mut Json, websocket: &WebSocket) {
    json.open("websocket");
    match websocket {
        WebSocket::Socket(facts) => socket(json, facts),
        WebSocket::Turn(TurnFacts { socket, number }) => {
            let mut id = [0; 36];
            json.string("event_id", socket.hyphenated().encode_lower(&mut id));
            json.number("turn", *number);
        }
    }
    json.close();
}

fn socket(json: &mut Json, facts: &SocketFacts) {
    let SocketFacts { summary, turns, given_up, .. } = facts;
    match summary.extensions {
        Extensions::None => {}
        Extensions::Deflate { .. } => json.string("compression", "permessage-deflate"),
        Extensions::Unknown => json.string("compression", "unknown_extension"),
    }
    tally(json, "agent", &summary.agent);
    tally(json, "origin", &summary.origin);
    if let Some((by, close)) = &summary.close {
        json.string("closed_by", name(*by));
        if let Some(code) = close.code {
            json.number("close_code", u64::from(code));
        }
        json.flag("close_answered", summary.close_answered);
    }
    if let Some(unfinished) = summary.unfinished {
        json.string("unfinished", name(unfinished));
    }
    for (key, noted) in [("violation", summary.violation), ("unread", summary.unread)] {
        if let Some((whose, what)) = noted {
            json.open(key);
            json.string("by", name(whose));
            json.string("what", what);
            json.close();
        }
    }
    if let Some(why) = given_up {
        json.string("given_up", why);
    }
    if *turns > 0 {
        json.number("turns", *turns);
    }
}

fn tally(json: &mut Json, key: &str, tally: &Tally) {
    json.open(key);
    json.number("messages", tally.messages);
    json.number("bytes", tally.bytes);
    if tally.compressed > 0 {
        json.number("compressed", tally.compressed);
        json.number("clear_bytes", tally.clear_bytes);
    }
    for (key, count) in [("binary", tally.binary), ("pings", tally.pings), ("pongs", tally.pongs)] {
        if count > 0 {
            json.number(key, count);
        }
    }
    json.close();
}

fn name(peer: Peer) -> &'static str {
    match peer {
        Peer::Agent => "agent",
        Peer::Origin => "origin",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::websocket::{Close, Summary};

    fn written(websocket: &WebSocket) -> Value {
        let mut json = Json::object(0);
        write(&mut json, websocket);
        serde_json::from_slice::<Value>(&json.finish()).unwrap()["websocket"].take()
    }

    #[test]
    fn a_socket_shows_its_messages_and_how_it_ended() {
        let agent = Tally { messages: 2, bytes: 10, clear_bytes: 30, compressed: 1, pings: 1, ..Tally::default() };
        let summary = Summary {
            agent,
            close: Some((Peer::Origin, Close { code: Some(1001), reason: "token=secret".to_owned() })),
            unread: Some((Peer::Origin, "damaged_compression")),
            extensions: Extensions::Deflate { agent_alone: false, origin_alone: false },
            ..Summary::default()
        };
        let facts = SocketFacts { summary, turns: 3, ..SocketFacts::default() };
        assert_eq!(
            written(&WebSocket::Socket(Box::new(facts))),
            json!({
                "compression": "permessage-deflate",
                "agent": { "messages": 2, "bytes": 10, "compressed": 1, "clear_bytes": 30, "pings": 1 },
                "origin": { "messages": 0, "bytes": 0 },
                "closed_by": "origin", "close_code": 1001, "close_answered": false,
                "unread": { "by": "origin", "what": "damaged_compression" },
                "turns": 3,
            })
        );
    }

    #[test]
    fn a_turn_names_its_socket() {
        let socket = Uuid::from_u128(7);
        assert_eq!(
            written(&WebSocket::Turn(TurnFacts { socket, number: 2 })),
            json!({ "event_id": socket.to_string(), "turn": 2 })
        );
    }
}
