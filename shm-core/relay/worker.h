// One relay thread: an epoll loop over sockets, doorbells and sessions.
//
//   R1  one thread owns a task (session, connection) for life; other threads only Post()
//   R2  a task that has work is in the ready list and gets a bounded turn; nobody starves
//   R3  before the thread sleeps, every stream whose ring is empty is armed (invariant I8 of
//       stream_end.h); while it is awake, or naps for a bounded time, it polls them instead,
//       and peers need not ring
//   R4  a retired task is destroyed only after the batch of events that may still name it
#ifndef SHIMMY_RELAY_WORKER_H_
#define SHIMMY_RELAY_WORKER_H_

#include <sys/epoll.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "contention.h"
#include "net.h"
#include "placement.h"
#include "shared.h"
#include "unique_fd.h"

namespace shimmy::relay {

class Inbound;
class Listener;
class Session;
class Worker;

// Something that epoll reports on.
class Pollable {
 public:
  virtual ~Pollable() = default;
  virtual void OnEvents(uint32_t events) = 0;
};

// Forwards events of one fd to a method of its owner.
template <class Owner, void (Owner::*Method)(uint32_t)>
class Watch final : public Pollable {
 public:
  explicit Watch(Owner* owner) : owner_(owner) {}
  void OnEvents(uint32_t events) override { (owner_->*Method)(events); }

 private:
  Owner* owner_;
};

// A piece of work with a life of its own, owned by one worker (R1).
class Task {
 public:
  explicit Task(Worker* worker) : worker_(*worker) {}
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  virtual ~Task() = default;
  // A turn from the ready list.
  virtual void Run(uint64_t now) { static_cast<void>(now); }
  virtual void OnTimer(uint64_t now) { static_cast<void>(now); }
  // Ends now, with this reason; retires itself.
  virtual void Abort(EndReason reason) = 0;
  // False for what does not count as a connection (sessions, listeners).
  [[nodiscard]] virtual bool Describe(uint64_t now, StreamInfo* out) const {
    static_cast<void>(now);
    static_cast<void>(out);
    return false;
  }
  [[nodiscard]] virtual bool IsConnection() const { return false; }
  [[nodiscard]] virtual Inbound* AsInbound() { return nullptr; }
  [[nodiscard]] virtual Listener* AsListener() { return nullptr; }
  // Does a revocation of (service, port) by this session hit it?
  [[nodiscard]] virtual bool IsUnder(const std::string& session, const Grant& grant) const {
    static_cast<void>(session);
    static_cast<void>(grant);
    return false;
  }

 protected:
  Worker& worker_;

 private:
  friend class Worker;
  bool is_ready_ = false;
  bool is_retired_ = false;
  bool has_timer_ = false;
  std::multimap<uint64_t, Task*>::iterator timer_;
  Task* newer_ = nullptr;  // list of all tasks, oldest first
  Task* older_ = nullptr;
};

// Who waits for sessions to come up.
class SessionListener {
 public:
  virtual ~SessionListener() = default;
  virtual void OnSessionReady(const std::string& pod) = 0;
  virtual void OnSessionFailed(const std::string& pod, FallbackReason reason) = 0;
};

// A stream that waits for its peer and is polled while the thread is awake (R3).
class HotStream {
 public:
  virtual ~HotStream() = default;
  // Puts its task in the ready list when there is something to do. True if so.
  virtual bool PollHot() = 0;
  // Restores the invariant; like PollHot() otherwise.
  virtual bool ArmHot() = 0;
  // The thread is about to spin: bells would be rung in vain.
  virtual void DisarmHot() = 0;
  // It spun for `limit_ns` and nothing came.
  virtual void SpinMissed(uint64_t limit_ns) = 0;
  // The CPU that this thread had better share with those who feed it; false when unknown.
  [[nodiscard]] virtual bool CpuToFollow(uint64_t* cpu) const = 0;
  virtual void AnnounceCpu(uint64_t cpu) = 0;

 protected:
  // How long the peer is expected to take from now on, if it is its turn: spinning pays when
  // that is about the cost of a wake-up. 0: not its turn.
  uint64_t expected_wait_ns_ = 0;

 private:
  friend class Worker;
  size_t hot_index_ = SIZE_MAX;
  uint64_t hot_since_ = 0;
};

class Worker {
 public:
  Worker(Shared* shared, uint32_t index) : shared_(*shared), index_(index) {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker();

  [[nodiscard]] int Start();
  void Stop();  // any thread; joins

  // Any thread: runs `work` on this thread, in order.
  void Post(std::function<void()> work);
  // Any other thread: the same, and waits until it is done.
  void Call(const std::function<void()>& work);

  // ---- this thread only ----
  [[nodiscard]] bool Add(int fd, uint32_t events, Pollable* target);
  void Modify(int fd, uint32_t events, Pollable* target);
  // Before an fd is closed: a duplicate that someone else holds would keep it in the set, and
  // its events would find a task that is gone.
  void Forget(int fd);

  Task* Own(std::unique_ptr<Task> task);
  void Retire(Task* task);
  void Ready(Task* task);
  void SetTimer(Task* task, uint64_t deadline);
  void ClearTimer(Task* task);
  void MakeHot(HotStream* stream);
  void MakeCold(HotStream* stream);
  template <class Function>
  void ForEachTask(Function&& function) {
    for (Task* task = oldest_; task != nullptr;) {
      Task* const next = task->newer_;
      if (!task->is_retired_) function(task);
      task = next;
    }
  }

  Shared& shared() { return shared_; }
  Counters& counters() { return shared_.counters; }
  const RelayOptions& options() const { return shared_.options; }
  uint32_t index() const { return index_; }
  uint64_t now() const { return now_; }
  std::vector<unsigned char>& scratch() { return scratch_; }

  // Who is reachable by which session, and where peers' streams go. Filled by the relay.
  std::unordered_map<std::string, Session*> sessions_by_pod;
  std::unordered_map<std::string, Session*> sessions_by_id;
  std::map<uint16_t, std::string> delivery;
  std::unique_ptr<SessionListener> session_listener;
  bool is_draining = false;

 private:
  void Loop();
  bool Turn(int timeout_ms);
  bool Dispatch(const epoll_event* events, int count);
  void RunReady();
  void RunPosted();
  bool RunTimers();
  bool PollHotStreams();
  bool ArmHotStreams(uint64_t before);
  bool ArmOldest();
  bool Spin();
  bool Nap();
  void FollowCpu();
  uint64_t SpinTime() const;
  int SleepTime() const;
  void Bury();

  Shared& shared_;
  const uint32_t index_;
  UniqueFd epoll_;
  UniqueFd wake_;
  std::thread thread_;
  uint64_t now_ = 0;

  std::mutex mailbox_lock_;
  std::vector<std::function<void()>> mailbox_;
  // SYNC has_mail_: released by Post(), acquired by RunPosted().
  std::atomic<bool> has_mail_{false};
  bool is_stopping_ = false;

  Task* oldest_ = nullptr;
  Task* newest_ = nullptr;
  std::vector<Task*> ready_;
  std::vector<Task*> running_;
  std::vector<std::unique_ptr<Task>> graveyard_;
  std::multimap<uint64_t, Task*> timers_;
  std::vector<HotStream*> hot_;
  std::vector<unsigned char> scratch_;

  Contention contention_;
  Placement placement_;
  uint64_t followed_ns_ = 0;
};

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_WORKER_H_
