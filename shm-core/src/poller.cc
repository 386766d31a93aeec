#include "poller.h"

#include <signal.h>
#include <sys/eventfd.h>

#include <array>
#include <cerrno>

namespace shimmy::addon {
namespace {

constexpr int64_t kWakeId = 0;
constexpr int kEventsPerWait = 64;

epoll_event MakeEvent(int64_t id, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = static_cast<uint64_t>(id);
  return event;
}

}  // namespace

int64_t Poller::Add(int fd, uint32_t events, std::shared_ptr<Pollable> pollable) {
  const std::lock_guard lock(mutex_);
  if (is_stopped_) return -ESHUTDOWN;
  if (const int error = Start(); error < 0) return error;
  const int64_t id = next_id_++;
  epoll_event event = MakeEvent(id, events);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return -errno;
  // The thread may fetch an event before this line; it waits for the lock in Find().
  pollables_.emplace(id, std::move(pollable));
  return id;
}

int Poller::Modify(int64_t id, int fd, uint32_t events) noexcept {
  epoll_event event = MakeEvent(id, events);
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0 ? 0 : -errno;
}

void Poller::Remove(int64_t id, int fd) noexcept {
  std::shared_ptr<Pollable> removed;  // destroyed after the lock is free (I3)
  const std::lock_guard lock(mutex_);
  const auto found = pollables_.find(id);
  if (found == pollables_.end()) return;
  removed = std::move(found->second);
  pollables_.erase(found);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void Poller::Stop() noexcept {
  std::unordered_map<int64_t, std::shared_ptr<Pollable>> dropped;  // destroyed unlocked (I3)
  bool must_join = false;
  {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
    must_join = std::exchange(is_running_, false);
    dropped.swap(pollables_);
  }
  if (!must_join) return;
  const uint64_t one = 1;
  // Cannot fail: the counter is far from its limit, and this is the only write.
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
  pthread_join(thread_, nullptr);
}

// With the lock held.
int Poller::Start() noexcept {
  if (is_running_) return 0;
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return -errno;
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return -errno;
  epoll_event event = MakeEvent(kWakeId, EPOLLIN);
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) return -errno;
  epoll_ = std::move(epoll);
  wake_ = std::move(wake);

  // Signals belong to Node's threads: this one inherits a mask that blocks them all.
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  const int error = pthread_create(&thread_, nullptr, &Poller::Main, this);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  is_running_ = error == 0;
  return -error;
}

void* Poller::Main(void* self) noexcept {
  static_cast<Poller*>(self)->Run();
  return nullptr;
}

void Poller::Run() noexcept {
  pthread_setname_np(pthread_self(), "shimmy-poll");
  std::array<epoll_event, kEventsPerWait> events{};
  for (;;) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsPerWait, -1);
    for (int i = 0; i < count; i++) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      const auto id = static_cast<int64_t>(event.data.u64);
      if (id == kWakeId) return;
      const std::shared_ptr<Pollable> pollable = Find(id);       // I1
      if (pollable != nullptr) pollable->OnReady(event.events);  // I2, I3
    }
  }
}

std::shared_ptr<Pollable> Poller::Find(int64_t id) {
  const std::lock_guard lock(mutex_);
  const auto found = pollables_.find(id);
  return found == pollables_.end() ? nullptr : found->second;
}

}  // namespace shimmy::addon
