// A subscriber of a lock-free channel: reads by copy or by loan, and counts what it missed.
//
// The publisher is not trusted: its words are loaded once, range-checked, and a lie ends the
// subscription with kCursorOutOfRange. Bytes of a loan may change while they are read if the
// publisher is hostile: copy before parsing. One thread at a time. Freestanding.
#ifndef SHIMMY_LOCKFREE_SUBSCRIBER_H_
#define SHIMMY_LOCKFREE_SUBSCRIBER_H_

#include "shimmy/doorbell.h"
#include "shimmy/lockfree_layout.h"
#include "shimmy/status.h"

namespace shimmy {

struct LockfreeLoan {
  uint64_t number = 0;
  uint64_t blocks = 0;  // 0: none
};

struct LockfreeSubscriberState {
  LockfreeGeometry geometry;
  LockfreeGlobal* global = nullptr;     // mapped read-only
  const unsigned char* data = nullptr;  // mapped read-only, twice in a row
  LockfreeLocal* local = nullptr;
  uint64_t next = 0;
  uint64_t published = 0;  // as last seen
  uint64_t missed = 0;     // since Begin(), exact
  uint32_t seen_wakes = 0;
  uint64_t loaned_blocks = 0;
  LockfreeLoan loans[kMaxLoans];
  Status broken = Status::kOk;
};

// A message: where it is (a loan) or where it was copied to, and its number.
struct LockfreeMessage {
  const unsigned char* data = nullptr;
  uint64_t bytes = 0;  // also with kTooLarge: what the buffer needs
  uint64_t number = 0;
  uint32_t loan = 0;  // for Release()
};

template <class Sys>
class LockfreeSubscriber {
 public:
  using State = LockfreeSubscriberState;

  explicit LockfreeSubscriber(State* state) noexcept : s_(*state) {}
  LockfreeSubscriber(const LockfreeSubscriber&) = delete;
  LockfreeSubscriber& operator=(const LockfreeSubscriber&) = delete;

  // Sets up local memory, before the publisher gets it: pins nothing, waits for nothing.
  static void Prepare(LockfreeLocal* local) noexcept {
    // SYNC next futex_at bell_at fin pins (relaxed): the publisher gets the fd afterwards.
    local->next.store(0, std::memory_order_relaxed);
    local->futex_at.store(kNever, std::memory_order_relaxed);
    local->bell_at.store(kNever, std::memory_order_relaxed);
    local->fin.store(0, std::memory_order_relaxed);
    for (Word& pin : local->pins) pin.store(0, std::memory_order_relaxed);
  }

  // Begins at `start`, as LockfreePublisher::Attach() gave it.
  void Begin(uint64_t start) noexcept {
    s_.next = start;
    s_.published = start;
    Pass(start);
  }

  // Copies the next message. kWouldBlock: none; kEof: none will come; kTooLarge: it stays, and
  // `message->bytes` tells what it needs.
  [[nodiscard]] Status Take(void* to, uint64_t room, LockfreeMessage* message) noexcept {
    return Read(static_cast<unsigned char*>(to), room, message);
  }

  // Lends the next message in place until Release(). kNotNow: too many loans or blocks are out,
  // Take() still works.
  [[nodiscard]] Status Loan(LockfreeMessage* message) noexcept { return Read(nullptr, 0, message); }

  void Release(uint32_t loan) noexcept {
    if (loan >= kMaxLoans || s_.loans[loan].blocks == 0) return;
    s_.loaned_blocks -= s_.loans[loan].blocks;
    s_.loans[loan] = LockfreeLoan{};
    // SYNC pins (release): pairs with the acquire load in RefreshKept(): we have read it.
    s_.local->pins[loan].store(0, std::memory_order_release);
  }

  // Asks to be woken by the next message. True: wait now, for the doorbell or by WaitFutex();
  // false: look again first. Disarm() afterwards.
  [[nodiscard]] bool Arm(bool by_bell) noexcept {
    // SYNC wakes (acquire): pairs with the release in WakeFutex(); loaded before the position is
    // stored, so that the wake that it asks for changes the word (L6).
    s_.seen_wakes = s_.global->wakes.load(std::memory_order_acquire);  // PEER
    Word& at = by_bell ? s_.local->bell_at : s_.local->futex_at;
    // SYNC futex_at bell_at (relaxed): ordered by the fence.
    at.store(s_.next, std::memory_order_relaxed);
    // SYNC fence (seq_cst): store at | load published, fin. Pairs with the one in Wake(): either it
    // sees that we wait, or we see the message (L6).
    std::atomic_thread_fence(std::memory_order_seq_cst);
    // SYNC published fin (relaxed): who reads afterwards loads them again with acquire.
    return s_.global->published.load(std::memory_order_relaxed) == s_.next &&  // PEER
           s_.global->fin.load(std::memory_order_relaxed) == 0;                // PEER
  }

  // After Arm(false): sleeps until we are woken, somebody calls Kick(), or `nanos` went by. Does
  // not see the publisher die: who wants that waits for the doorbell, or kicks.
  void WaitFutex(uint64_t nanos) noexcept {
    const uint64_t now = internal::MonotonicNanos<Sys>();
    (void)internal::FutexWait<Sys>(&s_.global->wakes, s_.seen_wakes,
                                   nanos < kNever - now ? now + nanos : kNever);
  }

  // Wakes sleepers of WaitFutex() in every process; again until they left, for one may be about to
  // sleep. From any thread.
  static void Kick(LockfreeGlobal* global) noexcept { internal::FutexWake<Sys>(&global->wakes); }

  void Disarm() noexcept {
    // SYNC futex_at bell_at (relaxed): a wake too many is harmless.
    s_.local->futex_at.store(kNever, std::memory_order_relaxed);
    s_.local->bell_at.store(kNever, std::memory_order_relaxed);
  }

 private:
  // Rounds of one call before a publisher that laps us again and again is told kWouldBlock.
  static constexpr int kRounds = 64;

  // Publishes that everything before `next` was passed.
  void Pass(uint64_t next) noexcept {
    s_.next = next;
    // SYNC next (release): pairs with the acquire load in LockfreePublisher::Look(): our copy
    // ended before (L7).
    s_.local->next.store(next, std::memory_order_release);
  }

  Status Break() noexcept { return s_.broken = Status::kCursorOutOfRange; }

  const LockfreeSlot& Slot() const noexcept {
    return SlotsOf(s_.global)[s_.next & (s_.geometry.slots - 1)];
  }

  // L3 and L4: is the message still what it was?
  bool IsStill(const LockfreeSlot& slot) const noexcept {
    // SYNC fence (acquire): copy | load stamp. Pairs with the fence in TakeBack(): who copied one
    // word that was written after it sees the stamp gone (L3).
    std::atomic_thread_fence(std::memory_order_acquire);
    // SYNC stamp (relaxed): behind the fence.
    return slot.stamp.load(std::memory_order_relaxed) == s_.next + 1;  // PEER
  }

  // kOk: there is a message at `next` or was one. Else why not.
  Status HasNext() noexcept {
    // SYNC fin (acquire): pairs with the release store in Fin(); loaded before published, so that
    // an end is not seen without the messages before it.
    const uint64_t fin = s_.global->fin.load(std::memory_order_acquire);  // PEER
    // SYNC published (acquire): pairs with the release store in Commit() (L6).
    const uint64_t published = s_.global->published.load(std::memory_order_acquire);  // PEER
    if (published < s_.published || published == kNever) return Break();
    s_.published = published;
    if (published != s_.next) return Status::kOk;
    if (fin == 0) return Status::kWouldBlock;
    return fin == published + 1 ? Status::kEof : Break();
  }

  // The stamp of `next` is not there: goes on behind what was taken back.
  Status Skip() noexcept {
    // SYNC oldest (acquire): pairs with the release store in TakeBack(). It is behind the acquire
    // load of the stamp that was gone (L5), and what `published` was by then is seen with it.
    const uint64_t oldest = s_.global->oldest.load(std::memory_order_acquire);  // PEER
    // SYNC published (relaxed): behind the acquire load of oldest.
    const uint64_t published = s_.global->published.load(std::memory_order_relaxed);  // PEER
    if (oldest <= s_.next || published < s_.published || oldest > published) return Break();
    s_.missed += oldest - s_.next;
    s_.published = published;
    Pass(oldest);
    return Status::kOk;
  }

  Status Read(unsigned char* to, uint64_t room, LockfreeMessage* message) noexcept {
    for (int round = 0; round < kRounds && s_.broken == Status::kOk; round++) {
      Status status = HasNext();
      if (status != Status::kOk) return status;
      const LockfreeSlot& slot = Slot();
      // SYNC stamp (acquire): pairs with the release stores in Commit() and TakeBack().
      const bool there = slot.stamp.load(std::memory_order_acquire) == s_.next + 1;  // PEER
      bool done = false;
      if (there) {
        status = ReadThis(slot, to, room, message, &done);
        if (done) return status;
      }
      // SYNC stamp (acquire): pairs with the release stores, as above.
      (void)slot.stamp.load(std::memory_order_acquire);  // PEER
      status = Skip();
      if (status != Status::kOk) return status;
    }
    return s_.broken != Status::kOk ? s_.broken : Status::kWouldBlock;
  }

  // `done` stays false when the message went away meanwhile.
  Status ReadThis(const LockfreeSlot& slot, unsigned char* to, uint64_t room,
                  LockfreeMessage* message, bool* done) noexcept {
    // SYNC first_block length (relaxed): behind the acquire load of the stamp, checked by
    // IsStill().
    const uint64_t first = slot.first_block.load(std::memory_order_relaxed);  // PEER
    const uint64_t bytes = slot.length.load(std::memory_order_relaxed);       // PEER
    if (!IsStill(slot)) return Status::kOk;
    *done = true;
    if (first >= s_.geometry.blocks || bytes > s_.geometry.max_bytes()) return Break();
    message->number = s_.next;
    message->bytes = bytes;
    message->data = s_.data + first * s_.geometry.block_bytes;
    if (to == nullptr) return Pin(slot, message, done);
    if (bytes > room) return Status::kTooLarge;
    internal::LoadPayload(to, message->data, bytes);
    message->data = to;
    if (!IsStill(slot)) {
      *done = false;
      return Status::kOk;
    }
    Pass(s_.next + 1);
    return Status::kOk;
  }

  // The budget is kept before the pin is stored, so that the publisher never ignores one of ours.
  Status Pin(const LockfreeSlot& slot, LockfreeMessage* message, bool* done) noexcept {
    const uint64_t blocks = s_.geometry.BlocksOf(message->bytes);
    if (blocks > s_.geometry.budget - s_.loaned_blocks) return Status::kNotNow;
    uint32_t free = 0;
    while (free < kMaxLoans && s_.loans[free].blocks != 0) free++;
    if (free == kMaxLoans) return Status::kNotNow;
    // SYNC pins (relaxed): ordered by the fence.
    s_.local->pins[free].store(s_.next + 1, std::memory_order_relaxed);
    // SYNC fence (seq_cst): store pin | load stamp. Pairs with the one in TakeBack(): either it
    // sees the pin, or we see the stamp gone (L2, L4).
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!IsStill(slot)) {
      // SYNC pins (release): as in Release().
      s_.local->pins[free].store(0, std::memory_order_release);
      *done = false;
      return Status::kOk;
    }
    s_.loans[free] = {s_.next, blocks};
    s_.loaned_blocks += blocks;
    message->loan = free;
    Pass(s_.next + 1);
    return Status::kOk;
  }

  State& s_;
};

}  // namespace shimmy

#endif  // SHIMMY_LOCKFREE_SUBSCRIBER_H_
