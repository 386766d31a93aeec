#include "wait_loop.h"

namespace shimmy::addon {

WaitLoop* WaitLoop::Open(napi_env env) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) {
    Napi::Error::New(env, "the environment has no event loop").ThrowAsJavaScriptException();
    return nullptr;
  }
  auto* const self = new WaitLoop(loop);
  if (napi_add_async_cleanup_hook(env, &OnCleanup, self, nullptr) == napi_ok) return self;
  delete self;
  Napi::Error::New(env, "no clean-up hook could be added").ThrowAsJavaScriptException();
  return nullptr;
}

void WaitLoop::HandleClosed() noexcept {
  open_handles_--;
  FinishIfClosed();
}

// Streams may still be open: they are closed by another hook, before or after this one.
void WaitLoop::OnCleanup(napi_async_cleanup_hook_handle hook, void* self) noexcept {
  auto* const loop = static_cast<WaitLoop*>(self);
  loop->closing_ = hook;
  loop->FinishIfClosed();
}

void WaitLoop::FinishIfClosed() noexcept {
  if (closing_ == nullptr || open_handles_ > 0) return;
  napi_remove_async_cleanup_hook(closing_);
  delete this;
}

}  // namespace shimmy::addon
