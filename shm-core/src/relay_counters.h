// A relay's counters as one array of numbers, in the order of relay/counters.h:
//
//   [counters][fallbacks by reason][ends by reason][open latency][queue latency]
//
// where a latency is one number per bucket, then the sum in nanoseconds.
#pragma once

#include <napi.h>

#include <cstdint>
#include <span>

#include "relay/counters.h"

namespace shimmy::addon {

// Returns how many numbers were written, or -EINVAL when `out` is too short.
[[nodiscard]] int64_t SnapshotCounters(const relay::Counters& counters, std::span<int64_t> out);

// What lib/relay-counters.ts needs to take the array apart:
// { names: string[], fallbacks: string[], ends: string[], latencyBoundsMicros: number[] }.
Napi::Value CounterLayout(Napi::Env env);

}  // namespace shimmy::addon
