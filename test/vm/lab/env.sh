# Names used by the scripts beside it; sourced.
# shellcheck shell=bash disable=SC2034
LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VM_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/shimmy

log() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }
die() { log "FATAL: $*"; exit 1; }

[[ $(uname -m) == x86_64 ]] || die "the virtual machine is built for x86-64 only, this is $(uname -m)"
