// Loans of readers that may be written into: a private mapping of the data.
//
// A page that the program wrote into is a copy from then on, and would hide later messages. So
// each loan begins with its pages dropped: what it shows was published before, and stays.
#ifndef SHIMMY_CHANNEL_VIEW_H_
#define SHIMMY_CHANNEL_VIEW_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

#include "shimmy/memfd.h"
#include "shimmy/region.h"
#include "shimmy/sys_raw.h"

namespace shimmy::channel {

class PrivateView {
 public:
  PrivateView() = default;
  PrivateView(const PrivateView&) = delete;
  PrivateView& operator=(const PrivateView&) = delete;
  ~PrivateView() {
    if (start_ != nullptr) RawSys::Unmap(start_, 2 * bytes_);
  }

  // Maps the blocks of a data region twice in a row. False: no memory.
  [[nodiscard]] bool Map(int fd, const RegionSpec& spec) {
    bytes_ = spec.payload_bytes();
    const long base = RawSys::Map(nullptr, 2 * bytes_, PROT_NONE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base < 0 && base > -4096) return false;
    start_ = reinterpret_cast<unsigned char*>(base);
    for (uint64_t part = 0; part < 2; part++) {
      const long at =
          RawSys::Map(start_ + part * bytes_, bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd, spec.shape.page_bytes);
      if (at < 0 && at > -4096) return false;
    }
    RawSys::Advise(start_, 2 * bytes_, MADV_DONTDUMP);
    return true;
  }
  [[nodiscard]] bool valid() const { return start_ != nullptr; }

  // The same bytes as at `from` in the shared mapping that begins at `shared`, as they are now.
  [[nodiscard]] const unsigned char* Show(const unsigned char* shared, const unsigned char* from,
                                          uint64_t bytes) const {
    unsigned char* const at = start_ + (from - shared);
    const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    const auto first = reinterpret_cast<uint64_t>(at) / page * page;
    const auto end = (reinterpret_cast<uint64_t>(at) + bytes + page - 1) / page * page;
    if (end > first) {
      RawSys::Advise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
    }
    return at;
  }

 private:
  unsigned char* start_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace shimmy::channel

#endif  // SHIMMY_CHANNEL_VIEW_H_
