//! From what a layer holds to a typed value, or to a sentence saying what was expected.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::{Regex, RegexBuilder};
use toml::Spanned;
use toml::de::DeValue;
use url::Url;
use uuid::Uuid;

use super::key_file::read_secret_file;
use super::next_proxy::NextProxy;
use super::types::{Agent, ClientCertificate};
use crate::hosts::{HostRule, HostRules};
use crate::prices::Prices;
use crate::redact::{CaptureLevel, RedactAllow};
use crate::secret::Secret;

/// A value as its layer holds it.
pub(super) struct Given<'a> {
    pub(super) value: Value<'a>,
    /// What a relative path resolves against.
    pub(super) base: &'a Path,
}

/// The forms that layers hold values in.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    /// In the settings file, with its place.
    Toml(&'a Spanned<DeValue<'a>>),
    /// In a variable or after a flag.
    Text(&'a OsStr),
    /// After a flag that may be repeated.
    List(&'a [String]),
}

/// Why a value cannot be used, without repeating any text of it: it may be a secret in the wrong place.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) message: String,
    /// The part at fault, as bytes of the file. `None`: all of the value.
    pub(super) span: Option<Range<usize>>,
    /// The key at fault inside a table.
    pub(super) entry: Option<String>,
}

const ADDRESS: &str = "an IP address and a port such as `127.0.0.1:8080`";
const URL: &str = "an http or https URL such as `http://localhost:8002`";
const UUID: &str = "a UUID such as `2f1c7c1e-93a4-4be6-a2a4-0c6f1d8f6e11`";
const PATH: &str = "a path";
const SECRET: &str = "a key or token";
const HOSTS: &str = "a list of hosts such as `[\"api.example.com\", \"*.example.org:443\", \"10.0.0.0/8\"]`";
const PROGRAMS: &str = "a list of names such as `[\"claude\", \"python*\"]`";
const SPAN: &str = "a length of time such as `\"10m\"`";
const PROXY: &str = "the URL of a proxy such as `http://user:password@proxy.example:3128`";
const CERTIFICATES: &str =
    "a list such as `[{ hosts = [\"api.example.com\"], cert_file = \"client.pem\", key_file = \"client.key\" }]`";
const AGENTS: &str = "a section `[[agents]]` for each agent, with `name` and `secret_file`";
/// The longest name of an agent.
const NAME_BYTES: usize = 64;
const HEADERS: &str = "a list of header fields such as `[\"x-acme-ticket\", \"*-ticket\"]`";
const KEYS: &str = "a list of names such as `[\"employee_number\"]`";
const PATTERNS: &str = "a table of names and regular expressions such as `acme = \"acme_[0-9a-f]{32}\"`";
const CAPTURE: &str = "a list such as `[{ hosts = [\"*.bank.example\"], capture = \"metadata\" }]`";
const ALLOW: &str =
    "a list such as `[{ hosts = [\"api.example.com\"], path = \"/v1/*\", rules = [\"key.session_id\"] }]`";
const SWITCH: &str = "true or false";
const TEXTS: &str = "a table of names and texts such as `team = \"search\"`";

/// An address to listen on: an IP address and a port; or a port alone, also as `:9000` or `localhost:9000`, on loopback.
pub(crate) fn listen_address(text: &str) -> Option<SocketAddr> {
    let port = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':')).unwrap_or(text);
    match port.bytes().all(|byte| byte.is_ascii_digit()) {
        true => port.parse().ok().map(on_loopback),
        false => text.parse().ok(),
    }
}

fn on_loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// What one regular expression may take in memory.
const REGEX_MAX_BYTES: usize = 1 << 20;

impl Given<'_> {
    /// A socket address; no name is looked up. A port alone is one on loopback.
    pub(super) fn address(&self) -> Result<SocketAddr, Refused> {
        if let Value::Toml(value) = self.value
            && let Some(port) = value.get_ref().as_integer()
        {
            let port =
                i64::from_str_radix(port.as_str(), port.radix()).ok().and_then(|port| u16::try_from(port).ok());
            return port.map(on_loopback).ok_or_else(|| bad(ADDRESS, "a port is a number from 0 to 65535"));
        }
        let text = self.text(ADDRESS)?;
        listen_address(text).ok_or_else(|| {
            let port = text.strip_prefix("localhost:").or_else(|| text.rsplit_once(':').map(|(_, port)| port));
            let port = port.unwrap_or(text);
            let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            let reason = match text.parse::<std::net::IpAddr>() {
                Ok(_) => "the port is missing",
                Err(_) if is_number && port.parse::<u16>().is_err() => "a port is a number from 0 to 65535",
                Err(_) => "this is neither an IP address with a port, nor a port",
            };
            bad(ADDRESS, reason)
        })
    }

    /// An http or https URL of a service: a base that paths can be added to, without credentials.
    pub(super) fn url(&self) -> Result<Url, Refused> {
        let url = Url::parse(self.text(URL)?).map_err(|error| {
            bad(
                URL,
                match error {
                    url::ParseError::RelativeUrlWithoutBase => "it does not begin with http:// or https://",
                    url::ParseError::EmptyHost => "it has no host",
                    url::ParseError::InvalidPort => "its port is not a number from 0 to 65535",
                    _ => "its host is not valid",
                },
            )
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad(URL, "it does not begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad(URL, "it must not hold a user name or a password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad(URL, "it must end before any `?` or `#`"));
        }
        Ok(url)
    }

    /// A UUID in its usual form: hyphens, lower case.
    pub(super) fn uuid(&self) -> Result<String, Refused> {
        Uuid::parse_str(self.text(UUID)?).map(|id| id.to_string()).map_err(|_| bad(UUID, "this is not a UUID"))
    }

    /// A path, relative ones resolved.
    pub(super) fn path(&self) -> Result<PathBuf, Refused> {
        let path = match self.value {
            Value::Text(text) => Path::new(text),
            Value::Toml(_) | Value::List(_) => Path::new(self.text(PATH)?),
        };
        if path.as_os_str().is_empty() {
            return Err(bad(PATH, "it is empty"));
        }
        // Through its components, so that no `/./` is left inside.
        Ok(self.base.join(path).components().collect())
    }

    /// A key or token.
    pub(super) fn secret(&self) -> Result<Secret, Refused> {
        secret(self.text(SECRET)?).map_err(|reason| bad(SECRET, reason))
    }

    /// A table of prices, read from its file.
    pub(super) fn prices(&self) -> Result<Prices, Refused> {
        Prices::read(&self.path()?).map_err(|message| Refused { message, span: None, entry: None })
    }

    /// True or false.
    pub(super) fn switch(&self) -> Result<bool, Refused> {
        match self.value {
            Value::Toml(value) => value.get_ref().as_bool().ok_or_else(|| self.wrong_type(SWITCH)),
            Value::Text(_) | Value::List(_) => Err(self.wrong_type(SWITCH)),
        }
    }

    /// A whole number in a range.
    pub(super) fn number<T: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Result<T, Refused> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let Value::Toml(value) = self.value else { return Err(self.wrong_type(&expected)) };
        let Some(integer) = value.get_ref().as_integer() else { return Err(self.wrong_type(&expected)) };
        i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| bad(&expected, "it is outside of that"))
    }

    /// One of a few names.
    pub(super) fn one_of<T: Copy>(&self, names: &[(&str, T)]) -> Result<T, Refused> {
        let quoted: Vec<String> = names.iter().map(|(name, _)| format!("{name:?}")).collect();
        let expected = quoted.join(" or ");
        let text = self.text(&expected)?;
        names
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| bad(&expected, "this value is not known"))
    }

    /// Milliseconds in a range.
    pub(super) fn duration(&self, range_ms: RangeInclusive<i64>) -> Result<Duration, Refused> {
        self.number(range_ms).map(Duration::from_millis)
    }

    /// A list of hosts.
    pub(super) fn hosts(&self) -> Result<HostRules, Refused> {
        let refused = |reason| bad("a host name, a glob, an address or a network, with or without a port", reason);
        match self.value {
            Value::List(texts) => {
                let rules = texts.iter().map(|text| HostRule::parse(text).map_err(refused));
                rules.collect::<Result<_, _>>().map(HostRules::new)
            }
            Value::Text(_) => Err(self.wrong_type(HOSTS)),
            Value::Toml(value) => {
                let items = value.get_ref().as_array().ok_or_else(|| self.wrong_type(HOSTS))?;
                let host = |item: &Spanned<DeValue<'_>>| {
                    let text = item.get_ref().as_str().ok_or_else(|| Refused {
                        message: format!("expected {HOSTS}, found {} in it", toml_type(item.get_ref())),
                        span: Some(item.span()),
                        entry: None,
                    })?;
                    HostRule::parse(text).map_err(|reason| Refused { span: Some(item.span()), ..refused(reason) })
                };
                items.iter().map(host).collect::<Result<_, _>>().map(HostRules::new)
            }
        }
    }

    /// Globs on the names of programs.
    pub(super) fn programs(&self) -> Result<Vec<String>, Refused> {
        self.list(PROGRAMS, |glob| Ok(glob.to_owned()))
    }

    /// A length of time in words.
    pub(super) fn span(&self) -> Result<Duration, Refused> {
        let span = humantime::parse_duration(self.text(SPAN)?).map_err(|_| bad(SPAN, "this is not a duration"))?;
        if span.is_zero() {
            Err(bad(SPAN, "zero is not allowed (to leave it unset, leave it out)"))
        } else {
            Ok(span)
        }
    }

    /// The URL of a proxy.
    pub(super) fn next_proxy(&self) -> Result<NextProxy, Refused> {
        NextProxy::parse(self.text(PROXY)?).map_err(|reason| bad(PROXY, reason))
    }

    /// Certificates of ours, with the hosts that they are for.
    pub(super) fn client_certificates(&self) -> Result<Vec<ClientCertificate>, Refused> {
        let Value::Toml(value) = self.value else { return Err(self.wrong_type(CERTIFICATES)) };
        let entries = value.get_ref().as_array().ok_or_else(|| self.wrong_type(CERTIFICATES))?;
        entries.iter().map(|entry| self.client_certificate(entry)).collect()
    }

    fn client_certificate(&self, entry: &Spanned<DeValue<'_>>) -> Result<ClientCertificate, Refused> {
        let at = |refused: Refused, span| Refused { span: refused.span.or(Some(span)), ..refused };
        let whole = |reason| at(bad(CERTIFICATES, reason), entry.span());
        let table = entry.get_ref().as_table().ok_or_else(|| whole("an entry of it is no table"))?;
        if table.len() != 3 {
            return Err(whole("an entry has `hosts`, `cert_file` and `key_file`, and nothing else"));
        }
        let part = |name: &str| {
            let value = table.get(name).ok_or_else(|| whole("an entry has `hosts`, `cert_file` and `key_file`"))?;
            Ok((Given { value: Value::Toml(value), base: self.base }, value.span()))
        };
        let path = |name| {
            let (given, span) = part(name)?;
            given.path().map_err(|refused| at(refused, span))
        };
        let (hosts, span) = part("hosts")?;
        Ok(ClientCertificate {
            hosts: hosts.hosts().map_err(|refused| at(refused, span))?,
            cert_file: path("cert_file")?,
            key_file: path("key_file")?,
        })
    }

    /// The agents that are known by credentials. Reads their files.
    pub(super) fn agents(&self) -> Result<Vec<Agent>, Refused> {
        let Value::Toml(value) = self.value else { return Err(self.wrong_type(AGENTS)) };
        let entries = value.get_ref().as_array().ok_or_else(|| self.wrong_type(AGENTS))?;
        let mut agents: Vec<Agent> = Vec::new();
        for entry in entries {
            let at = |refused: Refused| Refused { span: refused.span.or(Some(entry.span())), ..refused };
            let agent = self.agent(entry).map_err(at)?;
            if agents.iter().any(|other| other.name == agent.name) {
                return Err(at(bad(AGENTS, "two entries have the same `name`")));
            }
            agents.push(agent);
        }
        Ok(agents)
    }

    fn agent(&self, entry: &Spanned<DeValue<'_>>) -> Result<Agent, Refused> {
        const KNOWN: [&str; 5] = ["name", "secret_file", "agent_key_file", "project_id", "project_domain"];
        let table = entry.get_ref().as_table().ok_or_else(|| bad(AGENTS, "an entry of it is no table"))?;
        if table.keys().any(|name| !KNOWN.contains(&name.get_ref().as_ref())) {
            return Err(bad(AGENTS, &format!("an entry has {}, and nothing else", KNOWN.join(", "))));
        }
        let part = |name: &str| {
            table.get(name).map(|value| (Given { value: Value::Toml(value), base: self.base }, value.span()))
        };
        let at = |span| move |refused: Refused| Refused { span: refused.span.or(Some(span)), ..refused };
        let required =
            |name: &str| part(name).ok_or_else(|| bad(AGENTS, "an entry has `name` and `secret_file` at least"));
        let (given, span) = required("name")?;
        let name = given.text(AGENTS).map_err(at(span.clone()))?;
        if name.contains(['+', ':']) || name.len() > NAME_BYTES {
            return Err(at(span)(bad(AGENTS, "a `name` has no `+` and no `:`, and at most 64 characters")));
        }
        let read = |(given, span): (Given<'_>, Range<usize>), what: &str| {
            let path = given.path().map_err(at(span.clone()))?;
            let read = read_secret_file(&path, what).map_err(|message| Refused { message, span: None, entry: None });
            Ok::<_, Refused>((read.map_err(at(span))?, path))
        };
        Ok(Agent {
            name: name.to_owned(),
            secret: read(required("secret_file")?, "secret")?.0,
            agent_key: part("agent_key_file").map(|part| read(part, "agent key")).transpose()?,
            project_id: part("project_id").map(|(given, span)| given.uuid().map_err(at(span))).transpose()?,
            project_domain: part("project_domain").map(|(given, span)| given.url().map_err(at(span))).transpose()?,
        })
    }

    /// Header fields, by name or by their end.
    pub(super) fn header_names(&self) -> Result<Vec<String>, Refused> {
        self.list(HEADERS, |name| {
            let bare = name.strip_prefix('*').unwrap_or(name);
            match http::HeaderName::from_bytes(bare.as_bytes()) {
                Ok(_) if !bare.contains('*') => Ok(name.to_ascii_lowercase()),
                _ => Err("it is not the name of a header field, nor `*` and the end of one"),
            }
        })
    }

    /// Names of JSON members, form fields and query parameters.
    pub(super) fn redacted_keys(&self) -> Result<Vec<String>, Refused> {
        self.list(KEYS, |name| {
            let fits = (3..=48).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
                && name.bytes().last().is_some_and(|byte| byte.is_ascii_alphanumeric());
            if fits { Ok(name.to_owned()) } else { Err("it is not 3 to 48 letters, digits, `_`, `-` and `.`") }
        })
    }

    /// Regular expressions, each with a name.
    pub(super) fn patterns(&self) -> Result<Vec<(String, Regex)>, Refused> {
        let Value::Toml(value) = self.value else { return Err(self.wrong_type(PATTERNS)) };
        let table = value.get_ref().as_table().ok_or_else(|| self.wrong_type(PATTERNS))?;
        let entry = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            let refused = |reason: &str| Refused {
                span: Some(value.span()),
                entry: Some(name.clone().into_owned()),
                ..bad("a regular expression", reason)
            };
            let text = value.get_ref().as_str().ok_or_else(|| refused("it is no text in quotes"))?;
            let regex = RegexBuilder::new(text).size_limit(REGEX_MAX_BYTES).build().map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => refused(
                    "it is too large, so that searching with it would take long; bound or lower its repetitions",
                ),
                _ => refused("this is not a valid one"),
            })?;
            if regex.is_match("") {
                return Err(refused("it matches where there is nothing"));
            }
            Ok((name.clone().into_owned(), regex))
        };
        table.iter().map(entry).collect()
    }

    /// How much of calls to which hosts is recorded.
    pub(super) fn capture_rules(&self) -> Result<Vec<(HostRules, CaptureLevel)>, Refused> {
        self.tables(CAPTURE, &["hosts", "capture"], |part| {
            let hosts = part("hosts").ok_or_else(|| bad(CAPTURE, "an entry has no `hosts`"))?;
            let level = part("capture").ok_or_else(|| bad(CAPTURE, "an entry has no `capture`"))?;
            Ok((hosts.hosts()?, level.one_of(&CaptureLevel::NAMES)?))
        })
    }

    /// Rules of redaction that are lifted for some calls.
    pub(super) fn redact_allow(&self) -> Result<Vec<RedactAllow>, Refused> {
        self.tables(ALLOW, &["hosts", "path", "rules"], |part| {
            let hosts = part("hosts").ok_or_else(|| bad(ALLOW, "an entry has no `hosts`"))?.hosts()?;
            let path =
                part("path").map(|path| path.text("a path such as `\"/v1/*\"`").map(str::to_owned)).transpose()?;
            let rules = part("rules").ok_or_else(|| bad(ALLOW, "an entry has no `rules`"))?;
            let rules = rules.list("a list of rules such as `[\"key.session_id\"]`", |rule| Ok(rule.to_owned()))?;
            Ok(RedactAllow { hosts, path, rules })
        })
    }

    /// Whether it is this text.
    pub(super) fn is_text(&self, text: &str) -> bool {
        matches!(self.value, Value::Toml(value) if value.get_ref().as_str() == Some(text))
    }

    /// A list of tables, each with some of these names and no others.
    pub(super) fn tables<T>(
        &self,
        expected: &str,
        names: &[&str],
        read: impl for<'e> Fn(&dyn Fn(&str) -> Option<Given<'e>>) -> Result<T, Refused>,
    ) -> Result<Vec<T>, Refused> {
        let Value::Toml(value) = self.value else { return Err(self.wrong_type(expected)) };
        let entries = value.get_ref().as_array().ok_or_else(|| self.wrong_type(expected))?;
        let entry = |entry: &Spanned<DeValue<'_>>| {
            let whole = |refused: Refused| Refused { span: refused.span.or(Some(entry.span())), ..refused };
            let table =
                entry.get_ref().as_table().ok_or_else(|| whole(bad(expected, "an entry of it is no table")))?;
            if let Some((name, _)) = table.iter().find(|(name, _)| !names.contains(&&**name.get_ref())) {
                let known = format!("an entry has {}, and nothing else", names.join(", "));
                return Err(Refused { span: Some(name.span()), ..bad(expected, &known) });
            }
            let part = |name: &str| table.get(name).map(|value| Given { value: Value::Toml(value), base: self.base });
            read(&part).map_err(whole)
        };
        entries.iter().map(entry).collect()
    }

    /// A list of texts, each checked.
    pub(super) fn list<T>(
        &self,
        expected: &str,
        read: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Result<Vec<T>, Refused> {
        let Value::Toml(value) = self.value else { return Err(self.wrong_type(expected)) };
        let items = value.get_ref().as_array().ok_or_else(|| self.wrong_type(expected))?;
        let item = |item: &Spanned<DeValue<'_>>| {
            let at = |reason: &str| Refused { span: Some(item.span()), ..bad(expected, reason) };
            let text = item.get_ref().as_str().ok_or_else(|| at("an entry of it is no text in quotes"))?;
            read(text).map_err(at)
        };
        items.iter().map(item).collect()
    }

    /// A table of texts.
    pub(super) fn texts(&self) -> Result<BTreeMap<String, String>, Refused> {
        let Value::Toml(value) = self.value else { return Err(self.wrong_type(TEXTS)) };
        let table = value.get_ref().as_table().ok_or_else(|| self.wrong_type(TEXTS))?;
        let entry = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            match value.get_ref().as_str() {
                Some(text) => Ok((name.clone().into_owned(), text.to_owned())),
                None => Err(Refused {
                    message: format!("expected a text in quotes, found {}", toml_type(value.get_ref())),
                    span: Some(value.span()),
                    entry: Some(name.clone().into_owned()),
                }),
            }
        };
        table.iter().map(entry).collect()
    }

    pub(super) fn text(&self, expected: &str) -> Result<&str, Refused> {
        let text = match self.value {
            Value::Toml(value) => value.get_ref().as_str(),
            Value::Text(text) => match text.to_str() {
                Some(text) => Some(text),
                None => return Err(bad(expected, "it is not valid UTF-8")),
            },
            Value::List(_) => None,
        };
        match text {
            Some("") => Err(bad(expected, "it is empty (to leave it unset, leave it out)")),
            Some(text) => Ok(text),
            None => Err(self.wrong_type(expected)),
        }
    }

    fn wrong_type(&self, expected: &str) -> Refused {
        let found = match self.value {
            Value::Toml(value) => toml_type(value.get_ref()),
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
        };
        Refused { message: format!("expected {expected}, found {found}"), span: None, entry: None }
    }
}

/// Checks that a key or token can travel in an HTTP header; white space around it is not part of it.
///
/// # Errors
/// Why not, without repeating it.
pub(super) fn secret(text: &str) -> Result<Secret, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        Err("it is empty")
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("it holds a space, a line break or another character that no key or token has")
    } else {
        Ok(Secret::new(text))
    }
}

/// What a TOML value is, with its article.
pub(super) fn toml_type(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A value that is not what was expected.
pub(super) fn bad(expected: &str, reason: &str) -> Refused {
    Refused { message: format!("expected {expected}: {reason}"), span: None, entry: None }
}
