//! The rules for forwarding a message's fields: which of them stop at this hop, and how it is framed. Pure.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, MAX_FORWARDS, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderValue, Version};
use http_body::Frame;

use super::error::ProxyError;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// The token of an OTAS session, on calls into the project's domain.
pub(super) const OTAS_TOKEN: HeaderName = HeaderName::from_static("x-otas-agent-session-token");
/// The prefix of fields between agents, OTAS and us. They are never sent to an outside origin.
const OTAS_PREFIX: &[u8] = b"x-otas-";
/// The prefix of properties for the event. They are never forwarded.
const OTAS_PROPERTY_PREFIX: &str = "x-otas-property-";

/// The direction of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// To an origin that is neither OTAS nor in the project's domain.
    Outside,
    /// To OTAS, or into the project's domain.
    Inside,
    /// To the agent.
    Back,
}

impl Direction {
    fn is_to_agent(self) -> bool {
        self == Self::Back
    }
}

/// The fields that are forwarded, in their order (RFC 9110 7.6.1). `upgrade`: the message may switch protocols, so `Upgrade` and its
/// `Connection` field are forwarded. `Connection: close` of a request is repeated to the origin.
pub(super) fn onward(headers: HeaderMap, direction: Direction, upgrade: bool) -> HeaderMap {
    // `Connection` itself is never forwarded. So if no field stops here, there is no `Connection` field to look into.
    if !headers.keys().any(|name| stops_here(name, direction, upgrade)) {
        return headers;
    }
    let nominated = Nominated::of(&headers);
    // TE is hop-by-hop. Its one option that we can repeat is `trailers` (RFC 9110 10.1.4).
    let trailers = !direction.is_to_agent() && asks_for_trailers(&headers);
    let mut close = !direction.is_to_agent() && !upgrade && says_close(&headers);
    // A new map, because removing fields would change the order of the others.
    let mut onward = HeaderMap::with_capacity(headers.keys_len() + 1);
    let mut name = None;
    for (next, value) in headers {
        name = next.or(name);
        if let Some(name) = &name
            && !stops_here(name, direction, upgrade)
            && !nominated.has(name)
        {
            onward.append(name, value);
        } else if name == Some(CONNECTION) && std::mem::take(&mut close) {
            onward.append(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    if upgrade {
        onward.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    if trailers {
        onward.insert(TE, HeaderValue::from_static("trailers"));
    }
    onward
}

/// Whether the proxy itself reads the values of request fields with this name.
pub(super) fn is_read_here(name: &HeaderName) -> bool {
    let is_framing = matches!(*name, TRANSFER_ENCODING | CONTENT_LENGTH | HOST | EXPECT | UPGRADE | MAX_FORWARDS);
    is_framing || is_otas(name) || stops_here(name, Direction::Outside, false)
}

fn stops_here(name: &HeaderName, direction: Direction, upgrade: bool) -> bool {
    match *name {
        CONNECTION | TE => true,
        UPGRADE => !upgrade,
        // hyper does the framing. It replaces this field by its own `Transfer-Encoding: chunked`.
        TRANSFER_ENCODING => false,
        PROXY_AUTHORIZATION => !direction.is_to_agent(),
        PROXY_AUTHENTICATE => direction.is_to_agent(),
        _ => {
            *name == KEEP_ALIVE
                || *name == PROXY_CONNECTION
                || (!direction.is_to_agent() && is_between_us(name, direction))
        }
    }
}

fn is_between_us(name: &HeaderName, direction: Direction) -> bool {
    match direction {
        Direction::Outside => is_otas(name),
        // Inside, servers could take another spelling for the token that we set.
        _ => name.as_str().starts_with(OTAS_PROPERTY_PREFIX) || (is_otas(name) && name.as_str().contains('_')),
    }
}

/// Whether a name belongs to OTAS. `_` counts as `-`, because servers that pass fields as variables do not distinguish them (RFC
/// 3875 4.1.18).
fn is_otas(name: &HeaderName) -> bool {
    let same = |(byte, expected): (u8, &u8)| byte == *expected || (byte == b'_' && *expected == b'-');
    name.as_str().len() >= OTAS_PREFIX.len() && name.as_str().bytes().zip(OTAS_PREFIX).all(same)
}

/// The fields that `Connection` names.
struct Nominated(Vec<HeaderName>);

impl Nominated {
    fn of(headers: &HeaderMap) -> Self {
        let tokens = headers.get_all(CONNECTION).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
        Self(
            tokens
                .map(str::trim)
                .filter(|t| !t.eq_ignore_ascii_case("keep-alive") && !t.eq_ignore_ascii_case("close"))
                .filter_map(|t| HeaderName::from_bytes(t.as_bytes()).ok())
                // Fields that this hop handles itself, and fields that frame or route the message.
                .filter(|n| {
                    !matches!(*n, UPGRADE | TE | TRANSFER_ENCODING | HOST) && n != CONTENT_LENGTH && n != OTAS_TOKEN
                })
                .collect(),
        )
    }

    fn has(&self, name: &HeaderName) -> bool {
        !self.0.is_empty() && self.0.contains(name)
    }
}

fn asks_for_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(TE).iter().any(|v| lists(v, "trailers"))
}

/// Whether a request is the last one on its connection (RFC 9112 9.6).
pub(super) fn says_close(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|v| lists(v, "close"))
}

/// Whether an HTTP/1.1 request asks for an upgrade that we forward: only WebSocket.
pub(super) fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|v| lists(v, "upgrade"))
        && headers.get(UPGRADE).is_some_and(|v| lists(v, "websocket"))
}

/// Whether a list of tokens contains `token`.
pub(super) fn lists(value: &HeaderValue, token: &str) -> bool {
    value.to_str().is_ok_and(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
}

/// Sets `Host` to the host of the target, in place of any other value (RFC 9112 3.2.2). It keeps its position.
pub(super) fn set_host(headers: &mut HeaderMap, authority: &str) -> Result<(), ProxyError> {
    if headers.get(HOST).is_some_and(|v| v.as_bytes() == authority.as_bytes())
        && headers.get_all(HOST).iter().count() == 1
    {
        return Ok(());
    }
    let value = HeaderValue::from_str(authority)
        .map_err(|_| ProxyError::BadRequest { reason: "the target's host is not valid in a Host field".into() })?;
    headers.insert(HOST, value);
    Ok(())
}

/// The frame without trailers that only a head may have (RFC 9110 6.5.1). A recipient that merges trailers into the head would
/// otherwise see another length, another host or other credentials.
pub(super) fn sound_frame(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) if trailers.keys().any(is_of_the_head) => {
            let mut sound = HeaderMap::with_capacity(trailers.keys_len());
            let mut name = None;
            for (next, value) in trailers {
                name = next.or(name);
                if let Some(name) = name.as_ref().filter(|name| !is_of_the_head(name)) {
                    sound.append(name, value);
                }
            }
            Frame::trailers(sound)
        }
        Ok(trailers) => Frame::trailers(trailers),
        Err(frame) => frame,
    }
}

/// Framing, routing, request modifiers and credentials.
fn is_of_the_head(name: &HeaderName) -> bool {
    use http::header as h;
    matches!(
        *name,
        h::TRANSFER_ENCODING
            | h::CONTENT_LENGTH
            | h::HOST
            | h::CONNECTION
            | h::UPGRADE
            | h::TE
            | h::TRAILER
            | h::EXPECT
            | h::MAX_FORWARDS
            | h::AUTHORIZATION
            | h::PROXY_AUTHORIZATION
            | h::PROXY_AUTHENTICATE
            | h::WWW_AUTHENTICATE
            | h::COOKIE
            | h::SET_COOKIE
            | h::CONTENT_ENCODING
            | h::CONTENT_TYPE
            | h::CONTENT_RANGE
            | h::CACHE_CONTROL
            | h::LOCATION
    ) || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
        || is_otas(name)
}

/// Changes a response's framing to the one form that hyper's server writes correctly: no length beside transfer codings, and codings
/// that end in `chunked`. Other codings are removed and returned: their content ends with the connection (RFC 9112 6.3). hyper would
/// add `chunked`, which many clients do not decode behind another coding.
///
/// # Errors
/// A length that is not one decimal number.
pub(super) fn reframe(headers: &mut HeaderMap) -> Result<Option<Vec<u8>>, String> {
    let codings: Vec<&[u8]> = headers.get_all(TRANSFER_ENCODING).iter().map(HeaderValue::as_bytes).collect();
    if !codings.is_empty() {
        let all = codings.join(&b", "[..]);
        headers.remove(CONTENT_LENGTH);
        if all.to_ascii_lowercase().ends_with(b"chunked") {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_bytes(&all).map_err(|e| e.to_string())?);
            return Ok(None);
        }
        headers.remove(TRANSFER_ENCODING);
        return Ok(Some(all));
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let is_one = lengths.next().is_none_or(|first| {
        first.to_str().is_ok_and(|text| text.parse::<u64>().is_ok()) && lengths.all(|other| other == first)
    });
    if is_one { Ok(None) } else { Err("its Content-Length is not one decimal number (RFC 9110 8.6)".to_owned()) }
}

/// Adds our hop to `Via` (RFC 9110 7.6.3). `received`: the version in which the message came.
pub(super) fn add_via(headers: &mut HeaderMap, received: Version) {
    let value = match received {
        Version::HTTP_10 => HeaderValue::from_static("1.0 otas-proxy"),
        Version::HTTP_2 => HeaderValue::from_static("2 otas-proxy"),
        _ => HeaderValue::from_static("1.1 otas-proxy"),
    };
    headers.append(VIA, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<String> {
        headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect()
    }

    #[test]
    fn hop_by_hop_fields_stop_here_and_the_rest_keeps_its_order() {
        let headers = map(&[
            ("b", "1"),
            ("connection", "keep-alive, X-Gone"),
            ("x-gone", "x"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers, deflate"),
            ("x-otas-agent-key", "k"),
            ("x-otas-agent-session-token", "t"),
            ("a", "2"),
            ("b", "3"),
            ("unknown-field", "kept"),
        ]);
        let onward = onward(headers, Direction::Outside, false);
        assert_eq!(names(&onward), ["b: 1", "b: 3", "a: 2", "unknown-field: kept", "te: trailers"]);
    }

    #[test]
    fn connection_cannot_remove_what_frames_or_routes_a_message() {
        let headers =
            map(&[("connection", "content-length, host, transfer-encoding"), ("content-length", "3"), ("host", "a")]);
        assert_eq!(names(&onward(headers, Direction::Outside, false)), ["content-length: 3", "host: a"]);
    }

    #[test]
    fn otas_fields_stop_here_in_any_spelling_and_no_agent_can_remove_the_token() {
        let fields = [
            ("connection", "x-otas-agent-session-token"),
            ("x-otas-agent-session-token", "t"),
            ("x_otas_agent_session_token", "t"),
            ("x-otas-agent_session_token", "t"),
            ("x-otas_property-a", "1"),
            ("x-otas-property-a", "1"),
            ("x-otas-agent-key", "k"),
            ("x-otasa", "kept"),
            ("x_ot", "kept"),
        ];
        let kept = ["x-otasa: kept", "x_ot: kept"];
        assert_eq!(names(&onward(map(&fields), Direction::Outside, false)), kept);
        let inside = names(&onward(map(&fields), Direction::Inside, false));
        assert_eq!(inside, [&["x-otas-agent-session-token: t", "x-otas-agent-key: k"], &kept[..]].concat());
        let trailers = sound_frame(Frame::trailers(map(&fields[1..]))).into_trailers().ok().unwrap();
        assert_eq!(names(&trailers), kept);
    }

    #[test]
    fn a_websocket_upgrade_goes_on_and_other_upgrades_stop() {
        let asks = map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert!(asks_for_upgrade(&asks));
        assert_eq!(names(&onward(asks, Direction::Outside, true)), ["upgrade: websocket", "connection: Upgrade"]);
        let h2c = map(&[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "x")]);
        assert!(!asks_for_upgrade(&h2c));
        assert!(onward(h2c, Direction::Outside, false).is_empty());
    }

    #[test]
    fn authentication_fields_for_the_origin_pass_and_those_for_the_proxy_do_not() {
        let reply = map(&[
            ("www-authenticate", "Basic"),
            ("proxy-authenticate", "Basic"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
        ]);
        assert_eq!(
            names(&onward(reply, Direction::Back, false)),
            ["www-authenticate: Basic", "set-cookie: a", "set-cookie: b"]
        );
    }
}
