//! The host that a cleartext request names, read from its first bytes before anything else reads them.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use http::uri::Authority;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::acknowledge::Acknowledge;

/// Reads into `seen` until the head of the request names its host. `None`: it names none, or none that can be read.
///
/// # Errors
/// When the agent's stream fails.
pub(super) async fn read(stream: &mut TcpStream, seen: &mut BytesMut, limit: usize) -> io::Result<Option<Arc<str>>> {
    loop {
        match host(seen) {
            Head::Named(name) => return Ok(Some(name)),
            Head::Nameless => return Ok(None),
            Head::Incomplete if seen.len() > limit => return Ok(None),
            Head::Incomplete => {}
        }
        stream.acknowledge();
        if stream.read_buf(seen).await? == 0 {
            return Ok(None);
        }
    }
}

/// What the bytes of a request's head say so far.
#[derive(Debug, PartialEq, Eq)]
enum Head {
    Named(Arc<str>),
    Nameless,
    Incomplete,
}

/// The host of the first `Host` field. Whether the head is valid is judged when the request is read.
fn host(bytes: &[u8]) -> Head {
    // Without its last part, which is not a whole line yet.
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let _ = lines.next_back();
    for line in lines.skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Head::Nameless;
        }
        let Some(value) = field(line, b"host:") else { continue };
        return name(value).map_or(Head::Nameless, Head::Named);
    }
    Head::Incomplete
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (begin, value) = line.split_at_checked(name.len())?;
    begin.eq_ignore_ascii_case(name).then_some(value)
}

fn name(value: &[u8]) -> Option<Arc<str>> {
    let authority: Authority = str::from_utf8(value).ok()?.trim().parse().ok()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    (!host.is_empty()).then(|| host.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_host_is_read_as_soon_as_its_line_is_whole() {
        let named = |name: &str| Head::Named(name.into());
        for (bytes, wanted) in [
            (&b"GET / HTTP/1.1\r\n"[..], Head::Incomplete),
            (b"GET / HTTP/1.1\r\nHost: a.exam", Head::Incomplete),
            (b"GET / HTTP/1.1\r\nHost: a.example\r\n", named("a.example")),
            (b"GET / HTTP/1.1\r\nX: y\r\nhOST:A.Example.:8080\r\n\r\n", named("a.example")),
            (b"GET / HTTP/1.1\nhost: [2001:db8::1]:80\n", named("2001:db8::1")),
            (b"GET / HTTP/1.0\r\nX: Host: a\r\n\r\n", Head::Nameless),
            (b"GET / HTTP/1.1\r\nHost: a b\r\n", Head::Nameless),
            (b"GET / HTTP/1.1\r\nHost:\r\n", Head::Nameless),
        ] {
            assert_eq!(host(bytes), wanted, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn more_bytes_never_change_the_host(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let whole = [&b"GET / HTTP/1.1\r\nhost: a.example\r\n"[..], &bytes].concat();
            prop_assert_eq!(host(&whole), Head::Named("a.example".into()));
            let _ = host(&bytes);
        }
    }
}
