// How the two sides of a channel wait for each other: futex or doorbell, after spinning or not.
//
//   C4   a side that sleeps has stored the position that it waits for, then a FENCE, then looked
//        again; who moves a counter stores it, then a FENCE, then looks at the position: one of the
//        two sees the other
//   C5   exactly one wake for each arming: the store that passes the position rings (crossing test)
//   C6   a waker changes its `wakes` before FUTEX_WAKE, and a waiter has loaded that word before it
//        armed: a wake between its last look and its sleep is not lost, also when no counter moves
//   C7   who tells a waiter of its own process something (a death, an interruption) sets a flag,
//   then
//        wakes it again and again until it has left: it cannot change the word slept on
//
// Proved by shm-core/model/lock_channel.pml, waiting by futex. Freestanding.
#ifndef SHIMMY_CHANNEL_WAIT_H_
#define SHIMMY_CHANNEL_WAIT_H_

#include <asm/unistd.h>
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>

#include "shimmy/doorbell.h"
#include "shimmy/region.h"
#include "shimmy/status.h"

namespace shimmy {

using FutexWord = std::atomic<uint32_t>;
static_assert(FutexWord::is_always_lock_free && sizeof(FutexWord) == 4);

// What each side has in its metadata region, and stores in alone.
struct SideWords {
  alignas(kWordSpacing) Word count;  // what it did so far
  Word fin;                          // 0, or the final count + 1
  FutexWord wakes;                   // how often it woke the other side; that one sleeps on it
  uint32_t reserved;
  alignas(kWordSpacing) Word futex_at;  // the other side's store that passes this wakes us
  Word bell_at;                         // or rings our doorbell
};
static_assert(offsetof(SideWords, count) == 0);
static_assert(offsetof(SideWords, fin) == 8);
static_assert(offsetof(SideWords, wakes) == 16);
static_assert(offsetof(SideWords, futex_at) == 128);
static_assert(offsetof(SideWords, bell_at) == 136);
static_assert(sizeof(SideWords) == 256);

// One side's way of waiting, in memory of its process. One thread waits; any thread may Notify().
struct ChannelWaiter {
  static constexpr uint32_t kDead = 1;         // the other side is gone for good
  static constexpr uint32_t kInterrupted = 2;  // leave, as long as this is set

  FutexWord flags{0};
  std::atomic<const FutexWord*> sleeping_on{nullptr};
};

struct WaitOptions {
  uint64_t deadline = kNever;  // CLOCK_MONOTONIC, ns
  uint64_t spins = 0;          // turns before sleeping; kNever: does not sleep
  // Sleeps on the doorbell, which tells of the peer's death by itself; else on a futex, and
  // somebody else has to Notify(). On the doorbell Notify() is seen after a bell or a signal only.
  bool by_bell = false;
};

// The other side as one waits for it, or wakes it.
struct ChannelPeer {
  const SideWords* words = nullptr;  // mapped read-only
  int bell_fd = -1;

  bool valid() const { return words != nullptr; }
};

// Plain sums.
struct WaitCounts {
  uint64_t wakes = 0;  // FUTEX_WAKE calls
  uint64_t bells = 0;
  uint64_t sleeps = 0;
};

namespace internal {

inline void Fence() noexcept {
  // SYNC fence (seq_cst): each use says what it stands between and what it pairs with.
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

inline void RelaxCpu() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield");
#endif
}

template <class Sys>
uint64_t MonotonicNanos() noexcept {
  constexpr long kClockMonotonic = 1;
  int64_t time[2] = {0, 0};
  Sys::Call(__NR_clock_gettime, kClockMonotonic, reinterpret_cast<long>(time));
  return static_cast<uint64_t>(time[0]) * 1000000000 + static_cast<uint64_t>(time[1]);
}

// Shared with other processes: FUTEX_PRIVATE_FLAG is not set. Needs to read the word only.
template <class Sys>
void FutexWake(const FutexWord* word) noexcept {
  Sys::Call(__NR_futex, reinterpret_cast<long>(word), FUTEX_WAKE, 0x7fffffff);
}

// Sleeps while the word is `seen`. 0 or -errno.
template <class Sys>
long FutexWait(const FutexWord* word, uint32_t seen, uint64_t deadline) noexcept {
  int64_t time[2] = {static_cast<int64_t>(deadline / 1000000000),
                     static_cast<int64_t>(deadline % 1000000000)};
  // The bitset form takes a point in time, of CLOCK_MONOTONIC.
  return Sys::Call(__NR_futex, reinterpret_cast<long>(word), FUTEX_WAIT_BITSET,
                   static_cast<long>(seen), deadline == kNever ? 0 : reinterpret_cast<long>(time),
                   0, static_cast<long>(FUTEX_BITSET_MATCH_ANY));
}

}  // namespace internal

// Words of a side before anybody else may look at them.
inline void PrepareSide(SideWords* words, uint64_t count) noexcept {
  // SYNC count fin wakes futex_at bell_at (relaxed): the peer gets the fd afterwards.
  words->count.store(count, std::memory_order_relaxed);
  words->fin.store(0, std::memory_order_relaxed);
  words->wakes.store(0, std::memory_order_relaxed);
  words->futex_at.store(kNever, std::memory_order_relaxed);
  words->bell_at.store(kNever, std::memory_order_relaxed);
}

// Sets a flag of a waiter of this process, and returns when it does not sleep, or has left. The
// word that it sleeps on must stay mapped meanwhile. From any thread but the waiter's own.
template <class Sys>
void Notify(ChannelWaiter* waiter, uint32_t flag) noexcept {
  // SYNC flags (seq_cst): store flags | load sleeping_on. Pairs with SleepOnFutex(), which stores
  // sleeping_on before it loads flags: either it sees the flag, or we see it sleep (C7).
  waiter->flags.fetch_or(flag, std::memory_order_seq_cst);
  constexpr int kEager = 16;
  for (int turn = 0;; turn++) {
    // SYNC sleeping_on (seq_cst): as above.
    const FutexWord* const word = waiter->sleeping_on.load(std::memory_order_seq_cst);
    if (word == nullptr) return;
    internal::FutexWake<Sys>(word);
    if (turn < kEager) {
      Sys::Call(__NR_sched_yield);
    } else {
      Sys::Poll(-1, 0, 1);
    }
  }
}

inline void ClearInterrupt(ChannelWaiter* waiter) noexcept {
  // SYNC flags (relaxed): who interrupts orders nothing by it.
  waiter->flags.fetch_and(~ChannelWaiter::kInterrupted, std::memory_order_relaxed);
}

inline bool IsDead(const ChannelWaiter& waiter) noexcept {
  // SYNC flags (acquire): pairs with Notify(): what the peer stored before it died is loaded
  // after this.
  return (waiter.flags.load(std::memory_order_acquire) & ChannelWaiter::kDead) != 0;
}

// Behind a store that moved the own count from `old` to `now` (or that ended it: now = old + 1):
// wakes the peer if it waits for that.
template <class Sys>
void WakeAcross(SideWords* mine, const ChannelPeer& peer, uint64_t old, uint64_t now,
                WaitCounts* counts) noexcept {
  if (!peer.valid()) return;
  internal::Fence();  // store count or fin | load futex_at, bell_at. Pairs with Arm() (C4).
  // SYNC futex_at bell_at (relaxed): ordered by the fences; a lie costs one call each.
  const uint64_t futex_at = peer.words->futex_at.load(std::memory_order_relaxed);  // PEER
  const uint64_t bell_at = peer.words->bell_at.load(std::memory_order_relaxed);    // PEER
  const uint64_t moved = now - old;
  if (futex_at - old < moved) {  // C5: old <= futex_at < now, unsigned
    counts->wakes++;
    // SYNC wakes (release): pairs with the acquire load in Arm(): who loads it sees count and fin.
    mine->wakes.fetch_add(1, std::memory_order_release);
    internal::FutexWake<Sys>(&mine->wakes);
  }
  if (bell_at - old < moved) {
    counts->bells++;
    (void)SendBell<Sys>(peer.bell_fd);  // full: one is there; gone: its hang-up tells
  }
}

// Wakes the peer whatever it waits for: for words that change once in a link's life.
template <class Sys>
void WakeAlways(SideWords* mine, const ChannelPeer& peer, WaitCounts* counts) noexcept {
  if (!peer.valid()) return;
  counts->wakes++;
  counts->bells++;
  // SYNC wakes (release): as in WakeAcross().
  mine->wakes.fetch_add(1, std::memory_order_release);
  internal::FutexWake<Sys>(&mine->wakes);
  (void)SendBell<Sys>(peer.bell_fd);
}

// Asks for a wake by the peer's store that passes `at`. Returns what FutexWait() needs. The caller
// looks once more before it sleeps (C4).
inline uint32_t Arm(SideWords* mine, const ChannelPeer& peer, uint64_t at, bool by_bell) noexcept {
  // SYNC wakes (acquire): pairs with the release in WakeAcross(); loaded before the position is
  // stored, so that the wake that it asks for changes the word (C6).
  const uint32_t seen =
      peer.valid() ? peer.words->wakes.load(std::memory_order_acquire) : 0;  // PEER
  // SYNC futex_at bell_at (relaxed): ordered by the fence.
  (by_bell ? mine->bell_at : mine->futex_at).store(at, std::memory_order_relaxed);
  internal::Fence();  // store futex_at, bell_at | load count, fin. Pairs with WakeAcross() (C4).
  return seen;
}

inline void Disarm(SideWords* mine) noexcept {
  // SYNC futex_at bell_at (relaxed): a wake too many is harmless.
  mine->futex_at.store(kNever, std::memory_order_relaxed);
  mine->bell_at.store(kNever, std::memory_order_relaxed);
}

namespace internal {

// Takes the bells out of the doorbell. kOk, kPeerDied, or kStrayIo.
template <class Sys>
Status EatBells(int fd, ChannelWaiter* waiter) noexcept {
  constexpr int kMost = 64;  // a peer that rings without end does not keep us here
  for (int i = 0; i < kMost; i++) {
    const Record record = EatRecord<Sys>(fd);
    if (record.kind == RecordKind::kNone) return Status::kOk;
    if (record.kind == RecordKind::kBell) continue;
    if (record.fd >= 0) Sys::Close(record.fd);
    if (record.kind != RecordKind::kHangUp) return Status::kStrayIo;
    // SYNC flags (release): as in Notify(); nobody else is to be woken.
    waiter->flags.fetch_or(ChannelWaiter::kDead, std::memory_order_release);
    return Status::kPeerDied;
  }
  return Status::kOk;
}

template <class Sys>
Status SleepOnBell(ChannelWaiter* waiter, int fd, uint64_t deadline) noexcept {
  int timeout_ms = -1;
  if (deadline != kNever) {
    const uint64_t now = MonotonicNanos<Sys>();
    const uint64_t left = deadline > now ? (deadline - now + 999999) / 1000000 : 0;
    timeout_ms = left < 0x7fffffff ? static_cast<int>(left) : 0x7fffffff;
  }
  const long events = Sys::Poll(fd, POLLIN | POLLRDHUP, timeout_ms);
  if (events == -EINTR) return Status::kInterrupted;
  if (events < 0) return Status::kInternal;
  return events == 0 ? Status::kWouldBlock : EatBells<Sys>(fd, waiter);
}

template <class Sys>
Status SleepOnFutex(ChannelWaiter* waiter, const FutexWord* word, uint32_t seen,
                    uint64_t deadline) noexcept {
  // SYNC sleeping_on (seq_cst): store sleeping_on | load flags. Pairs with Notify() (C7).
  waiter->sleeping_on.store(word, std::memory_order_seq_cst);
  long result = 0;
  // SYNC flags (seq_cst): as above.
  if (waiter->flags.load(std::memory_order_seq_cst) == 0) {
    result = FutexWait<Sys>(word, seen, deadline);
  }
  // SYNC sleeping_on (release): pairs with the load in Notify(): the word may be unmapped then.
  waiter->sleeping_on.store(nullptr, std::memory_order_release);
  if (result == -EINTR) return Status::kInterrupted;
  return result == -ETIMEDOUT ? Status::kWouldBlock : Status::kOk;
}

// What somebody of this process said, if anything.
inline Status Told(const ChannelWaiter& waiter) noexcept {
  // SYNC flags (acquire): as in IsDead().
  const uint32_t flags = waiter.flags.load(std::memory_order_acquire);
  if ((flags & ChannelWaiter::kInterrupted) != 0) return Status::kInterrupted;
  return flags == 0 ? Status::kOk : Status::kPeerDied;
}

template <class Sys>
bool IsOver(uint64_t deadline) noexcept {
  return deadline != kNever && MonotonicNanos<Sys>() >= deadline;
}

// kOk: ready, or it is time to sleep.
template <class Sys, class IsReady>
Status SpinFor(const ChannelWaiter& waiter, const WaitOptions& options, IsReady is_ready) noexcept {
  constexpr uint64_t kTurnsPerClock = 1024;
  for (uint64_t turn = 1; turn <= options.spins && !is_ready(); turn++) {
    const Status status = Told(waiter);
    if (status != Status::kOk) return status;
    if (turn % kTurnsPerClock == 0 && IsOver<Sys>(options.deadline)) return Status::kWouldBlock;
    RelaxCpu();
  }
  return Status::kOk;
}

// kOk: woken, or about to be.
template <class Sys>
Status Sleep(ChannelWaiter* waiter, const ChannelPeer& peer, uint32_t seen,
             const WaitOptions& options) noexcept {
  if (!peer.valid()) return SleepOnFutex<Sys>(waiter, &waiter->flags, 0, options.deadline);
  return options.by_bell ? SleepOnBell<Sys>(waiter, peer.bell_fd, options.deadline)
                         : SleepOnFutex<Sys>(waiter, &peer.words->wakes, seen, options.deadline);
}

}  // namespace internal

// Waits until `is_ready()`, for the peer's store that passes `at`.
//   kOk            look again: it is ready
//   kWouldBlock    the deadline is over
//   kInterrupted   by Notify(), or by a signal
//   kPeerDied      by Notify(), or by the doorbell: look again, what was stored last counts
//   kStrayIo       a record in the doorbell that no peer of ours sends
// Without a peer it sleeps until Notify().
template <class Sys, class IsReady>
[[nodiscard]] Status WaitFor(ChannelWaiter* waiter, SideWords* mine, const ChannelPeer& peer,
                             uint64_t at, const WaitOptions& options, WaitCounts* counts,
                             IsReady is_ready) noexcept {
  Status status = internal::SpinFor<Sys>(*waiter, options, is_ready);
  // Who did not sleep leaves the line alone that the peer looks at.
  if (status != Status::kOk || is_ready()) return is_ready() ? Status::kOk : status;
  do {
    const uint32_t seen = Arm(mine, peer, at, options.by_bell);
    if (is_ready()) break;  // C4
    status = internal::Told(*waiter);
    if (status != Status::kOk) break;
    counts->sleeps++;
    status = internal::Sleep<Sys>(waiter, peer, seen, options);
    // A peer that wakes us for nothing, again and again, does not keep us beyond the deadline.
    if (status == Status::kOk && !is_ready() && internal::IsOver<Sys>(options.deadline)) {
      status = Status::kWouldBlock;
    }
  } while (status == Status::kOk && !is_ready());
  Disarm(mine);
  return status == Status::kOk || !is_ready() ? status : Status::kOk;
}

}  // namespace shimmy

#endif  // SHIMMY_CHANNEL_WAIT_H_
