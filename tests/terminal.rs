//! Commands in a terminal: `run`, whose command has the terminal while it runs, and tables that fit it.

use std::process::Stdio;

use otas_proxy::store::Store;

use crate::support::program::{Folder, with_variables_of};
use crate::support::sample::{Sample, append};

/// Runs a program in a terminal of its own, and passes on what appears there.
const IN_A_TERMINAL: &str = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

/// As full-screen programs do: takes the other screen, calls, and gives it back.
const FULL_SCREEN: &str =
    r"printf '\033[?1049h<'; curl -sS -o /dev/null http://127.0.0.1:2/called; printf '>\033[?1049l'";

/// What appears in the terminal, and what goes into a file that standard error is led to.
fn seen(variables: &[(&str, &str)], end: &str) -> (String, String) {
    let folder = Folder::new();
    // Much is logged from the start on: nobody is there to deliver to.
    folder.configure("[otas]\nagent_key = 'agent_0123456789abcdef'\nbrain_url = 'http://127.0.0.1:1'\nuasam_url = 'http://127.0.0.1:1'\n");
    let program = folder.program();
    let mut command = std::process::Command::new("python3");
    command.current_dir(folder.path()).args(["-c", IN_A_TERMINAL, "sh", "-c"]);
    let run = "run --no-wait --include-localhost -- sh -c \"$FULL_SCREEN\"";
    command.arg(format!("\"$PROGRAM\" {run} {end}"));
    with_variables_of(&program, &mut command);
    command.env("PROGRAM", program.get_program()).env("FULL_SCREEN", FULL_SCREEN).env("OTAS_PROXY_LOG", "debug");
    command.env("TERM", "xterm").envs(variables.iter().copied());
    let done = command.stdin(Stdio::null()).output().unwrap();
    let appeared = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{appeared} {}", String::from_utf8_lossy(&done.stderr));
    (appeared, std::fs::read_to_string(folder.path().join("log")).unwrap_or_default())
}

/// Before the full-screen program, in it, and after it.
fn around(appeared: &str) -> (&str, &str, &str) {
    let (before, rest) = appeared.split_once("\u{1b}[?1049h<").unwrap();
    let (within, after) = rest.split_once(">\u{1b}[?1049l").unwrap();
    (before, within, after)
}

/// Whether the text sets a colour or another way of display (ECMA-48, SGR).
fn is_coloured(text: &str) -> bool {
    let ends_in_m = |rest: &str| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m');
    text.split("\u{1b}[").skip(1).any(ends_in_m)
}

#[test]
fn nothing_is_written_into_a_full_screen_program_and_what_waited_comes_after_it_in_colours() {
    let (appeared, _) = seen(&[], "");
    let (before, within, after) = around(&appeared);
    assert_eq!(within, "", "{appeared:?}");
    assert!(before.contains("calls are shown on http://127.0.0.1:"), "{before:?}");
    assert!(after.contains("DEBUG") && after.contains("1 call, 1 failed"), "{after:?}");
    assert!(is_coloured(after), "{after:?}");
}

#[test]
fn colours_are_for_terminals_and_on_request() {
    let (appeared, _) = seen(&[("NO_COLOR", "1")], "");
    let (_, within, after) = around(&appeared);
    assert_eq!(within, "", "{appeared:?}");
    assert!(after.contains("DEBUG") && !is_coloured(after), "{after:?}");
    // The command has a terminal, but our standard error is a file.
    let (appeared, log) = seen(&[], "2>log");
    let (before, within, after) = around(&appeared);
    assert_eq!((before, within, after), ("", "", ""), "{appeared:?}");
    assert!(log.contains("DEBUG") && log.contains("1 call, 1 failed") && !log.contains('\u{1b}'), "{log:?}");
}

/// Runs a program in a terminal with so many columns, and passes on what appears there.
const WITH_COLUMNS: &str = "import fcntl, os, pty, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 24, int(sys.argv[1]), 0, 0))
    os.execvp(sys.argv[2], sys.argv[2:])
try:
    while data := os.read(terminal, 65536):
        sys.stdout.buffer.write(data)
except OSError:
    pass
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

/// What `events` with these arguments shows in a terminal with so many columns.
fn events_in(folder: &Folder, columns: usize, variables: &[(&str, &str)], arguments: &[&str]) -> String {
    shown_in(folder, columns, variables, &[&["events"], arguments].concat())
}

/// What the program with these arguments shows in a terminal with so many columns.
pub(crate) fn in_columns(columns: usize, arguments: &[&str]) -> String {
    shown_in(&Folder::new(), columns, &[], arguments)
}

fn shown_in(folder: &Folder, columns: usize, variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let program = folder.program();
    let mut command = std::process::Command::new("python3");
    command.current_dir(folder.path()).args(["-c", WITH_COLUMNS, &columns.to_string()]).arg(program.get_program());
    with_variables_of(&program, &mut command);
    command.env("TERM", "xterm").envs(variables.iter().copied());
    let done = command.args(arguments).stdin(Stdio::null()).output().unwrap();
    let shown = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{shown}");
    shown
}

/// Runs a program in a terminal of 80 columns. As soon as it prints the address of a page, gets it, and sends Ctrl-C.
const WITH_A_PAGE: &str = "import fcntl, os, pty, re, struct, sys, termios, urllib.request
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    os.execvp(sys.argv[1], sys.argv[1:])
shown, page = b'', None
try:
    while data := os.read(terminal, 65536):
        shown += data
        link = re.search(rb'(http://127[^ ]*code=[^ ]*)\\r\\n', shown)
        if link and page is None:
            browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(), urllib.request.ProxyHandler({}))
            page = browser.open(link[1].decode()).read()
            os.write(terminal, b'\\x03')
except OSError:
    pass
sys.stdout.buffer.write(shown + b'\\n----\\n' + (page or b''))
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

#[test]
fn the_demo_fits_80_columns_and_shows_its_page_until_ctrl_c() {
    let folder = Folder::new();
    let program = folder.program();
    let mut command = std::process::Command::new("python3");
    command.current_dir(folder.path()).args(["-c", WITH_A_PAGE]).arg(program.get_program()).arg("demo");
    with_variables_of(&program, &mut command);
    let done = command.env("TERM", "xterm").stdin(Stdio::null()).output().unwrap();
    let appeared = String::from_utf8_lossy(&done.stdout);
    let (shown, page) = appeared.split_once("\n----\n").unwrap();
    assert!(done.status.success(), "{shown} {}", String::from_utf8_lossy(&done.stderr));
    assert!(is_coloured(shown), "{shown:?}");
    let plain = without_colours(shown);
    let table: Vec<&str> = plain.lines().skip_while(|line| !line.starts_with("id ")).take(20).collect();
    assert_eq!(table.len(), 20);
    assert!(table.iter().all(|line| line.chars().count() <= 80), "{plain}");
    assert!(table.iter().any(|line| line.contains("429")) && table[3].contains("sonnet-5-5"), "{plain}");
    assert!(page.contains("claude-sonnet-5-5") && page.contains("rate_limit_error"), "{page}");
}

/// Without what sets colours.
pub(crate) fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shown, part| shown + part.split_once('m').expect("a colour").1)
}

#[test]
fn the_list_fits_the_terminal_says_what_happened_and_has_colours() {
    let folder = Folder::new();
    folder.configure("");
    let store = Store::open(&folder.path().join("events.db")).unwrap();
    let session = store.begin_session("run-1", "key-1", "{}").unwrap();
    let mut refused = Sample::of("POST", "api.anthropic.com", &format!("/v1/{}", "long/".repeat(40)), 429);
    refused.error = format!("http_429: too many tokens a minute, {}", "wait ".repeat(80));
    let model =
        Sample::model("api.anthropic.com", "/v1/messages", "claude-sonnet-4-5-20250929", (12_345, 512), 2_400.0);
    append(&store, session, &[refused, model]);
    for columns in [40, 60, 80, 120, 250] {
        let shown = events_in(&folder, columns, &[], &[]);
        assert!(is_coloured(&shown), "{shown:?}");
        let plain = without_colours(&shown);
        for line in plain.lines() {
            assert!(line.chars().count() <= columns && !line.chars().any(char::is_control), "{columns}: {line:?}");
        }
        assert!(
            plain.contains("429") && plain.contains("too man") && plain.contains("sonnet-4"),
            "{columns}: {plain}"
        );
        assert!(columns < 120 || plain.contains("sonnet-4-5 12.3k→512 end_turn · pending"), "{plain}");
    }
    for (variables, arguments, coloured) in [
        (&[("NO_COLOR", "1")][..], &[][..], false),
        (&[("TERM", "dumb")], &[], false),
        (&[], &["--color", "never"], false),
        (&[("NO_COLOR", "1")], &["--color", "always"], true),
    ] {
        let shown = events_in(&folder, 80, variables, arguments);
        assert_eq!(is_coloured(&shown), coloured, "{variables:?} {arguments:?}: {shown:?}");
    }
    let run = |force: bool| {
        let mut program = folder.program();
        if force {
            program.env("CLICOLOR_FORCE", "1");
        }
        String::from_utf8(program.arg("events").output().unwrap().stdout).unwrap()
    };
    let piped = run(false);
    assert!(!is_coloured(&piped) && piped.lines().count() == 3, "{piped}");
    assert!(piped.contains(&"wait ".repeat(80)) && piped.contains(&"long/".repeat(40)), "nothing is cut: {piped}");
    assert!(is_coloured(&run(true)));
}

#[test]
fn runs_totals_and_searches_fit_the_terminal() {
    let folder = Folder::new();
    folder.configure("");
    let store = Store::open(&folder.path().join("events.db")).unwrap();
    let session = store.begin_session("0197a8c2-5b7d-7e31-8f60-2c4a9d1e7b55", "key-1", "{}").unwrap();
    let mut call =
        Sample::model("api.anthropic.com", "/v1/messages", "claude-sonnet-4-5-20250929", (12_345, 512), 2_400.0);
    call.llm["otas_proxy.llm.cost"] = 0.5.into();
    call.event["request_body"] = format!("{}needle{}", "before ".repeat(40), " behind".repeat(40)).into();
    append(&store, session, &[call]);
    for (arguments, words) in [
        (&["runs"][..], &["0197a8c", "cost", "0.50"][..]),
        (&["stats"], &["claude-so", "api.anthr", "cost", "0.50"]),
        (&["stats", "--by", "model"], &["claude-so", "cost", "0.50"]),
        (&["search", "needle"], &["needle", "POST"]),
    ] {
        for columns in [40, 80, 200] {
            let shown = without_colours(&shown_in(&folder, columns, &[], arguments));
            for line in shown.lines() {
                assert!(line.chars().count() <= columns, "{arguments:?} {columns}: {line:?}");
            }
            assert!(
                words.iter().all(|word| shown.contains(word) || *word == "POST" && columns < 80),
                "{columns}: {shown}"
            );
            assert!(columns < 200 || arguments[0] == "search" || shown.contains("12,345 → 512"), "{shown}");
        }
    }
}
