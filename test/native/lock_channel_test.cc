// The lock-based channel: what it delivers, when it waits, and what comes again after a death.
#include <poll.h>

#include <chrono>
#include <memory>
#include <thread>

#include "lock_fixture.h"
#include "lock_traffic.h"
#include "process_counts.h"

namespace shimmy::test {
namespace {

const std::string kEmpty = Said(Status::kWouldBlock);

TEST(LockChannelTest, C9DeliversMessagesOfAllSizesInOrder) {
  LockRing ring(ShapeOf(16, 256));
  LockReader reader(ring, 1);
  reader.Meet(&ring);
  EXPECT_EQ(reader.Take(), kEmpty);
  for (uint64_t bytes = 0; bytes <= ring.state.geometry.max_bytes(); bytes += 61) {
    ASSERT_EQ(ring.Publish(Pattern(bytes, bytes)), Status::kOk) << bytes;
    ASSERT_EQ(reader.Take(), Pattern(bytes, bytes));
  }
  EXPECT_EQ(reader.consumed(), ring.state.produced.position);
  EXPECT_EQ(reader.Take(), kEmpty);
}

TEST(LockChannelTest, C8IsFullWhenBlocksAreUsedUpAndNotBefore) {
  LockRing ring(ShapeOf(16, 256));
  LockReader reader(ring, 1);
  reader.Meet(&ring);
  for (int turn = 0; turn < 5; turn++) {
    for (int i = 0; i < 16; i++) ASSERT_EQ(ring.Publish(std::to_string(i)), Status::kOk);
    ASSERT_EQ(ring.Publish("no"), Status::kWouldBlock);
    ASSERT_EQ(reader.Take(), "0");
    ASSERT_EQ(ring.Publish(std::string(257, 'x')), Status::kWouldBlock);
    ASSERT_EQ(reader.Take(), "1");
    ASSERT_EQ(ring.Publish(std::string(257, 'x')), Status::kOk);
    for (int i = 2; i < 16; i++) ASSERT_EQ(reader.Take(), std::to_string(i));
    ASSERT_EQ(reader.Take(), std::string(257, 'x'));
  }
}

TEST(LockChannelTest, RefusesWhatIsLargerThanTheRegionAndKeepsWhatIsLargerThanTheBuffer) {
  LockRing ring(ShapeOf(16, 256));
  LockReader reader(ring, 1);
  reader.Meet(&ring);
  const std::string most(16 * 256, 'm');
  EXPECT_EQ(ring.Publish(most + "x"), Status::kTooLarge);
  LockReservation room;
  EXPECT_EQ(ring.producer.Reserve(most.size() + 1, &room), Status::kTooLarge);
  EXPECT_EQ(ring.producer.Reserve(~uint64_t{0}, &room), Status::kTooLarge);
  EXPECT_EQ(ring.producer.WaitForRoom(most.size() + 1, {}), Status::kTooLarge);
  ASSERT_EQ(ring.Publish(most), Status::kOk);
  LockMessage message;
  unsigned char small[100];
  EXPECT_EQ(reader.consumer.Take(small, sizeof small, &message), Status::kTooLarge);
  EXPECT_EQ(message.bytes, most.size());
  EXPECT_EQ(reader.Take(), most);
}

// ---- reservations ----

TEST(LockChannelTest, C14CommitsInOrderOfReservationAndGivesBackWhatIsNotNeeded) {
  LockRing ring(ShapeOf(16, 256), 3);
  LockReader reader(ring, 1);
  reader.Meet(&ring);
  LockReservation a, b, c, d;
  ASSERT_EQ(ring.producer.Reserve(512, &a), Status::kOk);
  ASSERT_EQ(ring.producer.Reserve(512, &b), Status::kOk);
  ASSERT_EQ(ring.producer.Reserve(512, &c), Status::kOk);
  EXPECT_EQ(ring.producer.Reserve(1, &d), Status::kNotNow);  // three are enough
  EXPECT_EQ(ring.Publish("out of turn"), Status::kNotNow);
  EXPECT_EQ(ring.producer.Commit(b.id, 1), Status::kNotNow);
  EXPECT_EQ(ring.producer.Commit(a.id, 513), Status::kNotNow);
  EXPECT_EQ(ring.producer.Commit(a.id + 3, 1), Status::kNotNow);
  std::memcpy(c.data, "cc", 2);
  std::memcpy(a.data, "a", 1);
  std::memcpy(b.data, "bbb", 3);
  EXPECT_EQ(reader.Take(), kEmpty);
  ASSERT_EQ(ring.producer.Commit(a.id, 1), Status::kOk);  // keeps both blocks: b lies behind
  EXPECT_EQ(ring.producer.Commit(a.id, 1), Status::kNotNow);
  EXPECT_EQ(reader.Take(), "a");
  ASSERT_EQ(ring.producer.Commit(b.id, 3), Status::kOk);
  ASSERT_EQ(ring.producer.Commit(c.id, 2), Status::kOk);  // gives one block back
  EXPECT_EQ(reader.Take(), "bbb");
  EXPECT_EQ(reader.Take(), "cc");
  EXPECT_EQ(ring.state.produced.position, 5U);
  EXPECT_EQ(reader.consumed(), 5U);
}

// Four reservations, of which those in `kept` (bits) are committed and the others cancelled: before
// all commits, or each in its turn.
std::string CommitSome(LockRing* ring, unsigned kept, bool early) {
  LockReservation rooms[4];
  std::string expected;
  for (auto& room : rooms) EXPECT_EQ(ring->producer.Reserve(300, &room), Status::kOk);
  for (unsigned i = 0; early && i < 4; i++) {
    if ((kept >> i & 1) == 0) ring->producer.Cancel(rooms[i].id);
  }
  for (unsigned i = 0; i < 4; i++) {
    if ((kept >> i & 1) == 0) {
      ring->producer.Cancel(rooms[i].id);  // twice is harmless
      continue;
    }
    std::memset(rooms[i].data, static_cast<int>('a' + i), 300);
    EXPECT_EQ(ring->producer.Commit(rooms[i].id, 300), Status::kOk);
    expected += static_cast<char>('a' + i);
  }
  return expected;
}

TEST(LockChannelTest, C14WhatIsCancelledIsSteppedOver) {
  for (unsigned turn = 0; turn < 32; turn++) {
    LockRing ring(ShapeOf(16, 256), 4);
    LockReader reader(ring, 1);
    reader.Meet(&ring);
    for (int i = 0; i < 11; i++) ASSERT_EQ(ring.Publish("x"), Status::kOk);  // some of them wrap
    for (int i = 0; i < 11; i++) ASSERT_EQ(reader.Take(), "x");
    const std::string expected = CommitSome(&ring, turn / 2, turn % 2 == 0);
    for (const char c : expected) ASSERT_EQ(reader.Take(), std::string(300, c));
    ASSERT_EQ(reader.Take(), kEmpty) << turn;
    ASSERT_EQ(reader.consumed(), ring.state.produced.position);
    ASSERT_EQ(ring.state.reserved.position, ring.state.produced.position);
    ASSERT_EQ(ring.Publish(std::string(4096, 'z')), Status::kOk);  // no block is lost
    ASSERT_EQ(reader.Take(), std::string(4096, 'z'));
  }
}

TEST(LockChannelTest, WithoutLoansBothSidesCopy) {
  LockRing ring(ShapeOf(16, 256), 0);
  LockReader reader(ring, 1);
  reader.Meet(&ring);
  LockReservation room;
  LockMessage message;
  EXPECT_EQ(ring.producer.Reserve(1, &room), Status::kNotNow);
  ASSERT_EQ(ring.Publish("copied"), Status::kOk);
  EXPECT_EQ(reader.Loan(&message), Said(Status::kNotNow));
  EXPECT_EQ(reader.Take(), "copied");
}

// ---- loans ----

TEST(LockChannelTest, C17ReleasesInAnyOrderAndCopiesBeyondMaxLoans) {
  LockRing ring(ShapeOf(16, 256), 3);
  LockReader reader(ring, 1);
  reader.Meet(&ring);
  for (int i = 0; i < 6; i++) ASSERT_EQ(ring.Publish(std::to_string(i)), Status::kOk);
  LockMessage loans[3];
  for (int i = 0; i < 3; i++) EXPECT_EQ(reader.Loan(&loans[i]), std::to_string(i));
  LockMessage more;
  EXPECT_EQ(reader.Loan(&more), Said(Status::kNotNow));
  EXPECT_EQ(reader.Take(), "3");
  EXPECT_EQ(reader.consumed(), 0U);
  reader.consumer.Release(loans[1].loan);
  EXPECT_EQ(reader.consumed(), 0U);
  EXPECT_EQ(reader.Loan(&more), Said(Status::kNotNow));  // the places are a queue
  reader.consumer.Release(loans[0].loan);
  EXPECT_EQ(reader.consumed(), 2U);
  reader.consumer.Release(loans[0].loan);
  reader.consumer.Release(99);
  EXPECT_EQ(reader.consumed(), 2U);
  EXPECT_EQ(reader.Loan(&more), "4");
  reader.consumer.Release(loans[2].loan);
  EXPECT_EQ(reader.consumed(), 4U);  // 3 was copied
  reader.consumer.Release(more.loan);
  EXPECT_EQ(reader.consumed(), 5U);
}

TEST(LockChannelTest, ALoanIsNotOverwrittenAndWrapsInOnePiece) {
  LockRing ring(ShapeOf(16, 256));
  LockReader reader(ring, 1);
  reader.Meet(&ring);
  for (int i = 0; i < 14; i++) ASSERT_EQ(ring.Publish("x"), Status::kOk);
  for (int i = 0; i < 14; i++) ASSERT_EQ(reader.Take(), "x");
  const std::string text = Pattern(7, 1000);  // four blocks from block 14
  ASSERT_EQ(ring.Publish(text), Status::kOk);
  LockMessage loan;
  ASSERT_EQ(reader.Loan(&loan), text);
  for (int i = 0; i < 12; i++) ASSERT_EQ(ring.Publish("y"), Status::kOk);
  ASSERT_EQ(ring.Publish("y"), Status::kWouldBlock);
  EXPECT_EQ(std::memcmp(loan.data, text.data(), text.size()), 0);
  reader.consumer.Release(loan.loan);
  EXPECT_EQ(ring.Publish("y"), Status::kOk);
}

// ---- ends and deaths ----

TEST(LockChannelTest, FinComesAfterTheLastMessage) {
  LockRing ring(ShapeOf(16, 256));
  LockReader reader(ring, 1);
  reader.Meet(&ring);
  ASSERT_EQ(ring.Publish("last"), Status::kOk);
  LockReservation room;
  ASSERT_EQ(ring.producer.Reserve(1, &room), Status::kOk);
  ring.producer.Fin();
  ring.producer.Fin();
  EXPECT_EQ(ring.producer.Commit(room.id, 1), Status::kEnded);
  EXPECT_EQ(ring.Publish("no"), Status::kEnded);
  EXPECT_EQ(reader.Take(), "last");
  EXPECT_EQ(reader.Take(), Said(Status::kEof));
  reader.consumer.TellDead();
  EXPECT_EQ(reader.Take(), Said(Status::kEof));
}

TEST(LockChannelTest, C13ADeadProducersMessagesAreReadButNotWhatItWasWriting) {
  LockRing ring(ShapeOf(16, 256));
  LockReader reader(ring, 1);
  reader.Meet(&ring);
  EXPECT_EQ(reader.Take(), kEmpty);
  ASSERT_EQ(ring.Publish("whole"), Status::kOk);
  LockReservation room;
  ASSERT_EQ(ring.producer.Reserve(700, &room), Status::kOk);
  std::memset(room.data, 'h', 350);  // dies in mid-write
  reader.consumer.TellDead();
  EXPECT_EQ(reader.Take(), "whole");
  EXPECT_EQ(reader.Take(), Said(Status::kPeerDied));
  // The next ring begins anew, and is told from the old one.
  LockRing next(ShapeOf(16, 256, 2));
  LockReader again(next, 2);
  again.Meet(&next);
  ASSERT_EQ(next.Publish("next"), Status::kOk);
  EXPECT_EQ(again.Take(), "next");
  RegionMap map;
  EXPECT_EQ(MapRegionAsReader<TestSys>(ring.data.fd(), SpecOf(next.shape, RegionKind::kData), &map),
            Status::kBadHalf);
}

TEST(LockChannelTest, C10ASuccessorBeginsWhereTheProducerSays) {
  LockRing ring(ShapeOf(16, 256));
  LockReader one(ring, 5);
  one.Meet(&ring);
  for (int i = 0; i < 6; i++) ASSERT_EQ(ring.Publish(std::to_string(i)), Status::kOk);
  EXPECT_EQ(one.Take(), "0");
  LockMessage lost, released;
  ASSERT_EQ(one.Loan(&released), "1");
  one.consumer.Release(released.loan);
  ASSERT_EQ(one.Loan(&lost), "2");
  ASSERT_EQ(one.Loan(&released), "3");
  one.consumer.Release(released.loan);
  EXPECT_EQ(one.Take(), "4");
  LockReader two(ring, 6, &one);
  EXPECT_EQ(ring.producer.AttachConsumer(two.words, 6, -1), Status::kNotNow);
  EXPECT_EQ(two.Take(), kEmpty);  // nobody has told it where
  one.Die(&ring);
  EXPECT_EQ(ring.producer.AttachConsumer(two.words, 5, -1), Status::kNotNow);  // an old number
  EXPECT_EQ(two.Take(), kEmpty);
  two.Meet(&ring);
  // C16: what was lent and not released, and all behind it.
  for (int i = 2; i < 6; i++) EXPECT_EQ(two.Take(), std::to_string(i));
  EXPECT_EQ(two.Take(), kEmpty);
}

TEST(LockChannelTest, C11WordsOfWhoHasNotBegunSayNothing) {
  LockRing ring(ShapeOf(16, 256));
  LockReader one(ring, 1);
  one.Meet(&ring);
  for (int i = 0; i < 16; i++) ASSERT_EQ(ring.Publish(std::to_string(i)), Status::kOk);
  for (int i = 0; i < 10; i++) ASSERT_EQ(one.Take(), std::to_string(i));
  one.Die(&ring);
  LockReader two(ring, 2);  // not given the region of the one before: `consumed` is 0 in its own
  two.Meet(&ring);
  ASSERT_EQ(ring.Publish("16"), Status::kOk);
  EXPECT_EQ(ring.producer.WaitForRoom(4096, {In(1), 0, false}), Status::kWouldBlock);
  two.Die(&ring);
  LockReader three(ring, 3, &two);
  three.Meet(&ring);
  for (int i = 10; i <= 16; i++) EXPECT_EQ(three.Take(), std::to_string(i));
}

TEST(LockChannelTest, C12ConsumersThatComeAfterTheProducerGoOnWhereTheLastOneWas) {
  LockRing ring(ShapeOf(16, 256));
  auto one = std::make_unique<LockReader>(ring, 1);
  one->Meet(&ring);
  for (int i = 0; i < 12; i++) ASSERT_EQ(ring.Publish(std::to_string(i)), Status::kOk);
  for (int i = 0; i < 3; i++) ASSERT_EQ(one->Take(), std::to_string(i));
  one->Die(&ring);
  for (int i = 12; i < 15; i++) ASSERT_EQ(ring.Publish(std::to_string(i)), Status::kOk);
  // The producer is not used from here on.
  auto two = std::make_unique<LockReader>(ring, 2, one.get());  // dies before it has begun
  LockReader three(ring, 3, two.get());
  three.consumer.Attach(-1);
  for (int i = 3; i < 6; i++) ASSERT_EQ(three.Take(), std::to_string(i));
  LockReader four(ring, 4, &three);
  four.consumer.Attach(-1);
  for (int i = 6; i < 15; i++) ASSERT_EQ(four.Take(), std::to_string(i));
  EXPECT_EQ(four.Take(), Said(Status::kPeerDied));
  LockReader five(ring, 5, &four);
  five.consumer.Attach(-1);
  EXPECT_EQ(five.Take(), Said(Status::kPeerDied));
}

TEST(LockChannelTest, C12TheFirstConsumerComesAfterTheProducerDied) {
  LockRing ring(ShapeOf(16, 256));
  for (int i = 0; i < 16; i++) ASSERT_EQ(ring.Publish(std::to_string(i)), Status::kOk);
  LockReader reader(ring, 1);
  reader.consumer.Attach(-1);
  for (int i = 0; i < 16; i++) ASSERT_EQ(reader.Take(), std::to_string(i));
  EXPECT_EQ(reader.Take(), Said(Status::kPeerDied));
}

TEST(LockChannelTest, C10TheProducerDiesBetweenTwoConsumers) {
  for (const bool admitted : {false, true}) {
    LockRing ring(ShapeOf(16, 256));
    LockReader one(ring, 1);
    one.Meet(&ring);
    for (int i = 0; i < 9; i++) ASSERT_EQ(ring.Publish(std::to_string(i)), Status::kOk);
    for (int i = 0; i < 4; i++) ASSERT_EQ(one.Take(), std::to_string(i));
    one.Die(&ring);
    LockReader two(ring, 2, &one);
    if (admitted) two.Meet(&ring);
    two.consumer.TellDead();
    for (int i = 4; i < 9; i++) EXPECT_EQ(two.Take(), std::to_string(i));
    EXPECT_EQ(two.Take(), Said(Status::kPeerDied));
  }
}

// ---- waiting ----

class LockChannelWaitTest : public testing::TestWithParam<WaitOptions> {};
INSTANTIATE_TEST_SUITE_P(Modes, LockChannelWaitTest,
                         testing::Values(WaitOptions{kNever, 0, false},
                                         WaitOptions{kNever, 0, true},
                                         WaitOptions{kNever, 300, false},
                                         WaitOptions{kNever, 300, true}));

// C4, C5, C6
TEST_P(LockChannelWaitTest, TwoThreadsLoseNothingInOrder) {
  LockRing ring(ShapeOf(16, 256), 4);
  LockReader reader(ring, 1);
  reader.Meet(&ring);
  const uint64_t messages = Scaled(20000);
  std::thread producer([&] { PublishAll(&ring, messages, GetParam()); });
  EXPECT_EQ(ReadAll(&reader, GetParam()), messages);
  producer.join();
}

TEST_P(LockChannelWaitTest, FinWakesWhoWaits) {
  for (int i = 0; i < 300; i++) {
    LockRing ring(ShapeOf(16, 256));
    LockReader reader(ring, 1);
    reader.Meet(&ring);
    std::thread waiter([&] {
      LockMessage message;
      EXPECT_EQ(reader.consumer.Take(nullptr, 0, &message, GetParam()), Status::kEof);
    });
    if (i % 2 == 0) std::this_thread::yield();
    ring.producer.Fin();
    waiter.join();
  }
}

TEST_P(LockChannelWaitTest, BeingToldWhereToBeginWakesWhoWaits) {
  for (int i = 0; i < 300; i++) {
    LockRing ring(ShapeOf(16, 256));
    ASSERT_EQ(ring.Publish("there"), Status::kOk);
    LockReader reader(ring, 1);
    reader.consumer.Attach(reader.bells[1]);
    std::thread waiter([&] {
      LockMessage message;
      EXPECT_EQ(
          reader.consumer.Take(reader.buffer.data(), reader.buffer.size(), &message, GetParam()),
          Status::kOk);
    });
    if (i % 2 == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
    ASSERT_EQ(ring.producer.AttachConsumer(reader.words, 1, reader.bells[0]), Status::kOk);
    waiter.join();
  }
}

TEST_P(LockChannelWaitTest, C7DeathWakesWhoWaits) {
  for (int i = 0; i < 100; i++) {
    LockRing ring(ShapeOf(16, 256));
    LockReader reader(ring, 1);
    const bool admitted = i % 2 == 0;
    if (admitted) reader.Meet(&ring);
    reader.consumer.Attach(reader.bells[1]);
    std::thread waiter([&] {
      LockMessage message;
      EXPECT_EQ(reader.consumer.Take(nullptr, 0, &message, GetParam()), Status::kPeerDied);
    });
    reader.CloseBell(0);
    if (!GetParam().by_bell) Notify<TestSys>(&reader.state.waiter, ChannelWaiter::kDead);
    waiter.join();
    ring.producer.DetachConsumer();
  }
  LockRing ring(ShapeOf(16, 256));
  LockReader reader(ring, 1);
  reader.Meet(&ring);
  ASSERT_EQ(ring.Publish(std::string(4096, 'x')), Status::kOk);
  std::thread waiter(
      [&] { EXPECT_EQ(ring.producer.WaitForRoom(1, GetParam()), Status::kPeerDied); });
  reader.CloseBell(1);
  if (!GetParam().by_bell) Notify<TestSys>(&ring.state.waiter, ChannelWaiter::kDead);
  waiter.join();
  ring.producer.DetachConsumer();
  EXPECT_EQ(ring.Publish("no"), Status::kWouldBlock);
  // Without a consumer it waits for whoever attaches one.
  EXPECT_EQ(ring.producer.WaitForRoom(1, {In(5), 0, false}), Status::kWouldBlock);
  std::thread alone(
      [&] { EXPECT_EQ(ring.producer.WaitForRoom(1, GetParam()), Status::kInterrupted); });
  Notify<TestSys>(&ring.state.waiter, ChannelWaiter::kInterrupted);
  alone.join();
}

TEST_P(LockChannelWaitTest, WaitsForRoomAndUntilDrainedAndNoLongerThanAsked) {
  LockRing ring(ShapeOf(16, 256));
  LockReader reader(ring, 1);
  reader.Meet(&ring);
  WaitOptions soon = GetParam();
  soon.deadline = In(20);
  LockMessage message;
  EXPECT_EQ(reader.consumer.Take(nullptr, 0, &message, soon), Status::kWouldBlock);
  EXPECT_EQ(ring.producer.WaitUntilDrained(soon), Status::kOk);
  for (int i = 0; i < 16; i++) ASSERT_EQ(ring.Publish("x"), Status::kOk);
  soon.deadline = In(20);
  EXPECT_EQ(ring.producer.Publish("y", 1, soon), Status::kWouldBlock);
  std::thread waiter([&] {
    EXPECT_EQ(ring.producer.WaitForRoom(600, GetParam()), Status::kOk);
    EXPECT_GE(reader.consumed(), 3U);
    EXPECT_EQ(ring.producer.WaitUntilDrained(GetParam()), Status::kOk);
    EXPECT_EQ(reader.consumed(), 16U);
  });
  for (int i = 0; i < 16; i++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_EQ(reader.Take(), "x");
  }
  waiter.join();
}

// For event loops.
TEST(LockChannelTest, BellsComeOnceForEachArming) {
  LockRing ring(ShapeOf(16, 256));
  LockReader reader(ring, 1);
  reader.Meet(&ring);
  const auto rings = [](int fd) { return (RawSys::Poll(fd, POLLIN, 0) & POLLIN) != 0; };
  ASSERT_EQ(reader.consumer.EatBells(), Status::kOk);
  EXPECT_TRUE(reader.consumer.ArmBell());
  EXPECT_FALSE(rings(reader.bells[1]));
  ASSERT_EQ(ring.Publish("x"), Status::kOk);
  ASSERT_EQ(ring.Publish("y"), Status::kOk);
  EXPECT_EQ(RawSys::QueuedIn(reader.bells[1]), 1);
  ASSERT_EQ(reader.consumer.EatBells(), Status::kOk);
  EXPECT_FALSE(reader.consumer.ArmBell());  // there is something
  reader.consumer.DisarmBell();
  for (int i = 0; i < 14; i++) ASSERT_EQ(ring.Publish("z"), Status::kOk);
  EXPECT_FALSE(rings(reader.bells[1]));
  EXPECT_TRUE(ring.producer.ArmBell(512));
  EXPECT_EQ(reader.Take(), "x");
  EXPECT_FALSE(rings(reader.bells[0]));
  EXPECT_EQ(reader.Take(), "y");
  EXPECT_TRUE(rings(reader.bells[0]));
  EXPECT_EQ(ring.producer.EatBells(), Status::kOk);
  EXPECT_FALSE(ring.producer.ArmBell(512));
  ring.producer.DisarmBell();
  reader.CloseBell(1);
  EXPECT_EQ(ring.producer.EatBells(), Status::kPeerDied);
}

TEST(LockChannelTest, LeavesNothingBehind) {
  size_t fds = 0;
  size_t mappings = 0;
  for (int i = 0; i < 20; i++) {
    if (i == 2) fds = CountFds(), mappings = CountHalfMappings();
    LockRing ring(ShapeOf(16, 256));
    LockReader one(ring, 1);
    one.Meet(&ring);
    ASSERT_EQ(ring.Publish("x"), Status::kOk);
    one.Die(&ring);
    LockReader two(ring, 2, &one);
    two.Meet(&ring);
    EXPECT_EQ(two.Take(), "x");
  }
  EXPECT_EQ(CountFds(), fds);
  EXPECT_EQ(CountHalfMappings(), mappings);
}

}  // namespace
}  // namespace shimmy::test
