// The producer of a lock-based channel: reserves blocks, commits messages, says where each consumer
// begins. See lock_layout.h for the layout and C8 to C13.
//
//   C14  messages are committed in the order in which their blocks were reserved; what is cancelled
//        among them becomes a run that the consumer steps over
//   C15  a consumer that breaks the rules ends its own link only: its words are range-checked, and
//        the last good value of `consumed` stays
//
// One thread at a time, except Notify() on the waiter. Freestanding: system calls are `Sys`, memory
// is the caller's.
#ifndef SHIMMY_LOCK_PRODUCER_H_
#define SHIMMY_LOCK_PRODUCER_H_

#include "shimmy/lock_layout.h"

namespace shimmy {

// Everything a producer knows, in memory that nobody else writes.
struct LockProducerState {
  LockGeometry geometry;
  LockProducerWords* words = nullptr;
  unsigned char* data = nullptr;  // mapped twice in a row

  const LockConsumerWords* consumer = nullptr;  // mapped read-only
  ChannelPeer peer;
  ChannelWaiter waiter;
  uint64_t consumer_number = 0;  // of the last one attached; numbers only grow
  bool has_begun = false;
  bool is_consumer_broken = false;

  uint64_t consumed = 0;  // as last seen, checked
  LockCursor produced;
  LockCursor reserved;  // end of what is reserved

  // Reservations [first, next), at number % kMaxLoans.
  uint64_t first = 0;
  uint64_t next = 0;
  struct {
    uint64_t blocks;
    bool is_cancelled;
  } reservations[kMaxLoans] = {};

  bool ended = false;
  WaitCounts counts;
};

// Room for a message, written in place.
struct LockReservation {
  unsigned char* data = nullptr;
  uint64_t bytes = 0;
  uint64_t id = 0;
};

template <class Sys>
class LockProducer {
 public:
  using State = LockProducerState;

  explicit LockProducer(State* state) noexcept : s_(*state) {}
  LockProducer(const LockProducer&) = delete;
  LockProducer& operator=(const LockProducer&) = delete;

  // Words of a fresh region of zeros, before anybody else may look at it.
  static void Prepare(LockProducerWords* words) noexcept {
    PrepareSide(&words->side, 0);
    // SYNC consumer_start consumer_number (relaxed): the consumer gets the fd afterwards.
    words->consumer_start.store(0, std::memory_order_relaxed);
    words->consumer_number.store(0, std::memory_order_relaxed);
  }

  // ---- consumers ----

  // A consumer is there. `number` is larger than any before. kNotNow: one is attached, or the
  // number is not. Reservations, and what was published before, are its as well.
  [[nodiscard]] Status AttachConsumer(const LockConsumerWords* consumer, uint64_t number,
                                      int bell_fd) noexcept {
    if (s_.consumer != nullptr || number <= s_.consumer_number) return Status::kNotNow;
    s_.consumer = consumer;
    s_.peer = {&consumer->side, bell_fd};
    s_.consumer_number = number;
    s_.has_begun = false;
    s_.is_consumer_broken = false;
    ForgetDeath();
    // SYNC consumer_start (release): pairs with the acquire load in LockConsumer::Prepare(), who
    // then sees a `produced` that is not less; and before the release store of consumer_number.
    s_.words->consumer_start.store(s_.consumed, std::memory_order_release);
    // SYNC consumer_number (release): pairs with the acquire load in LockConsumer::Begin() (C10).
    s_.words->consumer_number.store(number, std::memory_order_release);
    WakeAlways<Sys>(&s_.words->side, s_.peer, &s_.counts);
    return Status::kOk;
  }

  // The consumer's doorbell has hung up: learns how far it came. One that is still there and takes
  // on after this would read what the next one reads too: who takes a living one away waits for its
  // hang-up. Its region may be unmapped and the doorbell closed afterwards.
  void DetachConsumer() noexcept {
    if (s_.consumer == nullptr) return;
    (void)Look();  // after the hang-up; a lie leaves what was known (C10, C15)
    s_.consumer = nullptr;
    s_.peer = ChannelPeer{};
    ForgetDeath();  // who waits for room waits for the next one now
  }

  // ---- writing ----

  // Room for `bytes`, in place. kWouldBlock: not now. kTooLarge: never. kNotNow: as many as may be
  // are reserved. kCursorOutOfRange: the consumer is to be detached.
  [[nodiscard]] Status Reserve(uint64_t bytes, LockReservation* out) noexcept {
    if (s_.next - s_.first >= s_.geometry.max_loans) return Status::kNotNow;
    return ReserveRun(bytes, out);
  }

  // Publishes the first `bytes` of the oldest reservation. kNotNow: it is not the oldest, or not so
  // large.
  [[nodiscard]] Status Commit(uint64_t id, uint64_t bytes) noexcept {
    if (s_.ended) return Status::kEnded;
    if (id != s_.first || s_.first == s_.next) return Status::kNotNow;
    const uint64_t blocks = s_.geometry.BlocksOf(bytes);
    uint64_t run = Run(id).blocks;
    if (blocks > run) return Status::kNotNow;
    if (s_.first + 1 == s_.next) {  // nothing is reserved behind it: what it does not need is free
      s_.reserved = s_.reserved.Before(run - blocks, s_.geometry.blocks);
      run = blocks;
    }
    LockCursor end = Describe(s_.produced, run, bytes);
    s_.first++;
    end = SkipCancelled(end);
    Advance(end);
    return Status::kOk;
  }

  // Gives a reservation back.
  void Cancel(uint64_t id) noexcept {
    if (id - s_.first >= s_.next - s_.first) return;
    Run(id).is_cancelled = true;
    while (s_.next > s_.first && Run(s_.next - 1).is_cancelled) {
      s_.next--;
      s_.reserved = s_.reserved.Before(Run(s_.next).blocks, s_.geometry.blocks);
    }
    const LockCursor end = SkipCancelled(s_.produced);
    if (end.position != s_.produced.position) Advance(end);  // C14
  }

  // Copies a message. kNotNow while something is reserved: it would come before.
  [[nodiscard]] Status Publish(const void* data, uint64_t bytes) noexcept {
    if (s_.first != s_.next) return Status::kNotNow;
    LockReservation room;
    const Status status = ReserveRun(bytes, &room);
    if (status != Status::kOk) return status;
    Sys::Copy(room.data, data, bytes);
    return Commit(room.id, bytes);
  }

  // Publish() that waits for room. What WaitForRoom() says ends it, with nothing published.
  [[nodiscard]] Status Publish(const void* data, uint64_t bytes,
                               const WaitOptions& options) noexcept {
    for (;;) {
      Status status = Publish(data, bytes);
      if (status != Status::kWouldBlock) return status;
      status = WaitForRoom(bytes, options);
      if (status != Status::kOk) return status;
    }
  }

  // No more messages; reservations are given up. What is there is still read.
  void Fin() noexcept {
    if (s_.ended) return;
    s_.ended = true;
    s_.next = s_.first;
    s_.reserved = s_.produced;
    const uint64_t produced = s_.produced.position;
    // SYNC fin (release): pairs with the acquire load in LockConsumer::Look(); produced was stored
    // before.
    s_.words->side.fin.store(produced + 1, std::memory_order_release);
    // A consumer that waits is armed there: the end counts as passing it.
    WakeAcross<Sys>(&s_.words->side, s_.peer, produced, produced + 1, &s_.counts);
  }

  // ---- waiting ----

  // Waits for room for `bytes`; WaitFor() has the results. kTooLarge: there never will be. Without
  // a consumer it waits for Notify(): one is attached by this thread afterwards.
  [[nodiscard]] Status WaitForRoom(uint64_t bytes, const WaitOptions& options) noexcept {
    const uint64_t blocks = s_.geometry.BlocksOf(bytes);
    if (blocks > s_.geometry.blocks) return Status::kTooLarge;
    return WaitForFree(blocks, options);
  }

  // Waits until everything was consumed.
  [[nodiscard]] Status WaitUntilDrained(const WaitOptions& options) noexcept {
    return WaitForFree(s_.geometry.blocks, options);
  }

  // For event loops: asks for a bell when there is room. True: wait for the doorbell; false: try
  // again now.
  [[nodiscard]] bool ArmBell(uint64_t bytes) noexcept {
    const uint64_t blocks = s_.geometry.BlocksOf(bytes);
    (void)Arm(&s_.words->side, s_.peer, PositionFor(blocks), true);
    return !HasFree(blocks);
  }

  void DisarmBell() noexcept { Disarm(&s_.words->side); }

  // Takes bells out of the doorbell: kOk, kPeerDied or kStrayIo.
  [[nodiscard]] Status EatBells() noexcept {
    return internal::EatBells<Sys>(s_.peer.bell_fd, &s_.waiter);
  }

 private:
  auto& Run(uint64_t id) noexcept { return s_.reservations[id % kMaxLoans]; }

  void ForgetDeath() noexcept {
    // SYNC flags (relaxed): who watches a link has stopped before, or has not begun.
    s_.waiter.flags.fetch_and(~ChannelWaiter::kDead, std::memory_order_relaxed);
  }

  uint64_t Free() const noexcept {
    return s_.geometry.blocks - (s_.reserved.position - s_.consumed);
  }

  // Looks how far the consumer came.
  Status Look() noexcept {
    if (s_.is_consumer_broken) return Status::kCursorOutOfRange;
    if (s_.consumer == nullptr) return Status::kOk;
    if (!s_.has_begun) {
      // SYNC number (acquire): pairs with the release store in LockConsumer::Begin() (C11).
      s_.has_begun =
          s_.consumer->number.load(std::memory_order_acquire) == s_.consumer_number;  // PEER
      if (!s_.has_begun) return Status::kOk;
    }
    // SYNC consumed (acquire): pairs with the release store in LockConsumer::Settle(): what was
    // read may be overwritten (C9).
    const uint64_t consumed = s_.peer.words->count.load(std::memory_order_acquire);  // PEER
    if (consumed - s_.consumed > s_.produced.position - s_.consumed) {               // C8
      s_.is_consumer_broken = true;
      return Status::kCursorOutOfRange;
    }
    s_.consumed = consumed;
    return Status::kOk;
  }

  // True also when the next call will say what is wrong.
  bool HasFree(uint64_t blocks) noexcept {
    return Free() >= blocks || Look() != Status::kOk || Free() >= blocks;
  }

  // The consumer's store that passes this leaves `blocks` free.
  uint64_t PositionFor(uint64_t blocks) const noexcept {
    const uint64_t end = s_.reserved.position + blocks;
    return end > s_.geometry.blocks ? end - s_.geometry.blocks - 1 : kNever;
  }

  Status WaitForFree(uint64_t blocks, const WaitOptions& options) noexcept {
    return WaitFor<Sys>(&s_.waiter, &s_.words->side, s_.peer, PositionFor(blocks), options,
                        &s_.counts, [this, blocks]() noexcept { return HasFree(blocks); });
  }

  Status ReserveRun(uint64_t bytes, LockReservation* out) noexcept {
    if (s_.ended) return Status::kEnded;
    const uint64_t blocks = s_.geometry.BlocksOf(bytes);
    if (blocks > s_.geometry.blocks) return Status::kTooLarge;
    if (Free() < blocks) {
      const Status status = Look();
      if (status != Status::kOk) return status;
      if (Free() < blocks) return Status::kWouldBlock;
    }
    *out = {s_.data + s_.reserved.block * s_.geometry.block_bytes, bytes, s_.next};
    Run(s_.next) = {blocks, false};
    s_.next++;
    s_.reserved = s_.reserved.After(blocks, s_.geometry.blocks);
    return Status::kOk;
  }

  // Writes the descriptor of a run; returns where it ends.
  LockCursor Describe(const LockCursor& at, uint64_t blocks, uint64_t bytes) noexcept {
    // SYNC descriptor (relaxed): before the release store of produced (C9).
    DescriptorsOf(s_.words)[at.block].store(DescriptorOf(blocks, bytes), std::memory_order_relaxed);
    return at.After(blocks, s_.geometry.blocks);
  }

  LockCursor SkipCancelled(LockCursor end) noexcept {
    while (s_.first < s_.next && Run(s_.first).is_cancelled) {
      end = Describe(end, Run(s_.first).blocks, kSkipBytes);
      s_.first++;
    }
    return end;
  }

  void Advance(const LockCursor& end) noexcept {
    const uint64_t old = s_.produced.position;
    s_.produced = end;
    // SYNC produced (release): pairs with the acquire load in LockConsumer::Look() (C9).
    s_.words->side.count.store(end.position, std::memory_order_release);
    WakeAcross<Sys>(&s_.words->side, s_.peer, old, end.position, &s_.counts);
  }

  State& s_;
};

}  // namespace shimmy

#endif  // SHIMMY_LOCK_PRODUCER_H_
