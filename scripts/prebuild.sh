#!/usr/bin/env bash
# Builds what is native for every supported machine and C library, as a package carries it:
#   scripts/prebuild.sh [NAME…]   →  build/prebuilds/NAME/{shimmy.node,shimmy-netns-helper}
# NAME is linux-x64, linux-arm64, linux-x64-musl or linux-arm64-musl; all of them by default.
set -euo pipefail
cd "$(dirname "$0")/.."

names=("$@")
[[ $# -gt 0 ]] || names=(linux-x64 linux-arm64 linux-x64-musl linux-arm64-musl)
for name in "${names[@]}"; do
  bash scripts/build-native.sh "$name" shimmy_addon shimmy_netns_helper
  # The linker takes a symbol that nothing brings for one of Node.js's; only those are.
  stray=$(objdump -T "build/$name/shimmy.node" |
    awk '$0 ~ /\*UND\*/ && $NF !~ /^(napi_|node_api_|uv_)/ && $0 !~ /GLIBC/ && $2 != "w" { print $NF }')
  if [[ $name != *-musl && -n $stray ]]; then
    echo "the addon for $name needs what no C library of its age brings: $stray" >&2
    exit 1
  fi
  newest=$(objdump -T "build/$name/shimmy.node" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1 || true)
  mkdir -p "build/prebuilds/$name"
  install -m 755 "build/$name/shimmy.node" "build/$name/shimmy-netns-helper" "build/prebuilds/$name/"
  echo "build/prebuilds/$name: ${newest:-musl}"
done
