// The lock-free channel: publisher, subscribers, and both when the other side lies or dies.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "shimmy/lockfree_publisher.h"
#include "shimmy/lockfree_subscriber.h"
#include "shimmy/sys_raw.h"

namespace shimmy {
namespace {

using Publisher = LockfreePublisher<RawSys>;
using Subscriber = LockfreeSubscriber<RawSys>;

// A message whose every word follows from its number and its place: torn or changed is seen.
std::vector<unsigned char> Message(uint64_t number, uint64_t bytes) {
  std::vector<unsigned char> out(bytes);
  for (uint64_t i = 0; i < bytes; i++) {
    out[i] = static_cast<unsigned char>((number * 0x9e3779b97f4a7c15U) >> (i % 8 * 8) ^ i);
  }
  return out;
}
uint64_t SizeOf(uint64_t number, uint64_t most) { return number * 7919 % (most + 1); }

struct Memory {
  explicit Memory(uint64_t bytes, bool twice = false) : size(twice ? 2 * bytes : bytes) {
    const int fd = static_cast<int>(RawSys::MemfdCreate("test", MFD_CLOEXEC));
    EXPECT_EQ(ftruncate(fd, static_cast<off_t>(bytes)), 0);
    at = static_cast<unsigned char*>(
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    for (uint64_t from = 0; from < size; from += bytes) {
      void* const mapped =
          mmap(at + from, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
      EXPECT_EQ(mapped, at + from);
    }
    close(fd);
  }
  ~Memory() { munmap(at, size); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  uint64_t size;
  unsigned char* at;
};

class Channel {
 public:
  explicit Channel(LockfreeGeometry g, uint32_t readers = 0)
      : geometry(g), data(g.max_bytes(), true), global_memory(g.global_bytes()), shadow(g.slots) {
    state.geometry = g;
    state.data = data.at;
    state.global = reinterpret_cast<LockfreeGlobal*>(global_memory.at);
    state.shadow = shadow.data();
    state.readers = readers;
    EXPECT_EQ(publisher.Begin(), Status::kOk);
  }
  Status Publish(uint64_t number, uint64_t bytes, uint64_t now = 0, uint64_t deadline = kNever) {
    return publisher.Publish(Message(number, bytes).data(), bytes, now, deadline);
  }
  LockfreeGeometry geometry;
  Memory data, global_memory;
  std::vector<LockfreeShadow> shadow;
  LockfreePublisherState state;
  Publisher publisher{&state};
};

class Reader {
 public:
  explicit Reader(Channel* channel, bool from_oldest = false)
      : local_memory(4096), local(reinterpret_cast<LockfreeLocal*>(local_memory.at)) {
    static uint64_t last_number = 0;
    const uint64_t number = ++last_number;
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, bell), 0);
    state.geometry = channel->geometry;
    state.global = channel->state.global;
    state.data = channel->data.at;
    state.local = local;
    subscriber.Begin(number, from_oldest);
    index = channel->publisher.Attach(local, bell[0], number);
    EXPECT_GE(index, 0);
    subscriber.Attach(bell[1]);
  }
  ~Reader() {
    close(bell[0]);
    close(bell[1]);
  }
  Status Take(LockfreeMessage* m) { return subscriber.Take(buffer.data(), buffer.size(), m); }
  // Takes one and compares it.
  void Expect(uint64_t number, uint64_t bytes) {
    LockfreeMessage m;
    ASSERT_EQ(Take(&m), Status::kOk);
    ASSERT_EQ(m.number, number);
    ASSERT_EQ(m.bytes, bytes);
    ASSERT_EQ(std::vector<unsigned char>(m.data, m.data + m.bytes), Message(number, bytes));
  }
  Memory local_memory;
  LockfreeLocal* local;
  int bell[2];
  int index = -1;
  LockfreeSubscriberState state;
  Subscriber subscriber{&state};
  std::vector<unsigned char> buffer = std::vector<unsigned char>(1 << 20);
};

constexpr LockfreeGeometry kSmall{8, 64, 64, 16, 16};

// L1
TEST(LockfreeChannel, DeliversInOrderAndWaitsWithoutTimeToLive) {
  Channel channel(kSmall);
  Reader reader(&channel);
  for (uint64_t n = 0; n < 8; n++) ASSERT_EQ(channel.Publish(n, n * 60), Status::kOk);
  EXPECT_EQ(channel.Publish(8, 1), Status::kWouldBlock);
  for (uint64_t n = 0; n < 8; n++) reader.Expect(n, n * 60);
  LockfreeMessage m;
  EXPECT_EQ(reader.Take(&m), Status::kWouldBlock);
  EXPECT_EQ(channel.Publish(8, 1), Status::kOk);
  channel.publisher.Fin();
  reader.Expect(8, 1);
  EXPECT_EQ(reader.Take(&m), Status::kEof);
  EXPECT_EQ(reader.state.missed, 0u);
}

// L5, L7
TEST(LockfreeChannel, DeliversExpiredUntilOverwrittenAndCountsMissed) {
  Channel channel(kSmall);
  Reader reader(&channel);
  for (uint64_t n = 0; n < 8; n++) ASSERT_EQ(channel.Publish(n, 64, 0, 10), Status::kOk);
  EXPECT_EQ(channel.Publish(8, 64, 9, 10), Status::kWouldBlock);
  EXPECT_EQ(channel.publisher.NextDeadline(), 10u);
  channel.publisher.Scan(10);
  reader.Expect(0, 64);  // expired, still there
  for (uint64_t n = 8; n < 12; n++) ASSERT_EQ(channel.Publish(n, 64, 10, 99), Status::kOk);
  reader.Expect(4, 64);
  EXPECT_EQ(reader.state.missed, 3u);
}

// L7
TEST(LockfreeChannel, WaitsForAsManyReadersAsAsked) {
  Channel channel(kSmall, 2);
  Reader one(&channel);
  for (uint64_t n = 0; n < 8; n++) ASSERT_EQ(channel.Publish(n, 8), Status::kOk);
  for (uint64_t n = 0; n < 8; n++) one.Expect(n, 8);
  EXPECT_EQ(channel.Publish(8, 8), Status::kWouldBlock);
  channel.publisher.Detach(static_cast<uint32_t>(one.index));  // has passed them: still counts
  Reader two(&channel, true), newest(&channel);
  LockfreeMessage m;
  EXPECT_EQ(newest.Take(&m), Status::kWouldBlock);
  for (uint64_t n = 0; n < 8; n++) two.Expect(n, 8);
  EXPECT_EQ(channel.Publish(8, 8), Status::kOk);
  newest.Expect(8, 8);
}

// L2, L4, L8
TEST(LockfreeChannel, StepsOverPinnedRunsThatWrap) {
  Channel channel({4, 16, 256, 8, 16});
  Reader reader(&channel);
  std::mt19937_64 random(1);
  struct Held {
    LockfreeMessage m;
  };
  std::deque<Held> held;
  uint64_t published = 0;
  for (int i = 0; i < 20000; i++) {
    const uint64_t bytes = random() % 1200;
    if (channel.publisher.Publish(Message(published, bytes).data(), bytes, 0, 0) == Status::kOk) {
      published++;
    } else {
      ASSERT_FALSE(held.empty());
    }
    LockfreeMessage m;
    if (random() % 2 == 0 && reader.subscriber.Loan(&m) == Status::kOk) held.push_back({m});
    for (const Held& h : held) {
      ASSERT_EQ(std::vector<unsigned char>(h.m.data, h.m.data + h.m.bytes),
                Message(h.m.number, h.m.bytes));
    }
    if (!held.empty() && random() % 3 == 0) {
      const size_t which = random() % held.size();
      reader.subscriber.Release(held[which].m.loan);
      held.erase(held.begin() + static_cast<long>(which));
    }
  }
  EXPECT_GT(channel.state.counts.stepped_over, 0u);
  EXPECT_GT(reader.state.missed, 0u);
}

// L9
TEST(LockfreeChannel, IgnoresPinsBeyondTheBudgetAndDetachesLiars) {
  Channel channel({8, 16, 256, 2, 16});
  Reader liar(&channel), honest(&channel);
  for (uint64_t n = 0; n < 8; n++) ASSERT_EQ(channel.Publish(n, 512, 0, 0), Status::kOk);
  for (uint64_t i = 0; i < kMaxLoans; i++) liar.local->pins[i].store(i + 1);
  LockfreeMessage m;
  ASSERT_EQ(honest.subscriber.Loan(&m), Status::kOk);
  LockfreeMessage more;
  EXPECT_EQ(honest.subscriber.Loan(&more), Status::kNotNow);  // its own budget is used up
  for (uint64_t n = 8; n < 100; n++) ASSERT_EQ(channel.Publish(n, 512, 0, 0), Status::kOk);
  EXPECT_EQ(std::vector<unsigned char>(m.data, m.data + m.bytes), Message(0, 512));
  liar.local->side.count.store(1000);
  channel.publisher.Scan(0);
  EXPECT_EQ(channel.state.counts.detached_broken, 1u);
}

TEST(LockfreeChannel, RefusesWordsOfAHostilePublisher) {
  for (int lie = 0; lie < 5; lie++) {
    Channel channel(kSmall);
    Reader reader(&channel);
    ASSERT_EQ(channel.Publish(0, 64), Status::kOk);
    LockfreeSlot& slot = *SlotsOf(channel.state.global);
    if (lie == 0) slot.first_block.store(64);
    if (lie == 1) slot.length.store(64 * 64 + 1);
    if (lie == 2) slot.stamp.store(77);
    if (lie == 3) channel.state.global->oldest.store(99), slot.stamp.store(0);
    if (lie == 4) channel.state.global->side.count.store(kNever);
    LockfreeMessage m;
    EXPECT_EQ(reader.Take(&m), Status::kCursorOutOfRange) << lie;
  }
}

TEST(LockfreeChannel, RefusesTooLargeAndKeepsWhatDoesNotFit) {
  Channel channel(kSmall);
  Reader reader(&channel);
  EXPECT_EQ(channel.Publish(0, 64 * 64 + 1), Status::kTooLarge);
  ASSERT_EQ(channel.Publish(0, 64 * 64), Status::kOk);
  LockfreeMessage m;
  unsigned char small[8];
  EXPECT_EQ(reader.subscriber.Take(small, 8, &m), Status::kTooLarge);
  EXPECT_EQ(m.bytes, 64u * 64);
  reader.Expect(0, 64 * 64);
}

uint64_t In(uint64_t ms) { return internal::MonotonicNanos<RawSys>() + ms * 1'000'000; }

void SleepUntilCalled(Reader* reader, bool by_bell) {
  const Status status = reader->subscriber.WaitForMessage({In(20000), 0, by_bell});
  EXPECT_EQ(status, Status::kOk);
}

// Reads everything and checks it, sleeping by futex or bell; ends at fin.
void ReadAll(Reader* reader, bool by_bell, bool loans, std::atomic<uint64_t>* got) {
  for (uint64_t last = 0;;) {
    LockfreeMessage m;
    Status status = loans ? reader->subscriber.Loan(&m) : reader->Take(&m);
    if (status == Status::kEof) return;
    if (status == Status::kWouldBlock) {
      SleepUntilCalled(reader, by_bell);
      continue;
    }
    // Larger than the budget: to be copied.
    const bool lent = loans && status == Status::kOk;
    if (status == Status::kNotNow) status = reader->Take(&m);
    if (status == Status::kWouldBlock || status == Status::kEof) continue;
    ASSERT_EQ(status, Status::kOk);
    ASSERT_GE(m.number + 1, ++last);
    last = m.number + 1;
    ASSERT_EQ(m.bytes, SizeOf(m.number, 900));
    ASSERT_EQ(std::vector<unsigned char>(m.data, m.data + m.bytes), Message(m.number, m.bytes));
    if (lent) reader->subscriber.Release(m.loan);
    got->fetch_add(1);
  }
}

// L6: the end moves no count that a waiter could see change.
TEST(LockfreeChannel, AnEndBetweenTheLastLookAndTheSleepIsNotSlept) {
  Channel channel(kSmall);
  Reader reader(&channel);
  const uint32_t seen = Arm(&reader.local->side, reader.state.peer, 0, false);
  channel.publisher.Fin();
  const uint64_t before = In(0);
  EXPECT_EQ(internal::FutexWait<RawSys>(&channel.state.global->side.wakes, seen, In(20000)),
            -EAGAIN);
  EXPECT_LT(In(0) - before, 10'000'000'000U);
  LockfreeMessage m;
  EXPECT_EQ(reader.Take(&m), Status::kEof);
}

// L6: the other way round.
TEST(LockfreeChannel, APublisherThatWaitsForRoomIsWokenByWhoMakesIt) {
  for (const bool by_bell : {false, true}) {
    Channel channel(kSmall);
    Reader reader(&channel);
    for (uint64_t n = 0; n < 8; n++) ASSERT_EQ(channel.Publish(n, 8), Status::kOk);
    ASSERT_EQ(channel.Publish(8, 8), Status::kWouldBlock);
    EXPECT_EQ(channel.publisher.WaitForRoom({In(20), 0, by_bell}), Status::kWouldBlock);
    std::thread thread([&] {
      usleep(20000);
      reader.Expect(0, 8);
    });
    EXPECT_EQ(channel.publisher.WaitForRoom({In(20000), 0, by_bell}), Status::kOk);
    thread.join();
    EXPECT_EQ(channel.Publish(8, 8), Status::kOk);
    // And by time.
    EXPECT_EQ(channel.publisher.WaitForRoom({In(1), 0, by_bell}), Status::kWouldBlock);
  }
}

TEST(LockfreeChannel, WaitingForRoomEndsWhenTheTimeToLiveIsOver) {
  Channel channel(kSmall);
  Reader stopped(&channel);
  for (uint64_t n = 0; n < 8; n++) ASSERT_EQ(channel.Publish(n, 8, 0, In(30)), Status::kOk);
  ASSERT_EQ(channel.Publish(8, 8, In(0)), Status::kWouldBlock);
  EXPECT_EQ(channel.publisher.WaitForRoom({In(20000), 0, false}), Status::kOk);
  EXPECT_EQ(channel.Publish(8, 8, In(0)), Status::kOk);
}

// A publisher that died: what is left is read, and then said.
TEST(LockfreeChannel, ADeathIsToldBehindTheLastMessage) {
  Channel channel(kSmall);
  Reader reader(&channel);
  ASSERT_EQ(channel.Publish(0, 8), Status::kOk);
  close(reader.bell[0]);
  EXPECT_EQ(reader.subscriber.EatBells(), Status::kPeerDied);
  reader.Expect(0, 8);
  LockfreeMessage m;
  EXPECT_EQ(reader.Take(&m), Status::kPeerDied);
  EXPECT_EQ(reader.subscriber.WaitForMessage({In(20000), 0, false}), Status::kPeerDied);
  EXPECT_FALSE(reader.subscriber.ArmBell());
  reader.bell[0] = dup(reader.bell[1]);
}

// L9: half of the pool is lent at most; who comes later copies.
TEST(LockfreeChannel, GrantsPinsToAsManyAsThereIsRoomFor) {
  Channel channel({64, 64, 64, 16, 4});
  Reader one(&channel), two(&channel), three(&channel);
  for (uint64_t n = 0; n < 4; n++) ASSERT_EQ(channel.Publish(n, 64), Status::kOk);
  LockfreeMessage m;
  EXPECT_EQ(one.subscriber.Loan(&m), Status::kOk);
  EXPECT_EQ(two.subscriber.Loan(&m), Status::kOk);
  EXPECT_EQ(three.subscriber.Loan(&m), Status::kNotNow);
  three.Expect(0, 64);
  channel.publisher.Detach(static_cast<uint32_t>(two.index));
  Reader four(&channel, true);
  EXPECT_EQ(four.subscriber.Loan(&m), Status::kOk);
}

// Nobody takes back what a publisher left that is gone: no grant is needed, and there is no budget.
TEST(LockfreeChannel, LendsAllThatAPublisherLeft) {
  Channel channel({64, 64, 64, 16, 2});
  Reader one(&channel), two(&channel), late(&channel);
  ASSERT_EQ(channel.Publish(0, 64), Status::kOk);
  ASSERT_EQ(channel.Publish(1, 64 * 40), Status::kOk);
  ASSERT_EQ(channel.Publish(2, 64), Status::kOk);
  LockfreeMessage small, large, m;
  ASSERT_EQ(one.subscriber.Loan(&small), Status::kOk);
  EXPECT_EQ(one.subscriber.Loan(&large), Status::kNotNow);
  EXPECT_EQ(late.subscriber.Loan(&m), Status::kNotNow);
  one.subscriber.Attach(-1);
  late.subscriber.Attach(-1);
  ASSERT_EQ(one.subscriber.Loan(&large), Status::kOk);
  EXPECT_EQ(std::vector<unsigned char>(large.data, large.data + large.bytes), Message(1, 64 * 40));
  // As many as the channel allows, as ever.
  EXPECT_EQ(one.subscriber.Loan(&m), Status::kNotNow);
  one.subscriber.Release(small.loan);
  EXPECT_EQ(one.subscriber.Loan(&m), Status::kOk);
  EXPECT_EQ(late.subscriber.Loan(&m), Status::kOk);
  EXPECT_EQ(m.number, 0u);
}

// The geometry follows from the channel's parameters alone.
TEST(LockfreeChannel, HasRoomForAMessageInEachBlock) {
  ChannelShape shape;
  shape.blocks = 100;
  shape.block_bytes = 192;
  const LockfreeGeometry g = LockfreeGeometry::Of(shape, 20, 2);
  EXPECT_TRUE(g.valid());
  EXPECT_EQ(g.blocks, shape.data_blocks());
  EXPECT_GE(g.slots, g.blocks);
  EXPECT_EQ(g.max_loans, kMaxLoans);
  EXPECT_LE(g.budget * 8, g.pinnable());
}

// L3, L5, L6
TEST(LockfreeChannelStress, ThreadsSeeWholeMessagesInOrderAndExactGaps) {
  for (const uint64_t deadline : {uint64_t{0}, kNever}) {
    Channel channel({16, 64, 64, 8, 16});
    constexpr uint64_t kMessages = 20000;
    std::vector<std::unique_ptr<Reader>> readers;
    std::vector<std::thread> threads;
    readers.reserve(4);
    threads.reserve(4);
    std::atomic<uint64_t> got[4] = {};
    for (int i = 0; i < 4; i++) readers.push_back(std::make_unique<Reader>(&channel));
    for (int i = 0; i < 4; i++) {
      threads.emplace_back(ReadAll, readers[static_cast<size_t>(i)].get(), i % 2 == 0, i >= 2,
                           &got[i]);
    }
    for (uint64_t n = 0; n < kMessages;) {
      if (channel.Publish(n, SizeOf(n, 900), 0, deadline) == Status::kOk) {
        n++;
      } else {
        std::this_thread::yield();
      }
    }
    channel.publisher.Fin();
    for (std::thread& thread : threads) thread.join();
    for (size_t i = 0; i < 4; i++) {
      EXPECT_EQ(got[i] + readers[i]->state.missed, kMessages);
      if (deadline == kNever) {
        EXPECT_EQ(readers[i]->state.missed, 0u);
      }
    }
  }
}

// L9
TEST(LockfreeChannelStress, HostileSubscribersSlowNobodyDown) {
  Channel channel({16, 64, 64, 4, 16});
  Reader honest(&channel);
  Reader liar(&channel);
  std::atomic<bool> stop{false};
  std::thread mutator([&] {
    std::mt19937_64 random(7);
    while (!stop) {
      for (Word& pin : liar.local->pins) pin.store(random() % 20000);
      liar.local->side.futex_at.store(random() % 20000);
      liar.local->side.bell_at.store(random() % 20000);
    }
  });
  std::atomic<uint64_t> got{0};
  std::thread reader([&] { ReadAll(&honest, false, true, &got); });
  for (uint64_t n = 0; n < 20000;) n += channel.Publish(n, SizeOf(n, 900), 0, 0) == Status::kOk;
  channel.publisher.Fin();
  stop = true;
  reader.join();
  mutator.join();
  EXPECT_EQ(got + honest.state.missed, 20000u);
}

TEST(LockfreeChannelStress, KilledSubscribersLeaveThePublisherAndOthersWell) {
  Channel channel({16, 64, 64, 16, 16});
  Reader honest(&channel);
  std::mt19937_64 random(3);
  uint64_t published = 0;
  for (int kill_number = 0; kill_number < 40; kill_number++) {
    Reader victim(&channel);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (;;) {
        LockfreeMessage m;
        const Status status = victim.subscriber.Loan(&m);
        if (status == Status::kNotNow)
          victim.subscriber.Release(static_cast<uint32_t>(rand()) % kMaxLoans);
        if (status == Status::kCursorOutOfRange) _exit(1);
      }
    }
    for (uint64_t i = random() % 500; i > 0; i--) {
      if (channel.Publish(published, SizeOf(published, 900), 0, 0) == Status::kOk) published++;
      LockfreeMessage m;
      if (honest.Take(&m) != Status::kOk) continue;
      ASSERT_EQ(std::vector<unsigned char>(m.data, m.data + m.bytes), Message(m.number, m.bytes));
    }
    kill(child, SIGKILL);
    int how = 0;
    waitpid(child, &how, 0);
    EXPECT_TRUE(WIFSIGNALED(how));
    channel.publisher.Detach(static_cast<uint32_t>(victim.index));
    EXPECT_EQ(channel.Publish(published, 4000, 0, 0), Status::kOk);  // nothing stays pinned
    published++;
    LockfreeMessage last;
    while (honest.Take(&last) == Status::kOk) {
    }
  }
}

// L3
TEST(LockfreeChannelStress, KilledPublisherLeavesNoTornMessage) {
  for (unsigned round = 0; round < 40; round++) {
    Channel channel({16, 64, 64, 16, 16});
    Reader reader(&channel);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (uint64_t n = 0;;) n += channel.Publish(n, SizeOf(n, 900), 0, 0) == Status::kOk;
    }
    std::thread killer([&] {
      usleep(500 + round * 97);
      kill(child, SIGKILL);
    });
    bool killed = false;
    for (;;) {
      LockfreeMessage m;
      const Status status = reader.Take(&m);
      if (status == Status::kOk) {
        ASSERT_EQ(std::vector<unsigned char>(m.data, m.data + m.bytes),
                  Message(m.number, SizeOf(m.number, 900)));
        continue;
      }
      ASSERT_EQ(status, Status::kWouldBlock);
      if (killed) break;
      killed = waitpid(child, nullptr, WNOHANG) == child;
    }
    killer.join();
    EXPECT_EQ(reader.state.next, reader.state.published);
  }
}

}  // namespace
}  // namespace shimmy
