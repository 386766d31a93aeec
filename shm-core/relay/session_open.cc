// Opening and accepting streams on a session, and the pairs of halves kept for reuse.
#include <algorithm>
#include <cstring>

#include "inbound.h"
#include "session.h"

namespace shimmy::relay {

namespace {

bool IsUnixSeqpacket(int fd) {
  int type = 0;
  int domain = 0;
  socklen_t length = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0) return false;
  length = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0) return false;
  return type == SOCK_SEQPACKET && domain == AF_UNIX;
}

}  // namespace

// ---- the opener ----

void Session::Open(OpenWaiter* waiter, const std::string& service, uint16_t port) {
  if (state_ != State::kReady) return waiter->OnNoStream(failure_);
  if (streams + unanswered_.size() >= peer_max_streams_) {
    return waiter->OnNoStream(FallbackReason::kQuota);
  }
  if (unanswered_.size() < kMaxUnanswered) return SendOpen({waiter, service, port});
  // A peer that answered none of eight in time will not answer the ninth either.
  const bool is_silent = std::all_of(unanswered_.begin(), unanswered_.end(), [](const auto& entry) {
    return entry.second.waiter == nullptr;
  });
  if (is_silent) return waiter->OnNoStream(FallbackReason::kPeerRefused);
  waiting_.push_back({waiter, service, port});  // S2
}

void Session::Cancel(OpenWaiter* waiter) {
  std::erase_if(waiting_, [&](const Waiting& entry) { return entry.waiter == waiter; });
  for (auto& [id, entry] : unanswered_) {
    if (entry.waiter != waiter) continue;
    entry.waiter = nullptr;
    entry.doorbell.Reset();  // tells the peer
    opened_pairs_.erase(entry.pair.id);
    DropPair(&entry.pair);
    if (!entry.is_kept) return;
    // Else the acceptor would park its side again for a pair that nobody will name any more.
    PairMessage forget{HeaderOf<PairMessage>(MessageType::kForget), entry.pair.id, 0};
    Send(&forget, sizeof forget);
    return;
  }
}

bool Session::TakeKeptPair(Pair* pair) {
  if (kept_.empty()) return false;
  const uint32_t id = kept_.back();  // the warmest
  kept_.pop_back();
  worker_.counters().Sub(kPairsPooled);
  worker_.counters().Add(kPairsReused);
  OpenedPair& entry = opened_pairs_[id];
  *pair = entry.pair;
  entry.pair = Pair{};
  entry.state = PairState::kInUse;
  pair->mine.start = pair->tail;  // cursors go on (S5)
  return true;
}

Status Session::MakePair(Pair* pair, UniqueFd* half_fd) {
  HalfSpec spec;
  spec.page_bytes = worker_.shared().page_bytes;
  spec.capacity = std::max(kFirstCapacity, spec.page_bytes);
  spec.twice = worker_.shared().MapTwice();
  int fd = -1;
  const Status status = MakeOwnHalf(&worker_.shared(), spec, &pair->mine, &fd);
  half_fd->Reset(fd);
  return status;
}

void Session::SendOpen(Waiting waiting) {
  Unanswered entry;
  UniqueFd half_fd;
  entry.is_kept = TakeKeptPair(&entry.pair);
  if (!entry.is_kept) {
    if (MakePair(&entry.pair, &half_fd) != Status::kOk) {
      return waiting.waiter->OnNoStream(FallbackReason::kQuota);
    }
    entry.pair.id = next_pair_++;
    opened_pairs_[entry.pair.id] = OpenedPair{};
  }
  RelayEnd::Prepare(entry.pair.mine, entry.pair.head);
  int ends[2];
  if (CreateDoorbell<RelaySys>(worker_.shared().sizes, ends) != Status::kOk) {
    opened_pairs_.erase(entry.pair.id);
    DropPair(&entry.pair);
    return waiting.waiter->OnNoStream(FallbackReason::kQuota);
  }
  entry.doorbell.Reset(ends[0]);
  const UniqueFd far_end(ends[1]);
  entry.waiter = waiting.waiter;

  unsigned char bytes[sizeof(OpenMessage) + kMaxServiceBytes];
  const size_t text = std::min(waiting.service.size(), kMaxServiceBytes);
  OpenMessage open{};
  open.header = HeaderOf<OpenMessage>(MessageType::kOpen, text);
  open.id = next_id_;
  open.pair = entry.pair.id;
  open.port = waiting.port;
  open.service_bytes = static_cast<uint16_t>(text);
  open.is_kept = entry.is_kept ? 1 : 0;
  std::memcpy(bytes, &open, sizeof open);
  std::memcpy(bytes + sizeof open, waiting.service.data(), text);
  next_id_ += 2;
  unanswered_.emplace(open.id, std::move(entry));
  const SendState sent = SendFds(bytes, sizeof open + text, far_end.get(), half_fd.get());
  if (sent != SendState::kTooManyFds) return;
  // The peer never heard of it.
  Unanswered unsent = std::move(unanswered_[open.id]);
  unanswered_.erase(open.id);
  opened_pairs_.erase(unsent.pair.id);
  DropPair(&unsent.pair);
  PairMessage forget{HeaderOf<PairMessage>(MessageType::kForget), open.pair, 0};
  if (unsent.is_kept) Send(&forget, sizeof forget);
  unsent.waiter->OnNoStream(FallbackReason::kQuota);
}

void Session::OpenNext() {
  while (!waiting_.empty() && unanswered_.size() < kMaxUnanswered && state_ == State::kReady) {
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    SendOpen(std::move(next));
  }
}

bool Session::HandleAccept(const AcceptMessage& accept, UniqueFd half, bool is_short) {
  const auto found = unanswered_.find(accept.id);
  if (found == unanswered_.end()) return false;
  Unanswered entry = std::move(found->second);
  unanswered_.erase(found);
  if (entry.waiter == nullptr) {
    OpenNext();
    return true;
  }
  const bool has_half = half.valid() || is_short;
  if (entry.is_kept == has_half) {
    DropPair(&entry.pair);
    entry.waiter->OnNoStream(FallbackReason::kPeerRefused);
    return false;
  }
  if (is_short) {
    opened_pairs_.erase(entry.pair.id);
    DropPair(&entry.pair);
    entry.doorbell.Reset();  // tells the peer, and leaves a descriptor for the way around
    entry.waiter->OnNoStream(FallbackReason::kQuota);
    OpenNext();
    return true;
  }
  if (!entry.is_kept) {
    HalfBounds bounds;
    bounds.page_bytes = worker_.shared().page_bytes;
    bounds.max_capacity = worker_.options().max_ring_bytes;
    bounds.twice = entry.pair.mine.twice;
    const Status status = TakePeerHalf(&worker_.shared(), half.get(), bounds, &entry.pair.peer);
    CountPeerBytes(static_cast<int64_t>(entry.pair.peer.capacity));
    if (status != Status::kOk) {
      opened_pairs_.erase(entry.pair.id);
      DropPair(&entry.pair);
      entry.waiter->OnNoStream(status == Status::kNoMemory ? FallbackReason::kQuota
                                                           : FallbackReason::kPeerRefused);
      if (status == Status::kBadHalf) End(SessionEndReason::kBadFd);
      return true;
    }
  }
  entry.waiter->OnAccepted(std::move(entry.doorbell), entry.pair);
  OpenNext();
  return true;
}

bool Session::HandleRefuse(const RefuseMessage& refuse) {
  const auto found = unanswered_.find(refuse.id);
  if (found == unanswered_.end()) return false;
  Unanswered entry = std::move(found->second);
  unanswered_.erase(found);
  const auto reason = static_cast<RefuseReason>(refuse.reason);
  // Only a kept pair can be unknown: else the answer would be the same OPEN again, for ever.
  const bool is_known_reason =
      refuse.reason >= 1 && refuse.reason <= static_cast<uint32_t>(RefuseReason::kUnknownPair);
  if (!is_known_reason || (reason == RefuseReason::kUnknownPair && !entry.is_kept)) {
    if (entry.waiter != nullptr) entry.waiter->OnNoStream(FallbackReason::kPeerRefused);
    DropPair(&entry.pair);
    return false;
  }
  if (entry.is_kept && reason != RefuseReason::kUnknownPair && entry.waiter != nullptr) {
    // The acceptor parked its side again, untouched.
    OpenedPair& kept = opened_pairs_[entry.pair.id];
    kept.pair = entry.pair;
    KeepOpened(&kept);
  } else {
    opened_pairs_.erase(entry.pair.id);
    DropPair(&entry.pair);
  }
  if (entry.waiter != nullptr) entry.waiter->OnRefused(reason);
  OpenNext();
  return true;
}

// ---- the acceptor ----

namespace {

// The message had them, but there may have been no descriptor left here for them.
bool HasItsFds(const OpenMessage& open, const UniqueFd fds[kMaxMessageFds]) {
  return fds[0].valid() && (open.is_kept == 1 || fds[1].valid());
}

// Whether a peer's doorbell is one; if so it is ours to ring now.
bool PrepareDoorbell(int fd, const DoorbellSizes& sizes) {
  return IsUnixSeqpacket(fd) && RelaySys::SetSendBuffer(fd, sizes.normal) >= 0;
}

}  // namespace

bool Session::HandleOpen(const Message& message, UniqueFd fds[kMaxMessageFds]) {
  const OpenMessage& open = message.open;
  const bool is_odd = (open.id & 1) == 1;
  if (is_odd == init_.initiator || open.id <= last_peer_id_) return false;  // S1
  last_peer_id_ = open.id;
  if (++being_accepted_ > kMaxUnanswered) return false;  // S2

  const bool has_fds = HasItsFds(open, fds);
  InboundOpen in;
  in.id = open.id;
  in.service = message.service;
  in.port = open.port;
  in.is_kept = open.is_kept == 1;
  in.doorbell = std::move(fds[0]);
  in.pair.id = open.pair;
  const auto refuse = [&](RefuseReason reason) {
    Refuse(open.id, reason);
    return true;
  };
  if (!has_fds) return refuse(RefuseReason::kLimit);
  if (!PrepareDoorbell(in.doorbell.get(), worker_.shared().sizes)) {
    End(SessionEndReason::kBadFd);
    return true;
  }
  const bool is_over_limit = streams + being_accepted_ > worker_.options().max_streams_per_peer;
  if (in.is_kept) {
    const auto parked = parked_.find(open.pair);
    if (parked == parked_.end()) return refuse(RefuseReason::kUnknownPair);
    if (!IsGranted(in.service, in.port)) return refuse(RefuseReason::kNotGranted);
    if (is_over_limit) return refuse(RefuseReason::kLimit);
    in.pair = parked->second;
    parked_.erase(parked);
    in.pair.mine.start = in.pair.tail;
    std::memset(in.pair.mine.data, 0, in.pair.mine.capacity);  // S5
    accepted_pairs_[open.pair] = true;
  } else {
    if (accepted_pairs_.contains(open.pair) || parked_.contains(open.pair)) return false;
    if (!IsGranted(in.service, in.port)) return refuse(RefuseReason::kNotGranted);  // S3
    if (is_over_limit) return refuse(RefuseReason::kLimit);
    HalfBounds bounds;
    bounds.page_bytes = worker_.shared().page_bytes;
    bounds.max_capacity = worker_.options().max_ring_bytes;
    bounds.twice = worker_.shared().MapTwice();
    const Status status = TakePeerHalf(&worker_.shared(), fds[1].get(), bounds, &in.pair.peer);
    if (status == Status::kBadHalf) {
      End(SessionEndReason::kBadFd);
      return true;
    }
    CountPeerBytes(static_cast<int64_t>(in.pair.peer.capacity));
    if (status != Status::kOk || HasPeerTooMuch() ||
        MakePair(&in.pair, &in.half_fd) != Status::kOk) {
      DropPair(&in.pair);
      return refuse(RefuseReason::kNoMemory);
    }
    accepted_pairs_[open.pair] = true;
  }
  auto inbound = std::make_unique<Inbound>(&worker_, this, std::move(in));
  Inbound* const raw = inbound.get();
  worker_.Own(std::move(inbound));
  raw->Begin();
  return true;
}

Session::SendState Session::Accept(uint64_t id, int half_fd, bool is_kept) {
  AcceptMessage accept{HeaderOf<AcceptMessage>(MessageType::kAccept), id};
  const SendState sent = SendFds(&accept, sizeof accept, is_kept ? -1 : half_fd, -1);
  if (sent != SendState::kTooManyFds && being_accepted_ > 0) being_accepted_--;
  return sent;
}

void Session::Refuse(uint64_t id, RefuseReason reason) {
  if (being_accepted_ > 0) being_accepted_--;
  worker_.counters().Add(kInboundRefused);
  RefuseMessage refuse{};
  refuse.header = HeaderOf<RefuseMessage>(MessageType::kRefuse);
  refuse.id = id;
  refuse.reason = static_cast<uint32_t>(reason);
  Send(&refuse, sizeof refuse);
}

// ---- pairs ----

void Session::DropPair(Pair* pair) {
  CountPeerBytes(-static_cast<int64_t>(pair->peer.capacity));
  DropOwnHalf(&worker_.shared(), &pair->mine);
  DropPeerHalf(&worker_.shared(), &pair->peer);
}

uint64_t Session::KeepPairsNs() const {
  return uint64_t{worker_.options().keep_pairs_ms} * 1'000'000;
}

void Session::KeepOpened(OpenedPair* entry) {
  std::memset(entry->pair.mine.data, 0, entry->pair.mine.capacity);  // S5: RELEASED means read
  entry->state = PairState::kKept;
  entry->pair.idle_since = worker_.now();
  kept_.push_back(entry->pair.id);
  worker_.counters().Add(kPairsPooled);
  if (kept_.size() == 1) worker_.SetTimer(this, worker_.now() + KeepPairsNs());
}

void Session::ReleaseOpened(const Pair& pair, bool is_reusable) {
  Pair mine = pair;
  const auto found = opened_pairs_.find(pair.id);
  const bool is_known = found != opened_pairs_.end() && state_ == State::kReady;
  if (!is_known || !is_reusable || kept_.size() >= kMaxKeptPairs) {
    DropPair(&mine);
    if (!is_known) return;
    opened_pairs_.erase(found);
    PairMessage forget{HeaderOf<PairMessage>(MessageType::kForget), pair.id, 0};
    Send(&forget, sizeof forget);
    return;
  }
  found->second.pair = pair;
  if (found->second.state == PairState::kReleasedByPeer) {
    KeepOpened(&found->second);
  } else {
    found->second.state = PairState::kWaitsForPeer;
  }
}

bool Session::HandleReleased(const PairMessage& released) {
  const auto found = opened_pairs_.find(released.pair);
  if (found == opened_pairs_.end()) return true;  // given up meanwhile
  OpenedPair& entry = found->second;
  const bool is_out_of_turn =
      entry.state != PairState::kInUse && entry.state != PairState::kWaitsForPeer;
  if (is_out_of_turn) return false;
  if (released.is_reusable == 0) {
    DropPair(&entry.pair);  // nothing is in it while the stream still uses it
    opened_pairs_.erase(found);
  } else if (entry.state == PairState::kWaitsForPeer) {
    KeepOpened(&entry);
  } else {
    entry.state = PairState::kReleasedByPeer;
  }
  return true;
}

void Session::ReleaseAccepted(const Pair& pair, bool is_reusable) {
  Pair mine = pair;
  const auto found = accepted_pairs_.find(pair.id);
  const bool is_wanted = found != accepted_pairs_.end() && found->second;
  if (found != accepted_pairs_.end()) accepted_pairs_.erase(found);
  if (is_reusable && is_wanted && state_ == State::kReady && parked_.size() < kMaxKeptPairs * 2) {
    parked_[pair.id] = mine;  // the opener may still read it: zeroed when it comes back
  } else {
    DropPair(&mine);
    is_reusable = false;
  }
  if (state_ != State::kReady) return;
  PairMessage released{HeaderOf<PairMessage>(MessageType::kReleased), pair.id,
                       is_reusable ? 1U : 0U};
  Send(&released, sizeof released);
}

void Session::ParkAgain(const Pair& pair) {
  const auto found = accepted_pairs_.find(pair.id);
  const bool is_wanted = found != accepted_pairs_.end() && found->second;
  if (found != accepted_pairs_.end()) accepted_pairs_.erase(found);
  Pair mine = pair;
  if (!is_wanted) return DropPair(&mine);
  parked_[pair.id] = pair;
}

bool Session::HandleForget(const PairMessage& forget) {
  const auto parked = parked_.find(forget.pair);
  if (parked != parked_.end()) {
    DropPair(&parked->second);
    parked_.erase(parked);
    return true;
  }
  const auto in_use = accepted_pairs_.find(forget.pair);
  if (in_use != accepted_pairs_.end()) in_use->second = false;
  return true;
}

}  // namespace shimmy::relay
