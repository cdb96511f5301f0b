//! `run` in a terminal, which is its command's while that runs.

use std::process::Stdio;

use crate::support::program::Folder;

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
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("PROGRAM", program.get_program()).env("FULL_SCREEN", FULL_SCREEN).env("OTAS_PROXY_LOG", "debug");
    command.env("TERM", "xterm").env_remove("NO_COLOR").envs(variables.iter().copied());
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
fn colours_are_for_terminals_and_for_who_wants_them() {
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
