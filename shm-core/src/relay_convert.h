// Plain objects of lib/relay.ts to what relay/relay.h takes, and back. The shapes are declared
// in lib/native.ts (NativeRelay...). Each Read returns false for a value of another shape.
#pragma once

#include <napi.h>

#include <vector>

#include "relay/relay.h"

namespace shimmy::addon {

[[nodiscard]] bool ReadRelayOptions(const Napi::Value& value, relay::RelayOptions* out);
[[nodiscard]] bool ReadUpstream(const Napi::Value& value, relay::Upstream* out);
[[nodiscard]] bool ReadGrants(const Napi::Value& value, std::vector<relay::Grant>* out);
[[nodiscard]] bool ReadDelivery(const Napi::Value& value, std::vector<relay::DeliveryRule>* out);
[[nodiscard]] bool ReadSession(const Napi::Value& value, relay::SessionInit* out);

Napi::Value WriteSessions(Napi::Env env, const std::vector<relay::SessionInfo>& sessions);
Napi::Value WriteStreams(Napi::Env env, const std::vector<relay::StreamInfo>& streams);

}  // namespace shimmy::addon
