// The relay for lib/relay.ts. Relays are named by ids.
#pragma once

#include <napi.h>

namespace shimmy::addon {

void ExportRelayFunctions(Napi::Env env, Napi::Object exports);

}  // namespace shimmy::addon
