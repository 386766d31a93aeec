#!/usr/bin/env bash
# Runs the tests that need a kernel with cgroups of version 2 alone, in a virtual machine, with
# mocha; its summary goes to the file named by MOCHA_SUMMARY_FILE: run.sh [MOCHA'S OPTION…]
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=600
out=$(mktemp -d /tmp/shimmy-vm-XXXXXX)
trap 'rm -rf "$out"' EXIT
code=0
# Emulated, it is slower. What is left out also passes there, but the tier's time is not enough.
bash test/vm/lab/run.sh "$out" "$seconds" env MOCHA_SUMMARY_FILE=/tmp/out/summary \
  NODE_COMPILE_CACHE=/tmp/compiled SHIMMY_TEST_SLOWNESS=6 \
  mocha --forbid-only --reporter scripts/test/mocha-reporter.cjs \
  --spec 'test/vm/**/*.test.ts' --spec test/integration/pod-sockets.test.ts --spec test/integration/throttled.test.ts --grep '^(?!.*(restarts|squatter))' "$@" || code=$?
[[ ! -f $out/summary || -z ${MOCHA_SUMMARY_FILE:-} ]] || cp "$out/summary" "$MOCHA_SUMMARY_FILE"
exit "$code"
