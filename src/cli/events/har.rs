//! `--har FILE`: what is listed, as a HAR file.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::cli::output;
use crate::export::har;
use crate::store::Store;

/// Writes these events to `file` (for its owner alone, like the store), or to stdout if it is `-`. Old ones may have been
/// removed meanwhile. Returns how many it wrote.
pub(super) fn write(store: &Store, events: &[i64], file: &Path) -> Result<usize, super::Failure> {
    let mut out: Box<dyn Write> = match file.as_os_str() == "-" {
        true => Box::new(io::stdout().lock()),
        false => Box::new(BufWriter::new(output::create(file)?)),
    };
    let mut written = 0;
    let mut file = har::File::begin(&mut out)?;
    for id in events {
        if let Some(event) = super::if_still_there(store.event(*id))? {
            file.add(&har::entry(&event))?;
            written += 1;
        }
    }
    file.end("")?;
    out.flush()?;
    Ok(written)
}
