// Is this thread kept waiting for a CPU? Then spinning would take time from those who have
// work, and possibly from the very process that is waited for.
//
// Says so from the kernel's own account of the time that a runnable thread waited (the second
// field of schedstat, Documentation/scheduler/sched-stats.rst), which also covers a cgroup
// whose quota is used up. Without that file nothing is known, and spinning is left to its bound.
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
  static constexpr uint64_t kLookEveryNs = 5'000'000;
  [[nodiscard]] bool Read(uint64_t* waited_ns) const;

  UniqueFd file_;
  uint64_t looked_at_ = 0;
  uint64_t waited_ns_ = 0;
  bool is_contended_ = false;
};

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_CONTENTION_H_
