//! Masking secrets: which header fields, query keys and form fields hold them, and what is shown instead.
//!
//! Names match whole, never by a part: `max_tokens` is not a token. The same input always gives the same output.
//! Each function counts what it masked in `masked`, and returns `None` where there was nothing to mask.

use std::borrow::Cow;

/// What is shown of a secret.
const MASK: &str = "****";

/// A secret of at least this many bytes is long enough to show its last four characters, so that two keys can be told
/// apart.
const TAIL_FROM_BYTES: usize = 20;

/// Masks the value of the header field `name` (lower case, as `http` keeps it).
pub(super) fn header(name: &str, value: &str, masked: &mut u64) -> Option<String> {
    if value.is_empty() {
        return None;
    }
    match rule(name) {
        Rule::Secret => Some(counted(mask(value), masked)),
        Rule::Credentials => Some(counted(credentials(value), masked)),
        Rule::Cookies => Some(counted(cookies(value, usize::MAX), masked)),
        Rule::SetCookie => Some(counted(cookies(value, 1), masked)),
        Rule::Challenge => challenge(value, masked),
        Rule::Subprotocols => subprotocols(value, masked),
        Rule::Url => urls(value, masked),
        // The colon first: one byte is found faster than three.
        Rule::Plain if value.as_bytes().contains(&b':') && value.contains("://") => urls(value, masked),
        Rule::Plain => None,
    }
}

/// Masks secret values in a query or an urlencoded form, and leaves every other byte as it is.
pub(super) fn query(text: &str, masked: &mut u64) -> Option<String> {
    pairs(text, true, |byte| byte == b'&', masked)
}

/// The value to show for a form field, if its name is one of a secret.
pub(super) fn field(name: &str, value: &str, masked: &mut u64) -> Option<String> {
    if value.is_empty() {
        return None;
    }
    Some(counted(mask_by(secret_key(name)?, value), masked))
}

enum Rule {
    Plain,
    Secret,
    Credentials,
    Cookies,
    SetCookie,
    Challenge,
    Subprotocols,
    Url,
}

/// Asked for every header field of every event, so the last byte decides first: most names end there.
fn rule(name: &str) -> Rule {
    let ends = |end: &str| name.ends_with(end);
    match (name.as_bytes().last(), name) {
        (Some(b'n'), "authorization" | "proxy-authorization") => Rule::Credentials,
        (Some(b'n'), "location" | "content-location") => Rule::Url,
        (Some(b'n'), _) if ends("-token") || ends("-authorization") => Rule::Secret,
        (Some(b'e'), "cookie") => Rule::Cookies,
        (Some(b'e'), "set-cookie") => Rule::SetCookie,
        (Some(b'e'), "www-authenticate" | "proxy-authenticate") => Rule::Challenge,
        (Some(b'e'), _) if ends("-signature") => Rule::Secret,
        (Some(b'y'), "api-key" | "x-otas-agent-key" | "ocp-apim-subscription-key") => Rule::Secret,
        (Some(b'y'), _) if ends("-api-key") => Rule::Secret,
        (Some(b't'), _) if ends("-secret") => Rule::Secret,
        (Some(b'o'), "authentication-info" | "proxy-authentication-info") => Rule::Challenge,
        (Some(b'l'), "sec-websocket-protocol") => Rule::Subprotocols,
        (Some(b'r'), "referer") | (Some(b'k'), "link") | (Some(b'h'), "refresh") => Rule::Url,
        _ => Rule::Plain,
    }
}

/// How much a key's value may show.
#[derive(Clone, Copy)]
enum Kind {
    /// Made by a machine: the end tells two apart and gives nothing away.
    Token,
    /// Made by a person: its end is a good part of it.
    Password,
}

/// Whether a query key or field name is one of a secret. `user[password]` counts as `password`.
fn secret_key(name: &str) -> Option<Kind> {
    const LONGEST: usize = 64;
    let name = name.trim_end_matches("[]");
    let name = name.strip_suffix(']').and_then(|inner| inner.rsplit_once('[')).map_or(name, |(_, last)| last);
    if name.len() > LONGEST {
        return None;
    }
    let mut buffer = [0; LONGEST];
    for (to, from) in buffer.iter_mut().zip(name.bytes()) {
        *to = if from == b'-' { b'_' } else { from.to_ascii_lowercase() };
    }
    match &buffer[..name.len()] {
        b"password" | b"passwd" | b"pwd" | b"otp" | b"pin" => Some(Kind::Password),
        b"key"
        | b"api_key"
        | b"apikey"
        | b"access_token"
        | b"refresh_token"
        | b"id_token"
        | b"auth_token"
        | b"session_token"
        | b"token"
        | b"sig"
        | b"signature"
        | b"secret"
        | b"auth"
        | b"code"
        | b"code_verifier"
        | b"device_code"
        | b"state"
        | b"client_secret"
        | b"assertion"
        | b"client_assertion"
        | b"samlresponse"
        | b"x_amz_signature"
        | b"x_amz_credential"
        | b"x_amz_security_token"
        | b"x_goog_signature"
        | b"x_goog_credential"
        | b"awsaccesskeyid"
        | b"sv"
        | b"se"
        | b"hdnts"
        | b"private_key"
        | b"subscription_key" => Some(Kind::Token),
        _ => None,
    }
}

fn mask_by(kind: Kind, value: &str) -> String {
    match kind {
        Kind::Token => mask(value),
        Kind::Password => MASK.to_owned(),
    }
}

fn mask(secret: &str) -> String {
    let tail = secret.char_indices().rev().nth(3).map_or("", |(at, _)| &secret[at..]);
    // `%` near the end: a tail could begin inside a percent-escape.
    if secret.len() < TAIL_FROM_BYTES || secret.bytes().rev().take(6).any(|byte| byte == b'%') {
        return MASK.to_owned();
    }
    format!("{MASK}{tail}")
}

fn counted(text: String, masked: &mut u64) -> String {
    *masked += 1;
    text
}

/// Keeps the scheme of `Bearer abc`. Of an unknown scheme nothing is kept: it may be the first half of a secret. The end
/// of Basic is the end of a password.
fn credentials(value: &str) -> String {
    const SCHEMES: [&str; 12] = [
        "bearer",
        "basic",
        "digest",
        "negotiate",
        "ntlm",
        "token",
        "apikey",
        "key",
        "dpop",
        "oauth",
        "hawk",
        "aws4-hmac-sha256",
    ];
    let Some((scheme, secret)) = value.trim().split_once(' ') else { return mask(value) };
    match SCHEMES.iter().find(|known| scheme.eq_ignore_ascii_case(known)) {
        Some(&"basic" | &"digest") => format!("{scheme} {MASK}"),
        Some(_) => format!("{scheme} {}", mask(secret.trim())),
        None => MASK.to_owned(),
    }
}

/// Masks the first `count` of `name=value; name=value`; what follows are attributes.
fn cookies(value: &str, count: usize) -> String {
    let mut out = String::with_capacity(value.len().min(1024));
    for (index, part) in value.split(';').enumerate() {
        if index > 0 {
            out.push(';');
        }
        match part.split_once('=') {
            _ if index >= count => out.push_str(part),
            Some((name, secret)) => {
                out.push_str(name);
                out.push('=');
                if !secret.is_empty() {
                    out.push_str(&mask(secret));
                }
            }
            None if part.trim().is_empty() => out.push_str(part),
            None => out.push_str(MASK),
        }
    }
    out
}

/// Keeps schemes, realms and errors; masks nonces, tokens, and the blob of `Negotiate <blob>`.
fn challenge(value: &str, masked: &mut u64) -> Option<String> {
    let mut out = String::with_capacity(value.len().min(1024));
    let mut found = false;
    for (index, item) in outside_quotes(value, ',').into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let start = secret_of_challenge(item).unwrap_or(item.len());
        out.push_str(&item[..start]);
        if start < item.len() {
            out.push_str(&counted(MASK.to_owned(), masked));
            found = true;
        }
    }
    found.then_some(out)
}

/// Where the secret in one comma-separated item of a challenge begins.
fn secret_of_challenge(item: &str) -> Option<usize> {
    let body = item.trim_end();
    if let Some(equals) = body.trim_end_matches('=').find('=') {
        let name = body[..equals].trim_end().rsplit(' ').next().unwrap_or_default().to_ascii_lowercase();
        let secret = name.contains("nonce")
            || name.contains("token")
            || matches!(name.as_str(), "opaque" | "rspauth" | "response" | "signature");
        return secret.then_some(equals + 1);
    }
    let scheme = body.len() - body.trim_start().len();
    body[scheme..].find(' ').map(|space| scheme + space + 1)
}

fn outside_quotes(value: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    value
        .split(|char| {
            quoted ^= char == '"';
            char == separator && !quoted
        })
        .collect()
}

/// Browsers cannot set headers on a WebSocket, so some APIs take the key as a subprotocol
/// (`openai-insecure-api-key.sk-…`, or `bearer, <token>`).
fn subprotocols(value: &str, masked: &mut u64) -> Option<String> {
    let mut out = String::with_capacity(value.len().min(1024));
    let (mut found, mut announced) = (false, false);
    for (index, item) in value.split(',').enumerate() {
        if index > 0 {
            out.push(',');
        }
        let lower = item.to_ascii_lowercase();
        let speaks =
            ["bearer", "api-key", "apikey", "token", "authorization"].iter().any(|word| lower.contains(word));
        if announced || item.trim().len() >= 40 || (speaks && item.trim().len() >= TAIL_FROM_BYTES) {
            out.push_str(&item[..item.len() - item.trim_start().len()]);
            out.push_str(&counted(mask(item.trim()), masked));
            found = true;
        } else {
            out.push_str(item);
        }
        announced = speaks;
    }
    found.then_some(out)
}

/// Masks user information and secret query values of every URL in a text.
fn urls(text: &str, masked: &mut u64) -> Option<String> {
    let ends = |byte: u8| matches!(byte, b'&' | b'#' | b'>' | b'"') || byte.is_ascii_whitespace();
    let without_user = userinfo(text, masked);
    let masked_pairs = pairs(without_user.as_deref().unwrap_or(text), false, ends, masked);
    masked_pairs.or(without_user)
}

/// `https://user:password@host/` -> `https://****@host/`
fn userinfo(text: &str, masked: &mut u64) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    for (slashes, _) in text.match_indices("//") {
        let start = slashes + 2;
        // In a path `//` means nothing; a scheme or the beginning stands before an authority.
        if start < copied || (slashes > 0 && text.as_bytes()[slashes - 1] != b':') {
            continue;
        }
        let end = text[start..]
            .find(|char: char| matches!(char, '/' | '?' | '#' | '\\' | '"' | '<' | '>') || char.is_whitespace())
            .map_or(text.len(), |length| start + length);
        if let Some(at) = text[start..end].rfind('@').filter(|at| *at > 0) {
            out.push_str(&text[copied..start]);
            out.push_str(&counted(MASK.to_owned(), masked));
            copied = start + at;
        }
    }
    (copied > 0).then(|| out + &text[copied..])
}

/// Masks the values of secret keys in `key=value` pairs that begin after `?`, `#` or `&` (and at the start, when
/// `at_start`). A value ends where `ends` says.
fn pairs(text: &str, at_start: bool, ends: impl Fn(u8) -> bool, masked: &mut u64) -> Option<String> {
    let bytes = text.as_bytes();
    let begins = |byte: &u8| matches!(byte, b'?' | b'#' | b'&');
    let mut out = String::new();
    let (mut copied, mut at, mut in_pair) = (0, 0, at_start);
    loop {
        if !in_pair {
            let Some(next) = bytes[at..].iter().position(begins) else { break };
            at += next + 1;
        }
        in_pair = false;
        let stops = |byte: &u8| *byte == b'=' || begins(byte) || ends(*byte);
        let Some(length) = bytes[at..].iter().position(stops) else { break };
        let (key, equals) = (&text[at..at + length], at + length);
        at = equals;
        if bytes[equals] != b'=' {
            continue;
        }
        if let Some(kind) = secret_key(&plain(key)) {
            let start = equals + 1;
            let end = bytes[start..].iter().position(|byte| ends(*byte)).map_or(bytes.len(), |length| start + length);
            if start < end {
                out.push_str(&text[copied..start]);
                out.push_str(&counted(mask_by(kind, &text[start..end]), masked));
                copied = end;
            }
            at = end;
        }
    }
    (copied > 0).then(|| out + &text[copied..])
}

/// A key without its percent-escapes.
fn plain(key: &str) -> Cow<'_, str> {
    if key.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        form_urlencoded::parse(key.as_bytes()).next().map_or(Cow::Borrowed(key), |(key, _)| key)
    } else {
        Cow::Borrowed(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked_header(name: &str, value: &str) -> String {
        header(name, value, &mut 0).unwrap_or_else(|| value.to_owned())
    }

    fn masked_query(text: &str) -> String {
        query(text, &mut 0).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn credentials_keep_their_scheme_and_at_most_four_characters() {
        for (value, shown) in [
            ("Bearer sk-proj-0123456789abcdefWXYZ", "Bearer ****WXYZ"),
            ("bearer short", "bearer ****"),
            ("Basic dXNlcjpwYXNzd29yZDEyMzQ1Njc4OTA=", "Basic ****"),
            ("sk-proj-0123456789abcdefWXYZ", "****WXYZ"),
            ("half-a-secret other-half-0123456789", "****"),
            ("AWS4-HMAC-SHA256 Credential=AKIA/x, Signature=0123456789abcdef", "AWS4-HMAC-SHA256 ****cdef"),
        ] {
            assert_eq!(masked_header("authorization", value), shown);
            assert_eq!(masked_header("proxy-authorization", value), shown);
        }
    }

    #[test]
    fn secret_headers_are_masked_and_counts_are_not() {
        let secret = "0123456789abcdefWXYZ";
        for name in [
            "x-api-key",
            "api-key",
            "x-goog-api-key",
            "x-auth-token",
            "x-access-token",
            "x-csrf-token",
            "x-amz-security-token",
            "x-hub-signature",
            "x-client-secret",
            "x-otas-agent-key",
            "x-otas-agent-session-token",
        ] {
            assert_eq!(masked_header(name, secret), "****WXYZ", "{name}");
        }
        for name in ["x-ratelimit-limit-tokens", "x-request-id", "x-tokens", "etag", "idempotency-key", "user-agent"]
        {
            assert_eq!(masked_header(name, secret), secret, "{name}");
        }
    }

    #[test]
    fn cookies_keep_names_and_attributes() {
        assert_eq!(masked_header("cookie", "a=1; b=0123456789abcdefWXYZ;c; d="), "a=****; b=****WXYZ;****; d=");
        assert_eq!(
            masked_header("set-cookie", "sid=secret; Path=/; Max-Age=60; HttpOnly"),
            "sid=****; Path=/; Max-Age=60; HttpOnly"
        );
    }

    #[test]
    fn challenges_keep_realm_and_error() {
        assert_eq!(
            masked_header("www-authenticate", "Digest realm=\"a, b\", nonce=\"xyz\", qop=\"auth\", opaque=abc"),
            "Digest realm=\"a, b\", nonce=****, qop=\"auth\", opaque=****"
        );
        assert_eq!(masked_header("www-authenticate", "Negotiate YIIabc=="), "Negotiate ****");
        let bearer = "Bearer realm=\"x\", error=\"invalid_token\"";
        assert_eq!(masked_header("www-authenticate", bearer), bearer);
        assert_eq!(masked_header("proxy-authenticate", "Basic"), "Basic");
    }

    #[test]
    fn subprotocols_that_carry_a_key_are_masked() {
        assert_eq!(
            masked_header("sec-websocket-protocol", "realtime, openai-insecure-api-key.sk-abcdefWXYZ"),
            "realtime, ****WXYZ"
        );
        assert_eq!(masked_header("sec-websocket-protocol", "bearer, abc"), "bearer, ****");
        let plain = "graphql-transport-ws, graphql-ws";
        assert_eq!(masked_header("sec-websocket-protocol", plain), plain);
    }

    #[test]
    fn urls_in_headers_lose_user_and_secret_values() {
        for (name, value, shown) in [
            ("referer", "https://me:pw@x.test/a?q=1&token=abc#z", "https://****@x.test/a?q=1&token=****#z"),
            ("location", "/cb?code=abc&next=/y", "/cb?code=****&next=/y"),
            ("location", "//me@x.test/cb#access_token=abc&n=1", "//****@x.test/cb#access_token=****&n=1"),
            ("link", "<https://x.test/?sig=abc>; rel=\"next\"", "<https://x.test/?sig=****>; rel=\"next\""),
            ("refresh", "5; url=https://x.test/?key=abc", "5; url=https://x.test/?key=****"),
            ("x-callback", "https://x.test/?password=0123456789abcdefWXYZ", "https://x.test/?password=****"),
            ("location", "/a//b@c/?page=2", "/a//b@c/?page=2"),
            ("location", "/go?to=/x?token=abc", "/go?to=/x?token=****"),
        ] {
            assert_eq!(masked_header(name, value), shown);
        }
    }

    #[test]
    fn queries_are_masked_by_whole_keys_and_otherwise_untouched() {
        for (text, shown) in [
            ("key=0123456789abcdefWXYZ&alt=sse", "key=****WXYZ&alt=sse"),
            ("a=%zz+b&API-Key=x&b", "a=%zz+b&API-Key=****&b"),
            ("%61ccess_token=x", "%61ccess_token=****"),
            ("user[password]=x&t[]=1&token[]=2", "user[password]=****&t[]=1&token[]=****"),
            ("sig=0123456789abcdefghij%3D", "sig=****"),
            (
                "max_tokens=5&total_tokens=6&monkey=7&tokens=8&token=",
                "max_tokens=5&total_tokens=6&monkey=7&tokens=8&token=",
            ),
            ("token=a?b#c=d e&z", "token=****&z"),
            ("", ""),
        ] {
            assert_eq!(masked_query(text), shown);
        }
    }

    #[test]
    fn what_is_masked_is_counted() {
        let mut masked = 0;
        query("a=1&token=2&sig=3", &mut masked);
        header("authorization", "Bearer x", &mut masked);
        header("referer", "https://u:p@x/?key=1", &mut masked);
        field("pin", "1234", &mut masked);
        field("max_tokens", "1234", &mut masked);
        assert_eq!(masked, 6);
    }
}
