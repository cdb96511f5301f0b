//! The list of everything that can be set, a file a section. A new setting also needs its field (`config/types`) and its default
//! (`config/defaults`).

mod agents;
mod capture;
mod delivery;
mod egress;
mod event;
mod key;
mod limits;
mod listen;
mod names;
mod otas;
mod part;
mod proxy;
mod queue;
mod redact;
mod session;
mod sinks;
mod store;
mod tls;
mod upstream;

pub(super) use key::{Key, Kind, Section};
pub(super) use names::*;
pub(super) use part::Applies;

/// Every setting, in the order of `proxy.toml`.
pub(super) const SECTIONS: [Section; 16] = [
    Section { name: "listen", keys: listen::KEYS },
    Section { name: "otas", keys: otas::KEYS },
    Section { name: "session", keys: session::KEYS },
    Section { name: "tls", keys: tls::KEYS },
    Section { name: "proxy", keys: proxy::KEYS },
    Section { name: "upstream", keys: upstream::KEYS },
    Section { name: "egress", keys: egress::KEYS },
    Section { name: "capture", keys: capture::KEYS },
    Section { name: "event", keys: event::KEYS },
    Section { name: "redact", keys: redact::KEYS },
    Section { name: "store", keys: store::KEYS },
    Section { name: "delivery", keys: delivery::KEYS },
    Section { name: "agents", keys: agents::KEYS },
    Section { name: "sinks", keys: sinks::KEYS },
    Section { name: "queue", keys: queue::KEYS },
    Section { name: "relay", keys: queue::RELAY_KEYS },
];

/// Every setting, in the order of `proxy.toml`.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// The setting of that name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// The setting that a flag sets. `flag` has its dashes.
pub(super) fn of_flag(flag: &str) -> Option<&'static Key> {
    all().find(|key| key.flag.as_ref().is_some_and(|its| its.name == flag))
}

/// All dotted names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    all().map(|key| key.name)
}

/// The sections that settings stand in, each once for each of its settings.
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    names().filter_map(|name| name.split_once('.')).map(|(section, _)| section)
}
