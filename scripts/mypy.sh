#!/usr/bin/env bash
# Checks the types of all Python, with a mypy of its own in .cache/mypy: scripts/mypy.sh
set -euo pipefail
cd "$(dirname "$0")/.."

version=2.4.1
folder=$PWD/.cache/mypy
if [[ ! -x $folder/venv/bin/mypy || $(readlink "$folder/version") != "$version" ]]; then
  rm -rf "$folder"
  echo "installing mypy $version"
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "mypy==$version"
  ln -s "$version" "$folder/version"
fi

export MYPYPATH=$PWD/sdk/python
check() {
  "$folder/venv/bin/mypy" --no-error-summary --config-file sdk/python/pyproject.toml \
    --cache-dir "$folder/cache" "$@"
}
check sdk/python/shimmy_ipc sdk/python/tests sdk/python/shimmy_build.py
# Each is a program of its own.
for program in examples/python/*.py test/conformance/drivers/*.py; do check "$program"; done
