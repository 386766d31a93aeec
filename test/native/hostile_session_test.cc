// A session with a peer that sends what it must not: the session ends with the right reason, and
// nobody else notices (S1 to S6 of relay/session.h).
#include <sys/resource.h>

#include "hostile_peer.h"

namespace shimmy::test {
namespace {

using namespace std::chrono_literals;

// ---- messages that no peer of ours sends ----

struct BadMessage {
  const char* name;
  Bytes (*make)();
  bool is_after_greeting = true;
};
Bytes Spoiled(Bytes bytes, size_t at, unsigned char value) {
  bytes[at] = value;
  return bytes;
}
class BadMessageTest : public HostileTest, public testing::WithParamInterface<BadMessage> {};
TEST_P(BadMessageTest, S6EndsTheSession) {
  if (GetParam().is_after_greeting) evil_->Greet();
  ASSERT_TRUE(evil_->Send(GetParam().make()));
  ExpectSessionEnd(SessionEndReason::kProtocolError);
  EXPECT_EQ(victim().Count(relay::kSessionMessagesRefused), 1U);
}
INSTANTIATE_TEST_SUITE_P(
    Messages, BadMessageTest,
    testing::Values(
        BadMessage{"oneByte", [] { return Bytes{1}; }},
        BadMessage{"halfAHeader", [] { return Bytes(7, 0); }},
        BadMessage{"zeros", [] { return Bytes(64, 0); }},
        BadMessage{"tooLong", [] { return Bytes(kMaxMessageBytes + 1, 3); }},
        BadMessage{"farTooLong", [] { return Bytes(60000, 3); }},
        BadMessage{"unknownType", [] { return Spoiled(MakeAccept(1), 0, 99); }},
        BadMessage{"lengthLies", [] { return Spoiled(MakeAccept(1), 4, 15); }},
        BadMessage{"reserved", [] { return Spoiled(MakeAccept(1), 2, 1); }},
        BadMessage{"acceptOfNothing", [] { return MakeAccept(2); }},
        BadMessage{"refuseOfNothing", [] { return MakeRefuse(2, 1); }},
        BadMessage{"secondHello", [] { return BytesOf(MakeHello()); }},
        BadMessage{"secondWelcome", [] { return BytesOf(MakeWelcome()); }},
        BadMessage{"openWithoutFds", [] { return MakeOpen(1, 1, 80); }},
        BadMessage{"openPort0", [] { return MakeOpen(1, 1, 0); }},
        BadMessage{"openId0", [] { return MakeOpen(0, 1, 80); }},
        BadMessage{"openPair0", [] { return MakeOpen(1, 0, 80); }},
        BadMessage{"openUpperCase", [] { return MakeOpen(1, 1, 80, false, "a/B"); }},
        BadMessage{"openNoSlash", [] { return MakeOpen(1, 1, 80, false, "abc"); }},
        BadMessage{"openNewline", [] { return MakeOpen(1, 1, 80, false, "a/b\n"); }},
        BadMessage{"openLongName",
                   [] { return MakeOpen(1, 1, 80, false, "a/" + std::string(330, 'b')); }},
        BadMessage{"releasedLies", [] { return MakePairMessage(MessageType::kReleased, 1, 2); }},
        BadMessage{"openBeforeHello", [] { return MakeOpen(1, 1, 80); }, false},
        BadMessage{"forgetBeforeHello", [] { return MakePairMessage(MessageType::kForget, 1, 0); },
                   false},
        BadMessage{"helloMagic", [] { return Spoiled(BytesOf(MakeHello()), 8, 0); }, false},
        BadMessage{"shortHello", [] { return Spoiled(Bytes(39, 0), 0, 1); }, false}),
    [](const auto& info) { return std::string(info.param.name); });

class BadFdCountTest : public HostileTest, public testing::WithParamInterface<size_t> {};
TEST_P(BadFdCountTest, S6EndsTheSessionAndClosesThem) {
  evil_->Greet();
  const int fd = eventfd(0, EFD_CLOEXEC);
  ASSERT_TRUE(evil_->Send(MakeOpen(1, 1, echo_.port()), std::vector<int>(GetParam(), fd)));
  close(fd);
  ExpectSessionEnd(SessionEndReason::kProtocolError);
}
INSTANTIATE_TEST_SUITE_P(Counts, BadFdCountTest, testing::Values(1, 3, 4, 10, 253));

TEST_F(HostileTest, EmptyRecordEndsTheSession) {
  evil_->Greet();
  ASSERT_TRUE(evil_->Send({}));
  ExpectSessionEnd(SessionEndReason::kPeerGone);
}

// ---- greeting ----

TEST_F(HostileTest, HelloWithoutFdIsFdPassingRefused) {
  ASSERT_TRUE(evil_->Send(BytesOf(MakeHello())));
  ExpectSessionEnd(SessionEndReason::kFdPassingRefused);
}

TEST_F(HostileTest, HelloWithAnFdThatIsNoHalfIsFdPassingRefused) {
  ASSERT_TRUE(evil_->Send(BytesOf(MakeHello()), {evil_->fd()}));
  ExpectSessionEnd(SessionEndReason::kFdPassingRefused);
}

TEST_F(HostileTest, OtherVersionsEndWithVersionMismatch) {
  HelloMessage hello = MakeHello();
  hello.version_min = hello.version_max = kSessionVersion + 1;
  ASSERT_TRUE(evil_->Send(BytesOf(hello)));
  ExpectSessionEnd(SessionEndReason::kVersionMismatch);
}

TEST_F(HostileTest, OtherPageSizesEndWithVersionMismatch) {
  HelloMessage hello = MakeHello();
  hello.page_bytes = 65536;
  ASSERT_TRUE(evil_->Send(BytesOf(hello)));
  ExpectSessionEnd(SessionEndReason::kVersionMismatch);
}

TEST_F(HostileTest, SilentPeerIsGivenUpAfterTwoSeconds) {
  ExpectSessionEnd(SessionEndReason::kPeerGone);
}

TEST_F(HostileTest, LongerHelloOfALaterVersionIsTaken) {
  HelloMessage hello = MakeHello();
  hello.version_max = kSessionVersion + 1;
  hello.header.bytes += 8;
  HalfMap map;
  const UniqueFd probe = HostilePeer::MakeFd(HostilePeer::Spec(kMinCapacity), &map);
  UnmapHalf<TestSys>(&map);
  ASSERT_TRUE(evil_->Send(BytesOf(hello, "12345678"), {probe.get()}));
  Message message;
  ASSERT_TRUE(evil_->ReceiveType(MessageType::kWelcome, &message));
  EXPECT_EQ(message.welcome.status, 0U);
  EXPECT_EQ(message.welcome.version, kSessionVersion);
}

// ---- OPEN ----

TEST_F(HostileTest, S1IdOfTheOtherSideEndsTheSession) {
  evil_->Greet();
  const auto stream = evil_->MakeStream();
  ASSERT_TRUE(
      evil_->Send(MakeOpen(2, 1, echo_.port()), {stream->far_bell.get(), stream->half.get()}));
  ExpectSessionEnd(SessionEndReason::kProtocolError);
}

TEST_F(HostileTest, S1ReusedIdEndsTheSessionAndLeavesTheStream) {
  OpenStream();
  const auto second = evil_->MakeStream();
  ASSERT_TRUE(evil_->Send(MakeOpen(stream_->id, 9, echo_.port()),
                          {second->far_bell.get(), second->half.get()}));
  ExpectSessionEnd(SessionEndReason::kProtocolError);
  uint64_t count = 0;
  ASSERT_EQ(stream_->end.Write("abc", 3, &count), Status::kOk);
  char text[3];
  EXPECT_TRUE(WaitFor([&] { return stream_->end.Read(text, 3, &count) == Status::kOk; })) << "S4";
}

TEST_F(HostileTest, PairInUseEndsTheSession) {
  OpenStream();
  const auto second = evil_->MakeStream();
  ASSERT_TRUE(evil_->Send(MakeOpen(evil_->TakeId(), 1, echo_.port()),
                          {second->far_bell.get(), second->half.get()}));
  ExpectSessionEnd(SessionEndReason::kProtocolError);
}

TEST_F(HostileTest, S3OpenOutsideItsGrantIsRefused) {
  evil_->Greet();
  for (const auto& [service, port] :
       {std::pair<std::string, uint16_t>{"default/other", echo_.port()}, {kService, 1}}) {
    const auto stream = evil_->MakeStream();
    ASSERT_TRUE(evil_->Send(MakeOpen(evil_->TakeId(), 1, port, false, service),
                            {stream->far_bell.get(), stream->half.get()}));
    Message message;
    ASSERT_TRUE(evil_->ReceiveType(MessageType::kRefuse, &message));
    EXPECT_EQ(message.refuse.reason, static_cast<uint32_t>(RefuseReason::kNotGranted));
  }
}

TEST_F(HostileTest, S5KeptPairThatWasNeverMadeIsRefused) {
  evil_->Greet();
  const auto stream = evil_->MakeStream();
  ASSERT_TRUE(
      evil_->Send(MakeOpen(evil_->TakeId(), 77, echo_.port(), true), {stream->far_bell.get()}));
  Message message;
  ASSERT_TRUE(evil_->ReceiveType(MessageType::kRefuse, &message));
  EXPECT_EQ(message.refuse.reason, static_cast<uint32_t>(RefuseReason::kUnknownPair));
}

class StreamLimitTest : public HostileTest {
 protected:
  static RelayOptions Options() {
    RelayOptions options;
    options.max_streams_per_peer = 1;
    return options;
  }
  StreamLimitTest() : HostileTest(true, Options()) {}
  // Asks for a stream on the pair that is kept; what the answer is.
  void OpenKept(Message* message) {
    bell_ = evil_->MakeStream();
    ASSERT_TRUE(
        evil_->Send(MakeOpen(evil_->TakeId(), 1, echo_.port(), true), {bell_->far_bell.get()}));
    bell_->far_bell.Reset();
    ASSERT_TRUE(evil_->Receive(message));
  }
  std::unique_ptr<HostileStream> bell_;
};

TEST_F(StreamLimitTest, HoldsForKeptPairsAndLeavesThemKept) {
  OpenStream();
  CloseStream();
  Message message;
  ASSERT_TRUE(evil_->ReceiveType(MessageType::kReleased, &message));
  ASSERT_EQ(message.pair.is_reusable, 1U);
  stream_ = evil_->Open(echo_.port());
  ASSERT_NE(stream_, nullptr);
  OpenKept(&message);
  ASSERT_EQ(message.type, MessageType::kRefuse);
  EXPECT_EQ(message.refuse.reason, static_cast<uint32_t>(RefuseReason::kLimit));
  CloseStream();
  ASSERT_TRUE(evil_->ReceiveType(MessageType::kReleased, &message));
  OpenKept(&message);
  EXPECT_EQ(message.type, MessageType::kAccept);
  bell_.reset();
}

// Connects to it stay unanswered: its backlog is full.
class StuckServer {
 public:
  StuckServer() {
    listen(server_.fd(), 0);
    for (int i = 0; i < 4; i++) {
      UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      const sockaddr_in address = Loopback(server_.port());
      static_cast<void>(
          connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address));
      fillers_.push_back(std::move(fd));
    }
    std::this_thread::sleep_for(20ms);
  }
  uint16_t port() const { return server_.port(); }

 private:
  TcpServer server_;
  std::vector<UniqueFd> fillers_;
};

class StuckAppTest : public HostileTest {
 protected:
  void SetUp() override {
    HostileTest::SetUp();
    stuck_ = std::make_unique<StuckServer>();
    ASSERT_EQ(victim()->SetGrants("evil", {{kService, stuck_->port()}}), 0);
    victim()->SetDelivery({{stuck_->port(), "127.0.0.1"}, {echo_.port(), "127.0.0.1"}});
    evil_->Greet();
  }
  void TearDown() override {
    streams_.clear();
    stuck_.reset();
    HostileTest::TearDown();
  }
  void OpenOne() {
    streams_.push_back(evil_->MakeStream());
    HostileStream& stream = *streams_.back();
    ASSERT_TRUE(evil_->Send(MakeOpen(evil_->TakeId(), ++pairs_, stuck_->port()),
                            {stream.far_bell.get(), stream.half.get()}));
    stream.far_bell.Reset();
  }
  std::unique_ptr<StuckServer> stuck_;
  std::vector<std::unique_ptr<HostileStream>> streams_;
  uint32_t pairs_ = 0;
};

TEST_F(StuckAppTest, S2NinthUnansweredOpenEndsTheSession) {
  for (int i = 0; i < 9; i++) OpenOne();
  ExpectSessionEnd(SessionEndReason::kProtocolError);
}

TEST_F(StuckAppTest, CancelledOpenIsAnsweredAndForgotten) {
  OpenOne();
  streams_.clear();  // closes its doorbell
  Message message;
  ASSERT_TRUE(evil_->ReceiveType(MessageType::kRefuse, &message));
}

TEST_F(StuckAppTest, RevokedWhileItsAppIsConnectedToIsRefused) {
  OpenOne();
  std::this_thread::sleep_for(20ms);
  ASSERT_EQ(victim()->Revoke("evil", {{kService, stuck_->port()}}), 0);
  Message message;
  ASSERT_TRUE(evil_->ReceiveType(MessageType::kRefuse, &message));
  EXPECT_EQ(message.refuse.reason, static_cast<uint32_t>(RefuseReason::kNotGranted));
}

// The agent's duplicate of the doorbell, or a hostile opener's: its events find nobody.
TEST_F(StuckAppTest, DoorbellKeptByItsOpenerAfterARefusalIsHarmless) {
  auto stream = evil_->MakeStream();
  ASSERT_TRUE(evil_->Send(MakeOpen(evil_->TakeId(), 50, stuck_->port()),
                          {stream->far_bell.get(), stream->half.get()}));
  std::this_thread::sleep_for(20ms);
  ASSERT_EQ(victim()->Revoke("evil", {{kService, stuck_->port()}}), 0);
  Message message;
  ASSERT_TRUE(evil_->ReceiveType(MessageType::kRefuse, &message));
  std::this_thread::sleep_for(5ms);
  stream->bell.Reset();  // a hang-up on the end that the victim has closed and we still hold
  std::this_thread::sleep_for(20ms);
}

// ---- fds that do not arrive because there is no number left for them ----

// Leaves this process `free` descriptors until it goes.
class FdShortage {
 public:
  // The relay runs in this process: what it is still to close would become free afterwards. An
  // answer of its thread says that it is done with what came before.
  FdShortage(size_t free, relay::Relay& relay) {
    static_cast<void>(relay.Sessions());
    getrlimit(RLIMIT_NOFILE, &old_);
    const UniqueFd above(fcntl(0, F_DUPFD_CLOEXEC, 512));
    const rlimit low{static_cast<rlim_t>(above.get()), old_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &low);
    for (;;) {
      UniqueFd fd(fcntl(0, F_DUPFD_CLOEXEC, 0));
      if (!fd.valid()) break;
      taken_.push_back(std::move(fd));
    }
    taken_.resize(taken_.size() - free);
  }
  ~FdShortage() { setrlimit(RLIMIT_NOFILE, &old_); }
  FdShortage(const FdShortage&) = delete;
  FdShortage& operator=(const FdShortage&) = delete;

 private:
  rlimit old_{};
  std::vector<UniqueFd> taken_;
};

class FdShortageTest : public HostileTest, public testing::WithParamInterface<size_t> {};
TEST_P(FdShortageTest, OpenIsRefusedWithLimitAndTheSessionGoesOn) {
  evil_->Greet();
  const auto stream = evil_->MakeStream();
  Message message;
  {
    const FdShortage shortage(GetParam(), *victim().operator->());
    ASSERT_TRUE(evil_->Send(MakeOpen(evil_->TakeId(), 40, echo_.port()),
                            {stream->far_bell.get(), stream->half.get()}));
    ASSERT_TRUE(evil_->ReceiveType(MessageType::kRefuse, &message));
  }
  EXPECT_EQ(message.refuse.reason, static_cast<uint32_t>(RefuseReason::kLimit));
  stream_ = evil_->Open(echo_.port());
  EXPECT_NE(stream_, nullptr);
}
INSTANTIATE_TEST_SUITE_P(Free, FdShortageTest, testing::Values(0, 1));

TEST_F(HostileTest, HelloWithoutAFreeFdEndsWithLimit) {
  HalfMap map;
  const UniqueFd probe = HostilePeer::MakeFd(HostilePeer::Spec(kMinCapacity), &map);
  UnmapHalf<TestSys>(&map);
  const FdShortage shortage(0, *victim().operator->());
  ASSERT_TRUE(evil_->Send(BytesOf(MakeHello()), {probe.get()}));
  ExpectSessionEnd(SessionEndReason::kLimit);
}

// ---- fds that are not what they should be ----

struct BadFd {
  const char* name;
  bool is_doorbell;
  UniqueFd (*make)();
};
UniqueFd Unsealed() { return UniqueFd(CreateHalf<TestSys>(HostilePeer::Spec(kFirstCapacity))); }
UniqueFd SealedOf(uint64_t bytes, bool is_sparse) {
  UniqueFd fd(memfd_create("half", MFD_ALLOW_SEALING | MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  if (!is_sparse) {
    EXPECT_EQ(fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes)), 0);
  }
  EXPECT_EQ(fcntl(fd.get(), F_ADD_SEALS, kHalfSeals), 0);
  return fd;
}
class BadFdTest : public HostileTest, public testing::WithParamInterface<BadFd> {};
TEST_P(BadFdTest, S6EndsTheSession) {
  evil_->Greet();
  const auto stream = evil_->MakeStream();
  const UniqueFd bad = GetParam().make();
  const int bell = GetParam().is_doorbell ? bad.get() : stream->far_bell.get();
  const int half = GetParam().is_doorbell ? stream->half.get() : bad.get();
  ASSERT_TRUE(evil_->Send(MakeOpen(evil_->TakeId(), 1, echo_.port()), {bell, half}));
  ExpectSessionEnd(SessionEndReason::kBadFd);
}
INSTANTIATE_TEST_SUITE_P(
    Fds, BadFdTest,
    testing::Values(BadFd{"unsealedHalf", false, [] { return Unsealed(); }},
                    BadFd{"shortHalf", false, [] { return SealedOf(4096, false); }},
                    BadFd{"sparseHalf", false, [] { return SealedOf(20480, true); }},
                    BadFd{"emptyHeader", false, [] { return SealedOf(20480, false); }},
                    BadFd{"hugeHalf", false, [] { return SealedOf(4096 + (4 << 20), false); }},
                    BadFd{"eventfdAsHalf", false, [] { return UniqueFd(eventfd(0, EFD_CLOEXEC)); }},
                    BadFd{"memfdAsDoorbell", true, [] { return Unsealed(); }},
                    BadFd{"streamSocketAsDoorbell", true,
                          [] { return UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }},
                    BadFd{"tcpAsDoorbell", true,
                          [] { return UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); }}),
    [](const auto& info) { return std::string(info.param.name); });

// Right in all but its family: records and send buffers are there, and mean something else.
TEST_F(HostileTest, DoorbellOfAnotherFamilyEndsTheSession) {
  const UniqueFd bell(socket(AF_VSOCK, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  evil_->Greet();
  if (!bell.valid()) GTEST_SKIP() << "this kernel has no AF_VSOCK";
  const auto stream = evil_->MakeStream();
  ASSERT_TRUE(
      evil_->Send(MakeOpen(evil_->TakeId(), 1, echo_.port()), {bell.get(), stream->half.get()}));
  ExpectSessionEnd(SessionEndReason::kBadFd);
}

TEST_F(HostileTest, UnconnectedDoorbellEndsItsStreamOnly) {
  evil_->Greet();
  const auto stream = evil_->MakeStream();
  const UniqueFd bell(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  ASSERT_TRUE(
      evil_->Send(MakeOpen(evil_->TakeId(), 1, echo_.port()), {bell.get(), stream->half.get()}));
  EXPECT_TRUE(victim().WaitForEnds(EndReason::kPeerDied, 1));
  EXPECT_EQ(victim()->Sessions().size(), 2U);
}

// ---- the victim opens, we answer ----

class HostileAcceptorTest : public HostileTest {
 protected:
  HostileAcceptorTest() : HostileTest(false) {}
  void Listen() {
    Upstream upstream;
    upstream.service = kService;
    upstream.endpoints = {ShmEndpoint(echo_.port(), kEvilPod)};
    listener_ = victim()->Listen("127.0.0.1", 0, upstream, &port_);
    ASSERT_GT(listener_, 0);
  }
  void Call(const HelloMessage& hello = MakeHello()) {
    Listen();
    evil_->Greet(hello);
    client_ = TcpConnection::To(port_);
    ASSERT_TRUE(evil_->ReceiveType(MessageType::kOpen, &open_, &bell_, &half_));
  }
  void TearDown() override {
    client_.Close();
    bell_.Reset();
    half_.Reset();
    if (listener_ > 0) {
      EXPECT_EQ(victim()->Unlisten(listener_), 0);
    }
    HostileTest::TearDown();
  }
  // The opener let go of its doorbell.
  void ExpectHangUp() const {
    pollfd entry{bell_.get(), 0, 0};
    EXPECT_EQ(poll(&entry, 1, kHangMs), 1);
    EXPECT_NE(entry.revents & POLLHUP, 0);
  }
  // The app got its answer by TCP: the stream that was not to be had is no loss.
  void ExpectTcp(FallbackReason reason) {
    ASSERT_TRUE(client_.Send("by tcp"));
    EXPECT_EQ(client_.Read(6), "by tcp");
    EXPECT_EQ(victim().Fallbacks(reason), 1U);
  }
  // Answers with a half as an honest peer does.
  std::unique_ptr<HostileStream> AcceptOpen() {
    auto stream = std::make_unique<HostileStream>();
    stream->half = HostilePeer::MakeFd(HostilePeer::Spec(kFirstCapacity), &stream->mine);
    TestEnd::Prepare(stream->mine, 0);
    EXPECT_TRUE(evil_->Send(MakeAccept(open_.open.id), {stream->half.get()}));
    HalfBounds bounds;
    bounds.page_bytes = PageBytes();
    HalfMap peer;
    EXPECT_EQ(MapAsReader<TestSys>(half_.get(), bounds, &peer), Status::kOk);
    stream->bell = std::move(bell_);
    stream->end.Begin(stream->bell.get(), stream->mine, peer, 0);
    stream->mine = HalfMap{};
    return stream;
  }

  TcpConnection client_;
  HalfMap stray_;
  Message open_;
  UniqueFd bell_;
  UniqueFd half_;
  int listener_ = 0;
  uint16_t port_ = 0;
};

TEST_F(HostileAcceptorTest, AcceptWithoutAHalfEndsTheSession) {
  Call();
  ASSERT_TRUE(evil_->Send(MakeAccept(open_.open.id)));
  ExpectSessionEnd(SessionEndReason::kProtocolError);
  ExpectTcp(FallbackReason::kPeerRefused);
}

TEST_F(HostileAcceptorTest, AcceptWithABadHalfEndsTheSession) {
  Call();
  const UniqueFd bad = Unsealed();
  ASSERT_TRUE(evil_->Send(MakeAccept(open_.open.id), {bad.get()}));
  ExpectSessionEnd(SessionEndReason::kBadFd);
  ExpectTcp(FallbackReason::kPeerRefused);
}

TEST_F(HostileAcceptorTest, SecondAcceptEndsTheSessionAndLeavesTheStream) {
  Call();
  stream_ = AcceptOpen();
  ASSERT_TRUE(evil_->Send(MakeAccept(open_.open.id), {stream_->half.get()}));
  ExpectSessionEnd(SessionEndReason::kProtocolError);
  ASSERT_TRUE(client_.Send("abc"));
  char text[3];
  uint64_t got = 0;
  EXPECT_TRUE(WaitFor([&] { return stream_->end.Read(text, 3, &got) == Status::kOk; }));
}

TEST_F(HostileAcceptorTest, AcceptThatLostItsHalfForWantOfAnFdMeansTcpQuota) {
  Call();
  const UniqueFd half = HostilePeer::MakeFd(HostilePeer::Spec(kFirstCapacity), &stray_);
  UnmapHalf<TestSys>(&stray_);
  {
    const FdShortage shortage(0, *victim().operator->());
    ASSERT_TRUE(evil_->Send(MakeAccept(open_.open.id), {half.get()}));
    EXPECT_TRUE(WaitFor([&] { return victim().Fallbacks(FallbackReason::kQuota) == 1; }));
  }
  ExpectTcp(FallbackReason::kQuota);
  EXPECT_EQ(victim()->Sessions().size(), 2U);
}

TEST_F(HostileAcceptorTest, PeerThatDiesWithAnOpenUnansweredIsPeerRefused) {
  Call();
  evil_->Close();
  ExpectSessionEnd(SessionEndReason::kPeerGone);
  ExpectTcp(FallbackReason::kPeerRefused);
}

TEST_F(HostileAcceptorTest, PeerThatDiesWhileGreetingIsPeerRefusedAndWasAskedForByNobody) {
  Listen();
  client_ = TcpConnection::To(port_);
  ASSERT_TRUE(client_.is_open());
  ASSERT_TRUE(WaitFor([&] { return victim().Count(relay::kOutboundAccepted) == 1; }));
  evil_->Close();
  ExpectTcp(FallbackReason::kPeerRefused);
  EXPECT_FALSE(victim().Saw(Event::Kind::kSessionNeeded, kEvilPod));
}

TEST_F(HostileAcceptorTest, RevokedOpenOfOursIsGivenUpAndGoesOverTcp) {
  Call();
  ASSERT_EQ(victim()->Revoke("evil", Granted()), 0);
  ExpectHangUp();
  ExpectTcp(FallbackReason::kPolicyDenied);
  const UniqueFd late = HostilePeer::MakeFd(HostilePeer::Spec(kFirstCapacity), &stray_);
  UnmapHalf<TestSys>(&stray_);
  ASSERT_TRUE(evil_->Send(MakeAccept(open_.open.id), {late.get()}));
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(victim()->Sessions().size(), 2U) << "an answer that crossed is no breach";
}

TEST_F(HostileAcceptorTest, S5CancelledOpenOfAKeptPairMeansForget) {
  Call();
  stream_ = AcceptOpen();
  const uint32_t pair = open_.open.pair;
  client_.ShutWrite();
  stream_->end.Fin();
  EXPECT_EQ(client_.ReadEnd(), 0);
  ASSERT_TRUE(evil_->Send(MakePairMessage(MessageType::kReleased, pair, 1)));
  ASSERT_TRUE(WaitFor([&] { return victim().Count(relay::kPairsPooled) == 1; }));

  client_ = TcpConnection::To(port_);
  ASSERT_TRUE(evil_->ReceiveType(MessageType::kOpen, &open_, &bell_));
  ASSERT_EQ(open_.open.is_kept, 1U);
  EXPECT_EQ(open_.open.pair, pair);
  Message message;
  ASSERT_TRUE(evil_->ReceiveType(MessageType::kForget, &message));  // after the time-out
  EXPECT_EQ(message.pair.pair, pair);
  ExpectHangUp();
  ExpectTcp(FallbackReason::kPeerRefused);
  ASSERT_TRUE(evil_->Send(MakeAccept(open_.open.id)));
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(victim()->Sessions().size(), 2U);
}

class BadRefuseTest : public HostileAcceptorTest, public testing::WithParamInterface<uint32_t> {};
TEST_P(BadRefuseTest, EndsTheSession) {
  Call();
  ASSERT_TRUE(evil_->Send(MakeRefuse(open_.open.id, GetParam())));
  ExpectSessionEnd(SessionEndReason::kProtocolError);
  ExpectTcp(FallbackReason::kPeerRefused);
}
// The last: a new pair cannot be unknown.
INSTANTIATE_TEST_SUITE_P(Reasons, BadRefuseTest, testing::Values(0U, 8U, 0xffffffffU, 7U));

TEST_F(HostileAcceptorTest, PeerThatNeverAnswersCostsOneTimeout) {
  Call();
  ExpectTcp(FallbackReason::kPeerRefused);
}

TEST_F(HostileAcceptorTest, ReleasedTwiceEndsTheSession) {
  Call();
  stream_ = AcceptOpen();
  const Bytes released = MakePairMessage(MessageType::kReleased, open_.open.pair, 1);
  ASSERT_TRUE(evil_->Send(released));
  ASSERT_TRUE(evil_->Send(released));
  ExpectSessionEnd(SessionEndReason::kProtocolError);
}

TEST_F(HostileAcceptorTest, ReleasedWhileTheStreamRunsHurtsOnlyItsSender) {
  Call();
  stream_ = AcceptOpen();
  ASSERT_TRUE(evil_->Send(MakePairMessage(MessageType::kReleased, open_.open.pair, 0)));
  ASSERT_TRUE(evil_->Send(MakePairMessage(MessageType::kReleased, 12345, 1)));
  ASSERT_TRUE(evil_->Send(MakePairMessage(MessageType::kForget, 12345, 0)));
  ASSERT_TRUE(client_.Send("abc"));
  char text[3];
  uint64_t got = 0;
  EXPECT_TRUE(WaitFor([&] { return stream_->end.Read(text, 3, &got) == Status::kOk; }));
  EXPECT_EQ(victim()->Sessions().size(), 2U);
}

TEST_F(HostileAcceptorTest, RingBoundThatIsNoPowerOfTwoIsRoundedDown) {
  HelloMessage hello = MakeHello();
  hello.max_ring_bytes = 40000;
  Call(hello);
  stream_ = AcceptOpen();
  std::thread writer([&] { EXPECT_TRUE(client_.Send(Pattern(0, 200000))); });
  std::string all;
  uint64_t largest = 0;
  EXPECT_TRUE(WaitFor([&] {
    std::string part(100000, '\0');
    uint64_t got = 0;
    static_cast<void>(stream_->end.Read(part.data(), part.size(), &got));
    all.append(part, 0, got);
    largest = std::max(largest, stream_->state.reading.capacity);
    return all.size() == 200000;
  }));
  writer.join();
  EXPECT_TRUE(all == Pattern(0, 200000));
  EXPECT_EQ(largest, 32768U);
}

}  // namespace
}  // namespace shimmy::test
