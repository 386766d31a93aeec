#!/usr/bin/env bash
# Brings the compiler for other machines and C libraries into .cache/zig/bin: scripts/zig.sh
# It is a Python wheel: a clang with headers and stubs of every glibc, of musl, and of libc++.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.17.1
folder=$PWD/.cache/zig
[[ -x $folder/bin/cc && $(readlink "$folder/version") == "$version" ]] && exit
rm -rf "$folder"
echo "installing zig $version"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "ziglang==$version"
mkdir -p "$folder/bin"
zig=$(echo "$folder"/venv/lib/python3*/site-packages/ziglang/zig)
for tool in cc c++ ar ranlib objcopy; do
  printf '#!/bin/sh\nexec "%s" %s "$@"\n' "$zig" "$tool" >"$folder/bin/$tool"
  chmod +x "$folder/bin/$tool"
done
ln -s "$version" "$folder/version"
