// The relay: carries TCP connections of local applications over streams to other sidecars,
// and streams from other sidecars to the local application.
//
// All calls are made from one thread (the owner's); bytes move on the relay's own threads.
// No call blocks for longer than a relay thread needs to finish what it is at.
#ifndef SHIMMY_RELAY_RELAY_H_
#define SHIMMY_RELAY_RELAY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "counters.h"
#include "shimmy/reasons.h"

namespace shimmy::relay {

struct RelayOptions {
  uint32_t threads = 1;
  uint32_t spin_micros = 200;              // 0: never spin
  uint64_t ring_budget_bytes = 64u << 20;  // memfd bytes that this process pays for
  uint64_t max_ring_bytes = 1u << 20;      // one ring's largest capacity; power of two
  uint32_t max_connections = 10000;        // relayed connections, both directions
  uint32_t max_streams_per_peer = 10000;
  uint32_t open_timeout_ms = 1000;
  uint32_t connect_timeout_ms = 5000;
  uint32_t idle_timeout_ms = 0;     // 0: never
  uint32_t shrink_after_ms = 5000;  // without traffic, a grown ring goes back to its first size
  uint32_t keep_pairs_ms = 10000;   // a pair of halves that nobody used for so long is let go of
};

struct Endpoint {
  std::string pod;      // uid of the pod
  std::string address;  // numeric IPv4 or IPv6
  uint16_t port = 0;
  bool shm = false;  // a session may be asked for; else plain TCP with `reason`
  FallbackReason reason = FallbackReason::kDisabled;
};

struct Upstream {
  std::string service;  // "namespace/name"
  uint16_t port = 0;    // the Service's port, for display
  std::vector<Endpoint> endpoints;
};

struct Grant {
  std::string service;
  uint16_t port = 0;  // target port
};

struct PeerIdentity {
  std::string pod;  // uid
  std::string namespace_name;
  std::string name;
  std::vector<std::string> addresses;
};

struct SessionInit {
  std::string id;
  int fd = -1;  // SOCK_SEQPACKET; owned by the relay from the call on, also when it fails
  bool initiator = false;  // opens streams with odd ids, the other side with even ones
  PeerIdentity peer;
  std::vector<Grant> accept;  // what the peer may open here
};

struct DeliveryRule {
  uint16_t port = 0;    // declared port of the app
  std::string address;  // where the app listens: the pod's own address, unless told otherwise
};

struct Event {
  enum class Kind : uint8_t { kSessionNeeded, kSessionReady, kSessionEnded, kDrained };
  Kind kind;
  std::string subject;  // pod uid (kSessionNeeded) or session id
  SessionEndReason session_end = SessionEndReason::kClosed;
  uint32_t drained = 0;  // kDrained: connections that ended by themselves
  uint32_t aborted = 0;  // kDrained: connections that were cut at the time-out
};

struct SessionInfo {
  std::string id;
  std::string pod;
  std::string state;  // "greeting" or "ready"
  uint32_t streams = 0;
  uint32_t unanswered = 0;
  uint32_t pooled_pairs = 0;
};

struct StreamInfo {
  uint64_t id = 0;
  std::string direction;  // "outbound" or "inbound"
  std::string transport;  // "shm" or "tcp"
  std::string service;
  std::string pod;
  uint64_t bytes_to_peer = 0;
  uint64_t bytes_from_peer = 0;
  uint64_t ring_bytes = 0;  // capacity of the ring that we write
  uint64_t peer_ring_bytes = 0;
  uint64_t age_ms = 0;
};

// Called on a relay thread; must not block and must not call the relay.
using EventSink = std::function<void(const Event&)>;

class Relay {
 public:
  // Returns 0 and sets *out, or -errno.
  [[nodiscard]] static int Start(const RelayOptions& options, EventSink sink,
                                 std::unique_ptr<Relay>* out);
  virtual ~Relay() = default;  // stops the threads, closes everything
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // Binds, listens and starts accepting for `upstream`. Port 0 picks one. Returns a listener
  // id (> 0) and the port in *bound_port, or -errno.
  [[nodiscard]] virtual int Listen(const std::string& address, uint16_t port,
                                   const Upstream& upstream, uint16_t* bound_port) = 0;
  // Replaces the endpoints of a listener; connections that exist are left alone. 0 or -errno.
  [[nodiscard]] virtual int SetUpstream(int listener, const Upstream& upstream) = 0;
  [[nodiscard]] virtual int Unlisten(int listener) = 0;
  // Where streams of peers may be delivered. Ports that are not listed are refused.
  virtual void SetDelivery(const std::vector<DeliveryRule>& rules) = 0;

  // Returns 0 or -errno (EEXIST: id in use; EINVAL: not a SEQPACKET socket).
  [[nodiscard]] virtual int AddSession(const SessionInit& init) = 0;
  // The agent gave no session for this pod: parked connections go over TCP with `reason`.
  virtual void FailSession(const std::string& pod, FallbackReason reason) = 0;
  [[nodiscard]] virtual int SetGrants(const std::string& session,
                                      const std::vector<Grant>& accept) = 0;
  // Takes grants away and resets the streams under them, in both directions.
  [[nodiscard]] virtual int Revoke(const std::string& session,
                                   const std::vector<Grant>& grants) = 0;
  // Ends a session; established streams go on.
  [[nodiscard]] virtual int CloseSession(const std::string& session) = 0;

  [[nodiscard]] virtual std::vector<SessionInfo> Sessions() = 0;
  // At most `limit` streams, oldest first.
  [[nodiscard]] virtual std::vector<StreamInfo> Streams(size_t limit) = 0;
  [[nodiscard]] virtual const Counters& counters() const = 0;

  // Stops accepting, lets connections finish, cuts the rest after `timeout_ms`; then kDrained.
  virtual void Drain(uint32_t timeout_ms) = 0;

 protected:
  Relay() = default;
};

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_RELAY_H_
