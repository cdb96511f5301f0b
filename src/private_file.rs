//! Files that hold what was captured: for their owner alone.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Nobody but the owner may do anything.
pub(crate) const OTHERS_MAY: u32 = 0o077;
/// As [`OTHERS_MAY`], but a group may read: one that ships logs, say.
pub(crate) const OTHERS_MAY_BUT_READ_AS_A_GROUP: u32 = 0o027;

/// Makes a file to be written from its beginning, or empties the one that is there. Symbolic links are not followed: somebody
/// else may have put one there, to have another file overwritten.
///
/// # Errors
/// When it cannot be opened, is a symbolic link, or others may read or write it and that cannot be changed.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let no_links = OFlags::NOFOLLOW.bits().cast_signed();
    let opened = OpenOptions::new().write(true).create(true).mode(0o600).custom_flags(no_links).open(path);
    let file = opened.map_err(|error| match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => {
            io::Error::new(error.kind(), "it is a symbolic link, which is not followed: give the file's own name")
        }
        _ => error,
    })?;
    close_to_others(path, OTHERS_MAY)?;
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Refuses a symbolic link that another user has made: it could lead to a file that the other user may read, or have one of ours
/// overwritten. Our own links and those of root (`/dev/stdout`) are followed.
///
/// # Errors
/// When it is such a link.
pub(crate) fn refuse_link_of_another_user(path: &Path) -> io::Result<()> {
    refuse_link_unless_of(path, rustix::process::geteuid().as_raw())
}

fn refuse_link_unless_of(path: &Path, user_id: u32) -> io::Result<()> {
    const ROOT: u32 = 0;
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() && ![user_id, ROOT].contains(&found.uid()) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "it is a symbolic link of another user (user id {}), which is not followed: remove it",
                found.uid()
            ),
        )),
        _ => Ok(()),
    }
}

/// Takes from others what they may do with a file of ours, with a message. `harmful`: what they must not.
///
/// # Errors
/// When it cannot be looked at, or its mode cannot be changed.
pub(crate) fn close_to_others(path: &Path, harmful: u32) -> io::Result<()> {
    let found = fs::metadata(path)?;
    let mode = found.permissions().mode() & 0o7777;
    // Pipes and devices hold nothing.
    if !found.is_file() || mode & harmful == 0 {
        return Ok(());
    }
    let wanted = mode & !harmful;
    let shown = path.display();
    fs::set_permissions(path, Permissions::from_mode(wanted)).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("others may read or write `{shown}` (mode {mode:04o}), and its mode cannot be changed ({error})"),
        )
    })?;
    tracing::warn!("others could read or write `{shown}` (mode {mode:04o}): its mode is {wanted:04o} now");
    Ok(())
}

/// The same for the folder of such a file: whoever may write in it can replace the file. Of a folder like `/tmp`, where nobody
/// can touch the files of others, nothing is asked.
///
/// # Errors
/// As [`close_to_others`].
pub(crate) fn close_folder_of(path: &Path) -> io::Result<()> {
    const WORLD_WRITABLE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = fs::metadata(folder)?.permissions().mode() & 0o7777;
    if mode & WORLD_WRITABLE == 0 || mode & STICKY != 0 {
        return Ok(());
    }
    let (shown, wanted) = (folder.display(), mode & !WORLD_WRITABLE);
    fs::set_permissions(folder, Permissions::from_mode(wanted)).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!(
                "everybody may write in the folder `{shown}` (mode {mode:04o}), and its mode cannot be changed ({error}): \
                 use a folder of your own in it"
            ),
        )
    })?;
    tracing::warn!("everybody could write in the folder `{shown}` (mode {mode:04o}): its mode is {wanted:04o} now");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_others_may_do_is_taken_from_them() {
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
    fn a_folder_that_everybody_may_write_in_is_closed_unless_files_are_safe_in_it() {
        let folder = tempfile::tempdir().unwrap();
        for (before, after) in [(0o777, 0o775), (0o2777, 0o2775), (0o1777, 0o1777), (0o755, 0o755)] {
            set(folder.path(), before);
            close_folder_of(&folder.path().join("events")).unwrap();
            assert_eq!(mode(folder.path()), after, "{before:o}");
        }
    }

    #[test]
    fn a_file_is_made_anew_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a.har"), folder.path().join("link.har"));
        fs::write(&file, "old").unwrap();
        set(&file, 0o644);
        create(&file).unwrap();
        assert_eq!((mode(&file), fs::read_to_string(&file).unwrap()), (0o600, String::new()));
        fs::write(&file, "kept").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(create(&link).unwrap_err().to_string().contains("symbolic link"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
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
