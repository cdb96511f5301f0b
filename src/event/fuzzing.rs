//! Properties of events for any exchange: see [`crate::fuzzing`].

use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use uuid::Uuid;

use super::body::DECODED_MAX_BYTES;
use super::testing::context;
use super::{build, with_project_id};
use crate::capture::{
    Caller, Captured, Exchange, Fields, Kind, Origin, Outcome, RequestFacts, ResponseFacts, Timings,
};
use crate::codings::{Coding, decode};

/// OTAS's largest body (contract: Measured limits).
const OTAS_MAX_BYTES: usize = 2_621_440;

/// Content codings: decoding is bounded for any input. The first byte chooses the codings.
pub fn content_codings(data: &[u8]) {
    let Some((which, input)) = data.split_first() else { return };
    let all = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];
    let first = all[usize::from(*which) % all.len()];
    let codings =
        if *which & 0x80 == 0 { vec![first] } else { vec![all[usize::from(*which >> 2) % all.len()], first] };
    assert!(decode(&codings, input, DECODED_MAX_BYTES).bytes.len() <= DECODED_MAX_BYTES);
}

/// The event of an exchange made of the parts of `data`, separated by NUL NUL: path, query, request fields, request
/// body, response fields, response body. It must be JSON that OTAS accepts.
pub fn events(data: &[u8]) {
    let mut rest = data;
    let mut part = || {
        let end = rest.windows(2).position(|two| two == [0, 0]).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        rest = after.get(2..).unwrap_or_default();
        part
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let exchange = Exchange {
        id: Uuid::nil(),
        started_at: SystemTime::UNIX_EPOCH,
        kind: Kind::Http,
        agent: ([127, 0, 0, 1], 1).into(),
        caller: Caller::Proxy,
        process: crate::peer::ProcessLookup::none(),
        unlogged: None,
        origin: Origin { scheme: "https", host: "api.test".into(), port: 443 },
        peer: None,
        version: Version::HTTP_11,
        tls: None,
        names: None,
        blind: None,
        connection_reused: false,
        sent_again: 0,
        request: RequestFacts {
            method: Method::POST,
            path: text(part()),
            query: Some(text(part())),
            headers: fields(part()),
            body: body(part()),
            trailers: None,
        },
        response: Some(ResponseFacts {
            status: StatusCode::OK,
            headers: fields(part()),
            body: body(part()),
            trailers: None,
            arrivals: Vec::new(),
            faults: Vec::new(),
        }),
        outcome: Outcome::Complete,
        timings: Timings::default(),
        websocket: None,
        llm: None,
    };
    let posted = with_project_id(&build(&exchange, &context()).for_otas(), "p").unwrap_or_default();
    assert!(posted.len() <= OTAS_MAX_BYTES);
    let event: Result<serde_json::Value, _> = serde_json::from_slice(&posted);
    assert!(event.is_ok_and(|event| event["path"].is_string()), "it is not valid JSON");
}

/// `name: value` lines.
fn fields(bytes: &[u8]) -> Fields {
    let mut fields = Fields::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let at = line.iter().position(|byte| *byte == b':');
        if let Some((name, value)) = at.map(|at| (&line[..at], &line[at + 1..]))
            && let Ok(name) = http::HeaderName::from_bytes(name)
            && let Ok(value) = http::HeaderValue::from_bytes(value)
        {
            fields.push(name.as_str(), value.as_bytes());
        }
    }
    fields
}

/// A body. If it contains NUL 1, the middle was not kept at that point.
fn body(bytes: &[u8]) -> Captured {
    let cut = bytes.windows(2).position(|two| two == [0, 1]);
    let (head, tail) = cut.map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + 2..]));
    let pieces = |bytes: &[u8]| bytes.chunks(7).map(Bytes::copy_from_slice).collect();
    let omitted = if cut.is_some() { 1000 } else { 0 };
    Captured {
        head: pieces(head),
        tail: pieces(tail),
        total_bytes: (head.len() + tail.len() + omitted) as u64,
        ..Captured::default()
    }
}
