// What the native calls return to TypeScript: one integer.
//
//   >= 0            a result: a length, an id, a flag
//   -1 .. -4095     a system call failed; the number is -errno
//   < -4095         one of the statuses below
//
// Same names and numbers as `Status` in lib/status.ts; a unit test compares them.
#pragma once

#include <cstdint>

namespace shimmy::addon {

enum class AddonStatus : int32_t {
  kClosed = -5001,         // used after close
  kTooBig = -5002,         // message longer than kMaxMessageBytes
  kTooManyFds = -5003,     // more than kMaxMessageFds
  kEmptyMessage = -5004,   // SEQPACKET cannot tell an empty message from the end
  kQueueFull = -5005,      // the peer does not read, and the send queue is at its bound
  kTruncated = -5006,      // the peer sent more bytes or fds than the limits
  kNotConnected = -5007,   // the peer closed its end
};

constexpr int32_t Code(AddonStatus status) { return static_cast<int32_t>(status); }

}  // namespace shimmy::addon
