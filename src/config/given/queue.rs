//! Values of `[queue]`: servers of NATS, and parts of subjects.

use url::Url;

use super::value::{Given, Refused, bad};

const SERVERS: &str = "the URL of a NATS server such as `nats://127.0.0.1:4222`, or several with commas between them";
const PART: &str = "a name of letters, digits, `-` and `_`";
/// The longest part of a subject.
const PART_BYTES: usize = 128;

impl Given<'_> {
    /// Servers of NATS.
    pub(in crate::config) fn nats_servers(&self) -> Result<Vec<String>, Refused> {
        self.text(SERVERS)?.split(',').map(|server| nats_server(server.trim())).collect()
    }

    /// One part of a subject: what stands between two dots.
    pub(in crate::config) fn subject_part(&self) -> Result<String, Refused> {
        let part = self.text(PART)?;
        if !is_subject_part(part) {
            return Err(bad(PART, "it has another character, or more than 128"));
        }
        Ok(part.to_owned())
    }
}

/// Whether this can stand between two dots of a subject, and means nothing else there.
pub(crate) fn is_subject_part(part: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !part.is_empty() && part.len() <= PART_BYTES && part.bytes().all(fits)
}

fn nats_server(server: &str) -> Result<String, Refused> {
    let url = Url::parse(server).map_err(|_| bad(SERVERS, "this is not a URL"))?;
    if !matches!(url.scheme(), "nats" | "tls") {
        return Err(bad(SERVERS, "it does not begin with nats:// or tls://"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad(SERVERS, "it has no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(SERVERS, "it has credentials; put them into the file of `queue.credentials_file`"));
    }
    Ok(server.to_owned())
}
