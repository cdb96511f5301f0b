//! The program as a user meets it: exit codes, messages, signals.

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use serde_json::Value;

use crate::support::lines::Lines;
use crate::support::program::{Folder, events};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn configured() -> Folder {
    let folder = Folder::new();
    folder.configure("");
    folder
}

fn run(folder: &Folder, arguments: &[&str]) -> Output {
    folder.program().args(arguments).output().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A program that must end by itself.
fn ended(mut child: Child) -> i32 {
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    panic!("it did not end");
}

#[test]
fn run_gives_the_childs_exit_code_and_passes_its_streams() {
    let folder = configured();
    let done = run(&folder, &["run", "--", "sh", "-c", "cat; echo out; echo err >&2; exit 7"]);
    assert_eq!(done.status.code(), Some(7));
    assert_eq!(text(&done.stdout), "out\n");
    assert!(
        text(&done.stderr).contains("err\n") && text(&done.stderr).contains("0 calls, 0 failed, 0 delivered"),
        "{}",
        text(&done.stderr)
    );
    for (command, code, words) in
        [("no-such-program-here", 127, "cannot start `no-such-program-here`"), ("/", 126, "cannot start `/`")]
    {
        let done = run(&folder, &["run", "--", command]);
        assert_eq!(done.status.code(), Some(code), "{command}");
        let said = text(&done.stderr);
        assert!(said.contains(words) && !said.contains("0 calls"), "{said}");
        // Nothing is begun for a command that is not there.
        assert!(code == 126 || said.lines().count() == 1, "{said}");
    }
    let done = run(&folder, &["run", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(done.status.code(), Some(137));
}

#[test]
fn runs_last_line_may_be_json() {
    let folder = configured();
    let done = run(&folder, &["run", "--summary", "json", "--", "true"]);
    let said = text(&done.stderr);
    let summary: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&summary["calls"], &summary["failed"], &summary["trouble"]),
        (&0.into(), &0.into(), &().into()),
        "{said}"
    );
    assert!(summary["run_id"].as_str().is_some_and(|id| id.len() == 36), "{said}");
}

#[test]
fn run_sets_the_variables_that_clients_read_and_the_files_are_there() {
    let folder = configured();
    let script = "set -e; for n in HTTP_PROXY http_proxy HTTPS_PROXY https_proxy ALL_PROXY all_proxy; do \
        eval test \\\"\\$$n\\\" = \\\"$OTAS_PROXY_URL\\\"; done; \
        for n in SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE GIT_SSL_CAINFO AWS_CA_BUNDLE; do eval test -s \\\"\\$$n\\\"; done; \
        test -s \"$NODE_EXTRA_CA_CERTS\"; test \"$NODE_USE_ENV_PROXY\" = 1; \
        grep -c BEGIN \"$NODE_EXTRA_CA_CERTS\"; test $(grep -c BEGIN \"$SSL_CERT_FILE\") -gt 1; echo $OTAS_PROXY_URL";
    let done = run(&folder, &["run", "--", "sh", "-c", script]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stdout).starts_with("1\nhttp://127.0.0.1:"), "{}", text(&done.stdout));
}

#[test]
fn env_prints_what_run_would_set_for_the_proxy_of_the_settings() {
    let folder = configured();
    let done = run(&folder, &["env", "--shell", "bash"]);
    assert!(!done.status.success() && text(&done.stderr).contains("name a port"), "{}", text(&done.stderr));
    let done = run(&folder, &["env", "--listen-proxy", "127.0.0.1:18080"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let script =
        format!("{}echo $https_proxy $NO_PROXY; test -s $SSL_CERT_FILE && test -s $WGETRC", text(&done.stdout));
    let shell = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(shell.status.success(), "{}", text(&shell.stderr));
    assert_eq!(text(&shell.stdout), "http://127.0.0.1:18080 localhost,127.0.0.1,::1\n");
    for shell in ["fish", "pwsh", "dotenv", "docker", "k8s"] {
        let said = text(&run(&folder, &["env", "--shell", shell, "--listen-proxy", "127.0.0.1:18080"]).stdout);
        assert!(said.contains("HTTPS_PROXY") && said.contains("http://127.0.0.1:18080"), "{said}");
    }
    let pod = text(&run(&folder, &["env", "--shell", "k8s", "--listen-proxy", "127.0.0.1:18080"]).stdout);
    assert!(pod.starts_with("env:\n- name: HTTP_PROXY\n  value: \"http://127.0.0.1:18080\"\n"), "{pod}");
    assert!(pod.contains("- name: SSL_CERT_FILE\n  value: \"/run/otas-proxy/bundle.pem\"\n"), "{pod}");
    let mount = "volumeMounts:\n- name: otas-proxy-agent\n  mountPath: \"/run/otas-proxy\"\n  readOnly: true\n";
    assert!(pod.ends_with(mount), "{pod}");
    let said = text(&run(&folder, &["env", "--preload", "--listen-proxy", "127.0.0.1:18080"]).stdout);
    let ca = folder.path().join("ca").display().to_string();
    for line in
        [format!("NODE_OPTIONS='--require {ca}/preload/preload.cjs'"), format!("PYTHONPATH='{ca}/preload/python'")]
    {
        assert!(said.contains(&line), "{said}");
    }
}

#[test]
fn run_passes_signals_on() {
    let folder = configured();
    let script = "trap 'echo got term; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = folder
        .program()
        .args(["run", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = Lines::of(child.stdout.take().unwrap());
    out.with("ready");
    signal(&child, Signal::TERM);
    out.with("got term");
    assert_eq!(ended(child), 3);
}

#[test]
fn a_usage_or_configuration_error_is_exit_code_2_and_says_where() {
    let folder = Folder::new();
    folder.configure("[otas]\nbrian_url = 'http://localhost:1'\n");
    let done = run(&folder, &["serve"]);
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(
        said.contains("proxy.toml:") && said.contains("otas.brian_url") && said.contains("otas.brain_url"),
        "{said}"
    );
    assert_eq!(run(&folder, &["run"]).status.code(), Some(2));
    assert_eq!(run(&folder, &["no-such-command"]).status.code(), Some(2));
    assert_eq!(run(&folder, &["serve", "--config", "not-there.toml"]).status.code(), Some(2));
}

#[test]
fn a_taken_port_and_a_broken_ca_stop_the_start_with_a_clear_message() {
    let folder = Folder::new();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    folder.configure("");
    let done = run(&folder, &["serve", "--listen-proxy", &taken]);
    assert_eq!(done.status.code(), Some(1));
    assert!(
        text(&done.stderr).contains(&taken) && text(&done.stderr).contains("port is taken"),
        "{}",
        text(&done.stderr)
    );
    std::fs::write(folder.path().join("ca/ca.key"), "broken").unwrap();
    let done = run(&folder, &["serve"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(
        text(&done.stderr).contains("ca.key") && text(&done.stderr).contains("not a usable private key"),
        "{}",
        text(&done.stderr)
    );
}

#[test]
fn config_shows_each_value_with_its_source_and_masks_secrets() {
    let folder = Folder::new();
    folder.configure("[capture]\nbody_head_bytes = 1024\n");
    let mut command = folder.program();
    command
        .args(["config", "--brain-url", "http://brain.test:1"])
        .env("OTAS_AGENT_KEY", "agent_abcdefgh_ijklmnopqrstuvwx1234");
    let shown = text(&command.output().unwrap().stdout);
    for (key, value, source) in [
        ("otas.brain_url", "http://brain.test:1", "flag --brain-url"),
        ("otas.agent_key", "****1234", "environment OTAS_AGENT_KEY"),
        ("capture.body_head_bytes", "1024", "proxy.toml:"),
        ("capture.body_tail_bytes", "65536", "default"),
    ] {
        let line = shown.lines().find(|l| l.starts_with(key)).unwrap_or_else(|| panic!("{key} in {shown}"));
        assert!(line.contains(value) && line.contains(source), "{line}");
    }
    assert!(!shown.contains("ijklmnop"));
}

#[test]
fn the_ca_is_shown_and_exported_without_its_key() {
    let folder = configured();
    let shown = text(&run(&folder, &["ca", "show"]).stdout);
    assert!(
        shown.contains("OTAS Proxy CA") && shown.contains("BEGIN CERTIFICATE") && !shown.contains("PRIVATE"),
        "{shown}"
    );
    assert!(run(&folder, &["ca", "export", "out.pem"]).status.success());
    let exported = std::fs::read_to_string(folder.path().join("out.pem")).unwrap();
    assert!(exported.contains("BEGIN CERTIFICATE") && !exported.contains("PRIVATE"));
    let again = run(&folder, &["ca", "export", "out.pem"]);
    assert_eq!(again.status.code(), Some(1), "an existing file is not overwritten");
    assert_eq!(text(&run(&folder, &["ca", "export", "-"]).stdout), exported);
}

#[test]
fn fault_34_a_ca_that_is_not_as_it_should_be_stops_the_start_and_none_is_minted_in_its_place() {
    use std::os::unix::fs::PermissionsExt;
    let folder = configured();
    assert!(run(&folder, &["ca", "show"]).status.success());
    let key = folder.path().join("ca/ca.key");
    let whole = std::fs::read(&key).unwrap();
    let refused = |words: &str| {
        let done = run(&folder, &["serve"]);
        let said = text(&done.stderr);
        assert!(done.status.code() == Some(1) && said.contains("ca.key") && said.contains(words), "{said}");
    };
    std::fs::write(&key, &whole[..whole.len() / 2]).unwrap();
    refused("not a usable private key");
    std::fs::write(&key, &whole).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused("chmod 0600");
    std::fs::remove_file(&key).unwrap();
    std::fs::create_dir(&key).unwrap();
    refused("ca.key");
    std::fs::remove_dir(&key).unwrap();
    refused("is missing");
    assert!(!key.exists(), "no key was made in its place");
}

#[test]
fn fault_34_a_reload_of_broken_settings_keeps_the_old_ones_and_says_why() {
    let folder = configured();
    let mut child = folder.program().arg("serve").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut out, mut said) = (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
    let address = out.with("listening on").trim().rsplit_once("http://").unwrap().1.to_owned();
    out.with("session ");
    folder.configure("[delivery]\nmax_in_flite = 3\n");
    signal(&child, Signal::HUP);
    let line = said.with("SIGHUP");
    assert!(line.contains("those in force stay") && line.contains("did you mean `delivery.max_in_flight`"), "{line}");
    folder.configure("[delivery]\nmax_in_flight = 3\n");
    signal(&child, Signal::HUP);
    let line = said.with("SIGHUP");
    assert!(line.contains("new settings are in force: delivery.max_in_flight"), "{line}");
    std::net::TcpStream::connect(&address).expect("it still listens");
    signal(&child, Signal::TERM);
    assert_eq!(ended(child), 0);
}

#[test]
fn fault_34_a_second_signal_cuts_what_the_first_lets_end_and_both_are_exit_code_0() {
    let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = configured();
    let mut child = folder.program().arg("serve").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut out, mut said) = (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
    let address = out.with("listening on").trim().rsplit_once("http://").unwrap().1.to_owned();
    out.with("session ");
    let url = format!("http://{}/held", origin.local_addr().unwrap());
    let mut agent = Command::new("curl").args(["-sS", "-x", &format!("http://{address}"), &url]).spawn().unwrap();
    // The origin has the call, and does not answer it.
    let (_held, _) = origin.accept().unwrap();
    signal(&child, Signal::TERM);
    said.with("stopping");
    assert!(child.try_wait().unwrap().is_none() && agent.try_wait().unwrap().is_none());
    signal(&child, Signal::TERM);
    let summary = said.with("1 call,");
    assert_eq!(ended(child), 0);
    agent.wait().unwrap();
    assert!(summary.contains("1 call, 1 failed, ") && !summary.contains("given up"), "{summary}");
    let store = otas_proxy::store::Store::open(&folder.path().join("events.db")).unwrap();
    let rows = store.list(&otas_proxy::store::Filter { limit: 9, ..Default::default() }).unwrap();
    assert!(rows.len() == 1 && rows[0].error.starts_with("proxy_shutdown: "), "{rows:?}");
}

#[test]
fn serve_says_where_it_is_and_ends_well_on_sigterm_with_every_event_stored() {
    let folder = configured();
    let mut child = folder.program().arg("serve").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = Lines::of(child.stdout.take().unwrap());
    let address = out.with("listening on").trim().rsplit_once("http://").unwrap().1.to_owned();
    let page = out.with("calls are shown on");
    assert!(page.contains("/?code="), "{page}");
    out.with("ca.pem");
    out.with("embedded collector");
    out.with("session ");
    let called = Command::new("curl")
        .args([
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-x",
            &format!("http://{address}"),
            "http://127.0.0.1:1/nobody",
        ])
        .output()
        .unwrap();
    assert_eq!(text(&called.stdout), "502", "{}", text(&called.stderr));
    let mut said = child.stderr.take().unwrap();
    signal(&child, Signal::TERM);
    assert_eq!(ended(child), 0);
    let mut all = String::new();
    said.read_to_string(&mut all).unwrap();
    assert!(all.contains("1 call, 1 failed, 1 delivered, 0 waiting"), "{all}");
    let [event] = &events(folder.path())[..] else { panic!("one event") };
    assert!(event["error"].as_str().unwrap().starts_with("connect_refused: "), "{event}");
}

#[test]
fn undelivered_events_stay_stored_and_are_reported() {
    let folder = Folder::new();
    folder.configure(
        "[otas]\nbrain_url = 'http://127.0.0.1:2'\nuasam_url = 'http://127.0.0.1:2'\nagent_key = 'agent_a_b'\n\
         [delivery]\ndrain_timeout_ms = 200\n",
    );
    let done = run(&folder, &["run", "--include-localhost", "--", "curl", "-sS", "http://127.0.0.1:1/nobody"]);
    assert!(done.status.success());
    let said = text(&done.stderr);
    assert!(said.contains("1 call, 1 failed, 0 delivered, 1 waiting") && said.contains("stay stored"), "{said}");
}

#[test]
fn the_demo_ends_with_a_table_of_delivered_events() {
    let folder = Folder::new();
    let done = run(&folder, &["demo"]);
    let shown = text(&done.stdout);
    assert!(done.status.success(), "{shown}{}", text(&done.stderr));
    assert!(shown.contains("18 calls, 2 failed, 18 delivered, 0 waiting"), "{shown}");
    for row in
        ["429", "rate_limit_error", "connect_refused", "execute_tool get_issue", "haiku-5-5", "gpt-6.2-sol 8.2k→118"]
    {
        assert!(shown.contains(row), "{row}: {shown}");
    }
    let widest = shown.lines().filter(|line| line.contains("localhost")).map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{shown}");
    // Its last lines are commands that show what they promise.
    let command = shown.lines().find_map(|line| line.strip_prefix("All of it again:")).expect("a command to type");
    let again =
        Command::new("sh").args(["-c", &format!("{command} --json")]).current_dir(folder.path()).output().unwrap();
    let events: Vec<Value> = text(&again.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 18);
    let claude: Vec<&Value> = events.iter().filter(|event| event["path"] == "/v1/messages").collect();
    assert!(claude.iter().all(|call| call["metadata"]["agent"]["name"] == "claude"), "{claude:?}");
    let links = |call: &&Value, name: &str| call["metadata"]["links"][name].is_string();
    let count = |name: &str| claude.iter().filter(|call| links(call, name)).count();
    // All but the title and the first call of the agent and of the sub-agent.
    assert_eq!((claude.len(), count("continues"), count("retry_of")), (10, 7, 1));
    let costs = events.iter().filter(|event| event["custom_properties"]["otas_proxy.llm.cost"].is_number());
    assert_eq!(costs.count(), 11);
    assert!(!text(&again.stdout).contains("demo-secret-that-is-not-logged"));
}

#[test]
fn a_ca_folder_that_cannot_be_used_is_reported_once() {
    let folder = configured();
    let done = run(&folder, &["run", "--ca-dir", "/etc/passwd", "true"]);
    let said = text(&done.stderr);
    assert!(!done.status.success() && said.matches("/etc/passwd/ca.pem").count() == 1, "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn the_next_proxy_is_shown_with_the_scheme_that_was_given() {
    for scheme in ["http", "https", "socks5", "socks5h"] {
        let folder = configured();
        let url = format!("{scheme}://proxy.example:9");
        let done = folder.program().arg("config").env("OTAS_UPSTREAM_PROXY", &url).output().unwrap();
        assert!(text(&done.stdout).contains(&format!("\"{url}\"")), "{}", text(&done.stdout));
    }
}

#[test]
fn a_number_after_events_is_answered_with_the_command_that_shows_it() {
    let done = run(&configured(), &["events", "999"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains("otas-proxy events show 999"), "{}", text(&done.stderr));
}

/// What bash offers for a line whose last word is being typed, by the function that the script registers.
fn completed(folder: &Folder, line: &str) -> Vec<String> {
    const COMPLETE: &str = r#"
        source "$SCRIPT" || exit 1
        function=$(complete -p otas-proxy | sed 's/.*-F \([^ ]*\).*/\1/')
        read -ra COMP_WORDS <<< "$LINE"
        [[ $LINE == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )) COMP_LINE=$LINE COMP_POINT=${#LINE}
        "$function" otas-proxy "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let script = folder.path().join("completions.bash");
    let done = Command::new("bash").args(["-c", COMPLETE]).env("SCRIPT", script).env("LINE", line).output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    text(&done.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_takes_the_completions_and_completes_commands_flags_and_values() {
    let folder = configured();
    let done = run(&folder, &["completions", "bash"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let script = folder.path().join("completions.bash");
    std::fs::write(&script, done.stdout).unwrap();
    assert!(Command::new("bash").arg("-n").arg(&script).status().unwrap().success());
    assert_eq!(completed(&folder, "otas-proxy ev"), ["events"]);
    assert_eq!(completed(&folder, "otas-proxy events --fol"), ["--follow"]);
    assert_eq!(completed(&folder, "otas-proxy ca rot"), ["rotate"]);
    assert_eq!(completed(&folder, "otas-proxy events --state de"), ["delivered", "dead"]);
    let commands = completed(&folder, "otas-proxy ");
    assert!(
        ["serve", "run", "man"].iter().all(|name| commands.iter().any(|offered| offered == name)),
        "{commands:?}"
    );
    assert!(commands.iter().all(|name| name != "ended-run"), "an internal command is offered: {commands:?}");
}

#[test]
fn each_shell_that_help_names_has_completions() {
    for (shell, words) in
        [("zsh", "#compdef otas-proxy"), ("fish", "complete -c otas-proxy"), ("powershell", "otas-proxy")]
    {
        let done = run(&configured(), &["completions", shell]);
        let script = text(&done.stdout);
        assert!(done.status.success() && script.contains(words) && script.contains("include-localhost"), "{shell}");
        assert!(!script.contains("ended-run"), "{shell} offers an internal command");
    }
}

#[test]
fn manual_pages_render() {
    let folder = configured();
    for (arguments, words) in [
        (&["man"][..], &["otas-proxy-run(1)", "Run the proxy until SIGTERM or SIGINT"][..]),
        (&["man", "run"], &["otas-proxy-run", "--include-localhost", "Examples:", "--brain-url"]),
        (&["man", "ca", "rotate"], &["otas-proxy-ca-rotate", "--overlap"]),
    ] {
        let done = run(&folder, arguments);
        let roff = text(&done.stdout);
        assert!(done.status.success() && roff.contains("\n.TH otas-proxy") && roff.contains("\n.SH NAME"), "{roff}");
        assert!(!roff.contains("ended\\-run"), "{arguments:?} shows an internal command");
        let page = folder.path().join("page.1");
        std::fs::write(&page, &done.stdout).unwrap();
        // A system without man has checked the structure above.
        let Ok(rendered) = Command::new("man")
            .arg("--warnings")
            .arg("-l")
            .arg(&page)
            .env("MANPAGER", "cat")
            .env("MANWIDTH", "100")
            .output()
        else {
            continue;
        };
        let (shown, warned) = (text(&rendered.stdout), text(&rendered.stderr));
        assert!(rendered.status.success() && warned.is_empty(), "{arguments:?}: {warned}");
        for words in words {
            assert!(shown.contains(words), "{arguments:?}: {words} is missing in:\n{shown}");
        }
    }
    let pages = folder.path().join("pages");
    std::fs::create_dir(&pages).unwrap();
    assert!(run(&folder, &["man", "--folder", "pages"]).status.success());
    let mut written: Vec<_> = std::fs::read_dir(&pages).unwrap().map(|page| page.unwrap().file_name()).collect();
    written.sort();
    assert!(
        written.contains(&"otas-proxy-ca-rotate.1".into()) && written[0] == "otas-proxy-ca-export.1",
        "{written:?}"
    );
    assert!(!written.iter().any(|page| page.to_string_lossy().contains("-help")), "{written:?}");
    let done = run(&folder, &["man", "nonsense"]);
    assert!(!done.status.success() && text(&done.stderr).contains("no such command"), "{}", text(&done.stderr));
}
