//! `upstream.proxy`: the proxy that our own connections go through.

use std::fmt;

use url::Url;

use crate::secret::Secret;

/// Its address, its protocol and our credentials.
#[derive(Clone, PartialEq)]
pub struct NextProxy {
    /// What it speaks.
    pub scheme: NextProxyScheme,
    /// The scheme as its URL has it: `socks5` and `socks5h` are the same here.
    pub written_scheme: &'static str,
    /// A name in lower case or an IP literal without brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// User name and password, decoded.
    pub credentials: Option<(String, Secret)>,
}

/// What the next proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextProxyScheme {
    /// HTTP, in clear.
    Http,
    /// HTTP over TLS.
    Https,
    /// SOCKS5; names are resolved there.
    Socks5,
}

impl NextProxyScheme {
    /// Schemes of its URL, with their default ports. `socks5h` asks for what is done for `socks5` as well: the next proxy resolves
    /// names.
    const NAMES: [(&'static str, Self, u16); 4] = [
        ("http", Self::Http, 80),
        ("https", Self::Https, 443),
        ("socks5", Self::Socks5, 1080),
        ("socks5h", Self::Socks5, 1080),
    ];
}

impl NextProxy {
    /// Reads its URL.
    ///
    /// # Errors
    /// Why it is not valid, without repeating it: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "it is not a URL")?;
        let (written_scheme, scheme, default_port) = NextProxyScheme::NAMES
            .into_iter()
            .find(|(name, ..)| *name == url.scheme())
            .ok_or("it does not begin with http://, https://, socks5:// or socks5h://")?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it has no host")?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("it must end after the port");
        }
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (name, password) => Some((decoded(name)?, Secret::new(&decoded(password.unwrap_or_default())?))),
        };
        if let Some((name, _)) = &credentials
            && name.contains(':')
        {
            return Err("its user name contains a `:`, which Basic authentication does not allow");
        }
        Ok(Self {
            scheme,
            written_scheme,
            host: host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase(),
            port: url.port().unwrap_or(default_port),
            credentials,
        })
    }

    /// Whether both are the same proxy with the same credentials.
    pub fn is_the_same_as(&self, other: &Self) -> bool {
        let parts = |proxy: &Self| (proxy.scheme, proxy.host.clone(), proxy.port);
        parts(self) == parts(other) && self.credentials == other.credentials
    }

    /// `Proxy-Authorization` for HTTP (RFC 7617). Mark it as sensitive, and send it to this proxy only.
    pub fn authorization(&self) -> Option<Secret> {
        use base64::Engine as _;
        let (name, password) = self.credentials.as_ref()?;
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{}", password.expose()));
        Some(Secret::new(&format!("Basic {encoded}")))
    }
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
    String::from_utf8(bytes).map_err(|_| "its user name or password is not UTF-8")
}

/// Without credentials.
impl fmt::Display for NextProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, port) = (self.written_scheme, self.port);
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{port}", self.host)
        } else {
            write!(f, "{scheme}://{}:{port}", self.host)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_url_has_protocol_address_and_credentials() {
        for (url, shown) in [
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            ("HTTPS://Proxy.example", "https://proxy.example:443"),
            ("socks5://10.0.0.1", "socks5://10.0.0.1:1080"),
            ("socks5h://[::1]:9", "socks5h://[::1]:9"),
        ] {
            let proxy = NextProxy::parse(url).ok().unwrap();
            assert_eq!(proxy.to_string(), shown);
            assert!(proxy.credentials.is_none());
        }
        let proxy = NextProxy::parse("http://me%40x:p%3Aw@h:1/").ok().unwrap();
        assert_eq!(proxy.to_string(), "http://h:1", "no credentials");
        assert_eq!(proxy.authorization().unwrap().expose(), "Basic bWVAeDpwOnc=");
        for bad in ["h:1", "ftp://h", "http://", "http://h/x", "http://h?x", "http://a%3Ab:c@h"] {
            assert!(NextProxy::parse(bad).is_err(), "{bad}");
        }
    }
}
