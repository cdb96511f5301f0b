//! `[queue]` and `[relay]`

use super::super::shown::{name_of, path};
use super::super::types::Forget;
use super::key::{Key, Kind, choice, put};
use super::names;
use super::part::part;

pub(super) const KEYS: &[Key] = &[
    Key::new(
        names::NATS_URL,
        Kind::Text,
        "The servers of NATS (`nats://` or `tls://`), with commas between them. With it, the events of a fleet go into a stream of \
         JetStream and not to OTAS; `otas-proxy relay` delivers them (`docs/fleet.md`).",
        |c, g| put(&mut c.queue.nats_url, g.nats_servers()),
        |c| c.queue.is_used().then(|| c.queue.nats_url.join(",")),
        part!(queue.nats_url),
    )
    .unset("none (events go to OTAS directly)")
    .example("\"nats://nats.example:4222\"")
    .variable("OTAS_NATS_URL"),
    Key::new(
        "queue.credentials_file",
        Kind::Text,
        "What NATS knows us by: a `.creds` file, or a file with one line `user:password`.",
        |c, g| put(&mut c.queue.credentials_file, g.path().map(Some)),
        |c| c.queue.credentials_file.as_deref().map(path),
        part!(queue.credentials_file),
    )
    .example("\"proxy.creds\""),
    Key::new(
        "queue.ca_file",
        Kind::Text,
        "Roots (PEM) that the servers of NATS are verified against, instead of the system's.",
        |c, g| put(&mut c.queue.ca_file, g.path().map(Some)),
        |c| c.queue.ca_file.as_deref().map(path),
        part!(queue.ca_file),
    )
    .example("\"nats-ca.pem\""),
    Key::new(
        "queue.stream",
        Kind::Text,
        "The stream that holds the events. Streams beside it begin with the same name.",
        |c, g| put(&mut c.queue.stream, g.subject_part()),
        |c| Some(c.queue.stream.clone()),
        part!(queue.stream),
    ),
    Key::new(
        "queue.subject_prefix",
        Kind::Text,
        "What all subjects begin with: events have `<prefix>.events.<project>.<agent>`.",
        |c, g| put(&mut c.queue.subject_prefix, g.subject_part()),
        |c| Some(c.queue.subject_prefix.clone()),
        part!(queue.subject_prefix),
    ),
    Key::new(
        names::QUEUE_AGENT_ID,
        Kind::Text,
        "The agent whose events these are. Relays have its key under this name; a proxy with a queue has no key itself. An entry of \
         `[[agents]]` may have an `agent_id` of its own. The project is `otas.project_id`.",
        |c, g| put(&mut c.queue.agent_id, g.subject_part().map(Some)),
        |c| c.queue.agent_id.clone(),
        part!(queue.agent_id),
    )
    .example("\"planner\"")
    .variable("OTAS_AGENT_ID"),
    choice!(
        queue.forget,
        Forget,
        "When the proxy counts an event as delivered. `\"delivered\"`: once OTAS has accepted it, or refused it for good. \
         `\"acknowledged\"`: once the stream has it; only for a stream whose server syncs each message, or that has three replicas. \
         `otas-proxy relay init` says which of the two fits."
    ),
];

pub(super) const RELAY_KEYS: &[Key] = &[Key::new(
    names::RELAY_KEYS_DIR,
    Kind::Text,
    "Where `otas-proxy relay` finds the keys of agents: a folder with a file `<agent_id>.key` for each. New files and new keys \
     are used without a restart.",
    |c, g| put(&mut c.queue.keys_dir, g.path().map(Some)),
    |c| c.queue.keys_dir.as_deref().map(path),
    part!(queue.keys_dir),
)
.example("\"relay-keys\"")];
