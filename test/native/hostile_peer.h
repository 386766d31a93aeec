// A peer that does what it likes: hand-made session messages, streams and words. The victim is a
// real relay, reached by a raw socket.
#ifndef SHIMMY_TEST_HOSTILE_PEER_H_
#define SHIMMY_TEST_HOSTILE_PEER_H_

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "relay_fixture.h"
#include "shimmy/session_wire.h"

namespace shimmy::test {

inline constexpr const char* kEvilPod = "pod-evil";

using Bytes = std::vector<unsigned char>;

template <class T>
Bytes BytesOf(const T& message, const std::string& text = "") {
  Bytes bytes(sizeof message + text.size());
  std::memcpy(bytes.data(), &message, sizeof message);
  std::memcpy(bytes.data() + sizeof message, text.data(), text.size());
  return bytes;
}

inline HelloMessage MakeHello() {
  HelloMessage hello{};
  hello.header = HeaderOf<HelloMessage>(MessageType::kHello);
  hello.magic = kSessionMagic;
  hello.version_min = kSessionVersionMin;
  hello.version_max = kSessionVersion;
  hello.page_bytes = static_cast<uint32_t>(PageBytes());
  hello.max_streams = 1000;
  hello.max_ring_bytes = 1 << 20;
  hello.max_total_bytes = 1 << 30;
  return hello;
}
inline WelcomeMessage MakeWelcome() {
  WelcomeMessage welcome{};
  welcome.header = HeaderOf<WelcomeMessage>(MessageType::kWelcome);
  welcome.version = kSessionVersion;
  return welcome;
}
inline Bytes MakeOpen(uint64_t id, uint32_t pair, uint16_t port, bool is_kept = false,
                      const std::string& service = kService) {
  OpenMessage open{};
  open.header = HeaderOf<OpenMessage>(MessageType::kOpen, service.size());
  open.id = id;
  open.pair = pair;
  open.port = port;
  open.service_bytes = static_cast<uint16_t>(service.size());
  open.is_kept = is_kept ? 1 : 0;
  return BytesOf(open, service);
}
inline Bytes MakeAccept(uint64_t id) {
  return BytesOf(AcceptMessage{HeaderOf<AcceptMessage>(MessageType::kAccept), id});
}
inline Bytes MakeRefuse(uint64_t id, uint32_t reason) {
  RefuseMessage refuse{};
  refuse.header = HeaderOf<RefuseMessage>(MessageType::kRefuse);
  refuse.id = id;
  refuse.reason = reason;
  return BytesOf(refuse);
}
inline Bytes MakePairMessage(MessageType type, uint32_t pair, uint32_t is_reusable) {
  return BytesOf(PairMessage{HeaderOf<PairMessage>(type), pair, is_reusable});
}

// The hostile side's end of one stream. With end() it can also behave.
struct HostileStream {
  HostileStream() : end(&state) {}
  ~HostileStream() {
    UnmapHalf<TestSys>(&state.mine);
    UnmapHalf<TestSys>(&state.reading);
    UnmapHalf<TestSys>(&state.next);
    UnmapHalf<TestSys>(&mine);
  }
  HostileStream(const HostileStream&) = delete;
  HostileStream& operator=(const HostileStream&) = delete;
  ControlPage& page() { return *(state.mine.valid() ? state.mine : mine).control; }

  uint64_t id = 0;
  HalfMap mine;  // until the stream stands, then in `state`
  UniqueFd half;
  UniqueFd bell;
  UniqueFd far_bell;  // the victim's end, kept although nobody should
  EndState state;
  TestEnd end;
};

class HostilePeer {
 public:
  // The victim takes the part that hostile `is_opener` leaves to it.
  HostilePeer(TestRelay* victim, const std::vector<Grant>& accept, bool is_opener = true)
      : next_id_(is_opener ? 1 : 2) {
    int ends[2];
    SessionSockets(ends);
    fd_.Reset(ends[0]);
    SessionInit init = MakeSession("evil", ends[1], !is_opener, accept);
    init.peer.pod = kEvilPod;
    EXPECT_EQ((*victim)->AddSession(init), 0);
  }

  int fd() const { return fd_.get(); }
  void Close() { fd_.Reset(); }
  bool Send(const Bytes& bytes, const std::vector<int>& fds = {}) {
    iovec part{const_cast<unsigned char*>(bytes.data()), bytes.size()};
    std::vector<unsigned char> control(CMSG_SPACE(fds.size() * sizeof(int)));
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* const c = CMSG_FIRSTHDR(&message);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      std::memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
    }
    return sendmsg(fd_.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }
  // The next message, and its first fd. False: end of file, or a hang.
  bool Receive(Message* message, UniqueFd* fd0 = nullptr, UniqueFd* fd1 = nullptr) {
    pollfd entry{fd_.get(), POLLIN, 0};
    if (poll(&entry, 1, kHangMs) <= 0) return false;
    unsigned char bytes[kMaxMessageBytes];
    alignas(cmsghdr) unsigned char control[CMSG_SPACE(2 * sizeof(int))];
    iovec part{bytes, sizeof bytes};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const ssize_t length = recvmsg(fd_.get(), &header, MSG_CMSG_CLOEXEC);
    if (length <= 0) return false;
    int fds[2] = {-1, -1};
    size_t count = 0;
    if (const cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr) {
      count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      std::memcpy(fds, CMSG_DATA(c), count * sizeof(int));
    }
    UniqueFd owned[2] = {UniqueFd(fds[0]), UniqueFd(fds[1])};
    if (fd0 != nullptr) *fd0 = std::move(owned[0]);
    if (fd1 != nullptr) *fd1 = std::move(owned[1]);
    return ParseMessage(bytes, static_cast<size_t>(length), count, message);
  }
  bool ReceiveType(MessageType type, Message* message, UniqueFd* fd0 = nullptr,
                   UniqueFd* fd1 = nullptr) {
    while (Receive(message, fd0, fd1)) {
      if (message->type == type) return true;
    }
    return false;
  }

  // A sealed half with these words, and where its fd is.
  static UniqueFd MakeFd(const HalfSpec& spec, HalfMap* map) {
    int fd = -1;
    EXPECT_EQ(MakeHalf(spec, map, &fd), Status::kOk);
    return UniqueFd(fd);
  }
  static HalfSpec Spec(uint64_t capacity) {
    HalfSpec spec;
    spec.page_bytes = PageBytes();
    spec.capacity = capacity;
    return spec;
  }

  // Greets like an honest peer.
  void Greet(const HelloMessage& hello = MakeHello()) {
    HalfMap map;
    const UniqueFd probe = MakeFd(Spec(kMinCapacity), &map);
    UnmapHalf<TestSys>(&map);
    ASSERT_TRUE(Send(BytesOf(hello), {probe.get()}));
    ASSERT_TRUE(Send(BytesOf(MakeWelcome())));
    Message message;
    ASSERT_TRUE(ReceiveType(MessageType::kWelcome, &message));
    ASSERT_EQ(message.welcome.status, 0U);
  }

  std::unique_ptr<HostileStream> MakeStream(uint64_t capacity = kFirstCapacity) {
    auto stream = std::make_unique<HostileStream>();
    stream->half = MakeFd(Spec(capacity), &stream->mine);
    TestEnd::Prepare(stream->mine, 0);
    EXPECT_EQ(ProbeDoorbell<TestSys>(&stream->state.sizes), Status::kOk);
    int ends[2];
    EXPECT_EQ(CreateDoorbell<TestSys>(stream->state.sizes, ends), Status::kOk);
    stream->bell.Reset(ends[0]);
    stream->far_bell.Reset(ends[1]);
    return stream;
  }
  // Opens a stream as an honest peer does; null when it is refused.
  std::unique_ptr<HostileStream> Open(uint16_t port, bool keeps_far_bell = false,
                                      uint64_t capacity = kFirstCapacity) {
    auto stream = MakeStream(capacity);
    stream->id = next_id_;
    next_id_ += 2;
    EXPECT_TRUE(Send(MakeOpen(stream->id, next_pair_++, port),
                     {stream->far_bell.get(), stream->half.get()}));
    if (!keeps_far_bell) stream->far_bell.Reset();
    Message message;
    UniqueFd half;
    do {
      if (!Receive(&message, &half)) return nullptr;
      last_refusal_ = message.refuse.reason;
      if (message.type == MessageType::kRefuse) return nullptr;
    } while (message.type != MessageType::kAccept);
    HalfMap peer;
    HalfBounds bounds;
    bounds.page_bytes = PageBytes();
    if (MapAsReader<TestSys>(half.get(), bounds, &peer) != Status::kOk) return nullptr;
    stream->end.Begin(stream->bell.get(), stream->mine, peer, 0);
    stream->mine = HalfMap{};
    return stream;
  }
  // Why the last Open() was refused.
  uint32_t last_refusal() const { return last_refusal_; }
  uint64_t TakeId() {
    const uint64_t id = next_id_;
    next_id_ += 2;
    return id;
  }

 private:
  UniqueFd fd_;
  uint64_t next_id_;
  uint32_t next_pair_ = 1;
  uint32_t last_refusal_ = 0;
};

// A victim that also serves an honest peer, whose connection has to survive whatever happens, and
// a count of what the process held before.
class HostileTest : public testing::Test {
 protected:
  explicit HostileTest(bool is_opener = true, const RelayOptions& victim = {})
      : pair_({}, victim), is_opener_(is_opener) {}
  void SetUp() override {
    honest_port_ = pair_.ServeAndConnect(echo_.port());
    honest_ = TcpConnection::To(honest_port_);
    ExpectHonestEcho();
    fds_ = CountFds();
    mappings_ = CountHalfMappings();
    evil_ = std::make_unique<HostilePeer>(&victim(), Granted(), is_opener_);
  }
  void TearDown() override {
    ExpectHonestEcho();
    stream_.reset();
    evil_.reset();
    EXPECT_TRUE(WaitFor([&] { return victim()->Sessions().size() == 1; }));
    EXPECT_TRUE(WaitFor([&] { return CountFds() <= fds_; })) << CountFds() << " fds, were " << fds_;
    EXPECT_TRUE(WaitFor([&] { return CountHalfMappings() <= mappings_; }))
        << CountHalfMappings() << " mappings, were " << mappings_;
    ExpectHonestEcho();
  }
  TestRelay& victim() { return pair_.b; }
  std::vector<Grant> Granted() const { return {{kService, echo_.port()}}; }
  void ExpectHonestEcho() {
    const std::string text = Pattern(salt_++, 5000);
    ASSERT_TRUE(honest_.Send(text));
    ASSERT_TRUE(honest_.Read(text.size()) == text);
  }
  void ExpectSessionEnd(SessionEndReason reason) {
    EXPECT_EQ(kSessionEndReasonNames[static_cast<size_t>(victim().WaitForSessionEnd("evil"))],
              std::string(kSessionEndReasonNames[static_cast<size_t>(reason)]));
  }
  void OpenStream(bool keeps_far_bell = false) {
    evil_->Greet();
    stream_ = evil_->Open(echo_.port(), keeps_far_bell);
    ASSERT_NE(stream_, nullptr);
  }
  // Ends as an honest peer does: the echo behind the victim answers our end with its own.
  void CloseStream() {
    stream_->end.Fin();
    char byte;
    uint64_t got = 0;
    EXPECT_TRUE(WaitFor([&] { return stream_->end.Read(&byte, 1, &got) == Status::kEof; }));
    stream_.reset();
  }
  void ExpectStreamEnd(EndReason reason) {
    EXPECT_TRUE(victim().WaitForEnds(reason, 1)) << kEndReasonNames[static_cast<size_t>(reason)];
  }

  EchoServer echo_;
  RelayPair pair_;
  std::unique_ptr<HostilePeer> evil_;
  std::unique_ptr<HostileStream> stream_;
  uint16_t honest_port_ = 0;

 private:
  const bool is_opener_;
  TcpConnection honest_;
  size_t fds_ = 0;
  size_t mappings_ = 0;
  uint64_t salt_ = 0;
};

}  // namespace shimmy::test

#endif  // SHIMMY_TEST_HOSTILE_PEER_H_
