#include "relay_events.h"

namespace shimmy::addon {

void RelayEvent::Deliver(EventCall& call) {
  switch (event_.kind) {
    case relay::Event::Kind::kSessionNeeded:
      call.Kind(EventKind::kRelaySessionNeeded).Number(relay_).Text(event_.subject);
      break;
    case relay::Event::Kind::kSessionReady:
      call.Kind(EventKind::kRelaySessionReady).Number(relay_).Text(event_.subject);
      break;
    case relay::Event::Kind::kSessionEnded:
      call.Kind(EventKind::kRelaySessionEnded).Number(relay_).Text(event_.subject);
      call.Number(static_cast<double>(event_.session_end));
      break;
    case relay::Event::Kind::kDrained:
      call.Kind(EventKind::kRelayDrained).Number(relay_);
      call.Number(event_.drained).Number(event_.aborted);
      break;
  }
  call.Send();
}

}  // namespace shimmy::addon
