#!/usr/bin/env bash
# Starts the API server of the control plane, and waits until it answers; called by up.sh and fault.sh.
# Names and numbers hold no spaces.
# shellcheck disable=SC2086
# shellcheck source=test/cluster/lab/env.sh
. "$(dirname "$0")/env.sh"; set -e
spawn cp kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --advertise-address=$LAB_NET.1 --secure-port=6443 \
  --tls-cert-file=$PKI/apiserver.crt --tls-private-key-file=$PKI/apiserver.key --client-ca-file=$PKI/ca.crt \
  --kubelet-client-certificate=$PKI/kubelet-client.crt --kubelet-client-key=$PKI/kubelet-client.key --kubelet-preferred-address-types=InternalIP \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=$PKI/sa.pub --service-account-signing-key-file=$PKI/sa.key \
  --requestheader-client-ca-file=$PKI/ca.crt --requestheader-allowed-names=front-proxy-client --requestheader-username-headers=X-Remote-User \
  --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \
  --proxy-client-cert-file=$PKI/front-proxy.crt --proxy-client-key-file=$PKI/front-proxy.key --enable-aggregator-routing=true \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
  --service-cluster-ip-range=$LAB_SVC.0.0/16 --v=1
t=$(date +%s%N)
wait_for 90 "kube-apiserver /readyz (see $LOG/cp.kube-apiserver.log)" in_ns cp kubectl --kubeconfig "$KUBECONFIG" get --raw /readyz
log "apiserver ready after $(( ($(date +%s%N)-t)/1000000 )) ms"
