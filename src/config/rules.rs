//! Rules between settings: each value is valid, but they do not fit together (pure).

use super::keys;
use super::types::{Agent, Config, Listen, Otas, Scope, Session};

/// The rules that these settings break: the setting to change, and the problem.
pub(super) fn broken_rules(config: &Config) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
    let Config { listen, otas, session, agents, delivery, redact, tls, queue, .. } = config;
    let rules = [
        (
            crate::redact::names_unknown_rule(redact),
            keys::REDACT_ALLOW,
            "no such redaction rule; rules are called `header.<name>`, `key.<name>`, `pattern.<name>`, `service.<name>`, \
             `url.userinfo` and `cut`, and events list those that found something in `metadata.redaction_rules`",
        ),
        (
            otas.session_token.is_some() && otas.agent_key.is_none(),
            keys::SESSION_TOKEN,
            "a session token needs the agent key that it was made with; set `otas.agent_key` or \
             `otas.agent_key_file` as well (or OTAS_AGENT_KEY), or remove the token",
        ),
        (
            (session.scope == Scope::Credential) == agents.is_empty(),
            keys::SESSION_SCOPE,
            "does not fit `[[agents]]`: \"credential\" needs a section for each agent that may call, and other scopes allow no such section",
        ),
        (
            !otas.deliver && has_project_domain(otas, agents),
            keys::OTAS_DELIVER,
            "is false, but calls into a project domain need sessions in OTAS; remove `project_domain`, or deliver",
        ),
        (
            session.scope == Scope::Process && !listen.processes,
            keys::SESSION_SCOPE,
            "\"process\" needs `listen.processes`, which is false",
        ),
        (
            listen.proxy == listen.admin && listen.proxy.port() != 0,
            keys::LISTEN_ADMIN,
            "is the same address as `listen.proxy`; give one of them another port",
        ),
        (
            !listen.transparent.is_empty() && !cfg!(target_os = "linux"),
            keys::LISTEN_TRANSPARENT,
            "needs Linux: other systems do not say where a connection was redirected from; remove it",
        ),
        (
            !listen.transparent.is_empty() && session.scope == Scope::Credential,
            keys::LISTEN_TRANSPARENT,
            "agents that are redirected know of no proxy, so they give no credentials; use another `session.scope`",
        ),
        (
            listen.transparent.iter().any(|address| {
                address.port() != 0 && [listen.proxy, listen.admin].iter().any(|other| other == address)
            }),
            keys::LISTEN_TRANSPARENT,
            "is the same address as `listen.proxy` or `listen.admin`; give it another port",
        ),
        (
            is_open(listen, session),
            keys::LISTEN_PROXY,
            "everybody who reaches this address could call out through this machine; use a loopback address, or give agents \
             credentials (`session.scope = \"credential\"`), or name the networks that they call from \
             (`listen.allow_clients`); `listen.insecure_open_proxy = true` allows it",
        ),
        (
            tls.agent_dir.as_deref() == Some(&*tls.ca_dir),
            keys::AGENT_DIR,
            "is the CA's own folder (`tls.ca_dir`), which holds its key; name another one",
        ),
        (
            queue.is_used() && !cfg!(feature = "nats"),
            keys::NATS_URL,
            "this program was built without NATS; use a release, or build it with the feature `nats`",
        ),
        (
            queue.is_used() && (otas.session_token.is_some() || has_project_domain(otas, agents)),
            keys::NATS_URL,
            "relays open the sessions, so this proxy has no session tokens; remove `otas.session_token` and `project_domain`, or \
             deliver to OTAS directly",
        ),
        (delivery.backoff_min > delivery.backoff_max, keys::BACKOFF_MIN, "is longer than `delivery.backoff_max_ms`"),
    ];
    rules.into_iter().filter(|(is_broken, ..)| *is_broken).map(|(_, key, message)| (key, message))
}

fn has_project_domain(otas: &Otas, agents: &[Agent]) -> bool {
    otas.project_domain.is_some() || agents.iter().any(|agent| agent.project_domain.is_some())
}

/// Whether everybody on other machines may call.
fn is_open(listen: &Listen, session: &Session) -> bool {
    !listen.proxy.ip().to_canonical().is_loopback()
        && session.scope != Scope::Credential
        && listen.allow_clients.is_empty()
        && !listen.insecure_open_proxy
}
