//! The pure rules of forwarding a message's head: which fields stop at this hop, and what the target of a request is.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, MAX_FORWARDS, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderValue, Uri, Version, uri::Authority};

use http_body::Frame;

use super::error::ProxyError;
use crate::capture::Origin;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// The token of an OTAS session, on calls into the project's domain.
pub(super) const OTAS_TOKEN: HeaderName = HeaderName::from_static("x-otas-agent-session-token");
/// All that is between agents, OTAS and us: it never leaves towards an outside origin.
const OTAS_PREFIX: &[u8] = b"x-otas-";
/// Properties for the event: they are for us alone.
const OTAS_PROPERTY_PREFIX: &str = "x-otas-property-";

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// To an origin outside of OTAS and of the project's domain.
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

/// The fields that go on to the next hop, in their order (RFC 9110 7.6.1). An `upgrade` that both sides may agree on
/// keeps its two fields. A request that is the agent's last is the last to the origin, too: `Connection: close` is said again.
pub(super) fn onward(headers: HeaderMap, direction: Direction, upgrade: bool) -> HeaderMap {
    // `Connection` stops here itself, so what it nominates need not be known to see that there is nothing to do.
    if !headers.keys().any(|name| stops_here(name, direction, upgrade)) {
        return headers;
    }
    let nominated = Nominated::of(&headers);
    // TE is hop-by-hop; the one thing it can say that concerns this hop's other side is said again (RFC 9110 10.1.4).
    let trailers = !direction.is_to_agent() && asks_for_trailers(&headers);
    let mut close = !direction.is_to_agent() && !upgrade && says_close(&headers);
    // Made anew: removing from a map would change the order of the rest.
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

/// Whether the proxy itself goes by a request's field with this name, so that it must be able to read the value.
pub(super) fn is_read_here(name: &HeaderName) -> bool {
    let is_framing = matches!(*name, TRANSFER_ENCODING | CONTENT_LENGTH | HOST | EXPECT | UPGRADE | MAX_FORWARDS);
    is_framing || is_otas(name) || stops_here(name, Direction::Outside, false)
}

fn stops_here(name: &HeaderName, direction: Direction, upgrade: bool) -> bool {
    match *name {
        CONNECTION | TE => true,
        UPGRADE => !upgrade,
        // The framing itself is hyper's; it reads and writes `Transfer-Encoding: chunked` in this field's place.
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
        // Inside, a second spelling would be read as the token that we put there.
        _ => name.as_str().starts_with(OTAS_PROPERTY_PREFIX) || (is_otas(name) && name.as_str().contains('_')),
    }
}

/// Whether a name is one of OTAS's. With `_` in place of `-` it is, too: servers that hand fields on as variables take both for
/// the same (RFC 3875 4.1.18).
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
                // Those that this hop treats by themselves, and those that make a message what it is.
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

/// Whether a request is the last one of its connection (RFC 9112 9.6).
pub(super) fn says_close(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|v| lists(v, "close"))
}

/// Whether an HTTP/1.1 request asks for another protocol in a way that may be passed on: WebSocket.
pub(super) fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|v| lists(v, "upgrade"))
        && headers.get(UPGRADE).is_some_and(|v| lists(v, "websocket"))
}

/// Whether a list of tokens has this one.
pub(super) fn lists(value: &HeaderValue, token: &str) -> bool {
    value.to_str().is_ok_and(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
}

/// `Host` as the target says, replacing any other (RFC 9112 3.2.2), in the place where it stood.
pub(super) fn set_host(headers: &mut HeaderMap, authority: &str) -> Result<(), ProxyError> {
    if headers.get(HOST).is_some_and(|v| v.as_bytes() == authority.as_bytes())
        && headers.get_all(HOST).iter().count() == 1
    {
        return Ok(());
    }
    let value =
        HeaderValue::from_str(authority).map_err(|_| bad("the target's host cannot stand in a Host field"))?;
    headers.insert(HOST, value);
    Ok(())
}

/// A frame as it goes on: trailers without the fields that only a head may have (RFC 9110 6.5.1), for who merges them into it would
/// be told another length, another host or other credentials.
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

/// Leaves a response's framing in the one form that hyper's server writes right: no length beside transfer codings, and codings
/// that end in `chunked`. Gives other codings, which it removes: their content ends with the connection (RFC 9112 6.3), and
/// hyper would add `chunked`, which many clients do not undo behind another coding.
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

/// Adds our hop to `Via` (RFC 9110 7.6.3).
pub(super) fn add_via(headers: &mut HeaderMap, received: Version) {
    let value = match received {
        Version::HTTP_10 => HeaderValue::from_static("1.0 otas-proxy"),
        Version::HTTP_2 => HeaderValue::from_static("2 otas-proxy"),
        _ => HeaderValue::from_static("1.1 otas-proxy"),
    };
    headers.append(VIA, value);
}

/// The origin that an absolute-form target names (RFC 9112 3.2.2).
pub(super) fn absolute_target(uri: &Uri) -> Result<Origin, ProxyError> {
    let (scheme, default_port) = match uri.scheme_str() {
        Some("http") => ("http", 80),
        Some("https") => ("https", 443),
        Some(_) => return Err(bad("only http and https URLs can be forwarded")),
        None => {
            return Err(bad(
                "the request's target is not an absolute URL; this is a forward proxy: set HTTP_PROXY and HTTPS_PROXY to \
                 it and call the service's own URL",
            ));
        }
    };
    let authority = uri.authority().ok_or_else(|| bad("the request's target names no host"))?;
    Ok(Origin { scheme, host: host(authority)?.into(), port: port(authority)?.unwrap_or(default_port) })
}

/// The host and port that a CONNECT names; both are required (RFC 9110 9.3.6).
pub(super) fn connect_target(uri: &Uri) -> Result<(String, u16), ProxyError> {
    let authority = uri.authority().ok_or_else(|| bad("CONNECT needs a target of the form host:port"))?;
    if uri.scheme().is_some() || authority.as_str().contains('@') {
        return Err(bad("CONNECT needs a target of the form host:port"));
    }
    let port = port(authority)?.ok_or_else(|| bad("CONNECT needs a port: host:port"))?;
    Ok((host(authority)?, port))
}

/// What stands before the port of `host:port`; IPv6 literals without brackets.
pub(super) fn host_alone(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|literal| literal.split_once(']')) {
        Some((literal, _)) => literal,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

/// The host in lower case, IPv6 literals without brackets.
fn host(authority: &Authority) -> Result<String, ProxyError> {
    let host = unbracketed(authority.host()).ok_or_else(|| bad("the target's host is malformed"))?;
    if host.is_empty() { Err(bad("the target names no host")) } else { Ok(host.to_ascii_lowercase()) }
}

/// A host without the brackets of an IPv6 literal; `None`: it has brackets, and is none (RFC 3986 3.2.2).
pub(super) fn unbracketed(host: &str) -> Option<&str> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.parse::<std::net::Ipv6Addr>().is_ok().then_some(literal),
        None => (!host.contains(['[', ']'])).then_some(host),
    }
}

fn port(authority: &Authority) -> Result<Option<u16>, ProxyError> {
    let after_host = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, a)| a);
    let after_host = &after_host[authority.host().len().min(after_host.len())..];
    match after_host.strip_prefix(':') {
        None => Ok(None),
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port != 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(port)),
            _ => Err(bad("the target's port is not a number from 1 to 65535")),
        },
    }
}

fn bad(reason: &'static str) -> ProxyError {
    ProxyError::BadRequest { reason: reason.into() }
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
    fn what_is_between_agents_and_otas_stays_inside_in_any_spelling_and_no_agent_can_have_the_token_taken_off() {
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

    #[test]
    fn targets_are_read_strictly() {
        let absolute = |s: &str| absolute_target(&s.parse::<Uri>().unwrap());
        let origin = absolute("http://Example.COM/x").unwrap();
        assert_eq!((&*origin.host, origin.port), ("example.com", 80));
        assert_eq!(&*absolute("https://[::1]:8443/").unwrap().host, "::1");
        assert_eq!(absolute("http://user:pw@h:81/").unwrap().port, 81);
        for bad in ["ftp://a/", "http://a:0/", "http://a:/", "http://a:99999/", "/only/path"] {
            assert!(bad.parse::<Uri>().map_or(true, |u| absolute_target(&u).is_err()), "{bad}");
        }
        for (authority, host) in [("a.test", "a.test"), ("a.test:1", "a.test"), ("[::1]:1", "::1"), ("[::1]", "::1")]
        {
            assert_eq!(host_alone(authority), host);
        }
        let connect = |s: &str| s.parse::<Uri>().ok().and_then(|u| connect_target(&u).ok());
        assert_eq!(connect("a.example:443"), Some(("a.example".to_owned(), 443)));
        assert_eq!(connect("[::1]:1"), Some(("::1".to_owned(), 1)));
        for bad in ["a.example", "a.example:", "a.example:x", "a.example:0", "a.example:65536", "u@a:1"] {
            assert_eq!(connect(bad), None, "{bad}");
        }
    }
}
