#!/usr/bin/env bash
# Builds the Go program of a folder, once, into a cache outside the clone, and prints its path:
# scripts/build-go.sh FOLDER NAME
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/go.sh
source scripts/go.sh

folder=${1:?usage: scripts/build-go.sh FOLDER NAME}
name=${2:?usage: scripts/build-go.sh FOLDER NAME}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/shimmy
sources=$(find "$folder" -maxdepth 1 \( -name '*.go' -o -name go.mod -o -name go.sum \) | LC_ALL=C sort)
program=$cache/$name-$(xargs -d '\n' cat scripts/build-go.sh <<<"$sources" | sha256sum | cut -c1-12)
if [[ ! -x $program ]]; then
  provide_go
  mkdir -p "$cache"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  export GOPATH=$work/path GOCACHE=$work/cache CGO_ENABLED=0
  nice -n 10 go build -C "$folder" -mod=readonly -modcacherw -buildvcs=false -trimpath -ldflags "-s -w" \
    -o "$work/program" . >&2
  mv "$work/program" "$program"
fi
echo "$program"
