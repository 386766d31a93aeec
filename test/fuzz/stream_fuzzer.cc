// One honest end against a peer that the input drives: it stores in every word it owns, sends any
// record into the doorbell, and hangs up, between the honest end's calls. Nothing may crash, read
// outside of the rings or go on for ever; what was broken stays broken; no fd may leak.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "shimmy/stream_end.h"
#include "shimmy/sys_raw.h"

namespace {

using namespace shimmy;

struct FuzzSys : RawSys {
  static void Copy(void* to, const void* from, size_t bytes) noexcept {
    std::memcpy(to, from, bytes);
  }
};
using End = StreamEnd<FuzzSys>;

// The input, a value at a time; zeros when it is used up.
class Input {
 public:
  Input(const unsigned char* data, size_t size) : data_(data), size_(size) {}
  bool is_over() const { return at_ >= size_; }
  uint8_t Byte() { return at_ < size_ ? data_[at_++] : 0; }
  uint64_t Value() {
    const uint8_t kind = Byte();
    if (kind < 128) return kind;
    if (kind < 192) return static_cast<uint64_t>(kind & 63) << 8 | Byte();
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value = value << 8 | Byte();
    return value;
  }

 private:
  const unsigned char* data_;
  size_t size_;
  size_t at_ = 0;
};

int MakeSealed(const HalfSpec& spec, HalfMap* map) {
  const int fd = CreateHalf<FuzzSys>(spec);
  if (fd < 0 || MapAsWriter<FuzzSys>(fd, spec, map) != Status::kOk) std::abort();
  if (SealHalf<FuzzSys>(fd) != Status::kOk) std::abort();
  return fd;
}

// What the peer does: one step.
class Peer {
 public:
  Peer(int bell, HalfMap half) : bell_(bell), half_(half) {}
  ~Peer() {
    UnmapHalf<FuzzSys>(&half_);
    HangUp();
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  void Step(Input* input) {
    ControlPage& page = *half_.control;
    Word* const words[] = {&page.tail, &page.head,  &page.wake_at, &page.fin,
                           &page.rst,  &page.plugs, &page.moved,   &page.half};
    const uint8_t what = input->Byte();
    if (what < 128) return words[what % 8]->store(input->Value());
    if (what < 160) return static_cast<void>(SendBell<FuzzSys>(bell_));
    if (what < 176) return static_cast<void>(SendPlug<FuzzSys>(bell_));
    if (what < 192) return SendAny(input->Value() % 9000);
    if (what < 224) return SendNewHalf(input);
    if (what < 240) return page.tail.store(page.tail.load() + input->Byte());
    if (what < 250) return Eat();
    if (what < 253) return static_cast<void>(FuzzSys::Shutdown(bell_, SHUT_WR));
    HangUp();
  }

 private:
  void HangUp() {
    if (bell_ >= 0) FuzzSys::Close(bell_);
    bell_ = -1;
  }
  void Eat() {
    const Record record = EatRecord<FuzzSys>(bell_);
    if (record.fd >= 0) FuzzSys::Close(record.fd);
  }
  void SendAny(size_t bytes) {
    static const unsigned char zeros[9000] = {};
    FuzzSys::Send(bell_, zeros, bytes);
  }
  void SendNewHalf(Input* input) {
    HalfSpec spec;
    spec.capacity = uint64_t{4096} << (input->Byte() % 3);
    spec.number = half_.number + (input->Byte() % 4 == 0 ? input->Byte() : 1);
    spec.start = input->Byte() % 2 == 0 ? half_.control->tail.load() : input->Value();
    HalfMap next;
    const int fd = MakeSealed(spec, &next);
    ControlPage& page = *next.control;
    page.tail.store(spec.start);
    page.head.store(half_.control->head.load());
    page.wake_at.store(half_.control->wake_at.load());
    page.half.store(1);
    half_.control->moved.store(1);
    const ReplaceRecord record{kReplaceVersion, spec.number, spec.capacity, spec.start,
                               input->Byte() % 8 == 0 ? 1U : 0U};
    static_cast<void>(SendReplace<FuzzSys>(bell_, record, fd));
    FuzzSys::Close(fd);
    UnmapHalf<FuzzSys>(&half_);
    half_ = next;
  }

  int bell_;
  HalfMap half_;
};

void Act(End* end, Input* input) {
  static char bytes[40000];
  uint64_t count = 0;
  const Status broken = end->state().broken;
  switch (input->Byte() % 8) {
    case 0:
    case 1: static_cast<void>(end->Write(bytes, input->Value() % sizeof bytes, &count)); break;
    case 2:
    case 3: static_cast<void>(end->Read(bytes, input->Value() % sizeof bytes, &count)); break;
    case 4: static_cast<void>(end->Arm(input->Byte() % 2 == 0)); break;
    case 5: end->Disarm(); break;
    case 6:
      if (input->Byte() % 4 == 0) end->Fin();
      break;
    default: {
      if (!end->CanReplace()) break;
      HalfSpec spec;
      spec.capacity = uint64_t{4096} << (input->Byte() % 3);
      spec.start = end->state().tail;
      spec.number = end->state().mine.number + 1;
      HalfMap half;
      const int fd = MakeSealed(spec, &half);
      static_cast<void>(end->Replace(half, fd));
      FuzzSys::Close(fd);
    }
  }
  if (count > sizeof bytes) std::abort();
  if (broken != Status::kOk && end->state().broken != broken) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  static const DoorbellSizes sizes = [] {
    DoorbellSizes found;
    if (ProbeDoorbell<FuzzSys>(&found) != Status::kOk) std::abort();
    return found;
  }();
  int bells[2];
  if (CreateDoorbell<FuzzSys>(sizes, bells) != Status::kOk) std::abort();
  HalfSpec spec;
  spec.capacity = 4096;
  HalfMap mine;
  HalfMap theirs;
  HalfMap reading;
  FuzzSys::Close(MakeSealed(spec, &mine));
  const int fd = MakeSealed(spec, &theirs);
  if (MapAsReader<FuzzSys>(fd, {}, &reading) != Status::kOk) std::abort();
  FuzzSys::Close(fd);
  EndState state;
  state.sizes = sizes;
  state.max_peer_capacity = 16384;
  End end(&state);
  End::Prepare(mine, 0);
  End::Prepare(theirs, 0);
  end.Begin(bells[0], mine, reading, 0);
  {
    Peer peer(bells[1], theirs);
    Input input(data, size);
    while (!input.is_over()) {
      if (input.Byte() % 2 == 0) {
        Act(&end, &input);
      } else {
        peer.Step(&input);
      }
    }
  }
  UnmapHalf<FuzzSys>(&state.mine);
  UnmapHalf<FuzzSys>(&state.reading);
  UnmapHalf<FuzzSys>(&state.next);
  FuzzSys::Close(bells[0]);
  // The next fd is as low as this end's was: nothing was left open.
  const int probe = dup(2);
  if (probe > bells[0]) std::abort();
  FuzzSys::Close(probe);
  return 0;
}
