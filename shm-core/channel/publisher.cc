#include "publisher.h"

#include <utility>

#include "free_regions.h"

namespace shimmy::channel {

namespace {

// How often the scanner looks for what may be taken back. Publishing does not wait for it.
constexpr uint64_t kScanNs = 10'000'000;

// Rings of one endpoint are told apart by their serial numbers.
uint64_t RoomId(uint64_t serial, uint64_t number) { return serial << 32 | (number & 0xffffffff); }

}  // namespace

// ---- the agent ----

void PublisherEndpoint::Became(bool is_live, uint64_t generation) {
  if (!is_live || (ring_ != nullptr && ring_->generation == generation)) return;
  Retire();
  auto ring = std::make_unique<Ring>();
  const ChannelShape shape = ShapeOf(generation);
  const LockfreeGeometry geometry = FreeGeometry(shape, parameters());
  if (ring->data.Make({shape, RegionKind::kData, 0}) != Status::kOk ||
      ring->words.Make(FreeSpec(shape, RegionKind::kGlobal)) != Status::kOk) {
    EndBy({SHIMMY_CLOSED, "SHIMMY_ERR_NO_MEMORY",
           "there is no memory for a ring of the channel; raise the container's limit, or make the "
           "channel with fewer blocks",
           ""});
    return;
  }
  ring->serial = ++last_serial_;
  ring->generation = generation;
  ring->shadow.resize(geometry.slots);
  ring->state.geometry = geometry;
  ring->state.global = ring->words.words<LockfreeGlobal>();
  ring->state.data = ring->data.payload();
  ring->state.shadow = ring->shadow.data();
  ring->state.readers = parameters().readers;
  if (ring->core.Begin() != Status::kOk) {
    EndBy({SHIMMY_CLOSED, "SHIMMY_ERR_INTERNAL", "the channel's sizes make no ring", ""});
    return;
  }
  ring_ = std::move(ring);
  SetCurrent(&ring_->state.waiter);
  sums_.rings.Add(1);
  if (is_ended_) ring_->core.Fin();
  LodgeRing();
}

void PublisherEndpoint::LodgeRing() {
  Lodge(ring_->generation, 0, {"data", "global"}, {ring_->data.fd(), ring_->words.fd()});
}

void PublisherEndpoint::Handle(AgentMessage* message) {
  if (ring_ == nullptr) return;
  const uint64_t number = message->Number("number");
  const std::string type = message->type();
  if (type == "channelPeer") {
    Meet(message);
  } else if (type == "channelPeerGone") {
    Part(number);
  } else if (type == "hangUp") {
    Tell("linkGone", ring_->generation, number);
    Part(number);
  }
}

void PublisherEndpoint::Meet(AgentMessage* message) {
  const uint64_t number = message->Number("number");
  if (message->Number("generation") != ring_->generation) return;
  auto link = std::make_unique<Link>();
  link->number = number;
  const RegionSpec spec = FreeSpec(ShapeOf(ring_->generation), RegionKind::kLocal);
  relay::UniqueFd doorbell =
      message->fds.empty() ? relay::UniqueFd() : std::move(message->fds.front());
  int place = Core::kLied;
  if (doorbell.valid() &&
      link->region.Receive(message->TakeRegion("local", 1), spec) == Status::kOk) {
    place = ring_->core.Attach(link->region.words<const LockfreeLocal>(), doorbell.get(), number);
  }
  if (place < 0) {
    if (place == Core::kLied) sums_.dropped_peers.Add(1);
    Tell("linkGone", ring_->generation, number);
    return;
  }
  link->place = static_cast<uint32_t>(place);
  link->bell = Adopt(std::move(doorbell), number);
  ring_->links.push_back(std::move(link));
  sums_.links.Add(1);
  set_peers(ring_->links.size());
}

void PublisherEndpoint::Part(uint64_t number) {
  for (const auto& link : ring_->links) {
    if (link->number != number) continue;
    Drop(link.get());
    return;
  }
}

void PublisherEndpoint::Drop(Link* link) {
  ring_->core.Detach(link->place);
  Close(&link->bell);
  std::erase_if(ring_->links, [link](const auto& each) { return each.get() == link; });
  set_peers(ring_->links.size());
}

void PublisherEndpoint::DropBroken() {
  for (size_t i = 0; i < ring_->links.size();) {
    Link* const link = ring_->links[i].get();
    if (ring_->state.subscribers[link->place].local != nullptr) {
      i++;
      continue;
    }
    sums_.dropped_peers.Add(1);
    Tell("linkGone", ring_->generation, link->number);
    Drop(link);
  }
}

uint64_t PublisherEndpoint::DoTick(uint64_t now) {
  is_scanned_ = false;
  if (ring_ == nullptr) return kNever;
  const LockfreePublisherState& state = ring_->state;
  ring_->core.Scan(now);
  DropBroken();
  if (wanted_ != 0 && !ring_->core.ArmBell(wanted_ - 1, now)) {
    wanted_ = 0;
    TellLoop();
  }
  if (state.reusable == state.published && state.kept_count == 0) return kNever;
  is_scanned_ = true;
  return now + kScanNs;
}

void PublisherEndpoint::Show(Json* request) {
  if (ring_ == nullptr) return;
  (*request)["generation"] = ring_->generation;
  for (const auto& link : ring_->links) {
    (*request)["links"].push_back({{"generation", ring_->generation}, {"number", link->number}});
  }
}

void PublisherEndpoint::Relodge() {
  if (ring_ != nullptr) LodgeRing();
}

void PublisherEndpoint::StartOver() { Retire(); }

void PublisherEndpoint::LetGo() { Retire(); }

void PublisherEndpoint::Retire() {
  if (ring_ == nullptr) return;
  before_.wakes += ring_->state.waits.wakes;
  before_.bells += ring_->state.waits.bells;
  before_.sleeps += ring_->state.waits.sleeps;
  expired_before_ += ring_->state.counts.expired;
  SetCurrent(&idle_);
  for (const auto& link : ring_->links) Close(&link->bell);
  set_peers(0);
  if (ring_->room != 0) retired_.push_back(std::move(ring_));
  ring_ = nullptr;
}

void PublisherEndpoint::RefreshSums() {
  WaitCounts waits;
  uint64_t expired = 0;
  if (ring_ != nullptr) {
    waits = ring_->state.waits;
    expired = ring_->state.counts.expired;
  }
  sums_.wakes.Set(before_.wakes + waits.wakes);
  sums_.bells.Set(before_.bells + waits.bells);
  sums_.sleeps.Set(before_.sleeps + waits.sleeps);
  sums_.expired.Set(expired_before_ + expired);
}

// ---- calls ----

uint64_t PublisherEndpoint::ExpiryFrom(uint64_t now) const {
  const uint64_t ttl = parameters().time_to_live_ms;
  return ttl == 0 ? kNever : now + ttl * 1'000'000;
}

template <class Attempt>
int PublisherEndpoint::Repeat(Deadline deadline, Attempt attempt) {
  for (;;) {
    if (is_over()) return SHIMMY_CLOSED;
    if (is_ended_) return SHIMMY_END;
    int result = SHIMMY_OK;
    if (ring_ == nullptr) {
      result = WaitIdle(deadline);
    } else {
      const Status status = attempt(NowNanos());
      if (status == Status::kNotNow) return SHIMMY_NO_LOAN;
      if (status != Status::kWouldBlock) return StatusOf(status);
      DropBroken();
      result = WaitBy(&ring_->state.waiter, deadline, [this](const WaitOptions& options) {
        return ring_->core.WaitForRoom(options);
      });
    }
    if (result != SHIMMY_OK) return result;
  }
}

void PublisherEndpoint::Published(size_t bytes) {
  sums_.messages.Add(1);
  sums_.bytes.Add(bytes);
  if (is_scanned_) return;
  is_scanned_ = true;
  client().Tend(Self());
}

int PublisherEndpoint::DoPublish(const void* data, size_t bytes, Deadline deadline) {
  if (ring_ != nullptr && ring_->room != 0) return SHIMMY_MISUSE;
  const int result = Repeat(deadline, [&](uint64_t now) {
    return ring_->core.Publish(data, bytes, now, ExpiryFrom(now));
  });
  if (result == SHIMMY_OK) Published(bytes);
  return result;
}

int PublisherEndpoint::DoReserve(size_t bytes, Deadline deadline, shimmy_room* room) {
  unsigned char* to = nullptr;
  const int result =
      Repeat(deadline, [&](uint64_t now) { return ring_->core.Reserve(bytes, now, &to); });
  if (result != SHIMMY_OK) return result;
  ring_->room = ++ring_->last_room;
  *room = {to, bytes, RoomId(ring_->serial, ring_->room)};
  return result;
}

int PublisherEndpoint::DoCommit(shimmy_room* room, size_t bytes) {
  const auto is_of = [room](const std::unique_ptr<Ring>& ring) {
    return ring->room != 0 && RoomId(ring->serial, ring->room) == room->id;
  };
  if (std::erase_if(retired_, is_of) > 0) {  // its ring is given up: nobody would ever read it
    *room = {};
    return SHIMMY_INTERRUPTED;
  }
  if (ring_ == nullptr || !is_of(ring_)) return SHIMMY_MISUSE;
  const Status status = ring_->core.Commit(bytes, ExpiryFrom(NowNanos()));
  if (status != Status::kOk) return SHIMMY_MISUSE;
  ring_->room = 0;
  *room = {};
  Published(bytes);
  return SHIMMY_OK;
}

int PublisherEndpoint::DoCancel(shimmy_room* room) {
  const auto is_of = [room](const std::unique_ptr<Ring>& ring) {
    return ring->room != 0 && RoomId(ring->serial, ring->room) == room->id;
  };
  if (std::erase_if(retired_, is_of) == 0) {
    if (ring_ == nullptr || !is_of(ring_)) return SHIMMY_MISUSE;
    ring_->core.Cancel();
    ring_->room = 0;
  }
  *room = {};
  return SHIMMY_OK;
}

int PublisherEndpoint::DoEnd() {
  is_ended_ = true;
  if (ring_ != nullptr) ring_->core.Fin();
  return SHIMMY_OK;
}

int PublisherEndpoint::DoArm(size_t bytes) {
  wanted_ = 0;
  if (is_ended_) return SHIMMY_END;
  if (ring_ == nullptr) return SHIMMY_AGAIN;
  for (size_t i = 0; i < ring_->links.size();) {
    Link* const link = ring_->links[i].get();
    ChannelWaiter unused;
    const Status status = internal::EatBells<RawSys>(link->bell.fd.get(), &unused);
    if (status == Status::kOk) {
      i++;
      continue;
    }
    if (status == Status::kStrayIo) sums_.dropped_peers.Add(1);
    Tell("linkGone", ring_->generation, link->number);
    Drop(link);
  }
  if (!ring_->core.ArmBell(bytes, NowNanos())) return SHIMMY_OK;
  // Time makes room too: the scanner looks.
  wanted_ = bytes + 1;
  client().Tend(Self());
  return SHIMMY_AGAIN;
}

}  // namespace shimmy::channel
