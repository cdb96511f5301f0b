//! The protocol inside a CONNECT tunnel, detected from its first bytes. Pure.

/// The longest first line that we wait for. A longer one counts as HTTP, which refuses it.
const FIRST_LINE_LIMIT_BYTES: usize = 16 << 10;
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// A TLS record that holds a handshake message.
    Tls,
    /// An HTTP/1.x request line.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Something else.
    Unknown,
}

/// Detects the protocol. `None`: more bytes are needed.
pub(super) fn sniff(bytes: &[u8]) -> Option<Protocol> {
    match bytes {
        [] => None,
        [0x16] => None,
        [0x16, 0x03, ..] => Some(Protocol::Tls),
        _ if bytes.starts_with(H2_PREFACE) => Some(Protocol::Http2),
        _ if H2_PREFACE.starts_with(bytes) => None,
        _ => request_line(bytes),
    }
}

/// `token SP target SP HTTP/1.x`. Many other protocols begin with a word and a space, so the whole line decides.
fn request_line(bytes: &[u8]) -> Option<Protocol> {
    let method = bytes.iter().position(|b| !is_token(*b)).unwrap_or(bytes.len());
    let after = &bytes[method..];
    if method == 0 || method > 64 || after.first().is_some_and(|b| *b != b' ') {
        return Some(Protocol::Unknown);
    }
    let target = after.get(1..)?;
    if !target.is_empty() && !plausible_target(target) {
        return Some(Protocol::Unknown);
    }
    match bytes.iter().position(|b| *b == b'\n') {
        Some(end) => {
            let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
            let versioned = line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0");
            Some(if versioned { Protocol::Http1 } else { Protocol::Unknown })
        }
        None if bytes.len() > FIRST_LINE_LIMIT_BYTES => Some(Protocol::Http1),
        None => None,
    }
}

fn plausible_target(target: &[u8]) -> bool {
    let scheme = |s: &[u8]| target.starts_with(s) || s.starts_with(target);
    target.starts_with(b"/") || target.starts_with(b"*") || scheme(b"http://") || scheme(b"https://")
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn protocols_are_distinguished() {
        for (bytes, wanted) in [
            (&b"\x16\x03\x01\x02\x00"[..], Some(Protocol::Tls)),
            (b"\x16", None),
            (b"\x16\x99", Some(Protocol::Unknown)),
            (b"GET / HTTP/1.1\r\n", Some(Protocol::Http1)),
            (b"GET / HTTP/1.1", None),
            (b"x-custom http://a/ HTTP/1.0\n", Some(Protocol::Http1)),
            (b"GET / HTTP/3\r\n", Some(Protocol::Unknown)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Protocol::Http2)),
            (b"PRI * HT", None),
            (b"EHLO mail.example\r\n", Some(Protocol::Unknown)),
            (b"SSH-2.0-x\r\n", Some(Protocol::Unknown)),
            (b"SET key value\r\n", Some(Protocol::Unknown)),
            (b"\x00\x01", Some(Protocol::Unknown)),
            (b"", None),
        ] {
            assert_eq!(sniff(bytes), wanted, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn a_decision_is_made_in_time_and_never_changes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut decided = None;
            for end in 0..=bytes.len() {
                let now = sniff(&bytes[..end]);
                if let Some(before) = decided { prop_assert_eq!(now, Some(before)); }
                decided = decided.or(now);
            }
            let mut long = bytes;
            long.resize(FIRST_LINE_LIMIT_BYTES + 65, b'a');
            prop_assert!(sniff(&long).is_some());
        }
    }
}
