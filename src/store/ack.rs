//! Records the results of posts.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use uuid::Uuid;

use super::sql::{ROW_BYTES, TALLY, WAITING_TALLY};
use super::{Fate, SessionRow, State, Store, StoreError, history};
use crate::clock::now_ms;

/// The result of one post of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The event's row.
    pub id: i64,
    /// Posts so far.
    pub attempts: u32,
    /// The result.
    pub outcome: Outcome,
}

/// What happened to an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// OTAS accepted it.
    Delivered {
        /// OTAS's id for it.
        otas_event_id: String,
    },
    /// A queue has it, which counts as delivered.
    Queued,
    /// It will never be accepted.
    Dead {
        /// The verdict.
        verdict: String,
    },
    /// It is still pending.
    Again {
        /// The verdict.
        verdict: String,
        /// When it is posted again, in Unix milliseconds.
        next_try_at_ms: i64,
    },
}

impl Outcome {
    /// What became of an event, if that is decided.
    pub(crate) fn fate(&self, event_id: Uuid, session: SessionRow) -> Option<Fate> {
        let of = |state| Fate { event_id, session, state, otas_event_id: None, verdict: None };
        match self {
            Self::Delivered { otas_event_id } => {
                Some(Fate { otas_event_id: Some(otas_event_id.clone()), ..of(State::Delivered) })
            }
            Self::Queued => Some(of(State::Delivered)),
            Self::Dead { verdict } => Some(Fate { verdict: Some(verdict.clone()), ..of(State::Dead) }),
            Self::Again { .. } => None,
        }
    }
}

impl Store {
    /// Records the results of posts, all or none. A row that is no longer pending stays as it is.
    ///
    /// # Errors
    /// When the store cannot be written. Then nothing is recorded, and the caller may retry.
    pub fn settle(&self, settlements: &[Settlement]) -> Result<(), StoreError> {
        settle(&mut self.connection(), settlements).map_err(self.failed("record the results of posts"))
    }
}

fn settle(connection: &mut Connection, settlements: &[Settlement]) -> rusqlite::Result<()> {
    let update = format!(
        "UPDATE events SET state = ?2, attempts = ?3, verdict = ?4, next_try_at_ms = ?5, otas_event_id = ?6
         WHERE id = ?1 AND state = 0 RETURNING session, {ROW_BYTES}, body_bytes"
    );
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for settlement in settlements {
        let (state, verdict, next_try, otas_event_id) = match &settlement.outcome {
            Outcome::Delivered { otas_event_id } => (State::Delivered, "delivered", None, Some(otas_event_id)),
            Outcome::Queued => (State::Delivered, "in the queue", None, None),
            Outcome::Dead { verdict } => (State::Dead, verdict.as_str(), None, None),
            Outcome::Again { verdict, next_try_at_ms } => {
                (State::Pending, verdict.as_str(), Some(next_try_at_ms), None)
            }
        };
        let found: Option<(i64, i64, i64)> = transaction
            .prepare_cached(&update)?
            .query_row(
                params![settlement.id, state.code(), settlement.attempts, verdict, next_try, otas_event_id],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()?;
        let Some((session, bytes, body_bytes)) = found else { continue };
        // Events accepted by the first post, which are nearly all, have no history.
        if state != State::Delivered || settlement.attempts > 1 {
            history::note(&transaction, settlement.id, verdict, now_ms())?;
        }
        let count = match state {
            State::Pending | State::Kept => continue,
            State::Delivered => {
                transaction.prepare_cached(TALLY)?.execute([bytes])?;
                transaction.prepare_cached(WAITING_TALLY)?.execute([-body_bytes])?;
                "UPDATE sessions SET delivered = delivered + 1 WHERE id = ?1"
            }
            State::Dead => "UPDATE sessions SET dead = dead + 1 WHERE id = ?1",
        };
        transaction.prepare_cached(count)?.execute([session])?;
    }
    transaction.commit()
}
