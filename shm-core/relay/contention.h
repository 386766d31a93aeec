// Do more threads want to run than there are CPUs? Then spinning would take time from those who
// have work, and possibly from the very process that is waited for.
//
// Says so from the number of runnable threads in /proc/loadavg (fs/proc/loadavg.c; the whole
// machine's, also inside a container), sampled while this thread is about to spin and averaged.
// What does not tell: being switched away or kept waiting. Waking an idle virtual CPU keeps a
// thread waiting for tens of microseconds, and whoever is answered preempts the one who answers.
// A quota that is used up shows as milliseconds without the CPU (second field of schedstat,
// Documentation/scheduler/sched-stats.rst).
#ifndef SHIMMY_RELAY_CONTENTION_H_
#define SHIMMY_RELAY_CONTENTION_H_

#include <cstdint>

#include "unique_fd.h"

namespace shimmy::relay {

class Contention {
 public:
  // Called on the thread that is to be judged.
  void Begin(uint64_t now);
  // Looks at most every kLookEveryNs.
  [[nodiscard]] bool IsContended(uint64_t now);

 private:
  static constexpr uint64_t kLookEveryNs = 500'000;
  static constexpr uint64_t kForgetAfterNs = 100'000'000;
  static constexpr uint64_t kThrottledNs = 5'000'000;

  [[nodiscard]] uint64_t Waited() const;
  [[nodiscard]] uint64_t Runnable() const;

  UniqueFd schedstat_;
  UniqueFd loadavg_;
  uint64_t cpus_ = 1;
  uint64_t looked_at_ = 0;
  uint64_t waited_ns_ = 0;
  uint64_t runnable_ = 0;  // moving average, in sixteenths
  bool is_throttled_ = false;
};

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_CONTENTION_H_
