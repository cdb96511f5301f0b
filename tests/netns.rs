//! `run --netns`: programs that know nothing of proxies, and programs that try to get round it. Each test has a network of its own.

use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use crate::clients::installed::{is_there, node, node_itself};
use crate::support::island::{self, NAME, V4, V6, V6_NAME, at};
use crate::support::origin::{TestCa, TestOrigin};
use crate::support::program::{Folder, rows};

/// What is beyond the namespace.
struct Outside {
    folder: Folder,
    http: TestOrigin,
    /// The same names and certificates on both versions of IP.
    _https: [TestOrigin; 2],
}

impl Outside {
    async fn new(more: &str) -> Self {
        let folder = Folder::new();
        let ca = TestCa::new(folder.path());
        folder.configure(&format!("[otas]\ndeliver = false\n{more}"));
        let tls = || Some(ca.server_for(&[NAME, V6_NAME], &[b"h2", b"http/1.1"]));
        let http = TestOrigin::at(at(V4, 80), None).await;
        let https = [TestOrigin::at(at(V4, 443), tls()).await, TestOrigin::at(at(V6, 443), tls()).await];
        Self { folder, http, _https: https }
    }

    /// Runs a command in a namespace of its own.
    async fn run(&self, command: &[&str]) -> Output {
        let mut program = self.folder.program();
        program.args(["run", "--netns", "--summary", "json", "--"]).args(command);
        output(program).await
    }

    /// Runs a script of Python, as a program that knows nothing of proxies.
    async fn python(&self, script: &str) -> (String, Value) {
        let file = self.folder.path().join("agent.py");
        std::fs::write(&file, script).unwrap();
        let done = self.run(&["env", "-u", "HTTP_PROXY", "python3", file.to_str().unwrap()]).await;
        let (out, errors) = texts(&done);
        assert!(done.status.success(), "{out}\n{errors}");
        let summary = errors.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{errors}"));
        (out, serde_json::from_str(summary).unwrap())
    }

    fn events(&self) -> Vec<Value> {
        events(self.folder.path())
    }
}

async fn output(mut program: Command) -> Output {
    tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap()
}

fn texts(done: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&done.stdout), text(&done.stderr))
}

fn events(folder: &Path) -> Vec<Value> {
    let mut events: Vec<Value> =
        rows(&folder.join("events.db")).iter().map(|row| serde_json::from_slice(&row.json).unwrap()).collect();
    // In the order in which the calls began: UUIDs of version 7.
    events.sort_by_key(|event| event["metadata"]["event"]["id"].as_str().map(str::to_owned));
    events
}

/// An origin that speaks first, and then sends back what it gets in capitals.
pub(crate) async fn speaks_first(address: &str, port: u16) {
    let listener = TcpListener::bind(at(address, port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(b"220 ready\r\n").await.unwrap();
                let mut line = [0; 6];
                if stream.read_exact(&mut line).await.is_ok() {
                    stream.write_all(&line.to_ascii_uppercase()).await.unwrap();
                }
            });
        }
    });
}

/// Fails the test if any datagram arrives.
async fn hears_nothing(port: u16) -> tokio::task::JoinHandle<Vec<u8>> {
    let socket = UdpSocket::bind(at(V4, port)).await.unwrap();
    tokio::spawn(async move {
        let mut heard = vec![0; 100];
        let bytes = socket.recv(&mut heard).await.unwrap();
        heard.truncate(bytes);
        heard
    })
}

pub(crate) const HTTP_CLIENT: &str = r#"
import http.client, os, socket, ssl
for name in list(os.environ):
    if name.lower().endswith("_proxy"):
        del os.environ[name]
plain = http.client.HTTPConnection("origin.test", timeout=20)
plain.request("GET", "/status/201", headers={"x-of": "http.client"})
print(plain.getresponse().read().decode())
for name in ("origin.test", "six.test"):
    secure = http.client.HTTPSConnection(name, timeout=20)
    secure.request("POST", "/echo", body="ask me")
    print(name, secure.getresponse().read().decode(), secure.sock.getpeername()[1])
raw = socket.create_connection(("203.0.113.7", 4000), timeout=20)
print(raw.recv(100).decode().strip())
raw.sendall(b"hello\n")
print(raw.recv(100).decode().strip(), raw.getpeername())
raw = socket.create_connection(("2001:db8::7", 4000), timeout=20)
print(raw.recv(100).decode().strip())
print(os.getpid())
"#;

#[test]
fn a_python_program_that_knows_nothing_of_proxies_is_intercepted_and_what_is_not_http_is_relayed() {
    island::run(
        "netns::a_python_program_that_knows_nothing_of_proxies_is_intercepted_and_what_is_not_http_is_relayed",
        async {
            let outside = Outside::new("").await;
            speaks_first(V4, 4000).await;
            speaks_first(V6, 4000).await;
            let (said, summary) = outside.python(HTTP_CLIENT).await;
            let pid = http_client_said(&said);
            assert_eq!((&summary["calls"], &summary["udp_refused"]["other"]), (&5.into(), &0.into()), "{summary}");
            let events = outside.events();
            assert_eq!(events.len(), 5, "{events:#?}");
            let [first, four, six, raw, raw_six] = &events[..] else { panic!("{events:#?}") };
            for (event, host, path, kind) in [
                (first, NAME, "/status/201", "http"),
                (four, NAME, "/echo", "http"),
                (six, V6_NAME, "/echo", "http"),
                (raw, V4, "203.0.113.7:4000", "tunnel"),
                (raw_six, V6, "[2001:db8::7]:4000", "tunnel"),
            ] {
                assert_eq!(server(event), host, "{event:#}");
                assert_eq!((&event["path"], &event["metadata"]["kind"]), (&path.into(), &kind.into()), "{event:#}");
            }
            are_of_process(&events, pid);
            assert_eq!(four["request_body"], "ask me");
            assert!(first["request_headers"].as_str().unwrap().contains("x-of"), "{first:#}");
            assert_eq!(raw["metadata"]["blind"], "unknown_protocol");
            // The address that the agent called is the one that was dialled.
            let peer = four["metadata"]["upstream"]["peer"].as_str().unwrap();
            assert!(["203.0.113.7:443", "[2001:db8::7]:443"].contains(&peer), "{four:#}");
            assert_eq!(six["metadata"]["upstream"]["peer"], "[2001:db8::7]:443");
        },
    );
}

/// Checks what [`HTTP_CLIENT`] said. Returns its process id.
pub(crate) fn http_client_said(said: &str) -> &str {
    let (said, pid) = said.trim_end().rsplit_once('\n').unwrap_or_else(|| panic!("{said}"));
    assert_eq!(
        said,
        "status 201\norigin.test ask me 443\nsix.test ask me 443\n220 ready\nHELLO ('203.0.113.7', 4000)\n220 ready"
    );
    pid
}

/// A short call may end before its process is found. What was found must be right.
pub(crate) fn are_of_process(events: &[Value], pid: &str) {
    let pids = || events.iter().map(|event| event["metadata"]["client"]["pid"].to_string());
    assert!(pids().all(|found| found == pid || found == "null"), "{pid}: {events:#?}");
    assert!(pids().any(|found| found == pid), "{pid}: {events:#?}");
}

pub(crate) fn server(event: &Value) -> &str {
    event["custom_properties"]["server.address"].as_str().unwrap()
}

#[test]
fn curl_without_proxy_and_node_20_are_intercepted_over_http2_and_http1() {
    island::run("netns::curl_without_proxy_and_node_20_are_intercepted_over_http2_and_http1", async {
        let outside = Outside::new("").await;
        let curl = outside.run(&[
            "curl",
            "-sS",
            "--noproxy",
            "*",
            "-w",
            " %{http_version}",
            "https://origin.test/status/202",
        ]);
        let (said, errors) = texts(&curl.await);
        assert_eq!(said, "status 202 2", "{errors}");
        assert_eq!((server(&outside.events()[0]), outside.events().len()), (NAME, 1));
        // The origin has no such port at its address of IPv6. The agent cannot try the other address, because the proxy has accepted.
        let six = outside.run(&["curl", "-6", "-sS", "--noproxy", "*", "http://origin.test/status/205"]).await;
        let (said, errors) = texts(&six);
        assert_eq!(said, "status 205", "{errors}");
        if !is_there(&node_itself(20, "fetch")) {
            return;
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/scripts/fetch.mjs");
        let node = node(20);
        let fetch = outside.run(&[node.to_str().unwrap(), script, "https://origin.test/echo"]).await;
        let (said, errors) = texts(&fetch);
        assert_eq!(said, "200 {\"ask\":\"me\"}\n", "{errors}");
        let events = outside.events();
        assert_eq!(
            (server(&events[2]), &events[2]["request_body"]),
            (NAME, &"{\"ask\":\"me\"}".into()),
            "{events:#?}"
        );
    });
}

const ESCAPES: &str = r#"
import ctypes, os, socket, subprocess
proxy = os.getppid()

def attempt(what, do):
    try:
        print(what, "->", do())
    except OSError as error:
        print(what, "->", type(error).__name__)

def udp(port, family=socket.AF_INET, to="203.0.113.7"):
    client = socket.socket(family, socket.SOCK_DGRAM)
    client.settimeout(20)
    client.connect((to, port))
    client.send(b"ping")
    return client.recv(100)

def program(*words):
    return "fails" if subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode else "works"

def connect(host, port):
    socket.create_connection((host, port), timeout=20)
    return "connected"

def abstract():
    client = socket.socket(socket.AF_UNIX)
    client.connect("\0otas-test-outside")
    return "connected"

def udp_inside():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.sendto(b"pong", server.getsockname())
    return server.recv(100)

def called_directly():
    client = socket.create_connection(("127.0.0.1", 61089), timeout=20)
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return client.recv(100).split(b"\r\n")[0].decode()

attempt("udp 443", lambda: udp(443))
attempt("udp 443 of ipv6", lambda: udp(443, socket.AF_INET6, "2001:db8::7"))
attempt("udp 9999", lambda: udp(9999))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP))
attempt("raw icmp", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x300))
attempt("nft", lambda: program("nft", "delete", "table", "inet", "otas_proxy"))
attempt("nft flush", lambda: program("nft", "flush", "ruleset"))
attempt("ip link", lambda: program("ip", "link", "add", "x", "type", "dummy"))
attempt("ip route", lambda: program("ip", "route", "flush", "table", "local"))
attempt("nsenter init", lambda: program("nsenter", "--net=/proc/1/ns/net", "true"))
attempt("nsenter proxy", lambda: program("nsenter", f"--net=/proc/{proxy}/ns/net", "true"))
attempt("nsenter user", lambda: program("nsenter", f"--user=/proc/{proxy}/ns/user", "--preserve-credentials", "true"))
attempt("memory", lambda: open(f"/proc/{proxy}/mem", "rb").read(1))
attempt("descriptors", lambda: os.readlink(f"/proc/{proxy}/fd/0"))
attempt("a descriptor's copy", lambda: "refused" if ctypes.CDLL(None).syscall(438, os.pidfd_open(proxy), 0, 0) == -1 else "copied")
attempt("ptrace", lambda: "refused" if ctypes.CDLL(None).ptrace(16, proxy, 0, 0) == -1 else "attached")
attempt("abstract", abstract)
inner = "import socket; socket.create_connection(('203.0.113.7', 4000), timeout=5)"
attempt("another namespace", lambda: program("unshare", "--user", "--net", "--map-root-user", "python3", "-c", inner))
attempt("loopback outside", lambda: connect("127.0.0.1", 4001))
server = socket.create_server(("127.0.0.1", 4002))
attempt("loopback inside", lambda: connect("127.0.0.1", 4002))
server = socket.create_server(("::1", 4003), family=socket.AF_INET6)
attempt("loopback inside of ipv6", lambda: connect("::1", 4003))
attempt("inside by udp", lambda: udp_inside())
attempt("the redirected port itself", lambda: called_directly())
"#;

#[test]
fn nothing_that_the_command_tries_gets_round_the_proxy() {
    island::run("netns::nothing_that_the_command_tries_gets_round_the_proxy", async {
        let outside = Outside::new("").await;
        let quiet = [hears_nothing(443).await, hears_nothing(9999).await];
        let on_loopback = TcpListener::bind("127.0.0.1:4001").await.unwrap();
        speaks_first(V4, 4000).await;
        let address = <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(b"otas-test-outside");
        let _listening = UnixListener::bind_addr(&address.unwrap()).unwrap();
        let (said, summary) = outside.python(ESCAPES).await;
        let wanted = "udp 443 -> ConnectionRefusedError
udp 443 of ipv6 -> ConnectionRefusedError
udp 9999 -> ConnectionRefusedError
raw -> PermissionError
raw icmp -> PermissionError
packet -> PermissionError
nft -> fails
nft flush -> fails
ip link -> fails
ip route -> fails
nsenter init -> fails
nsenter proxy -> fails
nsenter user -> fails
memory -> PermissionError
descriptors -> PermissionError
a descriptor's copy -> refused
ptrace -> refused
abstract -> ConnectionRefusedError
another namespace -> fails
loopback outside -> ConnectionRefusedError
loopback inside -> connected
loopback inside of ipv6 -> connected
inside by udp -> b'pong'
the redirected port itself -> HTTP/1.1 421 Misdirected Request
";
        assert_eq!(said, wanted);
        assert_eq!(summary["udp_refused"], serde_json::json!({"port_443": 2, "other": 1}), "{summary}");
        assert_eq!(summary["calls"], 0, "{summary}");
        assert!(quiet.iter().all(|heard| !heard.is_finished()), "a datagram got out");
        drop(on_loopback);
    });
}

const QUESTIONS: &str = r#"
import socket, struct

def question(name, kind):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)

def shown(answer):
    _, flags, _, answers, _, _ = struct.unpack("!6H", answer[:12])
    return "code %d, %d answers, %s" % (flags & 15, answers, answer[-4:].hex() if answers else "")

def udp(server, name, kind):
    client = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(20)
    client.connect((server, 53))
    client.send(question(name, kind))
    return shown(client.recv(1000))

def tcp(server, name, kind):
    client = socket.create_connection((server, 53), timeout=20)
    asked = question(name, kind)
    client.sendall(struct.pack("!H", len(asked)) + asked)
    length, = struct.unpack("!H", client.recv(2, socket.MSG_WAITALL))
    return shown(client.recv(length, socket.MSG_WAITALL))

print(udp("198.51.100.9", "origin.test", 1))
print(udp("127.0.0.53", "Origin.TEST", 1))
print(udp("2001:db8::99", "six.test", 28))
print(udp("198.51.100.9", "six.test", 1))
print(udp("198.51.100.9", "origin.test", 15))
print(udp("198.51.100.9", "origin.test", 65))
print(udp("198.51.100.9", "no-such-name.test", 1))
print(tcp("198.51.100.9", "origin.test", 28))
"#;

#[test]
fn names_are_answered_inside_by_whichever_server_is_asked() {
    island::run("netns::names_are_answered_inside_by_whichever_server_is_asked", async {
        let outside = Outside::new("").await;
        let (said, summary) = outside.python(QUESTIONS).await;
        let wanted = "code 0, 1 answers, cb007107
code 0, 1 answers, cb007107
code 0, 1 answers, 00000007
code 0, 0 answers, 
code 0, 0 answers, 
code 0, 0 answers, 
code 3, 0 answers, 
code 0, 1 answers, 00000007
";
        assert_eq!(said, wanted);
        assert_eq!(summary["udp_refused"], serde_json::json!({"port_443": 0, "other": 0}), "{summary}");
    });
}

#[test]
fn a_name_that_may_be_called_leads_to_its_own_addresses_whatever_address_the_agent_calls() {
    island::run(
        "netns::a_name_that_may_be_called_leads_to_its_own_addresses_whatever_address_the_agent_calls",
        async {
            let outside = Outside::new("[egress]\nallow = ['origin.test']\n").await;
            let other = TestOrigin::at(at("203.0.113.53", 80), None).await;
            let curl = ["curl", "-sS", "-m", "20", "--noproxy", "*"];
            let lying = [&curl[..], &["--resolve", "origin.test:80:203.0.113.53", "http://origin.test/status/203"]];
            let (said, errors) = texts(&outside.run(&lying.concat()).await);
            assert_eq!(said, "status 203", "{errors}");
            assert_eq!((other.received().len(), outside.http.received().len()), (0, 1), "the name's own address");
            let (said, _) = texts(&outside.run(&[&curl[..], &["http://203.0.113.53/"]].concat()).await);
            assert!(said.contains("\"egress_denied\""), "{said}");
            let (_, errors) = texts(&outside.run(&[&curl[..], &["http://six.test/"]].concat()).await);
            assert!(errors.contains("Could not resolve host: six.test"), "{errors}");
            assert_eq!(other.received().len(), 0);
        },
    );
}

#[test]
fn without_what_it_needs_the_command_does_not_start_and_the_message_says_what_to_do() {
    island::run("netns::without_what_it_needs_the_command_does_not_start_and_the_message_says_what_to_do", async {
        let outside = Outside::new("").await;
        let touched = outside.folder.path().join("touched");
        let fails = async |words: &str| {
            let done = outside.run(&["touch", touched.to_str().unwrap()]).await;
            let (_, errors) = texts(&done);
            assert_eq!(done.status.code(), Some(1), "{errors}");
            assert!(errors.contains("was not started") && errors.contains(words), "{errors}");
            assert!(!touched.exists());
        };
        let nft = tool("nft");
        let mounted = Command::new("mount").args(["--bind", "/dev/null", &nft]).status().unwrap();
        assert!(mounted.success());
        fails("the program `nft` is missing; install it (Debian: nftables)").await;
        assert!(Command::new("umount").arg(&nft).status().unwrap().success());
        std::fs::write("/proc/sys/user/max_user_namespaces", "0").unwrap();
        fails("as root, `sysctl user.max_user_namespaces=15000` lets them").await;
    });
}

fn tool(name: &str) -> String {
    String::from_utf8(Command::new("which").arg(name).output().unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn when_the_proxy_is_killed_the_command_has_no_network() {
    island::run("netns::when_the_proxy_is_killed_the_command_has_no_network", async {
        let outside = Outside::new("").await;
        speaks_first(V4, 4000).await;
        let said = outside.folder.path().join("said");
        let script = format!(
            "kill -9 $PPID; while kill -0 $PPID 2>/dev/null && ! grep -q 'State:.Z' /proc/$PPID/status; do :; done; \
             python3 -c 'import socket; socket.create_connection((\"203.0.113.7\", 4000), timeout=20)' 2>{0}.new; mv {0}.new {0}",
            said.display()
        );
        let done = outside.run(&["sh", "-c", &script]).await;
        assert!(!done.status.success());
        let until = std::time::Instant::now() + crate::support::proxy::PATIENCE;
        while !said.exists() {
            assert!(std::time::Instant::now() < until, "{:?}", texts(&done));
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let said = std::fs::read_to_string(said).unwrap();
        assert!(said.contains("ConnectionRefusedError"), "{said}");
    });
}
