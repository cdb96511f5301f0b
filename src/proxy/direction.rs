//! Whom a request is for, and what it may carry there.

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Version, request};

use super::destination::{Addressee, Destination, Destinations};
use super::message::{self, Direction, OTAS_TOKEN};
use super::upstream::Target;
use crate::capture::{Caller, Recorder, Unlogged};
use crate::secret::Secret;

/// Where the request goes as OTAS has it, and what that means for it: a call into the project's domain carries the token of
/// its caller's session, and is logged there; one to OTAS is logged nowhere; all others are ours to log.
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
            // Without a token nobody logs it there.
            if put_token(destinations, caller, &mut parts.headers).await && !destinations.log_in_domain {
                recorder.unlogged(Unlogged::InDomain);
            }
        }
    }
    Direction::Inside
}

/// Whom a request is for: the server that TLS has shown, or else the one that was called, and whom the request names.
fn addressee<'a>(target: &'a Target, parts: &'a request::Parts) -> Addressee<'a> {
    let server = target.tls.as_ref().map_or(&*target.origin.host, |tls| &*tls.name);
    // What stands before the `@` does not go out.
    let alone = |authority: &'a str| message::host_alone(authority.rsplit_once('@').map_or(authority, |(_, a)| a));
    let authority = parts.uri.authority().map(|authority| alone(authority.as_str()));
    let mut fields = parts.headers.get_all(HOST).into_iter();
    let field = match (fields.next(), fields.next()) {
        // Over HTTP/1.1 it is made to say what the target says.
        _ if authority.is_some() && parts.version != Version::HTTP_2 => None,
        (None, _) => None,
        (Some(one), None) => one.to_str().ok().map(message::host_alone).or(Some("")),
        (Some(_), Some(_)) => Some(""),
    };
    let names = [server, authority.unwrap_or(server), field.unwrap_or(server)];
    Addressee { scheme: target.origin.scheme, port: target.origin.port, names }
}

/// Puts in the token that the caller's calls carry. It may name one of its agent itself; any other goes no further.
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
