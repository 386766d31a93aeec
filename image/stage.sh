#!/usr/bin/env bash
# Puts together the root directory of the image: stage.sh DIRECTORY
# The repository must be set up (scripts/setup.sh). The same files give the same directory.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:?where to}

bash scripts/build-native.sh release shimmy_addon shimmy_netns_helper >&2
bash scripts/build-dist.sh >&2

# Production's modules apart from those of development; node itself is not one of them.
work=node_modules/.image
key=$(cat package.json package-lock.json image/stage.sh | sha256sum)
if [[ ! -f $work/key || $(<"$work/key") != "$key" ]]; then
  rm -rf "$work"
  mkdir -p "$work/install"
  cp package.json package-lock.json "$work/install/"
  (cd "$work/install" && npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund --silent)
  mv "$work/install/node_modules" "$work/modules"
  rm -rf "$work/install" "$work/modules/.bin" "$work/modules/.package-lock.json"
  mkdir -p "$work/bin"
  cp "$(readlink -f "$(node_modules/.bin/node -p process.execPath)")" "$work/bin/node"
  strip "$work/bin/node"
  echo "$key" >"$work/key"
fi

rm -rf "$target"
mkdir -p "$target"/{etc,tmp,run,proc,sys,dev}
while read -r from to; do
  mkdir -p "$target$(dirname "$to")"
  cp -rL "$from" "$target$to"
done < <(grep -v '^#' image/files.txt)
rm -f "$target/opt/shimmy/dist/.sources"

# What the programs are linked with, the loader included, where they look for it.
for program in "$target"/usr/local/bin/* "$target/opt/shimmy/build/release/shimmy.node"; do
  ldd "$program" | sed -n 's|^[^/]*\(/[^ ]*\) (0x.*|\1|p'
done | sort -u | while read -r library; do
  mkdir -p "$target$(dirname "$library")"
  cp -L "$library" "$target$library"
done

cat >"$target/etc/passwd" <<'PASSWD'
root:x:0:0:root:/:/sbin/nologin
shimmy:x:65532:65532:shimmy:/:/sbin/nologin
PASSWD
cat >"$target/etc/group" <<'GROUP'
root:x:0:
shimmy:x:65532:
GROUP
echo 'hosts: files dns' >"$target/etc/nsswitch.conf"
node_modules/.bin/node scripts/release/image-sbom.ts "$target"
find "$target" -type d -exec chmod 755 {} +
find "$target" -type f -exec chmod u=rwX,go=rX {} +
chmod 1777 "$target/tmp"
