#!/usr/bin/env bash
# Builds the container image without Docker, prints its size and runs `demo` in it: `deploy/image.sh [NAME]`. Needs buildah and
# podman (Debian packages, installed if we are root), root or user namespaces.
#   PROFILE  the cargo profile (default: dist)
#   ARCHIVE  also write the image to this file (docker load, podman load)
set -euo pipefail
cd "$(dirname "$0")/.."

name="${1:-otas-proxy}"
# Of what is published. Other profiles make larger programs.
limit=$((30 * 1000 * 1000))
for program in buildah podman; do
  command -v "$program" >/dev/null && continue
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$program" crun
done
work="$(mktemp -d)"
# Its own storage: nothing of it is left, and other images are not touched.
export STORAGE_DRIVER=vfs
storage=(--root "$work/storage" --runroot "$work/run")
trap 'chmod -R u+rwX "$work"; rm -rf "$work"' EXIT

deploy/build-static.sh "$work/context/tree"
# The Dockerfile's last stage, with the tree that its first stage would make.
sed -n '/^FROM scratch/,$p' Dockerfile | sed -e 's|COPY --from=build /tree /|COPY tree /|' -e 's| --start-interval=[^ ]*||' \
  >"$work/Dockerfile"
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)"
buildah "${storage[@]}" bud --quiet --isolation chroot --format docker --timestamp 0 \
  --label "org.opencontainers.image.version=$version" --tag "$name" --file "$work/Dockerfile" "$work/context" >/dev/null
size="$(find "$work/context/tree" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')"
echo "image $name: $size bytes"
if [ "${PROFILE:-dist}" = dist ] && [ "$size" -gt "$limit" ]; then
  echo "the image is larger than $limit bytes" >&2
  exit 1
fi
if [ -n "${ARCHIVE:-}" ]; then
  rm -f "$ARCHIVE"
  buildah "${storage[@]}" push --quiet "$name" "docker-archive:$ARCHIVE:$name"
fi

# The root is read-only, the network is that of the container alone, and no user is in a list.
run() {
  podman "${storage[@]}" --cgroup-manager cgroupfs run --rm --cgroups disabled --no-healthcheck --read-only --read-only-tmpfs=false \
    --tmpfs /tmp --cap-drop all --security-opt no-new-privileges --network none --ulimit nofile=4096:4096 --ulimit nproc=4096:4096 "$@"
}
export -f run
# crun wants plain version 2 cgroups, which some build machines do not have. A mount namespace of our own gets them.
in_a_container() {
  if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
    run "$@"
  else
    storage="${storage[*]}" unshare --mount bash -euc '
      umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup
      read -ra storage <<<"$storage"
      run "$@"' run "$@"
  fi
}
in_a_container "$name" demo --no-wait
