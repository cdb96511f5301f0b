//! Runs `nft`, which changes the system's packet rules.

use super::super::Failure;

/// Gives `nft` these commands.
///
/// # Errors
/// When it is missing, or refuses them.
#[cfg(target_os = "linux")]
pub(super) fn run(commands: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    let missing = "the program `nft` is missing; install it (Debian: nftables)";
    let mut child = Command::new(crate::netns::tool("nft").ok_or(missing)?)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(commands.as_bytes()))?;
    let done = child.wait_with_output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing").trim();
    let hint = match rustix::process::geteuid().is_root() {
        true => "",
        false => "; only root may change packet rules: use sudo",
    };
    Err(format!("`nft` refuses the rules: {first}{hint}").into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn run(_: &str) -> Result<(), Failure> {
    Err(super::super::Usage("packet rules of this kind need Linux".to_owned()).into())
}

/// Whether this table is installed.
///
/// # Errors
/// When `nft` is missing or may not look.
#[cfg(target_os = "linux")]
pub(super) fn has_table(table: &str) -> Result<bool, Failure> {
    match run(&format!("list table inet {table}\n")) {
        Ok(()) => Ok(true),
        Err(error) if error.to_string().contains("No such file or directory") => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn has_table(_: &str) -> Result<bool, Failure> {
    run("").map(|()| false)
}
