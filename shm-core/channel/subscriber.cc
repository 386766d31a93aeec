#include "subscriber.h"

#include <algorithm>
#include <utility>

#include "free_regions.h"

namespace shimmy::channel {

namespace {

// A publisher of which the agent says that it is gone, and whose doorbell does not hang up.
constexpr uint64_t kLeaveNs = 1'000'000'000;
// Writers that are remembered: as many as can be there at once, and as many again.
constexpr size_t kMaxSeen = 128;
constexpr int kLookAgain = 1;  // no shimmy_status

// Rings of one endpoint are told apart by their serial numbers.
uint64_t LoanId(uint64_t serial, uint64_t loan) { return serial << 32 | ((loan + 1) & 0xffffffff); }

}  // namespace

// ---- the agent ----

void SubscriberEndpoint::Became(bool is_live, uint64_t generation) {
  // What is to be read comes by itself.
  (void)is_live;
  (void)generation;
}

SubscriberEndpoint::Ring* SubscriberEndpoint::Find(uint64_t number) {
  for (const auto& ring : rings_) {
    if (ring->number == number) return ring.get();
  }
  return nullptr;
}

void SubscriberEndpoint::Handle(AgentMessage* message) {
  const std::string type = message->type();
  if (type == "channelRing") {
    Offered(message);
    return;
  }
  Ring* const ring = Find(message->Number("number"));
  if (ring == nullptr) return;
  if (type == "channelPeer") {
    if (!message->fds.empty()) Join(ring, std::move(message->fds.front()));
  } else if (type == "hangUp") {
    TellDead(ring);
  } else if (type != "channelPeerGone") {
    return;
  } else if (message->Flag("isOver")) {
    Retire(ring);
  } else if (!ring->is_joined) {
    Join(ring, {});
  } else if (ring->bell.fd.valid()) {
    ring->leaves_at = NowNanos() + kLeaveNs;
    client().Tend(Self());
  }
}

void SubscriberEndpoint::Offered(AgentMessage* message) {
  auto ring = std::make_unique<Ring>();
  ring->serial = ++last_serial_;
  ring->generation = message->Number("generation");
  ring->number = message->Number("number");
  const Json writer = message->json.value("writer", Json::object());
  ring->writer = writer.is_object() ? writer.value("uid", std::string()) : std::string();
  const Status status = Map(ring.get(), message);
  if (status == Status::kNoMemory) {
    EndBy({SHIMMY_CLOSED, "SHIMMY_ERR_NO_MEMORY", "there is no memory to map the channel", ""});
    return;
  }
  if (status != Status::kOk) {
    sums_.dropped_peers.Add(1);
    Tell("generationFinished", ring->generation, 0);
    return;
  }
  const bool is_seen = std::find(seen_.begin(), seen_.end(), ring->writer) != seen_.end();
  ring->is_again = is_seen;
  if (!is_seen) seen_.push_back(ring->writer);
  if (seen_.size() > kMaxSeen) seen_.erase(seen_.begin());
  Ring* const added = ring.get();
  rings_.push_back(std::move(ring));
  has_ended_ = is_end_told_ = false;
  sums_.rings.Add(1);
  LodgeLink(*added);
  if (message->Flag("isEnded")) Join(added, {});
  Sort();
}

Status SubscriberEndpoint::Map(Ring* ring, AgentMessage* message) {
  const ChannelShape shape = ShapeOf(ring->generation);
  const RegionSpec data = FreeSpec(shape, RegionKind::kData);
  Status status = ring->data.Receive(message->TakeRegion("data", 0), data);
  if (status == Status::kOk) {
    status = ring->global.Receive(message->TakeRegion("global", 0),
                                  FreeSpec(shape, RegionKind::kGlobal));
  }
  if (status == Status::kOk) status = ring->local.Make(FreeSpec(shape, RegionKind::kLocal));
  if (status != Status::kOk) return status;
  if ((options().flags & SHIMMY_PRIVATE_VIEWS) != 0 && !ring->view.Map(ring->data.fd(), data)) {
    return Status::kNoMemory;
  }
  LockfreeSubscriberState& state = ring->state;
  state.geometry = FreeGeometry(shape, parameters());
  state.global = ring->global.words<const LockfreeGlobal>();
  state.data = ring->data.payload();
  state.local = ring->local.words<LockfreeLocal>();
  // Begins before the publisher hears of us.
  ring->core.Begin(ring->number, message->Text("start") == "oldest");
  return Status::kOk;
}

void SubscriberEndpoint::LodgeLink(const Ring& ring) {
  Lodge(ring.generation, ring.number, {"local"}, {ring.local.fd()});
}

void SubscriberEndpoint::Join(Ring* ring, relay::UniqueFd doorbell) {
  if (ring->is_joined) return;
  ring->is_joined = true;
  if (doorbell.valid()) {
    ring->bell = Adopt(std::move(doorbell), ring->number);
    ring->core.Attach(ring->bell.fd.get());
    sums_.links.Add(1);
  } else {
    ring->core.Attach(-1);
  }
  Sort();
}

void SubscriberEndpoint::TellDead(Ring* ring) {
  ring->leaves_at = kNever;
  ring->is_joined = true;
  ring->core.Attach(-1);  // and no bell is sent to who has our descriptor's number next
  Close(&ring->bell);
  Sort();
}

uint64_t SubscriberEndpoint::DoTick(uint64_t now) {
  uint64_t next = kNever;
  for (const auto& ring : rings_) {
    if (ring->leaves_at <= now) TellDead(ring.get());
    next = std::min(next, ring->leaves_at);
  }
  return next;
}

void SubscriberEndpoint::Show(Json* request) {
  for (const auto& ring : rings_) {
    (*request)["links"].push_back({{"generation", ring->generation}, {"number", ring->number}});
  }
}

void SubscriberEndpoint::Relodge() {
  for (const auto& ring : rings_) LodgeLink(*ring);
}

void SubscriberEndpoint::StartOver() {
  while (!rings_.empty()) Retire(rings_.back().get());
}

void SubscriberEndpoint::LetGo() { StartOver(); }

void SubscriberEndpoint::Finish(Ring* ring) {
  Tell("generationFinished", ring->generation, 0);
  Retire(ring);
}

void SubscriberEndpoint::Retire(Ring* ring) {
  const auto place = std::find_if(rings_.begin(), rings_.end(),
                                  [ring](const auto& each) { return each.get() == ring; });
  if (place == rings_.end()) return;
  std::unique_ptr<Ring> owned = std::move(*place);
  rings_.erase(place);
  Sort();  // E3: before it is unmapped
  ring->core.Attach(-1);
  Close(&ring->bell);
  before_.wakes += ring->state.counts.wakes;
  before_.bells += ring->state.counts.bells;
  before_.sleeps += ring->state.counts.sleeps;
  missed_before_ += ring->state.missed;
  if (!ring->loans.empty()) retired_.push_back(std::move(owned));
}

bool SubscriberEndpoint::IsBefore(const Ring& one, const Ring& other) {
  return one.writer == other.writer && one.generation < other.generation;
}

// Several processes of a pod may publish: then a later ring is no restart.
bool SubscriberEndpoint::HasLivingSister(const Ring& ring) const {
  return std::any_of(rings_.begin(), rings_.end(), [&ring](const auto& other) {
    return IsBefore(*other, ring) && !IsDead(other->state.waiter);
  });
}

void SubscriberEndpoint::Sort() {
  uint64_t joined = 0;
  for (const auto& ring : rings_) {
    joined += ring->bell.fd.valid() ? 1 : 0;
    ring->is_behind = std::any_of(rings_.begin(), rings_.end(), [&ring](const auto& other) {
      return IsBefore(*other, *ring) && IsDead(other->state.waiter);
    });
  }
  set_peers(joined);
  const bool is_one = rings_.size() == 1 && rings_.front()->is_joined;
  SetCurrent(is_one ? &rings_.front()->state.waiter : &idle_);
}

void SubscriberEndpoint::RefreshSums() {
  WaitCounts counts = before_;
  uint64_t missed = missed_before_;
  for (const auto& ring : rings_) {
    counts.wakes += ring->state.counts.wakes;
    counts.bells += ring->state.counts.bells;
    counts.sleeps += ring->state.counts.sleeps;
    missed += ring->state.missed;
  }
  sums_.wakes.Set(counts.wakes);
  sums_.bells.Set(counts.bells);
  sums_.sleeps.Set(counts.sleeps);
  sums_.missed.Set(missed);
}

// ---- calls ----

template <class Attempt>
int SubscriberEndpoint::TryAll(Attempt attempt, Ring** from) {
  size_t ended = 0;
  for (size_t i = 0; i < rings_.size(); i++) {
    turn_ = turn_ + 1 < rings_.size() ? turn_ + 1 : 0;
    Ring* const ring = rings_[turn_].get();
    if (!ring->is_joined || ring->is_behind) continue;
    const Status status = attempt(&ring->core);
    *from = ring;
    switch (status) {
      case Status::kOk: return SHIMMY_OK;
      case Status::kTooLarge: return SHIMMY_BUFFER_TOO_SMALL;
      case Status::kNotNow: return SHIMMY_NO_LOAN;
      case Status::kWouldBlock: continue;
      case Status::kEof:
        ring->is_ended = true;
        ended++;
        if (!IsDead(ring->state.waiter)) continue;
        has_ended_ = true;
        break;
      case Status::kPeerDied: break;
      default: sums_.dropped_peers.Add(1); break;
    }
    Finish(ring);
    return kLookAgain;
  }
  if (ended > 0) has_ended_ = true;
  if (!has_ended_ || ended < rings_.size() || is_end_told_) return SHIMMY_AGAIN;
  is_end_told_ = true;
  has_ended_ = false;
  return SHIMMY_END;
}

template <class Attempt>
int SubscriberEndpoint::Repeat(Deadline deadline, Attempt attempt, Ring** from) {
  for (;;) {
    if (is_over()) return SHIMMY_CLOSED;
    int result = TryAll(attempt, from);
    if (result == kLookAgain) continue;
    if (result != SHIMMY_AGAIN) return result;
    result = Wait(deadline);
    if (result != SHIMMY_OK) return result;
  }
}

int SubscriberEndpoint::Wait(Deadline deadline) {
  if (rings_.empty()) return WaitIdle(deadline);
  Ring* const first = rings_.front().get();
  if (rings_.size() > 1 || !first->is_joined || first->is_ended) {
    return WaitBy(&idle_, deadline,
                  [this](const WaitOptions& options) { return WaitForAny(options); });
  }
  return WaitBy(&first->state.waiter, deadline, [first](const WaitOptions& options) {
    return first->core.WaitForMessage(options);
  });
}

bool SubscriberEndpoint::HasNews() const {
  return std::any_of(rings_.begin(), rings_.end(), [](const auto& ring) {
    return ring->is_joined && !ring->is_behind && !ring->is_ended && ring->core.HasNews();
  });
}

Status SubscriberEndpoint::WaitForAny(const WaitOptions& options) {
  constexpr uint64_t kTurnsPerClock = 64;
  for (uint64_t turn = 1; turn <= options.spins; turn++) {
    // SYNC flags (relaxed): AfterWait() looks again.
    if (HasNews() || idle_.flags.load(std::memory_order_relaxed) != 0) return Status::kOk;
    if (turn % kTurnsPerClock == 0 && NowNanos() >= options.deadline) return Status::kWouldBlock;
    internal::RelaxCpu();
  }
  bool is_armed = true;
  for (const auto& ring : rings_) {
    if (!ring->bell.fd.valid()) continue;
    // A hang-up comes through the inbox; what is no bell ends the ring as a lie does.
    if (ring->core.EatBells() == Status::kStrayIo) ring->state.broken = Status::kStrayIo;
    if (!ring->is_behind && !ring->is_ended) is_armed = ring->core.ArmBell() && is_armed;
  }
  sums_.sleeps.Add(1);
  const Status status = is_armed ? PollFd(options.deadline) : Status::kOk;
  for (const auto& ring : rings_) ring->core.DisarmBell();
  return status;
}

void SubscriberEndpoint::Filled(Ring* ring, const LockfreeMessage& from, shimmy_message* message) {
  message->data = from.data;
  message->bytes = from.bytes;
  message->sequence = from.number;
  message->generation = ring->generation;
  message->missed = ring->state.missed - ring->missed;
  ring->missed = ring->state.missed;
  if (std::exchange(ring->is_again, false) && !HasLivingSister(*ring)) {
    message->missed = SHIMMY_MISSED_UNKNOWN;
    sums_.missed_unknown.Add(1);
  }
  sums_.messages.Add(1);
  sums_.bytes.Add(from.bytes);
}

int SubscriberEndpoint::DoTake(void* to, size_t room, Deadline deadline, shimmy_message* message) {
  LockfreeMessage taken;
  Ring* ring = nullptr;
  const int result = Repeat(
      deadline, [&](Core* core) { return core->Take(to, room, &taken); }, &ring);
  if (result == SHIMMY_OK) Filled(ring, taken, message);
  if (result == SHIMMY_BUFFER_TOO_SMALL) message->bytes = taken.bytes;
  return result;
}

int SubscriberEndpoint::DoLoan(Deadline deadline, shimmy_message* message) {
  LockfreeMessage lent;
  Ring* ring = nullptr;
  const int result = Repeat(
      deadline, [&](Core* core) { return core->Loan(&lent); }, &ring);
  if (result != SHIMMY_OK) return result;
  ring->loans.push_back(lent.loan);
  Filled(ring, lent, message);
  message->loan = LoanId(ring->serial, lent.loan);
  if (ring->view.valid() && lent.bytes > shared_up_to()) {
    message->data = ring->view.Show(ring->data.payload(), lent.data, lent.bytes);
  }
  return result;
}

int SubscriberEndpoint::DoRelease(shimmy_message* message) {
  const auto release = [message](Ring* ring) {
    for (const uint64_t loan : ring->loans) {
      if (LoanId(ring->serial, loan) != message->loan) continue;
      ring->core.Release(static_cast<uint32_t>(loan));
      std::erase(ring->loans, loan);
      *message = {};
      return true;
    }
    return false;
  };
  for (const auto& ring : rings_) {
    if (release(ring.get())) return SHIMMY_OK;
  }
  for (const auto& ring : retired_) {
    if (!release(ring.get())) continue;
    std::erase_if(retired_, [](const auto& each) { return each->loans.empty(); });
    return SHIMMY_OK;
  }
  return SHIMMY_MISUSE;
}

int SubscriberEndpoint::DoArm(size_t bytes) {
  (void)bytes;
  for (size_t i = 0; i < rings_.size(); i++) {
    Ring* const ring = rings_[i].get();
    if (!ring->is_joined) continue;
    if (ring->bell.fd.valid()) {
      const Status status = ring->core.EatBells();
      if (status == Status::kStrayIo) ring->state.broken = status;
      if (status == Status::kPeerDied) TellDead(ring);
    }
    const bool is_quiet = ring->is_behind || (ring->is_ended && ring->bell.fd.valid());
    if (!is_quiet && !ring->core.ArmBell()) return SHIMMY_OK;
  }
  return SHIMMY_AGAIN;
}

}  // namespace shimmy::channel
