//! What a settings file may say that was merely found in the working folder. Whoever made that folder (the author of a
//! repository that was cloned, say) made the file as well. So it may set only what is listed here, each within its limit:
//! what concerns the folder alone. Anything else is refused before its value is looked at, and a new setting is refused until it is
//! listed. Named by the user (`--config ./proxy.toml`, `OTAS_PROXY_CONFIG`), the same file may set everything.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use url::{Host, Url};

use super::error::Problem;
use super::file::SettingsFile;
use super::keys;
use super::source::{Source, Sources};
use super::types::Config;

/// How people make it deliberate.
pub(super) const NAME_IT: &str = "if you mean it, name the file: --config ./proxy.toml";

/// Says what a value would do that is beyond the limit of its setting. `None`: it is within.
type Limit = fn(&Found<'_>) -> Option<String>;

/// All that such a file may set.
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
    // Each call that passes unread is an event that says so.
    ("tls.passthrough", |_| None),
    ("egress.deny", |_| None),
    ("capture.rules", |_| None),
    ("event.properties", |_| None),
    (keys::STORE_PATH, |found| found.leads_out(Some(&found.config.store.path))),
];

/// Of these it may have its own where the user's own file has one, too.
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

    /// Where credentials of the user's are sent.
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
        Some(format!("would have {credential} sent to a host of its choice"))
    }

    /// With a key of its own, it would have what agents send logged for somebody else.
    fn logs_elsewhere(&self, is_in_force: bool) -> Option<String> {
        let otas = &self.config.otas;
        let is_away = [&otas.brain_url, &otas.uasam_url].into_iter().any(|url| !is_on_this_machine(url));
        (is_in_force && is_away).then(|| "would have what agents send logged with a key of its choice".to_owned())
    }

    fn leads_out(&self, path: Option<&Path>) -> Option<String> {
        let path = path.filter(|path| !is_within(path, self.folder))?;
        Some(format!("leads out of its folder, to {}: a file of yours could be read or replaced", path.display()))
    }
}

fn opens(at: SocketAddr) -> Option<String> {
    (!at.ip().to_canonical().is_loopback()).then(|| "would open a port of yours to other machines".to_owned())
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

/// Whether a path stays below `folder`, wherever links on the way lead.
pub(super) fn is_within(path: &Path, folder: &Path) -> bool {
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
