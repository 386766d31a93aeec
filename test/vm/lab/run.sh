#!/usr/bin/env bash
# Runs a command in a virtual machine with this machine's files, read-only, and a kernel with
# cgroups of version 2 alone: run.sh OUT SECONDS COMMAND…
# OUT is a folder that the command finds as /tmp/out. Its output goes to OUT/log and comes out here
# as well; its exit code is this script's.
set -euo pipefail
# shellcheck source=env.sh
source "$(dirname "$0")/env.sh"

out=$1 seconds=$2
shift 2
[[ $PWD != *[[:space:]\"]* ]] || die "the kernel's command line cannot name the folder $PWD"
folder=$("$LAB/build.sh")
mkdir -p "$out"
rm -f "$out/code"
: >"$out/log"
{
  printf 'export PATH=%q HOME=/tmp\n' "$PATH"
  printf 'cd %q || exit\n' "$PWD"
  printf '%q ' "$@"
} >"$out/command"
tail -f "$out/log" --pid $$ &
follower=$!
trap 'kill "$follower" 2>/dev/null || true' EXIT
# Emulated: nested virtualisation hangs on some machines. In the foreground: in a group of its own
# it would outlive the test runner that stops this one's.
timeout --foreground --kill-after=5 "$seconds" qemu-system-x86_64 \
  -accel "tcg,thread=${VM_THREAD:-multi}" -smp 2 -cpu max -m 4096 -nographic -no-reboot -nic none \
  -kernel "$folder/vmlinuz" -initrd "$folder/initrd" \
  -append "console=ttyS0 quiet panic=-1 cgroup_no_v1=all shimmy_folder=$PWD" \
  -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
  -virtfs "local,path=$out,mount_tag=out,security_model=none" \
  >"$out/console" 2>&1 </dev/null || { cat "$out/console" >&2; die "the virtual machine did not end within $seconds s"; }
[[ -f $out/code ]] || { cat "$out/console" >&2; die "the virtual machine ended before its command"; }
exit "$(cat "$out/code")"
