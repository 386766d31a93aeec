#!/usr/bin/env bash
# Builds the oracle of NetworkPolicies, once, into a cache outside the clone, and prints its path.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=scripts/go.sh
source ../../scripts/go.sh

cache=${XDG_CACHE_HOME:-$HOME/.cache}/shimmy
program=$cache/oracle-$(cat build.sh main.go go.mod go.sum | sha256sum | cut -c1-12)
if [[ ! -x $program ]]; then
  provide_go
  mkdir -p "$cache"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  export GOPATH=$work/path GOCACHE=$work/cache CGO_ENABLED=0
  nice -n 10 go build -mod=readonly -modcacherw -buildvcs=false -trimpath -ldflags "-s -w" \
    -o "$work/oracle" . >&2
  mv "$work/oracle" "$program"
fi
echo "$program"
