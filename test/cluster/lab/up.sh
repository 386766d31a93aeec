#!/usr/bin/env bash
# Starts a control plane and nodes: up.sh [NODES]   With 0 nodes containerd is not needed.
# Names and numbers hold no spaces.
# shellcheck disable=SC2086
# shellcheck source=test/cluster/lab/env.sh
. "$(dirname "$0")/env.sh"; set -e
N=${1:-2}; mkdir -p "$RUN" "$LOG"
[ -n "$(nspid cp)" ] && kill -0 "$(nspid cp)" 2>/dev/null && die "already up in $LAB_WORK (down.sh first)"
T0=$SECONDS
names=(); for ((i=1;i<=N;i++)); do names+=("n$i"); done
bash "$LAB/pki.sh" "$LAB_NET.1" "${names[@]}"
log "pki $((SECONDS-T0))s"

# LAN: a bridge inside cp's network namespace; node i is $LAB_NET.(10+i)
mkns cp
in_ns cp sh -c "ip link add br0 type bridge && ip addr add $LAB_NET.1/24 dev br0 && ip link set br0 up && ip route add $LAB_SVC.0.0/16 dev br0"   # the service route only has to exist: kube-proxy rewrites the address
echo $N > "$RUN/nodes"
for ((i=1;i<=N;i++)); do mkns n$i; link_node $i; done
log "namespaces $((SECONDS-T0))s"

spawn cp etcd etcd --name cp --data-dir "$LAB_WORK/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster cp=http://127.0.0.1:2380 \
  --unsafe-no-fsync --log-level warn
"$LAB/apiserver.sh"
spawn cp kube-controller-manager kube-controller-manager --kubeconfig=$PKI/kcm.kubeconfig --authentication-kubeconfig=$PKI/kcm.kubeconfig --authorization-kubeconfig=$PKI/kcm.kubeconfig \
  --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials=true --service-account-private-key-file=$PKI/sa.key --root-ca-file=$PKI/ca.crt \
  --cluster-signing-cert-file=$PKI/ca.crt --cluster-signing-key-file=$PKI/ca.key --service-cluster-ip-range=$LAB_SVC.0.0/16 \
  --node-monitor-grace-period=20s --v=1
spawn cp kube-scheduler kube-scheduler --kubeconfig=$PKI/scheduler.kubeconfig --authentication-kubeconfig=$PKI/scheduler.kubeconfig --authorization-kubeconfig=$PKI/scheduler.kubeconfig \
  --bind-address=127.0.0.1 --leader-elect=false --v=1
for ((i=1;i<=N;i++)); do "$LAB/node.sh" n$i $i; done
(( N )) && "$LAB/proxy.sh" cp $LAB_NET.1
wait_for 60 "default service account" in_ns cp kubectl -n default get sa default
for ((i=1;i<=N;i++)); do wait_for 90 "node n$i Ready" sh -c "nsenter -t $(nspid cp) -n kubectl get node n$i --no-headers | grep -qw Ready"; done
if (( N )); then
  sed "s/CLUSTER_DNS/$LAB_SVC.0.10/" "$LAB/coredns/dns.yaml" | in_ns cp kubectl apply -f - >/dev/null
fi
log "cluster up after $((SECONDS-T0))s; use: $LAB/kubectl get nodes"
