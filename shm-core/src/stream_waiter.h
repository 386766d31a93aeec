// Tells JavaScript once when a stream's doorbell becomes readable or writable.
//
//   I1  the doorbell stays open until Stop(); OnReady() uses it with mutex_ held only
//   I2  one event for each direction asked for, then it must be asked for again
#pragma once

#include <memory>
#include <mutex>

#include "event_sink.h"
#include "poller.h"

namespace shimmy::addon {

// Bits of what is waited for. Same numbers as in lib/stream.ts.
inline constexpr uint32_t kWaitReadable = 1;
inline constexpr uint32_t kWaitWritable = 2;

class StreamWaiter final : public Pollable, public std::enable_shared_from_this<StreamWaiter> {
 public:
  StreamWaiter(uint32_t id, int doorbell, EventSink& sink, Poller& poller)
      : id_(id), sink_(sink), poller_(poller), doorbell_(doorbell) {}
  ~StreamWaiter() override = default;

  // Adds to what is waited for. Returns 0 or -errno. A kStreamReady event follows.
  [[nodiscard]] int32_t Ask(uint32_t wanted);

  // No event is posted afterwards. Call before the doorbell is closed or given away.
  void Stop() noexcept;

  void OnReady(uint32_t events) override;

 private:
  // With mutex_ held.
  [[nodiscard]] int32_t Watch();

  const uint32_t id_;
  EventSink& sink_;
  Poller& poller_;

  std::mutex mutex_;  // guards the members below
  int doorbell_;      // not owned; -1 after Stop()
  int64_t poll_id_ = 0;
  uint32_t wanted_ = 0;
};

// (kStreamReady, stream id, bits)
class StreamReadyEvent final : public Event {
 public:
  StreamReadyEvent(uint32_t stream, uint32_t ready) : stream_(stream), ready_(ready) {}
  void Deliver(EventCall& call) override {
    call.Kind(EventKind::kStreamReady).Number(stream_).Number(ready_).Send();
  }

 private:
  const uint32_t stream_;
  const uint32_t ready_;
};

}  // namespace shimmy::addon
