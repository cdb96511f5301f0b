#!/usr/bin/env bash
# The program with profile-guided optimisation (PGO): it is built once with counters, runs the benchmarks, and is built again with
# what was counted. Gives target/HOST/dist/otas-proxy. Takes 43 minutes of processor time.
# Needs `rustup component add llvm-tools`. docs/performance.md says what it gains.
set -euo pipefail
cd "$(dirname "$0")/.."

host="$(rustc -vV | sed -n 's/^host: //p')"
merge="$(find "$(rustc --print sysroot)" -name llvm-profdata | head -1)"
[ -n "$merge" ] || { echo "llvm-profdata is missing: run \`rustup component add llvm-tools\`" >&2; exit 1; }
counted="$PWD/target/pgo"
rm -rf "$counted"

# With --target, build scripts and macros are built without counters.
export RUSTFLAGS="-Cprofile-generate=$counted"
cargo bench --locked --target "$host" --bench proxy -- --reps 1
cargo bench --locked --target "$host" --bench llm -- --reps 1

"$merge" merge -o "$counted/all.profdata" "$counted"/*.profraw
RUSTFLAGS="-Cprofile-use=$counted/all.profdata" cargo build --locked --profile dist --target "$host" --bin otas-proxy
