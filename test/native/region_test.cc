// shimmy/region.h and channel_wait.h: making and checking regions, and waiting for each other.
#include "shimmy/region.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "core_fixture.h"
#include "process_counts.h"
#include "shimmy/channel_wait.h"

namespace shimmy::test {
namespace {

RegionSpec SpecOf(RegionKind kind = RegionKind::kData) {
  RegionSpec spec;
  spec.shape.channel = 0x1122334455667788;
  spec.shape.generation = 7;
  spec.shape.page_bytes = PageBytes();
  spec.shape.blocks = 10;
  spec.shape.block_bytes = 192;
  spec.kind = kind;
  spec.words_bytes = 5000;
  return spec;
}

struct Region {
  RegionSpec spec = SpecOf();
  RegionMap map;
  int fd = -1;

  explicit Region(RegionKind kind = RegionKind::kData) : spec(SpecOf(kind)) {
    fd = MakeRegion<TestSys>(spec, &map);
    EXPECT_GE(fd, 0);
  }
  ~Region() {
    UnmapRegion<TestSys>(&map);
    if (fd >= 0) close(fd);
  }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
};

Status Receive(int fd, const RegionSpec& spec) {
  RegionMap map;
  const Status status = MapRegionAsReader<TestSys>(fd, spec, &map);
  EXPECT_EQ(map.valid(), status == Status::kOk);
  UnmapRegion<TestSys>(&map);
  return status;
}

TEST(RegionTest, C3BlocksAreRoundedUpToWholePages) {
  ChannelShape shape = SpecOf().shape;
  struct {
    uint64_t blocks, block_bytes, page_bytes, expected;
  } const table[] = {{10, 192, 4096, 64},   {64, 192, 4096, 64}, {65, 192, 4096, 128},
                     {3, 64, 4096, 64},     {3, 4096, 4096, 3},  {3, 4096, 65536, 16},
                     {2, 1048576, 4096, 2}, {5, 6144, 4096, 6}};
  for (const auto& row : table) {
    shape.blocks = row.blocks;
    shape.block_bytes = row.block_bytes;
    shape.page_bytes = row.page_bytes;
    EXPECT_EQ(shape.data_blocks(), row.expected) << row.blocks << " of " << row.block_bytes;
    EXPECT_EQ(shape.data_blocks() * shape.block_bytes % row.page_bytes, 0U);
    EXPECT_TRUE(shape.valid());
  }
}

TEST(RegionTest, RefusesShapesOutOfBounds) {
  const std::function<void(ChannelShape*)> bad[] = {
      [](ChannelShape* s) { s->blocks = 0; },
      [](ChannelShape* s) { s->blocks = kMaxBlocks + 1; },
      [](ChannelShape* s) { s->block_bytes = 0; },
      [](ChannelShape* s) { s->block_bytes = 63; },
      [](ChannelShape* s) { s->block_bytes = 100; },
      [](ChannelShape* s) { s->block_bytes = kMaxBlockBytes + 64; },
      [](ChannelShape* s) { s->block_bytes = ~uint64_t{63}; },
      [](ChannelShape* s) { s->page_bytes = 3000; },
      [](ChannelShape* s) { s->blocks = kMaxBlocks, s->block_bytes = kMaxBlockBytes; }};
  const Region good;
  for (const auto& change : bad) {
    RegionSpec spec = SpecOf();
    change(&spec.shape);
    RegionMap map;
    EXPECT_EQ(MakeRegion<TestSys>(spec, &map), static_cast<int>(Status::kInternal));
    EXPECT_EQ(Receive(good.fd, spec), Status::kInternal);
  }
}

TEST(RegionTest, C3ReaderSeesWhatTheWriterStoresAndBlocksTwice) {
  const Region region;
  RegionMap reader;
  ASSERT_EQ(MapRegionAsReader<TestSys>(region.fd, region.spec, &reader), Status::kOk);
  const uint64_t bytes = region.spec.payload_bytes();
  std::memcpy(region.map.payload + bytes - 3, "shimmy", 6);
  EXPECT_EQ(std::memcmp(reader.payload + bytes - 3, "shimmy", 6), 0);
  EXPECT_EQ(std::memcmp(reader.payload, "mmy", 3), 0);
  UnmapRegion<TestSys>(&reader);
}

TEST(RegionTest, C1NobodyElseCanWrite) {
  const Region region(RegionKind::kProducer);
  RegionMap reader;
  ASSERT_EQ(MapRegionAsReader<TestSys>(region.fd, region.spec, &reader), Status::kOk);
  EXPECT_EQ(mprotect(reader.header, 4096, PROT_READ | PROT_WRITE), -1);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd, 0), MAP_FAILED);
  EXPECT_EQ(ftruncate(region.fd, 0), -1);
  region.map.payload[0] = 'w';
  EXPECT_EQ(reader.payload[0], 'w');
  UnmapRegion<TestSys>(&reader);
}

TEST(RegionTest, I5EveryPageIsAllocatedByItsMaker) {
  for (const RegionKind kind : {RegionKind::kData, RegionKind::kConsumer}) {
    const Region region(kind);
    struct stat st;
    ASSERT_EQ(fstat(region.fd, &st), 0);
    EXPECT_EQ(static_cast<uint64_t>(st.st_size), PageBytes() + region.spec.payload_bytes());
    EXPECT_GE(st.st_blocks * 512, st.st_size);
  }
}

TEST(RegionTest, C2RefusesAnotherRegionThanIsMeant) {
  const std::function<void(RegionSpec*)> others[] = {
      [](RegionSpec* s) { s->shape.channel++; },
      [](RegionSpec* s) { s->shape.generation++; },
      [](RegionSpec* s) { s->shape.blocks++; },  // rounded up to the same size
      [](RegionSpec* s) { s->shape.blocks *= 100; },
      [](RegionSpec* s) { s->shape.block_bytes = 64; },
      [](RegionSpec* s) { s->kind = RegionKind::kConsumer; },
      [](RegionSpec* s) { s->words_bytes = 60000; },
      [](RegionSpec* s) { s->shape.page_bytes *= 2; }};
  const Region region(RegionKind::kProducer);
  EXPECT_EQ(Receive(region.fd, region.spec), Status::kOk);
  for (const auto& change : others) {
    RegionSpec spec = region.spec;
    change(&spec);
    EXPECT_EQ(Receive(region.fd, spec), Status::kBadHalf);
  }
}

// PEER: each field of the header.
TEST(RegionTest, C2RefusesEveryLieInTheHeader) {
  for (size_t byte = 0; byte < sizeof(RegionHeader); byte++) {
    if (byte >= offsetof(RegionHeader, reserved) && byte < offsetof(RegionHeader, channel))
      continue;
    const Region region;
    reinterpret_cast<unsigned char*>(region.map.header)[byte] ^= 0x40;
    EXPECT_EQ(Receive(region.fd, region.spec), Status::kBadHalf) << byte;
  }
}

TEST(RegionTest, I6RefusesWhatIsNotSealedOrNoMemfd) {
  const RegionSpec spec = SpecOf();
  const uint64_t bytes = spec.memfd(0).file_bytes();
  const int unsealed = CreateMemfd<TestSys>(bytes);
  EXPECT_EQ(Receive(unsealed, spec), Status::kBadHalf);
  const int holes = static_cast<int>(RawSys::MemfdCreate("t", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(holes, static_cast<off_t>(bytes)), 0);
  ASSERT_EQ(SealMemfd<TestSys>(holes), Status::kOk);
  EXPECT_EQ(Receive(holes, spec), Status::kBadHalf);
  EXPECT_EQ(Receive(-1, spec), Status::kBadHalf);
  close(unsealed);
  close(holes);
}

TEST(RegionTest, LeavesNothingBehind) {
  { const Region warm_up; }
  const size_t fds = CountFds();
  const size_t mappings = CountHalfMappings();
  for (int i = 0; i < 10; i++) {
    const Region region;
    RegionSpec wrong = region.spec;
    wrong.shape.channel++;
    EXPECT_EQ(Receive(region.fd, region.spec), Status::kOk);
    EXPECT_EQ(Receive(region.fd, wrong), Status::kBadHalf);
  }
  EXPECT_EQ(CountFds(), fds);
  EXPECT_EQ(CountHalfMappings(), mappings);
}

// ---- channel_wait.h ----

// Two sides that count for each other: a ping-pong without payload.
class WaitTest : public testing::Test {
 protected:
  WaitTest() {
    EXPECT_EQ(RawSys::SocketPair(bells_), 0);
    for (int side = 0; side < 2; side++) {
      PrepareSide(&words_[side], 0);
      peer_[side] = {&words_[1 - side], bells_[side]};
    }
  }
  ~WaitTest() override {
    for (const int bell : bells_) {
      if (bell >= 0) close(bell);
    }
  }
  void CloseBell(int side) {
    close(bells_[side]);
    bells_[side] = -1;
  }
  uint64_t Seen(int side) const {
    return words_[1 - side].count.load(std::memory_order_acquire);  // SYNC: a test's
  }
  void Move(int side, uint64_t by = 1) {
    const uint64_t old = words_[side].count.load(std::memory_order_relaxed);  // relaxed: our own
    words_[side].count.store(old + by, std::memory_order_release);            // SYNC: a test's
    WakeAcross<RawSys>(&words_[side], peer_[side], old, old + by, &counts_[side]);
  }
  Status Wait(int side, uint64_t at, const WaitOptions& options = {}) {
    return WaitFor<RawSys>(&waiter_[side], &words_[side], peer_[side], at, options, &counts_[side],
                           [&] { return Seen(side) > at; });
  }
  static uint64_t In(uint64_t ms) { return internal::MonotonicNanos<RawSys>() + ms * 1000000; }
  static void UntilArmed(const SideWords& words) {
    while (words.futex_at.load() == kNever) std::this_thread::yield();
  }
  void UntilAsleep(int side) {
    while (waiter_[side].sleeping_on.load() == nullptr) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }

  SideWords words_[2];
  ChannelPeer peer_[2];
  ChannelWaiter waiter_[2];
  WaitCounts counts_[2];
  int bells_[2];
};

TEST_F(WaitTest, C5OneWakeAnArming) {
  Move(0);
  EXPECT_EQ(counts_[0].wakes + counts_[0].bells, 0U);  // nobody asked
  (void)Arm(&words_[1], peer_[1], 3, false);
  Move(0);  // 1 -> 2
  EXPECT_EQ(counts_[0].wakes, 0U);
  Move(0, 5);  // 2 -> 7 passes 3
  EXPECT_EQ(counts_[0].wakes, 1U);
  Move(0, 5);
  EXPECT_EQ(counts_[0].wakes, 1U);
  (void)Arm(&words_[1], peer_[1], 12, true);
  Move(0);  // 12 -> 13
  EXPECT_EQ(counts_[0].bells, 1U);
  EXPECT_EQ(EatRecord<RawSys>(bells_[1]).kind, RecordKind::kBell);
  Disarm(&words_[1]);
  Move(0);
  EXPECT_EQ(counts_[0].wakes + counts_[0].bells, 2U);
}

TEST_F(WaitTest, EndsAtTheDeadline) {
  for (const bool by_bell : {false, true}) {
    for (const uint64_t spins : {uint64_t{0}, kNever}) {
      const uint64_t deadline = In(30);
      EXPECT_EQ(Wait(0, 0, {deadline, spins, by_bell}), Status::kWouldBlock);
      EXPECT_GE(internal::MonotonicNanos<RawSys>(), deadline);
    }
  }
  peer_[0] = ChannelPeer{};
  EXPECT_EQ(WaitFor<RawSys>(&waiter_[0], &words_[0], peer_[0], 0, {In(10), 0, true}, &counts_[0],
                            [] { return false; }),
            Status::kWouldBlock);
  EXPECT_EQ(words_[0].futex_at.load(), kNever);
  EXPECT_EQ(words_[0].bell_at.load(), kNever);
}

// C4, C6
TEST_F(WaitTest, PingPongLosesNoWake) {
  constexpr uint64_t kTurns = 20000;
  for (const WaitOptions& options : {WaitOptions{}, WaitOptions{kNever, 50, false},
                                     WaitOptions{kNever, 0, true}, WaitOptions{kNever, 50, true}}) {
    const uint64_t base = Seen(0);
    std::thread other([&] {
      for (uint64_t i = 0; i < kTurns; i++) {
        ASSERT_EQ(Wait(1, base + i, options), Status::kOk);
        Move(1);
      }
    });
    for (uint64_t i = 0; i < kTurns; i++) {
      Move(0);
      ASSERT_EQ(Wait(0, base + i, options), Status::kOk);
    }
    other.join();
  }
  EXPECT_GT(counts_[0].sleeps, 0U);
}

TEST_F(WaitTest, C6AWakeWithoutACountIsNotLost) {
  for (int i = 0; i < 2000; i++) {
    std::atomic<bool> over{false};
    std::thread waiter([&] {
      while (!over.load(std::memory_order_acquire)) {  // SYNC: a test's
        const Status status =
            WaitFor<RawSys>(&waiter_[0], &words_[0], peer_[0], 0, {In(20000), 0, false},
                            &counts_[0], [&] { return over.load(std::memory_order_acquire); });
        ASSERT_EQ(status, Status::kOk) << i;
      }
    });
    if (i % 2 == 0) UntilArmed(words_[0]);
    over.store(true, std::memory_order_release);  // SYNC: a test's
    WakeAcross<RawSys>(&words_[1], peer_[1], 0, 1, &counts_[1]);
    waiter.join();
  }
}

TEST_F(WaitTest, C7NotifyReachesWhoSleepsAndWhoIsAboutTo) {
  for (int i = 0; i < 500; i++) {
    const uint32_t flag = i % 2 == 0 ? ChannelWaiter::kDead : ChannelWaiter::kInterrupted;
    const bool has_peer = i % 4 < 2;
    std::thread waiter([&] {
      const Status status =
          WaitFor<RawSys>(&waiter_[0], &words_[0], has_peer ? peer_[0] : ChannelPeer{}, 0,
                          {In(20000), 0, false}, &counts_[0], [] { return false; });
      EXPECT_EQ(status, i % 2 == 0 ? Status::kPeerDied : Status::kInterrupted);
    });
    if (i % 50 == 0) UntilAsleep(0);
    Notify<RawSys>(&waiter_[0], flag);
    waiter.join();
    EXPECT_EQ(IsDead(waiter_[0]), i % 2 == 0);
    ClearInterrupt(&waiter_[0]);
    waiter_[0].flags.store(0);
  }
}

TEST_F(WaitTest, TheDoorbellTellsOfDeathByItself) {
  std::thread waiter([&] { EXPECT_EQ(Wait(0, 0, {In(20000), 0, true}), Status::kPeerDied); });
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CloseBell(1);
  waiter.join();
  EXPECT_TRUE(IsDead(waiter_[0]));
}

TEST_F(WaitTest, RefusesWhatIsNoBell) {
  ASSERT_EQ(send(bells_[1], "123", 3, 0), 3);
  EXPECT_EQ(Wait(0, 0, {In(20000), 0, true}), Status::kStrayIo);
}

TEST_F(WaitTest, SignalsInterrupt) {
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
  for (const bool by_bell : {false, true}) {
    std::atomic<pid_t> tid{0};
    std::atomic<bool> left{false};
    std::thread waiter([&] {
      tid = static_cast<pid_t>(syscall(SYS_gettid));
      EXPECT_EQ(Wait(0, 0, {In(20000), 0, by_bell}), Status::kInterrupted);
      left = true;
    });
    while (tid == 0) std::this_thread::yield();
    while (!left) {
      syscall(SYS_tgkill, getpid(), tid.load(), SIGUSR1);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    waiter.join();
  }
  sigaction(SIGUSR1, &before, nullptr);
}

// PEER: futex_at, bell_at, wakes.
TEST_F(WaitTest, AHostilePeerCostsABoundedNumberOfCalls) {
  std::atomic<bool> stop{false};
  std::thread liar([&] {
    for (uint64_t i = 0; !stop.load(std::memory_order_relaxed); i++) {  // relaxed: a test's
      words_[1].futex_at.store(i % 3000, std::memory_order_relaxed);
      words_[1].bell_at.store(i % 2999, std::memory_order_relaxed);
      words_[1].wakes.store(static_cast<uint32_t>(i), std::memory_order_relaxed);
    }
  });
  for (int i = 0; i < 3000; i++) Move(0);
  EXPECT_LE(counts_[0].wakes, 3000U);
  EXPECT_LE(counts_[0].bells, 3000U);
  const uint64_t deadline = In(30);
  EXPECT_EQ(Wait(0, 0, {deadline, 0, false}), Status::kWouldBlock);  // not kept beyond it
  EXPECT_LT(internal::MonotonicNanos<RawSys>(), deadline + 5'000'000'000);
  stop = true;
  liar.join();
}

TEST_F(WaitTest, CostsNothingWhileAsleep) {
  const uint64_t before = ProcessCpuMs();
  EXPECT_EQ(Wait(0, 0, {In(300), 0, false}), Status::kWouldBlock);
  EXPECT_EQ(Wait(0, 0, {In(300), 0, true}), Status::kWouldBlock);
  EXPECT_LT(ProcessCpuMs() - before, 50U);
  EXPECT_EQ(counts_[0].sleeps, 2U);
}

}  // namespace
}  // namespace shimmy::test
