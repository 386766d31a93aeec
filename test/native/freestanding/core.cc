// Links the whole core without libc, libstdc++ or compiler run-time helpers, and runs one
// stream and one message of each kind of channel through it. The exit code is 0, or the number of
// the step that failed.
#include "shimmy/lock_consumer.h"
#include "shimmy/lock_producer.h"
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
  g_publisher.geometry = g_subscriber.geometry = {2, 4, 64, 2, 2};
  g_publisher.global = reinterpret_cast<shimmy::LockfreeGlobal*>(g_global);
  g_subscriber.global = g_publisher.global;
  g_publisher.data = g_data;
  g_publisher.shadow = g_shadow;
  g_subscriber.data = g_data;
  g_subscriber.local = &g_local;
  shimmy::LockfreePublisher<RawSys> publisher(&g_publisher);
  shimmy::LockfreeSubscriber<RawSys> subscriber(&g_subscriber);
  if (publisher.Begin() != Status::kOk) return 20;
  subscriber.Begin(1, false);
  if (publisher.Attach(&g_local, -1, 1) != 0) return 21;
  g_subscriber.peer = {&g_publisher.global->side, -1};
  if (subscriber.WaitForMessage({1, 0, false}) != Status::kWouldBlock) return 21;
  if (publisher.Publish("abc", 3, 0, shimmy::kNever) != Status::kOk) return 22;
  if (subscriber.WaitForMessage({1, 0, false}) != Status::kOk) return 22;
  shimmy::LockfreeMessage message;
  if (subscriber.Loan(&message) != Status::kOk || message.data[2] != 'c') return 23;
  subscriber.Release(message.loan);
  publisher.Fin();
  publisher.Detach(0);
  return subscriber.Take(g_bytes, sizeof g_bytes, &message) == Status::kEof ? 0 : 24;
}

shimmy::LockProducerState g_producer;
shimmy::LockConsumerState g_consumer;

// Makes a region; `reader` is how another process has it.
bool Region(const shimmy::RegionSpec& spec, shimmy::RegionMap* writer, shimmy::RegionMap* reader) {
  const int fd = shimmy::MakeRegion<RawSys>(spec, writer);
  if (fd < 0) return false;
  const Status status = shimmy::MapRegionAsReader<RawSys>(fd, spec, reader);
  RawSys::Close(fd);
  return status == Status::kOk;
}

int RunLock() {
  using shimmy::RegionKind;
  shimmy::ChannelShape shape;
  shape.blocks = 3;
  shape.block_bytes = 4096;
  const auto geometry = shimmy::LockGeometry::Of(shape, 2);
  shimmy::RegionMap data[2], words[2], consumer_words[2];
  if (!Region({shape, RegionKind::kData, 0}, &data[0], &data[1]) ||
      !Region({shape, RegionKind::kProducer, geometry.producer_bytes()}, &words[0], &words[1]) ||
      !Region({shape, RegionKind::kConsumer, sizeof(shimmy::LockConsumerWords)}, &consumer_words[0],
              &consumer_words[1])) {
    return 30;
  }
  g_producer.geometry = g_consumer.geometry = geometry;
  g_producer.words = words[0].words<shimmy::LockProducerWords>();
  g_producer.data = data[0].payload;
  g_consumer.producer = words[1].words<const shimmy::LockProducerWords>();
  g_consumer.data = data[1].payload;
  g_consumer.words = consumer_words[0].words<shimmy::LockConsumerWords>();
  shimmy::LockProducer<RawSys> producer(&g_producer);
  shimmy::LockConsumer<RawSys> consumer(&g_consumer);
  shimmy::LockProducer<RawSys>::Prepare(g_producer.words);
  consumer.Prepare(1, nullptr);
  int bell[2];
  if (RawSys::SocketPair(bell) < 0) return 31;
  const auto* seen = consumer_words[1].words<const shimmy::LockConsumerWords>();
  if (producer.AttachConsumer(seen, 1, bell[0]) != Status::kOk) return 32;
  consumer.Attach(bell[1]);
  shimmy::LockMessage message;
  const shimmy::WaitOptions soon{1, 0, false};
  if (consumer.Take(g_bytes, sizeof g_bytes, &message, soon) != Status::kWouldBlock) return 33;
  shimmy::LockReservation room;
  if (producer.Reserve(9000, &room) != Status::kOk) return 34;
  room.data[8999] = 'z';
  if (producer.Commit(room.id, 9000) != Status::kOk) return 35;
  if (producer.Publish("abc", 3, soon) != Status::kWouldBlock) return 36;
  if (consumer.Loan(&message) != Status::kOk || message.data[8999] != 'z') return 37;
  consumer.Release(message.loan);
  if (producer.Publish("abc", 3, {}) != Status::kOk) return 38;
  if (consumer.Take(g_bytes, sizeof g_bytes, &message, {}) != Status::kOk) return 39;
  if (message.bytes != 3 || g_bytes[2] != 'c') return 40;
  producer.Fin();
  if (consumer.Take(g_bytes, sizeof g_bytes, &message, {}) != Status::kEof) return 41;
  shimmy::Notify<RawSys>(&g_producer.waiter, shimmy::ChannelWaiter::kDead);
  producer.DetachConsumer();
  return 0;
}

int Run() {
  if (const int failed = RunLock(); failed != 0) return failed;
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
