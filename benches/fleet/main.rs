//! What a fleet costs. `just fleet`; `--only events|bodies|cluster` for a part, `--events N` for another size. Needs `nats-server` and
//! `taskset`. It ends with the tables of `docs/scale.md`.
//!
//! - events: from a proxy into the queue on one core, and what a relay spends on each, beside direct delivery
//! - cluster: the same into three servers that keep three replicas
//! - bodies: what conversations that grow put into the stream, and what they would if each chunk travelled once

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints, and fails by panicking"
)]
#![allow(unreachable_pub, missing_docs, dead_code, reason = "its modules are its own or shared")]

#[path = "../shared/args.rs"]
mod args;
mod fill;
mod stage;
#[path = "../llm/words.rs"]
mod words;

use std::process::Stdio;
use std::time::{Duration, Instant};

use otas_proxy::secret::Secret;

use self::fill::Conversations;
use self::stage::{PROJECT, Running, Stage};

/// Agents of the conversations, and how many turns these have.
const AGENTS: u64 = 8;
const TURNS: [usize; 2] = [40, 120];

fn main() {
    let args = args::Args::read();
    let wanted = |part: &str| args.text("--only").is_none_or(|only| only == part);
    let events = args.number("--events", 20_000);
    let mut figures = Figures::default();
    if wanted("events") {
        figures.events(events);
    }
    if wanted("cluster") {
        figures.cluster(events);
    }
    if wanted("bodies") {
        figures.bodies();
    }
    figures.print();
}

/// The key under which a proxy with a queue keeps its events.
fn own_key() -> Secret {
    Secret::new(&format!("queue {PROJECT} planner"))
}

/// What was measured of many events.
#[derive(Clone, Copy)]
struct Rate {
    events: u64,
    took: Duration,
    server: Duration,
}

impl Rate {
    fn per_second(self) -> f64 {
        self.events as f64 / self.took.as_secs_f64()
    }

    fn each_us(self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.events as f64
    }
}

/// Bodies of conversations.
struct Bodies {
    turns: usize,
    events: u64,
    /// As agents sent them.
    sent: u64,
    /// What the stream has for them.
    stream: u64,
    /// What it has for their facts alone.
    facts: u64,
    /// Each chunk once, compressed.
    chunks: u64,
    rate: Rate,
}

impl Bodies {
    fn once(&self) -> u64 {
        self.facts + self.chunks
    }
}

#[derive(Default)]
struct Figures {
    /// Lines of the table of figures.
    lines: Vec<(String, String)>,
    publish: Option<Rate>,
    /// The processor time of a relay for an event, and of the server for the relay.
    relay: Option<(f64, f64)>,
    cluster: Option<Rate>,
    bodies: Vec<Bodies>,
}

impl Figures {
    fn say(&mut self, what: &str, figure: String) {
        println!("{what}: {figure}");
        self.lines.push((what.to_owned(), figure));
    }

    fn events(&mut self, events: u64) {
        let stage = Stage::start(1);
        let (_collector, otas, key) = stage::collector();
        std::fs::create_dir(stage.path("relay-keys")).unwrap();
        std::fs::write(stage.path("relay-keys/planner.key"), &key).unwrap();
        std::fs::write(stage.path("direct.key"), &key).unwrap();
        let otas = format!("[otas]\nbrain_url = '{otas}'\nuasam_url = '{otas}'\nproject_id = '{PROJECT}'\n");
        stage.settings("proxy", "");
        stage.settings("relay", &format!("{otas}[relay]\nkeys_dir = 'relay-keys'\n"));
        stage.settings("direct", &format!("{otas}agent_key_file = 'direct.key'\n"));
        fill::short(&stage.path("proxy.db"), &own_key(), events);
        fill::short(&stage.path("direct.db"), &Secret::new(&key), events);

        let (took, server) = stage.flush("proxy");
        let rate = Rate { events, took, server };
        self.publish = Some(rate);
        self.say(
            &format!("a proxy into the queue, on one core, {events} events of 16 sessions with 4 KiB of bodies"),
            format!("{:.0} events/s", rate.per_second()),
        );
        self.say("the server's CPU for it", format!("{:.0} µs an event", rate.each_us(server)));

        let mut direct = Running(stage.program("direct").arg("flush").stdout(Stdio::null()).spawn().unwrap());
        let (began, mut cpu) = (Instant::now(), Duration::ZERO);
        while direct.0.try_wait().unwrap().is_none() {
            cpu = direct.cpu();
            std::thread::sleep(Duration::from_millis(20));
        }
        let directly = Rate { took: began.elapsed(), ..rate };
        let (speed, direct_us) = (directly.per_second(), directly.each_us(cpu));
        self.say(
            "direct delivery to a collector on this machine",
            format!("{speed:.0} events/s, {:.1} ms of CPU an event", direct_us / 1e3),
        );

        let mut command = stage.program("relay");
        command.arg("relay");
        let (relay, admin) = stage::started(command, "status on http://");
        let admin = admin.split("status on http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
        let (began, before) = (Instant::now(), stage.cpu());
        while stage::delivered(&admin) < events {
            std::thread::sleep(Duration::from_millis(50));
        }
        let relayed = Rate { took: began.elapsed(), server: stage.cpu() - before, ..rate };
        let relay_us = relayed.each_us(relay.cpu());
        self.relay = Some((relay_us, relayed.each_us(relayed.server)));
        self.say(
            "a relay with one agent, the same events",
            format!(
                "{:.0} events/s, {:.1} ms of CPU an event, {:.1} ms more than direct delivery",
                relayed.per_second(),
                relay_us / 1e3,
                (relay_us - direct_us) / 1e3
            ),
        );
        self.say("the server's CPU for the relay", format!("{:.0} µs an event", relayed.each_us(relayed.server)));
    }

    fn cluster(&mut self, events: u64) {
        let stage = Stage::start(3);
        stage.settings("proxy", "");
        fill::short(&stage.path("proxy.db"), &own_key(), events);
        let (took, server) = stage.flush("proxy");
        let rate = Rate { events, took, server };
        self.cluster = Some(rate);
        self.say(
            "a proxy into a cluster of three that share a core, three replicas",
            format!("{:.0} events/s", rate.per_second()),
        );
        self.say("the CPU of the three servers for it", format!("{:.0} µs an event together", rate.each_us(server)));
    }

    fn bodies(&mut self) {
        for turns in TURNS {
            let measured = |with_bodies: bool| {
                let stage = Stage::start(1);
                stage.settings("proxy", "");
                let of = Conversations { agents: AGENTS, turns, with_bodies };
                let (sent, chunks) = fill::growing(&stage.path("proxy.db"), &own_key(), &of);
                let (took, server) = stage.flush("proxy");
                (sent, chunks, stage.stream_bytes(), Rate { events: AGENTS * turns as u64, took, server })
            };
            let (.., facts, _) = measured(false);
            let (sent, chunks, stream, rate) = measured(true);
            let of = Bodies { turns, events: rate.events, sent, stream, facts, chunks, rate };
            println!(
                "conversations of {turns} turns: {} of bodies, {} in the stream, {} if each chunk travelled once",
                size(sent),
                size(stream),
                size(of.once())
            );
            self.bodies.push(of);
        }
    }

    fn print(&self) {
        if !self.lines.is_empty() {
            println!("\n| what | figure |\n|---|---|");
            self.lines.iter().for_each(|(what, figure)| println!("| {what} | {figure} |"));
        }
        if !self.bodies.is_empty() {
            println!(
                "\n| turns | bodies of {AGENTS} agents | in the stream, an event | each chunk once, an event | factor | events/s |"
            );
            println!("|---|---|---|---|---|---|");
        }
        for of in &self.bodies {
            println!(
                "| {} | {} | {} | {} | {:.1} | {:.0} |",
                of.turns,
                size(of.sent),
                size(of.stream / of.events),
                size(of.once() / of.events),
                of.stream as f64 / of.once() as f64,
                of.rate.per_second()
            );
        }
        let (Some(cluster), Some((relay_us, for_relay_us))) = (self.cluster, self.relay) else { return };
        let Some(of) = self.bodies.first() else { return };
        println!(
            "\n| agents, each with a call a minute | events/s | into the stream | disk of a server for an hour without OTAS | CPU of a server | CPU of the relay |"
        );
        println!("|---|---|---|---|---|---|");
        for agents in [10_u64, 1_000, 100_000] {
            let per_second = agents as f64 / 60.0;
            let bytes = per_second * of.stream as f64 / of.events as f64;
            let cores = |us: f64| format!("{:.2} cores", per_second * us / 1e6);
            println!(
                "| {agents} | {per_second:.1} | {}/s | {} | {} | {} |",
                size(bytes as u64),
                size((bytes * 3_600.0) as u64),
                cores(cluster.each_us(cluster.server) / 3.0 + for_relay_us),
                cores(relay_us)
            );
        }
    }
}

fn size(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes < 1e6 => format!("{:.1} kB", bytes / 1e3),
        bytes if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        bytes if bytes < 1e12 => format!("{:.1} GB", bytes / 1e9),
        bytes => format!("{:.1} TB", bytes / 1e12),
    }
}
