//! Processes with a given variable in their environment.

use std::fs::File;
use std::io::Read as _;

use super::entry::Entry;
use super::own_user;

/// The most of an environment that is read. Linux allows some megabytes.
const ENVIRONMENT_MAX_BYTES: u64 = 8 << 20;

/// The processes of our own user that have `variable` (`NAME=value`). A zombie has no environment. Blocks.
pub(in crate::peer) fn having(variable: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten();
    let all = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|pid| has(*pid, variable)).collect()
}

/// Whether this process has the variable. Blocks.
pub(in crate::peer) fn has(pid: u32, variable: &str) -> bool {
    if Entry::open(pid).ok().and_then(|entry| entry.user()) != Some(own_user()) {
        return false;
    }
    let mut environment = Vec::new();
    let read = File::open(format!("/proc/{pid}/environ"))
        .and_then(|file| file.take(ENVIRONMENT_MAX_BYTES).read_to_end(&mut environment));
    read.is_ok() && environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_whole_variable_counts_and_only_while_its_process_lives() {
        let variable = format!("OTAS_PROXY_TEST_ENVIRONMENT={}", uuid::Uuid::now_v7());
        let (name, value) = variable.split_once('=').unwrap();
        let mut cat = Command::new("cat");
        let mut child = cat.env(name, value).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // `spawn` may return before the kernel has laid out the environment. Once the program answers, it is there.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        assert_eq!(having(&variable), [child.id()]);
        assert!(having(&variable[..variable.len() - 1]).is_empty());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(having(&variable).is_empty());
    }
}
