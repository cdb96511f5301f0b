//! The processes: NATS's servers, a collector in the place of OTAS, proxies and a relay. Ours have core 0, all others share core 1.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub const PROJECT: &str = "2f1c7c1e-93a4-4be6-a2a4-0c6f1d8f6e11";

/// A process that is killed when dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// The processor time that it has used.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}

/// A command on a core of its own.
fn on(core: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core, program]);
    command
}

/// Starts a process and waits for a line.
pub fn started(mut command: Command, line: &str) -> (Running, String) {
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

/// A fleet with its streams.
pub struct Stage {
    folder: TempDir,
    servers: Vec<Running>,
    queue: String,
}

impl Stage {
    /// With one server, or a cluster of three whose streams have three replicas.
    pub fn start(servers: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let held: Vec<[TcpListener; 2]> = (0..servers).map(|_| [free(), free()]).collect();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let ports: Vec<[u16; 2]> = held.iter().map(|[clients, routes]| [port(clients), port(routes)]).collect();
        drop(held);
        let routes: Vec<String> = ports.iter().map(|[_, port]| format!("nats-route://127.0.0.1:{port}")).collect();
        let running = ports.iter().enumerate().map(|(number, [clients, own])| {
            let cluster = match servers {
                1 => String::new(),
                _ => format!(
                    "cluster {{ name: fleet, listen: \"127.0.0.1:{own}\", routes: [{}] }}\n",
                    routes.join(", ")
                ),
            };
            let streams = folder.path().join(format!("streams-{number}"));
            let file = folder.path().join(format!("server-{number}.conf"));
            let settings = format!(
                "server_name: s{number}\nlisten: \"127.0.0.1:{clients}\"\nmax_payload: 4MB\n\
                 jetstream {{ store_dir: \"{}\", max_file_store: 1TB }}\n{cluster}",
                streams.display()
            );
            std::fs::write(&file, settings).unwrap();
            let mut server = on("1", "nats-server");
            server.arg("-c").arg(&file);
            // In a cluster, a server is ready once it knows the others.
            let line = if servers == 1 { "Server is ready" } else { "Listening for client connections" };
            started(server, line).0
        });
        let servers: Vec<Running> = running.collect();
        let urls: Vec<String> = ports.iter().map(|[port, _]| format!("nats://127.0.0.1:{port}")).collect();
        let queue =
            format!("[queue]\nnats_url = '{}'\nagent_id = 'planner'\nforget = 'acknowledged'\n", urls.join(","));
        let stage = Self { folder, servers, queue };
        stage.settings("init", "");
        let give_up = Instant::now() + Duration::from_secs(60);
        let replicas = stage.servers.len().to_string();
        while !stage.succeeds("init", &["relay", "init", "--replicas", &replicas]) {
            assert!(Instant::now() < give_up, "the streams cannot be made");
            std::thread::sleep(Duration::from_millis(200));
        }
        stage
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME.toml`: its store is `NAME.db`, its events go into the queue or come from it.
    pub fn settings(&self, name: &str, more: &str) {
        let queue = if more.contains("agent_key_file") { "" } else { &self.queue };
        let otas =
            if more.contains("[otas]") { String::new() } else { format!("[otas]\nproject_id = '{PROJECT}'\n") };
        let text = format!(
            "[listen]\nproxy = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n[tls]\nca_dir = 'ca'\n\
             [delivery]\nmax_in_flight = 64\norder = 'window'\n[store]\npath = '{name}.db'\nsearch = false\n{queue}{otas}{more}"
        );
        std::fs::write(self.path(&format!("{name}.toml")), text).unwrap();
    }

    /// The program with these settings.
    pub fn program(&self, name: &str) -> Command {
        let mut command = on("0", env!("CARGO_BIN_EXE_otas-proxy"));
        let folder = self.folder.path();
        command.current_dir(folder).env("HOME", folder).env("OTAS_PROXY_CONFIG", format!("{name}.toml"));
        command
    }

    fn succeeds(&self, name: &str, arguments: &[&str]) -> bool {
        let mut command = self.program(name);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().success()
    }

    /// Publishes what the store of these settings has. How long it took, and the processor time of the servers.
    pub fn flush(&self, name: &str) -> (Duration, Duration) {
        let (began, before) = (Instant::now(), self.cpu());
        assert!(self.succeeds(name, &["flush"]), "{name} cannot publish");
        (began.elapsed(), self.cpu() - before)
    }

    /// The processor time of all servers.
    pub fn cpu(&self) -> Duration {
        self.servers.iter().map(Running::cpu).sum()
    }

    /// The bytes of the stream of events.
    pub fn stream_bytes(&self) -> u64 {
        let asked = self.program("init").args(["relay", "status"]).output().unwrap();
        let said = String::from_utf8(asked.stdout).unwrap();
        let line = said.lines().find(|line| line.starts_with("OTAS: ")).unwrap();
        line.split('(').nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    }
}

/// A collector in the place of OTAS: its address, and an agent's key.
pub fn collector() -> (Running, String, String) {
    let mut command = on("1", env!("CARGO_BIN_EXE_otas-proxy"));
    command.args(["collect", "--listen", "127.0.0.1:0", "--project-id", PROJECT]).stdout(Stdio::piped());
    let mut collector = command.spawn().unwrap();
    let mut said = BufReader::new(collector.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut value = |name: &str| said.by_ref().find_map(|line| Some(line.strip_prefix(name)?.to_owned())).unwrap();
    let (otas, key) = (value("OTAS_BRAIN_URL="), value("OTAS_AGENT_KEY="));
    (Running(collector), otas, key)
}

/// The events that a relay has delivered, as its metrics say.
pub fn delivered(admin: &str) -> u64 {
    let mut stream = std::net::TcpStream::connect(admin).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().find_map(|line| line.strip_prefix("otas_relay_events_delivered_total "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
