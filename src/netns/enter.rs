//! The process that makes the namespace for itself, and then becomes the command.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink};
use rustix::process::{getegid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use super::handover::{Inside, Names, Said, send};
use super::refused::RefusedCounter;
use super::rules::{DNS, LINKS, LINKS_V6, PROXY, REDIRECTED, packet_rules, tool};
use super::waiting::{NotEntered, address};

/// The command by which `run` starts this process. Help and completions do not list it, because it is for `run` only.
pub const COMMAND: &str = "enter-netns";

/// What to do where namespaces are not permitted.
const NOT_PERMITTED: &str = "this system does not let a program make namespaces of its own; in a container, allow `unshare` and \
    `CLONE_NEWUSER` in its seccomp profile (Docker: `--security-opt seccomp=unconfined`), or use `otas-proxy redirect` outside";

/// Makes a user namespace and a network namespace for this process, which must have one thread, passes their sockets to the proxy that
/// waits under this name, and waits for its word. True: this process has no capability left, and cannot get any. False: there is no
/// namespace, and the proxy was told why.
///
/// # Errors
/// When the proxy cannot be reached, or capabilities are left.
pub fn enter(name: &str) -> Result<bool, NotEntered> {
    let failed = |what: &str, error: io::Error| NotEntered(format!("{what}: {error}"));
    let lost = |error| failed("the proxy that starts it cannot be reached", error);
    // The name is in the network namespace that this process is about to leave.
    let mut proxy = address(name).and_then(|at| UnixStream::connect_addr(&at)).map_err(lost)?;
    match set_up() {
        Ok(inside) => send(&proxy, &Said::Ready(Box::new(inside))).map_err(lost)?,
        Err(why) => {
            send(&proxy, &Said::Failed(why.0.clone())).map_err(lost)?;
            return Ok(false);
        }
    }
    proxy.read_exact(&mut [0]).map_err(lost)?;
    give_up_capabilities().map(|()| true).map_err(|error| failed("cannot give up capabilities", error))
}

fn set_up() -> Result<Inside, NotEntered> {
    for (program, package) in [("ip", "iproute2"), ("nft", "nftables")] {
        if tool(program).is_none() {
            return Err(NotEntered(format!("the program `{program}` is missing; install it (Debian: {package})")));
        }
    }
    let ids = [ids("uid", geteuid().as_raw())?, ids("gid", getegid().as_raw())?];
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(not_permitted)?;
    keep_ids(&ids).map_err(|error| {
        let why = restricted().unwrap_or_else(|| NOT_PERMITTED.to_owned());
        NotEntered(format!("its user ids cannot be kept: {error}; {why}"))
    })?;
    let step = |what: &'static str| move |error: io::Error| NotEntered(format!("{what}: {error}"));
    pass_on_administration().map_err(step("cannot administer the namespace"))?;
    run("ip", &["-batch", "-"], LINKS)?;
    // Absent where the system has no IPv6: then there is no way out by it, either.
    let has_v6 = UdpSocket::bind("[::1]:0").is_ok();
    if has_v6 {
        run("ip", &["-batch", "-"], LINKS_V6)?;
    }
    run("nft", &["-f", "-"], &packet_rules()).map_err(|NotEntered(why)| {
        NotEntered(format!(
            "{why}; the kernel needs nf_tables with NAT: as root, `modprobe -a nft_chain_nat nft_redir nft_reject_inet nft_ct`"
        ))
    })?;
    open(if has_v6 { 2 } else { 1 }).map_err(step("cannot listen in the namespace"))
}

/// Everything that the proxy needs of the namespace, for so many versions of IP.
fn open(versions: usize) -> io::Result<Inside> {
    let listen = TcpListener::bind;
    let names = |at| Ok(Names { udp: UdpSocket::bind(at)?, tcp: listen(at)? });
    Ok(Inside {
        proxy: listen(PROXY)?,
        redirected: REDIRECTED.into_iter().take(versions).map(listen).collect::<io::Result<_>>()?,
        names: DNS.into_iter().take(versions).map(names).collect::<io::Result<_>>()?,
        diag: rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?,
        refused: RefusedCounter::open()?,
    })
}

/// The ids of users (`uid`) or groups (`gid`) that the new namespace has, each as itself: lines for its map. Root keeps all that it
/// has; others may keep only their own.
fn ids(kind: &str, own: u32) -> Result<(String, String), NotEntered> {
    let map = format!("/proc/self/{kind}_map");
    let text = fs::read_to_string(&map).map_err(|error| NotEntered(format!("cannot read {map}: {error}")))?;
    let all = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (first, _, count) = (words.next()?, words.next()?, words.next()?);
        Some(format!("{first} {first} {count}\n"))
    });
    Ok((all.collect(), format!("{own} {own} 1\n")))
}

fn keep_ids([users, groups]: &[(String, String); 2]) -> io::Result<()> {
    let all = || {
        write("/proc/self/gid_map", &groups.0)?;
        write("/proc/self/uid_map", &users.0)
    };
    if all().is_ok() {
        return Ok(());
    }
    // It fails if the group ids were kept above.
    let _ = write("/proc/self/setgroups", "deny").and_then(|()| write("/proc/self/gid_map", &groups.1));
    write("/proc/self/uid_map", &users.1)
}

/// In one piece, because the system takes no other.
fn write(file: &str, text: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}

fn not_permitted(error: Errno) -> NotEntered {
    let why = restricted().unwrap_or_else(|| match error {
        Errno::ENOSPC => {
            "there are too many namespaces; raise `user.max_user_namespaces` and `user.max_net_namespaces`".to_owned()
        }
        _ => NOT_PERMITTED.to_owned(),
    });
    NotEntered(format!("cannot make a user and a network namespace: {}; {why}", error.desc()))
}

/// The setting of this system that keeps users from making namespaces, and what to do about it.
fn restricted() -> Option<String> {
    let is = |file: &str, value: &str| fs::read_to_string(file).is_ok_and(|text| text.trim() == value);
    let (setting, value) = match () {
        () if is("/proc/sys/user/max_user_namespaces", "0") => ("user.max_user_namespaces", "15000"),
        () if is("/proc/sys/kernel/unprivileged_userns_clone", "0") => ("kernel.unprivileged_userns_clone", "1"),
        () if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") => {
            ("kernel.apparmor_restrict_unprivileged_userns", "0")
        }
        () => return None,
    };
    Some(format!("this system does not let users make namespaces; as root, `sysctl {setting}={value}` lets them"))
}

/// Programs that this process starts may administer the network, whatever their user is.
fn pass_on_administration() -> io::Result<()> {
    let now = capabilities(None)?;
    let inheritable = now.inheritable | CapabilitySet::NET_ADMIN;
    set_capabilities(None, CapabilitySets { inheritable, ..now })?;
    Ok(configure_capability_in_ambient_set(CapabilitySet::NET_ADMIN, true)?)
}

/// Neither this process nor a program that it starts can administer the namespace any more.
fn give_up_capabilities() -> io::Result<()> {
    clear_ambient_capability_set()?;
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // There are not that many.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(set_no_new_privs(true)?)
}

/// Runs a program for the administrator, with this input.
fn run(program: &str, arguments: &[&str], input: &str) -> Result<(), NotEntered> {
    let ran = || {
        let mut child = Command::new(tool(program).ok_or(io::ErrorKind::NotFound)?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()))?;
        child.wait_with_output()
    };
    let ended = ran().map_err(|error| NotEntered(format!("cannot run `{program}`: {error}")))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    Err(NotEntered(format!("`{program}` fails ({}): {}", ended.status, first.trim())))
}
