// Relays in this process, through their public API, and sessions between them.
#ifndef SHIMMY_TEST_RELAY_FIXTURE_H_
#define SHIMMY_TEST_RELAY_FIXTURE_H_

#include <memory>
#include <mutex>
#include <vector>

#include "core_fixture.h"
#include "net_helpers.h"
#include "process_counts.h"
#include "relay.h"

namespace shimmy::test {

using relay::Endpoint;
using relay::Event;
using relay::Grant;
using relay::Relay;
using relay::RelayOptions;
using relay::SessionInit;
using relay::Upstream;

inline constexpr const char* kService = "default/echo";

// One relay and what it said.
class TestRelay {
 public:
  explicit TestRelay(const RelayOptions& options = {}) {
    const auto sink = [this](const Event& event) {
      const std::lock_guard<std::mutex> guard(lock_);
      events_.push_back(event);
    };
    EXPECT_EQ(Relay::Start(options, sink, &relay_), 0);
  }
  Relay* operator->() { return relay_.get(); }
  void Stop() { relay_.reset(); }

  std::vector<Event> events() {
    const std::lock_guard<std::mutex> guard(lock_);
    return events_;
  }
  bool Saw(Event::Kind kind, const std::string& subject = "") {
    for (const Event& event : events()) {
      if (event.kind == kind && (subject.empty() || event.subject == subject)) return true;
    }
    return false;
  }
  bool WaitForEvent(Event::Kind kind, const std::string& subject = "") {
    return WaitFor([&] { return Saw(kind, subject); });
  }
  // Why the session ended, once it did; kCount: it did not.
  SessionEndReason WaitForSessionEnd(const std::string& id) {
    if (!WaitForEvent(Event::Kind::kSessionEnded, id)) return SessionEndReason::kCount;
    for (const Event& event : events()) {
      if (event.kind == Event::Kind::kSessionEnded && event.subject == id) return event.session_end;
    }
    return SessionEndReason::kCount;
  }

  uint64_t Count(relay::Counter which) { return relay_->counters().Get(which); }
  uint64_t Ends(EndReason reason) {
    return relay_->counters().ends[static_cast<size_t>(reason)].load();
  }
  uint64_t Fallbacks(FallbackReason reason) {
    return relay_->counters().fallbacks[static_cast<size_t>(reason)].load();
  }
  bool WaitForEnds(EndReason reason, uint64_t count) {
    return WaitFor([&] { return Ends(reason) >= count; });
  }
  bool WaitForIdle() {
    return WaitFor([&] { return Count(relay::kActiveShm) == 0 && Count(relay::kActiveTcp) == 0; });
  }

 private:
  std::mutex lock_;
  std::vector<Event> events_;
  std::unique_ptr<Relay> relay_;
};

inline void SessionSockets(int ends[2]) {
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
}

inline Endpoint ShmEndpoint(uint16_t port, const std::string& pod = "pod-b") {
  return {pod, "127.0.0.1", port, true, FallbackReason::kDisabled};
}
inline Endpoint TcpEndpoint(uint16_t port, FallbackReason reason) {
  return {"pod-c", "127.0.0.1", port, false, reason};
}

inline SessionInit MakeSession(const std::string& id, int fd, bool is_initiator,
                               const std::vector<Grant>& accept = {}) {
  SessionInit init;
  init.id = id;
  init.fd = fd;
  init.initiator = is_initiator;
  init.peer.pod = is_initiator ? "pod-b" : "pod-a";
  init.accept = accept;
  return init;
}

// Client's relay `a`, server's relay `b`, one session, one service that echoes.
class RelayPair {
 public:
  explicit RelayPair(const RelayOptions& a_options = {}, const RelayOptions& b_options = {})
      : a(a_options), b(b_options) {}

  // Serves what listens on `port`; returns the local port that reaches it through both relays.
  uint16_t Serve(uint16_t port) {
    b->SetDelivery({{port, "127.0.0.1"}});
    Upstream upstream;
    upstream.service = kService;
    upstream.endpoints = {ShmEndpoint(port)};
    uint16_t bound = 0;
    listener = a->Listen("127.0.0.1", 0, upstream, &bound);
    EXPECT_GT(listener, 0);
    grants_ = {{kService, port}};
    return bound;
  }
  void Connect(const std::string& id = "s1") {
    int ends[2];
    SessionSockets(ends);
    ASSERT_EQ(b->AddSession(MakeSession(id, ends[1], false, grants_)), 0);
    ASSERT_EQ(a->AddSession(MakeSession(id, ends[0], true)), 0);
    ASSERT_TRUE(a.WaitForEvent(Event::Kind::kSessionReady, id));
    ASSERT_TRUE(b.WaitForEvent(Event::Kind::kSessionReady, id));
  }
  uint16_t ServeAndConnect(uint16_t port) {
    const uint16_t local = Serve(port);
    Connect();
    return local;
  }

  TestRelay a;
  TestRelay b;
  int listener = 0;

 private:
  std::vector<Grant> grants_;
};

}  // namespace shimmy::test

#endif  // SHIMMY_TEST_RELAY_FIXTURE_H_
