#!/usr/bin/env bash
# Makes a Debian package of a built binary: `packaging/deb.sh BINARY ARCHITECTURE FOLDER`. BINARY is static, for amd64 or arm64.
#   DOCUMENTED  a program for this machine that prints man pages and completions (default: BINARY)
# The same inputs give the same bytes, if SOURCE_DATE_EPOCH is set.
set -euo pipefail
cd "$(dirname "$0")/.."

binary="${1:?usage: packaging/deb.sh BINARY ARCHITECTURE FOLDER}" architecture="${2:?}" folder="${3:?}"
documented="${DOCUMENTED:-$binary}"
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)"
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(date +%s)}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
root="$work/root" doc="$work/root/usr/share/doc/otas-proxy"
mkdir -p "$root" "$folder"

install -D -m 0755 "$binary" "$root/usr/bin/otas-proxy"
install -D -m 0644 packaging/otas-proxy.service "$root/usr/lib/systemd/system/otas-proxy.service"
install -D -m 0644 packaging/proxy.toml "$root/etc/otas-proxy/proxy.toml"
install -d "$root/usr/share/man/man1" "$doc" "$root/usr/share/bash-completion/completions" \
  "$root/usr/share/zsh/vendor-completions" "$root/usr/share/fish/vendor_completions.d"
"$documented" man --folder "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*.1
"$documented" completions bash >"$root/usr/share/bash-completion/completions/otas-proxy"
"$documented" completions zsh >"$root/usr/share/zsh/vendor-completions/_otas-proxy"
"$documented" completions fish >"$root/usr/share/fish/vendor_completions.d/otas-proxy.fish"
gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
{
  printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: MIT or Apache-2.0\n\n'
  cat LICENSE-MIT
  printf '\nThe Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0.\n'
} >"$doc/copyright"

install -d "$root/DEBIAN"
install -m 0755 packaging/deb/postinst packaging/deb/prerm packaging/deb/postrm "$root/DEBIAN/"
echo /etc/otas-proxy/proxy.toml >"$root/DEBIAN/conffiles"
cat >"$root/DEBIAN/control" <<CONTROL
Package: otas-proxy
Version: $version
Architecture: $architecture
Maintainer: ${MAINTAINER:-The otas-proxy maintainers <otas-proxy@localhost>}
Installed-Size: $(du -sk --exclude DEBIAN "$root" | cut -f1)
Depends: passwd
Recommends: ca-certificates
Section: net
Priority: optional
Description: logging forward proxy for AI agents
 A transparent logging HTTP(S) forward proxy: every call of an agent passes
 untouched and becomes one event, which is delivered to OTAS.
CONTROL
(cd "$root" && find . -type f -not -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
find "$root" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
chmod -R u=rwX,go=rX "$root"
dpkg-deb --root-owner-group -Zxz --build "$root" "$folder/otas-proxy_${version}_$architecture.deb"
