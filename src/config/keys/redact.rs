//! `[redact]`

use super::super::shown::{self, ms, patterns, redact_allow};
use super::key::{Key, Kind, milliseconds, put};
use super::names;
use super::part::{Part, part};

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "redact.headers",
        Kind::Plain,
        "Further header fields to mask, by name or by `*` and the end of a name (`[\"x-acme-ticket\", \"*-ticket\"]`).",
        |c, g| put(&mut c.redact.headers, g.header_names()),
        |c| Some(format!("{:?}", c.redact.headers)),
        part!(redact.headers),
    ).live(),
    Key::new(
        "redact.keys",
        Kind::Plain,
        "Further JSON members, form fields and query parameters to mask. `employee_number` also stands for `employeeNumber` and \
         `the-employee-number`.",
        |c, g| put(&mut c.redact.keys, g.redacted_keys()),
        |c| Some(format!("{:?}", c.redact.keys)),
        part!(redact.keys),
    ).live(),
    Key::new(
        "redact.patterns",
        Kind::Plain,
        "Further secrets to mask wherever they stand: names, with regular expressions of the `regex` crate (no look-around). A \
         table in one line, or a section `[redact.patterns]` with lines such as `acme = \"acme_[0-9a-f]{32}\"`. An expression of \
         more than 1 MiB when compiled is refused. A slow one is reported at the start and by `otas-proxy check`.",
        |c, g| put(&mut c.redact.patterns, g.patterns()),
        |c| Some(patterns(&c.redact)),
        Part {
            differs: |a, b| shown::patterns(&a.redact) != shown::patterns(&b.redact),
            take: |to, from| to.redact.patterns.clone_from(&from.redact.patterns),
        },
    ).live(),
    Key::new(
        names::REDACT_ALLOW,
        Kind::Plain,
        "Exceptions: redaction rules that do not apply to calls to some hosts, on all paths or on those of a glob: \
         `{ hosts = [\"api.example.com\"], path = \"/v1/*\", rules = [\"key.session_id\", \"pattern.*\"] }`. Rules are called \
         `header.<name>`, `key.<name>`, `pattern.<name>`, `service.<name>`, `url.userinfo` and `cut`; an event lists those that \
         found something in `metadata.redaction_rules`. The proxy's own secrets are always masked. A list, or one section \
         `[[redact.allow]]` for each.",
        |c, g| put(&mut c.redact.allow, g.redact_allow()),
        |c| Some(redact_allow(&c.redact)),
        part!(redact.allow),
    ).live(),
    milliseconds!(
        "redact.budget_ms",
        redact.budget,
        1..=10_000,
        "How long a body of up to 1 MiB may be searched for secrets. A longer body has this time for each MiB. A body that takes \
         longer is withheld, and its event says so. Bodies of up to 1 KiB need no limit."
    ).live(),
];
