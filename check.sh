#!/usr/bin/env bash
# All checks: formatting, lints, tests (with real curl and Python clients), documentation, dependencies.
# Needs a Rust toolchain; installs the rest itself (Debian packages only where they are missing).
set -euo pipefail
cd "$(dirname "$0")"

DENY_VERSION=0.20.2
CLIENTS=$PWD/target/clients

say() { printf '\n== %s\n' "$*"; }

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
  if ! "$CLIENTS/bin/python3" -c 'import requests, httpx, h2' 2>/dev/null; then
    need python3 python3
    rm -rf "$CLIENTS"
    python3 -m venv "$CLIENTS" 2>/dev/null || { rm -rf "$CLIENTS"; need ensurepip python3-venv || true; python3 -m venv "$CLIENTS"; }
    "$CLIENTS/bin/python3" -m pip install --quiet --disable-pip-version-check 'requests==2.34.*' 'httpx[http2]==0.28.*'
  fi
}

say "formatting";    cargo fmt --check
say "real clients";  need curl curl; need wget wget; need git git; need cc gcc; python_clients
say "lints";         cargo clippy --locked --all-targets -- -D warnings
say "tests";         OTAS_TEST_PYTHON="$CLIENTS/bin/python3" cargo test --locked
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
