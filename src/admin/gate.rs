//! Who may use the admin port. A page of another site cannot reach it through a browser, also not by a name that is made
//! to lead here (DNS rebinding): `Host` and `Origin` are looked at. What shows calls takes a token, because every
//! program and person on this machine can connect.

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

/// What tells figures and health, and neither a call nor anything else of an agent's.
const OPEN: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/status"];

/// What every answer says to browsers. What is captured is shown as text; were it ever more, nothing of it could run,
/// load or leave.
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
    /// What the cookie holds instead of the token: browsers show a host's cookies to all its ports, so it is worth
    /// nothing once this process is gone.
    pass: Secret,
    codes: Codes,
}

/// What is done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Judgement {
    Pass,
    /// The code is good: the browser is given the cookie and sent to the same address without the code.
    Enter,
    /// Another name than one of ours.
    WrongHost,
    /// Another site's page.
    WrongOrigin,
    /// Neither token nor cookie, or a code that is not good any more.
    NoToken,
}

impl Gate {
    /// For the port that listens on `listening`.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new(listening: SocketAddr, token: Secret) -> std::io::Result<Self> {
        Ok(Self { listening, token, pass: Secret::random()?, codes: Codes::new(listening.port()) })
    }

    /// An address to open in a browser, which works once and for some minutes.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn link(&self) -> std::io::Result<String> {
        code::link(self.listening, &self.token)
    }

    fn judge(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Judgement {
        let open = OPEN.contains(&uri.path());
        let host = headers.get(HOST);
        // Figures of a port that is meant for others are scraped under whatever name they have for it.
        let named = open && !self.listening.ip().is_loopback();
        if !named && !host.is_none_or(|host| self.is_ours(host)) {
            return Judgement::WrongHost;
        }
        if headers.get_all(ORIGIN).iter().any(|origin| !is_of(origin, host)) {
            return Judgement::WrongOrigin;
        }
        // Used up even where the browser is known already: it is in its history. One that looks ahead must not use it up.
        if let Some(code) = parameter(uri).filter(|_| *method == Method::GET && !looks_ahead(headers))
            && self.codes.take(&code, &self.token)
        {
            return Judgement::Enter;
        }
        if open || self.knows(headers) { Judgement::Pass } else { Judgement::NoToken }
    }

    /// A loopback name, or the address that is listened on. Where that is every address, any address is ours: a name
    /// can be made to lead here, an address cannot.
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

    /// Whether a request brings the cookie, or the token as a program would (`Authorization: Bearer`).
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
            "otas-proxy: this page opens by a link that works once and for ten minutes. `otas-proxy page --listen-admin {}` prints \
             a new one.\nPrograms send the token that is kept in `admin.token` beside the event store, as `Authorization: Bearer`.\n",
            self.listening
        )
    }

    /// Proxies on one machine have a cookie each.
    fn cookie(&self) -> String {
        format!("otas_proxy_{}", self.listening.port())
    }

    /// `Lax`: a link on another page of this machine opens with it. Nothing but a look is to be had by that, for no `GET` changes
    /// anything and other pages cannot read what it shows.
    fn entered(&self, uri: &Uri) -> Response {
        let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Lax", self.cookie(), self.pass.expose());
        (StatusCode::SEE_OTHER, [(LOCATION, without_code(uri)), (SET_COOKIE, cookie)]).into_response()
    }
}

/// Lets a request pass or answers it, and says on every answer what a browser may do with it.
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

/// Whether an `Origin` is the host that is asked.
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

/// Whether a browser loads a page before anybody asks for it.
fn looks_ahead(headers: &HeaderMap) -> bool {
    let says = |name: &str| headers.get_all(name).iter().any(|value| value.as_bytes().starts_with(b"prefetch"));
    says("sec-purpose") || says("purpose")
}

/// Takes the same time wherever they differ.
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
    fn only_names_that_cannot_be_made_to_lead_here_are_answered() {
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
    fn calls_take_the_token_the_cookie_or_a_link_that_was_not_used() {
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
    fn the_code_leaves_the_address_bar_and_the_cookie_is_out_of_scripts_reach() {
        let gate = gate("0.0.0.0:8081");
        let response = gate.entered(&"/event/7?a=b+c&code=x".parse().unwrap());
        assert_eq!(response.headers()[LOCATION], "/event/7?a=b+c");
        let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax") && !cookie.contains(TOKEN), "{cookie}");
        assert_eq!(gate.entered(&"//evil.example/?code=x".parse().unwrap()).headers()[LOCATION], "/evil.example/");
        assert!(gate.link().unwrap().starts_with("http://127.0.0.1:8081/"));
    }
}
