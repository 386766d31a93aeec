// Results of stream and half operations. Zero or more is success.
#ifndef SHIMMY_STATUS_H_
#define SHIMMY_STATUS_H_

#include <cstdint>

#include "shimmy/reasons.h"

namespace shimmy {

// Same numbers as in shm-core/lib/status.ts; a test compares them.
enum class Status : int32_t {
  kOk = 0,
  kWouldBlock = -1,        // empty or full; the doorbell tells when to come back
  kEof = -2,               // the peer ended its direction and all of it was read
  kReset = -3,             // the peer reset the stream
  kPeerDied = -4,          // hang-up without a marker
  kStrayIo = -5,           // a record in the doorbell that no peer of ours sends
  kCursorOutOfRange = -6,  // a word of the peer breaks I1 or I2
  kBadHalf = -7,           // a received half fails its checks
  kBadReplace = -8,        // a REPLACE that breaks the rules of replacement
  kNoMemory = -9,          // memfd, allocation or mapping failed
  kEnded = -10,            // our direction was ended before
  kNotNow = -11,           // a replacement that has to wait or cannot be
  kInternal = -12,         // a system call failed in a way that it must not
  kTooLarge = -13,         // a message is larger than the channel, or than the buffer for it
  kInterrupted = -14,      // a wait was left because somebody of this process, or a signal, said so
};

constexpr EndReason ToEndReason(Status status) {
  switch (status) {
    case Status::kReset: return EndReason::kResetByPeer;
    case Status::kPeerDied: return EndReason::kPeerDied;
    case Status::kStrayIo: return EndReason::kStrayIo;
    case Status::kCursorOutOfRange: return EndReason::kCursorOutOfRange;
    case Status::kBadHalf: return EndReason::kBadHalf;
    case Status::kBadReplace: return EndReason::kBadReplace;
    case Status::kNoMemory: return EndReason::kNoMemory;
    case Status::kOk:
    case Status::kEof:
    case Status::kEnded: return EndReason::kClosed;
    default: return EndReason::kInternal;
  }
}

}  // namespace shimmy

#endif  // SHIMMY_STATUS_H_
