// Ping-pong between two processes: what every transport's program shares.
//
// The parent sends `size` bytes, the child reads all of them, touches every byte and sends as
// many back, and the parent does the same: one operation. Which bytes move how is the End's:
//
//   bool Write(const std::byte* from, size_t size)   all of it; false when the peer is gone
//   bool Read(std::byte* to, size_t size)            all of it; false at the end of the stream
#ifndef SHIMMY_BENCH_PING_H_
#define SHIMMY_BENCH_PING_H_

#include <sched.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "histogram.h"

namespace shimmy::bench {

// How an end waits when there is nothing to read or no room to write.
enum class Waiting { kSpin, kDefault, kSleep };

struct PingOptions {
  std::string transport;
  Waiting waiting = Waiting::kDefault;
  size_t size = 100;
  uint64_t duration_ms = 1000;
  uint64_t warmup_ms = 100;
};

inline Waiting ParseWaiting(std::string_view name) {
  if (name == "spin") return Waiting::kSpin;
  if (name == "default") return Waiting::kDefault;
  if (name == "sleep") return Waiting::kSleep;
  std::fprintf(stderr, "ping: --waiting is spin, default or sleep, got %s\n", name.data());
  std::exit(1);
}

inline PingOptions ParsePingOptions(int argc, char** argv) {
  PingOptions options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const char* const value = argv[i + 1];
    if (name == "--transport")
      options.transport = value;
    else if (name == "--waiting")
      options.waiting = ParseWaiting(value);
    else if (name == "--size")
      options.size = std::strtoull(value, nullptr, 10);
    else if (name == "--duration-ms")
      options.duration_ms = std::strtoull(value, nullptr, 10);
    else if (name == "--warmup-ms")
      options.warmup_ms = std::strtoull(value, nullptr, 10);
    else {
      std::fprintf(stderr, "ping: unknown argument %s\n", argv[i]);
      std::exit(1);
    }
  }
  return options;
}

enum PingSide : int { kClient, kServer };

// Two processes that spin need a core each, and are pinned like that; processes that sleep run
// where the scheduler puts them.
inline void PinIfSpinning(Waiting waiting, PingSide side) {
  cpu_set_t allowed;
  if (waiting != Waiting::kSpin || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  int left = side;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &allowed) || left-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

inline uint64_t PingNowNanos() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// Reads every byte; the result must be used, or the compiler leaves the loads out.
inline uint64_t TouchEveryByte(const std::byte* bytes, size_t size) {
  uint64_t sum = 0;
  size_t at = 0;
  for (; at + sizeof(uint64_t) <= size; at += sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, bytes + at, sizeof word);
    sum += word;
  }
  for (; at < size; ++at) sum += static_cast<uint64_t>(bytes[at]);
  return sum;
}

// The child's part: answers until the parent closes. Returns the exit code.
template <class End>
int ServePings(End& end, size_t size) {
  std::vector<std::byte> bytes(size);
  uint64_t sum = 0;
  while (end.Read(bytes.data(), size)) {
    sum += TouchEveryByte(bytes.data(), size);
    if (!end.Write(bytes.data(), size)) break;
  }
  // Never true: it keeps the sum, and so the loads, alive.
  if (sum == UINT64_MAX) std::fprintf(stderr, "%llu\n", static_cast<unsigned long long>(sum));
  return 0;
}

// The parent's part: pings until the time is over and prints the figures. Returns the exit code.
template <class End>
int RunPings(End& end, const PingOptions& options) {
  std::vector<std::byte> out(options.size, std::byte{1});
  std::vector<std::byte> in(options.size);
  // What `size` bytes of value 1 add up to, so that a byte lost or changed is noticed.
  const uint64_t expected = TouchEveryByte(out.data(), options.size);
  Histogram latencies;
  uint64_t operations = 0;
  const uint64_t measure_from = PingNowNanos() + options.warmup_ms * 1'000'000;
  const uint64_t until = measure_from + options.duration_ms * 1'000'000;
  for (uint64_t before = PingNowNanos(); before < until; ++operations) {
    if (!end.Write(out.data(), options.size) || !end.Read(in.data(), options.size)) {
      std::fprintf(stderr, "ping: the peer closed after %llu operations\n",
                   static_cast<unsigned long long>(operations));
      return 2;
    }
    if (TouchEveryByte(in.data(), options.size) != expected) {
      std::fprintf(stderr, "ping: the answer differs from what was sent\n");
      return 2;
    }
    const uint64_t after = PingNowNanos();
    if (before >= measure_from) latencies.Record(after - before);
    before = after;
  }
  std::printf("{");
  latencies.PrintJsonFields(stdout);
  std::printf(
      ",\"operations\":%llu,\"perSecond\":%.3f}\n", static_cast<unsigned long long>(operations),
      static_cast<double>(latencies.count()) * 1e3 / static_cast<double>(options.duration_ms));
  return 0;
}

}  // namespace shimmy::bench

#endif  // SHIMMY_BENCH_PING_H_
