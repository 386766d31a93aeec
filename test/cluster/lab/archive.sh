#!/usr/bin/env bash
# Makes an image's archive, as `ctr images import` reads it, without a daemon:
#   archive.sh ARCHIVE NAME:TAG COMMAND-AS-JSON [USER] <<<"bash that fills the directory \$root"
set -euo pipefail
archive=$(realpath -m "$1") name=$2 command=$3 user=${4:-0}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export root=$work/root
mkdir -p "$root" "$work/image"
bash -euo pipefail -s
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$root" -cf "$work/layer.tar" .
digest=$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)
mv "$work/layer.tar" "$work/image/$digest.tar"
case $(uname -m) in
  aarch64) architecture=arm64 ;;
  *) architecture=amd64 ;;
esac
echo "{\"architecture\":\"$architecture\",\"os\":\"linux\",\"config\":{\"Env\":[\"PATH=/usr/bin:/bin\"],\"Cmd\":$command,\"User\":\"$user\"},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$digest\"]}}" >"$work/config.json"
config=$(sha256sum <"$work/config.json" | cut -d' ' -f1)
mv "$work/config.json" "$work/image/$config.json"
echo "[{\"Config\":\"$config.json\",\"RepoTags\":[\"$name\"],\"Layers\":[\"$digest.tar\"]}]" >"$work/image/manifest.json"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$work/image" -cf "$archive.new" .
mv "$archive.new" "$archive"
