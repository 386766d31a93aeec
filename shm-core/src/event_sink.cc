#include "event_sink.h"

namespace shimmy::addon {

bool EventSink::Open(Napi::Env env) {
  const Napi::String name = Napi::String::New(env, "shimmy:events");
  napi_status status = napi_create_threadsafe_function(
      env, nullptr, nullptr, name, /*max_queue_size=*/0, /*initial_thread_count=*/1,
      /*thread_finalize_data=*/nullptr, /*thread_finalize_cb=*/nullptr, this, &EventSink::CallJs,
      &queue_);
  if (status == napi_ok) status = napi_unref_threadsafe_function(env, queue_);
  if (status == napi_ok) status = napi_async_init(env, nullptr, name, &calls_);
  env_ = env;
  if (status == napi_ok) return true;
  Napi::Error::New(env, "the event queue could not be created").ThrowAsJavaScriptException();
  return false;
}

void EventSink::SetDispatch(const Napi::Function& dispatch) noexcept {
  if (dispatch_ != nullptr)
    napi_delete_reference(dispatch.Env(), std::exchange(dispatch_, nullptr));
  napi_create_reference(dispatch.Env(), dispatch, 1, &dispatch_);
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
  napi_async_context const calls = std::exchange(calls_, nullptr);
  if (calls != nullptr) napi_async_destroy(env_, calls);
}

void EventSink::CallJs(napi_env env, napi_value /*callback*/, void* context, void* data) {
  const std::unique_ptr<Event> event(static_cast<Event*>(data));  // I1
  if (env == nullptr) return;                                     // the environment is going away
  static_cast<EventSink*>(context)->Deliver(env, *event);
}

void EventSink::Call(Event& event) noexcept {
  napi_handle_scope handles = nullptr;
  napi_callback_scope callback = nullptr;
  if (calls_ == nullptr || napi_open_handle_scope(env_, &handles) != napi_ok) return;
  if (napi_open_callback_scope(env_, nullptr, calls_, &callback) == napi_ok) {
    Deliver(env_, event);
    napi_close_callback_scope(env_, callback);
  }
  napi_close_handle_scope(env_, handles);
}

void EventSink::Deliver(napi_env env, Event& event) noexcept {
  napi_value dispatch = nullptr;
  if (queue_ == nullptr || dispatch_ == nullptr) return;
  if (napi_get_reference_value(env, dispatch_, &dispatch) != napi_ok) return;
  EventCall call(env, dispatch);
  event.Deliver(call);

  // Below Node-API 10 an exception left here is only a deprecation warning (DEP0168); an
  // error thrown by a handler must be an uncaught exception, as it is for a net.Socket.
  bool is_pending = false;
  napi_value exception = nullptr;
  if (napi_is_exception_pending(env, &is_pending) != napi_ok || !is_pending) return;
  if (napi_get_and_clear_last_exception(env, &exception) != napi_ok) return;
  napi_fatal_exception(env, exception);
}

EventCall& EventCall::Number(double value) noexcept {
  return Check(napi_create_double(env_, value, Next()));
}

EventCall& EventCall::Text(std::string_view value) noexcept {
  return Check(napi_create_string_utf8(env_, value.data(), value.size(), Next()));
}

EventCall& EventCall::Bytes(std::span<const std::byte> bytes) noexcept {
  return Check(napi_create_buffer_copy(env_, bytes.size(), bytes.data(), nullptr, Next()));
}

EventCall& EventCall::Numbers(std::span<const int> values) noexcept {
  napi_value* const array = Next();
  Check(napi_create_array_with_length(env_, values.size(), array));
  for (uint32_t i = 0; is_ok_ && i < values.size(); i++) {
    napi_value number = nullptr;
    Check(napi_create_int32(env_, values[i], &number));
    if (is_ok_) Check(napi_set_element(env_, *array, i, number));
  }
  return *this;
}

void EventCall::Send() noexcept {
  napi_value receiver = nullptr;
  if (!is_ok_ || napi_get_undefined(env_, &receiver) != napi_ok) return;
  // A failure is an exception of the handler, looked at in Deliver(), or the environment's end.
  napi_call_function(env_, receiver, dispatch_, count_, arguments_.data(), nullptr);
}

}  // namespace shimmy::addon
