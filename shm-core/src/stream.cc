#include "stream.h"

#include <sched.h>
#include <unistd.h>

namespace shimmy::addon {
namespace {

using Sys = StreamSys;

// More records than an honest peer leaves in a doorbell.
constexpr int kMaxDiscarded = 4096;

bool CanSpin() noexcept {
  cpu_set_t cpus;
  return sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) > 1;
}

// A half of ours: created, mapped for writing, sealed.
Status MakeHalf(const HalfSpec& spec, HalfMap* half, UniqueFd* fd) noexcept {
  const int created = CreateHalf<Sys>(spec);
  if (created < 0) return static_cast<Status>(created);
  fd->Reset(created);
  const Status mapped = MapAsWriter<Sys>(created, spec, half);
  if (mapped != Status::kOk) return mapped;
  const Status sealed = SealHalf<Sys>(created);
  if (sealed != Status::kOk) UnmapHalf<Sys>(half);
  return sealed;
}

bool IsPlausible(const StreamHandover& handover, uint64_t page_bytes) noexcept {
  return handover.magic == kHandoverMagic && handover.version == kHandoverVersion &&
         handover.reserved == 0 && IsPowerOfTwo(handover.capacity) &&
         handover.capacity >= kMinCapacity && handover.capacity >= page_bytes &&
         handover.capacity <= kMaxCapacity && handover.number >= 1 &&
         handover.number < UINT32_MAX && handover.reading_number >= 1 && handover.is_raised <= 1 &&
         handover.is_plug_queued <= 1;
}

}  // namespace

Status StreamHost::Open(StreamHost* out) noexcept {
  out->page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  out->can_spin = CanSpin();
  return ProbeDoorbell<Sys>(&out->sizes);
}

Stream::~Stream() {
  if (doorbell_.valid()) Reset();  // I3
  Unmap();                         // what a failed Attach() had mapped
}

Status Stream::CreatePair(const StreamHost& host, uint64_t capacity, Pair& out) {
  HalfSpec spec;
  spec.capacity = capacity;
  spec.page_bytes = host.page_bytes;
  HalfBounds bounds;
  bounds.max_capacity = capacity;
  bounds.page_bytes = host.page_bytes;
  int bells[2];
  if (const Status made = CreateDoorbell<Sys>(host.sizes, bells); made != Status::kOk) return made;
  UniqueFd halves[2];
  for (int i = 0; i < 2; i++) {
    out[i].reset(new Stream(host));
    out[i]->doorbell_.Reset(bells[i]);
  }
  for (int i = 0; i < 2; i++) {
    EndState& state = out[i]->state_;
    state.sizes = host.sizes;
    state.page_bytes = host.page_bytes;
    const Status made = MakeHalf(spec, &state.mine, &halves[i]);
    if (made != Status::kOk) return made;
    StreamEnd<Sys>::Prepare(state.mine, 0);
  }
  for (int i = 0; i < 2; i++) {
    HalfMap peer;
    const Status mapped = MapAsReader<Sys>(halves[1 - i].get(), bounds, &peer);
    if (mapped != Status::kOk) return mapped;
    const HalfMap mine = out[i]->state_.mine;
    out[i]->end_.Begin(bells[i], mine, peer, 0);
  }
  out[0]->peer_half_ = std::move(halves[1]);
  out[1]->peer_half_ = std::move(halves[0]);
  return Status::kOk;
}

Status Stream::Attach(const StreamHost& host, StreamHandover handover, HandoverFds fds,
                      std::unique_ptr<Stream>* out) {
  if (!IsPlausible(handover, host.page_bytes)) return Status::kBadHalf;
  std::unique_ptr<Stream> stream(new Stream(host));
  EndState& state = stream->state_;
  HalfBounds bounds;
  bounds.page_bytes = host.page_bytes;
  bounds.start = handover.reading_start;
  bounds.number = handover.reading_number;
  HalfMap reading;
  Status status = MapAsReader<Sys>(fds.peer_half.get(), bounds, &reading);
  if (status != Status::kOk) return status;
  state.reading = reading;

  HalfSpec spec;
  spec.capacity = handover.capacity;
  spec.start = handover.tail;
  spec.number = handover.number + 1;
  spec.page_bytes = host.page_bytes;
  HalfMap next;
  UniqueFd next_fd;
  status = MakeHalf(spec, &next, &next_fd);
  // Our predecessor has stored `moved` in the old half, which nobody can map for writing any
  // more: Replace() gets a page of our own to store it in.
  const long page = Sys::Map(nullptr, host.page_bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (status == Status::kOk && page < 0 && page > -4096) status = Status::kNoMemory;
  if (status != Status::kOk) {
    UnmapHalf<Sys>(&next);
    return status;
  }
  state.mine.control = reinterpret_cast<ControlPage*>(page);
  state.mine.mapped_bytes = host.page_bytes;
  state.mine.number = handover.number;
  state.sizes = host.sizes;
  state.page_bytes = host.page_bytes;
  state.bell_fd = fds.doorbell.get();
  state.tail = handover.tail;
  state.head = handover.head;
  state.wake_at = handover.wake_at;
  state.plugs_sent = handover.plugs_sent;
  state.plugs_eaten = handover.plugs_eaten;
  state.raised = handover.is_raised == 1;
  state.plug_queued = handover.is_plug_queued == 1;
  stream->doorbell_ = std::move(fds.doorbell);
  stream->peer_half_ = std::move(fds.peer_half);
  status = stream->end_.Replace(next, next_fd.get());
  if (status == Status::kOk) *out = std::move(stream);
  return status;
}

int64_t Stream::Read(std::span<std::byte> out, Spin spin) noexcept {
  if (host_.can_spin) read_spin_.SpinUntil(spin, [this] { return HasBytes(); });  // I2
  const int64_t result = ReadNow(out);
  UpdateMode();
  return result;
}

int64_t Stream::ReadNow(std::span<std::byte> out) noexcept {
  uint64_t got = 0;
  const Status status = end_.Read(out.data(), out.size(), &got);
  if (got > 0) {
    read_spin_.Done();
    return static_cast<int64_t>(got);
  }
  if (status == Status::kWouldBlock) read_spin_.Waiting();
  return static_cast<int64_t>(status);
}

int64_t Stream::Write(std::span<const std::byte> data, Spin spin) noexcept {
  if (state_.hung_up && IsPeerGone()) return static_cast<int64_t>(Status::kReset);
  if (host_.can_spin) write_spin_.SpinUntil(spin, [this] { return HasRoom(); });  // I2
  const int64_t result = WriteNow(data);
  UpdateMode();
  return result;
}

int64_t Stream::WriteNow(std::span<const std::byte> data) noexcept {
  uint64_t written = 0;
  const Status status = end_.Write(data.data(), data.size(), &written);
  if (written > 0) {
    write_spin_.Done();
    return static_cast<int64_t>(written);
  }
  if (status != Status::kWouldBlock) return static_cast<int64_t>(status);
  // A reader that is gone leaves the ring full for ever.
  if (IsPeerGone()) return static_cast<int64_t>(Status::kReset);
  write_spin_.Waiting();
  return static_cast<int64_t>(status);
}

void Stream::Settle(uint64_t published) noexcept {
  // A rule that the peer broke is kept in the state, and reported by the next call.
  if (published > 0) static_cast<void>(end_.Published(state_.tail - published));
  uint64_t unread = 0;
  if (end_.Available(&unread) == Status::kOk) static_cast<void>(end_.Consume(0, unread));
  UpdateMode();
}

LentState& Stream::Lend() noexcept {
  lent_mine_ = state_.mine.number;
  lent_peer_ = state_.reading.number;
  UpdateMode();
  return lent_;
}

void Stream::UpdateMode() noexcept {
  const EndState& s = state_;
  const bool is_lent = s.mine.number == lent_mine_ && s.reading.number == lent_peer_;
  // Whatever a call would look at beside cursors, room and bytes. A plug that may be queued is
  // taken back by a write of ours.
  const bool is_over = s.fin_sent || s.rst_sent || s.hung_up || s.broken != Status::kOk;
  const bool is_simple = !is_over && !s.next.valid() && s.mine.twice && s.reading.twice &&
                         (!s.plug_queued || s.raised);
  lent_.mode = !is_lent ? StreamMode::kStale : is_simple ? StreamMode::kDirect : StreamMode::kAsk;
}

void Stream::Wait(bool for_write, int timeout_ms) noexcept {
  const auto events = static_cast<short>(for_write ? POLLOUT : POLLIN | POLLRDHUP);
  Sys::Poll(doorbell_.get(), events, timeout_ms);
}

void Stream::Close() noexcept {
  end_.Fin();
  Sys::Shutdown(doorbell_.get(), SHUT_RDWR);
  // An unread record would turn our FIN into a reset for the peer.
  for (int i = 0; i < kMaxDiscarded; i++) {
    const Record record = EatRecord<Sys>(doorbell_.get());
    if (record.fd >= 0) Sys::Close(record.fd);
    if (record.kind == RecordKind::kNone || record.kind == RecordKind::kHangUp) break;
  }
  doorbell_.Reset();
  Unmap();
}

void Stream::Reset() noexcept {
  end_.Reset();
  doorbell_.Reset();
  Unmap();
}

Status Stream::Detach(StreamHandover* handover, HandoverFds* fds) noexcept {
  // Once the peer was replaced we hold no descriptor of the half we read.
  const bool has_peer_half = !state_.next.valid() && state_.counts.replaces_taken == 0;
  if (!has_peer_half || !end_.CanReplace()) return Status::kNotNow;
  // SYNC moved (release): pairs with the acquire load in StreamEnd::Look(); our last store here.
  state_.mine.control->moved.store(1, std::memory_order_release);
  *handover = StreamHandover{.magic = kHandoverMagic,
                             .version = kHandoverVersion,
                             .reserved = 0,
                             .capacity = state_.mine.capacity,
                             .tail = state_.tail,
                             .head = state_.head,
                             .wake_at = state_.wake_at,
                             .plugs_sent = state_.plugs_sent,
                             .plugs_eaten = state_.plugs_eaten,
                             .reading_start = state_.reading.start,
                             .number = state_.mine.number,
                             .reading_number = state_.reading.number,
                             .is_raised = state_.raised ? 1U : 0U,
                             .is_plug_queued = state_.plug_queued ? 1U : 0U};
  fds->doorbell = std::move(doorbell_);
  fds->peer_half = std::move(peer_half_);
  Unmap();
  return Status::kOk;
}

bool Stream::IsPeerGone() const noexcept {
  const long events = Sys::Poll(doorbell_.get(), 0, 0);
  return events > 0 && (events & (POLLHUP | POLLERR)) != 0;
}

bool Stream::HasBytes() noexcept {
  uint64_t unread = 0;
  return end_.Available(&unread) != Status::kOk || unread > 0;
}

bool Stream::HasRoom() noexcept {
  uint64_t room = 0;
  return end_.Room(&room) != Status::kOk || room > 0;
}

void Stream::Unmap() noexcept {
  UnmapHalf<Sys>(&state_.mine);
  UnmapHalf<Sys>(&state_.reading);
  UnmapHalf<Sys>(&state_.next);
  peer_half_.Reset();
}

}  // namespace shimmy::addon
