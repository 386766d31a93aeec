// Tells JavaScript once when a stream's doorbell, or the descriptor of a channel's endpoint,
// becomes readable or writable.
//
//   I1  used on the environment's thread only; Stop() comes before the doorbell is closed or given
//       away, and nothing is told afterwards
//   I2  one event for each direction asked for, then it must be asked for again
//   I3  the handle is started exactly while something is wanted, so that a peer that rings while
//       nobody waits costs nothing; while waits follow each other it stays started, and a wait
//       costs no system call
#pragma once

#include <uv.h>

#include <cstdint>
#include <memory>

#include "event_sink.h"
#include "wait_loop.h"

namespace shimmy::addon {

// Bits of what is waited for. Same numbers as in lib/stream.ts.
inline constexpr uint32_t kWaitReadable = 1;
inline constexpr uint32_t kWaitWritable = 2;

class StreamWaiter final : public std::enable_shared_from_this<StreamWaiter> {
 public:
  StreamWaiter(uint32_t id, int doorbell, EventSink& sink, WaitLoop& loop,
               EventKind kind = EventKind::kStreamReady)
      : kind_(kind), id_(id), sink_(sink), loop_(loop), doorbell_(doorbell) {}
  StreamWaiter(const StreamWaiter&) = delete;
  StreamWaiter& operator=(const StreamWaiter&) = delete;
  ~StreamWaiter() { Stop(); }

  // Adds to what is waited for. Returns 0 or -errno. An event of the waiter's kind follows.
  [[nodiscard]] int32_t Ask(uint32_t wanted);

  [[nodiscard]] uint32_t wanted() const noexcept { return wanted_; }

  // No event comes afterwards. Call before the doorbell is closed or given away.
  void Stop() noexcept;

 private:
  struct Handle;

  static void OnPoll(uv_poll_t* poll, int status, int events);
  static void OnClose(uv_handle_t* handle);

  [[nodiscard]] int32_t Open();
  // Makes the handle look for what is wanted, and for nothing else (I3). Returns 0 or -errno.
  [[nodiscard]] int32_t Update();
  void Tell(uint32_t ready);

  const EventKind kind_;
  const uint32_t id_;
  EventSink& sink_;
  WaitLoop& loop_;
  int doorbell_;              // not owned; -1 after Stop()
  Handle* handle_ = nullptr;  // freed by OnClose()
  uint32_t wanted_ = 0;
  int started_ = 0;  // libuv's events that the handle looks for
  bool is_telling_ = false;
};

// (kStreamReady or kChannelReady, id, bits)
class StreamReadyEvent final : public Event {
 public:
  StreamReadyEvent(EventKind kind, uint32_t id, uint32_t ready)
      : kind_(kind), id_(id), ready_(ready) {}
  void Deliver(EventCall& call) override { call.Kind(kind_).Number(id_).Number(ready_).Send(); }

 private:
  const EventKind kind_;
  const uint32_t id_;
  const uint32_t ready_;
};

}  // namespace shimmy::addon
