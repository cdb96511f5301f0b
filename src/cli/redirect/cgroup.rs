//! A cgroup (version 2), as `nft` names it.

use std::path::{Component, Path};

/// Where cgroups are, and where those of version 2 are beside those of version 1.
const ROOT: &str = "/sys/fs/cgroup";
const UNIFIED: &str = "unified";

/// A cgroup.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cgroup {
    /// Its folder, from the root of all cgroups.
    pub(super) path: String,
    /// Its depth among those of version 2.
    pub(super) level: usize,
}

impl Cgroup {
    /// From what a user writes: `a/b`, `/a/b` or `/sys/fs/cgroup/a/b`.
    ///
    /// # Errors
    /// When there is no such cgroup.
    pub(super) fn find(given: &str) -> Result<Self, String> {
        Self::find_in(Path::new(ROOT), given)
    }

    fn find_in(root: &Path, given: &str) -> Result<Self, String> {
        let path = Path::new(given);
        let path = path.strip_prefix(ROOT).unwrap_or(path);
        let path = path.strip_prefix("/").unwrap_or(path);
        let path = path.strip_prefix(UNIFIED).unwrap_or(path);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        let text = path.to_str().filter(|text| plain && !text.is_empty() && !text.contains(['"', '\n']));
        let text =
            text.ok_or_else(|| format!("{given:?} is not the path of a cgroup, such as `user.slice/agents`"))?;
        // Only version 2 has this file in every folder.
        let is_in = |root: &Path| root.join(path).join("cgroup.controllers").exists();
        let found = match () {
            () if is_in(root) => text.to_owned(),
            () if is_in(&root.join(UNIFIED)) => format!("{UNIFIED}/{text}"),
            () => {
                return Err(format!(
                    "there is no cgroup `{text}` of version 2 in {}: start the agents' service first, or create it",
                    root.display()
                ));
            }
        };
        Ok(Self { path: found, level: path.components().count() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_found_by_its_path_in_both_layouts() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["a/b", "unified/c"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
            std::fs::write(root.path().join(folder).join("cgroup.controllers"), "").unwrap();
        }
        let find = |given| Cgroup::find_in(root.path(), given);
        let is = |path: &str, level| Ok(Cgroup { path: path.to_owned(), level });
        for given in ["a/b", "/a/b", "a/b/", "/sys/fs/cgroup/a/b"] {
            assert_eq!(
                find(given).map(|it| (it.path.trim_end_matches('/').to_owned(), it.level)),
                Ok(("a/b".to_owned(), 2))
            );
        }
        for given in ["c", "/sys/fs/cgroup/unified/c"] {
            assert_eq!(find(given), is("unified/c", 1));
        }
        for given in ["", "/", "a/../b", "a\"b", "missing"] {
            assert!(find(given).is_err(), "{given}");
        }
    }
}
