//! What a running proxy takes over of new settings (pure).

use std::path::{Path, PathBuf};

use super::keys::{self, Applies};
use super::rules::broken_rules;
use super::sinks::Sink;
use super::types::Config;

/// What becomes of new settings in a running proxy.
pub struct Takeover {
    /// The settings from now on: the new value of each setting that can be taken over, the old value of each other.
    pub config: Config,
    /// The names of the settings that are taken over, in the order of `proxy.toml`.
    pub changed: Vec<&'static str>,
    /// The names of the settings that need a restart.
    pub needs_restart: Vec<&'static str>,
}

impl Takeover {
    /// `in_force`: the settings of the running proxy. `new`: valid settings.
    ///
    /// What can be taken over may not fit what stays as it is. Then nothing is taken over, and all that differs needs a restart.
    pub fn of(in_force: &Config, new: &Config) -> Self {
        let mut takeover = Self { config: in_force.clone(), changed: Vec::new(), needs_restart: Vec::new() };
        for key in keys::all().filter(|key| (key.part.differs)(in_force, new)) {
            match key.applies {
                Applies::Live => {
                    (key.part.take)(&mut takeover.config, new);
                    takeover.changed.push(key.name);
                }
                Applies::AtStart => takeover.needs_restart.push(key.name),
            }
        }
        if broken_rules(&takeover.config).next().is_some() {
            let differs = |name: &&str| takeover.changed.contains(name) || takeover.needs_restart.contains(name);
            takeover.needs_restart = keys::names().filter(differs).collect();
            (takeover.config, takeover.changed) = (in_force.clone(), Vec::new());
        }
        takeover
    }
}

impl Config {
    /// The files that settings were read from, or that parts of the proxy read because a setting names them: keys, secrets,
    /// certificates, prices.
    pub fn files(&self) -> Vec<PathBuf> {
        let Self { otas, agents, tls, event, sinks, queue, .. } = self;
        let mut files: Vec<&Path> = otas.agent_key_file.as_deref().into_iter().collect();
        for agent in agents {
            files.push(&agent.secret_file);
            files.extend(agent.agent_key.as_ref().map(|(_, file)| file.as_path()));
        }
        files.extend(tls.origin_ca_file.as_deref());
        files.extend(tls.client_certificates.iter().flat_map(|ours| [&*ours.cert_file, &*ours.key_file]));
        files.extend(event.prices.file());
        files.extend(queue.credentials_file.as_deref().into_iter().chain(queue.ca_file.as_deref()));
        for sink in sinks {
            if let Sink::Otlp(otlp) = sink {
                files.extend(otlp.headers_file.as_deref().into_iter().chain(otlp.certificate.as_deref()));
            }
        }
        files.into_iter().map(Path::to_owned).collect()
    }
}
