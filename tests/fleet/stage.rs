//! A fleet for tests: a real NATS server, proxies in this process, and relays in processes of their own.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use otas_proxy::config::Forget;
use otas_proxy::secret::Secret;
use otas_proxy::store::{State, Store};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::support::nats::TestNats;
use crate::support::origin::TestOrigin;
use crate::support::otas::TestOtas;
use crate::support::program::Folder;
use crate::support::proxy::{PATIENCE, Running, TestProxy, eventually};

/// Settings that all processes of a fleet have.
pub(super) struct Fleet {
    pub(super) otas: TestOtas,
    pub(super) nats: TestNats,
    /// Agents with a key, by id.
    keys: HashMap<String, Secret>,
    /// What NATS is reached at, if not at `nats`.
    pub(super) servers: Option<String>,
}

impl Fleet {
    /// With so many agents: `agent-0`, `agent-1` and so on.
    pub(super) async fn new(agents: usize, nats: TestNats) -> Self {
        let otas = TestOtas::start().await;
        let mut keys = HashMap::new();
        for number in 0..agents {
            let id = agent(number);
            let key = otas.another_agent(&id).await;
            keys.insert(id, key);
        }
        Self { otas, nats, keys, servers: None }
    }

    /// With one agent and its proxy, streams that `relay init` made with these arguments, and an origin to call.
    pub(super) async fn with_a_proxy(init: &[&str]) -> (Self, TestOrigin, Running) {
        let fleet = Self::new(1, TestNats::start("")).await;
        fleet.init(init);
        let (origin, proxy) = (TestOrigin::http().await, fleet.proxy(0).await);
        (fleet, origin, proxy)
    }

    fn servers(&self) -> String {
        self.servers.clone().unwrap_or_else(|| self.nats.url())
    }

    /// Makes the streams. Returns what it said.
    pub(super) fn init(&self, arguments: &[&str]) -> String {
        self.try_init(arguments).unwrap()
    }

    /// The same, if it succeeds.
    pub(super) fn try_init(&self, arguments: &[&str]) -> Result<String, String> {
        let folder = self.relay_folder();
        let done = folder.program().args(["relay", "init"]).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        if done.status.success() { Ok(said) } else { Err(said) }
    }

    /// A proxy of an agent.
    pub(super) async fn proxy(&self, number: usize) -> Running {
        self.proxy_with(number, |_| {}).await
    }

    /// The same, with other settings.
    pub(super) async fn proxy_with(
        &self,
        number: usize,
        change: impl FnOnce(&mut otas_proxy::config::Config),
    ) -> Running {
        let proxy = TestProxy::new().with(|config| self.configure(config, number));
        proxy.with(change).run().await
    }

    /// The settings of a proxy of an agent.
    pub(super) fn configure(&self, config: &mut otas_proxy::config::Config, number: usize) {
        config.otas.project_id = Some(self.otas.project_id().to_string());
        config.queue.nats_url = self.servers().split(',').map(str::to_owned).collect();
        config.queue.agent_id = Some(agent(number));
        config.queue.forget = Forget::Delivered;
        config.delivery.backoff_min = Duration::from_millis(20);
        config.delivery.backoff_max = Duration::from_millis(500);
    }

    /// A folder with the settings of a relay, and the keys of all agents.
    pub(super) fn relay_folder(&self) -> Folder {
        self.relay_folder_with("")
    }

    /// The same, with more in `[queue]`.
    pub(super) fn relay_folder_with(&self, queue: &str) -> Folder {
        self.relay_folder_of("", queue)
    }

    /// The same, with more in `[store]` as well.
    pub(super) fn relay_folder_of(&self, store: &str, queue: &str) -> Folder {
        let folder = Folder::new();
        let keys = folder.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        for (id, key) in &self.keys {
            std::fs::write(keys.join(format!("{id}.key")), key.expose()).unwrap();
        }
        let (otas, nats) = (self.otas.url(), self.servers());
        folder.configure(&format!(
            "{store}\n[otas]\nbrain_url = '{otas}'\nuasam_url = '{otas}'\n[queue]\nnats_url = '{nats}'\n{queue}\n[relay]\nkeys_dir = 'keys'\n\
             [delivery]\norder = 'strict'\nbackoff_min_ms = 50\nbackoff_max_ms = 1000\n"
        ));
        folder
    }

    /// A relay.
    pub(super) fn relay(&self) -> TestRelay {
        TestRelay::start(self.relay_folder())
    }

    /// JetStream, for looking into streams.
    pub(super) async fn jetstream(&self) -> async_nats::jetstream::Context {
        let servers: Vec<String> = self.servers().split(',').map(str::to_owned).collect();
        async_nats::jetstream::new(async_nats::connect(&*servers).await.unwrap())
    }

    /// The events in the stream: their ids, in its order.
    pub(super) async fn queued(&self) -> Vec<String> {
        let stream = self.jetstream().await.get_stream("OTAS").await.unwrap();
        let state = stream.cached_info().state.clone();
        let mut found = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            // Some have been taken out by now.
            let Ok(message) = stream.get_raw_message(sequence).await else { continue };
            found.extend(message.headers.get("Otas-Event").map(|id| id.to_string()));
        }
        found
    }

    /// Waits until so many events are in the stream.
    pub(super) async fn all_queued(&self, many: usize) {
        eventually(&format!("{many} events in the stream"), async || self.queued().await.len() == many).await;
    }

    /// Waits until the stream of this name has so many messages.
    pub(super) async fn messages(&self, stream: &str, many: u64) {
        let (jetstream, give_up) = (self.jetstream().await, Instant::now() + PATIENCE);
        loop {
            let found = jetstream.get_stream(stream).await;
            let found = found.map(|stream| stream.cached_info().state.messages).map_err(|error| error.to_string());
            if found == Ok(many) {
                return;
            }
            assert!(Instant::now() < give_up, "not {many} messages in {stream}: {found:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The id of an agent.
pub(super) fn agent(number: usize) -> String {
    format!("agent-{number}")
}

/// Waits until all events of this proxy have this state, and there are so many.
pub(super) async fn all_are(proxy: &Running, state: State, many: u64) {
    let counts = async || proxy.app.store.counts(None).unwrap();
    eventually(&format!("{many} events are {state}"), async || {
        let counts = counts().await;
        let these = match state {
            State::Pending => counts.pending,
            State::Delivered => counts.delivered,
            State::Dead => counts.dead,
            State::Kept => counts.kept,
        };
        counts.total == many && these == many
    })
    .await;
}

/// Waits until a proxy says this of its queue.
pub(super) async fn complains(proxy: &Running, words: &str) {
    eventually(&format!("the proxy says {words:?}"), async || {
        proxy.app.watch().now().trouble.is_some_and(|trouble| trouble.contains(words))
    })
    .await;
}

/// Whether the events of a proxy arrived in order, by the first arrival of each.
pub(super) fn is_in_order(proxy: &Running, arrived: &[String]) -> bool {
    let places: HashMap<&String, usize> = arrived.iter().enumerate().rev().map(|(at, id)| (id, at)).collect();
    let sent = ids(&proxy.app.store);
    let order: Vec<usize> = sent.iter().map(|id| places[id]).collect();
    order.is_sorted()
}

/// Ids of events, by the order of their session.
pub(super) fn ids(store: &Store) -> Vec<String> {
    let filter = otas_proxy::store::Filter { limit: usize::MAX, ..otas_proxy::store::Filter::default() };
    store.list(&filter).unwrap().into_iter().rev().map(|row| row.event_id.to_string()).collect()
}

/// The id in an event that OTAS has.
pub(super) fn id_of(event: &Value) -> String {
    event["metadata"]["event"]["id"].as_str().unwrap().to_owned()
}

/// A relay in a process of its own. Killed when dropped.
pub(super) struct TestRelay {
    child: Child,
    pub(super) folder: Folder,
    /// `http://127.0.0.1:PORT` of its admin port.
    pub(super) admin: String,
    said: Arc<Mutex<Vec<String>>>,
}

impl TestRelay {
    /// Starts one in a folder, which may be that of one before.
    pub(super) fn start(folder: Folder) -> Self {
        Self::started(folder.program(), folder)
    }

    fn started(mut command: Command, folder: Folder) -> Self {
        let mut child = command.arg("relay").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (kept, errors) = (said.clone(), BufReader::new(child.stderr.take().unwrap()));
        std::thread::spawn(move || {
            errors.lines().map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let admin = lines
            .by_ref()
            .find_map(|line| Some(line.split_once("status on ")?.1.split_once("/status")?.0.to_owned()))
            .unwrap_or_else(|| panic!("the relay did not start: {:?}", said.lock().unwrap()));
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, folder, admin, said }
    }

    /// Its `/status`.
    pub(super) async fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status").await).unwrap()
    }

    /// What its admin port answers.
    pub(super) async fn get(&self, path: &str) -> String {
        self.ask(path, "").await
    }

    /// A page of it.
    pub(super) async fn page(&self, path: &str) -> String {
        let token = otas_proxy::admin::token_file(&self.folder.path().join("events.db"));
        let token = std::fs::read_to_string(token).unwrap();
        self.ask(path, &format!("Authorization: Bearer {}\r\n", token.trim())).await
    }

    async fn ask(&self, path: &str, headers: &str) -> String {
        let address = self.admin.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Waits until it has said this.
    pub(super) async fn says(&self, words: &str) {
        let give_up = Instant::now() + PATIENCE;
        while !self.said.lock().unwrap().iter().any(|line| line.contains(words)) {
            assert!(Instant::now() < give_up, "it did not say {words:?}: {:#?}", self.said.lock().unwrap());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it with `kill -9`. Its folder may be used again.
    pub(super) fn kill(mut self) -> Folder {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.folder, Folder::new())
    }
}

impl Drop for TestRelay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
