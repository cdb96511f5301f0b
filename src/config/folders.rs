//! The user's own folders, after the XDG Base Directory specification 0.8.

use std::path::PathBuf;

use crate::system::users::HOME;

const OURS: &str = "otas-proxy";

/// `$XDG_DATA_HOME/otas-proxy` or `~/.local/share/otas-proxy`. `None` when neither variable is of use.
pub(super) fn data(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    base(env, "XDG_DATA_HOME", ".local/share")
}

/// `$XDG_CONFIG_HOME/otas-proxy` or `~/.config/otas-proxy`. `None` when neither variable is of use.
pub(super) fn config(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    base(env, "XDG_CONFIG_HOME", ".config")
}

/// `$XDG_STATE_HOME/otas-proxy` or `~/.local/state/otas-proxy`, for what concerns this machine and this moment. `None` when neither
/// variable is of use.
pub fn state(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    base(env, "XDG_STATE_HOME", ".local/state")
}

fn base(env: &dyn Fn(&str) -> Option<String>, variable: &str, below_home: &str) -> Option<PathBuf> {
    // "If an implementation encounters a relative path in any of these variables it should [...] ignore it."
    let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable).or_else(|| Some(absolute(HOME)?.join(below_home))).map(|folder| folder.join(OURS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_or_missing_xdg_folder_falls_back_to_home() {
        let with = |xdg: Option<&str>, home: Option<&str>| {
            let (xdg, home) = (xdg.map(str::to_owned), home.map(str::to_owned));
            data(&move |name| if name == "XDG_DATA_HOME" { xdg.clone() } else { home.clone() })
        };
        assert_eq!(with(Some("/data"), Some("/home/ada")), Some(PathBuf::from("/data/otas-proxy")));
        assert_eq!(with(Some("data"), Some("/home/ada")), Some(PathBuf::from("/home/ada/.local/share/otas-proxy")));
        assert_eq!(with(None, Some("/home/ada")), Some(PathBuf::from("/home/ada/.local/share/otas-proxy")));
        assert_eq!(with(None, None), None);
    }
}
