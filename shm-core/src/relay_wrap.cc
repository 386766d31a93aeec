#include "relay_wrap.h"

#include "addon_state.h"
#include "addon_status.h"
#include "arguments.h"
#include "relay_convert.h"
#include "relay_counters.h"
#include "relay_events.h"

namespace shimmy::addon {
namespace {

relay::Relay* FindRelay(const Napi::CallbackInfo& info) {
  if (!IsNumber(info, 0)) return nullptr;
  const auto& relays = AddonState::Of(info.Env()).relays;
  const auto found = relays.find(Id(info[0]));
  return found == relays.end() ? nullptr : found->second.get();
}

Napi::Value Closed(Napi::Env env) { return Integer(env, Code(AddonStatus::kClosed)); }

// relayStart(options): id | -errno
Napi::Value Start(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  relay::RelayOptions options;
  if (info.Length() < 1 || !ReadRelayOptions(info[0], &options)) {
    return ThrowSignature(env, "relayStart(options: NativeRelayOptions)");
  }
  AddonState& state = AddonState::Of(env);
  const uint32_t id = state.NextId();
  std::unique_ptr<relay::Relay> started;
  // The sink outlives the relay: Shutdown() destroys relays before it stops the sink.
  EventSink* const sink = &state.sink;
  const int result = relay::Relay::Start(
      options,
      [sink, id](const relay::Event& event) {
        sink->Post(std::make_unique<RelayEvent>(id, event));
      },
      &started);
  if (result < 0) return Integer(env, result);
  state.relays.emplace(id, std::move(started));
  return Integer(env, id);
}

// relayStop(id): joins its threads
Napi::Value Stop(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "relayStop(id: number)");
  AddonState::Of(env).relays.erase(Id(info[0]));
  return env.Undefined();
}

// relayListen(id, address, port, upstream): [listener, port] | negative
Napi::Value Listen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  relay::Upstream upstream;
  if (!IsString(info, 1) || !IsNumber(info, 2) || info.Length() < 4 ||
      !ReadUpstream(info[3], &upstream)) {
    return ThrowSignature(env, "relayListen(id, address: string, port: number, upstream)");
  }
  relay::Relay* const found = FindRelay(info);
  if (found == nullptr) return Closed(env);
  uint16_t port = 0;
  const int listener = found->Listen(info[1].As<Napi::String>().Utf8Value(),
                                     static_cast<uint16_t>(Id(info[2])), upstream, &port);
  if (listener < 0) return Integer(env, listener);
  return Integers(env, std::array<int64_t, 2>{listener, port});
}

// relaySetUpstream(id, listener, upstream): 0 | negative
Napi::Value SetUpstream(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  relay::Upstream upstream;
  if (!IsNumber(info, 1) || info.Length() < 3 || !ReadUpstream(info[2], &upstream)) {
    return ThrowSignature(env, "relaySetUpstream(id, listener: number, upstream)");
  }
  relay::Relay* const found = FindRelay(info);
  return found == nullptr ? Closed(env) : Integer(env, found->SetUpstream(Int(info[1]), upstream));
}

// relayUnlisten(id, listener): 0 | negative
Napi::Value Unlisten(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 1)) return ThrowSignature(env, "relayUnlisten(id, listener: number)");
  relay::Relay* const found = FindRelay(info);
  return found == nullptr ? Closed(env) : Integer(env, found->Unlisten(Int(info[1])));
}

// relaySetDelivery(id, rules): 0 | negative
Napi::Value SetDelivery(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::vector<relay::DeliveryRule> rules;
  if (info.Length() < 2 || !ReadDelivery(info[1], &rules)) {
    return ThrowSignature(env, "relaySetDelivery(id, rules: NativeDeliveryRule[])");
  }
  relay::Relay* const found = FindRelay(info);
  if (found == nullptr) return Closed(env);
  found->SetDelivery(rules);
  return Integer(env, 0);
}

// relayAddSession(id, session): 0 | negative; owns session.fd whatever it answers
Napi::Value AddSession(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  relay::SessionInit init;
  if (info.Length() < 2 || !ReadSession(info[1], &init)) {
    return ThrowSignature(env, "relayAddSession(id, session: NativeRelaySession)");
  }
  AddonState::Of(env).owned_fds.erase(init.fd);
  UniqueFd fd(init.fd);
  relay::Relay* const found = FindRelay(info);
  if (found == nullptr) return Closed(env);
  static_cast<void>(fd.Release());
  return Integer(env, found->AddSession(init));
}

// relayFailSession(id, pod, reason): 0 | negative
Napi::Value FailSession(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsString(info, 1) || !IsNumber(info, 2) ||
      Id(info[2]) >= static_cast<uint32_t>(FallbackReason::kCount)) {
    return ThrowSignature(env, "relayFailSession(id, pod: string, reason: number)");
  }
  relay::Relay* const found = FindRelay(info);
  if (found == nullptr) return Closed(env);
  found->FailSession(info[1].As<Napi::String>().Utf8Value(),
                     static_cast<FallbackReason>(Id(info[2])));
  return Integer(env, 0);
}

using GrantsCall = int (relay::Relay::*)(const std::string&, const std::vector<relay::Grant>&);

Napi::Value CallWithGrants(const Napi::CallbackInfo& info, GrantsCall call) {
  const Napi::Env env = info.Env();
  std::vector<relay::Grant> grants;
  if (!IsString(info, 1) || info.Length() < 3 || !ReadGrants(info[2], &grants)) {
    return ThrowSignature(env, "(id, session: string, grants: NativeGrant[])");
  }
  relay::Relay* const found = FindRelay(info);
  if (found == nullptr) return Closed(env);
  return Integer(env, (found->*call)(info[1].As<Napi::String>().Utf8Value(), grants));
}

// relaySetGrants(id, session, accept): 0 | negative
Napi::Value SetGrants(const Napi::CallbackInfo& info) {
  return CallWithGrants(info, &relay::Relay::SetGrants);
}

// relayRevoke(id, session, grants): 0 | negative
Napi::Value Revoke(const Napi::CallbackInfo& info) {
  return CallWithGrants(info, &relay::Relay::Revoke);
}

// relayCloseSession(id, session): 0 | negative
Napi::Value CloseSession(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsString(info, 1)) return ThrowSignature(env, "relayCloseSession(id, session: string)");
  relay::Relay* const found = FindRelay(info);
  if (found == nullptr) return Closed(env);
  return Integer(env, found->CloseSession(info[1].As<Napi::String>().Utf8Value()));
}

// relaySessions(id): NativeSessionInfo[] | negative
Napi::Value Sessions(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  relay::Relay* const found = FindRelay(info);
  return found == nullptr ? Closed(env) : WriteSessions(env, found->Sessions());
}

// relayStreams(id, limit): NativeStreamInfo[] | negative
Napi::Value Streams(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 1)) return ThrowSignature(env, "relayStreams(id, limit: number)");
  relay::Relay* const found = FindRelay(info);
  return found == nullptr ? Closed(env) : WriteStreams(env, found->Streams(Id(info[1])));
}

// relayCounters(id, out: BigInt64Array): how many were written | negative
Napi::Value CountersOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 2 || !info[1].IsTypedArray() ||
      info[1].As<Napi::TypedArray>().TypedArrayType() != napi_bigint64_array) {
    return ThrowSignature(env, "relayCounters(id, out: BigInt64Array)");
  }
  relay::Relay* const found = FindRelay(info);
  if (found == nullptr) return Closed(env);
  auto out = info[1].As<Napi::BigInt64Array>();
  return Integer(env, SnapshotCounters(found->counters(), {out.Data(), out.ElementLength()}));
}

// relayDrain(id, timeoutMs): 0 | negative; a kRelayDrained event follows
Napi::Value Drain(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 1)) return ThrowSignature(env, "relayDrain(id, timeoutMs: number)");
  relay::Relay* const found = FindRelay(info);
  if (found == nullptr) return Closed(env);
  found->Drain(Id(info[1]));
  return Integer(env, 0);
}

}  // namespace

void ExportRelayFunctions(Napi::Env env, Napi::Object exports) {
  exports.Set("relayStart", Napi::Function::New(env, Start));
  exports.Set("relayStop", Napi::Function::New(env, Stop));
  exports.Set("relayListen", Napi::Function::New(env, Listen));
  exports.Set("relaySetUpstream", Napi::Function::New(env, SetUpstream));
  exports.Set("relayUnlisten", Napi::Function::New(env, Unlisten));
  exports.Set("relaySetDelivery", Napi::Function::New(env, SetDelivery));
  exports.Set("relayAddSession", Napi::Function::New(env, AddSession));
  exports.Set("relayFailSession", Napi::Function::New(env, FailSession));
  exports.Set("relaySetGrants", Napi::Function::New(env, SetGrants));
  exports.Set("relayRevoke", Napi::Function::New(env, Revoke));
  exports.Set("relayCloseSession", Napi::Function::New(env, CloseSession));
  exports.Set("relaySessions", Napi::Function::New(env, Sessions));
  exports.Set("relayStreams", Napi::Function::New(env, Streams));
  exports.Set("relayCounters", Napi::Function::New(env, CountersOf));
  exports.Set("relayDrain", Napi::Function::New(env, Drain));
  exports.Set("relayCounterLayout", CounterLayout(env));
}

}  // namespace shimmy::addon
