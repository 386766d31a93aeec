// What one relay has done so far: native counters, written by relay threads, read by anyone.
//
// Every counter has one name here; the addon hands out names and values in this order, so a
// new counter needs an edit in this list alone. Gauges are signed sums that may go down.
#ifndef SHIMMY_RELAY_COUNTERS_H_
#define SHIMMY_RELAY_COUNTERS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "shimmy/reasons.h"

namespace shimmy::relay {

// clang-format off
#define SHIMMY_COUNTERS(X)                                                        \
  X(kOutboundAccepted, "outbound_accepted")       /* connections from local apps */ \
  X(kOutboundShm, "outbound_shm")                 /* of those, carried by a stream */ \
  X(kOutboundTcp, "outbound_tcp")                 /* of those, carried by plain TCP */ \
  X(kOutboundFailed, "outbound_failed")           /* of those, no endpoint answered */ \
  X(kOutboundRefused, "outbound_refused")         /* over max connections */       \
  X(kInboundShm, "inbound_shm")                   /* streams opened by peers */    \
  X(kInboundRefused, "inbound_refused")           /* OPENs that we refused */      \
  X(kConnectRetries, "connect_retries")           /* another endpoint tried */     \
  X(kActiveShm, "active_shm")                     /* gauge: streams open now */    \
  X(kActiveTcp, "active_tcp")                     /* gauge: TCP relays open now */ \
  X(kActiveSessions, "active_sessions")           /* gauge */                      \
  X(kBytesToShm, "bytes_to_shm")                  /* app -> peer by stream */      \
  X(kBytesFromShm, "bytes_from_shm")              /* peer -> app by stream */      \
  X(kBytesToTcp, "bytes_to_tcp")                  /* app -> peer by TCP */         \
  X(kBytesFromTcp, "bytes_from_tcp")              /* peer -> app by TCP */         \
  X(kBellsSent, "bells_sent")                                                     \
  X(kBellsEaten, "bells_eaten")                                                   \
  X(kPublishes, "publishes")                      /* times tail moved */           \
  X(kPlugsSent, "plugs_sent")                                                     \
  X(kPlugsTakenBack, "plugs_taken_back")                                          \
  X(kReplacesSent, "replaces_sent")                                               \
  X(kReplacesTaken, "replaces_taken")                                             \
  X(kReplacesHeldBack, "replaces_held_back")      /* FIN sent or the last not taken yet */ \
  X(kRingBytesOwn, "ring_bytes_own")              /* gauge: memfd bytes we pay for */ \
  X(kRingBytesPeer, "ring_bytes_peer")            /* gauge: peers' bytes mapped here */ \
  X(kPairsPooled, "pairs_pooled")                 /* gauge: pairs of halves kept for reuse */ \
  X(kPairsReused, "pairs_reused")                                                 \
  X(kSleeps, "sleeps")                            /* blocking waits */             \
  X(kNaps, "naps")                                /* bounded waits with streams unarmed */ \
  X(kMoves, "moves")                              /* to the CPU of those who feed us */ \
  X(kSpinHits, "spin_hits")                       /* spins that found work */      \
  X(kSpinMisses, "spin_misses")                   /* spins that ended in a sleep */ \
  X(kSpinNanos, "spin_nanos")                     /* time spent spinning */        \
  X(kAcceptErrors, "accept_errors")               /* accept failed (fd limit, ...) */ \
  X(kSessionMessagesRefused, "session_messages_refused")
// clang-format on

#define SHIMMY_COUNTER_ENUM(name, text) name,
enum Counter : size_t { SHIMMY_COUNTERS(SHIMMY_COUNTER_ENUM) kCounterCount };
#undef SHIMMY_COUNTER_ENUM

#define SHIMMY_COUNTER_TEXT(name, text) text,
inline constexpr const char* kCounterNames[] = {SHIMMY_COUNTERS(SHIMMY_COUNTER_TEXT)};
#undef SHIMMY_COUNTER_TEXT

// Latency histogram: upper bounds in microseconds; one more bucket for what is above.
inline constexpr uint32_t kLatencyBoundsMicros[] = {
    50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000};
inline constexpr size_t kLatencyBuckets = sizeof(kLatencyBoundsMicros) / sizeof(uint32_t) + 1;

class Histogram {
 public:
  void Record(uint64_t nanos) noexcept {
    size_t i = 0;
    while (i < kLatencyBuckets - 1 && nanos > uint64_t{kLatencyBoundsMicros[i]} * 1000) i++;
    // SYNC bucket/sum (relaxed): statistics, nothing is ordered by them.
    buckets[i].fetch_add(1, std::memory_order_relaxed);
    sum_nanos.fetch_add(nanos, std::memory_order_relaxed);
  }
  std::atomic<uint64_t> buckets[kLatencyBuckets]{};
  std::atomic<uint64_t> sum_nanos{0};
};

class Counters {
 public:
  // Each relay thread adds to the same words; they are statistics and contention is rare
  // because one thread is the default.
  void Add(Counter which, uint64_t n = 1) noexcept {
    // SYNC counter (relaxed): statistics, nothing is ordered by them.
    values_[which].fetch_add(n, std::memory_order_relaxed);
  }
  void Sub(Counter which, uint64_t n = 1) noexcept {
    // SYNC counter (relaxed): statistics, nothing is ordered by them.
    values_[which].fetch_sub(n, std::memory_order_relaxed);
  }
  uint64_t Get(Counter which) const noexcept {
    // SYNC counter (relaxed): statistics, nothing is ordered by them.
    return values_[which].load(std::memory_order_relaxed);
  }
  void AddFallback(FallbackReason reason) noexcept {
    // SYNC fallback (relaxed): statistics, nothing is ordered by them.
    fallbacks[static_cast<size_t>(reason)].fetch_add(1, std::memory_order_relaxed);
  }
  void AddEnd(EndReason reason) noexcept {
    // SYNC end (relaxed): statistics, nothing is ordered by them.
    ends[static_cast<size_t>(reason)].fetch_add(1, std::memory_order_relaxed);
  }

  std::atomic<uint64_t> fallbacks[static_cast<size_t>(FallbackReason::kCount)]{};
  std::atomic<uint64_t> ends[static_cast<size_t>(EndReason::kCount)]{};
  Histogram open_latency;   // accept of the app's connection to an established stream
  Histogram queue_latency;  // accept to the moment an OPEN (or a TCP connect) is sent

 private:
  std::atomic<uint64_t> values_[kCounterCount]{};
};

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_COUNTERS_H_
