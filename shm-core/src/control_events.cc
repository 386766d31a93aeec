#include "control_events.h"

#include "addon_state.h"
#include "control_channel.h"
#include "control_listener.h"

namespace shimmy::addon {

void MessageEvent::Deliver(EventCall& call) {
  channel_->Delivered();
  if (channel_->is_released()) return;
  std::vector<int> fds;
  for (const UniqueFd& fd : message_.fds) fds.push_back(fd.get());
  call.Kind(EventKind::kMessage).Number(channel_->id()).Bytes(message_.data).Numbers(fds);
  if (!call.ok()) return;
  // From here on the receiver owns them. Should the environment end before it sees them,
  // they are closed with it.
  for (UniqueFd& fd : message_.fds) AddonState::Of(call.env()).owned_fds.insert(fd.Release());
  call.Send();
}

void SocketClosedEvent::Deliver(EventCall& call) {
  if (channel_->is_released()) return;
  AddonState::Of(call.env()).channels.erase(channel_->id());
  call.Kind(EventKind::kSocketClosed).Number(channel_->id()).Number(status_).Send();
}

void ConnectionEvent::Deliver(EventCall& call) {
  listener_->Delivered();
  AddonState& state = AddonState::Of(call.env());
  if (!state.listeners.contains(listener_->id())) return;  // closed meanwhile
  const uint32_t id = state.AddChannel(std::move(fd_));
  call.Kind(EventKind::kConnection).Number(listener_->id()).Number(id).Send();
}

void AcceptPausedEvent::Deliver(EventCall& call) {
  call.Kind(EventKind::kAcceptPaused).Number(listener_).Number(error_).Send();
}

}  // namespace shimmy::addon
