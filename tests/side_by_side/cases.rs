//! What origins answer, byte for byte: `tests/fixtures/raw` (from public bug reports), and further answers of the same kinds.

use std::path::Path;

/// An answer, and how its connection ends.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) end: End,
    /// What the event says.
    pub(super) event: Event,
}

/// What the origin does after its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Waits for the next request.
    Open,
    /// Closes the connection in good order.
    Close,
    /// Closes the TCP connection. Over TLS, no `close_notify` comes before.
    Cut,
}

/// What the event of a call says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The origin's status, and no error beyond that.
    Whole,
    /// The same, or that the agent left: some clients refuse the answer at its head.
    WholeOrLeft,
    /// The origin's status, and why the answer is not whole.
    Broken,
}

use End::{Close, Cut, Open};
use Event::{Broken, Whole, WholeOrLeft};

/// How the answers in the fixtures end, and what the event says of them.
const FIXTURES: &[(&str, End, Event)] = &[
    ("control_char_in_cookie", Open, Whole),
    ("first_chunk_bad", Open, Broken),
    ("latin1_reason", Open, Whole),
    ("space_in_name", Open, Whole),
    ("te_and_cl", Open, Whole),
    ("te_identity_until_close", Close, Whole),
    ("until_close_over_tls_without_close_notify", Cut, Whole),
];

const TEXT: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
const CHUNK: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}],\"type\":\"ping\"}\n\n";

/// Further answers.
fn further() -> Vec<(&'static str, Vec<u8>, End, Event)> {
    let text = |rest: &str| [TEXT, rest].concat().into_bytes();
    let stream = |rest: &str| [STREAM, rest].concat().into_bytes();
    let chunk = format!("{:x}\r\n{CHUNK}\r\n", CHUNK.len());
    let ok = |rest: &[u8]| [b"HTTP/1.1 200 OK\r\n", rest].concat();
    vec![
        // Nothing unusual.
        ("plain", text("Content-Length: 5\r\n\r\nhello"), Open, Whole),
        (
            "odd_names",
            text("X-ODD-name: A\r\nx-odd-NAME: B\r\nEmpty:\r\nContent-Length: 5\r\n\r\nhello"),
            Open,
            Whole,
        ),
        ("cookies", text("Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 5\r\n\r\nhello"), Open, Whole),
        ("latin1_value", ok(b"X-Name: caf\xe9\r\nContent-Length: 5\r\n\r\nhello"), Open, Whole),
        ("unknown_coding_until_close", text("Transfer-Encoding: xyz\r\n\r\nhello"), Close, WholeOrLeft),
        (
            "coding_before_chunks",
            text("Transfer-Encoding: xyz, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            Open,
            WholeOrLeft,
        ),
        ("no_content", b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n".to_vec(), Open, Whole),
        ("phrase_of_its_own", b"HTTP/1.1 404 Nothing Here\r\nContent-Length: 5\r\n\r\nhello".to_vec(), Open, Whole),
        ("no_phrase", b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello".to_vec(), Open, Whole),
        ("events", stream(&format!("Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n")), Open, Whole),
        (
            "provider_error",
            b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: 41\r\n\r\n\
              {\"error\":{\"message\":\"slow down, please\"}}"
                .to_vec(),
            Open,
            Whole,
        ),
        // Two framings, and codings that are none.
        (
            "cl_and_te",
            ok(b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            Open,
            Whole,
        ),
        (
            "te_and_cl_stream",
            stream(&format!("Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n")),
            Open,
            Whole,
        ),
        ("identity_and_length", text("Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello"), Close, Whole),
        ("empty_coding", text("Transfer-Encoding: \r\nConnection: close\r\n\r\nhello"), Close, Whole),
        ("length_list", text("Content-Length: 5, 5\r\n\r\nhello"), Open, Whole),
        ("length_twice", text("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), Open, Whole),
        ("second_chunk_bad", stream(&format!("Transfer-Encoding: chunked\r\n\r\n{chunk}zz\r\n")), Open, Broken),
        ("bad_chunk_and_close", stream("Transfer-Encoding: chunked\r\n\r\n-1\r\n"), Close, Broken),
        // Ends of connections.
        ("until_close", text("\r\nhello until close"), Close, Whole),
        ("until_close_http_1_0", b"HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nhello until close".to_vec(), Close, Whole),
        ("cut_http_1_0", b"HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nhello until close".to_vec(), Cut, Whole),
        ("stream_until_close", stream(&format!("\r\n{CHUNK}")), Close, Whole),
        ("stream_until_cut", stream(&format!("Connection: close\r\n\r\n{CHUNK}{CHUNK}")), Cut, Whole),
        ("whole_and_cut", text("Connection: close\r\nContent-Length: 5\r\n\r\nhello"), Cut, Whole),
        (
            "chunks_and_cut",
            stream(&format!("Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n")),
            Cut,
            Whole,
        ),
        ("short", text("Content-Length: 9\r\n\r\nhello"), Close, Broken),
        ("short_and_cut", text("Content-Length: 9\r\n\r\nhello"), Cut, Broken),
        ("chunks_without_end", stream(&format!("Transfer-Encoding: chunked\r\n\r\n{chunk}")), Close, Broken),
        ("chunks_without_end_and_cut", stream(&format!("Transfer-Encoding: chunked\r\n\r\n{chunk}")), Cut, Broken),
        // Trailers, and interim responses that nobody asked for.
        (
            "trailers",
            text(
                "Trailer: X-Sum, x-other\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\nx-other: 8\r\n\r\n",
            ),
            Open,
            Whole,
        ),
        (
            "trailers_unannounced",
            text(
                "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Check-SUM: 7\r\nx-Other: a b \r\nX-Check-SUM: 9\r\n\r\n",
            ),
            Open,
            Whole,
        ),
        (
            "continue_unasked",
            [b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), text("Content-Length: 5\r\n\r\nhello")].concat(),
            Open,
            Whole,
        ),
        (
            "early_hints",
            [
                b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-HiNt: 1\r\n\r\n".to_vec(),
                text("Content-Length: 5\r\n\r\nhello"),
            ]
            .concat(),
            Open,
            Whole,
        ),
        (
            "interim_of_its_own",
            [
                b"HTTP/1.1 102 Still At It\r\nX-Step: 1\r\n\r\nHTTP/1.1 102 Almost\r\nX-Step: 2\r\n\r\n".to_vec(),
                text("Content-Length: 5\r\n\r\nhello"),
            ]
            .concat(),
            Open,
            Whole,
        ),
        // Fields and phrases that common clients accept.
        ("control_char_in_value", ok(b"X-A: b\x02c\r\nContent-Length: 5\r\n\r\nhello"), Open, Whole),
        ("nameless_field", ok(b": x\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello"), Open, Whole),
        ("quoted_name", ok(b"\"X-Q\": x\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello"), Open, Whole),
        (
            "utf8_reason",
            "HTTP/1.1 403 Zugriff verweigert – nö\r\nContent-Length: 5\r\n\r\nhello".as_bytes().to_vec(),
            Open,
            Whole,
        ),
        ("folded_field", ok(b"X-A: b\r\n c\r\nContent-Length: 5\r\n\r\nhello"), Open, Whole),
        // Unusual, but sound or understood by all.
        ("coding_in_capitals", text("Transfer-Encoding:  CHUNKED \r\n\r\n5\r\nhello\r\n0\r\n\r\n"), Open, Whole),
        ("length_zeros", text("Content-Length: 0005\r\n\r\nhello"), Open, Whole),
        ("status_999", b"HTTP/1.1 999 Denied\r\nContent-Length: 5\r\n\r\nhello".to_vec(), Open, Whole),
        ("status_600", b"HTTP/1.1 600 Odd\r\nContent-Length: 5\r\n\r\nhello".to_vec(), Open, Whole),
        (
            "chunk_extension",
            text("Transfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n"),
            Open,
            Whole,
        ),
        ("chunk_mid_cut", text("Transfer-Encoding: chunked\r\n\r\n9\r\nhello"), Cut, Broken),
        ("zero_and_cut", text("Content-Length: 0\r\n\r\n"), Cut, Whole),
        ("surplus", text("Content-Length: 5\r\n\r\nhelloworld"), Close, Whole),
        ("surplus_204", b"HTTP/1.1 204 No Content\r\n\r\nhello".to_vec(), Close, Whole),
        (
            "fields_90",
            [
                b"HTTP/1.1 200 OK\r\n".to_vec(),
                (0..90).map(|n| format!("X-N{n}: {}\r\n", "y".repeat(100))).collect::<String>().into_bytes(),
                b"Content-Length: 5\r\n\r\nhello".to_vec(),
            ]
            .concat(),
            Open,
            Whole,
        ),
        ("field_60k", text(&format!("X-L: {}\r\nContent-Length: 5\r\n\r\nhello", "y".repeat(60000))), Open, Whole),
        (
            "interim_storm",
            ["HTTP/1.1 102 Processing\r\n\r\n".repeat(30).into_bytes(), text("Content-Length: 5\r\n\r\nhello")]
                .concat(),
            Open,
            Whole,
        ),
        ("del_in_value", ok(b"Set-Cookie: a=\x7f\r\nContent-Length: 5\r\n\r\nhello"), Open, Whole),
        ("connection_list", ok(b"Connection: close, chunked\r\nContent-Length: 5\r\n\r\nhello"), Close, Whole),
        (
            "http_1_0_keep",
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
            Open,
            Whole,
        ),
    ]
}

/// Answers that some client sees otherwise than directly, as `docs/wire.md` says, and what every client sees of them.
const DIFFERENT: &[(&str, Seen)] = &[
    // The length beside a coding is removed, and what is no coding stops here (RFC 9112 6.3): strict clients refuse both.
    ("cl_and_te", Seen::Answered),
    ("te_and_cl", Seen::Answered),
    ("te_and_cl_stream", Seen::Answered),
    ("te_identity_until_close", Seen::Answered),
    ("identity_and_length", Seen::Answered),
    ("empty_coding", Seen::Answered),
    // One length goes on in place of equal ones (RFC 9112 6.3).
    ("length_list", Seen::Answered),
    ("length_twice", Seen::Answered),
    // A folded line is unfolded (RFC 9112 5.2).
    ("folded_field", Seen::Answered),
    // Content that breaks its framing ends early: the client is told so, but not by its own parser.
    ("first_chunk_bad", Seen::AnotherError),
    ("second_chunk_bad", Seen::AnotherError),
    ("bad_chunk_and_close", Seen::AnotherError),
];

/// What a client sees where it need not be what it sees directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// The answer, whole.
    Answered,
    /// The same but for the kind of the error.
    AnotherError,
}

/// All of them.
pub(super) fn all() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/raw");
    let files = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(files, FIXTURES.len(), "each fixture is a case");
    let fixtures = FIXTURES
        .iter()
        .map(|(name, end, event)| (*name, std::fs::read(folder.join(format!("{name}.http"))).unwrap(), *end, *event));
    let all = fixtures.chain(further());
    all.map(|(name, bytes, end, event)| Case { name: name.to_owned(), bytes, end, event }).collect()
}

impl Case {
    /// What clients see of it, if that may be other than directly.
    pub(super) fn different(&self) -> Option<Seen> {
        DIFFERENT.iter().find(|(name, _)| *name == self.name).map(|(_, seen)| *seen)
    }

    /// The status of the final response.
    pub(super) fn status(&self) -> u64 {
        let text = String::from_utf8_lossy(&self.bytes);
        let lines = text.lines().filter_map(|line| line.strip_prefix("HTTP/1."));
        let mut statuses = lines.filter_map(|line| line.get(2..5)?.parse().ok());
        statuses.find(|status| *status >= 200).expect("a final response")
    }
}
