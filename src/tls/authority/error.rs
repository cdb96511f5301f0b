//! Why the CA cannot be used.

use std::io;
use std::path::{Path, PathBuf};

/// Why the CA cannot be used. Each message says what to do next.
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
    /// One of the two files exists without the other.
    #[error("`{}` exists but `{}` is missing: restore it, or move both files away so that a new CA is made", present.display(), missing.display())]
    Half {
        /// The file that exists.
        present: PathBuf,
        /// The file that does not.
        missing: PathBuf,
    },
    /// The content of a file is invalid.
    #[error("`{}` {problem}: restore it, or move `ca.pem` and `ca.key` away so that a new CA is made", path.display())]
    Bad {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificate has expired or is not valid yet.
    #[error("`{}` is not valid now (only from {from} to {to}): run `otas-proxy ca rotate` to replace it with a new CA, or set this machine's clock if it is wrong", path.display())]
    NotValidNow {
        /// The certificate's file.
        path: PathBuf,
        /// The start of its validity.
        from: String,
        /// The end of its validity.
        to: String,
    },
    /// The key is readable by others.
    #[error("`{}` has mode {mode:04o}, so others may read the CA key: run `chmod 0600 '{}'`", path.display(), path.display())]
    TooOpen {
        /// The key.
        path: PathBuf,
        /// Its current mode.
        mode: u32,
    },
    /// Others can write in the folder.
    #[error("`{}` has mode {mode:04o}, so others can replace the CA in it: {}", path.display(), closing(path, *is_ours))]
    OpenFolder {
        /// The CA folder.
        path: PathBuf,
        /// Its current mode.
        mode: u32,
        /// Whether this user can change the mode.
        is_ours: bool,
    },
    /// The record of a rotation cannot be parsed or written.
    #[error("`{}` {problem}: remove it; its content is then derived from the certificates", path.display())]
    Record {
        /// The record's file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The key of the next CA is invalid.
    #[error("`{}` {problem}: remove it, and run `otas-proxy ca rotate` to make another", path.display())]
    Next {
        /// The next key's file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A rotation was requested while another is in progress.
    #[error(
        "a new CA waits already and takes over at {takes_over}: run `otas-proxy ca rotate --finish` to let it take over now"
    )]
    UnderWay {
        /// When it takes over.
        takes_over: String,
    },
    /// There is no rotation to finish.
    #[error("no new CA waits to take over: run `otas-proxy ca rotate` to make one")]
    NothingToFinish,
    /// The certificate could not be made.
    #[error("cannot make the CA certificate: {0}")]
    Mint(#[from] rcgen::Error),
}

/// What to do about a folder in which others can write. Others may go on reading it: agents of other users read the certificates.
fn closing(path: &Path, is_ours: bool) -> String {
    match is_ours {
        true => format!("run `chmod go-w '{}'`", path.display()),
        false => "it belongs to another user; choose a folder of this user (`tls.ca_dir`, --ca-dir)".to_owned(),
    }
}

pub(super) fn io_error(act: &'static str, path: &Path, source: io::Error) -> AuthorityError {
    AuthorityError::Io { act, path: path.to_owned(), source }
}

pub(super) fn bad(path: &Path, problem: String) -> AuthorityError {
    AuthorityError::Bad { path: path.to_owned(), problem }
}
