// A lock-based channel with real regions: a ring, and consumers at it.
#ifndef SHIMMY_TEST_LOCK_FIXTURE_H_
#define SHIMMY_TEST_LOCK_FIXTURE_H_

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "core_fixture.h"
#include "shimmy/lock_consumer.h"
#include "shimmy/lock_producer.h"

namespace shimmy::test {

using TestProducer = LockProducer<TestSys>;
using TestConsumer = LockConsumer<TestSys>;

inline ChannelShape ShapeOf(uint64_t blocks, uint64_t block_bytes, uint64_t generation = 1) {
  ChannelShape shape;
  shape.channel = 42;
  shape.generation = generation;
  shape.page_bytes = PageBytes();
  shape.blocks = blocks;
  shape.block_bytes = block_bytes;
  return shape;
}

inline RegionSpec SpecOf(const ChannelShape& shape, RegionKind kind) {
  RegionSpec spec{shape, kind, 0};
  if (kind == RegionKind::kProducer) spec.words_bytes = LockGeometry::Of(shape, 0).producer_bytes();
  if (kind == RegionKind::kConsumer) spec.words_bytes = sizeof(LockConsumerWords);
  return spec;
}

// A region made here or received, with its fd.
class OwnedRegion {
 public:
  OwnedRegion() = default;
  explicit OwnedRegion(const RegionSpec& spec) : spec_(spec) {
    fd_ = MakeRegion<TestSys>(spec, &map_);
    EXPECT_GE(fd_, 0);
  }
  // Maps read-only; takes the fd.
  OwnedRegion(const RegionSpec& spec, int fd) : spec_(spec), fd_(fd) {
    EXPECT_EQ(MapRegionAsReader<TestSys>(fd, spec, &map_), Status::kOk);
  }
  OwnedRegion(OwnedRegion&& other) noexcept { *this = std::move(other); }
  OwnedRegion& operator=(OwnedRegion&& other) noexcept {
    std::swap(spec_, other.spec_);
    std::swap(map_, other.map_);
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnedRegion() {
    UnmapRegion<TestSys>(&map_);
    if (fd_ >= 0) close(fd_);
  }
  // As somebody else has it.
  [[nodiscard]] OwnedRegion Received() const { return OwnedRegion(spec_, dup(fd_)); }
  [[nodiscard]] const RegionMap& map() const { return map_; }
  [[nodiscard]] int fd() const { return fd_; }
  template <class Words>
  [[nodiscard]] Words* words() const {
    return map_.words<Words>();
  }

 private:
  RegionSpec spec_;
  RegionMap map_;
  int fd_ = -1;
};

// What one producer made.
class LockRing {
 public:
  explicit LockRing(const ChannelShape& shape, uint32_t max_loans = 8)
      : shape(shape),
        data(SpecOf(shape, RegionKind::kData)),
        words_region(SpecOf(shape, RegionKind::kProducer)),
        words(words_region.words<LockProducerWords>()) {
    state.geometry = LockGeometry::Of(shape, max_loans);
    state.words = words;
    state.data = data.map().payload;
    TestProducer::Prepare(words);
  }
  Status Publish(const std::string& text) { return producer.Publish(text.data(), text.size()); }

  ChannelShape shape;
  OwnedRegion data, words_region;
  LockProducerWords* words;
  LockProducerState state;
  TestProducer producer{&state};
};

// A consumer with mappings of its own.
class LockReader {
 public:
  LockReader(const LockRing& ring, uint64_t number, const LockReader* previous = nullptr)
      : data(ring.data.Received()),
        producer_words(ring.words_region.Received()),
        words_region(SpecOf(ring.shape, RegionKind::kConsumer)),
        words(words_region.words<LockConsumerWords>()),
        number(number) {
    EXPECT_EQ(RawSys::SocketPair(bells), 0);
    state.geometry = ring.state.geometry;
    state.producer = producer_words.words<const LockProducerWords>();
    state.data = data.map().payload;
    state.words = words;
    consumer.Prepare(number, previous == nullptr ? nullptr : previous->words);
  }
  ~LockReader() {
    CloseBell(0);
    CloseBell(1);
  }
  LockReader(const LockReader&) = delete;
  LockReader& operator=(const LockReader&) = delete;

  // The agent introduces both sides.
  void Meet(LockRing* ring) {
    seen_by_producer = words_region.Received();
    ASSERT_EQ(ring->producer.AttachConsumer(seen_by_producer.words<const LockConsumerWords>(),
                                            number, bells[0]),
              Status::kOk);
    consumer.Attach(bells[1]);
  }
  // As after a death: what it knew is not used any more.
  void Die(LockRing* ring) {
    CloseBell(1);
    ring->producer.DetachConsumer();
  }
  void CloseBell(int side) {
    if (bells[side] >= 0) close(bells[side]);
    bells[side] = -1;
  }
  // The next message, or the status in words.
  std::string Take() {
    LockMessage message;
    const Status status = consumer.Take(buffer.data(), buffer.size(), &message);
    if (status != Status::kOk) return "status " + std::to_string(static_cast<int>(status));
    return {reinterpret_cast<const char*>(message.data), message.bytes};
  }
  std::string Loan(LockMessage* message) {
    const Status status = consumer.Loan(message);
    if (status != Status::kOk) return "status " + std::to_string(static_cast<int>(status));
    return {reinterpret_cast<const char*>(message->data), message->bytes};
  }
  [[nodiscard]] uint64_t consumed() const { return words->side.count.load(); }

  OwnedRegion data, producer_words, words_region, seen_by_producer;
  LockConsumerWords* words;
  uint64_t number;
  int bells[2];
  LockConsumerState state;
  TestConsumer consumer{&state};
  std::vector<unsigned char> buffer = std::vector<unsigned char>(1 << 20);
};

inline std::string Said(Status status) {
  return "status " + std::to_string(static_cast<int>(status));
}

inline uint64_t In(uint64_t ms) { return internal::MonotonicNanos<RawSys>() + ms * 1000000; }

}  // namespace shimmy::test

#endif  // SHIMMY_TEST_LOCK_FIXTURE_H_
