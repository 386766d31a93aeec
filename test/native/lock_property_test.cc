// The lock-based channel with random sizes, loans, cancellations and consumers that die in turn:
// what is delivered is what was published, in order, and only what was not consumed comes again.
#include <memory>

#include "lock_traffic.h"

namespace shimmy::test {
namespace {

class RandomRun {
 public:
  explicit RandomRun(uint64_t seed)
      : random_(seed),
        ring_(ShapeOf(1 + random_() % 40, 64 * (1 + random_() % 20)),
              static_cast<uint32_t>(random_() % (kMaxLoans + 1))) {}

  void Step() {
    switch (random_() % 9) {
      case 0:
      case 1: return Publish();
      case 2: return Reserve();
      case 3: return Commit();
      case 4: return Cancel();
      case 5:
      case 6:
      case 7: return Take();
      default: return random_() % 8 == 0 ? NextConsumer() : Release();
    }
  }
  void Check() {
    const LockProducerState& state = ring_.state;
    ASSERT_LE(state.reserved.position - state.consumed, state.geometry.blocks);  // C8
    ASSERT_EQ(state.reserved.block, state.reserved.position % state.geometry.blocks);
    ASSERT_EQ(state.produced.block, state.produced.position % state.geometry.blocks);
  }

 private:
  struct Room {
    LockReservation room;
    std::string text;
  };
  struct Held {
    LockMessage message;
    bool is_loan = false;
    bool is_released = false;
  };

  uint64_t Size() {
    const uint64_t most = ring_.state.geometry.max_bytes();
    return random_() % (random_() % 4 == 0 ? most + 1 : most / 4 + 1);
  }
  void Publish() {
    const std::string text = Pattern(next_ * 31, Size());
    if (ring_.Publish(text) != Status::kOk) return;
    unread_.push_back(text);
    next_++;
  }
  void Reserve() {
    Room room;
    const uint64_t bytes = Size();
    if (ring_.producer.Reserve(bytes, &room.room) != Status::kOk) return;
    room.text = Pattern(next_++ * 31, random_() % (bytes + 1));
    std::memcpy(room.room.data, room.text.data(), room.text.size());
    rooms_.push_back(room);
  }
  void Commit() {
    if (rooms_.empty()) return;
    const Room& room = rooms_.front();
    ASSERT_EQ(ring_.producer.Commit(room.room.id, room.text.size()), Status::kOk);
    unread_.push_back(room.text);
    rooms_.pop_front();
  }
  void Cancel() {
    if (rooms_.empty()) return;
    const size_t which = random_() % rooms_.size();
    ring_.producer.Cancel(rooms_[which].room.id);
    rooms_.erase(rooms_.begin() + static_cast<long>(which));
  }
  void Take() {
    if (reader_ == nullptr) return;
    Held held;
    held.is_loan = random_() % 2 == 0;
    TestConsumer& consumer = reader_->consumer;
    const Status status =
        held.is_loan ? consumer.Loan(&held.message)
                     : consumer.Take(reader_->buffer.data(), reader_->buffer.size(), &held.message);
    if (status == Status::kNotNow) return;
    if (status == Status::kWouldBlock) {
      ASSERT_EQ(taken_.size(), unread_.size());
      return;
    }
    ASSERT_EQ(status, Status::kOk);
    ASSERT_LT(taken_.size(), unread_.size());
    ASSERT_EQ(TextOf(held.message), unread_[taken_.size()]);
    taken_.push_back(held);
    DropConsumed();
  }
  void Release() {
    if (taken_.empty()) return;
    const size_t which = random_() % taken_.size();
    Held& held = taken_[which];
    if (!held.is_loan || held.is_released) return;
    ASSERT_EQ(TextOf(held.message), unread_[which]);
    reader_->consumer.Release(held.message.loan);
    held.is_released = true;
    DropConsumed();
  }
  // C16, C17
  void DropConsumed() {
    while (!taken_.empty() && (!taken_.front().is_loan || taken_.front().is_released)) {
      taken_.pop_front();
      unread_.pop_front();
    }
  }
  void NextConsumer() {
    if (reader_ != nullptr) reader_->Die(&ring_);
    old_ = std::move(reader_);
    taken_.clear();  // comes again
    reader_ = std::make_unique<LockReader>(ring_, ++number_, old_.get());
    reader_->Meet(&ring_);
  }

  std::mt19937_64 random_;
  LockRing ring_;
  std::deque<std::string> unread_;  // published and not consumed
  std::deque<Room> rooms_;
  std::deque<Held> taken_;  // the first of unread_, from the oldest loan on
  std::unique_ptr<LockReader> reader_, old_;
  uint64_t number_ = 0;
  uint64_t next_ = 0;
};

TEST(LockPropertyTest, EverythingOnceInOrderOverConsumersInTurn) {
  for (uint64_t seed = 0; seed < Scaled(60); seed++) {
    RandomRun run(seed);
    for (int step = 0; step < 3000 && !HasFailure(); step++) {
      run.Step();
      run.Check();
    }
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace shimmy::test
