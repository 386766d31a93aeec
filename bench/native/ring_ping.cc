// Ping-pong over a shared-memory stream: Shimmy's core, as the relay and the SDKs use it.
//
//   ring_ping --waiting spin|default|sleep --size BYTES --duration-ms T
//
// spin: looks at the ring again at once. sleep: arms the doorbell and polls it. default: spins as
// long as the policy of Shimmy's streams has learned to, then sleeps.
//
// The rings have the size that a stream of such messages would have grown to: the first size of
// a stream while two messages fit, else the power of two that holds two, at most 1 MiB. Bytes are
// copied in and out, like those of a socket.
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "ping.h"
#include "shimmy/stream_end.h"
#include "shimmy/sys_raw.h"
#include "src/spin_policy.h"

namespace shimmy::bench {
namespace {

constexpr uint64_t kLargestRing = uint64_t{1} << 20;
// How many empty looks until a spinning end asks whether the peer is gone.
constexpr unsigned kLooksPerHangUp = 1U << 20;

void Check(Status status, const char* what) {
  if (status == Status::kOk) return;
  std::fprintf(stderr, "ring_ping: %s: status %d\n", what, static_cast<int>(status));
  std::exit(1);
}

class RingEnd {
 public:
  RingEnd(EndState* state, Waiting waiting)
      : end_(state), bell_fd_(state->bell_fd), waiting_(WaitingHere(waiting)) {}

  bool Write(const std::byte* from, size_t size) {
    while (size > 0) {
      uint64_t written = 0;
      // A writer that looks at the room again by itself needs no plug to be woken.
      const Status status = waiting_ == Waiting::kSpin ? end_.WriteSome(from, size, &written)
                                                       : end_.Write(from, size, &written);
      from += written;
      size -= static_cast<size_t>(written);
      if (status == Status::kWouldBlock) {
        if (waiting_ == Waiting::kSpin)
          addon::RelaxCpu();
        else
          RawSys::Poll(bell_fd_, POLLOUT, -1);
      } else if (status != Status::kOk) {
        return false;
      }
    }
    return true;
  }

  bool Read(std::byte* to, size_t size) {
    while (size > 0) {
      if (!WaitForBytes()) return false;
      uint64_t unread = 0;
      if (end_.Available(&unread) != Status::kOk) return false;
      const Span span = end_.ReadSpan(std::min<uint64_t>(unread, size));
      std::memcpy(to, span.data, span.bytes);
      if (end_.Consume(span.bytes, unread) != Status::kOk) return false;
      to += span.bytes;
      size -= static_cast<size_t>(span.bytes);
    }
    return true;
  }

 private:
  static Waiting WaitingHere(Waiting wanted) {
    const bool alone = sysconf(_SC_NPROCESSORS_ONLN) < 2;
    return alone && wanted == Waiting::kDefault ? Waiting::kSleep : wanted;
  }

  // Returns false at the end of the stream.
  bool WaitForBytes() {
    if (HasBytes()) return !is_over_;
    if (waiting_ == Waiting::kSpin) return Spin();
    if (waiting_ == Waiting::kSleep) return Sleep();
    policy_.SpinUntil(addon::Spin::kLearned, [this] { return HasBytes(); });
    if (HasBytes()) return !is_over_;
    policy_.Waiting();
    const bool is_open = Sleep();
    policy_.Done();
    return is_open;
  }

  // True also when the stream is over: there is nothing to wait for.
  bool HasBytes() {
    uint64_t unread = 0;
    is_over_ = end_.Available(&unread) != Status::kOk;
    return is_over_ || unread > 0;
  }

  bool Spin() {
    for (unsigned looks = 1; !HasBytes(); ++looks) {
      // Only an armed end hears of the peer's death.
      if (looks % kLooksPerHangUp == 0) {
        const Status status = end_.Arm(true);
        if (status != Status::kOk && status != Status::kWouldBlock) return false;
      }
      addon::RelaxCpu();
    }
    return !is_over_;
  }

  bool Sleep() {
    for (;;) {
      const Status status = end_.Arm(true);
      if (status == Status::kOk) return true;
      if (status != Status::kWouldBlock) return false;
      RawSys::Poll(bell_fd_, POLLIN, -1);
    }
  }

  StreamEnd<RawSys> end_;
  const int bell_fd_;
  const Waiting waiting_;
  addon::SpinPolicy policy_;
  bool is_over_ = false;
};

// A half mapped by its writer and, sealed, by its reader.
struct HalfPair {
  HalfMap writer;
  HalfMap reader;
};

HalfPair MakeHalf(uint64_t capacity) {
  HalfSpec spec;
  spec.capacity = capacity;
  spec.page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const int fd = CreateHalf<RawSys>(spec);
  Check(fd < 0 ? static_cast<Status>(fd) : Status::kOk, "CreateHalf");
  HalfPair half;
  Check(MapAsWriter<RawSys>(fd, spec, &half.writer), "MapAsWriter");
  Check(SealHalf<RawSys>(fd), "SealHalf");
  HalfBounds bounds;
  bounds.page_bytes = spec.page_bytes;
  Check(MapAsReader<RawSys>(fd, bounds, &half.reader), "MapAsReader");
  close(fd);
  return half;
}

void Open(EndState* state, int bell_fd, const HalfMap& mine, const HalfMap& peer) {
  state->page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  StreamEnd<RawSys> end(state);
  end.Begin(bell_fd, mine, peer, peer.start);
}

int Main(const PingOptions& options) {
  const uint64_t capacity =
      std::clamp(std::bit_ceil(uint64_t{2} * options.size), kFirstCapacity, kLargestRing);
  DoorbellSizes sizes;
  Check(ProbeDoorbell<RawSys>(&sizes), "ProbeDoorbell");
  int bells[2];
  Check(CreateDoorbell<RawSys>(sizes, bells), "CreateDoorbell");
  const HalfPair halves[2] = {MakeHalf(capacity), MakeHalf(capacity)};
  EndState states[2];
  for (size_t i = 0; i < 2; ++i) {
    states[i].sizes = sizes;
    Open(&states[i], bells[i], halves[i].writer, halves[1 - i].reader);
  }

  const pid_t child = fork();
  if (child < 0) Check(Status::kInternal, "fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(bells[0]);
    PinIfSpinning(options.waiting, kServer);
    RingEnd end(&states[1], options.waiting);
    _exit(ServePings(end, options.size));
  }
  close(bells[1]);
  PinIfSpinning(options.waiting, kClient);
  RingEnd end(&states[0], options.waiting);
  const int code = RunPings(end, options);
  StreamEnd<RawSys>(&states[0]).Fin();
  close(bells[0]);
  waitpid(child, nullptr, 0);
  return code;
}

}  // namespace
}  // namespace shimmy::bench

int main(int argc, char** argv) {
  return shimmy::bench::Main(shimmy::bench::ParsePingOptions(argc, argv));
}
