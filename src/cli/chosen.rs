//! Which running proxy a command is about, and the settings with that proxy's CA, store and addresses.
//!
//! One rule for every command: the proxy at the address, or with the store or the CA, that the user has named; else the only one
//! that runs; else the one at the default address. Anything else is ambiguous, and the command says how to choose.

use std::fmt;
use std::path::{Path, PathBuf};

use super::admin_call::reachable;
use super::running::{self, Running};
use crate::config::{Loaded, Tls};
use crate::tls::{CA_CERT_FILE, CA_KEY_FILE};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a command needs of a running proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// What agents need: its address and its CA.
    Agents,
    /// Its page: the address, and the store that the page's token is beside.
    Page,
    Ca,
    Store,
}

/// The proxy that these settings select.
#[derive(Debug, PartialEq, Eq)]
enum Choice<'a> {
    None,
    One(&'a Running),
    /// The one at the default address. Others run, and none was named.
    AtDefault(&'a Running),
    Ambiguous,
}

/// What the user named: an address, a store or a CA.
struct Named<'a> {
    loaded: &'a Loaded,
}

impl Named<'_> {
    /// The only proxy with the address, the store or the CA that was named. `Some(None)`: an address was named, and no proxy listens there.
    fn choose<'a>(&self, all: &'a [Running]) -> Option<Option<&'a Running>> {
        let config = &self.loaded.config;
        let (proxy, admin) = (config.listen.proxy, config.listen.admin);
        if self.loaded.is_set("listen.proxy") && proxy.port() != 0 {
            return Some(all.iter().find(|running| running.is_at(proxy)));
        }
        if self.loaded.is_set("listen.admin") && admin.port() != 0 {
            let at = |running: &&Running| reachable(running.admin) == reachable(admin);
            return Some(all.iter().find(at));
        }
        let by_store = |running: &&Running| is_same(&running.store, &config.store.path);
        let by_ca = |running: &&Running| is_same(&running.ca_dir, &config.tls.ca_dir);
        let store = self.loaded.is_named("store.path").then(|| only(all.iter().filter(by_store))).flatten();
        let ca = || self.loaded.is_named("tls.ca_dir").then(|| only(all.iter().filter(by_ca))).flatten();
        store.or_else(ca).map(Some)
    }
}

fn choose<'a>(all: &'a [Running], loaded: &Loaded) -> Choice<'a> {
    if let Some(named) = (Named { loaded }).choose(all) {
        return named.map_or(Choice::None, Choice::One);
    }
    match all {
        [] => Choice::None,
        [only] => Choice::One(only),
        _ => {
            let usual = all.iter().find(|running| running.is_at(loaded.config.listen.proxy));
            usual.map_or(Choice::Ambiguous, Choice::AtDefault)
        }
    }
}

/// The item, if there is exactly one.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    items.next().filter(|_| items.next().is_none())
}

/// Several proxies run, and nothing says which one is meant.
#[derive(Debug, thiserror::Error)]
#[error("{} of your proxies are running: {}. Choose one by its address, such as `--listen-proxy {}`", .0.len(), List(.0), .0[0].proxy)]
pub(super) struct Ambiguous(Vec<Running>);

struct List<'a>(&'a [Running]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, running) in self.0.iter().enumerate() {
            let Running { proxy, ca_dir, store, .. } = running;
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{proxy} (CA {}, store {})", ca_dir.display(), store.display())?;
        }
        Ok(())
    }
}

/// Settings, with the CA, store and addresses of the running proxy.
pub(super) struct Led {
    pub(super) loaded: Loaded,
    /// The proxy, if one runs that these settings lead to.
    pub(super) running: Option<Running>,
    /// All that run, if these settings do not say which of them is meant.
    several: Vec<Running>,
    /// For people: which of several was chosen.
    pub(super) choice_note: Option<String>,
    /// For people: how its CA differs from that of the settings.
    pub(super) ca_note: Option<String>,
    /// The same for its store.
    pub(super) store_note: Option<String>,
    /// The CA that the settings name by flag or in a named file, though the proxy has another.
    pub(super) other_ca: Option<PathBuf>,
}

impl Led {
    /// # Errors
    /// When several proxies run that differ in what the command needs, and nothing says which one is meant.
    pub(super) fn is_clear(&self, about: About) -> Result<(), Ambiguous> {
        let all_have = |what: fn(&Running) -> &Path| all_same(&self.several, what).is_some();
        let is_clear = self.several.is_empty()
            || match about {
                About::Agents | About::Page => false,
                About::Ca => self.loaded.is_named("tls.ca_dir") || all_have(|running| &running.ca_dir),
                About::Store => self.loaded.is_named("store.path") || all_have(|running| &running.store),
            };
        if is_clear { Ok(()) } else { Err(Ambiguous(self.several.clone())) }
    }
}

/// Takes the CA folder, the store and the addresses of the proxy that runs, unless the user named others.
pub(super) fn lead(loaded: Loaded) -> Led {
    lead_to(running::all(), loaded)
}

fn lead_to(all: Vec<Running>, mut loaded: Loaded) -> Led {
    let choice = choose(&all, &loaded);
    let choice_note = match choice {
        Choice::AtDefault(taken) => Some(format!(
            "{} of your proxies are running; this is the one on {}, the address in the settings. Choose another with --listen-proxy: {}",
            all.len(),
            taken.proxy,
            List(&all)
        )),
        _ => None,
    };
    let (running, several) = match choice {
        Choice::One(running) | Choice::AtDefault(running) => (Some(running.clone()), Vec::new()),
        Choice::None => (None, Vec::new()),
        Choice::Ambiguous => (None, all),
    };
    let candidates = running.as_ref().map_or(several.as_slice(), std::slice::from_ref);
    let (ca_note, other_ca) = take_ca(&mut loaded, candidates);
    let store_note = take_store(&mut loaded, candidates);
    if let Some(running) = &running {
        (loaded.config.listen.proxy, loaded.config.listen.admin) = (running.proxy, running.admin);
    }
    Led { loaded, running, several, choice_note, ca_note, store_note, other_ca }
}

/// Uses the CA of these proxies if they share one. Returns the note for the user, and the CA in the settings if it is a different one.
fn take_ca(loaded: &mut Loaded, candidates: &[Running]) -> (Option<String>, Option<PathBuf>) {
    let Some(theirs) = all_same(candidates, |running| &running.ca_dir) else { return (None, None) };
    let is_named = loaded.is_named("tls.ca_dir");
    let ours = &mut loaded.config.tls.ca_dir;
    if is_same(ours, theirs) {
        return (None, None);
    }
    let (at, shown, named) = (addresses(candidates), theirs.display(), ours.display());
    if is_named {
        let note = format!("the proxy on {at} signs with the CA in {shown}; {named} holds a different CA");
        return (Some(note), Some(ours.clone()));
    }
    let note = format!("this is the CA in {shown}, of the proxy on {at}; settings here name {named}");
    theirs.clone_into(ours);
    (Some(note), None)
}

/// Uses the store of these proxies if they share one. Returns the note for the user.
fn take_store(loaded: &mut Loaded, candidates: &[Running]) -> Option<String> {
    let theirs = all_same(candidates, |running| &running.store)?;
    let is_named = loaded.is_named("store.path");
    let ours = &mut loaded.config.store.path;
    if is_named || is_same(ours, theirs) {
        return None;
    }
    let at = addresses(candidates);
    let (shown, named) = (theirs.display(), ours.display());
    let note = format!("events are in {shown}, of the proxy on {at}; settings here name {named} (--store-path)");
    theirs.clone_into(ours);
    Some(note)
}

/// The path, if all of them have the same.
fn all_same(all: &[Running], what: fn(&Running) -> &Path) -> Option<&Path> {
    let first = what(all.first()?);
    all.iter().all(|running| is_same(what(running), first)).then_some(first)
}

fn addresses(all: &[Running]) -> String {
    all.iter().map(|running| running.proxy.to_string()).collect::<Vec<_>>().join(", ")
}

/// Whether both paths lead to the same file or folder.
fn is_same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(a) == real(b)
}

/// Refuses to make a second CA: agents that trust the other one would not trust what a proxy with this one signs.
///
/// # Errors
/// When there is no CA in the folder of these settings, but another one in the user's own folder.
pub(super) fn no_second_ca(led: &Led) -> Result<(), Failure> {
    let tls = &led.loaded.config.tls;
    if tls.ca_dir.join(CA_KEY_FILE).exists() || led.loaded.is_named("tls.ca_dir") {
        return Ok(());
    }
    match other_ca(&tls.ca_dir, &tls.usual_ca_dir) {
        None => Ok(()),
        Some(other) => Err(format!(
            "there is no CA in {} yet, but one in {}: start `otas-proxy serve` first, or name the CA with --ca-dir",
            tls.ca_dir.display(),
            other.display()
        )
        .into()),
    }
}

/// The warning when a new CA is about to be made although the user has another one.
pub(super) fn new_ca(tls: &Tls) -> Option<String> {
    if tls.ca_dir.join(CA_KEY_FILE).exists() {
        return None;
    }
    let other = other_ca(&tls.ca_dir, &tls.usual_ca_dir)?;
    Some(format!(
        "a new CA was made in {}; agents that trust only the one in {} refuse it (`otas-proxy env` prints what they need)",
        tls.ca_dir.display(),
        other.display()
    ))
}

/// The user's other CA, if there is one.
fn other_ca(ca_dir: &Path, usual: &Path) -> Option<PathBuf> {
    (!is_same(ca_dir, usual) && usual.join(CA_CERT_FILE).exists()).then(|| usual.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Flags};
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn one(port: u16, ca_dir: &str, store: &str) -> Running {
        let at = |port: u16| format!("127.0.0.1:{port}").parse().unwrap();
        Running {
            run_id: port.to_string(),
            proxy: at(port),
            admin: at(port + 1),
            ca_dir: ca_dir.into(),
            store: store.into(),
        }
    }

    fn led(all: &[Running], flags: &[&str]) -> Led {
        let flags = Line::parse_from(std::iter::once(&"otas-proxy").chain(flags)).flags;
        let env = |name: &str| (name == "HOME").then(|| "/home/of/nobody".to_owned());
        lead_to(all.to_vec(), config::load(&flags, &env, Path::new("/")).unwrap())
    }

    fn taken(led: &Led, about: About) -> Option<u16> {
        led.is_clear(about).map(|()| led.loaded.config.listen.proxy.port()).ok()
    }

    #[test]
    fn with_two_proxies_any_name_of_one_selects_it() {
        let two = [one(9000, "/a/ca", "/a/e.db"), one(9010, "/b/ca", "/b/e.db")];
        for (flags, port) in [
            (&["--listen-proxy", "127.0.0.1:9010"][..], 9010),
            (&["--listen-admin", "127.0.0.1:9001"], 9000),
            (&["--store-path", "/b/e.db"], 9010),
            (&["--ca-dir", "/a/ca"], 9000),
        ] {
            let led = led(&two, flags);
            assert_eq!(taken(&led, About::Agents), Some(port), "{flags:?}");
            let store = led.loaded.config.store.path.display().to_string();
            assert_eq!(store, if port == 9000 { "/a/e.db" } else { "/b/e.db" }, "{flags:?}");
        }
    }

    #[test]
    fn with_two_proxies_none_is_chosen_without_a_hint() {
        let two = [one(9000, "/a/ca", "/a/e.db"), one(9010, "/b/ca", "/b/e.db")];
        let unclear = led(&two, &[]);
        for about in [About::Agents, About::Page, About::Ca, About::Store] {
            let said = unclear.is_clear(about).unwrap_err().to_string();
            for words in
                ["127.0.0.1:9000 (CA /a/ca, store /a/e.db)", "127.0.0.1:9010", "`--listen-proxy 127.0.0.1:9000`"]
            {
                assert!(said.contains(words), "{words}: {said}");
            }
        }
        // Who names a store that no proxy has needs no proxy.
        let named = led(&two, &["--store-path", "/c/e.db"]);
        assert!(named.is_clear(About::Store).is_ok() && named.is_clear(About::Agents).is_err());
    }

    #[test]
    fn two_proxies_on_one_store_differ_only_by_address() {
        let two = [one(9000, "/ca", "/e.db"), one(9010, "/ca", "/e.db")];
        let led = led(&two, &[]);
        assert!(led.is_clear(About::Ca).is_ok() && led.is_clear(About::Store).is_ok());
        assert!(led.is_clear(About::Agents).is_err());
        let config = &led.loaded.config;
        assert_eq!(
            (config.tls.ca_dir.as_path(), config.store.path.as_path()),
            (Path::new("/ca"), Path::new("/e.db"))
        );
        assert!(led.ca_note.unwrap().contains("127.0.0.1:9000, 127.0.0.1:9010"));
    }

    #[test]
    fn the_proxy_at_the_default_address_is_used_and_the_others_are_named() {
        let led = led(&[one(9000, "/a/ca", "/a/e.db"), one(8080, "/b/ca", "/b/e.db")], &[]);
        assert_eq!(taken(&led, About::Agents), Some(8080));
        let note = led.choice_note.unwrap();
        assert!(note.contains("127.0.0.1:9000") && note.contains("--listen-proxy"), "{note}");
    }
}
