// What a relay tells JavaScript: a copy of relay::Event, made on a relay thread.
#pragma once

#include "event_sink.h"
#include "relay/relay.h"

namespace shimmy::addon {

// (kRelaySessionNeeded, relay id, pod) (kRelaySessionReady, relay id, session)
// (kRelaySessionEnded, relay id, session, reason) (kRelayDrained, relay id, drained, aborted)
class RelayEvent final : public Event {
 public:
  RelayEvent(uint32_t relay, const relay::Event& event) : relay_(relay), event_(event) {}
  void Deliver(EventCall& call) override;

 private:
  const uint32_t relay_;
  const relay::Event event_;
};

}  // namespace shimmy::addon
