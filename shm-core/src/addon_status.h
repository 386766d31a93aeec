// What the native calls return to TypeScript: one integer.
//
//   >= 0            a result: a length, an id, a flag
//   -1 .. -4095     a system call failed; the number is -errno
//   -5001 ...       an AddonStatus
//   -6001 ...       -6000 plus a status of the core (shimmy/status.h)
//   -7001 ...       -7000 plus a shimmy_status of channels (sdk/c/include/shimmy.h)
//
// Same names and numbers as `Status`, `CoreStatus` and `ChannelStatus` in lib/status.ts; a unit
// test compares them.
#pragma once

#include <cstdint>

#include "shimmy/status.h"

namespace shimmy::addon {

enum class AddonStatus : int32_t {
  kClosed = -5001,        // used after close
  kTooBig = -5002,        // message longer than kMaxMessageBytes
  kTooManyFds = -5003,    // more than kMaxMessageFds
  kEmptyMessage = -5004,  // SEQPACKET cannot tell an empty message from the end
  kQueueFull = -5005,     // the peer does not read, and the send queue is at its bound
  kTruncated = -5006,     // the peer sent more bytes or fds than the limits
  kNotConnected = -5007,  // the peer closed its end
  kNotMovable = -5008,    // a stream end that cannot be handed over as it is
  kTransferred = -5009,   // memory that was lent has been transferred away
};

inline constexpr int32_t kCoreBase = -6000;
inline constexpr int32_t kChannelBase = -7000;

constexpr int32_t Code(AddonStatus status) { return static_cast<int32_t>(status); }
constexpr int32_t Code(Status status) { return kCoreBase + static_cast<int32_t>(status); }
// Of a shimmy_status.
constexpr int32_t ChannelCode(int status) { return kChannelBase + status; }

}  // namespace shimmy::addon
