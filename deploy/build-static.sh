#!/usr/bin/env bash
# Builds the static binary and lays out the tree of the container image: `deploy/build-static.sh TREE`. The Dockerfile's first
# stage and `deploy/image.sh` run it. Needs Rust (rustup) and, if we are root on Debian, installs the rest.
#   PROFILE  the cargo profile (default: dist)
set -euo pipefail
cd "$(dirname "$0")/.."

tree="${1:?usage: deploy/build-static.sh TREE}"
profile="${PROFILE:-dist}"
target="$(uname -m)-unknown-linux-musl"
user=10001

missing=()
command -v musl-gcc >/dev/null || missing+=(musl-tools)
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
rustup target list --installed | grep -qx "$target" || rustup target add "$target"

# The C parts: AWS-LC, SQLite, zstd.
export "CC_${target//-/_}=musl-gcc"
# Packed relocations make the program 1.1 MB smaller.
cargo rustc --locked --profile "$profile" --target "$target" --bin otas-proxy -- -C link-arg=-Wl,-z,pack-relative-relocs
binary="${CARGO_TARGET_DIR:-target}/$target/$profile/otas-proxy"
if readelf --program-headers "$binary" | grep -q INTERP; then
  echo "$binary is not static" >&2
  exit 1
fi

# No shell, no libraries, no list of users.
rm -rf "$tree"
# The names of functions are a fifth of it.
install -D --strip --mode 0755 "$binary" "$tree/usr/bin/otas-proxy"
install -D --mode 0644 /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/ca-certificates.crt"
install -D --mode 0644 deploy/container.toml "$tree/etc/otas-proxy/proxy.toml"
# Private, and what agents may read. Volumes take their place.
install -d --owner "$user" --group "$user" --mode 0700 "$tree/var/lib/otas-proxy"
install -d --owner "$user" --group "$user" --mode 0755 "$tree/run/otas-proxy"
