//! What a running proxy takes over, for each setting.

use super::super::keys::{self, Applies, Kind};
use super::*;

/// A value that is not the default, as the settings file writes it, for settings that have no example.
fn another(name: &str) -> &'static str {
    match name {
        "listen.proxy" | "listen.admin" => "\"127.0.0.1:9\"",
        "listen.allow_clients" => "[\"10.0.0.0/8\"]",
        "otas.brain_url" | "otas.uasam_url" => "\"https://otas.example\"",
        "session.agent_processes" => "[\"claude\"]",
        "tls.passthrough" | "upstream.no_proxy" | "egress.deny" | "egress.allow" => "[\"a.example\"]",
        "tls.client_certificates" => "[{ hosts = [\"a.example\"], cert_file = \"c.pem\", key_file = \"k.pem\" }]",
        "tls.pinned" => {
            "[{ hosts = [\"a.example\"], sha256 = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\" }]"
        }
        "capture.rules" => "[{ hosts = [\"a.example\"], capture = \"none\" }]",
        "redact.headers" | "redact.keys" => "[\"ticket\"]",
        "redact.patterns" => "{ acme = \"acme_[0-9]+\" }",
        "redact.allow" => "[{ hosts = [\"a.example\"], rules = [\"key.session_id\"] }]",
        "queue.stream" | "queue.subject_prefix" => "\"fleet\"",
        _ => panic!("`{name}` needs a value here"),
    }
}

/// Settings in which this one has another value.
fn changed(key: &keys::Key) -> Config {
    let (section, leaf) = key.name.split_once('.').unwrap_or(("", key.name));
    let default = (key.show)(&Case::new().loaded().config);
    let value = match (key.kind, key.example, default.as_deref()) {
        (Kind::Section, example, _) => example.unwrap().to_owned(),
        (_, Some(example), _) => example.to_owned(),
        (Kind::Number { least, most }, ..) => {
            if default == Some(least.to_string()) { most } else { least }.to_string()
        }
        // "credential" needs agents.
        _ if key.name == keys::SESSION_SCOPE => "\"process\"".to_owned(),
        (Kind::Choice(names), ..) => {
            format!("{:?}", names().into_iter().find(|name| default.as_deref() != Some(name)).unwrap())
        }
        (Kind::Plain, _, Some("true")) => "false".to_owned(),
        (Kind::Plain, _, Some("false")) => "true".to_owned(),
        _ => another(key.name).to_owned(),
    };
    // What other rules ask for beside it.
    let beside = match key.name {
        "agents" => "[session]\nscope = \"credential\"\n",
        "delivery.backoff_max_ms" => "[delivery]\nbackoff_min_ms = 1\n",
        _ => "",
    };
    let text = match (key.kind, beside.starts_with(&format!("[{section}]"))) {
        (Kind::Section, _) => format!("{beside}{value}\n"),
        (_, true) => format!("{beside}{leaf} = {value}\n"),
        (_, false) => format!("{beside}[{section}]\n{leaf} = {value}\n"),
    };
    let mut config = Case::file(&text)
        .write("cwd/agent.key", KEY)
        .write("cwd/planner.key", OTHER_KEY)
        .write("cwd/planner.secret", "s3cret")
        .write("cwd/otlp.headers", "x-key=v")
        .write("cwd/prices.toml", include_str!("../../../prices.example.toml"))
        .env("OTAS_AGENT_KEY", if key.name == keys::SESSION_TOKEN { KEY } else { "" })
        .unchecked();
    // Of each case, the user's own folders are others.
    let usual = Case::new().loaded().config;
    config.tls.usual_ca_dir = usual.tls.usual_ca_dir;
    config
}

impl Case {
    /// The settings, though they may break rules between settings.
    fn unchecked(self) -> Config {
        match self.load() {
            Ok(loaded) => loaded.config,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn each_setting_stands_in_one_place_and_is_taken_over_from_there() {
    let mut classes = (0, 0);
    for key in keys::all() {
        let (mut defaults, new) = (Case::new().loaded().config, changed(key));
        // Their defaults are below the user's folder.
        if key.name != keys::CA_DIR {
            defaults.tls.ca_dir.clone_from(&new.tls.ca_dir);
        }
        if key.name != keys::STORE_PATH {
            defaults.store.path.clone_from(&new.store.path);
        }
        let differing = |a: &Config, b: &Config| {
            keys::all().filter(|key| (key.part.differs)(a, b)).map(|key| key.name).collect::<Vec<_>>()
        };
        let beside: &[&str] = match key.name {
            "agents" => &["session.scope"],
            "delivery.backoff_max_ms" => &["delivery.backoff_min_ms"],
            "otas.session_token" => &["otas.agent_key"],
            _ => &[],
        };
        let mut expected: Vec<&str> = beside.iter().copied().chain([key.name]).collect();
        let mut found = differing(&defaults, &new);
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{}", key.name);
        (key.part.take)(&mut defaults, &new);
        assert!(!differing(&defaults, &new).contains(&key.name), "{} is not taken over", key.name);
        assert_eq!((key.show)(&defaults), (key.show)(&new), "{}", key.name);
        match key.applies {
            Applies::Live => classes.0 += 1,
            Applies::AtStart => classes.1 += 1,
        }
    }
    assert!(classes.0 > 40 && classes.1 > 10, "{classes:?}");
}

#[test]
fn what_needs_a_restart_is_named_and_stays_as_it_is() {
    let in_force = Case::new().loaded().config;
    let text = "[listen]\nproxy = \"127.0.0.1:9\"\n[proxy]\nvia = true\n[redact]\nkeys = [\"ticket\"]\n";
    let mut new = Case::file(text).loaded().config;
    (new.tls, new.store.path) = (in_force.tls.clone(), in_force.store.path.clone());
    let takeover = Takeover::of(&in_force, &new);
    assert_eq!(takeover.changed, ["proxy.via", "redact.keys"]);
    assert_eq!(takeover.needs_restart, ["listen.proxy"]);
    assert!(takeover.config.proxy.via && takeover.config.listen.proxy == in_force.listen.proxy);
    let again = Takeover::of(&takeover.config, &new);
    assert!(again.changed.is_empty() && again.needs_restart == ["listen.proxy"]);
}

#[test]
fn nothing_is_taken_over_that_would_not_fit_what_stays() {
    let open = "[listen]\nproxy = \"0.0.0.0:8080\"\nallow_clients = [\"10.0.0.0/8\"]\n";
    let in_force = Case::file(open).loaded().config;
    let mut new = Case::file("[proxy]\nvia = true\n").loaded().config;
    (new.tls, new.store.path) = (in_force.tls.clone(), in_force.store.path.clone());
    let takeover = Takeover::of(&in_force, &new);
    assert!(takeover.changed.is_empty());
    assert_eq!(takeover.needs_restart, ["listen.proxy", "listen.allow_clients", "proxy.via"]);
    assert!(!takeover.config.listen.allow_clients.is_empty(), "or everybody could call out through it");
}

#[test]
fn a_new_key_in_the_same_file_is_no_new_setting() {
    let with =
        |key| Case::file("[otas]\nagent_key_file = \"agent.key\"\n").write("cwd/agent.key", key).loaded().config;
    let (in_force, mut new) = (with(KEY), with(OTHER_KEY));
    new.otas.agent_key_file.clone_from(&in_force.otas.agent_key_file);
    (new.tls, new.store.path) = (in_force.tls.clone(), in_force.store.path.clone());
    let takeover = Takeover::of(&in_force, &new);
    assert!(takeover.changed.is_empty() && takeover.needs_restart.is_empty());
    assert_eq!(in_force.files(), [in_force.otas.agent_key_file.clone().unwrap()]);
}
