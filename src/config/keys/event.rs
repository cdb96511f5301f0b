//! `[event]`

use super::super::shown::path;
use super::key::{Key, Kind, number, put};
use super::part::part;

pub(super) const KEYS: &[Key] = &[
    number!(
        event.error_from_status,
        0..=999,
        "Responses with this status or a higher one are events with `error` set to `http_<code>`. 0: none are."
    ).live(),
    Key::new(
        "event.prices_file",
        Kind::Text,
        "Your table of what models cost (see `prices.example.toml`), read at the start. Its entries replace those of the public \
         prices that ship inside; `otas-proxy config` prints their dates. Events of calls to models have their cost, its currency \
         and the version of the table. What is not known is left out.",
        |c, g| put(&mut c.event.prices, g.prices()),
        |c| c.event.prices.file().map(path),
        part!(event.prices),
    ).live()
    .example("\"prices.toml\""),
    Key::new(
        "event.properties",
        Kind::Section,
        "Added to the `custom_properties` of every event: any names, with texts as values.",
        |c, g| put(&mut c.event.properties, g.texts()),
        |c| Some(format!("{:?}", c.event.properties)),
        part!(event.properties),
    ).live()
    .example("[event.properties]\nteam = \"search\""),
];
