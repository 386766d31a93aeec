#!/usr/bin/env bash
# Starts kube-proxy in the network of NAME: proxy.sh NAME ADDRESS; called by up.sh and node.sh.
# Names and numbers hold no spaces.
# shellcheck disable=SC2086
# shellcheck source=test/cluster/lab/env.sh
. "$(dirname "$0")/env.sh"; set -e
n=$1 ip=$2 w=$LAB_WORK/$1
cat > "$w/proxy.yaml" <<C
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: $PKI/proxy.kubeconfig}
clusterCIDR: $LAB_POD.0.0/16
hostnameOverride: ${n/#cp/n1}   # kube-proxy waits 30 s for its Node object; cp has none, so it borrows n1
bindAddress: "$ip"
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
C
spawn $n kube-proxy kube-proxy --config="$w/proxy.yaml" --v=1
