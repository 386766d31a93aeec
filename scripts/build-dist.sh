#!/usr/bin/env bash
# Compiles the TypeScript sources to dist/, which is what production runs.
# Does nothing when dist/ was built from exactly these sources.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p build
exec 9>build/.dist.lock
flock 9

hash=$(
  find tsconfig.json tsconfig.build.json package.json common shm-core/lib sdk/typescript agent sidecar injector master cli \
    -name '*.ts' -o -name '*.json' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum
)
[[ -f dist/.sources && $(<dist/.sources) == "$hash" ]] && exit 0

started=$SECONDS
rm -rf dist
PATH=$PWD/node_modules/.bin:$PATH tsc -p tsconfig.build.json
echo "$hash" >dist/.sources
echo "compiled TypeScript to dist/ in $((SECONDS - started)) s"
