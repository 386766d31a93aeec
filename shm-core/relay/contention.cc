#include "contention.h"

#include <fcntl.h>

#include <cstdlib>
#include <cstring>

namespace shimmy::relay {

namespace {

// The text of a small /proc file; empty when it cannot be read.
const char* Read(const UniqueFd& file, char* text, size_t size) {
  const ssize_t length = file.valid() ? pread(file.get(), text, size - 1, 0) : 0;
  text[length > 0 ? length : 0] = '\0';
  return text;
}

}  // namespace

void Contention::Begin(uint64_t now) {
  schedstat_.Reset(open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC));
  loadavg_.Reset(open("/proc/loadavg", O_RDONLY | O_CLOEXEC));
  uptime_.Reset(open("/proc/uptime", O_RDONLY | O_CLOEXEC));
  const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  cpus_ = cpus > 0 ? static_cast<uint64_t>(cpus) : 1;
  looked_at_ = now;
  waited_ns_ = Waited();
  idle_looked_at_ = now;
  idle_ns_ = IdleNs();
}

// 0 where the kernel keeps no such account.
uint64_t Contention::Waited() const {
  char text[96];
  char* rest = nullptr;
  std::strtoull(Read(schedstat_, text, sizeof text), &rest, 10);  // time on the CPU
  return std::strtoull(rest, nullptr, 10);
}

// "0.20 0.18 0.12 1/80 11206": the fourth field.
uint64_t Contention::Runnable() const {
  char text[96];
  const char* const slash = std::strchr(Read(loadavg_, text, sizeof text), '/');
  if (slash == nullptr) return 0;
  const char* start = slash;
  while (start > text && start[-1] != ' ') start--;
  return std::strtoull(start, nullptr, 10);
}

// "10350.12 18920.51": seconds since boot, and idle seconds of all CPUs together.
uint64_t Contention::IdleNs() const {
  char text[96];
  const char* const space = std::strchr(Read(uptime_, text, sizeof text), ' ');
  if (space == nullptr) return 0;
  char* rest = nullptr;
  const uint64_t seconds = std::strtoull(space + 1, &rest, 10);
  const uint64_t hundredths = *rest == '.' ? std::strtoull(rest + 1, nullptr, 10) : 0;
  return seconds * 1'000'000'000 + hundredths * 10'000'000;
}

bool Contention::HasIdleTime(uint64_t now) {
  if (now - idle_looked_at_ < kIdleWindowNs) return has_idle_time_;
  const uint64_t idle = IdleNs();
  has_idle_time_ = idle - idle_ns_ >= kIdleEnoughNs;
  idle_ns_ = idle;
  idle_looked_at_ = now;
  return has_idle_time_;
}

bool Contention::IsContended(uint64_t now, bool is_busy) {
  const uint64_t elapsed = now - looked_at_;
  if (elapsed >= kLookEveryNs) {
    if (elapsed >= kForgetAfterNs) runnable_ = 0;
    runnable_ = (runnable_ * 7 + Runnable() * 16) / 8;
    const uint64_t waited = Waited();
    if (elapsed < kForgetAfterNs && waited - waited_ns_ >= kThrottledNs) {
      throttled_until_ = now + kThrottledForNs;
    }
    waited_ns_ = waited;
    looked_at_ = now;
  }
  const uint64_t allowed = is_busy ? cpus_ * 16 - 8 : cpus_ * 16 + 4;
  return now < throttled_until_ || runnable_ > allowed;
}

}  // namespace shimmy::relay
