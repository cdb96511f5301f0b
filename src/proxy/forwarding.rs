//! How requests are checked and changed on their way.

use std::time::Duration;

use super::destination::Destinations;

/// How requests are checked and changed on their way.
pub struct Forwarding {
    /// `proxy.strict_host`: requests whose names differ are refused.
    pub strict_host: bool,
    /// `proxy.via`: messages get a `Via` field.
    pub via: bool,
    /// `proxy.response_timeout_ms`
    pub response_timeout: Duration,
    /// Which calls go into the project's domain, and which go to OTAS.
    pub destinations: Destinations,
}
