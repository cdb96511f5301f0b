//! The direction of a request, and the token that it carries.

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Version, request};

use super::destination::{Addressee, Destination, Destinations};
use super::message::{Direction, OTAS_TOKEN};
use super::request_target;
use super::upstream::Target;
use crate::capture::{Caller, Recorder, Unlogged};
use crate::secret::Secret;

/// The direction of a request. A call into the project's domain gets the token of its caller's session and is logged there. A call
/// to OTAS is not logged. We log all other calls.
pub(super) async fn of(
    destinations: &Destinations,
    caller: &Caller,
    parts: &mut request::Parts,
    target: &Target,
    recorder: &Recorder,
) -> Direction {
    let destination = destinations.of(caller, &addressee(target, parts));
    match destination {
        Destination::Outside => return Direction::Outside,
        Destination::Otas => recorder.unlogged(Unlogged::Otas),
        Destination::InDomain => {
            // Without a token, the domain cannot log the call.
            if put_token(destinations, caller, &mut parts.headers).await && !destinations.log_in_domain {
                recorder.unlogged(Unlogged::InDomain);
            }
        }
    }
    Direction::Inside
}

/// The server that a request is for: the name that TLS verified, or the host that was called; and the names in the request.
fn addressee<'a>(target: &'a Target, parts: &'a request::Parts) -> Addressee<'a> {
    let server = target.tls.as_ref().map_or(&*target.origin.host, |tls| &*tls.name);
    // User information is not sent on.
    let alone =
        |authority: &'a str| request_target::host_alone(authority.rsplit_once('@').map_or(authority, |(_, a)| a));
    let authority = parts.uri.authority().map(|authority| alone(authority.as_str()));
    let mut fields = parts.headers.get_all(HOST).into_iter();
    let field = match (fields.next(), fields.next()) {
        // Over HTTP/1.1, `Host` is set to the target's host.
        _ if authority.is_some() && parts.version != Version::HTTP_2 => None,
        (None, _) => None,
        (Some(one), None) => one.to_str().ok().map(request_target::host_alone).or(Some("")),
        (Some(_), Some(_)) => Some(""),
    };
    let names = [server, authority.unwrap_or(server), field.unwrap_or(server)];
    Addressee { scheme: target.origin.scheme, port: target.origin.port, names }
}

/// Sets the token of the caller's session. The caller may name another token of its own agent. Any other token is removed. Returns
/// whether there is a token.
async fn put_token(destinations: &Destinations, caller: &Caller, headers: &mut HeaderMap) -> bool {
    let mut all = headers.get_all(OTAS_TOKEN).into_iter();
    let named = match (all.next(), all.next()) {
        (Some(one), None) => one.to_str().ok().map(Secret::told),
        _ => None,
    };
    let token = destinations.tokens.token(caller, named).await;
    let value = token.and_then(|token| HeaderValue::from_str(token.expose()).ok());
    let Some(mut value) = value else {
        headers.remove(OTAS_TOKEN);
        return false;
    };
    value.set_sensitive(true);
    headers.insert(OTAS_TOKEN, value);
    true
}
