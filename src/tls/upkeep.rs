//! Maintenance of the CA folder: the next CA is made, takes over, and the old one is removed. The files of agents are
//! updated each time.

use std::path::Path;

use time::{Duration, OffsetDateTime};

use super::authority::{self, AuthorityError, CertAuthority, Change};
use super::bundle;

/// Opens the CA in `dir` for a proxy that starts. Does what is due first, and logs it. A failure of that does not
/// prevent the start.
///
/// # Errors
/// As [`CertAuthority::load_or_create`].
pub fn open_authority(dir: &Path) -> Result<CertAuthority, AuthorityError> {
    let kept = keep_up(dir, OffsetDateTime::now_utc());
    // Its error says the same where the folder cannot be used at all.
    let authority = CertAuthority::load_or_create(dir)?;
    if let Err(error) = kept {
        tracing::warn!(%error, "cannot maintain the CA folder");
    }
    Ok(authority)
}

/// Does what is due. Cheap when nothing is.
///
/// # Errors
/// When the folder's files cannot be used or written.
pub fn keep_up(dir: &Path, now: OffsetDateTime) -> Result<(), AuthorityError> {
    if !authority::due(dir, now)? {
        return Ok(());
    }
    let changes = authority::settle(dir, now)?;
    for change in &changes {
        match change {
            Change::Prepared(at) => tracing::warn!(
                takes_over = %x509_parser::time::ASN1Time::from(*at),
                "the CA certificate has passed 80 % of its lifetime, so a new CA was made, which takes over at that time. Agents that \
                 start from now on trust both. Where the CA was installed or copied, do that again"
            ),
            Change::TookOver => tracing::warn!("the new CA has taken over"),
            Change::Removed(_) => tracing::info!("a replaced CA is no longer trusted"),
        }
    }
    refresh(dir, now, &changes)
}

/// Makes the next CA, which takes over after `overlap`. Returns the time when it takes over.
///
/// # Errors
/// When a CA already waits to take over, or the folder's files cannot be used or written.
pub fn rotate(dir: &Path, now: OffsetDateTime, overlap: Duration) -> Result<OffsetDateTime, AuthorityError> {
    let at = authority::begin(dir, now, overlap)?;
    let changes = if at <= now { authority::settle(dir, now)? } else { Vec::new() };
    refresh(dir, now, &changes)?;
    Ok(at)
}

/// Lets the next CA take over now.
///
/// # Errors
/// When no CA waits, or the folder's files cannot be used or written.
pub fn finish_rotation(dir: &Path, now: OffsetDateTime) -> Result<(), AuthorityError> {
    authority::finish(dir, now)?;
    let changes = authority::settle(dir, now)?;
    refresh(dir, now, &changes)
}

/// Updates the files of agents. Running agents know their paths and read them again for each child.
fn refresh(dir: &Path, now: OffsetDateTime, changes: &[Change]) -> Result<(), AuthorityError> {
    let gone = changes.iter().filter_map(|change| match change {
        Change::Removed(gone) => Some(gone.as_slice()),
        Change::Prepared(_) | Change::TookOver => None,
    });
    let gone: Vec<_> = gone.flatten().cloned().collect();
    let authority = CertAuthority::load_at(dir, now)?;
    bundle::refresh(&authority, &gone).map_err(|source| AuthorityError::Io {
        act: "bring the bundles up to date in",
        path: dir.to_owned(),
        source,
    })
}
