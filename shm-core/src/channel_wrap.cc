#include "channel_wrap.h"

#include <array>
#include <cstring>

#include "addon_state.h"
#include "addon_status.h"
#include "arguments.h"

namespace shimmy::addon {
namespace {

ChannelEndpoint* Find(const Napi::CallbackInfo& info) {
  if (!IsNumber(info, 0)) return nullptr;
  auto& endpoints = AddonState::Of(info.Env()).channel_table->endpoints;
  const auto found = endpoints.find(Id(info[0]));
  return found == endpoints.end() ? nullptr : found->second.get();
}

Napi::Value Closed(Napi::Env env) { return Integer(env, Code(AddonStatus::kClosed)); }

// A shimmy_status: 0, or the number that JavaScript knows it by.
Napi::Value Answer(Napi::Env env, int status) {
  return Integer(env, status == SHIMMY_OK ? 0 : ChannelCode(status));
}

Napi::Value Stolen(Napi::Env env) { return Integer(env, Code(AddonStatus::kTransferred)); }

double Wait(const Napi::Value& value) { return value.As<Napi::Number>().DoubleValue(); }

ChannelResult& Result(Napi::Env env) { return *AddonState::Of(env).channel_table->result; }

void Tell(Napi::Env env, const shimmy_message& message) {
  const bool is_known = message.missed != SHIMMY_MISSED_UNKNOWN;
  Result(env) = {static_cast<double>(message.bytes), static_cast<double>(message.sequence),
                 static_cast<double>(message.generation),
                 is_known ? static_cast<double>(message.missed) : -1, 0};
}

// channelSetResult(block: Float64Array): where calls put what they say beside their result
Napi::Value SetResult(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 1 || !info[0].IsTypedArray() ||
      info[0].As<Napi::TypedArray>().TypedArrayType() != napi_float64_array ||
      info[0].As<Napi::TypedArray>().ByteLength() < sizeof(ChannelResult)) {
    return ThrowSignature(env, "channelSetResult(block: Float64Array)");
  }
  ChannelTable& table = *AddonState::Of(env).channel_table;
  table.result = reinterpret_cast<ChannelResult*>(info[0].As<Napi::Float64Array>().Data());
  if (table.result_buffer != nullptr) napi_delete_reference(env, table.result_buffer);
  napi_create_reference(env, info[0], 1, &table.result_buffer);
  return env.Undefined();
}

// channelPublish(id, data, wait): 0 | negative
Napi::Value Publish(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsBytes(info, 1) || !IsNumber(info, 2)) {
    return ThrowSignature(env, "channelPublish(id: number, data: Uint8Array, wait: number)");
  }
  ChannelEndpoint* const endpoint = Find(info);
  if (endpoint == nullptr) return Closed(env);
  const auto data = Bytes(info[1]);
  return Answer(env, endpoint->Try(Wait(info[2]), [&](int64_t timeout) {
    return shimmy_publish(endpoint->get(), data.data(), data.size(), timeout);
  }));
}

// channelReserve(id, bytes, wait, isView): ArrayBuffer | 0 | negative; tells `loan`
Napi::Value Reserve(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 1) || !IsNumber(info, 2) || info.Length() < 4) {
    return ThrowSignature(env, "channelReserve(id, bytes, wait: number, isView: boolean)");
  }
  ChannelEndpoint* const endpoint = Find(info);
  if (endpoint == nullptr) return Closed(env);
  const auto bytes = static_cast<std::size_t>(info[1].As<Napi::Number>().Int64Value());
  ChannelLoan loan;
  const int status = endpoint->Try(Wait(info[2]), [&](int64_t timeout) {
    return shimmy_reserve(endpoint->get(), bytes, timeout, &loan.room);
  });
  if (status != SHIMMY_OK) return Answer(env, status);
  void* const data = info[3].ToBoolean().Value() ? loan.room.data : nullptr;
  napi_value view = nullptr;
  const uint32_t number = endpoint->Lend(env, loan, data, bytes, &view);
  if (number == 0) {
    static_cast<void>(shimmy_cancel(endpoint->get(), &loan.room));
    return Answer(env, SHIMMY_NO_MEMORY);
  }
  Result(env).loan = number;
  if (view != nullptr) AddonState::Of(env).channel_table->ExpectEnd(env);
  return view == nullptr ? Answer(env, SHIMMY_OK) : Napi::Value(env, view);
}

// channelCommit(id, loan, bytes, data: Uint8Array | undefined): 0 | negative; `data` for a room
// that JavaScript has no view of
Napi::Value Commit(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 1) || !IsNumber(info, 2)) {
    return ThrowSignature(env, "channelCommit(id, loan, bytes: number, data?: Uint8Array)");
  }
  ChannelEndpoint* const endpoint = Find(info);
  if (endpoint == nullptr) return Closed(env);
  ChannelLoan* const loan = endpoint->FindLoan(Id(info[1]));
  if (loan == nullptr) return Closed(env);
  const auto bytes = static_cast<std::size_t>(info[2].As<Napi::Number>().Int64Value());
  if (bytes > loan->room.bytes) return Answer(env, SHIMMY_MISUSE);
  ChannelLoan taken;
  if (ChannelEndpoint::IsTransferred(env, *loan)) {
    static_cast<void>(endpoint->TakeBack(env, Id(info[1]), &taken));
    return Stolen(env);
  }
  if (IsBytes(info, 3)) {
    const auto data = Bytes(info[3]);
    if (data.size() < bytes) return Answer(env, SHIMMY_MISUSE);
    if (bytes > 0) std::memcpy(loan->room.data, data.data(), bytes);
  }
  shimmy_room room = loan->room;
  const int status = shimmy_commit(endpoint->get(), &room, bytes);
  // Out of turn: it stays.
  if (status != SHIMMY_MISUSE) static_cast<void>(endpoint->TakeBack(env, Id(info[1]), &taken));
  return Answer(env, status);
}

// channelCancel(id, loan): 0 | negative
Napi::Value Cancel(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 1)) return ThrowSignature(env, "channelCancel(id, loan: number)");
  ChannelEndpoint* const endpoint = Find(info);
  if (endpoint == nullptr || endpoint->FindLoan(Id(info[1])) == nullptr) return Closed(env);
  ChannelLoan loan;
  if (!endpoint->TakeBack(env, Id(info[1]), &loan)) return Stolen(env);
  return Answer(env, shimmy_cancel(endpoint->get(), &loan.room));
}

// channelEnd(id): 0 | negative
Napi::Value End(const Napi::CallbackInfo& info) {
  ChannelEndpoint* const endpoint = Find(info);
  return endpoint == nullptr ? Closed(info.Env()) : Answer(info.Env(), shimmy_end(endpoint->get()));
}

// channelDrain(id, wait): 0 | negative
Napi::Value Drain(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 1)) return ThrowSignature(env, "channelDrain(id, wait: number)");
  ChannelEndpoint* const endpoint = Find(info);
  if (endpoint == nullptr) return Closed(env);
  return Answer(env, endpoint->Try(Wait(info[1]), [endpoint](int64_t timeout) {
    return shimmy_drain(endpoint->get(), timeout);
  }));
}

// channelTake(id, out, wait): length | negative; tells of the message, its bytes also when it is
// too large
Napi::Value Take(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsBytes(info, 1) || !IsNumber(info, 2)) {
    return ThrowSignature(env, "channelTake(id: number, out: Uint8Array, wait: number)");
  }
  ChannelEndpoint* const endpoint = Find(info);
  if (endpoint == nullptr) return Closed(env);
  const auto out = Bytes(info[1]);
  shimmy_message message{};
  const int status = endpoint->Try(Wait(info[2]), [&](int64_t timeout) {
    return shimmy_take(endpoint->get(), out.data(), out.size(), timeout, &message);
  });
  if (status == SHIMMY_OK || status == SHIMMY_BUFFER_TOO_SMALL) Tell(env, message);
  return status == SHIMMY_OK ? Integer(env, static_cast<int64_t>(message.bytes))
                             : Answer(env, status);
}

// channelLoan(id, small, wait): ArrayBuffer | length | negative; what fits into `small` is copied
// into it, and is out all the same; tells of the message and `loan`
Napi::Value Loan(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsBytes(info, 1) || !IsNumber(info, 2) || Bytes(info[1]).size() < kCopiedLoanBytes) {
    return ThrowSignature(env, "channelLoan(id: number, small: Uint8Array, wait: number)");
  }
  ChannelEndpoint* const endpoint = Find(info);
  if (endpoint == nullptr) return Closed(env);
  ChannelLoan loan;
  const int status = endpoint->Try(Wait(info[2]), [&](int64_t timeout) {
    return shimmy_loan(endpoint->get(), timeout, &loan.message);
  });
  if (status != SHIMMY_OK) return Answer(env, status);
  const auto small = Bytes(info[1]);
  const std::size_t bytes = loan.message.bytes;
  const bool is_copy = bytes <= kCopiedLoanBytes;  // beyond it the memory may be written into
  if (is_copy && bytes > 0) std::memcpy(small.data(), loan.message.data, bytes);
  napi_value view = nullptr;
  // With SHIMMY_PRIVATE_VIEWS it may be written into.
  void* const data = is_copy ? nullptr : const_cast<void*>(loan.message.data);
  const uint32_t number = endpoint->Lend(env, loan, data, bytes, &view);
  if (number == 0) {
    static_cast<void>(shimmy_release(endpoint->get(), &loan.message));
    return Answer(env, SHIMMY_NO_MEMORY);
  }
  Tell(env, loan.message);
  Result(env).loan = number;
  if (view != nullptr) AddonState::Of(env).channel_table->ExpectEnd(env);
  return is_copy ? Integer(env, static_cast<int64_t>(bytes)) : Napi::Value(env, view);
}

// channelRelease(id, loan): 0 | negative
Napi::Value Release(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 1)) return ThrowSignature(env, "channelRelease(id, loan: number)");
  ChannelEndpoint* const endpoint = Find(info);
  if (endpoint == nullptr || endpoint->FindLoan(Id(info[1])) == nullptr) return Closed(env);
  ChannelLoan loan;
  if (!endpoint->TakeBack(env, Id(info[1]), &loan)) return Stolen(env);
  return Answer(env, shimmy_release(endpoint->get(), &loan.message));
}

// channelArm(id, bytes): 0, try now | SHIMMY_AGAIN, a kChannelReady event follows | negative
Napi::Value Arm(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 1)) return ThrowSignature(env, "channelArm(id, bytes: number)");
  ChannelEndpoint* const endpoint = Find(info);
  if (endpoint == nullptr) return Closed(env);
  const auto bytes = static_cast<std::size_t>(info[1].As<Napi::Number>().Int64Value());
  const int status = shimmy_arm(endpoint->get(), bytes);
  if (status == SHIMMY_AGAIN) {
    const int32_t error = endpoint->waiter().Ask(kWaitReadable);
    if (error < 0) return Integer(env, error);
  }
  return Answer(env, status);
}

// channelClose(id)
Napi::Value Close(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  ChannelEndpoint* const endpoint = Find(info);
  if (endpoint == nullptr) return env.Undefined();
  endpoint->TakeBackAll(env);
  AddonState::Of(env).channel_table->endpoints.erase(Id(info[0]));
  return env.Undefined();
}

// channelDescribe(id): [topic, channel, state, peers, maxBytes, kind, blocks, blockBytes, readers,
// timeToLiveMs, maxLoans] | negative
Napi::Value Describe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  ChannelEndpoint* const endpoint = Find(info);
  if (endpoint == nullptr) return Closed(env);
  shimmy_info told{};
  told.struct_size = sizeof told;
  const int status = shimmy_describe(endpoint->get(), &told);
  if (status != SHIMMY_OK) return Answer(env, status);
  const shimmy_parameters& with = told.parameters;
  const Napi::Array result = Napi::Array::New(env);
  result.Set(0U, Napi::String::New(env, told.topic));
  result.Set(1U, Napi::String::New(env, std::to_string(told.channel)));
  const std::array<int64_t, 9> numbers = {
      told.state,   told.peers,           static_cast<int64_t>(told.max_bytes),
      with.kind,    with.blocks,          with.block_bytes,
      with.readers, with.time_to_live_ms, with.max_loans};
  uint32_t at = 2;
  for (const int64_t number : numbers) result.Set(at++, Integer(env, number));
  return result;
}

// channelCounters(id): eleven numbers in the order of shimmy_counters | negative
Napi::Value Counters(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  ChannelEndpoint* const endpoint = Find(info);
  if (endpoint == nullptr) return Closed(env);
  struct shimmy_counters all {};
  all.struct_size = sizeof all;
  const int status = shimmy_counters(endpoint->get(), &all);
  if (status != SHIMMY_OK) return Answer(env, status);
  const auto number = [](uint64_t value) { return static_cast<int64_t>(value); };
  return Integers(env, std::array<int64_t, 11>{
                           number(all.messages), number(all.bytes), number(all.missed),
                           number(all.missed_unknown), number(all.expired), number(all.wakes),
                           number(all.bells), number(all.sleeps), number(all.links),
                           number(all.rings), number(all.dropped_peers)});
}

// channelLastError(): [code, reason, message] of the last call on this thread that failed
Napi::Value LastError(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  shimmy_error error{};
  shimmy_last_error(&error);
  const Napi::Array result = Napi::Array::New(env);
  result.Set(0U, Napi::String::New(env, error.code));
  result.Set(1U, Napi::String::New(env, error.reason));
  result.Set(2U, Napi::String::New(env, error.message));
  return result;
}

}  // namespace

void ExportChannelFunctions(Napi::Env env, Napi::Object exports) {
  exports.Set("channelSetResult", Napi::Function::New(env, SetResult));
  exports.Set("channelPublish", Napi::Function::New(env, Publish));
  exports.Set("channelReserve", Napi::Function::New(env, Reserve));
  exports.Set("channelCommit", Napi::Function::New(env, Commit));
  exports.Set("channelCancel", Napi::Function::New(env, Cancel));
  exports.Set("channelEnd", Napi::Function::New(env, End));
  exports.Set("channelDrain", Napi::Function::New(env, Drain));
  exports.Set("channelTake", Napi::Function::New(env, Take));
  exports.Set("channelLoan", Napi::Function::New(env, Loan));
  exports.Set("channelRelease", Napi::Function::New(env, Release));
  exports.Set("channelArm", Napi::Function::New(env, Arm));
  exports.Set("channelClose", Napi::Function::New(env, Close));
  exports.Set("channelDescribe", Napi::Function::New(env, Describe));
  exports.Set("channelCounters", Napi::Function::New(env, Counters));
  exports.Set("channelLastError", Napi::Function::New(env, LastError));
  ExportChannelRequests(env, exports);
}

}  // namespace shimmy::addon
