#include "relay_counters.h"

#include <cerrno>

namespace shimmy::addon {
namespace {

using relay::kCounterCount;
using relay::kLatencyBuckets;

constexpr std::size_t kFallbackCount = static_cast<std::size_t>(FallbackReason::kCount);
constexpr std::size_t kEndCount = static_cast<std::size_t>(EndReason::kCount);
constexpr std::size_t kTotal =
    kCounterCount + kFallbackCount + kEndCount + 2 * (kLatencyBuckets + 1);

// Gauges may be below zero for a moment, when threads take turns: two's complement keeps them.
int64_t Signed(uint64_t value) { return static_cast<int64_t>(value); }

template <typename Item, std::size_t kCount, typename Convert>
Napi::Array List(Napi::Env env, const Item (&items)[kCount], Convert convert) {
  const Napi::Array array = Napi::Array::New(env, kCount);
  for (uint32_t i = 0; i < kCount; i++) array.Set(i, convert(env, items[i]));
  return array;
}

Napi::Value Text(Napi::Env env, const char* text) { return Napi::String::New(env, text); }
Napi::Value Number(Napi::Env env, uint32_t value) { return Napi::Number::New(env, value); }

}  // namespace

int64_t SnapshotCounters(const relay::Counters& counters, std::span<int64_t> out) {
  if (out.size() < kTotal) return -EINVAL;
  std::size_t next = 0;
  const auto add = [&](uint64_t value) { out[next++] = Signed(value); };
  // SYNC counters (relaxed): statistics; a snapshot is not of one moment.
  const auto load = [](const std::atomic<uint64_t>& word) {
    return word.load(std::memory_order_relaxed);
  };
  for (std::size_t i = 0; i < kCounterCount; i++) add(counters.Get(static_cast<relay::Counter>(i)));
  for (const auto& word : counters.fallbacks) add(load(word));
  for (const auto& word : counters.ends) add(load(word));
  for (const relay::Histogram* histogram : {&counters.open_latency, &counters.queue_latency}) {
    for (const auto& word : histogram->buckets) add(load(word));
    add(load(histogram->sum_nanos));
  }
  return static_cast<int64_t>(next);
}

Napi::Value CounterLayout(Napi::Env env) {
  Napi::Object layout = Napi::Object::New(env);
  layout.Set("names", List(env, relay::kCounterNames, Text));
  layout.Set("fallbacks", List(env, kFallbackReasonNames, Text));
  layout.Set("ends", List(env, kEndReasonNames, Text));
  layout.Set("sessionEnds", List(env, kSessionEndReasonNames, Text));
  layout.Set("latencyBoundsMicros", List(env, relay::kLatencyBoundsMicros, Number));
  return layout;
}

}  // namespace shimmy::addon
