//! New settings while `serve` runs: after SIGHUP, or when a file of settings has changed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::{chain, inherited, say};
use crate::app::{Reloaded, Reloader};
use crate::config::{Config, Flags, settings_places};
use crate::redact::masked;
use crate::system::files::{Stamp, stamp};
use crate::system::signals::Hangup;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// A file that has changed is read when it has not changed again for so long. It may be half written.
const SETTLE: Duration = Duration::from_millis(200);
/// A file that changes all the time is read nevertheless after so many looks.
const LOOKS_WHILE_CHANGING: u32 = 10;

/// Reads the settings again, as at the start.
pub(super) struct Reloading {
    pub(super) flags: Flags,
    pub(super) upstream: inherited::UpstreamArgs,
    /// The addresses of our own proxies.
    pub(super) own: Vec<SocketAddr>,
    /// Ports that were passed to this process: for agents, and for the page.
    pub(super) passed: (Option<SocketAddr>, Option<SocketAddr>),
    pub(super) reloader: Reloader,
    /// The files as they were when the settings in force were read.
    pub(super) known: Stamps,
}

/// The states of the files that settings are read from.
///
/// `None`: there is no such file. Links are followed, so the state changes also when a link leads elsewhere, as Kubernetes does it.
pub(super) type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

impl Reloading {
    /// Takes new settings over, for ever. What became of them is said once for each change.
    pub(super) async fn follow(self, mut hangup: Hangup) {
        let this = Arc::new(self);
        let mut every = interval_at(Instant::now() + LOOK, LOOK);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = this.known.clone();
        let mut refused: Option<String> = None;
        let mut awaited: Vec<&str> = Vec::new();
        loop {
            let trigger = tokio::select! {
                () = hangup.recv() => Trigger::Signal,
                _ = every.tick() => Trigger::File,
            };
            let now = match trigger {
                Trigger::Signal => this.look().await,
                Trigger::File => match this.look().await {
                    // A file that refused settings name may be there now. The settings in force do not name it.
                    same if same == known && refused.is_none() => continue,
                    same if same == known => same,
                    changed => this.settled(changed).await,
                },
            };
            known = now;
            let again = this.clone();
            // It reads files, and some rules take a moment to prepare.
            let Ok(outcome) = spawn_blocking(move || again.reload()).await else { continue };
            match outcome {
                Ok(reloaded) => {
                    let is_news =
                        !reloaded.changed.is_empty() || reloaded.needs_restart != awaited || refused.is_some();
                    if is_news || trigger == Trigger::Signal {
                        say::err(&format!("otas-proxy: {}: {}", trigger.words(), outcome_in_words(&reloaded)));
                    }
                    (refused, awaited) = (None, reloaded.needs_restart);
                }
                Err(why) => {
                    if trigger == Trigger::Signal || refused.as_ref() != Some(&why) {
                        let what = "the settings are invalid; those in force stay";
                        say::err(&format!("otas-proxy: {}: {what}: {why}", trigger.words()));
                        this.reloader.refuse(why.clone());
                    }
                    refused = Some(why);
                }
            }
        }
    }

    /// The settings as they are now, taken over as far as possible. The error has no secrets.
    fn reload(&self) -> Result<Reloaded, String> {
        let taken = || {
            let mut loaded = super::load(&self.flags)?;
            loaded.listen_at(self.passed.0, self.passed.1)?;
            inherited::apply_again(&mut loaded, self.upstream, &self.own);
            Ok::<_, super::Failure>(self.reloader.take_over(loaded.config)?)
        };
        taken().map_err(|error| masked(&chain(error.as_ref())).into_owned())
    }

    async fn look(self: &Arc<Self>) -> Stamps {
        let this = self.clone();
        // Fails only if the proxy ends.
        spawn_blocking(move || stamps(&this.flags, &this.reloader.in_force())).await.unwrap_or_default()
    }

    /// Waits until the files do not change any more.
    async fn settled(self: &Arc<Self>, mut before: Stamps) -> Stamps {
        for _ in 0..LOOKS_WHILE_CHANGING {
            sleep(SETTLE).await;
            let now = self.look().await;
            if now == before {
                break;
            }
            before = now;
        }
        before
    }
}

/// The state of all files that these settings are read from.
pub(super) fn stamps(flags: &Flags, config: &Config) -> Stamps {
    let cwd = std::env::current_dir().unwrap_or_default();
    let places = settings_places(flags, &|name| std::env::var(name).ok(), &cwd);
    places.into_iter().chain(config.files()).map(|file| (file.clone(), stamp(&file))).collect()
}

/// Why the settings are read again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trigger {
    Signal,
    File,
}

impl Trigger {
    fn words(self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::File => "a file of the settings has changed",
        }
    }
}

/// What became of the new settings, in words.
fn outcome_in_words(reloaded: &Reloaded) -> String {
    let Reloaded { changed, needs_restart } = reloaded;
    let taken = match changed.is_empty() {
        true => "no setting in force has changed".to_owned(),
        false => format!("new settings are in force: {}", changed.join(", ")),
    };
    match needs_restart.is_empty() {
        true => taken,
        false => format!("{taken}; these need a restart: {}", needs_restart.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_that_is_replaced_written_or_reached_by_another_link_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let file = at("proxy.toml");
        let mut stamps = vec![stamp(&file)];
        fs::write(&file, "a").unwrap();
        stamps.push(stamp(&file));
        fs::write(at("new"), "a").unwrap();
        fs::rename(at("new"), &file).unwrap();
        stamps.push(stamp(&file));
        fs::write(&file, "ab").unwrap();
        stamps.push(stamp(&file));
        for version in ["..1", "..2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("proxy.toml"), "ab").unwrap();
        }
        fs::remove_file(&file).unwrap();
        symlink("..1", at("..data")).unwrap();
        symlink("..data/proxy.toml", &file).unwrap();
        stamps.push(stamp(&file));
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        stamps.push(stamp(&file));
        assert_eq!(stamp(&file), stamp(&file));
        let distinct: std::collections::HashSet<_> = stamps.iter().collect();
        assert_eq!(distinct.len(), stamps.len());
    }

    #[test]
    fn each_outcome_is_said() {
        let of = |changed: &[&'static str], needs_restart: &[&'static str]| {
            outcome_in_words(&Reloaded { changed: changed.to_vec(), needs_restart: needs_restart.to_vec() })
        };
        assert_eq!(of(&[], &[]), "no setting in force has changed");
        assert_eq!(of(&["redact.keys", "proxy.via"], &[]), "new settings are in force: redact.keys, proxy.via");
        assert_eq!(
            of(&["proxy.via"], &["listen.proxy"]),
            "new settings are in force: proxy.via; these need a restart: listen.proxy"
        );
    }
}
