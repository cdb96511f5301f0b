//! `otas-proxy redirect`: packet rules that lead agents' connections to `listen.transparent`.

mod cgroup;
mod nft;
mod rules;

use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand};

use self::cgroup::Cgroup;
use self::rules::{Plan, Ports, TABLE, replacing};
use super::{Done, Failure, Usage, say};
use crate::config::Flags;
use crate::{system, users};

/// Redirect connections of agents that know nothing of proxies (Linux)
///
/// Writes packet rules for the program `nft`, in a table of their own. TCP connections of the users and cgroups that you name arrive
/// at `listen.transparent`; their HTTP/3 (UDP port 443) is refused. Loopback is left alone, and so is the user that the proxy runs as.
#[derive(ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Print(Whose),
    Install(Installing),
    Remove(Removing),
}

/// Print the rules, as `nft -f` reads them
#[derive(ClapArgs)]
#[group(skip)]
struct Whose {
    /// Redirect the connections of this user, by name or id (may be repeated)
    #[arg(long, value_name = "USER")]
    user: Vec<String>,
    /// Redirect the connections of processes in this cgroup (version 2), such as `system.slice/agents.service` (may be repeated)
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<String>,
    /// The user that the proxy runs as, whose own connections are left alone [default: you, also under sudo]
    #[arg(long, value_name = "USER")]
    proxy_user: Option<String>,
    #[command(flatten)]
    flags: Flags,
}

/// Install the rules, in place of those that are installed; needs root
///
/// They are in force until `redirect remove`, or until the system restarts.
#[derive(ClapArgs)]
#[group(skip)]
struct Installing {
    #[command(flatten)]
    whose: Whose,
}

/// Remove the installed rules; needs root
#[derive(ClapArgs)]
struct Removing {}

pub(super) fn run(args: &Args) -> Done {
    match &args.what {
        What::Print(whose) => say::raw(&rules::rules(&plan(whose)?))?,
        What::Install(Installing { whose }) => {
            let plan = plan(whose)?;
            nft::run(&replacing(&rules::rules(&plan)))?;
            say::note(&installed(&plan));
        }
        What::Remove(Removing {}) if nft::has_table(TABLE)? => {
            nft::run(&format!("delete table inet {TABLE}\n"))?;
            say::note("otas-proxy: connections are no longer redirected; new ones go directly");
        }
        What::Remove(Removing {}) => say::note("otas-proxy: no rules are installed, so there is nothing to remove"),
    }
    Ok(ExitCode::SUCCESS)
}

fn plan(whose: &Whose) -> Result<Plan, Failure> {
    if whose.user.is_empty() && whose.cgroup.is_empty() {
        return Err(Usage("name whose connections are redirected: --user or --cgroup".to_owned()).into());
    }
    let config = super::load(&whose.flags)?.config;
    let ports = Ports::of(&config.listen.transparent).map_err(Usage)?;
    let users = whose.user.iter().map(|user| id(user)).collect::<Result<Vec<_>, _>>()?;
    let cgroups = whose.cgroup.iter().map(|path| Cgroup::find(path)).collect::<Result<_, _>>().map_err(Usage)?;
    let proxy_user = match &whose.proxy_user {
        Some(user) => id(user)?,
        None => our_user(&|name| std::env::var(name).ok())
            .ok_or_else(|| Usage("packet rules of this kind need Linux".to_owned()))?,
    };
    if users.contains(&proxy_user) {
        return Err(Usage(format!(
            "the proxy runs as {} itself, so its connections cannot be told from those of agents: run it as another user \
             (--proxy-user), or name a cgroup instead of the user",
            shown(proxy_user)
        ))
        .into());
    }
    Ok(Plan { users, cgroups, proxy_user, ports })
}

/// Who uses the proxy here: under sudo, the user who called it.
fn our_user(variable: &dyn Fn(&str) -> Option<String>) -> Option<u32> {
    let own = system::users::real()?;
    let called_by = variable("SUDO_UID").and_then(|uid| uid.parse().ok());
    Some(called_by.filter(|_| own == 0).unwrap_or(own))
}

/// The id of a user.
fn id(user: &str) -> Result<u32, Failure> {
    if let Ok(id) = user.parse() {
        return Ok(id);
    }
    match system::users::id_of(user)? {
        Some(id) => Ok(id),
        None => Err(Usage(format!("there is no user {user:?} on this machine")).into()),
    }
}

fn shown(uid: u32) -> String {
    match users::name(uid) {
        name if name == format!("uid {uid}") => name,
        name => format!("{name} (uid {uid})"),
    }
}

fn installed(plan: &Plan) -> String {
    let Plan { users, cgroups, proxy_user, ports } = plan;
    let users = users.iter().map(|uid| shown(*uid));
    let cgroups = cgroups.iter().map(|cgroup| format!("cgroup {}", cgroup.path));
    let whose = users.chain(cgroups).collect::<Vec<_>>().join(", ");
    let to = match (ports.v4, ports.v6) {
        (Some(v4), Some(v6)) if v4 == v6 => format!("port {v4}"),
        (Some(v4), Some(v6)) => format!("port {v4}, those of IPv6 to port {v6}"),
        (Some(port), None) => {
            format!("port {port}; IPv6 is refused, because `listen.transparent` has no address of it")
        }
        (None, Some(port)) => {
            format!("port {port}; IPv4 is refused, because `listen.transparent` has no address of it")
        }
        (None, None) => "no port".to_owned(),
    };
    format!(
        "otas-proxy: connections of {whose} are redirected to {to}. Those of {} are left alone, which the proxy must run as. \
         `otas-proxy redirect remove` undoes it",
        shown(*proxy_user)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_is_ours_or_of_who_called_sudo() {
        let own = rustix::process::getuid().as_raw();
        assert_eq!(our_user(&|_| None), Some(own));
        let called = our_user(&|name| (name == "SUDO_UID").then(|| "4711".to_owned()));
        assert_eq!(called, Some(if own == 0 { 4711 } else { own }));
    }

    #[test]
    fn users_are_found_by_id_and_by_name() {
        assert_eq!(id("4711").unwrap(), 4711);
        assert_eq!(id("root").unwrap(), 0);
        assert!(id("no-such-user").unwrap_err().to_string().contains("no user"));
    }
}
