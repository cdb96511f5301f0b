//! The CA's folder in the course of time: the next CA is made, takes over, and the old one goes; the files that agents were given
//! are kept in step.

use std::path::Path;

use time::{Duration, OffsetDateTime};

use super::authority::{self, AuthorityError, CertAuthority, Change};
use super::bundle;

/// The CA in `dir` for a proxy that starts: what it is time for is done first, and said in the log. That this fails keeps
/// nobody from starting.
///
/// # Errors
/// As [`CertAuthority::load_or_create`].
pub fn open_authority(dir: &Path) -> Result<CertAuthority, AuthorityError> {
    if let Err(error) = keep_up(dir, OffsetDateTime::now_utc()) {
        tracing::warn!(%error, "the CA's folder could not be kept in order");
    }
    CertAuthority::load_or_create(dir)
}

/// Does what it is time for. Cheap when there is nothing to do.
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
                "the CA certificate has passed 80 % of its life, so a new one was made, which takes over then: agents that are \
                 started from now on trust both; where the CA was installed or copied to, do that again"
            ),
            Change::TookOver => tracing::warn!("the new CA has taken over"),
            Change::Removed(_) => tracing::info!("a CA that was replaced is trusted no more"),
        }
    }
    refresh(dir, now, &changes)
}

/// Makes the next CA, which takes over after `overlap`, and gives the time when it does.
///
/// # Errors
/// When one waits to take over already, and when the folder's files cannot be used or written.
pub fn rotate(dir: &Path, now: OffsetDateTime, overlap: Duration) -> Result<OffsetDateTime, AuthorityError> {
    let at = authority::begin(dir, now, overlap)?;
    let changes = if at <= now { authority::settle(dir, now)? } else { Vec::new() };
    refresh(dir, now, &changes)?;
    Ok(at)
}

/// Lets the next CA take over now.
///
/// # Errors
/// When none waits, and when the folder's files cannot be used or written.
pub fn finish_rotation(dir: &Path, now: OffsetDateTime) -> Result<(), AuthorityError> {
    authority::finish(dir, now)?;
    let changes = authority::settle(dir, now)?;
    refresh(dir, now, &changes)
}

/// Agents that run already know the files by their paths, and read them again for each child.
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
