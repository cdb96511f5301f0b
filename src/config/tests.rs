use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use clap::Args as _;

use super::keys::Kind;
use super::*;

mod guards;

const KEY: &str = "agent_abcdefgh_ijklmnopqrstuv1234";
const OTHER_KEY: &str = "agent_hgfedcba_zyxwvutsrqpon5678";

/// A folder to work in, a home beside it, and what is set.
struct Case {
    folder: tempfile::TempDir,
    flags: Flags,
    env: BTreeMap<&'static str, String>,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("cwd")).unwrap();
        let home = folder.path().join("home").display().to_string();
        Self { folder, flags: Flags::default(), env: BTreeMap::from([("HOME", home)]) }
    }

    /// A settings file that the user names.
    fn file(text: &str) -> Self {
        Self::found(text).env("OTAS_PROXY_CONFIG", "proxy.toml")
    }

    /// The same file, which merely lies in the working folder.
    fn found(text: &str) -> Self {
        Self::new().write("cwd/proxy.toml", text)
    }

    fn write(self, path: &str, text: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.insert(name, value.to_owned());
        self
    }

    fn flags(mut self, set: impl FnOnce(&mut Flags)) -> Self {
        set(&mut self.flags);
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        load(&self.flags, &|name| self.env.get(name).cloned(), &self.path("cwd"))
    }

    fn loaded(&self) -> Loaded {
        self.load().map_err(|error| error.to_string()).unwrap()
    }

    fn refused(&self) -> String {
        self.load().err().expect("settings that are refused").to_string()
    }
}

/// One line of the report: value and source.
fn line(loaded: &Loaded, key: &str) -> (String, String) {
    let setting = loaded.report().into_iter().find(|setting| setting.key == key).unwrap();
    (setting.value, setting.source.to_string())
}

fn pair(value: &str, source: &str) -> (String, String) {
    (value.to_owned(), source.to_owned())
}

// ---- layers ----

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

// ---- which file, and paths in it ----

#[test]
fn the_file_is_the_flags_else_the_variables_else_the_folders_else_the_users() {
    let file = |port: u16| format!("[listen]\nproxy = \"127.0.0.1:{port}\"\n");
    let case = Case::new();
    assert!(case.loaded().files.is_empty());
    let case = case.write("home/.config/otas-proxy/proxy.toml", &file(1));
    assert_eq!(case.loaded().config.listen.proxy.port(), 1);
    let config_home = case.path("xdg").display().to_string();
    let case = case.write("xdg/otas-proxy/proxy.toml", &file(2)).env("XDG_CONFIG_HOME", &config_home);
    assert_eq!(case.loaded().config.listen.proxy.port(), 2);
    let case = case.write("cwd/proxy.toml", &file(3));
    assert_eq!(case.loaded().config.listen.proxy.port(), 3);
    let case = case.write("cwd/conf/variable.toml", &file(4)).env("OTAS_PROXY_CONFIG", "conf/variable.toml");
    assert_eq!(case.loaded().config.listen.proxy.port(), 4);
    let case = case.write("cwd/flag.toml", &file(5)).flags(|flags| flags.config = Some("./flag.toml".into()));
    assert_eq!(line(&case.loaded(), "listen.proxy"), pair("127.0.0.1:5", "file flag.toml:2"));
}

#[test]
fn a_named_file_that_does_not_exist_is_an_error_that_names_it() {
    let case = Case::new().flags(|flags| flags.config = Some("none.toml".into()));
    assert_eq!(case.refused(), "cannot read the settings file none.toml (named by flag --config)");
    let case = Case::new().env("OTAS_PROXY_CONFIG", "/none.toml");
    assert_eq!(case.refused(), "cannot read the settings file /none.toml (named by environment OTAS_PROXY_CONFIG)");
    let error = case.load().err().unwrap();
    assert!(std::error::Error::source(&error).unwrap().to_string().starts_with("No such file"));
}

#[test]
fn an_unreadable_file_in_the_working_folder_is_an_error_not_no_file() {
    let case = Case::new();
    fs::create_dir(case.path("cwd/proxy.toml")).unwrap();
    assert_eq!(case.refused(), "cannot read the settings file proxy.toml (found in the working folder)");
}

#[test]
fn relative_paths_start_from_the_files_folder_and_those_of_flags_from_the_working_folder() {
    let text = "[tls]\nca_dir = \"certs\"\n[store]\npath = \"../data/s.db\"\n";
    let case = Case::new().write("etc/x.toml", text);
    let config = case.path("etc/x.toml");
    let case = case.flags(|flags| {
        flags.config = Some(config);
        flags.origin_ca_file = Some("roots.pem".into());
    });
    let loaded = case.loaded();
    assert_eq!(loaded.config.tls.ca_dir, case.path("etc/certs"));
    assert_eq!(loaded.config.store.path, case.path("etc/../data/s.db"));
    assert_eq!(loaded.config.tls.origin_ca_file, Some(case.path("cwd/roots.pem")));
}

#[test]
fn our_own_files_default_to_the_users_data_folder_and_without_one_must_be_set() {
    let case = Case::new();
    assert_eq!(case.loaded().config.tls.ca_dir, case.path("home/.local/share/otas-proxy/ca"));
    let case = case.env("XDG_DATA_HOME", "/data");
    assert_eq!(case.loaded().config.store.path, PathBuf::from("/data/otas-proxy/otas-proxy.db"));

    let case = Case::new().env("HOME", "");
    let lines = case.refused();
    assert!(lines.starts_with("tls.ca_dir: neither XDG_DATA_HOME nor HOME names a folder for it"), "{lines}");
    assert_eq!(lines.lines().count(), 2);
    let case = case.flags(|flags| {
        flags.ca_dir = Some("/ca".into());
        flags.store_path = Some("/s.db".into());
    });
    assert_eq!(case.loaded().config.store.path, PathBuf::from("/s.db"));
}

// ---- the agent key and other secrets ----

#[test]
fn the_key_file_is_read_and_its_key_stands_where_the_file_was_named() {
    let case = Case::file("[otas]\nagent_key_file = \"agent.key\"\n").write("cwd/agent.key", &format!("{KEY}\n"));
    let loaded = case.loaded();
    assert_eq!(loaded.config.otas.agent_key.as_ref().unwrap().expose(), KEY);
    assert_eq!(line(&loaded, "otas.agent_key"), pair("****1234", "file proxy.toml:2"));
    assert_eq!(loaded.config.otas.agent_key_file, Some(case.path("cwd/agent.key")));
}

#[test]
fn a_key_of_a_higher_layer_replaces_key_and_key_file_below() {
    let case = Case::file("[otas]\nagent_key_file = \"missing.key\"\n").env("OTAS_AGENT_KEY", OTHER_KEY);
    let loaded = case.loaded();
    assert_eq!(line(&loaded, "otas.agent_key"), pair("****5678", "environment OTAS_AGENT_KEY"));
    assert_eq!(line(&loaded, "otas.agent_key_file"), pair("not set", "default"));

    let case = case.write("cwd/flag.key", KEY).flags(|flags| flags.agent_key_file = Some("flag.key".into()));
    let loaded = case.loaded();
    assert_eq!(loaded.config.otas.agent_key.as_ref().unwrap().expose(), KEY);
    assert_eq!(line(&loaded, "otas.agent_key"), pair("****1234", "flag --agent-key-file"));
}

#[test]
fn key_and_key_file_in_one_file_is_an_error() {
    let text = format!("[otas]\nagent_key = \"{KEY}\"\nagent_key_file = \"k\"\n");
    let case = Case::file(&text).write("cwd/k", KEY);
    assert_eq!(
        case.refused(),
        "proxy.toml:3:18: otas.agent_key_file: set beside `otas.agent_key`; keep one of the two"
    );
}

#[test]
fn a_key_file_that_is_missing_empty_or_not_a_key_is_named() {
    let case = Case::file("[otas]\nagent_key_file = \"agent.key\"\n");
    let path = case.path("cwd/agent.key").display().to_string();
    let place = "proxy.toml:2:18: otas.agent_key_file: ";
    let refused = case.refused();
    assert!(refused.starts_with(&format!("{place}cannot read {path}: No such file")), "{refused}");
    let case = case.write("cwd/agent.key", " \n");
    assert_eq!(case.refused(), format!("{place}{path} holds no agent key: it is empty"));
    let case = case.write("cwd/agent.key", "agent key\n");
    assert!(case.refused().starts_with(&format!("{place}{path} holds no agent key: it holds a space")));
}

#[test]
fn a_session_token_without_an_agent_key_is_an_error() {
    let refused = Case::new().env("OTAS_SESSION_TOKEN", "a.b.c").refused();
    let expected = "environment OTAS_SESSION_TOKEN: otas.session_token: a session token is of use only beside the \
                    agent key that it was made with; set `otas.agent_key`";
    assert!(refused.starts_with(expected), "{refused}");
    let case = Case::file("[otas]\nsession_token = \"a.b.c\"\n").env("OTAS_AGENT_KEY", KEY);
    assert_eq!(case.loaded().config.otas.session_token.unwrap().expose(), "a.b.c");
}

#[test]
fn no_report_and_no_error_shows_a_secret_even_in_the_wrong_place() {
    let case = Case::new().env("OTAS_AGENT_KEY", KEY).env("OTAS_SESSION_TOKEN", "header.payload.signature");
    let report = format!("{:?}", case.loaded().report());
    assert!(report.contains("****1234") && report.contains("****ture"), "{report}");
    assert!(!report.contains("agent_abc") && !report.contains("payload"), "{report}");

    let secret = "agent_s3cr3t_s3cr3t s3cr3t";
    let wrong = [
        format!("[otas]\nagent_key = \"{secret}\""),
        format!("[otas]\nagent_key = [\"{secret}\"]"),
        "[otas]\nagent_key = agent_s3cr3t".to_owned(),
        "[otas]\nagent_key = \"agent_s3cr3t".to_owned(),
        "[otas]\nagent_key = 'agent_s3cr3t\nx = 1".to_owned(),
        "[otas]\nagent_key \"agent_s3cr3t\"".to_owned(),
        "[otas]\nagent_key = \"agent_\\s3cr3t\"".to_owned(),
        "[otas]\nagent_key = \"a\" s3cr3t".to_owned(),
        "[otas]\nagent_key = 12345678901234567890s3cr3t".to_owned(),
        format!("[otas]\nbrian_url = \"{secret}\""),
        format!("[otas]\nproject_id = \"{secret}\""),
        format!("[otas]\nbrain_url = \"{secret}\""),
        "[otas]\nbrain_url = \"http://me:s3cr3t@host\"".to_owned(),
        "[otas]\nbrain_url = \"s3cr3t:x\"".to_owned(),
        format!("[listen]\nproxy = \"{secret}\""),
        format!("[tls]\npassthrough = [\"{secret}\"]"),
        format!("[proxy]\nvia = \"{secret}\""),
        format!("[delivery]\nmax_in_flight = \"{secret}\""),
        format!("[event]\nproperties = \"{secret}\""),
        format!("otas = \"{secret}\""),
    ];
    for text in wrong {
        let error = Case::file(&text).load().err().expect(&text);
        let said = format!("{error} {error:?}");
        assert!(said.contains("proxy.toml") && !said.contains("s3cr3t"), "{text}\n{said}");
    }
    for variable in ["OTAS_AGENT_KEY", "OTAS_SESSION_TOKEN", "OTAS_PROJECT_ID", "OTAS_BRAIN_URL"] {
        let refused = Case::new().env(variable, secret).refused();
        assert!(refused.contains(variable) && !refused.contains("s3cr3t"), "{refused}");
    }
}

// ---- errors ----

#[test]
fn each_error_names_its_place_its_key_and_what_was_expected() {
    let cases = [
        ("[otas]\nbrian_url = \"http://b\"", "2:1: otas.brian_url: unknown key; did you mean `otas.brain_url`?"),
        ("\nbrain_url = \"http://b\"", "2:1: brain_url: unknown key; did you mean `otas.brain_url`?"),
        ("otas.brian_url = 1", "1:6: otas.brian_url: unknown key; did you mean `otas.brain_url`?"),
        ("[store]\ncolour = 1", "2:1: store.colour: unknown key; known here are path"),
        (
            "[event]\nteam = \"x\"",
            "2:1: event.team: unknown key; known here are error_from_status, prices_file, properties",
        ),
        ("\"otas.brain_url\" = 1", "1:1: \"otas.brain_url\": unknown key; the sections are listen, otas"),
        ("[ota]\nx = 1", "1:2: ota: unknown section; did you mean `otas`?"),
        (
            "[logging]",
            "1:2: logging: unknown section; the sections are listen, otas, session, tls, proxy, upstream, egress, capture, event,",
        ),
        ("otas = 3", "1:8: otas: expected a section `[otas]`, found a whole number"),
        ("[[otas]]\nbrain_url = 1", "1:1: otas: expected a section `[otas]`, found a list"),
        (
            "[otas]\n  brain_url = 80",
            "2:15: otas.brain_url: expected an http or https URL such as `http://localhost:8002`, found a whole number",
        ),
        (
            "[otas.brain_url]\nx = 1",
            "1:1: otas.brain_url: expected an http or https URL such as `http://localhost:8002`, found a table",
        ),
        (
            "[otas]\nbrain_url = \"ftp://b\"",
            "2:13: otas.brain_url: expected an http or https URL such as `http://localhost:8002`: it does not begin \
             with http:// or https://",
        ),
        (
            "[otas]\nagent_key = \"\"",
            "2:13: otas.agent_key: expected a key or token: it is empty (to leave it unset, leave it out)",
        ),
        (
            "[listen]\nproxy = \"127.0.0.1\"",
            "2:9: listen.proxy: expected an IP address and a port such as `127.0.0.1:8080`: the port is missing",
        ),
        (
            "[tls]\npassthrough = [\n  \"a.example\",\n  \"b.example:x\",\n]",
            "4:3: tls.passthrough: expected a host name, a glob, an address or a network, with or without a \
             port: its port is not a number from 1 to 65535",
        ),
        ("[tls]\npassthrough = [\"a\", 1]", "2:21: tls.passthrough: expected a list of hosts such as `[\"api."),
        ("[proxy]\nvia = \"yes\"", "2:7: proxy.via: expected true or false, found a text"),
        (
            "[proxy]\nconnect_timeout_ms = 1.5",
            "2:22: proxy.connect_timeout_ms: expected a whole number from 1 to 86400000, found a number with a fraction",
        ),
        (
            "[delivery]\nmax_in_flight = 0",
            "2:17: delivery.max_in_flight: expected a whole number from 1 to 64: it is outside of that",
        ),
        (
            "[delivery]\nmax_in_flight = 99999999999999999999",
            "2:17: delivery.max_in_flight: expected a whole number from 1 to 64: it is outside of that",
        ),
        (
            "[event.properties]\nteam = \"x\"\nsize = 3",
            "3:8: event.properties.size: expected a text in quotes, found a whole number",
        ),
        (
            "[delivery]\nbackoff_min_ms = 9\nbackoff_max_ms = 8",
            "2:18: delivery.backoff_min_ms: is longer than `delivery.backoff_max_ms`",
        ),
        (
            "[redact]\nheaders = [\n  \"x-ok\",\n  \"x y\",\n]",
            "4:3: redact.headers: expected a list of header fields such as `[\"x-acme-ticket\", \"*-ticket\"]`: it is not the \
             name of a header field",
        ),
        ("[redact]\nheaders = [\"x-*-y\"]", "2:12: redact.headers: expected a list of header fields"),
        (
            "[redact]\nkeys = \"a\"",
            "2:8: redact.keys: expected a list of names such as `[\"employee_number\"]`, found a text",
        ),
        (
            "[redact]\nkeys = [\"a\"]",
            "2:9: redact.keys: expected a list of names such as `[\"employee_number\"]`: it is not 3",
        ),
        (
            "[redact.patterns]\nacme = \"(\"",
            "2:8: redact.patterns.acme: expected a regular expression: this is not a valid one",
        ),
        (
            "[redact.patterns]\nacme = \"x*\"",
            "2:8: redact.patterns.acme: expected a regular expression: it matches where there is nothing",
        ),
        (
            "[redact.patterns]\nacme = \"(a{1000}){1000}\"",
            "2:8: redact.patterns.acme: expected a regular expression: it is too large, so that searching with it would take long; \
             bound or lower its repetitions",
        ),
        (
            "[[redact.allow]]\nhosts = [\"a\"]\nrule = [\"x\"]",
            "3:1: redact.allow: expected a list such as `[{ hosts = [\"api.example.com\"], path = \"/v1/*\", rules = \
             [\"key.session_id\"] }]`: an entry has hosts, path, rules, and nothing else",
        ),
        ("[redact]\nallow = [{ hosts = [\"a\"] }]", "2:10: redact.allow: expected a list such as"),
        (
            "[redact]\nallow = [{ hosts = [\"a\"], rules = [\"key.pasword\"] }]",
            "2:9: redact.allow: names a rule that there is not; rules are called `header.<name>`, `key.<name>`",
        ),
        ("[redact]\nbudget_ms = 0", "2:13: redact.budget_ms: expected a whole number from 1 to 10000"),
        (
            "[[capture.rules]]\nhosts = [\"a\"]\ncapture = \"nothing\"",
            "1:1: capture.rules: expected \"full\" or \"headers\" or \"metadata\" or \"none\": this value is not known",
        ),
        ("[capture]\nrules = [{ capture = \"none\" }]", "2:10: capture.rules: expected a list such as"),
        (
            "[listen]\nadmin = \"127.0.0.1:8080\"",
            "2:9: listen.admin: is the same address as `listen.proxy`; give one of them another port",
        ),
    ];
    for (text, expected) in cases {
        let refused = Case::file(text).refused();
        assert!(refused.starts_with(&format!("proxy.toml:{expected}")), "{text}\n{refused}");
        assert_eq!(refused.lines().count(), 1, "{text}\n{refused}");
    }
}

#[test]
fn a_file_that_is_not_toml_says_where() {
    for (text, place) in [
        ("[otas]\nbrain_url = http://b\n", "proxy.toml:2:13: not valid TOML: "),
        ("[otas\n", "proxy.toml:1:6: not valid TOML: "),
        ("[otas]\nbrain_url\n", "proxy.toml:2:10: not valid TOML: "),
        ("[otas]\nbrain_url = \"http://b\n", "proxy.toml:2:22: not valid TOML: "),
        ("[proxy]\nvia = true\nvia = false\n", "proxy.toml:3:1: not valid TOML: duplicate key"),
    ] {
        let refused = Case::file(text).refused();
        assert!(refused.starts_with(place), "{text}\n{refused}");
    }
}

#[test]
fn a_bad_variable_or_flag_is_named_in_place_of_the_file_position() {
    let uuid = "otas.project_id: expected a UUID such as `2f1c7c1e-93a4-4be6-a2a4-0c6f1d8f6e11`: this is not a UUID";
    let case = Case::new().env("OTAS_PROJECT_ID", "mine");
    assert_eq!(case.refused(), format!("environment OTAS_PROJECT_ID: {uuid}"));
    let case = Case::new().flags(|flags| flags.project_id = Some("mine".to_owned()));
    assert_eq!(case.refused(), format!("flag --project-id: {uuid}"));
    let case = Case::new().flags(|flags| flags.passthrough = vec!["a".to_owned(), "https://b".to_owned()]);
    assert!(case.refused().starts_with("flag --passthrough: tls.passthrough: expected a host name, a glob,"));
    let case = Case::new().flags(|flags| flags.ca_dir = Some(PathBuf::new()));
    assert_eq!(case.refused(), "flag --ca-dir: tls.ca_dir: expected a path: it is empty");
}

#[test]
fn all_problems_of_all_layers_are_told_at_once_in_the_order_of_their_places() {
    let case = Case::file("[store]\nfoo = 1\n[proxy]\nvia = 1\n[listen]\nproxy = true\n")
        .env("OTAS_BRAIN_URL", "x")
        .flags(|flags| flags.uasam_url = Some("x".to_owned()));
    let refused = case.refused();
    let places: Vec<&str> = refused.lines().map(|line| line.split(": ").next().unwrap()).collect();
    let expected =
        ["proxy.toml:2:1", "proxy.toml:4:7", "proxy.toml:6:9", "environment OTAS_BRAIN_URL", "flag --uasam-url"];
    assert_eq!(places, expected);
}

// ---- the repository's own file ----

const OWN_FILE: &str = include_str!("../../proxy.toml");

/// Every setting of the file, the commented-out ones too: section, name and the whole line without its `#`.
fn own_lines() -> Vec<(&'static str, &'static str, &'static str)> {
    let mut section = "";
    let mut lines = Vec::new();
    for line in OWN_FILE.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']);
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| !line.starts_with(' ')) {
            lines.push((section, name, line));
        }
    }
    lines
}

#[test]
fn our_own_file_sets_nothing_so_that_there_is_one_ca_and_one_store() {
    let (found, without) = (Case::found(OWN_FILE).loaded(), Case::new().loaded());
    assert!(found.sources.is_empty());
    assert!(found.config.tls.ca_dir.ends_with("home/.local/share/otas-proxy/ca"));
    assert_eq!(line(&found, "store.path").1, line(&without, "store.path").1);
}

/// The lines that the list has for one setting, uncommented: an example if there is one.
fn example(key: &keys::Key) -> Option<String> {
    let example = key.example?;
    let (section, leaf) = key.name.split_once('.').unwrap_or(("", key.name));
    match key.kind {
        Kind::Section => Some(example.to_owned()),
        _ => Some(format!("[{section}]\n{leaf} = {example}")),
    }
}

#[test]
fn the_parser_takes_each_example() {
    let mut checked = 0;
    for key in keys::all() {
        let Some(text) = example(key) else { continue };
        let scope = if key.name == "agents" { "[session]\nscope = \"credential\"\n" } else { "" };
        let case = Case::file(&format!("{scope}{text}\n"))
            .write("cwd/agent.key", KEY)
            .write("cwd/planner.key", OTHER_KEY)
            .write("cwd/planner.secret", "s3cret")
            .write("cwd/otlp.headers", "x-key=v")
            .write("cwd/prices.toml", include_str!("../../prices.example.toml"))
            .env("OTAS_AGENT_KEY", if key.name == keys::SESSION_TOKEN { KEY } else { "" });
        let (_, source) = line(&case.loaded(), key.name);
        assert!(source.starts_with("file proxy.toml:"), "{}: {source}", key.name);
        checked += 1;
    }
    assert!(checked >= 12, "only {checked}");
}

#[test]
fn the_parser_takes_the_limits_and_the_choices_that_the_list_states_and_nothing_else() {
    let refused = |key: &keys::Key, value: &str| {
        let (section, leaf) = key.name.split_once('.').unwrap();
        let refused = Case::file(&format!("[{section}]\n{leaf} = {value}\n")).load().err();
        // Rules between settings are about other things.
        refused.is_some_and(|error| error.to_string().contains("expected"))
    };
    let mut checked = (0, 0);
    for key in keys::all() {
        match key.kind {
            Kind::Number { least, most } => {
                assert!(!refused(key, &least.to_string()) && !refused(key, &most.to_string()), "{}", key.name);
                assert!(
                    refused(key, &(least - 1).to_string()) && refused(key, &(most + 1).to_string()),
                    "{}",
                    key.name
                );
                checked.0 += 1;
            }
            Kind::Choice(names) => {
                for name in names() {
                    assert!(!refused(key, &format!("{name:?}")), "{} {name}", key.name);
                    assert!(key.meaning.contains(&format!("`{name:?}`")), "{} does not explain {name}", key.name);
                }
                assert!(refused(key, "\"another\""), "{}", key.name);
                checked.1 += 1;
            }
            Kind::Text | Kind::Plain | Kind::Section => {}
        }
    }
    assert!(checked.0 >= 20 && checked.1 == 4, "{checked:?}");
}

#[test]
fn what_our_own_file_shows_commented_out_is_the_default() {
    let defaults = Case::new().loaded();
    let mut checked = 0;
    for (section, name, line) in own_lines() {
        let is_table = ["event.properties", "agents", keys::SINKS].contains(&section);
        let dotted = if is_table { section.to_owned() } else { format!("{section}.{name}") };
        let default = defaults.report().into_iter().find(|setting| setting.key == dotted).unwrap();
        // Examples: the defaults of these depend on the user.
        let is_example = default.value == "not set" || ["tls.ca_dir", "store.path"].contains(&&*dotted);
        if is_example || ["event.properties", "agents", keys::SINKS].contains(&section) {
            continue;
        }
        let named =
            Case::file(&format!("[{section}]\n{line}\n")).flags(|flags| flags.config = Some("proxy.toml".into()));
        let loaded = named.loaded();
        assert_eq!(self::line(&loaded, &dotted), pair(&default.value, "file proxy.toml:2"));
        checked += 1;
    }
    let with_default = defaults.report().into_iter().filter(|setting| setting.value != "not set").count();
    assert_eq!(checked, with_default - ["tls.ca_dir", "store.path", "event.properties"].len());
}

#[test]
fn a_port_alone_is_one_on_loopback_and_what_is_none_is_refused() {
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
