//! Redirects: the caller's next call to the URL in `Location`.

use std::hash::RandomState;
use std::time::{Duration, Instant, SystemTime};

use http::{Method, header};
use quick_cache::unsync::Cache;
use url::Url;
use uuid::Uuid;

use super::{REMEMBERED, ended, follows, key};
use crate::capture::{Exchange, Outcome};

/// A later call does not follow the redirect: clients follow at once.
const WITHIN: Duration = Duration::from_secs(60);

pub(super) struct Redirects {
    seed: RandomState,
    sent_to: Cache<u64, Redirected>,
    /// When the last redirect was remembered. Usually there is none, and the URL need not be parsed.
    last: Option<Instant>,
}

struct Redirected {
    id: Uuid,
    to: Url,
    ended: SystemTime,
    /// The method of the call that follows. `None`: GET, or the redirected call's own.
    method: Option<Method>,
    had: Method,
}

impl Redirects {
    pub(super) fn new() -> Self {
        Self { seed: RandomState::new(), sent_to: Cache::new(REMEMBERED), last: None }
    }

    pub(super) fn link(&mut self, exchange: &Exchange, caller: u64) -> Option<Uuid> {
        let redirect = redirect(exchange);
        if redirect.is_none() && self.last.is_none_or(|last| last.elapsed() > WITHIN + exchange.timings.total) {
            return None;
        }
        let url = url(exchange)?;
        let link = self.followed(exchange, caller, &url);
        if let Some((to, method)) = redirect.and_then(|(to, method)| Some((target(&url, &to)?, method))) {
            let at = key(&self.seed, (caller, &to));
            let (id, ended, had) = (exchange.id, ended(exchange), exchange.request.method.clone());
            self.sent_to.insert(at, Redirected { id, to, ended, method, had });
            self.last = Some(Instant::now());
        }
        link
    }

    /// The redirect that this call follows. Each is followed once.
    fn followed(&mut self, exchange: &Exchange, caller: u64, url: &Url) -> Option<Uuid> {
        let at = key(&self.seed, (caller, url));
        let method = &exchange.request.method;
        let before = self.sent_to.get(&at)?;
        let fits = before.to == *url
            && match &before.method {
                Some(only) => only == method,
                None => *method == Method::GET || *method == before.had,
            };
        if !fits || !follows(exchange, before.ended, WITHIN) {
            return None;
        }
        self.sent_to.remove(&at).map(|(_, before)| before.id)
    }
}

/// The target of a redirect, and the method of the call that follows (RFC 9110, 15.4).
fn redirect(exchange: &Exchange) -> Option<(String, Option<Method>)> {
    let response = exchange.response.as_ref().filter(|_| exchange.outcome == Outcome::Complete)?;
    let had = &exchange.request.method;
    let method = match response.status.as_u16() {
        301 | 302 => None,
        303 if *had == Method::HEAD => Some(Method::HEAD),
        303 => Some(Method::GET),
        307 | 308 => Some(had.clone()),
        _ => return None,
    };
    let to = response.headers.get(header::LOCATION.as_str())?;
    Some((std::str::from_utf8(to).ok()?.to_owned(), method))
}

fn target(from: &Url, to: &str) -> Option<Url> {
    let mut to = from.join(to).ok()?;
    to.set_fragment(None);
    Some(to)
}

fn url(exchange: &Exchange) -> Option<Url> {
    let mut url = Url::parse(&exchange.origin.to_string()).ok()?;
    url.set_path(&exchange.request.path);
    url.set_query(exchange.request.query.as_deref());
    Some(url)
}
