//! `otas-proxy`: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    otas_proxy::cli::main()
}
