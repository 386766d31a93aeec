#!/usr/bin/env bash
# Compiles the TypeScript sources to dist/, which is what production runs.
# Does nothing when dist/ was built from exactly these sources.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p build
exec 9>build/.dist.lock
flock 9

sources=$(find common shm-core/lib agent sidecar cli -name '*.ts' 2>/dev/null | LC_ALL=C sort)
hash=$({ sha256sum tsconfig.json tsconfig.build.json package.json && xargs -r sha256sum <<<"$sources"; } | sha256sum)
[[ -f dist/.sources && $(<dist/.sources) == "$hash" ]] && exit 0

started=$SECONDS
rm -rf dist
PATH=$PWD/node_modules/.bin:$PATH tsc -p tsconfig.build.json
echo "$hash" >dist/.sources
echo "compiled TypeScript to dist/ in $((SECONDS - started)) s"
