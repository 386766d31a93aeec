#include "stream_waiter.h"

#include <utility>

namespace shimmy::addon {

struct StreamWaiter::Handle {
  uv_poll_t poll;  // first: libuv gives its address back
  StreamWaiter* waiter;
  WaitLoop* loop;
};

int32_t StreamWaiter::Ask(uint32_t wanted) {
  if (doorbell_ < 0) return 0;
  wanted_ |= wanted;
  if (handle_ == nullptr) {
    if (const int32_t error = Open(); error < 0) return error;
  }
  // While JavaScript is told of an event, the next waits are only collected.
  return is_telling_ ? 0 : Update();
}

void StreamWaiter::Stop() noexcept {
  doorbell_ = -1;
  wanted_ = 0;
  Handle* const handle = std::exchange(handle_, nullptr);
  if (handle == nullptr) return;
  handle->waiter = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&handle->poll), &OnClose);  // stops as well
}

int32_t StreamWaiter::Open() {
  auto handle = std::make_unique<Handle>();
  if (const int error = uv_poll_init(loop_.loop(), &handle->poll, doorbell_); error < 0) {
    return error;
  }
  handle->waiter = this;
  handle->loop = &loop_;
  handle_ = handle.release();
  loop_.HandleOpened();
  // Whether the loop goes on is decided by KeepAlive in lib/native-events.ts.
  uv_unref(reinterpret_cast<uv_handle_t*>(&handle_->poll));
  return 0;
}

int32_t StreamWaiter::Update() {
  int events = 0;
  if ((wanted_ & kWaitReadable) != 0) events |= UV_READABLE | UV_DISCONNECT;
  if ((wanted_ & kWaitWritable) != 0) events |= UV_WRITABLE;
  if (handle_ == nullptr || events == started_) return 0;
  started_ = events;
  return events == 0 ? uv_poll_stop(&handle_->poll)
                     : uv_poll_start(&handle_->poll, events, &OnPoll);
}

void StreamWaiter::OnPoll(uv_poll_t* poll, int status, int events) {
  StreamWaiter* const waiter = reinterpret_cast<Handle*>(poll)->waiter;
  if (waiter == nullptr) return;
  const auto self = waiter->shared_from_this();  // JavaScript may close the stream
  uint32_t ready = 0;
  if ((events & (UV_READABLE | UV_DISCONNECT)) != 0) ready |= kWaitReadable;
  if ((events & UV_WRITABLE) != 0) ready |= kWaitWritable;
  if (status < 0) {
    // An error on the socket, as when the peer closed with something unread: libuv has stopped the
    // handle. Whoever waits looks, and finds out.
    ready = kWaitReadable | kWaitWritable;
    self->started_ = 0;
  }
  self->Tell(ready);
}

void StreamWaiter::Tell(uint32_t ready) {
  ready &= wanted_;
  wanted_ &= ~ready;  // I2
  if (ready != 0) {
    StreamReadyEvent event(kind_, id_, ready);
    is_telling_ = true;
    sink_.Call(event);  // with the microtasks: what they wait for is known now
    is_telling_ = false;
  }
  // Cannot fail: the doorbell is open and was watched before.
  static_cast<void>(Update());
}

void StreamWaiter::OnClose(uv_handle_t* handle) {
  const std::unique_ptr<Handle> owned(reinterpret_cast<Handle*>(handle));
  owned->loop->HandleClosed();
}

}  // namespace shimmy::addon
