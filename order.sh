#!/usr/bin/env bash
# Links the build for deployment again, with the functions that an idle proxy runs beside each other (`just dist-ordered`). They are a
# tenth of the program, but stand all over it, and the system maps 64 KiB around each. Needs valgrind, and Rust's default linker on
# x86-64 Linux (no other one in RUSTFLAGS). The result replaces `target/$PROFILE/otas-proxy`.
set -euo pipefail
cd "$(dirname "$0")"

profile="${PROFILE:-dist}"
binary="${CARGO_TARGET_DIR:-target}/$profile/otas-proxy"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
link() { cargo rustc --locked --profile "$profile" --bin otas-proxy -- "$@"; }

# The names of functions stay in this one.
link -C strip=none
# Nothing listens where OTAS should be, so that what runs in an outage is among it.
cat >"$work/proxy.toml" <<TOML
[listen]
proxy = "127.0.0.1:0"
admin = "127.0.0.1:0"
[otas]
brain_url = "http://127.0.0.1:9"
uasam_url = "http://127.0.0.1:9"
agent_key = "agent_order_of_functions"
[tls]
ca_dir = "$work/ca"
[store]
path = "$work/store.db"
TOML
valgrind --quiet --tool=callgrind --demangle=no --callgrind-out-file="$work/ran" \
  "$binary" serve --config "$work/proxy.toml" >"$work/said" 2>&1 &
proxy=$!
until grep -q 'events are stored' "$work/said"; do
  kill -0 "$proxy" || { cat "$work/said"; exit 1; }
  sleep 0.2
done
# What runs now and then, such as the search index.
sleep 15
# When it is stopped, valgrind writes what ran.
kill -TERM "$proxy"
wait "$proxy" || true

grep -oE '^c?fn=\([0-9]+\) \S+' "$work/ran" | awk '{ print $2 }' | sed "s/'.*//" | sort -u >"$work/order"
echo "$(wc -l <"$work/order") functions run in an idle proxy"
link -C link-arg="-Wl,--symbol-ordering-file=$work/order,--no-warn-symbol-ordering"
