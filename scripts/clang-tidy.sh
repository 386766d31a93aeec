#!/usr/bin/env bash
# Runs clang-tidy over all C++ that the release build compiles; warnings are errors.
# Files whose text, headers and settings have not changed since they last passed are not checked
# again; what passed is remembered outside the clone (SHIMMY_CACHE, default ~/.cache/shimmy).
set -euo pipefail
cd "$(dirname "$0")/.."

[[ -f build/release/compile_commands.json ]] || bash scripts/build-native.sh release shimmy_core
cmake --preset release >build/release/build.log 2>&1 || { cat build/release/build.log >&2 && exit 1; }
