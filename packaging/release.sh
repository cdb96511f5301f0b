#!/usr/bin/env bash
# Makes what a release consists of, in target/release-files: static programs for x86_64 and aarch64, Debian packages, the sources, an
# SBOM (CycloneDX), a Homebrew formula, and the checksums of all. Runs on x86_64 Debian with Rust (rustup) and Python.
#   PROFILE   the cargo profile (default: dist)
#   BASE_URL  where the files will be published, for the Homebrew formula; without it there is none
# Two runs of one commit, in one folder and with one toolchain, give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."

profile="${PROFILE:-dist}"
out=target/release-files
tools=target/release-tools
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)"
SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)"
export SOURCE_DATE_EPOCH
git diff --quiet HEAD || echo "warning: there are changes that are not committed" >&2

# Where it was built is not in the programs.
cargo_home="${CARGO_HOME:-$HOME/.cargo}"
export RUSTFLAGS="--remap-path-prefix=$PWD=otas-proxy --remap-path-prefix=$cargo_home=cargo"
for target in x86_64_unknown_linux_musl aarch64_unknown_linux_musl; do
  flags="$(sed -n "s/^CFLAGS_$target = \"\(.*\)\"/\1/p" .cargo/config.toml)"
  export "CFLAGS_$target=$flags -ffile-prefix-map=$PWD=otas-proxy -ffile-prefix-map=$cargo_home=cargo"
done
# Not mixed with builds that have other flags.
export CARGO_TARGET_DIR=target/release-build

if [ ! -x "$tools/bin/cargo-zigbuild" ]; then
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check 'ziglang==0.17.*' 'cargo-zigbuild==0.24.*'
fi
export PATH="$PWD/$tools/bin:$PATH"
command -v cargo-cyclonedx >/dev/null || cargo install --locked --quiet cargo-cyclonedx

rm -rf "$out"
mkdir -p "$out"
PROFILE="$profile" deploy/build-static.sh "$CARGO_TARGET_DIR/tree"
rustup target add aarch64-unknown-linux-musl
env "CARGO_PROFILE_${profile^^}_STRIP=symbols" \
  cargo zigbuild --locked --profile "$profile" --target aarch64-unknown-linux-musl --bin otas-proxy

# An archive whose bytes depend on the contents alone: `packed NAME FOLDER FILE…`.
packed() {
  local name=$1 folder=$2
  shift 2
  tar --create --directory "$folder" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX "$@" |
    gzip -9n >"$out/$name"
}

here="$CARGO_TARGET_DIR/tree/usr/bin/otas-proxy"
for arch in x86_64:amd64 aarch64:arm64; do
  IFS=: read -r machine debian <<<"$arch"
  binary="$here"
  [ "$machine" = x86_64 ] || binary="$CARGO_TARGET_DIR/$machine-unknown-linux-musl/$profile/otas-proxy"
  name="otas-proxy-$version-$machine-linux"
  install -D -m 0755 "$binary" "$CARGO_TARGET_DIR/pack/$name/otas-proxy"
  cp LICENSE-MIT LICENSE-APACHE README.md CHANGELOG.md proxy.toml "$CARGO_TARGET_DIR/pack/$name/"
  packed "$name.tar.gz" "$CARGO_TARGET_DIR/pack" "$name"
  DOCUMENTED="$here" packaging/deb.sh "$binary" "$debian" "$out"
done
git archive --format=tar --prefix="otas-proxy-$version/" HEAD | gzip -9n >"$out/otas-proxy-$version.tar.gz"

# Its serial number and time would differ each time.
cargo cyclonedx --quiet --format json --spec-version 1.5 --target x86_64-unknown-linux-musl --override-filename sbom
python3 - "$out/otas-proxy-$version.cdx.json" <<'PYTHON'
import json, os, sys, datetime
with open("sbom.json") as file:
    sbom = json.load(file)
sbom.pop("serialNumber", None)
at = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
sbom["metadata"]["timestamp"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
text = json.dumps(sbom, indent=1, sort_keys=True).replace(f"file://{os.getcwd()}", "file://.").replace(os.getcwd(), ".")
with open(sys.argv[1], "w") as file:
    file.write(text + "\n")
os.remove("sbom.json")
PYTHON

if [ -n "${BASE_URL:-}" ]; then
  source="otas-proxy-$version.tar.gz"
  sed -e "s|@URL@|$BASE_URL/$source|" -e "s|@SHA256@|$(sha256sum "$out/$source" | cut -d' ' -f1)|" \
    packaging/homebrew/otas-proxy.rb >"$out/otas-proxy.rb"
fi
(cd "$out" && sha256sum -- * >SHA256SUMS)
ls -l "$out"
