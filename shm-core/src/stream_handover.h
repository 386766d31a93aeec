// What a process needs, beside two descriptors, to go on with an end of a stream.
#pragma once

#include <cstddef>
#include <cstdint>

#include "unique_fd.h"

namespace shimmy::addon {

inline constexpr uint32_t kHandoverMagic = 0x31484d53;  // "SMH1" in memory
inline constexpr uint16_t kHandoverVersion = 1;

// Fixed layout, little-endian: both processes are on one node.
struct StreamHandover {
  uint32_t magic;
  uint16_t version;
  uint16_t reserved;
  uint64_t capacity;  // of the ring this end writes, in bytes
  uint64_t tail;      // cursors, see shimmy/stream_end.h
  uint64_t head;
  uint64_t wake_at;
  uint64_t plugs_sent;
  uint64_t plugs_eaten;
  uint64_t reading_start;   // of the peer's half
  uint32_t number;          // of the half that was given up
  uint32_t reading_number;  // of the peer's half
  uint32_t is_raised;       // 0 or 1
  uint32_t is_plug_queued;  // 0 or 1
};
static_assert(sizeof(StreamHandover) == 80);

struct HandoverFds {
  UniqueFd doorbell;
  UniqueFd peer_half;
};

}  // namespace shimmy::addon
