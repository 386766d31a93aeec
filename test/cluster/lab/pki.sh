#!/usr/bin/env bash
# Makes CA, certificates and kubeconfigs: pki.sh ADDRESS-OF-THE-API NODE…; called by up.sh.
# Names and numbers hold no spaces.
# shellcheck disable=SC2086
# shellcheck source=test/cluster/lab/env.sh
. "$(dirname "$0")/env.sh"; set -e
api=$1; shift; mkdir -p "$PKI"; cd "$PKI"
[ -f ca.crt ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=lab-ca -keyout ca.key -out ca.crt \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature 2>/dev/null
[ -f sa.key ] || { openssl genrsa -out sa.key 2048 2>/dev/null; openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null; }
cert(){ # FILE CN O SAN
  [ -f "$1.crt" ] && return 0
  local subj="/CN=$2"; [ -n "$3" ] && subj="/O=$3/CN=$2"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subj" -keyout "$1.key" -out "$1.csr" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" -extfile <(
    echo "keyUsage=critical,digitalSignature"; echo "extendedKeyUsage=serverAuth,clientAuth"; [ -n "$4" ] && echo "subjectAltName=$4"; true) 2>/dev/null; }
kubeconfig(){ # FILE CERT SERVER
  cat > "$1" <<K
apiVersion: v1
kind: Config
clusters: [{name: l, cluster: {server: "https://$3", certificate-authority: $PKI/ca.crt}}]
users: [{name: u, user: {client-certificate: $PKI/$2.crt, client-key: $PKI/$2.key}}]
contexts: [{name: c, context: {cluster: l, user: u}}]
current-context: c
K
}
cert apiserver kube-apiserver "" "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:$LAB_SVC.0.1,IP:$api"
cert kubelet-client kube-apiserver-kubelet-client system:masters
cert front-proxy front-proxy-client ""
cert admin lab-admin system:masters
cert kcm system:kube-controller-manager ""
cert scheduler system:kube-scheduler ""
cert proxy system:kube-proxy ""
kubeconfig "$KUBECONFIG" admin 127.0.0.1:6443
kubeconfig kcm.kubeconfig kcm 127.0.0.1:6443
kubeconfig scheduler.kubeconfig scheduler 127.0.0.1:6443
kubeconfig proxy.kubeconfig proxy "$api:6443"
for n in "$@"; do
  cert "$n" "system:node:$n" system:nodes "DNS:$n"
  kubeconfig "$n.kubeconfig" "$n" "$api:6443"
done
