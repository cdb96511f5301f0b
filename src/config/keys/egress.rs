//! `[egress]`

use super::key::{Key, Kind, put, switch};
use super::part::part;

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "egress.deny",
        Kind::Plain,
        "Hosts that agents may not call: a list as for `tls.passthrough`. Networks are compared with the dialled address, \
         whatever name led there. Such calls get a 403, and their events have the error `egress_denied`. Through the next proxy \
         (`upstream.proxy`), which resolves names itself, only names and addresses that agents write are compared.",
        |c, g| put(&mut c.egress.deny, g.hosts()),
        |c| Some(c.egress.deny.to_string()),
        part!(egress.deny),
    ).live(),
    Key::new(
        "egress.allow",
        Kind::Plain,
        "If this list has any entry, agents may call these hosts and no others. `egress.deny` takes precedence.",
        |c, g| put(&mut c.egress.allow, g.hosts()),
        |c| Some(c.egress.allow.to_string()),
        part!(egress.allow),
    ).live(),
    switch!(
        egress.allow_metadata,
        "Let agents call the services that give cloud machines their credentials (169.254.0.0/16, metadata.google.internal and the \
         like). They are denied otherwise."
    ).live(),
];
