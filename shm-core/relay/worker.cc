#include "worker.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace shimmy::relay {

namespace {

constexpr int kBatch = 128;
// A stream that stays empty for so long is armed even if the thread never sleeps, so that
// polling costs nothing for streams at rest.
constexpr uint64_t kHotForNs = 2'000'000;
// See Worker::ArmOldest().
constexpr size_t kArmedForNap = 2;
constexpr long kNapNs = 100'000;
constexpr uint64_t kSpinTimesExpected = 4;
// Yields before a nap. More than two bring nothing more.
constexpr int kYields = 2;
constexpr uint64_t kFollowEveryNs = 2'000'000;
constexpr size_t kScratchBytes = 65536;

}  // namespace

Worker::~Worker() { Stop(); }

int Worker::Start() {
  epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return -errno;
  wake_.Reset(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake_.valid()) return -errno;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;  // the mailbox
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) < 0) return -errno;
  scratch_.resize(kScratchBytes);
  thread_ = std::thread([this] { Loop(); });
  return 0;
}

void Worker::Stop() {
  if (!thread_.joinable()) return;
  Post([this] { is_stopping_ = true; });
  thread_.join();
}

void Worker::Post(std::function<void()> work) {
  {
    const std::lock_guard<std::mutex> guard(mailbox_lock_);
    mailbox_.push_back(std::move(work));
    // SYNC has_mail (release): pairs with the acquire load in RunPosted(); the lock orders the
    // mail itself, this only saves taking it.
    has_mail_.store(true, std::memory_order_release);
  }
  const uint64_t one = 1;
  // The counter cannot overflow, and a full one wakes as well.
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof one);
}

void Worker::Call(const std::function<void()>& work) {
  std::mutex lock;
  std::condition_variable changed;
  bool is_done = false;
  Post([&] {
    work();
    const std::lock_guard<std::mutex> guard(lock);
    is_done = true;
    changed.notify_one();
  });
  std::unique_lock<std::mutex> guard(lock);
  changed.wait(guard, [&] { return is_done; });
}

bool Worker::Add(int fd, uint32_t events, Pollable* target) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = target;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void Worker::Modify(int fd, uint32_t events, Pollable* target) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = target;
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void Worker::Forget(int fd) { epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

Task* Worker::Own(std::unique_ptr<Task> task) {
  Task* const raw = task.release();
  raw->older_ = newest_;
  if (newest_ != nullptr) newest_->newer_ = raw;
  newest_ = raw;
  if (oldest_ == nullptr) oldest_ = raw;
  return raw;
}

void Worker::Retire(Task* task) {
  if (task->is_retired_) return;
  task->is_retired_ = true;
  ClearTimer(task);
  graveyard_.emplace_back(task);  // R4
}

void Worker::Bury() {
  // A destructor may retire others.
  for (size_t i = 0; i < graveyard_.size(); i++) {
    std::unique_ptr<Task> task = std::move(graveyard_[i]);
    if (task->is_ready_) {
      ready_.erase(std::remove(ready_.begin(), ready_.end(), task.get()), ready_.end());
    }
    if (task->older_ != nullptr) task->older_->newer_ = task->newer_;
    if (task->newer_ != nullptr) task->newer_->older_ = task->older_;
    if (oldest_ == task.get()) oldest_ = task->newer_;
    if (newest_ == task.get()) newest_ = task->older_;
  }
  graveyard_.clear();
}

void Worker::Ready(Task* task) {
  if (task->is_ready_ || task->is_retired_) return;
  task->is_ready_ = true;
  ready_.push_back(task);
}

void Worker::SetTimer(Task* task, uint64_t deadline) {
  ClearTimer(task);
  task->timer_ = timers_.emplace(deadline, task);
  task->has_timer_ = true;
}

void Worker::ClearTimer(Task* task) {
  if (!task->has_timer_) return;
  timers_.erase(task->timer_);
  task->has_timer_ = false;
}

void Worker::MakeHot(HotStream* stream) {
  stream->hot_since_ = now_;
  if (stream->hot_index_ != SIZE_MAX) return;
  stream->hot_index_ = hot_.size();
  hot_.push_back(stream);
}

void Worker::MakeCold(HotStream* stream) {
  if (stream->hot_index_ == SIZE_MAX) return;
  HotStream* const last = hot_.back();
  hot_[stream->hot_index_] = last;
  last->hot_index_ = stream->hot_index_;
  hot_.pop_back();
  stream->hot_index_ = SIZE_MAX;
}

void Worker::RunPosted() {
  // SYNC has_mail (acquire): pairs with the release store in Post().
  if (!has_mail_.load(std::memory_order_acquire)) return;
  std::vector<std::function<void()>> mail;
  {
    const std::lock_guard<std::mutex> guard(mailbox_lock_);
    mail.swap(mailbox_);
    // SYNC has_mail (relaxed): under the lock that Post() takes to set it.
    has_mail_.store(false, std::memory_order_relaxed);
  }
  for (auto& work : mail) work();
}

void Worker::RunReady() {
  running_.swap(ready_);
  for (Task* task : running_) {
    task->is_ready_ = false;
    if (!task->is_retired_) task->Run(now_);
  }
  running_.clear();
}

bool Worker::RunTimers() {
  bool did = false;
  while (!timers_.empty() && timers_.begin()->first <= now_) {
    Task* const task = timers_.begin()->second;
    ClearTimer(task);
    task->OnTimer(now_);
    did = true;
  }
  return did;
}

bool Worker::PollHotStreams() {
  bool found = false;
  for (size_t i = 0; i < hot_.size();) {
    HotStream* const stream = hot_[i];
    if (stream->PollHot()) {
      MakeCold(stream);
      found = true;
    } else {
      i++;
    }
  }
  return found;
}

// Arms what is hot since before `before`. True: one of them had something after all.
bool Worker::ArmHotStreams(uint64_t before) {
  bool found = false;
  for (size_t i = 0; i < hot_.size();) {
    HotStream* const stream = hot_[i];
    if (stream->hot_since_ > before) {
      i++;
      continue;
    }
    MakeCold(stream);
    found = stream->ArmHot() || found;
  }
  return found;
}

int Worker::SleepTime() const {
  if (timers_.empty()) return -1;
  const uint64_t first = timers_.begin()->first;
  if (first <= now_) return 0;
  const uint64_t ms = (first - now_ + 999'999) / 1'000'000;
  return static_cast<int>(std::min<uint64_t>(ms, 60'000));
}

// How long to spin. Streams whose peers are to answer come like independent arrivals: the next
// one is due after the inverse of the sum of their rates. Spin some times as long, because the
// average says little about one answer; not at all when the bound would cut off most of them.
uint64_t Worker::SpinTime() const {
  if (!shared_.can_spin) return 0;
  const uint64_t limit = uint64_t{shared_.options.spin_micros} * 1000;
  uint64_t per_limit = 0;  // answers expected within the limit, in 1/1024
  for (const HotStream* stream : hot_) {
    if (stream->expected_wait_ns_ > 0) per_limit += limit * 1024 / stream->expected_wait_ns_;
  }
  return per_limit < 1024 ? 0 : std::min(limit, kSpinTimesExpected * limit * 1024 / per_limit);
}

bool Worker::Dispatch(const epoll_event* events, int count) {
  now_ = Now();
  for (int i = 0; i < count; i++) {
    if (events[i].data.ptr == nullptr) {
      uint64_t drained;
      [[maybe_unused]] const ssize_t got = read(wake_.get(), &drained, sizeof drained);
    } else {
      static_cast<Pollable*>(events[i].data.ptr)->OnEvents(events[i].events);
    }
  }
  RunPosted();
  bool did = count > 0;
  did = RunTimers() || did;
  did = PollHotStreams() || did;
  did = !ready_.empty() || did;
  RunReady();
  Bury();
  return did;
}

// One look at everything. True: something was done.
bool Worker::Turn(int timeout_ms) {
  epoll_event events[kBatch];
  if (timeout_ms != 0) counters().Add(kSleeps);
  return Dispatch(events, epoll_wait(epoll_.get(), events, kBatch, timeout_ms));
}

bool Worker::Spin() {
  const uint64_t time = SpinTime();
  if (time == 0 || contention_.IsContended(now_, hot_.size() > kArmedForNap)) return false;
  for (HotStream* stream : hot_) stream->DisarmHot();
  const uint64_t since = now_;
  bool found = false;
  while (!found && !is_stopping_ && now_ < since + time) found = Turn(0);
  counters().Add(kSpinNanos, now_ - since);
  counters().Add(found ? kSpinHits : kSpinMisses);
  if (!found) {
    for (HotStream* stream : hot_) stream->SpinMissed(time);
  }
  return found;
}

// With many streams waiting, each would have to be armed, and each of the first bytes to come
// would cost a bell. Requests are mostly answered in the order in which they were made: arm
// the streams that have waited longest, nap for a bounded time, and poll the others then.
bool Worker::ArmOldest() {
  HotStream* oldest[kArmedForNap] = {};
  for (HotStream* stream : hot_) {
    for (HotStream*& place : oldest) {
      if (place == nullptr || stream->hot_since_ < place->hot_since_) std::swap(place, stream);
      if (stream == nullptr) break;
    }
  }
  bool found = false;
  for (HotStream* stream : oldest) found = stream->ArmHot() || found;
  return found;
}

// When there are fewer CPUs than threads with work, the thread had better share one with those
// who feed it: each gets a batch from the one before, in turn, and nobody has to be woken. The
// relay that opens streams goes where its application runs, the one that accepts them goes where
// the opener's relay runs, and the application behind that one finds the other CPUs free.
void Worker::FollowCpu() {
  if (now_ - followed_ns_ < kFollowEveryNs) return;
  followed_ns_ = now_;
  uint64_t cpu = 0;
  if (hot_.front()->CpuToFollow(&cpu) && contention_.IsContended(now_, true)) {
    if (placement_.MoveTo(cpu)) counters().Add(kMoves);
  }
  cpu = Placement::Cpu();
  for (HotStream* stream : hot_) stream->AnnounceCpu(cpu);
}

bool Worker::Nap() {
  if (hot_.size() <= kArmedForNap) return false;
  const bool can_give_way = contention_.HasIdleTime(now_);
  if (can_give_way) FollowCpu();
  // Whoever else is runnable here may well be about to give us work: a turn of theirs costs less
  // than our going to sleep and being woken.
  for (int i = 0; can_give_way && i < kYields; i++) {
    sched_yield();
    if (Turn(0)) return true;
  }
  if (ArmOldest()) return true;
  epoll_event events[kBatch];
  const timespec nap{0, kNapNs};
  counters().Add(kNaps);
  // Not by its name: C libraries have it since glibc 2.35 and musl 1.2.5 only.
  const long count = syscall(SYS_epoll_pwait2, epoll_.get(), events, kBatch, &nap, nullptr, 0);
  if (count < 0 && errno == ENOSYS) return false;  // before Linux 5.11
  return Dispatch(events, static_cast<int>(count));
}

void Worker::Loop() {
  now_ = Now();
  contention_.Begin(now_);
  placement_.Begin();
  while (!is_stopping_) {
    while (Turn(0)) {
      if (is_stopping_) break;
      if (!hot_.empty()) ArmHotStreams(now_ > kHotForNs ? now_ - kHotForNs : 0);
    }
    if (is_stopping_ || Spin() || Nap()) continue;
    if (!ArmHotStreams(UINT64_MAX) && ready_.empty()) Turn(SleepTime());  // R3
  }
  ForEachTask([](Task* task) { task->Abort(EndReason::kDrained); });
  Bury();
}

}  // namespace shimmy::relay
