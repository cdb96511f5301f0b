//! Which events are new since the last look.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cli::signals::Termination;
use crate::store::{DataVersion, Filter, State, Store, StoreError};

/// How often the store is looked at.
const EVERY: Duration = Duration::from_millis(200);

/// Waits for the next look; whether the command is asked to stop.
pub(super) async fn stopped(stop: &Termination) -> bool {
    tokio::time::timeout(EVERY, stop.first()).await.is_ok()
}

/// Which events were returned, so that each is printed once.
pub(super) struct News {
    filter: Filter,
    /// What the store was when it was last looked at.
    version: Option<DataVersion>,
    /// No row up to this one can still come into the wanted state.
    up_to: i64,
    /// The rows after `up_to` that were returned.
    returned: BTreeSet<i64>,
}

impl News {
    /// Nothing was seen yet.
    pub(super) fn of(filter: Filter) -> Self {
        let filter = Filter { limit: usize::MAX, ..filter };
        Self { filter, version: None, up_to: 0, returned: BTreeSet::new() }
    }

    /// The rows that came into the wanted state since the last call. The first call returns all that are in it.
    pub(super) fn next(&mut self, store: &Store) -> Result<Vec<i64>, StoreError> {
        let version = store.data_version()?;
        if self.version.replace(version) == Some(version) {
            return Ok(Vec::new());
        }
        // Events become delivered or dead in any order: a row that still waits may come into the wanted state later.
        let waits = match self.filter.state {
            Some(State::Delivered | State::Dead) => {
                let first = Filter { state: Some(State::Pending), limit: 1, ..self.filter.clone() };
                store.ids_after(&first, self.up_to)?.first().copied()
            }
            None | Some(State::Pending | State::Kept) => None,
        };
        let found = store.ids_after(&self.filter, self.up_to)?;
        let fresh: Vec<i64> = found.iter().copied().filter(|id| !self.returned.contains(id)).collect();
        match waits {
            Some(waiting) => {
                self.up_to = waiting - 1;
                self.returned = found.into_iter().filter(|id| *id > self.up_to).collect();
            }
            None => {
                self.up_to = found.last().copied().unwrap_or(self.up_to);
                self.returned.clear();
            }
        }
        Ok(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NewEvent, Outcome, SessionRow, Settlement};

    fn append(store: &Store, session: SessionRow, count: usize) {
        let event = NewEvent::plain(b"{}");
        store.writer().unwrap().append(session, &vec![event; count]).unwrap();
    }

    fn deliver(store: &Store, id: i64) {
        let outcome = Outcome::Delivered { otas_event_id: "e".into() };
        store.settle(&[Settlement { id, attempts: 1, outcome }]).unwrap();
    }

    #[test]
    fn each_event_is_news_once_whatever_the_order() {
        let folder = tempfile::tempdir().unwrap();
        let ours = Store::open(&folder.path().join("events.db")).unwrap();
        let theirs = Store::open(ours.path()).unwrap();
        let session = theirs.begin_session("a", "k", "{}").unwrap();
        append(&theirs, session, 3);
        deliver(&theirs, 2);
        let news = |state| News::of(Filter { state, ..Filter::default() });
        let (mut any, mut pending, mut delivered) =
            (news(None), news(Some(State::Pending)), news(Some(State::Delivered)));
        let mut returned = |expected: [&[i64]; 3]| {
            assert_eq!(any.next(&ours).unwrap(), expected[0]);
            assert_eq!(pending.next(&ours).unwrap(), expected[1]);
            assert_eq!(delivered.next(&ours).unwrap(), expected[2]);
        };
        returned([&[1, 2, 3], &[1, 3], &[2]]);
        returned([&[], &[], &[]]);
        append(&theirs, session, 2);
        deliver(&theirs, 3);
        returned([&[4, 5], &[4, 5], &[3]]);
        deliver(&theirs, 1);
        deliver(&theirs, 5);
        returned([&[], &[], &[1, 5]]);
        deliver(&theirs, 4);
        returned([&[], &[], &[4]]);
        append(&theirs, session, 1);
        returned([&[6], &[6], &[]]);
    }
}
