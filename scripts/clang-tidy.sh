#!/usr/bin/env bash
# Runs clang-tidy over all C++ that the release build compiles; its warnings are errors.
# A file that passed is not checked again until it, a header or the settings change: passes are
# remembered in build/tidy/.
set -euo pipefail
cd "$(dirname "$0")/.."

# Only the list of compile commands is needed, and that names every source there is now.
mkdir -p build/tidy build/release
flock build/release/.lock cmake --preset release >build/tidy/configure.log 2>&1 ||
  { cat build/tidy/configure.log && exit 1; }
common=$({
  find shm-core agent test/native bench -name '*.h' -print0 2>/dev/null | LC_ALL=C sort -z | xargs -0r cat
  cat .clang-tidy CMakeLists.txt
} | sha256sum)
export common

check_one() {
  local file=$1 key
  key=$({ echo "$common" "$file" && cat "$file"; } | sha256sum)
  key=build/tidy/${key%% *}
  [[ -e $key ]] && return
  if clang-tidy-14 -p build/release --quiet "$file" >"$key.log" 2>/dev/null; then
    rm "$key.log"
    touch "$key"
  else
    cat "$key.log"
    rm "$key.log"
    return 1
  fi
}
export -f check_one

sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' build/release/compile_commands.json |
  xargs -d '\n' -r -n 1 -P "$(nproc)" bash -c 'check_one "$1"' check_one
