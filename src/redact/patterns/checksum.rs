//! The checksum of tokens of GitHub and npm: the CRC32 of the random part in base62, behind that part:
//! <https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/>.

/// The random part.
pub(super) const BODY_BYTES: usize = 30;
const CHECKSUM_BYTES: usize = 6;
/// The random part and the checksum.
pub(super) const CHECKED_BYTES: usize = BODY_BYTES + CHECKSUM_BYTES;

/// The checksum of a random part.
pub(super) fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32fast::hash(body);
    let mut digits = [b'0'; CHECKSUM_BYTES];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// Whether a random part with its right checksum stands at a place.
pub(super) fn is_checked(text: &[u8], at: usize) -> bool {
    let Some(whole) = text.get(at..at + CHECKED_BYTES) else { return false };
    let (body, digits) = whole.split_at(BODY_BYTES);
    body.iter().all(u8::is_ascii_alphanumeric) && checksum(body) == digits
}
