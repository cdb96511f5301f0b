//! The folder of the demo's files.

use std::fs::{DirBuilder, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::config::state_folder;
use crate::system::files::DirBuilderExt as _;

/// Where the demo's files are.
pub(super) struct Place {
    pub(super) folder: PathBuf,
    /// They stay after the demo.
    pub(super) stays: bool,
    /// Held while the folder is in use.
    _lock: Option<File>,
}

impl Place {
    /// The folder that was named; else one of the user's own, emptied; else (none is known, or another demo is in it) a
    /// temporary one.
    pub(super) fn choose(named: Option<PathBuf>) -> Result<Self, String> {
        let cannot = |folder: &Path, error: io::Error| {
            format!(
                "cannot use the folder `{}`: {error}. Name one that this user can write (--keep)",
                folder.display()
            )
        };
        if let Some(folder) = named {
            std::fs::create_dir_all(&folder).map_err(|error| cannot(&folder, error))?;
            return Ok(Self { folder, stays: true, _lock: None });
        }
        if let Some(place) = state_folder(&|name| std::env::var(name).ok()).and_then(|state| Self::kept(&state).ok())
        {
            return Ok(place);
        }
        let folder = std::env::temp_dir().join(format!("otas-proxy-demo-{}", uuid::Uuid::new_v4().simple()));
        DirBuilder::new().mode(0o700).create(&folder).map_err(|error| cannot(&folder, error))?;
        Ok(Self { folder, stays: false, _lock: None })
    }

    fn kept(state: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(state)?;
        let lock = File::create(state.join("demo.lock"))?;
        lock.try_lock().map_err(io::Error::from)?;
        let folder = state.join("demo");
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => DirBuilder::new().mode(0o700).create(&folder)?,
        }
        Ok(Self { folder, stays: true, _lock: Some(lock) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.stays {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
