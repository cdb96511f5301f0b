//! Secrets in each form of the labelled corpus, planted in each place of a call; then all that the program has written, sent and
//! shown is searched for them, plain and encoded. A failure names the form and the place.

use std::collections::BTreeMap;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::places::{all_that_it_tells, chunked, handshake};
use super::{Loud, WITHIN, brotli, deflate, gzip};
use crate::masking::forms::{self, Planted, STREAMS};
use crate::support::nobody::Nobody;
use crate::support::origin::{Act, RawOrigin};
use crate::support::otas::TestOtas;
use crate::support::program::{Folder, content_of};
use crate::support::websocket::{BINARY, DEFLATED, Deflater, TEXT, bare, masked};

/// Of so many bytes the pieces of a stream are: no secret is whole in any.
const PIECE: usize = 6;

/// A body that carries a text: its type and its bytes.
type Carrier = (&'static str, &'static str, fn(&str) -> Vec<u8>);

const BODIES: &[Carrier] = &[
    ("JSON", "application/json", |t| json!({ "content": t, "n": 1 }).to_string().into()),
    ("NDJSON", "application/x-ndjson", |t| format!("{}\n{}\n", json!({ "n": 1 }), json!({ "log": t })).into()),
    ("form", "application/x-www-form-urlencoded", |t| format!("a=1&note={}&b=2", encoded(t)).into()),
    ("multipart field", "multipart/form-data; boundary=B", |t| {
        format!("--B\r\nContent-Disposition: form-data;\r\n name=\"note\"\r\n\r\n{t}\r\n--B--\r\n").into()
    }),
    ("multipart file", "multipart/form-data; boundary=B", |t| {
        let head = "Content-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\nContent-Type: text/plain";
        format!("--B\r\n{head}\r\n\r\n{t}\r\n--B--\r\n").into()
    }),
    ("XML", "application/xml", |t| format!("<?xml version=\"1.0\"?><log><line>{}</line></log>", markup(t)).into()),
    ("HTML", "text/html", |t| format!("<html><body><pre>{}</pre></body></html>", markup(t)).into()),
    ("YAML", "application/yaml", |t| {
        let lines: String = t.lines().map(|line| format!("  {line}\n")).collect();
        format!("note: |\n{lines}next: 1\n").into()
    }),
    ("plain text", "text/plain", |t| t.into()),
    ("GraphQL", "application/json", |t| {
        json!({ "query": "mutation($i: In!) { add(i: $i) { id } }", "variables": { "i": { "note": t } } })
            .to_string()
            .into()
    }),
    ("text with a stray byte", "application/json", |t| {
        [json!({ "content": t }).to_string().as_bytes(), b" \xE9"].concat()
    }),
    ("JSON behind a byte order mark", "application/json", |t| {
        [b"\xEF\xBB\xBF", json!({ "content": t }).to_string().as_bytes()].concat()
    }),
    ("UTF-16 with a byte order mark", "text/plain", |t| {
        [b"\xFF\xFE".to_vec(), t.encode_utf16().flat_map(u16::to_le_bytes).collect()].concat()
    }),
    ("UTF-16 by its charset", "application/json; charset=utf-16be", |t| {
        json!({ "content": t }).to_string().encode_utf16().flat_map(u16::to_be_bytes).collect()
    }),
    ("Latin-1", "text/plain; charset=iso-8859-1", |t| [t.as_bytes(), b" caf\xE9"].concat()),
    ("chat completions in pieces", "text/event-stream", |t| {
        events(
            t,
            |piece| json!({ "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": { "content": piece } }] }),
        )
    }),
    ("tool call in pieces", "text/event-stream", |t| {
        let text = json!({ "command": t }).to_string();
        events(
            &text,
            |piece| json!({ "choices": [{ "delta": { "tool_calls": [{ "index": 0, "function": { "arguments": piece } }] } }] }),
        )
    }),
    ("responses in pieces", "text/event-stream", |t| {
        events(t, |piece| json!({ "type": "response.output_text.delta", "item_id": "msg_1", "delta": piece }))
    }),
    ("Anthropic's messages in pieces", "text/event-stream", |t| {
        events(
            t,
            |piece| json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": piece } }),
        )
    }),
    ("Gemini's array of pieces", "application/json", |t| {
        let part = |piece: String| json!({ "candidates": [{ "content": { "role": "model", "parts": [{ "text": piece }] } }] });
        Value::Array(pieces(t).into_iter().map(part).collect()).to_string().into()
    }),
    ("lines of JSON in pieces", "application/x-ndjson", |t| {
        pieces(t)
            .iter()
            .map(|piece| format!("{}\n", json!({ "model": "m", "response": piece })))
            .collect::<String>()
            .into()
    }),
    ("plain text in pieces", "text/event-stream", |t| {
        pieces(&line(t)).iter().map(|piece| format!("data: {piece}\n\n")).collect::<String>().into()
    }),
    ("lines of an event", "text/event-stream", |t| {
        format!("event: x\n{}\n", t.lines().map(|line| format!("data: {line}\n")).collect::<String>()).into()
    }),
];

/// A part of a head: its name, whether it is one of the request, and its text with this secret.
type Part = (&'static str, Side, fn(&Planted) -> String);

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Path,
    Query,
    Request,
    Response,
    RequestTrailer,
    ResponseTrailer,
}

const PARTS: &[Part] = &[
    ("path", Side::Path, |p| percent(&p.text)),
    ("query", Side::Query, |p| format!("note={}", encoded(&p.text))),
    ("key of a query", Side::Query, |p| format!("api_key={}", encoded(&p.traced))),
    ("query of a URL in a query", Side::Query, |p| {
        format!("next={}", encoded(&format!("https://x.test/?access_token={}&a=1", encoded(&p.traced))))
    }),
    ("request field", Side::Request, |p| format!("X-Note: {}", line(&p.text))),
    ("user agent", Side::Request, |p| format!("User-Agent: agent/1.0 ({})", line(&p.text))),
    ("cookie", Side::Request, |p| format!("Cookie: theme=dark; sid={}", p.traced)),
    ("referer", Side::Request, |p| format!("Referer: https://x.test/a?q={}", encoded(&p.text))),
    ("API key field", Side::Request, |p| format!("X-Api-Key: {}", p.traced)),
    ("authorization", Side::Request, |p| format!("Authorization: Bearer {}", p.traced)),
    ("basic authorization", Side::Request, |p| {
        format!("Authorization: Basic {}", STANDARD.encode(format!("ada:{}", p.traced)))
    }),
    ("response field", Side::Response, |p| format!("X-Note: {}", line(&p.text))),
    ("location", Side::Response, |p| format!("Location: /callback?note={}", encoded(&p.text))),
    ("link", Side::Response, |p| format!("Link: <https://x.test/?q={}>; rel=\"next\"", encoded(&p.text))),
    ("set-cookie", Side::Response, |p| format!("Set-Cookie: id={}; Path=/; HttpOnly", p.traced)),
    ("content disposition", Side::Response, |p| {
        format!("Content-Disposition: attachment; filename*=UTF-8''{}", percent(&p.text))
    }),
    ("request trailer", Side::RequestTrailer, |p| format!("X-Note: {}", line(&p.text))),
    ("response trailer", Side::ResponseTrailer, |p| format!("X-Note: {}", line(&p.text))),
    ("grpc message", Side::ResponseTrailer, |p| format!("grpc-status: 13\r\ngrpc-message: {}", percent(&p.text))),
];

fn pieces(text: &str) -> Vec<String> {
    text.as_bytes().chunks(PIECE).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
}

fn events(text: &str, event: impl Fn(String) -> Value) -> Vec<u8> {
    let events: String = pieces(text).into_iter().map(|piece| format!("data: {}\n\n", event(piece))).collect();
    (events + "data: [DONE]\n\n").into()
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn percent(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn markup(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A text on one line, as header fields have it.
fn line(text: &str) -> String {
    text.split(['\r', '\n', '\t']).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// What was planted where.
#[derive(Default)]
struct Plants {
    /// Form, place and secret.
    all: Vec<(String, String, String)>,
}

impl Plants {
    /// One secret in each form, fresh.
    fn sow(&mut self, place: &str, planted: Planted) -> Planted {
        self.all.push((format!("{} / {}", planted.form, planted.kind), place.to_owned(), planted.traced.clone()));
        planted
    }

    /// Form and place of each secret that can be read in some of these, and where.
    fn readable_in(&self, told: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
        let mut needles = Vec::new();
        let mut owners = Vec::new();
        for (at, (form, _, secret)) in self.all.iter().enumerate() {
            for needle in traces(secret, STREAMS.iter().any(|stream| form.starts_with(stream))) {
                needles.push(needle);
                owners.push(at);
            }
        }
        let search = AhoCorasick::new(&needles).unwrap();
        let mut left: BTreeMap<usize, String> = BTreeMap::new();
        for (name, bytes) in told {
            for found in search.find_iter(bytes) {
                let around = &bytes[found.start().saturating_sub(60)..bytes.len().min(found.end() + 30)];
                let around = String::from_utf8_lossy(around).into_owned();
                left.entry(owners[found.pattern().as_usize()]).or_insert_with(|| format!("{name}: …{around}…"));
            }
        }
        left.into_iter().map(|(at, seen)| format!("{} in {}: {seen}", self.all[at].0, self.all[at].1)).collect()
    }
}

/// What shows a secret: either half of what no mask shows of it, plain, escaped and encoded; of one in pieces also what a piece
/// has of it, where no other text has that by chance.
fn traces(secret: &str, in_pieces: bool) -> Vec<String> {
    const PART: usize = 5;
    let core = &secret[..secret.len() - 4];
    // Half of a password of words is words.
    let half = if core.contains(char::is_lowercase) && core.matches('-').count() == 2 {
        core.len()
    } else {
        (core.len() / 2).max(8)
    };
    let halves = [&core[..half], &core[core.len() - half..]];
    let mut all = Vec::new();
    if in_pieces {
        let kinds = [char::is_lowercase, char::is_uppercase, |char: char| char.is_ascii_digit()];
        let parts = (0..=core.len() - PART).map(|start| &core[start..start + PART]);
        all.extend(parts.filter(|part| kinds.iter().all(|kind| part.contains(*kind))).map(str::to_owned));
    }
    for half in halves {
        let json = serde_json::to_string(half).unwrap();
        all.extend([half.to_owned(), json[1..json.len() - 1].to_owned(), encoded(half), percent(half)]);
        all.push(half.bytes().map(|byte| format!("{byte:02x}")).collect());
        for before in 0..3 {
            // Without the characters that have bits of what stands around it.
            let coded = STANDARD.encode(format!("{}{half}", &"xx"[..before]));
            let inner = &coded.trim_end_matches('=')[[0, 2, 3][before]..];
            all.push(inner[..inner.len() - 1].to_owned());
        }
    }
    all.sort();
    all.dedup();
    all
}

/// Content codings, one of them two in one.
fn coded(which: usize, body: &[u8]) -> (&'static str, Vec<u8>) {
    match which % 6 {
        0 => ("identity", body.to_vec()),
        1 => ("gzip", gzip(body)),
        2 => ("deflate", deflate(body)),
        3 => ("br", brotli(body)),
        4 => ("zstd", zstd::encode_all(body, 3).unwrap()),
        _ => ("gzip, br", brotli(&gzip(body))),
    }
}

/// One call with a secret of this form in each of several places: two bodies, and parts of its heads.
async fn call(proxy: &Loud, plants: &mut Plants, fresh: impl Fn(usize) -> Planted, turn: usize, bodies: [usize; 2]) {
    let stream = STREAMS.contains(&fresh(0).form);
    let mut heads: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    for (at, (name, side, write)) in PARTS.iter().enumerate() {
        let planted = fresh(at + 2);
        let written = write(&planted);
        // A stream has line ends, which a field has only encoded.
        let can_stand = !stream || !written.contains(&line(&planted.text));
        if can_stand && at % (BODIES.len() / 2) == turn {
            plants.sow(name, planted);
            heads.entry(*side as u8).or_default().push(written);
        }
    }
    let part = |side: Side| heads.get(&(side as u8)).cloned().unwrap_or_default();
    let fields = |side| part(side).into_iter().map(|field| field + "\r\n").collect::<String>();
    let mut message = |place: &str, which: usize, fresh: Planted| {
        let (name, content_type, write) = BODIES[which];
        // That is one line.
        let text = if stream && name == "plain text in pieces" {
            "nothing".to_owned()
        } else {
            plants.sow(&format!("{place}: {name}"), fresh).text
        };
        let (coding, bytes) = coded(which + turn + text.len(), &write(&text));
        let head =
            format!("Content-Type: {content_type}\r\nContent-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n");
        (head, bytes)
    };
    let (asks, ask) = message("request", bodies[0], fresh(0));
    let (tells, tell) = message("response", bodies[1], fresh(1));
    let tell = chunked(&tell, &fields(Side::ResponseTrailer));
    let answer = [
        format!("HTTP/1.1 200 OK\r\nTrailer: X-Note, grpc-message\r\n{}{tells}\r\n", fields(Side::Response))
            .into_bytes(),
        tell,
    ]
    .concat();
    // There is always a trailer.
    let ends = [&b"\r\n0\r\n"[..], b"\r\n\r\n"].map(|end| Act::Await(end.to_vec()));
    let acts = ends.into_iter().chain([Act::Write(answer), Act::Close]).collect();
    let origin = RawOrigin::start(acts).await;
    let path: String = part(Side::Path).iter().map(|part| format!("/{part}")).collect();
    let head = format!(
        "POST http://{0}/call{path}?{1} HTTP/1.1\r\nHost: {0}\r\nTE: trailers\r\nConnection: close, TE\r\n\
         Trailer: X-Note, X-End\r\n{2}{asks}\r\n",
        origin.addr,
        part(Side::Query).join("&"),
        fields(Side::Request),
    );
    let request = [head.into_bytes(), chunked(&ask, &(fields(Side::RequestTrailer) + "X-End: 1\r\n"))].concat();
    let told = proxy.raw(&request).await;
    assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
}

/// Calls to models that fail with a sentence of their provider's; and gRPC.
async fn refusals(proxy: &Loud, plants: &mut Plants, fresh: impl Fn(usize) -> Planted) -> usize {
    let ask = plants.sow("prompt", fresh(0)).text;
    let tell = plants.sow("sentence of an error", fresh(1)).text;
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": ask }] }).to_string();
    let error = json!({ "error": { "message": tell, "type": "invalid_request_error", "code": "bad" } }).to_string();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{error}",
        error.len()
    );
    let acts = vec![Act::Await(body.as_bytes()[body.len() - 9..].to_vec()), Act::Write(answer.into()), Act::Close];
    let origin = RawOrigin::start(acts).await;
    let head = format!(
        "POST http://{0}/v1/chat/completions HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {1}\r\n\r\n",
        origin.addr,
        body.len()
    );
    assert!(proxy.raw(&[head.as_bytes(), body.as_bytes()].concat()).await.starts_with("HTTP/1.1 400 "));
    let text = plants.sow("text of gRPC", fresh(2)).text;
    let told = plants.sow("message of gRPC", fresh(3)).text;
    let length = u32::try_from(text.len() + 3).unwrap().to_be_bytes();
    // A string as protobuf has it: its tag, its length in two bytes, itself.
    let size = [0x0a, (text.len() & 0x7F) as u8 | 0x80, (text.len() >> 7) as u8];
    let body = [&[0][..], &length, &size, text.as_bytes()].concat();
    let status = format!("grpc-status: 13\r\ngrpc-message: {}\r\n", percent(&told));
    let answer = [
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
        chunked(&body, &status),
    ];
    let acts = vec![Act::Await(body[body.len() - 9..].to_vec()), Act::Write(answer.concat()), Act::Close];
    let origin = RawOrigin::start(acts).await;
    let head = format!(
        "POST http://{0}/x.Y/Z HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\nContent-Type: application/grpc\r\nContent-Length: {1}\r\n\r\n",
        origin.addr,
        body.len()
    );
    assert!(proxy.raw(&[head.into_bytes(), body].concat()).await.starts_with("HTTP/1.1 200 "));
    2
}

/// A WebSocket on which both ends say a text of each of these forms: in fragments, compressed, and as binary messages.
async fn socket(proxy: &Loud, plants: &mut Plants, fresh: impl Fn(usize) -> Vec<Planted>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mut agent, mut origin) = handshake(proxy, &listener, address, "c4n4ry-0123456789-0123456789").await;
    let (mut ask, mut tell) = (Deflater::new(), Deflater::new());
    for (side, to, deflater, frame) in [
        (0, &mut agent, &mut ask, masked as fn(u8, Vec<u8>) -> Vec<u8>),
        (1, &mut origin, &mut tell, bare as fn(u8, Vec<u8>) -> Vec<u8>),
    ] {
        for (place, way) in [("fragments", 0), ("compressed message", 1), ("binary message", 2)] {
            for planted in fresh(side * 3 + way) {
                let text = plants.sow(&format!("WebSocket, {place}"), planted).text;
                let frames = match way {
                    0 => {
                        let (first, rest) = text.as_bytes().split_at(text.len() / 2);
                        [frame(TEXT & 0x0F, first.into()), frame(0x80, rest.into())].concat()
                    }
                    1 => frame(DEFLATED, deflater.message(&text)),
                    _ => frame(BINARY, text.into()),
                };
                to.write_all(&frames).await.unwrap();
            }
        }
    }
    agent.shutdown().await.unwrap();
    let mut all = Vec::new();
    origin.read_to_end(&mut all).await.unwrap();
    origin.shutdown().await.unwrap();
    agent.read_to_end(&mut all).await.unwrap();
}

/// Places that only hold a secret itself: names of hosts, user information, credentials of SOCKS, command lines.
async fn narrow_places(proxy: &Loud, plants: &mut Plants) {
    let closed = Nobody::new();
    for (at, planted) in forms::one_each(9_000).into_iter().step_by(7).enumerate() {
        let place =
            ["user information", "target of CONNECT", "host", "credentials of SOCKS", "arguments of run"][at % 5];
        // The name of a host is a secret only by its look.
        let mut planted = planted;
        if matches!(place, "target of CONNECT" | "host") {
            planted.traced = format!("ghp_{at:02}aB3dE6gH9jK2mN5pQ8sT1vW4yZ7cF0hJ3k");
        }
        let Planted { traced: secret, .. } = plants.sow(place, planted);
        let request = match at % 5 {
            0 => format!(
                "GET http://ada:{}@{closed}/ HTTP/1.1\r\nHost: {closed}\r\nConnection: close\r\n\r\n",
                percent(&secret)
            ),
            1 => {
                let host = secret.clone() + ".invalid:443";
                let ask = format!("CONNECT ada:{}@{host} HTTP/1.1\r\nHost: {host}\r\n\r\n", percent(&secret));
                let mut stream =
                    tokio::net::TcpStream::connect(proxy.url.trim_start_matches("http://")).await.unwrap();
                stream.write_all(ask.as_bytes()).await.unwrap();
                assert!(stream.read_u8().await.is_ok());
                continue;
            }
            2 => format!("GET http://{closed}/ HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", percent(&secret)),
            3 => {
                let mut stream =
                    tokio::net::TcpStream::connect(proxy.url.trim_start_matches("http://")).await.unwrap();
                let login = [&[5, 1, 2, 1, 3][..], b"ada", &[secret.len() as u8], secret.as_bytes()].concat();
                stream.write_all(&login).await.unwrap();
                stream.shutdown().await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
                continue;
            }
            _ => {
                let mut run = proxy.folder.program();
                run.args([
                    "run",
                    "--config",
                    "proxy.toml",
                    "true",
                    "--api-key",
                    &secret,
                    &format!("--password={secret}"),
                ]);
                let done = tokio::task::spawn_blocking(move || run.output().unwrap()).await.unwrap();
                assert!(!String::from_utf8_lossy(&done.stderr).contains(&secret));
                continue;
            }
        };
        proxy.raw(request.as_bytes()).await;
    }
}

/// The last word of each command. Output that shows the command has it.
const END_OF_COMMAND: &str = "end-of-command";

/// Commands of `run` with secrets in their words and in the meta of their sessions. Returns how many there were.
async fn commands(proxy: &Loud, plants: &mut Plants, agent_key: &str) -> usize {
    let all = forms::one_each(0).len();
    let closed = Nobody::new();
    for from in (0..all).step_by(16) {
        let mut seed = 10_000;
        let mut run = proxy.folder.program();
        run.args(["run", "--config", "proxy.toml", "--include-localhost"]).env("OTAS_AGENT_KEY", agent_key);
        // A session is opened with its first call.
        let call = format!("curl -sS -o answer http://{closed}/");
        let mut words: Vec<String> = ["sh", "-c", &call, "curl"].map(str::to_owned).into();
        let mut plant = |place: &str, form: usize, words: &mut dyn FnMut(&Planted) -> Vec<String>| {
            seed += 1;
            let planted = forms::one_each(seed).swap_remove(form);
            words(&plants.sow(&format!("run: {place}"), planted))
        };
        for form in from..(from + 16).min(all) {
            // In pieces only the joined stream shows a secret.
            let stream = STREAMS.contains(&forms::one_each(0)[form].form);
            if !stream {
                words.extend(plant("a word", form, &mut |p| vec!["-d".to_owned(), p.text.clone()]));
                words.extend(plant("a URL", form, &mut |p| vec![format!("http://h/?note={}", encoded(&p.text))]));
                words.extend(plant("a path", form, &mut |p| vec![format!("http://h/{}/a", percent(&p.text))]));
                run.args(plant("meta", form, &mut |p| vec!["--meta".to_owned(), format!("note{form}={}", p.text)]));
            }
            run.args(plant("meta by its name", form, &mut |p| {
                vec!["--meta".to_owned(), format!("db{form}_password={}", p.traced)]
            }));
            for option in ["-u", "-su", "--proxy-user"] {
                words.extend(plant(option, form, &mut |p| vec![option.to_owned(), format!("ada:{}", p.traced)]));
            }
            for option in ["-u", "-sSu", "--user=", "--proxy-user="] {
                words.extend(plant(option, form, &mut |p| vec![format!("{option}ada:{}", p.traced)]));
            }
            for option in ["--password", "--api-key", "-H"] {
                words.extend(plant(option, form, &mut |p| vec![option.to_owned(), p.traced.clone()]));
            }
            words.extend(plant("--password=", form, &mut |p| vec![format!("--password={}", p.traced)]));
            words.extend(plant("user information", form, &mut |p| {
                vec![format!("http://ada:{}@h/x?key=1", percent(&p.traced))]
            }));
        }
        words.push(json!({ "k": agent_key }).to_string());
        words.push(END_OF_COMMAND.to_owned());
        run.arg("--").args(&words);
        let done = tokio::task::spawn_blocking(move || run.output().unwrap()).await.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    plants.all.push(("agent key".to_owned(), "run: a word".to_owned(), agent_key.to_owned()));
    all.div_ceil(16)
}

/// All files below a folder, by name.
fn files(folder: &std::path::Path, all: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, all),
            false => {
                let name = path.display().to_string();
                if name.ends_with("events.db") {
                    all.insert(format!("{name}, the events"), crate::support::program::stored_texts(&path));
                }
                all.insert(name, content_of(&path));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_of_any_form_in_any_place_can_be_read_nowhere() {
    let folder = Folder::new();
    let otas = TestOtas::start().await;
    #[cfg(feature = "otlp")]
    let collector = crate::support::collector::TestCollector::start().await;
    #[cfg(feature = "otlp")]
    let spans = format!("[[sinks]]\ntype = 'otlp'\nendpoint = '{}'\n", collector.url());
    #[cfg(not(feature = "otlp"))]
    let spans = String::new();
    folder.configure(&format!(
        "[otas]\nbrain_url = '{0}'\nuasam_url = '{0}'\n[[sinks]]\ntype = 'jsonl'\npath = 'events.jsonl'\n{spans}",
        otas.url()
    ));
    let key = otas.key();
    let mut proxy = Loud::start(folder, key.expose());
    let mut plants = Plants::default();
    let (count, turns) = (forms::one_each(0).len(), BODIES.len().div_ceil(2));
    let mut calls = 0;
    for form in 0..count {
        for turn in 0..turns {
            // Each form in each body, of a request or of a response.
            let bodies = [2 * turn, (2 * turn + 1).min(BODIES.len() - 1)];
            let bodies = if form % 2 == 0 { bodies } else { [bodies[1], bodies[0]] };
            let fresh = |at: usize| forms::one_each((turn * 40 + at + 1) as u64).swap_remove(form);
            call(&proxy, &mut plants, fresh, turn % (BODIES.len() / 2), bodies).await;
            calls += 1;
        }
        calls += refusals(&proxy, &mut plants, |at| forms::one_each((5_000 + at) as u64).swap_remove(form)).await;
    }
    for from in (0..count).step_by(8) {
        socket(&proxy, &mut plants, |at| {
            forms::one_each((6_000 + at) as u64).into_iter().skip(from).take(8).collect()
        })
        .await;
        calls += 1;
    }
    narrow_places(&proxy, &mut plants).await;
    let runs = commands(&proxy, &mut plants, key.expose()).await;
    calls += runs;
    let saved = otas.events_at_least(calls as u64, WITHIN).await;
    let mut told = BTreeMap::new();
    told.insert("OTAS".to_owned(), saved.iter().map(Value::to_string).collect::<String>().into_bytes());
    let sessions = format!("{:?}", otas.sessions().await);
    assert!(sessions.matches(END_OF_COMMAND).count() >= runs, "{sessions}");
    told.insert("sessions".to_owned(), sessions.into_bytes());
    #[cfg(feature = "otlp")]
    told.insert("spans".to_owned(), format!("{:?}", collector.has(calls).await).into_bytes());
    told.insert("pages and commands".to_owned(), all_that_it_tells(&proxy, 16).await.into_bytes());
    files(proxy.folder.path(), &mut told);
    proxy.end();
    files(proxy.folder.path(), &mut told);
    assert_eq!(otas.refused(), []);
    for file in ["events.jsonl", "all.har", "events.db-search"] {
        assert!(told.keys().any(|name| name.ends_with(file)), "{file}");
    }
    let left = plants.readable_in(&told);
    assert!(left.is_empty(), "{} of {} can be read:\n{}", left.len(), plants.all.len(), left.join("\n"));
}
