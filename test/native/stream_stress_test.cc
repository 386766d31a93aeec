// Streams under real scheduling: random sizes, real epoll, every kind of consumer and producer,
// replacements, FIN and reset, as threads (TSan sees them) and as processes. Every byte is checked;
// 1.5 s without progress is a hang and prints both ends. SHIMMY_TEST_SCALE multiplies the streams.
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>
#include <tuple>

#include "core_fixture.h"

namespace shimmy::test {
namespace {

constexpr int kNoProgressMs = 1500;

enum class Waiting : uint8_t { kBlocking, kLevel, kEdge };

struct Plan {
  uint64_t bytes[2];   // that each side sends
  Waiting waiting[2];  // of each side's one thread
  bool replaces[2];
  bool is_reset;  // side 0 resets after its last byte instead of ending
  uint64_t capacity;
  uint32_t seed;
};

Plan MakePlan(uint32_t seed) {
  std::mt19937 random(seed);
  Plan plan{};
  for (int side = 0; side < 2; side++) {
    plan.bytes[side] = random() % 3 == 0 ? random() % 100 : random() % 300000;
    plan.waiting[side] = static_cast<Waiting>(random() % 3);
    plan.replaces[side] = random() % 2 == 0;
  }
  plan.is_reset = random() % 8 == 0;
  plan.capacity = random() % 2 == 0 ? 4096 : 16384;
  plan.seed = seed;
  return plan;
}

// One side of a stream: sends its bytes, reads the other's, as one thread with one wait.
class Party {
 public:
  Party(TestStream* stream, const Plan& plan, int side)
      : stream_(*stream),
        plan_(plan),
        side_(side),
        random_(plan.seed * 2 + static_cast<uint32_t>(side)),
        epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    Watch(EPOLL_CTL_ADD);
  }
  ~Party() { close(epoll_); }
  Party(const Party&) = delete;
  Party& operator=(const Party&) = delete;

  // Empty when all went well.
  std::string Run() {
    while (problem_.empty() && !(has_sent_all_ && has_read_all_)) {
      const bool wrote = !has_sent_all_ && MayWrite() && WriteSome();
      const bool read = !has_read_all_ && ReadSome();
      if (!wrote && !read && !(has_sent_all_ && has_read_all_) && problem_.empty()) Wait();
    }
    return problem_;
  }

 private:
  TestEnd& end() { return stream_.end(side_); }
  uint64_t ToRead() const { return plan_.bytes[1 - side_]; }

  bool MayWrite() const { return !is_full_; }
  bool WriteSome() {
    if (plan_.replaces[side_] && random_() % 16 == 0 && end().CanReplace()) {
      const uint64_t sizes[] = {4096, 16384, 65536};
      if (stream_.Replace(side_, sizes[random_() % 3]) != Status::kOk) Fail("replace");
    }
    const uint64_t left = plan_.bytes[side_] - sent_;
    if (left == 0) {
      has_sent_all_ = true;
      if (plan_.is_reset && side_ == 0) {
        end().Reset();
        has_read_all_ = true;
      } else {
        end().Fin();
      }
      return true;
    }
    const uint64_t size = std::min<uint64_t>(left, 1 + random_() % 9000);
    uint64_t written = 0;
    const Status status = end().Write(Pattern(sent_, size).data(), size, &written);
    sent_ += written;
    is_full_ = status == Status::kWouldBlock;
    // A peer that reset tells by our read.
    if (status != Status::kOk && status != Status::kWouldBlock) Fail("write");
    return written > 0;
  }

  bool ReadSome() {
    const uint64_t size = 1 + random_() % (random_() % 2 == 0 ? 300 : 20000);
    std::string text(size, '\0');
    uint64_t got = 0;
    const Status status = end().Read(text.data(), size, &got);
    if (status == Status::kWouldBlock) return false;
    if (status == Status::kOk) {
      text.resize(got);
      if (text != Pattern(read_, got)) Fail("bytes differ");
      read_ += got;
      return true;
    }
    has_read_all_ = true;
    const bool may_be_reset = plan_.is_reset && side_ == 1;
    if (status == Status::kEof && !may_be_reset) {
      if (read_ != ToRead()) Fail("end of file too early");
    } else if (may_be_reset && (status == Status::kReset || status == Status::kPeerDied)) {
      if (read_ != ToRead()) Fail("reset before the last byte");
      has_sent_all_ = true;
    } else {
      Fail("read");
    }
    return true;
  }

  uint32_t Events() const {
    uint32_t events = has_read_all_ ? 0U : static_cast<uint32_t>(EPOLLIN | EPOLLRDHUP);
    if (!has_sent_all_ && is_full_) events |= EPOLLOUT;
    return events;
  }
  void Watch(int operation) {
    epoll_event event{};
    event.events = plan_.waiting[side_] == Waiting::kEdge
                       ? static_cast<uint32_t>(EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
                       : Events();
    epoll_ctl(epoll_, operation, stream_.bell(side_), &event);
  }
  void Wait() {
    bool is_woken = false;
    if (plan_.waiting[side_] == Waiting::kBlocking) {
      pollfd entry{stream_.bell(side_), static_cast<short>(Events()), 0};
      is_woken = poll(&entry, 1, kNoProgressMs) > 0;
    } else {
      if (plan_.waiting[side_] == Waiting::kLevel) Watch(EPOLL_CTL_MOD);
      epoll_event event{};
      is_woken = epoll_wait(epoll_, &event, 1, kNoProgressMs) > 0;
    }
    if (!is_woken) Fail("hang");
    is_full_ = false;
  }
  void Fail(const char* what) {
    const EndState& s = stream_.state(side_);
    char text[512];
    std::snprintf(text, sizeof text,
                  "%s: seed %u side %d sent %lu of %lu read %lu of %lu; head %lu tail %lu wake_at "
                  "%lu plugs %lu/%lu raised %d full %d in %ld out %ld broken %d",
                  what, plan_.seed, side_, sent_, plan_.bytes[side_], read_, ToRead(), s.head,
                  s.tail, s.wake_at, s.plugs_sent, s.plugs_eaten, s.raised, is_full_,
                  RawSys::QueuedIn(s.bell_fd), RawSys::QueuedOut(s.bell_fd),
                  static_cast<int>(s.broken));
    if (problem_.empty()) problem_ = text;
  }

  TestStream& stream_;
  const Plan plan_;
  const int side_;
  std::mt19937 random_;
  const int epoll_;
  uint64_t sent_ = 0;
  uint64_t read_ = 0;
  bool is_full_ = false;
  bool has_sent_all_ = false;
  bool has_read_all_ = false;
  std::string problem_;
};

uint32_t Scale() {
  const char* const text = std::getenv("SHIMMY_TEST_SCALE");
  return text == nullptr ? 1 : std::max(1U, static_cast<uint32_t>(std::strtoul(text, nullptr, 10)));
}

TEST(StreamStressTest, AsThreads) {
  const uint32_t count = 400 * Scale();
  for (uint32_t seed = 1; seed <= count; seed++) {
    const Plan plan = MakePlan(seed);
    TestStream stream({.capacity = plan.capacity, .twice = seed % 4 != 0});
    std::string problems[2];
    {
      Party first(&stream, plan, 0);
      Party second(&stream, plan, 1);
      std::thread other([&] { problems[1] = second.Run(); });
      problems[0] = first.Run();
      other.join();
    }
    ASSERT_EQ(problems[0] + problems[1], "");
  }
}

TEST(StreamStressTest, AsProcesses) {
  const uint32_t count = 200 * Scale();
  for (uint32_t seed = 10001; seed <= 10000 + count; seed++) {
    const Plan plan = MakePlan(seed);
    TestStream stream({.capacity = plan.capacity, .twice = seed % 4 != 0});
    std::fflush(nullptr);  // else the child prints it again
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      stream.CloseBell(0);
      const std::string problem = Party(&stream, plan, 1).Run();
      if (!problem.empty()) std::fprintf(stderr, "%s\n", problem.c_str());
      _exit(problem.empty() ? 0 : 1);
    }
    stream.CloseBell(1);
    const std::string problem = Party(&stream, plan, 0).Run();
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(problem, "");
    ASSERT_EQ(status, 0) << "seed " << seed;
  }
}

[[noreturn]] void WriteForEver(TestStream* stream) {
  for (uint64_t at = 0;; at += 777) {
    const std::string text = Pattern(at, 777);
    for (uint64_t done = 0; done < text.size();) {
      uint64_t written = 0;
      const Status status = stream->end(0).Write(text.data() + done, text.size() - done, &written);
      done += written;
      if (status == Status::kWouldBlock) RawSys::Poll(stream->bell(0), POLLOUT, 100);
    }
  }
}

// The writer dies at a random place: the reader gets what was published, then learns of it.
TEST(StreamStressTest, WriterKilledAtAnyMoment) {
  std::mt19937 random(7);
  for (uint32_t round = 0; round < 60 * Scale(); round++) {
    TestStream stream;
    std::fflush(nullptr);  // else the child prints it again
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      stream.CloseBell(1);
      WriteForEver(&stream);
    }
    stream.CloseBell(0);
    const auto dies_at =
        std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 3000);
    bool is_killed = false;
    uint64_t at = 0;
    Status status = Status::kOk;
    while (status == Status::kOk || status == Status::kWouldBlock) {
      if (!is_killed && std::chrono::steady_clock::now() > dies_at) {
        is_killed = true;
        kill(child, SIGKILL);
      }
      std::string text;
      std::tie(status, text) = stream.Read(1, 1 + random() % 5000);
      ASSERT_TRUE(text == Pattern(at, text.size())) << round;
      at += text.size();
      if (status == Status::kWouldBlock && is_killed) {
        ASSERT_GT(RawSys::Poll(stream.bell(1), POLLIN | POLLRDHUP, kNoProgressMs), 0) << round;
      }
    }
    EXPECT_EQ(status, Status::kPeerDied);
    waitpid(child, nullptr, 0);
  }
}

}  // namespace
}  // namespace shimmy::test
