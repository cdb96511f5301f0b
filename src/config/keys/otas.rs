//! `[otas]`

use super::super::shown::{path, url};
use super::key::{Key, Kind, file, put, switch, text};
use super::names;
use super::part::{Part, part};
use crate::secret::Secret;

pub(super) const KEYS: &[Key] = &[
    switch!(
        otas.deliver,
        "Send events to OTAS. If false, no session is opened, no key is used and no collector is embedded: events stay in the \
         store (`store.keep_days`) and go to the sinks only."
    ),
    Key::new(
        names::BRAIN_URL,
        Kind::Text,
        "Brain, the OTAS service that events are posted to.",
        |c, g| put(&mut c.otas.brain_url, g.url()),
        |c| Some(url(&c.otas.brain_url)),
        part!(otas.brain_url),
    )
    .variable("OTAS_BRAIN_URL")
    .flag("--brain-url", |f| text(&f.brain_url)),
    Key::new(
        names::UASAM_URL,
        Kind::Text,
        "UASAM, the OTAS service that checks agent keys and opens sessions.",
        |c, g| put(&mut c.otas.uasam_url, g.url()),
        |c| Some(url(&c.otas.uasam_url)),
        part!(otas.uasam_url),
    )
    .variable("OTAS_UASAM_URL")
    .flag("--uasam-url", |f| text(&f.uasam_url)),
    // A key and a key file mean the same thing: the one set in a higher layer replaces the other below.
    Key::new(
        names::AGENT_KEY,
        Kind::Text,
        "The agent key. Prefer the variable or `otas.agent_key_file`: a key in a file under version control is public. No flag \
         sets it, because other users can read command lines.",
        |c, g| {
            c.otas.agent_key = Some(g.secret()?);
            c.otas.agent_key_file = None;
            Ok(())
        },
        |c| c.otas.agent_key.as_ref().map(Secret::masked),
        // A new key in the same file is no new setting: delivery looks at the file by itself.
        Part {
            differs: |a, b| {
                let in_settings = a.otas.agent_key_file.is_none() && b.otas.agent_key_file.is_none();
                in_settings && a.otas.agent_key != b.otas.agent_key
            },
            take: |to, from| to.otas.agent_key.clone_from(&from.otas.agent_key),
        },
    )
    .unset("none (events go to the embedded collector)")
    .example("\"agent_<prefix>_<secret>\"")
    .variable("OTAS_AGENT_KEY"),
    Key::new(
        names::AGENT_KEY_FILE,
        Kind::Text,
        "A file that holds the agent key and nothing else. Set this or `otas.agent_key`, not both. A new key in the file is used \
         without a restart.",
        |c, g| {
            c.otas.agent_key_file = Some(g.path()?);
            c.otas.agent_key = None;
            Ok(())
        },
        |c| c.otas.agent_key_file.as_deref().map(path),
        part!(otas.agent_key_file),
    )
    .example("\"agent.key\"")
    .flag("--agent-key-file", |f| file(&f.agent_key_file)),
    Key::new(
        names::SESSION_TOKEN,
        Kind::Text,
        "A session token to use instead of opening a session. It needs the agent key that it was made with. One token is for one \
         run of one agent.",
        |c, g| put(&mut c.otas.session_token, g.secret().map(Some)),
        |c| c.otas.session_token.as_ref().map(Secret::masked),
        part!(otas.session_token),
    )
    .unset("none (a session is opened)")
    .example("\"<jwt>\"")
    .variable("OTAS_SESSION_TOKEN"),
    Key::new(
        "otas.project_id",
        Kind::Text,
        "The project that events belong to. If the agent key belongs to another project, nothing is sent and the log says so.",
        |c, g| put(&mut c.otas.project_id, g.uuid().map(Some)),
        |c| c.otas.project_id.clone(),
        part!(otas.project_id),
    )
    .unset("the project of the agent key")
    .example("\"00000000-0000-0000-0000-000000000000\"")
    .variable("OTAS_PROJECT_ID")
    .flag("--project-id", |f| text(&f.project_id)),
    Key::new(
        "otas.project_domain",
        Kind::Text,
        "The base URL of the project's own servers. Calls to its host and port carry the session token of their caller \
         (`X-OTAS-AGENT-SESSION-TOKEN`), over plain HTTP only if the URL says `http`. They are not logged here, because those \
         servers log them.",
        |c, g| put(&mut c.otas.project_domain, g.url().map(Some)),
        |c| c.otas.project_domain.as_ref().map(url),
        part!(otas.project_domain),
    ).live()
    .example("\"https://example.com\"")
    .variable("OTAS_PROJECT_DOMAIN")
    .flag("--project-domain", |f| text(&f.project_domain)),
    switch!(otas.project_subdomains, "All names below the host of a project domain belong to the domain, too.").live(),
    switch!(otas.log_in_domain, "Log calls into the project domain here as well.").live(),
];
