//! What a settings file may not say that was merely found in the working folder: whoever made that folder (the author of a
//! repository that was cloned, say) made the file as well. It may not have the user's credentials or calls sent anywhere, nor open
//! this proxy or the user's files to others, nor weaken what protects the calls of agents. Named by the user
//! (`--config ./proxy.toml`, `OTAS_PROXY_CONFIG`), the same file may.

use std::path::{Path, PathBuf};

use url::{Host, Url};

use super::keys;
use super::source::{Source, Sources};
use super::types::{Agent, Config};

/// How people make it deliberate.
const NAME_IT: &str = "if you mean it, name the file: --config ./proxy.toml";

/// Settings that a file which was merely found may not have at all, with what they could do.
const NEVER: [(&str, &str); 12] = [
    ("listen.same_user", "would let other users of this machine call"),
    ("listen.allow_clients", "would let other machines call"),
    ("listen.insecure_open_proxy", "would let everybody call who reaches this machine"),
    (keys::OTAS_DELIVER, "would keep what agents do from your OTAS"),
    (keys::SINKS, "would have what agents send told where it likes"),
    ("tls.origin_ca_file", "would have origins trusted that are not who they say, with what agents send them"),
    ("tls.pinned", "would have origins trusted that are not who they say, with what agents send them"),
    ("tls.client_certificates", "would show certificates of yours to hosts of its choice"),
    ("upstream.proxy", "would lead what agents send through a host of its choice"),
    ("egress.allow", "would change which hosts agents may call"),
    ("egress.allow_metadata", "would let agents have this machine's own credentials"),
    ("redact.allow", "would have secrets stored and delivered unmasked"),
];

/// What is refused of the settings in force, given where each came from and the folder of the file that was found.
pub(super) fn refused(config: &Config, sources: &Sources, folder: &Path) -> Vec<(Source, &'static str, String)> {
    let from_file = |key: &str| sources.get(key).filter(|source| matches!(source, Source::File { .. }));
    let foreign = foreign_credential(config, sources);
    let never = NEVER.into_iter().map(|(key, does)| (key, does.to_owned()));
    // Where what the user's credentials open is sent.
    let sent = ["otas.brain_url", "otas.uasam_url", "otas.project_domain", "otas.project_subdomains"].into_iter();
    let sent = sent.filter_map(|key| Some((key, format!("would have {} sent to a host of its choice", foreign?))));
    let domains = config.agents.iter().any(|agent| agent.agent_key.is_none() && agent.project_domain.is_some());
    let domains = foreign.filter(|_| domains).map(|credential| {
        (keys::AGENTS, format!("would have {credential} sent to a `project_domain` of its choice"))
    });
    // With a key of its own, it would have what agents send logged for somebody else.
    let away = [&config.otas.brain_url, &config.otas.uasam_url].into_iter().any(|url| !is_on_this_machine(url));
    let own_key = if config.otas.agent_key_file.is_some() { keys::AGENT_KEY_FILE } else { keys::AGENT_KEY };
    let own_keys = [(own_key, config.otas.agent_key.is_some()), (keys::AGENTS, has_keys(&config.agents))];
    let logged = own_keys.into_iter().filter(|(_, is_set)| away && *is_set);
    let logged =
        logged.map(|(key, _)| (key, "would have what agents send logged with a key of its choice".to_owned()));
    let listens = [(keys::LISTEN_PROXY, config.listen.proxy), (keys::LISTEN_ADMIN, config.listen.admin)].into_iter();
    let listens = listens.filter(|(_, at)| !at.ip().to_canonical().is_loopback());
    let listens = listens.map(|(key, _)| (key, "would open a port of yours to other machines".to_owned()));
    let paths = paths(config).into_iter().filter(|(_, path)| !is_within(path, folder)).map(|(key, path)| {
        (key, format!("leads out of its folder, to {}: a file of yours could be read or replaced", path.display()))
    });
    let all = never.chain(sent).chain(domains).chain(logged).chain(listens).chain(paths);
    all.filter_map(|(key, does)| {
        let source = from_file(key)?;
        Some((
            source.clone(),
            key,
            format!("this file was merely found in the working folder, and {does}; {NAME_IT}"),
        ))
    })
    .collect()
}

fn has_keys(agents: &[Agent]) -> bool {
    agents.iter().any(|agent| agent.agent_key.is_some())
}

/// Whether nobody but this machine's own users can be at this URL.
fn is_on_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    }
}

/// A credential in force that is not the file's own.
fn foreign_credential(config: &Config, sources: &Sources) -> Option<&'static str> {
    let outside = |key: &str| matches!(sources.get(key), Some(Source::Environment(_) | Source::Flag(_)));
    if config.otas.agent_key.is_some() && outside(keys::AGENT_KEY) {
        Some("your agent key")
    } else if config.otas.session_token.is_some() && outside(keys::SESSION_TOKEN) {
        Some("your session token")
    } else {
        None
    }
}

/// The files that settings name, each with its setting.
fn paths(config: &Config) -> Vec<(&'static str, &Path)> {
    let key_file = config.otas.agent_key_file.as_deref().map(|path| (keys::AGENT_KEY_FILE, path));
    let agents = config.agents.iter().filter_map(|agent| Some((keys::AGENTS, agent.agent_key.as_ref()?.1.as_path())));
    let own = [(keys::CA_DIR, config.tls.ca_dir.as_path()), (keys::STORE_PATH, config.store.path.as_path())];
    let prices = config.event.prices.as_ref().map(|prices| (keys::PRICES_FILE, prices.file()));
    own.into_iter().chain(key_file).chain(agents).chain(prices).collect()
}

/// Whether a path stays below `folder`, wherever links on the way lead.
fn is_within(path: &Path, folder: &Path) -> bool {
    folder.canonicalize().is_ok_and(|folder| real(path).starts_with(folder))
}

/// The path without links, as far as it exists; what does not, is no link.
fn real(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(real), ..) => real,
        // A link to what does not exist would be followed by whoever makes it.
        (Err(_), ..) if path.is_symlink() => PathBuf::new(),
        (Err(_), Some(parent), Some(name)) => real(parent).join(name),
        // `..` after what does not exist: nobody knows where that leads.
        (Err(_), ..) => PathBuf::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_before_it_is_said_where_a_path_leads() {
        let outside = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(outside.path().join("key"), "k").unwrap();
        std::fs::write(at("own"), "k").unwrap();
        std::os::unix::fs::symlink(outside.path().join("key"), at("linked")).unwrap();
        std::os::unix::fs::symlink(outside.path(), at("folder")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("nothing"), at("dangling")).unwrap();
        for inside in ["own", "new/file", "./own"] {
            assert!(is_within(&at(inside), folder.path()), "{inside}");
        }
        for leading_out in ["linked", "folder/key", "folder/new", "dangling", "../x", "new/../../x", "/etc/passwd"] {
            assert!(!is_within(&at(leading_out), folder.path()), "{leading_out}");
        }
    }
}
