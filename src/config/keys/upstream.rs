//! `[upstream]`

use super::super::shown::next_proxy;
use super::key::{Key, Kind, put, switch};
use super::part::{Part, part};

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "upstream.proxy",
        Kind::Text,
        "The next proxy, through which origins are reached: `http://`, `https://`, `socks5://` or `socks5h://`, with \
         `user:password@` if it needs them. It resolves the names of origins. Delivery to OTAS does not use it. No flag sets it, \
         because other users can read command lines.",
        |c, g| put(&mut c.upstream.proxy, g.next_proxy().map(Some)),
        |c| c.upstream.proxy.as_ref().map(next_proxy),
        // With what the environment says of `http` URLs.
        Part {
            differs: |a, b| a.upstream.proxy != b.upstream.proxy || a.upstream.for_http != b.upstream.for_http,
            take: |to, from| {
                to.upstream.proxy.clone_from(&from.upstream.proxy);
                to.upstream.for_http.clone_from(&from.upstream.for_http);
            },
        },
    ).live()
    .unset("none (origins are called directly)")
    .example("\"http://user:password@proxy.example:3128\"")
    .variable("OTAS_UPSTREAM_PROXY"),
    Key::new(
        "upstream.no_proxy",
        Kind::Plain,
        "Origins that are called directly nevertheless: a list as for `tls.passthrough`.",
        |c, g| put(&mut c.upstream.no_proxy, g.hosts()),
        |c| Some(c.upstream.no_proxy.to_string()),
        part!(upstream.no_proxy),
    )
    .live(),
    switch!(
        upstream.share,
        "Keep connections to origins for a minute, and TLS sessions, for the caller's next connections to the same origin. Never for \
         another user or caller."
    )
    .live(),
];
