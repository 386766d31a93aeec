// Do more threads want to run than there are CPUs? Then spinning would take time from those who
// have work, and possibly from the very process that is waited for.
//
// Says so from the number of runnable threads in /proc/loadavg (fs/proc/loadavg.c; the whole
// machine's, also inside a container), sampled while this thread is about to spin and averaged.
// What does not tell: being switched away or kept waiting. Waking an idle virtual CPU keeps a
// thread waiting for tens of microseconds, and whoever is answered preempts the one who answers.
// The time that CPUs were idle is in /proc/uptime (fs/proc/uptime.c), in hundredths of a second.
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
  // Is a CPU wanted by somebody else, were this thread to stay awake without work? Looks at most
  // every kLookEveryNs. `is_busy`: there is so much to do that others can be expected to have
  // some of it any moment, so that the last CPU is to be left to them.
  [[nodiscard]] bool IsContended(uint64_t now, bool is_busy);
  // Was any CPU idle lately? If not, somebody uses all there is, whatever we do, and to give our
  // CPU away means to get it back after a whole slice of theirs.
  [[nodiscard]] bool HasIdleTime(uint64_t now);

 private:
  static constexpr uint64_t kLookEveryNs = 500'000;
  static constexpr uint64_t kForgetAfterNs = 300'000'000;
  static constexpr uint64_t kThrottledNs = 5'000'000;
  // Periods of quotas are 100 ms long, and the time in them that is left is not for spinning.
  static constexpr uint64_t kThrottledForNs = 1'000'000'000;
  static constexpr uint64_t kIdleWindowNs = 200'000'000;
  static constexpr uint64_t kIdleEnoughNs = 10'000'000;

  [[nodiscard]] uint64_t Waited() const;
  [[nodiscard]] uint64_t Runnable() const;
  [[nodiscard]] uint64_t IdleNs() const;

  UniqueFd schedstat_;
  UniqueFd loadavg_;
  UniqueFd uptime_;
  uint64_t cpus_ = 1;
  uint64_t looked_at_ = 0;
  uint64_t waited_ns_ = 0;
  uint64_t runnable_ = 0;  // moving average, in sixteenths
  uint64_t throttled_until_ = 0;
  uint64_t idle_looked_at_ = 0;
  uint64_t idle_ns_ = 0;
  bool has_idle_time_ = true;
};

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_CONTENTION_H_
