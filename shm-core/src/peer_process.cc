#include "peer_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "unique_fd.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // include/uapi/asm-generic/socket.h, since Linux 6.5
#endif

namespace shimmy::addon {
namespace {

// The kernel's paths have 4 KiB at most, one a line; there are a dozen hierarchies or so.
constexpr std::size_t kMaxFileBytes = 128 * 1024;

int32_t OpenPeer(int fd, pid_t pid, UniqueFd* process) noexcept {
  int peer = -1;
  socklen_t length = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &peer, &length) == 0) {
    process->Reset(peer);
    return 0;
  }
  // The kernel answers EINVAL for a process that has ended; before 6.5 it knows no such option.
  if (errno == EINVAL) return -ESRCH;
  if (errno != ENOPROTOOPT) return -errno;
  process->Reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  return process->valid() ? 0 : -errno;
}

int32_t ReadAll(const char* path, std::string* text) {
  const UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return errno == ENOENT ? -ESRCH : -errno;
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t length = ::read(file.get(), buffer.data(), buffer.size());
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return -errno;
    if (length == 0) return 0;
    text->append(buffer.data(), static_cast<std::size_t>(length));
    if (text->size() > kMaxFileBytes) return -EFBIG;
  }
}

bool HasEnded(const UniqueFd& process) noexcept {
  pollfd query{.fd = process.get(), .events = POLLIN, .revents = 0};
  return ::poll(&query, 1, 0) != 0;
}

}  // namespace

int32_t ReadPeerCgroup(int fd, std::string* text) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return -errno;
  if (peer.pid <= 0) return -ESRCH;
  UniqueFd process;
  if (const int32_t error = OpenPeer(fd, peer.pid, &process); error != 0) return error;
  std::array<char, 32> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/cgroup", peer.pid);
  if (const int32_t error = ReadAll(path.data(), text); error != 0) return error;
  return HasEnded(process) ? -ESRCH : 0;
}

}  // namespace shimmy::addon
