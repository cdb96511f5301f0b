//! `--har FILE`: what is listed, as a HAR file.

use std::path::Path;

use crate::cli::output;
use crate::export::har;
use crate::store::Store;

/// Writes these events to `file` (for its owner alone, like the store), or to stdout if it is `-`. Old ones may have been
/// removed meanwhile. Returns how many it wrote.
pub(super) fn write(store: &Store, events: &[i64], file: &Path) -> Result<usize, super::Failure> {
    output::write(file, |mut out| {
        let (mut written, mut har) = (0, har::File::begin(&mut out)?);
        for id in events {
            if let Some(event) = super::if_still_there(store.event(*id))? {
                har.add(&har::entry(&event))?;
                written += 1;
            }
        }
        har.end("")?;
        Ok(written)
    })
}
