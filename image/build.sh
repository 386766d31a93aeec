#!/usr/bin/env bash
# Builds the image without a registry and without a daemon: build.sh ARCHIVE [NAME:TAG [ROOT]]
# The archive is what `docker load`, `podman load` and `ctr images import` read. The same files give
# the same archive. ROOT is a directory that is to keep what is in the image.
set -euo pipefail
cd "$(dirname "$0")/.."
archive=$(realpath -m "${1:?where to}")
name=${2:-shimmy:$(sed -n 's/^  "version": "\(.*\)",$/\1/p' package.json)}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$(realpath -m "${3:-$work/root}")
bash image/stage.sh "$root"
layer() { # layer FILE
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu -C "$root" -cf "$1" .
}
mkdir "$work/image"
layer "$work/layer.tar"
digest=$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)
mv "$work/layer.tar" "$work/image/$digest.tar"

case $(uname -m) in
  aarch64) architecture=arm64 ;;
  *) architecture=amd64 ;;
esac
# As the last stage of Containerfile has it; a test compares.
cat >"$work/config.json" <<CONFIG
{"architecture":"$architecture","os":"linux","created":"1970-01-01T00:00:00Z","config":{"User":"65532:65532","Env":["PATH=/usr/local/bin"],"Entrypoint":["/usr/local/bin/node","/opt/shimmy/cli/bin.js"],"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":["sha256:$digest"]},"history":[{"created":"1970-01-01T00:00:00Z","created_by":"image/build.sh"}]}
CONFIG
config=$(sha256sum <"$work/config.json" | cut -d' ' -f1)
mv "$work/config.json" "$work/image/$config.json"
echo "[{\"Config\":\"$config.json\",\"RepoTags\":[\"$name\"],\"Layers\":[\"$digest.tar\"]}]" >"$work/image/manifest.json"
mkdir -p "$(dirname "$archive")"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu -C "$work/image" -cf "$archive" .
echo "$archive: $name, $(du -m "$archive" | cut -f1) MiB, sha256:$config"
