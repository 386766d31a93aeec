// Links the whole core without libc, libstdc++ or compiler run-time helpers, and runs one
// stream through it. The exit code is 0, or the number of the step that failed.
#include "shimmy/lockfree_publisher.h"
#include "shimmy/lockfree_subscriber.h"
#include "shimmy/stream_end.h"
#include "shimmy/sys_raw.h"

namespace {

using shimmy::EndState;
using shimmy::HalfBounds;
using shimmy::HalfMap;
using shimmy::HalfSpec;
using shimmy::RawSys;
using shimmy::Status;
using End = shimmy::StreamEnd<RawSys>;

EndState g_states[2];
unsigned char g_bytes[8];

bool MakeHalf(const HalfSpec& spec, HalfMap* writer, HalfMap* reader, int* fd) {
  *fd = shimmy::CreateHalf<RawSys>(spec);
  HalfBounds bounds;
  bounds.number = spec.number;
  bounds.start = spec.start;
  return *fd >= 0 && shimmy::MapAsWriter<RawSys>(*fd, spec, writer) == Status::kOk &&
         shimmy::SealHalf<RawSys>(*fd) == Status::kOk &&
         (reader == nullptr || shimmy::MapAsReader<RawSys>(*fd, bounds, reader) == Status::kOk);
}

shimmy::LockfreePublisherState g_publisher;
shimmy::LockfreeSubscriberState g_subscriber;
shimmy::LockfreeShadow g_shadow[2];
shimmy::LockfreeLocal g_local;
alignas(128) unsigned char g_global[sizeof(shimmy::LockfreeGlobal) + 2 * 64];
alignas(64) unsigned char g_data[2 * 4 * 64];  // one message, which does not wrap

int RunLockfree() {
  g_publisher.geometry = g_subscriber.geometry = {2, 4, 64, 4};
  g_publisher.global = g_subscriber.global = reinterpret_cast<shimmy::LockfreeGlobal*>(g_global);
  g_publisher.data = g_data;
  g_publisher.shadow = g_shadow;
  g_subscriber.data = g_data;
  g_subscriber.local = &g_local;
  shimmy::LockfreePublisher<RawSys> publisher(&g_publisher);
  shimmy::LockfreeSubscriber<RawSys> subscriber(&g_subscriber);
  shimmy::LockfreeSubscriber<RawSys>::Prepare(&g_local);
  uint64_t start = 0;
  if (publisher.Begin() != Status::kOk || publisher.Attach(&g_local, -1, false, &start) != 0) {
    return 20;
  }
  subscriber.Begin(start);
  if (!subscriber.Arm(false)) return 21;
  if (publisher.Publish("abc", 3, 0, shimmy::kNever) != Status::kOk) return 22;
  subscriber.WaitFutex(1);
  shimmy::LockfreeMessage message;
  if (subscriber.Loan(&message) != Status::kOk || message.data[2] != 'c') return 23;
  subscriber.Release(message.loan);
  publisher.Fin();
  publisher.Detach(0);
  return subscriber.Take(g_bytes, sizeof g_bytes, &message) == Status::kEof ? 0 : 24;
}

int Run() {
  if (const int failed = RunLockfree(); failed != 0) return failed;
  shimmy::DoorbellSizes sizes;
  if (shimmy::ProbeDoorbell<RawSys>(&sizes) != Status::kOk) return 1;
  int bell[2];
  if (shimmy::CreateDoorbell<RawSys>(sizes, bell) != Status::kOk) return 2;
  HalfMap writers[2], readers[2];
  int fd = -1;
  for (int i = 0; i < 2; i++) {
    if (!MakeHalf(HalfSpec{}, &writers[i], &readers[i], &fd)) return 3;
    RawSys::Close(fd);
  }
  End a(&g_states[0]), b(&g_states[1]);
  for (const HalfMap& half : writers) End::Prepare(half, 0);
  a.Begin(bell[0], writers[0], readers[1], 0);
  b.Begin(bell[1], writers[1], readers[0], 0);
  uint64_t count = 0;
  if (a.Write("abc", 3, &count) != Status::kOk || count != 3) return 4;
  if (b.Read(g_bytes, sizeof g_bytes, &count) != Status::kOk || count != 3) return 5;
  HalfSpec bigger;
  bigger.capacity = 65536;
  bigger.number = 2;
  bigger.start = a.state().tail;
  HalfMap grown;
  if (!a.CanReplace() || !MakeHalf(bigger, &grown, nullptr, &fd)) return 6;
  if (a.Replace(grown, fd) != Status::kOk) return 7;
  RawSys::Close(fd);
  if (a.Write("de", 2, &count) != Status::kOk) return 8;
  if (b.Read(g_bytes, sizeof g_bytes, &count) != Status::kOk || count != 2) return 9;
  if (g_bytes[0] != 'd' || g_bytes[1] != 'e') return 10;
  a.Fin();
  if (b.Read(g_bytes, sizeof g_bytes, &count) != Status::kEof) return 11;
  b.Reset();
  RawSys::Close(bell[1]);
  return a.Read(g_bytes, sizeof g_bytes, &count) == Status::kReset ? 0 : 12;
}

}  // namespace

// The kernel enters with an aligned stack pointer and no return address; compiled code expects
// the state after a call.
#if defined(__x86_64__)
#define SHIMMY_ENTRY __attribute__((force_align_arg_pointer))
#else
#define SHIMMY_ENTRY
#endif

extern "C" [[noreturn]] SHIMMY_ENTRY void _start() {
  RawSys::Call(__NR_exit_group, Run());
  __builtin_unreachable();
}
