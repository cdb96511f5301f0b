//! Certificates: those that we show to origins, and those of origins that are accepted unverified.

use super::super::types::{ClientCertificate, PinnedCertificate};
use super::value::{Given, Refused, bad};

const CERTIFICATES: &str =
    "a list such as `[{ hosts = [\"api.example.com\"], cert_file = \"client.pem\", key_file = \"client.key\" }]`";
const PINNED: &str = "a list such as `[{ hosts = [\"nas.example\"], sha256 = \"AB:CD:…\" }]`";
const DIGEST: &str = "the SHA-256 of a certificate: 64 hexadecimal digits, with or without colons";

impl Given<'_> {
    /// Certificates of ours, with the hosts that they are for.
    pub(in crate::config) fn client_certificates(&self) -> Result<Vec<ClientCertificate>, Refused> {
        self.tables(CERTIFICATES, &["hosts", "cert_file", "key_file"], |entry| {
            Ok(ClientCertificate {
                hosts: entry.required("hosts", |given| given.hosts())?,
                cert_file: entry.required("cert_file", |given| given.path())?,
                key_file: entry.required("key_file", |given| given.path())?,
            })
        })
    }

    /// Certificates that are accepted unverified, with their hosts.
    pub(in crate::config) fn pinned(&self) -> Result<Vec<PinnedCertificate>, Refused> {
        self.tables(PINNED, &["hosts", "sha256"], |entry| {
            let hosts = entry.required("hosts", |given| given.hosts())?;
            let sha256 = entry.required("sha256", |given| {
                digest(given.text(DIGEST)?).ok_or_else(|| bad(DIGEST, "this is not a SHA-256"))
            })?;
            Ok(PinnedCertificate { hosts, sha256 })
        })
    }
}

/// As `openssl x509 -fingerprint -sha256` prints it, or without its colons.
fn digest(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Vec<u8> = digits.chunks(2).map(byte).collect::<Option<_>>()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_with_or_without_colons_and_nothing_else_is_accepted() {
        let bare = "0123456789abcdef".repeat(4);
        let pairs: Vec<String> =
            bare.as_bytes().chunks(2).map(|pair| String::from_utf8(pair.to_vec()).unwrap()).collect();
        let digest_of_bare = digest(&bare).unwrap();
        assert_eq!((digest_of_bare[0], digest_of_bare[31]), (1, 0xef));
        assert_eq!(digest(&pairs.join(":").to_uppercase()), Some(digest_of_bare));
        for bad in ["", "ab", &bare[1..], &format!("{bare}00"), &bare.replace("01", "+1"), &bare.replace("01", "é")]
        {
            assert_eq!(digest(bad), None, "{bad}");
        }
    }
}
