//! Clients that have a proxy in a settings file of their own. They prefer it to the variables that `run` sets, so their calls bypass us.
//!
//! Pure but for [`in_files`]: the text of a file in, the setting that names a proxy out.

use std::path::{Path, PathBuf};

/// A client, the files that it reads, and its settings that name a proxy.
struct Client {
    name: &'static str,
    /// Below the home folder.
    home: &'static [&'static str],
    /// Below the folder in which the command starts.
    here: &'static [&'static str],
    form: Form,
}

/// How a file names a proxy.
enum Form {
    /// One of these names, then `=`, `:` or a space, then the value; in one of these sections, if there are any.
    Lines { names: &'static [&'static str], sections: &'static [&'static str] },
    /// Maven's `<proxy>`, unless `<active>` is false.
    Maven,
}

const CLIENTS: [Client; 10] = [
    Client {
        name: "npm",
        home: &[".npmrc"],
        here: &[".npmrc"],
        form: Form::Lines { names: &["proxy", "https-proxy", "http-proxy"], sections: &[] },
    },
    Client {
        name: "pip",
        home: &[".config/pip/pip.conf", ".pip/pip.conf", "Library/Application Support/pip/pip.conf"],
        here: &[],
        form: Form::Lines { names: &["proxy"], sections: &["global", "install", "download"] },
    },
    Client {
        name: "git",
        home: &[".gitconfig", ".config/git/config"],
        here: &[".git/config"],
        form: Form::Lines { names: &["proxy"], sections: &["http"] },
    },
    Client {
        name: "curl",
        home: &[".curlrc", ".config/curlrc"],
        here: &[],
        form: Form::Lines {
            names: &["proxy", "-x", "--proxy", "socks5", "socks5-hostname", "preproxy"],
            sections: &[],
        },
    },
    Client {
        name: "wget",
        home: &[".wgetrc"],
        here: &[],
        form: Form::Lines { names: &["http_proxy", "https_proxy"], sections: &[] },
    },
    Client { name: "Maven", home: &[".m2/settings.xml"], here: &[], form: Form::Maven },
    Client {
        name: "Gradle",
        home: &[".gradle/gradle.properties"],
        here: &["gradle.properties"],
        form: Form::Lines {
            names: &["systemProp.http.proxyHost", "systemProp.https.proxyHost", "systemProp.socksProxyHost"],
            sections: &[],
        },
    },
    Client {
        name: "Cargo",
        home: &[".cargo/config.toml", ".cargo/config"],
        here: &[".cargo/config.toml", ".cargo/config"],
        form: Form::Lines { names: &["proxy"], sections: &["http"] },
    },
    Client {
        name: "yarn",
        home: &[".yarnrc", ".yarnrc.yml"],
        here: &[".yarnrc", ".yarnrc.yml"],
        form: Form::Lines { names: &["proxy", "https-proxy", "httpProxy", "httpsProxy"], sections: &[] },
    },
    Client {
        name: "conda",
        home: &[".condarc"],
        here: &[],
        form: Form::Lines { names: &["proxy_servers"], sections: &[] },
    },
];

/// Values that switch a setting off.
const OFF: [&str; 5] = ["", "null", "false", "none", "undefined"];
/// A longer file is not one of these.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// A client whose own settings name a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnProxy {
    /// The client's name.
    pub(super) client: &'static str,
    setting: &'static str,
    file: PathBuf,
}

impl std::fmt::Display for OwnProxy {
    /// Never the value: it may have a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { client, setting, file } = self;
        write!(f, "{client} has its own proxy setting (`{setting}` in {})", file.display())
    }
}

/// The clients whose settings files name a proxy, for a command that starts in `here`. One line for each client.
pub(super) fn in_files(home: Option<&Path>, here: &Path) -> Vec<OwnProxy> {
    let below = |folder: &Path, names: &[&str]| names.iter().map(|name| folder.join(name)).collect::<Vec<_>>();
    let of = |client: &Client| {
        let mut files = below(here, client.here);
        files.extend(home.map(|home| below(home, client.home)).unwrap_or_default());
        files.into_iter().find_map(|file| {
            let setting = client.form.names_proxy(&read(&file)?)?;
            Some(OwnProxy { client: client.name, setting, file })
        })
    };
    CLIENTS.iter().filter_map(of).collect()
}

fn read(file: &Path) -> Option<String> {
    let facts = file.metadata().ok()?;
    let bytes = (facts.is_file() && facts.len() <= FILE_MAX_BYTES).then(|| std::fs::read(file).ok()).flatten()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

impl Form {
    /// The setting in this text that names a proxy.
    fn names_proxy(&self, text: &str) -> Option<&'static str> {
        match self {
            Self::Lines { names, sections } => in_lines(text, names, sections),
            Self::Maven => in_maven(text),
        }
    }
}

fn in_lines(text: &str, names: &[&'static str], sections: &[&str]) -> Option<&'static str> {
    let mut counts = sections.is_empty();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with(['#', ';', '!']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            // git's sections may be for one URL: `[http "https://a.test"]`.
            let section = section.split([']', ' ', '"']).next().unwrap_or_default();
            counts = sections.is_empty() || sections.iter().any(|of| of.eq_ignore_ascii_case(section));
            continue;
        }
        let Some((name, value)) = line.split_once(|c: char| c == '=' || c == ':' || c.is_whitespace()) else {
            continue;
        };
        let Some(name) = names.iter().find(|known| known.eq_ignore_ascii_case(name)).filter(|_| counts) else {
            continue;
        };
        let value = value.trim_start_matches(|c: char| c == '=' || c == ':' || c.is_whitespace()).trim();
        let value = value.trim_matches(['"', '\'']);
        let indented = |line: &str| line.starts_with([' ', '\t']) && !line.trim().is_empty();
        // In YAML, the value may be the lines below.
        let has_lines = value.is_empty() && text.lines().nth(at + 1).is_some_and(indented) && line.ends_with(':');
        if has_lines || !OFF.iter().any(|off| off.eq_ignore_ascii_case(value)) {
            return Some(name);
        }
    }
    None
}

fn in_maven(text: &str) -> Option<&'static str> {
    let mut rest = text;
    let mut read = String::with_capacity(text.len());
    while let Some((before, comment)) = rest.split_once("<!--") {
        read.push_str(before);
        rest = comment.split_once("-->").map_or("", |(_, after)| after);
    }
    read.push_str(rest);
    let mut blocks = read.split("<proxy>").skip(1).map(|block| block.split("</proxy>").next().unwrap_or_default());
    blocks.any(|block| !block.split_whitespace().collect::<String>().contains("<active>false")).then_some("<proxy>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(home: &[(&str, &str)], here: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (part, files) in [("home", home), ("here", here)] {
            std::fs::create_dir(folder.path().join(part)).unwrap();
            for (name, text) in files {
                let file = folder.path().join(part).join(name);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, text).unwrap();
            }
        }
        let all = in_files(Some(&folder.path().join("home")), &folder.path().join("here"));
        let root = format!("{}/", folder.path().display());
        all.iter().map(|own| own.to_string().replace(&root, "")).collect()
    }

    #[test]
    fn a_proxy_in_a_clients_own_file_is_found_in_each_form_and_its_value_is_not_shown() {
        let home = [
            (".npmrc", "registry=https://r.test\nhttps-proxy = http://me:hunter2@p.test:3128\n"),
            (".config/pip/pip.conf", "[global]\nindex-url = https://i.test\nproxy = http://p.test:3128\n"),
            (".gitconfig", "[user]\n\tname = a\n[http \"https://g.test\"]\n\tproxy = http://p.test:3128\n"),
            (".curlrc", "# mine\nproxy \"p.test:3128\"\n"),
            (".wgetrc", "https_proxy = http://p.test:3128\n"),
            (".m2/settings.xml", "<settings><proxies><proxy><host>p.test</host></proxy></proxies></settings>"),
            (".gradle/gradle.properties", "systemProp.https.proxyHost=p.test\n"),
            (".cargo/config.toml", "[http]\nproxy = \"p.test:3128\"\n"),
            (".condarc", "channels:\n  - a\nproxy_servers:\n  https: http://p.test:3128\n"),
        ];
        let found = found(&home, &[(".yarnrc.yml", "httpsProxy: \"http://p.test:3128\"\n")]);
        assert_eq!(
            found,
            [
                "npm has its own proxy setting (`https-proxy` in home/.npmrc)",
                "pip has its own proxy setting (`proxy` in home/.config/pip/pip.conf)",
                "git has its own proxy setting (`proxy` in home/.gitconfig)",
                "curl has its own proxy setting (`proxy` in home/.curlrc)",
                "wget has its own proxy setting (`https_proxy` in home/.wgetrc)",
                "Maven has its own proxy setting (`<proxy>` in home/.m2/settings.xml)",
                "Gradle has its own proxy setting (`systemProp.https.proxyHost` in home/.gradle/gradle.properties)",
                "Cargo has its own proxy setting (`proxy` in home/.cargo/config.toml)",
                "yarn has its own proxy setting (`httpsProxy` in here/.yarnrc.yml)",
                "conda has its own proxy setting (`proxy_servers` in home/.condarc)",
            ]
        );
    }

    #[test]
    fn settings_that_are_off_in_comments_or_of_something_else_do_not_count() {
        let home = [
            (".npmrc", "; proxy = http://p.test\nproxy=null\nhttps-proxy=\nnoproxy=a.test\n"),
            (".config/pip/pip.conf", "[other]\nproxy = http://p.test\n[global]\ntimeout = 10\n"),
            (".gitconfig", "[remote \"origin\"]\n\tproxy = http://p.test\n[http]\n\tproxy = \n\tsslVerify = true\n"),
            (".curlrc", "proxy-header \"a: b\"\nnoproxy = a.test\n"),
            (
                ".m2/settings.xml",
                "<settings><!-- <proxy><host>p</host></proxy> --><proxy><active> false </active></proxy></settings>",
            ),
            (".condarc", "proxy_servers:\nchannels:\n  - a\n"),
        ];
        assert_eq!(found(&home, &[]), Vec::<String>::new());
    }
}
