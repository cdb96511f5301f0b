//! Message parsing and framing, items 1 to 15.

use super::{answers, exchange, is_refused, ok};
use crate::support::origin::Act;

#[tokio::test]
async fn item_01_a_request_has_exactly_one_valid_host() {
    for host in ["", "Host: HOST\r\nHost: HOST\r\n", "Host: a b\r\n", "Host: u@HOST\r\n", "Host: a:port\r\n"] {
        is_refused(&format!("GET http://HOST/ HTTP/1.1\r\n{host}\r\n")).await;
    }
}

#[tokio::test]
async fn item_02_the_targets_authority_replaces_host() {
    let seen = exchange(ok(""), "GET http://HOST/ HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n").await;
    assert_eq!(seen.received, "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
}

/// A deviation: `http::Uri` does not tell an empty path from `/`.
#[tokio::test]
async fn item_03_options_of_a_whole_server_is_forwarded_as_an_asterisk() {
    for (target, sent) in [("http://HOST", "*"), ("http://HOST/", "/"), ("http://HOST?a", "/?a")] {
        let request = format!("OPTIONS {target} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
        let seen = exchange(ok(""), &request).await;
        assert_eq!(seen.received, format!("OPTIONS {sent} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"));
    }
}

#[tokio::test]
async fn item_03_a_target_with_a_space_or_a_control_character_is_refused_with_the_reason() {
    for target in ["/a b", "/a\tb`", "/a\u{1}", "/a\u{7f}`", "/a`b c"] {
        let request = format!("GET http://HOST{target} HTTP/1.1\r\nHost: HOST\r\n\r\n");
        is_refused(&request).await;
        let seen = exchange(ok(""), &request).await;
        assert!(seen.reply.contains("has a space or a control character"), "{target:?}: {}", seen.reply);
    }
    is_refused("GET http://HO`ST/` HTTP/1.1\r\nHost: HOST\r\n\r\n").await;
}

#[tokio::test]
async fn item_04_connect_names_a_host_and_a_port_and_nothing_else() {
    for target in ["/", "HOST/", "http://HOST/", "a.test", "a.test:", "a.test:0", "a.test:99999", "a.test:x", ":80"] {
        is_refused(&format!("CONNECT {target} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
    }
    is_refused("GET a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
}

#[tokio::test]
async fn item_05_our_own_version_goes_out() {
    let seen = exchange(ok("hi"), "GET http://HOST/ HTTP/1.0\r\nHost: HOST\r\n\r\n").await;
    assert!(seen.received.starts_with("GET / HTTP/1.1\r\n"), "{}", seen.received);
    is_refused("GET http://HOST/ HTTP/1.2\r\nHost: HOST\r\n\r\n").await;
}

#[tokio::test]
async fn item_06_a_bare_cr_is_refused_and_a_bare_lf_ends_no_line() {
    is_refused("GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nX: a\rb\r\n\r\n").await;
    is_refused("GET http://HOST/ HTTP/1.1\r\rHost: HOST\r\n\r\n").await;
    is_refused("GET http://HOST/ HTTP/1.1\nHost: HOST\n\n").await;
    is_refused("GET http://HOST/ HTTP/1.1\r\nHost: HOST\n\r\n").await;
}

#[tokio::test]
async fn item_07_no_space_stands_before_the_first_field() {
    is_refused("GET http://HOST/ HTTP/1.1\r\n Host: HOST\r\nHost: HOST\r\n\r\n").await;
    is_refused("GET http://HOST/ HTTP/1.1\r\n\tX: y\r\nHost: HOST\r\n\r\n").await;
}

#[tokio::test]
async fn item_08_a_space_before_the_colon_is_refused_in_a_request_and_removed_from_a_response() {
    is_refused("GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nX : y\r\n\r\n").await;
    is_refused("GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nContent-Length : 3\r\n\r\nabc").await;
    let acts = answers("HTTP/1.1 200 OK\r\nX-Spaced : y\r\nContent-Length: 2\r\n\r\nhi");
    let seen = exchange(acts, "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n").await;
    assert!(seen.reply.contains("\r\nX-Spaced: y\r\n") && seen.reply.ends_with("\r\n\r\nhi"), "{}", seen.reply);
}

#[tokio::test]
async fn item_09_a_folded_line_is_refused_in_a_request_and_unfolded_in_a_response() {
    is_refused("GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nX: a\r\n folded\r\n\r\n").await;
    let acts = answers("HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\nhi");
    let seen = exchange(acts, "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n").await;
    let value = seen.reply.split("X-Folded: ").nth(1).unwrap().split("\r\nContent").next().unwrap().to_owned();
    assert!(!value.contains(['\r', '\n']), "{value:?}");
    assert_eq!(value.split_whitespace().collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn item_10_no_value_holds_nul_cr_or_lf() {
    is_refused("GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nX: a\0b\r\n\r\n").await;
    let acts = answers("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi");
    let seen = exchange(acts, "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n").await;
    assert!(seen.reply.starts_with("HTTP/1.1 502 "), "{}", seen.reply);
}

#[tokio::test]
async fn item_11_transfer_encoding_beside_content_length_is_refused() {
    for fields in [
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 4\r\nTransfer-Encoding: identity\r\n",
    ] {
        is_refused(&format!("POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\n{fields}\r\n0\r\n\r\n")).await;
    }
}

#[tokio::test]
async fn item_12_the_last_coding_of_a_request_is_chunked_and_the_only_one() {
    for coding in ["gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "xchunked", "\x0bchunked", ""] {
        let head = format!("POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: {coding}\r\n\r\n");
        is_refused(&format!("{head}0\r\n\r\n")).await;
    }
    is_refused("POST http://HOST/ HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn item_13_a_content_length_is_one_number() {
    for length in ["1\r\nContent-Length: 2", "1, 1", "+1", "-1", "0x1", "1 1", "99999999999999999999", "a", ""] {
        is_refused(&format!("POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nContent-Length: {length}\r\n\r\nab")).await;
    }
    for lengths in ["Content-Length: 1\r\nContent-Length: 2", "Content-Length: x", "Content-Length: +2"] {
        let acts = answers(&format!("HTTP/1.1 200 OK\r\n{lengths}\r\n\r\nhi"));
        let seen = exchange(acts, "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n").await;
        assert!(seen.reply.starts_with("HTTP/1.1 502 "), "{lengths}: {}", seen.reply);
        assert!(seen.events[0]["error"].as_str().unwrap().starts_with("origin_bad_response"), "{}", seen.events[0]);
    }
}

#[tokio::test]
async fn item_14_a_chunks_size_is_hexadecimal_and_overflows_nothing() {
    for size in ["ffffffffffffffffff", "10000000000000000", "0x3", "+3", "_3", " 3", "3 ", "-1", "g", ""] {
        // An origin that answers at the end of the request: it never comes.
        let acts = vec![Act::Await(b"0\r\n\r\n".to_vec()), ok("hi").remove(0)];
        let head = "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n";
        let seen = exchange(acts, &format!("{head}{size}\r\nabc\r\n0\r\n\r\n")).await;
        assert!(seen.reply.starts_with("HTTP/1.1 400 "), "{size:?}: {}", seen.reply);
        assert!(
            !seen.received.contains("abc") && !seen.received.ends_with("0\r\n\r\n"),
            "{size:?}: {}",
            seen.received
        );
    }
}

#[tokio::test]
async fn item_15_chunk_extensions_stop_here_and_are_bounded() {
    let acts = || vec![Act::Await(b"0\r\n\r\n".to_vec()), ok("hi").remove(0)];
    let head = "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let seen = exchange(acts(), &format!("{head}3;name=value;q=\"x\"\r\nabc\r\n0;last\r\n\r\n")).await;
    assert!(seen.received.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{}", seen.received);
    assert!(seen.reply.starts_with("HTTP/1.1 200 OK"), "{}", seen.reply);
    let seen = exchange(acts(), &format!("{head}3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(5000))).await;
    assert!(seen.reply.starts_with("HTTP/1.1 400 "), "{}", seen.reply);
}
