#!/usr/bin/env bash
# Makes an image of ordinary programs from this machine's own, for pods under test: nginx, curl, wrk and
# busybox with what they are linked with: apps-image.sh ARCHIVE
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
"$(dirname "$0")/archive.sh" "${1:?where to}" lab.local/apps:1 \
  '["nginx","-e","stderr","-c","/etc/nginx/nginx.conf"]' <<'FILL'
mkdir -p "$root"/{bin,tmp,etc/nginx,run,usr/bin,srv,proc,sys,dev}
cp "$(command -v busybox)" "$root/bin/busybox"
busybox --list | grep -vx busybox | while read -r applet; do ln -s busybox "$root/bin/$applet"; done
for program in nginx curl wrk; do
  path=$(command -v "$program")
  cp -L "$path" "$root/usr/bin/$program"
  ldd "$path" | sed -n 's|^[^/]*\(/[^ ]*\) (0x.*|\1|p' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
done
# glibc loads these by name.
for library in /lib/*/libnss_dns.so.2 /lib/*/libnss_files.so.2; do cp -L "$library" "$root$library"; done
printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
echo hello >"$root/srv/index.html"
cat >"$root/etc/nginx/nginx.conf" <<'CONF'
worker_processes 1;
daemon off;
pid /tmp/nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  server { listen 80; listen 8080; root /srv; }
}
CONF
chmod 1777 "$root/tmp"
FILL
