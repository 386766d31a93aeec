// TCP sockets as the relay uses them. All fds are non-blocking and close-on-exec.
#ifndef SHIMMY_RELAY_NET_H_
#define SHIMMY_RELAY_NET_H_

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "unique_fd.h"

namespace shimmy::relay {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

// False when `address` is not a numeric IPv4 or IPv6 address.
[[nodiscard]] bool ParseAddress(const std::string& address, uint16_t port, SocketAddress* out);

// Returns the listening fd and the port, or -errno.
[[nodiscard]] int ListenTcp(const SocketAddress& address, uint16_t* bound_port);

// kNoFd: this process has no fd free, which says nothing about the destination.
enum class ConnectState : uint8_t { kDone, kPending, kFailed, kNoFd };

// Starts to connect; `*fd` is valid when done or pending.
[[nodiscard]] ConnectState ConnectTcp(const SocketAddress& address, UniqueFd* fd);

// The same, to an application of this machine, which sees the very address as its client's: of all
// of 127.0.0.0/8 the kernel would make 127.0.0.1, which applications trust.
[[nodiscard]] ConnectState ConnectToApp(const SocketAddress& address, UniqueFd* fd);

// The outcome of a pending connect, once the fd became writable: 0 or an errno.
[[nodiscard]] int ConnectError(int fd);

// Closes so that the other side sees a reset instead of an end of file.
void CloseWithReset(UniqueFd* fd);
// What was written still reaches the other side, and then the end. Every connection made here or
// accepted by a listener made here is reset when it is closed otherwise.
void CloseInOrder(UniqueFd* fd);

// Nanoseconds of CLOCK_MONOTONIC.
[[nodiscard]] uint64_t Now();

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_NET_H_
