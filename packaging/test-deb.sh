#!/usr/bin/env bash
# A package's life in a fresh Debian: install, start, upgrade, purge. `packaging/test-deb.sh PACKAGE`. Needs root and mmdebstrap, and
# Debian's mirror. There is no systemd in it: the unit's command is run as its user, in the folders that the unit would make.
set -euo pipefail

package="$(realpath "${1:?usage: packaging/test-deb.sh PACKAGE}")"
work="$(mktemp -d)"
root="$work/root"
cleanup() {
  [ -z "${proxy:-}" ] || kill "$proxy" 2>/dev/null || true
  umount "$root/proc" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
chmod 0755 "$work"
mmdebstrap --quiet --variant=minbase --include=init-system-helpers,passwd,ca-certificates,man-db,util-linux \
  "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$root"
mount -t proc proc "$root/proc"
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
step() { printf '%s\n' "- $*"; }

# What systemd would do.
start() {
  local user
  inside install -d -o otas-proxy -g otas-proxy -m 0700 /var/lib/otas-proxy
  inside install -d -o otas-proxy -g otas-proxy -m 0755 /run/otas-proxy
  user="$(inside id -u otas-proxy)"
  chroot "$root" setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
    env -i OTAS_PROXY_CONFIG=/etc/otas-proxy/proxy.toml sh -c 'umask 077; exec /usr/bin/otas-proxy serve' >"$work/said" 2>&1 &
  proxy=$!
  for _ in $(seq 300); do
    inside otas-proxy healthcheck --config /etc/otas-proxy/proxy.toml >/dev/null 2>&1 && return
    kill -0 "$proxy" || break
    sleep 0.1
  done
  cat "$work/said"
  exit 1
}
stop() { kill -TERM "$proxy"; wait "$proxy"; proxy=; }
# Another user of the machine, with the variables that the service hands out.
agent() { inside setpriv --reuid nobody --regid nogroup --clear-groups sh -euc ". /run/otas-proxy/env.sh; $1"; }

cp "$package" "$root/otas-proxy.deb"
step "installs"; inside dpkg --install /otas-proxy.deb
inside man -w otas-proxy otas-proxy-serve >/dev/null
inside id otas-proxy
step "starts, and agents of other users find the certificates"; start
agent 'test -s "$SSL_CERT_FILE"; test -s "$NODE_EXTRA_CA_CERTS"; test -r "$WGETRC"; ! cat /var/lib/otas-proxy/ca/ca.key 2>/dev/null'
agent 'test -r /run/otas-proxy/preload/preload.cjs; test -r /run/otas-proxy/preload/python/sitecustomize.py'
ca="$(sha256sum <"$root/var/lib/otas-proxy/ca/ca.pem")"
step "survives an upgrade: settings, CA and events stay"
echo '# changed by the administrator' >>"$root/etc/otas-proxy/proxy.toml"
stop
dpkg-deb --raw-extract "$package" "$work/next"
sed -i 's/^Version: .*/&+next/' "$work/next/DEBIAN/control"
dpkg-deb --root-owner-group --build "$work/next" "$root/next.deb" >/dev/null
inside dpkg --install /next.deb
start
grep -q 'changed by the administrator' "$root/etc/otas-proxy/proxy.toml"
[ "$ca" = "$(sha256sum <"$root/var/lib/otas-proxy/ca/ca.pem")" ]
[ -s "$root/var/lib/otas-proxy/otas-proxy.db" ]
stop
step "a removal leaves settings and events"; inside dpkg --remove otas-proxy
[ -s "$root/etc/otas-proxy/proxy.toml" ] && [ -s "$root/var/lib/otas-proxy/otas-proxy.db" ]
step "a purge leaves nothing"; inside dpkg --purge otas-proxy
for path in /etc/otas-proxy /var/lib/otas-proxy /run/otas-proxy /usr/bin/otas-proxy /usr/lib/systemd/system/otas-proxy.service; do
  [ ! -e "$root$path" ] || { echo "$path is left" >&2; exit 1; }
done
! inside getent passwd otas-proxy
echo "the package installs, starts, survives an upgrade and a purge"
