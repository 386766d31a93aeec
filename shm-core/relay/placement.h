// Where a thread runs, and how it moves without being bound.
//
// Moving means: allow one CPU only, then all of before again. The scheduler keeps its freedom, as
// it does not move a running thread without a reason.
#ifndef SHIMMY_RELAY_PLACEMENT_H_
#define SHIMMY_RELAY_PLACEMENT_H_

#include <sched.h>

#include <cstdint>

namespace shimmy::relay {

class Placement {
 public:
  // Called on the thread that is to move.
  void Begin();
  // Moves the calling thread. False when it is there already, or may not go there.
  [[nodiscard]] bool MoveTo(uint64_t cpu);

  [[nodiscard]] static uint64_t Cpu() { return static_cast<uint64_t>(sched_getcpu()); }

 private:
  // What is asked for after a move: everything, which the kernel cuts down to the cpuset of that
  // moment; or the thread's own mask, if somebody had given it a smaller one than the cpuset.
  cpu_set_t wanted_{};
  bool can_move_ = false;
};

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_PLACEMENT_H_
