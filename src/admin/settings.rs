//! The settings in force, and what became of newer ones.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::{Config, Takeover};

/// The settings in force, and what became of newer ones.
pub struct LiveSettings {
    in_force: ArcSwap<Config>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: Option<LastReload>,
    /// Settings that have changed and wait for a restart.
    needs_restart: Vec<&'static str>,
}

/// The last time that settings were read again.
struct LastReload {
    at: OffsetDateTime,
    /// The settings that were taken over, or why none was.
    outcome: Result<Vec<&'static str>, String>,
}

impl LiveSettings {
    /// `config`: the settings of the start.
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Self { in_force: ArcSwap::from_pointee(config), state: Mutex::default() })
    }

    /// The settings in force.
    pub fn in_force(&self) -> Arc<Config> {
        self.in_force.load_full()
    }

    /// New settings were taken over as far as they can be.
    pub fn taken_over(&self, takeover: Takeover) {
        let Takeover { config, changed, needs_restart } = takeover;
        self.in_force.store(Arc::new(config));
        let last = Some(LastReload { at: OffsetDateTime::now_utc(), outcome: Ok(changed) });
        *self.state.lock() = State { last, needs_restart };
    }

    /// New settings were refused, and nothing has changed. `why` has no secrets.
    pub fn refused(&self, why: String) {
        self.state.lock().last = Some(LastReload { at: OffsetDateTime::now_utc(), outcome: Err(why) });
    }

    /// Why the newest settings were refused. `None`: they were not.
    pub(super) fn refusal(&self) -> Option<String> {
        self.state.lock().last.as_ref()?.outcome.as_ref().err().cloned()
    }

    /// Settings that have changed and wait for a restart.
    pub(super) fn needs_restart(&self) -> Vec<&'static str> {
        self.state.lock().needs_restart.clone()
    }

    pub(super) fn json(&self) -> Value {
        let state = self.state.lock();
        let last = state.last.as_ref().map(|LastReload { at, outcome }| {
            json!({
                "at": at.format(&Rfc3339).unwrap_or_default(),
                "ok": outcome.is_ok(),
                "changed": outcome.as_ref().ok(),
                "error": outcome.as_ref().err(),
            })
        });
        json!({ "last_reload": last, "needs_restart": state.needs_restart })
    }
}
