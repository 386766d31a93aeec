#include "net.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <time.h>

#include <cerrno>
#include <cstring>

namespace shimmy::relay {

bool ParseAddress(const std::string& address, uint16_t port, SocketAddress* out) {
  *out = SocketAddress{};
  sockaddr_in v4{};
  if (inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&out->storage, &v4, sizeof v4);
    out->length = sizeof v4;
    return true;
  }
  sockaddr_in6 v6{};
  if (inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&out->storage, &v6, sizeof v6);
    out->length = sizeof v6;
    return true;
  }
  return false;
}

namespace {

int SetOption(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value);
}

// Whether closing is a reset, also when the kernel closes for a process that was killed: what was
// cut off must not look complete.
void SetResetOnClose(int fd, bool is_reset) {
  const linger option{is_reset ? 1 : 0, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &option, sizeof option);
}

}  // namespace

int ListenTcp(const SocketAddress& address, uint16_t* bound_port) {
  const int family = address.storage.ss_family;
  UniqueFd fd(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return -errno;
  SetOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (family == AF_INET6) SetOption(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  // Accepted sockets inherit both.
  SetOption(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  SetResetOnClose(fd.get(), true);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length) < 0 ||
      listen(fd.get(), 4096) < 0) {
    return -errno;
  }
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &length) < 0) return -errno;
  *bound_port = ntohs(family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                         : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  return fd.Release();
}

namespace {

bool OpenTcp(const SocketAddress& address, UniqueFd* fd) {
  fd->Reset(socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd->valid()) return false;
  SetOption(fd->get(), IPPROTO_TCP, TCP_NODELAY, 1);
  SetResetOnClose(fd->get(), true);
  return true;
}

// The port is chosen by connect(), which knows that one port may serve several destinations.
void BindToHost(const SocketAddress& address, int fd) {
  SetOption(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  sockaddr_storage host = address.storage;
  if (host.ss_family == AF_INET) reinterpret_cast<sockaddr_in*>(&host)->sin_port = 0;
  if (host.ss_family == AF_INET6) reinterpret_cast<sockaddr_in6*>(&host)->sin6_port = 0;
  // An address that is not of this machine cannot be bound, and does not look local anyway.
  static_cast<void>(bind(fd, reinterpret_cast<const sockaddr*>(&host), address.length));
}

ConnectState Connect(const SocketAddress& address, UniqueFd* fd) {
  const int result =
      connect(fd->get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length);
  if (result == 0) return ConnectState::kDone;
  if (errno != EINPROGRESS) {
    fd->Reset();
    return ConnectState::kFailed;
  }
  // Over loopback the handshake is usually over by now.
  pollfd entry{fd->get(), POLLOUT, 0};
  if (poll(&entry, 1, 0) == 0) return ConnectState::kPending;
  if (ConnectError(fd->get()) == 0) return ConnectState::kDone;
  fd->Reset();
  return ConnectState::kFailed;
}

}  // namespace

ConnectState ConnectTcp(const SocketAddress& address, UniqueFd* fd) {
  return OpenTcp(address, fd) ? Connect(address, fd) : ConnectState::kNoFd;
}

ConnectState ConnectToApp(const SocketAddress& address, UniqueFd* fd) {
  if (!OpenTcp(address, fd)) return ConnectState::kNoFd;
  BindToHost(address, fd->get());
  return Connect(address, fd);
}

int ConnectError(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 ? errno : error;
}

void CloseWithReset(UniqueFd* fd) {
  if (!fd->valid()) return;
  SetResetOnClose(fd->get(), true);
  fd->Reset();
}

void CloseInOrder(UniqueFd* fd) {
  if (!fd->valid()) return;
  SetResetOnClose(fd->get(), false);
  fd->Reset();
}

uint64_t Now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1000000000 + static_cast<uint64_t>(time.tv_nsec);
}

}  // namespace shimmy::relay
