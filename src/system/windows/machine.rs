//! This machine.

use winapi_util::sysinfo::{ComputerNameKind, get_computer_name};

pub(crate) fn name() -> String {
    get_computer_name(ComputerNameKind::DnsHostname).unwrap_or_default().to_string_lossy().into_owned()
}
