#!/usr/bin/env bash
# Builds the Python SDK's wheel into build/python/: scripts/build-python.sh [PRESET]
#   release           for this machine; the default
#   linux-x64         for glibc of 2.17 and later
#   linux-x64-musl    for musl
# The same content gives the same file. Prints its path.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$PWD/build/python
mkdir -p "$folder"
cd sdk/python
export SHIMMY_PYTHON_PRESET=${1:-release} PYTHONDONTWRITEBYTECODE=1
name=$(python3 -c 'import sys, shimmy_build; print(shimmy_build.build_wheel(sys.argv[1]))' "$folder" | tail -n 1)
echo "build/python/$name"
