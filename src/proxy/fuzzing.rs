//! Properties of the data path's readers that must hold for any bytes.

use super::lenient;
use super::request_target;
use super::sniff::sniff;
use super::socks;
use super::strict::{Checked, Framing};

/// The first bytes of a tunnel: once the protocol is known, more bytes do not change it.
pub fn first_bytes(data: &[u8]) {
    let mut decided = None;
    for end in 0..=data.len().min(64 << 10) {
        let said = sniff(&data[..end]);
        if decided.is_some() {
            assert_eq!(said, decided, "at {end}");
        }
        decided = decided.or(said);
    }
}

/// The target of a CONNECT: a host without brackets, and a valid port.
pub fn connect_target(data: &[u8]) {
    let Ok(uri) = http::Uri::try_from(data) else { return };
    if let Ok((host, port)) = request_target::connect_target(&uri) {
        assert!(!host.is_empty() && !host.contains(['[', ']', '@', '/', ' ']), "{host:?}");
        assert_ne!(port, 0);
    }
    if let Ok(origin) = request_target::absolute_target(&uri) {
        assert!(matches!(origin.scheme, "http" | "https") && !origin.host.is_empty());
    }
}

/// SOCKS messages: a message is never longer than its bytes, and bytes after it do not change it.
pub fn socks_messages(data: &[u8]) {
    socks::read_any(data);
}

/// HTTP/1.x response heads: the head for hyper has one reading, the raw lines cannot end a head, and the size of the received pieces
/// changes nothing. The first byte says whether the request was HEAD, and how long the pieces are.
pub fn responses(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else { return };
    let whole = lenient::end(bytes, &mut 0);
    let mut scanned = 0;
    let ends = (1..=bytes.len()).step_by(usize::from(first >> 1).max(1)).chain([bytes.len()]);
    let in_pieces = ends.filter_map(|end| lenient::end(&bytes[..end], &mut scanned)).next();
    assert_eq!(whole, in_pieces);
    let Some(end) = whole else { return };
    let is_to_head = first & 1 == 1;
    let Ok(head) = lenient::read(&bytes[..end], is_to_head) else { return };
    for line in head.facts.lines.split_inclusive(|byte| *byte == b'\n') {
        assert!(line.ends_with(b"\r\n") && line.len() > 2 && !line[..line.len() - 2].contains(&b'\r'), "{line:?}");
    }
    let Some(rewritten) = head.rewritten else { return };
    let again = lenient::read(&rewritten, is_to_head);
    // Read again, it is written the same: codings that do not end in `chunked` stay, and stay a fault.
    assert!(
        again.is_ok_and(|again| again.rewritten.is_none_or(|twice| twice == rewritten)),
        "{:?}",
        String::from_utf8_lossy(&rewritten)
    );
    let mut fields = vec![httparse::EMPTY_HEADER; bytes.len()];
    let read = httparse::Response::new(&mut fields).parse(&rewritten);
    assert_eq!(read, Ok(httparse::Status::Complete(rewritten.len())), "{:?}", String::from_utf8_lossy(&rewritten));
}

/// HTTP/1.x requests: the bytes are passed on unchanged, and the size of the received pieces changes neither them nor the verdict.
/// The first byte says how long the pieces are.
pub fn requests(data: &[u8]) {
    let Some((length, bytes)) = data.split_first() else { return };
    let (whole, in_pieces) = (pass([bytes]), pass(bytes.chunks(usize::from(*length).max(1))));
    assert_eq!(whole.1, in_pieces.1, "refused or not");
    assert!(bytes.starts_with(&whole.0) && bytes.starts_with(&in_pieces.0));
    if !whole.1 {
        assert_eq!(whole.0, in_pieces.0);
    }
}

fn pass<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, bool) {
    let (mut framing, mut held, mut passed) = (Framing::new(8192), Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            match framing.check(&held) {
                Ok(Checked { bytes: 0, .. }) => break,
                Ok(Checked { bytes, .. }) => passed.extend(held.drain(..bytes)),
                Err(_) => return (passed, true),
            }
        }
    }
    (passed, false)
}
