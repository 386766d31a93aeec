#!/usr/bin/env bash
# Ends a cluster: down.sh [--purge]   Every daemon and container dies with its pid namespace; the
# cgroups go. --purge removes its state too.
# shellcheck source=test/cluster/lab/env.sh
source "$(dirname "$0")/env.sh"
for file in "$RUN"/n*.init.pid "$RUN"/cp.init.pid; do
  [[ -f $file ]] && crash "$(basename "$file" .init.pid)"
done
[[ ${1:-} == --purge ]] && rm -rf "$LAB_WORK"/{etcd,run,log,pki,admin.kubeconfig,cp} "$LAB_WORK"/n[0-9]*
true
