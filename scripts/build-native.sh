#!/usr/bin/env bash
# Builds native code: scripts/build-native.sh PRESET [TARGET…]
#   release, asan, tsan, fuzz                   with this machine's compilers, for this machine
#   linux-x64, linux-arm64 and both -musl       with zig, for others: glibc of 2.17, or any musl
# Prints nothing when there is nothing to do. Safe to call from several processes at once.
set -euo pipefail
cd "$(dirname "$0")/.."

preset=${1:?usage: scripts/build-native.sh PRESET [TARGET…]}
shift
folder=build/$preset
mkdir -p "$folder"
log=$folder/build.log

exec 9>"$folder/.lock"
flock 9

[[ $preset != linux-* ]] || bash scripts/zig.sh 9>&-

# The lock is not passed on: a compiler daemon that outlives the build must not hold it.
run() {
  if ! "$@" >"$log" 2>&1 9>&-; then
    cat "$log" >&2
    exit 1
  fi
}

[[ -f $folder/build.ninja ]] || { echo "configuring native code ($preset)" && run cmake --preset "$preset"; }
targets=()
for target in "$@"; do targets+=(--target "$target"); done
started=$SECONDS
run cmake --build "$folder" ${targets[@]+"${targets[@]}"}
grep -q 'ninja: no work to do' "$log" || echo "built native code ($preset ${*:-all}) in $((SECONDS - started)) s"
