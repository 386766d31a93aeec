// MapAsReader() on a sealed memfd whose size and header are the input's.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "shimmy/half.h"
#include "shimmy/sys_raw.h"

namespace {

using shimmy::HalfBounds;
using shimmy::HalfHeader;
using shimmy::HalfMap;
using shimmy::RawSys;
using shimmy::Status;

constexpr uint64_t kSizes[] = {0, 100, 4096, 8192, 12288, 20480, 24576, 36864, 69632};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  if (size < 2) return 0;
  const uint64_t bytes = kSizes[data[0] % (sizeof kSizes / sizeof kSizes[0])];
  const int seals = data[1] % 16 == 0 ? F_SEAL_SEAL : shimmy::kHalfSeals;
  const int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(bytes)) < 0) std::abort();
  if (bytes > 0 && fallocate(fd, 0, 0, static_cast<off_t>(bytes)) < 0) std::abort();
  HalfHeader header{};
  header.magic = shimmy::kHalfMagic;
  header.version = shimmy::kHalfVersion;
  header.page_bytes = 4096;
  header.capacity = bytes < 4096 ? 0 : bytes - 4096;
  header.number = 1;
  // The rest of the input spoils the good header from a place of its choice.
  if (size > 3) {
    const size_t at = data[2] % sizeof header;
    const size_t rest = size - 3 < sizeof header - at ? size - 3 : sizeof header - at;
    auto* const words = reinterpret_cast<unsigned char*>(&header);
    for (size_t i = 0; i < rest; i++) words[at + i] = data[3 + i];
  }
  if (bytes >= sizeof header && pwrite(fd, &header, sizeof header, 0) < 0) std::abort();
  if (fcntl(fd, F_ADD_SEALS, seals) < 0) std::abort();

  HalfMap map;
  HalfBounds bounds;
  bounds.max_capacity = 65536;
  bounds.twice = data[1] % 2 == 0;
  if (shimmy::MapAsReader<RawSys>(fd, bounds, &map) == Status::kOk) {
    if (!shimmy::IsPowerOfTwo(map.capacity) || map.capacity + 4096 != bytes) std::abort();
    // Every byte that a reader may touch is there.
    volatile unsigned char sum = 0;
    const uint64_t readable = map.twice ? 2 * map.capacity : map.capacity;
    for (uint64_t i = 0; i < readable; i += 512)
      sum = static_cast<unsigned char>(sum + map.data[i]);
    shimmy::UnmapHalf<RawSys>(&map);
  } else if (map.valid()) {
    std::abort();
  }
  close(fd);
  return 0;
}
