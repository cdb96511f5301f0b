//! From one CA to the next. Each step leaves a usable folder.
//!
//! ```text
//!  begin    the next certificate joins `ca.pem`; its key waits in `next.key`     the old CA signs, agents trust both
//!  settle   when it is time, `next.key` is renamed to `ca.key`                   the new CA signs, agents trust both
//!  settle   when the overlap is over once more, the old certificate leaves       agents trust the new CA alone
//! ```

use std::path::Path;

use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use super::error::{AuthorityError, bad};
use super::profile::{BACKDATE, key_id, profile};
use super::record::Record;
use super::{CA_CERT_FILE, CA_KEY_FILE, CertAuthority, asn1, files, is_missing, parse};
use crate::tls::pem;

/// The key of the CA that takes over next, mode 0600.
const NEXT_KEY_FILE: &str = "next.key";

/// How long the next CA is trusted before it signs, and how long the old one is trusted afterwards.
pub const DEFAULT_OVERLAP: Duration = Duration::days(7);

/// The next CA takes over at least this long before the old one expires.
const BEFORE_THE_END: Duration = Duration::days(1);

/// A CA is renewed after this many tenths of its lifetime.
const RENEWED_AFTER_TENTHS: i32 = 8;

/// A change in the CA folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tls) enum Change {
    /// The CA in force has passed 80 % of its lifetime. The next one was made and takes over at this time.
    Prepared(OffsetDateTime),
    /// The next CA is in force now.
    TookOver,
    /// Certificates that agents no longer need to trust were removed.
    Removed(Vec<CertificateDer<'static>>),
}

/// The state of one of our CAs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It signs.
    InForce,
    /// It takes over at this time.
    Next(OffsetDateTime),
    /// It was replaced, and is trusted until this time.
    Replaced(OffsetDateTime),
    /// Somebody else added it to the file.
    Added,
}

/// The content of the CA folder.
struct Folder {
    active: CertAuthority,
    /// The certificate of `next.key`.
    next: Option<CertificateDer<'static>>,
    /// Every certificate in `ca.pem`.
    all: Vec<CertificateDer<'static>>,
    record: Record,
}

impl Folder {
    fn read(dir: &Path, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let active = CertAuthority::load_at_any_time(dir, now)?;
        let path = dir.join(CA_CERT_FILE);
        let all = pem::decode(files::read(&path)?.as_bytes())
            .map_err(|e| bad(&path, format!("is not a PEM certificate ({e})")))?;
        let next_path = dir.join(NEXT_KEY_FILE);
        let mut next = None;
        if files::exists(&next_path)? {
            files::refuse_file_of_another_user(&next_path)?;
            files::refuse_open_key(&next_path)?;
            let unusable = |problem: String| AuthorityError::Next { path: next_path.clone(), problem };
            let key = files::read(&next_path)?;
            crate::secret::register_pem(&key);
            let key = KeyPair::from_pem(&key).map_err(|e| unusable(format!("is not a usable private key ({e})")))?;
            for der in &all {
                if super::belongs(&path, der, &key)? {
                    next = Some(der.clone());
                }
            }
            if next.is_none() {
                return Err(unusable(format!("has no certificate in `{CA_CERT_FILE}`")));
            }
        }
        Ok(Self { active, next, all, record: Record::read(dir)? })
    }

    fn overlap(&self) -> Duration {
        self.record.overlap_s.map_or(DEFAULT_OVERLAP, Duration::seconds)
    }

    /// When the next CA takes over, if there is one.
    fn takes_over(&self) -> Option<OffsetDateTime> {
        let next = self.next.as_ref()?;
        let noted = self.record.takes_over_s.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        // Without a record: the time that it would have recorded.
        let made = || x509_parser::parse_x509_certificate(next).ok().map(|(_, it)| it.validity().not_before);
        let takes_over = noted.or_else(|| made().map(|made| made.to_datetime() + BACKDATE + self.overlap()));
        takes_over.map(|at| at.min(self.active.not_after))
    }

    /// Replaced certificates that are no longer trusted. Other certificates in `ca.pem` are not ours to remove.
    fn outlived(&self, now: OffsetDateTime) -> Vec<CertificateDer<'static>> {
        let outlived = |der: &&CertificateDer<'static>| {
            let replaced = **der != self.active.der && self.record.until(&key_id(der)).is_some();
            replaced && !super::is_trusted(der, &self.record, now)
        };
        self.all.iter().filter(outlived).cloned().collect()
    }

    /// Whether the CA has passed 80 % of its lifetime and has no successor yet.
    fn is_to_be_renewed(&self, now: OffsetDateTime) -> Result<bool, AuthorityError> {
        if self.next.is_some() {
            return Ok(false);
        }
        let (_, cert) = parse(&self.active.dir.join(CA_CERT_FILE), &self.active.der)?;
        let from = cert.validity().not_before.to_datetime();
        Ok(now >= from + (self.active.not_after - from) / 10 * RENEWED_AFTER_TENTHS && now < self.active.not_after)
    }
}

/// Whether [`settle`] would change anything. Only reads.
pub(in crate::tls) fn due(dir: &Path, now: OffsetDateTime) -> Result<bool, AuthorityError> {
    if is_missing(dir)? {
        return Ok(false);
    }
    let folder = Folder::read(dir, now)?;
    let takes_over = folder.takes_over().is_some_and(|at| at <= now);
    Ok(takes_over || !folder.outlived(now).is_empty() || folder.is_to_be_renewed(now)?)
}

/// Does what is due: lets the next CA take over, removes certificates that agents no longer need to trust, and makes
/// the next CA when the current one has passed 80 % of its lifetime.
pub(in crate::tls) fn settle(dir: &Path, now: OffsetDateTime) -> Result<Vec<Change>, AuthorityError> {
    let _lock = files::lock(dir)?;
    let mut changes = Vec::new();
    let mut folder = Folder::read(dir, now)?;
    if folder.takes_over().is_some_and(|at| at <= now) {
        folder = take_over(folder, now)?;
        changes.push(Change::TookOver);
    }
    let outlived = folder.outlived(now);
    if !outlived.is_empty() {
        folder.all.retain(|der| !outlived.contains(der));
        write_certificates(&folder)?;
        changes.push(Change::Removed(outlived));
    }
    if folder.is_to_be_renewed(now)? {
        changes.push(Change::Prepared(add_next(folder, now, DEFAULT_OVERLAP)?));
    }
    Ok(changes)
}

/// Makes the next CA. It takes over after `overlap`, or at once if the one in force has expired.
pub(in crate::tls) fn begin(
    dir: &Path,
    now: OffsetDateTime,
    overlap: Duration,
) -> Result<OffsetDateTime, AuthorityError> {
    let _lock = files::lock(dir)?;
    let folder = Folder::read(dir, now)?;
    if let Some(at) = folder.takes_over() {
        return Err(AuthorityError::UnderWay { takes_over: asn1(at).to_string() });
    }
    add_next(folder, now, overlap)
}

/// Lets the next CA take over now.
pub(in crate::tls) fn finish(dir: &Path, now: OffsetDateTime) -> Result<(), AuthorityError> {
    let _lock = files::lock(dir)?;
    let folder = Folder::read(dir, now)?;
    if folder.next.is_none() {
        return Err(AuthorityError::NothingToFinish);
    }
    take_over(folder, now).map(drop)
}

impl CertAuthority {
    /// Our trusted certificates, the one in force first, each with its short name and its state.
    ///
    /// # Errors
    /// When the folder's files cannot be read.
    pub fn standings(&self) -> Result<Vec<(String, Standing)>, AuthorityError> {
        let now = OffsetDateTime::now_utc();
        let folder = Folder::read(&self.dir, now)?;
        let of = |der: CertificateDer<'static>| {
            let id = key_id(&der);
            let standing = match (folder.takes_over(), folder.record.until(&id)) {
                _ if der == folder.active.der => Standing::InForce,
                (Some(at), _) if Some(&der) == folder.next.as_ref() => Standing::Next(at),
                (_, Some(until)) => Standing::Replaced(until),
                (_, None) => Standing::Added,
            };
            (id, standing)
        };
        Ok(folder.active.trusted().into_iter().map(of).collect())
    }

    /// The short names of all CAs that this folder has or had.
    ///
    /// # Errors
    /// When the folder's files cannot be read.
    pub fn all_key_ids(&self) -> Result<Vec<String>, AuthorityError> {
        let record = Record::read(&self.dir)?;
        let past = record.retired.into_iter().map(|retired| retired.key_id);
        let mut all: Vec<String> = self.trusted().iter().map(|der| key_id(der)).chain(past).collect();
        all.sort();
        all.dedup();
        Ok(all)
    }
}

fn add_next(mut folder: Folder, now: OffsetDateTime, overlap: Duration) -> Result<OffsetDateTime, AuthorityError> {
    let dir = folder.active.dir.clone();
    let key = KeyPair::generate()?;
    let cert = profile(&key, now)?.self_signed(&key)?;
    let at = (now + overlap).min(folder.active.not_after - BEFORE_THE_END).max(now);
    // The certificate is trusted before it can sign. The key comes last, because only with a key is there a next CA.
    folder.all.push(cert.der().clone());
    write_certificates(&folder)?;
    folder.record.takes_over_s = Some(at.unix_timestamp());
    folder.record.overlap_s = Some(overlap.whole_seconds());
    folder.record.write(&dir)?;
    files::replace(&dir.join(NEXT_KEY_FILE), key.serialize_pem().as_bytes(), 0o600)?;
    Ok(at)
}

fn take_over(mut folder: Folder, now: OffsetDateTime) -> Result<Folder, AuthorityError> {
    let dir = folder.active.dir.clone();
    let until = now + folder.overlap();
    folder.record.retire(&key_id(&folder.active.der), until);
    folder.record.write(&dir)?;
    // This rename is the switch. What comes before prepares it, what comes after tidies up.
    files::rename(&dir.join(NEXT_KEY_FILE), &dir.join(CA_KEY_FILE))?;
    let mut folder = Folder::read(&dir, now)?;
    write_certificates(&folder)?;
    folder.record.takes_over_s = None;
    folder.record.write(&dir)?;
    Ok(folder)
}

/// Writes `ca.pem` with the certificate in force first: some clients read only the first.
fn write_certificates(folder: &Folder) -> Result<(), AuthorityError> {
    let active = &folder.active.der;
    let others = folder.all.iter().filter(|der| *der != active);
    let text = pem::encode(std::iter::once(active).chain(others));
    files::replace(&folder.active.dir.join(CA_CERT_FILE), text.as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::create;
    use super::*;

    const DAY: Duration = Duration::DAY;

    fn start() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    /// A folder with a CA made at `start()`.
    fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("ca");
        files::create_dir(&dir).unwrap();
        create(&dir, start()).unwrap();
        (tmp, dir)
    }

    fn at(dir: &Path, now: OffsetDateTime) -> CertAuthority {
        CertAuthority::load_at(dir, now).unwrap()
    }

    /// The files of a folder, and a folder restored from them: what a crash at this moment would leave.
    fn copy(dir: &Path) -> (tempfile::TempDir, std::path::PathBuf) {
        let tmp = tempfile::tempdir().unwrap();
        let to = tmp.path().join("ca");
        files::create_dir(&to).unwrap();
        for entry in fs::read_dir(dir).unwrap() {
            let from = entry.unwrap().path();
            fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
        }
        (tmp, to)
    }

    #[test]
    fn the_old_ca_signs_through_the_overlap_and_both_are_trusted_before_and_after_the_switch() {
        let (_tmp, dir) = folder();
        let now = start() + DAY;
        let old = at(&dir, now);
        assert_eq!(begin(&dir, now, DEFAULT_OVERLAP).unwrap(), now + DAY * 7);
        let key = fs::metadata(dir.join(NEXT_KEY_FILE)).unwrap().permissions().mode() & 0o777;
        assert_eq!(key, 0o600);

        let during = at(&dir, now + DAY * 6);
        assert_eq!((during.der(), during.trusted().len()), (old.der(), 2));
        assert!(!due(&dir, now + DAY * 6).unwrap());

        assert!(due(&dir, now + DAY * 7).unwrap());
        assert_eq!(settle(&dir, now + DAY * 7).unwrap(), [Change::TookOver]);
        let after = at(&dir, now + DAY * 7);
        assert!(after.der() != old.der() && after.trusted() == [after.der().clone(), old.der().clone()]);
        assert!(!dir.join(NEXT_KEY_FILE).exists());
        assert!(!due(&dir, now + DAY * 13).unwrap());

        let later = now + DAY * 14;
        assert_eq!(at(&dir, later).trusted(), [after.der().clone()]);
        assert_eq!(settle(&dir, later).unwrap(), [Change::Removed(vec![old.der().clone()])]);
        assert!(!due(&dir, later).unwrap());
        assert_eq!(at(&dir, later).all_key_ids().unwrap().len(), 2, "the old one is still known as ours");
    }

    #[test]
    fn without_an_overlap_the_new_ca_takes_over_at_once_and_alone() {
        let (_tmp, dir) = folder();
        let (old, now) = (at(&dir, start()), start() + DAY);
        assert_eq!(begin(&dir, now, Duration::ZERO).unwrap(), now);
        assert_eq!(settle(&dir, now).unwrap(), [Change::TookOver, Change::Removed(vec![old.der().clone()])]);
        assert_eq!(at(&dir, now).trusted().len(), 1);
    }

    #[test]
    fn a_rotation_can_be_finished_early_but_not_begun_twice() {
        let (_tmp, dir) = folder();
        let (old, now) = (at(&dir, start()), start() + DAY);
        assert!(matches!(finish(&dir, now), Err(AuthorityError::NothingToFinish)));
        begin(&dir, now, DEFAULT_OVERLAP).unwrap();
        assert!(matches!(begin(&dir, now, DEFAULT_OVERLAP), Err(AuthorityError::UnderWay { .. })));
        finish(&dir, now + DAY).unwrap();
        assert_ne!(at(&dir, now + DAY).der(), old.der());
        assert_eq!(at(&dir, now + DAY * 7).trusted().len(), 2, "trusted for the overlap from the switch on");
        assert_eq!(at(&dir, now + DAY * 8).trusted().len(), 1);
    }

    #[test]
    fn the_next_ca_is_made_after_80_percent_of_the_life_and_takes_over_before_its_end() {
        let (_tmp, dir) = folder();
        let end = at(&dir, start()).not_after();
        let life = end - (start() - BACKDATE);
        let early = end - life / 5 - DAY;
        assert!(!due(&dir, early).unwrap() && settle(&dir, early).unwrap().is_empty());
        let late = end - life / 5 + DAY;
        assert_eq!(settle(&dir, late).unwrap(), [Change::Prepared(late + DEFAULT_OVERLAP)]);
        assert!(settle(&dir, late).unwrap().is_empty(), "once");

        let (_tmp, dir) = folder();
        let last = at(&dir, start()).not_after() - DAY * 3;
        assert_eq!(settle(&dir, last).unwrap(), [Change::Prepared(last + DAY * 2)]);
    }

    #[test]
    fn an_expired_ca_is_replaced_by_the_one_that_waits_or_by_a_new_one_when_asked() {
        let (_tmp, dir) = folder();
        let late = at(&dir, start()).not_after() + DAY;
        assert!(!due(&dir, late).unwrap(), "nobody has asked for another");
        let error = CertAuthority::load_at(&dir, late).err().unwrap().to_string();
        assert!(error.contains("ca rotate"), "{error}");
        assert_eq!(begin(&dir, late, DEFAULT_OVERLAP).unwrap(), late);
        settle(&dir, late).unwrap();
        assert_eq!(at(&dir, late).trusted().len(), 1, "nothing expired is trusted");
    }

    #[test]
    fn a_crash_between_any_two_steps_leaves_one_ca_or_the_other() {
        let (_tmp, dir) = folder();
        let (old, now) = (at(&dir, start()), start() + DAY);
        // A crash between the certificate and its key: there is no next CA, and another attempt makes one.
        let (_begun, half) = copy(&dir);
        begin(&half, now, DEFAULT_OVERLAP).unwrap();
        fs::remove_file(half.join(NEXT_KEY_FILE)).unwrap();
        assert_eq!(at(&half, now + DAY * 30).der(), old.der());
        assert!(settle(&half, now).unwrap().is_empty());
        begin(&half, now, DEFAULT_OVERLAP).unwrap();

        // A crash between the record and the switch, and one between the switch and the tidying up.
        begin(&dir, now, DEFAULT_OVERLAP).unwrap();
        let then = now + DEFAULT_OVERLAP;
        let (_noted, noted) = copy(&dir);
        let mut record = Record::read(&noted).unwrap();
        record.retire(&key_id(old.der()), then + DAY * 7);
        record.write(&noted).unwrap();
        assert_eq!(at(&noted, now).der(), old.der());
        let (_switched, switched) = copy(&noted);
        fs::rename(switched.join(NEXT_KEY_FILE), switched.join(CA_KEY_FILE)).unwrap();
        for dir in [noted, switched] {
            settle(&dir, then).unwrap();
            let after = at(&dir, then);
            assert!(after.der() != old.der() && after.trusted().contains(old.der()));
            assert_eq!(at(&dir, then + DAY * 7).trusted().len(), 1);
            begin(&dir, then + DAY * 7, DEFAULT_OVERLAP).unwrap();
        }
        // Without a record, the next CA still takes over.
        fs::remove_file(dir.join("rotation.json")).unwrap();
        assert_eq!(settle(&dir, then + DAY).unwrap(), [Change::TookOver]);
    }

    #[test]
    fn an_unusable_next_key_is_reported_and_the_ca_in_force_goes_on() {
        let (_tmp, dir) = folder();
        begin(&dir, start(), DEFAULT_OVERLAP).unwrap();
        fs::write(dir.join(NEXT_KEY_FILE), "broken").unwrap();
        let error = settle(&dir, start() + DAY * 8).unwrap_err().to_string();
        assert!(error.contains("next.key") && error.contains("remove it"), "{error}");
        assert_eq!(at(&dir, start() + DAY * 8).trusted().len(), 2);
    }
}
