#include "listener.h"

#include <cerrno>

namespace shimmy::relay {

namespace {

constexpr int kAcceptsPerTurn = 32;
// With no fd to be had the listener rests instead of spinning; connections wait in the backlog.
constexpr uint64_t kRestNs = 50'000'000;

}  // namespace

void Listener::Begin() {
  if (!worker_.Add(fd_.get(), EPOLLIN, &watch_)) worker_.counters().Add(kAcceptErrors);
}

void Listener::OnEvents(uint32_t) {
  for (int i = 0; i < kAcceptsPerTurn && fd_.valid(); i++) {
    UniqueFd app(accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (app.valid()) {
      Take(std::move(app));
      continue;
    }
    if (errno == EAGAIN) return;
    if (errno == EINTR || errno == ECONNABORTED) continue;
    worker_.counters().Add(kAcceptErrors);
    worker_.Modify(fd_.get(), 0, &watch_);
    worker_.SetTimer(this, worker_.now() + kRestNs);
    return;
  }
}

void Listener::OnTimer(uint64_t) {
  if (fd_.valid()) worker_.Modify(fd_.get(), EPOLLIN, &watch_);
}

void Listener::Take(UniqueFd app) {
  Shared& shared = worker_.shared();
  shared.counters.Add(kOutboundAccepted);
  // SYNC connections (relaxed): a limit, nothing is ordered by it.
  if (shared.connections.load(std::memory_order_relaxed) >= shared.options.max_connections) {
    shared.counters.Add(kOutboundRefused);
    shared.counters.AddEnd(EndReason::kLimit);
    return CloseWithReset(&app);
  }
  auto outbound = std::make_unique<Outbound>(&worker_, &waits_, id_, std::move(app));
  Outbound* const raw = outbound.get();
  worker_.Own(std::move(outbound));
  raw->TryNext();
}

void Listener::Abort(EndReason) {
  worker_.Forget(fd_.get());
  fd_.Reset();
  worker_.Retire(this);
}

}  // namespace shimmy::relay
