//! Flags that select events, with the same meaning as the page's filters.

use clap::ValueEnum;

use crate::store::{CommandError, Filter, State, StatusClass, Store};

// No documentation comment: clap would take it for the command's.
#[derive(clap::Args)]
#[command(next_help_heading = "Filters")]
pub(super) struct FilterArgs {
    /// Only events in this state
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<Wanted>,
    /// Only events of this session: its number here, its run id or its id in OTAS
    #[arg(long, value_name = "SESSION")]
    session: Option<String>,
    /// Only events with this text in their method, host, path, error or model
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Only calls to hosts with this text in their name
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Only calls with this outcome: 1xx to 5xx, none or error
    #[arg(long, value_name = "CLASS")]
    status: Option<StatusClass>,
    /// Only sessions of this agent: its id in OTAS, the short name of its key or a part of its command
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Only calls to models
    #[arg(long)]
    llm: bool,
}

/// `--state`.
#[derive(Clone, Copy, ValueEnum)]
enum Wanted {
    Pending,
    Delivered,
    Dead,
    /// Not for OTAS (`otas.deliver = false`)
    Kept,
}

impl From<Wanted> for State {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Pending => Self::Pending,
            Wanted::Delivered => Self::Delivered,
            Wanted::Dead => Self::Dead,
            Wanted::Kept => Self::Kept,
        }
    }
}

impl FilterArgs {
    /// The filter for `store`, with at most `limit` events.
    pub(super) fn filter(&self, store: &Store, limit: usize) -> Result<Filter, CommandError> {
        Ok(Filter {
            state: self.state.map(State::from),
            session: self.session.as_deref().map(|name| store.session_named(name)).transpose()?,
            text: self.text.clone(),
            host: self.host.clone(),
            status: self.status,
            agent: self.agent.clone(),
            llm_only: self.llm,
            limit,
        })
    }
}
