//! Whether hostile calls delay the events of others. A caller sends large bodies that are slow to search, all at once. Another caller
//! makes a small call every few milliseconds, and its events are awaited in the store.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use crate::BYTES;
use crate::support::program::{Folder, Served};

const HOSTILE_CALLS: usize = 60;
const ROUNDS: usize = 4;
/// The time between two small calls.
const PAUSE: Duration = Duration::from_millis(5);
/// For how long small calls are made in each half of a round.
const HALF: Duration = Duration::from_secs(3);
/// How often the store is read.
const LOOK: Duration = Duration::from_millis(2);

/// Measures with this text and prints.
pub fn run(text: &str) {
    let folder = Folder::new();
    folder.configure("");
    let served = Served::start(folder, |program| program);
    let proxy: SocketAddr = served.url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    let origin = origin();
    let store = served.folder.path().join("events.db");
    let store = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let others: Vec<String> = (0..ROUNDS).map(|round| bodies(text, round)).collect();
    let (mut quiet, mut beside) = (Vec::new(), Vec::new());
    for (round, others) in others.iter().enumerate() {
        quiet.extend(delays(&store, &format!("/quiet/{round}"), proxy, origin));
        std::thread::scope(|scope| {
            for nth in 0..HOSTILE_CALLS {
                let body = &others[nth * 64..nth * 64 + BYTES];
                // Another address is another caller.
                scope.spawn(move || Caller::of([127, 0, 0, 2], proxy, origin).call("/hostile", body));
            }
            beside.extend(delays(&store, &format!("/beside/{round}"), proxy, origin));
        });
        let count = "SELECT count(*) FROM events WHERE path = '/hostile'";
        while store.query_row(count, [], |row| row.get::<_, u32>(0)).unwrap() < ((round + 1) * HOSTILE_CALLS) as u32 {
            std::thread::sleep(PAUSE);
        }
    }
    print("without hostile calls", quiet);
    print("beside hostile calls", beside);
}

/// A text of which each part is another, so that nothing is known from before. Each body begins elsewhere in it.
fn bodies(text: &str, round: usize) -> String {
    let part = text.repeat(700 / text.len() + 1);
    let mut all = String::new();
    while all.len() < BYTES + HOSTILE_CALLS * 64 {
        all += &format!("{part}{round}-{}", all.len());
    }
    all
}

/// Of small calls: from their end until their event is in the store.
fn delays(store: &Connection, path: &str, proxy: SocketAddr, origin: SocketAddr) -> Vec<Duration> {
    let (mut ended, mut delays) = (HashMap::new(), Vec::new());
    let mut look = |ended: &mut HashMap<String, Instant>| {
        let mut rows = store.prepare_cached("SELECT path FROM events ORDER BY id DESC LIMIT 200").unwrap();
        let stored = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
        delays.extend(stored.map_while(Result::ok).filter_map(|path| ended.remove(&path)).map(|at| at.elapsed()));
    };
    let mut caller = Caller::of([127, 0, 0, 1], proxy, origin);
    let (begin, mut next) = (Instant::now(), Instant::now());
    while begin.elapsed() < HALF || !ended.is_empty() {
        if begin.elapsed() < HALF && Instant::now() >= next {
            let path = format!("{path}/{}", begin.elapsed().as_micros());
            caller.call(&path, "please look at the session handling in src/auth.rs");
            ended.insert(path, Instant::now());
            next = Instant::now() + PAUSE;
        }
        look(&mut ended);
        std::thread::sleep(LOOK);
    }
    delays
}

fn print(name: &str, mut delays: Vec<Duration>) {
    delays.sort_unstable();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
    println!(
        "events of others {name:<24} p50 {p50:6.1} ms, p99 {p99:6.1} ms, max {max:6.1} ms ({} calls)",
        delays.len()
    );
}

/// A connection of a caller to the proxy.
struct Caller {
    stream: TcpStream,
    origin: SocketAddr,
}

impl Caller {
    fn of(from: [u8; 4], proxy: SocketAddr, origin: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::from(from), 0)).into()).unwrap();
        socket.connect(&proxy.into()).unwrap();
        socket.set_tcp_nodelay(true).unwrap();
        Self { stream: socket.into(), origin }
    }

    fn call(&mut self, path: &str, body: &str) {
        let (origin, length) = (self.origin, body.len());
        let head = format!(
            "POST http://{origin}{path} HTTP/1.1\r\nhost: {origin}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes()).unwrap();
        self.stream.write_all(body.as_bytes()).unwrap();
        head_of(&mut self.stream).unwrap();
    }
}

/// An origin that reads each request and answers without content.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let serve = |mut stream: TcpStream| {
        while let Some((head, more)) = head_of(&mut stream) {
            let length = head
                .to_ascii_lowercase()
                .lines()
                .find_map(|line| Some(line.strip_prefix("content-length:")?.trim().parse::<u64>().unwrap()));
            let rest = length.unwrap_or(0) - more as u64;
            std::io::copy(&mut (&mut stream).take(rest), &mut std::io::sink()).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
    };
    std::thread::spawn(move || {
        listener.incoming().for_each(|stream| drop(std::thread::spawn(move || serve(stream.unwrap()))))
    });
    address
}

/// The head of a message, and how many bytes behind it were read. `None`: the connection ended.
fn head_of(stream: &mut TcpStream) -> Option<(String, usize)> {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        read.extend_from_slice(&buffer[..length]);
        if let Some(end) = memchr::memmem::find(&read, b"\r\n\r\n") {
            return Some((String::from_utf8_lossy(&read[..end]).into_owned(), read.len() - end - 4));
        }
    }
}
