//! Who may use the admin port. `Host` and `Origin` are checked, so that no page of another site reaches the port through a
//! browser, not even by a name that resolves to this machine (DNS rebinding). Every program and person on this machine can
//! connect, so whatever shows calls takes a token.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use axum::http::uri::{Authority, Uri};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::code::{self, Codes, PARAMETER};
use crate::secret::Secret;

/// Paths that need no token: figures and health, nothing of an agent's.
const OPEN: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/status"];

/// Sent with every response. Captured text is always shown as text; if that ever failed, nothing of it could run, load or
/// leave.
const GUARDS: [(HeaderName, &str); 6] = [
    (
        HeaderName::from_static("content-security-policy"),
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    (HeaderName::from_static("x-content-type-options"), "nosniff"),
    (HeaderName::from_static("x-frame-options"), "DENY"),
    (HeaderName::from_static("referrer-policy"), "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Guards one admin port.
pub struct Gate {
    listening: SocketAddr,
    token: Secret,
    /// What the cookie holds instead of the token. Browsers send a host's cookies to all its ports, so it becomes worthless
    /// when this process ends.
    pass: Secret,
    codes: Codes,
    /// The command that prints a new link.
    new_link: String,
}

/// The decision for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Judgement {
    Pass,
    /// The code is valid: the browser gets the cookie and a redirect to the same address without the code.
    Enter,
    /// The `Host` is not one of ours.
    WrongHost,
    /// The `Origin` is another site.
    WrongOrigin,
    /// No token and no cookie, or a code that is no longer valid.
    NoToken,
}

impl Gate {
    /// For the port at the address `listening`.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new(listening: SocketAddr, token: Secret) -> std::io::Result<Self> {
        let new_link = format!("otas-proxy page --listen-admin {listening}");
        Ok(Self { listening, token, pass: Secret::random()?, codes: Codes::new(listening.port()), new_link })
    }

    /// The same, where another command prints a new link.
    #[must_use]
    pub fn with_new_link_by(mut self, command: &str) -> Self {
        command.clone_into(&mut self.new_link);
        self
    }

    /// A URL to open in a browser. It works once, for a few minutes.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn link(&self) -> std::io::Result<String> {
        code::link(self.listening, &self.token)
    }

    fn judge(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Judgement {
        let open = OPEN.contains(&uri.path());
        let host = headers.get(HOST);
        // A port meant for others is scraped under whatever name they have for it.
        let named = open && !self.listening.ip().is_loopback();
        if !named && !host.is_none_or(|host| self.is_ours(host)) {
            return Judgement::WrongHost;
        }
        if headers.get_all(ORIGIN).iter().any(|origin| !is_of(origin, host)) {
            return Judgement::WrongOrigin;
        }
        // A change needs an `Origin`, which browsers send with forms and scripts, or the token, which programs send.
        let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if changes && !headers.contains_key(ORIGIN) && !headers.contains_key(AUTHORIZATION) {
            return Judgement::WrongOrigin;
        }
        // The code is used up even if the browser is known already, because it stands in the history. A prefetch must not use
        // it up.
        if let Some(code) = parameter(uri).filter(|_| *method == Method::GET && !looks_ahead(headers))
            && self.codes.take(&code, &self.token)
        {
            return Judgement::Enter;
        }
        if open || self.knows(headers) { Judgement::Pass } else { Judgement::NoToken }
    }

    /// A loopback name, or the listening address. When the port listens on every address, any IP address is ours: a name can be
    /// made to resolve to this machine, an address cannot.
    fn is_ours(&self, host: &HeaderValue) -> bool {
        let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
            return false;
        };
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        match name.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback() || ip == self.listening.ip() || self.listening.ip().is_unspecified(),
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Whether a request has the cookie, or the token in `Authorization: Bearer` as programs send it.
    fn knows(&self, headers: &HeaderMap) -> bool {
        let name = self.cookie();
        let mut cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        bearer.is_some_and(|token| same(token, &self.token))
            || cookies.any(|line| {
                let mut pairs = line.split(';').filter_map(|pair| pair.trim().split_once('='));
                pairs.any(|(key, value)| key == name && same(value, &self.pass))
            })
    }

    fn unknown(&self) -> String {
        format!(
            "otas-proxy: this page opens by a link that works once and for ten minutes. `{}` prints a new \
             one.\nPrograms send the token that is kept in `admin.token` beside the event store, as `Authorization: Bearer`.\n",
            self.new_link
        )
    }

    /// Several proxies on one machine have different cookies.
    fn cookie(&self) -> String {
        format!("otas_proxy_{}", self.listening.port())
    }

    /// `Lax`: a link on another page of this machine opens with it. That reveals nothing: no `GET` changes anything, and other
    /// pages cannot read the response.
    fn entered(&self, uri: &Uri) -> Response {
        let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Lax", self.cookie(), self.pass.expose());
        (StatusCode::SEE_OTHER, [(LOCATION, without_code(uri)), (SET_COOKIE, cookie)]).into_response()
    }
}

/// Lets a request pass or answers it, and adds the security headers to every response.
pub(super) async fn guard(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let mut response = match gate.judge(request.method(), request.uri(), request.headers()) {
        Judgement::Pass => next.run(request).await,
        Judgement::Enter => gate.entered(request.uri()),
        Judgement::WrongHost => refused(
            StatusCode::MISDIRECTED_REQUEST,
            "This is otas-proxy's admin port. It answers under localhost, a loopback address, or the address that it listens on.\n",
        ),
        Judgement::WrongOrigin => {
            refused(StatusCode::FORBIDDEN, "otas-proxy's admin port answers no pages of other sites.\n")
        }
        Judgement::NoToken => (StatusCode::UNAUTHORIZED, gate.unknown()).into_response(),
    };
    for (name, value) in GUARDS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refused(status: StatusCode, words: &'static str) -> Response {
    (status, words).into_response()
}

/// Whether `Origin` names the requested host.
fn is_of(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let bare = |value: &HeaderValue| value.to_str().map(str::to_ascii_lowercase).unwrap_or_default();
    let (origin, host) = (bare(origin), host.map(bare).unwrap_or_default());
    let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    !host.is_empty() && site == Some(host.as_str())
}

fn parameter(uri: &Uri) -> Option<String> {
    let mut pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.find(|(key, _)| key == PARAMETER).map(|(_, value)| value.into_owned())
}

fn without_code(uri: &Uri) -> String {
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let mut rest = form_urlencoded::Serializer::new(String::new());
    rest.extend_pairs(pairs.filter(|(key, _)| key != PARAMETER));
    // One slash only: `//elsewhere` would be another host.
    let path = format!("/{}", uri.path().trim_start_matches('/'));
    match rest.finish() {
        query if query.is_empty() => path,
        query => format!("{path}?{query}"),
    }
}

/// Whether a browser prefetches the page.
fn looks_ahead(headers: &HeaderMap) -> bool {
    let says = |name: &str| headers.get_all(name).iter().any(|value| value.as_bytes().starts_with(b"prefetch"));
    says("sec-purpose") || says("purpose")
}

/// Takes the same time wherever the two differ.
fn same(given: &str, secret: &Secret) -> bool {
    verify_slices_are_equal(given.as_bytes(), secret.expose().as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a-token-of-more-than-thirty-two-characters";

    fn gate(listening: &str) -> Gate {
        Gate::new(listening.parse().unwrap(), Secret::new(TOKEN)).unwrap()
    }

    fn judged(gate: &Gate, path: &str, fields: &[(&str, &str)]) -> Judgement {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        gate.judge(&Method::GET, &path.parse().unwrap(), &headers)
    }

    #[test]
    fn only_loopback_names_and_addresses_are_answered() {
        let (local, public, every) = (gate("127.0.0.1:8081"), gate("10.1.2.3:8081"), gate("0.0.0.0:8081"));
        for host in ["localhost", "LocalHost:8081", "127.0.0.1:8081", "127.0.0.2", "[::1]:8081"] {
            assert_eq!(judged(&local, "/status", &[("host", host)]), Judgement::Pass, "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:8081", "10.1.2.3:8081", "127.0.0.1.nip.io", "", "a b"] {
            assert_eq!(judged(&local, "/status", &[("host", host)]), Judgement::WrongHost, "{host}");
        }
        let asked = |gate, host| judged(gate, "/", &[("host", host), ("authorization", &format!("Bearer {TOKEN}"))]);
        assert_eq!(asked(&public, "10.1.2.3:8081"), Judgement::Pass);
        assert_eq!(asked(&public, "10.1.2.4:8081"), Judgement::WrongHost);
        assert_eq!(asked(&every, "10.1.2.4:8081"), Judgement::Pass);
        assert_eq!(asked(&every, "proxy.internal:8081"), Judgement::WrongHost);
        assert_eq!(
            judged(&every, "/metrics", &[("host", "proxy.internal:8081")]),
            Judgement::Pass,
            "a scraper's name"
        );
        assert_eq!(
            judged(&local, "/healthz", &[]),
            Judgement::Pass,
            "HTTP/1.0 has no Host, and no browser speaks it"
        );
    }

    #[test]
    fn pages_of_other_sites_are_refused_everywhere() {
        let gate = gate("127.0.0.1:8081");
        for (origin, expected) in [
            ("http://localhost:8081", Judgement::Pass),
            ("http://localhost:3000", Judgement::WrongOrigin),
            ("https://evil.example", Judgement::WrongOrigin),
            ("null", Judgement::WrongOrigin),
        ] {
            assert_eq!(
                judged(&gate, "/status", &[("host", "localhost:8081"), ("origin", origin)]),
                expected,
                "{origin}"
            );
        }
    }

    #[test]
    fn whoever_changes_something_says_where_he_is_from() {
        let gate = gate("127.0.0.1:8081");
        let pass = format!("otas_proxy_8081={}", gate.pass.expose());
        let posted = |origin: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in [("host", "127.0.0.1:8081"), ("cookie", &pass)].iter().chain(origin) {
                headers.append(*name, HeaderValue::from_str(value).unwrap());
            }
            gate.judge(&Method::POST, &"/event/1/delete".parse().unwrap(), &headers)
        };
        assert_eq!(posted(&[]), Judgement::WrongOrigin);
        assert_eq!(posted(&[("origin", "null")]), Judgement::WrongOrigin);
        assert_eq!(posted(&[("origin", "http://127.0.0.1:3000")]), Judgement::WrongOrigin, "another port");
        assert_eq!(posted(&[("origin", "http://127.0.0.1:8081")]), Judgement::Pass);
    }

    #[test]
    fn calls_need_the_token_the_cookie_or_an_unused_link() {
        let gate = gate("127.0.0.1:8081");
        let host = ("host", "127.0.0.1:8081");
        assert_eq!(judged(&gate, "/", &[host]), Judgement::NoToken);
        assert_eq!(judged(&gate, "/event/1", &[host, ("authorization", "Bearer wrong")]), Judgement::NoToken);
        for address in ["/?code=wrong".to_owned(), format!("/?code={TOKEN}"), format!("/?token={TOKEN}")] {
            assert_eq!(judged(&gate, &address, &[host]), Judgement::NoToken, "{address}");
        }
        let link = gate.link().unwrap();
        let code = link.strip_prefix("http://127.0.0.1:8081").unwrap();
        assert!(code.starts_with("/?code=") && !code.contains(TOKEN), "{code}");
        assert_eq!(judged(&gate, code, &[host, ("sec-purpose", "prefetch;prerender")]), Judgement::NoToken);
        assert_eq!(judged(&gate, code, &[host]), Judgement::Enter);
        assert_eq!(judged(&gate, code, &[host]), Judgement::NoToken, "it works once");
        assert_eq!(judged(&gate, "/", &[host, ("authorization", &format!("Bearer {TOKEN}"))]), Judgement::Pass);
        let pass = gate.pass.expose().to_owned();
        assert_eq!(judged(&gate, "/", &[host, ("cookie", &format!("a=b; otas_proxy_8081={pass}"))]), Judgement::Pass);
        assert_eq!(judged(&gate, "/", &[host, ("cookie", &format!("otas_proxy_8081={TOKEN}"))]), Judgement::NoToken);
        assert_ne!(pass, TOKEN);
    }

    #[test]
    fn the_code_leaves_the_address_bar_and_scripts_cannot_read_the_cookie() {
        let gate = gate("0.0.0.0:8081");
        let response = gate.entered(&"/event/7?a=b+c&code=x".parse().unwrap());
        assert_eq!(response.headers()[LOCATION], "/event/7?a=b+c");
        let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax") && !cookie.contains(TOKEN), "{cookie}");
        assert_eq!(gate.entered(&"//evil.example/?code=x".parse().unwrap()).headers()[LOCATION], "/evil.example/");
        assert!(gate.link().unwrap().starts_with("http://127.0.0.1:8081/"));
    }
}
