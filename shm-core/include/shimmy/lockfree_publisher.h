// The publisher of a lock-free channel: writes messages, takes old ones back, wakes subscribers.
//
//   L7   a message is taken back only when its time-to-live ran out, or when at least `readers`
//        subscribers and all attached ones that it was for have passed it
//   L8   blocks in use never overlap: live messages lie in ring order within one round, and a run
//        kept by a pin is stepped over
//   L9   words of a subscriber cost itself alone: a `next` that goes back or beyond `published`
//        detaches it, pins beyond its budget are ignored
//
// Not thread-safe: publishing threads and the scanner share it under a lock of their process.
// Freestanding: system calls are `Sys`, time is passed in, memory is the caller's.
#ifndef SHIMMY_LOCKFREE_PUBLISHER_H_
#define SHIMMY_LOCKFREE_PUBLISHER_H_

#include "shimmy/doorbell.h"
#include "shimmy/lockfree_layout.h"
#include "shimmy/status.h"

namespace shimmy {

// What the publisher knows of a slot, in memory that nobody else sees.
struct LockfreeShadow {
  uint64_t position = 0;  // blocks since the beginning, of the message's first one
  uint64_t blocks = 0;
  uint64_t deadline = kNever;
  uint32_t passed_by_gone = 0;  // subscribers that passed it and left
};

// A message that was taken back while pinned.
struct LockfreeKept {
  uint64_t number = 0;
  uint64_t first = 0;  // block in the pool
  uint64_t blocks = 0;
};

struct LockfreeReader {
  const LockfreeLocal* local = nullptr;  // mapped read-only
  int bell_fd = -1;
  uint64_t start = 0;
  uint64_t next = 0;    // as last scanned
  uint64_t budget = 0;  // granted
};

struct LockfreeCounts {
  uint64_t taken_back = 0;
  uint64_t expired = 0;  // of these: not passed by all
  uint64_t stepped_over = 0;
  uint64_t detached_broken = 0;
};

struct LockfreePublisherState {
  LockfreeGeometry geometry;
  LockfreeGlobal* global = nullptr;
  unsigned char* data = nullptr;     // mapped twice in a row
  LockfreeShadow* shadow = nullptr;  // geometry.slots of them
  uint32_t readers = 0;              // N of L7
  uint64_t published = 0;
  uint64_t oldest = 0;
  uint64_t reusable = 0;  // L7 holds for all before it; oldest <= reusable <= published
  uint64_t cursor = 0;    // where the next run may begin, in blocks since the beginning
  uint64_t reserved_blocks = 0;
  uint64_t reserved_at = 0;
  bool ended = false;
  uint32_t kept_count = 0;
  LockfreeKept kept[kMaxSubscribers * kMaxLoans + 1];
  LockfreeReader subscribers[kMaxSubscribers];
  uint32_t attached[kMaxSubscribers] = {};  // their places, in a row
  uint32_t attached_count = 0;
  uint64_t granted = 0;  // blocks, to all together
  ChannelWaiter waiter;
  LockfreeCounts counts;
  WaitCounts waits;
};

template <class Sys>
class LockfreePublisher {
 public:
  using State = LockfreePublisherState;

  explicit LockfreePublisher(State* state) noexcept : s_(*state) {}
  LockfreePublisher(const LockfreePublisher&) = delete;
  LockfreePublisher& operator=(const LockfreePublisher&) = delete;

  // Sets up an empty channel in fresh memory, before anybody else may look at it.
  [[nodiscard]] Status Begin() noexcept {
    if (!s_.geometry.valid()) return Status::kInternal;
    PrepareSide(&s_.global->side, 0);
    // SYNC oldest slowest number stamp (relaxed): subscribers get the fd afterwards.
    s_.global->oldest.store(0, std::memory_order_relaxed);
    s_.global->slowest.store(0, std::memory_order_relaxed);
    for (LockfreeGrant& grant : s_.global->grants) {
      grant.number.store(0, std::memory_order_relaxed);  // relaxed: as above
    }
    for (uint64_t i = 0; i < s_.geometry.slots; i++) {
      // relaxed: as above.
      SlotsOf(s_.global)[i].stamp.store(0, std::memory_order_relaxed);
      s_.shadow[i] = LockfreeShadow{};
    }
    return Status::kOk;
  }

  // ---- subscribers ----

  // A subscriber is there, which has begun. Returns its place, kTooMany or kLied. `number` is its
  // link's, and not 0.
  static constexpr int kTooMany = -1;
  static constexpr int kLied = -2;
  [[nodiscard]] int Attach(const LockfreeLocal* local, int bell_fd, uint64_t number) noexcept {
    uint32_t place = 0;
    while (place < kMaxSubscribers && s_.subscribers[place].local != nullptr) place++;
    if (place == kMaxSubscribers) return kTooMany;
    // SYNC next (acquire): pairs with the release store in LockfreeSubscriber::Begin().
    const uint64_t start = local->side.count.load(std::memory_order_acquire);  // PEER
    if (start > s_.published) return kLied;
    LockfreeReader& reader = s_.subscribers[place];
    reader = {local, bell_fd, start < s_.oldest ? s_.oldest : start, start, 0};
    s_.attached[s_.attached_count++] = place;
    // Nothing that it is for may go by what was true before it came.
    if (s_.reusable > reader.start) s_.reusable = reader.start;
    Grant(place, number);
    return static_cast<int>(place);
  }

  // Forgets a subscriber: its pins count no longer. Its memory may be unmapped afterwards.
  void Detach(uint32_t place) noexcept {
    LockfreeReader& reader = s_.subscribers[place];
    if (reader.local == nullptr) return;
    (void)Look(&reader);
    const uint64_t from = reader.start > s_.oldest ? reader.start : s_.oldest;
    for (uint64_t n = from; n < reader.next; n++) ShadowOf(n).passed_by_gone++;
    s_.granted -= reader.budget;
    // SYNC number (relaxed): who is gone does not look.
    s_.global->grants[place].number.store(0, std::memory_order_relaxed);
    reader = LockfreeReader{};
    uint32_t left = 0;
    for (uint32_t i = 0; i < s_.attached_count; i++) {
      if (s_.attached[i] != place) s_.attached[left++] = s_.attached[i];
    }
    s_.attached_count = left;
    RefreshKept();
  }

  // ---- room ----

  // Finds out what may be taken back, and which pins went. Detaches who breaks L9. Cheap when
  // nothing changed; publishing does it by itself when it needs room.
  void Scan(uint64_t now) noexcept {
    uint64_t slowest = s_.published;
    for (uint32_t i = 0; i < s_.attached_count;) {
      const uint32_t place = s_.attached[i];
      LockfreeReader& reader = s_.subscribers[place];
      if (!Look(&reader)) {
        s_.counts.detached_broken++;
        Detach(place);
        continue;
      }
      if (reader.next < slowest) slowest = reader.next;
      i++;
    }
    // SYNC slowest (relaxed): for people who look; nothing depends on it.
    s_.global->slowest.store(slowest, std::memory_order_relaxed);
    while (s_.reusable < s_.published && MayGo(s_.reusable, now)) s_.reusable++;
    if (s_.kept_count > 0) RefreshKept();
  }

  // When time alone makes room next: the deadline of the first message that may not go yet, or
  // kNever.
  [[nodiscard]] uint64_t NextDeadline() const noexcept {
    return s_.reusable < s_.published ? s_.shadow[s_.reusable & (s_.geometry.slots - 1)].deadline
                                      : kNever;
  }

  // ---- publishing ----

  // Room for a message of `bytes`; the next Commit() or Cancel() ends it. One at a time.
  // kWouldBlock: come again when a subscriber moved, or at NextDeadline().
  [[nodiscard]] Status Reserve(uint64_t bytes, uint64_t now, unsigned char** to) noexcept {
    if (s_.ended) return Status::kEnded;
    if (s_.reserved_blocks != 0) return Status::kNotNow;
    const uint64_t blocks = s_.geometry.BlocksOf(bytes);
    if (blocks > s_.geometry.blocks) return Status::kTooLarge;
    if (!FindRoom(blocks)) {
      Scan(now);
      if (!FindRoom(blocks)) return Status::kWouldBlock;
    }
    s_.reserved_blocks = blocks;
    *to = s_.data + (s_.reserved_at % s_.geometry.blocks) * s_.geometry.block_bytes;
    return Status::kOk;
  }

  void Cancel() noexcept { s_.reserved_blocks = 0; }

  // Publishes the first `bytes` of what was reserved; blocks behind them are free at once.
  [[nodiscard]] Status Commit(uint64_t bytes, uint64_t deadline) noexcept {
    const uint64_t blocks = s_.geometry.BlocksOf(bytes);
    if (s_.reserved_blocks == 0 || blocks > s_.reserved_blocks) return Status::kNotNow;
    const uint64_t number = s_.published;
    ShadowOf(number) = {s_.reserved_at, blocks, deadline, 0};
    s_.cursor = s_.reserved_at + blocks;
    s_.reserved_blocks = 0;
    LockfreeSlot& slot = SlotOf(number);
    // SYNC first_block length deadline (relaxed): before the release store of the stamp.
    slot.first_block.store(ShadowOf(number).position % s_.geometry.blocks,
                           std::memory_order_relaxed);
    slot.length.store(bytes, std::memory_order_relaxed);
    slot.deadline.store(deadline, std::memory_order_relaxed);
    // SYNC stamp (release): pairs with the acquire load in LockfreeSubscriber::Find(), so that
    // message and descriptor are there with it (L3).
    slot.stamp.store(number + 1, std::memory_order_release);
    s_.published = number + 1;
    // SYNC published (release): pairs with the acquire load in LockfreeSubscriber::Find() (L6).
    s_.global->side.count.store(s_.published, std::memory_order_release);
    Wake(number);
    return Status::kOk;
  }

  [[nodiscard]] Status Publish(const void* data, uint64_t bytes, uint64_t now,
                               uint64_t deadline) noexcept {
    unsigned char* to = nullptr;
    const Status status = Reserve(bytes, now, &to);
    if (status != Status::kOk) return status;
    internal::StorePayload<Sys>(to, static_cast<const unsigned char*>(data), bytes);
    return Commit(bytes, deadline);
  }

  // No more messages. What is there may still be read.
  void Fin() noexcept {
    if (s_.ended) return;
    s_.ended = true;
    // SYNC fin (release): pairs with the acquire load in LockfreeSubscriber::Find().
    s_.global->side.fin.store(s_.published + 1, std::memory_order_release);
    Wake(s_.published);  // a waiter is armed there: the end counts as passing it
  }

  // ---- waiting ----

  // Waits until it may be that there is room. WaitFor() has the results; kOk: try again, also when
  // time made room.
  [[nodiscard]] Status WaitForRoom(const WaitOptions& options) noexcept {
    constexpr uint64_t kPinsNanos = 1'000'000;  // who lets a pin go wakes nobody
    const uint64_t now = internal::MonotonicNanos<Sys>();
    const uint64_t at = s_.reusable;
    const uint64_t over = at < s_.published ? NextDeadline() : now + kPinsNanos;
    const LockfreeReader* const slow = SlowAt(at);
    WaitOptions until = options;
    if (over < until.deadline) until.deadline = over;
    ChannelPeer peer;
    if (slow != nullptr) peer = {&slow->local->side, slow->bell_fd};
    const Status status = WaitFor<Sys>(
        &s_.waiter, &s_.global->side, peer, at, until, &s_.waits, [slow, at]() noexcept {
          // SYNC next (relaxed): Scan() loads it again.
          return slow != nullptr &&
                 slow->local->side.count.load(std::memory_order_relaxed) > at;  // PEER
        });
    const bool is_by_time = status == Status::kWouldBlock && until.deadline != options.deadline;
    return is_by_time ? Status::kOk : status;
  }

  // For event loops: asks for a bell when a subscriber makes room. True: wait for the doorbells,
  // and no longer than until NextDeadline(); false: try again now.
  [[nodiscard]] bool ArmBell(uint64_t bytes, uint64_t now) noexcept {
    unsigned char* unused = nullptr;
    const Status status = Reserve(bytes, now, &unused);
    if (status == Status::kOk) Cancel();
    if (status != Status::kWouldBlock) return false;
    const uint64_t at = s_.reusable;
    const LockfreeReader* const slow = SlowAt(at);
    if (slow == nullptr) return true;
    (void)Arm(&s_.global->side, {&slow->local->side, slow->bell_fd}, at, true);
    // SYNC next (relaxed): behind the fence in Arm(); Scan() loads it again.
    return slow->local->side.count.load(std::memory_order_relaxed) <= at;  // PEER
  }

 private:
  LockfreeShadow& ShadowOf(uint64_t number) noexcept {
    return s_.shadow[number & (s_.geometry.slots - 1)];
  }
  LockfreeSlot& SlotOf(uint64_t number) noexcept {
    return SlotsOf(s_.global)[number & (s_.geometry.slots - 1)];
  }
  static void Fence() noexcept {
    // SYNC fence (seq_cst): each use says what it stands between and what it pairs with.
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }

  // Half of the pool at most is granted, so that what is left is enough for messages of a block.
  void Grant(uint32_t place, uint64_t number) noexcept {
    const uint64_t budget = s_.geometry.budget;
    if (s_.geometry.max_loans == 0 || s_.granted + budget > s_.geometry.pinnable()) return;
    s_.granted += budget;
    s_.subscribers[place].budget = budget;
    LockfreeGrant& grant = s_.global->grants[place];
    // SYNC budget (relaxed): before the release store of number.
    grant.budget.store(budget, std::memory_order_relaxed);
    // SYNC number (release): pairs with the acquire load in LockfreeSubscriber::FindBudget().
    grant.number.store(number, std::memory_order_release);
  }

  // A subscriber that has yet to pass this message.
  const LockfreeReader* SlowAt(uint64_t number) const noexcept {
    for (uint32_t i = 0; i < s_.attached_count; i++) {
      const LockfreeReader& reader = s_.subscribers[s_.attached[i]];
      if (reader.start <= number && reader.next <= number) return &reader;
    }
    return nullptr;
  }

  // Loads `next` of a subscriber. False when it breaks L9.
  bool Look(LockfreeReader* reader) noexcept {
    // SYNC next (acquire): pairs with the release store in LockfreeSubscriber::Pass().
    const uint64_t next = reader->local->side.count.load(std::memory_order_acquire);  // PEER
    if (next < reader->next || next > s_.published) return false;
    reader->next = next;
    return true;
  }

  // L7 for one message.
  bool MayGo(uint64_t number, uint64_t now) noexcept {
    const LockfreeShadow& shadow = ShadowOf(number);
    uint64_t passed = shadow.passed_by_gone;
    bool all = true;
    for (uint32_t i = 0; i < s_.attached_count; i++) {
      const LockfreeReader& reader = s_.subscribers[s_.attached[i]];
      if (reader.start > number) continue;
      if (reader.next > number) {
        passed++;
      } else {
        all = false;
      }
    }
    if (all && passed >= s_.readers) return true;
    if (shadow.deadline > now) return false;
    s_.counts.expired++;
    return true;
  }

  // Makes slot and blocks of the oldest message free, or kept when it is pinned.
  void TakeBack() noexcept {
    const uint64_t number = s_.oldest;
    s_.oldest++;
    // SYNC oldest (release): pairs with the acquire load in Skip(), who then sees a `published`
    // that is not less; and before the release store of the stamp, so who acquires one that is gone
    // sees it (L5).
    s_.global->oldest.store(s_.oldest, std::memory_order_release);
    // SYNC stamp (release): pairs with the acquire loads in LockfreeSubscriber (L5).
    SlotOf(number).stamp.store(0, std::memory_order_release);
    Fence();  // store stamp | load pins, store blocks. Pairs with the fence in Loan() (L2, L4) and
              // with the acquire fence behind a copy (L3).
    const LockfreeShadow& shadow = ShadowOf(number);
    s_.kept[s_.kept_count++] = {number, shadow.position % s_.geometry.blocks, shadow.blocks};
    s_.counts.taken_back++;
    RefreshKept();
  }

  // Drops every kept run that nobody's pin, within its budget, names any longer. One pin word
  // names one message, so never more than kMaxSubscribers * kMaxLoans stay.
  void RefreshKept() noexcept {
    bool is_kept[kMaxSubscribers * kMaxLoans + 1] = {};
    for (uint32_t place = 0; place < s_.attached_count && s_.kept_count > 0; place++) {
      const LockfreeReader& reader = s_.subscribers[s_.attached[place]];
      if (reader.budget == 0) continue;
      uint64_t pins[kMaxLoans];
      for (uint32_t i = 0; i < kMaxLoans; i++) {
        // SYNC pins (acquire): pairs with the release store in Release(), so that the reader's
        // last look comes before the overwriting.
        pins[i] = reader.local->pins[i].load(std::memory_order_acquire);  // PEER
      }
      // Oldest first, so that an honest one, who pins no more than its budget, keeps all of it.
      uint64_t used = 0;
      for (uint32_t k = 0; k < s_.kept_count; k++) {
        const LockfreeKept& kept = s_.kept[k];
        bool named = false;
        for (const uint64_t pin : pins) named = named || pin == kept.number + 1;
        if (!named || kept.blocks > reader.budget - used) continue;
        used += kept.blocks;
        is_kept[k] = true;
      }
    }
    uint32_t left = 0;
    for (uint32_t k = 0; k < s_.kept_count; k++) {
      if (is_kept[k]) s_.kept[left++] = s_.kept[k];
    }
    s_.kept_count = left;
  }

  // End of the kept run that overlaps [position, position + blocks), or `position`.
  uint64_t BehindKept(uint64_t position, uint64_t blocks) const noexcept {
    const uint64_t pool = s_.geometry.blocks;
    const uint64_t first = position % pool;
    for (uint32_t k = 0; k < s_.kept_count; k++) {
      const LockfreeKept& kept = s_.kept[k];
      const uint64_t ahead = (kept.first + pool - first) % pool;   // from our begin to its begin
      const uint64_t behind = (first + pool - kept.first) % pool;  // from its begin to ours
      if (behind < kept.blocks) return position + kept.blocks - behind;
      if (ahead < blocks) return position + ahead + kept.blocks;
    }
    return position;
  }

  // Takes back what may go until there is a slot and a run of `blocks` (L8).
  bool FindRoom(uint64_t blocks) noexcept {
    while (s_.published - s_.oldest >= s_.geometry.slots) {
      if (s_.oldest >= s_.reusable) return false;
      TakeBack();
    }
    if (s_.kept_count > 0) RefreshKept();
    for (uint64_t at = s_.cursor; at < s_.cursor + s_.geometry.blocks;) {
      const uint64_t behind = BehindKept(at, blocks);
      if (behind != at) {
        s_.counts.stepped_over++;
        at = behind;
        continue;
      }
      const bool is_free = s_.oldest == s_.published ||
                           at + blocks <= ShadowOf(s_.oldest).position + s_.geometry.blocks;
      if (is_free) {
        s_.reserved_at = at;
        return true;
      }
      if (s_.oldest >= s_.reusable) return false;
      TakeBack();
    }
    return false;
  }

  // Wakes who waits for message `old`, or for any before.
  void Wake(uint64_t old) noexcept {
    Fence();  // store published or fin | load futex_at, bell_at. Pairs with the one in Arm() (L6).
    bool any = false;
    for (uint32_t i = 0; i < s_.attached_count; i++) {
      const LockfreeReader& reader = s_.subscribers[s_.attached[i]];
      const SideWords& side = reader.local->side;
      // SYNC futex_at bell_at (relaxed): ordered by the fences; an address or number more or less
      // costs one call each a publish.
      const uint64_t futex_at = side.futex_at.load(std::memory_order_relaxed);  // PEER
      const uint64_t bell_at = side.bell_at.load(std::memory_order_relaxed);    // PEER
      any = any || futex_at == old;
      if (bell_at != old) continue;
      s_.waits.bells++;
      (void)SendBell<Sys>(reader.bell_fd);  // gone: its hang-up tells
    }
    if (any) WakeFutex();
  }

  void WakeFutex() noexcept {
    s_.waits.wakes++;
    // SYNC wakes (release): pairs with the acquire load in Arm(): who loads it sees published and
    // fin.
    s_.global->side.wakes.fetch_add(1, std::memory_order_release);
    internal::FutexWake<Sys>(&s_.global->side.wakes);
  }

  State& s_;
};

}  // namespace shimmy

#endif  // SHIMMY_LOCKFREE_PUBLISHER_H_
