//! Values of one piece: addresses, URLs, paths, secrets, times.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;
use uuid::Uuid;

use super::super::key_file::secret;
use super::super::next_proxy::NextProxy;
use super::value::{Given, Refused, Value, bad};
use crate::prices::Prices;
use crate::secret::Secret;

const ADDRESS: &str = "an IP address and a port such as `127.0.0.1:8080`";
const ADDRESSES: &str = "an address to listen on, or a list of them";
const URL: &str = "an http or https URL such as `http://localhost:8002`";
const UUID: &str = "a UUID such as `2f1c7c1e-93a4-4be6-a2a4-0c6f1d8f6e11`";
const PATH: &str = "a path";
const SECRET: &str = "a key or token";
const SPAN: &str = "a length of time such as `\"10m\"`";
const PROXY: &str = "the URL of a proxy such as `http://user:password@proxy.example:3128`";
const PROGRAMS: &str = "a list of names such as `[\"claude\", \"python*\"]`";

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

impl Given<'_> {
    /// A socket address; no name is looked up. A port alone is one on loopback.
    pub(in crate::config) fn address(&self) -> Result<SocketAddr, Refused> {
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
                Err(_) => "this is not an IP address with a port, and not a port",
            };
            bad(ADDRESS, reason)
        })
    }

    /// Addresses to listen on: a list of them, or one.
    pub(in crate::config) fn addresses(&self) -> Result<Vec<SocketAddr>, Refused> {
        if matches!(self.value, Value::Toml(value) if !value.get_ref().is_array()) {
            return self.address().map(|only| vec![only]);
        }
        self.list(ADDRESSES, |text| listen_address(text).ok_or("this is not an IP address with a port"))
    }

    /// An http or https URL of a service: a base that paths can be added to, without credentials.
    pub(in crate::config) fn url(&self) -> Result<Url, Refused> {
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
            return Err(bad(URL, "it must not contain a user name or password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad(URL, "it must end before any `?` or `#`"));
        }
        Ok(url)
    }

    /// A UUID in its usual form: hyphens, lower case.
    pub(in crate::config) fn uuid(&self) -> Result<String, Refused> {
        Uuid::parse_str(self.text(UUID)?).map(|id| id.to_string()).map_err(|_| bad(UUID, "this is not a UUID"))
    }

    /// A path, relative ones resolved.
    pub(in crate::config) fn path(&self) -> Result<PathBuf, Refused> {
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
    pub(in crate::config) fn secret(&self) -> Result<Secret, Refused> {
        secret(self.text(SECRET)?).map_err(|reason| bad(SECRET, reason))
    }

    /// A length of time in words.
    pub(in crate::config) fn span(&self) -> Result<Duration, Refused> {
        let span = humantime::parse_duration(self.text(SPAN)?).map_err(|_| bad(SPAN, "this is not a duration"))?;
        if span.is_zero() { Err(bad(SPAN, "zero is not allowed; to leave it unset, remove it")) } else { Ok(span) }
    }

    /// The URL of a proxy.
    pub(in crate::config) fn next_proxy(&self) -> Result<NextProxy, Refused> {
        NextProxy::parse(self.text(PROXY)?).map_err(|reason| bad(PROXY, reason))
    }

    /// A table of prices, read from its file.
    pub(in crate::config) fn prices(&self) -> Result<Prices, Refused> {
        Prices::read(&self.path()?).map_err(Refused::because)
    }

    /// Globs on the names of programs.
    pub(in crate::config) fn programs(&self) -> Result<Vec<String>, Refused> {
        self.list(PROGRAMS, |glob| Ok(glob.to_owned()))
    }
}
