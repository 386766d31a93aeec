#include "shared.h"

namespace shimmy::relay {

Status MakeOwnHalf(Shared* shared, const HalfSpec& spec, HalfMap* half, int* fd) {
  const uint64_t bytes = spec.page_bytes + spec.capacity;
  Counters& counters = shared->counters;
  // Charged first and given back on failure, so that threads cannot overdraw together by more
  // than what each is making.
  counters.Add(kRingBytesOwn, bytes);
  Status status = Status::kNoMemory;
  *fd = -1;
  if (counters.Get(kRingBytesOwn) <= shared->options.ring_budget_bytes) {
    *fd = CreateHalf<RelaySys>(spec);
    if (*fd >= 0) {
      status = MapAsWriter<RelaySys>(*fd, spec, half);
      if (status == Status::kOk) {
        status = SealHalf<RelaySys>(*fd);
        if (status == Status::kOk) return status;
        UnmapHalf<RelaySys>(half);
      }
      RelaySys::Close(*fd);
      *fd = -1;
    }
  }
  counters.Sub(kRingBytesOwn, bytes);
  return status;
}

void DropOwnHalf(Shared* shared, HalfMap* half) {
  if (!half->valid()) return;
  shared->counters.Sub(kRingBytesOwn, half->file_bytes(shared->page_bytes));
  UnmapHalf<RelaySys>(half);
}

Status TakePeerHalf(Shared* shared, int fd, const HalfBounds& bounds, HalfMap* half) {
  const Status status = MapAsReader<RelaySys>(fd, bounds, half);
  if (status == Status::kOk) {
    shared->counters.Add(kRingBytesPeer, half->file_bytes(shared->page_bytes));
  }
  return status;
}

void DropPeerHalf(Shared* shared, HalfMap* half) {
  if (!half->valid()) return;
  shared->counters.Sub(kRingBytesPeer, half->file_bytes(shared->page_bytes));
  UnmapHalf<RelaySys>(half);
}

}  // namespace shimmy::relay
