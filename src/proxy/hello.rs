//! Reads a TLS ClientHello that the TLS library refuses (RFC 8446 4.1.2, RFC 6066 3). Pure.

/// A ClientHello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    /// The server name as it was sent. It may not be a valid name.
    pub(super) server_name: Option<Vec<u8>>,
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Version and random bytes.
const FIXED_BYTES: usize = 2 + 32;
const SERVER_NAME: usize = 0;
const HOST_NAME: u8 = 0;

/// Reads the ClientHello at the beginning of a connection. `None`: it is incomplete, or not a ClientHello.
pub(super) fn read(stream: &[u8]) -> Option<Hello> {
    let message = handshake(stream);
    let (&[kind, first, second, third], rest) = message.split_first_chunk()?;
    let length = u32::from_be_bytes([0, first, second, third]) as usize;
    let mut body = Bytes(rest.get(..length).filter(|_| kind == CLIENT_HELLO)?);
    body.take(FIXED_BYTES)?;
    let _session = body.field(1)?;
    let _suites = body.field(2)?;
    let _compression = body.field(1)?;
    // Old clients send no extensions.
    let mut extensions = Bytes(if body.0.is_empty() { &[] } else { body.field(2)? });
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let content = extensions.field(2)?;
        if kind == SERVER_NAME {
            return Some(Hello { server_name: Some(host_name(content)?.to_vec()) });
        }
    }
    Some(Hello { server_name: None })
}

fn host_name(extension: &[u8]) -> Option<&[u8]> {
    let mut list = Bytes(Bytes(extension).field(2)?);
    let kind = list.take(1)?;
    (kind == [HOST_NAME]).then(|| list.field(2)).flatten()
}

/// The handshake message from all complete records, and the part in the last one.
fn handshake(stream: &[u8]) -> Vec<u8> {
    let (mut records, mut message) = (Bytes(stream), Vec::new());
    while let Some([HANDSHAKE, 3, _]) = records.take(3) {
        let Some(length) = records.number(2) else { break };
        let part = &records.0[..length.min(records.0.len())];
        message.extend_from_slice(part);
        records.0 = &records.0[part.len()..];
    }
    message
}

/// The bytes that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A big-endian number of this many bytes.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// A field with its length before it. The length has this many bytes.
    fn field(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(bytes)?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::pki_types::ServerName;

    use super::*;

    /// What a client of the library begins with.
    fn hello(name: &'static str) -> Vec<u8> {
        let provider = crate::tls::provider();
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        let mut client =
            rustls::ClientConnection::new(std::sync::Arc::new(config), ServerName::try_from(name).unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_name_is_read_as_it_was_sent_in_whatever_records_it_comes() {
        let name = |stream: &[u8]| read(stream).map(|hello| hello.server_name);
        let whole = hello("user.example");
        assert_eq!(name(&whole), Some(Some(b"user.example".to_vec())));
        assert_eq!(name(&hello("127.0.0.1")), Some(None));
        let message = &whole[5..];
        let pieces: Vec<u8> =
            message.chunks(100).flat_map(|part| [&[22, 3, 1, 0, part.len() as u8][..], part].concat()).collect();
        assert_eq!(name(&pieces), name(&whole));
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), None, "{end}");
        }
        assert_eq!(read(b"GET / HTTP/1.1\r\n\r\n"), None);
    }

    proptest! {
        #[test]
        fn any_input_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..500_usize) {
            read(&bytes);
            let mut damaged = hello("user.example");
            let at = at.min(damaged.len());
            damaged.splice(at..at, bytes);
            read(&damaged);
        }
    }
}
