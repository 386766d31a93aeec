// Layout of a half: what one side of a stream writes and the other side reads.
//
//   offset 0           page_bytes                          page_bytes + capacity
//   +------------------+------------------------------------+
//   | control page     | data ring, `capacity` bytes        |
//   +------------------+------------------------------------+
//
//   I1  only the owner of a half stores in it; the peer maps it read-only
//   I2  cursors are 64-bit byte counts that never wrap: position p is at data[p & (capacity - 1)]
//   I3  every word that the other side polls has cache lines of its own
//   I4  geometry is read once, when the half is received, and kept in private memory
//
// See docs/architecture.md, "Half", and docs/reference/half-layout.md.
#ifndef SHIMMY_LAYOUT_H_
#define SHIMMY_LAYOUT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace shimmy {

inline constexpr uint64_t kHalfMagic = 0x31464c4148594d53;  // "SMYHALF1" in memory
inline constexpr uint32_t kHalfVersion = 1;
// Two lines: Intel's spatial prefetcher fetches lines in pairs, and Apple and some Arm cores
// have 128-byte lines.
inline constexpr size_t kWordSpacing = 128;
inline constexpr uint64_t kMinCapacity = 4096;
inline constexpr uint64_t kFirstCapacity = 16384;
inline constexpr uint64_t kMaxCapacity = uint64_t{1} << 30;

// Fixed when the half is made.
struct HalfHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t page_bytes;  // of the node that made it; the data ring begins there
  uint64_t capacity;    // bytes of the ring, a power of two and a multiple of page_bytes
  uint64_t start;       // the writer's cursor when the half was made
  uint32_t number;      // 1 for a stream's first half, one more for each replacement
  uint32_t reserved;
};
static_assert(sizeof(HalfHeader) == 40);

// SYNC: which order each word needs, and what it pairs with, stands at its uses in stream_end.h.
using Word = std::atomic<uint64_t>;
static_assert(Word::is_always_lock_free && sizeof(Word) == 8);

struct ControlPage {
  HalfHeader header;
  // Producer words: about the ring in this half.
  alignas(kWordSpacing) Word tail;  // end of what was published
  // Consumer words: about the ring in the peer's half.
  alignas(kWordSpacing) Word head;     // end of what was consumed
  alignas(kWordSpacing) Word wake_at;  // a publish that passes this position rings the bell
  // Rarely stored words share a line pair.
  alignas(kWordSpacing) Word fin;  // 0, or final tail + 1
  Word rst;                        // 1: the writer reset the stream
  Word plugs;                      // plugs sent so far
  Word moved;                      // 1: the last store here; a newer half follows
  Word half;                       // number of the peer's half that we read from
  Word cpu;                        // a hint: CPU where the writer runs + 1, 0 when it does not say
};
static_assert(offsetof(ControlPage, tail) == 128);
static_assert(offsetof(ControlPage, head) == 256);
static_assert(offsetof(ControlPage, wake_at) == 384);
static_assert(offsetof(ControlPage, fin) == 512);
static_assert(offsetof(ControlPage, rst) == 520);
static_assert(offsetof(ControlPage, plugs) == 528);
static_assert(offsetof(ControlPage, moved) == 536);
static_assert(offsetof(ControlPage, half) == 544);
static_assert(offsetof(ControlPage, cpu) == 552);
static_assert(sizeof(ControlPage) <= 4096);

// Records in the doorbell; a record of any other length, or with fds it must not have, is
// stray and ends the stream.
inline constexpr size_t kBellBytes = 1;
inline constexpr size_t kPlugBytes = 8192;
inline constexpr uint32_t kReplaceVersion = 1;

struct ReplaceRecord {
  uint32_t version;
  uint32_t number;
  uint64_t capacity;
  uint64_t start;
  uint64_t reserved;
};
static_assert(sizeof(ReplaceRecord) == 32);

inline constexpr bool IsPowerOfTwo(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

}  // namespace shimmy

#endif  // SHIMMY_LAYOUT_H_
