#!/usr/bin/env bash
# `./check.sh`: all checks: formatting, lints, tests (with real clients), counts of instructions, documentation, dependencies.
# `./check.sh quick`: formatting, lints and unit tests, for the time between two changes.
# Needs a Rust toolchain; the whole gate installs the rest itself (Debian packages only where they are missing).
set -euo pipefail
cd "$(dirname "$0")"

DENY_VERSION=0.20.2
CLIENTS=$PWD/target/clients
NODE_CLIENTS=$PWD/target/clients-node
PYTHON_PACKAGES=('requests==2.34.*' 'httpx[http2]==0.28.*' 'aiohttp==3.14.*' 'openai==3.54.*' 'anthropic==2.12.*'
  'boto3==1.44.*' 'grpcio==1.85.*' 'websockets==17.4.*' 'opentelemetry-proto==1.45.*' 'mcp==2.3.*'
  'kubernetes-validate==1.37.*' 'jsonpatch==1.*' 'ziglang==0.17.*' 'cargo-zigbuild==0.24.*')
NODE_PACKAGES=(axios@1.21.1 undici@7.30.2 ws@8.23.0 openai@6.30.1 @anthropic-ai/sdk@1.12.0 har-validator@5.1.5)
# A Node that knows nothing of proxies, and one that does. Packages bring them, so that the system's own may be any.
NODES=(20.20.2 24.18.0)

say() { printf '\n== %s\n' "$*"; }

quick() {
  # The unit tests build well in steps; the test suite does not (see below).
  export CARGO_INCREMENTAL=1
  say "formatting"; cargo fmt --check
  say "lints";      cargo clippy --locked --all-targets -- -D warnings
  say "unit tests"; cargo test --locked --lib
  say "quick checks passed; ./check.sh is the whole gate"
}

case "${1:-}" in
  "") ;;
  quick) quick; exit ;;
  *) echo "usage: ./check.sh [quick]" >&2; exit 2 ;;
esac

# rustc 1.95 crashes now and then on an incremental build of the test suite.
export CARGO_INCREMENTAL=0

# Debian packages, if a program is missing and we may install it.
need() {
  local program=$1 package=$2
  command -v "$program" >/dev/null && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package"
  else
    echo "missing: $program (Debian package $package)" >&2
    exit 1
  fi
}

# Real Python clients, in a folder of their own.
python_clients() {
  local list="${PYTHON_PACKAGES[*]}"
  [ "$(cat "$CLIENTS/installed" 2>/dev/null)" = "$list" ] && return
  need python3 python3
  rm -rf "$CLIENTS"
  python3 -m venv "$CLIENTS" 2>/dev/null || { rm -rf "$CLIENTS"; need ensurepip python3-venv || true; python3 -m venv "$CLIENTS"; }
  "$CLIENTS/bin/python3" -m pip install --quiet --disable-pip-version-check "${PYTHON_PACKAGES[@]}"
  echo "$list" >"$CLIENTS/installed"
}

# The same for Node, each version of which is a package as well.
node_clients() {
  need npm npm
  local nodes=() version
  for version in "${NODES[@]}"; do
    nodes+=("node${version%%.*}@npm:node-linux-$(node -p process.arch)@$version")
  done
  local list="${NODE_PACKAGES[*]} ${nodes[*]}"
  [ "$(cat "$NODE_CLIENTS/installed" 2>/dev/null)" = "$list" ] && return
  rm -rf "$NODE_CLIENTS"
  npm install --prefix "$NODE_CLIENTS" --no-audit --no-fund --loglevel=error "${NODE_PACKAGES[@]}" "${nodes[@]}"
  echo "$list" >"$NODE_CLIENTS/installed"
}

say "formatting";    cargo fmt --check
say "real clients";  need curl curl; need wget wget; need git git; need cc gcc
need javac default-jdk-headless; need chromium chromium; need tinyproxy tinyproxy; need squid squid; need nginx nginx-light
need h2load nghttp2-client; need nft nftables; need ip iproute2; need nats-server nats-server; python_clients; node_clients
say "lints";         cargo clippy --locked --all-targets -- -D warnings
# The program without what can be left out.
say "features";      cargo clippy --locked --no-default-features --lib --bins -- -D warnings
say "tests";         OTAS_REQUIRE_CLIENTS=1 OTAS_TEST_PYTHON="$CLIENTS/bin/python3" cargo test --locked
say "a fleet"
# 20 proxies, 10,000 events, an OTAS of 200 ms a check; the suite has a smaller one.
OTAS_REQUIRE_CLIENTS=1 OTAS_FLEET_PROXIES=20 OTAS_FLEET_EVENTS=10000 OTAS_FLEET_CHECK_MS=200 \
  cargo test --locked --test suite -- --nocapture fleet::failures::nothing_is_lost
say "instructions"; need valgrind valgrind; cargo bench --locked --profile release --bench counts
say "deployment"
"$CLIENTS/bin/python3" deploy/check-manifests.py
need systemd-analyze systemd; systemd-analyze security --offline=true --threshold=20 packaging/otas-proxy.service | tail -1
if [ "$(id -u)" = 0 ]; then
  # The profile that is quick to build. It makes a larger program.
  PROFILE=release deploy/image.sh
else
  echo "the container image was NOT built: that needs root"
fi
say "macOS and Windows"
# Compiled, not run. zig compiles the C parts.
for target in aarch64-apple-darwin x86_64-pc-windows-gnu; do
  if rustup target add "$target" 2>/dev/null; then
    PATH="$CLIENTS/bin:$PATH" RUSTFLAGS="-D warnings" cargo-zigbuild check --locked --bin otas-proxy --target "$target"
  else
    echo "the target $target cannot be added, so it was NOT checked"
  fi
done
say "documentation"; RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
say "dependencies"
command -v cargo-deny >/dev/null || cargo install --locked --quiet cargo-deny --version "$DENY_VERSION"
cargo deny --log-level error check bans licenses sources
if cargo deny --log-level error fetch db >/dev/null 2>&1; then
  cargo deny --log-level error check advisories
else
  echo "advisories: their database cannot be reached from here, so they were NOT checked"
fi
say "all checks passed"
