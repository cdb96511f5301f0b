//! The result of a client's call, and how to fix it. Pure.

use std::path::Path;

use super::clients::{Client, LACKING};
use super::environment::Named;
use super::line::Line;

/// How a client's program ended.
pub(super) enum Ended {
    /// By itself, with this code and these words.
    Exited { code: i32, stdout: String, stderr: String },
    /// It was killed because it took too long.
    TooLate,
    /// It could not be started.
    NotStarted(String),
}

/// What the proxy and the origin saw of the call.
pub(super) struct Sight<'a> {
    /// It asked the proxy for a tunnel.
    pub(super) connected: bool,
    /// Its request came to the origin, so it trusts the proxy.
    pub(super) asked: bool,
    /// The proxy's error of the call.
    pub(super) error: Option<&'a str>,
}

/// The circumstances of the call.
pub(super) struct Circumstances<'a> {
    /// `None`: with the variables of `run`. Else with the environment as it is, except for the proxy.
    pub(super) as_is: Option<&'a Named>,
    pub(super) preload: bool,
    /// A variable of the environment that the check was started in.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a file holds our CA. `None`: it cannot be read.
    pub(super) holds_ca: &'a dyn Fn(&Path) -> Option<bool>,
    /// The system's roots and our CA.
    pub(super) bundle: &'a Path,
}

/// The finding. `None`: the client is not installed after all.
pub(super) fn line(client: &Client, ended: &Ended, sight: &Sight<'_>, under: &Circumstances<'_>) -> Option<Line> {
    let name = client.name;
    let version = match ended {
        Ended::Exited { stdout, .. } if client.says_version => {
            stdout.lines().next().map(str::trim).unwrap_or_default()
        }
        _ => "",
    };
    let of_version = if version.is_empty() { String::new() } else { format!(" ({version})") };
    if sight.asked {
        return Some(Line::ok(name, format!("uses the proxy and trusts its CA{of_version}")));
    }
    let said = match ended {
        Ended::Exited { code: LACKING, .. } => return None,
        Ended::NotStarted(error) => return Some(not_started(client, error)),
        Ended::Exited { stderr, .. } if client.says_version && version.is_empty() => {
            return Some(not_started(client, &telling(stderr)));
        }
        Ended::Exited { stderr, code, .. } if !sight.connected && is_only_a_launcher(*code, stderr) => {
            return Some(not_started(client, &telling(stderr)));
        }
        Ended::TooLate => return Some(too_late(client, sight.connected)),
        Ended::Exited { stderr, code, .. } => match telling(stderr) {
            said if said.is_empty() => format!("it ended with code {code} and printed nothing"),
            said => format!("it said: {said}"),
        },
    };
    // A client that breaks its handshake off without a word does not trust us either: nothing else is wrong with this origin.
    let distrusts =
        sight.error.is_none_or(|it| ["client_refused_certificate", "agent_left"].iter().any(|id| it.starts_with(id)));
    Some(match (sight.connected, distrusts) {
        (true, true) => Line::fail(
            name,
            format!("uses the proxy, but does not trust its CA{of_version}; {said}"),
            cure_of_distrust(client, under),
        ),
        (true, false) => Line::fail(
            name,
            format!("uses the proxy, but its call fails: {}{of_version}; {said}", sight.error.unwrap_or_default()),
            "Look at the error: the variables and the CA are right",
        ),
        (false, _) => Line::fail(
            name,
            format!("none of its calls reached the proxy{of_version}; {said}"),
            cure_of_bypass(client, version, &said, under),
        ),
    })
}

/// Whether what is on the PATH only starts the client, and found none: `rustup`, `pyenv` and the like.
fn is_only_a_launcher(code: i32, stderr: &str) -> bool {
    const NOT_EXECUTABLE: i32 = 126;
    const NOT_FOUND: i32 = 127;
    matches!(code, NOT_EXECUTABLE | NOT_FOUND)
        || ["rustup could not choose", "rustup default", "rustup toolchain install"]
            .iter()
            .any(|words| stderr.contains(words))
}

fn not_started(client: &Client, why: &str) -> Line {
    Line::skipped(client.name, format!("`{}` could not be run: {why}", client.program))
}

fn too_late(client: &Client, connected: bool) -> Line {
    let how_far = if connected {
        "it connected to the proxy, but its request did not arrive"
    } else {
        "none of its calls reached the proxy"
    };
    let detail = format!("it took too long: {how_far}");
    Line::warn(client.name, detail, format!("Try it alone: `otas-proxy check {}`", client.name))
}

fn cure_of_bypass(client: &Client, version: &str, said: &str, under: &Circumstances<'_>) -> String {
    let own = client.own;
    if said.contains("407") {
        return format!(
            "The proxy asks for credentials: put the name and secret of one of `[[agents]]` into `{}`, as `http://NAME:SECRET@HOST:PORT`",
            client.proxy
        );
    }
    if let Some(name) = ["NO_PROXY", "no_proxy"].into_iter().find(|name| lists_all((under.variable)(name))) {
        return format!("`{name}` contains `*`, so nothing goes through a proxy: remove it");
    }
    if let Some(named) = under.as_is {
        match proxy_variable(client, under) {
            None => {
                return format!(
                    "`{}` is not set: `eval \"$(otas-proxy env)\"` sets what clients need, or start the agent with `otas-proxy run -- CMD`",
                    client.proxy
                );
            }
            Some((name, value)) if !named.is_in(&value) => {
                return format!("`{name}` names another proxy; the one of these settings is {}", named.url());
            }
            Some(_) => {}
        }
    }
    if let Some(cure) = limit(client.name, version).filter(|_| !under.preload) {
        return cure;
    }
    if under.as_is.is_some() && client.program == "node" && (under.variable)("NODE_USE_ENV_PROXY").is_none() {
        return "`NODE_USE_ENV_PROXY=1` is not set (`otas-proxy env` prints what clients need)".to_owned();
    }
    format!("Its own settings override `{}`: look into {own}", client.proxy)
}

/// A limit of the client that no variable changes.
fn limit(client: &str, version: &str) -> Option<String> {
    let (proxies_from, what) = match client {
        "aiohttp" => {
            return Some(
                "`otas-proxy run --preload` (or `env --preload`), or `ClientSession(trust_env=True)` in the program"
                    .to_owned(),
            );
        }
        "node-fetch" => ((24, 0), "Node 22.21 or 24.0"),
        "node-https" => ((24, 5), "Node 22.21 or 24.5"),
        _ => return None,
    };
    let mut numbers = version.strip_prefix("Node ")?.split('.').map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next()?, numbers.next()?);
    let reads_variables = version >= proxies_from || ((22, 21)..(23, 0)).contains(&version);
    (!reads_variables).then(|| {
        format!("`otas-proxy run --preload` (or `env --preload`), or {what} and later, which read the variables")
    })
}

fn cure_of_distrust(client: &Client, under: &Circumstances<'_>) -> String {
    let (variable, bundle, own) = (client.trust, under.bundle.display(), client.own);
    if under.as_is.is_none() {
        return format!(
            "Its own settings name other roots than `{variable}`: look into {own}, or add the certificates of {bundle} there"
        );
    }
    let all = "`otas-proxy env` prints what clients need";
    match (under.variable)(variable).filter(|value| !value.is_empty()) {
        None => format!("`{variable}` is not set ({all}; the system's roots with this CA are in {bundle})"),
        // These name no file of certificates.
        Some(_) if ["JAVA_TOOL_OPTIONS", "PHP_INI_SCAN_DIR", "WGETRC"].contains(&variable) => {
            format!(
                "`{variable}` does not point to this CA ({all}), or its own settings override it: look into {own}"
            )
        }
        Some(file) => match (under.holds_ca)(Path::new(&file)) {
            None => format!("`{variable}` names {file}, which cannot be read ({all})"),
            Some(false) => format!("`{variable}` names {file}, which does not hold this CA: {bundle} does ({all})"),
            Some(true) => {
                format!("`{variable}` names a file with this CA, so its own settings override it: look into {own}")
            }
        },
    }
}

/// The variable that names its proxy, in upper or lower case if it reads both.
fn proxy_variable(client: &Client, under: &Circumstances<'_>) -> Option<(String, String)> {
    let both = [client.proxy.to_owned(), client.proxy.to_ascii_lowercase()];
    both.into_iter()
        .find_map(|name| (under.variable)(&name).filter(|value| !value.is_empty()).map(|value| (name, value)))
}

fn lists_all(no_proxy: Option<String>) -> bool {
    no_proxy.is_some_and(|list| list.split(',').any(|entry| entry.trim() == "*"))
}

/// The longest line for people.
const LINE_CHARS: usize = 200;

/// The most informative line of an error message.
fn telling(stderr: &str) -> String {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("Picked up "));
    let with = |words: &[&str]| {
        lines().find(|line| {
            let line = line.to_ascii_lowercase();
            words.iter().any(|word| line.contains(word))
        })
    };
    let line = with(&["certificate", "resolve"])
        .or_else(|| with(&["407", "error", "fatal", "refused", "failed", "unable", "cannot"]))
        .or_else(|| lines().next_back())
        .unwrap_or_default();
    line.chars().take(LINE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::super::clients::ALL;
    use super::super::line::State;
    use super::*;

    fn client(name: &str) -> &'static Client {
        ALL.iter().find(|client| client.name == name).unwrap()
    }

    fn exited(code: i32, stdout: &str, stderr: &str) -> Ended {
        Ended::Exited { code, stdout: stdout.to_owned(), stderr: stderr.to_owned() }
    }

    fn sight(connected: bool, asked: bool, error: Option<&str>) -> Sight<'_> {
        Sight { connected, asked, error }
    }

    const BYPASSED: Sight<'static> = Sight { connected: false, asked: false, error: None };
    const REFUSED: Sight<'static> =
        Sight { connected: true, asked: false, error: Some("client_refused_certificate: …") };

    /// The cure for a client, called with what `run` sets or with these variables alone.
    fn cure(
        name: &str,
        ended: &Ended,
        sight: &Sight<'_>,
        variables: Option<&[(&str, &str)]>,
        preload: bool,
    ) -> String {
        let named = Named::of(None, "127.0.0.1:8080".parse().unwrap()).unwrap();
        let variable = |name: &str| {
            let set = variables.unwrap_or_default().iter().find(|(set, _)| *set == name);
            set.map(|(_, value)| (*value).to_owned())
        };
        let holds_ca = |file: &Path| match file.to_str() {
            Some("/with") => Some(true),
            Some("/without") => Some(false),
            _ => None,
        };
        let under = Circumstances {
            as_is: variables.map(|_| &named).filter(|_| variables != Some(&[("NO_PROXY", "a, *")])),
            preload,
            variable: &variable,
            holds_ca: &holds_ca,
            bundle: Path::new("/ca/bundle.pem"),
        };
        let line = line(client(name), ended, sight, &under).unwrap();
        assert_eq!(line.state, State::Fail, "{line:?}");
        line.cure.unwrap()
    }

    #[test]
    fn the_observed_call_decides_and_not_the_clients_output() {
        let under = Circumstances {
            as_is: None,
            preload: false,
            variable: &|_| None,
            holds_ca: &|_| None,
            bundle: Path::new("/ca/bundle.pem"),
        };
        let judged = |name: &str, ended: &Ended, sight: &Sight<'_>| line(client(name), ended, sight, &under);
        let through = judged("urllib", &exited(0, "Python 3.13\n", ""), &sight(true, true, None)).unwrap();
        assert_eq!((through.state, &*through.detail), (State::Ok, "uses the proxy and trusts its CA (Python 3.13)"));
        // It came to the origin, though its registry was not to its taste.
        assert_eq!(
            judged("pip", &exited(1, "", "no such package"), &sight(true, true, None)).unwrap().state,
            State::Ok
        );
        assert_eq!(
            judged("curl", &exited(0, "", ""), &BYPASSED).unwrap().state,
            State::Fail,
            "a call that went elsewhere"
        );
        assert!(judged("httpx", &exited(LACKING, "", ""), &BYPASSED).is_none());
        for ended in [Ended::NotStarted("no".to_owned()), exited(1, "", "broken installation")] {
            assert_eq!(judged("java", &ended, &BYPASSED).unwrap().state, State::Skipped);
        }
        let no_toolchain =
            "error: rustup could not choose a version of cargo to run, because one wasn't specified explicitly";
        for ended in [exited(1, "", no_toolchain), exited(127, "", "pyenv: pip: command not found")] {
            let line = judged("cargo", &ended, &BYPASSED).unwrap();
            assert!(line.state == State::Skipped && line.detail.contains("could not be run"), "{line:?}");
        }
        assert_eq!(judged("curl", &Ended::TooLate, &BYPASSED).unwrap().state, State::Warn);
        let other = judged("curl", &exited(1, "", "x"), &sight(true, false, Some("connect_failed: …"))).unwrap();
        assert!(other.detail.contains("connect_failed"), "{other:?}");
        let refused = judged("wget", &exited(5, "", ""), &sight(true, false, Some("agent_left: …"))).unwrap();
        assert!(refused.detail.contains("does not trust its CA"), "{refused:?}");
    }

    #[test]
    fn clients_that_read_no_variable_have_the_preload_for_cure() {
        let by = |name, version: &str| cure(name, &exited(1, version, "ENOTFOUND"), &BYPASSED, None, false);
        assert!(by("aiohttp", "3.14, Python 3.13").contains("trust_env=True"));
        for (name, version, helps) in [
            ("node-fetch", "Node 20.20.0", true),
            ("node-fetch", "Node 22.20.1", true),
            ("node-fetch", "Node 22.21.0", false),
            ("node-fetch", "Node 23.1.0", true),
            ("node-fetch", "Node 24.0.0", false),
            ("node-https", "Node 24.4.0", true),
            ("node-https", "Node 24.5.0", false),
        ] {
            assert_eq!(by(name, version).contains("--preload"), helps, "{name} {version}");
        }
        let with = cure("node-fetch", &exited(1, "Node 20.20.0", "x"), &BYPASSED, None, true);
        assert!(!with.contains("--preload"), "{with}");
    }

    #[test]
    fn what_a_hand_made_environment_lacks_is_reported() {
        let failed = exited(60, "", "x");
        let bypass = |variables| cure("curl", &failed, &BYPASSED, Some(variables), false);
        assert!(bypass(&[]).contains("`HTTPS_PROXY` is not set"));
        let other = bypass(&[("https_proxy", "http://me:secret@10.0.0.1:3128")]);
        assert!(other.contains("`https_proxy` names another proxy") && !other.contains("secret"), "{other}");
        assert!(bypass(&[("HTTPS_PROXY", "http://127.0.0.1:8080")]).contains("~/.curlrc"));
        assert!(bypass(&[("NO_PROXY", "a, *")]).contains("remove it"));
        let unknown = exited(56, "", "curl: (56) CONNECT tunnel failed, response 407");
        let proxy = [("HTTPS_PROXY", "http://127.0.0.1:8080")];
        assert!(cure("curl", &unknown, &BYPASSED, Some(&proxy), false).contains("NAME:SECRET@"));
        let distrust = |variables| cure("git", &failed, &REFUSED, Some(variables), false);
        assert!(distrust(&[]).contains("`GIT_SSL_CAINFO` is not set"));
        assert!(distrust(&[("GIT_SSL_CAINFO", "/without")]).contains("does not hold this CA: /ca/bundle.pem does"));
        assert!(distrust(&[("GIT_SSL_CAINFO", "/missing")]).contains("cannot be read"));
        assert!(distrust(&[("GIT_SSL_CAINFO", "/with")]).contains("git config"));
        let node = exited(1, "Node 24.21.0", "x");
        let lacks = cure("node-https", &node, &BYPASSED, Some(&[("HTTPS_PROXY", "http://localhost:8080")]), false);
        assert!(lacks.contains("NODE_USE_ENV_PROXY=1"), "{lacks}");
    }

    #[test]
    fn the_line_that_says_most_is_told() {
        let curl = "curl: (60) SSL certificate problem: unable to get local issuer certificate\nMore details here: …";
        assert!(telling(curl).starts_with("curl: (60)"));
        assert_eq!(
            telling("Picked up JAVA_TOOL_OPTIONS: -Derror=1\njava.net.ConnectException\n"),
            "java.net.ConnectException"
        );
        assert_eq!(
            telling("error: a download failed\n\nCaused by:\n  SSL certificate problem\n"),
            "SSL certificate problem"
        );
        assert_eq!(telling(""), "");
    }
}
