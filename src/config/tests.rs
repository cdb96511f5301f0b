use std::collections::BTreeMap;
use std::fs;

use super::*;

mod errors;
mod files;
mod guards;
mod layers;
mod list;
mod secrets;
mod takeover;

const KEY: &str = "agent_abcdefgh_ijklmnopqrstuv1234";
const OTHER_KEY: &str = "agent_hgfedcba_zyxwvutsrqpon5678";

/// A folder to work in, a home beside it, and what is set.
struct Case {
    folder: tempfile::TempDir,
    flags: Flags,
    env: BTreeMap<&'static str, String>,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("cwd")).unwrap();
        let home = folder.path().join("home").display().to_string();
        Self { folder, flags: Flags::default(), env: BTreeMap::from([("HOME", home)]) }
    }

    /// A settings file that the user names.
    fn file(text: &str) -> Self {
        Self::found(text).env("OTAS_PROXY_CONFIG", "proxy.toml")
    }

    /// The same file, which merely lies in the working folder.
    fn found(text: &str) -> Self {
        Self::new().write("cwd/proxy.toml", text)
    }

    fn write(self, path: &str, text: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.insert(name, value.to_owned());
        self
    }

    fn flags(mut self, set: impl FnOnce(&mut Flags)) -> Self {
        set(&mut self.flags);
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        load(&self.flags, &|name| self.env.get(name).cloned(), &self.path("cwd"))
    }

    fn loaded(&self) -> Loaded {
        self.load().map_err(|error| error.to_string()).unwrap()
    }

    fn refused(&self) -> String {
        self.load().err().expect("settings that are refused").to_string()
    }
}

/// One line of the report: value and source.
fn line(loaded: &Loaded, key: &str) -> (String, String) {
    let setting = loaded.report().into_iter().find(|setting| setting.key == key).unwrap();
    (setting.value, setting.source.to_string())
}

fn pair(value: &str, source: &str) -> (String, String) {
    (value.to_owned(), source.to_owned())
}
