//! The environment variables that make an agent use the proxy and trust it.
//!
//! Pure: the parent's variables in, the agent's variables out.

use std::path::PathBuf;

use url::Url;

use super::preload::Preload;
use crate::tls::{AgentFiles, ParentBundles, TRUST_STORE_PASSWORD};

/// Read by clients in either case, so both are set.
const PROXY: [&str; 6] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// The files that these name *replace* a client's roots. They are set to the bundle.
const REPLACING: [&str; 14] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "npm_config_cafile",
    "CODEX_CA_CERTIFICATE",
    "HTTPLIB2_CA_CERTS",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "NIX_SSL_CERT_FILE",
    "PERL_LWP_SSL_CA_FILE",
];
/// The files that these name are *added* to a client's roots. They are set to our CA, with the roots that the parent adds.
const ADDING: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// Each is read by one client instead of `HTTP_PROXY`. They are set to our URL if the parent has set them.
const OF_ONE_CLIENT: [&str; 20] = [
    "npm_config_proxy",
    "npm_config_http_proxy",
    "npm_config_https_proxy",
    "NPM_CONFIG_PROXY",
    "NPM_CONFIG_HTTP_PROXY",
    "NPM_CONFIG_HTTPS_PROXY",
    "YARN_HTTP_PROXY",
    "YARN_HTTPS_PROXY",
    "PIP_PROXY",
    "UV_HTTP_PROXY",
    "UV_HTTPS_PROXY",
    "CARGO_HTTP_PROXY",
    "grpc_proxy",
    "GRPC_PROXY",
    "GLOBAL_AGENT_HTTP_PROXY",
    "GLOBAL_AGENT_HTTPS_PROXY",
    "ws_proxy",
    "wss_proxy",
    "WS_PROXY",
    "WSS_PROXY",
];
/// Each is read by one client instead of `NO_PROXY`.
const EXCEPTIONS_OF_ONE_CLIENT: [&str; 5] =
    ["npm_config_noproxy", "NPM_CONFIG_NOPROXY", "no_grpc_proxy", "NO_GRPC_PROXY", "GLOBAL_AGENT_NO_PROXY"];

/// What Java reads besides `JAVA_TOOL_OPTIONS`, and prefers to it.
const STRONGER_JAVA: [&str; 2] = ["JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"];
/// Java's options that lead calls past us.
const JAVA_PROXY: [&str; 4] = ["-Dhttp.proxyHost=", "-Dhttps.proxyHost=", JAVA_NON_PROXY_HOSTS, JAVA_SOCKS];
const JAVA_NON_PROXY_HOSTS: &str = "-Dhttp.nonProxyHosts=";
const JAVA_SOCKS: &str = "-DsocksProxyHost=";

/// Names of this machine, which clients call directly.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The hosts that Java calls directly by default.
const JAVA_LOOPBACK: &str = "localhost|127.*|[::1]";

/// What the agent's variables are made from.
pub(super) struct AgentSetup<'a> {
    /// Where the proxy listens.
    pub(super) proxy: Url,
    /// The files with which it trusts us.
    pub(super) files: &'a AgentFiles,
    /// The run that it belongs to, if it is one.
    pub(super) run_id: Option<&'a str>,
    /// Hosts of OTAS, which agents call directly.
    pub(super) otas_hosts: Vec<String>,
    /// Calls to this machine go through the proxy as well.
    pub(super) include_localhost: bool,
    /// Set `JAVA_TOOL_OPTIONS`, which Java then reports on stderr.
    pub(super) java: bool,
    /// What Node and Python load first, with `--preload`.
    pub(super) preload: Option<&'a Preload>,
}

/// The bundles that the parent's variables name.
pub(super) fn parent_bundles(parent: &dyn Fn(&str) -> Option<String>) -> ParentBundles {
    let named = |names: &[&str]| -> Vec<PathBuf> {
        distinct(names.iter().filter_map(|name| parent(name)).filter(|file| !file.is_empty()).map(PathBuf::from))
    };
    ParentBundles { replacing: named(&REPLACING), adding: named(&ADDING) }
}

/// The variables, in the order in which people look for them.
pub(super) fn for_agent(
    setup: &AgentSetup<'_>,
    parent: &dyn Fn(&str) -> Option<String>,
) -> Vec<(&'static str, String)> {
    let url = setup.proxy.as_str().trim_end_matches('/').to_owned();
    let (added, bundle) = (setup.files.added.display().to_string(), setup.files.bundle.display().to_string());
    let direct = no_proxy(setup, &["no_proxy", "NO_PROXY"], parent);
    let mut all: Vec<(&'static str, String)> = Vec::new();
    all.extend(PROXY.map(|name| (name, url.clone())));
    all.extend(["NO_PROXY", "no_proxy"].map(|name| (name, direct.clone())));
    let is_set = |name: &&str| parent(name).is_some_and(|value| !value.trim().is_empty());
    all.extend(OF_ONE_CLIENT.into_iter().filter(is_set).map(|name| (name, url.clone())));
    let exceptions = |name: &'static str| (name, no_proxy(setup, &[name, "no_proxy", "NO_PROXY"], parent));
    all.extend(EXCEPTIONS_OF_ONE_CLIENT.into_iter().filter(is_set).map(exceptions));
    all.extend(REPLACING.map(|name| (name, bundle.clone())));
    all.extend(ADDING.map(|name| (name, added.clone())));
    all.push(("NODE_USE_ENV_PROXY", "1".to_owned()));
    if setup.java {
        all.push(("JAVA_TOOL_OPTIONS", java(setup, parent("JAVA_TOOL_OPTIONS"))));
    }
    if let Some(preload) = setup.preload {
        all.push(("NODE_OPTIONS", preload.node_options(parent("NODE_OPTIONS"))));
        all.push(("PYTHONPATH", preload.python_path(parent("PYTHONPATH"))));
    }
    // An empty part stands for PHP's own folder.
    let php = parent("PHP_INI_SCAN_DIR").unwrap_or_default();
    all.push(("PHP_INI_SCAN_DIR", format!("{php}:{}", setup.files.php_dir.display())));
    if parent("WGETRC").is_none_or(|file| file.is_empty()) {
        all.push(("WGETRC", setup.files.wgetrc.display().to_string()));
    }
    all.push(("OTAS_PROXY_URL", url));
    all.push(("OTAS_PROXY_CA", added));
    all.extend(setup.run_id.map(|id| ("OTAS_PROXY_RUN_ID", id.to_owned())));
    all
}

/// The hosts that agents call directly: those of the parent, OTAS, and this machine.
fn no_proxy(setup: &AgentSetup<'_>, lists: &[&str], parent: &dyn Fn(&str) -> Option<String>) -> String {
    let parents = lists.iter().filter_map(|name| parent(name)).collect::<Vec<_>>();
    // `*` would keep all calls away from us.
    let parents = parents.iter().flat_map(|list| list.split(',')).map(str::trim);
    let parents = parents.filter(|entry| !matches!(*entry, "" | "*"));
    let hosts = setup.otas_hosts.iter().map(String::as_str);
    let own = LOOPBACK.into_iter().filter(|_| !setup.include_localhost);
    let wanted = |entry: &&str| !(setup.include_localhost && is_loopback(entry));
    distinct(parents.chain(hosts).filter(wanted).chain(own).map(str::to_owned)).join(",")
}

fn is_loopback(entry: &str) -> bool {
    let host = entry.trim_start_matches('[').trim_end_matches(']');
    LOOPBACK.contains(&host) || host.starts_with("127.") || host.ends_with(".localhost")
}

/// Java reads only this variable. Our options are added to the parent's.
fn java(setup: &AgentSetup<'_>, parent: Option<String>) -> String {
    let host = setup.proxy.host_str().unwrap_or_default();
    let port = setup.proxy.port_or_known_default().unwrap_or_default();
    let own = if setup.include_localhost { "" } else { JAVA_LOOPBACK };
    // Java takes the last one, so ours includes the parent's hosts.
    let parents = parent.iter().flat_map(|options| options.split_whitespace()).filter_map(non_proxy_hosts);
    let parents = parents.flat_map(|hosts| hosts.split('|'));
    let parents = parents.filter(|host| !matches!(*host, "" | "*"));
    let parents = parents.filter(|host| !(setup.include_localhost && is_loopback(host)));
    let direct = distinct(parents.chain(own.split('|').filter(|host| !host.is_empty()))).join("|");
    let parent = parent.filter(|options| !options.is_empty()).map(|options| options + " ").unwrap_or_default();
    let store = quoted_for_java(&setup.files.trust_store.display().to_string());
    format!(
        "{parent}-Dhttp.proxyHost={host} -Dhttp.proxyPort={port} -Dhttps.proxyHost={host} -Dhttps.proxyPort={port} \
         -Dhttp.nonProxyHosts={direct} -Djavax.net.ssl.trustStore={store} \
         -Djavax.net.ssl.trustStorePassword={TRUST_STORE_PASSWORD} -Djavax.net.ssl.trustStoreType=PKCS12"
    )
}

/// A value that has white space or quotes, for `JAVA_TOOL_OPTIONS`: Java removes quotes, wherever they stand.
fn quoted_for_java(value: &str) -> String {
    match value.contains(|c: char| c.is_ascii_whitespace() || matches!(c, '"' | '\'')) {
        // Nothing escapes a quote, so each stands in quotes of the other kind.
        true => value
            .split_inclusive('"')
            .map(|part| match part.strip_suffix('"') {
                Some(part) => format!("\"{part}\"'\"'"),
                None => format!("\"{part}\""),
            })
            .collect(),
        false => value.to_owned(),
    }
}

/// The hosts that one of Java's options excepts.
fn non_proxy_hosts(option: &str) -> Option<&str> {
    option.trim_matches(['"', '\'']).strip_prefix(JAVA_NON_PROXY_HOSTS)
}

/// Warnings about variables of the parent that keep calls away from us or have no effect here, with what to type.
pub(super) fn warnings(parent: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let value = |name: &str| parent(name).filter(|value| !value.trim().is_empty());
    let mut all = Vec::new();
    let excepts_all = |name: &&str| value(name).is_some_and(|list| list.split([',', ' ']).any(|entry| entry == "*"));
    let excepting = ["no_proxy", "NO_PROXY"].iter().chain(&EXCEPTIONS_OF_ONE_CLIENT).filter(|name| excepts_all(name));
    all.extend(excepting.map(|name| {
        format!(
            "{name} contains `*`, which would exclude all calls, so `*` is ignored; put `env -u {name}` before the command to avoid this line"
        )
    }));
    for name in STRONGER_JAVA {
        let set = value(name).unwrap_or_default();
        let options = named_options(&set, |_| true);
        if !options.is_empty() {
            all.push(format!(
                "{name} has {options}, which Java prefers to the settings of `otas-proxy`, so Java's calls may bypass it; start with `env -u {name}`"
            ));
        }
    }
    let java = value("JAVA_TOOL_OPTIONS").unwrap_or_default();
    let replaced = named_options(&java, |option| option.starts_with("-Dhttp") && option != JAVA_NON_PROXY_HOSTS);
    if !replaced.is_empty() {
        all.push(format!(
            "JAVA_TOOL_OPTIONS has {replaced}, which this proxy replaces; if calls must still go through it, set OTAS_UPSTREAM_PROXY=http://HOST:PORT"
        ));
    }
    let socks = named_options(&java, |option| option == JAVA_SOCKS);
    if !socks.is_empty() {
        all.push(format!(
            "JAVA_TOOL_OPTIONS has {socks}, which Java would use for its connections: remove it from JAVA_TOOL_OPTIONS, or use --no-java"
        ));
    }
    // A proxy for all clients becomes the next proxy, so nothing is lost.
    if !PROXY.iter().any(|name| value(name).is_some()) && value("OTAS_UPSTREAM_PROXY").is_none() {
        all.extend(of_one_client(&value));
    }
    all
}

/// The variables that name a proxy for one client each, in a line.
fn of_one_client(value: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let set: Vec<(&str, String)> = OF_ONE_CLIENT.iter().filter_map(|name| Some((*name, value(name)?))).collect();
    let (first, proxy) = set.first()?;
    let names = set.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let (verb, each, place) = match set.len() {
        1 => ("names", "", "its"),
        _ => ("name", " each", "their"),
    };
    // What is set there is not shown: it may hold a password.
    let goes_on = match set.iter().all(|(_, other)| other == proxy) {
        true => format!("set OTAS_UPSTREAM_PROXY=\"${first}\""),
        false => "set OTAS_UPSTREAM_PROXY to one of them: they differ".to_owned(),
    };
    Some(format!(
        "{names} {verb} a proxy for one client{each}; this proxy takes {place} place. If calls must still go through it, {goes_on}"
    ))
}

/// Which of Java's options for proxies stand in `set`, without their values.
fn named_options(set: &str, wanted: impl Fn(&str) -> bool) -> String {
    let found = JAVA_PROXY.iter().filter(|option| wanted(option) && set.contains(**option));
    found.map(|option| option.trim_end_matches('=')).collect::<Vec<_>>().join(", ")
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.fold(Vec::new(), |mut kept, item| {
        if !kept.contains(&item) {
            kept.push(item);
        }
        kept
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn files() -> AgentFiles {
        let at = |name: &str| PathBuf::from("/ca").join(name);
        AgentFiles {
            added: at("ca.pem"),
            bundle: at("bundle.pem"),
            trust_store: at("truststore.p12"),
            php_dir: at("php"),
            wgetrc: at("wgetrc"),
        }
    }

    fn setup(files: &AgentFiles) -> AgentSetup<'_> {
        AgentSetup {
            proxy: "http://127.0.0.1:8080".parse().unwrap(),
            files,
            run_id: Some("r"),
            otas_hosts: vec!["otas.example".to_owned()],
            include_localhost: false,
            java: true,
            preload: None,
        }
    }

    fn given(setup: &AgentSetup<'_>, parent: &[(&str, &str)]) -> BTreeMap<&'static str, String> {
        let parent: BTreeMap<String, String> =
            parent.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        for_agent(setup, &|name| parent.get(name).cloned()).into_iter().collect()
    }

    #[test]
    fn both_cases_of_every_proxy_variable_and_the_two_files() {
        let (files, parent) = (files(), []);
        let all = given(&setup(&files), &parent);
        for name in PROXY {
            assert_eq!(all[name], "http://127.0.0.1:8080");
        }
        for name in REPLACING {
            assert_eq!(all[name], "/ca/bundle.pem");
        }
        for name in ADDING {
            assert_eq!(all[name], "/ca/ca.pem");
        }
        assert_eq!((&*all["WGETRC"], &*all["PHP_INI_SCAN_DIR"]), ("/ca/wgetrc", ":/ca/php"));
        assert_eq!((&*all["NODE_USE_ENV_PROXY"], &*all["OTAS_PROXY_RUN_ID"]), ("1", "r"));
        assert!(!all.contains_key("NODE_OPTIONS") && !all.contains_key("PYTHONPATH"));
        assert!(!all.contains_key("NODE_TLS_REJECT_UNAUTHORIZED"));
    }

    #[test]
    fn javas_option_with_a_path_that_has_spaces_is_quoted() {
        for (folder, wanted) in [
            ("/a b/ca", "=\"/a b/ca/truststore.p12\" "),
            ("/it's", "=\"/it's/truststore.p12\" "),
            ("/a\"b", "=\"/a\"'\"'\"b/truststore.p12\" "),
        ] {
            let files = AgentFiles { trust_store: PathBuf::from(folder).join("truststore.p12"), ..files() };
            let java = &given(&setup(&files), &[])["JAVA_TOOL_OPTIONS"];
            assert!(java.contains(&format!("-Djavax.net.ssl.trustStore{wanted}")), "{java}");
        }
    }

    #[test]
    fn hosts_that_are_called_directly_are_the_parents_otas_and_this_machine() {
        let files = files();
        let all =
            given(&setup(&files), &[("NO_PROXY", "corp.example, .corp.example,localhost"), ("no_proxy", "a.test")]);
        let wanted = "a.test,corp.example,.corp.example,localhost,otas.example,127.0.0.1,::1";
        assert_eq!((&*all["NO_PROXY"], &*all["no_proxy"]), (wanted, wanted));
        let including = AgentSetup { include_localhost: true, ..setup(&files) };
        let all = given(&including, &[("NO_PROXY", "corp.example,localhost,127.0.0.1,[::1]")]);
        assert_eq!(all["NO_PROXY"], "corp.example,otas.example");
        assert!(all["JAVA_TOOL_OPTIONS"].contains("-Dhttp.nonProxyHosts= "));
    }

    #[test]
    fn variables_of_single_clients_name_the_proxy_too() {
        let files = files();
        let parent = [
            ("NPM_CONFIG_PROXY", "http://corp:1"),
            ("npm_config_noproxy", "a.example,*"),
            ("PIP_PROXY", "http://corp:1"),
            ("NO_PROXY", "b.example,*"),
            ("JAVA_TOOL_OPTIONS", "-Dhttp.nonProxyHosts=*.corp.example|localhost|* -Dhttp.proxyHost=corp"),
        ];
        let all = given(&setup(&files), &parent);
        assert_eq!(
            (&*all["NPM_CONFIG_PROXY"], &*all["PIP_PROXY"]),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080")
        );
        assert!(!all.contains_key("npm_config_proxy") && !all.contains_key("CARGO_HTTP_PROXY"));
        assert_eq!(
            all["NO_PROXY"], "b.example,otas.example,localhost,127.0.0.1,::1",
            "with `*` no call would reach us"
        );
        assert_eq!(all["npm_config_noproxy"], "a.example,b.example,otas.example,localhost,127.0.0.1,::1");
        let java = &all["JAVA_TOOL_OPTIONS"];
        assert!(java.contains(" -Dhttp.nonProxyHosts=*.corp.example|localhost|127.*|[::1] "), "{java}");
    }

    #[test]
    fn reasons_for_no_calls_are_named_with_the_command_to_type() {
        let said = |parent: &[(&str, &str)]| {
            warnings(&|name| parent.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
                .join("\n")
        };
        assert_eq!(said(&[("NO_PROXY", "a.example"), ("JAVA_TOOL_OPTIONS", "-Xmx1g -Dhttp.nonProxyHosts=a")]), "");
        assert!(said(&[("NO_PROXY", "a.example, *")]).contains("`env -u NO_PROXY`"));
        assert!(said(&[("JDK_JAVA_OPTIONS", "-Dhttp.nonProxyHosts=*")]).contains("`env -u JDK_JAVA_OPTIONS`"));
        assert!(said(&[("_JAVA_OPTIONS", "-Dhttps.proxyHost=corp")]).contains("`env -u _JAVA_OPTIONS`"));
        assert!(
            said(&[("JAVA_TOOL_OPTIONS", "-Dhttps.proxyHost=corp")]).contains("OTAS_UPSTREAM_PROXY=http://HOST:PORT")
        );
        assert!(said(&[("JAVA_TOOL_OPTIONS", "-DsocksProxyHost=corp")]).contains("--no-java"));
        let npm = said(&[("npm_config_https_proxy", "http://me:hunter2@corp:1")]);
        assert!(npm.contains("OTAS_UPSTREAM_PROXY=\"$npm_config_https_proxy\"") && !npm.contains("hunter2"), "{npm}");
        assert_eq!(said(&[("npm_config_proxy", "http://corp:1"), ("HTTPS_PROXY", "http://corp:1")]), "");
        let same = said(&[("PIP_PROXY", "http://corp:1"), ("npm_config_proxy", "http://corp:1")]);
        assert!(same.contains("npm_config_proxy, PIP_PROXY name a proxy for one client each"), "{same}");
        assert!(same.contains("OTAS_UPSTREAM_PROXY=\"$npm_config_proxy\""), "{same}");
        let differ =
            said(&[("PIP_PROXY", "http://b:1"), ("npm_config_proxy", "http://corp:1"), ("wss_proxy", "c:1")]);
        assert!(differ.contains("npm_config_proxy, PIP_PROXY, wss_proxy name") && differ.contains("they differ"));
        let lists = said(&[("NO_PROXY", "*"), ("no_proxy", "*"), ("npm_config_noproxy", "*")]);
        assert!(
            ["`env -u NO_PROXY`", "`env -u no_proxy`", "`env -u npm_config_noproxy`"]
                .iter()
                .all(|it| lists.contains(it))
        );
        let java = said(&[("JAVA_TOOL_OPTIONS", "-Dhttp.proxyHost=a -Dhttps.proxyHost=b -DsocksProxyHost=c")]);
        assert!(
            java.contains("-Dhttp.proxyHost, -Dhttps.proxyHost, which") && java.contains("has -DsocksProxyHost,"),
            "{java}"
        );
    }

    #[test]
    fn with_preload_node_and_python_load_our_files_beside_the_parents() {
        let (files, tmp) = (files(), tempfile::tempdir().unwrap());
        let preload = Preload::write(tmp.path()).unwrap();
        let setup = AgentSetup { preload: Some(&preload), ..setup(&files) };
        let all = given(&setup, &[("NODE_OPTIONS", "--no-warnings"), ("PYTHONPATH", "/mine")]);
        let at = tmp.path().join("preload").display().to_string();
        assert_eq!(all["NODE_OPTIONS"], format!("--no-warnings --require {at}/preload.cjs"));
        assert_eq!(all["PYTHONPATH"], format!("{at}/python:/mine"));
        assert_eq!(all["NODE_USE_ENV_PROXY"], "1");
    }

    #[test]
    fn the_parents_values_are_kept_and_added_to() {
        let files = files();
        let parent =
            [("JAVA_TOOL_OPTIONS", "-Xmx1g"), ("PHP_INI_SCAN_DIR", "/etc/php"), ("WGETRC", "/home/u/.wgetrc")];
        let all = given(&setup(&files), &parent);
        assert!(all["JAVA_TOOL_OPTIONS"].starts_with("-Xmx1g -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=8080 "));
        assert_eq!(all["PHP_INI_SCAN_DIR"], "/etc/php:/ca/php");
        assert!(!all.contains_key("WGETRC"));
        assert!(!given(&AgentSetup { java: false, ..setup(&files) }, &[]).contains_key("JAVA_TOOL_OPTIONS"));
        let named = parent_bundles(&|name| {
            (name == "SSL_CERT_FILE" || name == "CURL_CA_BUNDLE").then(|| "/etc/b.pem".into())
        });
        assert_eq!((named.replacing, named.adding), (vec![PathBuf::from("/etc/b.pem")], Vec::new()));
    }
}
