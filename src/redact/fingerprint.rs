//! The tag in a mask. The same secret has the same tag, and the tag is useless without the key of this installation.

use std::fs;
use std::io;
use std::path::Path;

use aws_lc_rs::{hmac, rand};

use crate::private_file;
use crate::secret::only_ours;

/// The file of the key, beside the store.
pub const FINGERPRINT_KEY_FILE: &str = "redaction.key";

const KEY_BYTES: usize = 32;

/// Makes tags (HMAC-SHA256, RFC 2104, cut to 32 bits).
pub struct Fingerprint(hmac::Key);

impl Fingerprint {
    /// Uses the key in this file, which is created (0600) if it does not exist.
    ///
    /// # Errors
    /// When the file cannot be created or read, or does not hold a key.
    pub fn load_or_create(file: &Path) -> io::Result<Self> {
        private_file::create_if_absent(file, random_key)?;
        only_ours(file)?;
        let key = fs::read(file)?;
        if key.len() != KEY_BYTES {
            let told = format!("{} holds no key of {KEY_BYTES} bytes; remove it to have one made", file.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, told));
        }
        Ok(Self::new(&key))
    }

    /// Uses this key.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The tag of a secret: eight hexadecimal digits.
    pub(super) fn tag(&self, secret: &str) -> String {
        let tag = hmac::sign(&self.0, secret.as_bytes());
        let first = tag.as_ref().first_chunk().map_or(0, |four| u32::from_be_bytes(*four));
        format!("{first:08x}")
    }
}

fn random_key() -> io::Result<Vec<u8>> {
    let mut key = vec![0; KEY_BYTES];
    rand::fill(&mut key).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_has_the_same_tag_in_all_runs_of_an_installation_and_another_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FINGERPRINT_KEY_FILE);
        let tag = |file: &Path| Fingerprint::load_or_create(file).unwrap().tag("secret");
        let first = tag(&file);
        assert_eq!((first.len(), tag(&file)), (8, first.clone()));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(tag(&folder.path().join("other.key")), first);
        assert_ne!(Fingerprint::load_or_create(&file).unwrap().tag("secreT"), first);
        fs::write(&file, "short").unwrap();
        assert!(Fingerprint::load_or_create(&file).err().unwrap().to_string().contains("remove it"));
    }
}
