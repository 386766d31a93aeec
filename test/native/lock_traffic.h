// Traffic through a lock-based channel whose every message says its number and is checked whole.
#ifndef SHIMMY_TEST_LOCK_TRAFFIC_H_
#define SHIMMY_TEST_LOCK_TRAFFIC_H_

#include <cstdlib>
#include <deque>
#include <random>
#include <string>
#include <utility>

#include "lock_fixture.h"

namespace shimmy::test {

inline constexpr uint64_t kMostBytes = 1500;

// SHIMMY_TEST_SCALE times as many.
inline uint64_t Scaled(uint64_t usual) {
  const char* const scale = std::getenv("SHIMMY_TEST_SCALE");
  return scale == nullptr
             ? usual
             : static_cast<uint64_t>(static_cast<double>(usual) * std::strtod(scale, nullptr));
}

// All bytes follow from the number.
inline std::string Numbered(uint64_t number) {
  return Pattern(number * 7, 8 + number * 7919 % kMostBytes);
}

inline std::string TextOf(const LockMessage& message) {
  return {reinterpret_cast<const char*>(message.data), message.bytes};
}

inline void PublishInPlace(LockRing* ring, uint64_t number, const WaitOptions& options) {
  const std::string text = Numbered(number);
  LockReservation room;
  Status status = ring->producer.Reserve(text.size(), &room);
  while (status == Status::kWouldBlock) {
    ASSERT_EQ(ring->producer.WaitForRoom(text.size(), options), Status::kOk);
    status = ring->producer.Reserve(text.size(), &room);
  }
  ASSERT_EQ(status, Status::kOk);
  std::memcpy(room.data, text.data(), text.size());
  if (number % 2 == 0) {
    LockReservation unused;
    if (ring->producer.Reserve(1, &unused) == Status::kOk) ring->producer.Cancel(unused.id);
  }
  ASSERT_EQ(ring->producer.Commit(room.id, text.size()), Status::kOk);
}

// Numbers 0 to count - 1, copied and in place, then an end.
inline void PublishAll(LockRing* ring, uint64_t count, const WaitOptions& options) {
  for (uint64_t i = 0; i < count && !testing::Test::HasFailure(); i++) {
    if (i % 3 == 0) {
      PublishInPlace(ring, i, options);
      continue;
    }
    const std::string text = Numbered(i);
    ASSERT_EQ(ring->producer.Publish(text.data(), text.size(), options), Status::kOk);
  }
  ring->producer.Fin();
}

// Reads to the end, copied and lent, released in any order. Returns how many there were.
class TrafficReader {
 public:
  TrafficReader(LockReader* reader, const WaitOptions& options)
      : reader_(*reader), options_(options) {}

  uint64_t Run() {
    while (Step() && !testing::Test::HasFailure()) {
    }
    return next_;
  }

 private:
  bool Step() {
    LockMessage message;
    Status status = random_() % 2 == 0 ? reader_.consumer.Loan(&message) : Status::kNotNow;
    if (status == Status::kOk) {
      Check(message);
      held_.emplace_back(message, next_++);
      return true;
    }
    // Who holds blocks and waits for messages may wait for itself.
    if (status == Status::kWouldBlock) ReleaseAll();
    if (held_.size() > 1) Release(random_() % held_.size());
    const WaitOptions now{0, 0, options_.by_bell};
    status = reader_.consumer.Take(reader_.buffer.data(), reader_.buffer.size(), &message,
                                   held_.empty() ? options_ : now);
    if (status == Status::kOk) {
      Check(message);
      next_++;
      return true;
    }
    ReleaseAll();
    if (status == Status::kEof) return false;
    EXPECT_EQ(status, Status::kWouldBlock);
    return true;
  }
  void Check(const LockMessage& message) { ASSERT_EQ(TextOf(message), Numbered(next_)); }
  void Release(size_t which) {
    const auto& [message, number] = held_[which];
    ASSERT_EQ(TextOf(message), Numbered(number));
    reader_.consumer.Release(message.loan);
    held_.erase(held_.begin() + static_cast<long>(which));
  }
  void ReleaseAll() {
    while (!held_.empty() && !testing::Test::HasFailure()) Release(0);
  }

  LockReader& reader_;
  const WaitOptions options_;
  std::mt19937_64 random_{1};
  std::deque<std::pair<LockMessage, uint64_t>> held_;
  uint64_t next_ = 0;
};

inline uint64_t ReadAll(LockReader* reader, const WaitOptions& options) {
  return TrafficReader(reader, options).Run();
}

}  // namespace shimmy::test

#endif  // SHIMMY_TEST_LOCK_TRAFFIC_H_
