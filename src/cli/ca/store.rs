//! `ca install` and `ca uninstall`: the system's trust store.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::{Done, say};
use crate::config::Flags;
use crate::tls::{CertAuthority, Step, SystemStore, SystemStoreError};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn install(args: &Args) -> Done {
    let authority = super::authority(&args.flags)?;
    let steps = SystemStore::find(Path::new("/"))?.install(&authority.trusted())?;
    take(&steps, args.dry_run, "the system already trusts this CA", || as_root("install", &authority))
}

pub(super) fn uninstall(args: &Args) -> Done {
    let authority = super::authority(&args.flags)?;
    let steps = SystemStore::find(Path::new("/"))?.uninstall(&authority.all_key_ids()?)?;
    take(&steps, args.dry_run, "this CA is not in the system's trust store", || as_root("uninstall", &authority))
}

fn take(steps: &[Step], dry_run: bool, nothing: &str, as_root: impl Fn() -> String) -> Done {
    if steps.is_empty() {
        say::note(&format!("nothing to do: {nothing}"));
    }
    for step in steps {
        if dry_run {
            say::note(&format!("would {step}"));
            continue;
        }
        say::note(&step.to_string());
        step.take().map_err(|error| match error {
            SystemStoreError::NotRoot { .. } => format!("{error}. Run: {}", as_root()),
            error => error.to_string(),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The command to type. It names the CA's folder, because root's own settings would lead to another CA.
fn as_root(command: &str, authority: &CertAuthority) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("otas-proxy"));
    let dir = std::path::absolute(authority.dir()).unwrap_or_else(|_| authority.dir().to_owned());
    format!("sudo {} ca {command} --ca-dir {}", quoted(&program), quoted(&dir))
}

/// As a shell reads it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_rights_it_says_what_to_type() {
        let tmp = tempfile::tempdir().unwrap();
        let authority = CertAuthority::load_or_create(&tmp.path().join("my ca")).unwrap();
        // Nobody may, not even root.
        let steps = [Step::Write { path: "/proc/otas-proxy-test.crt".into(), pem: String::new() }];
        assert!(take(&steps, false, "", || as_root("install", &authority)).is_err());
        let command = as_root("install", &authority);
        assert!(
            command.starts_with("sudo '/")
                && command.ends_with(&format!(" ca install --ca-dir '{}'", authority.dir().display())),
            "{command}"
        );
        assert_eq!(quoted(Path::new("/it's")), r"'/it'\''s'");
    }
}
