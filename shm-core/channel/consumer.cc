#include "consumer.h"

#include <utility>

#include "lock_regions.h"

namespace shimmy::channel {

namespace {

// A producer of which the agent says that it is gone, and whose doorbell does not hang up.
constexpr uint64_t kLeaveNs = 1'000'000'000;

// Rings of one endpoint are told apart by their serial numbers.
uint64_t LoanId(uint64_t serial, uint64_t loan) { return serial << 32 | ((loan + 1) & 0xffffffff); }

}  // namespace

// ---- the agent ----

void ConsumerEndpoint::Became(bool is_live, uint64_t generation) {
  // What is to be read comes by itself.
  (void)is_live;
  (void)generation;
}

void ConsumerEndpoint::Handle(AgentMessage* message) {
  const std::string type = message->type();
  if (type == "channelRing") {
    if (ring_ == nullptr) {
      Offered(message);
    } else {
      offered_ = std::move(*message);
    }
    return;
  }
  const bool is_ours = ring_ != nullptr && message->Number("number") == ring_->number;
  if (!is_ours) return;
  if (type == "channelPeer") {
    if (!message->fds.empty()) Join(std::move(message->fds.front()));
  } else if (type == "channelPeerGone") {
    PeerGone(message->Flag("isOver"));
  } else if (type == "hangUp") {
    TellDead();
  }
}

void ConsumerEndpoint::Offered(AgentMessage* message) {
  auto ring = std::make_unique<Ring>();
  ring->serial = ++last_serial_;
  ring->generation = message->Number("generation");
  ring->number = message->Number("number");
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
  ring_ = std::move(ring);
  sums_.rings.Add(1);
  LodgeLink();
  if (message->Flag("isEnded")) Join({});
}

Status ConsumerEndpoint::Map(Ring* ring, AgentMessage* message) {
  const ChannelShape shape = ShapeOf(ring->generation);
  const RegionSpec data = LockSpec(shape, RegionKind::kData);
  const RegionSpec words = LockSpec(shape, RegionKind::kConsumer);
  Status status = ring->data.Receive(message->TakeRegion("data", 0), data);
  if (status == Status::kOk) {
    status = ring->producer.Receive(message->TakeRegion("producer", 0),
                                    LockSpec(shape, RegionKind::kProducer));
  }
  if (status == Status::kOk) status = ring->words.Make(words);
  if (status != Status::kOk) return status;
  if ((options().flags & SHIMMY_PRIVATE_VIEWS) != 0 && !ring->view.Map(ring->data.fd(), data)) {
    return Status::kNoMemory;
  }
  RegionOwner previous;
  // What cannot be mapped says nothing: then the producer's word is all there is.
  const bool is_after = previous.Receive(message->TakeRegion("consumer", 0), words) == Status::kOk;
  LockConsumerState& state = ring->state;
  state.geometry = LockGeometry::Of(shape, parameters().max_loans);
  state.producer = ring->producer.words<const LockProducerWords>();
  state.data = ring->data.payload();
  state.words = ring->words.words<LockConsumerWords>();
  ring->core.Prepare(ring->number, is_after ? previous.words<const LockConsumerWords>() : nullptr);
  return Status::kOk;
}

void ConsumerEndpoint::LodgeLink() {
  Lodge(ring_->generation, ring_->number, {"consumer"}, {ring_->words.fd()});
}

void ConsumerEndpoint::Join(relay::UniqueFd doorbell) {
  if (ring_->is_joined) return;
  ring_->is_joined = true;
  if (doorbell.valid()) {
    ring_->bell = Adopt(std::move(doorbell), ring_->number);
    ring_->core.Attach(ring_->bell.fd.get());
    sums_.links.Add(1);
    set_peers(1);
  } else {
    ring_->core.Attach(-1);
  }
  SetCurrent(&ring_->state.waiter);
}

void ConsumerEndpoint::PeerGone(bool is_over) {
  if (is_over) {
    Retire();
  } else if (!ring_->is_joined) {
    Join({});
  } else if (ring_->bell.fd.valid()) {
    ring_->leaves_at = NowNanos() + kLeaveNs;
    client().Tend(Self());
  }
}

uint64_t ConsumerEndpoint::DoTick(uint64_t now) {
  if (ring_ == nullptr || ring_->leaves_at == kNever) return kNever;
  if (now < ring_->leaves_at) return ring_->leaves_at;
  TellDead();
  return kNever;
}

void ConsumerEndpoint::TellDead() {
  ring_->leaves_at = kNever;
  ring_->is_joined = true;
  ring_->core.Attach(-1);  // and no bell is sent to who has our descriptor's number next
  Close(&ring_->bell);
  SetCurrent(&ring_->state.waiter);
  set_peers(0);
}

void ConsumerEndpoint::Show(Json* request) {
  if (ring_ == nullptr) return;
  (*request)["links"].push_back({{"generation", ring_->generation}, {"number", ring_->number}});
}

void ConsumerEndpoint::Relodge() {
  if (ring_ != nullptr) LodgeLink();
}

void ConsumerEndpoint::StartOver() {
  offered_.reset();
  Retire();
}

void ConsumerEndpoint::LetGo() {
  offered_.reset();
  Retire();
}

void ConsumerEndpoint::Finish() {
  Tell("generationFinished", ring_->generation, 0);
  Retire();
}

void ConsumerEndpoint::Retire() {
  if (ring_ != nullptr) {
    SetCurrent(&idle_);
    ring_->core.Attach(-1);
    Close(&ring_->bell);
    set_peers(0);
    before_.wakes += ring_->state.counts.wakes;
    before_.bells += ring_->state.counts.bells;
    before_.sleeps += ring_->state.counts.sleeps;
    if (!ring_->loans.empty()) retired_.push_back(std::move(ring_));
    ring_ = nullptr;
  }
  if (!offered_.has_value()) return;
  AgentMessage message = std::move(*offered_);
  offered_.reset();
  Offered(&message);
}

void ConsumerEndpoint::RefreshSums() {
  WaitCounts counts;
  if (ring_ != nullptr) counts = ring_->state.counts;
  sums_.wakes.Set(before_.wakes + counts.wakes);
  sums_.bells.Set(before_.bells + counts.bells);
  sums_.sleeps.Set(before_.sleeps + counts.sleeps);
}

// ---- calls ----

template <class Attempt>
int ConsumerEndpoint::Repeat(Deadline deadline, Attempt attempt) {
  for (;;) {
    if (is_over()) return SHIMMY_CLOSED;
    int result = SHIMMY_OK;
    if (ring_ == nullptr || !ring_->is_joined) {
      result = WaitIdle(deadline);
      if (result != SHIMMY_OK) return result;
      continue;
    }
    Ring& ring = *ring_;
    const Status status = attempt();
    switch (status) {
      case Status::kOk: return SHIMMY_OK;
      case Status::kTooLarge: return SHIMMY_BUFFER_TOO_SMALL;
      case Status::kNotNow: return SHIMMY_NO_LOAN;
      case Status::kWouldBlock:
        result = WaitBy(&ring.state.waiter, deadline, [&ring](const WaitOptions& options) {
          return ring.core.WaitForMessage(options);
        });
        break;
      case Status::kEof:
        if (!ring.is_end_told) {
          ring.is_end_told = true;
          return SHIMMY_END;
        }
        if (IsDead(ring.state.waiter)) {
          Finish();
          continue;
        }
        result = WaitBy(&ring.state.waiter, deadline, [&ring](const WaitOptions& options) {
          ChannelWaiter* const waiter = &ring.state.waiter;
          return internal::SleepOnFutex<RawSys>(waiter, &waiter->flags, 0, options.deadline);
        });
        break;
      case Status::kPeerDied: Finish(); continue;
      default:
        sums_.dropped_peers.Add(1);
        Finish();
        continue;
    }
    if (result != SHIMMY_OK) return result;
  }
}

void ConsumerEndpoint::Filled(const LockMessage& from, shimmy_message* message) {
  message->data = from.data;
  message->bytes = from.bytes;
  message->sequence = ring_->state.taken.position;
  message->generation = ring_->generation;
  sums_.messages.Add(1);
  sums_.bytes.Add(from.bytes);
}

int ConsumerEndpoint::DoTake(void* to, size_t room, Deadline deadline, shimmy_message* message) {
  LockMessage taken;
  const int result = Repeat(deadline, [&] { return ring_->core.Take(to, room, &taken); });
  if (result == SHIMMY_OK) Filled(taken, message);
  if (result == SHIMMY_BUFFER_TOO_SMALL) message->bytes = taken.bytes;
  return result;
}

int ConsumerEndpoint::DoLoan(Deadline deadline, shimmy_message* message) {
  LockMessage lent;
  const int result = Repeat(deadline, [&] { return ring_->core.Loan(&lent); });
  if (result != SHIMMY_OK) return result;
  ring_->loans.push_back(lent.loan);
  Filled(lent, message);
  message->loan = LoanId(ring_->serial, lent.loan);
  if (ring_->view.valid() && lent.bytes > shared_up_to()) {
    message->data = ring_->view.Show(ring_->data.payload(), lent.data, lent.bytes);
  }
  return result;
}

void ConsumerEndpoint::Released(Ring* ring, uint64_t loan) {
  ring->core.Release(loan);
  std::erase(ring->loans, loan);
  if (ring == ring_.get() || !ring->loans.empty()) return;
  std::erase_if(retired_, [ring](const auto& each) { return each.get() == ring; });
}

int ConsumerEndpoint::DoRelease(shimmy_message* message) {
  const auto is_in = [this, message](Ring* ring) {
    for (const uint64_t loan : ring->loans) {
      if (LoanId(ring->serial, loan) != message->loan) continue;
      Released(ring, loan);
      *message = {};
      return true;
    }
    return false;
  };
  if (ring_ != nullptr && is_in(ring_.get())) return SHIMMY_OK;
  for (const auto& ring : retired_) {
    if (is_in(ring.get())) return SHIMMY_OK;
  }
  return SHIMMY_MISUSE;
}

int ConsumerEndpoint::DoArm(size_t bytes) {
  (void)bytes;
  if (ring_ == nullptr || !ring_->is_joined) return SHIMMY_AGAIN;
  if (ring_->bell.fd.valid()) {
    const Status status = ring_->core.EatBells();
    if (status == Status::kStrayIo) {
      sums_.dropped_peers.Add(1);
      Finish();
      return SHIMMY_OK;
    }
    if (status == Status::kPeerDied) TellDead();
  }
  if (ring_->is_end_told && !IsDead(ring_->state.waiter)) return SHIMMY_AGAIN;
  return ring_->core.ArmBell() ? SHIMMY_AGAIN : SHIMMY_OK;
}

}  // namespace shimmy::channel
