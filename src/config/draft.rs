//! Layers laid over each other, from the lowest up, with every problem on the way.

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
use super::sinks;
use super::source::{Source, Sources};
use super::types::{Config, Listen, Scope, Session};
use super::{defaults, nearest};

/// Settings in the making.
pub(super) struct Draft {
    config: Config,
    sources: Sources,
    problems: Vec<Problem>,
    /// Settings that a file has which was merely found, and may not have. Their values were not looked at.
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

    /// Lays the settings file over what is there.
    pub(super) fn lay_file(&mut self, file: &SettingsFile) {
        let (table, errors) = DeTable::parse_recoverable(&file.text);
        // What is left of a file that is not TOML would give problems that are none.
        if errors.is_empty() {
            self.lay_section(file, table.get_ref(), "");
        }
        for error in errors {
            let source = file.place(error.span().map_or(file.text.len(), |span| span.start));
            self.problem(source, None, format!("not valid TOML: {}", error.message()));
        }
        let here = |key| self.sources.get(key).filter(|source| file.has_set(source));
        if let (Some(_), Some(second)) = (here(keys::AGENT_KEY), here(keys::AGENT_KEY_FILE)) {
            let message = format!("set beside `{}`; keep one of the two", keys::AGENT_KEY);
            self.problem(second.clone(), Some(keys::AGENT_KEY_FILE), message);
        }
    }

    /// Lays the environment over what is there.
    pub(super) fn lay_environment(&mut self, env: &dyn Fn(&str) -> Option<String>, cwd: &Path) {
        for key in keys::all() {
            let Some((variable, value)) = key.variable.and_then(|name| Some((name, env(name)?))) else { continue };
            let given = Given { value: Value::Text(OsStr::new(&value)), base: cwd };
            self.set(key, &given, |_| Source::Environment(variable));
        }
        for wrong in sinks::fill_from_environment(&mut self.config.sinks, env) {
            self.problem(wrong.source, Some(keys::SINKS), wrong.message);
        }
    }

    /// Lays the command line over what is there.
    pub(super) fn lay_flags(&mut self, flags: &Flags, cwd: &Path) {
        for key in keys::all() {
            let Some((flag, value)) = key.flag.as_ref().and_then(|flag| Some((flag, (flag.value)(flags)?))) else {
                continue;
            };
            self.set(key, &Given { value, base: cwd }, |_| Source::Flag(flag.name));
        }
    }

    /// Reads the key file, checks what no setting can be checked for alone, and hands the settings over. `last`: the strongest
    /// settings file, which may have been merely found.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every problem there was.
    pub(super) fn finish(mut self, last: Option<&SettingsFile>) -> Result<(Config, Sources), ConfigError> {
        self.require_own_folders();
        // Before any file is read that such a file names.
        if let Some(found) = last.and_then(|file| Found::of(file, &self.config, &self.sources)) {
            self.refused.extend(found.refused());
        }
        if self.refused.is_empty() {
            self.read_agent_key();
            // Rules between settings say something only about settings that are sound each for itself.
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

    fn lay_section(&mut self, file: &SettingsFile, table: &DeTable<'_>, section: &str) {
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
                    DeValue::Table(table) => self.lay_section(file, table, &dotted),
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
                let message = format!("neither XDG_DATA_HOME nor HOME names a folder for it; set it, or give {flag}");
                self.problem(Source::Default, Some(key), message);
            }
        }
    }

    /// A key that was given and a key that was read stand in the same place from here on, and share one source.
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
        if crate::redact::names_unknown_rule(&self.config.redact) {
            let source = self.sources.get(keys::REDACT_ALLOW).cloned().unwrap_or(Source::Default);
            let message = "names a rule that there is not; rules are called `header.<name>`, `key.<name>`, `pattern.<name>`, \
                           `url.userinfo` and `cut`, and events list those that found something in `metadata.redaction_rules`";
            self.problem(source, Some(keys::REDACT_ALLOW), message.to_owned());
        }
        let Config { listen, otas, session, agents, delivery, .. } = &self.config;
        let broken = [
            (
                otas.session_token.is_some() && otas.agent_key.is_none(),
                keys::SESSION_TOKEN,
                "a session token is of use only beside the agent key that it was made with; set `otas.agent_key` or \
                 `otas.agent_key_file` as well (or OTAS_AGENT_KEY), or leave the token out",
            ),
            (
                (session.scope == Scope::Credential) == agents.is_empty(),
                keys::SESSION_SCOPE,
                "goes with `[[agents]]`: with \"credential\" there is a section for each agent that may call, else there is none",
            ),
            (
                !otas.deliver
                    && (otas.project_domain.is_some() || agents.iter().any(|agent| agent.project_domain.is_some())),
                keys::OTAS_DELIVER,
                "is off, but calls into a project's domain need sessions in OTAS; leave `project_domain` out, or deliver",
            ),
            (
                session.scope == Scope::Process && !listen.processes,
                keys::SESSION_SCOPE,
                "needs `listen.processes`, which is off",
            ),
            (
                listen.proxy == listen.admin && listen.proxy.port() != 0,
                keys::LISTEN_ADMIN,
                "is the same address as `listen.proxy`; give one of them another port",
            ),
            (
                is_open(listen, session),
                keys::LISTEN_PROXY,
                "would let everybody call out through this machine who reaches that address; keep it on loopback, or give agents \
                 credentials (`session.scope = \"credential\"`), or name the networks that they call from \
                 (`listen.allow_clients`); `listen.insecure_open_proxy = true` leaves it open",
            ),
            (
                delivery.backoff_min > delivery.backoff_max,
                keys::BACKOFF_MIN,
                "is longer than `delivery.backoff_max_ms`",
            ),
        ];
        for (_, key, message) in broken.into_iter().filter(|(is_broken, ..)| *is_broken) {
            let source = self.sources.get(key).cloned().unwrap_or(Source::Default);
            self.problem(source, Some(key), message.to_owned());
        }
    }

    fn problem(&mut self, source: Source, key: Option<&str>, message: String) {
        self.problems.push(Problem { source, key: key.map(str::to_owned), message });
    }
}

/// Whether anybody may call from other machines.
fn is_open(listen: &Listen, session: &Session) -> bool {
    !listen.proxy.ip().to_canonical().is_loopback()
        && session.scope != Scope::Credential
        && listen.allow_clients.is_empty()
        && !listen.insecure_open_proxy
}

/// What to say of a name that stands in `section` and is not known there.
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
    let known_are = if section.is_empty() { "the sections are" } else { "known here are" };
    format!("{kind}; {known_are} {}", known.join(", "))
}

/// `section.name`, with a name that has other characters than TOML allows in a bare key in quotes.
fn dotted(section: &str, name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let name = if is_bare { name.to_owned() } else { format!("{name:?}") };
    if section.is_empty() { name } else { format!("{section}.{name}") }
}
