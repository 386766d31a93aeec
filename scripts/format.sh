#!/usr/bin/env bash
# Formats everything: scripts/format.sh. With --check-native only checks C and C++.
set -euo pipefail
cd "$(dirname "$0")/.."

native_files() {
  git ls-files -z --cached --others --exclude-standard '*.h' '*.cc' '*.c'
}

if [[ ${1:-} == --check-native ]]; then
  native_files | xargs -0r clang-format-14 --dry-run -Werror
  exit
fi
native_files | xargs -0r clang-format-14 -i
PATH=$PWD/node_modules/.bin:$PATH prettier --write --log-level warn .
