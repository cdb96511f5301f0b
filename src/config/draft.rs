//! Applies the layers from the lowest to the highest, and collects every problem.

use std::ffi::OsStr;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Problem};
use super::file::SettingsFile;
use super::flags::Flags;
use super::found::{self, Found};
use super::given::{self, Given, Value};
use super::key_file::read_key_file;
use super::keys::{self, Key};
use super::otel;
use super::rules::broken_rules;
use super::source::{Source, Sources};
use super::types::Config;
use super::{defaults, nearest};

/// The settings, as far as the layers applied so far set them.
pub(super) struct Draft {
    config: Config,
    sources: Sources,
    problems: Vec<Problem>,
    /// Settings that a merely found file may not have. Their values were not read.
    refused: Vec<Problem>,
    /// Whether there is a folder that the defaults of our own files can lie in.
    has_data_folder: bool,
}

impl Draft {
    /// The defaults, our own files under `data`.
    pub(super) fn new(data: Option<&Path>) -> Result<Self, ConfigError> {
        Ok(Self {
            config: defaults::config(data.unwrap_or(Path::new("")))?,
            sources: Sources::new(),
            problems: Vec::new(),
            refused: Vec::new(),
            has_data_folder: data.is_some(),
        })
    }

    /// Applies the settings file.
    pub(super) fn apply_file(&mut self, file: &SettingsFile) {
        let (table, errors) = DeTable::parse_recoverable(&file.text);
        // The rest of a file that is not TOML would give misleading problems.
        if errors.is_empty() {
            self.apply_section(file, table.get_ref(), "");
        }
        for error in errors {
            let source = file.place(error.span().map_or(file.text.len(), |span| span.start));
            self.problem(source, None, format!("not valid TOML: {}", error.message()));
        }
        let here = |key| self.sources.get(key).filter(|source| file.has_set(source));
        if let (Some(_), Some(second)) = (here(keys::AGENT_KEY), here(keys::AGENT_KEY_FILE)) {
            let message = format!("`{}` is set as well; keep one of the two", keys::AGENT_KEY);
            self.problem(second.clone(), Some(keys::AGENT_KEY_FILE), message);
        }
    }

    /// Applies the environment.
    pub(super) fn apply_environment(&mut self, env: &dyn Fn(&str) -> Option<String>, cwd: &Path) {
        for key in keys::all() {
            let Some((variable, value)) = key.variable.and_then(|name| Some((name, env(name)?))) else { continue };
            let given = Given { value: Value::Text(OsStr::new(&value)), base: cwd };
            self.set(key, &given, |_| Source::Environment(variable));
        }
        for wrong in otel::fill_from_environment(&mut self.config.sinks, env) {
            self.problem(wrong.source, Some(keys::SINKS), wrong.message);
        }
    }

    /// Applies the command line.
    pub(super) fn apply_flags(&mut self, flags: &Flags, cwd: &Path) {
        for key in keys::all() {
            let Some((flag, value)) = key.flag.as_ref().and_then(|flag| Some((flag, (flag.value)(flags)?))) else {
                continue;
            };
            self.set(key, &Given { value, base: cwd }, |_| Source::Flag(flag.name));
        }
    }

    /// Reads the key file, checks the rules between settings, and returns the settings. `last` is the strongest settings file, which
    /// may have been merely found.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every problem there was.
    pub(super) fn finish(mut self, last: Option<&SettingsFile>) -> Result<(Config, Sources), ConfigError> {
        self.require_own_folders();
        // Before any file that it names is read.
        if let Some(found) = last.and_then(|file| Found::of(file, &self.config, &self.sources)) {
            self.refused.extend(found.refused());
        }
        if self.refused.is_empty() {
            self.read_agent_key();
            // They only make sense for settings that are each valid.
            if self.problems.is_empty() {
                self.check_rules();
            }
        }
        self.problems.append(&mut self.refused);
        if self.problems.is_empty() {
            return Ok((self.config, self.sources));
        }
        self.problems.sort_by(|a, b| a.source.cmp(&b.source));
        Err(ConfigError::Invalid(self.problems))
    }

    fn apply_section(&mut self, file: &SettingsFile, table: &DeTable<'_>, section: &str) {
        let base = file.path.parent().unwrap_or(Path::new(""));
        for (name, value) in table {
            let dotted = dotted(section, name.get_ref());
            if let Some(key) = keys::find(&dotted) {
                if let Some(why_not) = found::refuses_unread(file, key.name, &self.sources) {
                    let source = file.place(value.span().start);
                    self.refused.push(Problem { source, key: Some(dotted), message: why_not });
                    continue;
                }
                let given = Given { value: Value::Toml(value), base };
                let at = |part: Option<Range<usize>>| file.place(part.unwrap_or(value.span()).start);
                self.set(key, &given, at);
            } else if section.is_empty() && keys::sections().any(|known| known == dotted) {
                match value.get_ref() {
                    DeValue::Table(table) => self.apply_section(file, table, &dotted),
                    other => {
                        let found = given::toml_type(other);
                        let message = format!("expected a section `[{dotted}]`, found {found}");
                        self.problem(file.place(value.span().start), Some(&dotted), message);
                    }
                }
            } else {
                let message = unknown(section, name.get_ref(), value.get_ref());
                self.problem(file.place(name.span().start), Some(&dotted), message);
            }
        }
    }

    fn set(&mut self, key: &Key, given: &Given<'_>, at: impl Fn(Option<Range<usize>>) -> Source) {
        match (key.set)(&mut self.config, given) {
            Ok(()) => {
                self.sources.insert(key.name, at(None));
            }
            Err(refused) => {
                let name = refused.entry.map_or(key.name.to_owned(), |entry| dotted(key.name, &entry));
                self.problem(at(refused.span), Some(&name), refused.message);
            }
        }
    }

    fn require_own_folders(&mut self) {
        for (key, flag) in [(keys::CA_DIR, "--ca-dir"), (keys::STORE_PATH, "--store-path")] {
            if !self.has_data_folder && !self.sources.contains_key(key) {
                let message = format!("neither XDG_DATA_HOME nor HOME names a folder for it; set it, or use {flag}");
                self.problem(Source::Default, Some(key), message);
            }
        }
    }

    /// From here on a given key and a key from a file are in the same field, with one source.
    fn read_agent_key(&mut self) {
        let Some(path) = &self.config.otas.agent_key_file else {
            self.sources.remove(keys::AGENT_KEY_FILE);
            return;
        };
        let source = self.sources.get(keys::AGENT_KEY_FILE).cloned().unwrap_or(Source::Default);
        match read_key_file(path) {
            Ok(key) => {
                self.config.otas.agent_key = Some(key);
                self.sources.insert(keys::AGENT_KEY, source);
            }
            Err(message) => self.problem(source, Some(keys::AGENT_KEY_FILE), message),
        }
    }

    fn check_rules(&mut self) {
        for (key, message) in broken_rules(&self.config) {
            let source = self.sources.get(key).cloned().unwrap_or(Source::Default);
            self.problem(source, Some(key), message.to_owned());
        }
    }

    fn problem(&mut self, source: Source, key: Option<&str>, message: String) {
        self.problems.push(Problem { source, key: key.map(str::to_owned), message });
    }
}

/// The message for an unknown name in `section`.
fn unknown(section: &str, name: &str, value: &DeValue<'_>) -> String {
    let is_section = matches!(value, DeValue::Table(_)) && section.is_empty();
    let kind = if is_section { "unknown section" } else { "unknown key" };
    let near = if is_section {
        nearest::section(name, keys::sections())
    } else {
        nearest::key(section, name, keys::names())
    };
    if let Some(near) = near {
        return format!("{kind}; did you mean `{near}`?");
    }
    let mut known: Vec<&str> = match section {
        "" => keys::sections().collect(),
        _ => keys::names().filter_map(|name| name.strip_prefix(section)?.strip_prefix('.')).collect(),
    };
    known.dedup();
    let known_are = if section.is_empty() { "the sections are" } else { "the keys here are" };
    format!("{kind}; {known_are} {}", known.join(", "))
}

/// `section.name`. The name is quoted if TOML does not allow it as a bare key.
fn dotted(section: &str, name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let name = if is_bare { name.to_owned() } else { format!("{name:?}") };
    if section.is_empty() { name } else { format!("{section}.{name}") }
}
