//! The agents: calls with unique ids and bodies derived from them, through the current proxy.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::program::Served;

/// Parallel agents.
const AGENTS: u64 = 4;

/// A call as its agent knows it.
pub(super) struct Call {
    /// The body that is sent and echoed.
    pub(super) body: String,
    /// The index of its proxy, starting at 0.
    pub(super) proxy: usize,
    /// When the agent had the whole response. `None`: the call failed.
    pub(super) ended: Option<Instant>,
}

/// Calls by their ids.
pub(super) type Calls = HashMap<String, Call>;

/// The current proxy: its index, and a client that uses it.
type Way = (usize, reqwest::Client);

pub(super) struct Producer {
    proxy: watch::Sender<Option<Way>>,
    ended: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
    calls: Arc<Mutex<Calls>>,
    agents: JoinSet<()>,
}

impl Producer {
    /// Agents that wait for a proxy.
    pub(super) fn start(url: String, seed: u64) -> Self {
        let (proxy, proxies) = watch::channel(None);
        let (count, ended) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let calls = Arc::new(Mutex::new(Calls::new()));
        let mut agents = JoinSet::new();
        for agent in 0..AGENTS {
            let agent = Agent {
                name: format!("{seed}-{agent}"),
                url: url.clone(),
                proxies: proxies.clone(),
                count: count.clone(),
                calls: calls.clone(),
            };
            agents.spawn(agent.work(stopped.clone()));
        }
        Self { proxy, ended, stop, calls, agents }
    }

    /// From now on calls use this proxy (with this index). `None`: they wait for one.
    pub(super) fn use_proxy(&self, served: Option<(usize, &Served)>) {
        self.proxy.send_replace(served.map(|(nth, served)| (nth, served.client())));
    }

    /// Waits until this many more calls have ended.
    pub(super) async fn more(&self, calls: usize) {
        let mut ended = self.ended.clone();
        let enough = *ended.borrow() + calls;
        ended.wait_for(|ended| *ended >= enough).await.unwrap();
    }

    /// The calls through this proxy that have ended so far.
    pub(super) fn ended(&self, proxy: usize) -> HashSet<String> {
        let calls = self.calls.lock().unwrap();
        let ended = calls.iter().filter(|(_, call)| call.proxy == proxy && call.ended.is_some());
        ended.map(|(id, _)| id.clone()).collect()
    }

    /// Ends the calls in flight, and returns all.
    pub(super) async fn stop(mut self) -> Calls {
        self.stop.send_replace(true);
        while let Some(agent) = self.agents.join_next().await {
            agent.unwrap();
        }
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

/// The header field that names a call: the event of a killed proxy may lack its body.
pub(super) const CALL: &str = "x-call";

struct Agent {
    name: String,
    url: String,
    proxies: watch::Receiver<Option<Way>>,
    count: watch::Sender<usize>,
    calls: Arc<Mutex<Calls>>,
}

impl Agent {
    async fn work(mut self, stopped: watch::Receiver<bool>) {
        for n in 0_usize.. {
            let way = self.proxies.wait_for(Option::is_some).await.map(|way| way.clone());
            let Ok(Some((proxy, client))) = way else { return };
            if *stopped.borrow() {
                return;
            }
            let id = format!("call-{}-{n}", self.name);
            // A few are large, most are small.
            let body = format!("{id} {}", "conserved ".repeat(if n % 17 == 0 { 4_000 } else { n % 50 }));
            self.calls.lock().unwrap().insert(id.clone(), Call { body: body.clone(), proxy, ended: None });
            let answer = async {
                let reply = client.post(&self.url).header(CALL, &id).body(body.clone()).send().await?;
                let status = reply.status();
                Ok::<_, reqwest::Error>((status, reply.text().await?))
            };
            // A failed call was killed. A successful one must be correct.
            if let Ok((status, text)) = answer.await {
                assert_eq!((status.as_u16(), text == body), (200, true), "{id}");
                self.calls.lock().unwrap().get_mut(&id).unwrap().ended = Some(Instant::now());
            } else {
                // The proxy has ended: wait for the next one.
                let _ = self.proxies.changed().await;
            }
            self.count.send_modify(|count| *count += 1);
        }
    }
}
