#include "control_events.h"

#include "addon_state.h"
#include "control_channel.h"
#include "control_listener.h"

namespace shimmy {
namespace {

Napi::Value Number(Napi::Env env, double value) { return Napi::Number::New(env, value); }

Napi::Value Kind(Napi::Env env, EventKind kind) {
  return Number(env, static_cast<double>(static_cast<uint32_t>(kind)));
}

}  // namespace

void MessageEvent::Deliver(Napi::Env env, const Napi::Function& dispatch) {
  channel_->Delivered();
  if (channel_->is_released()) return;
  const Napi::Array fds = Napi::Array::New(env, message_.fds.size());
  const auto data = Napi::Buffer<std::byte>::Copy(env, message_.data.data(), message_.data.size());
  if (env.IsExceptionPending()) return;
  for (uint32_t i = 0; i < message_.fds.size(); i++) fds.Set(i, Number(env, message_.fds[i].get()));
  if (env.IsExceptionPending()) return;
  // From here on the receiver owns them: the dispatcher wraps them before anything can throw.
  for (UniqueFd& fd : message_.fds) static_cast<void>(fd.Release());
  dispatch.Call({Kind(env, EventKind::kMessage), Number(env, channel_->id()), data, fds});
}

void SocketClosedEvent::Deliver(Napi::Env env, const Napi::Function& dispatch) {
  if (channel_->is_released()) return;
  AddonState::Of(env).channels.erase(channel_->id());
  dispatch.Call(
      {Kind(env, EventKind::kSocketClosed), Number(env, channel_->id()), Number(env, status_)});
}

void ConnectionEvent::Deliver(Napi::Env env, const Napi::Function& dispatch) {
  listener_->Delivered();
  AddonState& state = AddonState::Of(env);
  if (!state.listeners.contains(listener_->id())) return;  // closed meanwhile
  const uint32_t id = state.AddChannel(std::move(fd_));
  dispatch.Call(
      {Kind(env, EventKind::kConnection), Number(env, listener_->id()), Number(env, id)});
}

void AcceptPausedEvent::Deliver(Napi::Env env, const Napi::Function& dispatch) {
  dispatch.Call({Kind(env, EventKind::kAcceptPaused), Number(env, listener_), Number(env, error_)});
}

}  // namespace shimmy
