#include "inbound.h"

#include "stream_relay.h"

namespace shimmy::relay {

Inbound::Inbound(Worker* worker, Session* session, InboundOpen open)
    : Task(worker), session_(session), session_id_(session->init().id), open_(std::move(open)) {
  // SYNC connections (relaxed): a limit, nothing is ordered by it.
  worker_.shared().connections.fetch_add(1, std::memory_order_relaxed);
}

void Inbound::Begin() {
  if (worker_.is_draining) return Fail(RefuseReason::kDraining);
  // SYNC connections (relaxed): a limit, nothing is ordered by it.
  const uint32_t open = worker_.shared().connections.load(std::memory_order_relaxed);
  if (open > worker_.options().max_connections) return Fail(RefuseReason::kLimit);
  const auto rule = worker_.delivery.find(open_.port);
  if (rule == worker_.delivery.end()) return Fail(RefuseReason::kNotGranted);
  SocketAddress address;
  if (!ParseAddress(rule->second, open_.port, &address)) return Fail(RefuseReason::kAppRefused);
  switch (ConnectToApp(address, &app_)) {
    case ConnectState::kDone: return Connected();
    case ConnectState::kFailed: return Fail(RefuseReason::kAppRefused);
    case ConnectState::kNoFd: return Fail(RefuseReason::kLimit);
    case ConnectState::kPending: break;
  }
  is_watching_doorbell_ = worker_.Add(open_.doorbell.get(), EPOLLRDHUP, &doorbell_watch_);
  if (!is_watching_doorbell_ || !worker_.Add(app_.get(), EPOLLOUT, &app_watch_)) {
    return Fail(RefuseReason::kLimit);
  }
  worker_.SetTimer(this, Now() + uint64_t{worker_.options().connect_timeout_ms} * 1'000'000);
}

void Inbound::OnApp(uint32_t) {
  if (is_finished_) return;
  if (ConnectError(app_.get()) != 0) return Fail(RefuseReason::kAppRefused);
  Connected();
}

void Inbound::OnDoorbell(uint32_t) {
  if (!is_finished_) Fail(RefuseReason::kAppRefused);  // the opener gave up: nobody listens
}

void Inbound::OnTimer(uint64_t) { Fail(RefuseReason::kAppTimeout); }

void Inbound::Connected() {
  if (session_ == nullptr) return Finish();
  // The stream registers these fds anew.
  worker_.Forget(app_.get());
  if (is_watching_doorbell_) worker_.Forget(open_.doorbell.get());
  RelayEnd::Prepare(open_.pair.mine, open_.pair.head);
  Session* const session = session_;
  const Session::SendState sent = session->Accept(open_.id, open_.half_fd.get(), open_.is_kept);
  if (is_finished_) return;  // sending found the session dead
  if (sent == Session::SendState::kTooManyFds) return Fail(RefuseReason::kLimit);
  if (sent == Session::SendState::kEnded) return Finish();
  StreamInit init;
  init.is_outbound = false;
  init.app = std::move(app_);
  init.doorbell = std::move(open_.doorbell);
  init.pair = open_.pair;
  init.session = session_id_;
  init.pod = session->init().peer.pod;
  init.service = open_.service;
  init.port = open_.port;
  open_.pair = Pair{};
  worker_.counters().Add(kInboundShm);
  auto relay = std::make_unique<StreamRelay>(&worker_, session, std::move(init));
  StreamRelay* const raw = relay.get();
  worker_.Own(std::move(relay));
  Finish();
  raw->Begin();
}

void Inbound::Fail(RefuseReason reason) {
  if (is_finished_) return;
  Session* const session = session_;
  session_ = nullptr;
  if (session != nullptr) {
    if (open_.is_kept) {
      session->ParkAgain(open_.pair);
    } else {
      session->DropPair(&open_.pair);
      session->ForgetAccepted(open_.pair.id);
    }
    open_.pair = Pair{};
    session->Refuse(open_.id, reason);
  }
  Finish();
}

void Inbound::Abort(EndReason reason) {
  const bool is_revoked = reason == EndReason::kRevoked;
  if (session_ != nullptr) {
    return Fail(is_revoked ? RefuseReason::kNotGranted : RefuseReason::kDraining);
  }
  Finish();
}

void Inbound::Finish() {
  if (is_finished_) return;
  is_finished_ = true;
  DropOwnHalf(&worker_.shared(), &open_.pair.mine);
  DropPeerHalf(&worker_.shared(), &open_.pair.peer);
  if (app_.valid()) worker_.Forget(app_.get());
  if (open_.doorbell.valid()) worker_.Forget(open_.doorbell.get());
  // Not moved into a stream: whoever opened it is gone, which is no orderly end.
  CloseWithReset(&app_);
  open_.doorbell.Reset();
  open_.half_fd.Reset();
  // SYNC connections (relaxed): a limit, nothing is ordered by it.
  worker_.shared().connections.fetch_sub(1, std::memory_order_relaxed);
  worker_.Retire(this);
}

}  // namespace shimmy::relay
