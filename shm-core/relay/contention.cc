#include "contention.h"

#include <fcntl.h>

#include <cstdlib>

namespace shimmy::relay {

void Contention::Begin(uint64_t now) {
  file_.Reset(open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC));
  looked_at_ = now;
  if (!Read(&waited_ns_)) file_.Reset();
}

bool Contention::Read(uint64_t* waited_ns) const {
  char text[96];
  const ssize_t length = pread(file_.get(), text, sizeof text - 1, 0);
  if (length <= 0) return false;
  text[length] = '\0';
  char* rest = nullptr;
  std::strtoull(text, &rest, 10);  // time on the CPU
  *waited_ns = std::strtoull(rest, nullptr, 10);
  return true;
}

bool Contention::IsContended(uint64_t now) {
  if (now - looked_at_ < kLookEveryNs || !file_.valid()) return is_contended_;
  uint64_t waited = 0;
  if (!Read(&waited)) return is_contended_;
  // More than a twentieth of the time spent waiting for a CPU.
  is_contended_ = (waited - waited_ns_) * 20 > now - looked_at_;
  waited_ns_ = waited;
  looked_at_ = now;
  return is_contended_;
}

}  // namespace shimmy::relay
