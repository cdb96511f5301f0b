//! `otas-proxy collect`: the embedded OTAS-compatible endpoint alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{Done, say, signals};
use crate::app::with_advice;
use crate::collector::{Agent, Collector, CollectorOptions, issue_key};
use crate::config::listen_address;
use crate::secret::Secret;

/// Run the embedded OTAS-compatible endpoint alone, for development and tests
///
/// It creates sessions, checks keys, and logs and lists events, with the measured limits of a real OTAS. Its list needs no
/// credentials.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The address to listen on; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8002", value_parser = address)]
    listen: SocketAddr,
    /// The SQLite file for agents, sessions and events [default: in memory]
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// The project of the events [default: a UUID that follows from the key]
    #[arg(long, value_name = "UUID")]
    project_id: Option<Uuid>,
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    listen_address(text).ok_or("expected an IP address and a port such as `127.0.0.1:8002`, or a port alone")
}

pub(super) fn run(args: Args) -> Done {
    let given = std::env::var("OTAS_AGENT_KEY").ok().filter(|key| !key.is_empty());
    let key = match &given {
        Some(given) => Secret::new(given),
        None => issue_key()?,
    };
    let agent = Agent {
        key: key.clone(),
        project_id: args.project_id.unwrap_or_else(|| project_of(&key)),
        name: "collect".to_owned(),
    };
    super::runtime()?.block_on(async {
        let stop = signals::termination()?;
        let listener = TcpListener::bind(args.listen)
            .await
            .map_err(|e| format!("cannot listen on {} (--listen): {}", args.listen, with_advice(e)))?;
        let collector = Collector::start(listener, CollectorOptions { db: args.db, agents: vec![agent] }).await?;
        say::note(&format!("OTAS_BRAIN_URL={}", collector.url));
        say::note(&format!("OTAS_UASAM_URL={}", collector.url));
        match given {
            // A key that the caller set is not printed.
            Some(_) => say::note(&format!("# OTAS_AGENT_KEY as given ({})", key.masked())),
            None => say::note(&format!("OTAS_AGENT_KEY={}", key.expose())),
        }
        stop.first().await;
        collector.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// The project follows from the key. Otherwise a collector that is restarted with the same key and database would take the open
/// sessions for another agent's.
fn project_of(key: &Secret) -> Uuid {
    let hash = digest(&SHA256, key.expose().as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_ref()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_project() {
        let (one, other) = (Secret::new("agent_a_b"), Secret::new("agent_a_c"));
        assert_eq!(project_of(&one), project_of(&one));
        assert_ne!(project_of(&one), project_of(&other));
    }
}
