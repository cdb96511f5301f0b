//! The proxy that the environment names (`HTTP_PROXY` and the like) becomes the next proxy.
//!
//! Pure: the environment's variables in, `upstream` and the lines to print out.

use std::net::{IpAddr, SocketAddr};

use super::say;
use crate::config::{ForHttp, Loaded, NextProxy, Upstream};
use crate::hosts::HostRule;

// No documentation comment: clap would take it for the command's.
#[derive(clap::Args, Clone, Copy)]
#[command(next_help_heading = "Next proxy")]
pub(super) struct UpstreamArgs {
    /// Call hosts directly: use no next proxy
    ///
    /// Neither `upstream.proxy` nor the proxy that the environment names (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) is used.
    #[arg(long)]
    no_upstream: bool,
}

/// The variables for each scheme, in the order in which most clients read them.
const HTTP: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
const HTTPS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// What the environment names for one scheme.
enum Named {
    Nothing,
    Proxy(&'static str, NextProxy),
    /// It names one of our own proxies: calls would be intercepted twice, or loop.
    Ours(&'static str),
    Unusable(&'static str, &'static str),
}

/// Uses the proxy of this process's environment as the next proxy, and says so on stderr. `own`: the addresses of our own proxies.
pub(super) fn apply(loaded: &mut Loaded, args: UpstreamArgs, own: &[SocketAddr]) {
    let is_set = loaded.is_set("upstream.proxy");
    let env = |name: &str| std::env::var(name).ok();
    for line in take_over(&mut loaded.config.upstream, args, is_set, &env, own) {
        say::err(&format!("otas-proxy: {line}"));
    }
}

/// The same for settings that are read again. It was said at the start.
pub(super) fn apply_again(loaded: &mut Loaded, args: UpstreamArgs, own: &[SocketAddr]) {
    let is_set = loaded.is_set("upstream.proxy");
    take_over(&mut loaded.config.upstream, args, is_set, &|name| std::env::var(name).ok(), own);
}

/// Uses the proxy that the environment names, unless the settings name one (`is_set`). `own`: the addresses of our own proxies.
///
/// Returns the lines to print, without credentials.
pub(super) fn take_over(
    upstream: &mut Upstream,
    args: UpstreamArgs,
    is_set: bool,
    env: &dyn Fn(&str) -> Option<String>,
    own: &[SocketAddr],
) -> Vec<String> {
    if args.no_upstream {
        (upstream.proxy, upstream.for_http) = (None, ForHttp::Same);
        return Vec::new();
    }
    if is_set {
        return Vec::new();
    }
    let (http, https) = (named(&HTTP, env, own), named(&HTTPS, env, own));
    let mut lines: Vec<String> = [("HTTP", &http), ("HTTPS", &https)].into_iter().filter_map(objection).collect();
    lines.dedup_by(|a, b| a.split_once(' ').map(|a| a.1) == b.split_once(' ').map(|b| b.1));
    let (http, https) = (usable(http), usable(https));
    if http.is_none() && https.is_none() {
        return lines;
    }
    let exceptions = exceptions(env);
    if exceptions.all {
        lines.push("NO_PROXY=* excepts every host from the environment's proxy: calls go directly".to_owned());
        return lines;
    }
    lines.push(sentence(http.as_ref(), https.as_ref(), !exceptions.rules.is_empty()));
    lines.extend(exceptions.unknown.map(|entries| {
        format!(
            "NO_PROXY has entries that are not understood here ({entries}): list such hosts in `upstream.no_proxy`"
        )
    }));
    upstream.no_proxy = std::mem::take(&mut upstream.no_proxy).extended(exceptions.rules);
    upstream.for_http = match (&http, &https) {
        (Some((_, http)), Some((_, https))) if http.is_the_same_as(https) => ForHttp::Same,
        (Some((_, http)), _) => ForHttp::Through(http.clone()),
        (None, _) => ForHttp::Directly,
    };
    upstream.proxy = https.map(|(_, proxy)| proxy);
    lines
}

fn named(variables: &[&'static str], env: &dyn Fn(&str) -> Option<String>, own: &[SocketAddr]) -> Named {
    let value =
        |name: &&'static str| Some((*name, env(name)?.trim().to_owned())).filter(|(_, value)| !value.is_empty());
    let Some((name, value)) = variables.iter().find_map(value) else { return Named::Nothing };
    // Like curl: a proxy without a scheme speaks HTTP.
    let url = if value.contains("://") { value } else { format!("http://{value}") };
    match NextProxy::parse(&url) {
        Ok(proxy) if is_ours(&proxy, env, own) => Named::Ours(name),
        Ok(proxy) => Named::Proxy(name, proxy),
        Err(reason) => Named::Unusable(name, reason),
    }
}

/// Whether it is the proxy of a `run` or an `env` around us, or one of those at `own`.
fn is_ours(proxy: &NextProxy, env: &dyn Fn(&str) -> Option<String>, own: &[SocketAddr]) -> bool {
    let around = env("OTAS_PROXY_URL").and_then(|url| NextProxy::parse(&url).ok());
    if around.is_some_and(|around| (&around.host, around.port) == (&proxy.host, proxy.port)) {
        return true;
    }
    let address = match proxy.host.as_str() {
        "localhost" => None,
        host => match host.parse::<IpAddr>() {
            Ok(address) => Some(address.to_canonical()),
            Err(_) => return false,
        },
    };
    own.iter().filter(|listens| listens.port() == proxy.port).any(|listens| {
        let listens = listens.ip().to_canonical();
        let this_machine = |address: IpAddr| address.is_loopback() || address.is_unspecified();
        match address {
            None => this_machine(listens),
            Some(address) => address == listens || (listens.is_unspecified() && this_machine(address)),
        }
    })
}

fn objection((scheme, named): (&str, &Named)) -> Option<String> {
    match named {
        Named::Nothing | Named::Proxy(..) => None,
        Named::Ours(name) => Some(format!(
            "{scheme} calls go directly: {name} names an otas-proxy; if direct calls are not possible, name the next proxy in OTAS_UPSTREAM_PROXY"
        )),
        Named::Unusable(name, reason) => Some(format!(
            "{scheme} calls go directly: {name} cannot be used as the next proxy: {reason}; name it in OTAS_UPSTREAM_PROXY"
        )),
    }
}

fn usable(named: Named) -> Option<(&'static str, NextProxy)> {
    match named {
        Named::Proxy(name, proxy) => Some((name, proxy)),
        _ => None,
    }
}

fn sentence(http: Option<&(&str, NextProxy)>, https: Option<&(&str, NextProxy)>, has_exceptions: bool) -> String {
    let through = |(name, proxy): &(&str, NextProxy)| format!("through {proxy} ({name})");
    let way = match (http, https) {
        (Some((_, a)), Some(b)) if a.is_the_same_as(&b.1) => format!("calls go on {}", through(b)),
        (http, https) => {
            let way = |named: Option<&(&str, NextProxy)>| named.map_or("directly".to_owned(), through);
            format!("HTTPS calls go on {}, HTTP calls {}", way(https), way(http))
        }
    };
    let but = if has_exceptions { ", except to the hosts in NO_PROXY" } else { "" };
    format!("{way}{but}; --no-upstream: directly")
}

/// `NO_PROXY`.
struct Exceptions {
    rules: Vec<HostRule>,
    /// `*`: every host.
    all: bool,
    /// Entries that are not hosts.
    unknown: Option<String>,
}

fn exceptions(env: &dyn Fn(&str) -> Option<String>) -> Exceptions {
    let lists: Vec<String> = NO_PROXY.iter().filter_map(|name| env(name)).collect();
    let entries = lists.iter().flat_map(|list| list.split([',', ' ', '\t'])).filter(|entry| !entry.is_empty());
    let (mut rules, mut all, mut unknown) = (Vec::new(), false, Vec::new());
    for entry in entries {
        match entry {
            "*" => all = true,
            entry => match rules_of(entry) {
                Some(more) => rules.extend(more),
                None => unknown.push(entry),
            },
        }
    }
    Exceptions { rules, all, unknown: (!unknown.is_empty()).then(|| unknown.join(", ")) }
}

/// As in most clients, a name stands for itself and for all names below it, with or without a leading dot.
fn rules_of(entry: &str) -> Option<Vec<HostRule>> {
    let rule = |text: &str| HostRule::parse(text).ok();
    let name = entry.trim_start_matches('.');
    let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
    let is_address = name.starts_with('[') || name.parse::<IpAddr>().is_ok() || host.parse::<IpAddr>().is_ok();
    if is_address || name.contains(['*', '/']) {
        return rule(name).map(|rule| vec![rule]);
    }
    Some(vec![rule(name)?, rule(&format!("*.{name}"))?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::HostRules;

    const TAKE: UpstreamArgs = UpstreamArgs { no_upstream: false };

    /// What becomes of a proxy without a next one in this environment, and what is told.
    fn taken(env: &[(&str, &str)], own: &[&str]) -> (Upstream, Vec<String>) {
        let mut upstream =
            Upstream { proxy: None, for_http: ForHttp::Same, no_proxy: HostRules::loopback(), share: true };
        let own: Vec<SocketAddr> = own.iter().map(|at| at.parse().unwrap()).collect();
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let lines = take_over(&mut upstream, TAKE, false, &env, &own);
        (upstream, lines)
    }

    fn way(upstream: &Upstream, url: &str) -> String {
        let url = url::Url::parse(url).unwrap();
        let port = url.port_or_known_default().unwrap();
        let proxy = upstream.proxy_for(url.scheme(), url.host_str().unwrap(), port);
        proxy.map_or("direct".to_owned(), ToString::to_string)
    }

    #[test]
    fn calls_go_on_through_the_proxy_that_the_environment_names_but_not_to_its_exceptions() {
        let (upstream, lines) = taken(
            &[
                ("HTTPS_PROXY", "http://me:hunter2-hunter2@corp.example:3128/"),
                ("HTTP_PROXY", "http://me:hunter2-hunter2@corp.example:3128"),
                (
                    "NO_PROXY",
                    "intra.example, .dot.example *.star.example,10.0.0.0/8,h.example:8443,192.0.2.7,[2001:db8::1]:99,<local>",
                ),
            ],
            &[],
        );
        assert_eq!(way(&upstream, "https://api.example/"), "http://corp.example:3128");
        assert_eq!(way(&upstream, "http://api.example/"), "http://corp.example:3128");
        assert!(upstream.proxy.as_ref().unwrap().credentials.is_some());
        for direct in [
            "https://intra.example/",
            "https://x.intra.example/",
            "https://dot.example/",
            "http://a.b.dot.example/",
            "https://a.star.example/",
            "http://10.1.2.3/",
            "https://h.example:8443/",
            "http://192.0.2.7/",
            "http://localhost:1/",
        ] {
            assert_eq!(way(&upstream, direct), "direct", "{direct}");
        }
        for through in ["https://h.example/", "https://notintra.example/", "http://192.0.2.70/"] {
            assert_ne!(way(&upstream, through), "direct", "{through}");
        }
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(
            lines[0],
            "calls go on through http://corp.example:3128 (HTTPS_PROXY), except to the hosts in NO_PROXY; --no-upstream: directly"
        );
        assert!(lines[1].contains("<local>") && !lines.concat().contains("hunter2"), "{lines:?}");
    }

    #[test]
    fn each_scheme_has_its_own_and_small_letters_come_first() {
        let (upstream, lines) = taken(&[("https_proxy", "s.example:1"), ("HTTPS_PROXY", "http://other:2")], &[]);
        assert_eq!(way(&upstream, "https://a.example/"), "http://s.example:1");
        assert_eq!(way(&upstream, "http://a.example/"), "direct");
        assert!(lines[0].contains("HTTP calls directly"), "{lines:?}");
        let (upstream, _) = taken(&[("http_proxy", "http://h.example:1")], &[]);
        assert_eq!(way(&upstream, "https://a.example/"), "direct");
        assert_eq!(way(&upstream, "http://a.example/"), "http://h.example:1");
        let (upstream, _) = taken(&[("HTTP_PROXY", "http://h.example"), ("ALL_PROXY", "socks5h://s.example")], &[]);
        assert_eq!(way(&upstream, "https://a.example/"), "socks5h://s.example:1080");
        assert_eq!(way(&upstream, "http://a.example/"), "http://h.example:80");
        let (upstream, _) = taken(&[("all_proxy", "https://t.example")], &[]);
        assert_eq!(way(&upstream, "http://a.example/"), "https://t.example:443");
    }

    #[test]
    fn a_proxy_of_ours_is_no_next_proxy() {
        for (url, own) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://localhost:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "0.0.0.0:8080"),
            ("http://x:y@127.0.0.1:8080", "0.0.0.0:8080"),
        ] {
            let (upstream, lines) = taken(&[("HTTPS_PROXY", url), ("HTTP_PROXY", url)], &[own]);
            assert!(upstream.proxy.is_none(), "{url}");
            assert_eq!(lines.len(), 2, "{lines:?}");
            assert!(lines[0].contains("names an otas-proxy"), "{lines:?}");
        }
        let around = "http://127.0.0.1:4711";
        let (upstream, _) = taken(&[("HTTPS_PROXY", around), ("OTAS_PROXY_URL", around)], &[]);
        assert!(upstream.proxy.is_none(), "a run inside a run");
        for other in ["http://127.0.0.1:3128", "http://corp.example:8080", "http://10.0.0.1:8080"] {
            let (upstream, _) = taken(&[("HTTPS_PROXY", other)], &["127.0.0.1:8080"]);
            assert!(upstream.proxy.is_some(), "{other}");
        }
    }

    #[test]
    fn unusable_proxies_are_named_and_settings_come_first() {
        for (value, reason) in [("socks4://s.example", "socks5://"), ("http://h.example/path", "end after the port")]
        {
            let (upstream, lines) = taken(&[("HTTPS_PROXY", value)], &[]);
            assert!(upstream.proxy.is_none() && lines[0].contains(reason), "{lines:?}");
            assert!(
                lines[0].starts_with("HTTPS calls go directly: HTTPS_PROXY")
                    && lines[0].contains("OTAS_UPSTREAM_PROXY")
            );
        }
        let (upstream, lines) = taken(&[("HTTPS_PROXY", "http://h.example"), ("NO_PROXY", "*")], &[]);
        assert!(
            upstream.proxy.is_none()
                && lines == ["NO_PROXY=* excepts every host from the environment's proxy: calls go directly"]
        );
        assert!(taken(&[("HTTPS_PROXY", " ")], &[]).1.is_empty());

        let set = || Upstream {
            proxy: NextProxy::parse("http://set.example").ok(),
            for_http: ForHttp::Same,
            no_proxy: HostRules::default(),
            share: true,
        };
        let env = |_: &str| Some("http://environment.example".to_owned());
        let mut upstream = set();
        assert!(take_over(&mut upstream, TAKE, true, &env, &[]).is_empty());
        assert_eq!(way(&upstream, "http://a.example/"), "http://set.example:80");
        let mut upstream = set();
        assert!(take_over(&mut upstream, UpstreamArgs { no_upstream: true }, true, &env, &[]).is_empty());
        assert_eq!(way(&upstream, "http://a.example/"), "direct");
    }
}
