// What every memory shared by Shimmy has in common: a memfd of one head and one body, made in
// three steps (create, map for writing, seal), and the checks of who receives one.
//
// I5 and I6 of half.h hold for every one of them: it is allocated and sealed before anyone else
// sees it.
//
// half.h and region.h say what stands in it.
#ifndef SHIMMY_MEMFD_H_
#define SHIMMY_MEMFD_H_

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cstdint>

#include "shimmy/status.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U  // Linux 6.3, include/uapi/linux/memfd.h
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010  // Linux 5.1, include/uapi/linux/fcntl.h
#endif

namespace shimmy {

inline constexpr int kMemfdSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
inline constexpr long kTmpfsMagic = 0x01021994;  // include/uapi/linux/magic.h

// Step 1: a memfd of `bytes` with every page allocated (I5). Returns the fd or a Status.
template <class Sys>
[[nodiscard]] int CreateMemfd(uint64_t bytes) noexcept {
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

// Step 3: from here on nobody can map it for writing, resize it or punch holes (I6).
template <class Sys>
[[nodiscard]] Status SealMemfd(int fd) noexcept {
  return Sys::AddSeals(fd, kMemfdSeals) < 0 ? Status::kInternal : Status::kOk;
}

// What a receiver looks at before it maps a memfd that somebody else made: seals, kind, holes.
// kBadHalf, or kOk and its size.
template <class Sys>
[[nodiscard]] Status CheckMemfd(int fd, uint64_t* bytes) noexcept {
  const long seals = Sys::GetSeals(fd);
  if (seals < 0 || (seals & kMemfdSeals) != kMemfdSeals) return Status::kBadHalf;
  // A hugetlb memfd passes the seal check and then raises SIGBUS when the pool is empty.
  struct statfs fs;
  if (Sys::StatFs(fd, &fs) < 0 || static_cast<long>(fs.f_type) != kTmpfsMagic) {
    return Status::kBadHalf;
  }
  struct stat st;
  if (Sys::Stat(fd, &st) < 0 || st.st_size < 0) return Status::kBadHalf;
  const uint64_t size = static_cast<uint64_t>(st.st_size);
  // A hole would be charged to whoever reads it first: to us.
  if (static_cast<uint64_t>(st.st_blocks) * 512 < size) return Status::kBadHalf;
  *bytes = size;
  return Status::kOk;
}

// How a memfd is laid out, and how it is to be mapped. Both sizes are multiples of a page.
struct MemfdShape {
  uint64_t head_bytes = 0;
  uint64_t body_bytes = 0;
  bool twice = false;  // the body again behind itself, so that what wraps lies in a row
  int protection = PROT_READ;

  uint64_t file_bytes() const { return head_bytes + body_bytes; }
  uint64_t mapped_bytes() const { return twice ? file_bytes() + body_bytes : file_bytes(); }
};

// Maps [head][body]{[body]} in one reserved range. Returns null when out of memory or address
// space.
template <class Sys>
[[nodiscard]] unsigned char* MapMemfd(int fd, const MemfdShape& shape) noexcept {
  const uint64_t total = shape.mapped_bytes();
  const bool twice = shape.twice;
  const long base =
      Sys::Map(nullptr, total, twice ? PROT_NONE : shape.protection,
               twice ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED | MAP_POPULATE,
               twice ? -1 : fd, 0);
  if (base < 0 && base > -4096) return nullptr;
  auto* const start = reinterpret_cast<unsigned char*>(base);
  if (twice) {
    constexpr int kFlags = MAP_SHARED | MAP_FIXED | MAP_POPULATE;
    const long first = Sys::Map(start, shape.file_bytes(), shape.protection, kFlags, fd, 0);
    const long second = Sys::Map(start + shape.file_bytes(), shape.body_bytes, shape.protection,
                                 kFlags, fd, shape.head_bytes);
    if ((first < 0 && first > -4096) || (second < 0 && second > -4096)) {
      Sys::Unmap(start, total);
      return nullptr;
    }
  }
  Sys::Advise(start, total, MADV_DONTDUMP);  // payload stays out of core dumps; best effort
  return start;
}

}  // namespace shimmy

#endif  // SHIMMY_MEMFD_H_
