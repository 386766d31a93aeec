// Control sockets for lib/control-socket.ts. Sockets and listeners are named by ids.
#pragma once

#include <napi.h>

namespace shimmy::addon {

void ExportControlFunctions(Napi::Env env, Napi::Object exports);

}  // namespace shimmy::addon
