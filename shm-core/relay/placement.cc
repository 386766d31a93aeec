#include "placement.h"

#include <cstring>

namespace shimmy::relay {

void Placement::Begin() {
  cpu_set_t given;
  cpu_set_t all;
  std::memset(&all, 0xff, sizeof all);
  if (sched_getaffinity(0, sizeof given, &given) < 0) return;  // more CPUs than the set holds
  if (sched_setaffinity(0, sizeof all, &all) < 0) return;
  cpu_set_t allowed;
  const bool is_known = sched_getaffinity(0, sizeof allowed, &allowed) == 0;
  const bool is_all = is_known && CPU_EQUAL(&given, &allowed);
  wanted_ = is_all ? all : given;
  can_move_ = is_all || sched_setaffinity(0, sizeof given, &given) == 0;
}

bool Placement::MoveTo(uint64_t cpu) {
  if (!can_move_ || cpu >= CPU_SETSIZE || cpu == Cpu()) return false;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) < 0 || !CPU_ISSET(cpu, &allowed)) return false;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  const bool has_moved = sched_setaffinity(0, sizeof one, &one) == 0;
  return sched_setaffinity(0, sizeof wanted_, &wanted_) == 0 && has_moved;
}

}  // namespace shimmy::relay
