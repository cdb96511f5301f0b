//! The hosts of URLs in a text, such as the arguments of a call to a tool.

/// The most hosts that are kept, and the longest one.
const HOSTS_MAX: usize = 8;
const HOST_MAX_BYTES: usize = 253;
const PORT_MAX_BYTES: usize = 5;

/// Adds the hosts of the URLs in `text` that are not in `found` yet: in lower case, with the port if it is not the usual one.
pub(super) fn add(text: &str, found: &mut Vec<String>) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        rest = after;
        if found.len() == HOSTS_MAX {
            return;
        }
        let usual_port = if before.ends_with(['s', 'S']) { "443" } else { "80" };
        if let Some(host) = host(after, usual_port)
            && !found.contains(&host)
        {
            found.push(host);
        }
    }
}

/// The host of a URL, from behind its `://` on.
fn host(url: &str, usual_port: &str) -> Option<String> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%@:[]".contains(&byte);
    let end = url.bytes().position(|byte| !is_part(byte)).unwrap_or(url.len());
    let authority = url.get(..end)?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.strip_prefix('[') {
        Some(address) => {
            let (host, rest) = address.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is_host = host.len() <= HOST_MAX_BYTES && host.bytes().any(|byte| byte.is_ascii_alphanumeric());
    let port = port.map(|port| port.trim_end_matches(|of: char| !of.is_ascii_digit()));
    match port.filter(|port| !port.is_empty() && *port != usual_port && port.len() <= PORT_MAX_BYTES) {
        _ if !is_host => None,
        Some(port) => Some(format!("{host}:{port}")),
        None => Some(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        add(text, &mut found);
        found
    }

    #[test]
    fn the_hosts_of_urls_are_found_once_each() {
        let text = r#"{"command":"curl -s https://API.example.com/v1 \"http://u:p@b.test:8080?x\" && wget https://api.example.com. ftp://[::1]:2/x http://c.test:80/ https://c.test:80."}"#;
        assert_eq!(hosts(text), ["api.example.com", "b.test:8080", "::1:2", "c.test", "c.test:80"]);
        assert_eq!(hosts("http:// https://* a://... example.com ://"), Vec::<String>::new());
        let many: String = (0..20).map(|n| format!("http://h{n}/ ")).collect();
        assert_eq!(hosts(&many).len(), HOSTS_MAX);
        assert_eq!(hosts(&format!("http://{}", "x".repeat(300))), Vec::<String>::new());
        assert_eq!(hosts("https://é.test/ https://a.test\u{e9}"), ["a.test"]);
    }
}
