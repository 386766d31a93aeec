#!/usr/bin/env bash
# Builds what a cluster consists of, once: Kubernetes, etcd and CoreDNS from their Go modules, about
# 7 minutes on two CPUs, into a cache outside the clone. scripts/setup.sh brings the Debian packages.
set -euo pipefail
# The path only has to be one; nothing is made there.
LAB_WORK=${LAB_WORK:-/nonexistent}
# shellcheck source=test/cluster/lab/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# shellcheck source=scripts/go.sh
source "$LAB/../../../scripts/go.sh"

if [[ ! -e $LAB_CACHE/.built ]]; then
  provide_go
  started=$SECONDS
  rm -rf "$LAB_CACHE.new" "$LAB_CACHE.work"
  mkdir -p "$LAB_CACHE.new"
  # Sources and objects take 4 GB, and are not needed again.
  export GOPATH=$LAB_CACHE.work/path GOCACHE=$LAB_CACHE.work/cache
  export CGO_ENABLED=0 GOFLAGS="-mod=readonly -modcacherw -buildvcs=false -trimpath"
  minor=${KUBE_VERSION#v1.} minor=${minor%%.*}
  flags="-s -w"
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=$KUBE_VERSION -X $package.gitMajor=1 -X $package.gitMinor=$minor -X $package.gitTreeState=clean"
  done
  commands=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)
  (
    cd "$LAB/kubernetes"
    nice -n 10 go build -p 2 -ldflags "$flags" -o "$LAB_CACHE.new/" "${commands[@]/#/k8s.io/kubernetes/cmd/}"
    nice -n 10 go build -p 2 -ldflags "-s -w" -o "$LAB_CACHE.new/etcd" go.etcd.io/etcd/server/v3
    cd "$LAB/coredns"
    nice -n 10 go build -p 2 -ldflags "-s -w" -o "$LAB_CACHE.new/coredns" .
  )
  rm -rf "$LAB_CACHE.work"
  mv -T "$LAB_CACHE.new" "$LAB_CACHE"
  log "built in $((SECONDS - started)) s"
fi

if [[ ! -e $LAB_CACHE/pause.tar ]]; then
  "$LAB/archive.sh" "$LAB_CACHE/pause.tar" "$KUBE_PAUSE" '["/pause"]' <<'FILL'
gcc -Os -static -s -o "$root/pause" -x c - <<'C'
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void down(int signal) { (void)signal; _exit(0); }
static void reap(int signal) { (void)signal; while (waitpid(-1, NULL, WNOHANG) > 0); }
int main(void) {
  struct sigaction end = {.sa_handler = down}, child = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP};
  sigaction(SIGINT, &end, NULL);
  sigaction(SIGTERM, &end, NULL);
  sigaction(SIGCHLD, &child, NULL);
  for (;;) pause();
}
C
FILL
fi
if [[ ! -e $LAB_CACHE/coredns.tar ]]; then
  "$LAB/archive.sh" "$LAB_CACHE/coredns.tar" lab.local/coredns:1 '["/coredns","-conf","/etc/coredns/Corefile"]' \
    <<<"cp '$LAB_CACHE/coredns' \"\$root/coredns\""
fi
[[ -e $LAB_CACHE/apps.tar ]] || "$LAB/apps-image.sh" "$LAB_CACHE/apps.tar"
touch "$LAB_CACHE/.built"
