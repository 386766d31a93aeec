// One message over a SOCK_SEQPACKET Unix socket, file descriptors included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "unique_fd.h"

namespace shimmy::addon {

struct Message {
  std::vector<std::byte> data;
  std::vector<UniqueFd> fds;
};

// Never blocks. Returns 0, or -errno (-EAGAIN: the peer's queue is full).
[[nodiscard]] int32_t SendMessage(int fd, std::span<const std::byte> data,
                                  std::span<const int> fds) noexcept;

// Never blocks. Returns the message's length (> 0), 0 at the peer's end, -errno, or an AddonStatus
// when the message breaks a limit: its descriptors are closed then.
[[nodiscard]] int32_t ReceiveMessage(int fd, Message& out);

// Takes what is unread off the queue, then closes. An unread message would otherwise reach
// the peer as ECONNRESET in front of what we sent last.
void CloseOrderly(UniqueFd fd) noexcept;

}  // namespace shimmy::addon
