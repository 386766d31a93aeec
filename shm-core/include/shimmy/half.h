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

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "shimmy/layout.h"
#include "shimmy/status.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U  // Linux 6.3, include/uapi/linux/memfd.h
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010  // Linux 5.1, include/uapi/linux/fcntl.h
#endif

namespace shimmy {

inline constexpr int kHalfSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
inline constexpr long kTmpfsMagic = 0x01021994;  // include/uapi/linux/magic.h

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
  const uint64_t bytes = spec.page_bytes + spec.capacity;
  uint64_t limit = 0;
  // ftruncate beyond RLIMIT_FSIZE raises SIGXFSZ, which kills: look first.
  if (Sys::FileSizeLimit(&limit) == 0 && bytes > limit) return static_cast<int>(Status::kNoMemory);
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  long fd = Sys::MemfdCreate("shimmy", kFlags | MFD_NOEXEC_SEAL);
  if (fd == -EINVAL) fd = Sys::MemfdCreate("shimmy", kFlags);  // before Linux 6.3
  if (fd < 0) return static_cast<int>(Status::kNoMemory);
  if (Sys::Truncate(static_cast<int>(fd), bytes) < 0 ||
      Sys::Allocate(static_cast<int>(fd), bytes) < 0) {
    Sys::Close(static_cast<int>(fd));
    return static_cast<int>(Status::kNoMemory);
  }
  return static_cast<int>(fd);
}

namespace internal {

// Maps [control page][ring]{[ring]} in one reserved range. Returns false when out of memory
// or address space.
template <class Sys>
[[nodiscard]] bool MapRange(int fd, uint64_t page_bytes, uint64_t capacity, bool twice,
                            int protection, HalfMap* out) noexcept {
  const uint64_t file_bytes = page_bytes + capacity;
  const uint64_t total = twice ? file_bytes + capacity : file_bytes;
  const long base =
      Sys::Map(nullptr, total, twice ? PROT_NONE : protection,
               twice ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED | MAP_POPULATE,
               twice ? -1 : fd, 0);
  if (base < 0 && base > -4096) return false;
  auto* const start = reinterpret_cast<unsigned char*>(base);
  if (twice) {
    constexpr int kFlags = MAP_SHARED | MAP_FIXED | MAP_POPULATE;
    const long first = Sys::Map(start, file_bytes, protection, kFlags, fd, 0);
    const long second = Sys::Map(start + file_bytes, capacity, protection, kFlags, fd, page_bytes);
    if ((first < 0 && first > -4096) || (second < 0 && second > -4096)) {
      Sys::Unmap(start, total);
      return false;
    }
  }
  Sys::Advise(start, total, MADV_DONTDUMP);  // rings stay out of core dumps; best effort
  out->control = reinterpret_cast<ControlPage*>(start);
  out->data = start + page_bytes;
  out->capacity = capacity;
  out->mapped_bytes = total;
  out->twice = twice;
  return true;
}

}  // namespace internal

// Step 2: map for writing and write the header. The half must come from CreateHalf() with the
// same spec and must not be sealed yet.
template <class Sys>
[[nodiscard]] Status MapAsWriter(int fd, const HalfSpec& spec, HalfMap* out) noexcept {
  if (!internal::MapRange<Sys>(fd, spec.page_bytes, spec.capacity, spec.twice,
                               PROT_READ | PROT_WRITE, out)) {
    return Status::kNoMemory;
  }
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
  return Sys::AddSeals(fd, kHalfSeals) < 0 ? Status::kInternal : Status::kOk;
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
  const long seals = Sys::GetSeals(fd);
  if (seals < 0 || (seals & kHalfSeals) != kHalfSeals) return Status::kBadHalf;
  // A hugetlb memfd passes the seal check and then raises SIGBUS when the pool is empty.
  struct statfs fs;
  if (Sys::StatFs(fd, &fs) < 0 || static_cast<long>(fs.f_type) != kTmpfsMagic) {
    return Status::kBadHalf;
  }
  struct stat st;
  if (Sys::Stat(fd, &st) < 0 || st.st_size < 0) return Status::kBadHalf;
  const uint64_t size = static_cast<uint64_t>(st.st_size);
  if (size <= bounds.page_bytes) return Status::kBadHalf;
  const uint64_t capacity = size - bounds.page_bytes;
  if (!IsPowerOfTwo(capacity) || capacity < kMinCapacity || capacity < bounds.page_bytes ||
      capacity > bounds.max_capacity) {
    return Status::kBadHalf;
  }
  // A hole would be charged to whoever reads it first: to us.
  if (static_cast<uint64_t>(st.st_blocks) * 512 < size) return Status::kBadHalf;
  if (!internal::MapRange<Sys>(fd, bounds.page_bytes, capacity, bounds.twice, PROT_READ, out)) {
    return Status::kNoMemory;
  }
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
