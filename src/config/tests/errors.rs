//! Errors name the place, the key and what was expected.

use super::*;

#[test]
fn each_error_names_its_place_its_key_and_what_was_expected() {
    let cases = [
        ("[otas]\nbrian_url = \"http://b\"", "2:1: otas.brian_url: unknown key; did you mean `otas.brain_url`?"),
        ("\nbrain_url = \"http://b\"", "2:1: brain_url: unknown key; did you mean `otas.brain_url`?"),
        ("otas.brian_url = 1", "1:6: otas.brian_url: unknown key; did you mean `otas.brain_url`?"),
        ("[store]\ncolour = 1", "2:1: store.colour: unknown key; the keys here are path"),
        (
            "[event]\nteam = \"x\"",
            "2:1: event.team: unknown key; the keys here are error_from_status, prices_file, properties",
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
            "2:13: otas.agent_key: expected a key or token: it is empty; to leave it unset, remove it",
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
            "2:17: delivery.max_in_flight: expected a whole number from 1 to 64: this is out of range",
        ),
        (
            "[delivery]\nmax_in_flight = 99999999999999999999",
            "2:17: delivery.max_in_flight: expected a whole number from 1 to 64: this is out of range",
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
            "4:3: redact.headers: expected a list of header fields such as `[\"x-acme-ticket\", \"*-ticket\"]`: this is not the \
             name of a header field",
        ),
        ("[redact]\nheaders = [\"x-*-y\"]", "2:12: redact.headers: expected a list of header fields"),
        (
            "[redact]\nkeys = \"a\"",
            "2:8: redact.keys: expected a list of names such as `[\"employee_number\"]`, found a text",
        ),
        (
            "[redact]\nkeys = [\"a\"]",
            "2:9: redact.keys: expected a list of names such as `[\"employee_number\"]`: a name has 3",
        ),
        (
            "[redact.patterns]\nacme = \"(\"",
            "2:8: redact.patterns.acme: expected a regular expression: it is not valid: unclosed group",
        ),
        (
            "[redact.patterns]\nacme = \"x*\"",
            "2:8: redact.patterns.acme: expected a regular expression: it matches the empty text",
        ),
        (
            "[redact.patterns]\nacme = \"(a{1000}){1000}\"",
            "2:8: redact.patterns.acme: expected a regular expression: it is too large, so searching with it would take long; \
             limit or lower its repetitions",
        ),
        (
            "[[redact.allow]]\nhosts = [\"a\"]\nrule = [\"x\"]",
            "3:1: redact.allow: expected a list such as `[{ hosts = [\"api.example.com\"], path = \"/v1/*\", rules = \
             [\"key.session_id\"] }]`: an entry has hosts, path, rules, and nothing else",
        ),
        ("[redact]\nallow = [{ hosts = [\"a\"] }]", "2:10: redact.allow: expected a list such as"),
        (
            "[redact]\nallow = [{ hosts = [\"a\"], rules = [\"key.pasword\"] }]",
            "2:9: redact.allow: no such redaction rule; rules are called `header.<name>`, `key.<name>`",
        ),
        ("[redact]\nbudget_ms = 0", "2:13: redact.budget_ms: expected a whole number from 1 to 10000"),
        (
            "[[capture.rules]]\nhosts = [\"a\"]\ncapture = \"nothing\"",
            "3:11: capture.rules: expected one of \"full\", \"headers\", \"metadata\", \"none\": unknown value",
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
fn all_problems_of_all_layers_are_reported_at_once_in_the_order_of_their_places() {
    let case = Case::file("[store]\nfoo = 1\n[proxy]\nvia = 1\n[listen]\nproxy = true\n")
        .env("OTAS_BRAIN_URL", "x")
        .flags(|flags| flags.uasam_url = Some("x".to_owned()));
    let refused = case.refused();
    let places: Vec<&str> = refused.lines().map(|line| line.split(": ").next().unwrap()).collect();
    let expected =
        ["proxy.toml:2:1", "proxy.toml:4:7", "proxy.toml:6:9", "environment OTAS_BRAIN_URL", "flag --uasam-url"];
    assert_eq!(places, expected);
}
