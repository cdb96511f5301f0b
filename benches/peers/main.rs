//! Other proxies on the scenarios of `just bench`, beside this one and the bare one. `just bench-peers` installs them and writes
//! `docs/peers.md`; `--reps 3 --secs 1.5 --only mitmproxy` for less. They do different work: the table says which of them intercept TLS
//! and which keep what passes.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark reports and may stop"
)]
#![allow(unreachable_pub, dead_code, reason = "its modules are its own or shared")]

#[path = "../shared/args.rs"]
mod args;
mod known;
#[path = "../proxy/load.rs"]
mod load;
#[path = "../proxy/origin.rs"]
mod origin;
#[path = "../proxy/scenarios.rs"]
mod scenarios;
#[path = "../shared/mod.rs"]
mod shared;
mod table;

use std::path::Path;

use known::Peer;
use scenarios::{Figures, SCENARIOS, Scenario, measure};
use shared::processes::{Bench, PROXIES};

/// 100 MiB and the streams take minutes with proxies that hold bodies.
const MEASURED: usize = 6;

/// The role of one process of the benchmark. Other processes than the first are the same program, started again.
fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("--role") => role(&args[1], &args[2..]),
        _ => run(&args::Args::read()),
    }
}

fn role(name: &str, args: &[String]) {
    match name {
        "origin" => origin::serve(Path::new(&args[0])),
        "bare" => shared::bare::serve(Path::new(&args[0])),
        "load" => load::run(args),
        other => panic!("no role {other}"),
    }
}

fn run(args: &args::Args) {
    let (reps, secs) = (args.number("--reps", 3_usize), args.number("--secs", 1.5));
    let bench = Bench::start();
    let wanted = |name: &str| args.text("--only").is_none_or(|only| only == name);
    let peers: Vec<Peer> = known::all().into_iter().filter(|peer| wanted(peer.name)).collect();
    let mut names: Vec<(String, &str)> = PROXIES.map(|name| (name.to_owned(), "")).to_vec();
    names[1] =
        (concat!("otas-proxy ", env!("CARGO_PKG_VERSION")).to_owned(), "intercepts; keeps and masks everything");
    names.extend(peers.iter().filter_map(|peer| Some((format!("{} {}", peer.name, peer.version()?), peer.does))));
    let mut rows = Vec::new();
    for scenario in &SCENARIOS[..MEASURED] {
        let mut all: Vec<Vec<Figures>> = vec![Vec::new(); 2 + peers.len()];
        for rep in 0..reps {
            // Each repetition begins with another one.
            for turn in 0..all.len() {
                let at = (rep + turn) % all.len();
                all[at].extend(one(&bench, at, &peers, scenario, secs));
            }
        }
        rows.push((scenario.name, all));
        println!("{}", scenario.name);
    }
    let found: Vec<bool> =
        [true, true].into_iter().chain(peers.iter().map(|peer| peer.version().is_some())).collect();
    for (_, all) in &mut rows {
        let mut found = found.iter();
        all.retain(|_| *found.next().unwrap());
    }
    let command = format!("just bench-peers --reps {reps} --secs {secs}");
    let page = table::page(&command, bench.cores(), &names, &rows);
    println!("{page}");
    if args.text("--only").is_none() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/peers.md"), page).unwrap();
    }
}

/// One measurement. `None`: the proxy is not installed, or did not start.
fn one(bench: &Bench, at: usize, peers: &[Peer], scenario: &Scenario, secs: f64) -> Option<Figures> {
    let Some(peer) = at.checked_sub(2).map(|at| &peers[at]) else {
        return Some(measure(&bench.proxy(PROXIES[at]), scenario, secs));
    };
    peer.version()?;
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (command, ca) = peer.start(port, folder.path(), bench.folder());
    let proxy = bench.other(&command, port, ca)?;
    Some(measure(&proxy, scenario, secs))
}
