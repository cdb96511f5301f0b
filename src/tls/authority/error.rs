//! Why the CA cannot be used.

use std::io;
use std::path::{Path, PathBuf};

/// Why the CA cannot be used. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file or the folder could not be read or written.
    #[error("cannot {act} `{}`: {source}. The CA needs a folder that this user can read and write (`tls.ca_dir`, --ca-dir)", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// One of the two files is there without the other.
    #[error("`{}` is there but `{}` is missing: restore it, or move both away to have a new CA made", present.display(), missing.display())]
    Half {
        /// The file that exists.
        present: PathBuf,
        /// The file that does not.
        missing: PathBuf,
    },
    /// A file's content is not what it should be.
    #[error("`{}` {problem}: restore it, or move `ca.pem` and `ca.key` away to have a new CA made", path.display())]
    Bad {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificate's time is over, or has not come.
    #[error("`{}` is not valid now (only from {from} to {to}): `otas-proxy ca rotate` makes a new CA in its place; if the dates are right, set this machine's clock", path.display())]
    NotValidNow {
        /// The certificate's file.
        path: PathBuf,
        /// Its first moment.
        from: String,
        /// Its last.
        to: String,
    },
    /// Others than the owner may read the key.
    #[error("`{}` has mode {mode:04o}, so others may read the CA key: run `chmod {wanted:04o} '{}'`", path.display(), path.display())]
    TooOpen {
        /// The key or its folder.
        path: PathBuf,
        /// Its present mode.
        mode: u32,
        /// The mode that it must not exceed.
        wanted: u32,
    },
    /// What is known of a rotation cannot be understood.
    #[error("`{}` {problem}: remove it; what it says is then guessed from the certificates", path.display())]
    Record {
        /// The record's file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The next CA's key is not what it should be.
    #[error("`{}` {problem}: remove it, and run `otas-proxy ca rotate` to have another made", path.display())]
    Next {
        /// The next key's file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A second rotation was asked for while one is under way.
    #[error(
        "a new CA is there already and takes over at {takes_over}: `otas-proxy ca rotate --finish` makes it take over now"
    )]
    UnderWay {
        /// When it takes over.
        takes_over: String,
    },
    /// There is no rotation to finish.
    #[error("no new CA waits to take over: `otas-proxy ca rotate` makes one")]
    NothingToFinish,
    /// The certificate could not be made.
    #[error("cannot make the CA certificate: {0}")]
    Mint(#[from] rcgen::Error),
}

pub(super) fn io_error(act: &'static str, path: &Path, source: io::Error) -> AuthorityError {
    AuthorityError::Io { act, path: path.to_owned(), source }
}

pub(super) fn bad(path: &Path, problem: String) -> AuthorityError {
    AuthorityError::Bad { path: path.to_owned(), problem }
}
