//! For systems without network namespaces.

use std::convert::Infallible;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::ExitCode;

use super::{Refused, Started};
use crate::app::App;
use crate::cli::{Done, Failure, Usage};

/// Where a command in a namespace would reach the proxy.
pub(in crate::cli) const PROXY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// There is none.
pub(super) struct Namespace(Infallible);

impl Namespace {
    pub(super) fn refused(&self) -> Option<Refused> {
        match self.0 {}
    }
}

pub(in crate::cli) fn is_asked_for(_: &[OsString]) -> bool {
    false
}

pub(in crate::cli) fn enter(_: &[OsString]) -> Done {
    Ok(ExitCode::FAILURE)
}

pub(in crate::cli) async fn start(_: &App, _: &[String], _: &[(&'static str, String)]) -> Result<Started, Failure> {
    Err(Usage("--netns needs Linux: other systems have no network namespaces".to_owned()).into())
}
