//! Which settings file is read, and where its relative paths start.

use super::*;

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
    assert_eq!(case.refused(), "cannot read the settings file none.toml (named by the flag --config)");
    let case = Case::new().env("OTAS_PROXY_CONFIG", "/none.toml");
    assert_eq!(
        case.refused(),
        "cannot read the settings file /none.toml (named by the environment variable OTAS_PROXY_CONFIG)"
    );
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
