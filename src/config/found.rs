//! What a settings file that was merely found in the working folder may set. Its author may be somebody else, such as the author of
//! a cloned repository. So it may set only what is listed here, each within its limit. Anything else is refused before its value is
//! read, and a new setting is refused until it is listed. If the user names the file (`--config ./proxy.toml`,
//! `OTAS_PROXY_CONFIG`), it may set everything.

use std::net::SocketAddr;
use std::path::Path;

use url::{Host, Url};

use super::error::Problem;
use super::file::{NAME_IT, SettingsFile};
use super::keys;
use super::source::{Source, Sources};
use super::types::Config;
use super::within::is_within;

/// Says how a value exceeds the limit of its setting. `None`: it does not.
type Limit = fn(&Found<'_>) -> Option<String>;

/// Everything that such a file may set.
const MAY: [(&str, Limit); 12] = [
    (keys::LISTEN_PROXY, |found| opens(found.config.listen.proxy)),
    (keys::LISTEN_ADMIN, |found| opens(found.config.listen.admin)),
    (keys::BRAIN_URL, |found| found.sends_credential()),
    (keys::UASAM_URL, |found| found.sends_credential()),
    (keys::AGENT_KEY, |found| found.logs_elsewhere(found.config.otas.agent_key.is_some())),
    (keys::AGENT_KEY_FILE, |found| {
        let file = found.config.otas.agent_key_file.as_deref();
        found.leads_out(file).or_else(|| found.logs_elsewhere(file.is_some()))
    }),
    (keys::CA_DIR, |found| found.leads_out(Some(&found.config.tls.ca_dir))),
    // The event of each relayed call says that it was not read.
    ("tls.passthrough", |_| None),
    ("egress.deny", |_| None),
    ("capture.rules", |_| None),
    ("event.properties", |_| None),
    (keys::STORE_PATH, |found| found.leads_out(Some(&found.config.store.path))),
];

/// These it may set even if the user's own file sets them.
const MAY_REPLACE: [&str; 2] = [keys::LISTEN_PROXY, keys::LISTEN_ADMIN];

/// Why a file may not set this at all, whatever the value. `sources`: what weaker files have set.
pub(super) fn refuses_unread(file: &SettingsFile, key: &str, sources: &Sources) -> Option<String> {
    file.merely_found_in()?;
    if !MAY.iter().any(|(may, _)| *may == key) {
        return Some(refusal("such a file may not set this"));
    }
    // A key and a key file are one setting.
    let same = match key {
        keys::AGENT_KEY => keys::AGENT_KEY_FILE,
        keys::AGENT_KEY_FILE => keys::AGENT_KEY,
        other => other,
    };
    let is_users = |key: &str| sources.get(key).is_some_and(|source| !file.has_set(source));
    (!MAY_REPLACE.contains(&key) && (is_users(key) || is_users(same)))
        .then(|| refusal("your own settings file sets this"))
}

fn refusal(why: &str) -> String {
    format!("this file was merely found in the working folder, and {why}; {NAME_IT}")
}

/// The settings in force, with a file that was merely found among their layers.
pub(super) struct Found<'a> {
    file: &'a SettingsFile,
    folder: &'a Path,
    config: &'a Config,
    sources: &'a Sources,
}

impl<'a> Found<'a> {
    /// `None` if the file was not merely found.
    pub(super) fn of(file: &'a SettingsFile, config: &'a Config, sources: &'a Sources) -> Option<Self> {
        Some(Self { file, folder: file.merely_found_in()?, config, sources })
    }

    /// The values in force that the file has set beyond their limits.
    pub(super) fn refused(&self) -> Vec<Problem> {
        let problem = |(key, limit): (&str, Limit)| {
            let source = self.sources.get(key).filter(|source| self.file.has_set(source))?;
            let message = refusal(&limit(self)?);
            Some(Problem { source: source.clone(), key: Some(key.to_owned()), message })
        };
        MAY.into_iter().filter_map(problem).collect()
    }

    /// The user's credentials would be sent to a URL of the file.
    fn sends_credential(&self) -> Option<String> {
        let is_users = |key: &str| {
            self.sources.get(key).is_some_and(|source| *source != Source::Default && !self.file.has_set(source))
        };
        let otas = &self.config.otas;
        let has_key = (otas.agent_key.is_some() && is_users(keys::AGENT_KEY))
            || (otas.agent_key_file.is_some() && is_users(keys::AGENT_KEY_FILE));
        let credential = match (has_key, otas.session_token.is_some() && is_users(keys::SESSION_TOKEN)) {
            (true, _) => "your agent key",
            (_, true) => "your session token",
            _ if self.config.agents.iter().any(|agent| agent.agent_key.is_some()) => "the keys of your agents",
            _ => return None,
        };
        Some(format!("would send {credential} to a host of its choice"))
    }

    /// With a key of the file, events would be logged for somebody else.
    fn logs_elsewhere(&self, is_in_force: bool) -> Option<String> {
        let otas = &self.config.otas;
        let is_away = [&otas.brain_url, &otas.uasam_url].into_iter().any(|url| !is_on_this_machine(url));
        (is_in_force && is_away).then(|| "would log what agents send with a key of its choice".to_owned())
    }

    fn leads_out(&self, path: Option<&Path>) -> Option<String> {
        let path = path.filter(|path| !is_within(path, self.folder))?;
        Some(format!("leads out of its folder, to {}: one of your files could be read or replaced", path.display()))
    }
}

fn opens(at: SocketAddr) -> Option<String> {
    (!at.ip().to_canonical().is_loopback()).then(|| "would open one of your ports to other machines".to_owned())
}

/// Whether this URL is on this machine.
fn is_on_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    }
}
