#!/usr/bin/env bash
# Checks the models with Spin: every variant that keeps the rules must pass, exhaustively, and
# every broken twin must be rejected.   check.sh [quick|full]
#
# One line a variant, then a summary; the exit code is 0 only if none failed. Two at a time.
set -euo pipefail

tier=${1:-quick}
case $tier in
  quick) limit_s=280 memory_mb=2800 ;;
  full) limit_s=3600 memory_mb=8000 ;;
  *) echo "usage: check.sh [quick|full]" >&2; exit 2 ;;
esac
for tool in spin gcc; do
  command -v "$tool" >/dev/null || { echo "FAIL check.sh: $tool is not installed"; exit 1; }
done
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# tier  expectation  mode  name  model  switches
#   tier         quick: always, full: only in full
#   expectation  ok: passes, twin: must be rejected
#   mode         safe: assertions and deadlocks; live: no run goes on for ever
variants() {
  cat "$here/variants.txt"
}

# Runs one line of variants.txt and prints its verdict.
check() {
  local expectation=$2 mode=$3 name=$4 model=$5
  shift 5
  local folder=$work/$name options=(-DSAFETY -O1) search=()
  if [[ $mode == live ]]; then options=(-DNP -DNOFAIR -O1) search=(-l); fi
  if [[ $expectation == twin ]]; then options+=(-O0); fi  # found soon: compiling is what takes time
  mkdir "$folder"
  if ! (cd "$folder" && cp "$here"/*.pml . && spin -a "$@" "$model" >spin.log 2>&1 &&
    gcc -w "${options[@]}" -DMEMLIM="$memory_mb" -DCOLLAPSE -DVECTORSZ=2048 -o pan pan.c 2>gcc.log); then
    echo "FAIL $name: does not compile: $(head -1 "$folder/spin.log")"
    return
  fi
  local status=0 began=$SECONDS
  (cd "$folder" && timeout "$limit_s" ./pan "${search[@]}" -m1000000 -w22 >pan.log 2>&1) || status=$?
  verdict "$expectation" "$name" "$folder/pan.log" "$status" $((SECONDS - began))
  rm -rf "$folder"
}

verdict() {
  local expectation=$1 name=$2 log=$3 status=$4 seconds=$5
  local states error
  states=$(sed -nE 's/^ *([0-9.e+]+) states, stored.*/\1/p' "$log" | head -1)
  error=$(sed -nE 's/^pan:[0-9]+: (.*)/\1/p' "$log" | head -1)
  if [[ -n $error && $expectation == twin ]]; then
    echo "ok $name: rejected as it must be ($error)"
  elif [[ -n $error ]]; then
    echo "FAIL $name: $error"
  elif [[ $status -ne 0 || -z $states ]] || grep -qE 'not completed|too small|out of memory|reached -DMEMLIM' "$log"; then
    echo "FAIL $name: cut off after $seconds s (status $status)"
  elif [[ $expectation == twin ]]; then
    echo "FAIL $name: a broken twin passed ($states states)"
  else
    echo "ok $name: $states states, exhaustive, $seconds s"
  fi
}

run_all() {
  local line
  while read -r line; do
    [[ $line == '' || $line == '#'* ]] && continue
    [[ $tier == quick && $line == full* ]] && continue
    while (($(jobs -rp | wc -l) >= 2)); do wait -n || true; done
    # shellcheck disable=SC2086  # the words of the line are the arguments
    check $line &
  done < <(variants)
  wait
}

run_all | tee "$work/results"
good=$(grep -c '^ok ' "$work/results" || true)
bad=$(grep -c '^FAIL ' "$work/results" || true)
echo "models: $good ok, $bad failed"
[[ $bad -eq 0 && $good -gt 0 ]]
