//! `[listen]`

use super::super::shown::{addresses, networks};
use super::key::{Key, Kind, put, switch, text};
use super::names;
use super::part::part;

pub(super) const KEYS: &[Key] = &[
    Key::new(
        names::LISTEN_PROXY,
        Kind::Text,
        "Where agents connect: the address for `HTTP_PROXY` and `HTTPS_PROXY`. Port 0 takes any free port. Beyond loopback it \
         needs credentials (`session.scope`), `listen.allow_clients` or `listen.insecure_open_proxy`.",
        |c, g| put(&mut c.listen.proxy, g.address()),
        |c| Some(c.listen.proxy.to_string()),
        part!(listen.proxy),
    )
    .flag("--listen-proxy", |f| text(&f.listen_proxy)),
    Key::new(
        names::LISTEN_ADMIN,
        Kind::Text,
        "Where the web page, health, status and metrics are served. Port 0 takes any free port.",
        |c, g| put(&mut c.listen.admin, g.address()),
        |c| Some(c.listen.admin.to_string()),
        part!(listen.admin),
    )
    .flag("--listen-admin", |f| text(&f.listen_admin)),
    Key::new(
        names::LISTEN_TRANSPARENT,
        Kind::Plain,
        "Where the system redirects connections of agents that know nothing of proxies: an address, or a list of them. \
         `otas-proxy redirect` \
         writes the rules. A connection that nobody redirected is refused. Linux only.",
        |c, g| put(&mut c.listen.transparent, g.addresses()),
        |c| (!c.listen.transparent.is_empty()).then(|| addresses(&c.listen.transparent)),
        part!(listen.transparent),
    )
    .unset("none")
    .example("[\"127.0.0.1:8089\", \"[::1]:8089\"]"),
    switch!(
        listen.same_user,
        "On loopback, serve only the user who runs the proxy, and root. Connections of other users are closed and counted. \
         Switch it off where agents run as another user, as in a sidecar. Linux only."
    ),
    switch!(
        listen.processes,
        "Look up the process that each local connection comes from, for `metadata.client` of its events. Linux only."
    ),
    Key::new(
        "listen.allow_clients",
        Kind::Plain,
        "The networks (`10.1.0.0/16`) and addresses that agents may connect from. Other connections are closed and counted. \
         An empty list allows all.",
        |c, g| put(&mut c.listen.allow_clients, g.networks()),
        |c| Some(networks(&c.listen.allow_clients)),
        part!(listen.allow_clients),
    ).live(),
    switch!(
        listen.insecure_open_proxy,
        "Allow a port beyond loopback through which everybody who reaches it can call out. Without this such a start is refused."
    ).live(),
];
