#!/usr/bin/env bash
# Checks who imports whom (.dependency-cruiser.cjs).
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/node_modules/.bin:$PATH
folders=()
for folder in cli agent sidecar injector master common shm-core/lib sdk/typescript test bench scripts examples; do
  [[ -d $folder ]] && folders+=("$folder")
done
depcruise --config .dependency-cruiser.cjs "${folders[@]}"
