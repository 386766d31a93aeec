// A region: one of the memories of a channel, written by one process and mapped read-only by
// others.
//
//   offset 0           page_bytes                        page_bytes + payload bytes
//   +------------------+----------------------------------+
//   | RegionHeader     | payload: blocks, or words         |
//   +------------------+----------------------------------+
//
//   C1  one process family stores in a region; everybody else maps it read-only
//   C2  who maps a region knows all that its header says from elsewhere, and compares: sizes and
//       places are never taken from shared memory, and regions of two channels, of two rings of one
//       channel, or of two kinds are not mixed up
//   C3  blocks are mapped twice in a row: a message of several blocks never wraps
//
// Made and checked as memfd.h says. See docs/reference/channel-layout.md.
#ifndef SHIMMY_REGION_H_
#define SHIMMY_REGION_H_

#include "shimmy/layout.h"
#include "shimmy/memfd.h"
#include "shimmy/status.h"

namespace shimmy {

inline constexpr uint64_t kRegionMagic = 0x314e474552594d53;  // "SMYREGN1" in memory
inline constexpr uint32_t kRegionVersion = 1;
inline constexpr uint32_t kMaxLoans = 16;         // messages that one side may hold in place
inline constexpr uint64_t kNever = ~uint64_t{0};  // a deadline or armed position that never comes
inline constexpr uint64_t kMaxBlocks = uint64_t{1} << 24;
inline constexpr uint64_t kMaxBlockBytes = uint64_t{1} << 20;
inline constexpr uint64_t kMaxRegionBytes = uint64_t{1} << 31;
inline constexpr uint64_t kLine = 64;  // blocks are multiples of it

// Same names as RegionKind in agent/api-channels.ts.
enum class RegionKind : uint32_t { kData = 1, kProducer, kConsumer, kGlobal, kLocal };

// Fixed when the region is made.
struct RegionHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t kind;
  uint32_t page_bytes;  // of the node that made it; the payload begins there
  uint32_t reserved;
  uint64_t channel;     // id, by who created the channel
  uint64_t generation;  // of the ring that the region belongs to, or that its reader is at
  uint64_t payload_bytes;
  uint64_t blocks;
  uint64_t block_bytes;
};
static_assert(sizeof(RegionHeader) == 64);

// What a channel's regions have in common. From the agent, never from shared memory.
struct ChannelShape {
  uint64_t channel = 0;
  uint64_t generation = 0;
  uint64_t page_bytes = 4096;
  uint64_t blocks = 0;       // as asked for; data_blocks() is what there is
  uint64_t block_bytes = 0;  // a multiple of 64

  bool valid() const {
    return IsPowerOfTwo(page_bytes) && page_bytes >= 4096 && blocks > 0 && blocks <= kMaxBlocks &&
           block_bytes >= kLine && block_bytes % kLine == 0 && block_bytes <= kMaxBlockBytes &&
           data_blocks() * block_bytes <= kMaxRegionBytes;
  }
  // Rounded up until they are whole pages, so that they can be mapped twice in a row.
  uint64_t data_blocks() const {
    // The largest power of two in block_bytes says how many of them make a page.
    const uint64_t power = block_bytes & (~block_bytes + 1);
    const uint64_t step = power >= page_bytes ? 1 : page_bytes / power;
    return (blocks + step - 1) / step * step;
  }
};

struct RegionSpec {
  ChannelShape shape;
  RegionKind kind = RegionKind::kData;
  uint64_t words_bytes = 0;  // of a metadata region; rounded up to whole pages

  uint64_t payload_bytes() const {
    if (kind == RegionKind::kData) return shape.data_blocks() * shape.block_bytes;
    return (words_bytes + shape.page_bytes - 1) / shape.page_bytes * shape.page_bytes;
  }
  MemfdShape memfd(int protection) const {
    return {shape.page_bytes, payload_bytes(), kind == RegionKind::kData, protection};
  }
};

// A mapped region. Plain data: who owns it unmaps it.
struct RegionMap {
  RegionHeader* header = nullptr;
  unsigned char* payload = nullptr;
  uint64_t mapped_bytes = 0;

  bool valid() const { return header != nullptr; }
  // The words that a metadata region begins with.
  template <class Words>
  Words* words() const {
    return reinterpret_cast<Words*>(payload);
  }
};

namespace internal {

template <class Sys>
[[nodiscard]] Status MapRegion(int fd, const RegionSpec& spec, int protection,
                               RegionMap* out) noexcept {
  const MemfdShape shape = spec.memfd(protection);
  unsigned char* const start = MapMemfd<Sys>(fd, shape);
  if (start == nullptr) return Status::kNoMemory;
  *out = {reinterpret_cast<RegionHeader*>(start), start + shape.head_bytes, shape.mapped_bytes()};
  return Status::kOk;
}

}  // namespace internal

template <class Sys>
void UnmapRegion(RegionMap* region) noexcept {
  if (region->valid()) Sys::Unmap(region->header, region->mapped_bytes);
  *region = RegionMap{};
}

// Makes a region of zeros, maps it for writing, and seals it. Returns the fd, which is the
// caller's, or a Status. Its words are prepared before the fd is passed on.
template <class Sys>
[[nodiscard]] int MakeRegion(const RegionSpec& spec, RegionMap* out) noexcept {
  if (!spec.shape.valid()) return static_cast<int>(Status::kInternal);
  const int fd = CreateMemfd<Sys>(spec.memfd(0).file_bytes());
  if (fd < 0) return fd;
  Status status = internal::MapRegion<Sys>(fd, spec, PROT_READ | PROT_WRITE, out);
  if (status == Status::kOk) {
    *out->header = {.magic = kRegionMagic,
                    .version = kRegionVersion,
                    .kind = static_cast<uint32_t>(spec.kind),
                    .page_bytes = static_cast<uint32_t>(spec.shape.page_bytes),
                    .reserved = 0,
                    .channel = spec.shape.channel,
                    .generation = spec.shape.generation,
                    .payload_bytes = spec.payload_bytes(),
                    .blocks = spec.shape.blocks,
                    .block_bytes = spec.shape.block_bytes};
    status = SealMemfd<Sys>(fd);
  }
  if (status == Status::kOk) return fd;
  UnmapRegion<Sys>(out);
  Sys::Close(fd);
  return static_cast<int>(status);
}

// Checks everything that who made the region could have got wrong on purpose, then maps it
// read-only. Does not close `fd`. kBadHalf when a check fails, kNoMemory when we cannot map.
template <class Sys>
[[nodiscard]] Status MapRegionAsReader(int fd, const RegionSpec& spec, RegionMap* out) noexcept {
  if (!spec.shape.valid()) return Status::kInternal;
  uint64_t size = 0;
  if (CheckMemfd<Sys>(fd, &size) != Status::kOk) return Status::kBadHalf;
  if (size != spec.memfd(0).file_bytes()) return Status::kBadHalf;
  const Status status = internal::MapRegion<Sys>(fd, spec, PROT_READ, out);
  if (status != Status::kOk) return status;
  // PEER: each header field is read once and compared with what we know (C2).
  const volatile RegionHeader& header = *out->header;
  const bool good =
      header.magic == kRegionMagic && header.version == kRegionVersion &&
      header.kind == static_cast<uint32_t>(spec.kind) &&
      header.page_bytes == spec.shape.page_bytes && header.channel == spec.shape.channel &&
      header.generation == spec.shape.generation && header.payload_bytes == spec.payload_bytes() &&
      header.blocks == spec.shape.blocks && header.block_bytes == spec.shape.block_bytes;
  if (good) return Status::kOk;
  UnmapRegion<Sys>(out);
  return Status::kBadHalf;
}

}  // namespace shimmy

#endif  // SHIMMY_REGION_H_
