// The lock-based channel with a peer that stores what it likes: nobody follows a word of it out of
// the region, waits for ever, or believes it.
#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "lock_traffic.h"

namespace shimmy::test {
namespace {

constexpr auto kBroken = Status::kCursorOutOfRange;

// PEER: produced, fin, descriptors, consumer_start.
TEST(LockHostileTest, AConsumerRefusesEveryLieOfTheProducer) {
  const std::function<void(LockRing*)> lies[] = {
      [](LockRing* r) { r->words->side.count.store(3 + 17); },  // more than there are blocks
      [](LockRing* r) { r->words->side.count.store(2); },       // goes back
      [](LockRing* r) { r->words->side.count.store(kNever); },
      [](LockRing* r) { r->words->side.fin.store(9); },
      [](LockRing* r) { r->words->side.fin.store(1); },
      [](LockRing* r) { r->words->side.fin.store(kNever); },
      // A message of no blocks, of more than were published, of more than it has blocks for.
      [](LockRing* r) { DescriptorsOf(r->words)[3].store(0), r->words->side.count.store(4); },
      [](LockRing* r) {
        DescriptorsOf(r->words)[3].store(DescriptorOf(2, 1)), r->words->side.count.store(4);
      },
      [](LockRing* r) {
        DescriptorsOf(r->words)[3].store(DescriptorOf(1, 257)), r->words->side.count.store(4);
      },
      [](LockRing* r) { DescriptorsOf(r->words)[3].store(kNever), r->words->side.count.store(4); },
      [](LockRing* r) {
        DescriptorsOf(r->words)[3].store(DescriptorOf(kNever >> 32, kSkipBytes)),
            r->words->side.count.store(4);
      }};
  int number = 0;
  for (const auto& lie : lies) {
    LockRing ring(ShapeOf(16, 256));
    LockReader reader(ring, 1);
    reader.Meet(&ring);
    for (int i = 0; i < 3; i++) ASSERT_EQ(ring.Publish("x"), Status::kOk);
    for (int i = 0; i < 3; i++) ASSERT_EQ(reader.Take(), "x");
    lie(&ring);
    EXPECT_EQ(reader.consumer.WaitForMessage({}), Status::kOk) << number;  // does not sleep
    EXPECT_EQ(reader.Take(), Said(kBroken)) << number;
    // And stays broken, whatever is there then.
    ring.words->side.count.store(3);
    ring.words->side.fin.store(0);
    LockMessage message;
    EXPECT_EQ(reader.Loan(&message), Said(kBroken)) << number;
    EXPECT_FALSE(reader.consumer.ArmBell()) << number++;
  }
}

TEST(LockHostileTest, AConsumerRefusesAPlaceToBeginThatCannotBe) {
  for (const uint64_t start : {uint64_t{4}, kNever, kNever - 20}) {
    LockRing ring(ShapeOf(16, 256));
    for (int i = 0; i < 3; i++) ASSERT_EQ(ring.Publish("x"), Status::kOk);
    LockReader reader(ring, 1);
    reader.consumer.Attach(reader.bells[1]);
    ring.words->consumer_start.store(start);
    ring.words->consumer_number.store(1);
    EXPECT_EQ(reader.Take(), Said(kBroken));
    EXPECT_EQ(reader.consumer.WaitForMessage({}), Status::kOk);
  }
}

// PEER: consumed, number.
TEST(LockHostileTest, AProducerEndsTheLinkOfAConsumerThatLiesAndGoesOn) {
  for (const uint64_t lie : {uint64_t{0}, uint64_t{1}, uint64_t{17}, uint64_t{9999}, kNever}) {
    LockRing ring(ShapeOf(16, 256));
    LockReader liar(ring, 1);
    liar.Meet(&ring);
    for (int i = 0; i < 16; i++) ASSERT_EQ(ring.Publish(std::to_string(i)), Status::kOk);
    ASSERT_EQ(liar.Take(), "0");
    ASSERT_EQ(liar.Take(), "1");
    ASSERT_EQ(ring.Publish("16"), Status::kOk);  // has seen 2
    ASSERT_EQ(ring.Publish("17"), Status::kOk);
    liar.words->side.count.store(lie);
    if (lie == 17) ring.state.produced.position = 16;  // one beyond what there is
    const Status status = ring.Publish("no");
    if (lie == 17) ring.state.produced.position = 18;
    EXPECT_EQ(status, kBroken) << lie;
    EXPECT_EQ(ring.producer.WaitForRoom(1, {}), Status::kOk);  // does not sleep: try, and be told
    liar.words->side.count.store(5);
    EXPECT_EQ(ring.Publish("no"), kBroken);  // until it is taken away
    liar.Die(&ring);
    LockReader honest(ring, 2);
    honest.Meet(&ring);
    for (int i = 2; i < 18; i++) EXPECT_EQ(honest.Take(), std::to_string(i));  // C15
    EXPECT_EQ(ring.Publish("goes on"), Status::kOk);
    EXPECT_EQ(honest.Take(), "goes on");
  }
}

// PEER: what the consumer before left.
TEST(LockHostileTest, LiesOfTheConsumerBeforeAreNotFollowed) {
  for (const uint64_t lie : {uint64_t{17}, uint64_t{4711}, kNever}) {
    LockRing ring(ShapeOf(16, 256));
    LockReader one(ring, 1);
    one.Meet(&ring);
    for (int i = 0; i < 6; i++) ASSERT_EQ(ring.Publish(std::to_string(i)), Status::kOk);
    for (int i = 0; i < 2; i++) ASSERT_EQ(one.Take(), std::to_string(i));
    one.Die(&ring);
    LockReader two(ring, 2);
    two.Meet(&ring);
    two.words->side.count.store(lie);
    LockReader three(ring, 3, &two);
    three.consumer.Attach(-1);  // the producer is gone too
    for (int i = 2; i < 6; i++) EXPECT_EQ(three.Take(), std::to_string(i));
    EXPECT_EQ(three.Take(), Said(Status::kPeerDied));
  }
}

// Stores random numbers, most of them near what would be right, in words until it is stopped.
class Mutator {
 public:
  explicit Mutator(std::function<void(std::mt19937_64*)> turn)
      : thread_([this, turn = std::move(turn)] {
          std::mt19937_64 random(7);
          while (!stop_.load(std::memory_order_relaxed)) turn(&random);  // relaxed: a test's
        }) {}
  ~Mutator() {
    stop_ = true;
    thread_.join();
  }
  Mutator(const Mutator&) = delete;
  Mutator& operator=(const Mutator&) = delete;

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

uint64_t SomeNumber(std::mt19937_64* random) {
  const uint64_t number = (*random)();
  switch (number % 4) {
    case 0: return number;
    case 1: return kNever - number / 4 % 3;
    default: return number / 4 % 40;
  }
}

void Mutate(SideWords* words, std::mt19937_64* random) {
  // relaxed: a test's.
  switch ((*random)() % 5) {
    case 0: return words->count.store(SomeNumber(random), std::memory_order_relaxed);
    case 1: return words->fin.store(SomeNumber(random), std::memory_order_relaxed);
    case 2: return words->futex_at.store(SomeNumber(random), std::memory_order_relaxed);
    case 3: return words->bell_at.store(SomeNumber(random), std::memory_order_relaxed);
    default:
      return words->wakes.store(static_cast<uint32_t>((*random)()), std::memory_order_relaxed);
  }
}

// What a consumer is given lies in the region, whatever the producer stores meanwhile.
void ReadUntilBroken(LockReader* reader, std::mt19937_64* random) {
  const LockGeometry geometry = reader->state.geometry;
  for (int i = 0; i < 200 && reader->state.broken == Status::kOk; i++) {
    LockMessage message;
    const bool is_loan = (*random)() % 2 == 0;
    const WaitOptions soon{internal::MonotonicNanos<RawSys>() + 20000, 0, i % 4 < 2};
    const Status status = is_loan ? reader->consumer.Loan(&message)
                                  : reader->consumer.Take(reader->buffer.data(),
                                                          reader->buffer.size(), &message, soon);
    if (status == Status::kNotNow) reader->consumer.Release(reader->state.first);
    if (status != Status::kOk) continue;
    ASSERT_LE(message.bytes, geometry.max_bytes());
    if (!is_loan) continue;
    const auto at = static_cast<uint64_t>(message.data - reader->state.data);
    ASSERT_LE(at, (geometry.blocks - 1) * geometry.block_bytes);
    volatile unsigned char last = message.data[message.bytes];
    (void)last;
  }
}

TEST(LockHostileTest, EveryWordOfTheProducerMayChangeAtAnyTime) {
  LockRing ring(ShapeOf(16, 256));
  int broken = 0;
  std::mt19937_64 random(3);
  LockProducerWords* const words = ring.words;
  Mutator mutator([words](std::mt19937_64* r) {
    Mutate(&words->side, r);
    const uint64_t number = (*r)();
    // relaxed: a test's.
    DescriptorsOf(words)[number % 16].store(
        number % 3 == 0 ? number : DescriptorOf(number / 3 % 4, number / 16 % 1100),
        std::memory_order_relaxed);
    words->consumer_start.store(SomeNumber(r), std::memory_order_relaxed);
    words->consumer_number.store(number % 8, std::memory_order_relaxed);
  });
  for (uint64_t turn = 0; turn < Scaled(1000); turn++) {
    LockReader reader(ring, 1 + turn % 7);
    reader.consumer.Attach(turn % 16 == 0 ? -1 : reader.bells[1]);
    ReadUntilBroken(&reader, &random);
    broken += reader.state.broken == kBroken ? 1 : 0;
  }
  EXPECT_GT(broken, 0);
}

TEST(LockHostileTest, EveryWordOfTheConsumerMayChangeAtAnyTime) {
  LockRing ring(ShapeOf(16, 256));
  const RegionMap& data = ring.data.map();
  std::mt19937_64 random(5);
  int broken = 0;
  uint64_t published = 0;
  for (uint64_t turn = 1; turn < Scaled(300); turn++) {
    LockReader liar(ring, turn);
    liar.Meet(&ring);
    LockConsumerWords* const words = liar.words;
    Mutator mutator([words, turn](std::mt19937_64* r) {
      Mutate(&words->side, r);
      words->number.store((*r)() % 3 == 0 ? turn : (*r)(), std::memory_order_relaxed);  // a test's
    });
    for (int i = 0; i < 200 && !ring.state.is_consumer_broken; i++) {
      LockReservation room;
      const uint64_t bytes = random() % 1500;
      const WaitOptions soon{internal::MonotonicNanos<RawSys>() + 20000, 0, i % 4 < 2};
      if (ring.producer.Reserve(bytes, &room) == Status::kWouldBlock) {
        (void)ring.producer.WaitForRoom(bytes, soon);
        continue;
      }
      if (room.data == nullptr) continue;
      ASSERT_LT(static_cast<uint64_t>(room.data - data.payload), 16U * 256);
      std::memset(room.data, 1, bytes);
      ASSERT_EQ(ring.producer.Commit(room.id, bytes), Status::kOk);
      published++;
      ASSERT_LE(ring.state.produced.position - ring.state.consumed, 16U);
    }
    broken += ring.state.is_consumer_broken ? 1 : 0;
    liar.Die(&ring);
  }
  EXPECT_GT(broken, 0);
  EXPECT_GT(published, 0U);
}

// D1: what is no bell ends the link.
TEST(LockHostileTest, RefusesWhatIsNoBell) {
  LockRing ring(ShapeOf(16, 256));
  LockReader reader(ring, 1);
  reader.Meet(&ring);
  ASSERT_EQ(reader.consumer.EatBells(), Status::kOk);
  ASSERT_EQ(send(reader.bells[0], "123", 3, 0), 3);
  ASSERT_EQ(send(reader.bells[1], "123", 3, 0), 3);
  EXPECT_EQ(reader.consumer.EatBells(), Status::kStrayIo);
  EXPECT_EQ(ring.producer.EatBells(), Status::kStrayIo);
}

}  // namespace
}  // namespace shimmy::test
