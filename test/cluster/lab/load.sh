#!/usr/bin/env bash
# Imports images on every node: load.sh ARCHIVE…
set -euo pipefail
# shellcheck source=test/cluster/lab/env.sh
source "$(dirname "$0")/env.sh"
for file in "$RUN"/n*.init.pid; do
  node=$(basename "$file" .init.pid)
  for archive in "$@"; do
    in_ns "$node" ctr -a "$LAB_WORK/$node/containerd.sock" -n k8s.io images import "$(realpath "$archive")"
  done
done
