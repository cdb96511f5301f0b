//! Whether others can replace our files in a folder: who may write in it may remove a file and put another in its place,
//! whatever the file's own mode is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::system::{files, users};

/// Permissions with which others could write in a folder.
const OTHERS_MAY_WRITE: u32 = 0o022;
const WORLD_WRITABLE: u32 = 0o002;
const STICKY: u32 = 0o1000;
const ROOT: u32 = 0;

/// Who else may write in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writers {
    /// Nobody.
    NoOthers,
    /// Others, in a place that the system keeps for that: a sticky folder like `/tmp`, where users cannot touch each other's
    /// files, or a volume that root has mounted into this container with modes that only root can change. In the latter,
    /// whoever else has the volume mounted can replace files. Files that are there before us may be theirs: see
    /// [`refuse_file_of_another_user`].
    Shared,
    /// Others, and they can replace our files.
    Others {
        /// The folder's mode.
        mode: u32,
        /// Whether this user can change the mode.
        is_ours: bool,
    },
}

/// Who else may write in `folder`.
///
/// # Errors
/// When the folder's mode cannot be read.
pub(crate) fn writers(folder: &Path) -> io::Result<Writers> {
    let found = fs::metadata(folder)?;
    let Some(mode) = files::mode(&found) else { return Ok(Writers::NoOthers) };
    let (owner, us, root) = (files::owner(&found), users::effective(), Some(ROOT));
    // The owner of a sticky folder may remove the files of others.
    let is_sticky = mode & STICKY != 0 && [us, root].contains(&owner);
    Ok(match () {
        () if mode & OTHERS_MAY_WRITE == 0 => Writers::NoOthers,
        () if is_sticky || (owner == root && us != root && is_mount_point(folder)) => Writers::Shared,
        () => Writers::Others { mode, is_ours: owner == us || us == root },
    })
}

/// Closes the folder of a private file to users who could replace the file, if it is open to all of them. Logs a warning then.
/// A folder that is open to a group stays so.
///
/// # Errors
/// When the mode cannot be read or changed.
pub(crate) fn close_folder_of(file: &Path) -> io::Result<()> {
    let folder = folder_of(file);
    let Writers::Others { mode, .. } = writers(folder)? else { return Ok(()) };
    if mode & WORLD_WRITABLE == 0 {
        return Ok(());
    }
    let (shown, wanted) = (folder.display(), mode & !WORLD_WRITABLE);
    files::set_mode(folder, wanted).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!(
                "everybody can write in the folder `{shown}` (mode {mode:04o}), and its mode cannot be changed ({error}): \
                 use a folder of your own"
            ),
        )
    })?;
    tracing::warn!(
        "everybody could write in the folder `{shown}` (mode {mode:04o}): changed its mode to {wanted:04o}"
    );
    Ok(())
}

/// Refuses a file of another user in a folder where others may put files. They may know what is in it, or have made it for us
/// to use. Files of root are accepted. So is a file that does not exist.
///
/// # Errors
/// When it is such a file.
pub(crate) fn refuse_file_of_another_user(file: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(file) else { return Ok(()) };
    let Some(owner) = files::owner(&found) else { return Ok(()) };
    if [users::effective(), Some(ROOT)].contains(&Some(owner)) || writers(folder_of(file))? == Writers::NoOthers {
        return Ok(());
    }
    let message = format!(
        "`{}` belongs to another user (user id {owner}), in a folder where others may put files: remove it, or use a folder of your own",
        file.display()
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

/// The folder of a file.
pub(crate) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether something is mounted at this folder. `false` where the system does not say.
fn is_mount_point(folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else { return false };
    mount_points().contains(&folder)
}

#[cfg(target_os = "linux")]
fn mount_points() -> Vec<PathBuf> {
    use procfs_core::FromBufRead as _;
    let Ok(table) = fs::File::open("/proc/self/mountinfo") else { return Vec::new() };
    let read = procfs_core::process::MountInfos::from_buf_read(io::BufReader::new(table));
    read.map(|table| table.0.into_iter().map(|mount| mount.mount_point).collect()).unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
fn mount_points() -> Vec<PathBuf> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn others_may_write_in_a_folder_that_is_open_to_its_group_or_to_all() {
        let folder = tempfile::tempdir().unwrap();
        for (mode, expected) in [
            (0o755, Writers::NoOthers),
            (0o700, Writers::NoOthers),
            (0o1777, Writers::Shared),
            (0o777, Writers::Others { mode: 0o777, is_ours: true }),
            (0o770, Writers::Others { mode: 0o770, is_ours: true }),
        ] {
            set(folder.path(), mode);
            assert_eq!(writers(folder.path()).unwrap(), expected, "{mode:o}");
        }
    }

    #[test]
    fn a_world_writable_folder_is_closed_unless_it_is_sticky() {
        let folder = tempfile::tempdir().unwrap();
        for (before, after) in [(0o777, 0o775), (0o2777, 0o2775), (0o1777, 0o1777), (0o775, 0o775), (0o755, 0o755)] {
            set(folder.path(), before);
            close_folder_of(&folder.path().join("events")).unwrap();
            assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o7777, after, "{before:o}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn mount_points_are_known() {
        assert!(is_mount_point(Path::new("/proc")) && !is_mount_point(Path::new("/proc/self")));
    }

    #[test]
    fn a_file_of_another_user_is_refused_where_others_may_put_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.key");
        refuse_file_of_another_user(&file).unwrap();
        fs::write(&file, "k").unwrap();
        set(folder.path(), 0o1777);
        refuse_file_of_another_user(&file).unwrap();
        if std::os::unix::fs::chown(&file, Some(12_345), None).is_ok() {
            assert!(refuse_file_of_another_user(&file).unwrap_err().to_string().contains("user id 12345"));
            set(folder.path(), 0o755);
            refuse_file_of_another_user(&file).unwrap();
        }
    }
}
