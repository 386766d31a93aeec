#!/usr/bin/env bash
# Starts containerd, kubelet and kube-proxy of a node: node.sh NAME NUMBER; called by up.sh.
# Names and numbers hold no spaces.
# shellcheck disable=SC2086
# shellcheck source=test/cluster/lab/env.sh
. "$(dirname "$0")/env.sh"; set -e
n=$1 i=$2 w=$LAB_WORK/$1; mkdir -p "$w"/{containerd,cni,kubelet,logs,state}
echo "nameserver $LAB_SVC.0.10" > "$w/resolv.conf"
cat > "$w/containerd.toml" <<C
version = 2
root = "$w/containerd"
state = "/run/containerd/state"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs","io.containerd.snapshotter.v1.aufs","io.containerd.snapshotter.v1.zfs","io.containerd.snapshotter.v1.devmapper","io.containerd.internal.v1.tracing","io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "$w/containerd.sock"
[ttrpc]
  address = "$w/containerd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$KUBE_PAUSE"
  restrict_oom_score_adj = true
  disable_apparmor = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${CNI_BIN:-/usr/lib/cni}"
    conf_dir = "$w/cni"
C
cat > "$w/cni/10-lab.conflist" <<C
{"cniVersion":"0.4.0","name":"lab","plugins":[
 {"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,"hairpinMode":true,
  "ipam":{"type":"host-local","dataDir":"$w/cnilib/networks","ranges":[[{"subnet":"$LAB_POD.$i.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
C
cat > "$w/kubelet.yaml" <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
failCgroupV1: false
containerRuntimeEndpoint: unix://$w/containerd.sock
clusterDNS: ["$LAB_SVC.0.10"]
clusterDomain: cluster.local
resolvConf: $w/resolv.conf
failSwapOn: false
oomScoreAdj: 0
podLogsDir: $w/logs
volumePluginDir: $w/kubelet/volplugins
enforceNodeAllocatable: ["pods"]
evictionHard: {memory.available: "100Mi", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
nodeStatusUpdateFrequency: 4s
serializeImagePulls: true
C
alive(){ in_ns $n ps -eo comm= | grep -qx "$1"; }
alive containerd || spawn $n containerd containerd --config "$w/containerd.toml"
wait_for 30 "containerd of $n" in_ns $n ctr -a "$w/containerd.sock" version
[ -e "$w/images.done" ] || for t in "$LAB_CACHE"/*.tar; do in_ns $n ctr -a "$w/containerd.sock" -n k8s.io images import "$t" >/dev/null; done; touch "$w/images.done"
alive kubelet || spawn $n kubelet kubelet --config="$w/kubelet.yaml" --kubeconfig=$PKI/$n.kubeconfig --root-dir="$w/kubelet" --cert-dir="$w/kubelet/pki" --hostname-override=$n --node-ip=$LAB_NET.$((10+i)) --v=${KUBELET_V:-2}
alive kube-proxy || "$LAB/proxy.sh" $n $LAB_NET.$((10+i))
true
