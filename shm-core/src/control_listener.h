// A listening control socket.
//
//   I1  fd_ is used and closed with mutex_ held only
//   I2  at most kMaxUndelivered accepted connections wait for JavaScript
//   I3  when accept fails (no descriptors left), it waits for Resume() instead of spinning
#pragma once

#include <sys/stat.h>

#include <memory>
#include <mutex>
#include <string>

#include "event_sink.h"
#include "poller.h"

namespace shimmy::addon {

class ControlListener final : public Pollable,
                              public std::enable_shared_from_this<ControlListener> {
 public:
  ControlListener(uint32_t id, EventSink& sink, Poller& poller)
      : id_(id), sink_(sink), poller_(poller) {}
  ~ControlListener() override = default;

  [[nodiscard]] uint32_t id() const noexcept { return id_; }

  // Binds `path` (abstract when it starts with NUL) with permissions `mode` and starts to
  // accept. A socket file nobody listens on is replaced. Returns 0 or -errno.
  [[nodiscard]] int32_t Open(const std::string& path, mode_t mode);

  // Starts to accept from a listening SEQPACKET socket that somebody else bound. It stays as it is:
  // clients go on to see whoever called listen() as their peer. Returns 0 or -errno; `fd` stays the
  // caller's then.
  [[nodiscard]] int32_t Adopt(UniqueFd& fd);

  // A connection was handed to JavaScript: room for another (I2).
  void Delivered();

  // Accepts again after a kAcceptPaused event (I3).
  void Resume();

  // Stops, and removes the socket file if it is still ours.
  void Close();

  void OnReady(uint32_t events) override;

 private:
  // All with mutex_ held.
  [[nodiscard]] int32_t Bind(const std::string& path, mode_t mode);
  void UpdateInterest();
  void RemoveFile() noexcept;

  const uint32_t id_;
  EventSink& sink_;
  Poller& poller_;

  std::mutex mutex_;  // guards the members below
  UniqueFd fd_;
  int64_t poll_id_ = 0;
  bool is_paused_ = false;
  std::size_t undelivered_ = 0;
  std::string path_;     // empty: abstract or adopted, nothing to remove
  struct stat file_ {};  // the socket file as we made it
};

// Connects to `path`. Never blocks. Returns the descriptor or -errno (-EAGAIN: the listener's
// backlog is full, try again).
[[nodiscard]] int32_t ConnectControl(const std::string& path) noexcept;

}  // namespace shimmy::addon
