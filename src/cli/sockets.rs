//! Sockets that systemd has opened for `serve` (socket activation: `LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`). The ports stay open
//! while one process follows another, so no connection is refused.

use std::env::var;
use std::io;

use listenfd::ListenFd;

use crate::app::Sockets;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Proxy,
    Admin,
}

impl Role {
    const ALL: [(&'static str, Self); 2] = [("proxy", Self::Proxy), ("admin", Self::Admin)];
}

/// The sockets that were passed to this process. To be called once.
///
/// # Errors
/// When there are more than two, or one is not a TCP socket that listens.
pub(super) fn passed() -> io::Result<Sockets> {
    let is_for_us = var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    let mut passed = if is_for_us { ListenFd::from_env() } else { ListenFd::empty() };
    let mut sockets = Sockets::default();
    for (at, role) in roles(passed.len(), &var("LISTEN_FDNAMES").unwrap_or_default())?.into_iter().enumerate() {
        let socket = passed.take_tcp_listener(at)?;
        match role {
            Role::Proxy => sockets.proxy = socket,
            Role::Admin => sockets.admin = socket,
        }
    }
    Ok(sockets)
}

/// What so many sockets are for. `names`: their names with colons between them, `proxy` or `admin`. Sockets of other names are for
/// what is left, in this order.
fn roles(many: usize, names: &str) -> io::Result<Vec<Role>> {
    let named = |name: &str| Role::ALL.into_iter().find(|(of, _)| *of == name).map(|(_, role)| role);
    let mut roles: Vec<Option<Role>> = names.split(':').map(named).take(many).collect();
    roles.resize(many, None);
    let mut left = Role::ALL.into_iter().map(|(_, role)| role).filter(|role| !roles.contains(&Some(*role)));
    let mut all = Vec::new();
    for role in &roles {
        let role = role.or_else(|| left.next()).filter(|role| !all.contains(role));
        let too_many = "more sockets were passed than one for agents (`proxy`) and one for the page (`admin`)";
        all.push(role.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, too_many))?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_told_apart_by_their_names_and_then_by_their_order() {
        use Role::{Admin, Proxy};
        for (many, names, expected) in [
            (0, "", vec![]),
            (1, "", vec![Proxy]),
            (1, "otas-proxy.socket", vec![Proxy]),
            (1, "admin", vec![Admin]),
            (2, "", vec![Proxy, Admin]),
            (2, "admin:proxy", vec![Admin, Proxy]),
            (2, "otas-proxy.socket:proxy", vec![Admin, Proxy]),
        ] {
            assert_eq!(roles(many, names).unwrap(), expected, "{many} {names}");
        }
        for (many, names) in [(3, ""), (2, "proxy:proxy"), (3, "proxy:admin:other")] {
            assert!(roles(many, names).is_err(), "{many} {names}");
        }
    }
}
