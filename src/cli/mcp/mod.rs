//! `otas-proxy mcp`: the stored calls for agents themselves, over the Model Context Protocol. It only reads.
//!
//! ```text
//!  lines      standard input and output, one message per line
//!  server     the protocol (crate `rmcp`)
//!    | tools      which tools there are, with the schemas of their arguments
//!    |   | arguments
//!    |   | answers    what each tool answers, as text
//!    |   |   | pieces    long texts, a piece at a time
//! ```

mod answers;
mod arguments;
mod lines;
mod pieces;
mod server;
mod tools;

use std::process::ExitCode;

use rmcp::ServiceExt as _;

use self::server::Server;
use super::{About, Done};
use crate::config::Flags;

/// Let an agent read the stored calls: an MCP server on standard input and output
///
/// An MCP client starts it. Its tools search calls, read a call or a conversation, compare two calls, list runs, show a run as a tree,
/// and sum up. The store is only read, so a proxy may use it meanwhile, and only what was masked is in it. It ends when its client
/// closes standard input.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    let store = super::led(&args.flags, About::Store)?.loaded.config.store.path;
    let runtime = super::runtime()?;
    let done = runtime.block_on(async {
        let (input, output, lines) = lines::open();
        let served = async {
            let serving = Server::new(store).serve((input, output)).await.map_err(|error| {
                format!(
                    "no MCP client on standard input: {error}. `claude mcp add otas-proxy -- otas-proxy mcp` adds one"
                )
            })?;
            serving.waiting().await.map_err(|error| format!("the MCP server ended: {error}"))
        };
        let served = served.await;
        lines.finish().await;
        served?;
        Ok(ExitCode::SUCCESS)
    });
    // Standard input may still be open, and a read of it cannot be cancelled.
    runtime.shutdown_background();
    done
}
