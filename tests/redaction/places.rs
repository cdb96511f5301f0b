//! Each class of secret in each place that one can stand in, whole and in pieces, plain and compressed; and everything that the
//! program then has to tell, in any form.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{KNOWN, Loud, TRACES, WITHIN, brotli, deflate, found_in, gzip};
use crate::support::agent::{self, Agent};
use crate::support::manual::ManualOrigin;
use crate::support::origin::{Act, Certificate, RawOrigin, TestCa};
use crate::support::otas::TestOtas;
use crate::support::program::Folder;
use crate::support::proxy::{read_until, trusting};
use crate::support::websocket::{BINARY, CLOSE, DEFLATED, Deflater, TEXT, bare, masked};

/// Secrets that are known by what is around them, and a long one.
const OTHERS: [&str; 8] = [
    // Of 108 bytes, which is the code of a letter.
    "sk-ant-api03-c4n4ry0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_abcdefghijAWXYZ",
    "Bearer c4n4ry0123456789abcdefWXYZ",
    "Basic YzRuNHJ5OnBhc3N3b3JkMDEyMzQ1",
    "https://user:c4n4ry-passw0rd@db.test/x",
    "postgres://user:c4n4ry-passw0rd@db.test:5432/x",
    "https://hooks.slack.com/services/T00000000/B00000000/c4n4ry0123456789",
    "123456789:AAc4n4ry0123456789abcdefghijklmnopqrs",
    "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMc4n4ry0123456789\nabcd+/==\n-----END PRIVATE KEY-----",
];

fn classes() -> impl Iterator<Item = &'static str> {
    KNOWN.into_iter().chain(OTHERS)
}

/// Of so many bytes each: no secret is whole in any.
const PIECE: usize = 7;

pub(super) fn chunked(bytes: &[u8], trailers: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in bytes.chunks(PIECE) {
        out.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
    }
    out.extend(format!("0\r\n{trailers}\r\n").into_bytes());
    out
}

/// A text as each content coding has it.
fn coded(text: &str) -> [(&'static str, Vec<u8>); 5] {
    let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
    [
        ("identity", text.into()),
        ("gzip", gzip(text.as_bytes())),
        ("deflate", deflate(text.as_bytes())),
        ("br", brotli(text.as_bytes())),
        ("zstd", zstd),
    ]
}

/// Sends literal bytes to an origin that answers with such, once what it got ends like this.
async fn call(proxy: &Loud, head: &str, body: &[u8], ends: &[&[u8]], answer: Vec<u8>) {
    let waits = ends.iter().map(|end| Act::Await(end.to_vec()));
    let origin = RawOrigin::start(waits.chain([Act::Write(answer), Act::Close]).collect()).await;
    let request = [head.replace("ORIGIN", &origin.addr.to_string()).as_bytes(), body].concat();
    let told = proxy.raw(&request).await;
    assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
    assert!(TRACES.iter().any(|trace| origin.received().contains(trace)), "the origin gets what the agent sent");
}

/// Bodies in pieces, in each coding, with each class at some depth; trailers and header fields of each class.
async fn bodies(proxy: &Loud) -> u64 {
    let mut calls = 0;
    for secret in classes() {
        let field = secret.replace('\n', " ");
        let text = json!({ "a": [{ "deep": { "note": format!("say {secret} to it"), "n": 5 } }] }).to_string();
        for (coding, bytes) in coded(&text) {
            let coding =
                format!("Content-Type: application/json\r\nContent-Encoding: {coding}\r\nTransfer-Encoding: chunked");
            let trailers = format!("X-Note: say {field}\r\nX-Api-Key: c4n4ry\r\n");
            let trailer = "Trailer: X-Note, X-Api-Key";
            let body = chunked(&bytes, &trailers);
            let head = format!(
                "POST http://ORIGIN/{calls} HTTP/1.1\r\nHost: ORIGIN\r\nX-Note: say {field}\r\nTE: trailers\r\n{trailer}\r\n\
                 Connection: close, TE\r\n{coding}\r\n\r\n"
            );
            let mut answer =
                format!("HTTP/1.1 200 OK\r\nX-Note: ({field})\r\n{trailer}\r\n{coding}\r\n\r\n").into_bytes();
            answer.extend(&body);
            call(proxy, &head, &body, &[b"\r\n0\r\n", b"\r\n\r\n"], answer).await;
            calls += 1;
        }
    }
    calls
}

/// The places of a head where one would not look for a secret.
async fn odd_places(proxy: &Loud) -> u64 {
    let mut calls = 0;
    for secret in KNOWN {
        let escaped: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let hyphens = secret.replace('-', "%2D").replace('_', "%5F").replace('.', "%2E");
        let path = format!("/a/{escaped}/{hyphens}/x");
        let query = format!("q={escaped}&{secret}=1&{secret}&u=https%3A%2F%2Fu%3A{escaped}%40x.test");
        let head = format!(
            "POST http://ORIGIN{path}?{query} HTTP/1.1\r\nHost: ORIGIN\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded; note={secret}\r\nContent-Encoding: {secret}\r\n\
             Content-Disposition: form-data; name=\"{secret}\"\r\nFrom: u:{secret}@x.test\r\nTraceparent: {secret}\r\n\
             X-OTAS-PROPERTY-Note: {secret}\r\nX-OTAS-AGENT-SESSION-TOKEN: {secret}\r\nProxy-Authorization: Basic {basic}\r\n\
             Authorization: Basic {basic}\r\nX-Other: Basic {basic}\r\nContent-Length: {length}\r\n\r\n",
            basic = "YzRuNHJ5OnBhc3N3b3JkMDEyMzQ1",
            length = query.len(),
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; note={secret}\r\nContent-Encoding: {secret}\r\nVia: 1.1 {secret}\r\n\
             Refresh: 5; url=/?token=c4n4ry&x={escaped}\r\nLocation: //u:{secret}@x.test/{escaped}\r\nContent-Length: 2\r\n\r\nok"
        );
        call(proxy, &head, query.as_bytes(), &[&query.as_bytes()[query.len() - 10..]], answer.into_bytes()).await;
        calls += 1;
    }
    // A method of so many letters is none that there is.
    let head = "AKIAC4N4RY0123456789 http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nConnection: close\r\n\r\n";
    call(proxy, head, b"", &[], b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    calls + 1
}

/// HTTP/2: header fields, DATA frames of a few bytes, trailers; and a gRPC call whose messages are prefixed by their lengths.
async fn over_http2(proxy: &Loud, ca: &TestCa) -> u64 {
    let mut origin = ManualOrigin::start(Some(ca.server(Certificate::Good, &[b"h2"]))).await;
    let mut tls = trusting(&proxy.folder.path().join("ca").join("ca.pem"));
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let at = proxy.url.trim_start_matches("http://").parse().unwrap();
    let mut agent = Agent::through(at, tls, "localhost", origin.addr.port()).await;
    let mut calls = 0;
    for secret in classes() {
        for content_type in ["application/json", "application/grpc"] {
            let field = HeaderValue::from_str(&secret.replace('\n', " ")).unwrap();
            let text = match content_type {
                // A string as protobuf has it: its tag, its length, itself.
                "application/grpc" => {
                    let message = [&[0x0a, secret.len() as u8], secret.as_bytes(), b"2\x01x"].concat();
                    [&[0, 0, 0, 0, message.len() as u8], &message[..]].concat()
                }
                _ => json!({ "variables": { "i": { "note": secret, "otp": "c4n4ry" } } }).to_string().into_bytes(),
            };
            let trailers = HeaderMap::from_iter([
                (HeaderName::from_static("x-note"), field.clone()),
                (HeaderName::from_static("grpc-status"), HeaderValue::from_static("16")),
                (HeaderName::from_static("grpc-message"), field.clone()),
            ]);
            let body = || {
                let data = text.chunks(PIECE).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))));
                let frames: Vec<Result<_, _>> = data.chain([Ok(Frame::trailers(trailers.clone()))]).collect();
                StreamBody::new(futures_util::stream::iter(frames)).boxed()
            };
            let mut request = agent.request("POST", "/v1/x", body());
            request.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
            request.headers_mut().insert("x-note", field.clone());
            let asked = agent.start(request);
            let call = origin.call().await;
            assert_eq!(call.request.version(), http::Version::HTTP_2);
            let got = call.request.into_body().collect().await.unwrap();
            assert_eq!(got.trailers().unwrap()["x-note"], field, "the origin gets what the agent sent");
            assert_eq!(got.to_bytes(), text);
            let answer = http::Response::builder().header("content-type", content_type).body(body()).unwrap();
            call.answer.send(answer).unwrap();
            assert_eq!(agent::whole(asked.await.unwrap().unwrap()).await, text);
            calls += 1;
        }
    }
    calls
}

/// WebSockets: messages in several frames, compressed ones, binary ones, a reason to close, and a subprotocol.
async fn sockets(proxy: &Loud) -> u64 {
    let mut calls = 0;
    for secret in classes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mut agent, mut origin) =
            handshake(proxy, &listener, address, &secret.replace(['\n', ' ', ':'], "-")).await;
        let text = json!({ "type": "x", "note": format!("say {secret}"), "password": "c4n4ry" }).to_string();
        let (mut ask, mut tell) = (Deflater::new(), Deflater::new());
        for (to, deflater, frame) in [
            (&mut agent, &mut ask, masked as fn(u8, Vec<u8>) -> Vec<u8>),
            (&mut origin, &mut tell, bare as fn(u8, Vec<u8>) -> Vec<u8>),
        ] {
            let (first, rest) = text.split_at(text.find("say ").unwrap() + 10);
            let (one, two) = (frame(TEXT & 0x0F, first.into()), frame(0x80, rest.into()));
            let compressed = frame(DEFLATED, deflater.message(&text));
            let binary = frame(BINARY, secret.into());
            let reason: String = secret.chars().filter(|c| *c != '\n').take(100).collect();
            let close = frame(CLOSE, [&[0x03, 0xE8], reason.as_bytes()].concat());
            to.write_all(&[one, two, compressed, binary, close].concat()).await.unwrap();
        }
        agent.shutdown().await.unwrap();
        let mut all = Vec::new();
        origin.read_to_end(&mut all).await.unwrap();
        origin.shutdown().await.unwrap();
        agent.read_to_end(&mut all).await.unwrap();
        calls += 1;
    }
    calls
}

pub(super) async fn handshake(
    proxy: &Loud,
    listener: &TcpListener,
    address: SocketAddr,
    secret: &str,
) -> (TcpStream, TcpStream) {
    let mut agent = TcpStream::connect(proxy.url.trim_start_matches("http://")).await.unwrap();
    let fields = format!(
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
         Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{secret}\r\n"
    );
    let ask = format!(
        "GET http://{address}/?api_key=c4n4ry HTTP/1.1\r\nHost: {address}\r\n{fields}Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    agent.write_all(ask.as_bytes()).await.unwrap();
    let (mut origin, _) = listener.accept().await.unwrap();
    assert!(read_until(&mut origin, "\r\n\r\n").await.contains(secret), "the origin gets what the agent sent");
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\n{fields}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
    origin.write_all(answer.as_bytes()).await.unwrap();
    read_until(&mut agent, "\r\n\r\n").await;
    (agent, origin)
}

/// All that the program tells of what it has recorded: its pages, its figures, its commands. Of every `of`th event its own page.
pub(super) async fn all_that_it_tells(proxy: &Loud, of: i64) -> String {
    let mut told = String::new();
    for page in ["/metrics", "/status", "/readyz", "/", "/sessions", "/health", "/har"] {
        told += &proxy.page(page).await;
    }
    let program = |arguments: &[&str]| {
        let done = proxy.folder.program().args(arguments).args(["--config", "proxy.toml"]).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)
    };
    let listed = program(&["events", "--json", "--limit", "100000"]);
    told += &program(&["stats", "--json"]);
    told += &program(&["runs"]);
    told += &program(&["runs", "--json"]);
    told += &program(&["events", "--limit", "100000"]);
    program(&["events", "--har", "all.har", "--limit", "100000"]);
    let har = std::fs::read_to_string(proxy.folder.path().join("all.har")).unwrap();
    told += &har;
    told += &program(&["config"]);
    // What stands around each comma, quote and equals sign: at most 100 hits each.
    for text in [",", "\"", "="] {
        told += &program(&["search", text, "--limit", "100"]);
    }
    let store = rusqlite::Connection::open(proxy.folder.path().join("events.db")).unwrap();
    let ids: Vec<i64> = store
        .prepare("SELECT id FROM events")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for id in ids.into_iter().filter(|id| id % of == 0) {
        for page in [format!("/event/{id}"), format!("/event/{id}/json")] {
            told += &proxy.page(&page).await;
        }
        if id % 16 == 0 || of == 1 && id < 16 {
            told += &program(&["events", "--curl", &id.to_string()]);
            told += &program(&["events", "show", &id.to_string()]);
            told += &program(&["events", "show", "--json", &id.to_string()]);
        }
    }
    told + &listed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_of_any_class_is_left_in_any_place_whole_or_in_pieces_plain_or_compressed() {
    let folder = Folder::new();
    let ca = TestCa::new(folder.path());
    std::fs::rename(&ca.file, folder.path().join("origin-ca.pem")).unwrap();
    let otas = TestOtas::start().await;
    folder.configure(&format!("[otas]\nbrain_url = '{0}'\nuasam_url = '{0}'\n", otas.url()));
    let key = otas.key();
    let mut proxy = Loud::start(folder, key.expose());
    let mut calls = bodies(&proxy).await;
    calls += odd_places(&proxy).await;
    calls += over_http2(&proxy, &ca).await;
    calls += sockets(&proxy).await;
    let saved = otas.events_at_least(calls, WITHIN).await;
    let told = all_that_it_tells(&proxy, 1).await;
    assert!(told.len() > 100_000);
    let while_running = found_in(proxy.folder.path(), key.expose());
    proxy.end();
    assert_eq!((saved.len() as u64, otas.refused()), (calls, Vec::new()));
    let mut left = Vec::new();
    for event in &saved {
        for (field, value) in event.as_object().unwrap() {
            let text = value.to_string();
            left.extend(TRACES.iter().filter(|trace| text.contains(**trace)).map(|_| format!("{field}: {text}")));
        }
    }
    assert!(left.is_empty(), "{} left: {:#?}", left.len(), &left[..left.len().min(12)]);
    let left: Vec<_> =
        TRACES.iter().filter_map(|trace| told.find(*trace)).map(|at| &told[at.saturating_sub(200)..at + 9]).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!((while_running, found_in(proxy.folder.path(), key.expose())), (Vec::new(), Vec::new()));
}
