// The one way from native threads into JavaScript: events, delivered in order on the
// environment's own thread by a threadsafe function.
//
//   I1  an event is destroyed exactly once, delivered or not; what it owns (fds) goes with it
//   I2  nothing is posted after Stop(); every thread that posts is joined before
#pragma once

#include <napi.h>

#include <memory>

namespace shimmy {

// Kinds of event, first argument of the dispatcher. Same numbers as `EventKind` in
// lib/native.ts; a unit test compares them.
enum class EventKind : uint32_t {
  kMessage = 1,
  kSocketClosed = 2,
  kConnection = 3,
  kAcceptPaused = 4,
};

class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  virtual ~Event() = default;

  // On the environment's thread. May leave a JavaScript exception pending.
  virtual void Deliver(Napi::Env env, const Napi::Function& dispatch) = 0;
};

class EventSink {
 public:
  EventSink() = default;
  EventSink(const EventSink&) = delete;
  EventSink& operator=(const EventSink&) = delete;
  ~EventSink() = default;

  // Creates the threadsafe function, unreferenced. Returns false with an exception pending.
  [[nodiscard]] bool Open(Napi::Env env);

  // Called with (kind, id, ...) for each event. On the environment's thread.
  void SetDispatch(const Napi::Function& dispatch);

  // From any thread; never blocks. The event is dropped when the environment goes away.
  void Post(std::unique_ptr<Event> event) noexcept;

  // Whether the environment's loop stays alive for events. On the environment's thread.
  void Ref(Napi::Env env, bool keep_alive) noexcept;

  // On the environment's thread, once (I2).
  void Stop() noexcept;

 private:
  static void CallJs(napi_env env, napi_value callback, void* context, void* data);

  Napi::FunctionReference dispatch_;
  napi_threadsafe_function queue_ = nullptr;
};

}  // namespace shimmy
