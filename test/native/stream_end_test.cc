// shimmy/stream_end.h, one end at a time: I8 to I12, I14, and words that a peer lies in.
// I13 (replacing) is in stream_replace_test.cc.
#include "shimmy/stream_end.h"

#include "core_fixture.h"

namespace shimmy::test {
namespace {

constexpr uint64_t kRing = 16384;

TEST(StreamEndTest, CarriesBytesBothWays) {
  TestStream s;
  EXPECT_EQ(s.Write(0, "ping").first, Status::kOk);
  EXPECT_EQ(s.Read(1, 100).second, "ping");
  EXPECT_EQ(s.Write(1, "pong").first, Status::kOk);
  EXPECT_EQ(s.Read(0, 100).second, "pong");
  EXPECT_EQ(s.Read(0, 100).first, Status::kWouldBlock);
}

TEST(StreamEndTest, CarriesBytesWithARingMappedOnce) {
  TestStream s({.capacity = 4096, .start = {4000, 1}, .twice = false});
  for (uint64_t at = 0; at < 20000; at += 3000) {
    ASSERT_EQ(s.Write(0, Pattern(at, 3000)).second, 3000U);
    ASSERT_EQ(s.Read(1, 4096).second, Pattern(at, 3000));
  }
}

// ---- I8 ----

TEST(StreamEndTest, I8RingWithBytesHasAByteInTheDoorbell) {
  TestStream s;
  EXPECT_FALSE(s.IsReadable(1));
  ASSERT_EQ(s.Write(0, "abc").first, Status::kOk);
  EXPECT_TRUE(s.IsReadable(1));
  EXPECT_EQ(s.Read(1, 1).second, "a");
  EXPECT_TRUE(s.IsReadable(1)) << "two bytes are left";
  EXPECT_EQ(s.Read(1, 100).second, "bc");
  EXPECT_EQ(s.Read(1, 100).first, Status::kWouldBlock);
  EXPECT_FALSE(s.IsReadable(1));
}

TEST(StreamEndTest, I8CrossingRingsOncePerArming) {
  TestStream s;
  for (int round = 0; round < 5; round++) {
    for (int i = 0; i < 10; i++) ASSERT_EQ(s.Write(0, "x").first, Status::kOk);
    EXPECT_EQ(s.state(0).counts.bells_sent, static_cast<uint64_t>(round) + 1);
    EXPECT_EQ(s.Read(1, 100).second.size(), 10U);
    EXPECT_EQ(s.Read(1, 100).first, Status::kWouldBlock);
  }
  EXPECT_EQ(s.state(1).counts.bells_eaten, 5U);
}

// The reader's second look finds bytes that came after the first: the bell of those must stay.
TEST(StreamEndTest, I8BellThatComesWhileArmingStays) {
  TestStream s;
  TestSys::after_queued_in = [&] { EXPECT_EQ(s.Write(0, "late").first, Status::kOk); };
  EXPECT_EQ(s.Read(1, 2).second, "la");
  EXPECT_TRUE(s.IsReadable(1));
  EXPECT_EQ(s.Read(1, 2).second, "te");
}

TEST(StreamEndTest, I8OldBellsDoNotPileUp) {
  TestStream s;
  for (int i = 0; i < 1000; i++) {
    ASSERT_EQ(s.Write(0, "xy").first, Status::kOk);
    ASSERT_EQ(s.Read(1, 1).second, "x");
    ASSERT_EQ(s.Read(1, 100).second, "y");
    if (i % 3 == 0) {
      ASSERT_EQ(s.Read(1, 100).first, Status::kWouldBlock);
    }
  }
  EXPECT_LE(TestSys::QueuedIn(s.bell(1)), 10);
}

TEST(StreamEndTest, I8DisarmedEndGetsNoBellsUntilArmed) {
  TestStream s;
  s.end(1).Disarm();
  ASSERT_EQ(s.Write(0, "abc").first, Status::kOk);
  EXPECT_EQ(s.state(0).counts.bells_sent, 0U);
  EXPECT_EQ(s.end(1).Arm(true), Status::kOk) << "arming finds what came meanwhile";
  EXPECT_EQ(s.Read(1, 100).second, "abc");
  ASSERT_EQ(s.end(1).Arm(true), Status::kWouldBlock);
  ASSERT_EQ(s.Write(0, "d").first, Status::kOk);
  EXPECT_TRUE(s.IsReadable(1));
}

// I2 too: cursors are counts that never wrap.
TEST(StreamEndTest, I8CountsUpAcrossTheSignBit) {
  const uint64_t high = (uint64_t{1} << 63) - 100;
  TestStream s({.start = {high, high + 7}});
  for (uint64_t at = 0; at < 3 * kRing; at += 5000) {
    ASSERT_EQ(s.Write(0, Pattern(at, 5000)).second, 5000U);
    ASSERT_TRUE(s.IsReadable(1));
    ASSERT_EQ(s.Read(1, kRing).second, Pattern(at, 5000));
    ASSERT_EQ(s.Read(1, 1).first, Status::kWouldBlock);
  }
}

// ---- I9 ----

TEST(StreamEndTest, I9NeverWritesMoreThanTheRing) {
  TestStream s;
  const auto [status, written] = s.Write(0, Pattern(0, kRing + 1000));
  EXPECT_EQ(status, Status::kWouldBlock);
  EXPECT_EQ(written, kRing);
  EXPECT_EQ(s.Write(0, "x").second, 0U);
  EXPECT_EQ(s.Read(1, 1000).second, Pattern(0, 1000));
  EXPECT_EQ(s.Write(0, Pattern(kRing, 2000)).second, 1000U);
  EXPECT_EQ(s.Read(1, 2 * kRing).second, Pattern(1000, kRing));
}

// ---- I10: PEER words ----

struct Lie {
  const char* name;
  void (*tell)(ControlPage*);
};
void Store(Word* word, uint64_t value) { word->store(value); }

class LyingWriterTest : public testing::TestWithParam<Lie> {};
TEST_P(LyingWriterTest, I10IsFoundOutByTheReader) {
  TestStream s;
  ASSERT_EQ(s.Write(0, "abc").first, Status::kOk);
  GetParam().tell(&s.page(0));
  const Status status = s.Read(1, kRing * 4).first;
  EXPECT_EQ(status, Status::kCursorOutOfRange);
  EXPECT_EQ(ToEndReason(status), EndReason::kCursorOutOfRange);
}
INSTANTIATE_TEST_SUITE_P(
    Tail, LyingWriterTest,
    testing::Values(Lie{"justTooFar", [](ControlPage* p) { Store(&p->tail, kRing + 1); }},
                    Lie{"far", [](ControlPage* p) { Store(&p->tail, uint64_t{1} << 40); }},
                    Lie{"signBit", [](ControlPage* p) { Store(&p->tail, uint64_t{1} << 63); }},
                    Lie{"backwards", [](ControlPage* p) { Store(&p->tail, ~uint64_t{0}); }}),
    [](const auto& info) { return std::string(info.param.name); });

class LyingReaderTest : public testing::TestWithParam<Lie> {};
TEST_P(LyingReaderTest, I10IsFoundOutByTheWriter) {
  TestStream s({.start = {1000, 0}});
  ASSERT_EQ(s.Write(0, Pattern(0, 5000)).second, 5000U);
  GetParam().tell(&s.page(1));
  // It has room that it knows of, and looks when that is used up.
  EXPECT_EQ(s.Write(0, "x").first, Status::kOk);
  EXPECT_EQ(s.Write(0, Pattern(5001, kRing)).first, Status::kCursorOutOfRange);
}
INSTANTIATE_TEST_SUITE_P(
    Head, LyingReaderTest,
    testing::Values(Lie{"pastTail", [](ControlPage* p) { Store(&p->head, 60000); }},
                    Lie{"far", [](ControlPage* p) { Store(&p->head, uint64_t{1} << 62); }}),
    [](const auto& info) { return std::string(info.param.name); });

// Before our start a head says that the peer has not moved on: the ring counts as unread.
TEST(StreamEndTest, I10HeadBeforeOurStartFreesNothing) {
  TestStream s({.start = {1000, 0}});
  ASSERT_EQ(s.Write(0, Pattern(0, 5000)).second, 5000U);
  s.page(1).head.store(5);
  uint64_t room = 0;
  EXPECT_EQ(s.end(0).Room(&room), Status::kOk);
  EXPECT_EQ(room, kRing - 5000);
}

TEST(StreamEndTest, RoomIsLookedForWhenTheKnownIsNotEnough) {
  TestStream s;
  ASSERT_EQ(s.Write(0, Pattern(0, 10000)).second, 10000U);
  ASSERT_EQ(s.Read(1, 10000).second.size(), 10000U);
  uint64_t room = 0;
  EXPECT_EQ(s.end(0).RoomFor(100, &room), Status::kOk);
  EXPECT_EQ(room, kRing - 10000) << "known without a look";
  EXPECT_EQ(s.end(0).RoomFor(kRing - 9999, &room), Status::kOk);
  EXPECT_EQ(room, kRing);
  EXPECT_EQ(s.end(0).RoomFor(100, &room), Status::kOk);
  EXPECT_EQ(room, kRing) << "known now";
}

TEST(StreamEndTest, WriteSomeAsksForNoWakeUp) {
  TestStream s;
  uint64_t written = 0;
  const std::string data = Pattern(0, kRing + 1);
  EXPECT_EQ(s.end(0).WriteSome(data.data(), data.size(), &written), Status::kWouldBlock);
  EXPECT_EQ(written, kRing);
  EXPECT_EQ(s.state(0).counts.plugs_sent, 0U);
  EXPECT_TRUE(s.IsWritable(0));
  EXPECT_EQ(s.Read(1, kRing).second, data.substr(0, kRing));
  EXPECT_EQ(s.end(0).WriteSome(data.data() + kRing, 1, &written), Status::kOk);
  EXPECT_EQ(s.Read(1, 10).second, data.substr(kRing));
}

TEST(StreamEndTest, I10FinBehindOrAheadEndsTheStream) {
  for (const uint64_t fin : {uint64_t{1}, uint64_t{2}, uint64_t{5}, uint64_t{1} << 63}) {
    TestStream s;
    ASSERT_EQ(s.Write(0, "abc").first, Status::kOk);
    s.page(0).fin.store(fin);
    EXPECT_EQ(s.Read(1, 100).second, "abc");
    EXPECT_EQ(s.Read(1, 100).first, Status::kCursorOutOfRange) << fin;
  }
}

TEST(StreamEndTest, I10AnyNumberOfPlugsEndsInBoundedTime) {
  for (const uint64_t plugs : {uint64_t{1} << 62, ~uint64_t{0}, uint64_t{100}}) {
    TestStream s;
    ASSERT_EQ(s.Write(0, "abc").first, Status::kOk);
    s.page(0).plugs.store(plugs);
    EXPECT_EQ(s.Read(1, 100).second, "abc");
    EXPECT_EQ(s.Read(1, 100).first, Status::kWouldBlock);
  }
}

TEST(StreamEndTest, I10MovedWithoutReplaceHurtsNobody) {
  TestStream s;
  s.page(1).moved.store(1);
  s.page(1).half.store(99);
  ASSERT_EQ(s.Write(0, "abc").first, Status::kOk);
  EXPECT_EQ(s.Read(1, 100).second, "abc");
}

TEST(StreamEndTest, I10WakeAtAnywhereOnlyCostsBells) {
  TestStream s;
  for (uint64_t i = 0; i < 2000; i++) {
    s.page(1).wake_at.store(s.state(0).tail);  // armed again and again, nothing eaten
    ASSERT_EQ(s.Write(0, "x").first, Status::kOk) << i;
  }
}

// ---- I11 ----

TEST(StreamEndTest, I11FullRingLeavesAPlugWithABellBehindIt) {
  TestStream s;
  EXPECT_EQ(s.Write(0, Pattern(0, kRing + 1)).first, Status::kWouldBlock);
  EXPECT_EQ(s.state(0).counts.plugs_sent, 1U);
  EXPECT_FALSE(s.IsWritable(0));
  EXPECT_EQ(TestSys::QueuedIn(s.bell(1)), long{1 + kPlugBytes + 1});
  EXPECT_EQ(s.Write(0, "x").first, Status::kWouldBlock);
  EXPECT_EQ(s.state(0).counts.plugs_sent, 1U) << "one is enough";
}

TEST(StreamEndTest, I11PlugIsEatenWhenAQuarterIsFree) {
  TestStream s;
  ASSERT_EQ(s.Write(0, Pattern(0, kRing + 1)).first, Status::kWouldBlock);
  EXPECT_EQ(s.Read(1, kRing / 4 - 1).second.size(), kRing / 4 - 1);
  EXPECT_FALSE(s.IsWritable(0)) << "less than a quarter";
  EXPECT_EQ(s.Read(1, 1).second.size(), 1U);
  EXPECT_TRUE(s.IsWritable(0));
  EXPECT_TRUE(s.IsReadable(1)) << "the bell behind the plug stays: the ring is not empty";
  EXPECT_EQ(s.Write(0, Pattern(kRing, 100)).first, Status::kOk);
}

TEST(StreamEndTest, I11SatisfiedWriterTakesItsPlugBack) {
  TestStream s;
  ASSERT_EQ(s.Write(0, Pattern(0, kRing + 1)).first, Status::kWouldBlock);
  ASSERT_EQ(s.Read(1, 100).second.size(), 100U);
  ASSERT_FALSE(s.IsWritable(0));
  ASSERT_EQ(s.Write(0, "y").first, Status::kOk);
  EXPECT_EQ(s.state(0).counts.plugs_taken_back, 1U);
  EXPECT_TRUE(s.IsWritable(0));
  // The next full ring makes the doorbell unwritable again, by the same plug.
  EXPECT_EQ(s.Write(0, Pattern(0, 100)).first, Status::kWouldBlock);
  EXPECT_FALSE(s.IsWritable(0));
  EXPECT_EQ(s.state(0).counts.plugs_sent, 1U);
}

TEST(StreamEndTest, I11ShortWriteOfACallerThatWantedLessIsNoPlug) {
  TestStream s;
  EXPECT_EQ(s.Write(0, Pattern(0, kRing)).first, Status::kOk);
  EXPECT_EQ(s.state(0).counts.plugs_sent, 0U);
  EXPECT_TRUE(s.IsWritable(0));
}

TEST(StreamEndTest, I11RoomThatComesWhilePluggingIsUsed) {
  TestStream s;
  ASSERT_EQ(s.Write(0, Pattern(0, kRing)).first, Status::kOk);
  // The reader takes everything between the writer's look and its plug. Only a thread could do
  // that in Write(); its steps are these.
  uint64_t room = 1;
  ASSERT_EQ(s.end(0).Room(&room), Status::kOk);
  ASSERT_EQ(room, 0U);
  ASSERT_EQ(s.Read(1, kRing).second.size(), kRing);
  ASSERT_EQ(s.end(0).PlugFull(), Status::kOk);
  ASSERT_EQ(s.end(0).Room(&room), Status::kOk);
  EXPECT_EQ(room, kRing);
  ASSERT_EQ(s.Write(0, "z").first, Status::kOk);
  EXPECT_TRUE(s.IsWritable(0)) << "taken back";
  EXPECT_EQ(s.Read(1, 10).second, "z");
  EXPECT_EQ(s.Read(1, 10).first, Status::kWouldBlock);
  EXPECT_FALSE(s.IsReadable(1));
}

// ---- I12 ----

TEST(StreamEndTest, I12EndOfFileComesAfterTheLastByte) {
  TestStream s;
  ASSERT_EQ(s.Write(0, "abc").first, Status::kOk);
  s.end(0).Fin();
  EXPECT_EQ(s.Read(1, 2).second, "ab");
  EXPECT_EQ(s.Read(1, 100).second, "c");
  EXPECT_EQ(s.Read(1, 100).first, Status::kEof);
  EXPECT_EQ(s.Read(1, 100).first, Status::kEof) << "and again";
  EXPECT_TRUE(s.IsReadable(1)) << "as a socket at its end of file";
}

TEST(StreamEndTest, I12FinThatComesWhileArmingIsSeen) {
  TestStream s;
  TestSys::after_queued_in = [&] {
    EXPECT_EQ(s.Write(0, "z").first, Status::kOk);
    s.end(0).Fin();
  };
  EXPECT_EQ(s.Read(1, 100).second, "z");
  EXPECT_EQ(s.Read(1, 100).first, Status::kEof);
}

TEST(StreamEndTest, I12FinThatComesWhileLookingForAHangUpIsNotADeath) {
  TestStream s;
  TestSys::after_poll = [&] {};
  ASSERT_EQ(s.Read(1, 100).first, Status::kWouldBlock);
  TestSys::after_queued_in = [&] { s.end(0).Fin(); };
  EXPECT_EQ(s.Read(1, 100).first, Status::kEof);
}

TEST(StreamEndTest, I12HalfCloseLeavesTheOtherDirection) {
  TestStream s;
  s.end(0).Fin();
  EXPECT_EQ(s.Read(1, 10).first, Status::kEof);
  EXPECT_EQ(s.Write(0, "x").first, Status::kEnded);
  for (uint64_t at = 0; at < 5 * kRing; at += 4000) {
    ASSERT_EQ(s.Write(1, Pattern(at, 4000)).second, 4000U);
    ASSERT_TRUE(s.IsReadable(0));
    ASSERT_EQ(s.Read(0, kRing).second, Pattern(at, 4000));
    ASSERT_EQ(s.Read(0, kRing).first, Status::kWouldBlock);
  }
  s.end(1).Fin();
  EXPECT_EQ(s.Read(0, 10).first, Status::kEof);
}

TEST(StreamEndTest, I12HalfClosedPeerStillEatsPlugs) {
  TestStream s;
  s.end(0).Fin();
  ASSERT_EQ(s.Write(1, Pattern(0, kRing + 1)).first, Status::kWouldBlock);
  ASSERT_FALSE(s.IsWritable(1));
  ASSERT_EQ(s.Read(0, kRing).second.size(), kRing);
  EXPECT_TRUE(s.IsWritable(1));
}

// ---- reset, and I14 ----

TEST(StreamEndTest, ResetComesAfterTheBytesBeforeIt) {
  TestStream s;
  ASSERT_EQ(s.Write(0, "abc").first, Status::kOk);
  s.end(0).Reset();
  s.CloseBell(0);
  EXPECT_EQ(s.Read(1, 100).second, "abc");
  EXPECT_EQ(s.Read(1, 100).first, Status::kReset);
}

TEST(StreamEndTest, ResetAfterFinIsAReset) {
  TestStream s;
  s.end(0).Fin();
  s.end(0).Reset();
  s.CloseBell(0);
  EXPECT_EQ(s.Read(1, 100).first, Status::kReset);
}

TEST(StreamEndTest, ResetWakesAReaderThatSleeps) {
  TestStream s;
  ASSERT_EQ(s.Read(1, 1).first, Status::kWouldBlock);
  s.end(0).Reset();
  EXPECT_TRUE(s.IsReadable(1));
}

TEST(StreamEndTest, I14HangUpWithoutAMarkerIsADeathAfterTheLastByte) {
  TestStream s;
  ASSERT_EQ(s.Write(0, "abc").first, Status::kOk);
  s.CloseBell(0);
  EXPECT_EQ(s.Read(1, 100).second, "abc");
  EXPECT_EQ(s.Read(1, 100).first, Status::kPeerDied);
}

// The peer publishes its last bytes, ends and hangs up between our look and the kernel's word.
TEST(StreamEndTest, I14WhatWasPublishedBeforeTheHangUpIsRead) {
  for (const bool has_fin : {false, true}) {
    TestStream s;
    ASSERT_EQ(s.Read(1, 1).first, Status::kWouldBlock);
    TestSys::after_queued_in = [&] {
      TestSys::after_queued_in = nullptr;
      std::memcpy(s.state(0).mine.data, "last", 4);  // a publish whose bell did not come out
      s.state(0).tail = 4;
      s.page(0).tail.store(4);
      if (has_fin) s.page(0).fin.store(5);
      s.CloseBell(0);
    };
    EXPECT_EQ(s.Read(1, 100).second, "last");
    EXPECT_EQ(s.Read(1, 100).first, has_fin ? Status::kEof : Status::kPeerDied);
  }
}

TEST(StreamEndTest, I14UnreadBellsOfTheDeadDoNotHideBytes) {
  TestStream s;
  ASSERT_EQ(s.Write(1, "never read").first, Status::kOk);  // makes the close a reset
  ASSERT_EQ(s.Write(0, "abc").first, Status::kOk);
  s.end(0).Fin();
  s.CloseBell(0);
  EXPECT_EQ(s.Read(1, 100).second, "abc");
  EXPECT_EQ(s.Read(1, 100).first, Status::kEof);
}

TEST(StreamEndTest, I14WriterLearnsOfADeath) {
  TestStream s;
  s.CloseBell(1);
  EXPECT_EQ(s.Write(0, "abc").first, Status::kOk) << "a writer is told by its read";
  EXPECT_TRUE(s.state(0).hung_up);
  EXPECT_EQ(s.Read(0, 100).first, Status::kPeerDied);
}

// ---- stray records ----

TEST(StreamEndTest, StrayRecordEndsTheStream) {
  TestStream s;
  ASSERT_EQ(send(s.bell(0), "xy", 2, MSG_DONTWAIT), 2);
  const Status status = s.Read(1, 100).first;
  EXPECT_EQ(status, Status::kStrayIo);
  EXPECT_EQ(ToEndReason(status), EndReason::kStrayIo);
}

TEST(StreamEndTest, EveryStatusHasAnEndReason) {
  EXPECT_EQ(ToEndReason(Status::kReset), EndReason::kResetByPeer);
  EXPECT_EQ(ToEndReason(Status::kPeerDied), EndReason::kPeerDied);
  EXPECT_EQ(ToEndReason(Status::kBadHalf), EndReason::kBadHalf);
  EXPECT_EQ(ToEndReason(Status::kBadReplace), EndReason::kBadReplace);
  EXPECT_EQ(ToEndReason(Status::kNoMemory), EndReason::kNoMemory);
  EXPECT_EQ(ToEndReason(Status::kEof), EndReason::kClosed);
  EXPECT_EQ(ToEndReason(Status::kInternal), EndReason::kInternal);
}

}  // namespace
}  // namespace shimmy::test
