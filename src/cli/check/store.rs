//! The store: whether its folder and its file can be written, and the disk has room.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::line::Line;
use crate::config;
use crate::store::{free_disk_bytes, left_free_bytes};
use crate::system::{self, files};
use crate::users;

/// It changes nothing: it only creates a file and removes it.
pub(super) fn line(store: &config::Store) -> Line {
    let (path, what) = (&store.path, "store");
    let folder = existing(path.parent().unwrap_or(Path::new(".")));
    if let Err(error) = writable(&folder) {
        let cure = format!(
            "Let this user write there (`chown \"$USER\" '{}'`), or choose another file (`store.path`, --store-path)",
            folder.display()
        );
        return Line::fail(what, format!("cannot write in `{}`{}: {error}", folder.display(), owner(&folder)), cure);
    }
    if path.exists()
        && let Err(error) = fs::OpenOptions::new().append(true).open(path)
    {
        let cure = format!(
            "Let this user write it (`chown \"$USER\" '{}'`), or choose another (`store.path`)",
            path.display()
        );
        return Line::fail(what, format!("cannot write `{}`{}: {error}", path.display(), owner(path)), cure);
    }
    // A link to a file that is not there yet.
    if let (false, Ok(target)) = (path.exists(), fs::read_link(path))
        && !path.parent().unwrap_or(Path::new(".")).join(&target).parent().is_some_and(Path::exists)
    {
        return Line::fail(
            what,
            format!("`{}` is a link to `{}`, whose folder does not exist", path.display(), target.display()),
            "Make that folder, or choose another file (`store.path`, --store-path)",
        );
    }
    // The bound that the store applies, which is smaller than the setting on a small disk.
    let bound = left_free_bytes(&folder.join("x"), store.min_free_bytes);
    room(store, &folder, free_disk_bytes(&folder.join("x")), bound)
}

/// Whether the disk has the room that the store wants left free.
fn room(store: &config::Store, folder: &Path, free: Option<u64>, bound: u64) -> Line {
    match free {
        Some(free) if free < bound => Line::warn(
            "store",
            format!(
                "the disk of `{}` has {free} free bytes, and {bound} must stay free (`store.min_free_bytes`)",
                folder.display()
            ),
            "Free some space: until then the store does not grow, and events that do not fit are dropped and counted",
        ),
        _ => Line::ok("store", format!("`{}` can be written", store.path.display())),
    }
}

/// Its owner, if it is not ours.
fn owner(path: &Path) -> String {
    let owner = fs::metadata(path).ok().and_then(|found| files::owner(&found));
    let other = owner.filter(|_| owner != system::users::effective());
    other.map(|uid| format!(", which is owned by {}", users::name(uid))).unwrap_or_default()
}

/// The folder, or its nearest ancestor that exists.
fn existing(folder: &Path) -> PathBuf {
    let on_the_way = folder.ancestors().map(|at| if at.as_os_str().is_empty() { Path::new(".") } else { at });
    on_the_way.into_iter().find(|at| at.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn writable(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".otas-proxy-check-{}", uuid::Uuid::new_v4().simple()));
    fs::File::create_new(&probe)?;
    fs::remove_file(probe)
}

#[cfg(test)]
mod tests {
    use super::super::line::State;
    use super::*;

    fn store(path: &Path, min_free_bytes: u64) -> config::Store {
        config::Store { path: path.to_owned(), min_free_bytes, ..config::Config::defaults(path).unwrap().store }
    }

    #[test]
    fn a_folder_that_cannot_be_a_full_disk_and_a_good_one() {
        let tmp = tempfile::tempdir().unwrap();
        let deep = tmp.path().join("not/yet/there.db");
        assert_eq!(line(&store(&deep, 0)).state, State::Ok);
        assert!(
            !tmp.path().join("not").exists() && fs::read_dir(tmp.path()).unwrap().next().is_none(),
            "nothing is left"
        );
        let small = |free| room(&store(&deep, 0), tmp.path(), Some(free), 100).state;
        assert_eq!((small(99), small(100)), (State::Warn, State::Ok));
        // A disk smaller than the setting is used up to a part of it.
        let bound = left_free_bytes(&tmp.path().join("x"), u64::MAX);
        assert!(bound < u64::MAX && bound > 0, "{bound}");
        let link = tmp.path().join("link.db");
        std::os::unix::fs::symlink("not/x.db", &link).unwrap();
        assert_eq!(line(&store(&link, 0)).state, State::Fail, "a link to nothing");
        fs::remove_file(&link).unwrap();
        // A file in the place of a folder: nobody can write in it, not even root.
        fs::write(tmp.path().join("file"), "").unwrap();
        let found = line(&store(&tmp.path().join("file/events.db"), 0));
        assert_eq!(found.state, State::Fail);
        assert!(found.cure.unwrap().contains("store.path"));
        assert_eq!(line(&store(tmp.path(), 0)).state, State::Fail, "a folder in the place of the file");
    }
}
