// What one JavaScript environment (main thread or worker) owns. Nothing is global: an addon
// loaded in three workers has three of these, and three poller threads.
//
//   I1  Shutdown() runs as a cleanup hook, before the environment frees the threadsafe
//       function: it joins every thread that posts events, then stops the sink
//   I2  members are used on the environment's thread only, except sink.Post() and the poller
#pragma once

#include <napi.h>

#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "channel_table.h"
#include "control_channel.h"
#include "control_listener.h"
#include "event_sink.h"
#include "poller.h"
#include "relay/relay.h"
#include "stream.h"
#include "stream_waiter.h"
#include "wait_loop.h"

namespace shimmy::addon {

// The waiter watches the stream's doorbell: it stops before the stream closes it.
struct StreamEntry {
  // Memory of the stream that JavaScript was lent becomes harmless to use.
  void TakeBack() {
    for (Napi::Reference<Napi::ArrayBuffer>& buffer : lent) buffer.Value().Detach();
    lent.clear();
  }
  void TakeBackIfStale() {
    if (!lent.empty() && stream->mode() == StreamMode::kStale) TakeBack();
  }

  std::vector<Napi::Reference<Napi::ArrayBuffer>> lent;
  std::unique_ptr<Stream> stream;
  std::shared_ptr<StreamWaiter> waiter;
};

class AddonState {
 public:
  AddonState() = default;
  AddonState(const AddonState&) = delete;
  AddonState& operator=(const AddonState&) = delete;
  ~AddonState() = default;

  // Attaches a new state to `env`. Returns false with an exception pending.
  [[nodiscard]] static bool Attach(Napi::Env env);
  static AddonState& Of(Napi::Env env) { return *env.GetInstanceData<AddonState>(); }

  // Returns the new channel's id.
  [[nodiscard]] uint32_t AddChannel(UniqueFd fd);
  [[nodiscard]] uint32_t NextId() noexcept { return next_id_++; }

  // Descriptors held by an OwnedFd: a terminated worker runs no finalizers, so what its
  // JavaScript held is closed at Shutdown().
  std::unordered_set<int> owned_fds;
  EventSink sink;
  Poller poller;
  WaitLoop* waits = nullptr;  // the environment's
  std::unordered_map<uint32_t, std::shared_ptr<ControlChannel>> channels;
  std::unordered_map<uint32_t, std::shared_ptr<ControlListener>> listeners;
  std::unordered_map<uint32_t, std::unique_ptr<relay::Relay>> relays;
  std::unordered_map<uint32_t, StreamEntry> streams;
  std::shared_ptr<ChannelTable> channel_table = std::make_shared<ChannelTable>();

  // What streams share, probed when the first one is made.
  [[nodiscard]] Status OpenStreamHost(const StreamHost** out) noexcept;
  // Returns the new stream's id.
  [[nodiscard]] uint32_t AddStream(std::unique_ptr<Stream> stream);

 private:
  void Shutdown() noexcept;

  uint32_t next_id_ = 1;
  StreamHost stream_host_;
  bool has_stream_host_ = false;
};

}  // namespace shimmy::addon
