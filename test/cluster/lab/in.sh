#!/usr/bin/env bash
# Runs a command in the network of cp, n1 or n2, with this machine's files: in.sh NAME COMMAND…
# shellcheck source=test/cluster/lab/env.sh
source "$(dirname "$(realpath "$0")")/env.sh"
name=$1
shift
exec nsenter -t "$(nspid "$name")" -n -- "$@"
