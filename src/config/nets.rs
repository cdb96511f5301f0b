//! Networks of clients, and certificates of origins that are known beforehand: how they are written in settings.

use std::net::IpAddr;

use ipnet::IpNet;

use super::given::{Given, Refused, bad};
use super::types::PinnedCertificate;

const NETWORKS: &str = "a list of networks such as `[\"10.1.0.0/16\", \"fd00:1::/64\"]`";
const PINNED: &str = "a list such as `[{ hosts = [\"nas.example\"], sha256 = \"AB:CD:…\" }]`";
const DIGEST: &str = "the SHA-256 of a certificate: 64 hexadecimal digits, with or without colons";

impl Given<'_> {
    /// Networks, or addresses, which are the networks of themselves.
    pub(super) fn networks(&self) -> Result<Vec<IpNet>, Refused> {
        self.list(NETWORKS, |text| {
            let address = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
            address.or_else(|_| text.parse::<IpNet>().map(|net| net.trunc())).map_err(|_| "this is not a network")
        })
    }

    /// Certificates that are accepted as they are, with the hosts that they are for.
    pub(super) fn pinned(&self) -> Result<Vec<PinnedCertificate>, Refused> {
        self.tables(PINNED, &["hosts", "sha256"], |part| {
            let hosts = part("hosts").ok_or_else(|| bad(PINNED, "an entry has no `hosts`"))?.hosts()?;
            let given = part("sha256").ok_or_else(|| bad(PINNED, "an entry has no `sha256`"))?;
            let sha256 = digest(given.text(DIGEST)?).ok_or_else(|| bad(DIGEST, "this is not one"))?;
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
    fn a_digest_is_read_with_or_without_colons_and_nothing_else_is_one() {
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
