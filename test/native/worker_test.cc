// relay/worker.h: one relay thread and what it promises to its tasks (R1 to R4).
#include "worker.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <functional>
#include <string>

#include "net_helpers.h"

namespace shimmy::relay {
namespace {

using test::WaitFor;

// A task that does what it is told and keeps a log. The log is written by the worker's thread, and
// read by others only inside Worker::Call() or after Worker::Stop().
class FakeTask final : public Task {
 public:
  struct Log {
    std::vector<std::string> lines;
    std::vector<std::thread::id> threads;
    void Add(const std::string& line) {
      lines.push_back(line);
      threads.push_back(std::this_thread::get_id());
    }
  };

  FakeTask(Worker* worker, std::string name, Log* log)
      : Task(worker), name_(std::move(name)), log_(*log) {}
  ~FakeTask() override { log_.Add(name_ + " destroyed"); }
  void Run(uint64_t) override {
    log_.Add(name_ + " runs");
    if (turns_ > 0 && --turns_ > 0) worker_.Ready(this);
  }
  void OnTimer(uint64_t) override { log_.Add(name_ + " timer"); }
  void Abort(EndReason) override { worker_.Retire(this); }
  void OnEvents(uint32_t) {
    log_.Add(name_ + " event");
    worker_.Forget(fd_.get());
    if (on_event) on_event();
  }
  // Is told of an event at once.
  void WatchReadable() {
    fd_.Reset(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
    EXPECT_TRUE(worker_.Add(fd_.get(), EPOLLIN, &watch_));
  }
  void set_turns(int turns) { turns_ = turns; }

  std::function<void()> on_event;

 private:
  const std::string name_;
  Log& log_;
  UniqueFd fd_;
  Watch<FakeTask, &FakeTask::OnEvents> watch_{this};
  int turns_ = 1;
};

class FakeHotStream final : public HotStream {
 public:
  explicit FakeHotStream(Worker* worker) : worker_(*worker) {}
  bool PollHot() override { return false; }
  bool ArmHot() override {
    sleeps_before = worker_.counters().Get(kSleeps);
    is_armed = true;
    if (!on_arm) return false;
    on_arm();
    return true;
  }
  void DisarmHot() override { is_armed = false; }
  void SpinMissed(uint64_t) override {}
  bool CpuToFollow(uint64_t*) const override { return false; }
  void AnnounceCpu(uint64_t) override {}

  bool is_armed = false;
  std::function<void()> on_arm;  // what to do about that something came meanwhile
  uint64_t sleeps_before = 0;    // how often the thread had gone to sleep when it armed this one

 private:
  Worker& worker_;
};

class WorkerTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(worker_.Start(), 0); }
  FakeTask* Own(const std::string& name) {
    return static_cast<FakeTask*>(worker_.Own(std::make_unique<FakeTask>(&worker_, name, &log_)));
  }
  uint64_t Sleeps() const { return shared_.counters.Get(kSleeps); }
  // Until the thread has nothing to do.
  void WaitUntilAsleep() {
    uint64_t before = 0;
    EXPECT_TRUE(WaitFor([&] {
      const bool is_same = Sleeps() == before && before > 0;
      before = Sleeps();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      return is_same;
    }));
  }

  FakeTask::Log log_;
  Shared shared_;
  Worker worker_{&shared_, 0};
};

TEST_F(WorkerTest, R1EverythingOfATaskHappensOnItsThread) {
  std::thread::id own;
  worker_.Call([&] {
    own = std::this_thread::get_id();
    FakeTask* const task = Own("task");
    task->WatchReadable();
    worker_.SetTimer(task, worker_.now());
    worker_.Ready(task);
  });
  EXPECT_NE(own, std::this_thread::get_id());
  // "runs", "timer" and "event", in any order.
  EXPECT_TRUE(WaitFor([&] {
    size_t lines = 0;
    worker_.Call([&] { lines = log_.lines.size(); });
    return lines == 3;
  }));
  worker_.Stop();
  EXPECT_EQ(log_.lines.back(), "task destroyed");
  EXPECT_EQ(log_.threads, std::vector<std::thread::id>(4, own));
}

TEST_F(WorkerTest, R1WhatOtherThreadsPostRunsThereInOrder) {
  constexpr int kThreads = 4;
  constexpr int kPosts = 500;
  std::vector<int> seen[kThreads];  // by the worker's thread alone: TSan would tell
  std::vector<std::thread> posters;
  for (std::vector<int>& mine : seen) {
    posters.emplace_back([&] {
      for (int i = 0; i < kPosts; i++) worker_.Post([&mine, i] { mine.push_back(i); });
    });
  }
  for (std::thread& poster : posters) poster.join();
  worker_.Call([] {});
  for (const std::vector<int>& mine : seen) {
    ASSERT_EQ(mine.size(), size_t{kPosts});
    for (int i = 0; i < kPosts; i++) EXPECT_EQ(mine[static_cast<size_t>(i)], i);
  }
}

TEST_F(WorkerTest, R2TasksThatNeverRestTakeTurns) {
  constexpr int kTurns = 100;
  worker_.Call([&] {
    for (const char* name : {"a", "b", "c"}) {
      FakeTask* const task = Own(name);
      task->set_turns(kTurns);
      worker_.Ready(task);
      worker_.Ready(task);  // once in the list is enough
    }
  });
  WaitUntilAsleep();
  worker_.Stop();
  ASSERT_GE(log_.lines.size(), size_t{3 * kTurns});
  for (size_t i = 0; i < 3 * kTurns; i++) {
    EXPECT_EQ(log_.lines[i], std::string(1, "abc"[i % 3]) + " runs") << i;
  }
}

TEST_F(WorkerTest, R2EventsTimersAndMailComeBetweenTurnsOfABusyTask) {
  constexpr int kEndless = 1 << 30;
  FakeTask* busy = nullptr;
  worker_.Call([&] {
    busy = Own("busy");
    busy->set_turns(kEndless);
    worker_.Ready(busy);
  });
  worker_.Call([&] {
    FakeTask* const other = Own("other");
    other->WatchReadable();
    worker_.SetTimer(other, worker_.now());
  });
  EXPECT_TRUE(WaitFor([&] {
    ptrdiff_t got = 0;
    worker_.Call([&] {
      got = std::count(log_.lines.begin(), log_.lines.end(), "other event") +
            std::count(log_.lines.begin(), log_.lines.end(), "other timer");
      if (got < 2) return;
      busy->set_turns(1);
    });
    return got == 2;
  }));
}

// More of them than a nap leaves unarmed, and few.
TEST_F(WorkerTest, R3EveryHotStreamIsArmedBeforeTheThreadSleeps) {
  for (const size_t count : {1U, 2U, 7U}) {
    WaitUntilAsleep();
    std::vector<std::unique_ptr<FakeHotStream>> streams;
    for (size_t i = 0; i < count; i++) streams.push_back(std::make_unique<FakeHotStream>(&worker_));
    const uint64_t sleeps = Sleeps();
    worker_.Call([&] {
      for (const auto& stream : streams) worker_.MakeHot(stream.get());
    });
    ASSERT_TRUE(WaitFor([&] { return Sleeps() > sleeps; }));
    worker_.Call([&] {
      for (const auto& stream : streams) {
        EXPECT_TRUE(stream->is_armed);
        EXPECT_EQ(stream->sleeps_before, sleeps) << "armed too late";
        worker_.MakeCold(stream.get());
      }
    });
  }
}

TEST_F(WorkerTest, R3WhatArmingFoundGetsItsTurnBeforeTheThreadSleeps) {
  WaitUntilAsleep();
  FakeHotStream stream(&worker_);
  const uint64_t sleeps = Sleeps();
  worker_.Call([&] {
    FakeTask* const task = Own("task");
    stream.on_arm = [this, task] { worker_.Ready(task); };
    worker_.MakeHot(&stream);
  });
  ASSERT_TRUE(WaitFor([&] { return Sleeps() > sleeps; }));
  worker_.Call([&] { EXPECT_EQ(log_.lines, std::vector<std::string>{"task runs"}); });
  EXPECT_EQ(stream.sleeps_before, sleeps);
}

TEST_F(WorkerTest, R4RetiredTaskOutlivesTheBatchOfEventsThatNamesIt) {
  worker_.Call([&] {
    FakeTask* const a = Own("a");
    FakeTask* const b = Own("b");
    // Both are readable before the thread looks: one batch.
    a->WatchReadable();
    b->WatchReadable();
    for (FakeTask* const task : {a, b}) {
      task->on_event = [this, a, b] {
        worker_.Ready(a);
        worker_.Ready(b);
        worker_.Retire(a);
        worker_.Retire(b);
      };
    }
  });
  WaitUntilAsleep();
  worker_.Stop();
  // Neither runs: what is retired gets no more turns.
  EXPECT_EQ(log_.lines,
            (std::vector<std::string>{"a event", "b event", "a destroyed", "b destroyed"}));
}

}  // namespace
}  // namespace shimmy::relay
