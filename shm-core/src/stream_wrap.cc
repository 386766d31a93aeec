#include "stream_wrap.h"

#include <array>
#include <cstring>

#include "addon_state.h"
#include "addon_status.h"
#include "arguments.h"

namespace shimmy::addon {
namespace {

StreamEntry* FindStream(const Napi::CallbackInfo& info) {
  if (!IsNumber(info, 0)) return nullptr;
  auto& streams = AddonState::Of(info.Env()).streams;
  const auto found = streams.find(Id(info[0]));
  return found == streams.end() ? nullptr : &found->second;
}

Napi::Value Closed(Napi::Env env) { return Integer(env, Code(AddonStatus::kClosed)); }

bool IsSpin(const Napi::CallbackInfo& info, std::size_t index) {
  return IsNumber(info, index) && Id(info[index]) <= static_cast<uint32_t>(Spin::kSlice);
}

// A length as it is, a core status as its code.
Napi::Value LengthOrStatus(Napi::Env env, int64_t result) {
  return Integer(env, result > 0 ? result : Code(static_cast<Status>(result)));
}

// streamPair(capacityBytes): [id, id] | negative
Napi::Value Pair(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "streamPair(capacityBytes: number)");
  AddonState& state = AddonState::Of(env);
  const StreamHost* host = nullptr;
  Stream::Pair pair;
  Status status = state.OpenStreamHost(&host);
  if (status == Status::kOk) status = Stream::CreatePair(*host, Id(info[0]), pair);
  if (status != Status::kOk) return Integer(env, Code(status));
  const int64_t first = state.AddStream(std::move(pair[0]));
  const int64_t second = state.AddStream(std::move(pair[1]));
  return Integers(env, std::array<int64_t, 2>{first, second});
}

// streamAttach(doorbell, peerHalf, handover): id | negative; owns both descriptors
Napi::Value Attach(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0) || !IsNumber(info, 1) || !IsBytes(info, 2)) {
    return ThrowSignature(env, "streamAttach(doorbell, peerHalf: number, handover: Uint8Array)");
  }
  AddonState& state = AddonState::Of(env);
  HandoverFds fds{UniqueFd(Int(info[0])), UniqueFd(Int(info[1]))};
  state.owned_fds.erase(fds.doorbell.get());
  state.owned_fds.erase(fds.peer_half.get());
  const auto bytes = Bytes(info[2]);
  StreamHandover handover;
  if (bytes.size() != sizeof handover) return Integer(env, Code(Status::kBadHalf));
  std::memcpy(&handover, bytes.data(), sizeof handover);
  const StreamHost* host = nullptr;
  std::unique_ptr<Stream> stream;
  Status status = state.OpenStreamHost(&host);
  if (status == Status::kOk) status = Stream::Attach(*host, handover, std::move(fds), &stream);
  if (status != Status::kOk) return Integer(env, Code(status));
  return Integer(env, state.AddStream(std::move(stream)));
}

Napi::ArrayBuffer Lend(Napi::Env env, void* start, uint64_t bytes) {
  return Napi::ArrayBuffer::New(env, start, static_cast<std::size_t>(bytes));
}

// streamLend(id): [state, mine, peer: ArrayBuffer, ...layout of the state: number] | negative
//
// `state` is a LentState, `mine` and `peer` are mappings of halves: control page, ring, ring. They
// are detached, so that using them is harmless, as soon as they are no longer mapped.
Napi::Value LendMemory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  StreamEntry* const entry = FindStream(info);
  if (entry == nullptr) return Closed(env);
  entry->TakeBack();
  LentState& lent = entry->stream->Lend();
  EndState& end = lent.end;
  const auto* const base = reinterpret_cast<const std::byte*>(&lent);
  const auto word = [base](const void* field) {
    return (reinterpret_cast<const std::byte*>(field) - base) / 4;
  };
  const std::array<Napi::ArrayBuffer, 3> buffers = {
      Lend(env, &lent, sizeof lent), Lend(env, end.mine.control, end.mine.mapped_bytes),
      Lend(env, end.reading.control, end.reading.mapped_bytes)};
  const std::array<int64_t, 9> layout = {word(&lent.mode),
                                         word(&end.tail),
                                         word(&end.head),
                                         word(&end.known_head),
                                         word(&end.plugs_eaten),
                                         word(&end.counts.publishes),
                                         static_cast<int64_t>(end.mine.capacity),
                                         static_cast<int64_t>(end.reading.capacity),
                                         static_cast<int64_t>(entry->stream->page_bytes())};
  const Napi::Array result = Napi::Array::New(env);
  uint32_t at = 0;
  for (const Napi::ArrayBuffer& buffer : buffers) {
    entry->lent.push_back(Napi::Persistent(buffer));
    result.Set(at++, buffer);
  }
  for (const int64_t value : layout) result.Set(at++, Integer(env, value));
  return result;
}

// streamSettle(id, published): undefined
Napi::Value Settle(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 1)) return ThrowSignature(env, "streamSettle(id, published: number)");
  StreamEntry* const entry = FindStream(info);
  if (entry == nullptr) return env.Undefined();
  entry->stream->Settle(Id(info[1]));
  entry->TakeBackIfStale();
  return env.Undefined();
}

// streamRead(id, out, spin): length | negative
Napi::Value Read(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsBytes(info, 1) || !IsSpin(info, 2)) {
    return ThrowSignature(env, "streamRead(id: number, out: Uint8Array, spin: 0 | 1 | 2)");
  }
  StreamEntry* const entry = FindStream(info);
  if (entry == nullptr) return Closed(env);
  const auto spin = static_cast<Spin>(Int(info[2]));
  const int64_t result = entry->stream->Read(Bytes(info[1]), spin);
  entry->TakeBackIfStale();
  return LengthOrStatus(env, result);
}

// streamWrite(id, data, spin): length | negative
Napi::Value Write(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsBytes(info, 1) || !IsSpin(info, 2)) {
    return ThrowSignature(env, "streamWrite(id: number, data: Uint8Array, spin: 0 | 1 | 2)");
  }
  StreamEntry* const entry = FindStream(info);
  if (entry == nullptr) return Closed(env);
  const auto spin = static_cast<Spin>(Int(info[2]));
  const int64_t result = entry->stream->Write(Bytes(info[1]), spin);
  entry->TakeBackIfStale();
  return LengthOrStatus(env, result);
}

// streamSleep(id, bits, timeoutMs): 0 | negative; blocks this thread
Napi::Value Sleep(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 1) || !IsNumber(info, 2)) {
    return ThrowSignature(env, "streamSleep(id, bits: 1 | 2, timeoutMs: number)");
  }
  StreamEntry* const entry = FindStream(info);
  if (entry == nullptr) return Closed(env);
  entry->stream->Wait(Id(info[1]) == kWaitWritable, Int(info[2]));
  return Integer(env, 0);
}

// streamAsk(id, bits): 0 | negative; a kStreamReady event follows
Napi::Value Ask(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 1)) return ThrowSignature(env, "streamAsk(id, bits: number)");
  StreamEntry* const entry = FindStream(info);
  return entry == nullptr ? Closed(env) : Integer(env, entry->waiter->Ask(Id(info[1])));
}

// streamFin(id): 0 | negative
Napi::Value Fin(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  StreamEntry* const entry = FindStream(info);
  if (entry == nullptr) return Closed(env);
  entry->stream->Fin();
  return Integer(env, 0);
}

void Drop(const Napi::CallbackInfo& info, void (Stream::*end)() noexcept) {
  StreamEntry* const entry = FindStream(info);
  if (entry == nullptr) return;
  entry->waiter->Stop();
  entry->TakeBack();
  (entry->stream.get()->*end)();
  AddonState::Of(info.Env()).streams.erase(Id(info[0]));
}

// streamClose(id): in order, as the last read or write was
Napi::Value Close(const Napi::CallbackInfo& info) {
  Drop(info, &Stream::Close);
  return info.Env().Undefined();
}

// streamReset(id)
Napi::Value Reset(const Napi::CallbackInfo& info) {
  Drop(info, &Stream::Reset);
  return info.Env().Undefined();
}

// streamDetach(id, out: Uint8Array of 80 bytes): [doorbell, peerHalf] | negative
Napi::Value Detach(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsBytes(info, 1) || Bytes(info[1]).size() != sizeof(StreamHandover)) {
    return ThrowSignature(env, "streamDetach(id: number, out: Uint8Array)");
  }
  StreamEntry* const entry = FindStream(info);
  if (entry == nullptr) return Closed(env);
  StreamHandover handover;
  HandoverFds fds;
  const uint32_t wanted = entry->waiter->wanted();
  entry->waiter->Stop();
  if (entry->stream->Detach(&handover, &fds) != Status::kOk) {
    entry->waiter =
        std::make_shared<StreamWaiter>(Id(info[0]), entry->stream->doorbell(),
                                       AddonState::Of(env).sink, *AddonState::Of(env).waits);
    if (wanted != 0) static_cast<void>(entry->waiter->Ask(wanted));
    return Integer(env, Code(AddonStatus::kNotMovable));
  }
  AddonState& state = AddonState::Of(env);
  entry->TakeBack();
  state.streams.erase(Id(info[0]));
  std::memcpy(Bytes(info[1]).data(), &handover, sizeof handover);
  const int64_t doorbell = fds.doorbell.Release();
  const int64_t peer_half = fds.peer_half.Release();
  return Integers(env, std::array<int64_t, 2>{doorbell, peer_half});
}

// streamCounts(id): seven numbers in the order of EndCounts | negative
Napi::Value Counts(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  StreamEntry* const entry = FindStream(info);
  if (entry == nullptr) return Closed(env);
  const EndCounts& counts = entry->stream->counts();
  const auto number = [](uint64_t value) { return static_cast<int64_t>(value); };
  return Integers(
      env, std::array<int64_t, 7>{number(counts.publishes), number(counts.bells_sent),
                                  number(counts.bells_eaten), number(counts.plugs_sent),
                                  number(counts.plugs_taken_back), number(counts.replaces_sent),
                                  number(counts.replaces_taken)});
}

}  // namespace

void ExportStreamFunctions(Napi::Env env, Napi::Object exports) {
  exports.Set("streamPair", Napi::Function::New(env, Pair));
  exports.Set("streamAttach", Napi::Function::New(env, Attach));
  exports.Set("streamLend", Napi::Function::New(env, LendMemory));
  exports.Set("streamSettle", Napi::Function::New(env, Settle));
  exports.Set("streamRead", Napi::Function::New(env, Read));
  exports.Set("streamWrite", Napi::Function::New(env, Write));
  exports.Set("streamSleep", Napi::Function::New(env, Sleep));
  exports.Set("streamAsk", Napi::Function::New(env, Ask));
  exports.Set("streamFin", Napi::Function::New(env, Fin));
  exports.Set("streamClose", Napi::Function::New(env, Close));
  exports.Set("streamReset", Napi::Function::New(env, Reset));
  exports.Set("streamDetach", Napi::Function::New(env, Detach));
  exports.Set("streamCounts", Napi::Function::New(env, Counts));
}

}  // namespace shimmy::addon
