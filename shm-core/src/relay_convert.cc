#include "relay_convert.h"

#include "arguments.h"
#include "object_reader.h"

namespace shimmy::addon {
namespace {

bool ReadEndpoint(const Napi::Value& value, relay::Endpoint* out) {
  ObjectReader reader(value);
  out->pod = reader.Text("pod");
  out->address = reader.Text("address");
  out->port = reader.Integer16("port");
  out->shm = reader.Flag("shm");
  const uint32_t reason = reader.Integer32("reason");
  if (reason >= static_cast<uint32_t>(FallbackReason::kCount)) return false;
  out->reason = static_cast<FallbackReason>(reason);
  return reader.ok();
}

bool ReadGrant(const Napi::Value& value, relay::Grant* out) {
  ObjectReader reader(value);
  out->service = reader.Text("service");
  out->port = reader.Integer16("port");
  return reader.ok();
}

bool ReadRule(const Napi::Value& value, relay::DeliveryRule* out) {
  ObjectReader reader(value);
  out->port = reader.Integer16("port");
  out->address = reader.Text("address");
  return reader.ok();
}

bool ReadPeer(const Napi::Value& value, relay::PeerIdentity* out) {
  ObjectReader reader(value);
  out->pod = reader.Text("pod");
  out->namespace_name = reader.Text("namespace");
  out->name = reader.Text("name");
  out->addresses = reader.Texts("addresses");
  return reader.ok();
}

Napi::Value Count(Napi::Env env, uint64_t value) {
  return Integer(env, static_cast<int64_t>(value));
}

Napi::Value Text(Napi::Env env, const std::string& value) { return Napi::String::New(env, value); }

// An array with one object per item. `write(Napi::Object, item)` sets its fields.
template <typename T, typename Write>
Napi::Value WriteList(Napi::Env env, const std::vector<T>& items, Write write) {
  const Napi::Array array = Napi::Array::New(env, items.size());
  for (uint32_t i = 0; i < items.size(); i++) {
    const Napi::HandleScope scope(env);
    Napi::Object object = Napi::Object::New(env);
    write(object, items[i]);
    array.Set(i, object);
  }
  return array;
}

}  // namespace

bool ReadRelayOptions(const Napi::Value& value, relay::RelayOptions* out) {
  ObjectReader reader(value);
  out->threads = reader.Integer32("threads");
  out->spin_micros = reader.Integer32("spinMicros");
  out->ring_budget_bytes = reader.Integer("ringBudgetBytes");
  out->max_ring_bytes = reader.Integer("maxRingBytes");
  out->max_connections = reader.Integer32("maxConnections");
  out->max_streams_per_peer = reader.Integer32("maxStreamsPerPeer");
  out->open_timeout_ms = reader.Integer32("openTimeoutMs");
  out->connect_timeout_ms = reader.Integer32("connectTimeoutMs");
  out->idle_timeout_ms = reader.Integer32("idleTimeoutMs");
  return reader.ok();
}

bool ReadUpstream(const Napi::Value& value, relay::Upstream* out) {
  ObjectReader reader(value);
  out->service = reader.Text("service");
  out->port = reader.Integer16("port");
  const Napi::Value endpoints = reader.Get("endpoints");
  return reader.ok() && ReadList(endpoints, ReadEndpoint, &out->endpoints);
}

bool ReadGrants(const Napi::Value& value, std::vector<relay::Grant>* out) {
  return ReadList(value, ReadGrant, out);
}

bool ReadDelivery(const Napi::Value& value, std::vector<relay::DeliveryRule>* out) {
  return ReadList(value, ReadRule, out);
}

bool ReadSession(const Napi::Value& value, relay::SessionInit* out) {
  ObjectReader reader(value);
  out->id = reader.Text("id");
  out->fd = static_cast<int>(reader.Integer32("fd"));
  out->initiator = reader.Flag("initiator");
  const Napi::Value peer = reader.Get("peer");
  const Napi::Value accept = reader.Get("accept");
  return reader.ok() && ReadPeer(peer, &out->peer) && ReadGrants(accept, &out->accept);
}

Napi::Value WriteSessions(Napi::Env env, const std::vector<relay::SessionInfo>& sessions) {
  return WriteList(env, sessions, [env](Napi::Object& object, const relay::SessionInfo& info) {
    object.Set("id", Text(env, info.id));
    object.Set("pod", Text(env, info.pod));
    object.Set("state", Text(env, info.state));
    object.Set("streams", Count(env, info.streams));
    object.Set("unanswered", Count(env, info.unanswered));
    object.Set("pooledPairs", Count(env, info.pooled_pairs));
  });
}

Napi::Value WriteStreams(Napi::Env env, const std::vector<relay::StreamInfo>& streams) {
  return WriteList(env, streams, [env](Napi::Object& object, const relay::StreamInfo& info) {
    object.Set("id", Count(env, info.id));
    object.Set("direction", Text(env, info.direction));
    object.Set("transport", Text(env, info.transport));
    object.Set("service", Text(env, info.service));
    object.Set("pod", Text(env, info.pod));
    object.Set("bytesToPeer", Count(env, info.bytes_to_peer));
    object.Set("bytesFromPeer", Count(env, info.bytes_from_peer));
    object.Set("ringBytes", Count(env, info.ring_bytes));
    object.Set("peerRingBytes", Count(env, info.peer_ring_bytes));
    object.Set("ageMs", Count(env, info.age_ms));
  });
}

}  // namespace shimmy::addon
