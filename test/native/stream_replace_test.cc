// shimmy/stream_end.h: replacing a half while the stream lives (I13).
#include <sys/resource.h>

#include "core_fixture.h"
#include "process_counts.h"

namespace shimmy::test {
namespace {

constexpr uint64_t kRing = 16384;

class ReplaceTest : public testing::TestWithParam<int> {
 protected:
  int side() const { return GetParam(); }
  int other() const { return 1 - GetParam(); }
  void ExpectBytesBothWays(TestStream* s) {
    for (int from = 0; from < 2; from++) {
      ASSERT_EQ(s->Write(from, Pattern(0, 3000)).second, 3000U);
      ASSERT_EQ(s->Read(1 - from, 100000).second, Pattern(0, 3000));
      ASSERT_EQ(s->Read(1 - from, 1).first, Status::kWouldBlock);
    }
  }
};

TEST_P(ReplaceTest, I13GrowsAndShrinksAnIdleStream) {
  TestStream s;
  ASSERT_EQ(s.Replace(side(), 65536), Status::kOk);
  EXPECT_TRUE(s.IsReadable(other()));
  EXPECT_EQ(s.Read(other(), 10).first, Status::kWouldBlock);
  EXPECT_EQ(s.state(other()).reading.capacity, 65536U);
  ExpectBytesBothWays(&s);
  ASSERT_TRUE(s.end(side()).CanReplace());
  ASSERT_EQ(s.Replace(side(), 4096), Status::kOk);
  EXPECT_EQ(s.Read(other(), 10).first, Status::kWouldBlock);
  EXPECT_EQ(s.state(other()).reading.capacity, 4096U);
  ExpectBytesBothWays(&s);
}

TEST_P(ReplaceTest, I13UnreadBytesOfTheOldHalfComeFirst) {
  TestStream s;
  ASSERT_EQ(s.Write(side(), Pattern(0, kRing)).first, Status::kOk);
  ASSERT_EQ(s.Replace(side(), 65536), Status::kOk);
  ASSERT_EQ(s.Write(side(), Pattern(kRing, 65536)).second, 65536U) << "the whole new ring is free";
  std::string all;
  while (all.size() < kRing + 65536) {
    ASSERT_TRUE(s.IsReadable(other())) << all.size();
    const auto [status, text] = s.Read(other(), 5000);
    ASSERT_EQ(status, Status::kOk);
    all += text;
  }
  EXPECT_EQ(all, Pattern(0, kRing + 65536));
  EXPECT_EQ(s.Read(other(), 1).first, Status::kWouldBlock);
}

TEST_P(ReplaceTest, I13SecondReplacementWaitsUntilTheFirstIsTaken) {
  TestStream s;
  ASSERT_EQ(s.Write(side(), "unread").first, Status::kOk);
  ASSERT_TRUE(s.end(side()).CanReplace());
  ASSERT_EQ(s.Replace(side(), 65536), Status::kOk);
  EXPECT_FALSE(s.end(side()).CanReplace());
  EXPECT_EQ(s.Read(other(), 3).second, "unr");
  EXPECT_FALSE(s.end(side()).CanReplace()) << "the old half is still being read";
  EXPECT_EQ(s.Read(other(), 10).second, "ead");
  EXPECT_EQ(s.Read(other(), 10).first, Status::kWouldBlock);
  EXPECT_TRUE(s.end(side()).CanReplace());
}

TEST_P(ReplaceTest, I13BothSidesAtOnce) {
  TestStream s;
  ASSERT_EQ(s.Write(side(), Pattern(0, kRing)).first, Status::kOk);
  ASSERT_EQ(s.Write(other(), Pattern(7, kRing)).first, Status::kOk);
  ASSERT_EQ(s.Replace(side(), 65536), Status::kOk);
  ASSERT_EQ(s.Replace(other(), 32768), Status::kOk);
  // Each finds the other's new words although its old half says that it moved.
  ASSERT_EQ(s.Write(side(), Pattern(kRing, 65536)).second, 65536U);
  ASSERT_EQ(s.Write(other(), Pattern(kRing + 7, 32768)).second, 32768U);
  EXPECT_TRUE(s.Read(other(), 1000000).second == Pattern(0, kRing + 65536));
  EXPECT_TRUE(s.Read(side(), 1000000).second == Pattern(7, kRing + 32768));
  EXPECT_EQ(s.Read(0, 1).first, Status::kWouldBlock);
  EXPECT_EQ(s.Read(1, 1).first, Status::kWouldBlock);
  ExpectBytesBothWays(&s);
}

TEST_P(ReplaceTest, I13QueuedPlugIsTakenBack) {
  TestStream s;
  ASSERT_EQ(s.Write(side(), Pattern(0, kRing + 5)).first, Status::kWouldBlock);
  ASSERT_FALSE(s.IsWritable(side()));
  ASSERT_TRUE(s.end(side()).CanReplace());
  ASSERT_EQ(s.Replace(side(), 65536), Status::kOk);
  EXPECT_TRUE(s.IsWritable(side())) << "the new ring has room";
  ASSERT_EQ(s.Write(side(), Pattern(kRing, 65536 + 5)).second, 65536U);
  EXPECT_FALSE(s.IsWritable(side()));
  EXPECT_TRUE(s.Read(other(), 1000000).second == Pattern(0, kRing + 65536));
  EXPECT_TRUE(s.IsWritable(side()));
  EXPECT_EQ(s.state(other()).plugs_eaten, s.state(side()).plugs_sent);
}

TEST_P(ReplaceTest, I13ArmedReaderIsWokenByTheNewHalf) {
  TestStream s;
  ASSERT_EQ(s.Read(other(), 1).first, Status::kWouldBlock);
  // The reader's own half moves: the writer must find wake_at in the new one.
  ASSERT_EQ(s.Replace(other(), 65536), Status::kOk);
  ASSERT_EQ(s.Write(side(), "abc").first, Status::kOk);
  EXPECT_TRUE(s.IsReadable(other()));
  EXPECT_EQ(s.Read(other(), 10).second, "abc");
  EXPECT_EQ(s.Read(other(), 10).first, Status::kWouldBlock);
  EXPECT_FALSE(s.IsReadable(other()));
  ASSERT_EQ(s.Write(side(), "def").first, Status::kOk);
  EXPECT_TRUE(s.IsReadable(other()));
}

TEST_P(ReplaceTest, I13FinAndResetAreFoundInTheNewHalf) {
  for (const bool is_reset : {false, true}) {
    TestStream s;
    ASSERT_EQ(s.Write(side(), "old").first, Status::kOk);
    ASSERT_EQ(s.Replace(side(), 65536), Status::kOk);
    ASSERT_EQ(s.Write(side(), "new").first, Status::kOk);
    if (is_reset) {
      s.end(side()).Reset();
    } else {
      s.end(side()).Fin();
    }
    s.CloseBell(side());
    EXPECT_EQ(s.Read(other(), 100).second, "oldnew");
    EXPECT_EQ(s.Read(other(), 100).first, is_reset ? Status::kReset : Status::kEof);
  }
}

// The peer replaces, publishes and resets between our look at the doorbell and the kernel's word
// of the hang-up, which is a reset of the socket because a bell of ours is unread.
TEST_P(ReplaceTest, I14ReplaceQueuedBeforeAHangUpIsTaken) {
  TestStream s;
  ASSERT_EQ(s.Write(other(), "never read").first, Status::kOk);
  TestSys::after_queued_in = [&] {
    ASSERT_EQ(s.Replace(side(), 65536), Status::kOk);
    ASSERT_EQ(s.Write(side(), "new").first, Status::kOk);
    s.end(side()).Reset();
    s.CloseBell(side());
  };
  EXPECT_EQ(s.Read(other(), 100).second, "new");
  EXPECT_EQ(s.Read(other(), 100).first, Status::kReset);
}

TEST_P(ReplaceTest, I13NotAfterFinResetOrDeath) {
  TestStream fin;
  fin.end(side()).Fin();
  EXPECT_FALSE(fin.end(side()).CanReplace());
  TestStream reset;
  reset.end(side()).Reset();
  EXPECT_FALSE(reset.end(side()).CanReplace());
  TestStream dead;
  dead.CloseBell(other());
  ASSERT_EQ(dead.Write(side(), "x").first, Status::kOk);
  EXPECT_FALSE(dead.end(side()).CanReplace());
}

TEST_P(ReplaceTest, I13AfterThePeersFinTheOtherDirectionMayGrow) {
  TestStream s;
  s.end(other()).Fin();
  ASSERT_EQ(s.Read(side(), 10).first, Status::kEof);
  ASSERT_TRUE(s.end(side()).CanReplace());
  ASSERT_EQ(s.Replace(side(), 65536), Status::kOk);
  ASSERT_EQ(s.Write(side(), Pattern(0, 65536)).second, 65536U);
  EXPECT_EQ(s.Read(other(), 100000).second, Pattern(0, 65536));
}

TEST_P(ReplaceTest, OldHalvesAreUnmapped) {
  TestStream s;
  const size_t before = CountHalfMappings();
  const size_t fds = CountFds();
  for (int i = 0; i < 10; i++) {
    ASSERT_EQ(s.Replace(side(), i % 2 == 0 ? 65536 : 16384), Status::kOk);
    ASSERT_EQ(s.Read(other(), 10).first, Status::kWouldBlock);
  }
  EXPECT_EQ(CountHalfMappings(), before);
  EXPECT_EQ(CountFds(), fds);
}

INSTANTIATE_TEST_SUITE_P(EachSide, ReplaceTest, testing::Values(0, 1));

// ---- what a hostile peer sends as REPLACE ----

struct BadReplace {
  const char* name;
  void (*spoil)(ReplaceRecord*, HalfSpec*);
  Status expected;
};

class BadReplaceTest : public testing::TestWithParam<BadReplace> {};
TEST_P(BadReplaceTest, EndsTheStreamAndLeaksNothing) {
  const size_t fds = CountFds();
  const size_t mappings = CountHalfMappings();
  {
    TestStream s;
    ASSERT_EQ(s.Write(0, "abc").first, Status::kOk);
    HalfSpec spec = s.NextSpec(0, 65536);
    ReplaceRecord record{kReplaceVersion, spec.number, spec.capacity, spec.start, 0};
    GetParam().spoil(&record, &spec);
    HalfMap half;
    int fd = -1;
    ASSERT_EQ(MakeHalf(spec, &half, &fd), Status::kOk);
    ASSERT_EQ(SendReplace<TestSys>(s.bell(0), record, fd), SendResult::kSent);
    ASSERT_EQ(SendBell<TestSys>(s.bell(0)), SendResult::kSent);
    close(fd);
    UnmapHalf<TestSys>(&half);
    Status status = Status::kOk;
    for (int i = 0; i < 3 && status == Status::kOk; i++) status = s.Read(1, 100).first;
    EXPECT_EQ(status, GetParam().expected);
  }
  EXPECT_EQ(CountFds(), fds);
  EXPECT_EQ(CountHalfMappings(), mappings);
}
INSTANTIATE_TEST_SUITE_P(
    Records, BadReplaceTest,
    testing::Values(
        BadReplace{"version", [](ReplaceRecord* r, HalfSpec*) { r->version = 2; },
                   Status::kBadReplace},
        BadReplace{"reserved", [](ReplaceRecord* r, HalfSpec*) { r->reserved = 1; },
                   Status::kBadReplace},
        BadReplace{"numberTooHigh",
                   [](ReplaceRecord* r, HalfSpec* spec) { r->number = spec->number = 3; },
                   Status::kBadReplace},
        BadReplace{"numberAgain",
                   [](ReplaceRecord* r, HalfSpec* spec) { r->number = spec->number = 1; },
                   Status::kBadReplace},
        BadReplace{"startBehind",
                   [](ReplaceRecord* r, HalfSpec* spec) { r->start = spec->start = ~uint64_t{0}; },
                   Status::kBadReplace},
        BadReplace{"startTooFar",
                   [](ReplaceRecord* r, HalfSpec* spec) { r->start = spec->start = 40000; },
                   Status::kBadReplace},
        BadReplace{"capacityDiffers", [](ReplaceRecord* r, HalfSpec*) { r->capacity = 16384; },
                   Status::kBadReplace},
        BadReplace{"headerStartDiffers", [](ReplaceRecord*, HalfSpec* spec) { spec->start = 1; },
                   Status::kBadHalf},
        BadReplace{"headerNumberDiffers", [](ReplaceRecord*, HalfSpec* spec) { spec->number = 9; },
                   Status::kBadHalf}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(BadReplaceTest, SecondBeforeTheFirstWasTakenEndsTheStream) {
  TestStream s;
  ASSERT_EQ(s.Write(0, "abc").first, Status::kOk);  // unread, so the first is not moved on to
  s.page(0).plugs.store(50);                        // so that the reader looks for them early
  ASSERT_EQ(s.Replace(0, 65536), Status::kOk);
  ASSERT_EQ(s.Replace(0, 16384), Status::kOk);  // CanReplace() says no; this peer does not ask
  Status status = Status::kOk;
  for (int i = 0; i < 3 && status == Status::kOk; i++) status = s.Read(1, 1).first;
  for (int i = 0; i < 3 && status == Status::kOk; i++) status = s.Read(1, 10).first;
  EXPECT_EQ(status, Status::kBadReplace);
}

TEST(BadReplaceTest, AboveTheNegotiatedBoundEndsTheStream) {
  TestStream s;
  s.state(1).max_peer_capacity = 32768;
  ASSERT_EQ(s.Replace(0, 65536), Status::kOk);
  EXPECT_EQ(s.Read(1, 10).first, Status::kBadHalf);
}

TEST(BadReplaceTest, FloodOfRecordsIsEatenInBoundedTurns) {
  TestStream s;
  s.page(0).moved.store(1);
  s.page(0).plugs.store(1000);
  for (int i = 0; i < 200; i++) {
    if (SendBell<TestSys>(s.bell(0)) != SendResult::kSent) break;
  }
  ASSERT_EQ(s.Write(1, "x").first, Status::kOk);
  EXPECT_EQ(s.Read(1, 10).first, Status::kWouldBlock);
}

// No fd to be had here is our own trouble, not a broken rule of the peer.
TEST(ReplaceLimitTest, WithoutAFreeFdTheReasonIsNoMemory) {
  TestStream s;
  ASSERT_EQ(s.Replace(0, 65536), Status::kOk);
  rlimit old{};
  getrlimit(RLIMIT_NOFILE, &old);
  const rlimit none{0, old.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  const Status status = s.Read(1, 10).first;
  setrlimit(RLIMIT_NOFILE, &old);
  EXPECT_EQ(status, Status::kNoMemory);
}

}  // namespace
}  // namespace shimmy::test
