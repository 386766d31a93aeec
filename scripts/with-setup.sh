#!/usr/bin/env bash
# Sets up what is missing, then runs: scripts/with-setup.sh demo|test|bench [ARGUMENT…]
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:?usage: scripts/with-setup.sh demo|test|bench [ARGUMENT…]}
shift
bash scripts/setup.sh "$purpose"

# The Node.js pinned in package.json, whatever the machine has.
PATH=$PWD/.cache/envoy/bin:$PWD/node_modules/.bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH
case $purpose in
  demo) exec node cli/bin.js demo "$@" ;;
  test) exec node scripts/test-all.ts "$@" ;;
  bench) exec node bench/run.ts "$@" ;;
esac
