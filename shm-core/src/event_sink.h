// The one way from native threads into JavaScript: events, delivered in order on the
// environment's own thread by a threadsafe function.
//
//   I1  an event is destroyed exactly once, delivered or not; what it owns (fds) goes with it
//   I2  nothing is posted after Stop(); every thread that posts is joined before
#pragma once

#include <napi.h>

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

namespace shimmy::addon {

// Kinds of event, first argument of the dispatcher. Same numbers as `EventKind` in
// lib/native.ts; a unit test compares them.
enum class EventKind : uint32_t {
  kMessage = 1,
  kSocketClosed = 2,
  kConnection = 3,
  kAcceptPaused = 4,
  kRelaySessionNeeded = 5,
  kRelaySessionReady = 6,
  kRelaySessionEnded = 7,
  kRelayDrained = 8,
  kStreamReady = 9,
  kChannelReady = 10,
  kChannelAnswer = 11,
};

// One call of the dispatcher: arguments are added in order, then Send().
//
// Plain Node-API: when a worker is being terminated every call fails, which node-addon-api
// answers by ending the process. Here the event is just not delivered.
class EventCall {
 public:
  EventCall(napi_env env, napi_value dispatch) noexcept : env_(env), dispatch_(dispatch) {}

  EventCall& Kind(EventKind kind) noexcept { return Number(static_cast<double>(kind)); }
  EventCall& Number(double value) noexcept;
  EventCall& Text(std::string_view value) noexcept;
  // A Buffer with a copy of `bytes`.
  EventCall& Bytes(std::span<const std::byte> bytes) noexcept;
  EventCall& Numbers(std::span<const int> values) noexcept;

  // Whether every argument could be made.
  [[nodiscard]] bool ok() const noexcept { return is_ok_; }
  // Calls the dispatcher unless an argument is missing. May leave an exception pending.
  void Send() noexcept;

  [[nodiscard]] napi_env env() const noexcept { return env_; }

 private:
  static constexpr std::size_t kMaxArguments = 6;

  // Where the next argument goes.
  napi_value* Next() noexcept {
    return &arguments_[count_ < kMaxArguments ? count_++ : count_ - 1];
  }
  EventCall& Check(napi_status status) noexcept {
    is_ok_ = is_ok_ && status == napi_ok;
    return *this;
  }

  napi_env env_;
  napi_value dispatch_;
  std::array<napi_value, kMaxArguments> arguments_{};
  std::size_t count_ = 0;
  bool is_ok_ = true;
};

class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  virtual ~Event() = default;

  // On the environment's thread. May leave a JavaScript exception pending.
  virtual void Deliver(EventCall& call) = 0;
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
  void SetDispatch(const Napi::Function& dispatch) noexcept;

  // From any thread; never blocks. The event is dropped when the environment goes away.
  void Post(std::unique_ptr<Event> event) noexcept;

  // On the environment's thread, outside of JavaScript: delivers at once, in front of what was
  // posted, and runs the microtasks that follow.
  void Call(Event& event) noexcept;

  // Whether the environment's loop stays alive for events. On the environment's thread.
  void Ref(Napi::Env env, bool keep_alive) noexcept;

  // On the environment's thread, once (I2).
  void Stop() noexcept;

 private:
  void Deliver(napi_env env, Event& event) noexcept;
  static void CallJs(napi_env env, napi_value callback, void* context, void* data);

  napi_env env_ = nullptr;
  napi_async_context calls_ = nullptr;  // of Call()
  napi_ref dispatch_ = nullptr;         // freed with the environment
  napi_threadsafe_function queue_ = nullptr;
};

}  // namespace shimmy::addon
