// Streams for lib/stream.ts. Ends are named by ids.
#pragma once

#include <napi.h>

namespace shimmy::addon {

void ExportStreamFunctions(Napi::Env env, Napi::Object exports);

}  // namespace shimmy::addon
