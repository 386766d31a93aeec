#include "event_sink.h"

namespace shimmy {

bool EventSink::Open(Napi::Env env) {
  const Napi::String name = Napi::String::New(env, "shimmy:events");
  napi_status status = napi_create_threadsafe_function(
      env, nullptr, nullptr, name, /*max_queue_size=*/0, /*initial_thread_count=*/1,
      /*thread_finalize_data=*/nullptr, /*thread_finalize_cb=*/nullptr, this, &EventSink::CallJs,
      &queue_);
  if (status == napi_ok) status = napi_unref_threadsafe_function(env, queue_);
  if (status == napi_ok) return true;
  Napi::Error::New(env, "the event queue could not be created").ThrowAsJavaScriptException();
  return false;
}

void EventSink::SetDispatch(const Napi::Function& dispatch) {
  dispatch_ = Napi::Persistent(dispatch);
  // The environment frees its references itself; a destructor that ran after it must not.
  dispatch_.SuppressDestruct();
}

void EventSink::Post(std::unique_ptr<Event> event) noexcept {
  Event* const raw = event.release();
  if (queue_ != nullptr &&
      napi_call_threadsafe_function(queue_, raw, napi_tsfn_nonblocking) == napi_ok) {
    return;
  }
  delete raw;  // I1
}

void EventSink::Ref(Napi::Env env, bool keep_alive) noexcept {
  if (queue_ == nullptr) return;
  if (keep_alive) {
    napi_ref_threadsafe_function(env, queue_);
  } else {
    napi_unref_threadsafe_function(env, queue_);
  }
}

void EventSink::Stop() noexcept {
  napi_threadsafe_function const queue = std::exchange(queue_, nullptr);
  if (queue != nullptr) napi_release_threadsafe_function(queue, napi_tsfn_abort);
}

void EventSink::CallJs(napi_env raw_env, napi_value /*callback*/, void* context, void* data) {
  const std::unique_ptr<Event> event(static_cast<Event*>(data));  // I1
  if (raw_env == nullptr) return;  // the environment is going away
  auto* const sink = static_cast<EventSink*>(context);
  const Napi::Env env(raw_env);
  if (sink->queue_ == nullptr || sink->dispatch_.IsEmpty()) return;
  const Napi::HandleScope scope(env);
  event->Deliver(env, sink->dispatch_.Value());

  // Below Node-API 10 an exception left here is only a deprecation warning (DEP0168); an
  // error thrown by a handler must be an uncaught exception, as it is for a net.Socket.
  bool is_pending = false;
  napi_value exception = nullptr;
  if (napi_is_exception_pending(raw_env, &is_pending) != napi_ok || !is_pending) return;
  if (napi_get_and_clear_last_exception(raw_env, &exception) != napi_ok) return;
  napi_fatal_exception(raw_env, exception);
}

}  // namespace shimmy
