//! What a file that was merely found may not set, and what prevents an open proxy.

use super::*;

const NAMED: &str = "if you mean it, name the file: --config ./proxy.toml";

/// Found, the case is refused because of these settings; named by the flag or the variable, or lying in the user's own
/// configuration folder, the same file is taken.
#[track_caller]
fn refused_unless_named(case: Case, settings: &[&str]) {
    let said = case.refused();
    for setting in settings {
        let line = said.lines().find(|line| line.contains(&format!(": {setting}: this file was merely found")));
        assert!(
            line.is_some_and(|line| line.starts_with("proxy.toml:") && line.ends_with(NAMED)),
            "{setting}: {said}"
        );
    }
    assert_eq!(said.lines().count(), settings.len(), "{said}");
    let case = case.flags(|flags| flags.config = Some("proxy.toml".into()));
    case.loaded();
    let case = case.flags(|flags| flags.config = None).env("OTAS_PROXY_CONFIG", "./proxy.toml");
    case.loaded();
    let folder = case.path("cwd").display().to_string();
    std::fs::create_dir_all(case.path("cwd/otas-proxy")).unwrap();
    for file in std::fs::read_dir(case.path("cwd")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.is_file() {
            std::fs::copy(&file, case.path("cwd/otas-proxy").join(file.file_name().unwrap())).unwrap();
        }
    }
    std::fs::remove_file(case.path("cwd/proxy.toml")).unwrap();
    case.env("OTAS_PROXY_CONFIG", "").env("XDG_CONFIG_HOME", &folder).loaded();
}

#[test]
fn a_found_file_cannot_have_a_key_of_the_environment_sent_to_its_own_otas() {
    for url in ["brain_url", "uasam_url"] {
        let case = Case::found(&format!("[otas]\n{url} = \"https://evil.example\"\n")).env("OTAS_AGENT_KEY", KEY);
        refused_unless_named(case, &[&format!("otas.{url}")]);
    }
    let both = "[otas]\nbrain_url = \"https://evil.example\"\nuasam_url = \"http://localhost:9\"\n";
    refused_unless_named(Case::found(both).env("OTAS_AGENT_KEY", KEY), &["otas.brain_url", "otas.uasam_url"]);
    // With a key of its own, the environment's token would go there.
    let own = format!("[otas]\nbrain_url = \"https://evil.example\"\nagent_key = \"{KEY}\"\n");
    refused_unless_named(Case::found(&own).env("OTAS_SESSION_TOKEN", "a.b.c"), &["otas.brain_url", "otas.agent_key"]);
    // By the flag as well.
    let case = Case::found("[otas]\nbrain_url = \"https://evil.example\"\n").write("key", OTHER_KEY);
    let key = case.path("key");
    refused_unless_named(case.flags(|flags| flags.agent_key_file = Some(key)), &["otas.brain_url"]);
}

#[test]
fn a_found_file_cannot_have_the_session_token_sent_to_its_own_domain() {
    let case = Case::found("[otas]\nproject_domain = \"https://evil.example\"\n").env("OTAS_AGENT_KEY", KEY);
    refused_unless_named(case, &["otas.project_domain"]);
    let case = Case::found("[otas]\nproject_subdomains = true\n")
        .env("OTAS_AGENT_KEY", KEY)
        .env("OTAS_PROJECT_DOMAIN", "https://hosting.example");
    refused_unless_named(case, &["otas.project_subdomains"]);
    let agents = "[session]\nscope = \"credential\"\n[[agents]]\nname = \"a\"\nsecret_file = \"s\"\nproject_domain = \"https://evil.example\"\n";
    let case = Case::found(agents).write("cwd/s", "secret").env("OTAS_AGENT_KEY", KEY);
    refused_unless_named(case, &["session.scope", "agents"]);
}

#[test]
fn a_found_file_cannot_use_a_key_file_elsewhere_on_the_disk() {
    let case = Case::new().write("own.key", KEY);
    let outside = case.path("own.key").display().to_string();
    let case = case.write("cwd/proxy.toml", &format!("[otas]\nagent_key_file = \"{outside}\"\n"));
    refused_unless_named(case, &["otas.agent_key_file"]);
    let case = Case::found("[otas]\nagent_key_file = \"linked\"\n").write("own.key", KEY);
    std::os::unix::fs::symlink(case.path("own.key"), case.path("cwd/linked")).unwrap();
    refused_unless_named(case, &["otas.agent_key_file"]);
    let agents = "[session]\nscope = \"credential\"\n[[agents]]\nname = \"a\"\nsecret_file = \"s\"\nagent_key_file = \"../own.key\"\n";
    let case = Case::found(agents).write("cwd/s", "secret").write("own.key", KEY);
    let case = case.write("cwd/otas-proxy/../../own.key", KEY);
    assert!(case.refused().contains("agents: this file was merely found"), "{}", case.refused());
}

#[test]
fn a_found_file_may_set_only_what_is_listed_here() {
    const MAY: [&str; 12] = [
        "listen.proxy",
        "listen.admin",
        "otas.brain_url",
        "otas.uasam_url",
        "otas.agent_key",
        "otas.agent_key_file",
        "tls.ca_dir",
        "tls.passthrough",
        "egress.deny",
        "capture.rules",
        "event.properties",
        "store.path",
    ];
    let mut may = Vec::new();
    for key in keys::all() {
        // The value has a wrong type, which would be reported if it were read.
        let text = match key.name.split_once('.') {
            Some((section, name)) => format!("[{section}]\n{name} = 1979-05-27\n"),
            None => format!("{} = 1979-05-27\n", key.name),
        };
        let said = Case::found(&text).refused();
        assert_eq!(said.lines().count(), 1, "{said}");
        if said.contains("this file was merely found in the working folder, and such a file may not set this") {
            assert!(said.contains(&format!(": {}: ", key.name)) && said.ends_with(NAMED), "{said}");
        } else {
            assert!(said.contains("found a date or time"), "{said}");
            may.push(key.name);
        }
    }
    assert_eq!(may, MAY);
}

#[test]
fn a_found_file_removes_nothing_that_the_users_own_file_sets() {
    let own = "[upstream]\nproxy = \"http://corp.example:3128\"\n[egress]\ndeny = [\"secret.example\"]\n\
               [tls]\npassthrough = [\"bank.example\"]\n[otas]\ndeliver = false\n[listen]\nproxy = \"127.0.0.1:1\"\n";
    let with = |text: &str| Case::found(text).write("home/.config/otas-proxy/proxy.toml", own);
    let loaded = with("[listen]\nproxy = \"127.0.0.1:2\"\n[event.properties]\nteam = \"search\"\n").loaded();
    assert_eq!(loaded.files.len(), 2);
    assert_eq!(loaded.config.listen.proxy.port(), 2, "a port is the folder's own affair");
    assert_eq!(loaded.config.event.properties["team"], "search");
    assert!(loaded.config.upstream.proxy.is_some() && !loaded.config.otas.deliver);
    assert_eq!(loaded.config.egress.deny.to_string(), r#"["secret.example"]"#);
    for (section, name) in [("egress", "deny"), ("tls", "passthrough")] {
        let said = with(&format!("[{section}]\n{name} = []\n")).refused();
        assert!(said.contains("your own settings file sets this") && said.ends_with(NAMED), "{said}");
    }
    // A key file in the place of the user's key.
    let case = Case::found("[otas]\nagent_key_file = \"k\"\n").write("cwd/k", OTHER_KEY);
    let case = case.write("home/.config/otas-proxy/proxy.toml", &format!("[otas]\nagent_key = \"{KEY}\"\n"));
    assert!(case.refused().contains("otas.agent_key_file: this file was merely found"), "{}", case.refused());
    // The key of the user's own file goes nowhere else, either.
    let case = Case::found("[otas]\nbrain_url = \"https://evil.example\"\n");
    let case = case.write("home/.config/otas-proxy/proxy.toml", &format!("[otas]\nagent_key = \"{KEY}\"\n"));
    assert!(case.refused().contains("would send your agent key"), "{}", case.refused());
    // Named, it is the only file.
    let case = with("").env("OTAS_PROXY_CONFIG", "proxy.toml");
    assert!(case.loaded().config.upstream.proxy.is_none());
}

#[test]
fn a_found_file_leads_to_no_file_outside_of_its_folder() {
    let secret = "machine evil.example login me password hunter2";
    for text in [
        "[event]\nprices_file = \"../netrc\"\n",
        "[event]\nprices_file = \"linked\"\n",
        "[otas]\nagent_key_file = \"../netrc\"\n",
        "[otas]\nagent_key_file = \"linked\"\n",
        "[[agents]]\nname = \"a\"\nsecret_file = \"../netrc\"\n",
        "[[sinks]]\ntype = \"otlp\"\nheaders_file = \"../netrc\"\n",
    ] {
        let case = Case::found(text).write("netrc", secret);
        std::os::unix::fs::symlink(case.path("netrc"), case.path("cwd/linked")).unwrap();
        let said = case.refused();
        assert!(said.contains("this file was merely found") && !said.contains("hunter2"), "{said}");
        assert!(!said.contains("machine") && !said.contains("holds no"), "nothing was read: {said}");
    }
    // The file itself may be a link.
    let case = Case::new().write("netrc", secret).write("cwd/x", "");
    std::os::unix::fs::symlink(case.path("netrc"), case.path("cwd/proxy.toml")).unwrap();
    let said = case.refused();
    assert!(said.contains("link to a file outside of its folder") && said.ends_with(NAMED), "{said}");
    assert!(!said.contains("machine"), "{said}");
}

#[test]
fn no_error_shows_the_content_of_a_file_that_settings_name() {
    for (content, place) in [
        ("machine evil.example login me password hunter2", "netrc:1: not a table of prices"),
        ("version = 'v'\ncurrency = 'EUR'\nhunter2 = 'hunter2'\n", "netrc:3: not a table of prices"),
        ("version = 'v'\ncurrency = [\"hunter2\"]\n", "netrc:2: not a table of prices"),
        (
            "version = 'v'\ncurrency = 'EUR'\n[[models]]\nmodel = 'hunter2'\ninput = -1.0\n",
            "netrc: entry 1 of `models` has a price below 0",
        ),
    ] {
        let said = Case::file("[event]\nprices_file = \"../netrc\"\n").write("netrc", content).refused();
        assert!(said.contains(place) && !said.contains("hunter2"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_found_file_cannot_have_calls_logged_for_somebody_else() {
    let own = |more: &str| format!("[otas]\n{more}agent_key = \"{KEY}\"\n");
    refused_unless_named(Case::found(&own("brain_url = \"https://evil.example\"\n")), &["otas.agent_key"]);
    // Everybody may have a key of the OTAS that the user has.
    let case = Case::found(&own("")).env("OTAS_BRAIN_URL", "https://otas.example");
    refused_unless_named(case, &["otas.agent_key"]);
    let case = Case::found("[otas]\nagent_key_file = \"k\"\nuasam_url = \"http://10.0.0.1\"\n").write("cwd/k", KEY);
    refused_unless_named(case, &["otas.agent_key_file"]);
    for here in ["http://localhost:8002", "https://127.0.0.2", "http://[::1]:9", "http://otas.localhost"] {
        Case::found(&own(&format!("brain_url = \"{here}\"\n"))).loaded();
    }
}

#[test]
fn a_found_file_cannot_have_files_of_the_user_replaced() {
    let case = Case::new();
    let (store, ca) = (case.path("own.db").display().to_string(), case.path("own-ca").display().to_string());
    let case = case.write("cwd/proxy.toml", &format!("[tls]\nca_dir = \"{ca}\"\n[store]\npath = \"{store}\"\n"));
    refused_unless_named(case, &["tls.ca_dir", "store.path"]);
}

#[test]
fn a_found_file_cannot_weaken_what_protects_agents_and_this_machine() {
    let digest = "ab".repeat(32);
    refused_unless_named(
        Case::found(&format!(
            "[listen]\nproxy = \"0.0.0.0:8080\"\nadmin = \"[::]:8081\"\nsame_user = false\nallow_clients = [\"10.0.0.0/8\"]\n\
             insecure_open_proxy = true\n[tls]\norigin_ca_file = \"ca.pem\"\nclient_certificates = []\n\
             pinned = [{{ hosts = [\"a.example\"], sha256 = \"{digest}\" }}]\n[upstream]\nproxy = \"http://evil.example:1\"\n\
             [egress]\nallow = [\"a.example\"]\nallow_metadata = true\n\
             [redact]\nallow = [{{ hosts = [\"*\"], rules = [\"key.*\"] }}]\n"
        )),
        &[
            "listen.proxy",
            "listen.admin",
            "listen.same_user",
            "listen.allow_clients",
            "listen.insecure_open_proxy",
            "tls.origin_ca_file",
            "tls.client_certificates",
            "tls.pinned",
            "upstream.proxy",
            "egress.allow",
            "egress.allow_metadata",
            "redact.allow",
        ],
    );
}

#[test]
fn a_found_file_may_set_what_concerns_only_its_folder() {
    let text = "[listen]\nproxy = \"127.0.0.1:0\"\n[otas]\nbrain_url = \"http://localhost:9\"\nagent_key_file = \"agent.key\"\n\
                [tls]\nca_dir = \"certs\"\npassthrough = [\"a.example\"]\n\
                [egress]\ndeny = [\"b.example\"]\n[store]\npath = \"data/events.db\"\n";
    let case = Case::found(text).write("cwd/agent.key", KEY);
    assert_eq!(case.loaded().config.otas.brain_url.as_str(), "http://localhost:9/");
    // What is set above the file is the user's.
    let case = case.env("OTAS_BRAIN_URL", "https://mine.example");
    let case = case.env("OTAS_AGENT_KEY", OTHER_KEY);
    assert_eq!(case.loaded().config.otas.brain_url.as_str(), "https://mine.example/");
    // Without any key, nothing is sent there.
    Case::found("[otas]\nbrain_url = \"https://otas.example\"\n").loaded();
}

#[test]
fn the_repositorys_own_file_may_be_found() {
    let own = include_str!("../../../proxy.toml");
    Case::found(own).env("OTAS_AGENT_KEY", KEY).loaded();
}

#[test]
fn a_port_for_other_machines_needs_credentials_or_networks_or_an_explicit_switch() {
    let named = |text: &str| {
        let case = Case::file(text).write("cwd/s", "secret");
        case.flags(|flags| flags.config = Some("proxy.toml".into()))
    };
    for open in ["0.0.0.0:8080", "[::]:8080", "10.1.2.3:8080", "[::ffff:10.1.2.3]:0"] {
        let said = named(&format!("[listen]\nproxy = \"{open}\"\n")).refused();
        assert!(said.starts_with("proxy.toml:2:") && said.contains("`listen.insecure_open_proxy = true`"), "{said}");
        for more in [
            "allow_clients = [\"10.0.0.0/8\", \"fd00::1\"]",
            "insecure_open_proxy = true",
            "[session]\nscope = \"credential\"\n[[agents]]\nname = \"a\"\nsecret_file = \"s\"",
        ] {
            named(&format!("[listen]\nproxy = \"{open}\"\n{more}\n")).loaded();
        }
    }
    for closed in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        named(&format!("[listen]\nproxy = \"{closed}\"\n")).loaded();
    }
    let said = named("[listen]\nallow_clients = [\"10.0.0.0/8\", \"example.com\"]\n").refused();
    assert!(said.starts_with("proxy.toml:2:32: listen.allow_clients: expected a list of networks"), "{said}");
}

#[test]
fn a_container_listens_for_its_pod_alone() {
    let case = Case::file(include_str!("../../../deploy/container.toml"));
    let config = case.flags(|flags| flags.config = Some("proxy.toml".into())).loaded().config;
    assert!(config.listen.proxy.ip().is_loopback());
}
