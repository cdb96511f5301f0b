//! The clients that are called, with the arguments and variables of each.

use std::path::Path;

/// A client, and how it makes one call.
pub(super) struct Client {
    /// In the report, and in the name of the host that it calls.
    pub(super) name: &'static str,
    /// What is looked for on the PATH.
    pub(super) program: &'static str,
    /// Its arguments for a GET of, or below, `https://HOST/`.
    pub(super) arguments: fn(&Place<'_>) -> Vec<String>,
    /// Variables that keep it from touching what is the user's.
    pub(super) set: fn(&Place<'_>) -> Vec<(&'static str, String)>,
    /// It prints its version on stdout before it calls. Without this line it did not get that far.
    pub(super) says_version: bool,
    /// The variable by which it uses a proxy.
    pub(super) proxy: &'static str,
    /// The variable by which it trusts a CA.
    pub(super) trust: &'static str,
    /// Its own settings, which override variables.
    pub(super) own: &'static str,
}

/// Where a call goes, and where files may be put for it.
pub(super) struct Place<'a> {
    pub(super) host: &'a str,
    pub(super) folder: &'a Path,
}

impl Place<'_> {
    fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.host)
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// A script that ends with this code lacks a library: the client is not installed.
pub(super) const LACKING: i32 = 86;

const URLLIB: &str = include_str!("scripts/urllib_get.py");
const REQUESTS: &str = include_str!("scripts/requests_get.py");
const HTTPX: &str = include_str!("scripts/httpx_get.py");
const AIOHTTP: &str = include_str!("scripts/aiohttp_get.py");
const FETCH: &str = include_str!("scripts/fetch.js");
const HTTPS: &str = include_str!("scripts/https.js");
const RUBY: &str = include_str!("scripts/get.rb");
const PHP: &str = include_str!("scripts/get.php");
const MODULE: (&str, &str) = ("fetch.mjs", include_str!("scripts/fetch.mjs"));
const JAVA: (&str, &str) = ("Check.java", include_str!("scripts/Check.java"));
const REQUIREMENTS: (&str, &str) = ("requirements.in", "otas-proxy-check\n");

/// What some clients read from a file only: names in [`Place::folder`], and contents.
pub(super) const FILES: [(&str, &str); 3] = [MODULE, JAVA, REQUIREMENTS];

/// All of them, in the order of the report.
pub(super) const ALL: [Client; 19] = [
    Client {
        trust: "CURL_CA_BUNDLE",
        own: "`~/.curlrc`",
        ..plain("curl", |at| words(&["-sS", "-o", "/dev/null", &at.url("")]))
    },
    Client {
        proxy: "https_proxy",
        trust: "WGETRC",
        own: "the file of `WGETRC`, else `~/.wgetrc` (it needs a line `ca_certificate = …/bundle.pem`), and `/etc/wgetrc`",
        ..plain("wget", |at| words(&["-nv", "--tries=1", "-O", "/dev/null", &at.url("")]))
    },
    Client {
        trust: "GIT_SSL_CAINFO",
        own: "`git config --show-origin --get-regexp '^http'`",
        set: |_| vec![("GIT_TERMINAL_PROMPT", "0".to_owned())],
        ..plain("git", |at| words(&["ls-remote", &at.url("repo.git")]))
    },
    Client { name: "urllib", ..python(|at| words(&["-c", URLLIB, &at.url("")])) },
    Client {
        name: "requests",
        trust: "REQUESTS_CA_BUNDLE",
        own: "`~/.netrc`, and `verify=` in the program",
        ..python(|at| words(&["-c", REQUESTS, &at.url("")]))
    },
    Client { name: "httpx", ..python(|at| words(&["-c", HTTPX, &at.url("")])) },
    Client {
        name: "aiohttp",
        own: "`trust_env=` and `ssl=` in the program",
        ..python(|at| words(&["-c", AIOHTTP, &at.url("")]))
    },
    Client {
        trust: "PIP_CERT",
        own: "`pip config list`, and `REQUESTS_CA_BUNDLE`",
        ..plain("pip", |at| {
            let mut all = words(&[
                "download",
                "--quiet",
                "--disable-pip-version-check",
                "--no-cache-dir",
                "--no-deps",
                "--no-input",
            ]);
            all.extend(words(&[
                "--retries",
                "0",
                "-d",
                &at.file("pip"),
                "--index-url",
                &at.url("simple/"),
                "otas-proxy-check",
            ]));
            all
        })
    },
    Client { name: "node-fetch", ..node(|at| words(&["-e", FETCH, &at.url("")])) },
    Client { name: "node-https", ..node(|at| words(&["-e", HTTPS, &at.url("")])) },
    Client {
        trust: "npm_config_cafile",
        own: "`npm config list`",
        ..plain("npm", |at| {
            words(&[
                "ping",
                "--registry",
                &at.url(""),
                "--cache",
                &at.file("npm"),
                "--fetch-retries=0",
                "--update-notifier=false",
                "--logs-max=0",
            ])
        })
    },
    Client {
        trust: "DENO_CERT",
        says_version: true,
        ..plain("deno", |at| {
            words(&["run", "--allow-net", "--no-prompt", "--quiet", &at.file(MODULE.0), &at.url("")])
        })
    },
    Client {
        trust: "NODE_EXTRA_CA_CERTS",
        says_version: true,
        ..plain("bun", |at| words(&["run", &at.file(MODULE.0), &at.url("")]))
    },
    Client {
        set: |at| {
            vec![
                ("GO111MODULE", "on".to_owned()),
                ("GOFLAGS", "-mod=mod".to_owned()),
                ("GOPROXY", at.url("")),
                ("GONOSUMDB", "*".to_owned()),
                ("GOPATH", at.file("go")),
                ("GOMODCACHE", at.file("go/pkg/mod")),
                ("GOTOOLCHAIN", "local".to_owned()),
            ]
        },
        // Its own download of modules is the client of its standard library, and nothing has to be compiled.
        ..plain("go", |_| words(&["list", "-m", "-versions", "otas-proxy.invalid/check"]))
    },
    Client {
        proxy: "JAVA_TOOL_OPTIONS",
        trust: "JAVA_TOOL_OPTIONS",
        own: "`-D` options on its command line",
        says_version: true,
        ..plain("java", |at| words(&["-XX:TieredStopAtLevel=1", &at.file(JAVA.0), &at.url("")]))
    },
    // It asks for the proxy of `http` whatever it calls.
    Client { proxy: "HTTP_PROXY", says_version: true, ..plain("ruby", |at| words(&["-e", RUBY, &at.url("")])) },
    Client {
        trust: "PHP_INI_SCAN_DIR",
        own: "`php --ini` (`curl.cainfo`)",
        says_version: true,
        ..plain("php", |at| words(&["-r", PHP, "--", &at.url("")]))
    },
    Client {
        trust: "CARGO_HTTP_CAINFO",
        own: "`[http]` in `~/.cargo/config.toml`",
        set: |at| vec![("CARGO_HOME", at.file("cargo"))],
        ..plain("cargo", |at| {
            words(&["search", "--quiet", "--index", &format!("sparse+{}", at.url("index/")), "otas-proxy-check"])
        })
    },
    Client {
        own: "`uv.toml`",
        set: |at| {
            vec![
                ("UV_HTTP_RETRIES", "0".to_owned()),
                ("UV_PYTHON_DOWNLOADS", "never".to_owned()),
                ("UV_CACHE_DIR", at.file("uv")),
            ]
        },
        ..plain("uv", |at| {
            words(&["pip", "compile", "--quiet", "--default-index", &at.url("simple/"), &at.file(REQUIREMENTS.0)])
        })
    },
];

/// Their names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|client| client.name)
}

const fn plain(name: &'static str, arguments: fn(&Place<'_>) -> Vec<String>) -> Client {
    Client {
        name,
        program: name,
        arguments,
        set: |_| Vec::new(),
        says_version: false,
        proxy: "HTTPS_PROXY",
        trust: "SSL_CERT_FILE",
        own: "what the program itself sets",
    }
}

const fn python(arguments: fn(&Place<'_>) -> Vec<String>) -> Client {
    Client { says_version: true, ..plain("python3", arguments) }
}

const fn node(arguments: fn(&Place<'_>) -> Vec<String>) -> Client {
    Client {
        says_version: true,
        trust: "NODE_EXTRA_CA_CERTS",
        own: "`NODE_OPTIONS`, and what the program itself sets",
        ..plain("node", arguments)
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
