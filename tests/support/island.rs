//! A small network of the test's own: user, network and mount namespaces, in which the test runs a second time. It has addresses that
//! are not loopback, any port can be listened on, and a DNS server knows its names.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, QTYPE, RCODE, ResourceRecord, TYPE};
use tempfile::TempDir;
use tokio::net::UdpSocket;

/// Where origins listen.
pub const V4: &str = "203.0.113.7";
pub const V6: &str = "2001:db8::7";
/// Where the DNS server listens.
const DNS: &str = "203.0.113.53";
/// A name with both addresses, and one with that of IPv6 alone.
pub const NAME: &str = "origin.test";
pub const V6_NAME: &str = "six.test";

const INSIDE: &str = "OTAS_TEST_ISLAND";

const SET_UP: &str = "set -e
ip link set lo up
for address in 203.0.113.7/32 203.0.113.53/32; do ip address add $address dev lo; done
ip address add 2001:db8::7/128 dev lo nodad
mount --bind \"$OTAS_TEST_ISLAND/resolv.conf\" /etc/resolv.conf
exec \"$@\"";

/// Who is on an island.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Users {
    /// Root alone, who is the user who runs the tests.
    Root,
    /// Other users as well. Only root can make it, or a user who has such ids (subuid(5)).
    All,
}

/// Runs `test` on an island. `name` is that of the test function. If this machine cannot make one, the test says so, and fails where
/// clients are required.
pub fn run(name: &str, test: impl Future<Output = ()>) {
    land(name, Users::Root, test);
}

/// The same, on an island with several users.
pub fn run_with_users(name: &str, test: impl Future<Output = ()>) {
    land(name, Users::All, test);
}

fn land(name: &str, users: Users, test: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(async {
            tokio::spawn(answer_names(UdpSocket::bind((DNS, 53)).await.unwrap()));
            test.await;
        });
    }
    if let Some(missing) = missing(users) {
        let required = std::env::var("OTAS_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
        assert!(!required, "{name}: {missing}");
        return not_run(name, &missing);
    }
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("resolv.conf"), format!("nameserver {DNS}\n")).unwrap();
    let again = std::env::current_exe().unwrap();
    let done = enter(users, &["sh", "-c", SET_UP, "sh", again.to_str().unwrap(), "--exact", name, "--nocapture"])
        .env(INSIDE, folder.path())
        .output()
        .unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (said(&done.stdout), said(&done.stderr));
    assert!(done.status.success() && out.contains("1 passed"), "{out}\n{errors}");
}

#[allow(clippy::print_stderr, reason = "nothing is skipped silently")]
fn not_run(name: &str, missing: &str) {
    eprintln!("{name}: not run: {missing}");
}

fn enter(users: Users, command: &[&str]) -> Command {
    let mut unshare = Command::new("unshare");
    match users {
        Users::All if rustix::process::geteuid().is_root() => &mut unshare,
        Users::All => unshare.args(["--user", "--map-root-user", "--map-auto"]),
        Users::Root => unshare.args(["--user", "--map-root-user"]),
    };
    unshare.args(["--net", "--mount"]).args(command);
    unshare
}

/// What this machine lacks.
fn missing(users: Users) -> Option<String> {
    for program in ["unshare", "ip", "nft", "python3"] {
        if tool(program).is_none() {
            return Some(format!("`{program}` is not installed"));
        }
    }
    let tried =
        enter(users, &["sh", "-c", "ip link set lo up && echo 'add table inet probe' | nft -f -"]).output().unwrap();
    let why = String::from_utf8_lossy(&tried.stderr).into_owned();
    (!tried.status.success()).then(|| format!("namespaces of a user's own cannot be made: {why}"))
}

fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists())
}

async fn answer_names(socket: UdpSocket) {
    let mut buffer = [0; 512];
    while let Ok((bytes, from)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = answer(&buffer[..bytes]) {
            socket.send_to(&answer, from).await.unwrap();
        }
    }
}

fn answer(message: &[u8]) -> Option<Vec<u8>> {
    let mut packet = Packet::parse(message).ok()?;
    let question = packet.questions.first()?.clone();
    let name = question.qname.to_string();
    let data = match (&*name, question.qtype) {
        (NAME, QTYPE::TYPE(TYPE::A)) => Some(RData::A(A::from(V4.parse::<std::net::Ipv4Addr>().unwrap()))),
        (NAME | V6_NAME, QTYPE::TYPE(TYPE::AAAA)) => {
            Some(RData::AAAA(AAAA::from(V6.parse::<std::net::Ipv6Addr>().unwrap())))
        }
        _ => None,
    };
    let is_known = [NAME, V6_NAME].contains(&&*name);
    // Nothing of what clients add beside the question.
    packet.additional_records.clear();
    *packet.opt_mut() = None;
    let mut reply = packet.into_reply();
    if !is_known {
        *reply.rcode_mut() = RCODE::NameError;
    }
    reply.answers.extend(data.map(|data| ResourceRecord::new(question.qname, CLASS::IN, 60, data)));
    reply.build_bytes_vec().ok()
}

/// An address of the island.
pub fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}
