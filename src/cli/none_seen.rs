//! Possible reasons why a `run` saw no call, and what to type.

use super::command_line::CommandLine;
use super::env::Scope;
use super::own_settings::OwnProxy;

/// What to do with a client's own setting.
const REMOVE: &str = "remove it; if calls must go through that proxy, set OTAS_UPSTREAM_PROXY=http://HOST:PORT";

/// The line for a command with calls, if clients have a proxy in settings of their own: calls of theirs would be missing.
pub(super) fn may_be_missing(own: &[OwnProxy]) -> Option<String> {
    let all: Vec<String> = own.iter().map(OwnProxy::to_string).collect();
    (!all.is_empty())
        .then(|| format!("otas-proxy: calls of these would bypass the proxy: {}: {REMOVE}", all.join(", ")))
}

/// Lines for people: what may have kept calls away from the proxy.
pub(super) fn reasons(
    command: &CommandLine,
    scope: Scope,
    parent: &dyn Fn(&str) -> Option<String>,
    own: &[OwnProxy],
) -> Vec<String> {
    let command = command.for_shell();
    let mut lines =
        vec!["otas-proxy: if the command did make calls, one of these may be why they were not seen:".to_owned()];
    let mut add = |why: String| lines.push(format!("  - {why}"));
    own.iter().for_each(|own| add(format!("{own}: {REMOVE}")));
    if !scope.include_localhost {
        add(format!(
            "calls to this machine (localhost, 127.0.0.1, ::1) are excluded by NO_PROXY: `otas-proxy run --include-localhost -- {command}`"
        ));
    }
    if let Some(hosts) =
        ["NO_PROXY", "no_proxy"].into_iter().find_map(parent).filter(|hosts| !hosts.trim().is_empty())
    {
        add(format!(
            "your NO_PROXY excludes {}: `env -u NO_PROXY -u no_proxy otas-proxy run -- {command}`",
            hosts.trim()
        ));
    }
    if !scope.preload {
        add(format!("Node before 22.21 and aiohttp read no proxy variable: `otas-proxy run --preload -- {command}`"));
    }
    add("a client may have its own proxy setting, or support no proxy: `otas-proxy check` calls each installed client \
         and says what it needs"
        .to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::testing::redactor;

    #[test]
    fn each_reason_says_what_to_type_and_what_was_done_already_is_left_out() {
        let command = CommandLine::masked(&["node".to_owned(), "a.js".to_owned()], redactor());
        let none = Scope { include_localhost: false, no_java: false, preload: false };
        let said =
            reasons(&command, none, &|name| (name == "no_proxy").then(|| "a.test,b.test".to_owned()), &[]).join("\n");
        for words in [
            "`otas-proxy run --include-localhost -- node a.js`",
            "excludes a.test,b.test: `env -u NO_PROXY -u no_proxy otas-proxy run -- node a.js`",
            "Node before 22.21",
            "`otas-proxy run --preload -- node a.js`",
            "`otas-proxy check`",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let all = Scope { include_localhost: true, no_java: false, preload: true };
        assert_eq!(reasons(&command, all, &|_| None, &[]).len(), 2);
    }
}
