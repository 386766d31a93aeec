// Bounds of a control socket. Same names and numbers as in lib/control-socket.ts; a unit
// test compares them.
#pragma once

#include <cstddef>

namespace shimmy::addon {

inline constexpr std::size_t kMaxMessageBytes = 65536;
inline constexpr std::size_t kMaxMessageFds = 8;

// What waits for a peer that does not read; beyond either bound the socket is closed.
inline constexpr std::size_t kMaxQueuedMessages = 256;
inline constexpr std::size_t kMaxQueuedBytes = std::size_t{4} << 20;

// What waits for JavaScript; beyond it the rest stays in the kernel and holds the peer back.
inline constexpr std::size_t kMaxUndelivered = 64;

// Connections the kernel keeps for accept(); a connect beyond it is tried again by the client.
inline constexpr int kListenBacklog = 128;

}  // namespace shimmy::addon
