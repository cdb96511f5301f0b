//! A program under callgrind.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};

/// Starts a program under callgrind. Its standard output can be read.
pub fn start(program: &str, args: &[&str]) -> Child {
    Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", program])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("valgrind is installed (Debian package valgrind)")
}

/// The instructions of a program that ends by itself.
pub fn instructions(mut child: Child) -> u64 {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "the program failed under callgrind: {said}");
    let line =
        said.lines().find_map(|line| line.split_once("Collected : ")).expect("callgrind says what it collected");
    line.1.trim().parse().unwrap()
}
