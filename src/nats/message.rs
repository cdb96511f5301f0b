//! An event as it travels (pure): its facts, its JSON and its bodies apart, as in a store, compressed together.

use std::borrow::Cow;

use async_nats::HeaderMap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{BodyText, Event, for_otas, without_bodies};
use crate::store::Travelling;

/// Where the verdict goes.
const PROXY: &str = "Otas-Proxy";
/// What the message is.
const KIND: &str = "Otas-Kind";
/// The event's id: the message's own id differs if it is published once more.
const EVENT: &str = "Otas-Event";

/// The version of the form below.
const VERSION: u32 = 1;

/// As `store/packed`: little time, and most of what compression gains.
const LEVEL: i32 = 3;

/// More than any event: what claims to be larger is damaged, or an attack.
const UNPACKED_MAX_BYTES: usize = 128 << 20;

/// Stands in place of bodies that do not fit into a message.
const REMOVED: &str = "[removed: the event was larger than a message of the queue may be]";

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An event.
    Event(Uuid),
    /// A question of a proxy: what became of these events?
    Ask,
}

/// Who sent a message, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) proxy: String,
    pub(crate) kind: Kind,
}

impl Envelope {
    /// As headers of the message.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(PROXY, self.proxy.as_str());
        match self.kind {
            Kind::Ask => headers.insert(KIND, "ask"),
            Kind::Event(id) => {
                headers.insert(KIND, "event");
                headers.insert(EVENT, id.to_string());
            }
        }
        headers
    }
}

/// What the headers of a message say. `None`: it is not from a proxy.
pub(crate) fn headers_of(headers: &HeaderMap) -> Option<Envelope> {
    let text = |name: &str| headers.get(name).map(|value| value.as_str());
    let proxy = text(PROXY).filter(|proxy| is_subject_part(proxy))?.to_owned();
    let kind = match text(KIND)? {
        "ask" => Kind::Ask,
        "event" => Kind::Event(Uuid::parse_str(text(EVENT)?).ok()?),
        _ => return None,
    };
    Some(Envelope { proxy, kind })
}

/// It becomes a part of a subject that a relay publishes to.
fn is_subject_part(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[derive(Serialize, Deserialize)]
struct Head<'e> {
    version: u32,
    run_id: Cow<'e, str>,
    meta: Cow<'e, str>,
    seq: u64,
    #[serde(flatten)]
    event: Cow<'e, Event>,
    json_bytes: usize,
    /// The place of each body, and its length.
    bodies: Vec<(usize, usize)>,
}

/// An event as the content of a message, the same bytes each time. One that has no room in `max_bytes` travels as OTAS gets it, and
/// if that has no room either, without its bodies. `None`: even that is too large.
pub(crate) fn encode(event: &Travelling, max_bytes: usize) -> Option<Vec<u8>> {
    let fits = |packed: &Vec<u8>| packed.len() <= max_bytes;
    let Event { json, bodies, .. } = &event.event;
    let whole = packed(event, json, bodies);
    whole.filter(fits).or_else(|| {
        let posted = for_otas(json, bodies);
        let without = || without_bodies(&posted, REMOVED).and_then(|json| packed(event, &json, &[]));
        packed(event, &posted, &[]).filter(fits).or_else(|| without().filter(fits))
    })
}

fn packed(event: &Travelling, json: &[u8], bodies: &[BodyText]) -> Option<Vec<u8>> {
    let head = Head {
        version: VERSION,
        run_id: Cow::Borrowed(&event.run_id),
        meta: Cow::Borrowed(&event.meta),
        seq: event.seq,
        event: Cow::Borrowed(&event.event),
        json_bytes: json.len(),
        bodies: bodies.iter().map(|body| (body.at, body.text.len())).collect(),
    };
    let mut plain = serde_json::to_vec(&head).ok()?;
    plain.push(b'\n');
    plain.extend_from_slice(json);
    bodies.iter().for_each(|body| plain.extend_from_slice(body.text.as_bytes()));
    // The length comes first, so that a reader knows what to make room for.
    let mut packed = u32::try_from(plain.len()).ok()?.to_be_bytes().to_vec();
    packed.extend_from_slice(&zstd::bulk::compress(&plain, LEVEL).ok()?);
    Some(packed)
}

/// The event in a message. `None`: it is damaged, or from a newer version.
pub(crate) fn decode(content: &[u8]) -> Option<Travelling> {
    let (length, packed) = content.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok().filter(|length| *length <= UNPACKED_MAX_BYTES)?;
    let plain = zstd::bulk::decompress(packed, length).ok()?;
    let end = memchr::memchr(b'\n', &plain)?;
    let head: Head<'_> = serde_json::from_slice(plain.get(..end)?).ok()?;
    if head.version != VERSION {
        return None;
    }
    let mut rest = plain.get(end + 1..)?;
    let mut take = |bytes: usize| {
        let (taken, left) = rest.split_at_checked(bytes)?;
        rest = left;
        Some(taken)
    };
    let json = take(head.json_bytes)?.to_vec();
    let mut bodies = Vec::with_capacity(head.bodies.len().min(8));
    for (at, bytes) in head.bodies {
        let text = std::str::from_utf8(take(bytes)?).ok()?;
        bodies.push(BodyText { at: (at <= json.len()).then_some(at)?, text: text.into() });
    }
    let (run_id, meta) = (head.run_id.into_owned(), head.meta.into_owned());
    Some(Travelling { run_id, meta, seq: head.seq, event: Event { json, bodies, ..head.event.into_owned() } })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JSON: &str = r#"{"path":"/","request_body":"","response_body":"","metadata":{"schema":1}}"#;

    fn event(request: &str, response: &str) -> Travelling {
        let body = |at, text: &str| BodyText { at, text: text.into() };
        let event = Event {
            id: Uuid::from_u128(7),
            started_at_ms: 1_700_000_000_000,
            method: "POST".into(),
            host: "a.test".into(),
            path: "/".into(),
            status_code: 200,
            latency_ms: 0.1 + 0.2,
            request_bytes: 4,
            response_bytes: u64::MAX,
            error: String::new(),
            outline: "o".into(),
            llm: "l\n".into(),
            json: JSON.into(),
            bodies: vec![body(28, request), body(47, response)],
        };
        Travelling { run_id: "run".into(), meta: "{}".into(), seq: 3, event }
    }

    /// Text that does not compress well.
    fn noise(bytes: usize) -> String {
        let mut state = 1_u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'0' + u8::try_from((state >> 33) % 64).unwrap())
        };
        std::iter::repeat_with(next).take(bytes).collect()
    }

    #[test]
    fn an_event_that_is_too_large_loses_no_more_than_it_must() {
        let large = event(&noise(4_000_000), "short");
        let whole = decode(&encode(&large, 8 << 20).unwrap()).unwrap();
        assert_eq!(whole, large);
        let cut = decode(&encode(&large, 2 << 20).unwrap()).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&cut.event.json).unwrap();
        assert_eq!((json["response_body"].as_str(), cut.event.bodies.len()), (Some("short"), 0));
        assert_eq!(json["metadata"]["cut"]["request_body"], true);
        let without = decode(&encode(&large, 4_096).unwrap()).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&without.event.json).unwrap();
        assert_eq!(json["request_body"], REMOVED);
        assert!(encode(&large, 10).is_none());
    }

    #[test]
    fn headers_say_who_sent_what() {
        for kind in [Kind::Ask, Kind::Event(Uuid::from_u128(9))] {
            let envelope = Envelope { proxy: "p-1".into(), kind };
            assert_eq!(headers_of(&envelope.headers()), Some(envelope));
        }
        let with = |proxy: &str| headers_of(&Envelope { proxy: proxy.into(), kind: Kind::Ask }.headers());
        assert_eq!([with("a.b"), with(">"), with(""), headers_of(&HeaderMap::new())], [None, None, None, None]);
    }

    proptest! {
        #[test]
        fn an_event_arrives_as_it_was_sent(request in ".{0,200}", response in "[a-z\u{0}é🦀]{0,50}") {
            let event = event(&request, &response);
            let sent = encode(&event, 1 << 20).unwrap();
            prop_assert_eq!(&encode(&event, 1 << 20).unwrap(), &sent);
            prop_assert_eq!(decode(&sent), Some(event));
        }

        #[test]
        fn damage_is_noticed_or_harmless(at in any::<proptest::sample::Index>(), bit in 0_u8..8, cut in any::<bool>()) {
            let mut sent = encode(&event("a question", "an answer"), 1 << 20).unwrap();
            let at = at.index(sent.len());
            if cut { sent.truncate(at) } else { sent[at] ^= 1 << bit }
            let _ = decode(&sent);
        }
    }
}
