// One epoll thread per JavaScript environment. It serves every control socket of that environment;
// streams wait in the environment's own loop (wait_loop.h).
//
//   I1  a Pollable is called on the poller's thread only, and kept alive during the call
//   I2  an event that was already fetched for an id that Remove() took away is dropped
//   I3  no lock of the poller is held while a Pollable runs; a Pollable may call back
#pragma once

#include <pthread.h>
#include <sys/epoll.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "unique_fd.h"

namespace shimmy::addon {

class Pollable {
 public:
  Pollable() = default;
  Pollable(const Pollable&) = delete;
  Pollable& operator=(const Pollable&) = delete;
  virtual ~Pollable() = default;

  // `events` is an epoll mask, level-triggered unless Add() asked otherwise.
  virtual void OnReady(uint32_t events) = 0;
};

class Poller {
 public:
  Poller() = default;
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;
  ~Poller() { Stop(); }

  // Watches `fd`, which the caller keeps open until Remove(). Starts the thread on first use.
  // Returns an id (> 0) or -errno.
  [[nodiscard]] int64_t Add(int fd, uint32_t events, std::shared_ptr<Pollable> pollable);

  // Changes what is watched; 0 leaves only errors and hang-ups. Returns 0 or -errno.
  int Modify(int64_t id, int fd, uint32_t events) noexcept;

  // Stops watching. Call before `fd` is closed.
  void Remove(int64_t id, int fd) noexcept;

  // Joins the thread and forgets everything. Safe to call twice; Add() fails afterwards.
  void Stop() noexcept;

 private:
  int Start() noexcept;
  static void* Main(void* self) noexcept;
  void Run() noexcept;
  [[nodiscard]] std::shared_ptr<Pollable> Find(int64_t id);

  std::mutex mutex_;  // guards the members below
  std::unordered_map<int64_t, std::shared_ptr<Pollable>> pollables_;
  int64_t next_id_ = 1;
  bool is_stopped_ = false;
  bool is_running_ = false;
  pthread_t thread_{};

  // Set before the thread starts, closed after it was joined.
  UniqueFd epoll_;
  UniqueFd wake_;
};

}  // namespace shimmy::addon
