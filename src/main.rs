//! `otas-proxy`: parse, run, exit code.

use std::process::ExitCode;

/// The static program's own allocator: that of musl has one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    otas_proxy::cli::main()
}
