//! `[store]`

use std::time::Duration;

use super::super::shown::{name_of, path};
use super::super::types::{Durability, OnFull};
use super::key::{Key, Kind, choice, file, number, put, switch};
use super::limits::STORE_BYTES;
use super::names;
use super::part::part;

/// The least that a store can do with: 8 MiB.
const LEAST_STORE_BYTES: i64 = 8 << 20;
/// A hundred years.
const LONGEST_DAYS: i64 = 36_500;
const DAY_S: u64 = 86_400;

pub(super) const KEYS: &[Key] = &[
    Key::new(
        names::STORE_PATH,
        Kind::Text,
        "The SQLite file in which events wait until OTAS has them. `XDG_DATA_HOME` moves the default.",
        |c, g| put(&mut c.store.path, g.path()),
        |c| Some(path(&c.store.path)),
        part!(store.path),
    )
    .example("\"data/otas-proxy.db\"")
    .flag("--store-path", |f| file(&f.store_path)),
    number!(
        store.max_bytes,
        (LEAST_STORE_BYTES)..=STORE_BYTES,
        "The largest size of the file. Its log may take some 32 MiB more."
    ).live(),
    number!(
        store.min_free_bytes,
        0..=STORE_BYTES,
        "The free disk space below which the file does not grow. On a small disk a tenth is left free."
    ).live(),
    choice!(
        store.on_full,
        OnFull,
        "What happens when the store is full. `\"drop_oldest\"`: delivered events are removed first, then the bodies of the oldest \
         waiting events, then the oldest events; the loss is counted and reported in one event (method GAP). `\"refuse\"`, for \
         audits: nothing is removed, and a call that cannot be recorded is not made; the agent gets a 503 with the reason."
    ).live(),
    choice!(
        store.durability,
        Durability,
        "What is guaranteed for a call that has ended. `\"normal\"`: its event is stored some milliseconds later, and from then on \
         survives a crash of the proxy. `\"strict\"`: the last bytes of a response are held back until its event is on the disk, \
         safe also from a power loss; while the store accepts nothing, they are held back."
    ).live(),
    Key::new(
        "store.keep_days",
        Kind::Number { least: 0, most: LONGEST_DAYS },
        "For how many days delivered events are kept.",
        |c, g| put(&mut c.store.keep, g.number(0..=LONGEST_DAYS).map(|days: u64| Duration::from_secs(days * DAY_S))),
        |c| Some((c.store.keep.as_secs() / DAY_S).to_string()),
        part!(store.keep),
    ).live(),
    number!(
        store.keep_bytes,
        0..=STORE_BYTES,
        "How much of delivered events is kept, in bytes as stored: compressed, and a text that several events share counts once."
    ).live(),
    switch!(
        store.search,
        "Keep a search index of bodies beside the store (`-search` behind its name), of at most an eighth of `max_bytes`. Without it, \
         searches read bodies, which takes longer."
    ).live(),
];
