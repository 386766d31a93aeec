// Layout of a lock-based channel: one producer, one consumer at a time, each message read once.
//
//   data      [block 0][block 1]…, mapped twice in a row                    written by: producer
//   producer  [LockProducerWords][descriptor of block 0][of block 1]…       written by: producer
//   consumer  [LockConsumerWords]                                           written by: consumer
//
// Positions count blocks for ever: block number p is at p % blocks. The two semaphores of a
// producer-consumer channel are pairs of counters, each stored by one side alone:
//
//   filled = produced - consumed            free = blocks - filled
//
//   C8   consumed <= produced <= consumed + blocks, and neither goes back
//   C9   a message and its descriptor are complete before produced passes them, and read before
//        consumed passes them
//   C10  where consumer number k begins is the producer's word (consumer_start, consumer_number) as
//        long as it lives; it is the last consumed of the one before, loaded after that one's
//        hang-up
//   C11  a consumer's words say nothing to the producer before `number` in them is its number
//   C12  a consumer that comes after the producer's death begins at the largest of what its region
//        was given when it was made (consumed of the one before) and consumer_start
//   C13  a hang-up decides nothing before produced and fin were loaded again after it
//
// Proved by shm-core/model/lock_channel.pml, except C11 and C12. See docs/architecture.md,
// "Lock-based channel", and docs/reference/channel-layout.md.
#ifndef SHIMMY_LOCK_LAYOUT_H_
#define SHIMMY_LOCK_LAYOUT_H_

#include <type_traits>

#include "shimmy/channel_wait.h"
#include "shimmy/layout.h"
#include "shimmy/region.h"

namespace shimmy {

// SYNC: which order each word needs, and what it pairs with, stands at its uses in
// lock_producer.h and lock_consumer.h.
struct LockProducerWords {
  SideWords side;  // count is `produced`; armed positions are about `consumed`
  alignas(kWordSpacing) Word consumer_start;
  Word consumer_number;  // whom consumer_start is for; stored after it
};
static_assert(offsetof(LockProducerWords, consumer_start) == 256);
static_assert(offsetof(LockProducerWords, consumer_number) == 264);
static_assert(sizeof(LockProducerWords) == 384);

struct LockConsumerWords {
  SideWords side;                     // count is `consumed`; armed positions are about `produced`
  alignas(kWordSpacing) Word number;  // 0, or who we are: has begun (C11)
};
static_assert(offsetof(LockConsumerWords, number) == 256);
static_assert(sizeof(LockConsumerWords) == 384);

// A descriptor: blocks of the run in the upper half, bytes of the message in the lower one.
inline constexpr uint64_t kSkipBytes = 0xffffffff;  // no message: a reservation that was cancelled
constexpr uint64_t DescriptorOf(uint64_t blocks, uint64_t bytes) { return blocks << 32 | bytes; }
static_assert(kMaxRegionBytes < kSkipBytes && kMaxBlocks < (uint64_t{1} << 32));

// What both sides know from elsewhere than shared memory.
struct LockGeometry {
  uint64_t blocks = 0;  // ChannelShape::data_blocks()
  uint64_t block_bytes = 0;
  uint32_t max_loans = 0;  // at most kMaxLoans

  static LockGeometry Of(const ChannelShape& shape, uint32_t max_loans) {
    return {shape.data_blocks(), shape.block_bytes, max_loans < kMaxLoans ? max_loans : kMaxLoans};
  }
  uint64_t max_bytes() const { return blocks * block_bytes; }
  uint64_t BlocksOf(uint64_t bytes) const {
    return bytes == 0 ? 1 : bytes / block_bytes + (bytes % block_bytes != 0 ? 1 : 0);
  }
  // Words of the producer's region, for RegionSpec.
  uint64_t producer_bytes() const { return sizeof(LockProducerWords) + blocks * sizeof(Word); }
};

// A position and the block it is at, so that nothing is divided on the way of a message.
struct LockCursor {
  uint64_t position = 0;
  uint64_t block = 0;

  static LockCursor At(uint64_t position, uint64_t blocks) { return {position, position % blocks}; }
  LockCursor After(uint64_t count, uint64_t blocks) const {
    const uint64_t next = block + count;
    return {position + count, next < blocks ? next : next - blocks};
  }
  LockCursor Before(uint64_t count, uint64_t blocks) const {
    return {position - count, block >= count ? block - count : block + blocks - count};
  }
};

template <class Words>
auto* DescriptorsOf(Words* words) noexcept {
  return reinterpret_cast<std::conditional_t<std::is_const_v<Words>, const Word, Word>*>(words + 1);
}

}  // namespace shimmy

#endif  // SHIMMY_LOCK_LAYOUT_H_
