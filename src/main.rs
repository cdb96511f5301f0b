//! `otas-proxy`: parse, run, exit code.

use std::process::ExitCode;

/// Events are made on another thread than the one that read their exchange, so most memory is given back by another
/// thread than the one that took it: what the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    otas_proxy::cli::main()
}
