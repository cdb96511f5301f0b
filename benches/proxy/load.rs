//! The load: one thread and several connections, each of which sends one request after the other. Prints its
//! measurements.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::shared::way::{Stream, Way};

struct Plan {
    way: Way,
    new_connection_each: bool,
    request: Vec<u8>,
}

/// `PROXY_PORT ORIGIN_PORT CA_FILE|- PATH CONNECTIONS SECONDS keep|new POST_BYTES`; prints
/// `calls errors seconds bytes p50_us p99_us`.
pub fn run(args: &[String]) {
    let [proxy_port, origin_port, ca, path, connections, seconds, mode, post] = args else { panic!("usage") };
    let way = Way::new(proxy_port, origin_port, ca);
    let (authority, target) = (&way.authority, way.target(path));
    let post: usize = post.parse().unwrap();
    let mut request = if post > 0 {
        format!("POST {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: bench\r\nAccept: */*\r\nContent-Type: application/octet-stream\r\nContent-Length: {post}\r\n\r\n")
    } else {
        format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
    }
    .into_bytes();
    request.extend(std::iter::repeat_n(b'z', post));
    let plan = Rc::new(Plan { way, new_connection_each: mode == "new", request });
    let (connections, seconds): (usize, f64) = (connections.parse().unwrap(), seconds.parse().unwrap());
    let opened = Rc::new(tokio::sync::Barrier::new(connections));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seen = Rc::new(RefCell::new(Seen::default()));
    let began = Instant::now();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let until = began + Duration::from_secs_f64(seconds);
        let workers: Vec<_> = (0..connections)
            .map(|_| match mode.as_str() {
                "events" => tokio::task::spawn_local(listener(plan.clone(), seen.clone(), opened.clone(), seconds)),
                _ => tokio::task::spawn_local(worker(plan.clone(), seen.clone(), until)),
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
    });
    let mut seen = seen.borrow_mut();
    seen.latencies_us.sort_unstable();
    let at = |share: f64| {
        let last = seen.latencies_us.len().saturating_sub(1);
        seen.latencies_us.get((last as f64 * share) as usize).copied().unwrap_or_default()
    };
    let seconds = began.elapsed().as_secs_f64();
    println!("{} {} {seconds} {} {} {}", seen.latencies_us.len(), seen.errors, seen.bytes, at(0.5), at(0.99));
}

#[derive(Default)]
struct Seen {
    latencies_us: Vec<u64>,
    errors: u64,
    bytes: u64,
}

async fn worker(plan: Rc<Plan>, seen: Rc<RefCell<Seen>>, until: Instant) {
    let mut held = None;
    while Instant::now() < until {
        let began = Instant::now();
        match call(&plan, &mut held).await {
            Ok(bytes) => {
                let mut seen = seen.borrow_mut();
                seen.latencies_us.push(began.elapsed().as_micros() as u64);
                seen.bytes += bytes;
            }
            Err(_) => {
                held = None;
                seen.borrow_mut().errors += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }
}

/// Reads a stream of events for this long, once all streams are open, and notes the age of each event.
async fn listener(plan: Rc<Plan>, seen: Rc<RefCell<Seen>>, opened: Rc<tokio::sync::Barrier>, seconds: f64) {
    let mut stream = plan.way.connect().await.unwrap();
    stream.write_all(&plan.request).await.unwrap();
    let mut buffer = Vec::with_capacity(8 << 10);
    while !buffer.windows(4).any(|w| w == b"\r\n\r\n") {
        assert!(stream.read_buf(&mut buffer).await.unwrap() > 0);
    }
    opened.wait().await;
    buffer.clear();
    // Earlier events waited unread while the other streams were opened.
    let from = unix_ns();
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < until {
        if stream.read_buf(&mut buffer).await.unwrap() == 0 {
            seen.borrow_mut().errors += 1;
            return;
        }
        let now = unix_ns();
        let text = String::from_utf8_lossy(&buffer).into_owned();
        let mut seen = seen.borrow_mut();
        seen.bytes += buffer.len() as u64;
        let stamps = text.lines().filter_map(|line| line.strip_prefix("data: ")?.trim().parse::<u128>().ok());
        for stamp in stamps.filter(|stamp| *stamp >= from) {
            seen.latencies_us.push((now.saturating_sub(stamp) / 1_000) as u64);
        }
        buffer.clear();
    }
}

/// Nanoseconds since 1970.
fn unix_ns() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos()
}

async fn call(plan: &Plan, held: &mut Option<Box<dyn Stream>>) -> std::io::Result<u64> {
    let mut stream = match held.take() {
        Some(stream) => stream,
        None => plan.way.connect().await?,
    };
    stream.write_all(&plan.request).await?;
    stream.flush().await?;
    let (bytes, kept) = read_response(&mut stream).await?;
    if kept && !plan.new_connection_each {
        *held = Some(stream);
    }
    Ok(bytes)
}

/// Reads a response with a Content-Length. Returns the length, and whether the connection is kept.
async fn read_response(stream: &mut Box<dyn Stream>) -> std::io::Result<(u64, bool)> {
    let mut buffer = Vec::with_capacity(256 << 10);
    let head = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    if !text.starts_with("http/1.1 200") && !text.starts_with("http/1.0 200") {
        return Err(std::io::Error::other(text));
    }
    let kept = text.starts_with("http/1.1") && !text.contains("\r\nconnection: close");
    let length: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|v| v.trim().parse().ok())
        .ok_or_else(|| std::io::Error::other("no content-length"))?;
    let mut left = length - (buffer.len() - head) as u64;
    while left > 0 {
        buffer.clear();
        match stream.read_buf(&mut buffer).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => left -= n as u64,
        }
    }
    Ok((length, kept))
}
