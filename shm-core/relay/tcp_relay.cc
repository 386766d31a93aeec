#include "tcp_relay.h"

#include <cerrno>

namespace shimmy::relay {

namespace {

constexpr uint64_t kTurnBytes = 256 * 1024;
constexpr uint32_t kEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

}  // namespace

TcpRelay::TcpRelay(Worker* worker, TcpInit init)
    : Task(worker),
      init_(std::move(init)),
      // SYNC next_stream (relaxed): a number, nothing is ordered by it.
      id_(worker->shared().next_stream.fetch_add(1, std::memory_order_relaxed)),
      started_ns_(worker->now()),
      active_ns_(started_ns_) {
  app_.fd = std::move(init_.app);
  remote_.fd = std::move(init_.remote);
  worker_.counters().Add(kActiveTcp);
  // SYNC connections (relaxed): a limit, nothing is ordered by it.
  worker_.shared().connections.fetch_add(1, std::memory_order_relaxed);
}

TcpRelay::~TcpRelay() {
  worker_.counters().Sub(kActiveTcp);
  // SYNC connections (relaxed): a limit, nothing is ordered by it.
  worker_.shared().connections.fetch_sub(1, std::memory_order_relaxed);
}

void TcpRelay::Begin() {
  if (!worker_.Add(app_.fd.get(), kEvents, &app_watch_) ||
      !worker_.Add(remote_.fd.get(), kEvents, &remote_watch_)) {
    return End(EndReason::kLimit);
  }
  if (worker_.options().idle_timeout_ms > 0) {
    worker_.SetTimer(this, active_ns_ + uint64_t{worker_.options().idle_timeout_ms} * 1'000'000);
  }
  worker_.Ready(this);
}

void TcpRelay::OnSide(Side* side, uint32_t events) {
  if (is_over_) return;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) side->is_readable = true;
  if ((events & EPOLLOUT) != 0) side->is_writable = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) side->has_hung = true;
  // After its end of file a side can only fail.
  if ((events & EPOLLERR) != 0 && side->has_ended) {
    return End(side == &app_ ? EndReason::kResetByApp : EndReason::kResetByPeer);
  }
  worker_.Ready(this);
}

void TcpRelay::Run(uint64_t now) {
  if (is_over_) return;
  const uint64_t before = app_.bytes + remote_.bytes;
  bool is_unfinished = false;
  if (!Pump(&app_, &remote_, &is_unfinished) || !Pump(&remote_, &app_, &is_unfinished)) return;
  if (app_.bytes + remote_.bytes != before) active_ns_ = now;
  if (app_.is_shut && remote_.is_shut) return End(EndReason::kClosed);
  if (is_unfinished) worker_.Ready(this);
}

bool TcpRelay::Pump(Side* from, Side* to, bool* is_unfinished) {
  const uint64_t limit = from->bytes + kTurnBytes;
  for (;;) {
    if (!FlushPending(from, to)) return false;
    if (!from->pending.empty() || !from->is_readable || from->has_ended) break;
    if (from->bytes >= limit) {
      *is_unfinished = true;
      break;
    }
    if (!ReadOnce(from, to)) return false;
  }
  if (from->has_ended && from->pending.empty() && !from->is_shut) {
    from->is_shut = true;
    shutdown(to->fd.get(), SHUT_WR);
  }
  return true;
}

bool TcpRelay::FlushPending(Side* from, Side* to) {
  while (!from->pending.empty() && to->is_writable) {
    const size_t left = from->pending.size() - from->pending_from;
    const ssize_t sent = send(to->fd.get(), from->pending.data() + from->pending_from, left,
                              MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
      End(to == &app_ ? EndReason::kResetByApp : EndReason::kResetByPeer);
      return false;
    }
    if (sent < 0) {
      to->is_writable = errno == EINTR;
      continue;
    }
    from->pending_from += static_cast<size_t>(sent);
    if (from->pending_from == from->pending.size()) {
      std::vector<unsigned char>().swap(from->pending);  // an idle connection holds no buffer
      from->pending_from = 0;
    } else {
      to->is_writable = false;
    }
  }
  return true;
}

bool TcpRelay::ReadOnce(Side* from, Side* to) {
  std::vector<unsigned char>& buffer = worker_.scratch();
  const ssize_t got = recv(from->fd.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got < 0 && errno != EAGAIN && errno != EINTR) {
    End(from == &app_ ? EndReason::kResetByApp : EndReason::kResetByPeer);
    return false;
  }
  if (got < 0) {
    from->is_readable = errno == EINTR;
    return true;
  }
  if (got == 0) {
    from->has_ended = true;
    return true;
  }
  const auto bytes = static_cast<size_t>(got);
  from->bytes += bytes;
  worker_.counters().Add(from == &app_ ? kBytesToTcp : kBytesFromTcp, bytes);
  if (bytes < buffer.size() && !from->has_hung) from->is_readable = false;
  size_t done = 0;
  if (to->is_writable) {
    const ssize_t sent = send(to->fd.get(), buffer.data(), bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
      End(to == &app_ ? EndReason::kResetByApp : EndReason::kResetByPeer);
      return false;
    }
    if (sent > 0) done = static_cast<size_t>(sent);
    if (done < bytes) to->is_writable = false;
  }
  if (done < bytes) {
    from->pending.assign(buffer.begin() + static_cast<ptrdiff_t>(done),
                         buffer.begin() + static_cast<ptrdiff_t>(bytes));
    from->pending_from = 0;
  }
  return true;
}

void TcpRelay::OnTimer(uint64_t now) {
  if (is_over_) return;
  const uint64_t idle_ns = uint64_t{worker_.options().idle_timeout_ms} * 1'000'000;
  if (now - active_ns_ >= idle_ns) return End(EndReason::kIdleTimeout);
  worker_.SetTimer(this, active_ns_ + idle_ns);
}

bool TcpRelay::Describe(uint64_t now, StreamInfo* out) const {
  out->id = id_;
  out->direction = "outbound";
  out->transport = "tcp";
  out->service = init_.service;
  out->pod = init_.pod;
  out->bytes_to_peer = app_.bytes;
  out->bytes_from_peer = remote_.bytes;
  out->age_ms = (now - started_ns_) / 1'000'000;
  return true;
}

void TcpRelay::End(EndReason reason) {
  if (is_over_) return;
  is_over_ = true;
  worker_.Forget(app_.fd.get());
  worker_.Forget(remote_.fd.get());
  if (reason == EndReason::kClosed) {
    CloseInOrder(&app_.fd);
    CloseInOrder(&remote_.fd);
  } else {
    CloseWithReset(&app_.fd);
    CloseWithReset(&remote_.fd);
  }
  worker_.counters().AddEnd(reason);
  if (init_.endpoint != nullptr) worker_.shared().table.Release(init_.endpoint);
  worker_.Retire(this);
}

}  // namespace shimmy::relay
