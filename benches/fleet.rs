//! What a fleet costs: events a second from a proxy into the queue on one core, and what a relay spends on each event, beside direct
//! delivery. `just fleet`. Needs `nats-server` and `taskset`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark prints, and fails by panicking"
)]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use otas_proxy::event::BodyText;
use otas_proxy::secret::Secret;
use otas_proxy::store::{NewEvent, Store, key_id};
use uuid::Uuid;

const PROJECT: &str = "2f1c7c1e-93a4-4be6-a2a4-0c6f1d8f6e11";
/// Sessions of the events, as of as many agents at once.
const SESSIONS: u64 = 16;
/// The bodies of an event.
const BODY_BYTES: usize = 4 << 10;

/// A process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// The processor time that it has used.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}

fn program(folder: &Path, settings: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0", env!("CARGO_BIN_EXE_otas-proxy")]);
    command.current_dir(folder).env("HOME", folder).env("OTAS_PROXY_CONFIG", settings);
    command
}

/// Starts a process and waits for a line.
fn started(mut command: Command, line: &str) -> (Running, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let errors = BufReader::new(child.stderr.take().unwrap());
    let out = BufReader::new(child.stdout.take().unwrap());
    let (told, said) = std::sync::mpsc::channel();
    let also = told.clone();
    std::thread::spawn(move || errors.lines().map_while(Result::ok).for_each(|line| drop(also.send(line))));
    std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| drop(told.send(line))));
    let found = said.iter().find(|said| said.contains(line)).unwrap();
    (Running(child), found)
}

fn fill(path: &Path, key: &Secret, events: u64) {
    let store = Store::open(path).unwrap();
    let mut writer = store.writer().unwrap();
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|_| store.begin_session(&Uuid::now_v7().to_string(), &key_id(key), "{}").unwrap())
        .collect();
    let json = format!(
        r#"{{"path":"/v1/messages","method":"POST","status_code":200,"latency_ms":12.5,"request_body":"","response_body":"","metadata":{{"pad":"{}"}}}}"#,
        "x".repeat(600)
    );
    let at = |name: &str| json.find(name).unwrap() + name.len();
    let places = [at(r#""request_body":""#), at(r#""response_body":""#)];
    for seq in 0..events {
        let text = |part: &str| -> String {
            let words =
                (0..BODY_BYTES / 40).map(|word| format!("{part} {seq} word {word} {} ", Uuid::new_v4().simple()));
            words.collect::<String>().chars().take(BODY_BYTES / 2).collect()
        };
        let bodies = [
            BodyText { at: places[0], text: text("question").into() },
            BodyText { at: places[1], text: text("answer").into() },
        ];
        let event = NewEvent {
            event_id: Uuid::now_v7(),
            seq,
            started_at_ms: 1_700_000_000_000,
            method: "POST",
            host: "api.test",
            path: "/v1/messages",
            status_code: 200,
            latency_ms: 12.5,
            request_bytes: 2_048,
            response_bytes: 2_048,
            error: "",
            outline: "",
            llm: "",
            json: json.as_bytes(),
            bodies: &bodies,
        };
        writer.append(sessions[usize::try_from(seq % SESSIONS).unwrap()], &[event]).unwrap();
    }
}

fn main() {
    let events: u64 = std::env::var("OTAS_FLEET_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server_settings = format!(
        "listen: \"127.0.0.1:{port}\"\nmax_payload: 4MB\njetstream {{ store_dir: \"{}\" }}\n",
        folder.join("streams").display()
    );
    std::fs::write(folder.join("server.conf"), server_settings).unwrap();
    let mut server = Command::new("taskset");
    server.args(["-c", "1", "nats-server", "-c"]).arg(folder.join("server.conf"));
    let (server, _) = started(server, "Server is ready");
    let mut collect = Command::new("taskset");
    collect.args([
        "-c",
        "1",
        env!("CARGO_BIN_EXE_otas-proxy"),
        "collect",
        "--listen",
        "127.0.0.1:0",
        "--project-id",
        PROJECT,
    ]);
    let mut collector = collect.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(collector.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut value = |name: &str| said.by_ref().find_map(|line| Some(line.strip_prefix(name)?.to_owned())).unwrap();
    let (otas, key) = (value("OTAS_BRAIN_URL="), value("OTAS_AGENT_KEY="));
    let _collector = Running(collector);

    let common = "[listen]\nproxy = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n[tls]\nca_dir = 'ca'\n[delivery]\nmax_in_flight = 64\norder = 'window'\n";
    let otas = format!("[otas]\nbrain_url = '{otas}'\nuasam_url = '{otas}'\nproject_id = '{PROJECT}'\n");
    let queue =
        format!("[queue]\nnats_url = 'nats://127.0.0.1:{port}'\nagent_id = 'planner'\nforget = 'acknowledged'\n");
    let settings = |name: &str, store: &str, more: &str| {
        std::fs::write(folder.join(name), format!("{common}[store]\npath = '{store}'\nsearch = false\n{otas}{more}"))
            .unwrap();
    };
    std::fs::create_dir(folder.join("relay-keys")).unwrap();
    std::fs::write(folder.join("relay-keys/planner.key"), &key).unwrap();
    std::fs::write(folder.join("direct.key"), &key).unwrap();
    settings("proxy.toml", "proxy.db", &queue);
    settings("relay.toml", "relay.db", &format!("{queue}[relay]\nkeys_dir = 'relay-keys'\n"));
    std::fs::write(
        folder.join("direct.toml"),
        format!("{common}[store]\npath = 'direct.db'\nsearch = false\n{otas}agent_key_file = 'direct.key'\n"),
    )
    .unwrap();
    assert!(program(folder, "relay.toml").args(["relay", "init"]).stdout(Stdio::null()).status().unwrap().success());

    fill(&folder.join("proxy.db"), &Secret::new(&format!("queue {PROJECT} planner")), events);
    fill(&folder.join("direct.db"), &Secret::new(&key), events);
    let before = server.cpu();
    let began = Instant::now();
    assert!(program(folder, "proxy.toml").arg("flush").stdout(Stdio::null()).status().unwrap().success());
    let took = began.elapsed();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / events as f64;
    println!(
        "a proxy into the queue, on one core: {:.0} events/s ({:.0} us each), and {:.0} us of the server",
        events as f64 / took.as_secs_f64(),
        each(took),
        each(server.cpu() - before)
    );

    let mut flush = program(folder, "direct.toml");
    let mut direct = Running(flush.arg("flush").stdout(Stdio::null()).spawn().unwrap());
    let began = Instant::now();
    let mut cpu = Duration::ZERO;
    while direct.0.try_wait().unwrap().is_none() {
        cpu = direct.cpu();
        std::thread::sleep(Duration::from_millis(20));
    }
    let directly = (began.elapsed(), cpu);
    println!(
        "direct delivery: {:.0} events/s, {:.0} us of CPU each",
        events as f64 / directly.0.as_secs_f64(),
        each(directly.1)
    );

    let mut command = program(folder, "relay.toml");
    command.arg("relay");
    let (relay, admin) = started(command, "status on http://");
    let admin = admin.split("status on http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let began = Instant::now();
    let before = server.cpu();
    while delivered(&admin) < events {
        std::thread::sleep(Duration::from_millis(50));
    }
    let took = began.elapsed();
    println!(
        "a relay: {:.0} events/s, {:.0} us of CPU each ({:.0} more than direct delivery), and {:.0} us of the server",
        events as f64 / took.as_secs_f64(),
        each(relay.cpu()),
        each(relay.cpu()) - each(directly.1),
        each(server.cpu() - before)
    );
}

/// The events that a relay has delivered, as its metrics say.
fn delivered(admin: &str) -> u64 {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(admin).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().find_map(|line| line.strip_prefix("otas_relay_events_delivered_total "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
