//! The address of the proxy in the variables of an environment, and how the check's own proxy takes its place.

use std::net::{Ipv4Addr, SocketAddr};

/// The address of the settings' proxy, in the forms that an environment made for it contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// `HOST:PORT`, the likeliest first.
    authorities: Vec<String>,
    port: u16,
}

impl Named {
    /// The proxy of the `run` around us (`OTAS_PROXY_URL`), else the one of the settings. `None`: its port is not known.
    pub(super) fn of(around: Option<&str>, listens: SocketAddr) -> Option<Self> {
        if let Some(url) = around.and_then(|url| url::Url::parse(url).ok()) {
            let port = url.port_or_known_default()?;
            return Some(Self { authorities: vec![format!("{}:{port}", url.host_str()?)], port });
        }
        let port = listens.port();
        let listens = match listens.ip().is_unspecified() {
            true => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            false => listens,
        };
        (port != 0).then(|| Self { authorities: vec![listens.to_string(), format!("localhost:{port}")], port })
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.authorities.first().map_or("", String::as_str))
    }

    /// Whether this value of a variable names it.
    pub(super) fn is_in(&self, value: &str) -> bool {
        self.replaced(value, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).is_some()
    }

    /// The value with `by` in its place. `None`: the value does not name it.
    fn replaced(&self, value: &str, by: &SocketAddr) -> Option<String> {
        let mut replaced = value.to_owned();
        for authority in &self.authorities {
            replaced = replace(&replaced, authority, &by.to_string());
        }
        // Java has host and port apart; the host is this machine either way.
        replaced = replace(&replaced, &format!(".proxyPort={}", self.port), &format!(".proxyPort={}", by.port()));
        (replaced != value).then_some(replaced)
    }

    /// The variables of this environment that must change so that `by` takes the place of the proxy.
    pub(super) fn with(
        &self,
        environment: impl Iterator<Item = (String, String)>,
        by: SocketAddr,
    ) -> Vec<(String, String)> {
        environment.filter_map(|(name, value)| Some((name, self.replaced(&value, &by)?))).collect()
    }
}

/// Replaces `from` where no further digit follows: 8080 is not in 80801.
fn replace(text: &str, from: &str, to: &str) -> String {
    let mut parts = text.split(from);
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        replaced.push_str(if part.starts_with(|c: char| c.is_ascii_digit()) { from } else { to });
        replaced.push_str(part);
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listens(address: &str) -> Named {
        Named::of(None, address.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_checks_proxy_takes_the_place_of_the_settings_and_nothing_else_changes() {
        let named = listens("0.0.0.0:8080");
        let environment = [
            ("HTTPS_PROXY", "http://127.0.0.1:8080"),
            ("http_proxy", "http://me:secret@localhost:8080/"),
            ("OTHER_PROXY", "http://127.0.0.1:80801"),
            ("JAVA_TOOL_OPTIONS", "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=8080 -Dhttp.proxyPort=80"),
            ("PATH", "/bin"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let set = named.with(environment.into_iter(), "127.0.0.1:9".parse().unwrap());
        let wanted = [
            ("HTTPS_PROXY", "http://127.0.0.1:9"),
            ("http_proxy", "http://me:secret@127.0.0.1:9/"),
            ("JAVA_TOOL_OPTIONS", "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9 -Dhttp.proxyPort=80"),
        ];
        assert_eq!(set, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn inside_a_run_it_is_that_runs_proxy() {
        let settings = "127.0.0.1:8080".parse().unwrap();
        let around = Named::of(Some("http://127.0.0.1:40000"), settings).unwrap();
        assert!(around.is_in("http://127.0.0.1:40000") && !around.is_in("http://127.0.0.1:8080"));
        assert_eq!(around.url(), "http://127.0.0.1:40000");
        assert_eq!(Named::of(None, "127.0.0.1:0".parse().unwrap()), None);
    }
}
