//! The retry of a call. It stands close to it, so only rows nearby are searched.

use memchr::memmem;
use rusqlite::params;
use uuid::Uuid;

use super::packed::unpack;
use super::{StoreError, Viewer};

/// Rows that are searched.
const NEARBY: i64 = 5_000;
/// Later calls of the same kind that are looked at for a retry.
const LIKELY: i64 = 50;

impl Viewer {
    /// The row of the call that is a retry of this one, if there is one nearby.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn retried_by(&self, id: i64, event_id: Uuid) -> Result<Option<i64>, StoreError> {
        let link = format!("\"retry_of\":\"{}\"", event_id.hyphenated());
        let finder = memmem::Finder::new(link.as_bytes());
        self.look("find a retry", |connection| {
            let sql = "SELECT later.id, later.json FROM (
                           SELECT id FROM (
                               SELECT id, session, method, host, path FROM events INDEXED BY events_listed
                               WHERE id > ?1 ORDER BY id LIMIT ?2)
                           JOIN (SELECT session AS of_session, method AS of_method, host AS of_host, path AS of_path
                                 FROM events WHERE id = ?1)
                           WHERE session = of_session AND method = of_method AND host = of_host AND path = of_path
                           ORDER BY id LIMIT ?3) AS near
                       JOIN events AS later ON later.id = near.id ORDER BY later.id";
            let mut query = connection.prepare_cached(sql)?;
            let mut rows = query.query(params![id, NEARBY, LIKELY])?;
            while let Some(row) = rows.next()? {
                let json = row.get_ref(1)?.as_blob().unwrap_or_default();
                if unpack(json).is_some_and(|json| finder.find(&json).is_some()) {
                    return row.get(0).map(Some);
                }
            }
            Ok(None)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NewEvent, Store};

    #[test]
    fn a_retry_is_found_nearby() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let session = store.begin_session("run", "key", "{}").unwrap();
        let [first, other, retry] = [1, 2, 3].map(Uuid::from_u128);
        let json = format!(r#"{{"metadata":{{"links":{{"retry_of":"{first}","retry_count":1}}}}}}"#);
        let plain = NewEvent::plain(b"{}");
        let events = [
            NewEvent { event_id: first, ..plain },
            NewEvent { event_id: other, host: "other.test", json: json.as_bytes(), ..plain },
            NewEvent { event_id: retry, json: json.as_bytes(), ..plain },
        ];
        store.writer().unwrap().append(session, &events).unwrap();
        let viewer = store.viewer();
        assert_eq!(viewer.retried_by(1, first).unwrap(), Some(3), "another host is another call");
        assert_eq!(viewer.retried_by(2, other).unwrap(), None);
    }
}
