#include "producer.h"

#include <utility>

#include "lock_regions.h"

namespace shimmy::channel {

namespace {

// A consumer that was told to go and does not: who comes next begins where it was seen last.
constexpr uint64_t kLeaveNs = 1'000'000'000;

// Rings of one endpoint are told apart by their serial numbers.
uint64_t RoomId(uint64_t serial, uint64_t id) { return serial << 32 | ((id + 1) & 0xffffffff); }

}  // namespace

// ---- the agent ----

void ProducerEndpoint::Became(bool is_live, uint64_t generation) {
  if (!is_live || (ring_ != nullptr && ring_->generation == generation)) return;
  Retire();
  auto ring = std::make_unique<Ring>();
  const ChannelShape shape = ShapeOf(generation);
  const RegionSpec words = LockSpec(shape, RegionKind::kProducer);
  if (ring->data.Make({shape, RegionKind::kData, 0}) != Status::kOk ||
      ring->words.Make(words) != Status::kOk) {
    EndBy({SHIMMY_CLOSED, "SHIMMY_ERR_NO_MEMORY",
           "there is no memory for a ring of the channel; raise the container's limit, or make the "
           "channel with fewer blocks",
           ""});
    return;
  }
  ring->serial = ++last_serial_;
  ring->generation = generation;
  ring->state.geometry = LockGeometry::Of(shape, parameters().max_loans);
  ring->state.words = ring->words.words<LockProducerWords>();
  ring->state.data = ring->data.payload();
  Core::Prepare(ring->state.words);
  ring_ = std::move(ring);
  SetCurrent(&ring_->state.waiter);
  sums_.rings.Add(1);
  if (is_ended_) ring_->core.Fin();
  LodgeRing();
}

void ProducerEndpoint::LodgeRing() {
  Lodge(ring_->generation, 0, {"data", "producer"}, {ring_->data.fd(), ring_->words.fd()});
}

void ProducerEndpoint::Handle(AgentMessage* message) {
  const uint64_t number = message->Number("number");
  const std::string type = message->type();
  if (type == "channelPeer") {
    Meet(message);
  } else if (type == "channelPeerGone") {
    Leaving(number);
  } else if (type == "hangUp" && ring_ != nullptr && ring_->link.number == number) {
    Tell("linkGone", ring_->generation, number);
    Part();
  }
}

void ProducerEndpoint::Meet(AgentMessage* message) {
  const uint64_t number = message->Number("number");
  if (ring_ == nullptr || message->Number("generation") != ring_->generation) return;
  auto link = std::make_unique<Link>();
  link->number = number;
  const RegionSpec spec = LockSpec(ShapeOf(ring_->generation), RegionKind::kConsumer);
  relay::UniqueFd doorbell =
      message->fds.empty() ? relay::UniqueFd() : std::move(message->fds.front());
  if (!doorbell.valid() ||
      link->region.Receive(message->TakeRegion("consumer", 1), spec) != Status::kOk) {
    sums_.dropped_peers.Add(1);
    Tell("linkGone", ring_->generation, number);
    return;
  }
  link->bell = Adopt(std::move(doorbell), number);
  if (ring_->link.number == 0) {
    Join(std::move(link));
    return;
  }
  if (ring_->next != nullptr) Close(&ring_->next->bell);
  ring_->next = std::move(link);
  Leaving(ring_->link.number);
}

void ProducerEndpoint::Join(std::unique_ptr<Link> link) {
  ring_->link = std::move(*link);
  const auto* const words = ring_->link.region.words<const LockConsumerWords>();
  const Status status =
      ring_->core.AttachConsumer(words, ring_->link.number, ring_->link.bell.fd.get());
  if (status != Status::kOk) {
    Tell("linkGone", ring_->generation, ring_->link.number);
    Close(&ring_->link.bell);
    ring_->link = Link{};
    return;
  }
  sums_.links.Add(1);
  set_peers(1);
}

// The agent takes the consumer away, or has another one: that one waits until it has hung up.
void ProducerEndpoint::Leaving(uint64_t number) {
  if (ring_ == nullptr) return;
  if (ring_->next != nullptr && ring_->next->number == number) {
    Close(&ring_->next->bell);
    ring_->next = nullptr;
    return;
  }
  Link& link = ring_->link;
  if (link.number != number || number == 0 || link.is_leaving) return;
  link.is_leaving = true;
  link.leaves_at = NowNanos() + kLeaveNs;
  client().Tend(Self());
}

uint64_t ProducerEndpoint::DoTick(uint64_t now) {
  if (ring_ == nullptr || !ring_->link.is_leaving) return kNever;
  if (now < ring_->link.leaves_at) return ring_->link.leaves_at;
  Part();
  return kNever;
}

// The consumer has hung up.
void ProducerEndpoint::Part() {
  ring_->core.DetachConsumer();
  Close(&ring_->link.bell);
  ring_->link = Link{};
  set_peers(0);
  if (ring_->next != nullptr) Join(std::exchange(ring_->next, nullptr));
}

// The consumer broke the rules (C15).
void ProducerEndpoint::DropBroken() {
  sums_.dropped_peers.Add(1);
  Tell("linkGone", ring_->generation, ring_->link.number);
  Part();
}

void ProducerEndpoint::Show(Json* request) {
  if (ring_ == nullptr) return;
  (*request)["generation"] = ring_->generation;
  if (ring_->link.number != 0) {
    (*request)["links"].push_back(
        {{"generation", ring_->generation}, {"number", ring_->link.number}});
  }
}

void ProducerEndpoint::Relodge() {
  if (ring_ != nullptr) LodgeRing();
}

void ProducerEndpoint::StartOver() { Retire(); }

void ProducerEndpoint::LetGo() { Retire(); }

void ProducerEndpoint::Retire() {
  if (ring_ == nullptr) return;
  RefreshSums();
  before_.wakes += ring_->state.counts.wakes;
  before_.bells += ring_->state.counts.bells;
  before_.sleeps += ring_->state.counts.sleeps;
  SetCurrent(&idle_);
  Close(&ring_->link.bell);
  if (ring_->next != nullptr) Close(&ring_->next->bell);
  set_peers(0);
  if (!ring_->rooms.empty()) retired_.push_back(std::move(ring_));
  ring_ = nullptr;
}

void ProducerEndpoint::RefreshSums() {
  if (ring_ == nullptr) return;
  const WaitCounts& counts = ring_->state.counts;
  sums_.wakes.Set(before_.wakes + counts.wakes);
  sums_.bells.Set(before_.bells + counts.bells);
  sums_.sleeps.Set(before_.sleeps + counts.sleeps);
}

// ---- calls ----

template <class Attempt>
int ProducerEndpoint::Repeat(size_t bytes, Deadline deadline, Attempt attempt) {
  for (;;) {
    if (is_over()) return SHIMMY_CLOSED;
    if (is_ended_) return SHIMMY_END;
    int result = SHIMMY_OK;
    if (ring_ == nullptr) {  // standing by: as if full
      result = WaitIdle(deadline);
    } else {
      const Status status = attempt();
      if (status == Status::kCursorOutOfRange) {
        DropBroken();
        continue;
      }
      if (status == Status::kNotNow) return SHIMMY_NO_LOAN;
      if (status != Status::kWouldBlock) return StatusOf(status);
      result = WaitBy(&ring_->state.waiter, deadline, [this, bytes](const WaitOptions& options) {
        return ring_->core.WaitForRoom(bytes, options);
      });
    }
    if (result != SHIMMY_OK) return result;
  }
}

int ProducerEndpoint::DoPublish(const void* data, size_t bytes, Deadline deadline) {
  if (ring_ != nullptr && !ring_->rooms.empty()) return SHIMMY_MISUSE;
  const int result = Repeat(bytes, deadline, [&] { return ring_->core.Publish(data, bytes); });
  if (result != SHIMMY_OK) return result;
  sums_.messages.Add(1);
  sums_.bytes.Add(bytes);
  return result;
}

int ProducerEndpoint::DoReserve(size_t bytes, Deadline deadline, shimmy_room* room) {
  LockReservation reservation;
  const int result =
      Repeat(bytes, deadline, [&] { return ring_->core.Reserve(bytes, &reservation); });
  if (result != SHIMMY_OK) return result;
  ring_->rooms.push_back(reservation.id);
  *room = {reservation.data, bytes, RoomId(ring_->serial, reservation.id)};
  return result;
}

ProducerEndpoint::Ring* ProducerEndpoint::FindRoom(const shimmy_room& room, uint64_t* id) {
  const auto is_in = [&room, id](Ring* ring) {
    for (const uint64_t each : ring->rooms) {
      if (RoomId(ring->serial, each) != room.id) continue;
      *id = each;
      return true;
    }
    return false;
  };
  if (ring_ != nullptr && is_in(ring_.get())) return ring_.get();
  for (const auto& ring : retired_) {
    if (is_in(ring.get())) return ring.get();
  }
  return nullptr;
}

// A room was given back.
void ProducerEndpoint::Forget(Ring* ring, uint64_t id) {
  std::erase(ring->rooms, id);
  if (ring == ring_.get() || !ring->rooms.empty()) return;
  std::erase_if(retired_, [ring](const auto& each) { return each.get() == ring; });
}

int ProducerEndpoint::DoCommit(shimmy_room* room, size_t bytes) {
  uint64_t id = 0;
  Ring* const ring = FindRoom(*room, &id);
  if (ring == nullptr) return SHIMMY_MISUSE;
  if (ring != ring_.get()) {  // its ring is given up: nobody would ever read it
    *room = {};
    Forget(ring, id);
    return SHIMMY_INTERRUPTED;
  }
  const Status status = ring->core.Commit(id, bytes);
  if (status == Status::kNotNow) return SHIMMY_MISUSE;
  *room = {};
  Forget(ring, id);
  if (status != Status::kOk) return StatusOf(status);
  sums_.messages.Add(1);
  sums_.bytes.Add(bytes);
  return SHIMMY_OK;
}

int ProducerEndpoint::DoCancel(shimmy_room* room) {
  uint64_t id = 0;
  Ring* const ring = FindRoom(*room, &id);
  if (ring == nullptr) return SHIMMY_MISUSE;
  if (ring == ring_.get()) ring->core.Cancel(id);
  *room = {};
  Forget(ring, id);
  return SHIMMY_OK;
}

int ProducerEndpoint::DoEnd() {
  is_ended_ = true;
  if (ring_ != nullptr) ring_->core.Fin();
  return SHIMMY_OK;
}

int ProducerEndpoint::DoDrain(Deadline deadline) {
  for (;;) {
    if (is_over()) return SHIMMY_CLOSED;
    if (ring_ == nullptr) return SHIMMY_OK;  // nothing was published
    WaitOptions now;
    now.deadline = 1;
    const Status status = ring_->core.WaitUntilDrained(now);
    if (ring_->state.is_consumer_broken) {
      DropBroken();
      continue;
    }
    if (status == Status::kOk) return SHIMMY_OK;
    const int result = WaitBy(&ring_->state.waiter, deadline, [this](const WaitOptions& options) {
      return ring_->core.WaitUntilDrained(options);
    });
    if (result != SHIMMY_OK) return result;
  }
}

// Also behind the end: shimmy_drain() is waited for by room for all that there is.
int ProducerEndpoint::DoArm(size_t bytes) {
  if (ring_ == nullptr) return SHIMMY_AGAIN;
  if (ring_->link.number != 0) {
    const Status status = ring_->core.EatBells();
    if (status == Status::kStrayIo) DropBroken();
    if (status == Status::kPeerDied) {
      Tell("linkGone", ring_->generation, ring_->link.number);
      Part();
    }
  }
  return ring_->core.ArmBell(bytes) ? SHIMMY_AGAIN : SHIMMY_OK;
}

}  // namespace shimmy::channel
