// A consumer of a lock-based channel: takes each message once, by copy or in place. See
// lock_layout.h for the layout and C8 to C13.
//
//   C16  what take() returned, with no older loan out, is consumed: it does not come again. What
//   was
//        lent and not released, and all behind it, comes again if the consumer dies
//   C17  consumed passes the oldest loan only when it is released, in whatever order they are
//
// The producer is not trusted: its words are loaded once and range-checked, and a lie ends the link
// with kCursorOutOfRange. Bytes of a loan may change while they are read if the producer is
// hostile: copy before parsing. One thread at a time, except Notify() on the waiter. Freestanding.
#ifndef SHIMMY_LOCK_CONSUMER_H_
#define SHIMMY_LOCK_CONSUMER_H_

#include "shimmy/lock_layout.h"

namespace shimmy {

struct LockConsumerState {
  LockGeometry geometry;
  const LockProducerWords* producer = nullptr;  // mapped read-only
  const unsigned char* data = nullptr;          // mapped read-only, twice in a row
  LockConsumerWords* words = nullptr;
  ChannelPeer peer;  // bell_fd is -1 when the producer was gone before we came
  ChannelWaiter waiter;
  uint64_t number = 0;
  uint64_t hint = 0;  // C12
  bool has_begun = false;

  uint64_t produced = 0;  // as last seen, checked
  uint64_t consumed = 0;
  LockCursor taken;

  // Loans [first, next), at id % kMaxLoans.
  uint64_t first = 0;
  uint64_t next = 0;
  struct {
    uint64_t position;
    bool is_released;
  } loans[kMaxLoans] = {};

  Status broken = Status::kOk;
  WaitCounts counts;
};

// A message: in place (a loan) or where it was copied to.
struct LockMessage {
  const unsigned char* data = nullptr;
  uint64_t bytes = 0;  // also with kTooLarge: what the buffer needs
  uint64_t loan = 0;   // for Release()
};

template <class Sys>
class LockConsumer {
 public:
  using State = LockConsumerState;

  explicit LockConsumer(State* state) noexcept : s_(*state) {}
  LockConsumer(const LockConsumer&) = delete;
  LockConsumer& operator=(const LockConsumer&) = delete;

  // Sets up our region before it is passed on: number, and where to begin if the producer is gone
  // or dies before it tells. `previous`: region of the consumer before, which is gone, or null.
  void Prepare(uint64_t number, const LockConsumerWords* previous) noexcept {
    s_.number = number;
    // SYNC consumed (acquire): pairs with the release store in Settle(), of who is gone.
    const uint64_t reached =
        previous == nullptr ? 0 : previous->side.count.load(std::memory_order_acquire);  // PEER
    // SYNC consumer_start (acquire): pairs with the release store in AttachConsumer().
    const uint64_t start = s_.producer->consumer_start.load(std::memory_order_acquire);  // PEER
    // SYNC produced (acquire): pairs with the release store in LockProducer::Advance(). Behind the
    // other two, which are not beyond it if nobody lies.
    const uint64_t produced = s_.producer->side.count.load(std::memory_order_acquire);  // PEER
    s_.hint = Larger(start, reached, produced);
    PrepareSide(&s_.words->side, s_.hint);
    // SYNC number (relaxed): others get the fd afterwards.
    s_.words->number.store(0, std::memory_order_relaxed);
  }

  // With the producer's doorbell; -1 when it was gone before we came: then what it left is read.
  void Attach(int bell_fd) noexcept {
    s_.peer = {&s_.producer->side, bell_fd};
    if (bell_fd < 0) TellDead();
  }

  // The doorbell has hung up. For who sees it elsewhere than in a wait; of another thread:
  // Notify().
  void TellDead() noexcept {
    // SYNC flags (release): pairs with IsDead(): what the producer stored last is loaded after it.
    s_.waiter.flags.fetch_or(ChannelWaiter::kDead, std::memory_order_release);
  }

  // ---- reading ----

  // Copies the next message. kWouldBlock: none. kEof: none will come. kPeerDied: none will come,
  // the producer died; go to its next ring. kTooLarge: it stays; `bytes` says what it needs.
  [[nodiscard]] Status Take(void* to, uint64_t room, LockMessage* message) noexcept {
    uint64_t blocks = 0;
    const Status status = Find(&blocks, message);
    if (status != Status::kOk) return status;
    if (message->bytes > room) return Status::kTooLarge;
    Sys::Copy(to, message->data, message->bytes);
    message->data = static_cast<const unsigned char*>(to);
    Pass(blocks);
    return Status::kOk;
  }

  // Take() that waits for a message.
  [[nodiscard]] Status Take(void* to, uint64_t room, LockMessage* message,
                            const WaitOptions& options) noexcept {
    for (;;) {
      Status status = Take(to, room, message);
      if (status != Status::kWouldBlock) return status;
      status = WaitForMessage(options);
      // After a death the next turn says what is left (C13).
      if (status != Status::kOk && status != Status::kPeerDied) return status;
    }
  }

  // Lends the next message in place until Release(). kNotNow: as many as may be are out; Take()
  // works.
  [[nodiscard]] Status Loan(LockMessage* message) noexcept {
    if (s_.next - s_.first >= s_.geometry.max_loans) return Status::kNotNow;
    uint64_t blocks = 0;
    const Status status = Find(&blocks, message);
    if (status != Status::kOk) return status;
    message->loan = s_.next;
    s_.loans[s_.next % kMaxLoans] = {s_.taken.position, false};
    s_.next++;
    Pass(blocks);
    return Status::kOk;
  }

  // In any order; twice is harmless.
  void Release(uint64_t loan) noexcept {
    if (loan - s_.first >= s_.next - s_.first) return;
    s_.loans[loan % kMaxLoans].is_released = true;
    while (s_.first < s_.next && s_.loans[s_.first % kMaxLoans].is_released) s_.first++;
    Settle();
  }

  // ---- waiting ----

  // WaitFor() has the results; kOk also when it is broken: Take() says how.
  [[nodiscard]] Status WaitForMessage(const WaitOptions& options) noexcept {
    if (!s_.has_begun) {
      const Status status =
          WaitFor<Sys>(&s_.waiter, &s_.words->side, s_.peer, kNever, options, &s_.counts,
                       [this]() noexcept { return Begin() != Status::kWouldBlock; });
      if (status != Status::kOk || s_.broken != Status::kOk) return status;
    }
    return WaitFor<Sys>(&s_.waiter, &s_.words->side, s_.peer, s_.taken.position, options,
                        &s_.counts, [this]() noexcept { return HasNews(); });
  }

  // For event loops: asks for a bell when there is a message or an end. True: wait for the
  // doorbell; false: try again now.
  [[nodiscard]] bool ArmBell() noexcept {
    if (Begin() == Status::kOk) {
      (void)Arm(&s_.words->side, s_.peer, s_.taken.position, true);
      return !HasNews() && !IsDead(s_.waiter);
    }
    return s_.broken == Status::kOk && !IsDead(s_.waiter);  // the producer rings when it tells
  }

  void DisarmBell() noexcept { Disarm(&s_.words->side); }

  // Takes bells out of the doorbell: kOk, kPeerDied or kStrayIo.
  [[nodiscard]] Status EatBells() noexcept {
    return internal::EatBells<Sys>(s_.peer.bell_fd, &s_.waiter);
  }

 private:
  // C12: the larger of two places, of those that can be.
  uint64_t Larger(uint64_t one, uint64_t other, uint64_t produced) const noexcept {
    const uint64_t a = IsWithin(one, produced) ? one : 0;
    const uint64_t b = IsWithin(other, produced) ? other : 0;
    return a > b ? a : b;
  }

  bool IsWithin(uint64_t position, uint64_t produced) const noexcept {
    return position <= produced && produced - position <= s_.geometry.blocks;
  }

  Status Break() noexcept { return s_.broken = Status::kCursorOutOfRange; }

  // Finds out where we begin (C10, C12). kWouldBlock: the producer has not said yet.
  Status Begin() noexcept {
    if (s_.has_begun || s_.broken != Status::kOk) return s_.broken;
    const bool is_dead = IsDead(s_.waiter);  // before the loads (C13)
    // SYNC consumer_number (acquire): pairs with the release store in AttachConsumer().
    const uint64_t number = s_.producer->consumer_number.load(std::memory_order_acquire);  // PEER
    if (number != s_.number && !is_dead) return Status::kWouldBlock;
    // SYNC consumer_start (acquire): as in Prepare().
    const uint64_t told = s_.producer->consumer_start.load(std::memory_order_acquire);  // PEER
    // SYNC produced (acquire): pairs with the release store in LockProducer::Advance().
    const uint64_t produced = s_.producer->side.count.load(std::memory_order_acquire);  // PEER
    const uint64_t start = number == s_.number ? told : Larger(told, s_.hint, produced);
    if (!IsWithin(start, produced)) return Break();
    s_.consumed = start;
    s_.produced = start;
    s_.taken = LockCursor::At(start, s_.geometry.blocks);
    // SYNC consumed (relaxed): before the release store of number.
    s_.words->side.count.store(start, std::memory_order_relaxed);
    // SYNC number (release): pairs with the acquire load in LockProducer::Look() (C11).
    s_.words->number.store(s_.number, std::memory_order_release);
    s_.has_begun = true;
    return Status::kOk;
  }

  // Is there anything that Take() would not answer with kWouldBlock? Changes nothing, so that the
  // armed position stays right.
  bool HasNews() const noexcept {
    // SYNC produced fin (acquire): as in Look().
    return s_.producer->side.count.load(std::memory_order_acquire) != s_.taken.position ||  // PEER
           s_.producer->side.fin.load(std::memory_order_acquire) != 0;                      // PEER
  }

  // Nothing is known to be there: loads the producer's words. kOk: there is something.
  Status Look() noexcept {
    const bool is_dead = IsDead(s_.waiter);  // before the loads (C13)
    // SYNC fin (acquire): pairs with the release store in Fin(); loaded before produced, so that an
    // end is not seen without the messages before it.
    const uint64_t fin = s_.producer->side.fin.load(std::memory_order_acquire);  // PEER
    // SYNC produced (acquire): pairs with the release store in LockProducer::Advance() (C9).
    const uint64_t produced = s_.producer->side.count.load(std::memory_order_acquire);  // PEER
    const uint64_t filled = produced - s_.consumed;
    if (filled > s_.geometry.blocks || s_.taken.position - s_.consumed > filled) {
      return Break();  // C8
    }
    s_.produced = produced;
    if (produced != s_.taken.position) return Status::kOk;
    if (fin != 0) return fin == produced + 1 ? Status::kEof : Break();
    return is_dead ? Status::kPeerDied : Status::kWouldBlock;
  }

  // The next message, stepping over what was cancelled.
  Status Find(uint64_t* blocks, LockMessage* message) noexcept {
    Status status = Begin();
    while (status == Status::kOk) {
      if (s_.produced == s_.taken.position) {
        status = Look();
        if (status != Status::kOk) break;
      }
      // SYNC descriptor (relaxed): behind the acquire load of produced (C9).
      const uint64_t descriptor =
          DescriptorsOf(s_.producer)[s_.taken.block].load(std::memory_order_relaxed);  // PEER
      const uint64_t run = descriptor >> 32;
      const uint64_t bytes = descriptor & kSkipBytes;
      if (run == 0 || run > s_.produced - s_.taken.position) return Break();
      if (bytes == kSkipBytes) {
        Pass(run);  // C14
        continue;
      }
      if (s_.geometry.BlocksOf(bytes) > run) return Break();
      *blocks = run;
      message->bytes = bytes;
      message->data = s_.data + s_.taken.block * s_.geometry.block_bytes;
      return Status::kOk;
    }
    return status;
  }

  void Pass(uint64_t blocks) noexcept {
    s_.taken = s_.taken.After(blocks, s_.geometry.blocks);
    Settle();
  }

  // Gives back what is before the oldest loan (C17).
  void Settle() noexcept {
    const uint64_t old = s_.consumed;
    s_.consumed = s_.first == s_.next ? s_.taken.position : s_.loans[s_.first % kMaxLoans].position;
    if (s_.consumed == old) return;
    // SYNC consumed (release): pairs with the acquire load in LockProducer::Look(): we have read
    // what it passes (C9).
    s_.words->side.count.store(s_.consumed, std::memory_order_release);
    WakeAcross<Sys>(&s_.words->side, s_.peer, old, s_.consumed, &s_.counts);
  }

  State& s_;
};

}  // namespace shimmy

#endif  // SHIMMY_LOCK_CONSUMER_H_
