#!/usr/bin/env bash
# Faults of a node: fault.sh kill NODE DAEMON | start NODE | cut NODE | join NODE | crash NODE | revive NODE
#   kill, start:    SIGKILL for containerd, kubelet or kube-proxy; its dead daemons again. Containers go on.
#                   Of cp, for kube-apiserver; it again, when it is dead.
#   cut, join:      its link down, and up again
#   crash, revive:  its pid namespace ends, with everything in it; it boots again with its disk
set -euo pipefail
# shellcheck source=test/cluster/lab/env.sh
source "$(dirname "$(realpath "$0")")/env.sh"
node=$2 number=${2#n}
case $1 in
  kill) kill -9 "$(ps -o pid= --ppid "$(<"$RUN/$node.$3.pid")" | tr -d ' ')" ;;
  start) if [[ $node == cp ]]; then "$LAB/apiserver.sh"; else "$LAB/node.sh" "$node" "$number"; fi ;;
  cut) in_ns cp ip link set "$LAB_ID$number" down ;;
  join) in_ns cp ip link set "$LAB_ID$number" up ;;
  crash) crash "$node" ;;
  revive)
    mkns "$node"
    link_node "$number"
    "$LAB/node.sh" "$node" "$number"
    ;;
esac
