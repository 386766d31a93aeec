// One connected control socket: SEQPACKET messages with file descriptors, both directions.
//
//   I1  fd_ is used and closed with mutex_ held only; an invalid fd_ means ended
//   I2  at most one kSocketClosed event, after the last message
//   I3  a message received is delivered to JavaScript or its descriptors are closed
//   I4  at most kMaxUndelivered messages wait for JavaScript, kMaxQueuedMessages for the peer
//   I5  registered with the poller only while there is something to wait for, so that a
//       hang-up nobody asks about does not wake the thread again and again
#pragma once

#include <sys/socket.h>

#include <deque>
#include <memory>
#include <mutex>

#include "event_sink.h"
#include "poller.h"
#include "seqpacket.h"

namespace shimmy::addon {

class ControlChannel final : public Pollable, public std::enable_shared_from_this<ControlChannel> {
 public:
  ControlChannel(uint32_t id, UniqueFd fd, EventSink& sink, Poller& poller)
      : id_(id), sink_(sink), poller_(poller), fd_(std::move(fd)) {}
  ~ControlChannel() override;

  [[nodiscard]] uint32_t id() const noexcept { return id_; }

  // Messages wait in the kernel until this is called.
  void StartReading();

  // One message was handed to JavaScript: room for another (I4).
  void Delivered();

  // Copies `data` and duplicates `fds` if they have to wait. Returns 1 sent, 0 queued, -errno,
  // or an AddonStatus. After kQueueFull the channel has ended with that status.
  [[nodiscard]] int32_t Send(std::span<const std::byte> data, std::span<const int> fds);

  // Calls `use(fd)` while the descriptor cannot be closed; fd is -1 once the channel has ended.
  template <typename Use>
  auto WithFd(Use use) {
    const std::lock_guard lock(mutex_);
    return use(fd_.get());
  }

  // Ends it for good: nothing is delivered afterwards. Queued messages are dropped.
  void Close();

  // Whether JavaScript called Close(). On the environment's thread.
  [[nodiscard]] bool is_released() const noexcept { return is_released_; }

  void OnReady(uint32_t events) override;

 private:
  // All with mutex_ held.
  [[nodiscard]] bool WantsRead() const noexcept;
  void UpdateInterest();
  void Unregister() noexcept;
  void ReadSome();
  void Flush();
  [[nodiscard]] int32_t Enqueue(std::span<const std::byte> data, std::span<const int> fds);
  void End(int32_t status);

  const uint32_t id_;
  EventSink& sink_;
  Poller& poller_;
  bool is_released_ = false;  // the environment's thread only

  std::mutex mutex_;  // guards the members below
  UniqueFd fd_;
  int64_t poll_id_ = 0;    // 0: not registered
  uint32_t interest_ = 0;  // what it is registered for
  bool is_reading_ = false;
  std::size_t undelivered_ = 0;
  std::deque<Message> queue_;
  std::size_t queued_bytes_ = 0;
};

}  // namespace shimmy::addon
