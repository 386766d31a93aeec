// A half: create, map as writer, seal; and the receiver's checks. See layout.h.
//
//   I5  a half is allocated page by page before anyone else sees it: the creator pays, and
//       nobody can be made to fault on a hole
//   I6  a half is sealed (SHRINK, GROW, FUTURE_WRITE, SEAL) before its fd leaves the process
//       family that writes it, and nobody maps one that is not
//   I7  after MapAsReader() nothing about size or place is read from shared memory again
//
// The data ring is mapped twice in a row so that a span never wraps, unless `twice` is off.
#ifndef SHIMMY_HALF_H_
#define SHIMMY_HALF_H_

#include "shimmy/layout.h"
#include "shimmy/memfd.h"
#include "shimmy/status.h"

namespace shimmy {

inline constexpr int kHalfSeals = kMemfdSeals;

// A mapped half with a private copy of its geometry (I4). Plain data: who owns it unmaps it.
struct HalfMap {
  ControlPage* control = nullptr;
  unsigned char* data = nullptr;
  uint64_t capacity = 0;
  uint64_t start = 0;
  uint64_t mapped_bytes = 0;
  uint32_t number = 0;
  bool twice = false;

  bool valid() const { return control != nullptr; }
  // Memory that the memfd holds, in bytes.
  uint64_t file_bytes(uint64_t page_bytes) const { return page_bytes + capacity; }
  unsigned char* at(uint64_t position) const { return data + (position & (capacity - 1)); }
  // Bytes from `position` that lie in a row, at most `wanted`.
  uint64_t contiguous(uint64_t position, uint64_t wanted) const {
    if (twice) return wanted;
    const uint64_t to_end = capacity - (position & (capacity - 1));
    return wanted < to_end ? wanted : to_end;
  }
};

struct HalfSpec {
  uint64_t capacity = kFirstCapacity;
  uint64_t start = 0;
  uint64_t page_bytes = 4096;
  uint32_t number = 1;
  bool twice = true;
};

// What a receiver accepts.
struct HalfBounds {
  uint64_t max_capacity = kMaxCapacity;
  uint64_t page_bytes = 4096;
  uint64_t start = 0;
  uint32_t number = 1;
  bool twice = true;
};

// Step 1: a memfd of the right size with every page allocated. Returns the fd or a Status.
template <class Sys>
[[nodiscard]] int CreateHalf(const HalfSpec& spec) noexcept {
  return CreateMemfd<Sys>(spec.page_bytes + spec.capacity);
}

namespace internal {

template <class Sys>
[[nodiscard]] bool MapRange(int fd, const MemfdShape& shape, HalfMap* out) noexcept {
  unsigned char* const start = MapMemfd<Sys>(fd, shape);
  if (start == nullptr) return false;
  out->control = reinterpret_cast<ControlPage*>(start);
  out->data = start + shape.head_bytes;
  out->capacity = shape.body_bytes;
  out->mapped_bytes = shape.mapped_bytes();
  out->twice = shape.twice;
  return true;
}

}  // namespace internal

// Step 2: map for writing and write the header. The half must come from CreateHalf() with the
// same spec and must not be sealed yet.
template <class Sys>
[[nodiscard]] Status MapAsWriter(int fd, const HalfSpec& spec, HalfMap* out) noexcept {
  const MemfdShape shape{spec.page_bytes, spec.capacity, spec.twice, PROT_READ | PROT_WRITE};
  if (!internal::MapRange<Sys>(fd, shape, out)) return Status::kNoMemory;
  out->start = spec.start;
  out->number = spec.number;
  HalfHeader& header = out->control->header;
  header.magic = kHalfMagic;
  header.version = kHalfVersion;
  header.page_bytes = static_cast<uint32_t>(spec.page_bytes);
  header.capacity = spec.capacity;
  header.start = spec.start;
  header.number = spec.number;
  header.reserved = 0;
  return Status::kOk;
}

// Step 3: from here on nobody can map it for writing, resize it or punch holes (I6).
template <class Sys>
[[nodiscard]] Status SealHalf(int fd) noexcept {
  return SealMemfd<Sys>(fd);
}

template <class Sys>
void UnmapHalf(HalfMap* half) noexcept {
  if (half->valid()) Sys::Unmap(half->control, half->mapped_bytes);
  *half = HalfMap{};
}

// Checks everything a peer could have got wrong on purpose, then maps read-only. Does not
// close `fd`. kBadHalf when a check fails, kNoMemory when we cannot map.
template <class Sys>
[[nodiscard]] Status MapAsReader(int fd, const HalfBounds& bounds, HalfMap* out) noexcept {
  uint64_t size = 0;
  if (CheckMemfd<Sys>(fd, &size) != Status::kOk) return Status::kBadHalf;
  if (size <= bounds.page_bytes) return Status::kBadHalf;
  const uint64_t capacity = size - bounds.page_bytes;
  if (!IsPowerOfTwo(capacity) || capacity < kMinCapacity || capacity < bounds.page_bytes ||
      capacity > bounds.max_capacity) {
    return Status::kBadHalf;
  }
  const MemfdShape shape{bounds.page_bytes, capacity, bounds.twice, PROT_READ};
  if (!internal::MapRange<Sys>(fd, shape, out)) return Status::kNoMemory;
  // PEER: each header field is read once, into a local, and compared with what we know.
  const volatile HalfHeader& header = out->control->header;
  const bool good = header.magic == kHalfMagic && header.version == kHalfVersion &&
                    header.page_bytes == bounds.page_bytes && header.capacity == capacity &&
                    header.number == bounds.number && header.start == bounds.start;
  if (!good) {
    UnmapHalf<Sys>(out);
    return Status::kBadHalf;
  }
  out->start = bounds.start;
  out->number = bounds.number;
  return Status::kOk;
}

}  // namespace shimmy

#endif  // SHIMMY_HALF_H_
