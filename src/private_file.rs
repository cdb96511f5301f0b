//! Private files: captured content, keys and tokens, readable only by their owner.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::system::files::{self, OpenOptionsExt as _};
use crate::system::users;

/// Permissions that others must not have.
pub(crate) const OTHERS_MAY: u32 = 0o077;
/// As [`OTHERS_MAY`], but the group may read, for example to ship logs.
pub(crate) const OTHERS_MAY_BUT_READ_AS_A_GROUP: u32 = 0o027;

/// Writes a file beside `path` (0600), and then gives it that name. When `contents` fails, nothing has changed. A device or a pipe
/// is written in its place. Symbolic links are not followed: another user may have planted one to have a different file overwritten.
///
/// # Errors
/// When the file cannot be written or is a symbolic link, and when `contents` fails.
pub(crate) fn replace<T, E: From<io::Error>>(
    path: &Path,
    contents: impl FnOnce(&File) -> Result<T, E>,
) -> Result<T, E> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => {
            let why = "it is a symbolic link, which is not followed: use the file's own path";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why).into());
        }
        Ok(found) if !found.is_file() => {
            return contents(&files::open_no_link(OpenOptions::new().write(true), path)?);
        }
        _ => {}
    }
    let new = beside(path);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let done = contents(&file).and_then(|made| {
        // Otherwise the new name may stand before the contents after a crash of the system.
        if let Err(error) = file.sync_all() {
            return Err(error.into());
        }
        drop(file);
        fs::rename(&new, path)?;
        Ok(made)
    });
    if done.is_err() {
        // The first error is the one that matters.
        let _ = fs::remove_file(&new);
    }
    done
}

/// A new name in the same folder.
fn beside(path: &Path) -> PathBuf {
    path.with_extension(format!("new-{}", Uuid::new_v4()))
}

/// Refuses a symbolic link that another user has made: it could lead to a file that the other user may read, or have one of ours
/// overwritten. Our own links and those of root (`/dev/stdout`) are followed.
///
/// # Errors
/// When it is such a link.
pub(crate) fn refuse_link_of_another_user(path: &Path) -> io::Result<()> {
    users::effective().map_or(Ok(()), |user_id| refuse_link_unless_of(path, user_id))
}

fn refuse_link_unless_of(path: &Path, user_id: u32) -> io::Result<()> {
    const ROOT: u32 = 0;
    let link = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_symlink);
    match link.and_then(|link| files::owner(&link)) {
        Some(owner) if ![user_id, ROOT].contains(&owner) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("it is a symbolic link of another user (user id {owner}), which is not followed: remove it"),
        )),
        _ => Ok(()),
    }
}

/// Creates a file (0600) with these contents if it does not exist. It is written completely or not at all. If several processes
/// start together, the first one wins.
///
/// # Errors
/// When the contents cannot be made, or the file cannot be written.
pub(crate) fn create_if_absent(path: &Path, contents: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let contents = contents()?;
    let new = beside(path);
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?.write_all(&contents);
    let linked = written.and_then(|()| match fs::hard_link(&new, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    fs::remove_file(&new)?;
    linked
}

/// Removes the permissions in `harmful` from a file of ours, and logs a warning.
///
/// # Errors
/// When the mode cannot be read or changed.
pub(crate) fn close_to_others(path: &Path, harmful: u32) -> io::Result<()> {
    let found = fs::metadata(path)?;
    let mode = files::mode(&found).unwrap_or_default();
    // Pipes and devices store nothing.
    if !found.is_file() || mode & harmful == 0 {
        return Ok(());
    }
    let wanted = mode & !harmful;
    let shown = path.display();
    files::set_mode(path, wanted).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("others can read or write `{shown}` (mode {mode:04o}), and its mode cannot be changed: {error}"),
        )
    })?;
    tracing::warn!("others could read or write `{shown}` (mode {mode:04o}): changed its mode to {wanted:04o}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn permissions_of_others_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("events");
        fs::write(&file, "x").unwrap();
        for (before, harmful, after) in [
            (0o666, OTHERS_MAY, 0o600),
            (0o640, OTHERS_MAY, 0o600),
            (0o602, OTHERS_MAY, 0o600),
            (0o664, OTHERS_MAY_BUT_READ_AS_A_GROUP, 0o640),
            (0o400, OTHERS_MAY, 0o400),
        ] {
            set(&file, before);
            close_to_others(&file, harmful).unwrap();
            assert_eq!(mode(&file), after, "{before:o}");
        }
    }

    #[test]
    fn a_file_is_replaced_when_it_is_complete_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a.har"), folder.path().join("link.har"));
        fs::write(&file, "old").unwrap();
        set(&file, 0o644);
        let fill = |text: &'static str| move |mut out: &File| out.write_all(text.as_bytes());
        replace(&file, |_| Err::<(), _>(io::Error::other("full"))).unwrap_err();
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        replace(&file, fill("new")).unwrap();
        assert_eq!((mode(&file), fs::read_to_string(&file).unwrap()), (0o600, "new".to_owned()));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(replace(&link, fill("other")).unwrap_err().to_string().contains("symbolic link"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_link_of_another_user_is_refused_and_one_of_our_own_or_of_root_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("events.jsonl");
        refuse_link_unless_of(&link, 0).unwrap();
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let maker = fs::symlink_metadata(&link).unwrap().uid();
        refuse_link_unless_of(&link, maker).unwrap();
        refuse_link_unless_of(Path::new("/dev/stdout"), maker).unwrap();
        let other = refuse_link_unless_of(&link, maker + 1);
        assert_eq!(other.is_err(), maker != 0, "{other:?}");
        if maker == 0 {
            std::os::unix::fs::lchown(&link, Some(12_345), None).unwrap();
            assert!(refuse_link_unless_of(&link, 0).unwrap_err().to_string().contains("user id 12345"));
        }
    }
}
