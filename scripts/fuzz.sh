#!/usr/bin/env bash
# Runs every fuzz target (test/fuzz/*_fuzzer.cc): scripts/fuzz.sh [SECONDS EACH]
# Prints one line a target, beginning with "ok " or "FAIL ". Findings and the grown corpus stay in
# build/fuzz/, seeds come from test/fuzz/corpus/<name>/.
set -uo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-600}
shopt -s nullglob extglob
sources=(test/fuzz/*_fuzzer.cc)
[[ ${#sources[@]} -gt 0 ]] || { echo "no fuzz targets"; exit 0; }
bash scripts/build-native.sh fuzz "${sources[@]//@(test\/fuzz\/|.cc)/}" || { echo "FAIL fuzz targets do not build"; exit 1; }

status=0
for source in "${sources[@]}"; do
  name=$(basename "$source" .cc)
  corpora=("build/fuzz/corpus/$name")
  [[ -d test/fuzz/corpus/$name ]] && corpora+=("test/fuzz/corpus/$name")
  mkdir -p "build/fuzz/corpus/$name" "build/fuzz/findings/$name"
  log=build/fuzz/$name.log
  if "build/fuzz/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="build/fuzz/findings/$name/" -print_final_stats=1 "${corpora[@]}" >"$log" 2>&1; then
    echo "ok $name: $(sed -n 's/stat::number_of_executed_units: *//p' "$log") inputs in $seconds s"
  else
    status=1
    tail -n 40 "$log"
    echo "FAIL $name: input in build/fuzz/findings/$name/"
  fi
done
exit $status
