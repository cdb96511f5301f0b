//! `otas-proxy collect`: the embedded OTAS-compatible endpoint alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::net::TcpListener;
use uuid::Uuid;

use super::{Done, signals};
use crate::collector::{Agent, Collector, CollectorOptions, issue_key};
use crate::secret::Secret;

/// Runs the embedded OTAS-compatible endpoint: session creation, key check, event log and listing, with the limits
/// that a real OTAS was measured to have. For development and tests; the listing asks for no credentials.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Where to listen; port 0 is any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8002")]
    listen: SocketAddr,
    /// The SQLite file for agents, sessions and events; without it everything is in memory
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// The project that events are filed under; a new one if not given
    #[arg(long, value_name = "UUID")]
    project_id: Option<Uuid>,
}

pub(super) fn run(args: Args) -> Done {
    let given = std::env::var("OTAS_AGENT_KEY").ok().filter(|key| !key.is_empty());
    let key = match &given {
        Some(given) => Secret::new(given),
        None => issue_key()?,
    };
    let agent = Agent {
        key: key.clone(),
        project_id: args.project_id.unwrap_or_else(Uuid::new_v4),
        name: "collect".to_owned(),
    };
    super::runtime()?.block_on(async {
        let stop = signals::termination()?;
        let listener =
            TcpListener::bind(args.listen).await.map_err(|e| format!("cannot listen on {}: {e}", args.listen))?;
        let collector = Collector::start(listener, CollectorOptions { db: args.db, agents: vec![agent] }).await?;
        println!("OTAS_BRAIN_URL={}", collector.url);
        println!("OTAS_UASAM_URL={}", collector.url);
        match given {
            // A key that the caller has already is not printed again.
            Some(_) => println!("# OTAS_AGENT_KEY as given ({})", key.masked()),
            None => println!("OTAS_AGENT_KEY={}", key.expose()),
        }
        stop.first().await;
        collector.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}
