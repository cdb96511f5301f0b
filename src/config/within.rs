//! Whether a path stays below a folder, wherever links lead.

use std::path::{Path, PathBuf};

/// Whether a path stays below `folder`, wherever links on the way lead.
pub(super) fn is_within(path: &Path, folder: &Path) -> bool {
    folder.canonicalize().is_ok_and(|folder| real(path).starts_with(folder))
}

/// The path without links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(real), ..) => real,
        // Creating the target of a dangling link would follow the link.
        (Err(_), ..) if path.is_symlink() => PathBuf::new(),
        (Err(_), Some(parent), Some(name)) => real(parent).join(name),
        // It is unknown where `..` leads after a missing folder.
        (Err(_), ..) => PathBuf::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_before_it_is_said_where_a_path_leads() {
        let outside = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(outside.path().join("key"), "k").unwrap();
        std::fs::write(at("own"), "k").unwrap();
        std::os::unix::fs::symlink(outside.path().join("key"), at("linked")).unwrap();
        std::os::unix::fs::symlink(outside.path(), at("folder")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("nothing"), at("dangling")).unwrap();
        for inside in ["own", "new/file", "./own"] {
            assert!(is_within(&at(inside), folder.path()), "{inside}");
        }
        for leading_out in ["linked", "folder/key", "folder/new", "dangling", "../x", "new/../../x", "/etc/passwd"] {
            assert!(!is_within(&at(leading_out), folder.path()), "{leading_out}");
        }
    }
}
