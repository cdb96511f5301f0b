//! `[[agents]]`: the agents that identify themselves by credentials.

use std::path::PathBuf;

use super::super::key_file::read_secret_file;
use super::super::types::Agent;
use super::entry::Entry;
use super::value::{Given, Refused, bad};
use crate::secret::Secret;

const AGENTS: &str = "a section `[[agents]]` for each agent, with `name` and `secret_file`";
const NAMES: [&str; 6] = ["name", "secret_file", "agent_key_file", "agent_id", "project_id", "project_domain"];
/// The longest name of an agent.
const NAME_BYTES: usize = 64;

impl Given<'_> {
    /// The agents that identify themselves by credentials. Reads their files.
    pub(in crate::config) fn agents(&self) -> Result<Vec<Agent>, Refused> {
        let mut names = Vec::new();
        self.tables(AGENTS, &NAMES, |entry| {
            let agent = agent(entry)?;
            if names.contains(&agent.name) {
                return Err(bad(AGENTS, "two entries have the same `name`"));
            }
            names.push(agent.name.clone());
            Ok(agent)
        })
    }
}

fn agent(entry: &Entry<'_>) -> Result<Agent, Refused> {
    let name = entry.required("name", name)?;
    let (secret, secret_file) = entry.required("secret_file", |given| secret_in(&given, "secret"))?;
    Ok(Agent {
        name,
        secret,
        secret_file,
        agent_key: entry.optional("agent_key_file", |given| secret_in(&given, "agent key"))?,
        agent_id: entry.optional("agent_id", |given| given.subject_part())?,
        project_id: entry.optional("project_id", |given| given.uuid())?,
        project_domain: entry.optional("project_domain", |given| given.url())?,
    })
}

fn name(given: Given<'_>) -> Result<String, Refused> {
    let name = given.text(AGENTS)?;
    if name.contains(['+', ':']) || name.len() > NAME_BYTES {
        return Err(bad(AGENTS, "a `name` has no `+` and no `:`, and at most 64 characters"));
    }
    Ok(name.to_owned())
}

/// What the file of that path holds, with the path.
fn secret_in(given: &Given<'_>, what: &str) -> Result<(Secret, PathBuf), Refused> {
    let path = given.path()?;
    let secret = read_secret_file(&path, what).map_err(Refused::because)?;
    Ok((secret, path))
}
