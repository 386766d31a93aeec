// The event loop of one JavaScript environment, as the waits for streams use it: handles in libuv's
// own loop, so that a doorbell wakes the loop directly, as a socket of Node does.
//
//   I1  everything runs on the environment's thread
//   I2  a handle is freed by its close callback; the environment is not torn down before the last
//       one was (a loop that is closed with open handles ends the process)
#pragma once

#include <napi.h>
#include <uv.h>

#include <cstddef>

namespace shimmy::addon {

// In memory of its own: the last handle may close after everything else of the environment is gone.
class WaitLoop {
 public:
  WaitLoop(const WaitLoop&) = delete;
  WaitLoop& operator=(const WaitLoop&) = delete;

  // Belongs to the environment, which waits for it. nullptr with an exception pending.
  [[nodiscard]] static WaitLoop* Open(napi_env env);

  [[nodiscard]] uv_loop_t* loop() const noexcept { return loop_; }
  void HandleOpened() noexcept { open_handles_++; }
  // Call last in a close callback: may free this.
  void HandleClosed() noexcept;

 private:
  explicit WaitLoop(uv_loop_t* loop) noexcept : loop_(loop) {}
  ~WaitLoop() = default;

  static void OnCleanup(napi_async_cleanup_hook_handle hook, void* self) noexcept;
  void FinishIfClosed() noexcept;

  uv_loop_t* const loop_;
  std::size_t open_handles_ = 0;
  napi_async_cleanup_hook_handle closing_ = nullptr;  // set: the environment waits for us
};

}  // namespace shimmy::addon
