//! What turns exchanges into events in the store.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::delivery::Delivery;
use super::error::{AppError, step};
use crate::capture::{Budget, Limits, Recording};
use crate::config::{self, CaptureLevel, Config, Durability, OnFull};
use crate::hosts::HostRules;
use crate::quotas::Quotas;
use crate::redact::{FINGERPRINT_KEY_FILE, Fingerprint, Redactor, slow_patterns};
use crate::report::{Facts, Guarantees, Handoff, LiveFacts, Reporter};
use crate::store::{self, Bounds, Store};

/// Reporting, running.
pub(super) struct Reporting {
    /// What the data path records calls with.
    pub(super) recording: Arc<Recording>,
    pub(super) handoff: Handoff,
    /// The memory of captured bodies.
    pub(super) budget: Arc<Budget>,
    /// The quotas that providers state.
    pub(super) quotas: Arc<Quotas>,
    /// What goes into every event, with the rules of redaction.
    pub(super) facts: LiveFacts,
    pub(super) reporter: Reporter,
}

impl Reporting {
    /// Starts the reporting thread.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn start(
        config: &Config,
        store: &Store,
        delivery: &Delivery,
        redactor: Arc<Redactor>,
    ) -> Result<Self, AppError> {
        let handoff = Handoff::new(guarantees(&config.store));
        let quotas = Arc::<Quotas>::default();
        warn_of_slow_patterns(config);
        let facts = Facts {
            callers: delivery.callers.clone(),
            run_id: delivery.run_id.clone(),
            error_from_status: config.event.error_from_status,
            properties: config.event.properties.clone(),
            prices: config.event.prices.clone(),
            quotas: quotas.clone(),
            redactor,
            bounds: bounds(&config.store),
            text_max_bytes: config.capture.body_max_bytes,
        };
        let budget = Budget::new(config.capture.memory_bytes);
        let recording = Recording::new(handoff.clone(), limits(&config.capture), budget.clone());
        let facts = Arc::new(ArcSwap::from_pointee(facts));
        let reporter = Reporter::start(recording.clone(), handoff.clone(), store, facts.clone(), delivery.waker())
            .map_err(|error| step("start reporting".to_owned(), error))?;
        Ok(Self { recording, handoff, budget, quotas, facts, reporter })
    }
}

/// Logs patterns of the operator that take long to search for.
pub(super) fn warn_of_slow_patterns(config: &Config) {
    for slow in slow_patterns(&config.redact.patterns) {
        tracing::warn!("{slow}");
    }
}

/// The facts that the settings give, beside those that stay.
pub(super) fn facts(config: &Config, before: &Facts, redactor: Arc<Redactor>) -> Facts {
    Facts {
        error_from_status: config.event.error_from_status,
        properties: config.event.properties.clone(),
        prices: config.event.prices.clone(),
        redactor,
        bounds: bounds(&config.store),
        text_max_bytes: config.capture.body_max_bytes,
        ..before.clone()
    }
}

/// What is guaranteed about recording.
pub(super) fn guarantees(store: &config::Store) -> Guarantees {
    Guarantees { audit: store.on_full == OnFull::Refuse, strict: store.durability == Durability::Strict }
}

/// How much of each body is kept.
pub(super) fn limits(capture: &config::Capture) -> Limits {
    Limits {
        head_bytes: capture.body_head_bytes,
        tail_bytes: capture.body_tail_bytes,
        text_bytes: capture.body_max_bytes,
    }
}

/// The rules of redaction, with the key for tags beside the store.
///
/// # Errors
/// When the rules or their key cannot be used.
pub(crate) fn redactor(
    settings: &config::Redact,
    capture: &[(HostRules, CaptureLevel)],
    store: &Path,
) -> Result<Arc<Redactor>, AppError> {
    let file = store.with_file_name(FINGERPRINT_KEY_FILE);
    let fingerprint = Fingerprint::load_or_create(&file)
        .map_err(|e| step(format!("use the key for tags of masked secrets in `{}`", file.display()), e))?;
    Redactor::new(settings, capture, fingerprint)
        .map(Arc::new)
        .map_err(|e| step("make the rules of redaction ready".to_owned(), e))
}

pub(crate) fn bounds(store: &config::Store) -> Bounds {
    Bounds {
        max_bytes: store.max_bytes,
        min_free_bytes: store::left_free_bytes(&store.path, store.min_free_bytes),
        keep: store.keep,
        keep_bytes: store.keep_bytes,
        may_drop: store.on_full == OnFull::DropOldest,
    }
}
