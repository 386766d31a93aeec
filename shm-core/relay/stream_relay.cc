#include "stream_relay.h"

#include <algorithm>
#include <cerrno>

namespace shimmy::relay {

namespace {

// A turn moves at most so much in each direction, then others get theirs (R2).
constexpr uint64_t kTurnBytes = 256 * 1024;
constexpr uint64_t kGrowthFactor = 4;
constexpr uint32_t kMaxFutilePlugs = 64;
constexpr uint32_t kBellEvents = EPOLLIN | EPOLLRDHUP | EPOLLET;
constexpr uint32_t kAppEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

}  // namespace

StreamRelay::StreamRelay(Worker* worker, Session* session, StreamInit init)
    : Task(worker),
      init_(std::move(init)),
      // SYNC next_stream (relaxed): a number, nothing is ordered by it.
      id_(worker->shared().next_stream.fetch_add(1, std::memory_order_relaxed)),
      end_(&state_),
      started_ns_(worker->now()),
      active_ns_(started_ns_),
      // Nothing is known yet: worth a try.
      answer_average_ns_(uint64_t{worker->options().spin_micros} * 1000 / 2) {
  session->streams++;
  session->CountOwnBytes(static_cast<int64_t>(init_.pair.mine.capacity));
  state_.sizes = worker_.shared().sizes;
  state_.page_bytes = worker_.shared().page_bytes;
  state_.max_peer_capacity = worker_.options().max_ring_bytes;
  end_.Begin(init_.doorbell.get(), init_.pair.mine, init_.pair.peer, init_.pair.head);
  peer_bytes_counted_ = state_.reading.capacity;
  worker_.counters().Add(kActiveShm);
  // SYNC connections (relaxed): a limit, nothing is ordered by it.
  worker_.shared().connections.fetch_add(1, std::memory_order_relaxed);
}

StreamRelay::~StreamRelay() {
  worker_.counters().Sub(kActiveShm);
  // SYNC connections (relaxed): a limit, nothing is ordered by it.
  worker_.shared().connections.fetch_sub(1, std::memory_order_relaxed);
}

void StreamRelay::Begin() {
  if (!worker_.Add(init_.app.get(), kAppEvents, &app_watch_) ||
      !worker_.Add(init_.doorbell.get(), kBellEvents, &doorbell_watch_)) {
    return End(EndReason::kLimit);
  }
  PlanTimer(worker_.now());
  worker_.Ready(this);
}

Session* StreamRelay::FindSession() const {
  const auto found = worker_.sessions_by_id.find(init_.session);
  return found == worker_.sessions_by_id.end() ? nullptr : found->second;
}

void StreamRelay::OnApp(uint32_t events) {
  if (is_over_) return;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) app_readable_ = true;
  if ((events & EPOLLOUT) != 0) app_writable_ = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP)) != 0) app_hung_ = true;
  if ((events & EPOLLERR) != 0) app_failed_ = true;
  worker_.Ready(this);
}

void StreamRelay::OnDoorbell(uint32_t events) {
  if (is_over_) return;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) bell_hung_ = true;
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) bell_closed_ = true;
  if ((events & EPOLLOUT) != 0 && is_plugged_) {
    is_plugged_ = false;
    worker_.Modify(init_.doorbell.get(), kBellEvents, &doorbell_watch_);
  }
  if ((events & EPOLLIN) != 0) is_armed_ = false;  // bells are old now: eat them when arming
  worker_.Ready(this);
}

bool StreamRelay::PollHot() {
  uint64_t bytes = 0;
  bool has_work = false;
  if (app_writable_ && !peer_ended_) {
    has_work = end_.Available(&bytes) != Status::kOk || bytes > 0;
  }
  if (!has_work && is_plugged_) {
    has_work = end_.Room(&bytes) != Status::kOk || bytes >= state_.mine.capacity / 4;
    if (has_work) {
      is_plugged_ = false;
      worker_.Modify(init_.doorbell.get(), kBellEvents, &doorbell_watch_);
    }
  }
  if (has_work) worker_.Ready(this);
  return has_work;
}

bool StreamRelay::ArmHot() {
  // An app that takes nothing has no use for bells; arming would find the same bytes for ever.
  if (is_over_ || is_armed_ || peer_ended_ || !app_writable_) return false;
  const Status status = Arm();
  is_armed_ = status == Status::kWouldBlock;
  HarvestCounts();
  if (is_over_limit_) worker_.Ready(this);
  if (is_armed_) return is_over_limit_;
  if (status != Status::kOk) {
    const Status ended = PeerEnded(status);
    if (ended != Status::kOk) {
      End(ToEndReason(ended));
      return true;
    }
  }
  worker_.Ready(this);
  return true;
}

// While old bells are queued the end leaves the hang-up to the next wake-up, and ours has come
// already: look again, now that they are eaten. A peer that hung up sends no new ones.
Status StreamRelay::Arm() {
  const Status status = end_.Arm(bell_hung_);
  return bell_hung_ && status == Status::kWouldBlock ? end_.Arm(true) : status;
}

// Somebody who does not answer is not worth waiting for awake: a few misses in a row end it, a
// quick answer brings it back.
void StreamRelay::SpinMissed(uint64_t limit_ns) {
  if (asked_ns_ == 0) return;
  answer_average_ns_ = (answer_average_ns_ * 7 + limit_ns * 4) / 8;
  expected_wait_ns_ = answer_average_ns_;
}

bool StreamRelay::CpuToFollow(uint64_t* cpu) const {
  if (!init_.is_outbound) return end_.PeerCpu(cpu);
  int incoming = -1;
  socklen_t length = sizeof incoming;
  // Over loopback a segment is received where it was sent.
  if (getsockopt(init_.app.get(), SOL_SOCKET, SO_INCOMING_CPU, &incoming, &length) < 0)
    return false;
  *cpu = static_cast<uint64_t>(incoming);
  return incoming >= 0;
}

void StreamRelay::DisarmHot() {
  if (!is_armed_ || peer_ended_ || is_over_) return;
  is_armed_ = false;
  end_.Disarm();
}

void StreamRelay::Run(uint64_t now) {
  if (is_over_) return;
  const uint64_t before_to = bytes_to_peer_;
  const uint64_t before_from = bytes_from_peer_;
  // What arrived first goes out first, so that its answer can be on its way meanwhile.
  Status status = PumpFromPeer();
  const bool has_received = bytes_from_peer_ != before_from;
  if (status == Status::kOk) status = PumpToPeer();
  if (is_over_) return;  // its accounts are closed
  HarvestCounts();
  if (status != Status::kOk) return End(ToEndReason(status));
  if (is_over_limit_) return End(EndReason::kLimit);
  const bool has_sent = bytes_to_peer_ != before_to;
  LearnWaits(now, has_sent, has_received);
  AfterTurn(now, has_sent || has_received);
}

// Whose turn is it, and how long does the peer take when it is its?
void StreamRelay::LearnWaits(uint64_t now, bool has_sent, bool has_received) {
  constexpr uint64_t kLongest = 1'000'000;
  if (has_received && asked_ns_ != 0) {
    answer_average_ns_ = (answer_average_ns_ * 7 + std::min(now - asked_ns_, kLongest)) / 8;
    asked_ns_ = 0;
  }
  if (has_sent) asked_ns_ = now;
  expected_wait_ns_ = asked_ns_ == 0 ? 0 : std::max<uint64_t>(answer_average_ns_, 1);
}

void StreamRelay::AfterTurn(uint64_t now, bool has_moved) {
  if (has_moved) active_ns_ = now;
  if (app_ended_ && peer_ended_) return End(EndReason::kClosed);
  // Nothing will be read or sent that could tell: the other side is gone for good.
  if (app_failed_ && (app_ended_ || is_plugged_ || bell_closed_)) {
    return End(EndReason::kResetByApp);
  }
  if (bell_closed_ && peer_ended_) return End(EndReason::kResetByPeer);
  // Waits for the peer (for bytes, or for room): polled as long as the thread is awake.
  const bool is_waiting = !peer_ended_ && app_writable_;
  if ((is_waiting && (!is_armed_ || expected_wait_ns_ > 0)) || is_plugged_) worker_.MakeHot(this);
}

// ---- app socket -> our ring ----

Status StreamRelay::PumpToPeer() {
  const uint64_t limit = bytes_to_peer_ + kTurnBytes;
  // A peer that is gone takes nothing, and its doorbell is writable for ever.
  while (app_readable_ && !app_ended_ && !is_plugged_ && !bell_closed_ && !is_over_) {
    if (bytes_to_peer_ >= limit) {
      worker_.Ready(this);
      return Status::kOk;
    }
    uint64_t room = 0;
    Status status = end_.Room(&room);
    if (status != Status::kOk) return status;
    if (room == 0) {
      bool may_go_on = false;
      status = WaitForRoom(&may_go_on);
      if (status != Status::kOk || !may_go_on) return status;
      continue;
    }
    status = ReceiveFromApp(room);
    if (status != Status::kOk) return status;
  }
  if (has_plugged_ && !is_plugged_ && !is_over_) {
    has_plugged_ = false;
    end_.Satisfied();
  }
  return Status::kOk;
}

// The ring is full: a larger one if the budget allows, else a plug and one more look.
Status StreamRelay::WaitForRoom(bool* may_go_on) {
  *may_go_on = true;
  if (Grow()) return Status::kOk;
  if (state_.broken != Status::kOk) return state_.broken;
  const Status status = end_.PlugFull();
  if (status != Status::kOk) return status;
  has_plugged_ = true;
  uint64_t room = 0;
  const Status looked = end_.Room(&room);
  if (looked != Status::kOk || room > 0) return looked;
  // An honest reader eats a plug when there is room, or (once) with a replacement. Who makes the
  // doorbell writable without room would keep this thread turning.
  if (++futile_plugs_ > kMaxFutilePlugs) return Status::kStrayIo;
  *may_go_on = false;
  is_plugged_ = true;
  // Modifying looks again: a doorbell that is writable already is reported at once.
  worker_.Modify(init_.doorbell.get(), kBellEvents | EPOLLOUT, &doorbell_watch_);
  return Status::kOk;
}

Status StreamRelay::ReceiveFromApp(uint64_t room) {
  const Span span = end_.WriteSpan(room);
  const ssize_t got = recv(init_.app.get(), span.data, span.bytes, MSG_DONTWAIT);
  if (got > 0) {
    const auto bytes = static_cast<uint64_t>(got);
    bytes_to_peer_ += bytes;
    futile_plugs_ = 0;
    worker_.counters().Add(kBytesToShm, bytes);
    // A short read empties a stream socket; the next arrival makes a new edge. After a hang-up
    // there is none, so read on to the end of file.
    if (bytes < span.bytes && !app_hung_ && !app_failed_) app_readable_ = false;
    return end_.Publish(bytes);
  }
  if (got == 0) {
    app_ended_ = true;
    end_.Fin();
    return Status::kOk;
  }
  if (errno == EAGAIN || errno == EINTR) {
    app_readable_ = errno == EINTR;
    return Status::kOk;
  }
  End(EndReason::kResetByApp);
  return Status::kOk;
}

// ---- peer's ring -> app socket ----

Status StreamRelay::PumpFromPeer() {
  const uint64_t limit = bytes_from_peer_ + kTurnBytes;
  while (app_writable_ && !peer_ended_ && !is_over_) {
    if (bytes_from_peer_ >= limit) {
      worker_.Ready(this);
      return Status::kOk;
    }
    uint64_t unread = 0;
    Status status = end_.Available(&unread);
    if (status != Status::kOk) return status;
    if (unread > 0) {
      status = SendToApp(unread);
      if (status != Status::kOk) return status;
      continue;
    }
    // Empty. While the thread is awake the ring is polled (R3); a hang-up has to be looked at
    // now, because there is no further event to come.
    is_armed_ = is_armed_ && state_.wake_at == state_.head;
    if (!bell_hung_) return Status::kOk;
    status = Arm();
    is_armed_ = status == Status::kWouldBlock;
    if (is_armed_) return Status::kOk;
    if (status != Status::kOk) return PeerEnded(status);
  }
  return Status::kOk;
}

Status StreamRelay::SendToApp(uint64_t unread) {
  const Span span = end_.ReadSpan(unread);
  const ssize_t sent = send(init_.app.get(), span.data, span.bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent >= 0) {
    const auto bytes = static_cast<uint64_t>(sent);
    bytes_from_peer_ += bytes;
    worker_.counters().Add(kBytesFromShm, bytes);
    if (bytes < span.bytes) app_writable_ = false;
    return end_.Consume(bytes, unread);
  }
  if (errno == EAGAIN || errno == EINTR) {
    app_writable_ = errno == EINTR;
    return Status::kOk;
  }
  End(EndReason::kResetByApp);
  return Status::kOk;
}

// The ring is empty for good. kOk: the peer ended its direction, the app is told; else what
// ends the stream.
Status StreamRelay::PeerEnded(Status status) {
  if (status != Status::kEof) return status;
  peer_ended_ = true;
  is_armed_ = true;
  shutdown(init_.app.get(), SHUT_WR);
  return Status::kOk;
}

// ---- size of our ring ----

bool StreamRelay::Grow() {
  Session* const session = FindSession();
  const uint64_t limit =
      std::min(worker_.options().max_ring_bytes, session == nullptr ? 0 : session->peer_ring_limit);
  const uint64_t capacity = std::min(state_.mine.capacity * kGrowthFactor, limit);
  if (capacity <= state_.mine.capacity || !session->MayGrow(capacity - state_.mine.capacity)) {
    return false;
  }
  if (!ReplaceOwn(capacity)) return false;
  if (!is_grown_) {
    is_grown_ = true;
    PlanTimer(worker_.now());
  }
  return true;
}

void StreamRelay::Shrink() {
  if (!is_grown_) return;
  const uint64_t first = std::max(kFirstCapacity, state_.page_bytes);
  uint64_t room = 0;
  // Only an empty ring, so that nothing of a busy stream is in the way of its memory going back.
  const bool is_empty = end_.Room(&room) == Status::kOk && room == state_.mine.capacity;
  if (is_empty && ReplaceOwn(first)) is_grown_ = false;
}

bool StreamRelay::ReplaceOwn(uint64_t capacity) {
  if (!end_.CanReplace()) {
    worker_.counters().Add(kReplacesHeldBack);
    return false;
  }
  HalfSpec spec;
  spec.page_bytes = state_.page_bytes;
  spec.capacity = capacity;
  spec.start = state_.tail;
  spec.number = state_.mine.number + 1;
  spec.twice = state_.mine.twice;
  HalfMap half;
  int fd = -1;
  if (MakeOwnHalf(&worker_.shared(), spec, &half, &fd) != Status::kOk) return false;
  const uint64_t old = state_.mine.capacity;
  worker_.counters().Sub(kRingBytesOwn, state_.mine.file_bytes(state_.page_bytes));
  if (Session* const session = FindSession(); session != nullptr) {
    session->CountOwnBytes(static_cast<int64_t>(capacity) - static_cast<int64_t>(old));
  }
  const Status status = end_.Replace(half, fd);
  RelaySys::Close(fd);
  return status == Status::kOk;
}

// Traffic only moves `active_ns_`: a timer that comes too early is set again.
void StreamRelay::OnTimer(uint64_t now) {
  if (is_over_) return;
  const uint64_t idle_ns = IdleNs();
  if (idle_ns > 0 && now - active_ns_ >= idle_ns) return End(EndReason::kIdleTimeout);
  if (now - active_ns_ >= ShrinkNs()) Shrink();
  if (state_.broken != Status::kOk) return End(ToEndReason(state_.broken));
  PlanTimer(now);
}

// For what comes first: the idle time-out, or the time to give a grown ring back.
void StreamRelay::PlanTimer(uint64_t now) {
  uint64_t due = UINT64_MAX;
  if (IdleNs() > 0) due = active_ns_ + IdleNs();
  if (is_grown_) {
    const uint64_t shrink = active_ns_ + ShrinkNs();
    // Could not be shrunk when it was due: somebody is slow to read it.
    due = std::min(due, shrink > now ? shrink : now + ShrinkNs());
  }
  if (due != UINT64_MAX) worker_.SetTimer(this, due);
}

uint64_t StreamRelay::IdleNs() const {
  return uint64_t{worker_.options().idle_timeout_ms} * 1'000'000;
}

uint64_t StreamRelay::ShrinkNs() const {
  return uint64_t{worker_.options().shrink_after_ms} * 1'000'000;
}

// ---- accounts ----

void StreamRelay::HarvestCounts() {
  Counters& counters = worker_.counters();
  const EndCounts& now = state_.counts;
  const auto add = [&](Counter counter, uint64_t EndCounts::*field) {
    const uint64_t change = now.*field - harvested_.*field;
    if (change != 0) counters.Add(counter, change);
  };
  add(kPublishes, &EndCounts::publishes);
  add(kBellsSent, &EndCounts::bells_sent);
  add(kBellsEaten, &EndCounts::bells_eaten);
  add(kPlugsSent, &EndCounts::plugs_sent);
  add(kPlugsTakenBack, &EndCounts::plugs_taken_back);
  add(kReplacesSent, &EndCounts::replaces_sent);
  add(kReplacesTaken, &EndCounts::replaces_taken);
  harvested_ = now;
  const uint64_t mapped = state_.reading.capacity + NextBytes();
  if (mapped == peer_bytes_counted_) return;
  const auto change = static_cast<int64_t>(mapped - peer_bytes_counted_);
  counters.Add(kRingBytesPeer, static_cast<uint64_t>(change));
  if (Session* const session = FindSession(); session != nullptr) {
    session->CountPeerBytes(change);
    is_over_limit_ = change > 0 && session->HasPeerTooMuch();
  }
  peer_bytes_counted_ = mapped;
}

// Its control page is counted too: that of the half before it is given back when it is taken.
uint64_t StreamRelay::NextBytes() const {
  return state_.next.valid() ? state_.next.file_bytes(state_.page_bytes) : 0;
}

bool StreamRelay::Describe(uint64_t now, StreamInfo* out) const {
  out->id = id_;
  out->direction = init_.is_outbound ? "outbound" : "inbound";
  out->transport = "shm";
  out->service = init_.service;
  out->pod = init_.pod;
  out->bytes_to_peer = bytes_to_peer_;
  out->bytes_from_peer = bytes_from_peer_;
  out->ring_bytes = state_.mine.capacity;
  out->peer_ring_bytes = state_.reading.capacity;
  out->age_ms = (now - started_ns_) / 1'000'000;
  return true;
}

bool StreamRelay::IsUnder(const std::string& session, const Grant& grant) const {
  return init_.session == session && init_.service == grant.service && init_.port == grant.port;
}

// ---- the end ----

void StreamRelay::End(EndReason reason) {
  if (is_over_) return;
  is_over_ = true;
  worker_.MakeCold(this);
  const bool is_orderly = reason == EndReason::kClosed && app_ended_ && peer_ended_;
  worker_.Forget(init_.app.get());
  worker_.Forget(init_.doorbell.get());
  if (is_orderly) {
    CloseInOrder(&init_.app);
  } else {
    end_.Reset();
    CloseWithReset(&init_.app);
  }
  HarvestCounts();
  CloseDoorbell(is_orderly);
  GivePairBack(is_orderly);
  worker_.counters().AddEnd(reason);
  if (init_.endpoint != nullptr) worker_.shared().table.Release(init_.endpoint);
  worker_.Retire(this);
}

// An unread bell would turn an orderly close into a reset for the peer's kernel: read them.
void StreamRelay::CloseDoorbell(bool is_orderly) {
  if (is_orderly) {
    shutdown(init_.doorbell.get(), SHUT_RDWR);
    for (int i = 0; i < 64; i++) {
      const Record record = EatRecord<RelaySys>(init_.doorbell.get());
      if (record.fd >= 0) RelaySys::Close(record.fd);
      if (record.bytes == 0) break;
    }
  }
  init_.doorbell.Reset();
}

void StreamRelay::GivePairBack(bool is_orderly) {
  Session* const session = FindSession();
  const bool is_first =
      state_.mine.number == 1 && state_.reading.number == 1 && !state_.next.valid();
  const bool is_reusable = is_orderly && is_first;
  Pair pair;
  pair.id = init_.pair.id;
  pair.mine = state_.mine;
  pair.peer = state_.reading;
  pair.tail = state_.tail;
  pair.head = state_.head;
  if (session != nullptr) session->CountPeerBytes(-static_cast<int64_t>(NextBytes()));
  DropPeerHalf(&worker_.shared(), &state_.next);
  if (session == nullptr) {
    DropOwnHalf(&worker_.shared(), &pair.mine);
    DropPeerHalf(&worker_.shared(), &pair.peer);
    return;
  }
  session->streams--;
  session->CountOwnBytes(-static_cast<int64_t>(pair.mine.capacity));
  if (init_.is_outbound) {
    session->ReleaseOpened(pair, is_reusable);
  } else {
    session->ReleaseAccepted(pair, is_reusable);
  }
}

}  // namespace shimmy::relay
