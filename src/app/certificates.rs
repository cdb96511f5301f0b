//! Certificates: our CA, the files with which agents trust it, and what origins are verified against.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::error::{AppError, step};
use crate::config::Tls;
use crate::proxy::{self, Shared};
use crate::tls::{self, CA_CERT_FILE, CertAuthority, OriginTls, keep_up, open_authority, system_roots, write_bundle};

/// How often the CA folder is checked for another CA.
const AUTHORITY_WATCH: Duration = Duration::from_secs(2);

/// All of them, as they are at the start.
pub(super) struct Certificates {
    pub(super) authority: Arc<CertAuthority>,
    /// Our CA's certificate.
    pub(super) ca_file: PathBuf,
    /// The system's roots and our CA.
    pub(super) bundle_file: PathBuf,
    /// What to do about a client that does not trust our CA.
    pub(super) trust_hint: String,
    pub(super) origins: OriginTls,
}

/// Writes the files into the folder for agents, if there is one.
fn hand_out(authority: &CertAuthority, agent_dir: Option<&Path>) -> Result<(), AppError> {
    let Some(dir) = agent_dir else { return Ok(()) };
    let written = tls::hand_out(authority, dir);
    written.map_err(|error| {
        step(format!("write the certificates for agents in `{}` (`tls.agent_dir`)", dir.display()), error)
    })?;
    Ok(())
}

impl Certificates {
    /// Opens the CA (makes one if there is none), writes the bundle and loads the origins' roots.
    ///
    /// # Errors
    /// When the CA folder or a file of certificates cannot be used.
    pub(super) fn open(tls: &Tls) -> Result<Self, AppError> {
        let authority = Arc::new(open_authority(&tls.ca_dir)?);
        let system = system_roots();
        let bundle_file = write_bundle(&authority, &system)
            .map_err(|error| step(format!("write the CA bundle in `{}`", tls.ca_dir.display()), error))?;
        hand_out(&authority, tls.agent_dir.as_deref())?;
        let ca_file = authority.dir().join(CA_CERT_FILE);
        let trust_hint = proxy::trust_hint(&ca_file, &tls.usual_ca_dir);
        let (roots, ours, pinned) = (tls.origin_ca_file.as_deref(), &tls.client_certificates, &tls.pinned);
        let origins = OriginTls::load(system, roots, ours, pinned, &authority.trusted())?;
        Ok(Self { authority, ca_file, bundle_file, trust_hint, origins })
    }
}

/// Signs with another CA as soon as one takes over in the folder, and tells agents of each change. Returns when the proxy stops.
pub(super) async fn follow_authority(shared: Arc<Shared>, agent_dir: Option<PathBuf>) {
    let mut handed_out = shared.interception.leaves.authority().trusted();
    let mut every = tokio::time::interval(AUTHORITY_WATCH);
    let mut reported = String::new();
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = shared.lifecycle.cut.cancelled() => return,
        }
        let now = shared.interception.leaves.authority();
        let dir = now.dir().to_owned();
        let loaded = tokio::task::spawn_blocking(move || {
            keep_up(&dir, time::OffsetDateTime::now_utc())?;
            CertAuthority::load(&dir)
        });
        let loaded = loaded.await;
        if let Ok(Ok(found)) = &loaded
            && found.trusted() != handed_out
        {
            match hand_out(found, agent_dir.as_deref()) {
                Ok(()) => handed_out = found.trusted(),
                Err(error) => tracing::warn!("{}", crate::cause::chain(&error)),
            }
        }
        match loaded {
            Ok(Ok(found)) if found.der() != now.der() => {
                tracing::warn!("the CA was replaced; the new one signs from now on");
                shared.interception.leaves.sign_by(Arc::new(found));
            }
            // Reported once: such a problem lasts.
            Ok(Err(error)) if reported != error.to_string() => {
                tracing::warn!(%error, "the CA folder is invalid; keeping the current CA");
                reported = error.to_string();
            }
            _ => {}
        }
    }
}
