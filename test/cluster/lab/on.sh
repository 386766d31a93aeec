#!/usr/bin/env bash
# Runs a command in all namespaces of cp, n1 or n2, as its own processes see them: on.sh NAME COMMAND…
# shellcheck source=test/cluster/lab/env.sh
source "$(dirname "$(realpath "$0")")/env.sh"
in_ns "$@"
