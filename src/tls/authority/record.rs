//! The state of a rotation that certificates cannot hold: when the next CA takes over, and until when an old one is
//! trusted.

use std::path::Path;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::error::AuthorityError;
use super::files;

/// The record's file in `tls.ca_dir`.
const RECORD_FILE: &str = "rotation.json";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    /// When the next CA takes over, in Unix seconds.
    pub(super) takes_over_s: Option<i64>,
    /// How long both CAs are trusted before the switch, and again after it.
    pub(super) overlap_s: Option<i64>,
    /// All replaced CAs, the oldest first. They stay here after they are no longer trusted, so that `ca uninstall`
    /// knows them as ours.
    pub(super) retired: Vec<Retired>,
}

/// A CA that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Retired {
    /// See [`super::key_id`].
    pub(super) key_id: String,
    /// Trusted until then, in Unix seconds.
    pub(super) until_s: i64,
}

impl Record {
    /// Reads the record in `dir`; empty if there is none.
    pub(super) fn read(dir: &Path) -> Result<Self, AuthorityError> {
        let path = dir.join(RECORD_FILE);
        if !files::exists(&path)? {
            return Ok(Self::default());
        }
        let understood = serde_json::from_str(&files::read(&path)?);
        understood.map_err(|e| AuthorityError::Record { path, problem: format!("cannot be parsed ({e})") })
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), AuthorityError> {
        let path = dir.join(RECORD_FILE);
        let text = serde_json::to_vec_pretty(self).map_err(|e| AuthorityError::Record {
            path: path.clone(),
            problem: format!("cannot be written ({e})"),
        })?;
        files::replace(&path, &text, 0o644)
    }

    /// Until when the CA of this short name is trusted, if it was replaced.
    pub(super) fn until(&self, key_id: &str) -> Option<OffsetDateTime> {
        let retired = self.retired.iter().find(|retired| retired.key_id == key_id)?;
        OffsetDateTime::from_unix_timestamp(retired.until_s).ok()
    }

    /// Records that the CA of this short name was replaced.
    pub(super) fn retire(&mut self, key_id: &str, until: OffsetDateTime) {
        self.retired.retain(|retired| retired.key_id != key_id);
        self.retired.push(Retired { key_id: key_id.to_owned(), until_s: until.unix_timestamp() });
    }
}
