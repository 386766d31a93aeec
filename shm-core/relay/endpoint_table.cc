#include "endpoint_table.h"

#include <algorithm>

namespace shimmy::relay {

namespace {

bool IsSameEndpoint(const Endpoint& a, const Endpoint& b) {
  return a.pod == b.pod && a.address == b.address && a.port == b.port;
}

bool WasTried(const EndpointRef& ref, const std::vector<EndpointRef>& tried) {
  return std::find(tried.begin(), tried.end(), ref) != tried.end();
}

}  // namespace

EndpointRef EndpointTable::FindOrMake(const Endpoint& endpoint, const Row* old) {
  if (old != nullptr) {
    for (const EndpointRef& ref : old->endpoints) {
      if (!IsSameEndpoint(ref->endpoint, endpoint)) continue;
      ref->endpoint = endpoint;  // transport and reason may have changed
      return ref;
    }
  }
  auto made = std::make_shared<EndpointState>();
  made->endpoint = endpoint;
  return made;
}

void EndpointTable::Set(int listener, const Upstream& upstream) {
  const std::lock_guard<std::mutex> guard(lock_);
  Row row;
  row.service = upstream.service;
  const auto old = rows_.find(listener);
  for (const Endpoint& endpoint : upstream.endpoints) {
    row.endpoints.push_back(FindOrMake(endpoint, old == rows_.end() ? nullptr : &old->second));
  }
  rows_[listener] = std::move(row);
}

void EndpointTable::Remove(int listener) {
  const std::lock_guard<std::mutex> guard(lock_);
  rows_.erase(listener);
}

EndpointTable::Choice EndpointTable::Pick(int listener, const std::vector<EndpointRef>& tried,
                                          uint64_t now) {
  const std::lock_guard<std::mutex> guard(lock_);
  Choice choice;
  const auto found = rows_.find(listener);
  if (found == rows_.end()) return choice;
  Row& row = found->second;
  choice.service = row.service;
  if (row.endpoints.empty()) return choice;

  uint64_t total = 0;
  for (const EndpointRef& ref : row.endpoints) total += ref->open;
  const uint64_t count = row.endpoints.size();
  // Smaller rank wins: ejected last, a near endpoint within 1.5 times the mean first, then load.
  const auto rank = [&](const EndpointState& state) {
    const bool is_ejected = state.ejected_until > now;
    const bool is_near = state.endpoint.shm && 2 * count * state.open <= 3 * total;
    const uint64_t group = is_ejected ? 2 : (is_near ? 0 : 1);
    const uint64_t order = is_ejected ? state.ejected_until / 1000000 : state.open;
    return (group << 62) | (order & ((uint64_t{1} << 62) - 1));
  };
  row.turn++;
  EndpointRef best;
  uint64_t best_rank = 0;
  for (size_t i = 0; i < count; i++) {
    const EndpointRef& ref = row.endpoints[(row.turn + i) % count];
    if (WasTried(ref, tried)) continue;
    const uint64_t r = rank(*ref);
    if (best == nullptr || r < best_rank) {
      best = ref;
      best_rank = r;
    }
  }
  if (best == nullptr) return choice;
  best->open++;
  choice.state = best;
  choice.endpoint = best->endpoint;
  return choice;
}

void EndpointTable::Succeed(const EndpointRef& ref) {
  const std::lock_guard<std::mutex> guard(lock_);
  ref->failures = 0;
  ref->ejected_until = 0;
  ref->ejection_ns = 0;
}

void EndpointTable::Release(const EndpointRef& ref) {
  const std::lock_guard<std::mutex> guard(lock_);
  if (ref->open > 0) ref->open--;
}

void EndpointTable::Fail(const EndpointRef& ref, uint64_t now) {
  const std::lock_guard<std::mutex> guard(lock_);
  if (ref->open > 0) ref->open--;
  if (++ref->failures < kFailuresToEject) return;
  ref->failures = 0;
  ref->ejection_ns =
      ref->ejection_ns == 0 ? kFirstEjectionNs : std::min(ref->ejection_ns * 2, kLongestEjectionNs);
  ref->ejected_until = now + ref->ejection_ns;
}

}  // namespace shimmy::relay
