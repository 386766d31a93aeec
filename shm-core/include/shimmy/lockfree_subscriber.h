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
  const LockfreeGlobal* global = nullptr;  // mapped read-only
  const unsigned char* data = nullptr;     // mapped read-only, twice in a row
  LockfreeLocal* local = nullptr;
  uint64_t number = 0;  // of the link
  ChannelPeer peer;     // bell_fd is -1 when the publisher is gone
  ChannelWaiter waiter;
  WaitCounts counts;
  uint64_t next = 0;
  uint64_t published = 0;  // as last seen
  uint64_t missed = 0;     // since Begin(), exact
  uint64_t budget = 0;     // granted, once it is found
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

  // Sets up local memory before the publisher gets it, and chooses where to begin: behind what is
  // there, or at the oldest message that is.
  void Begin(uint64_t number, bool from_oldest) noexcept {
    s_.number = number;
    PrepareSide(&s_.local->side, 0);
    // SYNC pins (relaxed): the publisher gets the fd afterwards.
    for (Word& pin : s_.local->pins) pin.store(0, std::memory_order_relaxed);
    // SYNC oldest published (acquire): pair with the release stores in TakeBack() and Commit().
    const uint64_t oldest = s_.global->oldest.load(std::memory_order_acquire);         // PEER
    const uint64_t published = s_.global->side.count.load(std::memory_order_acquire);  // PEER
    const uint64_t start = from_oldest && oldest <= published ? oldest : published;
    s_.next = start;
    s_.published = start;
    // SYNC next (release): pairs with the acquire load in LockfreePublisher::Attach().
    s_.local->side.count.store(start, std::memory_order_release);
  }

  // With the publisher's doorbell; -1 when it is gone: then what it left is read.
  void Attach(int bell_fd) noexcept {
    s_.peer = {&s_.global->side, bell_fd};
    if (bell_fd >= 0) return;
    // SYNC flags (release): pairs with IsDead(): what the publisher stored last is loaded after it.
    s_.waiter.flags.fetch_or(ChannelWaiter::kDead, std::memory_order_release);
  }

  // Copies the next message. kWouldBlock: none; kEof: none will come; kPeerDied: none will come,
  // the publisher died; kTooLarge: it stays, and
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

  // ---- waiting ----

  // WaitFor() has the results; kOk also when it is broken: Take() says how.
  [[nodiscard]] Status WaitForMessage(const WaitOptions& options) noexcept {
    return WaitFor<Sys>(&s_.waiter, &s_.local->side, s_.peer, s_.next, options, &s_.counts,
                        [this]() noexcept { return HasNews(); });
  }

  // Is there anything that Take() would not answer with kWouldBlock? Changes nothing.
  bool HasNews() const noexcept {
    // SYNC published fin (acquire): as in HasNext().
    return s_.global->side.count.load(std::memory_order_acquire) != s_.next ||  // PEER
           s_.global->side.fin.load(std::memory_order_acquire) != 0;            // PEER
  }

  // For event loops: asks for a bell when there is a message or an end. True: wait for the
  // doorbell; false: try again now.
  [[nodiscard]] bool ArmBell() noexcept {
    (void)shimmy::Arm(&s_.local->side, s_.peer, s_.next, true);
    return !HasNews() && !IsDead(s_.waiter) && s_.broken == Status::kOk;
  }

  void DisarmBell() noexcept { Disarm(&s_.local->side); }

  // Takes bells out of the doorbell: kOk, kPeerDied or kStrayIo.
  [[nodiscard]] Status EatBells() noexcept {
    return internal::EatBells<Sys>(s_.peer.bell_fd, &s_.waiter);
  }

 private:
  // Rounds of one call before a publisher that laps us again and again is told kWouldBlock.
  static constexpr int kRounds = 64;

  // Publishes that everything before `next` was passed.
  void Pass(uint64_t next) noexcept {
    const uint64_t old = s_.next;
    s_.next = next;
    // SYNC next (release): pairs with the acquire load in LockfreePublisher::Look(): our copy
    // ended before (L7).
    s_.local->side.count.store(next, std::memory_order_release);
    WakeAcross<Sys>(&s_.local->side, s_.peer, old, next, &s_.counts);  // L6
  }

  // What we may keep pinned, as the publisher says: it may lie, and then changes what it lent.
  // Blocks that may be out. Of a publisher that is gone all: nobody takes anything back any more.
  uint64_t Budget() noexcept {
    if (IsDead(s_.waiter)) return s_.geometry.blocks;
    return s_.budget != 0 ? s_.budget : FindBudget();
  }

  uint64_t FindBudget() noexcept {
    for (uint32_t i = 0; i < kMaxSubscribers && s_.budget == 0; i++) {
      const LockfreeGrant& grant = s_.global->grants[i];
      // SYNC number (acquire): pairs with the release store in LockfreePublisher::Grant().
      if (grant.number.load(std::memory_order_acquire) != s_.number) continue;  // PEER
      // SYNC budget (relaxed): behind the acquire load of number.
      const uint64_t budget = grant.budget.load(std::memory_order_relaxed);  // PEER
      s_.budget = budget < s_.geometry.blocks ? budget : s_.geometry.blocks;
    }
    return s_.budget;
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
    const bool is_dead = IsDead(s_.waiter);  // before the loads
    // SYNC fin (acquire): pairs with the release store in Fin(); loaded before published, so that
    // an end is not seen without the messages before it.
    const uint64_t fin = s_.global->side.fin.load(std::memory_order_acquire);  // PEER
    // SYNC published (acquire): pairs with the release store in Commit() (L6).
    const uint64_t published = s_.global->side.count.load(std::memory_order_acquire);  // PEER
    if (published < s_.published || published == kNever) return Break();
    s_.published = published;
    if (published != s_.next) return Status::kOk;
    if (fin == 0) return is_dead ? Status::kPeerDied : Status::kWouldBlock;
    return fin == published + 1 ? Status::kEof : Break();
  }

  // The stamp of `next` is not there: goes on behind what was taken back.
  Status Skip() noexcept {
    // SYNC oldest (acquire): pairs with the release store in TakeBack(). It is behind the acquire
    // load of the stamp that was gone (L5), and what `published` was by then is seen with it.
    const uint64_t oldest = s_.global->oldest.load(std::memory_order_acquire);  // PEER
    // SYNC published (relaxed): behind the acquire load of oldest.
    const uint64_t published = s_.global->side.count.load(std::memory_order_relaxed);  // PEER
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
    internal::LoadPayload<Sys>(to, message->data, bytes);
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
    if (blocks > Budget() - s_.loaned_blocks) return Status::kNotNow;
    const uint32_t most = s_.geometry.max_loans;
    uint32_t free = 0;
    while (free < most && s_.loans[free].blocks != 0) free++;
    if (free == most) return Status::kNotNow;
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
