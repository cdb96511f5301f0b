//! The scenarios, and one measurement of a proxy in one of them.

use crate::shared::processes::Proxy;

/// What the load does.
pub struct Scenario {
    pub name: &'static str,
    pub tls: bool,
    path: &'static str,
    connections: usize,
    mode: &'static str,
    post_bytes: usize,
}

/// All of them.
pub const SCENARIOS: [Scenario; 8] = [
    Scenario {
        name: "plain keep-alive, 200 B",
        tls: false,
        path: "/small",
        connections: 64,
        mode: "keep",
        post_bytes: 0,
    },
    Scenario {
        name: "intercepted keep-alive, 200 B",
        tls: true,
        path: "/small",
        connections: 64,
        mode: "keep",
        post_bytes: 0,
    },
    Scenario {
        name: "intercepted POST 10 KiB echo",
        tls: true,
        path: "/echo",
        connections: 64,
        mode: "keep",
        post_bytes: 10 << 10,
    },
    Scenario {
        name: "intercepted, one at a time",
        tls: true,
        path: "/small",
        connections: 1,
        mode: "keep",
        post_bytes: 0,
    },
    Scenario {
        name: "intercepted new connection each",
        tls: true,
        path: "/small",
        connections: 8,
        mode: "new",
        post_bytes: 0,
    },
    Scenario { name: "intercepted 1 MiB", tls: true, path: "/mib", connections: 4, mode: "keep", post_bytes: 0 },
    Scenario { name: "intercepted 100 MiB", tls: true, path: "/100mib", connections: 1, mode: "keep", post_bytes: 0 },
    // Here a call is an event of a stream. Its latency is the time from being sent to being read.
    Scenario {
        name: "1,000 event streams",
        tls: true,
        path: "/sse",
        connections: 1000,
        mode: "events",
        post_bytes: 0,
    },
];

/// One measurement of one proxy.
#[derive(Clone, Default)]
pub struct Figures {
    pub cpu_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub calls_per_s: f64,
    pub mb_per_s: f64,
    pub peak_rss_mib: f64,
    pub errors: f64,
}

/// Measures a proxy that has just started, for so many seconds.
pub fn measure(proxy: &Proxy<'_>, scenario: &Scenario, secs: f64) -> Figures {
    let load = |secs: f64| {
        let (connections, secs, post) =
            (scenario.connections.to_string(), secs.to_string(), scenario.post_bytes.to_string());
        proxy.load(scenario.tls, &[scenario.path, &connections, &secs, scenario.mode, &post])
    };
    load(0.3);
    let before = proxy.cpu_seconds();
    let seen = load(secs);
    let used = proxy.cpu_seconds() - before;
    let [calls, errors, seconds, bytes, p50_us, p99_us] = seen[..] else { panic!("the load said nothing") };
    Figures {
        cpu_us: used / calls.max(1.0) * 1e6,
        p50_us,
        p99_us,
        calls_per_s: calls / seconds,
        mb_per_s: bytes / seconds / 1e6,
        peak_rss_mib: proxy.peak_rss_mib(),
        errors,
    }
}
