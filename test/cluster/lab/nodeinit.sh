#!/usr/bin/env bash
# PID 1 of a namespace set. Runs in new pid, mount, net, uts and cgroup namespaces, already placed in
# its own cgroup in every v1 hierarchy. Arguments: NAME WORK
name=$1; work=$2
set -e
hostname "$name"
mount --make-rprivate /
umount -R -l /sys                                  # drops the host's cgroup mounts: runc takes the FIRST it finds in mountinfo
mount -t sysfs sysfs /sys                          # /sys/class/net of our own net namespace
mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
while IFS=: read -r _ ctl _; do                    # the same v1 hierarchies, rooted at our cgroup namespace; no cgroup2
  [ -n "$ctl" ] || continue
  d=/sys/fs/cgroup/${ctl#name=}; mkdir -p "$d"
  case $ctl in name=*) o=none,$ctl;; *) o=$ctl;; esac
  mount -t cgroup -o "$o" cgroup "$d"
done < /proc/self/cgroup
# kubelet insists on these three; give it files of its own instead of changing the machine's kernel
mkdir -p "$work/fakesys"
for kv in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  f=$work/fakesys/$(tr / _ <<<"${kv%=*}"); echo "${kv#*=}" > "$f"; mount --bind "$f" "/proc/sys/${kv%=*}"
done
mkdir -p /run/netns /run/containerd /var/log/containers /var/lib/cni "$work/netns" "$work/logcontainers" "$work/cnilib"
mount -t tmpfs -o mode=711 tmpfs /run/containerd    # containerd state, shim sockets, runc state: gone when the node dies, as at a reboot
mount --bind "$work/netns" /run/netns              # CNI pins pod namespaces here: private to this node
mount --bind "$work/logcontainers" /var/log/containers
mount --bind "$work/cnilib" /var/lib/cni
mount --make-rshared /                             # for mountPropagation and containerd
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv4/conf/all/forwarding
[ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] && echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
ip route add unreachable default metric 4278198272 2>/dev/null || true   # nothing ever leaves these namespaces
set +e
touch "$work/ready"
trap : CHLD TERM
while :; do sleep 86400 & wait; done               # bash reaps adopted orphans
