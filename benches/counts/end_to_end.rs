//! A whole call through the proxy: the agent's connection is kept, the origin answers at once, and OTAS is away, so each event is
//! stored.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use crate::callgrind;

pub const NAMES: [&str; 1] = ["call: 200 B in clear"];

const ANSWERED_BYTES: usize = 200;
/// So many calls more are made in the second run than in the first, so that start and stop of the proxy are not counted.
const CALLS: usize = 500;
const FIRST: usize = 100;
/// What the proxy does by the clock depends on how busy the machine is. The least of so many counts has the least of it.
const REPETITIONS: usize = 3;

/// The instructions of one call.
pub fn count() -> u64 {
    let once = |_| of_calls(FIRST + CALLS).saturating_sub(of_calls(FIRST)) / CALLS as u64;
    (0..REPETITIONS).map(once).min().unwrap()
}

fn of_calls(calls: usize) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let settings = "[listen]\nproxy = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n[store]\npath = 'events.db'\n[tls]\nca_dir = 'ca'\n\
        [otas]\nbrain_url = 'http://127.0.0.1:9'\nuasam_url = 'http://127.0.0.1:9'\nagent_key = 'agent_counts_measured'\n";
    let config = folder.path().join("proxy.toml");
    std::fs::write(&config, settings).unwrap();
    let origin = origin();
    let program = env!("CARGO_BIN_EXE_otas-proxy");
    let mut proxy = callgrind::start(program, &["serve", "--config", config.to_str().unwrap()]);
    let mut line = String::new();
    BufReader::new(proxy.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = format!("127.0.0.1:{}", line.rsplit_once(':').unwrap().1.trim());
    call(&address, &origin, calls);
    let stopped = Command::new("kill").args(["-TERM", &proxy.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    callgrind::instructions(proxy)
}

/// Makes the calls one after another.
fn call(proxy: &str, origin: &str, calls: usize) {
    let mut stream = BufReader::new(TcpStream::connect(proxy).unwrap());
    for n in 0..calls {
        let request = format!(
            "GET http://{origin}/v1/things/{n} HTTP/1.1\r\nHost: {origin}\r\nUser-Agent: counts/1\r\nAccept: */*\r\n\r\n"
        );
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        read_message(&mut stream).expect("an answer");
    }
}

/// An origin that answers each request at once. It ends with the process.
fn origin() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let body = "an answer ".repeat(ANSWERED_BYTES / 10);
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: counts\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            while read_message(&mut stream).is_some() {
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    address
}

/// Reads a message with a length. `None`: the connection has ended.
fn read_message(stream: &mut BufReader<TcpStream>) -> Option<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).ok()
}
