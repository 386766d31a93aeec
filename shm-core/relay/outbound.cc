#include "outbound.h"

#include <algorithm>

#include "stream_relay.h"
#include "tcp_relay.h"

namespace shimmy::relay {

namespace {

// A session that was not to be had is asked for again after so long.
constexpr uint64_t kAskAgainAfterNs = 1'000'000'000;

}  // namespace

// ---- waiting for sessions ----

bool SessionWaits::Park(const std::string& pod, Outbound* waiter, FallbackReason* reason) {
  Wait& wait = waits_[pod];
  if (wait.failed_until > worker_.now()) {
    *reason = wait.reason;
    return false;
  }
  wait.waiters.push_back(waiter);
  // One that still greets tells us how it went: asking for another would be answered with it.
  if (wait.is_asked || worker_.sessions_by_pod.contains(pod)) return true;
  wait.is_asked = true;
  Event event;
  event.kind = Event::Kind::kSessionNeeded;
  event.subject = pod;
  worker_.shared().sink(event);
  return true;
}

void SessionWaits::Leave(const std::string& pod, Outbound* waiter) {
  const auto found = waits_.find(pod);
  if (found == waits_.end()) return;
  std::erase(found->second.waiters, waiter);
  // Nobody answered in time: the next connection asks again.
  if (found->second.waiters.empty()) found->second.is_asked = false;
}

void SessionWaits::OnSessionReady(const std::string& pod) {
  const auto found = waits_.find(pod);
  if (found == waits_.end()) return;
  const std::vector<Outbound*> waiters = std::move(found->second.waiters);
  waits_.erase(found);
  for (Outbound* waiter : waiters) waiter->OnSessionReady();
}

void SessionWaits::OnSessionFailed(const std::string& pod, FallbackReason reason) {
  Wait& wait = waits_[pod];
  std::vector<Outbound*> waiters;
  waiters.swap(wait.waiters);
  wait.is_asked = false;
  wait.reason = reason;
  wait.failed_until = worker_.now() + kAskAgainAfterNs;
  for (Outbound* waiter : waiters) waiter->OnSessionFailed(reason);
}

// ---- one connection ----

Outbound::Outbound(Worker* worker, SessionWaits* waits, int listener, UniqueFd app)
    : Task(worker),
      waits_(*waits),
      listener_(listener),
      app_(std::move(app)),
      accepted_ns_(worker->now()) {
  // SYNC connections (relaxed): a limit, nothing is ordered by it.
  worker_.shared().connections.fetch_add(1, std::memory_order_relaxed);
}

Session* Outbound::FindSession() const {
  const auto found = worker_.sessions_by_pod.find(choice_.endpoint.pod);
  return found == worker_.sessions_by_pod.end() ? nullptr : found->second;
}

void Outbound::TryNext() {
  state_ = State::kChoosing;
  choice_ = worker_.shared().table.Pick(listener_, tried_, worker_.now());
  if (choice_.state == nullptr) return Failed();
  Begin();
}

// One thread owns a session and its streams: the connection goes there.
void Outbound::MoveTo(Worker* owner) {
  auto state = std::make_shared<Moved>();
  state->app = std::move(app_);
  state->choice = std::move(choice_);
  state->tried = std::move(tried_);
  state->accepted_ns = accepted_ns_;
  choice_.state = nullptr;
  const int listener = listener_;
  owner->Post([owner, state, listener] {
    auto* const waits = static_cast<SessionWaits*>(owner->session_listener.get());
    auto moved = std::make_unique<Outbound>(owner, waits, listener, std::move(state->app));
    moved->choice_ = std::move(state->choice);
    moved->tried_ = std::move(state->tried);
    moved->accepted_ns_ = state->accepted_ns;
    Outbound* const raw = moved.get();
    owner->Own(std::move(moved));
    raw->Begin();
  });
  Finish();
}

void Outbound::Begin() {
  if (!choice_.endpoint.shm) return GoTcp(choice_.endpoint.reason);
  if (!worker_.shared().has_doorbell) return GoTcp(FallbackReason::kVersionMismatch);
  Worker* const owner = worker_.shared().OwnerOf(choice_.endpoint.pod);
  if (owner != &worker_) return MoveTo(owner);
  worker_.SetTimer(this, worker_.now() + uint64_t{worker_.options().open_timeout_ms} * 1'000'000);
  Session* const session = FindSession();
  if (session != nullptr && session->is_ready()) return OnSessionReady();
  state_ = State::kParked;
  FallbackReason reason = FallbackReason::kAgentUnavailable;
  if (!waits_.Park(choice_.endpoint.pod, this, &reason)) GoTcp(reason);
}

void Outbound::OnSessionReady() {
  Session* const session = FindSession();
  if (session == nullptr) return GoTcp(FallbackReason::kAgentUnavailable);
  state_ = State::kOpening;
  session_ = session;
  worker_.counters().queue_latency.Record(worker_.now() - accepted_ns_);
  session->Open(this, choice_.service, choice_.endpoint.port);
}

void Outbound::OnAccepted(UniqueFd doorbell, const Pair& pair) {
  StreamInit init;
  init.is_outbound = true;
  init.app = std::move(app_);
  init.doorbell = std::move(doorbell);
  init.pair = pair;
  Session* const session = session_;
  init.session = session->init().id;
  init.pod = choice_.endpoint.pod;
  init.service = choice_.service;
  init.port = choice_.endpoint.port;
  init.endpoint = choice_.state;
  worker_.shared().table.Succeed(choice_.state);
  choice_.state = nullptr;
  worker_.counters().Add(kOutboundShm);
  worker_.counters().open_latency.Record(Now() - accepted_ns_);
  auto relay = std::make_unique<StreamRelay>(&worker_, session, std::move(init));
  StreamRelay* const raw = relay.get();
  worker_.Own(std::move(relay));
  Finish();
  raw->Begin();
}

void Outbound::OnRefused(RefuseReason reason) {
  switch (reason) {
    case RefuseReason::kAppRefused:
    case RefuseReason::kAppTimeout:
      // TCP to the same place would be refused as well: another endpoint.
      worker_.shared().table.Fail(choice_.state, worker_.now());
      tried_.push_back(choice_.state);
      choice_.state = nullptr;
      worker_.counters().Add(kConnectRetries);
      return TryNext();
    case RefuseReason::kUnknownPair:
      return OnSessionReady();  // again, with a pair that the peer has or a new one
    case RefuseReason::kNotGranted: return GoTcp(FallbackReason::kPolicyDenied);
    case RefuseReason::kNoMemory:
    case RefuseReason::kLimit: return GoTcp(FallbackReason::kQuota);
    case RefuseReason::kDraining: return GoTcp(FallbackReason::kPeerRefused);
  }
}

void Outbound::OnNoStream(FallbackReason reason) { GoTcp(reason); }

void Outbound::LeaveWaits() {
  if (state_ == State::kParked) waits_.Leave(choice_.endpoint.pod, this);
  if (state_ == State::kOpening && session_ != nullptr) session_->Cancel(this);
  session_ = nullptr;
}

void Outbound::OnTimer(uint64_t now) {
  const State state = state_;
  LeaveWaits();
  if (state == State::kParked) return GoTcp(FallbackReason::kAgentUnavailable);
  if (state == State::kOpening) return GoTcp(FallbackReason::kPeerRefused);
  // A TCP connect that takes too long counts against the endpoint.
  CloseRemote();
  worker_.shared().table.Fail(choice_.state, now);
  tried_.push_back(choice_.state);
  choice_.state = nullptr;
  worker_.counters().Add(kConnectRetries);
  TryNext();
}

// ---- plain TCP ----

void Outbound::GoTcp(FallbackReason reason) {
  if (state_ == State::kDone) return;
  reason_ = reason;
  session_ = nullptr;
  StartTcp();
}

void Outbound::StartTcp() {
  state_ = State::kConnecting;
  worker_.counters().queue_latency.Record(worker_.now() - accepted_ns_);
  SocketAddress address;
  ConnectState result = ConnectState::kFailed;
  if (ParseAddress(choice_.endpoint.address, choice_.endpoint.port, &address)) {
    result = ConnectTcp(address, &remote_);
  }
  if (result == ConnectState::kDone) return TcpConnected();
  if (result == ConnectState::kNoFd) {
    worker_.counters().Add(kOutboundFailed);
    return Abort(EndReason::kLimit);
  }
  if (result == ConnectState::kPending && worker_.Add(remote_.get(), EPOLLOUT, &remote_watch_)) {
    worker_.SetTimer(this,
                     worker_.now() + uint64_t{worker_.options().connect_timeout_ms} * 1'000'000);
    return;
  }
  OnTimer(worker_.now());
}

void Outbound::OnRemote(uint32_t) {
  if (state_ != State::kConnecting) return;
  if (ConnectError(remote_.get()) != 0) return OnTimer(worker_.now());
  worker_.Forget(remote_.get());  // the relay registers it anew
  TcpConnected();
}

void Outbound::TcpConnected() {
  TcpInit init;
  init.app = std::move(app_);
  init.remote = std::move(remote_);
  init.pod = choice_.endpoint.pod;
  init.service = choice_.service;
  init.endpoint = choice_.state;
  worker_.shared().table.Succeed(choice_.state);
  choice_.state = nullptr;
  worker_.counters().Add(kOutboundTcp);
  worker_.counters().AddFallback(reason_);
  auto relay = std::make_unique<TcpRelay>(&worker_, std::move(init));
  TcpRelay* const raw = relay.get();
  worker_.Own(std::move(relay));
  Finish();
  raw->Begin();
}

// ---- the end ----

// Every endpoint was tried. The app's connect succeeded already (it was ours): a reset is what
// it would see from a server that went away.
void Outbound::Failed() {
  worker_.counters().Add(kOutboundFailed);
  worker_.counters().AddEnd(EndReason::kAppUnreachable);
  Finish();
}

bool Outbound::IsUnder(const std::string& session, const Grant& grant) const {
  return state_ == State::kOpening && session_ != nullptr && session_->init().id == session &&
         choice_.service == grant.service && choice_.endpoint.port == grant.port;
}

void Outbound::Abort(EndReason reason) {
  if (state_ == State::kDone) return;
  LeaveWaits();
  if (reason == EndReason::kRevoked) return GoTcp(FallbackReason::kPolicyDenied);
  worker_.counters().AddEnd(reason);
  Finish();
}

void Outbound::Finish() {
  if (state_ == State::kDone) return;
  state_ = State::kDone;
  if (choice_.state != nullptr) worker_.shared().table.Release(choice_.state);
  CloseWithReset(&app_);
  CloseRemote();
  // SYNC connections (relaxed): a limit, nothing is ordered by it.
  worker_.shared().connections.fetch_sub(1, std::memory_order_relaxed);
  worker_.Retire(this);
}

void Outbound::CloseRemote() {
  if (remote_.valid()) worker_.Forget(remote_.get());
  remote_.Reset();
}

}  // namespace shimmy::relay
