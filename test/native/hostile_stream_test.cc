// A stream whose peer lies in every word it owns, and rings as it likes: the stream ends with the
// right reason or goes on, the victim's other streams never notice.
#include "hostile_peer.h"

namespace shimmy::test {
namespace {

using namespace std::chrono_literals;

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76  // Linux 6.5, include/uapi/asm-generic/socket.h
#endif

struct BadWord {
  const char* name;
  void (*tell)(ControlPage*);
  EndReason expected;
};
class BadWordTest : public HostileTest, public testing::WithParamInterface<BadWord> {};
TEST_P(BadWordTest, EndsItsStream) {
  OpenStream();
  uint64_t count = 0;
  ASSERT_EQ(stream_->end.Write("abc", 3, &count), Status::kOk);
  char text[3];
  ASSERT_TRUE(WaitFor([&] { return stream_->end.Read(text, 3, &count) == Status::kOk; }));
  GetParam().tell(&stream_->page());
  ASSERT_EQ(SendBell<TestSys>(stream_->bell.get()), SendResult::kSent);
  // The echo of what came before makes the victim look at our head as well.
  ExpectStreamEnd(GetParam().expected);
  EXPECT_EQ(victim()->Sessions().size(), 2U);
}
INSTANTIATE_TEST_SUITE_P(
    Words, BadWordTest,
    testing::Values(
        BadWord{"tailTooFar", [](ControlPage* p) { p->tail.store(3 + 16385); },
                EndReason::kCursorOutOfRange},
        BadWord{"tailBack", [](ControlPage* p) { p->tail.store(2); }, EndReason::kCursorOutOfRange},
        BadWord{"finBehind", [](ControlPage* p) { p->fin.store(1); }, EndReason::kCursorOutOfRange},
        BadWord{"finAhead", [](ControlPage* p) { p->fin.store(100); },
                EndReason::kCursorOutOfRange},
        BadWord{"headAhead",
                [](ControlPage* p) {
                  p->head.store(1000);
                  p->tail.store(4);  // one byte, so that the app answers
                },
                EndReason::kCursorOutOfRange},
        BadWord{"reset", [](ControlPage* p) { p->rst.store(1); }, EndReason::kResetByPeer}),
    [](const auto& info) { return std::string(info.param.name); });

class StrayTest : public HostileTest, public testing::WithParamInterface<size_t> {};
TEST_P(StrayTest, StrayBytesInTheDoorbellEndTheStream) {
  OpenStream();
  const Bytes bytes(GetParam(), 1);
  ASSERT_EQ(send(stream_->bell.get(), bytes.data(), bytes.size(), 0),
            static_cast<ssize_t>(bytes.size()));
  ExpectStreamEnd(EndReason::kStrayIo);
  EXPECT_EQ(victim()->Sessions().size(), 2U);
}
INSTANTIATE_TEST_SUITE_P(Lengths, StrayTest, testing::Values(2, 31, 33, 8191, 8193));

// The kernel counts no bytes for it, so it is found when the next record is eaten; until then it
// must not keep anyone awake.
TEST_F(HostileTest, EmptyRecordInTheDoorbellCostsNoCpu) {
  OpenStream();
  ASSERT_EQ(send(stream_->bell.get(), "", 0, 0), 0);
  std::this_thread::sleep_for(20ms);
  const uint64_t before = ProcessCpuMs();
  std::this_thread::sleep_for(200ms);
  EXPECT_LT(ProcessCpuMs() - before, 40U);
  ASSERT_EQ(SendBell<TestSys>(stream_->bell.get()), SendResult::kSent);
  ExpectStreamEnd(EndReason::kStrayIo);
}

TEST_F(HostileTest, ReplaceWithABadHalfEndsTheStream) {
  OpenStream();
  const UniqueFd bad(CreateHalf<TestSys>(HostilePeer::Spec(65536)));  // not sealed
  const ReplaceRecord record{kReplaceVersion, 2, 65536, 0, 0};
  ASSERT_EQ(SendReplace<TestSys>(stream_->bell.get(), record, bad.get()), SendResult::kSent);
  ExpectStreamEnd(EndReason::kBadHalf);
}

TEST_F(HostileTest, ReplaceOutOfTurnEndsTheStream) {
  OpenStream();
  HalfMap map;
  HalfSpec spec = HostilePeer::Spec(65536);
  spec.number = 5;
  const UniqueFd half = HostilePeer::MakeFd(spec, &map);
  UnmapHalf<TestSys>(&map);
  const ReplaceRecord record{kReplaceVersion, 5, 65536, 0, 0};
  ASSERT_EQ(SendReplace<TestSys>(stream_->bell.get(), record, half.get()), SendResult::kSent);
  ExpectStreamEnd(EndReason::kBadReplace);
}

TEST_F(HostileTest, ReplaceAboveTheBoundEndsTheStream) {
  OpenStream();
  HalfMap map;
  HalfSpec spec = HostilePeer::Spec(4 << 20);  // the victim maps up to 1 MiB
  spec.number = 2;
  const UniqueFd half = HostilePeer::MakeFd(spec, &map);
  UnmapHalf<TestSys>(&map);
  const ReplaceRecord record{kReplaceVersion, 2, spec.capacity, 0, 0};
  ASSERT_EQ(SendReplace<TestSys>(stream_->bell.get(), record, half.get()), SendResult::kSent);
  ExpectStreamEnd(EndReason::kBadHalf);
}

// What HELLO announced binds a peer that does not keep to it: the victim lets others make it map
// as much as its own rings may take, 64 MiB here.
TEST_F(HostileTest, MoreThanItsShareIsRefusedAndEndsTheStreamThatGrows) {
  constexpr uint64_t kMiB = 1 << 20;
  constexpr size_t kFit = 63;
  evil_->Greet();
  std::vector<std::unique_ptr<HostileStream>> streams;
  for (size_t i = 0; i < kFit; i++) {
    streams.push_back(evil_->Open(echo_.port(), false, kMiB));
    ASSERT_NE(streams.back(), nullptr) << i;
  }
  streams.push_back(evil_->Open(echo_.port()));
  stream_ = evil_->Open(echo_.port());
  ASSERT_NE(stream_, nullptr);
  EXPECT_EQ(evil_->Open(echo_.port(), false, kMiB), nullptr);
  EXPECT_EQ(evil_->last_refusal(), static_cast<uint32_t>(RefuseReason::kNoMemory));

  HalfMap map;
  HalfSpec spec = HostilePeer::Spec(kMiB);
  spec.number = 2;
  const UniqueFd half = HostilePeer::MakeFd(spec, &map);
  UnmapHalf<TestSys>(&map);
  const ReplaceRecord record{kReplaceVersion, 2, spec.capacity, 0, 0};
  ASSERT_EQ(SendReplace<TestSys>(stream_->bell.get(), record, half.get()), SendResult::kSent);
  ExpectStreamEnd(EndReason::kLimit);
}

TEST_F(HostileTest, HangUpWithoutAMarkerIsPeerDied) {
  OpenStream();
  stream_->bell.Reset();
  ExpectStreamEnd(EndReason::kPeerDied);
}

TEST_F(HostileTest, ShutdownWithoutFinIsPeerDied) {
  OpenStream();
  shutdown(stream_->bell.get(), SHUT_WR);
  ExpectStreamEnd(EndReason::kPeerDied);
}

// Bells cost the victim something, and must not cost more than they cost their sender.
TEST_F(HostileTest, FloodOfBellsKeepsOthersGoing) {
  OpenStream();
  for (int i = 0; i < 20; i++) {
    for (int bell = 0; bell < 200; bell++) {
      static_cast<void>(SendBell<TestSys>(stream_->bell.get()));
    }
    ExpectHonestEcho();
  }
}

// ---- the opener keeps the acceptor's end of the doorbell ----

TEST_F(HostileTest, DoorbellKeptAfterItsStreamEndedFindsNobody) {
  OpenStream(true);
  stream_->page().rst.store(1);
  ASSERT_EQ(SendBell<TestSys>(stream_->bell.get()), SendResult::kSent);
  ExpectStreamEnd(EndReason::kResetByPeer);
  const uint64_t before = ProcessCpuMs();
  for (int i = 0; i < 50; i++) {
    static_cast<void>(SendBell<TestSys>(stream_->bell.get()));
    char byte;
    static_cast<void>(recv(stream_->far_bell.get(), &byte, 1, MSG_DONTWAIT));
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_LT(ProcessCpuMs() - before, 50U);
  ExpectHonestEcho();
}

TEST_F(HostileTest, PidfdsAskedForOnTheVictimsEndDoNotLeak) {
  OpenStream(true);
  const int on = 1;
  if (setsockopt(stream_->far_bell.get(), SOL_SOCKET, SO_PASSPIDFD, &on, sizeof on) != 0) {
    GTEST_SKIP() << "this kernel has no SO_PASSPIDFD";
  }
  for (int i = 0; i < 30; i++) {
    static_cast<void>(SendBell<TestSys>(stream_->bell.get()));
    std::this_thread::sleep_for(1ms);
  }
  // What is left is counted by TearDown().
}

// With a large send buffer a plug does not make the victim's end unwritable: it must notice that
// the doorbell says "room" and there is none.
TEST_F(HostileTest, DoorbellThatIsAlwaysWritableEndsTheStream) {
  OpenStream(true);
  const int large = 4 << 20;
  ASSERT_EQ(setsockopt(stream_->far_bell.get(), SOL_SOCKET, SO_SNDBUF, &large, sizeof large), 0);
  uint64_t written = 0;
  const std::string data(65536, 'x');
  for (int i = 0; i < 200 && victim().Ends(EndReason::kStrayIo) == 0; i++) {
    static_cast<void>(stream_->end.Write(data.data(), data.size(), &written));  // never reads
    std::this_thread::sleep_for(1ms);
  }
  ExpectStreamEnd(EndReason::kStrayIo);
}

// ---- everything at once ----

// Another thread writes any value in any word while bytes go round, also between two looks of the
// victim at the same word.
TEST_F(HostileTest, WordsThatChangeAllTheTimeHurtNobodyElse) {
  evil_->Greet();
  uint64_t seed = 12345;
  for (int round = 0; round < 40; round++) {
    stream_ = evil_->Open(echo_.port());
    ASSERT_NE(stream_, nullptr) << round;
    std::atomic<bool> is_over{false};
    ControlPage& page = stream_->page();
    std::thread scribbler([&, seed] {
      uint64_t state = seed + static_cast<uint64_t>(round);
      Word* const words[] = {&page.tail, &page.head,  &page.wake_at, &page.fin,
                             &page.rst,  &page.plugs, &page.moved,   &page.half};
      while (!is_over.load()) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        const uint64_t value = (state >> 16) & ((state >> 8 & 3) == 0 ? ~uint64_t{0} : 0x7fff);
        // The first rounds leave most words alone, so that traffic goes on for a while.
        const size_t most = round < 20 ? 2 : 8;
        words[(state >> 33) % most == 0 ? 2 : (state >> 33) % most]->store(value);
        if ((state >> 50 & 7) == 0) static_cast<void>(SendBell<TestSys>(stream_->bell.get()));
      }
    });
    const std::string data(3000, 'x');
    for (int i = 0; i < 20; i++) {
      uint64_t count = 0;
      std::string got(8000, '\0');
      static_cast<void>(stream_->end.Write(data.data(), data.size(), &count));
      static_cast<void>(stream_->end.Read(got.data(), got.size(), &count));
    }
    is_over = true;
    scribbler.join();
    if (round % 10 == 0) ExpectHonestEcho();
    stream_.reset();
  }
  ExpectHonestEcho();
  EXPECT_TRUE(WaitFor([&] { return victim().Count(relay::kActiveShm) == 1; })) << "the honest one";
}

}  // namespace
}  // namespace shimmy::test
