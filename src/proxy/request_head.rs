//! The head of a request, as it is sent to the origin.

use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Version, request, uri};

use super::context::Call;
use super::error::ProxyError;
use super::message::{self, Direction};
use super::strict::Verbatim;
use super::upstream::{StandIn, Target, Way, authorization};

/// The head for the origin.
pub(super) fn outbound(
    mut parts: request::Parts,
    call: &Call,
    target: &Target,
    version: Version,
    direction: Direction,
    upgrade: bool,
) -> Result<request::Parts, ProxyError> {
    let received = parts.version;
    parts.headers = message::onward(parts.headers, direction, upgrade);
    if call.rules.forwarding.via {
        message::add_via(&mut parts.headers, received);
    }
    if version == Version::HTTP_2 {
        return with_stand_in(parts, false);
    }
    if let Some(authority) = parts.uri.authority() {
        let named = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, a)| a);
        message::set_host(&mut parts.headers, named)?;
    } else if !parts.headers.contains_key(HOST)
        && let Some(inside) = &call.connection.inside
    {
        message::set_host(&mut parts.headers, &inside.target.origin.host)?;
    }
    if target.way == Way::NextProxy {
        // The target stays absolute.
        let next = call.rules.origins.next_proxy_for(&target.origin);
        if let Some(value) = next.map(authorization).transpose()?.flatten() {
            parts.headers.insert(PROXY_AUTHORIZATION, value);
        }
    } else if parts.uri.scheme().is_some() {
        let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| uri::PathAndQuery::from_static("/"));
        parts.uri = path.into();
    }
    parts.version = Version::HTTP_11;
    let is_absolute = parts.uri.scheme().is_some();
    with_stand_in(parts, is_absolute)
}

/// Replaces a target that the library refuses by a stand-in. `absolute`: the target is in absolute form.
fn with_stand_in(mut parts: request::Parts, absolute: bool) -> Result<request::Parts, ProxyError> {
    let Some(written) = parts.extensions.get::<Verbatim>() else { return Ok(parts) };
    let target = if absolute { written.after_authority() } else { written.origin_form() };
    let stand_in = StandIn::of(target, written.lines());
    let unusable = || ProxyError::BadRequest { reason: "the request's target cannot be forwarded".into() };
    parts.uri = stand_in.replace_path(parts.uri).ok_or_else(unusable)?;
    parts.extensions.insert(stand_in);
    Ok(parts)
}
