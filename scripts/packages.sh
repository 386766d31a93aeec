# Debian packages Shimmy needs, by purpose; sourced by setup.sh. Each entry is
#   package:probe      probe = a command, or the path (a glob) of a file, which the package brings
# so that the check works without dpkg and with programs installed in other ways.
# shellcheck shell=bash disable=SC2034

machine=$(uname -m)

build_packages=(
  build-essential:c++
  cmake:cmake
  ninja-build:ninja
  nlohmann-json3-dev:/usr/include/nlohmann/json.hpp
)
demo_packages=(
  "${build_packages[@]}"
  nginx:nginx
  wrk:wrk
  curl:curl
)
test_packages=(
  "${demo_packages[@]}"
  clang-14:clang++-14
  clang-tidy-14:clang-tidy-14
  clang-format-14:clang-format-14
  "libclang-rt-14-dev:/usr/lib/llvm-14/lib/clang/14*/lib/linux/libclang_rt.fuzzer-$machine.a"
  lld-14:ld.lld-14
  llvm-14:llvm-symbolizer-14
  libgtest-dev:/usr/include/gtest/gtest.h
  spin:spin
  redis-server:redis-server
  redis-tools:redis-cli
  haproxy:haproxy
  nghttp2-client:h2load
  'postgresql:/usr/lib/postgresql/*/bin/postgres'
  prometheus:promtool
  iproute2:ss
  openssl:openssl
  strace:strace
  python3:python3
  python3-pip:pip
  'python3-dev:/usr/include/python3*/Python.h'
  'python3-venv:/usr/lib/python3*/ensurepip/__init__.py'
  python3-numpy:/usr/lib/python3/dist-packages/numpy/__init__.py
  containerd:containerd
  runc:runc
  'containernetworking-plugins:/usr/lib/cni/bridge'
  iptables:iptables
  busybox-static:busybox
  qemu-system-x86:qemu-system-x86_64
  cpio:cpio
  kmod:depmod
  procps:ps
  ffmpeg:ffmpeg
)
# Of the tier that only `npm run test:long` has.
[[ ${SHIMMY_TEST_SCALE:-1} == 1 ]] || test_packages+=(
  qemu-user-static:qemu-aarch64-static
  googletest:/usr/src/googletest/CMakeLists.txt
)
bench_packages=(
  "${demo_packages[@]}"
  redis-server:redis-server
  redis-tools:redis-benchmark
  libnginx-mod-stream:/usr/lib/nginx/modules/ngx_stream_module.so
  haproxy:haproxy
  nghttp2-client:h2load
  'postgresql:/usr/lib/postgresql/*/bin/postgres'
  'rabbitmq-server:/usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server'
  ffmpeg:ffmpeg
  iproute2:ss
  python3:python3
  'python3-venv:/usr/lib/python3*/ensurepip/__init__.py'
)
