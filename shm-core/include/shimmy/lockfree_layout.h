// Layout of a lock-free channel: one publisher, up to 64 subscribers, each a memory of its own.
//
//   data    [block 0][block 1]…[block blocks-1], mapped twice in a row     written by: publisher
//   global  [LockfreeGlobal][slot 0]…[slot slots-1]                        written by: publisher
//   local   [LockfreeLocal], one for each subscriber                       written by: it alone
//
//   L1  message number s (from 0, for ever) is described by slot s & (slots - 1); its stamp is
//       s + 1 while it may be read, 0 while the slot or its blocks may be overwritten
//   L2  a stamp becomes 0, then comes a FENCE, then are pins loaded: blocks of a message that is
//       pinned then are overwritten only after its pin went, within the subscriber's budget
//   L3  a message was read whole if its stamp is the same before and after the copy
//   L4  a loan is good if the stamp is the same after the pin was stored and a FENCE
//   L5  `oldest` passes s before the stamp of s goes: who finds it gone finds where to go on
//   L6  published goes up after the stamp is there; a wake follows if it crosses an armed position.
//       Each wake changes `wakes`, which who waits loaded before it armed: none is lost, the end's
//       neither, which moves no count. A publisher that waits for room is woken in the same way by
//       the subscriber that it waits for
//
// Proved by shm-core/model/lockfree_channel.pml. See docs/architecture.md, "Lock-free channel".
#ifndef SHIMMY_LOCKFREE_LAYOUT_H_
#define SHIMMY_LOCKFREE_LAYOUT_H_

#include <type_traits>

#include "shimmy/channel_wait.h"
#include "shimmy/layout.h"
#include "shimmy/region.h"

namespace shimmy {

inline constexpr uint32_t kMaxSubscribers = 64;

// SYNC: which order each word needs, and what it pairs with, stands at its uses in
// lockfree_publisher.h and lockfree_subscriber.h.
struct alignas(64) LockfreeSlot {
  Word stamp;
  Word first_block;
  Word length;    // bytes
  Word deadline;  // CLOCK_MONOTONIC, ns; kNever without a time-to-live
  uint64_t reserved[4];
};
static_assert(sizeof(LockfreeSlot) == 64);

// What one subscriber may keep pinned. It looks for its link's number before its first loan.
struct LockfreeGrant {
  Word number;  // of the link; stored after the budget
  Word budget;  // blocks
};

struct LockfreeGlobal {
  SideWords side;                     // count is `published`; armed positions are about `next`
  alignas(kWordSpacing) Word oldest;  // first message that was not taken back
  Word slowest;                       // lowest `next` of those attached, as last scanned
  alignas(kWordSpacing) LockfreeGrant grants[kMaxSubscribers];
};
static_assert(offsetof(LockfreeGlobal, oldest) == 256);
static_assert(offsetof(LockfreeGlobal, slowest) == 264);
static_assert(offsetof(LockfreeGlobal, grants) == 384);
static_assert(sizeof(LockfreeGlobal) == 384 + 64 * 16);

struct LockfreeLocal {
  SideWords side;  // count is `next`: the first message not yet passed; armed about `published`
  alignas(kWordSpacing) Word pins[kMaxLoans];  // message number + 1, or 0
};
static_assert(offsetof(LockfreeLocal, pins) == 256);
static_assert(sizeof(LockfreeLocal) == 384);

// What both sides know from elsewhere than shared memory.
struct LockfreeGeometry {
  uint64_t slots = 0;        // a power of two
  uint64_t blocks = 0;       // at most kMaxBlocks
  uint64_t block_bytes = 0;  // a multiple of 64
  uint64_t budget = 0;       // blocks that one subscriber may keep pinned, if it has a grant
  uint32_t max_loans = 0;    // at most kMaxLoans

  // As many slots as there can be messages. Half of the blocks may be pinned, by as many
  // subscribers as are expected, and at least eight; who comes after them copies.
  static LockfreeGeometry Of(const ChannelShape& shape, uint32_t max_loans, uint32_t readers) {
    constexpr uint64_t kLenders = 8;
    LockfreeGeometry geometry;
    geometry.blocks = shape.data_blocks();
    geometry.block_bytes = shape.block_bytes;
    geometry.slots = 1;
    while (geometry.slots < geometry.blocks) geometry.slots *= 2;
    const uint64_t lenders = readers < kLenders ? kLenders : readers;
    const uint64_t share = geometry.blocks / 2 / lenders;
    geometry.max_loans = max_loans < kMaxLoans ? max_loans : kMaxLoans;
    geometry.budget = share == 0 ? 1 : share;
    return geometry;
  }
  bool valid() const {
    return IsPowerOfTwo(slots) && block_bytes % kLine == 0 && block_bytes >= kLine && blocks > 0 &&
           blocks <= kMaxBlocks && slots <= kMaxBlocks && block_bytes <= kMaxCapacity / blocks &&
           budget <= blocks && max_loans <= kMaxLoans;
  }
  uint64_t max_bytes() const { return blocks * block_bytes; }
  uint64_t BlocksOf(uint64_t bytes) const {
    return bytes == 0 ? 1 : bytes / block_bytes + (bytes % block_bytes != 0 ? 1 : 0);
  }
  // Words of the two metadata regions, for RegionSpec.
  uint64_t global_bytes() const { return sizeof(LockfreeGlobal) + slots * sizeof(LockfreeSlot); }
  // Blocks that may be pinned by all together.
  uint64_t pinnable() const { return blocks / 2; }
};

template <class Global>
auto* SlotsOf(Global* global) noexcept {
  return reinterpret_cast<
      std::conditional_t<std::is_const_v<Global>, const LockfreeSlot, LockfreeSlot>*>(global + 1);
}

namespace internal {

// SYNC payload (relaxed): a reader may copy blocks while they are overwritten, and drops what it
// copied when the stamp changed (L3). Both sides copy whole words as relaxed atomics, so that this
// is no data race by the letter either; order comes from the stamps and their fences. A word is
// eight bytes: blocks begin at multiples of 64 and a tail of less is padded within its block.
// From kByString on the copy is one instruction, of which a compiler knows nothing, where no
// sanitizer has to see the words.
inline constexpr uint64_t kByString = 1024;

template <class Sys>
bool CopyByString(void* to, const void* from, uint64_t bytes) noexcept {
#if defined(SHIMMY_CALLS_LIBC) || !defined(__x86_64__)
  (void)to, (void)from, (void)bytes;
  return false;
#else
  if (bytes < kByString) return false;
  Sys::Copy(to, from, bytes);
  return true;
#endif
}

template <class Sys>
void StorePayload(unsigned char* to, const unsigned char* from, uint64_t bytes) noexcept {
  if (CopyByString<Sys>(to, from, bytes)) return;
  auto* out = reinterpret_cast<uint64_t*>(to);
  for (; bytes >= 8; bytes -= 8, from += 8) {
    uint64_t word;
    __builtin_memcpy(&word, from, 8);
    __atomic_store_n(out++, word, __ATOMIC_RELAXED);  // relaxed: as above
  }
  if (bytes == 0) return;
  uint64_t word = 0;
  for (uint64_t i = 0; i < bytes; i++) word |= uint64_t{from[i]} << (8 * i);
  // SYNC payload (relaxed): as above.
  __atomic_store_n(out, word, __ATOMIC_RELAXED);
}

template <class Sys>
void LoadPayload(unsigned char* to, const unsigned char* from, uint64_t bytes) noexcept {
  if (CopyByString<Sys>(to, from, bytes)) return;
  const auto* in = reinterpret_cast<const uint64_t*>(from);
  for (; bytes >= 8; bytes -= 8, to += 8) {
    // SYNC payload (relaxed): see StorePayload().
    const uint64_t word = __atomic_load_n(in++, __ATOMIC_RELAXED);  // relaxed: as above
    __builtin_memcpy(to, &word, 8);
  }
  if (bytes == 0) return;
  const uint64_t word = __atomic_load_n(in, __ATOMIC_RELAXED);  // relaxed: as above
  for (uint64_t i = 0; i < bytes; i++) to[i] = static_cast<unsigned char>(word >> (8 * i));
}

}  // namespace internal

}  // namespace shimmy

#endif  // SHIMMY_LOCKFREE_LAYOUT_H_
