//! Settings: flags over environment over `proxy.toml` over defaults, validated once into a [`Config`].
//!
//! One list (`keys`) has everything about each setting: name, variable, flag, limits, meaning, how it is read and shown. `proxy.toml`,
//! the tables of the reference page and the help of flags are made from it (`reference`, `help`). `draft` applies the layers from the
//! lowest to the highest, remembers where each value came from, and reports all problems at once. No error repeats a text value,
//! because it may be a secret in the wrong place.

mod defaults;
mod draft;
mod error;
mod file;
mod flags;
mod folders;
mod found;
mod given;
mod help;
mod key_file;
mod keys;
mod nearest;
mod next_proxy;
mod otel;
mod reference;
mod rules;
mod shown;
mod sinks;
mod source;
mod takeover;
mod types;
mod within;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use crate::redact::{CaptureLevel, Redact, RedactAllow};
pub use error::{ConfigError, Problem};
pub use flags::{FLAGS_HEADING, Flags};
pub use folders::state as state_folder;
#[cfg(feature = "nats")]
pub(crate) use given::is_subject_part;
pub(crate) use given::listen_address;
pub use help::with_flag_help;
pub use key_file::read_key_file;
pub use next_proxy::{NextProxy, NextProxyScheme};
pub use reference::{settings_file, settings_tables};
pub use sinks::{Only, Otlp, Sink, Spans};
pub use source::{Setting, Source};
pub use takeover::Takeover;
pub use types::{
    Agent, Capture, ClientCertificate, Config, Delivery, Durability, Egress, Event, ForHttp, Forget, Listen, OnFull,
    Order, Otas, PinnedCertificate, Proxy, Queue, Scope, Session, Store, Tls, Upstream,
};

use draft::Draft;
use file::SettingsFile;
use source::Sources;

impl Config {
    /// The defaults, with our own files under `data`: for programs that embed the proxy.
    ///
    /// # Errors
    /// Only if a default URL were malformed, which a test rules out.
    pub fn defaults(data: &Path) -> Result<Self, url::ParseError> {
        defaults::config(data)
    }
}

/// The settings in force, and where each came from.
pub struct Loaded {
    /// The validated settings.
    pub config: Config,
    /// The settings files that were read, the weakest first.
    pub files: Vec<PathBuf>,
    sources: Sources,
    /// Whether the user named the file.
    file_is_named: bool,
}

impl Loaded {
    /// Somebody else has opened these ports, so they are in force instead of those of the settings.
    ///
    /// # Errors
    /// When the settings do not allow such a port, for example one that everybody may use.
    pub fn listen_at(&mut self, proxy: Option<SocketAddr>, admin: Option<SocketAddr>) -> Result<(), ConfigError> {
        let listen = &mut self.config.listen;
        (listen.proxy, listen.admin) = (proxy.unwrap_or(listen.proxy), admin.unwrap_or(listen.admin));
        match rules::broken_rules(&self.config).next() {
            Some((key, message)) => Err(self.refuse(key, message)),
            None => Ok(()),
        }
    }

    /// Every setting in the order of `proxy.toml`: its effective value as text (secrets masked) and its source.
    pub fn report(&self) -> Vec<Setting> {
        let setting = |key: &keys::Key| Setting {
            key: key.name,
            value: (key.show)(&self.config).unwrap_or_else(|| "not set".to_owned()),
            source: self.sources.get(key.name).cloned().unwrap_or(Source::Default),
        };
        keys::all().map(setting).collect()
    }

    /// Whether anything sets this.
    pub fn is_set(&self, key: &str) -> bool {
        self.sources.contains_key(key)
    }

    /// Whether the user set this deliberately: by a flag, a variable or a file that was named.
    pub fn is_named(&self, key: &str) -> bool {
        match self.sources.get(key) {
            Some(Source::Flag(_) | Source::Environment(_)) => true,
            Some(Source::File { .. }) => self.file_is_named,
            Some(Source::Default) | None => false,
        }
    }

    /// The error of a command that cannot use the value of a setting, with the setting's place.
    pub fn refuse(&self, key: &str, message: &str) -> ConfigError {
        let source = self.sources.get(key).cloned().unwrap_or(Source::Default);
        ConfigError::Invalid(vec![Problem { source, key: Some(key.to_owned()), message: message.to_owned() }])
    }
}

/// Reads the settings: flags override the environment, which overrides the settings file, which overrides the defaults.
///
/// `env` looks up a variable; an empty one counts as not set. `cwd` is the folder of `./proxy.toml` and of relative paths in flags
/// and variables. Relative paths in the file start from its own folder.
///
/// The file is the one that `--config` names, else the one that `OTAS_PROXY_CONFIG` names. Without either it is
/// `otas-proxy/proxy.toml` in the user's configuration folder, overridden by `./proxy.toml`. As nobody named `./proxy.toml`, it
/// may set only what `found` lists.
///
/// # Errors
/// [`ConfigError::Read`] when the file cannot be read (or was named and does not exist), and
/// [`ConfigError::Invalid`] with every problem of every layer otherwise.
pub fn load(flags: &Flags, env: &dyn Fn(&str) -> Option<String>, cwd: &Path) -> Result<Loaded, ConfigError> {
    let env = trimmed(env);
    let data = folders::data(&env);
    let files = SettingsFile::find(flags, &env, cwd)?;

    let mut draft = Draft::new(data.as_deref())?;
    files.iter().for_each(|file| draft.apply_file(file));
    draft.apply_environment(&env, cwd);
    draft.apply_flags(flags, cwd);
    let (config, sources) = draft.finish(files.last())?;
    let file_is_named = flags.config.is_some() || env(file::VARIABLE).is_some();
    Ok(Loaded { config, files: files.into_iter().map(|file| file.path).collect(), sources, file_is_named })
}

/// The settings files that [`load`] looks for, whether they exist or not.
pub fn settings_places(flags: &Flags, env: &dyn Fn(&str) -> Option<String>, cwd: &Path) -> Vec<PathBuf> {
    SettingsFile::places(flags, &trimmed(env), cwd)
}

/// An empty variable counts as not set.
fn trimmed(env: &dyn Fn(&str) -> Option<String>) -> impl Fn(&str) -> Option<String> {
    move |name| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
