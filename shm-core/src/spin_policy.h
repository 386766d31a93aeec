// How long to look for work before going to sleep, learned from how long waits were.
//
// Spinning pays when the wait would have been shorter than about the cost of a wake-up. So a
// wait that ended within kMaxNanos, asleep or not, makes the next spin that long; every longer
// one halves it, down to none.
#pragma once

#include <time.h>

#include <cstdint>

namespace shimmy::addon {

// Same numbers as `Spin` in lib/stream.ts.
enum class Spin : int32_t {
  kNone = 0,
  kLearned = 1,  // as long as the policy says
  kSlice = 2,    // kSliceNanos, whatever was learned; the caller comes again
};

inline uint64_t NowNanos() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

inline void RelaxCpu() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield");
#endif
}

class SpinPolicy {
 public:
  // Above the slow answers that come out of an idle virtual CPU: a lower bound has two states that
  // keep themselves up (docs/adr/0003-spin-on-the-peers-turn.md).
  static constexpr uint64_t kMaxNanos = 200'000;
  static constexpr uint64_t kSliceNanos = 1'000'000;

  // Spins until `is_ready` says so. The time limit is looked at every few turns.
  template <typename IsReady>
  void SpinUntil(Spin spin, IsReady is_ready) noexcept {
    const uint64_t limit = spin == Spin::kSlice ? kSliceNanos : limit_;
    if (spin == Spin::kNone || limit == 0) return;
    const uint64_t deadline = NowNanos() + limit;
    do {
      for (int i = 0; i < kTurnsPerLook; i++) {
        if (is_ready()) return;
        RelaxCpu();
      }
    } while (NowNanos() < deadline);
  }

  // The call found nothing: a wait begins, or goes on.
  void Waiting() noexcept {
    if (waiting_since_ == 0) waiting_since_ = NowNanos();
  }

  // The call found something: the wait, if there was one, is over.
  void Done() noexcept {
    if (waiting_since_ == 0) return;
    const uint64_t waited = NowNanos() - waiting_since_;
    waiting_since_ = 0;
    limit_ = waited <= kMaxNanos ? kMaxNanos : limit_ / 2;
    if (limit_ < kMinNanos) limit_ = 0;
  }

 private:
  static constexpr uint64_t kMinNanos = 1'000;
  static constexpr int kTurnsPerLook = 32;

  uint64_t limit_ = kMaxNanos;
  uint64_t waiting_since_ = 0;
};

}  // namespace shimmy::addon
