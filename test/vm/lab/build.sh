#!/usr/bin/env bash
# Makes a kernel and an initramfs for run.sh, of what this machine's Debian brings: build.sh
# Prints the folder with `vmlinuz` and `initrd`. It is a cache: another kernel or init is another
# folder. Nothing is installed.
set -euo pipefail
# shellcheck source=env.sh
source "$(dirname "$0")/env.sh"

# In the order they are loaded; what they need is loaded before them.
modules=(virtio_pci 9pnet_virtio 9p veth bridge)

kernel_package() {
  apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -1
}
package=$(kernel_package)
[[ $package ]] || { apt-get update -qq >&2 && package=$(kernel_package); }
[[ $package ]] || die "Debian's package of a kernel, linux-image-amd64, is not known to apt"
version=${package#linux-image-}
folder=$VM_CACHE/vm-$version-$(cat "$LAB/build.sh" "$LAB/init" | sha256sum | cut -c1-12)
if [[ ! -f $folder/initrd ]]; then
  log "making a virtual machine of $package"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work"
  (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$package")
  dpkg-deb -x "$work"/*.deb "$work/kernel"
  mkdir -p "$work/root"/{bin,modules,proc,sys,dev,host}
  cp "$(command -v busybox)" "$work/root/bin/"
  cp "$LAB/init" "$work/root/init"
  chmod +x "$work/root/init"
  depmod -b "$work/kernel" "$version"
  for module in "${modules[@]}"; do
    modprobe -d "$work/kernel" -S "$version" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
  done | awk '!seen[$0]++' | while read -r file; do
    cp "$file" "$work/root/modules/"
    basename "$file" >>"$work/root/modules/order"
  done
  mkdir -p "$folder"
  cp "$work/kernel/boot/vmlinuz-$version" "$folder/vmlinuz"
  (cd "$work/root" && find . | cpio --quiet -o -H newc | gzip -1) >"$folder/initrd.new"
  mv "$folder/initrd.new" "$folder/initrd"
fi
echo "$folder"
