//! Gives unused space back to the disk. SQLite writes the whole file again (VACUUM) and blocks other writers meanwhile, so this
//! waits until no proxy uses the store.

use super::{CommandError, Store, provisional, retention};

/// SQLite needs room for the content again in the log, and for the log when it is copied into the file.
const ROOM: u64 = 2;

impl Store {
    /// Makes the file as small as its content.
    ///
    /// # Errors
    /// When a proxy uses the store, when the disk has too little room, or when the file cannot be written. Then nothing has
    /// changed.
    pub fn compact(&self) -> Result<(), CommandError> {
        if provisional::is_in_use(self.path()) {
            return Err(CommandError::InUse(self.path().into()));
        }
        let sizes = self.viewer().sizes()?;
        let wanted_bytes = sizes.file_bytes.saturating_sub(sizes.free_bytes).saturating_mul(ROOM);
        let free_bytes = retention::free_disk_bytes(self.path()).unwrap_or(u64::MAX);
        if free_bytes < wanted_bytes {
            return Err(CommandError::NoRoom { path: self.path().into(), wanted_bytes, free_bytes });
        }
        // The second statement copies the log into the file and truncates both. A reader may delay that to the next checkpoint.
        self.connection()
            .execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
            .map_err(self.failed("be made smaller"))
            .map_err(CommandError::from)
    }
}

#[cfg(test)]
mod tests {
    use crate::store::{CommandError, Inspector, NewEvent, Selection, Store, testing};

    #[test]
    fn unused_space_is_given_back_and_numbers_go_on() {
        let (folder, store) = testing::store();
        let session = store.begin_session("run", "", "{}").unwrap();
        let text: String = (0..40_000_u64).map(|n| format!("{:x} ", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
        let body = [crate::event::BodyText { at: 17, text: text.into() }];
        let event = NewEvent { bodies: &body, ..NewEvent::plain(br#"{"request_body":""}"#) };
        store.writer().unwrap().append(session, &[event]).unwrap();
        let last_chunk = "SELECT seq FROM sqlite_sequence WHERE name = 'chunks'";
        let number =
            |store: &Store, sql: &str| -> i64 { store.connection().query_row(sql, [], |row| row.get(0)).unwrap() };
        let chunk = number(&store, last_chunk);
        let all = Selection::default();
        store.clear(&all, &store.clearable(&all).unwrap()).unwrap();
        let before = store.viewer().sizes().unwrap();
        assert!(matches!(store.compact(), Err(CommandError::InUse(_))), "this process has a session");
        let path = store.path().to_owned();
        drop(store);
        let store = Store::open(&path).unwrap();
        store.compact().unwrap();
        let after = store.viewer().sizes().unwrap();
        assert!(
            before.free_bytes > 100_000 && after.file_bytes + 100_000 < before.file_bytes,
            "{before:?} {after:?}"
        );
        assert_eq!(after.free_bytes, 0);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), after.file_bytes);
        assert_eq!(number(&store, last_chunk), chunk, "no number is used again");
        let session = store.begin_session("other", "", "{}").unwrap();
        store.writer().unwrap().append(session, &[event]).unwrap();
        assert_eq!(store.ids(&crate::store::Filter { limit: 9, ..Default::default() }).unwrap(), [2]);
        Inspector::open(&path).unwrap().verify(&mut |fault| panic!("{fault}")).unwrap();
        drop(folder);
    }
}
