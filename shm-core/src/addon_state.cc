#include "addon_state.h"

#include <unistd.h>

namespace shimmy::addon {

bool AddonState::Attach(Napi::Env env) {
  auto* const state = new AddonState();
  env.SetInstanceData(state);  // deleted with the environment, after the cleanup hooks
  if (!state->sink.Open(env)) return false;
  state->waits = WaitLoop::Open(env);
  if (state->waits == nullptr) return false;
  // Hooks run in reverse order, so this one comes before the threadsafe function's own (I1).
  env.AddCleanupHook([](AddonState* self) { self->Shutdown(); }, state);
  return !env.IsExceptionPending();
}

uint32_t AddonState::AddChannel(UniqueFd fd) {
  const uint32_t id = NextId();
  channels.emplace(id, std::make_shared<ControlChannel>(id, std::move(fd), sink, poller));
  return id;
}

Status AddonState::OpenStreamHost(const StreamHost** out) noexcept {
  if (!has_stream_host_) {
    const Status status = StreamHost::Open(&stream_host_);
    if (status != Status::kOk) return status;
    has_stream_host_ = true;
  }
  *out = &stream_host_;
  return Status::kOk;
}

uint32_t AddonState::AddStream(std::unique_ptr<Stream> stream) {
  const uint32_t id = NextId();
  auto waiter = std::make_shared<StreamWaiter>(id, stream->doorbell(), sink, *waits);
  streams.emplace(id, StreamEntry{{}, std::move(stream), std::move(waiter)});
  return id;
}

void AddonState::Shutdown() noexcept {
  relays.clear();
  poller.Stop();
  for (const auto& [id, channel] : channels) channel->Close();
  for (const auto& [id, listener] : listeners) listener->Close();
  streams.clear();
  channel_table.reset();
  channels.clear();
  listeners.clear();
  sink.Stop();
  for (const int fd : owned_fds) ::close(fd);
  owned_fds.clear();
}

}  // namespace shimmy::addon
