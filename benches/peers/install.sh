#!/usr/bin/env bash
# Installs the other proxies of `just bench-peers` into target/peers, each from its package registry. One that cannot be installed is
# left out of the table.
set -uo pipefail
cd "$(dirname "$0")/../.."

into=target/peers
mkdir -p "$into/npm"
missed() { echo "left out: $1" >&2; }

[ -x "$into/venv/bin/mitmdump" ] ||
  { python3 -m venv "$into/venv" && "$into/venv/bin/pip" install --quiet --disable-pip-version-check mitmproxy; } || missed mitmproxy
[ -d "$into/npm/node_modules/mockttp" ] ||
  npm install --prefix "$into/npm" --no-audit --no-fund --loglevel=error mockttp http-mitm-proxy || missed "mockttp and http-mitm-proxy"
# Later ones need a newer Rust.
[ -x "$into/bin/proxelar" ] || cargo install --quiet --locked --root "$into" proxelar@0.4.7 || missed proxelar
for program in squid tinyproxy; do
  command -v "$program" >/dev/null || PATH=$PATH:/usr/sbin command -v "$program" >/dev/null ||
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$program"; } || missed "$program"
done
