//! Which layer a value comes from, and that each reaches its field.

use std::net::SocketAddr;

use clap::Args as _;

use super::*;

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let case = Case::new();
    assert_eq!(line(&case.loaded(), "otas.brain_url"), pair("http://localhost:8002", "default"));
    let case = case.write("cwd/proxy.toml", "[otas]\nbrain_url = \"http://file:1\"\n");
    assert_eq!(line(&case.loaded(), "otas.brain_url"), pair("http://file:1", "file proxy.toml:2"));
    let case = case.env("OTAS_BRAIN_URL", "https://environment:2");
    assert_eq!(line(&case.loaded(), "otas.brain_url"), pair("https://environment:2", "environment OTAS_BRAIN_URL"));
    let case = case.flags(|flags| flags.brain_url = Some("http://flag:3/base".to_owned()));
    assert_eq!(line(&case.loaded(), "otas.brain_url"), pair("http://flag:3/base", "flag --brain-url"));
    assert_eq!(case.loaded().config.otas.brain_url.as_str(), "http://flag:3/base");
}

#[test]
fn an_empty_variable_is_not_set_and_white_space_around_one_is_dropped() {
    let case = Case::new().env("OTAS_BRAIN_URL", "").env("OTAS_PROJECT_ID", " \n").env("OTAS_AGENT_KEY", "");
    let loaded = case.env("OTAS_UASAM_URL", "http://uasam\n").env("OTAS_PROXY_CONFIG", "").loaded();
    assert_eq!(line(&loaded, "otas.brain_url").1, "default");
    assert_eq!(line(&loaded, "otas.project_id"), pair("not set", "default"));
    assert!(loaded.config.otas.agent_key.is_none());
    assert_eq!(loaded.config.otas.uasam_url.as_str(), "http://uasam/");
}

#[test]
fn every_key_of_the_file_reaches_its_field() {
    let digest = "0a".repeat(32);
    let case = Case::file(&format!(
        "[listen]\nproxy = \"0.0.0.0:0\"\nadmin = \"[::1]:9\"\nallow_clients = [\"10.1.2.3/8\", \"::1\"]\n\
         [otas]\nbrain_url = \"http://b\"\nuasam_url = \"http://u\"\nagent_key = \"{KEY}\"\nsession_token = \"a.b.c\"\n\
         project_id = \"2F1C7C1E93A44BE6A2A40C6F1D8F6E11\"\nproject_domain = \"https://usc.edu\"\n\
         [tls]\nca_dir = \"/ca\"\norigin_ca_file = \"r.pem\"\npassthrough = [\"A.example\", \"*.B.example\"]\n\
         pinned = [{{ hosts = [\"nas.example\"], sha256 = \"{digest}\" }}]\n\
         [proxy]\nvia = true\nconnect_timeout_ms = 1\nshutdown_grace_ms = 0\nagent_connections = 9\n\
         agent_requests_per_second = 8\nstrict_host = true\n\
         [egress]\ndeny = [\"*.bad.example\"]\nallow = [\"10.0.0.0/8:443\"]\nallow_metadata = true\n\
         [capture]\nbody_head_bytes = 0\nbody_tail_bytes = 0x10\nmemory_bytes = 1_000\n\
         rules = [{{ hosts = [\"*.b.example\"], capture = \"headers\" }}, {{ hosts = [\"c\"], capture = \"none\" }}]\n\
         [event]\nerror_from_status = 500\nproperties = {{ team = \"search\", \"a b\" = \"c\" }}\n\
         [redact]\nheaders = [\"X-Acme\", \"*-ticket\"]\nkeys = [\"employee_number\"]\npatterns = {{ acme = \"acme_[0-9]+\" }}\n\
         budget_ms = 7\n[[redact.allow]]\nhosts = [\"a.example:1\"]\npath = \"/v1/*\"\n\
         rules = [\"key.*\", \"pattern.acme\", \"key.employee_number\"]\n\
         [store]\npath = \"s.db\"\n\
         [delivery]\nmax_in_flight = 64\norder = \"strict\"\nattempt_timeout_ms = 2\nbackoff_min_ms = 3\nbackoff_max_ms = 4\n\
         drain_timeout_ms = 5\n"
    ));
    let case = case.flags(|flags| flags.config = Some("proxy.toml".into()));
    let Loaded { config, files, .. } = case.loaded();
    assert_eq!(files, [case.path("cwd/proxy.toml")]);
    assert_eq!(config.listen.proxy, SocketAddr::from(([0, 0, 0, 0], 0)));
    assert_eq!(config.listen.admin.to_string(), "[::1]:9");
    let nets: Vec<String> = config.listen.allow_clients.iter().map(ToString::to_string).collect();
    assert_eq!(nets, ["10.0.0.0/8", "::1/128"]);
    assert_eq!(
        (config.tls.pinned[0].hosts.to_string(), config.tls.pinned[0].sha256),
        ("[\"nas.example\"]".into(), [10; 32])
    );
    assert_eq!((config.proxy.agent_connections, config.proxy.agent_requests_per_second), (9, 8));
    assert!(config.proxy.strict_host && config.egress.allow_metadata);
    assert_eq!(config.egress.deny.to_string(), r#"["*.bad.example"]"#);
    assert_eq!(config.egress.allow.to_string(), r#"["10.0.0.0/8:443"]"#);
    assert_eq!((config.otas.brain_url.as_str(), config.otas.uasam_url.as_str()), ("http://b/", "http://u/"));
    assert_eq!(config.otas.agent_key.unwrap().expose(), KEY);
    assert_eq!(config.otas.session_token.unwrap().expose(), "a.b.c");
    assert_eq!(config.otas.project_id.as_deref(), Some("2f1c7c1e-93a4-4be6-a2a4-0c6f1d8f6e11"));
    assert_eq!(config.otas.project_domain.unwrap().as_str(), "https://usc.edu/");
    assert_eq!(config.tls.ca_dir, PathBuf::from("/ca"));
    assert_eq!(config.tls.origin_ca_file, Some(case.path("cwd/r.pem")));
    assert_eq!(config.tls.passthrough.to_string(), r#"["a.example", "*.b.example"]"#);
    assert!(config.proxy.via);
    assert_eq!((config.proxy.connect_timeout.as_millis(), config.proxy.shutdown_grace.as_millis()), (1, 0));
    assert_eq!((config.capture.body_head_bytes, config.capture.body_tail_bytes), (0, 16));
    assert_eq!(config.capture.memory_bytes, 1000);
    let levels: Vec<_> = config.capture.rules.iter().map(|(hosts, level)| (hosts.to_string(), *level)).collect();
    assert_eq!(levels[0], (r#"["*.b.example"]"#.to_owned(), CaptureLevel::Headers));
    assert_eq!((levels.len(), levels[1].1), (2, CaptureLevel::None));
    assert_eq!(config.event.error_from_status, 500);
    let redact = &config.redact;
    assert_eq!(
        (redact.headers.join(" "), redact.keys.join(" ")),
        ("x-acme *-ticket".into(), "employee_number".into())
    );
    assert_eq!((redact.patterns[0].0.as_str(), redact.patterns[0].1.as_str()), ("acme", "acme_[0-9]+"));
    assert_eq!((redact.allow.len(), redact.budget.as_millis()), (1, 7));
    assert_eq!(
        redact.allow[0].to_string(),
        r#"{ hosts = ["a.example:1"], path = "/v1/*", rules = ["key.*", "pattern.acme", "key.employee_number"] }"#
    );
    let properties = [("team", "search"), ("a b", "c")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(config.event.properties, BTreeMap::from(properties));
    assert_eq!(config.store.path, case.path("cwd/s.db"));
    assert_eq!((config.delivery.max_in_flight, config.delivery.order), (64, Order::Strict));
    let delivery = &config.delivery;
    let times = [delivery.attempt_timeout, delivery.backoff_min, delivery.backoff_max, delivery.drain_timeout];
    assert_eq!(times.map(|time| time.as_millis()), [2, 3, 4, 5]);
}

#[test]
fn every_variable_and_flag_reaches_its_key() {
    let case = Case::new().write("cwd/k", KEY).env("OTAS_SESSION_TOKEN", "a.b.c").flags(|flags| {
        *flags = Flags {
            config: None,
            listen_proxy: Some("127.0.0.1:1".to_owned()),
            listen_admin: Some("127.0.0.1:2".to_owned()),
            brain_url: Some("http://b".to_owned()),
            uasam_url: Some("http://u".to_owned()),
            agent_key_file: Some("k".into()),
            project_id: Some("2f1c7c1e-93a4-4be6-a2a4-0c6f1d8f6e11".to_owned()),
            project_domain: Some("https://d".to_owned()),
            origin_ca_file: Some("r.pem".into()),
            passthrough: vec!["p".to_owned(), "*.q".to_owned()],
            store_path: Some("s.db".into()),
            ca_dir: Some("./ca".into()),
        }
    });
    let loaded = case.loaded();
    let cwd = |path: &str| case.path("cwd").join(path).display().to_string();
    for (key, value, source) in [
        ("listen.proxy", "127.0.0.1:1", "flag --listen-proxy"),
        ("listen.admin", "127.0.0.1:2", "flag --listen-admin"),
        ("otas.brain_url", "http://b", "flag --brain-url"),
        ("otas.uasam_url", "http://u", "flag --uasam-url"),
        ("otas.agent_key_file", &cwd("k"), "flag --agent-key-file"),
        ("otas.session_token", "****", "environment OTAS_SESSION_TOKEN"),
        ("otas.project_id", "2f1c7c1e-93a4-4be6-a2a4-0c6f1d8f6e11", "flag --project-id"),
        ("otas.project_domain", "https://d", "flag --project-domain"),
        ("tls.origin_ca_file", &cwd("r.pem"), "flag --origin-ca-file"),
        ("tls.passthrough", "[\"p\", \"*.q\"]", "flag --passthrough"),
        ("store.path", &cwd("s.db"), "flag --store-path"),
        ("tls.ca_dir", &cwd("ca"), "flag --ca-dir"),
    ] {
        assert_eq!(line(&loaded, key), pair(value, source), "{key}");
    }
    let case = Case::new()
        .env("OTAS_UASAM_URL", "http://u")
        .env("OTAS_PROJECT_DOMAIN", "https://d")
        .env("OTAS_PROJECT_ID", "2f1c7c1e-93a4-4be6-a2a4-0c6f1d8f6e11");
    assert_eq!(line(&case.loaded(), "otas.uasam_url"), pair("http://u", "environment OTAS_UASAM_URL"));
    assert_eq!(line(&case.loaded(), "otas.project_domain"), pair("https://d", "environment OTAS_PROJECT_DOMAIN"));
    assert_eq!(line(&case.loaded(), "otas.project_id").1, "environment OTAS_PROJECT_ID");
}

#[test]
fn the_flags_of_the_table_are_those_of_the_command_line_and_their_help_names_the_variable() {
    let command = with_flag_help(Flags::augment_args(clap::Command::new("otas-proxy"))).unwrap();
    let mut defined: Vec<String> = command.get_arguments().map(|arg| format!("--{}", arg.get_id())).collect();
    for key in keys::all() {
        let Some(flag) = &key.flag else { continue };
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(&flag.name[2..])).expect(flag.name);
        let help = arg.get_help().unwrap().to_string();
        if let Some(variable) = key.variable {
            assert!(help.contains(&format!("[env: {variable}]")), "{}: {help}", flag.name);
        }
        defined.retain(|name| name.replace('_', "-") != flag.name);
    }
    assert_eq!(defined, ["--config"]);
}

#[test]
fn a_port_alone_is_on_loopback_and_other_text_is_refused() {
    for (text, address) in [
        ("9000", Some("127.0.0.1:9000")),
        (":9000", Some("127.0.0.1:9000")),
        ("localhost:9000", Some("127.0.0.1:9000")),
        ("0", Some("127.0.0.1:0")),
        ("[::1]:9", Some("[::1]:9")),
        ("65536", None),
        ("", None),
        (":", None),
        ("host:1", None),
    ] {
        assert_eq!(listen_address(text).map(|address| address.to_string()).as_deref(), address, "{text}");
    }
    let file = |value: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.toml"), format!("[listen]\nproxy = {value}\n")).unwrap();
        let flags = Flags { config: Some(folder.path().join("p.toml")), ..Flags::default() };
        load(&flags, &|name| (name == "HOME").then(|| "/home/x".to_owned()), folder.path())
            .map(|loaded| loaded.config.listen.proxy.to_string())
            .ok()
    };
    assert_eq!(file("9000").as_deref(), Some("127.0.0.1:9000"));
    assert_eq!(file("\"9000\"").as_deref(), Some("127.0.0.1:9000"));
    assert_eq!(file("70000"), None);
}
