// One stream with both ends in this process, as the core's tests use it.
#ifndef SHIMMY_TEST_CORE_FIXTURE_H_
#define SHIMMY_TEST_CORE_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "shimmy/stream_end.h"
#include "shimmy/sys_raw.h"

namespace shimmy::test {

// The core's system calls, with places where a test can let the peer act in between. Hooks are
// per thread and run once.
struct TestSys : RawSys {
  static inline thread_local std::function<void()> after_queued_in;
  static inline thread_local std::function<void()> after_poll;

  static void Copy(void* to, const void* from, size_t bytes) noexcept {
    std::memcpy(to, from, bytes);
  }
  static long QueuedIn(int fd) noexcept {
    const long queued = RawSys::QueuedIn(fd);
    RunOnce(&after_queued_in);
    return queued;
  }
  static long Poll(int fd, short events, int timeout_ms) noexcept {
    const long result = RawSys::Poll(fd, events, timeout_ms);
    RunOnce(&after_poll);
    return result;
  }

 private:
  static void RunOnce(std::function<void()>* hook) {
    if (!*hook) return;
    const std::function<void()> once = std::move(*hook);
    *hook = nullptr;
    once();
  }
};

using TestEnd = StreamEnd<TestSys>;

inline uint64_t PageBytes() { return static_cast<uint64_t>(sysconf(_SC_PAGESIZE)); }

// A made, mapped and sealed half; the fd is the caller's.
inline Status MakeHalf(const HalfSpec& spec, HalfMap* half, int* fd) {
  *fd = CreateHalf<TestSys>(spec);
  if (*fd < 0) return static_cast<Status>(*fd);
  const Status status = MapAsWriter<TestSys>(*fd, spec, half);
  return status == Status::kOk ? SealHalf<TestSys>(*fd) : status;
}

struct StreamOptions {
  uint64_t capacity = kFirstCapacity;
  uint64_t start[2] = {0, 0};  // where each side begins to write
  bool twice = true;
};

class TestStream {
 public:
  explicit TestStream(const StreamOptions& options = {})
      : ends_{TestEnd(&states_[0]), TestEnd(&states_[1])} {
    DoorbellSizes sizes;
    EXPECT_EQ(ProbeDoorbell<TestSys>(&sizes), Status::kOk);
    EXPECT_EQ(CreateDoorbell<TestSys>(sizes, bells_), Status::kOk);
    HalfMap mine[2];
    HalfMap peers[2];
    for (int side = 0; side < 2; side++) {
      HalfSpec spec;
      spec.capacity = options.capacity;
      spec.start = options.start[side];
      spec.page_bytes = PageBytes();
      spec.twice = options.twice;
      int fd = -1;
      EXPECT_EQ(MakeHalf(spec, &mine[side], &fd), Status::kOk);
      HalfBounds bounds;
      bounds.start = spec.start;
      bounds.page_bytes = spec.page_bytes;
      bounds.twice = options.twice;
      EXPECT_EQ(MapAsReader<TestSys>(fd, bounds, &peers[1 - side]), Status::kOk);
      TestSys::Close(fd);
    }
    for (int side = 0; side < 2; side++) {
      states_[side].sizes = sizes;
      states_[side].page_bytes = PageBytes();
      TestEnd::Prepare(mine[side], options.start[1 - side]);
    }
    for (int side = 0; side < 2; side++) {
      ends_[side].Begin(bells_[side], mine[side], peers[side], options.start[1 - side]);
    }
  }
  ~TestStream() {
    for (int side = 0; side < 2; side++) {
      CloseBell(side);
      UnmapHalf<TestSys>(&states_[side].mine);
      UnmapHalf<TestSys>(&states_[side].reading);
      UnmapHalf<TestSys>(&states_[side].next);
    }
  }
  TestStream(const TestStream&) = delete;
  TestStream& operator=(const TestStream&) = delete;

  TestEnd& end(int side) { return ends_[side]; }
  EndState& state(int side) { return states_[side]; }
  int bell(int side) const { return bells_[side]; }
  // What this side lets its peer see; a hostile side stores here what it likes.
  ControlPage& page(int side) { return *states_[side].mine.control; }

  void CloseBell(int side) {
    if (bells_[side] >= 0) TestSys::Close(bells_[side]);
    bells_[side] = -1;
  }

  // Moves `side` on to a half of `capacity`.
  Status Replace(int side, uint64_t capacity) {
    HalfMap half;
    int fd = -1;
    const Status made = MakeHalf(NextSpec(side, capacity), &half, &fd);
    if (made != Status::kOk) return made;
    const Status status = ends_[side].Replace(half, fd);
    TestSys::Close(fd);
    return status;
  }
  HalfSpec NextSpec(int side, uint64_t capacity) const {
    HalfSpec spec;
    spec.capacity = capacity;
    spec.start = states_[side].tail;
    spec.number = states_[side].mine.number + 1;
    spec.page_bytes = PageBytes();
    spec.twice = states_[side].mine.twice;
    return spec;
  }

  std::pair<Status, uint64_t> Write(int side, const std::string& text) {
    uint64_t written = 0;
    const Status status = ends_[side].Write(text.data(), text.size(), &written);
    return {status, written};
  }
  // Everything readable now, at most `most` bytes; and why there was no more.
  std::pair<Status, std::string> Read(int side, uint64_t most) {
    std::string text(most, '\0');
    uint64_t got = 0;
    const Status status = ends_[side].Read(text.data(), most, &got);
    text.resize(got);
    return {status, text};
  }
  long Events(int side, short events) const { return RawSys::Poll(bells_[side], events, 0); }
  bool IsReadable(int side) const { return (Events(side, POLLIN) & POLLIN) != 0; }
  bool IsWritable(int side) const { return (Events(side, POLLOUT) & POLLOUT) != 0; }

 private:
  EndState states_[2];
  TestEnd ends_[2];
  int bells_[2] = {-1, -1};
};

// `bytes` bytes of which each tells its place, so that a byte lost or doubled is seen.
inline std::string Pattern(uint64_t from, uint64_t bytes) {
  std::string text(bytes, '\0');
  for (uint64_t i = 0; i < bytes; i++) {
    const uint64_t at = from + i;
    text[i] = static_cast<char>(at ^ (at >> 8) ^ (at >> 16));
  }
  return text;
}

}  // namespace shimmy::test

#endif  // SHIMMY_TEST_CORE_FIXTURE_H_
