// How many turns a wait spins before it sleeps, learned from how long waits were.
//
// The rule is that of streams (docs/adr/0003-spin-on-the-peers-turn.md): a wait that ended within
// kMaxNanos makes the next spin that long; a longer one halves it, down to none. Nobody spins while
// more threads want to run than there are CPUs.
#ifndef SHIMMY_CHANNEL_SPIN_H_
#define SHIMMY_CHANNEL_SPIN_H_

#include <cstdint>

#include "shimmy.h"

namespace shimmy::channel {

uint64_t NowNanos();

class Spin {
 public:
  explicit Spin(uint32_t mode) : mode_(mode) {}

  // Turns to spin in the wait that begins now.
  [[nodiscard]] uint64_t Turns(uint64_t now) const;
  // A wait that began at `since` is over.
  void Done(uint64_t since);

 private:
  static constexpr uint64_t kMaxNanos = 200'000;
  static constexpr uint64_t kMinNanos = 1'000;

  uint32_t mode_;
  uint64_t limit_ = kMaxNanos;
};

}  // namespace shimmy::channel

#endif  // SHIMMY_CHANNEL_SPIN_H_
