# Sourced by every script of the lab. A cluster is namespaces of this machine; all of its state is under
# $LAB_WORK, all of its programs under $LAB_CACHE, and nothing else on the machine is changed.
# shellcheck shell=bash disable=SC2034
LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${LAB_WORK:?a short path of its own for each cluster: names of Unix sockets are short}"
: "${LAB_ID:=sl}"            # prefix of cgroups and links: another one for a second cluster
: "${LAB_NET:=172.30.78}"    # /24 of the nodes; exists only inside our namespaces
: "${LAB_POD:=10.245}"       # pods of node i have $LAB_POD.i.0/24
: "${LAB_SVC:=10.97}"        # Services have $LAB_SVC.0.0/16
KUBE_VERSION=v1.34.4         # a kubelet that still runs with cgroups of version 1
KUBE_PAUSE=lab.local/pause:1
LAB_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/shimmy/kubernetes-$(
  cat "$LAB"/build.sh "$LAB"/kubernetes/go.sum "$LAB"/coredns/go.sum "$LAB"/coredns/main.go | sha256sum | cut -c1-12
)
BIN=$LAB_CACHE PKI=$LAB_WORK/pki RUN=$LAB_WORK/run LOG=$LAB_WORK/log
export PATH=$BIN:$PATH:/usr/sbin:/sbin KUBECONFIG=$LAB_WORK/admin.kubeconfig

log() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }
die() { log "FATAL: $*"; exit 1; }
nspid() { cat "$RUN/$1.init.pid" 2>/dev/null; } # pid of the namespaces' first process: cp, n1, n2
in_ns() { # in_ns NAME COMMAND…: in all namespaces of NAME
  local name=$1
  shift
  nsenter -t "$(nspid "$name")" -m -n -p -u -C -- "$@"
}
cg_roots() { awk '$3 == "cgroup" { print $2 }' /proc/mounts; }
cg_dirs() { local root; for root in $(cg_roots); do echo "$root/$1"; done; }
spawn() { # spawn NAME DAEMON COMMAND…: starts a daemon there; its pid is in run/NAME.DAEMON.pid
  local name=$1 daemon=$2
  shift 2
  # The shell enters NAME's cgroups first, so that every descendant is found there.
  (
    for dir in $(cg_dirs "$LAB_ID-$name"); do echo $BASHPID >"$dir/cgroup.procs"; done
    exec setsid nsenter -t "$(nspid "$name")" -m -n -p -u -C -- "$@"
  ) </dev/null >"$LOG/$name.$daemon.log" 2>&1 &
  echo $! >"$RUN/$name.$daemon.pid"
}
wait_for() { # wait_for SECONDS WHAT COMMAND…
  local limit=$1 what=$2 start=$SECONDS
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS - start > limit)) && die "waited $limit s for $what"
    sleep 0.2
  done
}
mkns() { # mkns NAME: namespaces with cgroups of their own; see nodeinit.sh
  local name=$1 dir root work=$LAB_WORK/$1 unshared
  mkdir -p "$work"
  rm -f "$work/ready"
  for root in $(cg_roots); do
    dir=$root/$LAB_ID-$name
    mkdir -p "$dir"
    if [[ -e $dir/cpuset.cpus ]]; then
      cat "$root/cpuset.cpus" >"$dir/cpuset.cpus"
      cat "$root/cpuset.mems" >"$dir/cpuset.mems"
      echo 1 >"$dir/cgroup.clone_children"
    fi
  done
  (
    for dir in $(cg_dirs "$LAB_ID-$name"); do echo $BASHPID >"$dir/cgroup.procs"; done
    exec setsid unshare --fork --pid --mount --net --uts --cgroup --mount-proc \
      bash "$LAB/nodeinit.sh" "$name" "$work"
  ) </dev/null >"$LOG/$name.init.log" 2>&1 &
  unshared=$!
  wait_for 10 "the namespaces of $name (see $LOG/$name.init.log)" test -e "$work/ready"
  ps -o pid= --ppid $unshared | tr -d ' ' >"$RUN/$name.init.pid"
}
link_node() { # link_node I: node I on the bridge, and routes to the other nodes' pods
  local i=$1 j
  ip link add "$LAB_ID$i" netns "$(nspid cp)" type veth peer name eth0 netns "$(nspid "n$i")"
  in_ns cp sh -c "ip link set $LAB_ID$i master br0 up && ip route replace $LAB_POD.$i.0/24 via $LAB_NET.$((10 + i))"
  in_ns "n$i" sh -c "ip addr add $LAB_NET.$((10 + i))/24 dev eth0 && ip link set eth0 up && ip route replace default via $LAB_NET.1"
  for ((j = 1; j <= $(<"$RUN/nodes"); j++)); do
    [[ $i == "$j" ]] || in_ns "n$i" ip route replace "$LAB_POD.$j.0/24" via "$LAB_NET.$((10 + j))"
  done
}
drop_cgroups() { # drop_cgroups NAME: kills what is left in NAME's cgroups and removes them
  local root pid attempt
  for root in $(cg_roots); do
    [[ -d $root/$LAB_ID-$1 ]] || continue
    find "$root/$LAB_ID-$1" -name cgroup.procs -exec cat {} + 2>/dev/null |
      while read -r pid; do kill -9 "$pid" 2>/dev/null; done
    for attempt in 1 2 3 4 5 6 7 8; do
      find "$root/$LAB_ID-$1" -depth -type d -exec rmdir {} + 2>/dev/null && break
      sleep "0.$attempt"
    done
  done
}
crash() { # crash NAME: ends its pid namespace, if it is still ours: all of its processes die at once
  local pid
  pid=$(nspid "$1")
  [[ -n $pid ]] || return 0
  if grep -qs "/$LAB_ID-$1\$" "/proc/$pid/cgroup"; then
    kill -9 "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  fi
  drop_cgroups "$1"
  rm -f "$RUN/$1".*.pid
}
