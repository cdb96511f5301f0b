//! The header fields that hold secrets.

/// How the value of a header field is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::redact) enum HeaderKind {
    /// The whole value.
    Secret,
    /// The value without its scheme.
    Credentials,
    /// The values of `name=value; name=value`.
    Cookies,
    /// The value of `name=value; attributes`.
    SetCookie,
    /// Nonces and tokens of `Scheme nonce=…, realm=…`.
    Challenge,
    /// Keys in a list.
    Subprotocols,
    /// Secrets in URLs.
    Url,
}

/// Rules and kinds. The name (lower case) follows `header.`; with `*` it is the end of a name.
pub(in crate::redact) const HEADERS: &[(&str, HeaderKind)] = &[
    ("header.authorization", HeaderKind::Credentials),
    ("header.proxy-authorization", HeaderKind::Credentials),
    ("header.cookie", HeaderKind::Cookies),
    ("header.set-cookie", HeaderKind::SetCookie),
    ("header.www-authenticate", HeaderKind::Challenge),
    ("header.proxy-authenticate", HeaderKind::Challenge),
    ("header.authentication-info", HeaderKind::Challenge),
    ("header.proxy-authentication-info", HeaderKind::Challenge),
    ("header.sec-websocket-protocol", HeaderKind::Subprotocols),
    ("header.location", HeaderKind::Url),
    ("header.content-location", HeaderKind::Url),
    ("header.referer", HeaderKind::Url),
    ("header.link", HeaderKind::Url),
    ("header.refresh", HeaderKind::Url),
    ("header.api-key", HeaderKind::Secret),
    ("header.apikey", HeaderKind::Secret),
    ("header.x-otas-agent-key", HeaderKind::Secret),
    ("header.ocp-apim-subscription-key", HeaderKind::Secret),
    ("header.*-token", HeaderKind::Secret),
    ("header.*-secret", HeaderKind::Secret),
    ("header.*-api-key", HeaderKind::Secret),
    ("header.*-apikey", HeaderKind::Secret),
    ("header.*-auth-key", HeaderKind::Secret),
    ("header.*-rapidapi-key", HeaderKind::Secret),
    ("header.*-mashape-key", HeaderKind::Secret),
    ("header.*-functions-key", HeaderKind::Secret),
    ("header.*-application-key", HeaderKind::Secret),
    ("header.*-secret-key", HeaderKind::Secret),
    ("header.*-access-key", HeaderKind::Secret),
    ("header.*-private-key", HeaderKind::Secret),
    ("header.*-master-key", HeaderKind::Secret),
    ("header.*-admin-key", HeaderKind::Secret),
    ("header.*-service-key", HeaderKind::Secret),
    ("header.*-subscription-key", HeaderKind::Secret),
    ("header.*-account-key", HeaderKind::Secret),
    ("header.*-license-key", HeaderKind::Secret),
    ("header.*-app-key", HeaderKind::Secret),
    ("header.*-customer-key", HeaderKind::Secret),
    ("header.*-session-key", HeaderKind::Secret),
    ("header.*-passphrase", HeaderKind::Secret),
    ("header.*-assertion", HeaderKind::Secret),
    ("header.access-key", HeaderKind::Secret),
    ("header.secret-key", HeaderKind::Secret),
    ("header.fastly-key", HeaderKind::Secret),
    ("header.accesskey", HeaderKind::Secret),
    ("header.subscription-key", HeaderKind::Secret),
    ("header.password", HeaderKind::Secret),
    ("header.secret", HeaderKind::Secret),
    ("header.*-signature", HeaderKind::Secret),
    ("header.*-authorization", HeaderKind::Secret),
    ("header.*-password", HeaderKind::Secret),
    ("header.token", HeaderKind::Secret),
    ("header.*-session-id", HeaderKind::Secret),
];
