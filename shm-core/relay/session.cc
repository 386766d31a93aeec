#include "session.h"

#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "inbound.h"

namespace shimmy::relay {

namespace {

constexpr int kMessagesPerTurn = 64;
constexpr size_t kMaxOutgoing = 4096;
constexpr uint64_t kGreetingTimeoutNs = 2'000'000'000;

// What connections that waited for a session go over TCP with when it ended like this.
FallbackReason ReasonAfter(SessionEndReason end) {
  switch (end) {
    case SessionEndReason::kPeerGone:
    case SessionEndReason::kProtocolError:
    case SessionEndReason::kBadFd: return FallbackReason::kPeerRefused;
    case SessionEndReason::kVersionMismatch: return FallbackReason::kVersionMismatch;
    case SessionEndReason::kFdPassingRefused: return FallbackReason::kFdPassingRefused;
    case SessionEndReason::kRevoked: return FallbackReason::kPolicyDenied;
    case SessionEndReason::kLimit: return FallbackReason::kQuota;
    case SessionEndReason::kClosed:
    case SessionEndReason::kCount: break;
  }
  return FallbackReason::kAgentUnavailable;  // it took the session back
}

}  // namespace

Session::Session(Worker* worker, SessionInit init)
    : Task(worker), init_(std::move(init)), fd_(init_.fd), next_id_(init_.initiator ? 1 : 2) {
  init_.fd = -1;
  worker_.counters().Add(kActiveSessions);
}

Session::~Session() {
  for (auto& [id, entry] : opened_pairs_) DropPair(&entry.pair);
  for (auto& [id, pair] : parked_) DropPair(&pair);
  worker_.counters().Sub(kPairsPooled, kept_.size());
  worker_.counters().Sub(kActiveSessions);
}

void Session::Begin() {
  if (!worker_.Add(fd_.get(), EPOLLIN | EPOLLRDHUP, &watch_)) return End(SessionEndReason::kLimit);
  HalfSpec spec;
  spec.page_bytes = worker_.shared().page_bytes;
  spec.capacity = std::max(kMinCapacity, spec.page_bytes);
  HalfMap half;
  int probe = -1;
  // The smallest half there is proves that memfds can be passed and mapped between these pods.
  if (MakeOwnHalf(&worker_.shared(), spec, &half, &probe) == Status::kOk) {
    DropOwnHalf(&worker_.shared(), &half);
  }
  HelloMessage hello{};
  hello.header = HeaderOf<HelloMessage>(MessageType::kHello);
  hello.magic = kSessionMagic;
  hello.version_min = kSessionVersionMin;
  hello.version_max = kSessionVersion;
  hello.page_bytes = static_cast<uint32_t>(spec.page_bytes);
  hello.max_streams = worker_.options().max_streams_per_peer;
  hello.max_ring_bytes = worker_.options().max_ring_bytes;
  hello.max_total_bytes = worker_.options().ring_budget_bytes;
  worker_.SetTimer(this, Now() + kGreetingTimeoutNs);
  const SendState sent = SendFds(&hello, sizeof hello, probe, -1);
  if (probe >= 0) RelaySys::Close(probe);
  if (sent == SendState::kTooManyFds) End(SessionEndReason::kLimit);
}

SessionInfo Session::Info() const {
  SessionInfo info;
  info.id = init_.id;
  info.pod = init_.peer.pod;
  info.state = is_ready() ? "ready" : "greeting";
  info.streams = streams;
  info.unanswered = static_cast<uint32_t>(unanswered_.size());
  info.pooled_pairs = static_cast<uint32_t>(kept_.size() + parked_.size());
  return info;
}

bool Session::IsGranted(const std::string& service, uint16_t port) const {
  return std::any_of(init_.accept.begin(), init_.accept.end(), [&](const Grant& grant) {
    return grant.port == port && grant.service == service;
  });
}

void Session::RemoveGrants(const std::vector<Grant>& gone) {
  std::erase_if(init_.accept, [&](const Grant& grant) {
    return std::any_of(gone.begin(), gone.end(), [&](const Grant& other) {
      return other.port == grant.port && other.service == grant.service;
    });
  });
}

bool Session::MayGrow(uint64_t more_bytes) const {
  return own_bytes_ + more_bytes <= peer_max_bytes_;
}

void Session::Abort(EndReason) { End(SessionEndReason::kClosed); }

void Session::End(SessionEndReason reason) {
  if (state_ == State::kEnded) return;
  const bool was_ready = state_ == State::kReady;
  state_ = State::kEnded;
  worker_.sessions_by_id.erase(init_.id);
  const auto by_pod = worker_.sessions_by_pod.find(init_.peer.pod);
  if (by_pod != worker_.sessions_by_pod.end() && by_pod->second == this) {
    worker_.sessions_by_pod.erase(by_pod);
  }
  worker_.Forget(fd_.get());
  fd_.Reset();
  worker_.ForEachTask([this](Task* task) {
    Inbound* const inbound = task->AsInbound();
    if (inbound != nullptr && inbound->session_id() == init_.id) {
      inbound->ForgetSession();
      inbound->Abort(EndReason::kClosed);
    }
  });
  failure_ = ReasonAfter(reason);
  FailAll(failure_);
  Event event;
  event.kind = Event::Kind::kSessionEnded;
  event.subject = init_.id;
  event.session_end = reason;
  if (!was_ready) worker_.session_listener->OnSessionFailed(init_.peer.pod, failure_);
  worker_.shared().sink(event);
  worker_.Retire(this);
}

void Session::FailAll(FallbackReason reason) {
  std::map<uint64_t, Unanswered> unanswered;
  std::deque<Waiting> waiting;
  unanswered.swap(unanswered_);
  waiting.swap(waiting_);
  for (auto& [id, entry] : unanswered) {
    DropPair(&entry.pair);
    if (entry.waiter != nullptr) entry.waiter->OnNoStream(reason);
  }
  for (Waiting& entry : waiting) entry.waiter->OnNoStream(reason);
}

// ---- messages ----

namespace {

// A message that lost some of its fds on the way here, as it was sent.
bool ParseShortOfFds(const unsigned char* bytes, size_t length, size_t fds, Message* message) {
  for (size_t sent = fds + 1; sent <= kMaxMessageFds; sent++) {
    if (ParseMessage(bytes, length, sent, message)) return true;
  }
  return false;
}

bool HasFreeFd(int any) {
  const UniqueFd fd(fcntl(any, F_DUPFD_CLOEXEC, 0));
  return fd.valid();
}

}  // namespace

void Session::OnEvents(uint32_t events) {
  if (state_ == State::kEnded) return;
  if ((events & EPOLLOUT) != 0) Flush();
  for (int i = 0; i < kMessagesPerTurn && state_ != State::kEnded; i++) {
    if (!ReceiveOne()) break;
  }
}

// False: nothing more to receive now, or the session ended.
bool Session::ReceiveOne() {
  unsigned char bytes[kMaxMessageBytes + 1];
  alignas(cmsghdr) unsigned char control[CMSG_SPACE((kMaxMessageFds + 1) * sizeof(int))];
  iovec part{bytes, sizeof bytes};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t length = recvmsg(fd_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (length < 0) {
    if (errno != EAGAIN && errno != EINTR) End(SessionEndReason::kPeerGone);
    return false;
  }
  UniqueFd fds[kMaxMessageFds];
  size_t count = 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t in_message = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < in_message; i++, count++) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      UniqueFd owned(fd);
      if (count < kMaxMessageFds) fds[count] = std::move(owned);
    }
  }
  if (length == 0 && count == 0) {
    End(SessionEndReason::kPeerGone);  // an empty record has no place here either
    return false;
  }
  // More than there is room for: the peer broke the rule. Fewer: we had no descriptor left for
  // the others, or passing them is forbidden here, which only HELLO can tell.
  const bool is_short = (header.msg_flags & MSG_CTRUNC) != 0 && count < kMaxMessageFds;
  const bool is_cut = (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 && !is_short;
  Message message;
  const auto size = static_cast<size_t>(length);
  const bool is_parsed = is_short ? ParseShortOfFds(bytes, size, count, &message)
                                  : ParseMessage(bytes, size, count, &message);
  if (!is_parsed || is_cut || !Handle(message, fds, is_short)) {
    worker_.counters().Add(kSessionMessagesRefused);
    if (state_ != State::kEnded) End(SessionEndReason::kProtocolError);
    return false;
  }
  return state_ != State::kEnded;
}

// False: the message breaks the protocol (or ended the session for its own reason).
bool Session::Handle(const Message& message, UniqueFd fds[kMaxMessageFds], bool is_short) {
  const bool is_greeting =
      message.type == MessageType::kHello || message.type == MessageType::kWelcome;
  if (!is_greeting && state_ != State::kReady) return false;
  switch (message.type) {
    case MessageType::kHello: return HandleHello(message.hello, std::move(fds[0]));
    case MessageType::kWelcome: return HandleWelcome(message.welcome);
    case MessageType::kOpen: return HandleOpen(message, fds);
    case MessageType::kAccept: return HandleAccept(message.accept, std::move(fds[0]), is_short);
    case MessageType::kRefuse: return HandleRefuse(message.refuse);
    case MessageType::kReleased: return HandleReleased(message.pair);
    case MessageType::kForget: return HandleForget(message.pair);
  }
  return false;
}

WelcomeStatus Session::JudgeHello(const HelloMessage& hello, int fd) const {
  if (hello.version_min > kSessionVersion || hello.version_max < kSessionVersionMin) {
    return WelcomeStatus::kVersionMismatch;
  }
  if (hello.page_bytes != worker_.shared().page_bytes) return WelcomeStatus::kPageSizeMismatch;
  HalfBounds bounds;
  bounds.page_bytes = hello.page_bytes;
  bounds.max_capacity = std::max(kMinCapacity, bounds.page_bytes);
  HalfMap half;
  if (fd < 0 || TakePeerHalf(&worker_.shared(), fd, bounds, &half) != Status::kOk) {
    return WelcomeStatus::kFdPassingRefused;
  }
  DropPeerHalf(&worker_.shared(), &half);
  return WelcomeStatus::kOk;
}

bool Session::HandleHello(const HelloMessage& hello, UniqueFd fd) {
  if (got_hello_) return false;
  got_hello_ = true;
  if (!fd.valid() && !HasFreeFd(fd_.get())) {
    End(SessionEndReason::kLimit);
    return true;
  }
  const WelcomeStatus status = JudgeHello(hello, fd.get());
  WelcomeMessage welcome{};
  welcome.header = HeaderOf<WelcomeMessage>(MessageType::kWelcome);
  welcome.status = static_cast<uint32_t>(status);
  welcome.version = std::min(hello.version_max, kSessionVersion);
  if (!Send(&welcome, sizeof welcome)) return true;
  if (status == WelcomeStatus::kOk) {
    peer_max_streams_ = hello.max_streams;
    peer_max_bytes_ = hello.max_total_bytes;
    peer_ring_limit = std::bit_floor(hello.max_ring_bytes);  // PEER: rings are powers of two
    BecomeReadyIfGreeted();
    return true;
  }
  const bool is_fd = status == WelcomeStatus::kFdPassingRefused;
  End(is_fd ? SessionEndReason::kFdPassingRefused : SessionEndReason::kVersionMismatch);
  return true;
}

bool Session::HandleWelcome(const WelcomeMessage& welcome) {
  if (got_welcome_) return false;
  got_welcome_ = true;
  if (welcome.status == static_cast<uint32_t>(WelcomeStatus::kOk)) {
    if (welcome.version < kSessionVersionMin || welcome.version > kSessionVersion) return false;
    BecomeReadyIfGreeted();
    return true;
  }
  const bool is_fd = welcome.status == static_cast<uint32_t>(WelcomeStatus::kFdPassingRefused);
  End(is_fd ? SessionEndReason::kFdPassingRefused : SessionEndReason::kVersionMismatch);
  return true;
}

void Session::BecomeReadyIfGreeted() {
  if (!got_hello_ || !got_welcome_ || state_ != State::kGreeting) return;
  state_ = State::kReady;
  worker_.ClearTimer(this);
  Event event;
  event.kind = Event::Kind::kSessionReady;
  event.subject = init_.id;
  worker_.shared().sink(event);
  worker_.session_listener->OnSessionReady(init_.peer.pod);
}

void Session::OnTimer(uint64_t now) {
  if (state_ == State::kGreeting) return End(SessionEndReason::kPeerGone);
  while (!kept_.empty()) {
    const uint32_t id = kept_.front();
    OpenedPair& entry = opened_pairs_[id];
    if (entry.pair.idle_since + KeepPairsNs() > now) break;
    kept_.erase(kept_.begin());
    worker_.counters().Sub(kPairsPooled);
    DropPair(&entry.pair);
    opened_pairs_.erase(id);
    PairMessage forget{HeaderOf<PairMessage>(MessageType::kForget), id, 0};
    if (!Send(&forget, sizeof forget)) return;
  }
  if (kept_.empty()) return;
  worker_.SetTimer(this, opened_pairs_[kept_.front()].pair.idle_since + KeepPairsNs());
}

// Returns 0 or an errno. The fds are borrowed; those below 0 are left out.
int Session::TrySend(const void* bytes, size_t length, int fd0, int fd1) {
  iovec part{const_cast<void*>(bytes), length};
  alignas(cmsghdr) unsigned char control[CMSG_SPACE(kMaxMessageFds * sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  int fds[kMaxMessageFds];
  size_t count = 0;
  for (const int fd : {fd0, fd1}) {
    if (fd >= 0) fds[count++] = fd;
  }
  if (count > 0) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* const c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::memcpy(CMSG_DATA(c), fds, count * sizeof(int));
  }
  const ssize_t sent = sendmsg(fd_.get(), &header, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent < 0 ? errno : 0;
}

// Sends, or queues behind what waits. The fds stay the caller's.
Session::SendState Session::SendFds(const void* bytes, size_t length, int fd0, int fd1) {
  if (outgoing_.empty()) {
    const int error = TrySend(bytes, length, fd0, fd1);
    if (error == 0) return SendState::kSent;
    // Fds in flight are limited for each user across the node: unix(7).
    if (error == ETOOMANYREFS) return SendState::kTooManyFds;
    if (error != EAGAIN && error != ENOBUFS) {
      End(SessionEndReason::kPeerGone);
      return SendState::kEnded;
    }
  }
  Outgoing out;
  const auto* from = static_cast<const unsigned char*>(bytes);
  out.bytes.assign(from, from + length);
  if (fd0 >= 0) out.fds[0].Reset(fcntl(fd0, F_DUPFD_CLOEXEC, 0));
  if (fd1 >= 0) out.fds[1].Reset(fcntl(fd1, F_DUPFD_CLOEXEC, 0));
  const bool has_fds = out.fds[0].valid() == (fd0 >= 0) && out.fds[1].valid() == (fd1 >= 0);
  if (!has_fds) return SendState::kTooManyFds;
  if (outgoing_.size() >= kMaxOutgoing) {
    End(SessionEndReason::kLimit);
    return SendState::kEnded;
  }
  outgoing_.push_back(std::move(out));
  worker_.Modify(fd_.get(), EPOLLIN | EPOLLRDHUP | EPOLLOUT, &watch_);
  return SendState::kSent;
}

// A message without fds. False: the session ended.
bool Session::Send(const void* bytes, size_t length) {
  return SendFds(bytes, length, -1, -1) == SendState::kSent;
}

void Session::Flush() {
  while (!outgoing_.empty()) {
    const Outgoing& out = outgoing_.front();
    const int error =
        TrySend(out.bytes.data(), out.bytes.size(), out.fds[0].get(), out.fds[1].get());
    if (error == EAGAIN || error == ENOBUFS) return;
    if (error == ETOOMANYREFS) return End(SessionEndReason::kLimit);
    if (error != 0) return End(SessionEndReason::kPeerGone);
    outgoing_.pop_front();
  }
  worker_.Modify(fd_.get(), EPOLLIN | EPOLLRDHUP, &watch_);
}

}  // namespace shimmy::relay
