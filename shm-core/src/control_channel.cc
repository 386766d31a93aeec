#include "control_channel.h"

#include <fcntl.h>

#include <cerrno>

#include "addon_status.h"
#include "control_events.h"
#include "control_limits.h"

namespace shimmy::addon {
namespace {

// Messages read in a row before other sockets get their turn.
constexpr int kReadsPerWake = 16;

bool IsPeerGoneError(int32_t error) {
  return error == -EPIPE || error == -ECONNRESET || error == -ENOTCONN;
}

}  // namespace

ControlChannel::~ControlChannel() {
  if (fd_.valid()) CloseOrderly(std::move(fd_));
}

void ControlChannel::StartReading() {
  const std::lock_guard lock(mutex_);
  if (is_reading_ || !fd_.valid()) return;
  is_reading_ = true;
  UpdateInterest();
}

void ControlChannel::Delivered() {
  const std::lock_guard lock(mutex_);
  undelivered_--;
  if (fd_.valid()) UpdateInterest();
}

int32_t ControlChannel::Send(std::span<const std::byte> data, std::span<const int> fds) {
  if (data.empty()) return Code(AddonStatus::kEmptyMessage);
  if (data.size() > kMaxMessageBytes) return Code(AddonStatus::kTooBig);
  if (fds.size() > kMaxMessageFds) return Code(AddonStatus::kTooManyFds);
  const std::lock_guard lock(mutex_);
  if (!fd_.valid()) return Code(AddonStatus::kNotConnected);
  if (!queue_.empty()) return Enqueue(data, fds);

  const int32_t result = SendMessage(fd_.get(), data, fds);
  if (result == 0) return 1;
  if (result == -EAGAIN) return Enqueue(data, fds);
  if (!IsPeerGoneError(result)) return result;
  // The peer's last messages may still be unread: while reading, the reader finds the end.
  if (!is_reading_) End(0);
  return Code(AddonStatus::kNotConnected);
}

void ControlChannel::Close() {
  is_released_ = true;
  const std::lock_guard lock(mutex_);
  queue_.clear();
  if (!fd_.valid()) return;
  Unregister();
  CloseOrderly(std::move(fd_));
}

void ControlChannel::OnReady(uint32_t events) {
  const std::lock_guard lock(mutex_);
  if (!fd_.valid()) return;
  if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) Flush();
  if (fd_.valid() && WantsRead()) ReadSome();
  if (fd_.valid()) UpdateInterest();
}

bool ControlChannel::WantsRead() const noexcept {
  return is_reading_ && undelivered_ < kMaxUndelivered;  // I4
}

void ControlChannel::UpdateInterest() {
  uint32_t wanted = 0;
  if (WantsRead()) wanted |= EPOLLIN | EPOLLRDHUP;
  if (!queue_.empty()) wanted |= EPOLLOUT;
  if (wanted == interest_) return;
  if (wanted == 0) {
    Unregister();  // I5
    return;
  }
  int64_t result = 0;
  if (poll_id_ == 0) {
    result = poller_.Add(fd_.get(), wanted, shared_from_this());
    if (result > 0) poll_id_ = result;
  } else {
    result = poller_.Modify(poll_id_, fd_.get(), wanted);
  }
  interest_ = wanted;
  if (result < 0) End(static_cast<int32_t>(result));
}

void ControlChannel::Unregister() noexcept {
  interest_ = 0;
  if (poll_id_ != 0) poller_.Remove(std::exchange(poll_id_, 0), fd_.get());
}

void ControlChannel::ReadSome() {
  for (int i = 0; i < kReadsPerWake && WantsRead(); i++) {
    Message message;
    const int32_t result = ReceiveMessage(fd_.get(), message);
    if (result == -EAGAIN) return;
    // The kernel reports that the peer closed with our messages unread before it gives out
    // what the peer sent last; the next receive goes on with that.
    if (result == -ECONNRESET) continue;
    if (result <= 0) return End(result);
    undelivered_++;
    sink_.Post(std::make_unique<MessageEvent>(shared_from_this(), std::move(message)));
  }
}

void ControlChannel::Flush() {
  while (!queue_.empty()) {
    const Message& next = queue_.front();
    std::vector<int> fds;
    for (const UniqueFd& fd : next.fds) fds.push_back(fd.get());
    const int32_t result = SendMessage(fd_.get(), next.data, fds);
    if (result == -EAGAIN) return;
    if (IsPeerGoneError(result)) {
      queue_.clear();
      queued_bytes_ = 0;
      if (!is_reading_) End(0);
      return;
    }
    if (result < 0) return End(result);
    queued_bytes_ -= next.data.size();
    queue_.pop_front();
  }
}

int32_t ControlChannel::Enqueue(std::span<const std::byte> data, std::span<const int> fds) {
  if (queue_.size() >= kMaxQueuedMessages || queued_bytes_ + data.size() > kMaxQueuedBytes) {
    End(Code(AddonStatus::kQueueFull));  // I4
    return Code(AddonStatus::kQueueFull);
  }
  Message message;
  message.data.assign(data.begin(), data.end());
  for (const int fd : fds) {
    message.fds.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!message.fds.back().valid()) return -errno;
  }
  queued_bytes_ += data.size();
  queue_.push_back(std::move(message));
  UpdateInterest();
  return 0;
}

void ControlChannel::End(int32_t status) {
  queue_.clear();
  Unregister();
  CloseOrderly(std::move(fd_));  // I1, I2: fd_ is invalid from here on
  sink_.Post(std::make_unique<SocketClosedEvent>(shared_from_this(), status));
}

}  // namespace shimmy::addon
