#include "spin.h"

#include <time.h>

#include "relay/contention.h"
#include "shimmy/channel_wait.h"

namespace shimmy::channel {

namespace {

// One turn of a spinning wait looks at a word and pauses; how long that takes depends on the CPU.
uint64_t MeasureTurnsPerMicro() {
  constexpr uint64_t kTurns = 2000;
  uint64_t best = ~uint64_t{0};
  for (int round = 0; round < 3; round++) {
    const uint64_t since = NowNanos();
    for (uint64_t i = 0; i < kTurns; i++) internal::RelaxCpu();
    const uint64_t took = NowNanos() - since;
    if (took < best) best = took;
  }
  const uint64_t turns = kTurns * 1000 / (best == 0 ? 1 : best);
  return turns == 0 ? 1 : turns;
}

relay::Contention& ContentionOfThread(uint64_t now) {
  // SYNC thread_local: each thread its own.
  static thread_local bool has_begun = false;
  static thread_local relay::Contention contention;
  if (!has_begun) {
    contention.Begin(now);
    has_begun = true;
  }
  return contention;
}

}  // namespace

uint64_t NowNanos() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

uint64_t Spin::Turns(uint64_t now) const {
  if (mode_ == SHIMMY_SPIN) return kNever;
  if (mode_ == SHIMMY_SLEEP || limit_ == 0) return 0;
  if (ContentionOfThread(now).IsContended(now, false)) return 0;
  static const uint64_t turns_per_micro = MeasureTurnsPerMicro();
  return limit_ * turns_per_micro / 1000;
}

void Spin::Done(uint64_t since) {
  if (mode_ != SHIMMY_ADAPTIVE) return;
  limit_ = NowNanos() - since <= kMaxNanos ? kMaxNanos : limit_ / 2;
  if (limit_ < kMinNanos) limit_ = 0;
}

}  // namespace shimmy::channel
