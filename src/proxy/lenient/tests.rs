use proptest::prelude::*;

use super::*;

/// What hyper gets, which lines go beside it, and the names of the faults.
fn made(head: &[u8], is_to_head: bool) -> (String, String, Vec<&'static str>, bool) {
    let read = read(head, is_to_head).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let Head { rewritten, facts, .. } = read;
    let faults = facts.faults.iter().map(|fault| fault.name()).collect();
    (text(&rewritten.unwrap_or_else(|| head.to_vec())), text(&facts.lines), faults, facts.is_until_close)
}

/// The fields that hyper gets for these.
fn fields(of: &str) -> (String, Vec<&'static str>, bool) {
    let (head, _, faults, is_until_close) = made(format!("HTTP/1.1 200 OK\r\n{of}\r\n").as_bytes(), false);
    let fields = head.strip_prefix("HTTP/1.1 200 OK\r\n").unwrap().strip_suffix("\r\n").unwrap().to_owned();
    (fields, faults, is_until_close)
}

#[test]
fn a_sound_head_stays_as_it_is() {
    for head in [
        &b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\nSet-Cookie: a\xe9\tb\r\nEmpty:\r\n\r\n",
        b"HTTP/1.0 404\nA: b\n\n",
        b"HTTP/1.1 401 N\xe3o Autorizado\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    ] {
        let read = read(head, false).unwrap();
        assert!(read.rewritten.is_none() && read.facts.faults.is_empty(), "{}", String::from_utf8_lossy(head));
    }
}

#[test]
fn transfer_encoding_wins_and_has_one_form() {
    let both = "length_beside_transfer_encoding";
    let odd = "transfer_encoding";
    for (given, hyper_gets, faults, is_until_close) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\n", vec![both], false),
        ("Transfer-Encoding: chunked\r\nContent-Length: x\r\n", "Transfer-Encoding: chunked\r\n", vec![both], false),
        (
            "Transfer-Encoding: gzip, gzip\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: gzip, gzip\r\n",
            vec![both, odd],
            true,
        ),
        ("Transfer-Encoding: identity\r\n", "", vec![odd], true),
        ("Transfer-Encoding:\r\n", "", vec![odd], true),
        ("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", "Content-Length: 5\r\n", vec![odd], false),
        (
            "Transfer-Encoding: identity\r\nContent-Length: 5\r\nConnection: close\r\n",
            "Connection: close\r\n",
            vec![odd, both],
            true,
        ),
        ("Transfer-Encoding: chunked, identity\r\n", "Transfer-Encoding: chunked\r\n", vec![odd], false),
        ("transfer-encoding: identity , CHUNKED,\r\n", "Transfer-Encoding: chunked\r\n", vec![odd], false),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\n",
            vec![odd],
            false,
        ),
        (
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            vec![odd],
            false,
        ),
        ("Transfer-Encoding: chunked, gzip\r\n", "Transfer-Encoding: chunked, gzip\r\n", vec![odd], true),
    ] {
        assert_eq!(fields(given), (hyper_gets.to_owned(), faults, is_until_close), "{given:?}");
    }
}

#[test]
fn in_an_http_1_0_response_chunks_are_followed_and_end_the_connection() {
    let head =
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n";
    let (rewritten, _, faults, is_until_close) = made(head, false);
    assert_eq!(rewritten, "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(faults, ["length_beside_transfer_encoding", "transfer_encoding_in_http_1_0"]);
    assert!(!is_until_close);
}

#[test]
fn a_head_with_too_many_fields_is_refused_with_their_number() {
    let head = |fields: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(fields));
    assert!(read(head(HTTP1_FIELDS).as_bytes(), false).is_ok());
    let why = read(head(600).as_bytes(), false).unwrap_err();
    assert_eq!(why, "its head has 600 fields, more than the limit of 512");
}

#[test]
fn a_length_is_one_number_however_often_it_is_said() {
    assert_eq!(
        fields("Content-Length: 6, 6\r\n"),
        ("Content-Length: 6\r\n".to_owned(), vec!["content_length"], false)
    );
    assert_eq!(
        fields("content-length: 6\r\nA: b\r\nContent-Length:6\r\n"),
        ("content-length: 6\r\nA: b\r\n".to_owned(), vec!["content_length"], false)
    );
    for bad in ["6, 7", "6\r\nContent-Length: 7", "6,", "", "+6", "-6", "0x6", "6 6", "18446744073709551614"] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bad}\r\n\r\n");
        assert!(read(head.as_bytes(), false).unwrap_err().contains("Content-Length"), "{bad}");
        assert!(read(head.as_bytes(), true).is_err(), "{bad}");
        let head = head.replace("200 OK", "304 Not Modified");
        assert_eq!(made(head.as_bytes(), false).0, "HTTP/1.1 304 Not Modified\r\n\r\n", "{bad}");
    }
    assert_eq!(
        made(b"HTTP/1.1 200 OK\r\nContent-Length: 6, 6\r\n\r\n", true).0,
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
    );
}

#[test]
fn fields_that_a_header_map_cannot_hold_pass_beside_it() {
    for line in [
        "Set-Cookie: a=\u{1}b; Path=/",
        "X: \u{7f}",
        "Foo Bar: x",
        ": nameless",
        "\"Foo\": x",
        "F(o): x",
        "Naïve: x",
        "F\u{1}o: x",
        "no colon",
    ] {
        let head = format!("HTTP/1.1 200 OK\r\nA: b\r\n{line}\r\nContent-Length: 5\r\n\r\n");
        let (rewritten, lines, faults, _) = made(head.as_bytes(), false);
        assert_eq!(rewritten, "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\n", "{line:?}");
        assert_eq!((lines, faults), (format!("{line}\r\n"), vec!["invalid_field"]));
    }
    let (rewritten, lines, ..) = made(b"HTTP/1.1 200 OK\r\n folded: x\r\nF(o): x\r\n\ty\r\nA: b\r\n\r\n", false);
    assert_eq!((&*rewritten, &*lines), ("HTTP/1.1 200 OK\r\nA: b\r\n\r\n", " folded: x\r\nF(o): x\r\n\ty\r\n"));
}

#[test]
fn nothing_that_could_be_taken_for_framing_goes_beside_it() {
    for line in ["Content Length: 5", "Transfer\u{1}-Encoding: chunked", "\"Content-Length\": 5", "Content-Length"] {
        let head = format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n");
        let read = read(head.as_bytes(), false);
        assert!(read.is_err() || read.unwrap().facts.lines.is_empty(), "{line:?}");
    }
    for bad in ["Transfer-Encoding: \u{b}chunked", "Content-Length: 5\u{1}", "A: b\0c", "Content-Length"] {
        assert!(read(format!("HTTP/1.1 200 OK\r\n{bad}\r\n\r\n").as_bytes(), false).is_err(), "{bad:?}");
    }
}

#[test]
fn blanks_folds_and_bare_crs_are_made_spaces() {
    assert_eq!(fields("A : b\r\n").0, "A: b\r\n");
    assert_eq!(fields("A: b\r\n  c \r\n\td\r\n").0, "A: b c d\r\n");
    assert_eq!(fields("A: b\rc\r\n"), ("A: b c\r\n".to_owned(), vec!["bare_cr"], true));
    assert_eq!(
        fields("Content-Length : 5\r\n"),
        ("Content-Length: 5\r\n".to_owned(), vec!["space_before_colon"], false)
    );
}

#[test]
fn a_reason_phrase_is_kept_byte_for_byte_and_an_odd_status_line_is_cleaned() {
    let reason = |head: &[u8]| read(head, false).unwrap().facts.reason.map(|reason| reason.as_bytes().to_vec());
    assert_eq!(reason(b"HTTP/1.1 401 N\xe3o\r\n\r\n").unwrap(), b"N\xe3o");
    assert_eq!(reason("HTTP/1.1 401 Não\r\nA : b\r\n\r\n".as_bytes()).unwrap(), "Não".as_bytes());
    assert_eq!(reason(b"HTTP/1.1 401 Unauthorized\r\n\r\n"), None);
    for (given, cleaned) in [
        ("HTTP/1.1  200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
        ("HTTP/1.0 200 O\u{1}K\r\n\r\n", "HTTP/1.0 200 O K\r\n\r\n"),
    ] {
        let (rewritten, _, faults, _) = made(given.as_bytes(), false);
        assert_eq!((&*rewritten, faults), (cleaned, vec!["status_line"]));
    }
    for others in
        ["HTTP/1.2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "ICY 200 OK\r\n\r\n"]
    {
        assert!(read(others.as_bytes(), false).unwrap().rewritten.is_none(), "{others:?}: hyper refuses it");
    }
}

#[test]
fn a_head_ends_at_its_empty_line_in_whatever_pieces_it_comes() {
    for head in ["HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "HTTP/1.1 200 OK\nA: b\n\n", "HTTP/1.1 200 OK\r\nA: b\n\r\n"] {
        let bytes = format!("{head}rest\n\n");
        for first in 0..head.len() {
            let mut scanned = 0;
            assert_eq!(end(&bytes.as_bytes()[..first], &mut scanned), None);
            assert_eq!(end(bytes.as_bytes(), &mut scanned), Some(head.len()));
        }
    }
    for (bytes, may) in [("", true), ("HTT", true), ("HTTP/1.1 2", true), ("HTTP/2", false), ("SSH-2.0", false)] {
        assert_eq!(may_begin(bytes.as_bytes()), may, "{bytes}");
    }
}

const MIXED: &[u8] =
    b"HTTP/1.0 200 OK\r\nA : b\r\n c\r\nTransfer-Encoding: identity, chunked\r\nContent-Length: 5, 5\r\n\
    Set-Cookie: a=\x01b\r\n: x\r\nConnection: keep-alive\r\n\r\nrest";

proptest! {
    #[test]
    fn hyper_gets_unambiguous_bytes_whatever_came(
        first in any::<u8>(),
        junk in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b':'), Just(b','), Just(b' ')], 0..30),
        at in 0..MIXED.len(),
        left_out in 0..8usize,
    ) {
        let mut bytes = vec![first];
        bytes.extend_from_slice(MIXED);
        let end = (at + 1 + left_out).min(bytes.len());
        bytes.splice(at + 1..end, junk);
        crate::proxy::fuzzing::responses(&bytes);
    }
}
