#include "stream_waiter.h"

namespace shimmy::addon {

int32_t StreamWaiter::Ask(uint32_t wanted) {
  const std::lock_guard lock(mutex_);
  if (doorbell_ < 0) return 0;
  wanted_ |= wanted;
  return Watch();
}

void StreamWaiter::Stop() noexcept {
  const std::lock_guard lock(mutex_);
  if (poll_id_ > 0) poller_.Remove(std::exchange(poll_id_, 0), doorbell_);
  doorbell_ = -1;
  wanted_ = 0;
}

void StreamWaiter::OnReady(uint32_t events) {
  const std::lock_guard lock(mutex_);
  if (doorbell_ < 0) return;
  uint32_t ready = 0;
  constexpr uint32_t kOver = EPOLLHUP | EPOLLERR;
  if ((events & (EPOLLIN | EPOLLRDHUP | kOver)) != 0) ready |= kWaitReadable;
  if ((events & (EPOLLOUT | kOver)) != 0) ready |= kWaitWritable;
  ready &= wanted_;
  wanted_ &= ~ready;  // I2
  if (ready != 0) sink_.Post(std::make_unique<StreamReadyEvent>(id_, ready));
  // Cannot fail: the doorbell is open and registered.
  if (wanted_ != 0) static_cast<void>(Watch());
}

int32_t StreamWaiter::Watch() {
  uint32_t events = EPOLLONESHOT;
  if ((wanted_ & kWaitReadable) != 0) events |= EPOLLIN | EPOLLRDHUP;
  if ((wanted_ & kWaitWritable) != 0) events |= EPOLLOUT;
  if (poll_id_ > 0) return poller_.Modify(poll_id_, doorbell_, events);
  const int64_t id = poller_.Add(doorbell_, events, shared_from_this());
  if (id < 0) return static_cast<int32_t>(id);
  poll_id_ = id;
  return 0;
}

}  // namespace shimmy::addon
