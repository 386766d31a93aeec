// What all threads of one relay share, and the memory that halves cost.
#ifndef SHIMMY_RELAY_SHARED_H_
#define SHIMMY_RELAY_SHARED_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "counters.h"
#include "endpoint_table.h"
#include "relay.h"
#include "shimmy/half.h"
#include "shimmy/stream_end.h"
#include "shimmy/sys_raw.h"

namespace shimmy::relay {

// The core's system calls for the relay: raw, but with libc's tuned copy.
struct RelaySys : RawSys {
  static void Copy(void* to, const void* from, size_t bytes) noexcept {
    __builtin_memcpy(to, from, bytes);
  }
};

using RelayEnd = StreamEnd<RelaySys>;

class Worker;

struct Shared {
  RelayOptions options;
  EventSink sink;
  Counters counters;
  EndpointTable table;
  DoorbellSizes sizes;
  bool has_doorbell = false;  // ProbeDoorbell() found sizes: streams can be had on this kernel
  bool can_spin = false;      // more than one CPU to run on, and spinning is on
  uint64_t page_bytes = 4096;
  // SYNC connections, next_stream: relaxed everywhere, a limit and a number; see their uses.
  std::atomic<uint32_t> connections{0};
  std::atomic<uint64_t> next_stream{1};

  std::vector<Worker*> workers;
  // The thread that owns the session with a pod, and all streams on it.
  Worker* OwnerOf(const std::string& pod) const {
    return workers[std::hash<std::string>{}(pod) % workers.size()];
  }

  // Rings are mapped twice in a row while the process has mappings to spare: four of them a
  // stream, and vm.max_map_count is 65,530 by default.
  static constexpr uint64_t kStreamsMappedTwice = 12000;
  bool MapTwice() const { return counters.Get(kActiveShm) < kStreamsMappedTwice; }
};

// Makes, maps and seals a half within the ring budget. On success *fd is the caller's. A half
// made here is given back with DropOwnHalf(), so that the budget and the gauge stay true.
[[nodiscard]] Status MakeOwnHalf(Shared* shared, const HalfSpec& spec, HalfMap* half, int* fd);
void DropOwnHalf(Shared* shared, HalfMap* half);
// Maps a peer's half and counts its bytes; DropPeerHalf() gives it back.
[[nodiscard]] Status TakePeerHalf(Shared* shared, int fd, const HalfBounds& bounds, HalfMap* half);
void DropPeerHalf(Shared* shared, HalfMap* half);

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_SHARED_H_
