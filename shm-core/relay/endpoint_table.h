// Which endpoint a new connection goes to. Shared by the relay's threads; one lock, held for
// one choice.
//
// An endpoint of this node is preferred while its open connections are at most 1.5 times the
// mean, then others get some; among equals the least loaded, in turn. Three failures in a row
// eject an endpoint for 10 s, doubling to 5 min; when all are ejected, the one that comes back
// first is tried anyway.
#ifndef SHIMMY_RELAY_ENDPOINT_TABLE_H_
#define SHIMMY_RELAY_ENDPOINT_TABLE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "relay.h"

namespace shimmy::relay {

// One endpoint's life as seen from this sidecar; survives updates of the table while the
// endpoint stays in it or a connection holds it. Guarded by the table's lock.
struct EndpointState {
  Endpoint endpoint;
  uint32_t open = 0;
  uint32_t failures = 0;
  uint64_t ejected_until = 0;  // Now() scale
  uint64_t ejection_ns = 0;
};

using EndpointRef = std::shared_ptr<EndpointState>;

inline constexpr uint32_t kFailuresToEject = 3;
inline constexpr uint64_t kFirstEjectionNs = 10'000'000'000;
inline constexpr uint64_t kLongestEjectionNs = 300'000'000'000;

class EndpointTable {
 public:
  void Set(int listener, const Upstream& upstream);
  void Remove(int listener);

  struct Choice {
    EndpointRef state;  // null: nothing (left) to try
    Endpoint endpoint;  // a copy, safe to read without the lock
    std::string service;
  };
  // Picks for a listener, leaving out what was tried. Counts the connection as open until
  // Release() or Fail().
  Choice Pick(int listener, const std::vector<EndpointRef>& tried, uint64_t now);
  void Succeed(const EndpointRef& ref);
  void Release(const EndpointRef& ref);
  void Fail(const EndpointRef& ref, uint64_t now);  // and releases

 private:
  struct Row {
    std::string service;
    std::vector<EndpointRef> endpoints;
    size_t turn = 0;
  };
  EndpointRef FindOrMake(const Endpoint& endpoint, const Row* old);

  std::mutex lock_;
  std::map<int, Row> rows_;
};

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_ENDPOINT_TABLE_H_
