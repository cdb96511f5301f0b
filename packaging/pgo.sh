#!/usr/bin/env bash
# The binary to deploy, optimised for what it did in a benchmark (`just release-pgo`, optional): built once to count, run under the load of
# `just bench` and `just bench-llm`, and built again. Takes three times as long as `just dist`. The result is target/pgo/otas-proxy.
set -euo pipefail
cd "$(dirname "$0")/.."

rustup component add llvm-tools
host="$(rustc -vV | sed -n 's/^host: //p')"
tools="$(rustc --print sysroot)/lib/rustlib/$host/bin"
counts="$PWD/target/pgo/counts"
rm -rf "$counts"
mkdir -p "$counts"

# With a target, the compiler's own plug-ins are not counted. The counters are in a map of the file, because the benchmarks kill the
# proxies that they have measured.
for bench in proxy llm; do
  CARGO_TARGET_DIR=target/pgo/counting RUSTFLAGS="-Cprofile-generate=$counts -Cllvm-args=-runtime-counter-relocation" \
    cargo bench --locked --target "$host" --bench "$bench" --no-run
done
for bench in target/pgo/counting/"$host"/release/deps/{proxy,llm}-*; do
  [ -x "$bench" ] && [ "${bench##*.}" = "$bench" ] || continue
  LLVM_PROFILE_FILE="$counts/%p%c.profraw" "$bench" --reps 1
done
"$tools/llvm-profdata" merge --sparse --output="$counts/all.profdata" "$counts"/*.profraw

CARGO_TARGET_DIR=target/pgo/build RUSTFLAGS="-Cprofile-use=$counts/all.profdata" \
  cargo build --locked --profile dist --target "$host" --bin otas-proxy
install "target/pgo/build/$host/dist/otas-proxy" target/pgo/otas-proxy
ls -l target/pgo/otas-proxy
